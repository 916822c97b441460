/*
 * http_tus_answer: the fields of tus, which names what it does, and those of the draft, which states completeness and
 * limits.
 */
#include "httpd/serve/http_tus_answer.h"
#include "httpd/serve/http_answer.h"
#include "httpd/syntax/tus_syntax.h"

static void put_location(struct http_output *out, const struct http_tus *tus)
{
    char token[TUS_TOKEN_SIZE];
    HTTP_OUTPUT_LITERAL(out, "Location: /tus");
    http_answer_key(out, &tus->partial.key);
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

static void tus_answer_put_number(struct http_output *out, const char *name, int64_t number)
{
    http_output_text(out, name);
    HTTP_OUTPUT_LITERAL(out, ": ");
    http_output_number(out, number);
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

/* What HEAD says of an upload as it was made. */
static void put_description(struct http_output *out, const struct http_tus *tus)
{
    if (tus->state.size >= 0)
        tus_answer_put_number(out, "Upload-Length", tus->state.size);
    else
        HTTP_OUTPUT_LITERAL(out, "Upload-Defer-Length: 1\r\n");
    if (tus->metadata[0] != '\0')
        http_response_field(out, "Upload-Metadata", tus->metadata);
    if (tus->kind == TUS_PART)
        HTTP_OUTPUT_LITERAL(out, "Upload-Concat: partial\r\n");
    else if (tus->concat[0] != '\0')
        http_response_field(out, "Upload-Concat", tus->concat);
}

/* ---- tus ---- */

static void answer_by_tus(struct http_connection *connection, int status)
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
    tus_answer_put_number(out, "Upload-Offset", tus->state.offset);
    if (tus->method == HTTP_METHOD_HEAD)
        put_description(out, tus);
    if (tus->state.complete) {
        HTTP_OUTPUT_LITERAL(out, "X-Reel-File: /files");
        http_answer_key(out, &tus->partial.key);
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

/* ---- the draft ---- */

/* The limits, which an answer by the draft has: size, and seconds that are left. */
static void put_limits(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    int64_t size = connection->loop->settings->live.upload_size_max;
    int64_t left = connection->exchange.tus->state.expires - connection->loop->clock.second;
    if (size <= 0 && left <= 0)
        return;
    HTTP_OUTPUT_LITERAL(out, "Upload-Limit: ");
    if (size > 0) {
        HTTP_OUTPUT_LITERAL(out, "max-size=");
        http_output_number(out, size);
    }
    if (size > 0 && left > 0)
        HTTP_OUTPUT_LITERAL(out, ", ");
    if (left > 0) {
        HTTP_OUTPUT_LITERAL(out, "max-age=");
        http_output_number(out, left);
    }
    HTTP_OUTPUT_LITERAL(out, "\r\n");
}

/* 104: where to continue, should this connection break. */
void http_tus_announce(struct http_connection *connection)
{
    if (!http_connection_begin_interim(connection, 104))
        return;
    HTTP_OUTPUT_LITERAL(&connection->out, "Upload-Draft-Interop-Version: " HTTP_DRAFT_INTEROP "\r\n");
    put_location(&connection->out, connection->exchange.tus);
    put_limits(connection);
    http_connection_end_interim(connection);
}

static void draft_answer(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_output *out = &connection->out;
    bool complete = tus->state.complete,
         creates = tus->method == HTTP_METHOD_PUT || tus->method == HTTP_METHOD_POST;
    bool is_head = tus->method == HTTP_METHOD_HEAD;
    if (!http_connection_take_output(connection)) {
        http_answer_refuse(connection, 503, "no memory");
        return;
    }
    bool created = creates || (complete && !is_head);
    http_answer_begin(connection, created ? 201 : 204);
    if (complete) {
        if (!is_head)
            HTTP_OUTPUT_LITERAL(out, "Location: /files");
        else
            HTTP_OUTPUT_LITERAL(out, "X-Reel-File: /files");
        http_answer_key(out, &tus->partial.key);
        HTTP_OUTPUT_LITERAL(out, "\r\nUpload-Complete: ?1\r\n");
    } else {
        if (creates)
            put_location(out, tus);
        HTTP_OUTPUT_LITERAL(out, "Upload-Complete: ?0\r\n");
        put_limits(connection);
    }
    tus_answer_put_number(out, "Upload-Offset", tus->state.offset);
    if (is_head && tus->state.size >= 0)
        tus_answer_put_number(out, "Upload-Length", tus->state.size);
    HTTP_OUTPUT_LITERAL(out, "Cache-Control: no-store\r\n");
    if (created)
        http_response_content_length(out, 0);
    http_answer_end(connection);
}

/* ---- both ---- */

static int success_of(const struct http_tus *tus)
{
    return tus->method == HTTP_METHOD_POST ? 201 : tus->method == HTTP_METHOD_HEAD ? 200 : 204;
}

void http_tus_answer(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    if (tus->draft)
        draft_answer(connection);
    else
        answer_by_tus(connection, success_of(tus));
}
