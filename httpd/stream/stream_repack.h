/*
 * stream_repack: what is made of a Matroska or WebM file, a segment or a track of subtitles, from its ranges, read one behind the other as
 * media_read reads, to the bytes that a worker puts together. The loop's thread only; never blocks it.
 */
#ifndef REEL_HTTPD_STREAM_REPACK_H
#define REEL_HTTPD_STREAM_REPACK_H

#include "common/loop/workers.h"
#include "httpd/loop/http_loop.h"
#include "httpd/media/ebml_segment.h"
#include "httpd/media/ebml_texts.h"

struct stream_repack;

/* BYTES: the segment or text, the callee's; NULL: ERROR says why. Once, from the loop, never inside the starter. */
typedef void (*stream_repack_callback)(void *argument, uint8_t *bytes, size_t size,
                                       const struct error *error);

/* OPTIONS->film and FILE: references are taken. NULL without memory. */
MUST_CHECK struct stream_repack *stream_repack_start(struct http_loop *loop, struct workers *workers,
                                                     struct http_lookup_file *file,
                                                     const struct ebml_segment_options *options,
                                                     stream_repack_callback callback, void *argument);
/* The same for the subtitles of TRACK, as WebVTT. */
MUST_CHECK struct stream_repack *stream_repack_texts(struct http_loop *loop, struct workers *workers,
                                                     struct http_lookup_file *file, struct media_film *film,
                                                     size_t track, stream_repack_callback callback,
                                                     void *argument);
/* The callback will not come. NULL is ignored. */
void stream_repack_cancel(struct stream_repack *repack);

#endif
