/*
 * upkeep: what nobody asks for but must be done: the purge of deleted files, the clean-up of files without
 * rows, the scrub. One thread of its own, which may block; of all members of the group the one that holds the
 * lease (storage/upkeep/lease.h) does it. Made and ended by main.c; asked by storage/request/fsck.c and the heartbeat.
 */
#ifndef REEL_STORAGE_UPKEEP_H
#define REEL_STORAGE_UPKEEP_H

#include "common/base/error.h"
#include "storage/options.h"

#include <jansson.h>

struct storage;
struct upkeep;

/* Starts the thread. STORAGE with its store, meta and open_cache must outlive it. PORT: for the lease's name.
 */
MUST_CHECK struct upkeep *upkeep_create(struct storage *storage, int port, struct error *error);

/* Asks it to stop and waits at most TIMEOUT_MS. False: it is blocked, by a file system or the database, and is left alone, with all
 * that it uses; another call may try again. NULL is ignored (true). BLOCKS. */
MUST_CHECK bool upkeep_end(struct upkeep *upkeep, int64_t timeout_ms);
/* Does it wait for the database at this moment? Any thread. */
bool upkeep_asks(const struct upkeep *upkeep);
void upkeep_destroy(struct upkeep *upkeep); /* after upkeep_end() returned true; NULL is ignored */

/* For SIGHUP. Any thread. */
void upkeep_reload(struct upkeep *upkeep, const struct storage_config *config);

/* Looks at the lease's row now: something is wanted. Any thread. */
void upkeep_wake(struct upkeep *upkeep);

/* Bytes of deleted files that are still kept, as measured last. Any thread. */
int64_t upkeep_trash_bytes(const struct upkeep *upkeep);
/* Files of the group that were found missing or damaged, when last looked. Likewise. */
int32_t upkeep_damaged_files(const struct upkeep *upkeep);

/* What an operator should look at, for /healthz; REASON stays as it is where there is nothing. Any thread. */
void upkeep_concern(const struct upkeep *upkeep, char *reason, size_t reason_size);

/* For /status. A new reference. Any thread. */
json_t *upkeep_status(struct upkeep *upkeep);

#endif
