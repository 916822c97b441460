/*
 * clock: the one time source. Durations and deadlines are monotonic; wall time is for what people and files see.
 */
#ifndef REEL_COMMON_CLOCK_H
#define REEL_COMMON_CLOCK_H

#include "common/base/base.h"

/* Monotonic time since some fixed point, in milliseconds / microseconds. Any thread. */
int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);

/* The same at the last tick of the kernel, up to 10 ms ago: for marks that are made often and looked at rarely. */
int64_t clock_coarse_ms(void);

/* Like clock_monotonic_ms(), but it also counts while the machine sleeps: for the age of something as other machines see it. */
int64_t clock_boot_ms(void);

/* Seconds / microseconds since the Unix epoch. May jump: never subtract two of them. */
int64_t clock_wall_seconds(void);
int64_t clock_wall_us(void);

/* Other clocks for tests and simulations: both functions give microseconds, on any thread. SOURCE must outlive its
 * use; NULL: the system's again. Waits for conditions and sleeps are not affected: they take the system's time. */
struct clock_source {
    int64_t (*monotonic_us)(void *argument);
    int64_t (*wall_us)(void *argument);
    void *argument;
};
void clock_set_source(const struct clock_source *source);

#endif
