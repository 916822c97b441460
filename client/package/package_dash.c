/*
 * package_dash: walks the elements that have URIs. What SegmentTemplate says holds for all Representations
 * below the element that it stands in, and an inner one adds to an outer one; so each is looked up when a
 * Representation ends.
 */
#include "client/package/package_dash.h"

#include "client/package/package_rewrite.h"
#include "client/package/package_uri.h"

#include <expat.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX    32
#define SEGMENTS_MAX 1000000

/* Attributes that are URIs of segments. */
enum template_uri {
    TEMPLATE_MEDIA,
    TEMPLATE_INITIALIZATION,
    TEMPLATE_INDEX,
    TEMPLATE_SWITCHING,
    TEMPLATE_URIS
};
static const char *const template_uris[TEMPLATE_URIS] = {"media", "initialization", "index",
                                                         "bitstreamSwitching"};

/* An open element. */
struct level {
    char *directory;           /* what its BaseURL says; NULL: as its parent */
    bool based;                /* it had a BaseURL */
    char *uris[TEMPLATE_URIS]; /* paths of its SegmentTemplate; NULL: not there */
    bool numbered;             /* START was given */
    uint64_t start;
    uint64_t *times; /* of its SegmentTimeline; NULL: it has none */
    size_t count, room;
    uint64_t next;        /* where the next S begins */
    char *id, *bandwidth; /* of a Representation */
};

struct dash {
    struct package_folder *folder;
    XML_Parser parser;
    struct package_edit edit;
    struct level levels[DEPTH_MAX]; /* 0: around the document */
    int depth;
    bool in_base;
    size_t base_begin;
    char base[4096]; /* text of a BaseURL */
    size_t base_size;
    bool failed;
    struct error why;
};

static void dash_fail(struct dash *dash, int code, const char *format, ...) PRINTF_LIKE(3, 4);
static void dash_fail(struct dash *dash, int code, const char *format, ...)
{
    va_list list;

    if (dash->failed)
        return;
    va_start(list, format);
    (void)error_set_va(&dash->why, code, format, list);
    va_end(list);
    dash->failed = true;
    (void)XML_StopParser(dash->parser, XML_FALSE);
}

static void dash_fail_with(struct dash *dash, const struct error *why)
{
    dash_fail(dash, why->code, "%s", why->text);
}

static const char *local_name(const char *name)
{
    const char *colon = strchr(name, ':');

    return colon ? colon + 1 : name;
}

static const char *attribute(const char **attributes, const char *name)
{
    for (; attributes[0]; attributes += 2)
        if (strcmp(attributes[0], name) == 0)
            return attributes[1];
    return NULL;
}

static const char *dash_directory_of(const struct dash *dash)
{
    for (int i = dash->depth; i >= 0; i--)
        if (dash->levels[i].directory)
            return dash->levels[i].directory;
    return "";
}

static void clear_level(struct level *level)
{
    free(level->directory);
    for (int i = 0; i < TEMPLATE_URIS; i++)
        free(level->uris[i]);
    free(level->times);
    free(level->id);
    free(level->bandwidth);
    memset(level, 0, sizeof(*level));
}

/* ---- replacing ---- */

/* The value of the attribute NAME in the start tag that the parser is at: where it lies in the text. The tag
 * is well-formed. */
static bool find_value(const struct dash *dash, const char *name, size_t *offset, size_t *size)
{
    size_t begin = (size_t)XML_GetCurrentByteIndex(dash->parser);
    const char *at = dash->edit.text + begin, *end = at + XML_GetCurrentByteCount(dash->parser);

    at += strcspn(at, " \t\r\n/>");
    while (at < end) {
        at += strspn(at, " \t\r\n");
        size_t name_size = strcspn(at, " \t\r\n=/>");
        const char *equals = at + name_size + strspn(at + name_size, " \t\r\n");
        if (name_size == 0 || *equals != '=')
            return false;
        const char *quote = equals + 1 + strspn(equals + 1, " \t\r\n");
        const char *close = strchr(quote + 1, *quote);
        if (!close || close >= end)
            return false;
        if (name_size == strlen(name) && memcmp(at, name, name_size) == 0) {
            *offset = (size_t)(quote + 1 - dash->edit.text);
            *size = (size_t)(close - quote - 1);
            return true;
        }
        at = close + 1;
    }
    return false;
}

/* The path that URI means; NULL: failed. */
static char *resolve(struct dash *dash, const char *uri, bool templates)
{
    struct error why;
    char *path = package_uri_resolve(dash_directory_of(dash), uri, templates, &why);

    if (!path)
        dash_fail(dash, why.code, "%s: %s", uri, why.text);
    return path;
}

static void dash_want(struct dash *dash, const char *path)
{
    struct error why;

    if (!dash->failed && !package_folder_want(dash->folder, path, &why))
        dash_fail_with(dash, &why);
}

static void put_link(struct dash *dash, size_t offset, size_t size, const char *path)
{
    char *link = package_uri_link(dash->folder->base, path);

    if (link && !dash->failed)
        package_edit_replace(&dash->edit, offset, size, link);
    else
        dash_fail(dash, ERROR_UNAVAILABLE, "no memory");
    free(link);
}

/* The attribute NAME, if it is there, is replaced. Returns its path, owned by the caller. */
static char *replace_attribute(struct dash *dash, const char **attributes, const char *name, bool templates)
{
    const char *uri = attribute(attributes, name);
    size_t offset, size;
    char *path = uri && !dash->failed ? resolve(dash, uri, templates) : NULL;

    if (path && find_value(dash, name, &offset, &size))
        put_link(dash, offset, size, path);
    return path;
}

/* ---- templates ---- */

static void read_template(struct dash *dash, struct level *parent, const char **attributes)
{
    const char *start = attribute(attributes, "startNumber");
    size_t places[TEMPLATE_URIS], size;
    bool done[TEMPLATE_URIS] = {false};

    if (start) {
        parent->numbered = true;
        parent->start = strtoull(start, NULL, 10);
    }
    /* In the order in which they lie in the tag. */
    for (int round = 0; round < TEMPLATE_URIS; round++) {
        int first = -1;

        for (int i = 0; i < TEMPLATE_URIS; i++) {
            if (done[i] || !attribute(attributes, template_uris[i]) ||
                !find_value(dash, template_uris[i], &places[i], &size))
                continue;
            if (first < 0 || places[i] < places[first])
                first = i;
        }
        if (first < 0)
            return;
        done[first] = true;
        free(parent->uris[first]);
        parent->uris[first] = replace_attribute(dash, attributes, template_uris[first], true);
    }
}

/* S of a SegmentTimeline of the SegmentTemplate in LEVEL. */
static void read_segments(struct dash *dash, struct level *level, const char **attributes)
{
    const char *t = attribute(attributes, "t"), *d = attribute(attributes, "d"),
               *r = attribute(attributes, "r");
    long long repeat = r ? strtoll(r, NULL, 10) : 0;
    uint64_t duration = d ? strtoull(d, NULL, 10) : 0;

    if (t)
        level->next = strtoull(t, NULL, 10);
    if (repeat < 0) {
        dash_fail(dash, ERROR_MALFORMED, "S with a negative r: the number of segments must be stated");
        return;
    }
    for (long long i = 0; i <= repeat; i++) {
        if (level->count == level->room) {
            size_t more = level->room > 0 ? 2 * level->room : 256;
            uint64_t *larger =
                more <= 2 * SEGMENTS_MAX ? realloc(level->times, more * sizeof(*larger)) : NULL;

            if (!larger) {
                dash_fail(dash, ERROR_MALFORMED, "SegmentTimeline has more than %d segments", SEGMENTS_MAX);
                return;
            }
            level->times = larger;
            level->room = more;
        }
        level->times[level->count++] = level->next;
        level->next += duration;
    }
}

/* What stands for a Representation that ends: the innermost of each. */
struct meaning {
    const char *uris[TEMPLATE_URIS];
    const struct level *timeline;
    uint64_t start;
};

static struct meaning find_meaning(const struct dash *dash)
{
    struct meaning found = {.start = 1};
    bool numbered = false;

    for (int i = dash->depth; i > 0; i--) {
        const struct level *level = &dash->levels[i];

        for (int j = 0; j < TEMPLATE_URIS; j++)
            if (!found.uris[j])
                found.uris[j] = level->uris[j];
        if (!found.timeline && level->times)
            found.timeline = level;
        if (!numbered && level->numbered) {
            numbered = true;
            found.start = level->start;
        }
    }
    return found;
}

static void want_filled(struct dash *dash, const char *pattern, uint64_t value)
{
    char *path = package_uri_fill(pattern, value);

    if (path)
        dash_want(dash, path);
    else
        dash_fail(dash, ERROR_UNAVAILABLE, "no memory");
    free(path);
}

/* Segments by number without a timeline: as many as there are. */
static void want_numbers(struct dash *dash, const char *pattern, uint64_t start)
{
    size_t count = package_folder_matching(dash->folder, pattern);

    for (uint64_t i = 0; i < max_size(count, 1) && !dash->failed; i++)
        want_filled(dash, pattern, start + i);
}

/* Players put the id of a Representation into a URI as it is. */
static bool dash_is_plain(const char *id)
{
    for (; *id != '\0'; id++)
        if (!((*id >= '0' && *id <= '9') || (*id >= 'a' && *id <= 'z') || (*id >= 'A' && *id <= 'Z') ||
              strchr("-._~", *id)))
            return false;
    return true;
}

/* All that URI means for the Representation LEVEL. */
static void want_template(struct dash *dash, const struct level *level, const char *uri,
                          const struct meaning *meaning)
{
    char *pattern = package_uri_name(uri, level->id, level->bandwidth);
    const struct level *timeline = meaning->timeline;
    bool by_time = package_uri_has(uri, PACKAGE_TIME), by_number = package_uri_has(uri, PACKAGE_NUMBER);

    if (!pattern)
        dash_fail(dash, ERROR_UNAVAILABLE, "no memory");
    else if (package_uri_has(uri, PACKAGE_REPRESENTATION) && !dash_is_plain(level->id))
        dash_fail(
            dash, ERROR_MALFORMED,
            "the id of a Representation, %.64s, is used in a template and may contain only letters, digits, "
            "'-', '.', '_' and '~'",
            level->id);
    else if (!by_time && !by_number)
        dash_want(dash, pattern);
    else if (by_time && (by_number || !timeline))
        dash_fail(dash, ERROR_MALFORMED, "$Time$ needs a SegmentTimeline, and no $Number$ beside it");
    else if (!timeline)
        want_numbers(dash, pattern, meaning->start);
    for (size_t i = 0; pattern && timeline && (by_time || by_number) && i < timeline->count && !dash->failed;
         i++)
        want_filled(dash, pattern, by_time ? timeline->times[i] : meaning->start + i);
    free(pattern);
}

static void end_representation(struct dash *dash, const struct level *level)
{
    struct meaning meaning = find_meaning(dash);

    for (int i = 0; i < TEMPLATE_URIS && !dash->failed; i++)
        if (meaning.uris[i])
            want_template(dash, level, meaning.uris[i], &meaning);
}

/* ---- elements ---- */

static void read_mpd(struct dash *dash, const char **attributes)
{
    const char *type = attribute(attributes, "type");

    if (type && strcmp(type, "dynamic") == 0)
        dash_fail(dash, ERROR_MALFORMED, "the manifest is of type dynamic: the stream is not finished");
}

/* Attributes that are URIs of one file each. */
static void read_files(struct dash *dash, const char *name, const char **attributes)
{
    static const struct {
        const char *element, *attribute;
    } uris[] = {{"SegmentURL", "media"},
                {"SegmentURL", "index"},
                {"Initialization", "sourceURL"},
                {"RepresentationIndex", "sourceURL"},
                {"BitstreamSwitching", "sourceURL"}};
    bool back = false;
    size_t first = 0, second = 0, size;

    /* Two in one tag may lie in either order. */
    if (strcmp(name, "SegmentURL") == 0 && find_value(dash, "media", &first, &size) &&
        find_value(dash, "index", &second, &size))
        back = second < first;
    for (size_t i = 0; i < ARRAY_SIZE(uris); i++) {
        size_t which = back && i < 2 ? 1 - i : i;
        char *path = strcmp(name, uris[which].element) == 0
                         ? replace_attribute(dash, attributes, uris[which].attribute, false)
                         : NULL;

        if (path)
            dash_want(dash, path);
        free(path);
    }
}

static void XMLCALL on_start(void *argument, const char *full_name, const char **attributes)
{
    struct dash *dash = argument;
    struct level *parent = &dash->levels[dash->depth];
    const char *name = local_name(full_name), *link = attribute(attributes, "xlink:href");

    if (dash->failed)
        return;
    if (dash->in_base) {
        dash_fail(dash, ERROR_MALFORMED, "%.64s inside of a BaseURL: only text is expected there", name);
        return;
    }
    if (dash->depth == 0 && strcmp(name, "MPD") != 0)
        dash_fail(dash, ERROR_MALFORMED, "it is not a DASH manifest: its root element is %.64s, not MPD",
                  name);
    if (++dash->depth == DEPTH_MAX) {
        dash->depth--;
        dash_fail(dash, ERROR_MALFORMED, "elements are nested deeper than %d", DEPTH_MAX);
        return;
    }
    if (link && strncmp(link, "urn:", 4) != 0)
        dash_fail(dash, ERROR_MALFORMED,
                  "xlink:href to %.128s: parts of the manifest that lie elsewhere cannot be stored", link);
    if (strcmp(name, "Location") == 0 || strcmp(name, "PatchLocation") == 0)
        dash_fail(dash, ERROR_MALFORMED, "%s names another address of the manifest; take it out", name);
    if (strcmp(name, "MPD") == 0) {
        read_mpd(dash, attributes);
    } else if (strcmp(name, "BaseURL") == 0) {
        dash->in_base = true;
        dash->base_size = 0;
        dash->base_begin =
            (size_t)XML_GetCurrentByteIndex(dash->parser) + (size_t)XML_GetCurrentByteCount(dash->parser);
    } else if (strcmp(name, "SegmentTemplate") == 0) {
        read_template(dash, parent, attributes);
    } else if (strcmp(name, "S") == 0 && dash->depth >= 4) {
        read_segments(dash, &dash->levels[dash->depth - 3], attributes);
    } else if (strcmp(name, "Representation") == 0) {
        const char *id = attribute(attributes, "id"), *bandwidth = attribute(attributes, "bandwidth");

        dash->levels[dash->depth].id = strdup(id ? id : "");
        dash->levels[dash->depth].bandwidth = strdup(bandwidth ? bandwidth : "0");
        if (!dash->levels[dash->depth].id || !dash->levels[dash->depth].bandwidth)
            dash_fail(dash, ERROR_UNAVAILABLE, "no memory");
    } else {
        read_files(dash, name, attributes);
    }
}

static void XMLCALL on_text(void *argument, const char *text, int size)
{
    struct dash *dash = argument;

    if (!dash->in_base)
        return;
    if (dash->base_size + (size_t)size >= sizeof(dash->base)) {
        dash_fail(dash, ERROR_MALFORMED, "a BaseURL is longer than %zu bytes", sizeof(dash->base) - 1);
        return;
    }
    memcpy(dash->base + dash->base_size, text, (size_t)size);
    dash->base_size += (size_t)size;
}

/* A BaseURL ends: a directory becomes that of its parent's URIs, a file is wanted. */
static void end_base(struct dash *dash, struct level *parent)
{
    size_t end = (size_t)XML_GetCurrentByteIndex(dash->parser);
    char *uri = dash->base, *path;

    dash->in_base = false;
    while (dash->base_size > 0 && strchr(" \t\r\n", uri[dash->base_size - 1]))
        dash->base_size--;
    uri[dash->base_size] = '\0';
    uri += strspn(uri, " \t\r\n");
    if (parent->based) {
        dash_fail(
            dash, ERROR_MALFORMED,
            "several BaseURL in one element: they name other places of the same, and only one is stored");
        return;
    }
    parent->based = true;
    path = uri[0] != '\0' ? resolve(dash, uri, false) : strdup("");
    if (!path || end < dash->base_begin) {
        free(path);
        return;
    }
    if (path[0] == '\0' || path[strlen(path) - 1] == '/') {
        package_edit_replace(&dash->edit, dash->base_begin, end - dash->base_begin, "./");
        parent->directory = uri[0] != '\0' ? path : NULL;
        if (parent->directory != path)
            free(path);
        return;
    }
    dash_want(dash, path);
    put_link(dash, dash->base_begin, end - dash->base_begin, path);
    parent->directory = package_uri_directory(path);
    free(path);
}

static void XMLCALL on_end(void *argument, const char *full_name)
{
    struct dash *dash = argument;
    struct level *level = &dash->levels[dash->depth];
    const char *name = local_name(full_name);

    if (dash->failed)
        return;
    if (strcmp(name, "Representation") == 0)
        end_representation(dash, level);
    clear_level(level);
    dash->depth--;
    if (strcmp(name, "BaseURL") == 0 && !dash->failed)
        end_base(dash, &dash->levels[dash->depth]);
}

static void XMLCALL on_document_type(void *argument, const char *name, const char *system, const char *public,
                                     int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    dash_fail(argument, ERROR_MALFORMED, "a document type (DOCTYPE) is not accepted");
}

static bool parse(struct dash *dash, struct error *error)
{
    XML_Parser parser = dash->parser;

    XML_SetUserData(parser, dash);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_document_type);
    bool good = XML_Parse(parser, dash->edit.text, (int)dash->edit.size, XML_TRUE) == XML_STATUS_OK;
    int line = (int)XML_GetCurrentLineNumber(parser);
    if (dash->failed)
        return error_set(error, dash->why.code, "line %d: %s", line, dash->why.text);
    return good || error_set(error, ERROR_MALFORMED, "line %d: not valid XML: %s", line,
                             XML_ErrorString(XML_GetErrorCode(parser)));
}

char *package_dash_rewrite(struct package_folder *folder, const char *directory, const char *text,
                           size_t size, size_t *new_size, struct error *error)
{
    struct dash *dash = calloc(1, sizeof(*dash));
    char *result = NULL;

    if (!dash || !(dash->parser = XML_ParserCreate("UTF-8"))) {
        free(dash);
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a manifest");
        return NULL;
    }
    dash->folder = folder;
    dash->levels[0].directory = strdup(directory);
    if (package_edit_begin(&dash->edit, text, size, error))
        result = package_edit_end(&dash->edit, parse(dash, error), new_size, error);
    for (int i = 0; i < DEPTH_MAX; i++)
        clear_level(&dash->levels[i]);
    XML_ParserFree(dash->parser);
    free(dash);
    return result;
}
