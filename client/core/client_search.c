/*
 * client_search: a question to the trackers about where a user or a group is, and the operations that wait for its answer.
 * Those that want to know the same of a user at the same time wait for one question. What comes of it is handed out to a few in each
 * turn of the loop, since each of them asks a storage server next. Declared in client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

#define TURN_MAX 4 /* operations that go on in one turn of the loop */

enum search_kind { SEARCH_USER, SEARCH_NEW_USER, SEARCH_GROUP };

struct client_search {
    struct lru_node node; /* of client->searches, while others may join */
    struct client *client;
    struct loop *loop;
    enum search_kind kind;
    struct proto_file_key key;
    char group[PROTO_GROUP_SIZE];
    struct request_id request; /* of who asked first */
    struct packet_call *call;
    bool plain; /* SADDRS instead of LOCATE, because the trackers are legacy ones */
    bool listed;
    bool overtaken; /* a newer question knows better what to remember */
    bool ended;     /* what is below it holds, and the task answers whoever still waits */
    struct task task;
    struct client_location location;
    struct error error; /* ERROR_NONE: it was found */
    struct wait_list waits;
    size_t name_size;
    char name[CLIENT_USER_KEY_MAX + 1];
};

static void search_ask(struct client_search *search, struct error *error);

/* ---- the table ---- */

static size_t search_name(const struct client_operation *operation, char name[CLIENT_USER_KEY_MAX + 1])
{
    name[0] = operation->create ? 'c' : 'l';
    return 1 + client_user_key(&operation->key, name + 1);
}

static struct client_search *search_find(struct client *client, const struct lru_key *name)
{
    struct lru_node *node = lru_find(&client->searches, name);

    return node ? CONTAINER_OF(node, struct client_search, node) : NULL;
}

static void search_unlist(struct client_search *search)
{
    if (search->listed)
        lru_remove(&search->client->searches, &search->node);
    search->listed = false;
}

/* The next ones join SEARCH, in place of an older one. Without memory nobody joins it. */
static void search_list(struct client_search *search)
{
    const struct lru_key name = lru_key_make(search->client->search_seed, search->name, search->name_size);
    struct client_search *before = search_find(search->client, &name);

    if (before) {
        search_unlist(before);
        before->overtaken = true;
    }
    search->listed = lru_add(&search->client->searches, &search->node, &name);
}

/* ---- the end ---- */

static void search_waited(struct wait *wait, enum wait_end end)
{
    struct client_operation *operation = CONTAINER_OF(wait, struct client_operation, wait);
    const struct client_search *search = operation->search;

    (void)end;
    operation->leave = NULL;
    if (search->error.code == ERROR_NONE)
        operation->searched(operation, &search->location, NULL);
    else
        operation->searched(operation, NULL, &search->error);
}

/* A callback may begin and cancel other operations, or destroy the client. */
static void search_hand_out(struct task *task)
{
    struct client_search *search = CONTAINER_OF(task, struct client_search, task);
    struct wait *wait;

    for (int i = 0; i < TURN_MAX && (wait = wait_list_take(&search->waits)); i++)
        wait_answer(wait);
    if (search->waits.count > 0)
        loop_post(search->loop, task);
    else
        free(search);
}

/* ERROR NULL: the location is there. */
static void search_end(struct client_search *search, const struct error *error)
{
    search->error.code = ERROR_NONE;
    if (error)
        search->error = *error;
    else if (search->kind != SEARCH_GROUP && !search->overtaken)
        client_location_keep(search->client, &search->key, &search->location);
    search_unlist(search);
    search->ended = true;
    loop_post(search->loop, &search->task);
}

/* ---- asking ---- */

/* Whether SADDRS may get an answer where LOCATE got ERROR: a tracker that knows the base commands only was
 * left out. */
static bool plain_may_help(const struct client_search *search, const struct error *error)
{
    const struct address_list *trackers = name_list_addresses(search->client->trackers);

    if (search->kind != SEARCH_USER || search->plain)
        return false;
    if (client_error_is_legacy(error))
        return true;
    for (size_t i = 0; i < trackers->count; i++)
        if (client_error_is_away(error) && client_is_legacy(search->client, &trackers->items[i]))
            return true;
    return false;
}

static bool search_again(void *argument, const struct error *error)
{
    const struct client_search *search = argument;

    if (search->kind == SEARCH_USER && !search->plain && client_error_is_legacy(error)) {
        client_remember_legacy(search->client, packet_call_address(search->call));
        return true;
    }
    return client_tracker_again(NULL, error);
}

static void search_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_search *search = argument;
    char group[PROTO_GROUP_SIZE], addresses[PROTO_SADDRS_MAX];
    struct error bad;

    search->call = NULL;
    client_note_trackers(search->client, error);
    if (error && plain_may_help(search, error)) {
        search->plain = true;
        search_ask(search, &bad);
        if (!search->call)
            search_end(search, &bad);
        return;
    }
    if (!error && (!proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), &bad) ||
                   !client_location_parse(group, addresses, &search->location, &bad)))
        error = &bad;
    search_end(search, error);
}

/* The trackers for this question: for LOCATE those that are not known to be legacy ones. */
static bool search_trackers(struct client_search *search, struct address_list *list)
{
    struct address_list all;
    bool fine = true;

    if (!client_tracker_order(search->client, &all))
        return false;
    *list = (struct address_list){0};
    if (search->kind == SEARCH_USER && !search->plain) {
        for (size_t i = 0; fine && i < all.count; i++)
            if (!client_is_legacy(search->client, &all.items[i]))
                fine = address_list_append(list, &all.items[i]);
        search->plain = list->count == 0;
    }
    if (fine && list->count == 0) {
        *list = all;
        return true;
    }
    address_list_clear(&all);
    if (!fine)
        address_list_clear(list);
    return fine;
}

/* The command, and its body in BODY. False: ERROR. */
static bool search_pack(const struct client_search *search, uint8_t body[PROTO_FILE_KEY_SIZE],
                        struct packet_call_options *options, struct error *error)
{
    struct proto_file_key key = search->key;
    bool packed;

    options->body = body;
    options->body_size = PROTO_FILE_KEY_SIZE;
    if (search->kind == SEARCH_GROUP) {
        options->command = PROTO_TRACKER_SERVERS;
        options->body_size = PROTO_GROUP_SIZE;
        packed = proto_group_name_pack(body, search->group, error);
    } else if (search->kind == SEARCH_NEW_USER || search->plain) {
        options->command = PROTO_TRACKER_SADDRS;
        if (key.file[0] == '\0')
            key.file[0] = '0'; /* SADDRS wants a file ID, though no answer depends on it */
        packed = proto_file_key_pack(body, &key, error);
    } else {
        options->command = PROTO_TRACKER_LOCATE;
        packed = proto_user_key_pack(body, &key, error);
    }
    if (!packed)
        return error_of_argument(error);
    if (search->kind != SEARCH_GROUP)
        request_id_put(body, PROTO_FILE_KEY_SIZE, &search->request);
    return true;
}

/* Sets `call`; NULL: ERROR says why there is none. */
static void search_ask(struct client_search *search, struct error *error)
{
    const struct client_options *settings = &search->client->options;
    uint8_t body[PROTO_FILE_KEY_SIZE] = {0};
    struct address_list trackers = {0};
    struct packet_call_options options = {
        .addresses = &trackers,
        .reply_max = PROTO_SADDRS_MAX,
        .timeout_ms = settings->call_timeout_ms,
        .progress_ms = settings->call_timeout_ms,
        .hedge_ms = settings->hedge_ms,
        .again = search_again,
        .done = search_done,
        .argument = search,
    };

    if (!search_trackers(search, &trackers)) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory to ask a tracker");
        return;
    }
    /* Only now, since the order of the trackers says whether they know LOCATE. */
    if (search_pack(search, body, &options, error))
        search->call = packet_call_start(search->client->pool, &options, error);
    address_list_clear(&trackers);
}

/* ---- the way in, and out ---- */

/* A question that nobody waits for ends. */
static void search_leave(struct client_operation *operation)
{
    struct client_search *search = operation->search;

    operation->leave = NULL;
    ASSERT(wait_leave(&operation->wait));
    if (search->ended || search->waits.count > 0)
        return;
    packet_call_cancel(search->call);
    search_unlist(search);
    free(search);
}

static void search_join(struct client_search *search, struct client_operation *operation)
{
    operation->search = search;
    operation->leave = search_leave;
    operation->wait.loop = search->loop;
    operation->wait.done = search_waited;
    ASSERT(wait_enter(&search->waits, &operation->wait, 0)); /* without a timer it cannot fail */
}

static struct client_search *search_create(const struct client_operation *operation, const char *group)
{
    struct client_search *search = calloc(1, sizeof(*search));

    if (!search)
        return NULL;
    search->client = operation->client;
    search->loop = operation->client->loop;
    search->kind = group[0] != '\0' ? SEARCH_GROUP : operation->create ? SEARCH_NEW_USER : SEARCH_USER;
    search->key = operation->key;
    memcpy(search->group, group, sizeof(search->group));
    search->request = operation->request;
    search->task.run = search_hand_out;
    search->name_size = search_name(operation, search->name);
    wait_list_init(&search->waits, NULL, NULL);
    return search;
}

void client_search_begin(struct client_operation *operation, const char group[PROTO_GROUP_SIZE],
                         client_searched_callback searched)
{
    struct client *client = operation->client;
    char name[CLIENT_USER_KEY_MAX + 1];
    const struct lru_key key = lru_key_make(client->search_seed, name, search_name(operation, name));
    struct client_search *search = NULL;
    struct error error;

    operation->searched = searched;
    if (group[0] == '\0' && !operation->fresh)
        search = search_find(client, &key);
    if (!search) {
        search = search_create(operation, group);
        if (search)
            search_ask(search, &error);
        else
            (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a tracker");
        if (!search || !search->call) {
            free(search);
            operation->located(operation, &error);
            return;
        }
        if (group[0] == '\0')
            search_list(search);
    }
    search_join(search, operation);
}
