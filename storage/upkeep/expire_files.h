/*
 * expire_files: files whose time is over (column expires_at) are deleted by the holder of the lease, as DELETE would: they can be
 * restored for trash_keep, then the purge takes them. What is over is decided by keeper_now(), so that no clock that is set
 * forward deletes anything.
 */
#ifndef REEL_STORAGE_EXPIRE_FILES_H
#define REEL_STORAGE_EXPIRE_FILES_H

#include "storage/upkeep/keeper.h"

extern const struct chore expire_files_chore;

void expire_files_register_metrics(struct upkeep_metrics *metrics);

#endif
