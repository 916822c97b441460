/*
 * storage_commands: what storage servers send to the tracker: JOIN, BEAT, LOAD and ADVERTISE, and the end of a connection
 * over which one joined (docs/protocol.md). Refuses those that may not join. Touches the table, and asks the groups for
 * one that is not in it.
 */
#ifndef REEL_TRACKER_STORAGE_COMMANDS_H
#define REEL_TRACKER_STORAGE_COMMANDS_H

#include "common/serve/packet_server.h"

/* Handlers of struct packet_command, on the connection's loop; each replies once, JOIN perhaps later. */
void storage_commands_join(struct packet_request *request);
void storage_commands_beat(struct packet_request *request);
void storage_commands_load(struct packet_request *request);
void storage_commands_advertise(struct packet_request *request);

/* The `closed` of the packet server: a storage server that joined over CONNECTION is suspect from now on. */
void storage_commands_connection_closed(struct packet_connection *connection);

#endif
