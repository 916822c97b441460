/*
 * Fuzzes the fields of tus: whatever a client states is read without harm, what was taken is text that ends, parts of a final upload come
 * to no more than the field holds, and a token that was read is written as it was, but for the case of its digits.
 */
#include "httpd/syntax/tus_syntax.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_text text = {(const char *)data, size}, parts, address;
    char name[PROTO_NAME_SIZE], type[PROTO_CONTENT_TYPE_SIZE], written[TUS_TOKEN_SIZE];
    uint8_t hash[CONTENT_HASH_SIZE_MAX], token[PROTO_PARTIAL_TOKEN_SIZE];
    enum content_hash_kind algorithm;
    enum tus_kind kind;
    size_t total = 0;
    memset(name, 'x', sizeof(name));
    memset(type, 'x', sizeof(type));
    bool taken = tus_metadata_parse(text, name, type);
    if (taken && !tus_text_is_plain(text))
        abort();
    if (!memchr(name, '\0', sizeof(name)) || !memchr(type, '\0', sizeof(type)))
        abort();
    (void)tus_checksum_parse(text, &algorithm, hash);
    if (tus_concat_parse(text, &kind, &parts)) {
        while (tus_concat_next(&parts, &address)) {
            if (address.size == 0 || memchr(address.bytes, ' ', address.size))
                abort();
            total += address.size;
        }
        if (total > size)
            abort();
    }
    if (tus_token_parse(text, &kind, token) &&
        strncasecmp(tus_token_format(kind, token, written), text.bytes, text.size) != 0)
        abort();
    return 0;
}
