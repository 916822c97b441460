/*
 * mkv_maker: everything has lengths of eight bytes, so that they can be written over.
 */
#include "tests/unit/library/mkv_maker.h"
#include <string.h>

#define PICTURE_MS 40
#define TEXT_PLACE (1 + 8 + 8) /* of the subtitle in a cluster: behind its time */

static void put_id(struct media_buffer *out, uint32_t id)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (id >> shift != 0)
            media_put8(out, (uint8_t)(id >> shift));
    }
}

size_t mkv_begin(struct media_buffer *out, uint32_t id)
{
    put_id(out, id);
    media_put64(out, UINT64_C(1) << 56);
    return out->size;
}

void mkv_end(struct media_buffer *out, size_t begin)
{
    if (!out->failed)
        media_set32(out, begin - 4, (uint32_t)(out->size - begin));
}

void mkv_begin_unknown(struct media_buffer *out, uint32_t id)
{
    put_id(out, id);
    media_put64(out, UINT64_C(0x01ffffffffffffff));
}

void mkv_number(struct media_buffer *out, uint32_t id, uint64_t value)
{
    size_t begin = mkv_begin(out, id);
    media_put64(out, value);
    mkv_end(out, begin);
}

void mkv_float(struct media_buffer *out, uint32_t id, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    mkv_number(out, id, bits);
}

void mkv_bytes(struct media_buffer *out, uint32_t id, const void *bytes, size_t size)
{
    size_t begin = mkv_begin(out, id);
    media_put(out, bytes, size);
    mkv_end(out, begin);
}

void mkv_text(struct media_buffer *out, uint32_t id, const char *text)
{
    mkv_bytes(out, id, text, strlen(text));
}

static const uint8_t avc[] = {1, 0x64, 0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1e, 1, 0, 2, 0x68, 0xee};
static const uint8_t aac[] = {0x11, 0x90}; /* LC, 48 kHz, two channels */

static void put_tracks(struct media_buffer *out, const struct mkv_maker *maker)
{
    size_t tracks = mkv_begin(out, 0x1654ae6b);
    size_t entry = mkv_begin(out, 0xae);
    mkv_number(out, 0xd7, 1);
    mkv_number(out, 0x83, 1);
    mkv_text(out, 0x86, maker->video ? maker->video : "V_MPEG4/ISO/AVC");
    if (maker->video_private.size > 0)
        mkv_bytes(out, 0x63a2, maker->video_private.bytes, maker->video_private.size);
    else if (!maker->video)
        mkv_bytes(out, 0x63a2, avc, sizeof(avc));
    mkv_number(out, 0x23e383, PICTURE_MS * 1000000);
    size_t video = mkv_begin(out, 0xe0);
    mkv_number(out, 0xb0, 640);
    mkv_number(out, 0xba, 360);
    mkv_number(out, 0x54b0, 720);
    mkv_number(out, 0x54ba, 360);
    size_t colour = mkv_begin(out, 0x55b0);
    mkv_number(out, 0x55bb, 9);
    mkv_number(out, 0x55ba, 16);
    mkv_number(out, 0x55b1, 9);
    mkv_end(out, colour);
    mkv_end(out, video);
    mkv_end(out, entry);
    if (!maker->audio || maker->audio[0] != '\0') {
        entry = mkv_begin(out, 0xae);
        mkv_number(out, 0xd7, 2);
        mkv_number(out, 0x83, 2);
        mkv_text(out, 0x86, maker->audio ? maker->audio : "A_AAC");
        mkv_text(out, 0x22b59c, "deu");
        mkv_text(out, 0x536e, "Main \"sound\"");
        if (maker->audio_private.size > 0)
            mkv_bytes(out, 0x63a2, maker->audio_private.bytes, maker->audio_private.size);
        else if (!maker->audio)
            mkv_bytes(out, 0x63a2, aac, sizeof(aac));
        if (maker->delay_ns > 0)
            mkv_number(out, 0x56aa, maker->delay_ns);
        size_t audio = mkv_begin(out, 0xe1);
        mkv_float(out, 0xb5, 48000);
        mkv_number(out, 0x9f, 2);
        mkv_end(out, audio);
        if (maker->encodings.size > 0)
            mkv_bytes(out, 0x6d80, maker->encodings.bytes, maker->encodings.size);
        mkv_end(out, entry);
    }
    if (maker->text) {
        entry = mkv_begin(out, 0xae);
        mkv_number(out, 0xd7, 3);
        mkv_number(out, 0x83, 17);
        mkv_text(out, 0x86, maker->text);
        mkv_text(out, 0x22b59c, "fra");
        if (maker->text_encodings.size > 0)
            mkv_bytes(out, 0x6d80, maker->text_encodings.bytes, maker->text_encodings.size);
        mkv_end(out, entry);
    }
    mkv_end(out, tracks);
}

static size_t begin_block(struct media_buffer *out, const struct mkv_maker *maker, unsigned track,
                          int64_t time, bool key, int lacing, size_t *group)
{
    *group = maker->groups ? mkv_begin(out, 0xa0) : 0;
    size_t block = mkv_begin(out, maker->groups ? 0xa1 : 0xa3);
    media_put8(out, (uint8_t)(0x80 | track));
    media_put16(out, (uint16_t)time);
    media_put8(out, (uint8_t)((key && !maker->groups ? 0x80 : 0) | lacing << 1));
    return block;
}

static void end_block(struct media_buffer *out, size_t block, size_t group, bool key)
{
    mkv_end(out, block);
    if (group == 0)
        return;
    if (!key)
        mkv_number(out, 0xfb, (uint64_t)-40);
    mkv_end(out, group);
}

static void put_frame(struct media_buffer *out, struct media_view begin, size_t size, unsigned number)
{
    media_put(out, begin.bytes, begin.size);
    for (size_t i = begin.size; i < size; i++)
        media_put8(out, (uint8_t)(number + i));
}

static void put_picture(struct media_buffer *out, const struct mkv_maker *maker, unsigned n, int64_t cluster)
{
    static const int orders[] = {0, 2, -1, -1}; /* of decoding, against that of showing */
    size_t group;
    bool key = n % 50 == 0;
    int64_t time = (int64_t)n * PICTURE_MS;
    if (maker->reorder && n % 50 > 0 && n % 50 < 49) /* in threes behind each key frame */
        time += orders[1 + (n % 50 - 1) % 3] * PICTURE_MS;
    if (maker->leading && n >= 50 && n % 50 < 3)
        time += (key ? 2 : -1) * PICTURE_MS;
    size_t block = begin_block(out, maker, 1, time - cluster, key, 0, &group);
    put_frame(out, maker->video_frame, 1000, n);
    end_block(out, block, group, key);
}

/* Two frames of sound from frame N on, laced or in two blocks. */
static void put_sound(struct media_buffer *out, const struct mkv_maker *maker, unsigned n, int64_t cluster)
{
    size_t group;
    for (unsigned i = 0; i < 2; i++) {
        int64_t time = ((int64_t)(n + i) * 1024 * 1000 + 24000) / 48000;
        bool both = maker->lacing != 0;
        if (both && i > 0)
            return;
        size_t block = begin_block(out, maker, 2, time - cluster, true, maker->lacing, &group);
        if (both)
            media_put8(out, 1);
        if (maker->lacing == 1)
            media_put8(out, 200);
        if (maker->lacing == 3)
            media_put16(out, 0x4000 | 200);
        put_frame(out, maker->audio_frame, 200, n + i);
        if (both)
            put_frame(out, maker->audio_frame, 200, n + 1);
        end_block(out, block, group, true);
    }
}

static size_t begin_cluster(struct media_buffer *out, const struct mkv_maker *maker, int64_t time)
{
    size_t cluster = 0;
    if (maker->unknown)
        mkv_begin_unknown(out, 0x1f43b675);
    else
        cluster = mkv_begin(out, 0x1f43b675);
    mkv_number(out, 0xe7, (uint64_t)time);
    return cluster;
}

/* A group half a second into the cluster. */
static void put_subtitle(struct media_buffer *out, const struct mkv_maker *maker)
{
    static const uint8_t head[] = {0x83, 500 >> 8, 500 & 255, 0};
    size_t group = mkv_begin(out, 0xa0), block = mkv_begin(out, 0xa1);
    media_put(out, head, sizeof(head));
    media_put(out, maker->text_frame.bytes, maker->text_frame.size);
    mkv_end(out, block);
    mkv_number(out, 0x9b, 1500);
    mkv_end(out, group);
}

static void put_cues(struct media_buffer *out, const struct mkv_maker *maker, const size_t *places,
                     unsigned count, size_t segment)
{
    size_t cues = mkv_begin(out, 0x1c53bb6b);
    for (unsigned i = 0; i < count; i++) {
        size_t point = mkv_begin(out, 0xbb);
        mkv_number(out, 0xb3, (uint64_t)i * 2000 + (maker->leading && i > 0 ? 80 : 0));
        size_t positions = mkv_begin(out, 0xb7);
        mkv_number(out, 0xf7, 1);
        mkv_number(out, 0xf1, places[i] - segment);
        mkv_end(out, positions);
        if (maker->text_cues) {
            positions = mkv_begin(out, 0xb7);
            mkv_number(out, 0xf7, 3);
            mkv_number(out, 0xf1, places[i] - segment);
            mkv_number(out, 0xf0, TEXT_PLACE + maker->text_shift);
            mkv_end(out, positions);
        }
        mkv_end(out, point);
    }
    mkv_end(out, cues);
}

void mkv_maker_film(struct media_buffer *out, const struct mkv_maker *maker)
{
    size_t places[256], segment, cluster = 0, seek = 0, key_count = 0, place = 0;
    unsigned sound = 0, shift = maker->key_inside ? 25 : 0, length = maker->long_clusters ? 100 : 50;
    int64_t time = 0;
    size_t begin = mkv_begin(out, 0x1a45dfa3);
    mkv_text(out, 0x4282, "matroska");
    mkv_number(out, 0x4285, 2);
    mkv_end(out, begin);
    if (maker->unknown)
        mkv_begin_unknown(out, 0x18538067);
    else
        (void)mkv_begin(out, 0x18538067);
    segment = out->size;
    if (maker->seeks) {
        size_t seeks = mkv_begin(out, 0x114d9b74);
        begin = mkv_begin(out, 0x4dbb);
        mkv_number(out, 0x53ab, 0x1c53bb6b);
        mkv_number(out, 0x53ac, 0);
        seek = out->size - 4;
        mkv_end(out, begin);
        mkv_end(out, seeks);
    }
    begin = mkv_begin(out, 0x1549a966);
    mkv_number(out, 0x2ad7b1, 1000000);
    if (!maker->no_duration)
        mkv_float(out, 0x4489, maker->seconds * 1000.0);
    mkv_end(out, begin);
    put_tracks(out, maker);
    for (unsigned n = 0; n < maker->seconds * 25; n++) {
        if (n == 0 || n % length == shift) {
            if (n > 0 && !maker->unknown)
                mkv_end(out, cluster);
            time = (int64_t)n * PICTURE_MS;
            place = out->size;
            cluster = begin_cluster(out, maker, time);
            if (maker->text)
                put_subtitle(out, maker);
        }
        if (n % 50 == 0)
            places[key_count++] = place;
        put_picture(out, maker, n, time);
        while ((!maker->audio || maker->audio[0] != '\0') && sound * 1024 < (n + 1) * 1920) {
            put_sound(out, maker, sound, time);
            sound += 2;
        }
    }
    if (!maker->unknown)
        mkv_end(out, cluster);
    if (maker->cues) {
        if (maker->seeks && !out->failed)
            media_set32(out, seek, (uint32_t)(out->size - segment));
        put_cues(out, maker, places, (unsigned)key_count, segment);
    }
    if (!maker->unknown)
        mkv_end(out, segment);
}
