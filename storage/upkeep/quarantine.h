/*
 * quarantine: what lies in .quarantine of every store path, and trial files of daemons that died: removed when their time
 * has passed, measured until then. Called by storage/upkeep/sweep.c at the end of every sweep, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_QUARANTINE_H
#define REEL_STORAGE_QUARANTINE_H

#include "storage/upkeep/keeper.h"

#define QUARANTINE_ENTRY_COST 4096 /* bytes that a directory or a look counts in the scrub's rate */

/* NOW: out of keeper_now(). False with ERROR where it could not be finished. */
MUST_CHECK bool quarantine_expire(struct keeper *keeper, int64_t now, struct error *error);

void quarantine_register_metrics(struct upkeep_metrics *metrics);

#endif
