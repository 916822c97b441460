/* The longer something fails, the longer it is left alone, up to a limit; by chance not all at one moment. */
#include "common/base/backoff.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void pauses_double_up_to_a_limit_and_begin_anew_after_a_success(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct backoff backoff = {.first_ms = 100, .longest_ms = 500};
        for (int success = 0; success < 2; success++) {
            assert_in_range(backoff_next(&backoff), 50, 100);
            assert_in_range(backoff_next(&backoff), 100, 200);
            assert_in_range(backoff_next(&backoff), 200, 400);
            assert_in_range(backoff_next(&backoff), 250, 500);
            assert_in_range(backoff_next(&backoff), 250, 500);
            backoff_reset(&backoff);
        }
    }
}

static void those_who_failed_together_come_back_apart(void **state)
{
    int64_t least = INT64_MAX, most = 0;
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct backoff backoff = {.first_ms = 1000, .longest_ms = 1000};
        int64_t pause_ms = backoff_next(&backoff);
        least = min_i64(least, pause_ms);
        most = max_i64(most, pause_ms);
    }
    assert_true(most - least > 250); /* of 500 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_a_limit_and_begin_anew_after_a_success),
        cmocka_unit_test(those_who_failed_together_come_back_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
