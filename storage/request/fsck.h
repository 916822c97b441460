/*
 * fsck: the command FSCK (docs/protocol.md): asks the group's upkeep for a scrub, and tells how far it is.
 * Any member answers, since both are in the lease's row. Called by the dispatch table in storage/request/commands.c.
 */
#ifndef REEL_STORAGE_FSCK_H
#define REEL_STORAGE_FSCK_H

#include "common/serve/packet_server.h"

void fsck_handle(struct packet_request *request); /* on the request's loop */

#endif
