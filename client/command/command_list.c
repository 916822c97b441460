/*
 * command_list: what a user has: `reel list`, `trash`, `find`, `du`. Files are chosen one by one as the pages come, so
 * only a list that is sorted is held in memory.
 */
#include "client/command/command_internal.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct listing {
    struct command *command;
    char **globs; /* a name must be like one of them; GLOB_COUNT 0: any */
    int glob_count;
    int64_t since; /* seconds since the epoch; 0: any */
    int (*print)(struct command *command, const struct reel_file *file);

    bool collect; /* to be sorted: kept instead of printed */
    struct reel_file *files;
    size_t count, room;

    int64_t found, bytes;
    int result;
};

static int64_t list_time_of(const struct reel_file *file)
{
    return file->deleted ? file->deleted_time : file->created_time;
}

static bool list_wanted(const struct listing *listing, const struct reel_file *file)
{
    bool like = listing->glob_count == 0;

    for (int i = 0; i < listing->glob_count; i++)
        like = like || fnmatch(listing->globs[i], file->name, 0) == 0;
    return like && (listing->since == 0 || list_time_of(file) >= listing->since);
}

static bool list_keep(struct listing *listing, const struct reel_file *file)
{
    if (listing->count == listing->room) {
        size_t room = listing->room > 0 ? 2 * listing->room : 256;
        struct reel_file *files = realloc(listing->files, room * sizeof(*files));

        if (!files) {
            fputs("reel: no memory to sort the list\n", stderr);
            listing->result = COMMAND_FAILED;
            return false;
        }
        listing->files = files;
        listing->room = room;
    }
    listing->files[listing->count++] = *file;
    return true;
}

static bool list_each(void *argument, const struct reel_file *file)
{
    struct listing *listing = argument;
    int64_t limit = listing->command->options.limit;

    if (!list_wanted(listing, file))
        return true;
    if (listing->collect)
        return list_keep(listing, file);
    listing->found++;
    listing->bytes += file->size;
    if (listing->print)
        listing->result = listing->print(listing->command, file);
    return listing->result == COMMAND_OK && (limit == 0 || listing->found < limit);
}

/* ---- order ---- */

static int list_by_id(const void *a, const void *b)
{
    return strcmp(((const struct reel_file *)a)->file, ((const struct reel_file *)b)->file);
}

static int list_by_name(const void *a, const void *b)
{
    int order = strcmp(((const struct reel_file *)a)->name, ((const struct reel_file *)b)->name);

    return order != 0 ? order : list_by_id(a, b);
}

static int list_by_size(const void *a, const void *b)
{
    const struct reel_file *one = a, *other = b;

    return one->size != other->size ? (one->size < other->size ? 1 : -1) : list_by_id(a, b);
}

static int list_by_time(const void *a, const void *b)
{
    const struct reel_file *one = a, *other = b;

    return list_time_of(one) != list_time_of(other) ? (list_time_of(one) < list_time_of(other) ? 1 : -1)
                                                    : list_by_id(a, b);
}

static const struct order {
    const char *name;
    int (*compare)(const void *a, const void *b);
} orders[] = {{"id", list_by_id}, {"name", list_by_name}, {"size", list_by_size}, {"time", list_by_time}};

static const struct order *find_order(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
        if (strcmp(orders[i].name, name) == 0)
            return &orders[i];
    return NULL;
}

/* ---- running ---- */

static void say_nothing_there(struct command *command, bool unknown)
{
    const char *user = command->settings.user, *application = command->settings.application;

    if (unknown)
        command_remark(command, "user %s is unknown: nothing was ever stored for it (application %s)", user,
                       application);
    else
        command_remark(command, "user %s has no %sfiles (application %s)", user,
                       command->options.deleted ? "deleted " : "", application);
}

/* Runs LISTING after the file AFTER (NULL: all). */
static int run_listing(struct listing *listing, const char *after)
{
    struct command *command = listing->command;
    const struct order *order = command->options.sort ? find_order(command->options.sort) : NULL;
    struct reel_key key = {.file = after};
    struct reel_error error;
    int64_t limit = command->options.limit;

    command->buffered = true; /* a write per row would be most of the cost of a long list */
    listing->collect = order && order->compare != list_by_id;
    if (!reel_list(command->reel, &key, command->options.deleted, list_each, listing, &error)) {
        if (error.code != REEL_E_NOT_FOUND)
            return command_failed(command, "list", &error);
        say_nothing_there(command, true); /* a user who has never stored anything has no files */
        return COMMAND_OK;
    }
    if (order && listing->count > 0)
        qsort(listing->files, listing->count, sizeof(*listing->files), order->compare);
    listing->collect = false;
    for (size_t i = 0; i < listing->count && (limit == 0 || listing->found < limit); i++)
        if (!list_each(listing, &listing->files[i]))
            break;
    free(listing->files);
    listing->files = NULL;
    if (listing->found == 0 && listing->result == COMMAND_OK && !after && listing->glob_count == 0 &&
        listing->since == 0 && listing->print)
        say_nothing_there(command, false);
    return listing->result;
}

static int list_check(const struct command *command, int64_t *since)
{
    const struct command_options *options = &command->options;

    *since = 0;
    if (options->sort && !find_order(options->sort))
        return command_usage(options, "--sort %s: id, name, size or time is expected", options->sort);
    if (options->since && !command_parse_time(options->since, (int64_t)time(NULL), since))
        return command_usage(
            options, "--since %s: a time is expected: 90s, 3h, 5d, 2026-11-28 or 2026-11-28T12:00:00Z",
            options->since);
    return COMMAND_OK;
}

static int print_row(struct command *command, const struct reel_file *file)
{
    char name[REEL_NAME_SIZE], id[REEL_FILE_SIZE], type[REEL_CONTENT_TYPE_SIZE], when[COMMAND_TIME_SIZE];

    if (command->options.json)
        return command_print_json(command, command_file_to_json(file));
    (void)command_printable(file->file, id, sizeof(id));
    (void)command_printable(file->name, name, sizeof(name));
    (void)command_time(list_time_of(file), when);
    if (command->options.long_form)
        return command_print(command, "%-36s %15" PRId64 "  %-20s  %-24s %-32s  %s\n", id, file->size, when,
                             command_printable(file->content_type, type, sizeof(type)),
                             file->digest[0] != '\0' ? file->digest : "-", name);
    return command_print(command, "%-36s %15" PRId64 "  %s  %s\n", id, file->size, when, name);
}

int command_list(struct command *command)
{
    char *glob = (char *)(uintptr_t)command->options.name;
    struct listing listing = {
        .command = command, .globs = &glob, .glob_count = glob ? 1 : 0, .print = print_row};
    int result = list_check(command, &listing.since);

    return result != COMMAND_OK ? result
                                : run_listing(&listing, command->count > 0 ? command->arguments[0] : NULL);
}

int command_trash(struct command *command)
{
    command->options.deleted = true;
    return command_list(command);
}

static int print_found(struct command *command, const struct reel_file *file)
{
    char name[REEL_NAME_SIZE], id[REEL_FILE_SIZE];

    if (command->options.json)
        return command_print_json(command, command_file_to_json(file));
    return command_print(command, "%s\t%s\n", command_printable(file->file, id, sizeof(id)),
                         command_printable(file->name, name, sizeof(name)));
}

int command_find(struct command *command)
{
    struct listing listing = {
        .command = command, .globs = command->arguments, .glob_count = command->count, .print = print_found};
    int result = list_check(command, &listing.since);

    if (result == COMMAND_OK)
        result = run_listing(&listing, NULL);
    return result == COMMAND_OK && listing.found == 0 ? COMMAND_NOT_FOUND : result;
}

int command_du(struct command *command)
{
    struct listing files = {.command = command}, trash = {.command = command};
    struct reel_quota quota;
    char size[2][32];
    int result = run_listing(&files, NULL);

    if (result != COMMAND_OK)
        return result;
    command->options.deleted = true;
    result = run_listing(&trash, NULL);
    if (result != COMMAND_OK)
        return result;
    bool limited = command_quota_of_user(command, &quota);
    if (command->options.json)
        return command_print_json(
            command, json_pack("{s:o,s:I,s:I,s:I,s:I,s:o}", "user", command_json_text(command->settings.user),
                               "files", (json_int_t)files.found, "bytes", (json_int_t)files.bytes,
                               "trash_files", (json_int_t)trash.found, "trash_bytes", (json_int_t)trash.bytes,
                               "quota", limited ? command_quota_json(&quota) : json_null()));
    result = command_print(
        command,
        "%10" PRId64 " files %18" PRId64 " bytes  %s\n%10" PRId64 " in trash %15" PRId64 " bytes  %s\n",
        files.found, files.bytes, command_human((double)files.bytes, size[0], sizeof(size[0])), trash.found,
        trash.bytes, command_human((double)trash.bytes, size[1], sizeof(size[1])));
    if (result != COMMAND_OK || !limited)
        return result;
    return command_quota_print(command, "quota", &quota);
}
