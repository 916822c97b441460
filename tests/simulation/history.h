/*
 * history: what clients asked of one file and heard, held against what the promise allows: there must be one order of
 * all that was done, each thing between its request and its answer, that explains every answer (linearizability), in
 * which a file deletes itself only when it has expired, and a deleted one goes by itself only after its time in the trash.
 */
#ifndef REEL_TESTS_SIMULATION_HISTORY_H
#define REEL_TESTS_SIMULATION_HISTORY_H

#include "tests/simulation/sim.h"

#define HISTORY_MAX 60 /* operations of one file */

enum operation_kind {
    OPERATION_PUT,
    OPERATION_DELETE,
    OPERATION_RESTORE,
    OPERATION_RENAME,
    OPERATION_EXPIRE,
    OPERATION_READ,
};
enum operation_answer {
    ANSWER_UNKNOWN, /* no answer, or one that says that it may have happened: at any time, or never */
    ANSWER_DONE, /* PUT stored or repeated, DELETE deleted, RESTORE normal now, READ gave CONTENT, others changed it */
    ANSWER_ABSENT,  /* no such file */
    ANSWER_DELETED, /* the file is deleted */
    ANSWER_GONE,    /* absent or deleted: the answer says no more */
    ANSWER_TAKEN,   /* PUT: the file has other bytes */
};

struct operation {
    enum operation_kind kind;
    enum operation_answer answer;
    int content; /* PUT: what was sent; READ: what came */
    int name;    /* PUT, RENAME: what was sent; READ: what came, -1: it shows none */
    /* EXPIRE: when, virtual time; READ: what came, -1: it shows nothing of that. 0: never. */
    int64_t expires_us;
    int64_t from_us, to_us;
    /* READ that may be older than its request: when that was made. It comes behind every change that the same server had
     * acknowledged by then. 0: FROM_US says all. */
    int64_t asked_us;
    const char *who; /* of whom it was asked */
};

struct history {
    int file;
    int64_t keep_us; /* in the trash */
    /* An upload that takes as long as this from its request on may have lost its file to the clean-up: if it was not answered with
     * success and nobody has changed its row, it withdraws that row, though others may have seen it. */
    int64_t late_us;
    struct operation operations[HISTORY_MAX];
    size_t count;
};

/* False when no order explains it. UNDECIDED: there were too many orders to try them all. */
bool history_explains(const struct history *history, bool *undecided);
void history_print(const struct history *history, FILE *out);

#endif
