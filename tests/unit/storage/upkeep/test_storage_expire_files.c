/* Files whose time is over: deleted as DELETE would, by the holder of the lease, by no clock that was set forward. */
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/expire_files.h"
#include "storage/upkeep/purge.h"
#include "storage/upkeep/upkeep_sql.h"

#define KEEP 1000 /* seconds; trash_keep of these tests */

static void start(struct upkeep_world *world, struct keeper *keeper)
{
    const struct chore chores[] = {expire_files_chore, purge_chore};
    upkeep_world_start(world, "storage.trash_keep=1000s");
    upkeep_member_start(world, keeper, chores, ARRAY_SIZE(chores));
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

static void expires(struct upkeep_world *world, const char *id, int64_t value, int64_t in, const char *more)
{
    char changes[256];
    snprintf(changes, sizeof(changes), "expires_at = %lld%s", (long long)(clock_wall_seconds() + in), more);
    upkeep_stored(world, id, value, 10, changes);
}

static void turn(struct upkeep_world *world, struct keeper *keeper)
{
    fake_clock_pass(&world->clock, 61000);
    keeper->renew_at_ms = 0;
    keeper_turn(keeper);
}

static void what_is_over_is_deleted_and_nothing_else(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    int64_t before = metric_value(keeper.metrics.files_expired);
    upkeep_stored(&world, "kept", 1, 10, NULL);
    expires(&world, "over", 2, -300, "");
    expires(&world, "later", 3, 300, "");
    expires(&world, "foreign", 4, -300, ", group_name = 'group002'");
    expires(&world, "damaged", 5, -300, ", status = 3");
    expires(&world, "deleted", 6, -300, ", status = 1, deleted_at = 1700000000 + 300000000");
    expires(&world, "legacy", 7, -300, ", group_name = '', status = NULL");
    expires(&world, "elsewhere", 8, -300, ", group_name = '', file_path = '/other/000/000/000/5F9E3FA7_008'");
    expires(&world, "restored", 9, -300, ", deleted_at = -1700000000000000");
    turn(&world, &keeper);
    static const struct {
        const char *id;
        int64_t status;
    } expected[] = {{"kept", 0},    {"over", 1},   {"later", 0},     {"foreign", 0}, {"damaged", 4},
                    {"deleted", 1}, {"legacy", 1}, {"elsewhere", 0}, {"restored", 1}};
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(upkeep_status_of(&world, expected[i].id), expected[i].status);
    for (int value = 1; value <= 9; value++) /* the trash keeps it */
        assert_true(upkeep_there(&world, value) || value == 8);
    assert_int_equal(metric_value(keeper.metrics.files_expired) - before, 4);
    assert_int_equal(
        upkeep_number(&world,
                      "SELECT COUNT(*) FROM t_file_02 WHERE id = 'over' AND change_id <> 0 AND deleted_at "
                      "BETWEEN strftime('%%s', 'now') - 100 AND strftime('%%s', 'now') + 100"),
        1);
    assert_int_equal(upkeep_number(&world, "SELECT deleted_at FROM t_file_02 WHERE id = 'deleted'"),
                     2000000000);
    for (int i = 0; i < 18; i++) /* it is purged when its time in the trash is over */
        turn(&world, &keeper);
    upkeep_sql(&world, "UPDATE t_file_02 SET deleted_at = deleted_at - 1100 WHERE id = 'over'");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "over"), -1);
    assert_false(upkeep_there(&world, 2));
    end(&world, &keeper);
}

static void more_than_a_page_is_deleted_in_one_round(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    for (int i = 0; i < 130; i++) {
        char id[16];
        snprintf(id, sizeof(id), "file%d", i);
        expires(&world, id, i, -300, "");
    }
    turn(&world, &keeper);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE status = 1"), 130);
    end(&world, &keeper);
}

static void a_clock_that_is_set_forward_deletes_nothing(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    expires(&world, "file", 1, 3000, "");
    fake_clock_step(&world.clock, 100000); /* the machine's; the database's stays */
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 0);
    fake_clock_step(&world.clock, -200000);
    upkeep_sql(
        &world,
        "UPDATE t_file_02 SET expires_at = expires_at - 4000"); /* over by the database's clock alone */
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 0);
    end(&world, &keeper);
}

static void who_does_not_hold_the_lease_deletes_nothing(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper);
    turn(&world, &keeper);
    expires(&world, "file", 1, -300, "");
    upkeep_sql(&world, "UPDATE t_lease SET owner = 'another', renewals = renewals + 1");
    turn(&world, &keeper);
    assert_int_equal(upkeep_status_of(&world, "file"), 0);
    end(&world, &keeper);
}

/* ---- the last moment ---- */

struct late {
    struct upkeep_world *world;
    const struct lease *lease;
    const char *change; /* of the row, after it was found */
    int64_t now;
    bool changed;
};

static enum db_result delete_late(void *argument, struct db_connection *connection, struct error *error)
{
    struct late *late = argument;
    struct upkeep_page page;
    enum db_result result = upkeep_sql_find_expired(connection, late->world->storage.store, 1, "group001",
                                                    late->now, 0, &page, error);
    assert_int_equal(result, DB_OK);
    assert_int_equal(page.count, 1);
    if (late->change[0] != '\0')
        upkeep_sql(late->world, "%s", late->change);
    return upkeep_sql_expire(connection, late->lease, &page.rows[0], "group001", late->now, late->now, 77,
                             &late->changed, error);
}

static void what_changed_since_it_was_found_stays(void **state)
{
    static const char *const changes[] = {
        "UPDATE t_file_02 SET expires_at = 0",
        "UPDATE t_file_02 SET expires_at = expires_at + 1",
        "UPDATE t_file_02 SET status = 1, deleted_at = 1800000000",
        "UPDATE t_file_02 SET status = 3",
        "UPDATE t_file_02 SET deleted_at = -5",
        "UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_002'",
        "UPDATE t_file_02 SET group_name = 'group002'",
        "UPDATE t_lease SET owner = 'another'",
        "",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct upkeep_world world;
        struct keeper keeper;
        start(&world, &keeper);
        turn(&world, &keeper);
        expires(&world, "file", 1, -300, "");
        struct late late = {
            .world = &world, .lease = &keeper.lease, .change = changes[i], .now = clock_wall_seconds()};
        assert_int_equal(upkeep_job(&world, delete_late, &late), DB_OK);
        assert_int_equal(late.changed, changes[i][0] == '\0');
        end(&world, &keeper);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_over_is_deleted_and_nothing_else),
        cmocka_unit_test(more_than_a_page_is_deleted_in_one_round),
        cmocka_unit_test(a_clock_that_is_set_forward_deletes_nothing),
        cmocka_unit_test(who_does_not_hold_the_lease_deletes_nothing),
        cmocka_unit_test(what_changed_since_it_was_found_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
