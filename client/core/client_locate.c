/*
 * client_locate: where a user's files are: what is remembered (client_location), what a question to the trackers says (client_search),
 * and what was remembered long ago while every tracker is away. Declared in client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/log.h"

#include <string.h>

/* The one group whose servers are asked, whoever the user is; else "". */
static const char *locate_only(const struct client_operation *operation)
{
    return operation->elsewhere[0] != '\0' ? operation->elsewhere : operation->client->options.group;
}

/* The servers that there are: there is room for many more. */
static void location_take(struct client_operation *operation, const struct client_location *found)
{
    memcpy(operation->location.group, found->group, sizeof(found->group));
    memcpy(operation->location.servers, found->servers, found->count * sizeof(found->servers[0]));
    operation->location.count = found->count;
}

static bool location_recall(struct client_operation *operation, bool stale)
{
    const struct client_location *found = client_location_recall(operation->client, &operation->key, stale);

    if (!found)
        return false;
    location_take(operation, found);
    return true;
}

static void locate_failed(struct client_operation *operation, const struct error *error)
{
    if (operation->elsewhere[0] != '\0') { /* what is remembered is where the user's other files are */
        operation->located(operation, error);
        return;
    }
    if (client_error_is_away(error) && location_recall(operation, true)) {
        log_debug("client", "an older location is used: %s", error->text);
        operation->located(operation, NULL);
        return;
    }
    if (error->code == ERROR_NO_SERVER || error->code == ERROR_NOT_FOUND)
        client_location_forget(operation->client, &operation->key);
    operation->located(operation, error);
}

static void locate_searched(struct client_operation *operation, const struct client_location *found,
                            const struct error *error)
{
    if (error) {
        locate_failed(operation, error);
        return;
    }
    location_take(operation, found);
    /* Any user will do as the key of the cache: all have the same servers. */
    if (locate_only(operation)[0] != '\0' && operation->elsewhere[0] == '\0')
        client_location_keep(operation->client, &operation->key, found);
    operation->located(operation, NULL);
}

void client_locate_begin(struct client_operation *operation)
{
    client_operation_set_step(operation, CLIENT_LOCATING);
    if (!operation->fresh && location_recall(operation, false))
        operation->located(operation, NULL);
    else
        client_search_begin(operation, locate_only(operation), locate_searched);
}
