/*
 * audit_chain: links computed, written as text, and found again at the ends of lines.
 */
#include "common/auth/audit_chain.h"

#include "common/base/hex.h"

#include <string.h>

void audit_chain_compute(const uint8_t secret[MAC_SIZE], const uint8_t before[AUDIT_LINK_SIZE],
                         const char *line, size_t size, uint8_t link[AUDIT_LINK_SIZE])
{
    const struct mac_part parts[] = {{before, AUDIT_LINK_SIZE}, {line, size}};
    uint8_t mac[MAC_SIZE];

    mac_compute(secret, parts, ARRAY_SIZE(parts), mac);
    memcpy(link, mac, AUDIT_LINK_SIZE);
}

void audit_chain_format(const uint8_t link[AUDIT_LINK_SIZE], char text[AUDIT_LINK_HEX + 1])
{
    (void)hex_format(link, AUDIT_LINK_SIZE, text);
}

bool audit_chain_parse(const char *text, uint8_t link[AUDIT_LINK_SIZE])
{
    memset(link, 0, AUDIT_LINK_SIZE);
    return strspn(text, "0123456789abcdef") >= AUDIT_LINK_HEX && hex_parse(text, link, AUDIT_LINK_SIZE);
}

/* The last MARK in TEXT of SIZE bytes; NULL: there is none. */
static const char *find_last(const char *text, size_t size, const char *mark)
{
    size_t length = strlen(mark);

    for (size_t at = size >= length ? size - length + 1 : 0; at-- > 0;)
        if (memcmp(text + at, mark, length) == 0)
            return text + at;
    return NULL;
}

bool audit_chain_find(const char *line, size_t length, size_t *size, uint8_t link[AUDIT_LINK_SIZE])
{
    const char *mark = find_last(line, length, AUDIT_CHAIN_MARK);
    const size_t end = strlen(AUDIT_CHAIN_MARK) + AUDIT_LINK_HEX + 2; /* "} */

    if (!mark || (size_t)(line + length - mark) != end || memcmp(line + length - 2, "\"}", 2) != 0)
        return false;
    *size = (size_t)(mark - line);
    return audit_chain_parse(mark + strlen(AUDIT_CHAIN_MARK), link);
}

const struct key *audit_chain_key(const char *line, size_t covered, const struct keys *keys,
                                  char id[KEY_ID_SIZE])
{
    const char *mark = find_last(line, covered, AUDIT_BY_MARK);
    size_t length = mark ? (size_t)(line + covered - mark) - strlen(AUDIT_BY_MARK) : 0;

    id[0] = '\0';
    if (!mark || length < 2 || length > KEY_ID_SIZE)
        return NULL;
    memcpy(id, mark + strlen(AUDIT_BY_MARK), length - 1);
    id[length - 1] = '\0';
    return keys_find(keys, id);
}
