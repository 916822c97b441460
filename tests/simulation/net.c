/*
 * net: TCP between nodes is a pair of Unix stream sockets, whose every byte is there at once and in order, so that a run
 * repeats itself; a listener is an eventfd and a queue. A node's descriptors are closed when it dies.
 */
#include "tests/simulation/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX   8192
#define QUEUE_MAX 256

enum kind { KIND_NONE, KIND_OTHER, KIND_SOCKET, KIND_LISTENER, KIND_CONNECTED };

struct listener {
    int queue[QUEUE_MAX];
    size_t count;
};

struct descriptor {
    enum kind kind;
    const struct node *node;
    uint16_t port; /* bound to */
    struct listener *listener;
};

static struct descriptor descriptors[FDS_MAX];
static int descriptors_end; /* none is in use from here on */

int __real_close(int fd);
int __real_eventfd(unsigned value, int flags);
ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __real_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __real_send(int fd, const void *bytes, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __real_readv(int fd, const struct iovec *parts, int count);
ssize_t __real_sendfile(int to, int from, off_t *offset, size_t size);
int __real_shutdown(int fd, int how);

static void own(int fd, enum kind kind)
{
    if (fd >= FDS_MAX)
        violation("more than %d descriptors", FDS_MAX);
    if (fd >= descriptors_end)
        descriptors_end = fd + 1;
    descriptors[fd] = (struct descriptor){.kind = kind, .node = node_current()};
}

void net_own(int fd)
{
    own(fd, KIND_OTHER);
}

void net_forget(int fd)
{
    if (fd >= 0 && fd < FDS_MAX) {
        disk_forget(fd);
        struct listener *listener = descriptors[fd].listener;
        for (size_t i = 0; listener && i < listener->count; i++)
            (void)__real_close(listener->queue[i]);
        free(listener);
        if (descriptors[fd].kind == KIND_CONNECTED)
            note_io();
        descriptors[fd] = (struct descriptor){0};
    }
}

int __wrap_close(int fd);
int __wrap_close(int fd)
{
    net_forget(fd);
    return __real_close(fd);
}

void net_close_all(const struct node *node)
{
    for (int fd = 0; fd < descriptors_end; fd++) {
        if (descriptors[fd].kind != KIND_NONE && descriptors[fd].node == node)
            (void)__wrap_close(fd);
    }
}

void net_cut(void)
{
    int chosen = -1, seen = 0;
    for (int fd = 0; fd < descriptors_end; fd++) {
        if (descriptors[fd].kind == KIND_CONNECTED && chance_below(++seen) == 0)
            chosen = fd;
    }
    if (chosen < 0)
        return;
    say("a connection of %s is cut", descriptors[chosen].node ? descriptors[chosen].node->name : "a client");
    (void)__real_shutdown(chosen, SHUT_RDWR);
    note_io();
}

int __wrap_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags)
{
    int fd = __real_eventfd(value, flags);
    if (fd >= 0)
        own(fd, KIND_OTHER);
    return fd;
}

/* ---- sockets ---- */

int __wrap_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol)
{
    (void)protocol;
    if (family != AF_INET) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    int fd = __real_eventfd(0, (type & SOCK_NONBLOCK ? EFD_NONBLOCK : 0) | EFD_CLOEXEC);
    if (fd >= 0)
        own(fd, KIND_SOCKET);
    return fd;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_in in;
    memcpy(&in, address, min_size(size, sizeof(in)));
    descriptors[fd].port = ntohs(in.sin_port);
    return 0;
}

int __wrap_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
    (void)backlog;
    descriptors[fd].kind = KIND_LISTENER;
    descriptors[fd].listener = calloc(1, sizeof(struct listener));
    return 0;
}

static void fill_address(struct sockaddr *address, socklen_t *size, uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (!address)
        return;
    memcpy(address, &in, min_size(*size, sizeof(in)));
    *size = sizeof(in);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    struct listener *listener = descriptors[fd].listener;
    uint64_t ignored;
    if (!listener || listener->count == 0) {
        (void)__real_read(fd, &ignored, sizeof(ignored));
        errno = EAGAIN;
        return -1;
    }
    int accepted = listener->queue[0];
    memmove(&listener->queue[0], &listener->queue[1], --listener->count * sizeof(listener->queue[0]));
    if (flags & SOCK_NONBLOCK)
        (void)fcntl(accepted, F_SETFL, fcntl(accepted, F_GETFL) | O_NONBLOCK);
    own(accepted, KIND_CONNECTED);
    fill_address(address, size, (uint16_t)chance_between(40000, 60000));
    return accepted;
}

/* One of the listeners of PORT, by chance; -1: nobody listens. */
static int find_listener(uint16_t port)
{
    int chosen = -1, seen = 0;
    for (int fd = 0; fd < descriptors_end; fd++) {
        const struct descriptor *one = &descriptors[fd];
        if (one->kind == KIND_LISTENER && one->port == port && one->listener->count < QUEUE_MAX &&
            chance_below(++seen) == 0)
            chosen = fd;
    }
    return chosen;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_in in;
    int pair[2];
    uint64_t one = 1;
    memcpy(&in, address, min_size(size, sizeof(in)));
    int at = find_listener(ntohs(in.sin_port));
    if (at < 0) {
        errno = ECONNREFUSED;
        return -1;
    }
    int flags = fcntl(fd, F_GETFL) & O_NONBLOCK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    (void)dup3(pair[0], fd, O_CLOEXEC);
    (void)__real_close(pair[0]);
    (void)fcntl(fd, F_SETFL, flags);
    descriptors[fd].kind = KIND_CONNECTED;
    descriptors[at].listener->queue[descriptors[at].listener->count++] = pair[1];
    (void)__real_write(at, &one, sizeof(one));
    note_io();
    return 0;
}

int net_connect(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = __wrap_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd >= 0 && __wrap_connect(fd, (struct sockaddr *)&in, sizeof(in)) != 0) {
        (void)__wrap_close(fd);
        return -1;
    }
    return fd;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *size)
{
    fill_address(address, size, descriptors[fd].port);
    return 0;
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *size)
{
    (void)fd;
    fill_address(address, size, 50000);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)fd;
    (void)level;
    (void)name;
    (void)value;
    (void)size;
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)fd;
    if (level != SOL_SOCKET || name != SO_ERROR) {
        errno = EOPNOTSUPP;
        return -1;
    }
    memset(value, 0, *size);
    return 0;
}

/* ---- bytes: whoever waits for the other end looks again ---- */

static ssize_t moved(ssize_t bytes)
{
    if (bytes >= 0)
        note_io();
    return bytes;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t size, int flags)
{
    return moved(__real_recv(fd, bytes, size, flags));
}

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
    return moved(__real_send(fd, bytes, size, flags));
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return moved(__real_sendmsg(fd, message, flags));
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    return moved(__real_recvmsg(fd, message, flags));
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    return moved(__real_writev(fd, parts, count));
}

ssize_t __wrap_readv(int fd, const struct iovec *parts, int count);
ssize_t __wrap_readv(int fd, const struct iovec *parts, int count)
{
    return moved(__real_readv(fd, parts, count));
}

ssize_t __wrap_sendfile(int to, int from, off_t *offset, size_t size);
ssize_t __wrap_sendfile(int to, int from, off_t *offset, size_t size)
{
    return moved(__real_sendfile(to, from, offset, size));
}

int __wrap_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
    int result = __real_shutdown(fd, how);
    note_io();
    return result;
}
