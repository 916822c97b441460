/*
 * http_access: who may read a file over HTTP: everyone, or whoever has a signed link to it (option httpd.access); and who a client is.
 * Asked before anything is looked up, so that nobody learns what exists. On the loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_HTTP_ACCESS_H
#define REEL_HTTPD_HTTP_ACCESS_H

#include "common/auth/keys.h"
#include "httpd/serve/http_connection.h"
#include "httpd/syntax/http_target.h"

/* What the request's target is, TARGET as http_target_parse() fills it. False: it was answered: 400, or 308 and 421 where only HTTPS is
 * served. */
MUST_CHECK bool http_access_target(struct http_connection *connection, struct http_target *target,
                                   enum http_target_kind *kind);

/* The credentials of somebody who writes. */
struct http_grant {
    char issuer[KEY_ID_SIZE];     /* "": nothing had to be shown */
    char prefix[PROTO_FILE_SIZE]; /* that file IDs must begin with; "": none */
};

/* Whether a token gives RIGHT (enum key_right) to the file KEY, which without a file ID is any: 0, or the status to refuse with, *MESSAGE
 * (static) saying why; exchange->challenge is set then. TOKEN: that of a form; NULL: the one of Authorization (RFC 6750). */
MUST_CHECK int http_access_writer(struct http_connection *connection, const struct proto_file_key *key,
                                  unsigned right, const char *token, struct http_grant *grant,
                                  const char **message);
/* The token of a request to the API. */
struct http_shown {
    bool has_token; /* false: `write` is open, and nobody need show one */
    struct proto_token token;
};
/* The same for whoever asks the API, whether files can be written or not; KEY NULL: whatever the token's user has. */
MUST_CHECK int http_access_shown(struct http_connection *connection, const struct proto_file_key *key,
                                 unsigned right, struct http_shown *shown, const char **message);
/* True where the request has an Authorization field. */
bool http_access_has_token(const struct http_connection *connection);

/* Before the request's target is parsed: WHOLE is all of it, for http_access_admits(). True where it is remembered as the address
 * of a file with a good link, of which nothing has to be looked at again: TARGET is a file, and the request may have it. */
MUST_CHECK bool http_access_knows(struct http_connection *connection, struct link_target *whole,
                                  struct http_target *target);

/* True where the request may have the file KEY of TARGET, shown as VIEW. WHOLE and VIEW are NULL where TARGET is a stream. exchange->is_private says whether its answer may be kept by shared caches.
 * False: it was refused, 400 for a link that is written wrongly or not alone, 403 for none, a wrong or an expired one. */
MUST_CHECK bool http_access_admits(struct http_connection *connection, const struct http_target *target,
                                   const struct proto_file_key *key, const struct link_view *view,
                                   struct link_target *whole);

/* The address of a signed link whose last segment is "cookie", after http_access_admits(): 204 that sets the link as cookies for
 * this user's files and streams. False: it is no such address. Leaves the connection in CONNECTION_SEND. */
bool http_access_cookie(struct http_connection *connection, const struct http_target *target);

/* The client's numeric address: the peer's, or what trusted proxies say. Returns TEXT. */
const char *http_access_client(const struct http_connection *connection, char text[INET6_ADDRSTRLEN]);

#endif
