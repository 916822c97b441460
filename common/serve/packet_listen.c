/*
 * packet_listen: how a packet server binds its addresses and accepts connections: one socket for each address
 * and loop, which share the port by SO_REUSEPORT, so that the kernel spreads connections over the loops.
 * Called by packet_server.c and, when a connection leaves, on any loop of the server.
 */
#include "common/base/log.h"
#include "common/base/duration.h"
#include "common/serve/packet_connection.h"
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG       4096
#define RESOLVED_MAX  16  /* addresses of one host name */
#define ACCEPT_TURN   64  /* connections accepted before others have their turn */
#define PAUSE_MS      100 /* when the process has no descriptor or memory left */
#define LOG_MS        1000
#define KEEPALIVE_S   60 /* a peer that vanished is found out after 60 + 5 * 12 seconds */
#define KEEPALIVE_GAP 12
#define KEEPALIVE_TRY 5

static struct log_gate accept_gate;

/* ---- binding ---- */

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static const char *describe(const struct socket_address *address, char *buffer, size_t size)
{
    struct address plain;

    if (!address_from_socket((const struct sockaddr *)&address->storage, address->length, &plain))
        return "?";
    return address_format(&plain, buffer, size);
}

static uint16_t port_of(const struct socket_address *address)
{
    struct address plain;

    return address_from_socket((const struct sockaddr *)&address->storage, address->length, &plain)
               ? plain.port
               : 0;
}

static void set_port(struct socket_address *address, uint16_t port)
{
    if (address->storage.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
}

/* A socket bound to ADDRESS, or -1. */
static int bind_socket(const struct socket_address *address, bool share, struct error *error)
{
    char text[ADDRESS_TEXT_SIZE] = "?";
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    (void)describe(address, text, sizeof(text));
    if (fd < 0) {
        error_set_errno(error, errno, "cannot create a socket for address %s", text);
        return -1;
    }
    if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
        (share && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) ||
        (family == AF_INET6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0))) {
        error_set_errno(error, errno, "cannot set up the socket for address %s", text);
        goto fail;
    }
    if (bind(fd, (const struct sockaddr *)&address->storage, address->length) != 0) {
        if (errno == EADDRINUSE)
            error_set(error, ERROR_UNAVAILABLE, "address %s is in use by another process", text);
        else
            error_set_errno(error, errno, "cannot listen on address %s", text);
        goto fail;
    }
    return fd;
fail:
    close(fd);
    return -1;
}

/* Another process of the same user that listens with SO_REUSEPORT would share its connections with ours, and
 * neither would notice: so we ask without that option first. */
static bool address_is_free(const struct socket_address *address, struct error *error)
{
    int fd;

    if (port_of(address) == 0)
        return true; /* the kernel chooses a free one */
    fd = bind_socket(address, false, error);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* "*" is the IPv6 wildcard, which takes IPv4 too; on a machine without IPv6 it is the IPv4 one. */
static void wildcard_fallback(struct socket_address *address)
{
    struct socket_address probe = *address;
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&address->storage;
    uint16_t port = port_of(address);
    int fd;

    set_port(&probe, 0);
    fd = bind_socket(&probe, false, NULL);
    if (fd >= 0) {
        close(fd);
        return;
    }
    memset(address, 0, sizeof(*address));
    ipv4->sin_family = AF_INET;
    ipv4->sin_addr.s_addr = htonl(INADDR_ANY);
    ipv4->sin_port = htons(port);
    address->length = sizeof(*ipv4);
}

static bool resolve_all(const struct address_list *list, struct socket_address *addresses, size_t *count,
                        struct error *error)
{
    *count = 0;
    for (size_t i = 0; i < list->count; i++) {
        size_t found = 0;

        if (address_to_socket(&list->items[i], &addresses[*count])) {
            found = 1;
            if (strcmp(list->items[i].host, "*") == 0)
                wildcard_fallback(&addresses[*count]);
        } else if (!address_resolve(&list->items[i], &addresses[*count], RESOLVED_MAX, &found, error)) {
            return false;
        }
        *count += found;
    }
    if (*count == 0)
        return error_set(error, ERROR_GENERAL, "no address to listen on is configured");
    for (size_t i = 0; i < *count; i++) {
        if (!address_is_free(&addresses[i], error))
            return false;
    }
    return true;
}

/* ---- accepting ---- */

static void pause_lane(struct packet_lane *lane)
{
    lane->accepting = false;
    for (size_t i = 0; i < lane->listener_count; i++)
        event_del(&lane->listeners[i].event);
}

void packet_listen_resume(struct packet_lane *lane)
{
    if (lane->accepting || lane->stopping || !lane->loop)
        return;
    lane->accepting = true;
    for (size_t i = 0; i < lane->listener_count; i++)
        ASSERT(event_add(&lane->listeners[i].event, NULL) == 0);
}

static void wake_full_lanes(struct packet_server *server)
{
    for (size_t i = 0; i < server->lane_count; i++) {
        struct packet_lane *lane = &server->lanes[i];

        /* Whoever takes the flag posts the task: so it is never posted twice. */
        if (atomic_load(&lane->full) && atomic_exchange(&lane->full, false)) {
            atomic_fetch_add(&server->references, 1);
            loop_post(lane->loop, &lane->resume_task);
        }
    }
}

void packet_listen_leave(struct packet_server *server)
{
    atomic_fetch_sub(&server->places, 1);
    wake_full_lanes(server);
}

/* Takes a place for a connection. False: there is none, and the lane pauses until one is free. */
static bool take_place(struct packet_lane *lane)
{
    struct packet_server *server = lane->server;
    size_t taken = atomic_load(&server->places);

    while (taken < server->options.connections_max) {
        if (atomic_compare_exchange_weak(&server->places, &taken, taken + 1))
            return true;
    }
    pause_lane(lane);
    atomic_store(&lane->full, true);
    /* After the flag is seen: a place that was given back before it would wake nobody. */
    if (atomic_load(&server->places) < server->options.connections_max)
        wake_full_lanes(server);
    return false;
}

static void accept_failed(struct packet_lane *lane, int errnum)
{
    const struct timeval pause = duration_timeval(PAUSE_MS);
    uint64_t suppressed;

    switch (errnum) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: /* this one peer's trouble, accept(2) */
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EPERM:
        return;
    default:
        break;
    }
    metric_add(lane->server->accept_errors_metric, 1);
    if (log_gate_open(&accept_gate, LOG_MS, &suppressed))
        log_warning("packet",
                    "cannot accept a connection: %s; %zu are open; tried again every %d ms (%" PRIu64
                    " more like it not shown)",
                    strerrordesc_np(errnum), atomic_load(&lane->server->connections), PAUSE_MS, suppressed);
    pause_lane(lane);
    ASSERT(event_add(&lane->resume_timer, &pause) == 0);
}

/* Accepts one connection. False: there is none now. */
static bool accept_one(struct packet_listener *listener)
{
    struct packet_lane *lane = listener->lane;
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    int fd;

    if (!take_place(lane))
        return false;
    fd = accept4(listener->fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int errnum = errno;

        packet_listen_leave(lane->server);
        accept_failed(lane, errnum);
        return errnum != EAGAIN && lane->accepting;
    }
    if (!packet_connection_open(lane, fd, (struct sockaddr *)&peer, length)) {
        packet_listen_leave(lane->server);
        accept_failed(lane, ENOMEM);
        return false;
    }
    return true;
}

static void on_connection(evutil_socket_t fd, short events, void *argument)
{
    struct packet_listener *listener = argument;

    (void)fd;
    (void)events;
    for (int i = 0; i < ACCEPT_TURN && accept_one(listener); i++)
        ;
}

/* ---- beginning and end ---- */

/* Binds ADDRESS on one lane; a port that the kernel chose is put into ADDRESS for the next lane. */
static bool listen_on(struct packet_lane *lane, struct socket_address *address, struct error *error)
{
    struct packet_listener *listener = &lane->listeners[lane->listener_count];
    char text[ADDRESS_TEXT_SIZE];

    listener->lane = lane;
    listener->fd = bind_socket(address, true, error);
    if (listener->fd < 0)
        return false;
    lane->listener_count++; /* from here packet_listen_close() closes it */
    ASSERT(event_assign(&listener->event, loop_base(lane->loop), listener->fd, EV_READ | EV_PERSIST,
                        on_connection, listener) == 0);
    address->length = sizeof(address->storage);
    if (getsockname(listener->fd, (struct sockaddr *)&address->storage, &address->length) != 0 ||
        /* Accepted sockets inherit these. */
        !set_option(listener->fd, IPPROTO_TCP, TCP_NODELAY, 1) ||
        !set_option(listener->fd, SOL_SOCKET, SO_KEEPALIVE, 1) ||
        !set_option(listener->fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S) ||
        !set_option(listener->fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_GAP) ||
        !set_option(listener->fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRY) ||
        listen(listener->fd, BACKLOG) != 0)
        return error_set_errno(error, errno, "cannot listen on address %s",
                               describe(address, text, sizeof(text)));
    return true;
}

bool packet_listen(struct packet_server *server, const struct address_list *list, struct error *error)
{
    struct socket_address *addresses = calloc(list->count + 1, RESOLVED_MAX * sizeof(*addresses));
    size_t count = 0;
    bool ok = false;

    if (!addresses) {
        error_set_errno(error, ENOMEM, "cannot listen");
        goto done;
    }
    if (!resolve_all(list, addresses, &count, error))
        goto done;
    if (count == 0) {
        error_set(error, ERROR_GENERAL, "no address to listen on is given, e.g. 127.0.0.1:PORT");
        goto done;
    }
    for (size_t i = 0; i < server->lane_count; i++) {
        server->lanes[i].listeners = calloc(count, sizeof(struct packet_listener));
        if (!server->lanes[i].listeners) {
            error_set_errno(error, ENOMEM, "cannot listen");
            goto done;
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < server->lane_count; j++) {
            if (!listen_on(&server->lanes[j], &addresses[i], error))
                goto done;
        }
    }
    server->port = port_of(&addresses[0]);
    for (size_t i = 0; i < server->lane_count; i++)
        packet_listen_resume(&server->lanes[i]);
    ok = true;
done:
    free(addresses);
    return ok;
}

void packet_listen_close(struct packet_lane *lane)
{
    pause_lane(lane);
    event_del(&lane->resume_timer);
    for (size_t i = 0; i < lane->listener_count; i++)
        close(lane->listeners[i].fd);
    lane->listener_count = 0;
    free(lane->listeners);
    lane->listeners = NULL;
}
