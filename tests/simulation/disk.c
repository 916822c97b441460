/*
 * disk: the group's volume, a directory in memory whose bytes and names count as lost until they were synced. Calls on
 * it take time, fail and hang as the seed says; a power cut takes back what was not synced, by one of the models of
 * enum disk_model. Times of files are virtual. Everything outside of the directory passes through.
 */
#include "tests/simulation/journal_disk.h"
#include "tests/simulation/sim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX     8192
#define ITEMS_MAX   16384 /* a power of two */
#define CHANGES_MAX 65536
#define EPOCH_S     INT64_C(1700000000)

int __real_openat(int at, const char *name, int flags, ...);
int __real_close(int fd);
ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __real_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t size);
ssize_t __real_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags);
long __real_syscall(long number, ...);
int __real_mkdirat(int at, const char *name, mode_t mode);
int __real_unlinkat(int at, const char *name, int flags);
int __real_renameat(int from_at, const char *from, int to_at, const char *to);
int __real_fstat(int fd, struct stat *status);
int __real_fstatfs(int fd, struct statfs *space);
int __real_fstatat(int at, const char *name, struct stat *status, int flags);
int __real_statx(int at, const char *name, int flags, unsigned mask, struct statx *status);
int __real_closedir(DIR *stream);
FILE *__real_fopen(const char *name, const char *mode);

struct item {
    ino_t inode;               /* 0: free */
    int64_t modified, changed; /* seconds */
    int64_t dirty;             /* bytes from here on were not synced; FOREVER: all were */
    int64_t lost;              /* and from here on never will be: a sync failed */
    int64_t before, again;     /* DIRTY when the last syncfs(2) began; what was written since */
    int64_t saved_us;          /* when it was last synced by itself */
    uint64_t saved_by;         /* the sync that began last of those that worked */
};

enum change_kind { CHANGE_MADE, CHANGE_REMOVED, CHANGE_MOVED };

/* A name that was changed since its directory was synced. */
struct change {
    enum change_kind kind;
    bool directory;
    char *from, *to; /* paths; where a removed file is kept */
    uint64_t number; /* they grow */
};

static char root[256], kept[300];
static size_t root_size;
static enum disk_model model;
static struct item items[ITEMS_MAX];
static char *paths[FDS_MAX]; /* of descriptors below the root */
static struct change changes[CHANGES_MAX];
static size_t change_count;
static uint64_t change_number; /* of the newest */
static int kept_count;
int64_t disk_slow, disk_fail, disk_hang, disk_late;
static int failures, failures_seen[FDS_MAX]; /* syncs that failed, and how many of them were told */

/* ---- what is known of files ---- */

static struct item *item_of(ino_t inode)
{
    size_t at = (size_t)inode & (ITEMS_MAX - 1); /* they come one after the other */
    for (size_t i = 0; i < ITEMS_MAX; i++, at = (at + 1) & (ITEMS_MAX - 1)) {
        if (items[at].inode == inode)
            return &items[at];
        if (items[at].inode == 0) {
            items[at].inode = inode;
            items[at].dirty = items[at].lost = FOREVER;
            return &items[at];
        }
    }
    violation("more than %d files", ITEMS_MAX);
}

static struct item *item_of_fd(int fd)
{
    struct stat status;
    return __real_fstat(fd, &status) == 0 ? item_of(status.st_ino) : NULL;
}

static int64_t disk_seconds(void)
{
    return EPOCH_S + now_us() / SECOND_US;
}

static const char *path_of(int at, const char *name, char path[512])
{
    if (name[0] == '/')
        snprintf(path, 512, "%s", name);
    else if (at >= 0 && at < FDS_MAX && paths[at])
        snprintf(path, 512, "%s/%s", paths[at], name);
    else
        return NULL;
    if (root_size == 0 || strncmp(path, root, root_size) != 0 ||
        (path[root_size] != '/' && path[root_size] != '\0'))
        return NULL;
    size_t size = strlen(path);
    if (size > 2 && strcmp(path + size - 2, "/.") == 0)
        path[size - 2] = '\0';
    return path;
}

static bool below(int fd)
{
    return fd >= 0 && fd < FDS_MAX && paths[fd];
}

bool disk_call(bool writes)
{
    if (chance(disk_slow))
        sleep_us(chance_below(200000));
    else if (chance(300000))
        sleep_us(chance_below(500));
    if (!chance(disk_fail))
        return true;
    errno = writes && chance(500000) ? ENOSPC : EIO;
    say("a call on the disk fails: %s", strerrorname_np(errno));
    return false;
}

static void note_change(enum change_kind kind, bool directory, const char *from, const char *to)
{
    if (change_count == CHANGES_MAX)
        violation("more than %d changes of names", CHANGES_MAX);
    changes[change_count++] = (struct change){.kind = kind,
                                              .directory = directory,
                                              .from = strdup(from),
                                              .to = to ? strdup(to) : NULL,
                                              .number = ++change_number};
}

static void forget_change(size_t at)
{
    if (changes[at].kind == CHANGE_REMOVED && !changes[at].directory)
        (void)__real_unlinkat(AT_FDCWD, changes[at].to, 0);
    free(changes[at].from);
    free(changes[at].to);
}

static bool in_directory(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return path && strncmp(path, directory, size) == 0 && path[size] == '/' && !strchr(path + size + 1, '/');
}

/* The first COUNT changes, those of DIRECTORY only where it is given, last from now on. */
static void keep_changes(size_t count, const char *directory)
{
    size_t left = 0;
    for (size_t i = 0; i < change_count; i++) {
        bool lasts =
            i < count && (!directory || in_directory(changes[i].from, directory) ||
                          (changes[i].kind == CHANGE_MOVED && in_directory(changes[i].to, directory)));
        if (lasts)
            forget_change(i);
        else
            changes[left++] = changes[i];
    }
    change_count = left;
}

/* ---- the calls ---- */

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
    const char *path = path_of(at, name, text);
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
    paths[fd] = strdup(path);
    failures_seen[fd] = failures;
    struct item *item = item_of_fd(fd);
    if (makes) {
        note_change(CHANGE_MADE, false, path, NULL);
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
    if (below(fd)) {
        free(paths[fd]);
        paths[fd] = NULL;
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
    struct item *item = item_of_fd(fd);
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
    if (!below(fd)) {
        ssize_t written = __real_write(fd, bytes, size);
        if (fd > STDERR_FILENO) /* what is logged must not change the story */
            note_io();
        return written;
    }
    if (!disk_call(true))
        return -1;
    struct item *item = item_of_fd(fd);
    item->dirty = item->again = 0; /* wherever it is: nothing that must last is written so */
    item->modified = item->changed = disk_seconds();
    return __real_write(fd, bytes, size);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (below(fd)) {
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
    if (below(fd) && !disk_call(false))
        return -1;
    ssize_t got = __real_read(fd, bytes, size);
    if (!below(fd))
        note_io();
    return got;
}

ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset)
{
    if (journal_disk_has(fd))
        return journal_disk_read(fd, bytes, size, offset);
    return below(fd) && !disk_call(false) ? -1 : __real_pread(fd, bytes, size, offset);
}

ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    if (below(fd) && (flags & RWF_NOWAIT) && chance(200000)) {
        errno = EAGAIN; /* not in memory */
        return -1;
    }
    return __real_preadv2(fd, parts, count, offset, flags & ~RWF_NOWAIT);
}

int __wrap_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size)
{
    if (below(fd)) {
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
    if (below(to)) {
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

/* How many changes there are up to the one numbered LAST, which another sync may have taken out of the list meanwhile, and others. */
static size_t changes_before(uint64_t last)
{
    size_t begun = 0;
    while (begun < change_count && changes[begun].number <= last)
        begun++;
    return begun;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    struct stat status;
    char path[512];
    if (journal_disk_has(fd))
        return journal_disk_sync(fd);
    if (!below(fd)) {
        if (__real_fstat(fd, &status) == 0 && S_ISDIR(status.st_mode))
            journal_disk_name_synced();
        return __real_fsync(fd);
    }
    snprintf(path, sizeof(path), "%s", paths[fd]);
    if (__real_fstat(fd, &status) != 0)
        return -1;
    /* What was there before it began is what it saves. */
    uint64_t last = change_number;
    static uint64_t syncs;
    uint64_t number = ++syncs;
    struct item *item = item_of(status.st_ino);
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
    size_t begun = changes_before(last);
    if (model == DISK_STRICT && S_ISDIR(status.st_mode))
        keep_changes(begun, path);
    else if (model == DISK_JOURNAL || (model == DISK_GLUSTER && !S_ISDIR(status.st_mode)))
        keep_changes(begun, NULL);
    return 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return below(fd) || journal_disk_has(fd) ? __wrap_fsync(fd) : __real_fdatasync(fd);
}

/* Everything of the volume, names too. A failure to write is reported once, and not for which file. */
int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
    if (!below(fd))
        return 0;
    uint64_t last = change_number;
    int64_t begun_us = now_us();
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        items[i].before = items[i].inode != 0 ? items[i].dirty : FOREVER;
        items[i].again = FOREVER;
    }
    disk_wait_sync();
    bool fails = !disk_call(true) || chance(disk_late);
    int lost = 0;
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        struct item *item = &items[i];
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
        keep_changes(changes_before(last), NULL);
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
    if (result == 0 && below(fd))
        space->f_type = (long)types[model];
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
    const char *path = path_of(at, name, text);
    if (path && !disk_call(true))
        return -1;
    int result = __real_mkdirat(at, name, mode);
    if (result == 0 && path)
        note_change(CHANGE_MADE, true, path, NULL);
    return result;
}

int __wrap_unlinkat(int at, const char *name, int flags);
int __wrap_unlinkat(int at, const char *name, int flags)
{
    char text[512], place[320];
    const char *path = path_of(at, name, text);
    if (!path)
        return __real_unlinkat(at, name, flags);
    if (!disk_call(true))
        return -1;
    snprintf(place, sizeof(place), "%s/%d", kept, kept_count++);
    if (linkat(at, name, AT_FDCWD, place, 0) != 0)
        return -1;
    note_change(CHANGE_REMOVED, false, path, place);
    return __real_unlinkat(at, name, flags);
}

int __wrap_renameat(int from_at, const char *from, int to_at, const char *to);
int __wrap_renameat(int from_at, const char *from, int to_at, const char *to)
{
    char from_text[512], to_text[512];
    const char *from_path = path_of(from_at, from, from_text), *to_path = path_of(to_at, to, to_text);
    if (!from_path || !to_path)
        return __real_renameat(from_at, from, to_at, to);
    if (!disk_call(true))
        return -1;
    int result = __real_renameat(from_at, from, to_at, to);
    struct stat status;
    if (result == 0) {
        note_change(CHANGE_MOVED, false, from_path, to_path);
        if (__real_fstatat(to_at, to, &status, AT_SYMLINK_NOFOLLOW) == 0)
            item_of(status.st_ino)->changed = disk_seconds();
    }
    return result;
}

/* ---- times ---- */

static void fill_times(struct stat *status)
{
    const struct item *item = item_of(status->st_ino);
    status->st_mtim.tv_sec = item->modified;
    status->st_ctim.tv_sec = item->changed;
}

int __wrap_fstat(int fd, struct stat *status);
int __wrap_fstat(int fd, struct stat *status)
{
    if (below(fd) && !disk_call(false))
        return -1;
    int result = __real_fstat(fd, status);
    if (result == 0 && below(fd))
        fill_times(status);
    return result;
}

int __wrap_fstatat(int at, const char *name, struct stat *status, int flags);
int __wrap_fstatat(int at, const char *name, struct stat *status, int flags)
{
    char text[512];
    const char *path = path_of(at, name, text);
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
    if (result == 0 && (below(at) || name[0] == '/')) {
        const struct item *item = item_of((ino_t)status->stx_ino);
        status->stx_mtime.tv_sec = item->modified;
        status->stx_ctime.tv_sec = item->changed;
    }
    return result;
}

/* ---- the cut ---- */

static void undo(const struct change *change)
{
    switch (change->kind) {
    case CHANGE_MADE:
        (void)__real_unlinkat(AT_FDCWD, change->from, change->directory ? AT_REMOVEDIR : 0);
        break;
    case CHANGE_REMOVED:
        (void)__real_renameat(AT_FDCWD, change->to, AT_FDCWD, change->from);
        break;
    case CHANGE_MOVED:
        (void)__real_renameat(AT_FDCWD, change->to, AT_FDCWD, change->from);
        break;
    }
}

static void lose_names(void)
{
    size_t keep = model == DISK_STRICT ? 0 : (size_t)chance_below((int64_t)change_count + 1);
    int64_t lost = chance(500000) ? 1000000 : 500000;
    for (size_t i = change_count; i > 0; i--) {
        if (i > keep && (model != DISK_STRICT || chance(lost)))
            undo(&changes[i - 1]);
    }
    for (size_t i = 0; i < change_count; i++)
        forget_change(i);
    change_count = 0;
}

static void lose_bytes(const char *directory)
{
    char path[512];
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (__real_fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(status.st_mode)) {
            lose_bytes(path);
        } else if (item_of(status.st_ino)->dirty != FOREVER) {
            int64_t size = (int64_t)status.st_size, safe = min_i64(item_of(status.st_ino)->dirty, size);
            int64_t left = chance(500000) ? safe : chance_between(safe, size);
            say("unsynced bytes of %s are lost: %lld of %lld are left", path + root_size, (long long)left,
                (long long)size);
            (void)!truncate(path, (off_t)left);
            if (chance(500000))
                (void)!truncate(path, (off_t)size);
            item_of(status.st_ino)->dirty = item_of(status.st_ino)->lost = FOREVER;
        }
    }
    if (stream)
        (void)__real_closedir(stream);
}

void disk_power_cut(void)
{
    say("the power is cut: %zu changes of names were not synced", change_count);
    lose_names();
    lose_bytes(root);
}

void disk_settle(const char *path)
{
    size_t left = 0;
    for (size_t i = 0; i < change_count; i++) {
        if (strcmp(changes[i].from, path) == 0)
            forget_change(i);
        else
            changes[left++] = changes[i];
    }
    change_count = left;
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[65536];
    struct stat before, after;
    int in = __real_openat(AT_FDCWD, from, O_RDONLY),
        out = __real_openat(AT_FDCWD, to, O_WRONLY | O_CREAT, 0600);
    ssize_t size;
    if (in < 0 || out < 0)
        violation("cannot copy %s: %s", from, strerror(errno));
    while ((size = __real_read(in, bytes, sizeof(bytes))) > 0)
        if (__real_write(out, bytes, (size_t)size) != size)
            violation("cannot copy %s: %s", from, strerror(errno));
    if (__real_fstat(in, &before) == 0 && __real_fstat(out, &after) == 0) {
        struct item *item = item_of(after.st_ino);
        item->modified = item_of(before.st_ino)->modified;
        item->changed = item_of(before.st_ino)->changed;
        item->dirty = item->lost = FOREVER;
    }
    (void)__real_close(in);
    (void)__real_close(out);
}

static void copy_tree(const char *from, const char *to)
{
    char below_from[512], below_to[512];
    struct stat status;
    DIR *stream = opendir(from);
    const struct dirent *entry;
    (void)__real_mkdirat(AT_FDCWD, to, 0700);
    while (stream && (entry = readdir(stream))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below_from, sizeof(below_from), "%s/%s", from, entry->d_name);
        snprintf(below_to, sizeof(below_to), "%s/%s", to, entry->d_name);
        if (__real_fstatat(AT_FDCWD, below_from, &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(status.st_mode))
            copy_tree(below_from, below_to);
        else
            copy_file(below_from, below_to);
    }
    if (stream)
        (void)__real_closedir(stream);
}

void disk_exchange(void)
{
    char copy[320], old[320];
    static int count;
    snprintf(copy, sizeof(copy), "%s/copy-%d", kept, count);
    snprintf(old, sizeof(old), "%s/old-%d", kept, count++);
    copy_tree(root, copy);
    for (size_t i = 0; i < change_count; i++)
        forget_change(i);
    change_count = 0; /* the copy was synced */
    if (__real_renameat(AT_FDCWD, root, AT_FDCWD, old) != 0 ||
        __real_renameat(AT_FDCWD, copy, AT_FDCWD, root) != 0)
        violation("cannot exchange the volume: %s", strerror(errno));
    say("a copy lies in the volume's place");
}

void disk_begin(const char *directory, enum disk_model how)
{
    snprintf(root, sizeof(root), "%s/volume", directory);
    snprintf(kept, sizeof(kept), "%s/kept", directory);
    root_size = strlen(root);
    model = how;
    if (mkdir(root, 0700) != 0 || mkdir(kept, 0700) != 0)
        violation("cannot make %s: %s", root, strerror(errno));
}
