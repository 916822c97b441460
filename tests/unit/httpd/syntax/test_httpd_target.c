/* test_httpd_target: which paths name a file, of which application and user, and which are refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "httpd/syntax/http_target.h"

#define ID "5f9e3fa7085e5aa25387c8cf7b5f29000117"

static enum http_target_kind parse(const char *text, struct http_target *target)
{
    return http_target_parse(http_text_of(text), "tnvideo", "alice", target);
}

static void check_key(const char *text, const char *application, const char *user, const char *file,
                      const char *name)
{
    struct http_target target;
    if (parse(text, &target) != HTTP_TARGET_FILE)
        fail_msg("\"%s\" names no file", text);
    assert_string_equal(target.key.application, application);
    assert_string_equal(target.key.user, user);
    assert_string_equal(target.key.file, file);
    assert_string_equal(target.name, name);
}

static void both_forms_name_a_file(void **state)
{
    (void)state;
    check_key("/files/" ID, "tnvideo", "alice", ID, "");
    check_key("/files/app1/bob/" ID, "app1", "bob", ID, "");
    check_key("/files/app1/bob/" ID "/clip.mp4", "app1", "bob", ID, "clip.mp4");
    check_key("/files/app1/bob/" ID "/", "app1", "bob", ID, "");
    check_key("/files/app1/bob/" ID "?x=1&y", "app1", "bob", ID, "");
}

static void segments_are_decoded_exactly_once_after_the_path_was_split(void **state)
{
    (void)state;
    check_key("/files/app1/a%20b/%41", "app1", "a b", "A", "");
    check_key("/files/app1/a%2Fb/f", "app1", "a/b", "f", "");
    check_key("/files/app1/a%252Fb/f", "app1", "a%2Fb", "f", "");
    check_key("/files/app1/a+b/f", "app1", "a+b", "f", "");
    check_key("/files/app1/%E4%B8%AD/f/%c3%bc.mkv", "app1", "\xe4\xb8\xad", "f", "\xc3\xbc.mkv");
    check_key("/%66iles/app1/u/f", "app1", "u", "f", "");
}

static void what_browsers_send_as_it_is_counts_as_it_is(void **state)
{
    (void)state;
    check_key("/files/app1/u/f/Song|Official.mp4", "app1", "u", "f", "Song|Official.mp4");
    check_key("/files/app1/u/f/{a}^`\"<b>\\c", "app1", "u", "f", "{a}^`\"<b>\\c");
    check_key("/files/" ID "?utm=a|b&x={y}", "tnvideo", "alice", ID, "");
}

static void the_absolute_form_is_read_like_the_origin_form(void **state)
{
    (void)state;
    check_key("http://media.example:8080/files/" ID, "tnvideo", "alice", ID, "");
    check_key("HTTPS://[2001:db8::1]/files/app1/u/f", "app1", "u", "f", "");
}

static void unused_bytes_of_the_key_are_zeros(void **state)
{
    struct http_target target;
    static const char zeros[PROTO_USER_SIZE];
    (void)state;
    memset(&target, 0x55, sizeof(target));
    assert_int_equal(parse("/files/app1/u/f", &target), HTTP_TARGET_FILE);
    assert_memory_equal(target.key.user + 1, zeros, PROTO_USER_SIZE - 1);
    assert_memory_equal(target.key.file + 1, zeros, PROTO_FILE_SIZE - 1);
    assert_memory_equal(target.key.application + 4, zeros, PROTO_APPLICATION_SIZE - 4);
}

static void expect_kind(const char *const *texts, size_t count, enum http_target_kind kind)
{
    for (size_t i = 0; i < count; i++) {
        struct http_target target;
        enum http_target_kind found = parse(texts[i], &target);
        if (found != kind)
            fail_msg("\"%s\": kind %d instead of %d", texts[i], (int)found, (int)kind);
    }
}

static void what_breaks_the_grammar_or_tries_to_climb_is_broken(void **state)
{
    static const char *const texts[] = {
        "",
        "files/x",
        "ftp://host/files/x",
        "http:///files/x",
        "http://user@host/files/x",
        "http://1.2.3.4:9000:80/files/x",
        "http://a:987654/files/x",
        "http://a:bc/files/x",
        "http://[::1/files/x",
        "http://extra[::1]:98/files/x",
        "http://a%zz/files/x",
        "http://:80/files/x",
        "/files/%",
        "/files/%4",
        "/files/%zz",
        "/files/%4g",
        "/files/a%00b",
        "/files/%00",
        "/files/..",
        "/files/../etc/passwd",
        "/files/%2e%2e/x/y",
        "/files/app1/%2E/f",
        "/../files/x",
        "/files/app1/u/f/..",
        "/files/app1/u/f/%2e%2e",
        "/files/app1/u/f/%00.mp4",
        "/files/x#fragment",
        "/files/a b",
        "/files/a\tb",
        "/files/x?download=%",
        "/files/x?start",
        "/files/x?start=",
        "/files/x?start=-1",
        "/files/x?start=1s",
        "/files/x?end=1234567890",
        "/files/x?start=1.5.5",
        "/files/x?start=3&end=3",
        "/files/x?end=0",
        "/files/x?download=%00",
    };
    (void)state;
    expect_kind(texts, ARRAY_SIZE(texts), HTTP_TARGET_BROKEN);
}

static void the_page_and_the_api_keep_their_segments(void **state)
{
    static const char *const pages[] = {"/",     "/?x=y", "/admin",      "/admin?x", "/web/main.js",
                                        "/web/", "/web",  "http://host/"},
                             *const none[] = {"/admin/", "/admin/x", "/webs/x", "/web/1/2/3/4/5/6/7",
                                              "/api/1/2/3/4/5/6/7"},
                             *const broken[] = {"/web/%zz", "/api/v1/%00", "/api/../files/x"};
    struct http_target target;
    (void)state;
    expect_kind(pages, ARRAY_SIZE(pages), HTTP_TARGET_PAGE);
    expect_kind(none, ARRAY_SIZE(none), HTTP_TARGET_UNKNOWN);
    expect_kind(broken, ARRAY_SIZE(broken), HTTP_TARGET_BROKEN);
    assert_int_equal(parse("/", &target), HTTP_TARGET_PAGE);
    assert_int_equal(target.part_count, 0);
    assert_int_equal(parse("/api/v1/files/a%20b?q=%20&x", &target), HTTP_TARGET_API);
    assert_int_equal(target.part_count, 3);
    assert_true(http_text_equal(target.parts[2], "a%20b"));
    assert_true(http_text_equal(target.query, "q=%20&x"));
}

static void a_users_files_are_where_files_are_put(void **state)
{
    static const char *const texts[] = {"/files/a/b", "/files/a/b/",   "/files",
                                        "/files/",    "/files?name=x", "http://host/files/a/b"};
    struct http_target target;
    (void)state;
    expect_kind(texts, ARRAY_SIZE(texts), HTTP_TARGET_USER);
    assert_int_equal(parse("/files/app1/b%2Fc/?name=a+b%21", &target), HTTP_TARGET_USER);
    assert_string_equal(target.key.application, "app1");
    assert_string_equal(target.key.user, "b/c");
    assert_string_equal(target.key.file, "");
    assert_string_equal(target.put_name, "a b!");
    assert_false(target.download);
    assert_int_equal(parse("/files/", &target), HTTP_TARGET_USER);
    assert_string_equal(target.key.user, "alice");
    assert_int_equal(parse("/files/a-b/u", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(parse("/files/a/u?name=%", &target), HTTP_TARGET_BROKEN);
    assert_int_equal(http_target_parse(http_text_of("/files/"), "", "", &target), HTTP_TARGET_UNKNOWN);
}

static void what_is_well_formed_but_cannot_exist_is_unknown(void **state)
{
    static const char *const texts[] = {

        "/file/x",
        "/FILES/x",
        "//files/x",
        "/files//u/f",
        "/files/app1//f",
        "/files/app1/u/f/n/more",
        "/files/app1/u/f/n/more/and/more/and/more",
        "/files/app-1/u/f",
        "/files/abcdefghijklmnop/u/f",
        "http://host",
        "http://host?x",
        "/favicon.ico",
    };
    (void)state;
    expect_kind(texts, ARRAY_SIZE(texts), HTTP_TARGET_UNKNOWN);
}

static void fields_take_their_longest_value_and_not_a_byte_more(void **state)
{
    char text[1024], user[300], file[200];
    struct http_target target;
    (void)state;
    memset(user, 'u', sizeof(user));
    memset(file, 'f', sizeof(file));
    snprintf(text, sizeof(text), "/files/abcdefghijklmno/%.255s/%.127s", user, file);
    assert_int_equal(parse(text, &target), HTTP_TARGET_FILE);
    assert_int_equal(strlen(target.key.user), 255);
    assert_int_equal(strlen(target.key.file), 127);
    snprintf(text, sizeof(text), "/files/app1/%.256s/f", user);
    assert_int_equal(parse(text, &target), HTTP_TARGET_UNKNOWN);
    snprintf(text, sizeof(text), "/files/app1/u/%.128s", file);
    assert_int_equal(parse(text, &target), HTTP_TARGET_UNKNOWN);
    snprintf(text, sizeof(text), "/files/app1/u/f/%.256s.mp4", user);
    assert_int_equal(parse(text, &target), HTTP_TARGET_FILE);
    assert_string_equal(target.name, "");
}

static void without_defaults_the_short_form_names_nothing(void **state)
{
    struct http_target target;
    (void)state;
    assert_int_equal(http_target_parse(http_text_of("/files/x"), "", "alice", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(http_target_parse(http_text_of("/files/x"), "tnvideo", "", &target),
                     HTTP_TARGET_UNKNOWN);
    assert_int_equal(http_target_parse(http_text_of("/files/app1/u/x"), "", "", &target), HTTP_TARGET_FILE);
}

static void a_clip_has_a_start_and_an_end(void **state)
{
    struct http_target target;
    (void)state;
    assert_int_equal(parse("/files/x?a=b", &target), HTTP_TARGET_FILE);
    assert_false(target.clip);
    assert_int_equal(parse("/files/x?start=12.5&end=20.0459&download", &target), HTTP_TARGET_FILE);
    assert_true(target.clip && target.download);
    assert_int_equal(target.clip_start, 12500);
    assert_int_equal(target.clip_end, 20045);
    assert_int_equal(parse("/files/x?end=7", &target), HTTP_TARGET_FILE);
    assert_int_equal(target.clip_start, 0);
    assert_int_equal(target.clip_end, 7000);
    assert_int_equal(parse("/files/x?start=0", &target), HTTP_TARGET_FILE);
    assert_true(target.clip && target.clip_end == INT64_MAX);
}

static void the_download_parameter_is_found_with_and_without_a_name(void **state)
{
    struct http_target target;
    (void)state;
    assert_int_equal(parse("/files/x", &target), HTTP_TARGET_FILE);
    assert_false(target.download);
    assert_int_equal(parse("/files/x?download", &target), HTTP_TARGET_FILE);
    assert_true(target.download);
    assert_string_equal(target.download_name, "");
    assert_int_equal(parse("/files/x?a=b&download=my+film%20%C3%BC%2B.mp4&c", &target), HTTP_TARGET_FILE);
    assert_true(target.download);
    assert_string_equal(target.download_name, "my film \xc3\xbc+.mp4");
    assert_int_equal(parse("/files/x?downloads=1&xdownload", &target), HTTP_TARGET_FILE);
    assert_false(target.download);
    assert_int_equal(parse("/files/x?", &target), HTTP_TARGET_FILE);
    assert_int_equal(parse("/files/x?&&=", &target), HTTP_TARGET_FILE);
}

static void the_asterisk_is_the_server_itself(void **state)
{
    struct http_target target;
    (void)state;
    assert_int_equal(parse("*", &target), HTTP_TARGET_SERVER);
    assert_int_equal(parse("*x", &target), HTTP_TARGET_BROKEN);
}

/* Whether TEXT, a file, is plain; then what is made of it again is what parsing it gives. */
static bool is_plain(const char *text)
{
    struct http_target target, again;
    memset(&again, 0x55, sizeof(again));
    if (parse(text, &target) != HTTP_TARGET_FILE)
        fail_msg("\"%s\" names no file", text);
    const struct http_target_plain plain = http_target_plain_of(http_text_of(text), &target);
    if (plain.file == 0)
        return false;
    http_target_take_plain(http_text_of(text), plain, &again);
    assert_memory_equal(&again.key, &target.key, sizeof(target.key));
    assert_string_equal(again.name, target.name);
    assert_string_equal(again.download_name, target.download_name);
    assert_string_equal(again.put_name, target.put_name);
    assert_int_equal(again.download, target.download);
    assert_int_equal(again.clip, target.clip);
    assert_int_equal(again.clip_start, target.clip_start);
    assert_int_equal(again.clip_end, target.clip_end);
    assert_int_equal(again.link.count, 0);
    assert_null(again.link.path.bytes);
    return true;
}

static void a_plain_target_can_be_read_again_without_being_taken_apart(void **state)
{
    static const char *const plain[] = {"/files/app1/bob/" ID "?", "/files/a/b/c?e=1&k=app-a&s=x",
                                        "/files/tnvideo/b,;b/\xe4?utm=a%20b", "/files/a/b/c?v=1&t=2&w=3&tus"},
                             *const others[] = {"/files/app1/bob/" ID,
                                                "/files/" ID "?e=1",
                                                "/files/app1/b%6fb/f?e=1",
                                                "/files/app1/bob/%66?e=1",
                                                "/files/app1/b%25b/f?e=1",
                                                "/%66iles/app1/bob/f?e=1",
                                                "/files/app1/bob/f/?e=1",
                                                "/files/app1/bob/f/name?e=1",
                                                "/files/app1/bob/f?download",
                                                "/files/app1/bob/f?e=1&download=x",
                                                "/files/app1/bob/f?name=x",
                                                "/files/app1/bob/f?start=1",
                                                "/t/a.1.f.0123456789012345678901/files/app1/bob/f?x",
                                                "http://host/files/app1/bob/f?e=1"};
    char text[300] = "/files/app1/bob/f?";
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (!is_plain(plain[i]))
            fail_msg("\"%s\" is plain", plain[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (is_plain(others[i]))
            fail_msg("\"%s\" is not plain", others[i]);
    }
    size_t size = strlen(text);
    memset(text + size, 'x', UINT8_MAX - size);
    assert_true(is_plain(text));
    text[UINT8_MAX] = 'x';
    assert_false(is_plain(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_name_a_file),
        cmocka_unit_test(segments_are_decoded_exactly_once_after_the_path_was_split),
        cmocka_unit_test(what_browsers_send_as_it_is_counts_as_it_is),
        cmocka_unit_test(the_absolute_form_is_read_like_the_origin_form),
        cmocka_unit_test(unused_bytes_of_the_key_are_zeros),
        cmocka_unit_test(what_breaks_the_grammar_or_tries_to_climb_is_broken),
        cmocka_unit_test(the_page_and_the_api_keep_their_segments),
        cmocka_unit_test(a_users_files_are_where_files_are_put),
        cmocka_unit_test(what_is_well_formed_but_cannot_exist_is_unknown),
        cmocka_unit_test(fields_take_their_longest_value_and_not_a_byte_more),
        cmocka_unit_test(without_defaults_the_short_form_names_nothing),
        cmocka_unit_test(a_clip_has_a_start_and_an_end),
        cmocka_unit_test(the_download_parameter_is_found_with_and_without_a_name),
        cmocka_unit_test(the_asterisk_is_the_server_itself),
        cmocka_unit_test(a_plain_target_can_be_read_again_without_being_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
