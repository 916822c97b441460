/*
 * stream_texts: playlists, manifests and subtitles that were made, kept by one loop while they are asked for, within a bound of
 * bytes. The loop's thread only.
 */
#ifndef REEL_HTTPD_STREAM_TEXTS_H
#define REEL_HTTPD_STREAM_TEXTS_H

#include "httpd/stream/stream_body.h"

struct stream_texts;

MUST_CHECK struct stream_texts *stream_texts_create(size_t bytes_max); /* NULL without memory */
void stream_texts_destroy(struct stream_texts *texts);                 /* NULL is ignored */

/* A body of the caller's own that shares what is kept under KEY (SIZE bytes); NULL: nothing is, or no memory. */
struct stream_body *stream_texts_find(struct stream_texts *texts, const void *key, size_t size);

/* Keeps what BODY has. Without memory, or where it is too large, it is not kept. */
void stream_texts_keep(struct stream_texts *texts, const void *key, size_t size,
                       const struct stream_body *body);

#endif
