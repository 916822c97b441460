/*
 * gzip_text: a text compressed as gzip (RFC 1952). Pure; takes a millisecond for each 50 KB or so: on a worker.
 */
#ifndef REEL_HTTPD_GZIP_TEXT_H
#define REEL_HTTPD_GZIP_TEXT_H

#include "httpd/media/media_bytes.h"

/* OUT->failed without memory. */
void gzip_text(struct media_view text, struct media_buffer *out);

#endif
