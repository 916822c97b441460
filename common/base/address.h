/*
 * address: IPv4, IPv6 and host names with a port, wherever an address is written.
 * Forms: "192.0.2.1:21000", "[2001:db8::1]:21000", "media1:21000", "*:21000" (every address of this machine),
 * each also without ":port" where a default port is given, and with "tls://" in front where the other end speaks TLS.
 */
#ifndef REEL_COMMON_ADDRESS_H
#define REEL_COMMON_ADDRESS_H

#include "common/base/base.h"
#include "common/base/error.h"
#include <sys/socket.h>

#define ADDRESS_HOST_SIZE 256
#define ADDRESS_TEXT_SIZE (ADDRESS_HOST_SIZE + 16) /* tls://, brackets, colon, port, NUL */

struct address {
    char host[ADDRESS_HOST_SIZE]; /* without brackets; "*" for every address of this machine */
    uint16_t port;                /* host byte order */
    bool tls;                     /* under TLS; only of servers that are called */
};

struct address_list {
    struct address *items; /* owned; freed by address_list_clear() */
    size_t count;
};

/* TEXT -> ADDRESS. DEFAULT_PORT 0 means that the port must be written. Spaces around are ignored. Pure. */
MUST_CHECK bool address_parse(const char *text, uint16_t default_port, struct address *address,
                              struct error *error);

/* "host:port", IPv6 in brackets, "tls://" in front where that is spoken. SIZE at least ADDRESS_TEXT_SIZE never cuts. Returns BUFFER. */
char *address_format(const struct address *address, char *buffer, size_t size);

bool address_equal(const struct address *a, const struct address *b);

/* A list separated by commas, semicolons or white space (a trailing separator is legal: the SADDRS form of
 * docs/protocol.md). Empty text gives an empty list. LIST is overwritten; on failure it is left empty. */
MUST_CHECK bool address_list_parse(const char *text, uint16_t default_port, struct address_list *list,
                                   struct error *error);
MUST_CHECK bool address_list_copy(struct address_list *to, const struct address_list *from);
MUST_CHECK bool address_list_append(struct address_list *list, const struct address *address);
void address_list_clear(struct address_list *list);

/* A resolved address, ready for connect(2) or bind(2). */
struct socket_address {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* True where HOST is a numeric address or "*"; then fills OUT without a look-up ("*" gives the IPv6 wildcard;
 * bind it with IPV6_V6ONLY off). Never blocks. */
bool address_to_socket(const struct address *address, struct socket_address *out);

/* Resolves also host names with getaddrinfo(3): BLOCKS, so only on a worker or before the loops run.
 * Gives up to CAPACITY addresses, at least one on success. */
MUST_CHECK bool address_resolve(const struct address *address, struct socket_address *out, size_t capacity,
                                size_t *count, struct error *error);

#define ADDRESS_NETWORK_SIZE 16

/* What counts as one client where clients are limited: an IPv4 address (also where it is written as IPv6), or the first 64 bits of
 * an IPv6 address, since one customer has a whole /64. HOST: numeric, also with a scope. False: it is not. Pure. */
MUST_CHECK bool address_network(const char *host, uint8_t network[ADDRESS_NETWORK_SIZE]);

/* The reverse of address_to_socket(), for peers: numeric host and port; an IPv4-mapped IPv6 address becomes plain IPv4. */
MUST_CHECK bool address_from_socket(const struct sockaddr *socket_address, socklen_t length,
                                    struct address *address);

#endif
