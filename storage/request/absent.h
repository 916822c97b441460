/*
 * absent: the answer to a request for a file that has no row here: "not found", unless the file's user belongs to another
 * group, whose servers have it: then the request came here by mistake (an address that means another machine to its
 * client), and would take "not found" for the truth. Called by the other files of this folder, on the request's loop.
 */
#ifndef REEL_STORAGE_ABSENT_H
#define REEL_STORAGE_ABSENT_H

#include "common/proto/proto.h"
#include "common/serve/packet_server.h"

/* Answers REQUEST about KEY with ERROR_NOT_FOUND or ERROR_OTHER_GROUP, perhaps later: a tracker may have to be asked. */
void absent_reply(struct packet_request *request, const struct proto_file_key *key);

#endif
