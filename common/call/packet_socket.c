/*
 * packet_socket: events, buffer and what the kernel knows about the other end.
 */
#include "common/call/packet_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void packet_buffers_clear(struct packet_buffers *buffers)
{
    while (buffers->count > 0)
        free(buffers->kept[--buffers->count]);
}

static void socket_event(evutil_socket_t fd, short what, void *argument)
{
    struct packet_socket *socket = argument;

    (void)fd;
    socket->handler(socket->owner, what);
}

bool packet_socket_init(struct packet_socket *socket, struct loop *loop, int fd,
                        struct packet_buffers *buffers)
{
    struct event_base *base = loop_base(loop);

    memset(socket, 0, sizeof(*socket));
    socket->transport = (struct transport){fd, NULL};
    socket->buffers = buffers;
    return event_assign(&socket->read, base, fd, EV_READ | EV_PERSIST, socket_event, socket) == 0 &&
           event_assign(&socket->write, base, fd, EV_WRITE | EV_PERSIST, socket_event, socket) == 0;
}

void packet_socket_own(struct packet_socket *socket, void (*handler)(void *owner, short what), void *owner)
{
    socket->handler = handler;
    socket->owner = owner;
}

bool packet_socket_watch(struct event *event, bool on)
{
    return (on ? event_add(event, NULL) : event_del(event)) == 0;
}

void packet_socket_unwatch(struct packet_socket *socket)
{
    (void)event_del(&socket->read);
    (void)event_del(&socket->write);
}

bool packet_socket_take_buffer(struct packet_socket *socket)
{
    struct packet_buffers *buffers = socket->buffers;

    if (!socket->buffer)
        socket->buffer =
            buffers && buffers->count > 0 ? buffers->kept[--buffers->count] : malloc(PACKET_SOCKET_BUFFER);
    return socket->buffer;
}

void packet_socket_give_buffer(struct packet_socket *socket)
{
    struct packet_buffers *buffers = socket->buffers;

    if (socket->buffer && buffers && buffers->count < PACKET_BUFFERS_KEPT)
        buffers->kept[buffers->count++] = socket->buffer;
    else
        free(socket->buffer);
    socket->buffer = NULL;
}

ssize_t packet_socket_recv(struct packet_socket *socket, void *bytes, size_t size)
{
    ssize_t got = transport_recv(socket->transport, bytes, size, MSG_DONTWAIT);

    if (transport_pending(socket->transport) && event_pending(&socket->read, EV_READ, NULL))
        event_active(&socket->read, EV_READ, 0);
    return got;
}

bool packet_socket_is_silent(const struct packet_socket *socket, int64_t limit_ms)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);

    /* Bytes are under way, were sent again, and nothing at all came back: a peer that is merely slow acknowledges. */
    return getsockopt(socket->transport.fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           size == sizeof(info) && info.tcpi_unacked > 0 && info.tcpi_retransmits > 0 &&
           info.tcpi_last_ack_recv >= limit_ms;
}

bool packet_socket_is_quiet(const struct packet_socket *socket)
{
    uint8_t byte;
    ssize_t got = transport_recv(socket->transport, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}
