/*
 * The MySQL back end against a real MariaDB that this program starts, kills, stops and continues; a proxy of
 * the test's own cuts the connection at a chosen moment.
 */
#include "common/base/clock.h"
#include "common/db/db.h"
#include "common/db/db_mysql.h"
#include "common/base/log.h"

#include "tests/unit/library/free_port.h"
#include "tests/unit/library/mariadb_server.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

static struct mariadb_server server;
static char url[256];

static int start_server(void **state)
{
    (void)state;
    if (!mariadb_server_installed())
        return 0;
    mariadb_server_start(&server);
    snprintf(url, sizeof(url), "mysql://%s@127.0.0.1:%u/reel_test?read_timeout=4s", MARIADB_SERVER_LOGIN,
             server.port);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    if (mariadb_server_installed())
        mariadb_server_destroy(&server);
    return 0;
}

/* A fresh table for each test. */
static int set_up(void **state)
{
    (void)state;
    if (!mariadb_server_installed()) {
        print_message(
            "SKIPPED: mariadbd and mariadb-install-db are not installed; nothing of MySQL is tested\n");
        skip();
    }
    mariadb_server_execute(
        &server, "DROP DATABASE IF EXISTS reel_test; CREATE DATABASE reel_test CHARACTER SET utf8mb4; "
                 "CREATE TABLE reel_test.t (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARBINARY(255), "
                 "number BIGINT, big LONGBLOB, huge BIGINT UNSIGNED, small TINYINT NOT NULL DEFAULT 3, word "
                 "VARCHAR(16), at TIMESTAMP NULL DEFAULT '2020-11-01 12:13:03', UNIQUE (name), "
                 "CHECK (number < 1000)) ENGINE = InnoDB CHARACTER SET utf8mb4");
    return 0;
}

static struct db *open_pool(const char *at, size_t threads, int64_t timeout_ms)
{
    struct db_options options = {
        .url = at, .threads = threads, .queue_max = 64, .job_timeout_ms = timeout_ms};
    struct error error = {0};
    struct db *db = db_open(&options, &error);

    assert_string_equal(error.text, "");
    assert_non_null(db);
    return db;
}

/* ---- small jobs ---- */

struct statement_job {
    struct db_job job;
    const char *sql;
    struct db_value parameters[8];
    size_t count;
    int64_t affected;
    size_t rows, stop_after;
    /* of the first row */
    enum db_type type;
    int64_t integer;
    size_t size;
    char text[512];
    char *bytes; /* where not NULL: all of them, room for bytes_size */
    size_t bytes_size;
};

static bool keep_row(void *argument, const struct db_value *columns, size_t count)
{
    struct statement_job *job = argument;

    if (job->rows == 0 && count > 0) {
        job->type = columns[0].type;
        job->size = columns[0].size;
        if (!db_value_integer(&columns[0], &job->integer))
            job->integer = INT64_MIN;
        (void)db_value_text(&columns[0], job->text, sizeof(job->text));
        if (job->bytes != NULL && columns[0].size <= job->bytes_size)
            memcpy(job->bytes, columns[0].bytes, columns[0].size);
    }
    job->rows++;
    return job->rows != job->stop_after;
}

/* Whether each statement has a transaction around it: it takes another way then. */
static bool transactions;

static enum db_result run_alone(struct statement_job *job, struct db_connection *connection,
                                struct error *error)
{
    job->rows = 0;
    if (strncmp(job->sql, "SELECT", 6) == 0)
        return db_query(connection, job->sql, job->parameters, job->count, keep_row, job, error);
    return db_execute(connection, job->sql, job->parameters, job->count, &job->affected, error);
}

static enum db_result run_statement(struct db_job *base, struct db_connection *connection,
                                    struct error *error)
{
    struct statement_job *job = CONTAINER_OF(base, struct statement_job, job);
    enum db_result result = transactions ? db_begin(connection, error) : DB_OK;

    if (result == DB_OK)
        result = run_alone(job, connection, error);
    if (transactions && result == DB_OK)
        result = db_commit(connection, error);
    return result;
}

#define STATEMENT(text, ...)                                                                                 \
    {                                                                                                        \
        .job = {.run = run_statement}, .sql = (text), .parameters = {__VA_ARGS__},                           \
        .count = sizeof((struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)                          \
    }
#define PLAIN(text)                                                                                          \
    {                                                                                                        \
        .job = {.run = run_statement}, .sql = (text)                                                         \
    }

static void must_run(struct db *db, struct statement_job *job)
{
    enum db_result result = db_run_wait(db, &job->job);

    assert_string_equal(job->job.error.text, "");
    assert_int_equal(result, DB_OK);
}

static void expect_failure(struct db *db, struct db_job *job, enum db_result result, const char *said)
{
    enum db_result got = db_run_wait(db, job);

    if (got != result || strstr(job->error.text, said) == NULL)
        fail_msg("result %d (not %d), \"%s\" in: %s", (int)got, (int)result, said, job->error.text);
    assert_null(strstr(job->error.text, "p@ss"));
    assert_null(strstr(job->error.text, "p%40ss"));
}

static void expect_rows(const char *where, const char *count)
{
    char sql[256], *text;

    snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM t WHERE %s", where);
    text = mariadb_server_read(&server, "reel_test", sql);
    assert_int_equal(strtol(text, NULL, 10), strtol(count, NULL, 10));
    free(text);
}

/* ---- values ---- */

static void bytes_come_back_as_they_were_given(void **state)
{
    static const char bytes[] = "Caf\xc3\xa9 \xff\xfe '\"\\%_; -- \x01 ";
    struct statement_job insert = STATEMENT("INSERT INTO t (name, number) VALUES (?, ?)",
                                            db_bytes(bytes, sizeof(bytes)), db_integer(INT64_MIN));
    struct statement_job read =
        STATEMENT("SELECT name FROM t WHERE name = ?", db_bytes(bytes, sizeof(bytes)));
    struct statement_job number =
        STATEMENT("SELECT number FROM t WHERE name = ?", db_bytes(bytes, sizeof(bytes)));
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &insert);
    assert_int_equal(insert.affected, 1);
    must_run(db, &read);
    assert_int_equal(read.rows, 1);
    assert_int_equal(read.size, sizeof(bytes)); /* the NUL inside was stored, too */
    assert_memory_equal(read.text, bytes, sizeof(bytes));
    must_run(db, &number);
    assert_int_equal(number.type, DB_TYPE_INTEGER);
    assert_true(number.integer == INT64_MIN);
    db_close(db);
}

static void neither_case_nor_spaces_at_the_end_are_folded(void **state)
{
    struct statement_job insert = STATEMENT("INSERT INTO t (name) VALUES (?), (?), (?)", db_text("alice"),
                                            db_text("Alice"), db_text("alice "));
    struct statement_job read = STATEMENT("SELECT COUNT(*) FROM t WHERE name = ?", db_text("Alice"));
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &insert);
    must_run(db, &read);
    assert_int_equal(read.integer, 1);
    db_close(db);
}

static void every_type_of_column_comes_as_the_header_says(void **state)
{
    static const struct {
        const char *sql;
        enum db_type type;
        int64_t integer;
        const char *text;
    } cases[] = {
        {"SELECT small FROM t", DB_TYPE_INTEGER, 3, "3"},
        {"SELECT id FROM t", DB_TYPE_INTEGER, 1, "1"},
        {"SELECT huge FROM t", DB_TYPE_BYTES, INT64_MIN, "18446744073709551615"},
        {"SELECT huge - 1 FROM t WHERE huge - 18446744073709551600 > 0", DB_TYPE_BYTES, INT64_MIN,
         "18446744073709551614"},
        {"SELECT number FROM t", DB_TYPE_NULL, INT64_MIN, ""},
        {"SELECT word FROM t", DB_TYPE_BYTES, INT64_MIN, "W\xc3\xb6rt"},
        {"SELECT at FROM t", DB_TYPE_BYTES, INT64_MIN, "2020-11-01 12:13:03"},
        {"SELECT SUM(small) FROM t", DB_TYPE_BYTES, 3, "3"},
        {"SELECT COUNT(*) FROM t", DB_TYPE_INTEGER, 1, "1"},
        {"SELECT big FROM t", DB_TYPE_BYTES, INT64_MIN, ""},
        {"SELECT 0.5", DB_TYPE_BYTES, INT64_MIN, "0.5"},
    };
    struct statement_job insert = STATEMENT("INSERT INTO t (name, huge, word, big) VALUES ('a', ?, ?, '')",
                                            db_text("18446744073709551615"), db_text("W\xc3\xb6rt"));
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &insert);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct statement_job read = PLAIN(cases[i].sql);

        must_run(db, &read);
        assert_int_equal(read.rows, 1);
        assert_int_equal(read.type, cases[i].type);
        assert_true(read.integer == cases[i].integer);
        assert_string_equal(read.text, cases[i].text);
    }
    db_close(db);
}

static void a_question_mark_in_quotes_is_no_place(void **state)
{
    struct statement_job read =
        STATEMENT("SELECT CONCAT('a?', \"b?'\", ?, '? ', ?) AS `?`", db_text("it's ?"), db_integer(-7));
    struct statement_job few = STATEMENT("SELECT ?, ?", db_integer(1));
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &read);
    assert_string_equal(read.text, "a?b?'it's ?? -7");
    expect_failure(db, &few.job, DB_PERMANENT, "1 parameters for 2 places");
    db_close(db);
}

static void a_long_value_is_read_whole(void **state)
{
    enum { LARGE = 300000 };
    static const size_t sizes[] = {1023, 1024, 1025, 4096, LARGE};
    char *given = malloc(LARGE), *got = malloc(LARGE);
    struct statement_job clear = PLAIN("DELETE FROM t");
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    assert_non_null(given);
    assert_non_null(got);
    for (size_t i = 0; i < LARGE; i++)
        given[i] = (char)(i * 7 + i / 256);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct statement_job insert =
            STATEMENT("INSERT INTO t (big) VALUES (?), ('short')", db_bytes(given, sizes[i]));
        struct statement_job read = PLAIN("SELECT big FROM t ORDER BY id");

        must_run(db, &clear);
        must_run(db, &insert);
        read.bytes = got;
        read.bytes_size = LARGE;
        must_run(db, &read);
        assert_int_equal(read.rows, 2);
        assert_int_equal(read.size, sizes[i]);
        assert_memory_equal(got, given, sizes[i]);
    }
    db_close(db);
    free(given);
    free(got);
}

static void affected_counts_the_rows_that_matched(void **state)
{
    struct statement_job insert = PLAIN("INSERT INTO t (name, number) VALUES ('a', 2), ('b', 2)");
    struct statement_job same = PLAIN("UPDATE t SET number = 2");
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &insert);
    assert_int_equal(insert.affected, 2);
    must_run(db, &same);
    assert_int_equal(same.affected, 2); /* though nothing changed */
    db_close(db);
}

struct wrote_job {
    struct db_job job;
    const char *sql;
    bool wrote; /* what COMMIT is to believe */
};

static enum db_result run_wrote(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct wrote_job *job = CONTAINER_OF(base, struct wrote_job, job);
    enum db_result result = db_execute(connection, "SET SESSION lc_messages = 'de_DE'", NULL, 0, NULL, error);

    if (result == DB_OK)
        result = db_begin(connection, error);
    if (result == DB_OK)
        result = db_execute(connection, job->sql, NULL, 0, NULL, error);
    job->wrote = ((const struct mysql_state *)connection->state)->wrote;
    return result == DB_OK ? db_commit(connection, error) : result;
}

/* Else a Galera cluster, which makes no write set of it, would be thought to have lost it. */
static void an_update_that_changes_nothing_has_not_written(void **state)
{
    static const struct {
        const char *sql;
        bool wrote;
    } cases[] = {
        {"INSERT INTO t (name, number) VALUES ('a', 2), ('b', 3)", true},
        {"UPDATE t SET number = 2 WHERE name = 'a'", false},
        {"UPDATE t SET number = 2 WHERE name = 'none'", false},
        {"UPDATE t SET number = 2", true},
        {"DELETE FROM t WHERE name = 'none'", false},
        {"DELETE FROM t WHERE name = 'a'", true},
    };
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct wrote_job job = {.job = {.run = run_wrote}, .sql = cases[i].sql};

        assert_int_equal(db_run_wait(db, &job.job), DB_OK);
        if (job.wrote != cases[i].wrote)
            fail_msg("%s: %s", cases[i].sql, job.wrote ? "written" : "not written");
    }
    db_close(db);
}

static void reading_may_end_early_and_the_connection_goes_on(void **state)
{
    struct statement_job many = PLAIN("SELECT a.seq FROM seq_1_to_20000 a");
    struct statement_job one = PLAIN("SELECT 7");
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    many.stop_after = 3;
    must_run(db, &many);
    assert_int_equal(many.rows, 3);
    must_run(db, &one);
    assert_int_equal(one.integer, 7);
    many.stop_after = 0;
    must_run(db, &many);
    assert_int_equal(many.rows, 20000);
    db_close(db);
}

static enum db_result run_many_texts(struct db_job *base, struct db_connection *connection,
                                     struct error *error)
{
    (void)base;
    for (int i = 0; i < 150; i++) {
        struct statement_job read = PLAIN("");
        char sql[64];
        enum db_result result;

        snprintf(sql, sizeof(sql), "SELECT %d", i % 100);
        result = db_query(connection, sql, NULL, 0, keep_row, &read, error);
        if (result != DB_OK || read.integer != i % 100)
            return result != DB_OK ? result : DB_PERMANENT;
    }
    return DB_OK;
}

static void more_statements_than_the_cache_holds_are_all_run(void **state)
{
    struct db_job job = {.run = run_many_texts};
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    db_close(db);
}

static void the_session_is_the_same_whatever_the_servers_defaults(void **state)
{
    struct statement_job read =
        PLAIN("SELECT CONCAT(@@session.time_zone, ' ', @@session.autocommit + 0, ' ', "
              "@@session.sql_mode, ' ', @@session.character_set_client, ' ', "
              "@@session.tx_isolation)");
    struct db *db;

    (void)state;
    mariadb_server_execute(&server,
                           "SET GLOBAL time_zone = '+05:00', GLOBAL autocommit = 0, GLOBAL sql_mode = "
                           "'ANSI', GLOBAL tx_isolation = 'SERIALIZABLE'");
    db = open_pool(url, 1, 5000);
    must_run(db, &read);
    mariadb_server_execute(&server,
                           "SET GLOBAL time_zone = 'SYSTEM', GLOBAL autocommit = 1, GLOBAL sql_mode = "
                           "DEFAULT, GLOBAL tx_isolation = DEFAULT");
    assert_string_equal(read.text,
                        "+00:00 1 STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION utf8mb4 READ-COMMITTED");
    db_close(db);
}

/* ---- classes of failure ---- */

static void refused_rows_are_constraints(void **state)
{
    struct statement_job first = PLAIN("INSERT INTO t (name) VALUES ('a')");
    struct statement_job null = PLAIN("INSERT INTO t (name, small) VALUES ('b', NULL)");
    struct statement_job check = PLAIN("INSERT INTO t (name, number) VALUES ('c', 1000)");
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &first);
    expect_failure(db, &first.job, DB_CONSTRAINT, "Duplicate");
    expect_failure(db, &null.job, DB_CONSTRAINT, "cannot be null");
    expect_failure(db, &check.job, DB_CONSTRAINT, "CONSTRAINT");
    expect_rows("TRUE", "1");
    assert_true(db_healthy(db, NULL, 0));
    db_close(db);
}

static void what_another_attempt_cannot_help_is_permanent(void **state)
{
    struct statement_job syntax = PLAIN("SELEKT 1");
    struct statement_job table = PLAIN("SELECT 1 FROM nowhere");
    struct statement_job length =
        STATEMENT("INSERT INTO t (word) VALUES (?)", db_text("more than sixteen bytes"));
    struct statement_job parameters =
        STATEMENT("INSERT INTO t (word) VALUES (?)", db_text("a"), db_text("b"));
    struct statement_job two = PLAIN("DELETE FROM t; DELETE FROM t");
    struct statement_job good = PLAIN("SELECT 1");
    struct db *db = open_pool(url, 1, 60000);

    (void)state;
    expect_failure(db, &syntax.job, DB_PERMANENT, "SQL syntax");
    expect_failure(db, &table.job, DB_PERMANENT, "--init-db");
    expect_failure(db, &length.job, DB_PERMANENT, "too long");
    expect_failure(db, &parameters.job, DB_PERMANENT, "2 parameters for 1 places");
    expect_failure(db, &two.job, DB_PERMANENT, "SQL syntax");
    must_run(db, &good);
    db_close(db);
}

static void a_wrong_password_and_a_missing_database_are_permanent_and_reported(void **state)
{
    struct statement_job read = PLAIN("SELECT 1");
    char reason[ERROR_TEXT_SIZE], other[256];
    struct db *db;

    (void)state;
    snprintf(other, sizeof(other), "mysql://reel:sesame@127.0.0.1:%u/reel_test", server.port);
    db = open_pool(other, 1, 60000);
    expect_failure(db, &read.job, DB_PERMANENT, "Access denied");
    assert_null(strstr(read.job.error.text, "sesame"));
    assert_false(db_healthy(db, reason, sizeof(reason)));
    assert_non_null(strstr(reason, "Access denied"));
    assert_null(strstr(reason, "sesame"));
    db_close(db);

    snprintf(other, sizeof(other), "mysql://%s@127.0.0.1:%u/reel_none", MARIADB_SERVER_LOGIN, server.port);
    db = open_pool(other, 1, 60000);
    expect_failure(db, &read.job, DB_PERMANENT, "Unknown database");
    db_close(db);
}

static void the_socket_of_the_url_is_used(void **state)
{
    struct statement_job read = PLAIN("SELECT USER()");
    char other[256];
    struct db *db;

    (void)state;
    snprintf(other, sizeof(other), "mysql://%s@localhost/reel_test?socket=%s", MARIADB_SERVER_LOGIN,
             server.socket);
    db = open_pool(other, 1, 5000);
    must_run(db, &read);
    assert_string_equal(read.text, "reel@localhost");
    db_close(db);
}

/* ---- transactions ---- */

struct transfer_job {
    struct db_job job;
    const char *first, *second; /* names, locked in this order */
    struct gate *gate;
    int times;
};

struct gate {
    pthread_barrier_t barrier;
};

/* The first time both have their first row before either asks for the second: a deadlock. */
static enum db_result run_transfer(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct transfer_job *job = CONTAINER_OF(base, struct transfer_job, job);
    struct db_value first = db_text(job->first), second = db_text(job->second);
    enum db_result result = db_begin(connection, error);

    job->times++;
    if (result == DB_OK)
        result =
            db_execute(connection, "UPDATE t SET number = number + 1 WHERE name = ?", &first, 1, NULL, error);
    if (job->times == 1)
        (void)pthread_barrier_wait(&job->gate->barrier);
    if (result == DB_OK)
        result = db_execute(connection, "UPDATE t SET number = number + 1 WHERE name = ?", &second, 1, NULL,
                            error);
    return result == DB_OK ? db_commit(connection, error) : result;
}

static void *wait_for_job(void *argument)
{
    void **pair = argument;

    (void)db_run_wait(pair[0], pair[1]);
    return NULL;
}

static void both_sides_of_a_deadlock_end_well(void **state)
{
    struct gate gate;
    struct transfer_job one = {.job = {.run = run_transfer}, .first = "a", .second = "b", .gate = &gate};
    struct transfer_job two = {.job = {.run = run_transfer}, .first = "b", .second = "a", .gate = &gate};
    struct statement_job insert = PLAIN("INSERT INTO t (name, number) VALUES ('a', 0), ('b', 0)");
    struct db *db = open_pool(url, 2, 20000);
    void *pair[] = {db, &one.job};
    pthread_t thread;

    (void)state;
    must_run(db, &insert);
    assert_int_equal(pthread_barrier_init(&gate.barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_job, pair), 0);
    assert_int_equal(db_run_wait(db, &two.job), DB_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(one.job.result, DB_OK);
    assert_int_equal(one.times + two.times, 3); /* one of them was the victim, once */
    expect_rows("number = 2", "2");
    (void)pthread_barrier_destroy(&gate.barrier);
    db_close(db);
}

static void a_lock_that_others_hold_is_transient_and_not_a_lost_connection(void **state)
{
    struct statement_job insert = PLAIN("INSERT INTO t (name, number) VALUES ('a', 0)");
    struct statement_job update = PLAIN("UPDATE t SET number = 9 WHERE name = 'a'");
    /* The end of its wait comes instead of the first row: it looks for that while it is read. */
    struct statement_job read = STATEMENT("SELECT name FROM t WHERE number > ? FOR UPDATE", db_integer(-1));
    struct db *db = open_pool(url, 1, 3000);
    MYSQL *other;

    (void)state;
    must_run(db, &insert);
    other = mariadb_server_connect(&server);
    assert_non_null(other);
    assert_int_equal(mysql_query(other, "BEGIN"), 0);
    assert_int_equal(mysql_query(other, "UPDATE reel_test.t SET number = 1"), 0);
    expect_failure(db, &update.job, DB_TRANSIENT, "Lock wait");
    expect_failure(db, &read.job, DB_TRANSIENT, "Lock wait");
    assert_true(db_healthy(db, NULL, 0));
    mysql_close(other);
    must_run(db, &update);
    must_run(db, &read);
    db_close(db);
}

static enum db_result run_two_inserts(struct db_job *base, struct db_connection *connection,
                                      struct error *error)
{
    enum db_result result = db_begin(connection, error);

    (void)base;
    if (result == DB_OK)
        result = db_execute(connection, "INSERT INTO t (name) VALUES ('one')", NULL, 0, NULL, error);
    if (result == DB_OK)
        result = db_execute(connection, "INSERT INTO t (name) VALUES ('two')", NULL, 0, NULL, error);
    return result == DB_OK ? db_commit(connection, error) : result;
}

static enum db_result run_uncommitted(struct db_job *base, struct db_connection *connection,
                                      struct error *error)
{
    (void)base;
    if (db_begin(connection, error) != DB_OK)
        return DB_PERMANENT;
    return db_execute(connection, "INSERT INTO t (name) VALUES ('stray')", NULL, 0, NULL, error);
}

static enum db_result run_insert_or_read(struct db_job *base, struct db_connection *connection,
                                         struct error *error)
{
    struct statement_job *job = CONTAINER_OF(base, struct statement_job, job);
    enum db_result result = db_begin(connection, error);

    job->rows = 0;
    /* A snapshot from before the other's commit must not hide its row. */
    if (result == DB_OK)
        result = db_query(connection, "SELECT 1 FROM t WHERE name = 'raced'", NULL, 0, keep_row, job, error);
    if (result == DB_OK && job->rows > 0)
        return DB_PERMANENT;
    mariadb_server_execute(&server, "INSERT INTO reel_test.t (name, number) VALUES ('raced', 5)");
    if (result == DB_OK)
        result =
            db_execute(connection, "INSERT INTO t (name, number) VALUES ('raced', 6)", NULL, 0, NULL, error);
    if (result != DB_CONSTRAINT)
        return DB_PERMANENT;
    result = db_query(connection, "SELECT number FROM t WHERE name = 'raced'", NULL, 0, keep_row, job, error);
    return result == DB_OK ? db_commit(connection, error) : result;
}

static void the_row_that_was_first_can_be_read_after_the_refusal(void **state)
{
    struct statement_job job = {.job = {.run = run_insert_or_read}};
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    must_run(db, &job);
    assert_int_equal(job.rows, 1);
    assert_int_equal(job.integer, 5);
    db_close(db);
}

static void what_was_not_committed_is_rolled_back(void **state)
{
    struct db_job stray = {.run = run_uncommitted}, good = {.run = run_two_inserts};
    struct db *db = open_pool(url, 1, 5000);

    (void)state;
    assert_int_equal(db_run_wait(db, &stray), DB_OK);
    expect_rows("TRUE", "0");
    assert_int_equal(db_run_wait(db, &good), DB_OK);
    expect_rows("TRUE", "2");
    db_close(db);
}

/* ---- a proxy that cuts ---- */

enum cut { CUT_NEVER, CUT_BEFORE, CUT_AFTER };

struct proxy {
    pthread_t thread;
    int listener;
    uint16_t port;
    atomic_int cut; /* enum cut; goes back to CUT_NEVER after the first one */
    atomic_int cuts, connections;
    atomic_bool stop;
    const char *text; /* in what the client sends */
};

/* With the command's byte: the isolation level has the word, too. */
#define COMMIT_PACKET                                                                                        \
    "\x03"                                                                                                   \
    "COMMIT"

static void forward(int from, int to, struct proxy *proxy, bool request, bool *open)
{
    char buffer[16384];
    ssize_t size = read(from, buffer, sizeof(buffer));
    int cut = atomic_load(&proxy->cut);
    bool hit = size > 0 && request && cut != CUT_NEVER &&
               memmem(buffer, (size_t)size, proxy->text, strlen(proxy->text)) != NULL;

    *open = size > 0 && !(hit && cut == CUT_BEFORE) && write(to, buffer, (size_t)size) == size;
    if (hit) {
        atomic_store(&proxy->cut, CUT_NEVER);
        atomic_fetch_add(&proxy->cuts, 1);
        if (cut == CUT_AFTER) /* the server has done it and said so */
            *open = read(to, buffer, sizeof(buffer)) < 0;
    }
}

static void serve(int client, struct proxy *proxy)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(server.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = upstream >= 0 && connect(upstream, (struct sockaddr *)&address, sizeof(address)) == 0;

    atomic_fetch_add(&proxy->connections, 1);
    while (open && !atomic_load(&proxy->stop)) {
        struct pollfd ends[] = {{.fd = client, .events = POLLIN}, {.fd = upstream, .events = POLLIN}};
        if (poll(ends, 2, 50) <= 0)
            continue;
        if (ends[0].revents != 0)
            forward(client, upstream, proxy, true, &open);
        if (open && ends[1].revents != 0)
            forward(upstream, client, proxy, false, &open);
    }
    (void)close(upstream);
    (void)close(client);
}

/* One connection at a time: the pools of these tests have one thread. */
static void *run_proxy(void *argument)
{
    struct proxy *proxy = argument;

    while (!atomic_load(&proxy->stop)) {
        struct pollfd end = {.fd = proxy->listener, .events = POLLIN};
        if (poll(&end, 1, 50) > 0)
            serve(accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC), proxy);
    }
    return NULL;
}

static void start_proxy(struct proxy *proxy, enum cut cut, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);

    *proxy = (struct proxy){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .text = text};
    atomic_init(&proxy->cut, (int)cut);
    assert_true(proxy->listener >= 0);
    assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(proxy->listener, 16), 0);
    assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &length), 0);
    proxy->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run_proxy, proxy), 0);
}

static void stop_proxy(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    assert_int_equal(pthread_join(proxy->thread, NULL), 0);
    (void)close(proxy->listener);
}

static struct db *open_through(const struct proxy *proxy, int64_t timeout_ms)
{
    char through[256];

    snprintf(through, sizeof(through), "mysql://%s@127.0.0.1:%u/reel_test?read_timeout=4s",
             MARIADB_SERVER_LOGIN, proxy->port);
    return open_pool(through, 1, timeout_ms);
}

static void a_commit_that_was_cut_off_is_uncertain_whether_it_was_done_or_not(void **state)
{
    static const enum cut cuts[] = {CUT_BEFORE, CUT_AFTER};

    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        struct db_job job = {.run = run_two_inserts};
        struct proxy proxy;
        struct db *db;

        (void)set_up(state);
        start_proxy(&proxy, cuts[i], COMMIT_PACKET);
        db = open_through(&proxy, 5000);
        expect_failure(db, &job, DB_UNCERTAIN, "COMMIT");
        assert_int_equal(atomic_load(&proxy.cuts), 1);
        db_close(db);
        stop_proxy(&proxy);
        expect_rows("TRUE", cuts[i] == CUT_AFTER ? "2" : "0");
    }
}

static void an_uncertain_commit_is_run_again_where_that_is_harmless(void **state)
{
    struct db_job job = {.run = run_two_inserts, .idempotent = true};
    struct proxy proxy;
    struct db *db;

    (void)state;
    start_proxy(&proxy, CUT_BEFORE, COMMIT_PACKET);
    db = open_through(&proxy, 20000);
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    assert_int_equal(atomic_load(&proxy.cuts), 1);
    db_close(db);
    stop_proxy(&proxy);
    expect_rows("TRUE", "2");
}

static void a_write_of_its_own_that_was_cut_off_is_uncertain(void **state)
{
    static const enum cut cuts[] = {CUT_BEFORE, CUT_AFTER};

    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        struct statement_job job = STATEMENT("INSERT INTO t (name) VALUES (?)", db_text("needle"));
        struct proxy proxy;
        struct db *db;

        (void)set_up(state);
        start_proxy(&proxy, cuts[i], "needle"); /* the parameter: the execution, not the preparation */
        db = open_through(&proxy, 5000);
        expect_failure(db, &job.job, DB_UNCERTAIN, "INSERT");
        assert_int_equal(atomic_load(&proxy.cuts), 1);
        db_close(db);
        stop_proxy(&proxy);
        expect_rows("TRUE", cuts[i] == CUT_AFTER ? "1" : "0");
    }
}

static void what_cannot_have_been_done_is_run_again(void **state)
{
    static const char *const places[] = {"START TRANSACTION", "('one')", "SELECT 1"};

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        struct db_job insert = {.run = run_two_inserts};
        struct statement_job read = PLAIN("SELECT 1");
        struct proxy proxy;
        struct db *db;

        (void)set_up(state);
        start_proxy(&proxy, CUT_AFTER, places[i]);
        db = open_through(&proxy, 20000);
        assert_int_equal(db_run_wait(db, &insert), DB_OK);
        must_run(db, &read);
        assert_int_equal(atomic_load(&proxy.cuts), 1);
        assert_true(db_healthy(db, NULL, 0));
        db_close(db);
        stop_proxy(&proxy);
        expect_rows("TRUE", "2");
    }
}

/* ---- loss and recovery ---- */

static void the_next_host_of_the_list_is_taken(void **state)
{
    struct statement_job read = PLAIN("SELECT 1");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char hosts[256];
    struct db *db;

    (void)state;
    /* The first refuses, the second takes the connection and never says a word. */
    assert_true(mute >= 0);
    assert_int_equal(bind(mute, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(mute, 4), 0);
    assert_int_equal(getsockname(mute, (struct sockaddr *)&address, &length), 0);
    snprintf(hosts, sizeof(hosts),
             "mysql://%s@127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u/reel_test?connect_timeout=1s",
             MARIADB_SERVER_LOGIN, free_port(), ntohs(address.sin_port), server.port);
    db = open_pool(hosts, 1, 20000);
    must_run(db, &read);
    db_close(db);
    (void)close(mute);
}

static void a_host_that_refuses_to_write_is_left_for_the_next(void **state)
{
    struct statement_job write = PLAIN("INSERT INTO t (name) VALUES ('a')");
    struct proxy proxy;
    char hosts[256];
    struct db *db;

    (void)state;
    /* Both are the same server: what counts is that the other way is tried. */
    start_proxy(&proxy, CUT_NEVER, "");
    snprintf(hosts, sizeof(hosts), "mysql://%s@127.0.0.1:%u,127.0.0.1:%u/reel_test", MARIADB_SERVER_LOGIN,
             server.port, proxy.port);
    db = open_pool(hosts, 1, 1500);
    mariadb_server_execute(&server, "SET GLOBAL read_only = 1");
    expect_failure(db, &write.job, DB_TRANSIENT, "read-only");
    mariadb_server_execute(&server, "SET GLOBAL read_only = 0");
    assert_true(atomic_load(&proxy.connections) >= 1);
    must_run(db, &write);
    db_close(db);
    stop_proxy(&proxy);
}

static void a_full_server_is_transient(void **state)
{
    struct statement_job read = PLAIN("SELECT 1");
    struct db *first, *second;

    (void)state;
    mariadb_server_execute(&server, "ALTER USER 'reel'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1");
    first = open_pool(url, 1, 5000);
    must_run(first, &read);
    second = open_pool(url, 1, 6000);
    expect_failure(second, &read.job, DB_TRANSIENT, "max_user_connections");
    db_close(first);
    must_run(second, &read);
    db_close(second);
    mariadb_server_execute(&server, "ALTER USER 'reel'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0");
}

static void a_connection_that_was_closed_while_idle_costs_nobody_an_error(void **state)
{
    struct statement_job write = PLAIN("INSERT INTO t (number) VALUES (1)");
    struct db *db = open_pool(url, 1, 10000);

    (void)state;
    must_run(db, &write);
    mariadb_server_execute(&server, "KILL USER reel");
    sleep(2); /* longer than a connection is trusted unasked */
    must_run(db, &write);
    expect_rows("TRUE", "2");
    db_close(db);
}

struct wait_job {
    struct statement_job statement;
    struct db *db;
};

static void *run_in_thread(void *argument)
{
    struct wait_job *job = argument;

    (void)db_run_wait(job->db, &job->statement.job);
    return NULL;
}

#define CROWD 24

/* Of six threads two get a connection. The others must not sit on jobs that these could do. */
static void the_connections_that_a_full_server_grants_do_all_the_work(void **state)
{
    struct statement_job count =
        PLAIN("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'reel'");
    int64_t until_ms = clock_monotonic_ms() + 60000;
    struct wait_job jobs[CROWD];
    pthread_t threads[CROWD];
    struct db *db;

    (void)state;
    mariadb_server_execute(&server, "ALTER USER 'reel'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 2");
    db = open_pool(url, 6, 10000);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < CROWD; i++) {
            jobs[i] = (struct wait_job){.statement = PLAIN("SELECT SLEEP(0.05)"), .db = db};
            assert_int_equal(pthread_create(&threads[i], NULL, run_in_thread, &jobs[i]), 0);
        }
        for (size_t i = 0; i < CROWD; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (size_t i = 0; i < CROWD; i++)
            assert_string_equal(jobs[i].statement.job.error.text, "");
        assert_true(db_healthy(db, NULL, 0));
    }
    /* Nor is anything away because the others ask again each second. */
    for (int i = 0; i < 50; i++) {
        assert_true(db_healthy(db, NULL, 0));
        usleep(50000);
    }
    /* And they get theirs as soon as there is room. */
    mariadb_server_execute(&server, "ALTER USER 'reel'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0");
    do {
        assert_true(clock_monotonic_ms() < until_ms);
        usleep(100000);
        must_run(db, &count);
    } while (count.integer != 6);
    db_close(db);
}

static void a_job_waits_for_a_server_that_is_restarted(void **state)
{
    struct wait_job job = {.statement = PLAIN("INSERT INTO t (name) VALUES ('patient')")};
    struct statement_job warm = PLAIN("INSERT INTO t (name) VALUES ('warm')");
    int64_t deadline = clock_monotonic_ms() + 30000;
    char reason[ERROR_TEXT_SIZE] = "";
    pthread_t thread;

    (void)state;
    job.db = open_pool(url, 1, 60000);
    must_run(job.db, &warm);
    mariadb_server_kill(&server);
    sleep(2);
    assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &job), 0);
    while (db_healthy(job.db, reason, sizeof(reason)) && clock_monotonic_ms() < deadline)
        usleep(10000);
    assert_non_null(strstr(reason, "connect"));
    assert_null(strstr(reason, "p@ss"));
    mariadb_server_run(&server);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(job.statement.job.error.text, "");
    assert_int_equal(job.statement.job.result, DB_OK);
    assert_true(db_healthy(job.db, NULL, 0));
    expect_rows("TRUE", "2");
    db_close(job.db);
}

static void a_job_fails_when_its_time_is_over_and_the_server_is_still_away(void **state)
{
    struct statement_job read = PLAIN("SELECT 1");
    struct db *db = open_pool(url, 1, 5000);
    int64_t start;

    (void)state;
    must_run(db, &read);
    mariadb_server_kill(&server);
    sleep(2);
    start = clock_monotonic_ms();
    expect_failure(db, &read.job, DB_TRANSIENT, "connect");
    assert_true(clock_monotonic_ms() - start < 50000);
    mariadb_server_run(&server);
    must_run(db, &read);
    db_close(db);
}

static void a_server_that_hangs_is_noticed_and_comes_back(void **state)
{
    struct statement_job insert = PLAIN("INSERT INTO t (name) VALUES ('late')");
    struct statement_job read = PLAIN("SELECT 1");
    char bounded[256];
    struct db *db;

    (void)state;
    snprintf(bounded, sizeof(bounded), "mysql://%s@127.0.0.1:%u/reel_test?connect_timeout=3s&read_timeout=3s",
             MARIADB_SERVER_LOGIN, server.port);
    db = open_pool(bounded, 1, 8000);
    must_run(db, &read);
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    sleep(2); /* the connection is asked before the write, so the write is not even tried */
    expect_failure(db, &insert.job, DB_TRANSIENT, "");
    assert_false(db_healthy(db, NULL, 0));
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    must_run(db, &insert);
    expect_rows("TRUE", "1");
    db_close(db);
}

static void closing_does_not_wait_for_a_server_that_is_away(void **state)
{
    struct wait_job job = {.statement = PLAIN("SELECT 1")};
    int64_t deadline = clock_monotonic_ms() + 30000;
    char nobody[256];
    pthread_t thread;

    (void)state;
    snprintf(nobody, sizeof(nobody), "mysql://%s@127.0.0.1:%u/reel_test", MARIADB_SERVER_LOGIN, free_port());
    job.db = open_pool(nobody, 2, 600000);
    assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &job), 0);
    while (db_healthy(job.db, NULL, 0) && clock_monotonic_ms() < deadline)
        usleep(10000);
    usleep(200000);
    db_close(job.db);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(job.statement.job.result, DB_TRANSIENT);
    assert_true(clock_monotonic_ms() < deadline);
}

static int set_up_transactions(void **state)
{
    transactions = true;
    return set_up(state);
}

static int tear_down_transactions(void **state)
{
    (void)state;
    transactions = false;
    return 0;
}

#define WITH_TABLE(name) cmocka_unit_test_setup(name, set_up)
#define IN_TRANSACTION(name)                                                                                 \
    {                                                                                                        \
#name "_in_a_transaction", name, set_up_transactions, tear_down_transactions, NULL                   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(bytes_come_back_as_they_were_given),
        WITH_TABLE(neither_case_nor_spaces_at_the_end_are_folded),
        WITH_TABLE(every_type_of_column_comes_as_the_header_says),
        WITH_TABLE(a_question_mark_in_quotes_is_no_place),
        WITH_TABLE(a_long_value_is_read_whole),
        WITH_TABLE(affected_counts_the_rows_that_matched),
        WITH_TABLE(an_update_that_changes_nothing_has_not_written),
        WITH_TABLE(reading_may_end_early_and_the_connection_goes_on),
        WITH_TABLE(more_statements_than_the_cache_holds_are_all_run),
        WITH_TABLE(the_session_is_the_same_whatever_the_servers_defaults),
        WITH_TABLE(refused_rows_are_constraints),
        WITH_TABLE(what_another_attempt_cannot_help_is_permanent),
        IN_TRANSACTION(bytes_come_back_as_they_were_given),
        IN_TRANSACTION(neither_case_nor_spaces_at_the_end_are_folded),
        IN_TRANSACTION(every_type_of_column_comes_as_the_header_says),
        IN_TRANSACTION(a_question_mark_in_quotes_is_no_place),
        IN_TRANSACTION(a_long_value_is_read_whole),
        IN_TRANSACTION(affected_counts_the_rows_that_matched),
        IN_TRANSACTION(reading_may_end_early_and_the_connection_goes_on),
        IN_TRANSACTION(refused_rows_are_constraints),
        IN_TRANSACTION(what_another_attempt_cannot_help_is_permanent),
        WITH_TABLE(a_wrong_password_and_a_missing_database_are_permanent_and_reported),
        WITH_TABLE(the_socket_of_the_url_is_used),
        WITH_TABLE(both_sides_of_a_deadlock_end_well),
        WITH_TABLE(a_lock_that_others_hold_is_transient_and_not_a_lost_connection),
        WITH_TABLE(the_row_that_was_first_can_be_read_after_the_refusal),
        WITH_TABLE(what_was_not_committed_is_rolled_back),
        WITH_TABLE(a_commit_that_was_cut_off_is_uncertain_whether_it_was_done_or_not),
        WITH_TABLE(an_uncertain_commit_is_run_again_where_that_is_harmless),
        WITH_TABLE(a_write_of_its_own_that_was_cut_off_is_uncertain),
        WITH_TABLE(what_cannot_have_been_done_is_run_again),
        WITH_TABLE(the_next_host_of_the_list_is_taken),
        WITH_TABLE(a_host_that_refuses_to_write_is_left_for_the_next),
        WITH_TABLE(a_full_server_is_transient),
        WITH_TABLE(the_connections_that_a_full_server_grants_do_all_the_work),
        WITH_TABLE(a_connection_that_was_closed_while_idle_costs_nobody_an_error),
        WITH_TABLE(a_job_waits_for_a_server_that_is_restarted),
        WITH_TABLE(a_job_fails_when_its_time_is_over_and_the_server_is_still_away),
        WITH_TABLE(a_server_that_hangs_is_noticed_and_comes_back),
        WITH_TABLE(closing_does_not_wait_for_a_server_that_is_away),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
