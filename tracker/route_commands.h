/*
 * route_commands: which storage servers a client is sent to: SADDRS (a user without a group is given one) and LOCATE
 * (docs/protocol.md). Asks the router for the group and the table for its servers, and names those that the client can
 * reach.
 */
#ifndef REEL_TRACKER_ROUTE_COMMANDS_H
#define REEL_TRACKER_ROUTE_COMMANDS_H

#include "common/serve/packet_server.h"

struct tracker;

/* Handlers of struct packet_command, on the connection's loop; each replies once, perhaps after the database answered. */
void route_commands_saddrs(struct packet_request *request);
void route_commands_locate(struct packet_request *request);

/* Until the groups have been read no reply says anything about them: requests wait, three seconds at most. After a
 * restart a tracker knows no storage server until they have joined again, which takes them about a second: requests wait for
 * that too, instead of being refused. Before the first request, and after the last one. */
void route_commands_begin(struct tracker *tracker);
void route_commands_end(struct tracker *tracker);

/* Makes reel_tracker_routes_total. Before the first request. */
void route_commands_register_metrics(struct tracker *tracker);

/* The reply to SADDRS, LOCATE and SERVERS: servers of GROUP that the client can reach. */
void route_commands_name_servers(struct packet_request *request, const char *group);

#endif
