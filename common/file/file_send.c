/*
 * file_send: see file_send.h. One state, changed by send_enter(); step() is the only place that decides what
 * follows.
 */
#include "common/file/file_send.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/file/file_window.h"
#include "common/base/log.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define BUSY_PAUSE_MS 20 /* until a full queue of the workers is tried again */
#define RATE_SHARE    20 /* a limited transfer moves in pieces of a twentieth of a second */

enum state {
    STATE_RUNNING, /* step() is on the stack, or about to be */
    STATE_YIELD,   /* `task` is posted: other connections have their turn */
    STATE_WORKER,  /* a worker is inside sendfile */
    STATE_WRITE,   /* waits for the peer */
    STATE_PAUSE,   /* waits for the rate limit or a worker */
    STATE_GONE,    /* cancelled while `task` is posted or a worker is inside */
};

struct file_send {
    struct file_send_options options;
    enum state state;
    int64_t left, sent;
    bool cannot_tell; /* see file_window.h */
    bool posted;
    struct event write_event, timer;
    struct task task;
    int64_t blocked_ms; /* since when the peer has taken nothing; 0: it is not waited for */
    int unsent;         /* in the socket's queue when that was last looked at */

    /* What is sent next, and what became of it; written by whoever sent it. Its offset is that of the next
     * byte. */
    struct file_window window;
    struct job job;

    int64_t tokens; /* bytes that the rate limit allows now */
    int64_t tokens_us;

    void (*cancelled)(void *argument);
    void *cancelled_argument;
};

static void step(struct file_send *send);

int file_send_unsent(int socket)
{
    int bytes = 0;

    return ioctl(socket, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

static void send_finish(struct file_send *send, const struct error *error)
{
    void (*done)(void *, int64_t, const struct error *) = send->options.done;
    void *argument = send->options.argument;
    int64_t sent = send->sent;

    event_del(&send->write_event);
    event_del(&send->timer);
    free(send);
    done(argument, sent, error);
}

/* Where the system refuses the event (epoll_ctl(2) for lack of memory or watches), that costs this transfer. */
static void wait_for(struct file_send *send, struct event *event, int64_t delay_ms)
{
    const struct timeval delay = duration_timeval(delay_ms);
    struct error error = {0};

    if (event_add(event, delay_ms > 0 ? &delay : NULL) == 0)
        return;
    error_set_errno(&error, errno, "sending stopped after %lld bytes: the connection cannot be watched",
                    (long long)send->sent);
    error.code = ERROR_UNAVAILABLE;
    send_finish(send, &error);
}

/* The one place where the state changes. DELAY_MS: of the timer or, in STATE_WRITE, of the peer's time (0: no
 * limit). Where it begins to wait for either, it may end the transfer instead: SEND may be gone then. */
static void send_enter(struct file_send *send, enum state state, int64_t delay_ms)
{
    send->state = state;
    switch (state) {
    case STATE_RUNNING:
    case STATE_GONE:
    case STATE_WORKER:
        break;
    case STATE_YIELD:
        send->posted = true;
        loop_post(send->options.loop, &send->task);
        break;
    case STATE_WRITE:
        wait_for(send, &send->write_event, delay_ms);
        break;
    case STATE_PAUSE:
        wait_for(send, &send->timer, max_i64(delay_ms, 1));
        break;
    }
}

/* Puts fresh tokens into the bucket. It holds two pieces, so that a late timer does not cost speed. */
static void send_refill(struct file_send *send)
{
    int64_t rate = send->options.bytes_per_second;
    int64_t now = clock_monotonic_us();
    int64_t elapsed = min_i64(now - send->tokens_us, 1000000);
    int64_t fresh = (int64_t)((double)rate * (double)elapsed / 1e6);

    if (fresh == 0)
        return; /* the time is not lost: it counts again with the next refill */
    send->tokens_us = now;
    send->tokens = min_i64(send->tokens + fresh, max_i64(2 * rate / RATE_SHARE, 1));
}

/* How much may be sent now: 0 when the rate limit says to wait, *DELAY_MS long. */
static size_t next_window(struct file_send *send, int64_t *delay_ms)
{
    int64_t window = min_i64(send->left, FILE_WINDOW_SIZE);
    int64_t rate = send->options.bytes_per_second;
    int64_t piece;

    if (rate <= 0)
        return (size_t)window;
    send_refill(send);
    piece = min_i64(window, max_i64(rate / RATE_SHARE, 1));
    if (send->tokens < piece) {
        *delay_ms = (int64_t)((double)(piece - send->tokens) * 1000.0 / (double)rate) + 1;
        return 0;
    }
    return (size_t)min_i64(window, send->tokens);
}

/* On a worker. */
static void job_run(struct job *job)
{
    file_window_send(&CONTAINER_OF(job, struct file_send, job)->window);
}

static void finish_failed(struct file_send *send)
{
    struct error error = {0};
    long long sent = (long long)send->sent;
    long long offset = (long long)send->window.offset;

    error_set_errno(&error, send->window.errnum,
                    "sending stopped after %lld bytes, at offset %lld of the file", sent, offset);
    error.code = send->window.end == FILE_WINDOW_GONE ? ERROR_CONNECTION : ERROR_IO;
    send_finish(send, &error);
}

static void finish_short(struct file_send *send)
{
    struct error error = {0};

    error_set(&error, ERROR_IO, "the file ends at offset %lld, %lld bytes short of what was requested",
              (long long)send->window.offset, (long long)send->left);
    send_finish(send, &error);
}

static void wait_for_peer(struct file_send *send)
{
    int64_t now = clock_monotonic_ms();
    int64_t limit = send->options.progress_ms;

    if (send->blocked_ms == 0) {
        send->blocked_ms = now;
        send->unsent = file_send_unsent(send->options.to.fd);
    }
    send_enter(send, STATE_WRITE, limit > 0 ? max_i64(send->blocked_ms + limit - now, 1) : 0);
}

/* What follows from what was sent. True: step() continues at once. False: it is waiting, or gone. */
static bool take_result(struct file_send *send)
{
    int64_t sent = (int64_t)send->window.sent;

    if (sent > 0)
        send->blocked_ms = 0;
    send->window.offset += sent;
    send->left -= sent;
    send->sent += sent;
    send->tokens -= sent;
    switch (send->window.end) {
    case FILE_WINDOW_SENT:
        if (send->left > 0)
            return true;
        send_finish(send, NULL);
        break;
    case FILE_WINDOW_BLOCKED:
        wait_for_peer(send);
        break;
    case FILE_WINDOW_SHORT:
        finish_short(send);
        break;
    case FILE_WINDOW_UNREADABLE:
    case FILE_WINDOW_GONE:
        finish_failed(send);
        break;
    }
    return false;
}

static void step(struct file_send *send)
{
    int64_t delay_ms = 0;

    send_enter(send, STATE_RUNNING, 0);
    if (send->left == 0) {
        send_finish(send, NULL);
        return;
    }
    send->window.size = next_window(send, &delay_ms);
    if (send->window.size == 0) {
        send_enter(send, STATE_PAUSE, delay_ms);
    } else if (file_window_is_cached(send->window.fd, send->window.offset, (int64_t)send->window.size,
                                     &send->cannot_tell)) {
        file_window_send(&send->window);
        if (take_result(send))
            send_enter(send, STATE_YIELD, 0);
    } else if (workers_submit(send->options.workers, &send->job)) {
        send_enter(send, STATE_WORKER, 0);
    } else {
        send_enter(send, STATE_PAUSE, BUSY_PAUSE_MS);
    }
}

static void on_task(struct task *task)
{
    struct file_send *send = CONTAINER_OF(task, struct file_send, task);

    send->posted = false;
    if (send->state == STATE_GONE)
        free(send);
    else
        step(send);
}

static void job_done(struct job *job)
{
    struct file_send *send = CONTAINER_OF(job, struct file_send, job);

    if (send->state == STATE_GONE) {
        void (*cancelled)(void *) = send->cancelled;
        void *argument = send->cancelled_argument;

        free(send);
        if (cancelled)
            cancelled(argument);
    } else {
        send_enter(send, STATE_RUNNING, 0);
        if (take_result(send))
            step(send);
    }
}

/* True where the peer has acknowledged something since the last look: a slow reader frees room in the socket
 * long before the kernel calls it writable. */
static bool peer_moves(struct file_send *send)
{
    int before = send->unsent;

    send->unsent = file_send_unsent(send->options.to.fd);
    return send->unsent < before;
}

static void on_writable(evutil_socket_t fd, short events, void *argument)
{
    struct file_send *send = argument;
    struct error error = {0};

    (void)fd;
    if (events & EV_WRITE) {
        step(send);
    } else if (peer_moves(send)) {
        send->blocked_ms = clock_monotonic_ms();
        wait_for_peer(send);
    } else {
        error_set(&error, ERROR_TIMEOUT, "the peer accepted no bytes for %lld ms, after %lld bytes",
                  (long long)send->options.progress_ms, (long long)send->sent);
        send_finish(send, &error);
    }
}

static void on_send_timer(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    step(argument);
}

struct file_send *file_send_start(const struct file_send_options *options, struct error *error)
{
    struct file_send *send = calloc(1, sizeof(*send));
    struct event_base *base = loop_base(options->loop);

    ASSERT(options->offset >= 0 && options->length >= 0 && options->done);
    if (!send) {
        error_set_errno(error, ENOMEM, "cannot send a file");
        return NULL;
    }
    send->options = *options;
    send->window = (struct file_window){.to = options->to, .fd = options->fd, .offset = options->offset};
    send->left = options->length;
    send->tokens_us = clock_monotonic_us();
    send->tokens = max_i64(options->bytes_per_second / RATE_SHARE, 1);
    send->task.run = on_task;
    send->job.run = job_run;
    send->job.done = job_done;
    send->job.loop = options->loop;
    ASSERT(event_assign(&send->write_event, base, options->to.fd, EV_WRITE, on_writable, send) == 0);
    ASSERT(event_assign(&send->timer, base, -1, 0, on_send_timer, send) == 0);
    step(send);
    return send;
}

void file_send_cancel(struct file_send *send, void (*cancelled)(void *argument), void *argument)
{
    bool worker_inside = send->state == STATE_WORKER;

    event_del(&send->write_event);
    event_del(&send->timer);
    if (worker_inside) {
        send->cancelled = cancelled;
        send->cancelled_argument = argument;
    }
    if (worker_inside || send->posted)
        send_enter(send, STATE_GONE, 0);
    else
        free(send);
    if (!worker_inside && cancelled)
        cancelled(argument);
}
