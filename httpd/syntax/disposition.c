/*
 * disposition: file names in the two forms of RFC 6266 and 8187, and which types are shown at all.
 */
#include "httpd/syntax/disposition.h"

#include "common/base/utf8.h"

#include <string.h>
#include <strings.h>

struct writer {
    char *buffer;
    size_t size;
};

static void disposition_put(struct writer *writer, char c)
{
    if (writer->size + 1 < DISPOSITION_SIZE)
        writer->buffer[writer->size++] = c;
}

static void disposition_put_text(struct writer *writer, const char *text)
{
    while (*text != '\0')
        disposition_put(writer, *text++);
}

/* attr-char of RFC 8187 section 3.2.1. */
static bool is_attribute_character(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$&+-.^_`|~", c));
}

/* What may be in a quoted string and is read the same by every browser: quotes, backslashes and percent signs
 * are not (RFC 6266 appendix D). */
static bool disposition_is_plain(unsigned char c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '%';
}

static const char *base_name(const char *name)
{
    const char *base = name;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '/' || *at == '\\')
            base = at + 1;
    }
    return base;
}

char *disposition_format(const char *name, char buffer[DISPOSITION_SIZE])
{
    struct writer writer = {buffer, 0};
    const unsigned char *base = (const unsigned char *)base_name(name);
    bool plain = true;
    bool utf8 = true;

    disposition_put_text(&writer, "attachment");
    if (*base != '\0') {
        disposition_put_text(&writer, "; filename=\"");
        for (const unsigned char *at = base; *at != '\0';) {
            size_t length = utf8_sequence(at, strlen((const char *)at), NULL);
            plain = plain && disposition_is_plain(*at);
            utf8 = utf8 && length > 0;
            disposition_put(&writer, disposition_is_plain(*at) ? (char)*at : '_');
            at += length > 0 ? length : 1;
        }
        disposition_put(&writer, '"');
    }
    /* Only what is UTF-8 can be announced as UTF-8. */
    if (!plain && utf8) {
        disposition_put_text(&writer, "; filename*=UTF-8''");
        for (const unsigned char *at = base; *at != '\0'; at++) {
            static const char digits[] = "0123456789ABCDEF";
            if (is_attribute_character(*at)) {
                disposition_put(&writer, (char)*at);
            } else {
                disposition_put(&writer, '%');
                disposition_put(&writer, digits[*at >> 4]);
                disposition_put(&writer, digits[*at & 15]);
            }
        }
    }
    buffer[writer.size] = '\0';
    return buffer;
}

/* PATTERN "type/" "*" against an essence of SIZE bytes. */
static bool is_of_kind(const char *pattern, const char *essence, size_t size)
{
    size_t kind = strlen(pattern) - 1; /* with the slash */
    return size > kind && pattern[kind] == '*' && strncasecmp(pattern, essence, kind) == 0 &&
           !(size >= 4 && strncasecmp(essence + size - 4, "+xml", 4) == 0);
}

bool disposition_is_inline(char *const *types, size_t count, const char *content_type)
{
    size_t size = strcspn(content_type, "; ");
    for (size_t i = 0; i < count; i++) {
        if ((strlen(types[i]) == size && strncasecmp(types[i], content_type, size) == 0) ||
            is_of_kind(types[i], content_type, size))
            return true;
    }
    return false;
}
