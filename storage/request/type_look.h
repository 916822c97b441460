/*
 * type_look: a row without a content type (a predecessor's, or one that storage/admit/type.h did not get to) is
 * about to be shown: the first bytes of its file are read and the type is found out on a worker of the store
 * path, then saved. Called by storage/request/commands.c on the request's loop.
 */
#ifndef REEL_STORAGE_TYPE_LOOK_H
#define REEL_STORAGE_TYPE_LOOK_H

#include "storage/storage.h"

/* True: DONE follows on REQUEST's loop with the row, which then has a type, unless its file cannot be read. False: there is
 * nothing to look for, or no place to do it in; DONE is not called. */
typedef void (*type_look_done)(struct packet_request *request, const struct meta_row *row);
MUST_CHECK bool type_look_start(struct packet_request *request, const struct proto_file_key *key,
                                const struct meta_row *row, type_look_done done);

#endif
