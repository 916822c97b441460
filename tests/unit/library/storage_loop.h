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

static inline struct loop *loop_fresh(void)
{
    struct error error;
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    assert_true(loop_start(loop, &error));
    return loop;
}

struct loop_call {
    struct task task;
    void (*run)(void *argument);
    void *argument;
    sem_t done;
};

static inline void loop_call_run(struct task *task)
{
    struct loop_call *call = CONTAINER_OF(task, struct loop_call, task);
    call->run(call->argument);
    sem_post(&call->done);
}

/* Runs RUN(ARGUMENT) on the loop's thread and waits for its end. */
static inline void loop_do(struct loop *loop, void (*run)(void *argument), void *argument)
{
    struct loop_call call = {.task = {.run = loop_call_run}, .run = run, .argument = argument};
    sem_init(&call.done, 0, 0);
    loop_post(loop, &call.task);
    while (sem_wait(&call.done) != 0)
        ;
    sem_destroy(&call.done);
}

/* CONDITION is asked in the test's thread. False when it did not come true within 20 seconds. */
static inline bool loop_wait_until(bool (*condition)(void *argument), void *argument)
{
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (!condition(argument)) {
        if (clock_monotonic_ms() > until_ms)
            return false;
        usleep(1000);
    }
    return true;
}

#endif
