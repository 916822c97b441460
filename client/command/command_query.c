/*
 * command_query: the commands of `reel` that move no content. Declared in command_internal.h.
 */
#include "client/command/command_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIME_SIZE 32

/* RFC 3339 in UTC; "-" for 0. Returns BUFFER. */
static char *time_text(int64_t seconds, char buffer[TIME_SIZE])
{
    time_t when = (time_t)seconds;
    struct tm parts;

    if (seconds <= 0 || gmtime_r(&when, &parts) == NULL ||
        strftime(buffer, TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        memcpy(buffer, "-", 2);
    return buffer;
}

/* The exit code of several: the first that is not 0. */
static int for_each_file(struct command *command, int (*one)(struct command *command, const char *file))
{
    int result = COMMAND_OK;

    for (int i = 0; i < command->count; i++) {
        int now = one(command, command->arguments[i]);

        if (result == COMMAND_OK)
            result = now;
    }
    return result;
}

/* ---- size, stat ---- */

static int size_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;
    int64_t size;

    if (!reel_size(command->reel, &key, &size, &error))
        return command_failed(command, file, &error);
    if (command->options.json)
        return command_print_json(json_pack("{s:s,s:I}", "file", file, "size", (json_int_t)size));
    printf("%" PRId64 "\n", size);
    return COMMAND_OK;
}

int command_size(struct command *command)
{
    return for_each_file(command, size_one);
}

static void print_field(const char *label, const char *value)
{
    char printable[REEL_NAME_SIZE + REEL_FILE_SIZE];

    printf("%-13s %s\n", label,
           value[0] != '\0' ? command_printable(value, printable, sizeof(printable)) : "-");
}

static int stat_one(struct command *command, const char *id)
{
    struct reel_key key = {.file = id};
    char when[TIME_SIZE], size[32];
    struct reel_error error;
    struct reel_file file;

    if (!reel_stat(command->reel, &key, &file, &error))
        return command_failed(command, id, &error);
    if (command->options.json)
        return command_print_json(command_file_to_json(&file));
    (void)snprintf(size, sizeof(size), "%" PRId64, file.size);
    print_field("file:", file.file);
    print_field("size:", size);
    print_field("status:", file.deleted ? "deleted" : "normal");
    print_field("created:", time_text(file.created_time, when));
    if (file.deleted)
        print_field("deleted:", time_text(file.deleted_time, when));
    print_field("name:", file.name);
    print_field("content type:", file.content_type);
    print_field("digest:", file.digest);
    print_field("group:", file.group);
    return COMMAND_OK;
}

int command_stat(struct command *command)
{
    return for_each_file(command, stat_one);
}

/* ---- delete, restore ---- */

static int done_one(struct command *command, const char *file, bool fine, const char *what,
                    const struct reel_error *error)
{
    if (!fine)
        return command_failed(command, file, error);
    return command->options.json ? command_print_json(json_pack("{s:s,s:b}", "file", file, what, 1))
                                 : COMMAND_OK;
}

static int delete_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;
    bool fine = reel_delete(command->reel, &key, &error);

    return done_one(command, file, fine, "deleted", &error);
}

static int restore_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;
    bool fine = reel_restore(command->reel, &key, &error);

    return done_one(command, file, fine, "restored", &error);
}

int command_delete(struct command *command)
{
    return for_each_file(command, delete_one);
}

int command_restore(struct command *command)
{
    return for_each_file(command, restore_one);
}

/* ---- list ---- */

struct listing {
    struct command *command;
    int64_t left; /* 0: no limit */
    int result;
};

static bool list_one(void *argument, const struct reel_file *file)
{
    struct listing *listing = argument;
    char name[REEL_NAME_SIZE], id[REEL_FILE_SIZE], when[TIME_SIZE];

    if (listing->command->options.json)
        listing->result = command_print_json(command_file_to_json(file));
    else
        printf("%-36s %15" PRId64 "  %s  %s\n", command_printable(file->file, id, sizeof(id)), file->size,
               time_text(file->deleted ? file->deleted_time : file->created_time, when),
               command_printable(file->name, name, sizeof(name)));
    if (listing->result != COMMAND_OK || ferror(stdout))
        return false;
    return listing->left == 0 || --listing->left > 0;
}

int command_list(struct command *command)
{
    struct reel_key key = {.file = command->count > 0 ? command->arguments[0] : NULL};
    struct listing listing = {.command = command, .left = command->options.limit};
    struct reel_error error;

    if (!reel_list(command->reel, &key, command->options.deleted, list_one, &listing, &error)) {
        /* A user who has never stored anything has no files. */
        if (error.code == REEL_E_NOT_FOUND)
            return COMMAND_OK;
        return command_failed(command, "list", &error);
    }
    return listing.result;
}

int command_trash(struct command *command)
{
    command->options.deleted = true;
    return command_list(command);
}

/* ---- groups, status ---- */

static int print_status(struct command *command, const char *text)
{
    json_t *status = json_loads(text, 0, NULL);
    int result;

    if (status == NULL) { /* not for a machine then, but a person may make something of it */
        printf("%s\n", text);
        return COMMAND_OK;
    }
    if (command->options.json)
        return command_print_json(status);
    result =
        json_dumpf(status, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF ? COMMAND_OK : COMMAND_FAILED;
    json_decref(status);
    return result;
}

int command_status(struct command *command)
{
    struct reel_error error;
    char *text = reel_status(command->reel, &error);
    int result;

    if (text == NULL)
        return command_failed(command, "status", &error);
    result = print_status(command, text);
    reel_free(text);
    return result;
}

int command_groups(struct command *command)
{
    struct reel_error error;
    char *text;

    if (command->options.json)
        return command_status(command);
    text = reel_groups(command->reel, &error);
    if (text == NULL)
        return command_failed(command, "groups", &error);
    printf("%s\n", text);
    reel_free(text);
    return COMMAND_OK;
}

/* ---- url ---- */

static int url_one(struct command *command, const char *file)
{
    struct reel_key key = {
        .application = command->settings.application, .user = command->settings.user, .file = file};
    struct reel_error error;
    char *url = reel_url(NULL, &key, command->settings.http, command->options.name, &error);
    int result = COMMAND_OK;

    if (url == NULL)
        return command_failed(command, file, &error);
    if (command->options.json)
        result = command_print_json(json_pack("{s:s,s:s}", "file", file, "url", url));
    else
        printf("%s\n", url);
    reel_free(url);
    return result;
}

int command_url(struct command *command)
{
    if (command->settings.http[0] == '\0') {
        fputs("reel: no HTTP server is given: --http BASE, REEL_HTTP, or `http` under [client] in "
              "~/.config/reel.conf\n",
              stderr);
        return COMMAND_USAGE;
    }
    return for_each_file(command, url_one);
}
