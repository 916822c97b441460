/*
 * store_look: one look at a time per store path, on its probe thread; only the first one is waited for. The file system is touched through storage/store/store_probe.c only.
 */
#include "storage/store/store_look.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include "storage/store/store_life.h"
#include "storage/store/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM     "store"
#define TRIAL_MS 60000 /* so often a file is written for trial where nothing failed */

static struct store_held_root *make_root(const struct storage_config *config, int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return NULL;
    struct store_held_root *root = calloc(1, sizeof(*root));
    if (!root)
        return NULL;
    root->public.fd = fd;
    root->users = 1;
    root->device = status.st_dev;
    root->inode = status.st_ino;
    root->mount = store_system_mount(fd);
    store_system_find(fd, &root->system);
    root->life_fd = -1;
    root->sync_fd = store_path_wants_journal(config, &root->system)
                        ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                        : -1;
    return root;
}

/* The same directory mounted anew is another one: what is beneath the old mount, which is in no place any more, is refused to
 * a daemon that Landlock confines. */
static bool is_same_root(struct store_path *path, const struct store_held_root *fresh)
{
    pthread_mutex_lock(&path->mutex);
    bool same = fresh && path->root && path->root->device == fresh->device &&
                path->root->inode == fresh->inode && path->root->mount == fresh->mount;
    pthread_mutex_unlock(&path->mutex);
    return same;
}

/* What an upload to the path waits for. */
static const char *syncs_of(const struct store_path *path, const struct store_system *system)
{
    if (!store_path_durable(path))
        return "nothing is synced";
    bool trusted = system->one_journal && path->store->config->directory_sync == OPTIONS_DIRECTORY_SYNC_AUTO;
    return trusted ? "files are synced, their names with them" : "files and directories are synced";
}

static void log_state(const struct store_path *path, const struct store_system *system)
{
    struct store_path_status status;
    store_path_status(path, &status);
    if (!status.readable)
        log_error(ROOM, "store path %s is not usable: %s", path->key, status.reason);
    else if (!status.writable || status.full)
        log_error(ROOM, "store path %s takes no uploads: %s", path->key, status.reason);
    else
        log_info(ROOM, "store path %s at %s is usable: %lld MiB of %lld MiB free; on %s: %s", path->key,
                 path->directory, (long long)(status.free >> 20), (long long)(status.capacity >> 20),
                 system->type[0] != '\0' ? system->type : "an unknown file system", syncs_of(path, system));
}

static bool is_below(const struct store_path *path)
{
    return path->free < atomic_load(&path->store->floor_space) ||
           path->free_inodes < atomic_load(&path->store->floor_inodes);
}

/* Before anybody uses the root: is a volume that other machines may mount too somewhere below? */
static void look_below(struct store_path *path, const struct store_held_root *fresh)
{
    if (!fresh || !fresh->system.one_journal || atomic_load(&path->mounted_below) ||
        !store_system_mounts_below("/proc/self/mountinfo", path->directory, fresh->device))
        return;
    atomic_store(&path->mounted_below, true);
    log_warning(
        ROOM,
        "store path %s: another file system is mounted below %s: partial uploads that a dead server leaves "
        "are copied before they go on, because its locks cannot show that it is dead; mount volumes at the "
        "store path itself",
        path->key, path->directory);
}

/* Takes over what the look found. The root is replaced only when another directory lies there now. */
static void store_look_take_over(struct store_path *path)
{
    struct store_probe *probe = &path->probe;
    struct store_held_root *fresh = probe->fd >= 0 ? make_root(path->store->config, probe->fd) : NULL;
    if (!fresh && probe->fd >= 0) {
        int saved = errno;
        (void)close(probe->fd);
        probe->fd = -1;
        error_set_errno(&probe->error, saved, "cannot keep %s open", path->directory);
    }

    look_below(path, fresh);
    bool same = is_same_root(path, fresh); /* nobody else replaces it */
    if (fresh && !same)
        store_life_begin(fresh);
    pthread_mutex_lock(&path->mutex);
    bool was_readable = path->root != NULL, was_writable = path->writable;
    bool first = !path->looked && !atomic_load(&path->look_wanted);
    bool was_below = path->below;
    struct store_held_root *gone = same ? fresh : path->root;
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
    struct store_system system =
        path->root ? path->root->system : (struct store_system){.one_journal = false};
    bool changed = first || was_readable != (path->root != NULL) || was_writable != path->writable ||
                   was_below != path->below;
    pthread_mutex_unlock(&path->mutex);
    if (changed)
        log_state(path, &system);

    if (!same) /* what was known of the other directory does not hold for this one */
        store_directories_clear(path->directories);
    if (gone)
        store_path_drop_root(path, gone);
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
        error_set(
            &path->probe.error, ERROR_UNAVAILABLE,
            "%s is empty, and the database has not said yet whether there are rows of files with key %s",
            path->directory, path->key);
    }
}

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
        log_info(ROOM, "store path %s: a trial write works again; it takes uploads", path->key);
    if (path->probe.marker_made)
        log_info(ROOM, "store path %s: made %s/%s", path->key, path->directory, STORE_MARKER);
    store_look_take_over(path);
    atomic_store(&path->probe_since_ms, 0);
    if (atomic_load(&path->look_wanted))
        store_look_start(path);
}

void store_look_start(struct store_path *path)
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

void store_look_tick(struct store_path *path)
{
    static struct log_gate gate;
    uint64_t suppressed;
    if (store_path_hangs(path) && log_gate_open(&gate, 10000, &suppressed))
        log_error(ROOM, "store path %s hangs: a probe of %s has not returned for %lld ms", path->key,
                  path->directory, (long long)(clock_monotonic_ms() - atomic_load(&path->probe_since_ms)));
    store_look_start(path);
}

void store_look_wait_first(struct store *store, int64_t timeout_ms)
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
        store_look_start(path);
    }
    store_look_wait_first(store, timeout_ms);
}
