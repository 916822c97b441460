/*
 * hex: bytes as hexadecimal digits, and back: in URLs, digests, tokens, chunk sizes. Pure; any thread.
 */
#ifndef REEL_COMMON_HEX_H
#define REEL_COMMON_HEX_H

#include "common/base/base.h"

/* 0 to 15, of either case; -1: C is no such digit. */
static inline int hex_digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Two lower-case digits per byte into TEXT, without a NUL. Returns where they end. */
char *hex_put(const void *bytes, size_t size, char *text);

/* The same with a NUL: TEXT has 2 * SIZE + 1 bytes. Returns TEXT. */
char *hex_format(const void *bytes, size_t size, char *text);

/* The 2 * SIZE digits at TEXT, of either case, become SIZE bytes. False, with BYTES as they were, where one is no digit; nothing
 * behind that one is read. */
MUST_CHECK bool hex_parse(const char *text, void *bytes, size_t size);

#endif
