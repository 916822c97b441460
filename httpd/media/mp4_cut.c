/*
 * mp4_cut: one pass over the reference track finds the times, one over each track finds its samples and measures them, and a
 * second one where descriptions change.
 */
#include "httpd/media/mp4_cut.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX   (1024 * 1024)
#define SEGMENT_BYTES  ((int64_t)1024 * 1024 * 1024)
#define CHANGE_SAMPLES 64 /* a change of description so near a cut is moved there */

/* Times while they are found. */
struct times {
    int64_t *items;
    size_t count, capacity;
};

static bool add_time(struct times *times, int64_t time)
{
    if (times->count == times->capacity) {
        size_t capacity = max_size(64, times->capacity * 2);
        int64_t *items = realloc(times->items, capacity * sizeof(*items));
        if (!items || capacity > 2 * SEGMENTS_MAX) {
            free(items ? items : times->items);
            *times = (struct times){0};
            return false;
        }
        times->items = items;
        times->capacity = capacity;
    }
    times->items[times->count++] = time;
    return true;
}

static bool no_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
}

static bool check_length(int64_t from, int64_t to, uint32_t timescale, struct error *error)
{
    if ((to - from) / timescale < MP4_CUT_SECONDS_MAX)
        return true;
    return error_set(error, ERROR_UNKNOWN_COMMAND,
                     "its key frames are %" PRId64 " s apart: segments of more than %d s are not made",
                     (to - from) / timescale, MP4_CUT_SECONDS_MAX);
}

static bool find_times(const struct mp4_track *track, int64_t segment_ms, struct times *times, int64_t *end,
                       struct error *error)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    /* A key frame that is nearly far enough will do: the next one may be seconds away. */
    int64_t least = media_rescale(segment_ms * 9 / 10, track->timescale, 1000);
    uint8_t description = 0;
    *end = INT64_MIN;
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        int64_t shown = sample.dts + sample.cts;
        bool begins = times->count == 0 || sample.description != description ||
                      (sample.sync && shown - times->items[times->count - 1] >= least);
        /* Times that do not rise would make segments without length. */
        if (begins && times->count > 0 && shown <= times->items[times->count - 1])
            begins = false;
        description = sample.description;
        if (begins && times->count > 0 &&
            !check_length(times->items[times->count - 1], shown, track->timescale, error))
            return false;
        if (begins && !add_time(times, shown))
            return no_memory(error);
        *end = max_i64(*end, shown + sample.duration);
    }
    if (times->count == 0)
        return error_set(error, ERROR_MALFORMED, "it has no samples");
    *end = max_i64(*end, times->items[times->count - 1] + 1);
    return check_length(times->items[times->count - 1], *end, track->timescale, error);
}

/* When the last of TRACK's samples is over, in TIMESCALE. */
static int64_t track_end(const struct mp4_track *track, uint32_t timescale)
{
    int64_t end = (int64_t)track->start + track->duration - track->skipped;
    return media_rescale(end, timescale, track->timescale);
}

/* Sound that goes on behind the last picture gets segments of its own. */
static bool add_tail(const struct mp4_index *index, uint32_t timescale, int64_t segment_ms,
                     struct times *times, int64_t *end, struct error *error)
{
    int64_t least = max_i64(media_rescale(segment_ms, timescale, 1000), 1), last = *end;
    for (size_t i = 0; i < index->track_count; i++) {
        if (index->tracks[i].kind == MEDIA_AUDIO)
            last = max_i64(last, track_end(&index->tracks[i], timescale));
    }
    while (last - *end > least) {
        if (!add_time(times, *end))
            return no_memory(error);
        *end += least;
    }
    return true;
}

/* ---- the samples of each track ---- */

/* What a segment takes of the file. */
struct extent {
    int64_t bytes, low, high;
};

static void extent_add(struct extent *extent, const struct mp4_sample *sample)
{
    if (extent->bytes == 0) {
        extent->low = sample->offset;
        extent->high = sample->offset;
    }
    extent->bytes += sample->size;
    extent->low = min_i64(extent->low, sample->offset);
    extent->high = max_i64(extent->high, sample->offset + sample->size);
}

bool mp4_cut_is_dense(int64_t size, int64_t span)
{
    return span <= size + size / 4 + 32 * 1024;
}

static int64_t extent_sent(const struct extent *extent)
{
    int64_t span = extent->high - extent->low;
    return mp4_cut_is_dense(extent->bytes, span) ? span : extent->bytes;
}

/* The sample at which a segment begins: the first one that is shown at TIME or later, or the one where a description changes
 * that is near. */
static uint32_t snap_to_change(const struct mp4_track *track, uint32_t number)
{
    for (size_t i = 0; i < track->change_count; i++) {
        int64_t distance = (int64_t)track->changes[2 * i] - number;
        if (distance <= CHANGE_SAMPLES && distance >= -CHANGE_SAMPLES)
            return track->changes[2 * i];
    }
    return number;
}

/* The earliest time of TRACK, in its own timescale, that is not before the begin of SEGMENT; past the last one nothing is. */
static int64_t begin_of(const struct mp4_cut *cut, const struct mp4_track *track, uint32_t segment)
{
    if (segment >= cut->count)
        return INT64_MAX;
    __int128 scaled = (__int128)cut->times[segment] * track->timescale, due = scaled / cut->timescale;
    due += scaled > due * cut->timescale;
    return due > INT64_MAX - 1 ? INT64_MAX - 1 : due < INT64_MIN ? INT64_MIN : (int64_t)due;
}

/* Which sample each segment begins at, and the extents of each. */
static void find_samples(const struct mp4_cut *cut, const struct mp4_track *track, uint32_t *first,
                         struct extent *extents)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    uint32_t segment = 1;
    int64_t due = begin_of(cut, track, 1);
    bool anywhere = track->kind != MEDIA_VIDEO || track->all_sync || track->change_count > 0;
    first[0] = 0;
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        while (segment < cut->count && sample.dts + sample.cts >= due && (anywhere || sample.sync)) {
            first[segment++] = cursor.number - 1;
            due = begin_of(cut, track, segment);
        }
        extent_add(&extents[segment - 1], &sample);
    }
    while (segment <= cut->count)
        first[segment++] = track->count;
}

/* Where descriptions change: moves begins of segments there, measures the segments anew, and checks that none mixes them. */
static bool heed_changes(const struct mp4_cut *cut, const struct mp4_track *track, uint32_t *first,
                         struct extent *extents, struct error *error)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    uint8_t description = 0;
    for (uint32_t i = 1; i < cut->count && track->kind == MEDIA_AUDIO; i++)
        first[i] = (uint32_t)max_i64(first[i - 1], snap_to_change(track, first[i]));
    memset(extents, 0, cut->count * sizeof(*extents));
    mp4_cursor_seek(&cursor, track, 0);
    for (uint32_t segment = 0; segment < cut->count; segment++) {
        for (uint32_t i = first[segment]; i < first[segment + 1] && mp4_cursor_next(&cursor, &sample); i++) {
            extent_add(&extents[segment], &sample);
            if (i > first[segment] && sample.description != description)
                return error_set(error, ERROR_UNKNOWN_COMMAND,
                                 "the kind of track %" PRIu32 "'s samples changes where its video is not cut",
                                 track->id);
            description = sample.description;
        }
    }
    return true;
}

static bool measure(const struct mp4_cut *cut, const struct mp4_track *track, uint32_t *first,
                    struct extent *extents, struct error *error)
{
    find_samples(cut, track, first, extents);
    if (track->change_count > 0 && !heed_changes(cut, track, first, extents, error))
        return false;
    for (uint32_t segment = 0; segment < cut->count; segment++) {
        if (extents[segment].bytes > SEGMENT_BYTES)
            return error_set(error, ERROR_UNKNOWN_COMMAND, "a segment of it would have %" PRId64 " MB",
                             extents[segment].bytes / 1000000);
    }
    return true;
}

static void find_rate(struct mp4_cut *cut, int track, const struct extent *extents)
{
    int64_t sent = 0, length = max_i64(cut->times[cut->count] - cut->times[0], 1);
    for (uint32_t i = 0; i < cut->count; i++) {
        int64_t bytes = extent_sent(&extents[i]);
        int64_t time = max_i64(cut->times[i + 1] - cut->times[i], cut->timescale / 4 + 1);
        sent += bytes;
        /* 2 %: what the heads add. */
        cut->rates[track].peak =
            max_i64(cut->rates[track].peak, media_rescale(bytes * 8 + bytes / 6, cut->timescale, time));
    }
    cut->rates[track].average = media_rescale(sent * 8 + sent / 6, cut->timescale, length);
}

/* One range holds both, with little between that is neither's. */
static bool lies_together(const struct mp4_cut *cut, const struct extent *video, const struct extent *audio)
{
    int64_t bytes = 0, span = 0;
    for (uint32_t i = 0; i < cut->count; i++) {
        if (video[i].bytes == 0 && audio[i].bytes == 0)
            continue;
        int64_t low = video[i].bytes == 0   ? audio[i].low
                      : audio[i].bytes == 0 ? video[i].low
                                            : min_i64(video[i].low, audio[i].low);
        int64_t high = max_i64(video[i].high, audio[i].high);
        int64_t both = video[i].bytes + audio[i].bytes;
        if (!mp4_cut_is_dense(both, high - low))
            return false;
        bytes += both;
        span += high - low;
    }
    return span <= bytes + bytes / 8 + 64 * 1024;
}

static bool cut_tracks(struct mp4_cut *cut, const struct mp4_index *index, struct error *error)
{
    size_t videos = 0, audios = 0;
    struct extent *extents[2] = {0};
    bool done = false;
    for (size_t i = 0; i < index->track_count; i++) {
        const struct mp4_track *track = &index->tracks[i];
        if (track->kind != MEDIA_VIDEO && track->kind != MEDIA_AUDIO)
            continue;
        size_t *counted = track->kind == MEDIA_VIDEO ? &videos : &audios;
        struct extent *own = calloc(max_size(cut->count, 1), sizeof(*own));
        cut->first[i] = malloc(((size_t)cut->count + 1) * sizeof(uint32_t));
        if (!own || !cut->first[i]) {
            free(own);
            (void)no_memory(error);
            goto done;
        }
        cut->memory += ((size_t)cut->count + 1) * sizeof(uint32_t);
        if (!measure(cut, track, cut->first[i], own, error)) {
            free(own);
            goto done;
        }
        find_rate(cut, (int)i, own);
        struct extent **kept = &extents[track->kind == MEDIA_AUDIO];
        if (*kept)
            free(own);
        else
            *kept = own;
        (*counted)++;
    }
    cut->muxed = videos == 1 && audios == 1 && lies_together(cut, extents[0], extents[1]);
    done = true;
done:
    free(extents[0]);
    free(extents[1]);
    return done;
}

struct mp4_cut *mp4_cut_create(const struct mp4_index *index, int64_t segment_ms, struct error *error)
{
    struct times times = {0};
    struct mp4_cut *cut = calloc(1, sizeof(*cut));
    int64_t end = 0;
    if (!cut) {
        (void)no_memory(error);
        return NULL;
    }
    cut->reference = mp4_index_first(index, MEDIA_VIDEO);
    if (cut->reference < 0)
        cut->reference = mp4_index_first(index, MEDIA_AUDIO);
    if (cut->reference < 0) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND, "it has neither video nor audio");
        goto fail;
    }
    const struct mp4_track *track = &index->tracks[cut->reference];
    cut->timescale = track->timescale;
    cut->open_gop = track->open_gop;
    if (!find_times(track, segment_ms, &times, &end, error) ||
        !add_tail(index, cut->timescale, segment_ms, &times, &end, error))
        goto fail;
    cut->count = (uint32_t)times.count;
    if (!add_time(&times, end)) {
        (void)no_memory(error);
        goto fail;
    }
    cut->times = times.items;
    cut->memory = sizeof(*cut) + times.capacity * sizeof(int64_t);
    times.items = NULL;
    if (!cut_tracks(cut, index, error))
        goto fail;
    return cut;
fail:
    free(times.items);
    mp4_cut_destroy(cut);
    return NULL;
}

void mp4_cut_destroy(struct mp4_cut *cut)
{
    if (!cut)
        return;
    for (size_t i = 0; i < MP4_TRACKS_MAX; i++)
        free(cut->first[i]);
    free(cut->times);
    free(cut);
}

uint32_t mp4_cut_samples(const struct mp4_cut *cut, int track, uint32_t segment)
{
    const uint32_t *first = cut->first[track];
    if (cut->unread)
        return segment < cut->count ? 1 : 0;
    return first && segment < cut->count ? first[segment + 1] - first[segment] : 0;
}

uint8_t mp4_cut_description(const struct mp4_cut *cut, const struct mp4_index *index, int track,
                            uint32_t segment)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    const struct mp4_track *source = &index->tracks[track];
    if (source->change_count == 0)
        return 0;
    mp4_cursor_seek(&cursor, source, cut->first[track][segment]);
    return mp4_cursor_next(&cursor, &sample) ? sample.description : 0;
}

int64_t mp4_cut_time(const struct mp4_cut *cut, const struct mp4_index *index, int track, uint32_t segment)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    const struct mp4_track *source = &index->tracks[track];
    if (cut->unread)
        return media_rescale(cut->times[min_size(segment, cut->count)], source->timescale, cut->timescale);
    if (track == cut->reference && (segment == cut->count || mp4_cut_samples(cut, track, segment) > 0))
        return cut->times[segment];
    mp4_cursor_seek(&cursor, source, cut->first[track][segment]);
    if (mp4_cursor_next(&cursor, &sample))
        return sample.dts + sample.cts;
    return (int64_t)source->start + source->duration - source->skipped;
}

/* A frame's time in ms, rounded up; where samples were not read, that of a slow film. */
static int64_t frame_ms(const struct mp4_track *track)
{
    return track->count == 0 ? 50 : track->duration * 1000 / track->timescale / track->count + 1;
}

bool mp4_cut_agrees(const struct mp4_cut *cut, const struct mp4_index *index, const struct mp4_cut *other,
                    const struct mp4_index *other_index)
{
    const struct mp4_track *track = &index->tracks[cut->reference],
                           *peer = &other_index->tracks[other->reference];
    int64_t frame = max_i64(frame_ms(track), frame_ms(peer));
    if (cut->count != other->count || track->kind != peer->kind)
        return false;
    for (uint32_t i = 0; i < cut->count; i++) {
        int64_t difference = media_rescale(cut->times[i], 1000, cut->timescale) -
                             media_rescale(other->times[i], 1000, other->timescale);
        if (difference > frame || difference < -frame)
            return false;
    }
    return true;
}
