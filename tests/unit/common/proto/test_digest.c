/*
 * test_digest: XXH3-128 against published and independent values, in pieces, in hex and over real files.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/proto/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
}

static void expect_hex(const void *bytes, size_t size, const char *expected)
{
    struct digest *digest = digest_create();
    assert_non_null(digest);
    digest_update(digest, bytes, size);
    uint8_t out[PROTO_DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE];
    digest_final(digest, out);
    assert_ptr_equal(digest_to_hex(out, hex), hex);
    assert_string_equal(hex, expected);
    digest_destroy(digest);
}

/* As `xxhsum -H2` prints them. */
static void digests_are_those_of_xxhsum(void **state)
{
    (void)state;
    expect_hex("", 0, "99aa06d3014798d86001c324468d497f");
    expect_hex("a", 1, "a96faf705af16834e6c632b61e964e1f");
    expect_hex("reelstore", 9, "8cd001645ae2d62e065432af8b90a0b1");
    uint8_t *megabyte = malloc(1048576);
    assert_non_null(megabyte);
    memset(megabyte, 'r', 1048576);
    expect_hex(megabyte, 1048576, "7260d77d839475f1af97e87f4bb0303a");
    free(megabyte);
}

static void pieces_of_any_size_give_the_digest_of_the_whole(void **state)
{
    (void)state;
    enum { SIZE = 5000 };
    static uint8_t bytes[SIZE];
    fill(bytes, sizeof(bytes));
    struct digest *digest = digest_create();
    assert_non_null(digest);
    uint8_t whole[PROTO_DIGEST_SIZE];
    digest_update(digest, bytes, sizeof(bytes));
    digest_final(digest, whole);
    for (size_t piece = 1; piece <= 1025; piece += 16) {
        uint8_t out[PROTO_DIGEST_SIZE];
        digest_reset(digest);
        for (size_t at = 0; at < sizeof(bytes); at += piece) {
            digest_update(digest, bytes + at, min_size(piece, sizeof(bytes) - at));
            digest_update(digest, NULL, 0);
        }
        digest_final(digest, out);
        assert_memory_equal(out, whole, sizeof(whole));
    }
    digest_destroy(digest);
}

static void looking_at_a_digest_does_not_end_it(void **state)
{
    (void)state;
    uint8_t halfway[PROTO_DIGEST_SIZE];
    uint8_t end[PROTO_DIGEST_SIZE];
    uint8_t expected[PROTO_DIGEST_SIZE];
    struct digest *digest = digest_create();
    assert_non_null(digest);
    digest_update(digest, "reelstore", 9);
    digest_final(digest, expected);
    digest_reset(digest);
    digest_update(digest, "reel", 4);
    digest_final(digest, halfway);
    digest_update(digest, "store", 5);
    digest_final(digest, end);
    assert_memory_equal(end, expected, sizeof(end));
    assert_memory_not_equal(halfway, expected, sizeof(halfway));
    digest_destroy(digest);
    digest_destroy(NULL);
}

static void hex_is_read_in_either_case_and_written_in_lower_case(void **state)
{
    (void)state;
    static const uint8_t bytes[16] = {0x00, 0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD,
                                      0xEF, 0xFF, 0x10, 0x80, 0x7F, 0x9A, 0xA9, 0x0F};
    char hex[DIGEST_HEX_SIZE];
    uint8_t back[PROTO_DIGEST_SIZE];
    assert_string_equal(digest_to_hex(bytes, hex), "000123456789abcdefff10807f9aa90f");
    assert_true(digest_from_hex(hex, back));
    assert_memory_equal(back, bytes, sizeof(back));
    assert_true(digest_from_hex("000123456789ABCDEFFF10807F9AA90F", back));
    assert_memory_equal(back, bytes, sizeof(back));
}

static void what_is_not_32_hex_digits_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "000123456789abcdefff10807f9aa90",
                                      "000123456789abcdefff10807f9aa90f0",
                                      "g00123456789abcdefff10807f9aa90f",
                                      "000123456789abcdefff10807f9aa90g",
                                      "00012345 789abcdefff10807f9aa90f",
                                      "0x0123456789abcdefff10807f9aa90f",
                                      "/00123456789abcdefff10807f9aa90f",
                                      ":00123456789abcdefff10807f9aa90f",
                                      "@00123456789abcdefff10807f9aa90f",
                                      "`00123456789abcdefff10807f9aa90f"};
    uint8_t out[PROTO_DIGEST_SIZE];
    uint8_t before[PROTO_DIGEST_SIZE];
    memset(out, 0x5A, sizeof(out));
    memcpy(before, out, sizeof(out));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (digest_from_hex(bad[i], out))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_memory_equal(out, before, sizeof(out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_xxhsum),
        cmocka_unit_test(pieces_of_any_size_give_the_digest_of_the_whole),
        cmocka_unit_test(looking_at_a_digest_does_not_end_it),
        cmocka_unit_test(hex_is_read_in_either_case_and_written_in_lower_case),
        cmocka_unit_test(what_is_not_32_hex_digits_is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
