/*
 * command_fsck: `reel fsck`: asks a group for a scrub, waits for its end while it shows how far that is, prints
 * the report. To stop waiting stops nothing: the scrub is the servers'.
 */
#include "client/command/command_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS      500
#define FAILURES_MAX 60 /* answers that may fail in a row while it waits: members change */

static json_t *fsck_put_question(struct command *command, enum reel_fsck_action action,
                                 struct reel_error *error)
{
    const char *group = command->count > 0 ? command->arguments[0] : NULL;
    const struct reel_key key = {.file = group};
    char *text = reel_fsck(command->reel, &key, action, error);

    if (!text)
        return NULL;
    json_t *report = json_loads(text, 0, NULL);
    reel_free(text);
    const char *answered = json_string_value(json_object_get(report, "group"));
    if (!json_is_object(report)) {
        *error =
            (struct reel_error){.code = REEL_E_GENERAL, .text = "the server's report is not a JSON object"};
    } else if (group && (!answered || strcmp(answered, group) != 0)) {
        *error = (struct reel_error){.code = REEL_E_GENERAL,
                                     .text = "the server reports on its own group only; ask a newer one"};
    } else {
        return report;
    }
    json_decref(report);
    return NULL;
}

/* What is asked for. A server that knows nothing of groups in a request would scrub its own group: it is asked for a
 * report first. */
static json_t *ask_for(struct command *command, enum reel_fsck_action action, struct reel_error *error)
{
    if (command->count > 0 && action != REEL_FSCK_STATUS) {
        json_t *report = fsck_put_question(command, REEL_FSCK_STATUS, error);
        if (!report)
            return NULL;
        json_decref(report);
    }
    return fsck_put_question(command, action, error);
}

static int64_t fsck_number(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

/* How far it is, as a bar without an end: the bytes that were read. */
static void show_progress(struct command_bar *bar, const json_t *report)
{
    const json_t *progress = json_object_get(report, "progress");
    const char *phase = json_string_value(json_object_get(progress, "phase"));

    if (!bar)
        return;
    (void)snprintf(bar->label, sizeof(bar->label), "fsck: %s, %" PRId64 " rows", phase ? phase : "waits",
                   fsck_number(progress, "rows"));
    (void)command_bar_step(bar, fsck_number(progress, "bytes"), -1);
}

/* Of the confirmations that leftovers are leftovers: the last one `wanted`, the last one `done`. */
static int64_t confirmations(const json_t *report, const char *which)
{
    return fsck_number(json_object_get(report, "sweep"), which);
}

static bool fsck_has_ended(const json_t *report, enum reel_fsck_action action, int64_t wanted)
{
    if (action == REEL_FSCK_CONFIRM)
        return confirmations(report, "done") >= wanted;
    return fsck_number(report, "done") >= wanted;
}

/* Waits until what was asked for is over; *REPORT is replaced by later ones. */
static bool wait_for_end(struct command *command, json_t **report, enum reel_fsck_action action,
                         struct reel_error *error)
{
    int64_t wanted =
        action == REEL_FSCK_CONFIRM ? confirmations(*report, "wanted") : fsck_number(*report, "wanted");
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    struct command_bar *bar = command_bar_begin(command->display, "fsck");
    int failures = 0;
    bool fine = true;

    while (fine && !fsck_has_ended(*report, action, wanted)) {
        json_t *next;

        show_progress(bar, *report);
        (void)nanosleep(&pause, NULL);
        next = fsck_put_question(command, REEL_FSCK_STATUS, error);
        if (next) {
            failures = 0;
            json_decref(*report);
            *report = next;
        } else {
            fine = error->code != REEL_E_CANCELLED && ++failures <= FAILURES_MAX;
        }
    }
    command_bar_end(bar);
    command_display_clear(command->display);
    return fine;
}

static int64_t print_findings(const json_t *progress)
{
    json_t *findings = json_object_get(progress, "findings"), *lines = json_object_get(progress, "lines");
    const char *kind;
    json_t *value;
    int64_t sum = 0;

    json_object_foreach(findings, kind, value)
    {
        if (json_integer_value(value) > 0)
            printf("%-15s %" PRId64 "\n", kind, (int64_t)json_integer_value(value));
        sum += (int64_t)json_integer_value(value);
    }
    for (size_t i = 0; i < json_array_size(lines); i++) {
        char line[1024];
        const char *text = json_string_value(json_array_get(lines, i));

        printf("%s\n", command_printable(text ? text : "?", line, sizeof(line)));
    }
    return sum;
}

/* The clean-up was stopped, and waits for an operator. */
static bool is_stopped(const json_t *report)
{
    const char *phase = json_string_value(json_object_get(json_object_get(report, "sweep"), "phase"));

    return phase && strcmp(phase, "stopped") == 0;
}

static void print_stopped(const json_t *report)
{
    const json_t *sweep = json_object_get(report, "sweep");

    printf("stopped         %" PRId64 " of %" PRId64
           " files have no row: too many to be leftovers. If the database is the right one and complete, "
           "`reel fsck --confirm-leftovers` moves them to quarantine\n",
           fsck_number(sweep, "left") + fsck_number(sweep, "leftovers"), fsck_number(sweep, "files"));
}

static int print_report(const json_t *report)
{
    static const char *const names[] = {"rows",      "bytes",     "digests", "repaired", "healed",
                                        "elsewhere", "leftovers", "young",   "left"};
    const json_t *progress = json_object_get(report, "progress");
    const char *phase = json_string_value(json_object_get(progress, "phase"));
    int64_t findings = 0;

    if (!phase) {
        printf("no scrub has begun yet\n");
    } else {
        printf("%-15s %s\n", "phase", phase);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            printf("%-15s %" PRId64 "\n", names[i], fsck_number(progress, names[i]));
        findings = print_findings(progress);
    }
    if (is_stopped(report))
        print_stopped(report);
    return findings > 0 || is_stopped(report) ? COMMAND_MISMATCH : COMMAND_OK;
}

static int print_confirmation(const json_t *report)
{
    const json_t *sweep = json_object_get(report, "sweep");

    if (!json_is_true(json_object_get(report, "confirmed"))) {
        printf("nothing is waiting for confirmation\n");
        return COMMAND_OK;
    }
    printf("%-15s %" PRId64 "\n%-15s %" PRId64 "\n", "files", fsck_number(sweep, "files"), "leftovers",
           fsck_number(sweep, "leftovers"));
    return COMMAND_OK;
}

static int64_t findings_of(const json_t *report)
{
    json_t *value, *findings = json_object_get(json_object_get(report, "progress"), "findings");
    const char *kind;
    int64_t sum = 0;

    json_object_foreach(findings, kind, value) sum += (int64_t)json_integer_value(value);
    return sum;
}

static int fsck_failed(struct command *command, const struct reel_error *error)
{
    if (error->code == REEL_E_CANCELLED)
        command_remark(command,
                       "the scrub continues on the servers; reel fsck --status reports its progress");
    return command_failed(command, "fsck", error);
}

static enum reel_fsck_action action_of(const struct command_options *options)
{
    if (options->status)
        return REEL_FSCK_STATUS;
    if (options->confirm_leftovers)
        return REEL_FSCK_CONFIRM;
    return options->repair ? REEL_FSCK_REPAIR : REEL_FSCK_CHECK;
}

static int print_result(struct command *command, enum reel_fsck_action action, json_t *report)
{
    int result;
    if (command->options.json) {
        result = findings_of(report) > 0 || is_stopped(report) ? COMMAND_MISMATCH : COMMAND_OK;
        return command_print_json(command, report) == COMMAND_OK ? result : COMMAND_FAILED;
    }
    result = action == REEL_FSCK_CONFIRM ? print_confirmation(report) : print_report(report);
    json_decref(report);
    return result;
}

int command_fsck(struct command *command)
{
    enum reel_fsck_action action = action_of(&command->options);
    struct reel_error error;

    if (action == REEL_FSCK_REPAIR && !command_confirm(command, "take damaged files out of service?"))
        return COMMAND_FAILED;
    if (action == REEL_FSCK_CONFIRM &&
        !command_confirm(command, "move all files without a row to quarantine?"))
        return COMMAND_FAILED;
    json_t *report = ask_for(command, action, &error);
    if (!report)
        return fsck_failed(command, &error);
    bool confirmed = json_is_true(json_object_get(report, "confirmed"));
    if (action != REEL_FSCK_STATUS && !wait_for_end(command, &report, action, &error)) {
        json_decref(report);
        return fsck_failed(command, &error);
    }
    if (action == REEL_FSCK_CONFIRM &&
        json_object_set_new(report, "confirmed", json_boolean(confirmed)) != 0) {
        json_decref(report);
        return COMMAND_FAILED;
    }
    return print_result(command, action, report);
}
