/*
 * command_quota: `reel admin quota USER [APPLICATION]`: what a user has and may have, and the changing of it; and the line about it in
 * `reel du`.
 */
#include "client/command/command_internal.h"

#include "common/config/config_value.h"

#include <inttypes.h>
#include <string.h>

bool command_quota_of_user(struct command *command, struct reel_quota *quota)
{
    static const struct reel_key key = {0};
    struct reel_error error;

    return reel_quota(command->reel, &key, quota, &error) && (quota->bytes >= 0 || quota->files >= 0);
}

static json_t *number_or_null(int64_t number)
{
    return number < 0 ? json_null() : json_integer((json_int_t)number);
}

json_t *command_quota_json(const struct reel_quota *quota)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:b,s:b}", "bytes_used", number_or_null(quota->bytes_used),
                     "files_used", number_or_null(quota->files_used), "bytes", number_or_null(quota->bytes),
                     "files", number_or_null(quota->files), "own_bytes", (int)quota->own_bytes, "own_files",
                     (int)quota->own_files);
}

/* "1.0 GiB of 20.0 GiB bytes", "12 of 100 files". */
static void quota_text(int64_t used, int64_t limit, bool own, bool bytes, char *text, size_t size)
{
    char amounts[2][32];
    const int64_t numbers[2] = {used, limit};

    for (int i = 0; i < 2; i++) {
        if (numbers[i] < 0)
            (void)snprintf(amounts[i], sizeof(amounts[i]), "%s", i == 0 ? "uncounted" : "any number of");
        else if (bytes)
            (void)command_human((double)numbers[i], amounts[i], sizeof(amounts[i]));
        else
            (void)snprintf(amounts[i], sizeof(amounts[i]), "%" PRId64, numbers[i]);
    }
    (void)snprintf(text, size, "%s of %s %s%s", amounts[0], amounts[1], bytes ? "bytes" : "files",
                   own || limit < 0 ? "" : " (as configured)");
}

int command_quota_print(struct command *command, const char *who, const struct reel_quota *quota)
{
    char files[128], bytes[128], name[REEL_USER_SIZE];

    quota_text(quota->files_used, quota->files, quota->own_files, false, files, sizeof(files));
    quota_text(quota->bytes_used, quota->bytes, quota->own_bytes, true, bytes, sizeof(bytes));
    return command_print(command, "%s: %s, %s\n", command_printable(who, name, sizeof(name)), files, bytes);
}

/* "none", "default", a number, or with BYTES a size. */
static bool parse_limit(const char *text, bool bytes, int64_t *limit)
{
    static const struct config_option size = {"", "", CONFIG_SIZE, 0, NULL, 0, INT64_MAX, NULL, false, NULL};
    static const struct config_option count = {"", "",        CONFIG_INTEGER, 0,     NULL,
                                               0,  INT64_MAX, NULL,           false, NULL};

    if (!text)
        *limit = REEL_QUOTA_KEEP;
    else if (strcmp(text, "none") == 0)
        *limit = REEL_QUOTA_NONE;
    else if (strcmp(text, "default") == 0)
        *limit = REEL_QUOTA_DEFAULT;
    else
        return config_value_parse(bytes ? &size : &count, text, limit, NULL);
    return true;
}

int command_quota(struct command *command)
{
    const struct command_options *options = &command->options;
    const char *user = command->arguments[1],
               *application = command->count > 2 ? command->arguments[2] : NULL;
    const struct reel_key key = {.application = application, .user = user};
    struct reel_quota quota;
    struct reel_error error;
    int64_t bytes, files;

    if (command->count > 3)
        return command_usage(options, "admin quota takes a user and an application");
    if (!parse_limit(options->bytes, true, &bytes))
        return command_usage(options, "--bytes %s: a size is expected (500M, 20G), none or default",
                             options->bytes);
    if (!parse_limit(options->files, false, &files))
        return command_usage(options, "--files %s: a number is expected, none or default", options->files);
    bool sets = bytes != REEL_QUOTA_KEEP || files != REEL_QUOTA_KEEP;
    if (sets && options->dry_run)
        return command_print(command, "would change the quota of user %s\n", user);
    if (!(sets ? reel_set_quota(command->reel, &key, bytes, files, &quota, &error)
               : reel_quota(command->reel, &key, &quota, &error)))
        return command_failed(command, user, &error);
    if (!options->json)
        return command_quota_print(command, user, &quota);
    json_t *json = command_quota_json(&quota);
    if (json && json_object_set_new(json, "user", command_json_text(user)) == 0)
        return command_print_json(command, json);
    json_decref(json);
    return COMMAND_FAILED;
}
