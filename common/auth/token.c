/*
 * token: signing, verification and text form of tokens. The MAC covers every byte before it.
 */
#include "common/auth/token.h"

#include "common/auth/key_mac.h"

#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void compute(const struct key *key, const uint8_t *body, size_t size, uint8_t mac[MAC_SIZE])
{
    const struct mac_part part = {body, size - PROTO_PROOF_SIZE};

    key_mac(key, KEY_USE_TOKEN, &part, 1, mac);
}

size_t token_sign(const struct key *key, struct proto_token *token, uint8_t body[PROTO_TOKEN_PACKED_MAX],
                  struct error *error)
{
    size_t size;

    if (!key_has_role(key, KEY_ROLE_ISSUER) || !key_may_application(key, token->application) ||
        (token->rights & ~key->rights) != 0) {
        (void)error_set(
            error, ERROR_FORBIDDEN,
            "key %s may not issue this token: it needs the role issuer, the application and the rights",
            key->id);
        return 0;
    }
    memcpy(token->issuer, key->id, sizeof(token->issuer));
    memset(token->mac, 0, sizeof(token->mac));
    size = proto_token_pack(body, token, error);
    if (size == 0)
        return 0;
    compute(key, body, size, token->mac);
    memcpy(body + size - PROTO_PROOF_SIZE, token->mac, PROTO_PROOF_SIZE);
    return size;
}

bool token_verify(const struct keys *keys, const uint8_t *body, size_t size, int64_t now,
                  struct proto_token *token, const struct key **issuer, struct error *error)
{
    uint8_t mac[MAC_SIZE];
    const struct key *key;
    bool good;

    if (!proto_token_unpack(body, size, token, error))
        return false;
    key = keys_find(keys, token->issuer);
    if (key)
        compute(key, body, size, mac);
    good = key && mac_equal(mac, token->mac, MAC_SIZE);
    /* One text for all: it does not reveal which keys exist. */
    if (!good || !key_has_role(key, KEY_ROLE_ISSUER) || !key_valid_at(key, now))
        return error_set(error, ERROR_FORBIDDEN,
                         "the token is not valid: no key that issues tokens signed it");
    if (!key_may_application(key, token->application) || (token->rights & ~key->rights) != 0)
        return error_set(error, ERROR_FORBIDDEN, "the token gives more than its issuer may give");
    if (now < token->not_before)
        return error_set(error, ERROR_FORBIDDEN, "the token is not valid yet");
    if (now >= token->expires)
        return error_set(error, ERROR_FORBIDDEN, "the token has expired");
    if (issuer)
        *issuer = key;
    return true;
}

void token_format(const uint8_t *body, size_t size, char text[TOKEN_TEXT_SIZE])
{
    size_t length = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | body[i];
        for (have += 8; have >= 6; have -= 6)
            text[length++] = letters[bits >> (have - 6) & 63];
    }
    if (have > 0)
        text[length++] = letters[bits << (6 - have) & 63];
    text[length] = '\0';
}

size_t token_parse(const char *text, uint8_t body[PROTO_TOKEN_PACKED_MAX])
{
    size_t size = 0, length;
    uint32_t bits = 0;
    unsigned have = 0;

    text += strspn(text, " \t\r\n");
    length = strcspn(text, " \t\r\n");
    if (text[length + strspn(text + length, " \t\r\n")] != '\0')
        return 0;
    for (size_t i = 0; i < length; i++) {
        const char *letter = strchr(letters, text[i]);

        if (!letter || (have >= 2 && size == PROTO_TOKEN_PACKED_MAX))
            return 0;
        bits = (bits << 6 | (uint32_t)(letter - letters)) & 0xFFFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            body[size++] = (uint8_t)(bits >> have);
        }
    }
    /* Bits behind the last byte must be zeros: one text per token. */
    return have < 6 && (bits & ((1u << have) - 1)) == 0 && size >= PROTO_TOKEN_SIZE_MIN ? size : 0;
}
