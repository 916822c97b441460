/*
 * commands: the dispatch table of reel-storage (storage_commands, declared in storage/storage.h) and the
 * handlers of the short commands: FILESIZE, DELETE, STAT, RESTORE, LIST.
 */
#ifndef REEL_STORAGE_COMMANDS_H
#define REEL_STORAGE_COMMANDS_H

#include "common/serve/packet_server.h"

/* Each on the request's loop; bodies in docs/protocol.md. */
void commands_handle_filesize(struct packet_request *request);
void commands_handle_delete(struct packet_request *request);
void commands_handle_stat(struct packet_request *request);
void commands_handle_restore(struct packet_request *request);
void commands_handle_where(struct packet_request *request);
void commands_handle_list(struct packet_request *request);

#endif
