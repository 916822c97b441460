/*
 * content_hash: a digest context of OpenSSL per content. A context that fails (which takes a broken library) matches nothing.
 */
#include "common/auth/content_hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct content_hash {
    EVP_MD_CTX *context;
    enum content_hash_kind kind;
    bool failed;
};

size_t content_hash_size(enum content_hash_kind kind)
{
    return kind == CONTENT_HASH_SHA256 ? 32 : 20;
}

struct content_hash *content_hash_create(enum content_hash_kind kind)
{
    struct content_hash *hash = calloc(1, sizeof(*hash));

    if (!hash)
        return NULL;
    hash->kind = kind;
    hash->context = EVP_MD_CTX_new();
    if (hash->context &&
        EVP_DigestInit_ex(hash->context, kind == CONTENT_HASH_SHA256 ? EVP_sha256() : EVP_sha1(), NULL) == 1)
        return hash;
    content_hash_destroy(hash);
    return NULL;
}

void content_hash_destroy(struct content_hash *hash)
{
    if (!hash)
        return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void content_hash_update(struct content_hash *hash, const void *bytes, size_t size)
{
    hash->failed = hash->failed || EVP_DigestUpdate(hash->context, bytes, size) != 1;
}

bool content_hash_is(struct content_hash *hash, const uint8_t *expected)
{
    uint8_t computed[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    if (hash->failed || EVP_DigestFinal_ex(hash->context, computed, &size) != 1)
        return false;
    return size == content_hash_size(hash->kind) && memcmp(computed, expected, size) == 0;
}

int64_t base64_decode(const char *text, size_t length, uint8_t *out, size_t capacity)
{
    uint8_t block[3];
    size_t size = 0, padding = 0;

    if (length % 4 != 0 || memchr(text, '\0', length))
        return -1;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    for (size_t at = 0; at < length; at += 4) {
        size_t wanted = at + 4 == length ? 3 - padding : 3;

        if (memchr(text + at, '=', 4 - (at + 4 == length ? padding : 0)) || capacity - size < wanted ||
            EVP_DecodeBlock(block, (const unsigned char *)text + at, 4) != 3)
            return -1;
        memcpy(out + size, block, wanted);
        size += wanted;
    }
    return (int64_t)size;
}
