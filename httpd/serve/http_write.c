/*
 * http_write: a request that writes, from its head to its answer.
 *
 *   PUT, POST   take() -> STORE -> stored() -> answer      through a sink; of chunks through a feed
 *   a form      take() -> BODY, form() until the file's part begins -> STORE -> ...
 *   a refusal   take() -> BODY, where little enough of a body is still to come, so that the connection can be kept -> begin()
 *
 * A request has a struct http_write from the moment when it is known to be one that may be carried out.
 */
#include "httpd/serve/http_write.h"
#include "client/library/file_id.h"
#include "common/base/log.h"
#include "common/proto/digest.h"
#include "httpd/serve/http_access.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_input.h"
#include "httpd/serve/http_outcome.h"
#include "httpd/serve/http_write_head.h"
#include "httpd/syntax/content_name.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_VALUE_SIZE 1024 /* of a form's field that is looked at, NUL included */

/* A form up to its file. */
struct write_form {
    struct multipart parser;
    bool authorized; /* by the request's field, or nothing is needed; else by the field "token" */
    char *value;     /* of the field that is being read: one of the two below, or NULL */
    size_t value_size;
    char token[FORM_VALUE_SIZE];
    char id[PROTO_FILE_SIZE];
};

struct http_write {
    struct http_write_head head;
    struct http_grant grant;
    bool makes_id;           /* POST */
    struct write_form *form; /* NULL: none, or its file has begun */
};

/* ---- the end ---- */

static void forget_form(struct http_write *write)
{
    if (write->form)
        explicit_bzero(write->form, sizeof(*write->form)); /* a token */
    free(write->form);
    write->form = NULL;
}

void http_write_end(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_write *write = exchange->write;
    sink_close(exchange->sink);
    exchange->sink = NULL;
    feed_close(exchange->feed);
    exchange->feed = NULL;
    if (!write)
        return;
    forget_form(write);
    free(write);
    exchange->write = NULL;
}

/* ---- refusals ---- */

/* The body's bytes that are still to come, dropped, so that the next request can be read; or the end of the connection, where they are
 * many, unknown, or may not come at all because the client waits for 100 Continue (RFC 9110 section 10.1.1). */
void http_write_refuse_body(struct http_connection *connection, int64_t left, int status, const char *message)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_request *request = &exchange->request;
    bool waits = request->expect_continue && !exchange->continued;
    bool little = left <= connection->loop->settings->live.request_body_max;
    if (left == 0) {
        http_answer_refuse(connection, status, message);
    } else if (waits || !little) {
        http_connection_refuse(connection, status, message);
    } else {
        exchange->refused = (uint16_t)status;
        exchange->refusal = message;
        http_connection_set_state(connection, CONNECTION_BODY);
    }
}

/* The same before anything of the body was taken. Returns true, for take(). */
bool http_write_refuse(struct http_connection *connection, int status, const char *message)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_request *request = &exchange->request;
    http_body_init(&exchange->body, request);
    /* Of chunks the end is not known: they are read up to the limit. */
    int64_t left = request->body_kind == HTTP_BODY_LENGTH ? request->body_length
                   : request->body_kind == HTTP_BODY_NONE ? 0
                                                          : 1;
    http_write_refuse_body(connection, left, status, message);
    return true;
}

/* ---- the beginning ---- */

bool http_write_make_id(struct proto_file_key *key, const struct http_grant *grant)
{
    char made[FILE_ID_SIZE];
    struct error error;
    size_t prefix = strnlen(grant->prefix, sizeof(grant->prefix));
    if (!file_id_make(key->user, made, &error) || prefix + sizeof(made) > sizeof(key->file))
        return false;
    memset(key->file, 0, sizeof(key->file));
    memcpy(key->file, grant->prefix, prefix);
    memcpy(key->file + prefix, made, sizeof(made));
    return true;
}

static void write_wanted(void *argument)
{
    http_connection_continue(argument);
}

static void write_woken(void *argument)
{
    http_connection_run(argument);
}

/* A body of BODY bytes that fits behind its head is read to its end where all of it has come: what is at hand goes to the storage
 * server in one piece, without asking first whether it is ready. */
static void gather_small_body(struct http_connection *connection, int64_t body)
{
    size_t head = connection->exchange.request.head_size;
    size_t room = http_buffers_size(&connection->loop->buffers, HTTP_BUFFER_LARGE);
    if (body > (int64_t)room - (int64_t)head)
        return;
    while (http_input_size(connection) < head + (size_t)body &&
           http_input_read(connection) == HTTP_INPUT_MORE)
        ;
}

/* The content begins behind the head and has BODY bytes; of a form, with what closes it. */
static void begin_sink(struct http_connection *connection, int64_t body, const struct multipart *form)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_write *write = exchange->write;
    gather_small_body(connection, body);
    uint32_t start = connection->in_start + exchange->request.head_size;
    const struct sink_options options = {
        .loop = connection->loop,
        .request = http_answer_name(connection),
        .put = &write->head.put,
        .from = connection->transport,
        .memory = connection->in + start,
        .memory_size = (size_t)min_i64(body, connection->in_end - start),
        .body_size = body,
        .form = form,
        .sha256 = write->head.has_sha256 ? write->head.sha256 : NULL,
        .connection_id = connection->id,
        .wanted = write_wanted,
        .wake = write_woken,
        .argument = connection,
    };
    if (write->head.put.size == 0 && write->head.has_sha256 &&
        !content_digest_is_of_nothing(write->head.sha256)) {
        http_write_refuse_body(connection, body, 422, "the content does not match the stated SHA-256");
        return;
    }
    exchange->sink = sink_open(&options);
    connection->rate_ms = connection->rate_taken = 0;
    if (exchange->sink)
        http_connection_set_state(connection, CONNECTION_STORE);
    else
        http_write_refuse_body(connection, body, 503, "no memory");
}

/* The content comes in chunks behind the head; of a FORM, with what closes it. */
static void begin_feed(struct http_connection *connection, const struct multipart *form)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_write *write = exchange->write;
    uint32_t start = connection->in_start + exchange->request.head_size;
    const struct feed_options options = {
        .loop = connection->loop,
        .request = http_answer_name(connection),
        .put = &write->head.put,
        .early = exchange->request.expect_continue,
        .from = connection->transport,
        .memory = connection->in + start,
        .memory_size = connection->in_end - start,
        .body = &exchange->body,
        .form = form,
        .size_max = connection->loop->settings->live.upload_size_max,
        .hash = write->head.has_sha256 ? write->head.sha256 : NULL,
        .hash_kind = CONTENT_HASH_SHA256,
        .wanted = write_wanted,
        .wake = write_woken,
        .argument = connection,
    };
    exchange->feed = feed_open(&options);
    connection->rate_ms = connection->rate_taken = 0;
    connection->readable = true; /* it begins with what is at hand */
    if (exchange->feed)
        http_connection_set_state(connection, CONNECTION_STORE);
    else
        http_write_refuse_body(connection, 1, 503, "no memory");
}

/* What a token gives is looked at, and where the request names no file, an ID is made. 0, or the status. */
static int authorize(struct http_connection *connection, struct http_write *write, const char *token,
                     const char **message)
{
    int status =
        http_access_writer(connection, &write->head.put.key, KEY_RIGHT_WRITE, token, &write->grant, message);
    if (status != 0)
        return status;
    if (!http_outcome_auditable(connection->loop)) {
        *message = "the audit log cannot be written";
        return 503;
    }
    if (write->makes_id && write->head.put.key.file[0] == '\0' &&
        !http_write_make_id(&write->head.put.key, &write->grant)) {
        *message = "no file ID could be made";
        return 503;
    }
    return 0;
}

static int begin_form(struct http_connection *connection, struct http_write *write, const char **message)
{
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    write->form = calloc(1, sizeof(*write->form));
    *message = "no memory";
    if (!write->form)
        return 503;
    *message = "multipart/form-data without a boundary";
    return multipart_begin(&write->form->parser, type) ? 0 : 400;
}

/* Everything that the head says. 0, or the status to refuse with. */
static int write_prepare(struct http_connection *connection, struct http_write *write,
                         const struct http_target *target, const char **message)
{
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    bool form = write->makes_id && multipart_is_form(type);
    int status;
    write->head.put.key = target->key;
    if (form && (status = begin_form(connection, write, message)) != 0)
        return status;
    /* The token of a form may be in it, since a page without a script cannot set a field of its request. */
    if (!form || http_access_has_token(connection) || connection->loop->settings->write == HTTP_WRITE_OPEN) {
        if ((status = authorize(connection, write, NULL, message)) != 0)
            return status;
        if (form)
            write->form->authorized = true;
    }
    return http_write_head_read(connection, target, form, &write->head, message);
}

bool http_write_take(struct http_connection *connection, const struct http_target *target,
                     enum http_target_kind kind)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_request *request = &exchange->request;
    bool put = request->method == HTTP_METHOD_PUT, post = request->method == HTTP_METHOD_POST;
    bool patch = request->method == HTTP_METHOD_PATCH;
    const char *message;
    if (kind != HTTP_TARGET_FILE && kind != HTTP_TARGET_USER && kind != HTTP_TARGET_STREAM)
        return http_write_refuse(connection, 404, "there is nothing to write to");
    if (patch || kind != (put ? HTTP_TARGET_FILE : HTTP_TARGET_USER))
        return http_write_refuse(connection, 405, "nothing can be written here in this way");
    struct http_write *write = calloc(1, sizeof(*write));
    if (!write)
        return http_write_refuse(connection, 503, "no memory");
    exchange->write = write;
    write->makes_id = post;
    int status = write_prepare(connection, write, target, &message);
    if (status != 0)
        return http_write_refuse(connection, status, message);
    http_body_init(&exchange->body, request);
    bool chunked = request->body_kind == HTTP_BODY_CHUNKED;
    if (!write->form) {
        if (chunked)
            begin_feed(connection, NULL);
        else
            begin_sink(connection, request->body_length, NULL);
        return true;
    }
    http_connection_set_state(connection, CONNECTION_BODY);
    if (!chunked && request->body_length == 0)
        http_connection_refuse(connection, 400, "the form is empty");
    else /* where the file goes stands in it: a storage server can be asked only then */
        http_connection_continue(connection);
    return true;
}

/* ---- a form ---- */

/* True, for form(): the state has changed. */
static bool refuse_form(struct http_connection *connection, int status, const char *message)
{
    const struct http_body *body = &connection->exchange.body;
    forget_form(connection->exchange.write);
    http_write_refuse_body(connection, http_body_least(body), status, message);
    return true;
}

static void form_field(struct write_form *form)
{
    const char *name = form->parser.field;
    form->value = NULL;
    form->value_size = 0;
    if (strcmp(name, "token") == 0)
        form->value = form->token;
    else if (strcmp(name, "id") == 0)
        form->value = form->id;
}

/* False: the value is longer than any valid one. */
static bool form_value(struct write_form *form, struct http_text piece)
{
    size_t room = form->value == form->token ? sizeof(form->token) : sizeof(form->id);
    if (!form->value)
        return true;
    if (form->value_size + piece.size >= room || memchr(piece.bytes, '\0', piece.size))
        return false;
    memcpy(form->value + form->value_size, piece.bytes, piece.size);
    form->value_size += piece.size;
    form->value[form->value_size] = '\0';
    return true;
}

static bool id_is_legal(const char *id)
{
    for (const char *at = id; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    }
    return strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

/* The file's part begins; what is behind the head now is its content. */
static void form_file(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_write *write = exchange->write;
    struct multipart parser = write->form->parser;
    const char *message;
    int status = 0;
    const char *token = write->form->authorized || write->form->token[0] == '\0' ? NULL : write->form->token;
    if (write->form->id[0] != '\0' && !id_is_legal(write->form->id)) {
        refuse_form(connection, 400, "the form's field \"id\" is no file ID");
        return;
    }
    /* A token may be for files whose IDs begin with something: what the form asks for has to be one of them. */
    if (write->form->id[0] != '\0')
        memcpy(write->head.put.key.file, write->form->id, sizeof(write->head.put.key.file));
    if (!write->form->authorized || write->form->id[0] != '\0')
        status = authorize(connection, write, token, &message);
    if (status != 0) {
        refuse_form(connection, status, message);
        return;
    }
    if (parser.file_name[0] != '\0')
        memcpy(write->head.put.name, parser.file_name, sizeof(write->head.put.name));
    if (parser.content_type[0] != '\0')
        http_write_head_type(http_text_of(parser.content_type), write->head.put.content_type);
    bool chunked = exchange->body.kind == HTTP_BODY_CHUNKED;
    write->head.put.size = chunked ? -1 : exchange->body.left - (int64_t)multipart_tail(&parser);
    if (!content_name_tidy(write->head.put.name))
        refuse_form(connection, 400, HTTP_WRITE_HEAD_NO_NAME);
    else if (!chunked && write->head.put.size < 0)
        refuse_form(connection, 400, "the form ends inside its last part");
    else {
        forget_form(write);
        if (chunked)
            begin_feed(connection, &parser);
        else
            begin_sink(connection, exchange->body.left, &parser);
    }
}

/* The next event of the form's bytes that are at hand, which then leave the buffer. False: their chunks are malformed. FINE: a value
 * was not too long. */
static bool form_step(struct http_connection *connection, enum multipart_event *event, bool *fine)
{
    struct http_exchange *exchange = &connection->exchange;
    struct write_form *form = exchange->write->form;
    uint32_t start = connection->in_start + exchange->request.head_size;
    const char *raw = connection->in + start;
    struct http_body ahead =
        exchange->body; /* up to the end of a run, of which the parser may leave a part */
    struct http_text run, piece;
    size_t used;
    if (http_body_content(&ahead, raw, connection->in_end - start, &used, &run) == HTTP_BODY_BROKEN)
        return false;
    struct http_text rest = run;
    *event = multipart_next(&form->parser, &rest, &piece);
    *fine = *event != MULTIPART_CONTENT || form_value(form, piece);
    if (rest.size > 0)
        used = (size_t)(rest.bytes - raw);
    (void)http_body_skip(&exchange->body, raw, used, &used); /* cannot be broken: the same bytes as above */
    http_input_drop(connection, used);
    return true;
}

bool http_write_form(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct write_form *form = exchange->write->form;
    for (;;) {
        enum multipart_event event;
        bool fine;
        uint32_t before = connection->in_end;
        if (!form_step(connection, &event, &fine)) {
            forget_form(exchange->write);
            http_connection_refuse(connection, 400, "the chunks of the request's body are malformed");
            return true;
        }
        if (!fine)
            return refuse_form(connection, 400, "a field of the form is too long");
        if (exchange->body.total > connection->loop->settings->live.request_body_max)
            return refuse_form(connection, 413, "the file does not come early enough in the form");
        switch (event) {
        case MULTIPART_MORE:
            if (http_body_least(&exchange->body) == 0)
                return refuse_form(connection, 400, "the form ends inside a part");
            if (connection->in_end == before)
                return false;
            break;
        case MULTIPART_PART:
            if (form->parser.has_file_name) {
                form_file(connection);
                return true;
            }
            form_field(form);
            break;
        case MULTIPART_CONTENT:
        case MULTIPART_PART_END:
            break;
        case MULTIPART_END:
            return refuse_form(connection, 400, "the form has no part with a file name");
        case MULTIPART_BROKEN:
            return refuse_form(connection, 400, "the form is malformed");
        }
    }
}

/* ---- the outcome ---- */

/* What there is to say of a stored file. */
static void answer_stored(struct http_connection *connection, int status, const struct client_stored *stored)
{
    const struct http_write *write = connection->exchange.write;
    const struct proto_file_key *key = &write->head.put.key;
    struct http_output *out = &connection->out;
    char hex[DIGEST_HEX_SIZE];
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory"); /* it is stored: to repeat it is harmless */
        return;
    }
    http_answer_begin(connection, status);
    HTTP_OUTPUT_LITERAL(out, "Location: ");
    uint32_t location = out->end;
    HTTP_OUTPUT_LITERAL(out, "/files");
    http_answer_key(out, key);
    uint32_t location_size = out->end - location;
    HTTP_OUTPUT_LITERAL(out, "\r\n");
    if (stored->known && stored->reply.has_digest) {
        HTTP_OUTPUT_LITERAL(out, "ETag: \"");
        http_output_text(out, digest_to_hex(stored->reply.digest, hex));
        HTTP_OUTPUT_LITERAL(out, "\"\r\n");
    }
    HTTP_OUTPUT_LITERAL(out, "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n");
    http_response_content_length(out, location_size + 1);
    http_answer_end(connection);
    http_output_append(out, out->bytes + location, location_size);
    HTTP_OUTPUT_LITERAL(out, "\n");
}

/* TAKEN bytes of the body leave the buffer. */
static void drop_taken(struct http_connection *connection, size_t taken)
{
    http_input_drop(connection, taken);
    connection->rate_ms = 0;
}

int64_t http_write_close_feed(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_body *body = feed_body(exchange->feed);
    size_t taken = feed_memory_taken(exchange->feed);
    int64_t left = body ? http_body_least(body) : INT64_MAX;
    if (body)
        exchange->body = *body;
    exchange->body.total = 0; /* of what is dropped from here on */
    feed_close(exchange->feed);
    exchange->feed = NULL;
    drop_taken(connection, taken);
    return left;
}

/* The bytes of the body that the sink has taken from memory leave the buffer. Returns how many of the body are still to come. */
static int64_t close_sink(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (exchange->feed)
        return http_write_close_feed(connection);
    int64_t left = sink_left(exchange->sink), body = exchange->body.left;
    uint32_t start = connection->in_start + exchange->request.head_size;
    int64_t memory = min_i64(body, connection->in_end - start); /* as begin_sink() had it */
    int64_t taken = min_i64(memory, body - left);
    sink_close(exchange->sink);
    exchange->sink = NULL;
    drop_taken(connection, (size_t)taken);
    exchange->body.left = left;
    return left;
}

static void http_write_note_outcome(const struct http_connection *connection, int code, int64_t bytes)
{
    const struct http_write *write = connection->exchange.write;
    const struct http_outcome outcome = {.event = "upload",
                                         .issuer = write->grant.issuer,
                                         .key = &write->head.put.key,
                                         .code = code,
                                         .bytes = bytes};
    http_outcome_audit(connection, &outcome);
}

static void write_failed(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct error error = exchange->feed ? *feed_error(exchange->feed) : *sink_error(exchange->sink);
    const char *complaint = exchange->feed ? feed_complaint(exchange->feed) : sink_complaint(exchange->sink);
    int status = http_outcome_status(error.code);
    if (status == 409 && exchange->write->head.no_match_any)
        status = 412;
    http_write_note_outcome(connection, error.code, -1);
    http_answer_log(connection, status, error.code, error.text);
    if (error.code == ERROR_DELETED || error.code == ERROR_EXISTS)
        http_lookup_forget(connection->loop->lookup, &exchange->write->head.put.key);
    int64_t left = close_sink(connection);
    http_write_refuse_body(connection, left, status, complaint ? complaint : http_outcome_message(status));
}

bool http_write_stored(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_metrics *metrics = connection->loop->metrics;
    const struct feed *feed = exchange->feed;
    int64_t size = feed ? feed_content(feed) : exchange->write->head.put.size;
    switch (feed ? feed_status(feed) : sink_status(exchange->sink)) {
    case SINK_BUSY:
        return false;
    case SINK_STORED: {
        struct client_stored stored = feed ? *feed_stored(feed) : *sink_stored(exchange->sink);
        bool repeated = stored.known && stored.reply.repeated;
        (void)close_sink(connection);
        http_lookup_changed(connection->loop->lookup, &exchange->write->head.put.key);
        http_write_note_outcome(connection, ERROR_NONE, size);
        if (!repeated) {
            metric_add(metrics->stored, 1);
            metric_add(metrics->stored_bytes, size);
        }
        answer_stored(connection, repeated ? 200 : 201, &stored);
        return true;
    }
    case SINK_FAILED:
        write_failed(connection);
        return true;
    case SINK_GONE:
        http_write_note_outcome(connection, ERROR_CONNECTION, -1);
        exchange->cut = true;
        connection->keep_alive = false;
        http_connection_set_state(connection, CONNECTION_SEND);
        return true;
    }
    return false;
}
