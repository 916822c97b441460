/*
 * media_bytes: every read is checked against the view's size, every write against memory.
 */
#include "httpd/media/media_bytes.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t media_get24(struct media_view view, size_t offset)
{
    if (!media_view_has(view, offset, 3))
        return 0;
    return (uint32_t)view.bytes[offset] << 16 | (uint32_t)view.bytes[offset + 1] << 8 |
           view.bytes[offset + 2];
}

struct media_view media_view_from(struct media_view view, size_t offset)
{
    return media_view_part(view, offset, view.size);
}

struct media_view media_view_part(struct media_view view, size_t offset, size_t size)
{
    if (offset >= view.size)
        return (struct media_view){view.bytes, 0};
    return (struct media_view){view.bytes + offset, min_size(size, view.size - offset)};
}

bool media_box_next(struct media_view *rest, struct media_box *box)
{
    uint64_t size = media_get32(*rest, 0), header = 8;
    if (rest->size < 8)
        return false;
    if (size == 1) {
        size = media_get64(*rest, 8);
        header = 16;
    } else if (size == 0) {
        size = rest->size; /* to the end of what holds it */
    }
    if (size < header || size > rest->size)
        return false;
    box->type = media_get32(*rest, 4);
    box->whole = media_view_part(*rest, 0, (size_t)size);
    box->body = media_view_from(box->whole, (size_t)header);
    *rest = media_view_from(*rest, (size_t)size);
    return true;
}

bool media_box_find(struct media_view parent, uint32_t type, struct media_box *box)
{
    while (media_box_next(&parent, box)) {
        if (box->type == type)
            return true;
    }
    return false;
}

/* ---- writing ---- */

static uint8_t *reserve(struct media_buffer *out, size_t size)
{
    if (out->failed || size > SIZE_MAX / 2 - out->size) {
        out->failed = true;
        return NULL;
    }
    if (size == 0)
        return NULL;
    if (out->size + size > out->capacity) {
        size_t capacity = max_size(max_size(out->capacity * 2, 256), out->size + size);
        uint8_t *bytes = realloc(out->bytes, capacity);
        if (!bytes) {
            out->failed = true;
            return NULL;
        }
        out->bytes = bytes;
        out->capacity = capacity;
    }
    uint8_t *at = out->bytes + out->size;
    out->size += size;
    return at;
}

void media_put(struct media_buffer *out, const void *bytes, size_t size)
{
    uint8_t *at = reserve(out, size);
    if (at && size > 0)
        memcpy(at, bytes, size);
}

static void media_bytes_put_number(struct media_buffer *out, uint64_t value, size_t size)
{
    uint8_t *at = reserve(out, size);
    for (size_t i = 0; at && i < size; i++)
        at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

void media_put8(struct media_buffer *out, uint8_t value)
{
    media_bytes_put_number(out, value, 1);
}

void media_put16(struct media_buffer *out, uint16_t value)
{
    media_bytes_put_number(out, value, 2);
}

void media_put32(struct media_buffer *out, uint32_t value)
{
    media_bytes_put_number(out, value, 4);
}

void media_put64(struct media_buffer *out, uint64_t value)
{
    media_bytes_put_number(out, value, 8);
}

void media_put_zeros(struct media_buffer *out, size_t count)
{
    uint8_t *at = reserve(out, count);
    if (at && count > 0)
        memset(at, 0, count);
}

void media_put_text(struct media_buffer *out, const char *text)
{
    media_put(out, text, strlen(text));
}

void media_printf(struct media_buffer *out, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof(text))
        out->failed = true;
    else
        media_put(out, text, (size_t)size);
}

size_t media_box_begin(struct media_buffer *out, uint32_t type)
{
    size_t begin = out->size;
    media_put32(out, 0);
    media_put32(out, type);
    return begin;
}

size_t media_box_begin_full(struct media_buffer *out, uint32_t type, uint8_t version, uint32_t flags)
{
    size_t begin = media_box_begin(out, type);
    media_put32(out, (uint32_t)version << 24 | flags);
    return begin;
}

void media_box_end(struct media_buffer *out, size_t begin)
{
    if (out->size - begin > UINT32_MAX)
        out->failed = true;
    media_set32(out, begin, (uint32_t)(out->size - begin));
}

void media_set32(struct media_buffer *out, size_t offset, uint32_t value)
{
    if (out->failed)
        return;
    for (size_t i = 0; i < 4; i++)
        out->bytes[offset + i] = (uint8_t)(value >> (24 - 8 * i));
}

void media_buffer_clear(struct media_buffer *out)
{
    free(out->bytes);
    *out = (struct media_buffer){0};
}

int64_t media_rescale(int64_t value, int64_t to, int64_t from)
{
    return (int64_t)((__int128)value * to / from);
}
