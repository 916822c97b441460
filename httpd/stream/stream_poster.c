/*
 * stream_poster: joining whoever makes that very picture already, or LOOKING in the cache (a worker), READING the key frames (the
 * loop), MAKING the picture (a worker).
 */
#include "httpd/stream/stream_poster.h"
#include "common/base/clock.h"
#include "httpd/media/media_set.h"
#include "httpd/media/mp4_fragments.h"
#include "httpd/stream/media_read.h"
#include "httpd/stream/stream_repack.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_MAX ((int64_t)4 * 1024 * 1024) /* of a stored range, in which its key frame must be */
#define FILM_NAME_SIZE                                                                                       \
    (HTTP_LOOKUP_ETAG_SIZE + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + PROTO_FILE_SIZE + 4)
#define KEY_MAX ((int64_t)16 * 1024 * 1024)

struct stream_poster {
    struct job job;
    struct stream_poster_options options; /* done NULL: nobody waits any more */
    char key[DISK_CACHE_KEY_SIZE];
    char film_name[FILM_NAME_SIZE]; /* content and key of the file */
    struct media_buffer material;   /* what reel-poster gets */
    struct media_buffer heads;      /* of all tiles, one behind the other */
    size_t head_sizes[STORYBOARD_TILES];
    struct mp4_piece pieces[STORYBOARD_TILES]; /* of the file, behind each head */
    uint32_t tile;                             /* that is read next */
    struct media_read *read;
    struct stream_repack *repack;
    bool working;
    bool waiting; /* for another one that makes this very picture */
    bool leading; /* others may wait for the outcome of this one */
    struct poster_waiter waiter;
    size_t charged; /* of the loops' budget of memory */
    uint8_t *jpeg;
    size_t jpeg_size;
    struct error error;
};

/* Those that wait for the same picture get it, or ERROR; with neither one of them tries it again. */
static void poster_lead_no_more(struct stream_poster *poster, const struct error *error)
{
    if (poster->leading)
        poster_flights_end(&poster->options.service->flights, poster->key, poster->jpeg, poster->jpeg_size,
                           error);
    poster->leading = false;
}

static void poster_free(struct stream_poster *poster)
{
    poster_lead_no_more(poster, NULL);
    http_budget_change(poster->options.loop->budget, poster->charged, 0);
    media_read_cancel(poster->read);
    stream_repack_cancel(poster->repack);
    media_film_release(poster->options.film);
    http_lookup_file_release(poster->options.file);
    media_buffer_clear(&poster->material);
    media_buffer_clear(&poster->heads);
    free(poster->jpeg);
    free(poster);
}

static void poster_finish(struct stream_poster *poster, const struct error *error)
{
    stream_poster_callback done = poster->options.done;
    void *argument = poster->options.argument;
    uint8_t *jpeg = poster->jpeg;
    size_t size = poster->jpeg_size;
    struct error copy = error ? *error : (struct error){.code = 0};
    poster_lead_no_more(poster, error);
    poster->jpeg = NULL;
    poster_free(poster);
    done(argument, jpeg, size, error ? &copy : NULL);
}

static void poster_fail(struct stream_poster *poster, int code, const char *text)
{
    struct error error;
    (void)error_set(&error, code, "%s", text);
    poster_finish(poster, &error);
}

/* ---- making ---- */

static bool poster_work(struct stream_poster *poster, void (*run)(struct job *job),
                        void (*done)(struct job *job))
{
    poster->job = (struct job){.run = run, .done = done, .loop = poster->options.loop->loop};
    poster->working = workers_submit(poster->options.service->workers, &poster->job);
    return poster->working;
}

/* Under which its failure is remembered, whatever its width. */
static uint32_t poster_place(const struct stream_poster *poster)
{
    return poster->options.tiles > 1 ? POSTER_SHEET : poster->options.first;
}

static void poster_make_run(struct job *job)
{
    struct stream_poster *poster = CONTAINER_OF(job, struct stream_poster, job);
    const struct stream_poster_options *options = &poster->options;
    const struct poster_request request = {
        .magic = POSTER_MAGIC,
        .container = options->film->kind == FILM_TS ? POSTER_TS : POSTER_MP4,
        .width = options->width,
        .height = options->height,
        .tiles = options->tiles,
        .columns = options->columns,
        .size = (uint32_t)poster->material.size,
    };
    int64_t holds_ms;
    if (!poster_service_ask(options->service, &request, poster->material.bytes, &poster->jpeg,
                            &poster->jpeg_size, &holds_ms, &poster->error)) {
        if (holds_ms > 0)
            poster_failures_add(&options->service->failures, poster->film_name, poster_place(poster),
                                &poster->error, clock_monotonic_ms() + holds_ms);
        return;
    }
    if (options->service->cache)
        disk_cache_put(options->service->cache, poster->key, poster->jpeg, poster->jpeg_size);
}

static void poster_made(struct job *job)
{
    struct stream_poster *poster = CONTAINER_OF(job, struct stream_poster, job);
    poster->working = false;
    if (poster->options.done) {
        poster_finish(poster, poster->jpeg ? NULL : &poster->error);
        return;
    }
    poster_lead_no_more(poster, poster->jpeg ? NULL : &poster->error); /* others may still want it */
    poster_free(poster);
}

/* The bytes that are brought into memory, and what is made of them. False: it was refused. */
static bool poster_charge(struct stream_poster *poster, int64_t size)
{
    if (!http_budget_take(poster->options.loop->budget, 2 * (size_t)size)) {
        poster_fail(poster, ERROR_EXHAUSTED, "too many pictures are being made (httpd.stream_memory)");
        return false;
    }
    poster->charged = 2 * (size_t)size;
    return true;
}

static void poster_make(struct stream_poster *poster)
{
    if (poster->material.failed)
        poster_fail(poster, ERROR_EXHAUSTED, "no memory for a picture");
    else if (poster->material.size == 0 || poster->material.size > POSTER_SIZE_MAX)
        poster_fail(poster, ERROR_UNKNOWN_COMMAND, "its key frames are too large for a picture");
    else if (!poster_work(poster, poster_make_run, poster_made))
        poster_fail(poster, ERROR_EXHAUSTED, "too many pictures wait to be made");
}

/* ---- reading ---- */

/* The bytes of all pieces have come: each goes behind its head. */
static void poster_on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_poster *poster = argument;
    size_t at = 0, head = 0;
    poster->read = NULL;
    if (error) {
        poster_finish(poster, error);
        return;
    }
    for (uint32_t i = 0; i < poster->tile; i++) {
        media_put(&poster->material, poster->heads.bytes + head, poster->head_sizes[i]);
        size_t part = min_size((size_t)poster->pieces[i].size, size - at);
        if (!poster->options.film->cut && poster->options.film->kind != FILM_TS)
            mp4_fragments_move(bytes + at, part, poster->pieces[i].offset - (int64_t)poster->material.size);
        media_put(&poster->material, bytes + at, part);
        head += poster->head_sizes[i];
        at += part;
    }
    free(bytes);
    poster_make(poster);
}

static void poster_read_pieces(struct stream_poster *poster)
{
    const struct stream_poster_options *options = &poster->options;
    int64_t size = 0;
    if (poster->heads.failed) {
        poster_fail(poster, ERROR_EXHAUSTED, "no memory for a picture");
        return;
    }
    for (uint32_t i = 0; i < poster->tile; i++)
        size += poster->pieces[i].size;
    if (!poster_charge(poster, size))
        return;
    poster->read =
        media_read_start(options->loop, options->file, poster->pieces, poster->tile, poster_on_bytes, poster);
    if (!poster->read)
        poster_fail(poster, ERROR_EXHAUSTED, "no memory for reading a file");
}

static size_t key_parts(const struct stream_poster *poster, uint32_t segment, struct mp4_part *parts)
{
    return media_stream_parts(poster->options.film, STREAM_KEYS, 0, segment, parts);
}

/* A stored range, from its beginning, behind the bytes that all need. */
static void poster_read_range(struct stream_poster *poster)
{
    const struct film_ranges *ranges = &poster->options.film->ranges;
    const struct film_range *range = &ranges->items[poster->options.first];
    if (ranges->init_size > 0)
        poster->pieces[poster->tile++] = (struct mp4_piece){0, ranges->init_size};
    poster->pieces[poster->tile++] = (struct mp4_piece){range->offset, min_i64(range->size, RANGE_MAX)};
    poster_read_pieces(poster);
}

/* Heads of all tiles, and where their key frames lie. */
static void poster_read_samples(struct stream_poster *poster)
{
    const struct stream_poster_options *options = &poster->options;
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment fragment;
    int64_t sum = 0;
    for (uint32_t i = 0; i < options->tiles; i++) {
        uint32_t segment = options->first + i * options->step;
        size_t count = key_parts(poster, segment, parts);
        if (count == 0 || parts[0].count == 0) /* sound goes on behind the last picture */
            continue;
        if (!mp4_fragment_make(parts, count, i + 1, &fragment, &poster->error)) {
            poster_finish(poster, &poster->error);
            return;
        }
        media_put(&poster->heads, fragment.head.bytes, fragment.head.size);
        poster->head_sizes[poster->tile] = fragment.head.size;
        poster->pieces[poster->tile++] = (struct mp4_piece){fragment.offset, max_i64(fragment.length, 1)};
        sum += fragment.length;
        mp4_fragment_clear(&fragment);
    }
    if (poster->tile == 0 || sum > STORYBOARD_BYTES)
        poster_fail(poster, ERROR_UNKNOWN_COMMAND,
                    poster->tile == 0 ? "it has no picture there"
                                      : "its key frames are too large for a picture");
    else
        poster_read_pieces(poster);
}

static void poster_repack_next(struct stream_poster *poster);

static void poster_on_repacked(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_poster *poster = argument;
    poster->repack = NULL;
    if (error) {
        poster_finish(poster, error);
        return;
    }
    media_put(&poster->material, bytes, size);
    free(bytes);
    poster->tile++;
    poster_repack_next(poster);
}

static void poster_repack_next(struct stream_poster *poster)
{
    const struct stream_poster_options *options = &poster->options;
    struct mp4_part parts[MP4_PARTS_MAX];
    struct ebml_segment_options segment = {.film = options->film,
                                           .number = options->first + poster->tile * options->step,
                                           .count = 1,
                                           .key_only = true,
                                           .bytes_max = KEY_MAX};
    if (poster->tile >= options->tiles) {
        poster_make(poster);
        return;
    }
    if (poster->material.size > STORYBOARD_BYTES) {
        poster_fail(poster, ERROR_UNKNOWN_COMMAND, "its key frames are too large for a picture");
        return;
    }
    (void)key_parts(poster, segment.number, parts);
    segment.tracks[0] = (size_t)(parts[0].track - options->film->index->tracks);
    poster->repack = stream_repack_start(options->loop, options->workers, options->file, &segment,
                                         poster_on_repacked, poster);
    if (!poster->repack)
        poster_fail(poster, ERROR_EXHAUSTED, "no memory for a picture");
}

static void poster_read(struct stream_poster *poster)
{
    const struct media_film *film = poster->options.film;
    struct mp4_part parts[MP4_PARTS_MAX];
    if (!film->cut) {
        poster_read_range(poster);
        return;
    }
    size_t count = key_parts(poster, UINT32_MAX, parts);
    if (count == 0) {
        poster_fail(poster, ERROR_UNKNOWN_COMMAND, "it has no pictures");
        return;
    }
    if (!film->ebml)
        parts[0].description = mp4_cut_description(
            film->cut, film->index, mp4_index_first(film->index, MEDIA_VIDEO), poster->options.first);
    mp4_fragment_init(film->index, parts, count, &poster->material);
    if (!film->ebml)
        poster_read_samples(poster);
    else if (poster_charge(poster, KEY_MAX + (poster->options.tiles > 1 ? STORYBOARD_BYTES : 0)))
        poster_repack_next(poster);
}

/* ---- looking in the cache ---- */

static void poster_look_run(struct job *job)
{
    struct stream_poster *poster = CONTAINER_OF(job, struct stream_poster, job);
    if (poster->options.service->cache)
        poster->jpeg = disk_cache_get(poster->options.service->cache, poster->key, &poster->jpeg_size);
}

static void poster_looked(struct job *job)
{
    struct stream_poster *poster = CONTAINER_OF(job, struct stream_poster, job);
    poster->working = false;
    if (!poster->options.done) {
        poster_lead_no_more(poster, NULL);
        poster_free(poster);
    } else if (poster->jpeg) {
        poster_finish(poster, NULL);
    } else if (poster_failures_find(&poster->options.service->failures, poster->film_name,
                                    poster_place(poster), clock_monotonic_ms(), &poster->error)) {
        poster_finish(poster, &poster->error);
    } else {
        poster_read(poster);
    }
}

static void poster_make_key(struct stream_poster *poster)
{
    const struct stream_poster_options *options = &poster->options;
    const struct proto_file_key *key = &options->file->key;
    char text[FILM_NAME_SIZE + 96];
    (void)snprintf(poster->film_name, sizeof(poster->film_name), "%s/%s/%s/%s", options->file->etag,
                   key->application, key->user, key->file);
    int size = snprintf(text, sizeof(text), "1/%s/%u/%u/%u/%u/%u/%u", poster->film_name, options->first,
                        options->step, options->tiles, options->columns, options->width, options->height);
    disk_cache_key(text, min_size((size_t)size, sizeof(text)), poster->key);
}

/* ---- who makes it ---- */

/* False: no memory, or no worker takes it. */
static bool poster_begin(struct stream_poster *poster)
{
    switch (poster_flights_join(&poster->options.service->flights, poster->key, &poster->waiter)) {
    case POSTER_WAITS:
        poster->waiting = true;
        return true;
    case POSTER_LEADS:
        poster->leading = true;
        return poster_work(poster, poster_look_run, poster_looked);
    default:
        return false;
    }
}

/* Whoever made it has come to an end. */
static void poster_woken(struct task *task)
{
    struct stream_poster *poster = CONTAINER_OF(task, struct stream_poster, waiter.task);
    poster->waiting = false;
    poster->jpeg = poster->waiter.jpeg;
    poster->jpeg_size = poster->waiter.size;
    if (!poster->options.done)
        poster_free(poster);
    else if (poster->jpeg)
        poster_finish(poster, NULL);
    else if (poster->waiter.error.code != 0)
        poster_finish(poster, &poster->waiter.error);
    else if (!poster_begin(poster))
        poster_fail(poster, ERROR_EXHAUSTED, "too many pictures wait to be made");
}

struct stream_poster *stream_poster_start(const struct stream_poster_options *options)
{
    struct stream_poster *poster = calloc(1, sizeof(*poster));
    if (!poster)
        return NULL;
    poster->options = *options;
    poster->options.film = media_film_take(options->film);
    poster->options.file = http_lookup_file_take(options->file);
    poster->waiter.loop = options->loop->loop;
    poster->waiter.task.run = poster_woken;
    poster_make_key(poster);
    if (poster_begin(poster))
        return poster;
    poster_free(poster);
    return NULL;
}

void stream_poster_cancel(struct stream_poster *poster)
{
    if (!poster)
        return;
    poster->options.done = NULL;
    bool posted = poster->waiting &&
                  !poster_flights_leave(&poster->options.service->flights, poster->key, &poster->waiter);
    if (!poster->working && !posted) {
        poster_free(poster);
        return;
    }
    http_lookup_file_release(poster->options.file); /* its end frees it; what belongs to the loop goes now */
    poster->options.file = NULL;
}
