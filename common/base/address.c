/*
 * address: reads and writes addresses and turns them into what connect(2) and bind(2) take. Touches nothing
 * but its arguments, except address_resolve(), which asks the system's resolver. Everybody calls it, on any
 * thread.
 */
#include "common/base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ADDRESS_LABEL_MAX 63  /* RFC 1123 section 2.1, RFC 1035 section 2.3.4 */
#define ADDRESS_NAME_MAX  254 /* 253 and a final dot */

/* A piece of some text. */
struct span {
    const char *start;
    size_t length;
};

static bool address_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool address_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool address_is_name_character(char c)
{
    return address_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static struct span span_trim(struct span span)
{
    while (span.length > 0 && address_is_space(span.start[0])) {
        span.start++;
        span.length--;
    }
    while (span.length > 0 && address_is_space(span.start[span.length - 1]))
        span.length--;
    return span;
}

/* Fails with `address "TEXT": REASON`; TEXT may come from a peer, so what a log line cannot hold becomes '?'.
 */
static bool address_refuse(struct error *error, struct span text, const char *reason)
{
    char shown[80];
    size_t length = min_size(text.length, sizeof(shown) - 1);
    for (size_t i = 0; i < length; i++)
        shown[i] = text.start[i] >= ' ' && text.start[i] <= '~' ? text.start[i] : '?';
    shown[length] = '\0';
    return error_set(error, ERROR_MALFORMED, "address \"%s%s\": %s", shown, length < text.length ? "..." : "",
                     reason);
}

/* IPv6 text, perhaps with %ZONE, into OUT without a port. */
static bool ipv6_from_text(const char *text, struct sockaddr_in6 *out)
{
    char bare[INET6_ADDRSTRLEN];
    const char *zone = strchr(text, '%');
    size_t length = zone ? (size_t)(zone - text) : strlen(text);
    if (length == 0 || length >= sizeof(bare))
        return false;
    memcpy(bare, text, length);
    bare[length] = '\0';
    memset(out, 0, sizeof(*out));
    out->sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, bare, &out->sin6_addr) != 1)
        return false;
    if (zone) {
        out->sin6_scope_id = if_nametoindex(zone + 1);
        return out->sin6_scope_id != 0;
    }
    return true;
}

/* Writes the one text that all spellings of an IPv6 address share; a mapped one becomes plain IPv4. */
static bool ipv6_to_host(const struct sockaddr_in6 *in6, char host[ADDRESS_HOST_SIZE])
{
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, ADDRESS_HOST_SIZE) != NULL;
    if (!inet_ntop(AF_INET6, &in6->sin6_addr, host, ADDRESS_HOST_SIZE))
        return false;
    if (in6->sin6_scope_id != 0) {
        char zone[IF_NAMESIZE];
        if (!if_indextoname(in6->sin6_scope_id, zone))
            return false;
        size_t length = strlen(host);
        (void)snprintf(host + length, ADDRESS_HOST_SIZE - length, "%%%s", zone);
    }
    return true;
}

/* Labels of letters, digits, '-' and '_', none empty, longer than 63 or with '-' at an end; a final dot is
 * legal. */
static bool is_host_name(struct span host)
{
    if (host.length > 0 && host.start[host.length - 1] == '.')
        host.length--;
    size_t label = 0;
    for (size_t i = 0; i < host.length; i++) {
        char c = host.start[i];
        if (c == '.') {
            if (label == 0 || host.start[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!address_is_name_character(c) || (c == '-' && label == 0) || ++label > ADDRESS_LABEL_MAX)
            return false;
    }
    return label > 0 && host.start[host.length - 1] != '-';
}

/* A name whose last label is a number can only be meant as an IPv4 address (RFC 1123 section 2.1). */
static bool looks_like_ipv4(struct span host)
{
    size_t i = host.length;
    while (i > 0 && address_is_digit(host.start[i - 1]))
        i--;
    return i < host.length && (i == 0 || host.start[i - 1] == '.');
}

static bool parse_plain_host(struct span host, struct address *address, struct span text, struct error *error)
{
    if (host.length == 0)
        return address_refuse(error, text, "empty host; an address, a name or * expected");
    if (host.length > ADDRESS_NAME_MAX)
        return address_refuse(error, text, "host too long; up to 253 characters expected");
    memcpy(address->host, host.start, host.length);
    address->host[host.length] = '\0';
    if (strcmp(address->host, "*") == 0)
        return true;
    if (looks_like_ipv4(host)) {
        struct in_addr in4;
        if (inet_pton(AF_INET, address->host, &in4) != 1)
            return address_refuse(error, text, "not an IPv4 address; four numbers of 0 to 255 expected");
        return true;
    }
    if (!is_host_name(host))
        return address_refuse(error, text,
                              "not a host name; letters, digits, '-', '_' and single dots expected");
    return true;
}

static bool parse_bracketed_host(struct span host, struct address *address, struct span text,
                                 struct error *error)
{
    struct sockaddr_in6 in6;
    char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    bool fits = host.length < sizeof(copy);
    if (fits) {
        memcpy(copy, host.start, host.length);
        copy[host.length] = '\0';
    }
    if (!fits || !ipv6_from_text(copy, &in6) || !ipv6_to_host(&in6, address->host))
        return address_refuse(error, text, "not an IPv6 address between the brackets");
    return true;
}

static bool address_parse_port(struct span digits, struct address *address, struct span text,
                               struct error *error)
{
    uint32_t port = 0;
    bool valid = digits.length >= 1 && digits.length <= 5;
    for (size_t i = 0; valid && i < digits.length; i++) {
        valid = address_is_digit(digits.start[i]);
        port = port * 10 + (uint32_t)(digits.start[i] - '0');
    }
    if (!valid || port > UINT16_MAX)
        return address_refuse(error, text, "bad port; a number of 1 to 65535 expected");
    address->port = (uint16_t)port;
    return true;
}

/* Takes "tls://" off TEXT. */
static bool take_scheme(struct span *text)
{
    static const char scheme[] = "tls://";
    size_t size = sizeof(scheme) - 1;

    if (text->length < size || strncasecmp(text->start, scheme, size) != 0)
        return false;
    text->start += size;
    text->length -= size;
    return true;
}

static bool parse_span(struct span text, uint16_t default_port, struct address *address, struct error *error)
{
    text = span_trim(text);
    memset(address, 0, sizeof(*address));
    if (text.length == 0)
        return address_refuse(error, text, "empty; HOST:PORT expected");
    if (memchr(text.start, '\0', text.length))
        return address_refuse(error, text, "contains a NUL");
    address->tls = take_scheme(&text);
    if (text.length == 0)
        return address_refuse(error, text, "empty; HOST:PORT expected");

    struct span rest; /* ":PORT" or nothing */
    if (text.start[0] == '[') {
        const char *end = memchr(text.start, ']', text.length);
        if (!end)
            return address_refuse(error, text, "']' missing");
        struct span host = {text.start + 1, (size_t)(end - text.start) - 1};
        if (!parse_bracketed_host(host, address, text, error))
            return false;
        rest = (struct span){end + 1, text.length - host.length - 2};
    } else {
        const char *colon = memchr(text.start, ':', text.length);
        size_t length = colon ? (size_t)(colon - text.start) : text.length;
        rest = (struct span){text.start + length, text.length - length};
        if (rest.length > 1 && memchr(rest.start + 1, ':', rest.length - 1))
            return address_refuse(error, text, "more than one ':'; write an IPv6 address in brackets");
        if (!parse_plain_host((struct span){text.start, length}, address, text, error))
            return false;
    }
    if (rest.length == 0) {
        if (default_port == 0)
            return address_refuse(error, text, "port missing; HOST:PORT expected");
        address->port = default_port;
        return true;
    }
    if (rest.start[0] != ':')
        return address_refuse(error, text, "only :PORT may follow the brackets");
    return address_parse_port((struct span){rest.start + 1, rest.length - 1}, address, text, error);
}

bool address_parse(const char *text, uint16_t default_port, struct address *address, struct error *error)
{
    return parse_span((struct span){text, strlen(text)}, default_port, address, error);
}

char *address_format(const struct address *address, char *buffer, size_t size)
{
    bool bracket = strchr(address->host, ':') != NULL;
    char port[8], *digit = port + sizeof(port);
    unsigned value = address->port;
    struct span parts[5] = {{"tls://", address->tls ? 6 : 0},
                            {"[", bracket},
                            {address->host, strlen(address->host)},
                            {"]", bracket},
                            {NULL, 0}};
    size_t used = 0;

    /* A table key is made of it at every call to a server, hence no snprintf(3). */
    do {
        *--digit = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    *--digit = ':';
    parts[4] = (struct span){digit, (size_t)(port + sizeof(port) - digit)};
    for (size_t i = 0; size > 0 && i < ARRAY_SIZE(parts); i++) {
        size_t length = min_size(parts[i].length, size - 1 - used);
        memcpy(buffer + used, parts[i].start, length);
        used += length;
    }
    if (size > 0)
        buffer[used] = '\0';
    return buffer;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && a->tls == b->tls && strcasecmp(a->host, b->host) == 0;
}

bool address_list_parse(const char *text, uint16_t default_port, struct address_list *list,
                        struct error *error)
{
    static const char separators[] = ",; \t\n\v\f\r";

    *list = (struct address_list){NULL, 0};
    for (const char *at = text + strspn(text, separators); *at != '\0'; at += strspn(at, separators)) {
        struct span item = {at, strcspn(at, separators)};
        struct address address;
        if (!parse_span(item, default_port, &address, error))
            goto fail;
        if (!address_list_append(list, &address)) {
            (void)error_set(error, ERROR_UNAVAILABLE, "address list: out of memory");
            goto fail;
        }
        at += item.length;
    }
    return true;

fail:
    address_list_clear(list);
    return false;
}

bool address_list_copy(struct address_list *to, const struct address_list *from)
{
    struct address_list copy = {NULL, 0};
    if (from->count > 0) {
        copy.items = calloc(from->count, sizeof(*copy.items));
        if (!copy.items) {
            *to = copy;
            return false;
        }
        memcpy(copy.items, from->items, from->count * sizeof(*copy.items));
        copy.count = from->count;
    }
    *to = copy;
    return true;
}

bool address_list_append(struct address_list *list, const struct address *address)
{
    struct address added = *address; /* may lie in the very list that moves */
    struct address *items = reallocarray(list->items, list->count + 1, sizeof(*items));
    if (!items)
        return false;
    items[list->count] = added;
    list->items = items;
    list->count++;
    return true;
}

void address_list_clear(struct address_list *list)
{
    free(list->items);
    *list = (struct address_list){NULL, 0};
}

bool address_to_socket(const struct address *address, struct socket_address *out)
{
    memset(out, 0, sizeof(*out));
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    if (inet_pton(AF_INET, address->host, &in4.sin_addr) == 1) {
        memcpy(&out->storage, &in4, sizeof(in4));
        out->length = sizeof(in4);
        return true;
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    if (strcmp(address->host, "*") != 0 && !ipv6_from_text(address->host, &in6))
        return false;
    in6.sin6_port = htons(address->port);
    memcpy(&out->storage, &in6, sizeof(in6));
    out->length = sizeof(in6);
    return true;
}

bool address_resolve(const struct address *address, struct socket_address *out, size_t capacity,
                     size_t *count, struct error *error)
{
    *count = 0;
    if (capacity == 0)
        return error_set(error, ERROR_GENERAL, "host %s: no room for an answer", address->host);
    if (address_to_socket(address, &out[0])) {
        *count = 1;
        return true;
    }

    char service[8];
    (void)snprintf(service, sizeof(service), "%u", (unsigned)address->port);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int status = getaddrinfo(address->host, service, &hints, &found);
    if (status == EAI_SYSTEM)
        return error_set_errno(error, errno, "host %s: look-up failed", address->host);
    if (status != 0)
        return error_set(error, ERROR_CONNECTION, "host %s: look-up failed: %s", address->host,
                         gai_strerror(status));
    for (const struct addrinfo *each = found; each && *count < capacity; each = each->ai_next) {
        if (each->ai_addrlen > sizeof(out->storage))
            continue;
        memset(&out[*count], 0, sizeof(*out));
        memcpy(&out[*count].storage, each->ai_addr, each->ai_addrlen);
        out[*count].length = each->ai_addrlen;
        ++*count;
    }
    freeaddrinfo(found);
    if (*count == 0)
        return error_set(error, ERROR_CONNECTION, "host %s: look-up found no address", address->host);
    return true;
}

bool address_network(const char *host, uint8_t network[ADDRESS_NETWORK_SIZE])
{
    char plain[INET6_ADDRSTRLEN];
    size_t length = strcspn(host, "%");
    struct in6_addr in6;

    memset(network, 0, ADDRESS_NETWORK_SIZE);
    if (length >= sizeof(plain))
        return false;
    memcpy(plain, host, length);
    plain[length] = '\0';
    if (inet_pton(AF_INET6, plain, &in6) == 1) {
        memcpy(network, &in6, IN6_IS_ADDR_V4MAPPED(&in6) ? 16 : 8);
        return true;
    }
    network[10] = network[11] = 0xff;
    return inet_pton(AF_INET, plain, network + 12) == 1;
}

bool address_from_socket(const struct sockaddr *socket_address, socklen_t length, struct address *address)
{
    memset(address, 0, sizeof(*address));
    if (length < (socklen_t)sizeof(sa_family_t))
        return false;
    if (socket_address->sa_family == AF_INET && length >= (socklen_t)sizeof(struct sockaddr_in)) {
        struct sockaddr_in in4;
        memcpy(&in4, socket_address, sizeof(in4));
        address->port = ntohs(in4.sin_port);
        return inet_ntop(AF_INET, &in4.sin_addr, address->host, sizeof(address->host)) != NULL;
    }
    if (socket_address->sa_family == AF_INET6 && length >= (socklen_t)sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, socket_address, sizeof(in6));
        address->port = ntohs(in6.sin6_port);
        return ipv6_to_host(&in6, address->host);
    }
    return false;
}
