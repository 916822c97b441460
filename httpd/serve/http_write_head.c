/*
 * http_write_head: each field by itself; what is wrong with one comes as a status and a static text.
 */
#include "httpd/serve/http_write_head.h"
#include "httpd/serve/http_answer.h"
#include "httpd/syntax/content_name.h"
#include <string.h>

static bool take_sha256(const struct http_request *request, const char *head, struct http_write_head *write)
{
    static const enum http_field fields[] = {HTTP_FIELD_REPR_DIGEST, HTTP_FIELD_CONTENT_DIGEST};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        struct http_text lines[HTTP_CONDITION_FIELDS_MAX];
        size_t count;
        if (!http_request_lines(request, head, fields[i], lines, &count))
            return false;
        for (size_t j = 0; j < count; j++) {
            uint8_t digest[CONTENT_DIGEST_SHA256_SIZE];
            enum content_digest_result result = content_digest_sha256(lines[j], digest);
            bool other = write->has_sha256 && memcmp(write->sha256, digest, sizeof(digest)) != 0;
            if (result == CONTENT_DIGEST_WRONG || (result == CONTENT_DIGEST_FOUND && other))
                return false;
            if (result == CONTENT_DIGEST_NONE)
                continue;
            write->has_sha256 = true;
            memcpy(write->sha256, digest, sizeof(digest));
        }
    }
    return true;
}

/* NULL, or why not: static text. */
static const char *take_digests(const struct http_connection *connection, bool form,
                                struct http_write_head *write)
{
    const struct http_request *request = &connection->exchange.request;
    struct http_text reel = http_answer_request_field(connection, HTTP_FIELD_REEL_DIGEST);
    if (form && (http_request_field_count(request, HTTP_FIELD_REPR_DIGEST) > 0 ||
                 http_request_field_count(request, HTTP_FIELD_CONTENT_DIGEST) > 0))
        return "Repr-Digest and Content-Digest would be of the form, which is not kept; X-Reel-Digest is of "
               "the file";
    if (!form && !take_sha256(request, http_answer_request_head(connection), write))
        return "Repr-Digest: sha-256=:32 bytes in base64: is expected, once";
    if (http_request_field_count(request, HTTP_FIELD_REEL_DIGEST) > 1)
        return "more than one X-Reel-Digest";
    switch (content_digest_xxh3(reel, write->put.digest)) {
    case CONTENT_DIGEST_NONE:
        return NULL;
    case CONTENT_DIGEST_FOUND:
        write->put.has_digest = true;
        return NULL;
    case CONTENT_DIGEST_WRONG:
        break;
    }
    return "X-Reel-Digest: xxh3-128=32 hexadecimal digits are expected";
}

/* A type that says something, without what does not fit. Forms of another kind are what programs state that know nothing better. */
void http_write_head_type(struct http_text type, char out[PROTO_CONTENT_TYPE_SIZE])
{
    static const char *const useless[] = {"application/x-www-form-urlencoded", "multipart/form-data"};
    struct http_text essence = type;
    const char *semicolon = type.size > 0 ? memchr(type.bytes, ';', type.size) : NULL;
    memset(out, 0, PROTO_CONTENT_TYPE_SIZE);
    if (semicolon)
        essence = http_text_trim((struct http_text){type.bytes, (size_t)(semicolon - type.bytes)});
    for (size_t i = 0; i < ARRAY_SIZE(useless); i++) {
        if (http_text_equal_nocase(essence, useless[i]))
            return;
    }
    if (type.size > PROTO_PUT_TYPE_MAX)
        type = essence;
    for (size_t i = 0; i < type.size; i++) {
        if (type.bytes[i] < ' ' || type.bytes[i] > '~')
            return;
    }
    if (type.size > 0 && type.size <= PROTO_PUT_TYPE_MAX)
        memcpy(out, type.bytes, type.size);
}

/* False: the name that is stated is none. */
static bool take_name(const struct http_connection *connection, const struct http_target *target,
                      char name[PROTO_NAME_SIZE])
{
    struct http_text disposition = http_answer_request_field(connection, HTTP_FIELD_CONTENT_DISPOSITION);
    const char *stated = target->put_name[0] != '\0' ? target->put_name : target->name;
    memcpy(name, stated, PROTO_NAME_SIZE);
    if (disposition.bytes && content_name_of_disposition(disposition, name) == CONTENT_NAME_WRONG)
        return false;
    return content_name_tidy(name);
}

static bool says_any(const struct http_connection *connection, enum http_field field)
{
    struct http_text value = http_answer_request_field(connection, field);
    return value.bytes && http_text_equal(value, "*");
}

/* What must not be there. 0, or the status. */
static int check_fields(const struct http_connection *connection, const char **message)
{
    const struct http_request *request = &connection->exchange.request;
    struct http_text coding = http_answer_request_field(connection, HTTP_FIELD_CONTENT_ENCODING);
    if (http_request_field_count(request, HTTP_FIELD_CONTENT_RANGE) > 0) {
        *message = "a file is stored whole: no Content-Range"; /* RFC 9110 section 14.5 */
        return 400;
    }
    if (coding.bytes && !http_text_equal_nocase(coding, "identity")) {
        *message = "files are stored as they are: no Content-Encoding";
        return 415;
    }
    if (!connection->exchange.is_draft &&
        http_text_equal(http_answer_request_field(connection, HTTP_FIELD_UPLOAD_COMPLETE), "?0")) {
        *message =
            "the content is a part of a file, and upload_draft is off or knows another interop version";
        return 501;
    }
    if (http_request_field_count(request, HTTP_FIELD_IF_MATCH) > 0) {
        *message = "a stored file is never changed: If-Match cannot hold";
        return 412;
    }
    return 0;
}

/* 0, or the status. */
static int check_size(const struct http_connection *connection, const char **message)
{
    const struct http_request *request = &connection->exchange.request;
    int64_t limit = connection->loop->settings->live.upload_size_max;
    if (request->body_kind == HTTP_BODY_CHUNKED)
        return 0;
    if (http_request_field_count(request, HTTP_FIELD_CONTENT_LENGTH) == 0) {
        *message = "Content-Length or chunks are needed";
        return 411;
    }
    if (limit > 0 && request->body_length > limit) {
        *message = "the file is larger than this server takes";
        return 413;
    }
    return 0;
}

int http_write_head_read(const struct http_connection *connection, const struct http_target *target,
                         bool form, struct http_write_head *write, const char **message)
{
    struct http_text type = http_answer_request_field(connection, HTTP_FIELD_CONTENT_TYPE);
    int status = check_fields(connection, message);
    if (status == 0)
        status = check_size(connection, message);
    if (status != 0)
        return status;
    if ((*message = take_digests(connection, form, write)))
        return 400;
    *message = HTTP_WRITE_HEAD_NO_NAME;
    if (!take_name(connection, target, write->put.name))
        return 400;
    write->no_match_any = says_any(connection, HTTP_FIELD_IF_NONE_MATCH);
    http_write_head_type(type, write->put.content_type);
    write->put.size = connection->exchange.request.body_kind == HTTP_BODY_CHUNKED
                          ? -1
                          : connection->exchange.request.body_length;
    return 0;
}
