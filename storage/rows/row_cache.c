/*
 * row_cache: rows in a compact form over common/base/cache.h, and the epochs of keys.
 */
#include "storage/rows/row_cache.h"

#include "common/base/cache.h"
#include "common/base/metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_SIZE    112 /* content type and name of most files */
#define CACHE_SHARDS  16
#define CACHE_SHARDED 256 /* entries from which on the cache is divided */
#define EPOCH_GROUPS  64  /* each with a mutex */
#define GROUP_EPOCHS  16

/* A row as the cache keeps it: only rows of ours with a place on this server. */
struct cached_row {
    int64_t size;
    int64_t deleted, expires;
    int64_t value;
    uint32_t seconds;
    uint16_t path_index;
    uint8_t status;
    bool has_digest;
    bool has_texts;
    uint8_t digest[PROTO_DIGEST_SIZE];
    char texts[TEXTS_SIZE]; /* content type, NUL, name, NUL */
};

/* The mutex makes one step of "is the epoch still the same?" and what is then done to the cache. */
struct epoch_group {
    pthread_mutex_t mutex;
    uint64_t epochs[GROUP_EPOCHS];
};

struct row_cache {
    const struct storage_config *config;
    const struct store *store;
    struct cache *cache;
    struct epoch_group groups[EPOCH_GROUPS];
    struct metric *hits, *misses, *stale;
};

/* ---- keys and epochs ---- */

void row_key_make(const struct proto_file_key *file_key, struct row_key *key)
{
    const char *parts[] = {file_key->application, file_key->user, file_key->file};
    key->size = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t size = strlen(parts[i]) + 1; /* with its NUL, so that "a","bc" and "ab","c" differ */
        memcpy(key->bytes + key->size, parts[i], size);
        key->size += size;
    }
}

/* *EPOCH: where KEY's stands in the group that is returned. */
static struct epoch_group *row_group(struct row_cache *cache, const struct row_key *key, uint64_t **epoch)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < key->size; i++)
        hash = (hash ^ key->bytes[i]) * UINT64_C(1099511628211);
    hash ^= hash >> 32;
    struct epoch_group *group = &cache->groups[hash % EPOCH_GROUPS];
    *epoch = &group->epochs[hash / EPOCH_GROUPS % GROUP_EPOCHS];
    return group;
}

uint64_t row_cache_epoch(struct row_cache *cache, const struct row_key *key)
{
    uint64_t *epoch;
    struct epoch_group *group = row_group(cache, key, &epoch);
    pthread_mutex_lock(&group->mutex);
    uint64_t now = *epoch;
    pthread_mutex_unlock(&group->mutex);
    return now;
}

/* ---- rows ---- */

static void remove_row(struct row_cache *cache, const struct row_key *key)
{
    cache_remove(cache->cache, key->bytes, key->size);
}

/* A row without a place here, one that is being purged and a damaged one are not worth keeping. */
static void put_row(struct row_cache *cache, const struct row_key *key, const struct meta_row *row)
{
    struct cached_row cached;
    if (!row || !row->path || row->stat.size < 0 || row->state > META_STATE_DELETED || row->state < 0) {
        remove_row(cache, key);
        return;
    }
    memset(&cached, 0, sizeof(cached));
    cached.size = row->stat.size;
    cached.deleted = row->stat.deleted;
    cached.expires = row->stat.expires;
    cached.value = row->place.value;
    cached.seconds = (uint32_t)row->place.seconds;
    cached.path_index = (uint16_t)store_path_index(row->path);
    cached.status = row->stat.status;
    cached.has_digest = row->stat.has_digest;
    memcpy(cached.digest, row->stat.digest, sizeof(cached.digest));
    size_t type_size = strlen(row->stat.content_type) + 1, name_size = strlen(row->stat.name) + 1;
    cached.has_texts = row->has_texts && type_size + name_size <= sizeof(cached.texts);
    if (cached.has_texts) {
        memcpy(cached.texts, row->stat.content_type, type_size);
        memcpy(cached.texts + type_size, row->stat.name, name_size);
    }
    cache_put(cache->cache, key->bytes, key->size, &cached);
}

void row_cache_learn(struct row_cache *cache, const struct row_key *key, uint64_t epoch,
                     const struct meta_row *row)
{
    uint64_t *now;
    struct epoch_group *group = row_group(cache, key, &now);
    pthread_mutex_lock(&group->mutex);
    if (*now == epoch)
        put_row(cache, key, row);
    else
        remove_row(cache, key);
    pthread_mutex_unlock(&group->mutex);
}

void row_cache_changed(struct row_cache *cache, const struct row_key *key)
{
    uint64_t *now;
    struct epoch_group *group = row_group(cache, key, &now);
    pthread_mutex_lock(&group->mutex);
    ++*now;
    remove_row(cache, key);
    pthread_mutex_unlock(&group->mutex);
}

void row_cache_outdated(struct row_cache *cache, const struct row_key *key)
{
    uint64_t *now;
    struct epoch_group *group = row_group(cache, key, &now);
    pthread_mutex_lock(&group->mutex);
    ++*now;
    cache_outdate(cache->cache, key->bytes, key->size);
    pthread_mutex_unlock(&group->mutex);
}

void row_cache_added(struct row_cache *cache, const struct row_key *key, uint64_t epoch,
                     const struct meta_row *row)
{
    uint64_t *now;
    struct cached_row learned;
    struct epoch_group *group = row_group(cache, key, &now);
    pthread_mutex_lock(&group->mutex);
    if (*now == epoch && !cache_get(cache->cache, key->bytes, key->size, &learned))
        put_row(cache, key, row);
    else
        remove_row(cache, key);
    ++*now;
    pthread_mutex_unlock(&group->mutex);
}

static void unpack_row(const struct row_cache *cache, const struct proto_file_key *file_key,
                       const struct cached_row *cached, struct meta_row *row)
{
    memset(row, 0, sizeof(*row));
    memcpy(row->file, file_key->file, strlen(file_key->file) + 1);
    row->path = store_at(cache->store, cached->path_index);
    row->place = (struct path){.value = cached->value, .seconds = cached->seconds};
    row->stat.size = cached->size;
    row->stat.status = cached->status;
    row->state = cached->status;
    row->stat.created = cached->seconds;
    row->stat.deleted = cached->deleted;
    row->stat.expires = cached->expires;
    row->stat.has_digest = cached->has_digest;
    memcpy(row->stat.digest, cached->digest, sizeof(cached->digest));
    memcpy(row->stat.group, cache->config->group, strlen(cache->config->group) + 1);
    row->has_texts = cached->has_texts;
    if (cached->has_texts) {
        size_t type_size = strlen(cached->texts) + 1;
        memcpy(row->stat.content_type, cached->texts, type_size);
        memcpy(row->stat.name, cached->texts + type_size, strlen(cached->texts + type_size) + 1);
    }
    if (!store_path_format(row->path, &row->place, row->file_path))
        row->file_path[0] = '\0';
}

bool row_cache_get(struct row_cache *cache, const struct proto_file_key *file_key, const struct row_key *key,
                   struct meta_row *row)
{
    struct cached_row cached;
    if (!cache_get(cache->cache, key->bytes, key->size, &cached))
        return false;
    metric_add(cache->hits, 1);
    unpack_row(cache, file_key, &cached, row);
    return true;
}

bool row_cache_get_stale(struct row_cache *cache, const struct proto_file_key *file_key,
                         const struct row_key *key, struct meta_row *row)
{
    struct cached_row cached;
    int64_t age_ms;
    if (!cache_get_stale(cache->cache, key->bytes, key->size, &cached, &age_ms))
        return false;
    metric_add(cache->stale, 1);
    unpack_row(cache, file_key, &cached, row);
    return true;
}

void row_cache_missed(struct row_cache *cache)
{
    metric_add(cache->misses, 1);
}

/* ---- making and ending ---- */

static struct metric *lookup_counter(const char *labels)
{
    return metrics_counter("reel_storage_row_lookups_total", "Look-ups of file rows.", labels);
}

struct row_cache *row_cache_create(const struct storage_config *config, const struct store *store)
{
    struct row_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    cache->config = config;
    cache->store = store;
    for (size_t i = 0; i < EPOCH_GROUPS; i++)
        pthread_mutex_init(&cache->groups[i].mutex, NULL);
    cache->hits = lookup_counter("from=\"cache\"");
    cache->stale = lookup_counter("from=\"stale\"");
    cache->misses = lookup_counter("from=\"database\"");
    cache->cache =
        cache_create((size_t)config->cache_entries, config->cache_age_ms, sizeof(struct cached_row),
                     config->cache_entries >= CACHE_SHARDED ? CACHE_SHARDS : 1);
    if (!cache->cache) {
        row_cache_destroy(cache);
        return NULL;
    }
    return cache;
}

void row_cache_destroy(struct row_cache *cache)
{
    if (!cache)
        return;
    if (cache->cache)
        cache_destroy(cache->cache);
    for (size_t i = 0; i < EPOCH_GROUPS; i++)
        pthread_mutex_destroy(&cache->groups[i].mutex);
    free(cache);
}

void row_cache_set_age(struct row_cache *cache, int64_t age_ms)
{
    cache_set_age(cache->cache, age_ms);
}

size_t row_cache_count(struct row_cache *cache)
{
    return cache_count(cache->cache);
}
