/*
 * http_pipes: a bounded pool of empty pipes for splicing, of one loop. A pipe is kernel memory (and the
 * kernel bounds what one user's pipes may hold), so that a stream holds one only while bytes are on their
 * way. One loop's thread only.
 */
#ifndef REEL_HTTPD_HTTP_PIPES_H
#define REEL_HTTPD_HTTP_PIPES_H

#include "common/base/base.h"

struct http_pipe {
    int read_end;
    int write_end;
    size_t capacity; /* bytes, if every page is full */
    struct http_pipe *next;
};

struct http_pipes {
    struct http_pipe *first; /* unused ones */
    size_t count;            /* that exist */
    size_t count_max;
    size_t lent;
    size_t size_wanted;       /* for F_SETPIPE_SZ */
    int64_t refused_until_ms; /* the kernel gave no usable one lately; 0: it did */
};

/* COUNT_MAX 0: none will ever be available. SIZE: bytes of one pipe; the kernel may give less. */
void http_pipes_init(struct http_pipes *pipes, size_t count_max, size_t size);
/* Closes the unused ones; none may be lent. */
void http_pipes_clear(struct http_pipes *pipes);

/* An empty pipe, both ends non-blocking; NULL when all are lent or the kernel gives none: then copy instead.
 */
MUST_CHECK struct http_pipe *http_pipes_take(struct http_pipes *pipes);
/* EMPTY false: bytes are left in it, and it is closed instead of kept. NULL is ignored. */
void http_pipes_give(struct http_pipes *pipes, struct http_pipe *pair, bool empty);

#endif
