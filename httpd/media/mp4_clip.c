/*
 * mp4_clip: the samples of each track are found in one pass over it, and their tables written in a second one. Where chunks lie is
 * known when all tables are written, and set then.
 */
#include "httpd/media/mp4_clip.h"
#include "httpd/media/mp4_boxes.h"
#include <inttypes.h>

#define TYPE MEDIA_TYPE

/* Samples of one track. */
struct clip_track {
    const struct mp4_track *track;
    uint32_t first, count;
    int64_t begin, duration; /* decoding times */
    int64_t shown;           /* when the first sample is shown in the film */
    int32_t cts_first, cts_min;
    size_t places; /* where the offsets of the chunks are in the head */
    uint32_t chunks;
};

struct clip {
    struct clip_track tracks[MP4_TRACKS_MAX];
    size_t count;
    uint32_t timescale; /* of the picture, and of the clip */
    int64_t start, end; /* in it */
    int64_t low, high, bytes;
    uint64_t samples;
    bool wide; /* the clip does not fit in 32 bits */
};

/* ---- which samples ---- */

/* The stretch of the reference, from key frame to key frame. False: it is over by then. */
static bool find_reference(struct clip *clip, struct clip_track *own, int64_t start_ms, int64_t end_ms)
{
    const struct mp4_track *track = own->track;
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    int64_t from = media_rescale(start_ms, track->timescale, 1000), over = INT64_MIN;
    int64_t to = INT64_MAX;
    if (end_ms < INT64_MAX) /* rounded up */
        to = (int64_t)(((__int128)end_ms * track->timescale + 999) / 1000);
    bool any = false;
    uint32_t last = track->count;
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        int64_t shown = sample.dts + sample.cts;
        if (sample.sync && (!any || shown <= from)) {
            any = true;
            own->first = cursor.number - 1;
            clip->start = shown;
        } else if (sample.sync && shown >= to && shown > clip->start) {
            last = cursor.number - 1;
            clip->end = shown;
            break;
        }
        over = max_i64(over, shown + sample.duration);
    }
    if (last == track->count)
        clip->end = over;
    own->count = last - own->first;
    return any && clip->end > from;
}

/* Sound that is heard while the picture is shown: from the frame that it begins in. */
static void find_sound(const struct clip *clip, struct clip_track *own)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    const struct mp4_track *track = own->track;
    uint32_t last = track->count;
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        __int128 shown = (__int128)(sample.dts + sample.cts) * clip->timescale;
        if (shown <= (__int128)clip->start * track->timescale)
            own->first = cursor.number - 1;
        if (shown >= (__int128)clip->end * track->timescale) {
            last = cursor.number - 1;
            break;
        }
    }
    own->count = last > own->first ? last - own->first : 0;
}

static void clip_measure(struct clip *clip, struct clip_track *own)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    mp4_cursor_seek(&cursor, own->track, own->first);
    for (uint32_t i = 0; i < own->count && mp4_cursor_next(&cursor, &sample); i++) {
        if (i == 0) {
            own->begin = sample.dts;
            own->shown = sample.dts + sample.cts;
            own->cts_first = own->cts_min = sample.cts;
        }
        own->cts_min = sample.cts < own->cts_min ? sample.cts : own->cts_min;
        own->duration += sample.duration;
        clip->low = min_i64(clip->low, sample.offset);
        clip->high = max_i64(clip->high, sample.offset + sample.size);
        clip->bytes += sample.size;
    }
    clip->samples += own->count;
}

static bool find_samples(struct clip *clip, const struct mp4_index *index, int64_t start_ms, int64_t end_ms,
                         struct error *error)
{
    int reference = mp4_index_first(index, MEDIA_VIDEO);
    reference = reference >= 0 ? reference : mp4_index_first(index, MEDIA_AUDIO);
    clip->low = INT64_MAX;
    if (reference < 0)
        return error_set(error, ERROR_UNKNOWN_COMMAND, "it has neither video nor audio");
    clip->tracks[0].track = &index->tracks[reference];
    clip->timescale = index->tracks[reference].timescale;
    clip->count = 1;
    if (!find_reference(clip, &clip->tracks[0], start_ms, end_ms))
        return error_set(error, ERROR_NOT_FOUND, "it ends before the clip would begin");
    for (size_t i = 0; i < index->track_count; i++) {
        struct clip_track *own = &clip->tracks[clip->count];
        if ((int)i == reference || index->tracks[i].kind != MEDIA_AUDIO)
            continue;
        own->track = &index->tracks[i];
        find_sound(clip, own);
        clip->count += own->count > 0 ? 1 : 0;
    }
    for (size_t i = 0; i < clip->count; i++)
        clip_measure(clip, &clip->tracks[i]);
    if (clip->samples > MP4_CLIP_SAMPLES_MAX)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "a clip of it would have %" PRIu64 " samples; at most %" PRIu32 " are possible",
                         clip->samples, MP4_CLIP_SAMPLES_MAX);
    if (clip->high - clip->low > clip->bytes * 4 + 1024 * 1024)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "its picture and sound lie too far apart in it for a clip that is one range of it");
    clip->wide = clip->high - clip->low + (int64_t)clip->samples * 32 + 65536 > UINT32_MAX;
    return true;
}

/* ---- tables, ISO/IEC 14496-12 sections 8.6 and 8.7 ---- */

/* Entries of two numbers, of which the first counts how often the second comes one behind the other. */
struct runs {
    struct media_buffer *out;
    size_t box;
    uint32_t entries, count, value;
};

static struct runs runs_begin(struct media_buffer *out, uint32_t type)
{
    struct runs runs = {.out = out, .box = media_box_begin_full(out, type, 0, 0)};
    media_put32(out, 0);
    return runs;
}

static void runs_flush(struct runs *runs)
{
    if (runs->count == 0)
        return;
    media_put32(runs->out, runs->count);
    media_put32(runs->out, runs->value);
    runs->entries++;
    runs->count = 0;
}

static void runs_add(struct runs *runs, uint32_t value)
{
    if (runs->count > 0 && value != runs->value)
        runs_flush(runs);
    runs->value = value;
    runs->count++;
}

static void runs_end(struct runs *runs)
{
    runs_flush(runs);
    media_set32(runs->out, runs->box + 12, runs->entries);
    media_box_end(runs->out, runs->box);
}

static struct mp4_cursor begin_samples(const struct clip_track *own)
{
    struct mp4_cursor cursor;
    mp4_cursor_seek(&cursor, own->track, own->first);
    return cursor;
}

/* What makes all composition offsets positive. */
static int64_t shift_of(const struct clip_track *own)
{
    return max_i64(-(int64_t)own->cts_min, 0);
}

static void clip_put_times(struct media_buffer *out, const struct clip_track *own)
{
    struct mp4_cursor cursor = begin_samples(own);
    struct mp4_sample sample;
    struct runs runs = runs_begin(out, TYPE('s', 't', 't', 's'));
    for (uint32_t i = 0; i < own->count && mp4_cursor_next(&cursor, &sample); i++)
        runs_add(&runs, sample.duration);
    runs_end(&runs);
    if (!own->track->has_cts)
        return;
    cursor = begin_samples(own);
    runs = runs_begin(out, TYPE('c', 't', 't', 's'));
    for (uint32_t i = 0; i < own->count && mp4_cursor_next(&cursor, &sample); i++)
        runs_add(&runs, (uint32_t)(sample.cts + shift_of(own)));
    runs_end(&runs);
}

static void put_key_frames(struct media_buffer *out, const struct clip_track *own)
{
    struct mp4_cursor cursor = begin_samples(own);
    struct mp4_sample sample;
    uint32_t count = 0;
    if (own->track->all_sync)
        return;
    size_t box = media_box_begin_full(out, TYPE('s', 't', 's', 's'), 0, 0);
    media_put32(out, 0);
    for (uint32_t i = 0; i < own->count && mp4_cursor_next(&cursor, &sample); i++) {
        if (!sample.sync)
            continue;
        media_put32(out, i + 1);
        count++;
    }
    media_set32(out, box + 12, count);
    media_box_end(out, box);
}

static void put_sizes(struct media_buffer *out, const struct clip_track *own)
{
    struct mp4_cursor cursor = begin_samples(own);
    struct mp4_sample sample;
    size_t box = media_box_begin_full(out, TYPE('s', 't', 's', 'z'), 0, 0);
    media_put32(out, 0);
    media_put32(out, own->count);
    for (uint32_t i = 0; i < own->count && mp4_cursor_next(&cursor, &sample); i++)
        media_put32(out, sample.size);
    media_box_end(out, box);
}

/* A chunk is a run of samples that touch in the file and are of one description. */
struct chunk {
    int64_t offset;
    uint32_t samples;
    uint8_t description;
};

struct chunk_reader {
    struct mp4_cursor cursor;
    struct mp4_sample next;
    uint32_t left;
};

static struct chunk_reader begin_chunks(const struct clip_track *own)
{
    struct chunk_reader reader = {.cursor = begin_samples(own), .left = own->count};
    if (!mp4_cursor_next(&reader.cursor, &reader.next))
        reader.left = 0;
    return reader;
}

static bool clip_next_chunk(struct chunk_reader *reader, struct chunk *chunk)
{
    if (reader->left == 0)
        return false;
    *chunk = (struct chunk){reader->next.offset, 0, reader->next.description};
    int64_t end;
    do {
        end = reader->next.offset + reader->next.size;
        chunk->samples++;
        reader->left--;
    } while (reader->left > 0 && mp4_cursor_next(&reader->cursor, &reader->next) &&
             reader->next.offset == end && reader->next.description == chunk->description);
    return true;
}

static void put_chunks(struct media_buffer *out, const struct clip *clip, struct clip_track *own)
{
    struct chunk chunk, last = {0};
    uint32_t entries = 0;
    struct chunk_reader reader = begin_chunks(own);
    size_t box = media_box_begin_full(out, TYPE('s', 't', 's', 'c'), 0, 0);
    media_put32(out, 0);
    while (clip_next_chunk(&reader, &chunk)) {
        own->chunks++;
        if (own->chunks > 1 && chunk.samples == last.samples && chunk.description == last.description)
            continue;
        media_put32(out, own->chunks);
        media_put32(out, chunk.samples);
        media_put32(out, chunk.description + 1u);
        last = chunk;
        entries++;
    }
    media_set32(out, box + 12, entries);
    media_box_end(out, box);
    box = media_box_begin_full(out, clip->wide ? TYPE('c', 'o', '6', '4') : TYPE('s', 't', 'c', 'o'), 0, 0);
    media_put32(out, own->chunks);
    own->places = out->size;
    media_put_zeros(out, (size_t)own->chunks * (clip->wide ? 8 : 4));
    media_box_end(out, box);
}

/* BASE: where the range of the stored file begins in the clip. */
static void set_chunks(struct media_buffer *out, const struct clip *clip, const struct clip_track *own,
                       int64_t base)
{
    struct chunk chunk;
    size_t at = own->places;
    struct chunk_reader reader = begin_chunks(own);
    while (clip_next_chunk(&reader, &chunk)) {
        uint64_t place = (uint64_t)(base + chunk.offset - clip->low);
        if (clip->wide) {
            media_set32(out, at, (uint32_t)(place >> 32));
            at += 4;
        }
        media_set32(out, at, (uint32_t)place);
        at += 4;
    }
}

/* ---- the movie ---- */

/* How long the track is shown, in the timescale of the clip: rounded up, so that nothing is cut off. */
static int64_t shown_for(const struct clip *clip, const struct clip_track *own)
{
    int64_t start = max_i64(clip->start, media_rescale(own->shown, clip->timescale, own->track->timescale));
    int64_t end = media_rescale(own->shown + own->duration, clip->timescale, own->track->timescale) + 1;
    return max_i64((own == &clip->tracks[0] ? clip->end : min_i64(clip->end, end)) - start, 1);
}

static void put_edits(struct media_buffer *out, const struct clip *clip, const struct clip_track *own)
{
    int64_t start = media_rescale(clip->start, own->track->timescale, clip->timescale);
    int64_t late = media_rescale(own->shown - start, clip->timescale, own->track->timescale);
    bool empty = own->shown > start && late > 0;
    size_t edts = media_box_begin(out, TYPE('e', 'd', 't', 's'));
    size_t elst = media_box_begin_full(out, TYPE('e', 'l', 's', 't'), 1, 0);
    media_put32(out, empty ? 2 : 1);
    if (empty) {
        media_put64(out, (uint64_t)late);
        media_put64(out, UINT64_MAX);
        media_put32(out, 0x10000);
    }
    media_put64(out, (uint64_t)shown_for(clip, own));
    media_put64(out, (uint64_t)(own->cts_first + shift_of(own) + max_i64(start - own->shown, 0)));
    media_put32(out, 0x10000);
    media_box_end(out, elst);
    media_box_end(out, edts);
}

static void put_track(struct media_buffer *out, const struct clip *clip, struct clip_track *own, uint32_t id)
{
    const struct mp4_track *track = own->track;
    size_t trak = media_box_begin(out, TYPE('t', 'r', 'a', 'k'));
    mp4_put_tkhd(out, track, id, (uint64_t)shown_for(clip, own));
    put_edits(out, clip, own);
    size_t mdia = media_box_begin(out, TYPE('m', 'd', 'i', 'a'));
    mp4_put_mdhd(out, track, (uint64_t)own->duration);
    size_t minf = media_box_begin(out, TYPE('m', 'i', 'n', 'f'));
    mp4_put_dinf(out, track->kind);
    size_t stbl = media_box_begin(out, TYPE('s', 't', 'b', 'l'));
    size_t stsd = media_box_begin_full(out, TYPE('s', 't', 's', 'd'), 0, 0);
    media_put32(out, (uint32_t)track->description_count);
    for (size_t i = 0; i < track->description_count; i++)
        mp4_put_entry(out, track->kind, track->descriptions[i].entry);
    media_box_end(out, stsd);
    clip_put_times(out, own);
    put_key_frames(out, own);
    put_sizes(out, own);
    put_chunks(out, clip, own);
    media_box_end(out, stbl);
    media_box_end(out, minf);
    media_box_end(out, mdia);
    media_box_end(out, trak);
}

static void put_mdat(struct media_buffer *out, int64_t length)
{
    bool wide = length + 8 > UINT32_MAX;
    media_put32(out, wide ? 1 : (uint32_t)(length + 8));
    media_put_text(out, "mdat");
    if (wide)
        media_put64(out, (uint64_t)length + 16);
}

bool mp4_clip_make(const struct mp4_index *index, int64_t start_ms, int64_t end_ms, struct mp4_clip *clip,
                   struct error *error)
{
    struct clip own = {0};
    struct media_buffer *out = &clip->head;
    *clip = (struct mp4_clip){0};
    if (!find_samples(&own, index, start_ms, end_ms, error))
        return false;
    size_t box = media_box_begin(out, TYPE('f', 't', 'y', 'p'));
    media_put_text(out, "isom");
    media_put32(out, 0x200);
    media_put_text(out, "isomiso2mp41");
    media_box_end(out, box);
    size_t moov = media_box_begin(out, TYPE('m', 'o', 'o', 'v'));
    mp4_put_mvhd(out, own.timescale, (uint64_t)(own.end - own.start), (uint32_t)own.count + 1);
    for (size_t i = 0; i < own.count; i++)
        put_track(out, &own, &own.tracks[i], (uint32_t)i + 1);
    media_box_end(out, moov);
    clip->offset = own.low;
    clip->length = own.high - own.low;
    put_mdat(out, clip->length);
    for (size_t i = 0; i < own.count && !out->failed; i++)
        set_chunks(out, &own, &own.tracks[i], (int64_t)out->size);
    if (!out->failed)
        return true;
    mp4_clip_clear(clip);
    return error_set(error, ERROR_UNAVAILABLE, "no memory for a clip");
}

void mp4_clip_clear(struct mp4_clip *clip)
{
    media_buffer_clear(&clip->head);
    *clip = (struct mp4_clip){0};
}
