/*
 * upload: UPLOAD and PUT from their first byte to the reply. Called by the dispatch table in
 * storage/request/commands.c.
 *
 * What a success reply promises, and the steps to it, are described in upload.c.
 */
#ifndef REEL_STORAGE_UPLOAD_H
#define REEL_STORAGE_UPLOAD_H

#include "common/serve/packet_server.h"

/* Command 70, docs/protocol.md: 408 bytes of head, then the content. On the request's loop. */
void upload_handle_upload(struct packet_request *request);

/* Command 77: UPLOAD with name, content type and expected digest. */
void upload_handle_put(struct packet_request *request);

/* Command 79: PUT whose digest follows the content. */
void upload_handle_put_trailer(struct packet_request *request);
void upload_handle_move(struct packet_request *request);

/* Command 95: PUT that says when the content is wanted, where it was asked to, and what became of it. */
void upload_handle_store(struct packet_request *request);

#endif
