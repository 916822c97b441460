/*
 * mp4_tables: each table has a place of its own, which moves on by the samples that are read.
 */
#include "httpd/media/mp4_tables.h"
#include <inttypes.h>
#include <string.h>

#define TYPE MEDIA_TYPE

/* The entries of a table whose count stands at byte 4. False: there are more than its box holds. */
static bool mp4_tables_take_table(struct media_view stbl, uint32_t type, size_t entry_size,
                                  struct media_view *entries, bool *found)
{
    struct media_box box;
    *entries = (struct media_view){NULL, 0};
    *found = media_box_find(stbl, type, &box);
    if (!*found)
        return true;
    uint64_t bytes = (uint64_t)media_get32(box.body, 4) * entry_size;
    if (box.body.size < 8 || bytes > box.body.size - 8)
        return false;
    *entries = media_view_part(box.body, 8, (size_t)bytes);
    return true;
}

static bool lies(const struct mp4_track *track, const char *table, struct error *error)
{
    return error_set(error, ERROR_MALFORMED,
                     "the table %s of track %" PRIu32 " has more entries than its box holds", table,
                     track->id);
}

static bool take_sizes(struct mp4_tables *tables, struct media_view stbl, struct mp4_track *track,
                       struct error *error)
{
    struct media_box box;
    uint32_t count;
    if (media_box_find(stbl, TYPE('s', 't', 's', 'z'), &box)) {
        tables->fixed_size = media_get32(box.body, 4);
        tables->size_bits = 32;
    } else if (media_box_find(stbl, TYPE('s', 't', 'z', '2'), &box)) {
        tables->fixed_size = 0;
        tables->size_bits = media_get8(box.body, 7);
        if (tables->size_bits != 4 && tables->size_bits != 8 && tables->size_bits != 16)
            return error_set(error, ERROR_MALFORMED,
                             "the sizes of track %" PRIu32 "'s samples have %d bits; 4, 8 or 16 are possible",
                             track->id, tables->size_bits);
    } else {
        return error_set(error, ERROR_MALFORMED, "track %" PRIu32 " lacks the sizes of its samples",
                         track->id);
    }
    count = media_get32(box.body, 8);
    uint64_t bytes = ((uint64_t)count * tables->size_bits + 7) / 8;
    if (box.body.size < 12 || (tables->fixed_size == 0 && bytes > box.body.size - 12))
        return lies(track, "stsz", error);
    if (count > MP4_SAMPLES_MAX)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "track %" PRIu32 " has %" PRIu32 " samples; at most %" PRIu32 " are streamed",
                         track->id, count, (uint32_t)MP4_SAMPLES_MAX);
    tables->sizes = media_view_from(box.body, 12);
    track->count = count;
    return true;
}

/* The chunks that an stsc entry from AT on is of: first, samples of each, description. */
static uint32_t stsc_first(const struct mp4_tables *tables, size_t at)
{
    return media_get32(tables->stsc, at);
}

/* The chunks hold as many samples as there are, the first entry begins at chunk 1, and each begins behind the one before. */
static bool check_chunks(const struct mp4_tables *tables, const struct mp4_track *track, struct error *error)
{
    uint64_t samples = 0;
    uint32_t last = 0;
    for (size_t at = 0; at < tables->stsc.size; at += 12) {
        uint32_t first = stsc_first(tables, at), per_chunk = media_get32(tables->stsc, at + 4);
        uint32_t next = at + 12 < tables->stsc.size ? stsc_first(tables, at + 12) : tables->chunk_count + 1;
        uint32_t description = media_get32(tables->stsc, at + 8);
        if (first <= last || (at == 0 && first != 1) || next < first || description == 0 ||
            description > track->description_count)
            return error_set(error, ERROR_MALFORMED, "the table stsc of track %" PRIu32 " is out of order",
                             track->id);
        if (first <= tables->chunk_count) {
            uint32_t end = next <= tables->chunk_count ? next : tables->chunk_count + 1;
            samples += (uint64_t)(end - first) * per_chunk;
        }
        last = first;
    }
    if (samples < track->count)
        return error_set(error, ERROR_MALFORMED,
                         "the chunks of track %" PRIu32 " hold %" PRIu64
                         " samples, its sizes are of %" PRIu32,
                         track->id, samples, track->count);
    return true;
}

static bool mp4_tables_check_times(const struct mp4_tables *tables, const struct mp4_track *track,
                                   struct error *error)
{
    uint64_t samples = 0;
    for (size_t at = 0; at < tables->stts.size; at += 8)
        samples += media_get32(tables->stts, at);
    if (samples < track->count)
        return error_set(error, ERROR_MALFORMED,
                         "track %" PRIu32 " has times for %" PRIu64 " of its %" PRIu32 " samples", track->id,
                         samples, track->count);
    return true;
}

bool mp4_tables_open(struct mp4_tables *tables, struct media_view stbl, struct mp4_track *track,
                     struct error *error)
{
    bool found, wide;
    memset(tables, 0, sizeof(*tables));
    tables->track = track;
    if (!take_sizes(tables, stbl, track, error))
        return false;
    if (!mp4_tables_take_table(stbl, TYPE('s', 't', 't', 's'), 8, &tables->stts, &found) || !found)
        return lies(track, "stts", error);
    if (!mp4_tables_take_table(stbl, TYPE('c', 't', 't', 's'), 8, &tables->ctts, &found))
        return lies(track, "ctts", error);
    if (!mp4_tables_take_table(stbl, TYPE('s', 't', 's', 's'), 4, &tables->stss, &found))
        return lies(track, "stss", error);
    track->all_sync = !found || track->kind != MEDIA_VIDEO;
    if (!mp4_tables_take_table(stbl, TYPE('s', 't', 's', 'c'), 12, &tables->stsc, &found) || !found)
        return lies(track, "stsc", error);
    if (!mp4_tables_take_table(stbl, TYPE('c', 'o', '6', '4'), 8, &tables->chunks, &wide))
        return lies(track, "co64", error);
    if (!wide &&
        (!mp4_tables_take_table(stbl, TYPE('s', 't', 'c', 'o'), 4, &tables->chunks, &found) || !found))
        return lies(track, "stco", error);
    tables->chunk_bytes = wide ? 8 : 4;
    tables->chunk_count = (uint32_t)(tables->chunks.size / tables->chunk_bytes);
    tables->dts = (int64_t)track->start;
    return check_chunks(tables, track, error) && mp4_tables_check_times(tables, track, error);
}

/* ---- reading: one table after the other, each for all of the samples ---- */

static uint32_t narrow_size(const struct mp4_tables *tables, uint32_t number)
{
    uint8_t pair;
    switch (tables->size_bits) {
    case 4:
        pair = media_get8(tables->sizes, number / 2);
        return number % 2 == 0 ? pair >> 4 : pair & 15;
    case 8:
        return media_get8(tables->sizes, number);
    default:
        return media_get16(tables->sizes, (size_t)number * 2);
    }
}

static void read_sizes(const struct mp4_tables *tables, struct mp4_sample *samples, size_t count)
{
    const struct media_view own = media_view_from(tables->sizes, (size_t)tables->number * 4);
    for (size_t i = 0; i < count; i++) {
        if (tables->fixed_size > 0)
            samples[i].size = tables->fixed_size;
        else if (tables->size_bits == 32)
            samples[i].size = media_get32(own, i * 4);
        else
            samples[i].size = narrow_size(tables, tables->number + (uint32_t)i);
    }
}

static void mp4_tables_read_times(struct mp4_tables *tables, struct mp4_sample *samples, size_t count)
{
    int64_t dts = tables->dts;
    for (size_t i = 0; i < count;) {
        while (tables->stts_left == 0 && tables->stts_at < tables->stts.size) {
            tables->stts_left = media_get32(tables->stts, tables->stts_at);
            tables->stts_delta = media_get32(tables->stts, tables->stts_at + 4);
            tables->stts_at += 8;
        }
        /* What the table does not say goes on as the last. */
        size_t run = tables->stts_left > 0 ? min_size(tables->stts_left, count - i) : count - i;
        uint32_t delta = tables->stts_delta;
        for (size_t end = i + run; i < end; i++) {
            samples[i].dts = dts;
            samples[i].duration = delta;
            dts += delta;
        }
        tables->stts_left -= tables->stts_left > 0 ? (uint32_t)run : 0;
    }
    tables->dts = dts;
}

static bool read_shifts(struct mp4_tables *tables, struct mp4_sample *samples, size_t count,
                        struct error *error)
{
    for (size_t i = 0; i < count;) {
        while (tables->ctts_left == 0 && tables->ctts_at < tables->ctts.size) {
            tables->ctts_left = media_get32(tables->ctts, tables->ctts_at);
            tables->ctts_offset = (int32_t)media_get32(tables->ctts, tables->ctts_at + 4);
            tables->ctts_at += 8;
        }
        size_t run = tables->ctts_left > 0 ? min_size(tables->ctts_left, count - i) : count - i;
        int64_t cts = (int64_t)(tables->ctts_left > 0 ? tables->ctts_offset : 0) - tables->track->skipped;
        if (cts < INT32_MIN)
            return error_set(error, ERROR_MALFORMED,
                             "a composition offset of track %" PRIu32 " is out of range", tables->track->id);
        for (size_t end = i + run; i < end; i++)
            samples[i].cts = (int32_t)cts;
        tables->ctts_left -= tables->ctts_left > 0 ? (uint32_t)run : 0;
    }
    return true;
}

static void read_syncs(struct mp4_tables *tables, struct mp4_sample *samples, size_t count)
{
    const uint32_t begin = tables->number + 1, end = begin + (uint32_t)count; /* as stss counts */
    for (size_t i = 0; i < count; i++)
        samples[i].sync = tables->track->all_sync;
    if (tables->track->all_sync)
        return;
    for (uint32_t number = begin; number < end; number++) {
        while (tables->key < number && tables->stss_at < tables->stss.size) {
            tables->key = media_get32(tables->stss, tables->stss_at);
            tables->stss_at += 4;
        }
        if (tables->key < number || tables->key >= end)
            return;
        number = tables->key;
        samples[number - begin].sync = true;
    }
}

static bool mp4_tables_next_chunk(struct mp4_tables *tables)
{
    while (tables->chunk_left == 0) {
        if (tables->chunk >= tables->chunk_count)
            return false;
        uint32_t number = ++tables->chunk;
        while (tables->stsc_at + 12 < tables->stsc.size && stsc_first(tables, tables->stsc_at + 12) <= number)
            tables->stsc_at += 12;
        size_t at = (size_t)(number - 1) * tables->chunk_bytes;
        uint64_t offset =
            tables->chunk_bytes == 8 ? media_get64(tables->chunks, at) : media_get32(tables->chunks, at);
        tables->offset = (int64_t)(offset & INT64_MAX);
        tables->chunk_left = media_get32(tables->stsc, tables->stsc_at + 4);
        tables->description = (uint8_t)(media_get32(tables->stsc, tables->stsc_at + 8) - 1);
    }
    return true;
}

/* Of samples whose sizes are known. */
static bool read_places(struct mp4_tables *tables, struct mp4_sample *samples, size_t count,
                        struct error *error)
{
    for (size_t i = 0; i < count;) {
        if (!mp4_tables_next_chunk(tables))
            return error_set(error, ERROR_MALFORMED,
                             "the chunks of track %" PRIu32 " end before its samples do", tables->track->id);
        size_t run = min_size(tables->chunk_left, count - i);
        int64_t offset = tables->offset;
        for (size_t end = i + run; i < end; i++) {
            if (samples[i].size > INT32_MAX || offset > INT64_MAX - samples[i].size)
                return error_set(error, ERROR_MALFORMED,
                                 "a sample of track %" PRIu32 " is larger than any file", tables->track->id);
            samples[i].offset = offset;
            samples[i].description = tables->description;
            offset += samples[i].size;
        }
        tables->offset = offset;
        tables->chunk_left -= (uint32_t)run;
    }
    return true;
}

bool mp4_tables_read(struct mp4_tables *tables, struct mp4_sample *samples, size_t count, struct error *error)
{
    read_sizes(tables, samples, count);
    mp4_tables_read_times(tables, samples, count);
    read_syncs(tables, samples, count);
    if (!read_shifts(tables, samples, count, error) || !read_places(tables, samples, count, error))
        return false;
    tables->number += (uint32_t)count;
    return true;
}
