/*
 * Unit tests of httpd/media: covers as ranges of the file (MP4, Matroska, ID3, FLAC), also where sizes lie; storyboards and times of
 * posters; fragments that are moved.
 */
#include "httpd/media/media_cover.h"
#include "httpd/media/mp4_fragments.h"
#include "httpd/media/storyboard.h"
#include "tests/unit/library/mkv_maker.h"
#include "tests/unit/library/mp4_maker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define TYPE MEDIA_TYPE

static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1};

/* The cover is SIZE bytes of FILE that are those of PICTURE. */
static void expect_cover(const struct media_cover *cover, const struct media_buffer *file,
                         const uint8_t *picture, size_t size, const char *type)
{
    assert_int_equal(cover->size, size);
    assert_true(cover->offset >= 0 && (size_t)cover->offset + size <= file->size);
    assert_memory_equal(file->bytes + cover->offset, picture, size);
    assert_string_equal(cover->type, type);
}

/* A moov with a covr. FULL: meta has version and flags, as in MP4 and not in QuickTime. */
static void put_moov(struct media_buffer *out, bool full, const uint8_t *picture, size_t size)
{
    size_t moov = media_box_begin(out, TYPE('m', 'o', 'o', 'v'));
    size_t udta = media_box_begin(out, TYPE('u', 'd', 't', 'a'));
    size_t meta = full ? media_box_begin_full(out, TYPE('m', 'e', 't', 'a'), 0, 0)
                       : media_box_begin(out, TYPE('m', 'e', 't', 'a'));
    size_t box = media_box_begin_full(out, TYPE('h', 'd', 'l', 'r'), 0, 0);
    media_put_zeros(out, 20);
    media_box_end(out, box);
    size_t ilst = media_box_begin(out, TYPE('i', 'l', 's', 't'));
    size_t covr = media_box_begin(out, TYPE('c', 'o', 'v', 'r'));
    size_t data = media_box_begin(out, TYPE('d', 'a', 't', 'a'));
    media_put_zeros(out, 8);
    media_put(out, picture, size);
    media_box_end(out, data);
    media_box_end(out, covr);
    media_box_end(out, ilst);
    media_box_end(out, meta);
    media_box_end(out, udta);
    media_box_end(out, moov);
}

static void a_cover_in_mp4_is_a_range_of_it(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        struct media_buffer moov = {0};
        struct media_cover cover = {0};
        put_moov(&moov, full, png, sizeof(png));
        media_cover_in_moov((struct media_view){moov.bytes, moov.size}, 0, &cover);
        expect_cover(&cover, &moov, png, sizeof(png), "image/png");
        int64_t offset = cover.offset;
        media_cover_in_moov((struct media_view){moov.bytes, moov.size}, 5000, &cover);
        assert_int_equal(cover.offset, offset + 5000);
        for (size_t size = 0; size < moov.size; size++) { /* cut off anywhere */
            cover.size = 0;
            media_cover_in_moov((struct media_view){moov.bytes, size}, 0, &cover);
            assert_int_equal(cover.size, 0);
        }
        media_buffer_clear(&moov);
    }
    struct media_buffer moov = {0};
    struct media_cover cover = {0};
    put_moov(&moov, true, (const uint8_t *)"<html>with a script</html>", 26);
    media_cover_in_moov((struct media_view){moov.bytes, moov.size}, 0, &cover);
    assert_int_equal(cover.size, 0); /* whatever it is, it is no picture */
    media_buffer_clear(&moov);
}

static void so_is_an_attachment_of_matroska(void **state)
{
    struct media_buffer body = {0};
    struct media_cover cover = {0};
    (void)state;
    size_t file = mkv_begin(&body, 0x61a7);
    mkv_text(&body, 0x465c, "a font, say");
    mkv_end(&body, file);
    file = mkv_begin(&body, 0x61a7);
    mkv_text(&body, 0x466e, "cover.jpg");
    mkv_bytes(&body, 0x465c, jpeg, sizeof(jpeg));
    mkv_end(&body, file);
    media_cover_in_attachments((struct media_view){body.bytes, body.size}, 0, &cover);
    expect_cover(&cover, &body, jpeg, sizeof(jpeg), "image/jpeg");
    media_buffer_clear(&body);
}

/* An ID3v2 tag with a frame of text and a picture; its size says MORE bytes than there are. */
static void put_id3(struct media_buffer *out, uint8_t version, bool wide, uint32_t more)
{
    size_t described = wide ? 6 : 3; /* "\xff\xfea\0" and two zeros; "a", "b" and a zero */
    uint32_t apic = (uint32_t)(1 + 10 + 1 + described + sizeof(jpeg));
    media_put_text(out, "ID3");
    media_put8(out, version);
    media_put16(out, 0);
    media_put32(out, 10 + 5 + 10 + apic + more); /* below 128: the same where seven bits of each byte count */
    media_put_text(out, "TIT2");
    media_put32(out, 5);
    media_put16(out, 0);
    media_put(out, "\0song", 5);
    media_put_text(out, "APIC");
    media_put32(out, apic + more);
    media_put16(out, 0);
    media_put8(out, wide ? 1 : 0);
    media_put(out, "image/jpg\0\3", 11);
    media_put(out,
              wide ? "\xff\xfe"
                     "a\0\0\0"
                   : "ab\0",
              described);
    media_put(out, jpeg, sizeof(jpeg));
}

static void so_is_the_picture_of_a_song(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct media_buffer file = {0};
        struct media_cover cover;
        put_id3(&file, i < 2 ? 3 : 4, i % 2, 0);
        media_cover_in_head((struct media_view){file.bytes, file.size}, (int64_t)file.size, &cover);
        expect_cover(&cover, &file, jpeg, sizeof(jpeg), "image/jpeg");
        for (size_t size = 0; size < file.size; size++) {
            media_cover_in_head((struct media_view){file.bytes, size}, (int64_t)size, &cover);
            assert_int_equal(cover.size, 0);
        }
        media_buffer_clear(&file);
    }
    struct media_buffer file = {0};
    struct media_cover cover;
    put_id3(&file, 3, false, 40); /* the frame goes past the end of the file */
    media_cover_in_head((struct media_view){file.bytes, file.size}, (int64_t)file.size, &cover);
    assert_int_equal(cover.size, 0);
    media_buffer_clear(&file);
}

static void so_is_the_picture_of_a_flac_file(void **state)
{
    (void)state;
    for (uint32_t lie = 0; lie < 2; lie++) {
        struct media_buffer file = {0};
        struct media_cover cover;
        media_put_text(&file, "fLaC");
        media_put32(&file, 4); /* STREAMINFO, shortened */
        media_put_zeros(&file, 4);
        uint32_t size = 32 + 9 + 2 + (uint32_t)sizeof(png);
        media_put32(&file, 0x86000000 | size);
        media_put32(&file, 3);
        media_put32(&file, 9);
        media_put_text(&file, "image/png");
        media_put32(&file, 2);
        media_put_text(&file, "ab");
        media_put_zeros(&file, 16);
        media_put32(&file, (uint32_t)sizeof(png) + lie);
        media_put(&file, png, sizeof(png));
        media_cover_in_head((struct media_view){file.bytes, file.size}, (int64_t)file.size, &cover);
        if (lie == 0)
            expect_cover(&cover, &file, png, sizeof(png), "image/png");
        else
            assert_int_equal(cover.size, 0);
        media_buffer_clear(&file);
    }
}

/* ---- storyboards ---- */

/* COUNT pictures of SIZE bytes, 25 a second, a key frame every two seconds. */
static struct media_film *make_film(uint32_t count, uint32_t size)
{
    const struct mp4_maker_track track = {.video = true,
                                          .timescale = 25,
                                          .count = count,
                                          .duration = 1,
                                          .size = size,
                                          .per_chunk = 1,
                                          .key_every = 50,
                                          .first_offset = 100,
                                          .chunk_step = size,
                                          .media_time = -2};
    struct media_buffer moov = {0};
    struct error error = {.text = ""};
    mp4_maker_moov(&moov, &track, 1);
    struct media_film *film = media_film_create(FILM_MP4, (int64_t)1 << 40);
    assert_non_null(film);
    film->index =
        mp4_index_create((struct media_view){moov.bytes, moov.size}, (int64_t)1 << 40, NULL, &error);
    assert_non_null(film->index);
    film->cut = mp4_maker_cut(film->index, 6000, &error);
    assert_non_null(film->cut);
    media_buffer_clear(&moov);
    return film;
}

static void a_storyboard_has_at_most_a_hundred_tiles_and_covers_the_film(void **state)
{
    (void)state;
    static const struct {
        uint32_t pictures, size, step, tiles;
    } cases[] = {{500, 1000, 1, 4}, {90000, 1000, 6, 100}, {15000, 4 << 20, 16, 7}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct media_film *film = make_film(cases[i].pictures, cases[i].size);
        struct storyboard board;
        struct media_buffer out = {0};
        assert_true(storyboard_plan(film, &board));
        assert_int_equal(board.step, cases[i].step);
        assert_int_equal(board.tiles, cases[i].tiles);
        assert_int_equal(board.width, 160);
        assert_int_equal(board.height, 90); /* of 640x360 */
        storyboard_vtt(film, &board, "x.jpg", &out);
        media_put8(&out, 0);
        const char *text = (const char *)out.bytes;
        assert_int_equal(strncmp(text, "WEBVTT\n\n00:00:00.000 --> ", 25), 0);
        assert_non_null(strstr(text, "\nx.jpg#xywh=160,0,160,90\n"));
        size_t cues = 0;
        for (const char *at = text; (at = strstr(at, "#xywh=")); at++)
            cues++;
        assert_int_equal(cues, board.tiles);
        media_buffer_clear(&out);
        media_film_release(film);
    }
}

static void a_time_is_in_the_segment_that_shows_it(void **state)
{
    struct media_film *film = make_film(500, 1000);
    (void)state;
    assert_int_equal(storyboard_segment(film, 0), 0);
    assert_int_equal(storyboard_segment(film, 5999), 0);
    assert_int_equal(storyboard_segment(film, 6000), 1);
    assert_int_equal(storyboard_segment(film, 19999), 3);
    assert_int_equal(storyboard_segment(film, INT64_C(999999999999)), 3);
    media_film_release(film);
    film = media_film_create(FILM_TS, 1000);
    assert_non_null(film);
    struct storyboard board;
    film->ranges.timescale = 90000;
    for (int i = 0; i < 3; i++)
        assert_true(film_ranges_add(&film->ranges, i * 100, 100, 90000));
    assert_int_equal(storyboard_segment(film, 999), 0);
    assert_int_equal(storyboard_segment(film, 1000), 1);
    assert_int_equal(storyboard_segment(film, 5000), 2);
    assert_false(storyboard_plan(film, &board));
    media_film_release(film);
}

static void fragments_that_name_places_are_moved(void **state)
{
    struct media_buffer file = {0};
    (void)state;
    for (uint32_t flags = 0; flags < 2; flags++) {
        size_t moof = media_box_begin(&file, TYPE('m', 'o', 'o', 'f'));
        size_t traf = media_box_begin(&file, TYPE('t', 'r', 'a', 'f'));
        size_t box = media_box_begin_full(&file, TYPE('t', 'f', 'h', 'd'), 0, flags);
        media_put32(&file, 1);
        media_put64(&file, INT64_C(5000000000));
        media_box_end(&file, box);
        media_box_end(&file, traf);
        media_box_end(&file, moof);
    }
    struct media_view view = {file.bytes, file.size};
    size_t half = file.size / 2;
    mp4_fragments_move(file.bytes, file.size, INT64_C(4999999000));
    assert_true(media_get64(view, half - 8) == UINT64_C(5000000000)); /* it has no place: nothing is moved */
    assert_true(media_get64(view, file.size - 8) == 1000);
    mp4_fragments_move(file.bytes, file.size - 4, 1); /* cut off */
    assert_true(media_get64(view, file.size - 8) == 1000);
    media_buffer_clear(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cover_in_mp4_is_a_range_of_it),
        cmocka_unit_test(so_is_an_attachment_of_matroska),
        cmocka_unit_test(so_is_the_picture_of_a_song),
        cmocka_unit_test(so_is_the_picture_of_a_flac_file),
        cmocka_unit_test(a_storyboard_has_at_most_a_hundred_tiles_and_covers_the_film),
        cmocka_unit_test(a_time_is_in_the_segment_that_shows_it),
        cmocka_unit_test(fragments_that_name_places_are_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
