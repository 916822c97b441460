/*
 * dash_manifest: a period for each stretch of the picture with one description, in it an adaptation set for the pictures of all
 * films, and one for each track of sound and each text of the first.
 */
#include "httpd/media/dash_manifest.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* By which the presentation is longer than its longest stream. A player that looks every now and then whether the time is up, as dash.js
 * does, would otherwise stop a film at its last moment, before the browser has said that it has ended; and nothing would say so later. */
#define TAIL_SECONDS 0.001

/* Segments FROM up to TO of every film of the set. */
struct stretch {
    uint32_t from, to;
    double start; /* seconds */
};

static void put_lang(struct media_buffer *out, const char *language)
{
    if (language[0] != '\0' && strcmp(language, "und") != 0)
        media_printf(out, " lang=\"%s\"", media_language(language));
}

static int64_t dash_clock_of(const struct media_film *film, int track, uint32_t segment)
{
    return max_i64(mp4_cut_time(film->cut, film->index, track, segment), 0);
}

/* The first segment at or behind SEGMENT in which TRACK has samples, at most LIMIT. */
static uint32_t with_samples(const struct media_film *film, int track, uint32_t segment, uint32_t limit)
{
    while (segment < limit && mp4_cut_samples(film->cut, track, segment) == 0)
        segment++;
    return segment;
}

/* Without gaps in the numbers, which $Number$ does not know. */
static bool is_regular(const struct media_film *film, int track, const struct stretch *stretch)
{
    uint32_t first = with_samples(film, track, stretch->from, stretch->to), last = stretch->to;
    while (last > first && mp4_cut_samples(film->cut, track, last - 1) == 0)
        last--;
    for (uint32_t i = first; i < last; i++) {
        if (mp4_cut_samples(film->cut, track, i) == 0)
            return false;
    }
    return true;
}

static void put_timeline(struct media_buffer *out, const struct media_film *film, int track,
                         const struct stretch *stretch)
{
    uint32_t segment = with_samples(film, track, stretch->from, stretch->to);
    int64_t length = -1;
    uint64_t repeated = 0;
    bool first = true;
    media_put_text(out, "<SegmentTimeline>");
    while (segment < stretch->to) {
        uint32_t next = with_samples(film, track, segment + 1, film->cut->count);
        int64_t time = dash_clock_of(film, track, segment);
        int64_t now = max_i64(dash_clock_of(film, track, next) - time, 1);
        if (!first && now == length) {
            repeated++;
        } else {
            if (!first)
                media_printf(out, repeated > 0 ? " r=\"%" PRIu64 "\"/>" : "/>", repeated);
            repeated = 0;
            length = now;
            if (first)
                media_printf(out, "<S t=\"%" PRId64 "\" d=\"%" PRId64 "\"", time, now);
            else
                media_printf(out, "<S d=\"%" PRId64 "\"", now);
            first = false;
        }
        segment = next;
    }
    if (!first)
        media_printf(out, repeated > 0 ? " r=\"%" PRIu64 "\"/>" : "/>", repeated);
    media_put_text(out, "</SegmentTimeline>");
}

static void dash_put_segments(struct media_buffer *out, const struct media_film *film, int track,
                              const char *id, const struct stretch *stretch)
{
    uint32_t first = with_samples(film, track, stretch->from, stretch->to);
    char version[MEDIA_NAME_MAX];
    media_version_query(film, version);
    const char *number = strrchr(id, '-');
    size_t prefix = number ? (size_t)(number + 1 - id) : 0;
    unsigned description =
        first < stretch->to ? mp4_cut_description(film->cut, film->index, track, first) : 0;
    uint32_t timescale = film->index->tracks[track].timescale;
    int64_t offset = llround(stretch->start * timescale);
    if (is_regular(film, track, stretch)) {
        media_printf(
            out,
            "<SegmentTemplate timescale=\"%" PRIu32 "\" presentationTimeOffset=\"%" PRId64
            "\" startNumber=\"%" PRIu32
            "\" initialization=\"%.*sinit-%s-%u.mp4%s\" media=\"$RepresentationID$-$Number$.m4s%s\">",
            timescale, offset, first, (int)prefix, id, id + prefix, description, version, version);
        put_timeline(out, film, track, stretch);
        media_put_text(out, "</SegmentTemplate>");
        return;
    }
    media_printf(out,
                 "<SegmentList timescale=\"%" PRIu32 "\" presentationTimeOffset=\"%" PRId64
                 "\"><Initialization sourceURL=\"%.*sinit-%s-%u.mp4%s\"/>",
                 timescale, offset, (int)prefix, id, id + prefix, description, version);
    put_timeline(out, film, track, stretch);
    for (uint32_t i = first; i < stretch->to; i = with_samples(film, track, i + 1, stretch->to))
        media_printf(out, "<SegmentURL media=\"%s-%" PRIu32 ".m4s%s\"/>", id, i, version);
    media_put_text(out, "</SegmentList>");
}

static void put_video(struct media_buffer *out, const struct media_film *film, unsigned item,
                      const struct stretch *stretch)
{
    char id[MEDIA_NAME_MAX];
    int video = mp4_index_first(film->index, MEDIA_VIDEO);
    unsigned description = mp4_cut_description(film->cut, film->index, video, stretch->from);
    const struct codec_description *codec = &film->index->tracks[video].descriptions[description].codec;
    double rate = media_film_frame_rate(film);
    media_stream_id(item, STREAM_VIDEO, 0, id);
    media_printf(out, "<Representation id=\"%s\" codecs=\"%s\" bandwidth=\"%" PRId64 "\"", id, codec->codecs,
                 max_i64(film->cut->rates[video].peak, 1));
    if (codec->width > 0 && codec->height > 0)
        media_printf(out, " width=\"%u\" height=\"%u\"", codec->width, codec->height);
    if (rate > 0)
        media_printf(out, " frameRate=\"%lld/1000\"", llround(rate * 1000));
    media_put_text(out, ">");
    dash_put_segments(out, film, video, id, stretch);
    media_put_text(out, "</Representation>\n");
}

static void dash_put_audio(struct media_buffer *out, const struct media_film *film, unsigned item, int track,
                           const struct stretch *stretch)
{
    char id[MEDIA_NAME_MAX];
    const struct mp4_track *source = &film->index->tracks[track];
    uint32_t first = with_samples(film, track, stretch->from, stretch->to);
    if (first == stretch->to)
        return;
    const struct codec_description *codec =
        &source->descriptions[mp4_cut_description(film->cut, film->index, track, first)].codec;
    media_put_text(out, "<AdaptationSet contentType=\"audio\" mimeType=\"audio/mp4\" "
                        "segmentAlignment=\"true\" startWithSAP=\"1\"");
    put_lang(out, source->language);
    media_printf(out, "><Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"%s\"/>",
                 track == mp4_index_first(film->index, MEDIA_AUDIO) ? "main" : "alternate");
    media_stream_id(item, STREAM_AUDIO, (unsigned)track, id);
    media_printf(out, "<Representation id=\"%s\" codecs=\"%s\" bandwidth=\"%" PRId64 "\"", id, codec->codecs,
                 max_i64(film->cut->rates[track].peak, 1));
    if (codec->sample_rate > 0)
        media_printf(out, " audioSamplingRate=\"%" PRIu32 "\"", codec->sample_rate);
    media_put_text(out, ">");
    if (codec->channels > 0)
        media_printf(out,
                     "<AudioChannelConfiguration "
                     "schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" "
                     "value=\"%u\"/>",
                     codec->channels);
    dash_put_segments(out, film, track, id, stretch);
    media_put_text(out, "</Representation></AdaptationSet>\n");
}

static void dash_put_text(struct media_buffer *out, const struct media_film *film, unsigned item,
                          unsigned track, const char *language)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    media_stream_id(item, STREAM_TEXT, track, id);
    media_put_text(out, "<AdaptationSet contentType=\"text\" mimeType=\"text/vtt\"");
    put_lang(out, language);
    media_printf(
        out,
        "><Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"subtitle\"/><Representation id=\"%s\" "
        "bandwidth=\"1000\"><BaseURL>%s.vtt%s</BaseURL></Representation></AdaptationSet>\n",
        id, id, media_version_query(film, version));
}

static void put_period(struct media_buffer *out, const struct media_set *set, unsigned left_out, size_t first,
                       const struct stretch *stretch, double end, unsigned number)
{
    const struct media_film *film = set->items[first].film;
    int video = mp4_index_first(film->index, MEDIA_VIDEO);
    bool pictures = video >= 0 && mp4_cut_samples(film->cut, video, stretch->from) > 0;
    media_printf(out, "<Period id=\"%u\" start=\"PT%.6fS\" duration=\"PT%.6fS\">\n", number, stretch->start,
                 end - stretch->start);
    if (pictures)
        media_printf(out,
                     "<AdaptationSet contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" "
                     "startWithSAP=\"%d\">\n",
                     film->cut->open_gop ? 3 : 1);
    for (size_t i = first; i < set->count && pictures; i++) {
        const struct media_film *other = set->items[i].film;
        if (other && other->cut && (left_out >> i & 1) == 0 &&
            mp4_index_first(other->index, MEDIA_VIDEO) >= 0)
            put_video(out, other, (unsigned)i, stretch);
    }
    if (pictures)
        media_put_text(out, "</AdaptationSet>\n");
    for (size_t i = 0; i < film->index->track_count; i++) {
        if (film->index->tracks[i].kind == MEDIA_AUDIO)
            dash_put_audio(out, film, (unsigned)first, (int)i, stretch);
    }
    for (size_t i = 0; i < film->index->track_count && number == 0; i++) {
        if (film->index->tracks[i].kind == MEDIA_SUBTITLE)
            dash_put_text(out, film, (unsigned)first, (unsigned)i, film->index->tracks[i].language);
    }
    for (size_t i = 0; i < set->count && number == 0; i++) {
        if (set->items[i].film && set->items[i].film->kind == FILM_SUBTITLE)
            dash_put_text(out, set->items[i].film, (unsigned)i, UINT32_MAX, set->items[i].language);
    }
    media_put_text(out, "</Period>\n");
}

/* The next stretch behind segment FROM: up to where the picture's description changes, or another track's. */
static uint32_t stretch_end(const struct media_film *film, uint32_t from)
{
    for (uint32_t segment = from + 1; segment < film->cut->count; segment++) {
        for (size_t i = 0; i < film->index->track_count; i++) {
            if (film->cut->first[i] && film->index->tracks[i].change_count > 0 &&
                mp4_cut_description(film->cut, film->index, (int)i, segment) !=
                    mp4_cut_description(film->cut, film->index, (int)i, from))
                return segment;
        }
    }
    return film->cut->count;
}

/* Seconds until the last picture or sound of what is shown of the set has passed, and a moment. */
static double dash_end(const struct media_set *set, unsigned left_out, size_t first)
{
    double end = 0;
    for (size_t i = first; i < set->count; i++) {
        const struct media_film *film = set->items[i].film;
        if (!film || !film->cut || (left_out >> i & 1) != 0)
            continue;
        int video = mp4_index_first(film->index, MEDIA_VIDEO);
        for (int track = 0; track < (int)film->index->track_count; track++) {
            bool shown = track == video || (i == first && film->index->tracks[track].kind == MEDIA_AUDIO);
            if (shown && (film->cut->unread || film->cut->first[track]))
                end = fmax(end, (double)dash_clock_of(film, track, film->cut->count) /
                                    film->index->tracks[track].timescale);
        }
    }
    return end + TAIL_SECONDS;
}

bool dash_manifest(const struct media_set *set, unsigned left_out, struct media_buffer *out)
{
    size_t first = 0;
    unsigned number = 0;
    while (first < set->count && (!set->items[first].film || set->items[first].film->kind == FILM_SUBTITLE))
        first++;
    if (first == set->count || !set->items[first].film->cut)
        return false;
    const struct media_film *film = set->items[first].film;
    double end = dash_end(set, left_out, first);
    media_printf(out,
                 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" "
                 "profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" "
                 "mediaPresentationDuration=\"PT%.6fS\" "
                 "minBufferTime=\"PT6S\">\n",
                 end);
    struct stretch stretch = {0, 0, 0};
    while (stretch.from < film->cut->count) {
        stretch.to = stretch_end(film, stretch.from);
        if (stretch.from > 0)
            stretch.start = (double)film->cut->times[stretch.from] / film->cut->timescale;
        bool last = stretch.to == film->cut->count;
        put_period(out, set, left_out, first, &stretch,
                   last ? end : (double)film->cut->times[stretch.to] / film->cut->timescale, number++);
        stretch.from = stretch.to;
    }
    media_put_text(out, "</MPD>\n");
    return true;
}
