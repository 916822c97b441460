/*
 * mp4_boxes: version 1 of each, whose durations have 64 bits.
 */
#include "httpd/media/mp4_boxes.h"
#include <string.h>

#define TYPE MEDIA_TYPE

/* The track header as the file has it (its matrix turns pictures that were taken upright), enabled. */
void mp4_put_tkhd(struct media_buffer *out, const struct mp4_track *track, uint32_t id, uint64_t duration)
{
    struct media_view tkhd = track->tkhd;
    size_t fixed = media_get8(tkhd, 0) == 1 ? 36 : 24; /* up to the duration's end */
    size_t box = media_box_begin_full(out, TYPE('t', 'k', 'h', 'd'), 1, 7);
    media_put_zeros(out, 16);
    media_put32(out, id);
    media_put32(out, 0);
    media_put64(out, duration);
    struct media_view rest = media_view_part(tkhd, fixed, 60);
    media_put(out, rest.bytes, rest.size);
    media_put_zeros(out, 60 - rest.size);
    media_box_end(out, box);
}

static void put_hdlr(struct media_buffer *out, const struct mp4_track *track)
{
    size_t box = media_box_begin_full(out, TYPE('h', 'd', 'l', 'r'), 0, 0);
    media_put32(out, 0);
    media_put_text(out, track->kind == MEDIA_VIDEO ? "vide" : "soun");
    media_put_zeros(out, 12);
    media_put_text(out, track->kind == MEDIA_VIDEO ? "Video" : "Audio");
    media_put8(out, 0);
    media_box_end(out, box);
}

void mp4_put_mdhd(struct media_buffer *out, const struct mp4_track *track, uint64_t duration)
{
    size_t box = media_box_begin_full(out, TYPE('m', 'd', 'h', 'd'), 1, 0);
    media_put_zeros(out, 16);
    media_put32(out, track->timescale);
    media_put64(out, duration);
    media_put16(out, track->language_code);
    media_put16(out, 0);
    media_box_end(out, box);
    put_hdlr(out, track);
}

void mp4_put_dinf(struct media_buffer *out, enum media_kind kind)
{
    size_t box;
    if (kind == MEDIA_VIDEO) {
        box = media_box_begin_full(out, TYPE('v', 'm', 'h', 'd'), 0, 1);
        media_put_zeros(out, 8);
    } else {
        box = media_box_begin_full(out, TYPE('s', 'm', 'h', 'd'), 0, 0);
        media_put_zeros(out, 4);
    }
    media_box_end(out, box);
    size_t dinf = media_box_begin(out, TYPE('d', 'i', 'n', 'f'));
    size_t dref = media_box_begin_full(out, TYPE('d', 'r', 'e', 'f'), 0, 0);
    media_put32(out, 1);
    size_t url = media_box_begin_full(out, TYPE('u', 'r', 'l', ' '), 0, 1);
    media_box_end(out, url);
    media_box_end(out, dref);
    media_box_end(out, dinf);
}

/* QuickTime's audio entries have more fields, and their configuration a level deeper; browsers want the plain form. */
void mp4_put_entry(struct media_buffer *out, enum media_kind kind, struct media_view entry)
{
    uint16_t version = kind == MEDIA_AUDIO ? media_get16(entry, 16) : 0;
    static const uint32_t inner_types[] = {TYPE('e', 's', 'd', 's'), TYPE('d', 'a', 'c', '3'),
                                           TYPE('d', 'e', 'c', '3')};
    struct media_box box, inner;
    if (version == 0) {
        media_put(out, entry.bytes, entry.size);
        return;
    }
    struct media_view rest = media_view_from(entry, version == 1 ? 52 : 72);
    size_t begin = out->size;
    media_put(out, entry.bytes, min_size(entry.size, 36));
    if (!out->failed && out->size >= begin + 20)
        memset(out->bytes + begin + 16, 0, 4); /* the version and revision */
    while (media_box_next(&rest, &box)) {
        if (box.type == TYPE('w', 'a', 'v', 'e')) {
            for (size_t i = 0; i < ARRAY_SIZE(inner_types); i++) {
                if (media_box_find(box.body, inner_types[i], &inner))
                    media_put(out, inner.whole.bytes, inner.whole.size);
            }
        } else if (box.type != TYPE('c', 'h', 'a', 'n')) {
            media_put(out, box.whole.bytes, box.whole.size);
        }
    }
    media_box_end(out, begin);
}

void mp4_put_mvhd(struct media_buffer *out, uint32_t timescale, uint64_t duration, uint32_t next_track)
{
    static const uint32_t matrix[] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    size_t box = media_box_begin_full(out, TYPE('m', 'v', 'h', 'd'), 1, 0);
    media_put_zeros(out, 16);
    media_put32(out, timescale);
    media_put64(out, duration);
    media_put32(out, 0x10000);
    media_put16(out, 0x100);
    media_put_zeros(out, 10);
    for (size_t i = 0; i < ARRAY_SIZE(matrix); i++)
        media_put32(out, matrix[i]);
    media_put_zeros(out, 24);
    media_put32(out, next_track);
    media_box_end(out, box);
}
