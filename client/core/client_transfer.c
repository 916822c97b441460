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

static bool upload_needs_put(const struct proto_put *put)
{
    return put->has_digest || put->name[0] != '\0' || put->content_type[0] != '\0';
}

static bool upload_prepare(struct client_operation *operation, struct error *error)
{
    const struct proto_put *put = &operation->upload.put;
    struct proto_upload upload = {.key = put->key, .size = put->size};

    operation->reply_max = 0;
    if (upload_needs_put(put) && !operation->plain) {
        operation->command = PROTO_STORAGE_PUT;
        operation->body_size = PROTO_PUT_SIZE;
        return proto_put_pack(operation->body, put, error);
    }
    operation->command = PROTO_STORAGE_UPLOAD;
    operation->body_size = PROTO_UPLOAD_SIZE;
    return proto_upload_pack(operation->body, &upload, error);
}

static void upload_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.done(operation->argument, error);
}

static void upload_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    (void)body;
    (void)size;
    client_operation_end(operation);
    operation->callback.done(operation->argument, NULL);
    free(operation);
}

struct client_operation *client_upload(struct client *client, const struct client_upload_options *options)
{
    struct client_operation *operation =
        client_operation_create(client, &options->put.key, client_storage_begin, options->argument);

    if (operation == NULL)
        return NULL;
    operation->upload = *options;
    operation->create = true;
    if (options->tries > 0)
        operation->tries_left = options->tries;
    operation->rounds_max = operation->tries_left;
    operation->prepare = upload_prepare;
    operation->succeeded = upload_succeeded;
    operation->failed = upload_failed;
    operation->callback.done = options->callback;
    return operation;
}

void client_upload_resume(struct client_operation *operation)
{
    if (operation->call != NULL)
        packet_call_resume_source(operation->call);
}

/* ---- download ---- */

static bool download_prepare(struct client_operation *operation, struct error *error)
{
    struct proto_download download = {
        .key = operation->key, .offset = operation->offset, .size = operation->size};

    operation->command = PROTO_STORAGE_DOWNLOAD;
    operation->body_size = PROTO_DOWNLOAD_SIZE;
    return proto_download_pack(operation->body, &download, error);
}

static void download_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.download(operation->argument, NULL, error);
}

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
        (void)error_set(&error, ERROR_MALFORMED, "%lld bytes were asked for, and %lld are announced",
                        (long long)operation->size, (long long)length);
        packet_call_release(call, false);
        client_operation_fail(operation, &error);
        return;
    }
    client_operation_end(operation);
    operation->callback.download(operation->argument, call, NULL);
    free(operation);
}

struct client_operation *client_download(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, int64_t size, const struct address *avoid,
                                         client_download_callback callback, void *argument)
{
    struct client_operation *operation = client_operation_create(client, key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->offset = offset;
    operation->size = size;
    operation->has_avoid = avoid != NULL;
    if (avoid != NULL)
        operation->avoid = *avoid;
    operation->prepare = download_prepare;
    operation->failed = download_failed;
    operation->callback.download = callback;
    return operation;
}

struct packet_line_request *client_fetch(struct client *client, const struct proto_file_key *key,
                                         int64_t offset, size_t size, packet_line_callback callback,
                                         void *argument)
{
    struct proto_download download = {.key = *key, .offset = offset, .size = (int64_t)size};
    const struct client_location *location = client_location_recall(client, key, false);
    uint8_t body[PROTO_DOWNLOAD_SIZE];

    if (location == NULL || size == 0 || !proto_download_pack(body, &download, NULL))
        return NULL;
    for (size_t i = 0; i < location->count; i++) {
        struct packet_line_request *request =
            packet_line_ask(client->pool, &location->servers[i], PROTO_STORAGE_DOWNLOAD, body, sizeof(body),
                            size, callback, argument);

        if (request != NULL)
            return request;
    }
    return NULL;
}

/* ---- both ---- */

void client_transfer_options(struct client_operation *operation, struct packet_call_options *options)
{
    if (operation->upload.source != NULL) {
        /* The reply comes after the server's fsync of all that was sent. */
        options->timeout_ms = max_i64(options->timeout_ms, options->progress_ms);
        options->source = upload_source;
        options->source_size = operation->upload.put.size;
    }
    if (operation->command == PROTO_STORAGE_DOWNLOAD) {
        options->header = download_header;
        options->taken = download_taken;
    }
}
