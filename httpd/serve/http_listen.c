/*
 * http_listen: the few functions that a listener asks of reel-httpd. On the loop's thread.
 */
#include "httpd/serve/http_listen.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_sweep.h"
#include "httpd/serve/http_unsent.h"
#include "httpd/syntax/proxy_header.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static void http_listen_bounds(void *argument, struct listener_bounds *bounds)
{
    const struct http_settings *settings = ((const struct http_loop *)argument)->settings;

    bounds->connections_max = (size_t)settings->live.connections_max;
    bounds->connections_per_address = (size_t)settings->live.connections_per_address;
    bounds->refuse_after_ms = settings->live.queue_timeout_ms;
}

static bool http_listen_has_room(void *argument)
{
    const struct http_loop *loop = argument;

    return http_sweep_has_room(loop) || (loop->door && tls_door_has_room(loop->door));
}

static bool http_listen_make_room(void *argument)
{
    struct http_loop *loop = argument;

    return http_sweep_make_room(loop) || (loop->door && tls_door_make_room(loop->door));
}

/* True where FD was accepted at one of httpd.proxy_protocol. */
static bool speaks_proxy(const struct http_settings *settings, int fd)
{
    struct socket_address socket = {.length = sizeof(socket.storage)};
    struct address here;
    if (settings->proxy_protocol.count == 0)
        return false;
    if (getsockname(fd, (struct sockaddr *)&socket.storage, &socket.length) != 0 ||
        !address_from_socket((const struct sockaddr *)&socket.storage, socket.length, &here))
        return true; /* refused rather than believed */
    for (size_t i = 0; i < settings->proxy_protocol.count; i++) {
        const struct address *one = &settings->proxy_protocol.items[i];
        if (one->port == here.port && (strcmp(one->host, "*") == 0 || strcmp(one->host, here.host) == 0))
            return true;
    }
    return false;
}

static bool is_trusted(const struct http_settings *settings, const struct socket_address *peer)
{
    static struct log_gate gate;
    uint64_t suppressed;
    struct address from;
    if (address_from_socket((const struct sockaddr *)&peer->storage, peer->length, &from) &&
        networks_contain(&settings->trusted_proxies, from.host))
        return true;
    if (log_gate_open(&gate, 1000, &suppressed))
        log_warning("listen",
                    "%s: closed: it is not in httpd.trusted_proxies, and the port is in "
                    "httpd.proxy_protocol (%" PRIu64 " more since the last line)",
                    from.host, suppressed);
    return false;
}

/* Counts FD, a connection of PEER. *PROXY: it has to begin with a PROXY header; where it may not, FD is closed, and false comes
 * back. */
static bool listen_admit(struct http_loop *loop, int fd, const struct socket_address *peer, bool refused,
                         bool *proxy)
{
    *proxy = speaks_proxy(loop->settings, fd);
    bool admitted = !*proxy || is_trusted(loop->settings, peer);
    metric_add(loop->metrics->accepted, 1);
    if (refused)
        metric_add(loop->metrics->refused, 1);
    if (admitted) {
        http_unsent_accepted(loop, fd);
        return true;
    }
    metric_add(loop->metrics->refused, 1);
    close(fd);
    return false;
}

static bool http_listen_take(void *argument, int fd, const struct socket_address *peer,
                             const struct listen_place *place, bool refused)
{
    struct http_loop *loop = argument;
    bool proxy;
    if (!listen_admit(loop, fd, peer, refused, &proxy))
        return false;
    return http_connection_create(loop, (struct transport){fd, NULL}, (const struct sockaddr *)&peer->storage,
                                  peer->length, refused, proxy, place);
}

/* ---- listen_tls ---- */

#define PLAIN_TEXT "400 Bad Request: this port speaks HTTPS; write https:// in the URL\n"
#define PLAIN_SIZE "67"
static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                   "Content-Length: " PLAIN_SIZE "\r\nConnection: close\r\n\r\n" PLAIN_TEXT;
_Static_assert(sizeof(PLAIN_TEXT) - 1 == 67, "PLAIN_SIZE says the same");

static bool http_listen_take_tls(void *argument, int fd, const struct socket_address *peer,
                                 const struct listen_place *place, bool refused)
{
    struct http_loop *loop = argument;
    bool proxy;
    if (!listen_admit(loop, fd, peer, refused, &proxy))
        return false;
    return tls_door_enter(loop->door, fd, peer, place, refused, proxy);
}

/* The PROXY header comes in the clear, before the client's handshake, which the proxy passes on. */
static enum tls_door_preface http_door_preface(void *argument, const void *bytes, size_t size, size_t *used,
                                               struct socket_address *peer)
{
    static struct log_gate gate;
    union http_peer client = {.base = {.sa_family = AF_UNSPEC}};
    uint64_t suppressed;
    (void)argument;
    switch (proxy_header_parse(bytes, size, used, &client)) {
    case PROXY_HEADER_MORE:
        return TLS_DOOR_PREFACE_MORE;
    case PROXY_HEADER_DONE:
        if (client.base.sa_family != AF_UNSPEC) { /* else the proxy speaks for itself */
            peer->length = client.base.sa_family == AF_INET ? sizeof(client.v4) : sizeof(client.v6);
            memcpy(&peer->storage, &client, peer->length);
        }
        return TLS_DOOR_PREFACE_DONE;
    case PROXY_HEADER_BROKEN:
        break;
    }
    if (log_gate_open(&gate, 1000, &suppressed))
        log_warning("listen",
                    "a connection to listen_tls is closed: no PROXY header came first, which "
                    "httpd.proxy_protocol requires (%" PRIu64 " more since the last line)",
                    suppressed);
    return TLS_DOOR_PREFACE_BROKEN;
}

static bool http_door_take(void *argument, struct transport at, const struct socket_address *peer,
                           const struct listen_place *place, bool refused)
{
    return http_connection_create(argument, at, (const struct sockaddr *)&peer->storage, peer->length,
                                  refused, false, place);
}

static void http_door_leave(void *argument, const struct listen_place *place)
{
    struct http_loop *loop = argument;

    loop->place_left(loop, place);
}

bool http_listen_make_door(struct http_loop *loop, struct tls_server *server, struct error *error)
{
    const struct tls_door_options options = {
        .loop = loop->loop,
        .server = server,
        .handshakes_max = TLS_DOOR_HANDSHAKES,
        .time_ms = TLS_DOOR_TIME_MS,
        .plain_answer = plain_answer,
        .plain_answer_size = sizeof(plain_answer) - 1,
        .argument = loop,
        .preface = http_door_preface,
        .take = http_door_take,
        .leave = http_door_leave,
    };

    loop->door = tls_door_create(&options, error);
    return loop->door;
}

struct listener *http_listen(struct http_loop *loop, struct listen_limits *limits,
                             struct bind_list *addresses, bool secure, struct error *error)
{
    const struct listener_options options = {
        .loop = loop->loop,
        .limits = limits,
        .addresses = addresses,
        .sockets = {.share = true, .unsent_max = loop->unsent_max},
        .room = "listen",
        .argument = loop,
        .bounds = http_listen_bounds,
        .has_room = http_listen_has_room,
        .make_room = http_listen_make_room,
        .take = secure ? http_listen_take_tls : http_listen_take,
    };

    return listener_create(&options, error);
}
