/*
 * stream_text: playlists, manifests, facts and subtitles: made on a worker, and kept for the next request.
 */
#include "httpd/stream/stream_build.h"
#include "httpd/stream/stream_repack.h"
#include "httpd/stream/stream_state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX ((int64_t)4 * 1024 * 1024)

#define TEXT_KEY_MAX                                                                                         \
    (MEDIA_SET_MAX *                                                                                         \
         (HTTP_LOOKUP_ETAG_SIZE + PROTO_FILE_SIZE + PROTO_NAME_SIZE + HTTP_LOOKUP_TYPE_SIZE + 32) +          \
     PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + 80)

/* What a text is kept under: the files that it was made of, as they are called (languages, titles and the fields of an answer come
 * from there), and what it is. */
static size_t text_key(const struct stream_request *request, char key[TEXT_KEY_MAX])
{
    size_t size =
        (size_t)snprintf(key, TEXT_KEY_MAX, "%d/%s/%d/%s/%s", (int)request->service, request->resource,
                         (int)request->options.gzip, request->key.application, request->key.user);
    for (size_t i = 0; i < request->count; i++) {
        const struct http_lookup_file *file = request->items[i].file;
        if (file)
            size += (size_t)snprintf(key + size, TEXT_KEY_MAX - size, "%c%s%c%s%c%s%c%s%c%lld", '\0',
                                     file->etag, '\0', file->key.file, '\0', file->stat.name, '\0',
                                     file->content_type, '\0', (long long)file->last_modified);
        else
            key[size++] = '\0';
    }
    return size;
}

void stream_text_keep(struct stream_request *request, struct stream_body *body)
{
    char key[TEXT_KEY_MAX];
    if (body && !body->described->passing)
        stream_texts_keep(request->options.streams->texts, key, text_key(request, key), body);
}

bool stream_text_find(struct stream_request *request)
{
    char key[TEXT_KEY_MAX];
    struct stream_body *body =
        stream_texts_find(request->options.streams->texts, key, text_key(request, key));
    if (!body)
        return false;
    stream_finish_body(request, body);
    return true;
}

/* A file that it is made of could not be read, which says nothing of the file: the next request may get all of them. */
static bool lacks_for_now(const struct stream_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct stream_item *item = &request->items[i];
        if (item->needed && !item->film && !media_cache_is_refusal(item->error.code) &&
            item->error.code != ERROR_NOT_FOUND && item->error.code != ERROR_DELETED)
            return true;
    }
    return false;
}

static void text_is_made(void *argument, struct media_buffer *text, bool gzipped)
{
    struct stream_request *request = argument;
    bool stored = request->options.stored;
    const char *type = stored ? request->type : stream_build_type(request->service, &request->name);
    request->build = NULL;
    if (text->failed) {
        media_buffer_clear(text);
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for an answer");
        return;
    }
    struct stream_body *body =
        stream_body_create(stream_own(request)->file, text->bytes, text->size, 0, 0, type);
    if (body) {
        body->described->gzipped = gzipped;
        body->described->varies = true;
        body->described->passing = lacks_for_now(request);
        body->described->derived = !stored; /* what is to be saved stays so */
        stream_text_keep(request, body);
    }
    stream_finish_body(request, body);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is freed */
void stream_text_build(struct stream_request *request, uint8_t *material, size_t size)
{
    struct stream_loop *streams = request->options.streams;
    struct stream_build_options options = {.loop = streams->http->loop,
                                           .workers = streams->workers,
                                           .service = request->service,
                                           .name = request->name,
                                           .gzip = request->options.gzip,
                                           .stored = request->options.stored,
                                           .to_vtt = request->options.to_vtt,
                                           .material = material,
                                           .material_size = size,
                                           .done = text_is_made,
                                           .argument = request};
    options.set.count = request->count;
    for (size_t i = 0; i < request->count; i++) {
        const struct stream_item *item = &request->items[i];
        options.set.items[i].film = item->film;
        if (item->file)
            stream_build_label(item->file->stat.name, &options.set, i);
    }
    const struct stream_item *own = stream_own(request);
    options.file_name = own->file->stat.name[0] != '\0' ? own->file->stat.name : own->file->key.file;
    options.file_size = own->file->stat.size;
    options.file_type = own->file->content_type;
    options.reason = own->error.text;
    request->build = stream_build_start(&options);
    if (!request->build)
        stream_finish_failed(request, ERROR_UNAVAILABLE, "too many playlists wait to be made");
}

/* ---- subtitles ---- */

void stream_text_read(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->read = NULL;
    if (error)
        stream_finish_error(request, error);
    else
        stream_text_build(request, bytes, size);
}

static void refuse_text_track(struct stream_request *request, const struct mp4_track *track)
{
    struct error error;
    (void)error_set(&error, ERROR_UNKNOWN_COMMAND,
                    "its track %u, of subtitles, has %" PRId64 " bytes in %u samples; at most %" PRId64
                    " bytes in %d samples can be streamed",
                    request->name.track, track->bytes, (unsigned)track->count, TEXT_MAX,
                    MP4_FRAGMENT_SAMPLES_MAX);
    stream_finish_error(request, &error);
}

/* All samples of a track of text. */
static void read_text_track(struct stream_request *request, const struct mp4_track *track)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    size_t count = 0;
    int64_t size = 0;
    if (track->bytes > TEXT_MAX || track->count > MP4_FRAGMENT_SAMPLES_MAX) {
        refuse_text_track(request, track);
        return;
    }
    struct mp4_piece *pieces = malloc(((size_t)track->count + 1) * sizeof(*pieces));
    if (!pieces) {
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for subtitles");
        return;
    }
    mp4_cursor_seek(&cursor, track, 0);
    while (mp4_cursor_next(&cursor, &sample)) {
        if (sample.size == 0)
            continue;
        size += sample.size;
        if (count > 0 && pieces[count - 1].offset + pieces[count - 1].size == sample.offset)
            pieces[count - 1].size += sample.size;
        else
            pieces[count++] = (struct mp4_piece){sample.offset, sample.size};
    }
    if (count == 0)
        stream_text_build(request, NULL, 0);
    else
        stream_read(request, pieces, count, size, stream_text_read);
    free(pieces);
}

static void on_texts(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->repack = NULL;
    if (error)
        stream_finish_error(request, error);
    else
        stream_text_build(request, bytes, size);
}

static void read_matroska_texts(struct stream_request *request)
{
    struct stream_loop *streams = request->options.streams;
    struct stream_item *item = stream_own(request);
    if (!stream_charge(request, EBML_TEXTS_ROOM))
        return;
    request->repack = stream_repack_texts(streams->http, streams->workers, item->file, item->film,
                                          request->name.track, on_texts, request);
    if (!request->repack)
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for subtitles");
}

void stream_text_vtt(struct stream_request *request)
{
    struct stream_item *item = stream_own(request);
    const struct mp4_index *index = item->film->index;
    struct mp4_piece whole = {0, item->file->stat.size};
    if (item->film->kind == FILM_SUBTITLE)
        stream_read(request, &whole, 1, whole.size, stream_text_read);
    else if (!item->film->cut || request->name.track >= index->track_count ||
             index->tracks[request->name.track].kind != MEDIA_SUBTITLE)
        stream_finish(request, STREAM_ABSENT);
    else if (item->film->kind == FILM_MATROSKA)
        read_matroska_texts(request);
    else
        read_text_track(request, &index->tracks[request->name.track]);
}
