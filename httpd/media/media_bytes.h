/*
 * media_bytes: numbers read out of foreign bytes within their bounds, boxes of ISO media files walked, and a block of bytes that
 * grows while it is written. Pure; what every module of this room stands on. Any thread.
 */
#ifndef REEL_HTTPD_MEDIA_BYTES_H
#define REEL_HTTPD_MEDIA_BYTES_H

#include "common/base/base.h"
#include <endian.h>
#include <string.h>

/* SIZE bytes of somebody else's memory. */
struct media_view {
    const uint8_t *bytes;
    size_t size;
};

/* Big-endian numbers at OFFSET; 0 behind the end, so that a caller who checked the size once need not check each. Inline: an
 * index has a million of them. */
static inline bool media_view_has(struct media_view view, size_t offset, size_t size)
{
    return offset <= view.size && size <= view.size - offset;
}

static inline uint8_t media_get8(struct media_view view, size_t offset)
{
    return offset < view.size ? view.bytes[offset] : 0;
}

static inline uint16_t media_get16(struct media_view view, size_t offset)
{
    uint16_t value;
    if (!media_view_has(view, offset, sizeof(value)))
        return 0;
    memcpy(&value, view.bytes + offset, sizeof(value));
    return be16toh(value);
}

static inline uint32_t media_get32(struct media_view view, size_t offset)
{
    uint32_t value;
    if (!media_view_has(view, offset, sizeof(value)))
        return 0;
    memcpy(&value, view.bytes + offset, sizeof(value));
    return be32toh(value);
}

static inline uint64_t media_get64(struct media_view view, size_t offset)
{
    uint64_t value;
    if (!media_view_has(view, offset, sizeof(value)))
        return 0;
    memcpy(&value, view.bytes + offset, sizeof(value));
    return be64toh(value);
}

uint32_t media_get24(struct media_view view, size_t offset);

/* What is left from OFFSET on, and at most SIZE bytes of it; empty behind the end. */
struct media_view media_view_from(struct media_view view, size_t offset);
struct media_view media_view_part(struct media_view view, size_t offset, size_t size);

/* Four characters as boxes have them. */
#define MEDIA_TYPE(a, b, c, d)                                                                               \
    ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* A box (ISO/IEC 14496-12 section 4.2). */
struct media_box {
    uint32_t type;
    struct media_view body;  /* behind its header */
    struct media_view whole; /* with it */
};

/* The next box of *REST, which is moved behind it. False at the end, or where a box is longer than what holds it. */
bool media_box_next(struct media_view *rest, struct media_box *box);
/* The first box of TYPE in PARENT's body. */
bool media_box_find(struct media_view parent, uint32_t type, struct media_box *box);

/* ---- writing ---- */

struct media_buffer {
    uint8_t *bytes; /* malloc'd; whoever takes it frees it */
    size_t size, capacity;
    bool failed; /* no memory once: nothing in it may be used */
};

void media_put(struct media_buffer *out, const void *bytes, size_t size);
void media_put8(struct media_buffer *out, uint8_t value);
void media_put16(struct media_buffer *out, uint16_t value);
void media_put32(struct media_buffer *out, uint32_t value);
void media_put64(struct media_buffer *out, uint64_t value);
void media_put_zeros(struct media_buffer *out, size_t count);
void media_put_text(struct media_buffer *out, const char *text);
void media_printf(struct media_buffer *out, const char *format, ...) PRINTF_LIKE(2, 3);

/* Begins a box; its size is filled in by media_box_end(), which gets what this returned. */
size_t media_box_begin(struct media_buffer *out, uint32_t type);
size_t media_box_begin_full(struct media_buffer *out, uint32_t type, uint8_t version, uint32_t flags);
void media_box_end(struct media_buffer *out, size_t begin);
/* Writes VALUE over four bytes that are there. */
void media_set32(struct media_buffer *out, size_t offset, uint32_t value);

void media_buffer_clear(struct media_buffer *out);

/* VALUE * TO / FROM without overflow in between, rounded down; FROM at least 1. */
int64_t media_rescale(int64_t value, int64_t to, int64_t from);

#endif
