/*
 * proto_bodies: the tables of fields, written from docs/protocol.md, and the generator that fills them.
 */
#include "tests/unit/library/proto_bodies.h"
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_partial.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include "common/proto/proto_tracker.h"

#define STRING(type, member, name, offset, size, kind, may_be_empty)                                         \
    {                                                                                                        \
        name, offset, size, offsetof(struct type, member), kind, may_be_empty, 0, 0                          \
    }
#define NUMBER_OF(type, member, name, offset, size, minimum, maximum)                                        \
    {                                                                                                        \
        name, offset, size, offsetof(struct type, member), NUMBER, false, minimum, maximum                   \
    }
#define COUNT(type, member, name, offset, size, maximum)                                                     \
    NUMBER_OF(type, member, name, offset, size, 0, maximum)
#define DIGEST_OF(type, member, flag, offset)                                                                \
    {"has digest", offset, 1, offsetof(struct type, member flag), FLAG, false, 0, 1},                        \
    {                                                                                                        \
        "digest", (offset) + 1, 16, offsetof(struct type, member digest), DIGEST, false, 0, 0                \
    }
#define TOKEN_OF(type, member, offset)                                                                       \
    {                                                                                                        \
        "token", offset, 16, offsetof(struct type, member token), RAW, false, 0, 0                           \
    }
#define STATE_OF(type, member, at)                                                                           \
    COUNT(type, member offset, "offset", (at) + 0, 8, INT64_MAX),                                            \
        NUMBER_OF(type, member size, "size", (at) + 8, 8, -1, INT64_MAX),                                    \
        COUNT(type, member expires, "expires", (at) + 16, 8, INT64_MAX),                                     \
    {                                                                                                        \
        "complete", (at) + 24, 1, offsetof(struct type, member complete), FLAG, false, 0, 1                  \
    }
#define RESERVED(offset, size)                                                                               \
    {                                                                                                        \
        "reserved", offset, size, 0, ZEROS, false, 0, 0                                                      \
    }
#define KEY_OF(type, member, file_may_be_empty)                                                              \
    STRING(type, member application, "application", 0, 16, NAME, false),                                     \
        STRING(type, member user, "user", 16, 256, BYTES, false),                                            \
        STRING(type, member file, "file ID", 272, 128, BYTES, file_may_be_empty)
#define STAT_OF(type, member, at)                                                                            \
    COUNT(type, member size, "size", (at) + 0, 8, INT64_MAX),                                                \
        NUMBER_OF(type, member status, "status", (at) + 8, 1, 0, 1),                                         \
        COUNT(type, member created, "created", (at) + 9, 8, INT64_MAX),                                      \
        COUNT(type, member deleted, "deleted", (at) + 17, 8, INT64_MAX),                                     \
        DIGEST_OF(type, member, has_digest, (at) + 25),                                                      \
        STRING(type, member content_type, "content type", (at) + 42, 128, ASCII, true),                      \
        STRING(type, member name, "name", (at) + 170, 256, FILE_NAME, true),                                 \
        STRING(type, member group, "group", (at) + 426, 17, NAME, true)

#define NOTHING /* the member prefix of a struct's own members */

static const struct field file_key_fields[] = {KEY_OF(proto_file_key, NOTHING, false)};
static const struct field user_key_fields[] = {KEY_OF(proto_file_key, NOTHING, true)};
static const struct field join_fields[] = {
    STRING(proto_join, version, "version", 0, 7, TEXT, true),
    STRING(proto_join, group, "group", 7, 17, NAME, false),
    STRING(proto_join, host, "host", 24, 129, TEXT, true),
    NUMBER_OF(proto_join, port, "port", 153, 2, 1, 65535),
    COUNT(proto_join, start_time, "start time", 155, 8, INT64_MAX),
    COUNT(proto_join, join_time, "join time", 163, 8, INT64_MAX),
};
static const struct field beat_fields[] = {
    STRING(proto_beat, group, "group", 0, 17, NAME, false),
    STRING(proto_beat, host, "host", 17, 129, TEXT, true),
};
static const struct field load_fields[] = {
    STRING(proto_load, group, "group", 0, 17, NAME, false),
    STRING(proto_load, host, "host", 17, 129, TEXT, true),
    NUMBER_OF(proto_load, port, "port", 146, 2, 1, 65535),
    NUMBER_OF(proto_load, state, "state", 148, 1, 0, 3),
    RESERVED(149, 3),
    COUNT(proto_load, capacity, "capacity", 152, 8, INT64_MAX),
    COUNT(proto_load, free, "free", 160, 8, INT64_MAX),
    COUNT(proto_load, free_inodes, "free inodes", 168, 8, INT64_MAX),
    COUNT(proto_load, connections, "connections", 176, 4, INT32_MAX),
    COUNT(proto_load, uploads, "uploads", 180, 4, INT32_MAX),
    COUNT(proto_load, requests, "requests", 184, 4, INT32_MAX),
    COUNT(proto_load, trash, "trash", 188, 8, INT64_MAX),
    COUNT(proto_load, damaged, "damaged", 196, 4, INT32_MAX),
};
static const struct field range_fields[] = {
    STRING(proto_range, key, "key", 0, 65, BYTES, false),
    NUMBER_OF(proto_range, count, "count", 65, 8, 1, 100000),
};
static const struct field range_reply_fields[] = {
    NUMBER_OF(proto_range_reply, first, "first", 0, 8, 0, INT64_MAX - 100000),
    NUMBER_OF(proto_range_reply, count, "count", 8, 8, 1, 100000),
};
static const struct field group_fields[] = {
    STRING(proto_group, group, "group", 0, 17, NAME, false),
    NUMBER_OF(proto_group, change, "change", 17, 1, 1, 5),
    COUNT(proto_group, weight, "weight", 18, 4, 1000000),
};

static const struct field users_fields[] = {
    STRING(proto_users, group, "group", 0, 17, NAME, false),
    COUNT(proto_users, after, "after", 17, 8, INT64_MAX),
    NUMBER_OF(proto_users, limit, "limit", 25, 4, 1, 100),
};
static const struct field users_entry_fields[] = {
    COUNT(proto_users_entry, number, "number", 0, 8, INT64_MAX),
    STRING(proto_users_entry, application, "application", 8, 16, NAME, false),
    STRING(proto_users_entry, user, "user", 24, 256, BYTES, false),
};
static const struct field reroute_fields[] = {
    STRING(proto_reroute, application, "application", 0, 16, NAME, false),
    STRING(proto_reroute, user, "user", 16, 256, BYTES, false),
    STRING(proto_reroute, from, "group", 272, 17, NAME, false),
    STRING(proto_reroute, to, "group", 289, 17, NAME, false),
};
static const struct field left_fields[] = {
    COUNT(proto_left, table, "table", 0, 1, 2),
    COUNT(proto_left, after, "after", 1, 8, INT64_MAX),
};
static const struct field left_head_fields[] = {
    COUNT(proto_left_head, next.table, "next table", 0, 1, 3),
    COUNT(proto_left_head, next.after, "next after", 1, 8, INT64_MAX),
    COUNT(proto_left_head, rows, "rows", 9, 8, INT64_MAX),
    COUNT(proto_left_head, former, "former copies", 17, 8, INT64_MAX),
};
static const struct field left_entry_fields[] = {
    STRING(proto_users_entry, application, "application", 0, 16, NAME, false),
    STRING(proto_users_entry, user, "user", 16, 256, BYTES, false),
};

static const struct field upload_fields[] = {
    KEY_OF(proto_upload, key., false),
    COUNT(proto_upload, size, "size", 400, 8, INT64_MAX),
};
static const struct field rename_fields[] = {
    KEY_OF(proto_rename, key., false),
    STRING(proto_rename, name, "name", 400, 256, FILE_NAME, true),
};
static const struct field put_fields[] = {
    KEY_OF(proto_put, key., false),
    COUNT(proto_put, size, "size", 400, 8, INT64_MAX),
    STRING(proto_put, name, "name", 408, 256, FILE_NAME, true),
    STRING(proto_put, content_type, "content type", 664, 128, ASCII, true),
    DIGEST_OF(proto_put, NOTHING, has_digest, 792),
};
static const struct field download_fields[] = {
    KEY_OF(proto_download, key., false),
    COUNT(proto_download, offset, "offset", 400, 8, INT64_MAX),
    COUNT(proto_download, size, "size", 408, 8, INT64_MAX),
};
static const struct field stat_fields[] = {STAT_OF(proto_stat, NOTHING, 0)};
static const struct field list_fields[] = {
    KEY_OF(proto_list, key., true),
    NUMBER_OF(proto_list, limit, "limit", 400, 4, 1, 100),
    NUMBER_OF(proto_list, status, "status", 404, 1, 0, 1),
};
static const struct field list_entry_fields[] = {
    STRING(proto_list_entry, file, "file ID", 0, 128, BYTES, false),
    STAT_OF(proto_list_entry, stat., 128),
};

static const struct field where_fields[] = {
    STAT_OF(proto_where, stat., 0),
    STRING(proto_where, key, "key", 443, 65, BYTES, false),
    STRING(proto_where, place, "place", 508, 128, PLACE, false),
};

static const struct field store_fields[] = {
    KEY_OF(proto_store, put.key., false),
    COUNT(proto_store, put.size, "size", 400, 8, INT64_MAX),
    STRING(proto_store, put.name, "name", 408, 256, FILE_NAME, true),
    STRING(proto_store, put.content_type, "content type", 664, 128, ASCII, true),
    DIGEST_OF(proto_store, put., has_digest, 792),
    {"asks", 809, 1, offsetof(struct proto_store, asks), FLAG, false, 0, 1},
};
static const struct field begin_fields[] = {
    KEY_OF(proto_begin, put.key., false),
    NUMBER_OF(proto_begin, put.size, "size", 400, 8, -1, INT64_MAX),
    STRING(proto_begin, put.name, "name", 408, 256, FILE_NAME, true),
    STRING(proto_begin, put.content_type, "content type", 664, 128, ASCII, true),
    DIGEST_OF(proto_begin, put., has_digest, 792),
    COUNT(proto_begin, keep, "keep", 809, 8, INT64_MAX),
};
static const struct field begin_reply_fields[] = {
    TOKEN_OF(proto_begin_reply, NOTHING, 0),
    STATE_OF(proto_begin_reply, state., 16),
};
static const struct field partial_state_fields[] = {STATE_OF(proto_partial_state, NOTHING, 0)};
static const struct field partial_fields[] = {
    KEY_OF(proto_partial, key., false),
    TOKEN_OF(proto_partial, NOTHING, 400),
};
static const struct field append_fields[] = {
    KEY_OF(proto_append, partial.key., false),
    TOKEN_OF(proto_append, partial., 400),
    COUNT(proto_append, offset, "offset", 416, 8, INT64_MAX),
    NUMBER_OF(proto_append, total, "total", 424, 8, -1, INT64_MAX),
    COUNT(proto_append, size, "size", 432, 8, INT64_MAX),
    {"digest follows", 440, 1, offsetof(struct proto_append, digest_follows), FLAG, false, 0, 1},
};
static const struct field finish_fields[] = {
    KEY_OF(proto_finish, partial.key., false),
    TOKEN_OF(proto_finish, partial., 400),
    DIGEST_OF(proto_finish, NOTHING, has_digest, 416),
};

/* One signature for all. */
#define ADAPT(name, type)                                                                                    \
    static bool name##_pack(uint8_t *buffer, const void *value, struct error *error)                         \
    {                                                                                                        \
        return proto_##name##_pack(buffer, value, error);                                                    \
    }                                                                                                        \
    static bool name##_unpack(const uint8_t *body, size_t size, void *value, struct error *error)            \
    {                                                                                                        \
        return proto_##name##_unpack(body, size, value, error);                                              \
    }
ADAPT(file_key, proto_file_key)
ADAPT(user_key, proto_file_key)
ADAPT(join, proto_join)
ADAPT(beat, proto_beat)
ADAPT(load, proto_load)
ADAPT(group, proto_group)
ADAPT(range, proto_range)
ADAPT(upload, proto_upload)
ADAPT(put, proto_put)
ADAPT(download, proto_download)
ADAPT(stat_reply, proto_stat)
ADAPT(list, proto_list)
ADAPT(rename, proto_rename)
ADAPT(users, proto_users)
ADAPT(users_entry, proto_users_entry)
ADAPT(reroute, proto_reroute)
ADAPT(left, proto_left)
ADAPT(left_head, proto_left_head)
ADAPT(left_entry, proto_users_entry)
ADAPT(list_entry, proto_list_entry)
ADAPT(where_reply, proto_where)
ADAPT(store, proto_store)
ADAPT(begin, proto_begin)
ADAPT(begin_reply, proto_begin_reply)
ADAPT(partial_state, proto_partial_state)
ADAPT(partial, proto_partial)
ADAPT(append, proto_append)
ADAPT(finish, proto_finish)

static bool range_reply_pack(uint8_t *buffer, const void *value, struct error *error)
{
    (void)error;
    proto_range_reply_pack(buffer, value);
    return true;
}

static bool range_reply_unpack(const uint8_t *body, size_t size, void *value, struct error *error)
{
    return proto_range_reply_unpack(body, size, value, error);
}

#define BODY_OF(name, size, type, fields, unchecked)                                                         \
    {                                                                                                        \
#name, size, sizeof(struct type), name##_pack, name##_unpack, ARRAY_SIZE(fields), fields, unchecked  \
    }
#define BODY(name, size, type, fields) BODY_OF(name, size, type, fields, false)

const struct body proto_bodies[] = {
    BODY(file_key, 400, proto_file_key, file_key_fields),
    BODY(user_key, 400, proto_file_key, user_key_fields),
    BODY(join, 171, proto_join, join_fields),
    BODY(beat, 146, proto_beat, beat_fields),
    BODY(load, 200, proto_load, load_fields),
    BODY(group, 22, proto_group, group_fields),
    BODY(range, 73, proto_range, range_fields),
    BODY_OF(range_reply, 16, proto_range_reply, range_reply_fields, true),
    BODY(upload, 408, proto_upload, upload_fields),
    BODY(rename, 656, proto_rename, rename_fields),
    BODY(users, 29, proto_users, users_fields),
    BODY(users_entry, 280, proto_users_entry, users_entry_fields),
    BODY(reroute, 306, proto_reroute, reroute_fields),
    BODY(left, 9, proto_left, left_fields),
    BODY(left_head, 25, proto_left_head, left_head_fields),
    BODY(left_entry, 272, proto_users_entry, left_entry_fields),
    BODY(put, 809, proto_put, put_fields),
    BODY(download, 416, proto_download, download_fields),
    BODY(stat_reply, 443, proto_stat, stat_fields),
    BODY(list, 405, proto_list, list_fields),
    BODY(list_entry, 571, proto_list_entry, list_entry_fields),
    BODY(where_reply, 636, proto_where, where_fields),
    BODY(store, 810, proto_store, store_fields),
    BODY(begin, 817, proto_begin, begin_fields),
    BODY(begin_reply, 41, proto_begin_reply, begin_reply_fields),
    BODY(partial_state, 25, proto_partial_state, partial_state_fields),
    BODY(partial, 416, proto_partial, partial_fields),
    BODY(append, 441, proto_append, append_fields),
    BODY(finish, 433, proto_finish, finish_fields),
};

const size_t proto_bodies_count = ARRAY_SIZE(proto_bodies);

/* ---- the generator ---- */

uint64_t proto_bodies_seed;

uint64_t random_u64(void)
{
    uint64_t z = (proto_bodies_seed += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

size_t random_below(size_t limit)
{
    return (size_t)(random_u64() % limit);
}

bool is_string(const struct field *field)
{
    return field->kind <= PLACE;
}

static size_t put_utf8(char *text, size_t room)
{
    static const char *const samples[] = {"a",      "Z",      "7",          " ",         ".",      "~",
                                          "\u00a0", "\u00e9", "\u07ff",     "\u0800",    "\u4e2d", "\ud7ff",
                                          "\ue000", "\uffff", "\U00010000", "\U0010ffff"};
    const char *sample = samples[random_below(ARRAY_SIZE(samples))];
    size_t length = strlen(sample);
    if (length > room)
        return 0;
    memcpy(text, sample, length);
    return length;
}

/* Digits up to 511, as the storage server makes them. */
static void random_place(char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char form[] = "1FF/1FF/1FF/FFFFFFFF_1FF";
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        text[i] = form[i] == 'F' ? hex[random_below(16)] : form[i] == '1' ? hex[random_below(2)] : form[i];
}

/* A string that FIELD may hold, now and then of the extreme lengths. */
static void random_string(const struct field *field, char *text)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t minimum = field->may_be_empty ? 0 : 1;
    size_t longest = field->size - 1;
    size_t length = minimum + random_below(longest - minimum + 1);
    if (random_below(8) == 0)
        length = random_below(2) ? longest : minimum;

    memset(text, 0, field->size);
    if (field->kind == PLACE) {
        random_place(text);
        return;
    }
    for (size_t i = 0; i < length;) {
        switch (field->kind) {
        case NAME:
            text[i++] = letters[random_below(sizeof(letters) - 1)];
            break;
        case ASCII:
            text[i++] = (char)(0x20 + random_below(0x7F - 0x20));
            break;
        case TEXT: {
            char c = (char)(0x20 + random_below(0x100 - 0x20));
            text[i++] = c == 0x7F ? '-' : c;
            break;
        }
        case FILE_NAME: {
            size_t added = put_utf8(text + i, length - i);
            i += added;
            length -= added == 0 ? 1 : 0;
            break;
        }
        default:
            text[i++] = (char)(1 + random_below(255));
            break;
        }
    }
}

void store_be(uint8_t *at, size_t size, int64_t value)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)((uint64_t)value >> (8 * (size - 1 - i)));
}

void store_native(char *at, size_t size, int64_t value)
{
    uint16_t as16 = (uint16_t)value;
    int32_t as32 = (int32_t)value;
    uint8_t as8 = (uint8_t)value;
    const void *from = size == 1 ? (const void *)&as8 : size == 2 ? (const void *)&as16 : (const void *)&as32;
    memcpy(at, size == 8 ? &value : from, size);
}

static int64_t random_number(const struct field *field)
{
    if (random_below(8) == 0)
        return random_below(2) ? field->maximum : field->minimum;
    uint64_t span = (uint64_t)field->maximum - (uint64_t)field->minimum + 1;
    uint64_t spread = random_u64() >> random_below(64); /* small ones as often as big ones */
    return field->minimum + (int64_t)(spread % span);
}

void generate(const struct body *body, char *value, uint8_t *bytes)
{
    memset(value, 0, body->struct_size);
    memset(bytes, 0, body->size);
    bool has_digest = false;
    for (size_t i = 0; i < body->field_count; i++) {
        const struct field *field = &body->fields[i];
        if (is_string(field)) {
            random_string(field, value + field->place);
            memcpy(bytes + field->offset, value + field->place, field->size);
        } else if (field->kind == NUMBER) {
            int64_t number = random_number(field);
            store_native(value + field->place, field->size, number);
            store_be(bytes + field->offset, field->size, number);
        } else if (field->kind == FLAG) {
            has_digest = random_below(2) == 1;
            memcpy(value + field->place, &has_digest, sizeof(has_digest));
            bytes[field->offset] = has_digest ? 1 : 0;
        } else if (field->kind == RAW || (field->kind == DIGEST && has_digest)) {
            for (size_t j = 0; j < field->size; j++)
                value[field->place + j] = (char)random_u64();
            memcpy(bytes + field->offset, value + field->place, field->size);
        }
    }
}
