/* Fields that an operator adds to answers. */
#include "httpd/syntax/extra_headers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void fields_come_out_trimmed_and_in_order(void **state)
{
    struct http_text rest = http_text_of(" Timing-Allow-Origin: * |X-Robots-Tag: noindex"), field;
    (void)state;
    assert_true(extra_headers_next(&rest, &field));
    assert_int_equal(field.size, strlen("Timing-Allow-Origin: *"));
    assert_memory_equal(field.bytes, "Timing-Allow-Origin: *", field.size);
    assert_true(extra_headers_next(&rest, &field));
    assert_int_equal(field.size, strlen("X-Robots-Tag: noindex"));
    assert_memory_equal(field.bytes, "X-Robots-Tag: noindex", field.size);
    assert_false(extra_headers_next(&rest, &field));
}

static void assert_refused(const char *text, const char *said)
{
    struct error error = {0};
    if (extra_headers_check(text, &error))
        fail_msg("\"%s\" was accepted", text);
    if (!strstr(error.text, said))
        fail_msg("\"%s\" does not say \"%s\"", error.text, said);
}

static void what_is_no_field_or_one_of_the_server_is_refused(void **state)
{
    char longest[1100] = "X-A: ";
    struct error error = {0};
    (void)state;
    assert_true(extra_headers_check("", &error));
    assert_true(extra_headers_check("X-Robots-Tag: noindex | Timing-Allow-Origin: *", &error));
    assert_refused("X-Robots-Tag noindex", "\"X-Robots-Tag noindex\" is not a header field");
    assert_refused("X Robots: a", "is not a header field");
    assert_refused(": a", "is not a header field");
    assert_refused("X-A: b\r\nX-B: c", "is not a header field");
    assert_refused("X-A: b | content-LENGTH: 3", "content-LENGTH is set by the server itself");
    memset(longest + 5, 'b', sizeof(longest) - 6);
    assert_refused(longest, "longer than 1024 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_out_trimmed_and_in_order),
        cmocka_unit_test(what_is_no_field_or_one_of_the_server_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
