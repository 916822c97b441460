/*
 * reply_body: the body of a reply, collected in memory: room grows with the bytes that come, whatever length was
 * announced.
 */
#ifndef REEL_COMMON_REPLY_BODY_H
#define REEL_COMMON_REPLY_BODY_H

#include "common/call/packet_socket.h"

struct reply_body {
    uint8_t *bytes; /* NULL while there are none */
    size_t capacity, used;
    size_t length; /* that was announced */
};

enum reply_body_read {
    REPLY_BODY_READ,
    REPLY_BODY_NONE,   /* nothing is there now */
    REPLY_BODY_ENDED,  /* the connection was closed */
    REPLY_BODY_BROKEN, /* errno */
    REPLY_BODY_NO_MEMORY,
};

void reply_body_clear(struct reply_body *body);
/* False without memory. At most `length` bytes in all. */
MUST_CHECK bool reply_body_append(struct reply_body *body, const uint8_t *bytes, size_t size);
/* One read; less than `length` bytes must have come. */
enum reply_body_read reply_body_recv(struct reply_body *body, struct packet_socket *socket);

#endif
