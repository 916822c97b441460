/*
 * http_tus: a request about a resumable upload, from its head to its answer.
 *
 *   POST           BEGIN -> [feed] -> [FINISH] -> 201        a final upload: BEGIN -> JOIN_PARTS -> 201
 *   HEAD           OFFSET -> [FINISH] -> 200
 *   PATCH          OFFSET -> feed (APPENDs) -> [FINISH] -> 204
 *   DELETE         ABORT -> 204
 *
 * FINISH comes as soon as all bytes are there, also where a HEAD finds them: so no client takes for stored what is not.
 */
#include "httpd/serve/http_tus.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_outcome.h"
#include "httpd/serve/http_write.h"
#include "httpd/serve/http_write_head.h"
#include "httpd/syntax/content_name.h"
#include "httpd/syntax/tus_syntax.h"
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE        1024 /* of metadata and parts that an address carries, NUL included */
#define ADDRESS_TEXT_MAX 1800 /* bytes that both may take in it, encoded */
#define CONTENT_TYPE     "application/offset+octet-stream"
#define PATIENCE_MS      INT64_C(60000)
#define JOIN_PATIENCE_MS INT64_C(3600000) /* of parts of unknown sizes */
#define BYTES_PER_MS     INT64_C(20000)   /* that a storage server reads back or copies at least */

#define NO_UPLOAD "no such upload, or its time is over"

struct http_tus {
    struct http_grant grant;
    struct proto_put put; /* of a new one: key, size, name, type */
    struct proto_partial partial;
    struct proto_partial_state state;
    enum tus_kind kind;
    enum http_request_method method; /* X-HTTP-Method-Override looked at */
    bool body_pending;               /* a refusal has to look after it */
    bool has_content;                /* and it is to be appended */
    int64_t offset;                  /* Upload-Offset; -1: none */
    int64_t length;                  /* Upload-Length; -1: none */
    bool has_hash;
    enum content_hash_kind hash_kind;
    uint8_t hash[CONTENT_HASH_SIZE_MAX];
    char metadata[TEXT_SIZE], concat[TEXT_SIZE]; /* as they were said; "": not, or too long to be carried */
    uint8_t *parts;                              /* tokens of a final upload */
    size_t part_count;
    struct client_operation *operation;
};

void http_tus_end(struct http_tus *tus)
{
    if (!tus)
        return;
    if (tus->operation)
        client_cancel(tus->operation);
    free(tus->parts);
    free(tus);
}

/* ---- refusals ---- */

static void tus_refuse(struct http_connection *connection, int status, const char *message)
{
    struct http_tus *tus = connection->exchange.tus;
    bool pending = tus && tus->body_pending;
    if (tus)
        tus->body_pending = false;
    if (pending)
        (void)http_write_refuse(connection, status, message);
    else
        http_answer_refuse(connection, status, message);
}

static int status_of(int code)
{
    switch (code) {
    case ERROR_RANGE:
        return 409;
    case ERROR_DIGEST:
        return 460;
    default:
        return http_outcome_status(code);
    }
}

static const char *message_of(int status)
{
    switch (status) {
    case 404:
        return NO_UPLOAD;
    case 409:
        return "the bytes do not fit what is there; HEAD tells the offset";
    case 423:
        return "another request has taken the upload over, or the storage server cannot go on; HEAD tells "
               "the offset";
    case 429:
        return "too many unfinished uploads";
    case 460:
        return "the content does not have the checksum that was stated";
    default:
        return http_outcome_message(status);
    }
}

static void tus_failed(struct http_connection *connection, const struct error *error)
{
    int status = status_of(error->code);
    http_answer_log(connection, status, error->code, error->text);
    tus_refuse(connection, status, message_of(status));
}

/* Sets the operation and waits for it. */
static void tus_wait(struct http_connection *connection, struct client_operation *operation)
{
    connection->exchange.tus->operation = operation;
    if (operation)
        http_connection_set_state(connection, CONNECTION_LOOKUP);
    else
        tus_refuse(connection, 503, "no memory");
}

static void tus_audit(const struct http_connection *connection, const char *event, int code, int64_t bytes)
{
    const struct http_tus *tus = connection->exchange.tus;
    const struct http_outcome outcome = {
        .event = event, .issuer = tus->grant.issuer, .key = &tus->partial.key, .code = code, .bytes = bytes};
    http_outcome_audit(connection, &outcome);
}

/* ---- answers ---- */

static bool is_whole(const struct http_tus *tus)
{
    return tus->state.size >= 0 && tus->state.offset == tus->state.size;
}

static void put_key(struct http_output *out, const struct proto_file_key *key)
{
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->application);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->user);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_segment(out, key->file);
}

static void put_location(struct http_output *out, const struct http_tus *tus)
{
    char token[TUS_TOKEN_SIZE];
    HTTP_OUTPUT_LITERAL(out, "Location: /tus");
    put_key(out, &tus->partial.key);
    HTTP_OUTPUT_LITERAL(out, "/");
    http_output_text(out, tus_token_format(tus->kind, tus->partial.token, token));
    if (tus->metadata[0] != '\0' || tus->concat[0] != '\0') {
        HTTP_OUTPUT_LITERAL(out, "/");
        http_output_segment(out, tus->metadata);
    }
    if (tus->concat[0] != '\0') {
        HTTP_OUTPUT_LITERAL(out, "/");
        http_output_segment(out, tus->concat);
    }
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

static void put_number(struct http_output *out, const char *name, int64_t number)
{
    http_output_text(out, name);
    HTTP_OUTPUT_LITERAL(out, ": ");
    http_output_number(out, number);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

/* What HEAD tells of an upload as it was made. */
static void put_description(struct http_output *out, const struct http_tus *tus)
{
    if (tus->state.size >= 0)
        put_number(out, "Upload-Length", tus->state.size);
    else
        HTTP_OUTPUT_LITERAL(out, "Upload-Defer-Length: 1\r\n");
    if (tus->metadata[0] != '\0')
        http_response_field(out, "Upload-Metadata", tus->metadata);
    if (tus->kind == TUS_PART)
        HTTP_OUTPUT_LITERAL(out, "Upload-Concat: partial\r\n");
    else if (tus->concat[0] != '\0')
        http_response_field(out, "Upload-Concat", tus->concat);
}

static void tus_answer(struct http_connection *connection, int status)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_output *out = &connection->out;
    char date[HTTP_DATE_SIZE];
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin(connection, status);
    if (status == 201)
        put_location(out, tus);
    put_number(out, "Upload-Offset", tus->state.offset);
    if (tus->method == HTTP_METHOD_HEAD)
        put_description(out, tus);
    if (tus->state.complete) {
        HTTP_OUTPUT_LITERAL(out, "X-Reel-File: /files");
        put_key(out, &tus->partial.key);
        HTTP_OUTPUT_LITERAL(out, "\r\n");
    } else if (tus->state.expires > 0) {
        http_date_format(tus->state.expires, date);
        http_response_field(out, "Upload-Expires", date);
    }
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\n");
    if (status != 204)
        http_response_content_length(out, 0);
    http_answer_end(connection);
}

static int success_of(const struct http_tus *tus)
{
    return tus->method == HTTP_METHOD_POST ? 201 : tus->method == HTTP_METHOD_HEAD ? 200 : 204;
}

/* ---- the end of an upload ---- */

static void on_tus_finished(void *argument, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_tus *tus = connection->exchange.tus;
    const struct http_metrics *metrics = connection->loop->metrics;
    bool refused = error && (error->code == ERROR_RANGE || error->code == ERROR_NOT_FOUND);
    tus->operation = NULL;
    tus_audit(connection, "upload", error ? error->code : ERROR_NONE, error ? -1 : tus->state.offset);
    if (refused && tus->kind == TUS_FINAL) {
        tus_refuse(connection, error->code == ERROR_RANGE ? 409 : 404,
                   error->code == ERROR_RANGE ? "a part is not complete" : "a part is not there any more");
    } else if (error) {
        tus_failed(connection, error);
    } else {
        http_lookup_forget(connection->loop->lookup, &tus->partial.key);
        metric_add(metrics->stored, 1);
        metric_add(metrics->stored_bytes, tus->state.offset);
        tus->state.complete = true;
        tus_answer(connection, success_of(tus));
    }
    http_connection_run(connection);
}

/* As many bytes as are known of are there: FINISH, where it is due, or the answer. */
static void tus_conclude(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    if (tus->kind != TUS_UPLOAD || !is_whole(tus) || tus->state.complete) {
        tus_answer(connection, success_of(tus));
        return;
    }
    const struct proto_finish finish = {.partial = tus->partial};
    tus_wait(connection,
             client_finish(connection->loop->client, &finish, PATIENCE_MS + tus->state.size / BYTES_PER_MS,
                           on_tus_finished, connection));
}

/* ---- content ---- */

static void tus_wanted(void *argument)
{
    http_connection_continue(argument);
}

static void tus_woken(void *argument)
{
    http_connection_run(argument);
}

/* Bytes that may still come; INT64_MAX: any number. */
static int64_t room_left(const struct http_connection *connection)
{
    const struct http_tus *tus = connection->exchange.tus;
    int64_t size = tus->state.size >= 0 ? tus->state.size : tus->length;
    int64_t limit = connection->loop->settings->upload_size_max;
    if (size < 0)
        size = limit > 0 ? limit : INT64_MAX;
    return max_i64(size - tus->state.offset, 0);
}

static void tus_begin_feed(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_tus *tus = exchange->tus;
    const struct http_request *request = &exchange->request;
    uint32_t start = connection->in_start + request->head_size;
    bool chunked = request->body_kind == HTTP_BODY_CHUNKED;
    int64_t room = room_left(connection);
    int64_t body = chunked ? INT64_MAX : request->body_kind == HTTP_BODY_NONE ? 0 : request->body_length;
    if (!chunked && body > room) {
        tus_refuse(connection, 413,
                   "there are more bytes than the upload's length, or this server's limit, allows");
        return;
    }
    const struct proto_append append = {
        .partial = tus->partial, .offset = tus->state.offset, .total = tus->length};
    http_body_init(&exchange->body, request);
    const struct feed_options options = {
        .loop = connection->loop,
        .append = &append,
        .from = connection->transport,
        .memory = connection->in + start,
        .memory_size = (size_t)min_i64(body, connection->in_end - start),
        .body = &exchange->body,
        .size_max = chunked && room < INT64_MAX ? max_i64(room, 1) : 0,
        .hash = tus->has_hash ? tus->hash : NULL,
        .hash_kind = tus->hash_kind,
        .wanted = tus_wanted,
        .wake = tus_woken,
        .argument = connection,
    };
    exchange->feed = feed_open(&options);
    connection->rate_ms = connection->rate_taken = 0;
    if (!exchange->feed) {
        tus_refuse(connection, 503, "no memory");
        return;
    }
    tus->body_pending = false;
    connection->readable = true;
    http_connection_continue(connection);
    http_connection_set_state(connection, CONNECTION_STORE);
}

static void feed_failed(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct error error = *feed_error(exchange->feed);
    const char *complaint = feed_complaint(exchange->feed);
    int status = status_of(error.code);
    if (complaint && error.code == ERROR_RANGE)
        status = 413;
    else if (error.code == ERROR_UNAVAILABLE)
        status = 423;
    http_answer_log(connection, status, error.code, error.text);
    int64_t left = http_write_close_feed(connection);
    const char *message = complaint && status == 400 ? complaint : message_of(status);
    if (left == INT64_MAX)
        http_connection_refuse(connection, status, message);
    else
        http_write_refuse_body(connection, left, status, message);
}

bool http_tus_stored(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    switch (feed_status(exchange->feed)) {
    case SINK_BUSY:
        return false;
    case SINK_STORED:
        exchange->tus->state = *feed_state(exchange->feed);
        (void)http_write_close_feed(connection);
        tus_conclude(connection);
        return true;
    case SINK_FAILED:
        feed_failed(connection);
        return true;
    case SINK_GONE: /* what came counts: HEAD will tell how much it is */
        exchange->cut = true;
        connection->keep_alive = false;
        http_connection_set_state(connection, CONNECTION_SEND);
        return true;
    }
    return false;
}

/* ---- POST ---- */

static void on_tus_begun(void *argument, const struct proto_begin_reply *reply, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_tus *tus = connection->exchange.tus;
    tus->operation = NULL;
    if (error) {
        tus_failed(connection, error);
        http_connection_run(connection);
        return;
    }
    memcpy(tus->partial.token, reply->token, sizeof(tus->partial.token));
    tus->state = reply->state;
    const struct proto_finish finish = {.partial = tus->partial};
    if (tus->kind == TUS_FINAL)
        tus_wait(connection, client_join_parts(connection->loop->client, &finish, tus->parts, tus->part_count,
                                               JOIN_PATIENCE_MS, on_tus_finished, connection));
    else if (tus->has_content)
        tus_begin_feed(connection);
    else
        tus_conclude(connection);
    http_connection_run(connection);
}

/* The parts of a final upload: their tokens. 0, or the status. */
static int take_parts(struct http_connection *connection, struct http_text parts, const char **message)
{
    const struct http_settings *settings = connection->loop->settings;
    struct http_tus *tus = connection->exchange.tus;
    struct http_text address;
    *message = "no memory";
    tus->parts = calloc(PROTO_PARTS_MAX, PROTO_PARTIAL_TOKEN_SIZE);
    if (!tus->parts)
        return 503;
    while (tus_concat_next(&parts, &address)) {
        struct http_target target;
        enum tus_kind kind = TUS_FINAL;
        uint8_t *token = tus->parts + tus->part_count * PROTO_PARTIAL_TOKEN_SIZE;
        *message = "too many parts";
        if (tus->part_count == PROTO_PARTS_MAX)
            return 400;
        *message =
            "Upload-Concat: final;ADDRESS ADDRESS ... of uploads that were created as partial is expected";
        if (http_target_parse(address, settings->application, settings->user, &target) != HTTP_TARGET_TUS ||
            !target.tus_token.bytes || !tus_token_parse(target.tus_token, &kind, token) || kind != TUS_PART)
            return 400;
        *message = "the parts of an upload belong to one user";
        if (strcmp(target.key.application, tus->put.key.application) != 0 ||
            strcmp(target.key.user, tus->put.key.user) != 0 ||
            strncmp(target.key.file, tus->grant.prefix, strlen(tus->grant.prefix)) != 0)
            return 403;
        tus->part_count++;
    }
    return 0;
}

/* Upload-Concat and the lengths that go with it. 0, or the status. */
static int take_concat(struct http_connection *connection, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_text value = http_answer_request_field(connection, HTTP_FIELD_UPLOAD_CONCAT);
    struct http_text defer = http_answer_request_field(connection, HTTP_FIELD_UPLOAD_DEFER_LENGTH);
    struct http_text parts;
    tus->kind = TUS_UPLOAD;
    if (value.bytes && !tus_concat_parse(value, &tus->kind, &parts)) {
        *message = "Upload-Concat: \"partial\", or \"final;\" and addresses, is expected";
        return 400;
    }
    *message = "Upload-Defer-Length: 1 is the only value";
    if (defer.bytes && !http_text_equal(defer, "1"))
        return 400;
    if (tus->kind == TUS_FINAL) {
        *message = "a final upload has the length of its parts, and no content of its own";
        if (tus->length >= 0 || defer.bytes || tus->has_content)
            return 400;
        if (value.size < sizeof(tus->concat))
            memcpy(tus->concat, value.bytes, value.size);
        return take_parts(connection, parts, message);
    }
    *message = "either Upload-Length or Upload-Defer-Length: 1 is needed";
    return (tus->length >= 0) == (defer.bytes != NULL) ? 400 : 0;
}

static size_t encoded_size(const char *text)
{
    char bytes[3 * TEXT_SIZE];
    struct http_output out = {.bytes = bytes, .capacity = sizeof(bytes)};
    http_output_segment(&out, text);
    return out.end;
}

/* Upload-Metadata. 0, or the status. */
static int take_metadata(struct http_connection *connection, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_text value = http_answer_request_field(connection, HTTP_FIELD_UPLOAD_METADATA);
    char type[PROTO_CONTENT_TYPE_SIZE];
    if (value.bytes) {
        *message = "Upload-Metadata: keys, each with a value in base64, separated by commas are expected";
        if (!tus_metadata_parse(value, tus->put.name, type))
            return 400;
        *message = HTTP_WRITE_HEAD_NO_NAME;
        if (!content_name_tidy(tus->put.name))
            return 400;
        http_write_head_type(http_text_of(type), tus->put.content_type);
        if (value.size < sizeof(tus->metadata))
            memcpy(tus->metadata, value.bytes, value.size);
    }
    /* What does not fit into the address is not told by HEAD. */
    if (encoded_size(tus->metadata) + encoded_size(tus->concat) > ADDRESS_TEXT_MAX)
        memset(tus->concat, 0, sizeof(tus->concat));
    if (encoded_size(tus->metadata) > ADDRESS_TEXT_MAX)
        memset(tus->metadata, 0, sizeof(tus->metadata));
    return 0;
}

static int tus_create(struct http_connection *connection, const struct http_target *target,
                      const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    int64_t limit = connection->loop->settings->upload_size_max;
    int status;
    *message = "uploads are created at the address of a user";
    if (target->key.file[0] != '\0')
        return 405;
    tus->put.key = target->key;
    if ((status = take_concat(connection, message)) != 0 ||
        (status = take_metadata(connection, message)) != 0)
        return status;
    *message = "the upload is larger than this server takes";
    if (limit > 0 && tus->length > limit)
        return 413;
    *message = "no file ID could be made";
    if (!http_write_make_id(&tus->put.key, &tus->grant))
        return 503;
    tus->partial.key = tus->put.key;
    tus->put.size = tus->length;
    struct proto_begin begin = {.put = tus->put};
    tus_wait(connection, client_begin(connection->loop->client, &begin, on_tus_begun, connection));
    return 0;
}

/* ---- HEAD, PATCH, DELETE ---- */

static void on_tus_offset(void *argument, const struct proto_partial_state *state, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_tus *tus = connection->exchange.tus;
    tus->operation = NULL;
    if (!error)
        tus->state = *state;
    if (error)
        tus_failed(connection, error);
    else if (tus->method == HTTP_METHOD_HEAD)
        tus_conclude(connection);
    else if (tus->offset != state->offset)
        tus_refuse(connection, 409, "Upload-Offset is not the offset of the upload; HEAD tells it");
    else if (tus->length >= 0 && state->size >= 0 && tus->length != state->size)
        tus_refuse(connection, 409, "Upload-Length is another one than was said before");
    else if (tus->length >= 0 && tus->length < state->offset)
        tus_refuse(connection, 409, "Upload-Length is less than what is there already");
    else if (state->complete && !tus->has_content)
        tus_answer(connection, 204);
    else
        tus_begin_feed(connection);
    http_connection_run(connection);
}

static void on_tus_aborted(void *argument, const struct error *error)
{
    struct http_connection *connection = argument;
    connection->exchange.tus->operation = NULL;
    tus_audit(connection, "abort", error ? error->code : ERROR_NONE, -1);
    if (error && error->code == ERROR_EXISTS) {
        tus_refuse(connection, 409,
                   "the upload is complete and has become a file; DELETE of that file deletes it");
    } else if (error) {
        tus_failed(connection, error);
    } else if (!http_connection_take_output(connection)) {
        tus_refuse(connection, 503, "no memory");
    } else {
        http_answer_begin(connection, 204);
        http_answer_end(connection);
    }
    http_connection_run(connection);
}

/* What the address carries, decoded; "" where it is nothing that may stand in a field. */
static void take_carried(struct http_text segment, char text[TEXT_SIZE])
{
    int64_t size =
        segment.bytes ? http_text_percent_decode(segment, false, text, TEXT_SIZE - 1) : HTTP_TEXT_BROKEN;
    if (size < 0 || !tus_text_is_plain((struct http_text){text, (size_t)size}))
        size = 0;
    memset(text + size, 0, (size_t)(TEXT_SIZE - size));
}

static int tus_patch(struct http_connection *connection, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    int64_t limit = connection->loop->settings->upload_size_max;
    *message = "Content-Type: " CONTENT_TYPE " is needed";
    if (!http_text_equal_nocase(http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE), CONTENT_TYPE))
        return 415;
    *message = "Upload-Offset is needed";
    if (tus->offset < 0)
        return 400;
    *message = "a final upload has no content of its own";
    if (tus->kind == TUS_FINAL)
        return 403;
    *message = "the upload is larger than this server takes";
    if (limit > 0 && tus->length > limit)
        return 413;
    tus_wait(connection, client_offset(connection->loop->client, &tus->partial, on_tus_offset, connection));
    return 0;
}

/* A request about an upload that is there. 0, or the status. */
static int tus_continue(struct http_connection *connection, const struct http_target *target,
                        const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    struct client *client = connection->loop->client;
    *message = NO_UPLOAD;
    if (!target->tus_token.bytes)
        return 405;
    if (!tus_token_parse(target->tus_token, &tus->kind, tus->partial.token))
        return 404;
    tus->partial.key = target->key;
    take_carried(target->tus_metadata, tus->metadata);
    take_carried(target->tus_concat, tus->concat);
    switch (tus->method) {
    case HTTP_METHOD_HEAD:
        tus_wait(connection, client_offset(client, &tus->partial, on_tus_offset, connection));
        return 0;
    case HTTP_METHOD_DELETE:
        tus_wait(connection, client_abort(client, &tus->partial, on_tus_aborted, connection));
        return 0;
    case HTTP_METHOD_PATCH:
        return tus_patch(connection, message);
    default:
        *message = "an upload is asked about with HEAD, PATCH and DELETE";
        return 405;
    }
}

/* ---- the beginning ---- */

static enum http_request_method method_of(struct http_connection *connection)
{
    static const struct {
        const char *name;
        enum http_request_method method;
    } methods[] = {{"PATCH", HTTP_METHOD_PATCH}, {"DELETE", HTTP_METHOD_DELETE}, {"HEAD", HTTP_METHOD_HEAD}};
    struct http_text value = http_answer_request_field(connection, HTTP_FIELD_METHOD_OVERRIDE);
    enum http_request_method method = connection->exchange.request.method;
    for (size_t i = 0; method == HTTP_METHOD_POST && value.bytes && i < ARRAY_SIZE(methods); i++) {
        if (http_text_equal(value, methods[i].name))
            return methods[i].method;
    }
    return method;
}

/* A number of bytes; -1 where FIELD is absent. False: malformed. */
static bool take_number(const struct http_connection *connection, enum http_field field, int64_t *number)
{
    struct http_text value = http_answer_request_field(connection, field);
    *number = -1;
    return !value.bytes || (http_request_field_count(&connection->exchange.request, field) == 1 &&
                            http_text_number(value, number) && *number < INT64_MAX);
}

static int take_checksum(struct http_connection *connection, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_text value = http_answer_request_field(connection, HTTP_FIELD_UPLOAD_CHECKSUM);
    if (!value.bytes)
        return 0;
    *message = "Upload-Checksum: sha1 or sha256, a space and the checksum in base64 are expected";
    if (tus_checksum_parse(value, &tus->hash_kind, tus->hash) != TUS_CHECKSUM_FOUND)
        return 400;
    *message = "a content with Upload-Checksum needs Content-Length";
    tus->has_hash = true;
    return connection->exchange.request.body_kind == HTTP_BODY_CHUNKED ? 411 : 0;
}

/* What all requests have. 0, or the status. */
static int tus_head(struct http_connection *connection, const struct http_target *target,
                    const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    const struct http_request *request = &connection->exchange.request;
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    bool body = tus->body_pending && (request->body_kind == HTTP_BODY_CHUNKED ||
                                      (request->body_kind == HTTP_BODY_LENGTH && request->body_length > 0));
    int status;
    *message = "Tus-Resumable: " HTTP_TUS_VERSION " is needed";
    if (!http_text_equal(http_answer_request_field(connection, HTTP_FIELD_TUS_RESUMABLE), HTTP_TUS_VERSION))
        return 412;
    status = http_access_writer(connection, &target->key, KEY_RIGHT_WRITE, NULL, &tus->grant, message);
    if (status != 0)
        return status;
    *message = "the audit log cannot be written";
    if (!http_outcome_auditable(connection->loop))
        return 503;
    *message = "an upload is created with POST, and asked about with HEAD, PATCH and DELETE";
    if (tus->method == HTTP_METHOD_PUT || tus->method == HTTP_METHOD_GET)
        return 405;
    *message = "Upload-Offset and Upload-Length are numbers of bytes";
    if (!take_number(connection, HTTP_FIELD_UPLOAD_OFFSET, &tus->offset) ||
        !take_number(connection, HTTP_FIELD_UPLOAD_LENGTH, &tus->length))
        return 400;
    *message = "the content of an upload has Content-Type: " CONTENT_TYPE;
    if (tus->method != HTTP_METHOD_PATCH && body &&
        (tus->method != HTTP_METHOD_POST || !http_text_equal_nocase(type, CONTENT_TYPE)))
        return 415;
    tus->has_content = body;
    return take_checksum(connection, message);
}

void http_tus_take(struct http_connection *connection, const struct http_target *target, bool has_body)
{
    struct http_exchange *exchange = &connection->exchange;
    const char *message = "no memory";
    struct http_tus *tus = calloc(1, sizeof(*tus));
    int status = 503;
    exchange->tus = tus;
    if (!tus && has_body) {
        (void)http_write_refuse(connection, status, message);
        return;
    }
    if (tus) {
        tus->method = method_of(connection);
        tus->body_pending = has_body;
        status = tus_head(connection, target, &message);
        if (status == 0 && tus->method == HTTP_METHOD_POST)
            status = tus_create(connection, target, &message);
        else if (status == 0)
            status = tus_continue(connection, target, &message);
    }
    if (status != 0)
        tus_refuse(connection, status, message);
}
