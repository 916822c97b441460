/*
 * store: makes the store paths of the configuration with their threads, and ends them; the timer by which each is looked
 * at.
 */
#include "storage/store/store.h"

#include "common/base/condition.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "storage/store/store_look.h"
#include "storage/store/store_private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM            "store"
#define WORKERS_STOP_MS 2000

static void store_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct store *store = argument;
    for (size_t i = 0; i < store->count; i++)
        store_look_tick(&store->paths[i]);
}

static bool create_path(struct store *store, size_t index, struct error *error)
{
    const struct storage_config *config = store->config;
    struct store_path *path = &store->paths[index];
    char name[32];
    path->store = store;
    path->index = index;
    snprintf(path->reason, sizeof(path->reason), "not looked at yet");
    if (!storage_options_split_path(config->paths.items[index], path->key, &path->directory, error))
        return false;
    storage_options_sequence(config->paths.items[index], path->sequence);
    path->probe = (struct store_probe){
        .directory = path->directory,
        .key = path->key,
        .group = config->group,
        .mount_check = (enum options_mount_check)config->mount_check,
        .fd = -1,
    };
    path->directories = store_directories_create();
    if (!path->directories)
        return error_set(error, ERROR_GENERAL, "no memory for store path %s", path->key);
    snprintf(name, sizeof(name), "store%zu", index);
    path->workers =
        workers_create(name, (size_t)config->workers_per_path, (size_t)config->workers_queue, error);
    if (!path->workers)
        return false;
    snprintf(name, sizeof(name), "probe%zu", index);
    path->prober = workers_create(name, 1, 1, error);
    if (!path->prober)
        return false;
    store_path_register_metrics(path, true);
    store_look_start(path);
    return true;
}

struct store *store_create(const struct storage_config *config, struct loop *loop, int64_t first_look_ms,
                           store_has_rows has_rows, void *argument, struct error *error)
{
    struct store *store = calloc(1, sizeof(*store));
    if (!store || !(store->paths = calloc(config->paths.count, sizeof(*store->paths)))) {
        free(store);
        error_set(error, ERROR_GENERAL, "no memory for the store paths");
        return NULL;
    }
    if (!condition_init(&store->first_look, error)) {
        free(store->paths);
        free(store);
        return NULL;
    }
    store->config = config;
    store->has_rows = has_rows;
    store->has_rows_argument = argument;
    if (!store_modes_make(&store->modes, config, error)) {
        free(store->paths);
        free(store);
        return NULL;
    }
    store_set_floors(store, config->reserve_space, config->reserve_inodes);
    pthread_mutex_init(&store->mutex, NULL);

    for (size_t i = 0; i < config->paths.count; i++) {
        pthread_mutex_init(&store->paths[i].mutex, NULL);
        pthread_mutex_init(&store->paths[i].submit_mutex, NULL);
        store->count++;
        if (!create_path(store, i, error))
            goto fail;
    }
    const struct timeval interval = duration_timeval(config->probe_interval_ms);
    store->timer = event_new(loop_base(loop), -1, EV_PERSIST, store_tick, store);
    if (!store->timer || event_add(store->timer, &interval) != 0) {
        error_set(error, ERROR_GENERAL, "cannot make the timer of the store paths");
        goto fail;
    }
    store_look_wait_first(store, first_look_ms);
    return store;

fail:
    store_destroy(store);
    return NULL;
}

static void end_path(struct store_path *path, int64_t timeout_ms)
{
    pthread_mutex_lock(&path->submit_mutex);
    bool ended = path->ended;
    path->ended = true;
    pthread_mutex_unlock(&path->submit_mutex);
    if (ended)
        return;
    if (path->prober)
        store_path_register_metrics(path, false);
    path->left = !workers_destroy(path->workers, timeout_ms);
    path->left = !workers_destroy(path->prober, timeout_ms) || path->left;
    if (path->left)
        log_error(ROOM, "store path %s still hangs and is abandoned", path->key);
}

void store_end(struct store *store, int64_t timeout_ms)
{
    if (store->timer)
        event_free(store->timer);
    store->timer = NULL;
    for (size_t i = 0; i < store->count; i++)
        end_path(&store->paths[i], timeout_ms);
}

void store_destroy(struct store *store)
{
    if (!store)
        return;
    bool left = false;
    store_end(store, WORKERS_STOP_MS);
    for (size_t i = 0; i < store->count; i++) {
        struct store_path *path = &store->paths[i];
        left = left || path->left;
        if (path->left) /* its thread may still come back to it */
            continue;
        if (path->root)
            store_path_drop_root(path, path->root);
        store_directories_destroy(path->directories);
        pthread_mutex_destroy(&path->submit_mutex);
        pthread_mutex_destroy(&path->mutex);
    }
    if (left)
        return;
    pthread_cond_destroy(&store->first_look);
    pthread_mutex_destroy(&store->mutex);
    free(store->paths);
    free(store);
}

bool store_make_markers(const struct storage_config *config, FILE *out, struct error *error)
{
    for (size_t i = 0; i < config->paths.count; i++) {
        char key[PROTO_KEY_SIZE];
        struct store_probe probe = {
            .group = config->group,
            .mount_check =
                config->mount_check == OPTIONS_MOUNT_POINT ? OPTIONS_MOUNT_POINT : OPTIONS_MOUNT_NONE,
            .make_marker = true,
            .key = key,
        };
        if (!storage_options_split_path(config->paths.items[i], key, &probe.directory, error))
            return false;
        store_probe_look(&probe);
        if (probe.fd < 0) {
            if (error)
                *error = probe.error;
            return false;
        }
        (void)close(probe.fd);
        fprintf(out, "store path %s: %s/%s %s\n", key, probe.directory, STORE_MARKER,
                probe.marker_made ? "made" : "was there");
    }
    return true;
}

/* ---- asking ---- */

size_t store_count(const struct store *store)
{
    return store->count;
}

struct store_path *store_at(const struct store *store, size_t index)
{
    ASSERT(index < store->count);
    return &store->paths[index];
}

void store_set_floors(struct store *store, int64_t space, int64_t inodes)
{
    atomic_store(&store->floor_space, space);
    atomic_store(&store->floor_inodes, inodes);
}

void store_floors(const struct store *store, int64_t *space, int64_t *inodes)
{
    *space = atomic_load(&store->floor_space);
    *inodes = atomic_load(&store->floor_inodes);
}
