/*
 * http_access: who may read a file over HTTP: everyone, or whoever has a signed link to it (option httpd.access); and who a client is.
 * Asked before anything is looked up, so that nobody learns what there is. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_ACCESS_H
#define REEL_HTTPD_HTTP_ACCESS_H

#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* True where the request may have the file KEY; exchange->is_private says whether its answer may be kept by shared caches.
 * False: it was refused, 400 for a link that is written wrongly or not alone, 403 for none, a wrong or an expired one. */
MUST_CHECK bool http_access_admits(struct http_connection *connection, const struct proto_file_key *key);

/* The address of a signed link whose last segment is "cookie", after http_access_admits(): 204 that sets the link as cookies for
 * this user's files and streams. False: it is no such address. Leaves the connection in CONNECTION_SEND. */
bool http_access_cookie(struct http_connection *connection, const struct http_target *target);

/* The client's numeric address: the peer's, or what proxies that are trusted say. Returns TEXT. */
const char *http_access_client(const struct http_connection *connection, char text[INET6_ADDRSTRLEN]);

#endif
