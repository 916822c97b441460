/* Routing rules as they are written in the configuration. */
#include "tracker/pins.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static bool parse(const char *const *texts, size_t count, struct pins *pins, struct error *error)
{
    struct config_strings strings = {.items = (char **)(uintptr_t)texts, .count = count};
    return pins_parse(&strings, pins, error);
}

static void a_rule_names_its_groups(void **state)
{
    const char *const texts[] = {"app:tnvideo=group001|group002", "user:vip- = group003 | group004 "};
    struct pins pins;
    struct error error;
    (void)state;
    assert_true(parse(texts, 2, &pins, &error));
    assert_int_equal(pins.count, 2);
    assert_false(pins.items[0].is_user);
    assert_string_equal(pins.items[0].subject, "tnvideo");
    assert_int_equal(pins.items[0].group_count, 2);
    assert_string_equal(pins.items[0].groups[1], "group002");
    assert_true(pins.items[1].is_user);
    assert_string_equal(pins.items[1].subject, "vip-");
    assert_int_equal(pins.items[1].group_count, 2);
    assert_string_equal(pins.items[1].groups[0], "group003");
    assert_string_equal(pins.items[1].groups[1], "group004");
    pins_clear(&pins);
}

static void the_longest_user_prefix_goes_before_shorter_ones_and_the_application(void **state)
{
    const char *const texts[] = {"user:v=g1", "app:tnvideo=g2", "user:vip=g3", "user:vi=g5", "app:other=g4"};
    struct pins pins;
    struct error error;
    (void)state;
    assert_true(parse(texts, 5, &pins, &error));
    assert_string_equal(pins_match(&pins, "tnvideo", "vip1")->groups[0], "g3");
    assert_string_equal(pins_match(&pins, "tnvideo", "vi")->groups[0], "g5");
    assert_string_equal(pins_match(&pins, "tnvideo", "vo")->groups[0], "g1");
    assert_string_equal(pins_match(&pins, "tnvideo", "alice")->groups[0], "g2");
    assert_string_equal(pins_match(&pins, "other", "alice")->groups[0], "g4");
    assert_null(pins_match(&pins, "third", "alice"));
    pins_clear(&pins);
}

static void without_rules_nobody_is_pinned(void **state)
{
    struct pins pins;
    struct error error;
    (void)state;
    assert_true(parse(NULL, 0, &pins, &error));
    assert_null(pins_match(&pins, "tnvideo", "alice"));
    pins_clear(&pins);
}

static void what_is_no_rule_is_refused_and_quoted(void **state)
{
    const char *const bad[] = {"tnvideo=g1",
                               "app:tnvideo",
                               "app:=g1",
                               "app:a-b=g1",
                               "user:=g1",
                               "user:a=",
                               "user:a=g1|",
                               "user:a=g1||g2",
                               "user:a=g-1",
                               "user:a=a2345678901234567",
                               "app:a234567890123456=g1",
                               ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct pins pins;
        struct error error = {0};
        assert_false(parse(&bad[i], 1, &pins, &error));
        assert_non_null(strstr(error.text, bad[i]));
        assert_non_null(strstr(error.text, "tracker.pins"));
        assert_int_equal(pins.count, 0);
    }
}

static void a_subject_is_pinned_once(void **state)
{
    const char *const texts[] = {"user:a=g1", "app:a=g1", "user:a=g2"};
    struct pins pins;
    struct error error;
    (void)state;
    assert_false(parse(texts, 3, &pins, &error));
    assert_non_null(strstr(error.text, "pinned twice"));
    assert_true(parse(texts, 2, &pins, &error));
    pins_clear(&pins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_names_its_groups),
        cmocka_unit_test(the_longest_user_prefix_goes_before_shorter_ones_and_the_application),
        cmocka_unit_test(without_rules_nobody_is_pinned),
        cmocka_unit_test(what_is_no_rule_is_refused_and_quoted),
        cmocka_unit_test(a_subject_is_pinned_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
