/*
 * disk_calls: the calls on the volume (disk.c), which take time, fail and hang as the seed says. Times of files are virtual.
 */
#include "tests/simulation/disk_state.h"
#include "tests/simulation/journal_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __real_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t size);
ssize_t __real_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags);
long __real_syscall(long number, ...);
int __real_fstatfs(int fd, struct statfs *space);
int __real_statx(int at, const char *name, int flags, unsigned mask, struct statx *status);
FILE *__real_fopen(const char *name, const char *mode);

static int failures, failures_seen[FDS_MAX]; /* syncs that failed, and how many of them were reported */

int __wrap_openat(int at, const char *name, int flags, ...);
int __wrap_openat(int at, const char *name, int flags, ...)
{
    char text[512];
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    const char *path = disk_path_of(at, name, text);
    if (path && !disk_call((flags & O_CREAT) != 0))
        return -1;
    if (journal_disk_refuses(name, flags)) {
        errno = EINVAL;
        return -1;
    }
    struct stat status;
    bool makes = path && (flags & O_CREAT) && __real_fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) != 0;
    int fd = __real_openat(at, name, flags, mode);
    if (fd < 0)
        return fd;
    net_own(fd);
    journal_disk_opened(name, fd);
    if (!path)
        return fd;
    disk_paths[fd] = strdup(path);
    failures_seen[fd] = failures;
    struct item *item = disk_item_of_fd(fd);
    if (makes) {
        disk_note_change(CHANGE_MADE, false, path, NULL);
        item->dirty = item->again = 0;
    }
    if (makes || (flags & O_TRUNC) || item->modified == 0)
        item->modified = item->changed = disk_seconds();
    return fd;
}

int __wrap_open(const char *name, int flags, ...);
int __wrap_open(const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return __wrap_openat(AT_FDCWD, name, flags, mode);
}

/* Each server reads the list of mounts time and again, which is expensive for the kernel and always the same. */
static char mounts[65536];
static size_t mounts_size;

void disk_read_mounts(void)
{
    FILE *file = __real_fopen("/proc/self/mountinfo", "re");
    if (!file)
        violation("cannot read /proc/self/mountinfo: %s", strerror(errno));
    mounts_size = fread(mounts, 1, sizeof(mounts), file);
    (void)fclose(file);
}

FILE *__wrap_fopen(const char *name, const char *mode);
FILE *__wrap_fopen(const char *name, const char *mode)
{
    if (mounts_size > 0 && mounts_size < sizeof(mounts) && strcmp(name, "/proc/self/mountinfo") == 0)
        return fmemopen(mounts, mounts_size, "r");
    return __real_fopen(name, mode);
}

void disk_forget(int fd)
{
    if (journal_disk_has(fd))
        journal_disk_forget(fd);
    if (disk_below(fd)) {
        free(disk_paths[fd]);
        disk_paths[fd] = NULL;
    }
}

int __wrap_closedir(DIR *stream);
int __wrap_closedir(DIR *stream)
{
    int fd = dirfd(stream);
    net_forget(fd);
    return __real_closedir(stream);
}

/* Bytes of FD change from OFFSET on. */
static struct item *note_written(int fd, int64_t offset)
{
    struct item *item = disk_item_of_fd(fd);
    item->dirty = min_i64(item->dirty, offset);
    item->again = min_i64(item->again, offset);
    item->modified = item->changed = disk_seconds();
    return item;
}

/* Up to END they are written anew: the kernel has them again. */
static void note_rewritten(int fd, struct item *item, int64_t end)
{
    struct stat status;
    bool whole = __real_fstat(fd, &status) == 0 && end >= (int64_t)status.st_size;
    item->lost = whole ? FOREVER : max_i64(item->lost, end);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
    if (!disk_below(fd)) {
        ssize_t written = __real_write(fd, bytes, size);
        if (fd > STDERR_FILENO) /* what is logged must not change the story */
            note_io();
        return written;
    }
    if (!disk_call(true))
        return -1;
    struct item *item = disk_item_of_fd(fd);
    item->dirty = item->again = 0; /* wherever it is: nothing that must last is written so */
    item->modified = item->changed = disk_seconds();
    return __real_write(fd, bytes, size);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (disk_below(fd)) {
        if (!disk_call(true))
            return -1;
        struct item *item = note_written(fd, (int64_t)offset);
        if (size > 1 && chance(20000))
            size = (size_t)chance_between(1, (int64_t)size - 1);
        if (item->lost >= (int64_t)offset && item->lost != FOREVER)
            note_rewritten(fd, item, (int64_t)offset + (int64_t)size);
    } else if (journal_disk_has(fd)) {
        return journal_disk_write(fd, bytes, size, offset);
    }
    return __real_pwrite(fd, bytes, size, offset);
}

ssize_t __wrap_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
    if (disk_below(fd) && !disk_call(false))
        return -1;
    ssize_t got = __real_read(fd, bytes, size);
    if (!disk_below(fd))
        note_io();
    return got;
}

ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset)
{
    if (journal_disk_has(fd))
        return journal_disk_read(fd, bytes, size, offset);
    return disk_below(fd) && !disk_call(false) ? -1 : __real_pread(fd, bytes, size, offset);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    if (disk_below(fd) && (flags & RWF_NOWAIT) && chance(200000)) {
        errno = EAGAIN; /* not in memory */
        return -1;
    }
    return __real_preadv2(fd, parts, count, offset, flags & ~RWF_NOWAIT);
}

int __wrap_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size)
{
    if (disk_below(fd)) {
        if (!disk_call(true))
            return -1;
        struct item *item = note_written(fd, (int64_t)size);
        if (item->lost >= (int64_t)size)
            item->lost = FOREVER; /* they are gone */
    } else if (journal_disk_has(fd)) {
        return journal_disk_cut(fd, size);
    }
    return __real_ftruncate(fd, size);
}

ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags);
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags)
{
    if (disk_below(to)) {
        if (chance(100000)) {
            errno = EXDEV; /* by hand */
            return -1;
        }
        if (!disk_call(true))
            return -1;
        note_written(to, (int64_t)*to_at);
        if (size > 1 && chance(100000))
            size = (size_t)chance_between(1, (int64_t)size - 1);
    }
    return __real_copy_file_range(from, from_at, to, to_at, size, flags);
}

void disk_wait_sync(void)
{
    if (chance(disk_hang)) {
        int64_t us = chance_between(SECOND_US, 60 * SECOND_US);
        say("a sync hangs for %.1f s", (double)us / 1e6);
        sleep_us(us);
    } else {
        sleep_us(chance_between(50, 3000));
    }
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    struct stat status;
    char path[512];
    if (journal_disk_has(fd))
        return journal_disk_sync(fd);
    if (!disk_below(fd)) {
        if (__real_fstat(fd, &status) == 0 && S_ISDIR(status.st_mode))
            journal_disk_name_synced();
        return __real_fsync(fd);
    }
    snprintf(path, sizeof(path), "%s", disk_paths[fd]);
    if (__real_fstat(fd, &status) != 0)
        return -1;
    /* What was there before it began is what it saves. */
    uint64_t last = disk_change_number;
    static uint64_t syncs;
    uint64_t number = ++syncs;
    struct item *item = disk_item_of(status.st_ino);
    int64_t dirty = item->dirty;
    item->dirty = FOREVER; /* what is written meanwhile is dirty again */
    disk_wait_sync();
    if (!disk_call(true)) {
        failures++;
        /* The kernel forgets: a later one that works saves nothing of it. One that began later and has worked already has saved it. */
        if (item->saved_by < number)
            item->lost = min_i64(item->lost, dirty);
        item->dirty = min_i64(item->dirty, item->lost);
        return -1;
    }
    item->dirty = min_i64(item->dirty, item->lost);
    item->saved_us = now_us();
    item->saved_by = number > item->saved_by ? number : item->saved_by;
    size_t begun = disk_changes_before(last);
    if (disk_how == DISK_STRICT && S_ISDIR(status.st_mode))
        disk_keep_changes(begun, path);
    else if (disk_how == DISK_JOURNAL || (disk_how == DISK_GLUSTER && !S_ISDIR(status.st_mode)))
        disk_keep_changes(begun, NULL);
    return 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return disk_below(fd) || journal_disk_has(fd) ? __wrap_fsync(fd) : __real_fdatasync(fd);
}

/* Everything of the volume, names too. A failure to write is reported once, and not for which file. */
int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
    if (!disk_below(fd))
        return 0;
    uint64_t last = disk_change_number;
    int64_t begun_us = now_us();
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        disk_items[i].before = disk_items[i].inode != 0 ? disk_items[i].dirty : FOREVER;
        disk_items[i].again = FOREVER;
    }
    disk_wait_sync();
    bool fails = !disk_call(true) || chance(disk_late);
    int lost = 0;
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        struct item *item = &disk_items[i];
        if (item->before == FOREVER || item->saved_us >= begun_us) /* that was synced by itself meanwhile */
            continue;
        if (fails && chance(500000)) {
            item->lost = min_i64(item->lost, item->before);
            lost++;
        }
        item->dirty = min_i64(max_i64(item->dirty, item->again), item->lost);
    }
    fails = fails || failures_seen[fd] != failures;
    failures_seen[fd] = failures;
    if (!fails) {
        disk_keep_changes(disk_changes_before(last), NULL);
        return 0;
    }
    say("a sync of the volume fails; of %d files bytes are lost unless they are written anew", lost);
    errno = EIO;
    return -1;
}

/* Whether the store syncs directories depends on the file system: a plain one, XFS, or FUSE. */
int __wrap_fstatfs(int fd, struct statfs *space);
int __wrap_fstatfs(int fd, struct statfs *space)
{
    static const unsigned long types[] = {[DISK_STRICT] = MSDOS_SUPER_MAGIC,
                                          [DISK_JOURNAL] = XFS_SUPER_MAGIC,
                                          [DISK_GLUSTER] = FUSE_SUPER_MAGIC};
    int result = __real_fstatfs(fd, space);
    if (result == 0 && disk_below(fd))
        space->f_type = (long)types[disk_how];
    return result;
}

/* A kernel without openat2(2): the store opens names step by step then, through what is wrapped here. */
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long arguments[6];
    va_list list;
    if (number == SYS_openat2) {
        errno = ENOSYS;
        return -1;
    }
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                          arguments[5]);
}

int __wrap_mkdirat(int at, const char *name, mode_t mode);
int __wrap_mkdirat(int at, const char *name, mode_t mode)
{
    char text[512];
    const char *path = disk_path_of(at, name, text);
    if (path && !disk_call(true))
        return -1;
    int result = __real_mkdirat(at, name, mode);
    if (result == 0 && path)
        disk_note_change(CHANGE_MADE, true, path, NULL);
    return result;
}

int __wrap_unlinkat(int at, const char *name, int flags);
int __wrap_unlinkat(int at, const char *name, int flags)
{
    char text[512], place[320];
    const char *path = disk_path_of(at, name, text);
    if (!path)
        return __real_unlinkat(at, name, flags);
    if (!disk_call(true))
        return -1;
    disk_kept_place(place, sizeof(place));
    if (linkat(at, name, AT_FDCWD, place, 0) != 0)
        return -1;
    disk_note_change(CHANGE_REMOVED, false, path, place);
    return __real_unlinkat(at, name, flags);
}

int __wrap_renameat(int from_at, const char *from, int to_at, const char *to);
int __wrap_renameat(int from_at, const char *from, int to_at, const char *to)
{
    char from_text[512], to_text[512];
    const char *from_path = disk_path_of(from_at, from, from_text),
               *to_path = disk_path_of(to_at, to, to_text);
    if (!from_path || !to_path)
        return __real_renameat(from_at, from, to_at, to);
    if (!disk_call(true))
        return -1;
    int result = __real_renameat(from_at, from, to_at, to);
    struct stat status;
    if (result == 0) {
        disk_note_change(CHANGE_MOVED, false, from_path, to_path);
        if (__real_fstatat(to_at, to, &status, AT_SYMLINK_NOFOLLOW) == 0)
            disk_item_of(status.st_ino)->changed = disk_seconds();
    }
    return result;
}

/* ---- times ---- */

static void fill_times(struct stat *status)
{
    const struct item *item = disk_item_of(status->st_ino);
    status->st_mtim.tv_sec = item->modified;
    status->st_ctim.tv_sec = item->changed;
}

int __wrap_fstat(int fd, struct stat *status);
int __wrap_fstat(int fd, struct stat *status)
{
    if (disk_below(fd) && !disk_call(false))
        return -1;
    int result = __real_fstat(fd, status);
    if (result == 0 && disk_below(fd))
        fill_times(status);
    return result;
}

int __wrap_fstatat(int at, const char *name, struct stat *status, int flags);
int __wrap_fstatat(int at, const char *name, struct stat *status, int flags)
{
    char text[512];
    const char *path = disk_path_of(at, name, text);
    if (path && !disk_call(false))
        return -1;
    int result = __real_fstatat(at, name, status, flags);
    if (result == 0 && path)
        fill_times(status);
    return result;
}

int __wrap_statx(int at, const char *name, int flags, unsigned mask, struct statx *status);
int __wrap_statx(int at, const char *name, int flags, unsigned mask, struct statx *status)
{
    int result = __real_statx(at, name, flags, mask, status);
    if (result == 0 && (disk_below(at) || name[0] == '/')) {
        const struct item *item = disk_item_of((ino_t)status->stx_ino);
        status->stx_mtime.tv_sec = item->modified;
        status->stx_ctime.tv_sec = item->changed;
    }
    return result;
}
