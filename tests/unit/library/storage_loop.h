/*
 * storage_loop: a loop with a thread of its own, calls into it that wait, and waiting until something has
 * come true. Included by tests only.
 */
#ifndef REEL_TESTS_STORAGE_LOOP_H
#define REEL_TESTS_STORAGE_LOOP_H

#include "common/base/clock.h"
#include "common/loop/loop.h"
#include <semaphore.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

/* A loop that runs; to be ended by loop_destroy(). */
struct loop *loop_fresh(void);

/* Runs RUN(ARGUMENT) on the loop's thread and waits for its end. */
void loop_do(struct loop *loop, void (*run)(void *argument), void *argument);

/* CONDITION is asked in the test's thread. False when it did not come true within 20 seconds. */
bool loop_wait_until(bool (*condition)(void *argument), void *argument);

#endif
