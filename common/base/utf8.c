/*
 * utf8: the first byte gives the length, the bounds of the second one exclude what would be too long, a surrogate or past
 * the last code point (RFC 3629 section 4). Keeps nothing.
 */
#include "common/base/utf8.h"

static size_t utf8_length(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        return 2;
    if ((first & 0xF0) == 0xE0)
        return 3;
    return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

size_t utf8_sequence(const void *bytes, size_t size, bool *cut)
{
    const uint8_t *at = bytes;
    size_t length = utf8_length(at[0]);
    uint8_t low = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
    bool good = length > 0;

    for (size_t i = 1; good && i < min_size(length, size); i++) {
        good = at[i] >= low && at[i] <= high;
        low = 0x80;
        high = 0xBF;
    }
    if (cut)
        *cut = good && length > size;
    return good && length <= size ? length : 0;
}

bool utf8_valid(const void *bytes, size_t size, bool whole)
{
    const uint8_t *at = bytes;
    bool cut = false;

    for (size_t i = 0, length; i < size; i += length) {
        length = utf8_sequence(at + i, size - i, &cut);
        if (length == 0)
            return cut && !whole;
    }
    return true;
}
