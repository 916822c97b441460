/*
 * http_file: which bytes an answer has, and where they come from. What its head says is written by http_answer.c.
 */
#include "httpd/serve/http_file.h"
#include "common/media/media_type.h"
#include "httpd/serve/http_answer.h"
#include "httpd/source/source_local.h"
#include "httpd/source/source_pieces.h"
#include "httpd/stream/stream_request.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

const char *http_file_choosing_name(const struct http_connection *connection,
                                    const struct http_target *target)
{
    const char *named = target->name[0] != '\0' ? media_type_by_name(target->name) : NULL;
    return named && http_answer_is_inline(connection, named) ? target->name : "";
}

/* RFC 9110, section 15.3.7.2. NULL without memory, or where so many parts are more than the whole file. */
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

/* What the Range field asks for. HTTP_RANGE_WHOLE also where it does not count (RFC 9110, section 14.2). */
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

bool http_file_is_below_playlist(const struct http_lookup_file *file, const struct http_target *target)
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

void http_file_answer(struct http_connection *connection, const struct http_target *target)
{
    struct http_exchange *exchange = &connection->exchange;
    const struct http_lookup_file *file = exchange->file;
    struct http_conditions conditions;
    struct http_range_set set;
    const struct http_range *single = NULL;
    int64_t size = file->stat.size, length = size;
    if (http_file_is_below_playlist(file, target)) {
        http_answer_refuse(connection, 404, "a playlist has no files below its address");
        return;
    }
    const char *name = http_file_choosing_name(connection, target), *content_type = file->content_type;
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
        http_file_opened(connection);
    else
        http_connection_set_state(connection, CONNECTION_OPEN);
}

/* Another file has come under this ID since it was looked up, and nothing has been said yet: the request is answered as if it came now.
 * False: it cannot be, or was already. */
static bool answer_anew(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (exchange->answered_anew || connection->sent > 0)
        return false;
    exchange->answered_anew = true;
    source_close(exchange->source);
    exchange->source = NULL;
    free(exchange->multipart);
    exchange->multipart = NULL;
    stream_body_destroy(exchange->made);
    exchange->made = NULL;
    http_lookup_file_release(exchange->file);
    exchange->file = NULL;
    connection->loop->answering->begin(connection);
    return true;
}

void http_file_opened(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (source_status(exchange->source) == SOURCE_READY) {
        http_connection_drop_head(connection);
        http_answer_send(connection);
        return;
    }
    int code = exchange->source->error_code;
    if (code == ERROR_DIGEST && answer_anew(connection)) /* the relay has forgotten what it was */
        return;
    if (code == ERROR_NOT_FOUND || code == ERROR_DELETED)
        http_lookup_forget(connection->loop->lookup, &exchange->file->key);
    exchange->cut = connection->sent > 0;
    if (!exchange->cut)
        http_answer_error(connection, code, "the download could not begin");
}

bool http_file_next_part(struct http_connection *connection)
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
