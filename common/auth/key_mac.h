/*
 * key_mac: HMAC-SHA-256 and SHA-256 by OpenSSL, keys derived from secrets, comparison in constant time. For each key and use the state
 * behind the pads is kept (struct mac_state), so that a MAC of 160 bytes is five compressions and nothing else: no memory is
 * allocated, nothing is looked up, and no thread waits for another. Any thread; never blocks.
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

/* The state for SECRET; as secret as that. */
void mac_state_make(const uint8_t secret[MAC_SIZE], struct mac_state *state);

/* HMAC-SHA-256 under one of KEY's derived keys. */
void key_mac(const struct key *key, enum key_use use, const struct mac_part *parts, size_t count,
             uint8_t out[MAC_SIZE]);

/* The same under SECRET, of which no state is kept: four compressions more. */
void mac_compute(const uint8_t secret[MAC_SIZE], const struct mac_part *parts, size_t count,
                 uint8_t out[MAC_SIZE]);

/* HMAC-SHA-256(secret of KEY, "reel-1 " then WORD): a key for a use that is not in enum key_use ("audit"), and how those are made. The
 * caller overwrites OUT after its use (explicit_bzero). */
void key_derive(const struct key *key, const char *word, uint8_t out[MAC_SIZE]);

void sha256_compute(const struct mac_part *parts, size_t count, uint8_t out[MAC_SIZE]);

/* In a time that does not depend on where they differ. */
MUST_CHECK bool mac_equal(const uint8_t *a, const uint8_t *b, size_t size);

/* SIZE bytes that nobody can guess. False: the system gives none. */
MUST_CHECK bool random_secret(void *bytes, size_t size);

#endif
