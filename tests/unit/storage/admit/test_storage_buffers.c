/* Memory for uploads stays within its budget, and everybody gets something. */
#include "storage/admit/buffers.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#define CHUNK (128 * 1024)

static void a_chunk_or_what_is_left_is_given(void **state)
{
    struct buffers *buffers = buffers_create(CHUNK, 4 * CHUNK);
    struct buffer whole, rest;
    (void)state;
    assert_non_null(buffers);
    assert_true(buffers_take(buffers, INT64_C(1) << 40, false, &whole));
    assert_int_equal(whole.size, CHUNK);
    assert_true(buffers_take(buffers, 5, false, &rest));
    assert_int_equal(rest.size, 5);
    memset(whole.bytes, 1, whole.size);
    memset(rest.bytes, 2, rest.size);
    assert_int_equal(buffers_used(buffers), CHUNK + 5);
    buffers_give(buffers, &whole);
    buffers_give(buffers, &rest);
    assert_null(whole.bytes);
    assert_int_equal(buffers_used(buffers), 0);
    buffers_give(buffers, &whole); /* one without bytes is ignored */
    buffers_destroy(buffers);
}

static void when_the_budget_is_used_up_there_is_little_for_each_and_nothing_optional(void **state)
{
    struct buffers *buffers = buffers_create(CHUNK, 2 * CHUNK);
    struct buffer taken[2], poor, tiny, optional;
    (void)state;
    assert_non_null(buffers);
    for (int i = 0; i < 2; i++)
        assert_true(buffers_take(buffers, CHUNK, true, &taken[i]));
    assert_false(buffers_take(buffers, CHUNK, true, &optional));
    assert_null(optional.bytes);
    assert_true(buffers_take(buffers, CHUNK, false, &poor));
    assert_int_equal(poor.size, BUFFERS_LEAST);
    assert_true(buffers_take(buffers, 10, false, &tiny));
    assert_int_equal(tiny.size, 10);
    assert_int_equal(buffers_used(buffers), 2 * CHUNK + BUFFERS_LEAST + 10);
    buffers_give(buffers, &taken[0]);
    buffers_give(buffers, &poor);
    buffers_give(buffers, &tiny);
    assert_true(buffers_take(buffers, CHUNK, true, &optional));
    assert_int_equal(optional.size, CHUNK);
    buffers_give(buffers, &optional);
    buffers_give(buffers, &taken[1]);
    assert_int_equal(buffers_used(buffers), 0);
    buffers_destroy(buffers);
}

static void chunks_that_came_back_are_given_again(void **state)
{
    struct buffers *buffers = buffers_create(CHUNK, 1000 * (int64_t)CHUNK);
    struct buffer taken[100];
    (void)state;
    assert_non_null(buffers);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
            assert_true(buffers_take(buffers, CHUNK, false, &taken[i]));
            memset(taken[i].bytes, (int)i, CHUNK);
        }
        for (size_t i = 0; i < ARRAY_SIZE(taken); i++) { /* no two are the same memory */
            assert_int_equal(taken[i].bytes[0], i);
            assert_int_equal(taken[i].bytes[CHUNK - 1], i);
            buffers_give(buffers, &taken[i]);
        }
        assert_int_equal(buffers_used(buffers), 0);
    }
    buffers_destroy(buffers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_or_what_is_left_is_given),
        cmocka_unit_test(when_the_budget_is_used_up_there_is_little_for_each_and_nothing_optional),
        cmocka_unit_test(chunks_that_came_back_are_given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
