/*
 * buffers: blocks of memory for requests, response heads and copied bodies, kept in free lists of one loop,
 * so that a request costs no malloc and a connection that only waits holds none. One loop's thread only.
 */
#ifndef REEL_HTTPD_BUFFERS_H
#define REEL_HTTPD_BUFFERS_H

#include "common/base.h"

enum buffer_class {
    BUFFER_SMALL, /* an ordinary request or response head */
    BUFFER_LARGE, /* the largest request head that is allowed */
    BUFFER_COPY,  /* body bytes that cannot be spliced */
    BUFFER_CLASSES
};

#define BUFFER_SMALL_SIZE 4096
#define BUFFER_COPY_SIZE  (64 * 1024)

struct buffers {
    struct {
        size_t size;     /* bytes of a block */
        size_t kept_max; /* unused blocks kept */
        size_t kept;
        size_t lent; /* blocks that somebody holds */
        struct buffer_link *first;
    } classes[BUFFER_CLASSES];
};

/* LARGE_SIZE: bytes of a BUFFER_LARGE. */
void buffers_init(struct buffers *buffers, size_t large_size);
/* Frees what is kept; nothing may be lent. */
void buffers_clear(struct buffers *buffers);

/* A block, its bytes undefined; NULL without memory. */
MUST_CHECK void *buffers_take(struct buffers *buffers, enum buffer_class class);
/* NULL is ignored. */
void buffers_give(struct buffers *buffers, enum buffer_class class, void *block);
size_t buffers_size(const struct buffers *buffers, enum buffer_class class);

#endif
