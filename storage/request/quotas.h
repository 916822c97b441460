/*
 * quotas: QUOTAS: the users of an application whose files are counted, and what they may have, a page at a time. Called by the
 * dispatch table of storage/request/commands.c, on the connection's loop.
 */
#ifndef REEL_STORAGE_QUOTAS_H
#define REEL_STORAGE_QUOTAS_H

#include "common/serve/packet_server.h"

void quotas_handle(struct packet_request *request);

#endif
