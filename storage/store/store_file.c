/*
 * store_file: file system calls on stored files. Blocks; workers of the store path only.
 */
#include "storage/store/store_file.h"

#include "common/base/clock.h"
#include "storage/store/store_beneath.h"
#include "storage/store/store_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *place_name(const struct path *place, char text[PATH_TEXT_SIZE])
{
    return path_format(place, text) ? text : "(no place)";
}

static void store_file_touch(struct store_file *file)
{
    int64_t boot_ms = clock_boot_ms(), wall_us = clock_wall_us();
    file->pause_ms = max_i64(file->pause_ms,
                             max_i64(boot_ms - file->touched_ms, (wall_us - file->touched_wall_us) / 1000));
    file->touched_ms = boot_ms;
    file->touched_wall_us = wall_us;
}

static void store_file_touch_first(struct store_file *file)
{
    file->touched_ms = clock_boot_ms();
    file->touched_wall_us = clock_wall_us();
    file->pause_ms = 0;
}

bool store_file_create(struct store_file *file, struct error *error)
{
    struct store_path *path = file->path;
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    file->fd = -1;
    file->root = NULL;
    file->name_lasts = false;
    if (!path_format(&file->place, name))
        return error_set(error, ERROR_EXHAUSTED,
                         "number %lld or time %lld is out of bounds for a stored file",
                         (long long)file->place.value, (long long)file->place.seconds);
    if (!store_path_enter(path, &root, error))
        return false;
    store_file_touch_first(file);
    bool fine = store_directory_make(path, root->fd, file->place.value, error) &&
                store_directory_unused(path, root->fd, &file->place, error);
    for (int attempt = 0; fine; attempt++) {
        file->fd = store_beneath_open(root->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                      store_path_modes(path)->file);
        if (file->fd >= 0)
            break;
        int saved = errno;
        if (saved == ENOENT && attempt == 0) { /* somebody removed a directory that was remembered */
            store_directory_forget(path, file->place.value);
            fine = store_directory_make(path, root->fd, file->place.value, error);
            continue;
        }
        if (store_directory_refuses(path, file->place.value, saved, error)) {
            fine = false;
            break;
        }
        fine = store_path_fail(path, saved, "create", name, error);
        if (saved == EEXIST)
            error_set(error, ERROR_EXISTS, "%s/%s exists already", store_path_key(path), name);
    }
    if (!fine) {
        store_path_leave(path, root);
        return false;
    }
    file->root = root;
    if (store_modes_apply(store_path_modes(path), file->fd, store_path_modes(path)->file))
        return true;
    (void)store_path_fail(path, errno, "set mode and group of", name, error);
    struct error ignored;
    if (!store_file_discard(file, &ignored))
        store_file_let_go(file);
    return false;
}

bool store_file_reopen(struct store_file *file, int64_t *size, struct error *error)
{
    struct store_path *path = file->path;
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    struct stat status = {0};
    bool fine = true;
    file->root = NULL;
    file->name_lasts = false;
    if (!store_path_enter(path, &root, error))
        return false;
    store_file_touch_first(file);
    place_name(&file->place, name);
    file->fd = store_beneath_open(root->fd, name, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (file->fd < 0 && errno == ENOENT)
        fine = error_set(error, ERROR_IO, "%s/%s is not there any more", store_path_key(path), name);
    else if (file->fd < 0)
        fine = store_path_fail(path, errno, "open", name, error);
    else if (fstat(file->fd, &status) != 0)
        fine = store_path_fail(path, errno, "look at", name, error);
    else if (!S_ISREG(status.st_mode))
        fine = error_set(error, ERROR_IO, "%s/%s is not a regular file", store_path_key(path), name);
    if (fine) {
        *size = (int64_t)status.st_size;
        file->root = root;
        return true;
    }
    if (file->fd >= 0)
        (void)close(file->fd); /* nothing was written */
    file->fd = -1;
    store_path_leave(path, root);
    return false;
}

bool store_file_open_again(struct store_file *file, struct error *error)
{
    char name[PATH_TEXT_SIZE];
    place_name(&file->place, name);
    file->fd = store_beneath_open(file->root->fd, name, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    return file->fd >= 0 || store_path_fail(file->path, errno, "open", name, error);
}

bool store_file_put_back(struct store_path *path, const struct path *place, const void *bytes, size_t size,
                         bool existing, struct error *error)
{
    struct store_file file = {.path = path, .place = *place, .fd = -1};
    char name[PATH_TEXT_SIZE];
    int flags = O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (existing ? 0 : O_CREAT);
    if (!store_path_enter(path, &file.root, error))
        return false;
    place_name(place, name);
    bool fine = existing || store_directory_make(path, file.root->fd, place->value, error);
    if (fine) {
        file.fd = store_beneath_open(file.root->fd, name, flags, store_path_modes(path)->file);
        if (file.fd < 0 && !(existing && errno == ENOENT))
            fine = store_path_fail(path, errno, "open", name, error);
    }
    if (file.fd >= 0) {
        fine = store_modes_apply(store_path_modes(path), file.fd, store_path_modes(path)->file) ||
               store_path_fail(path, errno, "set mode and group of", name, error);
        fine = fine && store_file_write(&file, bytes, size, 0, error) &&
               store_file_cut(&file, (int64_t)size, error) &&
               (!existing || (store_file_sync(&file, error) && store_file_sync_directory(&file, error)));
        fine = store_file_close(&file, fine ? error : NULL) && fine;
    }
    fine = fine && store_path_lies_at(path, file.root, error);
    store_path_leave(path, file.root);
    return fine;
}

bool store_file_cut(struct store_file *file, int64_t size, struct error *error)
{
    store_file_touch(file);
    return ftruncate(file->fd, (off_t)size) == 0 ||
           store_path_fail(file->path, errno, "cut", "a file", error);
}

bool store_file_write(struct store_file *file, const void *bytes, size_t size, int64_t offset,
                      struct error *error)
{
    const char *next = bytes;
    store_file_touch(file);
    while (size > 0) {
        ssize_t written = pwrite(file->fd, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) /* 0 is no error that pwrite(2) knows; a full disk is the nearest meaning */
            return store_path_fail(file->path, written < 0 ? errno : ENOSPC, "write", "a file", error);
        next += written;
        size -= (size_t)written;
        offset += written;
    }
    return true;
}

bool store_file_sync(struct store_file *file, struct error *error)
{
    if (fsync(file->fd) != 0)
        return store_path_fail(file->path, errno, "sync", "a file", error);
    file->name_lasts = store_path_name_lasts(file->path, file->root, file->fd);
    return true;
}

bool store_file_sync_data(struct store_file *file, struct error *error)
{
    return fdatasync(file->fd) == 0 || store_path_fail(file->path, errno, "sync", "a file", error);
}

bool store_file_sync_directory(struct store_file *file, struct error *error)
{
    return file->name_lasts || store_directory_sync(file->path, file->root->fd, file->place.value, error);
}

bool store_file_close(struct store_file *file, struct error *error)
{
    /* On Linux the descriptor is gone also after EINTR. */
    int fd = file->fd;
    file->fd = -1;
    return close(fd) == 0 || store_path_fail(file->path, errno, "close", "a file", error);
}

bool store_file_in_place(const struct store_file *file, struct error *error)
{
    return store_path_lies_at(file->path, file->root, error);
}

void store_file_let_go(struct store_file *file)
{
    if (file->root)
        store_path_leave(file->path, file->root);
    file->root = NULL;
}

bool store_file_discard(struct store_file *file, struct error *error)
{
    char name[PATH_TEXT_SIZE];
    if (file->fd >= 0)
        (void)close(file->fd); /* the file goes: what close(2) might say of its bytes is of no use */
    file->fd = -1;
    if (!file->root)
        return true;
    if (store_beneath_unlink(file->root->fd, place_name(&file->place, name)) != 0 && errno != ENOENT)
        return store_path_fail(file->path, errno, "remove", name, error);
    store_file_let_go(file);
    return true;
}

bool store_file_remove(struct store_path *path, const struct path *place, struct error *error)
{
    char name[PATH_TEXT_SIZE];
    struct store_root *root;
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = store_path_lies_at(path, root, error) &&
                (store_beneath_unlink(root->fd, place_name(place, name)) == 0 || errno == ENOENT ||
                 store_path_fail(path, errno, "remove", name, error));
    store_path_leave(path, root);
    return fine;
}

bool store_file_look_name(struct store_path *path, const char *name, int *fd, int64_t *size,
                          struct error *error)
{
    struct store_root *root;
    struct stat status = {0};
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = true;
    /* O_NONBLOCK: a named pipe that somebody left there must not hang the worker; regular files do not mind.
     * O_NOATIME: nobody asks when a file was last read; for the files' owner only (open(2)). */
    int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    *fd = store_beneath_open(root->fd, name, flags | O_NOATIME, 0);
    if (*fd < 0 && errno == EPERM)
        *fd = store_beneath_open(root->fd, name, flags, 0);
    if (*fd < 0 && errno == ENOENT) {
        fine = store_path_lies_at(path, root, error);
    } else if (*fd < 0) {
        fine = store_path_fail(path, errno, "open", name, error);
    } else if (fstat(*fd, &status) != 0) {
        fine = store_path_fail(path, errno, "look at", name, error);
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

bool store_file_look(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                     struct error *error)
{
    char name[PATH_TEXT_SIZE];
    return store_file_look_name(path, place_name(place, name), fd, size, error);
}

bool store_file_open(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                     struct error *error)
{
    char name[PATH_TEXT_SIZE];
    if (!store_file_look(path, place, fd, size, error))
        return false;
    if (*fd >= 0)
        return true;
    (void)error_set_errno(error, ENOENT, "cannot open %s/%s", store_path_key(path), place_name(place, name));
    if (error) /* the row is there: for the client this is a broken store */
        error->code = ERROR_IO;
    return false;
}
