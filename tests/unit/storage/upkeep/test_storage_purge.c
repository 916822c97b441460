/* The purge: what is old enough goes, in the order row marked, file, row; what was restored or is another's stays. */
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/purge.h"
#include "storage/upkeep/upkeep_sql.h"

#include <errno.h>

#define KEEP 1000 /* seconds; trash_keep of these tests */

static void start(struct upkeep_world *world, struct keeper *keeper)
{
    const struct chore chores[] = {purge_chore, measure_chore};
    upkeep_world_start(world, "storage.trash_keep=1000s");
    upkeep_member_start(world, keeper, chores, ARRAY_SIZE(chores));
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

/* A deleted file, AGO seconds. */
static void deleted(struct upkeep_world *world, const char *id, int64_t value, int64_t ago, const char *more)
{
    char changes[256];
    snprintf(changes, sizeof(changes), "status = 1, deleted_at = %lld%s",
             (long long)(clock_wall_seconds() - ago), more);
    upkeep_stored(world, id, value, 10, changes);
}

static void turn(struct upkeep_world *world, struct keeper *keeper)
{
    fake_clock_pass(&world->clock, 61000);
    keeper->renew_at_ms = 0;
    keeper_turn(keeper);
}

static void what_was_deleted_long_enough_ago_goes_and_nothing_else(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    int64_t before = metric_value(keeper.metrics.purged_files);
    upkeep_stored(&world, "kept", 1, 10, NULL);
    deleted(&world, "old", 2, KEEP + 300, "");
    deleted(&world, "young", 3, KEEP - 300, "");
    deleted(&world, "foreign", 4, KEEP + 300, ", group_name = 'group002'");
    deleted(&world, "purging", 5, KEEP + 300, ", status = 2");
    deleted(&world, "broken", 6, KEEP + 300, ", status = 4");
    upkeep_row(&world, "lost", 7, 10, "status = 4, deleted_at = 5");
    deleted(&world, "damaged", 8, 0, ", status = 3, deleted_at = 0");
    deleted(&world, "elsewhere", 9, KEEP + 300, ", file_path = '/other/000/000/000/5F9E3FA7_009'");
    turn(&world, &keeper);
    static const char *const gone[] = {"old", "purging", "broken", "lost"};
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        assert_int_equal(upkeep_status_of(&world, gone[i]), -1);
    assert_false(upkeep_there(&world, 2) || upkeep_there(&world, 5) || upkeep_there(&world, 6));
    for (int value = 1; value <= 9; value++) {
        if (value == 1 || value == 3 || value == 4 || value == 8 || value == 9)
            assert_true(upkeep_there(&world, value));
    }
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02"), 5);
    assert_int_equal(metric_value(keeper.metrics.purged_files) - before, 4);
    end(&world, &keeper);
}

static void more_than_a_page_goes_in_one_round(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    for (int i = 0; i < 230; i++) {
        char id[16];
        snprintf(id, sizeof(id), "file%d", i);
        deleted(&world, id, i, KEEP + 300, "");
    }
    turn(&world, &keeper);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02"), 0);
    end(&world, &keeper);
}

static void a_shorter_trash_keep_counts_from_the_reload_on(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "file", 1, 5, "");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 1);
    world.fixture.config.trash_keep_ms = 0;
    keeper_reload(&keeper, &world.fixture.config);
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), -1);
    end(&world, &keeper);
}

/* Neither of the two clocks makes anything old by itself. */
static void a_clock_that_is_set_forward_makes_nothing_old(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "file", 1, KEEP - 300, "");
    fake_clock_step(&world.clock, 100000); /* the machine's; the database's stays */
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 1);
    fake_clock_step(&world.clock, -200000);
    upkeep_sql(&world,
               "UPDATE t_file_02 SET deleted_at = deleted_at - 700"); /* old by the database's clock alone */
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 1);
    end(&world, &keeper);
}

static void a_deleted_row_without_a_time_is_kept_from_now_on(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "old", 1, 0, ", deleted_at = 0, group_name = ''");
    /* The predecessor deleted what we had restored: it knows nothing of the column. */
    deleted(&world, "restored", 2, 0, ", deleted_at = -1700000000000000, status = 4");
    turn(&world, &keeper);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE deleted_at BETWEEN "
                                           "strftime('%%s', 'now') - 100 AND strftime('%%s', 'now') + 100"),
                     2);
    assert_true(upkeep_there(&world, 1) && upkeep_there(&world, 2));
    end(&world, &keeper);
}

/* ---- the order ---- */

static int64_t status_at_unlink;
static int look_at_status(struct upkeep_world *world, const char *name)
{
    (void)name;
    status_at_unlink = upkeep_status_of(world, "file");
    return 0;
}

static void the_row_is_marked_before_its_file_goes(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "file", 1, KEEP + 300, "");
    upkeep_hooks.unlink_before = look_at_status;
    status_at_unlink = -7;
    turn(&world, &keeper);
    assert_int_equal(status_at_unlink, META_STATE_PURGING);
    end(&world, &keeper);
}

struct marking {
    struct upkeep_world *world;
    const struct lease *lease;
    struct upkeep_page page;
    int64_t limit;
    bool changed;
};

static enum db_result find_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct marking *marking = argument;
    return upkeep_sql_find_purgeable(connection, marking->world->storage.store, 1, "group001", marking->limit,
                                     0, &marking->page, error);
}

static enum db_result mark_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct marking *marking = argument;
    return upkeep_sql_mark_purging(connection, marking->lease, &marking->page.rows[0], "group001",
                                   marking->limit, &marking->changed, error);
}

static enum db_result remove_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct marking *marking = argument;
    bool removed;
    return upkeep_sql_remove(connection, marking->lease, &marking->page.rows[0], &removed, error);
}

/* Between the look and the mark: whatever happened to the row, it is not what was found any more. */
static void what_changed_since_it_was_found_is_not_marked(void **state)
{
    static const struct {
        const char *change;
        bool marked;
    } rows[] = {
        {"UPDATE t_file_02 SET id = id", true},
        {"UPDATE t_file_02 SET status = 0, deleted_at = -5", false}, /* restored */
        {"UPDATE t_file_02 SET deleted_at = 9999999999", false},     /* and deleted again */
        {"UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_006'", false},
        {"UPDATE t_file_02 SET status = 3", false},
        {"UPDATE t_lease SET owner = 'another'", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct upkeep_world world;
        struct keeper keeper;
        start(&world, &keeper);
        keeper.chore_count = 0;
        upkeep_member_leads(&keeper);
        deleted(&world, "file", 1, KEEP + 300, "");
        struct marking *marking = calloc(1, sizeof(*marking));
        assert_non_null(marking);
        marking->world = &world;
        marking->lease = &keeper.lease;
        marking->limit = clock_wall_seconds() - KEEP;
        assert_int_equal(upkeep_job(&world, find_run, marking), DB_OK);
        assert_int_equal(marking->page.count, 1);
        upkeep_sql(&world, "%s", rows[i].change);
        assert_int_equal(upkeep_job(&world, mark_run, marking), DB_OK);
        assert_int_equal(marking->changed, rows[i].marked);
        assert_int_equal(upkeep_status_of(&world, "file") == 2, rows[i].marked);
        assert_int_equal(upkeep_job(&world, remove_run, marking), DB_OK);
        assert_int_equal(upkeep_status_of(&world, "file") == -1, rows[i].marked);
        free(marking);
        end(&world, &keeper);
    }
}

static int lose_lease(struct upkeep_world *world, const char *name)
{
    (void)name;
    fake_clock_pass(&world->clock, 23000); /* of 30 s; believed for 22.5 */
    upkeep_sql(world, "UPDATE t_lease SET owner = 'another'");
    return 0;
}

/* It was stopped inside of the first removal: others have the lease by now. */
static void when_the_lease_has_passed_no_further_file_goes(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof(id), "file%d", i);
        deleted(&world, id, i, KEEP + 300, "");
    }
    upkeep_hooks.unlink_before = lose_lease;
    turn(&world, &keeper);
    assert_int_equal(upkeep_hooks.unlinks, 1);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE status = 2"), 5);
    /* Whoever holds it next ends the work. */
    upkeep_hooks.unlink_before = NULL;
    upkeep_sql(&world, "UPDATE t_lease SET owner = ''");
    turn(&world, &keeper);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02"), 0);
    end(&world, &keeper);
}

static int failing_unlink(struct upkeep_world *world, const char *name)
{
    (void)world;
    return strstr(name, "_002") ? EIO : 0;
}

static void a_file_that_cannot_be_removed_keeps_its_row_until_it_can(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "one", 1, KEEP + 300, "");
    deleted(&world, "two", 2, KEEP + 300, "");
    upkeep_hooks.unlink_before = failing_unlink;
    int64_t failures = metric_value(keeper.metrics.purge_failures);
    turn(&world, &keeper);
    assert_int_equal(metric_value(keeper.metrics.purge_failures) - failures, 1);
    assert_int_equal(upkeep_status_of(&world, "one"), -1);
    assert_int_equal(upkeep_status_of(&world, "two"), META_STATE_PURGING);
    upkeep_hooks.unlink_before = NULL;
    usleep(200000); /* the store path is looked at again after the error */
    for (int i = 0; i < 1000 && upkeep_status_of(&world, "two") != -1; i++) {
        turn(&world, &keeper);
        usleep(20000);
    }
    assert_int_equal(upkeep_status_of(&world, "two"), -1);
    end(&world, &keeper);
}

/* ---- rows without a group ---- */

static void a_row_without_a_group_goes_only_where_its_file_is_its_own(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "far", 1, KEEP + 300,
            ", group_name = '', file_path = '../data/000/000/000/5F9E3FA7_0AA'");
    deleted(&world, "mine", 2, KEEP + 300, ", group_name = ''");
    /* Another user's live file had the same path in another group of the predecessor: this may be that one. */
    deleted(&world, "shared", 3, KEEP + 300, ", group_name = ''");
    upkeep_sql(&world, "INSERT INTO t_file_03 (id, status, file_path) VALUES ('live', NULL, "
                       "'../data/000/000/000/5F9E3FA7_003')");
    int64_t shared = metric_value(keeper.metrics.purge_shared);
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "far"), 1);
    assert_int_equal(upkeep_status_of(&world, "mine"), -1);
    assert_int_equal(upkeep_status_of(&world, "shared"), 1);
    assert_true(upkeep_there(&world, 3));
    assert_int_equal(metric_value(keeper.metrics.purge_shared) - shared, 1);
    /* Old trash of another group may still be restored; only what is being purged cannot. */
    upkeep_sql(&world, "UPDATE t_file_03 SET status = 1, deleted_at = 5, group_name = 'group002'");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "shared"), 1);
    assert_true(upkeep_there(&world, 3));
    upkeep_sql(&world, "UPDATE t_file_03 SET status = 2");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "shared"), -1);
    assert_false(upkeep_there(&world, 3));
    end(&world, &keeper);
}

/* A client restores the other row right before the file is removed. */
static int restore_other(struct upkeep_world *world, const char *name)
{
    (void)name;
    upkeep_sql(world, "UPDATE t_file_03 SET status = 0, deleted_at = -7 WHERE status = 1");
    return 0;
}

/* Two deleted rows with one path, of which the second one lies in a table that the purge has not come to: whoever restored it
 * meanwhile would have a row without a file. */
static void rows_with_one_path_are_purged_together_or_not(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    for (int grouped = 0; grouped < 2; grouped++) {
        start(&world, &keeper);
        deleted(&world, "one", 3, KEEP + 300, ", group_name = ''");
        upkeep_sql(
            &world,
            grouped
                ? "INSERT INTO t_file_03 (id, status, deleted_at, file_size, file_path, group_name) VALUES "
                  "('two', 1, 5, 1, '../data/000/000/000/5F9E3FA7_003', 'group001')"
                : "INSERT INTO t_file_03 (id, status, deleted_at, file_size, file_path) VALUES "
                  "('two', 1, 5, 1, '../data/000/000/000/5F9E3FA7_003')");
        upkeep_hooks.world = &world;
        upkeep_hooks.unlink_before = restore_other;
        turn(&world, &keeper);
        upkeep_hooks.unlink_before = NULL;
        assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_03 WHERE status = 0"), 0);
        assert_false(upkeep_there(&world, 3));
        end(&world, &keeper);
    }
}

static int restore_one(struct upkeep_world *world, const char *name)
{
    (void)name;
    upkeep_sql(world, "UPDATE t_file_02 SET status = 0, deleted_at = -7 WHERE id = 'one' AND status = 1");
    return 0;
}

/* Two deleted rows with one path; the one that the page holds is restored between the look at the page and the mark. */
static void a_row_that_is_restored_at_the_last_moment_keeps_its_file(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "one", 3, KEEP + 300, ", group_name = ''");
    upkeep_sql(&world, "INSERT INTO t_file_03 (id, status, deleted_at, file_size, file_path) VALUES "
                       "('two', 1, 5, 1, '../data/000/000/000/5F9E3FA7_003')");
    upkeep_hooks.world = &world;
    upkeep_hooks.open_before = restore_one;
    turn(&world, &keeper);
    upkeep_hooks.open_before = NULL;
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "one"), 0);
    assert_int_equal(upkeep_number(&world, "SELECT status FROM t_file_03 WHERE id = 'two'"), 1);
    assert_true(upkeep_there(&world, 3));
    end(&world, &keeper);
}

/* Three rows with one path, of which another group may restore the last: then no other is marked either. */
static void another_groups_trash_keeps_all_rows_of_its_path(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "one", 3, KEEP + 300, ", group_name = ''");
    upkeep_sql(&world, "INSERT INTO t_file_03 (id, status, deleted_at, file_size, file_path) VALUES "
                       "('two', 1, 5, 1, '../data/000/000/000/5F9E3FA7_003')");
    upkeep_sql(&world,
               "INSERT INTO t_file_03 (id, status, deleted_at, file_size, file_path, group_name) VALUES "
               "('theirs', 1, 5, 1, '../data/000/000/000/5F9E3FA7_003', 'group002')");
    turn(&world, &keeper);
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "one"), 1);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_03 WHERE status = 1"), 2);
    assert_true(upkeep_there(&world, 3));
    end(&world, &keeper);
}

/* ---- failures, and what is measured ---- */

static void the_trash_is_measured_by_every_member(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "young", 1, 5, "");
    deleted(&world, "broken", 2, 5, ", status = 4");
    upkeep_stored(&world, "kept", 3, 10, NULL);
    upkeep_stored(&world, "torn", 5, 10, NULL);
    upkeep_sql(&world, "UPDATE t_file_02 SET status = 3 WHERE id = 'torn'");
    turn(&world, &keeper);
    assert_int_equal(metric_value(keeper.metrics.trash_files), 2);
    assert_int_equal(metric_value(keeper.metrics.trash_bytes), 20);
    assert_int_equal(metric_value(keeper.metrics.damaged_files), 2);
    upkeep_sql(&world, "UPDATE t_lease SET owner = 'another', renewals = renewals + 1");
    deleted(&world, "more", 4, 5, "");
    upkeep_sql(&world, "UPDATE t_lease SET progress = '{\"findings\": {\"missing\": 4, \"wrong-size\": 3}}'");
    turn(&world, &keeper);
    assert_false(lease_held(&keeper.lease));
    assert_int_equal(metric_value(keeper.metrics.damaged_files), 7); /* reported, and not marked */
    assert_int_equal(metric_value(keeper.metrics.trash_files), 3);
    end(&world, &keeper);
}

/* Whatever asks what time it is takes 10 ms. */
static int64_t slow_monotonic(void *argument)
{
    return atomic_fetch_add(&((struct fake_clock *)argument)->monotonic_us, 10000);
}

static void a_long_measurement_is_not_repeated_at_once(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "one", 1, 5, "");
    turn(&world, &keeper);
    assert_int_equal(metric_value(keeper.metrics.trash_files), 1);
    assert_true(keeper.measure_at_ms <= clock_monotonic_ms()); /* it took no time, by this clock */
    const struct clock_source slow = {slow_monotonic, fake_clock_wall, &world.clock};
    clock_set_source(&slow);
    turn(&world, &keeper);
    clock_set_source(&world.clock.source);
    assert_true(keeper.measure_at_ms >= clock_monotonic_ms() + 400);
    keeper.measure_at_ms += 100000;
    deleted(&world, "two", 2, 5, "");
    deleted(&world, "old", 3, KEEP + 300, "");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "old"), -1); /* the purge goes on */
    assert_int_equal(metric_value(keeper.metrics.trash_files), 1);
    turn(&world, &keeper);
    assert_int_equal(metric_value(keeper.metrics.trash_files), 2);
    /* Nor is one that failed after long. */
    upkeep_sql(&world, "ALTER TABLE t_file_03 RENAME TO away");
    clock_set_source(&slow);
    turn(&world, &keeper);
    clock_set_source(&world.clock.source);
    assert_true(keeper.measure_at_ms >= clock_monotonic_ms() + 400);
    upkeep_sql(&world, "ALTER TABLE away RENAME TO t_file_03");
    end(&world, &keeper);
}

static void while_the_database_fails_nothing_goes(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    deleted(&world, "file", 1, KEEP + 300, "");
    upkeep_sql(&world, "CREATE TRIGGER no BEFORE UPDATE ON t_file_02 BEGIN SELECT RAISE(ABORT, 'no'); END");
    turn(&world, &keeper);
    assert_true(upkeep_there(&world, 1));
    assert_non_null(strstr(keeper.last_error, "deleted files stay for now"));
    upkeep_sql(&world, "DROP TRIGGER no");
    upkeep_sql(&world, "CREATE TRIGGER no BEFORE DELETE ON t_file_02 BEGIN SELECT RAISE(ABORT, 'no'); END");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), META_STATE_PURGING);
    assert_false(upkeep_there(&world, 1));
    upkeep_sql(&world, "DROP TRIGGER no");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), -1);
    end(&world, &keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_deleted_long_enough_ago_goes_and_nothing_else),
        cmocka_unit_test(more_than_a_page_goes_in_one_round),
        cmocka_unit_test(a_shorter_trash_keep_counts_from_the_reload_on),
        cmocka_unit_test(a_clock_that_is_set_forward_makes_nothing_old),
        cmocka_unit_test(a_deleted_row_without_a_time_is_kept_from_now_on),
        cmocka_unit_test(the_row_is_marked_before_its_file_goes),
        cmocka_unit_test(what_changed_since_it_was_found_is_not_marked),
        cmocka_unit_test(when_the_lease_has_passed_no_further_file_goes),
        cmocka_unit_test(a_file_that_cannot_be_removed_keeps_its_row_until_it_can),
        cmocka_unit_test(a_row_without_a_group_goes_only_where_its_file_is_its_own),
        cmocka_unit_test(rows_with_one_path_are_purged_together_or_not),
        cmocka_unit_test(a_row_that_is_restored_at_the_last_moment_keeps_its_file),
        cmocka_unit_test(another_groups_trash_keeps_all_rows_of_its_path),
        cmocka_unit_test(the_trash_is_measured_by_every_member),
        cmocka_unit_test(a_long_measurement_is_not_repeated_at_once),
        cmocka_unit_test(while_the_database_fails_nothing_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
