/*
 * journal_file: the file of the upload journal: its locks, opening it, its two heads, and its space. The records in it are journal.c's.
 */
#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include "storage/store/journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOM       "journal"
#define FILE_MODE  0640 /* as the database's: names of users and files are private */
#define PAUSE_MS   20
#define FILL_BYTES ((size_t)1 << 20)

/* What is locked: one byte each. */
enum { LOCK_HOLDER = 0, LOCK_RECOVERY = 1, LOCK_LIVING = 2 };

/* ---- locks ---- */

static bool journal_lock(int fd, off_t byte, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

/* Waits for TYPE of BYTE. */
static bool lock_wait(struct journal *journal, off_t byte, short type, int64_t timeout_ms,
                      struct error *error)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    int64_t until = clock_monotonic_ms() + timeout_ms;
    while (!journal_lock(journal->fd, byte, type)) {
        if (errno != EAGAIN && errno != EACCES)
            return error_set_errno(error, errno, "cannot lock %s", journal->path);
        if (clock_monotonic_ms() >= until)
            return error_set(error, ERROR_UNAVAILABLE,
                             "%s is locked by another storage server that has been starting for %lld s",
                             journal->path, (long long)(timeout_ms / 1000));
        nanosleep(&pause, NULL);
    }
    return true;
}

/* ---- opening ---- */

/* The better one of both heads. False: there is none. */
static bool journal_read_heads(struct journal *journal, struct error *error)
{
    uint8_t block[JOURNAL_BLOCK];
    bool found = false, zero = true;
    struct stat status;
    if (fstat(journal->fd, &status) != 0)
        return error_set_errno(error, errno, "cannot look at %s", journal->path);
    for (int i = 0; i < 2 && status.st_size >= JOURNAL_REGION; i++) {
        struct journal_head head;
        ssize_t got = pread(journal->fd, block, sizeof(block), i * JOURNAL_BLOCK);
        if (got != JOURNAL_BLOCK)
            return error_set_errno(error, got < 0 ? errno : EIO, "cannot read %s", journal->path);
        for (size_t at = 0; zero && at < sizeof(block); at++)
            zero = block[at] == 0;
        if (!journal_head_read(block, &head) || head.size > status.st_size - JOURNAL_REGION ||
            (found && head.count < journal->head.count))
            continue;
        journal->head = head;
        found = true;
    }
    journal->made = found;
    /* A file that was being made when a crash came has no head yet; its space is zeros. */
    return found || zero ||
           error_set(error, ERROR_IO,
                     "%s: neither of its heads can be read: acknowledged uploads may be in it; restore it, "
                     "or move it away to "
                     "give them up",
                     journal->path);
}

/* A descriptor more of the same file. -1: errno says why. */
static int open_again(const struct journal *journal, int flags)
{
    struct stat status, again;
    int fd = open(journal->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags);
    if (fd < 0 || (fstat(journal->fd, &status) == 0 && fstat(fd, &again) == 0 &&
                   status.st_dev == again.st_dev && status.st_ino == again.st_ino))
        return fd;
    (void)close(fd);
    errno = ESTALE; /* another file lies there now */
    return -1;
}

/* Records go past the page cache: nobody reads them soon, and what they are copied from is in memory anyway. A file system that has no such
 * way is written to through the cache. */
static bool open_ways_to_write(struct journal *journal, struct error *error)
{
    journal->head_fd = open_again(journal, 0);
    if (journal->head_fd < 0)
        return error_set_errno(error, errno, "cannot open %s a second time", journal->path);
    journal->direct_fd = open_again(journal, O_DIRECT);
    return true;
}

struct journal *journal_open(const char *path, int64_t timeout_ms, bool *absent, struct error *error)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    *absent = false;
    if (!journal || !(journal->path = strdup(path)) || !condition_init(&journal->changed, error)) {
        if (journal)
            free(journal->path);
        free(journal);
        error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
        return NULL;
    }
    pthread_mutex_init(&journal->mutex, NULL);
    journal->head_fd = journal->direct_fd = -1;
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (journal->fd < 0) {
        struct stat status;
        int saved = errno;
        *absent = lstat(path, &status) != 0 && errno == ENOENT;
        error_set_errno(error, saved, "cannot open %s", path);
    } else if (lock_wait(journal, LOCK_RECOVERY, F_WRLCK, timeout_ms, error)) {
        journal->alone = journal_lock(journal->fd, LOCK_LIVING, F_WRLCK);
        journal->held = journal_lock(journal->fd, LOCK_HOLDER, F_WRLCK);
        if (open_ways_to_write(journal, error) && (!journal->held || journal_read_heads(journal, error)))
            return journal;
    }
    journal_close(journal);
    return NULL;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (journal->direct_fd >= 0)
        (void)close(journal->direct_fd);
    if (journal->head_fd >= 0)
        (void)close(journal->head_fd);
    if (journal->fd >= 0)
        (void)close(journal->fd); /* what had to be written was synced; the locks go with it */
    pthread_cond_destroy(&journal->changed);
    pthread_mutex_destroy(&journal->mutex);
    free(journal->buffer);
    free(journal->path);
    free(journal);
}

bool journal_is_held(const struct journal *journal)
{
    return journal->held;
}

bool journal_is_alone(const struct journal *journal)
{
    return journal->alone;
}

bool journal_is_clean(const struct journal *journal)
{
    return !journal->made || journal->head.clean;
}

uint64_t journal_id(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    uint64_t id = journal->made ? journal->head.id : 0;
    pthread_mutex_unlock(&journal->mutex);
    return id;
}

void journal_started(struct journal *journal)
{
    (void)!journal_lock(journal->fd, LOCK_LIVING,
                        F_RDLCK); /* a shared one is never refused: recovery is ours */
    (void)!journal_lock(journal->fd, LOCK_RECOVERY, F_UNLCK);
}

void journal_leave(struct journal *journal)
{
    journal->held = false;
    (void)!journal_lock(journal->fd, LOCK_HOLDER, F_UNLCK);
}

/* ---- space ---- */

static bool write_bytes(struct journal *journal, int fd, const void *bytes, size_t size, int64_t offset,
                        struct error *error)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t written = pwrite(fd, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EINVAL &&
            fd == journal->direct_fd) { /* blocks of another size: through memory */
            (void)close(journal->direct_fd);
            journal->direct_fd = -1;
            fd = journal->fd;
            continue;
        }
        if (written <= 0)
            return error_set_errno(error, written < 0 ? errno : ENOSPC, "cannot write to %s", journal->path);
        next += written;
        size -= (size_t)written;
        offset += written;
    }
    return true;
}

static bool sync_bytes(const struct journal *journal, int fd, struct error *error)
{
    return fdatasync(fd) == 0 || error_set_errno(error, errno, "cannot sync %s", journal->path);
}

bool journal_write_records(struct journal *journal, size_t size, int64_t position, struct error *error)
{
    int fd = journal->direct_fd >= 0 ? journal->direct_fd : journal->fd;
    return write_bytes(journal, fd, journal->buffer, size, JOURNAL_REGION + position, error);
}

bool journal_sync_records(const struct journal *journal, struct error *error)
{
    return sync_bytes(journal, journal->fd, error);
}

/* HEAD becomes what the file says, in the place of the older one of both. */
bool journal_write_head(struct journal *journal, struct journal_head *head, struct error *error)
{
    uint8_t block[JOURNAL_BLOCK];
    head->count = journal->head.count + 1;
    journal_head_pack(block, head);
    if (!write_bytes(journal, journal->head_fd, block, sizeof(block),
                     (int64_t)(head->count % 2) * JOURNAL_BLOCK, error) ||
        !sync_bytes(journal, journal->head_fd, error))
        return false;
    pthread_mutex_lock(&journal->mutex);
    journal->head = *head;
    pthread_mutex_unlock(&journal->mutex);
    return true;
}

static uint64_t random_number(void)
{
    uint64_t number = 0;
    while (number == 0 && getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
        ;
    return number;
}

/* Zeros, all written: a later overwriting changes nothing of the file but its bytes, so that its sync needs no commit of the
 * file system. */
static bool fill(struct journal *journal, int64_t size, struct error *error)
{
    int failure = posix_fallocate(journal->fd, 0, (off_t)size);
    if (failure != 0)
        return error_set_errno(error, failure, "cannot allocate %lld bytes for %s", (long long)size,
                               journal->path);
    char *zeros = calloc(1, FILL_BYTES);
    bool fine = zeros || error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
    for (int64_t at = 0; fine && at < size; at += (int64_t)FILL_BYTES)
        fine = write_bytes(journal, journal->fd, zeros, (size_t)min_i64((int64_t)FILL_BYTES, size - at), at,
                           error);
    free(zeros);
    return fine &&
           (fsync(journal->fd) == 0 || error_set_errno(error, errno, "cannot sync %s", journal->path));
}

static bool journal_sync_parent(const struct journal *journal, struct error *error)
{
    char *path = strdup(journal->path);
    if (!path)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;
    if (!fine)
        error_set_errno(error, errno, "cannot sync the directory of %s", journal->path);
    if (fd >= 0)
        (void)close(fd);
    free(path);
    return fine;
}

/* Everything is in its place: the file anew. */
static bool make(struct journal *journal, struct error *error)
{
    struct journal_head head = {.id = random_number(),
                                .generation = random_number(),
                                .size =
                                    (journal->wanted_size - JOURNAL_REGION) / JOURNAL_BLOCK * JOURNAL_BLOCK,
                                .sequence = 1};
    if (ftruncate(journal->fd, 0) != 0)
        return error_set_errno(error, errno, "cannot empty %s", journal->path);
    pthread_mutex_lock(&journal->mutex);
    journal->head = (struct journal_head){0};
    pthread_mutex_unlock(&journal->mutex);
    bool fine = fill(journal, JOURNAL_REGION + head.size, error) &&
                journal_write_head(journal, &head, error) && journal_sync_parent(journal, error);
    if (!fine && ftruncate(journal->fd, 0) != 0)
        log_warning(ROOM, "%s keeps the space that was allocated: %m", journal->path);
    return fine;
}

/* The mutex is held, or nobody else knows of it yet. */
static void restart(struct journal *journal)
{
    journal->position = journal->head.tail;
    journal->sequence = journal->synced = journal->settled.sequence = journal->head.sequence - 1;
    journal->written = journal->freed = 0;
    journal->settled.position = journal->position;
    journal->settled.written = 0;
    journal->group_count = 0;
}

bool journal_begin(struct journal *journal, int64_t size, bool make_now, struct error *error)
{
    if (size > 0)
        journal->wanted_size = size;
    bool fits = journal->made &&
                (size == 0 || journal->head.size + JOURNAL_REGION == size / JOURNAL_BLOCK * JOURNAL_BLOCK);
    if (fits) {
        struct journal_head head = journal->head;
        head.generation = random_number();
        head.tail = 0;
        head.sequence = journal->replayed + 1;
        head.clean = false;
        if (!journal_write_head(journal, &head, error))
            return false;
    } else if (make_now || journal->made) {
        journal->made = false;
        if (!make(journal, error))
            return false;
        journal->made = true;
    }
    restart(journal);
    return true;
}

bool journal_make(struct journal *journal, struct error *error)
{
    pthread_mutex_lock(&journal->mutex);
    bool wanted = !journal->made && journal->asked >= JOURNAL_ASKED_MIN;
    pthread_mutex_unlock(&journal->mutex);
    if (!wanted)
        return true;
    bool fine = make(journal, error);
    pthread_mutex_lock(&journal->mutex);
    if (fine)
        restart(journal);
    journal->made = fine;
    journal->asked = 0;
    snprintf(journal->why, sizeof(journal->why), "%s", fine ? "" : error->text);
    pthread_mutex_unlock(&journal->mutex);
    return fine;
}

bool journal_empty(struct journal *journal, struct error *error)
{
    journal->made = false;
    return (ftruncate(journal->fd, 0) == 0 && fsync(journal->fd) == 0) ||
           error_set_errno(error, errno, "cannot empty %s", journal->path);
}

bool journal_finish(struct journal *journal, struct error *error)
{
    pthread_mutex_lock(&journal->mutex);
    struct journal_head head = journal->head;
    bool passed = journal->made && !journal->failed && head.sequence == journal->sequence + 1;
    pthread_mutex_unlock(&journal->mutex);
    if (!passed)
        return true;
    head.clean = true;
    return journal_write_head(journal, &head, error);
}
