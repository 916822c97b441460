/*
 * proto_storage: how the commands about stored files look in bytes.
 */
#include "common/proto/proto_storage.h"
#include "common/proto/proto_expires.h"
#include "common/proto/proto_fields.h"

#include <string.h>

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
    proto_read_digest(reader, &stat->has_digest, stat->digest);
    proto_read_string(reader, &proto_field_content_type, stat->content_type);
    if (reader->ok && strlen(stat->content_type) <= PROTO_STAT_TYPE_MAX)
        stat->expires = max_i64(proto_load_expires(reader->at), 0);
    proto_read_string(reader, &proto_field_name, stat->name);
    proto_read_string(reader, &proto_field_group_or_none, stat->group);
}

static void write_stat(struct proto_writer *writer, const struct proto_stat *stat)
{
    proto_write_i64(writer, "size", stat->size, 0, INT64_MAX);
    proto_write_u8(writer, "status", stat->status, PROTO_FILE_DELETED);
    proto_write_i64(writer, "created", stat->created, 0, INT64_MAX);
    proto_write_i64(writer, "deleted", stat->deleted, 0, INT64_MAX);
    proto_write_digest(writer, stat->has_digest, stat->digest);
    proto_write_string(writer, &proto_field_content_type, stat->content_type);
    if (writer->ok && stat->expires > 0 && strlen(stat->content_type) <= PROTO_STAT_TYPE_MAX)
        proto_store_expires(writer->at, stat->expires);
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
