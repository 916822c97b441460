/* content_hash: SHA-256 and SHA-1 (FIPS 180-4), base64 (RFC 4648). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/auth/content_hash.h"
#include <string.h>

static void hashes_are_those_of_the_standard(void **state)
{
    (void)state;
    static const struct {
        enum content_hash_kind kind;
        const char *base64;
    } of_abc[] = {{CONTENT_HASH_SHA256, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},
                  {CONTENT_HASH_SHA1, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t expected[CONTENT_HASH_SIZE_MAX];
        size_t size = content_hash_size(of_abc[i].kind);
        assert_int_equal(
            base64_decode(of_abc[i].base64, strlen(of_abc[i].base64), expected, sizeof(expected)), size);
        for (int wrong = 0; wrong < 2; wrong++) {
            struct content_hash *hash = content_hash_create(of_abc[i].kind);
            assert_non_null(hash);
            content_hash_update(hash, "a", 1);
            content_hash_update(hash, wrong ? "bd" : "bc", 2);
            assert_true(content_hash_is(hash, expected) == !wrong);
            content_hash_destroy(hash);
        }
    }
    content_hash_destroy(NULL);
}

static void base64_is_taken_in_one_form(void **state)
{
    (void)state;
    uint8_t out[8];
    static const struct {
        const char *text, *bytes;
    } good[] = {{"", ""}, {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"YWJjZGVmZ2g=", "abcdefgh"}};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(base64_decode(good[i].text, strlen(good[i].text), out, sizeof(out)),
                         strlen(good[i].bytes));
        assert_memory_equal(out, good[i].bytes, strlen(good[i].bytes));
    }
    static const char *const bad[] = {
        "Y", "YQ=", "YQ", "Y===", "====", "YQ==YQ==", "YW=j", "YW-j", "YWJjZGVmZ2hp", "YW j"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out, sizeof(out)), -1);
    assert_int_equal(base64_decode("YW\0j", 4, out, sizeof(out)), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_the_standard),
        cmocka_unit_test(base64_is_taken_in_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
