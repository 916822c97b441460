/*
 * bind: turns configured addresses into listening sockets. Knows nothing of loops and connections; keeps nothing.
 */
#include "common/loop/bind.h"
#include "common/loop/kept_sockets.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG       4096
#define RESOLVED_MAX  16 /* addresses of one host name */
#define KEEPALIVE_S   60 /* a peer that vanished is found out after 60 + 5 * 12 seconds */
#define KEEPALIVE_GAP 12
#define KEEPALIVE_TRY 5

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static const char *describe(const struct socket_address *address, char *buffer, size_t size)
{
    struct address plain;

    if (!address_from_socket((const struct sockaddr *)&address->storage, address->length, &plain))
        return "?";
    return address_format(&plain, buffer, size);
}

uint16_t bind_port(const struct socket_address *address)
{
    struct address plain;

    return address_from_socket((const struct sockaddr *)&address->storage, address->length, &plain)
               ? plain.port
               : 0;
}

/* A socket that is bound to ADDRESS, but with PORT, and does not listen; -1 with errno. */
static int open_bound(const struct socket_address *address, uint16_t port, bool share)
{
    struct socket_address bound = *address;
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        ((struct sockaddr_in6 *)&bound.storage)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&bound.storage)->sin_port = htons(port);
    if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
        (share && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) ||
        (family == AF_INET6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) ||
        bind(fd, (const struct sockaddr *)&bound.storage, bound.length) != 0) {
        int failure = errno;

        (void)close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

static bool bind_refuse(const struct socket_address *address, int failure, struct error *error)
{
    char text[ADDRESS_TEXT_SIZE];

    if (failure == EADDRINUSE)
        return error_set(error, ERROR_UNAVAILABLE, "address %s is in use by another process",
                         describe(address, text, sizeof(text)));
    return error_set_errno(error, failure, "cannot listen on address %s",
                           describe(address, text, sizeof(text)));
}

/* ---- what the configuration means on this machine ---- */

/* Whether this machine has the family and the address at all; with any port. */
static bool bind_is_usable(const struct socket_address *address)
{
    int fd = open_bound(address, 0, false);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL);
}

static void set_ipv4_wildcard(struct socket_address *address, uint16_t port)
{
    struct sockaddr_in any = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY), .sin_port = htons(port)};

    memset(address, 0, sizeof(*address));
    memcpy(&address->storage, &any, sizeof(any));
    address->length = sizeof(any);
}

/* Leaves out of a name's addresses those that cannot be used here, unless that is all of them. */
static size_t keep_usable(struct socket_address *items, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (bind_is_usable(&items[i]))
            items[kept++] = items[i];
    }
    return kept > 0 ? kept : count;
}

static bool resolve_one(const struct address *address, struct socket_address *items, size_t *count,
                        struct error *error)
{
    if (!address_to_socket(address, &items[0])) {
        if (!address_resolve(address, items, RESOLVED_MAX, count, error))
            return false;
        *count = keep_usable(items, *count);
        return true;
    }
    if (strcmp(address->host, "*") == 0 && !bind_is_usable(&items[0]))
        set_ipv4_wildcard(&items[0], address->port);
    *count = 1;
    return true;
}

/* Tries without SO_REUSEPORT whether another process has it. Port 0 is free: the kernel chooses. */
static bool bind_is_free(const struct socket_address *address, struct error *error)
{
    uint16_t port = bind_port(address);
    int fd;

    if (port == 0 || kept_sockets_have(address))
        return true;
    fd = open_bound(address, port, false);
    /* The configuration may name another address with the same port as before: "*" in the place of one. */
    if (fd < 0 && errno == EADDRINUSE && kept_sockets_drop_port(address))
        fd = open_bound(address, port, false);
    if (fd < 0)
        return bind_refuse(address, errno, error);
    (void)close(fd);
    return true;
}

bool bind_list_resolve(const struct address_list *addresses, struct bind_list *list, struct error *error)
{
    *list = (struct bind_list){0};
    if (addresses->count == 0)
        return error_set(error, ERROR_GENERAL, "no address to listen on is configured");
    list->items = calloc(addresses->count * RESOLVED_MAX, sizeof(*list->items));
    if (!list->items)
        return error_set_errno(error, ENOMEM, "cannot listen");
    for (size_t i = 0; i < addresses->count; i++) {
        size_t found = 0;
        char text[ADDRESS_TEXT_SIZE];

        if (addresses->items[i].tls) {
            (void)error_set(error, ERROR_REFUSED,
                            "%s: tls:// is for calls to others; to listen under TLS use listen_tls",
                            address_format(&addresses->items[i], text, sizeof(text)));
            goto fail;
        }

        if (!resolve_one(&addresses->items[i], &list->items[list->count], &found, error))
            goto fail;
        for (size_t j = 0; j < found; j++) {
            if (!bind_is_free(&list->items[list->count + j], error))
                goto fail;
        }
        list->count += found;
    }
    return true;
fail:
    bind_list_clear(list);
    return false;
}

void bind_list_clear(struct bind_list *list)
{
    free(list->items);
    *list = (struct bind_list){0};
}

/* ---- sockets ---- */

/* Accepted sockets inherit what is set on a listening one: tcp(7). */
static bool set_inherited(int fd, const struct bind_options *options)
{
    int unsent = (int)min_i64(options->unsent_max, INT32_MAX);

    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           (!options->keep_alive || (set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
                                     set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S) &&
                                     set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_GAP) &&
                                     set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRY))) &&
           (unsent == 0 || set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent));
}

int bind_socket(struct socket_address *address, const struct bind_options *options, struct error *error)
{
    int fd = kept_sockets_take(address, options->share);
    bool taken = fd >= 0;

    if (!taken)
        fd = open_bound(address, bind_port(address), options->share);
    if (fd < 0) {
        bind_refuse(address, errno, error);
        return -1;
    }
    if (!set_inherited(fd, options) || listen(fd, BACKLOG) != 0)
        goto fail;
    address->length = sizeof(address->storage);
    if (getsockname(fd, (struct sockaddr *)&address->storage, &address->length) != 0)
        goto fail;
    if (!taken)
        kept_sockets_keep(fd);
    return fd;
fail:
    bind_refuse(address, errno, error);
    (void)close(fd);
    return -1;
}
