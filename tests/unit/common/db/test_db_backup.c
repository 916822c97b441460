/*
 * test_db_backup: copies of an SQLite database that is in use, and URLs out of files.
 */
#include "common/base/log.h"
#include "common/db/db_backup.h"
#include "common/db/db_url_file.h"
#include "tests/unit/library/files.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], source[128], copy[128], url[192];

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/test_db_backup.XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(source, sizeof(source), "%s/meta.db", directory);
    snprintf(copy, sizeof(copy), "%s/copy.db", directory);
    snprintf(url, sizeof(url), "sqlite:%s", source);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_tree(directory);
    return 0;
}

static sqlite3 *open_file(const char *path)
{
    sqlite3 *handle = NULL;

    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    return handle;
}

static void run(sqlite3 *handle, const char *sql)
{
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
}

static int keep_count(void *argument, int count, char **values, char **names)
{
    (void)names;
    assert_int_equal(count, 1);
    *(int *)argument = atoi(values[0]);
    return 0;
}

static int rows_of(const char *path)
{
    sqlite3 *handle = open_file(path);
    int rows = -1;

    assert_int_equal(sqlite3_exec(handle, "SELECT COUNT(*) FROM t", keep_count, &rows, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
    return rows;
}

static bool is_there(const char *ending)
{
    char path[160];

    snprintf(path, sizeof(path), "%s%s", copy, ending);
    return access(path, F_OK) == 0;
}

static void a_copy_has_what_was_committed_a_moment_ago(void **state)
{
    sqlite3 *writer = open_file(source);
    struct error error = {0};
    struct stat made;

    (void)state;
    /* Nothing of this is in the file itself yet: a plain copy of it would be empty. */
    run(writer, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a); INSERT INTO t "
                "VALUES (1)");
    assert_true(db_backup(url, copy, NULL, &error));
    assert_int_equal(rows_of(copy), 1);
    assert_int_equal(stat(copy, &made), 0);
    assert_int_equal(made.st_mode & 07777, 0640);
    assert_false(is_there(".part"));
    /* Again, over the older one, while a transaction is open: it is not in the copy. */
    run(writer, "INSERT INTO t VALUES (2); BEGIN; INSERT INTO t VALUES (3)");
    assert_true(db_backup(url, copy, NULL, &error));
    run(writer, "COMMIT");
    assert_int_equal(rows_of(copy), 2);
    assert_int_equal(rows_of(source), 3);
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
}

static void a_failure_leaves_the_older_copy_alone(void **state)
{
    sqlite3 *writer = open_file(source);
    struct error error = {0};
    char nowhere[192];

    (void)state;
    run(writer, "CREATE TABLE t (a); INSERT INTO t SELECT hex(randomblob(500)) FROM (WITH RECURSIVE n(i) AS "
                "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i FROM n)");
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
    assert_true(db_backup(url, copy, NULL, &error));
    /* Pages in the middle of the source are destroyed. */
    int fd = open(source, O_WRONLY | O_CLOEXEC);
    char junk[8192];
    memset(junk, 0x5a, sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 4096 * 4), sizeof(junk));
    assert_int_equal(close(fd), 0);
    assert_false(db_backup(url, copy, NULL, &error));
    assert_non_null(strstr(error.text, "is damaged"));
    assert_int_equal(rows_of(copy), 200);
    assert_false(is_there(".part"));

    assert_int_equal(unlink(source), 0);
    assert_false(db_backup(url, copy, NULL, &error));
    assert_non_null(strstr(error.text, "meta.db"));
    assert_int_equal(access(source, F_OK), -1);
    assert_int_equal(rows_of(copy), 200);

    snprintf(nowhere, sizeof(nowhere), "%s/no/folder.db", directory);
    fd = open(source, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(close(fd), 0);
    assert_false(db_backup(url, nowhere, NULL, &error));
    assert_non_null(strstr(error.text, nowhere));
    assert_false(db_backup("mysql://u:secret@h/d", copy, NULL, &error));
    assert_non_null(strstr(error.text, "mariadb-dump"));
    assert_null(strstr(error.text, "secret"));
}

static void put(const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    assert_int_equal(close(fd), 0);
}

static void a_url_comes_out_of_a_file(void **state)
{
    static const struct {
        const char *text;
        size_t size; /* 0: of the text */
        const char *url;
    } cases[] = {
        {"mysql://u:secret@h/d", 0, "mysql://u:secret@h/d"},
        {"  mysql://u:secret@h/d \r\n\n", 0, "mysql://u:secret@h/d"},
        {"mysql://u:secret@h/d\nmysql://u:secret@h2/d\n", 0, NULL},
        {"", 0, NULL},
        {"\n\n", 0, NULL},
        {"mysql://u:secret\0@h/d", 22, NULL},
    };
    struct error error = {0};
    char path[160], *large = calloc(1, 5000);

    (void)state;
    assert_non_null(large);
    snprintf(path, sizeof(path), "%s/url", directory);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put(path, cases[i].text, cases[i].size > 0 ? cases[i].size : strlen(cases[i].text));
        char *text = db_url_file_read(path, &error);
        if (cases[i].url) {
            assert_non_null(text);
            assert_string_equal(text, cases[i].url);
        } else {
            assert_null(text);
            assert_non_null(strstr(error.text, path));
            assert_null(strstr(error.text, "secret"));
        }
        db_url_file_forget(text);
    }
    memset(large, 'x', 4999);
    put(path, large, 4999);
    assert_null(db_url_file_read(path, &error));
    free(large);
}

static void a_name_without_a_slash_is_a_credential(void **state)
{
    struct error error = {0};
    char path[160], *text;

    (void)state;
    snprintf(path, sizeof(path), "%s/database", directory);
    put(path, "sqlite:/x\n", 10);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_null(db_url_file_read("database", &error));
    assert_non_null(strstr(error.text, "LoadCredential=database:"));
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    text = db_url_file_read("database", &error);
    assert_non_null(text);
    assert_string_equal(text, "sqlite:/x");
    db_url_file_forget(text);
    assert_null(db_url_file_read("another", &error));
    assert_non_null(strstr(error.text, "another"));
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_has_what_was_committed_a_moment_ago, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_leaves_the_older_copy_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_url_comes_out_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_without_a_slash_is_a_credential, set_up, tear_down),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
