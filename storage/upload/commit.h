/*
 * commit: what makes an upload last: the file synced, closed with a check, its directory synced, then the
 * row. The one place where "stored" is decided; storage/upload/upload.c calls it. The bytes must be written before,
 * the reply comes after.
 */
#ifndef REEL_STORAGE_COMMIT_H
#define REEL_STORAGE_COMMIT_H

#include "storage/rows/meta.h"

struct commit_file {
    struct store_path *path;
    struct path place;
    int fd; /* open for writing; -1 afterwards */
};

/* On the path's workers; BLOCKS. Durable paths: fsync of the file, close, fsync of its directory; relaxed
 * ones: close. FILE->fd is closed in any case. After a failure nothing is known of the bytes: the file is to
 * be removed. */
MUST_CHECK bool commit_sync(struct commit_file *file, struct error *error);

/* Then the row, on a loop: INSERT as described in storage/rows/meta.h (key, row and done are set; the row's path,
 * place and file_path are filled here). False: not even tried. */
MUST_CHECK bool commit_row(struct meta *meta, const struct commit_file *file, struct meta_insert *insert,
                           struct error *error);

#endif
