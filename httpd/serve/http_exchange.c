/*
 * http_exchange: from a request that is read to its answer: the target, the look-up, the file (http_file.c) or a stream made
 * of it, and at the end the metrics and the access log. What an answer's head says is written by http_answer.c.
 */
#include "httpd/serve/http_exchange.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_api.h"
#include "httpd/serve/http_delete.h"
#include "httpd/serve/http_file.h"
#include "httpd/serve/http_page.h"
#include "httpd/serve/http_tus.h"
#include "httpd/serve/http_write.h"
#include "httpd/syntax/http_target.h"
#include "common/media/media_type.h"
#include "httpd/stream/stream_request.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Status that the access log shows for a client that left before it was answered. */
#define STATUS_CLIENT_GONE 499
#define TRACED_LINES       200 /* per second, about requests that somebody traces */

/* The largest stored text that is converted. */
#define STORED_MAX (1024 * 1024)

/* ---- streams ---- */

/* What was made, or the stored file itself, is answered as files are: conditions, ranges and all. */
static void answer_stream(struct http_connection *connection, struct stream_result *result)
{
    static const struct http_target none; /* without a name or a wish for an attachment */
    const struct http_settings *settings = connection->loop->settings;
    struct http_target target;
    struct http_text text =
        http_request_text(http_answer_request_head(connection), connection->exchange.request.target);
    /* Of a stored text in another form. */
    bool named = http_target_parse(text, settings->application, settings->user, &target) == HTTP_TARGET_FILE;
    target.name[0] = named ? '\0' : target.name[0]; /* it has chosen already */
    const struct http_target *plain = named ? &target : &none;
    struct http_exchange *exchange = &connection->exchange;
    switch (result->outcome) {
    case STREAM_BODY:
        exchange->made = result->body;
        http_lookup_file_release(exchange->file);
        exchange->file = http_lookup_file_take(result->body->described);
        http_file_answer(connection, plain);
        break;
    case STREAM_FILE:
        exchange->file = result->file;
        http_file_answer(connection, plain);
        break;
    case STREAM_ABSENT:
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
        break;
    case STREAM_REFUSED:
        http_answer_refuse(connection, 415, result->error.text);
        break;
    case STREAM_OFF:
        http_answer_refuse(connection, 501, result->error.text);
        break;
    case STREAM_BUSY:
        http_answer_log(connection, 503, result->error.code, result->error.text);
        http_answer_refuse(connection, 503, result->error.text);
        break;
    case STREAM_FAILED:
        http_answer_error(connection, result->error.code, result->error.text);
        break;
    }
}

/* True where it was answered. */
static bool exchange_take_stream(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct stream_result result;
    if (!stream_request_ready(exchange->stream, &result))
        return false;
    stream_request_end(exchange->stream);
    exchange->stream = NULL;
    answer_stream(connection, &result);
    return true;
}

static void on_stream(void *argument)
{
    if (exchange_take_stream(argument))
        http_connection_run(argument);
}

static void begin_stream(struct http_connection *connection, const struct stream_request_options *options)
{
    struct http_exchange *exchange = &connection->exchange;
    exchange->stream = stream_request_start(options);
    if (!exchange->stream)
        http_answer_refuse(connection, 503, "no memory");
    else if (!exchange_take_stream(connection))
        http_connection_set_state(connection, CONNECTION_LOOKUP);
}

static void exchange_stream(struct http_connection *connection, const struct http_target *target)
{
    struct stream_request_options options = {
        .streams = connection->loop->streams,
        .target = target,
        .gzip = http_accept_gzip(http_answer_request_field(connection, HTTP_FIELD_ACCEPT_ENCODING)),
        .wake = on_stream,
        .argument = connection};
    /* A link to one file gives nothing of the others. */
    for (size_t i = 0; i < target->item_count; i++) {
        struct proto_file_key key = target->key;
        memcpy(key.file, target->items[i], sizeof(key.file));
        if (!http_access_admits(connection, target, &key, NULL, NULL))
            return;
    }
    begin_stream(connection, &options);
}

/* ?start= and end=: a stretch of a stored film, as a file of its own. */
static void answer_clip(struct http_connection *connection, const struct http_target *target)
{
    struct http_lookup_file *file = connection->exchange.file;
    const char *name = http_file_choosing_name(connection, target);
    char named_type[HTTP_LOOKUP_TYPE_SIZE];
    http_lookup_content_type(file, name, named_type);
    const char *type = name[0] != '\0' ? named_type : file->content_type;
    const struct stream_request_options options = {
        .streams = connection->loop->streams,
        .stored = file,
        /* What is made is an MP4 file. */
        .type = media_type_is(type, "video/quicktime") ? "video/mp4" : type,
        .clip = true,
        .start_ms = target->clip_start,
        .end_ms = target->clip_end,
        .wake = on_stream,
        .argument = connection};
    begin_stream(connection, &options);
}

/* A stored text that the client takes compressed, or that it wants as WebVTT, is answered in that form; any other file as it is. */
static void answer_found(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_lookup_file *file = exchange->file;
    if (target->clip) {
        answer_clip(connection, target);
        return;
    }
    const char *dot = strrchr(target->name, '.');
    bool to_vtt = dot && strcasecmp(dot, ".vtt") == 0 &&
                  media_type_is(file->content_type, "application/x-subrip") && file->stat.size > 0 &&
                  file->stat.size <= STORED_MAX;
    bool whole = http_request_field_count(&exchange->request, HTTP_FIELD_RANGE) == 0;
    bool gzip = http_accept_gzip(http_answer_request_field(connection, HTTP_FIELD_ACCEPT_ENCODING)) && whole;
    if ((!file->varies || !gzip || http_file_is_below_playlist(file, target)) && !to_vtt) {
        http_file_answer(connection, target);
        return;
    }
    struct stream_request_options options = {.streams = connection->loop->streams,
                                             .stored = file,
                                             .type = to_vtt ? "text/vtt; charset=utf-8" : file->content_type,
                                             .to_vtt = to_vtt,
                                             .gzip = gzip,
                                             .wake = on_stream,
                                             .argument = connection};
    begin_stream(connection, &options);
}

/* ---- the beginning ---- */

static void on_lookup(void *argument, struct http_lookup_file *file, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_exchange *exchange = &connection->exchange;
    const struct http_settings *settings = connection->loop->settings;
    struct http_target target;
    exchange->wait = NULL;
    exchange->file = file;
    if (error) {
        http_answer_error(connection, error->code, error->text);
    } else {
        /* Taken apart once more rather than kept: it is a kilobyte, and most connections wait rarely. */
        struct http_text text =
            http_request_text(http_answer_request_head(connection), exchange->request.target);
        if (http_target_parse(text, settings->application, settings->user, &target) == HTTP_TARGET_FILE)
            answer_found(connection, &target);
        else /* only where a reload took the defaults away meanwhile */
            http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
    }
    http_connection_run(connection);
}

static void exchange_look_up(struct http_connection *connection, const struct http_target *target)
{
    enum http_lookup_result result = http_answer_look_up(connection, &target->key, on_lookup);
    if (result == HTTP_LOOKUP_FOUND)
        answer_found(connection, target);
    else if (result == HTTP_LOOKUP_ABSENT)
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
}

/* TARGET is a file. */
static bool exchange_admits(struct http_connection *connection, const struct http_target *target,
                            struct link_target *whole)
{
    const struct link_view view = {
        .name = target->name, .download = target->download, .download_name = target->download_name};
    return http_access_admits(connection, target, &target->key, &view, whole);
}

static void exchange_begin(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_target target;
    struct link_target whole;
    enum http_target_kind kind;
    bool deletes =
        exchange->request.method == HTTP_METHOD_DELETE && connection->loop->settings->write != HTTP_WRITE_OFF;
    if (exchange->refused != 0) {
        http_answer_refuse(connection, exchange->refused, exchange->refusal);
        return;
    }
    bool web = connection->loop->settings->live.web;
    if (exchange->request.method >= HTTP_METHOD_PUT && !deletes && !web) {
        http_answer_refuse(connection, 405, "only GET, HEAD and OPTIONS are served");
        return;
    }
    if (http_access_knows(connection, &whole, &target)) {
        exchange_look_up(connection, &target);
        return;
    }
    if (!http_access_target(connection, &target, &kind))
        return;
    if (kind == HTTP_TARGET_API)
        http_api_begin(connection, &target);
    else if (exchange->request.method >= HTTP_METHOD_PUT && !deletes)
        http_answer_refuse(connection, 405, "only GET, HEAD and OPTIONS are served");
    else if (exchange->request.method == HTTP_METHOD_OPTIONS)
        http_answer_options(connection);
    else if (exchange->is_tus || exchange->is_draft)
        http_tus_take(connection, &target, false);
    else if (deletes)
        http_delete_begin(connection, &target, kind);
    else if (kind == HTTP_TARGET_PAGE)
        http_page_answer(connection, &target);
    else if (kind != HTTP_TARGET_FILE && kind != HTTP_TARGET_STREAM)
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
    else if (kind == HTTP_TARGET_STREAM)
        exchange_stream(connection, &target);
    else if (exchange_admits(connection, &target, &whole) && !http_access_cookie(connection, &target))
        exchange_look_up(connection, &target);
}

/* take() of struct http_answering: a content that is to be stored. */
static bool exchange_take(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    enum http_request_method method = exchange->request.method;
    struct http_target target;
    enum http_target_kind kind;
    bool keep_alive = connection->keep_alive;
    const struct http_settings *settings = connection->loop->settings;
    if ((settings->write == HTTP_WRITE_OFF && !settings->live.web) ||
        (method != HTTP_METHOD_PUT && method != HTTP_METHOD_POST && method != HTTP_METHOD_PATCH))
        return false;
    connection->keep_alive = false; /* after an answer that looks at no body */
    exchange->failed = true;
    if (!http_access_target(connection, &target, &kind))
        return true;
    connection->keep_alive = keep_alive;
    exchange->failed = false;
    exchange->is_api = kind == HTTP_TARGET_API;
    if (exchange->is_api || settings->write == HTTP_WRITE_OFF)
        return false; /* of the API the target says all, whatever the body says */
    if (kind != HTTP_TARGET_TUS && !exchange->is_draft)
        return http_write_take(connection, &target, kind);
    http_tus_take(connection, &target, true);
    return true;
}

static bool exchange_stored(struct http_connection *connection)
{
    return connection->exchange.tus ? http_tus_stored(connection) : http_write_stored(connection);
}

/* ---- the end ---- */

static void log_access(struct http_connection *connection, bool complete, int64_t duration_us,
                       int64_t body_bytes)
{
    const struct http_exchange *exchange = &connection->exchange;
    char peer[INET6_ADDRSTRLEN], id[HTTP_REQUEST_ID_SIZE];
    struct access_log_record record = {
        .peer = http_access_client(connection, peer),
        .minor_version = exchange->request.minor_version,
        .status = exchange->status != 0 ? exchange->status : STATUS_CLIENT_GONE,
        .time = clock_wall_seconds(),
        .duration_us = duration_us,
        .body_bytes = body_bytes,
        .complete = complete,
        .host = http_answer_request_field(connection, HTTP_FIELD_HOST),
        .referer = http_answer_request_field(connection, HTTP_FIELD_REFERER),
        .user_agent = http_answer_request_field(connection, HTTP_FIELD_USER_AGENT),
        .range = http_answer_request_field(connection, HTTP_FIELD_RANGE),
        .request_id = http_answer_request_id(connection, id),
    };
    if (connection->in) {
        record.method =
            http_request_text(http_answer_request_head(connection), exchange->request.method_text);
        record.target = http_request_text(http_answer_request_head(connection), exchange->request.target);
    }
    access_log_add(connection->loop->access_log, connection->loop->settings->access_log_format, &record);
}

/* The sender of the request traces it. */
static void log_traced(const struct http_connection *connection, int64_t duration_us)
{
    static struct log_rate rate;
    char id[HTTP_REQUEST_ID_SIZE];
    uint64_t suppressed;
    if (log_rate_open(&rate, TRACED_LINES, &suppressed))
        log_info("exchange",
                 "c%" PRIu64 ": request %s: answered %d after %" PRId64 " us (%" PRIu64 " alike not logged)",
                 connection->id, http_answer_request_id(connection, id), connection->exchange.status,
                 duration_us, suppressed);
}

static void http_exchange_finish(struct http_connection *connection, bool complete)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_metrics *metrics = connection->loop->metrics;
    int64_t duration_us = clock_monotonic_us() - exchange->start_us;
    int64_t body_bytes = max_i64(connection->sent - exchange->head_size, 0);

    if (exchange->status >= 100 && exchange->status < 600)
        metric_add(metrics->requests[exchange->status / 100], 1);
    metric_observe_us(metrics->durations, duration_us);
    metric_add(metrics->bytes, connection->sent);
    if (exchange->named.traced)
        log_traced(connection, duration_us);
    if (connection->loop->access_log)
        log_access(connection, complete && !exchange->cut, duration_us, body_bytes);
    if (exchange->wait)
        http_lookup_cancel(exchange->wait);
    http_write_end(connection);
    http_delete_end(exchange->erase);
    http_tus_end(exchange->tus);
    http_api_end(connection);
    source_close(exchange->source);
    stream_request_end(exchange->stream);
    stream_body_destroy(exchange->made);
    http_lookup_file_release(exchange->file);
    free(exchange->multipart);
    memset(exchange, 0, sizeof(*exchange));
}

const struct http_answering http_exchange_answering = {
    .take = exchange_take,
    .form = http_write_form,
    .stored = exchange_stored,
    .begin = exchange_begin,
    .refuse = http_answer_refuse,
    .opened = http_file_opened,
    .next_part = http_file_next_part,
    .end = http_exchange_finish,
};
