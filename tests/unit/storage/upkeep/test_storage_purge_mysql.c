/* Rows with one path are marked for the purge together or not at all, and a row that is being added keeps its file, on a real MariaDB,
 * where others change rows at the same moment. */
#include "common/db/db.h"
#include "common/db/schema.h"
#include "sql/storage_sql.h"
#include "storage/upkeep/upkeep_sql.h"
#include "tests/unit/library/mariadb_server.h"

#include <pthread.h>
#include <stdatomic.h>

#define FILE_PATH "../data/000/000/000/5F9E3FA7_003"

static struct mariadb_server server;
static char url[256];

static int start_server(void **state)
{
    struct error error = {0};
    (void)state;
    if (!mariadb_server_installed())
        return 0;
    mariadb_server_start(&server);
    mariadb_server_execute(&server, "CREATE DATABASE reel_test CHARACTER SET utf8mb4");
    snprintf(url, sizeof(url), "mysql://%s@127.0.0.1:%u/reel_test", MARIADB_SERVER_LOGIN, server.port);
    return schema_apply(url, &storage_schema, NULL, &error) ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    if (mariadb_server_installed())
        mariadb_server_destroy(&server);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    if (!mariadb_server_installed()) {
        print_message("SKIPPED: mariadbd and mariadb-install-db are not installed\n");
        skip();
    }
    mariadb_server_execute(&server, "USE reel_test; DROP TRIGGER IF EXISTS slow; DELETE FROM t_file_02; "
                                    "DELETE FROM t_file_03; DELETE FROM t_lease; "
                                    "INSERT INTO t_lease (name, owner) VALUES ('upkeep/group001', 'we')");
    return 0;
}

static void row(int table, int64_t row_id, const char *id, const char *more)
{
    char sql[512];
    snprintf(sql, sizeof(sql),
             "INSERT INTO reel_test.t_file_0%d (row_id, appid, userid, id, file_size, file_path, status, "
             "deleted_at) VALUES "
             "(%lld, 'tnvideo', 'alice', '%s', 1, '" FILE_PATH "', 1, 5)",
             table, (long long)row_id, id);
    mariadb_server_execute(&server, sql);
    snprintf(sql, sizeof(sql), "UPDATE reel_test.t_file_0%d SET id = id%s WHERE id = '%s'", table, more, id);
    mariadb_server_execute(&server, sql);
}

static int64_t status_of(int table, const char *id)
{
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT status FROM t_file_0%d WHERE id = '%s'", table, id);
    char *text = mariadb_server_read(&server, "reel_test", sql);
    int64_t status = strtoll(text, NULL, 10);
    free(text);
    return status;
}

/* ---- the mark, as the purge makes it ---- */

struct marking {
    struct db_job job;
    struct lease lease;
    bool shared, changed;
};

static enum db_result mark_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct marking *marking = CONTAINER_OF(job, struct marking, job);
    enum db_result result = db_begin(connection, error);
    marking->changed = false;
    if (result == DB_OK)
        result = upkeep_sql_mark_path(connection, &marking->lease, FILE_PATH, "group001", 1000,
                                      &marking->shared, &marking->changed, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static void mark(struct marking *marking)
{
    struct db_options options = {.url = url, .threads = 1, .queue_max = 8, .job_timeout_ms = 30000};
    struct error error = {0};
    *marking = (struct marking){.job = {.run = mark_run, .idempotent = true},
                                .lease = {.name = "upkeep/group001", .owner = "we"}};
    struct db *db = db_open(&options, &error);
    assert_non_null(db);
    enum db_result result = db_run_wait(db, &marking->job);
    assert_string_equal(marking->job.error.text, "");
    assert_int_equal(result, DB_OK);
    db_close(db);
}

static void all_or_none_are_marked(void **state)
{
    struct marking marking;
    (void)state;
    row(2, 1, "one", "");
    row(2, 2, "two", "");
    row(3, 1, "three", ", group_name = 'group001'");
    mark(&marking);
    assert_true(marking.changed && !marking.shared);
    assert_int_equal(status_of(2, "one"), 2);
    assert_int_equal(status_of(2, "two"), 2);
    assert_int_equal(status_of(3, "three"), 2);
    /* One that was deleted a moment ago. */
    (void)set_up(NULL);
    row(2, 1, "one", "");
    row(2, 2, "two", "");
    row(3, 1, "three", ", deleted_at = 2000");
    mark(&marking);
    assert_true(!marking.changed && marking.shared);
    assert_int_equal(status_of(2, "one"), 1);
    assert_int_equal(status_of(2, "two"), 1);
    assert_int_equal(status_of(3, "three"), 1);
    /* The lease is another one's. */
    (void)set_up(NULL);
    row(2, 1, "one", "");
    row(2, 2, "two", "");
    mariadb_server_execute(&server, "UPDATE reel_test.t_lease SET owner = 'another'");
    mark(&marking);
    assert_false(marking.changed);
    assert_int_equal(status_of(2, "two"), 1);
}

static void *mark_in_a_thread(void *argument)
{
    mark(argument);
    return NULL;
}

/* A row is restored while the first of the others is being marked: either that comes first and none is marked, or it finds the row
 * marked. Else the file would be removed with those that are. */
static void a_restoration_meanwhile_waits(void **state)
{
    struct marking marking;
    pthread_t thread;
    (void)state;
    row(2, 1, "one", "");
    row(2, 2, "two", "");
    row(2, 3, "three", "");
    mariadb_server_execute(&server,
                           "USE reel_test; CREATE TRIGGER slow BEFORE UPDATE ON t_file_02 FOR EACH ROW "
                           "IF NEW.id = 'two' AND NEW.status = 2 THEN SET @nothing = SLEEP(2); END IF");
    assert_int_equal(pthread_create(&thread, NULL, mark_in_a_thread, &marking), 0);
    char *sleeps = NULL;
    do { /* until it is at the first of the others */
        free(sleeps);
        usleep(10000);
        sleeps = mariadb_server_read(
            &server, "reel_test",
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'");
    } while (strtol(sleeps, NULL, 10) == 0);
    free(sleeps);
    mariadb_server_execute(&server,
                           "UPDATE reel_test.t_file_02 SET status = 0, deleted_at = -7 WHERE id = 'three' "
                           "AND status = 1 AND deleted_at = 5");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(marking.changed && !marking.shared);
    assert_int_equal(status_of(2, "one"), 2);
    assert_int_equal(status_of(2, "two"), 2);
    assert_int_equal(status_of(2, "three"), 2);
}

/* ---- a row whose COMMIT is still on its way ---- */

struct asking {
    struct db_job job;
    bool taken;
    atomic_bool over;
};

static enum db_result ask_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return upkeep_sql_taken(connection, FILE_PATH, &CONTAINER_OF(job, struct asking, job)->taken, error);
}

static void *ask_in_a_thread(void *argument)
{
    struct db_options options = {.url = url, .threads = 1, .queue_max = 8, .job_timeout_ms = 30000};
    struct asking *asking = argument;
    struct error error = {0};
    struct db *db = db_open(&options, &error);
    assert_non_null(db);
    assert_int_equal(db_run_wait(db, &asking->job), DB_OK);
    atomic_store(&asking->over, true);
    db_close(db);
    return NULL;
}

/* Who removes a file without a row, in the clean-up or after a partial upload's time, waits for it. */
static void a_row_that_is_being_added_is_waited_for(void **state)
{
    struct asking asking = {.job = {.run = ask_run, .idempotent = true}};
    MYSQL *mysql = mariadb_server_connect(&server);
    pthread_t thread;
    char *waits = NULL;
    (void)state;
    assert_non_null(mysql);
    assert_int_equal(mysql_query(mysql, "BEGIN"), 0);
    assert_int_equal(mysql_query(mysql,
                                 "INSERT INTO reel_test.t_file_03 (row_id, appid, userid, id, file_size, "
                                 "file_path) VALUES (1, 'tnvideo', 'alice', 'one', 1, '" FILE_PATH "')"),
                     0);
    assert_int_equal(pthread_create(&thread, NULL, ask_in_a_thread, &asking), 0);
    do {
        free(waits);
        usleep(200000); /* more often the server does not look */
        waits = mariadb_server_read(
            &server, "reel_test",
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'");
    } while (strtol(waits, NULL, 10) == 0 && !atomic_load(&asking.over));
    free(waits);
    assert_false(atomic_load(&asking.over));
    assert_int_equal(mysql_query(mysql, "COMMIT"), 0);
    mysql_close(mysql);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(asking.taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(all_or_none_are_marked, set_up),
        cmocka_unit_test_setup(a_restoration_meanwhile_waits, set_up),
        cmocka_unit_test_setup(a_row_that_is_being_added_is_waited_for, set_up),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
