/*
 * command_groups: the trackers' status as JSON, which several commands look at, and what the members of a group say together.
 */
#include "client/command/command_internal.h"

json_t *command_get_status(struct command *command, int *result)
{
    struct reel_error error;
    char *text = reel_status(command->reel, &error);
    json_t *status;

    if (!text) {
        *result = command_failed(command, command->verb->name, &error);
        return NULL;
    }
    status = json_loads(text, 0, NULL);
    reel_free(text);
    if (json_is_array(json_object_get(status, "groups")))
        return status;
    json_decref(status);
    error = (struct reel_error){.code = REEL_E_GENERAL, .text = "the tracker's status names no groups"};
    *result = command_failed(command, command->verb->name, &error);
    return NULL;
}

/* The members of a group share one volume: what one of them says holds for all; the most counts. */
int64_t command_group_bytes(const json_t *group, const char *name)
{
    int64_t most = -1;
    json_t *server;
    size_t i;

    json_array_foreach(json_object_get(group, "storages"), i, server)
    {
        const json_t *bytes = json_object_get(json_object_get(server, "load"), name);

        if (json_is_integer(bytes) && (int64_t)json_integer_value(bytes) > most)
            most = (int64_t)json_integer_value(bytes);
    }
    return most;
}
