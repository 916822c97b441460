/*
 * packet_accept: what a packet server tells the listener of a lane: its limits, what becomes of a new connection, and
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

/* The connection that can be spared most: one that has had its last answer; one whose request has not come whole in a
 * time in which that of a peer that means it comes; the one that has been idle for longest. NULL: each has a request under
 * way, or may be about to. */
static struct packet_connection *find_spare(const struct packet_lane *lane)
{
    struct packet_connection *spare = find_waiting(lane, PACKET_WAIT_LINGER, 0);

    if (!spare)
        spare = find_waiting(lane, PACKET_WAIT_HEAD, PACKET_HEAD_SPARE_MS);
    return spare ? spare : find_waiting(lane, PACKET_WAIT_IDLE, PACKET_IDLE_SPARE_MS);
}

static bool accept_has_room(void *argument)
{
    return find_spare(argument) != NULL;
}

static bool accept_make_room(void *argument)
{
    struct packet_lane *lane = argument;
    struct packet_connection *spare = find_spare(lane);

    if (!spare)
        return false;
    log_debug("packet", "c%" PRIu64 ": closed to make room", spare->id);
    metric_add(lane->server->spared_metric, 1);
    packet_connection_cut(spare);
    return true;
}

static bool accept_take(void *argument, int fd, const struct socket_address *peer,
                        const struct listen_place *place, bool refused)
{
    struct packet_lane *lane = argument;
    struct address plain;
    char text[ADDRESS_TEXT_SIZE] = "?";
    uint64_t suppressed;

    if (!refused)
        return packet_connection_open(lane, (struct transport){fd, NULL}, peer, place);
    metric_add(lane->server->refused_metric, 1);
    if (log_gate_open(&refused_gate, REFUSED_LOG_MS, &suppressed)) {
        if (address_from_socket((const struct sockaddr *)&peer->storage, peer->length, &plain))
            (void)address_format(&plain, text, sizeof(text));
        log_warning(
            "packet",
            "connection of %s refused: its address has %zu already (connections_per_address); %" PRIu64
            " more like it not shown",
            text, lane->server->options.connections_per_address, suppressed);
    }
    (void)close(fd);
    return false;
}

bool packet_accept(struct packet_lane *lane, struct bind_list *addresses, struct error *error)
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
        .take = accept_take,
    };

    lane->listener = listener_create(&options, error);
    return lane->listener != NULL;
}
