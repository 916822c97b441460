/*
 * ebml_film: times are ticks until an index is made of them.
 */
#include "httpd/media/ebml_film.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CUTS_MAX    ((size_t)1024 * 1024)
#define CUES_MAX    ((size_t)65536)
#define SECONDS_MAX (INT64_C(30) * 86400)
#define NANO        INT64_C(1000000000)

struct ebml_film *ebml_film_create(void)
{
    return calloc(1, sizeof(struct ebml_film));
}

void ebml_film_destroy(struct ebml_film *film)
{
    if (!film)
        return;
    ebml_tracks_clear(&film->tracks);
    free(film->cuts);
    free(film->cues);
    free(film);
}

size_t ebml_film_memory(const struct ebml_film *film)
{
    return sizeof(*film) + film->tracks.texts.capacity + film->cut_capacity * sizeof(*film->cuts) +
           film->cue_capacity * sizeof(*film->cues);
}

bool ebml_film_add(struct ebml_film *film, int64_t time, int64_t position, int64_t least)
{
    const struct ebml_cut *last = film->cuts && film->cut_count > 0 ? &film->cuts[film->cut_count - 1] : NULL;
    if (last && (time - last->time < max_i64(least, 1) || position < last->position))
        return true;
    if (!film->cuts || film->cut_count == film->cut_capacity) {
        size_t capacity = max_size(64, film->cut_capacity * 2);
        struct ebml_cut *cuts = capacity <= CUTS_MAX ? realloc(film->cuts, capacity * sizeof(*cuts)) : NULL;
        if (!cuts)
            return false;
        film->cuts = cuts;
        film->cut_capacity = capacity;
    }
    film->cuts[film->cut_count++] = (struct ebml_cut){time, position};
    return true;
}

void ebml_film_add_cue(struct ebml_film *film, const struct ebml_cue *cue)
{
    if (film->too_many_cues)
        return;
    if (film->cue_count == film->cue_capacity) {
        size_t capacity = max_size(64, film->cue_capacity * 2);
        struct ebml_cue *cues = capacity <= CUES_MAX ? realloc(film->cues, capacity * sizeof(*cues)) : NULL;
        film->too_many_cues = !cues;
        if (!cues) {
            film->cue_count = 0;
            return;
        }
        film->cues = cues;
        film->cue_capacity = capacity;
    }
    film->cues[film->cue_count++] = *cue;
}

int64_t ebml_film_time(const struct ebml_film *film, int64_t ticks, uint32_t timescale)
{
    __int128 scaled = (__int128)ticks * (int64_t)film->tracks.scale * timescale;
    return (int64_t)((scaled + (scaled < 0 ? -NANO / 2 : NANO / 2)) / NANO);
}

int64_t ebml_film_ticks(const struct ebml_film *film, int64_t milliseconds)
{
    return milliseconds * 1000000 / (int64_t)film->tracks.scale;
}

/* ---- the index ---- */

/* Ticks themselves where they are a fraction of a second. */
static uint32_t ebml_film_clock_of(uint64_t scale)
{
    return NANO % (int64_t)scale == 0 && scale <= 1000000 ? (uint32_t)(NANO / (int64_t)scale) : 1000000;
}

/* The body of a track header (ISO/IEC 14496-12 section 8.3.2), of which mp4_fragment takes what is behind the duration. */
static void put_tkhd(struct media_buffer *out, const struct ebml_track *track)
{
    static const uint32_t matrix[] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    bool video = track->kind == MEDIA_VIDEO;
    uint64_t wide = video ? (uint64_t)track->shown_width * track->height : 0;
    uint32_t width = video ? (uint32_t)(wide / track->shown_height) : 0;
    media_put_zeros(out, 24 + 8 + 4);
    media_put16(out, video ? 0 : 0x100);
    media_put16(out, 0);
    for (size_t i = 0; i < ARRAY_SIZE(matrix); i++)
        media_put32(out, matrix[i]);
    media_put32(out, width <= UINT16_MAX ? width << 16 : (uint32_t)track->width << 16);
    media_put32(out, video ? (uint32_t)track->height << 16 : 0);
}

static uint16_t pack_language(const char *language)
{
    uint32_t code = 0;
    for (size_t i = 0; i < 3; i++)
        code = code << 5 | ((uint32_t)(language[i] - 0x60) & 31);
    return (uint16_t)code;
}

static bool set_track(const struct ebml_film *film, size_t i, struct media_view entry,
                      struct mp4_track *track, struct error *error)
{
    const struct ebml_track *source = &film->tracks.items[i];
    track->kind = source->kind;
    track->id = (uint32_t)i + 1;
    track->timescale = source->kind == MEDIA_VIDEO   ? ebml_film_clock_of(film->tracks.scale)
                       : source->kind == MEDIA_AUDIO ? source->rate
                                                     : 1000;
    track->all_sync = source->kind == MEDIA_AUDIO;
    track->has_cts = source->kind == MEDIA_VIDEO || source->delay_ns > 0;
    track->open_gop = film->open_gop && source->kind == MEDIA_VIDEO;
    memcpy(track->language, source->language, sizeof(track->language));
    memcpy(track->title, source->title, sizeof(track->title));
    track->language_code = pack_language(source->language);
    track->descriptions = calloc(1, sizeof(*track->descriptions));
    if (!track->descriptions)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    track->description_count = 1;
    if (source->kind == MEDIA_SUBTITLE) { /* it goes out as WebVTT, and has no entry */
        track->descriptions[0].codec = (struct codec_description){.codecs = "wvtt", .name = "text"};
        return true;
    }
    track->descriptions[0].entry = entry;
    if (!codec_describe(source->kind, entry, &track->descriptions[0].codec, error))
        return false;
    /* The codec's own rate, where the entry's 16 bits do not hold it. */
    if (source->kind == MEDIA_AUDIO)
        track->descriptions[0].codec.sample_rate = source->rate;
    return true;
}

struct mp4_index *ebml_film_index(const struct ebml_film *film, const struct media_buffer *entries,
                                  int64_t file_size, struct error *error)
{
    size_t places[MP4_TRACKS_MAX] = {0};
    struct mp4_index *index = calloc(1, sizeof(*index));
    if (!index) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
        return NULL;
    }
    index->file_size = file_size;
    index->timescale = 1000;
    index->duration = ebml_film_time(film, film->end_time, 1000);
    for (size_t i = 0; i < film->tracks.count; i++) {
        places[i] = index->texts.size;
        put_tkhd(&index->texts, &film->tracks.items[i]);
        media_put(&index->texts, entries[i].bytes, entries[i].size);
    }
    index->memory =
        sizeof(*index) + index->texts.capacity + film->tracks.count * sizeof(struct mp4_description);
    if (index->texts.failed)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    bool made = !index->texts.failed;
    for (size_t i = 0; made && i < film->tracks.count; i++) {
        struct mp4_track *track = &index->tracks[i];
        const uint8_t *tkhd = index->texts.bytes + places[i];
        track->tkhd = (struct media_view){tkhd, 84};
        index->track_count++;
        made = set_track(film, i, (struct media_view){tkhd + 84, entries[i].size}, track, error);
    }
    if (made)
        return index;
    mp4_index_destroy(index);
    return NULL;
}

/* ---- the cut ---- */

static void ebml_film_measure(const struct ebml_film *film, struct mp4_cut *cut)
{
    int64_t total = film->end - film->cuts[0].position, seconds_sum = cut->times[cut->count] - cut->times[0];
    struct mp4_rate rate = {0, media_rescale(total * 8, cut->timescale, max_i64(seconds_sum, 1))};
    for (uint32_t i = 0; i < cut->count; i++) {
        int64_t end = i + 1 < cut->count ? film->cuts[i + 1].position : film->end;
        int64_t time = max_i64(cut->times[i + 1] - cut->times[i], cut->timescale / 4 + 1);
        rate.peak =
            max_i64(rate.peak, media_rescale((end - film->cuts[i].position) * 8, cut->timescale, time));
    }
    for (size_t i = 0; i < film->tracks.count; i++) {
        struct mp4_rate sound = {film->rate[i] + film->rate[i] / 4, film->rate[i]};
        cut->rates[i] = i == film->reference ? rate : sound;
    }
}

static bool ebml_film_check_times(const struct mp4_cut *cut, struct error *error)
{
    for (uint32_t i = 0; i < cut->count; i++) {
        int64_t seconds = (cut->times[i + 1] - cut->times[i]) / cut->timescale;
        if (seconds >= MP4_CUT_SECONDS_MAX)
            return error_set(error, ERROR_UNKNOWN_COMMAND,
                             "its key frames are %" PRId64
                             " s apart: segments of more than %d s are not made",
                             seconds, MP4_CUT_SECONDS_MAX);
    }
    return true;
}

struct mp4_cut *ebml_film_cut(const struct ebml_film *film, const struct mp4_index *index,
                              struct error *error)
{
    struct mp4_cut *cut = NULL;
    size_t sounds = 0;
    if (film->cut_count == 0 || ebml_film_time(film, film->end_time, 1) > SECONDS_MAX) {
        (void)error_set(error, ERROR_MALFORMED,
                        film->cut_count == 0 ? "it has no key frame" : "it would last for more than a month");
        return NULL;
    }
    cut = calloc(1, sizeof(*cut));
    int64_t *times = calloc(film->cut_count + 1, sizeof(*times));
    if (!cut || !times) {
        free(cut);
        free(times);
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
        return NULL;
    }
    cut->times = times;
    cut->unread = true;
    cut->count = (uint32_t)film->cut_count;
    cut->reference = (int)film->reference;
    cut->timescale = ebml_film_clock_of(film->tracks.scale);
    cut->open_gop = film->open_gop;
    cut->memory = sizeof(*cut) + (film->cut_count + 1) * sizeof(*times);
    for (size_t i = 0; i < film->cut_count; i++)
        times[i] = ebml_film_time(film, film->cuts[i].time, cut->timescale);
    times[cut->count] =
        max_i64(ebml_film_time(film, film->end_time, cut->timescale), times[cut->count - 1] + 1);
    for (size_t i = 0; i < film->tracks.count; i++)
        sounds += film->tracks.items[i].kind == MEDIA_AUDIO;
    cut->muxed = sounds == 1 && index->tracks[cut->reference].kind == MEDIA_VIDEO;
    if (!ebml_film_check_times(cut, error)) {
        mp4_cut_destroy(cut);
        return NULL;
    }
    ebml_film_measure(film, cut);
    return cut;
}
