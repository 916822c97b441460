/*
 * powercut: a preload library (LD_PRELOAD) that loses what a power cut loses, and lets system calls fail. For
 * tests.
 *
 * POWERCUT_DIR=DIR, POWERCUT_JOURNAL=FILE: a killed process cannot take anything back, so the journal says at
 * every moment what below DIR (a real path) is not safe yet, and the test takes it back after the kill
 * (tests/torture/power.py): "W path" before the first byte is written to a file since its last fsync, "S
 * path" and "K SIZE path" after an fsync or fdatasync of a file, "T SIZE path" after it was cut, "N path" before a name is made and "M path" after it, "B NUMBER path"
 * before an fsync of a directory and "D NUMBER path" after it. A file with unsynced bytes loses those behind its size at the last sync; a name
 * goes unless it was made before an fsync of its directory began that ended well.
 *
 * POWERCUT_UNDO=DIR: files in it are overwritten in place (a database, the upload journal), so that the journal has, before each
 * pwrite, "P OFFSET SIZE BYTES path": what lies there, in hexadecimal digits ("-": nothing), and the size of the file; "G NUMBER
 * path" before a sync of it and "H NUMBER path" after one. POWERCUT_FAIL counts calls in it too.
 *
 * "Y NUMBER -" stands before a syncfs(2) of DIR, "Q SIZE path" for each file as it was then and "Z NUMBER -" after it.
 *
 * POWERCUT_FAIL=CALL:ERRNO:NTH[:SUFFIX]: the NTH call of CALL below DIR, on a path that ends in SUFFIX where
 * it is given, fails with the number ERRNO. CALL is open, write, fsync, syncdir (fsync of a directory), syncfs,
 * close, rename, unlink, mkdir, read (also pread, preadv2, sendfile), stat (also fstat, fstatat, statx,
 * faccessat), statvfs or readdir (also fdopendir); "short" writes half of the bytes. NTH 0: every one. A
 * failed fsync drops the unsynced state as Linux does: a later fsync succeeds and saves nothing.
 *
 * POWERCUT_SLOW=MILLISECONDS: an fsync of a directory takes so much longer.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define FDS_MAX   65536

static char root[PATH_SIZE], undo[PATH_SIZE];
static size_t root_size, undo_size;
static int journal = -1;
static char fail_call[16], fail_suffix[64];
static int fail_errno;
static long fail_nth = -1;
static _Atomic long fail_seen, syncs;
static long slow_ms;
static _Atomic unsigned char dirty[FDS_MAX]; /* the journal says W for it */

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static long (*real_syscall)(long, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int);
static int (*real_syncfs)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_close)(int);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_renameat)(int, const char *, int, const char *);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_preadv2)(int, const struct iovec *, int, off_t, int);
static ssize_t (*real_sendfile)(int, int, off_t *, size_t);
static int (*real_fstat)(int, struct stat *);
static int (*real_fstatat)(int, const char *, struct stat *, int);
static int (*real_statx)(int, const char *, int, unsigned, struct statx *);
static int (*real_faccessat)(int, const char *, int, int);
static int (*real_fstatvfs)(int, struct statvfs *);
static DIR *(*real_fdopendir)(int);
static struct dirent *(*real_readdir)(DIR *);

static void load(void *function, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof(symbol));
}

__attribute__((constructor)) static void begin(void)
{
    const char *directory = getenv("POWERCUT_DIR"), *path = getenv("POWERCUT_JOURNAL");
    const char *fail = getenv("POWERCUT_FAIL");
    const char *slow = getenv("POWERCUT_SLOW"), *more = getenv("POWERCUT_UNDO");
    load(&real_open, "open64");
    load(&real_openat, "openat64");
    load(&real_syscall, "syscall");
    load(&real_read, "read");
    load(&real_pread, "pread64");
    load(&real_preadv2, "preadv64v2");
    load(&real_sendfile, "sendfile64");
    load(&real_fstat, "fstat64");
    load(&real_fstatat, "fstatat64");
    load(&real_statx, "statx");
    load(&real_faccessat, "faccessat");
    load(&real_fstatvfs, "fstatvfs64");
    load(&real_fdopendir, "fdopendir");
    load(&real_readdir, "readdir64");
    slow_ms = slow ? atol(slow) : 0;
    load(&real_write, "write");
    load(&real_pwrite, "pwrite64");
    load(&real_fsync, "fsync");
    load(&real_syncfs, "syncfs");
    load(&real_ftruncate, "ftruncate64");
    load(&real_close, "close");
    load(&real_mkdirat, "mkdirat");
    load(&real_unlinkat, "unlinkat");
    load(&real_renameat, "renameat");
    if (directory) {
        snprintf(root, sizeof(root), "%s", directory);
        root_size = strlen(root);
    }
    if (more) {
        snprintf(undo, sizeof(undo), "%s", more);
        undo_size = strlen(undo);
    }
    if (path)
        journal = real_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fail)
        (void)sscanf(fail, "%15[^:]:%d:%ld:%63s", fail_call, &fail_errno, &fail_nth, fail_suffix);
}

/* The path of FD or of NAME below it; "" where it is not below the directory. */
static const char *resolve(int fd, const char *name, char *path)
{
    char link[64];
    ssize_t size = 0;
    path[0] = '\0';
    if (root_size == 0)
        return path;
    if (name && name[0] == '/') {
        snprintf(path, PATH_SIZE, "%s", name);
    } else {
        snprintf(link, sizeof(link), fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
        size = readlink(link, path, PATH_SIZE - 512);
        if (size < 0)
            size = 0;
        path[size] = '\0';
        if (name && strcmp(name, ".") != 0)
            snprintf(path + size, PATH_SIZE - (size_t)size, "/%.500s", name);
    }
    if (strncmp(path, root, root_size) != 0 || (path[root_size] != '/' && path[root_size] != '\0'))
        path[0] = '\0';
    return path;
}

/* The path of FD where it is a file of POWERCUT_UNDO; else "". */
static const char *resolve_undo(int fd, char *path)
{
    char link[64];
    path[0] = '\0';
    if (undo_size == 0)
        return path;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_SIZE - 1);
    path[size < 0 ? 0 : size] = '\0';
    if (strncmp(path, undo, undo_size) != 0 || path[undo_size] != '/')
        path[0] = '\0';
    return path;
}

static void report_line(const char *line)
{
    int saved = errno;
    size_t size = strlen(line);
    if (journal >= 0 && real_write(journal, line, size) != (ssize_t)size)
        abort();
    errno = saved;
}

static void report(char what, const char *path)
{
    char line[PATH_SIZE + 4];
    snprintf(line, sizeof(line), "%c %s\n", what, path);
    report_line(line);
}

static void report_sync(char what, long number, const char *path)
{
    char line[PATH_SIZE + 32];
    snprintf(line, sizeof(line), "%c %ld %s\n", what, number, path);
    report_line(line);
}

/* So much of the file lasts from here on: what was written beyond is lost in a cut. */
static void report_kept(int fd, const char *path)
{
    struct stat status;
    if (real_fstat(fd, &status) == 0)
        report_sync('K', (long)status.st_size, path);
}

/* The calls that only fail here cost nothing where they are not meant. */
static int meant(const char *call)
{
    return fail_nth >= 0 && strcmp(call, fail_call) == 0;
}

static int fails(const char *call, const char *path)
{
    size_t size = strlen(path), suffix = strlen(fail_suffix);
    if (fail_nth < 0 || path[0] == '\0' || strcmp(call, fail_call) != 0 ||
        (suffix > 0 && (size < suffix || strcmp(path + size - suffix, fail_suffix) != 0)))
        return 0;
    if (atomic_fetch_add(&fail_seen, 1) + 1 != fail_nth && fail_nth != 0)
        return 0;
    report('F', path);
    errno = fail_errno;
    return 1;
}

int openat(int fd, const char *name, int flags, ...)
{
    char path[PATH_SIZE];
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    resolve(fd, name, path);
    if (fails("open", path))
        return -1;
    int made =
        path[0] != '\0' && (flags & O_CREAT) && real_faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    if (made)
        report('N', path); /* before it is there: a kill in between finds no name */
    int opened = real_openat(fd, name, flags, mode);
    if (opened >= 0 && opened < FDS_MAX)
        atomic_store(&dirty[opened], 0);
    if (made && opened >= 0)
        report('M', path);
    return opened;
}

int open(const char *name, int flags, ...)
{
    char path[PATH_SIZE];
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    if (meant("open") && fails("open", resolve(AT_FDCWD, name, path)))
        return -1;
    return real_open(name, flags, mode);
}

int openat64(int fd, const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return openat(fd, name, flags, mode);
}

/* openat2(2) has no function of its own in the C library. */
long syscall(long number, ...)
{
    long arguments[6];
    char path[PATH_SIZE];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    int made = 0;
    path[0] = '\0';
    if (number == SYS_openat2) {
        const char *name = (const char *)arguments[1];
        const struct open_how *how = (const struct open_how *)arguments[2];
        if (!(how->flags & O_PATH))
            resolve((int)arguments[0], name, path);
        if (fails("open", path))
            return -1;
        made = path[0] != '\0' && (how->flags & O_CREAT) &&
               real_faccessat((int)arguments[0], name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
        if (made)
            report('N', path);
    }
    long result = real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                               arguments[5]);
    if (number == SYS_openat2 && result >= 0 && result < FDS_MAX)
        atomic_store(&dirty[result], 0);
    if (made && result >= 0)
        report('M', path);
    return result;
}

static void before_write(int fd, const char *path)
{
    if (path[0] != '\0' && fd < FDS_MAX && atomic_exchange(&dirty[fd], 1) == 0)
        report('W', path);
}

/* What SIZE bytes at OFFSET are before they are overwritten. */
static void report_undo(int fd, const char *path, size_t size, off_t offset)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct stat status;
    unsigned char *old = aligned_alloc(4096, (size + 4095) / 4096 * 4096); /* as O_DIRECT has it */
    char *line = malloc(2 * size + PATH_SIZE + 64);
    if (!old || !line || real_fstat(fd, &status) != 0)
        abort();
    /* A write-only descriptor cannot be read: none of these is one. */
    ssize_t got = real_pread(fd, old, size, offset);
    int at = sprintf(line, "P %lld %lld ", (long long)offset, (long long)status.st_size);
    for (ssize_t i = 0; i < got; i++)
        at += sprintf(line + at, "%02x", old[i]);
    sprintf(line + at, "%s %s\n", got > 0 ? "" : "-", path);
    pthread_mutex_lock(&mutex);
    report_line(line);
    pthread_mutex_unlock(&mutex);
    free(old);
    free(line);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    char path[PATH_SIZE];
    if (resolve_undo(fd, path)[0] != '\0') {
        if (fails("write", path))
            return -1;
        report_undo(fd, path, size, offset);
        return real_pwrite(fd, bytes, size, offset);
    }
    resolve(fd, NULL, path);
    if (fails("write", path))
        return -1;
    if (size > 1 && fails("short", path))
        size /= 2;
    before_write(fd, path);
    return real_pwrite(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

int fdatasync(int fd)
{
    return fsync(fd); /* of a regular file, whose size matters as much */
}

int ftruncate64(int fd, off_t size)
{
    char path[PATH_SIZE];
    resolve(fd, NULL, path);
    if (fails("write", path))
        return -1;
    int result = real_ftruncate(fd, size);
    if (result == 0 && path[0] != '\0')
        report_sync('T', (long)size, path);
    return result;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

static int sync_undo(int fd, const char *path)
{
    long number = atomic_fetch_add(&syncs, 1);
    report_sync('G', number, path);
    if (fails("fsync", path))
        return -1;
    int result = real_fsync(fd);
    if (result == 0)
        report_sync('H', number, path);
    return result;
}

static char *seen; /* lines "Q SIZE path" of the syncfs under way */
static size_t seen_size, seen_room;

static int see(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)where;
    if (type != FTW_F)
        return 0;
    if (seen_room - seen_size < PATH_SIZE + 32 && !(seen = realloc(seen, seen_room += 1 << 20)))
        abort();
    seen_size += (size_t)sprintf(seen + seen_size, "Q %lld %.4000s\n", (long long)status->st_size, path);
    return 0;
}

int syncfs(int fd)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    char path[PATH_SIZE];
    resolve(fd, NULL, path);
    if (path[0] == '\0')
        return real_syncfs(fd);
    pthread_mutex_lock(&mutex);
    long number = atomic_fetch_add(&syncs, 1);
    report_sync('Y', number, "-");
    seen_size = 0;
    (void)nftw(root, see, 16, FTW_PHYS);
    int result = fails("syncfs", path) ? -1 : real_syncfs(fd);
    if (result == 0 && seen_size > 0)
        report_line(seen);
    if (result == 0)
        report_sync('Z', number, "-");
    pthread_mutex_unlock(&mutex);
    return result;
}

int fsync(int fd)
{
    char path[PATH_SIZE];
    struct stat status;
    if (resolve_undo(fd, path)[0] != '\0' && real_fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return sync_undo(fd, path);
    resolve(fd, NULL, path);
    int is_directory = path[0] != '\0' && real_fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    long number = is_directory ? atomic_fetch_add(&syncs, 1) : 0;
    if (is_directory)
        report_sync('B', number, path);
    if (is_directory && slow_ms > 0)
        nanosleep(&(struct timespec){.tv_sec = slow_ms / 1000, .tv_nsec = slow_ms % 1000 * 1000000}, NULL);
    if (fails("fsync", path) || (is_directory && fails("syncdir", path))) {
        if (fd < FDS_MAX) /* the kernel forgets: what was written is lost, and nobody will say so again */
            atomic_store(&dirty[fd], 0);
        return -1;
    }
    int result = real_fsync(fd);
    if (result == 0 && is_directory) {
        report_sync('D', number, path);
    } else if (result == 0 && path[0] != '\0') {
        report('S', path);
        report_kept(fd, path);
        if (fd < FDS_MAX)
            atomic_store(&dirty[fd], 0);
    }
    return result;
}

int close(int fd)
{
    char path[PATH_SIZE];
    struct stat status;
    if (fail_nth >= 0 && strcmp(fail_call, "close") == 0) {
        resolve(fd, NULL, path);
        if (path[0] != '\0' && real_fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
            fails("close", path)) {
            (void)real_close(fd);
            errno = fail_errno;
            return -1;
        }
    }
    return real_close(fd);
}

int mkdirat(int fd, const char *name, mode_t mode)
{
    char path[PATH_SIZE];
    resolve(fd, name, path);
    if (fails("mkdir", path))
        return -1;
    if (path[0] != '\0' && real_faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
        report('N', path);
    int result = real_mkdirat(fd, name, mode);
    if (result == 0 && path[0] != '\0')
        report('M', path);
    return result;
}

int unlinkat(int fd, const char *name, int flags)
{
    char path[PATH_SIZE];
    resolve(fd, name, path);
    if (fails("unlink", path))
        return -1;
    return real_unlinkat(fd, name, flags);
}

int renameat(int from, const char *old, int to, const char *name)
{
    char path[PATH_SIZE];
    resolve(from, old, path);
    if (fails("rename", path))
        return -1;
    return real_renameat(from, old, to, name);
}

/* ---- calls that can only be made to fail ---- */

static int fails_at(const char *call, int fd, const char *name)
{
    char path[PATH_SIZE];
    return meant(call) && fails(call, resolve(fd, name, path));
}

ssize_t read(int fd, void *bytes, size_t size)
{
    return fails_at("read", fd, NULL) ? -1 : real_read(fd, bytes, size);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    return fails_at("read", fd, NULL) ? -1 : real_pread(fd, bytes, size, offset);
}

ssize_t pread64(int fd, void *bytes, size_t size, off_t offset)
{
    return pread(fd, bytes, size, offset);
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return fails_at("read", fd, NULL) ? -1 : real_preadv2(fd, parts, count, offset, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return preadv2(fd, parts, count, offset, flags);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t size)
{
    return fails_at("read", from, NULL) ? -1 : real_sendfile(to, from, offset, size);
}

ssize_t sendfile64(int to, int from, off_t *offset, size_t size)
{
    return sendfile(to, from, offset, size);
}

int fstat(int fd, struct stat *status)
{
    return fails_at("stat", fd, NULL) ? -1 : real_fstat(fd, status);
}

int fstatat(int fd, const char *name, struct stat *status, int flags)
{
    return fails_at("stat", fd, name) ? -1 : real_fstatat(fd, name, status, flags);
}

int statx(int fd, const char *name, int flags, unsigned mask, struct statx *status)
{
    return fails_at("stat", fd, name) ? -1 : real_statx(fd, name, flags, mask, status);
}

int faccessat(int fd, const char *name, int mode, int flags)
{
    return fails_at("stat", fd, name) ? -1 : real_faccessat(fd, name, mode, flags);
}

int fstatvfs(int fd, struct statvfs *status)
{
    return fails_at("statvfs", fd, NULL) ? -1 : real_fstatvfs(fd, status);
}

DIR *fdopendir(int fd)
{
    return fails_at("readdir", fd, NULL) ? NULL : real_fdopendir(fd);
}

struct dirent *readdir(DIR *stream)
{
    return fails_at("readdir", dirfd(stream), NULL) ? NULL : real_readdir(stream);
}
