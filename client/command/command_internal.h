/*
 * command_internal: what the files of the `reel` command share: its options, its exit codes, its output.
 * Private to client/command. What a user sees is described in docs/reel.md.
 */
#ifndef REEL_CLIENT_COMMAND_INTERNAL_H
#define REEL_CLIENT_COMMAND_INTERNAL_H

#include "client/reel.h"
#include "common/base/base.h"
#include "common/base/error.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
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
    COMMAND_LOCAL = 10,
};

/* What the configuration file, the environment and the command line give together. */
struct command_settings {
    char *trackers;
    char *idservers;
    char *application;
    char *user;
    char *http;
    char *tls_ca;     /* "": the system's */
    char *keys;       /* [ID@]FILE */
    char *token_file; /* of mode 0600 */
    int auth;         /* enum reel_auth */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    int64_t progress_timeout_ms;
    int64_t hedge_ms;
    int64_t tries;
};

/* The options that are not settings. Texts are the arguments' own; NULL or 0: not given. */
struct command_options {
    bool json, quiet, help, help_json, version, yes, dry_run;
    int64_t verbose; /* how often -v was given */
    bool resume, verify, deleted, empty, repair, status, confirm_leftovers, recursive, long_form, sign, exact,
        package;
    const char *config, *name, *type, *file_id, *output, *into, *files_from, *sort, *since, *max_time,
        *expires, *scope, *network, *rights, *prefix, *to, *interval, *rate, *settle, *bytes, *files;
    int64_t offset, size, limit, parallel;
};

struct command_display;

struct command {
    const struct command_verb *verb;
    struct command_settings settings;
    struct command_options options;
    struct reel *reel; /* NULL where no server is asked */
    char **arguments;  /* after the command's name, and those of --files-from */
    int count;
    struct command_display *display; /* of progress; always there while a verb runs */
    pthread_mutex_t output;          /* one line at a time on standard output and error */
    bool buffered;           /* what is printed may wait: rows of a list, which nobody needs one by one */
    atomic_int ended_by;     /* a signal's number, COMMAND_MAX_TIME, or 0 */
    atomic_int wanted, done; /* files of a transfer, for the summary */
    atomic_int resumable;    /* uploads in progress that can be resumed */
};
#define COMMAND_MAX_TIME     (-1)
#define COMMAND_PARALLEL_MAX 16 /* transfers at the same time */

/* One row of the table of commands. RUN returns an exit code. */
struct command_verb {
    const char *name;
    const char *arguments; /* for --help */
    const char *help;
    const char
        *options; /* the long names of the options that it takes, beside those that all take: " name type " */
    int minimum, maximum; /* arguments; maximum -1: any number */
    bool asks;            /* it needs trackers */
    bool needs_user;
    int (*run)(struct command *command);
    bool paths; /* its arguments are paths here, not file IDs */
};

/* ---- command.c ---- */

/* All of the command but the process: parses, runs, returns the exit code. */
int command_main(int argc, char **argv);
const struct command_verb *command_verbs(size_t *count);

/* ---- command_handle.c ---- */

/* Opens command->reel for a verb that asks servers. An exit code. */
int command_open_handle(struct command *command);

/* Another handle, to be closed by the caller: at TRACKERS, GROUP and MOVES_FROM as in struct reel_options (may be NULL). NULL:
 * *RESULT is the exit code. */
struct reel *command_open_at(struct command *command, const char *trackers, const char *group,
                             const char *moves_from, int *result);

/* ---- command_options.c ---- */

/* What the command line holds. */
struct command_line {
    char **arguments; /* those that are no options, the verb's name first; owned: the array only */
    int count;
    char **overrides; /* owned: "client.NAME=VALUE" for config_load() */
    size_t override_count;
    const char *used[64]; /* long names of options that belong to some verbs only */
    size_t used_count;
};

/* False: the usage error is in ERROR. LINE is always ended by command_line_clear(). */
MUST_CHECK bool command_line_parse(int argc, char **argv, struct command_line *line,
                                   struct command_options *options, struct error *error);
/* NAME=VALUE of a setting, unless the command line has it already. False without memory. */
MUST_CHECK bool command_line_default(struct command_line *line, const char *name, const char *value);
void command_line_clear(struct command_line *line);

/* --help of the whole command, or of VERB. */
void command_print_help(const struct command_verb *verb, const struct command_verb *verbs, size_t count);
void command_print_exit_codes(void);
/* All of it, for programs. SETTINGS (command_settings_json()) is handed over to it. */
void command_print_help_json(const struct command_verb *verbs, size_t count, json_t *settings);

/* When what is made now ends: "6h" from now on, or a date. False: neither. */
MUST_CHECK bool command_parse_expires(const char *text, int64_t *expires);
/* When a file is deleted, as in struct reel_upload: "30d" from then on, a date that is to come, or "never". False: none of them. */
MUST_CHECK bool command_parse_file_expires(const char *text, int64_t *expires);
#define COMMAND_EXPIRES_EXPECTED                                                                             \
    "\"%s\": a time from now on (12h, 30d), a date that is to come (2026-11-28), or never is expected"
/* "90s", "2m", "3h", "5d", or plain seconds. Milliseconds. */
MUST_CHECK bool command_parse_duration(const char *text, int64_t *milliseconds);
/* Seconds since the epoch: a duration before NOW, or a date: 2026-11-28, 2026-11-28T12:00:00Z. */
MUST_CHECK bool command_parse_time(const char *text, int64_t now, int64_t *seconds);

/* ---- command_settings.c ---- */

/* Loads the settings; returns COMMAND_OK, or the exit code of a message that was printed. */
int command_load_settings(struct command *command, struct command_line *line);
void command_clear_settings(struct command_settings *settings);
/* The settings of the file, for --help. */
void command_print_settings(void);
json_t *command_settings_json(void);

/* ---- command_output.c ---- */

/* Says on standard error what is wrong with the command line (with --json on standard output too). */
int command_usage(const struct command_options *options, const char *format, ...) PRINTF_LIKE(2, 3);

/* Says on standard error that WHAT failed (with --json on standard output too) and gives the exit code. */
int command_failed(struct command *command, const char *what, const struct reel_error *error);

/* A line on standard error, "reel: ...", above the progress. Nothing where --quiet. */
void command_remark(struct command *command, const char *format, ...) PRINTF_LIKE(2, 3);

/* One JSON object per line on standard output; takes OBJECT (NULL: no memory). Returns an exit code. */
int command_print_json(struct command *command, json_t *object);
json_t *command_file_to_json(const struct reel_file *file);
json_t *command_json_text(const char *text); /* also of bytes that are no UTF-8 */

/* A line on standard output, at once unless `buffered`. Returns an exit code. */
int command_print(struct command *command, const char *format, ...) PRINTF_LIKE(2, 3);

/* Makes sure that all of the output arrived: a full disk shows here. */
int command_flush(int exit_code);

/* Readable on a terminal whatever the bytes are: controls (C0, DEL, C1) and what is no UTF-8 become '?'; cut at
 * a character where it does not fit. Returns BUFFER. */
char *command_printable(const char *text, char *buffer, size_t size);
/* The same for a text of several lines. */
char *command_printable_lines(const char *text); /* owned by the caller; NULL without memory */
/* Columns that the first SIZE bytes of a printable text take on a terminal; and how many of its bytes fit into COLUMNS. */
size_t command_columns(const char *text, size_t size);
size_t command_fit(const char *text, size_t columns);

/* RFC 3339 in UTC; "-" for 0. Returns BUFFER. */
#define COMMAND_TIME_SIZE 32
/* A time as JSON; null for 0. */
json_t *command_json_time(int64_t seconds);
char *command_time(int64_t seconds, char buffer[COMMAND_TIME_SIZE]);
/* 1.2 GiB. Returns BUFFER. */
char *command_human(double bytes, char *buffer, size_t size);

/* Escape sequences of a colour on STREAM, "" where it is no terminal or NO_COLOR is set. */
enum command_colour { COMMAND_PLAIN, COMMAND_RED, COMMAND_YELLOW, COMMAND_GREEN };
const char *command_colour(FILE *stream, enum command_colour colour);

/* Asks a person QUESTION on a terminal; true where --yes, or where nobody is there to be asked. */
bool command_confirm(struct command *command, const char *question);

/* ---- command_progress.c ---- */

/* The bars: on standard error, where that is a terminal, and unless --quiet or --json: a line for each transfer under
 * way, and one for all where there are several. Any thread. */
struct command_display *command_display_create(const struct command *command); /* NULL without memory */
void command_display_destroy(struct command_display *display);
/* How many files there are, and their bytes as far as they are known. */
void command_display_expect(struct command_display *display, int files, int64_t bytes);
/* Removes the bars, so that something can be printed; they come back with the next step. */
void command_display_clear(struct command_display *display);

struct command_bar {
    struct command_display *display;
    char label[256];
    bool used, preparing;
    int64_t done, total, reached;         /* REACHED: the most that it was at */
    int64_t window_ms[8], window_done[8]; /* what the speed is taken from */
    int window_count;
};
struct command_bar *command_bar_begin(struct command_display *display,
                                      const char *label);         /* NULL: none free */
bool command_bar_step(void *bar, int64_t done, int64_t total);    /* a reel_progress; BAR may be NULL */
bool command_bar_prepare(void *bar, int64_t done, int64_t total); /* of reel_upload.preparing */
void command_bar_end(struct command_bar *bar);

/* ---- command_run.c ---- */

/* SIGINT, SIGTERM, SIGHUP and --max-time cancel what is in progress; a summary is printed. */
MUST_CHECK bool command_watch_begin(struct command *command, struct error *error);
void command_watch_end(struct command *command);

/* WORK for each of COUNT items, on --parallel threads; the exit code of the first item (by number) that failed. */
int command_each(struct command *command, int count,
                 int (*work)(struct command *command, void *items, int number), void *items);
/* ONE for each argument. */
int command_each_argument(struct command *command, int (*one)(struct command *command, const char *argument));

/* The lines of --files-from behind the arguments. False: *RESULT is the exit code. */
bool command_read_list(struct command *command, int *result);
void command_free_list(struct command *command);

/* ---- the verbs ---- */

int command_upload(struct command *command);          /* command_upload.c */
int command_upload_packages(struct command *command); /* of --package; command_package.c */
int command_download(struct command *command);        /* command_download.c */
int command_size(struct command *command);            /* command_query.c */
int command_stat(struct command *command);
int command_delete(struct command *command);
int command_restore(struct command *command);
int command_rename(struct command *command);
int command_expire(struct command *command);
int command_url(struct command *command);
int command_cp(struct command *command);   /* command_copy.c */
int command_list(struct command *command); /* command_list.c */
int command_trash(struct command *command);
int command_find(struct command *command);
int command_du(struct command *command);
int command_quota(struct command *command); /* command_quota.c: admin quota */
/* `reel admin quota` without a user: all who are counted. */
int command_quotas(struct command *command); /* command_quotas.c */
/* Which users of GROUPS (of the trackers' status) have used 90 % of a quota or more, the fullest first: "users" that have a limit,
 * "near" of them with "user", "application" and "used" (1: all), and whether that is "whole". NULL: no group could be asked. Waits
 * two seconds per group. */
json_t *command_quotas_near(struct command *command, const json_t *groups);
int command_print_near(struct command *command, const json_t *near); /* as one line */
/* For reel du. False: no limit holds for the user, or the servers or the rights do not allow to ask. */
bool command_quota_of_user(struct command *command, struct reel_quota *quota);
json_t *command_quota_json(const struct reel_quota *quota);
int command_quota_print(struct command *command, const char *who, const struct reel_quota *quota);
int command_groups(struct command *command); /* command_status.c */
int command_status(struct command *command);
int command_top(struct command *command);    /* command_top.c */
int command_doctor(struct command *command); /* command_doctor.c */
int command_fsck(struct command *command);   /* command_fsck.c */
int command_admin(struct command *command);  /* command_admin.c */
int command_auth(struct command *command);   /* command_auth.c */
/* Whether this line is `auth` with a part that asks a server. */
bool command_auth_asks(const struct command *command);

/* `admin group drain GROUP --empty`, `admin group rebalance`, and what `admin group remove GROUP` asks first. */
int command_empty_group(struct command *command, const char *group); /* command_empty.c */
int command_rebalance(struct command *command);
/* Of a group of the trackers' status: whether it is open for new users. */
bool command_group_takes_users(const json_t *group); /* command_admin.c */
int command_group_is_empty(struct command *command, const char *group);

/* An unlinked file in $TMPDIR, or /var/tmp: contents may be larger than what /tmp has room for. -1: ERROR. */
int command_temporary_file(struct reel_error *error); /* command_copy.c */

/* The tracker's STATUS as an object with an array `groups`. NULL: *RESULT is the exit code. */
json_t *command_get_status(struct command *command, int *result); /* command_groups.c */
/* The table of `reel status`. */
void command_print_groups(const json_t *groups);
/* Of a group: the free bytes, the capacity of its volume; -1: not known. */
int64_t command_group_bytes(const json_t *group, const char *name);

#endif
