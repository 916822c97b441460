/*
 * extra_headers: the fields that an operator adds to the answers with files: "Name: value | Name: value" (httpd.extra_headers).
 * Pure; any thread.
 */
#ifndef REEL_HTTPD_EXTRA_HEADERS_H
#define REEL_HTTPD_EXTRA_HEADERS_H

#include "common/base/error.h"
#include "httpd/syntax/http_text.h"

/* Each is a header field (RFC 9110 section 5), and none that the server makes itself. ERROR names what is wrong. */
MUST_CHECK bool extra_headers_check(const char *text, struct error *error);

/* The next "Name: value" of *REST, trimmed; *REST is moved on. False at the end. */
bool extra_headers_next(struct http_text *rest, struct http_text *field);

#endif
