/*
 * fence: the one pattern by which the upkeep touches a file. Whoever decided may have been stopped since, for minutes,
 * while another member took the lease over and did the work, or somebody put things right. So before the one call that
 * counts, everything that the step relies on is asked for again, and after a move once more, because nothing can be
 * put between the last question and the call:
 *
 *   1. the rows: what the step relies on holds in the database;
 *   2. the file is the one that was looked at (inode, size, times);
 *   3. the lease: its term has not passed on this machine's monotonic clock;
 *   4. the call;
 *   5. after a move to quarantine the rows and the file again; where they no longer say so, or cannot be asked, the file
 *      goes back to its place.
 *
 * Nothing that may hang, such as a sync, comes between 2 and 4.
 *
 * A removal has no fifth step; therefore only what cannot come back is removed: files whose row is being purged
 * (status 2), and what has lain in quarantine for its time. Changes of rows need none of this: each statement names what
 * it saw and the owner of the lease (storage/upkeep/upkeep_sql.h). docs/durability.md has the table of all steps.
 * On the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_FENCE_H
#define REEL_STORAGE_FENCE_H

#include "storage/store/store_scan.h"
#include "storage/upkeep/keeper.h"

enum fence_outcome {
    FENCE_DONE,
    FENCE_SHUT,   /* what it relied on does not hold (any more): nothing was done, or it was undone */
    FENCE_FAILED, /* ERROR; what was done is undone as far as possible */
};

struct fence_step {
    struct keeper *keeper;
    struct store_path *path;
    const char *name;                   /* the file's place below the store path */
    const struct store_scan_look *seen; /* as it was judged, there or in quarantine */
    /* Does what the step relies on hold in the database? On a database thread, perhaps several times. */
    enum db_result (*holds)(void *argument, struct db_connection *connection, bool *holds,
                            struct error *error);
    void *argument;
};

/* False with ERROR_CANCELLED when the lease's term has passed. To be called right before a removal. */
MUST_CHECK bool fence_lease(const struct keeper *keeper, struct error *error);

/* Moves the file into quarantine, as HELD. */
MUST_CHECK enum fence_outcome fence_put_aside(const struct fence_step *step, char held[STORE_SCAN_NAME_SIZE],
                                              struct error *error);

/* Moves the file HELD, which lies in quarantine, to its place. FENCE_SHUT also where something lies there and, with ERROR set, where the
 * move failed. Nothing is checked after the move: if the row has gone since, the file is a leftover, which the next clean-up finds. */
MUST_CHECK enum fence_outcome fence_give_back(const struct fence_step *step, const char *held,
                                              struct error *error);

#endif
