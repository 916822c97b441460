/*
 * http_server_loop: one event loop of reel-httpd with all that belongs to it: listeners, connections, client core, caches,
 * tick; how it is built, drained and cleared. http_server.c makes one per thread.
 */
#ifndef REEL_HTTPD_HTTP_SERVER_LOOP_H
#define REEL_HTTPD_HTTP_SERVER_LOOP_H

#include "common/daemon/daemon.h"
#include "common/loop/listener.h"
#include "httpd/loop/http_loop.h"
#include <stdatomic.h>

#define SERVER_LOCATIONS 10000 /* users of whom a loop remembers where they are */

struct server_loop {
    struct http_loop http;
    struct listener *listener;     /* NULL: only under TLS */
    struct listener *tls_listener; /* NULL: none */
    struct event tick;
    struct client_operation *probe;
    int64_t probe_ms;
    int64_t cut_ms;          /* draining: when what is left is cut off */
    int64_t listen_until_ms; /* and when nothing new is accepted any more, at the latest */
    uint64_t new_from;       /* and the first connection that has come since */
    bool listens;
    atomic_bool has_run;   /* its thread has been here */
    atomic_bool drained;   /* nothing is left that could have work */
    atomic_bool reachable; /* a tracker answered last time, or none was asked */
    struct task drain;
    struct task reload;
    struct http_settings *new_settings; /* for the reload task; taken with an atomic exchange */
};

/* What all loops share. */
struct http_server {
    struct daemon *daemon;
    struct server_loop *loops;
    size_t count;
    atomic_size_t undrained;
    struct workers *resolver;
    struct access_log *access_log;
    struct listen_limits *limits;
    struct local_volumes *volumes;  /* NULL: none */
    struct workers *stream_workers; /* what waits for an index */
    struct workers *index_workers;
    struct http_budget budget;
    struct media_cache *streams;    /* indexes, of all loops */
    struct poster_service *posters; /* NULL: none */
    struct client_shared *known;    /* of all loops */
    struct http_metrics metrics;
};

/* What the configuration names to listen on. */
struct server_addresses {
    struct bind_list plain, secure;
};

/* Builds LOOP, number INDEX, whose lists, buffers and empty pipes are there. Before its thread runs. False: ERROR;
 * server_loop_clear() frees what was made. */
MUST_CHECK bool server_loop_build(struct server_loop *loop, size_t index, const struct httpd_config *config,
                                  struct http_settings *settings, struct server_addresses *addresses,
                                  struct error *error);

/* Ends everything that has events on the loop or calls under way. On the loop's thread, or while it does not run. */
void server_loop_clear(struct server_loop *loop);

#endif
