/*
 * networks: a list of addresses and networks, and whether an address lies in one of them. Pure. Called by
 * the tracker and reel-httpd; any thread.
 */
#ifndef REEL_COMMON_NETWORKS_H
#define REEL_COMMON_NETWORKS_H

#include "common/config/config.h"

/* 16 bytes of address, IPv4 as ::ffff:a.b.c.d. */
struct network {
    uint8_t address[16];
    unsigned bits;
};

struct networks {
    struct network *items; /* owned */
    size_t count;
};

/* Each of TEXTS is ADDRESS or ADDRESS/BITS, numeric: 127.0.0.0/8, ::1. The caller frees NETWORKS with
 * networks_clear(). */
MUST_CHECK bool networks_parse(const struct config_strings *texts, struct networks *networks,
                               struct error *error);
void networks_clear(struct networks *networks);

/* HOST: a numeric address, IPv4 or IPv6 (with a scope or without: fe80::1%eth0). Any other text is in no network. */
bool networks_contain(const struct networks *networks, const char *host);

#endif
