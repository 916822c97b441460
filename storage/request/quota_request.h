/*
 * quota_request: QUOTA and SET_QUOTA: what a user has and may have in an application. Called by the dispatch table of
 * storage/request/commands.c.
 */
#ifndef REEL_STORAGE_QUOTA_REQUEST_H
#define REEL_STORAGE_QUOTA_REQUEST_H

#include "common/serve/packet_server.h"

void quota_request_handle_ask(struct packet_request *request);
void quota_request_handle_set(struct packet_request *request);

#endif
