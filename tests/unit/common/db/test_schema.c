/*
 * The scripts of sql/ as --init-db runs them and as an administrator runs them by hand, on both back ends:
 * fresh, again, on the predecessor's tables with rows in them, from states half-way, and with the server
 * killed under them.
 */
#include "common/db/db.h"
#include "common/base/log.h"
#include "common/db/schema.h"
#include "sql/idserver_sql.h"
#include "sql/storage_sql.h"
#include "sql/tracker_sql.h"

#include "tests/unit/library/mariadb_server.h"

#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

/* ---- both ---- */

/* Applies; what was reported on OUT is returned, to be freed. */
static char *apply(const char *url, const struct schema_scripts *scripts)
{
    struct error error = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    if (!schema_apply(url, scripts, out, &error))
        fail_msg("%s", error.text);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void apply_quietly(const char *url, const struct schema_scripts *scripts)
{
    struct error error = {0};

    if (!schema_apply(url, scripts, NULL, &error))
        fail_msg("%s", error.text);
}

static void expect_output(char *output, const char *text)
{
    if (strstr(output, text) == NULL)
        fail_msg("\"%s\" is not in:\n%s", text, output);
    free(output);
}

static void expect_equal(char *a, char *b)
{
    assert_string_equal(a, b);
    free(a);
    free(b);
}

/* ---- SQLite ---- */

struct place {
    char directory[64];
    char path[128];
    char url[160];
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    snprintf(place->directory, sizeof(place->directory), "/tmp/test_schema.XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/a/b/meta.db", place->directory);
    snprintf(place->url, sizeof(place->url), "sqlite:%s", place->path);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;

    mariadb_server_remove_folder(place->directory);
    assert_int_equal(access(place->directory, F_OK), -1);
    free(place);
    return 0;
}

static int append_row(void *argument, int count, char **values, char **names)
{
    FILE *out = argument;

    (void)names;
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%s", i > 0 ? "|" : "", values[i] != NULL ? values[i] : "NULL");
    fputc('\n', out);
    return 0;
}

/* Runs SQL as the sqlite3 shell does; the rows are returned, to be freed. */
static char *shell(const struct place *place, const char *sql)
{
    sqlite3 *handle = NULL;
    char *text = NULL, *message = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(sqlite3_open(place->path, &handle), SQLITE_OK);
    if (sqlite3_exec(handle, sql, append_row, out, &message) != SQLITE_OK)
        fail_msg("%s", message);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void run_shell(const struct place *place, const char *sql)
{
    free(shell(place, sql));
}

static char *shape(const struct place *place)
{
    return shell(place, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name");
}

static void a_fresh_file_gets_every_table_and_a_second_run_does_nothing(void **state)
{
    struct place *place = *state;
    char *before;

    expect_output(apply(place->url, &tracker_schema), "tracker: created table t_router\n");
    expect_output(apply(place->url, &idserver_schema), "idserver: created table t_id_gen\n");
    expect_output(apply(place->url, &storage_schema), "storage: created table t_file_03\n");
    expect_equal(shell(place, "SELECT group_name, state, weight FROM t_groups_info"),
                 strdup("group001|0|100\n"));
    run_shell(place,
              "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'alice', 'group001')");
    before = shape(place);
    expect_output(apply(place->url, &tracker_schema), "is up to date: nothing to do\n");
    expect_output(apply(place->url, &idserver_schema), "nothing to do");
    expect_output(apply(place->url, &storage_schema), "nothing to do");
    expect_equal(shape(place), before);
    expect_equal(shell(place, "SELECT COUNT(*) FROM t_router"), strdup("1\n"));
    expect_equal(shell(place, "PRAGMA journal_mode"), strdup("wal\n"));
}

static void by_hand_the_scripts_give_the_same_file(void **state)
{
    struct place *place = *state;
    struct place other = *place;
    struct stat made = {0};

    apply_quietly(place->url, &tracker_schema);
    assert_int_equal(stat(place->path, &made), 0);
    assert_int_equal(made.st_mode & 07777, 0640); /* nobody else's business */
    apply_quietly(place->url, &storage_schema);
    apply_quietly(place->url, &idserver_schema);
    snprintf(other.path, sizeof(other.path), "%s/by-hand.db", place->directory);
    for (int i = 0; i < 2; i++) {
        run_shell(&other, tracker_schema.sqlite);
        run_shell(&other, storage_schema.sqlite);
        run_shell(&other, idserver_schema.sqlite);
    }
    expect_equal(shape(&other), shape(place));
    expect_equal(shell(&other, "SELECT group_name FROM t_groups_info"), strdup("group001\n"));
}

static void the_first_group_is_added_to_an_empty_table_only(void **state)
{
    struct place *place = *state;

    apply_quietly(place->url, &tracker_schema);
    run_shell(place, "UPDATE t_groups_info SET group_name = 'west'");
    apply_quietly(place->url, &tracker_schema);
    expect_equal(shell(place, "SELECT group_name FROM t_groups_info"), strdup("west\n"));
}

static void a_file_id_is_unique_to_its_user_and_application(void **state)
{
    struct place *place = *state;
    sqlite3 *handle = NULL;

    apply_quietly(place->url, &storage_schema);
    run_shell(
        place,
        "INSERT INTO t_file_01 (id, appid, userid) VALUES ('f', 'app', 'alice'), ('f', 'app', 'Alice'), "
        "('f', 'app', 'alice '), ('F', 'app', 'alice'), ('f', 'other', 'alice')");
    assert_int_equal(sqlite3_open(place->path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle,
                                  "INSERT INTO t_file_01 (id, appid, userid) VALUES ('f', 'app', 'alice')",
                                  NULL, NULL, NULL),
                     SQLITE_CONSTRAINT);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void a_changed_row_shows_when(void **state)
{
    struct place *place = *state;

    apply_quietly(place->url, &idserver_schema);
    expect_equal(shell(place,
                       "INSERT INTO t_id_gen (id, id_value, update_time) VALUES ('../data', 0, 'long ago'); "
                       "UPDATE t_id_gen SET id_value = 100; SELECT changes(); "
                       "SELECT update_time LIKE '20%' FROM t_id_gen"),
                 strdup("1\n1\n"));
}

static void a_script_that_is_wrong_is_reported_with_its_line_and_leaves_nothing(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"CREATE TABLE a (b);\n\n-- @when table a\nDROP TABLE a;\n", "line 3: unknown directive"},
        {"CREATE TABLE a (b);\n-- @if tables a\nDROP TABLE a;\n", "line 3: unknown condition: tables a"},
        {"CREATE TABLE a (b);\n-- @if table a b\nDROP TABLE a;\n", "line 3: unknown condition"},
        {"CREATE TABLE a (b);\n-- @if collation a b c\nDROP TABLE a;\n", "line 3: unknown condition"},
        {"CREATE TABLE a (b);\nDROP TABLE a", "line 2: a statement without its semicolon"},
        {"CREATE TABLE a (b);\n\nDROP TABLE\n c;\n", "line 3: "},
        {"CREATE TABLE a (b);\n-- @if rows SELECT 1 FROM nowhere\nDROP TABLE a;\n", "nowhere"},
    };
    struct place *place = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct schema_scripts scripts = {.name = "broken", .sqlite = cases[i].text};
        struct error error = {0};

        assert_false(schema_apply(place->url, &scripts, NULL, &error));
        if (strstr(error.text, cases[i].said) == NULL)
            fail_msg("\"%s\" is not in: %s", cases[i].said, error.text);
        expect_equal(shape(place), strdup(""));
    }
}

static void semicolons_in_texts_comments_and_triggers_end_no_statement(void **state)
{
    static const char script[] =
        "-- a; comment\n"
        "CREATE TABLE a (b TEXT DEFAULT 'x;''y', \"c;d\" INTEGER, `e;` INTEGER); -- one; more\n"
        "CREATE TABLE log (b);\n"
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
        "    INSERT INTO log VALUES ('END;'); -- not the END;\n"
        "    INSERT INTO log VALUES (2);\n"
        "END;;\n"
        "INSERT INTO a DEFAULT VALUES;";
    struct schema_scripts scripts = {.name = "tricky", .sqlite = script};
    struct place *place = *state;

    expect_output(apply(place->url, &scripts), "(steps: 4)");
    expect_equal(shell(place, "SELECT b FROM a UNION ALL SELECT b FROM log"), strdup("x;'y\nEND;\n2\n"));
}

static void conditions_decide_and_several_must_all_hold(void **state)
{
    static const char script[] =
        "CREATE TABLE seen (what);\n"
        "-- @unless column a c\n-- @say added c\nALTER TABLE a ADD COLUMN c INTEGER;\n"
        "-- @unless column a b\nALTER TABLE a ADD COLUMN b INTEGER;\n"
        "-- @if index a a_b\n-- @if table a\nINSERT INTO seen VALUES ('index');\n"
        "-- @if index a a_b\n-- @if table z\nINSERT INTO seen VALUES ('both');\n"
        "-- @if primary-key a id\nINSERT INTO seen VALUES ('key');\n"
        "-- @if primary-key a b\nINSERT INTO seen VALUES ('no key');\n"
        "-- @unless type a b BLOB\nINSERT INTO seen VALUES ('type');\n"
        "-- @if type a b TEXT\nINSERT INTO seen VALUES ('text');\n"
        "-- @if trigger t\nINSERT INTO seen VALUES ('trigger');\n"
        "-- @if rows SELECT 1 FROM a WHERE b = 'x'\nINSERT INTO seen VALUES ('rows');\n"
        "-- @unless rows SELECT 1 FROM a\nINSERT INTO seen VALUES ('no rows');\n"
        "-- @say never printed\nUPDATE seen SET what = '' WHERE what = 'none';\n"
        "INSERT INTO seen VALUES ('always');\n";
    struct schema_scripts scripts = {.name = "mixed",
                                     .sqlite = "CREATE TABLE a (id INTEGER PRIMARY KEY, b TEXT);\n"
                                               "CREATE INDEX a_b ON a (b);\n"
                                               "INSERT INTO a (b) VALUES ('x');",
                                     .sqlite_upgrade = script};
    struct place *place = *state;
    char *output = apply(place->url, &scripts);

    assert_null(strstr(output, "never printed"));
    expect_output(output, "mixed: added c\n");
    expect_equal(shell(place, "SELECT what FROM seen"), strdup("index\nkey\ntype\ntext\nrows\nalways\n"));
}

static void rows_that_were_damaged_and_deleted_get_the_status_that_says_both(void **state)
{
    struct place *place = *state;

    apply_quietly(place->url, &storage_schema);
    run_shell(place,
              "INSERT INTO t_file_02 (id, status, deleted_at) VALUES ('both', 3, 7), ('damaged', 3, 0), "
              "('deleted', 1, 7), ('normal', 0, 0), ('old', NULL, 0)");
    expect_output(
        apply(place->url, &storage_schema),
        "storage: t_file_02: files that are damaged and deleted have a status of their own (rows: 1)\n");
    expect_equal(shell(place, "SELECT id, status, deleted_at FROM t_file_02 ORDER BY id"),
                 strdup("both|4|7\ndamaged|3|0\ndeleted|1|7\nnormal|0|0\nold|NULL|0\n"));
    expect_output(apply(place->url, &storage_schema), "nothing to do");
}

static void a_url_that_is_wrong_or_a_place_that_cannot_be_is_reported(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    char url[200];

    assert_false(schema_apply("mysql://root:secret@host", &tracker_schema, NULL, &error));
    assert_null(strstr(error.text, "secret"));
    run_shell(&(struct place){.path = "/dev/null"}, "SELECT 1");
    snprintf(url, sizeof(url), "sqlite:/dev/null/x/meta.db");
    assert_false(schema_apply(url, &tracker_schema, NULL, &error));
    assert_non_null(strstr(error.text, "/dev/null"));
    snprintf(url, sizeof(url), "sqlite:%s", place->directory);
    assert_false(schema_apply(url, &tracker_schema, NULL, &error));
    assert_non_null(strstr(error.text, place->directory));
}

static void what_root_makes_belongs_to_the_owner_of_its_directory(void **state)
{
    struct place *place = *state;
    const uid_t other = 65534;
    struct stat file;

    if (geteuid() != 0)
        skip();
    snprintf(place->path, sizeof(place->path), "%s/meta.db", place->directory);
    snprintf(place->url, sizeof(place->url), "sqlite:%s", place->path);
    assert_int_equal(chown(place->directory, other, other), 0);
    apply_quietly(place->url, &tracker_schema);
    assert_int_equal(stat(place->path, &file), 0);
    assert_int_equal(file.st_uid, other);
    assert_int_equal(file.st_gid, other);
    /* One that is there stays whose it is. */
    assert_int_equal(chown(place->path, 0, 0), 0);
    apply_quietly(place->url, &tracker_schema);
    assert_int_equal(stat(place->path, &file), 0);
    assert_int_equal(file.st_uid, 0);
}

/* ---- MySQL ---- */

static struct mariadb_server server;

static int start_server(void **state)
{
    (void)state;
    if (mariadb_server_installed())
        mariadb_server_start(&server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    if (mariadb_server_installed())
        mariadb_server_destroy(&server);
    return 0;
}

static int need_server(void **state)
{
    (void)state;
    if (!mariadb_server_installed()) {
        print_message(
            "SKIPPED: mariadbd and mariadb-install-db are not installed; nothing of MySQL is tested\n");
        skip();
    }
    mariadb_server_execute(&server, "DROP DATABASE IF EXISTS reel_a; DROP DATABASE IF EXISTS reel_b");
    return 0;
}

static const char *url_of(const char *database)
{
    static _Thread_local char url[256];

    snprintf(url, sizeof(url), "mysql://%s@127.0.0.1:%u/%s", MARIADB_SERVER_LOGIN, server.port, database);
    return url;
}

/* Runs a script as the mariadb client does. */
static void by_hand(const char *database, const char *script)
{
    char *text = NULL;

    assert_true(asprintf(&text, "USE %s; %s", database, script) > 0);
    mariadb_server_execute(&server, text);
    free(text);
}

/* Columns and indices of a database, names and all. */
static char *shape_of(const char *database)
{
    static const char *const queries[] = {
        "SELECT table_name, ordinal_position, column_name, column_type, is_nullable, column_default, extra, "
        "collation_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name NOT "
        "LIKE "
        "'%duplicates' ORDER BY 1, 2",
        "SELECT table_name, index_name, seq_in_index, column_name, non_unique, sub_part FROM "
        "information_schema.statistics WHERE table_schema = DATABASE() AND table_name NOT LIKE '%duplicates' "
        "ORDER BY "
        "1, 2, 3",
    };
    char *parts[2], *text = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
        parts[i] = mariadb_server_read(&server, database, queries[i]);
    assert_true(asprintf(&text, "%s%s", parts[0], parts[1]) > 0);
    free(parts[0]);
    free(parts[1]);
    return text;
}

/* Every row of every table, exactly. */
static char *rows_of(const char *database)
{
    static const struct {
        const char *table, *query;
    } tables[] = {
        {"t_groups_info", "SELECT id, group_name, create_time, update_time FROM t_groups_info ORDER BY id"},
        {"t_groups_info_duplicates", "SELECT * FROM t_groups_info_duplicates ORDER BY id"},
        {"t_router", "SELECT id, HEX(appid), HEX(userid), group_name, create_time, update_time FROM t_router "
                     "ORDER BY id"},
        {"t_router_duplicates",
         "SELECT id, HEX(appid), HEX(userid), group_name, create_time, update_time FROM "
         "t_router_duplicates ORDER BY id"},
        {"t_id_gen", "SELECT HEX(id), id_value, create_time, update_time FROM t_id_gen ORDER BY 1"},
        {"t_file_01",
         "SELECT HEX(id), HEX(appid), HEX(userid), status, HEX(file_path), file_size, create_time, "
         "update_time FROM t_file_01 ORDER BY 1"},
        {"t_file_02",
         "SELECT HEX(id), HEX(appid), HEX(userid), status, HEX(file_path), file_size, create_time, "
         "update_time FROM t_file_02 ORDER BY 1"},
        {"t_file_03",
         "SELECT HEX(id), HEX(appid), HEX(userid), status, HEX(file_path), file_size, create_time, "
         "update_time FROM t_file_03 ORDER BY 1"},
    };
    char *text = strdup("");

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        char query[128], *count, *rows, *longer = NULL;

        snprintf(query, sizeof(query), "SHOW TABLES LIKE '%s'", tables[i].table);
        count = mariadb_server_read(&server, database, query);
        rows =
            count[0] != '\0' ? mariadb_server_read(&server, database, tables[i].query) : strdup("(none)\n");
        assert_true(asprintf(&longer, "%s%s:\n%s", text, tables[i].table, rows) > 0);
        free(count);
        free(rows);
        free(text);
        text = longer;
    }
    return text;
}

#define LEGACY_TIMES                                                                                         \
    "create_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP, "                                                 \
    "update_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP) "                     \
    "ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;"
#define LEGACY_FILES                                                                                         \
    " (id VARCHAR(256) NOT NULL PRIMARY KEY, appid VARCHAR(32), userid VARCHAR(128), status TINYINT, "       \
    "file_path VARCHAR(512), file_size BIGINT, " LEGACY_TIMES
#define LONG_USER                                                                                            \
    "12345678901234567890123456789012345678901234567890123456789012345678901234567890"                       \
    "123456789012345678901234567890123456789012345678"

static const char legacy_tracker[] =
    "CREATE TABLE t_groups_info (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, group_name "
    "VARCHAR(32), " LEGACY_TIMES
    "CREATE TABLE t_router (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, appid VARCHAR(32), "
    "userid VARCHAR(128), group_name VARCHAR(32), " LEGACY_TIMES
    "INSERT INTO t_groups_info (id, group_name) VALUES (1, 'group001'), (2, 'group002'), (3, 'group001'), "
    "(4, NULL), "
    "(5, 'Group002'), (6, 'group003');"
    "INSERT INTO t_router (id, appid, userid, group_name) VALUES "
    "(1, 'tnvideo', 'alice', 'group001'), (2, 'tnvideo', 'Alice', 'group002'), (3, 'tnvideo', 'bob', "
    "'group002'), "
    "(4, 'tnvideo', 'bob ', 'group003'), (5, 'tnvideo', 'bob', 'group003'), (6, 'other', 'bob', 'group003'), "
    "(7, NULL, 'nobody', 'group001'), (8, 'tnvideo', NULL, 'group001'), (9, 'tnvideo', NULL, 'group001'), "
    "(10, 'tnvideo', 'Zo\xc3\xab', 'group001'), (11, 'tnvideo', '" LONG_USER "', 'group002'), "
    "(12, 'tnvideo', 'carol', 'group001'), (13, 'tnvideo', 'carol', 'group001'), (14, 'tnvideo', 'carol', "
    "'group002');"
    "UPDATE t_router SET create_time = '2020-11-01 12:13:03', update_time = '2020-11-01 12:13:03';"
    "UPDATE t_groups_info SET create_time = '2020-11-01 12:13:03', update_time = '2020-11-01 12:13:03';";

static const char legacy_idserver[] =
    "CREATE TABLE t_id_gen (id VARCHAR(64) NOT NULL PRIMARY KEY, id_value BIGINT, " LEGACY_TIMES
    "INSERT INTO t_id_gen (id, id_value, update_time, create_time) VALUES ('../data', 12300, '2020-11-01 "
    "12:13:03', NULL), "
    "('../Data2 ', 100, '2020-11-01 12:13:03', '2020-11-01 12:13:03'), ('', NULL, NULL, NULL);";

#define LEGACY_FILE_ROWS(table)                                                                              \
    "INSERT INTO " table                                                                                     \
    " (id, appid, userid, status, file_path, file_size, create_time, update_time) VALUES "                   \
    "('5f9e3fa7085e5aa25387c8cf7b5f29000117', 'tnvideo', 'alice', 0, '../data/000/000/000/5F9E3FA7_005', "   \
    "1048576, "                                                                                              \
    "'2020-11-01 12:13:03', '2020-11-01 12:13:04'), "                                                        \
    "('deleted', 'tnvideo', 'Alice', 1, '../data/000/000/000/5F9E3FA8_006', 0, '2020-11-01 12:13:03', "      \
    "NULL), "                                                                                                \
    "('no status', 'tnvideo', 'bob ', NULL, '../data/000/000/000/5F9E3FA8_007', 7, NULL, NULL), "            \
    "('nothing', NULL, NULL, NULL, NULL, NULL, NULL, NULL), "                                                \
    "('Zo\xc3\xab ', 'tnvideo', '" LONG_USER                                                                 \
    "', 0, '../data/000/000/000/5F9E3FA9_008', 9223372036854775807, NULL, "                                  \
    "NULL);"

static const char legacy_storage[] =
    "CREATE TABLE t_file_01" LEGACY_FILES "CREATE TABLE t_file_02" LEGACY_FILES
    "CREATE TABLE t_file_03" LEGACY_FILES LEGACY_FILE_ROWS("t_file_01") LEGACY_FILE_ROWS("t_file_02")
        LEGACY_FILE_ROWS("t_file_03");

static void make_legacy(const char *database, const char *script)
{
    char text[160];

    snprintf(text, sizeof(text), "DROP DATABASE IF EXISTS %s; CREATE DATABASE %s CHARACTER SET utf8mb4",
             database, database);
    mariadb_server_execute(&server, text);
    by_hand(database, script);
}

static const struct {
    const struct schema_scripts *scripts;
    const char *legacy;
} daemons[] = {{&tracker_schema, legacy_tracker},
               {&idserver_schema, legacy_idserver},
               {&storage_schema, legacy_storage}};

static void a_missing_database_is_created_and_a_second_run_does_nothing(void **state)
{
    (void)state;
    expect_output(apply(url_of("reel_a"), &tracker_schema), "tracker: created database reel_a\n");
    for (size_t i = 0; i < ARRAY_SIZE(daemons); i++)
        free(apply(url_of("reel_a"), daemons[i].scripts));
    expect_equal(mariadb_server_read(&server, "reel_a", "SHOW TABLES"),
                 strdup("t_file_01\nt_file_02\nt_file_03\nt_groups_info\nt_id_gen\nt_lease\nt_partial\nt_"
                        "quota\nt_router\n"));
    expect_equal(
        mariadb_server_read(&server, "reel_a", "SELECT group_name, state, weight FROM t_groups_info"),
        strdup("group001|0|100\n"));
    for (size_t i = 0; i < ARRAY_SIZE(daemons); i++)
        expect_output(apply(url_of("reel_a"), daemons[i].scripts), "is up to date: nothing to do\n");
}

static void a_database_that_may_not_be_created_is_reported_without_the_password(void **state)
{
    struct error error = {0};

    (void)state;
    assert_false(schema_apply(url_of("forbidden"), &tracker_schema, NULL, &error));
    assert_non_null(strstr(error.text, "Access denied"));
    assert_null(strstr(error.text, "p@ss"));
}

static void on_mysql_the_scripts_give_the_same_by_hand_fresh_and_upgraded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(daemons); i++) {
        char *fresh;

        apply_quietly(url_of("reel_a"), daemons[i].scripts);
        fresh = shape_of("reel_a");
        mariadb_server_execute(&server, "CREATE OR REPLACE DATABASE reel_b CHARACTER SET utf8mb4");
        by_hand("reel_b", daemons[i].scripts->mysql);
        by_hand("reel_b", daemons[i].scripts->mysql);
        expect_equal(shape_of("reel_b"), strdup(fresh));

        make_legacy("reel_b", daemons[i].legacy);
        by_hand("reel_b", daemons[i].scripts->mysql);
        by_hand("reel_b", daemons[i].scripts->mysql_upgrade);
        expect_equal(shape_of("reel_b"), strdup(fresh));
        expect_output(apply(url_of("reel_b"), daemons[i].scripts), "nothing to do");

        make_legacy("reel_b", daemons[i].legacy);
        apply_quietly(url_of("reel_b"), daemons[i].scripts);
        expect_equal(shape_of("reel_b"), fresh);
        mariadb_server_execute(&server, "DROP DATABASE reel_a");
    }
}

static void an_upgrade_keeps_every_file_and_every_number(void **state)
{
    (void)state;
    for (size_t i = 1; i < ARRAY_SIZE(daemons); i++) {
        char *before, *after;

        make_legacy("reel_a", daemons[i].legacy);
        before = rows_of("reel_a");
        assert_non_null(strstr(before, "2020-11-01 12:13:03"));
        free(apply(url_of("reel_a"), daemons[i].scripts));
        after = rows_of("reel_a");
        expect_equal(strdup(after), before);
        expect_output(apply(url_of("reel_a"), daemons[i].scripts), "nothing to do");
        expect_equal(rows_of("reel_a"), after);
    }
    make_legacy("reel_a", legacy_storage);
    apply_quietly(url_of("reel_a"), &storage_schema);
    expect_equal(mariadb_server_read(
                     &server, "reel_a",
                     "SELECT CONCAT('[', group_name, file_name, content_type, digest, ']'), deleted_at "
                     "FROM t_file_01 GROUP BY 1, 2"),
                 strdup("[]|0\n"));
    /* The key is found by bytes, and another user may have the same file ID now. */
    expect_equal(
        mariadb_server_read(&server, "reel_a", "SELECT COUNT(*) FROM t_file_01 WHERE userid = 'ALICE'"),
        strdup("0\n"));
    by_hand("reel_a", "INSERT INTO t_file_01 (id, appid, userid) VALUES ('deleted', 'tnvideo', 'bob')");
}

static void an_upgrade_of_the_router_keeps_what_the_predecessor_would_have_found(void **state)
{
    char *output, *after;

    (void)state;
    make_legacy("reel_a", legacy_tracker);
    output = apply(url_of("reel_a"), &tracker_schema);
    assert_non_null(strstr(output,
                           "t_router: copied rows that the predecessor never found to t_router_duplicates "
                           "(rows: 5)\n"));
    assert_non_null(
        strstr(output, "t_groups_info: copied duplicate groups to t_groups_info_duplicates (rows: 1)\n"));
    free(output);
    expect_equal(mariadb_server_read(
                     &server, "reel_a",
                     "SELECT id, appid, CONCAT('[', userid, ']'), group_name, update_time FROM t_router "
                     "WHERE id <= 9 OR id >= 12 ORDER BY id"),
                 strdup("1|tnvideo|[alice]|group001|2020-11-01 12:13:03\n"
                        "2|tnvideo|[Alice]|group001|2020-11-01 12:13:03\n"
                        "3|tnvideo|[bob]|group002|2020-11-01 12:13:03\n"
                        "4|tnvideo|[bob ]|group002|2020-11-01 12:13:03\n"
                        "6|other|[bob]|group003|2020-11-01 12:13:03\n"
                        "7|NULL|[nobody]|group001|2020-11-01 12:13:03\n"
                        "8|tnvideo|NULL|group001|2020-11-01 12:13:03\n"
                        "9|tnvideo|NULL|group001|2020-11-01 12:13:03\n"
                        "12|tnvideo|[carol]|group001|2020-11-01 12:13:03\n"));
    expect_equal(mariadb_server_read(&server, "reel_a",
                                     "SELECT id, CONCAT('[', userid, ']'), group_name, update_time FROM "
                                     "t_router_duplicates ORDER BY id"),
                 strdup("2|[Alice]|group002|2020-11-01 12:13:03\n"
                        "4|[bob ]|group003|2020-11-01 12:13:03\n"
                        "5|[bob]|group003|2020-11-01 12:13:03\n"
                        "13|[carol]|group001|2020-11-01 12:13:03\n"
                        "14|[carol]|group002|2020-11-01 12:13:03\n"));
    expect_equal(mariadb_server_read(&server, "reel_a",
                                     "SELECT userid FROM t_router WHERE id IN (10, 11) ORDER BY id"),
                 strdup("Zo\xc3\xab\n" LONG_USER "\n"));
    expect_equal(
        mariadb_server_read(&server, "reel_a", "SELECT id, group_name, weight, state FROM t_groups_info"),
        strdup("1|group001|100|0\n2|group002|100|0\n4|NULL|100|0\n5|Group002|100|0\n6|group003|100|0\n"));
    after = rows_of("reel_a");
    expect_output(apply(url_of("reel_a"), &tracker_schema), "nothing to do");
    expect_equal(rows_of("reel_a"), after);
}

static void a_table_without_duplicates_is_upgraded_without_a_word_of_them(void **state)
{
    char *output;

    (void)state;
    make_legacy("reel_a", legacy_tracker);
    by_hand("reel_a",
            "DELETE FROM t_router WHERE id IN (2, 4, 5, 13, 14); DELETE FROM t_groups_info WHERE id = 3");
    output = apply(url_of("reel_a"), &tracker_schema);
    assert_null(strstr(output, "duplicate"));
    free(output);
    expect_equal(mariadb_server_read(&server, "reel_a", "SHOW TABLES"), strdup("t_groups_info\nt_router\n"));
}

/* The upgrade script up to and with its COUNT'th statement; NULL where it has no more. To be freed. */
static char *cut_script(const char *script, size_t count)
{
    const char *end = script;

    for (size_t i = 0; i < count; i++) {
        end = strstr(end, ";\n");
        if (end == NULL)
            return NULL;
        end += 2;
    }
    return strndup(script, (size_t)(end - script));
}

/* Stops after each step in turn, then upgrades to the end: always the same outcome. */
static void expect_any_stop_is_harmless(const struct schema_scripts *scripts, const char *legacy, size_t most)
{
    char *rows, *table_shape, *cut;
    size_t stops = 0;

    make_legacy("reel_b", legacy);
    apply_quietly(url_of("reel_b"), scripts);
    rows = rows_of("reel_b");
    table_shape = shape_of("reel_b");
    while (stops < most && (cut = cut_script(scripts->mysql_upgrade, stops + 1)) != NULL) {
        struct schema_scripts stopped = *scripts;

        stopped.mysql_upgrade = cut;
        make_legacy("reel_a", legacy);
        apply_quietly(url_of("reel_a"), &stopped);
        apply_quietly(url_of("reel_a"), scripts);
        expect_equal(rows_of("reel_a"), strdup(rows));
        expect_equal(shape_of("reel_a"), strdup(table_shape));
        expect_output(apply(url_of("reel_a"), scripts), "nothing to do");
        free(cut);
        stops++;
    }
    assert_true(stops >= 1);
    free(rows);
    free(table_shape);
}

static void the_trackers_upgrade_may_stop_after_any_step(void **state)
{
    (void)state;
    expect_any_stop_is_harmless(&tracker_schema, legacy_tracker, SIZE_MAX);
}

static void the_id_servers_upgrade_may_stop_after_any_step(void **state)
{
    (void)state;
    expect_any_stop_is_harmless(&idserver_schema, legacy_idserver, SIZE_MAX);
}

static void the_storage_servers_upgrade_may_stop_after_any_step_of_a_table(void **state)
{
    (void)state;
    /* The steps of the other two tables are the same. */
    expect_any_stop_is_harmless(&storage_schema, legacy_storage, 14);
}

static void tables_that_somebody_changed_by_hand_are_brought_to_the_same(void **state)
{
    char *fresh;

    (void)state;
    apply_quietly(url_of("reel_b"), &storage_schema);
    fresh = shape_of("reel_b");
    make_legacy("reel_a", legacy_storage);
    by_hand("reel_a", "DROP TABLE t_file_02; ALTER TABLE t_file_01 MODIFY userid VARBINARY(255); "
                      "ALTER TABLE t_file_03 DROP PRIMARY KEY, ADD COLUMN row_id BIGINT UNSIGNED NOT NULL "
                      "AUTO_INCREMENT PRIMARY KEY FIRST, ADD KEY status_deleted (status)");
    by_hand("reel_a", "ALTER TABLE t_file_03 DROP KEY status_deleted");
    apply_quietly(url_of("reel_a"), &storage_schema);
    expect_equal(shape_of("reel_a"), fresh);
    expect_equal(
        mariadb_server_read(&server, "reel_a",
                            "SELECT (SELECT COUNT(*) FROM t_file_01), (SELECT COUNT(*) FROM t_file_03)"),
        strdup("5|5\n"));
}

static void what_the_predecessor_writes_is_still_taken_after_the_upgrade(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(daemons); i++) {
        make_legacy("reel_a", daemons[i].legacy);
        apply_quietly(url_of("reel_a"), daemons[i].scripts);
        if (daemons[i].scripts == &tracker_schema)
            by_hand(
                "reel_a",
                "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'dora', 'group001')");
        else if (daemons[i].scripts == &idserver_schema)
            by_hand("reel_a", "UPDATE t_id_gen SET id_value = id_value + 100 WHERE id = '../data'");
        else
            by_hand("reel_a",
                    "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size) VALUES "
                    "('new', 'tnvideo', 'alice', 0, '../data/000/000/000/5F9E3FA7_00A', 5)");
    }
}

struct applying {
    pthread_t thread;
    char url[256];
    bool good;
    struct error error;
};

static void *apply_in_thread(void *argument)
{
    struct applying *applying = argument;

    applying->good = schema_apply(applying->url, &storage_schema, NULL, &applying->error);
    return NULL;
}

static void start_applying(struct applying *applying, const char *database)
{
    *applying = (struct applying){.good = false};
    snprintf(applying->url, sizeof(applying->url), "%s", url_of(database));
    assert_int_equal(pthread_create(&applying->thread, NULL, apply_in_thread, applying), 0);
}

static void several_that_upgrade_at_once_do_not_disturb_each_other(void **state)
{
    struct applying three[3];
    char *before;

    (void)state;
    make_legacy("reel_a", legacy_storage);
    before = rows_of("reel_a");
    for (size_t i = 0; i < ARRAY_SIZE(three); i++)
        start_applying(&three[i], "reel_a");
    for (size_t i = 0; i < ARRAY_SIZE(three); i++) {
        assert_int_equal(pthread_join(three[i].thread, NULL), 0);
        assert_string_equal(three[i].error.text, "");
        assert_true(three[i].good);
    }
    expect_equal(rows_of("reel_a"), before);
}

static void a_server_that_dies_under_the_upgrade_loses_no_row(void **state)
{
    static const useconds_t moments[] = {20000, 120000, 300000, 700000};
    char *fresh, *before;

    (void)state;
    apply_quietly(url_of("reel_b"), &storage_schema);
    fresh = shape_of("reel_b");
    for (size_t i = 0; i < ARRAY_SIZE(moments); i++) {
        struct applying applying;

        make_legacy("reel_a", legacy_storage);
        by_hand("reel_a", "INSERT INTO t_file_01 (id, appid, userid, status, file_path, file_size) SELECT "
                          "CONCAT('file', seq), 'tnvideo', 'many', 0, CONCAT('../data/', seq), seq FROM "
                          "seq_1_to_20000");
        before = rows_of("reel_a");
        start_applying(&applying, "reel_a");
        usleep(moments[i]);
        mariadb_server_kill(&server);
        assert_int_equal(pthread_join(applying.thread, NULL), 0);
        mariadb_server_run(&server);
        apply_quietly(url_of("reel_a"), &storage_schema);
        expect_equal(rows_of("reel_a"), before);
        expect_equal(shape_of("reel_a"), strdup(fresh));
    }
    free(fresh);
}

#define ON_SQLITE(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
#define ON_MYSQL(name)  cmocka_unit_test_setup(name, need_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SQLITE(what_root_makes_belongs_to_the_owner_of_its_directory),
        ON_SQLITE(rows_that_were_damaged_and_deleted_get_the_status_that_says_both),
        ON_SQLITE(a_fresh_file_gets_every_table_and_a_second_run_does_nothing),
        ON_SQLITE(by_hand_the_scripts_give_the_same_file),
        ON_SQLITE(the_first_group_is_added_to_an_empty_table_only),
        ON_SQLITE(a_file_id_is_unique_to_its_user_and_application),
        ON_SQLITE(a_changed_row_shows_when),
        ON_SQLITE(a_script_that_is_wrong_is_reported_with_its_line_and_leaves_nothing),
        ON_SQLITE(semicolons_in_texts_comments_and_triggers_end_no_statement),
        ON_SQLITE(conditions_decide_and_several_must_all_hold),
        ON_SQLITE(a_url_that_is_wrong_or_a_place_that_cannot_be_is_reported),
        ON_MYSQL(a_missing_database_is_created_and_a_second_run_does_nothing),
        ON_MYSQL(a_database_that_may_not_be_created_is_reported_without_the_password),
        ON_MYSQL(on_mysql_the_scripts_give_the_same_by_hand_fresh_and_upgraded),
        ON_MYSQL(an_upgrade_keeps_every_file_and_every_number),
        ON_MYSQL(an_upgrade_of_the_router_keeps_what_the_predecessor_would_have_found),
        ON_MYSQL(a_table_without_duplicates_is_upgraded_without_a_word_of_them),
        ON_MYSQL(the_trackers_upgrade_may_stop_after_any_step),
        ON_MYSQL(the_id_servers_upgrade_may_stop_after_any_step),
        ON_MYSQL(the_storage_servers_upgrade_may_stop_after_any_step_of_a_table),
        ON_MYSQL(tables_that_somebody_changed_by_hand_are_brought_to_the_same),
        ON_MYSQL(what_the_predecessor_writes_is_still_taken_after_the_upgrade),
        ON_MYSQL(several_that_upgrade_at_once_do_not_disturb_each_other),
        ON_MYSQL(a_server_that_dies_under_the_upgrade_loses_no_row),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
