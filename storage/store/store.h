/*
 * store: the store paths of this machine, made of the configuration and ended together. Each (store_path.h) has worker
 * threads of its own for the file system calls (store_file.h) and one more that looks at it every few seconds
 * (store_look.h), so that a mount that hangs uses up no other path's threads and is noticed. Which path takes an upload
 * and which one a row means: store_choice.h. Made by main.c.
 */
#ifndef REEL_STORAGE_STORE_H
#define REEL_STORAGE_STORE_H

#include "common/loop/loop.h"
#include "storage/options.h"
#include "storage/store/store_path.h"

#define STORE_MARKER ".reelstore" /* the file that shows that a store path is there */

struct store;

/* Are there rows of files in PATH? KNOWN false: that cannot be said now. On the path's probe thread; may BLOCK. */
typedef bool (*store_has_rows)(void *argument, const struct store_path *path, bool *known);

/* CONFIG must have passed storage_options_check() and outlive the store. LOOP: whose timer looks at the
 * paths; its thread must not run yet. Starts the threads and the first look; waits at most FIRST_LOOK_MS for
 * that (0: not at all). HAS_ROWS is asked with ARGUMENT where a store path is an empty directory without a marker:
 * with rows it is refused, since its volume is not mounted or another one is; while nothing is known it waits.
 * HAS_ROWS NULL: it always is a new store path. */
MUST_CHECK struct store *store_create(const struct storage_config *config, struct loop *loop,
                                      int64_t first_look_ms, store_has_rows has_rows, void *argument,
                                      struct error *error);

/* Ends the workers while the loops still run (at most TIMEOUT_MS for each path); what is submitted from now
 * on is refused. BLOCKS. */
void store_end(struct store *store, int64_t timeout_ms);
/* After the loops have ended. A path whose workers still hang is left alone and never freed. NULL is ignored.
 */
void store_destroy(struct store *store);

/* --init-db: makes the marker in every store path that has none. BLOCKS. */
MUST_CHECK bool store_make_markers(const struct storage_config *config, FILE *out, struct error *error);

/* ---- any thread, never blocks ---- */

size_t store_count(const struct store *store);
struct store_path *store_at(const struct store *store, size_t index);

/* New floors, for SIGHUP. */
void store_set_floors(struct store *store, int64_t space, int64_t inodes);

void store_floors(const struct store *store, int64_t *space, int64_t *inodes);

#endif
