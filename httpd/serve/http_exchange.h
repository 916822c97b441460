/*
 * http_exchange: what a request asks for and how it is answered: methods, targets, look-up, conditions,
 * ranges, fields and errors. Called by http_connection; writes into the connection's output and opens the
 * body's source, and sends nothing itself.
 */
#ifndef REEL_HTTPD_HTTP_EXCHANGE_H
#define REEL_HTTPD_HTTP_EXCHANGE_H

#include "httpd/serve/http_connection.h"

/* The request head is complete and its body skipped: leaves the connection in LOOKUP, OPEN or SEND. */
void http_exchange_begin(struct http_connection *connection);

/* Answers with an error (4xx, 5xx) instead of whatever was under way, as long as no byte of an answer was
 * sent. MESSAGE: static text, for the client. Leaves the connection in SEND. */
void http_exchange_refuse(struct http_connection *connection, int status, const char *message);

/* CONNECTION_OPEN: the source has become ready or failed. */
void http_exchange_opened(struct http_connection *connection);

/* The source is done: true when the answer goes on (the next part, or the end of a multipart body). */
bool http_exchange_next_part(struct http_connection *connection);

/* The answer is finished or given up: counts and logs it, and lets go of everything it held. */
void http_exchange_end(struct http_connection *connection, bool complete);

/* The status for a failure on the way to a storage server. TRACKERS: a tracker answered last time. */
int http_exchange_status_of_error(int error_code, bool trackers_reachable);

#endif
