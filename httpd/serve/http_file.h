/*
 * http_file: the answer to a request for a file that was found, stored or just made: conditions, one range or several, the
 * body's source. Called by http_exchange.c on the connection's loop; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_FILE_H
#define REEL_HTTPD_HTTP_FILE_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* Answers with exchange.file, or refuses: the exchange's state says what comes next. TARGET: its name and whether it is to be
 * kept as an attachment. */
void http_file_answer(struct http_connection *connection, const struct http_target *target);

/* The source that the exchange waited for is ready or has failed: sends, answers the failure, or cuts the connection. */
void http_file_opened(struct http_connection *connection);

/* A source is at its end. True where the body goes on: the next part of several ranges, or the last delimiter. */
bool http_file_next_part(struct http_connection *connection);

/* The name in the link where it may choose the Content-Type, else "". Anybody can choose such a NAME: it may choose among
 * types that browsers only show, never make a page of a file. */
const char *http_file_choosing_name(const struct http_connection *connection,
                                    const struct http_target *target);

/* A playlist's relative links lead below its own address: what they name is not there, and the playlist itself would be
 * taken for it. */
bool http_file_is_below_playlist(const struct http_lookup_file *file, const struct http_target *target);

#endif
