/*
 * stream_repack: a range is read on the loop, looked at by a worker, and so on until the segment is whole.
 */
#include "httpd/stream/stream_repack.h"
#include "httpd/stream/media_read.h"
#include <stdlib.h>

struct stream_repack {
    struct job job;
    struct http_loop *loop;
    struct workers *workers;
    struct http_lookup_file *file;
    struct media_film *film;
    struct ebml_segment *segment; /* one of the two */
    struct ebml_texts *texts;
    struct media_read *read;
    stream_repack_callback callback; /* NULL: nobody waits any more */
    void *argument;
    uint8_t *bytes; /* for the worker */
    size_t size;
    bool working;
    enum walk_step step;
    struct media_buffer made;
    struct error error;
};

static void repack_free(struct stream_repack *repack)
{
    media_read_cancel(repack->read);
    ebml_segment_destroy(repack->segment);
    ebml_texts_destroy(repack->texts);
    media_film_release(repack->film);
    http_lookup_file_release(repack->file);
    media_buffer_clear(&repack->made);
    free(repack->bytes);
    free(repack);
}

static void repack_finish(struct stream_repack *repack, const struct error *error)
{
    stream_repack_callback callback = repack->callback;
    void *argument = repack->argument;
    struct media_buffer made = repack->made;
    struct error copy = error ? *error : (struct error){.code = 0};
    repack->made = (struct media_buffer){0};
    repack_free(repack);
    if (error)
        media_buffer_clear(&made);
    callback(argument, made.bytes, made.size, error ? &copy : NULL);
}

static void repack_on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error);

static bool repack_read(struct stream_repack *repack)
{
    struct mp4_piece piece;
    const struct mp4_piece *pieces = &piece;
    size_t count = 1;
    if (repack->segment)
        ebml_segment_wanted(repack->segment, &piece.offset, &piece.size);
    else
        pieces = ebml_texts_wanted(repack->texts, &count);
    repack->read = media_read_start(repack->loop, repack->file, pieces, count, repack_on_bytes, repack);
    return repack->read;
}

static void repack_run(struct job *job)
{
    struct stream_repack *repack = CONTAINER_OF(job, struct stream_repack, job);
    struct media_view view = {repack->bytes, repack->size};
    repack->step = repack->segment ? ebml_segment_feed(repack->segment, view, &repack->made, &repack->error)
                                   : ebml_texts_feed(repack->texts, view, &repack->made, &repack->error);
}

static void repack_done(struct job *job)
{
    struct stream_repack *repack = CONTAINER_OF(job, struct stream_repack, job);
    repack->working = false;
    free(repack->bytes);
    repack->bytes = NULL;
    if (!repack->callback) {
        repack_free(repack);
        return;
    }
    if (repack->step == WALK_READ && repack_read(repack))
        return;
    if (repack->step == WALK_READ)
        (void)error_set(&repack->error, ERROR_UNAVAILABLE, "no memory for reading it");
    repack_finish(repack, repack->step == WALK_DONE ? NULL : &repack->error);
}

static void repack_on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_repack *repack = argument;
    repack->read = NULL;
    repack->bytes = bytes;
    repack->size = size;
    if (!error) {
        repack->job = (struct job){.run = repack_run, .done = repack_done, .loop = repack->loop->loop};
        repack->working = workers_submit(repack->workers, &repack->job);
        if (repack->working)
            return;
        (void)error_set(&repack->error, ERROR_UNAVAILABLE, "too many segments wait to be put together");
        error = &repack->error;
    }
    struct error copy = *error;
    repack_finish(repack, &copy);
}

static struct stream_repack *repack_create(struct http_loop *loop, struct workers *workers,
                                           struct http_lookup_file *file, const struct media_film *film,
                                           stream_repack_callback callback, void *argument)
{
    struct stream_repack *repack = calloc(1, sizeof(*repack));
    if (!repack)
        return NULL;
    repack->loop = loop;
    repack->workers = workers;
    repack->callback = callback;
    repack->argument = argument;
    repack->file = http_lookup_file_take(file);
    repack->film = media_film_take((struct media_film *)film);
    return repack;
}

static struct stream_repack *repack_begin(struct stream_repack *repack)
{
    if ((repack->segment || repack->texts) && repack_read(repack))
        return repack;
    repack_free(repack);
    return NULL;
}

struct stream_repack *stream_repack_start(struct http_loop *loop, struct workers *workers,
                                          struct http_lookup_file *file,
                                          const struct ebml_segment_options *options,
                                          stream_repack_callback callback, void *argument)
{
    struct stream_repack *repack = repack_create(loop, workers, file, options->film, callback, argument);
    if (!repack)
        return NULL;
    repack->segment = ebml_segment_create(options);
    return repack_begin(repack);
}

struct stream_repack *stream_repack_texts(struct http_loop *loop, struct workers *workers,
                                          struct http_lookup_file *file, struct media_film *film,
                                          size_t track, stream_repack_callback callback, void *argument)
{
    struct stream_repack *repack = repack_create(loop, workers, file, film, callback, argument);
    if (!repack)
        return NULL;
    repack->texts = ebml_texts_create(film, track);
    return repack_begin(repack);
}

void stream_repack_cancel(struct stream_repack *repack)
{
    if (!repack)
        return;
    repack->callback = NULL;
    if (repack->working) { /* its end frees it; what belongs to the loop goes now */
        http_lookup_file_release(repack->file);
        repack->file = NULL;
        return;
    }
    repack_free(repack);
}
