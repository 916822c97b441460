/*
 * cache: a bounded map from a key of bytes to a value of fixed size; the least recently used entry goes first, and an
 * entry older than the age limit is not found. Thread-safe (sharded mutexes held for a look-up only).
 */
#ifndef REEL_COMMON_CACHE_H
#define REEL_COMMON_CACHE_H

#include "common/base/base.h"

struct cache;

/* ENTRIES_MAX at least 1; AGE_MS 0 means no age limit; VALUE_SIZE in bytes. SHARDS: 1 for a cache that one loop owns,
 * more where several threads use it. NULL without memory. */
MUST_CHECK struct cache *cache_create(size_t entries_max, int64_t age_ms, size_t value_size, size_t shards);
void cache_destroy(struct cache *cache);

/* Copies the value of KEY to VALUE. False where there is none or it is too old. */
bool cache_get(struct cache *cache, const void *key, size_t key_size, void *value);

/* Like cache_get, whatever the entry's age: for when the source is unavailable. AGE_MS gets the age. */
bool cache_get_stale(struct cache *cache, const void *key, size_t key_size, void *value, int64_t *age_ms);

/* Adds or replaces. Without memory the entry is not kept: a cache may forget. */
void cache_put(struct cache *cache, const void *key, size_t key_size, const void *value);

/* The entry is past its age from now on: only cache_get_stale() still finds it. */
void cache_outdate(struct cache *cache, const void *key, size_t key_size);

void cache_remove(struct cache *cache, const void *key, size_t key_size);
void cache_clear(struct cache *cache);

size_t cache_count(struct cache *cache);
void cache_set_age(struct cache *cache, int64_t age_ms);

#endif
