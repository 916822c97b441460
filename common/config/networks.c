/*
 * networks: reading of addresses with a prefix length, and comparing bit by bit; IPv4 as ::ffff:a.b.c.d.
 */
#include "common/config/networks.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define IPV4_BITS_BEFORE 96 /* of an IPv4 address in its IPv6 form */

static bool parse_address(const char *text, uint8_t address[16], bool *is_ipv4)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

    *is_ipv4 = inet_pton(AF_INET, text, address + sizeof(mapped)) == 1;
    if (*is_ipv4)
        memcpy(address, mapped, sizeof(mapped));
    return *is_ipv4 || inet_pton(AF_INET6, text, address) == 1;
}

static bool parse_network(const char *text, struct network *network)
{
    char host[INET6_ADDRSTRLEN];
    size_t length = strcspn(text, "/");
    const char *digits = text + length;
    bool is_ipv4;
    unsigned long bits;
    char *end;

    if (length >= sizeof(host))
        return false;
    memcpy(host, text, length);
    host[length] = '\0';
    if (!parse_address(host, network->address, &is_ipv4))
        return false;
    network->bits = 128;
    if (*digits == '\0')
        return true;
    digits++;
    bits = strtoul(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end != '\0' || bits > (is_ipv4 ? 32 : 128))
        return false;
    network->bits = (unsigned)bits + (is_ipv4 ? IPV4_BITS_BEFORE : 0);
    return true;
}

bool networks_parse(const struct config_strings *texts, struct networks *networks, struct error *error)
{
    *networks = (struct networks){0};
    if (texts->count == 0)
        return true;
    networks->items = calloc(texts->count, sizeof(*networks->items));
    if (!networks->items)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a list of networks");
    for (; networks->count < texts->count; networks->count++) {
        const char *text = texts->items[networks->count];
        if (!parse_network(text, &networks->items[networks->count])) {
            networks_clear(networks);
            return error_set(error, ERROR_REFUSED,
                             "\"%s\" is neither an address nor a network, e.g. 192.0.2.7, 10.0.0.0/8 or ::1",
                             text);
        }
    }
    return true;
}

void networks_clear(struct networks *networks)
{
    free(networks->items);
    *networks = (struct networks){0};
}

static bool matches(const struct network *network, const uint8_t address[16])
{
    size_t whole = network->bits / 8;
    unsigned rest = network->bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);

    return memcmp(network->address, address, whole) == 0 &&
           (rest == 0 || ((network->address[whole] ^ address[whole]) & mask) == 0);
}

bool networks_contain(const struct networks *networks, const char *host)
{
    char plain[INET6_ADDRSTRLEN];
    size_t length = strcspn(host, "%");
    uint8_t address[16];
    bool is_ipv4;

    if (length >= sizeof(plain))
        return false;
    memcpy(plain, host, length);
    plain[length] = '\0';
    if (!parse_address(plain, address, &is_ipv4))
        return false;
    for (size_t i = 0; i < networks->count; i++) {
        if (matches(&networks->items[i], address))
            return true;
    }
    return false;
}
