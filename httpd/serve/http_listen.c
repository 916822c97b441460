/*
 * http_listen: the few functions that a listener asks of reel-httpd. On the loop's thread.
 */
#include "httpd/serve/http_listen.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_sweep.h"
#include "httpd/serve/http_unsent.h"

static void http_listen_bounds(void *argument, struct listener_bounds *bounds)
{
    const struct http_settings *settings = ((const struct http_loop *)argument)->settings;

    bounds->connections_max = (size_t)settings->connections_max;
    bounds->connections_per_address = (size_t)settings->connections_per_address;
    bounds->refuse_after_ms = settings->queue_timeout_ms;
}

static bool http_listen_has_room(void *argument)
{
    return http_sweep_has_room(argument);
}

static bool http_listen_make_room(void *argument)
{
    return http_sweep_make_room(argument);
}

static bool http_listen_take(void *argument, int fd, const struct socket_address *peer,
                             const struct listen_place *place, bool refused)
{
    struct http_loop *loop = argument;

    metric_add(loop->metrics->accepted, 1);
    if (refused)
        metric_add(loop->metrics->refused, 1);
    http_unsent_accepted(loop, fd);
    return http_connection_create(loop, fd, (const struct sockaddr *)&peer->storage, peer->length, refused,
                                  place);
}

struct listener *http_listen(struct http_loop *loop, struct listen_limits *limits,
                             struct bind_list *addresses, struct error *error)
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
        .take = http_listen_take,
    };

    return listener_create(&options, error);
}
