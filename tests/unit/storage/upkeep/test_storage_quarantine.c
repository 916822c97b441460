/* The quarantine: which files go back to their places because a row names them, and which are removed in the end. */
#include "tests/unit/library/upkeep_world.h"

#include "common/proto/digest.h"
#include "storage/upkeep/quarantine.h"
#include "storage/upkeep/sweep.h"

#include <errno.h>
#include <sys/stat.h>

static void start(struct upkeep_world *world, struct keeper *keeper, const char *options)
{
    char path[256];
    upkeep_world_start(world, options);
    upkeep_member_start(world, keeper, &sweep_chore, 1);
    upkeep_member_leads(keeper);
    upkeep_hooks.age = 100000;
    snprintf(path, sizeof(path), "%s/one/.quarantine", world->fixture.directory);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

/* A file of four bytes that was moved to quarantine, as number N of its place. */
static void hold(struct upkeep_world *world, int64_t value, int n)
{
    char place[PATH_TEXT_SIZE], from[256], to[256];
    upkeep_file(world, value, 4, place);
    snprintf(from, sizeof(from), "%s/one/%s", world->fixture.directory, place);
    for (char *c = place; *c; c++)
        *c = *c == '/' ? '-' : *c;
    snprintf(to, sizeof(to), "%s/one/.quarantine/%s.%d", world->fixture.directory, place, n);
    assert_int_equal(rename(from, to), 0);
}

/* One whose place a row names. */
static void hold_with_row(struct upkeep_world *world, int64_t value, int64_t size, const char *changes)
{
    char id[32];
    snprintf(id, sizeof(id), "file%lld", (long long)value);
    hold(world, value, 0);
    upkeep_row(world, id, value, size, changes);
}

static void expire(struct keeper *keeper)
{
    struct error error = {0};
    if (!quarantine_expire(keeper, clock_wall_seconds(), &error))
        fail_msg("%s", error.text);
}

/* Of "xxxx", as a change of a row. */
static const char *digest_of_four(void)
{
    static char text[80], hex[DIGEST_HEX_SIZE];
    uint8_t bytes[PROTO_DIGEST_SIZE];
    struct digest *digest = digest_create();
    assert_non_null(digest);
    digest_update(digest, "xxxx", 4);
    digest_final(digest, bytes);
    digest_destroy(digest);
    digest_to_hex(bytes, hex);
    snprintf(text, sizeof(text), "digest = '%s'", hex);
    return text;
}

#define OTHER_DIGEST "digest = '000102030405060708090a0b0c0d0e0f'"

static void a_file_goes_back_if_a_row_says_that_it_is_there(void **state)
{
    static const struct {
        const char *changes;
        int64_t size;
        bool back;
    } rows[] = {
        {NULL, 4, true},
        {"status = NULL, group_name = ''", 4, true},
        {"status = 1, deleted_at = 5", 4, true},
        {"status = 2, deleted_at = 5", 4, false},
        {"status = 3", 4, false},
        {"group_name = 'group002'", 4, false},
        {NULL, 5, false},
        {OTHER_DIGEST, 4, false},
        {"file_size = NULL", 4, true},
    };
    struct upkeep_world world;
    struct keeper keeper;
    int back = 0;
    (void)state;
    start(&world, &keeper, NULL);
    int64_t before = metric_value(keeper.metrics.quarantine_given_back); /* of all tests */
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        hold_with_row(&world, 600 + (int64_t)i, rows[i].size, rows[i].changes);
    hold(&world, 700, 0); /* no row */
    hold(&world, 701, 0); /* two of them: of the bytes that the row speaks of one is enough */
    hold(&world, 701, 1);
    upkeep_row(&world, "twice", 701, 4, digest_of_four());
    upkeep_stored(&world, "there", 702, 4, NULL);
    expire(&keeper);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (upkeep_there(&world, 600 + (int64_t)i) != rows[i].back)
            fail_msg("row %zu", i);
        back += rows[i].back ? 1 : 0;
    }
    assert_false(upkeep_there(&world, 700));
    assert_true(upkeep_there(&world, 701));
    assert_int_equal(metric_value(keeper.metrics.quarantine_given_back) - before, back + 1);
    assert_int_equal(upkeep_quarantined(&world), (int)ARRAY_SIZE(rows) - back + 2);
    assert_int_equal(metric_value(keeper.metrics.quarantine_files), (int)ARRAY_SIZE(rows) - back + 2);
    end(&world, &keeper);
}

/* Two groups of the predecessor may have used the same path for two files. */
static void of_two_rows_one_that_fits_is_enough(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    for (int64_t value = 600; value < 602; value++)
        hold(&world, value, 0);
    upkeep_row(&world, "another groups", 600, 5, "group_name = ''");
    upkeep_row(&world, "ours", 600, 4, "group_name = ''");
    upkeep_row(&world, "also ours", 601, 4, "group_name = ''");
    upkeep_row(&world, "also another groups", 601, 5, "group_name = ''");
    expire(&keeper);
    assert_true(upkeep_there(&world, 600) && upkeep_there(&world, 601));
    end(&world, &keeper);
}

/* Its row was marked while it was away; what is wrong stays where it is. */
static void a_file_of_a_marked_row_goes_back_when_its_digest_says_so(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    (void)state;
    start(&world, &keeper, NULL);
    for (int64_t value = 600; value < 604; value++)
        hold(&world, value, 0);
    upkeep_row(&world, "right", 600, 4, digest_of_four());
    upkeep_row(&world, "wrong", 601, 4, OTHER_DIGEST);
    upkeep_row(&world, "unknown", 602, 4, NULL);
    upkeep_row(&world, "deleted", 603, 4, digest_of_four());
    upkeep_sql(&world, "UPDATE t_file_02 SET status = 3");
    upkeep_sql(&world, "UPDATE t_file_02 SET status = 4, deleted_at = 5 WHERE id = 'deleted'");
    assert_true(quarantine_give_back(&keeper, false, &error));
    assert_int_equal(upkeep_quarantined(&world), 4);
    assert_true(quarantine_give_back(&keeper, true, &error));
    assert_true(upkeep_there(&world, 600) && upkeep_there(&world, 603));
    assert_false(upkeep_there(&world, 601) || upkeep_there(&world, 602));
    assert_int_equal(upkeep_quarantined(&world), 2);
    end(&world, &keeper);
}

/* More than are asked about at once, and only one of them has a row. */
static void it_is_found_among_many(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    for (int64_t value = 600; value < 750; value++)
        hold(&world, value, 0);
    upkeep_row(&world, "one", 640, 4, NULL);
    expire(&keeper);
    assert_true(upkeep_there(&world, 640));
    assert_int_equal(upkeep_quarantined(&world), 149);
    end(&world, &keeper);
}

static void partial(struct upkeep_world *world, int64_t value, int64_t synced, int state)
{
    upkeep_sql(world,
               "INSERT INTO t_partial (token, appid, userid, id, group_name, file_path, keep, expires, "
               "synced, state) "
               "VALUES ('t%lld', 'tnvideo', 'alice', 'film', 'group001', '../data/000/000/001/" UPKEEP_OLD
               "_%03llX', 1, 1, %lld, %d)",
               (long long)value, (long long)value % 512, (long long)synced, state);
}

static void a_partial_upload_gets_its_bytes_back(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    for (int64_t value = 600; value < 605; value++)
        hold(&world, value, 0);
    partial(&world, 600, 3, 0);
    partial(&world, 601, 4, 1);
    partial(&world, 602, 5, 0); /* more was acknowledged than lies there */
    partial(&world, 603, 0, 3); /* being removed */
    partial(&world, 604, 0, 0);
    upkeep_sql(&world, "UPDATE t_partial SET group_name = 'group002' WHERE token = 't604'");
    expire(&keeper);
    assert_true(upkeep_there(&world, 600) && upkeep_there(&world, 601));
    assert_false(upkeep_there(&world, 602) || upkeep_there(&world, 603) || upkeep_there(&world, 604));
    end(&world, &keeper);
}

/* The clean-up took it, its row came afterwards, and its time in quarantine is over. */
static void what_has_a_row_is_given_back_and_not_removed(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct sweep_result result;
    struct error error = {0};
    char place[PATH_TEXT_SIZE];
    (void)state;
    start(&world, &keeper, "storage.quarantine_keep=1d");
    int64_t before = metric_value(keeper.metrics.quarantine_removed); /* of all tests */
    upkeep_file(&world, 600, 4, place);
    upkeep_hooks.age = 80000;
    assert_true(sweep_all(&keeper, true, &result, &error));
    assert_int_equal(upkeep_quarantined(&world), 1);
    hold(&world, 601, 0);
    upkeep_row(&world, "late", 600, 4, NULL);
    upkeep_hooks.age = 90000;
    assert_true(sweep_all(&keeper, true, &result, &error));
    assert_true(upkeep_there(&world, 600));
    assert_int_equal(upkeep_quarantined(&world), 0);
    assert_int_equal(metric_value(keeper.metrics.quarantine_removed) - before, 1);
    end(&world, &keeper);
}

static int what_happens; /* while the file is read */
static int change_at_read(struct upkeep_world *world)
{
    char place[PATH_TEXT_SIZE];
    if (what_happens == 0)
        upkeep_sql(world, "UPDATE t_file_02 SET status = 2");
    else if (what_happens == 1)
        fake_clock_pass(&world->clock, 23000);
    else if (what_happens == 2)
        upkeep_file(world, 600, 4, place); /* somebody puts a copy there */
    else if (what_happens == 5)
        upkeep_sql(world, "DROP TABLE IF EXISTS t_file_02");
    return what_happens == 3 ? EIO : 0;
}

static void it_is_moved_only_while_row_place_and_lease_are_as_they_were(void **state)
{
    (void)state;
    static const int codes[] = {ERROR_NONE, ERROR_CANCELLED, ERROR_NONE,
                                ERROR_NONE, ERROR_NONE,      ERROR_GENERAL};
    for (what_happens = 0; what_happens < (int)ARRAY_SIZE(codes); what_happens++) {
        struct upkeep_world world;
        struct keeper keeper;
        struct error error = {0};
        start(&world, &keeper, NULL);
        hold_with_row(&world, 600, 4, digest_of_four());
        upkeep_hooks.read_before = change_at_read;
        bool fine = quarantine_give_back(&keeper, false, &error);
        assert_int_equal(error.code, codes[what_happens]);
        assert_true(fine == (error.code == ERROR_NONE));
        assert_int_equal(upkeep_hooks.renames, what_happens == 4 ? 1 : 0);
        assert_int_equal(upkeep_quarantined(&world), what_happens == 4 ? 0 : 1);
        upkeep_hooks.read_before = NULL;
        end(&world, &keeper);
    }
}

static int refuse_first_rename(struct upkeep_world *world, const char *from, const char *to)
{
    static int calls;
    (void)world;
    (void)from;
    (void)to;
    return calls++ == 0 ? EROFS : 0;
}

static void one_that_cannot_be_moved_does_not_hold_the_others(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    int64_t before = metric_value(keeper.metrics.quarantine_given_back); /* of all tests */
    for (int64_t value = 600; value < 603; value++)
        hold_with_row(&world, value, 4, NULL);
    upkeep_hooks.rename_before = refuse_first_rename;
    expire(&keeper);
    assert_int_equal(upkeep_quarantined(&world), 1);
    assert_int_equal(metric_value(keeper.metrics.quarantine_given_back) - before, 2);
    end(&world, &keeper);
}

static int refuse_every_rename(struct upkeep_world *world, const char *from, const char *to)
{
    (void)world;
    (void)from;
    (void)to;
    return EROFS;
}

static int fail_reading(struct upkeep_world *world)
{
    (void)world;
    return EIO;
}

/* The row comes when it was found to be old. */
static void add_row_late(struct upkeep_world *world, const char *name)
{
    if (strncmp(name, ".quarantine/", 12) == 0 && strstr(name, UPKEEP_OLD "_064.0")) {
        upkeep_hooks.look_before = NULL;
        upkeep_row(world, "late", 612, 4, NULL);
    }
}

static void what_a_row_wants_is_kept_whatever_its_age(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    char place[PATH_TEXT_SIZE];
    (void)state;
    start(&world, &keeper, "storage.quarantine_keep=1d");
    hold_with_row(&world, 600, 4, NULL);
    hold_with_row(&world, 601, 4, digest_of_four());
    hold(&world, 602, 0);
    partial(&world, 602, 4, 0);
    hold(&world, 612, 0);
    hold(&world, 620, 0); /* no row */
    hold_with_row(&world, 621, 4, "status = 3");
    hold_with_row(&world, 622, 4, NULL);
    upkeep_file(&world, 622, 4, place); /* there is another one in its place */
    hold_with_row(&world, 623, 4, digest_of_four());
    hold_with_row(&world, 624, 4, OTHER_DIGEST);
    upkeep_sql(&world, "UPDATE t_file_02 SET status = 3 WHERE id IN ('file623', 'file624')");
    upkeep_hooks.rename_before = refuse_every_rename;
    upkeep_hooks.read_before = fail_reading;
    upkeep_hooks.look_before = add_row_late;
    expire(&keeper);
    upkeep_hooks.rename_before = NULL;
    upkeep_hooks.read_before = NULL;
    assert_int_equal(upkeep_quarantined(&world), 6);
    assert_int_equal(metric_value(keeper.metrics.quarantine_files), 6);
    expire(&keeper);
    for (int64_t value = 600; value < 603; value++)
        assert_true(upkeep_there(&world, value));
    assert_true(upkeep_there(&world, 612));
    assert_int_equal(upkeep_quarantined(&world), 1);
    assert_true(quarantine_give_back(&keeper, true, &error));
    assert_true(upkeep_there(&world, 623));
    end(&world, &keeper);
}

static void while_the_database_does_not_answer_nothing_is_removed(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    (void)state;
    start(&world, &keeper, "storage.quarantine_keep=1d");
    hold(&world, 600, 0);
    upkeep_sql(&world, "ALTER TABLE t_file_03 RENAME TO hidden");
    assert_false(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(upkeep_quarantined(&world), 1);
    end(&world, &keeper);
}

static void quarantine_is_measured_whole_and_expires_whole(void **state)
{
    enum { FILES = 600 };
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    char path[256];
    (void)state;
    start(&world, &keeper, "storage.quarantine_keep=1d");
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "%s/one/.quarantine/file.%d", world.fixture.directory, i);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs("12345", file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    upkeep_hooks.age = 80000;
    assert_true(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(upkeep_quarantined(&world), FILES);
    assert_int_equal(metric_value(keeper.metrics.quarantine_files), FILES);
    assert_int_equal(metric_value(keeper.metrics.quarantine_bytes), FILES * 5);
    upkeep_hooks.age = 90000;
    assert_true(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(upkeep_quarantined(&world), 0);
    assert_int_equal(metric_value(keeper.metrics.quarantine_bytes), 0);
    end(&world, &keeper);
}

/* It is stopped between the look at the second file and its removal. */
static int looks_left;
static void lose_lease(struct upkeep_world *world, const char *name)
{
    if (strncmp(name, ".quarantine/", 12) == 0 && --looks_left == 0) {
        fake_clock_pass(&world->clock, 23000);
        upkeep_sql(world, "UPDATE t_lease SET owner = 'another' WHERE name = 'upkeep/group001'");
    }
}

static void without_the_lease_nothing_more_is_removed(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    char path[256];
    (void)state;
    start(&world, &keeper, "storage.quarantine_keep=1d");
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/one/.quarantine/file.%d", world.fixture.directory, i);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fclose(file), 0);
    }
    looks_left = 2;
    upkeep_hooks.look_before = lose_lease;
    assert_false(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(error.code, ERROR_CANCELLED);
    assert_int_equal(upkeep_quarantined(&world), 2);
    end(&world, &keeper);
}

static void trial_files_of_dead_daemons_go(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct error error = {0};
    char path[256];
    (void)state;
    start(&world, &keeper, NULL);
    snprintf(path, sizeof(path), "%s/one/.trial-dead", world.fixture.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    upkeep_hooks.age = 0;
    assert_true(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(access(path, F_OK), 0);
    upkeep_hooks.age = 100000;
    assert_true(quarantine_expire(&keeper, clock_wall_seconds(), &error));
    assert_int_equal(access(path, F_OK), -1);
    end(&world, &keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_goes_back_if_a_row_says_that_it_is_there),
        cmocka_unit_test(of_two_rows_one_that_fits_is_enough),
        cmocka_unit_test(a_file_of_a_marked_row_goes_back_when_its_digest_says_so),
        cmocka_unit_test(it_is_found_among_many),
        cmocka_unit_test(a_partial_upload_gets_its_bytes_back),
        cmocka_unit_test(what_has_a_row_is_given_back_and_not_removed),
        cmocka_unit_test(it_is_moved_only_while_row_place_and_lease_are_as_they_were),
        cmocka_unit_test(one_that_cannot_be_moved_does_not_hold_the_others),
        cmocka_unit_test(what_a_row_wants_is_kept_whatever_its_age),
        cmocka_unit_test(while_the_database_does_not_answer_nothing_is_removed),
        cmocka_unit_test(quarantine_is_measured_whole_and_expires_whole),
        cmocka_unit_test(without_the_lease_nothing_more_is_removed),
        cmocka_unit_test(trial_files_of_dead_daemons_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
