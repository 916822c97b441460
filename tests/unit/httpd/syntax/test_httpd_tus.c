/* tus_syntax: Upload-Metadata, Upload-Checksum, Upload-Concat, and tokens in addresses; http_target's addresses of uploads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "httpd/syntax/http_target.h"
#include "httpd/syntax/tus_syntax.h"

#include <stdio.h>
#include <string.h>

static char name[PROTO_NAME_SIZE], type[PROTO_CONTENT_TYPE_SIZE];

static bool metadata(const char *value)
{
    return tus_metadata_parse(http_text_of(value), name, type);
}

static void metadata_gives_name_and_type(void **state)
{
    (void)state;
    assert_true(metadata("filename bXkgZmlsbS5tcDQ=,filetype dmlkZW8vbXA0,is_confidential"));
    assert_string_equal(name, "my film.mp4");
    assert_string_equal(type, "video/mp4");
    assert_true(metadata("  type dmlkZW8vbXA0 , name YQ=="));
    assert_string_equal(name, "a");
    assert_string_equal(type, "video/mp4");
    assert_true(metadata("filename YQ==,name Yg=="));
    assert_string_equal(name, "a");
    assert_true(metadata(""));
    assert_string_equal(name, "");
    assert_true(metadata("empty ,filename ,other YQ=="));
    assert_string_equal(name, "");
    assert_true(metadata("filename YQBi")); /* a NUL in it */
    assert_string_equal(name, "");
}

static void metadata_that_is_malformed_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"a !", "a YQ", "a YQ== x", "a,a",
                                        ",",   "a,,b", "a\tYQ==",  "\xc3\xbc YQ=="};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        if (metadata(wrong[i]))
            fail_msg("\"%s\" was taken", wrong[i]);
    }
    char many[33 * 4 + 1] = "";
    for (int i = 0; i < 33; i++)
        (void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "%sk%d", i > 0 ? "," : "", i);
    assert_false(metadata(many));
}

static void a_value_that_is_too_long_is_left_out(void **state)
{
    char value[4000] = "filename ";
    (void)state;
    for (int i = 0; i < 100; i++)
        strcat(value, "YWFh"); /* 300 bytes */
    assert_true(metadata(value));
    assert_string_equal(name, "");
    for (int i = 0; i < 400; i++)
        strcat(value, "YWFh");
    assert_true(metadata(value));
    assert_string_equal(name, "");
}

static void checksums_are_of_known_algorithms_and_sizes(void **state)
{
    enum content_hash_kind kind;
    uint8_t hash[CONTENT_HASH_SIZE_MAX];
    (void)state;
    assert_int_equal(tus_checksum_parse(http_text_of("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), &kind, hash),
                     TUS_CHECKSUM_FOUND);
    assert_int_equal(kind, CONTENT_HASH_SHA1);
    assert_int_equal(hash[0], 0xa9);
    assert_int_equal(
        tus_checksum_parse(http_text_of("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="), &kind, hash),
        TUS_CHECKSUM_FOUND);
    assert_int_equal(kind, CONTENT_HASH_SHA256);
    assert_int_equal(tus_checksum_parse(http_text_of("md5 YQ=="), &kind, hash), TUS_CHECKSUM_UNKNOWN);
    static const char *const wrong[] = {
        "", "sha1", "sha1 ", "sha1 YQ==", "sha1 x", "md5", " YQ==", "sha256 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        if (tus_checksum_parse(http_text_of(wrong[i]), &kind, hash) != TUS_CHECKSUM_WRONG)
            fail_msg("\"%s\" was taken", wrong[i]);
    }
}

static void concat_names_parts(void **state)
{
    enum tus_kind kind;
    struct http_text parts, address;
    (void)state;
    assert_true(tus_concat_parse(http_text_of("partial"), &kind, &parts));
    assert_int_equal(kind, TUS_PART);
    assert_false(tus_concat_next(&parts, &address));
    assert_true(tus_concat_parse(http_text_of("final;/tus/a  /tus/b "), &kind, &parts));
    assert_int_equal(kind, TUS_FINAL);
    assert_true(tus_concat_next(&parts, &address));
    assert_true(http_text_equal(address, "/tus/a"));
    assert_true(tus_concat_next(&parts, &address));
    assert_true(http_text_equal(address, "/tus/b"));
    assert_false(tus_concat_next(&parts, &address));
    static const char *const wrong[] = {"", "Partial", "final", "final;", "final;  ", "partial;/a"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(tus_concat_parse(http_text_of(wrong[i]), &kind, &parts));
}

static void a_token_reads_as_it_was_written(void **state)
{
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE], again[PROTO_PARTIAL_TOKEN_SIZE];
    char text[TUS_TOKEN_SIZE];
    enum tus_kind kind;
    (void)state;
    for (size_t i = 0; i < sizeof(token); i++)
        token[i] = (uint8_t)(i * 17);
    assert_string_equal(tus_token_format(TUS_PART, token, text), "p00112233445566778899aabbccddeeff");
    assert_true(tus_token_parse(http_text_of(text), &kind, again));
    assert_int_equal(kind, TUS_PART);
    assert_memory_equal(token, again, sizeof(token));
    assert_false(tus_token_parse(http_text_of("x00112233445566778899aabbccddeeff"), &kind, again));
    assert_false(tus_token_parse(http_text_of("p00112233445566778899aabbccddeefg"), &kind, again));
    assert_false(tus_token_parse(http_text_of("p00112233445566778899aabbccddee"), &kind, again));
}

static enum http_target_kind target_of(const char *text, struct http_target *target)
{
    return http_target_parse(http_text_of(text), "app", "user", target);
}

static void an_address_names_the_upload(void **state)
{
    struct http_target target;
    (void)state;
    assert_int_equal(target_of("/tus/", &target), HTTP_TARGET_TUS);
    assert_string_equal(target.key.user, "user");
    assert_null(target.tus_token.bytes);
    assert_int_equal(target_of("/tus/a/b%20c", &target), HTTP_TARGET_TUS);
    assert_string_equal(target.key.user, "b c");
    assert_string_equal(target.key.file, "");
    assert_int_equal(target_of("/tus/a/b/f/u12/x%20y/z", &target), HTTP_TARGET_TUS);
    assert_string_equal(target.key.file, "f");
    assert_true(http_text_equal(target.tus_token, "u12"));
    assert_true(http_text_equal(target.tus_metadata, "x%20y"));
    assert_true(http_text_equal(target.tus_concat, "z"));
    assert_int_equal(target_of("/tus/a/b/f/u12", &target), HTTP_TARGET_TUS);
    assert_null(target.tus_metadata.bytes);
    assert_int_equal(target_of("/tus/a/b/f", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(target_of("/tus/a/b/f/t/m/c/d", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(target_of("/tus/a/b/../t", &target), HTTP_TARGET_BROKEN);
    assert_int_equal(target_of("/tus/!/b/f/t", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(target_of("/files/a/b/f/n/x/y", &target), HTTP_TARGET_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_gives_name_and_type),
        cmocka_unit_test(metadata_that_is_malformed_is_refused),
        cmocka_unit_test(a_value_that_is_too_long_is_left_out),
        cmocka_unit_test(checksums_are_of_known_algorithms_and_sizes),
        cmocka_unit_test(concat_names_parts),
        cmocka_unit_test(a_token_reads_as_it_was_written),
        cmocka_unit_test(an_address_names_the_upload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
