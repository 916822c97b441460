/*
 * stream_loop: made of its parts.
 */
#include "httpd/stream/stream_loop.h"
#include <stdlib.h>

#define TEXT_BYTES ((size_t)8 * 1024 * 1024)

struct stream_loop *stream_loop_create(struct http_loop *http, struct media_cache *cache,
                                       struct workers *workers, struct poster_service *posters)
{
    struct stream_loop *streams = calloc(1, sizeof(*streams));
    if (!streams)
        return NULL;
    streams->http = http;
    streams->workers = workers;
    streams->posters = posters;
    streams->texts = stream_texts_create(TEXT_BYTES);
    streams->cache = media_cache_loop_create(cache, http);
    if (streams->texts && streams->cache)
        return streams;
    stream_loop_close(streams);
    return NULL;
}

void stream_loop_close(struct stream_loop *streams)
{
    if (!streams)
        return;
    media_cache_loop_close(streams->cache);
    stream_texts_destroy(streams->texts);
    free(streams);
}
