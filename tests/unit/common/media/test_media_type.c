/* media_type and media_signature: which Content-Type a file gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "common/base/utf8.h"
#include "common/media/media_signature.h"
#include "common/media/media_type.h"

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

static void a_container_that_holds_several_kinds_is_recognised_by_the_name(void **state)
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

static void the_first_bytes_show_the_kind(void **state)
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
        {"OggS\0\2\x80theora", 13, "video/ogg"},
        {"RIFFxxxxWAVE", 12, "audio/wav"},
        {"RIFFxxxxWEBP", 12, "image/webp"},
        {"\xff\xd8\xff\xe0", 4, "image/jpeg"},
        {"GIF89a", 6, "image/gif"},
        {"\x89PNG\r\n\x1a\n", 8, "image/png"},
        {"BM\x36\0\x0c\0\0\0\0\0", 10, "image/bmp"},
        {"II*\0", 4, "image/tiff"},
        {"\0\0\1\0", 4, "image/vnd.microsoft.icon"},
        {"\0\0\0\x0cJXL \r\n\x87\n", 12, "image/jxl"},
        {"\0\0\0\x1c"
         "ftypmif1\0\0\0\0mif1avif",
         24, "image/avif"},
        {"\0\0\0\x1c"
         "ftypmif1\0\0\0\0mif1heic",
         24, "image/heif"},
        {"\0\0\0\x1c"
         "ftypheic",
         12, "image/heic"},
        {"\0\0\0\x1c"
         "ftyp3gp5",
         12, "video/3gpp"},
        {"\0\0\0\x1c"
         "ftyp3g2a",
         12, "video/3gpp2"},
        {"\0\0\0\x1c"
         "moof",
         8, "video/iso.segment"},
        {"\0\0\0\x08mdat", 8, "video/mp4"},
        {"RIFFxxxxAVI ", 12, "video/x-msvideo"},
        {"FORMxxxxAIFF", 12, "audio/aiff"},
        {"MThd\0\0\0\6", 8, "audio/midi"},
        {"caff\0\1", 6, "audio/x-caf"},
        {"#!AMR\n", 6, "audio/amr"},
        {"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", 16, "video/x-ms-asf"},
        {"\x7f\xfe\x80\x01", 4, "audio/vnd.dts"},
        {"\x0b\x77\0\0\0\x40", 6, "audio/ac3"},
        {"\x0b\x77\0\0\0\x80", 6, "audio/eac3"},
        {"\0\0\1\xba", 4, "video/mpeg"},
        {"%PDF-1.7", 8, "application/pdf"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *type = media_signature_find(rows[i].bytes, rows[i].size);
        if (type == NULL || strcmp(type, rows[i].type) != 0)
            fail_msg("row %zu: %s instead of %s", i, type ? type : "nothing", rows[i].type);
    }
}

static void a_transport_stream_is_known_by_its_packets(void **state)
{
    uint8_t bytes[600] = {0};
    (void)state;
    bytes[0] = bytes[188] = bytes[376] = 0x47;
    assert_string_equal(media_signature_find(bytes, 512), "video/mp2t");
    assert_null(media_signature_find(bytes, 300));
    bytes[188] = 0;
    assert_null(media_signature_find(bytes, 512));
}

static void an_mpeg_frame_must_be_followed_by_another(void **state)
{
    /* 128 kbit/s at 44.1 kHz: 417 bytes; MPEG 2 at 64 kbit/s and 22.05 kHz: 208 bytes. */
    static const struct {
        uint8_t header[4];
        size_t size;
    } frames[] = {{{0xff, 0xfb, 0x90, 0x64}, 417}, {{0xff, 0xf3, 0x80, 0x64}, 208}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        uint8_t bytes[1024] = {0};
        memcpy(bytes, frames[i].header, 4);
        assert_null(media_signature_find(bytes, sizeof(bytes)));
        memcpy(bytes + frames[i].size, frames[i].header, 4);
        assert_string_equal(media_signature_find(bytes, sizeof(bytes)), "audio/mpeg");
        assert_string_equal(media_signature_find(bytes, 100), "audio/mpeg"); /* the next one is not seen */
        memcpy(bytes + frames[i].size + 1, frames[i].header, 4);
        bytes[frames[i].size] = 0;
        assert_null(media_signature_find(bytes, sizeof(bytes)));
    }
    uint8_t adts[64] = {0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc}; /* 16 bytes */
    assert_null(media_signature_find(adts, sizeof(adts)));
    memcpy(adts + 16, "\xff\xf1", 2);
    assert_string_equal(media_signature_find(adts, sizeof(adts)), "audio/aac");
}

static void text_in_utf_16_is_no_sound(void **state)
{
    (void)state;
    assert_null(media_signature_find("\xff\xfe\x41\x00\x42\x00", 6));
    assert_null(media_signature_find("\xfe\xff\x00\x41\x00\x42", 6));
}

static void content_is_recognised_by_its_signature_then_by_a_name_that_does_not_belie_it(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *name, *type;
    } rows[] = {
        {"\x89PNG\r\n\x1a\n", 8, "wrong.txt", "image/png"},
        {"\0\0\0\x18"
         "ftypisom",
         12, "song.m4a", "audio/mp4"},
        {"\0\0\0\x18"
         "ftypisom",
         12, "song.webm", "video/mp4"},
        {"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", 12, "a.weba", "audio/webm"},
        {"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", 16, "a.WMA", "audio/x-ms-wma"},
        {"just text", 9, "live.m3u8", NULL},
        {"just bytes", 10, "film.mp4", NULL},
        {"1\n00:00:01,000 --> 00:00:02,000\nhi\n", 35, "de.srt", "application/x-subrip"},
        {"[Script Info]\n", 14, "de.ssa", "text/x-ssa"},
        {"{\"a\": 1}", 8, "a.json", "application/json"},
        {"\x7f"
         "ELF\0\0\0\0",
         8, "a.json", NULL},
        {"just text", 9, "", NULL},
        {"just text", 9, "a.txt", "text/plain"},
        {"", 0, "a.json", "application/json"},
        {"", 0, "a.mp4", NULL},
        {"", 0, "", NULL},
    };
    uint8_t packet[188] = {0x47};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *type = media_type_of_content(rows[i].bytes, rows[i].size, rows[i].name);
        if (!type != !rows[i].type || (type && strcmp(type, rows[i].type) != 0))
            fail_msg("row %zu: %s instead of %s", i, type ? type : "nothing",
                     rows[i].type ? rows[i].type : "nothing");
    }
    assert_string_equal(media_type_of_content(packet, sizeof(packet), "seg.ts"), "video/mp2t");
    assert_null(media_type_of_content(packet, sizeof(packet), "seg"));
}

static void every_extension_is_found(void **state)
{
    static const char *const names[][2] = {
        {"a.3g2", "video/3gpp2"},     {"a.ac3", "audio/ac3"},     {"a.eac3", "audio/eac3"},
        {"a.ec3", "audio/eac3"},      {"a.ssa", "text/x-ssa"},    {"a.wma", "audio/x-ms-wma"},
        {"a.caf", "audio/x-caf"},     {"a.dts", "audio/vnd.dts"}, {"a.MPD", "application/dash+xml"},
        {"a.zip", "application/zip"}, {"a.m4b", "audio/mp4"},     {"a.htm", "text/html"},
        {"a.html", "text/html"},      {"a.ts", "video/mp2t"},     {"a.m3u8", "application/vnd.apple.mpegurl"},
        {"a.jpg", "image/jpeg"},      {"a.opus", "audio/ogg"},    {"a.mjs", "text/javascript"},
        {"a.tiff", "image/tiff"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *type = media_type_by_name(names[i][0]);
        if (!type || strcmp(type, names[i][1]) != 0)
            fail_msg("%s: %s", names[i][0], type ? type : "nothing");
    }
}

static void what_says_nothing_is_generic(void **state)
{
    (void)state;
    assert_true(media_type_is_generic(""));
    assert_true(media_type_is_generic("Application/Octet-Stream"));
    assert_true(media_type_is_generic("binary/octet-stream"));
    assert_false(media_type_is_generic("video/mp4"));
    assert_false(media_type_is_generic("text/plain"));
}

static void utf_8_is_told_from_what_only_looks_like_it(void **state)
{
    static const struct {
        const char *bytes;
        bool whole, part;
    } rows[] = {
        {"plain", true, true},
        {"\xc3\xbc \xe5\xad\x97 \xf0\x9f\x8e\xac", true, true},
        {"\xfc", false, false},     /* Latin-1 */
        {"\xc0\xaf", false, false}, /* longer than need be */
        {"\xe0\x80\xaf", false, false},
        {"\xed\xa0\x80", false, false},     /* a surrogate */
        {"\xf4\x90\x80\x80", false, false}, /* past U+10FFFF */
        {"\xe5\xad", false, true},          /* cut in two */
        {"\xe5 x", false, false},
        {"\x80", false, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t size = strlen(rows[i].bytes);
        if (utf8_valid(rows[i].bytes, size, true) != rows[i].whole ||
            utf8_valid(rows[i].bytes, size, false) != rows[i].part)
            fail_msg("row %zu", i);
    }
}

static void bytes_that_say_nothing_and_cut_magics_give_no_type(void **state)
{
    (void)state;
    assert_null(media_signature_find("", 0));
    assert_null(media_signature_find("hello world", 11));
    assert_null(media_signature_find("WEBVTTX", 7));
    assert_null(media_signature_find("\0\0\0\x18"
                                     "fty",
                                     7));
    assert_null(media_signature_find("\xff\xff\xff\xff", 4));
    assert_null(media_signature_find("RIFFxxxx", 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_precise_row_stays_in_its_registered_spelling),
        cmocka_unit_test(a_missing_or_vague_row_is_repaired_from_names_then_content),
        cmocka_unit_test(a_container_that_holds_several_kinds_is_recognised_by_the_name),
        cmocka_unit_test(a_row_that_could_break_a_header_is_not_used),
        cmocka_unit_test(names_without_an_extension_have_no_type),
        cmocka_unit_test(the_first_bytes_show_the_kind),
        cmocka_unit_test(a_transport_stream_is_known_by_its_packets),
        cmocka_unit_test(an_mpeg_frame_must_be_followed_by_another),
        cmocka_unit_test(text_in_utf_16_is_no_sound),
        cmocka_unit_test(content_is_recognised_by_its_signature_then_by_a_name_that_does_not_belie_it),
        cmocka_unit_test(every_extension_is_found),
        cmocka_unit_test(what_says_nothing_is_generic),
        cmocka_unit_test(utf_8_is_told_from_what_only_looks_like_it),
        cmocka_unit_test(bytes_that_say_nothing_and_cut_magics_give_no_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
