/*
 * media_cache: a table under a mutex, entries in it that are ready, refused or being read; a reading belongs to the loop that
 * began it, and goes on when whoever asked is gone.
 */
#include "httpd/stream/media_cache.h"
#include "common/base/log.h"
#include "common/base/lru.h"
#include "common/base/metrics.h"
#include "common/loop/wait_list.h"
#include "httpd/media/media_walk.h"
#include "httpd/stream/media_read.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOADS_MAX     4    /* of one loop at a time; others wait for their turn */
#define ENTRY_BYTES   1024 /* that an entry takes besides its film */
#define KEY_BYTES_MAX (HTTP_LOOKUP_ETAG_SIZE + PROTO_APPLICATION_SIZE + PROTO_USER_SIZE + PROTO_FILE_SIZE)

struct media_cache {
    pthread_mutex_t mutex;
    struct media_cache_options options;
    uint64_t seed;
    struct lru entries;
    size_t bytes;
    struct metric *hits, *loads, *refusals, *held;
};

/* With the cache's mutex, but for what a loading entry's load does. */
struct film_entry {
    struct lru_node node;
    struct media_film *film; /* ready */
    struct error *refusal;   /* refused */
    bool loading;
    struct wait_list waits;
    size_t key_size;
    char key[];
};

struct media_cache_wait {
    struct wait wait;
    media_cache_callback callback;
    void *argument;
    bool cancelled;
    struct media_film *film;
    struct error error;
};

/* A file that is being read. */
struct media_load {
    struct job job;
    TAILQ_ENTRY(media_load) link; /* of the loop's loads or of those that wait for their turn */
    struct media_cache *cache;
    struct media_cache_loop *own; /* NULL: given up, freed by the worker's end */
    struct http_loop *loop;
    struct http_lookup_file *file;
    struct film_entry *entry; /* NULL: answered */
    struct media_walk *walk;
    struct media_read *read;
    bool working;
    uint8_t *bytes; /* for the worker */
    size_t size;
    enum walk_step step;
    struct media_film *film;
    struct error error;
};
TAILQ_HEAD(media_load_list, media_load);

struct media_cache_loop {
    struct media_cache *cache;
    struct http_loop *loop;
    struct media_load_list loads, pending;
    size_t count;
};

/* ---- the table ---- */

struct media_cache *media_cache_create(const struct media_cache_options *options)
{
    struct media_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    cache->options = *options;
    cache->seed = lru_seed();
    lru_init(&cache->entries);
    const char *help = "Indexes of streamed files, by where they came from.";
    cache->hits = metrics_counter("reel_httpd_indexes_total", help, "result=\"cached\"");
    cache->loads = metrics_counter("reel_httpd_indexes_total", help, "result=\"read\"");
    cache->refusals = metrics_counter("reel_httpd_indexes_total", help, "result=\"refused\"");
    cache->held =
        metrics_gauge("reel_httpd_index_bytes", "Memory that indexes of streamed files take.", NULL);
    return cache;
}

static void film_entry_free(struct media_cache *cache, struct film_entry *entry)
{
    size_t bytes = ENTRY_BYTES + (entry->film ? entry->film->memory : 0);
    lru_remove(&cache->entries, &entry->node);
    if (!entry->loading) {
        cache->bytes -= bytes;
        metric_add(cache->held, -(int64_t)bytes);
    }
    media_film_release(entry->film);
    free(entry->refusal);
    free(entry);
}

void media_cache_destroy(struct media_cache *cache)
{
    if (!cache)
        return;
    while (cache->entries.count > 0)
        film_entry_free(cache, CONTAINER_OF(lru_oldest(&cache->entries), struct film_entry, node));
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

/* The least recently used entries go until the rest fits, KEPT not. With the mutex. */
static void cache_shrink(struct media_cache *cache, const struct film_entry *kept)
{
    struct lru_node *next;
    for (struct lru_node *node = lru_oldest(&cache->entries); node && cache->bytes > cache->options.bytes_max;
         node = next) {
        struct film_entry *entry = CONTAINER_OF(node, struct film_entry, node);
        next = lru_younger(node);
        if (!entry->loading && entry != kept)
            film_entry_free(cache, entry);
    }
}

static size_t film_key(const struct http_lookup_file *file, char key[KEY_BYTES_MAX])
{
    const char *const parts[] = {file->etag, file->key.application, file->key.user, file->key.file};
    size_t size = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        size_t length = strlen(parts[i]) + 1;
        memcpy(key + size, parts[i], length);
        size += length;
    }
    return size;
}

static struct film_entry *entry_find(struct media_cache *cache, const char *key, size_t size)
{
    const struct lru_key wanted = lru_key_make(cache->seed, key, size);
    struct lru_node *node = lru_find(&cache->entries, &wanted);
    return node ? CONTAINER_OF(node, struct film_entry, node) : NULL;
}

static struct film_entry *film_entry_create(struct media_cache *cache, const char *key, size_t size)
{
    struct film_entry *entry = calloc(1, sizeof(*entry) + size);
    if (!entry)
        return NULL;
    memcpy(entry->key, key, size);
    entry->key_size = size;
    entry->loading = true;
    wait_list_init(&entry->waits, &cache->mutex, NULL);
    const struct lru_key own = lru_key_make(cache->seed, entry->key, size);
    if (!lru_add(&cache->entries, &entry->node, &own)) {
        free(entry);
        return NULL;
    }
    return entry;
}

/* ---- those who wait ---- */

static void cache_waited(struct wait *wait, enum wait_end end)
{
    struct media_cache_wait *own = CONTAINER_OF(wait, struct media_cache_wait, wait);
    (void)end;
    if (own->cancelled)
        media_film_release(own->film);
    else
        own->callback(own->argument, own->film, own->film ? NULL : &own->error);
    free(own);
}

void media_cache_cancel(struct media_cache_wait *wait)
{
    if (!wait_leave(&wait->wait)) {
        wait->cancelled = true;
        return;
    }
    media_film_release(wait->film); /* it may have been answered, but not been called back yet */
    free(wait);
}

bool media_cache_is_refusal(int error_code)
{
    return error_code == ERROR_MALFORMED || error_code == ERROR_UNKNOWN_COMMAND;
}

/* The reading of ENTRY has come to an end: FILM (a reference that is taken) or ERROR. */
static void entry_settle(struct media_cache *cache, struct film_entry *entry, struct media_film *film,
                         const struct error *error)
{
    struct wait_list waits;
    struct wait *wait;
    wait_list_init(&waits, &cache->mutex, NULL);
    pthread_mutex_lock(&cache->mutex);
    wait_list_move(&waits, &entry->waits);
    for (wait = wait_list_first(&waits); wait; wait = wait_list_next(wait)) {
        struct media_cache_wait *own = CONTAINER_OF(wait, struct media_cache_wait, wait);
        own->film = film ? media_film_take(film) : NULL;
        if (!film)
            own->error = *error;
    }
    bool kept = film != NULL;
    if (!film && media_cache_is_refusal(error->code)) {
        entry->refusal = malloc(sizeof(*error));
        kept = entry->refusal != NULL;
        if (kept)
            *entry->refusal = *error;
    }
    if (kept) {
        size_t bytes = ENTRY_BYTES + (film ? film->memory : 0);
        entry->film = film;
        entry->loading = false;
        cache->bytes += bytes;
        metric_add(cache->held, (int64_t)bytes);
        cache_shrink(cache, entry);
    } else {
        film_entry_free(cache, entry);
    }
    while ((wait = wait_list_take(&waits))) {
        pthread_mutex_unlock(&cache->mutex);
        wait_post(wait);
        pthread_mutex_lock(&cache->mutex);
    }
    pthread_mutex_unlock(&cache->mutex);
}

/* ---- reading ---- */

static void load_begin_next(struct media_cache_loop *own);

static void load_free(struct media_load *load)
{
    media_read_cancel(load->read);
    media_walk_destroy(load->walk);
    media_film_release(load->film);
    http_lookup_file_release(load->file);
    free(load->bytes);
    free(load);
}

static void load_log(const struct media_load *load, const struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    const struct proto_file_key *key = &load->file->key;
    if (log_gate_open(&gate, 200, &suppressed))
        log_info("media", "%s/%s/%s: cannot be streamed: %s (%llu alike not logged)", key->application,
                 key->user, key->file, error->text, (unsigned long long)suppressed);
}

static void load_finish(struct media_load *load, const struct error *error)
{
    struct media_cache_loop *own = load->own;
    struct media_film *film = load->film;
    load->film = NULL;
    if (film) /* without the quote */
        snprintf(film->version, sizeof(film->version), "%.8s", load->file->etag + 1);
    if (error)
        load_log(load, error);
    if (error && media_cache_is_refusal(error->code))
        metric_add(load->cache->refusals, 1);
    entry_settle(load->cache, load->entry, film, error);
    TAILQ_REMOVE(&own->loads, load, link);
    own->count--;
    load_free(load);
    load_begin_next(own);
}

static void load_on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error);

static void load_read(struct media_load *load)
{
    struct error error;
    struct mp4_piece piece;
    media_walk_wanted(load->walk, &piece.offset, &piece.size);
    load->read = media_read_start(load->loop, load->file, &piece, 1, load_on_bytes, load);
    if (!load->read) {
        (void)error_set(&error, ERROR_UNAVAILABLE, "no memory for reading it");
        load_finish(load, &error);
    }
}

static void load_run(struct job *job)
{
    struct media_load *load = CONTAINER_OF(job, struct media_load, job);
    struct media_view view = {load->bytes, load->size};
    load->step = media_walk_feed(load->walk, view, &load->film, &load->error);
}

static void load_done(struct job *job)
{
    struct media_load *load = CONTAINER_OF(job, struct media_load, job);
    load->working = false;
    free(load->bytes);
    load->bytes = NULL;
    if (!load->own) {
        load_free(load);
        return;
    }
    switch (load->step) {
    case WALK_READ:
        load_read(load);
        break;
    case WALK_DONE:
        load_finish(load, NULL);
        break;
    case WALK_HEAVY: /* only of a hop */
    case WALK_REFUSED:
        load_finish(load, &load->error);
        break;
    }
}

static void load_work(struct media_load *load)
{
    load->job = (struct job){.run = load_run, .done = load_done, .loop = load->loop->loop};
    load->working = workers_submit(load->cache->options.workers, &load->job);
    if (load->working)
        return;
    (void)error_set(&load->error, ERROR_UNAVAILABLE, "too many files wait to be indexed");
    load->step = WALK_REFUSED;
    load_done(&load->job);
}

static void load_on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct media_load *load = argument;
    load->read = NULL;
    load->bytes = bytes;
    load->size = size;
    if (error) {
        struct error copy = *error;
        load_finish(load, &copy);
        return;
    }
    load->step = media_walk_hop(load->walk, (struct media_view){bytes, size}, &load->error);
    if (load->step == WALK_HEAVY)
        load_work(load);
    else
        load_done(&load->job);
}

static void load_begin_next(struct media_cache_loop *own)
{
    struct media_load *load;
    while (own->count < LOADS_MAX && (load = TAILQ_FIRST(&own->pending))) {
        TAILQ_REMOVE(&own->pending, load, link);
        TAILQ_INSERT_TAIL(&own->loads, load, link);
        own->count++;
        load_read(load);
    }
}

/* ENTRY is new and nobody else reads it. */
static bool load_create(struct media_cache_loop *own, struct film_entry *entry, struct http_lookup_file *file)
{
    struct media_cache *cache = own->cache;
    struct media_load *load = calloc(1, sizeof(*load));
    struct media_walk_options options = {.size = file->stat.size,
                                         .segment_ms = cache->options.segment_ms,
                                         .moov_max = cache->options.moov_max};
    if (!load)
        return false;
    load->walk = media_walk_create(&options);
    if (!load->walk) {
        free(load);
        return false;
    }
    load->cache = cache;
    load->own = own;
    load->loop = own->loop;
    load->entry = entry;
    load->file = http_lookup_file_take(file);
    TAILQ_INSERT_TAIL(&own->pending, load, link);
    return true;
}

struct media_cache_loop *media_cache_loop_create(struct media_cache *cache, struct http_loop *loop)
{
    struct media_cache_loop *own = calloc(1, sizeof(*own));
    if (!own)
        return NULL;
    own->cache = cache;
    own->loop = loop;
    TAILQ_INIT(&own->loads);
    TAILQ_INIT(&own->pending);
    return own;
}

static void load_give_up(struct media_load *load)
{
    struct error error;
    (void)error_set(&error, ERROR_UNAVAILABLE, "the server stops");
    entry_settle(load->cache, load->entry, NULL, &error);
    if (!load->working) {
        load_free(load);
        return;
    }
    /* The worker is at it: what belongs to the loop goes now. */
    http_lookup_file_release(load->file);
    load->file = NULL;
    load->own = NULL;
}

void media_cache_loop_close(struct media_cache_loop *own)
{
    struct media_load *load;
    if (!own)
        return;
    while ((load = TAILQ_FIRST(&own->pending))) {
        TAILQ_REMOVE(&own->pending, load, link);
        load_give_up(load);
    }
    while ((load = TAILQ_FIRST(&own->loads))) {
        TAILQ_REMOVE(&own->loads, load, link);
        load_give_up(load);
    }
    free(own);
}

/* ---- the way in ---- */

static bool answer_ready(struct media_cache *cache, struct film_entry *entry, struct media_film **film,
                         struct error *error, enum media_cache_result *result)
{
    if (entry->loading)
        return false;
    lru_use(&cache->entries, &entry->node);
    if (entry->film) {
        *film = media_film_take(entry->film);
        *result = MEDIA_CACHE_FOUND;
    } else {
        *error = *entry->refusal;
        *result = MEDIA_CACHE_REFUSED;
    }
    return true;
}

enum media_cache_result media_cache_get(struct media_cache_loop *own, struct http_lookup_file *file,
                                        media_cache_callback callback, void *argument,
                                        struct media_film **film, struct error *error,
                                        struct media_cache_wait **wait)
{
    struct media_cache *cache = own->cache;
    enum media_cache_result result = MEDIA_CACHE_FAILED;
    char key[KEY_BYTES_MAX];
    size_t size = film_key(file, key);
    bool created = false;
    if (file->stat.size == 0) {
        (void)error_set(error, ERROR_MALFORMED, "it is empty");
        return MEDIA_CACHE_REFUSED;
    }
    struct media_cache_wait *new_wait = calloc(1, sizeof(*new_wait));
    if (!new_wait)
        return MEDIA_CACHE_FAILED;
    new_wait->wait = (struct wait){.loop = own->loop->loop, .done = cache_waited};
    new_wait->callback = callback;
    new_wait->argument = argument;
    pthread_mutex_lock(&cache->mutex);
    struct film_entry *entry = entry_find(cache, key, size);
    if (entry && answer_ready(cache, entry, film, error, &result))
        goto answered;
    if (!entry) {
        entry = film_entry_create(cache, key, size);
        if (!entry)
            goto answered;
        if (!load_create(own, entry, file)) {
            film_entry_free(cache, entry);
            goto answered;
        }
        created = true;
    }
    if (!wait_enter(&entry->waits, &new_wait->wait, 0)) /* without a timer it cannot fail */
        goto answered;
    *wait = new_wait;
    new_wait = NULL;
    result = MEDIA_CACHE_WAITING;
answered:
    pthread_mutex_unlock(&cache->mutex);
    free(new_wait);
    metric_add(created ? cache->loads : cache->hits, 1);
    if (created)
        load_begin_next(own);
    return result;
}
