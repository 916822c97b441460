/*
 * http_server: the daemon as a whole: listening sockets and what each loop has, limits over all loops,
 * reload, drain and what operators are told. Its functions run on the main thread, where not said otherwise.
 */
#ifndef REEL_HTTPD_HTTP_SERVER_H
#define REEL_HTTPD_HTTP_SERVER_H

#include "common/daemon.h"
#include "httpd/http_loop.h"

/* The rows of struct daemon_spec; see common/daemon.h. */
bool http_server_start(struct daemon *daemon, struct error *error);
void http_server_stop(struct daemon *daemon);
void http_server_end_workers(struct daemon *daemon);
void http_server_destroy(struct daemon *daemon);
bool http_server_reload(struct daemon *daemon, const void *new_config, struct error *error);
bool http_server_health(struct daemon *daemon, char *reason, size_t reason_size);
json_t *http_server_status(struct daemon *daemon);
void http_server_reopen_logs(struct daemon *daemon);

/* A connection of LOOP is about to be freed. On its loop. */
void http_server_connection_closed(struct http_loop *loop, const struct http_connection *connection);

#endif
