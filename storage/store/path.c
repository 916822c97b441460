/*
 * path: the base-512 form of a stored file's place. Pure: no I/O, no allocation, any thread.
 */
#include "storage/store/path.h"

#include <stdio.h>
#include <string.h>

#define DIGIT_BITS 9
#define DIGIT_MASK 0x1FF

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

/* COUNT upper-case hex digits at *TEXT, which moves past them; -1 where another character stands. */
static int64_t take_hex(const char **text, int count)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        char c = (*text)[i];
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (c - 'A' + 10);
        else
            return -1;
    }
    *text += count;
    return value;
}

static bool take_digit(const char **text, int64_t *value)
{
    int64_t digit = take_hex(text, 3);
    if (digit < 0 || digit > DIGIT_MASK)
        return false;
    *value = (*value << DIGIT_BITS) | digit;
    return true;
}

static bool take_character(const char **text, char expected)
{
    if (**text != expected)
        return false;
    (*text)++;
    return true;
}

bool path_parse(const char *text, struct path *path)
{
    int64_t value = 0;
    for (int i = 0; i < PATH_DIRECTORY_DEPTH; i++) {
        if (!take_digit(&text, &value) || !take_character(&text, '/'))
            return false;
    }
    int64_t seconds = take_hex(&text, 8);
    if (seconds < 0 || !take_character(&text, '_') || !take_digit(&text, &value) || *text != '\0')
        return false;
    path->value = value;
    path->seconds = seconds;
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
