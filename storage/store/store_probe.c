/*
 * store_probe: the file system calls of one look at a store path. Blocks: on the probe thread of the path,
 * where a hanging mount hangs nothing else.
 */
#include "storage/store/store_probe.h"
#include "storage/store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MARKER_SIZE 512
#define TRIAL_BYTES 4096

static bool check_mount_point(struct store_probe *probe, int fd)
{
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) != 0)
        return error_set_errno(&probe->error, errno, "cannot look at %s", probe->directory);
#ifdef STATX_ATTR_MOUNT_ROOT
    if (status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) {
        if (status.stx_attributes & STATX_ATTR_MOUNT_ROOT)
            return true;
        return error_set(&probe->error, ERROR_UNAVAILABLE,
                         "%s is not a mount point: is its volume not mounted?", probe->directory);
    }
#endif
    /* A kernel that does not say: another device than the parent's means a mount. */
    struct stat here, above;
    if (fstat(fd, &here) != 0 || fstatat(fd, "..", &above, 0) != 0)
        return error_set_errno(&probe->error, errno, "cannot look at %s", probe->directory);
    if (here.st_dev == above.st_dev)
        return error_set(&probe->error, ERROR_UNAVAILABLE,
                         "%s is not a mount point: is its volume not mounted?", probe->directory);
    return true;
}

static void marker_text(const struct store_probe *probe, char text[MARKER_SIZE])
{
    snprintf(text, MARKER_SIZE,
             "This directory is a store path of Reelstore; the file proves that it is there.\nkey = "
             "%s\ngroup = %s\n",
             probe->key, probe->group);
}

static bool make_marker(struct store_probe *probe, int root)
{
    char text[MARKER_SIZE];
    marker_text(probe, text);
    int fd = openat(root, STORE_MARKER, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST) /* another member of the group was quicker */
        return true;
    if (fd < 0)
        return error_set_errno(&probe->error, errno, "cannot make %s/%s", probe->directory, STORE_MARKER);
    bool fine = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fsync(fd) == 0;
    int saved = errno;
    fine = close(fd) == 0 && fine;
    if (!fine) {
        (void)unlinkat(root, STORE_MARKER, 0);
        return error_set_errno(&probe->error, saved, "cannot write %s/%s", probe->directory, STORE_MARKER);
    }
    probe->marker_made = true;
    return true;
}

/* 1: there and ours; 0: not there; -1: error is set. */
static int read_marker(struct store_probe *probe, int root)
{
    char text[MARKER_SIZE], expected[MARKER_SIZE];
    int fd = openat(root, STORE_MARKER, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0) {
        error_set_errno(&probe->error, errno, "cannot open %s/%s", probe->directory, STORE_MARKER);
        return -1;
    }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    int saved = errno;
    (void)close(fd);
    if (size < 0) {
        error_set_errno(&probe->error, saved, "cannot read %s/%s", probe->directory, STORE_MARKER);
        return -1;
    }
    text[size] = '\0';
    /* An empty one was being made when its maker died: it says that the directory is there, and nothing else.
     */
    marker_text(probe, expected);
    const char *ours = strchr(expected, '\n');
    const char *theirs = strchr(text, '\n');
    if (size > 0 && (!theirs || strcmp(theirs, ours) != 0)) {
        error_set(
            &probe->error, ERROR_UNAVAILABLE,
            "%s/%s belongs to another key or group than key %s of group %s: have two volumes been swapped?",
            probe->directory, STORE_MARKER, probe->key, probe->group);
        return -1;
    }
    return 1;
}

/* No directory of stored files is there. */
static bool is_empty(int root)
{
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    bool empty = true;
    if (!stream) {
        if (fd >= 0)
            (void)close(fd);
        return false; /* it is not known: what hinders reading is found out elsewhere */
    }
    const struct dirent *entry;
    while (empty && (entry = readdir(stream)))
        empty = strlen(entry->d_name) != 3 || strspn(entry->d_name, "0123456789ABCDEF") != 3;
    (void)closedir(stream);
    return empty;
}

static bool check_marker(struct store_probe *probe, int root)
{
    int found = read_marker(probe, root);
    if (found < 0)
        return false;
    probe->marker_seen = found > 0;
    if (found > 0)
        return true;
    if (probe->make_marker)
        return make_marker(probe, root);
    if (probe->marker_expected || probe->mount_check == OPTIONS_MOUNT_MARKER)
        return error_set(&probe->error, ERROR_UNAVAILABLE,
                         "%s does not hold %s: is its volume not mounted? (reel-storage --init-db makes it)",
                         probe->directory, STORE_MARKER);
    if (!probe->empty_fine && is_empty(root)) {
        probe->bare = true;
        return error_set(
            &probe->error, ERROR_UNAVAILABLE,
            "%s is empty and does not hold %s, while there are rows of files in key %s: is its volume not "
            "mounted? If it is meant to be empty: touch %s/%s",
            probe->directory, STORE_MARKER, probe->key, probe->directory, STORE_MARKER);
    }
    /* Whatever hinders it hinders uploads, not downloads: store_probe_look() finds out. */
    struct error ignored = probe->error;
    if (make_marker(probe, root))
        probe->marker_seen = true;
    else
        probe->error = ignored;
    return true;
}

static bool measure_space(struct store_probe *probe, int root)
{
    struct statvfs space;
    if (fstatvfs(root, &space) != 0)
        return error_set_errno(&probe->error, errno, "cannot read the free space of %s", probe->directory);
    int64_t block = (int64_t)space.f_frsize;
    probe->capacity = (int64_t)space.f_blocks * block;
    probe->free = (int64_t)space.f_bavail * block;
    /* File systems that make inodes as they need them (btrfs) say 0 of 0. */
    probe->free_inodes = space.f_files == 0 ? INT64_MAX : (int64_t)space.f_favail;
    probe->writable = !(space.f_flag & ST_RDONLY);
    if (!probe->writable)
        error_set(&probe->error, ERROR_UNAVAILABLE, "%s is mounted read-only", probe->directory);
    return true;
}

/* Writes and syncs a file as an upload does. Its name is no place of path.h, so nothing takes it for one. */
static bool try_writing(struct store_probe *probe, int root)
{
    static const char bytes[TRIAL_BYTES];
    char name[64], host[32] = "";
    (void)gethostname(host, sizeof(host) - 1);
    for (char *c = host; *c; c++) {
        if (*c == '/')
            *c = '_';
    }
    snprintf(name, sizeof(name), ".trial-%s-%ld", host, (long)getpid());
    int fd = openat(root, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(&probe->error, errno, "cannot create a file in %s", probe->directory);
    ssize_t size = write(fd, bytes, sizeof(bytes));
    bool fine = size == (ssize_t)sizeof(bytes) && fsync(fd) == 0;
    int saved = size >= 0 && size < (ssize_t)sizeof(bytes) ? ENOSPC : errno;
    if (close(fd) != 0 && fine) {
        fine = false;
        saved = errno;
    }
    if (unlinkat(root, name, 0) != 0 && fine) {
        fine = false;
        saved = errno;
    }
    if (!fine)
        return error_set_errno(&probe->error, saved, "cannot write in %s", probe->directory);
    return true;
}

/* Under systemd the unit hides these directories, which then look as if nothing were there. */
static const char *hidden_by_unit(const char *directory)
{
    static const char *const hidden[] = {"/home/", "/root/", "/run/user/"};

    for (size_t i = 0; getenv("INVOCATION_ID") && i < ARRAY_SIZE(hidden); i++)
        if (strncmp(directory, hidden[i], strlen(hidden[i])) == 0)
            return "; ProtectHome=yes in the unit hides what lies there: ProtectHome=no in a drop-in "
                   "(systemctl edit) "
                   "shows it";
    return "";
}

void store_probe_look(struct store_probe *probe)
{
    probe->marker_seen = probe->marker_made = probe->writable = probe->bare = false;
    probe->capacity = probe->free = probe->free_inodes = 0;
    probe->error = (struct error){0};
    probe->fd = open(probe->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (probe->fd < 0) {
        error_set_errno(&probe->error, errno, "cannot open %s%s", probe->directory,
                        hidden_by_unit(probe->directory));
        return;
    }
    if (probe->mount_check == OPTIONS_MOUNT_POINT && !check_mount_point(probe, probe->fd))
        goto fail;
    if (!check_marker(probe, probe->fd) || !measure_space(probe, probe->fd))
        goto fail;
    if (probe->writable && probe->trial)
        probe->writable = try_writing(probe, probe->fd);
    return;

fail:
    (void)close(probe->fd);
    probe->fd = -1;
}
