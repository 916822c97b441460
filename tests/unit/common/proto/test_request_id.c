/* Names of requests: as texts, in a traceparent, and behind the file ID of a request, where nobody else looks. */
#include "common/proto/request_id.h"
#include "common/proto/proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"

static void a_traceparent_gives_its_trace_id(void **state)
{
    static const struct {
        const char *text;
        bool fine, traced;
    } rows[] = {
        {"00-" TRACE "-b7ad6b7169203331-01", true, true},
        {"00-" TRACE "-b7ad6b7169203331-00", true, false},
        {"00-" TRACE "-b7ad6b7169203331-03", true, true},
        {"cc-" TRACE "-b7ad6b7169203331-01-more", true, true}, /* of a later version */
        {"cc-" TRACE "-b7ad6b7169203331-01x", false, false},
        {"00-" TRACE "-b7ad6b7169203331-01-more", false, false},
        {"ff-" TRACE "-b7ad6b7169203331-01", false, false},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false, false},
        {"00-" TRACE "-b7ad6b7169203331-0", false, false},
        {"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false, false},
        {"00_" TRACE "-b7ad6b7169203331-01", false, false},
        {"", false, false},
    };
    char text[REQUEST_ID_TEXT_SIZE];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct request_id id;
        assert_int_equal(request_id_of_traceparent(rows[i].text, strlen(rows[i].text), &id), rows[i].fine);
        if (!rows[i].fine)
            continue;
        assert_string_equal(request_id_text(&id, text), TRACE);
        assert_int_equal(id.traced, rows[i].traced);
    }
}

static void made_names_differ(void **state)
{
    struct request_id one, other;
    char text[REQUEST_ID_TEXT_SIZE];
    (void)state;
    request_id_make(&one);
    request_id_make(&other);
    assert_true(request_id_is_set(&one) && memcmp(one.bytes, other.bytes, sizeof(one.bytes)) != 0);
    assert_true(request_id_parse(request_id_text(&one, text), 32, &other));
    assert_memory_equal(one.bytes, other.bytes, sizeof(one.bytes));
    assert_false(request_id_parse(text, 31, &other));
}

/* FILE with LENGTH characters. */
static void pack_key(uint8_t body[PROTO_FILE_KEY_SIZE], size_t length)
{
    struct proto_file_key key = {.application = "tnvideo", .user = "alice"};
    memset(key.file, 'f', length);
    assert_true(proto_file_key_pack(body, &key, NULL));
}

static void a_name_stands_behind_the_file_id(void **state)
{
    struct request_id id = {.traced = true}, got = {0}, none = {0};
    uint8_t body[PROTO_FILE_KEY_SIZE], before[PROTO_FILE_KEY_SIZE];
    struct proto_file_key key;
    (void)state;
    memset(id.bytes, 0xAB, sizeof(id.bytes));
    for (size_t length = 1; length < PROTO_FILE_SIZE; length++) {
        pack_key(body, length);
        memcpy(before, body, sizeof(body));
        assert_false(request_id_get(body, sizeof(body), &got));
        request_id_put(body, sizeof(body), &none);
        assert_memory_equal(body, before, sizeof(body));
        request_id_put(body, sizeof(body), &id);
        bool room = length <= 107;
        assert_int_equal(request_id_get(body, sizeof(body), &got), room);
        if (room)
            assert_true(got.traced && memcmp(got.bytes, id.bytes, sizeof(id.bytes)) == 0);
        else
            assert_memory_equal(body, before, sizeof(body));
        assert_true(proto_file_key_unpack(body, sizeof(body), &key, NULL)); /* as an older server reads it */
        assert_int_equal(strlen(key.file), length);
        assert_int_equal(key.file[PROTO_FILE_SIZE - 1], 0);
    }
    pack_key(body, 5);
    request_id_put(body, sizeof(body), &id);
    assert_memory_equal(body + 380, "RID\x01\xAB\xAB", 6);
    assert_false(request_id_get(body, sizeof(body) - 1, &got)); /* of a shorter request */
    body[383] = 2;
    assert_false(request_id_get(body, sizeof(body), &got)); /* what a predecessor's client had on its stack */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_gives_its_trace_id),
        cmocka_unit_test(made_names_differ),
        cmocka_unit_test(a_name_stands_behind_the_file_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
