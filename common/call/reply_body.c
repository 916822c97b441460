/*
 * reply_body: room is doubled, up to the length that was announced.
 */
#include "common/call/reply_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLLECT_FIRST ((size_t)16 * 1024) /* the first memory for a body */

void reply_body_clear(struct reply_body *body)
{
    free(body->bytes);
    *body = (struct reply_body){0};
}

/* Room for at least one more byte. */
static bool body_grow(struct reply_body *body)
{
    if (body->used < body->capacity)
        return true;
    size_t capacity = min_size(body->length, body->capacity == 0 ? COLLECT_FIRST : 2 * body->capacity);
    uint8_t *bytes = realloc(body->bytes, capacity);
    if (!bytes)
        return false;
    body->bytes = bytes;
    body->capacity = capacity;
    return true;
}

bool reply_body_append(struct reply_body *body, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        if (!body_grow(body))
            return false;
        size_t now = min_size(body->capacity - body->used, size);
        memcpy(body->bytes + body->used, bytes, now);
        body->used += now;
        bytes += now;
        size -= now;
    }
    return true;
}

enum reply_body_read reply_body_recv(struct reply_body *body, struct packet_socket *socket)
{
    ssize_t got;

    if (!body_grow(body))
        return REPLY_BODY_NO_MEMORY;
    do {
        got = packet_socket_recv(socket, body->bytes + body->used, body->capacity - body->used);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        body->used += (size_t)got;
        return REPLY_BODY_READ;
    }
    if (got == 0)
        return REPLY_BODY_ENDED;
    return errno == EAGAIN || errno == EWOULDBLOCK ? REPLY_BODY_NONE : REPLY_BODY_BROKEN;
}
