/*
 * listener: two states: it watches its sockets, or it is paused. It pauses where all places are taken or the system has
 * nothing left, and looks again when a place becomes free, when another loop wants help, and ten times per second.
 */
#include "common/loop/listener.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_TURN 24   /* connections accepted before others have their turn */
#define REST_MAX    4096 /* the same before the end, when there is no other turn */
#define LOOK_MS     100  /* while paused */
#define LOG_MS      10000
#define REFUSED_MINIMUM                                                                                      \
    16 /* connections beyond the limit that may be open to be refused; or an eighth of it */

struct listener_socket {
    struct listener *owner;
    int fd;
    struct event event;
};

struct listener {
    struct listener_options options; /* `addresses` is not kept */
    struct listen_waiter waiter;
    struct task task; /* a place may be free, or another loop wants one */
    atomic_bool posted;
    bool orphan; /* destroyed while posted: the task frees it */
    bool paused, closed;
    int64_t full_since_ms; /* 0: not full */
    struct event timer;
    uint16_t port;
    size_t count;
    struct listener_socket sockets[];
};

static struct log_gate failure_gate, watch_gate;

static struct listener_bounds bounds_of(const struct listener *listener)
{
    struct listener_bounds bounds;

    listener->options.bounds(listener->options.argument, &bounds);
    return bounds;
}

static bool listener_is_full(const struct listener *listener)
{
    return listen_limits_connections(listener->options.limits) >= bounds_of(listener).connections_max;
}

/* ---- watching and pausing ---- */

static void listener_unwatch(struct listener *listener)
{
    for (size_t i = 0; i < listener->count; i++)
        event_del(&listener->sockets[i].event);
    listener->paused = true;
}

static void listener_watch(struct listener *listener)
{
    uint64_t suppressed;

    listener->paused = false;
    for (size_t i = 0; i < listener->count; i++) {
        if (event_add(&listener->sockets[i].event, NULL) == 0)
            continue;
        if (log_gate_open(&watch_gate, LOG_MS, &suppressed))
            log_error(listener->options.room,
                      "cannot watch a listening socket: %m; new connections wait; retrying every %d ms",
                      LOOK_MS);
        listener_unwatch(listener);
        return;
    }
}

/* Until the timer or a place that becomes free. Without a timer, which only a want of memory can refuse, it does not
 * pause: that costs processor time, where a listener that never wakes would cost the service. */
static void pause_accepting(struct listener *listener)
{
    const struct timeval delay = duration_timeval(LOOK_MS);

    if (!listener->paused)
        listener_unwatch(listener);
    if (event_pending(&listener->timer, EV_TIMEOUT, NULL))
        return;
    if (event_add(&listener->timer, &delay) != 0) {
        log_error(listener->options.room, "cannot arm the timer of a paused listener; it resumes at once");
        listener_watch(listener);
    }
}

/* How many wait in the kernel to be accepted: what a listening socket says as unacknowledged (tcp_get_info()). */
static size_t count_waiting(const struct listener *listener)
{
    size_t count = 0;

    for (size_t i = 0; i < listener->count; i++) {
        struct tcp_info info = {0};
        socklen_t size = sizeof(info);

        if (getsockopt(listener->sockets[i].fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
            count += info.tcpi_unacked;
    }
    return count;
}

/* All places are taken and none of this loop's can be spared. ASKS: the other loops are asked for one; whoever is asked
 * does not ask back. */
static void wait_for_place(struct listener *listener, bool asks)
{
    struct listen_limits *limits = listener->options.limits;

    if (listener->full_since_ms == 0)
        listener->full_since_ms = clock_monotonic_ms();
    listen_limits_wait(limits, &listener->waiter);
    /* A place that was given back before that wakes nobody. */
    if (!listener_is_full(listener))
        listener->waiter.wake(&listener->waiter);
    if (asks)
        listen_limits_want(limits, &listener->waiter, count_waiting(listener));
    pause_accepting(listener);
}

static void help_others(struct listener *listener)
{
    const struct listener_options *options = &listener->options;
    size_t wanted;

    if (!options->has_room(options->argument))
        return;
    wanted = listen_limits_take_wanted(options->limits);
    while (wanted-- > 0 && listener_is_full(listener) && options->make_room(options->argument))
        ;
}

/* ---- accepting ---- */

enum outcome {
    TAKEN,
    NOTHING, /* waits at this socket */
    FULL,
    UNABLE, /* the system has nothing left */
};

static enum outcome accept_failed(struct listener *listener, int failure)
{
    const struct listener_options *options = &listener->options;
    uint64_t suppressed;

    switch (failure) {
    case EAGAIN:
        return NOTHING;
    case EINTR:
    case ECONNABORTED: /* this one peer's trouble: it is gone, others wait (accept(2)) */
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPERM:
        return TAKEN;
    default:
        break;
    }
    if (options->errors)
        metric_add(options->errors, 1);
    if (log_gate_open(&failure_gate, LOG_MS, &suppressed))
        log_warning(options->room,
                    "cannot accept a connection: %s; %zu are open; retrying (%" PRIu64
                    " more like it not shown)",
                    strerrordesc_np(failure), listen_limits_connections(options->limits), suppressed);
    return options->make_room(options->argument) ? TAKEN : UNABLE;
}

/* Accepts one connection. REFUSE: it has waited for too long, and is accepted to be refused. */
static enum outcome accept_one(struct listener_socket *socket, bool refuse)
{
    struct listener *listener = socket->owner;
    const struct listener_options *options = &listener->options;
    struct listener_bounds bounds = bounds_of(listener);
    struct socket_address peer = {.length = sizeof(peer.storage)};
    struct listen_place place;
    bool placed = !refuse && listen_limits_take(options->limits, bounds.connections_max);
    int fd;

    if (refuse && listen_limits_connections(options->limits) >=
                      bounds.connections_max + max_size(bounds.connections_max / 8, REFUSED_MINIMUM))
        return FULL;
    if (!refuse && !placed && !options->has_room(options->argument))
        return FULL;
    fd = accept4(socket->fd, (struct sockaddr *)&peer.storage, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int failure = errno;

        if (placed)
            listen_limits_give(options->limits);
        return accept_failed(listener, failure);
    }
    if (!placed) {
        if (!refuse)
            (void)options->make_room(options->argument);
        listen_limits_take_more(options->limits);
    }
    if (!listen_limits_enter(options->limits, &place, (struct sockaddr *)&peer.storage,
                             bounds.connections_per_address))
        refuse = true;
    if (!options->take(options->argument, fd, &peer, &place, refuse))
        listen_limits_leave(options->limits, &place);
    return TAKEN;
}

static enum outcome accept_some(struct listener_socket *socket, int most, bool refuse)
{
    enum outcome outcome = TAKEN;

    for (int i = 0; i < most && outcome == TAKEN; i++)
        outcome = accept_one(socket, refuse);
    return outcome;
}

void listener_take_rest(struct listener *listener)
{
    if (!listener || listener->closed)
        return;
    for (size_t i = 0; i < listener->count; i++)
        (void)accept_some(&listener->sockets[i], REST_MAX, false);
}

static void on_acceptable(evutil_socket_t fd, short events, void *argument)
{
    struct listener_socket *socket = argument;

    (void)fd;
    (void)events;
    switch (accept_some(socket, ACCEPT_TURN, false)) {
    case TAKEN:
    case NOTHING:
        break;
    case FULL:
        wait_for_place(socket->owner, true);
        break;
    case UNABLE:
        pause_accepting(socket->owner);
        break;
    }
}

/* Resumes what was put off. */
static void listener_look(struct listener *listener, bool asks)
{
    const struct listener_options *options = &listener->options;
    int64_t refuse_after_ms = bounds_of(listener).refuse_after_ms;

    if (listener->closed || !listener->paused)
        return;
    if (!listener_is_full(listener) || options->has_room(options->argument)) {
        listener->full_since_ms = 0;
        listener_watch(listener);
        if (listener->paused)
            pause_accepting(listener);
        return;
    }
    wait_for_place(listener, asks);
    if (!asks || refuse_after_ms < 0 || clock_monotonic_ms() - listener->full_since_ms < refuse_after_ms)
        return;
    for (size_t i = 0; i < listener->count; i++)
        (void)accept_some(&listener->sockets[i], ACCEPT_TURN, true);
}

static void on_listener_timer(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    listener_look(argument, true);
}

static void on_listener_task(struct task *task)
{
    struct listener *listener = CONTAINER_OF(task, struct listener, task);

    atomic_store(&listener->posted, false);
    if (listener->orphan) {
        free(listener);
        return;
    }
    if (!listener->closed)
        help_others(listener);
    listener_look(listener, false);
}

static void wake_listener(struct listen_waiter *waiter)
{
    struct listener *listener = CONTAINER_OF(waiter, struct listener, waiter);

    if (!atomic_exchange(&listener->posted, true))
        loop_post(listener->options.loop, &listener->task);
}

/* ---- beginning and end ---- */

static bool add_socket(struct listener *listener, struct socket_address *address, struct error *error)
{
    struct listener_socket *socket = &listener->sockets[listener->count];
    int fd = bind_socket(address, &listener->options.sockets, error);

    if (fd < 0)
        return false;
    socket->owner = listener;
    socket->fd = fd;
    ASSERT(event_assign(&socket->event, loop_base(listener->options.loop), fd, EV_READ | EV_PERSIST,
                        on_acceptable, socket) == 0);
    listener->count++; /* from here listener_close() closes it */
    if (event_add(&socket->event, NULL) != 0)
        return error_set_errno(error, errno, "cannot watch a listening socket");
    return true;
}

struct listener *listener_create(const struct listener_options *options, struct error *error)
{
    size_t count = options->addresses->count;
    struct listener *listener = calloc(1, sizeof(*listener) + count * sizeof(listener->sockets[0]));

    if (!listener) {
        error_set_errno(error, ENOMEM, "cannot listen");
        return NULL;
    }
    listener->options = *options;
    listener->options.addresses = NULL;
    listener->waiter.wake = wake_listener;
    listener->task.run = on_listener_task;
    ASSERT(event_assign(&listener->timer, loop_base(options->loop), -1, 0, on_listener_timer, listener) == 0);
    listen_limits_register(options->limits, &listener->waiter);
    for (size_t i = 0; i < count; i++) {
        if (!add_socket(listener, &options->addresses->items[i], error)) {
            listener_destroy(listener);
            return NULL;
        }
    }
    listener->port = bind_port(&options->addresses->items[0]);
    return listener;
}

void listener_close(struct listener *listener)
{
    if (!listener || listener->closed)
        return;
    listener->closed = true;
    listen_limits_forget(listener->options.limits, &listener->waiter); /* nobody posts from here on */
    listener_unwatch(listener);
    event_del(&listener->timer);
    for (size_t i = 0; i < listener->count; i++)
        (void)close(listener->sockets[i].fd);
    listener->count = 0;
}

void listener_destroy(struct listener *listener)
{
    if (!listener)
        return;
    listener_close(listener);
    if (atomic_load(&listener->posted))
        listener->orphan = true;
    else
        free(listener);
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}
