/*
 * cache: shards, each a mutex and a map in order of use (lru.h). Trackers, storage servers and
 * the client keep look-ups here, from any thread. Touches no file and no socket, and calls no callback.
 *
 * An entry past its age stays until others push it out, so that cache_get_stale() still finds it.
 */
#include "common/base/cache.h"

#include "common/base/clock.h"
#include "common/base/lru.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct cache_entry {
    struct lru_node node;
    int64_t stored_ms; /* clock_monotonic_ms() when it was put */
    bool outdated;     /* past its age, whatever that is */
    uint8_t bytes[];   /* the value, then the key */
};

struct cache_shard {
    pthread_mutex_t mutex;
    struct lru entries;
    size_t count_max;
};

struct cache {
    size_t value_size;
    uint64_t seed;
    _Atomic int64_t age_ms;
    size_t shard_count;
    struct cache_shard shards[];
};

struct cache *cache_create(size_t entries_max, int64_t age_ms, size_t value_size, size_t shards)
{
    entries_max = max_size(entries_max, 1);
    shards = min_size(max_size(shards, 1), entries_max);

    struct cache *cache = NULL;
    if (shards > (SIZE_MAX - sizeof(*cache)) / sizeof(cache->shards[0]))
        return NULL;
    cache = calloc(1, sizeof(*cache) + shards * sizeof(cache->shards[0]));
    if (!cache)
        return NULL;
    cache->value_size = value_size;
    cache->seed = lru_seed();
    atomic_init(&cache->age_ms, age_ms);
    for (size_t i = 0; i < shards; i++) {
        struct cache_shard *shard = &cache->shards[i];
        if (pthread_mutex_init(&shard->mutex, NULL) != 0) {
            cache_destroy(cache);
            return NULL;
        }
        lru_init(&shard->entries);
        shard->count_max = entries_max / shards + (i < entries_max % shards ? 1 : 0);
        cache->shard_count++;
    }
    return cache;
}

static void shard_lock(struct cache_shard *shard)
{
    /* Fails only for an invalid mutex: memory is damaged, and going on would damage more. */
    if (pthread_mutex_lock(&shard->mutex) != 0)
        abort();
}

static void shard_unlock(struct cache_shard *shard)
{
    if (pthread_mutex_unlock(&shard->mutex) != 0)
        abort();
}

static struct cache_shard *find_shard(struct cache *cache, const struct lru_key *key)
{
    return &cache->shards[(key->hash >> 32) % cache->shard_count];
}

/* The functions from here on want the shard locked. */

static struct cache_entry *cache_find(const struct cache_shard *shard, const struct lru_key *key)
{
    struct lru_node *node = lru_find(&shard->entries, key);
    return node ? CONTAINER_OF(node, struct cache_entry, node) : NULL;
}

static void cache_drop_entry(struct cache_shard *shard, struct cache_entry *entry)
{
    lru_remove(&shard->entries, &entry->node);
    free(entry);
}

static void drop_oldest(struct cache_shard *shard)
{
    cache_drop_entry(shard, CONTAINER_OF(lru_oldest(&shard->entries), struct cache_entry, node));
}

static void drop_all(struct cache_shard *shard)
{
    while (shard->entries.count > 0)
        drop_oldest(shard);
}

static void cache_add(struct cache_shard *shard, const struct lru_key *key, const void *value,
                      size_t value_size)
{
    if (key->size > SIZE_MAX - sizeof(struct cache_entry) - value_size)
        return;
    struct cache_entry *entry = malloc(sizeof(*entry) + value_size + key->size);
    if (!entry)
        return;
    memcpy(entry->bytes, value, value_size);
    memcpy(entry->bytes + value_size, key->bytes, key->size);
    entry->stored_ms = clock_monotonic_ms();
    entry->outdated = false;
    if (shard->entries.count >= shard->count_max)
        drop_oldest(shard);
    const struct lru_key own = {entry->bytes + value_size, key->size, key->hash};
    if (!lru_add(&shard->entries, &entry->node, &own))
        free(entry);
}

/* Until here. */

void cache_destroy(struct cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->shard_count; i++) {
        drop_all(&cache->shards[i]);
        (void)pthread_mutex_destroy(&cache->shards[i].mutex); /* fails only if locked: a caller's fault */
    }
    free(cache);
}

/* Finds KEY's entry if it is at most LIMIT_MS old (0: however old) and not outdated (negative: even if it is). */
static bool cache_look_up(struct cache *cache, const void *key_bytes, size_t key_size, int64_t limit_ms,
                          void *value, int64_t *age_ms)
{
    const struct lru_key key = lru_key_make(cache->seed, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);
    bool found = false;

    shard_lock(shard);
    struct cache_entry *entry = cache_find(shard, &key);
    if (entry) {
        *age_ms = clock_monotonic_ms() - entry->stored_ms;
        found = limit_ms < 0 || (!entry->outdated && (limit_ms == 0 || *age_ms <= limit_ms));
    }
    if (found) {
        memcpy(value, entry->bytes, cache->value_size);
        lru_use(&shard->entries, &entry->node);
    }
    shard_unlock(shard);
    return found;
}

bool cache_get(struct cache *cache, const void *key, size_t key_size, void *value)
{
    int64_t age_ms = 0;
    return cache_look_up(cache, key, key_size, atomic_load_explicit(&cache->age_ms, memory_order_relaxed),
                         value, &age_ms);
}

bool cache_get_stale(struct cache *cache, const void *key, size_t key_size, void *value, int64_t *age_ms)
{
    return cache_look_up(cache, key, key_size, -1, value, age_ms);
}

void cache_put(struct cache *cache, const void *key_bytes, size_t key_size, const void *value)
{
    const struct lru_key key = lru_key_make(cache->seed, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);

    shard_lock(shard);
    struct cache_entry *entry = cache_find(shard, &key);
    if (entry) {
        memcpy(entry->bytes, value, cache->value_size);
        entry->stored_ms = clock_monotonic_ms();
        entry->outdated = false;
        lru_use(&shard->entries, &entry->node);
    } else {
        cache_add(shard, &key, value, cache->value_size);
    }
    shard_unlock(shard);
}

void cache_outdate(struct cache *cache, const void *key_bytes, size_t key_size)
{
    const struct lru_key key = lru_key_make(cache->seed, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);

    shard_lock(shard);
    struct cache_entry *entry = cache_find(shard, &key);
    if (entry)
        entry->outdated = true;
    shard_unlock(shard);
}

void cache_remove(struct cache *cache, const void *key_bytes, size_t key_size)
{
    const struct lru_key key = lru_key_make(cache->seed, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);

    shard_lock(shard);
    struct cache_entry *entry = cache_find(shard, &key);
    if (entry)
        cache_drop_entry(shard, entry);
    shard_unlock(shard);
}

void cache_clear(struct cache *cache)
{
    for (size_t i = 0; i < cache->shard_count; i++) {
        shard_lock(&cache->shards[i]);
        drop_all(&cache->shards[i]);
        shard_unlock(&cache->shards[i]);
    }
}

size_t cache_count(struct cache *cache)
{
    size_t count = 0;
    for (size_t i = 0; i < cache->shard_count; i++) {
        shard_lock(&cache->shards[i]);
        count += cache->shards[i].entries.count;
        shard_unlock(&cache->shards[i]);
    }
    return count;
}

void cache_set_age(struct cache *cache, int64_t age_ms)
{
    atomic_store_explicit(&cache->age_ms, age_ms, memory_order_relaxed);
}
