/*
 * left: the command LEFT (docs/protocol.md, "93 LEFT"): which users still have rows of this group, so that the operator who
 * empties the group finds those whom no tracker names any more. Goes through the tables a stretch at a time. On the request's
 * loop.
 */
#ifndef REEL_STORAGE_LEFT_H
#define REEL_STORAGE_LEFT_H

#include "common/serve/packet_server.h"

void left_handle(struct packet_request *request);

#endif
