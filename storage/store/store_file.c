/*
 * store_file: file system calls on stored files. Blocks; workers of the store path only.
 */
#include "storage/store/store_file.h"

#include "storage/store/store_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0640

/* A failed call: the error for the client, the report for the choice of store paths. Returns false. */
static bool fail(struct store_path *path, int errnum, const char *what, const char *name, struct error *error)
{
    store_path_report(path, errnum, what);
    return error_set_errno(error, errnum, "cannot %s %s/%s", what, store_path_key(path), name);
}

static const char *place_name(const struct path *place, char text[PATH_TEXT_SIZE])
{
    return path_format(place, text) ? text : "(no place)";
}

bool store_file_create(struct store_path *path, const struct path *place, int *fd, struct error *error)
{
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    if (!path_format(place, name))
        return error_set(error, ERROR_EXHAUSTED,
                         "number %lld or time %lld is out of bounds for a stored file",
                         (long long)place->value, (long long)place->seconds);
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = store_directory_make(path, root->fd, place->value, error) &&
                store_directory_unused(path, root->fd, place, error);
    for (int attempt = 0; fine; attempt++) {
        *fd = openat(root->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
        if (*fd >= 0)
            break;
        int saved = errno;
        if (saved == ENOENT && attempt == 0) { /* somebody removed a directory that was remembered */
            store_directory_forget(path, place->value);
            fine = store_directory_make(path, root->fd, place->value, error);
            continue;
        }
        fine = fail(path, saved, "create", name, error);
        if (saved == EEXIST)
            error_set(error, ERROR_EXISTS, "%s/%s exists already", store_path_key(path), name);
    }
    store_path_leave(path, root);
    return fine;
}

bool store_file_write(struct store_path *path, int fd, const void *bytes, size_t size, int64_t offset,
                      struct error *error)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t written = pwrite(fd, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) /* 0 is no error that pwrite(2) knows; a full disk is the nearest meaning */
            return fail(path, written < 0 ? errno : ENOSPC, "write", "a file", error);
        next += written;
        size -= (size_t)written;
        offset += written;
    }
    return true;
}

bool store_file_sync(struct store_path *path, int fd, struct error *error)
{
    return fsync(fd) == 0 || fail(path, errno, "sync", "a file", error);
}

bool store_file_sync_directory(struct store_path *path, const struct path *place, struct error *error)
{
    struct store_root *root;
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = store_directory_sync(path, root->fd, place->value, error);
    store_path_leave(path, root);
    return fine;
}

bool store_file_close(struct store_path *path, int fd, struct error *error)
{
    /* On Linux the descriptor is gone also after EINTR. */
    return close(fd) == 0 || fail(path, errno, "close", "a file", error);
}

bool store_file_remove(struct store_path *path, const struct path *place, struct error *error)
{
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    if (!store_path_enter(path, &root, error))
        return false;
    place_name(place, name);
    bool fine =
        unlinkat(root->fd, name, 0) == 0 || errno == ENOENT || fail(path, errno, "remove", name, error);
    store_path_leave(path, root);
    return fine;
}

bool store_file_open(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                     struct error *error)
{
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    struct stat status;
    if (!store_path_enter(path, &root, error))
        return false;
    place_name(place, name);
    bool fine = true;
    /* O_NONBLOCK: a named pipe that somebody left there must not hang the worker; regular files do not mind.
     * O_NOATIME: nobody asks when a file was last read; for the files' owner only (open(2)). */
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    *fd = openat(root->fd, name, flags | O_NOATIME);
    if (*fd < 0 && errno == EPERM)
        *fd = openat(root->fd, name, flags);
    if (*fd < 0) {
        fine = fail(path, errno, "open", name, error);
        if (error &&
            error->code == ERROR_NOT_FOUND) /* the row is there: for the client this is a broken store */
            error->code = ERROR_IO;
    } else if (fstat(*fd, &status) != 0) {
        fine = fail(path, errno, "look at", name, error);
    } else if (!S_ISREG(status.st_mode)) {
        fine = error_set(error, ERROR_IO, "%s/%s is not a regular file", store_path_key(path), name);
    } else {
        *size = (int64_t)status.st_size;
    }
    if (!fine && *fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
    store_path_leave(path, root);
    return fine;
}
