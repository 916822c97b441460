/*
 * command_check: what `reel doctor` does at once: checks, each on a thread of its own with a limit of time, which note what they
 * find; printed in the order of the checks, so that one server that hangs holds nobody else up. Private to client/command.
 */
#ifndef REEL_CLIENT_COMMAND_CHECK_H
#define REEL_CLIENT_COMMAND_CHECK_H

#include "client/command/command_internal.h"

#include "common/base/address.h"

#define CHECK_LIMIT_MS 3000 /* for one question */

enum severity { WELL, NOTE, WARNING, CRITICAL };

struct check {
    struct command *command;
    void (*run)(struct check *check); /* on the check's thread; blocks for about LIMIT_MS */
    char address[ADDRESS_TEXT_SIZE];  /* that is asked, or another name of what is checked */
    const json_t *server;             /* as the trackers know it; borrowed, only read */
    bool remote;                      /* the trackers are on another machine */
    int64_t limit_ms;
    json_t *status;   /* out, owned: what a tracker said of itself; NULL: nothing */
    json_t *findings; /* private */
};

/* One line. REMEDY (may be NULL): the command, or what else to do. */
void check_finding(struct check *check, enum severity severity, const char *part, const char *remedy,
                   const char *format, ...) PRINTF_LIKE(5, 6);

/* Runs all, and appends what they found to FINDINGS. Returns the worst. */
enum severity checks_run(struct check *checks, size_t count, json_t *findings);

/* As lines for people. */
void checks_print(struct command *command, const json_t *findings);

const char *severity_word(enum severity severity);

#endif
