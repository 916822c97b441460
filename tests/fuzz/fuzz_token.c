/*
 * fuzz_token: token bodies, token texts and keys files of any bytes. A body that is taken has the same bytes when it is packed
 * again; a text that is taken is the only text of its body; no body but a signed one is valid. The first byte chooses.
 */
#include "common/auth/keys_file.h"
#include "common/auth/token.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void try_body(const uint8_t *body, size_t size)
{
    static const char text[] = "app issuer AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    uint8_t again[PROTO_TOKEN_PACKED_MAX];
    struct proto_token token, verified;
    struct error error = {0};
    struct keys *keys = keys_parse(text, sizeof(text) - 1, "keys", &error);

    EXPECT(keys);
    EXPECT(!token_verify(keys, body, size, 0, &verified, NULL, &error));
    keys_release(keys);
    if (!proto_token_unpack(body, size, &token, &error)) {
        EXPECT(error.code == ERROR_MALFORMED && error.text[0] != '\0');
        return;
    }
    EXPECT(token.rights > 0 && token.rights <= KEY_RIGHTS_ALL && token.user[0] != '\0');
    /* What follows the NUL of a string field is not kept; all else is. */
    EXPECT(proto_token_pack(again, &token, &error) == size);
    EXPECT(proto_token_unpack(again, size, &verified, &error));
    EXPECT(memcmp(&token, &verified, sizeof(token)) == 0);
}

static void try_text(const uint8_t *bytes, size_t size)
{
    uint8_t body[PROTO_TOKEN_PACKED_MAX];
    char given[TOKEN_TEXT_SIZE + 8], text[TOKEN_TEXT_SIZE];

    if (size >= sizeof(given) || memchr(bytes, '\0', size))
        return;
    memcpy(given, bytes, size);
    given[size] = '\0';
    size_t length = token_parse(given, body);
    if (length == 0)
        return;
    token_format(body, length, text);
    const char *word = given + strspn(given, " \t\r\n");
    EXPECT(strncmp(word, text, strlen(text)) == 0 &&
           strspn(word + strlen(text), " \t\r\n") == strlen(word + strlen(text)));
}

static void try_keys(const uint8_t *bytes, size_t size)
{
    struct error error = {0};
    struct keys *keys = keys_parse((const char *)bytes, size, "keys", &error);

    EXPECT(keys || error.text[0] != '\0');
    for (size_t i = 0; keys && i < keys->count; i++) {
        EXPECT(key_id_valid(keys->items[i].id) && keys->items[i].roles != 0);
        EXPECT(keys_find(keys, keys->items[i].id) == &keys->items[i]);
    }
    keys_release(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        try_body(data + 1, size - 1);
        break;
    case 1:
        try_text(data + 1, size - 1);
        break;
    default:
        try_keys(data + 1, size - 1);
    }
    return 0;
}
