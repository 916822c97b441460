/*
 * http_buffers: blocks of memory for requests, response heads and copied bodies, kept in free lists of one
 * loop, so that a request costs no malloc and a connection that only waits holds none. One loop's thread
 * only.
 */
#ifndef REEL_HTTPD_HTTP_BUFFERS_H
#define REEL_HTTPD_HTTP_BUFFERS_H

#include "common/base/base.h"

enum http_buffer_class {
    HTTP_BUFFER_SMALL, /* an ordinary request or response head */
    HTTP_BUFFER_LARGE, /* the largest request head that is allowed */
    HTTP_BUFFER_COPY,  /* body bytes that cannot be spliced */
    HTTP_BUFFER_CLASSES
};

#define HTTP_BUFFER_SMALL_SIZE 4096
#define HTTP_BUFFER_COPY_SIZE  ((size_t)16 * 1024)

struct http_buffers {
    struct {
        size_t size;     /* bytes of a block */
        size_t kept_max; /* unused blocks kept */
        size_t kept;
        size_t lent; /* blocks that somebody holds */
        struct http_buffer_link *first;
    } classes[HTTP_BUFFER_CLASSES];
};

/* LARGE_SIZE: bytes of a HTTP_BUFFER_LARGE. */
void http_buffers_init(struct http_buffers *buffers, size_t large_size);
/* Frees what is kept; nothing may be lent. */
void http_buffers_clear(struct http_buffers *buffers);

/* A block, its bytes undefined; NULL without memory. */
MUST_CHECK void *http_buffers_take(struct http_buffers *buffers, enum http_buffer_class kind);
/* NULL is ignored. */
void http_buffers_give(struct http_buffers *buffers, enum http_buffer_class kind, void *block);
size_t http_buffers_size(const struct http_buffers *buffers, enum http_buffer_class kind);

#endif
