/*
 * command_admin: `reel admin`: the groups, for who runs the trackers. Part of the `reel` command
 * (command_internal.h), built on reel.h.
 */
#include "client/command/command_internal.h"

#include <stdlib.h>
#include <string.h>

#define WEIGHT_DEFAULT 100
#define WEIGHT_MAX     1000000

static int usage(const char *text, const char *what)
{
    fprintf(stderr,
            "reel: admin group: %s%s; list, add GROUP [WEIGHT], drain GROUP, open GROUP or weight GROUP "
            "WEIGHT expected\n",
            text, what);
    return COMMAND_USAGE;
}

static json_int_t free_bytes(const json_t *group)
{
    json_int_t most = -1;
    size_t i;
    json_t *server;

    /* The members of a group share one volume: what one of them says holds for all. */
    json_array_foreach(json_object_get(group, "storages"), i, server)
    {
        const json_t *bytes = json_object_get(json_object_get(server, "load"), "free");
        if (json_is_integer(bytes) && json_integer_value(bytes) > most)
            most = json_integer_value(bytes);
    }
    return most;
}

static int list_groups(struct command *command)
{
    struct reel_error error;
    char *text = reel_status(command->reel, &error), name[64];
    json_t *status, *group;
    size_t i;

    if (text == NULL)
        return command_failed(command, "admin group list", &error);
    status = json_loads(text, 0, NULL);
    reel_free(text);
    if (!json_is_array(json_object_get(status, "groups"))) {
        json_decref(status);
        fputs("reel: admin group list: the tracker's status names no groups\n", stderr);
        return COMMAND_FAILED;
    }
    if (command->options.json)
        return command_print_json(status);
    printf("%-16s %-9s %8s %8s %8s %12s\n", "GROUP", "STATE", "WEIGHT", "ACTIVE", "SERVERS", "FREE MiB");
    json_array_foreach(json_object_get(status, "groups"), i, group)
    {
        const char *called = json_string_value(json_object_get(group, "name"));
        const char *state = json_string_value(json_object_get(group, "state"));
        json_int_t bytes = free_bytes(group);
        printf("%-16s %-9s %8lld %8lld %8zu ", command_printable(called ? called : "?", name, sizeof(name)),
               state ? state : "?", (long long)json_integer_value(json_object_get(group, "weight")),
               (long long)json_integer_value(json_object_get(group, "active")),
               json_array_size(json_object_get(group, "storages")));
        if (bytes < 0)
            printf("%12s\n", "unknown");
        else
            printf("%12lld\n", (long long)(bytes >> 20));
    }
    json_decref(status);
    return COMMAND_OK;
}

static bool parse_weight(const char *text, int *weight)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value > WEIGHT_MAX)
        return false;
    *weight = (int)value;
    return true;
}

int command_admin(struct command *command)
{
    static const struct {
        const char *name;
        enum reel_group_change change;
        int minimum, maximum; /* arguments after the name */
    } changes[] = {
        {"add", REEL_GROUP_ADD, 1, 2},
        {"drain", REEL_GROUP_DRAIN, 1, 1},
        {"open", REEL_GROUP_OPEN, 1, 1},
        {"weight", REEL_GROUP_WEIGHT, 2, 2},
    };
    char **arguments = command->arguments;
    int count = command->count - 2, weight = 0;
    struct reel_error error;

    if (strcmp(arguments[0], "group") != 0) {
        fprintf(stderr, "reel: admin takes \"group\" and what to do with it, not \"%s\"\n", arguments[0]);
        return COMMAND_USAGE;
    }
    if (strcmp(arguments[1], "list") == 0)
        return count == 0 ? list_groups(command) : usage("list takes no arguments", "");
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        if (strcmp(arguments[1], changes[i].name) != 0)
            continue;
        if (count < changes[i].minimum || count > changes[i].maximum)
            return usage("wrong number of arguments for ", arguments[1]);
        if (changes[i].change == REEL_GROUP_ADD)
            weight = WEIGHT_DEFAULT;
        if (count == 2 && !parse_weight(arguments[3], &weight))
            return usage("a weight is a number from 0 to 1000000, not ", arguments[3]);
        if (!reel_change_group(command->reel, arguments[2], changes[i].change, weight, &error))
            return command_failed(command, arguments[2], &error);
        return COMMAND_OK;
    }
    return usage("there is no ", arguments[1]);
}
