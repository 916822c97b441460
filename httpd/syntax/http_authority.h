/*
 * http_authority: uri-host [ ":" port ] (RFC 9110 sections 4.2 and 7.2, RFC 3986 section 3.2.2), the value of Host and the
 * authority of a target in absolute-form: one grammar for both, so that no two readers of a request see two
 * hosts. Pure.
 */
#ifndef REEL_HTTPD_HTTP_AUTHORITY_H
#define REEL_HTTPD_HTTP_AUTHORITY_H

#include "httpd/syntax/http_text.h"

/* A registered name, an IPv4 address or a bracketed IPv6 address, then perhaps a port of at most 65535. An empty host
 * counts where EMPTY_FINE. User information never does. */
bool http_authority_is_legal(struct http_text text, bool empty_fine);

#endif
