/*
 * http_answer: the fields of every answer in the order in which they are sent, and the bodies of errors. Writes into the
 * connection's output buffer; a head that does not fit cuts the answer.
 */
#include "httpd/serve/http_answer.h"
#include "common/base/log.h"
#include "httpd/source/source_head.h"
#include "httpd/syntax/disposition.h"
#include "httpd/syntax/http_link.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALLOW "GET, HEAD, OPTIONS"

const char *http_answer_request_head(const struct http_connection *connection)
{
    return connection->in + connection->in_start;
}

struct http_text http_answer_request_field(const struct http_connection *connection, enum http_field field)
{
    if (!connection->in)
        return (struct http_text){NULL, 0};
    return http_request_field(&connection->exchange.request, http_answer_request_head(connection), field);
}

struct request_id http_answer_name(const struct http_connection *connection)
{
    struct request_id id = connection->exchange.named;
    if (request_id_is_set(&id))
        return id;
    memcpy(id.bytes, connection->loop->random, sizeof(connection->loop->random));
    uint64_t place = connection->id << 24 ^ connection->requests;
    for (size_t i = 0; i < sizeof(place); i++)
        id.bytes[REQUEST_ID_BYTES - 1 - i] = (uint8_t)(place >> (8 * i));
    return id;
}

char *http_answer_request_id(const struct http_connection *connection, char text[HTTP_REQUEST_ID_SIZE])
{
    const struct request_id id = http_answer_name(connection);
    return request_id_text(&id, text);
}

/* ---- fields that several answers have ---- */

static void http_answer_begin_head(struct http_connection *connection, int status)
{
    struct http_loop *loop = connection->loop;
    connection->exchange.status = status;
    http_clock_read(&loop->clock);
    http_response_begin(&connection->out, status, &loop->clock, loop->settings->server_line);
    if (connection->exchange.is_tus)
        HTTP_OUTPUT_LITERAL(&connection->out, "Tus-Resumable: " HTTP_TUS_VERSION "\r\n");
    if (connection->exchange.is_draft)
        HTTP_OUTPUT_LITERAL(&connection->out, "Upload-Draft-Interop-Version: " HTTP_DRAFT_INTEROP "\r\n");
    const struct http_exchange *exchange = &connection->exchange;
    if (status < 400 && (exchange->write || exchange->erase || exchange->tus || exchange->api ||
                         request_id_is_set(&exchange->named))) {
        char id[HTTP_REQUEST_ID_SIZE];
        http_response_field(&connection->out, "X-Request-Id", http_answer_request_id(connection, id));
    }
    if (connection->transport.tls) /* RFC 6797 section 7.2: only there */
        http_output_text(&connection->out, loop->settings->hsts_line);
}

static void http_answer_end_head(struct http_connection *connection)
{
    connection->keep_alive = connection->keep_alive && !connection->loop->draining;
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
        struct http_text origin = http_answer_request_field(connection, HTTP_FIELD_ORIGIN);
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
                        "Content-Range, ETag, Last-Modified");
    if (settings->write != HTTP_WRITE_OFF)
        HTTP_OUTPUT_LITERAL(out, ", Location");
    if (connection->exchange.is_tus)
        HTTP_OUTPUT_LITERAL(out, ", Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, "
                                 "Tus-Version, Upload-Concat, Upload-Defer-Length, Upload-Expires, "
                                 "Upload-Length, Upload-Metadata, Upload-Offset, X-Reel-File, X-Request-Id");
    if (connection->exchange.is_draft)
        HTTP_OUTPUT_LITERAL(out,
                            ", Upload-Complete, Upload-Draft-Interop-Version, Upload-Length, Upload-Limit, "
                            "Upload-Offset, X-Reel-File, X-Request-Id");
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

void http_answer_send(struct http_connection *connection)
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

void http_answer_begin(struct http_connection *connection, int status)
{
    http_answer_begin_head(connection, status);
}

void http_answer_end(struct http_connection *connection)
{
    add_cors(connection);
    http_answer_end_head(connection);
    http_answer_send(connection);
}

/* ---- errors ---- */

static const char *allowed_methods(const struct http_connection *connection)
{
    return connection->exchange.allow ? connection->exchange.allow : ALLOW;
}

/* The draft's Upload-Limit, without the time. */
static void add_upload_limit(struct http_connection *connection)
{
    int64_t limit = connection->loop->settings->live.upload_size_max;
    if (limit <= 0)
        return;
    HTTP_OUTPUT_LITERAL(&connection->out, "Upload-Limit: max-size=");
    http_output_number(&connection->out, limit);
    HTTP_OUTPUT_LITERAL(&connection->out, "\r\n");
}

static void add_error_fields(struct http_connection *connection, int status)
{
    struct http_output *out = &connection->out;
    if (status == 405)
        http_response_field(out, "Allow", allowed_methods(connection));
    if (connection->exchange.challenge)
        http_response_field(out, "WWW-Authenticate", connection->exchange.challenge);
    if (status == 503 || status == 429) {
        HTTP_OUTPUT_LITERAL(out, "Retry-After: ");
        http_output_number(out, connection->loop->settings->retry_after_s);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    if (status == 416) {
        HTTP_OUTPUT_LITERAL(out, "Accept-Ranges: bytes\r\nContent-Range: bytes */");
        http_output_number(out, connection->exchange.file->stat.size);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    if (status == 412 && connection->exchange.is_tus)
        HTTP_OUTPUT_LITERAL(out, "Tus-Version: " HTTP_TUS_VERSION "\r\n");
    if (status == 413 && connection->exchange.is_draft)
        add_upload_limit(connection);
    if (status == 409 && connection->exchange.tells_offset) {
        HTTP_OUTPUT_LITERAL(out, "Upload-Offset: ");
        http_output_number(out, connection->exchange.upload_offset);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    }
    if ((status == 412 || status == 416) && connection->exchange.file)
        http_response_field(out, "ETag", connection->exchange.file->etag);
    /* A 404 may be kept by caches unless it says otherwise (RFC 9110 section 15.1). */
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
}

void http_answer_refuse(struct http_connection *connection, int status, const char *message)
{
    struct http_exchange *exchange = &connection->exchange;
    char body[1024], id[HTTP_REQUEST_ID_SIZE];
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
    bool json = exchange->is_api ||
                http_accept_prefers_json(http_answer_request_field(connection, HTTP_FIELD_ACCEPT));
    size_t size =
        http_error_body(body, sizeof(body), json, status, message, http_answer_request_id(connection, id));
    http_answer_begin_head(connection, status);
    http_response_field(&connection->out, "Content-Type",
                        json ? "application/json" : "text/plain; charset=utf-8");
    http_response_content_length(&connection->out, (int64_t)size);
    http_response_field(&connection->out, "X-Request-Id", id);
    add_error_fields(connection, status);
    add_cors(connection);
    http_answer_end_head(connection);
    if (exchange->request.method != HTTP_METHOD_HEAD)
        http_output_append(&connection->out, body, size);
    http_answer_send(connection);
}

static int status_of_error(int error_code, bool trackers_reachable)
{
    switch (error_code) {
    case ERROR_NOT_FOUND:
    case ERROR_DELETED:
    case ERROR_REFUSED: /* an application that nobody knows */
        return 404;
    case ERROR_FORBIDDEN:
        return 403;
    case ERROR_THROTTLED:
        return 429;
    case ERROR_NO_SERVER:
    case ERROR_UNAVAILABLE:
    case ERROR_EXHAUSTED:
    case ERROR_UNAUTHENTICATED: /* this server's own key is missing, wrong or expired */
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
        return HTTP_ANSWER_NO_FILE;
    case 503:
        return "no storage server can be asked at present";
    case 504:
        return "the storage servers did not answer in time";
    default:
        return "the storage servers could not give the file";
    }
}

void http_answer_log(struct http_connection *connection, int status, int code, const char *text)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    if (status >= 500 && log_gate_open(&gate, 100, &suppressed)) {
        char target[512], id[HTTP_REQUEST_ID_SIZE];
        size_t size = http_link_mask(
            http_request_text(http_answer_request_head(connection), connection->exchange.request.target),
            target, sizeof(target));
        log_warning("exchange",
                    "c%" PRIu64 ": request %s: %.*s: answered %d: %s: %s (%" PRIu64 " alike not logged)",
                    connection->id, http_answer_request_id(connection, id), (int)size, target, status,
                    error_code_name(code), text, suppressed);
    }
}

void http_answer_error(struct http_connection *connection, int code, const char *text)
{
    int status = status_of_error(code, client_trackers_reachable(connection->loop->client));
    http_answer_log(connection, status, code, text);
    http_answer_refuse(connection, status, message_of_status(status));
}

void http_answer_json(struct http_connection *connection, char *text)
{
    struct http_exchange *exchange = &connection->exchange;
    struct source_options options = {.loop = connection->loop, .connection_id = connection->id};
    size_t size = text ? strlen(text) : 0;
    struct source_memory *memory = text ? source_memory_create((uint8_t *)text, size) : NULL;
    if (memory && exchange->request.method != HTTP_METHOD_HEAD)
        exchange->source = source_head_open(&options, memory, 0, size);
    bool made = memory && (exchange->source || exchange->request.method == HTTP_METHOD_HEAD);
    if (!memory)
        free(text);
    source_memory_release(memory);
    if (!made || !http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin_head(connection, 200);
    HTTP_OUTPUT_LITERAL(&connection->out, "Content-Type: application/json\r\nCache-Control: no-store\r\n"
                                          "X-Content-Type-Options: nosniff\r\n");
    http_response_content_length(&connection->out, (int64_t)size);
    http_answer_end(connection);
}

/* ---- OPTIONS ---- */

/* A token is a field that the page sets itself: no credentials in the sense of the Fetch standard. */
static void add_preflight(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    http_response_field(out, "Access-Control-Allow-Methods", allowed_methods(connection));
    HTTP_OUTPUT_LITERAL(out, "Access-Control-Allow-Headers: Range, If-Range, If-Match, If-None-Match, "
                             "If-Modified-Since, If-Unmodified-Since, Cache-Control");
    if (connection->loop->settings->write != HTTP_WRITE_OFF)
        HTTP_OUTPUT_LITERAL(
            out, ", Authorization, Content-Type, Content-Disposition, Content-Digest, Repr-Digest, "
                 "X-Reel-Digest");
    if (connection->exchange.is_tus)
        HTTP_OUTPUT_LITERAL(out, ", Tus-Resumable, Upload-Checksum, Upload-Concat, Upload-Defer-Length, "
                                 "Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, "
                                 "X-Request-ID, X-Requested-With");
    if (connection->loop->settings->live.upload_draft)
        HTTP_OUTPUT_LITERAL(out, ", Upload-Complete, Upload-Draft-Interop-Version");
    if (connection->loop->settings->live.upload_draft && !connection->exchange.is_tus)
        HTTP_OUTPUT_LITERAL(out, ", Upload-Length, Upload-Offset");
    HTTP_OUTPUT_LITERAL(out, "\r\nAccess-Control-Max-Age: 86400\r\n");
}

/* What OPTIONS says of tus: versions, extensions, limits. */
static void add_tus_offer(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    int64_t limit = connection->loop->settings->live.upload_size_max;
    HTTP_OUTPUT_LITERAL(out, "Tus-Version: " HTTP_TUS_VERSION "\r\n"
                             "Tus-Extension: creation,creation-with-upload,creation-defer-length,checksum,"
                             "concatenation,expiration,termination\r\n"
                             "Tus-Checksum-Algorithm: sha1,sha256\r\n");
    if (limit <= 0)
        return;
    HTTP_OUTPUT_LITERAL(out, "Tus-Max-Size: ");
    http_output_number(out, limit);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

void http_answer_options(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin_head(connection, 204);
    http_response_field(out, "Allow", allowed_methods(connection));
    if (connection->exchange.is_tus)
        add_tus_offer(connection);
    if (connection->loop->settings->live.upload_draft && connection->exchange.allow) {
        HTTP_OUTPUT_LITERAL(out, "Accept-Patch: " HTTP_DRAFT_CONTENT_TYPE "\r\n");
        add_upload_limit(connection);
    }
    add_cors(connection);
    if (connection->loop->settings->cors_origins.count > 0 &&
        http_answer_request_field(connection, HTTP_FIELD_ACCESS_CONTROL_REQUEST_METHOD).bytes)
        add_preflight(connection);
    http_answer_end_head(connection);
    http_answer_send(connection);
}

/* ---- https ---- */

/* The request's host without its port. */
static struct http_text request_host(const struct http_connection *connection, struct http_text authority)
{
    struct http_text host =
        authority.size > 0 ? authority : http_answer_request_field(connection, HTTP_FIELD_HOST);
    const char *end = host.size > 0 ? memrchr(host.bytes, ':', host.size) : NULL;
    /* Inside of brackets a colon is part of an address. */
    if (end && !memchr(end, ']', host.size - (size_t)(end - host.bytes)))
        host.size = (size_t)(end - host.bytes);
    return host;
}

/* What stands in a target as browsers send it, and must not stand in a URL (RFC 3986 section 2). */
static void add_encoded(struct http_output *out, struct http_text text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c))
            http_output_append(out, escape, sizeof(escape));
        else
            http_output_append(out, text.bytes + i, 1);
    }
}

void http_answer_redirect(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    struct http_text text =
        http_request_text(http_answer_request_head(connection), connection->exchange.request.target);
    struct http_text scheme, authority, rest;
    int port = connection->loop->settings->https_port;
    bool fine = http_target_split(text, &scheme, &authority, &rest);
    struct http_text host = request_host(connection, authority);
    if (!fine || host.size == 0) {
        http_answer_refuse(connection, 400, "only https:// is served here, and the request names no host");
        return;
    }
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin_head(connection, 308);
    HTTP_OUTPUT_LITERAL(out, "Location: https://");
    http_output_append(out, host.bytes, host.size);
    if (port != 443) {
        HTTP_OUTPUT_LITERAL(out, ":");
        http_output_number(out, port);
    }
    if (rest.size == 0 || rest.bytes[0] != '/')
        HTTP_OUTPUT_LITERAL(out, "/");
    add_encoded(out, rest);
    /* Browsers would keep it for good (RFC 9110 section 15.4.9), with a link's signature in it. */
    HTTP_OUTPUT_LITERAL(out, "\r\nCache-Control: no-store\r\n");
    http_response_content_length(out, 0);
    add_cors(connection);
    http_answer_end_head(connection);
    if (out->overflow)
        http_answer_refuse(connection, 414, "the request-target is too long to be redirected");
    else
        http_answer_send(connection);
}

/* ---- files ---- */

/* 0: it is not stated. */
static int64_t modified_stated(const struct http_connection *connection)
{
    int64_t modified = connection->exchange.file->last_modified;
    return modified <= connection->loop->clock.second ? modified : 0;
}

int64_t http_answer_modified(const struct http_connection *connection)
{
    /* When the file came says nothing of which bytes were made of it, of what else, and how. */
    return connection->exchange.made ? 0 : modified_stated(connection);
}

/* What 200, 206 and 304 have in common (RFC 9110 section 15.4.5). */
static void add_validators(struct http_connection *connection)
{
    const struct http_settings *settings = connection->loop->settings;
    const struct http_lookup_file *file = connection->exchange.file;
    struct http_output *out = &connection->out;
    http_response_field(out, "ETag", file->etag);
    /* It would be that of the form that is not compressed too. */
    if (modified_stated(connection) > 0 && !file->gzipped)
        http_response_field(out, "Last-Modified", file->last_modified_text);
    if (file->passing)
        HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\n");
    else
        http_output_text(out, connection->exchange.is_private ? settings->private_cache_line
                                                              : settings->cache_control_line);
    if (file->varies)
        HTTP_OUTPUT_LITERAL(out, "Vary: Accept-Encoding\r\n");
    add_cors(connection);
}

void http_answer_not_modified(struct http_connection *connection)
{
    http_answer_begin_head(connection, 304);
    add_validators(connection);
    http_answer_end_head(connection);
    http_answer_send(connection);
}

bool http_answer_is_inline(const struct http_connection *connection, const char *content_type)
{
    const struct config_strings *types = &connection->loop->settings->inline_types;
    return disposition_is_inline(types->items, types->count, content_type);
}

static void add_disposition(struct http_connection *connection, const struct http_target *target,
                            const char *content_type)
{
    const struct http_lookup_file *file = connection->exchange.file;
    char value[DISPOSITION_SIZE];
    if (file->derived || (!target->download && http_answer_is_inline(connection, content_type)))
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
    struct http_text asked = http_answer_request_field(connection, HTTP_FIELD_DLNA_FEATURES);
    struct http_text mode = http_answer_request_field(connection, HTTP_FIELD_DLNA_TRANSFER_MODE);
    if (asked.bytes && http_text_equal(asked, "1"))
        HTTP_OUTPUT_LITERAL(&connection->out, "contentFeatures.dlna.org: DLNA.ORG_OP=01;DLNA.ORG_CI=0;"
                                              "DLNA.ORG_FLAGS=01700000000000000000000000000000\r\n");
    for (size_t i = 0; mode.bytes && i < ARRAY_SIZE(modes); i++) {
        if (http_text_equal_nocase(mode, modes[i]))
            http_response_field(&connection->out, "transferMode.dlna.org", modes[i]);
    }
}

void http_answer_file_head(struct http_connection *connection, const struct http_target *target,
                           int64_t length, const struct http_range *range, const char *content_type)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_output *out = &connection->out;
    http_answer_begin_head(connection, range || exchange->multipart ? 206 : 200);
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
    if (exchange->file->gzipped)
        HTTP_OUTPUT_LITERAL(out, "Content-Encoding: gzip\r\n");
    add_validators(connection);
    http_output_text(out, connection->loop->settings->file_lines);
    add_disposition(connection, target, content_type);
    add_dlna(connection);
    http_answer_end_head(connection);
}

enum http_lookup_result http_answer_look_up(struct http_connection *connection,
                                            const struct proto_file_key *key, http_lookup_callback done)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct request_id name = http_answer_name(connection);
    enum http_lookup_result result = http_lookup_start(connection->loop->lookup, key, &name, done, connection,
                                                       &exchange->file, &exchange->wait);
    if (result == HTTP_LOOKUP_WAITING)
        http_connection_set_state(connection, CONNECTION_LOOKUP);
    else if (result == HTTP_LOOKUP_FAILED)
        http_answer_refuse(connection, 503, "no memory");
    return result;
}

void http_answer_key(struct http_output *out, const struct proto_file_key *key)
{
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->application);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->user);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->file);
}
