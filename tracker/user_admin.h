/*
 * user_admin: USERS, REROUTE and SERVERS: what a program that moves users from one group to another asks of a tracker
 * (docs/protocol.md): who belongs to a group, that somebody belongs to another one from now on, and which servers a group has.
 * Accepted only from the addresses that may change groups. Called by service.c.
 */
#ifndef REEL_TRACKER_USER_ADMIN_H
#define REEL_TRACKER_USER_ADMIN_H

#include "common/serve/packet_server.h"

/* On the request's loop; each answers it, now or later. */
void user_admin_users(struct packet_request *request);
void user_admin_reroute(struct packet_request *request);
void user_admin_servers(struct packet_request *request);

#endif
