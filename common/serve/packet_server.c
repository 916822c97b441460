/*
 * packet_server: see packet_server.h. The server as a whole: its lanes (one per loop), metrics, stop and end.
 * Accepting is in packet_accept.c, a connection's life in packet_connection.c, packet_step.c and
 * packet_request.c.
 */
#include "common/serve/packet_server.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/base/rate.h"
#include "common/serve/packet_connection.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void server_release(struct packet_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1)
        return;
    listen_limits_destroy(server->limits);
    rate_destroy(server->rate);
    free(server);
}

/* ---- lanes ---- */

static void for_each_connection(struct packet_lane *lane, void (*visit)(struct packet_connection *connection))
{
    /* A visit may free this and other connections: so each goes to the end of the list before it, and the
     * front is always valid. */
    for (size_t left = lane->open; left > 0 && !TAILQ_EMPTY(&lane->connections); left--) {
        struct packet_connection *connection = TAILQ_FIRST(&lane->connections);

        TAILQ_REMOVE(&lane->connections, connection, link);
        TAILQ_INSERT_TAIL(&lane->connections, connection, link);
        visit(connection);
    }
}

static void finish_if_empty(struct packet_lane *lane)
{
    struct packet_server *server = lane->server;

    if (!lane->stopping || lane->finished || lane->open > 0 || !lane->loop)
        return;
    lane->finished = true;
    event_del(&lane->grace_timer);
    event_del(&lane->spare_timer);
    if (atomic_fetch_sub(&server->lanes_left, 1) == 1 && server->stop_done)
        server->stop_done(server->stop_argument);
}

static void on_grace(evutil_socket_t fd, short events, void *argument)
{
    struct packet_lane *lane = argument;

    (void)fd;
    (void)events;
    log_info("packet", "%zu connections did not finish in time and are closed", lane->open);
    for_each_connection(lane, packet_connection_cut);
}

static void on_spared(evutil_socket_t fd, short events, void *argument)
{
    struct packet_lane *lane = argument;

    (void)fd;
    (void)events;
    lane->spares = false;
    for_each_connection(lane, packet_connection_look);
}

static void stop_lane(struct task *task)
{
    struct packet_lane *lane = CONTAINER_OF(task, struct packet_lane, stop_task);
    struct packet_server *server = lane->server;
    int64_t grace_ms = max_i64(server->stop_grace_ms, 1);
    const struct timeval grace = duration_timeval(grace_ms), fresh = duration_timeval(PACKET_FRESH_MS);

    if (lane->loop) {
        lane->stopping = true;
        lane->spares = grace_ms > PACKET_FRESH_MS && event_add(&lane->spare_timer, &fresh) == 0;
        listener_close(lane->listener);
        listener_close(lane->tls_listener);
        tls_door_close(lane->door);
        if (event_add(&lane->grace_timer, &grace) != 0)
            log_error("packet", "cannot arm the shutdown timer; stopping may take longer than stop_timeout");
        for_each_connection(lane, packet_connection_look);
        finish_if_empty(lane);
    }
    server_release(server);
}

/* The loop ends, and with it what has events in its base. Requests that a handler still holds stay valid. */
static void end_lane(struct packet_lane *lane)
{
    lane->stopping = true;
    listener_destroy(lane->listener);
    listener_destroy(lane->tls_listener);
    tls_door_destroy(lane->door);
    lane->listener = lane->tls_listener = NULL;
    lane->door = NULL;
    event_del(&lane->grace_timer);
    event_del(&lane->spare_timer);
    for_each_connection(lane, packet_connection_cut);
    for_each_connection(lane, packet_connection_forget_events);
    packet_patient_end(lane);
    while (lane->stashed > 0)
        free(lane->stash[--lane->stashed]);
    free(lane->gather);
    lane->gather = NULL;
    lane->loop = NULL;
}

static void on_loop_end(struct task *task)
{
    end_lane(CONTAINER_OF(task, struct packet_lane, end_task));
}

static void init_lane(struct packet_lane *lane, struct packet_server *server, struct loop *loop)
{
    struct event_base *base = loop_base(loop);

    lane->server = server;
    lane->loop = loop;
    TAILQ_INIT(&lane->connections);
    packet_patient_init(lane, packet_connection_readable);
    for (int wait = 0; wait < PACKET_WAITS; wait++)
        TAILQ_INIT(&lane->waiting[wait]);
    lane->stop_task.run = stop_lane;
    lane->end_task.run = on_loop_end;
    ASSERT(event_assign(&lane->grace_timer, base, -1, 0, on_grace, lane) == 0);
    ASSERT(event_assign(&lane->spare_timer, base, -1, 0, on_spared, lane) == 0);
    loop_at_end(loop, &lane->end_task);
}

void packet_server_leave(struct packet_lane *lane, const struct listen_place *place)
{
    struct packet_server *server = lane->server;

    metric_add(server->connections_metric, -1);
    atomic_fetch_sub(&server->connections, 1);
    listen_limits_leave(server->limits, place);
    finish_if_empty(lane);
    server_release(server);
}

/* ---- the server ---- */

static struct packet_metrics register_command(const char *name)
{
    char labels[96];

    snprintf(labels, sizeof(labels), "command=\"%s\"", name);
    return (struct packet_metrics){
        .requests =
            metrics_counter("reel_packet_requests_total", "Requests whose header was complete.", labels),
        .failures = metrics_counter("reel_packet_failures_total",
                                    "Requests that got a failure reply or none.", labels),
        .duration =
            metrics_histogram("reel_packet_request_seconds",
                              "From a complete header to the reply; of files, to its last byte.", labels),
    };
}

static void server_register_metrics(struct packet_server *server)
{
    server->unknown_metrics = register_command("unknown");
    server->connections_metric = metrics_gauge("reel_packet_connections", "Connections that are open.", NULL);
    server->received_metric =
        metrics_counter("reel_packet_received_bytes_total", "Bytes that peers have sent.", NULL);
    server->sent_metric = metrics_counter("reel_packet_sent_bytes_total", "Bytes sent to peers.", NULL);
    server->accept_errors_metric =
        metrics_counter("reel_packet_accept_errors_total",
                        "Connections that could not be accepted: no descriptor or memory.", NULL);
    server->timeouts_metric = metrics_counter(
        "reel_packet_timeouts_total", "Connections ended because the peer was silent too long.", NULL);
    server->refused_metric = metrics_counter(
        "reel_packet_refused_connections_total",
        "Connections closed at once because their address already had connections_per_address.", NULL);
    server->spared_metric = metrics_counter(
        "reel_packet_spared_connections_total",
        "Idle connections and incomplete requests ended to make room for a new connection.", NULL);
    server->unsent_cut_metric = metrics_counter(
        "reel_packet_unsent_cut_total",
        "Connections cut because replies that peers do not read exceeded unsent_total.", NULL);
    packet_session_register_metrics(server);
}

static void packet_server_take_table(struct packet_server *server, const struct packet_command *commands,
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct packet_command *command = &commands[i];

        ASSERT(access_of(command->command) || !server->options.auth); /* nobody could be let in */
        ASSERT(!server->by_command[command->command] && command->minimum >= 0 && command->handle);
        ASSERT(command->minimum <= command->maximum);
        if (command->head > 0)
            ASSERT(command->head <= PACKET_WHOLE_BODY_MAX && command->minimum >= (int64_t)command->head);
        else
            ASSERT(command->maximum <= PACKET_WHOLE_BODY_MAX);
        server->by_command[command->command] = command;
        server->metrics[command->command] = register_command(command->name);
    }
}

static void take_commands(struct packet_server *server)
{
    packet_server_take_table(server, server->options.commands, server->options.command_count);
    if (server->options.auth)
        packet_server_take_table(server, packet_session_commands, packet_session_command_count);
}

/* A failure reply, so that a client of the packet protocol says what is wrong. */
static void pack_plain_answer(struct packet_server *server)
{
    uint8_t body[PROTO_ERROR_BODY_MAX];
    size_t size = proto_error_pack(body, ERROR_MALFORMED, server->options.host_name,
                                   "this port speaks TLS: clients must address it as tls://HOST:PORT", "");

    proto_header_pack(server->plain_answer, (int64_t)size, server->options.reply_command,
                      PROTO_STATUS_FAILURE);
    memcpy(server->plain_answer + PROTO_HEADER_SIZE, body, size);
    server->plain_answer_size = PROTO_HEADER_SIZE + size;
}

/* Every lane listens on LIST. */
static bool server_listen(struct packet_server *server, const struct address_list *list,
                          bool (*accept)(struct packet_lane *lane, struct bind_list *addresses,
                                         struct error *error),
                          struct error *error)
{
    struct bind_list addresses;
    bool listens = true;

    if (!bind_list_resolve(list, &addresses, error))
        return false;
    for (size_t i = 0; listens && i < server->lane_count; i++)
        listens = accept(&server->lanes[i], &addresses, error);
    bind_list_clear(&addresses);
    return listens;
}

static bool server_listen_all(struct packet_server *server, const struct packet_server_options *options,
                              struct error *error)
{
    struct error cause;

    server->limits = listen_limits_create();
    if (!server->limits)
        return error_set_errno(error, ENOMEM, "cannot listen");
    pack_plain_answer(server);
    if ((options->listen.count > 0 || options->listen_tls.count == 0) &&
        !server_listen(server, &options->listen, packet_accept, error))
        return false;
    if (server->lanes[0].listener)
        server->port = listener_port(server->lanes[0].listener);
    if (options->listen_tls.count == 0)
        return true;
    ASSERT(options->tls);
    if (!server_listen(server, &options->listen_tls, packet_accept_tls, &cause))
        return error_set(error, cause.code, "listen_tls: %s", cause.text);
    server->tls_port = listener_port(server->lanes[0].tls_listener);
    return true;
}

struct packet_server *packet_server_create(const struct packet_server_options *options,
                                           struct loop_group *loops, struct error *error)
{
    struct packet_server *server = calloc(1, sizeof(*server) + loops->count * sizeof(struct packet_lane));

    if (!server) {
        error_set_errno(error, ENOMEM, "cannot create a server");
        return NULL;
    }
    server->options = *options;
    server->options.listen = server->options.listen_tls = (struct address_list){0};
    atomic_store(&server->idle_timeout_ms, options->idle_timeout_ms);
    atomic_store(&server->progress_timeout_ms, options->progress_timeout_ms);
    atomic_store(&server->references, 1);
    atomic_store(&server->lanes_left, loops->count);
    server->rate = rate_create(options->requests_per_second, 1);
    if (!server->rate) {
        error_set_errno(error, ENOMEM, "cannot create a server");
        free(server);
        return NULL;
    }
    atomic_store(&server->is_rated, options->requests_per_second > 0);
    server_register_metrics(server);
    take_commands(server);
    server->lane_count = loops->count;
    for (size_t i = 0; i < loops->count; i++)
        init_lane(&server->lanes[i], server, loops->loops[i]);
    if (!server_listen_all(server, options, error)) {
        packet_server_destroy(server);
        return NULL;
    }
    return server;
}

void packet_server_stop(struct packet_server *server, int64_t grace_ms, void (*done)(void *argument),
                        void *argument)
{
    if (atomic_exchange(&server->stop_called, true))
        return;
    server->stop_grace_ms = grace_ms;
    server->stop_done = done;
    server->stop_argument = argument;
    for (size_t i = 0; i < server->lane_count; i++) {
        atomic_fetch_add(&server->references, 1);
        loop_post(server->lanes[i].loop, &server->lanes[i].stop_task);
    }
}

void packet_server_destroy(struct packet_server *server)
{
    if (!server)
        return;
    for (size_t i = 0; i < server->lane_count; i++) {
        struct packet_lane *lane = &server->lanes[i];

        if (lane->loop) {
            loop_forget_end(lane->loop, &lane->end_task);
            end_lane(lane);
        }
    }
    server_release(server);
}

void *packet_server_argument(const struct packet_server *server)
{
    return server->options.argument;
}

size_t packet_server_connections(const struct packet_server *server)
{
    return atomic_load(&server->connections);
}

int64_t packet_server_requests(const struct packet_server *server)
{
    return atomic_load(&server->requests);
}

uint16_t packet_server_port(const struct packet_server *server)
{
    return server->port;
}

uint16_t packet_server_tls_port(const struct packet_server *server)
{
    return server->tls_port;
}

void packet_server_set_rate(struct packet_server *server, int64_t requests_per_second)
{
    rate_configure(server->rate, requests_per_second);
    atomic_store(&server->is_rated, requests_per_second > 0);
}

void packet_server_set_timeouts(struct packet_server *server, int64_t idle_ms, int64_t progress_ms)
{
    atomic_store(&server->idle_timeout_ms, idle_ms);
    atomic_store(&server->progress_timeout_ms, progress_ms);
}
