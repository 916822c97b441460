/*
 * http_exchange: from a request that is read to its answer: the target, the look-up, conditions and ranges, the body's
 * source, and at the end the metrics and the access log. What an answer's head says is written by http_answer.c.
 */
#include "httpd/serve/http_exchange.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_api.h"
#include "httpd/serve/http_delete.h"
#include "httpd/serve/http_page.h"
#include "httpd/serve/http_tus.h"
#include "httpd/serve/http_write.h"
#include "httpd/syntax/http_target.h"
#include "common/media/media_type.h"
#include "httpd/source/source_local.h"
#include "httpd/source/source_pieces.h"
#include "httpd/stream/stream_request.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Status that the access log shows for a client that went before it was answered. */
#define STATUS_CLIENT_GONE 499
#define TRACED_LINES       200 /* per second, about requests that somebody follows */

/* The largest stored text that is converted. */
#define STORED_MAX (1024 * 1024)

/* ---- files ---- */

static void on_source(void *argument)
{
    http_connection_run(argument);
}

/* Asks for bytes of the file. False: answered with an error, or cut. */
static bool open_source(struct http_connection *connection, const struct http_range *range)
{
    struct http_exchange *exchange = &connection->exchange;
    struct source_options options = {.loop = connection->loop,
                                     .file = exchange->file,
                                     .offset = range->offset,
                                     .length = range->length,
                                     .connection_id = connection->id,
                                     .request = http_answer_name(connection),
                                     .wake = on_source,
                                     .argument = connection};
    if (exchange->made)
        exchange->source = stream_body_open(exchange->made, &options);
    else
        exchange->source =
            exchange->file->volume ? source_local_open(&options) : source_pieces_open(&options);
    if (!exchange->source) {
        exchange->cut = connection->sent > 0;
        if (!exchange->cut)
            http_answer_refuse(connection, 503, "no memory");
        return false;
    }
    return true;
}

/* The link's NAME is anybody's: it may choose among types that browsers only show, never make a page of a file. */
static const char *choosing_name(const struct http_connection *connection, const struct http_target *target)
{
    const char *named = target->name[0] != '\0' ? media_type_by_name(target->name) : NULL;
    return named && http_answer_is_inline(connection, named) ? target->name : "";
}

/* Section 15.3.7.2. NULL without memory, or where so many parts are more than the whole file. */
static struct http_multipart *make_multipart(const struct http_range_set *set, int64_t size,
                                             const char *content_type, int64_t *length)
{
    struct http_multipart *multipart = calloc(1, sizeof(*multipart));
    uint8_t random[12];
    if (!multipart)
        return NULL;
    arc4random_buf(random, sizeof(random));
    multipart->set = *set;
    snprintf(multipart->content_type, sizeof(multipart->content_type), "%s", content_type);
    http_range_boundary(random, multipart->boundary);
    *length = http_range_multipart_length(set, size, content_type, multipart->boundary);
    if (*length >= size) {
        free(multipart);
        return NULL;
    }
    return multipart;
}

/* The head of the next part; its bytes come from a source of its own. */
static bool begin_part(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_multipart *multipart = exchange->multipart;
    const struct http_range *range = &multipart->set.ranges[multipart->next++];
    char head[HTTP_RANGE_PART_HEAD_SIZE];
    size_t size = http_range_part_head(head, range, exchange->file->stat.size, multipart->content_type,
                                       multipart->boundary);
    http_output_append(&connection->out, head, size);
    return open_source(connection, range);
}

/* What the Range field comes to. HTTP_RANGE_WHOLE also where it does not count (section 14.2). */
static enum http_range_verdict find_ranges(struct http_connection *connection,
                                           const struct http_conditions *conditions,
                                           const struct http_validators *validators,
                                           struct http_range_set *set)
{
    const struct http_request *request = &connection->exchange.request;
    if (request->method != HTTP_METHOD_GET || http_request_field_count(request, HTTP_FIELD_RANGE) != 1 ||
        !http_conditions_range_applies(conditions, validators, connection->loop->clock.second))
        return HTTP_RANGE_WHOLE;
    return http_range_parse(http_answer_request_field(connection, HTTP_FIELD_RANGE),
                            connection->exchange.file->stat.size, set);
}

static void exchange_opened(struct http_connection *connection);

/* A playlist's relative links lead below its own address: what they name is not there, and the playlist itself would be
 * taken for it. */
static bool is_below_playlist(const struct http_lookup_file *file, const struct http_target *target)
{
    bool hls = media_type_is(file->content_type, "application/vnd.apple.mpegurl") ||
               media_type_is(file->content_type, "audio/mpegurl");
    if (!strchr(target->name, '.') || (!hls && !media_type_is(file->content_type, "application/dash+xml")))
        return false;
    const char *named = media_type_by_name(target->name);
    if (!named)
        return true;
    return hls ? strcmp(named, "application/vnd.apple.mpegurl") != 0 && strcmp(named, "audio/mpegurl") != 0
               : strcmp(named, "application/dash+xml") != 0;
}

static void answer_file(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_lookup_file *file = exchange->file;
    struct http_conditions conditions;
    struct http_range_set set;
    const struct http_range *single = NULL;
    int64_t size = file->stat.size, length = size;
    if (is_below_playlist(file, target)) {
        http_answer_refuse(connection, 404, "a playlist has no files below its address");
        return;
    }
    const char *name = choosing_name(connection, target), *content_type = file->content_type;
    char named_type[HTTP_LOOKUP_TYPE_SIZE];
    if (name[0] != '\0') {
        http_lookup_content_type(file, name, named_type);
        content_type = named_type;
    }

    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_clock_read(&connection->loop->clock);
    struct http_validators validators = {file->etag, http_answer_modified(connection)};
    if (!http_request_conditions(&exchange->request, http_answer_request_head(connection), &conditions)) {
        http_answer_refuse(connection, 431, "too many lines of one header field");
        return;
    }
    switch (http_conditions_evaluate(&conditions, &validators, connection->loop->clock.second)) {
    case HTTP_CONDITION_NOT_MODIFIED:
        http_answer_not_modified(connection);
        return;
    case HTTP_CONDITION_FAILED:
        http_answer_refuse(connection, 412, "the file is not the one that the condition names");
        return;
    case HTTP_CONDITION_PROCEED:
        break;
    }
    switch (find_ranges(connection, &conditions, &validators, &set)) {
    case HTTP_RANGE_UNSATISFIABLE:
        http_answer_refuse(connection, 416, "the file has no such bytes");
        return;
    case HTTP_RANGE_PARTIAL:
        if (set.count == 1) {
            single = &set.ranges[0];
            length = single->length;
        } else {
            exchange->multipart = make_multipart(&set, size, content_type, &length);
            if (!exchange->multipart)
                length = size;
        }
        break;
    case HTTP_RANGE_WHOLE:
        break;
    }

    http_answer_file_head(connection, target, length, single, content_type);
    if (connection->out.overflow) {
        http_answer_refuse(connection, 500, "the fields of the answer do not fit");
        return;
    }
    if (exchange->request.method == HTTP_METHOD_HEAD || length == 0) {
        http_answer_send(connection);
        return;
    }
    struct http_range whole = {0, size};
    if (!(exchange->multipart ? begin_part(connection) : open_source(connection, single ? single : &whole)))
        return;
    if (source_status(exchange->source) == SOURCE_READY)
        exchange_opened(connection);
    else
        http_connection_set_state(connection, CONNECTION_OPEN);
}

static void exchange_opened(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (source_status(exchange->source) == SOURCE_READY) {
        http_connection_drop_head(connection);
        http_answer_send(connection);
        return;
    }
    int code = exchange->source->error_code;
    if (code == ERROR_NOT_FOUND || code == ERROR_DELETED)
        http_lookup_forget(connection->loop->lookup, &exchange->file->key);
    exchange->cut = connection->sent > 0;
    if (!exchange->cut)
        http_answer_error(connection, code, "the download could not begin");
}

static bool exchange_next_part(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_multipart *multipart = exchange->multipart;
    char delimiter[HTTP_RANGE_PART_HEAD_SIZE];
    source_close(exchange->source);
    exchange->source = NULL;
    if (!multipart)
        return false;
    if (!http_connection_take_output(connection)) {
        exchange->cut = true;
        return false;
    }
    if (multipart->next < multipart->set.count) {
        if (begin_part(connection))
            http_connection_set_state(connection, CONNECTION_OPEN);
        else
            exchange->cut = true;
        return !exchange->cut;
    }
    http_output_append(&connection->out, delimiter,
                       http_range_last_delimiter(delimiter, multipart->boundary));
    free(multipart);
    exchange->multipart = NULL;
    http_answer_send(connection);
    return true;
}

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
        answer_file(connection, plain);
        break;
    case STREAM_FILE:
        exchange->file = result->file;
        answer_file(connection, plain);
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
static bool take_stream(struct http_connection *connection)
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
    if (take_stream(argument))
        http_connection_run(argument);
}

static void begin_stream(struct http_connection *connection, const struct stream_request_options *options)
{
    struct http_exchange *exchange = &connection->exchange;
    exchange->stream = stream_request_start(options);
    if (!exchange->stream)
        http_answer_refuse(connection, 503, "no memory");
    else if (!take_stream(connection))
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
        if (!http_access_admits(connection, &key, NULL))
            return;
    }
    begin_stream(connection, &options);
}

/* ?start= and end=: a stretch of a stored film, as a file of its own. */
static void answer_clip(struct http_connection *connection, const struct http_target *target)
{
    struct http_lookup_file *file = connection->exchange.file;
    const char *name = choosing_name(connection, target);
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
    if ((!file->varies || !gzip || is_below_playlist(file, target)) && !to_vtt) {
        answer_file(connection, target);
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
    struct http_exchange *exchange = &connection->exchange;
    const struct request_id name = http_answer_name(connection);
    switch (http_lookup_start(connection->loop->lookup, &target->key, &name, on_lookup, connection,
                              &exchange->file, &exchange->wait)) {
    case HTTP_LOOKUP_FOUND:
        answer_found(connection, target);
        break;
    case HTTP_LOOKUP_ABSENT:
        http_answer_refuse(connection, 404, HTTP_ANSWER_NO_FILE);
        break;
    case HTTP_LOOKUP_WAITING:
        http_connection_set_state(connection, CONNECTION_LOOKUP);
        break;
    case HTTP_LOOKUP_FAILED:
        http_answer_refuse(connection, 503, "no memory");
        break;
    }
}

/* TARGET is a file. */
static bool exchange_admits(struct http_connection *connection, const struct http_target *target)
{
    const struct link_view view = {
        .name = target->name, .download = target->download, .download_name = target->download_name};
    return http_access_admits(connection, &target->key, &view);
}

static void exchange_begin(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_target target;
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
    else if (exchange_admits(connection, &target) && !http_access_cookie(connection, &target))
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

/* Whoever sent the request follows it. */
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
    .opened = exchange_opened,
    .next_part = exchange_next_part,
    .end = http_exchange_finish,
};
