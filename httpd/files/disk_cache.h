/*
 * disk_cache: small results that were expensive to make, kept as files of one directory within a bound of bytes, the least recently
 * used going first. What lies there from an earlier run is taken over. Blocks; any thread (a mutex is held for table look-ups
 * alone).
 */
#ifndef REEL_HTTPD_DISK_CACHE_H
#define REEL_HTTPD_DISK_CACHE_H

#include "common/base/error.h"

#define DISK_CACHE_KEY_SIZE 33 /* 32 hexadecimal digits and NUL */

struct disk_cache;

/* DIRECTORY is there and may be written to; files in it whose names are not this cache's are left alone. NULL: ERROR says why. */
MUST_CHECK struct disk_cache *disk_cache_create(const char *directory, int64_t bytes_max,
                                                struct error *error);
void disk_cache_destroy(struct disk_cache *cache); /* the files stay; NULL is ignored */

/* The key of SIZE bytes that say what it is. */
void disk_cache_key(const void *bytes, size_t size, char key[DISK_CACHE_KEY_SIZE]);

/* *SIZE bytes, malloc'd, the caller's; NULL: not there, or it cannot be read. */
uint8_t *disk_cache_get(struct disk_cache *cache, const char *key, size_t *size);
/* Whatever fails is logged, and the result is not kept. */
void disk_cache_put(struct disk_cache *cache, const char *key, const uint8_t *bytes, size_t size);

#endif
