/*
 * store_life: whether another process that has used a store path has ended. Each one has a number for each directory that it has found at
 * a store path, and holds a lock on a byte of that directory's marker, at this number, for as long as it may touch a file there; the kernel takes it away with the process, after its last write. That
 * says something only where one kernel sees all locks: on a file system of this machine (struct store_system.one_journal), not on a
 * volume that others mount too: neither at the store path nor somewhere below it, where its own files have one. Called by storage/store/store_look.c on the probe thread (BLOCKS), and by those who take partial uploads
 * over, on any thread (never blocks).
 */
#ifndef REEL_STORAGE_STORE_LIFE_H
#define REEL_STORAGE_STORE_LIFE_H

#include "storage/store/store.h"

/* The number of this process to be recorded for a file in PATH: random, not 0; odd where its end can be found out there. */
int64_t store_life_in(struct store_path *path);

/* May the file FD in PATH, opened by way of ROOT, be touched while LIFE is recorded for it? ROOT must be the directory for which this
 * process has LIFE; and where LIFE says that its end can be found out, the file must be on the same file system as the marker: of one that is
 * not, the next store_life_in() knows. */
bool store_life_fits(struct store_path *path, const struct store_root *root, int fd, int64_t life,
                     struct error *error);

/* The process that recorded LIFE for a file in PATH has ended, or has nothing to do there any more, as far as can be determined: false
 * may mean either. */
bool store_life_is_over(struct store_path *path, int64_t life);

struct store_held_root;
/* For storage/store/store_look.c: ROOT, which nobody uses yet, gets its life, locked where that says something. */
void store_life_begin(struct store_held_root *root);

#endif
