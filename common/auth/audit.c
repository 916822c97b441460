/*
 * audit: a buffer that callers fill and a thread empties. The thread alone touches the file and the chain.
 */
#include "common/auth/audit.h"

#include "common/auth/audit_chain.h"
#include "common/auth/key_mac.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/utf8.h"
#include "common/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)1024 * 1024)
#define LINE_SIZE   8192
#define TAIL_SIZE   ((size_t)64 * 1024) /* of the file, where the last link is looked for */
#define RETRY_S     1
#define END_S       1

struct audit {
    char *path, *daemon;
    struct metric *lost, *written;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    char *filling; /* lines without their end: BUFFER_SIZE */
    size_t filled;
    bool stopping, reopening;
    char key_id[KEY_ID_SIZE]; /* "": no chain */
    uint8_t secret[MAC_SIZE];

    /* the thread's */
    pthread_t thread;
    int fd;
    char *writing;
    char *linked; /* with their ends, which are shorter than two lines: 3 * BUFFER_SIZE */
    uint8_t link[AUDIT_LINK_SIZE];
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

/* ---- lines ---- */

struct audit_text {
    char *at, *end; /* END: behind the last byte that may be written */
    bool full;
};

static void audit_put(struct audit_text *text, const char *bytes, size_t size)
{
    if ((size_t)(text->end - text->at) < size) {
        text->full = true;
        return;
    }
    memcpy(text->at, bytes, size);
    text->at += size;
}

static void audit_put_literal(struct audit_text *text, const char *literal)
{
    audit_put(text, literal, strlen(literal));
}

/* As a JSON string; bytes that are no UTF-8 become the lone surrogate dcXX, which says which byte it was. */
static void audit_put_string(struct audit_text *text, const char *value)
{
    size_t left = strlen(value);
    char escape[8];

    audit_put_literal(text, "\"");
    while (left > 0) {
        uint8_t c = (uint8_t)*value;
        size_t length = utf8_sequence(value, left, NULL);

        if (length == 0) {
            (void)snprintf(escape, sizeof(escape), "\\udc%02x", c);
            audit_put_literal(text, escape);
            length = 1;
        } else if (c < 0x20 || c == 0x7F || c == '"' || c == '\\') {
            (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
            audit_put_literal(text, escape);
        } else {
            audit_put(text, value, length);
        }
        value += length;
        left -= length;
    }
    audit_put_literal(text, "\"");
}

static void audit_put_member(struct audit_text *text, const char *name, const char *value)
{
    if (!value || value[0] == '\0')
        return;
    audit_put_literal(text, ",\"");
    audit_put_literal(text, name);
    audit_put_literal(text, "\":");
    audit_put_string(text, value);
}

static void audit_put_number(struct audit_text *text, const char *name, int64_t value)
{
    char number[64];

    (void)snprintf(number, sizeof(number), ",\"%s\":%" PRId64, name, value);
    audit_put_literal(text, number);
}

static void audit_put_time(struct audit_text *text)
{
    int64_t now_us = clock_wall_us();
    time_t seconds = (time_t)(now_us / 1000000);
    char stamp[64];
    struct tm parts;

    (void)gmtime_r(&seconds, &parts);
    size_t length = strftime(stamp, sizeof(stamp), "{\"time\":\"%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(stamp + length, sizeof(stamp) - length, ".%06dZ\"", (int)(now_us % 1000000));
    audit_put_literal(text, stamp);
}

/* The line without its end, and a newline. 0: it does not fit. */
static size_t format_event(const struct audit *audit, const struct audit_event *event, char line[LINE_SIZE])
{
    struct audit_text text = {.at = line, .end = line + LINE_SIZE};

    audit_put_time(&text);
    audit_put_member(&text, "daemon", audit->daemon);
    audit_put_member(&text, "event", event->event);
    if (event->connection > 0)
        audit_put_number(&text, "connection", (int64_t)event->connection);
    audit_put_member(&text, "peer", event->peer);
    audit_put_member(&text, "key", event->key);
    audit_put_member(&text, "role", event->role);
    audit_put_member(&text, "application", event->application);
    audit_put_member(&text, "user", event->user);
    audit_put_member(&text, "file", event->file);
    if (event->bytes >= 0)
        audit_put_number(&text, "bytes", event->bytes);
    audit_put_number(&text, "outcome", event->outcome);
    audit_put_member(&text, "request", event->request);
    audit_put_member(&text, "text", event->text);
    audit_put_literal(&text, "\n");
    return text.full ? 0 : (size_t)(text.at - line);
}

bool audit_write(struct audit *audit, const struct audit_event *event)
{
    char line[LINE_SIZE];
    size_t size = format_event(audit, event, line);
    bool taken;

    pthread_mutex_lock(&audit->mutex);
    taken = size > 0 && BUFFER_SIZE - audit->filled >= size;
    if (taken) {
        memcpy(audit->filling + audit->filled, line, size);
        audit->filled += size;
        pthread_cond_signal(&audit->changed);
    }
    pthread_mutex_unlock(&audit->mutex);
    if (!taken)
        metric_add(audit->lost, 1);
    return taken;
}

bool audit_works(const struct audit *audit)
{
    return !atomic_load_explicit(&audit->failing, memory_order_relaxed);
}

/* ---- the thread ---- */

/* Writes the end of LINE (of SIZE bytes, without its newline) to OUT; returns its size. */
static size_t link_line(struct audit *audit, const char *key_id, const uint8_t secret[MAC_SIZE],
                        const char *line, size_t size, char *out)
{
    char *at = out + size, text[AUDIT_LINK_HEX + 1];
    const char *limit = at + AUDIT_LINK_END_MAX;

    memcpy(out, line, size);
    if (key_id[0] != '\0') {
        at += snprintf(at, (size_t)(limit - at), AUDIT_BY_MARK "%s\"", key_id);
        audit_chain_compute(secret, audit->link, out, (size_t)(at - out), audit->link);
        audit_chain_format(audit->link, text);
        at += snprintf(at, (size_t)(limit - at), AUDIT_CHAIN_MARK "%s\"", text);
    }
    *at++ = '}';
    *at++ = '\n';
    return (size_t)(at - out);
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

/* Writes until it is written, or the end has waited long enough. */
static void write_stubbornly(struct audit *audit, const char *bytes, size_t size)
{
    static struct log_gate gate;
    size_t done = 0;
    uint64_t suppressed;
    bool stopping = false;

    while (!write_and_sync(audit, bytes, size, &done)) {
        atomic_store(&audit->failing, true);
        if (log_gate_open(&gate, 10000, &suppressed))
            log_error("audit", "%s: cannot be written: %m; trying again each second", audit->path);
        if (stopping)
            return;
        struct timespec pause = {.tv_sec = RETRY_S};
        (void)nanosleep(&pause, NULL);
        pthread_mutex_lock(&audit->mutex);
        stopping = audit->stopping;
        pthread_mutex_unlock(&audit->mutex);
    }
    atomic_store(&audit->failing, false);
}

/* A line that says after which link this file, or this part of it, continues. */
static size_t opening_line(const struct audit *audit, char line[LINE_SIZE])
{
    struct audit_text text = {.at = line, .end = line + LINE_SIZE};
    char hex[AUDIT_LINK_HEX + 1];

    audit_put_time(&text);
    audit_put_member(&text, "daemon", audit->daemon);
    audit_put_member(&text, "event", "open");
    audit_chain_format(audit->link, hex);
    audit_put_member(&text, "follows", hex);
    audit_put_number(&text, "outcome", 0);
    return (size_t)(text.at - line);
}

static void write_opening(struct audit *audit, bool torn, const char *key_id, const uint8_t secret[MAC_SIZE])
{
    char line[LINE_SIZE];
    size_t size = opening_line(audit, line), before = 0;

    if (torn) /* it ends what a crash left, and is not part of the line */
        audit->linked[before++] = '\n';
    size = link_line(audit, key_id, secret, line, size, audit->linked + before);
    write_stubbornly(audit, audit->linked, before + size);
}

static void reopen_file(struct audit *audit, const char *key_id, const uint8_t secret[MAC_SIZE])
{
    struct error error;
    uint8_t link[AUDIT_LINK_SIZE];
    bool torn;
    int fd = audit_open(audit->path, &error);

    if (fd < 0) {
        log_error("audit", "%s; still writing to the old file", error.text);
        return;
    }
    (void)close(audit->fd);
    audit->fd = fd;
    read_last_link(fd, link, &torn);
    static const uint8_t none[AUDIT_LINK_SIZE];
    if (memcmp(link, none, AUDIT_LINK_SIZE) != 0) /* a file that has lines continues its own chain */
        memcpy(audit->link, link, AUDIT_LINK_SIZE);
    write_opening(audit, torn, key_id, secret);
}

static void write_batch(struct audit *audit, size_t size, const char *key_id, const uint8_t secret[MAC_SIZE])
{
    size_t linked = 0;
    int64_t lines = 0;

    for (const char *at = audit->writing, *end = at + size, *newline; at < end; at = newline + 1) {
        newline = memchr(at, '\n', (size_t)(end - at));
        linked += link_line(audit, key_id, secret, at, (size_t)(newline - at), audit->linked + linked);
        lines++;
    }
    write_stubbornly(audit, audit->linked, linked);
    metric_add(audit->written, lines);
}

static void *audit_run(void *argument)
{
    struct audit *audit = argument;
    uint8_t secret[MAC_SIZE];
    char key_id[KEY_ID_SIZE];

    for (;;) {
        pthread_mutex_lock(&audit->mutex);
        while (audit->filled == 0 && !audit->stopping && !audit->reopening)
            pthread_cond_wait(&audit->changed, &audit->mutex);
        size_t size = audit->filled;
        char *full = audit->filling;
        bool reopening = audit->reopening, stopping = audit->stopping;
        audit->filling = audit->writing;
        audit->writing = full;
        audit->filled = 0;
        audit->reopening = false;
        memcpy(key_id, audit->key_id, sizeof(key_id));
        memcpy(secret, audit->secret, sizeof(secret));
        pthread_mutex_unlock(&audit->mutex);
        write_batch(audit, size, key_id, secret);
        if (reopening)
            reopen_file(audit, key_id, secret);
        explicit_bzero(secret, sizeof(secret));
        if (stopping && size == 0)
            return NULL;
    }
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
    bool torn;

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
    audit->fd = audit_open(options->file, error);
    (void)pthread_mutex_init(&audit->mutex, NULL);
    (void)pthread_cond_init(&audit->changed, NULL);
    audit_set_key(audit, options->key);
    if (audit->fd < 0) {
        audit_free(audit);
        return NULL;
    }
    read_last_link(audit->fd, audit->link, &torn);
    write_opening(audit, torn, audit->key_id, audit->secret);
    if (!loop_thread_start(&audit->thread, "audit", audit_run, audit, error)) {
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
    struct timespec limit;

    if (!audit)
        return;
    pthread_mutex_lock(&audit->mutex);
    audit->stopping = true;
    pthread_cond_signal(&audit->changed);
    pthread_mutex_unlock(&audit->mutex);
    (void)clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += END_S + RETRY_S + 1;
    if (pthread_clockjoin_np(audit->thread, NULL, CLOCK_MONOTONIC, &limit) != 0) {
        log_warning("audit", "%s hangs; its last lines are lost", audit->path);
        (void)pthread_detach(audit->thread);
        return;
    }
    (void)pthread_cond_destroy(&audit->changed);
    (void)pthread_mutex_destroy(&audit->mutex);
    audit_free(audit);
}
