/*
 * packet_accept: what a packet server gives the listener of a lane: its limits, what becomes of a new connection, and
 * which connection can be spared for one when all places are taken. On the lane's loop.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/serve/packet_connection.h"
#include <inttypes.h>
#include <unistd.h>

#define REFUSED_LOG_MS 10000

static struct log_gate refused_gate;

static void accept_bounds(void *argument, struct listener_bounds *bounds)
{
    const struct packet_lane *lane = argument;
    const struct packet_server_options *options = &lane->server->options;

    bounds->connections_max = options->connections_max;
    bounds->connections_per_address = options->connections_per_address;
    bounds->refuse_after_ms = -1;
}

/* The one that has been waiting in the list for longest, if that is AGE_MS at least. */
static struct packet_connection *find_waiting(const struct packet_lane *lane, enum packet_wait wait,
                                              int64_t age_ms)
{
    struct packet_connection *first = TAILQ_FIRST(&lane->waiting[wait]);

    return first && clock_coarse_ms() - first->wait_ms >= age_ms ? first : NULL;
}

/* The connection that can be spared most: one that has had its last answer; one whose request has taken longer than that
 * of an honest peer; the one that has been idle for longest. NULL: each has a request under way, or may be about to. */
static struct packet_connection *find_spare(const struct packet_lane *lane)
{
    struct packet_connection *spare = find_waiting(lane, PACKET_WAIT_LINGER, 0);

    if (!spare)
        spare = find_waiting(lane, PACKET_WAIT_HEAD, PACKET_HEAD_SPARE_MS);
    return spare ? spare : find_waiting(lane, PACKET_WAIT_IDLE, PACKET_IDLE_SPARE_MS);
}

static bool accept_has_room(void *argument)
{
    const struct packet_lane *lane = argument;

    return find_spare(lane) || (lane->door && tls_door_has_room(lane->door));
}

static bool accept_make_room(void *argument)
{
    struct packet_lane *lane = argument;
    struct packet_connection *spare = find_spare(lane);

    if (!spare)
        return lane->door && tls_door_make_room(lane->door);
    log_debug("packet", "c%" PRIu64 ": closed to make room", spare->id);
    metric_add(lane->server->spared_metric, 1);
    packet_connection_cut(spare);
    return true;
}

static bool accept_any(void *argument, int fd, const struct socket_address *peer,
                       const struct listen_place *place, bool refused, bool secure)
{
    struct packet_lane *lane = argument;
    struct address plain;
    char text[ADDRESS_TEXT_SIZE] = "?";
    uint64_t suppressed;

    if (!refused)
        return secure ? tls_door_enter(lane->door, fd, peer, place, false, false)
                      : packet_connection_open(lane, (struct transport){fd, NULL}, peer, place);
    metric_add(lane->server->refused_metric, 1);
    if (log_gate_open(&refused_gate, REFUSED_LOG_MS, &suppressed)) {
        if (address_from_socket((const struct sockaddr *)&peer->storage, peer->length, &plain))
            (void)address_format(&plain, text, sizeof(text));
        log_warning(
            "packet",
            "connection from %s refused: its address already has %zu (connections_per_address); %" PRIu64
            " more like it not shown",
            text, lane->server->options.connections_per_address, suppressed);
    }
    (void)close(fd);
    return false;
}

static bool accept_take(void *argument, int fd, const struct socket_address *peer,
                        const struct listen_place *place, bool refused)
{
    return accept_any(argument, fd, peer, place, refused, false);
}

static bool accept_take_tls(void *argument, int fd, const struct socket_address *peer,
                            const struct listen_place *place, bool refused)
{
    return accept_any(argument, fd, peer, place, refused, true);
}

static bool lane_door_take(void *argument, struct transport at, const struct socket_address *peer,
                           const struct listen_place *place, bool refused)
{
    (void)refused; /* such a connection never comes to the door */
    return packet_connection_open(argument, at, peer, place);
}

static void lane_door_leave(void *argument, const struct listen_place *place)
{
    const struct packet_lane *lane = argument;

    listen_limits_leave(lane->server->limits, place);
}

static struct listener *accept_listen(struct packet_lane *lane, struct bind_list *addresses, bool secure,
                                      struct error *error)
{
    const struct listener_options options = {
        .loop = lane->loop,
        .limits = lane->server->limits,
        .addresses = addresses,
        .sockets = {.share = true, .keep_alive = true, .unsent_max = lane->server->options.unsent_max},
        .room = "packet",
        .errors = lane->server->accept_errors_metric,
        .argument = lane,
        .bounds = accept_bounds,
        .has_room = accept_has_room,
        .make_room = accept_make_room,
        .take = secure ? accept_take_tls : accept_take,
    };

    return listener_create(&options, error);
}

bool packet_accept(struct packet_lane *lane, struct bind_list *addresses, struct error *error)
{
    lane->listener = accept_listen(lane, addresses, false, error);
    return lane->listener;
}

bool packet_accept_tls(struct packet_lane *lane, struct bind_list *addresses, struct error *error)
{
    const struct packet_server *server = lane->server;
    const struct tls_door_options options = {
        .loop = lane->loop,
        .server = server->options.tls,
        .handshakes_max = TLS_DOOR_HANDSHAKES,
        .time_ms = TLS_DOOR_TIME_MS,
        .plain_answer = server->plain_answer,
        .plain_answer_size = server->plain_answer_size,
        .argument = lane,
        .take = lane_door_take,
        .leave = lane_door_leave,
    };

    lane->door = tls_door_create(&options, error);
    if (lane->door)
        lane->tls_listener = accept_listen(lane, addresses, true, error);
    return lane->tls_listener;
}
