/*
 * client_transfer: the content of files: PUT or UPLOAD from a source, DOWNLOAD up to the first byte of the
 * body, whose socket the caller then has. Declared in client.h and client_internal.h.
 */
#include "client/core/client_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- upload ---- */

static int64_t upload_source(void *argument, uint8_t *buffer, size_t size)
{
    struct client_operation *operation = argument;
    int64_t got = operation->upload.source(operation->argument, buffer, size);

    /* Also after "not yet": the source has been asked, and may count on being rewound before it is asked
     * anew. */
    operation->source_taken = operation->source_taken || got > 0;
    return got;
}

static int64_t upload_pass(void *argument, struct transport to, int64_t left)
{
    struct client_operation *operation = argument;
    int64_t got = operation->upload.pass(operation->argument, to, left);

    operation->source_taken = operation->source_taken || got > 0;
    return got;
}

static bool pack_upload(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    const struct proto_put *put = &operation->upload.put;
    const struct proto_upload upload = {.key = put->key, .size = put->size};

    return proto_upload_pack(body, &upload, error);
}

static bool pack_put(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_put put = operation->upload.put;

    memcpy(put.group, operation->location.group, sizeof(put.group));
    return proto_put_pack(body, &put, error);
}

static bool pack_store(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_store store = {.put = operation->upload.put,
                                .asks = operation->upload.asks && operation->upload.put.size > 0};

    memcpy(store.put.group, operation->location.group, sizeof(store.put.group));
    return proto_store_pack(body, &store, error);
}

static bool unpack_stored(struct client_operation *operation, const uint8_t *body, size_t size,
                          struct error *error)
{
    operation->result.stored.known = true;
    return proto_store_reply_unpack(body, size, &operation->result.stored.reply, error);
}

/* Of any command that stores. */
static void report_upload(struct client_operation *operation, const struct error *error)
{
    static const struct client_stored unknown;

    if (!operation->upload.stored)
        client_report_done(operation, error);
    else if (error)
        operation->upload.stored(operation->argument, NULL, error);
    else
        operation->upload.stored(operation->argument,
                                 operation->command->unpack ? &operation->result.stored : &unknown, NULL);
}

static void upload_options(struct client_operation *operation, struct packet_call_options *options);
static void download_options(struct client_operation *operation, struct packet_call_options *options);

static const struct client_command upload_command = {
    .number = PROTO_STORAGE_UPLOAD,
    .body_size = PROTO_UPLOAD_SIZE,
    .pack = pack_upload,
    .options = upload_options,
    .report = report_upload,
};

static const struct client_command put_command = {
    .number = PROTO_STORAGE_PUT,
    .body_size = PROTO_PUT_SIZE,
    .pack = pack_put,
    .options = upload_options,
    .report = report_upload,
    .older = &upload_command,
};

static const struct client_command store_command = {
    .number = PROTO_STORAGE_STORE,
    .body_size = PROTO_STORE_SIZE,
    .reply_max = PROTO_STORE_REPLY_SIZE,
    .pack = pack_store,
    .options = upload_options,
    .unpack = unpack_stored,
    .report = report_upload,
    .older = &put_command,
    .recent = true,
};

static const struct client_command put_trailer_command = {
    .number = PROTO_STORAGE_PUT_TRAILER,
    .body_size = PROTO_PUT_SIZE,
    .pack = pack_put,
    .options = upload_options,
    .report = report_upload,
};

/* The group that has the file stands in the place of its name, which stays. */
static bool pack_move(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_put put = {.key = operation->upload.put.key, .size = operation->upload.put.size};

    memcpy(put.name, operation->client->options.moves_from, sizeof(operation->client->options.moves_from));
    memcpy(put.group, operation->location.group, sizeof(put.group));
    return proto_put_pack(body, &put, error);
}

static const struct client_command move_command = {
    .number = PROTO_STORAGE_MOVE,
    .body_size = PROTO_PUT_SIZE,
    .pack = pack_move,
    .options = upload_options,
    .report = client_report_done,
};

static bool upload_needs_put(const struct proto_put *put)
{
    return put->has_digest || put->name[0] != '\0' || put->content_type[0] != '\0';
}

struct client_operation *client_upload(struct client *client, const struct client_upload_options *options)
{
    const struct client_command *command = client->options.moves_from[0] != '\0' ? &move_command
                                           : options->store                      ? &store_command
                                           : options->digest_follows             ? &put_trailer_command
                                           : upload_needs_put(&options->put)     ? &put_command
                                                                                 : &upload_command;
    struct client_operation *operation =
        client_operation_create(client, command, &options->put.key, client_storage_begin, options->argument);

    if (!operation)
        return NULL;
    operation->upload = *options;
    operation->create = true;
    if (options->tries > 0)
        operation->tries_left = options->tries;
    operation->rounds_max = operation->tries_left;
    operation->callback.done = options->callback;
    return operation;
}

void client_upload_resume(struct client_operation *operation)
{
    if (operation->call)
        packet_call_resume_source(operation->call);
}

/* ---- download ---- */

static bool pack_download(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    const struct proto_download download = {
        .key = operation->key, .offset = operation->offset, .size = operation->size};

    return proto_download_pack(body, &download, error);
}

static void report_download(struct client_operation *operation, const struct error *error)
{
    operation->callback.download(operation->argument, error ? NULL : operation->result.download, error);
}

static const struct client_command download_command = {
    .number = PROTO_STORAGE_DOWNLOAD,
    .body_size = PROTO_DOWNLOAD_SIZE,
    .pack = pack_download,
    .options = download_options,
    .report = report_download,
};

static const struct client_command fetch_command = {
    .number = PROTO_STORAGE_FETCH,
    .body_size = PROTO_DOWNLOAD_SIZE,
    .pack = pack_download,
    .options = download_options,
    .report = report_download,
};

static bool pack_read(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    struct proto_read_request read = {.download = {
                                          .key = operation->key,
                                          .offset = operation->offset,
                                          .size = operation->size,
                                      }};

    memcpy(read.digest, operation->digest, sizeof(read.digest));
    return proto_read_request_pack(body, &read, error);
}

static const struct client_command read_command = {
    .number = PROTO_STORAGE_READ,
    .body_size = PROTO_READ_SIZE,
    .pack = pack_read,
    .options = download_options,
    .report = report_download,
    .older = &download_command,
    .recent = true,
};

static enum packet_verdict download_header(void *argument, int64_t length)
{
    (void)argument;
    (void)length;
    return PACKET_TAKE;
}

static void download_taken(void *argument, struct packet_call *call)
{
    struct client_operation *operation = argument;
    int64_t length = packet_call_length(call);
    struct error error;

    operation->call = NULL;
    if (operation->size > 0 && length != operation->size) {
        (void)error_set(&error, ERROR_MALFORMED, "%lld bytes were requested, but %lld are announced",
                        (long long)operation->size, (long long)length);
        packet_call_release(call, false);
        client_operation_finish(operation, &error);
        return;
    }
    operation->result.download = call;
    client_operation_finish(operation, NULL);
}

struct client_operation *client_download(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, int64_t size, const uint8_t *digest,
                                         const struct address *avoid, client_download_callback callback,
                                         void *argument)
{
    const struct client_command *command = client->options.group[0] != '\0' ? &fetch_command
                                           : digest                         ? &read_command
                                                                            : &download_command;
    struct client_operation *operation =
        client_operation_create(client, command, key, client_storage_begin, argument);

    if (!operation)
        return NULL;
    operation->offset = offset;
    operation->size = size;
    operation->has_avoid = avoid;
    if (avoid)
        operation->avoid = *avoid;
    if (digest)
        memcpy(operation->digest, digest, sizeof(operation->digest));
    operation->callback.download = callback;
    return operation;
}

struct packet_line_request *client_fetch(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, size_t size, const uint8_t *digest,
                                         const struct request_id *name, packet_line_callback callback,
                                         void *argument)
{
    struct proto_read_request read = {.download = {.key = *key, .offset = offset, .size = (int64_t)size}};
    const struct client_location *location = client_location_recall(client, key, false);
    uint8_t body[PROTO_READ_SIZE];
    uint8_t command = digest ? PROTO_STORAGE_READ : PROTO_STORAGE_DOWNLOAD;
    size_t body_size = digest ? PROTO_READ_SIZE : PROTO_DOWNLOAD_SIZE;

    if (digest)
        memcpy(read.digest, digest, sizeof(read.digest));
    if (!location || size == 0 ||
        !(digest ? proto_read_request_pack(body, &read, NULL)
                 : proto_download_pack(body, &read.download, NULL)))
        return NULL;
    if (name)
        request_id_put(body, body_size, name);
    for (size_t i = 0; i < location->count; i++) {
        struct packet_line_request *request = packet_line_ask(client->pool, &location->servers[i], command,
                                                              body, body_size, size, callback, argument);

        if (request)
            return request;
    }
    return NULL;
}

/* ---- what the storage calls of both need ---- */

static void upload_options(struct client_operation *operation, struct packet_call_options *options)
{
    if (!client_is_upload(operation))
        return;
    /* The reply comes after the server's fsync of all that was sent. */
    options->timeout_ms = max_i64(options->timeout_ms, options->progress_ms);
    options->source = operation->upload.pass ? NULL : upload_source;
    options->pass = operation->upload.pass ? upload_pass : NULL;
    options->asks = operation->upload.asks && operation->command == &store_command;
    options->source_size = operation->upload.put.size;
    if (operation->command == &put_trailer_command || operation->command == &move_command)
        options->source_size += PROTO_DIGEST_SIZE;
}

static void download_options(struct client_operation *operation, struct packet_call_options *options)
{
    (void)operation;
    options->header = download_header;
    options->taken = download_taken;
}
