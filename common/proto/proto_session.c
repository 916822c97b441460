/*
 * proto_session: the bodies of HELLO, PROVE, TOKEN and WHOAMI.
 */
#include "common/proto/proto_session.h"
#include "common/proto/proto_fields.h"

#include <string.h>

static const struct proto_field field_id = {"key ID", PROTO_ID_SIZE, PROTO_RULE_ASCII};

static void read_id(struct proto_reader *reader, char id[PROTO_ID_SIZE], bool may_be_empty)
{
    proto_read_string(reader, &field_id, id);
    size_t length = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");
    if (reader->ok && (id[length] != '\0' || (length == 0 && !may_be_empty)))
        reader->ok = error_set(reader->error, ERROR_MALFORMED,
                               "key ID: 1 to 15 letters, digits and hyphens are expected");
}

static uint16_t read_u16(struct proto_reader *reader)
{
    uint8_t bytes[2] = {0};
    proto_read_bytes(reader, bytes, sizeof(bytes));
    return (uint16_t)proto_load_be(bytes, sizeof(bytes));
}

static void write_u16(struct proto_writer *writer, uint16_t value)
{
    uint8_t bytes[2];
    proto_store_be(bytes, sizeof(bytes), value);
    proto_write_bytes(writer, bytes, sizeof(bytes));
}

static void check_version(struct proto_reader *reader, uint16_t version)
{
    if (reader->ok && version < PROTO_SESSION_VERSION)
        reader->ok = error_set(reader->error, ERROR_MALFORMED, "version of the session: %u; %d expected",
                               version, PROTO_SESSION_VERSION);
}

/* ---- HELLO ---- */

bool proto_hello_pack(uint8_t buffer[PROTO_HELLO_SIZE], const struct proto_hello *hello, struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_HELLO_SIZE, error);
    write_u16(&writer, hello->version);
    write_u16(&writer, hello->wishes);
    proto_write_string(&writer, &field_id, hello->key);
    proto_write_u8(&writer, "role", hello->role, UINT8_MAX);
    proto_write_zeros(&writer, 11);
    proto_write_bytes(&writer, hello->nonce, PROTO_NONCE_SIZE);
    return proto_write_end(&writer);
}

bool proto_hello_unpack(const uint8_t *body, size_t size, struct proto_hello *hello, struct error *error)
{
    struct proto_reader reader;
    memset(hello, 0, sizeof(*hello));
    proto_read_begin(&reader, "HELLO", body, size, PROTO_HELLO_SIZE, error);
    hello->version = read_u16(&reader);
    check_version(&reader, hello->version);
    hello->wishes = read_u16(&reader);
    read_id(&reader, hello->key, false);
    hello->role = proto_read_u8(&reader, "role", UINT8_MAX);
    proto_skip(&reader, 11);
    proto_read_bytes(&reader, hello->nonce, PROTO_NONCE_SIZE);
    return proto_read_end(&reader);
}

bool proto_hello_reply_pack(uint8_t buffer[PROTO_HELLO_REPLY_SIZE], const struct proto_hello_reply *reply,
                            struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_HELLO_REPLY_SIZE, error);
    write_u16(&writer, reply->version);
    write_u16(&writer, reply->flags);
    proto_write_string(&writer, &field_id, reply->key);
    proto_write_u8(&writer, "role", reply->role, UINT8_MAX);
    proto_write_zeros(&writer, 3);
    proto_write_i64(&writer, "time", reply->time, 0, INT64_MAX);
    proto_write_bytes(&writer, reply->nonce, PROTO_NONCE_SIZE);
    proto_write_zeros(&writer, 32);
    return proto_write_end(&writer);
}

bool proto_hello_reply_unpack(const uint8_t *body, size_t size, struct proto_hello_reply *reply,
                              struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "HELLO reply", body, size, PROTO_HELLO_REPLY_SIZE, error);
    reply->version = read_u16(&reader);
    check_version(&reader, reply->version);
    reply->flags = read_u16(&reader);
    read_id(&reader, reply->key, true);
    reply->role = proto_read_u8(&reader, "role", UINT8_MAX);
    proto_skip(&reader, 3);
    reply->time = proto_read_i64(&reader, "time", 0, INT64_MAX);
    proto_read_bytes(&reader, reply->nonce, PROTO_NONCE_SIZE);
    proto_skip(&reader, 32);
    return proto_read_end(&reader);
}

/* ---- PROVE ---- */

void proto_prove_reply_pack(uint8_t buffer[PROTO_PROVE_REPLY_SIZE], const struct proto_prove_reply *reply)
{
    memcpy(buffer, reply->proof, PROTO_PROOF_SIZE);
    proto_store_be(buffer + PROTO_PROOF_SIZE, 8, (uint64_t)reply->seconds);
    proto_store_be(buffer + PROTO_PROOF_SIZE + 8, 8, (uint64_t)reply->rights);
}

bool proto_prove_reply_unpack(const uint8_t *body, size_t size, struct proto_prove_reply *reply,
                              struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "PROVE reply", body, size, PROTO_PROVE_REPLY_SIZE, error);
    proto_read_bytes(&reader, reply->proof, PROTO_PROOF_SIZE);
    reply->seconds = proto_read_i64(&reader, "seconds", 0, INT64_MAX);
    reply->rights = proto_read_i64(&reader, "rights", 0, INT64_MAX);
    return proto_read_end(&reader);
}

/* ---- TOKEN ---- */

/* The user, and where there is a prefix a NUL and that. */
static size_t pack_scope(uint8_t *scope, const struct proto_token *token)
{
    size_t size = strlen(token->user);
    memcpy(scope, token->user, size);
    if (!token->has_prefix)
        return size;
    scope[size++] = '\0';
    memcpy(scope + size, token->prefix, strlen(token->prefix));
    return size + strlen(token->prefix);
}

size_t proto_token_pack(uint8_t buffer[PROTO_TOKEN_PACKED_MAX], const struct proto_token *token,
                        struct error *error)
{
    uint8_t scope[PROTO_TOKEN_SCOPE_MAX];
    struct proto_writer writer;
    if (!proto_field_check(&proto_field_user, token->user, strnlen(token->user, PROTO_USER_SIZE), error) ||
        !proto_field_check(&proto_field_file_or_none, token->prefix, strnlen(token->prefix, PROTO_FILE_SIZE),
                           error))
        return 0;
    size_t scope_size = pack_scope(scope, token);
    size_t size = PROTO_TOKEN_FIXED + scope_size + PROTO_PROOF_SIZE;
    proto_write_begin(&writer, buffer, size, error);
    proto_write_u8(&writer, "version", PROTO_SESSION_VERSION, UINT8_MAX);
    proto_write_u8(&writer, "rights", token->rights, 15);
    proto_write_zeros(&writer, 2);
    proto_write_i64(&writer, "not before", token->not_before, 0, INT64_MAX);
    proto_write_i64(&writer, "expires", token->expires, 0, INT64_MAX);
    proto_write_string(&writer, &field_id, token->issuer);
    proto_write_string(&writer, &proto_field_application, token->application);
    write_u16(&writer, (uint16_t)scope_size);
    proto_write_bytes(&writer, scope, scope_size);
    proto_write_bytes(&writer, token->mac, PROTO_PROOF_SIZE);
    return proto_write_end(&writer) ? size : 0;
}

static bool unpack_scope(const uint8_t *scope, size_t size, struct proto_token *token, struct error *error)
{
    const uint8_t *nul = memchr(scope, '\0', size);
    size_t user = nul ? (size_t)(nul - scope) : size, prefix = nul ? size - user - 1 : 0;
    if (user == 0 || user >= PROTO_USER_SIZE || prefix >= PROTO_FILE_SIZE || (nul && prefix == 0) ||
        (prefix > 0 && memchr(nul + 1, '\0', prefix)))
        return error_set(
            error, ERROR_MALFORMED,
            "scope of the token: a user ID, or a user ID, a NUL and the beginning of file IDs expected");
    memcpy(token->user, scope, user);
    token->has_prefix = nul != NULL;
    if (prefix > 0)
        memcpy(token->prefix, nul + 1, prefix);
    return true;
}

bool proto_token_unpack(const uint8_t *body, size_t size, struct proto_token *token, struct error *error)
{
    uint8_t scope[PROTO_TOKEN_SCOPE_MAX];
    struct proto_reader reader;
    memset(token, 0, sizeof(*token));
    if (size < PROTO_TOKEN_SIZE_MIN || size > PROTO_TOKEN_PACKED_MAX)
        return error_set(error, ERROR_MALFORMED, "TOKEN: body of %zu bytes; %d to %d expected", size,
                         PROTO_TOKEN_SIZE_MIN, PROTO_TOKEN_PACKED_MAX);
    size_t scope_size = size - PROTO_TOKEN_FIXED - PROTO_PROOF_SIZE;
    proto_read_begin(&reader, "TOKEN", body, size, size, error);
    uint8_t version = proto_read_u8(&reader, "version", UINT8_MAX);
    if (reader.ok && version != PROTO_SESSION_VERSION)
        reader.ok = error_set(error, ERROR_MALFORMED, "version of the token: %u; %d expected", version,
                              PROTO_SESSION_VERSION);
    token->rights = proto_read_u8(&reader, "rights", 15);
    if (reader.ok && token->rights == 0)
        reader.ok = error_set(error, ERROR_MALFORMED, "rights of the token: none");
    uint16_t zeros = read_u16(&reader);
    token->not_before = proto_read_i64(&reader, "not before", 0, INT64_MAX);
    token->expires = proto_read_i64(&reader, "expires", 0, INT64_MAX);
    read_id(&reader, token->issuer, false);
    proto_read_string(&reader, &proto_field_application, token->application);
    uint16_t stated = read_u16(&reader);
    if (reader.ok && (stated != scope_size || zeros != 0))
        reader.ok =
            error_set(error, ERROR_MALFORMED, "TOKEN: a scope of %u bytes in a body that has room for %zu",
                      stated, scope_size);
    proto_read_bytes(&reader, scope, scope_size);
    proto_read_bytes(&reader, token->mac, PROTO_PROOF_SIZE);
    return proto_read_end(&reader) && unpack_scope(scope, scope_size, token, error);
}

/* ---- WHOAMI ---- */

bool proto_whoami_reply_pack(uint8_t buffer[PROTO_WHOAMI_REPLY_SIZE], const struct proto_whoami_reply *reply,
                             struct error *error)
{
    struct proto_writer writer;
    proto_write_begin(&writer, buffer, PROTO_WHOAMI_REPLY_SIZE, error);
    proto_write_u8(&writer, "role", reply->role, UINT8_MAX);
    proto_write_i64(&writer, "rights", reply->rights, 0, INT64_MAX);
    proto_write_i64(&writer, "ends", reply->ends, 0, INT64_MAX);
    proto_write_string(&writer, &field_id, reply->key);
    proto_write_zeros(&writer, 7);
    return proto_write_end(&writer);
}

bool proto_whoami_reply_unpack(const uint8_t *body, size_t size, struct proto_whoami_reply *reply,
                               struct error *error)
{
    struct proto_reader reader;
    memset(reply, 0, sizeof(*reply));
    proto_read_begin(&reader, "WHOAMI reply", body, size, PROTO_WHOAMI_REPLY_SIZE, error);
    reply->role = proto_read_u8(&reader, "role", UINT8_MAX);
    reply->rights = proto_read_i64(&reader, "rights", 0, INT64_MAX);
    reply->ends = proto_read_i64(&reader, "ends", 0, INT64_MAX);
    read_id(&reader, reply->key, true);
    proto_skip(&reader, 7);
    return proto_read_end(&reader);
}
