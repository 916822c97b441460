/*
 * source_head: a body that begins with bytes in memory and goes on, where it does, with a range of a stored file, which comes from
 * a source of its own: a segment of a stream, a playlist.
 */
#ifndef REEL_HTTPD_SOURCE_HEAD_H
#define REEL_HTTPD_SOURCE_HEAD_H

#include "httpd/loop/http_budget.h"
#include "httpd/source/source.h"

/* Bytes that several answers may hold; one loop's. */
struct source_memory {
    size_t references;
    size_t size;
    uint8_t *bytes;             /* malloc'd */
    struct http_budget *budget; /* what SIZE is given back to; NULL: none */
};

/* Takes BYTES over, with one reference; NULL without memory: they are still the caller's. */
MUST_CHECK struct source_memory *source_memory_create(uint8_t *bytes, size_t size);
struct source_memory *source_memory_take(struct source_memory *memory);
/* BUDGET, of which TAKEN bytes were taken for it, holds its size until the last reference is gone. Once. */
void source_memory_charge(struct source_memory *memory, struct http_budget *budget, size_t taken);
void source_memory_release(struct source_memory *memory); /* NULL is ignored */

/* SIZE bytes of MEMORY (a reference is taken) from START on, then those that OPTIONS name, where options->length is not 0 (the file
 * may be NULL otherwise). One of both is there. NULL without memory. */
MUST_CHECK struct source *source_head_open(const struct source_options *options, struct source_memory *memory,
                                           size_t start, size_t size);

#endif
