/*
 * Unit tests of httpd/media: indexes of MP4 files with every table as it may be, damaged ones, cuts, fragments read back, names,
 * codec strings, subtitles.
 */
#include "httpd/media/dash_manifest.h"
#include "httpd/media/gzip_text.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/media/media_walk.h"
#include "httpd/media/mp4_fragment.h"
#include "httpd/media/subtitles.h"
#include "tests/unit/library/mp4_maker.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TYPE   MEDIA_TYPE
#define LENGTH ((int64_t)1 << 34) /* of the files: what lies in them is never looked at */

static const struct mp4_maker_track audio = {.timescale = 48000,
                                             .count = 1000,
                                             .duration = 1024,
                                             .size = 200,
                                             .per_chunk = 2,
                                             .first_offset = 1100,
                                             .chunk_step = 1400,
                                             .media_time = -2};

static struct mp4_index *index_of(const struct mp4_maker_track *tracks, size_t count, struct error *error)
{
    return mp4_maker_index(tracks, count, LENGTH, error);
}

static struct mp4_index *good_index(const struct mp4_maker_track *tracks, size_t count)
{
    struct error error = {.text = ""};
    struct mp4_index *index = index_of(tracks, count, &error);
    if (!index)
        fail_msg("refused: %s", error.text);
    return index;
}

static struct mp4_sample sample_at(const struct mp4_track *track, uint32_t number)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    mp4_cursor_seek(&cursor, track, number);
    assert_true(mp4_cursor_next(&cursor, &sample));
    return sample;
}

static void test_every_sample_is_where_the_tables_say(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    (void)state;
    tracks[0].wide = true;
    tracks[0].first_offset = INT64_C(9000000000);
    tracks[0].reorder = true;
    struct mp4_index *index = good_index(tracks, 2);
    assert_int_equal(index->track_count, 2);
    static const int order[] = {1, 3, 0, 2};
    for (uint32_t i = 0; i < 500; i += 7) {
        struct mp4_sample sample = sample_at(&index->tracks[0], i);
        assert_int_equal(sample.offset, INT64_C(9000000000) + i * 1400);
        assert_int_equal(sample.size, 1000);
        assert_int_equal(sample.dts, i);
        assert_int_equal(sample.cts, order[i % 4]);
        assert_int_equal(sample.sync, i % 50 == 0);
    }
    for (uint32_t i = 0; i < 1000; i += 13) {
        struct mp4_sample sample = sample_at(&index->tracks[1], i);
        assert_int_equal(sample.offset, 1100 + i / 2 * 1400 + i % 2 * 200);
        assert_int_equal(sample.dts, i * 1024);
        assert_true(sample.sync);
    }
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    mp4_cursor_seek(&cursor, &index->tracks[0], 500);
    assert_false(mp4_cursor_next(&cursor, &sample));
    assert_string_equal(index->tracks[0].language, "eng");
    assert_string_equal(index->tracks[0].descriptions[0].codec.codecs, "avc1.64001e");
    assert_string_equal(index->tracks[1].descriptions[0].codec.codecs, "mp4a.40.2");
    assert_int_equal(index->tracks[1].duration, 1024000);
    mp4_index_destroy(index);
}

/* However many bits a sample takes: those of one fit a word or do not. */
static void test_samples_come_back_whatever_lies_between_them(void **state)
{
    (void)state;
    for (unsigned bits = 40; bits <= 56; bits++) {
        struct mp4_maker_track track = mp4_maker_video;
        struct media_buffer moov = {0};
        struct error error = {.text = ""};
        track.wide = true;
        track.reorder = true;
        track.count = 100;
        track.key_every = 5;
        track.chunk_step = INT64_C(1) << bits;
        mp4_maker_moov(&moov, &track, 1);
        struct mp4_index *index =
            mp4_index_create((struct media_view){moov.bytes, moov.size}, INT64_MAX, NULL, &error);
        if (!index)
            fail_msg("refused: %s", error.text);
        for (uint32_t i = 0; i < 100; i++) {
            struct mp4_sample sample = sample_at(&index->tracks[0], i);
            static const int order[] = {1, 3, 0, 2};
            assert_int_equal(sample.offset, 100 + ((int64_t)i << bits));
            assert_int_equal(sample.size, 1000);
            assert_int_equal(sample.cts, order[i % 4]);
            assert_int_equal(sample.dts, i);
            assert_int_equal(sample.sync, i % 5 == 0);
        }
        mp4_index_destroy(index);
        media_buffer_clear(&moov);
    }
}

static void test_an_hour_takes_a_megabyte(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    (void)state;
    tracks[0].count = 90000;
    tracks[0].reorder = true;
    tracks[1].count = 155100;
    tracks[1].per_chunk = 1;
    struct mp4_index *index = good_index(tracks, 2);
    assert_true(index->memory < 1000000);
    struct error error;
    struct mp4_cut *cut = mp4_maker_cut(index, 6000, &error);
    assert_non_null(cut);
    assert_int_equal(cut->count, 600);
    assert_true(cut->memory < 30000);
    mp4_cut_destroy(cut);
    mp4_index_destroy(index);
}

static void test_an_edit_list_moves_what_is_shown(void **state)
{
    struct mp4_maker_track track = audio;
    (void)state;
    track.media_time = 1024;
    track.empty_edit = 2000;
    struct mp4_index *index = good_index(&track, 1);
    struct mp4_sample sample = sample_at(&index->tracks[0], 3);
    assert_int_equal(sample.dts, 96000 + 3 * 1024); /* two seconds later */
    assert_int_equal(sample.cts, -1024);
    mp4_index_destroy(index);
}

/* ---- damage ---- */

static void refused(const struct mp4_maker_track *tracks, size_t count, int code, const char *text)
{
    struct error error = {.text = ""};
    struct mp4_index *index = index_of(tracks, count, &error);
    assert_null(index);
    assert_int_equal(error.code, code);
    if (!strstr(error.text, text))
        fail_msg("\"%s\" is not in: %s", text, error.text);
}

static void test_what_cannot_be_is_refused(void **state)
{
    struct mp4_maker_track track = mp4_maker_video;
    (void)state;
    track.media_time = -7;
    refused(&track, 1, ERROR_UNKNOWN_COMMAND, "rearranges");
    track = mp4_maker_video;
    track.wide = true;
    track.first_offset = LENGTH - 100;
    refused(&track, 1, ERROR_MALFORMED, "behind the end of the file");
    refused(NULL, 0, ERROR_UNKNOWN_COMMAND, "neither video nor audio");
}

/* The moov with the entry count of TABLE replaced. */
static void lying_table(uint32_t table, uint32_t count)
{
    struct media_buffer moov = {0};
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    struct error error = {.text = ""};
    tracks[0].reorder = true;
    mp4_maker_moov(&moov, tracks, 2);
    for (size_t i = 0; i + 12 < moov.size; i++) {
        struct media_view view = {moov.bytes, moov.size};
        if (media_get32(view, i) == table)
            media_set32(&moov, i + 8 + (table == TYPE('s', 't', 's', 'z') ? 4u : 0u), count);
    }
    assert_null(mp4_index_create((struct media_view){moov.bytes, moov.size}, LENGTH, NULL, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    media_buffer_clear(&moov);
}

static void test_counts_that_lie_are_refused_before_memory_is_taken(void **state)
{
    static const uint32_t tables[] = {TYPE('s', 't', 's', 'z'), TYPE('s', 't', 't', 's'),
                                      TYPE('c', 't', 't', 's'), TYPE('s', 't', 's', 's'),
                                      TYPE('s', 't', 's', 'c'), TYPE('s', 't', 'c', 'o')};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        lying_table(tables[i], UINT32_MAX);
        lying_table(tables[i], 100000);
    }
    lying_table(TYPE('s', 't', 't', 's'), 0);
    lying_table(TYPE('s', 't', 's', 'c'), 0);
    lying_table(TYPE('s', 't', 'c', 'o'), 0);
}

static void test_any_byte_may_be_wrong(void **state)
{
    struct media_buffer moov = {0};
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    struct error error;
    size_t taken = 0;
    (void)state;
    tracks[0].count = 60;
    tracks[0].reorder = true;
    tracks[0].media_time = 1;
    tracks[1].count = 20;
    mp4_maker_moov(&moov, tracks, 2);
    for (size_t i = 8; i < moov.size; i++) {
        static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
        for (size_t v = 0; v < sizeof(values); v++) {
            uint8_t before = moov.bytes[i];
            uint8_t *copy = malloc(moov.size); /* of just its size, so that a read behind its end is caught */
            assert_non_null(copy);
            memcpy(copy, moov.bytes, moov.size);
            copy[i] = values[v];
            struct mp4_index *index =
                mp4_index_create((struct media_view){copy, moov.size}, 1000000, NULL, &error);
            struct mp4_cut *cut = index ? mp4_maker_cut(index, 1000, &error) : NULL;
            taken += cut != NULL;
            mp4_cut_destroy(cut);
            mp4_index_destroy(index);
            free(copy);
            moov.bytes[i] = before;
        }
    }
    assert_true(taken > moov.size); /* most bytes of a file are not what it is about */
    for (size_t size = 0; size < moov.size; size++) {
        uint8_t *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy, moov.bytes, size);
        assert_null(mp4_index_create((struct media_view){copy, size}, 1000000, NULL, &error));
        free(copy);
    }
    media_buffer_clear(&moov);
}

/* ---- cuts ---- */

static struct media_film *film_of(const struct mp4_maker_track *tracks, size_t count, int64_t segment_ms)
{
    struct error error = {.text = ""};
    struct media_film *film = media_film_create(FILM_MP4, LENGTH);
    assert_non_null(film);
    film->index = good_index(tracks, count);
    film->cut = mp4_maker_cut(film->index, segment_ms, &error);
    if (!film->cut)
        fail_msg("not cut: %s", error.text);
    return film;
}

static void test_segments_begin_at_key_frames_and_sound_goes_by_time(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    (void)state;
    struct media_film *film = film_of(tracks, 2, 6000);
    assert_int_equal(film->cut->count, 4); /* 6 + 6 + 6 + 2 s; the sound lasts 21.3 s */
    assert_true(film->cut->muxed);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(film->cut->first[0][i], i * 150);
        /* The first frame of sound that is shown at i * 6 s or later. */
        assert_int_equal(film->cut->first[1][i], (i * 6 * 48000 + 1023) / 1024);
    }
    assert_int_equal(film->cut->first[1][4], 1000);
    media_film_release(film);
}

static void test_sound_behind_all_pictures_is_not_muxed_and_a_tail_is_cut(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    (void)state;
    tracks[0].chunk_step = 1000;
    tracks[1].first_offset = 600000;
    tracks[1].chunk_step = 400;
    tracks[1].count = 1900; /* 40.5 s */
    struct media_film *film = film_of(tracks, 2, 6000);
    assert_false(film->cut->muxed);
    assert_int_equal(film->cut->count, 7);
    assert_int_equal(mp4_cut_samples(film->cut, 0, 5), 0);
    assert_true(mp4_cut_samples(film->cut, 1, 5) > 250);
    media_film_release(film);
}

static void test_key_frames_too_far_apart_are_refused(void **state)
{
    struct mp4_maker_track track = mp4_maker_video;
    struct error error;
    (void)state;
    track.count = 5000;
    track.key_every = 1600; /* 64 s */
    struct mp4_index *index = good_index(&track, 1);
    assert_null(mp4_maker_cut(index, 6000, &error));
    assert_int_equal(error.code, ERROR_UNKNOWN_COMMAND);
    assert_non_null(strstr(error.text, "64 s apart"));
    mp4_index_destroy(index);
}

static void test_open_gops_are_seen(void **state)
{
    struct mp4_maker_track track = mp4_maker_video;
    (void)state;
    struct media_film *film = film_of(&track, 1, 6000);
    assert_false(film->cut->open_gop);
    media_film_release(film);
    track.reorder = true;
    track.key_every = 25; /* the second one is shown behind the picture that follows it */
    film = film_of(&track, 1, 6000);
    assert_true(film->cut->open_gop);
    media_film_release(film);
}

static void test_another_description_begins_another_segment(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    struct media_buffer out = {0};
    struct media_name name;
    (void)state;
    tracks[0].descriptions = 2; /* from picture 250 on, which is a key frame at 10 s */
    tracks[1].descriptions = 2; /* from frame 500 on, at 10.67 s: 32 frames away */
    struct media_film *film = film_of(tracks, 2, 6000);
    assert_int_equal(film->cut->count, 4); /* 0, 6, 10, 16 */
    assert_int_equal(film->cut->first[0][2], 250);
    assert_int_equal(film->cut->first[1][2], 500);
    assert_int_equal(mp4_cut_description(film->cut, film->index, 0, 1), 0);
    assert_int_equal(mp4_cut_description(film->cut, film->index, 0, 2), 1);
    assert_true(media_name_parse("m.m3u8", 6, &name) && hls_media(film, &name, 0, &out));
    media_put8(&out, 0);
    const char *text = (const char *)out.bytes;
    assert_non_null(strstr(
        text,
        "m-1.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-m-1.mp4\"\n#EXTINF:6.000000,\nm-2.m4s\n"));
    media_buffer_clear(&out);
    struct media_set set = {.count = 1};
    set.items[0].film = film;
    assert_true(dash_manifest(&set, 0, &out));
    media_put8(&out, 0);
    text = (const char *)out.bytes;
    assert_non_null(strstr(text, "<Period id=\"1\" start=\"PT10.000000S\""));
    assert_non_null(strstr(text, "initialization=\"init-v-1.mp4\""));
    media_buffer_clear(&out);
    media_film_release(film);
}

/* The cut of what a cutter has seen on the way into the index is that of the index. */
static void cut_alike(const struct mp4_maker_track *tracks, size_t count)
{
    struct media_buffer moov = {0};
    struct error error = {.text = ""};
    struct mp4_cutter *cutter = mp4_cutter_create(6000);
    assert_non_null(cutter);
    const struct mp4_watcher watcher = {.watch = mp4_cutter_watch, .argument = cutter};
    mp4_maker_moov(&moov, tracks, count);
    struct mp4_index *index =
        mp4_index_create((struct media_view){moov.bytes, moov.size}, LENGTH, &watcher, &error);
    assert_non_null(index);
    struct mp4_cut *seen = mp4_cut_create(index, cutter, &error), *read = mp4_maker_cut(index, 6000, &error);
    assert_non_null(seen);
    assert_non_null(read);
    assert_int_equal(seen->count, read->count);
    assert_memory_equal(seen->times, read->times, (read->count + 1) * sizeof(*read->times));
    assert_memory_equal(seen->rates, read->rates, sizeof(read->rates));
    assert_int_equal(seen->muxed, read->muxed);
    assert_int_equal(seen->memory, read->memory);
    for (size_t i = 0; i < count; i++)
        assert_memory_equal(seen->first[i], read->first[i], (read->count + 1) * sizeof(uint32_t));
    mp4_cut_destroy(seen);
    mp4_cut_destroy(read);
    mp4_index_destroy(index);
    mp4_cutter_destroy(cutter);
    media_buffer_clear(&moov);
}

static void test_a_film_is_cut_alike_while_its_index_is_read(void **state)
{
    struct mp4_maker_track tracks[3] = {mp4_maker_video, audio, audio};
    const struct mp4_maker_track sound_first[2] = {audio, mp4_maker_video};
    (void)state;
    cut_alike(tracks, 3);
    cut_alike(tracks, 1);
    cut_alike(&audio, 1);
    cut_alike(sound_first, 2);
    tracks[0].reorder = true;
    tracks[0].key_every = 25;
    tracks[0].empty_edit = 2500;
    tracks[2].media_time = 100000;
    cut_alike(tracks, 3);
    tracks[1].count = 5000; /* sound goes on behind the pictures */
    cut_alike(tracks, 3);
    tracks[0].key_every = 0; /* any picture may begin a segment */
    cut_alike(tracks, 2);
    tracks[0] = mp4_maker_video;
    tracks[0].descriptions = 2;
    tracks[2] = audio;
    tracks[2].descriptions = 2;
    cut_alike(tracks, 3);
    tracks[0].descriptions = 0;
    tracks[0].count = 100000; /* beyond the room of the first segments */
    tracks[1].count = 150000;
    cut_alike(tracks, 2);
}

/* ---- fragments ---- */

/* Reads the fragment back: each run's samples must lie in the mdat where the file has them. */
static void check_fragment(const struct media_film *film, enum media_stream stream, uint32_t segment)
{
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment fragment;
    struct media_box box, traf, trun;
    struct error error;
    size_t count = media_stream_parts(film, stream, 0, segment, parts), which = 0;
    assert_true(mp4_fragment_make(parts, count, segment + 1, &fragment, &error));
    struct media_view whole = {fragment.head.bytes, fragment.head.size}, rest = whole;
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('s', 't', 'y', 'p'));
    const uint8_t *moof = rest.bytes;
    assert_true(media_box_next(&rest, &box) && box.type == TYPE('m', 'o', 'o', 'f'));
    assert_int_equal(rest.size, 8); /* the mdat's header */
    assert_int_equal(media_get32(rest, 0), 8 + fragment.length);
    int64_t data =
        (int64_t)(whole.size - (size_t)(moof - whole.bytes)); /* from the moof to the mdat's content */
    rest = box.body;
    while (media_box_next(&rest, &traf)) {
        if (traf.type != TYPE('t', 'r', 'a', 'f'))
            continue;
        const struct mp4_part *part = &parts[which++];
        struct media_view runs = traf.body;
        struct mp4_cursor cursor;
        struct mp4_sample sample;
        uint32_t samples = 0;
        mp4_cursor_seek(&cursor, part->track, part->first);
        while (media_box_next(&runs, &trun)) {
            if (trun.type != TYPE('t', 'r', 'u', 'n'))
                continue;
            uint32_t flags = media_get24(trun.body, 1), in_run = media_get32(trun.body, 4);
            int64_t place = (int32_t)media_get32(trun.body, 8) - data;
            size_t at = 12 + ((flags & 4) != 0 ? 4u : 0u);
            for (uint32_t i = 0; i < in_run; i++, samples++) {
                assert_true(mp4_cursor_next(&cursor, &sample));
                at += (flags & 0x100) != 0 ? 4u : 0u;
                assert_int_equal(media_get32(trun.body, at), sample.size);
                if (!fragment.pieces)
                    assert_int_equal(fragment.offset + place, sample.offset);
                assert_true(place >= 0 && place + sample.size <= fragment.length);
                place += sample.size;
                at += 4;
                if ((flags & 0x800) != 0) {
                    assert_int_equal((int32_t)media_get32(trun.body, at), sample.cts);
                    at += 4;
                }
            }
            assert_int_equal(at, trun.body.size);
        }
        assert_int_equal(samples, part->count);
    }
    assert_int_equal(which, count);
    mp4_fragment_clear(&fragment);
}

static void test_fragments_point_at_the_samples_of_the_file(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    (void)state;
    tracks[0].reorder = true;
    tracks[1].media_time = 1024;
    struct media_film *film = film_of(tracks, 2, 4000);
    for (uint32_t i = 0; i < film->cut->count; i++) {
        if (mp4_cut_samples(film->cut, 0, i) == 0)
            continue;
        check_fragment(film, STREAM_MUXED, i);
        check_fragment(film, STREAM_VIDEO, i);
        check_fragment(film, STREAM_KEYS, i);
    }
    media_film_release(film);
}

static void test_what_lies_apart_is_gathered(void **state)
{
    struct mp4_maker_track tracks[2] = {mp4_maker_video, audio};
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment fragment;
    struct error error;
    (void)state;
    struct media_film *film = film_of(tracks, 2, 6000);
    assert_int_equal(media_stream_parts(film, STREAM_AUDIO, 1, 1, parts), 1);
    assert_true(mp4_fragment_make(parts, 1, 2, &fragment, &error));
    assert_non_null(fragment.pieces);
    int64_t sum = 0;
    for (size_t i = 0; i < fragment.piece_count; i++)
        sum += fragment.pieces[i].size;
    assert_int_equal(sum, fragment.length);
    assert_int_equal(fragment.length, (int64_t)parts[0].count * 200);
    mp4_fragment_clear(&fragment);
    media_film_release(film);
}

/* ---- names, gzip, subtitles ---- */

static void test_names_are_read_as_they_are_written(void **state)
{
    static const char *const bad[] = {"",
                                      "m",
                                      "m.m3u",
                                      "mm.m3u8",
                                      "a.m3u8",
                                      "v1.m3u8",
                                      "m-.m4s",
                                      "m-01.m4s",
                                      "m--1.m4s",
                                      "m-4294967296.m4s",
                                      "0-m.m3u8",
                                      "9-m.m3u8",
                                      "init-m.mp4",
                                      "init-t-0.mp4",
                                      "t-0.m4s",
                                      "master.m3u8x",
                                      "file.avi",
                                      "a16.m3u8",
                                      "1-master.m3u8"};
    struct media_name name;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (media_name_parse(bad[i], strlen(bad[i]), &name))
            fail_msg("\"%s\" was taken", bad[i]);
    }
    assert_true(media_name_parse("2-a11-17.m4s", 12, &name));
    assert_int_equal(name.resource, MEDIA_SEGMENT);
    assert_int_equal(name.item, 2);
    assert_int_equal(name.stream, STREAM_AUDIO);
    assert_int_equal(name.track, 11);
    assert_int_equal(name.segment, 17);
    char id[MEDIA_NAME_MAX];
    assert_string_equal(media_stream_id(2, STREAM_AUDIO, 11, id), "2-a11");
    assert_string_equal(media_stream_id(0, STREAM_TEXT, UINT32_MAX, id), "t");
    assert_true(media_name_parse("init-v-3.mp4", 12, &name) && name.description == 3 &&
                name.resource == MEDIA_INIT);
    assert_true(media_name_parse("1-file.ts", 9, &name) && name.resource == MEDIA_FILE && name.item == 1);
}

static void check_vtt(const char *text, size_t size, const char *vtt)
{
    struct media_buffer out = {0};
    subtitles_of_file((struct media_view){(const uint8_t *)text, size}, &out);
    media_put8(&out, 0);
    assert_string_equal((const char *)out.bytes, vtt);
    media_buffer_clear(&out);
}

static void test_subtitles_become_webvtt(void **state)
{
    (void)state;
#define CHECK(text, vtt) check_vtt(text, sizeof(text) - 1, vtt)
    CHECK("\xef\xbb\xbf"
          "1\r\n0:00:01,5 --> 00:00:02,000\r\nA & <i>b</i> <font color=\"x\">c</font> {\\an8}d\r\nsecond -> "
          "line\r\n\r\n"
          "2\r\n100:00:01,000 --> 100:00:02,000 X1:1\r\n\r\n",
          "WEBVTT\n\n00:00:01.005 --> 00:00:02.000\nA &amp; <i>b</i> c d\nsecond -&gt; line\n\n100:00:01.000 "
          "--> 100:00:02.000\n");
    CHECK("1\n00:00:01,000 --> 00:00:02,000\nfran\xe7"
          "ais \x80\n",
          "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nfran\xc3\xa7"
          "ais \xe2\x82\xac\n");
    CHECK("WEBVTT\r\n\r\n00:01.000 --> 00:02.000\r\nas it is\r\n",
          "WEBVTT\n\n00:01.000 --> 00:02.000\nas it is\n");
    CHECK("1\n--> \n00:00 --> 1\n9", "WEBVTT\n");
    CHECK("", "WEBVTT\n");
}

static void test_a_text_is_compressed(void **state)
{
    struct media_buffer text = {0}, packed = {0};
    (void)state;
    for (int i = 0; i < 1000; i++)
        media_printf(&text, "#EXTINF:6.000000,\nm-%d.m4s\n", i);
    gzip_text((struct media_view){text.bytes, text.size}, &packed);
    assert_false(packed.failed);
    assert_true(packed.size < text.size / 4 && packed.bytes[0] == 0x1f && packed.bytes[1] == 0x8b);
    media_buffer_clear(&text);
    media_buffer_clear(&packed);
}

/* ---- codecs ---- */

/* A sample entry TYPE whose box CONFIG_TYPE (0: none) has CONFIG. */
static void check_codec(enum media_kind kind, uint32_t type, uint32_t config_type, const void *config,
                        size_t size, const char *codecs)
{
    struct media_buffer entry = {0};
    struct codec_description description;
    struct error error = {.text = ""};
    size_t box = media_box_begin(&entry, type);
    media_put_zeros(&entry, kind == MEDIA_VIDEO ? 78 : kind == MEDIA_AUDIO ? 28 : 0);
    if (config_type != 0) {
        size_t inner = media_box_begin(&entry, config_type);
        media_put(&entry, config, size);
        media_box_end(&entry, inner);
    }
    media_box_end(&entry, box);
    bool taken = codec_describe(kind, (struct media_view){entry.bytes, entry.size}, &description, &error);
    if (!taken)
        fail_msg("%s: refused: %s", codecs, error.text);
    assert_string_equal(description.codecs, codecs);
    /* An empty configuration, or an entry that is cut off, is refused. */
    if (config_type != 0) {
        media_set32(&entry, entry.size - size - 8, 8);
        media_set32(&entry, 0, (uint32_t)(entry.size - size));
        assert_false(
            codec_describe(kind, (struct media_view){entry.bytes, entry.size - size}, &description, &error));
        assert_int_equal(error.code, ERROR_MALFORMED);
        assert_false(codec_describe(kind, (struct media_view){entry.bytes, 20}, &description, &error));
        assert_non_null(strstr(error.text, "cut off"));
    }
    media_buffer_clear(&entry);
}

/* An audio entry whose esds names OBJECT_TYPE and the decoder's first two bytes. */
static void check_stream(uint8_t object_type, uint16_t specific, const char *codecs)
{
    uint8_t esds[] = {0,
                      0,
                      0,
                      0,
                      3,
                      25,
                      0,
                      1,
                      0,
                      4,
                      17,
                      object_type,
                      0x15,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      0,
                      5,
                      2,
                      (uint8_t)(specific >> 8),
                      (uint8_t)specific,
                      6,
                      1,
                      2};
    check_codec(MEDIA_AUDIO, TYPE('m', 'p', '4', 'a'), TYPE('e', 's', 'd', 's'), esds, sizeof(esds), codecs);
}

static void test_codecs_have_the_names_that_players_ask_for(void **state)
{
    static const uint8_t avcc[] = {1, 0x4d, 0x40, 0x1f, 0xff, 0xe0, 0};
    static const uint8_t hvcc[23] = {1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93};
    static const uint8_t hvcc_high[23] = {1, 0x62, 0x20, 0, 0, 0, 0xb0, 0, 0x23, 0, 0, 0, 120};
    static const uint8_t av1c[] = {0x81, 0x08, 0x0c, 0}, av1c_high[] = {0x81, 0x4d, 0xe0, 0};
    static const uint8_t vpcc[10] = {1, 0, 0, 0, 2, 41, 0xa2}, vpcc_unknown[10] = {1, 0, 0, 0, 0, 0, 0x82};
    static const uint8_t zeros[16] = {0};
    (void)state;
#define VIDEO(a, b, c, d, e, f, g, h, config, codecs)                                                        \
    check_codec(MEDIA_VIDEO, TYPE(a, b, c, d), TYPE(e, f, g, h), config, sizeof(config), codecs)
#define AUDIO(a, b, c, d, e, f, g, h, size, codecs)                                                          \
    check_codec(MEDIA_AUDIO, TYPE(a, b, c, d), TYPE(e, f, g, h), zeros, size, codecs)
    VIDEO('a', 'v', 'c', '3', 'a', 'v', 'c', 'C', avcc, "avc3.4d401f");
    VIDEO('h', 'v', 'c', '1', 'h', 'v', 'c', 'C', hvcc, "hvc1.1.6.L93.90");
    VIDEO('h', 'e', 'v', '1', 'h', 'v', 'c', 'C', hvcc_high, "hev1.A2.4.H120.B0.0.23");
    VIDEO('a', 'v', '0', '1', 'a', 'v', '1', 'C', av1c, "av01.0.08M.08");
    VIDEO('a', 'v', '0', '1', 'a', 'v', '1', 'C', av1c_high, "av01.2.13H.12");
    VIDEO('v', 'p', '0', '9', 'v', 'p', 'c', 'C', vpcc, "vp09.02.41.10");
    VIDEO('v', 'p', '0', '9', 'v', 'p', 'c', 'C', vpcc_unknown, "vp09.00.10.08");
    AUDIO('a', 'c', '-', '3', 'd', 'a', 'c', '3', 3, "ac-3");
    AUDIO('e', 'c', '-', '3', 'd', 'e', 'c', '3', 5, "ec-3");
    AUDIO('O', 'p', 'u', 's', 'd', 'O', 'p', 's', 11, "opus");
    AUDIO('f', 'L', 'a', 'C', 'd', 'f', 'L', 'a', 8, "fLaC");
    check_codec(MEDIA_AUDIO, TYPE('.', 'm', 'p', '3'), 0, NULL, 0, "mp4a.6b");
    check_codec(MEDIA_SUBTITLE, TYPE('t', 'x', '3', 'g'), 0, NULL, 0, "wvtt");
    check_stream(0x40, 0x1190, "mp4a.40.2");
    check_stream(0x40, 0x2990, "mp4a.40.5");
    check_stream(0x67, 0xf940, "mp4a.40.42"); /* 31, and then 32 + 10 */
    check_stream(0x40, 0, "mp4a.40.2");
    check_stream(0x6b, 0, "mp4a.6b");
    check_stream(0xa5, 0, "ac-3");
    check_stream(0xa6, 0, "ec-3");
    check_stream(0xad, 0, "opus");
}

static void test_codecs_that_no_player_takes_are_refused(void **state)
{
    static const struct {
        enum media_kind kind;
        const char *type, *text;
    } cases[] = {{MEDIA_VIDEO, "encv", "its video is encrypted"},
                 {MEDIA_AUDIO, "enca", "its audio is encrypted"},
                 {MEDIA_VIDEO, "mp4v", "its video is of a kind (mp4v)"},
                 {MEDIA_AUDIO, "a,\"\x01", "its audio is of a kind (a\?\?\?)"}};
    struct codec_description description;
    struct error error;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t entry[100] = {0, 0, 0, 100};
        memcpy(entry + 4, cases[i].type, 4);
        assert_false(codec_describe(cases[i].kind, (struct media_view){entry, 100}, &description, &error));
        assert_int_equal(error.code, ERROR_UNKNOWN_COMMAND);
        if (!strstr(error.text, cases[i].text))
            fail_msg("\"%s\" is not in: %s", cases[i].text, error.text);
    }
    uint8_t cover[100] = {0, 0, 0, 100, 'j', 'p', 'e', 'g'};
    assert_true(codec_is_picture((struct media_view){cover, 100}));
    memcpy(cover + 4, "avc1", 4);
    assert_false(codec_is_picture((struct media_view){cover, 100}));
}

/* ---- sound beside the pictures ---- */

static void test_sound_apart_is_a_rendition_of_its_own(void **state)
{
    struct mp4_maker_track tracks[3] = {mp4_maker_video, audio, audio};
    struct media_buffer out = {0};
    (void)state;
    tracks[0].chunk_step = 1000;
    tracks[1].first_offset = 600000;
    tracks[1].chunk_step = 400;
    tracks[2].first_offset = 900000;
    tracks[2].chunk_step = 400;
    struct media_film *film = film_of(tracks, 3, 6000);
    assert_false(film->cut->muxed);
    struct media_set set = {.count = 1};
    set.items[0].film = film;
    hls_master(&set, 0, &out);
    media_put8(&out, 0);
    const char *text = (const char *)out.bytes;
    assert_non_null(strstr(text, "TYPE=AUDIO,GROUP-ID=\"audio1\",NAME=\"en 1\",LANGUAGE=\"en\",DEFAULT=YES,"
                                 "AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a1.m3u8\"\n"));
    assert_non_null(strstr(text, "TYPE=AUDIO,GROUP-ID=\"audio1\",NAME=\"en 2\",LANGUAGE=\"en\",DEFAULT=NO,"
                                 "AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a2.m3u8\"\n"));
    assert_non_null(strstr(text, "AUDIO=\"audio1\""));
    assert_non_null(strstr(text, "\nv.m3u8\n"));
    assert_null(strstr(text, "\nm.m3u8\n"));
    media_buffer_clear(&out);
    media_film_release(film);
}

/* ---- the walk over a whole file ---- */

/* HEAVY: how often more was to be done than going from box to box. */
static enum walk_step walk_over(const uint8_t *bytes, int64_t size, struct media_film **film,
                                struct error *error, int *reads, int *heavy)
{
    struct media_walk_options options = {.size = size, .segment_ms = 1000, .moov_max = 1000000};
    struct media_walk *walk = media_walk_create(&options);
    enum walk_step step;
    assert_non_null(walk);
    *reads = 0;
    *heavy = 0;
    do {
        int64_t offset, wanted;
        media_walk_wanted(walk, &offset, &wanted);
        assert_true(offset >= 0 && wanted > 0 && offset + wanted <= size);
        struct media_view view = {bytes + offset, (size_t)wanted};
        step = media_walk_hop(walk, view, error);
        assert_int_not_equal(step, WALK_DONE);
        if (step == WALK_HEAVY) {
            step = media_walk_feed(walk, view, film, error);
            (*heavy)++;
        }
        (*reads)++;
    } while (step == WALK_READ);
    media_walk_destroy(walk);
    return step;
}

static void test_the_index_is_found_wherever_it_is(void **state)
{
    struct mp4_maker_track track = mp4_maker_video;
    (void)state;
    track.count = 100;
    for (int last = 0; last < 2; last++) {
        struct media_buffer file = {0};
        struct media_film *film = NULL;
        struct error error = {.text = ""};
        int reads, heavy;
        size_t box = media_box_begin(&file, TYPE('f', 't', 'y', 'p'));
        media_put_text(&file, "isom");
        media_put32(&file, 0);
        media_box_end(&file, box);
        if (!last)
            mp4_maker_moov(&file, &track, 1);
        box = media_box_begin(&file, TYPE('m', 'd', 'a', 't'));
        media_put_zeros(&file, 200000);
        media_box_end(&file, box);
        if (last)
            mp4_maker_moov(&file, &track, 1);
        if (walk_over(file.bytes, (int64_t)file.size, &film, &error, &reads, &heavy) != WALK_DONE)
            fail_msg("refused: %s", error.text);
        assert_int_equal(film->kind, FILM_MP4);
        assert_int_equal(film->cut->count, 2);
        assert_int_equal(reads, last ? 2 : 1);
        assert_int_equal(heavy, 1); /* its index alone is for a worker */
        media_film_release(film);
        /* Without its last bytes: the index is cut off, or some samples are. */
        int64_t rest = last ? (int64_t)file.size - 100 : 100000;
        assert_int_equal(walk_over(file.bytes, rest, &film, &error, &reads, &heavy), WALK_REFUSED);
        assert_int_equal(error.code, ERROR_MALFORMED);
        media_buffer_clear(&file);
    }
}

/* A long index behind the media data is read at once, not first its beginning. Small boxes without end are no work for a loop. */
static void test_an_index_at_the_end_is_one_read(void **state)
{
    struct mp4_maker_track track = mp4_maker_video;
    struct media_buffer file = {0};
    struct media_film *film = NULL;
    struct error error = {.text = ""};
    int reads, heavy;
    (void)state;
    track.count = 20000;
    track.reorder = true;
    track.chunk_step = 10;
    track.size = 10;
    size_t box = media_box_begin(&file, TYPE('m', 'd', 'a', 't'));
    media_put_zeros(&file, 250000);
    media_box_end(&file, box);
    mp4_maker_moov(&file, &track, 1);
    assert_true(file.size > 250000 + 100000);
    assert_int_equal(walk_over(file.bytes, (int64_t)file.size, &film, &error, &reads, &heavy), WALK_DONE);
    assert_int_equal(reads, 2);
    assert_int_equal(heavy, 1);
    media_film_release(film);
    media_buffer_clear(&file);
    for (int i = 0; i < 5000; i++)
        media_box_end(&file, media_box_begin(&file, TYPE('f', 'r', 'e', 'e')));
    assert_int_equal(walk_over(file.bytes, (int64_t)file.size, &film, &error, &reads, &heavy), WALK_REFUSED);
    assert_int_equal(heavy, 1);
    media_buffer_clear(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_is_where_the_tables_say),
        cmocka_unit_test(test_samples_come_back_whatever_lies_between_them),
        cmocka_unit_test(test_an_hour_takes_a_megabyte),
        cmocka_unit_test(test_an_edit_list_moves_what_is_shown),
        cmocka_unit_test(test_what_cannot_be_is_refused),
        cmocka_unit_test(test_counts_that_lie_are_refused_before_memory_is_taken),
        cmocka_unit_test(test_any_byte_may_be_wrong),
        cmocka_unit_test(test_segments_begin_at_key_frames_and_sound_goes_by_time),
        cmocka_unit_test(test_sound_behind_all_pictures_is_not_muxed_and_a_tail_is_cut),
        cmocka_unit_test(test_key_frames_too_far_apart_are_refused),
        cmocka_unit_test(test_open_gops_are_seen),
        cmocka_unit_test(test_another_description_begins_another_segment),
        cmocka_unit_test(test_a_film_is_cut_alike_while_its_index_is_read),
        cmocka_unit_test(test_fragments_point_at_the_samples_of_the_file),
        cmocka_unit_test(test_what_lies_apart_is_gathered),
        cmocka_unit_test(test_names_are_read_as_they_are_written),
        cmocka_unit_test(test_subtitles_become_webvtt),
        cmocka_unit_test(test_a_text_is_compressed),
        cmocka_unit_test(test_codecs_have_the_names_that_players_ask_for),
        cmocka_unit_test(test_codecs_that_no_player_takes_are_refused),
        cmocka_unit_test(test_sound_apart_is_a_rendition_of_its_own),
        cmocka_unit_test(test_the_index_is_found_wherever_it_is),
        cmocka_unit_test(test_an_index_at_the_end_is_one_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
