/*
 * package_uri: percent-encoding, dot segments and the identifiers of templates.
 */
#include "client/package/package_uri.h"
#include "common/base/hex.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 4096
#define WIDTH_MAX  15

static const struct {
    const char *name;
    char byte;
} identifiers[] = {{"RepresentationID", PACKAGE_REPRESENTATION},
                   {"Number", PACKAGE_NUMBER},
                   {"Time", PACKAGE_TIME},
                   {"Bandwidth", PACKAGE_BANDWIDTH}};

static bool uri_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool uri_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool package_uri_is_absolute(const char *uri)
{
    const char *at = uri;

    if (!uri_is_letter(*at))
        return false;
    while (uri_is_letter(*at) || uri_is_digit(*at) || *at == '+' || *at == '-' || *at == '.')
        at++;
    return *at == ':';
}

/* The identifier that begins behind a `$` at AT. Returns how many bytes it has with its closing `$`; 0: it
 * is none. */
static size_t take_identifier(const char *at, char *byte, int *width)
{
    for (size_t i = 0; i < ARRAY_SIZE(identifiers); i++) {
        size_t size = strlen(identifiers[i].name);
        const char *end = at + size;

        if (strncmp(at, identifiers[i].name, size) != 0)
            continue;
        *byte = identifiers[i].byte;
        *width = 0;
        if (end[0] == '%' && end[1] == '0' && *byte != PACKAGE_REPRESENTATION) {
            for (end += 2; uri_is_digit(*end) && *width <= WIDTH_MAX; end++)
                *width = *width * 10 + (*end - '0');
            if (*width < 1 || *width > WIDTH_MAX || *end++ != 'd')
                return 0;
        }
        return *end == '$' ? (size_t)(end - at) + 1 : 0;
    }
    return 0;
}

/* One character of URI into *TO. Returns how many bytes of it were read; 0: ERROR. */
static size_t decode_one(const char *uri, bool templates, char **to, struct error *error)
{
    if (uri[0] == '%') {
        int high = hex_digit_value(uri[1]), low = high >= 0 ? hex_digit_value(uri[2]) : -1;

        if (low < 0 || high * 16 + low < 0x20 || high * 16 + low == 0x7F || high * 16 + low == '/') {
            (void)error_set(error, ERROR_MALFORMED,
                            "a malformed escape, a control character or an encoded slash");
            return 0;
        }
        *(*to)++ = (char)(high * 16 + low);
        return 3;
    }
    if (templates && uri[0] == '$' && uri[1] != '$') {
        char byte;
        int width;
        size_t size = take_identifier(uri + 1, &byte, &width);

        if (size == 0) {
            (void)error_set(error, ERROR_MALFORMED,
                            "an identifier of a template other than $RepresentationID$, $Number$, $Time$, "
                            "$Bandwidth$ and "
                            "these with a width such as %%05d");
            return 0;
        }
        *(*to)++ = byte;
        if (width > 0)
            *(*to)++ = (char)(PACKAGE_WIDTH + width);
        return size + 1;
    }
    if ((unsigned char)uri[0] < 0x20 || uri[0] == 0x7F || uri[0] == '\\') {
        (void)error_set(error, ERROR_MALFORMED, "a control character or a backslash");
        return 0;
    }
    *(*to)++ = uri[0];
    return templates && uri[0] == '$' ? 2 : 1;
}

/* Takes "." and ".." out of PATH, in place. False: it leads above its beginning, or names no file. */
static bool remove_dots(char *path)
{
    char *to = path;
    const char *from = path;

    while (*from != '\0') {
        size_t size = strcspn(from, "/");
        bool last = from[size] == '\0';

        if (size == 2 && from[0] == '.' && from[1] == '.') {
            if (to == path)
                return false;
            for (to--; to > path && to[-1] != '/'; to--)
                ;
        } else if (size > 0 && !(size == 1 && from[0] == '.')) {
            memmove(to, from, size);
            to += size;
            if (!last)
                *to++ = '/';
        }
        from += size + (last ? 0 : 1);
    }
    *to = '\0';
    return true;
}

char *package_uri_resolve(const char *directory, const char *uri, bool templates, struct error *error)
{
    char path[2 * PATH_BYTES], *to = path;
    size_t before = strlen(directory), size = strcspn(uri, "?#"), step;

    if (package_uri_is_absolute(uri) || uri[0] == '/') {
        (void)error_set(error, ERROR_MALFORMED,
                        "an absolute URI; only relative ones, to files inside the folder, can be stored");
        return NULL;
    }
    if (before + size >= PATH_BYTES || size == 0) {
        (void)error_set(error, ERROR_MALFORMED, "%s", size == 0 ? "it names no file" : "it is too long");
        return NULL;
    }
    memcpy(path, directory, before);
    to += before;
    for (size_t at = 0; at < size; at += step) {
        step = decode_one(uri + at, templates, &to, error);
        if (step == 0)
            return NULL;
    }
    *to = '\0';
    if (!remove_dots(path)) {
        (void)error_set(error, ERROR_MALFORMED, "it leads out of the folder");
        return NULL;
    }
    char *copy = strdup(path);
    if (!copy)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
    return copy;
}

char *package_uri_directory(const char *path)
{
    const char *slash = strrchr(path, '/');

    return strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
}

char *package_uri_file_id(const char *base, const char *path)
{
    char *id;

    if (asprintf(&id, "%s-%s", base, path) < 0)
        return NULL;
    for (char *at = id + strlen(base); *at != '\0'; at++)
        if (*at == '/')
            *at = '-';
    return id;
}

/* TEXT percent-encoded to TO, but for identifiers, which are written out where TEMPLATES. */
static void uri_encode(FILE *to, const char *text, bool templates)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (uri_is_letter(*text) || uri_is_digit(*text) || strchr("-._~", byte)) {
            (void)fputc(byte, to);
        } else if (templates && byte < PACKAGE_WIDTH) {
            for (size_t i = 0; i < ARRAY_SIZE(identifiers); i++)
                if (identifiers[i].byte == *text)
                    (void)fprintf(to, "$%s", identifiers[i].name);
            if (text[1] > PACKAGE_WIDTH && text[1] < 0x20)
                (void)fprintf(to, "%%0%dd", *++text - PACKAGE_WIDTH);
            (void)fputc('$', to);
        } else {
            (void)fprintf(to, "%%%02X", byte);
        }
    }
}

char *package_uri_link(const char *base, const char *path)
{
    char *id = package_uri_file_id(base, path), *link = NULL;
    const char *slash = strrchr(path, '/');
    size_t size;
    FILE *to = id ? open_memstream(&link, &size) : NULL;

    if (to) {
        (void)fputs("../", to);
        uri_encode(to, id, true);
        (void)fputc('/', to);
        uri_encode(to, slash ? slash + 1 : path, true);
        if (fclose(to) != 0) {
            free(link);
            link = NULL;
        }
    }
    free(id);
    return link;
}

/* PATH with ID, BANDWIDTH and VALUE put in, where they are not NULL. */
static char *uri_fill(const char *path, const char *id, const char *bandwidth, const uint64_t *value)
{
    char *filled = NULL;
    size_t size;
    FILE *to = open_memstream(&filled, &size);

    if (!to)
        return NULL;
    for (; *path != '\0'; path++) {
        bool wide = *path > 0 && *path < PACKAGE_WIDTH && path[1] > PACKAGE_WIDTH && path[1] < 0x20;
        int width = wide ? path[1] - PACKAGE_WIDTH : 1;
        bool filled_in = true;

        if (*path == PACKAGE_REPRESENTATION && id)
            (void)fputs(id, to);
        else if (*path == PACKAGE_BANDWIDTH && bandwidth)
            (void)fprintf(to, "%0*" PRIu64, width, (uint64_t)strtoull(bandwidth, NULL, 10));
        else if ((*path == PACKAGE_NUMBER || *path == PACKAGE_TIME) && value)
            (void)fprintf(to, "%0*" PRIu64, width, *value);
        else
            filled_in = fputc(*path, to) == EOF;
        path += filled_in && wide ? 1 : 0;
    }
    if (fclose(to) == 0)
        return filled;
    free(filled);
    return NULL;
}

char *package_uri_name(const char *path, const char *id, const char *bandwidth)
{
    return uri_fill(path, id, bandwidth, NULL);
}

char *package_uri_fill(const char *path, uint64_t value)
{
    return uri_fill(path, NULL, NULL, &value);
}

bool package_uri_has(const char *path, int identifier)
{
    for (; *path != '\0'; path++)
        if ((unsigned char)*path < PACKAGE_WIDTH && (identifier == 0 || *path == identifier))
            return true;
    return false;
}

bool package_uri_matches(const char *pattern, const char *path, uint64_t *value)
{
    size_t before = strcspn(pattern, "\x02\x03");
    uint64_t number;
    char *end, *exact;

    if (strncmp(pattern, path, before) != 0)
        return false;
    if (pattern[before] == '\0')
        return path[before] == '\0';
    if (!uri_is_digit(path[before]))
        return false;
    number = strtoull(path + before, &end, 10);
    exact = package_uri_fill(pattern, number);
    if (!exact)
        return false;
    bool same = strcmp(exact, path) == 0;
    free(exact);
    if (same && value)
        *value = number;
    return same;
}
