/*
 * command: the `reel` command: its verbs, and which of them runs with which settings.
 * Built on reel.h alone (and common/config for its settings). docs/reel.md is its manual.
 */
#include "client/command/command_internal.h"

#include "common/base/standard_files.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRANSFER " files-from parallel dry-run "
#define MANY     " files-from "

static const struct command_verb verbs[] = {
    {"upload", "FILE...",
     "Uploads files (- for standard input) and prints the file ID of each; with --package a ready-made HLS "
     "or "
     "DASH stream, and prints its link.",
     TRANSFER "name type file-id recursive resume expires package ", 0, -1, true, true, command_upload, true},
    {"download", "FILE_ID [PATH]",
     "Downloads files: one to PATH or --output, else under their stored names, here or --into a directory.",
     TRANSFER "output into resume verify offset size ", 0, -1, true, true, command_download, false},
    {"size", "FILE_ID...", "Prints the size in bytes.", MANY, 0, -1, true, true, command_size, false},
    {"stat", "FILE_ID...", "Prints everything that is known about files.", MANY, 0, -1, true, true,
     command_stat, false},
    {"delete", "FILE_ID...", "Deletes files; restore brings them back until they are purged.",
     MANY "dry-run ", 0, -1, true, true, command_delete, false},
    {"restore", "FILE_ID...", "Brings deleted files back.", MANY "dry-run ", 0, -1, true, true,
     command_restore, false},
    {"list", "[AFTER_FILE_ID]", "Lists the user's files, in the order of their IDs.",
     " deleted limit sort since name long ", 0, 1, true, true, command_list, false},
    {"trash", "[AFTER_FILE_ID]", "Lists the user's deleted files that restore can bring back.",
     " limit sort since name long ", 0, 1, true, true, command_trash, false},
    {"find", "GLOB...",
     "Prints the IDs of files whose names match one of the GLOBs (*, ?, [a-z]; case counts).",
     " deleted limit since ", 1, -1, true, true, command_find, false},
    {"du", "", "Prints how many files and bytes the user has, and how many in the trash.", "", 0, 0, true,
     true, command_du, false},
    {"rename", "FILE_ID NAME", "Gives a file another name, under which it is listed and downloaded.", "", 2,
     2, true, true, command_rename, false},
    {"expire", "FILE_ID TIME",
     "Changes when a file is deleted: 30d from now, 2026-11-28, or never; restore brings it back until it is "
     "purged.",
     "", 2, 2, true, true, command_expire, false},
    {"cp", "FILE_ID...",
     "Copies files to another user of yours (--to USER) and prints the file ID of each copy.",
     MANY "to name file-id dry-run ", 0, -1, true, true, command_cp, false},
    {"url", "FILE_ID...", "Prints the HTTP links of files (--name adds a name, --sign a signature).",
     MANY "name sign expires scope network exact ", 0, -1, false, true, command_url, false},
    {"fsck", "[GROUP]", "Has every file of the group read back, waits, and prints what is wrong.",
     " repair status confirm-leftovers ", 0, 1, true, true, command_fsck, false},
    {"groups", "", "Prints the tracker's table of groups and storage servers.", "", 0, 0, true, false,
     command_groups, false},
    {"status", "", "Prints groups and storage servers with state, version and space; as JSON with --json.",
     "", 0, 0, true, false, command_status, false},
    {"top", "",
     "The same, live: redrawn every --interval until q is pressed; where the output is not a terminal, one "
     "table per interval.",
     " interval limit ", 0, 0, true, false, command_top, false},
    {"doctor", "", "Checks the health of every part, and says what to do where something is wrong.", "", 0, 0,
     true, false, command_doctor, false},
    {"admin", "group|quota [...]",
     "group list|add GROUP [WEIGHT]|drain GROUP [--empty]|open GROUP|weight GROUP WEIGHT|remove "
     "GROUP|rebalance; quota [USER [APPLICATION]] prints what users, or this one, have and may have, and "
     "changes "
     "it with --bytes and --files.",
     " dry-run empty to rate settle parallel bytes files sort ", 1, 4, true, false, command_admin, false},
    {"auth", "PART ...",
     "new-key ROLES ID [FROM [UNTIL]] [OPTION=VALUE...] makes a key (-o FILE adds it there), token makes a "
     "token for the "
     "user, verify reads one, whoami asks a tracker who we are, audit-verify FILE... checks audit logs.",
     " output rights expires prefix ", 1, -1, false, false, command_auth, false},
};

const struct command_verb *command_verbs(size_t *count)
{
    *count = ARRAY_SIZE(verbs);
    return verbs;
}

static const struct command_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* ---- settings ---- */

/* Only one part of `auth` asks a server. */
static bool command_asks(const struct command *command)
{
    return command->verb->asks || command_auth_asks(command);
}

/* What can be wrong with the settings for this verb. */
static int check_settings(const struct command *command)
{
    const struct command_settings *settings = &command->settings;
    int64_t max_ms;

    if (command_asks(command) && settings->trackers[0] == '\0')
        return command_usage(
            &command->options,
            "no trackers are given: -t HOST:PORT, REEL_TRACKERS, or `trackers` under [client] in "
            "~/.config/reel.conf");
    if (command_asks(command) &&
        (strcasestr(settings->trackers, "http://") || strcasestr(settings->trackers, "https://")))
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

static void print_help(const struct command_verb *verb)
{
    command_print_help(verb, verbs, ARRAY_SIZE(verbs));
    if (!verb)
        command_print_settings();
    command_print_exit_codes();
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
    /* Before the watch, whose thread looks at the handle. */
    if (result == COMMAND_OK && command_asks(command))
        result = command_open_handle(command);
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

    if (name && strcmp(name, "help") == 0 && line->count <= 2) { /* as many other commands have it */
        name = line->count == 2 ? line->arguments[1] : NULL;
        command->options.help = true;
    }
    command->verb = name ? find_verb(name) : NULL;
    if (command->options.version && !command->options.help) {
        printf("reel %s\n", reel_version());
        return command_flush(COMMAND_OK);
    }
    if (command->options.help_json) {
        command_print_help_json(verbs, ARRAY_SIZE(verbs), command_settings_json());
        return command_flush(COMMAND_OK);
    }
    if (command->options.help && (!name || command->verb)) {
        print_help(command->verb);
        return command_flush(COMMAND_OK);
    }
    if (!command->verb)
        return name ? command_usage(&command->options, "there is no command \"%s\"", name)
                    : command_usage(&command->options, "no command is given");
    command->arguments = line->arguments + 1;
    command->count = line->count - 1;
    result = check_verb(command, line);
    if (result == COMMAND_OK)
        result = command_load_settings(command, line);
    if (result != COMMAND_OK)
        return result;
    result = run_verb(command);
    command_clear_settings(&command->settings);
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
