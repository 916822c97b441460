/* Content types of files whose uploader named none. */
#include "storage/admit/type.h"
#include "common/base/metrics.h"
#include "common/media/media_type.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct types *types;

static int set_up(void **state)
{
    (void)state;
    struct error error = {0};
    types = types_create(NULL, &error); /* nothing is saved here: test_storage_requests.c sees to that */
    return types ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    types_end(types, 5000);
    types_destroy(types);
    return 0;
}

static void assert_type(const void *bytes, size_t size, const char *name, const char *expected)
{
    char type[PROTO_CONTENT_TYPE_SIZE] = "?";
    types_find(types, bytes, size, name, type);
    assert_string_equal(type, expected);
}

static void media_is_known_by_its_first_bytes(void **state)
{
    static const uint8_t mp4[] = "\0\0\0\x20"
                                 "ftypisom\0\0\2\0isomiso2avc1mp41";
    static const uint8_t png[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0";
    static const uint8_t flv[] = "FLV\1\5\0\0\0\x09\0\0\0\0";
    static const uint8_t webm[] =
        "\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\xf2\x81\4\x42\xf3\x81\x08"
        "\x42\x82\x84"
        "webm";
    (void)state;
    assert_type(mp4, sizeof(mp4), "", "video/mp4");
    assert_type(png, sizeof(png), "wrong.txt", "image/png");
    assert_type(flv, sizeof(flv), "", "video/x-flv");
    assert_type(webm, sizeof(webm), "", "video/webm");
}

static void playlists_and_subtitles_are_known_by_name_and_content(void **state)
{
    static const char playlist[] = "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:4,\nseg0.ts\n";
    static const char subtitles[] = "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n";
    (void)state;
    assert_type(playlist, sizeof(playlist) - 1, "live.m3u8", "application/vnd.apple.mpegurl");
    assert_type(playlist, sizeof(playlist) - 1, "LIVE.M3U8", "application/vnd.apple.mpegurl");
    assert_type(subtitles, sizeof(subtitles) - 1, "de.vtt", "text/vtt");
    /* A name alone does not make a playlist. */
    assert_type("just text, nothing else\n", 24, "live.m3u8", "text/plain");
}

static void a_transport_stream_is_known_by_its_name_and_sync_byte(void **state)
{
    uint8_t packets[188 * 4];
    (void)state;
    memset(packets, 0xAA, sizeof(packets));
    for (size_t i = 0; i < sizeof(packets); i += 188)
        packets[i] = 'G';
    assert_type(packets, sizeof(packets), "seg0.ts", "video/mp2t");
}

static void what_is_unknown_or_empty_is_a_stream_of_octets(void **state)
{
    uint8_t noise[64];
    (void)state;
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)(i * 151 + 128);
    assert_type(noise, sizeof(noise), "", "application/octet-stream");
    assert_type("", 0, "", "application/octet-stream");
    assert_type("", 0, "data.json", "application/json");
}

static void what_the_table_does_not_know_libmagic_does(void **state)
{
    static const char script[] = "#!/bin/sh\necho hello\n";
    (void)state;
    assert_null(media_type_of_content(script, sizeof(script) - 1, ""));
    assert_type(script, sizeof(script) - 1, "", "text/x-shellscript");
    assert_type("<html><body>hello</body></html>", 31, "", "text/html");
}

static void no_more_files_wait_than_there_is_room_for(void **state)
{
    struct type_note *notes[TYPES_QUEUE_MAX];
    struct proto_file_key key = {"tnvideo", "alice", "file"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
        notes[i] = types_note(types, &key, "name", "content", 7);
        assert_non_null(notes[i]);
    }
    assert_null(types_note(types, &key, "name", "content", 7));
    assert_int_equal(metric_value(metrics_gauge("reel_storage_types_waiting", "", NULL)), TYPES_QUEUE_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(notes); i++)
        types_drop(types, notes[i]);
    types_drop(types, NULL);
    assert_int_equal(metric_value(metrics_gauge("reel_storage_types_waiting", "", NULL)), 0);
}

static void *ask_often(void *argument)
{
    char type[PROTO_CONTENT_TYPE_SIZE];
    int *wrong = argument;
    for (int i = 0; i < 200; i++) {
        types_find(types, "#!/bin/sh\necho hello\n", 21, "", type);
        *wrong += strcmp(type, "text/x-shellscript") != 0;
    }
    return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
    pthread_t threads[6];
    int wrong[6] = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &wrong[i]), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(media_is_known_by_its_first_bytes),
        cmocka_unit_test(playlists_and_subtitles_are_known_by_name_and_content),
        cmocka_unit_test(a_transport_stream_is_known_by_its_name_and_sync_byte),
        cmocka_unit_test(what_is_unknown_or_empty_is_a_stream_of_octets),
        cmocka_unit_test(what_the_table_does_not_know_libmagic_does),
        cmocka_unit_test(many_threads_may_ask_at_once),
        cmocka_unit_test(no_more_files_wait_than_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
