/*
 * stream_clip: the head of a clip (mp4_clip) made by a worker. The loop's thread only; never blocks it.
 */
#ifndef REEL_HTTPD_STREAM_CLIP_H
#define REEL_HTTPD_STREAM_CLIP_H

#include "common/loop/workers.h"
#include "httpd/media/media_film.h"
#include "httpd/media/mp4_clip.h"

struct stream_clip;

/* CLIP: the callee's, NULL where there is none: ERROR says why. Once, from the loop, never inside the starter. */
typedef void (*stream_clip_callback)(void *argument, struct mp4_clip *clip, const struct error *error);

struct stream_clip_options {
    struct loop *loop;
    struct workers *workers;
    struct media_film *film; /* of FILM_MP4; a reference is taken */
    int64_t start_ms, end_ms;
    stream_clip_callback done;
    void *argument;
};

/* NULL: no memory, or no worker takes it. */
MUST_CHECK struct stream_clip *stream_clip_start(const struct stream_clip_options *options);
/* The callback will not come. NULL is ignored. */
void stream_clip_cancel(struct stream_clip *clip);

#endif
