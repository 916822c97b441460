/*
 * recount: counts the files of users with quotas anew: a while after their quota was set, once a day, and when `reel fsck` asks for a scrub.
 * What a crash of the database, an older server or a hand in the tables made wrong is corrected that way, and logged. A chore of
 * storage/upkeep/keeper.h.
 */
#ifndef REEL_STORAGE_RECOUNT_H
#define REEL_STORAGE_RECOUNT_H

#include "storage/upkeep/keeper.h"

extern const struct chore recount_chore;

void recount_register_metrics(struct upkeep_metrics *metrics);

#endif
