/*
 * http_api: requests to the JSON API (docs/web.md, docs/openapi.json). Called by http_exchange.c. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_API_H
#define REEL_HTTPD_HTTP_API_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* TARGET is HTTP_TARGET_API; the request's body is gone. Leaves the connection in LOOKUP or SEND, and what is under way in
 * exchange->api. */
void http_api_begin(struct http_connection *connection, const struct http_target *target);
/* The exchange ends: what is under way is given up. */
void http_api_end(struct http_connection *connection);

#endif
