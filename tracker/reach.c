/*
 * reach: which numeric addresses mean the same machine to everybody.
 */
#include "tracker/reach.h"
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The 16 bytes of HOST, IPv4 mapped into IPv6. False: not numeric. */
static bool to_bytes(const char *host, uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    char text[ADDRESS_HOST_SIZE];
    snprintf(text, sizeof(text), "%s", host);
    text[strcspn(text, "%")] = '\0'; /* a scope */
    if (inet_pton(AF_INET6, text, bytes) == 1)
        return true;
    memcpy(bytes, mapped, sizeof(mapped));
    return inet_pton(AF_INET, text, bytes + sizeof(mapped)) == 1;
}

static bool is_mapped(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    return memcmp(bytes, mapped, sizeof(mapped)) == 0;
}

bool reach_is_loopback(const char *host)
{
    static const uint8_t one[16] = {[15] = 1};
    uint8_t bytes[16];
    if (!to_bytes(host, bytes))
        return false;
    return is_mapped(bytes) ? bytes[12] == 127 : memcmp(bytes, one, sizeof(one)) == 0;
}

bool reach_is_link_local(const char *host)
{
    uint8_t bytes[16];
    if (!to_bytes(host, bytes))
        return false;
    return is_mapped(bytes) ? bytes[12] == 169 && bytes[13] == 254
                            : bytes[0] == 0xFE && (bytes[1] & 0xC0) == 0x80;
}

bool reach_same_network(const char *host, const char *other)
{
    uint8_t a[16], b[16];
    if (!to_bytes(host, a) || !to_bytes(other, b) || is_mapped(a) != is_mapped(b))
        return false;
    return memcmp(a, b, is_mapped(a) ? 15 : 8) == 0;
}

bool reach_address(const struct address *server, const char *client, const char *local, struct address *out)
{
    *out = *server;
    if (reach_is_loopback(server->host)) {
        if (reach_is_loopback(client))
            return true;
        if (!local || reach_is_loopback(local))
            return false;
        snprintf(out->host, sizeof(out->host), "%s", local);
        return true;
    }
    return !reach_is_link_local(server->host) || reach_is_link_local(client);
}
