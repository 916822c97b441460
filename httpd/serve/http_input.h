/*
 * http_input: the bytes of a client that came and are not used yet: read from its socket into a buffer that is there only
 * while there are any. While a request is under way its head stays at the beginning of them. On the connection's loop.
 */
#ifndef REEL_HTTPD_HTTP_INPUT_H
#define REEL_HTTPD_HTTP_INPUT_H

#include "common/base/base.h"

struct http_connection;

enum http_input { HTTP_INPUT_MORE, HTTP_INPUT_NONE, HTTP_INPUT_END, HTTP_INPUT_BROKEN };

/* One read. BROKEN: also where a head of the largest size fills the buffer, and without memory. */
enum http_input http_input_read(struct http_connection *connection);

/* How many bytes there are. */
size_t http_input_size(const struct http_connection *connection);

/* Drops all of them, with the buffer. */
void http_input_give(struct http_connection *connection);

/* Drops the first USED of the bytes behind the request's head. */
void http_input_drop(struct http_connection *connection, size_t used);

/* Only part of a request has come. A reset that came with it was reported by the same edge, and no other
 * follows: only another read finds it. */
void http_input_look_again(struct http_connection *connection);

/* The PROXY header that must come first, or as much of it as there is. False: it is broken, and the connection is to be closed. */
MUST_CHECK bool http_input_take_proxy_header(struct http_connection *connection);

/* What came is no request: logged where it is a ClientHello on a port without TLS (RFC 8446 section 5.1: a record of type 22,
 * version 3.x). */
void http_input_note_tls(const struct http_connection *connection);

#endif
