/*
 * test_proto_wire: the protocol byte for byte: vectors written by hand from docs/protocol.md, the header,
 * failure replies and the bodies whose size is not fixed, and the words of error texts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/proto/proto.h"
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_partial.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_quota.h"
#include "common/proto/proto_storage.h"
#include "common/proto/proto_tracker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER    "user@example.org"
#define FILE_ID "5f9e3fa7085e5aa25387c8cf7b5f29000117"

static const struct proto_file_key file_key = {"tnvideo", USER, FILE_ID};

/* What every body with a key of a file begins with. */
static void expect_key(const uint8_t *body)
{
    uint8_t expected[400] = {0};
    memcpy(expected + 0, "tnvideo", 7);
    memcpy(expected + 16, USER, strlen(USER));
    memcpy(expected + 272, FILE_ID, 36);
    assert_memory_equal(body, expected, sizeof(expected));
}

static void sizes_are_those_of_the_protocol(void **state)
{
    (void)state;
    assert_int_equal(PROTO_HEADER_SIZE, 10);
    assert_int_equal(PROTO_JOIN_SIZE, 171);
    assert_int_equal(PROTO_BEAT_SIZE, 146);
    assert_int_equal(PROTO_FILE_KEY_SIZE, 400);
    assert_int_equal(PROTO_UPLOAD_SIZE, 408);
    assert_int_equal(PROTO_DOWNLOAD_SIZE, 416);
    assert_int_equal(PROTO_LOAD_SIZE, 200);
    assert_int_equal(PROTO_RANGE_SIZE, 73);
    assert_int_equal(PROTO_LIST_SIZE, 405);
    assert_int_equal(PROTO_PUT_SIZE, 809);
    assert_int_equal(PROTO_STAT_REPLY_SIZE, 443);
    assert_int_equal(PROTO_LIST_ENTRY_SIZE, 571);
    assert_int_equal(PROTO_WHERE_REPLY_SIZE, 636);
    assert_int_equal(PROTO_ERROR_BODY_MAX, 1043);
    assert_int_equal(PROTO_STORE_SIZE, 810);
    assert_int_equal(PROTO_STORE_REPLY_SIZE, 26);
    assert_int_equal(PROTO_BEGIN_SIZE, 817);
    assert_int_equal(PROTO_BEGIN_REPLY_SIZE, 41);
    assert_int_equal(PROTO_PARTIAL_STATE_SIZE, 25);
    assert_int_equal(PROTO_PARTIAL_SIZE, 416);
    assert_int_equal(PROTO_APPEND_SIZE, 441);
    assert_int_equal(PROTO_FINISH_SIZE, 433);
    assert_int_equal(PROTO_JOIN_PARTS_MAX, 16433);
}

static void a_header_is_ten_big_endian_bytes(void **state)
{
    (void)state;
    static const uint8_t expected[10] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 70, 0xFD};
    uint8_t buffer[10];
    proto_header_pack(buffer, 0x0123456789ABCDEF, PROTO_STORAGE_UPLOAD, PROTO_STATUS_FAILURE);
    assert_memory_equal(buffer, expected, sizeof(expected));

    struct proto_header header;
    assert_true(proto_header_unpack(buffer, &header, NULL));
    assert_true(header.length == 0x0123456789ABCDEF);
    assert_int_equal(header.command, 70);
    assert_int_equal(header.status, 0xFD);
}

static void every_header_survives_pack_and_unpack(void **state)
{
    (void)state;
    static const int64_t lengths[] = {0, 1, 171, 255, 256, 65535, 65536, INT32_MAX, 4294967296, INT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        for (unsigned byte = 0; byte <= 255; byte++) {
            uint8_t buffer[PROTO_HEADER_SIZE];
            struct proto_header header;
            proto_header_pack(buffer, lengths[i], (uint8_t)byte, (uint8_t)(255 - byte));
            assert_true(proto_header_unpack(buffer, &header, NULL));
            assert_true(header.length == lengths[i]);
            assert_int_equal(header.command, byte);
            assert_int_equal(header.status, 255 - byte);
        }
    }
}

static void a_negative_body_length_is_refused_but_can_be_read(void **state)
{
    (void)state;
    static const uint8_t minus_one[10] = {255, 255, 255, 255, 255, 255, 255, 255, 12, 3};
    struct proto_header header = {0};
    struct error error = {0};
    assert_false(proto_header_unpack(minus_one, &header, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_string_equal(error.text, "body length: -1; 0 or more expected");
    assert_true(header.length == -1);
    assert_int_equal(header.command, 12);
    assert_int_equal(header.status, 3);

    static const uint8_t least[10] = {0x80};
    assert_false(proto_header_unpack(least, &header, NULL));
    assert_true(header.length == INT64_MIN);
}

static void join_matches_a_hand_written_vector(void **state)
{
    (void)state;
    uint8_t expected[171] = {0};
    memcpy(expected + 0, "1.0", 3);
    memcpy(expected + 7, "group001", 8);
    memcpy(expected + 24, "media1", 6);
    static const uint8_t tail[18] = {0x59, 0xD8,                                /* 23000 */
                                     0,    0,    0, 0, 0x5F, 0x9E, 0x3F, 0xA7,  /* 1604206503 */
                                     0,    0,    0, 0, 0x5F, 0x9E, 0x3F, 0xB1}; /* 1604206513 */
    memcpy(expected + 153, tail, sizeof(tail));

    struct proto_join join = {"1.0", "group001", "media1", 23000, 1604206503, 1604206513};
    uint8_t body[PROTO_JOIN_SIZE];
    assert_true(proto_join_pack(body, &join, NULL));
    assert_memory_equal(body, expected, sizeof(expected));

    struct proto_join back;
    assert_true(proto_join_unpack(expected, sizeof(expected), &back, NULL));
    assert_string_equal(back.version, "1.0");
    assert_string_equal(back.group, "group001");
    assert_string_equal(back.host, "media1");
    assert_int_equal(back.port, 23000);
    assert_int_equal(back.start_time, 1604206503);
    assert_int_equal(back.join_time, 1604206513);
}

static void a_port_above_32767_is_no_negative_number(void **state)
{
    (void)state;
    struct proto_join join = {"1.0", "group001", "media1", 65535, 0, 0};
    struct proto_join back;
    uint8_t body[PROTO_JOIN_SIZE];
    assert_true(proto_join_pack(body, &join, NULL));
    assert_true(proto_join_unpack(body, sizeof(body), &back, NULL));
    assert_int_equal(back.port, 65535);
}

static void beat_matches_a_hand_written_vector(void **state)
{
    (void)state;
    uint8_t expected[146] = {0};
    memcpy(expected + 0, "group001", 8);
    memcpy(expected + 17, "media1", 6);
    struct proto_beat beat = {"group001", "media1"};
    uint8_t body[PROTO_BEAT_SIZE];
    assert_true(proto_beat_pack(body, &beat, NULL));
    assert_memory_equal(body, expected, sizeof(expected));
}

static void load_matches_a_hand_written_vector(void **state)
{
    (void)state;
    uint8_t expected[200] = {0};
    memcpy(expected + 0, "group001", 8);
    memcpy(expected + 17, "media1", 6);
    static const uint8_t tail[54] = {
        0x59, 0xD8, 2,    0,    0,    0,                /* port, state, reserved */
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, /* capacity: 1 TiB */
        0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x01, /* free: 512 GiB + 1 */
        0x00, 0x00, 0x00, 0x00, 0x00, 0x0F, 0x42, 0x40, /* free inodes: 1,000,000 */
        0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x03, /* connections 258, uploads 3 */
        0x00, 0x00, 0x10, 0x00,                         /* requests 4096 */
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, /* trash 512 */
        0x00, 0x00, 0x00, 0x03,                         /* damaged 3 */
    };
    memcpy(expected + 146, tail, sizeof(tail));
    struct proto_load load = {.group = "group001",
                              .host = "media1",
                              .port = 23000,
                              .state = PROTO_LOAD_READ_ONLY,
                              .capacity = (int64_t)1 << 40,
                              .free = ((int64_t)1 << 39) + 1,
                              .free_inodes = 1000000,
                              .connections = 258,
                              .uploads = 3,
                              .requests = 4096,
                              .trash = 512,
                              .damaged = 3};
    uint8_t body[PROTO_LOAD_SIZE];
    assert_true(proto_load_pack(body, &load, NULL));
    assert_memory_equal(body, expected, sizeof(expected));
}

static void keys_and_the_heads_of_storage_requests_match_hand_written_vectors(void **state)
{
    (void)state;
    uint8_t body[PROTO_PUT_SIZE];
    assert_true(proto_file_key_pack(body, &file_key, NULL));
    expect_key(body);

    struct proto_upload upload = {file_key, 0x0102030405060708};
    static const uint8_t number[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_true(proto_upload_pack(body, &upload, NULL));
    expect_key(body);
    assert_memory_equal(body + 400, number, 8);

    struct proto_download download = {file_key, 65536, 255};
    static const uint8_t window[16] = {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255};
    assert_true(proto_download_pack(body, &download, NULL));
    expect_key(body);
    assert_memory_equal(body + 400, window, 16);

    struct proto_list list = {file_key, 100, PROTO_FILE_DELETED};
    static const uint8_t page[5] = {0, 0, 0, 100, 1};
    assert_true(proto_list_pack(body, &list, NULL));
    expect_key(body);
    assert_memory_equal(body + 400, page, 5);
}

static void put_matches_a_hand_written_vector(void **state)
{
    (void)state;
    struct proto_put put = {.key = file_key,
                            .size = 0x0102030405060708,
                            .name = "r\u00e9sum\u00e9.mp4",
                            .content_type = "video/mp4",
                            .has_digest = true};
    memcpy(put.digest, "0123456789abcdef", 16);
    uint8_t expected[409] = {1, 2, 3, 4, 5, 6, 7, 8};
    memcpy(expected + 8, "r\xC3\xA9sum\xC3\xA9.mp4", 12);
    memcpy(expected + 8 + 256, "video/mp4", 9);
    expected[8 + 256 + 128] = 1;
    memcpy(expected + 8 + 256 + 128 + 1, "0123456789abcdef", 16);

    uint8_t body[PROTO_PUT_SIZE];
    assert_true(proto_put_pack(body, &put, NULL));
    expect_key(body);
    assert_memory_equal(body + 400, expected, sizeof(expected));

    put.has_digest = false;
    memset(expected + 8 + 256 + 128, 0, 17);
    assert_true(proto_put_pack(body, &put, NULL));
    assert_memory_equal(body + 400, expected, sizeof(expected));

    /* The group that the tracker named, behind the content type's NUL. */
    struct proto_put got;
    struct error error = {0};
    memcpy(put.group, "group001", 9);
    memcpy(expected + 8 + 256 + 128 - 17, "group001", 8);
    assert_true(proto_put_pack(body, &put, NULL));
    assert_memory_equal(body + 400, expected, sizeof(expected));
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_string_equal(got.group, "group001");
    assert_string_equal(got.content_type, "video/mp4");

    /* A content type that reaches to it, and whatever else a sender has there, say nothing. */
    for (size_t length = PROTO_PUT_TYPE_MAX; length <= PROTO_PUT_TYPE_MAX + 1; length++) {
        memset(put.content_type, 'x', length);
        assert_true(proto_put_pack(body, &put, NULL));
        assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
        assert_string_equal(got.group, length == PROTO_PUT_TYPE_MAX ? "group001" : "");
        assert_int_equal(strlen(got.content_type), length);
    }
    memcpy(put.content_type, "video/mp4", 10);
    assert_true(proto_put_pack(body, &put, NULL));
    memset(body + 400 + 8 + 256 + 128 - 17, 'x', 17);
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_string_equal(got.group, "");
    memcpy(body + 400 + 8 + 256 + 128 - 17, "g\0roup001", 10); /* rubbish that begins like one */
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_string_equal(got.group, "");
    memcpy(body + 400 + 8 + 256 + 128 - 17, "group/01\0\0\0\0\0\0\0\0", 17);
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_string_equal(got.group, "");
}

static void put_be64(uint8_t *at, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

/* Behind the NUL of a content type, before the group in PUT and at the end in STAT. */
static void a_time_of_expiry_stands_behind_the_content_type(void **state)
{
    static const uint8_t expected[9] = {'E', 0, 0, 0, 0, 0x6B, 0x49, 0xD2, 0};
    struct proto_put put = {.expires = 0x6B49D200, .content_type = "video/mp4", .group = "group001"}, got;
    struct proto_stat stat = {.expires = 0x6B49D200, .content_type = "video/mp4"}, unpacked;
    uint8_t body[PROTO_PUT_SIZE], reply[PROTO_STAT_REPLY_SIZE];
    struct error error = {0};
    (void)state;
    put.key = file_key;
    assert_true(proto_put_pack(body, &put, NULL));
    assert_memory_equal(body + 766, expected, sizeof(expected));
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_true(got.expires == put.expires && strcmp(got.group, "group001") == 0);
    static const int64_t good[] = {-1, -86400, 1, PROTO_EXPIRES_MAX, -PROTO_EXPIRES_MAX, PROTO_EXPIRES_NEVER};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        put.expires = good[i];
        assert_true(proto_put_pack(body, &put, NULL));
        assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
        assert_int_equal(got.expires, good[i]);
    }
    static const int64_t bad[] = {PROTO_EXPIRES_MAX + 1, -PROTO_EXPIRES_MAX - 1, INT64_MIN, INT64_MAX - 1};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        put.expires = bad[i];
        assert_false(proto_put_pack(body, &put, &error));
        put_be64(body + 767, (uint64_t)bad[i]); /* from somebody else: it says nothing */
        assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
        assert_int_equal(got.expires, 0);
    }
    put.expires = 5;
    memset(put.content_type, 'x', PROTO_PUT_EXPIRES_TYPE_MAX);
    assert_true(proto_put_pack(body, &put, NULL));
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_int_equal(got.expires, 5);
    body[766] = 'x';
    assert_true(proto_put_unpack(body, sizeof(body), &got, &error));
    assert_int_equal(got.expires, 0);
    put.content_type[PROTO_PUT_EXPIRES_TYPE_MAX] = 'x';
    assert_false(proto_put_pack(body, &put, &error));
    assert_non_null(strstr(error.text, "of a file that expires"));

    assert_true(proto_stat_reply_pack(reply, &stat, NULL));
    assert_memory_equal(reply + 161, expected, sizeof(expected));
    assert_true(proto_stat_reply_unpack(reply, sizeof(reply), &unpacked, &error));
    assert_int_equal(unpacked.expires, 0x6B49D200);
    assert_string_equal(unpacked.content_type, "video/mp4");
    put_be64(reply + 162, (uint64_t)-5); /* no time of a row */
    assert_true(proto_stat_reply_unpack(reply, sizeof(reply), &unpacked, &error));
    assert_int_equal(unpacked.expires, 0);
    for (size_t length = PROTO_STAT_TYPE_MAX; length <= PROTO_STAT_TYPE_MAX + 1; length++) {
        memset(stat.content_type, 'x', length);
        assert_true(proto_stat_reply_pack(reply, &stat, NULL));
        assert_true(proto_stat_reply_unpack(reply, sizeof(reply), &unpacked, &error));
        assert_int_equal(strlen(unpacked.content_type), length);
        assert_int_equal(unpacked.expires, length == PROTO_STAT_TYPE_MAX ? 0x6B49D200 : 0);
    }
}

static void expire_matches_a_hand_written_vector(void **state)
{
    static const uint8_t expected[9] = {1, 0, 0, 0, 0, 0x6B, 0x49, 0xD2, 0};
    struct proto_expire expire = {.change = true, .expires = 0x6B49D200}, got;
    uint8_t body[PROTO_EXPIRE_SIZE];
    struct error error = {0};
    (void)state;
    expire.key = file_key;
    assert_true(proto_expire_pack(body, &expire, NULL));
    assert_memory_equal(body + 400, expected, sizeof(expected));
    assert_true(proto_expire_unpack(body, sizeof(body), &got, &error));
    assert_true(got.change && got.expires == expire.expires);
    body[400] = 0; /* a question has no time */
    assert_false(proto_expire_unpack(body, sizeof(body), &got, &error));
    body[400] = 1;
    put_be64(body + 401, 0); /* a change has one */
    assert_false(proto_expire_unpack(body, sizeof(body), &got, &error));
    put_be64(body + 401, (uint64_t)PROTO_EXPIRES_NEVER);
    assert_true(proto_expire_unpack(body, sizeof(body), &got, &error));
    put_be64(body + 401, (uint64_t)(PROTO_EXPIRES_NEVER - 1));
    assert_false(proto_expire_unpack(body, sizeof(body), &got, &error));
    assert_false(proto_expire_unpack(body, sizeof(body) - 1, &got, &error));
}

static void quotas_match_a_hand_written_vector(void **state)
{
    static const uint8_t limits[16] = {0,    0,    0,    0,    0,    0,    1,    2,
                                       0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE};
    struct proto_set_quota set = {.bytes = 258, .files = PROTO_QUOTA_DEFAULT}, got;
    struct proto_quota quota = {.bytes_used = 5,
                                .files_used = -1,
                                .bytes = 258,
                                .files = -1,
                                .own_bytes = true},
                       unpacked;
    uint8_t body[PROTO_SET_QUOTA_SIZE], reply[PROTO_QUOTA_REPLY_SIZE];
    struct error error = {0};
    (void)state;
    set.key = file_key;
    assert_true(proto_set_quota_pack(body, &set, NULL));
    assert_memory_equal(body + 400, limits, sizeof(limits));
    assert_true(proto_set_quota_unpack(body, sizeof(body), &got, &error));
    assert_true(got.bytes == 258 && got.files == PROTO_QUOTA_DEFAULT);
    memset(body + 272, 0, 128); /* a user needs no file */
    assert_true(proto_set_quota_unpack(body, sizeof(body), &got, &error));
    put_be64(body + 408, (uint64_t)(PROTO_QUOTA_KEEP - 1));
    assert_false(proto_set_quota_unpack(body, sizeof(body), &got, &error));
    assert_false(proto_set_quota_unpack(body, sizeof(body) - 1, &got, &error));
    assert_true(proto_quota_pack(reply, &quota, NULL));
    assert_true(reply[7] == 5 && reply[8] == 0xFF && reply[22] == 1 && reply[32] == 1 && reply[33] == 0);
    assert_true(proto_quota_unpack(reply, sizeof(reply), &unpacked, &error));
    assert_true(unpacked.bytes_used == 5 && unpacked.files_used == -1 && unpacked.bytes == 258 &&
                unpacked.files == -1);
    assert_true(unpacked.own_bytes && !unpacked.own_files);
    put_be64(reply + 16, (uint64_t)PROTO_QUOTA_DEFAULT);
    assert_false(proto_quota_unpack(reply, sizeof(reply), &unpacked, &error));
}

static void stat_and_list_entries_match_a_hand_written_vector(void **state)
{
    (void)state;
    struct proto_list_entry entry = {.file = FILE_ID,
                                     .stat = {.size = 258,
                                              .status = PROTO_FILE_DELETED,
                                              .created = 1604206503,
                                              .deleted = 1604206513,
                                              .has_digest = true,
                                              .content_type = "video/mp4",
                                              .name = "clip.mp4",
                                              .group = "group001"}};
    memcpy(entry.stat.digest, "0123456789abcdef", 16);
    static const uint8_t numbers[26] = {0,    0,    0,    0,    0, 0, 1, 2, 1,    0,    0,    0,    0,
                                        0x5F, 0x9E, 0x3F, 0xA7, 0, 0, 0, 0, 0x5F, 0x9E, 0x3F, 0xB1, 1};
    uint8_t expected[571] = {0};
    memcpy(expected, FILE_ID, 36);
    memcpy(expected + 128, numbers, sizeof(numbers));
    memcpy(expected + 128 + 26, "0123456789abcdef", 16);
    memcpy(expected + 128 + 42, "video/mp4", 9);
    memcpy(expected + 128 + 170, "clip.mp4", 8);
    memcpy(expected + 128 + 426, "group001", 8);

    uint8_t body[PROTO_LIST_ENTRY_SIZE];
    assert_true(proto_list_entry_pack(body, &entry, NULL));
    assert_memory_equal(body, expected, 571);
    assert_true(proto_stat_reply_pack(body, &entry.stat, NULL));
    assert_memory_equal(body, expected + 128, 443);
}

static void a_missing_digest_is_zeros_whatever_stands_in_its_place(void **state)
{
    (void)state;
    struct proto_stat stat = {.group = "group001"};
    struct proto_stat back;
    uint8_t body[PROTO_STAT_REPLY_SIZE];
    memset(stat.digest, 0x77, sizeof(stat.digest));
    assert_true(proto_stat_reply_pack(body, &stat, NULL));
    assert_int_equal(body[25], 0);
    assert_int_equal(body[26], 0);
    memset(body + 26, 0x77, 16);
    assert_true(proto_stat_reply_unpack(body, sizeof(body), &back, NULL));
    assert_false(back.has_digest);
    assert_int_equal(back.digest[0], 0);
    assert_int_equal(back.digest[15], 0);
}

static bool place_is_taken(const char *place)
{
    struct proto_where where = {.key = "../data", .place = "000/001/1FF/5F9E3FA7_002"};
    struct proto_where back;
    struct error error = {0};
    uint8_t body[PROTO_WHERE_REPLY_SIZE];
    assert_true(proto_where_reply_pack(body, &where, NULL));
    memset(body + 508, 0, 128);
    memcpy(body + 508, place, strlen(place));
    bool taken = proto_where_reply_unpack(body, sizeof(body), &back, &error);
    snprintf(where.place, sizeof(where.place), "%s", place);
    assert_int_equal(proto_where_reply_pack(body, &where, NULL), taken);
    if (!taken)
        assert_non_null(strstr(error.text, "place"));
    else
        assert_string_equal(back.place, place);
    return taken;
}

static void a_place_has_exactly_the_form_that_storage_servers_make(void **state)
{
    (void)state;
    static const char good[] = "000/001/1FF/5F9E3FA7_002";
    char text[64];
    assert_true(place_is_taken(good));
    assert_true(place_is_taken("1FF/1FF/1FF/FFFFFFFF_1FF"));
    static const char *const bad[] = {"",
                                      "000",
                                      "000/001/1FF/5F9E3FA7_00",
                                      "000/001/1FF/5F9E3FA7_0020",
                                      "200/001/1FF/5F9E3FA7_002",
                                      "000/001/1FF/5F9E3FA7_200",
                                      "000/001/1ff/5F9E3FA7_002",
                                      "000/001/1FF/5f9e3fa7_002",
                                      "../001/1FF/5F9E3FA7_002x",
                                      "/000/001/1FF/5F9E3FA7_00",
                                      "000/001/../../5F9E3FA7_0",
                                      "000\\001/1FF/5F9E3FA7_002",
                                      "000/001/1FF/5F9E3FA7_002/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(place_is_taken(bad[i]));
    /* No single byte can be another one of another kind. */
    for (size_t i = 0; i < sizeof(good) - 1; i++) {
        static const char others[] = "./_gG:\x7f ";
        for (size_t j = 0; j < sizeof(others) - 1; j++) {
            snprintf(text, sizeof(text), "%s", good);
            if (text[i] == others[j])
                continue;
            text[i] = others[j];
            assert_false(place_is_taken(text));
        }
    }
}

static void where_is_the_row_then_key_and_place(void **state)
{
    (void)state;
    struct proto_where where = {
        .stat = {.size = 258, .group = "group001"}, .key = "../data", .place = "000/001/1FF/5F9E3FA7_002"};
    uint8_t body[PROTO_WHERE_REPLY_SIZE], expected[636] = {0};
    expected[6] = 1;
    expected[7] = 2;
    memcpy(expected + 426, "group001", 8);
    memcpy(expected + 443, "../data", 7);
    memcpy(expected + 508, "000/001/1FF/5F9E3FA7_002", 24);
    assert_true(proto_where_reply_pack(body, &where, NULL));
    assert_memory_equal(body, expected, 636);
}

/* ---- partial uploads ---- */

static const uint8_t token[16] = "token of 16 byte";

static void begin_is_a_put_whose_size_may_be_unknown(void **state)
{
    (void)state;
    struct proto_begin begin = {.put = {.key = file_key, .size = -1, .name = "clip.mp4"}, .keep = 258};
    uint8_t body[PROTO_BEGIN_SIZE], expected[417] = {255, 255, 255, 255, 255, 255, 255, 255};
    struct error error = {0};
    memcpy(expected + 8, "clip.mp4", 8);
    memcpy(expected + 375, "group001", 8);
    expected[415] = 1;
    expected[416] = 2;
    memcpy(begin.put.group, "group001", 9);
    assert_true(proto_begin_pack(body, &begin, &error));
    expect_key(body);
    assert_memory_equal(body + 400, expected, sizeof(expected));
    /* To PUT such a size means nothing. */
    assert_false(proto_put_unpack(body, PROTO_PUT_SIZE, &begin.put, &error));
    assert_string_equal(error.text, "size: -1; 0 or more expected");

    struct proto_begin_reply reply = {.state = {.offset = 1, .size = -1, .expires = 3, .complete = true}};
    static const uint8_t numbers[25] = {0,   0,   0,   0, 0, 0, 0, 1, 255, 255, 255, 255, 255,
                                        255, 255, 255, 0, 0, 0, 0, 0, 0,   0,   3,   1};
    memcpy(reply.token, token, sizeof(token));
    assert_true(proto_begin_reply_pack(body, &reply, &error));
    assert_memory_equal(body, token, 16);
    assert_memory_equal(body + 16, numbers, 25);
    assert_true(proto_partial_state_pack(body, &reply.state, &error));
    assert_memory_equal(body, numbers, 25);
}

static void store_is_a_put_that_may_ask(void **state)
{
    (void)state;
    struct proto_store store = {.put = {.key = file_key, .size = 258, .name = "clip.mp4"}, .asks = true};
    uint8_t body[PROTO_STORE_SIZE], put[PROTO_PUT_SIZE];
    struct error error = {0};
    assert_true(proto_put_pack(put, &store.put, &error));
    assert_true(proto_store_pack(body, &store, &error));
    assert_memory_equal(body, put, sizeof(put));
    assert_int_equal(body[809], 1);

    struct proto_store_reply reply = {.repeated = true, .has_digest = true, .created = 258};
    static const uint8_t numbers[8] = {0, 0, 0, 0, 0, 0, 1, 2};
    memcpy(reply.digest, "0123456789abcdef", 16);
    proto_store_reply_pack(body, &reply);
    assert_memory_equal(body,
                        "\1\1"
                        "0123456789abcdef",
                        18);
    assert_memory_equal(body + 18, numbers, 8);
}

static void the_others_begin_with_key_and_token(void **state)
{
    (void)state;
    struct proto_append append = {
        .partial = {.key = file_key}, .offset = 258, .total = -1, .size = 3, .digest_follows = true};
    static const uint8_t numbers[25] = {0,   0,   0,   0, 0, 0, 1, 2, 255, 255, 255, 255, 255,
                                        255, 255, 255, 0, 0, 0, 0, 0, 0,   0,   3,   1};
    uint8_t body[PROTO_APPEND_SIZE];
    struct error error = {0};
    memcpy(append.partial.token, token, sizeof(token));
    assert_true(proto_append_pack(body, &append, &error));
    expect_key(body);
    assert_memory_equal(body + 400, token, 16);
    assert_memory_equal(body + 416, numbers, 25);

    struct proto_finish finish = {.partial = append.partial, .has_digest = true};
    memcpy(finish.digest, "0123456789abcdef", 16);
    assert_true(proto_finish_pack(body, &finish, &error));
    expect_key(body);
    assert_memory_equal(body + 400, token, 16);
    assert_int_equal(body[416], 1);
    assert_memory_equal(body + 417, "0123456789abcdef", 16);

    assert_true(proto_partial_pack(body, &append.partial, &error));
    expect_key(body);
    assert_memory_equal(body + 400, token, 16);
}

static void join_parts_is_finish_and_a_token_for_each_part(void **state)
{
    (void)state;
    static uint8_t body[PROTO_JOIN_PARTS_MAX + 16], tokens[(PROTO_PARTS_MAX + 1) * 16];
    struct proto_finish target = {.partial = {.key = file_key}}, back;
    const uint8_t *found;
    size_t count;
    struct error error = {0};
    for (size_t i = 0; i < sizeof(tokens); i++)
        tokens[i] = (uint8_t)(i * 7);
    memcpy(target.partial.token, token, sizeof(token));
    static const size_t counts[] = {1, 2, PROTO_PARTS_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        size_t size = proto_join_parts_pack(body, sizeof(body), &target, tokens, counts[i], &error);
        assert_int_equal(size, 433 + 16 * counts[i]);
        assert_memory_equal(body + 400, token, 16);
        assert_memory_equal(body + 433, tokens, 16 * counts[i]);
        assert_true(proto_join_parts_unpack(body, size, &back, &found, &count, &error));
        assert_memory_equal(&back, &target, sizeof(back));
        assert_ptr_equal(found, body + 433);
        assert_int_equal(count, counts[i]);
    }
    assert_int_equal(proto_join_parts_pack(body, sizeof(body), &target, tokens, 0, &error), 0);
    assert_int_equal(proto_join_parts_pack(body, sizeof(body), &target, tokens, PROTO_PARTS_MAX + 1, &error),
                     0);
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_int_equal(proto_join_parts_pack(body, 433 + 31, &target, tokens, 2, &error), 0);
    static const size_t wrong[] = {0, 1, 432, 433, 434, 448, 450, sizeof(body)};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_false(proto_join_parts_unpack(body, wrong[i], &back, &found, &count, &error));
        assert_int_equal(error.code, ERROR_MALFORMED);
    }
}

/* ---- GET and single values ---- */

static void get_is_the_key_and_its_nul(void **state)
{
    (void)state;
    uint8_t body[PROTO_KEY_SIZE];
    assert_int_equal(proto_get_pack(body, "../data"), 8);
    assert_memory_equal(body, "../data", 8);

    char key[PROTO_KEY_SIZE];
    assert_true(proto_get_unpack(body, 8, key, NULL));
    assert_string_equal(key, "../data");
}

static void get_takes_every_size_from_2_to_65_and_no_other(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 200; size++) {
        uint8_t *body = malloc(size + 1);
        assert_non_null(body);
        memset(body, 'k', size + 1);
        if (size > 0)
            body[size - 1] = '\0';
        char key[PROTO_KEY_SIZE];
        struct error error = {0};
        bool taken = proto_get_unpack(body, size, key, &error);
        assert_int_equal(taken, size >= 2 && size <= 65);
        if (taken) {
            assert_int_equal(strlen(key), size - 1);
            uint8_t packed[PROTO_KEY_SIZE];
            assert_int_equal(proto_get_pack(packed, key), size);
            assert_memory_equal(packed, body, size);
            memset(body, 'k', size);
            assert_false(proto_get_unpack(body, size, key, NULL)); /* the same without its NUL */
        } else {
            assert_int_equal(error.code, ERROR_MALFORMED);
            assert_non_null(strstr(error.text, "2 to 65 expected"));
        }
        free(body);
    }
}

static void a_get_of_full_size_may_carry_rubbish_after_its_nul(void **state)
{
    (void)state;
    uint8_t body[65];
    memset(body, 0xEE, sizeof(body));
    memcpy(body, "../data", 8);
    char key[PROTO_KEY_SIZE];
    char expected[PROTO_KEY_SIZE] = "../data";
    assert_true(proto_get_unpack(body, sizeof(body), key, NULL));
    assert_memory_equal(key, expected, sizeof(key));
}

static void an_empty_or_too_long_key_is_not_sent(void **state)
{
    (void)state;
    uint8_t body[PROTO_KEY_SIZE];
    char key[67];
    memset(key, 'k', sizeof(key));
    key[65] = '\0';
    assert_int_equal(proto_get_pack(body, key), 0);
    key[64] = '\0';
    assert_int_equal(proto_get_pack(body, key), 65);
    assert_int_equal(proto_get_pack(body, ""), 0);

    struct error error = {0};
    char out[PROTO_KEY_SIZE];
    assert_false(proto_get_unpack((const uint8_t *)"\0x", 3, out, &error));
    assert_string_equal(error.text, "key: empty; 1 to 2 bytes expected");
}

static void a_value_is_eight_bytes_and_never_negative(void **state)
{
    (void)state;
    static const uint8_t expected[8] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08};
    static const uint8_t negative[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    uint8_t body[16] = {0};
    int64_t value = 0;
    proto_value_pack(body, 0x0102030405060708);
    assert_memory_equal(body, expected, 8);
    assert_true(proto_value_unpack(body, 8, &value, NULL));
    assert_true(value == 0x0102030405060708);
    for (size_t size = 0; size <= 16; size++) {
        if (size != 8)
            assert_false(proto_value_unpack(body, size, &value, NULL));
    }
    struct error error = {0};
    assert_false(proto_value_unpack(negative, 8, &value, &error));
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_string_equal(error.text, "value: -1; 0 or more expected");
}

/* ---- SADDRS' reply ---- */

static void saddrs_reply_is_the_group_and_a_terminated_text(void **state)
{
    (void)state;
    static const char text[] = "127.0.0.1:23000;[::1]:23001;";
    uint8_t body[100];
    size_t size = proto_saddrs_reply_pack(body, sizeof(body), "group001", text);
    assert_int_equal(size, 17 + sizeof(text));
    assert_memory_equal(body, "group001\0\0\0\0\0\0\0\0\0", 17);
    assert_memory_equal(body + 17, text, sizeof(text));

    char group[PROTO_GROUP_SIZE];
    char addresses[64];
    assert_true(proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), NULL));
    assert_string_equal(group, "group001");
    assert_string_equal(addresses, text);
}

static void saddrs_reply_is_not_packed_into_too_little_room_or_without_a_group(void **state)
{
    (void)state;
    uint8_t body[64];
    for (size_t room = 0; room < 17 + 6; room++)
        assert_int_equal(proto_saddrs_reply_pack(body, room, "group001", "a:1;b"), 0);
    assert_int_equal(proto_saddrs_reply_pack(body, 17 + 6, "group001", "a:1;b"), 17 + 6);
    assert_int_equal(proto_saddrs_reply_pack(body, sizeof(body), "", "a:1;"), 0);
    assert_int_equal(proto_saddrs_reply_pack(body, sizeof(body), "group 1", "a:1;"), 0);
    assert_int_equal(proto_saddrs_reply_pack(body, sizeof(body), "aaaaaaaaaaaaaaaaa", "a:1;"), 0);
}

static void saddrs_reply_without_its_last_nul_or_separator_is_read(void **state)
{
    (void)state;
    char group[PROTO_GROUP_SIZE];
    char addresses[16];
    uint8_t *body = malloc(17 + 3);
    assert_non_null(body);
    memset(body, 0xEE, 17 + 3);
    memcpy(body, "g1", 3);
    memcpy(body + 17, "a:1", 3);
    assert_true(proto_saddrs_reply_unpack(body, 17 + 3, group, addresses, sizeof(addresses), NULL));
    assert_string_equal(group, "g1");
    assert_string_equal(addresses, "a:1");
    assert_true(proto_saddrs_reply_unpack(body, 17, group, addresses, sizeof(addresses), NULL));
    assert_string_equal(addresses, "");
    for (size_t size = 0; size < 17; size++)
        assert_false(proto_saddrs_reply_unpack(body, size, group, addresses, sizeof(addresses), NULL));
    free(body);
}

static void saddrs_reply_longer_than_its_reader_is_refused(void **state)
{
    (void)state;
    uint8_t body[17 + 16];
    memset(body, 'a', sizeof(body));
    memcpy(body, "g1", 3);
    char group[PROTO_GROUP_SIZE];
    char addresses[16];
    struct error error = {0};
    assert_false(proto_saddrs_reply_unpack(body, sizeof(body), group, addresses, sizeof(addresses), &error));
    assert_string_equal(error.text, "addresses: 16 bytes; fewer than 16 expected");
    assert_true(proto_saddrs_reply_unpack(body, sizeof(body) - 1, group, addresses, sizeof(addresses), NULL));
    memset(body, 'g', 17);
    assert_false(proto_saddrs_reply_unpack(body, sizeof(body), group, addresses, sizeof(addresses), &error));
    assert_string_equal(error.text,
                        "group: no NUL within its 17 bytes; 1 to 16 letters or digits and a NUL expected");
}

/* ---- failure replies ---- */

#define TEXT_BODY_MAX (2 + PROTO_ERROR_TEXT_SIZE)

static void a_failure_is_a_number_and_a_text_with_the_host_in_brackets(void **state)
{
    (void)state;
    uint8_t body[PROTO_ERROR_BODY_MAX];
    size_t size = proto_error_pack(body, ERROR_NOT_FOUND, "media1", "no such file", "");
    assert_int_equal(size, 2 + strlen("[media1] no such file") + 1);
    assert_memory_equal(body, "\xFF\xFC[media1] no such file", size);

    struct error error;
    proto_error_unpack(body, size, &error);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_string_equal(error.text, "[media1] no such file");
}

static void a_failure_may_name_the_group_to_ask(void **state)
{
    (void)state;
    uint8_t body[PROTO_ERROR_BODY_MAX];
    char long_text[PROTO_ERROR_TEXT_SIZE];
    struct error error;
    size_t size = proto_error_pack(body, ERROR_OTHER_GROUP, "h", "not here", "group002");
    assert_int_equal(size, 2 + sizeof("[h] not here") + sizeof("group002"));
    assert_memory_equal(body, "\xFF\xEB[h] not here\0group002", size);
    proto_error_unpack(body, size, &error);
    assert_string_equal(error.text, "[h] not here");
    assert_string_equal(error.group, "group002");
    proto_error_unpack(body, size - 1, &error); /* its NUL is absent */
    assert_string_equal(error.group, "");
    body[size - 3] = '/';
    proto_error_unpack(body, size, &error);
    assert_string_equal(error.group, "");
    assert_string_equal(error.text, "[h] not here");
    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    size = proto_error_pack(body, ERROR_OTHER_GROUP, "h", long_text, "groupgroupgroupg");
    assert_int_equal(size, PROTO_ERROR_BODY_MAX);
    proto_error_unpack(body, size, &error);
    assert_string_equal(error.group, "groupgroupgroupg");
    memset(body + size - PROTO_GROUP_SIZE, 'g', PROTO_GROUP_SIZE);
    proto_error_unpack(body, size, &error);
    assert_string_equal(error.group, "");
}

static void a_long_failure_text_is_cut_to_the_field_between_characters(void **state)
{
    (void)state;
    char text[3000];
    uint8_t body[PROTO_ERROR_BODY_MAX];
    for (size_t lead = 0; lead < 8; lead++) {
        memset(text, 'x', lead);
        for (size_t i = lead; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xE4\xB8\xAD", 4);
        size_t size = proto_error_pack(body, ERROR_IO, "h", text, "");
        assert_in_range(size, TEXT_BODY_MAX - 3, TEXT_BODY_MAX);
        assert_int_equal(strlen((char *)body + 2), size - 3);
        assert_int_equal((size - 3 - 4 - lead) % 3, 0);
    }
    memset(text, 'h', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(proto_error_pack(body, ERROR_IO, text, text, ""), TEXT_BODY_MAX);
    assert_int_equal(body[TEXT_BODY_MAX - 1], '\0');
}

static void a_number_that_reads_like_success_or_does_not_fit_is_sent_as_general(void **state)
{
    (void)state;
    static const int codes[] = {0, 32768, -32769, 65536};
    uint8_t body[PROTO_ERROR_BODY_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        (void)proto_error_pack(body, codes[i], "h", "t", "");
        assert_memory_equal(body, "\xFF\xFF", 2);
    }
}

static void any_failure_body_of_a_legacy_peer_is_read(void **state)
{
    (void)state;
    struct error error;
    memset(&error, 0x5A, sizeof(error));
    proto_error_unpack(NULL, 0, &error);
    assert_int_equal(error.code, ERROR_GENERAL);
    assert_string_equal(error.text, "");

    proto_error_unpack((const uint8_t *)"\xFF", 1, &error);
    assert_int_equal(error.code, ERROR_GENERAL);

    proto_error_unpack((const uint8_t *)"\xFF\xFF", 2, &error);
    assert_int_equal(error.code, ERROR_GENERAL);
    assert_string_equal(error.text, "");

    proto_error_unpack((const uint8_t *)"\0\0[h] zero", 10, &error);
    assert_int_equal(error.code, ERROR_GENERAL);
    assert_string_equal(error.text, "[h] zero");

    static const uint8_t unterminated[] = {0xFF, 0xFE, '[', 'h', ']', ' ', 'a', '\n', 0x1B, 0x7F};
    proto_error_unpack(unterminated, sizeof(unterminated), &error);
    assert_int_equal(error.code, ERROR_MALFORMED);
    assert_string_equal(error.text, "[h] a???");
}

static void a_failure_text_longer_than_an_error_holds_is_cut(void **state)
{
    (void)state;
    static uint8_t body[5000];
    memset(body, 'x', sizeof(body));
    struct error error;
    proto_error_unpack(body, sizeof(body), &error);
    assert_int_equal(error.code, 0x7878);
    assert_int_equal(strlen(error.text), ERROR_TEXT_SIZE - 1);

    memset(body + 2, 0x80, sizeof(body) - 2); /* no UTF-8 at all: no character to keep whole */
    proto_error_unpack(body, sizeof(body), &error);
    assert_int_equal(strlen(error.text), ERROR_TEXT_SIZE - 1);
}

/* ---- words ---- */

static void errors_name_the_field_what_was_wrong_and_what_would_be_right(void **state)
{
    (void)state;
    struct error error = {0};
    uint8_t body[PROTO_PUT_SIZE];

    struct proto_file_key key = file_key;
    key.application[0] = '\0';
    assert_false(proto_file_key_pack(body, &key, &error));
    assert_string_equal(error.text, "application: empty; 1 to 15 letters or digits expected");
    (void)snprintf(key.application, sizeof(key.application), "tn-video");
    assert_false(proto_file_key_pack(body, &key, &error));
    assert_string_equal(error.text, "application: byte 2 is 0x2d; 1 to 15 letters or digits expected");
    memset(key.application, 'a', sizeof(key.application));
    assert_false(proto_file_key_pack(body, &key, &error));
    assert_string_equal(
        error.text, "application: no NUL within its 16 bytes; 1 to 15 letters or digits and a NUL expected");

    key = file_key;
    key.file[0] = '\0';
    assert_false(proto_file_key_pack(body, &key, &error));
    assert_string_equal(error.text, "file ID: empty; 1 to 127 bytes expected");

    assert_false(proto_file_key_unpack(body, 399, &key, &error));
    assert_string_equal(error.text, "key of a file: body of 399 bytes; 400 expected");

    struct proto_list list = {file_key, 101, PROTO_FILE_NORMAL};
    assert_false(proto_list_pack(body, &list, &error));
    assert_string_equal(error.text, "limit: 101; 1 to 100 expected");

    struct proto_upload upload = {file_key, -5};
    assert_false(proto_upload_pack(body, &upload, &error));
    assert_string_equal(error.text, "size: -5; 0 or more expected");
}

static void the_first_of_several_faults_is_the_one_reported(void **state)
{
    (void)state;
    uint8_t body[PROTO_JOIN_SIZE] = {0};
    struct proto_join join;
    struct error error = {0};
    assert_false(proto_join_unpack(body, sizeof(body), &join, &error));
    assert_string_equal(error.text, "group: empty; 1 to 16 letters or digits expected");
}

static void names_are_letters_and_digits(void **state)
{
    (void)state;
    assert_true(proto_name_valid("tnvideo", PROTO_APPLICATION_SIZE));
    assert_true(proto_name_valid("123456789012345", PROTO_APPLICATION_SIZE));
    assert_false(proto_name_valid("1234567890123456", PROTO_APPLICATION_SIZE));
    assert_false(proto_name_valid("", PROTO_APPLICATION_SIZE));
    assert_false(proto_name_valid("tn_video", PROTO_APPLICATION_SIZE));
    assert_false(proto_name_valid("vid\xC3\xA9o", PROTO_APPLICATION_SIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_those_of_the_protocol),
        cmocka_unit_test(a_header_is_ten_big_endian_bytes),
        cmocka_unit_test(every_header_survives_pack_and_unpack),
        cmocka_unit_test(a_negative_body_length_is_refused_but_can_be_read),
        cmocka_unit_test(join_matches_a_hand_written_vector),
        cmocka_unit_test(a_port_above_32767_is_no_negative_number),
        cmocka_unit_test(beat_matches_a_hand_written_vector),
        cmocka_unit_test(load_matches_a_hand_written_vector),
        cmocka_unit_test(keys_and_the_heads_of_storage_requests_match_hand_written_vectors),
        cmocka_unit_test(put_matches_a_hand_written_vector),
        cmocka_unit_test(a_time_of_expiry_stands_behind_the_content_type),
        cmocka_unit_test(expire_matches_a_hand_written_vector),
        cmocka_unit_test(quotas_match_a_hand_written_vector),
        cmocka_unit_test(stat_and_list_entries_match_a_hand_written_vector),
        cmocka_unit_test(a_missing_digest_is_zeros_whatever_stands_in_its_place),
        cmocka_unit_test(a_place_has_exactly_the_form_that_storage_servers_make),
        cmocka_unit_test(where_is_the_row_then_key_and_place),
        cmocka_unit_test(begin_is_a_put_whose_size_may_be_unknown),
        cmocka_unit_test(store_is_a_put_that_may_ask),
        cmocka_unit_test(the_others_begin_with_key_and_token),
        cmocka_unit_test(join_parts_is_finish_and_a_token_for_each_part),
        cmocka_unit_test(get_is_the_key_and_its_nul),
        cmocka_unit_test(get_takes_every_size_from_2_to_65_and_no_other),
        cmocka_unit_test(a_get_of_full_size_may_carry_rubbish_after_its_nul),
        cmocka_unit_test(an_empty_or_too_long_key_is_not_sent),
        cmocka_unit_test(a_value_is_eight_bytes_and_never_negative),
        cmocka_unit_test(saddrs_reply_is_the_group_and_a_terminated_text),
        cmocka_unit_test(saddrs_reply_is_not_packed_into_too_little_room_or_without_a_group),
        cmocka_unit_test(saddrs_reply_without_its_last_nul_or_separator_is_read),
        cmocka_unit_test(saddrs_reply_longer_than_its_reader_is_refused),
        cmocka_unit_test(a_failure_is_a_number_and_a_text_with_the_host_in_brackets),
        cmocka_unit_test(a_failure_may_name_the_group_to_ask),
        cmocka_unit_test(a_long_failure_text_is_cut_to_the_field_between_characters),
        cmocka_unit_test(a_number_that_reads_like_success_or_does_not_fit_is_sent_as_general),
        cmocka_unit_test(any_failure_body_of_a_legacy_peer_is_read),
        cmocka_unit_test(a_failure_text_longer_than_an_error_holds_is_cut),
        cmocka_unit_test(errors_name_the_field_what_was_wrong_and_what_would_be_right),
        cmocka_unit_test(the_first_of_several_faults_is_the_one_reported),
        cmocka_unit_test(names_are_letters_and_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
