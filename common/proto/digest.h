/*
 * digest: XXH3-128 of what passes by, in the canonical (big-endian) form of PROTO_DIGEST_SIZE bytes.
 */
#ifndef REEL_COMMON_DIGEST_H
#define REEL_COMMON_DIGEST_H

#include "common/proto/proto.h"

#define DIGEST_HEX_SIZE (2 * PROTO_DIGEST_SIZE + 1)

struct digest; /* a running digest */

MUST_CHECK struct digest *digest_create(void); /* NULL without memory */
void digest_destroy(struct digest *digest);
MUST_CHECK struct digest *
digest_copy(const struct digest *digest); /* as far as it has come; NULL without memory */
void digest_reset(struct digest *digest);
void digest_update(struct digest *digest, const void *bytes, size_t size);
void digest_final(const struct digest *digest, uint8_t out[PROTO_DIGEST_SIZE]);

/* 32 lower-case hex digits, and back (either case). Returns HEX. */
char *digest_to_hex(const uint8_t digest[PROTO_DIGEST_SIZE], char hex[DIGEST_HEX_SIZE]);
MUST_CHECK bool digest_from_hex(const char *hex, uint8_t digest[PROTO_DIGEST_SIZE]);

#endif
