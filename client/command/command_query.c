/*
 * command_query: the commands of `reel` that ask or change something about single files: size, stat, delete,
 * restore, rename, expire, url.
 */
#include "client/command/command_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- size, stat ---- */

static int size_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;
    int64_t size;

    if (!reel_size(command->reel, &key, &size, &error))
        return command_failed(command, file, &error);
    if (command->options.json)
        return command_print_json(
            command, json_pack("{s:o,s:I}", "file", command_json_text(file), "size", (json_int_t)size));
    printf("%" PRId64 "\n", size);
    return COMMAND_OK;
}

int command_size(struct command *command)
{
    return command_each_argument(command, size_one);
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
    char when[COMMAND_TIME_SIZE], size[32];
    struct reel_error error;
    struct reel_file file;

    if (!reel_stat(command->reel, &key, &file, &error))
        return command_failed(command, id, &error);
    if (command->options.json)
        return command_print_json(command, command_file_to_json(&file));
    (void)snprintf(size, sizeof(size), "%" PRId64, file.size);
    print_field("file:", file.file);
    print_field("size:", size);
    print_field("status:", file.deleted ? "deleted" : "normal");
    print_field("created:", command_time(file.created_time, when));
    if (file.deleted)
        print_field("deleted:", command_time(file.deleted_time, when));
    if (file.expires_time > 0)
        print_field("expires:", command_time(file.expires_time, when));
    print_field("name:", file.name);
    print_field("content type:", file.content_type);
    print_field("digest:", file.digest);
    print_field("group:", file.group);
    return COMMAND_OK;
}

int command_stat(struct command *command)
{
    return command_each_argument(command, stat_one);
}

/* ---- delete, restore ---- */

static int query_done(struct command *command, const char *file, bool fine, const char *what,
                      const struct reel_error *error)
{
    if (!fine)
        return command_failed(command, file, error);
    return command->options.json
               ? command_print_json(command, json_pack("{s:o,s:b}", "file", command_json_text(file), what, 1))
               : COMMAND_OK;
}

/* Prints what would be done to a file, which must exist; DELETED: and must not be deleted yet. */
static int query_would(struct command *command, const char *id, const char *verb, bool deleted)
{
    const struct reel_key key = {.file = id};
    struct reel_error error;
    struct reel_file file;
    char shown[REEL_NAME_SIZE], shown_id[REEL_NAME_SIZE];

    if (!reel_stat(command->reel, &key, &file, &error))
        return command_failed(command, id, &error);
    if (file.deleted == deleted && deleted) {
        error = (struct reel_error){.code = REEL_E_DELETED, .text = "the file is deleted already"};
        return command_failed(command, id, &error);
    }
    if (command->options.json)
        return command_print_json(command,
                                  json_pack("{s:s,s:o,s:o}", "would", verb, "file", command_json_text(id),
                                            "name", command_json_text(file.name)));
    return command_print(command, "would %s %s %s\n", verb, command_printable(id, shown_id, sizeof(shown_id)),
                         command_printable(file.name, shown, sizeof(shown)));
}

static int delete_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;

    if (command->options.dry_run)
        return query_would(command, file, "delete", true);
    return query_done(command, file, reel_delete(command->reel, &key, &error), "deleted", &error);
}

static int restore_one(struct command *command, const char *file)
{
    struct reel_key key = {.file = file};
    struct reel_error error;

    if (command->options.dry_run)
        return query_would(command, file, "restore", false);
    return query_done(command, file, reel_restore(command->reel, &key, &error), "restored", &error);
}

int command_delete(struct command *command)
{
    char question[64];

    (void)snprintf(question, sizeof(question), "delete %d files?", command->count);
    if (command->count > 1 && !command->options.dry_run && !command_confirm(command, question))
        return COMMAND_FAILED;
    return command_each_argument(command, delete_one);
}

int command_restore(struct command *command)
{
    return command_each_argument(command, restore_one);
}

/* ---- rename ---- */

int command_rename(struct command *command)
{
    const char *file = command->arguments[0], *name = command->arguments[1];
    struct reel_key key = {.file = file};
    struct reel_error error;

    if (!reel_rename(command->reel, &key, name, &error))
        return command_failed(command, file, &error);
    return command->options.json
               ? command_print_json(command, json_pack("{s:o,s:o}", "file", command_json_text(file), "name",
                                                       command_json_text(name)))
               : COMMAND_OK;
}

/* ---- expire ---- */

bool command_parse_file_expires(const char *text, int64_t *expires)
{
    int64_t ms;

    if (strcmp(text, "never") == 0)
        *expires = REEL_NEVER;
    else if (command_parse_duration(text, &ms))
        *expires = -((ms + 999) / 1000);
    else
        return command_parse_time(text, 0, expires) && *expires > (int64_t)time(NULL);
    return true;
}

int command_expire(struct command *command)
{
    const char *file = command->arguments[0], *text = command->arguments[1];
    struct reel_key key = {.file = file};
    struct reel_error error;
    char when[COMMAND_TIME_SIZE];
    int64_t expires, changed;

    if (!command_parse_file_expires(text, &expires))
        return command_usage(&command->options, COMMAND_EXPIRES_EXPECTED, text);
    if (!reel_expire(command->reel, &key, expires, &changed, &error))
        return command_failed(command, file, &error);
    if (command->options.json)
        return command_print_json(command, json_pack("{s:o,s:o}", "file", command_json_text(file), "expires",
                                                     command_json_time(changed)));
    return command_print(command, "%s\n", changed > 0 ? command_time(changed, when) : "never");
}

/* ---- url ---- */

/* "file", "user", "prefix:N" into LINK. */
static bool parse_scope(const char *text, struct reel_link *link)
{
    if (strcmp(text, "file") == 0 || strcmp(text, "user") == 0) {
        link->scope = text[0] == 'f' ? REEL_LINK_FILE : REEL_LINK_USER;
        return true;
    }
    link->scope = REEL_LINK_PREFIX;
    size_t digits = strncmp(text, "prefix:", 7) == 0 ? strspn(text + 7, "0123456789") : 0;
    if (digits == 0 || digits > 3 || text[7 + digits] != '\0')
        return false;
    link->prefix = strtoul(text + 7, NULL, 10);
    return link->prefix > 0;
}

bool command_parse_expires(const char *text, int64_t *expires)
{
    int64_t now = (int64_t)time(NULL), ms;

    if (!command_parse_duration(text, &ms))
        return command_parse_time(text, now, expires);
    *expires = now + (ms + 999) / 1000;
    return true;
}

static bool fill_link(const struct command_options *options, struct reel_link *link)
{
    *link = (struct reel_link){.client = options->network, .name = options->name, .exact = options->exact};
    return parse_scope(options->scope ? options->scope : "file", link) &&
           command_parse_expires(options->expires ? options->expires : "1h", &link->expires);
}

static char *signed_url(struct command *command, const struct reel_key *key, struct reel_error *error)
{
    struct reel_link link;

    (void)fill_link(&command->options, &link); /* it could be read before */
    link.keys = command->settings.keys;
    return reel_sign_url(NULL, key, command->settings.http, &link, error);
}

static int url_one(struct command *command, const char *file)
{
    struct reel_key key = {
        .application = command->settings.application, .user = command->settings.user, .file = file};
    struct reel_error error;
    char *url = command->options.sign
                    ? signed_url(command, &key, &error)
                    : reel_url(NULL, &key, command->settings.http, command->options.name, &error);
    int result = COMMAND_OK;

    if (!url)
        return command_failed(command, file, &error);
    if (command->options.json)
        result =
            command_print_json(command, json_pack("{s:o,s:s}", "file", command_json_text(file), "url", url));
    else
        printf("%s\n", url);
    reel_free(url);
    return result;
}

int command_url(struct command *command)
{
    if (command->settings.http[0] == '\0') {
        return command_usage(&command->options, "no HTTP server is given: --http BASE, REEL_HTTP, or `http` "
                                                "under [client] in ~/.config/reel.conf");
    }
    const struct command_options *options = &command->options;
    struct reel_link link;

    if (!options->sign && (options->expires || options->scope || options->network || options->exact))
        return command_usage(options, "--expires, --scope, --network and --exact belong to --sign");
    if (options->sign && !fill_link(options, &link))
        return command_usage(options,
                             "--scope is file, user or prefix:N; --expires is a time (6h, 30d) or a date "
                             "(2026-11-28)");
    return command_each_argument(command, url_one);
}
