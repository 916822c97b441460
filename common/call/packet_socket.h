/*
 * packet_socket: a connected socket of the calling side: its two events and the buffer in which a reply begins. Knows
 * nothing of who opened it; packet_pool keeps such sockets, packet_exchange and packet_line use them. On one loop's
 * thread only.
 */
#ifndef REEL_COMMON_PACKET_SOCKET_H
#define REEL_COMMON_PACKET_SOCKET_H

#include "common/loop/loop.h"
#include "common/proto/proto.h"
#include "common/transport/transport.h"
#include <event2/event_struct.h>

#define PACKET_SOCKET_BUFFER (16 * 1024 + PROTO_HEADER_SIZE) /* bytes: a small reply comes in one piece */
#define PACKET_BUFFERS_KEPT  32

/* Unused buffers, for the next replies. Zeroed before its first use. */
struct packet_buffers {
    uint8_t *kept[PACKET_BUFFERS_KEPT];
    size_t count;
};
void packet_buffers_clear(struct packet_buffers *buffers);

struct packet_socket {
    struct transport transport;
    /* Persistent. `read` stays added while the socket is unused and from one request to the next: a change costs an
     * epoll_ctl(2). */
    struct event read, write;
    void (*handler)(void *owner, short what); /* WHAT: EV_READ or EV_WRITE */
    void *owner;
    struct packet_buffers *buffers; /* where the buffer comes from and goes to; NULL: from malloc() */
    uint8_t *buffer;                /* of PACKET_SOCKET_BUFFER bytes; NULL while nothing is in it */
    size_t used;                    /* bytes of the present reply that were read into the buffer */
};

/* FD: non-blocking; stays the caller's, who ends it by transport_close() of `transport`. Neither event is added. BUFFERS may
 * be NULL. */
MUST_CHECK bool packet_socket_init(struct packet_socket *socket, struct loop *loop, int fd,
                                   struct packet_buffers *buffers);
void packet_socket_own(struct packet_socket *socket, void (*handler)(void *owner, short what), void *owner);

/* Whether EVENT (one of the socket's) is waited for. False: libevent refused; the socket is of no use then. */
bool packet_socket_watch(struct event *event, bool on);
/* Neither event is. */
void packet_socket_unwatch(struct packet_socket *socket);

/* Memory for a reply; it has it already where some of it was read. False without memory. */
MUST_CHECK bool packet_socket_take_buffer(struct packet_socket *socket);
/* What is in the buffer is not needed any more; `used` stays. */
void packet_socket_give_buffer(struct packet_socket *socket);

/* As recv(2). The read event comes again while something is there, also where TLS has it decrypted already. */
ssize_t packet_socket_recv(struct packet_socket *socket, void *bytes, size_t size);

/* Bytes are in flight to the peer and nothing has come back from its machine for LIMIT_MS: it is gone, or cut off. */
bool packet_socket_is_silent(const struct packet_socket *socket, int64_t limit_ms);
/* The peer has kept it open and sent nothing: anything to read now is its end, or rubbish. */
bool packet_socket_is_quiet(const struct packet_socket *socket);

#endif
