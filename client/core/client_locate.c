/*
 * client_locate: where a user's files are: the cache, LOCATE or SADDRS of a tracker, and an older answer
 * while every tracker is away. Declared in client.h and client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_KEY_MAX (PROTO_APPLICATION_SIZE + PROTO_USER_SIZE)

/* ---- the cache ---- */

static size_t locate_cache_key(const struct proto_file_key *key, char buffer[CACHE_KEY_MAX])
{
    size_t application = strnlen(key->application, PROTO_APPLICATION_SIZE - 1);
    size_t user = strnlen(key->user, PROTO_USER_SIZE - 1);

    memcpy(buffer, key->application, application);
    buffer[application] = '\0'; /* so that no two pairs make one key */
    memcpy(buffer + application + 1, key->user, user);
    return application + 1 + user;
}

static bool location_parse(const char *group, const char *addresses, struct client_location *location,
                           struct error *error)
{
    struct address_list list;

    if (!address_list_parse(addresses, 0, &list, error))
        return false;
    if (list.count == 0)
        return error_set(error, ERROR_NO_SERVER, "group %s has no active storage server", group);
    memcpy(location->group, group, PROTO_GROUP_SIZE);
    location->count = min_size(list.count, CLIENT_SERVERS_MAX);
    memcpy(location->servers, list.items, location->count * sizeof(*list.items));
    address_list_clear(&list);
    return true;
}

/* The one group whose servers are asked, whoever the user is; else "". */
static const char *locate_only(const struct client_operation *operation)
{
    return operation->elsewhere[0] != '\0' ? operation->elsewhere : operation->client->options.group;
}

static void location_keep(struct client_operation *operation)
{
    const struct client_location *location = &operation->location;
    struct client_cached_location cached = {0};
    char key[CACHE_KEY_MAX], text[ADDRESS_TEXT_SIZE];
    size_t used = 0, size;

    memcpy(cached.group, location->group, sizeof(cached.group));
    for (size_t i = 0; i < location->count; i++) {
        size = strlen(address_format(&location->servers[i], text, sizeof(text)));
        if (used + size + 2 > sizeof(cached.addresses))
            break; /* the best ones are kept */
        memcpy(cached.addresses + used, text, size);
        cached.addresses[used + size] = ';';
        used += size + 1;
    }
    if (used == 0)
        return;
    size = locate_cache_key(&operation->key, key);
    cache_put(operation->client->locations, key, size, &cached);
    if (operation->client->options.shared)
        cache_put(operation->client->options.shared->locations, key, size, &cached);
}

static void location_forget(const struct client_operation *operation)
{
    char key[CACHE_KEY_MAX];
    size_t size = locate_cache_key(&operation->key, key);

    cache_remove(operation->client->locations, key, size);
    if (operation->client->options.shared)
        cache_remove(operation->client->options.shared->locations, key, size);
}

/* STALE: for want of a tracker, whatever its age; then what all clients know together counts alone, so that
 * they say the same. */
const struct client_location *client_location_recall(struct client *client, const struct proto_file_key *key,
                                                     bool stale)
{
    struct cache *cache =
        stale && client->options.shared ? client->options.shared->locations : client->locations;
    struct client_cached_location cached;
    char text[CACHE_KEY_MAX];
    size_t size = locate_cache_key(key, text);
    int64_t age;

    if (!(stale ? cache_get_stale(cache, text, size, &cached, &age) : cache_get(cache, text, size, &cached)))
        return NULL;
    /* A client talks about the same few groups again and again. */
    if (client->parsed.count == 0 || memcmp(&client->parsed_text, &cached, sizeof(cached)) != 0) {
        client->parsed.count = 0;
        if (!location_parse(cached.group, cached.addresses, &client->parsed, NULL))
            return NULL;
        client->parsed_text = cached;
    }
    return &client->parsed;
}

static bool location_recall(struct client_operation *operation, bool stale)
{
    const struct client_location *found = client_location_recall(operation->client, &operation->key, stale);

    if (!found)
        return false;
    memcpy(operation->location.group, found->group, sizeof(found->group));
    memcpy(operation->location.servers, found->servers, found->count * sizeof(found->servers[0]));
    operation->location.count = found->count;
    return true;
}

/* ---- asking ---- */

static void locate_ask(struct client_operation *operation);

static bool error_is_away(const struct error *error)
{
    return error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT ||
           error->code == ERROR_UNAVAILABLE;
}

/* Whether SADDRS may get an answer where LOCATE got ERROR: a tracker that knows the base commands only was
 * left out. */
static bool plain_may_help(struct client_operation *operation, const struct error *error)
{
    const struct address_list *trackers = name_list_addresses(operation->client->trackers);

    if (operation->create || operation->plain_locate)
        return false;
    if (client_error_is_legacy(error))
        return true;
    for (size_t i = 0; i < trackers->count; i++)
        if (error_is_away(error) && client_is_legacy(operation->client, &trackers->items[i]))
            return true;
    return false;
}

static void locate_failed(struct client_operation *operation, const struct error *error)
{
    if (operation->elsewhere[0] != '\0') { /* what is remembered is where the user's other files are */
        operation->located(operation, error);
        return;
    }
    if (error_is_away(error) && location_recall(operation, true)) {
        log_debug("client", "an older location is used: %s", error->text);
        operation->located(operation, NULL);
        return;
    }
    if (error->code == ERROR_NO_SERVER || error->code == ERROR_NOT_FOUND)
        location_forget(operation);
    operation->located(operation, error);
}

static void locate_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_operation *operation = argument;
    char group[PROTO_GROUP_SIZE], addresses[PROTO_SADDRS_MAX];
    struct error bad;

    operation->question = NULL;
    client_note_trackers(operation->client, error);
    if (error && plain_may_help(operation, error)) {
        operation->plain_locate = true;
        locate_ask(operation);
        return;
    }
    if (error) {
        locate_failed(operation, error);
        return;
    }
    if (!proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), &bad) ||
        !location_parse(group, addresses, &operation->location, &bad)) {
        locate_failed(operation, &bad);
        return;
    }
    if (operation->elsewhere[0] == '\0')
        location_keep(operation);
    operation->located(operation, NULL);
}

/* The trackers for this question: for LOCATE those that are not known to be legacy ones. */
static bool locate_trackers(struct client_operation *operation, struct address_list *list)
{
    struct address_list all;
    bool fine = true;

    if (!client_tracker_order(operation->client, &all))
        return false;
    *list = (struct address_list){0};
    if (!operation->create && !operation->plain_locate) {
        for (size_t i = 0; fine && i < all.count; i++)
            if (!client_is_legacy(operation->client, &all.items[i]))
                fine = address_list_append(list, &all.items[i]);
        operation->plain_locate = list->count == 0;
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

/* A question to TRACKERS about where a user or group is. */
static struct packet_call_options locate_question(struct client_operation *operation,
                                                  const struct address_list *trackers, uint8_t command,
                                                  const uint8_t *body, size_t size)
{
    const struct client_options *options = &operation->client->options;

    return (struct packet_call_options){
        .addresses = trackers,
        .command = command,
        .body = body,
        .body_size = size,
        .reply_max = PROTO_SADDRS_MAX,
        .timeout_ms = options->call_timeout_ms,
        .progress_ms = options->call_timeout_ms,
        .hedge_ms = options->hedge_ms,
        .again = client_tracker_again,
        .done = locate_done,
        .argument = operation,
    };
}

static void locate_ask(struct client_operation *operation)
{
    struct client *client = operation->client;
    uint8_t body[PROTO_FILE_KEY_SIZE] = {0};
    struct address_list trackers = {0};
    struct proto_file_key key = operation->key;
    struct error error;
    bool packed;

    if (!locate_trackers(operation, &trackers)) {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a tracker");
        operation->located(operation, &error);
        return;
    }
    /* Only now, since the order of the trackers says whether they know LOCATE. */
    bool saddrs = operation->create || operation->plain_locate;
    struct packet_call_options options = locate_question(
        operation, &trackers, saddrs ? PROTO_TRACKER_SADDRS : PROTO_TRACKER_LOCATE, body, sizeof(body));
    if (saddrs && key.file[0] == '\0')
        key.file[0] = '0'; /* SADDRS wants a file ID, though no answer depends on it */
    packed = saddrs ? proto_file_key_pack(body, &key, &error) : proto_user_key_pack(body, &key, &error);
    request_id_put(body, packed ? sizeof(body) : 0, &operation->request);
    if (packed)
        operation->question = packet_call_start(client->pool, &options, &error);
    else
        (void)error_of_argument(&error);
    address_list_clear(&trackers);
    if (!operation->question)
        operation->located(operation, &error);
}

/* The servers of the operation's or the client's own group, whoever the user is. */
static void locate_group(struct client_operation *operation)
{
    struct client *client = operation->client;
    uint8_t body[PROTO_GROUP_SIZE] = {0};
    struct address_list trackers = {0};
    struct packet_call_options options =
        locate_question(operation, &trackers, PROTO_TRACKER_SERVERS, body, sizeof(body));
    struct error error;

    if (!client_tracker_order(client, &trackers))
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory to ask a tracker");
    else if (proto_group_name_pack(body, locate_only(operation), &error))
        operation->question = packet_call_start(client->pool, &options, &error);
    address_list_clear(&trackers);
    if (!operation->question)
        operation->located(operation, &error);
}

void client_locate_begin(struct client_operation *operation)
{
    client_operation_set_step(operation, CLIENT_LOCATING);
    if (locate_only(operation)[0] != '\0') {
        /* Any user will do as the key of the cache: all have the same servers. */
        operation->plain_locate = true;
        if (!operation->fresh && location_recall(operation, false))
            operation->located(operation, NULL);
        else
            locate_group(operation);
        return;
    }
    operation->plain_locate = false;
    if (!operation->fresh && location_recall(operation, false))
        operation->located(operation, NULL);
    else
        locate_ask(operation);
}
