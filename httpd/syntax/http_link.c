/*
 * http_link: parameters and cookies are taken as they are written, without decoding: a proper link has nothing that needs it, and what
 * is written in another way is not one.
 */
#include "httpd/syntax/http_link.h"

#include <string.h>

static struct http_text text_from(struct http_text text, size_t at)
{
    at = min_size(at, text.size);
    return (struct http_text){text.bytes + at, text.size - at};
}

/* Up to the first END, which is skipped too. */
static struct http_text take_until(struct http_text *rest, char end)
{
    const char *at = rest->size > 0 ? memchr(rest->bytes, end, rest->size) : NULL;
    struct http_text taken = {rest->bytes, at ? (size_t)(at - rest->bytes) : rest->size};
    *rest = text_from(*rest, taken.size + 1);
    return taken;
}

/* What is before the question mark, and behind it; scheme and authority are left out. */
static void split_target(struct http_text target, struct http_text *path, struct http_text *query)
{
    *query = target;
    *path = take_until(query, '?');
    for (size_t i = 0; path->size > 0 && path->bytes[0] != '/' && i + 3 <= path->size; i++) {
        if (memcmp(path->bytes + i, "://", 3) != 0)
            continue;
        const char *slash = memchr(path->bytes + i + 3, '/', path->size - i - 3);
        *path = text_from(*path, slash ? (size_t)(slash - path->bytes) : path->size);
        break;
    }
}

static bool has_link(struct http_text path)
{
    return path.size >= 3 && memcmp(path.bytes, "/t/", 3) == 0;
}

static struct http_text path_token(struct http_text path)
{
    struct http_text rest = text_from(path, 3);
    return take_until(&rest, '/');
}

struct http_text http_link_strip(struct http_text path, struct http_link_marks *marks)
{
    struct link_token token;
    marks->path = (struct http_text){NULL, 0};
    if (!has_link(path))
        return path;
    struct http_text text = marks->path = path_token(path);
    return link_token_parse(text.bytes, text.size, &token) ? text_from(path, 3 + text.size) : path;
}

/* ---- query ---- */

/* Which of the three ITEM is: 0 e, 1 k, 2 s, -1 none of them. */
static int which_part(struct http_text item, struct http_text *value)
{
    *value = text_from(item, 2);
    if (item.size == 0 || (item.size > 1 && item.bytes[1] != '='))
        return -1;
    return item.bytes[0] == 'e' ? 0 : item.bytes[0] == 'k' ? 1 : item.bytes[0] == 's' ? 2 : -1;
}

bool http_link_mark(struct http_link_marks *marks, struct http_text parameter)
{
    struct http_text value;
    int part = which_part(parameter, &value);
    if (part < 0) {
        marks->apart = marks->count > 0;
        return false;
    }
    marks->broken = marks->broken || part != marks->count || (marks->apart && marks->count < 3);
    if (!marks->broken)
        marks->parts[marks->count++] = (struct link_part){value.bytes, value.size};
    return true;
}

static enum http_link_form find_in_query(const struct http_link_marks *marks, struct link_token *token)
{
    const struct link_part *parts = marks->parts;
    if (marks->count == 0 && !marks->broken)
        return HTTP_LINK_NONE;
    return !marks->broken && marks->count == 3 && link_token_parse_query(parts[0], parts[1], parts[2], token)
               ? HTTP_LINK_QUERY
               : HTTP_LINK_BROKEN;
}

/* ---- cookies ---- */

static enum http_link_form find_in_cookies(const struct http_text *cookies, size_t count,
                                           struct link_token *token)
{
    enum http_link_form form = HTTP_LINK_NONE;
    for (size_t i = 0; i < count; i++) {
        struct http_text rest = cookies[i];
        while (rest.size > 0) {
            struct http_text value = http_text_trim(take_until(&rest, ';'));
            if (!http_text_equal(take_until(&value, '='), HTTP_LINK_COOKIE_NAME))
                continue;
            if (form != HTTP_LINK_NONE)
                return HTTP_LINK_SEVERAL;
            form = link_token_parse(value.bytes, value.size, token) ? HTTP_LINK_COOKIE : HTTP_LINK_BROKEN;
        }
    }
    return form;
}

enum http_link_form http_link_find(const struct http_link_marks *marks, const struct http_text *cookies,
                                   size_t count, struct link_token *token)
{
    struct link_token found[2];
    enum http_link_form form = find_in_query(marks, token);
    enum http_link_form others[2] = {HTTP_LINK_NONE, find_in_cookies(cookies, count, &found[1])};
    if (marks->path.bytes)
        others[0] = link_token_parse(marks->path.bytes, marks->path.size, &found[0]) ? HTTP_LINK_PATH
                                                                                     : HTTP_LINK_BROKEN;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (others[i] == HTTP_LINK_NONE)
            continue;
        if (form != HTTP_LINK_NONE)
            return HTTP_LINK_SEVERAL;
        form = others[i];
        if (form == HTTP_LINK_PATH || form == HTTP_LINK_COOKIE)
            *token = found[i];
    }
    return form;
}

/* ---- what must not be shown ---- */

struct mask {
    char *out;
    size_t size, used;
};

static void mask_put(struct mask *mask, struct http_text text)
{
    size_t size = min_size(text.size, mask->size - mask->used);
    if (size > 0)
        memcpy(mask->out + mask->used, text.bytes, size);
    mask->used += size;
}

/* Behind the last dot of TOKEN is its signature. */
static void put_token(struct mask *mask, struct http_text token)
{
    size_t kept = token.size;
    while (kept > 0 && token.bytes[kept - 1] != '.')
        kept--;
    mask_put(mask, (struct http_text){token.bytes, kept});
    mask_put(mask, http_text_of("***"));
}

/* PATH begins with a token, however it is written where it is the FIRST thing. Further on, as in the address of a page below a proxy's
 * path, it may also be a user of that name and his file. */
static bool begins_with_token(struct http_text path, bool first)
{
    struct link_token token;
    if (!has_link(path))
        return false;
    struct http_text text = path_token(path);
    return first || link_token_parse(text.bytes, text.size, &token);
}

static void put_path(struct mask *mask, struct http_text before, struct http_text path)
{
    mask_put(mask, before);
    for (bool first = true; path.size > 0; first = false) {
        struct http_text rest = text_from(path, 1);
        struct http_text part = {path.bytes, 1 + take_until(&rest, '/').size};
        if (begins_with_token(path, first)) {
            struct http_text token = path_token(path);
            mask_put(mask, (struct http_text){path.bytes, 3});
            put_token(mask, token);
            part.size = 3 + token.size;
        } else {
            mask_put(mask, part);
        }
        path = text_from(path, part.size);
    }
}

/* ITEM's name, if its value is a signature, also where it is written in a way that no link is: a reader of the log could correct that. */
static struct http_text signature_name(struct http_text item)
{
    static const char *const names[] = {"s", "S", "%73", "%53"};
    struct http_text name = take_until(&item, '=');
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (http_text_equal(name, names[i]))
            return name;
    return (struct http_text){NULL, 0};
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written through the mask */
size_t http_link_mask(struct http_text text, char *out, size_t size)
{
    struct mask mask = {out, size, 0};
    struct http_text path, query;
    split_target(text, &path, &query);
    struct http_text before = {text.bytes, text.size > 0 ? (size_t)(path.bytes - text.bytes) : 0};
    put_path(&mask, before, path);
    if (text.size > 0 && memchr(text.bytes, '?', text.size))
        mask_put(&mask, http_text_of("?"));
    while (query.size > 0) {
        const char *all = query.bytes;
        size_t left = query.size;
        struct http_text item = take_until(&query, '&'), name = signature_name(item);
        mask_put(&mask, name.size > 0 ? name : item);
        if (name.size > 0)
            mask_put(&mask, http_text_of("=***"));
        if (item.size < left && all[item.size] == '&')
            mask_put(&mask, http_text_of("&"));
    }
    return mask.used;
}
