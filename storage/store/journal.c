/*
 * journal: the file of the upload journal: its locks, its space, appending, and moving the tail. Reading is journal_scan.c's.
 */
#include "storage/store/journal.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
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
#define FILE_MODE  0640 /* as the database's: names of users and files are nobody else's business */
#define PAUSE_MS   20
#define FILL_BYTES ((size_t)1 << 20)
#define ASKED_MIN  64 /* uploads that want it before its space is written: many servers never take so many */

/* What is locked: one byte each. */
enum { LOCK_HOLDER = 0, LOCK_RECOVERY = 1, LOCK_LIVING = 2 };

/* ---- locks ---- */

static bool lock(int fd, off_t byte, short type)
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
    while (!lock(journal->fd, byte, type)) {
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
static bool read_heads(struct journal *journal, struct error *error)
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

/* The same file past the page cache, for the records: nobody reads them soon, and what they are copied from is in memory anyway. A file
 * system that has no such way is written to through the cache. */
static void open_direct(struct journal *journal)
{
    struct stat status, direct;
    journal->direct_fd = open(journal->path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    if (journal->direct_fd < 0 ||
        (fstat(journal->fd, &status) == 0 && fstat(journal->direct_fd, &direct) == 0 &&
         status.st_dev == direct.st_dev && status.st_ino == direct.st_ino))
        return;
    (void)close(journal->direct_fd);
    journal->direct_fd = -1;
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
    journal->direct_fd = -1;
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (journal->fd < 0) {
        struct stat status;
        int saved = errno;
        *absent = lstat(path, &status) != 0 && errno == ENOENT;
        error_set_errno(error, saved, "cannot open %s", path);
    } else if (lock_wait(journal, LOCK_RECOVERY, F_WRLCK, timeout_ms, error)) {
        journal->alone = lock(journal->fd, LOCK_LIVING, F_WRLCK);
        journal->held = lock(journal->fd, LOCK_HOLDER, F_WRLCK);
        open_direct(journal);
        if (!journal->held || read_heads(journal, error))
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
    (void)!lock(journal->fd, LOCK_LIVING, F_RDLCK); /* a shared one is refused by nobody: recovery is ours */
    (void)!lock(journal->fd, LOCK_RECOVERY, F_UNLCK);
}

void journal_leave(struct journal *journal)
{
    journal->held = false;
    (void)!lock(journal->fd, LOCK_HOLDER, F_UNLCK);
}

/* ---- space ---- */

static bool write_bytes(struct journal *journal, const void *bytes, size_t size, int64_t offset,
                        struct error *error)
{
    const char *next = bytes;
    bool direct = journal->direct_fd >= 0 && bytes == journal->buffer; /* records, in whole blocks */
    while (size > 0) {
        ssize_t written = pwrite(direct ? journal->direct_fd : journal->fd, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EINVAL && direct) { /* blocks of another size: through memory */
            (void)close(journal->direct_fd);
            journal->direct_fd = -1;
            direct = false;
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

static bool sync_data(const struct journal *journal, struct error *error)
{
    return fdatasync(journal->fd) == 0 || error_set_errno(error, errno, "cannot sync %s", journal->path);
}

/* HEAD becomes what the file says, in the place of the older one of both. */
static bool write_head(struct journal *journal, struct journal_head *head, struct error *error)
{
    uint8_t block[JOURNAL_BLOCK];
    head->count = journal->head.count + 1;
    journal_head_pack(block, head);
    if (!write_bytes(journal, block, sizeof(block), (int64_t)(head->count % 2) * JOURNAL_BLOCK, error) ||
        !sync_data(journal, error))
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
        fine = write_bytes(journal, zeros, (size_t)min_i64((int64_t)FILL_BYTES, size - at), at, error);
    free(zeros);
    return fine &&
           (fsync(journal->fd) == 0 || error_set_errno(error, errno, "cannot sync %s", journal->path));
}

static bool sync_parent(const struct journal *journal, struct error *error)
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
    bool fine = fill(journal, JOURNAL_REGION + head.size, error) && write_head(journal, &head, error) &&
                sync_parent(journal, error);
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
        if (!write_head(journal, &head, error))
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
    bool wanted = !journal->made && journal->asked >= ASKED_MIN;
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

void journal_stop(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    journal->stopped = journal->woken = true;
    pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
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
    return write_head(journal, &head, error);
}

/* ---- appending ---- */

static int64_t round_block(int64_t size)
{
    return (size + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

int64_t journal_reserve(struct journal *journal, size_t size)
{
    int64_t wanted = round_block((int64_t)size + JOURNAL_BLOCK), reserved = 0;
    pthread_mutex_lock(&journal->mutex);
    journal->asked++;
    /* A record that does not fit before the end of the region leaves that free. */
    if (journal->made && !journal->failed && !journal->suspended && !journal->stopped &&
        journal->written - journal->freed + journal->reserved + wanted <=
            journal->head.size - JOURNAL_RECORD_MAX - JOURNAL_BLOCK)
        reserved = wanted;
    journal->reserved += reserved;
    bool half = journal->made && journal->written - journal->freed > journal->head.size / 2;
    if (half || journal->asked == ASKED_MIN)
        pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
    return reserved;
}

void journal_release(struct journal *journal, int64_t reserved)
{
    pthread_mutex_lock(&journal->mutex);
    journal->reserved -= reserved;
    pthread_mutex_unlock(&journal->mutex);
}

/* Where a group goes: one piece, or two where the end of the region comes between. */
struct layout {
    size_t count;       /* of its first piece */
    int64_t first_size; /* of that, rounded up to a block */
    int64_t second_size;
    int64_t waste; /* bytes left free before the end of the region */
};

static struct layout lay_out(const struct journal *journal, struct journal_record *const *records,
                             size_t count)
{
    struct layout layout = {0};
    int64_t room = journal->head.size - journal->position;
    size_t i = 0;
    for (; i < count; i++) {
        int64_t size = (int64_t)journal_record_size(records[i]);
        if (layout.first_size + size > room)
            break;
        layout.first_size += size;
    }
    layout.count = i;
    layout.first_size = round_block(layout.first_size);
    layout.waste = i < count ? room - layout.first_size : 0;
    for (; i < count; i++)
        layout.second_size += (int64_t)journal_record_size(records[i]);
    layout.second_size = round_block(layout.second_size);
    return layout;
}

/* Packs COUNT records and writes them, with what fills their last block, at POSITION. */
static bool write_piece(struct journal *journal, struct journal_record *const *records, size_t count,
                        int64_t size, int64_t position, struct error *error)
{
    size_t at = 0;
    if (count == 0)
        return true;
    if ((size_t)size > journal->buffer_size) {
        void *larger = aligned_alloc(JOURNAL_BLOCK, (size_t)size); /* SIZE is so many blocks */
        if (!larger)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
        free(journal->buffer);
        journal->buffer = larger;
        journal->buffer_size = (size_t)size;
    }
    for (size_t i = 0; i < count; i++) {
        journal_record_pack(journal->buffer + at, records[i]);
        at += journal_record_size(records[i]);
    }
    memset(journal->buffer + at, 0, (size_t)size - at);
    return write_bytes(journal, journal->buffer, (size_t)size, JOURNAL_REGION + position, error);
}

static bool write_group(struct journal *journal, struct journal_record *const *records, size_t count,
                        const struct layout *layout, struct error *error)
{
    int64_t second = layout->count < count ? 0 : -1;
    if (!write_piece(journal, records, layout->count, layout->first_size, journal->position, error) ||
        (second == 0 && !write_piece(journal, records + layout->count, count - layout->count,
                                     layout->second_size, second, error)))
        return false;
    CRASH_POINT("journal-written");
    if (!sync_data(journal, error))
        return false;
    CRASH_POINT("journal-synced");
    return true;
}

bool journal_write(struct journal *journal, struct journal_record *const *records, size_t count,
                   struct error *error)
{
    pthread_mutex_lock(&journal->mutex);
    bool usable = journal->made && !journal->failed && !journal->stopped && count > 0 &&
                  journal->group_count < JOURNAL_GROUPS_MAX;
    struct layout layout = {0};
    if (usable)
        layout = lay_out(journal, records, count);
    int64_t size = layout.first_size + layout.waste + layout.second_size;
    usable = usable && journal->written - journal->freed + size <= journal->head.size;
    for (size_t i = 0; usable && i < count; i++) {
        records[i]->generation = journal->head.generation;
        records[i]->sequence = ++journal->sequence;
        records[i]->synced = journal->synced;
        records[i]->last = i + 1 == count;
    }
    pthread_mutex_unlock(&journal->mutex);
    if (!usable)
        return error_set(error, ERROR_UNAVAILABLE, "%s takes no records now", journal->path);

    bool fine = write_group(journal, records, count, &layout, error);
    pthread_mutex_lock(&journal->mutex);
    journal->position = layout.count < count ? layout.second_size : journal->position + layout.first_size;
    if (journal->position >= journal->head.size)
        journal->position = 0;
    journal->written += size;
    journal->groups[journal->group_count++] = (struct journal_mark){
        .sequence = journal->sequence, .position = journal->position, .written = journal->written};
    if (fine) {
        journal->synced = journal->sequence;
    } else {
        journal->failed = true;
        snprintf(journal->why, sizeof(journal->why), "%s", error->text);
        pthread_cond_signal(&journal->changed);
    }
    pthread_mutex_unlock(&journal->mutex);
    if (fine) {
        metric_add(journal_metrics()->records, (int64_t)count);
        metric_add(journal_metrics()->bytes, size);
    }
    metric_add(journal_metrics()->syncs, 1);
    return fine;
}

void journal_settle(struct journal *journal, int64_t sequence)
{
    size_t passed = 0;
    pthread_mutex_lock(&journal->mutex);
    while (passed < journal->group_count && journal->groups[passed].sequence <= sequence)
        journal->settled = journal->groups[passed++];
    journal->group_count -= passed;
    memmove(journal->groups, journal->groups + passed, journal->group_count * sizeof(journal->groups[0]));
    pthread_mutex_unlock(&journal->mutex);
}

/* ---- checkpoints ---- */

bool journal_mark(struct journal *journal, struct journal_mark *mark)
{
    pthread_mutex_lock(&journal->mutex);
    *mark = journal->settled;
    bool behind = journal->made && mark->sequence >= journal->head.sequence;
    pthread_mutex_unlock(&journal->mutex);
    return behind;
}

bool journal_move_tail(struct journal *journal, const struct journal_mark *mark, struct error *error)
{
    struct journal_head head = journal->head; /* this thread alone changes it */
    head.tail = mark->position;
    head.sequence = mark->sequence + 1;
    bool fine = write_head(journal, &head, error);
    pthread_mutex_lock(&journal->mutex);
    if (fine) {
        journal->freed = mark->written;
        if (journal->failed && mark->sequence == journal->sequence)
            journal->failed = false; /* what was not written is behind the tail */
    } else {
        journal->failed = true;
    }
    if (!fine || (!journal->failed && !journal->suspended))
        snprintf(journal->why, sizeof(journal->why), "%s", fine ? "" : error->text);
    pthread_mutex_unlock(&journal->mutex);
    if (fine)
        metric_add(journal_metrics()->checkpoints, 1);
    return fine;
}

void journal_suspend(struct journal *journal, const char *why)
{
    pthread_mutex_lock(&journal->mutex);
    if (!journal->suspended)
        snprintf(journal->why, sizeof(journal->why), "%s", why);
    journal->suspended = true;
    pthread_mutex_unlock(&journal->mutex);
}

bool journal_is_suspended(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    bool suspended = journal->suspended;
    pthread_mutex_unlock(&journal->mutex);
    return suspended;
}

void journal_resume(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    if (journal->suspended && journal->written == journal->freed && journal->reserved == 0) {
        journal->suspended = false;
        journal->why[0] = '\0';
    }
    pthread_mutex_unlock(&journal->mutex);
}

void journal_wait(struct journal *journal, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms, left;
    pthread_mutex_lock(&journal->mutex);
    while (!journal->woken && (left = until - clock_monotonic_ms()) > 0 &&
           !(journal->made && journal->written - journal->freed > journal->head.size / 2) &&
           !(!journal->made && journal->why[0] == '\0' && journal->asked >= ASKED_MIN))
        (void)condition_wait_ms(&journal->changed, &journal->mutex, left);
    journal->woken = false;
    pthread_mutex_unlock(&journal->mutex);
}

void journal_concern(struct journal *journal, char *reason, size_t size)
{
    pthread_mutex_lock(&journal->mutex);
    snprintf(reason, size, "%s", journal->why);
    pthread_mutex_unlock(&journal->mutex);
}

int64_t journal_used(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    int64_t used = journal->written - journal->freed;
    pthread_mutex_unlock(&journal->mutex);
    return used;
}

bool journal_is_idle(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    bool idle = journal->written == journal->freed && journal->reserved == 0;
    pthread_mutex_unlock(&journal->mutex);
    return idle;
}
