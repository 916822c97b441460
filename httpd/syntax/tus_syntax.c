/*
 * tus_syntax: lists taken apart at commas and spaces, values decoded by content_hash's base64.
 */
#include "httpd/syntax/tus_syntax.h"

#include "common/base/hex.h"

#include <string.h>

#define PAIRS_MAX 32 /* of Upload-Metadata */

bool tus_text_is_plain(struct http_text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < ' ' || text.bytes[i] > '~')
            return false;
    }
    return true;
}

/* ---- Upload-Metadata ---- */

/* The bytes up to SEPARATOR, which is skipped too. */
static struct http_text cut(struct http_text *rest, char separator)
{
    const char *end = rest->size > 0 ? memchr(rest->bytes, separator, rest->size) : NULL;
    struct http_text part = {rest->bytes, end ? (size_t)(end - rest->bytes) : rest->size};
    size_t used = min_size(part.size + 1, rest->size);
    rest->bytes += used;
    rest->size -= used;
    return part;
}

static bool tus_is_one_of(struct http_text key, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (http_text_equal(key, names[i]))
            return true;
    }
    return false;
}

/* The base64 of VALUE into OUT of SIZE bytes, NUL-terminated, where it is not longer and has no NUL; else OUT stays as it is. False: it is
 * no base64. */
static bool tus_take_value(struct http_text value, char *out, size_t size)
{
    uint8_t bytes[1024];
    if (value.size > sizeof(bytes) / 3 * 4)
        return true; /* longer than any that would do, and not looked at */
    int64_t length = base64_decode(value.bytes, value.size, bytes, sizeof(bytes));
    if (length < 0)
        return false;
    if (!out || (size_t)length >= size || (length > 0 && memchr(bytes, '\0', (size_t)length)))
        return true;
    memset(out, 0, size);
    memcpy(out, bytes, (size_t)length);
    return true;
}

bool tus_metadata_parse(struct http_text value, char name[PROTO_NAME_SIZE],
                        char type[PROTO_CONTENT_TYPE_SIZE])
{
    static const char *const names[] = {"filename", "name"};
    static const char *const types[] = {"filetype", "type", "contentType"};
    struct http_text keys[PAIRS_MAX], rest = value;
    size_t count = 0;
    memset(name, 0, PROTO_NAME_SIZE);
    memset(type, 0, PROTO_CONTENT_TYPE_SIZE);
    if (!tus_text_is_plain(value))
        return false;
    while (rest.size > 0) {
        struct http_text pair = http_text_trim(cut(&rest, ','));
        struct http_text key = cut(&pair, ' ');
        char *out = NULL;
        size_t size = 0;
        if (key.size == 0 || count == PAIRS_MAX)
            return false;
        for (size_t i = 0; i < count; i++) {
            if (keys[i].size == key.size && memcmp(keys[i].bytes, key.bytes, key.size) == 0)
                return false;
        }
        keys[count++] = key;
        if (tus_is_one_of(key, names, ARRAY_SIZE(names)) && name[0] == '\0') {
            out = name;
            size = PROTO_NAME_SIZE;
        } else if (tus_is_one_of(key, types, ARRAY_SIZE(types)) && type[0] == '\0') {
            out = type;
            size = PROTO_CONTENT_TYPE_SIZE;
        }
        if (!tus_take_value(pair, out, size))
            return false;
    }
    return true;
}

/* ---- Upload-Checksum ---- */

enum tus_checksum_result tus_checksum_parse(struct http_text value, enum content_hash_kind *kind,
                                            uint8_t hash[CONTENT_HASH_SIZE_MAX])
{
    struct http_text algorithm = cut(&value, ' ');
    if (http_text_equal(algorithm, "sha1"))
        *kind = CONTENT_HASH_SHA1;
    else if (http_text_equal(algorithm, "sha256"))
        *kind = CONTENT_HASH_SHA256;
    else
        return algorithm.size == 0 || value.size == 0 ? TUS_CHECKSUM_WRONG : TUS_CHECKSUM_UNKNOWN;
    return base64_decode(value.bytes, value.size, hash, CONTENT_HASH_SIZE_MAX) ==
                   (int64_t)content_hash_size(*kind)
               ? TUS_CHECKSUM_FOUND
               : TUS_CHECKSUM_WRONG;
}

/* ---- Upload-Concat ---- */

bool tus_concat_parse(struct http_text value, enum tus_kind *kind, struct http_text *parts)
{
    static const char final[] = "final;";
    *parts = (struct http_text){"", 0};
    if (http_text_equal(value, "partial")) {
        *kind = TUS_PART;
        return true;
    }
    if (value.size < sizeof(final) - 1 || memcmp(value.bytes, final, sizeof(final) - 1) != 0)
        return false;
    *kind = TUS_FINAL;
    *parts =
        http_text_trim((struct http_text){value.bytes + sizeof(final) - 1, value.size - (sizeof(final) - 1)});
    return parts->size > 0;
}

bool tus_concat_next(struct http_text *parts, struct http_text *address)
{
    do {
        if (parts->size == 0)
            return false;
        *address = cut(parts, ' ');
    } while (address->size == 0);
    return true;
}

/* ---- tokens ---- */

char *tus_token_format(enum tus_kind kind, const uint8_t token[PROTO_PARTIAL_TOKEN_SIZE],
                       char text[TUS_TOKEN_SIZE])
{
    text[0] = (char)kind;
    (void)hex_format(token, PROTO_PARTIAL_TOKEN_SIZE, text + 1);
    return text;
}

bool tus_token_parse(struct http_text text, enum tus_kind *kind, uint8_t token[PROTO_PARTIAL_TOKEN_SIZE])
{
    if (text.size != TUS_TOKEN_SIZE - 1)
        return false;
    *kind = (enum tus_kind)text.bytes[0];
    if (*kind != TUS_UPLOAD && *kind != TUS_PART && *kind != TUS_FINAL)
        return false;
    return hex_parse(text.bytes + 1, token, PROTO_PARTIAL_TOKEN_SIZE);
}
