/*
 * ebml_tracks: identifiers are those of RFC 9559 section 5.
 */
#include "httpd/media/ebml_tracks.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ID_TIMESTAMP_SCALE 0x2ad7b1
#define ID_DURATION        0x4489
#define ID_TRACK_ENTRY     0xae
#define ID_NUMBER          0xd7
#define ID_TYPE            0x83
#define ID_CODEC           0x86
#define ID_PRIVATE         0x63a2
#define ID_FRAME_NS        0x23e383
#define ID_DELAY           0x56aa
#define ID_LANGUAGE        0x22b59c
#define ID_NAME            0x536e
#define ID_VIDEO           0xe0
#define ID_AUDIO           0xe1
#define ID_ENCODINGS       0x6d80
#define ID_ENCODING        0x6240
#define ID_SCOPE           0x5032
#define ID_ENCODING_TYPE   0x5033
#define ID_COMPRESSION     0x5034
#define ID_ALGORITHM       0x4254
#define ID_SETTINGS        0x4255

#define TYPE_VIDEO       1
#define TYPE_AUDIO       2
#define TYPE_SUBTITLE    17
#define ZLIB             0
#define HEADER_STRIPPING 3

static const struct {
    const char *id;
    enum media_kind kind;
    enum ebml_codec codec;
} codecs[] = {
    {"V_MPEG4/ISO/AVC", MEDIA_VIDEO, EBML_AVC}, {"V_MPEGH/ISO/HEVC", MEDIA_VIDEO, EBML_HEVC},
    {"V_AV1", MEDIA_VIDEO, EBML_AV1},           {"V_VP9", MEDIA_VIDEO, EBML_VP9},
    {"A_AAC", MEDIA_AUDIO, EBML_AAC},           {"A_AC3", MEDIA_AUDIO, EBML_AC3},
    {"A_EAC3", MEDIA_AUDIO, EBML_EAC3},         {"A_OPUS", MEDIA_AUDIO, EBML_OPUS},
    {"A_FLAC", MEDIA_AUDIO, EBML_FLAC},         {"A_MPEG/L3", MEDIA_AUDIO, EBML_MP3},
};

static const struct {
    const char *id;
    enum subtitle_kind text;
} texts[] = {
    {"S_TEXT/UTF8", SUBTITLE_SUBRIP},
    {"S_TEXT/ASCII", SUBTITLE_SUBRIP},
    {"S_TEXT/WEBVTT", SUBTITLE_WEBVTT},
    {"S_TEXT/ASS", SUBTITLE_ASS},
    {"S_TEXT/SSA", SUBTITLE_ASS},
    {"S_ASS", SUBTITLE_ASS},
    {"S_SSA", SUBTITLE_ASS},
    {"D_WEBVTT/SUBTITLES", SUBTITLE_WEBM},
    {"D_WEBVTT/CAPTIONS", SUBTITLE_WEBM},
};

bool ebml_tracks_info(struct ebml_tracks *tracks, struct media_view body, struct error *error)
{
    struct ebml_element element;
    tracks->scale = 1000000;
    tracks->duration = 0;
    while (ebml_next(&body, &element)) {
        if (element.id == ID_TIMESTAMP_SCALE)
            tracks->scale = ebml_unsigned(element.body, 0);
        else if (element.id == ID_DURATION)
            tracks->duration = ebml_float(element.body, 0);
    }
    if (body.size > 0 || tracks->scale == 0 || tracks->scale > 1000000000 || tracks->duration < 0)
        return error_set(error, ERROR_MALFORMED, "its description (Info) is damaged");
    return true;
}

static void read_colour(struct media_view body, struct ebml_track *track)
{
    struct ebml_element element;
    for (size_t i = 0; i < 3; i++)
        track->colour[i] = 2;
    while (ebml_next(&body, &element)) {
        uint64_t value = ebml_unsigned(element.body, 2);
        uint8_t known = value < 256 ? (uint8_t)value : 2;
        if (element.id == 0x55bb)
            track->colour[0] = known;
        else if (element.id == 0x55ba)
            track->colour[1] = known;
        else if (element.id == 0x55b1)
            track->colour[2] = known;
        else if (element.id == 0x55b9)
            track->full_range = value == 2;
    }
    track->has_colour = track->colour[0] != 2 || track->colour[1] != 2 || track->colour[2] != 2;
}

static bool read_video(struct media_view body, struct ebml_track *track)
{
    struct ebml_element element;
    uint64_t width = 0, height = 0, shown_width = 0, shown_height = 0, unit = 0;
    while (ebml_next(&body, &element)) {
        switch (element.id) {
        case 0xb0:
            width = ebml_unsigned(element.body, 0);
            break;
        case 0xba:
            height = ebml_unsigned(element.body, 0);
            break;
        case 0x54b0:
            shown_width = ebml_unsigned(element.body, 0);
            break;
        case 0x54ba:
            shown_height = ebml_unsigned(element.body, 0);
            break;
        case 0x54b2:
            unit = ebml_unsigned(element.body, 0);
            break;
        case 0x55b0:
            read_colour(element.body, track);
            break;
        default:
            break;
        }
    }
    if (width == 0 || height == 0 || width > UINT16_MAX || height > UINT16_MAX)
        return false;
    track->width = (uint16_t)width;
    track->height = (uint16_t)height;
    bool said = shown_width > 0 && shown_height > 0 && shown_width <= UINT16_MAX &&
                shown_height <= UINT16_MAX && unit != 4;
    track->shown_width = said ? (uint32_t)shown_width : track->width;
    track->shown_height = said ? (uint32_t)shown_height : track->height;
    return body.size == 0;
}

static bool read_audio(struct media_view body, struct ebml_track *track)
{
    struct ebml_element element;
    double rate = 8000;
    uint64_t channels = 1;
    while (ebml_next(&body, &element)) {
        if (element.id == 0xb5)
            rate = ebml_float(element.body, 0);
        else if (element.id == 0x9f)
            channels = ebml_unsigned(element.body, 0);
    }
    if (!(rate >= 1000 && rate <= 768000) || channels == 0 || channels > 255)
        return false;
    track->rate = (uint32_t)rate;
    track->channels = (uint16_t)channels;
    return body.size == 0;
}

/* Only what programs do to sound and text by default is undone: bytes that all frames begin with were taken off; text was
 * compressed. */
static bool read_encodings(struct media_view body, struct ebml_track *track, const char **why)
{
    struct ebml_element encoding, element, inner;
    size_t count = 0;
    while (ebml_next(&body, &encoding)) {
        if (encoding.id != ID_ENCODING)
            continue;
        bool encrypted =
            ebml_find(encoding.body, ID_ENCODING_TYPE, &element) && ebml_unsigned(element.body, 1) != 0;
        bool frames = !ebml_find(encoding.body, ID_SCOPE, &element) || ebml_unsigned(element.body, 0) == 1;
        *why = encrypted ? "encrypted" : "compressed a second time";
        if (encrypted || !frames || count++ > 0 || !ebml_find(encoding.body, ID_COMPRESSION, &element))
            return false;
        uint64_t algorithm =
            ebml_find(element.body, ID_ALGORITHM, &inner) ? ebml_unsigned(inner.body, 99) : ZLIB;
        track->deflated = algorithm == ZLIB && track->kind == MEDIA_SUBTITLE;
        if (track->deflated)
            continue;
        if (algorithm != HEADER_STRIPPING)
            return false;
        if (!ebml_find(element.body, ID_SETTINGS, &inner))
            continue;
        if (inner.body.size > EBML_STRIP_MAX)
            return false;
        memcpy(track->strip, inner.body.bytes, inner.body.size);
        track->strip_size = inner.body.size;
    }
    return true;
}

/* ISO 639-2, or BCP 47's longer form for which there are no four bytes. */
static void ebml_tracks_read_language(struct media_view body, struct ebml_track *track)
{
    char text[5];
    ebml_text(body, text, sizeof(text));
    bool legal = strlen(text) == 3;
    for (size_t i = 0; legal && i < 3; i++)
        legal = text[i] >= 'a' && text[i] <= 'z';
    memcpy(track->language, legal ? text : "und", 4);
}

static bool find_codec(const char *id, struct ebml_track *track)
{
    for (size_t i = 0; track->kind == MEDIA_SUBTITLE && i < ARRAY_SIZE(texts); i++) {
        if (strcmp(texts[i].id, id) == 0) {
            track->codec = EBML_TEXT;
            track->text = texts[i].text;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
        bool aac = codecs[i].codec == EBML_AAC && strncmp(id, "A_AAC/", 6) == 0;
        if (codecs[i].kind == track->kind && (aac || strcmp(codecs[i].id, id) == 0)) {
            track->codec = codecs[i].codec;
            return true;
        }
    }
    return false;
}

enum entry_end { ENTRY_TAKEN, ENTRY_OTHER, ENTRY_REFUSED, ENTRY_DAMAGED };

/* What a track is; ERROR says why it is REFUSED. *BODY_PRIVATE: its codec's configuration. */
static enum entry_end read_entry(struct media_view body, struct ebml_track *track,
                                 struct media_view *body_private, struct error *error)
{
    struct ebml_element element, video = {0}, audio = {0}, encodings = {0};
    char codec[33] = "";
    const char *why = "";
    uint64_t type = 0;
    memcpy(track->language, "eng", 4); /* what RFC 9559 takes where nothing is said */
    while (ebml_next(&body, &element)) {
        switch (element.id) {
        case ID_NUMBER:
            track->number = ebml_unsigned(element.body, 0);
            break;
        case ID_TYPE:
            type = ebml_unsigned(element.body, 0);
            break;
        case ID_CODEC:
            ebml_text(element.body, codec, sizeof(codec));
            break;
        case ID_PRIVATE:
            *body_private = element.body;
            break;
        case ID_FRAME_NS:
            track->frame_ns = ebml_unsigned(element.body, 0);
            break;
        case ID_DELAY:
            track->delay_ns = ebml_unsigned(element.body, 0);
            break;
        case ID_LANGUAGE:
            ebml_tracks_read_language(element.body, track);
            break;
        case ID_NAME:
            ebml_text(element.body, track->title, sizeof(track->title));
            break;
        case ID_VIDEO:
            video = element;
            break;
        case ID_AUDIO:
            audio = element;
            break;
        case ID_ENCODINGS:
            encodings = element;
            break;
        default:
            break;
        }
    }
    if (body.size > 0 || track->number == 0)
        return ENTRY_DAMAGED;
    if (type != TYPE_VIDEO && type != TYPE_AUDIO && type != TYPE_SUBTITLE)
        return ENTRY_OTHER;
    track->kind = type == TYPE_VIDEO ? MEDIA_VIDEO : type == TYPE_AUDIO ? MEDIA_AUDIO : MEDIA_SUBTITLE;
    if (type == TYPE_SUBTITLE) /* what cannot be shown as text is no reason to refuse the film */
        return find_codec(codec, track) && (encodings.id == 0 || read_encodings(encodings.body, track, &why))
                   ? ENTRY_TAKEN
                   : ENTRY_OTHER;
    const char *what = type == TYPE_VIDEO ? "video" : "audio";
    if (!find_codec(codec, track)) {
        (void)error_set(
            error, ERROR_UNKNOWN_COMMAND,
            "its %s is of a kind (%s) that is not streamed: H.264, HEVC, AV1 and VP9 are, with AAC, "
            "AC-3, E-AC-3, Opus, FLAC or MP3",
            what, codec);
        return ENTRY_REFUSED;
    }
    if (encodings.id != 0 && !read_encodings(encodings.body, track, &why)) {
        (void)error_set(error, ERROR_UNKNOWN_COMMAND, "its %s is %s, which is not streamed", what, why);
        return ENTRY_REFUSED;
    }
    if (body_private->size > EBML_PRIVATE_MAX || track->frame_ns > UINT64_C(60000000000) ||
        track->delay_ns > UINT64_C(10000000000))
        return ENTRY_DAMAGED;
    bool read = type == TYPE_VIDEO ? read_video(video.body, track) : read_audio(audio.body, track);
    return read ? ENTRY_TAKEN : ENTRY_DAMAGED;
}

static bool is_known(const struct ebml_tracks *tracks, uint64_t number)
{
    for (size_t i = 0; i < tracks->count; i++) {
        if (tracks->items[i].number == number)
            return true;
    }
    return false;
}

/* Subtitles come behind all other tracks, as many as there is room for. */
static bool ebml_tracks_read_texts(struct ebml_tracks *tracks, struct media_view body, struct error *error)
{
    struct ebml_element element;
    while (ebml_next(&body, &element) && tracks->count < MP4_TRACKS_MAX) {
        struct ebml_track track = {0};
        struct media_view body_private = {NULL, 0};
        struct error ignored;
        if (element.id != ID_TRACK_ENTRY ||
            read_entry(element.body, &track, &body_private, &ignored) != ENTRY_TAKEN ||
            track.kind != MEDIA_SUBTITLE)
            continue;
        if (is_known(tracks, track.number))
            return error_set(error, ERROR_MALFORMED, "its description of track %" PRIu64 " is damaged",
                             track.number);
        tracks->items[tracks->count++] = track;
    }
    return true;
}

bool ebml_tracks_read(struct ebml_tracks *tracks, struct media_view body, struct error *error)
{
    struct ebml_element element;
    struct media_view whole = body;
    struct error refusal = {.text = ""};
    size_t taken[2] = {0}, refused[2] = {0};
    while (ebml_next(&body, &element)) {
        struct ebml_track track = {0};
        struct media_view body_private = {NULL, 0};
        if (element.id != ID_TRACK_ENTRY)
            continue;
        enum entry_end end = read_entry(element.body, &track, &body_private, &refusal);
        if (end == ENTRY_DAMAGED || is_known(tracks, track.number))
            return error_set(error, ERROR_MALFORMED, "its description of track %" PRIu64 " is damaged",
                             track.number);
        if (end == ENTRY_REFUSED)
            refused[track.kind == MEDIA_AUDIO]++;
        /* A second picture is one that nobody asked for (covers, other views). */
        if (end != ENTRY_TAKEN || track.kind == MEDIA_SUBTITLE || (track.kind == MEDIA_VIDEO && taken[0] > 0))
            continue;
        if (tracks->count == MP4_TRACKS_MAX)
            break;
        taken[track.kind == MEDIA_AUDIO]++;
        track.private_at = tracks->texts.size;
        track.private_size = body_private.size;
        media_put(&tracks->texts, body_private.bytes, body_private.size);
        tracks->items[tracks->count++] = track;
    }
    if (tracks->texts.failed)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its index");
    if ((taken[0] == 0 && refused[0] > 0) || (taken[1] == 0 && refused[1] > 0)) {
        *error = refusal;
        return false;
    }
    if (tracks->count == 0)
        return error_set(error, ERROR_UNKNOWN_COMMAND, "it has neither video nor audio");
    return ebml_tracks_read_texts(tracks, whole, error);
}

struct media_view ebml_tracks_private(const struct ebml_tracks *tracks, const struct ebml_track *track)
{
    return media_view_part((struct media_view){tracks->texts.bytes, tracks->texts.size}, track->private_at,
                           track->private_size);
}

void ebml_tracks_clear(struct ebml_tracks *tracks)
{
    media_buffer_clear(&tracks->texts);
    *tracks = (struct ebml_tracks){0};
}
