/*
 * fuzz_proto: every unpacker of the packet protocol under hostile bytes. What one accepts must pack, and what
 * was packed must unpack to the same value. An input is one byte that chooses the unpacker (its top bit: the
 * rest is brought to the body's size with zeros, so that short inputs reach the fields) and the body.
 */
#include "common/proto/proto.h"
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_partial.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include "common/proto/proto_tracker.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

/* A body of fixed size: what is accepted survives the way there and back. ERROR says something where it is
 * not. */
#define ROUND_TRIP(name, type, body_size)                                                                    \
    static void try_##name(const uint8_t *body, size_t size)                                                 \
    {                                                                                                        \
        struct type value;                                                                                   \
        struct type again;                                                                                   \
        struct error error = {0};                                                                            \
        uint8_t packed[body_size];                                                                           \
        if (!proto_##name##_unpack(body, size, &value, &error)) {                                            \
            EXPECT(error.code == ERROR_MALFORMED && error.text[0] != '\0');                                  \
            return;                                                                                          \
        }                                                                                                    \
        EXPECT(size == (body_size));                                                                         \
        EXPECT(proto_##name##_pack(packed, &value, &error));                                                 \
        EXPECT(proto_##name##_unpack(packed, sizeof(packed), &again, &error));                               \
        EXPECT(memcmp(&value, &again, sizeof(value)) == 0);                                                  \
    }

ROUND_TRIP(file_key, proto_file_key, PROTO_FILE_KEY_SIZE)
ROUND_TRIP(user_key, proto_file_key, PROTO_FILE_KEY_SIZE)
ROUND_TRIP(join, proto_join, PROTO_JOIN_SIZE)
ROUND_TRIP(beat, proto_beat, PROTO_BEAT_SIZE)
ROUND_TRIP(advertise, proto_advertise, PROTO_ADVERTISE_SIZE)
ROUND_TRIP(load, proto_load, PROTO_LOAD_SIZE)
ROUND_TRIP(range, proto_range, PROTO_RANGE_SIZE)
ROUND_TRIP(upload, proto_upload, PROTO_UPLOAD_SIZE)
ROUND_TRIP(put, proto_put, PROTO_PUT_SIZE)
ROUND_TRIP(download, proto_download, PROTO_DOWNLOAD_SIZE)
ROUND_TRIP(read_request, proto_read_request, PROTO_READ_SIZE)
ROUND_TRIP(stat_reply, proto_stat, PROTO_STAT_REPLY_SIZE)
ROUND_TRIP(list, proto_list, PROTO_LIST_SIZE)
ROUND_TRIP(list_entry, proto_list_entry, PROTO_LIST_ENTRY_SIZE)
ROUND_TRIP(store, proto_store, PROTO_STORE_SIZE)
ROUND_TRIP(begin, proto_begin, PROTO_BEGIN_SIZE)
ROUND_TRIP(begin_reply, proto_begin_reply, PROTO_BEGIN_REPLY_SIZE)
ROUND_TRIP(partial_state, proto_partial_state, PROTO_PARTIAL_STATE_SIZE)
ROUND_TRIP(partial, proto_partial, PROTO_PARTIAL_SIZE)
ROUND_TRIP(append, proto_append, PROTO_APPEND_SIZE)
ROUND_TRIP(finish, proto_finish, PROTO_FINISH_SIZE)

static void try_join_parts(const uint8_t *body, size_t size)
{
    struct proto_finish target;
    struct error error = {0};
    const uint8_t *tokens;
    size_t count;
    uint8_t packed[PROTO_JOIN_PARTS_MAX];
    if (!proto_join_parts_unpack(body, size, &target, &tokens, &count, &error)) {
        EXPECT(error.code == ERROR_MALFORMED && error.text[0] != '\0');
        return;
    }
    EXPECT(count >= 1 && count <= PROTO_PARTS_MAX);
    EXPECT(tokens + count * PROTO_PARTIAL_TOKEN_SIZE == body + size);
    EXPECT(proto_join_parts_pack(packed, sizeof(packed), &target, tokens, count, &error) == size);
    EXPECT(memcmp(packed + PROTO_FINISH_SIZE, tokens, count * PROTO_PARTIAL_TOKEN_SIZE) == 0);
}

static void try_range_reply(const uint8_t *body, size_t size)
{
    struct proto_range_reply reply;
    uint8_t packed[PROTO_RANGE_REPLY_SIZE];
    if (!proto_range_reply_unpack(body, size, &reply, NULL))
        return;
    EXPECT(reply.first >= 0 && reply.count >= 1 && reply.first <= INT64_MAX - reply.count);
    proto_range_reply_pack(packed, &reply);
    EXPECT(memcmp(packed, body, sizeof(packed)) == 0);
}

static void try_value(const uint8_t *body, size_t size)
{
    int64_t value;
    uint8_t packed[PROTO_VALUE_SIZE];
    if (!proto_value_unpack(body, size, &value, NULL))
        return;
    EXPECT(value >= 0);
    proto_value_pack(packed, value);
    EXPECT(memcmp(packed, body, sizeof(packed)) == 0);
}

static void try_header(const uint8_t *body, size_t size)
{
    struct proto_header header;
    uint8_t packed[PROTO_HEADER_SIZE];
    if (size != PROTO_HEADER_SIZE)
        return;
    bool fine = proto_header_unpack(body, &header, NULL);
    bool foreign = memcmp(body, "HTTP/", 5) == 0 || memcmp(body, "SSH-", 4) == 0;
    EXPECT(fine == (header.length >= 0 && !foreign));
    proto_header_pack(packed, header.length, header.command, header.status);
    EXPECT(memcmp(packed, body, sizeof(packed)) == 0);
}

static void try_get(const uint8_t *body, size_t size)
{
    char key[PROTO_KEY_SIZE];
    uint8_t packed[PROTO_KEY_SIZE];
    if (!proto_get_unpack(body, size, key, NULL))
        return;
    size_t packed_size = proto_get_pack(packed, key);
    EXPECT(packed_size >= PROTO_KEY_MIN && packed_size <= size);
    EXPECT(memcmp(packed, body, packed_size) == 0);
}

static void try_saddrs_reply(const uint8_t *body, size_t size)
{
    char group[PROTO_GROUP_SIZE];
    char addresses[256];
    uint8_t packed[PROTO_GROUP_SIZE + sizeof(addresses)];
    if (!proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), NULL))
        return;
    EXPECT(memchr(addresses, '\0', sizeof(addresses)) != NULL);
    size_t packed_size = proto_saddrs_reply_pack(packed, sizeof(packed), group, addresses);
    EXPECT(packed_size == PROTO_GROUP_SIZE + strlen(addresses) + 1);
}

static void try_error(const uint8_t *body, size_t size)
{
    struct error error;
    struct error again;
    uint8_t packed[PROTO_ERROR_BODY_MAX];
    proto_error_unpack(body, size, &error);
    EXPECT(error.code != ERROR_NONE);
    EXPECT(memchr(error.text, '\0', sizeof(error.text)) != NULL);
    size_t packed_size = proto_error_pack(packed, error.code, "host", error.text, error.group);
    EXPECT(packed_size <= sizeof(packed));
    proto_error_unpack(packed, packed_size, &again);
    EXPECT(again.code == error.code);
    EXPECT(memcmp(again.text, "[host] ", 7) == 0);
    EXPECT(strcmp(again.group, error.group) == 0);
}

static const struct {
    void (*run)(const uint8_t *body, size_t size);
    size_t size; /* of the body, where it is fixed; else 0 */
} unpackers[] = {
    {try_file_key, PROTO_FILE_KEY_SIZE},
    {try_user_key, PROTO_FILE_KEY_SIZE},
    {try_join, PROTO_JOIN_SIZE},
    {try_beat, PROTO_BEAT_SIZE},
    {try_advertise, PROTO_ADVERTISE_SIZE},
    {try_load, PROTO_LOAD_SIZE},
    {try_range, PROTO_RANGE_SIZE},
    {try_upload, PROTO_UPLOAD_SIZE},
    {try_put, PROTO_PUT_SIZE},
    {try_download, PROTO_DOWNLOAD_SIZE},
    {try_read_request, PROTO_READ_SIZE},
    {try_stat_reply, PROTO_STAT_REPLY_SIZE},
    {try_list, PROTO_LIST_SIZE},
    {try_list_entry, PROTO_LIST_ENTRY_SIZE},
    {try_range_reply, PROTO_RANGE_REPLY_SIZE},
    {try_value, PROTO_VALUE_SIZE},
    {try_header, PROTO_HEADER_SIZE},
    {try_get, 0},
    {try_saddrs_reply, 0},
    {try_error, 0},
    {try_store, PROTO_STORE_SIZE},
    {try_begin, PROTO_BEGIN_SIZE},
    {try_begin_reply, PROTO_BEGIN_REPLY_SIZE},
    {try_partial_state, PROTO_PARTIAL_STATE_SIZE},
    {try_partial, PROTO_PARTIAL_SIZE},
    {try_append, PROTO_APPEND_SIZE},
    {try_finish, PROTO_FINISH_SIZE},
    {try_join_parts, PROTO_FINISH_SIZE + 2 * PROTO_PARTIAL_TOKEN_SIZE},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t chosen = (data[0] & 0x7F) % ARRAY_SIZE(unpackers);
    bool pad = (data[0] & 0x80) != 0 && unpackers[chosen].size > 0;
    size_t given = size - 1;
    size_t wanted = pad ? unpackers[chosen].size : given;

    /* On the heap and of just its size, so that a read behind its end is caught; 1 since malloc(0) may give
     * NULL. */
    uint8_t *body = calloc(1, max_size(wanted, 1));
    if (body == NULL)
        return 0;
    memcpy(body, data + 1, min_size(given, wanted));
    unpackers[chosen].run(body, wanted);
    free(body);
    return 0;
}
