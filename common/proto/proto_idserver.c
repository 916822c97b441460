/*
 * proto_idserver: the bodies of the ID server's commands.
 */
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_fields.h"

#include <string.h>

size_t proto_get_pack(uint8_t buffer[PROTO_KEY_SIZE], const char *key)
{
    size_t length = strnlen(key, PROTO_KEY_SIZE);
    if (!proto_field_check(&proto_field_key, key, length, NULL))
        return 0;
    memcpy(buffer, key, length);
    buffer[length] = '\0';
    return length + 1;
}

bool proto_get_unpack(const uint8_t *body, size_t size, char key[PROTO_KEY_SIZE], struct error *error)
{
    memset(key, 0, PROTO_KEY_SIZE);
    if (size < PROTO_KEY_MIN || size > PROTO_KEY_SIZE)
        return error_set(error, ERROR_MALFORMED, "GET: body of %zu bytes; %d to %d expected", size,
                         PROTO_KEY_MIN, PROTO_KEY_SIZE);
    /* The body is as long as its sender likes, so its end takes the place of the field's. */
    const struct proto_field field = {proto_field_key.name, size, proto_field_key.rule};
    size_t length = strnlen((const char *)body, size);
    if (!proto_field_check(&field, (const char *)body, length, error))
        return false;
    memcpy(key, body, length);
    return true;
}

bool proto_range_pack(uint8_t buffer[PROTO_RANGE_SIZE], const struct proto_range *range, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_RANGE_SIZE, error);
    proto_write_string(&writer, &proto_field_key, range->key);
    proto_write_i64(&writer, "count", range->count, 1, PROTO_RANGE_COUNT_MAX);
    return proto_write_end(&writer);
}

bool proto_range_unpack(const uint8_t *body, size_t size, struct proto_range *range, struct error *error)
{
    struct proto_reader reader;
    memset(range, 0, sizeof(*range));
    proto_read_begin(&reader, "RANGE", body, size, PROTO_RANGE_SIZE, error);
    proto_read_string(&reader, &proto_field_key, range->key);
    range->count = proto_read_i64(&reader, "count", 1, PROTO_RANGE_COUNT_MAX);
    return proto_read_end(&reader);
}

void proto_range_reply_pack(uint8_t buffer[PROTO_RANGE_REPLY_SIZE], const struct proto_range_reply *reply)
{
    proto_store_be(buffer, 8, (uint64_t)reply->first);
    proto_store_be(buffer + 8, 8, (uint64_t)reply->count);
}

bool proto_range_reply_unpack(const uint8_t *body, size_t size, struct proto_range_reply *reply,
                              struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "RANGE reply", body, size, PROTO_RANGE_REPLY_SIZE, error);
    /* first + count must not overflow, for whoever walks through the run. */
    reply->first = proto_read_i64(&reader, "first", 0, INT64_MAX - PROTO_RANGE_COUNT_MAX);
    reply->count = proto_read_i64(&reader, "count", 1, PROTO_RANGE_COUNT_MAX);
    return proto_read_end(&reader);
}
