/*
 * scrub: reads back every file of the group's rows and compares it with its row, then looks for files without rows
 * (storage/upkeep/sweep.h). Its place is stored in the lease's row every few seconds, so that it goes on where it was after
 * a restart and on another member.
 *
 * With `repair` a row whose file is missing or wrong is marked (status 3, or 4 where it is deleted: kept out of service),
 * and then the wrong file is moved to quarantine; a marked row whose file is right again loses the mark. No row is ever
 * dropped. A chore of storage/upkeep/upkeep.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_SCRUB_H
#define REEL_STORAGE_SCRUB_H

#include "storage/upkeep/keeper.h"

extern const struct chore scrub_chore;

void scrub_register_metrics(struct upkeep_metrics *metrics);

#endif
