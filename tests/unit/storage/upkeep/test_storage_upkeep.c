/* The keeper and the thread: when which chore is run, what a pause costs, what is given up at the end. */
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/upkeep.h"

#include <stdatomic.h>

static struct upkeep_world *the_world;
static int runs[3];
static bool inner_ran, went_on;

static int64_t run_long(struct keeper *keeper, struct chore *chore)
{
    (void)chore;
    runs[0]++;
    fake_clock_pass(&the_world->clock, 10000);
    int before = runs[1];
    went_on = keeper_breathe(keeper);
    inner_ran = runs[1] > before;
    return 60000;
}

static int64_t run_short(struct keeper *keeper, struct chore *chore)
{
    (void)chore;
    runs[1]++;
    fake_clock_pass(&the_world->clock, 1000);
    (void)keeper_breathe(keeper); /* does not run itself again */
    return 5000;
}

static int64_t run_anywhere(struct keeper *keeper, struct chore *chore)
{
    (void)keeper;
    (void)chore;
    runs[2]++;
    return 1000;
}

static const struct chore chores[] = {
    {.name = "short", .between = true, .run = run_short},
    {.name = "anywhere", .anywhere = true, .run = run_anywhere},
    {.name = "long", .run = run_long},
};

static void start(struct upkeep_world *world, struct keeper *keeper, const char *options)
{
    upkeep_world_start(world, options);
    upkeep_member_start(world, keeper, chores, ARRAY_SIZE(chores));
    the_world = world;
    memset(runs, 0, sizeof(runs));
    inner_ran = went_on = false;
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

static void short_chores_are_run_in_the_breaks_of_long_ones_and_not_of_each_other(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    keeper_turn(&keeper);
    assert_int_equal(runs[0], 1);
    assert_int_equal(runs[1], 2);
    assert_int_equal(runs[2], 1);
    assert_true(inner_ran && went_on);
    keeper_turn(&keeper); /* nothing is due but what had its turn 11 seconds ago */
    assert_int_equal(runs[0], 1);
    assert_int_equal(runs[2], 2);
    fake_clock_pass(&world.clock, 60000);
    keeper_turn(&keeper);
    assert_int_equal(runs[0], 2);
    end(&world, &keeper);
}

static void without_the_lease_only_what_looks_is_run(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_sql(&world, "INSERT INTO t_lease (name, owner) VALUES ('upkeep/group001', 'another')");
    keeper_turn(&keeper);
    assert_int_equal(runs[0] + runs[1], 0);
    assert_int_equal(runs[2], 1);
    assert_string_equal(keeper.owner, "another");
    assert_false(keeper_breathe(&keeper));
    end(&world, &keeper);
}

static void a_chore_hears_that_the_lease_is_lost_or_the_server_stops(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    int64_t now = 0;
    (void)state;
    start(&world, &keeper, NULL);
    keeper.chore_count = 0;
    assert_true(keeper_breathe(&keeper));
    upkeep_sql(&world, "UPDATE t_lease SET owner = 'another', renewals = renewals + 1");
    fake_clock_pass(&world.clock, 8000);
    assert_false(keeper_throttle(&keeper, 1));
    upkeep_sql(&world, "UPDATE t_lease SET owner = ''");
    fake_clock_pass(&world.clock, 8000);
    assert_true(keeper_throttle(&keeper, 1));
    keeper_stop(&keeper);
    assert_false(keeper_breathe(&keeper));
    assert_false(keeper_throttle(&keeper, 1));
    assert_false(keeper_now(&keeper, &now, &error));
    assert_int_equal(error.code, ERROR_CANCELLED);
    keeper_nap(&keeper, 60000); /* returns at once */
    end(&world, &keeper);
}

static void a_holder_that_was_stopped_for_long_does_nothing_before_it_has_asked(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    keeper.chore_count = 0;
    assert_true(keeper_breathe(&keeper));
    upkeep_sql(&world, "UPDATE t_lease SET owner = 'another', renewals = renewals + 1");
    fake_clock_pass(&world.clock, 3600 * 1000);
    assert_false(lease_held(&keeper.lease));
    assert_false(keeper_breathe(&keeper));
    end(&world, &keeper);
}

static void a_rate_is_kept_and_a_pause_is_followed_by_no_burst(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, "storage.scrub_rate=1000000");
    keeper.chore_count = 0;
    fake_clock_end(); /* it waits by the system's clock */
    int64_t begin_ms = clock_monotonic_ms();
    assert_true(keeper_throttle(&keeper, 1100000)); /* a second's worth was saved, no more */
    assert_true(keeper_throttle(&keeper, 100000));
    assert_true(clock_monotonic_ms() - begin_ms >= 190);
    world.fixture.config.scrub_rate = 0;
    keeper_reload(&keeper, &world.fixture.config);
    begin_ms = clock_monotonic_ms();
    assert_true(keeper_throttle(&keeper, INT64_C(1000000000)));
    assert_true(clock_monotonic_ms() - begin_ms < 60000); /* and not 1,000 s */
    end(&world, &keeper);
}

static void time_is_the_earliest_of_three_clocks(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    int64_t now = 0;
    (void)state;
    start(&world, &keeper, NULL);
    int64_t begin = clock_wall_seconds();
    assert_true(keeper_now(&keeper, &now, &error));
    assert_in_range(now, begin - 1, begin + 600);
    fake_clock_step(&world.clock, 100000); /* set forward: makes nothing older */
    fake_clock_pass(&world.clock, 1000);
    assert_true(keeper_now(&keeper, &now, &error));
    assert_in_range(now, begin - 1, begin + 600);
    fake_clock_pass(&world.clock, 50000000); /* this machine runs ahead of the database's */
    assert_true(keeper_now(&keeper, &now, &error));
    assert_in_range(now, begin - 1, begin + 600);
    fake_clock_step(&world.clock, -1000000); /* set back: everything is younger */
    assert_true(keeper_now(&keeper, &now, &error));
    assert_true(now < begin - 700000);
    fake_clock_step(&world.clock,
                    1000000); /* and forward again: until a restart nobody knows which was right */
    assert_true(keeper_now(&keeper, &now, &error));
    assert_true(now < begin - 700000);
    upkeep_sql(&world, "DROP TABLE t_lease");
    keeper_turn(&keeper);
    assert_non_null(strstr(keeper.last_error, "no upkeep for now"));
    end(&world, &keeper);
}

static json_t *status_of(struct upkeep *upkeep, const char *name)
{
    json_t *status = upkeep_status(upkeep);
    json_t *value = json_incref(json_object_get(status, name));
    json_decref(status);
    return value;
}

static bool status_is_true(struct upkeep *upkeep, const char *name)
{
    json_t *value = status_of(upkeep, name);
    bool true_there = json_is_true(value);
    json_decref(value);
    return true_there;
}

static void the_thread_does_all_of_it_and_gives_the_lease_up_at_its_end(void **state)
{
    struct upkeep_world world;
    struct error error = {0};
    (void)state;
    upkeep_world_start(&world, "storage.trash_keep=0;storage.purge_interval=100ms");
    fake_clock_end();
    upkeep_stored(&world, "trash", 1, 10, "status = 1, deleted_at = 5");
    upkeep_stored(&world, "kept", 2, 10, NULL);
    struct upkeep *upkeep = upkeep_create(&world.storage, 23000, &error);
    assert_non_null(upkeep);
    for (int i = 0; i < 2000 && upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02") > 1; i++)
        usleep(10000);
    assert_int_equal(upkeep_status_of(&world, "trash"), -1);
    assert_true(status_is_true(upkeep, "lease_held"));
    assert_false(status_is_true(upkeep, "sweep_stopped"));
    char reason[128] = "as it was";
    upkeep_concern(upkeep, reason, sizeof(reason));
    assert_string_equal(reason, "as it was");
    upkeep_sql(&world, "UPDATE t_lease SET wanted = 1 WHERE name = 'upkeep/group001'");
    upkeep_wake(upkeep);
    for (int i = 0; i < 2000; i++) {
        if (upkeep_number(&world, "SELECT done FROM t_lease WHERE name = 'upkeep/group001'") == 1)
            break;
        usleep(10000);
    }
    assert_int_equal(upkeep_number(&world, "SELECT digest <> '' FROM t_file_02 WHERE id = 'kept'"), 1);
    upkeep_reload(upkeep, &world.fixture.config);
    assert_int_equal(upkeep_trash_bytes(upkeep), 0);
    assert_true(upkeep_end(upkeep, 20000));
    assert_int_equal(upkeep_number(&world, "SELECT owner = '' FROM t_lease WHERE name = 'upkeep/group001'"),
                     1);
    upkeep_destroy(upkeep);
    assert_true(upkeep_end(NULL, 0));
    upkeep_destroy(NULL);
    upkeep_world_end(&world);
}

/* The metric is the process's: whoever reads it sees what the sweep of this server found last. */
static void a_clean_up_that_waits_for_a_person_is_a_concern(void **state)
{
    struct upkeep_world world;
    struct error error = {0};
    char place[PATH_TEXT_SIZE], reason[128] = "";
    (void)state;
    upkeep_world_start(&world, NULL);
    fake_clock_end();
    for (int i = 0; i < 30; i++)
        upkeep_file(&world, i, 1, place);
    struct upkeep *upkeep = upkeep_create(&world.storage, 23000, &error);
    assert_non_null(upkeep);
    for (int i = 0; i < 2000 && !status_is_true(upkeep, "sweep_stopped"); i++)
        usleep(10000);
    upkeep_concern(upkeep, reason, sizeof(reason));
    assert_non_null(strstr(reason, "--confirm-leftovers"));
    assert_true(upkeep_end(upkeep, 20000));
    upkeep_destroy(upkeep);
    upkeep_world_end(&world);
}

static void an_end_that_takes_long_says_that_it_waits_for_the_database(void **state)
{
    struct upkeep_world world;
    struct error error = {0};
    (void)state;
    upkeep_world_start(&world, NULL);
    fake_clock_end();
    upkeep_sql(&world, "BEGIN IMMEDIATE"); /* nobody else writes: the lease cannot be taken */
    struct upkeep *upkeep = upkeep_create(&world.storage, 23000, &error);
    assert_non_null(upkeep);
    for (int i = 0; i < 2000 && !upkeep_asks(upkeep); i++)
        usleep(10000);
    assert_false(upkeep_end(upkeep, 100));
    assert_true(upkeep_asks(upkeep));
    upkeep_sql(&world, "COMMIT");
    assert_true(upkeep_end(upkeep, 20000));
    assert_false(upkeep_asks(upkeep));
    upkeep_destroy(upkeep);
    upkeep_world_end(&world);
}

static void *turn_once(void *keeper)
{
    keeper_turn(keeper);
    return NULL;
}

static void a_lease_that_waits_for_the_database_says_so_too(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    pthread_t thread;
    bool asks = false;
    (void)state;
    upkeep_world_start(&world, NULL);
    fake_clock_end();
    upkeep_member_start(&world, &keeper, NULL, 0); /* without a chore it is the lease alone that asks */
    upkeep_sql(&world, "BEGIN IMMEDIATE");
    assert_int_equal(pthread_create(&thread, NULL, turn_once, &keeper), 0);
    for (int i = 0; i < 3000 && !(asks = keeper_asks(&keeper)); i++)
        usleep(10000);
    upkeep_sql(&world, "COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(asks);
    assert_false(keeper_asks(&keeper));
    upkeep_member_end(&keeper);
    upkeep_world_end(&world);
}

static atomic_bool in_file_system, file_system_answers;

static int hang(struct upkeep_world *hung, const char *name)
{
    (void)hung;
    (void)name;
    atomic_store(&in_file_system, true);
    while (!atomic_load(&file_system_answers))
        usleep(1000);
    return 0;
}

static void or_that_it_does_not(void **state)
{
    struct upkeep_world world;
    struct error error = {0};
    (void)state;
    upkeep_world_start(&world, "storage.trash_keep=0;storage.purge_interval=100ms");
    fake_clock_end();
    upkeep_stored(&world, "trash", 1, 10, "status = 1, deleted_at = 5");
    upkeep_hooks.unlink_before = hang;
    struct upkeep *upkeep = upkeep_create(&world.storage, 23000, &error);
    assert_non_null(upkeep);
    for (int i = 0; i < 2000 && !atomic_load(&in_file_system); i++)
        usleep(10000);
    assert_true(atomic_load(&in_file_system));
    assert_false(upkeep_end(upkeep, 100));
    assert_false(upkeep_asks(upkeep));
    atomic_store(&file_system_answers, true);
    assert_true(upkeep_end(upkeep, 20000));
    upkeep_destroy(upkeep);
    upkeep_world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_chores_are_run_in_the_breaks_of_long_ones_and_not_of_each_other),
        cmocka_unit_test(without_the_lease_only_what_looks_is_run),
        cmocka_unit_test(a_chore_hears_that_the_lease_is_lost_or_the_server_stops),
        cmocka_unit_test(a_holder_that_was_stopped_for_long_does_nothing_before_it_has_asked),
        cmocka_unit_test(a_rate_is_kept_and_a_pause_is_followed_by_no_burst),
        cmocka_unit_test(time_is_the_earliest_of_three_clocks),
        cmocka_unit_test(the_thread_does_all_of_it_and_gives_the_lease_up_at_its_end),
        cmocka_unit_test(a_clean_up_that_waits_for_a_person_is_a_concern),
        cmocka_unit_test(an_end_that_takes_long_says_that_it_waits_for_the_database),
        cmocka_unit_test(a_lease_that_waits_for_the_database_says_so_too),
        cmocka_unit_test(or_that_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
