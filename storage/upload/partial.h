/*
 * partial: the requests about partial uploads: BEGIN, APPEND, OFFSET, FINISH, ABORT, JOIN_PARTS (docs/protocol.md). Called by the dispatch
 * table in storage/request/commands.c, on the request's loop. What their answers promise is in docs/durability.md.
 */
#ifndef REEL_STORAGE_PARTIAL_H
#define REEL_STORAGE_PARTIAL_H

#include "common/serve/packet_server.h"

void partial_handle_begin(struct packet_request *request);
void partial_handle_append(struct packet_request *request); /* streamed: the head is 441 bytes */
void partial_handle_offset(struct packet_request *request);
void partial_handle_finish(struct packet_request *request);
void partial_handle_abort(struct packet_request *request);
void partial_handle_join_parts(struct packet_request *request);

#endif
