/*
 * hls_playlist: sections named are those of RFC 8216.
 */
#include "httpd/media/hls_playlist.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void hls_put_head(struct media_buffer *out, bool independent)
{
    media_put_text(out, "#EXTM3U\n#EXT-X-VERSION:7\n");
    if (independent)
        media_put_text(out, "#EXT-X-INDEPENDENT-SEGMENTS\n");
}

/* ---- the multivariant playlist, section 4.3.4 ---- */

static bool is_left_out(const struct media_set *set, unsigned left_out, size_t i)
{
    return !set->items[i].film || (left_out >> i & 1) != 0;
}

/* Which sound a variant goes with: groups are by codec, since CODECS names what every member of a group needs. */
static bool first_of_codec(const struct mp4_index *index, size_t track)
{
    for (size_t i = 0; i < track; i++) {
        if (index->tracks[i].kind == MEDIA_AUDIO &&
            strcmp(index->tracks[i].descriptions[0].codec.codecs,
                   index->tracks[track].descriptions[0].codec.codecs) == 0)
            return false;
    }
    return true;
}

static size_t group_of(const struct mp4_index *index, size_t track)
{
    for (size_t i = 0; i < track; i++) {
        if (index->tracks[i].kind == MEDIA_AUDIO &&
            strcmp(index->tracks[i].descriptions[0].codec.codecs,
                   index->tracks[track].descriptions[0].codec.codecs) == 0)
            return i;
    }
    return track;
}

static void put_language(struct media_buffer *out, const char *language)
{
    if (language[0] != '\0' && strcmp(language, "und") != 0)
        media_printf(out, ",LANGUAGE=\"%s\"", media_language(language));
}

static void hls_put_audio(struct media_buffer *out, unsigned item, const struct media_film *film)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    const struct mp4_index *index = film->index;
    media_version_query(film, version);
    for (size_t i = 0; i < index->track_count; i++) {
        const struct mp4_track *track = &index->tracks[i];
        if (track->kind != MEDIA_AUDIO)
            continue;
        bool first = (int)i == mp4_index_first(index, MEDIA_AUDIO);
        media_printf(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio%zu\"", group_of(index, i));
        if (track->title[0] != '\0')
            media_printf(out, ",NAME=\"%s (%zu)\"", track->title, i);
        else
            media_printf(out, ",NAME=\"%s %zu\"",
                         strcmp(track->language, "und") != 0 ? media_language(track->language) : "Track", i);
        put_language(out, track->language);
        media_printf(out, ",DEFAULT=%s,AUTOSELECT=YES", first ? "YES" : "NO");
        if (track->descriptions[0].codec.channels > 0)
            media_printf(out, ",CHANNELS=\"%u\"", track->descriptions[0].codec.channels);
        media_printf(out, ",URI=\"%s.m3u8%s\"\n", media_stream_id(item, STREAM_AUDIO, (unsigned)i, id),
                     version);
    }
}

/* How many tracks and files of subtitles there are; each is written where OUT is given. */
static size_t put_subtitles(struct media_buffer *out, const struct media_set *set, unsigned left_out,
                            size_t first)
{
    size_t count = 0;
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    for (size_t i = 0; i < set->count; i++) {
        const struct media_film *film = set->items[i].film;
        if (is_left_out(set, left_out, i))
            continue;
        media_version_query(film, version);
        for (size_t t = 0; film->cut && i == first && t < film->index->track_count; t++) {
            const struct mp4_track *track = &film->index->tracks[t];
            if (track->kind != MEDIA_SUBTITLE)
                continue;
            count++;
            if (!out)
                continue;
            media_printf(out, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"%s %zu\"",
                         strcmp(track->language, "und") != 0 ? media_language(track->language) : "Subtitles",
                         count);
            put_language(out, track->language);
            media_printf(out, ",DEFAULT=NO,AUTOSELECT=YES,URI=\"%s.m3u8%s\"\n",
                         media_stream_id((unsigned)i, STREAM_TEXT, (unsigned)t, id), version);
        }
        if (film->kind != FILM_SUBTITLE)
            continue;
        count++;
        if (!out)
            continue;
        const char *name = set->items[i].name[0] != '\0' ? set->items[i].name : "Subtitles";
        media_printf(out, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"%s (%zu)\"", name,
                     count);
        put_language(out, set->items[i].language);
        media_printf(out, ",DEFAULT=NO,AUTOSELECT=YES,URI=\"%s.m3u8%s\"\n",
                     media_stream_id((unsigned)i, STREAM_TEXT, UINT32_MAX, id), version);
    }
    return count;
}

static void hls_put_picture(struct media_buffer *out, const struct media_film *film,
                            const struct codec_description *codec)
{
    double rate = media_film_frame_rate(film);
    if (codec->width > 0 && codec->height > 0)
        media_printf(out, ",RESOLUTION=%ux%u", codec->width, codec->height);
    if (rate > 0)
        media_printf(out, ",FRAME-RATE=%.3f", rate);
}

static void put_rates(struct media_buffer *out, struct mp4_rate a, struct mp4_rate b)
{
    int64_t peak = max_i64(a.peak + b.peak, 1), average = max_i64(a.average + b.average, 1);
    media_printf(out, "BANDWIDTH=%" PRId64 ",AVERAGE-BANDWIDTH=%" PRId64, max_i64(peak, average), average);
}

static const struct codec_description *codec_of(const struct mp4_index *index, int track)
{
    return &index->tracks[track].descriptions[0].codec;
}

static void put_variant(struct media_buffer *out, const struct media_film *film, unsigned item, int video,
                        int audio, bool muxed, bool subtitles, size_t group)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    const struct mp4_index *index = film->index;
    struct mp4_rate none = {0, 0};
    media_put_text(out, "#EXT-X-STREAM-INF:");
    put_rates(out, video >= 0 ? film->cut->rates[video] : none, audio >= 0 ? film->cut->rates[audio] : none);
    media_printf(out, ",CODECS=\"%s%s%s\"", video >= 0 ? codec_of(index, video)->codecs : "",
                 video >= 0 && audio >= 0 ? "," : "", audio >= 0 ? codec_of(index, audio)->codecs : "");
    if (video >= 0)
        hls_put_picture(out, film, codec_of(index, video));
    if (video >= 0 && audio >= 0 && !muxed)
        media_printf(out, ",AUDIO=\"audio%zu\"", group);
    if (subtitles)
        media_put_text(out, ",SUBTITLES=\"subtitles\"");
    enum media_stream stream = muxed ? STREAM_MUXED : video >= 0 ? STREAM_VIDEO : STREAM_AUDIO;
    media_printf(out, "\n%s.m3u8%s\n", media_stream_id(item, stream, (unsigned)(audio >= 0 ? audio : 0), id),
                 media_version_query(film, version));
}

/* The variants of one film. SOUND: the film whose sound goes with them, ITEM the one of the picture. */
static void put_variants(struct media_buffer *out, const struct media_film *film,
                         const struct media_film *sound, unsigned item, bool subtitles)
{
    int video = mp4_index_first(film->index, MEDIA_VIDEO), audio = mp4_index_first(film->index, MEDIA_AUDIO);
    if (film->cut->muxed || video < 0 || audio < 0) {
        put_variant(out, film, item, video, audio, film->cut->muxed, subtitles, 0);
        return;
    }
    for (size_t i = 0; i < sound->index->track_count; i++) {
        if (sound->index->tracks[i].kind == MEDIA_AUDIO && first_of_codec(sound->index, i) &&
            (sound == film || i < film->index->track_count))
            put_variant(out, film, item, video, (int)i, false, subtitles, i);
    }
}

static void put_keys(struct media_buffer *out, const struct media_film *film, unsigned item)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    int video = mp4_index_first(film->index, MEDIA_VIDEO);
    if (video < 0)
        return;
    const struct codec_description *codec = codec_of(film->index, video);
    media_printf(out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=%" PRId64 ",CODECS=\"%s\"",
                 max_i64(film->cut->rates[video].peak, 1), codec->codecs);
    if (codec->width > 0 && codec->height > 0)
        media_printf(out, ",RESOLUTION=%ux%u", codec->width, codec->height);
    media_printf(out, ",URI=\"%s.m3u8%s\"\n", media_stream_id(item, STREAM_KEYS, 0, id),
                 media_version_query(film, version));
}

static struct mp4_rate rate_of_ranges(const struct media_film *film)
{
    struct mp4_rate rate = {0, 0};
    int64_t bytes = 0, time = 0;
    for (size_t i = 0; i < film->ranges.count; i++) {
        const struct film_range *range = &film->ranges.items[i];
        rate.peak =
            max_i64(rate.peak, media_rescale(range->size * 8, film->ranges.timescale,
                                             max_i64(range->duration, film->ranges.timescale / 4 + 1)));
        bytes += range->size;
        time += range->duration;
    }
    rate.average = media_rescale(bytes * 8, film->ranges.timescale, max_i64(time, 1));
    return rate;
}

static void put_stored(struct media_buffer *out, const struct media_film *film, unsigned item, bool subtitles)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    struct mp4_rate none = {0, 0};
    media_put_text(out, "#EXT-X-STREAM-INF:");
    put_rates(out, rate_of_ranges(film), none);
    if (film->ranges.codecs[0] != '\0')
        media_printf(out, ",CODECS=\"%s\"", film->ranges.codecs);
    if (film->ranges.width > 0)
        media_printf(out, ",RESOLUTION=%ux%u", film->ranges.width, film->ranges.height);
    if (subtitles)
        media_put_text(out, ",SUBTITLES=\"subtitles\"");
    media_printf(out, "\n%s.m3u8%s\n", media_stream_id(item, STREAM_MUXED, 0, id),
                 media_version_query(film, version));
}

static bool all_independent(const struct media_set *set, unsigned left_out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct media_film *film = set->items[i].film;
        if (is_left_out(set, left_out, i) || film->kind == FILM_SUBTITLE)
            continue;
        if (film->cut ? film->cut->open_gop : !film->ranges.independent)
            return false;
    }
    return true;
}

void hls_master(const struct media_set *set, unsigned left_out, struct media_buffer *out)
{
    size_t first = SIZE_MAX;
    for (size_t i = set->count; i-- > 0;) {
        if (!is_left_out(set, left_out, i) && set->items[i].film->kind != FILM_SUBTITLE)
            first = i;
    }
    hls_put_head(out, all_independent(set, left_out));
    bool subtitles = put_subtitles(NULL, set, left_out, first) > 0;
    const struct media_film *sound = first != SIZE_MAX ? set->items[first].film : NULL;
    if (sound && sound->cut && !sound->cut->muxed && mp4_index_first(sound->index, MEDIA_VIDEO) >= 0)
        hls_put_audio(out, (unsigned)first, sound);
    put_subtitles(out, set, left_out, first);
    for (size_t i = 0; i < set->count; i++) {
        const struct media_film *film = set->items[i].film;
        if (is_left_out(set, left_out, i) || film->kind == FILM_SUBTITLE)
            continue;
        if (film->cut)
            put_variants(out, film, sound && sound->cut && !sound->cut->muxed ? sound : film, (unsigned)i,
                         subtitles);
        else
            put_stored(out, film, (unsigned)i, subtitles);
    }
    for (size_t i = 0; i < set->count; i++) {
        if (!is_left_out(set, left_out, i) && set->items[i].film->cut)
            put_keys(out, set->items[i].film, (unsigned)i);
    }
}

/* ---- media playlists, section 4.3.3 ---- */

static void put_media_head(struct media_buffer *out, double longest, bool independent, bool keys)
{
    hls_put_head(out, independent);
    media_printf(out, "#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n",
                 (int)max_i64(1, (int64_t)ceil(longest)));
    if (keys)
        media_put_text(out, "#EXT-X-I-FRAMES-ONLY\n");
}

/* One segment after the other, those without samples left out: the time of each goes up to the next. */
struct walk {
    const struct media_film *film;
    enum media_stream stream;
    unsigned track;
    uint32_t segment;
    double seconds;      /* of the segment */
    uint8_t description; /* of its first part */
};

static bool has_samples(const struct walk *walk, uint32_t segment)
{
    struct mp4_part parts[MP4_PARTS_MAX];
    size_t count = media_stream_parts(walk->film, walk->stream, walk->track, segment, parts);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].count > 0)
            return true;
    }
    return false;
}

static int hls_track_of(const struct walk *walk)
{
    return walk->stream == STREAM_AUDIO ? (int)walk->track : walk->film->cut->reference;
}

static double hls_time_of(const struct walk *walk, uint32_t segment)
{
    int track = hls_track_of(walk);
    return (double)mp4_cut_time(walk->film->cut, walk->film->index, track, segment) /
           walk->film->index->tracks[track].timescale;
}

static bool walk_from(struct walk *walk, uint32_t segment)
{
    uint32_t count = walk->film->cut->count;
    while (segment < count && !has_samples(walk, segment))
        segment++;
    if (segment == count)
        return false;
    uint32_t next = segment + 1;
    while (next < count && !has_samples(walk, next))
        next++;
    walk->segment = segment;
    walk->seconds = hls_time_of(walk, next) - hls_time_of(walk, segment);
    struct mp4_part parts[MP4_PARTS_MAX];
    (void)media_stream_parts(walk->film, walk->stream, walk->track, segment, parts);
    walk->description = parts[0].description;
    return true;
}

static void hls_put_segments(struct media_buffer *out, struct walk *walk, const char *id)
{
    uint8_t description = UINT8_MAX;
    char version[MEDIA_NAME_MAX];
    media_version_query(walk->film, version);
    for (bool more = walk_from(walk, 0); more; more = walk_from(walk, walk->segment + 1)) {
        if (walk->description != description) {
            if (description != UINT8_MAX)
                media_put_text(out, "#EXT-X-DISCONTINUITY\n");
            const char *stream = strrchr(id, '-');
            size_t prefix = stream ? (size_t)(stream + 1 - id) : 0;
            media_printf(out, "#EXT-X-MAP:URI=\"%.*sinit-%s-%u.mp4%s\"\n", (int)prefix, id, id + prefix,
                         walk->description, version);
            description = walk->description;
        }
        media_printf(out, "#EXTINF:%.6f,\n%s-%" PRIu32 ".m4s%s\n", walk->seconds, id, walk->segment, version);
    }
}

static bool put_cut(struct media_buffer *out, const struct media_film *film, const struct media_name *name)
{
    struct walk walk = {.film = film, .stream = name->stream, .track = name->track};
    struct mp4_part parts[MP4_PARTS_MAX];
    char id[MEDIA_NAME_MAX];
    double longest = 0;
    if (media_stream_parts(film, name->stream, name->track, UINT32_MAX, parts) == 0)
        return false;
    for (bool more = walk_from(&walk, 0); more; more = walk_from(&walk, walk.segment + 1))
        longest = fmax(longest, walk.seconds);
    bool keys = name->stream == STREAM_KEYS;
    put_media_head(out, longest, keys || name->stream == STREAM_AUDIO || !film->cut->open_gop, keys);
    hls_put_segments(out, &walk, media_stream_id(name->item, name->stream, name->track, id));
    media_put_text(out, "#EXT-X-ENDLIST\n");
    return true;
}

static bool put_ranges(struct media_buffer *out, const struct media_film *film, const struct media_name *name)
{
    char prefix[16] = "", version[MEDIA_NAME_MAX];
    double longest = 0;
    media_version_query(film, version);
    const struct film_ranges *ranges = &film->ranges;
    const char *extension = film->kind == FILM_TS ? "ts" : "mp4";
    if (name->stream != STREAM_MUXED)
        return false;
    if (name->item > 0)
        snprintf(prefix, sizeof(prefix), "%u-", name->item);
    for (size_t i = 0; i < ranges->count; i++)
        longest = fmax(longest, (double)ranges->items[i].duration / ranges->timescale);
    put_media_head(out, longest, ranges->independent, false);
    if (ranges->init_size > 0)
        media_printf(out, "#EXT-X-MAP:URI=\"%sfile.%s%s\",BYTERANGE=\"%" PRId64 "@0\"\n", prefix, extension,
                     version, ranges->init_size);
    for (size_t i = 0; i < ranges->count; i++)
        media_printf(out, "#EXTINF:%.6f,\n#EXT-X-BYTERANGE:%" PRId64 "@%" PRId64 "\n%sfile.%s%s\n",
                     (double)ranges->items[i].duration / ranges->timescale, ranges->items[i].size,
                     ranges->items[i].offset, prefix, extension, version);
    media_put_text(out, "#EXT-X-ENDLIST\n");
    return true;
}

/* Subtitles are one segment: all of them. */
static bool hls_put_text(struct media_buffer *out, const struct media_film *film,
                         const struct media_name *name, double seconds)
{
    char id[MEDIA_NAME_MAX], version[MEDIA_NAME_MAX];
    unsigned track = film->kind == FILM_SUBTITLE ? UINT32_MAX : name->track;
    if (film->kind != FILM_SUBTITLE) {
        if (!film->cut || name->track >= film->index->track_count ||
            film->index->tracks[name->track].kind != MEDIA_SUBTITLE)
            return false;
        seconds = media_film_seconds(film);
    }
    put_media_head(out, seconds, false, false);
    media_printf(out, "#EXTINF:%.6f,\n%s.vtt%s\n#EXT-X-ENDLIST\n", fmax(seconds, 0.001),
                 media_stream_id(name->item, STREAM_TEXT, track, id), media_version_query(film, version));
    return true;
}

bool hls_media(const struct media_film *film, const struct media_name *name, double seconds,
               struct media_buffer *out)
{
    if (name->stream == STREAM_TEXT)
        return hls_put_text(out, film, name, seconds);
    switch (film->kind) {
    case FILM_MP4:
    case FILM_MATROSKA:
        return put_cut(out, film, name);
    case FILM_FRAGMENTED:
    case FILM_TS:
        return put_ranges(out, film, name);
    case FILM_SUBTITLE:
        break;
    }
    return false;
}
