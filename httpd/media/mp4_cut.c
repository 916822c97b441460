/*
 * mp4_cut: a cutter finds the times and the samples; here sound behind the last picture gets segments too, changes of descriptions
 * are heeded, and what segments take is measured.
 */
#include "httpd/media/mp4_cut.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES  ((int64_t)1024 * 1024 * 1024)
#define CHANGE_SAMPLES 64 /* a change of description so near a cut is moved there */

static bool mp4_cut_no_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
}

/* ---- times ---- */

/* When the last of TRACK's samples is over, in TIMESCALE. */
static int64_t track_end(const struct mp4_track *track, uint32_t timescale)
{
    int64_t end = (int64_t)track->start + track->duration - track->skipped;
    return media_rescale(end, timescale, track->timescale);
}

/* Sound that goes on behind the last picture gets segments of its own. */
static void add_tail(struct mp4_cutter *cutter, const struct mp4_index *index, int64_t *end)
{
    int64_t least = max_i64(media_rescale(cutter->segment_ms, cutter->timescale, 1000), 1), last = *end;
    for (size_t i = 0; i < index->track_count; i++) {
        if (index->tracks[i].kind == MEDIA_AUDIO)
            last = max_i64(last, track_end(&index->tracks[i], cutter->timescale));
    }
    while (last - *end > least && !cutter->failed) {
        mp4_cutter_add_time(cutter, *end);
        *end += least;
    }
}

/* The times of the reference track, if they were not seen, and the end. */
static bool find_times(struct mp4_cutter *cutter, const struct mp4_index *index, int reference, int64_t *end,
                       struct error *error)
{
    const struct mp4_track *track = &index->tracks[reference];
    mp4_cutter_settle(cutter);
    if (cutter->reference != reference)
        mp4_cutter_read(cutter, track, reference, true);
    if (cutter->failed)
        goto failed;
    if (cutter->count == 0)
        return error_set(error, ERROR_MALFORMED, "it has no samples");
    *end = max_i64(cutter->end, cutter->times[cutter->count - 1] + 1);
    if (!mp4_cutter_check_length(cutter->times[cutter->count - 1], *end, track->timescale, error))
        return false;
    add_tail(cutter, index, end);
    if (!cutter->failed)
        return true;
failed:
    *error = cutter->error;
    return false;
}

/* ---- the samples of each track ---- */

bool mp4_cut_is_dense(int64_t size, int64_t span)
{
    return span <= size + size / 4 + 32 * 1024;
}

static int64_t extent_sent(const struct mp4_extent *extent)
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

/* Where descriptions change: moves begins of segments there, measures the segments anew, and checks that none mixes them. */
static bool heed_changes(const struct mp4_cut *cut, const struct mp4_track *track, uint32_t *first,
                         struct mp4_extent *extents, struct error *error)
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
            mp4_extent_add(&extents[segment], &sample);
            if (i > first[segment] && sample.description != description)
                return error_set(error, ERROR_UNKNOWN_COMMAND,
                                 "the kind of track %" PRIu32 "'s samples changes where its video is not cut",
                                 track->id);
            description = sample.description;
        }
    }
    return true;
}

static bool check_sizes(const struct mp4_cut *cut, const struct mp4_extent *extents, struct error *error)
{
    for (uint32_t segment = 0; segment < cut->count; segment++) {
        if (extents[segment].bytes > SEGMENT_BYTES)
            return error_set(error, ERROR_UNKNOWN_COMMAND, "a segment of it would have %" PRId64 " MB",
                             extents[segment].bytes / 1000000);
    }
    return true;
}

/* Where TRACK's segments begin, and their extents, which the caller frees. */
static bool mp4_cut_measure(struct mp4_cut *cut, const struct mp4_track *track, int number,
                            struct mp4_cutter *cutter, struct mp4_extent **extents, struct error *error)
{
    struct mp4_sighting *seen = &cutter->sightings[number];
    if (!seen->first || track->change_count > 0)
        mp4_cutter_read(cutter, track, number, false);
    if (cutter->failed) {
        *error = cutter->error;
        return false;
    }
    uint32_t *first =
        realloc(seen->first, ((size_t)cut->count + 1) * sizeof(*first)); /* it had room for more */
    cut->first[number] = seen->first;
    if (first)
        cut->first[number] = first;
    cut->memory += ((size_t)cut->count + 1) * sizeof(*first);
    *extents = seen->extents;
    *seen = (struct mp4_sighting){0};
    if (track->change_count > 0 && !heed_changes(cut, track, cut->first[number], *extents, error))
        return false;
    return check_sizes(cut, *extents, error);
}

static void find_rate(struct mp4_cut *cut, int track, const struct mp4_extent *extents)
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
static bool lies_together(const struct mp4_cut *cut, const struct mp4_extent *video,
                          const struct mp4_extent *audio)
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

static bool cut_tracks(struct mp4_cut *cut, const struct mp4_index *index, struct mp4_cutter *cutter,
                       struct error *error)
{
    size_t videos = 0, audios = 0;
    struct mp4_extent *extents[2] = {0};
    bool done = false;
    for (size_t i = 0; i < index->track_count; i++) {
        const struct mp4_track *track = &index->tracks[i];
        if (track->kind != MEDIA_VIDEO && track->kind != MEDIA_AUDIO)
            continue;
        size_t *counted = track->kind == MEDIA_VIDEO ? &videos : &audios;
        struct mp4_extent *own = NULL;
        if (!mp4_cut_measure(cut, track, (int)i, cutter, &own, error)) {
            free(own);
            goto done;
        }
        find_rate(cut, (int)i, own);
        struct mp4_extent **kept = &extents[track->kind == MEDIA_AUDIO];
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

/* COUNT times and the end, taken from CUTTER, which keeps its own until all tracks are measured. */
static bool keep_times(struct mp4_cut *cut, const struct mp4_cutter *cutter, int64_t end)
{
    size_t bytes = (cutter->count + 1) * sizeof(*cut->times);
    cut->times = malloc(bytes);
    if (!cut->times)
        return false;
    memcpy(cut->times, cutter->times, cutter->count * sizeof(*cut->times));
    cut->count = (uint32_t)cutter->count;
    cut->times[cut->count] = end;
    cut->memory = sizeof(*cut) + bytes;
    return true;
}

struct mp4_cut *mp4_cut_create(const struct mp4_index *index, struct mp4_cutter *cutter, struct error *error)
{
    struct mp4_cut *cut = calloc(1, sizeof(*cut));
    int64_t end = 0;
    if (!cut) {
        (void)mp4_cut_no_memory(error);
        return NULL;
    }
    cut->reference = mp4_index_first(index, MEDIA_VIDEO);
    if (cut->reference < 0)
        cut->reference = mp4_index_first(index, MEDIA_AUDIO);
    if (cut->reference < 0) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND, "it has neither video nor audio");
        goto fail;
    }
    cut->timescale = index->tracks[cut->reference].timescale;
    cut->open_gop = index->tracks[cut->reference].open_gop;
    if (!find_times(cutter, index, cut->reference, &end, error))
        goto fail;
    if (!keep_times(cut, cutter, end)) {
        (void)mp4_cut_no_memory(error);
        goto fail;
    }
    if (!cut_tracks(cut, index, cutter, error))
        goto fail;
    return cut;
fail:
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
