/*
 * ebml_frames: one small reader of bits, one function per codec.
 */
#include "httpd/media/ebml_frames.h"

struct bits {
    struct media_view view;
    size_t at;
};

/* Zeros behind the end. */
static uint32_t ebml_frames_take(struct bits *bits, unsigned count)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < count; i++, bits->at++)
        value = value << 1 | (uint32_t)(media_get8(bits->view, bits->at / 8) >> (7 - bits->at % 8) & 1);
    return value;
}

/* ---- how long a frame of sound is ---- */

/* RFC 6716 section 3.1, at 48,000 per second. */
static uint32_t opus_samples(struct media_view frame)
{
    static const uint16_t silk[] = {480, 960, 1920, 2880};
    uint8_t toc = media_get8(frame, 0);
    uint32_t config = toc >> 3, each;
    if (frame.size == 0)
        return 0;
    if (config < 12)
        each = silk[config & 3];
    else if (config < 16)
        each = (config & 1) != 0 ? 960 : 480;
    else
        each = 120u << (config & 3);
    uint32_t count = (toc & 3) == 0 ? 1 : (toc & 3) < 3 ? 2 : media_get8(frame, 1) & 63u;
    return each * count <= 5760 ? each * count : 0;
}

/* RFC 9639 section 9.1. */
static uint32_t flac_samples(struct media_view config, struct media_view frame)
{
    uint32_t code = media_get8(frame, 2) >> 4, least = media_get16(config, 8), most = media_get16(config, 10);
    size_t at = 4;
    if (media_get16(frame, 0) >> 1 != 0xfff8 >> 1)
        return least == most ? most : 0;
    uint8_t first = media_get8(frame, 4);
    do { /* the number of the frame, coded as UTF-8 is */
        at++;
        first = (uint8_t)(first << 1);
    } while ((first & 0x80) != 0 && (media_get8(frame, at) & 0xc0) == 0x80 && at < 11);
    if (code == 1)
        return 192;
    if (code >= 2 && code <= 5)
        return 576u << (code - 2);
    if (code == 6)
        return media_get8(frame, at) + 1u;
    if (code == 7)
        return media_get16(frame, at) + 1u;
    return code >= 8 ? 256u << (code - 8) : 0;
}

static uint32_t eac3_samples(struct media_view frame)
{
    static const uint8_t blocks[] = {1, 2, 3, 6};
    uint8_t fifth = media_get8(frame, 4);
    if (media_get16(frame, 0) != 0x0b77)
        return 0;
    return 256u * (fifth >> 6 == 3 ? 6u : blocks[fifth >> 4 & 3]);
}

static uint32_t mp3_samples(struct media_view frame)
{
    if (media_get16(frame, 0) >> 5 != 0x7ff)
        return 0;
    return (media_get8(frame, 1) >> 3 & 3) == 3 ? 1152 : 576;
}

/* ISO/IEC 14496-3 section 1.6.2.1. */
struct aac_config {
    uint32_t rate;
    uint32_t samples;
};

static struct aac_config read_aac(struct media_view config)
{
    static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
                                     22050, 16000, 12000, 11025, 8000,  7350};
    struct bits bits = {config, 0};
    uint32_t type = ebml_frames_take(&bits, 5);
    if (type == 31)
        (void)ebml_frames_take(&bits, 6);
    uint32_t index = ebml_frames_take(&bits, 4);
    struct aac_config found = {index == 15                 ? ebml_frames_take(&bits, 24)
                               : index < ARRAY_SIZE(rates) ? rates[index]
                                                           : 0,
                               1024};
    (void)ebml_frames_take(&bits, 4);
    if (type == 5 || type == 29) { /* SBR said openly: another rate and type follow, then the core's */
        if (ebml_frames_take(&bits, 4) == 15)
            (void)ebml_frames_take(&bits, 24);
        (void)ebml_frames_take(&bits, 5);
    }
    if (type <= 5 && ebml_frames_take(&bits, 1) != 0)
        found.samples = 960;
    return found;
}

uint32_t ebml_frame_samples(enum ebml_codec codec, struct media_view config, struct media_view frame)
{
    switch (codec) {
    case EBML_AAC:
        return read_aac(config).samples;
    case EBML_AC3:
        return 1536;
    case EBML_EAC3:
        return eac3_samples(frame);
    case EBML_OPUS:
        return opus_samples(frame);
    case EBML_FLAC:
        return flac_samples(config, frame);
    case EBML_MP3:
        return mp3_samples(frame);
    default:
        return 0;
    }
}

uint32_t ebml_config_rate(enum ebml_codec codec, struct media_view config)
{
    switch (codec) {
    case EBML_AAC:
        return config.size >= 2 ? read_aac(config).rate : 0;
    case EBML_OPUS:
        return 48000;
    case EBML_FLAC: /* behind "fLaC" and the head of STREAMINFO: 10 bytes, then 20 bits of it */
        return media_get24(config, 18) >> 4;
    default:
        return 0;
    }
}

/* ---- AC-3 ---- */

bool ebml_frame_ac3(struct media_view frame, struct media_buffer *out)
{
    struct bits bits = {frame, 32};
    if (media_get16(frame, 0) != 0x0b77 || frame.size < 8)
        return false;
    uint32_t fscod = ebml_frames_take(&bits, 2), size = ebml_frames_take(&bits, 6),
             bsid = ebml_frames_take(&bits, 5), bsmod = ebml_frames_take(&bits, 3);
    uint32_t acmod = ebml_frames_take(&bits, 3);
    if (fscod == 3 || size > 37 || bsid > 8)
        return false;
    if ((acmod & 1) != 0 && acmod != 1)
        (void)ebml_frames_take(&bits, 2);
    if ((acmod & 4) != 0)
        (void)ebml_frames_take(&bits, 2);
    if (acmod == 2)
        (void)ebml_frames_take(&bits, 2);
    uint32_t lfe = ebml_frames_take(&bits, 1);
    uint32_t word = fscod << 22 | bsid << 17 | bsmod << 14 | acmod << 11 | lfe << 10 | size >> 1 << 5;
    media_put8(out, (uint8_t)(word >> 16));
    media_put16(out, (uint16_t)word);
    return true;
}

/* The channels of a dependent stream as dec3 names them: bit 0 Lc and Rc, up to bit 7 Cvh; bit 8 the second LFE. */
static uint32_t channel_locations(uint32_t map)
{
    uint32_t locations = 0;
    for (unsigned i = 0; i < 8; i++)
        locations |= (map >> (10 - i) & 1) << i;
    return locations | (map >> 1 & 1) << 8;
}

bool ebml_frame_eac3(struct media_view frame, struct media_buffer *out)
{
    uint32_t dependents = 0, locations = 0, first = 0, bytes = 0, samples = eac3_samples(frame);
    static const uint32_t rates[] = {48000, 44100, 32000};
    for (size_t at = 0; media_view_has(frame, at, 6);) {
        struct bits bits = {media_view_from(frame, at), 0};
        if (ebml_frames_take(&bits, 16) != 0x0b77)
            break;
        uint32_t type = ebml_frames_take(&bits, 2), id = ebml_frames_take(&bits, 3),
                 size = (ebml_frames_take(&bits, 11) + 1) * 2;
        uint32_t fscod = ebml_frames_take(&bits, 2), blocks = ebml_frames_take(&bits, 2),
                 acmod = ebml_frames_take(&bits, 3), lfe = ebml_frames_take(&bits, 1);
        uint32_t bsid = ebml_frames_take(&bits, 5);
        (void)blocks;
        if (bsid < 11 || bsid > 16 || (at == 0 && (type == 1 || id != 0 || fscod == 3)))
            return false;
        if (at == 0)
            first = fscod << 22 | bsid << 17 | acmod << 9 | lfe << 8;
        bytes += size;
        for (unsigned i = 0; i < (acmod == 0 ? 2u : 1u); i++) {
            (void)ebml_frames_take(&bits, 5);
            if (ebml_frames_take(&bits, 1) != 0)
                (void)ebml_frames_take(&bits, 8);
        }
        if (type == 1) {
            dependents++;
            if (ebml_frames_take(&bits, 1) != 0)
                locations |= channel_locations(ebml_frames_take(&bits, 16));
        }
        at += size;
    }
    if (bytes == 0 || samples == 0 || dependents > 15)
        return false;
    uint32_t rate = bytes * 8 * (rates[first >> 22] / 100) / samples / 10; /* kbit/s */
    media_put16(out, (uint16_t)(min_size(rate, 0x1fff) << 3));             /* one independent stream */
    uint32_t tail = dependents << 1 | (dependents > 0 ? locations >> 8 : 0);
    media_put16(out, (uint16_t)(first >> 8));
    media_put8(out, (uint8_t)tail);
    if (dependents > 0)
        media_put8(out, (uint8_t)locations);
    return true;
}

/* ---- VP9 ---- */

/* VP9 Levels: the pictures' size decides, as the rate is not known. */
static uint8_t vp9_level(uint64_t pixels)
{
    static const struct {
        uint64_t pixels;
        uint8_t level;
    } levels[] = {{36864, 10},  {73728, 11},  {122880, 20},  {245760, 21},
                  {552960, 30}, {983040, 31}, {2228224, 40}, {8912896, 50}};
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (pixels <= levels[i].pixels)
            return levels[i].level;
    }
    return 60;
}

/* The uncompressed header (VP9 Bitstream section 6.2). */
bool ebml_frame_vp9(struct media_view frame, uint32_t width, uint32_t height, struct ebml_vp9 *vp9)
{
    struct bits bits = {frame, 0};
    *vp9 = (struct ebml_vp9){.depth = 8, .chroma = 1};
    if (ebml_frames_take(&bits, 2) != 2)
        return false;
    uint32_t low = ebml_frames_take(&bits, 1);
    vp9->profile = (uint8_t)(low | ebml_frames_take(&bits, 1) << 1);
    if (vp9->profile == 3 && ebml_frames_take(&bits, 1) != 0)
        return false;
    if (ebml_frames_take(&bits, 1) != 0) /* a frame that is shown again */
        return false;
    if (ebml_frames_take(&bits, 1) != 0) /* not a key frame */
        return false;
    (void)ebml_frames_take(&bits, 2);
    if (ebml_frames_take(&bits, 24) != 0x498342)
        return false;
    if (vp9->profile >= 2)
        vp9->depth = ebml_frames_take(&bits, 1) != 0 ? 12 : 10;
    if (ebml_frames_take(&bits, 3) == 7) {
        vp9->chroma = 3;
        vp9->full_range = true;
    } else {
        vp9->full_range = ebml_frames_take(&bits, 1) != 0;
        if ((vp9->profile & 1) != 0) {
            uint32_t x = ebml_frames_take(&bits, 1), y = ebml_frames_take(&bits, 1);
            vp9->chroma = x == 0 ? 3 : y == 0 ? 2 : 1;
        }
    }
    vp9->level = vp9_level((uint64_t)width * height);
    return true;
}
