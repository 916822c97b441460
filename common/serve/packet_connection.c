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

#define WATCH_LOG_MS 10000

static struct log_gate watch_gate, late_gate, unsent_gate;

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

static bool connection_arm_timer(struct packet_connection *connection)
{
    int64_t delay = max_i64(connection->deadline_ms - clock_monotonic_ms(), 1);
    const struct timeval timeout = duration_timeval(delay);

    connection->armed_ms = connection->deadline_ms;
    return event_add(&connection->timer, &timeout) == 0;
}

/*
 * The read event stays armed through a request and is taken out only when it fires at the wrong time; the
 * timer stays armed while deadlines move away and looks again when it fires. So a request in one piece with a
 * reply in one piece costs no epoll_ctl(2) and seldom a timer. False: the system refuses an event (epoll_ctl(2) for lack
 * of memory or watches), so that the connection would wait for ever. A broken one waits for its handler alone.
 */
static bool connection_arm(struct packet_connection *connection)
{
    if (!connection->lane->loop || connection->broken)
        return true;
    if (!connection->read_armed && wants_input(connection)) {
        connection->read_armed = true;
        if (connection->patient ? !packet_patient_add(connection)
                                : event_add(&connection->read_event, NULL) != 0)
            return false;
    }
    if (!connection->write_armed && (connection->body || connection->rest)) {
        if (event_add(&connection->write_event, NULL) != 0)
            return false;
        connection->write_armed = true;
    }
    return connection->deadline_ms == 0 ||
           (connection->armed_ms != 0 && connection->deadline_ms >= connection->armed_ms) ||
           connection_arm_timer(connection);
}

/* Waits for what the state needs. Where it cannot, that costs this one connection. May free it. */
static void wait_or_cut(struct packet_connection *connection)
{
    char name[PACKET_NAME_SIZE];
    uint64_t suppressed;

    if (connection_arm(connection))
        return;
    if (log_gate_open(&watch_gate, WATCH_LOG_MS, &suppressed))
        log_error("packet",
                  "%s: the connection cannot be watched and is cut: %m (%" PRIu64 " more like it not shown)",
                  packet_connection_name(connection, name, sizeof(name)), suppressed);
    packet_connection_cut(connection);
}

/* Its socket is not read any more, until the connection waits again. */
static void unwatch(struct packet_connection *connection)
{
    if (!connection->read_armed)
        return;
    connection->read_armed = false;
    if (connection->patient)
        packet_patient_remove(connection);
    else
        event_del(&connection->read_event);
}

void packet_connection_forget_events(struct packet_connection *connection)
{
    unwatch(connection);
    event_del(&connection->write_event);
    event_del(&connection->timer);
}

static void close_connection(struct packet_connection *connection)
{
    struct packet_lane *lane = connection->lane;
    struct packet_server *server = lane->server;
    struct listen_place place = connection->place;

    if (lane->loop)
        packet_connection_forget_events(connection);
    transport_close(&connection->transport);
    if (server->options.closed)
        server->options.closed(connection);
    packet_connection_free_buffers(connection);
    if (server->options.audit)
        packet_session_audit_end(connection);
    session_destroy(connection->session);
    connection->session = NULL;
    TAILQ_REMOVE(&lane->connections, connection, link);
    lane->open--;
    log_debug("packet", "c%" PRIu64 ": closed", connection->id);
    if (!connection->posted) /* else the task frees it */
        free(connection);
    packet_server_leave(lane, &place);
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
        wait_or_cut(connection);
}

static void on_connection_task(struct task *task)
{
    struct packet_connection *connection = CONTAINER_OF(task, struct packet_connection, task);

    connection->posted = false;
    if (connection->state == PACKET_CLOSED)
        free(connection);
    else
        packet_connection_run(connection);
}

void packet_connection_readable(struct packet_connection *connection)
{
    connection->readable = true;
    if (wants_input(connection))
        packet_connection_run(connection);
    else
        unwatch(connection);
}

static void on_connection_readable(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    packet_connection_readable(argument);
}

static void on_connection_writable(evutil_socket_t fd, short events, void *argument)
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

static bool head_is_late(const struct packet_connection *connection)
{
    int64_t limit = connection->lane->server->options.head_time_ms;

    return limit > 0 && clock_monotonic_ms() >= connection->head_ms + limit;
}

static void cut_late(struct packet_connection *connection)
{
    char name[PACKET_NAME_SIZE];
    uint64_t suppressed;

    if (log_gate_open(&late_gate, WATCH_LOG_MS, &suppressed))
        log_info("packet",
                 "%s: no complete request arrived within head_time (%" PRId64 " ms), connection cut (%" PRIu64
                 " more like it not shown)",
                 packet_connection_name(connection, name, sizeof(name)),
                 connection->lane->server->options.head_time_ms, suppressed);
    packet_connection_cut(connection);
}

/* The deadline of the state has passed. */
static void connection_expire(struct packet_connection *connection)
{
    int before = connection->unsent;

    if (connection->state == PACKET_REPLYING) {
        connection->unsent = file_send_unsent(connection->transport.fd);
        if (connection->unsent < before) { /* a slow reader, but it reads */
            packet_connection_enter(connection, PACKET_REPLYING);
            wait_or_cut(connection);
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
        if (head_is_late(connection))
            cut_late(connection);
        else
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

static void on_connection_timer(evutil_socket_t fd, short events, void *argument)
{
    struct packet_connection *connection = argument;

    (void)fd;
    (void)events;
    connection->armed_ms = 0;
    if (connection->deadline_ms > 0 && connection->deadline_ms <= clock_monotonic_ms())
        connection_expire(connection);
    else
        wait_or_cut(connection);
}

void packet_connection_cut(struct packet_connection *connection)
{
    if (!connection->broken)
        (void)shutdown(connection->transport.fd,
                       SHUT_RDWR); /* the peer need not wait for the handler to learn that */
    connection->broken = true;
    packet_connection_run(connection);
}

void packet_connection_look(struct packet_connection *connection)
{
    connection->readable = true;
    packet_connection_run(connection);
}

/* ---- what waits for the peer ---- */

static enum packet_wait wait_of(const struct packet_connection *connection)
{
    switch (connection->state) {
    case PACKET_LINGERING:
        return PACKET_WAIT_LINGER;
    case PACKET_IDLE:
    case PACKET_HEADER:
    case PACKET_BODY:
        if (connection->rest) /* nothing is read before that is out */
            return PACKET_WAIT_REPLY;
        return connection->state == PACKET_IDLE && connection->requests > 0 ? PACKET_WAIT_IDLE
                                                                            : PACKET_WAIT_HEAD;
    case PACKET_REPLYING:
        return PACKET_WAIT_REPLY;
    case PACKET_HANDLING:
    case PACKET_READING:
    case PACKET_SENDING:
    case PACKET_CANCELLED:
    case PACKET_DRAINING:
    case PACKET_CLOSED:
        break;
    }
    return PACKET_WAIT_NONE;
}

void packet_connection_relist(struct packet_connection *connection)
{
    struct packet_lane *lane = connection->lane;
    enum packet_wait wait = wait_of(connection);

    if (wait == connection->wait)
        return;
    if (connection->wait != PACKET_WAIT_NONE)
        TAILQ_REMOVE(&lane->waiting[connection->wait], connection, wait_link);
    connection->wait = wait;
    connection->wait_ms = clock_coarse_ms();
    if (wait != PACKET_WAIT_NONE)
        TAILQ_INSERT_TAIL(&lane->waiting[wait], connection, wait_link);
}

void packet_connection_hold(struct packet_connection *connection, size_t size)
{
    struct packet_lane *lane = connection->lane;
    struct packet_server *server = lane->server;
    size_t limit = server->options.unsent_total;
    struct packet_connection *oldest;
    uint64_t suppressed;

    atomic_fetch_add(&server->unsent, size);
    while (limit > 0 && atomic_load(&server->unsent) > limit) {
        oldest = TAILQ_FIRST(&lane->waiting[PACKET_WAIT_REPLY]);
        if (oldest == connection)
            oldest = TAILQ_NEXT(oldest, wait_link);
        if (!oldest || oldest->broken)
            break;
        if (log_gate_open(&unsent_gate, WATCH_LOG_MS, &suppressed))
            log_warning("packet",
                        "c%" PRIu64
                        ": cut: replies that peers do not read take more than unsent_total (%zu bytes); "
                        "%" PRIu64 " more like it not shown",
                        oldest->id, limit, suppressed);
        metric_add(server->unsent_cut_metric, 1);
        packet_connection_cut(oldest);
    }
}

/* ---- beginning ---- */

bool packet_connection_open(struct packet_lane *lane, struct transport transport,
                            const struct socket_address *peer, const struct listen_place *place)
{
    struct packet_server *server = lane->server;
    struct packet_connection *connection = calloc(1, sizeof(*connection));
    struct event_base *base = loop_base(lane->loop);
    char name[PACKET_NAME_SIZE];

    if (!connection) {
        transport_close(&transport);
        return false;
    }
    connection->lane = lane;
    connection->transport = transport;
    connection->id = atomic_fetch_add_explicit(&server->next_id, 1, memory_order_relaxed) + 1;
    connection->task.run = on_connection_task;
    connection->place = *place;
    connection->wait = PACKET_WAIT_NONE;
    if (!address_from_socket((const struct sockaddr *)&peer->storage, peer->length, &connection->peer))
        snprintf(connection->peer.host, sizeof(connection->peer.host), "unknown");
    ASSERT(event_assign(&connection->read_event, base, transport.fd, EV_READ | EV_PERSIST,
                        on_connection_readable, connection) == 0);
    ASSERT(event_assign(&connection->write_event, base, transport.fd, EV_WRITE, on_connection_writable,
                        connection) == 0);
    ASSERT(event_assign(&connection->timer, base, -1, 0, on_connection_timer, connection) == 0);
    TAILQ_INSERT_TAIL(&lane->connections, connection, link);
    lane->open++;
    atomic_fetch_add(&server->references, 1);
    atomic_fetch_add(&server->connections, 1);
    metric_add(server->connections_metric, 1);
    log_debug("packet", "%s: opened", packet_connection_name(connection, name, sizeof(name)));
    packet_connection_enter(connection, PACKET_IDLE);
    if (server->options.opened)
        server->options.opened(connection);
    if (transport.tls) /* a request may have come with the end of the handshake */
        packet_connection_look(connection);
    else
        wait_or_cut(connection);
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

bool packet_connection_local(const struct packet_connection *connection, struct address *local)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof(storage);

    return getsockname(connection->transport.fd, (struct sockaddr *)&storage, &length) == 0 &&
           address_from_socket((const struct sockaddr *)&storage, length, local);
}

const struct address *packet_connection_peer(const struct packet_connection *connection)
{
    return &connection->peer;
}

bool packet_connection_secure(const struct packet_connection *connection)
{
    return connection->transport.tls;
}

void packet_connection_set_user(struct packet_connection *connection, void *user)
{
    connection->user = user;
}

void packet_connection_set_patient(struct packet_connection *connection)
{
    if (connection->patient || !connection->lane->loop || !packet_patient_watch(connection->lane))
        return;
    unwatch(connection);
    connection->patient = true;
}

void *packet_connection_user(const struct packet_connection *connection)
{
    return connection->user;
}
