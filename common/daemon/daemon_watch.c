/*
 * daemon_watch: a task for each loop, posted every few seconds; one that has not run by the next time shows that its loop is
 * blocked.
 */
#include "common/daemon/daemon_watch.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#define INTERVAL_SECONDS 5 /* without a watchdog */

/* One loop's question; the task is under way while `asked` is true. */
struct ping {
    struct task task;
    struct daemon_watch *watch;
    atomic_bool asked;
    int64_t asked_us; /* written before the task is posted */
    bool stuck;
};

struct daemon_watch {
    struct loop_group *loops;
    struct event *timer;
    struct metric *delay, *stuck_metric;
    bool has_watchdog;
    size_t stuck;
    size_t count;
    struct ping pings[];
};

/* On the loop that is asked. */
static void watch_answer(struct task *task)
{
    struct ping *ping = CONTAINER_OF(task, struct ping, task);

    metric_observe_us(ping->watch->delay, clock_monotonic_us() - ping->asked_us);
    atomic_store_explicit(&ping->asked, false, memory_order_release);
}

static void watch_look_at(struct daemon_watch *watch, size_t number)
{
    struct ping *ping = &watch->pings[number];
    bool stuck = atomic_load_explicit(&ping->asked, memory_order_acquire);

    if (stuck && !ping->stuck)
        log_error("daemon", "loop %zu of %zu has not answered for %" PRId64 " ms: something blocks it%s",
                  number + 1, watch->count, (clock_monotonic_us() - ping->asked_us) / 1000,
                  watch->has_watchdog ? "; the service manager's watchdog is not notified until it responds"
                                      : "");
    if (!stuck && ping->stuck)
        log_warning("daemon", "loop %zu of %zu answers again", number + 1, watch->count);
    ping->stuck = stuck;
    watch->stuck += stuck;
    if (stuck)
        return;
    ping->asked_us = clock_monotonic_us();
    atomic_store_explicit(&ping->asked, true, memory_order_relaxed);
    loop_post(watch->loops->loops[number], &ping->task);
}

static void on_watch_timer(evutil_socket_t fd, short events, void *argument)
{
    struct daemon_watch *watch = argument;

    (void)fd;
    (void)events;
    watch->stuck = 0;
    for (size_t i = 0; i < watch->count; i++)
        watch_look_at(watch, i);
    metric_set(watch->stuck_metric, (int64_t)watch->stuck);
    if (watch->has_watchdog && watch->stuck == 0)
        (void)sd_notify(0, "WATCHDOG=1");
}

struct daemon_watch *daemon_watch_create(struct loop *main_loop, struct loop_group *loops,
                                         struct error *error)
{
    struct daemon_watch *watch = calloc(1, sizeof(*watch) + loops->count * sizeof(watch->pings[0]));
    struct timeval interval = {INTERVAL_SECONDS, 0};
    uint64_t watchdog_us = 0;

    if (!watch) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    watch->loops = loops;
    watch->count = loops->count;
    for (size_t i = 0; i < watch->count; i++) {
        watch->pings[i].task.run = watch_answer;
        watch->pings[i].watch = watch;
    }
    watch->delay =
        metrics_histogram("reel_daemon_loop_delay_seconds", "Time until a loop runs a posted task.", NULL);
    watch->stuck_metric = metrics_gauge("reel_daemon_loops_stuck", "Loops that do not answer.", NULL);
    watch->has_watchdog = sd_watchdog_enabled(0, &watchdog_us) > 0;
    if (watch->has_watchdog)
        interval = duration_timeval((int64_t)(watchdog_us / 4 / 1000));
    watch->timer = event_new(loop_base(main_loop), -1, EV_PERSIST, on_watch_timer, watch);
    if (!watch->timer || event_add(watch->timer, &interval) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "cannot arm the timer that watches the loops");
        daemon_watch_stop(watch);
        daemon_watch_destroy(watch);
        return NULL;
    }
    return watch;
}

size_t daemon_watch_stuck(const struct daemon_watch *watch)
{
    return watch->stuck;
}

void daemon_watch_stop(struct daemon_watch *watch)
{
    if (!watch || !watch->timer)
        return;
    event_free(watch->timer);
    watch->timer = NULL;
}

void daemon_watch_destroy(struct daemon_watch *watch)
{
    free(watch);
}
