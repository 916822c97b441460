/*
 * store_modes: mode and group of new files and directories of the store paths (storage.file_mode, directory_mode,
 * file_group), as they are really to be, whatever the process's umask says. Called by storage/store only.
 */
#ifndef REEL_STORAGE_STORE_MODES_H
#define REEL_STORAGE_STORE_MODES_H

#include "storage/options.h"

#include <sys/types.h>

struct store_modes {
    mode_t file, directory;
    gid_t group;  /* (gid_t)-1: as the system gives it */
    mode_t umask; /* of the process, when they were made */
};

/* From a configuration that storage_options_check() has taken; the group's name is looked up (BLOCKS; start-up). */
MUST_CHECK bool store_modes_make(struct store_modes *modes, const struct storage_config *config,
                                 struct error *error);

/* FD was just made with MODE: makes mode and group so. False with errno. */
MUST_CHECK bool store_modes_apply(const struct store_modes *modes, int fd, mode_t mode);

/* The same for the directory NAME in PARENT, which was just made. */
MUST_CHECK bool store_modes_apply_at(const struct store_modes *modes, int parent, const char *name);

#endif
