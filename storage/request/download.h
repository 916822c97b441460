/*
 * download: DOWNLOAD and READ: row, range, open file, then the bytes by sendfile. Called by the dispatch table in
 * storage/request/commands.c.
 */
#ifndef REEL_STORAGE_DOWNLOAD_H
#define REEL_STORAGE_DOWNLOAD_H

#include "common/serve/packet_server.h"

/* Commands 72 and 81, docs/protocol.md: offset and size inside the file or ERROR_RANGE; size 0 means to the end. On
 * the request's loop. */
void download_handle(struct packet_request *request);

#endif
