/*
 * slept_clock: the system's clocks, on a machine that sleeps when the test says so: the monotonic ones know nothing of it. For tests only.
 */
#ifndef REEL_TESTS_SLEPT_CLOCK_H
#define REEL_TESTS_SLEPT_CLOCK_H

#include <stdint.h>

void slept_clock_start(void);
/* Any thread. */
void slept_clock_sleep(int64_t seconds);
/* The system's clocks as they are. */
void slept_clock_end(void);

#endif
