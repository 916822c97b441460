/* content_name and content_digest: what uploaders say of their contents (RFC 6266, RFC 7578, RFC 9530). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "httpd/syntax/content_digest.h"
#include "httpd/syntax/content_name.h"
#include <string.h>

static void check_name(const char *field, const char *expected)
{
    char name[PROTO_NAME_SIZE] = "before";
    enum content_name_result result = content_name_of_disposition(http_text_of(field), name);
    if (expected && result == CONTENT_NAME_FOUND)
        assert_string_equal(name, expected);
    else
        assert_int_equal(result, expected ? CONTENT_NAME_FOUND : CONTENT_NAME_WRONG);
}

static void a_name_is_a_token_a_string_or_extended(void **state)
{
    (void)state;
    char name[PROTO_NAME_SIZE] = "before", long_field[400];
    check_name("attachment; filename=a.txt", "a.txt");
    check_name("attachment;FILENAME = \"a b;c.txt\" ; x=y", "a b;c.txt");
    check_name("attachment; x=\"a; filename=b\"; filename=c", "c");
    check_name("attachment; filename=\"a\\\"b\\\\c\"", "a\"b\\c");
    check_name("attachment; filename=\"x\"; filename*=UTF-8'en'%e2%82%ac%20rates", "\xe2\x82\xac rates");
    check_name("attachment; filename*=iso-8859-1''%e9", NULL);
    check_name("attachment; filename*=UTF-8''%zz", NULL);
    check_name("attachment; filename*=UTF-8", NULL);
    check_name("attachment; filename=\"not ended", NULL);
    check_name("attachment; filename=\"not ended\\", NULL);
    check_name("attachment; filename=\"a\" b", NULL);
    check_name("attachment; x=\"a\" b; filename=c", NULL);
    memset(long_field, 'a', sizeof(long_field));
    memcpy(long_field, "a; filename=", 12);
    long_field[sizeof(long_field) - 1] = '\0';
    check_name(long_field, NULL);
    static const char *const none[] = {"", "attachment", "attachment; x", "attachment; filename", ";", "; ;"};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        assert_int_equal(content_name_of_disposition(http_text_of(none[i]), name), CONTENT_NAME_NONE);
    assert_string_equal(name, "before");
}

static void a_form_writes_quotes_in_its_own_way(void **state)
{
    (void)state;
    char name[PROTO_NAME_SIZE];
    static const struct {
        const char *field, *name;
    } forms[] = {{"form-data; name=f; filename=\"a%22b%0D%0Ac%20d\"", "a\"b\r\nc%20d"},
                 {"form-data; filename=\"C:\\dir\\a.txt\"", "C:\\dir\\a.txt"},
                 {"form-data; filename=\"a\\\"b\"", "a\"b"}};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        assert_int_equal(
            content_name_parameter(http_text_of(forms[i].field), "filename", true, name, sizeof(name)),
            CONTENT_NAME_FOUND);
        assert_string_equal(name, forms[i].name);
    }
}

static void a_name_loses_its_directories_and_has_no_control_characters(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } names[] = {
        {"a.txt", "a.txt"}, {"/etc/passwd", "passwd"}, {"C:\\x\\a b", "a b"}, {"dir/", ""}, {"", ""}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char name[PROTO_NAME_SIZE] = "";
        strcpy(name, names[i].before);
        assert_true(content_name_tidy(name));
        assert_string_equal(name, names[i].after);
        for (size_t at = strlen(name); at < sizeof(name); at++)
            assert_int_equal(name[at], 0);
    }
    static const char *const wrong[] = {"a\nb", "a\x7f", "\xff", "\xe2\x82"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char name[PROTO_NAME_SIZE] = "";
        strcpy(name, wrong[i]);
        assert_false(content_name_tidy(name));
    }
    char full[PROTO_NAME_SIZE];
    memset(full, 'a', sizeof(full));
    assert_false(content_name_tidy(full));
}

#define OF_NOTHING "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void a_sha_256_is_found_among_others(void **state)
{
    (void)state;
    uint8_t digest[CONTENT_DIGEST_SHA256_SIZE];
    static const char *const good[] = {
        "sha-256=:" OF_NOTHING ":", "md5=:AA==:, sha-256=:" OF_NOTHING ":",
        "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:,sha-256=:" OF_NOTHING ":"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        memset(digest, 0, sizeof(digest));
        assert_int_equal(content_digest_sha256(http_text_of(good[i]), digest), CONTENT_DIGEST_FOUND);
        assert_true(content_digest_is_of_nothing(digest));
    }
    digest[0]++;
    assert_false(content_digest_is_of_nothing(digest));
    static const char *const none[] = {"", "sha-512=:AA==:", "md5=:AA==:", "sha-256"};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        assert_int_equal(content_digest_sha256(http_text_of(none[i]), digest), CONTENT_DIGEST_NONE);
    static const char *const wrong[] = {"sha-256=",
                                        "sha-256=:",
                                        "sha-256=::",
                                        "sha-256=:YQ==:",
                                        "sha-256=" OF_NOTHING,
                                        "sha-256=:" OF_NOTHING,
                                        "sha-256=:" OF_NOTHING OF_NOTHING ":"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(content_digest_sha256(http_text_of(wrong[i]), digest), CONTENT_DIGEST_WRONG);
}

static void an_xxh3_is_32_digits(void **state)
{
    (void)state;
    uint8_t digest[PROTO_DIGEST_SIZE];
    static const char *const good[] = {"xxh3-128=99aa06d3014798d86001c324468d497f",
                                       "99AA06d3014798d86001c324468d497f"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(content_digest_xxh3(http_text_of(good[i]), digest), CONTENT_DIGEST_FOUND);
        assert_true(digest[0] == 0x99 && digest[15] == 0x7f);
    }
    static const char *const wrong[] = {"",
                                        "xxh3-128=",
                                        "xxh3-128=99",
                                        "xxh3-64=99aa06d3014798d86001c324468d497f",
                                        "99aa06d3014798d86001c324468d497g",
                                        "99aa06d3014798d86001c324468d497f0"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(content_digest_xxh3(http_text_of(wrong[i]), digest), CONTENT_DIGEST_WRONG);
    assert_int_equal(content_digest_xxh3((struct http_text){NULL, 0}, digest), CONTENT_DIGEST_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_a_token_a_string_or_extended),
        cmocka_unit_test(a_form_writes_quotes_in_its_own_way),
        cmocka_unit_test(a_name_loses_its_directories_and_has_no_control_characters),
        cmocka_unit_test(a_sha_256_is_found_among_others),
        cmocka_unit_test(an_xxh3_is_32_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
