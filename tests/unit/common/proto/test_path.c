/* Where stored files lie: the base-512 form, checked against the predecessor's layout. */
#include "common/proto/path.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void the_form_is_the_documented_one(void **state)
{
    static const struct {
        struct path path;
        const char *text;
    } rows[] = {
        {{5, 0x5F9E3FA7}, "000/000/000/5F9E3FA7_005"},
        {{0, 0}, "000/000/000/00000000_000"},
        {{511, 1}, "000/000/000/00000001_1FF"},
        {{512, 1}, "000/000/001/00000001_000"},
        {{INT64_C(512) * 512, 1}, "000/001/000/00000001_000"},
        {{INT64_C(512) * 512 * 512, 1}, "001/000/000/00000001_000"},
        {{PATH_VALUES - 1, PATH_SECONDS_MAX}, "1FF/1FF/1FF/FFFFFFFF_1FF"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[PATH_TEXT_SIZE];
        struct path back;
        assert_true(path_format(&rows[i].path, text));
        assert_string_equal(text, rows[i].text);
        assert_true(path_parse(text, &back));
        assert_true(back.value == rows[i].path.value && back.seconds == rows[i].path.seconds);
    }
}

static void what_is_written_is_read_back(void **state)
{
    uint64_t random = 88172645463325252u;
    (void)state;
    for (int round = 0; round < 100000; round++) {
        char text[PATH_TEXT_SIZE];
        struct path path, back;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        path.value = (int64_t)(random & (uint64_t)(PATH_VALUES - 1));
        path.seconds = (int64_t)(random >> 32);
        assert_true(path_format(&path, text));
        assert_true(path_parse(text, &back));
        assert_true(back.value == path.value && back.seconds == path.seconds);
    }
}

static void what_is_out_of_bounds_is_not_written(void **state)
{
    static const struct path wrong[] = {
        {-1, 0}, {PATH_VALUES, 0}, {INT64_MAX, 0}, {0, -1}, {0, PATH_SECONDS_MAX + 1}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char text[PATH_TEXT_SIZE] = "x";
        assert_false(path_format(&wrong[i], text));
        assert_string_equal(text, "");
    }
}

static void anything_else_in_a_row_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "000",
        "000/000/000/",
        "000/000/000/5F9E3FA7_00",
        "000/000/000/5F9E3FA7_0055",
        "000/000/000/5F9E3FA7_005 ",
        " 000/000/000/5F9E3FA7_005",
        "000/000/000/5f9e3fa7_005",
        "000/000/000/5F9E3FA7-005",
        "000/000/000/5F9E3FA_0005",
        "200/000/000/5F9E3FA7_005",
        "000/000/000/5F9E3FA7_200",
        "00/0000/000/5F9E3FA7_005",
        "../000/000/5F9E3FA7_005",
        "000/../000/5F9E3FA7_005",
        "000/000/000/../../etc_p",
        "000//00/000/5F9E3FA7_005",
        "000\\000\\000\\5F9E3FA7_005",
        "0x0/000/000/5F9E3FA7_005",
        "+00/000/000/5F9E3FA7_005",
        "/000/000/000/5F9E3FA7_005",
    };
    struct path path;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(path_parse(wrong[i], &path));
}

static void every_directory_above_a_file_has_its_name_and_number(void **state)
{
    const int64_t value = ((INT64_C(0x1AB) * 512 + 0x02C) * 512 + 0x1FF) * 512 + 7;
    char text[PATH_TEXT_SIZE];
    (void)state;
    path_directory(value, 0, text);
    assert_string_equal(text, ".");
    path_directory(value, 1, text);
    assert_string_equal(text, "1AB");
    path_directory(value, 2, text);
    assert_string_equal(text, "1AB/02C");
    path_directory(value, 3, text);
    assert_string_equal(text, "1AB/02C/1FF");
    for (int depth = 1; depth <= PATH_DIRECTORY_DEPTH; depth++) {
        assert_true(path_directory_number(value, depth) == path_directory_number(value + 1, depth));
        assert_true(path_directory_number(value, depth) != path_directory_number(value, depth - 1));
    }
    assert_true(path_directory_number(value, 3) != path_directory_number(value + 512, 3));
    assert_true(path_directory_number(value, 2) == path_directory_number(value - 512, 2));
    /* "000" and "000/000" are not the same directory. */
    assert_true(path_directory_number(0, 1) != path_directory_number(0, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_form_is_the_documented_one),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_is_out_of_bounds_is_not_written),
        cmocka_unit_test(anything_else_in_a_row_is_refused),
        cmocka_unit_test(every_directory_above_a_file_has_its_name_and_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
