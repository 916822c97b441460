/*
 * commit: what makes an upload last: the file synced, closed with a check, its directory synced, then the
 * row. The one place where "stored" is decided; storage/upload/upload.c calls it. The bytes must be written before,
 * the reply comes after.
 */
#ifndef REEL_STORAGE_COMMIT_H
#define REEL_STORAGE_COMMIT_H

#include "storage/rows/meta_insert.h"
#include "storage/store/store_file.h"

/* On the path's workers; BLOCKS. Durable paths: fsync of the file, close, fsync of its directory; relaxed
 * ones, and a file that need not be synced (UNSYNCED: the upload journal is to promise it, or all of it lasts already): close. Then the store path must still be the directory that the file was made in. FILE->fd is closed
 * in any case. After a failure nothing is known of the bytes: the file is to be discarded. */
MUST_CHECK bool commit_sync(struct store_file *file, bool unsynced, struct error *error);

/* Then the row, on a loop: INSERT as described in storage/rows/meta_insert.h (key, row and done are set; the row's path,
 * place, file_path and deadline are filled here: nothing is added once LEFTOVER_AGE_MS is half over since the file
 * was written to, so that the clean-up never takes what is being acknowledged). False: not even tried. */
MUST_CHECK bool commit_row(struct meta *meta, const struct store_file *file, int64_t leftover_age_ms,
                           struct meta_insert *insert, struct error *error);

/* True where so much time has passed since FILE was written to, by any clock, that a clean-up may have taken it: it
 * is to be looked for before anything is said of it. */
bool commit_took_long(const struct store_file *file, int64_t leftover_age_ms);

#endif
