/*
 * proxy_header: both versions; a header is not trusted until the peer is known to be a proxy.
 */
#include "httpd/syntax/proxy_header.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define V1_MAX       107 /* bytes of the longest line, with its CRLF */
#define V2_HEAD_SIZE 16

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
#define SIGNATURE_SIZE (sizeof(signature) - 1)

static bool proxy_parse_port(const char *text, in_port_t *port)
{
    char *end;
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 5)
        return false;
    unsigned long value = strtoul(text, &end, 10);
    *port = htons((uint16_t)value);
    return *end == '\0' && value <= 65535;
}

/* "TCP4 SOURCE DESTINATION PORT PORT" or "UNKNOWN...", NUL-terminated. */
static bool parse_line(char *line, union http_peer *peer)
{
    char *parts[5] = {NULL}, *rest = line;
    if (strncmp(line, "UNKNOWN", 7) == 0 && (line[7] == '\0' || line[7] == ' '))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        parts[i] = strsep(&rest, " ");
    if (!parts[4] || rest)
        return false;
    union http_peer source = {.base = {0}}, destination = {.base = {0}};
    in_port_t port, other;
    if (!proxy_parse_port(parts[3], &port) || !proxy_parse_port(parts[4], &other))
        return false;
    if (strcmp(parts[0], "TCP4") == 0) {
        source.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
        if (inet_pton(AF_INET, parts[1], &source.v4.sin_addr) != 1 ||
            inet_pton(AF_INET, parts[2], &destination.v4.sin_addr) != 1)
            return false;
    } else if (strcmp(parts[0], "TCP6") == 0) {
        source.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        if (inet_pton(AF_INET6, parts[1], &source.v6.sin6_addr) != 1 ||
            inet_pton(AF_INET6, parts[2], &destination.v6.sin6_addr) != 1)
            return false;
    } else {
        return false;
    }
    *peer = source;
    return true;
}

static enum proxy_header_state parse_v1(const char *bytes, size_t size, size_t *used, union http_peer *peer)
{
    char line[V1_MAX + 1];
    const char *end = memchr(bytes, '\n', min_size(size, V1_MAX));
    if (!end)
        return size < V1_MAX ? PROXY_HEADER_MORE : PROXY_HEADER_BROKEN;
    size_t length = (size_t)(end - bytes);
    if (length < 7 || bytes[length - 1] != '\r' || memchr(bytes, '\0', length))
        return PROXY_HEADER_BROKEN;
    memcpy(line, bytes, length);
    line[length - 1] = '\0';
    *used = length + 1;
    return parse_line(line + 6, peer) ? PROXY_HEADER_DONE : PROXY_HEADER_BROKEN;
}

static enum proxy_header_state parse_v2(const uint8_t *bytes, size_t size, size_t *used,
                                        union http_peer *peer)
{
    if (size < V2_HEAD_SIZE)
        return PROXY_HEADER_MORE;
    size_t length = (size_t)bytes[14] << 8 | bytes[15];
    unsigned command = bytes[12] & 15, family = bytes[13] >> 4, transport = bytes[13] & 15;
    if (bytes[12] >> 4 != 2 || command > 1 || length > PROXY_HEADER_MAX - V2_HEAD_SIZE)
        return PROXY_HEADER_BROKEN;
    if (size < V2_HEAD_SIZE + length)
        return PROXY_HEADER_MORE;
    *used = V2_HEAD_SIZE + length;
    if (command == 0 || transport != 1 || (family != 1 && family != 2))
        return PROXY_HEADER_DONE; /* the proxy itself, or no TCP over IP */
    const uint8_t *addresses = bytes + V2_HEAD_SIZE;
    if (length < (family == 1 ? 12U : 36U))
        return PROXY_HEADER_BROKEN;
    if (family == 1) {
        peer->v4 = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&peer->v4.sin_addr, addresses, 4);
        memcpy(&peer->v4.sin_port, addresses + 8, 2);
    } else {
        peer->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
        memcpy(&peer->v6.sin6_addr, addresses, 16);
        memcpy(&peer->v6.sin6_port, addresses + 32, 2);
    }
    return PROXY_HEADER_DONE;
}

enum proxy_header_state proxy_header_parse(const void *bytes, size_t size, size_t *used,
                                           union http_peer *peer)
{
    static const char v1[] = "PROXY ";
    *used = 0;
    if (memcmp(bytes, signature, min_size(size, SIGNATURE_SIZE)) == 0)
        return parse_v2(bytes, size, used, peer);
    if (memcmp(bytes, v1, min_size(size, sizeof(v1) - 1)) == 0)
        return parse_v1(bytes, size, used, peer);
    return PROXY_HEADER_BROKEN;
}

char *http_peer_text(const union http_peer *peer, char *buffer, size_t size)
{
    const char *text = NULL;
    if (peer->base.sa_family == AF_INET)
        text = inet_ntop(AF_INET, &peer->v4.sin_addr, buffer, (socklen_t)size);
    else if (peer->base.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer->v6.sin6_addr))
        text = inet_ntop(AF_INET, peer->v6.sin6_addr.s6_addr + 12, buffer, (socklen_t)size);
    else if (peer->base.sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &peer->v6.sin6_addr, buffer, (socklen_t)size);
    if (!text && size > 1)
        memcpy(buffer, "-", 2);
    return buffer;
}
