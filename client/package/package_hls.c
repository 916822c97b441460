/*
 * package_hls: lines of URIs, and tags with an attribute URI.
 */
#include "client/package/package_hls.h"

#include "client/package/package_uri.h"

#include <stdlib.h>
#include <string.h>

/* Tags that have URI="...", and what it names. */
static const struct {
    const char *tag;
    enum package_use use;
    bool key;
} tags[] = {
    {"#EXT-X-KEY:", PACKAGE_SEGMENT, true},
    {"#EXT-X-SESSION-KEY:", PACKAGE_SEGMENT, true},
    {"#EXT-X-MAP:", PACKAGE_SEGMENT, false},
    {"#EXT-X-SESSION-DATA:", PACKAGE_SEGMENT, false},
    {"#EXT-X-PART:", PACKAGE_SEGMENT, false},
    {"#EXT-X-MEDIA:", PACKAGE_NEXT, false},
    {"#EXT-X-I-FRAME-STREAM-INF:", PACKAGE_NEXT, false},
};

struct hls {
    const struct package_reader *reader;
    struct package_edit edit;
    bool next; /* the next URI is a playlist's: behind EXT-X-STREAM-INF */
    bool master, media, ended;
};

/* The link for the SIZE bytes at AT of the text. */
static bool replace(struct hls *hls, const char *at, size_t size, enum package_use use, bool key,
                    struct error *error)
{
    char *uri = strndup(at, size), *link = NULL;
    bool good = uri != NULL || error_set(error, ERROR_UNAVAILABLE, "no memory");

    if (good && !(key && package_uri_is_absolute(uri))) {
        link = hls->reader->link(hls->reader->argument, uri, use, error);
        good = link != NULL;
    }
    if (link)
        package_edit_replace(&hls->edit, (size_t)(at - hls->edit.text), size, link);
    free(link);
    free(uri);
    return good;
}

/* The value of the attribute URI in the attribute list at AT, SIZE bytes (RFC 8216 section 4.2).
 * *VALUE_SIZE: without its quotes. NULL: there is none. */
static const char *find_uri(const char *at, size_t size, size_t *value_size)
{
    const char *end = at + size;

    while (at < end) {
        const char *name = at;

        while (at < end && *at != '=' && *at != ',')
            at++;
        size_t name_size = (size_t)(at - name);
        if (at < end && *at++ == ',')
            continue;
        bool quoted = at < end && *at == '"';
        const char *value = at + (quoted ? 1 : 0);
        for (at = value; at < end && *at != (quoted ? '"' : ','); at++)
            ;
        while (name_size > 0 && *name == ' ')
            name++, name_size--;
        if (quoted && at < end && name_size == 3 && memcmp(name, "URI", 3) == 0) {
            *value_size = (size_t)(at - value);
            return value;
        }
        while (at < end && *at++ != ',')
            ;
    }
    return NULL;
}

static bool read_tag(struct hls *hls, const char *line, size_t size, struct error *error)
{
    if (strncmp(line, "#EXT-X-ENDLIST", 14) == 0)
        hls->ended = true;
    if (strncmp(line, "#EXTINF:", 8) == 0)
        hls->media = true;
    if (strncmp(line, "#EXT-X-STREAM-INF:", 18) == 0)
        hls->next = hls->master = true;
    if (strncmp(line, "#EXT-X-DEFINE:", 14) == 0)
        return error_set(error, ERROR_MALFORMED,
                         "variables (EXT-X-DEFINE) cannot be stored; write out what they stand for");
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        size_t before = strlen(tags[i].tag), value_size = 0;
        const char *value = NULL;

        if (size > before && strncmp(line, tags[i].tag, before) == 0)
            value = find_uri(line + before, size - before, &value_size);
        if (!value)
            continue;
        hls->master = hls->master || tags[i].use == PACKAGE_NEXT;
        return replace(hls, value, value_size, tags[i].use, tags[i].key, error);
    }
    return true;
}

static bool package_hls_read_line(struct hls *hls, const char *line, size_t size, struct error *error)
{
    enum package_use use = hls->next ? PACKAGE_NEXT : PACKAGE_SEGMENT;

    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t' || line[size - 1] == '\r'))
        size--;
    if (size == 0)
        return true;
    if (line[0] == '#')
        return read_tag(hls, line, size, error);
    hls->next = false;
    hls->media = hls->media || use == PACKAGE_SEGMENT;
    return replace(hls, line, size, use, false, error);
}

static bool read_lines(struct hls *hls, struct error *error)
{
    const char *text = hls->edit.text, *end = text + hls->edit.size;
    const char *line = strncmp(text, "\xEF\xBB\xBF", 3) == 0 ? text + 3 : text;
    struct error why;

    if (strncmp(line, "#EXTM3U", 7) != 0 || (line[7] != '\0' && !strchr(" \t\r\n", line[7])))
        return error_set(error, ERROR_MALFORMED, "it is not a playlist: it does not begin with #EXTM3U");
    while (line < end) {
        size_t size = strcspn(line, "\n");

        if (!package_hls_read_line(hls, line, size, &why))
            return error_set(error, why.code, "line %d: %s", package_line(text, (size_t)(line - text)),
                             why.text);
        line += size + 1;
    }
    if (hls->media && hls->master)
        return error_set(
            error, ERROR_MALFORMED,
            "it has both segments and variants, and can be only one of the two kinds of playlist");
    if (!hls->master && !hls->ended)
        return error_set(error, ERROR_MALFORMED,
                         "it has no #EXT-X-ENDLIST: the stream is not finished, and players would wait "
                         "for more of it");
    return true;
}

char *package_hls_rewrite(const char *text, size_t size, const struct package_reader *reader,
                          size_t *new_size, struct error *error)
{
    struct hls hls = {.reader = reader};

    if (!package_edit_begin(&hls.edit, text, size, error))
        return NULL;
    return package_edit_end(&hls.edit, read_lines(&hls, error), new_size, error);
}
