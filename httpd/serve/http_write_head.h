/*
 * http_write_head: what the fields of a PUT or POST say of the content: size, type, name, digests; and which of them a store of whole
 * files cannot do. Reads the request alone. On the loop's thread.
 */
#ifndef REEL_HTTPD_HTTP_WRITE_HEAD_H
#define REEL_HTTPD_HTTP_WRITE_HEAD_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/content_digest.h"
#include "httpd/syntax/http_target.h"

#define HTTP_WRITE_HEAD_NO_NAME "the file's name is not UTF-8 of at most 255 bytes without control characters"

struct http_write_head {
    struct proto_put put; /* but for the key; size -1: not known (chunks) */
    bool no_match_any;    /* If-None-Match: * */
    bool has_sha256;
    uint8_t sha256[CONTENT_DIGEST_SHA256_SIZE];
};

/* Fills WRITE. FORM: the body is a form, so that its size is not the content's. 0, or the status to refuse with, *MESSAGE (static) saying
 * why. */
int http_write_head_read(const struct http_connection *connection, const struct http_target *target,
                         bool form, struct http_write_head *write, const char **message);

/* TYPE as it is kept, zeros behind it: without parameters that do not fit, and "" for what says nothing. */
void http_write_head_type(struct http_text type, char out[PROTO_CONTENT_TYPE_SIZE]);

#endif
