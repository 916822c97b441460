/*
 * link_token: texts are read strictly, since a link that can be written in two ways is two entries of a cache; lengths stand before
 * names in what is signed, so that no two files give the same bytes.
 */
#include "common/auth/link_token.h"

#include "common/auth/key_mac.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SIGNATURE_BYTES 16
#define FLAG_EXACT      1
#define FLAG_NETWORK    2
#define EXPIRES_DIGITS  16
#define PREFIX_DIGITS   3

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- texts ---- */

/* Letters, digits and hyphens are what base64url and the IDs of keys share; UNDERSCORE: the one that only the former has. */
static bool is_plain(char c, bool underscore)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           (underscore && c == '_');
}

static bool all_plain(struct link_part text, bool underscore)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_plain(text.bytes[i], underscore))
            return false;
    }
    return true;
}

static bool parse_key(struct link_part text, struct link_token *token)
{
    if (text.size == 0 || text.size >= sizeof(token->key) || !all_plain(text, false))
        return false;
    memset(token->key, 0, sizeof(token->key));
    memcpy(token->key, text.bytes, text.size);
    return true;
}

static bool parse_expires(struct link_part text, struct link_token *token)
{
    uint64_t value = 0;
    token->network = text.size > 0 && text.bytes[text.size - 1] == 'n';
    text.size -= token->network;
    token->exact = text.size > 0 && text.bytes[text.size - 1] == 'x';
    text.size -= token->exact;
    if (text.size == 0 || text.size > EXPIRES_DIGITS || text.bytes[0] == '0')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.bytes[i];
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    token->expires = (int64_t)value;
    return value <= INT64_MAX - LINK_SKEW;
}

static bool parse_signature(struct link_part text, struct link_token *token)
{
    if (text.size != LINK_SIGNATURE_LENGTH || !all_plain(text, true))
        return false;
    memcpy(token->signature, text.bytes, text.size);
    token->signature[text.size] = '\0';
    return true;
}

bool link_scope_parse(const char *text, size_t size, struct link_token *token)
{
    token->prefix = 0;
    if (size == 1 && (text[0] == 'f' || text[0] == 'u')) {
        token->scope = text[0] == 'f' ? LINK_SCOPE_FILE : LINK_SCOPE_USER;
        return true;
    }
    token->scope = LINK_SCOPE_PREFIX;
    if (size < 2 || size > 1 + PREFIX_DIGITS || text[0] != 'p' || text[1] == '0')
        return false;
    for (size_t i = 1; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        token->prefix = token->prefix * 10 + (size_t)(text[i] - '0');
    }
    return token->prefix < PROTO_FILE_SIZE;
}

bool link_token_parse(const char *text, size_t size, struct link_token *token)
{
    struct link_part parts[4];
    size_t count = 0, start = 0;
    memset(token, 0, sizeof(*token));
    for (size_t i = 0; i <= size; i++) {
        if (i < size && text[i] != '.')
            continue;
        if (count == ARRAY_SIZE(parts))
            return false;
        parts[count++] = (struct link_part){text + start, i - start};
        start = i + 1;
    }
    /* Relative links inherit it: with which name nobody knows. */
    return count == ARRAY_SIZE(parts) && parse_key(parts[0], token) && parse_expires(parts[1], token) &&
           !token->exact && link_scope_parse(parts[2].bytes, parts[2].size, token) &&
           parse_signature(parts[3], token);
}

bool link_token_parse_query(struct link_part expires, struct link_part key, struct link_part signature,
                            struct link_token *token)
{
    memset(token, 0, sizeof(*token));
    return parse_expires(expires, token) && parse_key(key, token) && parse_signature(signature, token);
}

char *link_expires_format(const struct link_token *token, char text[LINK_EXPIRES_SIZE])
{
    (void)snprintf(text, LINK_EXPIRES_SIZE, "%" PRIx64 "%s%s", token->expires, token->exact ? "x" : "",
                   token->network ? "n" : "");
    return text;
}

char *link_token_format(const struct link_token *token, char text[LINK_TEXT_SIZE])
{
    char expires[LINK_EXPIRES_SIZE], scope[8] = "f";
    if (token->scope == LINK_SCOPE_USER)
        scope[0] = 'u';
    else if (token->scope == LINK_SCOPE_PREFIX)
        (void)snprintf(scope, sizeof(scope), "p%zu", min_size(token->prefix, PROTO_FILE_SIZE - 1));
    (void)snprintf(text, LINK_TEXT_SIZE, "%s.%s.%s.%s", token->key, link_expires_format(token, expires),
                   scope, token->signature);
    return text;
}

/* ---- what is signed ---- */

/* The network of the numeric address HOST; its size, 0 for what is no address. */
static size_t link_network(const char *host, uint8_t network[LINK_NETWORK_SIZE])
{
    uint8_t address[16];
    if (inet_pton(AF_INET, host, address) == 1) {
        memcpy(network, address, 3);
        return 3;
    }
    if (inet_pton(AF_INET6, host, address) != 1)
        return 0;
    struct in6_addr in6;
    memcpy(&in6, address, sizeof(in6));
    if (IN6_IS_ADDR_V4MAPPED(&in6)) {
        memcpy(network, address + 12, 3);
        return 3;
    }
    memcpy(network, address, 8);
    return 8;
}

static uint8_t *put_counted(uint8_t *at, const char *kind, const void *bytes, size_t size)
{
    size_t kind_size = strlen(kind), all = kind_size + size;
    *at++ = (uint8_t)(all >> 8);
    *at++ = (uint8_t)all;
    memcpy(at, kind, kind_size);
    memcpy(at + kind_size, bytes, size);
    return at + all;
}

static uint8_t *put_view(uint8_t *at, const struct link_view *view)
{
    const char *name = view && view->name ? view->name : "";
    const char *download = view && view->download_name ? view->download_name : "";
    at = put_counted(at, "", name, strlen(name));
    return view && view->download ? put_counted(at, "d", download, strlen(download))
                                  : put_counted(at, "", "", 0);
}

static bool view_fits(const struct link_view *view)
{
    return !view || ((!view->name || strlen(view->name) < PROTO_NAME_SIZE) &&
                     (!view->download_name || strlen(view->download_name) < PROTO_NAME_SIZE));
}

size_t link_message(const struct link_token *token, const struct proto_file_key *file,
                    const struct link_view *view, const char *host, uint8_t message[LINK_MESSAGE_SIZE])
{
    size_t file_size = strnlen(file->file, sizeof(file->file));
    uint8_t network[LINK_NETWORK_SIZE], *at = message;
    size_t network_size = token->network ? link_network(host, network) : 0;
    if ((token->network && network_size == 0) || (token->exact && !view_fits(view)) ||
        (token->scope == LINK_SCOPE_PREFIX && (token->prefix == 0 || token->prefix > file_size)))
        return 0;
    *at++ = 'L';
    *at++ = '1';
    at = put_counted(at, "", file->application, strnlen(file->application, sizeof(file->application)));
    at = put_counted(at, "", file->user, strnlen(file->user, sizeof(file->user)));
    if (token->scope == LINK_SCOPE_FILE)
        at = put_counted(at, "f", file->file, file_size);
    else if (token->scope == LINK_SCOPE_PREFIX)
        at = put_counted(at, "p", file->file, token->prefix);
    else
        at = put_counted(at, "u", "", 0);
    for (int shift = 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)((uint64_t)token->expires >> shift);
    *at++ = (uint8_t)((token->exact ? FLAG_EXACT : 0) | (token->network ? FLAG_NETWORK : 0));
    if (token->exact)
        at = put_view(at, view);
    if (token->network)
        at = put_counted(at, "", network, network_size);
    return (size_t)(at - message);
}

/* The first 16 bytes as text. */
static bool sign(const struct key *key, const uint8_t *message, size_t size,
                 char signature[LINK_SIGNATURE_LENGTH + 1])
{
    const struct mac_part part = {message, size};
    uint8_t mac[MAC_SIZE];
    if (!key_mac(key, KEY_USE_LINK, &part, 1, mac))
        return false;
    uint32_t bits = 0;
    int have = 0;
    char *at = signature;
    for (size_t i = 0; i < SIGNATURE_BYTES; i++) {
        bits = bits << 8 | mac[i];
        for (have += 8; have >= 6; have -= 6)
            *at++ = base64url[bits >> (have - 6) & 63];
    }
    *at++ = base64url[bits << (6 - have) & 63];
    *at = '\0';
    return true;
}

bool link_token_sign(struct link_token *token, const struct key *key, const struct proto_file_key *file,
                     const struct link_view *view, const char *host)
{
    uint8_t message[LINK_MESSAGE_SIZE];
    size_t size = link_message(token, file, view, host, message);
    memcpy(token->key, key->id, sizeof(token->key));
    return size > 0 && sign(key, message, size, token->signature);
}

enum link_verdict link_token_verify(const struct link_token *token, const struct keys *keys,
                                    const struct proto_file_key *file, const uint8_t *message, size_t size,
                                    int64_t now)
{
    char signature[LINK_SIGNATURE_LENGTH + 1];
    const struct key *key = keys ? keys_find(keys, token->key) : NULL;
    if (size == 0 || !key || !key_valid_at(key, now) || !key_has_role(key, KEY_ROLE_ISSUER) ||
        (key->rights & KEY_RIGHT_READ) == 0 || !key_may_application(key, file->application) ||
        !sign(key, message, size, signature) ||
        !mac_equal((const uint8_t *)signature, (const uint8_t *)token->signature, LINK_SIGNATURE_LENGTH))
        return LINK_WRONG;
    return now < token->expires + LINK_SKEW ? LINK_GOOD : LINK_EXPIRED;
}
