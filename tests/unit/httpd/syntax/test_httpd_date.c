/* http_date: the three date forms of RFC 9110 section 5.6.7. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "httpd/syntax/http_date.h"

#define NOW INT64_C(1606780800) /* 2020-12-01 */

static bool parse(const char *text, int64_t *seconds)
{
    return http_date_parse(http_text_of(text), NOW, seconds);
}

static void the_three_forms_of_the_rfc_are_the_same_moment(void **state)
{
    static const char *const forms[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994", "  Sun, 06 Nov 1994 08:49:37 GMT\t"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        int64_t seconds = 0;
        assert_true(parse(forms[i], &seconds));
        assert_int_equal(seconds, 784111777);
    }
}

static void a_date_is_written_as_imf_fixdate(void **state)
{
    char buffer[HTTP_DATE_SIZE];
    (void)state;
    assert_string_equal(http_date_format(784111777, buffer), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(http_date_format(0, buffer), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(http_date_format(951782400, buffer), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_string_equal(http_date_format(4102444800, buffer), "Fri, 01 Jan 2100 00:00:00 GMT");
    assert_string_equal(http_date_format(-1, buffer), "Wed, 31 Dec 1969 23:59:59 GMT");
}

static void a_date_out_of_the_four_digit_years_is_cut_to_the_nearest(void **state)
{
    char buffer[HTTP_DATE_SIZE];
    (void)state;
    assert_string_equal(http_date_format(INT64_MAX, buffer), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_string_equal(http_date_format(INT64_MIN, buffer), "Mon, 01 Jan 0001 00:00:00 GMT");
}

static void every_day_of_four_centuries_is_read_back_as_it_was_written(void **state)
{
    (void)state;
    for (int64_t day = -80000; day < 80000; day += 1) {
        char buffer[HTTP_DATE_SIZE];
        int64_t seconds, moment = day * 86400 + (day * 7919 % 86400 + 86400) % 86400;
        assert_true(parse(http_date_format(moment, buffer), &seconds));
        assert_int_equal(seconds, moment);
    }
}

static void a_two_digit_year_is_never_more_than_50_years_ahead(void **state)
{
    int64_t seconds;
    char buffer[HTTP_DATE_SIZE];
    (void)state;
    assert_true(parse("Wednesday, 01-Jan-70 00:00:00 GMT", &seconds));
    assert_string_equal(http_date_format(seconds, buffer) + 12, "2070 00:00:00 GMT");
    assert_true(parse("Friday, 01-Jan-71 00:00:00 GMT", &seconds));
    assert_string_equal(http_date_format(seconds, buffer) + 12, "1971 00:00:00 GMT");
}

static void what_is_no_date_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT+1",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:3x GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        int64_t seconds;
        if (parse(wrong[i], &seconds))
            fail_msg("\"%s\" was taken", wrong[i]);
    }
}

static void a_leap_second_is_a_second(void **state)
{
    int64_t seconds;
    (void)state;
    assert_true(parse("Sat, 31 Dec 2016 23:59:60 GMT", &seconds));
    assert_int_equal(seconds, 1483228800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_forms_of_the_rfc_are_the_same_moment),
        cmocka_unit_test(a_date_is_written_as_imf_fixdate),
        cmocka_unit_test(a_date_out_of_the_four_digit_years_is_cut_to_the_nearest),
        cmocka_unit_test(every_day_of_four_centuries_is_read_back_as_it_was_written),
        cmocka_unit_test(a_two_digit_year_is_never_more_than_50_years_ahead),
        cmocka_unit_test(what_is_no_date_is_refused),
        cmocka_unit_test(a_leap_second_is_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
