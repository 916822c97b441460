/*
 * open_cache: a hash and an age-ordered list behind one mutex, held for a look-up only; letting go takes
 * none. An entry is found while it is `listed`; the last one to let go of it, list or reader, sends it to be
 * closed.
 */
#include "storage/store/open_cache.h"

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct entry_key {
    size_t path_index;
    int64_t value;
    int64_t seconds;
};

struct entry {
    struct open_file public; /* first */
    struct entry_key key;
    struct store_path *path;
    uint8_t *bytes;      /* public.bytes */
    atomic_size_t users; /* readers, and one for the list */
    bool listed;
    int64_t since_ms;
    struct job close_job;
    TAILQ_ENTRY(entry) link; /* in the list by age, or among those that wait to be closed */
    UT_hash_handle hh;
};
TAILQ_HEAD(entry_list, entry);

struct open_cache {
    pthread_mutex_t mutex;
    size_t entries_max;
    int64_t age_ms;
    struct entry *table;
    struct entry_list by_age;  /* oldest first */
    struct entry_list closing; /* no worker took them yet */
    size_t listed_count, total;
    size_t bytes; /* of the entries' contents */
    struct event *timer;
};

static struct entry_key key_of(const struct store_path *path, const struct path *place)
{
    struct entry_key key;
    memset(&key, 0, sizeof(key)); /* padding too: it is compared as bytes */
    key.path_index = store_path_index(path);
    key.value = place->value;
    key.seconds = place->seconds;
    return key;
}

static void close_run(struct job *job)
{
    struct entry *entry = CONTAINER_OF(job, struct entry, close_job);
    (void)close(entry->public.fd); /* opened for reading: there is nothing that could be lost */
    free(entry->bytes);
    free(entry);
}

/* The mutex is held. */
static void hand_to_worker(struct open_cache *cache, struct entry *entry)
{
    entry->close_job = (struct job){.run = close_run};
    if (store_path_submit(entry->path, &entry->close_job, NULL))
        cache->total--;
    else
        TAILQ_INSERT_TAIL(&cache->closing, entry, link);
}

/* True for the last one, who sends it to be closed: nobody can find it any more. */
static bool drop_user(struct entry *entry)
{
    size_t before = atomic_fetch_sub_explicit(&entry->users, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    return before == 1;
}

/* The mutex is held. */
static void retire(struct open_cache *cache, struct entry *entry)
{
    if (entry->bytes)
        cache->bytes -= (size_t)entry->public.size;
    hand_to_worker(cache, entry);
}

/* The mutex is held. */
static void unlist(struct open_cache *cache, struct entry *entry)
{
    ASSERT(entry->listed && cache->table);
    HASH_DEL(cache->table, entry);
    TAILQ_REMOVE(&cache->by_age, entry, link);
    entry->listed = false;
    cache->listed_count--;
    if (drop_user(entry))
        retire(cache, entry);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct open_cache *cache = argument;
    int64_t now = clock_monotonic_ms();
    struct entry *entry;
    pthread_mutex_lock(&cache->mutex);
    while ((entry = TAILQ_FIRST(&cache->by_age)) && now - entry->since_ms > cache->age_ms)
        unlist(cache, entry);
    struct entry_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
    TAILQ_CONCAT(&waiting, &cache->closing, link);
    while ((entry = TAILQ_FIRST(&waiting))) {
        TAILQ_REMOVE(&waiting, entry, link);
        hand_to_worker(cache, entry);
    }
    pthread_mutex_unlock(&cache->mutex);
}

struct open_cache *open_cache_create(size_t entries_max, int64_t age_ms, struct loop *loop)
{
    struct open_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    TAILQ_INIT(&cache->by_age);
    TAILQ_INIT(&cache->closing);
    cache->entries_max = entries_max;
    cache->age_ms = age_ms;
    struct timeval second = {.tv_sec = 1};
    cache->timer = event_new(loop_base(loop), -1, EV_PERSIST, on_timer, cache);
    if (!cache->timer || event_add(cache->timer, &second) != 0) {
        open_cache_destroy(cache);
        return NULL;
    }
    return cache;
}

/* The list is not used again. */
static void close_all(struct entry_list *list)
{
    struct entry *next;
    for (struct entry *entry = TAILQ_FIRST(list); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        close_run(&entry->close_job);
    }
}

void open_cache_destroy(struct open_cache *cache)
{
    if (!cache)
        return;
    if (cache->timer)
        event_free(cache->timer);
    HASH_CLEAR(hh, cache->table);
    close_all(&cache->by_age);
    close_all(&cache->closing);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

struct open_file *open_cache_find(struct open_cache *cache, struct store_path *path, const struct path *place)
{
    struct entry_key key = key_of(path, place);
    int64_t now = clock_monotonic_ms();
    struct entry *entry = NULL;
    pthread_mutex_lock(&cache->mutex);
    HASH_FIND(hh, cache->table, &key, sizeof(key), entry);
    if (entry && now - entry->since_ms > cache->age_ms) {
        unlist(cache, entry);
        entry = NULL;
    }
    if (entry)
        atomic_fetch_add_explicit(&entry->users, 1, memory_order_relaxed);
    pthread_mutex_unlock(&cache->mutex);
    return entry ? &entry->public : NULL;
}

struct open_file *open_cache_add(struct open_cache *cache, struct store_path *path, const struct path *place,
                                 int fd, int64_t size, uint8_t *bytes)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->public = (struct open_file){.fd = fd, .size = size};
    entry->key = key_of(path, place);
    entry->path = path;
    atomic_init(&entry->users, 2); /* the caller and the list */
    entry->since_ms = clock_monotonic_ms();

    struct entry *other = NULL;
    pthread_mutex_lock(&cache->mutex);
    cache->total++;
    if (bytes && cache->bytes + (size_t)size <= OPEN_CACHE_BYTES_MAX) {
        entry->public.bytes = entry->bytes = bytes;
        cache->bytes += (size_t)size;
        bytes = NULL;
    }
    HASH_FIND(hh, cache->table, &entry->key, sizeof(entry->key), other);
    if (other) /* two opened it at once: the younger one stays */
        unlist(cache, other);
    if (cache->listed_count >= cache->entries_max && !TAILQ_EMPTY(&cache->by_age))
        unlist(cache, TAILQ_FIRST(&cache->by_age));
    HASH_ADD(hh, cache->table, key, sizeof(entry->key), entry);
    entry->listed = HASH_ADDED(hh, entry);
    if (entry->listed) {
        TAILQ_INSERT_TAIL(&cache->by_age, entry, link);
        cache->listed_count++;
    } else {
        (void)drop_user(entry); /* no memory to keep it: it serves this once */
    }
    pthread_mutex_unlock(&cache->mutex);
    free(bytes); /* there is no room for them */
    return &entry->public;
}

void open_cache_release(struct open_cache *cache, struct open_file *file)
{
    struct entry *entry = CONTAINER_OF(file, struct entry, public);
    if (!drop_user(entry))
        return;
    pthread_mutex_lock(&cache->mutex);
    retire(cache, entry);
    pthread_mutex_unlock(&cache->mutex);
}

void open_cache_forget(struct open_cache *cache, struct store_path *path, const struct path *place)
{
    struct entry_key key = key_of(path, place);
    struct entry *entry = NULL;
    pthread_mutex_lock(&cache->mutex);
    HASH_FIND(hh, cache->table, &key, sizeof(key), entry);
    if (entry)
        unlist(cache, entry);
    pthread_mutex_unlock(&cache->mutex);
}

size_t open_cache_count(struct open_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    size_t total = cache->total;
    pthread_mutex_unlock(&cache->mutex);
    return total;
}
