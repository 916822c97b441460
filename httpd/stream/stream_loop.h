/*
 * stream_loop: what the streams of one loop share: its part of the cache of indexes, the texts that it made, the workers that make
 * them. Made and closed by http_server.
 */
#ifndef REEL_HTTPD_STREAM_LOOP_H
#define REEL_HTTPD_STREAM_LOOP_H

#include "httpd/stream/media_cache.h"
#include "httpd/stream/poster_service.h"
#include "httpd/stream/stream_texts.h"

struct stream_loop {
    struct http_loop *http;
    struct media_cache_loop *cache;
    struct stream_texts *texts;
    struct workers *workers;
    struct poster_service *posters; /* NULL: no pictures are made */
};

/* NULL without memory. */
MUST_CHECK struct stream_loop *stream_loop_create(struct http_loop *http, struct media_cache *cache,
                                                  struct workers *workers, struct poster_service *posters);
/* On the loop's thread, or while it does not run; no request is under way any more. NULL is ignored. */
void stream_loop_close(struct stream_loop *streams);

#endif
