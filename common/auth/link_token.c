/*
 * link_token: texts are read strictly, since a link that can be written in two ways is two entries of a cache; lengths precede
 * names in what is signed, so that no two files give the same bytes.
 */
#include "common/auth/link_token.h"

#include "common/auth/key_mac.h"
#include <arpa/inet.h>
#include <endian.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define FLAG_EXACT     1
#define FLAG_NETWORK   2
#define EXPIRES_DIGITS 16
#define PREFIX_DIGITS  3

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* ---- texts ---- */

/* What a character is, and the bits that it stands for in base64url. Letters, digits and hyphens are what that and the IDs of keys share
 * (IN_BOTH); the underscore only the former has. */
#define IN_BASE64 0x40
#define IN_BOTH   0xc0
#define BITS      0x3f
static const uint8_t characters[256] = {
    ['-'] = 0xfe, ['0'] = 0xf4, ['1'] = 0xf5, ['2'] = 0xf6, ['3'] = 0xf7, ['4'] = 0xf8, ['5'] = 0xf9,
    ['6'] = 0xfa, ['7'] = 0xfb, ['8'] = 0xfc, ['9'] = 0xfd, ['A'] = 0xc0, ['B'] = 0xc1, ['C'] = 0xc2,
    ['D'] = 0xc3, ['E'] = 0xc4, ['F'] = 0xc5, ['G'] = 0xc6, ['H'] = 0xc7, ['I'] = 0xc8, ['J'] = 0xc9,
    ['K'] = 0xca, ['L'] = 0xcb, ['M'] = 0xcc, ['N'] = 0xcd, ['O'] = 0xce, ['P'] = 0xcf, ['Q'] = 0xd0,
    ['R'] = 0xd1, ['S'] = 0xd2, ['T'] = 0xd3, ['U'] = 0xd4, ['V'] = 0xd5, ['W'] = 0xd6, ['X'] = 0xd7,
    ['Y'] = 0xd8, ['Z'] = 0xd9, ['_'] = 0x7f, ['a'] = 0xda, ['b'] = 0xdb, ['c'] = 0xdc, ['d'] = 0xdd,
    ['e'] = 0xde, ['f'] = 0xdf, ['g'] = 0xe0, ['h'] = 0xe1, ['i'] = 0xe2, ['j'] = 0xe3, ['k'] = 0xe4,
    ['l'] = 0xe5, ['m'] = 0xe6, ['n'] = 0xe7, ['o'] = 0xe8, ['p'] = 0xe9, ['q'] = 0xea, ['r'] = 0xeb,
    ['s'] = 0xec, ['t'] = 0xed, ['u'] = 0xee, ['v'] = 0xef, ['w'] = 0xf0, ['x'] = 0xf1, ['y'] = 0xf2,
    ['z'] = 0xf3};

static bool parse_key(struct link_part text, struct link_token *token)
{
    uint8_t common = IN_BOTH;
    if (text.size == 0 || text.size >= sizeof(token->key))
        return false;
    memset(token->key, 0, sizeof(token->key));
    for (size_t i = 0; i < text.size; i++) {
        token->key[i] = text.bytes[i];
        common &= characters[(uint8_t)text.bytes[i]];
    }
    return (common & IN_BOTH) == IN_BOTH;
}

static bool parse_expires(struct link_part text, struct link_token *token)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t wrong = 0;
    uint64_t value = 0;
    token->network = text.size > 0 && text.bytes[text.size - 1] == 'n';
    text.size -= token->network;
    token->exact = text.size > 0 && text.bytes[text.size - 1] == 'x';
    text.size -= token->exact;
    if (text.size == 0 || text.size > EXPIRES_DIGITS || text.bytes[0] == '0')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i],
                digit = ((c & 15U) + 9U * (c >> 6)) & 15U; /* of letters the low bits count from 1 on */
        wrong |= (uint8_t)(digits[digit] ^ c);
        value = value << 4 | digit;
    }
    token->expires = (int64_t)value;
    return wrong == 0 && value <= INT64_MAX - LINK_SKEW;
}

/* COUNT characters, at most 10; COMMON keeps what all that were read are. */
static uint64_t link_bits_of(const char *text, size_t count, uint8_t *common)
{
    uint8_t all = *common;
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t character = characters[(uint8_t)text[i]];
        all &= character;
        bits = bits << 6 | (character & BITS);
    }
    *common = all;
    return bits;
}

static bool parse_signature(struct link_part text, struct link_token *token)
{
    uint8_t common = IN_BASE64;
    if (text.size != LINK_SIGNATURE_LENGTH)
        return false;
    token->signature[0] = link_bits_of(text.bytes, 10, &common);
    token->signature[1] = link_bits_of(text.bytes + 10, 10, &common);
    token->signature[2] = link_bits_of(text.bytes + 20, 2, &common);
    return common == IN_BASE64;
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

char *link_signature_format(const struct link_token *token, char text[LINK_SIGNATURE_LENGTH + 1])
{
    for (size_t i = 0; i < LINK_SIGNATURE_LENGTH; i++) {
        size_t behind = (i < 20 ? 9 : 1) - i % 10; /* characters of the same word */
        text[i] = base64url[token->signature[i / 10] >> 6 * behind & BITS];
    }
    text[LINK_SIGNATURE_LENGTH] = '\0';
    return text;
}

char *link_token_format(const struct link_token *token, char text[LINK_TEXT_SIZE])
{
    char expires[LINK_EXPIRES_SIZE], signature[LINK_SIGNATURE_LENGTH + 1], scope[8] = "f";
    if (token->scope == LINK_SCOPE_USER)
        scope[0] = 'u';
    else if (token->scope == LINK_SCOPE_PREFIX)
        (void)snprintf(scope, sizeof(scope), "p%zu", min_size(token->prefix, PROTO_FILE_SIZE - 1));
    (void)snprintf(text, LINK_TEXT_SIZE, "%s.%s.%s.%s", token->key, link_expires_format(token, expires),
                   scope, link_signature_format(token, signature));
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
    const uint64_t expires = htobe64((uint64_t)token->expires);
    memcpy(at, &expires, sizeof(expires));
    at += sizeof(expires);
    *at++ = (uint8_t)((token->exact ? FLAG_EXACT : 0) | (token->network ? FLAG_NETWORK : 0));
    if (token->exact)
        at = put_view(at, view);
    if (token->network)
        at = put_counted(at, "", network, network_size);
    return (size_t)(at - message);
}

/* As the characters of a signature have them: 60 bits, 60, and 8 with 4 zeros behind them. */
static void sign(const struct key *key, const uint8_t *message, size_t size,
                 uint64_t signature[LINK_SIGNATURE_WORDS])
{
    const struct mac_part part = {message, size};
    uint8_t mac[MAC_SIZE];
    uint64_t high, low;
    key_mac(key, KEY_USE_LINK, &part, 1, mac);
    memcpy(&high, mac, sizeof(high));
    memcpy(&low, mac + sizeof(high), sizeof(low));
    high = be64toh(high);
    low = be64toh(low);
    signature[0] = high >> 4;
    signature[1] = (high & 15) << 56 | low >> 8;
    signature[2] = (low & 255) << 4;
}

bool link_token_sign(struct link_token *token, const struct key *key, const struct proto_file_key *file,
                     const struct link_view *view, const char *host)
{
    uint8_t message[LINK_MESSAGE_SIZE];
    size_t size = link_message(token, file, view, host, message);
    memcpy(token->key, key->id, sizeof(token->key));
    if (size > 0)
        sign(key, message, size, token->signature);
    return size > 0;
}

/* In a time that does not depend on where they differ: words are compared as a whole. */
static bool is_signature_of(const struct link_token *token, const struct key *key, const uint8_t *message,
                            size_t size)
{
    uint64_t right[LINK_SIGNATURE_WORDS], differ = 0;
    sign(key, message, size, right);
    for (size_t i = 0; i < LINK_SIGNATURE_WORDS; i++)
        differ |= right[i] ^ token->signature[i];
    return differ == 0;
}

enum link_verdict link_token_verify(const struct link_token *token, const struct keys *keys,
                                    const struct proto_file_key *file, const uint8_t *message, size_t size,
                                    bool known, int64_t now)
{
    const struct key *key = keys ? keys_find(keys, token->key) : NULL;

    if (size == 0 || !key || !key_valid_at(key, now) || !key_has_role(key, KEY_ROLE_ISSUER) ||
        (key->rights & KEY_RIGHT_READ) == 0 || !key_may_application(key, file->application) ||
        (!known && !is_signature_of(token, key, message, size)))
        return LINK_WRONG;
    return now < token->expires + LINK_SKEW ? LINK_GOOD : LINK_EXPIRED;
}
