/*
 * stream_request: one state, from the first look-up to the answer. Nothing is asked for that the answer does not need.
 */
#include "httpd/stream/stream_request.h"
#include "common/base/log.h"
#include "httpd/media/hls_playlist.h"
#include "httpd/stream/stream_build.h"
#include "httpd/stream/stream_clip.h"
#include "httpd/stream/stream_poster.h"
#include "httpd/stream/stream_repack.h"
#include "httpd/stream/stream_state.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- clips ---- */

static void on_clip(void *argument, struct mp4_clip *clip, const struct error *error)
{
    struct stream_request *request = argument;
    request->clip = NULL;
    if (error) {
        stream_finish_error(request, error);
        return;
    }
    struct stream_body *body = stream_body_create(stream_own(request)->file, clip->head.bytes,
                                                  clip->head.size, clip->offset, clip->length, request->type);
    if (body)
        body->described->derived = false; /* what is to be saved stays so */
    stream_finish_charged(request, body);
}

#define CLIP_HEAD_MIN ((size_t)64 * 1024)

static void make_clip(struct stream_request *request)
{
    const struct stream_item *item = stream_own(request);
    struct stream_loop *streams = request->options.streams;
    const struct stream_clip_options options = {.loop = streams->http->loop,
                                                .workers = streams->workers,
                                                .film = item->film,
                                                .start_ms = request->options.start_ms,
                                                .end_ms = request->options.end_ms,
                                                .done = on_clip,
                                                .argument = request};
    if (!item->film) {
        stream_finish_error(request, &item->error);
        return;
    }
    if (item->film->kind != FILM_MP4) {
        stream_finish_failed(request, ERROR_UNKNOWN_COMMAND,
                             "clips are made of MP4 and QuickTime files with an index only");
        return;
    }
    if (!stream_charge(request,
                       CLIP_HEAD_MIN + 4 * item->film->memory)) /* its tables, which are small in memory */
        return;
    request->clip = stream_clip_start(&options);
    if (!request->clip)
        stream_finish_failed(request, ERROR_UNAVAILABLE, "too many clips wait to be made");
}

/* ---- all files are known ---- */

/* What could not be read of the files beside the first one is left out. */
static void stream_leave_out(const struct stream_request *request)
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

static bool find_text(struct stream_request *request)
{
    return keeps_text(request) && stream_text_find(request);
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
    struct stream_item *own = stream_own(request);
    if (request->options.clip) {
        make_clip(request);
        return;
    }
    if (request->name.resource == MEDIA_FILE && own->file) {
        request->result.file = http_lookup_file_take(own->file);
        stream_finish(request, STREAM_FILE);
        return;
    }
    stream_leave_out(request);
    if (!own->film && request->name.resource == MEDIA_POSTER && own->file &&
        media_cache_is_refusal(own->error.code)) {
        stream_picture_cover(request);
        return;
    }
    if (!own->film && (request->service != HTTP_SERVICE_INFO || !media_cache_is_refusal(own->error.code))) {
        stream_finish_error(request, &own->error);
        return;
    }
    if (find_text(request))
        return;
    if (own->film && !has_stream(request)) {
        if (request->name.resource == MEDIA_MANIFEST)
            stream_finish_failed(
                request, ERROR_UNKNOWN_COMMAND,
                "DASH is made of MP4 files with an index and of Matroska only; this one is streamed by HLS");
        else
            stream_finish(request, STREAM_ABSENT);
        return;
    }
    switch (request->name.resource) {
    case MEDIA_MASTER:
    case MEDIA_MANIFEST:
    case MEDIA_PLAYLIST:
        stream_text_build(request, NULL, 0);
        break;
    case MEDIA_INIT:
        stream_segment_init(request);
        break;
    case MEDIA_SEGMENT:
        stream_segment_make(request);
        break;
    case MEDIA_VTT:
        stream_text_vtt(request);
        break;
    case MEDIA_POSTER:
        stream_picture_make(request);
        break;
    case MEDIA_BOARD:
    case MEDIA_BOARD_VTT:
        stream_picture_board(request);
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

static void item_start(struct stream_item *item);

/* The playlist that led here was made of other bytes: those of a file that was under this ID before, or that this loop does not know
 * of yet. Then it asks once more, and ends with item_answered(), now or later. */
static bool is_another_file(struct stream_item *item)
{
    struct stream_request *request = item->request;
    if (request->version[0] == '\0' || item != stream_own(request) ||
        strncmp(item->file->etag + 1, request->version, strlen(request->version)) == 0)
        return false;
    http_lookup_file_release(item->file);
    item->file = NULL;
    if (item->asked_again) {
        (void)error_set(&item->error, ERROR_NOT_FOUND, "another file has come under this ID");
        item_answered(request);
        return true;
    }
    item->asked_again = true;
    http_lookup_forget(request->options.streams->http->lookup, &item->key);
    item_start(item);
    return true;
}

/* Ends with item_answered(), now or later. */
static void item_find_film(struct stream_item *item)
{
    struct stream_request *request = item->request;
    if (is_another_file(item))
        return;
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
    if (media_cache_is_refusal(item->error.code))
        item->error.code = ERROR_CONNECTION; /* of a storage server that makes no sense, not of the file */
    item_answered(item->request);
}

static void item_start(struct stream_item *item)
{
    struct stream_request *request = item->request;
    switch (http_lookup_start(request->options.streams->http->lookup, &item->key, NULL, item_on_file, item,
                              &item->file, &item->lookup)) {
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

/* A part of a stream that a playlist led to. Any other v is ignored, like any query. */
static void read_version(struct stream_request *request, struct http_text version)
{
    if (request->name.resource == MEDIA_MASTER || request->name.resource == MEDIA_MANIFEST ||
        version.size != sizeof(request->version) - 1)
        return;
    for (size_t i = 0; i < version.size; i++) {
        if ((version.bytes[i] < '0' || version.bytes[i] > '9') &&
            (version.bytes[i] < 'a' || version.bytes[i] > 'f'))
            return;
    }
    memcpy(request->version, version.bytes, version.size);
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
    read_version(request, target->version);
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
    if (!stream_text_find(request))
        stream_read(request, &whole, 1, whole.size, stream_text_read);
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
        stream_finish(request, STREAM_ABSENT);
        return request;
    }
    note_needs(request);
    request->waiting++; /* this function itself */
    for (size_t i = 0; i < request->count; i++) {
        request->items[i].key = request->key;
        memcpy(request->items[i].key.file, options->target->items[i], sizeof(request->items[i].key.file));
        if (request->items[i].needed)
            item_start(&request->items[i]);
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
    stream_charge_nothing(request);
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
