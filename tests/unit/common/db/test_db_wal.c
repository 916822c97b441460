/*
 * test_db_wal: when SQLite's WAL is brought into the file beside those who commit, and when one of them has to do it.
 */
#include "common/db/db_wal.h"
#include "tests/unit/library/files.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_MS 60000

struct world {
    char directory[64], path[96];
    struct db_url url;
    struct db_wal wal;
    sqlite3 *writer;
};

static void run(sqlite3 *handle, const char *sql)
{
    char *text = NULL;
    if (sqlite3_exec(handle, sql, NULL, NULL, &text) != SQLITE_OK)
        fail_msg("%s: %s", sql, text);
}

static void start(struct world *world)
{
    struct error error = {0};
    char text[128];
    *world = (struct world){.directory = "/tmp/reel-db-wal-XXXXXX"};
    assert_non_null(mkdtemp(world->directory));
    snprintf(world->path, sizeof(world->path), "%s/x.db", world->directory);
    snprintf(text, sizeof(text), "sqlite:%s", world->path);
    assert_true(db_url_parse(text, &world->url, &error));
    assert_int_equal(sqlite3_open(world->path, &world->writer), SQLITE_OK);
    run(world->writer, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF;"
                       "CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE)");
    assert_true(db_wal_init(&world->wal, &error));
}

static void end(struct world *world)
{
    db_wal_destroy(&world->wal);
    assert_int_equal(sqlite3_close(world->writer), SQLITE_OK);
    db_url_clear(&world->url);
    remove_tree(world->directory);
}

static bool grew(struct world *world, int pages)
{
    return db_wal_grew(&world->wal, &world->url, pages);
}

static int runs(struct world *world)
{
    pthread_mutex_lock(&world->wal.lock);
    int count = world->wal.wanted ? -1 : world->wal.runs;
    pthread_mutex_unlock(&world->wal.lock);
    return count;
}

static void await_runs(struct world *world, int count)
{
    for (int waited = 0; runs(world) != count; waited++) {
        assert_true(waited < WAIT_MS);
        usleep(1000);
    }
}

static long size_of(const char *path)
{
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    return (long)file.st_size;
}

/* What was committed is in the file, which only the thread can have done: the writer leaves it in the WAL. */
static void the_thread_brings_pages_into_the_file(void **state)
{
    struct world world;
    (void)state;
    start(&world);
    run(world.writer, "INSERT INTO t VALUES (randomblob(6000000))");
    assert_true(size_of(world.path) < 100000);
    assert_false(grew(&world, 1480));
    await_runs(&world, 1);
    assert_true(size_of(world.path) > 6000000);
    end(&world);
}

static void it_is_asked_once_per_step(void **state)
{
    struct world world;
    (void)state;
    start(&world);
    assert_false(grew(&world, DB_WAL_STEP - 1));
    assert_false(world.wal.started);
    assert_false(grew(&world, DB_WAL_STEP));
    await_runs(&world, 1);
    assert_false(grew(&world, DB_WAL_STEP + 1));
    assert_false(grew(&world, 2 * DB_WAL_STEP - 1));
    assert_int_equal(runs(&world), 1);
    assert_false(grew(&world, 2 * DB_WAL_STEP + 5));
    await_runs(&world, 2);
    /* It began anew at its front. */
    assert_false(grew(&world, 3));
    assert_false(grew(&world, DB_WAL_STEP));
    await_runs(&world, 3);
    end(&world);
}

/* Where the thread never finds the moment in which nothing is left for it the WAL does not grow for good. */
static void a_commit_does_it_once_the_wal_is_large(void **state)
{
    struct world world;
    (void)state;
    start(&world);
    assert_false(grew(&world, DB_WAL_MAX - 1));
    assert_true(grew(&world, DB_WAL_MAX));
    assert_true(grew(&world, DB_WAL_MAX + 1));
    assert_false(grew(&world, 1));
    end(&world);
}

/* A reader keeps what it sees; the thread waits for nobody, and does the rest when it is asked again. */
static void a_reader_is_not_waited_for(void **state)
{
    struct world world;
    sqlite3 *reader;
    (void)state;
    start(&world);
    assert_int_equal(sqlite3_open(world.path, &reader), SQLITE_OK);
    run(reader, "BEGIN; SELECT count(*) FROM t");
    run(world.writer, "INSERT INTO t VALUES (randomblob(6000000))");
    assert_false(grew(&world, 1480));
    await_runs(&world, 1);
    assert_true(size_of(world.path) < 100000);
    run(reader, "COMMIT");
    assert_false(grew(&world, 2480));
    await_runs(&world, 2);
    assert_true(size_of(world.path) > 6000000);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    end(&world);
}

/* A file that is not there any more is nobody's fault here: whoever writes finds it out. */
static void a_file_that_is_gone_does_no_harm(void **state)
{
    struct world world;
    struct error error = {0};
    (void)state;
    start(&world);
    struct db_url gone;
    assert_true(db_url_parse("sqlite:/nonexistent/x.db", &gone, &error));
    assert_false(db_wal_grew(&world.wal, &gone, DB_WAL_STEP));
    await_runs(&world, 1);
    end(&world);
    db_url_clear(&gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_thread_brings_pages_into_the_file),
        cmocka_unit_test(it_is_asked_once_per_step),
        cmocka_unit_test(a_commit_does_it_once_the_wal_is_large),
        cmocka_unit_test(a_reader_is_not_waited_for),
        cmocka_unit_test(a_file_that_is_gone_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
