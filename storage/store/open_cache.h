/*
 * open_cache: files that are open for reading, kept for a few seconds, so that a file asked for again and
 * again is opened once and small downloads need no worker. Closing may wait for a file system (FUSE flushes),
 * so it runs on the workers of the store path. Any thread; called by storage/request/download.c, and by whoever
 * deletes.
 */
#ifndef REEL_STORAGE_OPEN_CACHE_H
#define REEL_STORAGE_OPEN_CACHE_H

#include "storage/store/store.h"

struct open_cache;

/* One open file; whoever holds it may read FD at offsets (never move its position). */
struct open_file {
    int fd;
    int64_t size;         /* bytes, when it was opened */
    const uint8_t *bytes; /* all of them, of a small file; NULL: read them from FD */
};

/* Bytes up to which a file is kept in memory while it is open, and what all of them may take together. */
#define OPEN_CACHE_SMALL     (16 * 1024)
#define OPEN_CACHE_BYTES_MAX (32 * 1024 * 1024)

/* ENTRIES_MAX files are kept for AGE_MS; LOOP's timer closes those that nobody asked for. NULL without
 * memory. */
MUST_CHECK struct open_cache *open_cache_create(size_t entries_max, int64_t age_ms, struct loop *loop);
/* After the loops have ended and every file was released; closes on the spot. NULL is ignored. */
void open_cache_destroy(struct open_cache *cache);

/* The file at PLACE, held for the caller until open_cache_release(); NULL where it is not kept. */
struct open_file *open_cache_find(struct open_cache *cache, struct store_path *path,
                                  const struct path *place);

/* Takes over FD, just opened, and BYTES (malloc'd, the whole file, or NULL), and holds it for the caller.
 * NULL without memory: both are still the caller's. */
MUST_CHECK struct open_file *open_cache_add(struct open_cache *cache, struct store_path *path,
                                            const struct path *place, int fd, int64_t size, uint8_t *bytes);

void open_cache_release(struct open_cache *cache, struct open_file *file);

/* PLACE is not found any more; those who hold it go on reading. */
void open_cache_forget(struct open_cache *cache, struct store_path *path, const struct path *place);

size_t open_cache_count(struct open_cache *cache); /* files kept or held */

#endif
