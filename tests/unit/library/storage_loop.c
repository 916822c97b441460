/*
 * storage_loop: the task by which a test waits for what it has run on a loop.
 */
#include "tests/unit/library/storage_loop.h"

struct loop_call {
    struct task task;
    void (*run)(void *argument);
    void *argument;
    sem_t done;
};

struct loop *loop_fresh(void)
{
    struct error error;
    struct loop *loop = loop_create("test", &error);
    assert_non_null(loop);
    assert_true(loop_start(loop, &error));
    return loop;
}

static void loop_call_run(struct task *task)
{
    struct loop_call *call = CONTAINER_OF(task, struct loop_call, task);
    call->run(call->argument);
    sem_post(&call->done);
}

void loop_do(struct loop *loop, void (*run)(void *argument), void *argument)
{
    struct loop_call call = {.task = {.run = loop_call_run}, .run = run, .argument = argument};
    sem_init(&call.done, 0, 0);
    loop_post(loop, &call.task);
    while (sem_wait(&call.done) != 0)
        ;
    sem_destroy(&call.done);
}

bool loop_wait_until(bool (*condition)(void *argument), void *argument)
{
    int64_t until_ms = clock_monotonic_ms() + 20000;
    while (!condition(argument)) {
        if (clock_monotonic_ms() > until_ms)
            return false;
        usleep(1000);
    }
    return true;
}
