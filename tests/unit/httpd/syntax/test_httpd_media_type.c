/* media_type: which Content-Type a file gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "httpd/syntax/media_type.h"

static const char *choose(const char *row, const char *file, const char *url, const char *sniffed)
{
    return media_type_choose(row, file, url, sniffed);
}

static void a_precise_row_stays_in_its_registered_spelling(void **state)
{
    (void)state;
    assert_string_equal(choose("video/mp4", "", "", NULL), "video/mp4");
    assert_string_equal(choose("video/mp4", "clip.txt", "", NULL), "video/mp4");
    assert_string_equal(choose("audio/x-m4a", "", "", NULL), "audio/mp4");
    assert_string_equal(choose("audio/x-wav", "", "", NULL), "audio/wav");
    assert_string_equal(choose("text/html; charset=utf-8", "", "", NULL), "text/html; charset=utf-8");
}

static void a_missing_or_vague_row_is_repaired_from_names_then_content(void **state)
{
    (void)state;
    assert_string_equal(choose("", "Film.MP4", "x.mkv", "image/png"), "video/mp4");
    assert_string_equal(choose("application/octet-stream", "film", "x.webm", "image/png"), "video/webm");
    assert_string_equal(choose("application/octet-stream", "", "", "image/png"), "image/png");
    assert_string_equal(choose("text/plain", "live.m3u8", "", NULL), "application/vnd.apple.mpegurl");
    assert_string_equal(choose("text/plain", "a.vtt", "", NULL), "text/vtt");
    assert_string_equal(choose("text/plain", "", "", NULL), "text/plain");
    assert_string_equal(choose("", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("inode/x-empty", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("application/octet-stream", "seg1.ts", "", NULL), "video/mp2t");
}

static void a_container_that_holds_several_kinds_is_told_by_the_name(void **state)
{
    (void)state;
    assert_string_equal(choose("video/mp4", "song.m4a", "", NULL), "audio/mp4");
    assert_string_equal(choose("video/x-matroska", "a.webm", "", NULL), "video/webm");
    assert_string_equal(choose("video/mp4", "a.webm", "", NULL), "video/mp4");
    assert_string_equal(choose("video/mp4", "", "seg.m4s", NULL), "video/iso.segment");
}

static void a_row_that_could_break_a_header_is_not_used(void **state)
{
    (void)state;
    assert_string_equal(choose("video/mp4\r\nX: y", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("video", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("/mp4", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("video/", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("vid eo/mp4", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("video/mp4; a=\x01", "", "", NULL), "application/octet-stream");
    assert_string_equal(choose("video/m\xc3\xbc", "", "", NULL), "application/octet-stream");
}

static void names_without_an_extension_have_no_type(void **state)
{
    (void)state;
    assert_null(media_type_by_name(""));
    assert_null(media_type_by_name("mp4"));
    assert_null(media_type_by_name(".mp4"));
    assert_null(media_type_by_name("a.unknown"));
    assert_null(media_type_by_name("a."));
    assert_string_equal(media_type_by_name("a.b.flac"), "audio/flac");
}

static void the_first_bytes_tell_the_kind(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *type;
    } rows[] = {
        {"\0\0\0\x18"
         "ftypisom",
         12, "video/mp4"},
        {"\0\0\0\x18"
         "ftypM4A ",
         12, "audio/mp4"},
        {"\0\0\0\x18"
         "ftypqt  ",
         12, "video/quicktime"},
        {"\0\0\0\x18"
         "ftypavif",
         12, "image/avif"},
        {"\0\0\0\x18"
         "stypmsdh",
         12, "video/iso.segment"},
        {"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", 12, "video/webm"},
        {"\x1a\x45\xdf\xa3\x01\x42\x82\x88matroska", 16, "video/x-matroska"},
        {"FLV\x01\x05", 5, "video/x-flv"},
        {"fLaC", 4, "audio/flac"},
        {"ID3\x04", 4, "audio/mpeg"},
        {"\xff\xfb\x90\x64", 4, "audio/mpeg"},
        {"\xff\xf1\x50\x80", 4, "audio/aac"},
        {"\xff\xf9\x50\x80", 4, "audio/aac"},
        {"WEBVTT", 6, "text/vtt"},
        {"\xef\xbb\xbfWEBVTT - x", 13, "text/vtt"},
        {"#EXTM3U\n", 8, "application/vnd.apple.mpegurl"},
        {"OggS\0\0", 6, "audio/ogg"},
        {"RIFFxxxxWAVE", 12, "audio/wav"},
        {"RIFFxxxxWEBP", 12, "image/webp"},
        {"\xff\xd8\xff\xe0", 4, "image/jpeg"},
        {"GIF89a", 6, "image/gif"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *type = media_type_sniff((const uint8_t *)rows[i].bytes, rows[i].size);
        if (type == NULL || strcmp(type, rows[i].type) != 0)
            fail_msg("row %zu: %s instead of %s", i, type ? type : "nothing", rows[i].type);
    }
}

static void a_transport_stream_is_known_by_its_packets(void **state)
{
    uint8_t bytes[600] = {0};
    (void)state;
    bytes[0] = bytes[188] = bytes[376] = 0x47;
    assert_string_equal(media_type_sniff(bytes, 512), "video/mp2t");
    assert_null(media_type_sniff(bytes, 300));
    bytes[188] = 0;
    assert_null(media_type_sniff(bytes, 512));
}

static void bytes_that_tell_nothing_and_cut_magics_give_no_type(void **state)
{
    (void)state;
    assert_null(media_type_sniff((const uint8_t *)"", 0));
    assert_null(media_type_sniff((const uint8_t *)"hello world", 11));
    assert_null(media_type_sniff((const uint8_t *)"WEBVTTX", 7));
    assert_null(media_type_sniff((const uint8_t *)"\0\0\0\x18"
                                                  "fty",
                                 7));
    assert_null(media_type_sniff((const uint8_t *)"\xff\xff\xff\xff", 4));
    assert_null(media_type_sniff((const uint8_t *)"RIFFxxxx", 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_precise_row_stays_in_its_registered_spelling),
        cmocka_unit_test(a_missing_or_vague_row_is_repaired_from_names_then_content),
        cmocka_unit_test(a_container_that_holds_several_kinds_is_told_by_the_name),
        cmocka_unit_test(a_row_that_could_break_a_header_is_not_used),
        cmocka_unit_test(names_without_an_extension_have_no_type),
        cmocka_unit_test(the_first_bytes_tell_the_kind),
        cmocka_unit_test(a_transport_stream_is_known_by_its_packets),
        cmocka_unit_test(bytes_that_tell_nothing_and_cut_magics_give_no_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
