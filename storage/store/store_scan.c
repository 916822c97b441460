/*
 * store_scan: directories and the quarantine of a store path.
 */
#include "storage/store/store_scan.h"

#include "storage/store/store_beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAME_NAMES_MAX 1000

static bool read_entries(struct store_path *path, int fd, const char *directory,
                         bool (*name)(void *argument, const char *name), void *argument, struct error *error)
{
    DIR *stream = fdopendir(fd);
    if (!stream) {
        int saved = errno;
        (void)close(fd);
        return store_path_fail(path, saved, "read directory", directory, error);
    }
    bool fine = true;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            fine = errno == 0 || store_path_fail(path, errno, "read directory", directory, error);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strlen(entry->d_name) < STORE_SCAN_NAME_SIZE && !name(argument, entry->d_name))
            break;
    }
    (void)closedir(stream);
    return fine;
}

bool store_scan_read(struct store_path *path, const char *directory,
                     bool (*name)(void *argument, const char *name), void *argument, struct error *error)
{
    struct store_root *root;
    if (!store_path_enter(path, &root, error))
        return false;
    int fd = store_beneath_open(root->fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int saved = errno;
    bool fine = true;
    if (fd >= 0)
        fine = read_entries(path, fd, directory, name, argument, error);
    else if (saved != ENOENT && saved != ENOTDIR && saved != ELOOP)
        fine = store_path_fail(path, saved, "open directory", directory, error);
    store_path_leave(path, root);
    return fine;
}

bool store_scan_look(struct store_path *path, const char *name, struct store_scan_look *look,
                     struct error *error)
{
    struct store_root *root;
    struct stat status;
    memset(look, 0, sizeof(*look));
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = true;
    const char *last;
    int parent = store_beneath_parent(root->fd, name, &last);
    int looked = parent < 0 ? -1 : fstatat(parent, last, &status, AT_SYMLINK_NOFOLLOW);
    int saved = errno;
    if (parent >= 0)
        (void)close(parent);
    errno = saved;
    if (looked == 0) {
        look->found = true;
        look->regular = S_ISREG(status.st_mode);
        look->size = (int64_t)status.st_size;
        look->inode = (uint64_t)status.st_ino;
        look->moved = (int64_t)status.st_ctim.tv_sec;
        look->touched = max_i64((int64_t)status.st_mtim.tv_sec, look->moved);
    } else if (errno == ENOENT || errno == ENOTDIR) {
        fine = store_path_lies_at(path, root, error);
    } else {
        fine = store_path_fail(path, errno, "look at", name, error);
    }
    store_path_leave(path, root);
    return fine;
}

static bool scan_sync_parent(struct store_path *path, int root, const char *name, struct error *error)
{
    char parent[STORE_SCAN_NAME_SIZE];
    const char *slash = strrchr(name, '/');
    if (!store_path_durable(path))
        return true;
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - name) : 1, slash ? name : ".");
    int fd = store_beneath_open(root, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return store_path_fail(path, errno, "open directory", parent, error);
    bool fine = fsync(fd) == 0 || store_path_fail(path, errno, "sync directory", parent, error);
    (void)close(fd);
    return fine;
}

/* Only the holder of the lease moves files here, so nothing comes between the look and the rename; GlusterFS has no
 * rename that refuses to replace. */
static bool move(struct store_path *path, int root, const char *from, const char *to, bool *gone,
                 struct error *error)
{
    const char *last_from, *last_to;
    *gone = false;
    int parent_from = store_beneath_parent(root, from, &last_from);
    int parent_to = parent_from < 0 ? -1 : store_beneath_parent(root, to, &last_to);
    int result = -1, saved = errno;
    bool there = parent_to >= 0 && faccessat(parent_to, last_to, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (parent_to >= 0 && !there) {
        result = renameat(parent_from, last_from, parent_to, last_to);
        saved = errno;
    }
    if (parent_to >= 0)
        (void)close(parent_to);
    if (parent_from >= 0)
        (void)close(parent_from);
    if (there)
        return error_set(error, ERROR_EXISTS, "%s/%s exists", store_path_key(path), to);
    if (result != 0) {
        *gone = saved == ENOENT;
        return *gone || store_path_fail(path, saved, "move", from, error);
    }
    return true;
}

static bool sync_parents(struct store_path *path, int root, const char *from, const char *to,
                         struct error *error)
{
    return scan_sync_parent(path, root, to, error) && scan_sync_parent(path, root, from, error);
}

bool store_scan_quarantine_ready(struct store_path *path, struct error *error)
{
    struct store_root *root;
    bool fine;
    if (!store_path_enter(path, &root, error))
        return false;
    if (mkdirat(root->fd, STORE_QUARANTINE, store_path_modes(path)->directory) != 0 && errno != EEXIST)
        fine = store_path_fail(path, errno, "make directory", STORE_QUARANTINE, error);
    else /* also where it was there: whoever made it may have died before this */
        fine = scan_sync_parent(path, root->fd, STORE_QUARANTINE, error);
    store_path_leave(path, root);
    return fine;
}

bool store_scan_quarantine(struct store_path *path, const char *name, char held[STORE_SCAN_NAME_SIZE],
                           struct error *error)
{
    struct store_root *root;
    char flat[STORE_SCAN_NAME_SIZE];
    bool fine = true, gone = false;
    held[0] = '\0';
    if (!store_path_enter(path, &root, error))
        return false;
    snprintf(flat, sizeof(flat), "%s", name);
    for (char *c = flat; *c; c++) {
        if (*c == '/')
            *c = '-';
    }
    /* The same place may have been quarantined before, where a damaged file was put back by hand. */
    for (int i = 0; fine && i < SAME_NAMES_MAX; i++) {
        struct error why = {0};
        snprintf(held, STORE_SCAN_NAME_SIZE, STORE_QUARANTINE "/%.200s.%d", flat, i);
        fine = move(path, root->fd, name, held, &gone, &why);
        if (!fine && why.code == ERROR_EXISTS && i + 1 < SAME_NAMES_MAX) {
            fine = true;
            continue;
        }
        if (!fine && error)
            *error = why;
        break;
    }
    if (gone || !fine)
        held[0] = '\0';
    else
        fine = sync_parents(path, root->fd, name, held, error);
    store_path_leave(path, root);
    return fine;
}

bool store_scan_give_back(struct store_path *path, const char *held, const char *name, struct error *error)
{
    struct store_root *root;
    bool gone = false;
    if (!store_path_enter(path, &root, error))
        return false;
    bool fine = move(path, root->fd, held, name, &gone, error);
    if (fine && gone)
        fine = error_set(error, ERROR_NOT_FOUND, "%s/%s is gone", store_path_key(path), held);
    fine = fine && sync_parents(path, root->fd, held, name, error);
    store_path_leave(path, root);
    return fine;
}

bool store_scan_remove(struct store_path *path, const char *directory, const char *name, struct error *error)
{
    struct store_root *root;
    char text[2 * STORE_SCAN_NAME_SIZE];
    if (!store_path_enter(path, &root, error))
        return false;
    snprintf(text, sizeof(text), "%s/%s", directory, name);
    bool fine = store_path_lies_at(path, root, error) &&
                (store_beneath_unlink(root->fd, text) == 0 || errno == ENOENT ||
                 store_path_fail(path, errno, "remove", text, error));
    store_path_leave(path, root);
    return fine;
}
