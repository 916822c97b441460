/*
 * command: the `reel` command: options, settings from file, environment and command line, and which of its
 * verbs runs. Built on reel.h alone (and common/config/config.h for its settings). docs/reel.md is its manual.
 */
#include "client/command/command_internal.h"

#include "common/base/address.h"
#include "common/config/config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_FILE   "/etc/reelstore/reel.conf"
#define OVERRIDES_MAX 32

#define OPTION(name_, member_, type_, default_, minimum_, maximum_, help_)                                   \
    {                                                                                                        \
        .section = "client", .name = name_, .type = type_,                                                   \
        .offset = offsetof(struct command_settings, member_), .default_value = default_,                     \
        .minimum = minimum_, .maximum = maximum_, .help = help_                                              \
    }

static const struct config_option settings_options[] = {
    OPTION("trackers", trackers, CONFIG_STRING, "", 0, 0,
           "Trackers, separated by commas: host:port (without port: 21000). -t, REEL_TRACKERS."),
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

static const struct command_verb verbs[] = {
    {"upload", "FILE...", "Uploads files (- for standard input) and prints the file ID of each.", "nTI", 1,
     -1, true, command_upload},
    {"download", "FILE_ID [PATH]",
     "Downloads a file to PATH (- for standard output; without PATH its stored name, here).", "cVos", 1, 2,
     true, command_download},
    {"size", "FILE_ID...", "Prints the size in bytes.", "", 1, -1, true, command_size},
    {"stat", "FILE_ID...", "Prints everything that is known about a file.", "", 1, -1, true, command_stat},
    {"delete", "FILE_ID...", "Deletes files; restore brings them back until they are purged.", "", 1, -1,
     true, command_delete},
    {"restore", "FILE_ID...", "Brings deleted files back.", "", 1, -1, true, command_restore},
    {"list", "[AFTER_FILE_ID]", "Lists the user's files in the order of their IDs.", "DL", 0, 1, true,
     command_list},
    {"trash", "[AFTER_FILE_ID]", "Lists the user's deleted files that restore can bring back.", "L", 0, 1,
     true, command_trash},
    {"fsck", "", "Has every file of the group read back, waits, and prints what is wrong.", "RS", 0, 0, true,
     command_fsck},
    {"groups", "", "Prints the groups and their storage servers, for people.", "", 0, 0, true,
     command_groups},
    {"status", "", "Prints the groups and their storage servers as JSON.", "", 0, 0, true, command_status},
    {"admin", "group list|add GROUP [WEIGHT]|drain GROUP|open GROUP|weight GROUP WEIGHT",
     "Lists the groups, adds one, changes one.", "", 2, 4, true, command_admin},
    {"url", "FILE_ID...", "Prints the HTTP link of a file (--name adds a name to it).", "n", 1, -1, false,
     command_url},
};

/* Letters above 'z' have no short form. */
enum {
    LONG_VERIFY = 'V',
    LONG_NAME = 'n',
    LONG_TYPE = 'T',
    LONG_FILE_ID = 'I',
    LONG_OFFSET = 'o',
    LONG_SIZE = 's',
    LONG_DELETED = 'D',
    LONG_LIMIT = 'L',
    LONG_REPAIR = 'R',
    LONG_STATUS = 'S',
    LONG_CONFIG = 256,
    LONG_HTTP,
    LONG_JSON,
    LONG_CONNECT_TIMEOUT,
    LONG_TIMEOUT,
    LONG_PROGRESS_TIMEOUT,
    LONG_HEDGE_TIME,
    LONG_TRIES,
    LONG_VERSION
};

static const struct option long_options[] = {
    {"trackers", required_argument, NULL, 't'},
    {"application", required_argument, NULL, 'a'},
    {"user", required_argument, NULL, 'u'},
    {"config", required_argument, NULL, LONG_CONFIG},
    {"http", required_argument, NULL, LONG_HTTP},
    {"json", no_argument, NULL, LONG_JSON},
    {"quiet", no_argument, NULL, 'q'},
    {"connect-timeout", required_argument, NULL, LONG_CONNECT_TIMEOUT},
    {"timeout", required_argument, NULL, LONG_TIMEOUT},
    {"progress-timeout", required_argument, NULL, LONG_PROGRESS_TIMEOUT},
    {"hedge-time", required_argument, NULL, LONG_HEDGE_TIME},
    {"tries", required_argument, NULL, LONG_TRIES},
    {"resume", no_argument, NULL, 'c'},
    {"verify", no_argument, NULL, LONG_VERIFY},
    {"name", required_argument, NULL, LONG_NAME},
    {"type", required_argument, NULL, LONG_TYPE},
    {"file-id", required_argument, NULL, LONG_FILE_ID},
    {"offset", required_argument, NULL, LONG_OFFSET},
    {"size", required_argument, NULL, LONG_SIZE},
    {"deleted", no_argument, NULL, LONG_DELETED},
    {"limit", required_argument, NULL, LONG_LIMIT},
    {"repair", no_argument, NULL, LONG_REPAIR},
    {"status", no_argument, NULL, LONG_STATUS},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, LONG_VERSION},
    {NULL, 0, NULL, 0},
};

/* What is read from the command line before the settings are known. */
struct arguments {
    const char *config_file;
    char *overrides[OVERRIDES_MAX]; /* owned: "client.NAME=VALUE" */
    size_t override_count;
    char used[OVERRIDES_MAX]; /* letters of the options that belong to some verbs only */
    size_t used_count;
    bool help, version;
};

static int usage_error(const char *format, ...) PRINTF_LIKE(1, 2);
static int usage_error(const char *format, ...)
{
    va_list list;

    fputs("reel: ", stderr);
    va_start(list, format);
    (void)vfprintf(stderr, format, list);
    va_end(list);
    fputs("\nreel --help tells how it is used.\n", stderr);
    return COMMAND_USAGE;
}

static void print_help(void)
{
    printf("Usage: reel COMMAND [OPTIONS] ARGUMENTS\n\nCommands:\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        printf("  %-9s %-16s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].help);
    printf(
        "\nOptions:\n"
        "  -t, --trackers LIST        trackers, host:port separated by commas (also REEL_TRACKERS)\n"
        "  -a, --application NAME     application ID (REEL_APPLICATION; default tnvideo)\n"
        "  -u, --user ID              user ID (REEL_USER)\n"
        "      --config FILE          settings (REEL_CONFIG; default ~/.config/reel.conf, else " SYSTEM_FILE
        ")\n"
        "      --http BASE            HTTP server of links, e.g. http://media1:8080 (REEL_HTTP)\n"
        "      --json                 one JSON object a line on standard output\n"
        "  -q, --quiet                no progress bar, no remarks\n"
        "      --connect-timeout TIME, --timeout TIME, --progress-timeout TIME, --hedge-time TIME\n"
        "                             e.g. 500ms, 30s, 2m: connecting; until a reply begins; standing still\n"
        "      --tries N              tries of a transfer, over all servers\n"
        "  -h, --help                 this text        --version  the version\n"
        "upload:\n"
        "      --name NAME            name to be stored (default: the file's)\n"
        "      --type TYPE            content type (default: the server finds out)\n"
        "      --file-id ID           file ID (default: a new one)\n"
        "download:\n"
        "  -c, --resume               go on with an earlier download's PATH.part, else with PATH\n"
        "      --verify               fail where no digest is stored (one that is stored is always "
        "compared)\n"
        "      --offset N, --size N   a part of the file; to standard output only\n"
        "list:\n"
        "      --deleted              the deleted files instead of the others\n"
        "      --limit N              at most so many\n"
        "fsck:\n"
        "      --repair               put what is wrong out of service and into quarantine\n"
        "      --status               only tell how far the last one is\n"
        "\nSettings in the file, under [client]:\n");
    config_help(settings_tables, stdout);
    printf("\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 exists, 5 servers unavailable, 6 "
           "digest\n"
           "mismatch, 7 deleted, 8 no space, 9 refused.\n");
}

static bool add_override(struct arguments *arguments, const char *name, const char *value)
{
    char **slot = &arguments->overrides[arguments->override_count];

    if (arguments->override_count == OVERRIDES_MAX)
        return false;
    if (asprintf(slot, "client.%s=%s", name, value) < 0)
        return false;
    arguments->override_count++;
    return true;
}

/* An environment variable is a setting unless an option gave it: config_load() takes a setting once. */
static bool add_environment(struct arguments *arguments)
{
    static const struct {
        const char *variable, *name;
    } variables[] = {
        {"REEL_TRACKERS", "trackers"},
        {"REEL_APPLICATION", "application"},
        {"REEL_USER", "user"},
        {"REEL_HTTP", "http"},
    };
    char prefix[64];

    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const char *value = getenv(variables[i].variable);
        bool given = false;

        (void)snprintf(prefix, sizeof(prefix), "client.%s=", variables[i].name);
        for (size_t j = 0; j < arguments->override_count; j++)
            given = given || strncmp(arguments->overrides[j], prefix, strlen(prefix)) == 0;
        if (value != NULL && value[0] != '\0' && !given && !add_override(arguments, variables[i].name, value))
            return false;
    }
    return true;
}

static bool parse_number(const char *text, int64_t minimum, int64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= minimum;
}

/* One option. Returns COMMAND_OK or COMMAND_USAGE. */
static int take_option(int letter, struct arguments *arguments, struct command_options *options)
{
    static const struct {
        int letter;
        const char *name;
    } settings[] = {
        {'t', "trackers"},
        {'a', "application"},
        {'u', "user"},
        {LONG_HTTP, "http"},
        {LONG_CONNECT_TIMEOUT, "connect_timeout"},
        {LONG_TIMEOUT, "timeout"},
        {LONG_PROGRESS_TIMEOUT, "progress_timeout"},
        {LONG_HEDGE_TIME, "hedge_time"},
        {LONG_TRIES, "tries"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        if (settings[i].letter == letter)
            return add_override(arguments, settings[i].name, optarg) ? COMMAND_OK
                                                                     : usage_error("too many options");
    if (strchr("cVnTIosDLRS", letter) != NULL && letter < 128) {
        if (arguments->used_count + 1 >= sizeof(arguments->used))
            return usage_error("too many options");
        arguments->used[arguments->used_count++] = (char)letter;
    }
    switch (letter) {
    case LONG_CONFIG:
        arguments->config_file = optarg;
        return COMMAND_OK;
    case LONG_JSON:
        options->json = true;
        return COMMAND_OK;
    case 'q':
        options->quiet = true;
        return COMMAND_OK;
    case 'c':
        options->resume = true;
        return COMMAND_OK;
    case LONG_VERIFY:
        options->verify = true;
        return COMMAND_OK;
    case LONG_NAME:
        options->name = optarg;
        return COMMAND_OK;
    case LONG_TYPE:
        options->type = optarg;
        return COMMAND_OK;
    case LONG_FILE_ID:
        options->file_id = optarg;
        return COMMAND_OK;
    case LONG_DELETED:
        options->deleted = true;
        return COMMAND_OK;
    case LONG_REPAIR:
        options->repair = true;
        return COMMAND_OK;
    case LONG_STATUS:
        options->status = true;
        return COMMAND_OK;
    case LONG_OFFSET:
        return parse_number(optarg, 0, &options->offset)
                   ? COMMAND_OK
                   : usage_error("--offset %s: a number of bytes, 0 or more", optarg);
    case LONG_SIZE:
        return parse_number(optarg, 1, &options->size)
                   ? COMMAND_OK
                   : usage_error("--size %s: a number of bytes, 1 or more", optarg);
    case LONG_LIMIT:
        return parse_number(optarg, 1, &options->limit)
                   ? COMMAND_OK
                   : usage_error("--limit %s: a number, 1 or more", optarg);
    case LONG_VERSION:
        arguments->version = true;
        return COMMAND_OK;
    case 'h':
        arguments->help = true;
        return COMMAND_OK;
    default: /* getopt_long has said what is wrong */
        fputs("reel --help tells how it is used.\n", stderr);
        return COMMAND_USAGE;
    }
}

/* The file of settings: the one that is named, else the first that is there. NULL: none. */
static const char *settings_file(const char *named, char *buffer, size_t size)
{
    const char *config_home = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int length = -1;

    if (named == NULL || named[0] == '\0')
        named = getenv("REEL_CONFIG");
    if (named != NULL && named[0] != '\0')
        return named;
    if (config_home != NULL && config_home[0] == '/')
        length = snprintf(buffer, size, "%s/reel.conf", config_home);
    else if (home != NULL && home[0] == '/')
        length = snprintf(buffer, size, "%s/.config/reel.conf", home);
    if (length > 0 && (size_t)length < size && access(buffer, F_OK) == 0)
        return buffer;
    return access(SYSTEM_FILE, F_OK) == 0 ? SYSTEM_FILE : NULL;
}

static const struct command_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static const char *option_name(int letter)
{
    for (size_t i = 0; long_options[i].name != NULL; i++)
        if (long_options[i].val == letter)
            return long_options[i].name;
    return "?";
}

static int check_verb(const struct command_verb *verb, const struct arguments *arguments, int count)
{
    for (size_t i = 0; i < arguments->used_count; i++)
        if (strchr(verb->options, arguments->used[i]) == NULL)
            return usage_error("%s takes no --%s", verb->name, option_name(arguments->used[i]));
    if (count < verb->minimum || (verb->maximum >= 0 && count > verb->maximum))
        return usage_error("%s takes %s", verb->name,
                           verb->arguments[0] != '\0' ? verb->arguments : "no arguments");
    return COMMAND_OK;
}

static int run_verb(const struct command_verb *verb, struct command *command)
{
    const struct command_settings *settings = &command->settings;
    struct reel_options options = {
        .trackers = settings->trackers,
        .application = settings->application,
        .user = settings->user[0] != '\0' ? settings->user : NULL,
        .connect_timeout_ms = settings->connect_timeout_ms,
        .call_timeout_ms = settings->timeout_ms,
        .progress_timeout_ms = settings->progress_timeout_ms,
        .hedge_ms = settings->hedge_ms > 0 ? settings->hedge_ms : -1,
        .tries = (int)settings->tries,
    };
    bool needs_user =
        verb->run != command_groups && verb->run != command_status && verb->run != command_admin;
    struct reel_error error;
    int result;

    if (verb->asks && settings->trackers[0] == '\0')
        return usage_error(
            "no trackers are given: -t HOST:PORT, REEL_TRACKERS, or `trackers` under [client] in "
            "~/.config/reel.conf");
    if (needs_user && settings->user[0] == '\0')
        return usage_error(
            "no user ID is given: -u ID, REEL_USER, or `user` under [client] in ~/.config/reel.conf");
    if (verb->asks) {
        command->reel = reel_open(&options, &error);
        if (command->reel == NULL)
            return usage_error("%s", error.text);
    }
    result = command_flush(verb->run(command));
    reel_close(command->reel);
    return result;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct command command = {0};
    const struct command_verb *verb;
    struct error error;
    char path[4096];
    int result = COMMAND_OK, letter;

    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is a write error, with a message */
    while (result == COMMAND_OK && (letter = getopt_long(argc, argv, "t:a:u:qch", long_options, NULL)) != -1)
        result = take_option(letter, &arguments, &command.options);
    if (result != COMMAND_OK)
        goto done;
    if (arguments.help || arguments.version) {
        if (arguments.help)
            print_help();
        else
            printf("reel %s\n", reel_version());
        result = command_flush(COMMAND_OK);
        goto done;
    }
    verb = optind < argc ? find_verb(argv[optind]) : NULL;
    if (verb == NULL) {
        result = optind < argc ? usage_error("there is no command \"%s\"", argv[optind])
                               : usage_error("no command");
        goto done;
    }
    command.arguments = argv + optind + 1;
    command.count = argc - optind - 1;
    result = check_verb(verb, &arguments, command.count);
    if (result != COMMAND_OK)
        goto done;
    if (!add_environment(&arguments)) {
        result = usage_error("too many options");
        goto done;
    }
    if (!config_load(settings_tables, settings_file(arguments.config_file, path, sizeof(path)),
                     (const char *const *)arguments.overrides, arguments.override_count, &command.settings,
                     &error)) {
        /* config_load() calls what was not in the file an override, -o: here it was an option or the
         * environment. */
        result = strncmp(error.text, "-o ", 3) == 0 ? usage_error("setting %s", error.text + 3)
                                                    : usage_error("%s", error.text);
        goto done;
    }
    result = run_verb(verb, &command);
    config_clear(settings_tables, &command.settings);
done:
    for (size_t i = 0; i < arguments.override_count; i++)
        free(arguments.overrides[i]);
    return result;
}
