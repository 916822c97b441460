/*
 * reach: the address of a storage server as the client that asks can use it. A server that joined from this machine itself
 * did so from a loopback address, which means another machine to everybody else. Pure; called by storage_commands.c and
 * route_commands.c.
 */
#ifndef REEL_TRACKER_REACH_H
#define REEL_TRACKER_REACH_H

#include "common/base/address.h"

/* HOST: numeric. 127.0.0.0/8, ::1 and the IPv4 ones mapped into IPv6. */
bool reach_is_loopback(const char *host);
/* 169.254.0.0/16, fe80::/10: means something on one link only. */
bool reach_is_link_local(const char *host);
/* Both lie in one network by the usual masks: /24 of IPv4, /64 of IPv6. */
bool reach_same_network(const char *host, const char *other);

/* SERVER as a client at CLIENT can reach it, into OUT. LOCAL: the address of this machine that the client connected to;
 * NULL: not known. False: not at all. */
MUST_CHECK bool reach_address(const struct address *server, const char *client, const char *local,
                              struct address *out);

#endif
