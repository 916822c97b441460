/*
 * test_clock: the two clocks, held against the system's own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/unit/library/fake_clock.h"

#include <time.h>

static void monotonic_time_never_goes_back(void **state)
{
    (void)state;
    int64_t last = clock_monotonic_us();
    for (int i = 0; i < 100000; i++) {
        int64_t now = clock_monotonic_us();
        assert_true(now >= last);
        last = now;
    }
}

static void milliseconds_and_microseconds_are_the_same_clock(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t before = clock_monotonic_us();
        int64_t now = clock_monotonic_ms();
        int64_t after = clock_monotonic_us();
        assert_true(now >= before / 1000);
        assert_true(now <= after / 1000);
    }
}

static void wall_time_is_the_time_of_the_system(void **state)
{
    (void)state;
    struct timespec before;
    struct timespec after;
    struct timespec tick; /* clock_wall_seconds() is the time of the last tick */
    assert_int_equal(clock_gettime(CLOCK_REALTIME_COARSE, &tick), 0);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &before), 0);
    int64_t seconds = clock_wall_seconds();
    int64_t microseconds = clock_wall_us();
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &after), 0);
    assert_true(seconds >= tick.tv_sec && seconds <= after.tv_sec);
    assert_true(microseconds >= (int64_t)before.tv_sec * 1000000 + before.tv_nsec / 1000);
    assert_true(microseconds <= (int64_t)after.tv_sec * 1000000 + after.tv_nsec / 1000);
}

static void a_test_may_put_clocks_of_its_own_in_place(void **state)
{
    struct fake_clock clock;
    (void)state;
    fake_clock_start(&clock);
    int64_t begin_us = clock_monotonic_us(), wall_us = clock_wall_us();
    fake_clock_pass(&clock, 1500);
    assert_int_equal(clock_monotonic_us(), begin_us + 1500000);
    assert_int_equal(clock_monotonic_ms(), (begin_us + 1500000) / 1000);
    assert_int_equal(clock_coarse_ms(), clock_monotonic_ms());
    fake_clock_step(&clock, -3600);
    assert_int_equal(clock_wall_us(), wall_us + 1500000 - INT64_C(3600) * 1000000);
    assert_int_equal(clock_wall_seconds(), clock_wall_us() / 1000000);
    assert_int_equal(clock_monotonic_us(), begin_us + 1500000);
    fake_clock_end();
    assert_true(clock_wall_us() >= wall_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(milliseconds_and_microseconds_are_the_same_clock),
        cmocka_unit_test(wall_time_is_the_time_of_the_system),
        cmocka_unit_test(a_test_may_put_clocks_of_its_own_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
