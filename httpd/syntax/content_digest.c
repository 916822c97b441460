/*
 * content_digest: members of a dictionary (RFC 9651 section 3.2) whose values are byte sequences.
 */
#include "httpd/syntax/content_digest.h"

#include "common/auth/content_hash.h"
#include "common/proto/digest.h"

#include <string.h>

enum content_digest_result content_digest_sha256(struct http_text line,
                                                 uint8_t digest[CONTENT_DIGEST_SHA256_SIZE])
{
    static const char key[] = "sha-256=";
    struct http_text item;
    enum content_digest_result result = CONTENT_DIGEST_NONE;
    while (http_text_next_item(&line, &item)) {
        if (item.size < sizeof(key) - 1 || memcmp(item.bytes, key, sizeof(key) - 1) != 0)
            continue;
        struct http_text value = {item.bytes + sizeof(key) - 1, item.size - (sizeof(key) - 1)};
        if (value.size < 2 || value.bytes[0] != ':' || value.bytes[value.size - 1] != ':' ||
            base64_decode(value.bytes + 1, value.size - 2, digest, CONTENT_DIGEST_SHA256_SIZE) !=
                CONTENT_DIGEST_SHA256_SIZE)
            return CONTENT_DIGEST_WRONG;
        result = CONTENT_DIGEST_FOUND; /* of several the last one counts: RFC 9651 section 4.2.2 */
    }
    return result;
}

bool content_digest_is_of_nothing(const uint8_t sha256[CONTENT_DIGEST_SHA256_SIZE])
{
    static const uint8_t nothing[CONTENT_DIGEST_SHA256_SIZE] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
        0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    return memcmp(sha256, nothing, sizeof(nothing)) == 0;
}

enum content_digest_result content_digest_xxh3(struct http_text value, uint8_t digest[PROTO_DIGEST_SIZE])
{
    static const char key[] = "xxh3-128=";
    char hex[DIGEST_HEX_SIZE];
    if (!value.bytes)
        return CONTENT_DIGEST_NONE;
    if (value.size > sizeof(key) - 1 && memcmp(value.bytes, key, sizeof(key) - 1) == 0) {
        value.bytes += sizeof(key) - 1;
        value.size -= sizeof(key) - 1;
    }
    if (value.size != DIGEST_HEX_SIZE - 1)
        return CONTENT_DIGEST_WRONG;
    memcpy(hex, value.bytes, value.size);
    hex[value.size] = '\0';
    return digest_from_hex(hex, digest) ? CONTENT_DIGEST_FOUND : CONTENT_DIGEST_WRONG;
}
