/*
 * ebml_entry: the fixed part of a description, then the one box of its codec.
 */
#include "httpd/media/ebml_entry.h"
#include "httpd/media/ebml_frames.h"
#include <string.h>

#define TYPE MEDIA_TYPE

static size_t begin_video(const struct ebml_track *track, uint32_t type, struct media_buffer *out)
{
    size_t box = media_box_begin(out, type);
    media_put_zeros(out, 6);
    media_put16(out, 1);
    media_put_zeros(out, 16);
    media_put16(out, track->width);
    media_put16(out, track->height);
    media_put32(out, 0x480000);
    media_put32(out, 0x480000);
    media_put32(out, 0);
    media_put16(out, 1);
    media_put_zeros(out, 32);
    media_put16(out, 0x18);
    media_put16(out, UINT16_MAX);
    return box;
}

static size_t begin_audio(const struct ebml_track *track, uint32_t type, struct media_buffer *out)
{
    size_t box = media_box_begin(out, type);
    media_put_zeros(out, 6);
    media_put16(out, 1);
    media_put_zeros(out, 8);
    media_put16(out, track->channels);
    media_put16(out, 16);
    media_put32(out, 0);
    media_put32(out, track->rate <= UINT16_MAX ? track->rate << 16 : 0);
    return box;
}

static void put_box(struct media_buffer *out, uint32_t type, struct media_view body)
{
    size_t box = media_box_begin(out, type);
    media_put(out, body.bytes, body.size);
    media_box_end(out, box);
}

static uint32_t divisor(uint32_t a, uint32_t b)
{
    while (b > 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* pasp and colr, where Matroska says more than the codec does. */
static void put_shape(const struct ebml_track *track, struct media_buffer *out)
{
    uint64_t wide = (uint64_t)track->shown_width * track->height;
    uint64_t high = (uint64_t)track->shown_height * track->width;
    if (wide != high && wide <= UINT32_MAX && high <= UINT32_MAX) {
        uint32_t common = divisor((uint32_t)wide, (uint32_t)high);
        size_t box = media_box_begin(out, TYPE('p', 'a', 's', 'p'));
        media_put32(out, (uint32_t)wide / common);
        media_put32(out, (uint32_t)high / common);
        media_box_end(out, box);
    }
    if (track->has_colour) {
        size_t box = media_box_begin(out, TYPE('c', 'o', 'l', 'r'));
        media_put_text(out, "nclx");
        for (size_t i = 0; i < 3; i++)
            media_put16(out, track->colour[i]);
        media_put8(out, track->full_range ? 0x80 : 0);
        media_box_end(out, box);
    }
}

/* A descriptor of ISO/IEC 14496-1 section 8.3.3, whose length always has four bytes. */
static void put_descriptor(struct media_buffer *out, uint8_t tag, size_t size)
{
    media_put8(out, tag);
    for (int shift = 21; shift >= 0; shift -= 7)
        media_put8(out, (uint8_t)((size >> shift & 0x7f) | (shift > 0 ? 0x80 : 0)));
}

static void put_esds(struct media_buffer *out, uint8_t object_type, struct media_view specific)
{
    size_t inner = specific.size > 0 ? specific.size + 5 : 0;
    size_t box = media_box_begin_full(out, TYPE('e', 's', 'd', 's'), 0, 0);
    put_descriptor(out, 3, 3 + 5 + 13 + inner + 5 + 1);
    media_put16(out, 0);
    media_put8(out, 0);
    put_descriptor(out, 4, 13 + inner);
    media_put8(out, object_type);
    media_put8(out, 0x15); /* sound */
    media_put_zeros(out, 11);
    if (specific.size > 0) {
        put_descriptor(out, 5, specific.size);
        media_put(out, specific.bytes, specific.size);
    }
    put_descriptor(out, 6, 1);
    media_put8(out, 2);
    media_box_end(out, box);
}

static bool put_avc(const struct ebml_track *track, struct media_view config, struct media_buffer *out)
{
    bool hevc = track->codec == EBML_HEVC;
    /* Without parameter sets in the configuration they are in the stream. */
    bool inside = hevc ? media_get8(config, 22) == 0 : (media_get8(config, 5) & 31) == 0;
    uint32_t type = hevc ? (inside ? TYPE('h', 'e', 'v', '1') : TYPE('h', 'v', 'c', '1'))
                         : (inside ? TYPE('a', 'v', 'c', '3') : TYPE('a', 'v', 'c', '1'));
    size_t box = begin_video(track, type, out);
    put_box(out, hevc ? TYPE('h', 'v', 'c', 'C') : TYPE('a', 'v', 'c', 'C'), config);
    put_shape(track, out);
    media_box_end(out, box);
    return media_get8(config, 0) == 1 && config.size >= (hevc ? 23u : 7u);
}

static bool put_av1(const struct ebml_track *track, struct media_view config, struct media_buffer *out)
{
    size_t box = begin_video(track, TYPE('a', 'v', '0', '1'), out);
    put_box(out, TYPE('a', 'v', '1', 'C'), config);
    put_shape(track, out);
    media_box_end(out, box);
    return media_get8(config, 0) == 0x81 && config.size >= 4;
}

static bool put_vp9(const struct ebml_track *track, struct media_view frame, struct media_buffer *out)
{
    struct ebml_vp9 vp9;
    if (!ebml_frame_vp9(frame, track->width, track->height, &vp9))
        return false;
    size_t box = begin_video(track, TYPE('v', 'p', '0', '9'), out);
    size_t config = media_box_begin_full(out, TYPE('v', 'p', 'c', 'C'), 1, 0);
    media_put8(out, vp9.profile);
    media_put8(out, vp9.level);
    media_put8(out, (uint8_t)(vp9.depth << 4 | vp9.chroma << 1 | (vp9.full_range ? 1 : 0)));
    for (size_t i = 0; i < 3; i++)
        media_put8(out, track->has_colour ? track->colour[i] : 2);
    media_put16(out, 0);
    media_box_end(out, config);
    put_shape(track, out);
    media_box_end(out, box);
    return true;
}

/* The oldest files say only in the codec's name what their AAC is. */
static size_t make_aac_config(uint32_t rate, uint16_t channels, uint8_t config[2])
{
    static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                     22050, 16000, 12000, 11025, 8000,  7350};
    for (uint32_t i = 0; i < ARRAY_SIZE(rates); i++) {
        if (rates[i] == rate) {
            uint32_t word = 2u << 11 | i << 7 | (uint32_t)(channels & 15) << 3;
            config[0] = (uint8_t)(word >> 8);
            config[1] = (uint8_t)word;
            return 2;
        }
    }
    return 0;
}

static bool put_mp4a(const struct ebml_track *track, struct media_view config, struct media_buffer *out)
{
    uint8_t made[2];
    bool mp3 = track->codec == EBML_MP3;
    if (mp3)
        config = (struct media_view){NULL, 0};
    else if (config.size == 0)
        config = (struct media_view){made, make_aac_config(track->rate, track->channels, made)};
    size_t box = begin_audio(track, TYPE('m', 'p', '4', 'a'), out);
    put_esds(out, mp3 ? (track->rate < 32000 ? 0x69 : 0x6b) : 0x40, config);
    media_box_end(out, box);
    return mp3 || config.size >= 2;
}

static bool put_ac3(const struct ebml_track *track, struct media_view frame, struct media_buffer *out)
{
    bool enhanced = track->codec == EBML_EAC3;
    size_t box = begin_audio(track, enhanced ? TYPE('e', 'c', '-', '3') : TYPE('a', 'c', '-', '3'), out);
    size_t config = media_box_begin(out, enhanced ? TYPE('d', 'e', 'c', '3') : TYPE('d', 'a', 'c', '3'));
    bool made = enhanced ? ebml_frame_eac3(frame, out) : ebml_frame_ac3(frame, out);
    media_box_end(out, config);
    media_box_end(out, box);
    return made;
}

/* Encapsulation of Opus in ISO Base Media, section 4.3.2: OpusHead (RFC 7845 section 5.1) with its numbers the other way round. */
static bool put_opus(const struct ebml_track *track, struct media_view head, struct media_buffer *out)
{
    uint8_t channels = media_get8(head, 9), family = media_get8(head, 18);
    size_t mapped = family == 0 ? 0 : 2u + channels;
    if (head.size < 19 + mapped || memcmp(head.bytes, "OpusHead", 8) != 0 || channels == 0)
        return false;
    size_t box = begin_audio(track, TYPE('O', 'p', 'u', 's'), out);
    size_t config = media_box_begin(out, TYPE('d', 'O', 'p', 's'));
    media_put8(out, 0);
    media_put8(out, channels);
    media_put16(out, (uint16_t)(media_get8(head, 11) << 8 | media_get8(head, 10)));
    for (size_t i = 0; i < 4; i++)
        media_put8(out, media_get8(head, 15 - i));
    media_put16(out, (uint16_t)(media_get8(head, 17) << 8 | media_get8(head, 16)));
    media_put8(out, family);
    media_put(out, head.bytes + 19, mapped);
    media_box_end(out, config);
    media_box_end(out, box);
    return true;
}

/* Encapsulation of FLAC in ISO Base Media: STREAMINFO alone. */
static bool put_flac(const struct ebml_track *track, struct media_view config, struct media_buffer *out)
{
    if (config.size < 42 || memcmp(config.bytes, "fLaC", 4) != 0 || (media_get8(config, 4) & 0x7f) != 0 ||
        media_get24(config, 5) != 34)
        return false;
    size_t box = begin_audio(track, TYPE('f', 'L', 'a', 'C'), out);
    size_t inner = media_box_begin_full(out, TYPE('d', 'f', 'L', 'a'), 0, 0);
    media_put32(out, 0x80000022);
    media_put(out, config.bytes + 8, 34);
    media_box_end(out, inner);
    media_box_end(out, box);
    return true;
}

bool ebml_entry_needs_frame(const struct ebml_track *track, struct media_view config)
{
    (void)config;
    return track->codec == EBML_VP9 || track->codec == EBML_AC3 || track->codec == EBML_EAC3;
}

bool ebml_entry_make(const struct ebml_track *track, struct media_view config, struct media_view frame,
                     struct media_buffer *out, struct error *error)
{
    bool made = false;
    switch (track->codec) {
    case EBML_AVC:
    case EBML_HEVC:
        made = put_avc(track, config, out);
        break;
    case EBML_AV1:
        made = put_av1(track, config, out);
        break;
    case EBML_VP9:
        made = put_vp9(track, frame, out);
        break;
    case EBML_AAC:
    case EBML_MP3:
        made = put_mp4a(track, config, out);
        break;
    case EBML_AC3:
    case EBML_EAC3:
        made = put_ac3(track, frame, out);
        break;
    case EBML_OPUS:
        made = put_opus(track, config, out);
        break;
    case EBML_FLAC:
        made = put_flac(track, config, out);
        break;
    case EBML_TEXT:
        return true; /* none is needed */
    }
    if (!made)
        return error_set(error, ERROR_MALFORMED, "its %s lacks a configuration that players can read",
                         track->kind == MEDIA_VIDEO ? "video" : "audio");
    return true;
}
