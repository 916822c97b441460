/*
 * client_storage: one request to the storage servers of a user's group: located, asked one after the other,
 * located anew when all failed; and the operations that are no more than that: STAT, DELETE, RESTORE, LIST.
 * Declared in client.h and client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_FIRST_MS 100 /* before the third round; then twice as long each time */
#define PAUSE_MAX_MS   1000

static void storage_call(struct client_operation *operation);
static void storage_next_round(struct client_operation *operation);

/* ---- which server ---- */

/* Those that were not tried in this round, `avoid` last. */
static bool servers_left(struct client_operation *operation, struct address_list *list)
{
    const struct client_location *location = &operation->location;

    *list = (struct address_list){0};
    for (int avoided = 0; avoided < 2; avoided++) {
        for (size_t i = 0; i < location->count; i++) {
            bool avoid = operation->has_avoid && address_equal(&location->servers[i], &operation->avoid);

            if (operation->tried[i] || avoid != (avoided == 1))
                continue;
            if (!address_list_append(list, &location->servers[i])) {
                address_list_clear(list);
                return false;
            }
        }
    }
    return true;
}

static bool some_left(const struct client_operation *operation)
{
    for (size_t i = 0; i < operation->location.count; i++)
        if (!operation->tried[i])
            return true;
    return false;
}

static void mark_tried(struct client_operation *operation, const struct address *address)
{
    for (size_t i = 0; i < operation->location.count; i++)
        if (address_equal(&operation->location.servers[i], address))
            operation->tried[i] = true;
}

/* A server that does not know the command is asked again, now with the base command, before the others. */
static void put_first(struct client_operation *operation, const struct address *address)
{
    struct client_location *location = &operation->location;

    for (size_t i = 1; i < location->count; i++) {
        if (!address_equal(&location->servers[i], address))
            continue;
        struct address first = location->servers[i];
        bool tried = operation->tried[i];

        memmove(&location->servers[1], &location->servers[0], i * sizeof(first));
        memmove(&operation->tried[1], &operation->tried[0], i * sizeof(tried));
        location->servers[0] = first;
        operation->tried[0] = tried;
        return;
    }
}

/* ---- rounds ---- */

/* A tracker that has no server for a new file now may have one soon: an upload waits for it, as for a storage
 * server. */
static bool locating_again_may_help(const struct client_operation *operation, const struct error *error)
{
    if (operation->upload.source == NULL)
        return false;
    return error->code == ERROR_NO_SERVER || error->code == ERROR_UNAVAILABLE || error->code == ERROR_IO ||
           error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT;
}

static void storage_located(struct client_operation *operation, const struct error *error)
{
    if (error == NULL) {
        memset(operation->tried, 0, sizeof(operation->tried));
        operation->plain = client_is_legacy(operation->client, &operation->location.servers[0]);
        storage_call(operation);
        return;
    }
    /* What the servers said before tells more than that the trackers do not help; but that the group has no
     * server now is why they could not be reached. */
    if (operation->last_error.code == ERROR_NONE || error->code == ERROR_NO_SERVER ||
        operation->upload.source != NULL)
        operation->last_error = *error;
    operation->tries_left--;
    if (operation->tries_left > 0 && locating_again_may_help(operation, error))
        storage_next_round(operation);
    else
        client_operation_fail(operation, &operation->last_error);
}

void client_storage_begin(struct client_operation *operation)
{
    operation->located = storage_located;
    operation->rounds++;
    client_locate_begin(operation);
}

static void storage_next_round(struct client_operation *operation)
{
    int code = operation->last_error.code;
    bool lasting = code == ERROR_NO_SPACE || code == ERROR_IO; /* will not pass within seconds */
    int64_t pause = PAUSE_FIRST_MS;

    if (operation->rounds >= (lasting ? 2 : operation->rounds_max)) {
        client_operation_fail(operation, &operation->last_error);
        return;
    }
    operation->fresh = true;
    if (operation->rounds < 2 && operation->location.count > 0) {
        client_storage_begin(operation);
        return;
    }
    for (int round = 2; round < operation->rounds && pause < PAUSE_MAX_MS; round++)
        pause *= 2;
    client_operation_pause(operation, min_i64(pause, PAUSE_MAX_MS), client_storage_begin);
}

/* ---- a call ---- */

/* Whether another server of the group may do better. */
static bool error_is_of_server(const struct client_operation *operation, const struct error *error)
{
    switch (error->code) {
    case ERROR_CONNECTION:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_IO:
    case ERROR_NO_SPACE:
        return true;
    case ERROR_GENERAL: /* a legacy server has no other number, also for a full disk */
        return operation->upload.source != NULL;
    default:
        return false;
    }
}

static bool has_plain_form(const struct client_operation *operation)
{
    return operation->command == PROTO_STORAGE_STAT || operation->command == PROTO_STORAGE_PUT ||
           operation->command == PROTO_STORAGE_WHERE;
}

static bool storage_again(void *argument, const struct error *error)
{
    struct client_operation *operation = argument;

    if (!operation->plain && has_plain_form(operation) && client_error_is_legacy(error))
        return false; /* the same server first, with the base command */
    mark_tried(operation, packet_call_address(operation->call));
    return error_is_of_server(operation, error);
}

/* Starts the content again where some of it is gone. False: the operation ended. */
static bool storage_rewind(struct client_operation *operation, const struct error *error)
{
    if (!operation->source_taken)
        return true;
    operation->source_taken = false;
    if (operation->upload.rewind != NULL && operation->upload.rewind(operation->argument))
        return true;
    client_operation_fail(operation, error);
    return false;
}

static void storage_failed(struct client_operation *operation, const struct address *server,
                           const struct error *error)
{
    bool taken = operation->source_taken;

    operation->last_error = *error;
    if (!operation->plain && has_plain_form(operation) && client_error_is_legacy(error)) {
        /* Who does not know WHERE may know STAT. */
        if (operation->command != PROTO_STORAGE_WHERE)
            client_remember_legacy(operation->client, server);
        if (!storage_rewind(operation, error))
            return;
        operation->plain = operation->command != PROTO_STORAGE_WHERE;
        operation->no_where = true;
        put_first(operation, server);
        storage_call(operation);
        return;
    }
    operation->tries_left--;
    if (!error_is_of_server(operation, error) || operation->tries_left <= 0) {
        client_operation_fail(operation, error);
        return;
    }
    if (!storage_rewind(operation, error))
        return;
    if (taken)
        mark_tried(operation, server);
    if (taken && some_left(operation)) {
        storage_call(operation);
        return;
    }
    if (error->code == ERROR_GENERAL) /* every server said no, for a reason that will not pass */
        client_operation_fail(operation, error);
    else
        storage_next_round(operation);
}

static void storage_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_operation *operation = argument;
    struct address server = *packet_call_address(operation->call);

    operation->call = NULL;
    /* Who knows a command of ours is not a predecessor's server. */
    if (error == NULL && !operation->plain && has_plain_form(operation))
        packet_line_allow(operation->client->pool, &server);
    if (error == NULL)
        operation->succeeded(operation, body, size);
    else
        storage_failed(operation, &server, error);
}

static void storage_call(struct client_operation *operation)
{
    struct client *client = operation->client;
    struct address_list servers = {0};
    struct packet_call_options options = {
        .addresses = &servers,
        .body = operation->body,
        .timeout_ms = client->options.call_timeout_ms,
        .progress_ms = client->options.progress_timeout_ms,
        .again = storage_again,
        .done = storage_done,
        .argument = operation,
    };
    struct error error;

    client_operation_set_step(operation, CLIENT_CALLING);
    if (!operation->prepare(operation, &error)) {
        client_operation_fail(operation, &error);
        return;
    }
    options.command = operation->command;
    options.body_size = operation->body_size;
    options.reply_max = operation->reply_max;
    client_transfer_options(operation, &options);
    if (servers_left(operation, &servers)) {
        operation->call = packet_call_start(client->pool, &options, &error);
        address_list_clear(&servers);
    } else {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a storage server");
    }
    if (operation->call == NULL)
        client_operation_fail(operation, &error);
}

/* ---- STAT ---- */

static bool stat_prepare(struct client_operation *operation, struct error *error)
{
    operation->command = operation->plain ? PROTO_STORAGE_FILESIZE : PROTO_STORAGE_STAT;
    operation->reply_max = operation->plain ? PROTO_VALUE_SIZE : PROTO_STAT_REPLY_SIZE;
    operation->body_size = PROTO_FILE_KEY_SIZE;
    return proto_file_key_pack(operation->body, &operation->key, error);
}

static void stat_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.stat(operation->argument, NULL, error);
}

static bool stat_unpack(const struct client_operation *operation, const uint8_t *body, size_t size,
                        struct proto_stat *stat, struct error *error)
{
    if (!operation->plain)
        return proto_stat_reply_unpack(body, size, stat, error);
    memset(stat, 0, sizeof(*stat));
    memcpy(stat->group, operation->location.group, sizeof(stat->group));
    return proto_value_unpack(body, size, &stat->size, error);
}

static void stat_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    struct proto_stat stat;
    struct error error;

    if (!stat_unpack(operation, body, size, &stat, &error)) {
        client_operation_fail(operation, &error);
        return;
    }
    client_operation_end(operation);
    operation->callback.stat(operation->argument, &stat, NULL);
    free(operation);
}

struct client_operation *client_stat(struct client *client, const struct proto_file_key *key,
                                     client_stat_callback callback, void *argument)
{
    struct client_operation *operation = client_operation_create(client, key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->prepare = stat_prepare;
    operation->succeeded = stat_succeeded;
    operation->failed = stat_failed;
    operation->callback.stat = callback;
    return operation;
}

/* ---- WHERE ---- */

static bool where_prepare(struct client_operation *operation, struct error *error)
{
    if (operation->plain || operation->no_where)
        return stat_prepare(operation, error);
    operation->command = PROTO_STORAGE_WHERE;
    operation->reply_max = PROTO_WHERE_REPLY_SIZE;
    operation->body_size = PROTO_FILE_KEY_SIZE;
    return proto_file_key_pack(operation->body, &operation->key, error);
}

static void where_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.where(operation->argument, NULL, error);
}

static void where_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    struct proto_where where = {0};
    struct error error;
    bool fine;

    if (operation->command == PROTO_STORAGE_WHERE)
        fine = proto_where_reply_unpack(body, size, &where, &error);
    else
        fine = stat_unpack(operation, body, size, &where.stat, &error);
    if (!fine) {
        client_operation_fail(operation, &error);
        return;
    }
    client_operation_end(operation);
    operation->callback.where(operation->argument, &where, NULL);
    free(operation);
}

struct client_operation *client_where(struct client *client, const struct proto_file_key *key,
                                      client_where_callback callback, void *argument)
{
    struct client_operation *operation = client_operation_create(client, key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->prepare = where_prepare;
    operation->succeeded = where_succeeded;
    operation->failed = where_failed;
    operation->callback.where = callback;
    return operation;
}

/* ---- DELETE, RESTORE ---- */

static bool key_prepare(struct client_operation *operation, struct error *error)
{
    operation->body_size = PROTO_FILE_KEY_SIZE;
    return proto_file_key_pack(operation->body, &operation->key, error);
}

static void done_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.done(operation->argument, error);
}

static void done_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    (void)body;
    (void)size;
    client_operation_end(operation);
    operation->callback.done(operation->argument, NULL);
    free(operation);
}

static struct client_operation *key_start(struct client *client, const struct proto_file_key *key,
                                          uint8_t command, client_done_callback callback, void *argument)
{
    struct client_operation *operation = client_operation_create(client, key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->command = command;
    operation->prepare = key_prepare;
    operation->succeeded = done_succeeded;
    operation->failed = done_failed;
    operation->callback.done = callback;
    return operation;
}

struct client_operation *client_delete(struct client *client, const struct proto_file_key *key,
                                       client_done_callback callback, void *argument)
{
    return key_start(client, key, PROTO_STORAGE_DELETE, callback, argument);
}

struct client_operation *client_restore(struct client *client, const struct proto_file_key *key,
                                        client_done_callback callback, void *argument)
{
    return key_start(client, key, PROTO_STORAGE_RESTORE, callback, argument);
}

/* ---- FSCK ---- */

static bool fsck_prepare(struct client_operation *operation, struct error *error)
{
    const struct proto_fsck fsck = {.key = operation->key, .action = operation->action};

    operation->body_size = PROTO_FSCK_SIZE;
    operation->reply_max = CLIENT_TEXT_MAX;
    return proto_fsck_pack(operation->body, &fsck, error);
}

static void fsck_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.text(operation->argument, NULL, 0, error);
}

static void fsck_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    struct error no_memory;
    char *text = malloc(size + 1);

    if (text == NULL) {
        (void)error_set(&no_memory, ERROR_UNAVAILABLE, "no memory for a text of %zu bytes", size);
        client_operation_fail(operation, &no_memory);
        return;
    }
    if (size > 0)
        memcpy(text, body, size);
    text[size] = '\0';
    client_operation_end(operation);
    operation->callback.text(operation->argument, text, size, NULL);
    free(text);
    free(operation);
}

struct client_operation *client_fsck(struct client *client, const struct proto_file_key *key,
                                     enum proto_fsck_action action, client_text_callback callback,
                                     void *argument)
{
    struct client_operation *operation = client_operation_create(client, key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->command = PROTO_STORAGE_FSCK;
    operation->action = (uint8_t)action;
    operation->prepare = fsck_prepare;
    operation->succeeded = fsck_succeeded;
    operation->failed = fsck_failed;
    operation->callback.text = callback;
    return operation;
}

/* ---- LIST ---- */

static bool list_prepare(struct client_operation *operation, struct error *error)
{
    operation->body_size = PROTO_LIST_SIZE;
    operation->reply_max = PROTO_LIST_LIMIT_MAX * PROTO_LIST_ENTRY_SIZE;
    return proto_list_pack(operation->body, &operation->list, error);
}

static void list_failed(struct client_operation *operation, const struct error *error)
{
    operation->callback.list(operation->argument, NULL, 0, error);
}

static void list_succeeded(struct client_operation *operation, const uint8_t *body, size_t size)
{
    size_t count = size / PROTO_LIST_ENTRY_SIZE;
    struct proto_list_entry *entries = calloc(max_size(count, 1), sizeof(*entries));
    struct error error;
    bool fine = true;

    if (entries == NULL)
        fine = error_set(&error, ERROR_UNAVAILABLE, "no memory for a list of %zu files", count);
    else if (size % PROTO_LIST_ENTRY_SIZE != 0 || count > (size_t)operation->list.limit)
        fine = error_set(&error, ERROR_MALFORMED,
                         "a list of %zu bytes, where at most %d entries of %d were asked for", size,
                         (int)operation->list.limit, PROTO_LIST_ENTRY_SIZE);
    for (size_t i = 0; fine && i < count; i++)
        fine = proto_list_entry_unpack(body + i * PROTO_LIST_ENTRY_SIZE, PROTO_LIST_ENTRY_SIZE, &entries[i],
                                       &error);
    if (fine) {
        client_operation_end(operation);
        operation->callback.list(operation->argument, entries, count, NULL);
        free(operation);
    } else {
        client_operation_fail(operation, &error);
    }
    free(entries);
}

struct client_operation *client_list(struct client *client, const struct proto_list *list,
                                     client_list_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, &list->key, client_storage_begin, argument);

    if (operation == NULL)
        return NULL;
    operation->command = PROTO_STORAGE_LIST;
    operation->list = *list;
    operation->prepare = list_prepare;
    operation->succeeded = list_succeeded;
    operation->failed = list_failed;
    operation->callback.list = callback;
    return operation;
}
