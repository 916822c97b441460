/*
 * keeper: what every chore of the upkeep stands on: the lease, the table of chores and their breaks, the sense of time, the
 * limit of the rate, jobs over the database. It knows no chore: storage/upkeep/upkeep.c fills the table. Everything here
 * runs on the upkeep's thread, which may block, unless stated otherwise.
 */
#ifndef REEL_STORAGE_KEEPER_H
#define REEL_STORAGE_KEEPER_H

#include "storage/storage.h"
#include "storage/upkeep/lease.h"

#include <pthread.h>

#define KEEPER_CHORES_MAX 8

struct keeper;

/* One thing that is to be done again and again. */
struct chore {
    const char *name;
    bool anywhere; /* also while another member holds the lease: it only looks */
    bool between;  /* also in the breaks of the other chores, which may take days */
    /* Is it time for it? Cheap. NULL: from NEXT_MS on. */
    bool (*due)(const struct keeper *keeper, const struct chore *chore, int64_t now_ms);
    /* Does it. Returns after how many milliseconds it is to be looked at again. */
    int64_t (*run)(struct keeper *keeper, struct chore *chore);
    /* The keeper's: monotonic time of the next look. */
    int64_t next_ms;
    int64_t look_ms; /* a second time, of the chore's own */
    bool running;
};

/* What can be wrong with a row and its file: see storage/upkeep/scrub.c. */
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
    struct metric *purged_files, *purged_bytes, *purge_failures, *purge_shared;
    struct metric *trash_files, *trash_bytes, *damaged_files;
    struct metric *files_expired;
    struct metric *quota_corrections;
    struct metric *partials_expired, *partials, *partial_bytes;
    struct metric *sweep_stopped;
    struct metric *quarantined, *quarantine_given_back, *quarantine_removed, *quarantine_bytes,
        *quarantine_files;
    struct metric *scrub_running, *scrub_rows, *scrub_bytes, *scrub_digests;
    struct metric *findings[SCRUB_KINDS];
};

struct keeper {
    struct storage *storage;
    const struct storage_config *config;
    struct lease lease;
    struct upkeep_metrics metrics;
    struct chore chores[KEEPER_CHORES_MAX];
    size_t chore_count;

    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t change;
    bool stopping, awake;
    int64_t trash_keep_ms, scrub_rate; /* as the last reload says */
    bool held;                         /* for the status */
    char owner[LEASE_OWNER_SIZE];
    char last_error[ERROR_TEXT_SIZE];

    atomic_bool asks; /* waits for the database, for anything but the lease */

    /* The thread's. Monotonic times. */
    int64_t start_ms, renew_at_ms;
    int64_t clock_offset;   /* the smallest of wall clock - monotonic clock, seconds, that was seen */
    int64_t throttle_at_us; /* reading may go on then */
    int64_t measure_at_ms;  /* not before this is the trash measured again (purge.h) */
};

/* STORAGE with its store, meta and open_cache must outlive it. PORT: for the lease's name. CHORES are copied; they are run
 * in their order. The caller's thread. */
MUST_CHECK bool keeper_init(struct keeper *keeper, struct storage *storage, int port,
                            const struct chore *chores, size_t count, struct error *error);
/* Gives the lease up, so that another member need not wait for its end. While the database's threads run; BLOCKS. */
void keeper_give_up(struct keeper *keeper);
void keeper_clear(struct keeper *keeper);

/* One look at everything: keeps the lease, does what is due. */
void keeper_turn(struct keeper *keeper);

/* At most MS milliseconds; shorter when something happens. */
void keeper_nap(struct keeper *keeper, int64_t ms);

/* Any thread. */
bool keeper_asks(const struct keeper *keeper); /* it waits for the database at this moment */
void keeper_stop(struct keeper *keeper);
bool keeper_stopping(struct keeper *keeper);
void keeper_wake(struct keeper *keeper); /* looks at the lease's row now: something is wanted */
void keeper_reload(struct keeper *keeper, const struct storage_config *config);

/* ---- for the chores ---- */

/* Keeps the lease, does what else is due meanwhile, and reports whether the caller may go on: false when the daemon stops
 * or the lease was lost. To be called every second or so. */
bool keeper_breathe(struct keeper *keeper);

/* Waits so long that BYTES and what was read before stay within the configured rate. False as keeper_breathe(). */
MUST_CHECK bool keeper_throttle(struct keeper *keeper, int64_t bytes);

/* Now, in seconds since the epoch, for deciding what is old enough to go: the earliest of what the machine's clock has
 * said since the start, carried on by the monotonic clock, and of what the database's clock says. A clock that is set
 * forward makes nothing older; one that is set back makes everything younger. */
MUST_CHECK bool keeper_now(struct keeper *keeper, int64_t *seconds, struct error *error);

/* Runs a job over the database; false with the failure in ERROR. */
MUST_CHECK bool keeper_run(struct keeper *keeper, struct db_job *job, struct error *error);

/* Logs (at most every few seconds) and keeps it for the status. */
void keeper_complain(struct keeper *keeper, const char *what, const struct error *error);

/* trash_keep, in seconds, as the last reload says. */
int64_t keeper_trash_keep(struct keeper *keeper);

#endif
