/*
 * expire: takes away partial uploads whose time is over, and what is left of those that were given up or joined: the row says "being
 * removed", then the file goes, then the row. A file that has a row of files by then is never touched: its FINISH was
 * quicker, or died behind that row. Also measures what partial uploads hold. Chores of storage/upkeep/upkeep.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_EXPIRE_H
#define REEL_STORAGE_EXPIRE_H

#include "storage/upkeep/keeper.h"

extern const struct chore expire_chore;

void expire_register_metrics(struct upkeep_metrics *metrics);

#endif
