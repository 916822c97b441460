/*
 * recovery_private: the recovery as its two modules share it: recovery.c (checkpoints, start, end) and recovery_replay.c. For those only.
 */
#ifndef REEL_STORAGE_RECOVERY_PRIVATE_H
#define REEL_STORAGE_RECOVERY_PRIVATE_H

#include "common/base/metrics.h"
#include "storage/rows/journal_rows.h"
#include "storage/store/journal.h"
#include "storage/store/store_choice.h"
#include "storage/upload/recovery.h"

#include <pthread.h>

struct recovery {
    const struct storage_config *config;
    struct store *store;
    struct meta *meta;
    struct journal *journal;
    struct insert_journal face;
    struct journal_record records[INSERT_BATCH_MAX]; /* of the database thread that writes them */
    pthread_mutex_t mutex;                           /* for `roots` */
    struct store_root *
        *roots; /* of each store path: files that were made in it may be promised; NULL: none may */
    pthread_t thread;
    bool running; /* from the start to the end of the struct */
    bool joined, hangs;
    atomic_bool asks;     /* waits for the database at this moment */
    bool stopping, ended; /* under `mutex` */
    pthread_cond_t end;
    int64_t make_again_ms;
    char why[ERROR_TEXT_SIZE]; /* set before the thread runs */
    struct metric *replayed;
    /* of the replay */
    int64_t marked, files, rows;
    bool emptied; /* it was held, and nothing is in it any more */
    uint64_t id;
};

/* A job of the database that is waited for. */
struct recovery_job {
    struct db_job job;
    struct recovery *recovery;
    const struct journal_record *record;
    const struct path *place;
    enum journal_fate fate;
};

/* BLOCKS. */
MUST_CHECK bool recovery_ask(struct recovery *recovery, struct recovery_job *own,
                             enum db_result (*run)(struct db_job *, struct db_connection *, struct error *),
                             struct error *error);

/* What is in the journal is put in its place; before anybody is answered. BLOCKS. */
MUST_CHECK bool recovery_replay(struct recovery *recovery, struct error *error);

#endif
