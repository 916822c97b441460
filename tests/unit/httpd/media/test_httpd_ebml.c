/*
 * Unit tests of Matroska and WebM in httpd/media: elements, tracks of every codec, clusters with every kind of lace, cues and their
 * absence, segments read back as fragmented MP4, damaged files.
 */
#include "httpd/media/dash_manifest.h"
#include "httpd/media/ebml_clusters.h"
#include "httpd/media/ebml_entry.h"
#include "httpd/media/ebml_frames.h"
#include "httpd/media/ebml_segment.h"
#include "httpd/media/ebml_texts.h"
#include "httpd/media/gzip_text.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_info.h"
#include "httpd/media/media_walk.h"
#include "tests/unit/library/mkv_maker.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TYPE MEDIA_TYPE

/* ---- walking and cutting ---- */

static int64_t bytes_read;

static struct media_film *walk_file(struct media_view file, struct error *error)
{
    struct media_walk_options options = {.size = (int64_t)file.size, .segment_ms = 6000, .moov_max = 1 << 20};
    struct media_walk *walk = media_walk_create(&options);
    struct media_film *film = NULL;
    enum walk_step step;
    assert_non_null(walk);
    *error = (struct error){.text = ""};
    bytes_read = 0;
    do {
        int64_t offset, size;
        media_walk_wanted(walk, &offset, &size);
        assert_true(offset >= 0 && size > 0 && offset + size <= (int64_t)file.size);
        bytes_read += size;
        step = media_walk_feed(walk, media_view_part(file, (size_t)offset, (size_t)size), &film, error);
    } while (step == WALK_READ);
    media_walk_destroy(walk);
    assert_int_equal(step == WALK_DONE, film != NULL);
    return film;
}

static struct media_film *film_of(const struct mkv_maker *maker, struct media_buffer *file)
{
    struct error error;
    *file = (struct media_buffer){0};
    mkv_maker_film(file, maker);
    assert_false(file->failed);
    struct media_film *film = walk_file((struct media_view){file->bytes, file->size}, &error);
    if (!film)
        fail_msg("refused: %s", error.text);
    assert_int_equal(film->kind, FILM_MATROSKA);
    return film;
}

static void refused_as(const struct mkv_maker *maker, int code, const char *why)
{
    struct error error;
    struct media_buffer file = {0};
    mkv_maker_film(&file, maker);
    assert_null(walk_file((struct media_view){file.bytes, file.size}, &error));
    if (error.code != code || !strstr(error.text, why))
        fail_msg("refused with %d, %s", error.code, error.text);
    media_buffer_clear(&file);
}

static enum walk_step read_segment(const struct media_film *film, struct media_view file,
                                   enum media_stream stream, unsigned track, uint32_t number,
                                   struct media_buffer *out, struct error *error)
{
    struct mp4_part parts[MP4_PARTS_MAX];
    struct ebml_segment_options options = {
        .film = film, .number = number, .key_only = stream == STREAM_KEYS, .bytes_max = INT64_C(48) << 20};
    options.count = media_stream_parts(film, stream, track, number, parts);
    assert_true(options.count > 0);
    for (size_t i = 0; i < options.count; i++)
        options.tracks[i] = (size_t)(parts[i].track - film->index->tracks);
    struct ebml_segment *segment = ebml_segment_create(&options);
    enum walk_step step;
    assert_non_null(segment);
    *out = (struct media_buffer){0};
    *error = (struct error){.text = ""};
    do {
        int64_t offset, size;
        ebml_segment_wanted(segment, &offset, &size);
        assert_true(offset >= 0 && size > 0 && offset + size <= (int64_t)file.size);
        step = ebml_segment_feed(segment, media_view_part(file, (size_t)offset, (size_t)size), out, error);
    } while (step == WALK_READ);
    ebml_segment_destroy(segment);
    return step;
}

/* ---- subtitles ---- */

static const struct mkv_maker with_text = {
    .cues = true, .seeks = true, .seconds = 6, .text = "S_TEXT/UTF8", .text_cues = true};
#define VIEW(text) ((struct media_view){(const uint8_t *)(text), sizeof(text) - 1})

/* The WebVTT of the last track; how many bytes were read for it is in bytes_read. */
static enum walk_step read_texts(const struct mkv_maker *maker, struct media_buffer *out, struct error *error)
{
    struct media_buffer file;
    struct media_film *film = film_of(maker, &file);
    size_t track = film->index->track_count - 1, count;
    assert_int_equal(film->index->tracks[track].kind, MEDIA_SUBTITLE);
    assert_string_equal(film->index->tracks[track].language, "fra");
    struct ebml_texts *texts = ebml_texts_create(film, track);
    enum walk_step step;
    assert_non_null(texts);
    bytes_read = 0;
    *out = (struct media_buffer){0};
    do {
        struct media_buffer bytes = {0};
        const struct mp4_piece *pieces = ebml_texts_wanted(texts, &count);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(pieces[i].offset >= 0 && pieces[i].size > 0 &&
                        pieces[i].offset + pieces[i].size <= (int64_t)file.size);
            media_put(&bytes, file.bytes + pieces[i].offset, (size_t)pieces[i].size);
            bytes_read += pieces[i].size;
        }
        step = ebml_texts_feed(texts, (struct media_view){bytes.bytes, bytes.size}, out, error);
        media_buffer_clear(&bytes);
    } while (step == WALK_READ);
    ebml_texts_destroy(texts);
    media_film_release(film);
    media_buffer_clear(&file);
    return step;
}

/* TEXT is what each of the three cues shows. */
static void assert_texts(const struct mkv_maker *maker, const char *text)
{
    static const char *const times[] = {"00:00:00.500 --> 00:00:02.000", "00:00:02.500 --> 00:00:04.000",
                                        "00:00:04.500 --> 00:00:06.000"};
    struct media_buffer out, expected = {0};
    struct error error;
    if (read_texts(maker, &out, &error) != WALK_DONE)
        fail_msg("refused: %s", error.text);
    media_put_text(&expected, "WEBVTT\n");
    for (size_t i = 0; text && i < ARRAY_SIZE(times); i++) {
        media_printf(&expected, "\n%s", times[i]);
        media_put_text(&expected, text);
        media_put8(&expected, '\n');
    }
    media_put8(&out, 0);
    media_put8(&expected, 0);
    assert_string_equal((const char *)out.bytes, (const char *)expected.bytes);
    media_buffer_clear(&out);
    media_buffer_clear(&expected);
}

static void test_subtitles_are_read_where_the_cues_say(void **state)
{
    struct mkv_maker maker = with_text;
    char text[3000], shown[3001];
    (void)state;
    maker.text_frame = VIEW("Hello & <font x>you</font>\r\n\r\n<i>there</i>");
    assert_texts(&maker, "\nHello &amp; you\n<i>there</i>");
    assert_true(bytes_read < 10000);
    /* One that is longer than what is read at first. */
    memset(text, 'x', sizeof(text));
    snprintf(shown, sizeof(shown), "\n%.2999s", text);
    maker.text_frame = (struct media_view){(const uint8_t *)text, 2999};
    assert_texts(&maker, shown);
    assert_true(bytes_read < 30000);
}

static void test_subtitles_are_looked_for_where_the_cues_say_nothing_or_wrong(void **state)
{
    struct mkv_maker maker = with_text;
    (void)state;
    maker.text_frame = VIEW("Hello");
    maker.text_cues = false;
    assert_texts(&maker, "\nHello");
    assert_true(bytes_read > 100000);
    maker.text_cues = true;
    maker.text_shift = 3;
    assert_texts(&maker, "\nHello");
    maker.text_shift = 1 << 30;
    assert_texts(&maker, "\nHello");
    maker.cues = maker.seeks = false;
    maker.unknown = true;
    assert_texts(&maker, "\nHello");
}

static void test_each_kind_of_subtitles_becomes_webvtt(void **state)
{
    struct mkv_maker maker = with_text;
    (void)state;
    maker.text = "S_TEXT/ASS";
    maker.text_frame =
        VIEW("7,0,Default,,0,0,0,,{\\pos(1,2)\\i1}One, two{\\i0}\\Nthree\\h<4>{\\p1}m 0 0 l 1 1{\\p0} {open");
    assert_texts(&maker, "\nOne, two\nthree  {open");
    maker.text_frame = VIEW("7,0,Default");
    assert_texts(&maker, NULL);
    maker.text_frame = VIEW("7,0,Default,,0,0,0,,{\\p4}m 0 0 l 1 1");
    assert_texts(&maker, NULL);
    maker.text = "S_TEXT/WEBVTT";
    maker.text_frame = VIEW("<v Ann>Hello\n\n00:01.000 --> 00:02.000\n&amp;");
    assert_texts(&maker, "\n<v Ann>Hello\n&amp;");
    maker.text = "D_WEBVTT/SUBTITLES";
    maker.text_frame = VIEW("id\nline:10% align:start\nHello");
    assert_texts(&maker, " line:10% align:start\nHello");
    maker.text_frame = VIEW("\n-->\nHello");
    assert_texts(&maker, "\nHello");
    maker.text_frame = VIEW("");
    assert_texts(&maker, NULL);
}

static void test_subtitles_that_are_compressed_are_unpacked(void **state)
{
    struct mkv_maker maker = with_text;
    struct media_buffer encodings = {0}, out;
    struct error error;
    /* python3 -c "import zlib; print(zlib.compress(b'Hello'))" */
    static const uint8_t packed[] = {0x78, 0x9c, 0xf3, 0x48, 0xcd, 0xc9, 0xc9,
                                     0x07, 0x00, 0x05, 0x8c, 0x01, 0xf5};
    (void)state;
    size_t encoding = mkv_begin(&encodings, 0x6240), compression = mkv_begin(&encodings, 0x5034);
    mkv_number(&encodings, 0x4254, 0);
    mkv_end(&encodings, compression);
    mkv_end(&encodings, encoding);
    maker.text_encodings = (struct media_view){encodings.bytes, encodings.size};
    maker.text_frame = (struct media_view){packed, sizeof(packed)};
    assert_texts(&maker, "\nHello");
    maker.text_frame.size--;
    assert_int_equal(read_texts(&maker, &out, &error), WALK_DONE); /* damaged lines are left out */
    assert_int_equal(out.size, 7);
    media_buffer_clear(&out);
    media_buffer_clear(&encodings);
    encodings = (struct media_buffer){0};
    assert_false(inflate_text((struct media_view){packed, sizeof(packed)}, 4, &encodings));
    media_buffer_clear(&encodings);
}

static void test_too_many_subtitles_are_refused_with_their_limit(void **state)
{
    struct mkv_maker maker = with_text;
    struct media_buffer frame = {0}, out;
    struct error error;
    (void)state;
    for (int i = 0; i < 60000; i++)
        media_put8(&frame, 'a');
    maker.text_frame = (struct media_view){frame.bytes, frame.size};
    maker.seconds = 2 * 69; /* of 60,000 bytes each */
    assert_int_equal(read_texts(&maker, &out, &error), WALK_DONE);
    media_buffer_clear(&out);
    maker.seconds += 2;
    assert_int_equal(read_texts(&maker, &out, &error), WALK_REFUSED);
    assert_int_equal(error.code, ERROR_UNKNOWN_COMMAND);
    assert_string_equal(
        error.text,
        "its subtitles of one language have more than 4194304 bytes, which are too many for a stream");
    media_buffer_clear(&out);
    media_buffer_clear(&frame);
}

static void test_subtitles_that_are_pictures_are_no_track(void **state)
{
    struct mkv_maker maker = with_text;
    struct media_buffer file;
    (void)state;
    maker.text = "S_HDMV/PGS";
    struct media_film *film = film_of(&maker, &file);
    assert_int_equal(film->index->track_count, 2);
    media_film_release(film);
    media_buffer_clear(&file);
}

/* ---- what a segment says, read back ---- */

struct heard {
    uint32_t count;
    int64_t begin, end; /* decoding times */
    int64_t shown[512];
    uint32_t first_flags;
    uint8_t first_byte[512]; /* of each sample */
};

static void read_run(struct media_view segment, size_t moof, struct media_view trun, uint32_t duration,
                     struct heard *heard)
{
    uint32_t flags = media_get24(trun, 1), count = media_get32(trun, 4);
    size_t at = 12, place = moof + media_get32(trun, 8);
    assert_true((flags & 1) != 0);
    if ((flags & 4) != 0) {
        if (heard->count == 0)
            heard->first_flags = media_get32(trun, at);
        at += 4;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t own = duration, size;
        int32_t cts = 0;
        if ((flags & 0x100) != 0) {
            own = media_get32(trun, at);
            at += 4;
        }
        size = media_get32(trun, at);
        at += 4;
        if ((flags & 0x800) != 0) {
            cts = (int32_t)media_get32(trun, at);
            at += 4;
        }
        assert_true(heard->count < 512 && place + size <= segment.size);
        heard->first_byte[heard->count] = media_get8(segment, place);
        heard->shown[heard->count++] = heard->end + cts;
        heard->end += own;
        place += size;
    }
}

/* Track ID of a segment, 1 or 2; none of it where COUNT stays 0. */
static void hear(const struct media_buffer *made, uint32_t id, struct heard *heard)
{
    struct media_view segment = {made->bytes, made->size}, rest = segment;
    struct media_box box, moof, traf, tfhd, tfdt, trun;
    memset(heard, 0, sizeof(*heard));
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('s', 't', 'y', 'p'));
    assert_true(media_box_next(&rest, &moof) && moof.type == TYPE('m', 'o', 'o', 'f'));
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('m', 'd', 'a', 't'));
    assert_int_equal(rest.size, 0);
    rest = moof.body;
    while (media_box_next(&rest, &traf)) {
        if (traf.type != TYPE('t', 'r', 'a', 'f'))
            continue;
        assert_true(media_box_find(traf.body, TYPE('t', 'f', 'h', 'd'), &tfhd));
        if (media_get32(tfhd.body, 4) != id)
            continue;
        assert_true(media_box_find(traf.body, TYPE('t', 'f', 'd', 't'), &tfdt));
        heard->begin = heard->end = (int64_t)media_get64(tfdt.body, 4);
        uint32_t duration = (media_get24(tfhd.body, 1) & 8) != 0 ? media_get32(tfhd.body, 8) : 0;
        struct media_view runs = traf.body;
        while (media_box_next(&runs, &trun)) {
            if (trun.type == TYPE('t', 'r', 'u', 'n'))
                read_run(segment, (size_t)(moof.whole.bytes - segment.bytes), trun.body, duration, heard);
        }
    }
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

/* All segments of a film of SECONDS, together: every picture and every frame of sound once, at its time. */
static void check_all(const struct mkv_maker *maker, bool exact)
{
    struct media_buffer file, made;
    struct media_film *film = film_of(maker, &file);
    struct media_view view = {file.bytes, file.size};
    struct heard picture, sound;
    struct error error;
    int64_t pictures[4096], next = 0, sound_next = 0;
    size_t count = 0;
    bool has_sound = !maker->audio || maker->audio[0] != '\0';
    assert_int_equal(film->cut->count, (maker->seconds + 5) / 6);
    for (uint32_t i = 0; i < film->cut->count; i++) {
        assert_int_equal(
            read_segment(film, view, has_sound ? STREAM_MUXED : STREAM_VIDEO, 0, i, &made, &error),
            WALK_DONE);
        hear(&made, 1, &picture);
        hear(&made, 2, &sound);
        assert_int_equal(picture.first_flags, 0x02000000);
        assert_int_equal(picture.begin, next);
        assert_int_equal(picture.first_byte[0], (uint8_t)(count));
        next = picture.end;
        for (uint32_t n = 0; n < picture.count; n++)
            pictures[count++] = picture.shown[n];
        if (has_sound && exact) {
            assert_int_equal(sound.begin, sound_next);
            sound_next = sound.end;
        }
        media_buffer_clear(&made);
    }
    assert_int_equal(count, maker->seconds * 25);
    qsort(pictures, count, sizeof(pictures[0]), compare);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pictures[i], i * 40);
    if (has_sound && exact)
        assert_true(sound_next >= maker->seconds * 48000 && sound_next < maker->seconds * 48000 + 4096);
    media_film_release(film);
    media_buffer_clear(&file);
}

static const struct mkv_maker plain = {.cues = true, .seeks = true, .seconds = 20};

static void test_segments_are_cut_at_cues(void **state)
{
    (void)state;
    check_all(&plain, true);
    struct mkv_maker maker = plain;
    maker.seconds = 60;
    struct media_buffer file;
    struct media_film *film = film_of(&maker, &file);
    assert_true(bytes_read < (int64_t)file.size * 2 / 3); /* not all of it */
    assert_true(film->memory < 20000);
    media_film_release(film);
    media_buffer_clear(&file);
}

static void test_times_of_pictures_that_are_reordered(void **state)
{
    struct mkv_maker maker = plain;
    (void)state;
    maker.reorder = true;
    check_all(&maker, true);
    maker.groups = true;
    check_all(&maker, true);
    maker.audio = "";
    check_all(&maker, true);
}

static void test_a_cluster_that_begins_between_key_frames(void **state)
{
    struct mkv_maker maker = plain;
    (void)state;
    maker.key_inside = true;
    check_all(&maker, true);
    maker.key_inside = false;
    maker.long_clusters = true; /* the second of two key frames */
    check_all(&maker, true);
}

static void test_sound_that_is_laced(void **state)
{
    struct mkv_maker maker = plain;
    (void)state;
    for (maker.lacing = 1; maker.lacing <= 3; maker.lacing++)
        check_all(&maker, true);
}

static void test_sizes_of_laced_frames(void **state)
{
    static const uint8_t cluster[] = {0x1f, 0x43, 0xb6, 0x75, 0x98, 0xe7, 0x81, 5, 0xa3, 0x93,
                                      /* track 2, 1 tick later, EBML laces: 4, 4 - 2, 2 + 1 bytes, the rest */
                                      0x82, 0, 1, 0x86, 3, 0x84, 0xbd, 0xc0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4};
    static const size_t sizes[] = {4, 2, 3, 2};
    struct ebml_clusters clusters;
    struct ebml_block block;
    struct error error;
    int64_t wanted;
    (void)state;
    struct media_view file = {cluster, sizeof(cluster)};
    ebml_clusters_open(&clusters, 0, sizeof(cluster), false);
    assert_int_equal(ebml_clusters_next(&clusters, file, 0, &block, &wanted, &error), EBML_BLOCK);
    assert_int_equal(block.track, 2);
    assert_int_equal(block.time, 6);
    assert_true(block.key);
    assert_int_equal(block.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(block.frames[i].size, sizes[i]);
        assert_int_equal(block.frames[i].bytes[0], i + 1);
    }
    assert_int_equal(ebml_clusters_next(&clusters, file, 0, &block, &wanted, &error), EBML_END);
}

static void test_without_cues_everything_is_read(void **state)
{
    struct mkv_maker maker = plain;
    (void)state;
    maker.cues = false;
    check_all(&maker, true); /* the seek head leads behind the end */
    maker.seeks = false;
    maker.unknown = true; /* as a browser records */
    maker.no_duration = true;
    check_all(&maker, true);
    maker.cues = maker.seeks = true;
    check_all(&maker, true);
}

static void test_pictures_that_lead_their_key_frame(void **state)
{
    struct media_buffer file, made, text = {0};
    struct mkv_maker maker = plain;
    struct media_set set = {.count = 1};
    struct heard picture;
    struct error error;
    (void)state;
    maker.leading = true;
    struct media_film *film = film_of(&maker, &file);
    assert_true(film->cut->open_gop);
    set.items[0].film = film;
    hls_master(&set, 0, &text);
    media_put8(&text, 0);
    assert_null(strstr((const char *)text.bytes, "INDEPENDENT"));
    assert_int_equal(
        read_segment(film, (struct media_view){file.bytes, file.size}, STREAM_VIDEO, 0, 1, &made, &error),
        WALK_DONE);
    hear(&made, 1, &picture);
    assert_int_equal(picture.begin, 6000);
    assert_int_equal(picture.shown[0], 6080);
    assert_int_equal(picture.shown[1], 6000);
    media_buffer_clear(&made);
    media_buffer_clear(&text);
    media_buffer_clear(&file);
    media_film_release(film);
}

static void test_one_key_frame_and_one_track(void **state)
{
    struct media_buffer file, made;
    struct heard heard;
    struct error error;
    (void)state;
    struct media_film *film = film_of(&plain, &file);
    struct media_view view = {file.bytes, file.size};
    assert_int_equal(read_segment(film, view, STREAM_KEYS, 0, 2, &made, &error), WALK_DONE);
    hear(&made, 1, &heard);
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.begin, 12000);
    assert_int_equal(heard.end, 12040);
    assert_int_equal(heard.first_byte[0], (uint8_t)300);
    media_buffer_clear(&made);
    assert_int_equal(read_segment(film, view, STREAM_AUDIO, 1, 2, &made, &error), WALK_DONE);
    hear(&made, 2, &heard);
    assert_int_equal(heard.count, 0);
    hear(&made, 1, &heard);
    assert_int_equal(heard.begin % 1024, 0);
    assert_in_range(heard.count, 280, 283);
    media_buffer_clear(&made);
    media_film_release(film);
    media_buffer_clear(&file);
}

static void test_a_segment_without_sound_says_so(void **state)
{
    struct media_buffer file, made;
    struct mkv_maker maker = plain;
    struct heard heard;
    struct error error;
    (void)state;
    struct media_film *film = film_of(&maker, &file);
    film->ebml->tracks.items[1].number = 77; /* whose blocks are nowhere */
    assert_int_equal(
        read_segment(film, (struct media_view){file.bytes, file.size}, STREAM_AUDIO, 1, 1, &made, &error),
        WALK_DONE);
    hear(&made, 1, &heard);
    assert_int_equal(heard.count, 0);
    assert_int_equal(heard.begin, 6 * 48000);
    media_buffer_clear(&made);
    media_film_release(film);
    media_buffer_clear(&file);
}

static void test_delay_and_stripped_bytes(void **state)
{
    static const uint8_t strip[] = {0xff, 0xfb};
    struct media_buffer file, made, encodings = {0};
    struct mkv_maker maker = plain;
    struct heard heard;
    struct error error;
    (void)state;
    size_t encoding = mkv_begin(&encodings, 0x6240);
    size_t compression = mkv_begin(&encodings, 0x5034);
    mkv_number(&encodings, 0x4254, 3);
    mkv_bytes(&encodings, 0x4255, strip, sizeof(strip));
    mkv_end(&encodings, compression);
    mkv_end(&encodings, encoding);
    maker.encodings = (struct media_view){encodings.bytes, encodings.size};
    maker.audio = "A_MPEG/L3";
    maker.delay_ns = 21333333;
    struct media_film *film = film_of(&maker, &file);
    assert_string_equal(film->index->tracks[1].descriptions[0].codec.codecs, "mp4a.6b");
    assert_int_equal(
        read_segment(film, (struct media_view){file.bytes, file.size}, STREAM_AUDIO, 1, 0, &made, &error),
        WALK_DONE);
    hear(&made, 1, &heard);
    assert_int_equal(heard.first_byte[0], 0xff);
    assert_int_equal(heard.shown[0], -1023);
    media_buffer_clear(&made);
    media_film_release(film);
    media_buffer_clear(&file);
    encodings.bytes[encodings.size - sizeof(strip) - 10 - 1] = 0; /* the algorithm: zlib */
    refused_as(&maker, ERROR_UNKNOWN_COMMAND, "compressed a second time");
    media_buffer_clear(&encodings);
    size_t encrypted = mkv_begin(&encodings, 0x6240);
    mkv_number(&encodings, 0x5033, 1);
    mkv_end(&encodings, encrypted);
    maker.encodings = (struct media_view){encodings.bytes, encodings.size};
    refused_as(&maker, ERROR_UNKNOWN_COMMAND, "encrypted");
    media_buffer_clear(&encodings);
}

/* ---- playlists ---- */

static void test_playlists_are_made_of_cues(void **state)
{
    struct media_buffer file, text = {0};
    struct media_set set = {.count = 1};
    (void)state;
    struct media_film *film = film_of(&plain, &file);
    set.items[0].film = film;
    hls_master(&set, 0, &text);
    struct media_name name = {.resource = MEDIA_PLAYLIST, .stream = STREAM_MUXED};
    assert_true(hls_media(film, &name, 20, &text));
    name.stream = STREAM_TEXT;
    assert_false(hls_media(film, &name, 20, &text));
    assert_true(dash_manifest(&set, media_set_disagreeing(&set), &text));
    media_info(film, "film.mkv", film->size, "video/x-matroska", "", &text);
    media_put8(&text, 0);
    const char *const wanted[] = {"CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=25.000",
                                  "#EXT-X-INDEPENDENT-SEGMENTS",
                                  "#EXTINF:6.000000,\nm-2.m4s\n#EXTINF:2.000000,\nm-3.m4s\n#EXT-X-ENDLIST",
                                  "<S t=\"0\" d=\"6000\" r=\"2\"/><S d=\"2000\"/>",
                                  "<S t=\"0\" d=\"288000\" r=\"2\"/><S d=\"96000\"/>",
                                  "lang=\"de\"",
                                  "\"container\": \"matroska\"",
                                  "\"title\": \"Main sound\"",
                                  "\"frame_rate\": 25.0"};
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (!strstr((const char *)text.bytes, wanted[i]))
            fail_msg("%s is not in %s", wanted[i], (const char *)text.bytes);
    }
    media_buffer_clear(&text);
    media_film_release(film);
    media_buffer_clear(&file);
}

static void test_initialization_segments(void **state)
{
    struct media_buffer file, init = {0};
    struct mp4_part parts[MP4_PARTS_MAX];
    struct error error;
    (void)state;
    struct media_film *film = film_of(&plain, &file);
    assert_int_equal(media_stream_parts(film, STREAM_MUXED, 0, UINT32_MAX, parts), 2);
    mp4_fragment_init(film->index, parts, 2, &init);
    struct media_box moov;
    assert_true(media_box_find((struct media_view){init.bytes, init.size}, TYPE('m', 'o', 'o', 'v'), &moov));
    struct mp4_index *index = mp4_index_create(moov.whole, 1 << 20, NULL, &error);
    assert_non_null(index);
    assert_int_equal(index->track_count, 2);
    assert_int_equal(index->tracks[0].timescale, 1000);
    assert_int_equal(index->tracks[1].timescale, 48000);
    assert_string_equal(index->tracks[1].language, "deu");
    assert_non_null(memmem(init.bytes, init.size, "pasp\0\0\0\x9\0\0\0\x8", 12));
    assert_non_null(memmem(init.bytes, init.size, "colrnclx\0\x9\0\x10\0\x9\0", 15));
    mp4_index_destroy(index);
    media_buffer_clear(&init);
    media_film_release(film);
    media_buffer_clear(&file);
}

/* ---- codecs ---- */

static void codec_is(const char *video, struct media_view video_private, struct media_view video_frame,
                     const char *audio, struct media_view audio_private, struct media_view audio_frame,
                     const char *wanted)
{
    struct media_buffer file, made;
    struct error error;
    char codecs[2 * CODEC_STRING_SIZE + 2];
    struct mkv_maker maker = plain;
    maker.video = video;
    maker.video_private = video_private;
    maker.video_frame = video_frame;
    maker.audio = audio;
    maker.audio_private = audio_private;
    maker.audio_frame = audio_frame;
    struct media_film *film = film_of(&maker, &file);
    snprintf(codecs, sizeof(codecs), "%s,%s", film->index->tracks[0].descriptions[0].codec.codecs,
             film->index->tracks[1].descriptions[0].codec.codecs);
    assert_string_equal(codecs, wanted);
    assert_int_equal(
        read_segment(film, (struct media_view){file.bytes, file.size}, STREAM_MUXED, 0, 1, &made, &error),
        WALK_DONE);
    media_buffer_clear(&made);
    media_film_release(film);
    media_buffer_clear(&file);
}

static const struct media_view nothing = {NULL, 0};

#define OPUS_HEAD "OpusHead\1\2\x38\1\x80\xbb\0\0\0\0\0"
#define FLAC_HEAD                                                                                            \
    "fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0\x0b\xb8\x02\xf0\0\0\0\0"                                       \
    "0123456789abcdef"
#define VP9_KEY "\x82\x49\x83\x42\x00\x27\xf0\x16"
#define HEVC_PRIVATE                                                                                         \
    "\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5d\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\x03"                                 \
    "\x20\0\1\0\0"

static void test_codecs(void **state)
{
    (void)state;
    codec_is("V_VP9", nothing, VIEW(VP9_KEY), "A_OPUS", VIEW(OPUS_HEAD), VIEW("\xfc"), "vp09.00.21.08,opus");
    codec_is("V_AV1", VIEW("\x81\x05\x0c\0"), nothing, "A_FLAC", VIEW(FLAC_HEAD), VIEW("\xff\xf8\xc9\x18\0"),
             "av01.0.05M.08,fLaC");
    codec_is("V_MPEGH/ISO/HEVC", VIEW(HEVC_PRIVATE), nothing, "A_AC3", nothing,
             VIEW("\x0b\x77\0\0\x14\x40\x43"), "hvc1.1.6.L93.90,ac-3");
    codec_is(NULL, nothing, nothing, "A_EAC3", nothing, VIEW("\x0b\x77\x01\x7f\x34\x86\x40"),
             "avc1.64001e,ec-3");
    codec_is(NULL, nothing, nothing, "A_AAC/MPEG4/LC", nothing, nothing, "avc1.64001e,mp4a.40.2");
    codec_is(NULL, nothing, nothing, "A_MPEG/L3", nothing, VIEW("\xff\xfb\x90\x64"), "avc1.64001e,mp4a.6b");
}

static void test_what_is_not_streamed_says_why(void **state)
{
    struct mkv_maker maker = plain;
    (void)state;
    maker.audio = "A_VORBIS";
    refused_as(&maker, ERROR_UNKNOWN_COMMAND, "A_VORBIS");
    maker.audio = NULL;
    maker.video = "V_VP8";
    refused_as(&maker, ERROR_UNKNOWN_COMMAND, "its video is of a kind (V_VP8)");
    maker.video = "V_VP9"; /* whose first frame is none */
    refused_as(&maker, ERROR_MALFORMED, "video lacks a configuration");
    maker.video = "V_AV1";
    refused_as(&maker, ERROR_MALFORMED, "video lacks a configuration");
    maker.video = NULL;
    static const char *const sounds[] = {"A_OPUS", "A_FLAC", "A_AC3", "A_EAC3"};
    for (size_t i = 0; i < ARRAY_SIZE(sounds); i++) {
        maker.audio = sounds[i];
        refused_as(&maker, ERROR_MALFORMED, "audio lacks a configuration");
    }
}

static uint32_t samples(enum ebml_codec codec, struct media_view config, struct media_view frame)
{
    return ebml_frame_samples(codec, config, frame);
}

static void test_how_long_frames_are(void **state)
{
    (void)state;
    assert_int_equal(samples(EBML_AAC, VIEW("\x11\x90"), nothing), 1024);
    assert_int_equal(samples(EBML_AAC, VIEW("\x11\x94"), nothing), 960);
    assert_int_equal(samples(EBML_AC3, nothing, nothing), 1536);
    assert_int_equal(samples(EBML_EAC3, nothing, VIEW("\x0b\x77\0\0\x10")), 256 * 2);
    assert_int_equal(samples(EBML_EAC3, nothing, VIEW("\x0b\x78\0\0\x10")), 0);
    assert_int_equal(samples(EBML_OPUS, nothing, VIEW("\x08")), 960);      /* SILK, 20 ms */
    assert_int_equal(samples(EBML_OPUS, nothing, VIEW("\x70")), 480);      /* hybrid, 10 ms */
    assert_int_equal(samples(EBML_OPUS, nothing, VIEW("\x81")), 240);      /* CELT, twice 2.5 ms */
    assert_int_equal(samples(EBML_OPUS, nothing, VIEW("\xff\x03")), 2880); /* three of 20 ms */
    assert_int_equal(samples(EBML_OPUS, nothing, VIEW("\xff\x3f")), 0);    /* more than 120 ms */
    assert_int_equal(samples(EBML_MP3, nothing, VIEW("\xff\xfb\x90")), 1152);
    assert_int_equal(samples(EBML_MP3, nothing, VIEW("\xff\xf3\x90")), 576);
    assert_int_equal(samples(EBML_MP3, nothing, VIEW("\0\0")), 0);
    assert_int_equal(samples(EBML_FLAC, VIEW(FLAC_HEAD), nothing), 4096);
    assert_int_equal(samples(EBML_FLAC, VIEW(FLAC_HEAD), VIEW("\xff\xf8\x19\x18\0")), 192);
    assert_int_equal(samples(EBML_FLAC, VIEW(FLAC_HEAD), VIEW("\xff\xf8\x39\x18\0")), 1152);
    assert_int_equal(samples(EBML_FLAC, VIEW(FLAC_HEAD), VIEW("\xff\xf8\x69\x18\x05\x7f")), 128);
    assert_int_equal(samples(EBML_FLAC, VIEW(FLAC_HEAD), VIEW("\xff\xf8\x79\x18\xc2\x80\x01\xff")), 512);
    assert_int_equal(ebml_config_rate(EBML_FLAC, VIEW(FLAC_HEAD)), 48000);
    assert_int_equal(ebml_config_rate(EBML_AAC, VIEW("\x12\x10")), 44100);
    assert_int_equal(ebml_config_rate(EBML_AAC, VIEW("\x2b\x11\x88\0")), 24000); /* SBR: the core's */
}

static void test_ac3_and_vp9_headers(void **state)
{
    struct media_buffer out = {0};
    struct ebml_vp9 vp9;
    (void)state;
    /* 48 kHz, 384 kbit/s, 5.1. */
    assert_true(ebml_frame_ac3(VIEW("\x0b\x77\0\0\x1c\x40\xe1\0"), &out));
    assert_memory_equal(out.bytes, "\x10\x3d\xc0", 3);
    assert_false(ebml_frame_ac3(VIEW("\x0b\x77\0\0\xdc\x40\xe1\0"), &out)); /* a reserved rate */
    out.size = 0;
    assert_true(
        ebml_frame_eac3(VIEW("\x0b\x77\x02\xff\x3f\x86\0\0"), &out)); /* 1536 bytes: 384 kbit/s, 5.1 */
    assert_int_equal(out.size, 5);
    assert_memory_equal(out.bytes, "\x0c\0\x20\x0f\0", 5);
    assert_false(ebml_frame_eac3(VIEW("\x0b\x77\x42\xff\x3f\x86\0\0"), &out)); /* dependent, alone */
    media_buffer_clear(&out);
    assert_true(ebml_frame_vp9(VIEW(VP9_KEY), 1920, 1080, &vp9));
    assert_int_equal(vp9.level, 40);
    assert_int_equal(vp9.depth, 8);
    assert_true(ebml_frame_vp9(VIEW("\x92\x49\x83\x42\x80"), 7680, 4320, &vp9)); /* profile 2 */
    assert_int_equal(vp9.profile, 2);
    assert_int_equal(vp9.depth, 12);
    assert_int_equal(vp9.level, 60);
    assert_false(ebml_frame_vp9(VIEW("\x86\x49\x83\x42\0"), 64, 64, &vp9)); /* no key frame */
}

/* ---- damage ---- */

static void test_every_shorter_file_is_refused_or_read(void **state)
{
    struct media_buffer file = {0};
    struct mkv_maker maker = plain;
    struct error error;
    (void)state;
    maker.seconds = 4;
    mkv_maker_film(&file, &maker);
    for (size_t size = 1; size < file.size; size += size < 1500 ? 1 : 997) {
        uint8_t *copy = malloc(size); /* so that a byte too far is seen */
        assert_non_null(copy);
        memcpy(copy, file.bytes, size);
        assert_null(walk_file((struct media_view){copy, size}, &error));
        assert_true(error.code == ERROR_MALFORMED || error.code == ERROR_UNKNOWN_COMMAND);
        free(copy);
    }
    media_buffer_clear(&file);
    file = (struct media_buffer){0};
    maker.unknown = true; /* a recording that was cut off is a film up to there */
    maker.cues = false;
    mkv_maker_film(&file, &maker);
    for (size_t size = 3000; size < file.size; size += 997) {
        struct media_film *film = walk_file((struct media_view){file.bytes, size}, &error);
        assert_non_null(film);
        media_film_release(film);
    }
    media_buffer_clear(&file);
}

static void test_every_changed_byte_is_survived(void **state)
{
    struct media_buffer file = {0}, made;
    struct mkv_maker maker = plain;
    struct error error;
    size_t films = 0;
    (void)state;
    maker.seconds = 4;
    mkv_maker_film(&file, &maker);
    for (size_t at = 0; at < file.size; at += at < 1500 || at > file.size - 500 ? 1 : 331) {
        uint8_t before = file.bytes[at];
        file.bytes[at] = (uint8_t)(before ^ (at % 2 == 0 ? 0xff : 0x11));
        struct media_view view = {file.bytes, file.size};
        struct media_film *film = walk_file(view, &error);
        if (film) {
            films++;
            bool video = mp4_index_first(film->index, MEDIA_VIDEO) >= 0;
            enum walk_step step =
                read_segment(film, view, video ? STREAM_VIDEO : STREAM_AUDIO, 0, 0, &made, &error);
            assert_true(step == WALK_DONE || error.code != 0);
            media_buffer_clear(&made);
        }
        media_film_release(film);
        file.bytes[at] = before;
    }
    assert_true(films > 100);
    media_buffer_clear(&file);
}

static void test_elements(void **state)
{
    struct ebml_element element;
    uint64_t value;
    size_t used;
    char text[8];
    (void)state;
    assert_int_equal(ebml_look(VIEW("\xec"), &element), EBML_SHORT);
    assert_int_equal(ebml_look(VIEW("\x08\x81"), &element), EBML_DAMAGED); /* an identifier of five bytes */
    assert_int_equal(ebml_look(VIEW("\xec\0"), &element), EBML_DAMAGED);
    assert_int_equal(ebml_look(VIEW("\xec\x41"), &element), EBML_SHORT);
    assert_int_equal(ebml_look(VIEW("\xec\xff"), &element), EBML_FOUND);
    assert_true(element.unknown);
    assert_int_equal(ebml_look(VIEW("\xec\x40\x02\1\2\3"), &element), EBML_FOUND);
    assert_int_equal(element.size, 2);
    assert_int_equal(element.body.size, 2);
    struct media_view rest = VIEW("\xec\x82\1\2\xec\x83\1\2");
    assert_true(ebml_next(&rest, &element));
    assert_false(ebml_next(&rest, &element)); /* longer than what holds it */
    assert_true(ebml_vint(VIEW("\x40\x7f"), &value, &used));
    assert_int_equal(value, 127);
    assert_int_equal(used, 2);
    assert_false(ebml_vint(VIEW("\x40"), &value, &used));
    assert_false(ebml_vint(nothing, &value, &used));
    assert_int_equal(ebml_unsigned(VIEW("123456789"), 7), 7);
    assert_true(ebml_float(VIEW("\x3f\x80\0\0"), 0) == 1.0);
    assert_true(ebml_float(VIEW("\x7f\x80\0\0"), 5) == 5.0);
    assert_true(ebml_float(nothing, 5) == 0.0);
    ebml_text(VIEW("a\"b\x01\xc3 and more"), text, sizeof(text));
    assert_string_equal(text, "ab and ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_are_cut_at_cues),
        cmocka_unit_test(test_times_of_pictures_that_are_reordered),
        cmocka_unit_test(test_a_cluster_that_begins_between_key_frames),
        cmocka_unit_test(test_sound_that_is_laced),
        cmocka_unit_test(test_sizes_of_laced_frames),
        cmocka_unit_test(test_without_cues_everything_is_read),
        cmocka_unit_test(test_pictures_that_lead_their_key_frame),
        cmocka_unit_test(test_one_key_frame_and_one_track),
        cmocka_unit_test(test_a_segment_without_sound_says_so),
        cmocka_unit_test(test_delay_and_stripped_bytes),
        cmocka_unit_test(test_playlists_are_made_of_cues),
        cmocka_unit_test(test_initialization_segments),
        cmocka_unit_test(test_codecs),
        cmocka_unit_test(test_what_is_not_streamed_says_why),
        cmocka_unit_test(test_how_long_frames_are),
        cmocka_unit_test(test_ac3_and_vp9_headers),
        cmocka_unit_test(test_every_shorter_file_is_refused_or_read),
        cmocka_unit_test(test_every_changed_byte_is_survived),
        cmocka_unit_test(test_subtitles_are_read_where_the_cues_say),
        cmocka_unit_test(test_subtitles_are_looked_for_where_the_cues_say_nothing_or_wrong),
        cmocka_unit_test(test_each_kind_of_subtitles_becomes_webvtt),
        cmocka_unit_test(test_subtitles_that_are_compressed_are_unpacked),
        cmocka_unit_test(test_too_many_subtitles_are_refused_with_their_limit),
        cmocka_unit_test(test_subtitles_that_are_pictures_are_no_track),
        cmocka_unit_test(test_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
