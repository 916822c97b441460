/*
 * mp4_fragment: samples are laid out first, in runs that touch each other in the mdat; then the boxes are written.
 */
#include "httpd/media/mp4_fragment.h"
#include "httpd/media/mp4_boxes.h"
#include "httpd/media/mp4_cut.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPE MEDIA_TYPE

/* tfhd, trun and trex flags (ISO/IEC 14496-12 sections 8.8.7, 8.8.8 and 8.8.3.1). */
#define TFHD_BASE_IS_MOOF 0x020000u
#define TFHD_DURATION     0x000008u
#define TFHD_FLAGS        0x000020u
#define TRUN_DATA_OFFSET  0x000001u
#define TRUN_FIRST_FLAGS  0x000004u
#define TRUN_DURATION     0x000100u
#define TRUN_SIZE         0x000200u
#define TRUN_CTS          0x000800u
#define SAMPLE_SYNC       0x02000000u
#define SAMPLE_DEPENDS    0x01010000u
#define MDAT_HEADER       8

struct layout {
    struct mp4_sample *samples; /* of all parts, one behind the other */
    int64_t *places;            /* of each in the mdat */
    size_t count;
    size_t begin[MP4_PARTS_MAX + 1];
    int64_t low, high, bytes;
    bool dense;
};

static void layout_clear(struct layout *layout)
{
    free(layout->samples);
    free(layout->places);
}

static bool layout_read(struct layout *layout, const struct mp4_part *parts, size_t count)
{
    struct mp4_cursor cursor;
    layout->low = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        layout->begin[i] = layout->count;
        mp4_cursor_seek(&cursor, parts[i].track, parts[i].first);
        for (uint32_t n = 0; n < parts[i].count; n++) {
            struct mp4_sample *sample = &layout->samples[layout->count];
            if (!mp4_cursor_next(&cursor, sample))
                return false;
            layout->bytes += sample->size;
            layout->low = min_i64(layout->low, sample->offset);
            layout->high = max_i64(layout->high, sample->offset + sample->size);
            layout->count++;
        }
    }
    layout->begin[count] = layout->count;
    return layout->count > 0;
}

/* Where each sample lies in the mdat: as in the file, or one behind the other. */
static bool layout_place(struct layout *layout, struct mp4_fragment *fragment)
{
    int64_t at = 0;
    layout->dense = mp4_cut_is_dense(layout->bytes, layout->high - layout->low);
    fragment->offset = layout->low;
    fragment->length = layout->dense ? layout->high - layout->low : layout->bytes;
    if (!layout->dense)
        fragment->pieces = calloc(layout->count, sizeof(*fragment->pieces));
    if (!layout->dense && !fragment->pieces)
        return false;
    for (size_t i = 0; i < layout->count; i++) {
        const struct mp4_sample *sample = &layout->samples[i];
        layout->places[i] = layout->dense ? sample->offset - layout->low : at;
        at += sample->size;
        if (layout->dense || sample->size == 0)
            continue;
        struct mp4_piece *last =
            fragment->piece_count > 0 ? &fragment->pieces[fragment->piece_count - 1] : NULL;
        if (last && last->offset + last->size == sample->offset)
            last->size += sample->size;
        else
            fragment->pieces[fragment->piece_count++] = (struct mp4_piece){sample->offset, sample->size};
    }
    return true;
}

static bool durations_are_alike(const struct layout *layout, size_t from, size_t to)
{
    for (size_t i = from + 1; i < to; i++) {
        if (layout->samples[i].duration != layout->samples[from].duration)
            return false;
    }
    return true;
}

/* The end of the run that begins at sample FROM: a key frame begins another one, whose first sample has flags of its own. */
static size_t run_end(const struct layout *layout, const struct mp4_track *track, size_t from, size_t to)
{
    size_t end = from + 1;
    while (end < to && layout->places[end] == layout->places[end - 1] + layout->samples[end - 1].size &&
           (track->all_sync || !layout->samples[end].sync))
        end++;
    return end;
}

/* Data offsets are counted from the moof's first byte, whose size is known when it is written: they are noted, and set then. */
static void put_run(struct media_buffer *out, const struct layout *layout, const struct mp4_track *track,
                    size_t from, size_t to, bool alike)
{
    bool key = !track->all_sync && layout->samples[from].sync;
    uint32_t flags = TRUN_DATA_OFFSET | TRUN_SIZE | (alike ? 0 : TRUN_DURATION) |
                     (track->has_cts ? TRUN_CTS : 0) | (key ? TRUN_FIRST_FLAGS : 0);
    size_t box = media_box_begin_full(out, TYPE('t', 'r', 'u', 'n'), 1, flags);
    media_put32(out, (uint32_t)(to - from));
    media_put32(out, (uint32_t)layout->places[from]);
    if (key)
        media_put32(out, SAMPLE_SYNC);
    for (size_t i = from; i < to; i++) {
        if (!alike)
            media_put32(out, layout->samples[i].duration);
        media_put32(out, layout->samples[i].size);
        if (track->has_cts)
            media_put32(out, (uint32_t)layout->samples[i].cts);
    }
    media_box_end(out, box);
}

static void put_traf(struct media_buffer *out, const struct layout *layout, const struct mp4_track *track,
                     uint32_t id, size_t from, size_t to)
{
    bool alike = durations_are_alike(layout, from, to);
    size_t traf = media_box_begin(out, TYPE('t', 'r', 'a', 'f'));
    size_t box = media_box_begin_full(out, TYPE('t', 'f', 'h', 'd'), 0,
                                      TFHD_BASE_IS_MOOF | TFHD_FLAGS | (alike ? TFHD_DURATION : 0));
    media_put32(out, id);
    if (alike)
        media_put32(out, layout->samples[from].duration);
    media_put32(out, track->all_sync ? SAMPLE_SYNC : SAMPLE_DEPENDS);
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('t', 'f', 'd', 't'), 1, 0);
    media_put64(out, (uint64_t)layout->samples[from].dts);
    media_box_end(out, box);
    while (from < to) {
        size_t end = run_end(layout, track, from, to);
        put_run(out, layout, track, from, end, alike);
        from = end;
    }
    media_box_end(out, traf);
}

/* Adds the size of what comes before the mdat's content to the data offset of every trun. */
static void set_data_offsets(struct media_buffer *out, size_t moof)
{
    struct media_view rest = {out->bytes, out->size};
    struct media_box box, traf, trun;
    if (out->failed)
        return;
    rest = media_view_from(rest, moof);
    size_t add = rest.size + MDAT_HEADER;
    if (!media_box_next(&rest, &box))
        return;
    rest = box.body;
    while (media_box_next(&rest, &traf)) {
        struct media_view runs = traf.body;
        while (traf.type == TYPE('t', 'r', 'a', 'f') && media_box_next(&runs, &trun)) {
            if (trun.type == TYPE('t', 'r', 'u', 'n'))
                media_set32(out, (size_t)(trun.body.bytes - out->bytes) + 8,
                            (uint32_t)(media_get32(trun.body, 8) + add));
        }
    }
}

/* A traf without samples: the time goes on, nothing is shown. */
static void put_empty(struct media_buffer *out, const struct mp4_packed *part, uint32_t id)
{
    size_t traf = media_box_begin(out, TYPE('t', 'r', 'a', 'f'));
    size_t box = media_box_begin_full(out, TYPE('t', 'f', 'h', 'd'), 0, TFHD_BASE_IS_MOOF);
    media_put32(out, id);
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('t', 'f', 'd', 't'), 1, 0);
    media_put64(out, (uint64_t)part->time);
    media_box_end(out, box);
    media_box_end(out, traf);
}

static size_t fragment_begin_head(struct media_buffer *out, uint32_t sequence)
{
    size_t box = media_box_begin(out, TYPE('s', 't', 'y', 'p'));
    media_put_text(out, "msdh");
    media_put32(out, 0);
    media_put_text(out, "msdhiso6");
    media_box_end(out, box);
    size_t moof = media_box_begin(out, TYPE('m', 'o', 'o', 'f'));
    box = media_box_begin_full(out, TYPE('m', 'f', 'h', 'd'), 0, 0);
    media_put32(out, sequence);
    media_box_end(out, box);
    return moof;
}

static void fragment_end_head(struct media_buffer *out, size_t moof, int64_t length)
{
    media_box_end(out, moof);
    set_data_offsets(out, moof);
    media_put32(out, (uint32_t)(length + MDAT_HEADER));
    media_put_text(out, "mdat");
}

static void fragment_put_head(struct media_buffer *out, const struct layout *layout,
                              const struct mp4_part *parts, size_t count, uint32_t sequence, int64_t length)
{
    size_t moof = fragment_begin_head(out, sequence);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].count > 0)
            put_traf(out, layout, parts[i].track, (uint32_t)i + 1, layout->begin[i], layout->begin[i + 1]);
    }
    fragment_end_head(out, moof, length);
}

bool mp4_fragment_pack(const struct mp4_packed *parts, size_t count, uint32_t sequence, int64_t length,
                       struct media_buffer *head, struct error *error)
{
    struct layout layout = {0};
    size_t samples = 0;
    for (size_t i = 0; i < count; i++)
        samples += parts[i].count;
    layout.samples = malloc(max_size(samples, 1) * sizeof(*layout.samples));
    layout.places = malloc(max_size(samples, 1) * sizeof(*layout.places));
    if (layout.samples && layout.places) {
        size_t moof = fragment_begin_head(head, sequence);
        for (size_t i = 0; i < count; i++) {
            size_t from = layout.count;
            for (size_t n = 0; n < parts[i].count; n++) {
                layout.samples[layout.count] = parts[i].samples[n];
                layout.places[layout.count++] = parts[i].samples[n].offset;
            }
            if (parts[i].count > 0)
                put_traf(head, &layout, parts[i].track, (uint32_t)i + 1, from, layout.count);
            else if (samples == 0)
                put_empty(head, &parts[i], (uint32_t)i + 1);
        }
        fragment_end_head(head, moof, length);
    } else {
        head->failed = true;
    }
    layout_clear(&layout);
    return !head->failed || error_set(error, ERROR_UNAVAILABLE, "no memory for a segment");
}

bool mp4_fragment_make(const struct mp4_part *parts, size_t count, uint32_t sequence,
                       struct mp4_fragment *fragment, struct error *error)
{
    struct layout layout = {0};
    size_t samples = 0;
    bool done = false;
    *fragment = (struct mp4_fragment){0};
    for (size_t i = 0; i < count; i++)
        samples += parts[i].count;
    if (samples == 0 || samples > MP4_FRAGMENT_SAMPLES_MAX)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "a segment would have %zu samples; 1 to %d are possible", samples,
                         MP4_FRAGMENT_SAMPLES_MAX);
    layout.samples = malloc(samples * sizeof(*layout.samples));
    layout.places = malloc(samples * sizeof(*layout.places));
    if (!layout.samples || !layout.places || !layout_read(&layout, parts, count) ||
        !layout_place(&layout, fragment))
        goto done;
    if (fragment->length > INT32_MAX - 16 * 1024 * 1024) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND, "a segment of it would have %" PRId64 " MB",
                        fragment->length / 1000000);
        layout_clear(&layout);
        mp4_fragment_clear(fragment);
        return false;
    }
    fragment_put_head(&fragment->head, &layout, parts, count, sequence, fragment->length);
    done = !fragment->head.failed;
done:
    layout_clear(&layout);
    if (!done) {
        mp4_fragment_clear(fragment);
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a segment");
    }
    return done;
}

void mp4_fragment_clear(struct mp4_fragment *fragment)
{
    media_buffer_clear(&fragment->head);
    free(fragment->pieces);
    *fragment = (struct mp4_fragment){0};
}

/* ---- the initialization segment ---- */

static void put_stbl(struct media_buffer *out, const struct mp4_part *part)
{
    static const uint32_t tables[] = {TYPE('s', 't', 't', 's'), TYPE('s', 't', 's', 'c'),
                                      TYPE('s', 't', 'c', 'o')};
    size_t stbl = media_box_begin(out, TYPE('s', 't', 'b', 'l'));
    size_t box = media_box_begin_full(out, TYPE('s', 't', 's', 'd'), 0, 0);
    media_put32(out, 1);
    if (part->description < part->track->description_count)
        mp4_put_entry(out, part->track->kind, part->track->descriptions[part->description].entry);
    media_box_end(out, box);
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        box = media_box_begin_full(out, tables[i], 0, 0);
        media_put32(out, 0);
        media_box_end(out, box);
    }
    box = media_box_begin_full(out, TYPE('s', 't', 's', 'z'), 0, 0);
    media_put_zeros(out, 8);
    media_box_end(out, box);
    media_box_end(out, stbl);
}

static void put_mdia(struct media_buffer *out, const struct mp4_part *part)
{
    size_t mdia = media_box_begin(out, TYPE('m', 'd', 'i', 'a'));
    mp4_put_mdhd(out, part->track, 0);
    size_t minf = media_box_begin(out, TYPE('m', 'i', 'n', 'f'));
    mp4_put_dinf(out, part->track->kind);
    put_stbl(out, part);
    media_box_end(out, minf);
    media_box_end(out, mdia);
}

static void put_mvex(struct media_buffer *out, const struct mp4_index *index, size_t count)
{
    size_t mvex = media_box_begin(out, TYPE('m', 'v', 'e', 'x'));
    size_t box = media_box_begin_full(out, TYPE('m', 'e', 'h', 'd'), 1, 0);
    media_put64(out, (uint64_t)index->duration);
    media_box_end(out, box);
    for (size_t i = 0; i < count; i++) {
        box = media_box_begin_full(out, TYPE('t', 'r', 'e', 'x'), 0, 0);
        media_put32(out, (uint32_t)i + 1);
        media_put32(out, 1);
        media_put_zeros(out, 12);
        media_box_end(out, box);
    }
    media_box_end(out, mvex);
}

void mp4_fragment_init(const struct mp4_index *index, const struct mp4_part *parts, size_t count,
                       struct media_buffer *out)
{
    size_t box = media_box_begin(out, TYPE('f', 't', 'y', 'p'));
    media_put_text(out, "iso6");
    media_put32(out, 0);
    media_put_text(out, "iso6isommp41dash");
    media_box_end(out, box);
    size_t moov = media_box_begin(out, TYPE('m', 'o', 'o', 'v'));
    mp4_put_mvhd(out, index->timescale, 0, (uint32_t)count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t trak = media_box_begin(out, TYPE('t', 'r', 'a', 'k'));
        mp4_put_tkhd(out, parts[i].track, (uint32_t)i + 1, 0);
        put_mdia(out, &parts[i]);
        media_box_end(out, trak);
    }
    put_mvex(out, index, count);
    media_box_end(out, moov);
}
