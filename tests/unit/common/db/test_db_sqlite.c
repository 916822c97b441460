/*
 * The pool, the jobs and the SQLite back end, on real files in a directory of the test's own.
 */
#include "common/base/clock.h"
#include "common/db/db.h"
#include "common/base/log.h"
#include "common/db/schema.h"
#include "tests/unit/library/held_locks.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    char path[128];
    char url[192];
};

static void shell_like_create(const char *path, const char *sql)
{
    sqlite3 *handle = NULL;

    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(handle, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

#define TABLE "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, number INTEGER);"

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test_db_sqlite.XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof(fixture->path), "%s/meta.db", fixture->directory);
    snprintf(fixture->url, sizeof(fixture->url), "sqlite:%s?busy_timeout=300ms", fixture->path);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    static const char *const endings[] = {"", "-wal", "-shm", "-journal", ".old"};
    char name[192];

    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        snprintf(name, sizeof(name), "%s%s", fixture->path, endings[i]);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
    return 0;
}

static struct db *open_pool(const struct fixture *fixture, size_t threads, size_t queue_max,
                            int64_t timeout_ms)
{
    struct db_options options = {
        .url = fixture->url, .threads = threads, .queue_max = queue_max, .job_timeout_ms = timeout_ms};
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
    /* of the first row */
    size_t rows;
    size_t stop_after; /* rows; 0: all */
    int64_t integer;
    char text[128];
    bool null;
    enum db_type type;
    size_t size;
};

static bool keep_row(void *argument, const struct db_value *columns, size_t count)
{
    struct statement_job *job = argument;

    assert_true(count >= 1);
    if (job->rows == 0) {
        job->type = columns[0].type;
        job->null = columns[0].type == DB_TYPE_NULL;
        job->size = columns[0].size;
        if (!db_value_integer(&columns[0], &job->integer))
            job->integer = INT64_MIN;
        (void)db_value_text(&columns[0], job->text, sizeof(job->text));
        if (columns[0].type == DB_TYPE_BYTES)
            assert_int_equal(columns[0].bytes[columns[0].size], '\0');
    }
    job->rows++;
    return job->rows != job->stop_after;
}

static enum db_result run_statement(struct db_job *base, struct db_connection *connection,
                                    struct error *error)
{
    struct statement_job *job = CONTAINER_OF(base, struct statement_job, job);

    job->rows = 0;
    if (strncmp(job->sql, "SELECT", 6) == 0 || strncmp(job->sql, "PRAGMA", 6) == 0)
        return db_query(connection, job->sql, job->parameters, job->count, keep_row, job, error);
    return db_execute(connection, job->sql, job->parameters, job->count, &job->affected, error);
}

#define STATEMENT(text, ...)                                                                                 \
    {                                                                                                        \
        .job = {.run = run_statement}, .sql = (text), .parameters = {__VA_ARGS__},                           \
        .count = sizeof((struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)                          \
    }

static void must_run(struct db *db, struct statement_job *job)
{
    enum db_result result = db_run_wait(db, &job->job);

    assert_string_equal(job->job.error.text, "");
    assert_int_equal(result, DB_OK);
}

static int64_t count_rows(struct db *db)
{
    struct statement_job job = {.job = {.run = run_statement}, .sql = "SELECT COUNT(*) FROM t"};

    must_run(db, &job);
    return job.integer;
}

/* ---- URLs and values ---- */

static void a_url_that_is_wrong_is_refused_with_what_would_be_right(void **state)
{
    static const struct {
        const char *url, *said;
    } cases[] = {
        {"", "neither"},
        {"postgres://x/y", "mysql://user:password@host"},
        {"sqlite:", "no file"},
        {"sqlite:/var/lib/", "no file"},
        {"sqlite::memory:", "path is needed"},
        {"sqlite:/x?busy=5", "busy_timeout"},
        {"sqlite:/x?busy_timeout=5parsec", "500ms"},
        {"sqlite:/x?busy_timeout=0s", "1ms to 24h"},
        {"sqlite:/x?busy_timeout=99999999999999999999s", "1ms to 24h"},
        {"sqlite:/x%4", "percent"},
        {"sqlite:/x%00", "percent"},
        {"mysql://root:secret@db1", "database name"},
        {"mysql://root:secret@db1/", "database name"},
        {"mysql://root:secret@db1/a;b", "only letters"},
        {"mysql://root:secret@db1/x?socket=relative", "absolute"},
        {"mysql://root:secret@db1/x?timeout=3s", "read_timeout"},
        {"mysql://root:secret@db1:99999/x", ""},
        {"mysql://root:secret@*/x", "not a host"},
        {"mysql://root:se@cret@db1/x", "percent-encoded"},
        {"mysql://root:se/secret@db1/x", "percent-encoded"},
        {"mysql://root:se?secret@db1/x", "percent-encoded"},
        {"mysql:/root:secret@db1/x", "mysql://user:password@host"},
        {"mysql//root:secret@db1/x", "mysql://user:password@host"},
        {"mysql:root:secret@db1/x", "mysql://user:password@host"},
        {"mysq://root:secret@db1/x", "mysql://user:password@host"},
        {"root:secret@db1/x", "mysql://user:password@host"},
        {"mysql://root:secret/x", "user:password@"},
        {"mysql://root:secret%2/x", "percent"},
        {"mysql://db1/x?password=secret", "before the host"},
        {"mysql://db1/x?passwd=secret", "unknown parameter"},
        {"mysql://db1/x?read_timeout=1s&pw=secret&y", "unknown parameter"},
        {"mysql://db1/x?ssl-mode=REQUIRED", "tls=required"},
        {"mysql://db1/x?useSSL=true", "tls=required"},
        {"mysql://db1/x?ssl-ca=/x.pem", "ca="},
        {"mysql://db1/x?charset=utf8", "utf8mb4"},
        {"mysql://db1/x?tls=yes", "required, prefer, off"},
        {"mysql://db1/x?ca=x.pem", "absolute"},
        {"mysql://db1/x?ca=/x.pem&tls=prefer", "tls=required"},
        {"mysql://db1/x?causal_reads=1", "neither on nor off"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};

        assert_false(db_url_check(cases[i].url, &error));
        if (strstr(error.text, cases[i].said) == NULL)
            fail_msg("%s: %s", cases[i].url, error.text);
        assert_null(strstr(error.text, "secret"));
        assert_null(strstr(error.text, "cret"));
    }
}

static void a_url_that_is_right_is_taken(void **state)
{
    static const char *const cases[] = {
        "sqlite:/var/lib/reelstore/meta.db",
        "sqlite:meta.db?busy_timeout=5",
        "mysql://root@localhost/db",
        "mysql://reel:p%40ss%2Fword@[::1]:3307,db2,192.0.2.7:3306/"
        "tnv_storagedb?connect_timeout=2s&read_timeout=10s"
        "&write_timeout=1m",
        "mysql://root@localhost/db?socket=/run/mysqld/mysqld.sock",
        "mysql:///db",
        "mysql://reel@db1/x?tls=required&ca=/etc/reelstore/ca.pem&causal_reads=off",
        "mysql://reel@db1/x?ca=/etc/reelstore/ca.pem",
        "mysql://reel@db1/x?tls=off",
        "mysql://reel@db1/x?tls=prefer",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {0};

        if (!db_url_check(cases[i], &error))
            fail_msg("%s: %s", cases[i], error.text);
    }
}

static void a_redacted_url_never_shows_the_password(void **state)
{
    static const struct {
        const char *url, *redacted;
    } cases[] = {
        {"mysql://reel:secret@db1,db2/x?read_timeout=3s", "mysql://reel:***@db1,db2/x?read_timeout=3s"},
        {"mysql://reel:@db1/x", "mysql://reel:***@db1/x"},
        {"mysql://reel@db1:3306/x", "mysql://reel@db1:3306/x"},
        {"mysql://db1:3306/x", "mysql://db1:3306/x"},
        {"mysql://reel:se@cr/et?secret@db1/x", "mysql://reel:***@db1/x"},
        {"sqlite:/a:b@c", "sqlite:/a:b@c"},
        {"mysql:/u:secret@h/x", "mysql:***@h/x"},
        {"mysq://u:secret@h/x", "mysq:***@h/x"},
        {"u:secret@h/x", "u:***@h/x"},
        {"u:secret", "u:***"},
        {"mysql://u:secret/x", "mysql://u:***"},
        {"mysql://u:12,secret/x", "mysql://u:12,secret/x"}, /* two hosts, as far as anybody can know */
        {"mysql://u:123456/x", "mysql://u:***"},
        {"mysql://h/x?tls=off&passwd=secret&ca=/y", "mysql://h/x?tls=off&passwd=***&ca=/y"},
        {"mysql://u@h/x?pw=se?cret", "mysql://u@h/x?pw=***"},
        {"nothing", "nothing"},
    };
    char buffer[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(db_url_redact(cases[i].url, buffer, sizeof(buffer)), cases[i].redacted);
    assert_string_equal(db_url_redact("mysql://reel:secret@db1/x", buffer, 16), "mysql://reel:**");
}

static void a_value_becomes_an_integer_only_where_it_is_one(void **state)
{
    static const struct {
        const char *text;
        bool good;
        int64_t integer;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"12a", false, 0},
        {" 1", false, 0},
        {"1.0", false, 0},
    };
    struct db_value null = db_null(), number = db_integer(-5);
    int64_t out = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_value value = db_text(cases[i].text);

        assert_int_equal(db_value_integer(&value, &out), cases[i].good);
        if (cases[i].good)
            assert_true(out == cases[i].integer);
    }
    assert_false(db_value_integer(&null, &out));
    assert_true(db_value_integer(&number, &out));
    assert_int_equal(out, -5);
}

static void a_value_becomes_text_and_says_when_it_was_cut(void **state)
{
    struct db_value null = db_text(NULL), number = db_integer(-1234), text = db_text("abcdef");
    char buffer[6];

    (void)state;
    assert_true(db_value_text(&null, buffer, sizeof(buffer)));
    assert_string_equal(buffer, "");
    assert_true(db_value_text(&number, buffer, sizeof(buffer)));
    assert_string_equal(buffer, "-1234");
    assert_false(db_value_text(&number, buffer, 5));
    assert_false(db_value_text(&text, buffer, sizeof(buffer)));
    assert_string_equal(buffer, "abcde");
}

/* ---- statements ---- */

static void bytes_come_back_as_they_were_given(void **state)
{
    struct fixture *fixture = *state;
    static const char bytes[] = "caf\xc3\xa9 \xff\xfe '\"\\%_; -- \x01";
    struct statement_job insert =
        STATEMENT("INSERT INTO t (name, number) VALUES (?, ?)", db_text(bytes), db_integer(INT64_MIN));
    struct statement_job read = STATEMENT("SELECT name FROM t WHERE name = ?", db_text(bytes));
    struct statement_job number = STATEMENT("SELECT number FROM t WHERE name = ?", db_text(bytes));
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 2, 16, 2000);
    must_run(db, &insert);
    assert_int_equal(insert.affected, 1);
    must_run(db, &read);
    assert_int_equal(read.rows, 1);
    assert_int_equal(read.type, DB_TYPE_BYTES);
    assert_int_equal(read.size, strlen(bytes));
    assert_memory_equal(read.text, bytes, sizeof(bytes));
    must_run(db, &number);
    assert_int_equal(number.type, DB_TYPE_INTEGER);
    assert_true(number.integer == INT64_MIN);
    db_close(db);
}

static void null_is_told_apart_from_an_empty_text(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job null =
        STATEMENT("INSERT INTO t (name, number) VALUES (?, ?)", db_text("a"), db_null());
    struct statement_job empty =
        STATEMENT("INSERT INTO t (name, number) VALUES (?, ?)", db_text(""), db_integer(1));
    struct statement_job read_null = STATEMENT("SELECT number FROM t WHERE name = ?", db_text("a"));
    struct statement_job read_empty = STATEMENT("SELECT name FROM t WHERE number = ?", db_integer(1));
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    must_run(db, &null);
    must_run(db, &empty);
    must_run(db, &read_null);
    assert_true(read_null.null);
    must_run(db, &read_empty);
    assert_int_equal(read_empty.rows, 1);
    assert_int_equal(read_empty.type, DB_TYPE_BYTES);
    assert_int_equal(read_empty.size, 0);
    db_close(db);
}

static void what_an_administrator_typed_is_found(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job read = STATEMENT("SELECT number FROM t WHERE name = ?", db_text("typed"));
    struct db *db;

    shell_like_create(fixture->path, TABLE "INSERT INTO t (name, number) VALUES ('typed', 7)");
    db = open_pool(fixture, 1, 16, 2000);
    must_run(db, &read);
    assert_int_equal(read.integer, 7);
    db_close(db);
}

static void reading_ends_where_the_row_function_says_so(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job read = STATEMENT("SELECT number FROM t ORDER BY number LIMIT ?", db_integer(100));
    struct db *db;

    shell_like_create(fixture->path,
                      TABLE "INSERT INTO t (name, number) VALUES ('a', 1), ('b', 2), ('c', 3)");
    db = open_pool(fixture, 1, 16, 2000);
    read.stop_after = 2;
    must_run(db, &read);
    assert_int_equal(read.rows, 2);
    read.stop_after = 0;
    must_run(db, &read);
    assert_int_equal(read.rows, 3);
    assert_int_equal(read.integer, 1);
    db_close(db);
}

static void affected_counts_the_rows_that_matched(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job update =
        STATEMENT("UPDATE t SET number = ? WHERE number >= ?", db_integer(2), db_integer(2));
    struct statement_job none = STATEMENT("DELETE FROM t WHERE number = ?", db_integer(99));
    struct db *db;

    shell_like_create(fixture->path,
                      TABLE "INSERT INTO t (name, number) VALUES ('a', 1), ('b', 2), ('c', 3)");
    db = open_pool(fixture, 1, 16, 2000);
    must_run(db, &update);
    assert_int_equal(update.affected, 2);
    must_run(db, &none);
    assert_int_equal(none.affected, 0);
    db_close(db);
}

static enum db_result run_many_texts(struct db_job *base, struct db_connection *connection,
                                     struct error *error)
{
    (void)base;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++) {
            struct statement_job read = {.job = {.run = NULL}};
            char sql[64];
            enum db_result result;

            /* The same buffer with another text: the cache must look at the text, not at the pointer. */
            snprintf(sql, sizeof(sql), "SELECT %d", i);
            result = db_query(connection, sql, NULL, 0, keep_row, &read, error);
            if (result != DB_OK)
                return result;
            assert_int_equal(read.integer, i);
        }
    }
    return DB_OK;
}

static void more_statements_than_the_cache_holds_are_all_run(void **state)
{
    struct fixture *fixture = *state;
    struct db_job job = {.run = run_many_texts};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    db_close(db);
}

struct mutex_job {
    struct db_job job;
    pthread_mutex_t *mutex;
};

static enum db_result take_mutex(struct db_job *base, struct db_connection *connection, struct error *error)
{
    const struct mutex_job *job = CONTAINER_OF(base, struct mutex_job, job);

    (void)connection;
    (void)error;
    pthread_mutex_lock(job->mutex);
    pthread_mutex_unlock(job->mutex);
    return DB_OK;
}

/* So whoever wants to close the pool, which ends the job, need not wait for the job to do so. */
static void who_waits_for_a_job_has_given_the_mutex_back(void **state)
{
    struct fixture *fixture = *state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct mutex_job job = {.job = {.run = take_mutex}, .mutex = &mutex};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    pthread_mutex_lock(&mutex);
    assert_int_equal(db_run_wait_held(db, &job.job, &mutex), DB_OK);
    assert_int_equal(pthread_mutex_trylock(&mutex), 0);
    pthread_mutex_unlock(&mutex);
    db_close(db);
}

/* ---- classes of failure ---- */

static void expect_failure(struct db *db, struct statement_job *job, enum db_result result, const char *said)
{
    assert_int_equal(db_run_wait(db, &job->job), result);
    assert_int_equal(job->job.result, result);
    if (strstr(job->job.error.text, said) == NULL)
        fail_msg("\"%s\" is not in: %s", said, job->job.error.text);
    assert_int_equal(job->job.error.code, db_error_code(result));
}

static void a_duplicate_is_a_constraint_and_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job insert = STATEMENT("INSERT INTO t (name, number) VALUES (?, 5)", db_text("a"));
    struct db *db;

    shell_like_create(fixture->path, TABLE "INSERT INTO t (name, number) VALUES ('a', 1)");
    db = open_pool(fixture, 1, 16, 2000);
    expect_failure(db, &insert, DB_CONSTRAINT, "UNIQUE");
    assert_int_equal(count_rows(db), 1);
    assert_true(db_healthy(db, NULL, 0));
    db_close(db);
}

static void bad_sql_a_missing_table_and_wrong_parameters_are_permanent(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job syntax = STATEMENT("SELEKT 1", db_null());
    struct statement_job table = STATEMENT("INSERT INTO nowhere VALUES (?)", db_null());
    struct statement_job too_many = STATEMENT("INSERT INTO t (name) VALUES (?)", db_text("a"), db_text("b"));
    struct statement_job two = STATEMENT("DELETE FROM t; DELETE FROM t WHERE number = ?", db_null());
    struct statement_job empty = {.job = {.run = run_statement}, .sql = " -- nothing"};
    struct db *db;

    shell_like_create(fixture->path, TABLE "INSERT INTO t (name, number) VALUES ('a', 1)");
    db = open_pool(fixture, 1, 16, 2000);
    expect_failure(db, &syntax, DB_PERMANENT, "syntax error");
    expect_failure(db, &table, DB_PERMANENT, "--init-db");
    expect_failure(db, &too_many, DB_PERMANENT, "range");
    expect_failure(db, &two, DB_PERMANENT, "exactly one statement");
    expect_failure(db, &empty, DB_PERMANENT, "exactly one statement");
    assert_int_equal(count_rows(db), 1);
    assert_true(db_healthy(db, NULL, 0));
    db_close(db);
}

static void a_missing_file_is_not_created_and_is_found_once_it_is_there(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job read = {.job = {.run = run_statement}, .sql = "SELECT COUNT(*) FROM t"};
    struct db *db = open_pool(fixture, 1, 16, 60000);
    int64_t start = clock_monotonic_ms();
    char reason[256];

    expect_failure(db, &read, DB_PERMANENT, "--init-db creates it");
    assert_true(clock_monotonic_ms() - start < 50000); /* not tried again until the deadline */
    assert_int_equal(access(fixture->path, F_OK), -1);
    assert_false(db_healthy(db, reason, sizeof(reason)));
    assert_non_null(strstr(reason, fixture->path));
    shell_like_create(fixture->path, TABLE);
    must_run(db, &read);
    assert_true(db_healthy(db, reason, sizeof(reason)));
    assert_string_equal(reason, "");
    db_close(db);
}

static mode_t mode_of(const char *path, const char *ending)
{
    char name[192];
    struct stat file = {0};

    snprintf(name, sizeof(name), "%s%s", path, ending);
    assert_int_equal(stat(name, &file), 0);
    return file.st_mode & 07777;
}

static void what_others_could_read_is_closed_to_them(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job write = {.job = {.run = run_statement}, .sql = "INSERT INTO t (name) VALUES ('a')"};

    shell_like_create(fixture->path, TABLE);
    assert_int_equal(chmod(fixture->path, 0664), 0);
    struct db *db = open_pool(fixture, 1, 16, 5000);
    must_run(db, &write);
    assert_int_equal(mode_of(fixture->path, ""), 0660);
    assert_int_equal(mode_of(fixture->path, "-wal"), 0660);
    assert_int_equal(mode_of(fixture->path, "-shm"), 0660);
    db_close(db);
}

static void without_wal_a_commit_syncs_the_directory_too(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job mode = {.job = {.run = run_statement}, .sql = "PRAGMA journal_mode"};
    struct statement_job synchronous = {.job = {.run = run_statement}, .sql = "PRAGMA synchronous"};
    sqlite3_vfs *before = sqlite3_vfs_find(NULL);

    shell_like_create(fixture->path, TABLE);
    /* One that locks by files has no shared memory, like many network file systems. */
    assert_int_equal(sqlite3_vfs_register(sqlite3_vfs_find("unix-dotfile"), 1), SQLITE_OK);
    struct db *db = open_pool(fixture, 1, 16, 5000);
    must_run(db, &mode);
    assert_string_equal(mode.text, "delete");
    must_run(db, &synchronous);
    assert_int_equal(synchronous.integer, 3); /* EXTRA */
    db_close(db);
    assert_int_equal(sqlite3_vfs_register(before, 1), SQLITE_OK);
}

static void a_database_that_comes_is_noticed_without_a_job(void **state)
{
    struct fixture *fixture = *state;
    struct db *db = open_pool(fixture, 1, 16, 5000);
    int64_t deadline = clock_monotonic_ms() + 20000;

    while (db_healthy(db, NULL, 0) && clock_monotonic_ms() < deadline)
        usleep(1000);
    assert_false(db_healthy(db, NULL, 0));
    shell_like_create(fixture->path, TABLE);
    while (!db_healthy(db, NULL, 0) && clock_monotonic_ms() < deadline)
        usleep(1000);
    assert_true(db_healthy(db, NULL, 0));
    db_close(db);
}

static void a_file_that_is_no_database_is_permanent_and_a_repaired_one_is_used(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job read = {.job = {.run = run_statement}, .sql = "SELECT COUNT(*) FROM t"};
    FILE *file = fopen(fixture->path, "w");
    struct db *db;

    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(fputc('x', file), 'x');
    assert_int_equal(fclose(file), 0);
    db = open_pool(fixture, 1, 16, 2000);
    expect_failure(db, &read, DB_PERMANENT, "not a database");
    assert_int_equal(unlink(fixture->path), 0);
    shell_like_create(fixture->path, TABLE);
    must_run(db, &read);
    db_close(db);
}

static void a_file_that_was_replaced_is_opened_anew(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job insert = STATEMENT("INSERT INTO t (name) VALUES (?)", db_text("a"));
    char old[192], name[256];
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    must_run(db, &insert);
    assert_int_equal(count_rows(db), 1);
    snprintf(old, sizeof(old), "%s.old", fixture->path);
    assert_int_equal(rename(fixture->path, old), 0);
    snprintf(name, sizeof(name), "%s-wal", fixture->path);
    (void)unlink(name);
    snprintf(name, sizeof(name), "%s-shm", fixture->path);
    (void)unlink(name);
    shell_like_create(fixture->path, TABLE);
    assert_int_equal(count_rows(db), 0);
    db_close(db);
}

static void a_file_that_may_not_be_written_is_permanent(void **state)
{
    struct fixture *fixture = *state;
    struct statement_job insert = STATEMENT("INSERT INTO t (name) VALUES (?)", db_text("a"));
    bool root = geteuid() == 0; /* may write any file: be somebody else meanwhile */
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    assert_int_equal(chmod(fixture->directory, 0755), 0);
    assert_int_equal(chmod(fixture->path, 0444), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    db = open_pool(fixture, 1, 16, 2000);
    (void)db_run_wait(db, &insert.job);
    db_close(db);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(insert.job.result, DB_PERMANENT);
    assert_non_null(strstr(insert.job.error.text, "Permission denied"));
}

static void a_full_disk_is_reported_as_such_and_nothing_is_stored(void **state)
{
    struct fixture *fixture = *state;
    static char large[200000];
    struct statement_job limit = {.job = {.run = run_statement},
                                  .sql = "SELECT * FROM pragma_max_page_count(10)"};
    struct statement_job insert =
        STATEMENT("INSERT INTO t (name) VALUES (?)", db_bytes(large, sizeof(large)));
    struct statement_job small = STATEMENT("INSERT INTO t (name) VALUES (?)", db_text("small"));
    struct db *db;

    memset(large, 'x', sizeof(large));
    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    limit.sql = "PRAGMA max_page_count = 10";
    must_run(db, &limit);
    assert_int_equal(db_run_wait(db, &insert.job), DB_PERMANENT);
    assert_non_null(strstr(insert.job.error.text, "full"));
    assert_int_equal(insert.job.error.code, ERROR_NO_SPACE);
    assert_int_equal(count_rows(db), 0);
    must_run(db, &small);
    db_close(db);
}

/* ---- transactions ---- */

struct transaction_job {
    struct db_job job;
    bool commit;
    int times;
};

static enum db_result run_transaction(struct db_job *base, struct db_connection *connection,
                                      struct error *error)
{
    struct transaction_job *job = CONTAINER_OF(base, struct transaction_job, job);
    struct db_value a = db_text("a");
    enum db_result result = db_begin(connection, error);

    job->times++;
    if (result == DB_OK)
        result = db_execute(connection, "INSERT INTO t (name, number) VALUES (?, 1)", &a, 1, NULL, error);
    if (result == DB_OK)
        result = db_execute(connection, "INSERT INTO t (name, number) VALUES ('b', 1)", NULL, 0, NULL, error);
    if (result == DB_OK && job->commit)
        result = db_commit(connection, error);
    return result;
}

static void a_transaction_counts_when_it_is_committed_and_only_then(void **state)
{
    struct fixture *fixture = *state;
    struct transaction_job job = {.job = {.run = run_transaction}};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job.job), DB_OK);
    assert_int_equal(count_rows(db), 0);
    job.commit = true;
    assert_int_equal(db_run_wait(db, &job.job), DB_OK);
    assert_int_equal(count_rows(db), 2);
    assert_int_equal(db_run_wait(db, &job.job), DB_CONSTRAINT);
    assert_int_equal(count_rows(db), 2);
    db_close(db);
}

static enum db_result go_on_after_refusal(struct db_job *base, struct db_connection *connection,
                                          struct error *error)
{
    struct statement_job read = {.job = {.run = NULL}};
    enum db_result result = db_begin(connection, error);

    (void)base;
    assert_int_equal(result, DB_OK);
    assert_int_equal(db_execute(connection, "INSERT INTO t (name) VALUES ('a')", NULL, 0, NULL, error),
                     DB_CONSTRAINT);
    assert_int_equal(
        db_query(connection, "SELECT number FROM t WHERE name = 'a'", NULL, 0, keep_row, &read, error),
        DB_OK);
    assert_int_equal(read.integer, 41);
    assert_int_equal(
        db_execute(connection, "UPDATE t SET number = 42 WHERE name = 'a'", NULL, 0, NULL, error), DB_OK);
    return db_commit(connection, error);
}

static void a_transaction_goes_on_after_a_refused_row(void **state)
{
    struct fixture *fixture = *state;
    struct db_job job = {.run = go_on_after_refusal};
    struct statement_job read = {.job = {.run = run_statement}, .sql = "SELECT number FROM t"};
    struct db *db;

    shell_like_create(fixture->path, TABLE "INSERT INTO t (name, number) VALUES ('a', 41)");
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    must_run(db, &read);
    assert_int_equal(read.integer, 42);
    db_close(db);
}

static enum db_result go_on_after_failure(struct db_job *base, struct db_connection *connection,
                                          struct error *error)
{
    struct error second = {0};

    (void)base;
    assert_int_equal(db_begin(connection, error), DB_OK);
    assert_int_equal(db_execute(connection, "INSERT INTO nowhere VALUES (1)", NULL, 0, NULL, error),
                     DB_PERMANENT);
    /* From here on nothing may be done any more, least of all outside of the transaction. */
    assert_int_equal(db_execute(connection, "INSERT INTO t (name) VALUES ('stray')", NULL, 0, NULL, &second),
                     DB_PERMANENT);
    assert_string_equal(second.text, error->text);
    assert_int_equal(db_commit(connection, &second), DB_PERMANENT);
    return DB_PERMANENT;
}

static void a_transaction_that_failed_takes_nothing_more(void **state)
{
    struct fixture *fixture = *state;
    struct db_job job = {.run = go_on_after_failure};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job), DB_PERMANENT);
    assert_int_equal(count_rows(db), 0);
    db_close(db);
}

static enum db_result misuse(struct db_job *base, struct db_connection *connection, struct error *error)
{
    (void)base;
    assert_int_equal(db_commit(connection, error), DB_PERMANENT);
    assert_int_equal(db_begin(connection, error), DB_OK);
    assert_int_equal(db_begin(connection, error), DB_PERMANENT);
    db_rollback(connection);
    db_rollback(connection);
    return DB_OK;
}

static void transactions_do_not_nest_and_commit_needs_one(void **state)
{
    struct fixture *fixture = *state;
    struct db_job job = {.run = misuse};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    db_close(db);
}

struct nested_job {
    struct db_job job;
    struct db_connection *connection;
    enum db_result inner;
};

static bool query_inside(void *argument, const struct db_value *columns, size_t count)
{
    struct nested_job *job = argument;
    struct error error;

    (void)columns;
    (void)count;
    job->inner = db_execute(job->connection, "DELETE FROM t", NULL, 0, NULL, &error);
    return true;
}

static enum db_result run_nested(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct nested_job *job = CONTAINER_OF(base, struct nested_job, job);

    job->connection = connection;
    return db_query(connection, "SELECT name FROM t", NULL, 0, query_inside, job, error);
}

static void a_statement_inside_of_a_row_function_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct nested_job job = {.job = {.run = run_nested}};
    struct db *db;

    shell_like_create(fixture->path, TABLE "INSERT INTO t (name) VALUES ('a')");
    db = open_pool(fixture, 1, 16, 2000);
    assert_int_equal(db_run_wait(db, &job.job), DB_OK);
    assert_int_equal(job.inner, DB_PERMANENT);
    assert_int_equal(count_rows(db), 1);
    db_close(db);
}

/* ---- concurrency ---- */

/* Another process's writer, as SQLite sees it. */
static sqlite3 *lock_file(const struct fixture *fixture)
{
    sqlite3 *handle = NULL;

    assert_int_equal(sqlite3_open(fixture->path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(handle, 10000), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return handle;
}

static void a_locked_file_is_transient_and_reading_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct transaction_job job = {.job = {.run = run_transaction}, .commit = true};
    sqlite3 *other;
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 1000);
    /* The pool has the file open now: while it turns the file to WAL, SQLite refuses others without waiting. */
    assert_int_equal(count_rows(db), 0);
    other = lock_file(fixture);
    assert_int_equal(db_run_wait(db, &job.job), DB_TRANSIENT);
    assert_true(job.times >= 2); /* it was tried again until its time was over */
    assert_non_null(strstr(job.job.error.text, "locked"));
    assert_non_null(strstr(job.job.error.text, "BEGIN")); /* reported before anything was read */
    assert_int_equal(count_rows(db), 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(db_run_wait(db, &job.job), DB_OK);
    assert_int_equal(count_rows(db), 2);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    db_close(db);
}

struct increment_job {
    struct db_job job;
    atomic_int *left;
    struct loop *loop;
    int64_t value;
};

static bool keep_value(void *argument, const struct db_value *columns, size_t count)
{
    int64_t *value = argument;

    assert_int_equal(count, 1);
    return db_value_integer(&columns[0], value);
}

/* Reads, then writes what it read plus one: loses counts unless begin takes the lock at once. */
static enum db_result run_increment(struct db_job *base, struct db_connection *connection,
                                    struct error *error)
{
    struct increment_job *job = CONTAINER_OF(base, struct increment_job, job);
    enum db_result result = db_begin(connection, error);

    if (result == DB_OK)
        result = db_query(connection, "SELECT number FROM t WHERE name = 'n'", NULL, 0, keep_value,
                          &job->value, error);
    if (result == DB_OK) {
        struct db_value next = db_integer(job->value + 1);
        result = db_execute(connection, "UPDATE t SET number = ? WHERE name = 'n'", &next, 1, NULL, error);
    }
    return result == DB_OK ? db_commit(connection, error) : result;
}

static void increment_done(struct db_job *base)
{
    struct increment_job *job = CONTAINER_OF(base, struct increment_job, job);

    assert_ptr_equal(loop_current(), job->loop);
    assert_string_equal(base->error.text, "");
    assert_int_equal(base->result, DB_OK);
    if (atomic_fetch_sub(job->left, 1) == 1)
        loop_stop(job->loop);
}

static void concurrent_transactions_of_two_pools_lose_no_count(void **state)
{
    enum { COUNT = 200 };
    struct fixture *fixture = *state;
    static struct increment_job jobs[COUNT];
    struct statement_job read = {.job = {.run = run_statement}, .sql = "SELECT number FROM t"};
    struct error error = {0};
    struct loop *loop = loop_create("test", &error);
    atomic_int left = COUNT;
    struct db *pools[2];

    assert_non_null(loop);
    snprintf(fixture->url, sizeof(fixture->url), "sqlite:%s?busy_timeout=30s", fixture->path);
    shell_like_create(fixture->path, TABLE "INSERT INTO t (name, number) VALUES ('n', 0)");
    for (int i = 0; i < 2; i++)
        pools[i] = open_pool(fixture, 4, COUNT, 60000);
    for (int i = 0; i < COUNT; i++) {
        jobs[i] = (struct increment_job){.left = &left, .loop = loop};
        jobs[i].job.run = run_increment;
        jobs[i].job.done = increment_done;
        jobs[i].job.loop = loop;
        assert_true(db_submit(pools[i % 2], &jobs[i].job));
    }
    loop_run(loop);
    must_run(pools[0], &read);
    assert_int_equal(read.integer, COUNT);
    for (int i = 0; i < 2; i++)
        db_close(pools[i]);
    loop_destroy(loop);
}

/* ---- the queue ---- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    int inside;
};

struct gate_job {
    struct db_job job;
    struct gate *gate;
    bool done;
};

static enum db_result run_gate(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct gate *gate = CONTAINER_OF(base, struct gate_job, job)->gate;

    (void)connection;
    (void)error;
    pthread_mutex_lock(&gate->lock);
    gate->inside++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    return DB_OK;
}

static void gate_done(struct db_job *base)
{
    CONTAINER_OF(base, struct gate_job, job)->done = true;
}

static void wait_inside(struct gate *gate, int count)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->inside < count)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static int count_inside(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    int inside = gate->inside;
    pthread_mutex_unlock(&gate->lock);
    return inside;
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void stop_loop(struct task *task)
{
    (void)task;
    loop_stop(loop_current());
}

/* Runs what was posted to LOOP so far. */
static void drain(struct loop *loop)
{
    struct task task = {.run = stop_loop};

    loop_post(loop, &task);
    loop_run(loop);
}

#define GATE                                                                                                 \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                               \
    }

static void make_gate_job(struct gate_job *job, struct gate *gate, struct loop *loop)
{
    *job = (struct gate_job){.gate = gate};
    job->job.run = run_gate;
    job->job.done = gate_done;
    job->job.loop = loop;
}

/* What this PRAGMA says inside of and behind a relaxed transaction. */
struct relaxed_job {
    struct db_job job;
    const char *pragma;
    bool commit;
    int64_t inside, behind;
};

static bool note_integer(void *argument, const struct db_value *columns, size_t count)
{
    assert_int_equal(count, 1);
    assert_true(db_value_integer(&columns[0], argument));
    return true;
}

static enum db_result run_relaxed(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct relaxed_job *job = CONTAINER_OF(base, struct relaxed_job, job);
    assert_int_equal(db_begin_relaxed(connection, error), DB_OK);
    assert_int_equal(db_begin_relaxed(connection, error), DB_PERMANENT); /* no transaction inside of one */
    assert_int_equal(db_query(connection, job->pragma, NULL, 0, note_integer, &job->inside, error), DB_OK);
    if (job->commit)
        assert_int_equal(db_commit(connection, error), DB_OK);
    else
        db_rollback(connection);
    return db_query(connection, job->pragma, NULL, 0, note_integer, &job->behind, error);
}

static void expect_around_relaxed(struct fixture *fixture, const char *pragma, int64_t inside, int64_t behind)
{
    shell_like_create(fixture->path, TABLE);
    struct db *db = open_pool(fixture, 1, 10, 60000);
    for (int commit = 0; commit < 2; commit++) {
        struct relaxed_job job = {.job = {.run = run_relaxed}, .pragma = pragma, .commit = commit};
        assert_int_equal(db_run_wait(db, &job.job), DB_OK);
        assert_int_equal(job.inside, inside);
        assert_int_equal(job.behind, behind);
    }
    db_close(db);
}

static void only_a_relaxed_transaction_is_not_synced(void **state)
{
    expect_around_relaxed(*state, "PRAGMA synchronous", 1 /* NORMAL */, 2 /* FULL */);
}

/* 0: its pages are not brought into the file by the commit, see db_wal.h. */
static void only_a_relaxed_transaction_lets_the_wal_grow(void **state)
{
    expect_around_relaxed(*state, "PRAGMA wal_autocheckpoint", 0, 1000);
}

static enum db_result fill_relaxed(struct db_job *base, struct db_connection *connection, struct error *error)
{
    (void)base;
    assert_int_equal(db_begin_relaxed(connection, error), DB_OK);
    assert_int_equal(
        db_execute(connection, "INSERT INTO t (name) VALUES (randomblob(6000000))", NULL, 0, NULL, error),
        DB_OK);
    return db_commit(connection, error);
}

static void what_relaxed_transactions_leave_in_the_wal_comes_into_the_file(void **state)
{
    struct fixture *fixture = *state;
    struct stat file = {0};
    shell_like_create(fixture->path, TABLE);
    struct db *db = open_pool(fixture, 1, 10, 60000);
    struct db_job job = {.run = fill_relaxed};
    assert_int_equal(db_run_wait(db, &job), DB_OK);
    for (int waited = 0; file.st_size < 6000000;
         waited++) { /* while the pool is open: its end brings all of it there */
        assert_true(waited < 60000);
        usleep(1000);
        assert_int_equal(stat(fixture->path, &file), 0);
    }
    db_close(db);
}

static void jobs_run_side_by_side(void **state)
{
    struct fixture *fixture = *state;
    struct gate gates[3] = {GATE, GATE, GATE};
    struct gate_job jobs[3][4];
    struct error error = {0};
    struct loop *loop = loop_create("test", &error);

    assert_non_null(loop);
    shell_like_create(fixture->path, TABLE);
    struct db *db = open_pool(fixture, 4, 0, 60000);
    for (int round = 0; round < 3; round++) { /* later ones are woken, each by the one before */
        usleep(20000);                        /* the threads fall asleep */
        for (int i = 0; i < 4; i++) {
            make_gate_job(&jobs[round][i], &gates[round], loop);
            while (!db_submit(db, &jobs[round][i].job)) /* until the threads are there */
                usleep(1000);
        }
        for (int waited = 0; count_inside(&gates[round]) < 4; waited++) {
            assert_true(waited < 20000);
            usleep(1000);
        }
        open_gate(&gates[round]);
    }
    db_close(db);
    drain(loop);
    loop_destroy(loop);
}

/* A job that comes again and again, and counts by how many threads. */
struct chain {
    struct db_job job;
    struct db *db;
    pthread_t thread;
    int runs, changes;
    sem_t end;
};

static enum db_result run_link(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct chain *chain = CONTAINER_OF(base, struct chain, job);

    (void)connection;
    (void)error;
    if (chain->runs++ > 0 && !pthread_equal(chain->thread, pthread_self()))
        chain->changes++;
    chain->thread = pthread_self();
    return DB_OK;
}

static void link_done(struct db_job *base)
{
    struct chain *chain = CONTAINER_OF(base, struct chain, job);

    assert_int_equal(base->result, DB_OK);
    if (chain->runs < 5000)
        assert_true(db_submit(chain->db, base));
    else
        sem_post(&chain->end);
}

static void what_follows_a_job_is_for_the_thread_that_ran_it(void **state)
{
    struct fixture *fixture = *state;
    shell_like_create(fixture->path, TABLE);
    struct db *db = open_pool(fixture, 4, 10, 5000);
    struct error error;
    struct loop *loop = loop_create("chain", &error);
    struct chain chain = {.job = {.run = run_link, .done = link_done, .loop = loop}, .db = db};

    assert_non_null(loop);
    assert_true(loop_start(loop, &error));
    sem_init(&chain.end, 0, 0);
    assert_true(db_submit(db, &chain.job));
    assert_int_equal(sem_wait(&chain.end), 0);
    /* The first thread looks after the database now and then, and is the last one to fall asleep then. */
    assert_in_range(chain.changes, 0, 20);
    db_close(db);
    loop_destroy(loop);
    sem_destroy(&chain.end);
}

static void signal_end(struct db_job *base)
{
    sem_post(&CONTAINER_OF(base, struct chain, job)->end);
}

static void a_thread_is_woken_when_the_mutex_is_free(void **state)
{
    struct fixture *fixture = *state;
    shell_like_create(fixture->path, TABLE);
    struct db *db = open_pool(fixture, 2, 10, 5000);
    struct error error;
    struct loop *loop = loop_create("woken", &error);
    struct chain chain = {.job = {.run = run_link, .done = signal_end, .loop = loop}, .db = db};

    assert_non_null(loop);
    assert_true(loop_start(loop, &error));
    sem_init(&chain.end, 0, 0);
    int before = atomic_load(&held_signals), all = atomic_load(&all_signals);
    for (int i = 0; i < 20; i++) {
        usleep(1000); /* they are asleep by now, mostly */
        assert_true(db_submit(db, &chain.job));
        assert_int_equal(sem_wait(&chain.end), 0);
    }
    assert_true(atomic_load(&all_signals) > all);
    assert_int_equal(atomic_load(&held_signals), before);
    db_close(db);
    loop_destroy(loop);
    sem_destroy(&chain.end);
}

static void a_full_queue_refuses_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct gate gate = GATE;
    struct gate_job jobs[4];
    struct error error = {0};
    struct loop *loop = loop_create("test", &error);
    struct statement_job late = {.job = {.run = run_statement}, .sql = "SELECT 1"};
    struct db *db;

    assert_non_null(loop);
    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 2, 60000);
    for (int i = 0; i < 4; i++)
        make_gate_job(&jobs[i], &gate, loop);
    assert_true(db_submit(db, &jobs[0].job));
    wait_inside(&gate, 1);
    assert_true(db_submit(db, &jobs[1].job));
    assert_true(db_submit(db, &jobs[2].job));
    assert_false(db_submit(db, &jobs[3].job));
    expect_failure(db, &late, DB_TRANSIENT, "queue is full");
    open_gate(&gate);
    wait_inside(&gate, 3);
    db_close(db);
    drain(loop);
    for (int i = 0; i < 3; i++) {
        assert_true(jobs[i].done);
        assert_int_equal(jobs[i].job.result, DB_OK);
    }
    assert_false(jobs[3].done);
    loop_destroy(loop);
}

static void a_job_that_nobody_can_take_ends_when_its_time_is_over(void **state)
{
    struct fixture *fixture = *state;
    struct gate gate = GATE;
    struct gate_job stuck;
    struct statement_job late = {.job = {.run = run_statement}, .sql = "SELECT 1"};
    struct error error = {0};
    struct loop *loop = loop_create("test", &error);
    struct db *db;

    assert_non_null(loop);
    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 300);
    make_gate_job(&stuck, &gate, loop);
    assert_true(db_submit(db, &stuck.job));
    wait_inside(&gate, 1);
    /* The only thread hangs until the gate opens, which it does not before this returns. */
    expect_failure(db, &late, DB_TRANSIENT, "no connection was free in time");
    open_gate(&gate);
    db_close(db);
    drain(loop);
    assert_true(stuck.done);
    loop_destroy(loop);
}

static void *close_pool(void *argument)
{
    db_close(argument);
    return NULL;
}

static void closing_ends_the_jobs_that_wait_and_waits_for_the_one_that_runs(void **state)
{
    struct fixture *fixture = *state;
    struct gate gate = GATE;
    struct gate_job jobs[3];
    struct error error = {0};
    struct loop *loop = loop_create("test", &error);
    int64_t deadline = clock_monotonic_ms() + 20000;
    pthread_t closer;
    struct db *db;

    assert_non_null(loop);
    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 60000);
    for (int i = 0; i < 3; i++)
        make_gate_job(&jobs[i], &gate, loop);
    assert_true(db_submit(db, &jobs[0].job));
    wait_inside(&gate, 1);
    assert_true(db_submit(db, &jobs[1].job));
    assert_true(db_submit(db, &jobs[2].job));
    assert_int_equal(pthread_create(&closer, NULL, close_pool, db), 0);
    while (!jobs[2].done && clock_monotonic_ms() < deadline)
        drain(loop);
    assert_true(jobs[1].done);
    assert_true(jobs[2].done);
    assert_int_equal(jobs[1].job.result, DB_TRANSIENT);
    assert_non_null(strstr(jobs[1].job.error.text, "closed"));
    assert_false(jobs[0].done);
    open_gate(&gate);
    assert_int_equal(pthread_join(closer, NULL), 0);
    drain(loop);
    assert_true(jobs[0].done);
    assert_int_equal(jobs[0].job.result, DB_OK);
    loop_destroy(loop);
}

/* ---- running again ---- */

struct stubborn_job {
    struct db_job job;
    int times, good_at;
    enum db_result failure;
};

static enum db_result run_stubborn(struct db_job *base, struct db_connection *connection, struct error *error)
{
    struct stubborn_job *job = CONTAINER_OF(base, struct stubborn_job, job);

    (void)connection;
    if (++job->times == job->good_at)
        return DB_OK;
    error_set(error, ERROR_UNAVAILABLE, "attempt %d", job->times);
    return job->failure;
}

static void a_transient_failure_is_run_again_until_it_works(void **state)
{
    struct fixture *fixture = *state;
    struct stubborn_job job = {.job = {.run = run_stubborn}, .good_at = 4, .failure = DB_TRANSIENT};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 60000);
    assert_int_equal(db_run_wait(db, &job.job), DB_OK);
    assert_int_equal(job.times, 4);
    assert_string_equal(job.job.error.text, "");
    db_close(db);
}

static void an_uncertain_outcome_is_run_again_only_where_that_is_harmless(void **state)
{
    struct fixture *fixture = *state;
    struct stubborn_job once = {.job = {.run = run_stubborn}, .good_at = 2, .failure = DB_UNCERTAIN};
    struct stubborn_job idempotent = {
        .job = {.run = run_stubborn, .idempotent = true}, .good_at = 2, .failure = DB_UNCERTAIN};
    struct stubborn_job permanent = {.job = {.run = run_stubborn}, .good_at = 2, .failure = DB_PERMANENT};
    struct db *db;

    shell_like_create(fixture->path, TABLE);
    db = open_pool(fixture, 1, 16, 60000);
    assert_int_equal(db_run_wait(db, &once.job), DB_UNCERTAIN);
    assert_int_equal(once.times, 1);
    assert_string_equal(once.job.error.text, "attempt 1");
    assert_int_equal(db_run_wait(db, &idempotent.job), DB_OK);
    assert_int_equal(idempotent.times, 2);
    assert_int_equal(db_run_wait(db, &permanent.job), DB_PERMANENT);
    assert_int_equal(permanent.times, 1);
    db_close(db);
}

static void impossible_options_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct db_options options = {.url = fixture->url, .threads = 0, .queue_max = 1, .job_timeout_ms = 1000};
    struct error error = {0};

    assert_null(db_open(&options, &error));
    assert_non_null(strstr(error.text, "threads"));
    options.threads = 1;
    options.job_timeout_ms = 0;
    assert_null(db_open(&options, &error));
    options.job_timeout_ms = 1000;
    options.url = "mysql://user:secret@host";
    assert_null(db_open(&options, &error));
    assert_null(strstr(error.text, "secret"));
}

#define WITH_FILE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_that_is_wrong_is_refused_with_what_would_be_right),
        cmocka_unit_test(a_url_that_is_right_is_taken),
        cmocka_unit_test(a_redacted_url_never_shows_the_password),
        cmocka_unit_test(a_value_becomes_an_integer_only_where_it_is_one),
        cmocka_unit_test(a_value_becomes_text_and_says_when_it_was_cut),
        WITH_FILE(bytes_come_back_as_they_were_given),
        WITH_FILE(null_is_told_apart_from_an_empty_text),
        WITH_FILE(what_an_administrator_typed_is_found),
        WITH_FILE(reading_ends_where_the_row_function_says_so),
        WITH_FILE(affected_counts_the_rows_that_matched),
        WITH_FILE(more_statements_than_the_cache_holds_are_all_run),
        WITH_FILE(a_duplicate_is_a_constraint_and_changes_nothing),
        WITH_FILE(bad_sql_a_missing_table_and_wrong_parameters_are_permanent),
        WITH_FILE(a_missing_file_is_not_created_and_is_found_once_it_is_there),
        WITH_FILE(what_others_could_read_is_closed_to_them),
        WITH_FILE(without_wal_a_commit_syncs_the_directory_too),
        WITH_FILE(a_database_that_comes_is_noticed_without_a_job),
        WITH_FILE(a_file_that_is_no_database_is_permanent_and_a_repaired_one_is_used),
        WITH_FILE(who_waits_for_a_job_has_given_the_mutex_back),
        WITH_FILE(a_file_that_was_replaced_is_opened_anew),
        WITH_FILE(a_file_that_may_not_be_written_is_permanent),
        WITH_FILE(a_full_disk_is_reported_as_such_and_nothing_is_stored),
        WITH_FILE(a_transaction_counts_when_it_is_committed_and_only_then),
        WITH_FILE(a_transaction_goes_on_after_a_refused_row),
        WITH_FILE(a_transaction_that_failed_takes_nothing_more),
        WITH_FILE(transactions_do_not_nest_and_commit_needs_one),
        WITH_FILE(a_statement_inside_of_a_row_function_is_refused),
        WITH_FILE(a_locked_file_is_transient_and_reading_goes_on),
        WITH_FILE(concurrent_transactions_of_two_pools_lose_no_count),
        WITH_FILE(only_a_relaxed_transaction_is_not_synced),
        WITH_FILE(only_a_relaxed_transaction_lets_the_wal_grow),
        WITH_FILE(what_relaxed_transactions_leave_in_the_wal_comes_into_the_file),
        WITH_FILE(jobs_run_side_by_side),
        WITH_FILE(what_follows_a_job_is_for_the_thread_that_ran_it),
        WITH_FILE(a_thread_is_woken_when_the_mutex_is_free),
        WITH_FILE(a_full_queue_refuses_at_once),
        WITH_FILE(a_job_that_nobody_can_take_ends_when_its_time_is_over),
        WITH_FILE(closing_ends_the_jobs_that_wait_and_waits_for_the_one_that_runs),
        WITH_FILE(a_transient_failure_is_run_again_until_it_works),
        WITH_FILE(an_uncertain_outcome_is_run_again_only_where_that_is_harmless),
        WITH_FILE(impossible_options_are_refused),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
