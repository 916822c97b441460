/*
 * hex: digit by digit.
 */
#include "common/base/hex.h"

char *hex_put(const void *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++) {
        *text++ = digits[at[i] >> 4];
        *text++ = digits[at[i] & 15];
    }
    return text;
}

char *hex_format(const void *bytes, size_t size, char *text)
{
    *hex_put(bytes, size, text) = '\0';
    return text;
}

bool hex_parse(const char *text, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    for (size_t i = 0; i < 2 * size; i++) {
        if (hex_digit_value(text[i]) < 0)
            return false;
    }
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)(16 * hex_digit_value(text[2 * i]) + hex_digit_value(text[2 * i + 1]));
    return true;
}
