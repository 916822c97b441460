/*
 * log: builds a line on the caller's stack, which leaves with one write(2), so that lines of several threads or
 * processes never mix. The target is a descriptor number that stays the same while what is behind it changes (dup3), so that
 * writers need not know of a reopen.
 */
#include "common/base/log.h"

#include "common/base/clock.h"
#include "common/base/log_queue.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE LOG_QUEUE_LINE_MAX /* the newline included */
#define ASSERT_MS 5000               /* that a process which is about to abort waits for its earlier lines */
#define END_MS    1000               /* that a process waits at its end for a log that nobody reads */
#define FAILED_MS 60000              /* between two lines about a file that cannot be reopened */

static struct {
    char program[64];
    char *file;               /* NULL: stderr */
    int64_t failing_since_ms; /* when it could not be reopened for the first time; 0: it was */
    atomic_int fd;            /* what lines are written to */
    atomic_int level;         /* enum log_level */
    atomic_bool journal;      /* stderr is the journal: "<N>" instead of time, level, program */
    atomic_bool lost;         /* the last write failed: reported once, on stderr */
    atomic_bool torn;         /* and left the beginning of a line, which the next one ends */
} target = {.program = "reel", .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO};

/* Guards opening, reopening and closing; writers never take it. */
static pthread_mutex_t target_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct metric *lines_total[LOG_LEVEL_ERROR + 1], *dropped_total;
static pthread_once_t lines_once = PTHREAD_ONCE_INIT;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static void log_register_metrics(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(lines_total); i++) {
        char labels[32];
        (void)snprintf(labels, sizeof(labels), "level=\"%s\"", level_names[i]);
        lines_total[i] = metrics_counter("reel_log_lines_total", "Lines written to the log.", labels);
    }
    dropped_total = metrics_counter("reel_log_dropped_lines_total",
                                    "Lines that found no room in the queue of the log.", NULL);
}

/* systemd passes the device and inode of the journal's socket to a service whose stderr is that socket. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat status;
    char *end;

    if (!stream)
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

/* Not through a symbolic link, which anyone who may write to the directory could have put there. -1 with errno. */
static int log_open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0640);
}

static bool open_failed(const char *verb, const char *path, int failure, struct error *error)
{
    if (failure == ELOOP)
        return error_set(error, ERROR_REFUSED, "cannot %s the log file %s: it is a symbolic link", verb,
                         path);
    return error_set_errno(error, failure, "cannot %s the log file %s", verb, path);
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
        atomic_store(&target.torn, false);
        return true;
    }
    atomic_store(&target.torn, false);
    atomic_store(&target.fd, new_fd);
    if (old != STDERR_FILENO)
        (void)close(old);
    return true;
}

bool log_open(const struct log_options *options, struct error *error)
{
    bool to_file = options->file && options->file[0] != '\0';
    bool opened = false;
    char *path = NULL;
    int fd = STDERR_FILENO;

    (void)pthread_once(&lines_once, log_register_metrics);
    (void)pthread_mutex_lock(&target_mutex);
    if (to_file) {
        path = strdup(options->file);
        if (!path) {
            error_set_errno(error, ENOMEM, "cannot open the log file %s", options->file);
            goto done;
        }
        fd = log_open_file(path);
        if (fd < 0) {
            (void)open_failed("open", path, errno, error);
            goto done;
        }
    }
    if (!install(fd, error))
        goto done;
    (void)snprintf(target.program, sizeof(target.program), "%s", options->program);
    free(target.file);
    target.file = path;
    target.failing_since_ms = 0;
    path = NULL;
    atomic_store(&target.journal, !to_file && stderr_is_journal());
    atomic_store(&target.level, (int)options->level);
    opened = true;
done:
    (void)pthread_mutex_unlock(&target_mutex);
    free(path);
    return opened;
}

/* The mutex is held. */
static bool open_anew(struct error *error)
{
    int fd = log_open_file(target.file);

    return fd >= 0 ? install(fd, error) : open_failed("reopen", target.file, errno, error);
}

bool log_reopen(void)
{
    static struct log_gate gate;
    struct error error = {0};
    bool opened = true;

    (void)pthread_mutex_lock(&target_mutex);
    int64_t now_ms = clock_monotonic_ms(), failing_ms = now_ms - target.failing_since_ms;
    bool failed_before = target.failing_since_ms != 0;
    if (target.file)
        opened = open_anew(&error);
    if (opened || !failed_before)
        target.failing_since_ms = opened ? 0 : now_ms;
    (void)pthread_mutex_unlock(&target_mutex);
    /* At most once a minute, and at once where it is news. */
    if (!opened && (log_gate_open(&gate, FAILED_MS, NULL) || !failed_before))
        log_error("log", "%s; still writing to the file that is open", error.text);
    else if (opened && failed_before)
        log_warning("log",
                    "the log file is open again; lines of the last %" PRId64
                    " ms are in the file that was open before",
                    failing_ms);
    return opened;
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

    log_queue_stop(END_MS);
    (void)pthread_mutex_lock(&target_mutex);
    (void)install(STDERR_FILENO, &error); /* back to stderr: nothing that can fail */
    free(target.file);
    target.file = NULL;
    target.failing_since_ms = 0;
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
            int printed = named ? snprintf(piece, sizeof(piece), "%s", named)
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

        if (gmtime_r(&seconds, &utc))
            (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
        printed = snprintf(line, size, "%s.%03dZ %s %s[%ld] %s: ", stamp, (int)(now / 1000 % 1000),
                           level_names[level], target.program, (long)getpid(), room);
    }
    return printed < 0 ? 0 : min_size((size_t)printed, size - 1);
}

static void write_line(const char *line, size_t length)
{
    char newline = '\n';
    size_t begin = atomic_exchange(&target.torn, false) ? 1 : 0;
    struct iovec parts[] = {{.iov_base = &newline, .iov_len = begin},
                            {.iov_base = (char *)line, .iov_len = length}};
    ssize_t written;

    do {
        written = writev(atomic_load_explicit(&target.fd, memory_order_relaxed), parts, ARRAY_SIZE(parts));
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)(begin + length)) {
        atomic_store_explicit(&target.lost, false, memory_order_relaxed);
        return;
    }
    if (begin == 1 ? written != 1 : written > 0) /* with the newline alone the file ends as it should */
        atomic_store(&target.torn, true);
    if (!atomic_exchange(&target.lost, true)) {
        static const char notice[] = "the log cannot be written (disk full?): lines are lost\n";
        (void)!write(STDERR_FILENO, notice, sizeof(notice) - 1);
    }
}

/* LINE has LINE_SIZE bytes; returns the length of the whole line. */
static size_t build_line(char *line, enum log_level level, const char *room, const char *format,
                         va_list arguments) PRINTF_LIKE(4, 0);
static size_t build_line(char *line, enum log_level level, const char *room, const char *format,
                         va_list arguments)
{
    char text[LINE_SIZE];
    int printed = vsnprintf(text, sizeof(text), format, arguments);
    size_t length = begin_line(line, 256, level, room);

    if (printed < 0)
        (void)snprintf(text, sizeof(text), "(a line that cannot be formatted: %s)", format);
    length = append_escaped(line, length, text, printed >= (int)sizeof(text));
    line[length++] = '\n';
    return length;
}

/* Past the queue. */
static void write_now(enum log_level level, const char *room, const char *format, ...) PRINTF_LIKE(3, 4);
static void write_now(enum log_level level, const char *room, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    write_line(line, build_line(line, level, room, format, arguments));
    va_end(arguments);
}

void log_write(enum log_level level, const char *room, const char *format, ...)
{
    int saved_errno = errno;
    va_list arguments;

    if (level >= log_get_level()) {
        char line[LINE_SIZE];
        size_t length;

        (void)pthread_once(&lines_once, log_register_metrics);
        metric_add(lines_total[level], 1);
        va_start(arguments, format);
        length = build_line(line, level, room, format, arguments);
        va_end(arguments);
        switch (log_queue_put(line, length)) {
        case LOG_QUEUE_TAKEN:
            break;
        case LOG_QUEUE_DROPPED:
            metric_add(dropped_total, 1);
            break;
        case LOG_QUEUE_NONE:
            write_line(line, length);
            break;
        }
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
    if (suppressed)
        *suppressed = swallowed;
    return true;
}

bool log_rate_open(struct log_rate *rate, uint64_t per_second, uint64_t *suppressed)
{
    int64_t second = clock_coarse_ms() / 1000;
    int64_t before = __atomic_load_n(&rate->second, __ATOMIC_RELAXED);

    /* Two threads may begin a second at once: then it has a few lines more. */
    if (second != before && __atomic_compare_exchange_n(&rate->second, &before, second, false,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        __atomic_store_n(&rate->lines, 0, __ATOMIC_RELAXED);
    if (__atomic_fetch_add(&rate->lines, 1, __ATOMIC_RELAXED) >= per_second) {
        (void)__atomic_fetch_add(&rate->suppressed, 1, __ATOMIC_RELAXED);
        return false;
    }
    *suppressed = __atomic_exchange_n(&rate->suppressed, 0, __ATOMIC_RELAXED);
    return true;
}

/* ---- the queue, and the end of a process that crashes ---- */

static int target_fd(void)
{
    return atomic_load(&target.fd);
}

static void tell_dropped(uint64_t count)
{
    write_now(LOG_LEVEL_WARNING, "log", "%" PRIu64 " lines were dropped: the log is not written fast enough",
              count);
}

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction before_us[ARRAY_SIZE(fatal_signals)];

/* Writes what the queue holds, then lets the earlier handler (a sanitizer's; else the system's) end the process: a fault
 * happens again when the instruction is tried again, abort(3) goes on by itself, and a signal that was sent is sent again. */
static void on_fatal_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;

    (void)context;
    log_queue_rescue();
    for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
        if (fatal_signals[i] == number)
            (void)sigaction(number, &before_us[i], NULL);
    }
    if (number != SIGABRT && info->si_code <= 0)
        (void)raise(number);
    errno = saved_errno;
}

static void catch_fatal_signals(void)
{
    struct sigaction action = {.sa_sigaction = on_fatal_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
        struct sigaction before;

        if (sigaction(fatal_signals[i], &action, &before) == 0 && before.sa_sigaction != on_fatal_signal)
            before_us[i] = before;
    }
}

bool log_start(struct error *error)
{
    static const struct log_queue_target queue_target = {write_line, tell_dropped, target_fd};

    if (!log_queue_start(&queue_target, error))
        return false;
    catch_fatal_signals();
    return true;
}

void log_flush(int64_t timeout_ms)
{
    (void)log_queue_flush(timeout_ms);
}

/* Whether a line would be taken within END_MS. */
static bool takes_lines(void)
{
    struct pollfd waits = {.fd = target_fd(), .events = POLLOUT};

    return poll(&waits, 1, END_MS) == 1;
}

_Noreturn void log_assert_failed(const char *file, int line, const char *function, const char *condition)
{
    (void)log_queue_flush(ASSERT_MS);
    /* Past the queue and without the metrics, which may be what failed. */
    if (takes_lines())
        write_now(LOG_LEVEL_ERROR, "assert", "%s:%d: %s: \"%s\" does not hold", file, line, function,
                  condition);
    abort();
}
