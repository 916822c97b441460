/*
 * command_fsck: `reel fsck`: asks a group for a scrub, waits for its end while it says how far that is, prints the
 * report. Who stops waiting stops nothing: the scrub is the servers'.
 */
#include "client/command/command_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define POLL_MS      500
#define FAILURES_MAX 60 /* answers that may fail in a row while it waits: members change */

static json_t *ask(struct command *command, enum reel_fsck_action action, struct reel_error *error)
{
    char *text = reel_fsck(command->reel, NULL, action, error);
    json_t *report;

    if (!text)
        return NULL;
    report = json_loads(text, 0, NULL);
    reel_free(text);
    if (!json_is_object(report)) {
        json_decref(report);
        *error = (struct reel_error){.code = REEL_E_GENERAL, .text = "the server's report is no JSON object"};
        return NULL;
    }
    return report;
}

static int64_t number(const json_t *object, const char *name)
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
                   number(progress, "rows"));
    (void)command_bar_step(bar, number(progress, "bytes"), -1);
}

/* Waits until the scrub NUMBER is over; *REPORT is replaced by later ones. */
static bool wait_for_end(struct command *command, json_t **report, int64_t wanted, struct reel_error *error)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    struct command_bar *bar = command_bar_begin(command->display, "fsck");
    int failures = 0;
    bool fine = true;

    while (fine && number(*report, "done") < wanted) {
        json_t *next;

        show_progress(bar, *report);
        (void)nanosleep(&pause, NULL);
        next = ask(command, REEL_FSCK_STATUS, error);
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

static int print_report(const json_t *report)
{
    static const char *const names[] = {"rows",   "bytes",     "digests",   "repaired",
                                        "healed", "elsewhere", "leftovers", "young"};
    const json_t *progress = json_object_get(report, "progress");
    const char *phase = json_string_value(json_object_get(progress, "phase"));

    if (!phase) {
        printf("no scrub has begun yet\n");
        return COMMAND_OK;
    }
    printf("%-15s %s\n", "phase", phase);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        printf("%-15s %" PRId64 "\n", names[i], number(progress, names[i]));
    return print_findings(progress) > 0 ? COMMAND_MISMATCH : COMMAND_OK;
}

static int64_t findings_of(const json_t *report)
{
    json_t *value, *findings = json_object_get(json_object_get(report, "progress"), "findings");
    const char *kind;
    int64_t sum = 0;

    json_object_foreach(findings, kind, value) sum += (int64_t)json_integer_value(value);
    return sum;
}

static int failed(struct command *command, const struct reel_error *error)
{
    if (error->code == REEL_E_CANCELLED)
        command_remark(command, "the scrub goes on at the servers; reel fsck --status reports how far it is");
    return command_failed(command, "fsck", error);
}

int command_fsck(struct command *command)
{
    const struct command_options *options = &command->options;
    enum reel_fsck_action action = options->status   ? REEL_FSCK_STATUS
                                   : options->repair ? REEL_FSCK_REPAIR
                                                     : REEL_FSCK_CHECK;
    struct reel_error error;
    json_t *report;
    int result;

    if (action == REEL_FSCK_REPAIR && !command_confirm(command, "put what is wrong out of service?"))
        return COMMAND_FAILED;
    report = ask(command, action, &error);
    if (!report)
        return failed(command, &error);
    if (action != REEL_FSCK_STATUS && !wait_for_end(command, &report, number(report, "wanted"), &error)) {
        json_decref(report);
        return failed(command, &error);
    }
    if (options->json) {
        result = findings_of(report) > 0 ? COMMAND_MISMATCH : COMMAND_OK;
        if (command_print_json(command, report) != COMMAND_OK)
            result = COMMAND_FAILED;
        return result;
    }
    result = print_report(report);
    json_decref(report);
    return result;
}
