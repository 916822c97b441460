/*
 * http_exchange: what a request asks for and how it is answered: methods, targets, look-up, conditions,
 * ranges, fields and errors. Called by connections through the table of their loop; writes into the
 * connection's output and opens the body's source, and sends nothing itself.
 */
#ifndef REEL_HTTPD_HTTP_EXCHANGE_H
#define REEL_HTTPD_HTTP_EXCHANGE_H

#include "httpd/serve/http_connection.h"

/* For http_loop.answering. */
extern const struct http_answering http_exchange_answering;

#endif
