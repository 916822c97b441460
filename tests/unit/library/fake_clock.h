/*
 * fake_clock: clocks that stand still until the test moves them. Included by tests only.
 */
#ifndef REEL_TESTS_FAKE_CLOCK_H
#define REEL_TESTS_FAKE_CLOCK_H

#include "common/base/clock.h"

#include <stdatomic.h>

struct fake_clock {
    atomic_llong monotonic_us, wall_us;
    struct clock_source source;
};

static inline int64_t fake_clock_monotonic(void *argument)
{
    return atomic_load(&((struct fake_clock *)argument)->monotonic_us);
}

static inline int64_t fake_clock_wall(void *argument)
{
    return atomic_load(&((struct fake_clock *)argument)->wall_us);
}

/* Both clocks stand at the system's time from here on. */
static inline void fake_clock_start(struct fake_clock *clock)
{
    clock_set_source(NULL);
    atomic_init(&clock->monotonic_us, clock_monotonic_us());
    atomic_init(&clock->wall_us, clock_wall_us());
    clock->source = (struct clock_source){fake_clock_monotonic, fake_clock_wall, clock};
    clock_set_source(&clock->source);
}

static inline void fake_clock_end(void)
{
    clock_set_source(NULL);
}

/* Time passes: both clocks go on. */
static inline void fake_clock_pass(struct fake_clock *clock, int64_t ms)
{
    atomic_fetch_add(&clock->monotonic_us, ms * 1000);
    atomic_fetch_add(&clock->wall_us, ms * 1000);
}

/* Somebody sets the wall clock. */
static inline void fake_clock_step(struct fake_clock *clock, int64_t seconds)
{
    atomic_fetch_add(&clock->wall_us, seconds * 1000000);
}

#endif
