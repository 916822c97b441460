/*
 * http_unsent: how much the kernel may hold for each client beyond what the network takes
 * (TCP_NOTSENT_LOWAT). Much of it lets a loop hand bytes over in large pieces; for many streams all of it
 * together would be more than the kernel has for TCP, which slows every connection. So each has a share of a
 * total that halves as connections come, and doubles as they go. Called by http_server's timer and by
 * http_listen, on the loop's thread.
 */
#ifndef REEL_HTTPD_HTTP_UNSENT_H
#define REEL_HTTPD_HTTP_UNSENT_H

#include "httpd/loop/http_loop.h"

/* No share is smaller: what a stream of some Mbit/s takes while a loop serves all the others. */
#define HTTP_UNSENT_MIN ((int64_t)32 * 1024)

/* MAX halved until COUNT of it fit into TOTAL, but not below HTTP_UNSENT_MIN. MAX 0 (the kernel's own limit)
 * and TOTAL 0 (no bound): MAX. */
int64_t http_unsent_share(int64_t max, int64_t total, size_t count);

/* CONNECTIONS are open over all loops: gives those of LOOP their share where it has changed; a few times a
 * second. */
void http_unsent_tick(struct http_loop *loop, size_t connections);

/* SOCKET was just accepted and has what its listening socket had: unsent_max. */
void http_unsent_accepted(const struct http_loop *loop, int socket);

#endif
