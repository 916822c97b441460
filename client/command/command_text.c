/*
 * command_text: texts for a person: readable on any terminal whatever bytes they are made of, their width, times and
 * sizes. Pure but for isatty(3) and the environment.
 */
#include "client/command/command_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Length of the well-formed UTF-8 character at TEXT that may be shown; 0: none. */
static size_t output_character(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xC2 && at[0] <= 0xDF ? 2 : (at[0] & 0xF0) == 0xE0 ? 3 : 0;

    if (at[0] >= 0xF0 && at[0] <= 0xF4)
        length = 4;
    if (length == 1)
        return at[0] >= 0x20 && at[0] != 0x7F ? 1 : 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if (length == 2 && at[0] == 0xC2 && at[1] < 0xA0) /* C1 controls: some terminals obey them */
        return 0;
    /* U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069: they reverse the order of what is read. */
    if (length == 3 && at[0] == 0xE2 &&
        ((at[1] == 0x80 && (at[2] == 0x8E || at[2] == 0x8F || (at[2] >= 0xA8 && at[2] <= 0xAE))) ||
         (at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9)))
        return 0;
    return length;
}

static char *output_printable(const char *text, char *buffer, size_t size, bool lines)
{
    size_t at = 0;

    while (*text != '\0' && at + 1 < size) {
        size_t length = output_character(text);

        if (length == 0) {
            buffer[at++] = lines && *text == '\n' ? '\n' : '?';
            text++;
            continue;
        }
        if (at + length >= size)
            break;
        memcpy(buffer + at, text, length);
        at += length;
        text += length;
    }
    buffer[at] = '\0';
    return buffer;
}

char *command_printable(const char *text, char *buffer, size_t size)
{
    return output_printable(text, buffer, size, false);
}

char *command_printable_lines(const char *text)
{
    size_t size = strlen(text) + 1;
    char *buffer = malloc(size);

    return buffer ? output_printable(text, buffer, size, true) : NULL;
}

/* The character at TEXT, *LENGTH bytes, which is well-formed; what is not counts as a character of one byte. */
static uint32_t text_decode(const char *text, size_t *length)
{
    const unsigned char *at = (const unsigned char *)text;
    uint32_t character = at[0];

    *length = at[0] < 0xC2 ? 1 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 1;
    if (*length > 1)
        character &= 0x7FU >> *length;
    for (size_t i = 1; i < *length; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            *length = 1;
            return 0xFFFD;
        }
        character = character << 6 | (at[i] & 0x3FU);
    }
    return character;
}

/* Columns of a character on a terminal: Chinese, Japanese and Korean ones and most pictures take two, marks on others none. The
 * locale, which may be C, does not matter to a terminal that shows UTF-8. */
static size_t text_width(uint32_t character)
{
    static const struct {
        uint32_t first, last;
        size_t width;
    } ranges[] = {
        {0x0300, 0x036F, 0},   {0x1100, 0x115F, 2},   {0x200B, 0x200D, 0},   {0x20D0, 0x20FF, 0},
        {0x2E80, 0x303E, 2},   {0x3041, 0x4DBF, 2},   {0x4E00, 0xA4CF, 2},   {0xA960, 0xA97F, 2},
        {0xAC00, 0xD7A3, 2},   {0xF900, 0xFAFF, 2},   {0xFE00, 0xFE0F, 0},   {0xFE30, 0xFE6F, 2},
        {0xFF00, 0xFF60, 2},   {0xFFE0, 0xFFE6, 2},   {0x1F300, 0x1F64F, 2}, {0x1F680, 0x1F6FF, 2},
        {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
    };

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        if (character >= ranges[i].first && character <= ranges[i].last)
            return ranges[i].width;
    return 1;
}

size_t command_columns(const char *text, size_t size)
{
    size_t columns = 0, length;

    for (size_t at = 0; at < size && text[at] != '\0'; at += length)
        columns += text_width(text_decode(text + at, &length));
    return columns;
}

size_t command_fit(const char *text, size_t columns)
{
    size_t at = 0, length;

    for (; text[at] != '\0'; at += length) {
        size_t width = text_width(text_decode(text + at, &length));

        if (width > columns)
            break;
        columns -= width;
    }
    return at;
}

char *command_time(int64_t seconds, char buffer[COMMAND_TIME_SIZE])
{
    time_t when = (time_t)seconds;
    struct tm parts;

    if (seconds <= 0 || !gmtime_r(&when, &parts) ||
        strftime(buffer, COMMAND_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        memcpy(buffer, "-", 2);
    return buffer;
}

char *command_human(double bytes, char *buffer, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(buffer, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return buffer;
}

const char *command_colour(FILE *stream, enum command_colour colour)
{
    static const char *const sequences[] = {"\033[0m", "\033[31m", "\033[33m", "\033[32m"};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if ((no_color && no_color[0] != '\0') || (term && strcmp(term, "dumb") == 0) ||
        isatty(fileno(stream)) != 1)
        return "";
    return sequences[colour];
}
