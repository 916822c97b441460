/*
 * gzip_text: a text compressed as gzip (RFC 1952). Pure; takes a millisecond for each 50 KB or so: on a worker.
 */
#ifndef REEL_HTTPD_GZIP_TEXT_H
#define REEL_HTTPD_GZIP_TEXT_H

#include "httpd/media/media_bytes.h"

/* OUT->failed without memory. */
void gzip_text(struct media_view text, struct media_buffer *out);

/* Appends what zlib (RFC 1950) made of BYTES. False: damaged, or more than MAX bytes would come of it. */
MUST_CHECK bool inflate_text(struct media_view bytes, size_t max, struct media_buffer *out);

#endif
