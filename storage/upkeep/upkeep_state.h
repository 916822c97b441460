/*
 * upkeep_state: the upkeep as its parts see it: storage/upkeep/upkeep.c (the thread and its timetable),
 * storage/upkeep/purge.c, storage/upkeep/sweep.c, storage/upkeep/scrub.c. Private to these. Everything on the upkeep's thread but
 * where told.
 */
#ifndef REEL_STORAGE_UPKEEP_STATE_H
#define REEL_STORAGE_UPKEEP_STATE_H

#include "common/base/metrics.h"
#include "common/loop/workers.h"
#include "storage/upkeep/lease.h"
#include "storage/storage.h"
#include "storage/upkeep/upkeep.h"
#include "storage/upkeep/upkeep_sql.h"

#include <pthread.h>

/* What can be wrong with a row and its file. */
enum scrub_kind {
    SCRUB_MISSING,
    SCRUB_SIZE,
    SCRUB_DIGEST,
    SCRUB_UNREADABLE, /* the file system failed; nothing is done about it */
    SCRUB_UNKNOWN,    /* the row's path is none of ours */
    SCRUB_DAMAGED,    /* marked by an earlier scrub, and still so */
    SCRUB_KINDS
};

struct upkeep_metrics {
    struct metric *held;
    struct metric *purged_files, *purged_bytes, *purge_failures;
    struct metric *trash_files, *trash_bytes;
    struct metric *quarantined, *quarantine_removed, *quarantine_bytes;
    struct metric *scrub_running, *scrub_rows, *scrub_bytes, *scrub_digests;
    struct metric *findings[SCRUB_KINDS];
};

struct upkeep {
    struct storage *storage;
    const struct storage_config *config;
    struct workers *workers; /* one thread */
    struct job job;
    struct lease lease;
    struct upkeep_metrics metrics;

    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t change;
    bool stopping, awake;
    int64_t trash_keep_ms, scrub_rate; /* as the last reload says */
    bool held;                         /* for status */
    char owner[LEASE_OWNER_SIZE];
    char last_error[ERROR_TEXT_SIZE];

    /* The thread's. Monotonic times. */
    int64_t renew_at_ms, purge_at_ms, measure_at_ms, sweep_at_ms, scrub_at_ms, scrub_look_at_ms;
    int sweeps; /* that ended since the start */
    bool purging;
    int64_t clock_offset;   /* the smallest of wall clock - monotonic clock, seconds, that was seen */
    int64_t throttle_at_us; /* reading may go on then */
    int64_t start_ms;
};

/* Keeps the lease, does what is due meanwhile (but what it is called from), and tells whether the caller may
 * go on: false when the daemon stops or the lease was lost. To be called every second or so. */
bool upkeep_breathe(struct upkeep *upkeep);

/* Waits so long that BYTES and what was read before stay within the configured rate. False as
 * upkeep_breathe(). */
MUST_CHECK bool upkeep_throttle(struct upkeep *upkeep, int64_t bytes);

/* Now, in seconds since the epoch, for deciding what is old enough to go: the earliest of what the machine's
 * clock has said since the start, carried on by the monotonic clock, and of what the database's clock says. A
 * clock that is set forward makes nothing older; one that is set back makes everything younger. */
MUST_CHECK bool upkeep_now(struct upkeep *upkeep, int64_t *seconds, struct error *error);

/* Runs a job over upkeep_sql; false with the failure in ERROR. */
MUST_CHECK bool upkeep_run(struct upkeep *upkeep, struct db_job *job, struct error *error);

/* Logs (at most every few seconds) and keeps it for the status. */
void upkeep_complain(struct upkeep *upkeep, const char *what, const struct error *error);

/* ---- storage/upkeep/purge.c ---- */

/* One look at what is old enough; removes it. */
void purge_round(struct upkeep *upkeep);
void purge_measure(struct upkeep *upkeep); /* also without the lease */

/* ---- storage/upkeep/sweep.c ---- */

struct sweep_result {
    int64_t files;     /* looked at */
    int64_t leftovers; /* without a row: moved to quarantine */
    int64_t young;     /* without a row, but perhaps of a transfer under way */
};
/* All store paths. False with ERROR where it could not be finished. */
MUST_CHECK bool sweep_all(struct upkeep *upkeep, struct sweep_result *result, struct error *error);

/* ---- storage/upkeep/scrub.c ---- */

/* Runs the scrub that was asked for or is due, to its end or until something interrupts it. */
void scrub_if_wanted(struct upkeep *upkeep);
void scrub_register_metrics(struct upkeep_metrics *metrics);

#endif
