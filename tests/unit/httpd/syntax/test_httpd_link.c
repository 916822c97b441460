/* http_link: where a request carries its link, and what logs show of it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "httpd/syntax/http_link.h"
#include "httpd/syntax/http_target.h"

#include <string.h>

#define S "bFSFQZxgj8Wn8nRKAdszdQ"
#define T "app-a.67a1b2c3.f." S
#define Q "e=67a1b2c3&k=app-a&s=" S

static enum http_link_form find(struct http_text text, const struct http_text *cookies, size_t count,
                                struct link_token *token)
{
    struct http_target target;
    assert_int_not_equal(http_target_parse(text, "", "", &target), HTTP_TARGET_BROKEN);
    return http_link_find(&target.link, cookies, count, token);
}

static void a_link_is_found_once_and_as_it_must_be_written(void **state)
{
    (void)state;
    static const struct {
        const char *target, *cookie;
        enum http_link_form form;
    } rows[] = {
        {"/files/a/b/c", NULL, HTTP_LINK_NONE},
        {"/files/a/b/c?download=x&t=2", "a=b; reels=" T "; xreel=" T, HTTP_LINK_NONE},
        {"/files/a/b/c?" Q, NULL, HTTP_LINK_QUERY},
        {"/files/a/b/c?download&" Q "&x=y", NULL, HTTP_LINK_QUERY},
        {"http://host:80/files/a/b/c?" Q, NULL, HTTP_LINK_QUERY},
        {"/t/" T "/files/a/b/c", NULL, HTTP_LINK_PATH},
        {"http://host/t/" T "/files/a/b/c?download", NULL, HTTP_LINK_PATH},
        {"/files/a/b/c", "reel=" T, HTTP_LINK_COOKIE},
        {"/files/a/b/c", "a=b;reel=" T " ;c=d", HTTP_LINK_COOKIE},
        /* empty */
        {"/files/a/b/c?e=&k=&s=", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e&k&s", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&k=app-a&s=", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&k=&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=&k=app-a&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/t//files/a/b/c", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c", "reel=", HTTP_LINK_BROKEN},
        {"/files/a/b/c", "reel", HTTP_LINK_BROKEN},
        /* doubled */
        {"/files/a/b/c?" Q "&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&" Q, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?" Q "&" Q, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c", "reel=" T "; reel=" T, HTTP_LINK_SEVERAL},
        {"/t/" T "/t/" T "/files/a/b/c", NULL, HTTP_LINK_PATH}, /* and then no address */
        /* reordered, torn apart */
        {"/files/a/b/c?k=app-a&e=67a1b2c3&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?s=" S "&e=67a1b2c3&k=app-a", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&x&k=app-a&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&&k=app-a&s=" S, NULL, HTTP_LINK_BROKEN},
        /* truncated */
        {"/files/a/b/c?e=67a1b2c3&k=app-a", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3", NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?s=" S, NULL, HTTP_LINK_BROKEN},
        {"/files/a/b/c?e=67a1b2c3&k=app-a&s=bFSFQZxgj8Wn8nRKAdszd", NULL, HTTP_LINK_BROKEN},
        {"/t/app-a.67a1b2c3.f/files/a/b/c", NULL, HTTP_LINK_BROKEN},
        {"/t/" T, NULL, HTTP_LINK_PATH},
        /* encoded: no link is written so */
        {"/files/a/b/c?e=67a1b2c3&k=app%2da&s=" S, NULL, HTTP_LINK_BROKEN},
        {"/%74/" T "/files/a/b/c", NULL, HTTP_LINK_NONE},
        /* two */
        {"/t/" T "/files/a/b/c?" Q, NULL, HTTP_LINK_SEVERAL},
        {"/t/" T "/files/a/b/c", "reel=" T, HTTP_LINK_SEVERAL},
        {"/files/a/b/c?" Q, "reel=" T, HTTP_LINK_SEVERAL},
        {"/files/a/b/c?" Q, "reel=broken", HTTP_LINK_SEVERAL},
        {"/t/broken/files/a/b/c?" Q, NULL, HTTP_LINK_SEVERAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct link_token token;
        char signature[LINK_SIGNATURE_LENGTH + 1];
        struct http_text cookie = http_text_of(rows[i].cookie ? rows[i].cookie : "");
        enum http_link_form form =
            find(http_text_of(rows[i].target), &cookie, rows[i].cookie ? 1 : 0, &token);
        if (form != rows[i].form)
            fail_msg("%s, cookie %s: %d instead of %d", rows[i].target, rows[i].cookie, form, rows[i].form);
        if (form == HTTP_LINK_QUERY || form == HTTP_LINK_PATH || form == HTTP_LINK_COOKIE) {
            assert_string_equal(link_signature_format(&token, signature), S);
            assert_string_equal(token.key, "app-a");
            assert_int_equal(token.expires, 0x67a1b2c3);
            assert_int_equal(token.scope, LINK_SCOPE_FILE);
        }
    }
}

static void two_lines_of_cookies_are_one_list(void **state)
{
    (void)state;
    const struct http_text cookies[] = {http_text_of("a=b"), http_text_of("reel=" T),
                                        http_text_of("reel=" T)};
    struct link_token token;
    assert_int_equal(find(http_text_of("/files/x"), cookies, 2, &token), HTTP_LINK_COOKIE);
    assert_int_equal(find(http_text_of("/files/x"), cookies, 3, &token), HTTP_LINK_SEVERAL);
}

static void what_stands_behind_a_link_is_the_address(void **state)
{
    (void)state;
    struct http_target target;
    assert_int_equal(
        http_target_parse(http_text_of("/t/" T "/files/app/u%2Fx/id/n.mp4?download"), "", "", &target),
        HTTP_TARGET_FILE);
    assert_string_equal(target.key.user, "u/x");
    assert_string_equal(target.key.file, "id");
    assert_string_equal(target.name, "n.mp4");
    assert_true(target.download);
    assert_int_equal(http_target_parse(http_text_of("http://h/t/" T "/files/id"), "app", "user", &target),
                     HTTP_TARGET_FILE);
    assert_int_equal(http_target_parse(http_text_of("/t/" T), "app", "user", &target), HTTP_TARGET_UNKNOWN);
    assert_int_equal(http_target_parse(http_text_of("/t/" T "/t/" T "/files/id"), "app", "user", &target),
                     HTTP_TARGET_UNKNOWN);
    assert_int_equal(http_target_parse(http_text_of("/t/x/files/id"), "app", "user", &target),
                     HTTP_TARGET_UNKNOWN);
}

static void logs_show_no_signature(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"/files/a/b/c", "/files/a/b/c"},
        {"*", "*"},
        {"", ""},
        {"/files/a/b/c?download=s&x=s", "/files/a/b/c?download=s&x=s"},
        {"/files/a/b/c?" Q, "/files/a/b/c?e=67a1b2c3&k=app-a&s=***"},
        {"/files/a/b/c?s=" S "&s=" S "&e=1", "/files/a/b/c?s=***&s=***&e=1"},
        {"/files/a/b/c?s", "/files/a/b/c?s=***"},
        {"/files/a/b/c?E=1&K=a&S=" S "&%73=" S "&%53=" S, "/files/a/b/c?E=1&K=a&S=***&%73=***&%53=***"},
        {"/files/a/b/c?ss=" S "&=s", "/files/a/b/c?ss=" S "&=s"},
        {"/t/" T "/files/a/b/c?x", "/t/app-a.67a1b2c3.f.***/files/a/b/c?x"},
        {"/t/" T, "/t/app-a.67a1b2c3.f.***"},
        {"/t/secret/files/a", "/t/***/files/a"},
        {"http://h:1/t/" T "/files/a?" Q,
         "http://h:1/t/app-a.67a1b2c3.f.***/files/a?e=67a1b2c3&k=app-a&s=***"},
        {"https://h/media/t/" T "/hls/a/b/c/master.m3u8",
         "https://h/media/t/app-a.67a1b2c3.f.***/hls/a/b/c/master.m3u8"}, /* a page below a proxy's path */
        {"/t/" T "/t/" T "/files/a", "/t/app-a.67a1b2c3.f.***/t/app-a.67a1b2c3.f.***/files/a"},
        {"//t/" T, "//t/app-a.67a1b2c3.f.***"},
        {"/files/a/t/1.67a1b2c3.f.mp4", "/files/a/t/1.67a1b2c3.f.mp4"}, /* a user who is called t */
        {"/t/", "/t/***"},
        {"https://h", "https://h"},
        {"https://h?s=1&", "https://h?s=***&"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char out[256];
        size_t size = http_link_mask(http_text_of(rows[i][0]), out, sizeof(out));
        if (size != strlen(rows[i][1]) || memcmp(out, rows[i][1], size) != 0)
            fail_msg("%s: %.*s", rows[i][0], (int)size, out);
    }
    char small[8];
    assert_int_equal(http_link_mask(http_text_of("/t/" T "/files"), small, sizeof(small)), sizeof(small));
    assert_memory_equal(small, "/t/app-a", sizeof(small));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_found_once_and_as_it_must_be_written),
        cmocka_unit_test(two_lines_of_cookies_are_one_list),
        cmocka_unit_test(what_stands_behind_a_link_is_the_address),
        cmocka_unit_test(logs_show_no_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
