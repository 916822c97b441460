/*
 * transport: one end of a connection, plain or under TLS, with the calls of recv(2) and send(2) for both. Plain ends are
 * the system's calls behind one test of a pointer. Under TLS the calls mean the same: a count of bytes of content, 0 at
 * the peer's clean end (close_notify), or -1 with errno, EAGAIN where the socket has to be waited for; only the
 * socket's events say when. A connection's end is used by one thread at a time.
 *
 * What was not taken must be offered again first, as with any stream: the beginning of it may be encrypted already.
 */
#ifndef REEL_COMMON_TRANSPORT_H
#define REEL_COMMON_TRANSPORT_H

#include "common/base/base.h"
#include "common/transport/tls.h"
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

struct transport {
    int fd;          /* non-blocking */
    struct tls *tls; /* NULL: plain; owned, ends with transport_close() */
};

/* FLAGS as in recv(2); MSG_PEEK and MSG_TRUNC mean the same under TLS. */
static inline ssize_t transport_recv(struct transport at, void *bytes, size_t size, int flags)
{
    return !at.tls ? recv(at.fd, bytes, size, flags) : tls_recv(at.tls, bytes, size, flags);
}

/* More can be read at once, without an event of the socket: content that is decrypted already, or its end. False for plain
 * ends, where the kernel says so. */
static inline bool transport_pending(struct transport at)
{
    return at.tls && tls_pending(at.tls);
}

/* Of FLAGS, MSG_MORE counts under TLS. */
static inline ssize_t transport_send(struct transport at, const void *bytes, size_t size, int flags)
{
    struct iovec part = {(void *)(uintptr_t)bytes, size};

    return !at.tls ? send(at.fd, bytes, size, flags) : tls_send(at.tls, &part, 1, flags);
}

static inline ssize_t transport_sendmsg(struct transport at, const struct msghdr *message, int flags)
{
    return !at.tls ? sendmsg(at.fd, message, flags)
                   : tls_send(at.tls, message->msg_iov, message->msg_iovlen, flags);
}

/* As sendfile(2). Where the kernel does not encrypt, the file is read here: it waits for the disk just as sendfile(2)
 * does. */
static inline ssize_t transport_sendfile(struct transport at, int file, off_t *offset, size_t size)
{
    return !at.tls ? sendfile(at.fd, file, offset, size) : tls_sendfile(at.tls, file, offset, size);
}

/* Whether splice(2) may move bytes of a pipe into the socket, because it is plain or the kernel encrypts. */
static inline bool transport_takes_splice(struct transport at)
{
    return !at.tls || tls_kernel_sends(at.tls);
}

/* As splice(2) from a pipe; only where transport_takes_splice(). */
static inline ssize_t transport_splice(struct transport at, int pipe_end, size_t size, unsigned flags)
{
    return !at.tls ? splice(pipe_end, NULL, at.fd, NULL, size, flags)
                   : tls_splice(at.tls, pipe_end, size, flags);
}

/* Whether splice(2) may take content from the socket. */
static inline bool transport_gives_splice(struct transport at)
{
    return !at.tls;
}

/* The connection should end before long, because its key has encrypted much. */
static inline bool transport_is_worn(struct transport at)
{
    return at.tls && tls_is_worn(at.tls);
}

/* As shutdown(2) with SHUT_WR: the peer learns of the clean end, and can still be read. */
int transport_shutdown(struct transport at);

/* Sends close_notify where that needs no wait, frees and closes. The socket's events must be gone. */
void transport_close(struct transport *at);

#endif
