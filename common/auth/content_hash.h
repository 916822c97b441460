/*
 * content_hash: SHA-256 and SHA-1 of passing content, as uploaders state them (RFC 9530; the checksum extension of tus), and
 * the base64 in which they state them. Not for keys and proofs: see key_mac.h. Any thread; one at a time per hash.
 */
#ifndef REEL_COMMON_AUTH_CONTENT_HASH_H
#define REEL_COMMON_AUTH_CONTENT_HASH_H

#include "common/base/base.h"

#define CONTENT_HASH_SIZE_MAX 32

enum content_hash_kind { CONTENT_HASH_SHA256, CONTENT_HASH_SHA1 };

struct content_hash;

MUST_CHECK struct content_hash *content_hash_create(enum content_hash_kind kind); /* NULL without memory */
void content_hash_destroy(struct content_hash *hash);                             /* NULL is ignored */
void content_hash_update(struct content_hash *hash, const void *bytes, size_t size);
/* True where what passed by has this hash, of content_hash_size() bytes. Once, at the end. */
MUST_CHECK bool content_hash_is(struct content_hash *hash, const uint8_t *expected);

size_t content_hash_size(enum content_hash_kind kind);

/* Decodes base64 (RFC 4648 section 4, with padding) of TEXT, LENGTH characters, into OUT of CAPACITY bytes. The number of bytes; -1
 * where it is none or does not fit. */
int64_t base64_decode(const char *text, size_t length, uint8_t *out, size_t capacity);

#endif
