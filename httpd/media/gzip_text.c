/*
 * gzip_text: zlib, in one call.
 */
#include "httpd/media/gzip_text.h"
#include <stdlib.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* with gzip's head and end */
#define LEVEL       6

void gzip_text(struct media_view text, struct media_buffer *out)
{
    z_stream stream = {0};
    out->failed = true;
    if (text.size > UINT32_MAX / 2 ||
        deflateInit2(&stream, LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return;
    size_t bound = deflateBound(&stream, text.size);
    uint8_t *bytes = malloc(bound);
    stream.next_in = (Bytef *)(uintptr_t)text.bytes;
    stream.avail_in = (uInt)text.size;
    stream.next_out = bytes;
    stream.avail_out = (uInt)bound;
    if (bytes && deflate(&stream, Z_FINISH) == Z_STREAM_END) {
        out->failed = false;
        media_put(out, bytes, stream.total_out);
    }
    (void)deflateEnd(&stream);
    free(bytes);
}

bool inflate_text(struct media_view bytes, size_t max, struct media_buffer *out)
{
    z_stream stream = {0};
    uint8_t piece[4096];
    size_t made = 0;
    int step = Z_OK;
    if (bytes.size > UINT32_MAX / 2 || inflateInit(&stream) != Z_OK)
        return false;
    stream.next_in = (Bytef *)(uintptr_t)bytes.bytes;
    stream.avail_in = (uInt)bytes.size;
    while (step == Z_OK && made <= max) {
        stream.next_out = piece;
        stream.avail_out = sizeof(piece);
        step = inflate(&stream, Z_NO_FLUSH);
        made += sizeof(piece) - stream.avail_out;
        if (made <= max)
            media_put(out, piece, sizeof(piece) - stream.avail_out);
    }
    (void)inflateEnd(&stream);
    return step == Z_STREAM_END && made <= max;
}
