/*
 * kept_sockets: the list of what systemd passed. Each socket has a name of its own there, by which it is given up.
 */
#include "common/loop/kept_sockets.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define PREFIX     "listen-"
#define GIVE_UP_US 5000000 /* how long systemd may take to close what was given up */

struct kept_socket {
    int fd; /* -1: taken, or given up */
    struct socket_address address;
    bool share;
    char *name; /* of systemd's copy */
};

static struct {
    struct kept_socket *items;
    size_t count;
    unsigned last; /* number of the newest name */
    bool survive, inherited;
} kept;

static bool is_set(int fd, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 && value != 0;
}

/* False: it is no socket of ours. */
static bool look_at(int fd, struct kept_socket *item)
{
    item->address.length = sizeof(item->address.storage);
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
        getsockname(fd, (struct sockaddr *)&item->address.storage, &item->address.length) != 0 ||
        (item->address.storage.ss_family != AF_INET && item->address.storage.ss_family != AF_INET6))
        return false;
    /* A socket unit of systemd may pass one that blocks. */
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        return false;
    item->fd = fd;
    item->share = is_set(fd, SO_REUSEPORT);
    return true;
}

/* The number in a name of ours; 0: it is none. */
static unsigned name_number(const char *name)
{
    bool ours = strncmp(name, PREFIX, sizeof(PREFIX) - 1) == 0;
    unsigned long number = ours ? strtoul(name + sizeof(PREFIX) - 1, NULL, 10) : 0;

    return number < UINT_MAX ? (unsigned)number : 0;
}

void kept_sockets_begin(void)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);

    if (count <= 0)
        return;
    kept.items = calloc((size_t)count, sizeof(*kept.items));
    for (int i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        unsigned number = name_number(names[i]);

        if (number > kept.last)
            kept.last = number;
        if (kept.items && look_at(fd, &kept.items[kept.count])) {
            kept.items[kept.count++].name = names[i];
            continue;
        }
        (void)close(fd);
        free(names[i]);
    }
    free(names);
}

/* The port, in network byte order. */
static in_port_t port_of(const struct socket_address *address)
{
    return address->storage.ss_family == AF_INET6
               ? ((const struct sockaddr_in6 *)&address->storage)->sin6_port
               : ((const struct sockaddr_in *)&address->storage)->sin_port;
}

static bool same_address(const struct socket_address *a, const struct socket_address *b)
{
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)&a->storage;
    const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)&b->storage;
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)&a->storage;
    const struct sockaddr_in *b4 = (const struct sockaddr_in *)&b->storage;

    if (a->storage.ss_family != b->storage.ss_family || port_of(a) != port_of(b))
        return false;
    if (a->storage.ss_family == AF_INET)
        return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0 &&
           a6->sin6_scope_id == b6->sin6_scope_id;
}

bool kept_sockets_have(const struct socket_address *address)
{
    for (size_t i = 0; i < kept.count; i++) {
        if (kept.items[i].fd >= 0 && same_address(&kept.items[i].address, address))
            return true;
    }
    return false;
}

int kept_sockets_take(const struct socket_address *address, bool share)
{
    for (size_t i = 0; i < kept.count; i++) {
        struct kept_socket *item = &kept.items[i];
        int fd = item->fd;

        if (fd < 0 || item->share != share || !same_address(&item->address, address))
            continue;
        item->fd = -1;
        kept.survive = kept.inherited = true;
        return fd;
    }
    return -1;
}

static void give_up(struct kept_socket *item)
{
    (void)close(item->fd);
    item->fd = -1;
    (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", item->name);
}

bool kept_sockets_drop_port(const struct socket_address *address)
{
    int failure = errno;
    bool dropped = false;

    for (size_t i = 0; i < kept.count; i++) {
        if (kept.items[i].fd < 0 || port_of(&kept.items[i].address) != port_of(address))
            continue;
        give_up(&kept.items[i]);
        dropped = true;
    }
    if (dropped)
        (void)sd_notify_barrier(0, GIVE_UP_US);
    errno = failure;
    return dropped;
}

void kept_sockets_keep(int fd)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=" PREFIX "%u", ++kept.last);
    if (sd_pid_notify_with_fds(0, 0, text, &fd, 1) > 0)
        kept.survive = true;
}

void kept_sockets_end(void)
{
    size_t given_up = 0;

    for (size_t i = 0; i < kept.count; i++) {
        if (kept.items[i].fd >= 0) {
            give_up(&kept.items[i]);
            given_up++;
        }
        free(kept.items[i].name);
    }
    if (kept.count > 0)
        log_info("listen", "%zu listening sockets are taken over from the process before, %zu are given up",
                 kept.count - given_up, given_up);
    free(kept.items);
    kept.items = NULL;
    kept.count = 0;
}

bool kept_sockets_inherited(void)
{
    return kept.inherited;
}

bool kept_sockets_survive(void)
{
    return kept.survive;
}
