/*
 * packet_connection: see packet_connection.h. Events, timers and tasks do no more than enter
 * packet_connection_run(), which goes step by step until the state stands still. So handlers that reply at
 * once, and pipelined requests, make a loop and never a recursion.
 */
#include "common/serve/packet_connection.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static bool wants_input(const struct packet_connection *connection)
{
    if (connection->rest)
        return false;
    switch (connection->state) {
    case PACKET_IDLE:
    case PACKET_HEADER:
    case PACKET_BODY:
    case PACKET_READING:
    case PACKET_LINGERING:
        return !connection->ended;
    case PACKET_DRAINING:
        return !connection->ended && connection->body_left > 0;
    case PACKET_HANDLING:
    case PACKET_REPLYING:
    case PACKET_SENDING:
    case PACKET_CANCELLED:
    case PACKET_CLOSED:
        break;
    }
    return false;
}

static void arm_timer(struct packet_connection *connection)
{
    int64_t delay = max_i64(connection->deadline_ms - clock_monotonic_ms(), 1);
    const struct timeval timeout = duration_timeval(delay);

    connection->armed_ms = connection->deadline_ms;
    ASSERT(event_add(&connection->timer, &timeout) == 0);
}

/*
 * The read event stays armed through a request and is taken out only when it fires at the wrong time; the
 * timer stays armed while deadlines move away and looks again when it fires. So a request in one piece with a
 * reply in one piece costs no epoll_ctl(2) and seldom a timer.
 */
static void arm(struct packet_connection *connection)
{
    if (!connection->lane->loop)
        return;
    if (!connection->read_armed && wants_input(connection)) {
        connection->read_armed = true;
        ASSERT(event_add(&connection->read_event, NULL) == 0);
    }
    if (!connection->write_armed && (connection->body || connection->rest)) {
        connection->write_armed = true;
        ASSERT(event_add(&connection->write_event, NULL) == 0);
    }
    if (connection->deadline_ms > 0 &&
        (connection->armed_ms == 0 || connection->deadline_ms < connection->armed_ms))
        arm_timer(connection);
}

void packet_connection_forget_events(struct packet_connection *connection)
{
    event_del(&connection->read_event);
    event_del(&connection->write_event);
    event_del(&connection->timer);
}

static void close_connection(struct packet_connection *connection)
{
    struct packet_lane *lane = connection->lane;
    struct packet_server *server = lane->server;

    if (lane->loop)
        packet_connection_forget_events(connection);
    close(connection->fd);
    if (server->options.closed)
        server->options.closed(connection);
    packet_connection_free_buffers(connection);
    TAILQ_REMOVE(&lane->connections, connection, link);
    lane->open--;
    log_debug("packet", "c%" PRIu64 ": closed", connection->id);
    if (!connection->posted) /* else the task frees it */
        free(connection);
    packet_server_leave(lane);
}

void packet_connection_run(struct packet_connection *connection)
{
    int steps = 0;

    if (connection->running)
        return;
    connection->running = true;
    do {
        while (packet_connection_step(connection)) {
            if (++steps == PACKET_TURN_STEPS && connection->lane->loop && !connection->posted) {
                connection->posted = true;
                loop_post(connection->lane->loop, &connection->task);
                break;
            }
        }
        /* What is gathered leaves before others run; a peer that has gone is noticed here too. */
    } while (connection->lane->gatherer == connection && !packet_gather_flush(connection) &&
             connection->broken);
    connection->running = false;
    if (connection->state == PACKET_CLOSED)
        close_connection(connection);
    else
        arm(connection);
}

static void on_task(struct task *task)
{
    struct packet_connection *connection = CONTAINER_OF(task, struct packet_connection, task);

    connection->posted = false;
    if (connection->state == PACKET_CLOSED)
        free(connection);
    else
        packet_connection_run(connection);
}

static void on_readable(evutil_socket_t fd, short events, void *argument)
{
    struct packet_connection *connection = argument;

    (void)fd;
    (void)events;
    connection->readable = true;
    if (wants_input(connection)) {
        packet_connection_run(connection);
    } else {
        connection->read_armed = false;
        event_del(&connection->read_event);
    }
}

static void on_writable(evutil_socket_t fd, short events, void *argument)
{
    struct packet_connection *connection = argument;

    (void)fd;
    (void)events;
    connection->write_armed = false;
    packet_connection_run(connection);
}

static void cut_stalled(struct packet_connection *connection, const char *what)
{
    char name[PACKET_NAME_SIZE];

    log_info("packet", "%s: %s: no byte moved for %" PRId64 " ms, connection cut",
             packet_connection_name(connection, name, sizeof(name)), what,
             atomic_load(&connection->lane->server->progress_timeout_ms));
    packet_connection_cut(connection);
}

/* The deadline of the state has passed. */
static void expire(struct packet_connection *connection)
{
    int before = connection->unsent;

    if (connection->state == PACKET_REPLYING) {
        connection->unsent = file_send_unsent(connection->fd);
        if (connection->unsent < before) { /* a slow reader, but it reads */
            packet_connection_enter(connection, PACKET_REPLYING);
            arm(connection);
            return;
        }
    }
    metric_add(connection->lane->server->timeouts_metric, 1);
    switch (connection->state) {
    case PACKET_IDLE:
    case PACKET_LINGERING:
        packet_connection_enter(connection, PACKET_CLOSED);
        packet_connection_run(connection);
        break;
    case PACKET_HEADER:
    case PACKET_BODY:
        cut_stalled(connection, "incomplete request");
        break;
    case PACKET_READING:
        cut_stalled(connection, "body of a request");
        break;
    case PACKET_REPLYING:
        cut_stalled(connection, "reply");
        break;
    case PACKET_DRAINING:
        packet_connection_enter(connection, PACKET_LINGERING);
        packet_connection_run(connection);
        break;
    case PACKET_HANDLING:
    case PACKET_SENDING:
    case PACKET_CANCELLED:
    case PACKET_CLOSED:
        ASSERT(false); /* these have no deadline */
    }
}

static void on_timer(evutil_socket_t fd, short events, void *argument)
{
    struct packet_connection *connection = argument;

    (void)fd;
    (void)events;
    connection->armed_ms = 0;
    if (connection->deadline_ms > 0 && connection->deadline_ms <= clock_monotonic_ms())
        expire(connection);
    else
        arm(connection);
}

void packet_connection_cut(struct packet_connection *connection)
{
    if (!connection->broken)
        (void)shutdown(connection->fd, SHUT_RDWR); /* the peer need not wait for the handler to learn it */
    connection->broken = true;
    packet_connection_run(connection);
}

void packet_connection_look(struct packet_connection *connection)
{
    connection->readable = true;
    packet_connection_run(connection);
}

/* ---- beginning ---- */

bool packet_connection_open(struct packet_lane *lane, int fd, const struct sockaddr *address,
                            socklen_t length)
{
    struct packet_server *server = lane->server;
    struct packet_connection *connection = calloc(1, sizeof(*connection));
    struct event_base *base = loop_base(lane->loop);
    char name[PACKET_NAME_SIZE];

    if (!connection) {
        close(fd);
        return false;
    }
    connection->lane = lane;
    connection->fd = fd;
    connection->id = atomic_fetch_add_explicit(&server->next_id, 1, memory_order_relaxed) + 1;
    connection->task.run = on_task;
    if (!address_from_socket(address, length, &connection->peer))
        snprintf(connection->peer.host, sizeof(connection->peer.host), "unknown");
    ASSERT(event_assign(&connection->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, connection) ==
           0);
    ASSERT(event_assign(&connection->write_event, base, fd, EV_WRITE, on_writable, connection) == 0);
    ASSERT(event_assign(&connection->timer, base, -1, 0, on_timer, connection) == 0);
    TAILQ_INSERT_TAIL(&lane->connections, connection, link);
    lane->open++;
    atomic_fetch_add(&server->references, 1);
    atomic_fetch_add(&server->connections, 1);
    metric_add(server->connections_metric, 1);
    log_debug("packet", "%s: opened", packet_connection_name(connection, name, sizeof(name)));
    packet_connection_enter(connection, PACKET_IDLE);
    if (server->options.opened)
        server->options.opened(connection);
    arm(connection);
    return true;
}

char *packet_connection_name(const struct packet_connection *connection, char *buffer, size_t size)
{
    char address[ADDRESS_TEXT_SIZE];

    snprintf(buffer, size, "c%" PRIu64 " %s", connection->id,
             address_format(&connection->peer, address, sizeof(address)));
    return buffer;
}

struct packet_server *packet_connection_server(const struct packet_connection *connection)
{
    return connection->lane->server;
}

uint64_t packet_connection_id(const struct packet_connection *connection)
{
    return connection->id;
}

const struct address *packet_connection_peer(const struct packet_connection *connection)
{
    return &connection->peer;
}

void packet_connection_set_user(struct packet_connection *connection, void *user)
{
    connection->user = user;
}

void *packet_connection_user(const struct packet_connection *connection)
{
    return connection->user;
}
