/*
 * client: a client's life, the life of its operations, and what they know of servers: which is a legacy one,
 * which of the trackers is next; and the commands that go to a tracker for their own sake.
 */
#include "client/core/client_internal.h"

#include "common/auth/keys.h"

#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/proto/proto_session.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS    30000
#define PENALTY_MS 10000

#define SHARED_SHARDS 16

/* ---- life ---- */

static int64_t or_default(int64_t value, int64_t default_value)
{
    return value > 0 ? value : default_value;
}

static void client_free(struct client *client)
{
    packet_pool_destroy(client->pool);
    cache_destroy(client->locations);
    cache_destroy(client->legacy);
    name_list_destroy(client->trackers);
    free(client);
}

struct client *client_create(struct loop *loop, const struct client_options *options, struct error *error)
{
    struct client *client = calloc(1, sizeof(*client));
    struct packet_pool_options pool = {.resolver = options->resolver, .auth = options->auth};
    struct name_list_options names = {.loop = loop, .resolver = options->resolver};

    if (!client)
        goto no_memory;
    client->loop = loop;
    client->options = *options;
    client->options.trackers = (struct address_list){0};
    client->options.connect_timeout_ms = or_default(options->connect_timeout_ms, 1000);
    client->options.call_timeout_ms = or_default(options->call_timeout_ms, 10000);
    client->options.progress_timeout_ms = or_default(options->progress_timeout_ms, 30000);
    client->options.hedge_ms = options->hedge_ms < 0 ? 0 : or_default(options->hedge_ms, 300);
    client->options.location_age_ms = or_default(options->location_age_ms, 5000);
    if (options->connections_per_server_max == 0)
        client->options.connections_per_server_max = 256;
    if (options->location_entries_max == 0)
        client->options.location_entries_max = 10000;
    TAILQ_INIT(&client->operations);
    lru_init(&client->searches);
    client->search_seed = lru_seed();
    client->trackers_reachable = true;
    client->next_tracker = arc4random(); /* spreads the load */

    if (options->trackers.count == 0) {
        (void)error_set(error, ERROR_MALFORMED, "no tracker is given");
        goto fail;
    }
    names.addresses = &options->trackers;
    client->trackers = name_list_create(&names, error);
    if (!client->trackers)
        goto fail;
    client->locations = cache_create(client->options.location_entries_max, client->options.location_age_ms,
                                     sizeof(struct client_cached_location), 1);
    client->legacy = cache_create(CLIENT_LEGACY_MAX, CLIENT_LEGACY_AGE_MS, 1, 1);
    if (!client->locations || !client->legacy)
        goto no_memory;
    pool.tls = client->options.tls;
    pool.connect_timeout_ms = client->options.connect_timeout_ms;
    pool.idle_timeout_ms = IDLE_MS;
    pool.idle_max = client->options.connections_per_server_max;
    pool.open_max = client->options.connections_per_server_max;
    pool.address_penalty_ms = PENALTY_MS;
    client->pool = packet_pool_create(loop, &pool, error);
    if (!client->pool)
        goto fail;
    return client;
no_memory:
    (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a client");
fail:
    if (client)
        client_free(client);
    return NULL;
}

void client_destroy(struct client *client)
{
    if (!client)
        return;
    while (!TAILQ_EMPTY(&client->operations))
        client_cancel(TAILQ_FIRST(&client->operations));
    client_free(client);
}

bool client_trackers_reachable(const struct client *client)
{
    struct client_shared *shared = client->options.shared;

    return shared ? atomic_load_explicit(&shared->trackers_reachable, memory_order_relaxed)
                  : client->trackers_reachable;
}

struct client_shared *client_shared_create(size_t location_entries_max)
{
    struct client_shared *shared = calloc(1, sizeof(*shared));

    if (!shared)
        return NULL;
    atomic_init(&shared->trackers_reachable, true);
    shared->locations =
        cache_create(location_entries_max, 0, sizeof(struct client_cached_location), SHARED_SHARDS);
    if (!shared->locations) {
        free(shared);
        return NULL;
    }
    return shared;
}

void client_shared_destroy(struct client_shared *shared)
{
    if (!shared)
        return;
    cache_destroy(shared->locations);
    free(shared);
}

/* ---- operations ---- */

void client_operation_set_step(struct client_operation *operation, enum client_step step)
{
    ASSERT(operation->step != CLIENT_ENDED);
    operation->step = step;
}

static void operation_kick(evutil_socket_t fd, short what, void *argument)
{
    struct client_operation *operation = argument;

    (void)fd;
    (void)what;
    operation->kicked(operation);
}

struct client_operation *client_operation_create(struct client *client, const struct client_command *command,
                                                 const struct proto_file_key *key,
                                                 void (*kicked)(struct client_operation *operation),
                                                 void *argument)
{
    struct client_operation *operation = malloc(sizeof(*operation));

    if (!operation)
        return NULL;
    memset(operation, 0, offsetof(struct client_operation, location));
    operation->location.count = 0;
    operation->client = client;
    operation->wanted = operation->command = command;
    operation->argument = argument;
    operation->kicked = kicked;
    operation->tries_left = CLIENT_TRIES;
    operation->rounds_max = 2;
    if (key)
        operation->key = *key;
    if (evtimer_assign(&operation->kick, loop_base(client->loop), operation_kick, operation) != 0) {
        free(operation);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&client->operations, operation, link);
    event_active(&operation->kick, EV_TIMEOUT, 0);
    return operation;
}

void client_operation_pause(struct client_operation *operation, int64_t delay_ms,
                            void (*kicked)(struct client_operation *operation))
{
    const struct timeval delay = duration_timeval(delay_ms);

    client_operation_set_step(operation, CLIENT_PAUSING);
    operation->kicked = kicked;
    if (event_add(&operation->kick, &delay) != 0) /* without a timer there is no pause */
        event_active(&operation->kick, EV_TIMEOUT, 0);
}

static void operation_end(struct client_operation *operation)
{
    client_operation_set_step(operation, CLIENT_ENDED);
    client_stall_end(operation);
    event_del(&operation->kick);
    TAILQ_REMOVE(&operation->client->operations, operation, link);
}

static void operation_free(struct client_operation *operation)
{
    free(operation->owned);
    free(operation);
}

void client_operation_finish(struct client_operation *operation, const struct error *error)
{
    struct error copy;

    if (error) {
        copy = *error; /* it may lie in the operation */
        error = &copy;
    }
    operation_end(operation);
    operation->command->report(operation, error);
    operation_free(operation);
}

bool client_operation_pack(struct client_operation *operation, struct packet_call_options *options)
{
    const struct client_command *command = operation->command;
    struct error error;

    client_operation_set_step(operation, CLIENT_CALLING);
    *options = (struct packet_call_options){
        .command = command->number,
        .body = operation->body,
        .body_size = command->body_size,
        .reply_max = command->reply_max,
        .timeout_ms = operation->client->options.call_timeout_ms,
        .progress_ms = operation->client->options.progress_timeout_ms,
        .argument = operation,
    };
    if (!command->pack || command->pack(operation, operation->body, &error))
        return true;
    (void)error_of_argument(&error);
    client_operation_finish(operation, &error);
    return false;
}

void client_cancel(struct client_operation *operation)
{
    if (operation->step == CLIENT_ENDED) /* from inside its own callback: it ends anyway */
        return;
    if (operation->call)
        packet_call_cancel(operation->call);
    if (operation->question)
        packet_call_cancel(operation->question);
    if (operation->leave)
        operation->leave(operation);
    operation_end(operation);
    operation_free(operation);
}

void client_name_request(struct client_operation *operation, const struct request_id *id)
{
    if (operation)
        operation->request = *id;
}

void client_watch(struct client_operation *operation, client_remark_callback remark, void *argument)
{
    operation->remark = remark;
    operation->remark_argument = argument;
}

void client_prefer(struct client_operation *operation, struct client_server *server)
{
    operation->server = server;
}

void client_operation_remark(const struct client_operation *operation, const struct error *error,
                             const char *next)
{
    char text[ERROR_TEXT_SIZE + 64];

    if (!operation->remark)
        return;
    (void)snprintf(text, sizeof(text), "%s; %s", error->text, next);
    operation->remark(operation->remark_argument, text);
}

/* ---- legacy servers ---- */

void client_remember_legacy(struct client *client, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE], nothing = 0;

    address_format(address, text, sizeof(text));
    cache_put(client->legacy, text, strlen(text), &nothing);
    log_debug("client", "%s knows the base commands only", text);
}

bool client_is_legacy(struct client *client, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE], nothing;

    address_format(address, text, sizeof(text));
    return cache_get(client->legacy, text, strlen(text), &nothing);
}

bool client_error_is_legacy(const struct error *error)
{
    return error->code == ERROR_UNKNOWN_COMMAND || error->code == ERROR_GENERAL;
}

bool client_error_is_away(const struct error *error)
{
    return error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT ||
           error->code == ERROR_UNAVAILABLE;
}

/* ---- trackers ---- */

bool client_tracker_order(struct client *client, struct address_list *list)
{
    const struct address_list *trackers = name_list_addresses(client->trackers);
    size_t count = trackers->count;

    *list = (struct address_list){0};
    client->next_tracker++;
    for (size_t i = 0; i < count; i++) {
        if (!address_list_append(list, &trackers->items[(client->next_tracker + i) % count])) {
            address_list_clear(list);
            return false;
        }
    }
    return true;
}

void client_note_trackers(struct client *client, const struct error *error)
{
    bool reachable = !error || (error->code != ERROR_CONNECTION && error->code != ERROR_TIMEOUT);
    struct client_shared *shared = client->options.shared;
    bool before = shared
                      ? atomic_exchange_explicit(&shared->trackers_reachable, reachable, memory_order_relaxed)
                      : client->trackers_reachable;

    if (reachable != before) {
        if (reachable)
            log_info("client", "a tracker answers again");
        else
            log_warning("client", "no tracker answers: %s", error->text);
    }
    client->trackers_reachable = reachable;
}

bool client_tracker_again(void *argument, const struct error *error)
{
    (void)argument;
    switch (error->code) {
    case ERROR_GENERAL: /* all that a legacy tracker says: its database may be away */
    case ERROR_UNAVAILABLE:
    case ERROR_THROTTLED:
    case ERROR_NO_SERVER:
    case ERROR_IO:
    case ERROR_TIMEOUT:
        return true;
    default:
        return false;
    }
}

/* ---- what commands share ---- */

bool client_unpack_text(struct client_operation *operation, const uint8_t *body, size_t size,
                        struct error *error)
{
    char *text;

    while (size > 0 && body[size - 1] == '\0') /* the text's own NUL */
        size--;
    text = operation->owned = malloc(size + 1);
    if (!text)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a text of %zu bytes", size);
    for (size_t i = 0; i < size; i++)
        text[i] = body[i] == '\0' ? ' ' : (char)body[i];
    text[size] = '\0';
    operation->result.text.bytes = text;
    operation->result.text.size = size;
    return true;
}

bool client_unpack_bytes(struct client_operation *operation, const uint8_t *body, size_t size,
                         struct error *error)
{
    char *bytes = operation->owned = malloc(size + 1);

    if (!bytes)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for %zu bytes", size);
    if (size > 0)
        memcpy(bytes, body, size);
    bytes[size] = '\0';
    operation->result.text.bytes = bytes;
    operation->result.text.size = size;
    return true;
}

void client_report_text(struct client_operation *operation, const struct error *error)
{
    if (error)
        operation->callback.text(operation->argument, NULL, 0, error);
    else
        operation->callback.text(operation->argument, operation->result.text.bytes,
                                 operation->result.text.size, NULL);
}

void client_report_done(struct client_operation *operation, const struct error *error)
{
    operation->callback.done(operation->argument, error);
}

/* ---- GROUPS, STATUS, GROUP ---- */

static bool pack_group(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_group_pack(body, &operation->group, error);
}

static const struct client_command groups_command = {
    .number = PROTO_TRACKER_GROUPS,
    .reply_max = CLIENT_TEXT_MAX,
    .unpack = client_unpack_text,
    .report = client_report_text,
};

static const struct client_command status_command = {
    .number = PROTO_TRACKER_STATUS,
    .reply_max = CLIENT_TEXT_MAX,
    .unpack = client_unpack_text,
    .report = client_report_text,
};

static const struct client_command group_command = {
    .number = PROTO_TRACKER_GROUP,
    .body_size = PROTO_GROUP_CHANGE_SIZE,
    .reply_max = CLIENT_TEXT_MAX,
    .pack = pack_group,
    .unpack = client_unpack_text,
    .report = client_report_text,
};

static bool pack_users(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_users_pack(body, &operation->moving.users, error);
}

static bool pack_reroute(const struct client_operation *operation, uint8_t *body, struct error *error)
{
    return proto_reroute_pack(body, &operation->moving.reroute, error);
}

static const struct client_command users_command = {
    .number = PROTO_TRACKER_USERS,
    .body_size = PROTO_USERS_SIZE,
    .reply_max = PROTO_USERS_LIMIT_MAX * PROTO_USERS_ENTRY_SIZE,
    .pack = pack_users,
    .unpack = client_unpack_bytes,
    .report = client_report_text,
};

static const struct client_command reroute_command = {
    .number = PROTO_TRACKER_REROUTE,
    .body_size = PROTO_REROUTE_SIZE,
    .reply_max = PROTO_GROUP_SIZE,
    .pack = pack_reroute,
    .unpack = client_unpack_bytes,
    .report = client_report_text,
    .change = true,
};

/* As a JSON object. */
static bool unpack_whoami(struct client_operation *operation, const uint8_t *body, size_t size,
                          struct error *error)
{
    struct proto_whoami_reply who;
    char rights[8], text[160];
    int length;

    if (!proto_whoami_reply_unpack(body, size, &who, error))
        return false;
    length = snprintf(text, sizeof(text), "{\"role\":\"%s\",\"rights\":\"%s\",\"ends\":%lld,\"key\":\"%s\"}",
                      key_role_name((enum key_role)who.role),
                      key_rights_format((unsigned)who.rights & KEY_RIGHTS_ALL, rights), (long long)who.ends,
                      who.key);
    return client_unpack_text(operation, (const uint8_t *)text, (size_t)length, error);
}

static const struct client_command whoami_command = {
    .number = PROTO_SESSION_WHOAMI,
    .reply_max = PROTO_WHOAMI_REPLY_SIZE,
    .unpack = unpack_whoami,
    .report = client_report_text,
};

static void tracker_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_operation *operation = argument;
    struct error bad;

    operation->question = NULL;
    client_note_trackers(operation->client, error);
    if (!error && !operation->command->unpack(operation, body, size, &bad))
        error = &bad;
    client_operation_finish(operation, error);
}

static void tracker_kicked(struct client_operation *operation)
{
    struct client *client = operation->client;
    const struct client_command *command = operation->command;
    struct address_list trackers;
    struct packet_call_options options;
    struct error error;

    if (!client_operation_pack(operation, &options))
        return;
    options.addresses = &trackers;
    /* A change that a slow tracker does late could undo a later one. */
    options.hedge_ms = command == &group_command || command->change ? 0 : client->options.hedge_ms;
    options.again = client_tracker_again;
    options.done = tracker_done;
    if (client_tracker_order(client, &trackers)) {
        operation->question = packet_call_start(client->pool, &options, &error);
        address_list_clear(&trackers);
    } else {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a tracker");
    }
    if (!operation->question)
        client_operation_finish(operation, &error);
}

static struct client_operation *tracker_start(struct client *client, const struct client_command *command,
                                              client_text_callback callback, void *argument)
{
    struct client_operation *operation =
        client_operation_create(client, command, NULL, tracker_kicked, argument);

    if (operation)
        operation->callback.text = callback;
    return operation;
}

struct client_operation *client_groups(struct client *client, client_text_callback callback, void *argument)
{
    return tracker_start(client, &groups_command, callback, argument);
}

struct client_operation *client_status(struct client *client, client_text_callback callback, void *argument)
{
    return tracker_start(client, &status_command, callback, argument);
}

struct client_operation *client_whoami(struct client *client, client_text_callback callback, void *argument)
{
    return tracker_start(client, &whoami_command, callback, argument);
}

struct client_operation *client_group(struct client *client, const struct proto_group *change,
                                      client_text_callback callback, void *argument)
{
    struct client_operation *operation = tracker_start(client, &group_command, callback, argument);

    if (operation)
        operation->group = *change;
    return operation;
}

struct client_operation *client_users(struct client *client, const struct proto_users *users,
                                      client_text_callback callback, void *argument)
{
    struct client_operation *operation = tracker_start(client, &users_command, callback, argument);

    if (operation)
        operation->moving.users = *users;
    return operation;
}

struct client_operation *client_reroute(struct client *client, const struct proto_reroute *reroute,
                                        client_text_callback callback, void *argument)
{
    struct client_operation *operation = tracker_start(client, &reroute_command, callback, argument);

    if (operation)
        operation->moving.reroute = *reroute;
    return operation;
}
