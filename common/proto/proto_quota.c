/*
 * proto_quota: the bodies of the storage server's commands about quotas.
 */
#include "common/proto/proto_quota.h"
#include "common/proto/proto_fields.h"

#include <string.h>

bool proto_set_quota_pack(uint8_t buffer[PROTO_SET_QUOTA_SIZE], const struct proto_set_quota *set,
                          struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_SET_QUOTA_SIZE, error);
    proto_write_key(&writer, &proto_field_file_or_none, &set->key);
    proto_write_i64(&writer, "bytes", set->bytes, PROTO_QUOTA_KEEP, INT64_MAX);
    proto_write_i64(&writer, "files", set->files, PROTO_QUOTA_KEEP, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_set_quota_unpack(const uint8_t *body, size_t size, struct proto_set_quota *set,
                            struct error *error)
{
    struct proto_reader reader;
    memset(set, 0, sizeof(*set));
    proto_read_begin(&reader, "SET_QUOTA", body, size, PROTO_SET_QUOTA_SIZE, error);
    proto_read_key(&reader, &proto_field_file_or_none, &set->key);
    set->bytes = proto_read_i64(&reader, "bytes", PROTO_QUOTA_KEEP, INT64_MAX);
    set->files = proto_read_i64(&reader, "files", PROTO_QUOTA_KEEP, INT64_MAX);
    return proto_read_end(&reader);
}

static void write_quota(struct proto_writer *writer, const struct proto_quota *quota)
{
    proto_write_i64(writer, "bytes used", quota->bytes_used, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(writer, "files used", quota->files_used, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(writer, "bytes", quota->bytes, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(writer, "files", quota->files, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_u8(writer, "own bytes", quota->own_bytes ? 1 : 0, 1);
    proto_write_u8(writer, "own files", quota->own_files ? 1 : 0, 1);
}

static void read_quota(struct proto_reader *reader, struct proto_quota *quota)
{
    quota->bytes_used = proto_read_i64(reader, "bytes used", PROTO_QUOTA_NONE, INT64_MAX);
    quota->files_used = proto_read_i64(reader, "files used", PROTO_QUOTA_NONE, INT64_MAX);
    quota->bytes = proto_read_i64(reader, "bytes", PROTO_QUOTA_NONE, INT64_MAX);
    quota->files = proto_read_i64(reader, "files", PROTO_QUOTA_NONE, INT64_MAX);
    quota->own_bytes = proto_read_u8(reader, "own bytes", 1) == 1;
    quota->own_files = proto_read_u8(reader, "own files", 1) == 1;
}

bool proto_quota_pack(uint8_t buffer[PROTO_QUOTA_REPLY_SIZE], const struct proto_quota *quota,
                      struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_QUOTA_REPLY_SIZE, error);
    write_quota(&writer, quota);
    return proto_write_end(&writer);
}

bool proto_quota_unpack(const uint8_t *body, size_t size, struct proto_quota *quota, struct error *error)
{
    struct proto_reader reader;
    memset(quota, 0, sizeof(*quota));
    proto_read_begin(&reader, "QUOTA reply", body, size, PROTO_QUOTA_REPLY_SIZE, error);
    read_quota(&reader, quota);
    return proto_read_end(&reader);
}

/* ---- QUOTAS ---- */

static const struct proto_field application_or_none = {"application", PROTO_APPLICATION_SIZE,
                                                       PROTO_RULE_NAME_OR_EMPTY};
static const struct proto_field user_or_none = {"user", PROTO_USER_SIZE, PROTO_RULE_BYTES};

bool proto_quotas_pack(uint8_t buffer[PROTO_QUOTAS_SIZE], const struct proto_users_entry *after,
                       struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_QUOTAS_SIZE, error);
    proto_write_string(&writer, &application_or_none, after->application);
    proto_write_string(&writer, &user_or_none, after->user);
    return proto_write_end(&writer);
}

bool proto_quotas_unpack(const uint8_t *body, size_t size, struct proto_users_entry *after,
                         struct error *error)
{
    struct proto_reader reader;
    memset(after, 0, sizeof(*after));
    proto_read_begin(&reader, "QUOTAS", body, size, PROTO_QUOTAS_SIZE, error);
    proto_read_string(&reader, &application_or_none, after->application);
    proto_read_string(&reader, &user_or_none, after->user);
    return proto_read_end(&reader);
}

bool proto_quotas_entry_pack(uint8_t buffer[PROTO_QUOTAS_ENTRY_SIZE], const struct proto_quotas_entry *entry,
                             struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_QUOTAS_ENTRY_SIZE, error);
    proto_write_string(&writer, &proto_field_application, entry->of.application);
    proto_write_string(&writer, &proto_field_user, entry->of.user);
    write_quota(&writer, &entry->quota);
    proto_write_i64(&writer, "held", entry->held, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_quotas_entry_unpack(const uint8_t *body, size_t size, struct proto_quotas_entry *entry,
                               struct error *error)
{
    struct proto_reader reader;
    memset(entry, 0, sizeof(*entry));
    proto_read_begin(&reader, "entry of QUOTAS", body, size, PROTO_QUOTAS_ENTRY_SIZE, error);
    proto_read_string(&reader, &proto_field_application, entry->of.application);
    proto_read_string(&reader, &proto_field_user, entry->of.user);
    read_quota(&reader, &entry->quota);
    entry->held = proto_read_i64(&reader, "held", 0, INT64_MAX);
    return proto_read_end(&reader);
}
