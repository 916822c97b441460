/*
 * store: state and choice of the store paths. Touches the file system only through storage/store/store_probe.c, on
 * the probe thread of each path. What every thread asks for stands behind a short mutex of the path.
 */
#include "storage/store/store.h"
#include "common/base/condition.h"
#include "common/base/duration.h"
#include "storage/store/store_directory.h"
#include "storage/store/store_probe.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM            "store"
#define WORKERS_STOP_MS 2000
#define TRIAL_MS        60000 /* so often a file is written for trial where nothing failed */

/* The public part comes first, so that one pointer is both. */
struct root {
    struct store_root public;
    size_t users; /* under the path's mutex; the path itself is one */
    dev_t device;
    ino_t inode;
};

struct store_path {
    struct store *store;
    size_t index;
    char key[PROTO_KEY_SIZE], sequence[PROTO_KEY_SIZE];
    const char *directory; /* points into the configuration */
    struct workers *workers;
    struct workers *prober; /* one thread */
    bool ended;             /* under the submit mutex: both are gone */
    bool left;              /* something hangs and was left alone */
    pthread_mutex_t submit_mutex;
    struct store_directories *directories;

    struct job probe_job;
    struct store_probe probe;       /* the probe thread's while a look is under way */
    _Atomic int64_t probe_since_ms; /* 0: no look is under way */
    atomic_bool look_wanted;        /* another look as soon as the one under way has ended */
    atomic_bool failed;             /* a call failed: the next look makes a trial */
    int64_t trial_ms;               /* the probe thread's: when the last one was; 0: never */

    pthread_mutex_t mutex; /* for what follows */
    struct root *root;     /* NULL: cannot be read */
    bool looked;           /* at least one look has ended */
    bool writable;
    bool full;  /* a write failed for want of space */
    bool below; /* less room than storage.reserve_space or reserve_inodes leave */
    bool marker_seen;
    bool bare; /* refused as an empty directory without a marker */
    int64_t capacity, free, free_inodes;
    char reason[ERROR_TEXT_SIZE];
};

struct store {
    const struct storage_config *config;
    struct store_path *paths;
    size_t count;
    struct event *timer;
    struct store_modes modes;
    store_has_rows has_rows; /* NULL: nobody can tell */
    void *has_rows_argument;
    _Atomic int64_t floor_space, floor_inodes;
    pthread_mutex_t mutex;
    pthread_cond_t first_look;
    size_t paths_looked;
};

/* ---- roots ---- */

static void drop_root(struct store_path *path, struct root *root)
{
    pthread_mutex_lock(&path->mutex);
    bool last = --root->users == 0;
    pthread_mutex_unlock(&path->mutex);
    if (!last)
        return;
    (void)close(root->public.fd);
    free(root);
}

bool store_path_enter(struct store_path *path, struct store_root **root, struct error *error)
{
    pthread_mutex_lock(&path->mutex);
    struct root *current = path->root;
    if (current)
        current->users++;
    else
        error_set(error, ERROR_UNAVAILABLE, "store path %s is not usable: %s", path->key, path->reason);
    pthread_mutex_unlock(&path->mutex);
    *root = current ? &current->public : NULL;
    return current != NULL;
}

void store_path_leave(struct store_path *path, struct store_root *root)
{
    drop_root(path, CONTAINER_OF(root, struct root, public));
}

bool store_path_lies_at(const struct store_path *path, const struct store_root *root, struct error *error)
{
    const struct root *held = CONTAINER_OF(root, struct root, public);
    struct stat status;
    if (stat(path->directory, &status) == 0 && status.st_dev == held->device && status.st_ino == held->inode)
        return true;
    return error_set(error, ERROR_UNAVAILABLE,
                     "another directory was put at %s during the upload: is its volume mounted anew?",
                     path->directory);
}

/* ---- looking ---- */

static struct root *make_root(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return NULL;
    struct root *root = calloc(1, sizeof(*root));
    if (!root)
        return NULL;
    root->public.fd = fd;
    root->users = 1;
    root->device = status.st_dev;
    root->inode = status.st_ino;
    return root;
}

static void log_state(const struct store_path *path)
{
    struct store_path_status status;
    store_path_status(path, &status);
    if (!status.readable)
        log_error(ROOM, "store path %s is not usable: %s", path->key, status.reason);
    else if (!status.writable || status.full)
        log_error(ROOM, "store path %s takes no uploads: %s", path->key, status.reason);
    else
        log_info(ROOM, "store path %s at %s is usable: %lld MiB of %lld MiB free", path->key, path->directory,
                 (long long)(status.free >> 20), (long long)(status.capacity >> 20));
}

static bool is_below(const struct store_path *path)
{
    return path->free < atomic_load(&path->store->floor_space) ||
           path->free_inodes < atomic_load(&path->store->floor_inodes);
}

/* Takes over what the look found. The root is replaced only when another directory lies there now. */
static void take_over(struct store_path *path)
{
    struct store_probe *probe = &path->probe;
    struct root *fresh = probe->fd >= 0 ? make_root(probe->fd) : NULL;
    if (!fresh && probe->fd >= 0) {
        int saved = errno;
        (void)close(probe->fd);
        probe->fd = -1;
        error_set_errno(&probe->error, saved, "cannot keep %s open", path->directory);
    }

    pthread_mutex_lock(&path->mutex);
    bool was_readable = path->root != NULL, was_writable = path->writable;
    bool first = !path->looked && !atomic_load(&path->look_wanted);
    bool was_below = path->below;
    bool same =
        fresh && path->root && path->root->device == fresh->device && path->root->inode == fresh->inode;
    struct root *gone = same ? fresh : path->root;
    if (!same)
        path->root = fresh;
    path->looked = path->looked || first;
    path->writable = probe->writable;
    path->full = probe->error.code == ERROR_NO_SPACE;
    path->bare = probe->bare;
    path->marker_seen = path->marker_seen || probe->marker_seen || probe->marker_made;
    path->capacity = probe->capacity;
    path->free = probe->free;
    path->free_inodes = probe->free_inodes;
    path->below = path->root && is_below(path);
    snprintf(path->reason, sizeof(path->reason), "%s", probe->error.text);
    bool changed = first || was_readable != (path->root != NULL) || was_writable != path->writable ||
                   was_below != path->below;
    pthread_mutex_unlock(&path->mutex);
    if (changed)
        log_state(path);

    if (!same) /* what was known of the other directory does not hold for this one */
        store_directories_clear(path->directories);
    if (gone)
        drop_root(path, gone);
    if (first) {
        pthread_mutex_lock(&path->store->mutex);
        path->store->paths_looked++;
        pthread_cond_broadcast(&path->store->first_look);
        pthread_mutex_unlock(&path->store->mutex);
    }
}

/* The store path is an empty directory: a new one, if no row speaks of files in it. */
static void ask_for_rows(struct store_path *path)
{
    const struct store *store = path->store;
    bool known = false;
    bool rows = store->has_rows(store->has_rows_argument, path, &known);
    if (known && !rows) {
        path->probe.empty_fine = true;
        store_probe_look(&path->probe);
    } else if (!known) {
        error_set(&path->probe.error, ERROR_UNAVAILABLE,
                  "%s is empty, and the database does not say yet whether there are rows of files in key %s",
                  path->directory, path->key);
    }
}

static void start_look(struct store_path *path);

static void probe_run(struct job *job)
{
    struct store_path *path = CONTAINER_OF(job, struct store_path, probe_job);
    bool failed = atomic_exchange(&path->failed, false);
    int64_t now = clock_monotonic_ms();
    /* Also where nothing has failed: whether this user may write there shows before the first upload does. */
    path->probe.trial = failed || path->trial_ms == 0 || now - path->trial_ms > TRIAL_MS;
    path->probe.empty_fine = !path->store->has_rows;
    store_probe_look(&path->probe);
    if (path->probe.bare)
        ask_for_rows(path);
    if (path->probe.trial)
        path->trial_ms = now;
    if (path->probe.trial && !path->probe.writable)
        atomic_store(&path->failed, true);
    else if (failed)
        log_info(ROOM, "store path %s: a trial write works again, it takes uploads", path->key);
    if (path->probe.marker_made)
        log_info(ROOM, "store path %s: made %s/%s", path->key, path->directory, STORE_MARKER);
    take_over(path);
    atomic_store(&path->probe_since_ms, 0);
    if (atomic_load(&path->look_wanted))
        start_look(path);
}

/* Where a look is under way nothing happens; it sees `look_wanted` at its end. */
static void start_look(struct store_path *path)
{
    int64_t none = 0;
    if (!atomic_compare_exchange_strong(&path->probe_since_ms, &none, max_i64(clock_monotonic_ms(), 1)))
        return;
    atomic_store(&path->look_wanted, false);
    pthread_mutex_lock(&path->mutex);
    path->probe.marker_expected = path->marker_seen;
    pthread_mutex_unlock(&path->mutex);
    path->probe_job = (struct job){.run = probe_run};
    if (!workers_submit(path->prober, &path->probe_job))
        atomic_store(&path->probe_since_ms, 0);
}

static bool path_hangs(const struct store_path *path)
{
    int64_t since = atomic_load(&path->probe_since_ms);
    return since != 0 && clock_monotonic_ms() - since > path->store->config->hang_timeout_ms;
}

static void store_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct store *store = argument;
    for (size_t i = 0; i < store->count; i++) {
        static struct log_gate gate;
        uint64_t suppressed;
        struct store_path *path = &store->paths[i];
        if (path_hangs(path) && log_gate_open(&gate, 10000, &suppressed))
            log_error(ROOM, "store path %s hangs: a probe of %s has not returned for %lld ms", path->key,
                      path->directory,
                      (long long)(clock_monotonic_ms() - atomic_load(&path->probe_since_ms)));
        start_look(path);
    }
}

/* ---- making and ending ---- */

static double read_free(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return (double)status.free;
}

static double read_writable(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return status.writable && !status.hanging && !status.full ? 1 : 0;
}

static double read_capacity(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return (double)status.capacity;
}

static double read_free_inodes(void *argument)
{
    struct store_path_status status;
    store_path_status(argument, &status);
    return (double)status.free_inodes;
}

static double read_reserve(void *argument)
{
    const struct store_path *path = argument;
    return (double)atomic_load(&path->store->floor_space);
}

static void store_register_metrics(struct store_path *path, bool present)
{
    char labels[PROTO_KEY_SIZE + 16];
    snprintf(labels, sizeof(labels), "path=\"%s\"", path->key);
    metrics_gauge_read("reel_storage_free_bytes", "Free bytes of a store path.", labels,
                       present ? read_free : NULL, path);
    metrics_gauge_read("reel_storage_capacity_bytes", "Size of a store path's file system.", labels,
                       present ? read_capacity : NULL, path);
    metrics_gauge_read("reel_storage_reserve_bytes", "Free bytes of a store path that uploads leave alone.",
                       labels, present ? read_reserve : NULL, path);
    metrics_gauge_read("reel_storage_free_inodes", "Free inodes of a store path.", labels,
                       present ? read_free_inodes : NULL, path);
    metrics_gauge_read("reel_storage_path_writable", "1 while a store path takes uploads.", labels,
                       present ? read_writable : NULL, path);
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
    store_register_metrics(path, true);
    start_look(path);
    return true;
}

static void wait_first_look(struct store *store, int64_t timeout_ms)
{
    int64_t until_ms = clock_monotonic_ms() + timeout_ms, left_ms;
    pthread_mutex_lock(&store->mutex);
    while (store->paths_looked < store->count && (left_ms = until_ms - clock_monotonic_ms()) > 0)
        condition_wait_ms(&store->first_look, &store->mutex, left_ms);
    pthread_mutex_unlock(&store->mutex);
}

void store_look_again(struct store *store, int64_t timeout_ms)
{
    for (size_t i = 0; i < store->count; i++) {
        struct store_path *path = &store->paths[i];
        pthread_mutex_lock(&path->mutex);
        bool looked = path->looked, again = !looked || path->bare;
        if (again) {
            path->looked = false;
            atomic_store(&path->look_wanted, true); /* one that is under way has looked too early */
        }
        pthread_mutex_unlock(&path->mutex);
        if (!again)
            continue;
        if (looked) {
            pthread_mutex_lock(&store->mutex);
            store->paths_looked--;
            pthread_mutex_unlock(&store->mutex);
        }
        start_look(path);
    }
    wait_first_look(store, timeout_ms);
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
    wait_first_look(store, first_look_ms);
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
        store_register_metrics(path, false);
    path->left = !workers_destroy(path->workers, timeout_ms);
    path->left = !workers_destroy(path->prober, timeout_ms) || path->left;
    if (path->left)
        log_error(ROOM, "store path %s still hangs and is left behind", path->key);
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
            drop_root(path, path->root);
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

void store_path_status(const struct store_path *constant, struct store_path_status *status)
{
    struct store_path *path = (struct store_path *)constant; /* its mutex alone is changed */
    status->hanging = path_hangs(path);
    pthread_mutex_lock(&path->mutex);
    status->readable = path->root != NULL;
    status->writable = path->root && path->writable && !atomic_load(&path->failed);
    status->full = path->full || (path->root && path->below);
    status->capacity = path->capacity;
    status->free = path->free;
    status->free_inodes = path->free_inodes;
    snprintf(status->reason, sizeof(status->reason), "%s", path->reason);
    if (path->reason[0] == '\0' && status->full)
        snprintf(status->reason, sizeof(status->reason),
                 "below the floor: %lld bytes and %lld inodes are free, %lld and %lld are reserved "
                 "(storage.reserve_space, reserve_inodes)",
                 (long long)path->free, (long long)path->free_inodes,
                 (long long)atomic_load(&path->store->floor_space),
                 (long long)atomic_load(&path->store->floor_inodes));
    pthread_mutex_unlock(&path->mutex);
    if (status->hanging)
        snprintf(status->reason, sizeof(status->reason), "%s hangs", path->directory);
}

size_t store_path_index(const struct store_path *path)
{
    return path->index;
}

const char *store_path_key(const struct store_path *path)
{
    return path->key;
}

const char *store_path_sequence(const struct store_path *path)
{
    return path->sequence;
}

const char *store_path_directory(const struct store_path *path)
{
    return path->directory;
}

bool store_path_submit(struct store_path *path, struct job *job, struct error *error)
{
    pthread_mutex_lock(&path->submit_mutex);
    bool ended = path->ended;
    bool taken = !ended && workers_submit(path->workers, job);
    pthread_mutex_unlock(&path->submit_mutex);
    return taken ||
           error_set(error, ERROR_UNAVAILABLE, "store path %s: %s", path->key,
                     ended ? "the server is stopping" : "too many requests are waiting for its disk");
}

struct workers *store_path_workers(const struct store_path *path)
{
    return path->workers;
}

bool store_path_durable(const struct store_path *path)
{
    return path->store->config->durability == OPTIONS_DURABLE;
}

const struct store_modes *store_path_modes(const struct store_path *path)
{
    return &path->store->modes;
}

struct store_directories *store_path_directories(const struct store_path *path)
{
    return path->directories;
}

bool store_path_readable(const struct store_path *path, struct error *error)
{
    struct store_path *changed = (struct store_path *)path; /* its mutex alone is */
    struct store_path_status status;
    pthread_mutex_lock(&changed->mutex);
    bool readable = path->root != NULL;
    pthread_mutex_unlock(&changed->mutex);
    if (readable && !path_hangs(path))
        return true;
    store_path_status(path, &status);
    return error_set(error, ERROR_UNAVAILABLE, "store path %s is not usable: %s", path->key, status.reason);
}

bool store_path_format(const struct store_path *path, const struct path *place,
                       char text[STORE_FILE_PATH_SIZE])
{
    char below[PATH_TEXT_SIZE];
    size_t key_size = strlen(path->key);
    if (!path_format(place, below))
        return false;
    memcpy(text, path->key, key_size);
    text[key_size] = '/';
    memcpy(text + key_size + 1, below, sizeof(below));
    return true;
}

void store_path_report(struct store_path *path, int errnum, const char *what)
{
    switch (errnum) {
    case ENOENT:
    case EEXIST:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ELOOP:
        return; /* they say something about one file or about this process */
    default:
        break;
    }
    if (!atomic_exchange(&path->failed, true)) {
        pthread_mutex_lock(&path->mutex);
        path->full = errnum == ENOSPC || errnum == EDQUOT;
        snprintf(path->reason, sizeof(path->reason), "%s: %s", what, strerrordesc_np(errnum));
        pthread_mutex_unlock(&path->mutex);
        log_error(ROOM, "store path %s takes no uploads until a trial write works: %s: %s", path->key, what,
                  strerrordesc_np(errnum));
    }
}
