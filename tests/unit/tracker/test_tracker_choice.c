/* How the tracker spreads clients over servers and new users over groups. */
#include "tracker/choice.h"
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define ROUNDS                                                                                               \
    20000 /* so many that every range below is at least seven standard deviations wide on either side */

/* How often each server comes first. */
static void count_first(const struct choice_server *servers, size_t count, int *first)
{
    for (size_t i = 0; i < count; i++)
        first[i] = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t picked[8];
        assert_true(choice_servers(servers, count, 3, picked) > 0);
        first[picked[0]]++;
    }
}

static void equal_servers_come_first_equally_often(void **state)
{
    const struct choice_server servers[4] = {
        {.rank = CHOICE_READY}, {.rank = CHOICE_READY}, {.rank = CHOICE_READY}, {.rank = CHOICE_READY}};
    int first[4];
    (void)state;
    count_first(servers, 4, first);
    for (int i = 0; i < 4; i++)
        assert_in_range(first[i], ROUNDS / 4 - ROUNDS / 40, ROUNDS / 4 + ROUNDS / 40);
}

static void a_less_busy_server_comes_first_more_often_but_not_always(void **state)
{
    const struct choice_server servers[2] = {{.rank = CHOICE_READY, .has_load = true, .busyness = 0},
                                             {.rank = CHOICE_READY, .has_load = true, .busyness = 200}};
    int first[2];
    (void)state;
    count_first(servers, 2, first);
    assert_in_range(first[0], ROUNDS * 70 / 100, ROUNDS * 80 / 100);
    assert_int_equal(first[0] + first[1], ROUNDS);
}

static void a_server_without_load_counts_as_average(void **state)
{
    const struct choice_server servers[3] = {{.rank = CHOICE_READY, .has_load = true, .busyness = 100},
                                             {.rank = CHOICE_READY},
                                             {.rank = CHOICE_READY, .has_load = true, .busyness = 100}};
    int first[3];
    (void)state;
    count_first(servers, 3, first);
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], ROUNDS / 3 - ROUNDS / 30, ROUNDS / 3 + ROUNDS / 30);
}

static void servers_are_named_in_order_of_their_rank(void **state)
{
    const struct choice_server servers[3] = {{.rank = CHOICE_READ_ONLY},
                                             {.rank = CHOICE_BUSY},
                                             {.rank = CHOICE_READY, .has_load = true, .busyness = 1e9}};
    (void)state;
    for (int round = 0; round < 100; round++) {
        size_t picked[3];
        assert_int_equal(choice_servers(servers, 3, 3, picked), 3);
        assert_int_equal(picked[0], 2);
        assert_int_equal(picked[1], 1);
        assert_int_equal(picked[2], 0);
    }
}

static void suspect_and_draining_servers_are_named_only_where_no_other_is(void **state)
{
    struct choice_server servers[3] = {
        {.rank = CHOICE_SUSPECT}, {.rank = CHOICE_DRAINING}, {.rank = CHOICE_READ_ONLY}};
    size_t picked[3];
    (void)state;
    assert_int_equal(choice_servers(servers, 3, 3, picked), 1);
    assert_int_equal(picked[0], 2);
    assert_int_equal(choice_servers(servers, 2, 3, picked), 1);
    assert_int_equal(picked[0], 1);
    assert_int_equal(choice_servers(servers, 1, 3, picked), 1);
    assert_int_equal(picked[0], 0);
    assert_int_equal(choice_servers(servers, 0, 3, picked), 0);
}

static void no_server_is_named_twice_and_no_more_than_wanted(void **state)
{
    const struct choice_server servers[5] = {{.rank = CHOICE_READY},
                                             {.rank = CHOICE_READY},
                                             {.rank = CHOICE_BUSY},
                                             {.rank = CHOICE_READY},
                                             {.rank = CHOICE_READY}};
    (void)state;
    for (int round = 0; round < 1000; round++) {
        size_t picked[3];
        assert_int_equal(choice_servers(servers, 5, 3, picked), 3);
        assert_int_not_equal(picked[0], picked[1]);
        assert_int_not_equal(picked[0], picked[2]);
        assert_int_not_equal(picked[1], picked[2]);
    }
}

static void count_groups(const struct choice_group *groups, size_t count, int *chosen)
{
    for (size_t i = 0; i < count; i++)
        chosen[i] = 0;
    for (int round = 0; round < ROUNDS; round++) {
        size_t index = choice_group(groups, count);
        assert_true(index < count);
        chosen[index]++;
    }
}

static void groups_get_users_by_weight_times_free_share(void **state)
{
    const struct choice_group groups[3] = {
        {.weight = 100, .has_load = true, .capacity = 1000, .free = 800}, /* 80 */
        {.weight = 100, .has_load = true, .capacity = 4000, .free = 800}, /* 20 */
        {.weight = 300, .has_load = true, .capacity = 1000, .free = 100}, /* 30 */
    };
    int chosen[3];
    (void)state;
    count_groups(groups, 3, chosen);
    assert_in_range(chosen[0], ROUNDS * 59 / 100, ROUNDS * 64 / 100);
    assert_in_range(chosen[1], ROUNDS * 13 / 100, ROUNDS * 18 / 100);
    assert_in_range(chosen[2], ROUNDS * 20 / 100, ROUNDS * 26 / 100);
}

static void a_group_of_legacy_servers_counts_as_average(void **state)
{
    const struct choice_group groups[3] = {
        {.weight = 100, .has_load = true, .capacity = 1000, .free = 300},
        {.weight = 100},
        {.weight = 100, .has_load = true, .capacity = 1000, .free = 300},
    };
    int chosen[3];
    (void)state;
    count_groups(groups, 3, chosen);
    for (int i = 0; i < 3; i++)
        assert_in_range(chosen[i], ROUNDS / 3 - ROUNDS / 30, ROUNDS / 3 + ROUNDS / 30);
    count_groups(&groups[1], 1, chosen);
    assert_int_equal(chosen[0], ROUNDS);
}

static void a_group_without_weight_or_room_is_never_chosen(void **state)
{
    const struct choice_group groups[3] = {
        {.weight = 0, .has_load = true, .capacity = 1000, .free = 1000},
        {.weight = 100, .has_load = true, .capacity = 1000, .free = 0},
        {.weight = 1, .has_load = true, .capacity = 1000, .free = 1},
    };
    int chosen[3];
    (void)state;
    count_groups(groups, 3, chosen);
    assert_int_equal(chosen[2], ROUNDS);
    assert_int_equal(choice_group(groups, 2), 2);
    assert_int_equal(choice_group(groups, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_servers_come_first_equally_often),
        cmocka_unit_test(a_less_busy_server_comes_first_more_often_but_not_always),
        cmocka_unit_test(a_server_without_load_counts_as_average),
        cmocka_unit_test(servers_are_named_in_order_of_their_rank),
        cmocka_unit_test(suspect_and_draining_servers_are_named_only_where_no_other_is),
        cmocka_unit_test(no_server_is_named_twice_and_no_more_than_wanted),
        cmocka_unit_test(groups_get_users_by_weight_times_free_share),
        cmocka_unit_test(a_group_of_legacy_servers_counts_as_average),
        cmocka_unit_test(a_group_without_weight_or_room_is_never_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
