/*
 * content_name: parameters of a field, one after the other; quoted strings undone as the writer did them.
 */
#include "httpd/syntax/content_name.h"

#include "common/base/utf8.h"

#include <string.h>
#include <strings.h>

static void skip_blanks(struct http_text *rest)
{
    while (rest->size > 0 && (*rest->bytes == ' ' || *rest->bytes == '\t')) {
        rest->bytes++;
        rest->size--;
    }
}

static char content_name_take(struct http_text *rest)
{
    rest->size--;
    return *rest->bytes++;
}

/* %22, %0D and %0A of a form (WHATWG HTML, "multipart/form-data encoding algorithm"); *C gets what they stand for. */
static bool take_form_escape(struct http_text *rest, char *c)
{
    static const struct {
        const char *text;
        char c;
    } escapes[] = {{"22", '"'}, {"0D", '\r'}, {"0A", '\n'}};
    for (size_t i = 0; i < ARRAY_SIZE(escapes) && rest->size >= 2; i++) {
        if (strncasecmp(rest->bytes, escapes[i].text, 2) != 0)
            continue;
        rest->bytes += 2;
        rest->size -= 2;
        *c = escapes[i].c;
        return true;
    }
    return false;
}

/* A token or a quoted string. False: it does not end, or does not fit. */
static bool content_name_take_value(struct http_text *rest, bool form, char *out, size_t size)
{
    size_t length = 0;
    bool quoted = rest->size > 0 && *rest->bytes == '"';
    if (quoted)
        (void)content_name_take(rest);
    for (;;) {
        if (rest->size == 0)
            break;
        if (!quoted && (*rest->bytes == ';' || *rest->bytes == ' ' || *rest->bytes == '\t'))
            break;
        char c = content_name_take(rest);
        if (quoted && c == '"')
            break;
        if (quoted && rest->size == 0)
            return false;
        if (quoted && c == '\\' && (!form || *rest->bytes == '"' || *rest->bytes == '\\'))
            c = content_name_take(rest);
        else if (form && c == '%')
            (void)take_form_escape(rest, &c);
        if (c == '\0' || length + 1 >= size)
            return false;
        out[length++] = c;
    }
    memset(out + length, 0, size - length);
    return true;
}

enum content_name_result content_name_parameter(struct http_text value, const char *parameter, bool form,
                                                char *out, size_t size)
{
    struct http_text rest = value;
    while (rest.size > 0 && *rest.bytes != ';')
        (void)content_name_take(&rest);
    while (rest.size > 0) {
        char ignored[PROTO_NAME_SIZE * 3];
        struct http_text name;
        (void)content_name_take(&rest); /* the semicolon */
        skip_blanks(&rest);
        name = (struct http_text){rest.bytes, 0};
        while (rest.size > 0 && *rest.bytes != '=' && *rest.bytes != ';') {
            (void)content_name_take(&rest);
            name.size++;
        }
        name = http_text_trim(name);
        if (rest.size == 0 || *rest.bytes == ';')
            continue;
        (void)content_name_take(&rest); /* the equals sign */
        skip_blanks(&rest);
        bool wanted = http_text_equal_nocase(name, parameter);
        if (!content_name_take_value(&rest, form, wanted ? out : ignored, wanted ? size : sizeof(ignored)))
            return CONTENT_NAME_WRONG;
        if (wanted)
            return CONTENT_NAME_FOUND;
        skip_blanks(&rest);
        if (rest.size > 0 && *rest.bytes != ';')
            return CONTENT_NAME_WRONG;
    }
    return CONTENT_NAME_NONE;
}

/* ext-value of RFC 8187: UTF-8'language'percent-encoded. */
static enum content_name_result take_extended(const char *text, char name[PROTO_NAME_SIZE])
{
    const char *language = strchr(text, '\''), *start = language ? strchr(language + 1, '\'') : NULL;
    if (!start || strncasecmp(text, "UTF-8'", 6) != 0)
        return CONTENT_NAME_WRONG;
    memset(name, 0, PROTO_NAME_SIZE);
    return http_text_percent_decode(http_text_of(start + 1), false, name, PROTO_NAME_SIZE - 1) > 0
               ? CONTENT_NAME_FOUND
               : CONTENT_NAME_WRONG;
}

enum content_name_result content_name_of_disposition(struct http_text value, char name[PROTO_NAME_SIZE])
{
    char extended[PROTO_NAME_SIZE * 3];
    switch (content_name_parameter(value, "filename*", false, extended, sizeof(extended))) {
    case CONTENT_NAME_FOUND:
        return take_extended(extended, name);
    case CONTENT_NAME_WRONG:
        return CONTENT_NAME_WRONG;
    case CONTENT_NAME_NONE:
        break;
    }
    return content_name_parameter(value, "filename", false, name, PROTO_NAME_SIZE);
}

bool content_name_tidy(char name[PROTO_NAME_SIZE])
{
    size_t start = 0, size = strnlen(name, PROTO_NAME_SIZE);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < ' ' || c == 0x7f)
            return false;
        if (c == '/' || c == '\\')
            start = i + 1;
    }
    if (size == PROTO_NAME_SIZE || !utf8_valid(name, size, true))
        return false;
    memmove(name, name + start, size - start);
    memset(name + size - start, 0, PROTO_NAME_SIZE - (size - start));
    return true;
}
