/* Numbers of keys over a real SQLite database: from 0 on, never twice, whatever ends or competes. */
#include "idserver/reserve.h"
#include "idserver/sequences.h"
#include "idserver/spellings.h"
#include "common/base/metrics.h"
#include "common/db/schema.h"
#include "common/proto/proto_idserver.h"
#include "sql/idserver_sql.h"
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/storage_loop.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define SERVERS 2
#define STEP    100

struct server {
    struct db *db;
    struct loop *loop;
    struct sequences *sequences;
};

struct fixture {
    char directory[64];
    char file[128];
    char url[160];
    struct server servers[SERVERS];
};

static void run_sql(const struct fixture *fixture, const char *sql)
{
    sqlite3 *database = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    sqlite3_busy_timeout(database, 5000);
    if (sqlite3_exec(database, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(database);
}

static int64_t query_number(const struct fixture *fixture, const char *sql)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    int64_t number = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return number;
}

static void start_server(struct fixture *fixture, struct server *server, size_t keys_max, size_t waiting_max,
                         int64_t timeout_ms)
{
    const struct db_options database = {
        .url = fixture->url, .threads = 2, .queue_max = 1000, .job_timeout_ms = 60000};
    struct error error = {0};
    server->loop = loop_create("ids", &error);
    assert_non_null(server->loop);
    assert_true(loop_start(server->loop, &error));
    server->db = db_open(&database, &error);
    if (server->db == NULL)
        fail_msg("%s", error.text);
    const struct sequences_options options = {.db = server->db,
                                              .loop = server->loop,
                                              .step = STEP,
                                              .keys_max = keys_max,
                                              .waiting_max = waiting_max,
                                              .timeout_ms = timeout_ms};
    server->sequences = sequences_create(&options, &error);
    assert_non_null(server->sequences);
}

static void end_server(struct server *server)
{
    sequences_close(server->sequences);
    db_close(server->db);
    loop_destroy(server->loop);
    sequences_destroy(server->sequences);
    *server = (struct server){0};
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct error error = {0};
    fixture = (struct fixture){0};
    snprintf(fixture.directory, sizeof(fixture.directory), "/tmp/test_idserver.XXXXXX");
    if (mkdtemp(fixture.directory) == NULL)
        return -1;
    snprintf(fixture.file, sizeof(fixture.file), "%s/ids.db", fixture.directory);
    snprintf(fixture.url, sizeof(fixture.url), "sqlite:%s", fixture.file);
    if (!schema_apply(fixture.url, &idserver_schema, NULL, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < SERVERS; i++)
        start_server(&fixture, &fixture.servers[i], 4, 1000, 10000);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    struct fixture *fixture = *state;
    fake_clock_end();
    for (int i = 0; i < SERVERS; i++) {
        if (fixture->servers[i].sequences != NULL)
            end_server(&fixture->servers[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s%s", fixture->file, endings[i]);
        if (unlink(path) != 0)
            assert_int_equal(errno, ENOENT);
    }
    return rmdir(fixture->directory);
}

struct wanted {
    struct sequences_request request;
    sem_t answered;
};

static void answered(struct sequences_request *request)
{
    sem_post(&CONTAINER_OF(request, struct wanted, request)->answered);
}

struct asking {
    struct server *server;
    struct wanted *wanted;
};

static void ask_on_loop(void *argument)
{
    struct asking *asking = argument;
    if (sequences_take(asking->server->sequences, &asking->wanted->request))
        sem_post(&asking->wanted->answered);
}

static void want(struct server *server, struct wanted *wanted, const char *key, int64_t count)
{
    *wanted = (struct wanted){.request = {.count = count, .loop = server->loop, .done = answered}};
    snprintf(wanted->request.key, sizeof(wanted->request.key), "%s", key);
    assert_int_equal(sem_init(&wanted->answered, 0, 0), 0);
    loop_do(server->loop, ask_on_loop, &(struct asking){server, wanted});
}

static void await(struct wanted *wanted)
{
    while (sem_wait(&wanted->answered) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&wanted->answered);
}

/* The first number of a run, or the number of the error. GIVEN may be NULL. */
static int64_t take(struct server *server, const char *key, int64_t count, int64_t *given)
{
    struct wanted wanted;
    want(server, &wanted, key, count);
    await(&wanted);
    if (given != NULL)
        *given = wanted.request.given;
    return wanted.request.ok ? wanted.request.first : wanted.request.error.code;
}

static void numbers_of_a_key_start_at_0_and_follow_each_other(void **state)
{
    struct fixture *fixture = *state;
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(take(&fixture->servers[0], "../data", 1, NULL), i);
        assert_int_equal(take(&fixture->servers[0], "../other", 1, NULL), i);
    }
}

static void a_step_is_in_the_database_before_its_first_number_is_given(void **state)
{
    struct fixture *fixture = *state;
    for (int64_t i = 0; i < 300; i++) {
        int64_t number = take(&fixture->servers[0], "k", 1, NULL);
        assert_true(query_number(fixture, "SELECT id_value FROM t_id_gen WHERE id = 'k'") > number);
    }
}

static bool second_step_is_reserved(void *argument)
{
    return query_number(argument, "SELECT id_value FROM t_id_gen WHERE id = 'k'") > STEP;
}

static void the_next_step_is_reserved_before_the_last_number_is_given(void **state)
{
    struct fixture *fixture = *state;
    /* More than half of the step is given and nobody waits: what is left will do until the next one is there. */
    for (int64_t i = 0; i <= STEP / 2; i++)
        assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), i);
    assert_true(loop_wait_until(second_step_is_reserved, fixture));
}

static void a_restart_skips_the_rest_of_the_step(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), 0);
    int64_t reserved = query_number(fixture, "SELECT id_value FROM t_id_gen WHERE id = 'k'");
    end_server(&fixture->servers[0]);
    start_server(fixture, &fixture->servers[0], 4, 1000, 10000);
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), reserved);
}

static void a_legacy_row_is_gone_on_with(void **state)
{
    struct fixture *fixture = *state;
    run_sql(fixture, "INSERT INTO t_id_gen (id, id_value) VALUES ('old', 4200), ('null', NULL)");
    assert_int_equal(take(&fixture->servers[0], "old", 1, NULL), 4200);
    assert_int_equal(take(&fixture->servers[0], "null", 1, NULL), 0);
}

static void a_run_is_contiguous_and_as_long_as_asked(void **state)
{
    struct fixture *fixture = *state;
    int64_t given = 0;
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), 0);
    assert_int_equal(take(&fixture->servers[0], "k", 1000, &given), 1);
    assert_int_equal(given, 1000);
    assert_int_equal(take(&fixture->servers[0], "k", PROTO_RANGE_COUNT_MAX, &given), 1001);
    assert_int_equal(given, PROTO_RANGE_COUNT_MAX);
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), 1001 + PROTO_RANGE_COUNT_MAX);
}

static void many_that_wait_are_served_in_order_by_few_reservations(void **state)
{
    struct fixture *fixture = *state;
    static struct wanted wanted[500];
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        want(&fixture->servers[0], &wanted[i], "k", 1);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        await(&wanted[i]);
        assert_true(wanted[i].request.ok);
        assert_int_equal(wanted[i].request.first, (int64_t)i);
    }
}

static void more_than_may_wait_are_refused(void **state)
{
    struct fixture *fixture = *state;
    static struct wanted wanted[20];
    size_t refused = 0;
    end_server(&fixture->servers[0]);
    start_server(fixture, &fixture->servers[0], 4, 5, 10000);
    /* The write lock is held: reservations wait until it is let go. */
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        want(&fixture->servers[0], &wanted[i], "k", 1);
    assert_int_equal(sequences_count_waiting(fixture->servers[0].sequences), 5);
    assert_int_equal(sqlite3_exec(database, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        await(&wanted[i]);
        if (!wanted[i].request.ok) {
            assert_int_equal(wanted[i].request.error.code, ERROR_UNAVAILABLE);
            refused++;
        }
    }
    assert_int_equal(refused, ARRAY_SIZE(wanted) - 5);
}

static void the_number_space_ends_with_an_error_and_a_run_is_cut_there(void **state)
{
    struct fixture *fixture = *state;
    char sql[128];
    int64_t given = 0;
    snprintf(sql, sizeof(sql), "INSERT INTO t_id_gen (id, id_value) VALUES ('end', %lld)",
             (long long)RESERVE_END - 250);
    run_sql(fixture, sql);
    assert_int_equal(take(&fixture->servers[0], "end", 200, &given), RESERVE_END - 250);
    assert_int_equal(given, 200);
    assert_int_equal(take(&fixture->servers[0], "end", 1, NULL), RESERVE_END - 50);
    assert_int_equal(take(&fixture->servers[0], "end", 1000, &given), RESERVE_END - 49);
    assert_int_equal(given, 49);
    assert_int_equal(take(&fixture->servers[0], "end", 1, NULL), ERROR_EXHAUSTED);
    assert_int_equal(take(&fixture->servers[0], "end", 10, NULL), ERROR_EXHAUSTED);
    assert_int_equal(take(&fixture->servers[1], "end", 10, NULL), ERROR_EXHAUSTED);
    assert_int_equal(take(&fixture->servers[0], "other", 1, NULL), 0);
}

static void keys_are_checked_and_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    struct error error;
    assert_int_equal(take(server, "a\nb", 1, NULL), ERROR_MALFORMED);
    assert_int_equal(take(server, "", 1, NULL), ERROR_MALFORMED);
    assert_int_equal(take(server, "a\x7f", 1, NULL), ERROR_MALFORMED);
    for (int i = 0; i < 4; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(take(server, key, 1, NULL), 0);
    }
    assert_int_equal(take(server, "k4", 1, NULL), ERROR_REFUSED);
    assert_int_equal(take(server, "k3", 1, NULL), 1);
    assert_int_equal(sequences_count_keys(server->sequences), 4);
    /* One that has a row is served besides, and takes no place. */
    run_sql(fixture, "INSERT INTO t_id_gen (id, id_value) VALUES ('real', 700)");
    assert_int_equal(take(server, "real", 1, NULL), 700);
    assert_int_equal(take(server, "k4", 1, NULL), ERROR_REFUSED);
    assert_int_equal(take(server, "real", 1, NULL), 701);
    run_sql(fixture, "DELETE FROM t_id_gen WHERE id = 'real'");
    assert_int_equal(query_number(fixture, "SELECT COUNT(*) FROM t_id_gen"), 4);
    char longest[PROTO_KEY_SIZE + 1];
    memset(longest, 'x', sizeof(longest));
    longest[PROTO_KEY_SIZE - 1] = '\0';
    assert_true(sequences_key_check(longest, &error));
    assert_int_equal(take(&fixture->servers[1], longest, 1, NULL), 0);
    longest[PROTO_KEY_SIZE - 1] = 'x';
    longest[PROTO_KEY_SIZE] = '\0';
    assert_false(sequences_key_check(longest, &error));
}

static void only_listed_keys_may_begin_where_there_is_a_list(void **state)
{
    struct fixture *fixture = *state;
    char *items[] = {(char *)(uintptr_t) "/srv/a", (char *)(uintptr_t) "/srv/b"};
    const struct config_strings keys = {.items = items, .count = 2}, none = {0};
    struct error error;
    struct server *server = &fixture->servers[0];
    assert_true(sequences_configure(server->sequences, STEP, &keys, &error));
    assert_int_equal(take(server, "/srv/a", 1, NULL), 0);
    assert_int_equal(take(server, "/srv/c", 1, NULL), ERROR_REFUSED);
    assert_int_equal(query_number(fixture, "SELECT COUNT(*) FROM t_id_gen"), 1);
    run_sql(fixture, "INSERT INTO t_id_gen (id, id_value) VALUES ('../data', 9)");
    assert_int_equal(take(server, "../data", 1, NULL), 9);
    assert_true(sequences_configure(server->sequences, STEP, &none, &error));
    assert_int_equal(take(server, "/srv/c", 1, NULL), 0);
}

static void keys_with_rows_have_their_places_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    assert_int_equal(take(server, "real", 1, NULL), 0);
    assert_int_equal(take(server, "also real", 1, NULL), 0);
    end_server(server);
    start_server(fixture, server, 4, 1000, 10000);
    assert_true(take(server, "also real", 1, NULL) > 0); /* and this takes no place of a new one */
    for (int i = 0; i < 20; i++) {
        char key[32];
        snprintf(key, sizeof(key), "made-up-%d", i);
        assert_int_equal(take(server, key, 1, NULL), i < 4 ? 0 : ERROR_REFUSED);
    }
    assert_true(take(server, "real", 1, NULL) > 0);
    assert_int_equal(query_number(fixture, "SELECT COUNT(*) FROM t_id_gen"), 6);
}

static void the_next_step_is_reserved_before_it_is_needed(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    for (int64_t i = 0; i <= STEP / 2 + 1; i++) /* more than half a step */
        assert_int_equal(take(server, "k", 1, NULL), i);
    int64_t until_ms = clock_monotonic_ms() + 60000;
    while (query_number(fixture, "SELECT id_value FROM t_id_gen WHERE id = 'k'") < 2 * STEP)
        assert_true(clock_monotonic_ms() < until_ms);
}

/* Waits until as many numbers of the key k are reserved, and not one more. The clock may stand still meanwhile. */
static void await_reserved(const struct fixture *fixture, int64_t count)
{
    static const char sql[] = "SELECT id_value FROM t_id_gen WHERE id = 'k'";
    for (int look = 0; look < 20000 && query_number(fixture, sql) < count; look++)
        usleep(1000);
    assert_int_equal(query_number(fixture, sql), count);
}

/* Takes the numbers of the key k from *NEXT on, one by one, until only LEFT of COUNT are left. */
static void take_until(struct server *server, int64_t *next, int64_t count, int64_t left)
{
    for (; *next < count - left; ++*next)
        assert_int_equal(take(server, "k", 1, NULL), *next);
}

static void what_is_reserved_at_once_follows_demand(void **state)
{
    static struct fake_clock clock;
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    int64_t next = 0, reserved = STEP;
    fake_clock_start(&clock);
    take_until(server, &next, STEP, STEP - 1);
    await_reserved(fixture, reserved);
    /* Used up in no time: twice as much, again and again. */
    for (int64_t ahead = STEP; ahead <= 8 * STEP; ahead *= 2) {
        take_until(server, &next, reserved, ahead / 2);
        await_reserved(fixture, reserved);
        take_until(server, &next, reserved, ahead / 2 - 1);
        reserved += 2 * ahead;
        await_reserved(fixture, reserved);
    }
    /* It lasts for some seconds: the same again. */
    fake_clock_pass(&clock, 3000);
    take_until(server, &next, reserved, 8 * STEP - 1);
    reserved += 16 * STEP;
    await_reserved(fixture, reserved);
    /* It lasts for long: half as much, down to a step. */
    for (int64_t ahead = 16 * STEP; ahead >= STEP; ahead /= 2) {
        fake_clock_pass(&clock, 5000);
        take_until(server, &next, reserved, ahead / 2 - 1);
        reserved += max_i64(ahead / 2, STEP);
        await_reserved(fixture, reserved);
    }
}

static void runs_as_long_as_those_of_late_are_reserved_ahead(void **state)
{
    static struct fake_clock clock;
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    fake_clock_start(&clock);
    assert_int_equal(take(server, "k", 1, NULL), 0);
    fake_clock_pass(&clock, 10000);
    assert_int_equal(take(server, "k", 1000, NULL), 1); /* had to wait */
    await_reserved(fixture, STEP + 2000);
    for (int64_t i = 1; i < 10; i++) {
        fake_clock_pass(&clock, 10000);
        assert_int_equal(take(server, "k", 1000, NULL), 1000 * i + 1);
        /* as many as were just given are there again, before anybody asks */
        await_reserved(fixture, STEP + 1000 * (i + 2));
    }
}

static void where_somebody_had_to_wait_more_is_reserved(void **state)
{
    static struct fake_clock clock;
    static struct wanted wanted[STEP + STEP / 5];
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    sqlite3 *database = NULL;
    int64_t next = 0;
    fake_clock_start(&clock);
    take_until(server, &next, STEP, STEP / 2);
    fake_clock_pass(&clock, 2000);
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    take_until(server, &next, STEP, 0); /* the next step is begun meanwhile, and too small for all of these */
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        want(server, &wanted[i], "k", 1);
    fake_clock_pass(&clock, 2000);
    assert_int_equal(sqlite3_exec(database, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        await(&wanted[i]);
        assert_int_equal(wanted[i].request.first, next + (int64_t)i);
    }
    await_reserved(fixture, 2 * STEP + 2 * STEP);
}

static void after_a_failure_a_step_is_reserved(void **state)
{
    static struct fake_clock clock;
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    int64_t next = 0;
    fake_clock_start(&clock);
    take_until(server, &next, STEP, STEP / 2 - 1);
    await_reserved(fixture, STEP + 2 * STEP);
    take_until(server, &next, 3 * STEP, STEP - 1);
    await_reserved(fixture, 7 * STEP);
    run_sql(fixture, "ALTER TABLE t_id_gen RENAME TO t_gone");
    take_until(server, &next, 7 * STEP, 0); /* what is reserved is given nevertheless */
    assert_int_equal(take(server, "k", 1, NULL), ERROR_UNAVAILABLE);
    run_sql(fixture, "ALTER TABLE t_gone RENAME TO t_id_gen");
    assert_int_equal(take(server, "k", 1, NULL), next);
    await_reserved(fixture, 8 * STEP);
}

static void a_new_step_holds_from_the_next_reservation_on(void **state)
{
    static struct fake_clock clock;
    struct fixture *fixture = *state;
    const struct config_strings none = {0};
    struct error error;
    int64_t next = 0;
    fake_clock_start(&clock);
    take_until(&fixture->servers[0], &next, STEP, STEP - 1);
    assert_true(sequences_configure(fixture->servers[0].sequences, 10, &none, &error));
    fake_clock_pass(&clock, 5000);
    take_until(&fixture->servers[0], &next, STEP, STEP / 2 - 1);
    await_reserved(fixture, STEP + STEP / 2);
    assert_true(sequences_configure(fixture->servers[0].sequences, 4 * STEP, &none, &error));
    fake_clock_pass(&clock, 3000);
    take_until(&fixture->servers[0], &next, STEP + STEP / 2, STEP / 2);
    await_reserved(fixture, STEP + STEP / 2 + 4 * STEP);
}

static void without_the_table_requests_fail_and_go_on_when_it_is_back(void **state)
{
    struct fixture *fixture = *state;
    run_sql(fixture, "ALTER TABLE t_id_gen RENAME TO t_gone");
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), ERROR_UNAVAILABLE);
    assert_int_equal(sequences_count_keys(fixture->servers[0].sequences), 0);
    run_sql(fixture, "ALTER TABLE t_gone RENAME TO t_id_gen");
    assert_int_equal(take(&fixture->servers[0], "k", 1, NULL), 0);
}

/* COMMIT was refused, lost, or broke off: what is given is in the database all the same. */
static void numbers_whose_commit_failed_are_given_to_nobody(void **state)
{
    static const enum db_result failures[] = {DB_PERMANENT, DB_TRANSIENT, DB_UNCERTAIN};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        const struct lossy_db lossy = {.beginning = "COMMIT", .reports = true, .result = failures[i]};
        char key[16], row[80];
        snprintf(key, sizeof(key), "k%zu", i);
        snprintf(row, sizeof(row), "SELECT id_value FROM t_id_gen WHERE id = '%s'", key);
        lossy_db_arm(&lossy);
        int64_t number = take(&fixture->servers[0], key, 1, NULL);
        assert_true(lossy_db_met());
        lossy_db_arm(NULL);
        if (failures[i] == DB_PERMANENT) { /* the others are tried again */
            assert_int_equal(number, ERROR_UNAVAILABLE);
            assert_int_equal(query_number(fixture, row), -1);
            number = take(&fixture->servers[0], key, 1, NULL);
        }
        assert_int_equal(number, 0);
        assert_int_equal(query_number(fixture, row), STEP);
        assert_int_equal(take(&fixture->servers[1], key, 1, NULL), STEP);
    }
}

static void a_database_that_went_back_is_led_to_what_was_given(void **state)
{
    static const char *const sets_back[] = {"UPDATE t_id_gen SET id_value = 20 WHERE id = 'k'",
                                            "UPDATE t_id_gen SET id_value = NULL WHERE id = 'k'",
                                            "DELETE FROM t_id_gen WHERE id = 'k'"};
    struct fixture *fixture = *state;
    const struct metric *set_back = metrics_counter("reel_idserver_set_back_total", "", NULL);
    int64_t number = -1, other = -1, before = metric_value(set_back);
    for (size_t i = 0; i <= ARRAY_SIZE(sets_back); i++) {
        /* Until the reservation that noticed it, and past the numbers that were reserved before. */
        for (int turn = 0; turn < 300 || metric_value(set_back) - before < (int64_t)i; turn++) {
            int64_t next = take(&fixture->servers[0], "k", 1, NULL);
            assert_true(next > number);
            number = next;
            assert_true(turn < 100000);
        }
        if (i < ARRAY_SIZE(sets_back))
            run_sql(fixture, sets_back[i]);
    }
    /* The other server goes on behind it, too: the row is right again. */
    for (int turn = 0; turn < 100; turn++) {
        other = take(&fixture->servers[1], "k", 1, NULL);
        assert_true(other > number);
    }
    assert_int_equal(metric_value(set_back) - before, 3);
}

static void a_row_that_is_no_number_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    run_sql(fixture, "INSERT INTO t_id_gen (id, id_value) VALUES ('bad', -500)");
    assert_int_equal(take(&fixture->servers[0], "bad", 1, NULL), ERROR_UNAVAILABLE);
    assert_int_equal(query_number(fixture, "SELECT id_value FROM t_id_gen WHERE id = 'bad'"), -500);
}

/* "../data" and "../data/" are one directory: two sequences would give one number, and so one place, to two files. */
static void a_second_spelling_of_a_key_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    struct error error = {0};
    assert_true(spellings_check(server->db, &error));
    assert_int_equal(take(server, "../data", 1, NULL), 0);
    assert_int_equal(take(server, "../data/", 1, NULL), ERROR_UNAVAILABLE);
    assert_int_equal(query_number(fixture, "SELECT COUNT(*) FROM t_id_gen"), 1);
    assert_true(spellings_check(server->db, &error));
    assert_int_equal(take(server, "/a/", 1, NULL), 0); /* alone each spelling will do */
    assert_int_equal(take(server, "/a", 1, NULL), ERROR_UNAVAILABLE);
    run_sql(fixture, "INSERT INTO t_id_gen (id, id_value) VALUES ('../data/', 49)");
    assert_false(spellings_check(server->db, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.text, "\"../data/\""));
}

/* ---- two ID servers, many threads ---- */

#define THREADS  8
#define TAKES    300
#define SEEN_MAX 1000000

struct taker {
    pthread_t thread;
    struct server *server;
    unsigned number;
    atomic_uchar *seen;
    bool failed;
};

static void *take_many(void *argument)
{
    struct taker *taker = argument;
    for (unsigned i = 0; i < TAKES && !taker->failed; i++) {
        struct wanted wanted;
        want(taker->server, &wanted, "shared", (taker->number + i) % 5 == 0 ? 150 : 1);
        await(&wanted);
        if (!wanted.request.ok || wanted.request.first + wanted.request.given > SEEN_MAX) {
            taker->failed = true;
            break;
        }
        for (int64_t n = 0; n < wanted.request.given; n++) {
            if (atomic_fetch_add(&taker->seen[wanted.request.first + n], 1) != 0)
                taker->failed = true;
        }
    }
    return NULL;
}

static void two_servers_on_one_database_never_give_a_number_twice(void **state)
{
    struct fixture *fixture = *state;
    struct taker takers[THREADS];
    atomic_uchar *seen = calloc(SEEN_MAX, sizeof(*seen));
    assert_non_null(seen);
    for (unsigned i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.server = &fixture->servers[i % SERVERS], .number = i, .seen = seen};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take_many, &takers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(takers[i].thread, NULL), 0);
        assert_false(takers[i].failed);
    }
    int64_t total = 0;
    for (size_t i = 0; i < SEEN_MAX; i++)
        total += seen[i];
    assert_int_equal(total, (int64_t)THREADS * TAKES / 5 * (150 + 4));
    free(seen);
}

static void two_servers_that_begin_a_key_at_the_same_moment_share_it(void **state)
{
    struct fixture *fixture = *state;
    for (int round = 0; round < 4; round++) {
        struct wanted wanted[SERVERS];
        char key[16];
        snprintf(key, sizeof(key), "new%d", round);
        for (int i = 0; i < SERVERS; i++)
            want(&fixture->servers[i], &wanted[i], key, 1);
        for (int i = 0; i < SERVERS; i++) {
            await(&wanted[i]);
            assert_true(wanted[i].request.ok);
        }
        assert_true(wanted[0].request.first != wanted[1].request.first);
        assert_int_equal(wanted[0].request.first + wanted[1].request.first, STEP);
    }
}

static void stopped(void *argument)
{
    sem_post(argument);
}

struct stopper {
    struct task task;
    struct sequences *sequences;
    sem_t done;
};

static void stop(struct task *task)
{
    struct stopper *stopper = CONTAINER_OF(task, struct stopper, task);
    sequences_stop(stopper->sequences, stopped, &stopper->done);
}

static void stopping_waits_for_the_reservation_under_way(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    struct stopper stopper = {.task.run = stop, .sequences = server->sequences};
    struct wanted wanted;
    assert_int_equal(sem_init(&stopper.done, 0, 0), 0);
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    want(server, &wanted, "k", 1);
    loop_post(server->loop, &stopper.task);
    usleep(50000);
    assert_int_equal(sem_trywait(&stopper.done), -1);
    assert_int_equal(sqlite3_exec(database, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    while (sem_wait(&stopper.done) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&stopper.done);
    await(&wanted);
    assert_true(wanted.request.ok);
}

static void who_waits_for_too_long_is_answered_and_the_numbers_are_kept(void **state)
{
    struct fixture *fixture = *state;
    struct server *server = &fixture->servers[0];
    struct wanted wanted;
    sqlite3 *database = NULL;
    end_server(server);
    start_server(fixture, server, 4, 1000, 50);
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(database, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t since_ms = clock_monotonic_ms();
    want(server, &wanted, "k", 1);
    await(&wanted);
    assert_true(clock_monotonic_ms() - since_ms + 1 >= 50);
    assert_false(wanted.request.ok);
    assert_int_equal(wanted.request.error.code, ERROR_UNAVAILABLE);
    assert_int_equal(sequences_count_waiting(server->sequences), 0);
    assert_int_equal(sqlite3_exec(database, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    /* The next one may have to wait for what is still reserved for the first. */
    int64_t first;
    for (int64_t until_ms = clock_monotonic_ms() + 60000;
         (first = take(server, "k", 1, NULL)) == ERROR_UNAVAILABLE && clock_monotonic_ms() < until_ms;)
        ;
    assert_int_equal(first, 0);
}

#define SEQUENCES_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEQUENCES_TEST(numbers_of_a_key_start_at_0_and_follow_each_other),
        SEQUENCES_TEST(a_step_is_in_the_database_before_its_first_number_is_given),
        SEQUENCES_TEST(the_next_step_is_reserved_before_the_last_number_is_given),
        SEQUENCES_TEST(a_restart_skips_the_rest_of_the_step),
        SEQUENCES_TEST(a_legacy_row_is_gone_on_with),
        SEQUENCES_TEST(a_run_is_contiguous_and_as_long_as_asked),
        SEQUENCES_TEST(many_that_wait_are_served_in_order_by_few_reservations),
        SEQUENCES_TEST(more_than_may_wait_are_refused),
        SEQUENCES_TEST(the_number_space_ends_with_an_error_and_a_run_is_cut_there),
        SEQUENCES_TEST(keys_are_checked_and_bounded),
        SEQUENCES_TEST(only_listed_keys_may_begin_where_there_is_a_list),
        SEQUENCES_TEST(keys_with_rows_have_their_places_after_a_restart),
        SEQUENCES_TEST(the_next_step_is_reserved_before_it_is_needed),
        SEQUENCES_TEST(what_is_reserved_at_once_follows_demand),
        SEQUENCES_TEST(runs_as_long_as_those_of_late_are_reserved_ahead),
        SEQUENCES_TEST(where_somebody_had_to_wait_more_is_reserved),
        SEQUENCES_TEST(after_a_failure_a_step_is_reserved),
        SEQUENCES_TEST(a_new_step_holds_from_the_next_reservation_on),
        SEQUENCES_TEST(without_the_table_requests_fail_and_go_on_when_it_is_back),
        SEQUENCES_TEST(numbers_whose_commit_failed_are_given_to_nobody),
        SEQUENCES_TEST(a_database_that_went_back_is_led_to_what_was_given),
        SEQUENCES_TEST(a_row_that_is_no_number_is_an_error),
        SEQUENCES_TEST(a_second_spelling_of_a_key_is_refused),
        SEQUENCES_TEST(two_servers_on_one_database_never_give_a_number_twice),
        SEQUENCES_TEST(two_servers_that_begin_a_key_at_the_same_moment_share_it),
        SEQUENCES_TEST(who_waits_for_too_long_is_answered_and_the_numbers_are_kept),
        SEQUENCES_TEST(stopping_waits_for_the_reservation_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
