/*
 * key_mac: HMAC-SHA-256 and SHA-256 by OpenSSL with contexts that each thread keeps (a MAC of 160 bytes costs a third of a
 * microsecond so, and five times that with a new context each time), keys derived from secrets, comparison in constant time.
 * Any thread; never blocks.
 */
#ifndef REEL_COMMON_AUTH_KEY_MAC_H
#define REEL_COMMON_AUTH_KEY_MAC_H

#include "common/auth/keys.h"

#define MAC_SIZE 32

/* Bytes that are taken one after the other. */
struct mac_part {
    const void *bytes;
    size_t size;
};

/* HMAC-SHA-256 under SECRET. False without memory (or without SHA-256 in the library): OUT is zeros, and nothing must be
 * accepted. */
MUST_CHECK bool mac_compute(const uint8_t secret[MAC_SIZE], const struct mac_part *parts, size_t count,
                            uint8_t out[MAC_SIZE]);

/* The same under one of KEY's derived keys. */
MUST_CHECK bool key_mac(const struct key *key, enum key_use use, const struct mac_part *parts, size_t count,
                        uint8_t out[MAC_SIZE]);

/* HMAC-SHA-256(secret of KEY, "reel-1 " then WORD): a key for a use that is not in enum key_use ("psk", "audit"). The caller
 * overwrites OUT after its use (explicit_bzero). */
MUST_CHECK bool key_derive(const struct key *key, const char *word, uint8_t out[MAC_SIZE]);

MUST_CHECK bool sha256_compute(const struct mac_part *parts, size_t count, uint8_t out[MAC_SIZE]);

/* In a time that does not depend on where they differ. */
MUST_CHECK bool mac_equal(const uint8_t *a, const uint8_t *b, size_t size);

/* SIZE bytes that nobody can guess. False: the system gives none. */
MUST_CHECK bool random_secret(void *bytes, size_t size);

#endif
