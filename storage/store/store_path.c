/*
 * store_path: the state of one store path behind its short mutex, and its directory as a descriptor that is counted while
 * it is used. Work for the path goes to its own threads.
 */
#include "storage/store/store_path.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "storage/store/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ROOM "store"

/* ---- roots ---- */

void store_path_drop_root(struct store_path *path, struct store_held_root *root)
{
    pthread_mutex_lock(&path->mutex);
    bool last = --root->users == 0;
    pthread_mutex_unlock(&path->mutex);
    if (!last)
        return;
    (void)close(root->public.fd);
    if (root->life_fd >= 0)
        (void)close(root->life_fd); /* nothing was written */
    if (root->sync_fd >= 0)
        (void)close(root->sync_fd);
    free(root);
}

bool store_path_enter(struct store_path *path, struct store_root **root, struct error *error)
{
    pthread_mutex_lock(&path->mutex);
    struct store_held_root *current = path->root;
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
    store_path_drop_root(path, CONTAINER_OF(root, struct store_held_root, public));
}

bool store_path_lies_at(const struct store_path *path, const struct store_root *root, struct error *error)
{
    const struct store_held_root *held = CONTAINER_OF(root, struct store_held_root, public);
    struct stat status;
    if (stat(path->directory, &status) == 0 && status.st_dev == held->device && status.st_ino == held->inode)
        return true;
    return error_set(error, ERROR_UNAVAILABLE,
                     "another directory appeared at %s: was its volume mounted again?", path->directory);
}

bool store_path_in_place(struct store_path *path, struct error *error)
{
    struct store_root *root;
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = store_path_lies_at(path, root, error);
    store_path_leave(path, root);
    return fine;
}

bool store_path_name_lasts(const struct store_path *path, const struct store_root *root, int fd)
{
    const struct store_held_root *held = CONTAINER_OF(root, struct store_held_root, public);
    struct stat status;
    /* The device too: another file system may be mounted somewhere below the store path. */
    return path->store->config->directory_sync == OPTIONS_DIRECTORY_SYNC_AUTO && held->system.one_journal &&
           fstat(fd, &status) == 0 && status.st_dev == held->device;
}

/* ---- the upload journal ---- */

bool store_path_wants_journal(const struct storage_config *config, const struct store_system *system)
{
    if (config->durability != OPTIONS_DURABLE || config->journal == OPTIONS_JOURNAL_OFF)
        return false;
    return config->journal == OPTIONS_JOURNAL_ON ? !store_system_is_remote(system) : system->one_journal;
}

bool store_path_may_wait(const struct store_path *path, const struct store_root *root, int fd)
{
    const struct store_held_root *held = CONTAINER_OF(root, struct store_held_root, public);
    struct stat status;
    (void)path;
    /* The device too: another file system may be mounted somewhere below the store path. */
    return held->sync_fd >= 0 && fstat(fd, &status) == 0 && status.st_dev == held->device;
}

bool store_path_may_be_journaled(struct store_path *path)
{
    pthread_mutex_lock(&path->mutex);
    bool may = !path->root || path->root->system.one_journal;
    pthread_mutex_unlock(&path->mutex);
    return may;
}

bool store_path_takes_journal(struct store_path *path, struct error *error)
{
    pthread_mutex_lock(&path->mutex);
    struct store_system system = path->root ? path->root->system : (struct store_system){.one_journal = true};
    pthread_mutex_unlock(&path->mutex);
    return path->store->config->journal != OPTIONS_JOURNAL_ON || system.one_journal ||
           !store_system_is_remote(&system) ||
           error_set(error, ERROR_REFUSED,
                     "storage.journal = on: store path %s at %s is on %s: other servers read its files "
                     "before a checkpoint has "
                     "put them on its disks, and nobody could replay the journal for them; use auto or off",
                     path->key, path->directory,
                     system.type[0] != '\0' ? system.type : "an unknown file system");
}

bool store_path_sync_system(struct store_path *path, const struct store_root *root, struct error *error)
{
    const struct store_held_root *held = CONTAINER_OF(root, struct store_held_root, public);
    struct statvfs space;
    int fd = held->sync_fd >= 0 ? held->sync_fd : openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* syncfs(2) says nothing of a file system that was made read-only because of an error; fsync(2) and its flag do. And on an ext4 without a
     * journal syncfs writes the directories and inodes only after it has flushed the disk's cache; fsync flushes that again. */
    bool fine = fd >= 0 && syncfs(fd) == 0 && fsync(fd) == 0 && fstatvfs(fd, &space) == 0;
    int saved = fine && (space.f_flag & ST_RDONLY) != 0 ? EROFS : errno;
    fine = fine && (space.f_flag & ST_RDONLY) == 0;
    if (fd >= 0 && fd != held->sync_fd)
        (void)close(fd); /* opened for reading */
    return fine || store_path_fail(path, saved, "sync the whole file system of", "", error);
}

/* ---- what is known ---- */

bool store_path_hangs(const struct store_path *path)
{
    int64_t since = atomic_load(&path->probe_since_ms);
    return since != 0 && clock_monotonic_ms() - since > path->store->config->hang_timeout_ms;
}

void store_path_status(const struct store_path *constant, struct store_path_status *status)
{
    struct store_path *path = (struct store_path *)constant; /* its mutex alone is changed */
    status->hanging = store_path_hangs(path);
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

bool store_path_readable(const struct store_path *path, struct error *error)
{
    struct store_path *changed = (struct store_path *)path; /* its mutex alone is */
    struct store_path_status status;
    pthread_mutex_lock(&changed->mutex);
    bool readable = path->root != NULL;
    pthread_mutex_unlock(&changed->mutex);
    if (readable && !store_path_hangs(path))
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

static const char *reason_of(int errnum)
{
    return errnum == ENOTCONN ? "its volume has gone: is it not mounted?" : strerrordesc_np(errnum);
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
        snprintf(path->reason, sizeof(path->reason), "%s: %s", what, reason_of(errnum));
        pthread_mutex_unlock(&path->mutex);
        log_error(ROOM, "store path %s takes no uploads until a trial write works: %s: %s", path->key, what,
                  reason_of(errnum));
    }
}

bool store_path_fail(struct store_path *path, int errnum, const char *what, const char *name,
                     struct error *error)
{
    store_path_report(path, errnum, what);
    (void)error_set_errno(error, errnum, "cannot %s %s/%s", what, path->key, name);
    if (errnum == ENOENT) /* what a row or a request speaks of may be there all the same */
        error->code = ERROR_IO;
    if (errnum == ENOTCONN)
        (void)error_set(error, error->code, "cannot %s %s/%s: the volume at %s has gone: is it not mounted?",
                        what, path->key, name, path->directory);
    return false;
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

/* ---- its threads ---- */

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

/* ---- metrics ---- */

static double store_path_read_free(void *argument)
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

void store_path_register_metrics(struct store_path *path, bool present)
{
    char labels[PROTO_KEY_SIZE + 16];
    snprintf(labels, sizeof(labels), "path=\"%s\"", path->key);
    metrics_gauge_read("reel_storage_free_bytes", "Free bytes of a store path.", labels,
                       present ? store_path_read_free : NULL, path);
    metrics_gauge_read("reel_storage_capacity_bytes", "Size of a store path's file system.", labels,
                       present ? read_capacity : NULL, path);
    metrics_gauge_read("reel_storage_reserve_bytes", "Free bytes of a store path that uploads leave alone.",
                       labels, present ? read_reserve : NULL, path);
    metrics_gauge_read("reel_storage_free_inodes", "Free inodes of a store path.", labels,
                       present ? read_free_inodes : NULL, path);
    metrics_gauge_read("reel_storage_path_writable", "1 while a store path takes uploads.", labels,
                       present ? read_writable : NULL, path);
}
