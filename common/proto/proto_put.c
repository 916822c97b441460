/*
 * proto_put: how the commands that store a whole file look in bytes; what older servers do not know lies hidden in the
 * content type's field.
 */
#include "common/proto/proto_put.h"
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
        proto_store_expires(writer->at - PROTO_GROUP_SIZE, put->expires);
}

static void read_put_expires(const struct proto_reader *reader, struct proto_put *put)
{
    if (reader->ok && strlen(put->content_type) <= PROTO_PUT_EXPIRES_TYPE_MAX)
        put->expires = proto_load_expires(reader->at - PROTO_GROUP_SIZE);
}

void proto_write_put(struct proto_writer *writer, const struct proto_put *put, int64_t least)
{
    proto_write_key(writer, &proto_field_file, &put->key);
    proto_write_i64(writer, "size", put->size, least, INT64_MAX);
    proto_write_string(writer, &proto_field_name, put->name);
    proto_write_string(writer, &proto_field_content_type, put->content_type);
    write_put_group(writer, put);
    write_put_expires(writer, put);
    proto_write_digest(writer, put->has_digest, put->digest);
}

void proto_read_put(struct proto_reader *reader, struct proto_put *put, int64_t least)
{
    proto_read_key(reader, &proto_field_file, &put->key);
    put->size = proto_read_i64(reader, "size", least, INT64_MAX);
    proto_read_string(reader, &proto_field_name, put->name);
    proto_read_string(reader, &proto_field_content_type, put->content_type);
    read_put_group(reader, put);
    read_put_expires(reader, put);
    proto_read_digest(reader, &put->has_digest, put->digest);
}

bool proto_put_pack(uint8_t buffer[PROTO_PUT_SIZE], const struct proto_put *put, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_PUT_SIZE, error);
    proto_write_put(&writer, put, 0);
    return proto_write_end(&writer);
}

bool proto_put_unpack(const uint8_t *body, size_t size, struct proto_put *put, struct error *error)
{
    struct proto_reader reader;
    memset(put, 0, sizeof(*put));
    proto_read_begin(&reader, "PUT", body, size, PROTO_PUT_SIZE, error);
    proto_read_put(&reader, put, 0);
    return proto_read_end(&reader);
}

bool proto_store_pack(uint8_t buffer[PROTO_STORE_SIZE], const struct proto_store *store, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_STORE_SIZE, error);
    proto_write_put(&writer, &store->put, 0);
    proto_write_u8(&writer, "asks", store->asks ? 1 : 0, 1);
    return proto_write_end(&writer);
}

bool proto_store_unpack(const uint8_t *body, size_t size, struct proto_store *store, struct error *error)
{
    struct proto_reader reader;
    memset(store, 0, sizeof(*store));
    proto_read_begin(&reader, "STORE", body, size, PROTO_STORE_SIZE, error);
    proto_read_put(&reader, &store->put, 0);
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
    proto_read_digest(&reader, &reply->has_digest, reply->digest);
    reply->created = proto_read_i64(&reader, "created", INT64_MIN, INT64_MAX);
    return proto_read_end(&reader);
}
