/*
 * codec_string: one small function per codec reads its configuration box.
 */
#include "httpd/media/codec_string.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TYPE MEDIA_TYPE

/* Bytes of a sample entry before its boxes (ISO/IEC 14496-12 sections 12.1.3 and 12.2.3, with the box header). */
#define VISUAL_SIZE 86
#define AUDIO_SIZE  36

typedef bool (*codec_function)(struct media_view entry, struct media_view boxes,
                               struct codec_description *out);

static void fourcc_text(uint32_t type, char text[5])
{
    for (int i = 0; i < 4; i++) {
        char c = (char)(type >> (24 - 8 * i));
        text[i] = c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != ',' ? c : '?';
    }
    text[4] = '\0';
}

static bool config_of(struct media_view boxes, uint32_t type, size_t size_min, struct media_view *config)
{
    struct media_box box, wave;
    if (!media_box_find(boxes, type, &box)) {
        /* QuickTime keeps it one level deeper. */
        if (!media_box_find(boxes, TYPE('w', 'a', 'v', 'e'), &wave) || !media_box_find(wave.body, type, &box))
            return false;
    }
    if (box.body.size < size_min)
        return false;
    *config = box.body;
    return true;
}

static bool describe_avc(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    struct media_view config;
    char name[5];
    if (!config_of(boxes, TYPE('a', 'v', 'c', 'C'), 7, &config))
        return false;
    fourcc_text(media_get32(entry, 4), name);
    snprintf(out->codecs, sizeof(out->codecs), "%s.%06" PRIx32, name, media_get24(config, 1));
    return true;
}

/* ISO/IEC 14496-15 section E.3. */
static bool describe_hevc(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    struct media_view config;
    char name[5], constraints[32] = "";
    if (!config_of(boxes, TYPE('h', 'v', 'c', 'C'), 23, &config))
        return false;
    fourcc_text(media_get32(entry, 4), name);
    uint8_t profile = media_get8(config, 1);
    uint32_t compatible = media_get32(config, 2), reversed = 0;
    for (int i = 0; i < 32; i++)
        reversed |= (compatible >> i & 1) << (31 - i);
    int last = 5;
    while (last >= 0 && media_get8(config, 6 + (size_t)last) == 0)
        last--;
    size_t used = 0;
    for (int i = 0; i <= last; i++)
        used += (size_t)snprintf(constraints + used, sizeof(constraints) - used, ".%" PRIX32,
                                 (uint32_t)media_get8(config, 6 + (size_t)i));
    static const char *const spaces[] = {"", "A", "B", "C"};
    snprintf(out->codecs, sizeof(out->codecs), "%s.%s%d.%" PRIX32 ".%c%d%s", name, spaces[profile >> 6],
             profile & 31, reversed, (profile & 32) != 0 ? 'H' : 'L', media_get8(config, 12), constraints);
    return true;
}

/* AV1 Codec ISO Media File Format Binding, section 5. */
static bool describe_av1(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    struct media_view config;
    (void)entry;
    if (!config_of(boxes, TYPE('a', 'v', '1', 'C'), 4, &config))
        return false;
    uint8_t second = media_get8(config, 1), third = media_get8(config, 2);
    if (second >> 5 > 2) /* profiles that there are not */
        return false;
    bool high = (third & 0x40) != 0, twelve = (third & 0x20) != 0;
    snprintf(out->codecs, sizeof(out->codecs), "av01.%d.%02d%c.%02d", second >> 5, second & 31,
             (third & 0x80) != 0 ? 'H' : 'M',
             high && twelve && second >> 5 == 2 ? 12
             : high                             ? 10
                                                : 8);
    return true;
}

/* VP Codec ISO Media File Format Binding, "Codecs Parameter String". */
static bool describe_vp9(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    struct media_view config;
    (void)entry;
    if (!config_of(boxes, TYPE('v', 'p', 'c', 'C'), 10, &config))
        return false;
    int profile = media_get8(config, 4), level = media_get8(config, 5), depth = media_get8(config, 6) >> 4;
    if (profile > 3 || level > 99 || (depth != 8 && depth != 10 && depth != 12)) /* no two digits say it */
        return false;
    snprintf(out->codecs, sizeof(out->codecs), "vp09.%02d.%02d.%02d", profile, level > 0 ? level : 10, depth);
    return true;
}

/* The length of a descriptor of ISO/IEC 14496-1 (section 8.3.3). False: broken. */
static bool descriptor_next(struct media_view *rest, uint8_t *tag, struct media_view *body)
{
    size_t at = 1, length = 0;
    if (rest->size < 2)
        return false;
    *tag = media_get8(*rest, 0);
    for (int i = 0; i < 4; i++) {
        uint8_t byte = media_get8(*rest, at++);
        length = length << 7 | (byte & 0x7f);
        if ((byte & 0x80) == 0)
            break;
    }
    if (at > rest->size || length > rest->size - at)
        return false;
    *body = media_view_part(*rest, at, length);
    *rest = media_view_from(*rest, at + length);
    return true;
}

/* esds: which object type, and the decoder's own configuration. */
static bool elementary_stream(struct media_view boxes, uint8_t *object_type, struct media_view *specific)
{
    struct media_view rest, stream, body;
    uint8_t tag;
    if (!config_of(boxes, TYPE('e', 's', 'd', 's'), 4, &body))
        return false;
    rest = media_view_from(body, 4);
    if (!descriptor_next(&rest, &tag, &stream) || tag != 3 || stream.size < 3)
        return false;
    uint8_t flags = media_get8(stream, 2);
    size_t skip = 3 + ((flags & 0x80) != 0 ? 2u : 0u) +
                  ((flags & 0x40) != 0 ? 1u + media_get8(stream, 3) : 0u) + ((flags & 0x20) != 0 ? 2u : 0u);
    rest = media_view_from(stream, skip);
    if (!descriptor_next(&rest, &tag, &body) || tag != 4 || body.size < 13)
        return false;
    *object_type = media_get8(body, 0);
    *specific = (struct media_view){NULL, 0};
    rest = media_view_from(body, 13);
    struct media_view found;
    if (descriptor_next(&rest, &tag, &found) && tag == 5)
        *specific = found;
    return true;
}

static bool describe_mp4a(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    uint8_t object_type;
    struct media_view specific;
    (void)entry;
    if (!elementary_stream(boxes, &object_type, &specific))
        return false;
    switch (object_type) {
    case 0x40:
    case 0x66:
    case 0x67:
    case 0x68: {
        uint32_t bits = media_get16(specific, 0);
        uint32_t audio_type = bits >> 11;
        if (audio_type == 31)
            audio_type = 32 + (bits >> 5 & 63);
        snprintf(out->codecs, sizeof(out->codecs), "mp4a.40.%" PRIu32, audio_type != 0 ? audio_type : 2);
        out->name = "AAC";
        return true;
    }
    case 0x69:
    case 0x6b:
        snprintf(out->codecs, sizeof(out->codecs), "mp4a.%02x", object_type);
        out->name = "MP3";
        return true;
    case 0xa5:
        snprintf(out->codecs, sizeof(out->codecs), "ac-3");
        out->name = "AC-3";
        return true;
    case 0xa6:
        snprintf(out->codecs, sizeof(out->codecs), "ec-3");
        out->name = "E-AC-3";
        return true;
    case 0xad:
        snprintf(out->codecs, sizeof(out->codecs), "opus");
        out->name = "Opus";
        return true;
    default:
        return false;
    }
}

static bool describe_by_box(struct media_view boxes, uint32_t type, size_t size_min, const char *codecs,
                            struct codec_description *out)
{
    struct media_view config;
    snprintf(out->codecs, sizeof(out->codecs), "%s", codecs);
    return config_of(boxes, type, size_min, &config);
}

static bool describe_ac3(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    return describe_by_box(boxes, TYPE('d', 'a', 'c', '3'), 3, "ac-3", out);
}

static bool describe_eac3(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    return describe_by_box(boxes, TYPE('d', 'e', 'c', '3'), 5, "ec-3", out);
}

static bool describe_opus(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    return describe_by_box(boxes, TYPE('d', 'O', 'p', 's'), 11, "opus", out);
}

static bool describe_flac(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    return describe_by_box(boxes, TYPE('d', 'f', 'L', 'a'), 8, "fLaC", out);
}

static bool describe_mp3(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    (void)boxes;
    snprintf(out->codecs, sizeof(out->codecs), "mp4a.6b");
    return true;
}

static bool describe_text(struct media_view entry, struct media_view boxes, struct codec_description *out)
{
    (void)entry;
    (void)boxes;
    snprintf(out->codecs, sizeof(out->codecs), "wvtt");
    return true;
}

static const struct {
    enum media_kind kind;
    uint32_t type;
    const char *name;
    codec_function describe;
} codecs[] = {
    {MEDIA_VIDEO, TYPE('a', 'v', 'c', '1'), "H.264", describe_avc},
    {MEDIA_VIDEO, TYPE('a', 'v', 'c', '3'), "H.264", describe_avc},
    {MEDIA_VIDEO, TYPE('h', 'v', 'c', '1'), "HEVC", describe_hevc},
    {MEDIA_VIDEO, TYPE('h', 'e', 'v', '1'), "HEVC", describe_hevc},
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), "AV1", describe_av1},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), "VP9", describe_vp9},
    {MEDIA_AUDIO, TYPE('m', 'p', '4', 'a'), "MPEG-4 audio", describe_mp4a},
    {MEDIA_AUDIO, TYPE('a', 'c', '-', '3'), "AC-3", describe_ac3},
    {MEDIA_AUDIO, TYPE('e', 'c', '-', '3'), "E-AC-3", describe_eac3},
    {MEDIA_AUDIO, TYPE('O', 'p', 'u', 's'), "Opus", describe_opus},
    {MEDIA_AUDIO, TYPE('f', 'L', 'a', 'C'), "FLAC", describe_flac},
    {MEDIA_AUDIO, TYPE('.', 'm', 'p', '3'), "MP3", describe_mp3},
    {MEDIA_SUBTITLE, TYPE('t', 'x', '3', 'g'), "timed text", describe_text},
};

static void describe_shape(enum media_kind kind, struct media_view entry, struct codec_description *out)
{
    if (kind == MEDIA_VIDEO) {
        out->width = media_get16(entry, 32);
        out->height = media_get16(entry, 34);
    } else if (kind == MEDIA_AUDIO) {
        out->channels = media_get16(entry, 24);
        out->sample_rate = media_get32(entry, 32) >> 16;
    }
}

/* QuickTime's versions 1 and 2 of an audio entry have more fields before their boxes. */
static size_t audio_entry_size(struct media_view entry)
{
    switch (media_get16(entry, 16)) {
    case 1:
        return AUDIO_SIZE + 16;
    case 2:
        return AUDIO_SIZE + 36;
    default:
        return AUDIO_SIZE;
    }
}

bool codec_describe(enum media_kind kind, struct media_view entry, struct codec_description *description,
                    struct error *error)
{
    uint32_t type = media_get32(entry, 4);
    const char *what = kind == MEDIA_VIDEO ? "video" : kind == MEDIA_AUDIO ? "audio" : "text";
    char text[5];
    fourcc_text(type, text);
    memset(description, 0, sizeof(*description));
    size_t fixed = kind == MEDIA_VIDEO ? VISUAL_SIZE : kind == MEDIA_AUDIO ? audio_entry_size(entry) : 8;
    if (type == TYPE('e', 'n', 'c', 'v') || type == TYPE('e', 'n', 'c', 'a'))
        return error_set(error, ERROR_UNKNOWN_COMMAND, "its %s is encrypted", what);
    for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
        if (codecs[i].type != type || codecs[i].kind != kind)
            continue;
        description->name = codecs[i].name;
        describe_shape(kind, entry, description);
        if (entry.size < fixed)
            return error_set(error, ERROR_MALFORMED, "its description of the %s (%s) is cut off", what, text);
        if (codecs[i].describe(entry, media_view_from(entry, fixed), description))
            return true;
        return error_set(error, ERROR_MALFORMED, "its %s (%s) lacks a configuration that players can read",
                         what, text);
    }
    return error_set(
        error, ERROR_UNKNOWN_COMMAND,
        "its %s is of a kind (%s) that is not streamed: H.264, HEVC, AV1 and VP9 are, with AAC, AC-3, "
        "E-AC-3, Opus, FLAC or MP3",
        what, text);
}

bool codec_is_picture(struct media_view entry)
{
    uint8_t object_type;
    struct media_view specific;
    switch (media_get32(entry, 4)) {
    case TYPE('j', 'p', 'e', 'g'):
    case TYPE('p', 'n', 'g', ' '):
    case TYPE('m', 'j', 'p', 'a'):
        return true;
    case TYPE('m', 'p', '4', 'v'):
        return entry.size >= VISUAL_SIZE &&
               elementary_stream(media_view_from(entry, VISUAL_SIZE), &object_type, &specific) &&
               (object_type == 0x6c || object_type == 0x6d);
    default:
        return false;
    }
}
