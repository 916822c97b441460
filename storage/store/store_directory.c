/*
 * store_directory: the directories that last, the numbers in use, and shared syncs of one store path.
 */
#include "storage/store/store_directory.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "storage/store/store_beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOM             "store"
#define DIRECTORIES_KEPT 65536
#define USED_KEPT        16 /* directories whose numbers are remembered: numbers come in runs, so few are in use */
#define USED_AGE_MS      1000
#define NUMBERS          512 /* of a directory */
#define REFUSING_KEPT    8
#define REFUSING_MAX     2      /* more directories than this refuse at a time: it is the path */
#define REFUSALS         2      /* of a directory, before its numbers are skipped */
#define REFUSING_MS      600000 /* then it is tried again */

/* The numbers that had a file when the directory was read. */
struct used {
    int64_t directory; /* path_directory_number(); 0: free */
    int root;
    int64_t seconds; /* of the file that it was read for */
    int64_t read_ms;
    uint64_t bits[NUMBERS / 64];
};

/* A directory in which no file can be created. */
struct refusing {
    int64_t directory; /* 0: free */
    int refusals;
    int64_t since_ms;
};

struct waiter {
    SLIST_ENTRY(waiter) link;
    bool done, fine;
    struct error error;
};
SLIST_HEAD(waiters, waiter);

/* A directory that somebody syncs or wants to. */
struct sync {
    LIST_ENTRY(sync) link;
    int64_t directory;
    int root;
    size_t users;
    bool running;
    struct waiters waiting; /* for the next one */
    pthread_cond_t ended;
};

struct store_directories {
    struct cache *known; /* path_directory_number() -> nothing: there to stay */
    struct metric *syncs, *synced;
    pthread_mutex_t mutex; /* for what follows */
    struct used used[USED_KEPT];
    size_t next_used;
    struct refusing refusing[REFUSING_KEPT];
    LIST_HEAD(, sync) running;
};

static bool sync_directory(struct store_path *path, int root, const char *name, struct error *error)
{
    int fd = store_beneath_open(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return store_path_fail(path, errno, "open directory", name, error);
    bool fine = fsync(fd) == 0;
    int saved = errno;
    (void)close(fd);
    metric_add(store_path_directories(path)->syncs, 1);
    return fine || store_path_fail(path, saved, "sync directory", name, error);
}

/* ---- directories that last ---- */

/* *MISSING: the directory above it is not there. */
static bool make_one(struct store_path *path, int root, const char *name, bool *missing, struct error *error)
{
    const struct store_modes *modes = store_path_modes(path);
    const char *last;
    int parent = store_beneath_parent(root, name, &last);
    *missing = parent < 0 && errno == ENOENT;
    if (parent < 0)
        return store_path_fail(path, errno, "open the parent of directory", name, error);
    bool made = mkdirat(parent, last, modes->directory) == 0;
    bool fine = (made && store_modes_apply_at(modes, parent, last)) || (!made && errno == EEXIST) ||
                store_path_fail(path, store_beneath_errno(root),
                                made ? "set mode and group of directory" : "make directory", name, error);
    (void)close(parent);
    return fine;
}

/* A directory is remembered only when it is known to last: its name was synced into its parent by this
 * process. One that another process made a moment ago may not be, so it is synced here again; that costs one
 * fsync per 512 files. */
static bool make_unknown(struct store_path *path, int root, int64_t value, bool *missing, struct error *error)
{
    struct cache *known = store_path_directories(path)->known;
    char name[PATH_TEXT_SIZE], parent[PATH_TEXT_SIZE];
    uint8_t nothing = 0;
    int depth = PATH_DIRECTORY_DEPTH;
    for (; depth > 0; depth--) {
        int64_t number = path_directory_number(value, depth);
        if (cache_get(known, &number, sizeof(number), &nothing))
            break;
    }
    for (depth++; depth <= PATH_DIRECTORY_DEPTH; depth++) {
        int64_t number = path_directory_number(value, depth);
        path_directory(value, depth, name);
        path_directory(value, depth - 1, parent);
        if (!make_one(path, root, name, missing, error))
            return false;
        CRASH_POINT("directory-made");
        if (store_path_durable(path) && !sync_directory(path, root, parent, error))
            return false;
        CRASH_POINT("directory-synced");
        cache_put(known, &number, sizeof(number), &nothing);
    }
    return true;
}

/* One that is remembered may be gone: somebody removed it, or it was made in another directory than lies at the store path now. */
bool store_directory_make(struct store_path *path, int root, int64_t value, struct error *error)
{
    bool missing = false;
    if (make_unknown(path, root, value, &missing, error))
        return true;
    if (!missing)
        return false;
    store_directory_forget(path, value);
    return make_unknown(path, root, value, &missing, error);
}

void store_directory_forget(struct store_path *path, int64_t value)
{
    for (int depth = 1; depth <= PATH_DIRECTORY_DEPTH; depth++) {
        int64_t number = path_directory_number(value, depth);
        cache_remove(store_path_directories(path)->known, &number, sizeof(number));
    }
}

/* ---- directories that refuse ---- */

/* The mutex is held. NULL where DIRECTORY is not known to refuse. OTHERS: how many others do. */
static struct refusing *find_refusing(struct store_directories *directories, int64_t directory, int64_t now,
                                      size_t *others)
{
    struct refusing *found = NULL;
    *others = 0;
    for (size_t i = 0; i < REFUSING_KEPT; i++) {
        struct refusing *one = &directories->refusing[i];
        if (one->directory != 0 && now - one->since_ms > REFUSING_MS)
            *one = (struct refusing){0};
        if (one->directory == directory)
            found = one;
        else if (one->directory != 0)
            ++*others;
    }
    return found;
}

static bool is_of_directory(int errnum)
{
    return errnum == EACCES || errnum == EPERM || errnum == EIO || errnum == ENOTDIR || errnum == ELOOP;
}

bool store_directory_refuses(struct store_path *path, int64_t value, int errnum, struct error *error)
{
    struct store_directories *directories = store_path_directories(path);
    int64_t directory = path_directory_number(value, PATH_DIRECTORY_DEPTH), now = clock_monotonic_ms();
    size_t others, unused;
    char name[PATH_TEXT_SIZE];
    if (!is_of_directory(errnum))
        return false;
    path_directory(value, PATH_DIRECTORY_DEPTH, name);
    pthread_mutex_lock(&directories->mutex);
    struct refusing *refusing = find_refusing(directories, directory, now, &others);
    if (!refusing && others < REFUSING_MAX && (refusing = find_refusing(directories, 0, now, &unused)))
        *refusing = (struct refusing){.directory = directory, .since_ms = now};
    int refusals = refusing ? ++refusing->refusals : 0;
    pthread_mutex_unlock(&directories->mutex);
    if (!refusing || refusals > REFUSALS + NUMBERS)
        return false;
    if (refusals == REFUSALS)
        log_error(ROOM, "store path %s: no file can be created in %s (%s): its numbers are skipped",
                  store_path_key(path), name, strerrordesc_np(errnum));
    error_set(error, ERROR_EXISTS, "no file can be created in %s/%s: %s", store_path_key(path), name,
              strerrordesc_np(errnum));
    return true;
}

static bool is_refusing(struct store_directories *directories, int64_t directory)
{
    size_t others;
    const struct refusing *found = find_refusing(directories, directory, clock_monotonic_ms(), &others);
    return found && found->refusals >= REFUSALS;
}

/* ---- numbers in use ---- */

static bool is_used(const struct used *used, int64_t value)
{
    unsigned digit = (unsigned)(value % NUMBERS);
    return used->bits[digit / 64] >> (digit % 64) & 1;
}

static void note_entry(struct used *used, const char *directory, const char *name)
{
    char text[2 * PATH_TEXT_SIZE];
    struct path place;
    if (strlen(name) < PATH_TEXT_SIZE && snprintf(text, sizeof(text), "%s/%s", directory, name) > 0 &&
        path_parse(text, &place)) {
        unsigned digit = (unsigned)(place.value % NUMBERS);
        used->bits[digit / 64] |= UINT64_C(1) << (digit % 64);
    }
}

static bool directory_read_used(struct store_path *path, int root, int64_t value, const char *name,
                                struct used *used, struct error *error)
{
    int fd = store_beneath_open(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOENT)
        return true; /* it was removed; the creation of the file finds out */
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int saved = errno;
        if (fd >= 0)
            (void)close(fd);
        return !store_directory_refuses(path, value, saved, error) &&
               store_path_fail(path, saved, "read directory", name, error);
    }
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)) != NULL)
        note_entry(used, name, entry->d_name);
    int saved = errno;
    (void)closedir(stream);
    return saved == 0 || store_path_fail(path, saved, "read directory", name, error);
}

bool store_directory_unused(struct store_path *path, int root, const struct path *place, struct error *error)
{
    struct store_directories *directories = store_path_directories(path);
    struct used used = {.directory = path_directory_number(place->value, PATH_DIRECTORY_DEPTH),
                        .root = root,
                        .seconds = place->seconds,
                        .read_ms = clock_monotonic_ms()};
    char name[PATH_TEXT_SIZE];
    bool known = false, taken = false;
    path_directory(place->value, PATH_DIRECTORY_DEPTH, name);
    pthread_mutex_lock(&directories->mutex);
    bool refused = is_refusing(directories, used.directory);
    for (size_t i = 0; i < USED_KEPT && !known; i++) {
        const struct used *kept = &directories->used[i];
        /* The age too: a clock that is set back shows the same second again. */
        known = kept->directory == used.directory && kept->root == root && kept->seconds == used.seconds &&
                used.read_ms - kept->read_ms < USED_AGE_MS;
        taken = known && is_used(kept, place->value);
    }
    pthread_mutex_unlock(&directories->mutex);
    if (refused)
        return error_set(error, ERROR_EXISTS, "no file can be created in %s/%s", store_path_key(path), name);
    if (!known) {
        if (!directory_read_used(path, root, place->value, name, &used, error))
            return false;
        taken = is_used(&used, place->value);
        pthread_mutex_lock(&directories->mutex);
        directories->used[directories->next_used] = used;
        directories->next_used = (directories->next_used + 1) % USED_KEPT;
        pthread_mutex_unlock(&directories->mutex);
    }
    return !taken || error_set(error, ERROR_EXISTS, "a file in %s/%s has number %lld already",
                               store_path_key(path), name, (long long)place->value);
}

/* ---- shared syncs ---- */

/* The mutex is held. */
static struct sync *enter_sync(struct store_directories *directories, int64_t directory, int root)
{
    struct sync *sync;
    LIST_FOREACH(sync, &directories->running, link)
    {
        if (sync->directory == directory && sync->root == root)
            break;
    }
    if (!sync) {
        sync = calloc(1, sizeof(*sync));
        if (!sync)
            return NULL;
        sync->directory = directory;
        sync->root = root;
        SLIST_INIT(&sync->waiting);
        pthread_cond_init(&sync->ended, NULL);
        LIST_INSERT_HEAD(&directories->running, sync, link);
    }
    sync->users++;
    return sync;
}

/* The mutex is held. */
static void leave_sync(struct sync *sync)
{
    if (--sync->users > 0)
        return;
    LIST_REMOVE(sync, link);
    pthread_cond_destroy(&sync->ended);
    free(sync);
}

/* One fsync for everybody who waits when it begins: their names were made before. Whoever comes later waits
 * for the next one, since this one may have passed by their name. The mutex is held, but not meanwhile. */
static void directory_run_sync(struct store_path *path, struct sync *sync, const char *name,
                               pthread_mutex_t *mutex)
{
    struct waiters served = sync->waiting;
    struct waiter *waiter;
    struct error error = {0};
    SLIST_INIT(&sync->waiting);
    sync->running = true;
    pthread_mutex_unlock(mutex);
    bool fine = sync_directory(path, sync->root, name, &error);
    pthread_mutex_lock(mutex);
    sync->running = false;
    SLIST_FOREACH(waiter, &served, link)
    {
        waiter->fine = fine;
        waiter->error = error;
        waiter->done = true;
    }
    pthread_cond_broadcast(&sync->ended);
}

bool store_directory_sync(struct store_path *path, int root, int64_t value, struct error *error)
{
    struct store_directories *directories = store_path_directories(path);
    struct waiter own = {.done = false};
    char name[PATH_TEXT_SIZE];
    path_directory(value, PATH_DIRECTORY_DEPTH, name);
    pthread_mutex_lock(&directories->mutex);
    struct sync *sync = enter_sync(directories, path_directory_number(value, PATH_DIRECTORY_DEPTH), root);
    if (!sync) {
        pthread_mutex_unlock(&directories->mutex);
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a sync");
    }
    SLIST_INSERT_HEAD(&sync->waiting, &own, link);
    while (!own.done) {
        if (sync->running)
            pthread_cond_wait(&sync->ended, &directories->mutex);
        else
            directory_run_sync(path, sync, name, &directories->mutex);
    }
    leave_sync(sync);
    pthread_mutex_unlock(&directories->mutex);
    metric_add(directories->synced, 1);
    if (!own.fine && error)
        *error = own.error;
    return own.fine;
}

/* ---- making and ending ---- */

struct store_directories *store_directories_create(void)
{
    struct store_directories *directories = calloc(1, sizeof(*directories));
    if (!directories)
        return NULL;
    directories->known = cache_create(DIRECTORIES_KEPT, 0, 1, 4);
    if (!directories->known) {
        free(directories);
        return NULL;
    }
    directories->syncs = metrics_counter("reel_storage_directory_syncs_total", "Syncs of directories.", NULL);
    directories->synced =
        metrics_counter("reel_storage_directory_synced_files_total",
                        "Files whose directory was synced; several may share a sync.", NULL);
    pthread_mutex_init(&directories->mutex, NULL);
    LIST_INIT(&directories->running);
    return directories;
}

void store_directories_destroy(struct store_directories *directories)
{
    if (!directories)
        return;
    cache_destroy(directories->known);
    pthread_mutex_destroy(&directories->mutex);
    free(directories);
}

void store_directories_clear(struct store_directories *directories)
{
    cache_clear(directories->known);
    pthread_mutex_lock(&directories->mutex);
    memset(directories->used, 0, sizeof(directories->used));
    memset(directories->refusing, 0, sizeof(directories->refusing));
    pthread_mutex_unlock(&directories->mutex);
}
