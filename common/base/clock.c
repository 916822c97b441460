/*
 * clock: reads the two clocks of the system. Everybody calls it, on any thread; nobody else calls
 * clock_gettime(2).
 */
#include "common/base/clock.h"

#include <stdlib.h>
#include <time.h>

static struct timespec clock_read(clockid_t id)
{
    struct timespec now;
    /* Both clocks exist on every Linux; a process that cannot tell the time cannot keep any deadline. */
    if (clock_gettime(id, &now) != 0)
        abort();
    return now;
}

int64_t clock_monotonic_ms(void)
{
    struct timespec now = clock_read(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_coarse_ms(void)
{
    struct timespec now = clock_read(CLOCK_MONOTONIC_COARSE);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_monotonic_us(void)
{
    struct timespec now = clock_read(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_seconds(void)
{
    /* The time of the last tick, as time(2) gives it: a few milliseconds behind, and much cheaper. */
    return (int64_t)clock_read(CLOCK_REALTIME_COARSE).tv_sec;
}

int64_t clock_wall_us(void)
{
    struct timespec now = clock_read(CLOCK_REALTIME);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
