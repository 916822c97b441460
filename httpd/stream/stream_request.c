/*
 * stream_request: one state, from the first look-up to the answer. Nothing is asked for that the answer does not need.
 */
#include "httpd/stream/stream_request.h"
#include "common/base/log.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/stream/media_read.h"
#include "httpd/stream/stream_build.h"
#include "httpd/stream/stream_clip.h"
#include "httpd/stream/stream_poster.h"
#include "httpd/stream/stream_repack.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_TYPE "video/mp4"
#define AUDIO_TYPE   "audio/mp4"

/* Bytes that one answer may bring into memory. */
#define GATHER_MAX ((int64_t)48 * 1024 * 1024)
#define TEXT_MAX   ((int64_t)4 * 1024 * 1024)

/* One file of the set, on its way. */
struct stream_item {
    struct stream_request *request;
    bool needed;
    struct http_lookup_wait *lookup;
    struct media_cache_wait *wait;
    struct http_lookup_file *file; /* a reference */
    struct media_film *film;       /* a reference */
    struct error error;            /* why there is none; code 0: there may be */
};

struct stream_request {
    struct stream_request_options options;
    char type[HTTP_LOOKUP_TYPE_SIZE]; /* of a stored text */
    struct proto_file_key key;        /* application and user */
    enum http_service service;
    struct media_name name;
    char resource[MEDIA_NAME_MAX];
    size_t count;
    size_t waiting; /* items that have not been answered */
    bool started;   /* stream_request_start() has returned: wake() may come */
    bool ready;
    struct stream_result result;
    struct stream_item items[MEDIA_SET_MAX];

    struct media_read *read;
    size_t charged;               /* of the loops' budget of memory */
    struct mp4_fragment fragment; /* whose pieces are being read */
    struct stream_build *build;
    struct stream_repack *repack;
    struct stream_clip *clip;
    struct stream_poster *poster;
    int64_t picture_time, picture_width; /* of the target */
    bool prepared;                       /* the first look at the texts was taken */
};

/* ---- memory ---- */

static void charge_nothing(struct stream_request *request)
{
    http_budget_change(request->options.streams->http->budget, request->charged, 0);
    request->charged = 0;
}

static void finish(struct stream_request *request, enum stream_outcome outcome)
{
    charge_nothing(request);
    request->result.outcome = outcome;
    request->ready = true;
    if (request->started)
        request->options.wake(request->options.argument);
}

static void finish_error(struct stream_request *request, const struct error *error)
{
    request->result.error = *error;
    if (media_cache_is_refusal(error->code))
        finish(request, STREAM_REFUSED);
    else if (error->code == ERROR_NOT_FOUND || error->code == ERROR_DELETED)
        finish(request, STREAM_ABSENT);
    else
        finish(request, error->code == ERROR_EXHAUSTED ? STREAM_BUSY : STREAM_FAILED);
}

static void finish_failed(struct stream_request *request, int code, const char *text)
{
    struct error error;
    (void)error_set(&error, code, "%s", text);
    finish_error(request, &error);
}

/* False: the request was refused. */
static bool charge(struct stream_request *request, size_t size)
{
    if (!http_budget_take(request->options.streams->http->budget, size)) {
        finish_failed(request, ERROR_EXHAUSTED,
                      "too many segments, clips and pictures are being put together (httpd.stream_memory)");
        return false;
    }
    request->charged = size;
    return true;
}

/* BODY NULL: no memory. */
static void finish_body(struct stream_request *request, struct stream_body *body)
{
    if (!body) {
        finish_failed(request, ERROR_UNAVAILABLE, "no memory for an answer");
        return;
    }
    request->result.body = body;
    finish(request, STREAM_BODY);
}

/* The same for a body whose bytes nothing else keeps: they count until they are sent. */
static void finish_charged(struct stream_request *request, struct stream_body *body)
{
    if (body && body->memory) {
        source_memory_charge(body->memory, request->options.streams->http->budget, request->charged);
        request->charged = 0;
    }
    finish_body(request, body);
}

static struct stream_item *own_item(struct stream_request *request)
{
    return &request->items[request->name.item];
}

/* ---- texts ---- */

#define TEXT_KEY_MAX                                                                                         \
    (MEDIA_SET_MAX * (HTTP_LOOKUP_ETAG_SIZE + PROTO_FILE_SIZE) + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE +  \
     80)

/* What a text is kept under: the files that it was made of, and what it is. */
static size_t text_key(const struct stream_request *request, char key[TEXT_KEY_MAX])
{
    size_t size =
        (size_t)snprintf(key, TEXT_KEY_MAX, "%d/%s/%d/%s/%s", (int)request->service, request->resource,
                         (int)request->options.gzip, request->key.application, request->key.user);
    for (size_t i = 0; i < request->count; i++) {
        const struct stream_item *item = &request->items[i];
        size += (size_t)snprintf(key + size, TEXT_KEY_MAX - size, "%c%s%c%s", '\0',
                                 item->file ? item->file->etag : "", '\0',
                                 item->file ? item->file->key.file : "");
    }
    return size;
}

static void text_is_made(void *argument, struct media_buffer *text, bool gzipped)
{
    struct stream_request *request = argument;
    char key[TEXT_KEY_MAX];
    bool stored = request->options.stored;
    const char *type = stored ? request->type : stream_build_type(request->service, &request->name);
    request->build = NULL;
    if (text->failed) {
        media_buffer_clear(text);
        finish_failed(request, ERROR_UNAVAILABLE, "no memory for an answer");
        return;
    }
    struct stream_body *body =
        stream_body_create(own_item(request)->file, text->bytes, text->size, 0, 0, type);
    if (body) {
        body->described->gzipped = gzipped;
        body->described->varies = true;
        body->described->derived = !stored; /* what is to be saved stays so */
        stream_texts_keep(request->options.streams->texts, key, text_key(request, key), body);
    }
    finish_body(request, body);
}

/* What the worker needs to know. MATERIAL (malloc'd, NULL for none) is taken over. */
static void begin_build(struct stream_request *request, uint8_t *material, size_t size)
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
    const struct stream_item *own = own_item(request);
    options.file_name = own->file->stat.name[0] != '\0' ? own->file->stat.name : own->file->key.file;
    options.file_size = own->file->stat.size;
    options.file_type = own->file->content_type;
    options.reason = own->error.text;
    request->build = stream_build_start(&options);
    if (!request->build)
        finish_failed(request, ERROR_UNAVAILABLE, "too many playlists wait to be made");
}

/* ---- bytes of the file ---- */

static bool begin_reading(struct stream_request *request, const struct mp4_piece *pieces, size_t count,
                          int64_t size, media_read_callback callback)
{
    struct stream_loop *streams = request->options.streams;
    if (!charge(request, 2 * (size_t)size)) /* they are copied once */
        return false;
    request->read =
        media_read_start(streams->http, own_item(request)->file, pieces, count, callback, request);
    if (!request->read) {
        finish_failed(request, ERROR_UNAVAILABLE, "no memory for reading a file");
        return false;
    }
    return true;
}

static const char *segment_type(const struct stream_request *request)
{
    return request->name.stream == STREAM_AUDIO ? AUDIO_TYPE : SEGMENT_TYPE;
}

static void on_gathered(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    struct media_buffer *head = &request->fragment.head;
    request->read = NULL;
    if (error) {
        finish_error(request, error);
        return;
    }
    media_put(head, bytes, size);
    free(bytes);
    uint8_t *made = head->bytes;
    bool failed = head->failed;
    head->bytes = NULL;
    if (failed) {
        free(made);
        finish_body(request, NULL);
        return;
    }
    finish_charged(
        request, stream_body_create(own_item(request)->file, made, head->size, 0, 0, segment_type(request)));
}

static void on_repacked(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->repack = NULL;
    if (error)
        finish_error(request, error);
    else
        finish_charged(request,
                       stream_body_create(own_item(request)->file, bytes, size, 0, 0, segment_type(request)));
}

/* A segment of Matroska: its clusters are read and packed anew. */
static void repack_segment(struct stream_request *request, const struct mp4_part *parts, size_t count)
{
    struct stream_loop *streams = request->options.streams;
    const struct stream_item *item = own_item(request);
    struct ebml_segment_options options = {.film = item->film,
                                           .number = request->name.segment,
                                           .count = count,
                                           .key_only = request->name.stream == STREAM_KEYS,
                                           .bytes_max = GATHER_MAX};
    /* What is read and what is made of it, about. */
    const struct ebml_film *film = item->film->ebml;
    int64_t begin = film->cuts[options.number].position;
    int64_t end = options.number + 1 < film->cut_count ? film->cuts[options.number + 1].position : film->end;
    size_t size = (size_t)min_i64(2 * max_i64(end - begin, 64 * 1024), 2 * GATHER_MAX);
    for (size_t i = 0; i < count; i++)
        options.tracks[i] = (size_t)(parts[i].track - item->film->index->tracks);
    if (!charge(request, size))
        return;
    request->repack =
        stream_repack_start(streams->http, streams->workers, item->file, &options, on_repacked, request);
    if (!request->repack)
        finish_failed(request, ERROR_UNAVAILABLE, "no memory for a segment");
}

static void make_segment(struct stream_request *request)
{
    struct stream_item *item = own_item(request);
    struct mp4_part parts[MP4_PARTS_MAX];
    struct mp4_fragment *fragment = &request->fragment;
    struct error error;
    uint32_t samples = 0;
    size_t count = media_stream_parts(item->film, request->name.stream, request->name.track,
                                      request->name.segment, parts);
    for (size_t i = 0; i < count; i++)
        samples += parts[i].count;
    if (samples == 0) {
        finish(request, STREAM_ABSENT);
        return;
    }
    if (item->film->ebml) {
        repack_segment(request, parts, count);
        return;
    }
    if (!mp4_fragment_make(parts, count, request->name.segment + 1, fragment, &error)) {
        finish_error(request, &error);
        return;
    }
    if (!fragment->pieces) {
        uint8_t *head = fragment->head.bytes;
        fragment->head.bytes = NULL;
        finish_body(request, stream_body_create(item->file, head, fragment->head.size, fragment->offset,
                                                fragment->length, segment_type(request)));
        return;
    }
    if (fragment->length > GATHER_MAX) {
        finish_failed(request, ERROR_UNKNOWN_COMMAND,
                      "its samples lie too far apart for a segment to be put together");
        return;
    }
    (void)begin_reading(request, fragment->pieces, fragment->piece_count, fragment->length, on_gathered);
}

static void make_init(struct stream_request *request)
{
    struct stream_item *item = own_item(request);
    struct mp4_part parts[MP4_PARTS_MAX];
    struct media_buffer out = {0};
    size_t count =
        media_stream_parts(item->film, request->name.stream, request->name.track, UINT32_MAX, parts);
    bool found = count > 0 && request->name.description < parts[0].track->description_count;
    if (!found) {
        finish(request, STREAM_ABSENT);
        return;
    }
    for (size_t i = 0; i < count; i++)
        parts[i].description =
            (uint8_t)min_size(request->name.description, parts[i].track->description_count - 1);
    mp4_fragment_init(item->film->index, parts, count, &out);
    if (out.failed) {
        media_buffer_clear(&out);
        finish_body(request, NULL);
        return;
    }
    finish_body(request, stream_body_create(item->file, out.bytes, out.size, 0, 0, segment_type(request)));
}

/* ---- subtitles ---- */

static void on_text_read(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->read = NULL;
    if (error)
        finish_error(request, error);
    else
        begin_build(request, bytes, size);
}

/* All samples of a track of text. */
static void read_text_track(struct stream_request *request, const struct mp4_track *track)
{
    struct mp4_cursor cursor;
    struct mp4_sample sample;
    size_t count = 0;
    int64_t size = 0;
    struct mp4_piece *pieces = track->bytes <= TEXT_MAX && track->count <= MP4_FRAGMENT_SAMPLES_MAX
                                   ? malloc(((size_t)track->count + 1) * sizeof(*pieces))
                                   : NULL;
    if (!pieces) {
        finish_failed(request, ERROR_UNKNOWN_COMMAND, "its subtitles are too long");
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
        begin_build(request, NULL, 0);
    else
        (void)begin_reading(request, pieces, count, size, on_text_read);
    free(pieces);
}

static void on_texts(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    request->repack = NULL;
    if (error)
        finish_error(request, error);
    else
        begin_build(request, bytes, size);
}

static void read_matroska_texts(struct stream_request *request)
{
    struct stream_loop *streams = request->options.streams;
    struct stream_item *item = own_item(request);
    if (!charge(request, EBML_TEXTS_ROOM))
        return;
    request->repack = stream_repack_texts(streams->http, streams->workers, item->file, item->film,
                                          request->name.track, on_texts, request);
    if (!request->repack)
        finish_failed(request, ERROR_UNAVAILABLE, "no memory for subtitles");
}

static void make_vtt(struct stream_request *request)
{
    struct stream_item *item = own_item(request);
    const struct mp4_index *index = item->film->index;
    struct mp4_piece whole = {0, item->file->stat.size};
    if (item->film->kind == FILM_SUBTITLE)
        (void)begin_reading(request, &whole, 1, whole.size, on_text_read);
    else if (!item->film->cut || request->name.track >= index->track_count ||
             index->tracks[request->name.track].kind != MEDIA_SUBTITLE)
        finish(request, STREAM_ABSENT);
    else if (item->film->kind == FILM_MATROSKA)
        read_matroska_texts(request);
    else
        read_text_track(request, &index->tracks[request->name.track]);
}

/* ---- pictures ---- */

#define PICTURE_WIDTH 640 /* where the target says none */

static void on_picture(void *argument, uint8_t *jpeg, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    char key[TEXT_KEY_MAX];
    request->poster = NULL;
    if (error) {
        finish_error(request, error);
        return;
    }
    struct stream_body *body = stream_body_create(own_item(request)->file, jpeg, size, 0, 0, "image/jpeg");
    if (body)
        stream_texts_keep(request->options.streams->texts, key, text_key(request, key), body);
    finish_body(request, body);
}

static void ask_for_picture(struct stream_request *request, struct stream_poster_options *options)
{
    struct stream_loop *streams = request->options.streams;
    options->loop = streams->http;
    options->service = streams->posters;
    options->workers = streams->workers;
    options->file = own_item(request)->file;
    options->film = own_item(request)->film;
    options->done = on_picture;
    options->argument = request;
    if (!streams->posters) {
        (void)error_set(&request->result.error, ERROR_UNAVAILABLE,
                        "no poster: httpd.poster_socket of this server is empty");
        finish(request, STREAM_OFF);
        return;
    }
    request->poster = stream_poster_start(options);
    if (!request->poster)
        finish_failed(request, ERROR_EXHAUSTED, "too many pictures wait to be made");
}

/* The file's own, as it is. */
static bool give_cover(struct stream_request *request, const struct media_cover *cover)
{
    if (cover->size == 0)
        return false;
    finish_body(request, stream_body_create(own_item(request)->file, NULL, 0, cover->offset, cover->size,
                                            cover->type));
    return true;
}

static void on_cover_read(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct stream_request *request = argument;
    struct stream_item *item = own_item(request);
    struct media_cover cover;
    request->read = NULL;
    if (error) {
        finish_error(request, error);
        return;
    }
    media_cover_in_head((struct media_view){bytes, size}, item->file->stat.size, &cover);
    if (!give_cover(request, &cover))
        finish_error(request, &item->error);
    free(bytes);
}

/* What is no film may be a piece of music that brings a picture along. */
static void look_for_cover(struct stream_request *request)
{
    struct mp4_piece head = {0, min_i64(own_item(request)->file->stat.size, MEDIA_COVER_HEAD)};
    if (head.size == 0)
        finish_error(request, &own_item(request)->error);
    else
        (void)begin_reading(request, &head, 1, head.size, on_cover_read);
}

/* A picture at a time; without one a tenth into the film, where titles and black are over. */
static void make_poster(struct stream_request *request)
{
    const struct media_film *film = own_item(request)->film;
    int64_t time =
        request->picture_time >= 0 ? request->picture_time : (int64_t)(media_film_seconds(film) * 100);
    int64_t width = request->picture_width > 0
                        ? min_i64(max_i64(request->picture_width, 16), POSTER_WIDTH_MAX)
                        : PICTURE_WIDTH;
    uint32_t segment = storyboard_segment(film, time);
    int video = film->cut ? mp4_index_first(film->index, MEDIA_VIDEO) : -1;
    while (video >= 0 && segment > 0 && mp4_cut_samples(film->cut, video, segment) == 0)
        segment--; /* sound goes on behind the last picture */
    struct stream_poster_options options = {
        .first = segment, .step = 1, .tiles = 1, .columns = 1, .width = (uint32_t)width & ~UINT32_C(1)};
    if (request->picture_time < 0 && give_cover(request, &film->cover))
        return;
    if (film->kind == FILM_SUBTITLE || (film->cut && video < 0)) {
        finish_failed(request, ERROR_UNKNOWN_COMMAND, "it has no pictures");
        return;
    }
    ask_for_picture(request, &options);
}

static void make_storyboard(struct stream_request *request)
{
    struct storyboard board;
    const struct media_film *film = own_item(request)->film;
    if (!storyboard_plan(film, &board)) {
        finish_failed(
            request, ERROR_UNKNOWN_COMMAND,
            "storyboards are made of MP4 files with an index and of Matroska, where they have pictures");
        return;
    }
    if (request->name.resource == MEDIA_BOARD_VTT) {
        struct media_buffer out = {0};
        storyboard_vtt(film, &board, "storyboard.jpg", &out);
        if (out.failed)
            media_buffer_clear(&out);
        finish_body(request, out.bytes ? stream_body_create(own_item(request)->file, out.bytes, out.size, 0,
                                                            0, "text/vtt; charset=utf-8")
                                       : NULL);
        return;
    }
    struct stream_poster_options options = {.step = board.step,
                                            .tiles = board.tiles,
                                            .columns = STORYBOARD_COLUMNS,
                                            .width = board.width,
                                            .height = board.height};
    ask_for_picture(request, &options);
}

/* ---- clips ---- */

static void on_clip(void *argument, struct mp4_clip *clip, const struct error *error)
{
    struct stream_request *request = argument;
    request->clip = NULL;
    if (error) {
        finish_error(request, error);
        return;
    }
    struct stream_body *body = stream_body_create(own_item(request)->file, clip->head.bytes, clip->head.size,
                                                  clip->offset, clip->length, request->type);
    if (body)
        body->described->derived = false; /* what is to be saved stays so */
    finish_charged(request, body);
}

#define CLIP_HEAD_MIN ((size_t)64 * 1024)

static void make_clip(struct stream_request *request)
{
    const struct stream_item *item = own_item(request);
    struct stream_loop *streams = request->options.streams;
    const struct stream_clip_options options = {.loop = streams->http->loop,
                                                .workers = streams->workers,
                                                .film = item->film,
                                                .start_ms = request->options.start_ms,
                                                .end_ms = request->options.end_ms,
                                                .done = on_clip,
                                                .argument = request};
    if (!item->film) {
        finish_error(request, &item->error);
        return;
    }
    if (item->film->kind != FILM_MP4) {
        finish_failed(request, ERROR_UNKNOWN_COMMAND,
                      "clips are made of MP4 and QuickTime files with an index only");
        return;
    }
    if (!charge(request, CLIP_HEAD_MIN + 4 * item->film->memory)) /* its tables, which are small in memory */
        return;
    request->clip = stream_clip_start(&options);
    if (!request->clip)
        finish_failed(request, ERROR_UNAVAILABLE, "too many clips wait to be made");
}

/* ---- all files are known ---- */

/* What could not be had of the files beside the first one is left out. */
static void leave_out(const struct stream_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct stream_item *item = &request->items[i];
        if (item->needed && !item->film && item != &request->items[request->name.item])
            log_info("media", "%s/%s: file %zu of a set is left out: %s", request->key.application,
                     request->key.user, i + 1, item->error.text);
    }
}

static bool keeps_text(const struct stream_request *request)
{
    return request->name.resource == MEDIA_MASTER || request->name.resource == MEDIA_MANIFEST ||
           request->name.resource == MEDIA_PLAYLIST || request->name.resource == MEDIA_VTT ||
           request->name.resource == MEDIA_POSTER || request->name.resource == MEDIA_BOARD;
}

/* True: what was made before is the answer. */
static bool find_kept(struct stream_request *request)
{
    char key[TEXT_KEY_MAX];
    struct stream_body *body =
        stream_texts_find(request->options.streams->texts, key, text_key(request, key));
    if (!body)
        return false;
    finish_body(request, body);
    return true;
}

static bool find_text(struct stream_request *request)
{
    return keeps_text(request) && find_kept(request);
}

static bool has_stream(const struct stream_request *request)
{
    const struct media_film *film = request->items[request->name.item].film;
    struct media_buffer scratch = {0};
    bool found = true;
    if (request->name.resource == MEDIA_PLAYLIST && request->service != HTTP_SERVICE_INFO && film->cut &&
        request->name.stream != STREAM_TEXT) {
        struct mp4_part parts[MP4_PARTS_MAX];
        found = media_stream_parts(film, request->name.stream, request->name.track, UINT32_MAX, parts) > 0;
    } else if (request->name.resource == MEDIA_PLAYLIST && request->service != HTTP_SERVICE_INFO) {
        found = hls_media(film, &request->name, 1, &scratch);
    } else if (request->name.resource == MEDIA_MANIFEST) {
        found = film->cut;
    }
    media_buffer_clear(&scratch);
    return found;
}

static void prepare(struct stream_request *request)
{
    struct stream_item *own = own_item(request);
    if (request->options.clip) {
        make_clip(request);
        return;
    }
    if (request->name.resource == MEDIA_FILE && own->file) {
        request->result.file = http_lookup_file_take(own->file);
        finish(request, STREAM_FILE);
        return;
    }
    leave_out(request);
    if (!own->film && request->name.resource == MEDIA_POSTER && own->file &&
        media_cache_is_refusal(own->error.code)) {
        look_for_cover(request);
        return;
    }
    if (!own->film && (request->service != HTTP_SERVICE_INFO || !media_cache_is_refusal(own->error.code))) {
        finish_error(request, &own->error);
        return;
    }
    if (find_text(request))
        return;
    if (own->film && !has_stream(request)) {
        if (request->name.resource == MEDIA_MANIFEST)
            finish_failed(
                request, ERROR_UNKNOWN_COMMAND,
                "DASH is made of MP4 files with an index and of Matroska only; this one is streamed by HLS");
        else
            finish(request, STREAM_ABSENT);
        return;
    }
    switch (request->name.resource) {
    case MEDIA_MASTER:
    case MEDIA_MANIFEST:
    case MEDIA_PLAYLIST:
        begin_build(request, NULL, 0);
        break;
    case MEDIA_INIT:
        make_init(request);
        break;
    case MEDIA_SEGMENT:
        make_segment(request);
        break;
    case MEDIA_VTT:
        make_vtt(request);
        break;
    case MEDIA_POSTER:
        make_poster(request);
        break;
    case MEDIA_BOARD:
    case MEDIA_BOARD_VTT:
        make_storyboard(request);
        break;
    case MEDIA_FILE: /* was answered, or is absent */
        break;
    }
}

static void item_answered(struct stream_request *request)
{
    if (--request->waiting == 0 && request->prepared)
        prepare(request);
}

/* ---- files and indexes ---- */

static void item_on_film(void *argument, struct media_film *film, const struct error *error)
{
    struct stream_item *item = argument;
    item->wait = NULL;
    item->film = film;
    if (!film)
        item->error = *error;
    item_answered(item->request);
}

/* Ends with item_answered(), now or later. */
static void item_find_film(struct stream_item *item)
{
    struct stream_request *request = item->request;
    if (request->name.resource == MEDIA_FILE) { /* is sent as it is; its playlist knew that it may be */
        item_answered(request);
        return;
    }
    switch (media_cache_get(request->options.streams->cache, item->file, item_on_film, item, &item->film,
                            &item->error, &item->wait)) {
    case MEDIA_CACHE_WAITING:
        return;
    case MEDIA_CACHE_FAILED:
        (void)error_set(&item->error, ERROR_UNAVAILABLE, "no memory for an index");
        break;
    case MEDIA_CACHE_FOUND:
    case MEDIA_CACHE_REFUSED:
        break;
    }
    item_answered(request);
}

static void item_on_file(void *argument, struct http_lookup_file *file, const struct error *error)
{
    struct stream_item *item = argument;
    item->lookup = NULL;
    item->file = file;
    if (!error) {
        item_find_film(item);
        return;
    }
    item->error = *error;
    item_answered(item->request);
}

static void item_start(struct stream_item *item, const struct proto_file_key *key)
{
    struct stream_request *request = item->request;
    switch (http_lookup_start(request->options.streams->http->lookup, key, item_on_file, item, &item->file,
                              &item->lookup)) {
    case HTTP_LOOKUP_WAITING:
        return;
    case HTTP_LOOKUP_FOUND:
        item_find_film(item);
        return;
    case HTTP_LOOKUP_ABSENT:
        (void)error_set(&item->error, ERROR_NOT_FOUND, "no such file");
        break;
    case HTTP_LOOKUP_FAILED:
        (void)error_set(&item->error, ERROR_UNAVAILABLE, "no memory for a look-up");
        break;
    }
    item_answered(request);
}

/* ---- the interface ---- */

static bool read_picture_name(struct stream_request *request, const struct http_target *target)
{
    struct http_text name = target->resource;
    bool jpeg = name.size > 4 && memcmp(name.bytes + name.size - 4, ".jpg", 4) == 0;
    bool poster = target->service == HTTP_SERVICE_POSTER;
    request->picture_time = target->picture_time;
    request->picture_width = target->picture_width;
    request->name.resource = poster ? MEDIA_POSTER : MEDIA_BOARD;
    if (http_text_equal(name, "storyboard.vtt") && !poster)
        request->name.resource = MEDIA_BOARD_VTT;
    else if (!jpeg || (!poster && !http_text_equal(name, "storyboard.jpg")))
        return false;
    snprintf(request->resource, sizeof(request->resource), "%d-%lld-%lld", (int)request->name.resource,
             (long long)target->picture_time, (long long)target->picture_width);
    request->options.gzip = false; /* they are not compressed a second time */
    return true;
}

/* What the target asks for. False: nothing of that name is ever there. */
static bool read_name(struct stream_request *request, const struct http_target *target)
{
    struct http_text resource = target->resource;
    request->service = target->service;
    request->count = target->item_count;
    request->key = target->key;
    if (target->service == HTTP_SERVICE_INFO) {
        request->name.resource = MEDIA_PLAYLIST;
        snprintf(request->resource, sizeof(request->resource), "info");
        return true;
    }
    if (target->service == HTTP_SERVICE_POSTER || target->service == HTTP_SERVICE_STORYBOARD)
        return read_picture_name(request, target);
    if (resource.size >= sizeof(request->resource) ||
        !media_name_parse(resource.bytes, resource.size, &request->name))
        return false;
    memcpy(request->resource, resource.bytes, resource.size);
    bool dash = request->name.resource == MEDIA_MANIFEST;
    bool hls = request->name.resource == MEDIA_MASTER || request->name.resource == MEDIA_PLAYLIST ||
               request->name.resource == MEDIA_FILE;
    return request->name.item < request->count && !(dash && target->service != HTTP_SERVICE_DASH) &&
           !(hls && target->service != HTTP_SERVICE_HLS);
}

/* Which files the answer is made of. */
static void note_needs(struct stream_request *request)
{
    bool all = request->name.resource == MEDIA_MASTER || request->name.resource == MEDIA_MANIFEST;
    bool length = request->name.resource == MEDIA_PLAYLIST && request->name.stream == STREAM_TEXT &&
                  request->service == HTTP_SERVICE_HLS;
    for (size_t i = 0; i < request->count; i++) {
        request->items[i].request = request;
        request->items[i].needed = all || i == request->name.item || (length && i == 0);
        request->waiting += request->items[i].needed;
    }
}

static void read_stored(struct stream_request *request)
{
    const struct http_lookup_file *file = request->options.stored;
    struct mp4_piece whole = {0, file->stat.size};
    request->key = file->key;
    request->count = 1;
    request->items[0].request = request;
    request->items[0].file = http_lookup_file_take(request->options.stored);
    snprintf(request->type, sizeof(request->type), "%s", request->options.type);
    if (request->options.clip) {
        request->items[0].needed = true;
        request->waiting = 1;
        request->prepared = true;
        item_find_film(&request->items[0]);
        return;
    }
    snprintf(request->resource, sizeof(request->resource), "stored%s", request->options.to_vtt ? "-vtt" : "");
    if (!find_kept(request))
        (void)begin_reading(request, &whole, 1, whole.size, on_text_read);
}

struct stream_request *stream_request_start(const struct stream_request_options *options)
{
    struct stream_request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    request->options = *options;
    if (options->stored) {
        read_stored(request);
        request->started = true;
        return request;
    }
    if (!read_name(request, options->target)) {
        finish(request, STREAM_ABSENT);
        return request;
    }
    note_needs(request);
    request->waiting++; /* this function itself */
    for (size_t i = 0; i < request->count; i++) {
        struct proto_file_key key = request->key;
        memcpy(key.file, options->target->items[i], sizeof(key.file));
        if (request->items[i].needed)
            item_start(&request->items[i], &key);
    }
    request->prepared = true;
    item_answered(request);
    request->started = true;
    return request;
}

bool stream_request_ready(struct stream_request *request, struct stream_result *result)
{
    if (!request->ready)
        return false;
    *result = request->result;
    request->result.body = NULL;
    request->result.file = NULL;
    return true;
}

void stream_request_end(struct stream_request *request)
{
    if (!request)
        return;
    for (size_t i = 0; i < request->count; i++) {
        struct stream_item *item = &request->items[i];
        if (item->lookup)
            http_lookup_cancel(item->lookup);
        if (item->wait)
            media_cache_cancel(item->wait);
        http_lookup_file_release(item->file);
        media_film_release(item->film);
    }
    charge_nothing(request);
    media_read_cancel(request->read);
    stream_build_cancel(request->build);
    stream_repack_cancel(request->repack);
    stream_clip_cancel(request->clip);
    stream_poster_cancel(request->poster);
    mp4_fragment_clear(&request->fragment);
    stream_body_destroy(request->result.body);
    http_lookup_file_release(request->result.file);
    free(request);
}
