/*
 * Unit tests of clips: the moov that is made is read back as that of a file of its own, whose samples are those of the stored file
 * from key frame to key frame.
 */
#include "httpd/media/mp4_clip.h"
#include "tests/unit/library/mp4_maker.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TYPE   MEDIA_TYPE
#define LENGTH ((int64_t)1 << 34)

/* 20 s, a key frame every 2; sound in frames of 21.3 ms. */
static const struct mp4_maker_track audio = {.timescale = 48000,
                                             .count = 938,
                                             .duration = 1024,
                                             .size = 200,
                                             .per_chunk = 2,
                                             .first_offset = 1100,
                                             .chunk_step = 1400,
                                             .media_time = -2};

static struct mp4_index *index_of(const struct mp4_maker_track *tracks, size_t count)
{
    struct error error;
    struct mp4_index *index = mp4_maker_index(tracks, count, LENGTH, &error);
    assert_non_null(index);
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

static int64_t shown_at(const struct mp4_track *track, uint32_t number)
{
    struct mp4_sample sample = sample_at(track, number);
    return sample.dts + sample.cts;
}

/* The clip's own index; *DURATION in ms. */
static struct mp4_index *read_back(const struct mp4_clip *clip, int64_t *duration)
{
    struct media_view head = {clip->head.bytes, clip->head.size};
    struct media_box moov;
    struct error error = {.text = ""};
    assert_int_equal(media_get32(head, 4), TYPE('f', 't', 'y', 'p'));
    assert_true(media_box_find(head, TYPE('m', 'o', 'o', 'v'), &moov));
    struct mp4_index *index = mp4_index_create(moov.whole, (int64_t)head.size + clip->length, NULL, &error);
    if (!index)
        fail_msg("%s", error.text);
    size_t mdat = (size_t)(moov.whole.bytes - head.bytes) + moov.whole.size;
    bool wide = clip->length + 8 > UINT32_MAX;
    assert_int_equal(head.size - mdat, wide ? 16 : 8);
    assert_int_equal(media_get32(head, mdat + 4), TYPE('m', 'd', 'a', 't'));
    assert_int_equal(wide ? (int64_t)media_get64(head, mdat + 8) : media_get32(head, mdat),
                     clip->length + (wide ? 16 : 8));
    *duration = media_rescale(index->duration, 1000, index->timescale);
    return index;
}

/* COUNT samples of TRACK of the clip are those of the film from FIRST on, their times less SHIFT. */
static void same_samples(const struct mp4_clip *clip, const struct mp4_track *track,
                         const struct mp4_track *film, uint32_t first, uint32_t count, int64_t shift)
{
    assert_int_equal(track->count, count);
    for (uint32_t i = 0; i < count; i++) {
        struct mp4_sample own = sample_at(track, i), stored = sample_at(film, first + i);
        assert_int_equal(own.offset - (int64_t)clip->head.size + clip->offset, stored.offset);
        assert_int_equal(own.size, stored.size);
        assert_int_equal(own.duration, stored.duration);
        assert_int_equal(own.sync, stored.sync);
        assert_int_equal(own.description, stored.description);
        assert_int_equal(own.dts + own.cts, stored.dts + stored.cts - shift);
    }
}

static void check(const struct mp4_index *film, int64_t from, int64_t to, uint32_t first, uint32_t count)
{
    struct mp4_clip clip;
    struct error error = {.text = ""};
    int64_t duration;
    if (!mp4_clip_make(film, from, to, &clip, &error))
        fail_msg("%s", error.text);
    assert_true(clip.offset >= 0 && clip.length > 0 && clip.offset + clip.length <= LENGTH);
    struct mp4_index *index = read_back(&clip, &duration);
    int64_t shown = shown_at(&film->tracks[0], first), over = 0;
    for (uint32_t i = first; i < first + count; i++)
        over = max_i64(over, shown_at(&film->tracks[0], i) + 1);
    over = first + count < film->tracks[0].count ? shown_at(&film->tracks[0], first + count) : over;
    assert_int_equal(duration, (over - shown) * 40);
    same_samples(&clip, &index->tracks[0], &film->tracks[0], first, count, shown);
    if (film->track_count > 1) {
        int64_t start = shown * 48000 / 25;
        uint32_t sound = (uint32_t)(start / 1024);
        int64_t end = min_i64((start + (int64_t)count * 1920 + 1023) / 1024, film->tracks[1].count);
        same_samples(&clip, &index->tracks[1], &film->tracks[1], sound, (uint32_t)end - sound, start);
    }
    mp4_index_destroy(index);
    mp4_clip_clear(&clip);
}

static void test_clips_go_from_key_frame_to_key_frame(void **state)
{
    const struct mp4_maker_track tracks[] = {mp4_maker_video, audio};
    (void)state;
    struct mp4_index *film = index_of(tracks, 2);
    check(film, 0, INT64_MAX, 0, 500);
    check(film, 4000, 6000, 100, 50);
    check(film, 5999, 6001, 100, 100);
    check(film, 0, 1, 0, 50);
    check(film, 7000, 7001, 150, 50);
    check(film, 19000, INT64_MAX, 450, 50);
    check(film, 3000, 900000, 50, 450);
    mp4_index_destroy(film);
}

static void test_pictures_that_are_reordered(void **state)
{
    struct mp4_maker_track tracks[] = {mp4_maker_video, audio};
    (void)state;
    tracks[0].reorder =
        true; /* a key frame is shown one frame after it is decoded, the next three, none and two */
    tracks[0].media_time = 1;
    tracks[0].key_every = 4;
    struct mp4_index *film = index_of(tracks, 1);
    check(film, 0, INT64_MAX, 0, 500);
    check(film, 320, 800, 8, 12);
    mp4_index_destroy(film);
}

static void test_sound_that_begins_later(void **state)
{
    struct mp4_maker_track tracks[] = {mp4_maker_video, audio};
    struct mp4_clip clip;
    struct error error;
    int64_t duration;
    (void)state;
    tracks[1].empty_edit = 5000;
    tracks[1].media_time = 0;
    struct mp4_index *film = index_of(tracks, 2);
    assert_true(mp4_clip_make(film, 4000, 8000, &clip, &error));
    struct mp4_index *index = read_back(&clip, &duration);
    struct mp4_sample first = sample_at(&index->tracks[1], 0);
    assert_int_equal(first.dts + first.cts, 48000);
    assert_int_equal(index->tracks[1].count, 141);
    mp4_index_destroy(index);
    mp4_clip_clear(&clip);
    assert_true(mp4_clip_make(film, 0, 2000, &clip, &error)); /* none of it yet */
    index = read_back(&clip, &duration);
    assert_int_equal(index->track_count, 1);
    mp4_index_destroy(index);
    mp4_clip_clear(&clip);
    mp4_index_destroy(film);
}

static void test_clips_of_more_than_4_gib_and_sound_alone(void **state)
{
    struct mp4_maker_track wide = mp4_maker_video, sound = audio;
    struct mp4_clip clip;
    struct error error;
    int64_t duration;
    (void)state;
    wide.wide = true;
    wide.size = 12000000;
    wide.chunk_step = 12000000;
    struct mp4_index *film = index_of(&wide, 1);
    check(film, 0, INT64_MAX, 0, 500);
    mp4_index_destroy(film);
    film = index_of(&sound, 1);
    assert_true(mp4_clip_make(film, 1000, 2000, &clip, &error));
    struct mp4_index *index = read_back(&clip, &duration);
    same_samples(&clip, &index->tracks[0], &film->tracks[0], 46, 48, 46 * 1024);
    mp4_index_destroy(index);
    mp4_clip_clear(&clip);
    mp4_index_destroy(film);
}

static void refused(const struct mp4_index *film, int64_t from, int code, const char *why)
{
    struct mp4_clip clip;
    struct error error = {.text = ""};
    assert_false(mp4_clip_make(film, from, INT64_MAX, &clip, &error));
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.text, why));
    assert_null(clip.head.bytes);
}

static void test_what_cannot_be_says_why(void **state)
{
    struct mp4_maker_track tracks[] = {mp4_maker_video, audio};
    (void)state;
    struct mp4_index *film = index_of(tracks, 2);
    refused(film, 20000, ERROR_NOT_FOUND, "it ends before");
    mp4_index_destroy(film);
    tracks[1].first_offset = INT64_C(100000000);
    film = index_of(tracks, 2);
    refused(film, 0, ERROR_UNKNOWN_COMMAND, "too far apart");
    mp4_index_destroy(film);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clips_go_from_key_frame_to_key_frame),
        cmocka_unit_test(test_pictures_that_are_reordered),
        cmocka_unit_test(test_sound_that_begins_later),
        cmocka_unit_test(test_clips_of_more_than_4_gib_and_sound_alone),
        cmocka_unit_test(test_what_cannot_be_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
