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

bool proto_quota_pack(uint8_t buffer[PROTO_QUOTA_REPLY_SIZE], const struct proto_quota *quota,
                      struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_QUOTA_REPLY_SIZE, error);
    proto_write_i64(&writer, "bytes used", quota->bytes_used, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(&writer, "files used", quota->files_used, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(&writer, "bytes", quota->bytes, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_i64(&writer, "files", quota->files, PROTO_QUOTA_NONE, INT64_MAX);
    proto_write_u8(&writer, "own bytes", quota->own_bytes ? 1 : 0, 1);
    proto_write_u8(&writer, "own files", quota->own_files ? 1 : 0, 1);
    return proto_write_end(&writer);
}

bool proto_quota_unpack(const uint8_t *body, size_t size, struct proto_quota *quota, struct error *error)
{
    struct proto_reader reader;
    memset(quota, 0, sizeof(*quota));
    proto_read_begin(&reader, "QUOTA reply", body, size, PROTO_QUOTA_REPLY_SIZE, error);
    quota->bytes_used = proto_read_i64(&reader, "bytes used", PROTO_QUOTA_NONE, INT64_MAX);
    quota->files_used = proto_read_i64(&reader, "files used", PROTO_QUOTA_NONE, INT64_MAX);
    quota->bytes = proto_read_i64(&reader, "bytes", PROTO_QUOTA_NONE, INT64_MAX);
    quota->files = proto_read_i64(&reader, "files", PROTO_QUOTA_NONE, INT64_MAX);
    quota->own_bytes = proto_read_u8(&reader, "own bytes", 1) == 1;
    quota->own_files = proto_read_u8(&reader, "own files", 1) == 1;
    return proto_read_end(&reader);
}
