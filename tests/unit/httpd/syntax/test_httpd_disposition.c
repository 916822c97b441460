/* disposition: RFC 6266 and RFC 8187. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "httpd/syntax/disposition.h"

static void check(const char *name, const char *expected)
{
    char buffer[DISPOSITION_SIZE];
    assert_string_equal(disposition_format(name, buffer), expected);
}

static void a_plain_name_stands_once(void **state)
{
    (void)state;
    check("clip.mp4", "attachment; filename=\"clip.mp4\"");
    check("my holiday; part 1.mp4", "attachment; filename=\"my holiday; part 1.mp4\"");
    check("", "attachment");
}

static void a_name_outside_of_ascii_stands_twice(void **state)
{
    (void)state;
    check("\xe2\x82\xac rates.mp4",
          "attachment; filename=\"_ rates.mp4\"; filename*=UTF-8''%E2%82%AC%20rates.mp4");
    check("\xe4\xb8\xad\xe6\x96\x87.mkv",
          "attachment; filename=\"__.mkv\"; filename*=UTF-8''%E4%B8%AD%E6%96%87.mkv");
    check("\xf0\x9f\x8e\xac", "attachment; filename=\"_\"; filename*=UTF-8''%F0%9F%8E%AC");
}

static void what_browsers_read_differently_is_only_in_the_extended_form(void **state)
{
    (void)state;
    check("a\"b.mp4", "attachment; filename=\"a_b.mp4\"; filename*=UTF-8''a%22b.mp4");
    check("100%25.mp4", "attachment; filename=\"100_25.mp4\"; filename*=UTF-8''100%2525.mp4");
}

static void no_name_can_break_the_header_or_name_a_directory(void **state)
{
    (void)state;
    check("a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y");
    check("../../etc/passwd", "attachment; filename=\"passwd\"");
    check("C:\\temp\\x.mp4", "attachment; filename=\"x.mp4\"");
    check("dir/", "attachment");
}

static void bytes_that_are_no_utf8_are_not_announced_as_utf8(void **state)
{
    (void)state;
    check("\xff\xfe.mp4", "attachment; filename=\"__.mp4\"");
    check("\xc0\xaf", "attachment; filename=\"__\"");
    check("\xed\xa0\x80", "attachment; filename=\"___\"");
    check("caf\xe9", "attachment; filename=\"caf_\"");
    check("\xe2\x82", "attachment; filename=\"__\"");
}

static void the_longest_name_fits(void **state)
{
    char name[256], buffer[DISPOSITION_SIZE];
    (void)state;
    for (size_t i = 0; i < 254; i += 2)
        memcpy(name + i, "\xc3\xbc", 2);
    name[254] = '%';
    name[255] = '\0';
    disposition_format(name, buffer);
    assert_string_equal(buffer + strlen(buffer) - 9, "%C3%BC%25");
}

static void types_that_browsers_may_show_are_told_from_the_others(void **state)
{
    static char video[] = "video/*", image[] = "image/*", text[] = "text/plain", svg[] = "image/svg+xml";
    char *const types[] = {video, image, text, svg};
    static const struct {
        const char *type;
        bool shown, named; /* with the first three; with all */
    } rows[] = {
        {"video/mp4", true, true},
        {"VIDEO/MP4", true, true},
        {"image/png", true, true},
        {"image/svg+xml", false, true},
        {"image/SVG+XML", false, true},
        {"image/svg+xml; charset=utf-8", false, true},
        {"text/plain", true, true},
        {"text/plain; charset=utf-8", true, true},
        {"text/plain2", false, false},
        {"text/html", false, false},
        {"video", false, false},
        {"video/", false, false},
        {"videos/mp4", false, false},
        {"application/octet-stream", false, false},
        {"", false, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (disposition_is_inline(types, 3, rows[i].type) != rows[i].shown ||
            disposition_is_inline(types, 4, rows[i].type) != rows[i].named)
            fail_msg("%s", rows[i].type);
    }
    assert_false(disposition_is_inline(types, 0, "video/mp4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_name_stands_once),
        cmocka_unit_test(a_name_outside_of_ascii_stands_twice),
        cmocka_unit_test(what_browsers_read_differently_is_only_in_the_extended_form),
        cmocka_unit_test(no_name_can_break_the_header_or_name_a_directory),
        cmocka_unit_test(bytes_that_are_no_utf8_are_not_announced_as_utf8),
        cmocka_unit_test(the_longest_name_fits),
        cmocka_unit_test(types_that_browsers_may_show_are_told_from_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
