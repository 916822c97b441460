/*
 * http_server: the daemon as a whole: what each loop has, start, reload, drain, and what is reported to
 * operators.
 */
#ifndef REEL_HTTPD_HTTP_SERVER_H
#define REEL_HTTPD_HTTP_SERVER_H

#include "common/daemon/daemon.h"
#include "httpd/loop/http_loop.h"

/* What daemon_run() needs. */
void http_server_spec(struct daemon_spec *spec);

#endif
