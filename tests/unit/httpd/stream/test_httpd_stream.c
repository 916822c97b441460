/*
 * HLS, DASH and /info of reel-httpd as a player asks for them, in front of scripted trackers and storage servers: files made by
 * hand as MP4, fragmented MP4, transport stream and subtitles; playlists, segments, pictures (of a reel-poster
 * that is made up), refusals, servers that break off.
 */
#include "common/media/poster_wire.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/http_front.h"
#include "tests/unit/library/mkv_maker.h"
#include "tests/unit/library/mp4_maker.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>

#define TYPE      MEDIA_TYPE
#define PLACE     "000/001/1FF/5F9E3FA7_002" /* where the scripted storage servers say that every file lies */
#define CONTENT   24                         /* where the content of a film's mdat begins */
#define STEP      1400                       /* of a picture and two frames of sound */
#define PICTURES  500
#define TS_PACKET 188

/* ---- files ---- */

/* BYTES are taken over. */
static void add_bytes(const char *id, const char *name, const char *type, uint8_t *bytes, size_t size)
{
    struct fake_file *file = &http_front.cluster.group.files[http_front.cluster.group.count++];
    snprintf(file->application, sizeof(file->application), "tnvideo");
    snprintf(file->user, sizeof(file->user), "alice");
    snprintf(file->id, sizeof(file->id), "%s", id);
    snprintf(file->name, sizeof(file->name), "%s", name);
    snprintf(file->type, sizeof(file->type), "%s", type);
    file->has_digest = true;
    memset(file->digest, http_front.cluster.group.count, sizeof(file->digest));
    file->bytes = bytes;
    file->size = size;
}

static void add_buffer(const char *id, const char *name, const char *type, struct media_buffer *buffer)
{
    assert_false(buffer->failed);
    add_bytes(id, name, type, buffer->bytes, buffer->size);
}

static void add_text(const char *id, const char *name, const char *type, const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    add_bytes(id, name, type, (uint8_t *)copy, strlen(text));
}

static const struct fake_file *find_file(const char *id)
{
    int i = 0;
    while (strcmp(http_front.cluster.group.files[i].id, id) != 0)
        assert_true(++i < http_front.cluster.group.count);
    return &http_front.cluster.group.files[i];
}

static void put_noise(struct media_buffer *out, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        media_put8(out, (uint8_t)(seed >> 24));
    }
}

static void put_type(struct media_buffer *out)
{
    size_t box = media_box_begin(out, TYPE('f', 't', 'y', 'p'));
    media_put_text(out, "isom");
    media_put32(out, 0);
    media_box_end(out, box);
}

/* 20 s of pictures with a key frame every KEY_EVERY, and of sound, the index at the end. */
static void add_film(const char *id, uint32_t key_every)
{
    const struct mp4_maker_track tracks[] = {{.video = true,
                                              .timescale = 25,
                                              .count = PICTURES,
                                              .duration = 1,
                                              .size = 1000,
                                              .per_chunk = 1,
                                              .key_every = key_every,
                                              .first_offset = CONTENT,
                                              .chunk_step = STEP,
                                              .media_time = -2},
                                             {.timescale = 48000,
                                              .count = 940,
                                              .duration = 1024,
                                              .size = 200,
                                              .per_chunk = 2,
                                              .first_offset = CONTENT + 1000,
                                              .chunk_step = STEP,
                                              .media_time = -2}};
    struct media_buffer file = {0};
    put_type(&file);
    size_t box = media_box_begin(&file, TYPE('m', 'd', 'a', 't'));
    assert_int_equal(file.size, CONTENT);
    put_noise(&file, PICTURES * STEP, key_every);
    media_box_end(&file, box);
    mp4_maker_moov(&file, tracks, 2);
    add_buffer(id, "", "video/mp4", &file);
}

/* Pictures, and a track of text (a sample every 2 s) whose samples lie behind them. */
static void add_titled(const char *id)
{
    static const char *const lines[] = {"One & two", "", "<i>Three</i>"};
    const struct mp4_maker_track tracks[] = {{.video = true,
                                              .timescale = 25,
                                              .count = 150,
                                              .duration = 1,
                                              .size = 100,
                                              .per_chunk = 1,
                                              .key_every = 50,
                                              .first_offset = CONTENT,
                                              .chunk_step = 100,
                                              .media_time = -2},
                                             {.timescale = 1000,
                                              .count = 3,
                                              .duration = 2000,
                                              .size = 20,
                                              .per_chunk = 1,
                                              .first_offset = CONTENT + 15000,
                                              .chunk_step = 30,
                                              .media_time = -2}};
    struct media_buffer file = {0};
    put_type(&file);
    size_t box = media_box_begin(&file, TYPE('m', 'd', 'a', 't'));
    put_noise(&file, 15000, 1);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        media_put16(&file, (uint16_t)strlen(lines[i]));
        media_put_text(&file, lines[i]);
        media_put_zeros(&file, 28 - strlen(lines[i]));
    }
    media_box_end(&file, box);
    size_t moov = file.size;
    mp4_maker_moov(&file, tracks, 2);
    for (size_t i = moov; i + 4 <= file.size; i++) { /* what the maker makes as sound is text */
        if (memcmp(file.bytes + i, "soun", 4) == 0)
            memcpy(file.bytes + i, "text", 4);
        else if (memcmp(file.bytes + i, "mp4a", 4) == 0)
            memcpy(file.bytes + i, "tx3g", 4);
    }
    add_buffer(id, "", "video/mp4", &file);
}

/* ---- fragmented MP4 ---- */

#define FRAGMENTS      10
#define FRAGMENT_BYTES 3000

static void put_fragment(struct media_buffer *out, uint32_t number)
{
    size_t moof = media_box_begin(out, TYPE('m', 'o', 'o', 'f'));
    size_t traf = media_box_begin(out, TYPE('t', 'r', 'a', 'f'));
    size_t box = media_box_begin_full(out, TYPE('t', 'f', 'h', 'd'), 0, 8 | 32);
    media_put32(out, 1);
    media_put32(out, 1); /* duration of each sample */
    media_put32(out, 0); /* a key frame */
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('t', 'f', 'd', 't'), 1, 0);
    media_put64(out, (uint64_t)number * 50);
    media_box_end(out, box);
    box = media_box_begin_full(out, TYPE('t', 'r', 'u', 'n'), 0, 0x200);
    media_put32(out, 50);
    for (int i = 0; i < 50; i++)
        media_put32(out, FRAGMENT_BYTES / 50);
    media_box_end(out, box);
    media_box_end(out, traf);
    media_box_end(out, moof);
    box = media_box_begin(out, TYPE('m', 'd', 'a', 't'));
    put_noise(out, FRAGMENT_BYTES, number);
    media_box_end(out, box);
}

/* 20 s in fragments of 2 s, with an index of them (sidx) or without. INIT, EACH: bytes before the first one, of each one. */
static void add_fragmented(const char *id, bool indexed, size_t *init, size_t *each)
{
    const struct mp4_maker_track track = {
        .video = true, .timescale = 25, .duration = 1, .per_chunk = 1, .media_time = -2};
    struct media_buffer file = {0}, fragment = {0};
    put_fragment(&fragment, 0);
    *each = fragment.size;
    media_buffer_clear(&fragment);
    put_type(&file);
    size_t moov = file.size;
    mp4_maker_moov(&file, &track, 1);
    size_t mvex = media_box_begin(&file, TYPE('m', 'v', 'e', 'x'));
    size_t box = media_box_begin_full(&file, TYPE('t', 'r', 'e', 'x'), 0, 0);
    media_put32(&file, 1);
    media_put32(&file, 1);
    media_put_zeros(&file, 12);
    media_box_end(&file, box);
    media_box_end(&file, mvex);
    media_box_end(&file, moov);
    *init = file.size;
    if (indexed) {
        box = media_box_begin_full(&file, TYPE('s', 'i', 'd', 'x'), 0, 0);
        media_put32(&file, 1);
        media_put32(&file, 25);
        media_put_zeros(&file, 10);
        media_put16(&file, FRAGMENTS);
        for (int i = 0; i < FRAGMENTS; i++) {
            media_put32(&file, (uint32_t)*each);
            media_put32(&file, 50);
            media_put32(&file, 0x90000000);
        }
        media_box_end(&file, box);
    }
    for (uint32_t i = 0; i < FRAGMENTS; i++)
        put_fragment(&file, i);
    add_buffer(id, "live.mp4", "video/mp4", &file);
}

/* ---- a transport stream ---- */

static void put_packet(struct media_buffer *out, uint16_t pid, const uint8_t *payload, size_t size)
{
    media_put8(out, 0x47);
    media_put16(out, (uint16_t)(0x4000 | pid));
    media_put8(out, 0x10);
    media_put(out, payload, size);
    for (size_t i = 4 + size; i < TS_PACKET; i++)
        media_put8(out, 0xff);
}

static void put_tables(struct media_buffer *out)
{
    static const uint8_t pat[] = {0, 0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0, 0, 0, 0, 0};
    static const uint8_t pmt[] = {0,    2, 0xb0, 23, 0,    1,    0xc1, 0,    0, 0xe1, 1, 0xf0, 0, 0x1b,
                                  0xe1, 1, 0xf0, 0,  0x0f, 0xe1, 2,    0xf0, 0, 0,    0, 0,    0};
    put_packet(out, 0, pat, sizeof(pat));
    put_packet(out, 0x100, pmt, sizeof(pmt));
}

/* 20 s at 25 pictures a second; tables and a key frame once a second. */
static void add_transport_stream(const char *id)
{
    struct media_buffer file = {0};
    for (uint32_t i = 0; i < PICTURES; i++) {
        uint32_t time = 90000 + i * 3600;
        const uint8_t pes[] = {0,
                               0,
                               1,
                               0xe0,
                               0,
                               0,
                               0x80,
                               0x80,
                               5,
                               (uint8_t)(0x21 | (time >> 30 & 7) << 1),
                               (uint8_t)(time >> 22),
                               (uint8_t)(time >> 14 | 1),
                               (uint8_t)(time >> 7),
                               (uint8_t)(time << 1 | 1),
                               0,
                               0,
                               1,
                               i % 25 == 0 ? 0x67 : 0x41,
                               0x64,
                               0,
                               0x1e,
                               (uint8_t)i};
        if (i % 25 == 0)
            put_tables(&file);
        put_packet(&file, 0x101, pes, sizeof(pes));
    }
    add_buffer(id, "show.ts", "video/mp2t", &file);
}

/* ---- the daemon ---- */

static const char srt[] = "1\n00:00:01,000 --> 00:00:02,500\nHello & <font color=red>goodbye</font>\n";
static const char vtt[] = "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello &amp; goodbye\n";

static void start(void)
{
    fake_cluster_start(&http_front.cluster, 2);
    add_film("film", 50);
    add_text("sub", "film.en.srt", "application/x-subrip", srt);
    http_front_start("");
}

/* ---- requests ---- */

static struct http_answer expect(const char *method, const char *path, const char *fields, int status)
{
    struct http_answer answer = http_front_ask(method, path, fields);
    if (answer.status != status)
        fail_msg("%s %s (%s): %d instead of %d: %.300s", method, path, fields, answer.status, status,
                 answer.body ? (const char *)answer.body : "");
    return answer;
}

static void expect_status(const char *path, const char *fields, int status)
{
    struct http_answer answer = expect("GET", path, fields, status);
    free(answer.body);
}

/* Takes the versions of files out of the links of a playlist. */
static void strip_versions(struct http_answer *answer)
{
    char *at = (char *)answer->body;
    while ((at = strstr(at, "?v=")))
        memmove(at, at + sizeof("?v=01234567") - 1, strlen(at + sizeof("?v=01234567") - 1) + 1);
}

/* The answer is STATUS and has TEXT, but for versions. */
static void expect_text(const char *path, int status, const char *text)
{
    struct http_answer answer = expect("GET", path, "", status);
    strip_versions(&answer);
    if (!strstr((const char *)answer.body, text))
        fail_msg("%s has no \"%s\": %s", path, text, (const char *)answer.body);
    free(answer.body);
}

/* What lies in the mdat at the end of a segment; its bytes belong to the answer. */
static struct media_view content_of(const struct http_answer *answer)
{
    struct media_view rest = {answer->body, answer->size};
    struct media_box box = {0};
    assert_true(answer->whole);
    while (media_box_next(&rest, &box) && box.type != TYPE('m', 'd', 'a', 't'))
        continue;
    assert_int_equal(box.type, TYPE('m', 'd', 'a', 't'));
    assert_int_equal(rest.size, 0);
    return box.body;
}

static void field_of(const struct http_answer *answer, const char *name, char value[128])
{
    const char *at = strstr(answer->head, name);
    assert_non_null(at);
    at += strlen(name);
    snprintf(value, 128, "%.*s", (int)strcspn(at, "\r\n"), at);
}

/* ---- tests ---- */

static void check_playlists(void)
{
    expect_text("/hls/tnvideo/alice/film/master.m3u8", 200, "CODECS=\"avc1.64001e,mp4a.40.2\"");
    expect_text("/hls/tnvideo/alice/film/master.m3u8", 200, "RESOLUTION=640x360");
    expect_text("/hls/film/master.m3u8", 200, "\nm.m3u8\n");
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/film/m.m3u8", "", 200);
    assert_true(http_answer_has(&answer, "Content-Type: application/vnd.apple.mpegurl"));
    strip_versions(&answer);
    assert_non_null(strstr((const char *)answer.body,
                           "#EXT-X-MAP:URI=\"init-m-0.mp4\"\n#EXTINF:6.000000,\nm-0.m4s\n#EXTINF:6.000000,\n"
                           "m-1.m4s\n#EXTINF:6.000000,\nm-2.m4s\n#EXTINF:2."));
    assert_null(strstr((const char *)answer.body, "m-4.m4s"));
    free(answer.body);
    expect_text("/hls/tnvideo/alice/film/i.m3u8", 200, "#EXT-X-I-FRAMES-ONLY");
    expect_text("/hls/tnvideo/alice/film/a1.m3u8", 200, "#EXTINF:6.016000,\na1-0.m4s\n");
    answer = expect("GET", "/dash/tnvideo/alice/film/manifest.mpd", "", 200);
    assert_true(http_answer_has(&answer, "Content-Type: application/dash+xml"));
    strip_versions(&answer);
    assert_non_null(strstr((const char *)answer.body, "initialization=\"init-v-0.mp4\""));
    free(answer.body);
}

/* Segment 1 is of pictures 150 to 299 and frames 282 to 562 of sound. */
static void check_segments(void)
{
    const struct fake_file *file = find_file("film");
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/film/m-1.m4s", "", 200);
    struct media_view content = content_of(&answer);
    const uint8_t *at = memmem(file->bytes, file->size, content.bytes, content.size);
    assert_non_null(at); /* a range of the file as it is */
    assert_true(at - file->bytes <= CONTENT + 150 * STEP);
    assert_true(at + content.size >= file->bytes + CONTENT + 299 * STEP + 1000);
    assert_true(http_answer_has(&answer, "Content-Type: video/mp4"));
    free(answer.body);

    answer = expect("GET", "/hls/tnvideo/alice/film/a1-1.m4s", "", 200);
    assert_true(http_answer_has(&answer, "Content-Type: audio/mp4"));
    content = content_of(&answer);
    assert_int_equal(content.size, (563 - 282) * 200);
    for (size_t i = 282; i < 563; i++)
        assert_memory_equal(content.bytes + (i - 282) * 200,
                            file->bytes + CONTENT + 1000 + i / 2 * STEP + i % 2 * 200, 200);
    free(answer.body);

    answer = expect("GET", "/hls/tnvideo/alice/film/i-2.m4s", "", 200);
    content = content_of(&answer);
    assert_int_equal(content.size, 1000); /* the key frame alone */
    assert_memory_equal(content.bytes, file->bytes + CONTENT + 300 * STEP, 1000);
    free(answer.body);

    answer = expect("GET", "/hls/tnvideo/alice/film/init-m-0.mp4", "", 200);
    assert_memory_equal(answer.body + 4, "ftyp", 4);
    assert_non_null(memmem(answer.body, answer.size, "mvex", 4));
    assert_non_null(memmem(answer.body, answer.size, "avcC", 4));
    free(answer.body);
}

static void a_film_is_cut_by_its_index(void **state)
{
    (void)state;
    start();
    check_playlists();
    check_segments();
    http_front_stop();
}

static void parts_belong_to_one_version_of_the_file(void **state)
{
    char path[128];
    (void)state;
    start();
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/film/m.m3u8", "", 200);
    const char *version = strstr((const char *)answer.body, "\nm-1.m4s?v=");
    assert_non_null(version);
    snprintf(path, sizeof(path), "/hls/tnvideo/alice/film/m-1.m4s?x=1&v=%.8s",
             version + strlen("\nm-1.m4s?v="));
    free(answer.body);
    int asked = fake_requests(&http_front.cluster, PROTO_STORAGE_STAT);
    expect_status(path, "", 200);
    assert_int_equal(fake_requests(&http_front.cluster, PROTO_STORAGE_STAT), asked);
    /* The file may have become another one since it was looked up: it is asked for once more. */
    expect_status("/hls/tnvideo/alice/film/m-1.m4s?v=00000000", "", 404);
    assert_int_equal(fake_requests(&http_front.cluster, PROTO_STORAGE_STAT), asked + 1);
    expect_status("/hls/tnvideo/alice/film/m.m3u8?v=00000000", "", 404);
    expect_status("/hls/tnvideo/alice/film/init-m-0.mp4?v=00000000", "", 404);
    expect_status("/dash/tnvideo/alice/film/v-1.m4s?v=00000000", "", 404);
    /* Other queries of that name mean nothing. */
    expect_status("/hls/tnvideo/alice/film/master.m3u8?v=00000000", "", 200);
    expect_status("/dash/tnvideo/alice/film/manifest.mpd?v=00000000", "", 200);
    expect_status("/info/tnvideo/alice/film?v=00000000", "", 200);
    expect_status("/hls/tnvideo/alice/film/m-1.m4s?v=2", "", 200);
    expect_status("/hls/tnvideo/alice/film/m-1.m4s?v=0000000g", "", 200);
    expect_status("/hls/tnvideo/alice/film/m-1.m4s?v", "", 200);
    expect_status("/files/tnvideo/alice/film?v=00000000", "", 200);
    http_front_stop();
}

static void indexes_are_read_once(void **state)
{
    (void)state;
    start();
    expect_status("/hls/tnvideo/alice/film/m.m3u8", "", 200);
    int reads = fake_requests(&http_front.cluster, 72);
    assert_true(reads > 0);
    expect_status("/hls/tnvideo/alice/film/m.m3u8", "", 200);
    expect_status("/hls/tnvideo/alice/film/v.m3u8", "", 200);
    expect_status("/hls/tnvideo/alice/film/init-v-0.mp4", "", 200);
    expect_status("/dash/tnvideo/alice/film/manifest.mpd", "", 200);
    assert_int_equal(fake_requests(&http_front.cluster, 72), reads);
    assert_true(
        real_daemon_shows(&http_front.httpd, "/metrics", "reel_httpd_indexes_total{result=\"read\"} 1\n"));
    http_front_stop();
}

/* A film whose index takes more than half a megabyte: 200,000 pictures that lie in any order. */
static void add_large(const char *id)
{
    enum { COUNT = 200000, SPACE = 500000 };
    int64_t *offsets = malloc(COUNT * sizeof(*offsets));
    uint32_t seed = 1;
    assert_non_null(offsets);
    for (size_t i = 0; i < COUNT; i++) {
        seed = seed * 1664525 + 1013904223;
        offsets[i] = CONTENT + (seed >> 8) % SPACE;
    }
    const struct mp4_maker_track track = {.video = true,
                                          .timescale = 25,
                                          .count = COUNT,
                                          .duration = 1,
                                          .size = 1,
                                          .per_chunk = 1,
                                          .key_every = 50,
                                          .offsets = offsets,
                                          .media_time = -2};
    struct media_buffer file = {0};
    put_type(&file);
    size_t box = media_box_begin(&file, TYPE('m', 'd', 'a', 't'));
    media_put_zeros(&file, SPACE + 1);
    media_box_end(&file, box);
    mp4_maker_moov(&file, &track, 1);
    free(offsets);
    add_buffer(id, "", "video/mp4", &file);
}

/* Two of these indexes are more than the cache may hold. */
static void indexes_are_kept_within_a_bound(void **state)
{
    static const char one[] = "reel_httpd_indexes_total{result=\"read\"} 1\n",
                      two[] = "reel_httpd_indexes_total{result=\"read\"} 2\n",
                      three[] = "reel_httpd_indexes_total{result=\"read\"} 3\n";
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_large("large");
    add_large("second");
    http_front_start("index_cache = 1M");
    expect_status("/hls/tnvideo/alice/large/init-v-0.mp4", "", 200);
    expect_status("/hls/tnvideo/alice/large/init-v-0.mp4", "", 200);
    assert_true(real_daemon_shows(&http_front.httpd, "/metrics", one));
    expect_status("/hls/tnvideo/alice/second/init-v-0.mp4", "", 200);
    expect_status("/hls/tnvideo/alice/second/init-v-0.mp4", "", 200);
    assert_true(real_daemon_shows(&http_front.httpd, "/metrics", two));
    struct real_answer metrics = real_daemon_admin(&http_front.httpd, "/metrics");
    const char *held = strstr(metrics.body, "\nreel_httpd_index_bytes ");
    assert_non_null(held);
    assert_in_range(atoll(held + strlen("\nreel_httpd_index_bytes ")), 512 * 1024 + 1, 1024 * 1024);
    free(metrics.body);
    expect_status("/hls/tnvideo/alice/large/init-v-0.mp4", "", 200); /* it had gone, and is read anew */
    assert_true(real_daemon_shows(&http_front.httpd, "/metrics", three));
    http_front_stop();
}

static void an_index_above_the_configured_size_is_not_read(void **state)
{
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_large("large");
    http_front_start("index_moov_max = 64K");
    expect_status("/hls/tnvideo/alice/film/m.m3u8", "", 200);
    expect_text("/hls/tnvideo/alice/large/v.m3u8", 415, "at most 65536 are read");
    http_front_stop();
}

/* True once the log has TEXT. */
static bool logs(const char *text)
{
    char path[128], log[65536];
    snprintf(path, sizeof(path), "%s/log", http_front.httpd.directory);
    for (int i = 0; i < 400; i++) {
        FILE *file = fopen(path, "r");
        size_t size = file ? fread(log, 1, sizeof(log) - 1, file) : 0;
        if (file)
            (void)fclose(file);
        log[size] = '\0';
        if (strstr(log, text))
            return true;
        usleep(50000);
    }
    return false;
}

static void a_segment_is_asked_for_as_files_are(void **state)
{
    static const char path[] = "/hls/tnvideo/alice/film/m-1.m4s";
    char etag[128], fields[256], line[128];
    (void)state;
    start();
    struct http_answer whole = expect("GET", path, "", 200), part = expect("HEAD", path, "", 200);
    snprintf(line, sizeof(line), "Content-Length: %zu", whole.size);
    assert_true(http_answer_has(&part, line));
    free(part.body);
    static const size_t ranges[][2] = {{0, 0}, {100, 20000}, {40000, 90000}};
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        snprintf(fields, sizeof(fields), "Range: bytes=%zu-%zu\r\n", ranges[i][0], ranges[i][1]);
        part = expect("GET", path, fields, 206);
        assert_int_equal(part.size, ranges[i][1] - ranges[i][0] + 1);
        assert_memory_equal(part.body, whole.body + ranges[i][0], part.size);
        free(part.body);
    }
    field_of(&whole, "ETag: ", etag);
    snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", etag);
    expect_status(path, fields, 304);
    expect_status("/hls/tnvideo/alice/film/m-2.m4s", fields, 200);
    expect_status(path, "If-Match: \"other\"\r\n", 412);
    expect_status(path, "Range: bytes=99999999-\r\n", 416);
    free(whole.body);
    http_front_stop();
}

/* The last four bytes of gzip's are the length of what was compressed (RFC 1952). */
static size_t length_before(const struct http_answer *answer)
{
    const uint8_t *end = answer->body + answer->size;
    assert_true(answer->size > 18 && answer->body[0] == 0x1f && answer->body[1] == 0x8b);
    return end[-4] | (size_t)end[-3] << 8 | (size_t)end[-2] << 16 | (size_t)end[-1] << 24;
}

static void check_compressed(const char *path)
{
    struct http_answer plain = expect("GET", path, "", 200);
    struct http_answer packed = expect("GET", path, "Accept-Encoding: br, gzip;q=0.5\r\n", 200);
    assert_true(http_answer_has(&packed, "Content-Encoding: gzip"));
    assert_false(http_answer_has(&plain, "Content-Encoding: gzip"));
    assert_true(http_answer_has(&plain, "Vary: Accept-Encoding"));
    assert_true(packed.size < plain.size);
    assert_int_equal(length_before(&packed), plain.size);
    free(plain.body);
    free(packed.body);
}

static void texts_are_compressed_for_those_who_take_it(void **state)
{
    char text[8000] = "#EXTM3U\n";
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    for (int i = 0; i < 200; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "#EXTINF:6.0,\nsegment-%d.ts\n", i);
    add_text("list", "list.m3u8", "application/vnd.apple.mpegurl", text);
    http_front_start("");
    for (int i = 0; i < 2; i++) { /* made, and kept */
        check_compressed("/dash/tnvideo/alice/film/manifest.mpd");
        check_compressed("/files/tnvideo/alice/list");
    }
    struct http_answer answer = expect("GET", "/files/tnvideo/alice/list", "", 200);
    assert_string_equal((const char *)answer.body, text);
    free(answer.body);
    http_front_stop();
}

static void subtitles_are_webvtt(void **state)
{
    (void)state;
    start();
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/film,sub/1-t.vtt", "", 200);
    assert_string_equal((const char *)answer.body, vtt);
    assert_true(http_answer_has(&answer, "Content-Type: text/vtt; charset=utf-8"));
    free(answer.body);
    answer = expect("GET", "/files/tnvideo/alice/sub/film.en.vtt", "", 200);
    assert_string_equal((const char *)answer.body, vtt);
    free(answer.body);
    expect_text("/hls/tnvideo/alice/film,sub/1-t.m3u8", 200, "#EXTINF:20.");
    expect_text("/hls/tnvideo/alice/film,sub/master.m3u8", 200, "LANGUAGE=\"en\"");
    expect_text("/hls/tnvideo/alice/film,sub/master.m3u8", 200, "URI=\"1-t.m3u8\"");
    expect_text("/dash/tnvideo/alice/film,sub/manifest.mpd", 200, "1-t.vtt");
    expect_text("/hls/tnvideo/alice/sub/t.m3u8", 200, "#EXTINF:86400.000000,\nt.vtt\n");
    expect_text("/info/tnvideo/alice/sub", 200, "\"container\": \"subtitles\"");
    expect_status("/hls/tnvideo/alice/film/t.vtt", "", 404);
    http_front_stop();
}

static void a_track_of_text_is_webvtt_too(void **state)
{
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_titled("titled");
    http_front_start("");
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/titled/t1.vtt", "", 200);
    assert_string_equal((const char *)answer.body, "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nOne &amp; two\n"
                                                   "\n00:00:04.000 --> 00:00:06.000\n<i>Three</i>\n");
    free(answer.body);
    expect_text("/hls/tnvideo/alice/titled/t1.m3u8", 200, "#EXTINF:6.000000,\nt1.vtt\n");
    expect_text("/hls/tnvideo/alice/titled/master.m3u8", 200,
                "TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"en 1\",LANGUAGE=\"en\"");
    expect_text("/hls/tnvideo/alice/titled/master.m3u8", 200, "\nv.m3u8\n");
    expect_text("/info/tnvideo/alice/titled", 200, "\"kind\": \"subtitle\"");
    expect_status("/hls/tnvideo/alice/titled/t0.vtt", "", 404);
    http_front_stop();
}

/* The index is known; then no server has the samples that lie apart. */
static void samples_that_cannot_be_gathered_are_an_error_and_not_a_body(void **state)
{
    (void)state;
    start();
    expect_status("/hls/tnvideo/alice/film/master.m3u8", "", 200);
    expect_text("/hls/tnvideo/alice/sub/master.m3u8", 200, "#EXTM3U");
    for (int i = 0; i < 2; i++) {
        atomic_store(&http_front.cluster.storages[i].fail_left, 1000);
        atomic_store(&http_front.cluster.storages[i].fail_code, -9);
    }
    expect_status("/hls/tnvideo/alice/film/a1-1.m4s", "", 503);
    expect_status("/hls/tnvideo/alice/sub/t.vtt", "", 503);
    for (int i = 0; i < 2; i++) { /* each breaks off in the middle, and the next one goes on there */
        atomic_store(&http_front.cluster.storages[i].fail_left, 0);
        atomic_store(&http_front.cluster.storages[i].cut_downloads, 3);
    }
    check_segments();
    http_front_stop();
}

static void a_set_has_what_agrees(void **state)
{
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_film("same", 150);
    add_film("other", 73);
    http_front_start("");
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/film,other,film/master.m3u8", "", 200);
    strip_versions(&answer);
    assert_non_null(strstr((const char *)answer.body, "\nm.m3u8\n"));
    assert_non_null(strstr((const char *)answer.body, "\n2-m.m3u8\n"));
    assert_null(strstr((const char *)answer.body, "\n1-m.m3u8\n"));
    free(answer.body);
    expect_text("/hls/tnvideo/alice/film,same/1-m.m3u8", 200, "#EXTINF:6.000000,\n1-m-0.m4s\n");
    expect_text("/dash/tnvideo/alice/film,same/manifest.mpd", 200, "id=\"1-v\"");
    /* One that is not there is left out, unless it is the first. */
    expect_text("/hls/tnvideo/alice/film,nobody/master.m3u8", 200, "\nm.m3u8\n");
    assert_true(logs("key frames lie elsewhere"));
    assert_true(logs("tnvideo/alice: file 2 of a set is left out"));
    expect_status("/hls/tnvideo/alice/nobody,film/master.m3u8", "", 404);
    http_front_stop();
}

static void what_is_not_there_is_404(void **state)
{
    static const char *const paths[] = {
        "/hls/tnvideo/alice/nobody/master.m3u8", "/hls/tnvideo/alice/film/m-99.m4s",
        "/hls/tnvideo/alice/film/a0.m3u8",       "/hls/tnvideo/alice/film/a7-0.m4s",
        "/hls/tnvideo/alice/film/manifest.mpd",  "/dash/tnvideo/alice/film/master.m3u8",
        "/hls/tnvideo/alice/film/init-m-1.mp4",  "/hls/tnvideo/alice/film/1-m.m3u8",
        "/hls/tnvideo/alice/film/t.m3u8",        "/info/tnvideo/alice/nobody"};
    (void)state;
    start();
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        expect_status(paths[i], "", 404);
    http_front_stop();
}

static void what_cannot_be_cut_says_why(void **state)
{
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_text("text", "text.mp4", "video/mp4", "not a film at all, whatever its name says");
    const struct fake_file *film = find_file("film");
    uint8_t *half = malloc(100000);
    assert_non_null(half);
    memcpy(half, film->bytes, 100000);
    add_bytes("half", "half.mp4", "video/mp4", half, 100000);
    add_text("nothing", "nothing.mp4", "video/mp4", "");
    http_front_start("");
    for (int i = 0; i < 2; i++) { /* looked at, and known */
        expect_text("/hls/tnvideo/alice/text/master.m3u8", 415, "neither an MP4");
        expect_text("/hls/tnvideo/alice/half/m-0.m4s", 415, "shorter than its boxes");
        expect_text("/hls/tnvideo/alice/nothing/m.m3u8", 415, "empty");
    }
    expect_text("/info/tnvideo/alice/text", 200, "\"streamable\": false");
    expect_text("/info/tnvideo/alice/half", 200, "shorter than its boxes");
    expect_text("/info/tnvideo/alice/film", 200, "\"frame_rate\": 25.0");
    expect_text("/info/tnvideo/alice/film", 200, "\"segments\": 4");
    http_front_stop();
}

/* 20 s in parts of EACH bytes and 2 s, behind HEAD bytes: segments of three parts. */
static void check_ranges(const char *id, const char *extension, size_t head, size_t each)
{
    char path[128], wanted[512];
    snprintf(path, sizeof(path), "/hls/tnvideo/alice/%s/m.m3u8", id);
    snprintf(wanted, sizeof(wanted),
             "#EXTINF:6.000000,\n#EXT-X-BYTERANGE:%zu@%zu\nfile.%s\n"
             "#EXTINF:6.000000,\n#EXT-X-BYTERANGE:%zu@%zu\nfile.%s\n"
             "#EXTINF:6.000000,\n#EXT-X-BYTERANGE:%zu@%zu\nfile.%s\n"
             "#EXTINF:2.000000,\n#EXT-X-BYTERANGE:%zu@%zu\nfile.%s\n#EXT-X-ENDLIST\n",
             3 * each, head, extension, 3 * each, head + 3 * each, extension, 3 * each, head + 6 * each,
             extension, each, head + 9 * each, extension);
    expect_text(path, 200, wanted);
    snprintf(path, sizeof(path), "/hls/tnvideo/alice/%s/file.%s", id, extension);
    struct http_answer answer = expect("GET", path, "Range: bytes=1000-8999\r\n", 206);
    assert_int_equal(answer.size, 8000);
    assert_memory_equal(answer.body, find_file(id)->bytes + 1000, 8000);
    free(answer.body);
    snprintf(path, sizeof(path), "/dash/tnvideo/alice/%s/manifest.mpd", id);
    expect_text(path, 415, "streamed by HLS");
    snprintf(path, sizeof(path), "/hls/tnvideo/alice/%s/v.m3u8", id);
    expect_status(path, "", 404);
}

static void stored_fragments_are_ranges_of_the_file(void **state)
{
    char wanted[128];
    size_t init, each;
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_fragmented("moofs", false, &init, &each);
    add_fragmented("sidx", true, &init, &each);
    http_front_start("");
    check_ranges("moofs", "mp4", init, each);
    snprintf(wanted, sizeof(wanted), "#EXT-X-MAP:URI=\"file.mp4\",BYTERANGE=\"%zu@0\"\n", init);
    expect_text("/hls/tnvideo/alice/moofs/m.m3u8", 200, wanted);
    check_ranges("sidx", "mp4", find_file("sidx")->size - FRAGMENTS * each, each);
    expect_text("/hls/tnvideo/alice/sidx/master.m3u8", 200, "CODECS=\"avc1.64001e\",RESOLUTION=640x360");
    expect_text("/info/tnvideo/alice/moofs", 200, "\"container\": \"fragmented mp4\"");
    http_front_stop();
}

static void so_are_transport_streams(void **state)
{
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_transport_stream("show");
    http_front_start("");
    check_ranges("show", "ts", 0, (size_t)54 * TS_PACKET);
    expect_text("/hls/tnvideo/alice/show/master.m3u8", 200, "CODECS=\"avc1.64001e,mp4a.40.2\"");
    expect_text("/info/tnvideo/alice/show", 200, "\"container\": \"mpeg-ts\"");
    expect_text("/info/tnvideo/alice/show", 200, "\"duration\": 20.0");
    http_front_stop();
}

static void a_clip_is_a_file_of_its_own(void **state)
{
    (void)state;
    start();
    const struct fake_file *film = find_file("film");
    struct http_answer whole = expect("GET", "/files/tnvideo/alice/film/a.mp4?start=6&end=8", "", 200);
    assert_memory_equal(whole.body + 4, "ftyp", 4);
    size_t content = 50 * STEP, end = CONTENT + 199 * STEP + 1000; /* sound is a little ahead in the file */
    assert_true(whole.size > content && whole.size < content + 16000);
    assert_memory_equal(whole.body + whole.size - 60000, film->bytes + end - 60000, 60000);
    struct http_answer part =
        expect("GET", "/files/tnvideo/alice/film/a.mp4?start=6&end=8", "Range: bytes=100-20099\r\n", 206);
    assert_memory_equal(part.body, whole.body + 100, 20000);
    free(part.body);
    free(whole.body);
    expect_status("/files/tnvideo/alice/film?start=99", "", 404);
    expect_status("/files/tnvideo/alice/film?start=2&end=1", "", 400);
    expect_status("/files/tnvideo/alice/nobody?start=2", "", 404);
    http_front_stop();
}

static void matroska_is_packed_anew(void **state)
{
    const struct mkv_maker maker = {.cues = true, .seeks = true, .seconds = 20};
    struct media_buffer file = {0};
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    mkv_maker_film(&file, &maker);
    uint8_t *damaged = malloc(file.size);
    assert_non_null(damaged);
    memcpy(damaged, file.bytes, file.size);
    memset(damaged + file.size / 2, 0, 4000); /* blocks of the second or third segment */
    add_bytes("damaged", "", "video/x-matroska", damaged, file.size);
    add_buffer("show", "show.mkv", "video/x-matroska", &file);
    http_front_start("");
    expect_text("/hls/tnvideo/alice/show/master.m3u8", 200, "CODECS=\"avc1.64001e,mp4a.40.2\"");
    expect_text("/hls/tnvideo/alice/show/m.m3u8", 200, "#EXTINF:6.000000,\nm-0.m4s\n");
    expect_text("/dash/tnvideo/alice/show/manifest.mpd", 200, "media=\"$RepresentationID$-$Number$.m4s\"");
    struct http_answer answer = expect("GET", "/hls/tnvideo/alice/show/init-m-0.mp4", "", 200);
    assert_memory_equal(answer.body + 4, "ftyp", 4);
    free(answer.body);
    answer = expect("GET", "/hls/tnvideo/alice/show/m-1.m4s", "", 200);
    assert_memory_equal(answer.body + 4, "styp", 4);
    assert_true(answer.size > 150 * 1000 && answer.size < 250 * 1000);
    struct http_answer part =
        expect("GET", "/hls/tnvideo/alice/show/m-1.m4s", "Range: bytes=5000-5999\r\n", 206);
    assert_memory_equal(part.body, answer.body + 5000, 1000);
    free(part.body);
    free(answer.body);
    answer = expect("GET", "/hls/tnvideo/alice/show/i-2.m4s", "", 200);
    assert_in_range(answer.size, 1000, 1300);
    free(answer.body);
    expect_status("/hls/tnvideo/alice/show/m-4.m4s", "", 404);
    expect_text("/files/tnvideo/alice/show?start=2", 415, "clips are made of MP4");
    expect_status("/hls/tnvideo/alice/show/file.mp4", "", 200);
    expect_text("/hls/tnvideo/alice/damaged/m.m3u8", 200, "m-3.m4s");
    int damages = 0;
    for (int i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof(path), "/hls/tnvideo/alice/damaged/m-%d.m4s", i);
        struct http_answer segment = http_front_ask("GET", path, "");
        damages +=
            segment.status == 415 && strstr((const char *)segment.body, "a cluster of it is damaged at byte");
        free(segment.body);
    }
    assert_in_range(damages, 1, 2);
    http_front_stop();
}

/* What a cache in front goes by, and what a player takes an answer for. */
static void answers_say_what_they_are_and_for_how_long(void **state)
{
    static const struct {
        const char *path, *type;
        bool varies; /* with Accept-Encoding */
    } rows[] = {
        {"/hls/tnvideo/alice/film/master.m3u8", "application/vnd.apple.mpegurl", true},
        {"/hls/tnvideo/alice/film/m.m3u8", "application/vnd.apple.mpegurl", true},
        {"/hls/tnvideo/alice/film/i.m3u8", "application/vnd.apple.mpegurl", true},
        {"/dash/tnvideo/alice/film/manifest.mpd", "application/dash+xml", true},
        {"/info/tnvideo/alice/film", "application/json", true},
        {"/hls/tnvideo/alice/film,sub/1-t.vtt", "text/vtt; charset=utf-8", true},
        {"/hls/tnvideo/alice/film/init-m-0.mp4", "video/mp4", false},
        {"/hls/tnvideo/alice/film/init-a1-0.mp4", "audio/mp4", false},
        {"/hls/tnvideo/alice/film/m-1.m4s", "video/mp4", false},
        {"/hls/tnvideo/alice/film/v-1.m4s", "video/mp4", false},
        {"/hls/tnvideo/alice/film/a1-1.m4s", "audio/mp4", false},
        {"/hls/tnvideo/alice/film/i-1.m4s", "video/mp4", false},
    };
    char tags[ARRAY_SIZE(rows)][128], fields[256], line[160];
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_text("sub", "film.en.srt", "application/x-subrip", srt);
    http_front_start("cache_control = public, max-age=77");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_answer answer = expect("GET", rows[i].path, "", 200);
        snprintf(line, sizeof(line), "Content-Type: %s", rows[i].type);
        if (!http_answer_has(&answer, line) ||
            !http_answer_has(&answer, "Cache-Control: public, max-age=77") ||
            http_answer_has(&answer, "Vary: Accept-Encoding") != rows[i].varies)
            fail_msg("%s: %s", rows[i].path, answer.head);
        field_of(&answer, "ETag: ", tags[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(tags[i], tags[j]);
        snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", tags[i]);
        struct http_answer same = expect("GET", rows[i].path, fields, 304);
        assert_true(http_answer_has(&same, "Cache-Control: public, max-age=77"));
        assert_int_equal(http_answer_has(&same, "Vary: Accept-Encoding"), rows[i].varies);
        free(same.body);
        free(answer.body);
        expect_status(rows[i].path, "If-None-Match: \"another\"\r\n", 200);
    }
    http_front_stop();
}

/* True once the entity tag of PATH is no longer BEFORE. */
static bool changes(const char *path, const char *before)
{
    char now[128] = "";
    for (int i = 0; i < 400; i++) {
        struct http_answer answer = http_front_ask("HEAD", path, "");
        if (answer.status == 200)
            field_of(&answer, "ETag: ", now);
        free(answer.body);
        if (answer.status == 200 && strcmp(now, before) != 0)
            return true;
        usleep(50000);
    }
    return false;
}

/* A file that was purged and stored anew under its ID: nothing that is known of the former one is given out for it. */
static void another_film_under_the_same_id_is_not_taken_for_the_former_one(void **state)
{
    static const char file[] = "/files/tnvideo/alice/film", list[] = "/hls/tnvideo/alice/film/m.m3u8";
    char before[128], list_before[128];
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_film("other", 100);
    http_front_start("lookup_age = 50ms");
    struct http_answer answer = expect("HEAD", file, "", 200);
    field_of(&answer, "ETag: ", before);
    free(answer.body);
    answer = expect("GET", list, "", 200);
    field_of(&answer, "ETag: ", list_before);
    assert_non_null(strstr((const char *)answer.body, "m-2.m4s"));
    assert_null(strstr((const char *)answer.body, "#EXTINF:8.000000"));
    free(answer.body);
    expect_status("/hls/tnvideo/alice/film/a1-1.m4s", "", 200);
    /* What OTHER has is now what FILM has: key frames every 4 s. */
    pthread_mutex_lock(&http_front.cluster.group.mutex);
    struct fake_file former = http_front.cluster.group.files[0];
    uint8_t *bytes = http_front.cluster.group.files[1].bytes;
    http_front.cluster.group.files[0].size = http_front.cluster.group.files[1].size;
    http_front.cluster.group.files[0].bytes = bytes;
    memset(http_front.cluster.group.files[0].digest, 0x77, sizeof(http_front.cluster.group.files[0].digest));
    http_front.cluster.group.files[1].bytes = former.bytes;
    http_front.cluster.group.files[1].size = former.size;
    pthread_mutex_unlock(&http_front.cluster.group.mutex);
    assert_true(changes(file, before));
    assert_true(changes(list, list_before));
    answer = expect("GET", list, "", 200);
    assert_non_null(strstr((const char *)answer.body, "\nm-1.m4s?v=77777777\n"));
    strip_versions(&answer);
    assert_non_null(strstr((const char *)answer.body, "#EXTINF:8.000000,\nm-0.m4s\n"));
    free(answer.body);
    answer = expect("GET", "/hls/tnvideo/alice/film/i-1.m4s", "", 200);
    struct media_view content = content_of(&answer);
    assert_int_equal(content.size, 1000);
    assert_memory_equal(content.bytes, bytes + CONTENT + 200 * STEP, 1000); /* at 8 s, not at 6 */
    free(answer.body);
    expect_status("/hls/tnvideo/alice/film/m-1.m4s?v=77777777", "", 200);
    char link[64];
    snprintf(link, sizeof(link), "/hls/tnvideo/alice/film/m-1.m4s?v=%.8s", before + 1);
    expect_status(link, "", 404); /* out of the former playlist */
    http_front_stop();
}

/* ---- pictures ---- */

/* A reel-poster that makes the same picture of whatever it gets. */
static struct {
    int listener;
    pthread_t thread;
    atomic_int made;      /* how often it was asked */
    atomic_bool refusing; /* it can make none */
    char directory[40], socket[64];
} painter;

static void paint(int fd)
{
    struct poster_request request;
    struct poster_answer answer = {POSTER_MAGIC, POSTER_MADE, 1000};
    char jpeg[1000];
    if (recv(fd, &request, sizeof(request), MSG_WAITALL) != (ssize_t)sizeof(request))
        return;
    uint8_t *film = malloc(request.size);
    if (film && recv(fd, film, request.size, MSG_WAITALL) == (ssize_t)request.size) {
        memset(jpeg, 'j', sizeof(jpeg));
        atomic_fetch_add(&painter.made, 1);
        if (atomic_load(&painter.refusing))
            answer = (struct poster_answer){POSTER_MAGIC, POSTER_NO_PICTURE, 0};
        (void)send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
        (void)send(fd, jpeg, answer.size, MSG_NOSIGNAL);
    }
    free(film);
}

static void *paint_all(void *argument)
{
    (void)argument;
    for (int fd; (fd = accept(painter.listener, NULL, NULL)) >= 0; close(fd))
        paint(fd);
    return NULL;
}

static void painter_start(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(painter.directory, sizeof(painter.directory), "/tmp/reel-painter-test-XXXXXX");
    assert_non_null(mkdtemp(painter.directory));
    snprintf(painter.socket, sizeof(painter.socket), "%s/socket", painter.directory);
    memcpy(address.sun_path, painter.socket, strlen(painter.socket));
    painter.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(painter.listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(painter.listener, 16), 0);
    atomic_store(&painter.made, 0);
    atomic_store(&painter.refusing, false);
    assert_int_equal(pthread_create(&painter.thread, NULL, paint_all, NULL), 0);
}

static void painter_stop(void)
{
    assert_int_equal(shutdown(painter.listener, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(painter.thread, NULL), 0);
    close(painter.listener);
    assert_int_equal(unlink(painter.socket), 0);
}

static void expect_picture(const char *path)
{
    struct http_answer answer = expect("GET", path, "", 200);
    assert_int_equal(answer.size, 1000);
    assert_int_equal(answer.body[999], 'j');
    free(answer.body);
}

static void pictures_are_made_of_key_frames_and_kept(void **state)
{
    const struct mkv_maker maker = {.cues = true, .seeks = true, .seconds = 20};
    struct media_buffer file = {0};
    char more[256], path[128];
    size_t init, each;
    (void)state;
    painter_start();
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    mkv_maker_film(&file, &maker);
    add_buffer("show", "show.mkv", "video/x-matroska", &file);
    add_fragmented("moofs", false, &init, &each);
    add_transport_stream("air");
    add_text("text", "a.txt", "text/plain", "no film");
    snprintf(path, sizeof(path), "%s/kept", painter.directory);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(more, sizeof(more), "poster_socket = %s\nposter_cache = %s\nposter_cache_size = 1M",
             painter.socket, path);
    http_front_start(more);
    static const char *const ids[] = {"film", "show", "moofs", "air"};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        snprintf(path, sizeof(path), "/poster/tnvideo/alice/%s/poster.jpg?t=3", ids[i]);
        expect_picture(path);
    }
    int made = atomic_load(&painter.made);
    assert_int_equal(made, ARRAY_SIZE(ids));
    expect_picture("/poster/tnvideo/alice/film/poster.jpg?t=3"); /* from the disk */
    assert_int_equal(atomic_load(&painter.made), made);
    expect_picture("/storyboard/tnvideo/alice/film/storyboard.jpg");
    expect_picture("/storyboard/tnvideo/alice/show/storyboard.jpg");
    expect_text("/storyboard/tnvideo/alice/film/storyboard.vtt", 200, "storyboard.jpg#xywh=0,0,");
    expect_text("/poster/tnvideo/alice/text/poster.jpg", 415, "");
    expect_status("/poster/tnvideo/alice/film/poster.jpg?t=x", "", 400);
    expect_status("/poster/tnvideo/alice/nobody/poster.jpg", "", 404);
    /* What cannot be decoded is not tried for every request, whatever its width; a picture that was made before stays. */
    atomic_store(&painter.refusing, true);
    made = atomic_load(&painter.made);
    for (int width = 100; width < 110; width += 2) {
        snprintf(path, sizeof(path), "/poster/tnvideo/alice/moofs/poster.jpg?t=3&w=%d", width);
        expect_text(path, 415, "cannot be decoded");
    }
    assert_int_equal(atomic_load(&painter.made), made + 1);
    expect_picture("/poster/tnvideo/alice/moofs/poster.jpg?t=3");
    painter_stop();
    expect_text("/poster/tnvideo/alice/film/poster.jpg?t=9", 503, "no poster: reel-poster is not installed");
    http_front_stop();
    remove_tree(painter.directory);
}

/* ---- files of this machine, and servers that break off ---- */

static void start_local(size_t size)
{
    static const char *const parts[] = {"000", "000/001", "000/001/1FF"};
    char path[128], more[128];
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    snprintf(http_front.volume, sizeof(http_front.volume), "/tmp/reel-stream-test-XXXXXX");
    assert_non_null(mkdtemp(http_front.volume));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        snprintf(path, sizeof(path), "%s/%s", http_front.volume, parts[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/%s", http_front.volume, PLACE);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, find_file("film")->bytes, size), size);
    close(fd);
    snprintf(more, sizeof(more), "local_groups = group001:../data=%s", http_front.volume);
    http_front_start(more);
}

static void a_local_film_is_read_from_its_volume(void **state)
{
    (void)state;
    start_local(CONTENT + PICTURES * STEP);
    check_playlists(); /* a file of another size is not the one that was meant */
    assert_true(fake_requests(&http_front.cluster, 72) > 0);
    http_front_stop();
    (void)http_front_tear_down(NULL);
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    size_t size = find_file("film")->size;
    fake_cluster_stop(&http_front.cluster);
    start_local(size);
    check_playlists();
    check_segments();
    assert_int_equal(fake_requests(&http_front.cluster, 72), 0);
    http_front_stop();
}

static void a_server_that_breaks_off_is_followed_by_another(void **state)
{
    (void)state;
    start();
    atomic_store(&http_front.cluster.storages[0].cut_downloads, 1);
    atomic_store(&http_front.cluster.storages[1].cut_downloads, 1);
    check_playlists();
    atomic_store(&http_front.cluster.storages[0].cut_downloads, 1);
    atomic_store(&http_front.cluster.storages[1].cut_downloads, 0);
    check_segments();
    http_front_stop();
}

static void an_index_that_could_not_be_read_is_tried_again(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 2; i++) {
        atomic_store(&http_front.cluster.storages[i].fail_left, 1000);
        atomic_store(&http_front.cluster.storages[i].fail_code, -9);
    }
    expect_status("/hls/tnvideo/alice/film/master.m3u8", "", 503);
    for (int i = 0; i < 2; i++)
        atomic_store(&http_front.cluster.storages[i].fail_left, 0);
    check_playlists();
    http_front_stop();
}

/* Every request with COMMAND fails with CODE from now on; 0: none does. */
static void let_fail(int command, int code)
{
    for (int i = 0; i < http_front.cluster.count; i++) {
        atomic_store(&http_front.cluster.storages[i].fail_command, command);
        atomic_store(&http_front.cluster.storages[i].fail_code, code);
        atomic_store(&http_front.cluster.storages[i].fail_left, code != 0 ? 1000 : 0);
    }
}

/* A player that comes later must not miss what could not be read for a moment. */
static void what_could_not_be_read_is_left_out_for_once(void **state)
{
    static const char *const paths[] = {"/hls/tnvideo/alice/film,sub/master.m3u8",
                                        "/dash/tnvideo/alice/film,sub/manifest.mpd"};
    (void)state;
    start();
    expect_status("/hls/tnvideo/alice/film/master.m3u8", "", 200);
    let_fail(81, -9);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct http_answer answer = expect("GET", paths[i], "", 200);
        assert_null(strstr((const char *)answer.body, "1-t."));
        assert_true(http_answer_has(&answer, "Cache-Control: no-store"));
        free(answer.body);
    }
    let_fail(0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        expect_text(paths[i], 200, "1-t.");
    struct http_answer answer = expect("GET", paths[0], "", 200);
    assert_false(http_answer_has(&answer, "Cache-Control: no-store"));
    free(answer.body);
    http_front_stop();
}

/* What the servers answer says nothing of the film. */
static void a_server_that_makes_no_sense_does_not_make_a_film_unplayable(void **state)
{
    static const int codes[] = {-2, -3};
    char path[64];
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film-0", 50);
    add_film("film-1", 100);
    http_front_start("");
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        snprintf(path, sizeof(path), "/hls/tnvideo/alice/film-%zu/m.m3u8", i);
        let_fail(81, codes[i]);
        if (codes[i] == -3) /* then it is asked as old servers are */
            let_fail(0, codes[i]);
        expect_status(path, "", 502);
        let_fail(0, 0);
        expect_status(path, "", 200);
    }
    http_front_stop();
}

/* True once PATH has TEXT. */
static bool comes_to_have(const char *path, const char *fields, const char *text)
{
    for (int i = 0; i < 400; i++) {
        struct http_answer answer = expect("GET", path, fields, 200);
        bool has = strstr(answer.head, text) || strstr((const char *)answer.body, text);
        free(answer.body);
        if (has)
            return true;
        usleep(50000);
    }
    return false;
}

/* Languages and titles come from names. */
static void a_renamed_file_has_its_new_name_everywhere(void **state)
{
    static const char gzip[] = "Accept-Encoding: gzip\r\n",
                      master[] = "/hls/tnvideo/alice/film,sub/master.m3u8",
                      list[] = "/files/tnvideo/alice/list?download";
    char text[2000] = "#EXTM3U\n";
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    add_text("sub", "film.en.srt", "application/x-subrip", srt);
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "#EXTINF:6.0,\nsegment-%d.ts\n", i);
    add_text("list", "before.m3u8", "application/vnd.apple.mpegurl", text);
    http_front_start("lookup_age = 50ms");
    expect_text(master, 200, "LANGUAGE=\"en\"");
    expect_text("/info/tnvideo/alice/sub", 200, "film.en.srt");
    assert_true(comes_to_have(list, gzip, "filename=\"before.m3u8\""));
    pthread_mutex_lock(&http_front.cluster.group.mutex);
    snprintf(http_front.cluster.group.files[1].name, sizeof(http_front.cluster.group.files[1].name),
             "film.de.srt");
    snprintf(http_front.cluster.group.files[2].name, sizeof(http_front.cluster.group.files[2].name),
             "after.m3u8");
    pthread_mutex_unlock(&http_front.cluster.group.mutex);
    assert_true(comes_to_have(master, "", "LANGUAGE=\"de\""));
    assert_true(comes_to_have("/info/tnvideo/alice/sub", "", "film.de.srt"));
    assert_true(comes_to_have(list, gzip, "filename=\"after.m3u8\""));
    http_front_stop();
}

/* A stored file has one time, and what is made of it has several forms: of this segment_time and of another, compressed and not. */
static void a_time_is_no_word_on_what_is_made_of_a_file(void **state)
{
    static const struct {
        const char *path;
        int status; /* with the time as condition */
    } rows[] = {{"/hls/tnvideo/alice/film/m-1.m4s", 200},
                {"/hls/tnvideo/alice/film/m.m3u8", 200},
                {"/files/tnvideo/alice/film?start=6&end=8", 200},
                {"/files/tnvideo/alice/list", 206},
                {"/files/tnvideo/alice/film", 206}};
    char text[2000] = "#EXTM3U\n", date[128], etag[128], fields[512];
    (void)state;
    fake_cluster_start(&http_front.cluster, 1);
    add_film("film", 50);
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "#EXTINF:6.0,\nsegment-%d.ts\n", i);
    add_text("list", "list.m3u8", "application/vnd.apple.mpegurl", text);
    http_front_start("");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_answer answer = expect("GET", rows[i].path, "", 200);
        field_of(&answer, "Last-Modified: ", date);
        field_of(&answer, "ETag: ", etag);
        free(answer.body);
        snprintf(fields, sizeof(fields), "Range: bytes=10-\r\nIf-Range: %s\r\n", date);
        expect_status(rows[i].path, fields, rows[i].status);
        snprintf(fields, sizeof(fields), "Range: bytes=10-\r\nIf-Range: %s\r\n", etag);
        expect_status(rows[i].path, fields, 206);
        snprintf(fields, sizeof(fields), "If-Modified-Since: %s\r\n", date);
        expect_status(rows[i].path, fields, rows[i].status == 206 ? 304 : 200);
    }
    struct http_answer packed = expect("GET", "/files/tnvideo/alice/list", "Accept-Encoding: gzip\r\n", 200);
    assert_true(http_answer_has(&packed, "Content-Encoding: gzip"));
    assert_null(strstr(packed.head, "Last-Modified"));
    free(packed.body);
    http_front_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_film_is_cut_by_its_index, http_front_tear_down),
        cmocka_unit_test_teardown(answers_say_what_they_are_and_for_how_long, http_front_tear_down),
        cmocka_unit_test_teardown(another_film_under_the_same_id_is_not_taken_for_the_former_one,
                                  http_front_tear_down),
        cmocka_unit_test_teardown(parts_belong_to_one_version_of_the_file, http_front_tear_down),
        cmocka_unit_test_teardown(indexes_are_read_once, http_front_tear_down),
        cmocka_unit_test_teardown(indexes_are_kept_within_a_bound, http_front_tear_down),
        cmocka_unit_test_teardown(an_index_above_the_configured_size_is_not_read, http_front_tear_down),
        cmocka_unit_test_teardown(a_segment_is_asked_for_as_files_are, http_front_tear_down),
        cmocka_unit_test_teardown(texts_are_compressed_for_those_who_take_it, http_front_tear_down),
        cmocka_unit_test_teardown(subtitles_are_webvtt, http_front_tear_down),
        cmocka_unit_test_teardown(a_track_of_text_is_webvtt_too, http_front_tear_down),
        cmocka_unit_test_teardown(samples_that_cannot_be_gathered_are_an_error_and_not_a_body,
                                  http_front_tear_down),
        cmocka_unit_test_teardown(a_set_has_what_agrees, http_front_tear_down),
        cmocka_unit_test_teardown(what_is_not_there_is_404, http_front_tear_down),
        cmocka_unit_test_teardown(what_cannot_be_cut_says_why, http_front_tear_down),
        cmocka_unit_test_teardown(stored_fragments_are_ranges_of_the_file, http_front_tear_down),
        cmocka_unit_test_teardown(so_are_transport_streams, http_front_tear_down),
        cmocka_unit_test_teardown(matroska_is_packed_anew, http_front_tear_down),
        cmocka_unit_test_teardown(a_clip_is_a_file_of_its_own, http_front_tear_down),
        cmocka_unit_test_teardown(pictures_are_made_of_key_frames_and_kept, http_front_tear_down),
        cmocka_unit_test_teardown(a_local_film_is_read_from_its_volume, http_front_tear_down),
        cmocka_unit_test_teardown(a_server_that_breaks_off_is_followed_by_another, http_front_tear_down),
        cmocka_unit_test_teardown(an_index_that_could_not_be_read_is_tried_again, http_front_tear_down),
        cmocka_unit_test_teardown(what_could_not_be_read_is_left_out_for_once, http_front_tear_down),
        cmocka_unit_test_teardown(a_server_that_makes_no_sense_does_not_make_a_film_unplayable,
                                  http_front_tear_down),
        cmocka_unit_test_teardown(a_renamed_file_has_its_new_name_everywhere, http_front_tear_down),
        cmocka_unit_test_teardown(a_time_is_no_word_on_what_is_made_of_a_file, http_front_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
