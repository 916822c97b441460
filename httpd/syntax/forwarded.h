/*
 * forwarded: who the client behind trusted proxies is, from X-Forwarded-For or Forwarded (RFC 7239). Each proxy appends the
 * address that it saw; what precedes an entry of a proxy that is not trusted may come from anybody. Pure.
 */
#ifndef REEL_HTTPD_FORWARDED_H
#define REEL_HTTPD_FORWARDED_H

#include "common/config/networks.h"
#include "httpd/syntax/http_text.h"

enum forwarded_form { FORWARDED_X_FORWARDED_FOR, FORWARDED_RFC7239 };

#define FORWARDED_ADDRESS_SIZE 46 /* INET6_ADDRSTRLEN */

/* CLIENT holds the peer's numeric address. While it is TRUSTED, it is replaced by the entry before it, from the last entry of
 * the last of LINES to the first; an entry that is no address ("unknown", a name) ends that. */
void forwarded_client(const struct http_text *lines, size_t count, enum forwarded_form form,
                      const struct networks *trusted, char client[FORWARDED_ADDRESS_SIZE]);

#endif
