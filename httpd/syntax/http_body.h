/*
 * http_body: finds the end of a request's body (RFC 9112 sections 6 and 7.1) and its content, without keeping its bytes.
 * Strict: a framing line ends with CRLF and nothing else, sizes are at most 15 hex digits. Pure.
 */
#ifndef REEL_HTTPD_HTTP_BODY_H
#define REEL_HTTPD_HTTP_BODY_H

#include "httpd/syntax/http_request.h"
#include "httpd/syntax/http_text.h"

struct http_body {
    enum http_body_kind kind;
    uint8_t step;
    uint16_t line; /* bytes of the framing line or of the trailer section so far */
    int64_t left;  /* bytes of the body, or of the chunk, that are still to come */
    int64_t total; /* content bytes so far */
};

enum http_body_state { HTTP_BODY_MORE, HTTP_BODY_DONE, HTTP_BODY_BROKEN };

void http_body_init(struct http_body *body, const struct http_request *request);

/* Takes up to SIZE bytes; *USED gets how many of them belong to this body. */
enum http_body_state http_body_skip(struct http_body *body, const char *bytes, size_t size, size_t *used);

/* The same up to the end of the first run of content: *CONTENT gets that run, inside of BYTES, or is empty. */
enum http_body_state http_body_content(struct http_body *body, const char *bytes, size_t size, size_t *used,
                                       struct http_text *content);

/* How many bytes of the body, framing included, come at least: whoever reads no more than these from a connection never reads into the
 * next request. 0 only where the body is at its end. */
int64_t http_body_least(const struct http_body *body);

#endif
