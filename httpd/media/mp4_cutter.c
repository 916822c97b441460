/*
 * mp4_cutter: one track at a time; the reference finds the times, the others go by them.
 */
#include "httpd/media/mp4_cutter.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX (1024 * 1024)

struct mp4_cutter *mp4_cutter_create(int64_t segment_ms)
{
    struct mp4_cutter *cutter = calloc(1, sizeof(*cutter));
    if (!cutter)
        return NULL;
    cutter->segment_ms = segment_ms;
    cutter->reference = cutter->at = -1;
    return cutter;
}

static void forget_sightings(struct mp4_cutter *cutter)
{
    for (size_t i = 0; i < MP4_TRACKS_MAX; i++) {
        free(cutter->sightings[i].first);
        free(cutter->sightings[i].extents);
        cutter->sightings[i] = (struct mp4_sighting){0};
    }
}

void mp4_cutter_destroy(struct mp4_cutter *cutter)
{
    if (!cutter)
        return;
    forget_sightings(cutter);
    free(cutter->times);
    free(cutter);
}

static void cutter_no_memory(struct mp4_cutter *cutter)
{
    cutter->failed = true;
    (void)error_set(&cutter->error, ERROR_UNAVAILABLE, "no memory for its segments");
}

/* ---- times ---- */

static void push_time(struct mp4_cutter *cutter, int64_t time)
{
    if (cutter->count == cutter->capacity) {
        size_t capacity = max_size(64, cutter->capacity * 2);
        int64_t *times =
            capacity <= 2 * SEGMENTS_MAX ? realloc(cutter->times, capacity * sizeof(*times)) : NULL;
        if (!times) {
            cutter_no_memory(cutter);
            return;
        }
        cutter->times = times;
        cutter->capacity = capacity;
    }
    cutter->times[cutter->count++] = time;
}

void mp4_cutter_add_time(struct mp4_cutter *cutter, int64_t time)
{
    forget_sightings(cutter);
    push_time(cutter, time);
}

bool mp4_cutter_check_length(int64_t from, int64_t to, uint32_t timescale, struct error *error)
{
    if ((to - from) / timescale < MP4_CUT_SECONDS_MAX)
        return true;
    return error_set(error, ERROR_UNKNOWN_COMMAND,
                     "its key frames are %" PRId64 " s apart: segments of more than %d s are not made",
                     (to - from) / timescale, MP4_CUT_SECONDS_MAX);
}

/* When SEGMENT begins for TRACK, in its own timescale, rounded up; past the last one nothing does. */
static int64_t begin_of(const struct mp4_cutter *cutter, const struct mp4_track *track, uint32_t segment)
{
    if (segment >= cutter->count)
        return INT64_MAX;
    __int128 scaled = (__int128)cutter->times[segment] * track->timescale, due = scaled / cutter->timescale;
    due += scaled > due * cutter->timescale;
    return due > INT64_MAX - 1 ? INT64_MAX - 1 : due < INT64_MIN ? INT64_MIN : (int64_t)due;
}

/* ---- one track ---- */

/* There is room for COUNT segments and the end. */
static bool sighting_has_room(struct mp4_sighting *sighting, size_t count)
{
    if (count < sighting->capacity)
        return true;
    size_t capacity = max_size(64, max_size(count + 1, sighting->capacity * 2));
    uint32_t *first = realloc(sighting->first, capacity * sizeof(*first));
    if (first)
        sighting->first = first;
    struct mp4_extent *extents = realloc(sighting->extents, capacity * sizeof(*extents));
    if (extents)
        sighting->extents = extents;
    if (!first || !extents)
        return false;
    memset(extents + sighting->capacity, 0, (capacity - sighting->capacity) * sizeof(*extents));
    sighting->capacity = capacity;
    return true;
}

static void begin_track(struct mp4_cutter *cutter, const struct mp4_track *track, int number,
                        bool as_reference)
{
    struct mp4_sighting *sighting = &cutter->sightings[number];
    mp4_cutter_settle(cutter);
    if (cutter->failed)
        return;
    if (as_reference) {
        cutter->reference = number;
        cutter->timescale = track->timescale;
        cutter->count = 0;
        cutter->end = INT64_MIN;
        /* A key frame that is nearly far enough will do: the next one may be seconds away. */
        cutter->least = media_rescale(cutter->segment_ms * 9 / 10, track->timescale, 1000);
    }
    cutter->at = number;
    cutter->number = cutter->segment = 0;
    cutter->description = 0;
    cutter->extent = (struct mp4_extent){0};
    cutter->due = as_reference ? INT64_MAX : begin_of(cutter, track, 1);
    if (sighting->extents)
        memset(sighting->extents, 0, sighting->capacity * sizeof(*sighting->extents));
    if (sighting_has_room(sighting, max_size(cutter->count, 1)))
        sighting->first[0] = 0;
    else
        cutter_no_memory(cutter);
}

void mp4_cutter_settle(struct mp4_cutter *cutter)
{
    if (cutter->at >= 0 && !cutter->failed) {
        struct mp4_sighting *sighting = &cutter->sightings[cutter->at];
        sighting->extents[cutter->segment] = cutter->extent;
        for (size_t i = (size_t)cutter->segment + 1; i <= cutter->count; i++)
            sighting->first[i] = cutter->number;
    }
    cutter->at = -1;
}

/* The next segment begins at the present sample. */
static void cutter_begin_segment(struct mp4_cutter *cutter)
{
    struct mp4_sighting *sighting = &cutter->sightings[cutter->at];
    sighting->extents[cutter->segment++] = cutter->extent;
    sighting->first[cutter->segment] = cutter->number;
    cutter->extent = (struct mp4_extent){0};
}

/* A segment begins at SAMPLE if that is the first one, another description begins there, or it is a key frame that is far enough
 * behind the last beginning; times that do not rise would make segments without length. */
static inline bool begins_segment(const struct mp4_cutter *cutter, const struct mp4_sample *sample,
                                  int64_t shown)
{
    if (cutter->count == 0)
        return true;
    int64_t last = cutter->times[cutter->count - 1];
    return (sample->description != cutter->description || (sample->sync && shown - last >= cutter->least)) &&
           shown > last;
}

static void note_beginning(struct mp4_cutter *cutter, int64_t shown)
{
    if (cutter->count > 0 && !mp4_cutter_check_length(cutter->times[cutter->count - 1], shown,
                                                      cutter->timescale, &cutter->error)) {
        cutter->failed = true;
        return;
    }
    push_time(cutter, shown);
    if (!cutter->failed && !sighting_has_room(&cutter->sightings[cutter->at], cutter->count))
        cutter_no_memory(cutter);
    if (!cutter->failed && cutter->count > 1)
        cutter_begin_segment(cutter);
}

static void add_to_reference(struct mp4_cutter *cutter, const struct mp4_sample *samples, size_t count)
{
    for (size_t i = 0; i < count && !cutter->failed; i++) {
        const struct mp4_sample *sample = &samples[i];
        int64_t shown = sample->dts + sample->cts;
        if (begins_segment(cutter, sample, shown))
            note_beginning(cutter, shown);
        cutter->description = sample->description;
        cutter->end = max_i64(cutter->end, shown + sample->duration);
        mp4_extent_add(&cutter->extent, sample);
        cutter->number++;
    }
}

static void add_by_time(struct mp4_cutter *cutter, const struct mp4_track *track,
                        const struct mp4_sample *samples, size_t count)
{
    bool anywhere = track->kind != MEDIA_VIDEO || track->all_sync || track->change_count > 0;
    for (size_t i = 0; i < count; i++) {
        const struct mp4_sample *sample = &samples[i];
        while (sample->dts + sample->cts >= cutter->due && cutter->segment + 1 < cutter->count &&
               (anywhere || sample->sync)) {
            cutter_begin_segment(cutter);
            cutter->due = begin_of(cutter, track, cutter->segment + 1);
        }
        mp4_extent_add(&cutter->extent, sample);
        cutter->number++;
    }
}

static void add_samples(struct mp4_cutter *cutter, const struct mp4_track *track, bool as_reference,
                        const struct mp4_sample *samples, size_t count)
{
    if (cutter->failed)
        return;
    if (as_reference)
        add_to_reference(cutter, samples, count);
    else
        add_by_time(cutter, track, samples, count);
}

void mp4_cutter_watch(void *argument, const struct mp4_track *track, int number, uint32_t begin,
                      const struct mp4_sample *samples, size_t count)
{
    struct mp4_cutter *cutter = argument;
    if (begin == 0) {
        mp4_cutter_settle(cutter);
        bool first = cutter->reference < 0 && track->kind == MEDIA_VIDEO;
        bool follows = cutter->reference >= 0 && (track->kind == MEDIA_VIDEO || track->kind == MEDIA_AUDIO);
        if (first || follows)
            begin_track(cutter, track, number, first);
    }
    if (cutter->at == number)
        add_samples(cutter, track, number == cutter->reference, samples, count);
}

void mp4_cutter_read(struct mp4_cutter *cutter, const struct mp4_track *track, int number, bool as_reference)
{
    struct mp4_cursor cursor;
    struct mp4_sample samples[MP4_BLOCK];
    size_t count;
    begin_track(cutter, track, number, as_reference);
    mp4_cursor_seek(&cursor, track, 0);
    while (!cutter->failed && (count = mp4_cursor_read(&cursor, samples)) > 0)
        add_samples(cutter, track, as_reference, samples, count);
    mp4_cutter_settle(cutter);
}
