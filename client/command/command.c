/*
 * command: the `reel` command: settings from file, environment and command line, and which of its verbs runs.
 * Built on reel.h alone (and common/config for its settings). docs/reel.md is its manual.
 */
#include "client/command/command_internal.h"

#include "common/base/standard_files.h"
#include "common/config/config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_FILE "/etc/reelstore/reel.conf"

#define OPTION(name_, member_, type_, default_, minimum_, maximum_, help_)                                   \
    {                                                                                                        \
        .section = "client", .name = name_, .type = type_,                                                   \
        .offset = offsetof(struct command_settings, member_), .default_value = default_,                     \
        .minimum = minimum_, .maximum = maximum_, .help = help_                                              \
    }

static const struct config_option settings_options[] = {
    OPTION("trackers", trackers, CONFIG_STRING, "", 0, 0,
           "Trackers, separated by commas: host:port (without port: 21000). -t, REEL_TRACKERS."),
    OPTION("idservers", idservers, CONFIG_STRING, "", 0, 0,
           "ID servers, separated by commas: host:port (without port: 22000); for `doctor` only. "
           "REEL_IDSERVERS."),
    OPTION("application", application, CONFIG_STRING, "tnvideo", 0, 0,
           "Application ID of files: letters and digits. -a, REEL_APPLICATION."),
    OPTION("user", user, CONFIG_STRING, "", 0, 0, "User ID of files. -u, REEL_USER."),
    OPTION("http", http, CONFIG_STRING, "", 0, 0,
           "Address of an HTTP server, e.g. http://media1:8080, for links. --http, REEL_HTTP."),
    OPTION("connect_timeout", connect_timeout_ms, CONFIG_DURATION, "1s", 1, 3600000,
           "How long connecting to one server may take. --connect-timeout."),
    OPTION("timeout", timeout_ms, CONFIG_DURATION, "10s", 1, 3600000,
           "How long a server may take until its reply begins. --timeout."),
    OPTION("progress_timeout", progress_timeout_ms, CONFIG_DURATION, "30s", 1, 3600000,
           "How long a transfer may stand still. --progress-timeout."),
    OPTION("hedge_time", hedge_ms, CONFIG_DURATION, "300ms", 0, 3600000,
           "How long a tracker may take to answer until the next one is asked too; 0: never. --hedge-time."),
    OPTION("tries", tries, CONFIG_INTEGER, "10", 1, 1000,
           "Tries of an upload or download, over all servers. --tries."),
};

static const struct config_table settings_tables[] = {
    {.options = settings_options, .count = ARRAY_SIZE(settings_options)},
    {.options = NULL, .count = 0},
};

#define TRANSFER " files-from parallel dry-run "
#define MANY     " files-from "

static const struct command_verb verbs[] = {
    {"upload", "FILE...", "Uploads files (- for standard input) and prints the file ID of each.",
     TRANSFER "name type file-id recursive ", 0, -1, true, true, command_upload},
    {"download", "FILE_ID [PATH]",
     "Downloads files: one to PATH or --output, else under their stored names, here or --into a directory.",
     TRANSFER "output into resume verify offset size ", 0, -1, true, true, command_download},
    {"size", "FILE_ID...", "Prints the size in bytes.", MANY, 0, -1, true, true, command_size},
    {"stat", "FILE_ID...", "Prints everything that is known about files.", MANY, 0, -1, true, true,
     command_stat},
    {"delete", "FILE_ID...", "Deletes files; restore brings them back until they are purged.",
     MANY "dry-run ", 0, -1, true, true, command_delete},
    {"restore", "FILE_ID...", "Brings deleted files back.", MANY "dry-run ", 0, -1, true, true,
     command_restore},
    {"list", "[AFTER_FILE_ID]", "Lists the user's files, in the order of their IDs.",
     " deleted limit sort since name long ", 0, 1, true, true, command_list},
    {"trash", "[AFTER_FILE_ID]", "Lists the user's deleted files that restore can bring back.",
     " limit sort since name long ", 0, 1, true, true, command_trash},
    {"find", "GLOB...",
     "Prints the IDs of files whose names are like one of GLOB (*, ?, [a-z]; case counts).",
     " deleted limit since ", 1, -1, true, true, command_find},
    {"du", "", "Prints how many files and bytes the user has, and how many in the trash.", "", 0, 0, true,
     true, command_du},
    {"url", "FILE_ID...", "Prints the HTTP links of files (--name adds a name).", MANY "name ", 0, -1, false,
     true, command_url},
    {"fsck", "[GROUP]", "Has every file of the group read back, waits, and prints what is wrong.",
     " repair status confirm-leftovers ", 0, 1, true, true, command_fsck},
    {"groups", "", "Prints the tracker's table of groups and storage servers.", "", 0, 0, true, false,
     command_groups},
    {"status", "", "Prints groups and storage servers with state, version and space; as JSON with --json.",
     "", 0, 0, true, false, command_status},
    {"doctor", "", "Asks every part whether it is well, and says what to do where it is not.", "", 0, 0, true,
     false, command_doctor},
    {"admin", "group ...", "group list|add GROUP [WEIGHT]|drain GROUP|open GROUP|weight GROUP WEIGHT.",
     " dry-run ", 2, 4, true, false, command_admin},
    {"auth", "new-key ...",
     "new-key ROLES ID [FROM [UNTIL]] [OPTION=VALUE...]: a line for a keys file (-o FILE adds it).",
     " output ", 1, -1, false, false, command_auth},
};

const struct command_verb *command_verbs(size_t *count)
{
    *count = ARRAY_SIZE(verbs);
    return verbs;
}

void command_print_settings(void)
{
    printf("\nSettings in the file, under [client]:\n");
    config_help(settings_tables, stdout);
}

static const struct command_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* ---- settings ---- */

/* The file of settings: the one that is named, else the first that is there. NULL: none. */
static const char *settings_file(const char *named, char *buffer, size_t size)
{
    const char *config_home = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int length = -1;

    if (!named || named[0] == '\0')
        named = getenv("REEL_CONFIG");
    if (named && named[0] != '\0')
        return named;
    if (config_home && config_home[0] == '/')
        length = snprintf(buffer, size, "%s/reel.conf", config_home);
    else if (home && home[0] == '/')
        length = snprintf(buffer, size, "%s/.config/reel.conf", home);
    if (length > 0 && (size_t)length < size && access(buffer, F_OK) == 0)
        return buffer;
    return access(SYSTEM_FILE, F_OK) == 0 ? SYSTEM_FILE : NULL;
}

static bool take_environment(struct command_line *line)
{
    static const struct {
        const char *variable, *name;
    } variables[] = {
        {"REEL_TRACKERS", "trackers"}, {"REEL_APPLICATION", "application"},
        {"REEL_USER", "user"},         {"REEL_IDSERVERS", "idservers"},
        {"REEL_HTTP", "http"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const char *value = getenv(variables[i].variable);

        if (value && value[0] != '\0' && !command_line_default(line, variables[i].name, value))
            return false;
    }
    return true;
}

static int load_settings(struct command *command, struct command_line *line)
{
    char path[4096];
    struct error error;

    if (!take_environment(line))
        return command_usage(&command->options, "no memory for the settings");
    if (config_load(settings_tables, settings_file(command->options.config, path, sizeof(path)),
                    (const char *const *)line->overrides, line->override_count, &command->settings, &error))
        return COMMAND_OK;
    /* config_load() calls what was not in the file an override, -o: here it was an option or the
     * environment. */
    return strncmp(error.text, "-o ", 3) == 0 ? command_usage(&command->options, "setting %s", error.text + 3)
                                              : command_usage(&command->options, "%s", error.text);
}

/* What can be wrong with the settings for this verb. */
static int check_settings(const struct command *command)
{
    const struct command_settings *settings = &command->settings;
    int64_t max_ms;

    if (command->verb->asks && settings->trackers[0] == '\0')
        return command_usage(
            &command->options,
            "no trackers are given: -t HOST:PORT, REEL_TRACKERS, or `trackers` under [client] in "
            "~/.config/reel.conf");
    if (command->verb->asks && strstr(settings->trackers, "://"))
        return command_usage(
            &command->options,
            "trackers \"%s\": HOST:PORT is expected, without \"http://\"; the address of an HTTP "
            "server belongs to --http",
            settings->trackers);
    if (command->verb->needs_user && settings->user[0] == '\0')
        return command_usage(
            &command->options,
            "no user ID is given: -u ID, REEL_USER, or `user` under [client] in ~/.config/reel.conf");
    if (command->options.max_time && !command_parse_duration(command->options.max_time, &max_ms))
        return command_usage(&command->options, "--max-time %s: a time is expected: 30s, 10m, 2h",
                             command->options.max_time);
    return COMMAND_OK;
}

/* ---- running ---- */

static void say_remark(void *argument, const char *text)
{
    command_remark(argument, "%s", text);
}

static int open_handle(struct command *command)
{
    const struct command_settings *settings = &command->settings;
    const struct reel_options options = {
        .trackers = settings->trackers,
        .application = settings->application,
        .user = settings->user[0] != '\0' ? settings->user : NULL,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .call_timeout_ms = settings->timeout_ms,
        .progress_timeout_ms = settings->progress_timeout_ms,
        .hedge_ms = settings->hedge_ms > 0 ? settings->hedge_ms : -1,
        .tries = (int)settings->tries,
        .remark = say_remark,
        .remark_argument = command,
    };
    struct reel_error error;

    if (command->options.verbose > 0)
        (void)setenv("REEL_LOG", command->options.verbose > 1 ? "debug" : "info", 1);
    command->reel = reel_open(&options, &error);
    return command->reel ? COMMAND_OK : command_usage(&command->options, "%s", error.text);
}

static int run_watched(struct command *command)
{
    struct error error;
    int result;

    command->display = command_display_create(command);
    if (!command->display || !command_watch_begin(command, &error)) {
        fprintf(stderr, "reel: %s\n", command->display ? error.text : "no memory");
        command_display_destroy(command->display);
        return COMMAND_FAILED;
    }
    result = command->verb->run(command);
    command_display_clear(command->display);
    result = command_flush(result);
    command_watch_end(command);
    command_display_destroy(command->display);
    return result;
}

static int run_verb(struct command *command)
{
    int result = check_settings(command);

    if (result == COMMAND_OK && !command_read_list(command, &result))
        return result;
    if (result == COMMAND_OK && command->verb->asks)
        result = open_handle(command);
    if (result == COMMAND_OK)
        result = run_watched(command);
    reel_close(command->reel);
    command->reel = NULL;
    command_free_list(command);
    return result;
}

static int check_verb(const struct command *command, const struct command_line *line)
{
    const struct command_verb *verb = command->verb;
    char word[64];
    bool list = command->options.files_from;

    for (size_t i = 0; i < line->used_count; i++) {
        (void)snprintf(word, sizeof(word), " %s ", line->used[i]);
        if (!strstr(verb->options, word))
            return command_usage(&command->options, "%s takes no --%s", verb->name, line->used[i]);
    }
    if (command->count < verb->minimum || (verb->maximum >= 0 && command->count > verb->maximum) ||
        (verb->minimum == 0 && verb->maximum < 0 && command->count == 0 && !list))
        return command_usage(&command->options, "%s takes %s", verb->name,
                             verb->arguments[0] != '\0' ? verb->arguments : "no arguments");
    return COMMAND_OK;
}

static int run_line(struct command *command, struct command_line *line)
{
    const char *name = line->count > 0 ? line->arguments[0] : NULL;
    int result;

    command->verb = name ? find_verb(name) : NULL;
    if (command->options.version && !command->options.help) {
        printf("reel %s\n", reel_version());
        return command_flush(COMMAND_OK);
    }
    if (command->options.help && (!name || command->verb)) {
        command_print_help(command->verb);
        return command_flush(COMMAND_OK);
    }
    if (!command->verb)
        return name ? command_usage(&command->options, "there is no command \"%s\"", name)
                    : command_usage(&command->options, "no command is given");
    command->arguments = line->arguments + 1;
    command->count = line->count - 1;
    result = check_verb(command, line);
    if (result == COMMAND_OK)
        result = load_settings(command, line);
    if (result != COMMAND_OK)
        return result;
    result = run_verb(command);
    config_clear(settings_tables, &command->settings);
    return result;
}

int command_main(int argc, char **argv)
{
    struct command command = {.output = PTHREAD_MUTEX_INITIALIZER};
    struct command_line line;
    struct error error;
    int result;

    standard_files_open();
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is a write error, with a message */
    if (command_line_parse(argc, argv, &line, &command.options, &error))
        result = run_line(&command, &line);
    else
        result = command_usage(&command.options, "%s", error.text);
    command_line_clear(&line);
    pthread_mutex_destroy(&command.output);
    return result;
}
