/* Partial uploads whose time is over: their files go, unless they became files, changed, or are another's. */
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/expire.h"

#include <errno.h>

static void start(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_world_start(world, NULL);
    upkeep_member_start(world, keeper, &expire_chore, 1);
    upkeep_member_leads(keeper);
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

/* One with the file of number VALUE, which expires in LEFT seconds. CHANGES: ", state = 2", or "". */
static void partial(struct upkeep_world *world, int64_t value, int64_t left, const char *changes)
{
    char place[PATH_TEXT_SIZE];
    upkeep_file(world, value, 10, place);
    upkeep_sql(world,
               "INSERT INTO t_partial (token, appid, userid, id, group_name, file_path, synced, keep, "
               "expires) VALUES "
               "('token%lld', 'tnvideo', 'alice', 'film', 'group001', '../data/%s', 10, 1, %lld)",
               (long long)value, place, (long long)(clock_wall_seconds() + left));
    upkeep_sql(world, "UPDATE t_partial SET token = token%s WHERE token = 'token%lld'", changes,
               (long long)value);
}

static bool there(struct upkeep_world *world, int64_t value)
{
    return upkeep_number(world, "SELECT COUNT(*) FROM t_partial WHERE token = 'token%lld'",
                         (long long)value) == 1;
}

static void turn(struct upkeep_world *world, struct keeper *keeper)
{
    fake_clock_pass(&world->clock, 61000);
    keeper->renew_at_ms = 0;
    keeper_turn(keeper);
}

static void what_has_expired_goes_and_nothing_else(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    int64_t before = metric_value(keeper.metrics.partials_expired);
    partial(&world, 1, -300, "");
    partial(&world, 2, 300, "");
    partial(&world, 3, -300, ", state = 1");
    partial(&world, 4, 300, ", state = 3"); /* given up */
    partial(&world, 5, -300, ", group_name = 'group002'");
    partial(&world, 7, 300, ", state = 3, mixed = 4"); /* given up, while a row of its file may still come */
    partial(&world, 6, -300, ", file_path = '/other/000/000/000/5F9E3FA7_006'");
    turn(&world, &keeper);
    assert_false(there(&world, 1) || there(&world, 3) || there(&world, 4));
    assert_false(upkeep_there(&world, 1) || upkeep_there(&world, 3) || upkeep_there(&world, 4));
    assert_true(there(&world, 2) && there(&world, 5) && there(&world, 6) && there(&world, 7));
    assert_true(upkeep_there(&world, 2) && upkeep_there(&world, 5) && upkeep_there(&world, 6) &&
                upkeep_there(&world, 7));
    assert_int_equal(metric_value(keeper.metrics.partials_expired) - before, 3);
    assert_int_equal(metric_value(keeper.metrics.partials), 2); /* of this group: 2 and 6 */
    assert_int_equal(metric_value(keeper.metrics.partial_bytes), 20);
    upkeep_sql(&world, "UPDATE t_partial SET expires = 1 WHERE token = 'token7'");
    turn(&world, &keeper);
    assert_false(there(&world, 7) || upkeep_there(&world, 7));
    end(&world, &keeper);
}

/* Of what was stored only the memory goes. */
static void the_file_of_one_that_was_stored_stays(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    partial(&world, 1, -300, ", state = 2");
    upkeep_row(&world, "one", 1, 10, NULL);
    partial(&world, 2, 300, ", state = 2");
    upkeep_row(&world, "two", 2, 10, NULL);
    partial(&world, 3, -300, ", state = 1"); /* its FINISH died behind the row */
    upkeep_row(&world, "three", 3, 10, NULL);
    partial(&world, 4, -300, ", state = 3"); /* it came while it was being removed */
    upkeep_row(&world, "four", 4, 10, NULL);
    turn(&world, &keeper);
    assert_true(there(&world, 2));
    assert_false(there(&world, 1) || there(&world, 3) || there(&world, 4));
    for (int64_t value = 1; value <= 4; value++)
        assert_true(upkeep_there(&world, value));
    assert_int_equal(upkeep_status_of(&world, "three"), 0);
    end(&world, &keeper);
}

/* Whether a file has come of it is asked as the clean-up asks: in MySQL that waits for a row whose COMMIT may still be on its way
 * (test_storage_purge_mysql). */
static void who_removes_a_file_asks_as_the_clean_up_does(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    partial(&world, 1, -300, "");
    upkeep_row(&world, "one", 1, 10, NULL);
    lossy_db_arm(&(struct lossy_db){.beginning = "SELECT row_id FROM t_file_01 WHERE file_path = ? LIMIT 1",
                                    .runs = true});
    turn(&world, &keeper);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_true(upkeep_there(&world, 1));
    end(&world, &keeper);
}

/* Another member has the lease by now. */
static void nothing_is_marked_without_the_lease(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    partial(&world, 1, -300, "");
    upkeep_sql(&world, "UPDATE t_lease SET owner = 'another'");
    fake_clock_pass(&world.clock, 1000);
    for (size_t i = 0; i < keeper.chore_count; i++)
        (void)keeper.chores[i].run(&keeper, &keeper.chores[i]);
    assert_true(there(&world, 1) && upkeep_there(&world, 1));
    assert_int_equal(upkeep_number(&world, "SELECT state FROM t_partial"), 0);
    end(&world, &keeper);
}

static int fail_unlink(struct upkeep_world *world, const char *name)
{
    (void)world;
    (void)name;
    return EIO;
}

/* What could not be removed is removed later; until then nobody can have it. */
static void what_cannot_be_removed_now_is_removed_later(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    partial(&world, 1, -300, "");
    upkeep_hooks.unlink_before = fail_unlink;
    turn(&world, &keeper);
    assert_true(there(&world, 1) && upkeep_there(&world, 1));
    assert_int_equal(upkeep_number(&world, "SELECT state FROM t_partial"), 3);
    upkeep_hooks.unlink_before = NULL;
    turn(&world, &keeper);
    assert_false(there(&world, 1) || upkeep_there(&world, 1));
    end(&world, &keeper);
}

static int pass_lease(struct upkeep_world *world, const char *name)
{
    (void)name;
    fake_clock_pass(&world->clock, 3600 * 1000);
    return 0;
}

/* A pause in the middle of a page: the term is looked at before each file. */
static void after_the_term_of_the_lease_no_file_goes(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    for (int64_t value = 1; value <= 3; value++)
        partial(&world, value, -300, ", state = 3");
    upkeep_hooks.unlink_before = pass_lease;
    turn(&world, &keeper);
    assert_int_equal(upkeep_hooks.unlinks, 1);
    assert_true(upkeep_there(&world, 2) && upkeep_there(&world, 3));
    end(&world, &keeper);
}

static void more_than_a_page_goes_in_one_round(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    for (int64_t value = 100; value < 320; value++)
        partial(&world, value, -300, "");
    turn(&world, &keeper);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_partial"), 0);
    assert_false(upkeep_there(&world, 100) || upkeep_there(&world, 319));
    end(&world, &keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_expired_goes_and_nothing_else),
        cmocka_unit_test(the_file_of_one_that_was_stored_stays),
        cmocka_unit_test(who_removes_a_file_asks_as_the_clean_up_does),
        cmocka_unit_test(nothing_is_marked_without_the_lease),
        cmocka_unit_test(what_cannot_be_removed_now_is_removed_later),
        cmocka_unit_test(after_the_term_of_the_lease_no_file_goes),
        cmocka_unit_test(more_than_a_page_goes_in_one_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
