/*
 * open_cache: the key of a place, the workers of a store path, and the timer, for common/file/open_files.c.
 */
#include "storage/store/open_cache.h"

#include "common/base/clock.h"
#include "common/base/duration.h"

#include <stdlib.h>

#define TICK_MS 1000

struct open_cache {
    struct open_files *files;
    struct event *timer;
};

static struct open_key open_cache_key(struct store_path *path, const struct path *place)
{
    return (struct open_key){.owner = path, .place = {(uint64_t)place->value, (uint64_t)place->seconds, 0}};
}

static bool open_cache_submit_close(const void *owner, struct job *job)
{
    return store_path_submit((struct store_path *)(uintptr_t)owner, job, NULL);
}

static void open_cache_tick(evutil_socket_t fd, short what, void *argument)
{
    struct open_cache *cache = argument;
    (void)fd;
    (void)what;
    open_files_tick(cache->files, clock_monotonic_ms());
}

struct open_cache *open_cache_create(size_t entries_max, int64_t age_ms, struct loop *loop)
{
    const struct timeval interval = duration_timeval(TICK_MS);
    struct open_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    cache->files = open_files_create(&(struct open_files_options){.files_max = entries_max,
                                                                  .age_ms = age_ms,
                                                                  .bytes_max = OPEN_CACHE_BYTES_MAX,
                                                                  .shared = true,
                                                                  .submit = open_cache_submit_close});
    cache->timer = event_new(loop_base(loop), -1, EV_PERSIST, open_cache_tick, cache);
    if (!cache->files || !cache->timer || event_add(cache->timer, &interval) != 0) {
        open_cache_destroy(cache);
        return NULL;
    }
    return cache;
}

void open_cache_destroy(struct open_cache *cache)
{
    if (!cache)
        return;
    if (cache->timer)
        event_free(cache->timer);
    open_files_end(cache->files);
    free(cache);
}

struct open_file *open_cache_find(struct open_cache *cache, struct store_path *path, const struct path *place)
{
    const struct open_key key = open_cache_key(path, place);
    return open_files_find(cache->files, &key, NULL, clock_monotonic_ms());
}

struct open_file *open_cache_add(struct open_cache *cache, struct store_path *path, const struct path *place,
                                 int fd, int64_t size, uint8_t *bytes)
{
    const struct open_key key = open_cache_key(path, place);
    return open_files_add(cache->files, &key, fd, size, bytes, clock_monotonic_ms());
}

void open_cache_release(struct open_cache *cache, struct open_file *file)
{
    open_files_release(cache->files, file);
}

void open_cache_forget(struct open_cache *cache, struct store_path *path, const struct path *place)
{
    const struct open_key key = open_cache_key(path, place);
    open_files_forget(cache->files, &key);
}

size_t open_cache_count(struct open_cache *cache)
{
    return open_files_count(cache->files);
}
