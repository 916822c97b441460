/*
 * log: see log.h. A line is built on the caller's stack and leaves with one write(2), so that lines of
 * several threads or processes never mix and no lock is taken. The target is a descriptor number that stays
 * the same while what is behind it changes (dup3), so that writers need not know of a reopen.
 */
#include "common/base/log.h"

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 4096 /* the newline included */

static struct {
    char program[64];
    char *file;          /* NULL: stderr */
    bool created;        /* log_open() made the file */
    atomic_int fd;       /* what lines are written to */
    atomic_int level;    /* enum log_level */
    atomic_bool journal; /* stderr is the journal: "<N>" instead of time, level, program */
    atomic_bool lost;    /* the last write failed: told once, on stderr */
} target = {.program = "reel", .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO};

/* Guards opening, reopening and closing; writers never take it. */
static pthread_mutex_t target_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct metric *lines_total[LOG_LEVEL_ERROR + 1];
static pthread_once_t lines_once = PTHREAD_ONCE_INIT;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static void register_metrics(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(lines_total); i++) {
        char labels[32];
        (void)snprintf(labels, sizeof(labels), "level=\"%s\"", level_names[i]);
        lines_total[i] = metrics_counter("reel_log_lines_total", "Lines written to the log.", labels);
    }
}

/* systemd tells a service whose stderr is the journal's socket that socket's device and inode. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    char *end;

    if (stream == NULL)
        return false;
    device = strtoull(stream, &end, 10);
    if (*end != ':')
        return false;
    inode = strtoull(end + 1, &end, 10);
    if (*end != '\0')
        return false;
    return fstat(STDERR_FILENO, &status) == 0 && (unsigned long long)status.st_dev == device &&
           (unsigned long long)status.st_ino == inode;
}

static int open_file(const char *path, bool *created)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | O_EXCL, 0640);

    *created = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, flags, 0640);
    return fd;
}

/* Makes NEW_FD (or stderr, for STDERR_FILENO) what lines go to. */
static bool install(int new_fd, struct error *error)
{
    int old = atomic_load(&target.fd);

    if (new_fd != STDERR_FILENO && old != STDERR_FILENO) {
        if (dup3(new_fd, old, O_CLOEXEC) < 0) {
            error_set_errno(error, errno, "cannot switch to the log file");
            (void)close(new_fd);
            return false;
        }
        (void)close(new_fd);
        return true;
    }
    atomic_store(&target.fd, new_fd);
    if (old != STDERR_FILENO)
        (void)close(old);
    return true;
}

bool log_open(const struct log_options *options, struct error *error)
{
    bool to_file = options->file != NULL && options->file[0] != '\0';
    bool created = false, opened = false;
    char *path = NULL;
    int fd = STDERR_FILENO;

    (void)pthread_once(&lines_once, register_metrics);
    (void)pthread_mutex_lock(&target_mutex);
    if (to_file) {
        path = strdup(options->file);
        if (path == NULL) {
            error_set_errno(error, ENOMEM, "cannot open the log file %s", options->file);
            goto done;
        }
        fd = open_file(path, &created);
        if (fd < 0) {
            error_set_errno(error, errno, "cannot open the log file %s", path);
            goto done;
        }
    }
    if (!install(fd, error))
        goto done;
    (void)snprintf(target.program, sizeof(target.program), "%s", options->program);
    free(target.file);
    target.file = path;
    target.created = created;
    path = NULL;
    atomic_store(&target.journal, !to_file && stderr_is_journal());
    atomic_store(&target.level, (int)options->level);
    opened = true;
done:
    (void)pthread_mutex_unlock(&target_mutex);
    free(path);
    return opened;
}

bool log_give(uid_t user, gid_t group, struct error *error)
{
    bool given = true;

    (void)pthread_mutex_lock(&target_mutex);
    if (target.created && fchown(atomic_load(&target.fd), user, group) != 0)
        given = error_set_errno(error, errno, "cannot give the log file %s to user %u", target.file,
                                (unsigned)user);
    (void)pthread_mutex_unlock(&target_mutex);
    return given;
}

void log_reopen(void)
{
    struct error error;
    bool created, failed = false;

    (void)pthread_mutex_lock(&target_mutex);
    if (target.file != NULL) {
        int fd = open_file(target.file, &created);
        if (fd < 0) {
            error_set_errno(&error, errno, "cannot reopen the log file %s", target.file);
            failed = true;
        } else if (!install(fd, &error)) {
            failed = true;
        } else {
            target.created = created;
        }
    }
    (void)pthread_mutex_unlock(&target_mutex);
    if (failed)
        log_error("log", "%s; lines go on into the file that is open", error.text);
}

void log_set_level(enum log_level level)
{
    atomic_store(&target.level, (int)level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&target.level, memory_order_relaxed);
}

void log_close(void)
{
    struct error error;

    (void)pthread_mutex_lock(&target_mutex);
    (void)install(STDERR_FILENO, &error); /* back to stderr: nothing that can fail */
    free(target.file);
    target.file = NULL;
    target.created = false;
    (void)pthread_mutex_unlock(&target_mutex);
}

/* The length of the UTF-8 sequence of a printable character that TEXT begins with (RFC 3629, section 4), 0
 * where the byte must be escaped: control characters of both sets, stray and overlong bytes. */
static size_t printable_length(const unsigned char *text)
{
    unsigned char first = text[0];
    size_t length;

    if (first < 0x80)
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    if (first >= 0xc2 && first <= 0xdf)
        length = 2;
    else if (first >= 0xe0 && first <= 0xef)
        length = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        length = 4;
    else
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) /* also ends at the NUL */
            return 0;
    }
    if ((first == 0xc2 && text[1] < 0xa0) || (first == 0xe0 && text[1] < 0xa0) ||
        (first == 0xed && text[1] > 0x9f) || (first == 0xf0 && text[1] < 0x90) ||
        (first == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* Appends TEXT, escaped, to LINE; returns the new length. CUT says that TEXT is not whole already. Leaves
 * room for the newline, and marks what had to be cut with "...". */
static size_t append_escaped(char *line, size_t length, const char *text, bool cut)
{
    const size_t end = LINE_SIZE - 1 - 3;
    const unsigned char *from = (const unsigned char *)text;

    while (*from != '\0') {
        char piece[8];
        size_t used = printable_length(from), size = used;

        if (used > 0) {
            memcpy(piece, from, used);
        } else {
            const char *named = *from == '\n' ? "\\n" : *from == '\r' ? "\\r" : *from == '\t' ? "\\t" : NULL;
            int printed = named != NULL ? snprintf(piece, sizeof(piece), "%s", named)
                                        : snprintf(piece, sizeof(piece), "\\x%02x", *from);
            used = 1;
            size = (size_t)printed;
        }
        if (length + size > end) {
            cut = true;
            break;
        }
        memcpy(line + length, piece, size);
        length += size;
        from += used;
    }
    if (cut) {
        memcpy(line + length, "...", 3);
        length += 3;
    }
    return length;
}

static size_t begin_line(char *line, size_t size, enum log_level level, const char *room)
{
    static const int priorities[] = {7, 6, 4, 3}; /* sd-daemon(3), syslog(3) */
    int printed;

    if (atomic_load_explicit(&target.journal, memory_order_relaxed)) {
        printed = snprintf(line, size, "<%d>%s: ", priorities[level], room);
    } else {
        int64_t now = clock_wall_us();
        time_t seconds = (time_t)(now / 1000000);
        struct tm utc;
        char stamp[32] = "";

        if (gmtime_r(&seconds, &utc) != NULL)
            (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
        printed = snprintf(line, size, "%s.%03dZ %s %s[%ld] %s: ", stamp, (int)(now / 1000 % 1000),
                           level_names[level], target.program, (long)getpid(), room);
    }
    return printed < 0 ? 0 : min_size((size_t)printed, size - 1);
}

static void write_line(const char *line, size_t length)
{
    ssize_t written;

    do {
        written = write(atomic_load_explicit(&target.fd, memory_order_relaxed), line, length);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)length) {
        atomic_store_explicit(&target.lost, false, memory_order_relaxed);
    } else if (!atomic_exchange(&target.lost, true)) {
        static const char notice[] = "the log cannot be written (disk full?): lines are lost\n";
        (void)!write(STDERR_FILENO, notice, sizeof(notice) - 1);
    }
}

static void write_text(enum log_level level, const char *room, const char *format, va_list arguments)
    PRINTF_LIKE(3, 0);
static void write_text(enum log_level level, const char *room, const char *format, va_list arguments)
{
    char text[LINE_SIZE], line[LINE_SIZE];
    int printed = vsnprintf(text, sizeof(text), format, arguments);
    size_t length = begin_line(line, 256, level, room);

    if (printed < 0)
        (void)snprintf(text, sizeof(text), "(a line that cannot be formatted: %s)", format);
    length = append_escaped(line, length, text, printed >= (int)sizeof(text));
    line[length++] = '\n';
    write_line(line, length);
}

void log_write(enum log_level level, const char *room, const char *format, ...)
{
    int saved_errno = errno;
    va_list arguments;

    if (level >= log_get_level()) {
        (void)pthread_once(&lines_once, register_metrics);
        metric_add(lines_total[level], 1);
        va_start(arguments, format);
        write_text(level, room, format, arguments);
        va_end(arguments);
    }
    errno = saved_errno;
}

bool log_gate_open(struct log_gate *gate, int64_t interval_ms, uint64_t *suppressed)
{
    int64_t now = clock_monotonic_ms();
    int64_t next = __atomic_load_n(&gate->next_ms, __ATOMIC_RELAXED);

    if (now < next || !__atomic_compare_exchange_n(&gate->next_ms, &next, now + interval_ms, false,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        (void)__atomic_fetch_add(&gate->suppressed, 1, __ATOMIC_RELAXED);
        return false;
    }
    uint64_t swallowed = __atomic_exchange_n(&gate->suppressed, 0, __ATOMIC_RELAXED);
    if (suppressed != NULL)
        *suppressed = swallowed;
    return true;
}

_Noreturn void log_fatal(const char *room, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_text(LOG_LEVEL_ERROR, room, format, arguments);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

static void write_plain(const char *room, const char *format, ...) PRINTF_LIKE(2, 3);
static void write_plain(const char *room, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    write_text(LOG_LEVEL_ERROR, room, format, arguments);
    va_end(arguments);
}

_Noreturn void log_assert_failed(const char *file, int line, const char *function, const char *condition)
{
    /* Without the metrics, which may be what failed. */
    write_plain("assert", "%s:%d: %s: \"%s\" does not hold", file, line, function, condition);
    abort();
}
