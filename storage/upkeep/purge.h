/*
 * purge: takes away for good what was deleted long enough ago. In the order that never leaves a served row that points at
 * nothing: the row becomes "being purged" (from then on RESTORE finds nothing), then the file goes, then the row. After a
 * crash at any step the next round continues where it stopped, on whichever member; a file that comes back because a
 * power cut took back its removal is one without a row, and the clean-up's. Also measures what the trash holds. Chores of
 * storage/upkeep/upkeep.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_PURGE_H
#define REEL_STORAGE_PURGE_H

#include "storage/upkeep/keeper.h"

extern const struct chore purge_chore, measure_chore;

void purge_register_metrics(struct upkeep_metrics *metrics);

#endif
