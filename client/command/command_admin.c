/*
 * command_admin: `reel admin group`: lists the groups and changes them, for whoever runs the trackers. `reel admin quota` is
 * command_quota.c's.
 */
#include "client/command/command_internal.h"

#include <stdlib.h>
#include <string.h>

#define WEIGHT_DEFAULT 100
#define WEIGHT_MAX     1000000

static int admin_usage(const struct command *command, const char *text, const char *what)
{
    return command_usage(&command->options,
                         "admin group: %s%s; list, add GROUP [WEIGHT], drain GROUP [--empty], open GROUP, "
                         "weight GROUP WEIGHT, "
                         "remove GROUP or rebalance expected",
                         text, what);
}

static int admin_list_groups(struct command *command)
{
    int result = COMMAND_OK;
    json_t *status = command_get_status(command, &result), *group;
    char name[64], state[64];
    size_t i;

    if (!status)
        return result;
    if (command->options.json)
        return command_print_json(command, status);
    printf("%-16s %-9s %8s %8s %8s %12s\n", "GROUP", "STATE", "WEIGHT", "ACTIVE", "SERVERS", "FREE MiB");
    json_array_foreach(json_object_get(status, "groups"), i, group)
    {
        const char *called = json_string_value(json_object_get(group, "name"));
        const char *word = json_string_value(json_object_get(group, "state"));
        int64_t bytes = command_group_bytes(group, "free");

        printf("%-16s %-9s %8lld %8lld %8zu ", command_printable(called ? called : "?", name, sizeof(name)),
               command_printable(word ? word : "?", state, sizeof(state)),
               (long long)json_integer_value(json_object_get(group, "weight")),
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

static bool admin_parse_weight(const char *text, int *weight)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value > WEIGHT_MAX)
        return false;
    *weight = (int)value;
    return true;
}

bool command_group_takes_users(const json_t *group)
{
    const char *state = json_string_value(json_object_get(group, "state"));

    return state && strcmp(state, "open") == 0 && json_integer_value(json_object_get(group, "weight")) > 0;
}

/* After GROUP was drained: is there another one for new users? */
static void remark_none_open(struct command *command, const char *group)
{
    struct reel_error ignored;
    char *text = reel_status(command->reel, &ignored);
    json_t *status = text ? json_loads(text, 0, NULL) : NULL, *groups = json_object_get(status, "groups"),
           *one;
    bool open = !json_is_array(groups);
    size_t i;

    json_array_foreach(groups, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));

        open = open || (name && strcmp(name, group) != 0 && command_group_takes_users(one));
    }
    if (!open)
        command_remark(command, "no group is open for new users now; they are refused until one is");
    json_decref(status);
    reel_free(text);
}

int command_admin(struct command *command)
{
    static const struct {
        const char *name;
        enum reel_group_change change;
        int minimum, maximum; /* arguments after the name */
    } changes[] = {
        {"add", REEL_GROUP_ADD, 1, 2},       {"drain", REEL_GROUP_DRAIN, 1, 1},
        {"open", REEL_GROUP_OPEN, 1, 1},     {"weight", REEL_GROUP_WEIGHT, 2, 2},
        {"remove", REEL_GROUP_REMOVE, 1, 1},
    };
    char **arguments = command->arguments;
    int count = command->count - 2, weight = 0;
    struct reel_error error;

    if (strcmp(arguments[0], "quota") == 0)
        return command->count > 1 ? command_quota(command) : command_quotas(command);
    if (strcmp(arguments[0], "group") != 0) {
        return command_usage(
            &command->options,
            "admin takes \"group\" and what to do with it, or \"quota\" and perhaps a user, not \"%s\"",
            arguments[0]);
    }
    if (command->options.bytes || command->options.files || command->options.sort)
        return command_usage(&command->options, "--bytes, --files and --sort belong to admin quota");
    if (command->count < 2)
        return admin_usage(command, "nothing to do is named", "");
    if (strcmp(arguments[1], "list") == 0)
        return count == 0 ? admin_list_groups(command) : admin_usage(command, "list takes no arguments", "");
    if (strcmp(arguments[1], "rebalance") == 0)
        return count == 0 ? command_rebalance(command)
                          : admin_usage(command, "rebalance takes no arguments", "");
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        if (strcmp(arguments[1], changes[i].name) != 0)
            continue;
        if (count < changes[i].minimum || count > changes[i].maximum)
            return admin_usage(command, "wrong number of arguments for ", arguments[1]);
        if (changes[i].change == REEL_GROUP_ADD)
            weight = WEIGHT_DEFAULT;
        if (count == 2 && !admin_parse_weight(arguments[3], &weight))
            return admin_usage(command, "a weight is a number from 0 to 1000000, not ", arguments[3]);
        bool empty = command->options.empty && changes[i].change == REEL_GROUP_DRAIN;
        if (command->options.dry_run && !empty)
            return command_print(command, "would %s group %s\n", arguments[1], arguments[2]);
        if (changes[i].change == REEL_GROUP_DRAIN && !command->options.dry_run &&
            !command_confirm(command, empty
                                          ? "move all users of this group to others, and give it no new ones?"
                                          : "give this group no new users from now on?"))
            return COMMAND_FAILED;
        if (changes[i].change == REEL_GROUP_REMOVE) {
            int result = command_group_is_empty(command, arguments[2]);
            if (result != COMMAND_OK)
                return result;
        }
        if (empty)
            return command_empty_group(command, arguments[2]);
        if (!reel_change_group(command->reel, arguments[2], changes[i].change, weight, &error))
            return command_failed(command, arguments[2], &error);
        if (changes[i].change == REEL_GROUP_DRAIN)
            remark_none_open(command, arguments[2]);
        return COMMAND_OK;
    }
    return admin_usage(command, "there is no ", arguments[1]);
}
