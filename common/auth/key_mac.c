/*
 * key_mac: SHA-256 by OpenSSL's own functions for it rather than by EVP, whose contexts cannot be copied without allocating memory: a
 * MAC is two copies of a kept state and the compression (SHA256_Transform) of what follows. Whatever would reveal a secret is overwritten after its
 * use. Beside content_hash.c and the transport nothing in the suite calls OpenSSL.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* they are deprecated in favour of EVP; their results are the same */
#include "common/auth/key_mac.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#define BLOCK_SIZE 64
#define INNER_PAD  0x36
#define OUTER_PAD  0x5c

static void hash_parts(SHA256_CTX *hash, const struct mac_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)SHA256_Update(hash, parts[i].bytes, parts[i].size); /* these three cannot fail */
}

/* ---- states ---- */

static void state_of_pad(const uint8_t secret[MAC_SIZE], uint8_t pad, uint32_t state[MAC_STATE_WORDS])
{
    uint8_t block[BLOCK_SIZE];
    SHA256_CTX hash;

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < MAC_SIZE; i++)
        block[i] ^= secret[i];
    (void)SHA256_Init(&hash);
    (void)SHA256_Update(&hash, block, sizeof(block));
    memcpy(state, hash.h, sizeof(hash.h));
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&hash, sizeof(hash));
}

void mac_state_make(const uint8_t secret[MAC_SIZE], struct mac_state *state)
{
    state_of_pad(secret, INNER_PAD, state->inner);
    state_of_pad(secret, OUTER_PAD, state->outer);
}

/* Whatever is secret or on the way to a MAC, in one place, so that it is overwritten at once. Blocks are put together here rather than
 * by SHA256_Update() and SHA256_Final(), whose bookkeeping takes as long as the two blocks of a short message. */
struct mac_work {
    SHA256_CTX hash; /* its state alone */
    uint8_t block[BLOCK_SIZE];
};

/* WORK as it is after one block that left STATE behind. */
static void work_resume(struct mac_work *work, const uint32_t state[MAC_STATE_WORDS])
{
    for (size_t i = 0; i < MAC_STATE_WORDS; i++)
        work->hash.h[i] = state[i];
}

static void put_state(const SHA256_CTX *hash, uint8_t out[MAC_SIZE])
{
    for (size_t i = 0; i < MAC_STATE_WORDS; i++) {
        uint32_t word = htobe32(hash->h[i]);
        memcpy(out + i * sizeof(word), &word, sizeof(word));
    }
}

/* The last block, of which USED bytes are there (FIPS 180-4, section 5.1.1): a one, zeros, and how many bits all SIZE bytes have. */
static void work_end(struct mac_work *work, size_t used, uint64_t size)
{
    const uint64_t bits = htobe64(size * 8);
    work->block[used++] = 0x80;
    memset(work->block + used, 0, BLOCK_SIZE - used);
    if (used > BLOCK_SIZE - sizeof(bits)) {
        SHA256_Transform(&work->hash, work->block);
        memset(work->block, 0, BLOCK_SIZE);
    }
    memcpy(work->block + BLOCK_SIZE - sizeof(bits), &bits, sizeof(bits));
    SHA256_Transform(&work->hash, work->block);
}

/* What follows the block that was resumed after. */
static void work_parts(struct mac_work *work, const struct mac_part *parts, size_t count)
{
    size_t used = 0;
    uint64_t total = BLOCK_SIZE;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = parts[i].bytes;
        size_t left = parts[i].size;
        total += left;
        for (; left >= BLOCK_SIZE - used; used = 0) {
            memcpy(work->block + used, bytes, BLOCK_SIZE - used);
            SHA256_Transform(&work->hash, work->block);
            bytes += BLOCK_SIZE - used;
            left -= BLOCK_SIZE - used;
        }
        if (left > 0)
            memcpy(work->block + used, bytes, left);
        used += left;
    }
    work_end(work, used, total);
}

static void mac_with(const struct mac_state *state, const struct mac_part *parts, size_t count,
                     uint8_t out[MAC_SIZE])
{
    struct mac_work work;

    work_resume(&work, state->inner);
    work_parts(&work, parts, count);
    put_state(&work.hash, work.block);
    work_resume(&work, state->outer);
    work_end(&work, MAC_SIZE, BLOCK_SIZE + MAC_SIZE);
    put_state(&work.hash, out);
    explicit_bzero(&work, sizeof(work));
}

/* ---- MACs ---- */

void mac_compute(const uint8_t secret[MAC_SIZE], const struct mac_part *parts, size_t count,
                 uint8_t out[MAC_SIZE])
{
    struct mac_state state;

    mac_state_make(secret, &state);
    mac_with(&state, parts, count, out);
    OPENSSL_cleanse(&state, sizeof(state));
}

void key_mac(const struct key *key, enum key_use use, const struct mac_part *parts, size_t count,
             uint8_t out[MAC_SIZE])
{
    mac_with(&key->states[use], parts, count, out);
}

void key_derive(const struct key *key, const char *word, uint8_t out[MAC_SIZE])
{
    const struct mac_part parts[] = {{"reel-1 ", 7}, {word, strlen(word)}};

    mac_compute(key->secret, parts, ARRAY_SIZE(parts), out);
}

void sha256_compute(const struct mac_part *parts, size_t count, uint8_t out[MAC_SIZE])
{
    SHA256_CTX hash;

    (void)SHA256_Init(&hash);
    hash_parts(&hash, parts, count);
    (void)SHA256_Final(out, &hash);
}

bool mac_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

bool random_secret(void *bytes, size_t size)
{
    return size <= INT32_MAX && RAND_priv_bytes(bytes, (int)size) == 1;
}
