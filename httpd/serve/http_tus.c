/*
 * http_tus: a request about a resumable upload, from its head to its answer.
 *
 *   POST           BEGIN -> [feed] -> [FINISH] -> 201        a final upload: BEGIN -> JOIN_PARTS -> 201
 *   HEAD           OFFSET -> [FINISH] -> 200                of a complete one: OFFSET -> STAT of its file -> 200
 *   PATCH          OFFSET -> feed (APPENDs) -> [FINISH] -> 204
 *   DELETE         ABORT -> 204                              of a complete one: DELETE of its file
 *   GET            303 to its file
 *
 * FINISH comes as soon as all bytes are there, also where a HEAD finds them: so no client takes something for stored
 * that is not.
 */
#include "httpd/serve/http_tus.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_delete.h"
#include "httpd/serve/http_outcome.h"
#include "httpd/serve/http_tus_answer.h"
#include "httpd/serve/http_tus_head.h"
#include "httpd/serve/http_write.h"
#include "httpd/syntax/tus_syntax.h"
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS      INT64_C(60000)
#define JOIN_PATIENCE_MS INT64_C(3600000) /* of parts of unknown sizes */
#define BYTES_PER_MS     INT64_C(20000)   /* that a storage server reads back or copies at least */

#define NO_UPLOAD "no such upload, or it has expired"

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
    if (tus && tus->draft && status == 460)
        status = 422;
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
        return "the bytes do not fit what is there; HEAD reports the offset";
    case 423:
        return "another request has taken over the upload, or the storage server cannot continue; HEAD "
               "reports the offset";
    case 429:
        return "too many unfinished uploads";
    case 422:
    case 460:
        return "the content does not match the stated checksum";
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
    const struct request_id name = http_answer_name(connection);
    connection->exchange.tus->operation = operation;
    client_name_request(operation, &name);
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

static bool is_whole(const struct http_tus *tus)
{
    return tus->state.size >= 0 && tus->state.offset == tus->state.size;
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
                   error->code == ERROR_RANGE ? "a part is not complete" : "a part no longer exists");
    } else if (error && error->code == ERROR_MALFORMED && tus->kind == TUS_FINAL) {
        tus_refuse(connection, 400, "a part is named twice");
    } else if (error) {
        tus_failed(connection, error);
    } else {
        http_lookup_changed(connection->loop->lookup, &tus->partial.key);
        metric_add(metrics->stored, 1);
        metric_add(metrics->stored_bytes, tus->state.offset);
        tus->state.complete = true;
        http_tus_answer(connection);
    }
    http_connection_run(connection);
}

/* As many bytes as are known of are there: FINISH, where it is due, or the answer. */
static void tus_conclude(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    bool due = tus->draft ? tus->completes && tus->method != HTTP_METHOD_HEAD : is_whole(tus);
    if (due && tus->state.size >= 0 && tus->state.offset < tus->state.size) {
        tus_refuse(connection, 400, "Upload-Complete: ?1, but bytes of Upload-Length are missing");
        return;
    }
    if (tus->kind != TUS_UPLOAD || !due || tus->state.complete) {
        http_tus_answer(connection);
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
    int64_t limit = connection->loop->settings->live.upload_size_max;
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
        .request = http_answer_name(connection),
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
    else if (error.code == ERROR_UNAVAILABLE ||
             error.code == ERROR_IO) /* its file may be gone to the newer one */
        status = 423;
    if (status == 460 && exchange->tus->draft)
        status = 422;
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
    case SINK_GONE: /* what came counts: HEAD will say how much it is */
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
    if (tus->draft)
        http_tus_announce(connection);
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

static int tus_create(struct http_connection *connection, const struct http_target *target,
                      const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    int64_t limit = connection->loop->settings->live.upload_size_max;
    int status;
    *message = "uploads are created at the address of a user";
    if (target->key.file[0] != '\0' && !tus->draft)
        return 405;
    tus->put.key = target->key;
    status = tus->draft ? http_tus_head_draft_creation(connection, target, message)
                        : http_tus_head_creation(connection, message);
    if (status != 0)
        return status;
    tus->put.key = target->key;
    *message = "the upload is larger than this server takes";
    if (limit > 0 && tus->length > limit)
        return 413;
    *message = "no file ID could be made";
    if (tus->put.key.file[0] == '\0' && !http_write_make_id(&tus->put.key, &tus->grant))
        return 503;
    tus->partial.key = tus->put.key;
    tus->put.size = tus->length;
    struct proto_begin begin = {.put = tus->put};
    tus_wait(connection, client_begin(connection->loop->client, &begin, on_tus_begun, connection));
    return 0;
}

/* ---- HEAD, PATCH, DELETE ---- */

static void refuse_offset(struct http_connection *connection)
{
    const struct http_tus *tus = connection->exchange.tus;
    connection->exchange.tells_offset = tus->draft;
    connection->exchange.upload_offset = tus->state.offset;
    tus_refuse(connection, 409, "Upload-Offset is not the offset of the upload; HEAD reports it");
}

/* How far the upload is is known, and what it has become is still there. */
static void tus_go_on(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    const struct proto_partial_state *state = &tus->state;
    if (tus->method == HTTP_METHOD_HEAD)
        tus_conclude(connection);
    else if (tus->draft && state->complete)
        tus_refuse(connection, tus->has_content ? 400 : 410, "the upload is complete");
    else if (tus->offset != state->offset)
        refuse_offset(connection);
    else if (tus->length >= 0 && state->size >= 0 && tus->length != state->size)
        tus_refuse(connection, 409, "Upload-Length differs from the one stated before");
    else if (tus->length >= 0 && tus->length < state->offset)
        tus_refuse(connection, 409, "Upload-Length is less than what is there already");
    else if (state->complete && !tus->has_content)
        http_tus_answer(connection);
    else
        tus_begin_feed(connection);
}

static void on_tus_stat(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_tus *tus = connection->exchange.tus;
    tus->operation = NULL;
    if (error && error->code != ERROR_NOT_FOUND)
        tus_failed(connection, error);
    else if (!error && stat->status == PROTO_FILE_DELETED)
        tus_refuse(connection, 410, "the upload was completed, and its file has been deleted since");
    else if (error || stat->size != tus->state.size)
        tus_refuse(connection, 404, "the upload was completed, and its file is gone");
    else
        tus_go_on(connection);
    http_connection_run(connection);
}

/* A storage server remembers a complete upload for longer than its file may live: only one whose file is there is still an upload.
 * One that is under way costs no further question. */
static void on_tus_offset(void *argument, const struct proto_partial_state *state, const struct error *error)
{
    struct http_connection *connection = argument;
    struct http_tus *tus = connection->exchange.tus;
    tus->operation = NULL;
    if (error) {
        tus_failed(connection, error);
    } else {
        tus->state = *state;
        if (state->complete)
            tus_wait(connection,
                     client_stat(connection->loop->client, &tus->partial.key, on_tus_stat, connection));
        else
            tus_go_on(connection);
    }
    http_connection_run(connection);
}

/* The upload is complete: what it has become is deleted, by whoever may delete files. */
static void delete_its_file(struct http_connection *connection)
{
    const struct http_target file = {.key = connection->exchange.tus->partial.key};
    http_delete_begin(connection, &file, HTTP_TARGET_FILE);
}

static void on_tus_aborted(void *argument, const struct error *error)
{
    struct http_connection *connection = argument;
    connection->exchange.tus->operation = NULL;
    if (!error || error->code != ERROR_EXISTS)
        tus_audit(connection, "abort", error ? error->code : ERROR_NONE, -1);
    if (error && error->code == ERROR_EXISTS) {
        delete_its_file(connection);
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

static int tus_patch(struct http_connection *connection, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    int64_t limit = connection->loop->settings->live.upload_size_max;
    *message = tus->draft ? "Content-Type: " HTTP_DRAFT_CONTENT_TYPE " is needed"
                          : "Content-Type: " HTTP_TUS_CONTENT_TYPE " is needed";
    if (!http_text_equal_nocase(http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE),
                                tus->draft ? HTTP_DRAFT_CONTENT_TYPE : HTTP_TUS_CONTENT_TYPE))
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
    http_tus_head_carried(target, tus);
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
        *message = "an upload takes HEAD, PATCH and DELETE";
        return 405;
    }
}

/* GET: to what the upload becomes; until then there is nothing. */
static void tus_lead_to_file(struct http_connection *connection, const struct http_target *target)
{
    struct http_tus upload = {0};
    if (!target->tus_token.bytes || !tus_token_parse(target->tus_token, &upload.kind, upload.partial.token)) {
        http_answer_refuse(connection, target->tus_token.bytes ? 404 : 405, "uploads are created with POST");
        return;
    }
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    http_answer_begin(connection, 303);
    HTTP_OUTPUT_LITERAL(&connection->out, "Location: /files");
    http_answer_key(&connection->out, &target->key);
    HTTP_OUTPUT_LITERAL(&connection->out, "\r\nCache-Control: no-store\r\n");
    http_response_content_length(&connection->out, 0);
    http_answer_end(connection);
}

/* ---- the beginning ---- */

void http_tus_take(struct http_connection *connection, const struct http_target *target, bool has_body)
{
    struct http_exchange *exchange = &connection->exchange;
    const char *message = "no memory";
    if (exchange->request.method == HTTP_METHOD_GET) {
        tus_lead_to_file(connection, target);
        return;
    }
    struct http_tus *tus = calloc(1, sizeof(*tus));
    int status = 503;
    exchange->tus = tus;
    if (!tus && has_body) {
        (void)http_write_refuse(connection, status, message);
        return;
    }
    if (tus) {
        tus->body_pending = has_body;
        status = exchange->is_draft ? http_tus_head_draft(connection, target, &message)
                                    : http_tus_head_read(connection, target, &message);
        if (status == 0 && (exchange->is_draft ? !target->tus_token.bytes : tus->method == HTTP_METHOD_POST))
            status = tus_create(connection, target, &message);
        else if (status == 0)
            status = tus_continue(connection, target, &message);
    }
    if (status != 0)
        tus_refuse(connection, status, message);
}
