/*
 * Unit tests of httpd/media for every kind of file: codec strings, fragmented MP4, transport streams, timed text, sets of several
 * renditions and tracks of sound in playlists and manifests, and what /info says of them.
 */
#include "httpd/media/dash_manifest.h"
#include "httpd/media/gzip_text.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_info.h"
#include "httpd/media/media_walk.h"
#include "httpd/media/mp4_fragment.h"
#include "httpd/media/subtitles.h"
#include "httpd/media/ts_index.h"
#include "tests/unit/library/mp4_maker.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#define TYPE MEDIA_TYPE

static struct media_view view_of(const struct media_buffer *buffer)
{
    assert_false(buffer->failed);
    return (struct media_view){buffer->bytes, buffer->size};
}

static void contains(struct media_buffer *out, const char *text)
{
    assert_false(out->failed);
    media_put8(out, 0);
    out->size--;
    if (!strstr((const char *)out->bytes, text))
        fail_msg("\"%s\" is not in:\n%s", text, (const char *)out->bytes);
}

static void is_text(struct media_buffer *out, const char *text)
{
    assert_false(out->failed);
    media_put8(out, 0);
    assert_string_equal((const char *)out->bytes, text);
    media_buffer_clear(out);
}

/* ---- codec strings ---- */

struct kind {
    enum media_kind kind;
    uint32_t type, box;
    const char *config;
    size_t size;
    const char *codecs, *name; /* NULL: refused */
};

static void put_kind(struct media_buffer *out, const struct kind *kind, uint16_t channels)
{
    size_t entry = media_box_begin(out, kind->type);
    if (kind->kind == MEDIA_VIDEO) {
        media_put_zeros(out, 24);
        media_put16(out, 1920);
        media_put16(out, 1080);
        media_put_zeros(out, 50);
    } else {
        media_put_zeros(out, 16);
        media_put16(out, channels);
        media_put16(out, 16);
        media_put_zeros(out, 4);
        media_put32(out, 44100u << 16);
    }
    if (kind->box != 0) {
        size_t box = media_box_begin(out, kind->box);
        media_put(out, kind->config, kind->size);
        media_box_end(out, box);
    }
    media_box_end(out, entry);
}

#define CONFIG(text)      text, sizeof(text) - 1
#define HVCC              TYPE('h', 'v', 'c', 'C')
#define AV1C              TYPE('a', 'v', '1', 'C')
#define VPCC              TYPE('v', 'p', 'c', 'C')
#define ESDS              TYPE('e', 's', 'd', 's')
#define MP4A              TYPE('m', 'p', '4', 'a')
#define ZEROS13           "\0\0\0\0\0\0\0\0\0\0\0\0"
#define OBJECT(type)      CONFIG("\0\0\0\0\3\x12\0\1\0\4\x0d" type ZEROS13)
#define AAC(type, config) CONFIG("\0\0\0\0\3\x16\0\1\0\4\x11" type ZEROS13 "\5\2" config)

static const struct kind kinds[] = {
    {MEDIA_VIDEO, TYPE('h', 'v', 'c', '1'), HVCC,
     CONFIG("\1\x01\x60\0\0\0\x90\0\0\0\0\0\x5d\0\0\0\0\0\0\0\0\0\0"), "hvc1.1.6.L93.90", "HEVC"},
    {MEDIA_VIDEO, TYPE('h', 'e', 'v', '1'), HVCC,
     CONFIG("\1\x22\x20\0\0\0\xb0\0\x10\0\0\0\x99\0\0\0\0\0\0\0\0\0\0"), "hev1.2.4.H153.B0.0.10", "HEVC"},
    {MEDIA_VIDEO, TYPE('h', 'v', 'c', '1'), HVCC,
     CONFIG("\1\x41\x60\0\0\0\0\0\0\0\0\0\x5d\0\0\0\0\0\0\0\0\0\0"), "hvc1.A1.6.L93", "HEVC"},
    {MEDIA_VIDEO, TYPE('h', 'v', 'c', '1'), HVCC, CONFIG("\1\1"), NULL, NULL},
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), AV1C, CONFIG("\x81\x08\x00\0"), "av01.0.08M.08", "AV1"},
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), AV1C, CONFIG("\x81\x0d\xc0\0"), "av01.0.13H.10", "AV1"},
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), AV1C, CONFIG("\x81\x45\x60\0"), "av01.2.05M.12", "AV1"},
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), AV1C, CONFIG("\x81\x65\x60\0"), NULL, NULL}, /* profile 3 */
    {MEDIA_VIDEO, TYPE('a', 'v', '0', '1'), 0, NULL, 0, NULL, NULL},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), VPCC, CONFIG("\1\0\0\0\2\x1f\xa2\1\1\1\0\0"), "vp09.02.31.10",
     "VP9"},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), VPCC, CONFIG("\1\0\0\0\0\0\x82\1\1\1\0\0"), "vp09.00.10.08",
     "VP9"},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), VPCC, CONFIG("\1\0\0\0\4\x1f\x82\1\1\1\0\0"), NULL, NULL},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), VPCC, CONFIG("\1\0\0\0\0\x64\x82\1\1\1\0\0"), NULL, NULL},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), VPCC, CONFIG("\1\0\0\0\0\x1f\x92\1\1\1\0\0"), NULL, NULL},
    {MEDIA_VIDEO, TYPE('v', 'p', '0', '9'), 0, NULL, 0, NULL, NULL},
    {MEDIA_VIDEO, TYPE('a', 'v', 'c', '3'), TYPE('a', 'v', 'c', 'C'), CONFIG("\1\x4d\x40\x28\xff\xe0\0"),
     "avc3.4d4028", "H.264"},
    {MEDIA_VIDEO, TYPE('a', 'v', 'c', '1'), 0, NULL, 0, NULL, NULL},
    {MEDIA_AUDIO, TYPE('a', 'c', '-', '3'), TYPE('d', 'a', 'c', '3'), CONFIG("\x10\x3d\xc0"), "ac-3", "AC-3"},
    {MEDIA_AUDIO, TYPE('a', 'c', '-', '3'), TYPE('d', 'a', 'c', '3'), CONFIG("\x10"), NULL, NULL},
    {MEDIA_AUDIO, TYPE('e', 'c', '-', '3'), TYPE('d', 'e', 'c', '3'), CONFIG("\x0c\0\x20\x0f\0"), "ec-3",
     "E-AC-3"},
    {MEDIA_AUDIO, TYPE('O', 'p', 'u', 's'), TYPE('d', 'O', 'p', 's'), CONFIG("\0\2\1\x38\0\0\xbb\x80\0\0\0"),
     "opus", "Opus"},
    {MEDIA_AUDIO, TYPE('f', 'L', 'a', 'C'), TYPE('d', 'f', 'L', 'a'), CONFIG("\0\0\0\0\x80\0\0\x22"), "fLaC",
     "FLAC"},
    {MEDIA_AUDIO, TYPE('.', 'm', 'p', '3'), 0, NULL, 0, "mp4a.6b", "MP3"},
    {MEDIA_AUDIO, MP4A, ESDS, AAC("\x40", "\x11\x90"), "mp4a.40.2", "AAC"},
    {MEDIA_AUDIO, MP4A, ESDS, AAC("\x67", "\x2b\x90"), "mp4a.40.5", "AAC"},
    {MEDIA_AUDIO, MP4A, ESDS, AAC("\x40", "\xf9\x40"), "mp4a.40.42", "AAC"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\x40"), "mp4a.40.2", "AAC"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\x6b"), "mp4a.6b", "MP3"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\x69"), "mp4a.69", "MP3"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\xa5"), "ac-3", "AC-3"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\xa6"), "ec-3", "E-AC-3"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\xad"), "opus", "Opus"},
    {MEDIA_AUDIO, MP4A, ESDS, OBJECT("\xdd"), NULL, NULL},
    {MEDIA_AUDIO, MP4A, ESDS, CONFIG("\0\0\0\0\3\x7f\0\1\0"), NULL, NULL},
    {MEDIA_AUDIO, MP4A, ESDS, CONFIG("\0\0\0\0\4\3\0\1\0"), NULL, NULL},
};

static void test_codec_strings_are_those_of_the_specifications(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct media_buffer out = {0};
        struct codec_description codec;
        struct error error = {.text = ""};
        put_kind(&out, &kinds[i], 6);
        bool taken = codec_describe(kinds[i].kind, view_of(&out), &codec, &error);
        if (taken != (kinds[i].codecs != NULL))
            fail_msg("entry %zu: %s", i, error.text);
        if (taken) {
            assert_string_equal(codec.codecs, kinds[i].codecs);
            assert_string_equal(codec.name, kinds[i].name);
            assert_int_equal(codec.width, kinds[i].kind == MEDIA_VIDEO ? 1920 : 0);
            assert_int_equal(codec.height, kinds[i].kind == MEDIA_VIDEO ? 1080 : 0);
            assert_int_equal(codec.channels, kinds[i].kind == MEDIA_AUDIO ? 6 : 0);
            assert_int_equal(codec.sample_rate, kinds[i].kind == MEDIA_AUDIO ? 44100 : 0);
        } else {
            assert_int_equal(error.code, ERROR_MALFORMED);
        }
        /* Cut off within its fixed part. */
        assert_false(codec_describe(kinds[i].kind, media_view_part(view_of(&out), 0, 30), &codec, &error));
        assert_int_equal(error.code, ERROR_MALFORMED);
        media_buffer_clear(&out);
    }
}

static void test_what_no_player_takes_is_refused_and_covers_are_seen(void **state)
{
    static const struct kind others[] = {
        {MEDIA_VIDEO, TYPE('e', 'n', 'c', 'v'), 0, NULL, 0, "its video is encrypted", NULL},
        {MEDIA_AUDIO, TYPE('e', 'n', 'c', 'a'), 0, NULL, 0, "its audio is encrypted", NULL},
        {MEDIA_VIDEO, TYPE('m', 'p', '4', 'v'), ESDS, OBJECT("\x6c"), "(mp4v)", "picture"},
        {MEDIA_VIDEO, TYPE('m', 'p', '4', 'v'), ESDS, OBJECT("\x20"), "(mp4v)", NULL},
        {MEDIA_VIDEO, TYPE('j', 'p', 'e', 'g'), 0, NULL, 0, "(jpeg)", "picture"},
        {MEDIA_AUDIO, TYPE('a', '"', 1, 'w'), 0, NULL, 0, "(a\?\?w)", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct media_buffer out = {0};
        struct codec_description codec;
        struct error error = {.text = ""};
        put_kind(&out, &others[i], 2);
        assert_false(codec_describe(others[i].kind, view_of(&out), &codec, &error));
        assert_int_equal(error.code, ERROR_UNKNOWN_COMMAND);
        assert_non_null(strstr(error.text, others[i].codecs));
        assert_int_equal(codec_is_picture(view_of(&out)), others[i].name != NULL);
        media_buffer_clear(&out);
    }
}

/* ---- several tracks and renditions ---- */

#define LENGTH ((int64_t)1 << 30)

static const struct mp4_maker_track sound = {.timescale = 48000,
                                             .count = 1000,
                                             .duration = 960,
                                             .size = 200,
                                             .per_chunk = 2,
                                             .first_offset = 1100,
                                             .chunk_step = 1400,
                                             .media_time = -2,
                                             .title = "Director"};
static const struct mp4_maker_track text = {.text = true,
                                            .timescale = 1000,
                                            .count = 3,
                                            .duration = 2000,
                                            .size = 10,
                                            .per_chunk = 1,
                                            .first_offset = 800000,
                                            .chunk_step = 10,
                                            .media_time = -2};

static struct media_film *film_of(const struct mp4_maker_track *tracks, size_t count)
{
    struct error error = {.text = ""};
    struct media_film *film = media_film_create(FILM_MP4, LENGTH);
    assert_non_null(film);
    film->index = mp4_maker_index(tracks, count, LENGTH, &error);
    if (!film->index)
        fail_msg("refused: %s", error.text);
    film->cut = mp4_maker_cut(film->index, 6000, &error);
    if (!film->cut)
        fail_msg("not cut: %s", error.text);
    media_film_measure(film);
    return film;
}

/* A picture, AAC in English, AC-3 in German, timed text. */
static struct media_film *film_of_many(void)
{
    struct mp4_maker_track tracks[] = {mp4_maker_video, sound, sound, text};
    struct media_buffer entry = {0};
    const struct kind ac3 = {
        MEDIA_AUDIO, TYPE('a', 'c', '-', '3'), TYPE('d', 'a', 'c', '3'), CONFIG("\x10\x3d\xc0"), "", ""};
    put_kind(&entry, &ac3, 6);
    tracks[2].entry = view_of(&entry);
    tracks[2].count = 625;
    tracks[2].duration = 1536;
    tracks[2].per_chunk = 1;
    tracks[2].first_offset = 900000;
    tracks[2].chunk_step = 200;
    tracks[2].language = 0x10b5; /* deu */
    tracks[2].title = "SoundHandler";
    struct media_film *film = film_of(tracks, 4);
    media_buffer_clear(&entry);
    return film;
}

static void playlist(const struct media_film *film, const char *name, double seconds,
                     struct media_buffer *out)
{
    struct media_name parsed;
    media_buffer_clear(out);
    assert_true(media_name_parse(name, strlen(name), &parsed));
    assert_true(hls_media(film, &parsed, seconds, out));
}

static void test_renditions_and_sounds_are_listed(void **state)
{
    struct media_buffer out = {0};
    struct mp4_maker_track small = mp4_maker_video;
    struct media_set set = {.count = 4};
    (void)state;
    struct mp4_maker_track two[] = {small, sound, sound};
    two[0].size = 500;
    set.items[0].film = film_of_many();
    set.items[1].film = film_of(two, 3);
    set.items[2].film = media_film_create(FILM_SUBTITLE, 100);
    strcpy(set.items[2].name, "French");
    strcpy(set.items[2].language, "fra");
    assert_int_equal(media_set_disagreeing(&set), 0);
    hls_master(&set, 0, &out);
    contains(&out, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    contains(&out,
             "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio1\",NAME=\"Director (1)\",LANGUAGE=\"en\",DEFAULT=YES,"
             "AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a1.m3u8\"\n");
    contains(
        &out,
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio2\",NAME=\"de 2\",LANGUAGE=\"de\",DEFAULT=NO,AUTOSELECT=YES,"
        "CHANNELS=\"6\",URI=\"a2.m3u8\"\n");
    contains(&out,
             "TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"en 1\",LANGUAGE=\"en\",DEFAULT=NO,AUTOSELECT=YES,"
             "URI=\"t3.m3u8\"\n");
    contains(&out, "URI=\"2-t.m3u8\"\n");
    contains(&out, ",CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO=\"audio1\","
                   "SUBTITLES=\"subtitles\"\nv.m3u8\n");
    contains(&out, ",AUDIO=\"audio2\",SUBTITLES=\"subtitles\"\n1-v.m3u8\n");
    contains(&out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=");
    contains(&out, ",CODECS=\"avc1.64001e\",RESOLUTION=640x360,URI=\"1-i.m3u8\"\n");
    media_buffer_clear(&out);

    playlist(set.items[0].film, "a2.m3u8", 0, &out);
    is_text(&out, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:7\n"
                  "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init-a2-0.mp4\"\n"
                  "#EXTINF:6.016000,\na2-0.m4s\n#EXTINF:5.984000,\na2-1.m4s\n#EXTINF:6.016000,\na2-2.m4s\n"
                  "#EXTINF:1.984000,\na2-3.m4s\n#EXT-X-ENDLIST\n");
    playlist(set.items[1].film, "1-v.m3u8", 0, &out);
    contains(&out, "#EXT-X-TARGETDURATION:6\n");
    contains(&out, "#EXT-X-MAP:URI=\"1-init-v-0.mp4\"\n#EXTINF:6.000000,\n1-v-0.m4s\n");
    contains(&out, "#EXTINF:2.000000,\n1-v-3.m4s\n#EXT-X-ENDLIST\n");
    playlist(set.items[0].film, "i.m3u8", 0, &out);
    contains(&out, "#EXT-X-I-FRAMES-ONLY\n");
    playlist(set.items[0].film, "t3.m3u8", 0, &out);
    contains(&out, "#EXTINF:20.000000,\nt3.vtt\n#EXT-X-ENDLIST\n");
    playlist(set.items[2].film, "2-t.m3u8", 12.5, &out);
    contains(&out, "#EXT-X-TARGETDURATION:13\n");
    contains(&out, "#EXTINF:12.500000,\n2-t.vtt\n");
    media_buffer_clear(&out);

    struct media_name name;
    assert_true(media_name_parse("t1.m3u8", 7, &name) && !hls_media(set.items[0].film, &name, 0, &out));
    assert_true(media_name_parse("a9.m3u8", 7, &name) && !hls_media(set.items[0].film, &name, 0, &out));
    assert_true(media_name_parse("v.m3u8", 6, &name) && !hls_media(set.items[2].film, &name, 0, &out));

    assert_true(dash_manifest(&set, 0, &out));
    /* A moment longer than the longest stream of it. */
    contains(&out, "mediaPresentationDuration=\"PT20.001000S\"");
    contains(&out, "<Period id=\"0\" start=\"PT0.000000S\" duration=\"PT20.001000S\">");
    contains(&out, "<S t=\"0\" d=\"150\" r=\"2\"/><S d=\"50\"/></SegmentTimeline>");
    contains(&out, "value=\"alternate\"/><Representation id=\"a2\" codecs=\"ac-3\" bandwidth=\"");
    contains(&out, "audioSamplingRate=\"44100\"");
    contains(
        &out,
        "value=\"6\"/><SegmentTemplate timescale=\"48000\" presentationTimeOffset=\"0\" startNumber=\"0\" "
        "initialization=\"init-a2-0.mp4\" media=\"$RepresentationID$-$Number$.m4s\"><SegmentTimeline>"
        "<S t=\"0\" d=\"288768\"/><S d=\"287232\"/><S d=\"288768\"/><S d=\"95232\"/>");
    contains(&out, "<Representation id=\"1-v\" codecs=\"avc1.64001e\"");
    contains(&out, "<Representation id=\"t3\" bandwidth=\"1000\"><BaseURL>t3.vtt</BaseURL>");
    contains(&out, "mimeType=\"text/vtt\" lang=\"fr\"");
    media_buffer_clear(&out);
    for (size_t i = 0; i < 3; i++)
        media_film_release(set.items[i].film);
}

/* QuickTime: versions 1 and 2 of an entry have more fields, and the configuration lies in a box wave. */
static void test_descriptions_of_quicktime_are_read(void **state)
{
    static const struct {
        uint16_t version;
        size_t more;
    } versions[] = {{1, 16}, {2, 36}};
    const struct kind aac = {MEDIA_AUDIO, MP4A, ESDS, AAC("\x40", "\x11\x90"), "", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct media_buffer out = {0};
        struct codec_description codec;
        struct error error = {.text = ""};
        size_t entry = media_box_begin(&out, MP4A);
        media_put_zeros(&out, 8);
        media_put16(&out, versions[i].version);
        media_put_zeros(&out, 6);
        media_put16(&out, 2);
        media_put_zeros(&out, 6);
        media_put32(&out, 48000u << 16);
        media_put_zeros(&out, versions[i].more);
        size_t wave = media_box_begin(&out, TYPE('w', 'a', 'v', 'e'));
        size_t box = media_box_begin(&out, ESDS);
        media_put(&out, aac.config, aac.size);
        media_box_end(&out, box);
        media_box_end(&out, wave);
        media_box_end(&out, entry);
        if (!codec_describe(MEDIA_AUDIO, view_of(&out), &codec, &error))
            fail_msg("refused: %s", error.text);
        assert_string_equal(codec.codecs, "mp4a.40.2");
        assert_int_equal(codec.channels, 2);
        assert_int_equal(codec.sample_rate, 48000);
        media_buffer_clear(&out);
    }
}

static void test_sound_alone_is_a_variant_of_its_own(void **state)
{
    struct media_buffer out = {0};
    struct media_set set = {.count = 1};
    (void)state;
    set.items[0].film = film_of(&sound, 1);
    hls_master(&set, 0, &out);
    contains(&out, ",CODECS=\"mp4a.40.2\"\na0.m3u8\n");
    media_buffer_clear(&out);
    playlist(set.items[0].film, "a0.m3u8", 0, &out);
    contains(&out, "#EXT-X-MAP:URI=\"init-a0-0.mp4\"\n#EXTINF:");
    media_buffer_clear(&out);
    assert_true(dash_manifest(&set, 0, &out));
    contains(&out, "value=\"main\"/><Representation id=\"a0\" codecs=\"mp4a.40.2\"");
    media_put8(&out, 0);
    assert_null(strstr((const char *)out.bytes, "contentType=\"video\""));
    media_buffer_clear(&out);
    media_film_release(set.items[0].film);
}

static void test_info_names_every_track(void **state)
{
    struct media_buffer out = {0};
    struct media_film *film = film_of_many();
    (void)state;
    media_info(film, "0001", LENGTH, "video/mp4", NULL, &out);
    contains(&out, "\"streamable\": true");
    contains(&out, "\"container\": \"mp4\"");
    contains(&out, "\"duration\": 20.0");
    contains(&out, "\"segments\": 4");
    contains(&out, "\"interleaved\": false");
    contains(&out, "\"codec\": \"H.264\"");
    contains(&out, "\"frame_rate\": 25.0");
    contains(&out, "\"key_frames\": 10");
    contains(&out, "\"bit_rate\": 200000");
    contains(&out, "\"title\": \"Director\"");
    contains(&out, "\"codec\": \"AC-3\"");
    contains(&out, "\"language\": \"deu\"");
    contains(&out, "\"sample_rate\": 44100");
    contains(&out, "\"kind\": \"subtitle\"");
    media_buffer_clear(&out);
    media_film_release(film);
    media_info(NULL, "0002", 17, "text/plain", "it is no film", &out);
    contains(&out, "\"streamable\": false");
    contains(&out, "\"reason\": \"it is no film\"");
    contains(&out, "\"size\": 17");
    media_buffer_clear(&out);
}

static void test_timed_text_becomes_webvtt(void **state)
{
    static const char samples[] = "\0\5Hello\0\0\0"
                                  "\0\0\0\0\0\0\0\0\0\0"
                                  "\0\x08"
                                  "a & b\nc!";
    struct media_buffer out = {0};
    struct media_film *film = film_of_many();
    (void)state;
    subtitles_of_track(&film->index->tracks[3], (struct media_view){(const uint8_t *)samples, 30}, &out);
    is_text(&out, "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello\n\n00:00:04.000 --> 00:00:06.000\na &amp; "
                  "b\nc!\n");
    media_film_release(film);
}

static void test_a_compressed_text_is_what_it_was(void **state)
{
    struct media_buffer packed = {0};
    const char *plain = "#EXTM3U\n#EXT-X-VERSION:7\n";
    uint8_t back[100];
    z_stream stream = {0};
    (void)state;
    gzip_text((struct media_view){(const uint8_t *)plain, strlen(plain)}, &packed);
    assert_false(packed.failed);
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = packed.bytes;
    stream.avail_in = (uInt)packed.size;
    stream.next_out = back;
    stream.avail_out = sizeof(back);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.total_out, strlen(plain));
    assert_memory_equal(back, plain, strlen(plain));
    assert_int_equal(inflateEnd(&stream), Z_OK);
    media_buffer_clear(&packed);
}

/* ---- the walk over a whole file ---- */

static enum walk_step walk_over(struct media_view file, struct media_film **film, struct error *error)
{
    struct media_walk_options options = {.size = (int64_t)file.size, .segment_ms = 1000, .moov_max = 1000000};
    struct media_walk *walk = media_walk_create(&options);
    enum walk_step step;
    assert_non_null(walk);
    *film = NULL;
    do {
        int64_t offset, wanted;
        media_walk_wanted(walk, &offset, &wanted);
        assert_true(offset >= 0 && wanted > 0 && offset + wanted <= (int64_t)file.size);
        step = media_walk_feed(walk, media_view_part(file, (size_t)offset, (size_t)wanted), film, error);
    } while (step == WALK_READ);
    media_walk_destroy(walk);
    return step;
}

static struct media_film *film_from(const struct media_buffer *file)
{
    struct media_film *film;
    struct error error = {.text = ""};
    if (walk_over(view_of(file), &film, &error) != WALK_DONE)
        fail_msg("refused: %s", error.text);
    return film;
}

static void refused(const struct media_buffer *file, size_t size, int code, const char *why)
{
    struct media_film *film;
    struct error error = {.text = ""};
    assert_int_equal(walk_over(media_view_part(view_of(file), 0, size), &film, &error), WALK_REFUSED);
    assert_int_equal(error.code, code);
    if (!strstr(error.text, why))
        fail_msg("\"%s\" is not in: %s", why, error.text);
}

static void is_range(const struct media_film *film, size_t i, int64_t offset, int64_t size, int64_t duration)
{
    assert_true(i < film->ranges.count);
    assert_int_equal(film->ranges.items[i].offset, offset);
    assert_int_equal(film->ranges.items[i].size, size);
    assert_int_equal(film->ranges.items[i].duration, duration);
}

/* ---- fragmented MP4 ---- */

#define KEY     0x02000000u
#define NOT_KEY 0x01010000u

static void put_fragmented_moov(struct media_buffer *file)
{
    struct mp4_maker_track tracks[] = {mp4_maker_video, sound};
    size_t box = media_box_begin(file, TYPE('f', 't', 'y', 'p'));
    media_put_text(file, "iso6");
    media_put32(file, 0);
    media_box_end(file, box);
    size_t moov = file->size;
    tracks[0].timescale = 1000;
    tracks[0].count = tracks[1].count = 0;
    tracks[0].key_every = 0;
    mp4_maker_moov(file, tracks, 2);
    size_t mvex = media_box_begin(file, TYPE('m', 'v', 'e', 'x'));
    for (uint32_t id = 2; id > 0; id--) {
        box = media_box_begin_full(file, TYPE('t', 'r', 'e', 'x'), 0, 0);
        media_put32(file, id);
        media_put32(file, 1);
        media_put32(file, 40);
        media_put32(file, 0);
        media_put32(file, NOT_KEY);
        media_box_end(file, box);
    }
    media_box_end(file, mvex);
    media_set32(file, moov, (uint32_t)(file->size - moov));
}

/* 25 pictures of 40 ms. HOW: 0 by the defaults of trex, 1 by those of tfhd, 2 each sample on its own. Returns where it begins. */
static int64_t put_fragment(struct media_buffer *file, uint32_t track, int64_t time, uint32_t first, int how)
{
    size_t begin = file->size;
    size_t box = media_box_begin(file, TYPE('s', 't', 'y', 'p'));
    media_put_text(file, "msdh");
    media_put32(file, 0);
    media_box_end(file, box);
    size_t moof = media_box_begin(file, TYPE('m', 'o', 'o', 'f'));
    box = media_box_begin_full(file, TYPE('m', 'f', 'h', 'd'), 0, 0);
    media_put32(file, 1);
    media_box_end(file, box);
    size_t traf = media_box_begin(file, TYPE('t', 'r', 'a', 'f'));
    box = media_box_begin_full(file, TYPE('t', 'f', 'h', 'd'), 0, how == 1 ? 0x20038 : 0x20000);
    media_put32(file, track);
    if (how == 1) {
        media_put32(file, 40);
        media_put32(file, 4);
        media_put32(file, first);
    }
    media_box_end(file, box);
    if (time >= 0) {
        box = media_box_begin_full(file, TYPE('t', 'f', 'd', 't'), how == 1 ? 0 : 1, 0);
        if (how == 1)
            media_put32(file, (uint32_t)time);
        else
            media_put64(file, (uint64_t)time);
        media_box_end(file, box);
    }
    box = media_box_begin_full(file, TYPE('t', 'r', 'u', 'n'), 0, how == 0 ? 5 : how == 1 ? 1 : 0x701);
    media_put32(file, 25);
    media_put32(file, 100);
    if (how == 0)
        media_put32(file, first);
    for (int i = 0; i < 25 && how == 2; i++) {
        media_put32(file, 40);
        media_put32(file, 4);
        media_put32(file, i == 0 ? first : NOT_KEY);
    }
    media_box_end(file, box);
    media_box_end(file, traf);
    media_box_end(file, moof);
    box = media_box_begin(file, TYPE('m', 'd', 'a', 't'));
    media_put_zeros(file, 100);
    media_box_end(file, box);
    return (int64_t)begin;
}

static void test_fragments_become_ranges_at_key_frames(void **state)
{
    struct media_buffer file = {0}, out = {0};
    char line[200];
    int64_t at[6];
    (void)state;
    put_fragmented_moov(&file);
    refused(&file, file.size, ERROR_MALFORMED, "has no fragment");
    at[0] = put_fragment(&file, 1, 5000, KEY, 0);
    at[1] = put_fragment(&file, 1, 6000, KEY, 1);
    at[2] = put_fragment(&file, 2, 0, KEY, 0);      /* sound: goes with the range under way */
    at[3] = put_fragment(&file, 1, -1, NOT_KEY, 0); /* no key frame, and no time */
    at[4] = put_fragment(&file, 1, 8000, KEY, 2);
    at[5] = (int64_t)file.size;
    struct media_film *film = film_from(&file);
    assert_int_equal(film->kind, FILM_FRAGMENTED);
    assert_int_equal(film->ranges.count, 3);
    is_range(film, 0, at[0], at[1] - at[0], 1000);
    is_range(film, 1, at[1], at[4] - at[1], 2000);
    is_range(film, 2, at[4], at[5] - at[4], 1000);
    assert_int_equal(film->ranges.init_size, at[0]);
    assert_int_equal(film->ranges.start, 5000);
    assert_int_equal(film->ranges.timescale, 1000);
    assert_true(film->ranges.independent);
    assert_string_equal(film->ranges.codecs, "avc1.64001e,mp4a.40.2");
    assert_int_equal(film->ranges.width, 640);

    playlist(film, "m.m3u8", 0, &out);
    snprintf(line, sizeof(line),
             "#EXT-X-MAP:URI=\"file.mp4\",BYTERANGE=\"%d@0\"\n#EXTINF:1.000000,\n#EXT-X-BYTERANGE:%d@%"
             "d\nfile.mp4\n",
             (int)at[0], (int)(at[1] - at[0]), (int)at[0]);
    contains(&out, line);
    contains(&out, "#EXTINF:2.000000,\n");
    struct media_name name;
    assert_true(media_name_parse("v.m3u8", 6, &name) && !hls_media(film, &name, 0, &out));
    media_buffer_clear(&out);
    struct media_set set = {.count = 1};
    set.items[0].film = film;
    hls_master(&set, 0, &out);
    contains(&out, ",CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360\nm.m3u8\n");
    assert_false(dash_manifest(&set, 0, &out));
    media_buffer_clear(&out);
    media_info(film, "0003", film->size, "video/mp4", NULL, &out);
    contains(&out, "\"container\": \"fragmented mp4\"");
    contains(&out, "\"duration\": 4.0");
    contains(&out, "\"segments\": 3");
    media_buffer_clear(&out);
    media_film_release(film);
    media_buffer_clear(&file);
}

/* Where the last fragment begins, and its media data. */
static void a_cut_fragment_is_left_out(struct media_buffer *file, size_t begin, size_t count, int64_t offset,
                                       int64_t duration)
{
    size_t whole = file->size;
    for (size_t size = begin; size < whole; size++) {
        file->size = size;
        struct media_film *film = film_from(file);
        assert_int_equal(film->ranges.count, count);
        is_range(film, count - 1, offset, (int64_t)begin - offset, duration);
        media_film_release(film);
    }
    file->size = whole;
}

static void test_a_fragment_that_is_cut_off_is_left_out(void **state)
{
    struct media_buffer file = {0};
    int64_t at[5];
    (void)state;
    put_fragmented_moov(&file);
    at[0] = put_fragment(&file, 1, 5000, KEY, 0);
    for (size_t size = (size_t)at[0] + 16; size < file.size; size += 3)
        refused(&file, size, ERROR_MALFORMED,
                size < file.size - 108 ? "has no fragment" : "not one of its fragments is whole");
    at[1] = put_fragment(&file, 1, 6000, KEY, 1);
    a_cut_fragment_is_left_out(&file, (size_t)at[1], 1, at[0], 1000);
    at[2] = put_fragment(&file, 2, 0, KEY, 0); /* sound */
    a_cut_fragment_is_left_out(&file, (size_t)at[2], 2, at[1], 1000);
    at[3] = put_fragment(&file, 1, -1, NOT_KEY, 0); /* of the range under way */
    a_cut_fragment_is_left_out(&file, (size_t)at[3], 2, at[1], 1000);
    at[4] = put_fragment(&file, 1, 8000, KEY, 2);
    a_cut_fragment_is_left_out(&file, (size_t)at[4], 2, at[1], 2000);
    /* Two whose data follows them both. */
    size_t mdat = file.size - 108;
    struct media_buffer twice = {0};
    media_put(&twice, file.bytes + at[4], mdat - (size_t)at[4]);
    struct media_buffer data = {0};
    media_put(&data, file.bytes + mdat, 108);
    file.size = mdat;
    media_put(&file, twice.bytes, twice.size);
    media_put(&file, data.bytes, data.size);
    a_cut_fragment_is_left_out(&file, (size_t)at[4], 2, at[1], 2000);
    struct media_film *film = film_from(&file);
    is_range(film, film->ranges.count - 1, at[4], (int64_t)file.size - at[4], 1000);
    media_film_release(film);
    media_buffer_clear(&twice);
    media_buffer_clear(&data);
    media_buffer_clear(&file);
}

static void test_a_damaged_fragment_is_refused(void **state)
{
    struct media_buffer file = {0};
    (void)state;
    put_fragmented_moov(&file);
    put_fragment(&file, 1, 0, KEY, 2);
    for (size_t i = 0; i + 12 < file.size; i++) {
        if (media_get32(view_of(&file), i) == TYPE('t', 'r', 'u', 'n'))
            media_set32(&file, i + 8, 1000000);
    }
    refused(&file, file.size, ERROR_MALFORMED, "is damaged");
    media_buffer_clear(&file);
}

static void put_sidx(struct media_buffer *file, bool wide, uint32_t size, uint32_t count, uint32_t sap)
{
    size_t box = media_box_begin_full(file, TYPE('s', 'i', 'd', 'x'), wide ? 1 : 0, 0);
    media_put32(file, 1);
    media_put32(file, 90000);
    if (wide) {
        media_put64(file, 45000);
        media_put64(file, 0);
    } else {
        media_put32(file, 45000);
        media_put32(file, 0);
    }
    media_put16(file, 0);
    media_put16(file, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        media_put32(file, size);
        media_put32(file, 54000); /* 0.6 s: two of them are a segment */
        media_put32(file, sap);
    }
    media_box_end(file, box);
}

static void test_a_segment_index_says_the_ranges(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        struct media_buffer file = {0};
        put_fragmented_moov(&file);
        size_t init = file.size;
        put_sidx(&file, wide, 1000, 5, 0x90000000);
        int64_t at = (int64_t)file.size;
        media_put_zeros(&file, 5000);
        struct media_film *film = film_from(&file);
        assert_int_equal(film->ranges.count, 3);
        is_range(film, 0, at, 2000, 108000);
        is_range(film, 1, at + 2000, 2000, 108000);
        is_range(film, 2, at + 4000, 1000, 54000);
        assert_int_equal(film->ranges.timescale, 90000);
        assert_int_equal(film->ranges.start, 45000);
        assert_int_equal(film->ranges.init_size, init);
        media_film_release(film);
        media_buffer_clear(&file);
    }
    /* One that does not say where key frames are, or not all: the fragments themselves are looked at. */
    for (int i = 0; i < 3; i++) {
        struct media_buffer file = {0};
        put_fragmented_moov(&file);
        put_sidx(&file, false, i == 1 ? 1000000 : i == 2 ? 0x80000100 : 100, 1, i == 0 ? 0 : 0x90000000);
        put_fragment(&file, 1, 0, KEY, 0);
        struct media_film *film = film_from(&file);
        assert_int_equal(film->ranges.count, 1);
        assert_int_equal(film->ranges.timescale, 1000);
        assert_int_equal(film->ranges.items[0].duration, 1000);
        media_film_release(film);
        media_buffer_clear(&file);
    }
}

/* ---- transport streams ---- */

static void put_packet(struct media_buffer *file, uint16_t pid, bool random_access, const char *payload,
                       size_t size)
{
    size_t stuffing = 183 - size;
    assert_true(size < 182);
    media_put8(file, 0x47);
    media_put16(file, 0x4000 | pid);
    media_put8(file, 0x30);
    media_put8(file, (uint8_t)stuffing);
    media_put8(file, random_access ? 0x40 : 0);
    for (size_t i = 1; i < stuffing; i++)
        media_put8(file, 0xff);
    media_put(file, payload, size);
}

static void put_tables(struct media_buffer *file, uint8_t video_type, uint8_t audio_type)
{
    char pmt[] = "\0\2\xb0\x17\0\1\xc1\0\0\xe1\1\xf0\0\0\xe1\1\xf0\0\0\xe1\2\xf0\0CRC4";
    put_packet(file, 0, false, CONFIG("\0\0\xb0\x0d\0\1\xc1\0\0\0\1\xe1\0CRC4"));
    pmt[13] = (char)video_type;
    pmt[18] = (char)audio_type;
    put_packet(file, 0x100, false, pmt, sizeof(pmt) - 1);
}

static void put_pes(struct media_buffer *file, uint16_t pid, bool random_access, int64_t time,
                    const char *data, size_t size)
{
    struct media_buffer pes = {0};
    media_put(&pes, CONFIG("\0\0\1\xe0\0\0\x80\x80\5"));
    media_put8(&pes, (uint8_t)(0x21 | (time >> 30 & 7) << 1));
    media_put16(&pes, (uint16_t)((time >> 15 & 0x7fff) << 1 | 1));
    media_put16(&pes, (uint16_t)((time & 0x7fff) << 1 | 1));
    media_put(&pes, data, size);
    put_packet(file, pid, random_access, (const char *)pes.bytes, pes.size);
    media_buffer_clear(&pes);
}

/* Three seconds from START on, with a key frame each second and another picture half a second later. */
static void put_ts(struct media_buffer *file, uint8_t video_type, uint8_t audio_type, int64_t start,
                   const char *key, size_t size)
{
    for (int i = 0; i < 3; i++) {
        put_tables(file, video_type, audio_type);
        put_pes(file, 0x101, false, start + i * 90000, key, size);
        put_pes(file, 0x101, false, start + i * 90000 + 45000, CONFIG("\0\0\1\x02\x01\0\0"));
    }
}

static void test_a_transport_stream_becomes_ranges(void **state)
{
    static const struct {
        uint8_t video, audio;
        const char *key;
        size_t size;
        const char *codecs;
    } streams[] = {
        {0x1b, 0x0f, CONFIG("\0\0\0\1\x09\x10\0\0\0\1\x67\x64\0\x1f\xac"), "avc1.64001f,mp4a.40.2"},
        {0x1b, 0x81, CONFIG("\0\0\1\x67\x4d\x40\x28\xac"), "avc1.4d4028,ac-3"},
        {0x1b, 0x04, CONFIG("\0\0\1\x67\x4d\x40\x28\xac"), "avc1.4d4028,mp4a.40.34"},
        {0x1b, 0x11, CONFIG("\0\0\1\x67\x4d\x40\x28\xac"), ""},
        {0x1b, 0x06, CONFIG("\0\0\1\x67\x4d\x40\x28\xac"), "avc1.4d4028"},
        {0x24, 0x0f, CONFIG("\0\0\1\x40\1\x0c\1"), ""},
        {0x02, 0x03, CONFIG("\0\0\1\xb3\x2d\0\0"), ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
        /* The second one's time stamps wrap after half a second. */
        int64_t start = i == 1 ? (INT64_C(1) << 33) - 45000 : 90000;
        struct media_buffer file = {0}, out = {0};
        put_ts(&file, streams[i].video, streams[i].audio, start, streams[i].key, streams[i].size);
        assert_int_equal(file.size, 12 * 188);
        struct media_film *film = film_from(&file);
        assert_int_equal(film->kind, FILM_TS);
        assert_int_equal(film->ranges.count, 3);
        is_range(film, 0, 0, 752, 90000);
        is_range(film, 1, 752, 752, 90000);
        is_range(film, 2, 1504, 752, 48600);
        assert_int_equal(film->ranges.start, start);
        assert_int_equal(film->ranges.init_size, 0);
        assert_true(film->ranges.independent);
        assert_string_equal(film->ranges.codecs, streams[i].codecs);
        playlist(film, "2-m.m3u8", 0, &out);
        contains(&out, "#EXT-X-TARGETDURATION:1\n");
        contains(&out, "#EXTINF:1.000000,\n#EXT-X-BYTERANGE:752@752\n2-file.ts\n#EXTINF:0.540000,\n"
                       "#EXT-X-BYTERANGE:752@1504\n2-file.ts\n#EXT-X-ENDLIST\n");
        media_buffer_clear(&out);
        media_info(film, "0004", film->size, "video/mp2t", NULL, &out);
        contains(&out, "\"container\": \"mpeg-ts\"");
        contains(&out, "\"duration\": 2.54");
        media_buffer_clear(&out);
        media_film_release(film);
        media_buffer_clear(&file);
    }
}

static void test_transport_streams_that_lack_something(void **state)
{
    struct media_buffer file = {0};
    (void)state;
    /* Tables at the beginning alone: they are an initialization segment. Key frames by the random access indicator. */
    put_tables(&file, 0x1b, 0x0f);
    for (int i = 0; i < 4; i++)
        put_pes(&file, 0x101, i != 0, i * 90000, CONFIG("\0\0\1\x01\1"));
    struct media_film *film = film_from(&file);
    assert_int_equal(film->ranges.init_size, 376);
    assert_int_equal(film->ranges.count, 4);
    assert_false(film->ranges.independent);
    media_film_release(film);
    /* Key frames too far apart; then a lost packet. */
    put_pes(&file, 0x101, true, 90000 * 100, CONFIG("\0\0\1\x01\1"));
    refused(&file, file.size, ERROR_UNKNOWN_COMMAND, "97 s apart");
    media_put_zeros(&file, 188);
    refused(&file, file.size, ERROR_MALFORMED, "loses its packets at byte 1316");
    media_buffer_clear(&file);
    /* Sound alone, in which every frame is a beginning. */
    put_tables(&file, 0x06, 0x0f);
    put_pes(&file, 0x102, false, 0, CONFIG("\xff\xf1"));
    put_pes(&file, 0x102, false, 90000, CONFIG("\xff\xf1"));
    film = film_from(&file);
    assert_string_equal(film->ranges.codecs, "mp4a.40.2");
    assert_int_equal(film->ranges.count, 2);
    is_range(film, 0, 0, 564, 90000);
    media_film_release(film);
    media_buffer_clear(&file);
    /* Nothing known in it. */
    put_tables(&file, 0x06, 0x06);
    refused(&file, file.size, ERROR_UNKNOWN_COMMAND, "neither video nor audio");
    media_buffer_clear(&file);
}

static void test_other_files_are_told_apart(void **state)
{
    struct media_buffer file = {0}, out = {0};
    (void)state;
    media_put_text(&file, "1\n00:00:01,000 --> 00:00:02,000\nHello\n");
    struct media_film *film = film_from(&file);
    assert_int_equal(film->kind, FILM_SUBTITLE);
    media_info(film, "0005", film->size, "text/plain", NULL, &out);
    contains(&out, "\"container\": \"subtitles\"");
    media_buffer_clear(&out);
    media_film_release(film);
    media_buffer_clear(&file);
    media_put_text(&file, "\xef\xbb\xbfWEBVTT\n");
    film = film_from(&file);
    assert_int_equal(film->kind, FILM_SUBTITLE);
    media_film_release(film);
    media_buffer_clear(&file);
    media_put_text(&file, "anything else");
    refused(&file, file.size, ERROR_UNKNOWN_COMMAND, "neither an MP4");
    media_buffer_clear(&file);
    size_t box = media_box_begin(&file, TYPE('f', 't', 'y', 'p'));
    media_put_text(&file, "isom");
    media_put32(&file, 0);
    media_box_end(&file, box);
    refused(&file, file.size, ERROR_MALFORMED, "has no index");
    media_put32(&file, 0);
    media_put_text(&file, "mda\t");
    media_put_zeros(&file, 16);
    refused(&file, file.size, ERROR_MALFORMED, "top level is damaged");
    media_buffer_clear(&file);
}

/* ---- initialization segments ---- */

static void test_an_initialization_segment_has_the_description_of_the_file(void **state)
{
    struct media_buffer out = {0};
    struct mp4_part parts[MP4_PARTS_MAX];
    struct media_box box, mvex, trex;
    struct media_film *film = film_of_many();
    (void)state;
    assert_int_equal(media_stream_parts(film, STREAM_AUDIO, 2, UINT32_MAX, parts), 1);
    mp4_fragment_init(film->index, parts, 1, &out);
    struct media_view rest = view_of(&out);
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('f', 't', 'y', 'p'));
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('m', 'o', 'o', 'v'));
    assert_int_equal(rest.size, 0);
    assert_true(media_box_find(box.body, TYPE('m', 'v', 'e', 'x'), &mvex));
    assert_true(media_box_find(mvex.body, TYPE('t', 'r', 'e', 'x'), &trex));
    assert_int_equal(media_get32(trex.body, 8), 1);
    struct media_view entry = film->index->tracks[2].descriptions[0].entry;
    assert_non_null(memmem(box.body.bytes, box.body.size, entry.bytes, entry.size));
    media_buffer_clear(&out);
    media_film_release(film);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec_strings_are_those_of_the_specifications),
        cmocka_unit_test(test_what_no_player_takes_is_refused_and_covers_are_seen),
        cmocka_unit_test(test_renditions_and_sounds_are_listed),
        cmocka_unit_test(test_descriptions_of_quicktime_are_read),
        cmocka_unit_test(test_sound_alone_is_a_variant_of_its_own),
        cmocka_unit_test(test_info_names_every_track),
        cmocka_unit_test(test_timed_text_becomes_webvtt),
        cmocka_unit_test(test_a_compressed_text_is_what_it_was),
        cmocka_unit_test(test_fragments_become_ranges_at_key_frames),
        cmocka_unit_test(test_a_fragment_that_is_cut_off_is_left_out),
        cmocka_unit_test(test_a_damaged_fragment_is_refused),
        cmocka_unit_test(test_a_segment_index_says_the_ranges),
        cmocka_unit_test(test_a_transport_stream_becomes_ranges),
        cmocka_unit_test(test_transport_streams_that_lack_something),
        cmocka_unit_test(test_other_files_are_told_apart),
        cmocka_unit_test(test_an_initialization_segment_has_the_description_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
