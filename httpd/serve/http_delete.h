/*
 * http_delete: DELETE of a file, with the conditions of RFC 9110 section 13. Called by http_exchange.c. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_DELETE_H
#define REEL_HTTPD_HTTP_DELETE_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* TARGET is a KIND; the request's body is gone. Leaves the connection in LOOKUP or SEND, and what is under way in
 * exchange->erase. */
void http_delete_begin(struct http_connection *connection, const struct http_target *target,
                       enum http_target_kind kind);
/* The exchange ends: what is under way is given up. NULL is ignored. */
void http_delete_end(struct http_delete *erase);

#endif
