/*
 * digest: XXH3-128 over what passes by, over xxHash. Uploads, downloads that verify and the scrub call it; a
 * running digest belongs to one thread at a time.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* they are deprecated in favour of EVP, which allocates for each; their results are the same */
#include "common/proto/digest.h"

#include "common/base/hex.h"

#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

struct digest {
    XXH3_state_t *state; /* allocated by xxHash, which needs it aligned */
    bool strong;         /* SHA-256 is wanted too */
    SHA256_CTX sha256;   /* its functions cannot fail */
};

struct digest *digest_create(void)
{
    struct digest *digest = malloc(sizeof(*digest));
    if (!digest)
        return NULL;
    digest->strong = false;
    digest->state = XXH3_createState();
    if (!digest->state) {
        free(digest);
        return NULL;
    }
    digest_reset(digest);
    return digest;
}

struct digest *digest_create_strong(void)
{
    struct digest *digest = digest_create();
    if (!digest)
        return NULL;
    digest->strong = true;
    (void)SHA256_Init(&digest->sha256);
    return digest;
}

struct digest *digest_copy(const struct digest *digest)
{
    struct digest *copy = digest_create();
    if (!copy)
        return NULL;
    XXH3_copyState(copy->state, digest->state);
    copy->strong = digest->strong;
    if (digest->strong)
        copy->sha256 = digest->sha256;
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
    if (digest->strong)
        (void)SHA256_Init(&digest->sha256);
}

void digest_update(struct digest *digest, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    (void)XXH3_128bits_update(digest->state, bytes, size); /* fails for NULL only */
    if (digest->strong)
        (void)SHA256_Update(&digest->sha256, bytes, size);
}

bool digest_is_strong(const struct digest *digest)
{
    return digest->strong;
}

static bool look_for_sha256(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
#elif defined(__aarch64__)
    return getauxval(AT_HWCAP) & HWCAP_SHA2;
#else
    return false;
#endif
}

/* Asked once: on a virtual machine the hypervisor answers that question, in microseconds. */
bool digest_sha256_is_fast(void)
{
    static _Atomic int known; /* 0: not yet; 1: no; 2: yes */
    int is = atomic_load_explicit(&known, memory_order_relaxed);
    if (is == 0) {
        is = look_for_sha256() ? 2 : 1;
        atomic_store_explicit(&known, is, memory_order_relaxed);
    }
    return is == 2;
}

bool digest_final_sha256(const struct digest *digest, uint8_t out[DIGEST_SHA256_SIZE])
{
    if (!digest->strong)
        return false;
    SHA256_CTX end = digest->sha256; /* this one may go on */
    (void)SHA256_Final(out, &end);
    return true;
}

void digest_final(const struct digest *digest, uint8_t out[PROTO_DIGEST_SIZE])
{
    XXH128_canonical_t canonical;
    _Static_assert(sizeof(canonical.digest) == PROTO_DIGEST_SIZE, "the canonical form fills the field");
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(digest->state));
    memcpy(out, canonical.digest, PROTO_DIGEST_SIZE);
}

void digest_of_bytes(const void *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
    memcpy(out, canonical.digest, PROTO_DIGEST_SIZE);
}

char *digest_to_hex(const uint8_t digest[PROTO_DIGEST_SIZE], char hex[DIGEST_HEX_SIZE])
{
    return hex_format(digest, PROTO_DIGEST_SIZE, hex);
}

char *digest_sha256_to_hex(const uint8_t sha256[DIGEST_SHA256_SIZE], char hex[DIGEST_SHA256_HEX_SIZE])
{
    return hex_format(sha256, DIGEST_SHA256_SIZE, hex);
}

static bool from_hex(const char *hex, uint8_t *out, size_t count)
{
    return strnlen(hex, 2 * count + 1) == 2 * count && hex_parse(hex, out, count);
}

bool digest_from_hex(const char *hex, uint8_t digest[PROTO_DIGEST_SIZE])
{
    return from_hex(hex, digest, PROTO_DIGEST_SIZE);
}

bool digest_sha256_from_hex(const char *hex, uint8_t sha256[DIGEST_SHA256_SIZE])
{
    return from_hex(hex, sha256, DIGEST_SHA256_SIZE);
}
