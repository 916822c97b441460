/*
 * content_digest: what an uploader says of its content's digest: Repr-Digest and Content-Digest (RFC 9530), of which sha-256 counts, and
 * X-Reel-Digest with XXH3-128. Pure.
 */
#ifndef REEL_HTTPD_CONTENT_DIGEST_H
#define REEL_HTTPD_CONTENT_DIGEST_H

#include "common/proto/proto.h"
#include "httpd/syntax/http_text.h"

#define CONTENT_DIGEST_SHA256_SIZE 32

enum content_digest_result { CONTENT_DIGEST_NONE, CONTENT_DIGEST_FOUND, CONTENT_DIGEST_WRONG };

/* The member sha-256=:BASE64: of one line of Repr-Digest or Content-Digest; other algorithms are ignored, as RFC 9530 section 2 allows.
 * WRONG: a sha-256 that is not 32 bytes in base64. */
enum content_digest_result content_digest_sha256(struct http_text line,
                                                 uint8_t digest[CONTENT_DIGEST_SHA256_SIZE]);

/* True where it is that of an empty content. */
bool content_digest_is_of_nothing(const uint8_t sha256[CONTENT_DIGEST_SHA256_SIZE]);

/* "xxh3-128=" (which may be left out) and 32 hexadecimal digits. */
enum content_digest_result content_digest_xxh3(struct http_text value, uint8_t digest[PROTO_DIGEST_SIZE]);

#endif
