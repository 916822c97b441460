/*
 * api_request: the segments choose the resource, the query the page of a list. A cursor is the hexadecimal form of what the order
 * looks at and, behind a NUL, of the file ID, so that a page needs no memory of the one before.
 */
#include "httpd/api/api_request.h"
#include "common/base/hex.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRES_MAX (INT64_C(100) * 366 * 24 * 3600)

const char *api_shown_name(const struct proto_list_entry *entry)
{
    return entry->stat.name[0] != '\0' ? entry->stat.name : entry->file;
}

/* ---- cursors ---- */

/* What the order of PAGE looks at, before the file ID; "" where it is the ID alone. */
static void sort_key(const struct api_page *page, const struct proto_list_entry *entry,
                     char key[PROTO_NAME_SIZE])
{
    int64_t time = entry->stat.status == PROTO_FILE_DELETED ? entry->stat.deleted : entry->stat.created;
    key[0] = '\0';
    switch (page->sort) {
    case API_SORT_ID:
        break;
    case API_SORT_NAME:
        snprintf(key, PROTO_NAME_SIZE, "%s", api_shown_name(entry));
        break;
    case API_SORT_SIZE:
        snprintf(key, PROTO_NAME_SIZE, "%" PRId64, entry->stat.size);
        break;
    case API_SORT_TIME:
        snprintf(key, PROTO_NAME_SIZE, "%" PRId64, time);
        break;
    }
}

char *api_cursor_format(const struct api_page *page, const struct proto_list_entry *entry,
                        char text[API_CURSOR_TEXT_SIZE])
{
    char key[PROTO_NAME_SIZE], bytes[API_CURSOR_MAX];
    size_t size = 0;
    sort_key(page, entry, key);
    size = strlen(key) + 1;
    memcpy(bytes, key, size);
    memcpy(bytes + size, entry->file, strlen(entry->file));
    size += strlen(entry->file);
    return hex_format(bytes, size, text);
}

static bool take_sort_key(struct api_page *page, const char *key)
{
    struct http_text number = http_text_of(key);
    struct proto_list_entry *after = &page->after;
    after->stat.status = page->status;
    switch (page->sort) {
    case API_SORT_ID:
        return key[0] == '\0';
    case API_SORT_NAME:
        memcpy(after->stat.name, key, strlen(key) + 1);
        return key[0] != '\0';
    case API_SORT_SIZE:
        return http_text_number(number, &after->stat.size);
    case API_SORT_TIME:
        return http_text_number(number, page->status == PROTO_FILE_DELETED ? &after->stat.deleted
                                                                           : &after->stat.created);
    }
    return false;
}

static bool parse_cursor(struct http_text text, struct api_page *page)
{
    char bytes[API_CURSOR_MAX + 1] = {0};
    if (text.size % 2 != 0 || text.size / 2 > API_CURSOR_MAX || text.size == 0 ||
        !hex_parse(text.bytes, bytes, text.size / 2))
        return false;
    size_t size = text.size / 2, key = strnlen(bytes, size), file = size - key;
    /* The NUL counts: behind it one byte at least, and not another NUL. */
    if (key >= PROTO_NAME_SIZE || file < 2 || file - 1 >= PROTO_FILE_SIZE ||
        strnlen(bytes + key + 1, file - 1) != file - 1)
        return false;
    memcpy(page->after.file, bytes + key + 1, file - 1);
    page->has_after = true;
    return take_sort_key(page, bytes);
}

/* ---- the query ---- */

/* The first value of NAME in QUERY. False: it is not there. */
static bool find_parameter(struct http_text query, const char *name, struct http_text *value)
{
    while (query.size > 0) {
        const char *ampersand = memchr(query.bytes, '&', query.size);
        struct http_text item = {query.bytes, ampersand ? (size_t)(ampersand - query.bytes) : query.size};
        size_t used = min_size(item.size + 1, query.size);
        query = (struct http_text){query.bytes + used, query.size - used};
        const char *equals = item.size > 0 ? memchr(item.bytes, '=', item.size) : NULL;
        size_t length = equals ? (size_t)(equals - item.bytes) : item.size;
        if (!http_text_equal((struct http_text){item.bytes, length}, name))
            continue;
        *value = equals ? (struct http_text){equals + 1, item.size - length - 1}
                        : (struct http_text){item.bytes + length, 0};
        return true;
    }
    return false;
}

/* The index of the value of NAME among the COUNT WORDS, DEFAULT_INDEX where it is absent; -1: it is none of them. */
static int choose(struct http_text query, const char *name, const char *const *words, int count,
                  int default_index)
{
    struct http_text value;
    if (!find_parameter(query, name, &value))
        return default_index;
    for (int i = 0; i < count; i++) {
        if (http_text_equal(value, words[i]))
            return i;
    }
    return -1;
}

static const char *parse_page(struct http_text query, struct api_page *page)
{
    static const char *const states[] = {"stored", "deleted"}, *const orders[] = {"asc", "desc"},
                             *const sorts[] = {"id", "name", "size", "time"};
    struct http_text value;
    int64_t limit = API_LIMIT_DEFAULT;
    int state = choose(query, "state", states, 2, 0), order = choose(query, "order", orders, 2, 0),
        sort = choose(query, "sort", sorts, 4, API_SORT_ID);
    if (state < 0)
        return "state: stored or deleted is expected";
    if (order < 0)
        return "order: asc or desc is expected";
    if (sort < 0)
        return "sort: id, name, size or time is expected";
    page->status = state == 0 ? PROTO_FILE_NORMAL : PROTO_FILE_DELETED;
    page->sort = (enum api_sort)sort;
    page->descending = order == 1;
    if (find_parameter(query, "limit", &value) &&
        (!http_text_number(value, &limit) || limit < 1 || limit > API_LIMIT_MAX))
        return "limit: a number from 1 to 200 is expected";
    page->limit = (size_t)limit;
    if (find_parameter(query, "q", &value) &&
        http_text_percent_decode(value, true, page->query, sizeof(page->query) - 1) < 0)
        return "q: at most 255 bytes, percent-encoded, are expected";
    if (find_parameter(query, "after", &value) && !parse_cursor(value, page))
        return "after: the value of next of an answer in the same order is expected";
    return NULL;
}

/* ---- the path ---- */

static bool take_field(struct http_text segment, char *field, size_t size)
{
    return http_text_percent_decode(segment, false, field, size - 1) > 0;
}

/* Application and user, and the file ID where there are three. */
static bool api_take_key(const struct http_text *segments, size_t count, struct proto_file_key *key)
{
    return take_field(segments[0], key->application, sizeof(key->application)) &&
           proto_name_valid(key->application, PROTO_APPLICATION_SIZE) &&
           take_field(segments[1], key->user, sizeof(key->user)) &&
           (count < 3 || take_field(segments[2], key->file, sizeof(key->file)));
}

/* API_RESOURCES: there is no such address. */
static enum api_resource resource_of(const struct http_text *parts, size_t count)
{
    if (count < 2 || !http_text_equal(parts[0], "v1"))
        return API_RESOURCES;
    if (count == 2 && http_text_equal(parts[1], "session"))
        return API_SESSION;
    if (count == 2 && http_text_equal(parts[1], "status"))
        return API_STATUS;
    if (count == 4 && http_text_equal(parts[1], "quota"))
        return API_QUOTA;
    if (count < 4 || !http_text_equal(parts[1], "files"))
        return API_RESOURCES;
    if (count == 4)
        return API_FILES;
    if (count == 5)
        return API_FILE;
    if (http_text_equal(parts[5], "restore"))
        return API_RESTORE;
    return http_text_equal(parts[5], "link") ? API_LINK : API_RESOURCES;
}

int api_request_parse(const struct http_target *target, struct api_request *request, const char **message)
{
    struct http_text value;
    memset(request, 0, sizeof(*request));
    request->resource = resource_of(target->parts, target->part_count);
    if (request->resource == API_RESOURCES ||
        (target->part_count > 2 && !api_take_key(target->parts + 2, target->part_count - 2, &request->key))) {
        *message = "the API has no such address";
        return 404;
    }
    *message = request->resource == API_FILES ? parse_page(target->query, &request->page) : NULL;
    if (request->resource == API_LINK && find_parameter(target->query, "expires", &value) &&
        (!http_text_number(value, &request->expires) || request->expires < 1 ||
         request->expires > EXPIRES_MAX))
        *message = "expires: seconds from now, 1 or more, are expected";
    return *message ? 400 : 0;
}

const char *api_request_methods(enum api_resource resource)
{
    switch (resource) {
    case API_FILE:
        return "GET, HEAD, DELETE, OPTIONS";
    case API_RESTORE:
    case API_LINK:
        return "POST, OPTIONS";
    default:
        return "GET, HEAD, OPTIONS";
    }
}

bool api_request_takes(enum api_resource resource, enum http_request_method method)
{
    bool changes = resource == API_RESTORE || resource == API_LINK;
    if (method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD)
        return !changes;
    return method == HTTP_METHOD_POST ? changes : method == HTTP_METHOD_DELETE && resource == API_FILE;
}
