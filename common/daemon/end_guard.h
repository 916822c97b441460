/*
 * end_guard: a thread that watches over the end of a daemon. While loops and workers end, no loop takes signals any more:
 * this thread does, and sees to it that a thread which hangs in a system call does not keep the process alive for ever.
 */
#ifndef REEL_COMMON_END_GUARD_H
#define REEL_COMMON_END_GUARD_H

#include "common/base/base.h"
#include <pthread.h>

/* How long threads that hang (in a mount that does not answer) may hold up the exit. */
#define END_GUARD_LIMIT_MS INT64_C(15000)

struct end_guard {
    pthread_t thread;
    bool runs;
    void (*end)(void *argument, const char *why);
    void *argument;
};

/* Blocks the signals that the daemon handles, for the calling thread and those that it starts. END ends the process; it is
 * called on the guard's thread after a second signal to stop, or when the end takes too long. Without a thread a warning
 * is logged. */
void end_guard_start(struct end_guard *guard, void (*end)(void *argument, const char *why), void *argument);
void end_guard_stop(struct end_guard *guard);

#endif
