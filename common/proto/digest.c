/*
 * digest: XXH3-128 over what passes by, over xxHash. Uploads, downloads that verify and the scrub call it; a
 * running digest belongs to one thread at a time.
 */
#include "common/proto/digest.h"

#include "common/base/hex.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct digest {
    XXH3_state_t *state; /* allocated by xxHash, which needs it aligned */
};

struct digest *digest_create(void)
{
    struct digest *digest = malloc(sizeof(*digest));
    if (!digest)
        return NULL;
    digest->state = XXH3_createState();
    if (!digest->state) {
        free(digest);
        return NULL;
    }
    digest_reset(digest);
    return digest;
}

struct digest *digest_copy(const struct digest *digest)
{
    struct digest *copy = digest_create();
    if (copy)
        XXH3_copyState(copy->state, digest->state);
    return copy;
}

void digest_destroy(struct digest *digest)
{
    if (!digest)
        return;
    (void)XXH3_freeState(digest->state); /* always XXH_OK */
    free(digest);
}

void digest_reset(struct digest *digest)
{
    (void)XXH3_128bits_reset(digest->state); /* fails for a NULL state only */
}

void digest_update(struct digest *digest, const void *bytes, size_t size)
{
    if (size > 0)
        (void)XXH3_128bits_update(digest->state, bytes, size); /* fails for NULL only */
}

void digest_final(const struct digest *digest, uint8_t out[PROTO_DIGEST_SIZE])
{
    XXH128_canonical_t canonical;
    _Static_assert(sizeof(canonical.digest) == PROTO_DIGEST_SIZE, "the canonical form fills the field");
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(digest->state));
    memcpy(out, canonical.digest, PROTO_DIGEST_SIZE);
}

char *digest_to_hex(const uint8_t digest[PROTO_DIGEST_SIZE], char hex[DIGEST_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < PROTO_DIGEST_SIZE; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[DIGEST_HEX_SIZE - 1] = '\0';
    return hex;
}

bool digest_from_hex(const char *hex, uint8_t digest[PROTO_DIGEST_SIZE])
{
    if (strnlen(hex, DIGEST_HEX_SIZE) != DIGEST_HEX_SIZE - 1)
        return false;
    uint8_t bytes[PROTO_DIGEST_SIZE];
    for (size_t i = 0; i < PROTO_DIGEST_SIZE; i++) {
        int high = hex_digit_value(hex[2 * i]);
        int low = hex_digit_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(digest, bytes, sizeof(bytes));
    return true;
}
