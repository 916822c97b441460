/*
 * audit_chain: the links at the ends of the audit file's lines: each is computed over its line and the link before, with a
 * secret of the daemon's key, so that no line can be changed, added, moved or taken out unnoticed. Pure; any thread.
 */
#ifndef REEL_COMMON_AUTH_AUDIT_CHAIN_H
#define REEL_COMMON_AUTH_AUDIT_CHAIN_H

#include "common/auth/key_mac.h"

#define AUDIT_LINK_SIZE    16
#define AUDIT_LINK_HEX     (2 * AUDIT_LINK_SIZE)
#define AUDIT_CHAIN_MARK   ",\"chain\":\""
#define AUDIT_FOLLOWS_MARK "\"follows\":\""
#define AUDIT_BY_MARK      ",\"by\":\""
/* Bytes that a link adds to a line at most: both marks, key ID, link, quotes and brace. */
#define AUDIT_LINK_END_MAX                                                                                   \
    (sizeof(AUDIT_BY_MARK) + KEY_ID_SIZE + sizeof(AUDIT_CHAIN_MARK) + AUDIT_LINK_HEX + 8)

/* LINK gets what belongs to LINE (of SIZE bytes) after the link BEFORE, which may be the same memory. */
void audit_chain_compute(const uint8_t secret[MAC_SIZE], const uint8_t before[AUDIT_LINK_SIZE],
                         const char *line, size_t size, uint8_t link[AUDIT_LINK_SIZE]);

void audit_chain_format(const uint8_t link[AUDIT_LINK_SIZE], char text[AUDIT_LINK_HEX + 1]);
/* From lower-case hexadecimal digits. */
bool audit_chain_parse(const char *text, uint8_t link[AUDIT_LINK_SIZE]);

/* The link at the end of LINE, which is whole: *SIZE gets how much of the line it covers. */
bool audit_chain_find(const char *line, size_t length, size_t *size, uint8_t link[AUDIT_LINK_SIZE]);

/* The key that LINE, of which a link covers COVERED bytes, names: ID gets its name ("": none). NULL: KEYS has none of it. */
const struct key *audit_chain_key(const char *line, size_t covered, const struct keys *keys,
                                  char id[KEY_ID_SIZE]);

#endif
