/*
 * http_write: PUT and POST of a content, as it is or in a form, one to one on the packets' STORE. Called through the table of
 * http_connection.h. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_WRITE_H
#define REEL_HTTPD_HTTP_WRITE_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* take() of struct http_answering, for a PUT, POST or PATCH of TARGET, which is KIND and no upload of tus. True. */
bool http_write_take(struct http_connection *connection, const struct http_target *target,
                     enum http_target_kind kind);
/* form() and stored(). */
bool http_write_form(struct http_connection *connection);
bool http_write_stored(struct http_connection *connection);

/* Refuses a request of whose body LEFT bytes are still to come: they are dropped where they are few, else the connection ends. */
void http_write_refuse_body(struct http_connection *connection, int64_t left, int status,
                            const char *message);
/* The same before anything of the body was taken. Returns true. */
bool http_write_refuse(struct http_connection *connection, int status, const char *message);
/* An ID for KEY's user that GRANT allows. */
struct http_grant;
MUST_CHECK bool http_write_make_id(struct proto_file_key *key, const struct http_grant *grant);

/* Closes exchange->feed, and the bytes that it has taken leave the buffer. How many of the body are still to come at least; INT64_MAX:
 * its end is not known. */
int64_t http_write_close_feed(struct http_connection *connection);

/* The exchange ends: lets go of everything here. What is under way is given up. */
void http_write_end(struct http_connection *connection);

#endif
