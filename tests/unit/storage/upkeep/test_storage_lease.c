/* The lease: one member at a time, however clocks are set and whoever is stopped; two members on one database. */
#include "tests/unit/library/upkeep_world.h"

#define TERM 30000 /* milliseconds */

struct pair {
    struct upkeep_world world;
    struct lease a, b;
};

static void start(struct pair *pair)
{
    upkeep_world_start(&pair->world, NULL);
    lease_init(&pair->a, pair->world.storage.meta, "group001", "media1", 23000, TERM);
    lease_init(&pair->b, pair->world.storage.meta, "group001", "media2", 23000, TERM);
}

static void end(struct pair *pair)
{
    upkeep_world_end(&pair->world);
}

static bool try(struct lease *lease)
{
    struct error error = {0};
    if (!lease_try(lease, &error))
        fail_msg("%s", error.text);
    return lease_held(lease);
}

static void pass(struct pair *pair, int64_t ms)
{
    fake_clock_pass(&pair->world.clock, ms);
}

static void a_living_holder_keeps_it_however_often_others_ask(void **state)
{
    struct pair pair;
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    for (int i = 0; i < 40; i++) {
        assert_false(try(&pair.b));
        pass(&pair, TERM / 4);
        assert_true(try(&pair.a));
    }
    for (int i = 0; i < 10; i++) { /* and however rarely they look */
        for (int j = 0; j < 8; j++) {
            pass(&pair, TERM / 4);
            assert_true(try(&pair.a));
        }
        assert_false(try(&pair.b));
    }
    end(&pair);
}

static void a_silent_holder_is_followed_after_the_whole_term_and_not_before(void **state)
{
    struct pair pair;
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    pass(&pair, 7000); /* however long ago it renewed: what counts is what was seen */
    assert_false(try(&pair.b));
    pass(&pair, TERM - 1);
    assert_false(try(&pair.b));
    pass(&pair, 1);
    assert_true(try(&pair.b));
    assert_false(lease_held(&pair.a));
    assert_false(try(&pair.a));
    end(&pair);
}

/* The same term on both sides would leave no time between the two. */
static void the_holder_stops_believing_before_anybody_may_follow(void **state)
{
    struct pair pair;
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    pass(&pair, TERM * 3 / 4 - 1);
    assert_true(lease_held(&pair.a));
    pass(&pair, 1);
    assert_false(lease_held(&pair.a));
    end(&pair);
}

static void a_step_of_the_wall_clock_changes_nothing(void **state)
{
    struct pair pair;
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    assert_false(try(&pair.b));
    for (int i = 0; i < 2; i++) {
        fake_clock_step(&pair.world.clock, i == 0 ? 1000000 : -2000000);
        assert_true(lease_held(&pair.a));
        assert_false(try(&pair.b));
    }
    end(&pair);
}

static void one_that_is_given_up_is_taken_at_once(void **state)
{
    struct pair pair;
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    assert_false(try(&pair.b));
    lease_release(&pair.a);
    assert_false(lease_held(&pair.a));
    assert_true(try(&pair.b));
    lease_release(&pair.a); /* it is not a's any more: nothing happens */
    assert_true(try(&pair.b));
    assert_int_equal(upkeep_number(&pair.world, "SELECT owner <> '' FROM t_lease"), 1);
    end(&pair);
}

/* Both have waited long enough; the counter lets only one through. */
static void of_two_who_may_follow_one_does(void **state)
{
    struct pair pair;
    struct lease c;
    (void)state;
    start(&pair);
    lease_init(&c, pair.world.storage.meta, "group001", "media3", 23000, TERM);
    assert_true(try(&pair.a));
    assert_false(try(&pair.b) || try(&c));
    pass(&pair, TERM);
    assert_true(try(&pair.b));
    assert_false(try(&c));
    end(&pair);
}

static void what_a_former_holder_stores_or_begins_is_refused(void **state)
{
    struct pair pair;
    struct error error = {0};
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    assert_true(lease_store(&pair.a, "{\"by\": \"a\"}", 3, &error));
    assert_int_equal(pair.a.row.done, 3);
    assert_false(try(&pair.b));
    pass(&pair, TERM);
    assert_true(try(&pair.b));
    assert_int_equal(pair.b.row.done, 3);
    assert_string_equal(pair.b.row.progress, "{\"by\": \"a\"}");
    pair.a.held_until_ms = clock_monotonic_ms() + 1000; /* it still believes */
    assert_false(lease_store(&pair.a, "late", 4, &error));
    assert_false(lease_held(&pair.a));
    assert_false(lease_begin(&pair.a, "late", &error));
    assert_int_equal(upkeep_number(&pair.world, "SELECT done FROM t_lease"), 3);
    /* An older run that ends late does not take a later one back. */
    assert_true(lease_store(&pair.b, "{}", 2, &error));
    assert_int_equal(pair.b.row.done, 3);
    assert_int_equal(upkeep_number(&pair.world, "SELECT done FROM t_lease"), 3);
    end(&pair);
}

static void while_the_database_fails_the_holder_believes_for_its_term(void **state)
{
    struct pair pair;
    struct error error = {0};
    (void)state;
    start(&pair);
    assert_true(try(&pair.a));
    upkeep_sql(&pair.world, "ALTER TABLE t_lease RENAME TO t_hidden");
    pass(&pair, 1000);
    assert_false(lease_try(&pair.a, &error));
    assert_non_null(strstr(error.text, "upkeep/group001"));
    assert_true(lease_held(&pair.a));
    pass(&pair, TERM);
    assert_false(lease_held(&pair.a));
    assert_false(lease_store(&pair.a, "{}", -1, &error));
    assert_false(lease_begin(&pair.a, "{}", &error));
    pair.a.held_until_ms = clock_monotonic_ms() + 1000;
    lease_release(&pair.a); /* the others wait a little longer */
    assert_false(lease_held(&pair.a));
    upkeep_sql(&pair.world, "ALTER TABLE t_hidden RENAME TO t_lease");
    end(&pair);
}

static void a_row_that_cannot_be_read_is_nobodys_to_take(void **state)
{
    struct pair pair;
    struct error error = {0};
    (void)state;
    start(&pair);
    upkeep_sql(&pair.world, "INSERT INTO t_lease (name, renewals) VALUES ('upkeep/group001', 'x')");
    assert_false(lease_try(&pair.a, &error));
    assert_non_null(strstr(error.text, "cannot be read"));
    end(&pair);
}

struct asking {
    bool repair, exists;
    int64_t number;
};

static enum db_result want_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct asking *asking = argument;
    return lease_sql_want(connection, "upkeep/group001", asking->repair, &asking->number, error);
}

static enum db_result exists_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct asking *asking = argument;
    return lease_sql_exists(connection, "upkeep/group001", &asking->exists, error);
}

static int64_t want(struct pair *pair, bool repair)
{
    struct asking asking = {.repair = repair};
    assert_int_equal(upkeep_job(&pair->world, want_run, &asking), DB_OK);
    return asking.number;
}

static void a_wish_to_repair_waits_until_a_scrub_begins_and_is_used_up_by_it(void **state)
{
    struct pair pair;
    struct error error = {0};
    struct asking asking = {0};
    (void)state;
    start(&pair);
    assert_int_equal(upkeep_job(&pair.world, exists_run, &asking), DB_OK);
    assert_false(asking.exists);
    assert_true(try(&pair.a));
    assert_int_equal(upkeep_job(&pair.world, exists_run, &asking), DB_OK);
    assert_true(asking.exists);
    assert_int_equal(want(&pair, true), 1);
    assert_int_equal(want(&pair, false), 2);
    assert_false(lease_begin(&pair.a, "early", &error)); /* as it was seen before: another is wanted */
    assert_int_equal(error.code, ERROR_CANCELLED);
    assert_true(try(&pair.a));
    assert_true(pair.a.row.repair);
    assert_true(lease_begin(&pair.a, "begun", &error));
    assert_false(pair.a.row.repair);
    assert_int_equal(want(&pair, false), 3); /* while it runs */
    assert_true(try(&pair.a));
    assert_false(pair.a.row.repair);
    assert_int_equal(want(&pair, true), 4);
    assert_true(lease_store(&pair.a, "{}", 4, &error));
    upkeep_sql(&pair.world, "UPDATE t_lease SET repair = 1"); /* an earlier version left it */
    assert_int_equal(want(&pair, false), 5);
    assert_true(try(&pair.a));
    assert_false(pair.a.row.repair);
    end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_living_holder_keeps_it_however_often_others_ask),
        cmocka_unit_test(a_silent_holder_is_followed_after_the_whole_term_and_not_before),
        cmocka_unit_test(the_holder_stops_believing_before_anybody_may_follow),
        cmocka_unit_test(a_step_of_the_wall_clock_changes_nothing),
        cmocka_unit_test(one_that_is_given_up_is_taken_at_once),
        cmocka_unit_test(of_two_who_may_follow_one_does),
        cmocka_unit_test(what_a_former_holder_stores_or_begins_is_refused),
        cmocka_unit_test(while_the_database_fails_the_holder_believes_for_its_term),
        cmocka_unit_test(a_row_that_cannot_be_read_is_nobodys_to_take),
        cmocka_unit_test(a_wish_to_repair_waits_until_a_scrub_begins_and_is_used_up_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
