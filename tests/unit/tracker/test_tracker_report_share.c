/*
 * report_share: texts are made on a worker while the loops go on, once for all who ask meanwhile, and are kept for a moment
 * that is bounded.
 */
#include "tracker/report_share.h"
#include "common/base/clock.h"

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
#define LOOPS    2
#define ASKERS   20

static struct loop *loops[LOOPS];
static struct workers *workers;
static struct report_share share;
static atomic_int begun, gate, made_on_loop, answered, ticks;
static bool nothing; /* make() has no memory */
static int slow_us;

static void share_wait_for(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > PATIENCE)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static char *make_text(void *argument, size_t *size)
{
    assert_ptr_equal(argument, &begun);
    atomic_fetch_add(&begun, 1);
    atomic_fetch_add(&made_on_loop, loop_current() != NULL);
    while (atomic_load(&gate) == 0)
        usleep(500);
    usleep((useconds_t)slow_us);
    *size = 5;
    return nothing ? NULL : strdup("text");
}

static int share_set_up(void **state)
{
    struct error error;

    (void)state;
    atomic_store(&begun, 0);
    atomic_store(&gate, 1);
    atomic_store(&made_on_loop, 0);
    atomic_store(&answered, 0);
    atomic_store(&ticks, 0);
    nothing = false;
    slow_us = 0;
    for (size_t i = 0; i < LOOPS; i++) {
        loops[i] = loop_create("test", &error);
        assert_non_null(loops[i]);
        assert_true(loop_start(loops[i], &error));
    }
    workers = workers_create("report", 1, 2, &error);
    assert_non_null(workers);
    report_share_init(&share, workers, make_text, &begun);
    return 0;
}

static void end_workers(void)
{
    report_share_close(&share);
    assert_true(workers_destroy(workers, PATIENCE));
    workers = NULL;
}

static int share_tear_down(void **state)
{
    (void)state;
    end_workers();
    for (size_t i = 0; i < LOOPS; i++)
        loop_destroy(loops[i]);
    report_share_clear(&share);
    return 0;
}

/* One who asks from its loop. */
struct asker {
    struct task task;
    struct report_question question;
    struct packet_shared *text;
    struct loop *loop, *done_on;
    bool taken;
};

static void asker_done(struct report_question *question, struct packet_shared *text)
{
    struct asker *asker = CONTAINER_OF(question, struct asker, question);

    asker->text = text;
    asker->done_on = loop_current();
    atomic_fetch_add(&answered, 1);
}

static atomic_int asked;

static void ask_on_loop(struct task *task)
{
    struct asker *asker = CONTAINER_OF(task, struct asker, task);

    asker->question = (struct report_question){.loop = asker->loop, .done = asker_done};
    asker->taken = report_share_ask(&share, &asker->question);
    atomic_fetch_add(&asked, 1);
}

static void ask(struct asker *asker, size_t loop)
{
    int before = atomic_load(&asked);

    *asker = (struct asker){.task.run = ask_on_loop, .loop = loops[loop]};
    loop_post(asker->loop, &asker->task);
    share_wait_for(&asked, before + 1);
}

static void count_tick(struct task *task)
{
    (void)task;
    atomic_fetch_add(&ticks, 1);
}

static void all_who_ask_while_a_text_is_made_get_that_one_and_no_loop_waits(void **state)
{
    struct asker askers[ASKERS];
    struct task tasks[LOOPS];

    (void)state;
    atomic_store(&gate, 0);
    assert_null(report_share_present(&share));
    for (size_t i = 0; i < ASKERS; i++)
        ask(&askers[i], i % LOOPS);
    share_wait_for(&begun, 1);
    for (size_t i = 0; i < LOOPS; i++) {
        tasks[i] = (struct task){.run = count_tick};
        loop_post(loops[i], &tasks[i]);
    }
    share_wait_for(&ticks, LOOPS); /* though the text is not there yet */
    assert_int_equal(atomic_load(&answered), 0);
    assert_null(report_share_present(&share));
    atomic_store(&gate, 1);
    share_wait_for(&answered, ASKERS);
    assert_int_equal(atomic_load(&begun), 1);
    assert_int_equal(atomic_load(&made_on_loop), 0);
    for (size_t i = 0; i < ASKERS; i++) {
        assert_true(askers[i].taken);
        assert_non_null(askers[i].text);
        assert_ptr_equal(askers[i].text, askers[0].text);
        assert_ptr_equal(askers[i].done_on, loops[i % LOOPS]);
    }
    for (size_t i = 0; i < ASKERS; i++)
        packet_shared_release(askers[i].text);
}

static void a_text_that_took_long_is_kept_for_a_second_and_no_longer(void **state)
{
    struct asker asker;
    bool seen = false;

    (void)state;
    slow_us = 200000; /* ten times as long would be two seconds */
    for (int i = 0; i < 20 && !seen; i++) {
        int64_t start_us = clock_monotonic_us();
        ask(&asker, 0);
        share_wait_for(&answered, i + 1);
        struct packet_shared *present = report_share_present(&share);
        /* On a machine that stood still for so long the text may be too old already. */
        seen = clock_monotonic_us() - start_us < 900000;
        if (seen)
            assert_ptr_equal(present, asker.text);
        packet_shared_release(present);
        packet_shared_release(asker.text);
    }
    assert_true(seen);
    usleep(1100000);
    assert_null(report_share_present(&share));
}

static void a_text_that_cannot_be_made_is_answered_as_such_and_made_again(void **state)
{
    struct asker first, second;

    (void)state;
    nothing = true;
    atomic_store(&gate, 0);
    ask(&first, 0);
    ask(&second, 1);
    atomic_store(&gate, 1);
    share_wait_for(&answered, 2);
    assert_null(first.text);
    assert_null(second.text);
    assert_null(report_share_present(&share));
    nothing = false;
    ask(&first, 0);
    share_wait_for(&answered, 3);
    assert_non_null(first.text);
    packet_shared_release(first.text);
    assert_int_equal(atomic_load(&begun), 2);
}

static void at_the_end_who_waits_is_answered_and_nobody_waits_any_more(void **state)
{
    struct asker first, late;
    struct error error;

    (void)state;
    atomic_store(&gate, 0);
    ask(&first, 0);
    share_wait_for(&begun, 1);
    report_share_close(&share);
    ask(&late, 1); /* the text that is being made will do */
    atomic_store(&gate, 1);
    end_workers();
    share_wait_for(&answered, 2);
    assert_true(late.taken);
    assert_ptr_equal(late.text, first.text);
    packet_shared_release(first.text);
    packet_shared_release(late.text);
    ask(&late, 0);
    assert_false(late.taken);
    workers = workers_create("report", 1, 1, &error); /* for the end of the test */
    assert_non_null(workers);
}

#define SHARE_TEST(test) cmocka_unit_test_setup_teardown(test, share_set_up, share_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHARE_TEST(all_who_ask_while_a_text_is_made_get_that_one_and_no_loop_waits),
        SHARE_TEST(a_text_that_took_long_is_kept_for_a_second_and_no_longer),
        SHARE_TEST(a_text_that_cannot_be_made_is_answered_as_such_and_made_again),
        SHARE_TEST(at_the_end_who_waits_is_answered_and_nobody_waits_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
