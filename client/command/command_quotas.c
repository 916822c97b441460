/*
 * command_quotas: `reel admin quota`: every user whose files are counted, asked of each group, as a table or as JSON. Groups that
 * share a database name the same users, so each is kept once. And what `reel status` says about them, in little time.
 */
#include "client/command/command_internal.h"

#include "common/base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_SHARE     0.9   /* of a limit: its user is near it */
#define NEAR_SHOWN     5     /* users whom `reel status` names */
#define NEAR_LINES_MAX 10000 /* of a group that `reel status` looks at */
#define NEAR_MS        2000  /* that it waits for a group */

struct quotas_line {
    char application[REEL_APPLICATION_SIZE], user[REEL_USER_SIZE];
    struct reel_quota quota;
    int64_t held;
};

struct quotas_table {
    struct quotas_line *lines;
    size_t count, capacity;
    bool no_memory;
    size_t lines_max;    /* 0: any */
    int64_t deadline_ms; /* of the monotonic clock; 0: none */
    bool cut;            /* there are more */
};

/* ---- order ---- */

static int quotas_by_user(const void *a, const void *b)
{
    const struct quotas_line *one = a, *other = b;
    int users = strcmp(one->user, other->user);

    return users != 0 ? users : strcmp(one->application, other->application);
}

/* Largest first. */
static int by_number(double one, double other, const void *a, const void *b)
{
    return one < other ? 1 : one > other ? -1 : quotas_by_user(a, b);
}

static int quotas_by_size(const void *a, const void *b)
{
    return by_number((double)((const struct quotas_line *)a)->quota.bytes_used,
                     (double)((const struct quotas_line *)b)->quota.bytes_used, a, b);
}

static int quotas_by_files(const void *a, const void *b)
{
    return by_number((double)((const struct quotas_line *)a)->quota.files_used,
                     (double)((const struct quotas_line *)b)->quota.files_used, a, b);
}

static double quotas_part_of(int64_t used, int64_t limit)
{
    return limit < 0 ? 0 : limit == 0 ? 1 : (double)used / (double)limit;
}

/* The larger share of both limits that is used; 0: no limit holds. */
static double share_used(const struct quotas_line *line)
{
    double bytes = quotas_part_of(line->quota.bytes_used + line->held, line->quota.bytes);
    double files = quotas_part_of(line->quota.files_used, line->quota.files);

    return bytes > files ? bytes : files;
}

static int quotas_by_share(const void *a, const void *b)
{
    return by_number(share_used(a), share_used(b), a, b);
}

static const struct {
    const char *name;
    int (*compare)(const void *a, const void *b);
} orders[] = {{"name", quotas_by_user},
              {"size", quotas_by_size},
              {"files", quotas_by_files},
              {"used", quotas_by_share}};

/* ---- asking ---- */

static bool keep_line(void *argument, const char *application, const char *user,
                      const struct reel_quota *quota, int64_t held)
{
    struct quotas_table *table = argument;

    table->cut = (table->lines_max > 0 && table->count == table->lines_max) ||
                 (table->deadline_ms > 0 && clock_monotonic_ms() > table->deadline_ms);
    if (table->cut)
        return false;
    if (table->count == table->capacity) {
        size_t capacity = table->capacity > 0 ? 2 * table->capacity : 64;
        struct quotas_line *lines = realloc(table->lines, capacity * sizeof(*lines));

        table->no_memory = !lines;
        if (!lines)
            return false;
        table->lines = lines;
        table->capacity = capacity;
    }
    struct quotas_line *line = &table->lines[table->count++];
    *line = (struct quotas_line){.quota = *quota, .held = held};
    (void)snprintf(line->application, sizeof(line->application), "%s", application);
    (void)snprintf(line->user, sizeof(line->user), "%s", user);
    return true;
}

static int ask_group(struct command *command, const char *group, struct quotas_table *table)
{
    int result = COMMAND_OK;
    struct reel_error error;
    struct reel *reel = command_open_at(command, command->settings.trackers, group, NULL, &result);

    if (!reel)
        return result;
    if (!reel_group_quotas(reel, keep_line, table, &error))
        result = command_failed(command, group, &error);
    reel_close(reel);
    if (table->no_memory)
        fputs("reel: no memory for the list\n", stderr);
    return table->no_memory ? COMMAND_FAILED : result;
}

/* A group that fails is named, and the others are asked all the same; the exit code is the first failure's. */
static int ask_groups(struct command *command, struct quotas_table *table)
{
    int result = COMMAND_OK, first = COMMAND_OK;
    json_t *status = command_get_status(command, &result), *group;
    size_t i;

    if (!status)
        return result;
    json_array_foreach(json_object_get(status, "groups"), i, group)
    {
        const char *name = json_string_value(json_object_get(group, "name"));

        if (!name || json_array_size(json_object_get(group, "storages")) == 0)
            continue;
        result = ask_group(command, name, table);
        first = first == COMMAND_OK ? result : first;
    }
    json_decref(status);
    return first;
}

static void sort_lines(struct quotas_table *table, int (*compare)(const void *a, const void *b))
{
    size_t kept = 0;

    if (table->count == 0)
        return;
    qsort(table->lines, table->count, sizeof(*table->lines), quotas_by_user);
    for (size_t i = 1; i < table->count; i++) {
        if (quotas_by_user(&table->lines[i], &table->lines[kept]) != 0)
            table->lines[++kept] = table->lines[i];
    }
    table->count = kept + 1;
    qsort(table->lines, table->count, sizeof(*table->lines), compare);
}

/* ---- printing ---- */

static int quotas_print_json(struct command *command, const struct quotas_table *table)
{
    json_t *users = json_array();

    for (size_t i = 0; users && i < table->count; i++) {
        const struct quotas_line *line = &table->lines[i];
        json_t *one = command_quota_json(&line->quota);

        if (one && json_object_set_new(one, "user", command_json_text(line->user)) == 0 &&
            json_object_set_new(one, "application", json_string(line->application)) == 0 &&
            json_object_set_new(one, "unfinished", json_integer((json_int_t)line->held)) == 0 &&
            json_array_append(users, one) == 0) {
            json_decref(one);
            continue;
        }
        json_decref(one);
        json_decref(users);
        users = NULL;
    }
    return command_print_json(command, json_pack("{s:o}", "users", users));
}

static const char *amount(int64_t number, bool bytes, char *text, size_t size)
{
    if (number < 0)
        (void)snprintf(text, size, "-");
    else if (bytes)
        (void)command_human((double)number, text, size);
    else
        (void)snprintf(text, size, "%" PRId64, number);
    return text;
}

static int print_table(struct command *command, const struct quotas_table *table)
{
    char user[REEL_USER_SIZE], texts[5][32];
    int result = table->count == 0
                     ? command_print(command, "no user has a quota\n")
                     : command_print(command, "%-24s %-12s %10s %10s %11s %11s %11s %5s\n", "USER",
                                     "APPLICATION", "FILES", "OF", "BYTES", "OF", "UNFINISHED", "USED");

    for (size_t i = 0; i < table->count && result == COMMAND_OK; i++) {
        const struct quotas_line *line = &table->lines[i];
        const struct reel_quota *quota = &line->quota;
        double share = share_used(line);

        result = command_print(command, "%-24s %-12s %10s %10s %11s %11s %11s %s%4.0f%%%s\n",
                               command_printable(line->user, user, sizeof(user)), line->application,
                               amount(quota->files_used, false, texts[0], sizeof(texts[0])),
                               amount(quota->files, false, texts[1], sizeof(texts[1])),
                               amount(quota->bytes_used, true, texts[2], sizeof(texts[2])),
                               amount(quota->bytes, true, texts[3], sizeof(texts[3])),
                               amount(line->held, true, texts[4], sizeof(texts[4])),
                               command_colour(stdout, share >= 1     ? COMMAND_RED
                                                      : share >= 0.9 ? COMMAND_YELLOW
                                                                     : COMMAND_PLAIN),
                               100 * share, command_colour(stdout, COMMAND_PLAIN));
    }
    return result;
}

int command_quotas(struct command *command)
{
    const struct command_options *options = &command->options;
    struct quotas_table table = {0};
    size_t order = 0;
    int result, printed;

    if (options->bytes || options->files)
        return command_usage(options, "admin quota with --bytes or --files takes a user");
    while (options->sort && order < ARRAY_SIZE(orders) && strcmp(orders[order].name, options->sort) != 0)
        order++;
    if (order == ARRAY_SIZE(orders))
        return command_usage(options, "--sort %s: name, size, files or used is expected", options->sort);
    result = ask_groups(command, &table);
    sort_lines(&table, orders[order].compare);
    printed = result != COMMAND_OK && table.count == 0 ? COMMAND_OK
              : options->json                          ? quotas_print_json(command, &table)
                                                       : print_table(command, &table);
    free(table.lines);
    return result != COMMAND_OK ? result : printed;
}

/* ---- for `reel status` ---- */

/* As ask_group(), but silent where it fails: this may be forbidden where the status is not, and older servers do not know it. */
static bool ask_quietly(struct command *command, const char *group, struct quotas_table *table)
{
    const struct command_settings settings = command->settings;
    int result = COMMAND_OK;
    bool fine = false;
    struct reel_error error;

    command->settings.tries = 1;
    command->settings.timeout_ms = min_i64(settings.timeout_ms, NEAR_MS);
    command->settings.connect_timeout_ms = min_i64(settings.connect_timeout_ms, NEAR_MS);
    table->deadline_ms = clock_monotonic_ms() + NEAR_MS;
    table->lines_max = table->count + NEAR_LINES_MAX;
    struct reel *reel = command_open_at(command, command->settings.trackers, group, NULL, &result);
    if (reel)
        fine = reel_group_quotas(reel, keep_line, table, &error) || table->cut;
    reel_close(reel);
    command->settings = settings;
    return fine && !table->no_memory;
}

static json_t *near_to_json(const struct quotas_table *table, bool whole)
{
    json_t *near = json_array();
    json_int_t limited = 0;

    for (size_t i = 0; i < table->count; i++) {
        const struct quotas_line *line = &table->lines[i];
        double share = share_used(line);

        limited += line->quota.bytes >= 0 || line->quota.files >= 0;
        if (share >= NEAR_SHARE)
            (void)json_array_append_new(near,
                                        json_pack("{s:o,s:s,s:f}", "user", command_json_text(line->user),
                                                  "application", line->application, "used", share));
    }
    return json_pack("{s:I,s:o,s:b}", "users", limited, "near", near, "whole", (int)whole);
}

json_t *command_quotas_near(struct command *command, const json_t *groups)
{
    struct quotas_table table = {0};
    bool whole = true, any = false;
    json_t *group, *found = NULL;
    size_t i;

    json_array_foreach(groups, i, group)
    {
        const char *name = json_string_value(json_object_get(group, "name"));

        if (!name || json_integer_value(json_object_get(group, "active")) == 0)
            continue;
        bool fine = ask_quietly(command, name, &table);
        any = any || fine;
        whole = whole && fine && !table.cut;
    }
    sort_lines(&table, quotas_by_share);
    if (any)
        found = near_to_json(&table, whole);
    free(table.lines);
    return found;
}

int command_print_near(struct command *command, const json_t *found)
{
    const json_t *near = json_object_get(found, "near");
    json_int_t users = json_integer_value(json_object_get(found, "users"));
    const char *more = json_is_true(json_object_get(found, "whole")) ? "" : " that were looked at";
    size_t count = json_array_size(near);
    char user[REEL_USER_SIZE];
    int result;

    if (users == 0)
        return COMMAND_OK;
    result = command_print(command, "quotas: %zu of %lld users%s with a limit at %.0f %% of it or more",
                           count, (long long)users, more, 100 * NEAR_SHARE);
    for (size_t i = 0; i < count && i < NEAR_SHOWN && result == COMMAND_OK; i++) {
        const json_t *one = json_array_get(near, i);
        double share = json_number_value(json_object_get(one, "used"));

        result = command_print(
            command, "%s%s (%s) %s%.0f%%%s", i == 0 ? ": " : ", ",
            command_printable(json_string_value(json_object_get(one, "user")), user, sizeof(user)),
            json_string_value(json_object_get(one, "application")),
            command_colour(stdout, share >= 1 ? COMMAND_RED : COMMAND_YELLOW), 100 * share,
            command_colour(stdout, COMMAND_PLAIN));
    }
    if (result != COMMAND_OK || count == 0)
        return result != COMMAND_OK ? result : command_print(command, "\n");
    return command_print(command, "%s; reel admin quota --sort used\n", count > NEAR_SHOWN ? ", ..." : "");
}
