/*
 * quarantine: what lies in .quarantine of every store path: given back when a row names it, removed when its time has passed,
 * measured until then; and trial files of daemons that died, likewise removed. Called by storage/upkeep/sweep.c at the end of every
 * sweep and by storage/upkeep/scrub.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_QUARANTINE_H
#define REEL_STORAGE_QUARANTINE_H

#include "storage/upkeep/keeper.h"

#define QUARANTINE_ENTRY_COST 4096 /* bytes that a directory or a look counts in the scrub's rate */

/*
 * Moves files back to their places where a row says that they are there and nothing is: rows of the group or of none, and partial
 * uploads of the group. So it is after a database that was replaced by an empty or an older one is back, and after a member died between
 * a commit that came so late that the clean-up had taken the file, and its look at the file. A file must have the size and, where the
 * row has one, the digest that its row says; one that cannot be moved back is reported and stays. OUT_OF_SERVICE: also
 * where a repair has marked the row, which says nothing about the file unless it has a digest. False with ERROR where the database, a
 * store path or the lease did not allow to look at all of them.
 */
MUST_CHECK bool quarantine_give_back(struct keeper *keeper, bool out_of_service, struct error *error);

/* Gives back what is in service, and removes what is old and wanted by no row, whether in service or not. NOW: from keeper_now(). False
 * with ERROR where it could not be finished. */
MUST_CHECK bool quarantine_expire(struct keeper *keeper, int64_t now, struct error *error);

void quarantine_register_metrics(struct upkeep_metrics *metrics);

#endif
