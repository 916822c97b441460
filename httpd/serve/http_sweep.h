/*
 * http_sweep: what time does to the connections of one loop. Each state has a list, longest in it first, so
 * that only the heads of the lists are looked at. Called by http_server's timer and drain, and by http_listen
 * for room.
 */
#ifndef REEL_HTTPD_HTTP_SWEEP_H
#define REEL_HTTPD_HTTP_SWEEP_H

#include "httpd/loop/http_loop.h"

/* Ends or moves on those that have been in their state for too long; a few times a second. */
void http_sweep(struct http_loop *loop);

/* Closes the connection that can be spared most: the one that lingers behind its last answer for longest,
 * else the one that has been idle for longest. False: there is none. */
bool http_sweep_make_room(struct http_loop *loop);
/* Whether there is one. */
bool http_sweep_has_room(const struct http_loop *loop);

/* No further request on any connection: idle ones go now, the others after their answer. */
void http_sweep_drain(struct http_loop *loop);

/* Whether a connection is left that came before the one that would have ID. */
MUST_CHECK bool http_sweep_has_older(const struct http_loop *loop, uint64_t id);

#endif
