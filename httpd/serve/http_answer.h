/*
 * http_answer: what an answer's head says: status line, the fields that every answer has, those of a file (RFC 9110), and
 * whole answers without a file: errors, 304, OPTIONS. Which answer it is, http_exchange.c decides. Writes into the
 * connection's output and sends nothing itself. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_ANSWER_H
#define REEL_HTTPD_HTTP_ANSWER_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

#define HTTP_REQUEST_ID_SIZE REQUEST_ID_TEXT_SIZE
#define HTTP_TUS_VERSION     "1.0.0"

/* For http_answer_refuse(connection, 404, ...). */
#define HTTP_ANSWER_NO_FILE "no such file"

/* ---- the request that is answered ---- */

/* Where its head begins; other parts of it are offsets from here. Only while the connection keeps the head. */
const char *http_answer_request_head(const struct http_connection *connection);
/* {NULL, 0}: it has no such field, or the head was given back. */
struct http_text http_answer_request_field(const struct http_connection *connection, enum http_field field);
/* The name of the request in X-Request-Id, the access log, and the logs of the other daemons: that of the client's traceparent, else one of
 * this process and the connection's place in it. */
struct request_id http_answer_name(const struct http_connection *connection);

/* The same as text. Returns TEXT. */
char *http_answer_request_id(const struct http_connection *connection, char text[HTTP_REQUEST_ID_SIZE]);

/* ---- answers without a file: leave the connection in CONNECTION_SEND ---- */

/* An error (4xx, 5xx) instead of whatever was under way, as long as no byte of an answer was sent. MESSAGE: static text,
 * for the client. */
void http_answer_refuse(struct http_connection *connection, int status, const char *message);
/* The same for an error of the look-up or of the storage servers: CODE chooses the status, TEXT goes to the log only. */
void http_answer_error(struct http_connection *connection, int code, const char *text);
/* A line in the log where STATUS is of the 500s: CODE and TEXT say why. */
void http_answer_log(struct http_connection *connection, int status, int code, const char *text);
/* 204 with what is allowed, also across origins. */
void http_answer_options(struct http_connection *connection);

/* 308 to the same target at https:// and the port that the settings name, at the host that the request names; 400 where it
 * names none. */
void http_answer_redirect(struct http_connection *connection);

/* An answer without a body: its status line and the fields that every answer has, then the caller's own, then the end, which leaves
 * the connection in CONNECTION_SEND. The output was taken. */
void http_answer_begin(struct http_connection *connection, int status);
void http_answer_end(struct http_connection *connection);

/* 200 with TEXT (malloc'd, taken over; NULL: 503, there was no memory for it), which no cache may keep. Leaves the connection
 * in CONNECTION_SEND. */
void http_answer_json(struct http_connection *connection, char *text);

/* ---- answers about exchange->file ---- */

/* Looks up the file of KEY: FOUND, in exchange->file; ABSENT; WAITING: the connection is in CONNECTION_LOOKUP until DONE, which
 * clears exchange->wait; FAILED: has been answered. */
enum http_lookup_result http_answer_look_up(struct http_connection *connection,
                                            const struct proto_file_key *key, http_lookup_callback done);

/* ---- and after the output was taken ---- */

/* Seconds since 1970 for Last-Modified; 0 while it lies in the future, because a storage server's clock is ahead:
 * RFC 9110 section 8.8.2.1. */
int64_t http_answer_modified(const struct http_connection *connection);
/* May browsers show CONTENT_TYPE by themselves? */
bool http_answer_is_inline(const struct http_connection *connection, const char *content_type);
/* 304. Leaves the connection in CONNECTION_SEND. */
void http_answer_not_modified(struct http_connection *connection);
/* Status line and fields of 200, or of 206 with RANGE or exchange->multipart; LENGTH of the body, bytes. What does not
 * fit shows as out.overflow. */
void http_answer_file_head(struct http_connection *connection, const struct http_target *target,
                           int64_t length, const struct http_range *range, const char *content_type);
/* "/APPLICATION/USER/FILEID", escaped as segments of a path. */
void http_answer_key(struct http_output *out, const struct proto_file_key *key);
/* The output is complete: CONNECTION_SEND. */
void http_answer_send(struct http_connection *connection);

#endif
