/*
 * daemon_logs: the log is tried again here; the audit log and an access log try again by themselves, on their threads.
 */
#include "common/daemon/daemon_logs.h"

#include "common/auth/audit.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

#define RETRY_MS       1000
#define LIBEVENT_LINES 10 /* a second */

struct daemon_logs {
    struct daemon *daemon;
    struct event *timer; /* pending while the log is to be tried again */
};

static void reopen_log(struct daemon_logs *logs)
{
    const struct timeval pause = duration_timeval(RETRY_MS);

    event_del(logs->timer);
    if (!log_reopen() && event_add(logs->timer, &pause) != 0)
        log_error("daemon", "cannot arm the timer that reopens the log: send SIGUSR1 again");
}

static void on_logs_timer(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    reopen_log(argument);
}

struct daemon_logs *daemon_logs_create(struct daemon *daemon, struct error *error)
{
    struct daemon_logs *logs = calloc(1, sizeof(*logs));

    if (logs)
        logs->timer = evtimer_new(loop_base(daemon->main_loop), on_logs_timer, logs);
    if (!logs || !logs->timer) {
        error_set(error, ERROR_UNAVAILABLE, "cannot create the timer that reopens the log: out of memory");
        free(logs);
        return NULL;
    }
    logs->daemon = daemon;
    return logs;
}

void daemon_logs_destroy(struct daemon_logs *logs)
{
    if (!logs)
        return;
    event_free(logs->timer);
    free(logs);
}

void daemon_logs_reopen(struct daemon_logs *logs)
{
    struct daemon *daemon = logs->daemon;

    reopen_log(logs);
    if (daemon->audit)
        audit_reopen(daemon->audit);
    if (daemon->spec->reopen_logs)
        daemon->spec->reopen_logs(daemon);
}

/* What peers can make it log (accept(2) without descriptors, epoll_ctl(2) that is refused) it logs without end. */
static void log_libevent(int severity, const char *text)
{
    static struct log_rate rate;
    uint64_t suppressed;

    if (severity < EVENT_LOG_WARN)
        log_debug("libevent", "%s", text);
    else if (log_rate_open(&rate, LIBEVENT_LINES, &suppressed))
        log_write(severity >= EVENT_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "libevent",
                  "%s (%" PRIu64 " more not shown)", text, suppressed);
}

void daemon_logs_take_libevent(void)
{
    event_set_log_callback(log_libevent);
}
