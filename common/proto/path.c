/*
 * path: the base-512 form of a stored file's place. Pure: no I/O, no allocation, any thread.
 */
#include "common/proto/path.h"

#include <stdio.h>
#include <string.h>

#define DIGIT_BITS 9
#define DIGIT_MASK 0x1FF

/* What a place is made of: 'F' is an upper-case hex digit, '1' the first of a base-512 digit, others stand for
 * themselves. */
static const char form[] = "1FF/1FF/1FF/FFFFFFFF_1FF";
_Static_assert(sizeof(form) == PATH_TEXT_SIZE, "the form and its size");

static bool fits_form(char wanted, char c)
{
    if (wanted == '1')
        return c == '0' || c == '1';
    if (wanted == 'F')
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
    return c == wanted;
}

size_t path_fits(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length && i < sizeof(form) - 1 && fits_form(form[i], text[i]))
        i++;
    return i;
}

static unsigned digit_of(int64_t value, int position)
{
    return (unsigned)((value >> (DIGIT_BITS * (3 - position))) & DIGIT_MASK);
}

/* COUNT upper-case hex digits, then END. Returns what follows. Every download's row is formatted, so this is
 * no snprintf(3). */
static char *put_hex(char *text, uint64_t value, int count, char end)
{
    for (int i = count - 1; i >= 0; i--, value >>= 4)
        text[i] = "0123456789ABCDEF"[value & 15];
    text[count] = end;
    return text + count + 1;
}

bool path_format(const struct path *path, char text[PATH_TEXT_SIZE])
{
    text[0] = '\0';
    if (path->value < 0 || path->value >= PATH_VALUES || path->seconds < 0 ||
        path->seconds > PATH_SECONDS_MAX)
        return false;
    for (int position = 0; position < 3; position++)
        text = put_hex(text, digit_of(path->value, position), 3, '/');
    text = put_hex(text, (uint64_t)path->seconds, 8, '_');
    put_hex(text, digit_of(path->value, 3), 3, '\0');
    return true;
}

/* COUNT digits of a text that has the form. */
static int64_t read_hex(const char *text, int count)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++)
        value = value * 16 + (text[i] <= '9' ? text[i] - '0' : text[i] - 'A' + 10);
    return value;
}

bool path_parse(const char *text, struct path *path)
{
    size_t length = strnlen(text, PATH_TEXT_SIZE);
    if (length != PATH_TEXT_SIZE - 1 || path_fits(text, length) != length)
        return false;
    path->value = 0;
    for (int i = 0; i < PATH_DIRECTORY_DEPTH; i++)
        path->value = path->value << DIGIT_BITS | read_hex(text + i * 4, 3);
    path->seconds = read_hex(text + 12, 8);
    path->value = path->value << DIGIT_BITS | read_hex(text + 21, 3);
    return true;
}

void path_directory(int64_t value, int depth, char text[PATH_TEXT_SIZE])
{
    if (depth <= 0)
        snprintf(text, PATH_TEXT_SIZE, ".");
    else if (depth == 1)
        snprintf(text, PATH_TEXT_SIZE, "%03X", digit_of(value, 0));
    else if (depth == 2)
        snprintf(text, PATH_TEXT_SIZE, "%03X/%03X", digit_of(value, 0), digit_of(value, 1));
    else
        snprintf(text, PATH_TEXT_SIZE, "%03X/%03X/%03X", digit_of(value, 0), digit_of(value, 1),
                 digit_of(value, 2));
}

int64_t path_directory_number(int64_t value, int depth)
{
    if (depth <= 0)
        return 0;
    /* The depth stands above the 36 bits of the value, so that AAA and AAA/000 differ. */
    return ((int64_t)depth << 40) | (value >> (DIGIT_BITS * (4 - depth)));
}
