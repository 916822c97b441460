/*
 * sweep: looks for files without rows in every store path and puts them into quarantine. Never touches a file that was
 * written to, or made, less than leftover_age ago: a transfer under way on any member writes, or is cut after
 * progress_timeout, which is shorter. Its place is stored in the row sweep/GROUP of t_lease every few seconds, so that it
 * goes on there after a restart and on another member.
 *
 * The brake: with an empty database, the wrong one, or one that was restored from an old backup, every file looks like a
 * leftover. Where more is found than options `leftovers_max` and `leftovers_share` allow, the sweep stops, and says so;
 * from then on it only counts, until there are few again or an operator confirms (`reel fsck --confirm-leftovers`).
 * Called by storage/upkeep/upkeep.c (as a chore) and storage/upkeep/scrub.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_SWEEP_H
#define REEL_STORAGE_SWEEP_H

#include "storage/upkeep/keeper.h"

#define SWEEP_NAME "sweep" /* of its row: sweep/GROUP */

extern const struct chore sweep_chore;

struct sweep_result {
    int64_t files;     /* looked at */
    int64_t leftovers; /* without a row: moved to quarantine */
    int64_t young;     /* without a row, but perhaps of a transfer under way */
    int64_t left;      /* without a row, and left where they are: the brake */
    bool stopped;      /* by the brake: an operator must confirm */
};

/* One sweep over all store paths, now; ANEW: from the beginning, else on from the stored place if one was interrupted.
 * False with ERROR where it could not be finished (ERROR_CANCELLED: interrupted). */
MUST_CHECK bool sweep_all(struct keeper *keeper, bool anew, struct sweep_result *result, struct error *error);

void sweep_register_metrics(struct upkeep_metrics *metrics);

#endif
