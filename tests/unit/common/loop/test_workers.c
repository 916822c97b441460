/*
 * workers: order, bounds, completions and the end of a pool.
 */
#include "common/loop/workers.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "tests/unit/library/held_locks.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define PATIENCE 20000 /* ms */

static void wait_for(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > PATIENCE)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static struct loop *start_loop(void)
{
    struct error error;
    struct loop *loop = loop_create("test", &error);

    assert_non_null(loop);
    assert_true(loop_start(loop, &error));
    return loop;
}

static struct workers *new_pool(size_t threads, size_t queue_max)
{
    struct error error;
    struct workers *workers = workers_create("test", threads, queue_max, &error);

    assert_non_null(workers);
    return workers;
}

/* A job that notes when it ran, and holds its worker while `gate` is closed. */
struct sample {
    struct job job;
    atomic_int *gate; /* NULL: does not wait */
    int place;        /* in the order of starts */
    struct loop *done_on;
    bool ran_on_loop;
};

static atomic_int started, done;

static int64_t count_running(void)
{
    return metric_value(metrics_gauge("reel_workers_running", "", "pool=\"test\""));
}

static void run_sample(struct job *job)
{
    struct sample *sample = CONTAINER_OF(job, struct sample, job);

    sample->place = atomic_fetch_add(&started, 1);
    sample->ran_on_loop = loop_current() != NULL;
    while (sample->gate && atomic_load(sample->gate) == 0)
        usleep(500);
}

static void sample_done(struct job *job)
{
    CONTAINER_OF(job, struct sample, job)->done_on = loop_current();
    atomic_fetch_add(&done, 1);
}

static int reset(void **state)
{
    (void)state;
    atomic_store(&started, 0);
    atomic_store(&done, 0);
    return 0;
}

static struct sample sample_on(struct loop *loop, atomic_int *gate)
{
    return (struct sample){.job = {.run = run_sample, .done = sample_done, .loop = loop}, .gate = gate};
}

static void jobs_start_in_order_and_end_on_their_loop(void **state)
{
    struct sample samples[1000];
    struct loop *loops[2] = {start_loop(), start_loop()};
    struct workers *workers = new_pool(1, ARRAY_SIZE(samples));

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        samples[i] = sample_on(loops[i % 2], NULL);
        assert_true(workers_submit(workers, &samples[i].job));
    }
    wait_for(&done, ARRAY_SIZE(samples));
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(samples[i].place, i);
        assert_ptr_equal(samples[i].done_on, loops[i % 2]);
        assert_false(samples[i].ran_on_loop);
    }
    assert_int_equal(workers_waiting(workers), 0);
    assert_int_equal(count_running(), 0);
    assert_int_equal(workers_oldest_ms(workers), 0);
    assert_true(workers_destroy(workers, PATIENCE));
    loop_destroy(loops[0]);
    loop_destroy(loops[1]);
}

static void threads_work_side_by_side(void **state)
{
    struct sample samples[4];
    struct loop *loop = start_loop();
    struct workers *workers = new_pool(4, 1);

    (void)state;
    for (int round = 1; round <= 3; round++) { /* they start; later ones are woken, each by the one before */
        atomic_int gate = 0;

        for (int i = 0; i < 4; i++) {
            samples[i] = sample_on(loop, &gate);
            assert_true(
                workers_submit(workers, &samples[i].job)); /* the queue bounds only what has no free thread */
        }
        wait_for(&started, 4 * round);
        assert_int_equal(count_running(), 4);
        atomic_store(&gate, 1);
        wait_for(&done, 4 * round);
        usleep(20000); /* they fall asleep */
    }
    assert_true(workers_destroy(workers, PATIENCE));
    loop_destroy(loop);
}

static void a_full_queue_takes_no_job(void **state)
{
    struct metric *rejected = metrics_counter("reel_workers_rejected_total", "", "pool=\"test\"");
    int64_t before = metric_value(rejected);
    struct sample samples[4];
    struct loop *loop = start_loop();
    struct workers *workers = new_pool(1, 2);
    atomic_int gate = 0;

    (void)state;
    for (int i = 0; i < 4; i++)
        samples[i] = sample_on(loop, &gate);
    assert_true(workers_submit(workers, &samples[0].job));
    wait_for(&started, 1);
    assert_true(workers_submit(workers, &samples[1].job));
    assert_true(workers_submit(workers, &samples[2].job));
    assert_false(workers_submit(workers, &samples[3].job));
    assert_int_equal(workers_waiting(workers), 2);
    assert_int_equal(count_running(), 1);
    assert_int_equal(metric_value(rejected), before + 1);
    usleep(5000);
    assert_in_range(workers_oldest_ms(workers), 1, PATIENCE);
    atomic_store(&gate, 1);
    wait_for(&done, 3);
    assert_int_equal(atomic_load(&started), 3);
    assert_true(workers_submit(workers, &samples[3].job));
    wait_for(&done, 4);
    assert_true(workers_destroy(workers, PATIENCE));
    loop_destroy(loop);
}

static void free_job(struct job *job)
{
    free(job);
    atomic_fetch_add(&started, 1);
}

static void a_job_without_a_completion_may_free_itself(void **state)
{
    struct workers *workers = new_pool(2, 1000);

    (void)state;
    for (int i = 0; i < 500; i++) {
        struct job *job = calloc(1, sizeof(*job));

        assert_non_null(job);
        job->run = free_job;
        assert_true(workers_submit(workers, job));
    }
    assert_true(workers_destroy(workers, PATIENCE));
    assert_int_equal(atomic_load(&started), 500);
    assert_true(workers_destroy(NULL, 0));
}

struct chain {
    struct job job;
    struct workers *workers;
    int left;
    atomic_int ended;
};

static void run_nothing(struct job *job)
{
    (void)job;
}

static void submit_again(struct job *job)
{
    struct chain *chain = CONTAINER_OF(job, struct chain, job);

    if (--chain->left == 0)
        atomic_store(&chain->ended, 1);
    else
        assert_true(workers_submit(chain->workers, job));
}

static void a_job_may_be_submitted_again_from_its_completion(void **state)
{
    struct chain chain = {.job = {.run = run_nothing, .done = submit_again}, .left = 1000};

    (void)state;
    chain.job.loop = start_loop();
    chain.workers = new_pool(2, 1);
    assert_true(workers_submit(chain.workers, &chain.job));
    wait_for(&chain.ended, 1);
    assert_true(workers_destroy(chain.workers, PATIENCE));
    loop_destroy(chain.job.loop);
}

/* A job that comes again and again, and counts by how many threads. */
struct series {
    struct job job;
    struct workers *workers;
    pthread_t thread;
    int runs, changes;
};

static void run_link(struct job *job)
{
    struct series *series = CONTAINER_OF(job, struct series, job);

    if (series->runs++ > 0 && !pthread_equal(series->thread, pthread_self()))
        series->changes++;
    series->thread = pthread_self();
}

static void link_done(struct job *job)
{
    struct series *series = CONTAINER_OF(job, struct series, job);

    if (series->runs < 5000)
        assert_true(workers_submit(series->workers, job));
    else
        atomic_fetch_add(&done, 1);
}

static void what_follows_a_job_is_for_the_thread_that_ran_it(void **state)
{
    struct loop *loop = start_loop();
    struct workers *workers = new_pool(4, 10);
    struct series series = {.job = {.run = run_link, .done = link_done, .loop = loop}, .workers = workers};

    (void)state;
    assert_true(workers_submit(workers, &series.job));
    wait_for(&done, 1);
    /* Each of the others looks at the queue once, when it starts; a thread that the system has stopped on its way back is not waited for. */
    assert_in_range(series.changes, 0, series.runs / 20);
    assert_true(workers_destroy(workers, PATIENCE));
    loop_destroy(loop);
}

static void the_end_of_a_pool_runs_what_waits(void **state)
{
    struct sample samples[50];
    struct loop *loop = start_loop();
    struct workers *workers = new_pool(1, 50);

    (void)state;
    for (int i = 0; i < 50; i++) {
        samples[i] = sample_on(loop, NULL);
        assert_true(workers_submit(workers, &samples[i].job));
    }
    assert_true(workers_destroy(workers, PATIENCE));
    assert_int_equal(atomic_load(&started), 50);
    loop_destroy(loop); /* runs the completions that are posted */
    assert_int_equal(atomic_load(&done), 50);
}

/* The pool and the job stay behind, as they do in a daemon whose mount hangs. */
static struct workers *hanging_pool;
static struct sample hanging;
static atomic_int hanging_gate;

static void the_end_does_not_wait_for_a_job_that_hangs(void **state)
{
    struct sample late;
    struct loop *loop = start_loop();

    (void)state;
    hanging_pool = new_pool(1, 10);
    hanging = sample_on(loop, &hanging_gate);
    assert_true(workers_submit(hanging_pool, &hanging.job));
    wait_for(&started, 1);
    assert_false(workers_are_left());
    assert_false(workers_destroy(hanging_pool, 20));
    assert_true(workers_are_left());
    late = sample_on(loop, NULL);
    assert_false(workers_submit(hanging_pool, &late.job));
    atomic_store(&hanging_gate, 1);
    wait_for(&done, 1);
    assert_true(workers_destroy(hanging_pool, PATIENCE)); /* it hangs no more: another try frees it */
    assert_false(workers_are_left());
    loop_destroy(loop);
}

static void count_run(struct job *job)
{
    (void)job;
    atomic_fetch_add(&started, 1);
}

/* Else it only wakes up to wait for the mutex, and costs another switch. */
static void a_worker_is_woken_when_the_mutex_is_free(void **state)
{
    (void)state;
    struct workers *workers = new_pool(2, 10);
    struct job jobs[20] = {{0}};
    atomic_store(&started, 0);
    for (int i = 0; i < (int)ARRAY_SIZE(jobs); i++) {
        jobs[i].run = count_run;
        usleep(1000); /* they are asleep by now, mostly */
        assert_true(workers_submit(workers, &jobs[i]));
        wait_for(&started, i + 1);
    }
    assert_true(atomic_load(&all_signals) > 0);
    assert_int_equal(atomic_load(&held_signals), 0);
    assert_true(workers_destroy(workers, PATIENCE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_is_woken_when_the_mutex_is_free),
        cmocka_unit_test_setup(jobs_start_in_order_and_end_on_their_loop, reset),
        cmocka_unit_test_setup(threads_work_side_by_side, reset),
        cmocka_unit_test_setup(a_full_queue_takes_no_job, reset),
        cmocka_unit_test_setup(a_job_without_a_completion_may_free_itself, reset),
        cmocka_unit_test_setup(a_job_may_be_submitted_again_from_its_completion, reset),
        cmocka_unit_test_setup(what_follows_a_job_is_for_the_thread_that_ran_it, reset),
        cmocka_unit_test_setup(the_end_of_a_pool_runs_what_waits, reset),
        cmocka_unit_test_setup(the_end_does_not_wait_for_a_job_that_hangs, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
