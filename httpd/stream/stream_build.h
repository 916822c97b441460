/*
 * stream_build: a text made by a worker: a playlist, a manifest, subtitles, /info or a stored text, compressed where that is
 * wanted.
 */
#ifndef REEL_HTTPD_STREAM_BUILD_H
#define REEL_HTTPD_STREAM_BUILD_H

#include "common/loop/workers.h"
#include "httpd/media/media_set.h"
#include "httpd/syntax/http_target.h"

struct stream_build;

/* TEXT is the callee's; TEXT->failed: no memory. From the loop, once. */
typedef void (*stream_build_callback)(void *argument, struct media_buffer *text, bool gzipped);

struct stream_build_options {
    struct loop *loop;
    struct workers *workers;
    enum http_service service;
    struct media_name name;
    struct media_set set; /* references are taken */
    bool gzip;
    bool stored, to_vtt; /* nothing of the above: the material as it is, or WebVTT made of it */
    uint8_t *material;   /* malloc'd, taken over in any case: what subtitles are made of */
    size_t material_size;
    const char *file_name, *file_type, *reason; /* for /info; copied */
    int64_t file_size;
    stream_build_callback done;
    void *argument;
};

/* NULL: no memory, or no worker takes it. */
MUST_CHECK struct stream_build *stream_build_start(const struct stream_build_options *options);
/* The callback will not come. NULL is ignored. */
void stream_build_cancel(struct stream_build *build);

/* The content type of what is made. Static. */
const char *stream_build_type(enum http_service service, const struct media_name *name);

/* What a file of subtitles is called in playlists: by its NAME, e.g. "film.en.srt". */
void stream_build_label(const char *name, struct media_set *set, size_t item);

#endif
