/*
 * bind: listening sockets for the addresses that a configuration names, the same for every port of every daemon.
 * "*" means every address of the machine, IPv6 and IPv4 by one socket, and IPv4 alone where the kernel has no IPv6;
 * of a host name's addresses those count that this machine can use. Blocks on name look-ups: start-up only.
 */
#ifndef REEL_COMMON_BIND_H
#define REEL_COMMON_BIND_H

#include "common/base/address.h"

/* Addresses to listen on, ready for bind(2). */
struct bind_list {
    struct socket_address *items; /* owned; freed by bind_list_clear() */
    size_t count;
};

/* Fills LIST from ADDRESSES and makes sure that no other process listens on any of them: one that shares a port by
 * SO_REUSEPORT, as our loops do among themselves, would share the connections too, and neither would notice. Fails on
 * a name that cannot be resolved and on an address that is taken or not this machine's, which ERROR names; LIST is empty
 * then. */
MUST_CHECK bool bind_list_resolve(const struct address_list *addresses, struct bind_list *list,
                                  struct error *error);
void bind_list_clear(struct bind_list *list);

struct bind_options {
    bool share; /* SO_REUSEPORT: several loops listen on one address */
    bool
        keep_alive; /* a peer that vanished is found out after two minutes, whatever the connection waits for */
    int64_t unsent_max; /* TCP_NOTSENT_LOWAT of accepted connections, bytes; 0: the kernel's */
};

/* A non-blocking socket that listens on ADDRESS; a port 0 there becomes the one that the kernel chose. Accepted
 * connections inherit the options, and have TCP_NODELAY. The caller closes it. -1 on failure, which names the address. */
MUST_CHECK int bind_socket(struct socket_address *address, const struct bind_options *options,
                           struct error *error);

/* The port of ADDRESS in host byte order. */
uint16_t bind_port(const struct socket_address *address);

#endif
