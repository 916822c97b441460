/*
 * http_text: lists, numbers, tokens and percent-decoding.
 */
#include "httpd/syntax/http_text.h"
#include "common/base/hex.h"
#include <string.h>
#include <strings.h>

struct http_text http_text_of(const char *string)
{
    return (struct http_text){string, strlen(string)};
}

bool http_text_equal(struct http_text text, const char *string)
{
    size_t size = strlen(string);
    return text.size == size && memcmp(text.bytes, string, size) == 0;
}

bool http_text_equal_nocase(struct http_text text, const char *string)
{
    size_t size = strlen(string);
    return text.size == size && strncasecmp(text.bytes, string, size) == 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

struct http_text http_text_trim(struct http_text text)
{
    while (text.size > 0 && is_space(text.bytes[0])) {
        text.bytes++;
        text.size--;
    }
    while (text.size > 0 && is_space(text.bytes[text.size - 1]))
        text.size--;
    return text;
}

bool http_text_next_item(struct http_text *rest, struct http_text *item)
{
    while (rest->size > 0) {
        bool quoted = false;
        size_t end = 0;
        while (end < rest->size && (quoted || rest->bytes[end] != ',')) {
            if (rest->bytes[end] == '"')
                quoted = !quoted;
            end++;
        }
        *item = http_text_trim((struct http_text){rest->bytes, end});
        size_t used = min_size(end + 1, rest->size);
        rest->bytes += used;
        rest->size -= used;
        if (item->size > 0)
            return true;
    }
    return false;
}

bool http_text_number(struct http_text text, int64_t *number)
{
    int64_t value = 0;
    if (text.size == 0)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            return false;
        int digit = text.bytes[i] - '0';
        value = value > (INT64_MAX - digit) / 10 ? INT64_MAX : value * 10 + digit;
    }
    *number = value;
    return true;
}

bool http_text_is_token_character(char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c);
}

int64_t http_text_percent_decode(struct http_text text, bool plus, char *out, size_t capacity)
{
    size_t written = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.bytes[i];
        if (c == '%') {
            int high = i + 2 < text.size ? hex_digit_value(text.bytes[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_digit_value(text.bytes[i + 2]) : -1;
            if (high < 0 || low < 0)
                return HTTP_TEXT_BROKEN;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (c == '\0')
            return HTTP_TEXT_BROKEN;
        if (written == capacity)
            return HTTP_TEXT_LONG;
        out[written++] = c;
    }
    return (int64_t)written;
}
