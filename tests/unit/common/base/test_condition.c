/* A condition variable waits by the monotonic clock, as long as asked; a duration in the form of a timer. */
#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/duration.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

struct place {
    pthread_mutex_t lock;
    pthread_cond_t condition;
    bool happened;
};

static void set_up(struct place *place)
{
    struct error error;
    place->happened = false;
    assert_int_equal(pthread_mutex_init(&place->lock, NULL), 0);
    assert_true(condition_init(&place->condition, &error));
}

static void tear_down(struct place *place)
{
    assert_int_equal(pthread_cond_destroy(&place->condition), 0);
    assert_int_equal(pthread_mutex_destroy(&place->lock), 0);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    struct place place;
    (void)state;
    set_up(&place);
    pthread_mutex_lock(&place.lock);
    /* 1,020 ms: the sum of the nanoseconds carries over into the seconds. */
    int64_t before = clock_monotonic_us(), left;
    int64_t until = before / 1000 + 1020;
    while ((left = until - clock_monotonic_ms()) > 0)
        condition_wait_ms(&place.condition, &place.lock, left);
    assert_true(clock_monotonic_us() - before >= 1019 * 1000);
    pthread_mutex_unlock(&place.lock);
    tear_down(&place);
}

static void a_wait_of_nothing_returns_at_once(void **state)
{
    struct place place;
    (void)state;
    set_up(&place);
    pthread_mutex_lock(&place.lock);
    condition_wait_ms(&place.condition, &place.lock, 0);
    condition_wait_ms(&place.condition, &place.lock, -5);
    condition_wait_ms(&place.condition, &place.lock, INT64_MIN);
    pthread_mutex_unlock(&place.lock);
    tear_down(&place);
}

static void *signal_it(void *argument)
{
    struct place *place = argument;
    pthread_mutex_lock(&place->lock);
    place->happened = true;
    pthread_cond_signal(&place->condition);
    pthread_mutex_unlock(&place->lock);
    return NULL;
}

static void a_signal_ends_a_wait(void **state)
{
    struct place place;
    pthread_t thread;
    (void)state;
    set_up(&place);
    pthread_mutex_lock(&place.lock);
    assert_int_equal(pthread_create(&thread, NULL, signal_it, &place), 0);
    int64_t until = clock_monotonic_ms() + 60000;
    while (!place.happened && clock_monotonic_ms() < until)
        condition_wait_ms(&place.condition, &place.lock, until - clock_monotonic_ms());
    assert_true(place.happened);
    assert_true(clock_monotonic_ms() < until);
    pthread_mutex_unlock(&place.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    tear_down(&place);
}

static void a_duration_is_whole_seconds_and_a_rest(void **state)
{
    (void)state;
    struct timeval time = duration_timeval(61999);
    assert_int_equal(time.tv_sec, 61);
    assert_int_equal(time.tv_usec, 999000);
    time = duration_timeval(-1);
    assert_int_equal(time.tv_sec, 0);
    assert_int_equal(time.tv_usec, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_when_its_time_is_over),
        cmocka_unit_test(a_wait_of_nothing_returns_at_once),
        cmocka_unit_test(a_signal_ends_a_wait),
        cmocka_unit_test(a_duration_is_whole_seconds_and_a_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
