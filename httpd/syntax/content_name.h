/*
 * content_name: the name that an uploader gives a file: in Content-Disposition (RFC 6266; of a form's part RFC 7578, as browsers
 * write it), or anywhere else. Pure.
 */
#ifndef REEL_HTTPD_CONTENT_NAME_H
#define REEL_HTTPD_CONTENT_NAME_H

#include "common/proto/proto.h"
#include "httpd/syntax/http_text.h"

enum content_name_result { CONTENT_NAME_NONE, CONTENT_NAME_FOUND, CONTENT_NAME_WRONG };

/* The value of PARAMETER ("filename") in the field VALUE, unquoted, into OUT of SIZE bytes. FORM: as browsers write it, where %22, %0D
 * and %0A alone are decoded and a backslash stands for itself but before a quote. WRONG: too long, or no such field. */
enum content_name_result content_name_parameter(struct http_text value, const char *parameter, bool form,
                                                char *out, size_t size);

/* Of an upload: filename* (UTF-8, percent-encoded), else filename. */
enum content_name_result content_name_of_disposition(struct http_text value, char name[PROTO_NAME_SIZE]);

/* NAME without the directories before it, zeros behind it. False: it is no name that a file can have (UTF-8 without control
 * characters). */
MUST_CHECK bool content_name_tidy(char name[PROTO_NAME_SIZE]);

#endif
