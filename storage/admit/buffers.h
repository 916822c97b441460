/*
 * buffers: memory for the content of uploads on its way to the disk, within a budget. Whole chunks come from
 * mmap(2), so that what is given back is really freed; a few are kept, so that a busy server does not map all
 * the time. Any thread.
 */
#ifndef REEL_STORAGE_BUFFERS_H
#define REEL_STORAGE_BUFFERS_H

#include "common/base/base.h"

#define BUFFERS_LEAST ((size_t)16 * 1024) /* bytes that are given also when the budget is used up */

struct buffers;

struct buffer {
    uint8_t *bytes; /* NULL: none */
    size_t size;
};

/* CHUNK_SIZE: bytes of a whole chunk, at least BUFFERS_LEAST. BUDGET in bytes. NULL without memory. */
MUST_CHECK struct buffers *buffers_create(size_t chunk_size, int64_t budget);
void buffers_destroy(struct buffers *buffers); /* every buffer must be back; NULL is ignored */

/* A buffer for LEFT more bytes: the smaller of LEFT and a chunk; BUFFERS_LEAST at most when the budget is
 * used up. False without memory, and, where it is OPTIONAL, when the budget is used up. */
MUST_CHECK bool buffers_take(struct buffers *buffers, int64_t left, bool optional, struct buffer *buffer);

/* Gives it back; one without bytes is ignored. */
void buffers_give(struct buffers *buffers, struct buffer *buffer);

int64_t buffers_used(struct buffers *buffers); /* bytes, spare ones not counted */

#endif
