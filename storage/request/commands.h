/*
 * commands: the dispatch table of reel-storage (storage_commands, declared in storage/storage.h) and the
 * handlers of the short commands: FILESIZE, DELETE, STAT, RESTORE, LIST.
 */
#ifndef REEL_STORAGE_COMMANDS_H
#define REEL_STORAGE_COMMANDS_H

#include "common/serve/packet_server.h"

extern const struct packet_command storage_commands[];
extern const size_t storage_command_count;

#endif
