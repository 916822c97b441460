/*
 * Unit tests of httpd/media/ebml_cues: what becomes of the points of a Matroska file's Cues, and which Cues cannot be used.
 */
#include "httpd/media/ebml_cues.h"
#include "tests/unit/library/mkv_maker.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define SEGMENT 100  /* where the segment's body begins */
#define BEGIN   1000 /* the first cluster */
#define END     100000
#define LEAST   5400 /* ticks of a millisecond */

enum { PICTURE = 7, SOUND = 8, TEXT = 9 }; /* numbers of the tracks */

struct cues {
    struct ebml_film *film;
    struct media_buffer body;
    size_t point;
};

static int setup(void **state)
{
    struct cues *cues = calloc(1, sizeof(*cues));
    assert_non_null(cues);
    cues->film = ebml_film_create();
    assert_non_null(cues->film);
    struct ebml_tracks *tracks = &cues->film->tracks;
    tracks->scale = 1000000;
    tracks->duration = 20000;
    tracks->count = 3;
    tracks->items[0] = (struct ebml_track){.number = PICTURE, .kind = MEDIA_VIDEO, .codec = EBML_AVC};
    tracks->items[1] = (struct ebml_track){.number = SOUND, .kind = MEDIA_AUDIO, .codec = EBML_AAC};
    tracks->items[2] = (struct ebml_track){.number = TEXT, .kind = MEDIA_SUBTITLE, .codec = EBML_TEXT};
    cues->film->begin = BEGIN;
    cues->film->end = END;
    *state = cues;
    return 0;
}

static int teardown(void **state)
{
    struct cues *cues = *state;
    ebml_film_destroy(cues->film);
    media_buffer_clear(&cues->body);
    free(cues);
    return 0;
}

static void begin_point(struct cues *cues, uint64_t time)
{
    cues->point = mkv_begin(&cues->body, 0xbb);
    mkv_number(&cues->body, 0xb3, time);
}

static void end_point(struct cues *cues)
{
    mkv_end(&cues->body, cues->point);
}

/* AT: in the file. RELATIVE -1: is left out. */
static void put_positions(struct cues *cues, uint64_t track, uint64_t at, int64_t relative)
{
    size_t positions = mkv_begin(&cues->body, 0xb7);
    mkv_number(&cues->body, 0xf7, track);
    mkv_number(&cues->body, 0xf1, at - SEGMENT);
    if (relative >= 0)
        mkv_number(&cues->body, 0xf0, (uint64_t)relative);
    mkv_end(&cues->body, positions);
}

static void put_point(struct cues *cues, uint64_t time, uint64_t track, uint64_t at)
{
    begin_point(cues, time);
    put_positions(cues, track, at, -1);
    end_point(cues);
}

static bool read_body(struct cues *cues)
{
    assert_false(cues->body.failed);
    return ebml_cues_read(cues->film, SEGMENT, LEAST, (struct media_view){cues->body.bytes, cues->body.size});
}

static void assert_cuts(const struct cues *cues, const struct ebml_cut *expected, size_t count)
{
    assert_int_equal(cues->film->cut_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(cues->film->cuts[i].time, expected[i].time);
        assert_int_equal(cues->film->cuts[i].position, expected[i].position);
    }
}

static void test_points_of_the_reference_become_cuts_that_are_long_enough(void **state)
{
    struct cues *cues = *state;
    static const struct ebml_cut expected[] = {{0, BEGIN}, {5400, 3000}, {12000, 9000}};
    put_point(cues, 0, PICTURE, 2000); /* what comes before it belongs to the first segment */
    put_point(cues, 2000, SOUND, 2500);
    put_point(cues, 5399, PICTURE, 2900);
    put_point(cues, 5400, PICTURE, 3000);
    put_point(cues, 11000, 99, 8000); /* a track that is not streamed */
    put_point(cues, 12000, PICTURE, 9000);
    mkv_text(&cues->body, 0xec, "void");
    assert_true(read_body(cues));
    assert_cuts(cues, expected, ARRAY_SIZE(expected));
    assert_int_equal(cues->film->end_time, 20000);
    assert_int_equal(cues->film->cue_count, 0);
}

static void test_one_position_of_a_track_counts_in_each_point(void **state)
{
    struct cues *cues = *state;
    static const struct ebml_cut expected[] = {{0, BEGIN}, {6000, 3000}};
    put_point(cues, 0, PICTURE, BEGIN);
    begin_point(cues, 6000);
    put_positions(cues, SOUND, 2800, -1);
    put_positions(cues, PICTURE, 3000, -1);
    put_positions(cues, PICTURE, 4000, -1);
    end_point(cues);
    assert_true(read_body(cues));
    assert_cuts(cues, expected, ARRAY_SIZE(expected));
}

static void test_blocks_of_subtitles_are_kept_where_their_place_is_said(void **state)
{
    struct cues *cues = *state;
    put_point(cues, 0, PICTURE, BEGIN);
    begin_point(cues, 500);
    put_positions(cues, TEXT, 1000, 17);
    put_positions(cues, TEXT, 1100, -1);              /* which block of the cluster? */
    put_positions(cues, TEXT, END, 17);               /* behind the end */
    put_positions(cues, TEXT, 1000, END - SEGMENT);   /* likewise */
    put_positions(cues, TEXT, UINT64_MAX, INT64_MAX); /* a sum of them would not fit */
    end_point(cues);
    assert_true(read_body(cues));
    assert_int_equal(cues->film->cue_count, 1);
    assert_int_equal(cues->film->cues[0].track, TEXT);
    assert_int_equal(cues->film->cues[0].cluster, 1000);
    assert_int_equal(cues->film->cues[0].relative, 17);
    assert_int_equal(cues->film->cut_count, 1);
}

static void test_positions_outside_of_the_segment_make_cues_useless(void **state)
{
    struct cues *cues = *state;
    put_point(cues, 0, PICTURE, BEGIN);
    put_point(cues, 6000, PICTURE, END - 1);
    assert_true(read_body(cues));
    cues->film->cut_count = 0;
    put_point(cues, 12000, PICTURE, END);
    assert_false(read_body(cues));
}

static void test_positions_before_the_first_cluster_make_cues_useless(void **state)
{
    struct cues *cues = *state;
    static const struct ebml_cut expected[] = {{0, BEGIN}, {6000, BEGIN}};
    put_point(cues, 0, PICTURE, BEGIN - 500); /* of the first one it does not matter */
    put_point(cues, 6000, PICTURE, BEGIN);
    assert_true(read_body(cues));
    assert_cuts(cues, expected, ARRAY_SIZE(expected));
    media_buffer_clear(&cues->body);
    cues->film->cut_count = 0;
    put_point(cues, 0, PICTURE, BEGIN - 500);
    put_point(cues, 6000, PICTURE, BEGIN - 1);
    assert_false(read_body(cues));
}

static void test_a_position_or_time_that_is_missing_or_absurd_makes_cues_useless(void **state)
{
    struct cues *cues = *state;
    begin_point(cues, 0);
    size_t positions = mkv_begin(&cues->body, 0xb7);
    mkv_number(&cues->body, 0xf7, PICTURE);
    mkv_end(&cues->body, positions);
    end_point(cues);
    assert_true(
        read_body(cues)); /* the position's default is the segment's beginning, and this is the first */
    media_buffer_clear(&cues->body);
    put_point(cues, ((uint64_t)1 << 52) + 1, PICTURE, BEGIN);
    assert_false(read_body(cues));
    media_buffer_clear(&cues->body);
    cues->point = mkv_begin(&cues->body, 0xbb);
    put_positions(cues, PICTURE, BEGIN, -1);
    end_point(cues);
    assert_false(read_body(cues));
}

static void test_cues_must_reach_from_the_beginning_to_the_end_without_a_gap(void **state)
{
    struct cues *cues = *state;
    assert_false(read_body(cues)); /* none at all */
    put_point(cues, 0, PICTURE, BEGIN);
    cues->film->tracks.duration = 59999;
    assert_true(read_body(cues));
    cues->film->cut_count = 0;
    cues->film->tracks.duration = 60000; /* a segment of a minute */
    assert_false(read_body(cues));
    cues->film->cut_count = 0;
    cues->film->tracks.duration = 0; /* nothing says when it ends */
    assert_false(read_body(cues));
    cues->film->cut_count = 0;
    cues->film->tracks.duration = 1e300;
    assert_false(read_body(cues));
    cues->film->cut_count = 0;
    cues->film->tracks.duration = 70000;
    put_point(cues, 60000, PICTURE, 3000);
    assert_false(read_body(cues));
}

static void test_what_is_damaged_at_its_end_is_not_used(void **state)
{
    struct cues *cues = *state;
    put_point(cues, 0, PICTURE, BEGIN);
    put_point(cues, 6000, PICTURE, 3000);
    assert_true(read_body(cues));
    cues->film->cut_count = 0;
    cues->body.size--;
    assert_false(read_body(cues));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_points_of_the_reference_become_cuts_that_are_long_enough),
        TEST(test_one_position_of_a_track_counts_in_each_point),
        TEST(test_blocks_of_subtitles_are_kept_where_their_place_is_said),
        TEST(test_positions_outside_of_the_segment_make_cues_useless),
        TEST(test_positions_before_the_first_cluster_make_cues_useless),
        TEST(test_a_position_or_time_that_is_missing_or_absurd_makes_cues_useless),
        TEST(test_cues_must_reach_from_the_beginning_to_the_end_without_a_gap),
        TEST(test_what_is_damaged_at_its_end_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
