/*
 * http_authority: the grammar, read once from the left. Addresses in brackets are inet_pton(3)'s.
 */
#include "httpd/syntax/http_authority.h"
#include "common/base/hex.h"

#include <arpa/inet.h>
#include <string.h>

/* unreserved and sub-delims (RFC 3986 section 2) but the comma, which would join two Hosts into one. */
static bool authority_is_name_character(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("-._~!$&'()*+;=", c);
}

/* Bytes of the reg-name at the beginning of TEXT, which may be none; false for a broken escape. */
static bool authority_take_name(struct http_text text, size_t *size)
{
    size_t i = 0;
    while (i < text.size && (text.bytes[i] == '%' || authority_is_name_character(text.bytes[i]))) {
        if (text.bytes[i] == '%' && (text.size - i < 3 || hex_digit_value(text.bytes[i + 1]) < 0 ||
                                     hex_digit_value(text.bytes[i + 2]) < 0))
            return false;
        i += text.bytes[i] == '%' ? 3 : 1;
    }
    *size = i;
    return true;
}

static bool authority_take_literal(struct http_text text, size_t *size)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    const char *end = memchr(text.bytes, ']', text.size);
    size_t length = end ? (size_t)(end - text.bytes) - 1 : 0;
    if (length == 0 || length >= sizeof(address))
        return false;
    memcpy(address, text.bytes + 1, length);
    address[length] = '\0';
    *size = length + 2;
    return inet_pton(AF_INET6, address, &binary) == 1;
}

bool http_authority_is_legal(struct http_text text, bool empty_fine)
{
    size_t host = 0;
    int64_t port;
    bool literal = text.size > 0 && text.bytes[0] == '[';
    if (!(literal ? authority_take_literal(text, &host) : authority_take_name(text, &host)))
        return false;
    if (host == 0 && (!empty_fine || text.size > 0))
        return false;
    if (host == text.size)
        return true;
    if (text.bytes[host] != ':')
        return false;
    struct http_text digits = {text.bytes + host + 1, text.size - host - 1};
    return digits.size == 0 || (http_text_number(digits, &port) && port <= 65535);
}
