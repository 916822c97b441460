/* The clean-up: what goes into quarantine and what does not, the brake, the place it goes on from. */
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/fence.h"
#include "storage/upkeep/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <jansson.h>

static void start(struct upkeep_world *world, struct keeper *keeper, const char *options)
{
    upkeep_world_start(world, options);
    upkeep_member_start(world, keeper, &sweep_chore, 1);
    upkeep_member_leads(keeper);
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

static struct sweep_result sweep(struct keeper *keeper)
{
    struct sweep_result result;
    struct error error = {0};
    if (!sweep_all(keeper, true, &result, &error))
        fail_msg("%s", error.text);
    return result;
}

static void leftovers(struct upkeep_world *world, int64_t first, int count)
{
    char place[PATH_TEXT_SIZE];
    for (int i = 0; i < count; i++)
        upkeep_file(world, first + i, 4, place);
}

static void stored(struct upkeep_world *world, int64_t first, int count)
{
    for (int i = 0; i < count; i++) {
        char id[32];
        snprintf(id, sizeof(id), "stored%lld", (long long)first + i);
        upkeep_stored(world, id, first + i, 4, NULL);
    }
}

static void only_files_without_a_row_that_are_old_go_into_quarantine(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    char path[256];
    (void)state;
    start(&world, &keeper, NULL);
    stored(&world, 0, 3);
    upkeep_stored(&world, "trash", 5, 4, "status = 1, deleted_at = 5");
    upkeep_stored(&world, "foreign", 6, 4, "group_name = 'group002'");
    leftovers(&world, 600, 2);
    snprintf(path, sizeof(path), "%s/one/000/000/000/not-ours", world.fixture.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    upkeep_hooks.age = 0; /* somebody may still write to them */
    struct sweep_result result = sweep(&keeper);
    assert_int_equal(result.files, 7);
    assert_int_equal(result.young, 2);
    assert_int_equal(result.leftovers, 0);
    upkeep_hooks.age = 100000;
    result = sweep(&keeper);
    assert_int_equal(result.leftovers, 2);
    assert_int_equal(result.young, 0);
    assert_int_equal(upkeep_quarantined(&world), 2);
    assert_true(upkeep_there(&world, 0) && upkeep_there(&world, 5) && upkeep_there(&world, 6));
    assert_false(upkeep_there(&world, 600));
    assert_int_equal(access(path, F_OK), 0);
    end(&world, &keeper);
}

#define PARTIAL(token, path)                                                                                 \
    "INSERT INTO t_partial (token, appid, userid, id, group_name, file_path, keep, expires) VALUES ('" token \
    "', 'tnvideo', 'alice', 'film', 'group002', '../data/" path "', 1, 1)"

/* Whatever its age, its group and its state: who removes it is another chore. */
static void files_of_partial_uploads_are_no_leftovers(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    char place[PATH_TEXT_SIZE];
    (void)state;
    start(&world, &keeper, NULL);
    for (int64_t value = 7; value < 10; value++) {
        upkeep_file(&world, value, 4, place);
        upkeep_sql(&world, PARTIAL("t%lld", "%s"), (long long)value, place);
    }
    leftovers(&world, 600, 1);
    upkeep_sql(&world, "UPDATE t_partial SET state = 3 WHERE token = 't8'");
    struct sweep_result result = sweep(&keeper);
    assert_int_equal(result.files, 4);
    assert_int_equal(result.leftovers, 1);
    assert_true(upkeep_there(&world, 7) && upkeep_there(&world, 8) && upkeep_there(&world, 9));
    end(&world, &keeper);
}

static void partial_after_rename(struct upkeep_world *world, const char *from, const char *to)
{
    if (strncmp(to, ".quarantine/", 12) == 0)
        upkeep_sql(world, PARTIAL("late", "%s"), from);
}

static void a_file_whose_partial_upload_comes_while_it_is_moved_goes_back(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 7, 1);
    upkeep_hooks.rename_after = partial_after_rename;
    struct sweep_result result = sweep(&keeper);
    assert_int_equal(result.leftovers, 0);
    assert_int_equal(upkeep_hooks.renames, 2);
    assert_true(upkeep_there(&world, 7));
    end(&world, &keeper);
}

static void row_after_rename(struct upkeep_world *world, const char *from, const char *to)
{
    if (strncmp(to, ".quarantine/", 12) == 0) /* not on the way back */
        upkeep_sql(
            world,
            "INSERT INTO t_file_03 (id, status, file_path, file_size) VALUES ('late', 0, '../data/%s', 4)",
            from);
}

static void a_file_whose_row_comes_while_it_is_moved_goes_back(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 7, 1);
    upkeep_hooks.rename_after = row_after_rename;
    struct sweep_result result = sweep(&keeper);
    assert_int_equal(result.leftovers, 0);
    assert_int_equal(upkeep_hooks.renames, 2);
    assert_true(upkeep_there(&world, 7));
    assert_int_equal(upkeep_quarantined(&world), 0);
    end(&world, &keeper);
}

static void hide_after_rename(struct upkeep_world *world, const char *from, const char *to)
{
    (void)from;
    if (strncmp(to, ".quarantine/", 12) == 0)
        upkeep_sql(world, "ALTER TABLE t_file_03 RENAME TO t_hidden");
}

/* Where nobody can say any more that a file is to go, it goes back. */
static void a_file_goes_back_when_the_database_fails_after_the_move(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct sweep_result result;
    struct error error = {0};
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 7, 1);
    upkeep_hooks.rename_after = hide_after_rename;
    assert_false(sweep_all(&keeper, true, &result, &error));
    assert_true(upkeep_there(&world, 7));
    upkeep_sql(&world, "ALTER TABLE t_hidden RENAME TO t_file_03");
    end(&world, &keeper);
}

/* ---- the fence itself ---- */

struct reason {
    struct upkeep_world *world;
    int asked;
    bool holds;
    int64_t pass_ms;
};

static enum db_result reason_holds(void *argument, struct db_connection *connection, bool *holds,
                                   struct error *error)
{
    struct reason *reason = argument;
    (void)connection;
    (void)error;
    reason->asked++;
    fake_clock_pass(&reason->world->clock, reason->pass_ms);
    *holds = reason->holds;
    return DB_OK;
}

/* File 7, of four bytes, as somebody looked at it who is about to move it aside. */
struct fenced {
    struct upkeep_world world;
    struct keeper keeper;
    struct reason reason;
    struct store_scan_look look;
    char place[PATH_TEXT_SIZE];
    struct fence_step step;
};

static void start_fenced(struct fenced *fenced)
{
    struct error error = {0};
    start(&fenced->world, &fenced->keeper, NULL);
    upkeep_file(&fenced->world, 7, 4, fenced->place);
    fenced->reason = (struct reason){.world = &fenced->world, .holds = true};
    fenced->step = (struct fence_step){.keeper = &fenced->keeper,
                                       .path = store_at(fenced->world.storage.store, 0),
                                       .name = fenced->place,
                                       .seen = &fenced->look,
                                       .holds = reason_holds,
                                       .argument = &fenced->reason};
    assert_true(store_scan_look(fenced->step.path, fenced->place, &fenced->look, &error));
}

static void expect_fence(struct fenced *fenced, enum fence_outcome outcome, int renames)
{
    struct error error = {0};
    char held[STORE_SCAN_NAME_SIZE];
    assert_int_equal(fence_put_aside(&fenced->step, held, &error), outcome);
    assert_int_equal(upkeep_hooks.renames, renames);
    assert_int_equal(upkeep_there(&fenced->world, 7), outcome != FENCE_DONE);
}

static void a_file_is_moved_only_while_reason_file_and_lease_are_as_they_were(void **state)
{
    enum { GOOD, NO_REASON, OTHER_FILE, NO_LEASE, CASES };
    static const enum fence_outcome outcomes[CASES] = {FENCE_DONE, FENCE_SHUT, FENCE_SHUT, FENCE_FAILED};
    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct fenced fenced;
        char place[PATH_TEXT_SIZE];
        start_fenced(&fenced);
        fenced.reason.holds = i != NO_REASON;
        fenced.reason.pass_ms = i == NO_LEASE ? 23000 : 0;
        if (i == OTHER_FILE)
            upkeep_file(&fenced.world, 7, 5, place);
        expect_fence(&fenced, outcomes[i], i == GOOD ? 1 : 0);
        assert_int_equal(fenced.reason.asked, i == GOOD ? 2 : 1);
        end(&fenced.world, &fenced.keeper);
    }
}

/* Somebody puts another file into its place: while the quarantine is made, or right before the move. */
static int exchanges_left;
static char exchanged[PATH_TEXT_SIZE];
static void exchange(struct upkeep_world *world)
{
    char place[PATH_TEXT_SIZE], path[256], other[256];
    if (exchanges_left-- != 1)
        return;
    upkeep_file(world, 8, 4, place);
    snprintf(other, sizeof(other), "%s/one/%s", world->fixture.directory, place);
    snprintf(path, sizeof(path), "%s/one/%s", world->fixture.directory, exchanged);
    assert_int_equal(syscall(SYS_renameat, AT_FDCWD, other, AT_FDCWD, path), 0);
}

static void exchange_at_sync(struct upkeep_world *world, const char *path)
{
    (void)path;
    exchange(world);
}

static int exchange_at_move(struct upkeep_world *world, const char *from, const char *to)
{
    (void)from;
    (void)to;
    exchange(world);
    return 0;
}

static void a_file_that_is_put_back_meanwhile_stays(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fenced fenced;
        start_fenced(&fenced);
        exchanges_left = 1;
        memcpy(exchanged, fenced.place, sizeof(exchanged));
        if (i == 0)
            upkeep_hooks.synced = exchange_at_sync;
        else
            upkeep_hooks.rename_before = exchange_at_move;
        expect_fence(&fenced, FENCE_SHUT, i == 0 ? 0 : 2);
        assert_int_equal(exchanges_left, i == 0 ? 0 : -1); /* there and back */
        assert_int_equal(upkeep_quarantined(&fenced.world), 0);
        end(&fenced.world, &fenced.keeper);
    }
}

/* A move that could not be synced is taken back, too. */
static void fail_sync_of_quarantine(struct upkeep_world *world, const char *path)
{
    (void)world;
    if (strstr(path, STORE_QUARANTINE) && exchanges_left-- == 1)
        upkeep_hooks.sync_failure = EIO;
    else
        upkeep_hooks.sync_failure = 0;
}

static void a_move_that_cannot_be_synced_is_taken_back(void **state)
{
    struct fenced fenced;
    (void)state;
    start_fenced(&fenced);
    exchanges_left = 1;
    upkeep_hooks.synced = fail_sync_of_quarantine;
    expect_fence(&fenced, FENCE_FAILED, 2);
    end(&fenced.world, &fenced.keeper);
}

static char synced[64][256];
static size_t synced_count;
static void note_synced(struct upkeep_world *world, const char *path)
{
    (void)world;
    if (synced_count < ARRAY_SIZE(synced))
        snprintf(synced[synced_count++], sizeof(synced[0]), "%s", path);
}

static bool was_synced(const struct upkeep_world *world, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", world->fixture.directory, name);
    for (size_t i = 0; i < synced_count; i++) {
        if (strcmp(synced[i], path) == 0)
            return true;
    }
    return false;
}

static void a_move_and_the_quarantine_itself_are_there_to_stay(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 7, 1);
    synced_count = 0;
    upkeep_hooks.synced = note_synced;
    assert_int_equal(sweep(&keeper).leftovers, 1);
    assert_true(was_synced(&world, "one"));
    assert_true(was_synced(&world, "one/.quarantine"));
    assert_true(was_synced(&world, "one/000/000/000"));
    end(&world, &keeper);
}

/* ---- the brake ---- */

static struct lease_row notes(struct upkeep_world *world)
{
    struct lease_row row = {0};
    row.wanted = upkeep_number(world, "SELECT wanted FROM t_lease WHERE name = 'sweep/group001'");
    row.done = upkeep_number(world, "SELECT done FROM t_lease WHERE name = 'sweep/group001'");
    return row;
}

struct confirm {
    bool confirmed;
};
static enum db_result confirm_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct confirm *confirm = argument;
    struct lease_row row;
    enum db_result result = lease_sql_read(connection, "sweep/group001", &row, error);
    return result == DB_OK ? lease_sql_confirm(connection, "sweep/group001", &row, &confirm->confirmed, error)
                           : result;
}

static void turn(struct upkeep_world *world, struct keeper *keeper, int64_t ms)
{
    fake_clock_pass(&world->clock, ms);
    keeper->renew_at_ms = 0;
    keeper_turn(keeper);
}

static void with_an_empty_database_nothing_is_moved_until_a_person_confirms(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct confirm confirm = {0};
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 0, 60);
    turn(&world, &keeper, 0);
    assert_int_equal(upkeep_quarantined(&world), 0);
    assert_int_equal(metric_value(keeper.metrics.sweep_stopped), 1);
    for (int i = 0; i < 5; i++)
        turn(&world, &keeper, 100000);
    struct sweep_result result = sweep(&keeper); /* a scrub's, which is no confirmation either */
    assert_true(result.stopped);
    assert_int_equal(result.left, 60);
    assert_int_equal(upkeep_quarantined(&world), 0);
    assert_int_equal(upkeep_job(&world, confirm_run, &confirm), DB_OK);
    assert_true(confirm.confirmed);
    turn(&world, &keeper, 3000);
    assert_int_equal(upkeep_quarantined(&world), 60);
    assert_int_equal(metric_value(keeper.metrics.sweep_stopped), 0);
    assert_int_equal(notes(&world).done, 1);
    /* It counts once. */
    leftovers(&world, 100, 60);
    assert_true(sweep(&keeper).stopped);
    assert_int_equal(upkeep_quarantined(&world), 60);
    end(&world, &keeper);
}

static void few_leftovers_or_a_small_share_need_no_person(void **state)
{
    static const struct {
        int stored, leftovers;
        const char *options;
        bool stopped;
    } rows[] = {
        {0, 16, NULL, false},
        {0, 17, NULL, true},
        {100, 17, NULL, true},  /* 14.5 per cent */
        {160, 17, NULL, false}, /* 9.6 per cent */
        {160, 17, "storage.leftovers_share=9", true},
        {160, 17, "storage.leftovers_max=16", true},
        {160, 17, "storage.leftovers_max=17", false},
        {0, 30, "storage.leftovers_share=100", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct upkeep_world world;
        struct keeper keeper;
        start(&world, &keeper, rows[i].options);
        stored(&world, 0, rows[i].stored);
        leftovers(&world, 300, rows[i].leftovers);
        struct sweep_result result = sweep(&keeper);
        assert_int_equal(result.stopped, rows[i].stopped);
        assert_int_equal(upkeep_quarantined(&world), rows[i].stopped ? 0 : rows[i].leftovers);
        end(&world, &keeper);
    }
}

static void when_the_right_database_is_back_it_goes_on_by_itself(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, "storage.sweep_interval=1h");
    stored(&world, 0, 40);
    leftovers(&world, 300, 1);
    upkeep_sql(&world, "UPDATE t_file_02 SET file_path = 'x' || file_path"); /* as good as none */
    turn(&world, &keeper, 0);
    assert_int_equal(metric_value(keeper.metrics.sweep_stopped), 1);
    upkeep_sql(&world, "UPDATE t_file_02 SET file_path = substr(file_path, 2)");
    upkeep_sql(
        &world,
        "UPDATE t_lease SET progress = json_set(progress, '$.finished', 5) WHERE name LIKE 'sweep/%%'");
    turn(&world, &keeper, 3000);
    assert_int_equal(metric_value(keeper.metrics.sweep_stopped), 0);
    turn(&world, &keeper, 3000);
    assert_int_equal(upkeep_quarantined(&world), 1);
    end(&world, &keeper);
}

/* ---- its place ---- */

static int directories_opened[4]; /* 000/000/00N */
static struct keeper *stopping;
static int count_directories(struct upkeep_world *world, const char *name)
{
    if (strlen(name) == 11 && strncmp(name, "000/000/00", 10) == 0 && name[10] < '4')
        directories_opened[name[10] - '0']++;
    if (strlen(name) == 11)
        fake_clock_pass(&world->clock, 31000); /* the place is stored after half a minute at the latest */
    if (stopping && strcmp(name, "000/000/002") == 0)
        keeper_stop(stopping);
    return 0;
}

static void another_member_goes_on_behind_the_stored_place(void **state)
{
    struct upkeep_world world;
    struct keeper first, second;
    (void)state;
    /* The term of the lease outlasts a directory of this test. */
    start(&world, &first, "storage.lease=10m");
    for (int i = 0; i < 4; i++)
        stored(&world, (int64_t)i * 512, 2);
    leftovers(&world, 3 * 512 + 5, 1);
    memset(directories_opened, 0, sizeof(directories_opened));
    upkeep_hooks.open_before = count_directories;
    stopping = &first;
    turn(&world, &first, 0);
    stopping = NULL;
    assert_int_equal(directories_opened[0], 1);
    assert_int_equal(directories_opened[3], 0);
    upkeep_member_end(&first);
    upkeep_member_start(&world, &second, &sweep_chore, 1);
    turn(&world, &second, 700000);
    turn(&world, &second, 700000);
    assert_int_equal(directories_opened[0], 1);
    assert_int_equal(directories_opened[3], 2); /* and for the move's sync */
    assert_int_equal(upkeep_quarantined(&world), 1);
    assert_int_equal(
        upkeep_number(&world,
                      "SELECT json_extract(progress, '$.files') FROM t_lease WHERE name LIKE 'sweep%%'"),
        9);
    end(&world, &second);
}

/* A start costs nothing while the last sweep is not older than the interval, however many files there are. */
static void a_new_holder_does_not_walk_before_it_is_time(void **state)
{
    struct upkeep_world world;
    struct keeper first, second;
    (void)state;
    start(&world, &first, "storage.sweep_interval=1d");
    stored(&world, 0, 2);
    turn(&world, &first, 0);
    memset(directories_opened, 0, sizeof(directories_opened));
    upkeep_hooks.open_before = count_directories;
    upkeep_member_end(&first);
    upkeep_member_start(&world, &second, &sweep_chore, 1);
    for (int i = 0; i < 5; i++)
        turn(&world, &second, 61000);
    assert_int_equal(directories_opened[0], 0);
    upkeep_sql(&world, "UPDATE t_lease SET progress = json_set(progress, '$.finished', "
                       "strftime('%%s', 'now') - 86401) WHERE name LIKE 'sweep/%%'");
    turn(&world, &second, 61000);
    assert_int_equal(directories_opened[0], 1);
    /* One that ended in the future ended before a clock was set back. */
    upkeep_sql(&world,
               "UPDATE t_lease SET progress = json_set(progress, '$.finished', 99999999999) WHERE name LIKE "
               "'sweep/%%'");
    turn(&world, &second, 61000);
    assert_int_equal(directories_opened[0], 1);
    end(&world, &second);
}

static void a_sweep_gives_way_to_a_scrub_that_is_asked_for(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    leftovers(&world, 0, 1);
    upkeep_sql(&world, "UPDATE t_lease SET wanted = 1 WHERE name = 'upkeep/group001'");
    turn(&world, &keeper, 0);
    assert_int_equal(upkeep_quarantined(&world), 0);
    assert_int_equal(sweep(&keeper).leftovers, 1); /* the scrub's own */
    end(&world, &keeper);
}

static void what_a_former_holder_stores_is_refused(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    struct sweep_result result;
    struct error error = {0};
    (void)state;
    start(&world, &keeper, NULL);
    stored(&world, 0, 1);
    upkeep_sql(
        &world,
        "CREATE TRIGGER taken AFTER UPDATE OF renewals ON t_lease WHEN NEW.name = 'sweep/group001' BEGIN "
        "UPDATE t_lease SET owner = 'another' WHERE name = 'sweep/group001'; END");
    assert_false(sweep_all(&keeper, true, &result, &error));
    assert_int_equal(error.code, ERROR_CANCELLED);
    end(&world, &keeper);
}

static int failing_directory(struct upkeep_world *world, const char *name)
{
    (void)world;
    return strcmp(name, "000/000/000") == 0 ? EIO : 0;
}

static void a_store_that_fails_pauses_the_sweep(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    stored(&world, 0, 1);
    upkeep_hooks.open_before = failing_directory;
    turn(&world, &keeper, 0);
    assert_non_null(strstr(keeper.last_error, "the clean-up pauses"));
    end(&world, &keeper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_files_without_a_row_that_are_old_go_into_quarantine),
        cmocka_unit_test(a_file_whose_row_comes_while_it_is_moved_goes_back),
        cmocka_unit_test(files_of_partial_uploads_are_no_leftovers),
        cmocka_unit_test(a_file_whose_partial_upload_comes_while_it_is_moved_goes_back),
        cmocka_unit_test(a_file_goes_back_when_the_database_fails_after_the_move),
        cmocka_unit_test(a_file_is_moved_only_while_reason_file_and_lease_are_as_they_were),
        cmocka_unit_test(a_file_that_is_put_back_meanwhile_stays),
        cmocka_unit_test(a_move_that_cannot_be_synced_is_taken_back),
        cmocka_unit_test(a_move_and_the_quarantine_itself_are_there_to_stay),
        cmocka_unit_test(with_an_empty_database_nothing_is_moved_until_a_person_confirms),
        cmocka_unit_test(few_leftovers_or_a_small_share_need_no_person),
        cmocka_unit_test(when_the_right_database_is_back_it_goes_on_by_itself),
        cmocka_unit_test(another_member_goes_on_behind_the_stored_place),
        cmocka_unit_test(a_new_holder_does_not_walk_before_it_is_time),
        cmocka_unit_test(a_sweep_gives_way_to_a_scrub_that_is_asked_for),
        cmocka_unit_test(what_a_former_holder_stores_is_refused),
        cmocka_unit_test(a_store_that_fails_pauses_the_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
