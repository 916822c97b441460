/*
 * open_cache: the store paths' open files, by their place, over common/file/open_files.h. Any thread; called by
 * storage/request/download.c, and by whoever deletes.
 */
#ifndef REEL_STORAGE_OPEN_CACHE_H
#define REEL_STORAGE_OPEN_CACHE_H

#include "common/file/open_files.h"
#include "storage/store/store_path.h"

struct open_cache;

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
