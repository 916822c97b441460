/*
 * ts_index: packet by packet; of the elementary streams nothing but the first bytes of a picture is looked at.
 */
#include "httpd/media/ts_index.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CLOCK      90000
#define WRAP       (INT64_C(1) << 33)
#define TYPE_H264  0x1b
#define TYPE_HEVC  0x24
#define TYPE_MPEG2 0x02
#define TYPE_AAC   0x0f
#define TYPE_AC3   0x81
#define TYPE_MP3_A 0x03
#define TYPE_MP3_B 0x04

void ts_index_open(struct ts_index *ts, struct film_ranges *ranges, int64_t segment_ms)
{
    *ts = (struct ts_index){.ranges = ranges,
                            .segment = segment_ms * (CLOCK / 1000),
                            .pmt_pid = -1,
                            .video_pid = -1,
                            .audio_pid = -1,
                            .tables = -1,
                            .tables_inside = true};
    ranges->timescale = CLOCK;
    ranges->independent = true;
}

/* A section that begins in this payload; tables of a few streams fit into one packet. */
static struct media_view section_of(struct media_view payload)
{
    struct media_view section = media_view_from(payload, 1 + (size_t)media_get8(payload, 0));
    size_t length = 3 + (size_t)(media_get16(section, 1) & 0xfff);
    return media_view_part(section, 0, length);
}

static void read_pat(struct ts_index *ts, struct media_view payload)
{
    struct media_view section = section_of(payload);
    for (size_t at = 8; at + 8 <= section.size && ts->pmt_pid < 0; at += 4) {
        if (media_get16(section, at) != 0)
            ts->pmt_pid = media_get16(section, at + 2) & 0x1fff;
    }
}

static bool is_video(uint8_t type)
{
    return type == TYPE_H264 || type == TYPE_HEVC || type == TYPE_MPEG2;
}

static bool is_audio(uint8_t type)
{
    return type == TYPE_AAC || type == TYPE_AC3 || type == TYPE_MP3_A || type == TYPE_MP3_B || type == 0x11 ||
           type == 0x87;
}

static void read_pmt(struct ts_index *ts, struct media_view payload)
{
    struct media_view section = section_of(payload);
    if (media_get8(section, 0) != 2)
        return;
    size_t at = 12 + (size_t)(media_get16(section, 10) & 0xfff);
    while (at + 9 <= section.size) {
        uint8_t type = media_get8(section, at);
        int pid = media_get16(section, at + 1) & 0x1fff;
        if (ts->video_pid < 0 && is_video(type)) {
            ts->video_pid = pid;
            ts->video_type = type;
        } else if (ts->audio_pid < 0 && is_audio(type)) {
            ts->audio_pid = pid;
            ts->audio_type = type;
        }
        at += 5 + (size_t)(media_get16(section, at + 3) & 0xfff);
    }
}

/* PTS of a PES packet's header (section 2.4.3.6); -1: it has none. */
static int64_t ts_time_of(struct media_view pes)
{
    if (media_get24(pes, 0) != 1 || (media_get8(pes, 7) & 0x80) == 0 || pes.size < 14)
        return -1;
    return (int64_t)(media_get8(pes, 9) >> 1 & 7) << 30 | (int64_t)(media_get16(pes, 10) >> 1) << 15 |
           media_get16(pes, 12) >> 1;
}

/* The first bytes of H.264 and HEVC say whether a picture refers to others; a parameter set comes before one that does not. */
static bool begins_with_key(const struct ts_index *ts, struct media_view pes)
{
    struct media_view data = media_view_from(pes, 9 + (size_t)media_get8(pes, 8));
    for (size_t i = 0; i + 3 < data.size; i++) {
        if (media_get24(data, i) != 1)
            continue;
        uint8_t unit = media_get8(data, i + 3);
        if (ts->video_type == TYPE_H264 && ((unit & 31) == 5 || (unit & 31) == 7))
            return true;
        if (ts->video_type == TYPE_HEVC && (unit >> 1 & 63) >= 16 && (unit >> 1 & 63) <= 33 &&
            (unit >> 1 & 63) != 22)
            return true;
        if (ts->video_type == TYPE_MPEG2 && unit == 0xb3)
            return true;
    }
    return false;
}

static void note_codecs(struct ts_index *ts, struct media_view pes)
{
    char video[CODEC_STRING_SIZE] = "";
    struct media_view data = media_view_from(pes, 9 + (size_t)media_get8(pes, 8));
    for (size_t i = 0; ts->video_type == TYPE_H264 && i + 6 < data.size; i++) {
        if (media_get24(data, i) == 1 && (media_get8(data, i + 3) & 31) == 7) {
            snprintf(video, sizeof(video), "avc1.%06" PRIx32, media_get24(data, i + 4));
            break;
        }
    }
    const char *audio = ts->audio_pid < 0                                              ? NULL
                        : ts->audio_type == TYPE_AAC                                   ? "mp4a.40.2"
                        : ts->audio_type == TYPE_AC3                                   ? "ac-3"
                        : ts->audio_type == TYPE_MP3_A || ts->audio_type == TYPE_MP3_B ? "mp4a.40.34"
                                                                                       : "";
    if (ts->video_pid >= 0 && video[0] == '\0')
        return; /* half of it would be worse than none */
    if (audio && audio[0] == '\0')
        return;
    snprintf(ts->ranges->codecs, sizeof(ts->ranges->codecs), "%s%s%s", video,
             video[0] != '\0' && audio ? "," : "", audio ? audio : "");
}

static bool begin_range(struct ts_index *ts, int64_t at, int64_t time, struct error *error)
{
    if (ts->any && !film_ranges_add(ts->ranges, ts->begin, at - ts->begin, max_i64(time - ts->begin_time, 1)))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
    ts->begin = ts->any ? at : 0;
    ts->begin_time = time;
    if (!ts->any)
        ts->ranges->start = time;
    ts->any = true;
    return true;
}

/* The stamp without its wrapping. */
static int64_t unwrap(struct ts_index *ts, int64_t time)
{
    time += ts->wrapped;
    if (ts->any && time < ts->last_time - WRAP / 2) {
        ts->wrapped += WRAP;
        time += WRAP;
    }
    ts->last_time = time;
    return time;
}

/* A picture (or, without one, a frame of sound) begins in the packet at AT. */
static bool unit_begins(struct ts_index *ts, struct media_view pes, int64_t at, bool random_access,
                        struct error *error)
{
    int64_t time = ts_time_of(pes), tables = ts->tables;
    ts->tables = -1;
    if (time < 0)
        return true;
    time = unwrap(ts, time);
    bool key = ts->video_pid < 0 || random_access || begins_with_key(ts, pes);
    if (key && ts->ranges->codecs[0] == '\0')
        note_codecs(ts, pes);
    if (key && (!ts->any || time - ts->begin_time >= ts->segment)) {
        ts->tables_inside = ts->tables_inside && (tables >= 0 || !ts->any);
        if (!begin_range(ts, tables >= 0 ? tables : at, time, error))
            return false;
    } else if (!ts->any) {
        ts->ranges->independent = false;
        if (!begin_range(ts, 0, time, error))
            return false;
    }
    ts->end_time = max_i64(ts->end_time, time);
    return true;
}

static bool read_packet(struct ts_index *ts, struct media_view packet, int64_t at, struct error *error)
{
    uint16_t word = media_get16(packet, 1);
    int pid = word & 0x1fff;
    bool begins = (word & 0x4000) != 0;
    uint8_t control = media_get8(packet, 3) >> 4 & 3;
    size_t skip = 4 + ((control & 2) != 0 ? 1 + (size_t)media_get8(packet, 4) : 0);
    bool random_access =
        (control & 2) != 0 && media_get8(packet, 4) > 0 && (media_get8(packet, 5) & 0x40) != 0;
    struct media_view payload =
        (control & 1) != 0 ? media_view_from(packet, skip) : (struct media_view){NULL, 0};
    if (!begins || payload.size == 0)
        return true;
    if (pid == 0) {
        read_pat(ts, payload);
        ts->tables = at;
    } else if (pid == ts->pmt_pid) {
        read_pmt(ts, payload);
        if (ts->first_pmt_end == 0)
            ts->first_pmt_end = at + TS_PACKET;
    } else if (pid == (ts->video_pid >= 0 ? ts->video_pid : ts->audio_pid)) {
        return unit_begins(ts, payload, at, random_access, error);
    }
    return true;
}

bool ts_index_feed(struct ts_index *ts, struct media_view bytes, struct error *error)
{
    while (bytes.size >= TS_PACKET) {
        if (bytes.bytes[0] != 0x47)
            return error_set(error, ERROR_MALFORMED,
                             "the transport stream loses its packets at byte %" PRId64, ts->offset);
        if (!read_packet(ts, media_view_part(bytes, 0, TS_PACKET), ts->offset, error))
            return false;
        ts->offset += TS_PACKET;
        bytes = media_view_from(bytes, TS_PACKET);
    }
    return true;
}

bool ts_index_end(struct ts_index *ts, struct error *error)
{
    if (!ts->any)
        return error_set(error, ERROR_UNKNOWN_COMMAND,
                         "the transport stream has neither video nor audio that is known");
    /* The last picture lasts about as long as others do. */
    int64_t end = ts->end_time + CLOCK / 25;
    if (!film_ranges_add(ts->ranges, ts->begin, ts->offset - ts->begin, max_i64(end - ts->begin_time, 1)))
        return error_set(error, ERROR_UNAVAILABLE, "no memory for its segments");
    if (!ts->tables_inside && ts->first_pmt_end <= 8 * TS_PACKET)
        ts->ranges->init_size = ts->first_pmt_end;
    for (size_t i = 0; i < ts->ranges->count; i++) {
        if (ts->ranges->items[i].duration / CLOCK >= MP4_CUT_SECONDS_MAX)
            return error_set(error, ERROR_UNKNOWN_COMMAND,
                             "its key frames are %" PRId64
                             " s apart: segments of more than %d s are not made",
                             ts->ranges->items[i].duration / CLOCK, MP4_CUT_SECONDS_MAX);
    }
    return true;
}
