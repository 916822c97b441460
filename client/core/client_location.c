/*
 * client_location: what a client remembers of where users' files are, and what its process's clients remember together. Declared in
 * client_internal.h.
 */
#include "client/core/client_internal.h"

#include <string.h>

size_t client_user_key(const struct proto_file_key *key, char buffer[CLIENT_USER_KEY_MAX])
{
    size_t application = strnlen(key->application, PROTO_APPLICATION_SIZE - 1);
    size_t user = strnlen(key->user, PROTO_USER_SIZE - 1);

    memcpy(buffer, key->application, application);
    buffer[application] = '\0'; /* so that no two pairs make one key */
    memcpy(buffer + application + 1, key->user, user);
    return application + 1 + user;
}

bool client_location_parse(const char *group, const char *addresses, struct client_location *location,
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

void client_location_keep(struct client *client, const struct proto_file_key *user,
                          const struct client_location *location)
{
    struct client_cached_location cached = {0};
    char key[CLIENT_USER_KEY_MAX], text[ADDRESS_TEXT_SIZE];
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
    size = client_user_key(user, key);
    cache_put(client->locations, key, size, &cached);
    if (client->options.shared)
        cache_put(client->options.shared->locations, key, size, &cached);
}

void client_location_forget(struct client *client, const struct proto_file_key *user)
{
    char key[CLIENT_USER_KEY_MAX];
    size_t size = client_user_key(user, key);

    cache_remove(client->locations, key, size);
    if (client->options.shared)
        cache_remove(client->options.shared->locations, key, size);
}

/* STALE: for lack of a tracker, whatever its age; then what all clients know together counts alone, so that
 * they say the same. */
const struct client_location *client_location_recall(struct client *client, const struct proto_file_key *key,
                                                     bool stale)
{
    struct cache *cache =
        stale && client->options.shared ? client->options.shared->locations : client->locations;
    struct client_cached_location cached;
    char text[CLIENT_USER_KEY_MAX];
    size_t size = client_user_key(key, text);
    int64_t age;

    if (!(stale ? cache_get_stale(cache, text, size, &cached, &age) : cache_get(cache, text, size, &cached)))
        return NULL;
    /* A client talks about the same few groups again and again. */
    if (client->parsed.count == 0 || memcmp(&client->parsed_text, &cached, sizeof(cached)) != 0) {
        client->parsed.count = 0;
        if (!client_location_parse(cached.group, cached.addresses, &client->parsed, NULL))
            return NULL;
        client->parsed_text = cached;
    }
    return &client->parsed;
}
