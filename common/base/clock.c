/*
 * clock: reads the two clocks of the system, or those that a test put in their place. Everybody calls it, on any
 * thread.
 */
#include "common/base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* NULL: the system's clocks. One load and one branch that is never taken, next to a call of some 20 ns. */
static _Atomic(const struct clock_source *) clock_source;

void clock_set_source(const struct clock_source *source)
{
    atomic_store_explicit(&clock_source, source, memory_order_release);
}

static inline const struct clock_source *clock_faked(void)
{
    return atomic_load_explicit(&clock_source, memory_order_acquire);
}

static struct timespec clock_read(clockid_t id)
{
    struct timespec now;
    /* Both clocks exist on every Linux; a process that cannot tell the time cannot keep any deadline. */
    if (clock_gettime(id, &now) != 0)
        abort();
    return now;
}

static int64_t clock_read_us(clockid_t id)
{
    struct timespec now = clock_read(id);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_boot_ms(void)
{
    struct timespec now = clock_read(CLOCK_BOOTTIME);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_monotonic_us(void)
{
    const struct clock_source *source = clock_faked();
    return source ? source->monotonic_us(source->argument) : clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

int64_t clock_coarse_ms(void)
{
    const struct clock_source *source = clock_faked();
    return (source ? source->monotonic_us(source->argument) : clock_read_us(CLOCK_MONOTONIC_COARSE)) / 1000;
}

int64_t clock_wall_us(void)
{
    const struct clock_source *source = clock_faked();
    return source ? source->wall_us(source->argument) : clock_read_us(CLOCK_REALTIME);
}

int64_t clock_wall_seconds(void)
{
    const struct clock_source *source = clock_faked();
    if (source)
        return source->wall_us(source->argument) / 1000000;
    /* The time of the last tick, as time(2) gives it: a few milliseconds behind, and much cheaper. */
    return (int64_t)clock_read(CLOCK_REALTIME_COARSE).tv_sec;
}
