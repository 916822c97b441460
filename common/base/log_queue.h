/*
 * log_queue: the lines of the log on their way to a descriptor that may block (a pipe that nobody reads, a full disk on the
 * network): a ring of bounded size, written by a thread of its own. Whoever logs never waits; lines for which there is no
 * room are dropped and counted. Process-wide, like the log; only log.c calls it.
 */
#ifndef REEL_COMMON_LOG_QUEUE_H
#define REEL_COMMON_LOG_QUEUE_H

#include "common/base/base.h"
#include "common/base/error.h"

#define LOG_QUEUE_LINE_MAX 4096 /* bytes of one line, the newline included */

/* What the thread does with a line, and with the news that COUNT lines were dropped before the next one. Both may block.
 * FD is what rescue() writes to. */
struct log_queue_target {
    void (*write)(const char *line, size_t length);
    void (*dropped)(uint64_t count);
    int (*fd)(void);
};

/* Starts the thread. After a fork there is none in the child. */
MUST_CHECK bool log_queue_start(const struct log_queue_target *target, struct error *error);

enum log_queue_result {
    LOG_QUEUE_TAKEN,
    LOG_QUEUE_DROPPED, /* there was no room */
    LOG_QUEUE_NONE,    /* there is no thread: the caller writes itself */
};

/* Takes a copy of LINE, which ends with a newline. Any thread; never blocks for longer than copying a line takes. */
MUST_CHECK enum log_queue_result log_queue_put(const char *line, size_t length);

/* Waits, at most TIMEOUT_MS, until everything that was put before is written. False: it is not. */
bool log_queue_flush(int64_t timeout_ms);

/* Flushes and ends the thread; one that hangs in a write is left alone. */
void log_queue_stop(int64_t timeout_ms);

/* For a process that is about to die, also in a signal handler: writes what is left itself, as far as the descriptor takes
 * it: a second without room for a line ends it, and ten seconds in all. */
void log_queue_rescue(void);

#endif
