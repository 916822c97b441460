/*
 * end_guard: waits for a signal and for the time limit in one call.
 */
#include "common/daemon/end_guard.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/loop.h"
#include <errno.h>
#include <signal.h>

static void *guard_end(void *argument)
{
    struct end_guard *guard = argument;
    int64_t until_ms = clock_monotonic_ms() + END_GUARD_LIMIT_MS;
    sigset_t wanted;

    (void)sigemptyset(&wanted);
    (void)sigaddset(&wanted, SIGTERM);
    (void)sigaddset(&wanted, SIGINT);
    for (;;) {
        int64_t left_ms = max_i64(until_ms - clock_monotonic_ms(), 0);
        struct timespec limit = {.tv_sec = (time_t)(left_ms / 1000),
                                 .tv_nsec = (long)(left_ms % 1000 * 1000000)};
        if (sigtimedwait(&wanted, NULL, &limit) > 0)
            guard->end(guard->argument, "a second signal to stop");
        else if (errno == EAGAIN)
            guard->end(guard->argument, "threads are still blocked");
    }
    return NULL;
}

void end_guard_start(struct end_guard *guard, void (*end)(void *argument, const char *why), void *argument)
{
    struct error error;
    sigset_t wanted;

    guard->end = end;
    guard->argument = argument;
    (void)sigemptyset(&wanted);
    (void)sigaddset(&wanted, SIGTERM);
    (void)sigaddset(&wanted, SIGINT);
    (void)sigaddset(&wanted, SIGHUP);
    (void)sigaddset(&wanted, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &wanted, NULL);
    guard->runs = loop_thread_start(&guard->thread, "end", guard_end, guard, &error);
    if (!guard->runs)
        log_warning("daemon", "cannot guard the shutdown against threads that hang: %s", error.text);
}

void end_guard_stop(struct end_guard *guard)
{
    if (!guard->runs)
        return;
    (void)pthread_cancel(guard->thread);
    (void)pthread_join(guard->thread, NULL);
}
