/*
 * condition: condition variables whose waits are measured by the monotonic clock, so that a step of the wall clock
 * neither ends nor prolongs one. Used by whoever keeps threads of its own; for everything that happens on a loop there
 * are tasks and timers.
 */
#ifndef REEL_COMMON_CONDITION_H
#define REEL_COMMON_CONDITION_H

#include "common/base/base.h"
#include "common/base/error.h"
#include <pthread.h>

/* Destroyed with pthread_cond_destroy(3). Fails only without memory. */
MUST_CHECK bool condition_init(pthread_cond_t *condition, struct error *error);

/* Waits with LOCK held, at most MS milliseconds (0 or less: not at all), until somebody signals. It may return without
 * either: the caller looks at what it waits for and at its clock, and waits for what is left. False: the time is up.
 * Blocks. */
bool condition_wait_ms(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms);

#endif
