/*
 * log: levelled lines, one write(2) each, from any thread. Process-wide, like stderr. Once log_start() was called a thread
 * writes them (common/base/log_queue.h), so that a log that nobody reads blocks no other thread; before that, the calling thread.
 *   2026-11-22T01:16:08.123Z warning storage[4711] upload: c12: ...
 * (time in UTC; level; daemon[pid]; the room that logs; the text, which begins with the connection id cN where
 * there is one). To stderr, a file, or the journal's native "<N>" prefix on stderr when JOURNAL_STREAM says so.
 */
#ifndef REEL_COMMON_LOG_H
#define REEL_COMMON_LOG_H

#include "common/base/base.h"
#include "common/base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

struct log_options {
    const char *program;  /* name in the lines */
    const char *file;     /* NULL or "": stderr */
    enum log_level level; /* lines below are dropped */
};

/* Opens the target; a file that is a symbolic link is refused. Before the first call lines go to stderr at level info. Failure
 * keeps the earlier target. */
MUST_CHECK bool log_open(const struct log_options *options, struct error *error);

/* Reopens the file (after logrotate moved it). False: the old one stays open; the log says so, once a minute at most where this is
 * tried again, and how long it lasted. */
bool log_reopen(void);

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* From here on lines leave by a thread, and those that it cannot keep up with are dropped, counted
 * (reel_log_dropped_lines_total) and reported once there is room. What is in the queue when the process crashes (a signal of a fault,
 * abort(3)) is written then. After the last fork(2). */
MUST_CHECK bool log_start(struct error *error);

/* Waits, at most TIMEOUT_MS, until the lines so far are written. */
void log_flush(int64_t timeout_ms);

/* The end: writes what is left, for a second at most, and goes back to stderr. */
void log_close(void);

/* The lines. Control characters in the text are escaped (\n, \x1b), so that one call is always one line; cut at
 * 4 KiB. Keeps errno. ROOM is a short literal, e.g. "upload". Counted in reel_log_lines_total{level}. */
void log_write(enum log_level level, const char *room, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(room, ...)                                                                                 \
    do {                                                                                                     \
        if (log_get_level() <= LOG_LEVEL_DEBUG)                                                              \
            log_write(LOG_LEVEL_DEBUG, room, __VA_ARGS__);                                                   \
    } while (0)
#define log_info(room, ...)    log_write(LOG_LEVEL_INFO, room, __VA_ARGS__)
#define log_warning(room, ...) log_write(LOG_LEVEL_WARNING, room, __VA_ARGS__)
#define log_error(room, ...)   log_write(LOG_LEVEL_ERROR, room, __VA_ARGS__)

/* For what may happen a thousand times per second: true at most once in INTERVAL_MS for this place; *SUPPRESSED
 * gets how many were swallowed since. GATE is a zeroed static of the caller. Any thread. */
struct log_gate {
    int64_t next_ms;
    uint64_t suppressed;
};
bool log_gate_open(struct log_gate *gate, int64_t interval_ms, uint64_t *suppressed);

/* For what strangers can make happen as often as they like, but operators want to see: true for PER_SECOND lines of each
 * second; *SUPPRESSED gets how many were swallowed since the last one. RATE is a zeroed static of the caller. Any thread. */
struct log_rate {
    int64_t second;
    uint64_t lines, suppressed;
};
bool log_rate_open(struct log_rate *rate, uint64_t per_second, uint64_t *suppressed);

/* What cannot happen, also in release builds: writes what the queue holds, logs the place and aborts. */
#define ASSERT(condition)                                                                                    \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0))                                                               \
            log_assert_failed(__FILE__, __LINE__, __func__, #condition);                                     \
    } while (0)
_Noreturn void log_assert_failed(const char *file, int line, const char *function, const char *condition);

#endif
