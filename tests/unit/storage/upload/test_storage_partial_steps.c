/*
 * What a partial upload waits for: how often its file, its directory and the database are synced at each step, and that what is left out
 * is made good: a file that a power cut took before it had bytes, a FINISH of bytes that others wrote, a row that is taken back.
 */
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/partial_client.h"
#include "tests/unit/library/upkeep_world.h"

#include <sys/syscall.h>

#define SIZE 4096

static uint8_t *content;
static struct fake_clock test_clock;

/* ---- syncs are counted ---- */

struct syncs {
    int files, directories, database;
};

static atomic_int file_syncs, directory_syncs, database_syncs;

static void note_sync(struct upkeep_world *world, const char *path)
{
    struct stat status;
    (void)world;
    if (strstr(path, "/meta.db"))
        atomic_fetch_add(&database_syncs, 1);
    else if (strstr(path, "/one/") && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        atomic_fetch_add(&directory_syncs, 1);
    else if (strstr(path, "/one/"))
        atomic_fetch_add(&file_syncs, 1);
}

/* This program's own, which comes before the C library's; fsync(2) has a hook. */
__attribute__((visibility("default"))) int fdatasync(int fd)
{
    char link[64], path[512] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) > 0)
        note_sync(NULL, path);
    return (int)syscall(SYS_fdatasync, fd);
}

/* Those since the last call. */
static struct syncs syncs_since(void)
{
    return (struct syncs){atomic_exchange(&file_syncs, 0), atomic_exchange(&directory_syncs, 0),
                          atomic_exchange(&database_syncs, 0)};
}

static void assert_syncs(int files, int directories, int database)
{
    struct syncs found = syncs_since();
    assert_int_equal(found.files, files);
    assert_int_equal(found.directories, directories);
    assert_int_equal(found.database, database);
}

/* ---- the tests ---- */

static int setup(void **state)
{
    static struct upkeep_world nowhere;
    (void)state;
    content = random_bytes(SIZE);
    memcpy(content, "\x89PNG\r\n\x1a\n",
           8); /* nobody has to find its type, and to save it, after the reply */
    upkeep_hooks = (struct upkeep_hooks){.world = &nowhere, .synced = note_sync};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    upkeep_hooks = (struct upkeep_hooks){0};
    free(content);
    return 0;
}

static int64_t number(struct world *world, const char *sql)
{
    sqlite3_stmt *statement;
    int64_t value = -1;
    assert_int_equal(sqlite3_prepare_v2(world->beside, sql, -1, &statement, NULL), SQLITE_OK);
    if (sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* The place of FILE, of which TABLE has a row. */
static void place_in(const char *table, struct world *world, const char *file, char place[512])
{
    sqlite3_stmt *statement;
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT file_path FROM %s WHERE id = '%s'", table, file);
    assert_int_equal(sqlite3_prepare_v2(world->beside, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(place, 512, "%s/one/%s", world->fixture.directory,
             (const char *)sqlite3_column_text(statement, 0) + strlen("../data/"));
    sqlite3_finalize(statement);
}

static void place_of(struct world *world, const char *file, char place[512])
{
    place_in("t_partial", world, file, place);
}

/* A world whose directories exist and whose database has a log, and a connection to it. */
static int start_warm(struct world *world)
{
    start_world(world, "storage.directory_sync=always");
    int fd = connect_client(world);
    struct token token = partial_begin(fd, "first", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    (void)syncs_since();
    return fd;
}

/* One sync of the file, one of its directory, and one of the database for each answer that something lasts. */
static void each_answer_waits_for_its_own_syncs_alone(void **state)
{
    struct world world;
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_syncs(0, 0, 1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_syncs(1, 1, 1);
    assert_int_equal(partial_append(fd, &token, 10, content + 10, 10), ERROR_NONE);
    assert_syncs(1, 0, 1);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_syncs(0, 0, 2);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial WHERE state = 2 AND synced = 20"), 1);
    /* An empty one has had nothing synced before. */
    token = partial_begin(fd, "empty", 0);
    (void)syncs_since();
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_syncs(1, 1, 2);
    /* Nothing takes an ABORT back: that is on the disk before the file goes. */
    token = partial_begin(fd, "film", -1);
    (void)syncs_since();
    assert_int_equal(partial_abort(fd, &token), ERROR_NONE);
    assert_syncs(0, 0, 2);
    close(fd);
    end_world(&world);
}

/* Taken over; the row, while that still holds; stored, once it is known that the file was there when its row came. */
static void a_finish_is_three_transactions(void **state)
{
    const struct lossy_db nothing = {0};
    struct world world;
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    lossy_db_arm(&nothing);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(lossy_db_count("COMMIT"), 2);
    assert_int_equal(lossy_db_count("UPDATE"), 3);
    assert_int_equal(lossy_db_count("INSERT"), 1);
    lossy_db_arm(NULL);
    close(fd);
    end_world(&world);
}

/* What others wrote, or an earlier life of this process, may have been written without syncs; and what is cut off must not come back. */
static void a_finish_syncs_what_it_does_not_know_to_last(void **state)
{
    struct world world;
    char place[512];
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    beside(&world,
           "UPDATE t_partial SET writer = writer + 1, epoch = epoch + 1, claim = 0 WHERE id = 'film'");
    (void)syncs_since();
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_syncs(1, 1, 2);

    token = partial_begin(fd, "other", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "other", place);
    assert_int_equal(truncate(place, 11), 0);
    (void)syncs_since();
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_syncs(1, 0, 2); /* the cut */
    assert_int_equal(code_of_download(fd, "other", 0, 0, content, 10), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* A file of which nothing is recorded need not have outlived a power cut: another one takes its place. One that has bytes must be there. */
static void an_empty_file_that_is_gone_is_made_anew(void **state)
{
    struct world world;
    char place[512];
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1), part = partial_begin(fd, "part", -1),
                 empty = partial_begin(fd, "empty", 0), target = partial_begin(fd, "target", -1);
    static const char *const files[] = {"film", "empty", "target"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        place_of(&world, files[i], place);
        assert_int_equal(remove(place), 0);
    }
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "film", place);
    assert_int_equal(access(place, F_OK), 0);
    assert_int_equal(partial_append(fd, &token, 10, content + 10, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 20), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &empty, NULL), ERROR_NONE);
    assert_int_equal(stat_of(fd, "empty").size, 0);
    assert_int_equal(partial_append(fd, &part, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "target", 0, 0, content, 10), ERROR_NONE);

    token = partial_begin(fd, "gone", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "gone", place);
    assert_int_equal(remove(place), 0);
    assert_int_equal(partial_append(fd, &token, 10, content, 10), ERROR_IO);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_IO);
    close(fd);
    end_world(&world);
}

/* ---- a row that is taken back ---- */

struct late {
    struct world *world;
    char place[512];
    int64_t ms;
};

/* While the row was being committed everything stood still for long, and somebody took the file. Until that has been looked for nobody else says that
 * it is stored. */
static void take_file(void *argument)
{
    const struct late *late = argument;
    assert_int_equal(number(late->world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'film'"), 1);
    assert_int_equal(number(late->world, "SELECT state FROM t_partial WHERE id = 'film'"), 1);
    fake_clock_pass(&test_clock, late->ms);
    assert_int_equal(remove(late->place), 0);
}

static void a_file_that_is_gone_when_its_row_comes_is_not_called_stored(void **state)
{
    struct world world;
    struct late late;
    const struct lossy_db lossy = {
        .beginning = "COMMIT", .skip = 1, .runs = true, .meanwhile = take_file, .argument = &late};
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "film", late.place);
    late.world = &world;
    late.ms = world.fixture.config.leftover_age_ms;
    fake_clock_start(&test_clock);
    lossy_db_arm(&lossy);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_UNAVAILABLE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'film'"), 0);
    assert_int_equal(number(&world, "SELECT state FROM t_partial WHERE id = 'film'"), 1);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_IO);
    fake_clock_end();
    close(fd);
    end_world(&world);
}

/* ---- a row that must not come back ---- */

static void purge_file(void *argument)
{
    const struct late *late = argument;
    assert_int_equal(remove(late->place), 0);
}

/* An earlier FINISH added the row and then stood still; the file was deleted and purged while a later one had it open. */
static void what_was_stored_and_purged_before_does_not_come_back(void **state)
{
    struct world world;
    struct late late;
    const struct lossy_db lossy = {
        .beginning = "INSERT INTO t_file_02", .runs = true, .meanwhile = purge_file, .argument = &late};
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "film", late.place);
    beside(&world, "UPDATE t_partial SET state = 1, epoch = epoch + 1, claim = claim + 1 WHERE id = 'film'");
    lossy_db_arm(&lossy);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_UNAVAILABLE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'film'"), 0);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_IO);
    close(fd);
    end_world(&world);
}

/* ---- a row that was there ---- */

static void lose_file(void *argument)
{
    const struct late *late = argument;
    fake_clock_pass(&test_clock, late->ms);
    assert_int_equal(remove(late->place), 0);
}

/* Another FINISH has added the row, and said so: it is not this one's to take back, though the file is lost for now. */
static void a_row_that_was_met_is_not_taken_back(void **state)
{
    struct world world;
    struct late late;
    const struct lossy_db lossy = {
        .beginning = "INSERT INTO t_file_02", .runs = true, .meanwhile = lose_file, .argument = &late};
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of(&world, "film", late.place);
    late.world = &world;
    late.ms = world.fixture.config.leftover_age_ms;
    beside(&world, "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, group_name) "
                   "SELECT id, appid, userid, 0, file_path, 10, 'group001' FROM t_partial WHERE id = 'film'");
    fake_clock_start(&test_clock);
    lossy_db_arm(&lossy);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_UNAVAILABLE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'film'"), 1);
    fake_clock_end();
    close(fd);
    end_world(&world);
}

static void lose_photo(void *argument)
{
    struct late *late = argument;
    fake_clock_start(&test_clock); /* not before: the second try comes after a pause */
    fake_clock_pass(&test_clock, late->ms);
    place_in("t_file_02", late->world, "photo", late->place);
    assert_int_equal(remove(late->place), 0);
}

/* On the database thread: what comes next is the second try. */
static void arm_second_try(void *argument)
{
    const struct lossy_db second = {
        .beginning = "SELECT id", .runs = true, .meanwhile = lose_photo, .argument = argument};
    lossy_db_arm(&second);
}

/* The answer to its COMMIT was lost, so it meets its own row, which nobody else can have: that goes, as its file has. */
static void a_row_of_ones_own_is_taken_back_also_where_it_was_met(void **state)
{
    struct world world;
    struct late late;
    const struct lossy_db lossy = {.beginning = "COMMIT",
                                   .runs = true,
                                   .reports = true,
                                   .result = DB_UNCERTAIN,
                                   .meanwhile = arm_second_try,
                                   .argument = &late};
    (void)state;
    int fd = start_warm(&world);
    late.world = &world;
    late.ms = world.fixture.config.leftover_age_ms;
    lossy_db_arm(&lossy);
    assert_int_equal(upload(fd, "photo", content, 10), ERROR_UNAVAILABLE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'photo'"), 0);
    fake_clock_end();
    close(fd);
    end_world(&world);
}

/* The bytes of a file that was acknowledged and is lost come again in parts. */
static void a_partial_upload_takes_the_place_of_a_lost_file(void **state)
{
    struct world world;
    char place[512];
    (void)state;
    int fd = start_warm(&world);
    struct token token = partial_begin(fd, "film", -1), again = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &again, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    place_in("t_file_02", &world, "film", place);
    assert_int_equal(remove(place), 0);
    assert_int_equal(partial_finish(fd, &again, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 10), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial WHERE id = 'film' AND state = 2"), 2);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_waits_for_its_own_syncs_alone),
        cmocka_unit_test(a_finish_is_three_transactions),
        cmocka_unit_test(a_finish_syncs_what_it_does_not_know_to_last),
        cmocka_unit_test(an_empty_file_that_is_gone_is_made_anew),
        cmocka_unit_test(a_file_that_is_gone_when_its_row_comes_is_not_called_stored),
        cmocka_unit_test(what_was_stored_and_purged_before_does_not_come_back),
        cmocka_unit_test(a_row_that_was_met_is_not_taken_back),
        cmocka_unit_test(a_row_of_ones_own_is_taken_back_also_where_it_was_met),
        cmocka_unit_test(a_partial_upload_takes_the_place_of_a_lost_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
