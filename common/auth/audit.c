/*
 * audit: a buffer that callers fill and a thread empties. The thread alone touches the file and the chain.
 */
#include "common/auth/audit.h"

#include "common/auth/audit_line.h"
#include "common/auth/key_mac.h"
#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)1024 * 1024)
/* Of the file's end, where the last link is looked for: more than a power cut leaves without one. */
#define TAIL_SIZE (4 * BUFFER_SIZE)
#define RETRY_MS  1000
#define END_MS    3000

struct audit {
    char *path, *daemon;
    struct metric *lost, *written;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    char *filling; /* lines without their end: BUFFER_SIZE */
    size_t filled;
    atomic_bool crowded; /* the thread does not come: its file hangs, or is too slow */
    bool stopping, reopening, ended;
    char key_id[KEY_ID_SIZE]; /* "": no chain */
    uint8_t secret[MAC_SIZE];

    /* the thread's */
    pthread_t thread;
    int fd;
    bool opened; /* by a line that says what this file follows */
    bool torn;   /* the file does not end with a newline */
    char *writing;
    char *linked; /* with their ends, which are shorter than two lines: 3 * BUFFER_SIZE */
    uint8_t link[AUDIT_LINK_SIZE];
    int64_t reopen_at_ms; /* the next try, by the monotonic clock; 0: nobody wants one */
    atomic_bool failing;
};

/* ---- the file ---- */

static int audit_open(const char *path, struct error *error)
{
    struct stat file;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, 0600);

    if (fd < 0 || fstat(fd, &file) != 0) {
        error_set_errno(error, errno, "audit: cannot open %s", path);
    } else if (!S_ISREG(file.st_mode)) {
        error_set(error, ERROR_REFUSED, "audit: %s is not a regular file", path);
    } else {
        if (file.st_size == 0 && (file.st_mode & 077) != 0) /* logrotate's, which makes it like any log */
            (void)fchmod(fd, 0600);
        return fd;
    }
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* The link of the last line of FD that has one, even if its newline is missing; zeros where there is none. *TORN: what is last
 * does not end with a newline. */
static void read_last_link(int fd, uint8_t link[AUDIT_LINK_SIZE], bool *torn)
{
    struct stat file = {0};
    char *text = malloc(TAIL_SIZE);
    ssize_t got = -1;

    *torn = false;
    memset(link, 0, AUDIT_LINK_SIZE);
    if (text && fstat(fd, &file) == 0)
        got =
            pread(fd, text, TAIL_SIZE, file.st_size > (off_t)TAIL_SIZE ? file.st_size - (off_t)TAIL_SIZE : 0);
    if (got < 0)
        log_error("audit", "its last line cannot be read, so that its chain breaks here: %m");
    size_t end = got > 0 ? (size_t)got : 0;
    *torn = end > 0 && text[end - 1] != '\n';
    while (end > 0) {
        size_t stop = text[end - 1] == '\n' ? end - 1 : end, covered;
        const char *before = stop > 0 ? memrchr(text, '\n', stop) : NULL;
        const char *line = before ? before + 1 : text;

        if (audit_chain_find(line, stop - (size_t)(line - text), &covered, link))
            break;
        end = (size_t)(line - text);
    }
    free(text);
}

/* ---- what others call ---- */

bool audit_write(struct audit *audit, const struct audit_event *event)
{
    char line[AUDIT_LINE_SIZE];
    size_t size = audit_line_event(audit->daemon, event, line);
    bool taken;

    pthread_mutex_lock(&audit->mutex);
    taken = size > 0 && BUFFER_SIZE - audit->filled >= size;
    if (taken) {
        memcpy(audit->filling + audit->filled, line, size);
        audit->filled += size;
        pthread_cond_signal(&audit->changed);
    }
    atomic_store(&audit->crowded, audit->filled > BUFFER_SIZE / 2);
    pthread_mutex_unlock(&audit->mutex);
    if (!taken)
        metric_add(audit->lost, 1);
    return taken;
}

bool audit_works(const struct audit *audit)
{
    return !atomic_load_explicit(&audit->failing, memory_order_relaxed) &&
           !atomic_load_explicit(&audit->crowded, memory_order_relaxed);
}

/* ---- the thread ---- */

struct audit_key {
    char id[KEY_ID_SIZE];
    uint8_t secret[MAC_SIZE];
};

/* Gives LINE (of SIZE bytes, without its newline) its end at OUT; returns how much that is. */
static size_t link_line(struct audit *audit, const struct audit_key *key, const char *line, size_t size,
                        char *out)
{
    char *at = out + size, text[AUDIT_LINK_HEX + 1];
    const char *limit = at + AUDIT_LINK_END_MAX;

    memcpy(out, line, size);
    if (key->id[0] != '\0') {
        at += snprintf(at, (size_t)(limit - at), AUDIT_BY_MARK "%s\"", key->id);
        audit_chain_compute(key->secret, audit->link, out, (size_t)(at - out), audit->link);
        audit_chain_format(audit->link, text);
        at += snprintf(at, (size_t)(limit - at), AUDIT_CHAIN_MARK "%s\"", text);
    }
    *at++ = '}';
    *at++ = '\n';
    return (size_t)(at - out);
}

/* Appends those of LINES to the *LINKED bytes of audit->linked that end within LIMIT bytes of it. Returns how much of LINES that is. */
static size_t link_lines(struct audit *audit, const struct audit_key *key, const char *lines, size_t size,
                         size_t limit, size_t *linked)
{
    const char *at = lines, *newline;

    for (; at < lines + size; at = newline + 1) {
        uint8_t before[AUDIT_LINK_SIZE];

        memcpy(before, audit->link, sizeof(before));
        newline = memchr(at, '\n', (size_t)(lines + size - at));
        size_t end = *linked + link_line(audit, key, at, (size_t)(newline - at), audit->linked + *linked);
        if (end > limit) {
            memcpy(audit->link, before, sizeof(before));
            break;
        }
        *linked = end;
    }
    return (size_t)(at - lines);
}

/* True when all of it is in the file and synced. *DONE bytes were written. */
static bool write_and_sync(struct audit *audit, const char *bytes, size_t size, size_t *done)
{
    while (*done < size) {
        ssize_t now = write(audit->fd, bytes + *done, size - *done);

        if (now < 0 && errno == EINTR)
            continue;
        if (now <= 0)
            return false;
        *done += (size_t)now;
    }
    return fdatasync(audit->fd) == 0;
}

/* The mutex is held: takes the wish of audit_reopen(). */
static void take_wish(struct audit *audit)
{
    if (audit->reopening)
        audit->reopen_at_ms = clock_monotonic_ms();
    audit->reopening = false;
}

/* For a second, or until there is something to do about the file. False: the audit ends. */
static bool pause_for_file(struct audit *audit)
{
    int64_t until_ms = clock_monotonic_ms() + RETRY_MS, left_ms;

    pthread_mutex_lock(&audit->mutex);
    while (!audit->stopping && !audit->reopening && (left_ms = until_ms - clock_monotonic_ms()) > 0)
        condition_wait_ms(&audit->changed, &audit->mutex, left_ms);
    bool goes_on = !audit->stopping;
    take_wish(audit);
    pthread_mutex_unlock(&audit->mutex);
    return goes_on;
}

/* The file anew, where that is wanted and its time has come; -1: it is not, or it cannot be opened: then again in a second. */
static int audit_open_again(struct audit *audit)
{
    static struct log_gate gate;
    struct error error;

    if (audit->reopen_at_ms == 0 || clock_monotonic_ms() < audit->reopen_at_ms)
        return -1;
    int fd = audit_open(audit->path, &error);
    audit->reopen_at_ms = fd < 0 ? clock_monotonic_ms() + RETRY_MS : 0;
    if (fd < 0 && log_gate_open(&gate, 60000, NULL))
        log_error("audit", "%s; still writing to the old file; trying again each second", error.text);
    return fd;
}

/* Goes on in the file behind FD: the next line opens it. */
static void use_file(struct audit *audit, int fd)
{
    static const uint8_t none[AUDIT_LINK_SIZE];
    uint8_t link[AUDIT_LINK_SIZE];

    if (audit->fd >= 0)
        (void)close(audit->fd);
    audit->fd = fd;
    audit->opened = false;
    read_last_link(fd, link, &audit->torn);
    if (memcmp(link, none, AUDIT_LINK_SIZE) != 0) /* a file that has lines goes on with its own */
        memcpy(audit->link, link, AUDIT_LINK_SIZE);
}

enum audit_written { AUDIT_WRITTEN, AUDIT_OTHER_FILE, AUDIT_GIVEN_UP };

/* Writes what is in audit->linked, until it is written, or *FD is the file opened anew, or the end has waited long enough. *DONE: how
 * much of it the present file has. */
static enum audit_written write_stubbornly(struct audit *audit, size_t size, size_t *done, int *fd)
{
    static struct log_gate gate;
    bool goes_on = true;

    *done = 0;
    while (!write_and_sync(audit, audit->linked, size, done)) {
        atomic_store(&audit->failing, true);
        if (log_gate_open(&gate, 10000, NULL))
            log_error("audit", "%s: cannot be written: %m; trying again each second", audit->path);
        if (!goes_on)
            return AUDIT_GIVEN_UP;
        goes_on = pause_for_file(audit);
        *fd = audit_open_again(audit);
        if (*fd >= 0)
            return AUDIT_OTHER_FILE;
    }
    atomic_store(&audit->failing, false);
    return AUDIT_WRITTEN;
}

/* Writes LINES. *TAKEN: how much of them is in the file. Where that is not all, the next line opens the file, or the new one, whose link is
 * the last one that was written whole. */
static enum audit_written audit_write_lines(struct audit *audit, const struct audit_key *key,
                                            const char *lines, size_t size, size_t *taken)
{
    uint8_t before[AUDIT_LINK_SIZE];
    size_t linked = 0, begin = 0, done;
    int fd = -1;

    memcpy(before, audit->link, sizeof(before));
    if (audit->torn) /* it ends what a crash left, and is no part of the line */
        audit->linked[begin++] = '\n';
    linked = begin;
    *taken = link_lines(audit, key, lines, size, SIZE_MAX, &linked);
    enum audit_written written = write_stubbornly(audit, linked, &done, &fd);
    audit->torn = done > 0 ? audit->linked[done - 1] != '\n' : audit->torn;
    if (written == AUDIT_WRITTEN)
        return written;
    memcpy(audit->link, before, sizeof(before));
    linked = begin;
    *taken = link_lines(audit, key, lines, size, done + 1, &linked); /* a line is whole without its newline */
    audit->opened = false;
    if (written == AUDIT_OTHER_FILE)
        use_file(audit, fd);
    return written;
}

static enum audit_written write_opening(struct audit *audit, const struct audit_key *key)
{
    char line[AUDIT_LINE_SIZE];
    size_t size = audit_line_opening(audit->daemon, audit->link, line), taken;
    enum audit_written written = audit_write_lines(audit, key, line, size, &taken);

    audit->opened = written == AUDIT_WRITTEN;
    return written;
}

static int64_t count_lines(const char *lines, size_t size)
{
    int64_t count = 0;

    for (size_t i = 0; i < size; i++)
        count += lines[i] == '\n';
    return count;
}

/* SIZE bytes of audit->writing, into as many files as it takes. */
static void write_batch(struct audit *audit, size_t size, const struct audit_key *key)
{
    enum audit_written written = AUDIT_WRITTEN;
    size_t done = 0;

    while (written != AUDIT_GIVEN_UP && (!audit->opened || done < size)) {
        size_t taken = 0;

        if (!audit->opened)
            written = write_opening(audit, key);
        else
            written = audit_write_lines(audit, key, audit->writing + done, size - done, &taken);
        done += taken;
    }
    metric_add(audit->written, count_lines(audit->writing, done));
    if (done < size)
        log_error("audit", "%s: cannot be written at the end; %" PRId64 " events are lost", audit->path,
                  count_lines(audit->writing + done, size - done));
}

/* Waits until there is something to do, and takes it: *SIZE bytes in audit->writing. False: it ends, and there is nothing left. */
static bool take_batch(struct audit *audit, size_t *size, struct audit_key *key)
{
    pthread_mutex_lock(&audit->mutex);
    while (audit->opened && audit->filled == 0 && !audit->stopping && !audit->reopening) {
        if (audit->reopen_at_ms == 0)
            pthread_cond_wait(&audit->changed, &audit->mutex);
        else if (!condition_wait_ms(&audit->changed, &audit->mutex, RETRY_MS))
            break;
    }
    char *full = audit->filling;
    bool more = audit->filled > 0 || !audit->stopping;

    *size = audit->filled;
    audit->filling = audit->writing;
    audit->writing = full;
    audit->filled = 0;
    atomic_store(&audit->crowded, false);
    take_wish(audit);
    memcpy(key->id, audit->key_id, sizeof(key->id));
    memcpy(key->secret, audit->secret, sizeof(key->secret));
    pthread_mutex_unlock(&audit->mutex);
    return more;
}

static void *audit_run(void *argument)
{
    struct audit *audit = argument;
    struct audit_key key;
    bool more;
    size_t size;

    do {
        more = take_batch(audit, &size, &key);
        write_batch(audit, size, &key);
        int fd = audit_open_again(audit);
        if (fd >= 0) {
            use_file(audit, fd);
            write_batch(audit, 0, &key);
        }
        explicit_bzero(&key, sizeof(key));
    } while (more);
    pthread_mutex_lock(&audit->mutex);
    audit->ended = true;
    pthread_cond_signal(&audit->changed);
    pthread_mutex_unlock(&audit->mutex);
    return NULL;
}

/* ---- life ---- */

static void audit_free(struct audit *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        (void)close(audit->fd);
    explicit_bzero(audit->secret, sizeof(audit->secret));
    free(audit->path);
    free(audit->daemon);
    free(audit->filling);
    free(audit->writing);
    free(audit->linked);
    free(audit);
}

void audit_set_key(struct audit *audit, const struct key *key)
{
    uint8_t secret[MAC_SIZE] = {0};

    if (key)
        key_derive(key, "audit", secret);
    pthread_mutex_lock(&audit->mutex);
    memset(audit->key_id, 0, sizeof(audit->key_id));
    if (key)
        memcpy(audit->key_id, key->id, sizeof(audit->key_id));
    memcpy(audit->secret, secret, sizeof(secret));
    pthread_mutex_unlock(&audit->mutex);
    explicit_bzero(secret, sizeof(secret));
}

struct audit *audit_create(const struct audit_options *options, struct error *error)
{
    struct audit *audit = calloc(1, sizeof(*audit));

    if (!audit) {
        error_set_errno(error, ENOMEM, "audit");
        return NULL;
    }
    audit->fd = -1;
    audit->path = strdup(options->file);
    audit->daemon = strdup(options->daemon);
    audit->filling = malloc(BUFFER_SIZE);
    audit->writing = malloc(BUFFER_SIZE);
    audit->linked = malloc(3 * BUFFER_SIZE);
    if (!audit->path || !audit->daemon || !audit->filling || !audit->writing || !audit->linked) {
        error_set_errno(error, ENOMEM, "audit");
        audit_free(audit);
        return NULL;
    }
    audit->lost = metrics_counter("reel_audit_lost_total",
                                  "Events that found no room because the file is too slow.", NULL);
    audit->written = metrics_counter("reel_audit_written_total", "Events that were written.", NULL);
    (void)pthread_mutex_init(&audit->mutex, NULL);
    audit_set_key(audit, options->key);
    int fd = condition_init(&audit->changed, error) ? audit_open(options->file, error) : -1;
    if (fd >= 0)
        use_file(audit, fd);
    if (fd < 0 || !loop_thread_start(&audit->thread, "audit", audit_run, audit, error)) {
        audit_free(audit);
        return NULL;
    }
    return audit;
}

void audit_reopen(struct audit *audit)
{
    pthread_mutex_lock(&audit->mutex);
    audit->reopening = true;
    pthread_cond_signal(&audit->changed);
    pthread_mutex_unlock(&audit->mutex);
}

void audit_destroy(struct audit *audit)
{
    int64_t until_ms = clock_monotonic_ms() + END_MS, left_ms;

    if (!audit)
        return;
    pthread_mutex_lock(&audit->mutex);
    audit->stopping = true;
    pthread_cond_signal(&audit->changed); /* only the thread waits there, as long as it is not stopping */
    while (!audit->ended && (left_ms = until_ms - clock_monotonic_ms()) > 0)
        condition_wait_ms(&audit->changed, &audit->mutex, left_ms);
    bool ended = audit->ended;
    pthread_mutex_unlock(&audit->mutex);
    if (!ended) {
        log_warning("audit", "%s hangs; its last lines are lost", audit->path);
        (void)pthread_detach(audit->thread);
        return;
    }
    (void)pthread_join(audit->thread, NULL);
    (void)pthread_cond_destroy(&audit->changed);
    (void)pthread_mutex_destroy(&audit->mutex);
    audit_free(audit);
}
