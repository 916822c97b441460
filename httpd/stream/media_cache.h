/*
 * media_cache: what is known about the streams in stored files (struct media_film), found out once however many requests of
 * whichever loop want it, and kept for all loops within a bound of bytes, the least recently used going first. That a file cannot
 * be streamed is kept too. An entry is of a file's digest and key, so nothing in it is ever out of date.
 */
#ifndef REEL_HTTPD_MEDIA_CACHE_H
#define REEL_HTTPD_MEDIA_CACHE_H

#include "httpd/loop/http_loop.h"
#include "httpd/media/media_film.h"

struct media_cache;      /* of all loops */
struct media_cache_loop; /* what one loop has under way */
struct media_cache_wait; /* somebody who waits */

struct media_cache_options {
    size_t bytes_max;
    int64_t segment_ms;
    int64_t moov_max;
    struct workers *workers; /* that parse */
};

MUST_CHECK struct media_cache *
media_cache_create(const struct media_cache_options *options); /* NULL without memory */
/* No loop has anything under way any more. NULL is ignored. */
void media_cache_destroy(struct media_cache *cache);

/* NULL without memory. */
MUST_CHECK struct media_cache_loop *media_cache_loop_create(struct media_cache *cache,
                                                            struct http_loop *loop);
/* On the loop's thread: what it has under way is given up. Workers may still be busy with it. NULL is
 * ignored. */
void media_cache_loop_close(struct media_cache_loop *own);

enum media_cache_result {
    MEDIA_CACHE_FOUND,   /* *FILM has a reference for the caller */
    MEDIA_CACHE_REFUSED, /* ERROR says why it cannot be streamed, for the client too */
    MEDIA_CACHE_WAITING, /* *WAIT is set; the callback will come */
    MEDIA_CACHE_FAILED,  /* no memory */
};

/* FILM with a reference for the callee, or NULL and why: ERROR_MALFORMED and ERROR_UNKNOWN_COMMAND say that the file cannot be
 * streamed, others that it could not be read now. Once, from the loop that asked. */
typedef void (*media_cache_callback)(void *argument, struct media_film *film, const struct error *error);

MUST_CHECK enum media_cache_result media_cache_get(struct media_cache_loop *own,
                                                   struct http_lookup_file *file,
                                                   media_cache_callback callback, void *argument,
                                                   struct media_film **film, struct error *error,
                                                   struct media_cache_wait **wait);
/* The callback will not come. */
void media_cache_cancel(struct media_cache_wait *wait);

/* True for what is answered 415. */
bool media_cache_is_refusal(int error_code);

#endif
