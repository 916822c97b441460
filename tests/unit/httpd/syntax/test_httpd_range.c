/* http_range: RFC 9110 section 14. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "httpd/syntax/http_range.h"

#define SIZE 10000

static enum http_range_verdict parse(const char *value, int64_t size, struct http_range_set *set)
{
    return http_range_parse(http_text_of(value), size, set);
}

/* One row: a field, the size, the verdict, and the ranges as "offset+length offset+length". */
struct row {
    const char *value;
    int64_t size;
    enum http_range_verdict verdict;
    const char *ranges;
};

static const char *show(const struct http_range_set *set)
{
    static char text[2048];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < set->count; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld+%lld", i ? " " : "",
                                 (long long)set->ranges[i].offset, (long long)set->ranges[i].length);
    return text;
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct http_range_set set;
        enum http_range_verdict verdict = parse(rows[i].value, rows[i].size, &set);
        if (verdict != rows[i].verdict)
            fail_msg("\"%s\" of %lld bytes: verdict %d", rows[i].value, (long long)rows[i].size,
                     (int)verdict);
        if (verdict == HTTP_RANGE_PARTIAL && strcmp(show(&set), rows[i].ranges) != 0)
            fail_msg("\"%s\" of %lld bytes: %s", rows[i].value, (long long)rows[i].size, show(&set));
    }
}

static void the_examples_of_the_rfc_come_out_as_it_says(void **state)
{
    static const struct row rows[] = {
        {"bytes=0-499", SIZE, HTTP_RANGE_PARTIAL, "0+500"},
        {"bytes=500-999", SIZE, HTTP_RANGE_PARTIAL, "500+500"},
        {"bytes=-500", SIZE, HTTP_RANGE_PARTIAL, "9500+500"},
        {"bytes=9500-", SIZE, HTTP_RANGE_PARTIAL, "9500+500"},
        {"bytes=0-0,-1", SIZE, HTTP_RANGE_PARTIAL, "0+1 9999+1"},
        {"bytes= 0-0, 4500-5499, -1000", SIZE, HTTP_RANGE_PARTIAL, "0+1 4500+1000 9000+1000"},
        {"bytes=500-600,601-999", SIZE, HTTP_RANGE_PARTIAL, "500+500"},
        {"bytes=500-700,601-999", SIZE, HTTP_RANGE_PARTIAL, "500+500"},
        {"bytes=1-", SIZE, HTTP_RANGE_PARTIAL, "1+9999"},
        {"bytes=0-", SIZE, HTTP_RANGE_PARTIAL, "0+10000"},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows));
}

static void a_range_past_the_end_is_cut_and_one_wholly_past_it_is_not_satisfiable(void **state)
{
    static const struct row rows[] = {
        {"bytes=9999-20000", SIZE, HTTP_RANGE_PARTIAL, "9999+1"},
        {"bytes=0-99999999999999999999999", SIZE, HTTP_RANGE_PARTIAL, "0+10000"},
        {"bytes=-99999999999999999999999", SIZE, HTTP_RANGE_PARTIAL, "0+10000"},
        {"bytes=10000-", SIZE, HTTP_RANGE_UNSATISFIABLE, ""},
        {"bytes=10000-10001", SIZE, HTTP_RANGE_UNSATISFIABLE, ""},
        {"bytes=99999999999999999999999-", SIZE, HTTP_RANGE_UNSATISFIABLE, ""},
        {"bytes=-0", SIZE, HTTP_RANGE_UNSATISFIABLE, ""},
        {"bytes=10000-,-0", SIZE, HTTP_RANGE_UNSATISFIABLE, ""},
        {"bytes=10000-,-0,5-5", SIZE, HTTP_RANGE_PARTIAL, "5+1"},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows));
}

static void a_field_that_breaks_the_grammar_or_has_another_unit_is_ignored(void **state)
{
    static const char *const values[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=5",
        "bytes=5-4",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=1 -2",
        "bytes=+1-2",
        "bytes=0x1-2",
        "items=0-5",
        "seconds=1-2",
        "bytes 0-5",
        "bytes=0-5;6-7",
        "bytes=0-5,x",
        "bytes =0-5",
        "=0-5",
        "bytes=1-2=3",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        struct http_range_set set;
        if (parse(values[i], SIZE, &set) != HTTP_RANGE_WHOLE)
            fail_msg("\"%s\" was not ignored", values[i]);
    }
}

static void the_unit_is_case_insensitive_and_empty_list_elements_do_not_count(void **state)
{
    static const struct row rows[] = {
        {"Bytes=0-4", SIZE, HTTP_RANGE_PARTIAL, "0+5"},
        {"BYTES=0-4", SIZE, HTTP_RANGE_PARTIAL, "0+5"},
        {"bytes=,,0-4 ,\t, 1000-1004,", SIZE, HTTP_RANGE_PARTIAL, "0+5 1000+5"},
        {" bytes=0-4 ", SIZE, HTTP_RANGE_PARTIAL, "0+5"},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows));
}

static void a_range_of_an_empty_file_is_ignored(void **state)
{
    static const struct row rows[] = {
        {"bytes=0-", 0, HTTP_RANGE_WHOLE, ""},       {"bytes=0-0", 0, HTTP_RANGE_WHOLE, ""},
        {"bytes=-0", 0, HTTP_RANGE_WHOLE, ""},       {"bytes=-5", 0, HTTP_RANGE_WHOLE, ""},
        {"bytes=0-0", 1, HTTP_RANGE_PARTIAL, "0+1"}, {"bytes=-1", 1, HTTP_RANGE_PARTIAL, "0+1"},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows));
}

static void ranges_that_overlap_or_nearly_touch_become_one(void **state)
{
    static const struct row rows[] = {
        {"bytes=0-99,180-199", SIZE, HTTP_RANGE_PARTIAL, "0+200"},
        {"bytes=0-99,181-199", SIZE, HTTP_RANGE_PARTIAL, "0+100 181+19"},
        {"bytes=180-199,0-99", SIZE, HTTP_RANGE_PARTIAL, "0+200"},
        {"bytes=0-9,0-9,0-9,0-9", SIZE, HTTP_RANGE_PARTIAL, "0+10"},
        {"bytes=0-9,2000-2009,5-2005", SIZE, HTTP_RANGE_PARTIAL, "0+2010"},
        {"bytes=0-9,1000-1009,900-950,100-910", SIZE, HTTP_RANGE_PARTIAL, "0+10 100+910"},
        {"bytes=-10,0-5,5000-", SIZE, HTTP_RANGE_PARTIAL, "5000+5000 0+6"},
        {"bytes=0-,5-6,-5", SIZE, HTTP_RANGE_PARTIAL, "0+10000"},
        {"bytes=5000-5009,0-9", SIZE, HTTP_RANGE_PARTIAL, "5000+10 0+10"},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows));
}

static void more_ranges_than_the_cap_are_answered_with_the_whole_file(void **state)
{
    char value[4096] = "bytes=0-0";
    struct http_range_set set;
    (void)state;
    for (int i = 1; i < HTTP_RANGES_MAX; i++)
        snprintf(value + strlen(value), sizeof(value) - strlen(value), ",%d-%d", i * 1000, i * 1000);
    assert_int_equal(parse(value, 1000000, &set), HTTP_RANGE_PARTIAL);
    assert_int_equal(set.count, HTTP_RANGES_MAX);
    strcat(value, ",900000-900001");
    assert_int_equal(parse(value, 1000000, &set), HTTP_RANGE_WHOLE);
}

static void sizes_near_the_limit_do_not_overflow(void **state)
{
    struct http_range_set set;
    (void)state;
    assert_int_equal(parse("bytes=0-,9223372036854775806-9223372036854775807", INT64_MAX, &set),
                     HTTP_RANGE_PARTIAL);
    assert_int_equal(set.count, 1);
    assert_true(set.ranges[0].length == INT64_MAX);
    assert_int_equal(parse("bytes=-9223372036854775807", INT64_MAX, &set), HTTP_RANGE_PARTIAL);
    assert_true(set.ranges[0].offset == 0 && set.ranges[0].length == INT64_MAX);
}

static void the_length_of_a_multipart_body_is_what_its_parts_come_to(void **state)
{
    struct http_range_set set;
    char boundary[HTTP_RANGE_BOUNDARY_SIZE], head[HTTP_RANGE_PART_HEAD_SIZE];
    static const uint8_t random[12] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55,
                                       0x66, 0x77, 0x88, 0x99, 0xaa, 0xff};
    (void)state;
    http_range_boundary(random, boundary);
    assert_string_equal(boundary, "00112233445566778899aaff");
    assert_int_equal(parse("bytes=0-0,-1", SIZE, &set), HTTP_RANGE_PARTIAL);

    size_t first = http_range_part_head(head, &set.ranges[0], SIZE, "video/mp4", boundary);
    assert_string_equal(head, "\r\n--00112233445566778899aaff\r\nContent-Type: video/mp4\r\n"
                              "Content-Range: bytes 0-0/10000\r\n\r\n");
    assert_int_equal(first, strlen(head));
    size_t second = http_range_part_head(head, &set.ranges[1], SIZE, "video/mp4", boundary);
    size_t last = http_range_last_delimiter(head, boundary);
    assert_string_equal(head, "\r\n--00112233445566778899aaff--\r\n");
    assert_int_equal(http_range_multipart_length(&set, SIZE, "video/mp4", boundary),
                     first + 1 + second + 1 + last);
}

static void the_longest_part_head_fits(void **state)
{
    char type[128], head[HTTP_RANGE_PART_HEAD_SIZE];
    struct http_range range = {INT64_MAX - 1, 1};
    (void)state;
    memset(type, 'a', 127);
    type[127] = '\0';
    size_t size = http_range_part_head(head, &range, INT64_MAX, type, "00112233445566778899aaff");
    assert_int_equal(size, strlen(head));
    assert_string_equal(head + size - 4, "\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfc_come_out_as_it_says),
        cmocka_unit_test(a_range_past_the_end_is_cut_and_one_wholly_past_it_is_not_satisfiable),
        cmocka_unit_test(a_field_that_breaks_the_grammar_or_has_another_unit_is_ignored),
        cmocka_unit_test(the_unit_is_case_insensitive_and_empty_list_elements_do_not_count),
        cmocka_unit_test(a_range_of_an_empty_file_is_ignored),
        cmocka_unit_test(ranges_that_overlap_or_nearly_touch_become_one),
        cmocka_unit_test(more_ranges_than_the_cap_are_answered_with_the_whole_file),
        cmocka_unit_test(sizes_near_the_limit_do_not_overflow),
        cmocka_unit_test(the_length_of_a_multipart_body_is_what_its_parts_come_to),
        cmocka_unit_test(the_longest_part_head_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
