/*
 * command_options: the table of options, and everything that is made from it: what the command line says, and
 * --help. Long options are written out (no abbreviations) and may stand anywhere; `--` ends them.
 */
#include "client/command/command_internal.h"

#include "common/config/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum kind { FLAG, COUNT, TEXT, NUMBER, SETTING };

struct option {
    const char *name;
    char letter;          /* 0: none */
    const char *argument; /* NULL: takes none */
    enum kind kind;
    size_t offset;       /* of its member of struct command_options */
    int64_t minimum;     /* of a NUMBER */
    const char *setting; /* of a SETTING: its name in the file */
    bool common;         /* all verbs take it */
    const char *help;
};

#define MEMBER(member) offsetof(struct command_options, member)
#define COMMON_SETTING(name_, letter_, argument_, setting_, help_)                                           \
    {                                                                                                        \
        .name = name_, .letter = letter_, .argument = argument_, .kind = SETTING, .setting = setting_,       \
        .common = true, .help = help_                                                                        \
    }
#define COMMON_FLAG(name_, letter_, kind_, member_, help_)                                                   \
    {                                                                                                        \
        .name = name_, .letter = letter_, .kind = kind_, .offset = MEMBER(member_), .common = true,          \
        .help = help_                                                                                        \
    }
#define SOME_FLAG(name_, letter_, member_, help_)                                                            \
    {                                                                                                        \
        .name = name_, .letter = letter_, .kind = FLAG, .offset = MEMBER(member_), .help = help_             \
    }
#define SOME_TEXT(name_, letter_, argument_, member_, help_)                                                 \
    {                                                                                                        \
        .name = name_, .letter = letter_, .argument = argument_, .kind = TEXT, .offset = MEMBER(member_),    \
        .help = help_                                                                                        \
    }
#define SOME_NUMBER(name_, letter_, member_, minimum_, help_)                                                \
    {                                                                                                        \
        .name = name_, .letter = letter_, .argument = "N", .kind = NUMBER, .offset = MEMBER(member_),        \
        .minimum = minimum_, .help = help_                                                                   \
    }

static const struct option options_table[] = {
    COMMON_SETTING("trackers", 't', "LIST", "trackers",
                   "trackers, HOST:PORT separated by commas (REEL_TRACKERS)"),
    COMMON_SETTING("application", 'a', "NAME", "application",
                   "application ID (REEL_APPLICATION; default tnvideo)"),
    COMMON_SETTING("user", 'u', "ID", "user", "user ID (REEL_USER)"),
    COMMON_SETTING("idservers", 0, "LIST", "idservers", "ID servers, for doctor (REEL_IDSERVERS)"),
    COMMON_SETTING("http", 0, "BASE", "http", "HTTP server of links, e.g. http://media1:8080 (REEL_HTTP)"),
    COMMON_SETTING("tls-ca", 0, "PATH", "tls_ca",
                   "certificates that vouch for servers at tls:// (REEL_TLS_CA; default the system's)"),
    COMMON_SETTING("connect-timeout", 0, "TIME", "connect_timeout",
                   "how long connecting to one server may take (1s)"),
    COMMON_SETTING("timeout", 0, "TIME", "timeout",
                   "how long a server may take until its reply begins (10s)"),
    COMMON_SETTING("progress-timeout", 0, "TIME", "progress_timeout",
                   "how long a transfer may stand still (30s)"),
    COMMON_SETTING("hedge-time", 0, "TIME", "hedge_time",
                   "time before the next tracker is asked too (300ms; 0: never)"),
    COMMON_SETTING("tries", 0, "N", "tries", "tries of a transfer, over all servers (10)"),
    {.name = "config",
     .argument = "FILE",
     .kind = TEXT,
     .offset = MEMBER(config),
     .common = true,
     .help = "settings (REEL_CONFIG; default ~/.config/reel.conf, else /etc/reelstore/reel.conf)"},
    {.name = "max-time",
     .argument = "TIME",
     .kind = TEXT,
     .offset = MEMBER(max_time),
     .common = true,
     .help = "give up after this time in total, e.g. 30s, 10m, 2h"},
    COMMON_FLAG("json", 0, FLAG, json, "one JSON object per line on standard output, errors too"),
    COMMON_FLAG("quiet", 'q', FLAG, quiet, "no progress bar, no remarks"),
    COMMON_FLAG("verbose", 'v', COUNT, verbose, "say more on standard error; -vv: everything"),
    COMMON_FLAG("yes", 'y', FLAG, yes, "ask no questions"),
    COMMON_FLAG("help", 'h', FLAG, help, "this text; after a command: that command's"),
    COMMON_FLAG("help-json", 0, FLAG, help_json, "all commands and options as JSON"),
    COMMON_FLAG("version", 0, FLAG, version, "the version"),
    SOME_FLAG("dry-run", 'n', dry_run, "only say what would be done"),
    SOME_FLAG("recursive", 'r', recursive, "the contents of directories too"),
    SOME_FLAG("package", 0, package,
              "upload: FILE is a folder with a finished HLS or DASH stream (or the master playlist in it): "
              "stores all "
              "that it names, with links in place of URIs, and prints the link of the master playlist"),
    SOME_NUMBER("parallel", 'j', parallel, 1,
                "how many at the same time (1): files; of an upload pieces of a large file too, where files "
                "are fewer"),
    SOME_TEXT("files-from", 0, "FILE", files_from, "more arguments, one per line (-: standard input)"),
    SOME_TEXT("name", 0, "NAME", name,
              "upload, cp, url: the name (default: the file's); list, find: names like NAME (*, ?)"),
    SOME_TEXT("type", 0, "TYPE", type, "content type (default: the server finds out)"),
    SOME_TEXT("file-id", 0, "ID", file_id, "file ID (default: a new one)"),
    SOME_TEXT("output", 'o', "PATH", output,
              "where to, for one file (-: standard output); what is there is replaced"),
    SOME_TEXT("into", 0, "DIR", into, "the directory that files go to, under their stored names"),
    SOME_FLAG("resume", 'c', resume,
              "continue: an upload where it was interrupted; a download from PATH.part, else from PATH"),
    SOME_FLAG("verify", 0, verify, "fail where no digest is stored (one that is stored is always compared)"),
    SOME_NUMBER("offset", 0, offset, 0, "first byte of a part; to standard output only"),
    SOME_NUMBER("size", 0, size, 1, "bytes of a part; to standard output only"),
    SOME_FLAG("deleted", 0, deleted, "the deleted files instead of the others"),
    SOME_NUMBER("limit", 0, limit, 1, "at most this many"),
    SOME_TEXT(
        "sort", 0, "KEY", sort,
        "list: by id, name, size (largest first) or time (newest first); quota: name, size, files or used"),
    SOME_TEXT("rights", 0, "LETTERS", rights, "of a token: r read, w write, d delete, l list (r)"),
    SOME_TEXT("prefix", 0, "TEXT", prefix, "of a token: only for files whose IDs begin with it"),
    SOME_TEXT("since", 0, "TIME", since, "not older than this: 90s, 3h, 5d, or 2026-11-28[T12:00:00Z]"),
    SOME_FLAG("long", 'l', long_form, "content type and digest too"),
    SOME_FLAG("sign", 0, sign, "sign the links with the issuer's key of REEL_KEYS (ID@FILE or FILE)"),
    SOME_TEXT("expires", 0, "TIME", expires,
              "how long tokens and signed links are valid: 90s, 6h, 30d, or until 2026-11-28 (1h); upload: "
              "when the file is deleted, or never (as the servers are configured)"),
    SOME_TEXT("scope", 0, "SCOPE", scope,
              "what signed links open: file, user (all of the user's files), prefix:N (IDs that begin alike) "
              "(file)"),
    SOME_FLAG("exact", 0, exact, "signed links are valid only with the name that they show"),
    SOME_TEXT("network", 0, "ADDRESS", network, "only for clients of ADDRESS's network (/24; IPv6: /64)"),
    SOME_TEXT("to", 0, "NAME", to, "the user who gets the copies; admin: the group that users move to"),
    SOME_FLAG("empty", 0, empty,
              "drain: move the users that the group has, with their files, to other groups"),
    SOME_TEXT("rate", 0, "BYTES", rate, "moving: at most so many bytes per second: 500K, 20M, 1G (no limit)"),
    SOME_TEXT("bytes", 0, "BYTES", bytes, "quota: bytes that the user may have: 500M, 20G, none or default"),
    SOME_TEXT("files", 0, "N", files, "quota: files that the user may have: a number, none or default"),
    SOME_TEXT("settle", 0, "TIME", settle,
              "moving: how long to watch users who were moved for uploads to old addresses (75s)"),
    SOME_TEXT("interval", 0, "TIME", interval, "between two tables: 500ms, 2s (2s)"),
    SOME_FLAG("repair", 0, repair, "take damaged files out of service and into quarantine"),
    SOME_FLAG("confirm-leftovers", 0, confirm_leftovers,
              "the many files without a row are leftovers indeed: move them to quarantine"),
    SOME_FLAG("status", 0, status, "only report how far the last one is"),
};

/* ---- values ---- */

static bool command_parse_number(const char *text, int64_t minimum, int64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= minimum;
}

bool command_parse_duration(const char *text, int64_t *milliseconds)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || number <= 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow((int64_t)number, units[i].ms, milliseconds);
    return false;
}

bool command_parse_time(const char *text, int64_t now, int64_t *seconds)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"};
    int64_t ago;

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        struct tm parts = {0};
        const char *end = strptime(text, forms[i], &parts);

        if (end && *end == '\0') {
            int day = parts.tm_mday;

            *seconds = (int64_t)timegm(&parts);
            return parts.tm_mday == day; /* no 30th of February, which would be a day of March */
        }
    }
    if (!command_parse_duration(text, &ago))
        return false;
    *seconds = now - ago / 1000;
    return true;
}

/* ---- the command line ---- */

static bool add_override(struct command_line *line, const char *name, const char *value)
{
    char **larger = realloc(line->overrides, (line->override_count + 1) * sizeof(*larger));

    if (!larger)
        return false;
    line->overrides = larger;
    if (asprintf(&larger[line->override_count], "client.%s=%s", name, value) < 0)
        return false;
    line->override_count++;
    return true;
}

bool command_line_default(struct command_line *line, const char *name, const char *value)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < line->override_count; i++) {
        const char *given = line->overrides[i] + strlen("client.");

        if (strncmp(given, name, length) == 0 && given[length] == '=')
            return true;
    }
    return add_override(line, name, value);
}

void command_line_clear(struct command_line *line)
{
    for (size_t i = 0; i < line->override_count; i++)
        free(line->overrides[i]);
    free(line->overrides);
    free(line->arguments);
}

static bool command_take_option(const struct option *option, const char *value, struct command_line *line,
                                struct command_options *options, struct error *error)
{
    void *member = (char *)options + option->offset;

    if (!option->common) {
        if (line->used_count == ARRAY_SIZE(line->used))
            return error_set(error, ERROR_MALFORMED, "too many options");
        line->used[line->used_count++] = option->name;
    }
    switch (option->kind) {
    case FLAG:
        *(bool *)member = true;
        return true;
    case COUNT:
        ++*(int64_t *)member;
        return true;
    case TEXT:
        *(const char **)member = value;
        return true;
    case NUMBER:
        return command_parse_number(value, option->minimum, member) ||
               error_set(error, ERROR_MALFORMED, "--%s %s: a number of %lld or more is expected",
                         option->name, value, (long long)option->minimum);
    case SETTING:
        return add_override(line, option->setting, value) ||
               error_set(error, ERROR_UNAVAILABLE, "no memory for the options");
    }
    return false;
}

static const struct option *option_nearest(const char *name)
{
    const struct option *best = NULL;
    size_t distance = 3; /* further away it is no typing error */

    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++) {
        const char *known = options_table[i].name;
        size_t now = strncmp(known, name, strlen(name)) == 0 ? 1 : config_edit_distance(known, name);

        if (now < distance) {
            distance = now;
            best = &options_table[i];
        }
    }
    return best;
}

static bool unknown_option(const char *name, struct error *error)
{
    const struct option *meant = option_nearest(name);

    return meant ? error_set(error, ERROR_MALFORMED, "there is no option --%s; did you mean --%s?", name,
                             meant->name)
                 : error_set(error, ERROR_MALFORMED, "there is no option --%s", name);
}

/* "--name", "--name=value", "--name value". *INDEX is moved past a value. */
static bool take_long(int argc, char **argv, int *index, struct command_line *line,
                      struct command_options *options, struct error *error)
{
    char name[64];
    const char *text = argv[*index] + 2, *equals = strchr(text, '='), *value = equals ? equals + 1 : NULL;
    const struct option *option = NULL;

    (void)snprintf(name, sizeof(name), "%.*s", equals ? (int)(equals - text) : 63, text);
    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++)
        if (strcmp(options_table[i].name, name) == 0)
            option = &options_table[i];
    if (!option)
        return unknown_option(name, error);
    if (!option->argument && value)
        return error_set(error, ERROR_MALFORMED, "--%s takes no value", name);
    if (option->argument && !value) {
        if (*index + 1 >= argc)
            return error_set(error, ERROR_MALFORMED, "--%s needs a value: %s", name, option->argument);
        value = argv[++*index];
    }
    return command_take_option(option, value, line, options, error);
}

/* "-q", "-qc", "-tLIST", "-t LIST". */
static bool take_short(int argc, char **argv, int *index, struct command_line *line,
                       struct command_options *options, struct error *error)
{
    for (const char *at = argv[*index] + 1; *at != '\0'; at++) {
        const struct option *option = NULL;
        const char *value = NULL;

        for (size_t i = 0; i < ARRAY_SIZE(options_table); i++)
            if (options_table[i].letter == *at)
                option = &options_table[i];
        if (!option)
            return error_set(error, ERROR_MALFORMED, "there is no option -%c", *at);
        if (option->argument && at[1] != '\0')
            value = at + 1;
        else if (option->argument && *index + 1 < argc)
            value = argv[++*index];
        else if (option->argument)
            return error_set(error, ERROR_MALFORMED, "-%c needs a value: %s", *at, option->argument);
        if (!command_take_option(option, value, line, options, error))
            return false;
        if (option->argument)
            return true;
    }
    return true;
}

bool command_line_parse(int argc, char **argv, struct command_line *line, struct command_options *options,
                        struct error *error)
{
    bool ended = false;

    memset(line, 0, sizeof(*line));
    line->arguments = calloc((size_t)argc + 1, sizeof(*line->arguments));
    if (!line->arguments)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the arguments");
    /* Whatever is wrong must be reported in the form that was asked for. */
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        options->json = options->json || strcmp(argv[i], "--json") == 0;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];

        if (ended || text[0] != '-' || text[1] == '\0')
            line->arguments[line->count++] = argv[i];
        else if (strcmp(text, "--") == 0)
            ended = true;
        else if (!(text[1] == '-' ? take_long(argc, argv, &i, line, options, error)
                                  : take_short(argc, argv, &i, line, options, error)))
            return false;
    }
    return true;
}

/* ---- help ---- */

static void print_option(const struct option *option)
{
    char text[64], letter[8] = "    ";

    if (option->letter)
        (void)snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    (void)snprintf(text, sizeof(text), "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
                   option->argument ? option->argument : "");
    printf("  %-26s %s\n", text, option->help);
}

static bool verb_takes(const struct command_verb *verb, const struct option *option)
{
    char word[64];

    (void)snprintf(word, sizeof(word), " %s ", option->name);
    return strstr(verb->options, word) != NULL;
}

static json_t *option_to_json(const struct option *option)
{
    const char letter[] = {option->letter, '\0'};

    return json_pack("{s:s, s:s, s:s?, s:s, s:b}", "name", option->name, "letter", letter, "argument",
                     option->argument, "help", option->help, "common", option->common);
}

static json_t *verb_to_json(const struct command_verb *verb)
{
    json_t *options = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++)
        if (verb_takes(verb, &options_table[i]))
            (void)json_array_append_new(options, json_string(options_table[i].name));
    return json_pack("{s:s, s:s, s:s, s:o}", "name", verb->name, "arguments", verb->arguments, "help",
                     verb->help, "options", options);
}

void command_print_help_json(const struct command_verb *verbs, size_t count, json_t *settings)
{
    json_t *commands = json_array(), *options = json_array(), *all;

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(commands, verb_to_json(&verbs[i]));
    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++)
        (void)json_array_append_new(options, option_to_json(&options_table[i]));
    all = json_pack("{s:s, s:o, s:o, s:o}", "version", reel_version(), "commands", commands, "options",
                    options, "settings", settings);
    (void)json_dumpf(all, stdout, JSON_INDENT(1));
    (void)fputc('\n', stdout);
    json_decref(all);
}

static void print_verb_help(const struct command_verb *verb)
{
    bool any = false;

    printf("Usage: reel %s [OPTIONS] %s\n\n%s\n", verb->name, verb->arguments, verb->help);
    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++) {
        if (!verb_takes(verb, &options_table[i]))
            continue;
        if (!any)
            printf("\nOptions of %s:\n", verb->name);
        any = true;
        print_option(&options_table[i]);
    }
    printf("\nOptions of all commands:\n");
}

void command_print_help(const struct command_verb *verb, const struct command_verb *verbs, size_t count)
{
    if (verb) {
        print_verb_help(verb);
    } else {
        printf("Usage: reel COMMAND [OPTIONS] ARGUMENTS\n\nCommands (reel COMMAND --help says more):\n");
        for (size_t i = 0; i < count; i++)
            printf("  %-9s %-22s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].help);
        printf("\nOptions:\n");
    }
    for (size_t i = 0; i < ARRAY_SIZE(options_table); i++)
        if (options_table[i].common)
            print_option(&options_table[i]);
}

void command_print_exit_codes(void)
{
    printf("\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 exists, 5 servers unavailable or "
           "out of time,\n"
           "6 digest mismatch, 7 deleted, 8 no space, 9 refused, 10 a file here cannot be opened, read or "
           "written.\n");
}
