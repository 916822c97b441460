/* Quotas on a real SQLite database and a real MariaDB: counted with the rows, by several servers at once, and mended. */
#include "storage/rows/quota.h"
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/mariadb_server.h"
#include "tests/unit/library/meta_world.h"

static struct mariadb_server mariadb;
static bool with_mariadb; /* this run's database */

/* ---- the world ---- */

static void start(struct meta_world *world, const char *more)
{
    char url[256];
    if (!with_mariadb) {
        meta_world_start(world, more);
        return;
    }
    mariadb_server_execute(&mariadb, "DROP DATABASE IF EXISTS reelquota");
    mariadb_server_execute(&mariadb, "CREATE DATABASE reelquota");
    snprintf(url, sizeof(url), "database.url=mysql://%s@127.0.0.1:%u/reelquota?tls=off", MARIADB_SERVER_LOGIN,
             mariadb.port);
    meta_world_start_with(world, url, more);
}

static void run_beside(struct meta_world *world, const char *sql)
{
    char text[512];
    if (!with_mariadb) {
        meta_world_beside(world, sql);
        return;
    }
    snprintf(text, sizeof(text), "USE reelquota; %s", sql);
    mariadb_server_execute(&mariadb, text);
}

struct quota_asked {
    struct meta_world *world;
    atomic_bool answered;
    bool taken;
    struct error error;
    struct quota_job job;
};

static bool quota_is_answered(void *argument)
{
    return atomic_load(&((struct quota_asked *)argument)->answered);
}

static void quota_on_answer(struct quota_job *job)
{
    atomic_store(&CONTAINER_OF(job, struct quota_asked, job)->answered, true);
}

static void quota_run_ask(void *argument)
{
    struct quota_asked *asked = argument;
    asked->taken = quota_start(asked->world->meta, &asked->job, &asked->error);
}

static struct quota_job *quota_ask(struct meta_world *world, const char *user, enum quota_action action,
                                   int64_t bytes, int64_t files)
{
    static struct quota_asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    asked.job = (struct quota_job){.key = meta_world_key(user, "any"),
                                   .action = action,
                                   .bytes = bytes,
                                   .limits = {bytes, files},
                                   .loop = world->loop,
                                   .done = quota_on_answer};
    loop_do(world->loop, quota_run_ask, &asked);
    assert_true(asked.taken);
    assert_true(loop_wait_until(quota_is_answered, &asked));
    return &asked.job;
}

static void assert_used(struct meta_world *world, const char *user, int64_t bytes, int64_t files)
{
    struct quota_job *asked = quota_ask(world, user, QUOTA_ACTION_ASK, 0, 0);
    assert_true(asked->fine);
    assert_int_equal(asked->answer.bytes_used, bytes);
    assert_int_equal(asked->answer.files_used, files);
}

static void set_quota(struct meta_world *world, const char *user, int64_t bytes, int64_t files)
{
    assert_true(quota_ask(world, user, QUOTA_ACTION_SET, bytes, files)->fine);
}

static int64_t next_number = 1;

static struct meta_insert *store(struct meta_world *world, const char *user, const char *file, int64_t size)
{
    const struct proto_file_key key = meta_world_key(user, file);
    return rows_insert(world, &key, next_number++, size, "");
}

/* A job of this test on a database thread. */
struct on_thread {
    struct db_job job;
    struct meta_world *world;
    struct proto_file_key key;
    struct quota_amounts before, after;
    bool found;
};

static enum db_result recount_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct on_thread *thread = CONTAINER_OF(job, struct on_thread, job);
    return quota_sql_recount(connection, &thread->key, 77, &thread->before, &thread->after, &thread->found,
                             error);
}

static struct on_thread recount(struct meta_world *world, const char *user)
{
    struct on_thread thread = {
        .job = {.run = recount_run}, .world = world, .key = meta_world_key(user, "any")};
    assert_int_equal(meta_run_wait(world->meta, &thread.job), DB_OK);
    return thread;
}

/* ---- tests ---- */

static void without_quotas_an_upload_costs_no_statement_more(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    assert_int_equal(store(&world, "alice", "first", 10)->outcome, META_INSERTED); /* looks at t_quota */
    assert_false(quota_in_use(world.meta));
    lossy_db_arm(&(struct lossy_db){.beginning = "nothing, so that all are counted"});
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "file%d", i);
        assert_int_equal(store(&world, "alice", name, 10)->outcome, META_INSERTED);
    }
    assert_int_equal(lossy_db_count("SELECT"), 0);
    assert_int_equal(lossy_db_count("UPDATE"), 0);
    assert_int_equal(lossy_db_count("INSERT"), 5);
    lossy_db_arm(NULL);
    struct quota_job *asked = quota_ask(&world, "alice", QUOTA_ACTION_ASK, 0, 0);
    assert_int_equal(asked->answer.bytes, PROTO_QUOTA_NONE);
    assert_int_equal(asked->answer.files_used, PROTO_QUOTA_NONE);
    meta_world_end(&world);
}

static void what_does_not_fit_is_refused_with_a_number_of_its_own(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    assert_int_equal(store(&world, "alice", "before", 40)->outcome, META_INSERTED);
    set_quota(&world, "alice", 100, PROTO_QUOTA_KEEP);
    assert_used(&world, "alice", 40, 1); /* what was there counts */
    assert_int_equal(store(&world, "alice", "fits", 60)->outcome, META_INSERTED);
    struct meta_insert *refused = store(&world, "alice", "more", 1);
    assert_int_equal(refused->outcome, META_NOT_DONE);
    assert_int_equal(refused->error.code, ERROR_QUOTA);
    assert_non_null(strstr(refused->error.text, "100 of 100 bytes"));
    assert_used(&world, "alice", 100, 2);
    assert_int_equal(store(&world, "alice", "empty", 0)->outcome, META_INSERTED); /* files are not limited */
    assert_int_equal(store(&world, "bob", "other", 1000)->outcome, META_INSERTED);
    set_quota(&world, "alice", PROTO_QUOTA_NONE, 3);
    refused = store(&world, "alice", "fourth", 1);
    assert_int_equal(refused->error.code, ERROR_QUOTA);
    assert_non_null(strstr(refused->error.text, "3 of 3 files"));
    set_quota(&world, "alice", PROTO_QUOTA_NONE, 4);
    assert_int_equal(store(&world, "alice", "fourth", INT64_C(1) << 50)->outcome, META_INSERTED);
    meta_world_end(&world);
}

static void a_repetition_is_never_too_much(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file");
    (void)state;
    start(&world, NULL);
    set_quota(&world, "alice", 100, 1);
    assert_int_equal(rows_insert(&world, &key, 5, 100, "")->outcome, META_INSERTED);
    assert_int_equal(rows_insert(&world, &key, 5, 100, "")->outcome, META_INSERTED); /* its answer was lost */
    assert_int_equal(rows_insert(&world, &key, 6, 100, "")->outcome, META_TAKEN);
    assert_used(&world, "alice", 100, 1);
    meta_world_end(&world);
}

/* The COMMIT counted, and its answer was lost. */
static void a_lost_answer_counts_once(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    set_quota(&world, "alice", 100, PROTO_QUOTA_KEEP);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "COMMIT", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    assert_int_equal(store(&world, "alice", "file", 100)->outcome, META_INSERTED);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_used(&world, "alice", 100, 1);
    meta_world_end(&world);
}

static void the_trash_counts_and_a_row_that_is_taken_back_does_not(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file");
    (void)state;
    start(&world, NULL);
    set_quota(&world, "alice", 100, PROTO_QUOTA_KEEP);
    struct meta_row row = rows_insert(&world, &key, 5, 100, "")->row;
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_used(&world, "alice", 100, 1);
    assert_int_equal(store(&world, "alice", "other", 1)->error.code, ERROR_QUOTA);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_used(&world, "alice", 100, 1);
    run_beside(&world, "UPDATE t_file_02 SET deleted_at = 0");
    asked = (struct asked){.world = &world};
    asked.withdraw =
        (struct meta_withdraw){.key = key, .row = row, .loop = world.loop, .done = asked_on_withdraw};
    for (int i = 0; i < 2; i++) { /* the second time there is nothing to take back */
        atomic_store(&asked.answered, false);
        loop_do(world.loop, asked_run_withdraw, &asked);
        asked_wait(&asked);
        assert_true(asked.withdraw.fine);
        assert_used(&world, "alice", 0, 0);
    }
    meta_world_end(&world);
}

/* ---- many at once ---- */

#define CROWD 60

/* TIMES: so often comes each file. */
static int insert_crowd(struct meta_world *worlds, size_t servers, size_t times, struct asked *crowd)
{
    int stored = 0;
    for (size_t i = 0; i < CROWD; i++) {
        struct meta_world *world = &worlds[i % servers];
        size_t number = i / times;
        char name[16];
        snprintf(name, sizeof(name), "crowd%zu", number);
        const struct proto_file_key key = meta_world_key(number % 3 == 0 ? "bob" : "alice", name);
        memset(&crowd[i], 0, sizeof(crowd[i]));
        crowd[i].world = world;
        rows_fill_insert(world, &crowd[i].insert, &key, 1000 + (int64_t)number, 10, "");
        loop_do(world->loop, asked_run_insert, &crowd[i]);
    }
    for (size_t i = 0; i < CROWD; i++) {
        asked_wait(&crowd[i]);
        bool fine = crowd[i].insert.outcome == META_INSERTED;
        stored += fine ? 1 : 0;
        if (!fine)
            assert_int_equal(crowd[i].insert.error.code, ERROR_QUOTA);
    }
    return stored;
}

/* 40 of alice, of which 25 fit, and 20 of bob, who has no limit, over two servers. */
static void of_many_at_once_so_many_are_stored_as_fit(void **state)
{
    static struct asked crowd[CROWD];
    struct meta_world worlds[2];
    struct error error = {0};
    (void)state;
    start(&worlds[0], "database.timeout=20s");
    worlds[1] = worlds[0];
    worlds[1].meta = meta_create(&worlds[0].fixture.config, worlds[0].store, worlds[0].main_loop, &error);
    assert_non_null(worlds[1].meta);
    set_quota(&worlds[0], "alice", 250, PROTO_QUOTA_KEEP);
    assert_int_equal(insert_crowd(worlds, 2, 1, crowd), 45);
    assert_used(&worlds[1], "alice", 250, 25);
    struct on_thread counted = recount(&worlds[0], "alice");
    assert_int_equal(counted.after.bytes, 250);
    assert_int_equal(counted.before.files, 25);
    meta_end(worlds[1].meta);
    meta_destroy(worlds[1].meta);
    meta_world_end(&worlds[0]);
}

static void what_comes_twice_at_once_counts_once(void **state)
{
    static struct asked crowd[CROWD];
    struct meta_world world;
    (void)state;
    start(&world, "database.timeout=20s");
    set_quota(&world, "alice", 200, PROTO_QUOTA_KEEP);
    assert_int_equal(insert_crowd(&world, 1, 2, crowd), CROWD);
    assert_used(&world, "alice", 200, 20);
    meta_world_end(&world);
}

/* ---- configured limits ---- */

static void configured_limits_hold_for_everybody_else(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    assert_int_equal(store(&world, "alice", "one", 10)->outcome, META_INSERTED);
    assert_int_equal(store(&world, "alice", "two", 10)->outcome, META_INSERTED);
    meta_set_quota(world.meta, 0, 3); /* as a reload would */
    assert_true(quota_in_use(world.meta));
    assert_int_equal(store(&world, "alice", "three", 10)->outcome, META_INSERTED);
    assert_int_equal(store(&world, "alice", "four", 10)->error.code, ERROR_QUOTA);
    assert_used(&world, "alice", 30, 3);
    set_quota(&world, "alice", 45, 9);
    assert_int_equal(store(&world, "alice", "four", 10)->outcome, META_INSERTED);
    assert_int_equal(store(&world, "alice", "five", 10)->error.code, ERROR_QUOTA);
    struct quota_job *asked = quota_ask(&world, "bob", QUOTA_ACTION_ASK, 0, 0);
    assert_true(asked->answer.files == 3 && !asked->answer.own_files && asked->answer.files_used == 0);
    set_quota(&world, "alice", PROTO_QUOTA_DEFAULT, PROTO_QUOTA_DEFAULT);
    assert_int_equal(store(&world, "alice", "six", 10)->error.code, ERROR_QUOTA);
    /* A batch of users of whom nothing was known is counted too. */
    static struct asked crowd[CROWD];
    meta_set_quota(world.meta, 0, 10);
    run_beside(&world, "DELETE FROM t_quota");
    assert_int_equal(insert_crowd(&world, 1, 1, crowd), 6 + 10);
    meta_world_end(&world);
}

static void what_does_not_fit_is_known_before_it_comes(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    set_quota(&world, "alice", 100, 2);
    assert_true(quota_ask(&world, "alice", QUOTA_ACTION_LOOK, 100, 0)->fine);
    assert_int_equal(quota_ask(&world, "alice", QUOTA_ACTION_LOOK, 101, 0)->error.code, ERROR_QUOTA);
    assert_true(quota_ask(&world, "bob", QUOTA_ACTION_LOOK, INT64_MAX, 0)->fine);
    set_quota(&world, "alice", PROTO_QUOTA_DEFAULT, PROTO_QUOTA_DEFAULT);
    assert_true(quota_ask(&world, "alice", QUOTA_ACTION_LOOK, 101, 0)->fine);
    assert_int_equal(quota_ask(&world, "alice", QUOTA_ACTION_ASK, 0, 0)->answer.bytes_used, PROTO_QUOTA_NONE);
    meta_world_end(&world);
}

/* ---- drift ---- */

static void a_recount_mends_what_is_wrong(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    set_quota(&world, "alice", 1000, PROTO_QUOTA_KEEP);
    assert_int_equal(store(&world, "alice", "one", 10)->outcome, META_INSERTED);
    assert_int_equal(store(&world, "alice", "two", 20)->outcome, META_INSERTED);
    assert_int_equal(store(&world, "alice", "\x01group002/abc", 500)->outcome, META_INSERTED);
    run_beside(&world, "UPDATE t_quota SET bytes_used = 7, files_used = 99");
    struct on_thread counted = recount(&world, "alice");
    assert_true(counted.found);
    assert_int_equal(counted.before.bytes, 7);
    assert_int_equal(counted.before.files, 99);
    assert_int_equal(counted.after.bytes,
                     30); /* a former copy of a file that moved is not the user's doing */
    assert_int_equal(counted.after.files, 2);
    assert_false(recount(&world, "bob").found);
    meta_world_end(&world);
}

/* The database of an earlier version. */
static void without_the_table_files_are_stored(void **state)
{
    struct meta_world world;
    (void)state;
    start(&world, NULL);
    run_beside(&world, "DROP TABLE t_quota");
    assert_int_equal(store(&world, "alice", "file", 10)->outcome, META_INSERTED);
    meta_world_end(&world);
}

static const struct CMUnitTest quota_tests[] = {
    cmocka_unit_test(without_quotas_an_upload_costs_no_statement_more),
    cmocka_unit_test(what_does_not_fit_is_refused_with_a_number_of_its_own),
    cmocka_unit_test(a_repetition_is_never_too_much),
    cmocka_unit_test(a_lost_answer_counts_once),
    cmocka_unit_test(the_trash_counts_and_a_row_that_is_taken_back_does_not),
    cmocka_unit_test(of_many_at_once_so_many_are_stored_as_fit),
    cmocka_unit_test(what_comes_twice_at_once_counts_once),
    cmocka_unit_test(configured_limits_hold_for_everybody_else),
    cmocka_unit_test(what_does_not_fit_is_known_before_it_comes),
    cmocka_unit_test(a_recount_mends_what_is_wrong),
    cmocka_unit_test(without_the_table_files_are_stored),
};

int main(void)
{
    int failed = cmocka_run_group_tests_name("SQLite", quota_tests, NULL, NULL);
    if (!mariadb_server_installed())
        return failed;
    mariadb_server_start(&mariadb);
    with_mariadb = true;
    failed += cmocka_run_group_tests_name("MariaDB", quota_tests, NULL, NULL);
    mariadb_server_destroy(&mariadb);
    return failed;
}
