/*
 * http_listen: what reel-httpd gives the listener of a loop (common/loop/listener.h): its limits, that idle and lingering
 * connections make room, and that what is beyond a limit is taken to be answered 503 instead of silence. Called by
 * http_server, at the start.
 */
#ifndef REEL_HTTPD_HTTP_LISTEN_H
#define REEL_HTTPD_HTTP_LISTEN_H

#include "common/loop/listener.h"
#include "common/transport/tls_door.h"
#include "httpd/loop/http_loop.h"

/* Listens on ADDRESSES for LOOP, and accepts from now on; under TLS where SECURE, through loop->door. NULL on failure, which
 * names the address. */
MUST_CHECK struct listener *http_listen(struct http_loop *loop, struct listen_limits *limits,
                                        struct bind_list *addresses, bool secure, struct error *error);

/* Makes loop->door, with SERVER's certificates. */
MUST_CHECK bool http_listen_make_door(struct http_loop *loop, struct tls_server *server, struct error *error);

#endif
