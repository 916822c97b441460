/*
 * command_internal: what the files of the `reel` command share: its options, its exit codes, its output.
 * Private to command*.c. One thread; blocks as it likes.
 */
#ifndef REEL_CLIENT_COMMAND_INTERNAL_H
#define REEL_CLIENT_COMMAND_INTERNAL_H

#include "client/reel.h"
#include "common/base/base.h"
#include "common/base/error.h"

#include <jansson.h>
#include <stdio.h>

/* Exit codes (docs/reel.md). */
enum command_exit {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1,
    COMMAND_USAGE = 2,
    COMMAND_NOT_FOUND = 3,
    COMMAND_EXISTS = 4,
    COMMAND_UNAVAILABLE = 5,
    COMMAND_MISMATCH = 6,
    COMMAND_DELETED = 7,
    COMMAND_NO_SPACE = 8,
    COMMAND_REFUSED = 9,
};

/* What the configuration file, the environment and the command line give together. */
struct command_settings {
    char *trackers;
    char *application;
    char *user;
    char *http;
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    int64_t progress_timeout_ms;
    int64_t hedge_ms;
    int64_t tries;
};

/* The options that are no settings. */
struct command_options {
    bool json, quiet, resume, verify, deleted, repair, status;
    const char *name, *type, *file_id;
    int64_t offset, size, limit; /* size, limit 0: all */
};

struct command {
    struct command_settings settings;
    struct command_options options;
    struct reel *reel; /* NULL for what asks nobody */
    char **arguments;  /* after the command's name */
    int count;
};

/* One row of the table of commands. RUN returns an exit code. */
struct command_verb {
    const char *name;
    const char *arguments; /* for --help */
    const char *help;
    const char *options;  /* the letters of the options that it takes, beside those that all take */
    int minimum, maximum; /* arguments; maximum -1: any number */
    bool asks;            /* it needs trackers */
    int (*run)(struct command *command);
};

/* ---- command_output.c ---- */

int command_exit_code(int error_code);

/* Says on standard error that WHAT failed (with --json on standard output too) and gives the exit code. */
int command_failed(const struct command *command, const char *what, const struct reel_error *error);

/* One JSON object a line on standard output; takes OBJECT (NULL: no memory). Returns an exit code. */
int command_print_json(json_t *object);
json_t *command_file_to_json(const struct reel_file *file);

/* Makes sure that all of the output arrived: a full disk shows here. */
int command_flush(int exit_code);

/* Readable on a terminal whatever the bytes are: control characters become '?'. Returns BUFFER. */
char *command_printable(const char *text, char *buffer, size_t size);

/* The progress bar: on standard error, where that is a terminal, and unless --quiet or --json. */
struct command_progress {
    bool shown;
    const char *label;
    int64_t start_ms, next_ms, first;
    bool begun;
};
void command_progress_begin(struct command_progress *progress, const struct command *command,
                            const char *label);
bool command_progress_step(void *progress, int64_t done, int64_t total); /* a reel_progress */
void command_progress_end(struct command_progress *progress);

/* ---- command_transfer.c ---- */
int command_upload(struct command *command);
int command_download(struct command *command);

/* ---- command_query.c ---- */
int command_size(struct command *command);
int command_stat(struct command *command);
int command_delete(struct command *command);
int command_restore(struct command *command);
int command_list(struct command *command);
int command_trash(struct command *command);
int command_groups(struct command *command);
int command_status(struct command *command);
int command_url(struct command *command);

/* ---- command_fsck.c ---- */
int command_fsck(struct command *command);

/* ---- command_admin.c ---- */
int command_admin(struct command *command);

#endif
