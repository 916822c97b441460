/*
 * http_exchange: from a request that is read to the fields and the source of its answer; errors, OPTIONS, the access log.
 */
#include "httpd/serve/http_exchange.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/syntax/disposition.h"
#include "httpd/syntax/http_target.h"
#include "common/media/media_type.h"
#include "httpd/source/source_local.h"
#include "httpd/source/source_pieces.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_ID_SIZE 48
#define ALLOW           "GET, HEAD, OPTIONS"

/* Status that the access log shows for a client that went before it was answered. */
#define STATUS_CLIENT_GONE 499

static const char *head_of(const struct http_connection *connection)
{
    return connection->in + connection->in_start;
}

static struct http_text field_of(const struct http_connection *connection, enum http_field field)
{
    if (!connection->in)
        return (struct http_text){NULL, 0};
    return http_request_field(&connection->exchange.request, head_of(connection), field);
}

static char *request_id(const struct http_connection *connection, char text[REQUEST_ID_SIZE])
{
    snprintf(text, REQUEST_ID_SIZE, "c%" PRIu64 "-%" PRIu64, connection->id, connection->requests);
    return text;
}

/* ---- fields that several answers have ---- */

static void begin_head(struct http_connection *connection, int status)
{
    struct http_loop *loop = connection->loop;
    connection->exchange.status = status;
    http_clock_read(&loop->clock);
    http_response_begin(&connection->out, status, &loop->clock, loop->settings->server_line);
}

static void end_head(struct http_connection *connection)
{
    http_response_end(&connection->out, connection->keep_alive, connection->exchange.request.minor_version);
    connection->exchange.head_size = connection->out.end;
}

/* Access-Control-Allow-Origin and its kin (Fetch standard, section 3.2.3). */
static void add_cors(struct http_connection *connection)
{
    const struct http_settings *settings = connection->loop->settings;
    struct http_output *out = &connection->out;
    const char *allowed = NULL;
    if (settings->cors_origins.count == 0)
        return;
    if (settings->cors_any) {
        allowed = "*";
    } else {
        struct http_text origin = field_of(connection, HTTP_FIELD_ORIGIN);
        for (size_t i = 0; origin.bytes && i < settings->cors_origins.count; i++) {
            if (http_text_equal(origin, settings->cors_origins.items[i]))
                allowed = settings->cors_origins.items[i];
        }
        HTTP_OUTPUT_LITERAL(out, "Vary: Origin\r\n");
    }
    if (!allowed)
        return;
    http_response_field(out, "Access-Control-Allow-Origin", allowed);
    HTTP_OUTPUT_LITERAL(out,
                        "Access-Control-Expose-Headers: Accept-Ranges, Content-Disposition, Content-Length, "
                        "Content-Range, ETag, Last-Modified\r\n");
}

static void send_state(struct http_connection *connection)
{
    if (connection->out.overflow) {
        /* Bounds in the configuration and the protocol leave room; what does not fit would be a broken
         * answer. */
        log_error("exchange", "c%" PRIu64 ": the answer's head does not fit into %d bytes", connection->id,
                  HTTP_BUFFER_SMALL_SIZE);
        connection->exchange.cut = true;
        connection->keep_alive = false;
        connection->out.start = connection->out.end;
    }
    http_connection_set_state(connection, CONNECTION_SEND);
}

/* ---- errors ---- */

static void add_error_fields(struct http_connection *connection, int status)
{
    struct http_output *out = &connection->out;
    if (status == 405)
        HTTP_OUTPUT_LITERAL(out, "Allow: " ALLOW "\r\n");
    if (status == 503) {
        HTTP_OUTPUT_LITERAL(out, "Retry-After: ");
        http_output_number(out, connection->loop->settings->retry_after_s);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    if (status == 416) {
        HTTP_OUTPUT_LITERAL(out, "Accept-Ranges: bytes\r\nContent-Range: bytes */");
        http_output_number(out, connection->exchange.file->stat.size);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    if (status == 412 || status == 416)
        http_response_field(out, "ETag", connection->exchange.file->etag);
    /* A 404 may be kept by caches unless it says otherwise (RFC 9110 section 15.1). */
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
}

static void exchange_refuse(struct http_connection *connection, int status, const char *message)
{
    struct http_exchange *exchange = &connection->exchange;
    char body[1024], id[REQUEST_ID_SIZE];
    source_close(exchange->source);
    exchange->source = NULL;
    free(exchange->multipart);
    exchange->multipart = NULL;
    if (!http_connection_take_output(connection)) {
        exchange->cut = true;
        connection->keep_alive = false;
        exchange->status = status;
        http_connection_set_state(connection, CONNECTION_SEND);
        return;
    }
    bool json = http_accept_prefers_json(field_of(connection, HTTP_FIELD_ACCEPT));
    size_t size = http_error_body(body, sizeof(body), json, status, message, request_id(connection, id));
    begin_head(connection, status);
    http_response_field(&connection->out, "Content-Type",
                        json ? "application/json" : "text/plain; charset=utf-8");
    http_response_content_length(&connection->out, (int64_t)size);
    http_response_field(&connection->out, "X-Request-Id", id);
    add_error_fields(connection, status);
    add_cors(connection);
    end_head(connection);
    if (exchange->request.method != HTTP_METHOD_HEAD)
        http_output_append(&connection->out, body, size);
    send_state(connection);
}

static int status_of_error(int error_code, bool trackers_reachable)
{
    switch (error_code) {
    case ERROR_NOT_FOUND:
    case ERROR_DELETED:
    case ERROR_REFUSED: /* an application that nobody knows */
        return 404;
    case ERROR_NO_SERVER:
    case ERROR_UNAVAILABLE:
    case ERROR_EXHAUSTED:
        return 503;
    case ERROR_TIMEOUT:
        return trackers_reachable ? 504 : 503;
    case ERROR_CONNECTION:
        return trackers_reachable ? 502 : 503;
    default:
        return 502;
    }
}

static const char *message_of_status(int status)
{
    switch (status) {
    case 404:
        return "no such file";
    case 503:
        return "no storage server can be asked at present";
    case 504:
        return "the storage servers did not answer in time";
    default:
        return "the storage servers could not give the file";
    }
}

static void refuse_for_error(struct http_connection *connection, int code, const char *text)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    int status = status_of_error(code, client_trackers_reachable(connection->loop->client));
    if (status >= 500 && log_gate_open(&gate, 100, &suppressed)) {
        struct http_text target = http_request_text(head_of(connection), connection->exchange.request.target);
        log_warning("exchange", "c%" PRIu64 ": %.*s: answered %d: %s: %s (%" PRIu64 " alike not logged)",
                    connection->id, (int)min_size(target.size, 512), target.bytes, status,
                    error_code_name(code), text, suppressed);
    }
    exchange_refuse(connection, status, message_of_status(status));
}

/* ---- OPTIONS ---- */

static void answer_options(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    if (!http_connection_take_output(connection)) {
        exchange_refuse(connection, 503, "no memory");
        return;
    }
    begin_head(connection, 204);
    HTTP_OUTPUT_LITERAL(out, "Allow: " ALLOW "\r\n");
    add_cors(connection);
    if (connection->loop->settings->cors_origins.count > 0 &&
        field_of(connection, HTTP_FIELD_ACCESS_CONTROL_REQUEST_METHOD).bytes)
        HTTP_OUTPUT_LITERAL(out, "Access-Control-Allow-Methods: " ALLOW "\r\n"
                                 "Access-Control-Allow-Headers: Range, If-Range, If-Match, If-None-Match, "
                                 "If-Modified-Since, If-Unmodified-Since, Cache-Control\r\n"
                                 "Access-Control-Max-Age: 86400\r\n");
    end_head(connection);
    send_state(connection);
}

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
                                     .wake = on_source,
                                     .argument = connection};
    exchange->source = exchange->file->volume ? source_local_open(&options) : source_pieces_open(&options);
    if (!exchange->source) {
        exchange->cut = connection->sent > 0;
        if (!exchange->cut)
            exchange_refuse(connection, 503, "no memory");
        return false;
    }
    return true;
}

/* 0 while it lies in the future, because a storage server's clock is ahead: RFC 9110 section 8.8.2.1. */
static int64_t modified_of(const struct http_connection *connection)
{
    int64_t modified = connection->exchange.file->last_modified;
    return modified <= connection->loop->clock.second ? modified : 0;
}

/* What 200, 206 and 304 have in common (RFC 9110 section 15.4.5). */
static void add_validators(struct http_connection *connection)
{
    const struct http_lookup_file *file = connection->exchange.file;
    struct http_output *out = &connection->out;
    http_response_field(out, "ETag", file->etag);
    if (modified_of(connection) > 0)
        http_response_field(out, "Last-Modified", file->last_modified_text);
    http_output_text(out, connection->loop->settings->cache_control_line);
    add_cors(connection);
}

static void answer_not_modified(struct http_connection *connection)
{
    begin_head(connection, 304);
    add_validators(connection);
    end_head(connection);
    send_state(connection);
}

static bool is_inline(const struct http_connection *connection, const char *content_type)
{
    const struct config_strings *types = &connection->loop->settings->inline_types;
    return disposition_is_inline(types->items, types->count, content_type);
}

/* The link's NAME is anybody's: it may choose among types that browsers only show, never make a page of a file. */
static const char *choosing_name(const struct http_connection *connection, const struct http_target *target)
{
    const char *named = target->name[0] != '\0' ? media_type_by_name(target->name) : NULL;
    return named && is_inline(connection, named) ? target->name : "";
}

static void add_disposition(struct http_connection *connection, const struct http_target *target,
                            const char *content_type)
{
    const struct http_lookup_file *file = connection->exchange.file;
    char value[DISPOSITION_SIZE];
    if (!target->download && is_inline(connection, content_type))
        return;
    const char *name = target->download_name[0] != '\0' ? target->download_name
                       : file->stat.name[0] != '\0'     ? file->stat.name
                       : target->name[0] != '\0'        ? target->name
                                                        : file->key.file;
    http_response_field(&connection->out, "Content-Disposition", disposition_format(name, value));
}

static void add_content_range(struct http_output *out, const struct http_range *range, int64_t size)
{
    HTTP_OUTPUT_LITERAL(out, "Content-Range: bytes ");
    http_output_number(out, range->offset);
    HTTP_OUTPUT_LITERAL(out, "-");
    http_output_number(out, range->offset + range->length - 1);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_number(out, size);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

/* Television sets seek only where these say that they may (DLNA guidelines, part 1-1: byte seek, no conversion; streaming,
 * background and connection-stalling transfers, version 1.5). */
static void add_dlna(struct http_connection *connection)
{
    static const char *const modes[] = {"Streaming", "Interactive", "Background"};
    struct http_text asked = field_of(connection, HTTP_FIELD_DLNA_FEATURES);
    struct http_text mode = field_of(connection, HTTP_FIELD_DLNA_TRANSFER_MODE);
    if (asked.bytes && http_text_equal(asked, "1"))
        HTTP_OUTPUT_LITERAL(&connection->out, "contentFeatures.dlna.org: DLNA.ORG_OP=01;DLNA.ORG_CI=0;"
                                              "DLNA.ORG_FLAGS=01700000000000000000000000000000\r\n");
    for (size_t i = 0; mode.bytes && i < ARRAY_SIZE(modes); i++) {
        if (http_text_equal_nocase(mode, modes[i]))
            http_response_field(&connection->out, "transferMode.dlna.org", modes[i]);
    }
}

/* Status line and fields of 200 or 206; LENGTH of the body. */
static void write_file_head(struct http_connection *connection, const struct http_target *target,
                            int64_t length, const struct http_range *range, const char *content_type)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_output *out = &connection->out;
    begin_head(connection, range || exchange->multipart ? 206 : 200);
    if (exchange->multipart) {
        HTTP_OUTPUT_LITERAL(out, "Content-Type: multipart/byteranges; boundary=");
        http_output_text(out, exchange->multipart->boundary);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    } else {
        http_response_field(out, "Content-Type", content_type);
    }
    http_response_content_length(out, length);
    if (range)
        add_content_range(out, range, exchange->file->stat.size);
    HTTP_OUTPUT_LITERAL(out, "Accept-Ranges: bytes\r\n");
    add_validators(connection);
    http_output_text(out, connection->loop->settings->file_lines);
    add_disposition(connection, target, content_type);
    add_dlna(connection);
    end_head(connection);
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
    return http_range_parse(field_of(connection, HTTP_FIELD_RANGE), connection->exchange.file->stat.size,
                            set);
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
        exchange_refuse(connection, 404, "a playlist has no files below its address");
        return;
    }
    const char *name = choosing_name(connection, target), *content_type = file->content_type;
    char named_type[HTTP_LOOKUP_TYPE_SIZE];
    if (name[0] != '\0') {
        http_lookup_content_type(file, name, named_type);
        content_type = named_type;
    }

    if (!http_connection_take_output(connection)) {
        exchange_refuse(connection, 503, "no memory");
        return;
    }
    http_clock_read(&connection->loop->clock);
    struct http_validators validators = {file->etag, modified_of(connection)};
    if (!http_request_conditions(&exchange->request, head_of(connection), &conditions)) {
        exchange_refuse(connection, 431, "too many lines of one header field");
        return;
    }
    switch (http_conditions_evaluate(&conditions, &validators, connection->loop->clock.second)) {
    case HTTP_CONDITION_NOT_MODIFIED:
        answer_not_modified(connection);
        return;
    case HTTP_CONDITION_FAILED:
        exchange_refuse(connection, 412, "the file is not the one that the condition names");
        return;
    case HTTP_CONDITION_PROCEED:
        break;
    }
    switch (find_ranges(connection, &conditions, &validators, &set)) {
    case HTTP_RANGE_UNSATISFIABLE:
        exchange_refuse(connection, 416, "the file has no such bytes");
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

    write_file_head(connection, target, length, single, content_type);
    if (connection->out.overflow) {
        exchange_refuse(connection, 500, "the fields of the answer do not fit");
        return;
    }
    if (exchange->request.method == HTTP_METHOD_HEAD || length == 0) {
        send_state(connection);
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
        send_state(connection);
        return;
    }
    int code = exchange->source->error_code;
    if (code == ERROR_NOT_FOUND || code == ERROR_DELETED)
        http_lookup_forget(connection->loop->lookup, &exchange->file->key);
    exchange->cut = connection->sent > 0;
    if (!exchange->cut)
        refuse_for_error(connection, code, "the download could not begin");
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
    send_state(connection);
    return true;
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
        refuse_for_error(connection, error->code, error->text);
    } else {
        /* Taken apart once more rather than kept: it is a kilobyte, and most connections wait rarely. */
        struct http_text text = http_request_text(head_of(connection), exchange->request.target);
        if (http_target_parse(text, settings->application, settings->user, &target) == HTTP_TARGET_FILE)
            answer_file(connection, &target);
        else /* only where a reload took the defaults away meanwhile */
            exchange_refuse(connection, 404, "no such file");
    }
    http_connection_run(connection);
}

static void exchange_look_up(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    switch (http_lookup_start(connection->loop->lookup, &target->key, on_lookup, connection, &exchange->file,
                              &exchange->wait)) {
    case HTTP_LOOKUP_FOUND:
        answer_file(connection, target);
        break;
    case HTTP_LOOKUP_ABSENT:
        exchange_refuse(connection, 404, message_of_status(404));
        break;
    case HTTP_LOOKUP_WAITING:
        http_connection_set_state(connection, CONNECTION_LOOKUP);
        break;
    case HTTP_LOOKUP_FAILED:
        exchange_refuse(connection, 503, "no memory");
        break;
    }
}

static void exchange_begin(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_settings *settings = connection->loop->settings;
    struct http_target target;
    if (exchange->request.method == HTTP_METHOD_OTHER) {
        exchange_refuse(connection, 405, "only GET, HEAD and OPTIONS are served");
        return;
    }
    struct http_text text = http_request_text(head_of(connection), exchange->request.target);
    enum http_target_kind kind = http_target_parse(text, settings->application, settings->user, &target);
    bool options = exchange->request.method == HTTP_METHOD_OPTIONS;
    if (kind == HTTP_TARGET_BROKEN || (kind == HTTP_TARGET_SERVER && !options))
        exchange_refuse(connection, 400, "the request-target is malformed");
    else if (options)
        answer_options(connection);
    else if (kind == HTTP_TARGET_UNKNOWN)
        exchange_refuse(connection, 404, message_of_status(404));
    else
        exchange_look_up(connection, &target);
}

/* ---- the end ---- */

/* The client's address: the peer's, or what proxies that are trusted say. */
static const char *client_text(const struct http_connection *connection, char text[INET6_ADDRSTRLEN])
{
    const struct http_settings *settings = connection->loop->settings;
    enum http_field field =
        settings->forwarded_form == FORWARDED_RFC7239 ? HTTP_FIELD_FORWARDED : HTTP_FIELD_X_FORWARDED_FOR;
    struct http_text lines[HTTP_CONDITION_FIELDS_MAX];
    size_t count;
    http_connection_peer_text(connection, text, INET6_ADDRSTRLEN);
    if (settings->trusted_proxies.count > 0 && connection->in &&
        http_request_lines(&connection->exchange.request, head_of(connection), field, lines, &count))
        forwarded_client(lines, count, settings->forwarded_form, &settings->trusted_proxies, text);
    return text;
}

static void log_access(struct http_connection *connection, bool complete, int64_t duration_us,
                       int64_t body_bytes)
{
    const struct http_exchange *exchange = &connection->exchange;
    char peer[INET6_ADDRSTRLEN], id[REQUEST_ID_SIZE];
    struct access_log_record record = {
        .peer = client_text(connection, peer),
        .minor_version = exchange->request.minor_version,
        .status = exchange->status != 0 ? exchange->status : STATUS_CLIENT_GONE,
        .time = clock_wall_seconds(),
        .duration_us = duration_us,
        .body_bytes = body_bytes,
        .complete = complete,
        .host = field_of(connection, HTTP_FIELD_HOST),
        .referer = field_of(connection, HTTP_FIELD_REFERER),
        .user_agent = field_of(connection, HTTP_FIELD_USER_AGENT),
        .range = field_of(connection, HTTP_FIELD_RANGE),
        .request_id = request_id(connection, id),
    };
    if (connection->in) {
        record.method = http_request_text(head_of(connection), exchange->request.method_text);
        record.target = http_request_text(head_of(connection), exchange->request.target);
    }
    access_log_add(connection->loop->access_log, connection->loop->settings->access_log_format, &record);
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
    if (connection->loop->access_log)
        log_access(connection, complete && !exchange->cut, duration_us, body_bytes);
    if (exchange->wait)
        http_lookup_cancel(exchange->wait);
    source_close(exchange->source);
    http_lookup_file_release(exchange->file);
    free(exchange->multipart);
    memset(exchange, 0, sizeof(*exchange));
}

const struct http_answering http_exchange_answering = {
    .begin = exchange_begin,
    .refuse = exchange_refuse,
    .opened = exchange_opened,
    .next_part = exchange_next_part,
    .end = http_exchange_finish,
};
