/*
 * extra_headers: one field after the other, from one bar to the next.
 */
#include "httpd/syntax/extra_headers.h"
#include <string.h>

#define EXTRA_HEADERS_MAX 1024

bool extra_headers_next(struct http_text *rest, struct http_text *field)
{
    if (rest->size == 0)
        return false;
    const char *bar = memchr(rest->bytes, '|', rest->size);
    size_t size = bar ? (size_t)(bar - rest->bytes) : rest->size;
    *field = http_text_trim((struct http_text){rest->bytes, size});
    size_t used = min_size(size + 1, rest->size);
    *rest = (struct http_text){rest->bytes + used, rest->size - used};
    return true;
}

/* Fields that the server makes itself: a second one would contradict it. */
static bool is_own_field(struct http_text name)
{
    static const char *const own[] = {
        "Accept-Ranges",
        "Age",
        "Cache-Control",
        "Connection",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Length",
        "Content-Range",
        "Content-Security-Policy",
        "Content-Type",
        "Cross-Origin-Resource-Policy",
        "Date",
        "ETag",
        "Keep-Alive",
        "Last-Modified",
        "Location",
        "Server",
        "Set-Cookie",
        "Strict-Transport-Security",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Vary",
        "X-Content-Type-Options",
    };
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        if (http_text_equal_nocase(name, own[i]))
            return true;
    }
    return false;
}

bool extra_headers_check(const char *text, struct error *error)
{
    struct http_text rest = http_text_of(text), field;
    if (rest.size > EXTRA_HEADERS_MAX)
        return error_set(error, ERROR_MALFORMED, "httpd.extra_headers: longer than %d bytes",
                         EXTRA_HEADERS_MAX);
    while (extra_headers_next(&rest, &field)) {
        const char *colon = field.size > 0 ? memchr(field.bytes, ':', field.size) : NULL;
        struct http_text name = {field.bytes, colon ? (size_t)(colon - field.bytes) : 0};
        bool fine = name.size > 0;
        for (size_t i = 0; i < name.size; i++)
            fine = fine && http_text_is_token_character(name.bytes[i]);
        for (size_t i = 0; i < field.size; i++)
            fine = fine && field.bytes[i] >= ' ' && field.bytes[i] <= '~';
        if (!fine)
            return error_set(
                error, ERROR_MALFORMED,
                "httpd.extra_headers: \"%.*s\" is not a header field, e.g. Timing-Allow-Origin: *",
                (int)field.size, field.bytes);
        if (is_own_field(name))
            return error_set(error, ERROR_MALFORMED, "httpd.extra_headers: %.*s is set by the server itself",
                             (int)name.size, name.bytes);
    }
    return true;
}
