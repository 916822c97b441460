/*
 * api_text: objects of Jansson, printed in one piece: a page of a list has 200 files at most, about 150 KB.
 */
#include "httpd/api/api_text.h"
#include "common/proto/digest.h"
#include "common/base/utf8.h"
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* TEXT as a JSON string whatever its bytes are. */
static json_t *text_json(const char *text)
{
    size_t size = strlen(text), used = 0;
    if (utf8_valid(text, size, true))
        return json_stringn(text, size);
    char *clean = malloc(size * (sizeof(REPLACEMENT) - 1) + 1);
    if (!clean)
        return NULL;
    for (size_t i = 0; i < size;) {
        size_t length = utf8_sequence(text + i, size - i, NULL);
        const char *from = length > 0 ? text + i : REPLACEMENT;
        size_t count = length > 0 ? length : sizeof(REPLACEMENT) - 1;
        memcpy(clean + used, from, count);
        used += count;
        i += length > 0 ? length : 1;
    }
    json_t *string = json_stringn(clean, used);
    free(clean);
    return string;
}

char *api_text_of(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* ---- paths ---- */

/* TEXT as a segment, behind a slash, at AT; returns how many bytes were written, three for each of TEXT at most and one. */
static size_t put_segment(char *at, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    at[used++] = '/';
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c);
        if (plain) {
            at[used++] = (char)c;
        } else {
            at[used++] = '%';
            at[used++] = digits[c >> 4];
            at[used++] = digits[c & 15];
        }
    }
    return used;
}

char *api_text_path(const struct proto_file_key *key)
{
    char *path = malloc(3 * (strlen(key->application) + strlen(key->user) + strlen(key->file)) + 4);
    if (!path)
        return NULL;
    size_t used = put_segment(path, key->application);
    used += put_segment(path + used, key->user);
    if (key->file[0] != '\0')
        used += put_segment(path + used, key->file);
    path[used] = '\0';
    return path;
}

/* ---- files ---- */

static json_t *digest_json(const struct proto_stat *stat)
{
    char text[DIGEST_HEX_SIZE];
    if (!stat->has_digest)
        return json_null();
    return json_string(digest_to_hex(stat->digest, text));
}

static json_t *time_json(int64_t seconds)
{
    return seconds > 0 ? json_integer((json_int_t)seconds) : json_null();
}

static json_t *file_json(const struct proto_file_key *owner, const char *file, const struct proto_stat *stat)
{
    struct proto_file_key key = *owner;
    memset(key.file, 0, sizeof(key.file));
    memcpy(key.file, file, strnlen(file, sizeof(key.file) - 1));
    char *path = api_text_path(&key);
    if (!path)
        return NULL;
    json_t *object = json_pack("{s:o, s:s, s:o, s:I, s:o, s:s, s:o, s:o, s:o, s:o}", "id",
                               text_json(key.file), "path", path, "name", text_json(stat->name), "size",
                               (json_int_t)stat->size, "type", text_json(stat->content_type), "state",
                               stat->status == PROTO_FILE_DELETED ? "deleted" : "stored", "created",
                               time_json(stat->created), "deleted", time_json(stat->deleted), "expires",
                               time_json(stat->expires), "digest", digest_json(stat));
    free(path);
    return object;
}

char *api_text_file(const struct proto_file_key *key, const struct proto_stat *stat)
{
    return api_text_of(file_json(key, key->file, stat));
}

char *api_text_list(const struct proto_file_key *key, const struct api_page *page,
                    const struct api_list_result *result)
{
    char cursor[API_CURSOR_TEXT_SIZE];
    json_t *files = json_array();
    for (size_t i = 0; i < result->count; i++) {
        json_t *file = file_json(key, result->entries[i]->file, &result->entries[i]->stat);
        if (json_array_append_new(files, file) != 0) {
            json_decref(files);
            return NULL;
        }
    }
    const char *next = NULL;
    if (result->more && result->count > 0)
        next = api_cursor_format(page, result->entries[result->count - 1], cursor);
    json_t *matched = result->all ? json_integer((json_int_t)result->matched) : json_null();
    json_t *bytes = result->all ? json_integer((json_int_t)result->bytes) : json_null();
    return api_text_of(
        json_pack("{s:o, s:s?, s:o, s:o}", "files", files, "next", next, "matched", matched, "bytes", bytes));
}

static json_t *api_text_count_json(int64_t count)
{
    return count == PROTO_QUOTA_NONE ? json_null() : json_integer((json_int_t)count);
}

char *api_text_quota(const struct proto_quota *quota)
{
    return api_text_of(json_pack("{s:o, s:o, s:o, s:o}", "bytes_used", api_text_count_json(quota->bytes_used),
                                 "files_used", api_text_count_json(quota->files_used), "bytes",
                                 api_text_count_json(quota->bytes), "files",
                                 api_text_count_json(quota->files)));
}

/* ---- the session ---- */

char *api_text_session(const struct api_session_facts *facts)
{
    const struct proto_token *token = facts->token;
    char rights[8] = "rwdl";
    if (token)
        (void)key_rights_format(token->rights, rights);
    json_t *prefix = token && token->has_prefix ? text_json(token->prefix) : json_null();
    struct proto_file_key key = {0};
    memcpy(key.application, facts->application, strnlen(facts->application, sizeof(key.application) - 1));
    memcpy(key.user, facts->user, strnlen(facts->user, sizeof(key.user) - 1));
    char *path = key.application[0] != '\0' && key.user[0] != '\0' ? api_text_path(&key) : NULL;
    json_t *object =
        json_pack("{s:o, s:o, s:s?, s:s, s:o, s:o, s:s?, s:b, s:b, s:b, s:b, s:I, s:I}", "application",
                  text_json(facts->application), "user", text_json(facts->user), "path", path, "rights",
                  rights, "prefix", prefix, "expires", time_json(token ? token->expires : 0), "media",
                  facts->media, "writes", (int)facts->writes, "shares", (int)facts->shares, "operates",
                  (int)facts->operates, "hls", (int)facts->hls, "upload_size_max",
                  (json_int_t)facts->upload_size_max, "share_max", (json_int_t)facts->share_max);
    free(path);
    return api_text_of(object);
}

char *api_text_link(const char *path, int64_t expires)
{
    return api_text_of(json_pack("{s:s, s:o}", "path", path, "expires", time_json(expires)));
}
