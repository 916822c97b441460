/* Those who wait are answered once, in their order, on their own loop: by who took them out, or by the time. */
#include "common/loop/wait_list.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/storage_loop.h"
#include <stdatomic.h>
#include <string.h>

#define WAITS 8

struct one {
    struct wait wait;
    int number, answers;
    enum wait_end end;
    struct loop *ran_on;
};

struct world {
    pthread_mutex_t mutex;
    struct loop *loops[2];
    struct wait_list list, other;
    size_t total;
    struct one ones[WAITS];
    int64_t timeout_ms;
};

static int order[WAITS * 2];
static atomic_int answered;

static void one_answered(struct wait *wait, enum wait_end end)
{
    struct one *one = CONTAINER_OF(wait, struct one, wait);
    one->answers++;
    one->end = end;
    one->ran_on = loop_current();
    order[atomic_fetch_add(&answered, 1)] = one->number;
}

static int set_up(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    atomic_store(&answered, 0);
    pthread_mutex_init(&world.mutex, NULL);
    wait_list_init(&world.list, &world.mutex, &world.total);
    wait_list_init(&world.other, &world.mutex, &world.total);
    for (size_t i = 0; i < 2; i++)
        world.loops[i] = loop_fresh();
    for (int i = 0; i < WAITS; i++)
        world.ones[i] = (struct one){.wait = {.loop = world.loops[i % 2], .done = one_answered}, .number = i};
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; i < 2; i++)
        loop_destroy(world->loops[i]);
    pthread_mutex_destroy(&world->mutex);
    return 0;
}

struct entering {
    struct world *world;
    struct one *one;
    bool first;
};

static void enter_on_loop(void *argument)
{
    struct entering *entering = argument;
    struct world *world = entering->world;
    pthread_mutex_lock(&world->mutex);
    if (entering->first)
        assert_true(wait_enter_first(&world->list, &entering->one->wait, world->timeout_ms));
    else
        assert_true(wait_enter(&world->list, &entering->one->wait, world->timeout_ms));
    pthread_mutex_unlock(&world->mutex);
}

static void enter(struct world *world, int number, bool first)
{
    struct entering entering = {world, &world->ones[number], first};
    loop_do(entering.one->wait.loop, enter_on_loop, &entering);
}

static struct wait *take(struct world *world, struct wait_list *list)
{
    pthread_mutex_lock(&world->mutex);
    struct wait *wait = wait_list_take(list);
    pthread_mutex_unlock(&world->mutex);
    return wait;
}

static bool enough_answered(void *argument)
{
    return atomic_load(&answered) >= *(int *)argument;
}

static void wait_answers(int count)
{
    assert_true(loop_wait_until(enough_answered, &count));
}

static void the_first_taken_out_is_who_came_first_and_hears_it_on_its_own_loop(void **state)
{
    struct world *world = *state;
    world->timeout_ms = 60000;
    for (int i = 0; i < 4; i++)
        enter(world, i, false);
    enter(world, 4, true);
    assert_int_equal(world->total, 5);
    static const int expected[] = {4, 0, 1, 2, 3};
    for (int i = 0; i < 5; i++) {
        struct wait *wait = take(world, &world->list);
        assert_non_null(wait);
        wait_post(wait);
        wait_answers(i + 1); /* two loops: the order is that of the answers */
        assert_int_equal(order[i], expected[i]);
    }
    assert_null(take(world, &world->list));
    assert_int_equal(world->total, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(world->ones[i].end, WAIT_ANSWERED);
        assert_ptr_equal(world->ones[i].ran_on, world->ones[i].wait.loop);
    }
}

static void who_is_not_answered_hears_that_the_time_is_over_and_is_out_of_the_list(void **state)
{
    struct world *world = *state;
    world->timeout_ms = 60000;
    enter(world, 0, false);
    world->timeout_ms = 30;
    int64_t since_ms = clock_monotonic_ms();
    enter(world, 1, false);
    wait_answers(1);
    assert_true(clock_monotonic_ms() - since_ms >= 29); /* libevent rounds down to its own clock */
    assert_int_equal(world->ones[1].end, WAIT_TIMED_OUT);
    assert_ptr_equal(world->ones[1].ran_on, world->loops[1]);
    assert_int_equal(world->list.count, 1);
    assert_int_equal(world->total, 1);
    struct wait *wait = take(world, &world->list);
    assert_ptr_equal(wait, &world->ones[0].wait);
    wait_post(wait);
    wait_answers(2);
}

/* Holds its loop while it waits and is taken out, and until its time is over as well. */
static void wait_and_hold(void *argument)
{
    struct entering *entering = argument;
    enter_on_loop(entering);
    struct wait *wait = take(entering->world, &entering->world->list);
    assert_non_null(wait);
    wait_post(wait);
    usleep(60000);
}

static void who_was_taken_out_in_time_is_answered_once_though_the_timer_rings_too(void **state)
{
    struct world *world = *state;
    struct entering entering = {.world = world, .one = &world->ones[0]};
    world->timeout_ms = 40;
    loop_do(entering.one->wait.loop, wait_and_hold, &entering);
    wait_answers(1);
    assert_int_equal(world->ones[0].end, WAIT_ANSWERED);
    usleep(60000);
    assert_int_equal(world->ones[0].answers, 1);
}

struct leaving {
    struct world *world;
    struct one *one;
    bool left, left_twice;
};

static void leave_on_loop(void *argument)
{
    struct leaving *leaving = argument;
    pthread_mutex_lock(&leaving->world->mutex);
    leaving->left = wait_leave(&leaving->one->wait);
    leaving->left_twice = wait_leave(&leaving->one->wait);
    pthread_mutex_unlock(&leaving->world->mutex);
}

static void who_left_hears_nothing_and_the_others_keep_their_order(void **state)
{
    struct world *world = *state;
    world->timeout_ms = 60000;
    for (int i = 0; i < 3; i++)
        enter(world, i, false);
    struct leaving leaving = {.world = world, .one = &world->ones[1]};
    loop_do(world->loops[1], leave_on_loop, &leaving);
    assert_true(leaving.left && leaving.left_twice);
    assert_int_equal(world->list.count, 2);
    for (int i = 0; i < 2; i++) {
        wait_post(take(world, &world->list));
        wait_answers(i + 1);
    }
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 2);
    assert_int_equal(world->ones[1].answers, 0);
}

struct late_leaving {
    struct leaving leaving;
    bool posted;
};

static void take_and_leave(void *argument)
{
    struct late_leaving *late = argument;
    wait_post(take(late->leaving.world, &late->leaving.world->list));
    leave_on_loop(&late->leaving);
}

static void who_leaves_after_it_was_taken_out_hears_the_answer(void **state)
{
    struct world *world = *state;
    enter(world, 0, false); /* without a limit */
    struct late_leaving late = {.leaving = {.world = world, .one = &world->ones[0]}};
    loop_do(world->loops[0], take_and_leave, &late);
    assert_false(late.leaving.left || late.leaving.left_twice);
    wait_answers(1);
    assert_int_equal(world->ones[0].end, WAIT_ANSWERED);
}

static void a_list_that_moves_behind_another_keeps_order_and_time_limits(void **state)
{
    struct world *world = *state;
    world->timeout_ms = 100;
    for (int i = 0; i < 3; i++)
        enter(world, i, false);
    pthread_mutex_lock(&world->mutex);
    wait_list_move(&world->other, &world->list);
    pthread_mutex_unlock(&world->mutex);
    assert_int_equal(world->list.count, 0);
    wait_answers(3);
    assert_int_equal(world->other.count, 0);
    assert_int_equal(world->total, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world->ones[i].end, WAIT_TIMED_OUT);
}

static void enter_again(struct wait *wait, enum wait_end end)
{
    struct one *one = CONTAINER_OF(wait, struct one, wait);
    static struct wait_list *list;
    (void)end;
    if (++one->answers == 3) {
        atomic_fetch_add(&answered, 1);
        return;
    }
    list = &((struct world *)((char *)one - offsetof(struct world, ones)))->list;
    pthread_mutex_lock(list->mutex);
    assert_true(wait_enter(list, wait, 1));
    pthread_mutex_unlock(list->mutex);
}

static void who_was_answered_may_wait_anew(void **state)
{
    struct world *world = *state;
    world->timeout_ms = 1;
    world->ones[0].wait.done = enter_again;
    enter(world, 0, false);
    wait_answers(1);
    assert_int_equal(world->ones[0].answers, 3);
}

#define WAIT_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAIT_TEST(the_first_taken_out_is_who_came_first_and_hears_it_on_its_own_loop),
        WAIT_TEST(who_is_not_answered_hears_that_the_time_is_over_and_is_out_of_the_list),
        WAIT_TEST(who_was_taken_out_in_time_is_answered_once_though_the_timer_rings_too),
        WAIT_TEST(who_left_hears_nothing_and_the_others_keep_their_order),
        WAIT_TEST(who_leaves_after_it_was_taken_out_hears_the_answer),
        WAIT_TEST(a_list_that_moves_behind_another_keeps_order_and_time_limits),
        WAIT_TEST(who_was_answered_may_wait_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
