/*
 * store_glance: is a stored file there? For threads that must not wait for a volume: those of the database. The look itself
 * is a job of the store path's workers, and the time that the caller waits for it is bounded.
 */
#ifndef REEL_STORAGE_STORE_GLANCE_H
#define REEL_STORAGE_STORE_GLANCE_H

#include "storage/store/store_path.h"

/* How long a caller waits at most, in milliseconds. */
#define STORE_GLANCE_MS 1000

/* True: *SIZE is the size in bytes of the regular file at PLACE, -1 where nothing is there. False with ERROR_UNAVAILABLE where
 * that is not known after STORE_GLANCE_MS; at once while PATH hangs, its queue is full, or an earlier look that was given up has
 * not come back: so a volume that hangs delays one caller, not one after the other. Any thread but a loop's and PATH's own
 * workers; blocks for STORE_GLANCE_MS at most. */
MUST_CHECK bool store_glance(struct store_path *path, const struct path *place, int64_t *size,
                             struct error *error);

#endif
