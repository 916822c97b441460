/*
 * client_storage: one request to the storage servers of a user's group: located, asked one after the other,
 * located anew when all failed. What is asked is a row of client_commands.c or client_transfer.c. Declared in
 * client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_FIRST_MS 100 /* before the third round; then twice as long each time */
#define PAUSE_MAX_MS   1000
#define ELSEWHERE_MAX  4 /* rounds over groups that name one another: a file that moves there and back */

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

/* Those that know our own commands keep a file's name and type: uploads go there first. */
static void legacy_last(struct client_operation *operation)
{
    struct client_location *location = &operation->location;
    struct address ordered[CLIENT_SERVERS_MAX];
    size_t count = 0;

    if (location->count < 2)
        return;
    for (int legacy = 0; legacy < 2; legacy++)
        for (size_t i = 0; i < location->count; i++)
            if (client_is_legacy(operation->client, &location->servers[i]) == (legacy == 1))
                ordered[count++] = location->servers[i];
    memcpy(location->servers, ordered, count * sizeof(ordered[0]));
}

/* The one that an operation prefers stands first. */
static void preferred_first(struct client_operation *operation)
{
    const struct client_server *server = operation->server;
    const struct client_location *location = &operation->location;

    if (!server)
        return;
    const struct address first =
        server->known ? server->address : location->servers[server->turn % location->count];

    put_first(operation, &first);
}

/* ---- rounds ---- */

/* A tracker that has no server for a new file now may have one soon: an upload waits for it, as for a storage
 * server. */
static bool locating_again_may_help(const struct client_operation *operation, const struct error *error)
{
    if (!client_is_upload(operation))
        return false;
    return error->code == ERROR_NO_SERVER || error->code == ERROR_UNAVAILABLE || error->code == ERROR_IO ||
           error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT || error->code == ERROR_THROTTLED;
}

static void storage_located(struct client_operation *operation, const struct error *error)
{
    if (!error) {
        memset(operation->tried, 0, sizeof(operation->tried));
        operation->command = operation->wanted;
        if (client_is_upload(operation))
            legacy_last(operation);
        preferred_first(operation);
        if (operation->rounds == 1)
            operation->stalls_left = (int)operation->location.count - 1;
        if (client_is_legacy(operation->client, &operation->location.servers[0]))
            while (operation->command->older)
                operation->command = operation->command->older;
        storage_call(operation);
        return;
    }
    /* What the servers said before says more than that the trackers do not help; but that the group has no
     * server now is why they could not be reached. */
    if (operation->last_error.code == ERROR_NONE || error->code == ERROR_NO_SERVER ||
        client_is_upload(operation))
        operation->last_error = *error;
    operation->tries_left--;
    if (operation->tries_left > 0 && locating_again_may_help(operation, error))
        storage_next_round(operation);
    else
        client_operation_finish(operation, &operation->last_error);
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

    if (operation->rounds >= (lasting ? 2 : operation->rounds_max)) {
        client_operation_finish(operation, &operation->last_error);
        return;
    }
    client_operation_remark(operation, &operation->last_error, "trying again");
    operation->fresh = true;
    if (operation->rounds < 2 && operation->location.count > 0) {
        client_storage_begin(operation);
        return;
    }
    operation->backoff.first_ms = PAUSE_FIRST_MS;
    operation->backoff.longest_ms = PAUSE_MAX_MS;
    client_operation_pause(operation, backoff_next(&operation->backoff), client_storage_begin);
}

/* ---- a call ---- */

/* Whether another server of the group may do better. */
static bool error_is_of_server(const struct error *error)
{
    switch (error->code) {
    case ERROR_CONNECTION:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_THROTTLED:
    case ERROR_IO:
    case ERROR_NO_SPACE:
        return true;
    case ERROR_GENERAL: /* a legacy server has no other number, for whatever it is */
    case ERROR_UNKNOWN_COMMAND:
        return true;
    default:
        return false;
    }
}

/* Every server refused in that way, for a reason that will not pass. */
static bool error_is_lasting(const struct error *error)
{
    return error->code == ERROR_GENERAL || error->code == ERROR_UNKNOWN_COMMAND;
}

/* The server may know an older command that does. */
static bool older_may_help(const struct client_operation *operation, const struct error *error)
{
    return operation->command->older && client_error_is_legacy(error);
}

static bool storage_again(void *argument, const struct error *error)
{
    struct client_operation *operation = argument;

    if (older_may_help(operation, error))
        return false; /* the same server first, with the older command */
    mark_tried(operation, packet_call_address(operation->call));
    /* The next one may know what the operation is really after: it is asked that, in a call of its own. */
    if (!error_is_of_server(error) || operation->command != operation->wanted)
        return false;
    if (some_left(operation))
        client_operation_remark(operation, error, "trying the next server");
    return true;
}

/* Starts the content again where some of it is gone. False: the operation ended. */
static bool storage_rewind(struct client_operation *operation, const struct error *error)
{
    if (!operation->source_taken)
        return true;
    operation->source_taken = false;
    if (operation->upload.rewind && operation->upload.rewind(operation->argument))
        return true;
    client_operation_finish(operation, error);
    return false;
}

/* What the end says when no server does better: "no" without a reason only where none says more. */
static void storage_note_failure(struct client_operation *operation, const struct error *error)
{
    if (operation->last_error.code == ERROR_NONE || !error_is_lasting(error) ||
        error_is_lasting(&operation->last_error))
        operation->last_error = *error;
}

/* A name would be lost at a server that knows UPLOAD only: is there another that may know PUT? */
static bool better_server_is_left(const struct client_operation *operation)
{
    const struct client_location *location = &operation->location;

    for (size_t i = 0; i < location->count; i++)
        if (!operation->tried[i] && !client_is_legacy(operation->client, &location->servers[i]))
            return true;
    return false;
}

/* SERVER does not know the command: it is asked an older one, uploads only where no other server knows theirs. */
static void storage_ask_older(struct client_operation *operation, const struct address *server)
{
    const struct client_command *older = operation->command->older;

    if (older->older)
        operation->wanted = older; /* one that does not know the newest may know the next */
    else if (!operation->command->recent)
        client_remember_legacy(operation->client, server);
    if (client_is_upload(operation) && !older->older) {
        mark_tried(operation, server);
        if (better_server_is_left(operation)) {
            storage_call(operation);
            return;
        }
        memset(operation->tried, 0, sizeof(operation->tried));
    }
    operation->command = older;
    put_first(operation, server);
    storage_call(operation);
}

/* What was remembered of where the user's files are may be wrong: a tracker is asked once more; or for the servers of the group that
 * has this one file of a user who is moving from group to group. */
static bool asks_elsewhere(struct client_operation *operation, const struct error *error)
{
    if (error->code != ERROR_OTHER_GROUP)
        return false;
    if (error->group[0] == '\0' || operation->client->options.group[0] != '\0' || client_is_upload(operation))
        return operation->rounds < 2;
    memcpy(operation->elsewhere, error->group, sizeof(operation->elsewhere));
    return operation->rounds < ELSEWHERE_MAX;
}

static void storage_ask_elsewhere(struct client_operation *operation, const struct error *error)
{
    if (operation->elsewhere[0] == '\0') {
        storage_next_round(operation);
        return;
    }
    client_operation_remark(operation, error, "asking the group that has it");
    operation->fresh = true;
    client_storage_begin(operation);
}

/* ALONE: the call ended with this server's word, and asked no other. */
static void storage_failed(struct client_operation *operation, const struct address *server, bool alone,
                           const struct error *error)
{
    storage_note_failure(operation, error);
    if (older_may_help(operation, error)) {
        if (storage_rewind(operation, error))
            storage_ask_older(operation, server);
        return;
    }
    if (asks_elsewhere(operation, error)) {
        if (storage_rewind(operation, error))
            storage_ask_elsewhere(operation, error);
        return;
    }
    operation->tries_left--;
    if (!error_is_of_server(error) || operation->tries_left <= 0) {
        client_operation_finish(operation, &operation->last_error);
        return;
    }
    if (!storage_rewind(operation, error))
        return;
    if (alone)
        mark_tried(operation, server);
    operation->command = operation->wanted;
    if (alone && some_left(operation)) {
        client_operation_remark(operation, error, "trying the next server");
        storage_call(operation);
    } else if (error_is_lasting(&operation->last_error)) {
        client_operation_finish(operation, &operation->last_error);
    } else {
        storage_next_round(operation);
    }
}

/* SERVER, which was asked, has stopped. */
static void storage_stalled(struct client_operation *operation, const struct address *server,
                            const struct error *error)
{
    storage_failed(operation, server, true, error);
}

static void storage_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_operation *operation = argument;
    struct address server = *packet_call_address(operation->call);
    struct error bad;

    operation->call = NULL;
    client_stall_end(operation);
    /* A server that knows a command of ours is not a predecessor's. */
    if (!error && operation->command->older)
        packet_line_allow(operation->client->pool, &server);
    if (error) {
        storage_failed(operation, &server, operation->source_taken || operation->command != operation->wanted,
                       error);
        return;
    }
    if (operation->command->unpack && !operation->command->unpack(operation, body, size, &bad))
        error = &bad;
    if (operation->server && !error) {
        operation->server->known = true;
        operation->server->address = server;
    }
    client_operation_finish(operation, error);
}

static void storage_call(struct client_operation *operation)
{
    struct client *client = operation->client;
    const struct client_command *command = operation->command;
    struct address_list servers = {0};
    struct packet_call_options options;
    struct error error;

    if (!client_operation_pack(operation, &options))
        return;
    options.addresses = &servers;
    options.again = storage_again;
    options.done = storage_done;
    request_id_put(operation->body, command->body_size, &operation->request);
    if (command->options)
        command->options(operation, &options);
    if (servers_left(operation, &servers)) {
        operation->call = packet_call_start(client->pool, &options, &error);
        address_list_clear(&servers);
    } else {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a storage server");
    }
    if (!operation->call)
        client_operation_finish(operation, &error);
    else
        client_stall_watch(operation, storage_stalled);
}
