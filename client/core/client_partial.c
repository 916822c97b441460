/*
 * client_partial: the commands of partial uploads: a row each, and what starts them. How servers are found and tried is
 * client_storage.c's; any server of the group can continue what another one began. Declared in client.h.
 */
#include "client/core/client_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- BEGIN ---- */

static bool pack_begin(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_begin begin = {.put = operation->upload.put, .keep = operation->keep};

    memcpy(begin.put.group, operation->location.group, sizeof(begin.put.group));
    return proto_begin_pack(body, &begin, error);
}

static bool unpack_begin(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error)
{
    return proto_begin_reply_unpack(body, size, &operation->result.begin, error);
}

static void report_begin(struct client_operation *operation, const struct error *error)
{
    operation->callback.begin(operation->argument, error ? NULL : &operation->result.begin, error);
}

static const struct client_command begin_command = {
    .number = PROTO_STORAGE_BEGIN,
    .body_size = PROTO_BEGIN_SIZE,
    .reply_max = PROTO_BEGIN_REPLY_SIZE,
    .pack = pack_begin,
    .unpack = unpack_begin,
    .report = report_begin,
    .recent = true,
};

struct client_operation *client_begin(struct client *client, const struct proto_begin *begin,
                                      client_begin_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &begin_command, &begin->put.key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->upload.put = begin->put;
    operation->keep = begin->keep;
    operation->create = true;
    operation->callback.begin = callback;
    return operation;
}

/* ---- APPEND ---- */

static int64_t append_source(void *argument, uint8_t *buffer, size_t size)
{
    struct client_operation *operation = argument;
    int64_t got = operation->upload.source(operation->argument, buffer, size);

    operation->source_taken = operation->source_taken || got > 0;
    return got;
}

static bool pack_append(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_append_pack(body, &operation->append, error);
}

static void append_options(struct client_operation *operation, struct packet_call_options *options)
{
    /* The reply comes after the server's fsync. */
    options->timeout_ms = max_i64(options->timeout_ms, options->progress_ms);
    if (!operation->upload.source)
        return;
    options->source = append_source;
    options->source_size =
        operation->append.size + (operation->append.digest_follows ? PROTO_DIGEST_SIZE : 0);
}

static bool unpack_state(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error)
{
    return proto_partial_state_unpack(body, size, &operation->result.begin.state, error);
}

static void report_state(struct client_operation *operation, const struct error *error)
{
    operation->callback.state(operation->argument, error ? NULL : &operation->result.begin.state, error);
}

static const struct client_command append_command = {
    .number = PROTO_STORAGE_APPEND,
    .body_size = PROTO_APPEND_SIZE,
    .reply_max = PROTO_PARTIAL_STATE_SIZE,
    .pack = pack_append,
    .options = append_options,
    .unpack = unpack_state,
    .report = report_state,
    .recent = true,
};

struct client_operation *client_append(struct client *client, const struct client_append_options *options)
{
    struct client_operation *operation = client_operation_create(
        client, &append_command, &options->append.partial.key, client_storage_begin, options->argument);

    if (!operation)
        return NULL;
    operation->append = options->append;
    operation->upload.source = options->source;
    operation->callback.state = options->callback;
    return operation;
}

void client_append_resume(struct client_operation *operation)
{
    client_upload_resume(operation);
}

/* ---- OFFSET, ABORT ---- */

static bool pack_partial(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_partial_pack(body, &operation->finish.partial, error);
}

static const struct client_command offset_command = {
    .number = PROTO_STORAGE_OFFSET,
    .body_size = PROTO_PARTIAL_SIZE,
    .reply_max = PROTO_PARTIAL_STATE_SIZE,
    .pack = pack_partial,
    .unpack = unpack_state,
    .report = report_state,
    .recent = true,
};

static const struct client_command abort_command = {
    .number = PROTO_STORAGE_ABORT,
    .body_size = PROTO_PARTIAL_SIZE,
    .pack = pack_partial,
    .report = client_report_done,
    .recent = true,
};

struct client_operation *client_offset(struct client *client, const struct proto_partial *partial,
                                       client_state_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &offset_command, &partial->key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->finish.partial = *partial;
    operation->callback.state = callback;
    return operation;
}

struct client_operation *client_abort(struct client *client, const struct proto_partial *partial,
                                      client_done_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &abort_command, &partial->key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->finish.partial = *partial;
    operation->callback.done = callback;
    return operation;
}

/* ---- FINISH, JOIN_PARTS ---- */

static bool pack_finish(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_finish_pack(body, &operation->finish, error);
}

/* The whole body stands in operation->owned: it is larger than those of others. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the table's type */
static bool client_pack_join(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    (void)operation;
    (void)body;
    (void)error;
    return true;
}

static void finish_options(struct client_operation *operation, struct packet_call_options *options)
{
    /* Each server has its share. */
    options->timeout_ms = max_i64(options->timeout_ms,
                                  operation->patience_ms * (int64_t)max_size(operation->location.count, 1));
    if (operation->owned) {
        request_id_put(operation->owned, operation->owned_size, &operation->request);
        options->body = operation->owned;
        options->body_size = operation->owned_size;
    }
}

static const struct client_command finish_command = {
    .number = PROTO_STORAGE_FINISH,
    .body_size = PROTO_FINISH_SIZE,
    .pack = pack_finish,
    .options = finish_options,
    .report = client_report_done,
    .recent = true,
};

static const struct client_command join_parts_command = {
    .number = PROTO_STORAGE_JOIN_PARTS,
    .pack = client_pack_join,
    .options = finish_options,
    .report = client_report_done,
    .recent = true,
};

static struct client_operation *partial_finish_start(struct client *client,
                                                     const struct client_command *command,
                                                     const struct proto_finish *finish, int64_t patience_ms,
                                                     client_done_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, command, &finish->partial.key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->finish = *finish;
    operation->patience_ms = patience_ms;
    operation->callback.done = callback;
    return operation;
}

struct client_operation *client_finish(struct client *client, const struct proto_finish *finish,
                                       int64_t patience_ms, client_done_callback callback, void *argument)
{
    return partial_finish_start(client, &finish_command, finish, patience_ms, callback, argument);
}

struct client_operation *client_join_parts(struct client *client, const struct proto_finish *target,
                                           const uint8_t *tokens, size_t count, int64_t patience_ms,
                                           client_done_callback callback, void *argument)
{
    size_t size = PROTO_FINISH_SIZE + count * PROTO_PARTIAL_TOKEN_SIZE;
    uint8_t *body = malloc(size);
    struct client_operation *operation =
        body && proto_join_parts_pack(body, size, target, tokens, count, NULL) == size
            ? partial_finish_start(client, &join_parts_command, target, patience_ms, callback, argument)
            : NULL;

    if (!operation) {
        free(body);
        return NULL;
    }
    operation->owned = body;
    operation->owned_size = size;
    return operation;
}
