/* Uploads wait for their turn in order, for a bounded time, in a bounded number. */
#include "storage/admit/gate.h"
#include "tests/unit/library/storage_loop.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#define WAITERS 64

struct visitor {
    struct gate_waiter waiter;
    struct gate *gate;
    int number;
    bool answered, entered;
};

static int order[WAITERS];
static atomic_int answered;

static void on_done(struct gate_waiter *waiter, bool entered)
{
    struct visitor *visitor = CONTAINER_OF(waiter, struct visitor, waiter);
    assert_false(visitor->answered);
    visitor->answered = true;
    visitor->entered = entered;
    order[atomic_load(&answered)] = visitor->number;
    atomic_fetch_add(&answered, 1);
}

static struct visitor visitor_of(struct loop *loop, int number)
{
    return (struct visitor){.waiter = {.done = on_done, .loop = loop}, .number = number};
}

struct attempt {
    struct gate *gate;
    struct gate_waiter *waiter;
    enum gate_result result;
};

static void run_attempt(void *argument)
{
    struct attempt *attempt = argument;
    attempt->result = gate_enter(attempt->gate, attempt->waiter);
}

static enum gate_result enter(struct gate *gate, struct visitor *visitor)
{
    struct attempt attempt = {gate, &visitor->waiter, GATE_FULL};
    loop_do(visitor->waiter.loop, run_attempt, &attempt);
    return attempt.result;
}

static bool all_answered(void *argument)
{
    return atomic_load(&answered) >= *(int *)argument;
}

static void wait_reported(int wanted)
{
    assert_true(loop_wait_until(all_answered, &wanted));
    assert_int_equal(atomic_load(&answered), wanted);
}

static struct loop *fresh_loop(void)
{
    atomic_store(&answered, 0);
    return loop_fresh();
}

static void those_who_wait_enter_in_order_as_others_leave(void **state)
{
    struct loop *loop = fresh_loop();
    struct gate *gate = gate_create(2, 10, 60000);
    struct visitor visitors[5];
    (void)state;
    assert_non_null(gate);
    for (int i = 0; i < 5; i++) {
        visitors[i] = visitor_of(loop, i);
        assert_int_equal(enter(gate, &visitors[i]), i < 2 ? GATE_ENTERED : GATE_WAITS);
    }
    assert_int_equal(gate_active(gate), 2);
    assert_int_equal(gate_waiting(gate), 3);
    gate_leave(gate);
    wait_reported(1);
    gate_leave(gate);
    gate_leave(gate);
    wait_reported(3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(order[i], i + 2);
    assert_true(visitors[2].entered && visitors[3].entered && visitors[4].entered);
    gate_leave(gate);
    gate_leave(gate);
    assert_int_equal(gate_active(gate), 0);
    gate_destroy(gate);
    loop_destroy(loop);
}

static void beyond_the_limit_nobody_waits(void **state)
{
    struct loop *loop = fresh_loop();
    struct gate *gate = gate_create(1, 1, 60000);
    struct visitor visitors[3];
    (void)state;
    assert_non_null(gate);
    for (int i = 0; i < 3; i++)
        visitors[i] = visitor_of(loop, i);
    assert_int_equal(enter(gate, &visitors[0]), GATE_ENTERED);
    assert_int_equal(enter(gate, &visitors[1]), GATE_WAITS);
    assert_int_equal(enter(gate, &visitors[2]), GATE_FULL);
    gate_leave(gate);
    wait_reported(1);
    gate_leave(gate);
    gate_destroy(gate);
    loop_destroy(loop);
}

static void who_waits_too_long_is_turned_away(void **state)
{
    struct loop *loop = fresh_loop();
    struct gate *gate = gate_create(1, 10, 20);
    struct visitor visitors[3];
    (void)state;
    assert_non_null(gate);
    for (int i = 0; i < 3; i++)
        visitors[i] = visitor_of(loop, i);
    assert_int_equal(enter(gate, &visitors[0]), GATE_ENTERED);
    assert_int_equal(enter(gate, &visitors[1]), GATE_WAITS);
    assert_int_equal(enter(gate, &visitors[2]), GATE_WAITS);
    wait_reported(2);
    assert_false(visitors[1].entered);
    assert_false(visitors[2].entered);
    assert_int_equal(gate_waiting(gate), 0);
    gate_leave(gate);
    assert_int_equal(gate_active(gate), 0);
    gate_destroy(gate);
    loop_destroy(loop);
}

static void a_higher_limit_lets_more_in(void **state)
{
    struct loop *loop = fresh_loop();
    struct gate *gate = gate_create(1, 10, 60000);
    struct visitor visitors[4];
    (void)state;
    assert_non_null(gate);
    for (int i = 0; i < 4; i++) {
        visitors[i] = visitor_of(loop, i);
        assert_int_equal(enter(gate, &visitors[i]), i == 0 ? GATE_ENTERED : GATE_WAITS);
    }
    gate_set_limits(gate, 3, 10, 60000);
    wait_reported(2);
    assert_int_equal(gate_active(gate), 3);
    for (int i = 0; i < 3; i++)
        gate_leave(gate);
    wait_reported(3);
    gate_leave(gate);
    gate_destroy(gate);
    loop_destroy(loop);
}

/* ---- many loops ---- */

struct crowd {
    struct visitor visitors[WAITERS];
    struct gate *gate;
    struct loop *loop;
    struct task task;
    atomic_int entered;
};

static atomic_int inside, inside_most;

static void leave(struct gate *gate)
{
    atomic_fetch_sub(&inside, 1);
    gate_leave(gate);
}

static void come_in(void)
{
    int now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&inside_most);
    while (now > most && !atomic_compare_exchange_weak(&inside_most, &most, now))
        ;
}

static void on_crowd_done(struct gate_waiter *waiter, bool entered)
{
    struct visitor *visitor = CONTAINER_OF(waiter, struct visitor, waiter);
    struct crowd *crowd = CONTAINER_OF(visitor - visitor->number, struct crowd, visitors);
    if (!entered)
        return;
    come_in();
    atomic_fetch_add(&crowd->entered, 1);
    leave(visitor->gate);
}

static void crowd_run(struct task *task)
{
    struct crowd *crowd = CONTAINER_OF(task, struct crowd, task);
    for (int i = 0; i < WAITERS; i++) {
        crowd->visitors[i] = (struct visitor){
            .waiter = {.done = on_crowd_done, .loop = crowd->loop}, .gate = crowd->gate, .number = i};
        if (gate_enter(crowd->gate, &crowd->visitors[i].waiter) == GATE_ENTERED) {
            come_in();
            atomic_fetch_add(&crowd->entered, 1);
            leave(crowd->gate);
        }
    }
}

static void loops_share_the_places_without_losing_anybody(void **state)
{
    static struct crowd crowds[3];
    struct gate *gate = gate_create(4, 10000, 60000);
    struct loop_group group;
    struct error error;
    (void)state;
    assert_non_null(gate);
    atomic_store(&inside_most, 0);
    assert_true(loop_group_create(&group, "test", 3, &error));
    assert_true(loop_group_start(&group, &error));
    for (int i = 0; i < 4; i++) {
        struct visitor blocker = visitor_of(group.loops[0], 0);
        assert_int_equal(enter(gate, &blocker), GATE_ENTERED);
        come_in();
    }
    for (size_t i = 0; i < 3; i++) {
        crowds[i].gate = gate;
        crowds[i].loop = group.loops[i];
        crowds[i].task.run = crowd_run;
        loop_post(group.loops[i], &crowds[i].task);
    }
    for (int i = 0; i < 20000 && gate_waiting(gate) < 3 * WAITERS; i++)
        usleep(1000);
    assert_int_equal(gate_waiting(gate), 3 * WAITERS);
    for (int i = 0; i < 4; i++)
        leave(gate);
    for (int i = 0; i < 20000; i++) {
        if (atomic_load(&crowds[0].entered) + atomic_load(&crowds[1].entered) +
                atomic_load(&crowds[2].entered) ==
            3 * WAITERS)
            break;
        usleep(1000);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&crowds[i].entered), WAITERS);
    assert_in_range(atomic_load(&inside_most), 1, 4);
    loop_group_destroy(&group);
    assert_int_equal(gate_active(gate), 0);
    gate_destroy(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_enter_in_order_as_others_leave),
        cmocka_unit_test(beyond_the_limit_nobody_waits),
        cmocka_unit_test(who_waits_too_long_is_turned_away),
        cmocka_unit_test(a_higher_limit_lets_more_in),
        cmocka_unit_test(loops_share_the_places_without_losing_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
