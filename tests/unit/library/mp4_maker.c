/*
 * mp4_maker: box by box.
 */
#include "tests/unit/library/mp4_maker.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define TYPE MEDIA_TYPE

static void put_tkhd(struct media_buffer *out, uint32_t id)
{
    size_t box = media_box_begin_full(out, TYPE('t', 'k', 'h', 'd'), 0, 7);
    media_put_zeros(out, 8);
    media_put32(out, id);
    media_put_zeros(out, 68);
    media_box_end(out, box);
}

static void put_edits(struct media_buffer *out, const struct mp4_maker_track *track)
{
    if (track->media_time == -2)
        return;
    size_t edts = media_box_begin(out, TYPE('e', 'd', 't', 's'));
    size_t box = media_box_begin_full(out, TYPE('e', 'l', 's', 't'), 0, 0);
    media_put32(out, track->empty_edit > 0 ? 2 : 1);
    if (track->empty_edit > 0) {
        media_put32(out, track->empty_edit);
        media_put32(out, UINT32_MAX);
        media_put32(out, 0x10000);
    }
    media_put32(out, 1000);
    media_put32(out, (uint32_t)track->media_time);
    media_put32(out, 0x10000);
    media_box_end(out, box);
    media_box_end(out, edts);
}

static void put_entry(struct media_buffer *out, const struct mp4_maker_track *track, uint32_t level)
{
    if (track->entry.size > 0) {
        media_put(out, track->entry.bytes, track->entry.size);
        return;
    }
    if (track->text) {
        size_t text = media_box_begin(out, TYPE('t', 'x', '3', 'g'));
        media_put_zeros(out, 38);
        media_box_end(out, text);
        return;
    }
    size_t entry = media_box_begin(out, track->video ? TYPE('a', 'v', 'c', '1') : TYPE('m', 'p', '4', 'a'));
    if (track->video) {
        media_put_zeros(out, 24);
        media_put16(out, 640);
        media_put16(out, 360);
        media_put_zeros(out, 50);
        size_t box = media_box_begin(out, TYPE('a', 'v', 'c', 'C'));
        media_put32(out, 0x01640000 | level);
        media_put_zeros(out, 4);
        media_box_end(out, box);
    } else {
        static const uint8_t descriptors[] = {3, 25, 0, 1, 0, 4, 17, 0x40, 0x15, 0,    0,    0, 0, 0,
                                              0, 0,  0, 0, 0, 0, 0,  5,    2,    0x11, 0x90, 6, 1, 2};
        media_put_zeros(out, 16);
        media_put16(out, 2);
        media_put16(out, 16);
        media_put_zeros(out, 4);
        media_put32(out, 48000u << 16);
        size_t box = media_box_begin_full(out, TYPE('e', 's', 'd', 's'), 0, 0);
        media_put(out, descriptors, sizeof(descriptors));
        media_box_end(out, box);
    }
    media_box_end(out, entry);
}

static void put_times(struct media_buffer *out, const struct mp4_maker_track *track)
{
    static const uint32_t order[] = {1, 3, 0, 2};
    size_t box = media_box_begin_full(out, TYPE('s', 't', 't', 's'), 0, 0);
    media_put32(out, 1);
    media_put32(out, track->count);
    media_put32(out, track->duration);
    media_box_end(out, box);
    if (track->reorder) {
        box = media_box_begin_full(out, TYPE('c', 't', 't', 's'), 0, 0);
        media_put32(out, track->count);
        for (uint32_t i = 0; i < track->count; i++) {
            media_put32(out, 1);
            media_put32(out, order[i % 4] * track->duration);
        }
        media_box_end(out, box);
    }
    if (track->key_every > 0) {
        box = media_box_begin_full(out, TYPE('s', 't', 's', 's'), 0, 0);
        media_put32(out, (track->count + track->key_every - 1) / track->key_every);
        for (uint32_t i = 0; i < track->count; i += track->key_every)
            media_put32(out, i + 1);
        media_box_end(out, box);
    }
}

static void put_places(struct media_buffer *out, const struct mp4_maker_track *track)
{
    uint32_t chunks = (track->count + track->per_chunk - 1) / track->per_chunk;
    size_t box = media_box_begin_full(out, TYPE('s', 't', 's', 'z'), 0, 0);
    media_put32(out, 0);
    media_put32(out, track->count);
    for (uint32_t i = 0; i < track->count; i++)
        media_put32(out, track->size);
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('s', 't', 's', 'c'), 0, 0);
    media_put32(out, track->descriptions > 1 ? 2 : 1);
    media_put32(out, 1);
    media_put32(out, track->per_chunk);
    media_put32(out, 1);
    if (track->descriptions > 1) {
        media_put32(out, chunks / 2 + 1);
        media_put32(out, track->per_chunk);
        media_put32(out, 2);
    }
    media_box_end(out, box);
    box = media_box_begin_full(out, track->wide ? TYPE('c', 'o', '6', '4') : TYPE('s', 't', 'c', 'o'), 0, 0);
    media_put32(out, chunks);
    for (uint32_t i = 0; i < chunks; i++) {
        int64_t offset = track->offsets ? track->offsets[i] : track->first_offset + i * track->chunk_step;
        if (track->wide)
            media_put64(out, (uint64_t)offset);
        else
            media_put32(out, (uint32_t)offset);
    }
    media_box_end(out, box);
}

static void put_track(struct media_buffer *out, const struct mp4_maker_track *track, uint32_t id)
{
    uint32_t descriptions = track->descriptions > 0 ? track->descriptions : 1;
    size_t trak = media_box_begin(out, TYPE('t', 'r', 'a', 'k'));
    put_tkhd(out, id);
    put_edits(out, track);
    size_t mdia = media_box_begin(out, TYPE('m', 'd', 'i', 'a'));
    size_t box = media_box_begin_full(out, TYPE('m', 'd', 'h', 'd'), 0, 0);
    media_put_zeros(out, 8);
    media_put32(out, track->timescale);
    media_put32(out, track->count * track->duration);
    media_put16(out, track->language != 0 ? track->language : 0x15c7); /* eng */
    media_put16(out, 0);
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('h', 'd', 'l', 'r'), 0, 0);
    media_put32(out, 0);
    media_put_text(out, track->text ? "sbtl" : track->video ? "vide" : "soun");
    media_put_zeros(out, 12);
    media_put_text(out, track->title ? track->title : "");
    media_put8(out, 0);
    media_box_end(out, box);
    size_t minf = media_box_begin(out, TYPE('m', 'i', 'n', 'f'));
    size_t stbl = media_box_begin(out, TYPE('s', 't', 'b', 'l'));
    box = media_box_begin_full(out, TYPE('s', 't', 's', 'd'), 0, 0);
    media_put32(out, descriptions);
    for (uint32_t i = 0; i < descriptions; i++)
        put_entry(out, track, 30 + i);
    media_box_end(out, box);
    put_times(out, track);
    put_places(out, track);
    media_box_end(out, stbl);
    media_box_end(out, minf);
    media_box_end(out, mdia);
    media_box_end(out, trak);
}

void mp4_maker_moov(struct media_buffer *out, const struct mp4_maker_track *tracks, size_t count)
{
    size_t moov = media_box_begin(out, TYPE('m', 'o', 'o', 'v'));
    size_t box = media_box_begin_full(out, TYPE('m', 'v', 'h', 'd'), 0, 0);
    media_put_zeros(out, 8);
    media_put32(out, 1000);
    media_put32(out, 10000);
    media_put_zeros(out, 80);
    media_box_end(out, box);
    for (size_t i = 0; i < count; i++)
        put_track(out, &tracks[i], (uint32_t)i + 1);
    media_box_end(out, moov);
}

struct mp4_cut *mp4_maker_cut(const struct mp4_index *index, int64_t segment_ms, struct error *error)
{
    struct mp4_cutter *cutter = mp4_cutter_create(segment_ms);
    if (!cutter)
        abort();
    struct mp4_cut *cut = mp4_cut_create(index, cutter, error);
    mp4_cutter_destroy(cutter);
    return cut;
}

const struct mp4_maker_track mp4_maker_video = {.video = true,
                                                .timescale = 25,
                                                .count = 500,
                                                .duration = 1,
                                                .size = 1000,
                                                .per_chunk = 1,
                                                .key_every = 50,
                                                .first_offset = 100,
                                                .chunk_step = 1400,
                                                .media_time = -2};

struct mp4_index *mp4_maker_index(const struct mp4_maker_track *tracks, size_t count, int64_t length,
                                  struct error *error)
{
    struct media_buffer moov = {0};
    mp4_maker_moov(&moov, tracks, count);
    assert_false(moov.failed);
    struct mp4_index *index =
        mp4_index_create((struct media_view){moov.bytes, moov.size}, length, NULL, error);
    media_buffer_clear(&moov);
    return index;
}
