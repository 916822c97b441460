/*
 * fsck: the command FSCK (docs/protocol.md, "80 FSCK"): asks a group's upkeep for a scrub, or confirms that files without
 * rows are leftovers, and reports how far it is. Any server answers for any group whose rows are in its database, since
 * all of it is in rows of t_lease. Called by the dispatch table in storage/request/commands.c.
 */
#ifndef REEL_STORAGE_FSCK_H
#define REEL_STORAGE_FSCK_H

#include "common/serve/packet_server.h"

void fsck_handle(struct packet_request *request); /* on the request's loop */

#endif
