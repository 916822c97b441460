/*
 * digest: XXH3-128 of what passes by, in the canonical (big-endian) form of PROTO_DIGEST_SIZE bytes; on demand SHA-256 too.
 */
#ifndef REEL_COMMON_DIGEST_H
#define REEL_COMMON_DIGEST_H

#include "common/proto/proto.h"

#define DIGEST_HEX_SIZE        (2 * PROTO_DIGEST_SIZE + 1)
#define DIGEST_SHA256_SIZE     32
#define DIGEST_SHA256_HEX_SIZE (2 * DIGEST_SHA256_SIZE + 1)

struct digest; /* a running digest */

MUST_CHECK struct digest *digest_create(void); /* NULL without memory */
MUST_CHECK struct digest *
digest_create_strong(void); /* SHA-256 as well, for what somebody might want to forge */
void digest_destroy(struct digest *digest);
MUST_CHECK struct digest *
digest_copy(const struct digest *digest); /* as far as it has come; NULL without memory */
void digest_reset(struct digest *digest);
void digest_update(struct digest *digest, const void *bytes, size_t size);
void digest_final(const struct digest *digest, uint8_t out[PROTO_DIGEST_SIZE]);

bool digest_is_strong(const struct digest *digest);
/* Has the processor instructions for SHA-256 (x86 SHA, ARMv8)? Without them it takes about 4 s per GB. */
bool digest_sha256_is_fast(void);
/* False where DIGEST was not made by digest_create_strong(). */
MUST_CHECK bool digest_final_sha256(const struct digest *digest, uint8_t out[DIGEST_SHA256_SIZE]);

/* 64 lower-case hex digits, and back (either case). */
char *digest_sha256_to_hex(const uint8_t sha256[DIGEST_SHA256_SIZE], char hex[DIGEST_SHA256_HEX_SIZE]);
MUST_CHECK bool digest_sha256_from_hex(const char *hex, uint8_t sha256[DIGEST_SHA256_SIZE]);

/* Of SIZE bytes in memory. */
void digest_of_bytes(const void *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE]);

/* 32 lower-case hex digits, and back (either case). Returns HEX. */
char *digest_to_hex(const uint8_t digest[PROTO_DIGEST_SIZE], char hex[DIGEST_HEX_SIZE]);
MUST_CHECK bool digest_from_hex(const char *hex, uint8_t digest[PROTO_DIGEST_SIZE]);

#endif
