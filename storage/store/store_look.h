/*
 * store_look: looking at the store paths: each has a thread on which storage/store/store_probe.c touches its directory, so
 * that a mount that hangs holds up nobody else. What a look finds becomes the path's state; a change is logged. Called by
 * store.c and main.c.
 */
#ifndef REEL_STORAGE_STORE_LOOK_H
#define REEL_STORAGE_STORE_LOOK_H

#include "storage/store/store.h"

/* Starts a look at PATH; where one is under way nothing happens, it sees `look_wanted` at its end. Any thread; never
 * blocks. */
void store_look_start(struct store_path *path);

/* The same, every few seconds; logs when the last one hangs. */
void store_look_tick(struct store_path *path);

/* HAS_ROWS (see store_create()) can answer now: paths that waited for that are looked at again; waits at most TIMEOUT_MS.
 * BLOCKS. */
void store_look_again(struct store *store, int64_t timeout_ms);

/* Waits until every path has been looked at once, at most TIMEOUT_MS. BLOCKS. */
void store_look_wait_first(struct store *store, int64_t timeout_ms);

#endif
