/*
 * ebml_segment: frames are noted and copied track by track; their times, which Matroska has for showing alone, are made decoding
 * times at the end.
 */
#include "httpd/media/ebml_segment.h"
#include "httpd/media/ebml_clusters.h"
#include "httpd/media/ebml_film.h"
#include "httpd/media/ebml_frames.h"
#include <inttypes.h>
#include <stdlib.h>

#define PIECE_SIZE ((int64_t)8 * 1024 * 1024)
#define BEHIND                                                                                               \
    ((int64_t)16 * 1024) /* of the next cluster, in which the key frame is that ends this segment */
#define MORE_SIZE ((int64_t)256 * 1024)

struct part_frame {
    int64_t time; /* in the track's timescale, shown */
    uint32_t size;
    uint32_t samples; /* sound: how long it is, 0: not known */
    bool key;
};

struct part {
    const struct mp4_track *track;
    const struct ebml_track *source;
    size_t index; /* of the film's tracks */
    struct part_frame *frames;
    size_t count, capacity;
    struct media_buffer bytes;
    struct mp4_sample *samples;
};

struct ebml_segment {
    struct ebml_segment_options options;
    const struct ebml_film *film;
    struct part parts[MP4_PARTS_MAX];
    struct ebml_clusters clusters;
    struct ebml_block block;
    bool started;
    int64_t bytes;
    int64_t wanted, wanted_size;
};

static bool ebml_segment_is_last(const struct ebml_segment *segment)
{
    return segment->options.number + 1 >= segment->film->cut_count;
}

static void ebml_segment_want(struct ebml_segment *segment, int64_t size)
{
    segment->wanted = segment->clusters.at;
    segment->wanted_size = max_i64(min_i64(size, segment->film->end - segment->wanted), 1);
}

struct ebml_segment *ebml_segment_create(const struct ebml_segment_options *options)
{
    struct ebml_segment *segment = calloc(1, sizeof(*segment));
    if (!segment)
        return NULL;
    const struct ebml_film *film = options->film->ebml;
    segment->options = *options;
    segment->film = film;
    for (size_t i = 0; i < options->count; i++) {
        segment->parts[i].index = options->tracks[i];
        segment->parts[i].track = &options->film->index->tracks[options->tracks[i]];
        segment->parts[i].source = &film->tracks.items[options->tracks[i]];
    }
    int64_t begin = film->cuts[options->number].position;
    int64_t end =
        ebml_segment_is_last(segment) ? film->end : film->cuts[options->number + 1].position + BEHIND;
    segment->started = options->number == 0;
    ebml_clusters_open(&segment->clusters, begin, film->end, film->open_end);
    ebml_segment_want(segment, options->key_only ? MORE_SIZE : min_i64(end - begin, PIECE_SIZE));
    return segment;
}

void ebml_segment_destroy(struct ebml_segment *segment)
{
    if (!segment)
        return;
    for (size_t i = 0; i < MP4_PARTS_MAX; i++) {
        free(segment->parts[i].frames);
        free(segment->parts[i].samples);
        media_buffer_clear(&segment->parts[i].bytes);
    }
    free(segment);
}

void ebml_segment_wanted(const struct ebml_segment *segment, int64_t *offset, int64_t *size)
{
    *offset = segment->wanted;
    *size = segment->wanted_size;
}

/* ---- frames ---- */

static bool ebml_segment_no_memory(struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "no memory for a segment");
}

static bool ebml_segment_add_frame(struct ebml_segment *segment, struct part *part, struct media_view frame,
                                   int64_t time, uint32_t samples, struct error *error)
{
    const struct ebml_track *source = part->source;
    size_t size = frame.size + source->strip_size;
    segment->bytes += (int64_t)size;
    if (segment->bytes > segment->options.bytes_max || part->count >= MP4_FRAGMENT_SAMPLES_MAX)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "a segment of it would have more than %" PRId64 " MB or %d frames",
                         segment->options.bytes_max / 1000000, MP4_FRAGMENT_SAMPLES_MAX);
    if (part->count == part->capacity) {
        size_t capacity = max_size(256, part->capacity * 2);
        struct part_frame *frames = realloc(part->frames, capacity * sizeof(*frames));
        if (!frames)
            return ebml_segment_no_memory(error);
        part->frames = frames;
        part->capacity = capacity;
    }
    media_put(&part->bytes, source->strip, source->strip_size);
    media_put(&part->bytes, frame.bytes, frame.size);
    part->frames[part->count++] = (struct part_frame){time, (uint32_t)size, samples, segment->block.key};
    return !part->bytes.failed || ebml_segment_no_memory(error);
}

static bool add_block(struct ebml_segment *segment, struct part *part, struct error *error)
{
    const struct ebml_block *block = &segment->block;
    const struct ebml_track *source = part->source;
    uint32_t timescale = part->track->timescale;
    int64_t time = ebml_film_time(segment->film, block->time, timescale);
    struct media_view config = ebml_tracks_private(&segment->film->tracks, source);
    for (size_t i = 0; i < block->count; i++) {
        uint32_t samples = 0;
        if (source->kind == MEDIA_AUDIO && source->strip_size == 0)
            samples = ebml_frame_samples(source->codec, config, block->frames[i]);
        else if (source->kind == MEDIA_AUDIO)
            samples = source->codec == EBML_AC3 ? 1536 : source->codec == EBML_MP3 ? 1152 : 0;
        if (!ebml_segment_add_frame(segment, part, block->frames[i], time, samples, error))
            return false;
        time +=
            samples > 0 ? samples : media_rescale((int64_t)source->frame_ns, timescale, INT64_C(1000000000));
    }
    return true;
}

/* The block of the key frame with which segment NUMBER begins, or one behind it. */
static bool begins(const struct ebml_segment *segment, uint32_t number)
{
    const struct ebml_film *film = segment->film;
    const struct ebml_track *reference = &film->tracks.items[film->reference];
    return segment->block.track == reference->number &&
           (segment->block.key || reference->kind == MEDIA_AUDIO) &&
           segment->block.time >= film->cuts[number].time &&
           segment->clusters.cluster >= film->cuts[number].position;
}

/* What comes before the first picture that can be decoded is useless. */
static bool is_useless(const struct ebml_segment *segment, const struct part *part)
{
    return part->source->kind == MEDIA_VIDEO && part->count == 0 && !segment->block.key;
}

/* True: *DONE says whether the segment is whole. */
static bool ebml_segment_take_block(struct ebml_segment *segment, bool *done, struct error *error)
{
    *done =
        segment->started && !ebml_segment_is_last(segment) && begins(segment, segment->options.number + 1);
    segment->started = segment->started || begins(segment, segment->options.number);
    if (*done || !segment->started)
        return true;
    for (size_t i = 0; i < segment->options.count; i++) {
        struct part *part = &segment->parts[i];
        if (part->source->number != segment->block.track || is_useless(segment, part))
            continue;
        *done = segment->options.key_only;
        return add_block(segment, part, error);
    }
    return true;
}

/* ---- times ---- */

static int compare_times(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

/* How long the last picture of a segment is shown. */
static int64_t last_duration(const struct ebml_segment *segment, const struct part *part,
                             const int64_t *times)
{
    const struct ebml_film *film = segment->film;
    uint32_t timescale = part->track->timescale;
    size_t last = part->count - 1;
    int64_t usual = part->source->frame_ns > 0
                        ? media_rescale((int64_t)part->source->frame_ns, timescale, INT64_C(1000000000))
                    : last > 0 ? times[last] - times[last - 1]
                               : timescale / 25;
    if (ebml_segment_is_last(segment) || film->open_gop || segment->options.key_only)
        return max_i64(usual, 1);
    int64_t next = ebml_film_time(film, film->cuts[segment->options.number + 1].time, timescale);
    return next > times[last] ? next - times[last] : max_i64(usual, 1);
}

static bool set_sample(struct mp4_sample *sample, int64_t dts, int64_t duration, int64_t cts,
                       struct error *error)
{
    if (duration > INT32_MAX || cts > INT32_MAX / 2 || cts < INT32_MIN / 2)
        return error_set(error, ERROR_MALFORMED, "the times of its pictures and sound make no sense");
    sample->dts = dts;
    sample->duration = (uint32_t)max_i64(duration, 0);
    sample->cts = (int32_t)cts;
    return true;
}

/* Pictures are decoded in the order of the file and shown in that of their times: the earliest time is the first to be decoded. */
static bool time_video(const struct ebml_segment *segment, struct part *part, struct error *error)
{
    int64_t *times = malloc(max_size(part->count, 1) * sizeof(*times));
    int64_t delay =
        media_rescale((int64_t)part->source->delay_ns, part->track->timescale, INT64_C(1000000000));
    bool made = true;
    if (!times)
        return ebml_segment_no_memory(error);
    for (size_t i = 0; i < part->count; i++) {
        part->frames[i].time -= delay;
        times[i] = part->frames[i].time;
    }
    qsort(times, part->count, sizeof(*times), compare_times);
    for (size_t i = 0; made && i < part->count; i++) {
        int64_t dts = max_i64(times[i], 0);
        int64_t duration =
            i + 1 < part->count ? times[i + 1] - dts : last_duration(segment, part, times) + times[i] - dts;
        made = set_sample(&part->samples[i], dts, duration, part->frames[i].time - dts, error);
        part->samples[i].sync = part->frames[i].key;
    }
    free(times);
    return made;
}

/* Time stamps are rounded to ticks. Frames of the same length that follow each other from the film's beginning on lie on a grid,
 * in all segments the same; where a stamp is a tick beside it, it is the grid's. */
static int64_t on_grid(int64_t time, int64_t origin, int64_t length, int64_t tolerance)
{
    if (length <= 0)
        return time;
    int64_t steps = time >= origin ? (time - origin + length / 2) / length : 0;
    int64_t near = origin + steps * length;
    return near - time <= tolerance && time - near <= tolerance ? near : time;
}

static bool time_audio(const struct ebml_segment *segment, struct part *part, struct error *error)
{
    const struct ebml_film *film = segment->film;
    uint32_t rate = part->track->timescale;
    int64_t delay = media_rescale((int64_t)part->source->delay_ns, rate, INT64_C(1000000000));
    int64_t origin = ebml_film_time(film, film->origin[part->index], rate);
    int64_t tick = ebml_film_time(film, 3, rate) / 2, end = INT64_MIN;
    for (size_t i = 0; i < part->count; i++) {
        struct part_frame *frame = &part->frames[i];
        int64_t length = frame->samples;
        int64_t time = on_grid(frame->time, origin, length, min_i64(tick, length * 2 / 5));
        if (end != INT64_MIN && time - end <= 2 * tick && end - time <= 2 * tick)
            time = end; /* it follows the one before */
        frame->time = max_i64(time, max_i64(end == INT64_MIN ? 0 : part->frames[i - 1].time, 0));
        end = frame->time + length;
    }
    for (size_t i = 0; i < part->count; i++) {
        int64_t time = part->frames[i].time;
        int64_t duration = i + 1 < part->count           ? part->frames[i + 1].time - time
                           : part->frames[i].samples > 0 ? part->frames[i].samples
                           : i > 0                       ? time - part->frames[i - 1].time
                                                         : rate / 50;
        if (!set_sample(&part->samples[i], time, duration, -delay, error))
            return false;
        part->samples[i].sync = true;
    }
    return true;
}

/* ---- the segment ---- */

static bool time_part(const struct ebml_segment *segment, struct part *part, int64_t place,
                      struct error *error)
{
    part->samples = calloc(max_size(part->count, 1), sizeof(*part->samples));
    if (!part->samples)
        return ebml_segment_no_memory(error);
    for (size_t i = 0; i < part->count; i++) {
        part->samples[i].offset = place;
        part->samples[i].size = part->frames[i].size;
        place += part->frames[i].size;
    }
    return part->source->kind == MEDIA_VIDEO ? time_video(segment, part, error)
                                             : time_audio(segment, part, error);
}

static enum walk_step ebml_segment_finish(struct ebml_segment *segment, struct media_buffer *out,
                                          struct error *error)
{
    struct mp4_packed packed[MP4_PARTS_MAX] = {0};
    int64_t place = 0;
    for (size_t i = 0; i < segment->options.count; i++) {
        struct part *part = &segment->parts[i];
        if (!time_part(segment, part, place, error))
            return WALK_REFUSED;
        place += (int64_t)part->bytes.size;
        packed[i] = (struct mp4_packed){
            part->track, part->samples, part->count,
            max_i64(ebml_film_time(segment->film, segment->film->cuts[segment->options.number].time,
                                   part->track->timescale),
                    0)};
    }
    if (!mp4_fragment_pack(packed, segment->options.count, segment->options.number + 1, place, out, error))
        return WALK_REFUSED;
    for (size_t i = 0; i < segment->options.count; i++)
        media_put(out, segment->parts[i].bytes.bytes, segment->parts[i].bytes.size);
    if (!out->failed)
        return WALK_DONE;
    (void)ebml_segment_no_memory(error);
    return WALK_REFUSED;
}

enum walk_step ebml_segment_feed(struct ebml_segment *segment, struct media_view bytes,
                                 struct media_buffer *out, struct error *error)
{
    int64_t wanted = 0;
    bool done = false;
    if ((int64_t)bytes.size != segment->wanted_size) {
        (void)error_set(error, ERROR_UNAVAILABLE, "it could not be read to its end");
        return WALK_REFUSED;
    }
    enum ebml_step step = EBML_BLOCK;
    while (!done && (step = ebml_clusters_next(&segment->clusters, bytes, segment->wanted, &segment->block,
                                               &wanted, error)) == EBML_BLOCK) {
        if (!ebml_segment_take_block(segment, &done, error))
            return WALK_REFUSED;
    }
    if (step == EBML_BROKEN)
        return WALK_REFUSED;
    if (done || step == EBML_END)
        return ebml_segment_finish(segment, out, error);
    int64_t rest = ebml_segment_is_last(segment) ? segment->film->end - segment->clusters.at
                                                 : segment->film->cuts[segment->options.number + 1].position +
                                                       BEHIND - segment->clusters.at;
    ebml_segment_want(segment, max_i64(wanted, max_i64(MORE_SIZE, min_i64(rest, PIECE_SIZE))));
    return WALK_READ;
}
