/*
 * proxy_header: the header of the PROXY protocol, version 1 (a line) and 2 (binary), which a proxy sends before the first
 * request to say who its client is. The specification is HAProxy's doc/proxy-protocol.txt. Pure.
 */
#ifndef REEL_HTTPD_PROXY_HEADER_H
#define REEL_HTTPD_PROXY_HEADER_H

#include "common/base/base.h"
#include <netinet/in.h>

union http_peer {
    struct sockaddr base;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The numeric address, an IPv4 address within IPv6 as what it is; "-": none. Returns BUFFER. */
char *http_peer_text(const union http_peer *peer, char *buffer, size_t size);

#define PROXY_HEADER_MAX 2048 /* bytes; a longer one is refused */

enum proxy_header_state {
    PROXY_HEADER_MORE,   /* it goes on behind SIZE */
    PROXY_HEADER_DONE,   /* *USED bytes are the header */
    PROXY_HEADER_BROKEN, /* no such header, or a broken one: the connection is to be closed */
};

/* PEER gets the client's address and port where the header names one; it is left alone for LOCAL, UNKNOWN (the proxy speaks for
 * itself) and families that are not IP. */
enum proxy_header_state proxy_header_parse(const void *bytes, size_t size, size_t *used,
                                           union http_peer *peer);

#endif
