/*
 * tus_syntax: the fields of tus 1.0.0 (https://tus.io/protocols/resumable-upload) that have a form of their own: Upload-Metadata,
 * Upload-Checksum, Upload-Concat, and the token in an upload's address. Pure.
 */
#ifndef REEL_HTTPD_TUS_SYNTAX_H
#define REEL_HTTPD_TUS_SYNTAX_H

#include "common/auth/content_hash.h"
#include "common/proto/proto.h"
#include "common/proto/proto_partial.h"
#include "httpd/syntax/http_text.h"

#define TUS_TOKEN_SIZE (1 + 2 * PROTO_PARTIAL_TOKEN_SIZE + 1) /* as text, NUL included */

/* What an upload is, and the first character of its token in its address. */
enum tus_kind { TUS_UPLOAD = 'u', TUS_PART = 'p', TUS_FINAL = 'f' };

/* Upload-Metadata: pairs of a key and a value in base64, or a key alone, separated by commas. NAME gets the value of "filename" or "name",
 * TYPE that of "filetype", "type" or "contentType", NUL-terminated; "" where it is absent, too long or not text. False: malformed, or a
 * key twice. */
MUST_CHECK bool tus_metadata_parse(struct http_text value, char name[PROTO_NAME_SIZE],
                                   char type[PROTO_CONTENT_TYPE_SIZE]);

enum tus_checksum_result { TUS_CHECKSUM_FOUND, TUS_CHECKSUM_UNKNOWN, TUS_CHECKSUM_WRONG };

/* Upload-Checksum: an algorithm, a space, the hash in base64. UNKNOWN: another algorithm than sha1 and sha256. */
enum tus_checksum_result tus_checksum_parse(struct http_text value, enum content_hash_kind *kind,
                                            uint8_t hash[CONTENT_HASH_SIZE_MAX]);

/* Upload-Concat: "partial", or "final;" and the addresses of the parts, separated by spaces, which *PARTS gets. False: neither. */
MUST_CHECK bool tus_concat_parse(struct http_text value, enum tus_kind *kind, struct http_text *parts);
/* The next address of PARTS, which is moved on. False at the end. */
bool tus_concat_next(struct http_text *parts, struct http_text *address);

/* The token of an upload as it stands in its address, and back (either case). */
char *tus_token_format(enum tus_kind kind, const uint8_t token[PROTO_PARTIAL_TOKEN_SIZE],
                       char text[TUS_TOKEN_SIZE]);
MUST_CHECK bool tus_token_parse(struct http_text text, enum tus_kind *kind,
                                uint8_t token[PROTO_PARTIAL_TOKEN_SIZE]);

/* True where every byte may stand in a field: printable ASCII. */
bool tus_text_is_plain(struct http_text text);

#endif
