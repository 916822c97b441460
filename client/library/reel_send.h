/*
 * reel_send: one request with content, from its first byte to the reply: PUT (PUT_TRAILER) of all of it, or APPEND of a part. All
 * reading happens in the calling thread, which blocks. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_SEND_H
#define REEL_CLIENT_REEL_SEND_H

#include "client/library/reel_content.h"
#include "client/library/reel_internal.h"

struct send_options {
    const struct content *content;
    const struct reel_upload *upload; /* progress and its argument */
    /* One of both. PUT without a digest: it follows the content. It is tried with other servers, from the beginning. */
    const struct proto_put *put;
    const struct proto_append *append; /* offset and size say which part */
    /* APPEND: bytes that were read, in their order, in the calling thread; and how far it is after a success. */
    void (*passed)(void *argument, const uint8_t *bytes, size_t size, int64_t position);
    struct proto_partial_state *state;
    struct client_server *server; /* APPEND: which is asked first, and did it; may be NULL */
    void *argument;
};

MUST_CHECK bool reel_send(struct reel *reel, const struct send_options *options, struct error *error);

#endif
