/* http_conditions: RFC 9110 section 13. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "httpd/syntax/http_conditions.h"

#define TAG      "\"0123456789abcdef\""
#define OTHER    "\"fedcba9876543210\""
#define MODIFIED INT64_C(784111777)
#define SAME     "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE   "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER    "Sun, 06 Nov 1994 08:49:38 GMT"
#define NOW      INT64_C(1606780800)

static const struct http_validators validators = {TAG, MODIFIED};
static const struct http_validators undated = {TAG, 0};

/* NULL: the field is absent. */
struct row {
    const char *if_match, *if_unmodified_since, *if_none_match, *if_modified_since;
    enum http_condition_verdict verdict;
};

static struct http_text text_or_absent(const char *text)
{
    return text == NULL ? (struct http_text){NULL, 0} : http_text_of(text);
}

static struct http_conditions make(const struct row *row)
{
    struct http_conditions conditions = {.if_match = {text_or_absent(row->if_match)},
                                         .if_match_count = row->if_match != NULL,
                                         .if_none_match = {text_or_absent(row->if_none_match)},
                                         .if_none_match_count = row->if_none_match != NULL,
                                         .if_modified_since = text_or_absent(row->if_modified_since),
                                         .if_unmodified_since = text_or_absent(row->if_unmodified_since)};
    return conditions;
}

static void check_rows(const struct row *rows, size_t count, const struct http_validators *with)
{
    for (size_t i = 0; i < count; i++) {
        struct http_conditions conditions = make(&rows[i]);
        enum http_condition_verdict verdict = http_conditions_evaluate(&conditions, with, NOW);
        if (verdict != rows[i].verdict)
            fail_msg("row %zu: verdict %d instead of %d", i, (int)verdict, (int)rows[i].verdict);
    }
}

#define GO   HTTP_CONDITION_PROCEED
#define SEEN HTTP_CONDITION_NOT_MODIFIED
#define FAIL HTTP_CONDITION_FAILED

static void single_conditions_give_what_the_rfc_says(void **state)
{
    static const struct row rows[] = {
        {NULL, NULL, NULL, NULL, GO},
        {TAG, NULL, NULL, NULL, GO},
        {OTHER, NULL, NULL, NULL, FAIL},
        {"*", NULL, NULL, NULL, GO},
        {OTHER ", " TAG, NULL, NULL, NULL, GO},
        {OTHER "," TAG, NULL, NULL, NULL, GO},
        {"W/" TAG, NULL, NULL, NULL, FAIL}, /* strong comparison */
        {"", NULL, NULL, NULL, FAIL},
        {"0123456789abcdef", NULL, NULL, NULL, FAIL}, /* no quotes, no entity-tag */
        {NULL, SAME, NULL, NULL, GO},
        {NULL, AFTER, NULL, NULL, GO},
        {NULL, BEFORE, NULL, NULL, FAIL},
        {NULL, "yesterday", NULL, NULL, GO}, /* no date: ignored */
        {NULL, NULL, TAG, NULL, SEEN},
        {NULL, NULL, OTHER, NULL, GO},
        {NULL, NULL, "*", NULL, SEEN},
        {NULL, NULL, "W/" TAG, NULL, SEEN}, /* weak comparison */
        {NULL, NULL, OTHER " ,\tW/" TAG " ", NULL, SEEN},
        {NULL, NULL, "\"a,b\", " TAG, NULL, SEEN}, /* a comma inside a tag */
        {NULL, NULL, "garbage", NULL, GO},
        {NULL, NULL, NULL, SAME, SEEN},
        {NULL, NULL, NULL, AFTER, SEEN},
        {NULL, NULL, NULL, BEFORE, GO},
        {NULL, NULL, NULL, "Sunday, 06-Nov-94 08:49:37 GMT", SEEN},
        {NULL, NULL, NULL, "Sun Nov  6 08:49:37 1994", SEEN},
        {NULL, NULL, NULL, "784111777", GO},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows), &validators);
}

static void tags_go_before_dates_and_preconditions_before_caches(void **state)
{
    static const struct row rows[] = {
        {TAG, BEFORE, NULL, NULL, GO}, /* If-Unmodified-Since is ignored beside If-Match */
        {OTHER, AFTER, NULL, NULL, FAIL}, {NULL, NULL, OTHER, SAME, GO}, /* If-Modified-Since is ignored
                                                                            beside If-None-Match */
        {NULL, NULL, TAG, BEFORE, SEEN},  {TAG, NULL, TAG, NULL, SEEN},  /* step 1 holds, step 3 decides */
        {OTHER, NULL, TAG, NULL, FAIL},                                  /* step 1 fails first */
        {NULL, BEFORE, TAG, NULL, FAIL},  {NULL, SAME, NULL, SAME, SEEN}, {TAG, NULL, OTHER, NULL, GO},
    };
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows), &validators);
}

static void without_a_modification_date_date_conditions_are_ignored(void **state)
{
    static const struct row rows[] = {
        {NULL, BEFORE, NULL, NULL, GO}, {NULL, NULL, NULL, AFTER, GO}, {NULL, NULL, TAG, NULL, SEEN}};
    (void)state;
    check_rows(rows, ARRAY_SIZE(rows), &undated);
}

static void a_list_may_be_spread_over_several_lines(void **state)
{
    struct http_conditions conditions = {.if_none_match = {http_text_of(OTHER), http_text_of(TAG)},
                                         .if_none_match_count = 2};
    (void)state;
    assert_int_equal(http_conditions_evaluate(&conditions, &validators, NOW), SEEN);
}

static bool if_range(const char *value, const struct http_validators *with)
{
    struct http_conditions conditions = {.if_range = text_or_absent(value)};
    return http_conditions_range_applies(&conditions, with, NOW);
}

static void if_range_lets_the_range_count_only_for_the_very_same_representation(void **state)
{
    (void)state;
    assert_true(if_range(NULL, &validators));
    assert_true(if_range(TAG, &validators));
    assert_true(if_range("  " TAG " ", &validators));
    assert_false(if_range(OTHER, &validators));
    assert_false(if_range("W/" TAG, &validators)); /* strong comparison */
    assert_false(if_range("*", &validators));
    assert_false(if_range("", &validators));
    assert_true(if_range(SAME, &validators));
    assert_true(if_range("Sun Nov  6 08:49:37 1994", &validators));
    assert_false(if_range(AFTER, &validators)); /* an exact match, not "not later than" */
    assert_false(if_range(BEFORE, &validators));
    assert_false(if_range(SAME, &undated));
    assert_false(if_range("Thu, 01 Jan 1970 00:00:00 GMT", &undated));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_conditions_give_what_the_rfc_says),
        cmocka_unit_test(tags_go_before_dates_and_preconditions_before_caches),
        cmocka_unit_test(without_a_modification_date_date_conditions_are_ignored),
        cmocka_unit_test(a_list_may_be_spread_over_several_lines),
        cmocka_unit_test(if_range_lets_the_range_count_only_for_the_very_same_representation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
