/*
 * stream_body: what a request for a stream is answered with: bytes that were made, a range of a stored file behind them, and the
 * fields that say what they are. Belongs to one loop; shared by reference with what keeps texts that were made.
 */
#ifndef REEL_HTTPD_STREAM_BODY_H
#define REEL_HTTPD_STREAM_BODY_H

#include "httpd/source/source_head.h"

struct stream_body {
    struct http_lookup_file *described; /* size, type, entity tag: see http_lookup_file_derive() */
    struct source_memory *memory;       /* NULL: none */
    struct http_lookup_file *file;      /* what the range is of; NULL: none */
    int64_t offset, length;             /* of the range */
};

/* MADE (malloc'd, or NULL with SIZE 0) is taken over in any case. FILE: references are taken. TYPE: of the body. RANGE: LENGTH
 * bytes of FILE from OFFSET on; 0: none. The entity tag says FILE's and what was made. NULL without memory. */
MUST_CHECK struct stream_body *stream_body_create(struct http_lookup_file *file, uint8_t *made, size_t size,
                                                  int64_t offset, int64_t length, const char *type);
/* Another one that holds the same things; NULL without memory. */
MUST_CHECK struct stream_body *stream_body_share(const struct stream_body *body);
void stream_body_destroy(struct stream_body *body); /* NULL is ignored */

/* A source for a part of it: options->offset and length are of the body; its file is set here. NULL without memory. */
MUST_CHECK struct source *stream_body_open(const struct stream_body *body,
                                           const struct source_options *options);

#endif
