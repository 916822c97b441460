/*
 * http_page: answers with the web page and its parts (httpd/web). Called by http_exchange.c. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_PAGE_H
#define REEL_HTTPD_HTTP_PAGE_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* TARGET is HTTP_TARGET_PAGE, asked for by GET or HEAD. Leaves the connection in SEND. */
void http_page_answer(struct http_connection *connection, const struct http_target *target);

#endif
