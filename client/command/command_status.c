/*
 * command_status: `reel status` and `reel groups`: what the trackers know of groups and storage servers, as a
 * table for people, as JSON for programs, and in the predecessor's form.
 */
#include "client/command/command_internal.h"

#include <string.h>

static const char *status_text(const json_t *object, const char *name, char *buffer, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    return command_printable(text && text[0] != '\0' ? text : "-", buffer, size);
}

static enum command_colour colour_of_state(const char *state)
{
    if (strcmp(state, "ACTIVE") == 0 || strcmp(state, "open") == 0)
        return COMMAND_GREEN;
    return strcmp(state, "OFFLINE") == 0 ? COMMAND_RED : COMMAND_YELLOW;
}

/* TEXT in WIDTH columns, coloured by the state that it names. */
static void print_state(const char *text, int width)
{
    printf("%s%-*s%s ", command_colour(stdout, colour_of_state(text)), width, text,
           command_colour(stdout, COMMAND_PLAIN));
}

static void print_used(int64_t capacity, int64_t free_bytes)
{
    char size[32];

    if (capacity > 0 && free_bytes >= 0 && free_bytes <= capacity)
        printf("%5d%% %10s ", (int)((double)(capacity - free_bytes) * 100 / (double)capacity),
               command_human((double)free_bytes, size, sizeof(size)));
    else
        printf("%6s %10s ", "-", "-");
}

static void print_member(const json_t *server)
{
    char address[300], version[64], state[64], trash[32];
    const json_t *load = json_object_get(server, "load");
    bool suspect = json_is_true(json_object_get(server, "suspect"));
    const char *word = status_text(server, "state", state, sizeof(state));

    printf("  %-30s ", status_text(server, "address", address, sizeof(address)));
    print_state(suspect ? "SUSPECT" : word, 9);
    printf("%-9s ", status_text(server, "version", version, sizeof(version)));
    print_used(json_is_object(load) ? json_integer_value(json_object_get(load, "capacity")) : -1,
               json_is_object(load) ? json_integer_value(json_object_get(load, "free")) : -1);
    if (json_is_object(load))
        printf(
            "%7lld %10s %7lld  %s\n", (long long)json_integer_value(json_object_get(load, "uploads")),
            command_human((double)json_integer_value(json_object_get(load, "trash")), trash, sizeof(trash)),
            (long long)json_integer_value(json_object_get(load, "damaged")),
            status_text(load, "state", state, sizeof(state)));
    else
        printf("%7s %10s %7s\n", "-", "-", "-");
}

void command_print_groups(const json_t *groups)
{
    char name[64], state[64];
    json_t *group, *server;
    size_t i, j;

    printf("%-32s %-9s %-9s %6s %10s %7s %10s %7s  %s\n", "GROUP / MEMBER", "STATE", "VERSION", "USED",
           "FREE", "UPLOADS", "TRASH", "DAMAGED", "LOAD");
    json_array_foreach(groups, i, group)
    {
        json_t *members = json_object_get(group, "storages");

        printf("%-32s ", status_text(group, "name", name, sizeof(name)));
        print_state(status_text(group, "state", state, sizeof(state)), 9);
        printf("%-9s ", "");
        print_used(command_group_bytes(group, "capacity"), command_group_bytes(group, "free"));
        printf("%7s %10s %7s  %lld of %zu active\n", "", "", "",
               (long long)json_integer_value(json_object_get(group, "active")), json_array_size(members));
        json_array_foreach(members, j, server) print_member(server);
    }
    if (json_array_size(groups) == 0)
        printf("no group has a storage server yet\n");
}

int command_status(struct command *command)
{
    int result = COMMAND_OK;
    json_t *status = command_get_status(command, &result);

    if (!status)
        return result;
    json_t *near = command_quotas_near(command, json_object_get(status, "groups"));
    if (command->options.json) {
        if (near)
            (void)json_object_set_new(status, "quotas", near);
        return command_print_json(command, status);
    }
    command_display_clear(command->display);
    command_print_groups(json_object_get(status, "groups"));
    result = near ? command_print_near(command, near) : COMMAND_OK;
    json_decref(near);
    json_decref(status);
    return result;
}

int command_groups(struct command *command)
{
    struct reel_error error;
    char *text, *shown;
    int result;

    if (command->options.json)
        return command_status(command);
    text = reel_groups(command->reel, &error);
    if (!text)
        return command_failed(command, "groups", &error);
    shown = command_printable_lines(text);
    reel_free(text);
    result = shown ? command_print(command, "%s\n", shown) : COMMAND_FAILED;
    free(shown);
    return result;
}
