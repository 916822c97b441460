/*
 * proto_storage: the bodies of the storage server's commands. Part of proto (proto.h).
 */
#include "common/proto/proto_fields.h"

#include <string.h>

bool proto_upload_pack(uint8_t buffer[PROTO_UPLOAD_SIZE], const struct proto_upload *upload,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_UPLOAD_SIZE, error);
    proto_write_key(&writer, &proto_field_file, &upload->key);
    proto_write_i64(&writer, "size", upload->size, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_upload_unpack(const uint8_t *body, size_t size, struct proto_upload *upload, struct error *error)
{
    struct proto_reader reader;
    memset(upload, 0, sizeof(*upload));
    proto_read_begin(&reader, "UPLOAD", body, size, PROTO_UPLOAD_SIZE, error);
    proto_read_key(&reader, &proto_field_file, &upload->key);
    upload->size = proto_read_i64(&reader, "size", 0, INT64_MAX);
    return proto_read_end(&reader);
}

/* Has digest 1, digest 16; a digest that is absent is zeros, whatever stands in its place. */
static void read_digest(struct proto_reader *reader, bool *has_digest, uint8_t digest[PROTO_DIGEST_SIZE])
{
    *has_digest = proto_read_u8(reader, "has digest", 1) == 1;
    proto_read_bytes(reader, digest, PROTO_DIGEST_SIZE);
    if (!*has_digest)
        memset(digest, 0, PROTO_DIGEST_SIZE);
}

static void write_digest(struct proto_writer *writer, bool has_digest,
                         const uint8_t digest[PROTO_DIGEST_SIZE])
{
    proto_write_u8(writer, "has digest", has_digest ? 1 : 0, 1);
    if (has_digest)
        proto_write_bytes(writer, digest, PROTO_DIGEST_SIZE);
    else
        proto_write_zeros(writer, PROTO_DIGEST_SIZE);
}

/* The group stands behind the NUL of the content type, which was the last field that passed. */
static void write_put_group(const struct proto_writer *writer, const struct proto_put *put)
{
    if (writer->ok && strlen(put->content_type) <= PROTO_PUT_TYPE_MAX)
        memcpy(writer->at - PROTO_GROUP_SIZE, put->group, strnlen(put->group, PROTO_GROUP_SIZE - 1));
}

/* Anything else than a name of a group with zeros behind it says nothing, like all that follows a NUL. */
static void read_put_group(const struct proto_reader *reader, struct proto_put *put)
{
    static const char zeros[PROTO_GROUP_SIZE];
    if (!reader->ok || strlen(put->content_type) > PROTO_PUT_TYPE_MAX)
        return;
    memcpy(put->group, reader->at - PROTO_GROUP_SIZE, PROTO_GROUP_SIZE);
    size_t length = strnlen(put->group, PROTO_GROUP_SIZE);
    if (!proto_name_valid(put->group, PROTO_GROUP_SIZE) ||
        memcmp(put->group + length, zeros, PROTO_GROUP_SIZE - length) != 0)
        memset(put->group, 0, sizeof(put->group));
}

/* ---- times of expiry, behind the NUL of a string ---- */

bool proto_expires_valid(int64_t expires)
{
    return expires == PROTO_EXPIRES_NEVER || (expires >= -PROTO_EXPIRES_MAX && expires <= PROTO_EXPIRES_MAX);
}

/* END: of what the time stands before, in the string's field. */
static void put_expires(uint8_t *end, int64_t expires)
{
    end[-PROTO_EXPIRES_SIZE] = 'E';
    proto_store_be(end - 8, 8, (uint64_t)expires);
}

static int64_t get_expires(const uint8_t *end)
{
    int64_t expires = (int64_t)proto_load_be(end - 8, 8);
    return end[-PROTO_EXPIRES_SIZE] == 'E' && proto_expires_valid(expires) ? expires : 0;
}

static void write_put_expires(struct proto_writer *writer, const struct proto_put *put)
{
    if (!writer->ok || put->expires == 0)
        return;
    if (!proto_expires_valid(put->expires))
        writer->ok = error_set(writer->error, ERROR_MALFORMED,
                               "expires: %lld; seconds since the epoch up to %lld expected",
                               (long long)put->expires, (long long)PROTO_EXPIRES_MAX);
    else if (strlen(put->content_type) > PROTO_PUT_EXPIRES_TYPE_MAX)
        writer->ok = error_set(writer->error, ERROR_MALFORMED,
                               "content type: %zu bytes; at most %d expected of a file that expires",
                               strlen(put->content_type), PROTO_PUT_EXPIRES_TYPE_MAX);
    else
        put_expires(writer->at - PROTO_GROUP_SIZE, put->expires);
}

static void read_put_expires(const struct proto_reader *reader, struct proto_put *put)
{
    if (reader->ok && strlen(put->content_type) <= PROTO_PUT_EXPIRES_TYPE_MAX)
        put->expires = get_expires(reader->at - PROTO_GROUP_SIZE);
}

/* LEAST: of the size; -1 where it may be not known yet. */
static void write_put(struct proto_writer *writer, const struct proto_put *put, int64_t least)
{
    proto_write_key(writer, &proto_field_file, &put->key);
    proto_write_i64(writer, "size", put->size, least, INT64_MAX);
    proto_write_string(writer, &proto_field_name, put->name);
    proto_write_string(writer, &proto_field_content_type, put->content_type);
    write_put_group(writer, put);
    write_put_expires(writer, put);
    write_digest(writer, put->has_digest, put->digest);
}

static void read_put(struct proto_reader *reader, struct proto_put *put, int64_t least)
{
    proto_read_key(reader, &proto_field_file, &put->key);
    put->size = proto_read_i64(reader, "size", least, INT64_MAX);
    proto_read_string(reader, &proto_field_name, put->name);
    proto_read_string(reader, &proto_field_content_type, put->content_type);
    read_put_group(reader, put);
    read_put_expires(reader, put);
    read_digest(reader, &put->has_digest, put->digest);
}

bool proto_put_pack(uint8_t buffer[PROTO_PUT_SIZE], const struct proto_put *put, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_PUT_SIZE, error);
    write_put(&writer, put, 0);
    return proto_write_end(&writer);
}

bool proto_put_unpack(const uint8_t *body, size_t size, struct proto_put *put, struct error *error)
{
    struct proto_reader reader;
    memset(put, 0, sizeof(*put));
    proto_read_begin(&reader, "PUT", body, size, PROTO_PUT_SIZE, error);
    read_put(&reader, put, 0);
    return proto_read_end(&reader);
}

bool proto_store_pack(uint8_t buffer[PROTO_STORE_SIZE], const struct proto_store *store, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_STORE_SIZE, error);
    write_put(&writer, &store->put, 0);
    proto_write_u8(&writer, "asks", store->asks ? 1 : 0, 1);
    return proto_write_end(&writer);
}

bool proto_store_unpack(const uint8_t *body, size_t size, struct proto_store *store, struct error *error)
{
    struct proto_reader reader;
    memset(store, 0, sizeof(*store));
    proto_read_begin(&reader, "STORE", body, size, PROTO_STORE_SIZE, error);
    read_put(&reader, &store->put, 0);
    store->asks = proto_read_u8(&reader, "asks", 1) == 1;
    return proto_read_end(&reader);
}

void proto_store_reply_pack(uint8_t buffer[PROTO_STORE_REPLY_SIZE], const struct proto_store_reply *reply)
{
    memset(buffer, 0, PROTO_STORE_REPLY_SIZE);
    buffer[0] = reply->repeated ? 1 : 0;
    buffer[1] = reply->has_digest ? 1 : 0;
    if (reply->has_digest)
        memcpy(buffer + 2, reply->digest, PROTO_DIGEST_SIZE);
    proto_store_be(buffer + 2 + PROTO_DIGEST_SIZE, 8, (uint64_t)reply->created);
}

bool proto_store_reply_unpack(const uint8_t *body, size_t size, struct proto_store_reply *reply,
                              struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "STORE reply", body, size, PROTO_STORE_REPLY_SIZE, error);
    reply->repeated = proto_read_u8(&reader, "repeated", 1) == 1;
    read_digest(&reader, &reply->has_digest, reply->digest);
    reply->created = proto_read_i64(&reader, "created", INT64_MIN, INT64_MAX);
    return proto_read_end(&reader);
}

static void write_download(struct proto_writer *writer, const struct proto_download *download)
{
    proto_write_key(writer, &proto_field_file, &download->key);
    proto_write_i64(writer, "offset", download->offset, 0, INT64_MAX);
    proto_write_i64(writer, "size", download->size, 0, INT64_MAX);
}

static void read_download(struct proto_reader *reader, struct proto_download *download)
{
    proto_read_key(reader, &proto_field_file, &download->key);
    download->offset = proto_read_i64(reader, "offset", 0, INT64_MAX);
    download->size = proto_read_i64(reader, "size", 0, INT64_MAX);
}

bool proto_download_pack(uint8_t buffer[PROTO_DOWNLOAD_SIZE], const struct proto_download *download,
                         struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_DOWNLOAD_SIZE, error);
    write_download(&writer, download);
    return proto_write_end(&writer);
}

bool proto_download_unpack(const uint8_t *body, size_t size, struct proto_download *download,
                           struct error *error)
{
    struct proto_reader reader;
    memset(download, 0, sizeof(*download));
    proto_read_begin(&reader, "DOWNLOAD", body, size, PROTO_DOWNLOAD_SIZE, error);
    read_download(&reader, download);
    return proto_read_end(&reader);
}

bool proto_read_request_pack(uint8_t buffer[PROTO_READ_SIZE], const struct proto_read_request *read,
                             struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_READ_SIZE, error);
    write_download(&writer, &read->download);
    proto_write_bytes(&writer, read->digest, PROTO_DIGEST_SIZE);
    return proto_write_end(&writer);
}

bool proto_read_request_unpack(const uint8_t *body, size_t size, struct proto_read_request *read,
                               struct error *error)
{
    struct proto_reader reader;
    memset(read, 0, sizeof(*read));
    proto_read_begin(&reader, "READ", body, size, PROTO_READ_SIZE, error);
    read_download(&reader, &read->download);
    proto_read_bytes(&reader, read->digest, PROTO_DIGEST_SIZE);
    return proto_read_end(&reader);
}

static void read_stat(struct proto_reader *reader, struct proto_stat *stat)
{
    stat->size = proto_read_i64(reader, "size", 0, INT64_MAX);
    stat->status = proto_read_u8(reader, "status", PROTO_FILE_DELETED);
    stat->created = proto_read_i64(reader, "created", 0, INT64_MAX);
    stat->deleted = proto_read_i64(reader, "deleted", 0, INT64_MAX);
    read_digest(reader, &stat->has_digest, stat->digest);
    proto_read_string(reader, &proto_field_content_type, stat->content_type);
    if (reader->ok && strlen(stat->content_type) <= PROTO_STAT_TYPE_MAX)
        stat->expires = max_i64(get_expires(reader->at), 0);
    proto_read_string(reader, &proto_field_name, stat->name);
    proto_read_string(reader, &proto_field_group_or_none, stat->group);
}

static void write_stat(struct proto_writer *writer, const struct proto_stat *stat)
{
    proto_write_i64(writer, "size", stat->size, 0, INT64_MAX);
    proto_write_u8(writer, "status", stat->status, PROTO_FILE_DELETED);
    proto_write_i64(writer, "created", stat->created, 0, INT64_MAX);
    proto_write_i64(writer, "deleted", stat->deleted, 0, INT64_MAX);
    write_digest(writer, stat->has_digest, stat->digest);
    proto_write_string(writer, &proto_field_content_type, stat->content_type);
    if (writer->ok && stat->expires > 0 && strlen(stat->content_type) <= PROTO_STAT_TYPE_MAX)
        put_expires(writer->at, stat->expires);
    proto_write_string(writer, &proto_field_name, stat->name);
    proto_write_string(writer, &proto_field_group_or_none, stat->group);
}

bool proto_stat_reply_pack(uint8_t buffer[PROTO_STAT_REPLY_SIZE], const struct proto_stat *stat,
                           struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_STAT_REPLY_SIZE, error);
    write_stat(&writer, stat);
    return proto_write_end(&writer);
}

bool proto_stat_reply_unpack(const uint8_t *body, size_t size, struct proto_stat *stat, struct error *error)
{
    struct proto_reader reader;
    memset(stat, 0, sizeof(*stat));
    proto_read_begin(&reader, "STAT reply", body, size, PROTO_STAT_REPLY_SIZE, error);
    read_stat(&reader, stat);
    return proto_read_end(&reader);
}

bool proto_list_pack(uint8_t buffer[PROTO_LIST_SIZE], const struct proto_list *list, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LIST_SIZE, error);
    proto_write_key(&writer, &proto_field_file_or_none, &list->key);
    proto_write_i32(&writer, "limit", list->limit, 1, PROTO_LIST_LIMIT_MAX);
    proto_write_u8(&writer, "status", list->status, PROTO_FILE_DELETED);
    return proto_write_end(&writer);
}

bool proto_list_unpack(const uint8_t *body, size_t size, struct proto_list *list, struct error *error)
{
    struct proto_reader reader;
    memset(list, 0, sizeof(*list));
    proto_read_begin(&reader, "LIST", body, size, PROTO_LIST_SIZE, error);
    proto_read_key(&reader, &proto_field_file_or_none, &list->key);
    list->limit = proto_read_i32(&reader, "limit", 1, PROTO_LIST_LIMIT_MAX);
    list->status = proto_read_u8(&reader, "status", PROTO_FILE_DELETED);
    return proto_read_end(&reader);
}

bool proto_list_entry_pack(uint8_t buffer[PROTO_LIST_ENTRY_SIZE], const struct proto_list_entry *entry,
                           struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LIST_ENTRY_SIZE, error);
    proto_write_string(&writer, &proto_field_file, entry->file);
    write_stat(&writer, &entry->stat);
    return proto_write_end(&writer);
}

bool proto_list_entry_unpack(const uint8_t *body, size_t size, struct proto_list_entry *entry,
                             struct error *error)
{
    struct proto_reader reader;
    memset(entry, 0, sizeof(*entry));
    proto_read_begin(&reader, "entry of LIST", body, size, PROTO_LIST_ENTRY_SIZE, error);
    proto_read_string(&reader, &proto_field_file, entry->file);
    read_stat(&reader, &entry->stat);
    return proto_read_end(&reader);
}

bool proto_where_reply_pack(uint8_t buffer[PROTO_WHERE_REPLY_SIZE], const struct proto_where *where,
                            struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_WHERE_REPLY_SIZE, error);
    write_stat(&writer, &where->stat);
    proto_write_string(&writer, &proto_field_key, where->key);
    proto_write_string(&writer, &proto_field_place, where->place);
    return proto_write_end(&writer);
}

bool proto_where_reply_unpack(const uint8_t *body, size_t size, struct proto_where *where,
                              struct error *error)
{
    struct proto_reader reader;
    memset(where, 0, sizeof(*where));
    proto_read_begin(&reader, "WHERE reply", body, size, PROTO_WHERE_REPLY_SIZE, error);
    read_stat(&reader, &where->stat);
    proto_read_string(&reader, &proto_field_key, where->key);
    proto_read_string(&reader, &proto_field_place, where->place);
    return proto_read_end(&reader);
}

bool proto_fsck_pack(uint8_t buffer[PROTO_FSCK_SIZE], const struct proto_fsck *fsck, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_FSCK_SIZE, error);
    proto_write_key(&writer, &proto_field_file_or_none, &fsck->key);
    proto_write_u8(&writer, "action", fsck->action, PROTO_FSCK_CONFIRM);
    return proto_write_end(&writer);
}

bool proto_fsck_unpack(const uint8_t *body, size_t size, struct proto_fsck *fsck, struct error *error)
{
    struct proto_reader reader;
    memset(fsck, 0, sizeof(*fsck));
    proto_read_begin(&reader, "FSCK", body, size, PROTO_FSCK_SIZE, error);
    proto_read_key(&reader, &proto_field_file_or_none, &fsck->key);
    fsck->action = proto_read_u8(&reader, "action", PROTO_FSCK_CONFIRM);
    return proto_read_end(&reader);
}

/* ---- partial uploads ---- */

bool proto_begin_pack(uint8_t buffer[PROTO_BEGIN_SIZE], const struct proto_begin *begin, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_BEGIN_SIZE, error);
    write_put(&writer, &begin->put, -1);
    proto_write_i64(&writer, "keep", begin->keep, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_begin_unpack(const uint8_t *body, size_t size, struct proto_begin *begin, struct error *error)
{
    struct proto_reader reader;
    memset(begin, 0, sizeof(*begin));
    proto_read_begin(&reader, "BEGIN", body, size, PROTO_BEGIN_SIZE, error);
    read_put(&reader, &begin->put, -1);
    begin->keep = proto_read_i64(&reader, "keep", 0, INT64_MAX);
    return proto_read_end(&reader);
}

static void write_state(struct proto_writer *writer, const struct proto_partial_state *state)
{
    proto_write_i64(writer, "offset", state->offset, 0, INT64_MAX);
    proto_write_i64(writer, "size", state->size, -1, INT64_MAX);
    proto_write_i64(writer, "expires", state->expires, 0, INT64_MAX);
    proto_write_u8(writer, "complete", state->complete ? 1 : 0, 1);
}

static void read_state(struct proto_reader *reader, struct proto_partial_state *state)
{
    state->offset = proto_read_i64(reader, "offset", 0, INT64_MAX);
    state->size = proto_read_i64(reader, "size", -1, INT64_MAX);
    state->expires = proto_read_i64(reader, "expires", 0, INT64_MAX);
    state->complete = proto_read_u8(reader, "complete", 1) == 1;
}

bool proto_partial_state_pack(uint8_t buffer[PROTO_PARTIAL_STATE_SIZE],
                              const struct proto_partial_state *state, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_PARTIAL_STATE_SIZE, error);
    write_state(&writer, state);
    return proto_write_end(&writer);
}

bool proto_partial_state_unpack(const uint8_t *body, size_t size, struct proto_partial_state *state,
                                struct error *error)
{
    struct proto_reader reader;
    memset(state, 0, sizeof(*state));
    proto_read_begin(&reader, "OFFSET reply", body, size, PROTO_PARTIAL_STATE_SIZE, error);
    read_state(&reader, state);
    return proto_read_end(&reader);
}

bool proto_begin_reply_pack(uint8_t buffer[PROTO_BEGIN_REPLY_SIZE], const struct proto_begin_reply *reply,
                            struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_BEGIN_REPLY_SIZE, error);
    proto_write_bytes(&writer, reply->token, sizeof(reply->token));
    write_state(&writer, &reply->state);
    return proto_write_end(&writer);
}

bool proto_begin_reply_unpack(const uint8_t *body, size_t size, struct proto_begin_reply *reply,
                              struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "BEGIN reply", body, size, PROTO_BEGIN_REPLY_SIZE, error);
    proto_read_bytes(&reader, reply->token, sizeof(reply->token));
    read_state(&reader, &reply->state);
    return proto_read_end(&reader);
}

static void write_partial(struct proto_writer *writer, const struct proto_partial *partial)
{
    proto_write_key(writer, &proto_field_file, &partial->key);
    proto_write_bytes(writer, partial->token, sizeof(partial->token));
}

static void read_partial(struct proto_reader *reader, struct proto_partial *partial)
{
    proto_read_key(reader, &proto_field_file, &partial->key);
    proto_read_bytes(reader, partial->token, sizeof(partial->token));
}

bool proto_partial_pack(uint8_t buffer[PROTO_PARTIAL_SIZE], const struct proto_partial *partial,
                        struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_PARTIAL_SIZE, error);
    write_partial(&writer, partial);
    return proto_write_end(&writer);
}

bool proto_partial_unpack(const uint8_t *body, size_t size, struct proto_partial *partial,
                          struct error *error)
{
    struct proto_reader reader;
    memset(partial, 0, sizeof(*partial));
    proto_read_begin(&reader, "key and token", body, size, PROTO_PARTIAL_SIZE, error);
    read_partial(&reader, partial);
    return proto_read_end(&reader);
}

bool proto_append_pack(uint8_t buffer[PROTO_APPEND_SIZE], const struct proto_append *append,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_APPEND_SIZE, error);
    write_partial(&writer, &append->partial);
    proto_write_i64(&writer, "offset", append->offset, 0, INT64_MAX);
    proto_write_i64(&writer, "total", append->total, -1, INT64_MAX);
    proto_write_i64(&writer, "size", append->size, 0, INT64_MAX);
    proto_write_u8(&writer, "digest follows", append->digest_follows ? 1 : 0, 1);
    return proto_write_end(&writer);
}

bool proto_append_unpack(const uint8_t *body, size_t size, struct proto_append *append, struct error *error)
{
    struct proto_reader reader;
    memset(append, 0, sizeof(*append));
    proto_read_begin(&reader, "APPEND", body, size, PROTO_APPEND_SIZE, error);
    read_partial(&reader, &append->partial);
    append->offset = proto_read_i64(&reader, "offset", 0, INT64_MAX);
    append->total = proto_read_i64(&reader, "total", -1, INT64_MAX);
    append->size = proto_read_i64(&reader, "size", 0, INT64_MAX);
    append->digest_follows = proto_read_u8(&reader, "digest follows", 1) == 1;
    return proto_read_end(&reader);
}

bool proto_finish_pack(uint8_t buffer[PROTO_FINISH_SIZE], const struct proto_finish *finish,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_FINISH_SIZE, error);
    write_partial(&writer, &finish->partial);
    write_digest(&writer, finish->has_digest, finish->digest);
    return proto_write_end(&writer);
}

bool proto_finish_unpack(const uint8_t *body, size_t size, struct proto_finish *finish, struct error *error)
{
    struct proto_reader reader;
    memset(finish, 0, sizeof(*finish));
    proto_read_begin(&reader, "FINISH", body, size, PROTO_FINISH_SIZE, error);
    read_partial(&reader, &finish->partial);
    read_digest(&reader, &finish->has_digest, finish->digest);
    return proto_read_end(&reader);
}

static bool check_parts(size_t count, struct error *error)
{
    return (count >= 1 && count <= PROTO_PARTS_MAX) ||
           error_set(error, ERROR_MALFORMED, "JOIN_PARTS: %zu parts; 1 to %d expected", count,
                     PROTO_PARTS_MAX);
}

size_t proto_join_parts_pack(uint8_t *buffer, size_t size, const struct proto_finish *target,
                             const uint8_t *tokens, size_t count, struct error *error)
{
    size_t bytes = count * PROTO_PARTIAL_TOKEN_SIZE;
    if (!check_parts(count, error))
        return 0;
    if (size < PROTO_FINISH_SIZE + bytes) {
        error_set(error, ERROR_GENERAL, "JOIN_PARTS: no room for %zu parts", count);
        return 0;
    }
    if (!proto_finish_pack(buffer, target, error))
        return 0;
    memcpy(buffer + PROTO_FINISH_SIZE, tokens, bytes);
    return PROTO_FINISH_SIZE + bytes;
}

bool proto_join_parts_unpack(const uint8_t *body, size_t size, struct proto_finish *target,
                             const uint8_t **tokens, size_t *count, struct error *error)
{
    size_t bytes = size > PROTO_FINISH_SIZE ? size - PROTO_FINISH_SIZE : 0;
    *count = bytes / PROTO_PARTIAL_TOKEN_SIZE;
    *tokens = body + (size - bytes);
    if (bytes % PROTO_PARTIAL_TOKEN_SIZE != 0)
        return error_set(error, ERROR_MALFORMED,
                         "JOIN_PARTS: body of %zu bytes; %d and 16 for each part expected", size,
                         PROTO_FINISH_SIZE);
    return check_parts(*count, error) && proto_finish_unpack(body, size - bytes, target, error);
}
bool proto_rename_pack(uint8_t buffer[PROTO_RENAME_SIZE], const struct proto_rename *rename,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_RENAME_SIZE, error);
    proto_write_key(&writer, &proto_field_file, &rename->key);
    proto_write_string(&writer, &proto_field_name, rename->name);
    return proto_write_end(&writer);
}

bool proto_rename_unpack(const uint8_t *body, size_t size, struct proto_rename *rename, struct error *error)
{
    struct proto_reader reader;
    memset(rename, 0, sizeof(*rename));
    proto_read_begin(&reader, "RENAME", body, size, PROTO_RENAME_SIZE, error);
    proto_read_key(&reader, &proto_field_file, &rename->key);
    proto_read_string(&reader, &proto_field_name, rename->name);
    return proto_read_end(&reader);
}

static bool check_expire(const struct proto_expire *expire, struct error *error)
{
    bool fine =
        expire->change ? expire->expires != 0 && proto_expires_valid(expire->expires) : expire->expires == 0;
    return fine ||
           error_set(
               error, ERROR_MALFORMED,
               "expires: %lld; seconds since the epoch up to %lld expected, and 0 only where it is asked",
               (long long)expire->expires, (long long)PROTO_EXPIRES_MAX);
}

bool proto_expire_pack(uint8_t buffer[PROTO_EXPIRE_SIZE], const struct proto_expire *expire,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_EXPIRE_SIZE, error);
    proto_write_key(&writer, &proto_field_file, &expire->key);
    proto_write_u8(&writer, "change", expire->change ? 1 : 0, 1);
    proto_write_i64(&writer, "expires", expire->expires, -PROTO_EXPIRES_MAX, PROTO_EXPIRES_NEVER);
    return proto_write_end(&writer) && check_expire(expire, error);
}

bool proto_expire_unpack(const uint8_t *body, size_t size, struct proto_expire *expire, struct error *error)
{
    struct proto_reader reader;
    memset(expire, 0, sizeof(*expire));
    proto_read_begin(&reader, "EXPIRE", body, size, PROTO_EXPIRE_SIZE, error);
    proto_read_key(&reader, &proto_field_file, &expire->key);
    expire->change = proto_read_u8(&reader, "change", 1) == 1;
    expire->expires = proto_read_i64(&reader, "expires", -PROTO_EXPIRES_MAX, PROTO_EXPIRES_NEVER);
    return proto_read_end(&reader) && check_expire(expire, error);
}

bool proto_left_pack(uint8_t buffer[PROTO_LEFT_SIZE], const struct proto_left *left, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LEFT_SIZE, error);
    proto_write_u8(&writer, "table", left->table, PROTO_LEFT_TABLES - 1);
    proto_write_i64(&writer, "after", left->after, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_left_unpack(const uint8_t *body, size_t size, struct proto_left *left, struct error *error)
{
    struct proto_reader reader;
    memset(left, 0, sizeof(*left));
    proto_read_begin(&reader, "LEFT", body, size, PROTO_LEFT_SIZE, error);
    left->table = proto_read_u8(&reader, "table", PROTO_LEFT_TABLES - 1);
    left->after = proto_read_i64(&reader, "after", 0, INT64_MAX);
    return proto_read_end(&reader);
}

bool proto_left_head_pack(uint8_t buffer[PROTO_LEFT_HEAD_SIZE], const struct proto_left_head *head,
                          struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LEFT_HEAD_SIZE, error);
    proto_write_u8(&writer, "next table", head->next.table, PROTO_LEFT_TABLES);
    proto_write_i64(&writer, "next after", head->next.after, 0, INT64_MAX);
    proto_write_i64(&writer, "rows", head->rows, 0, INT64_MAX);
    proto_write_i64(&writer, "former copies", head->former, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_left_head_unpack(const uint8_t *body, size_t size, struct proto_left_head *head,
                            struct error *error)
{
    struct proto_reader reader;
    memset(head, 0, sizeof(*head));
    proto_read_begin(&reader, "LEFT reply", body, size, PROTO_LEFT_HEAD_SIZE, error);
    head->next.table = proto_read_u8(&reader, "next table", PROTO_LEFT_TABLES);
    head->next.after = proto_read_i64(&reader, "next after", 0, INT64_MAX);
    head->rows = proto_read_i64(&reader, "rows", 0, INT64_MAX);
    head->former = proto_read_i64(&reader, "former copies", 0, INT64_MAX);
    return proto_read_end(&reader);
}

bool proto_left_entry_pack(uint8_t buffer[PROTO_LEFT_ENTRY_SIZE], const struct proto_users_entry *entry,
                           struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_LEFT_ENTRY_SIZE, error);
    proto_write_string(&writer, &proto_field_application, entry->application);
    proto_write_string(&writer, &proto_field_user, entry->user);
    return proto_write_end(&writer);
}

bool proto_left_entry_unpack(const uint8_t *body, size_t size, struct proto_users_entry *entry,
                             struct error *error)
{
    struct proto_reader reader;
    memset(entry, 0, sizeof(*entry));
    proto_read_begin(&reader, "entry of LEFT", body, size, PROTO_LEFT_ENTRY_SIZE, error);
    proto_read_string(&reader, &proto_field_application, entry->application);
    proto_read_string(&reader, &proto_field_user, entry->user);
    return proto_read_end(&reader);
}
