/*
 * http_target: the path is split first, and each segment decoded once.
 */
#include "httpd/syntax/http_target.h"
#include "httpd/syntax/http_authority.h"
#include <string.h>
#include <strings.h>

#define SEGMENTS_MAX 7 /* tus, application, user, file ID, token, metadata, parts; fewer of the others */

/* RFC 3986 leaves out more characters (quotes, bars, braces, backslash, ...), but browsers and download programs send
 * them as they are, as the WHATWG URL standard has it, and they change nothing of where a request ends. Bytes above 127
 * are let through, since old clients send UTF-8 as it is. */
static bool characters_are_legal(struct http_text text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (c <= ' ' || c == 0x7f || c == '#')
            return false;
    }
    return true;
}

/* RFC 9112 section 3.2.2: absolute-form. */
bool http_target_split(struct http_text text, struct http_text *scheme, struct http_text *authority,
                       struct http_text *rest)
{
    size_t start = 0;
    *scheme = *authority = (struct http_text){text.bytes, 0};
    *rest = text;
    if (text.size > 0 && text.bytes[0] == '/')
        return true;
    if (text.size >= 7 && strncasecmp(text.bytes, "http://", 7) == 0)
        start = 7;
    else if (text.size >= 8 && strncasecmp(text.bytes, "https://", 8) == 0)
        start = 8;
    else
        return false;

    size_t end = start;
    while (end < text.size && text.bytes[end] != '/' && text.bytes[end] != '?')
        end++;
    scheme->size = start - 3;
    *authority = (struct http_text){text.bytes + start, end - start};
    *rest = (struct http_text){text.bytes + end, text.size - end};
    return http_authority_is_legal(*authority, false);
}

static bool strip_authority(struct http_text *text)
{
    struct http_text scheme, authority;
    return http_target_split(*text, &scheme, &authority, text);
}

/* Decodes SEGMENT into a NUL-terminated field of SIZE bytes, zeros after it. */
static enum http_target_kind decode_field(struct http_text segment, char *field, size_t size)
{
    memset(field, 0, size);
    int64_t length = http_text_percent_decode(segment, false, field, size - 1);
    if (length == HTTP_TEXT_BROKEN)
        return HTTP_TARGET_BROKEN;
    if (length == HTTP_TEXT_LONG || length == 0)
        return HTTP_TARGET_UNKNOWN;
    /* No path is ever made of a segment, but a client that sends these means no file of ours. */
    if (strcmp(field, ".") == 0 || strcmp(field, "..") == 0)
        return HTTP_TARGET_BROKEN;
    return HTTP_TARGET_FILE;
}

/* A name is only for people: one that is too long or empty is left out, one that is broken is refused. */
static bool decode_name(struct http_text text, bool plus, char name[PROTO_NAME_SIZE])
{
    memset(name, 0, PROTO_NAME_SIZE);
    int64_t length = http_text_percent_decode(text, plus, name, PROTO_NAME_SIZE - 1);
    if (length == HTTP_TEXT_LONG)
        memset(name, 0, PROTO_NAME_SIZE);
    return length != HTTP_TEXT_BROKEN && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* "12", "12.5": seconds, in ms; what is below them is dropped. */
static bool parse_seconds(struct http_text text, int64_t *milliseconds)
{
    int64_t seconds = 0, scale = 100;
    size_t i = 0;
    for (; i < text.size && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++) {
        if (i == 9)
            return false;
        seconds = seconds * 10 + (text.bytes[i] - '0');
    }
    if (i == 0)
        return false;
    *milliseconds = seconds * 1000;
    if (i < text.size && text.bytes[i++] != '.')
        return false;
    for (; i < text.size && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++, scale /= 10)
        *milliseconds += scale * (text.bytes[i] - '0');
    return i == text.size;
}

/* t= and w=, which only a picture has: elsewhere they are ignored, whatever they say. */
static void read_picture(struct http_text name, struct http_text value, struct http_target *target)
{
    int64_t width;
    if (http_text_equal(name, "t")) {
        target->picture_broken = target->picture_broken || !parse_seconds(value, &target->picture_time);
    } else if (http_text_equal(name, "w")) {
        bool read = parse_seconds(value, &width) && width % 1000 == 0;
        target->picture_broken = target->picture_broken || !read;
        target->picture_width = read ? width / 1000 : 0;
    }
}

static bool parse_query(struct http_text query, struct http_target *target)
{
    target->download = target->clip = false;
    target->clip_start = 0;
    target->picture_time = -1;
    target->picture_width = 0;
    target->picture_broken = false;
    target->version = (struct http_text){NULL, 0};
    target->clip_end = INT64_MAX;
    memset(target->download_name, 0, sizeof(target->download_name));
    memset(target->put_name, 0, sizeof(target->put_name));
    memset(&target->link, 0, sizeof(target->link));
    while (query.size > 0) {
        const char *ampersand = memchr(query.bytes, '&', query.size);
        struct http_text item = {query.bytes, ampersand ? (size_t)(ampersand - query.bytes) : query.size};
        size_t used = min_size(item.size + 1, query.size);
        query.bytes += used;
        query.size -= used;
        if (http_link_mark(&target->link, item))
            continue;

        const char *equals = item.size > 0 ? memchr(item.bytes, '=', item.size) : NULL;
        struct http_text name = {item.bytes, equals ? (size_t)(equals - item.bytes) : item.size};
        struct http_text value = {item.bytes + name.size, 0};
        if (equals)
            value = (struct http_text){equals + 1, item.size - name.size - 1};
        bool start = http_text_equal(name, "start"), put = http_text_equal(name, "name");
        if (start || http_text_equal(name, "end")) {
            if (!equals || !parse_seconds(value, start ? &target->clip_start : &target->clip_end))
                return false;
            target->clip = true;
            continue;
        }
        read_picture(name, value, target);
        if (equals && http_text_equal(name, "v"))
            target->version = value;
        if (!put && !http_text_equal(name, "download"))
            continue;
        target->download = target->download || !put;
        if (equals && !decode_name(value, true, put ? target->put_name : target->download_name))
            return false;
    }
    return target->clip_start < target->clip_end;
}

static size_t http_target_split_path(struct http_text path, struct http_text segments[SEGMENTS_MAX + 1])
{
    size_t count = 0;
    while (path.size > 0 && count <= SEGMENTS_MAX) {
        path.bytes++; /* the slash */
        path.size--;
        const char *slash = path.size > 0 ? memchr(path.bytes, '/', path.size) : NULL;
        segments[count] = (struct http_text){path.bytes, slash ? (size_t)(slash - path.bytes) : path.size};
        path.bytes += segments[count].size;
        path.size -= segments[count].size;
        count++;
    }
    return count;
}

/* Nothing in it is encoded, and it is no dot segment: decoding it cannot find it broken. */
static bool target_is_plain(struct http_text segment)
{
    return segment.size > 0 && segment.bytes[0] != '.' && !memchr(segment.bytes, '%', segment.size);
}

static enum http_target_kind worse(enum http_target_kind a, enum http_target_kind b)
{
    return a > b ? a : b;
}

/* False: the short form names nothing. */
static bool take_defaults(const char *application, const char *user, struct http_target *target)
{
    if (application[0] == '\0' || user[0] == '\0')
        return false;
    memset(target->key.application, 0, sizeof(target->key.application));
    memset(target->key.user, 0, sizeof(target->key.user));
    memcpy(target->key.application, application, strnlen(application, sizeof(target->key.application) - 1));
    memcpy(target->key.user, user, strnlen(user, sizeof(target->key.user) - 1));
    return true;
}

/* Application and user, the segments behind the first one. */
static enum http_target_kind decode_owner(const struct http_text *segments, struct http_target *target)
{
    enum http_target_kind kind =
        decode_field(segments[1], target->key.application, sizeof(target->key.application));
    return worse(kind, decode_field(segments[2], target->key.user, sizeof(target->key.user)));
}

static const char *const service_names[] = {"hls", "dash", "info", "poster", "storyboard"};

const char *http_target_root(size_t number)
{
    if (number == 0)
        return "files";
    return number <= ARRAY_SIZE(service_names) ? service_names[number - 1] : NULL;
}

static bool is_service(const char *segment, enum http_service *service)
{
    for (size_t i = 0; i < ARRAY_SIZE(service_names); i++) {
        if (strcmp(segment, service_names[i]) == 0) {
            *service = (enum http_service)i;
            return true;
        }
    }
    return false;
}

/* File IDs separated by commas; one that is encoded belongs to an ID. */
static enum http_target_kind decode_items(struct http_text text, struct http_target *target)
{
    enum http_target_kind kind = HTTP_TARGET_STREAM;
    target->item_count = 0;
    while (text.bytes) {
        const char *comma = text.size > 0 ? memchr(text.bytes, ',', text.size) : NULL;
        struct http_text item = {text.bytes, comma ? (size_t)(comma - text.bytes) : text.size};
        if (target->item_count == HTTP_TARGET_ITEMS_MAX)
            return worse(kind, HTTP_TARGET_UNKNOWN);
        kind = worse(kind, decode_field(item, target->items[target->item_count++], PROTO_FILE_SIZE));
        text = comma ? (struct http_text){comma + 1, text.size - item.size - 1} : (struct http_text){NULL, 0};
    }
    memcpy(target->key.file, target->items[0], sizeof(target->key.file));
    return kind;
}

/* SEGMENTS name a user, or nobody and so the configured one; one that is empty may end them. */
static enum http_target_kind http_target_parse_user(const struct http_text *segments, size_t count,
                                                    const char *default_application, const char *default_user,
                                                    struct http_target *target)
{
    enum http_target_kind kind = HTTP_TARGET_FILE;
    memset(target->key.file, 0, sizeof(target->key.file));
    if (count >= 3)
        kind = decode_owner(segments, target);
    else if (!take_defaults(default_application, default_user, target))
        kind = HTTP_TARGET_UNKNOWN;
    if (kind == HTTP_TARGET_FILE && !proto_name_valid(target->key.application, PROTO_APPLICATION_SIZE))
        kind = HTTP_TARGET_UNKNOWN;
    return kind == HTTP_TARGET_FILE ? HTTP_TARGET_USER : kind;
}

/* SEGMENTS: service, application and user or neither, file IDs, and the resource where the service has such. */
static enum http_target_kind parse_stream(const struct http_text *segments, size_t count,
                                          const char *default_application, const char *default_user,
                                          struct http_target *target)
{
    size_t behind = target->service == HTTP_SERVICE_INFO ? 0 : 1;
    enum http_target_kind kind = HTTP_TARGET_STREAM;
    target->resource = (struct http_text){"", 0};
    if (count != 2 + behind && count != 4 + behind)
        return HTTP_TARGET_UNKNOWN;
    if (count == 4 + behind)
        kind = worse(kind, decode_owner(segments, target));
    else if (!take_defaults(default_application, default_user, target))
        return HTTP_TARGET_UNKNOWN;
    if (behind > 0)
        target->resource = segments[count - 1];
    kind = worse(kind, decode_items(segments[count - 1 - behind], target));
    bool picture = target->service == HTTP_SERVICE_POSTER || target->service == HTTP_SERVICE_STORYBOARD;
    if (picture && target->picture_broken)
        return HTTP_TARGET_BROKEN;
    if (picture && target->item_count > 1)
        kind = worse(kind, HTTP_TARGET_UNKNOWN);
    if (kind == HTTP_TARGET_STREAM && (!proto_name_valid(target->key.application, PROTO_APPLICATION_SIZE) ||
                                       (behind == 0 && target->item_count > 1)))
        kind = HTTP_TARGET_UNKNOWN;
    return kind;
}

/* SEGMENTS: tus, and what http_target_parse_user() takes; or application, user, file ID, token and what an upload's address keeps. */
static enum http_target_kind parse_tus(const struct http_text *segments, size_t count,
                                       const char *default_application, const char *default_user,
                                       struct http_target *target)
{
    enum http_target_kind kind;
    bool ends = segments[count - 1].size == 0;
    if (count == 1 || count == 3 || (ends && (count == 2 || count == 4))) {
        kind = http_target_parse_user(segments, count, default_application, default_user, target);
        return kind == HTTP_TARGET_USER ? HTTP_TARGET_TUS : kind;
    }
    if (count < 5 || count > SEGMENTS_MAX)
        return HTTP_TARGET_UNKNOWN;
    kind = worse(decode_owner(segments, target),
                 decode_field(segments[3], target->key.file, sizeof(target->key.file)));
    target->tus_token = segments[4];
    if (count > 5)
        target->tus_metadata = segments[5];
    if (count > 6)
        target->tus_concat = segments[6];
    if (kind != HTTP_TARGET_FILE)
        return kind;
    return proto_name_valid(target->key.application, PROTO_APPLICATION_SIZE) ? HTTP_TARGET_TUS
                                                                             : HTTP_TARGET_UNKNOWN;
}

/* SEGMENTS from FIRST on are kept as they came. */
static enum http_target_kind keep_parts(const struct http_text *segments, size_t count, size_t first,
                                        enum http_target_kind kind, struct http_text query,
                                        struct http_target *target)
{
    target->query = query;
    target->part_count = 0;
    if (count > first + HTTP_TARGET_PARTS_MAX)
        return HTTP_TARGET_UNKNOWN;
    for (size_t i = first; i < count; i++)
        target->parts[target->part_count++] = segments[i];
    return kind;
}

/* ---- targets that were taken apart before ---- */

#define PLAIN_START (sizeof("/files/") - 1)

/* Whether NAME and END stand at *AT, behind which *AT is then moved. */
static bool plain_has(struct http_text text, size_t *at, const char *name, char end)
{
    size_t size = strlen(name);
    if (text.size - *at <= size || memcmp(text.bytes + *at, name, size) != 0 || text.bytes[*at + size] != end)
        return false;
    *at += size + 1;
    return true;
}

struct http_target_plain http_target_plain_of(struct http_text text, const struct http_target *target)
{
    const struct http_target_plain other = {0, 0, 0};
    size_t at = PLAIN_START, application, user;
    if (text.size > UINT8_MAX || text.size < PLAIN_START || memcmp(text.bytes, "/files/", PLAIN_START) != 0 ||
        target->download || target->clip || target->name[0] != '\0' || target->put_name[0] != '\0')
        return other;
    if (!plain_has(text, &at, target->key.application, '/'))
        return other;
    application = at - 1;
    if (!plain_has(text, &at, target->key.user, '/'))
        return other;
    user = at - 1;
    if (!plain_has(text, &at, target->key.file, '?'))
        return other;
    return (struct http_target_plain){(uint8_t)application, (uint8_t)user, (uint8_t)(at - 1)};
}

/* The bytes of TEXT from FROM up to END, and zeros up to SIZE. */
static void plain_take(struct http_text text, size_t from, size_t end, char *field, size_t size)
{
    memcpy(field, text.bytes + from, end - from);
    memset(field + (end - from), 0, size - (end - from));
}

void http_target_take_plain(struct http_text text, struct http_target_plain plain, struct http_target *target)
{
    struct proto_file_key *key = &target->key;
    plain_take(text, PLAIN_START, plain.application, key->application, sizeof(key->application));
    plain_take(text, plain.application + 1U, plain.user, key->user, sizeof(key->user));
    plain_take(text, plain.user + 1U, plain.file, key->file, sizeof(key->file));
    target->name[0] = target->download_name[0] = target->put_name[0] = '\0';
    target->download = target->clip = false;
    target->clip_start = 0;
    target->clip_end = INT64_MAX;
    memset(&target->link, 0, sizeof(target->link));
}

/* ---- the whole ---- */

enum http_target_kind http_target_parse(struct http_text text, const char *default_application,
                                        const char *default_user, struct http_target *target)
{
    target->tus_token = target->tus_metadata = target->tus_concat = (struct http_text){NULL, 0};
    if (http_text_equal(text, "*"))
        return HTTP_TARGET_SERVER;
    if (!characters_are_legal(text) || !strip_authority(&text))
        return HTTP_TARGET_BROKEN;

    const char *question = text.size > 0 ? memchr(text.bytes, '?', text.size) : NULL;
    struct http_text path = {text.bytes, question ? (size_t)(question - text.bytes) : text.size};
    struct http_text query = {path.bytes + path.size + 1, question ? text.size - path.size - 1 : 0};
    if (!parse_query(query, target))
        return HTTP_TARGET_BROKEN;

    struct http_text segments[SEGMENTS_MAX + 1] = {0};
    size_t count = http_target_split_path(http_link_strip(path, &target->link), segments);
    char scratch[PROTO_USER_SIZE] = "";
    for (size_t i = count; i-- > 0;) {
        if (i > 0 && target_is_plain(segments[i]))
            continue;
        if (decode_field(segments[i], scratch, sizeof(scratch)) == HTTP_TARGET_BROKEN)
            return HTTP_TARGET_BROKEN;
    }
    enum http_target_kind kind;
    memset(target->name, 0, sizeof(target->name));
    if (is_service(scratch, &target->service)) /* the first segment was the last one decoded */
        return parse_stream(segments, count, default_application, default_user, target);
    if (strcmp(scratch, "tus") == 0)
        return parse_tus(segments, count, default_application, default_user, target);
    if (strcmp(scratch, "api") == 0)
        return keep_parts(segments, count, 1, HTTP_TARGET_API, query, target);
    if (strcmp(scratch, "web") == 0)
        return keep_parts(segments, count, 1, HTTP_TARGET_PAGE, query, target);
    if (count == 1 && (scratch[0] == '\0' || strcmp(scratch, "admin") == 0))
        return keep_parts(segments, count, scratch[0] == '\0' ? 1 : 0, HTTP_TARGET_PAGE, query, target);
    if (strcmp(scratch, "files") != 0)
        return HTTP_TARGET_UNKNOWN;
    bool ends = segments[count - 1].size == 0; /* with a slash */
    if (count == 1 || count == 3 || (ends && (count == 2 || count == 4)))
        return http_target_parse_user(segments, count, default_application, default_user, target);
    if (count == 2) {
        if (!take_defaults(default_application, default_user, target))
            return HTTP_TARGET_UNKNOWN;
        kind = decode_field(segments[1], target->key.file, sizeof(target->key.file));
    } else if (count == 4 || count == 5) {
        kind = decode_owner(segments, target);
        kind = worse(kind, decode_field(segments[3], target->key.file, sizeof(target->key.file)));
        if (count == 5 && !decode_name(segments[4], false, target->name))
            return HTTP_TARGET_BROKEN;
    } else {
        return HTTP_TARGET_UNKNOWN;
    }
    if (kind == HTTP_TARGET_FILE && !proto_name_valid(target->key.application, PROTO_APPLICATION_SIZE))
        kind = HTTP_TARGET_UNKNOWN;
    return kind;
}
