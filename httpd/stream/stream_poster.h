/*
 * stream_poster: a picture of a film, or a sheet of many: found in the cache of pictures, else its key frames are brought into
 * memory as fragmented MP4 (or the beginning of a range of a file that is stored so) and handed to reel-poster by a worker. The
 * loop's thread only; never blocks it.
 */
#ifndef REEL_HTTPD_STREAM_POSTER_H
#define REEL_HTTPD_STREAM_POSTER_H

#include "httpd/loop/http_loop.h"
#include "httpd/media/storyboard.h"
#include "httpd/stream/poster_service.h"

struct stream_poster;

/* JPEG: the callee's, malloc'd; NULL: ERROR says why. Once, from the loop, never inside the starter. */
typedef void (*stream_poster_callback)(void *argument, uint8_t *jpeg, size_t size, const struct error *error);

struct stream_poster_options {
    struct http_loop *loop;
    struct poster_service *service;
    struct workers *workers;       /* that repack Matroska */
    struct http_lookup_file *file; /* a reference is taken */
    struct media_film *film;       /* a reference is taken */
    uint32_t first, step, tiles;   /* segments whose key frames are shown */
    uint32_t columns, width, height;
    stream_poster_callback done;
    void *argument;
};

/* NULL: no memory, or no worker takes it. */
MUST_CHECK struct stream_poster *stream_poster_start(const struct stream_poster_options *options);
/* The callback will not come. NULL is ignored. */
void stream_poster_cancel(struct stream_poster *poster);

#endif
