/*
 * slept_clock: how long the machine has slept is kept for the whole program, as its clocks are.
 */
#include "tests/unit/library/slept_clock.h"

#include "common/base/clock.h"

#include <stdatomic.h>
#include <time.h>

static atomic_llong slept_us;

static int64_t time_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t monotonic_of_the_test(void *argument)
{
    (void)argument;
    return time_of(CLOCK_MONOTONIC);
}

static int64_t wall_of_the_test(void *argument)
{
    (void)argument;
    return time_of(CLOCK_REALTIME) + atomic_load(&slept_us);
}

void slept_clock_start(void)
{
    static const struct clock_source source = {monotonic_of_the_test, wall_of_the_test, NULL};
    clock_set_source(&source);
}

void slept_clock_sleep(int64_t seconds)
{
    atomic_fetch_add(&slept_us, seconds * 1000000);
}

void slept_clock_end(void)
{
    clock_set_source(NULL);
}
