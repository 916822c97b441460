/*
 * http_tus_head: what the fields and the address of a tus request say, checked, into struct http_tus.
 */
#include "httpd/serve/http_tus_head.h"
#include "httpd/serve/http_answer.h"
#include "httpd/serve/http_outcome.h"
#include "httpd/serve/http_write_head.h"
#include "httpd/syntax/content_name.h"
#include <stdlib.h>
#include <string.h>

#define ADDRESS_TEXT_MAX 1800 /* bytes that metadata and parts may take in an address, encoded */

/* ---- all requests ---- */

static enum http_request_method tus_head_method_of(struct http_connection *connection)
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
static bool tus_head_take_number(const struct http_connection *connection, enum http_field field,
                                 int64_t *number)
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

/* ---- the draft ---- */

/* draft-ietf-httpbis-resumable-upload section 4.1: values of another kind are as no value. */
static void take_draft_fields(struct http_connection *connection)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_text complete = http_answer_request_field(connection, HTTP_FIELD_UPLOAD_COMPLETE);
    if (!tus_head_take_number(connection, HTTP_FIELD_UPLOAD_OFFSET, &tus->offset))
        tus->offset = -1;
    if (!tus_head_take_number(connection, HTTP_FIELD_UPLOAD_LENGTH, &tus->length))
        tus->length = -1;
    tus->completes = http_text_equal(complete, "?1");
    tus->has_complete = tus->completes || http_text_equal(complete, "?0");
}

/* What the content's own length says of all of it: section 4.1.3. */
static int take_draft_length(struct http_connection *connection, bool creates, const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    const struct http_request *request = &connection->exchange.request;
    int64_t before = creates ? 0 : tus->offset, content = request->body_length;
    *message = "Content-Length, Upload-Offset and Upload-Length do not fit each other";
    if (request->body_kind == HTTP_BODY_NONE)
        content = 0;
    if (!tus->completes || request->body_kind == HTTP_BODY_CHUNKED || before < 0)
        return 0;
    if (before > INT64_MAX - content || (tus->length >= 0 && tus->length != before + content))
        return 400;
    tus->length = before + content;
    return 0;
}

int http_tus_head_draft(struct http_connection *connection, const struct http_target *target,
                        const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    const struct http_request *request = &connection->exchange.request;
    bool creates = !target->tus_token.bytes;
    tus->draft = true;
    tus->method = request->method;
    int status = http_access_writer(connection, &target->key, KEY_RIGHT_WRITE, NULL, &tus->grant, message);
    if (status != 0)
        return status;
    *message = "the audit log cannot be written";
    if (!http_outcome_auditable(connection->loop))
        return 503;
    take_draft_fields(connection);
    tus->has_content =
        tus->body_pending && (request->body_kind == HTTP_BODY_CHUNKED ||
                              (request->body_kind == HTTP_BODY_LENGTH && request->body_length > 0));
    *message = "Upload-Complete: ?0 or ?1 is needed";
    if (!tus->has_complete && (creates || tus->method == HTTP_METHOD_PATCH))
        return 400;
    if (creates || tus->method == HTTP_METHOD_PATCH)
        return take_draft_length(connection, creates, message);
    return 0;
}

int http_tus_head_draft_creation(struct http_connection *connection, const struct http_target *target,
                                 const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    struct http_write_head head = {0};
    int status = http_write_head_read(connection, target, false, &head, message);
    if (status != 0)
        return status;
    /* A digest is of all of it: it can be checked here where all of it comes at once. */
    tus->has_hash =
        head.has_sha256 && tus->completes && connection->exchange.request.body_kind == HTTP_BODY_LENGTH;
    tus->hash_kind = CONTENT_HASH_SHA256;
    memcpy(tus->hash, head.sha256, sizeof(head.sha256));
    tus->put = head.put;
    tus->kind = TUS_UPLOAD;
    return 0;
}

/* ---- tus ---- */

int http_tus_head_read(struct http_connection *connection, const struct http_target *target,
                       const char **message)
{
    struct http_tus *tus = connection->exchange.tus;
    const struct http_request *request = &connection->exchange.request;
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    bool body = tus->body_pending && (request->body_kind == HTTP_BODY_CHUNKED ||
                                      (request->body_kind == HTTP_BODY_LENGTH && request->body_length > 0));
    int status;
    tus->method = tus_head_method_of(connection);
    *message = "Tus-Resumable: " HTTP_TUS_VERSION " is needed";
    if (!http_text_equal(http_answer_request_field(connection, HTTP_FIELD_TUS_RESUMABLE), HTTP_TUS_VERSION))
        return 412;
    status = http_access_writer(connection, &target->key, KEY_RIGHT_WRITE, NULL, &tus->grant, message);
    if (status != 0)
        return status;
    *message = "the audit log cannot be written";
    if (!http_outcome_auditable(connection->loop))
        return 503;
    *message = "an upload is created with POST, and then takes HEAD, PATCH and DELETE";
    if (tus->method == HTTP_METHOD_PUT || tus->method == HTTP_METHOD_GET)
        return 405;
    *message = "Upload-Offset and Upload-Length are numbers of bytes";
    if (!tus_head_take_number(connection, HTTP_FIELD_UPLOAD_OFFSET, &tus->offset) ||
        !tus_head_take_number(connection, HTTP_FIELD_UPLOAD_LENGTH, &tus->length))
        return 400;
    *message = "the content of an upload has Content-Type: " HTTP_TUS_CONTENT_TYPE;
    if (tus->method != HTTP_METHOD_PATCH && body &&
        (tus->method != HTTP_METHOD_POST || !http_text_equal_nocase(type, HTTP_TUS_CONTENT_TYPE)))
        return 415;
    tus->has_content = body;
    return take_checksum(connection, message);
}

/* ---- POST ---- */

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
    char bytes[3 * HTTP_TUS_TEXT_SIZE];
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
    /* What does not fit into the address is not in HEAD's answer. */
    if (encoded_size(tus->metadata) + encoded_size(tus->concat) > ADDRESS_TEXT_MAX)
        memset(tus->concat, 0, sizeof(tus->concat));
    if (encoded_size(tus->metadata) > ADDRESS_TEXT_MAX)
        memset(tus->metadata, 0, sizeof(tus->metadata));
    return 0;
}

int http_tus_head_creation(struct http_connection *connection, const char **message)
{
    int status = take_concat(connection, message);
    return status != 0 ? status : take_metadata(connection, message);
}

/* ---- HEAD, PATCH, DELETE ---- */

/* What the address carries, decoded; "" where it is nothing that may stand in a field. */
static void take_carried(struct http_text segment, char text[HTTP_TUS_TEXT_SIZE])
{
    int64_t size = segment.bytes ? http_text_percent_decode(segment, false, text, HTTP_TUS_TEXT_SIZE - 1)
                                 : HTTP_TEXT_BROKEN;
    if (size < 0 || !tus_text_is_plain((struct http_text){text, (size_t)size}))
        size = 0;
    memset(text + size, 0, (size_t)(HTTP_TUS_TEXT_SIZE - size));
}

void http_tus_head_carried(const struct http_target *target, struct http_tus *tus)
{
    take_carried(target->tus_metadata, tus->metadata);
    take_carried(target->tus_concat, tus->concat);
}
