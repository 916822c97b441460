/*
 * command_empty: `reel admin group drain GROUP --empty`, `rebalance` and `remove`: which group gives its users to which others,
 * how many of them, and what is left in the end. The moving is client/command/command_move.c's.
 */
#include "client/command/command_move.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS 75000 /* longer than a user's former group is cached, see tracker.route_cache_age */
#define BALANCED  0.05  /* shares of used space that differ by no more are left as they are */

/* ---- beginning and end ---- */

static bool parse_rate(const char *text, int64_t *rate)
{
    static const char units[] = "KMGT";
    char *end;
    double number = strtod(text, &end);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

    for (const char *at = units; unit && at <= unit; at++)
        number *= 1024;
    *rate = (int64_t)number;
    return text[0] >= '0' && text[0] <= '9' && number >= 1 && number < 1e15 &&
           (*end == '\0' || (unit && end[1] == '\0'));
}

static int find_targets(struct mover *mover)
{
    const char *only = mover->command->options.to;
    int result = COMMAND_OK;
    json_t *status = command_get_status(mover->command, &result), *group;
    size_t i;

    if (!status)
        return result;
    json_array_foreach(json_object_get(status, "groups"), i, group)
    {
        const char *name = json_string_value(json_object_get(group, "name"));
        const char *state = json_string_value(json_object_get(group, "state"));
        struct target *target = &mover->targets[mover->target_count];

        if (!name || !state || mover->target_count == MOVE_TARGETS_MAX || strcmp(name, mover->from) == 0 ||
            strcmp(state, "open") != 0 || (only && strcmp(name, only) != 0) ||
            json_integer_value(json_object_get(group, "active")) < 1 ||
            (!only && json_integer_value(json_object_get(group, "weight")) < 1))
            continue;
        (void)snprintf(target->name, sizeof(target->name), "%s", name);
        target->free = command_group_bytes(group, "free");
        target->capacity = command_group_bytes(group, "capacity");
        mover->target_count++;
    }
    json_decref(status);
    if (mover->target_count > 0)
        return COMMAND_OK;
    return command_usage(&mover->command->options,
                         "no group can take the users of %s: it must be another one, open and with an active "
                         "storage server%s%s",
                         mover->from, only ? ", and is to be " : "", only ? only : "");
}

/* A handle for each tracker alone. */
static int open_trackers(struct mover *mover)
{
    char text[4096], *rest = text, *one;
    int result = COMMAND_OK;

    (void)snprintf(text, sizeof(text), "%s", mover->command->settings.trackers);
    while (result == COMMAND_OK && mover->tracker_count < MOVE_TRACKERS_MAX && (one = strsep(&rest, ", "))) {
        if (one[0] != '\0' && (mover->trackers[mover->tracker_count] =
                                   command_open_at(mover->command, one, NULL, NULL, &result)))
            mover->tracker_count++;
    }
    return result;
}

static int mover_open(struct mover *mover, struct command *command, const char *from)
{
    const struct command_options *options = &command->options;
    int result;

    *mover = (struct mover){.command = command,
                            .from = from,
                            .settle_ms = SETTLE_MS,
                            .budget = -1,
                            .mutex = PTHREAD_MUTEX_INITIALIZER};
    if (options->rate && !parse_rate(options->rate, &mover->rate))
        return command_usage(options, "--rate %s: bytes per second are expected: 500K, 20M, 1G",
                             options->rate);
    if (options->settle && !command_parse_duration(options->settle, &mover->settle_ms))
        return command_usage(options, "--settle %s: a time is expected: 30s, 2m", options->settle);
    result = find_targets(mover);
    if (result == COMMAND_OK)
        result = open_trackers(mover);
    if (result == COMMAND_OK)
        mover->source = command_open_at(command, command->settings.trackers, from, NULL, &result);
    return result;
}

static void mover_close(struct mover *mover)
{
    for (size_t i = 0; i < mover->target_count; i++)
        reel_close(mover->targets[i].sink);
    for (size_t i = 0; i < mover->tracker_count; i++)
        reel_close(mover->trackers[i]);
    reel_close(mover->source);
    for (size_t i = 0; i < mover->user_count; i++) {
        free(mover->users[i].application);
        free(mover->users[i].user);
    }
    free(mover->users);
    pthread_mutex_destroy(&mover->mutex);
}

static int say_end(const struct mover *mover, int64_t left, int64_t former)
{
    struct command *command = mover->command;
    char size[32];
    int result;

    if (command->options.json)
        result = command_print_json(
            command, json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "group", mover->from, "users",
                               (json_int_t)mover->user_count, "files", (json_int_t)mover->files, "bytes",
                               (json_int_t)mover->bytes, "failures", (json_int_t)mover->failures, "left",
                               (json_int_t)left, "former_copies", (json_int_t)former));
    else
        result =
            command_print(command,
                          "%zu users with %" PRId64 " files (%s) moved from %s; %" PRId64
                          " files are left there, and %" PRId64 " former copies until they are purged\n",
                          mover->user_count, mover->files,
                          command_human((double)mover->bytes, size, sizeof(size)), mover->from, left, former);
    if (result == COMMAND_OK && left > 0 && mover->failures == 0 && !move_ended(mover))
        command_remark(command, "what is left is damaged or not listed: reel fsck %s says more", mover->from);
    return result != COMMAND_OK ? result : left > 0 || mover->failures > 0 ? COMMAND_FAILED : COMMAND_OK;
}

int command_empty_group(struct command *command, const char *group)
{
    struct mover mover;
    int64_t left = 0, former = 0;
    struct reel_error error;
    /* Before anything changes: what was asked for may be impossible. */
    int result = mover_open(&mover, command, group);

    if (result == COMMAND_OK && !command->options.dry_run &&
        !reel_change_group(command->reel, group, REEL_GROUP_DRAIN, 0, &error))
        result = command_failed(command, group, &error);
    if (result == COMMAND_OK)
        result = move_routed_users(&mover);
    if (result == COMMAND_OK && !command->options.dry_run) {
        move_settle(&mover);
        for (int pass = 0; pass < 2 && result == COMMAND_OK && !move_ended(&mover); pass++)
            result = move_left_users(&mover, &left, &former); /* the second time to count what is left */
        if (result == COMMAND_OK)
            result = say_end(&mover, left, former);
    }
    mover_close(&mover);
    return result;
}

/* ---- rebalancing ---- */

/* The open group with the largest share of used bytes, and how many of them are above the average of all. NULL: the
 * shares are about the same. To be freed. */
static char *fullest_group(const json_t *status, int64_t *surplus)
{
    double used = 0, room = 0, most = -1, least = 2;
    int64_t most_used = 0, most_capacity = 0;
    const char *fullest = NULL;
    json_t *group;
    size_t i;

    json_array_foreach(json_object_get(status, "groups"), i, group)
    {
        int64_t capacity = command_group_bytes(group, "capacity"),
                free_bytes = command_group_bytes(group, "free");
        const char *state = json_string_value(json_object_get(group, "state"));

        if (capacity <= 0 || free_bytes < 0 || free_bytes > capacity || !state || strcmp(state, "open") != 0)
            continue;
        double share = (double)(capacity - free_bytes) / (double)capacity;
        used += (double)(capacity - free_bytes);
        room += (double)capacity;
        least = share < least ? share : least;
        if (share > most) {
            most = share;
            most_used = capacity - free_bytes;
            most_capacity = capacity;
            fullest = json_string_value(json_object_get(group, "name"));
        }
    }
    if (!fullest || most - least <= BALANCED)
        return NULL;
    *surplus = most_used - (int64_t)(used / room * (double)most_capacity);
    return strdup(fullest);
}

int command_rebalance(struct command *command)
{
    struct mover mover;
    int64_t surplus = 0;
    int result = COMMAND_OK;
    json_t *status = command_get_status(command, &result);
    char *group;

    if (!status)
        return result;
    group = fullest_group(status, &surplus);
    json_decref(status);
    if (!group)
        return command_print(command, "%s",
                             command->options.json ? "{}\n"
                                                   : "the groups are about equally full: nothing to move\n");
    if (!command->options.dry_run &&
        !command_confirm(command, "move users from the fullest group to others?")) {
        free(group);
        return COMMAND_FAILED;
    }
    result = mover_open(&mover, command, group);
    mover.budget = surplus;
    if (result == COMMAND_OK)
        result = move_routed_users(&mover);
    if (result == COMMAND_OK && !command->options.dry_run) {
        move_settle(&mover);
        result = say_end(&mover, 0, 0);
    }
    mover_close(&mover);
    free(group);
    return result;
}

/* ---- removing ---- */

static bool ignore_user(void *argument, const char *application, const char *user)
{
    (void)argument;
    (void)application;
    (void)user;
    return true;
}

int command_group_is_empty(struct command *command, const char *group)
{
    int64_t files = 0, former = 0;
    int result;
    struct reel_error error;
    struct reel *reel = command_open_at(command, command->settings.trackers, group, NULL, &result);

    if (!reel)
        return result;
    bool known = reel_group_left(reel, ignore_user, NULL, &files, &former, &error);
    reel_close(reel);
    if (known && files == 0 && former == 0)
        return COMMAND_OK;
    if (!known && error.code == REEL_E_NO_SERVER && command->options.yes) {
        command_remark(command, "group %s has no storage server to ask whether files are left there", group);
        return COMMAND_OK;
    }
    if (!known && error.code == REEL_E_NOT_FOUND)
        return COMMAND_OK; /* the tracker says so itself */
    if (known) {
        error = (struct reel_error){.code = REEL_E_EXISTS};
        (void)snprintf(error.text, sizeof(error.text),
                       files > 0 ? "the group still has %" PRId64 " files, and %" PRId64 " former copies"
                                 : "the group has no files (%" PRId64 "), but %" PRId64
                                   " former copies that are not purged yet (trash_keep)",
                       files, former);
    }
    return command_failed(command, group, &error);
}
