/*
 * loop: posted tasks, their order and their end, seen from several threads.
 */
#include "common/loop/loop.h"
#include "common/base/clock.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define POSTERS  4
#define TASKS    20000
#define PATIENCE 20000 /* ms */

static void wait_for(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > PATIENCE)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

static struct loop *new_loop(void)
{
    struct error error;
    struct loop *loop = loop_create("test", &error);

    assert_non_null(loop);
    return loop;
}

static void start(struct loop *loop)
{
    struct error error;

    assert_true(loop_start(loop, &error));
}

/* ---- order ---- */

struct numbered {
    struct task task;
    int poster, number;
};

struct poster {
    struct loop *loop;
    pthread_t thread;
    struct numbered tasks[TASKS];
    int index;
};

static int next_number[POSTERS]; /* the loop's thread only */
static atomic_int in_order, out_of_order;

static void check_number(struct task *task)
{
    struct numbered *numbered = CONTAINER_OF(task, struct numbered, task);

    atomic_fetch_add(next_number[numbered->poster] == numbered->number ? &in_order : &out_of_order, 1);
    next_number[numbered->poster]++;
}

static void *post_numbers(void *argument)
{
    struct poster *poster = argument;

    for (int i = 0; i < TASKS; i++) {
        poster->tasks[i] = (struct numbered){.task.run = check_number, .poster = poster->index, .number = i};
        loop_post(poster->loop, &poster->tasks[i].task);
    }
    return NULL;
}

static void tasks_of_one_thread_run_in_their_order(void **state)
{
    struct poster *posters = calloc(POSTERS, sizeof(*posters));
    struct loop *loop = new_loop();
    struct error error;

    (void)state;
    assert_non_null(posters);
    start(loop);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].loop = loop;
        posters[i].index = i;
        assert_true(loop_thread_start(&posters[i].thread, "poster", post_numbers, &posters[i], &error));
    }
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
    wait_for(&in_order, POSTERS * TASKS);
    assert_int_equal(atomic_load(&out_of_order), 0);
    loop_destroy(loop);
    free(posters);
}

/* ---- posting from the loop itself ---- */

struct again {
    struct task task;
    struct loop *loop;
    struct event *timer;
    int rounds;
    bool inside, nested;
    atomic_int ended;
};

static void run_again(struct task *task)
{
    struct again *again = CONTAINER_OF(task, struct again, task);

    again->nested = again->nested || again->inside;
    again->inside = true;
    again->rounds++;
    if (again->timer)
        loop_post(again->loop, task);
    else if (again->rounds < 10)
        loop_post(loop_current(), task);
    else
        atomic_store(&again->ended, 1);
    again->inside = false;
}

static void a_task_never_runs_inside_the_post(void **state)
{
    struct again again = {.task.run = run_again};

    (void)state;
    again.loop = new_loop();
    start(again.loop);
    loop_post(again.loop, &again.task);
    wait_for(&again.ended, 1);
    loop_destroy(again.loop);
    assert_false(again.nested);
    assert_int_equal(again.rounds, 10);
}

static void end_again(evutil_socket_t fd, short events, void *argument)
{
    struct again *again = argument;

    (void)fd;
    (void)events;
    event_free(again->timer);
    again->timer = NULL;
    again->rounds = 0;
}

static void a_task_that_posts_itself_starves_no_event(void **state)
{
    static const struct timeval soon = {.tv_usec = 1000};
    struct again again = {.task.run = run_again};

    (void)state;
    again.loop = new_loop();
    again.timer = event_new(loop_base(again.loop), -1, 0, end_again, &again);
    assert_int_equal(event_add(again.timer, &soon), 0);
    loop_post(again.loop, &again.task);
    start(again.loop);
    wait_for(&again.ended, 1);
    loop_destroy(again.loop);
}

static atomic_int freed;

static void free_itself(struct task *task)
{
    free(task);
    atomic_fetch_add(&freed, 1);
}

static void a_task_may_free_itself(void **state)
{
    struct loop *loop = new_loop();

    (void)state;
    start(loop);
    for (int i = 0; i < 1000; i++) {
        struct task *task = calloc(1, sizeof(*task));

        assert_non_null(task);
        task->run = free_itself;
        loop_post(loop, task);
    }
    loop_destroy(loop);
    assert_int_equal(atomic_load(&freed), 1000);
}

/* ---- ends ---- */

struct note {
    struct task task;
    int count;
    struct loop *ran_on, *other;
    struct task *then;
};

static void take_note(struct task *task)
{
    struct note *note = CONTAINER_OF(task, struct note, task);

    note->count++;
    note->ran_on = loop_current();
    if (note->then)
        loop_post(note->other, note->then);
}

static void stop_here(struct task *task)
{
    (void)task;
    loop_stop(loop_current());
}

static void tasks_posted_before_the_stop_still_run(void **state)
{
    struct loop *loop = new_loop();
    struct note before = {.task.run = take_note}, after = {.task.run = take_note};
    struct task stop = {.run = stop_here};

    (void)state;
    loop_post(loop, &stop);
    loop_post(loop, &before.task);
    loop_run(loop);
    assert_int_equal(before.count, 1);
    assert_ptr_equal(before.ran_on, loop);
    assert_null(loop_current());
    loop_post(loop, &after.task);
    assert_int_equal(after.count, 0);
    loop_destroy(loop);
    assert_int_equal(after.count, 1);
}

static void tasks_of_a_loop_that_never_ran_run_at_its_end(void **state)
{
    struct loop *loop = new_loop();
    struct note second = {.task.run = take_note};
    struct note first = {.task.run = take_note, .other = loop, .then = &second.task};

    (void)state;
    loop_post(loop, &first.task);
    loop_destroy(loop);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 1);
    assert_ptr_equal(second.ran_on, loop);
}

struct owner {
    struct task task;
    struct event *event;
    int count;
};

static void free_event(struct task *task)
{
    struct owner *owner = CONTAINER_OF(task, struct owner, task);

    event_free(owner->event); /* needs its base */
    owner->count++;
}

static void who_has_events_is_called_before_the_base_is_freed(void **state)
{
    static const struct timeval later = {.tv_sec = 1000};
    struct owner first = {.task.run = free_event}, second = first, third = first;
    struct loop *loop = new_loop();

    (void)state;
    first.event = event_new(loop_base(loop), -1, 0, end_again, NULL);
    third.event = event_new(loop_base(loop), -1, 0, end_again, NULL);
    assert_int_equal(event_add(first.event, &later), 0);
    loop_at_end(loop, &first.task);
    loop_at_end(loop, &second.task);
    loop_at_end(loop, &third.task);
    loop_forget_end(loop, &second.task);
    loop_forget_end(loop, &second.task);
    start(loop);
    loop_destroy(loop);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 0);
    assert_int_equal(third.count, 1);
    loop_destroy(NULL);
}

static void loops_of_a_group_may_post_to_each_other_until_the_end(void **state)
{
    struct loop_group group;
    struct note notes[4] = {0};
    struct error error;

    (void)state;
    assert_true(loop_group_create(&group, "group", 2, &error));
    assert_int_equal(group.count, 2);
    assert_true(loop_group_start(&group, &error));
    for (int i = 3; i >= 0; i--) {
        notes[i].task.run = take_note;
        if (i < 3) {
            notes[i].other = group.loops[i % 2];
            notes[i].then = &notes[i + 1].task;
        }
    }
    loop_post(group.loops[1], &notes[0].task);
    loop_group_destroy(&group);
    for (int i = 0; i < 4; i++)
        assert_int_equal(notes[i].count, 1);
    assert_int_equal(group.count, 0);
    loop_group_destroy(&group); /* an empty group is fine */
}

static void a_group_has_a_loop_for_each_core_by_default(void **state)
{
    struct loop_group group;
    struct error error;

    (void)state;
    assert_true(loop_group_create(&group, "a name that is too long for a thread", 0, &error));
    assert_int_equal(group.count, sysconf(_SC_NPROCESSORS_ONLN));
    loop_group_destroy(&group);
}

/* ---- threads ---- */

struct thread_facts {
    struct task task;
    sigset_t blocked;
    char name[16];
    atomic_int known;
};

static void learn_facts(struct task *task)
{
    struct thread_facts *facts = CONTAINER_OF(task, struct thread_facts, task);

    pthread_sigmask(SIG_SETMASK, NULL, &facts->blocked);
    pthread_getname_np(pthread_self(), facts->name, sizeof(facts->name));
    atomic_store(&facts->known, 1);
}

static void a_loop_thread_has_its_name_and_takes_no_signals(void **state)
{
    struct thread_facts facts = {.task.run = learn_facts};
    struct loop *loop = new_loop();
    sigset_t ours;

    (void)state;
    start(loop);
    usleep(10000); /* the name is given after the start */
    loop_post(loop, &facts.task);
    wait_for(&facts.known, 1);
    loop_destroy(loop);
    assert_string_equal(facts.name, "test");
    assert_true(sigismember(&facts.blocked, SIGTERM));
    assert_true(sigismember(&facts.blocked, SIGHUP));
    assert_true(sigismember(&facts.blocked, SIGPIPE));
    assert_false(sigismember(&facts.blocked, SIGSEGV));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &ours), 0);
    assert_false(sigismember(&ours, SIGTERM));
}

static void a_loop_knows_the_monotonic_time(void **state)
{
    struct loop *loop = new_loop();
    int64_t before = clock_monotonic_ms();

    (void)state;
    assert_in_range(loop_now_ms(loop), before, before + PATIENCE);
    loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_of_one_thread_run_in_their_order),
        cmocka_unit_test(a_task_never_runs_inside_the_post),
        cmocka_unit_test(a_task_that_posts_itself_starves_no_event),
        cmocka_unit_test(a_task_may_free_itself),
        cmocka_unit_test(tasks_posted_before_the_stop_still_run),
        cmocka_unit_test(tasks_of_a_loop_that_never_ran_run_at_its_end),
        cmocka_unit_test(who_has_events_is_called_before_the_base_is_freed),
        cmocka_unit_test(loops_of_a_group_may_post_to_each_other_until_the_end),
        cmocka_unit_test(a_group_has_a_loop_for_each_core_by_default),
        cmocka_unit_test(a_loop_thread_has_its_name_and_takes_no_signals),
        cmocka_unit_test(a_loop_knows_the_monotonic_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
