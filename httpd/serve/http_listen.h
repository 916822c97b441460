/*
 * http_listen: the listening sockets of one loop and the limits that a new connection meets. With as many
 * connections open as are allowed, idle ones make room; with none idle, new ones wait in the kernel's queue,
 * and those that have waited for too long get a 503 instead of silence.
 */
#ifndef REEL_HTTPD_HTTP_LISTEN_H
#define REEL_HTTPD_HTTP_LISTEN_H

#include "common/base/address.h"
#include "httpd/loop/http_loop.h"

struct http_listeners;

/* What all loops count together. Thread-safe. */
struct http_limits;
MUST_CHECK struct http_limits *http_limits_create(void);
void http_limits_destroy(struct http_limits *limits);
size_t http_limits_connections(struct http_limits *limits);

/* Binds every address of LISTEN for LOOP, with SO_REUSEPORT: each loop has sockets of its own. Resolves host
 * names: may block, start-up only. NULL on failure, which names the address. */
MUST_CHECK struct http_listeners *http_listeners_create(struct http_loop *loop, struct http_limits *limits,
                                                        const struct address_list *listen, bool first,
                                                        struct error *error);
/* Closes the sockets; nothing new comes. On the loop's thread, or while it does not run. */
void http_listeners_close(struct http_listeners *listeners);
void http_listeners_destroy(struct http_listeners *listeners);

/* A connection of the loop has ended. */
void http_listeners_connection_closed(struct http_listeners *listeners,
                                      const struct http_connection *connection);

/* A few times a second: takes up again what was put off. */
void http_listeners_tick(struct http_listeners *listeners);

/* The port of the first socket, for tests that bind port 0. */
uint16_t http_listeners_port(const struct http_listeners *listeners);

#endif
