/*
 * recovery: small uploads promised by the upload journal (storage/store/journal.h): what was promised is put in its place at the start,
 * before anybody is answered, and from there on by a checkpoint every second. docs/durability.md, "The upload journal", says why that
 * loses nothing and brings nothing back. Made by main.c once store and rows are there, and ended before them.
 */
#ifndef REEL_STORAGE_RECOVERY_H
#define REEL_STORAGE_RECOVERY_H

#include "storage/rows/meta.h"
#include "storage/store/store_file.h"

#include <stdio.h>

struct recovery;

/* Puts in place what a crash has left in the journal, then has META promise new rows by it where the configuration wants that.
 * *RECOVERY: NULL where there is no journal and none is wanted. False: something acknowledged cannot be put in its place, or may
 * be lost; nobody is to be answered. BLOCKS. */
MUST_CHECK bool recovery_start(const struct storage_config *config, struct store *store, struct meta *meta,
                               struct recovery **recovery, struct error *error);

/* Ends with a last checkpoint, which is waited for TIMEOUT_MS at most; while workers and database still run. False: it hangs in a file
 * system, and is left behind. NULL is ignored. */
bool recovery_end(struct recovery *recovery, int64_t timeout_ms);
/* After meta_end(). NULL is ignored. */
void recovery_destroy(struct recovery *recovery);

/* --checkpoint: the same at once, without a server; nothing is left in the journal. BLOCKS. */
MUST_CHECK bool recovery_empty(const struct storage_config *config, FILE *out, struct error *error);

/* May FILE, which was just made and is open, be promised with its SIZE bytes? Room for it until recovery_release(); 0: it may not, and
 * is to be synced. Any thread; never blocks. */
MUST_CHECK int64_t recovery_promise(struct recovery *recovery, const struct store_file *file, size_t size);
void recovery_release(struct recovery *recovery, int64_t promised);

/* Why uploads are synced one by one although the journal is wanted; else "". Any thread; NULL is fine. */
void recovery_concern(struct recovery *recovery, char *reason, size_t size);

#endif
