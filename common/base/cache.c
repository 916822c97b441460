/*
 * cache: shards, each with a mutex, a hash table and a list in order of use. Trackers, storage servers and
 * the client keep look-ups here, from any thread. Touches no file and no socket, and calls nobody back.
 *
 * An entry past its age stays until others push it out, so that cache_get_stale() still finds it.
 */
#include "common/base/cache.h"

#include "common/base/clock.h"
#include "common/base/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <xxhash.h>

struct cache_entry {
    UT_hash_handle hh;
    TAILQ_ENTRY(cache_entry) link;
    int64_t stored_ms; /* clock_monotonic_ms() when it was put */
    uint8_t bytes[];   /* the value, then the key */
};

TAILQ_HEAD(cache_entry_list, cache_entry);

struct cache_shard {
    pthread_mutex_t mutex;
    struct cache_entry *table;
    struct cache_entry_list used; /* most recently used first */
    size_t count;
    size_t count_max;
};

struct cache {
    size_t value_size;
    uint64_t seed; /* unknown to peers, who choose the keys and could choose ones that collide */
    _Atomic int64_t age_ms;
    size_t shard_count;
    struct cache_shard shards[];
};

/* A key with its hash, computed once: the upper half chooses the shard, the lower half the bucket. */
struct cache_key {
    const void *bytes;
    size_t size;
    uint64_t hash;
};

static uint64_t choose_seed(void)
{
    uint64_t seed;
    arc4random_buf(&seed, sizeof(seed));
    return seed;
}

struct cache *cache_create(size_t entries_max, int64_t age_ms, size_t value_size, size_t shards)
{
    entries_max = max_size(entries_max, 1);
    shards = min_size(max_size(shards, 1), entries_max);

    struct cache *cache = NULL;
    if (shards > (SIZE_MAX - sizeof(*cache)) / sizeof(cache->shards[0]))
        return NULL;
    cache = calloc(1, sizeof(*cache) + shards * sizeof(cache->shards[0]));
    if (cache == NULL)
        return NULL;
    cache->value_size = value_size;
    cache->seed = choose_seed();
    atomic_init(&cache->age_ms, age_ms);
    for (size_t i = 0; i < shards; i++) {
        struct cache_shard *shard = &cache->shards[i];
        if (pthread_mutex_init(&shard->mutex, NULL) != 0) {
            cache_destroy(cache);
            return NULL;
        }
        TAILQ_INIT(&shard->used);
        shard->count_max = entries_max / shards + (i < entries_max % shards ? 1 : 0);
        cache->shard_count++;
    }
    return cache;
}

static void shard_lock(struct cache_shard *shard)
{
    /* Fails only for a mutex that is no mutex: memory is damaged, and going on would damage more. */
    if (pthread_mutex_lock(&shard->mutex) != 0)
        abort();
}

static void shard_unlock(struct cache_shard *shard)
{
    if (pthread_mutex_unlock(&shard->mutex) != 0)
        abort();
}

static struct cache_key make_key(const struct cache *cache, const void *bytes, size_t size)
{
    return (struct cache_key){bytes, size, XXH3_64bits_withSeed(bytes, size, cache->seed)};
}

static struct cache_shard *find_shard(struct cache *cache, const struct cache_key *key)
{
    return &cache->shards[(key->hash >> 32) % cache->shard_count];
}

/* The functions from here on want the shard locked. */

static struct cache_entry *find_entry(const struct cache_shard *shard, const struct cache_key *key)
{
    struct cache_entry *entry = NULL;
    HASH_FIND_BYHASHVALUE(hh, shard->table, key->bytes, key->size, (unsigned)key->hash, entry);
    return entry;
}

static void mark_used(struct cache_shard *shard, struct cache_entry *entry)
{
    TAILQ_REMOVE(&shard->used, entry, link);
    TAILQ_INSERT_HEAD(&shard->used, entry, link);
}

static void drop_entry(struct cache_shard *shard, struct cache_entry *entry)
{
    HASH_DEL(shard->table, entry); /* NOLINT: the table is there while it has an entry */
    TAILQ_REMOVE(&shard->used, entry, link);
    shard->count--;
    free(entry);
}

static void drop_all(struct cache_shard *shard)
{
    struct cache_entry *entry;
    while ((entry = TAILQ_FIRST(&shard->used)) != NULL)
        drop_entry(shard, entry);
}

static void add_entry(struct cache_shard *shard, const struct cache_key *key, const void *value,
                      size_t value_size)
{
    if (key->size > SIZE_MAX - sizeof(struct cache_entry) - value_size)
        return;
    struct cache_entry *entry = malloc(sizeof(*entry) + value_size + key->size);
    if (entry == NULL)
        return;
    memcpy(entry->bytes, value, value_size);
    memcpy(entry->bytes + value_size, key->bytes, key->size);
    entry->stored_ms = clock_monotonic_ms();
    if (shard->count >= shard->count_max)
        drop_entry(shard, TAILQ_LAST(&shard->used, cache_entry_list));
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->table, entry->bytes + value_size, key->size, (unsigned)key->hash,
                                entry);
    if (!HASH_ADDED(hh, entry)) {
        free(entry);
        return;
    }
    TAILQ_INSERT_HEAD(&shard->used, entry, link);
    shard->count++;
}

/* Until here. */

void cache_destroy(struct cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->shard_count; i++) {
        drop_all(&cache->shards[i]);
        (void)pthread_mutex_destroy(
            &cache->shards[i].mutex); /* fails for a locked one only: a caller's fault */
    }
    free(cache);
}

/* Finds KEY's entry if it is at most LIMIT_MS old (0: however old). */
static bool look_up(struct cache *cache, const void *key_bytes, size_t key_size, int64_t limit_ms,
                    void *value, int64_t *age_ms)
{
    struct cache_key key = make_key(cache, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);
    bool found = false;

    shard_lock(shard);
    struct cache_entry *entry = find_entry(shard, &key);
    if (entry != NULL) {
        *age_ms = clock_monotonic_ms() - entry->stored_ms;
        found = limit_ms <= 0 || *age_ms <= limit_ms;
    }
    if (found) {
        memcpy(value, entry->bytes, cache->value_size);
        mark_used(shard, entry);
    }
    shard_unlock(shard);
    return found;
}

bool cache_get(struct cache *cache, const void *key, size_t key_size, void *value)
{
    int64_t age_ms = 0;
    return look_up(cache, key, key_size, atomic_load_explicit(&cache->age_ms, memory_order_relaxed), value,
                   &age_ms);
}

bool cache_get_stale(struct cache *cache, const void *key, size_t key_size, void *value, int64_t *age_ms)
{
    return look_up(cache, key, key_size, 0, value, age_ms);
}

void cache_put(struct cache *cache, const void *key_bytes, size_t key_size, const void *value)
{
    struct cache_key key = make_key(cache, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);

    shard_lock(shard);
    struct cache_entry *entry = find_entry(shard, &key);
    if (entry != NULL) {
        memcpy(entry->bytes, value, cache->value_size);
        entry->stored_ms = clock_monotonic_ms();
        mark_used(shard, entry);
    } else {
        add_entry(shard, &key, value, cache->value_size);
    }
    shard_unlock(shard);
}

void cache_remove(struct cache *cache, const void *key_bytes, size_t key_size)
{
    struct cache_key key = make_key(cache, key_bytes, key_size);
    struct cache_shard *shard = find_shard(cache, &key);

    shard_lock(shard);
    struct cache_entry *entry = find_entry(shard, &key);
    if (entry != NULL)
        drop_entry(shard, entry);
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
        count += cache->shards[i].count;
        shard_unlock(&cache->shards[i]);
    }
    return count;
}

void cache_set_age(struct cache *cache, int64_t age_ms)
{
    atomic_store_explicit(&cache->age_ms, age_ms, memory_order_relaxed);
}
