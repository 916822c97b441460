/*
 * proto_partial: how the commands about partial uploads look in bytes.
 */
#include "common/proto/proto_partial.h"
#include "common/proto/proto_fields.h"

#include <string.h>

bool proto_begin_pack(uint8_t buffer[PROTO_BEGIN_SIZE], const struct proto_begin *begin, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_BEGIN_SIZE, error);
    proto_write_put(&writer, &begin->put, -1);
    proto_write_i64(&writer, "keep", begin->keep, 0, INT64_MAX);
    return proto_write_end(&writer);
}

bool proto_begin_unpack(const uint8_t *body, size_t size, struct proto_begin *begin, struct error *error)
{
    struct proto_reader reader;
    memset(begin, 0, sizeof(*begin));
    proto_read_begin(&reader, "BEGIN", body, size, PROTO_BEGIN_SIZE, error);
    proto_read_put(&reader, &begin->put, -1);
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

static void proto_read_partial(struct proto_reader *reader, struct proto_partial *partial)
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
    proto_read_partial(&reader, partial);
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
    proto_read_partial(&reader, &append->partial);
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
    proto_write_digest(&writer, finish->has_digest, finish->digest);
    return proto_write_end(&writer);
}

bool proto_finish_unpack(const uint8_t *body, size_t size, struct proto_finish *finish, struct error *error)
{
    struct proto_reader reader;
    memset(finish, 0, sizeof(*finish));
    proto_read_begin(&reader, "FINISH", body, size, PROTO_FINISH_SIZE, error);
    proto_read_partial(&reader, &finish->partial);
    proto_read_digest(&reader, &finish->has_digest, finish->digest);
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
