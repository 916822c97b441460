/*
 * disk: the group's volume, a directory in memory whose bytes and names count as lost until they were synced: what is known of each, and
 * what a power cut takes back, by one of the models of enum disk_model. The calls are in disk_calls.c. Everything outside of the
 * directory passes through.
 */
#include "tests/simulation/disk_state.h"
#include "tests/simulation/journal_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANGES_MAX 65536
#define EPOCH_S     INT64_C(1700000000)

/* A name that was changed since its directory was synced. */
struct change {
    enum change_kind kind;
    bool directory;
    char *from, *to; /* paths; where a removed file is kept */
    uint64_t number; /* they grow */
};

static char root[256], kept[300];
static size_t root_size;
enum disk_model disk_how;
struct item disk_items[ITEMS_MAX];
char *disk_paths[FDS_MAX];
static struct change changes[CHANGES_MAX];
static size_t change_count;
uint64_t disk_change_number;
static int kept_count;
int64_t disk_slow, disk_fail, disk_hang, disk_late;

/* ---- what is known of files ---- */

struct item *disk_item_of(ino_t inode)
{
    size_t at = (size_t)inode & (ITEMS_MAX - 1); /* they come one after the other */
    for (size_t i = 0; i < ITEMS_MAX; i++, at = (at + 1) & (ITEMS_MAX - 1)) {
        if (disk_items[at].inode == inode)
            return &disk_items[at];
        if (disk_items[at].inode == 0) {
            disk_items[at].inode = inode;
            disk_items[at].dirty = disk_items[at].lost = FOREVER;
            return &disk_items[at];
        }
    }
    violation("more than %d files", ITEMS_MAX);
}

struct item *disk_item_of_fd(int fd)
{
    struct stat status;
    return __real_fstat(fd, &status) == 0 ? disk_item_of(status.st_ino) : NULL;
}

int64_t disk_seconds(void)
{
    return EPOCH_S + now_us() / SECOND_US;
}

const char *disk_path_of(int at, const char *name, char path[512])
{
    if (name[0] == '/')
        snprintf(path, 512, "%s", name);
    else if (at >= 0 && at < FDS_MAX && disk_paths[at])
        snprintf(path, 512, "%s/%s", disk_paths[at], name);
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

bool disk_below(int fd)
{
    return fd >= 0 && fd < FDS_MAX && disk_paths[fd];
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

void disk_kept_place(char *place, size_t size)
{
    snprintf(place, size, "%s/%d", kept, kept_count++);
}

void disk_note_change(enum change_kind kind, bool directory, const char *from, const char *to)
{
    if (change_count == CHANGES_MAX)
        violation("more than %d changes of names", CHANGES_MAX);
    changes[change_count++] = (struct change){.kind = kind,
                                              .directory = directory,
                                              .from = strdup(from),
                                              .to = to ? strdup(to) : NULL,
                                              .number = ++disk_change_number};
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

void disk_keep_changes(size_t count, const char *directory)
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

size_t disk_changes_before(uint64_t last)
{
    size_t begun = 0;
    while (begun < change_count && changes[begun].number <= last)
        begun++;
    return begun;
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
    size_t keep = disk_how == DISK_STRICT ? 0 : (size_t)chance_below((int64_t)change_count + 1);
    int64_t lost = chance(500000) ? 1000000 : 500000;
    for (size_t i = change_count; i > 0; i--) {
        if (i > keep && (disk_how != DISK_STRICT || chance(lost)))
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
        } else if (disk_item_of(status.st_ino)->dirty != FOREVER) {
            int64_t size = (int64_t)status.st_size, safe = min_i64(disk_item_of(status.st_ino)->dirty, size);
            int64_t left = chance(500000) ? safe : chance_between(safe, size);
            say("unsynced bytes of %s are lost: %lld of %lld are left", path + root_size, (long long)left,
                (long long)size);
            (void)!truncate(path, (off_t)left);
            if (chance(500000))
                (void)!truncate(path, (off_t)size);
            disk_item_of(status.st_ino)->dirty = disk_item_of(status.st_ino)->lost = FOREVER;
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
        struct item *item = disk_item_of(after.st_ino);
        item->modified = disk_item_of(before.st_ino)->modified;
        item->changed = disk_item_of(before.st_ino)->changed;
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
    disk_how = how;
    if (mkdir(root, 0700) != 0 || mkdir(kept, 0700) != 0)
        violation("cannot make %s: %s", root, strerror(errno));
}
