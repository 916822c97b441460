/* The scrub: what it finds, what a repair does, where it goes on; on real files and SQLite, with clocks of the test. */
#include "tests/unit/library/upkeep_world.h"

#include "storage/upkeep/scrub.h"
#include "storage/upkeep/sweep.h"

#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>

struct want {
    bool repair;
    int64_t number;
};

static enum db_result want_run(void *argument, struct db_connection *connection, struct error *error)
{
    struct want *want = argument;
    return lease_sql_want(connection, "upkeep/group001", want->repair, &want->number, error);
}

static int64_t want(struct upkeep_world *world, bool repair)
{
    struct want wanted = {.repair = repair};
    assert_int_equal(upkeep_job(world, want_run, &wanted), DB_OK);
    return wanted.number;
}

/* Takes turns until the scrub NUMBER is over. */
static void turn_until_done(struct upkeep_world *world, struct keeper *keeper, int64_t number)
{
    for (int i = 0; i < 50; i++) {
        keeper->renew_at_ms = 0;
        keeper_turn(keeper);
        if (upkeep_number(world, "SELECT done FROM t_lease WHERE name = 'upkeep/group001'") >= number)
            return;
        fake_clock_pass(&world->clock, 5000);
    }
    fail_msg("the scrub does not end");
}

static json_t *report(struct upkeep_world *world)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(world->beside,
                                        "SELECT progress FROM t_lease WHERE name = 'upkeep/group001'", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    json_t *json = json_loads((const char *)sqlite3_column_text(statement, 0), 0, NULL);
    sqlite3_finalize(statement);
    assert_non_null(json);
    return json;
}

static int64_t reported(struct upkeep_world *world, const char *name)
{
    json_t *json = report(world), *findings = json_object_get(json, "findings");
    const json_t *value =
        json_object_get(findings, name) ? json_object_get(findings, name) : json_object_get(json, name);
    int64_t number = json_is_true(value) ? 1 : (int64_t)json_integer_value(value);
    json_decref(json);
    return number;
}

static void scrub(struct upkeep_world *world, struct keeper *keeper, bool repair)
{
    turn_until_done(world, keeper, want(world, repair));
}

static void start(struct upkeep_world *world, struct keeper *keeper, const char *options)
{
    upkeep_world_start(world, options);
    upkeep_member_start(world, keeper, &scrub_chore, 1);
    upkeep_member_leads(keeper);
}

static void end(struct upkeep_world *world, struct keeper *keeper)
{
    upkeep_member_end(keeper);
    upkeep_world_end(world);
}

static void sound_files_are_read_back_and_gain_digests(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    for (int i = 0; i < 230; i++) { /* three pages */
        char id[16];
        snprintf(id, sizeof(id), "file%d", i);
        upkeep_stored(&world, id, i, (size_t)i, NULL);
    }
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "rows"), 230);
    assert_int_equal(reported(&world, "bytes"), 229 * 230 / 2);
    assert_int_equal(reported(&world, "digests"), 230);
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "digests"), 0);
    assert_int_equal(reported(&world, "wrong-digest"), 0);
    /* A row of an earlier version has an XXH3-128 alone; and what has that may still have other bytes. */
    upkeep_sql(&world, "UPDATE t_file_02 SET sha256 = '' WHERE id IN ('file7', 'file8')");
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "digests"), 2);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE length(sha256) = 64"), 230);
    upkeep_sql(&world, "UPDATE t_file_02 SET sha256 = replace(sha256, substr(sha256, 1, 8), '00000000') "
                       "WHERE id = 'file9'");
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "wrong-digest"), 1);
    end(&world, &keeper);
}

/* Writes other bytes in place of number VALUE's. */
static void write_bytes(struct upkeep_world *world, int64_t value, const char *bytes)
{
    const struct path path = {.value = value, .seconds = 0x5F9E3FA7};
    char place[PATH_TEXT_SIZE], name[256];
    assert_true(path_format(&path, place));
    snprintf(name, sizeof(name), "%s/one/%s", world->fixture.directory, place);
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(bytes, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void move_to_quarantine(struct upkeep_world *world, int64_t value)
{
    char from[256], to[256];
    snprintf(to, sizeof(to), "%s/one/.quarantine", world->fixture.directory);
    assert_true(mkdir(to, 0755) == 0 || errno == EEXIST);
    snprintf(from, sizeof(from), "%s/one/000/000/000/" UPKEEP_OLD "_%03llX", world->fixture.directory,
             (long long)value);
    snprintf(to, sizeof(to), "%s/one/.quarantine/000-000-000-" UPKEEP_OLD "_%03llX.0",
             world->fixture.directory, (long long)value);
    assert_int_equal(rename(from, to), 0);
}

/* As after a clean-up with the wrong database; a repair may have run before the right one is back, or afterwards. */
static void what_lies_in_quarantine_is_not_missing(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "one", 1, 10, NULL);
    upkeep_stored(&world, "two", 2, 10, NULL);
    scrub(&world, &keeper, false); /* gives digests */
    move_to_quarantine(&world, 1);
    move_to_quarantine(&world, 2);
    upkeep_sql(&world, "UPDATE t_file_02 SET status = 3 WHERE id = 'two'");
    scrub(&world, &keeper, true);
    assert_int_equal(upkeep_status_of(&world, "one"), 0);
    assert_int_equal(upkeep_status_of(&world, "two"), 0);
    assert_true(upkeep_there(&world, 1) && upkeep_there(&world, 2));
    assert_int_equal(upkeep_quarantined(&world), 0);
    json_t *json = report(&world);
    assert_int_equal(json_array_size(json_object_get(json, "lines")), 0);
    json_decref(json);
    end(&world, &keeper);
}

static void each_fault_is_found_and_a_repair_takes_it_out_of_service(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "whole", 1, 10, NULL);
    upkeep_stored(&world, "flipped", 2, 10, NULL);
    upkeep_stored(&world, "cut", 3, 10, NULL);
    upkeep_stored(&world, "odd", 7, 10, "status = 9");
    scrub(&world, &keeper, false); /* gives digests */
    write_bytes(&world, 2, "yyyyyyyyyy");
    write_bytes(&world, 3, "xxx");
    write_bytes(&world, 7, "xxx");
    upkeep_row(&world, "missing", 4, 10, NULL);
    upkeep_row(&world, "nowhere", 5, 10, "file_path = '/etc/passwd'");
    upkeep_row(&world, "foreign", 6, 10, "group_name = 'group002'");
    for (int repair = 0; repair < 2; repair++) {
        scrub(&world, &keeper, repair == 1);
        assert_int_equal(reported(&world, "rows"), 6);
        assert_int_equal(reported(&world, "wrong-digest"), 1);
        assert_int_equal(reported(&world, "wrong-size"), 2);
        assert_int_equal(reported(&world, "missing"), 1);
        assert_int_equal(reported(&world, "unknown-place"), 1);
        assert_int_equal(reported(&world, "repaired"), repair == 1 ? 3 : 0);
        assert_int_equal(upkeep_status_of(&world, "flipped"), repair == 1 ? 3 : 0);
    }
    assert_int_equal(upkeep_status_of(&world, "cut"), 3);
    assert_int_equal(upkeep_status_of(&world, "missing"), 3);
    assert_int_equal(upkeep_status_of(&world, "whole"), 0);
    assert_int_equal(upkeep_status_of(&world, "nowhere"), 0);
    assert_int_equal(upkeep_status_of(&world, "foreign"), 0);
    assert_int_equal(upkeep_status_of(&world, "odd"), 9); /* nobody knows what it means: it stays as it is */
    assert_true(upkeep_there(&world, 7));
    assert_false(upkeep_there(&world, 2));
    assert_false(upkeep_there(&world, 3));
    assert_int_equal(upkeep_quarantined(&world), 2);
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "out-of-service"), 3);
    json_t *json = report(&world);
    assert_int_equal(json_array_size(json_object_get(json, "lines")), 5);
    json_decref(json);
    end(&world, &keeper);
}

/* Damaged and deleted are two facts: what is right again goes back to what it was. */
static void a_deleted_file_stays_deleted_through_damage_and_healing(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "kept", 1, 10, NULL);
    upkeep_stored(&world, "trash", 2, 10, "status = 1, deleted_at = 77");
    scrub(&world, &keeper, false);
    write_bytes(&world, 1, "yyyyyyyyyy");
    write_bytes(&world, 2, "yyyyyyyyyy");
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "repaired"), 2);
    assert_int_equal(upkeep_status_of(&world, "kept"), META_STATE_DAMAGED);
    assert_int_equal(upkeep_status_of(&world, "trash"), META_STATE_DAMAGED_DELETED);
    write_bytes(&world, 1, "xxxxxxxxxx");
    write_bytes(&world, 2, "xxxxxxxxxx");
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "out-of-service"), 2);
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "healed"), 2);
    assert_int_equal(upkeep_status_of(&world, "kept"), META_STATE_NORMAL);
    assert_int_equal(upkeep_status_of(&world, "trash"), META_STATE_DELETED);
    assert_int_equal(upkeep_number(&world, "SELECT deleted_at FROM t_file_02 WHERE id = 'trash'"), 77);
    end(&world, &keeper);
}

static void a_row_of_the_predecessor_without_a_size_is_not_judged_by_it(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "old", 1, 10, "file_size = NULL, group_name = ''");
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "wrong-size"), 0);
    assert_int_equal(reported(&world, "digests"), 1);
    assert_int_equal(upkeep_status_of(&world, "old"), 0);
    assert_true(upkeep_there(&world, 1));
    write_bytes(&world, 1, "yyyyyyyyyy"); /* but by its digest */
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "wrong-digest"), 1);
    end(&world, &keeper);
}

/* Two groups of the predecessor used the same path for two files, one of which is here. */
static void of_rows_without_a_group_that_share_a_path_none_is_judged(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "mine", 1, 10, "group_name = ''");
    upkeep_row(&world, "theirs", 1, 999, "group_name = ''");
    upkeep_stored(&world, "alone", 2, 10, "group_name = ''");
    upkeep_row(&world, "far", 3, 10, "group_name = ''");
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "elsewhere"), 3);
    assert_int_equal(reported(&world, "digests"), 1);
    assert_int_equal(reported(&world, "repaired"), 0);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE digest <> ''"), 1);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE status <> 0"), 0);
    assert_true(upkeep_there(&world, 1));
    end(&world, &keeper);
}

static const char *healed; /* what another member does to the row meanwhile */

static int heal_before_rename(struct upkeep_world *world, const char *from, const char *to)
{
    (void)from;
    if (strncmp(to, ".quarantine/", 12) == 0)
        upkeep_sql(world, "%s", healed);
    return 0;
}

/* A holder that was stopped right before its rename moves what another member has healed since: it notices. */
static void a_file_that_was_healed_before_it_was_moved_goes_back(void **state)
{
    /* The file is right again; its row was stored anew elsewhere, found damaged there too, and another
     * one has the file. */
    static const char *const ways[] = {
        "UPDATE t_file_02 SET status = 0",
        "UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_009';"
        "INSERT INTO t_file_03 (id, status, file_size, file_path, group_name) VALUES "
        "('new', 0, 3, '../data/000/000/000/5F9E3FA7_001', 'group001')", /* else it is a leftover */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct upkeep_world world;
        struct keeper keeper;
        start(&world, &keeper, NULL);
        upkeep_stored(&world, "file", 1, 10, NULL);
        write_bytes(&world, 1, "xxx");
        healed = ways[i];
        upkeep_hooks.rename_before = heal_before_rename;
        scrub(&world, &keeper, true);
        assert_int_equal(upkeep_hooks.renames, 2);
        assert_true(upkeep_there(&world, 1));
        assert_int_equal(upkeep_quarantined(&world), 0);
        end(&world, &keeper);
    }
}

static int take_lease_away(struct upkeep_world *world)
{
    upkeep_sql(world, "UPDATE t_lease SET owner = 'another' WHERE name = 'upkeep/group001'");
    return 0;
}

/* The lease is another member's while this one still reads: whatever it found, it changes no row. */
static void a_former_holder_of_the_lease_changes_no_row(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    for (int digest = 0; digest < 2; digest++) {
        start(&world, &keeper, NULL);
        upkeep_stored(&world, "file", 1, 10, NULL);
        if (digest == 0) {
            scrub(&world, &keeper, false);
            write_bytes(&world, 1, "yyyyyyyyyy");
        }
        want(&world, true);
        upkeep_hooks.read_before = take_lease_away;
        keeper.renew_at_ms = 0;
        keeper_turn(&keeper);
        upkeep_hooks.read_before = NULL;
        assert_int_equal(upkeep_status_of(&world, "file"), 0);
        assert_true(upkeep_there(&world, 1));
        assert_int_equal(upkeep_number(&world, "SELECT digest <> '' FROM t_file_02"), digest == 0 ? 1 : 0);
        end(&world, &keeper);
    }
}

static int delete_before_read(struct upkeep_world *world)
{
    upkeep_sql(world, "UPDATE t_file_02 SET status = 1, deleted_at = 5 WHERE id = 'file'");
    return 0;
}

static void a_row_that_changes_while_its_file_is_read_is_not_judged(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "file", 1, 10, NULL);
    scrub(&world, &keeper, false);
    write_bytes(&world, 1, "yyyyyyyyyy");
    upkeep_hooks.read_before = delete_before_read;
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "wrong-digest"), 0);
    assert_int_equal(upkeep_status_of(&world, "file"), META_STATE_DELETED);
    end(&world, &keeper);
}

static int failing_read(struct upkeep_world *world)
{
    (void)world;
    return EIO;
}

static int failing_open(struct upkeep_world *world, const char *name)
{
    (void)world;
    return strstr(name, "5F9E3FA7_001") ? EIO : 0;
}

static void what_cannot_be_read_is_reported_and_nothing_is_done_about_it(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    for (int way = 0; way < 2; way++) {
        start(&world, &keeper, NULL);
        upkeep_stored(&world, "file", 1, 10, NULL);
        upkeep_hooks.read_before = way == 0 ? failing_read : NULL;
        upkeep_hooks.open_before = way == 1 ? failing_open : NULL;
        scrub(&world, &keeper, true);
        assert_int_equal(reported(&world, "unreadable"), 1);
        assert_int_equal(upkeep_status_of(&world, "file"), 0);
        assert_true(upkeep_there(&world, 1));
        end(&world, &keeper);
    }
}

static void what_is_no_regular_file_is_marked_and_stays(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    char path[256];
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "file", 1, 0, NULL);
    snprintf(path, sizeof(path), "%s/one/000/000/000/5F9E3FA7_001", world.fixture.directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    scrub(&world, &keeper, true);
    assert_int_equal(reported(&world, "wrong-size"), 1);
    assert_int_equal(upkeep_status_of(&world, "file"), META_STATE_DAMAGED);
    assert_int_equal(upkeep_quarantined(&world), 0);
    end(&world, &keeper);
}

static int slow_read(struct upkeep_world *world)
{
    fake_clock_pass(&world->clock, 2500);
    return 0;
}

static struct keeper *to_stop;
static int reads_left;
static int stop_after_reads(struct upkeep_world *world)
{
    fake_clock_pass(&world->clock, 2500); /* its place is stored every two seconds */
    if (--reads_left == 0)
        keeper_stop(to_stop);
    return 0;
}

/* Two reads per file: its bytes, its end. */
static void another_member_goes_on_where_the_first_one_stopped_and_repairs_as_it_was_asked_to(void **state)
{
    struct upkeep_world world;
    struct keeper first, second;
    (void)state;
    start(&world, &first, NULL);
    for (int i = 0; i < 10; i++) {
        char id[16];
        snprintf(id, sizeof(id), "file%d", i);
        upkeep_stored(&world, id, i, 10, NULL);
    }
    write_bytes(&world, 9, "xxx");
    int64_t repairing = want(&world, true);
    to_stop = &first;
    reads_left = 9;
    upkeep_hooks.read_before = stop_after_reads;
    first.renew_at_ms = 0;
    keeper_turn(&first);
    upkeep_member_end(&first);
    upkeep_hooks.read_before = slow_read;
    /* What is asked for meanwhile must not make it forget that it is a repair. */
    int64_t checking = want(&world, false);
    assert_int_equal(checking, repairing + 1);
    upkeep_member_start(&world, &second, &scrub_chore, 1);
    turn_until_done(&world, &second, repairing);
    assert_int_equal(reported(&world, "run"), repairing);
    assert_int_equal(reported(&world, "repair"), 1);
    assert_int_equal(reported(&world, "rows"), 10);
    assert_true(reported(&world, "digests") < 10 + 1);
    assert_int_equal(upkeep_number(&world, "SELECT COUNT(*) FROM t_file_02 WHERE digest <> ''"), 9);
    assert_int_equal(upkeep_status_of(&world, "file9"), META_STATE_DAMAGED);
    turn_until_done(&world, &second, checking);
    assert_int_equal(reported(&world, "repair"), 0);
    end(&world, &second);
}

static void a_repair_that_waits_is_not_swallowed_by_a_plain_check_behind_it(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_row(&world, "missing", 4, 10, NULL);
    want(&world, true);
    int64_t last = want(&world, false);
    turn_until_done(&world, &keeper, last);
    assert_int_equal(reported(&world, "repair"), 1);
    assert_int_equal(upkeep_status_of(&world, "missing"), META_STATE_DAMAGED);
    /* And it is used up. */
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "repair"), 0);
    end(&world, &keeper);
}

static void a_scrub_that_nobody_asks_for_runs_at_its_interval(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, "storage.scrub_interval=1h");
    upkeep_stored(&world, "file", 1, 10, NULL);
    keeper_turn(&keeper);
    assert_int_equal(upkeep_number(&world, "SELECT LENGTH(progress) > 0 FROM t_lease"), 0);
    fake_clock_pass(&world.clock, 11 * 60 * 1000); /* not at once after a start */
    keeper_turn(&keeper);
    assert_int_equal(reported(&world, "rows"), 1);
    assert_int_equal(reported(&world, "run"), 0);
    int64_t finished = reported(&world, "finished");
    fake_clock_pass(&world.clock, 61 * 1000);
    keeper_turn(&keeper);
    assert_int_equal(reported(&world, "finished"), finished);
    end(&world, &keeper);
}

static void an_unasked_scrub_gives_way_to_one_that_is_asked_for(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, "storage.scrub_interval=1h");
    upkeep_stored(&world, "file", 1, 10, NULL);
    upkeep_stored(&world, "file2", 2, 10, NULL);
    upkeep_sql(
        &world,
        "UPDATE t_lease SET progress = '{\"phase\": \"rows\", \"run\": 0, \"table\": 0, \"after\": 0}'");
    scrub(&world, &keeper, false);
    assert_int_equal(reported(&world, "run"), 1);
    assert_int_equal(reported(&world, "rows"), 2);
    end(&world, &keeper);
}

/* The progress is a row of a database that others write too. */
static void a_place_that_makes_no_sense_means_the_beginning(void **state)
{
    static const char *const places[] = {
        "rubbish", "{\"phase\": \"rows\", \"run\": 1, \"table\": 77, \"after\": 3}",
        "{\"phase\": 5, \"run\": \"x\"}", "{\"phase\": \"rows\", \"run\": 1, \"table\": 3, \"lines\": 4}"};
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        start(&world, &keeper, NULL);
        upkeep_row(&world, "missing", 1, 10, NULL);
        upkeep_sql(&world, "UPDATE t_lease SET wanted = 1, progress = '%s'", places[i]);
        turn_until_done(&world, &keeper, 1);
        if (i != 3)
            assert_int_equal(reported(&world, "missing"), 1);
        end(&world, &keeper);
    }
}

static void a_database_that_fails_pauses_the_scrub(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    (void)state;
    start(&world, &keeper, NULL);
    upkeep_stored(&world, "file", 1, 10, NULL);
    int64_t number = want(&world, false);
    upkeep_sql(&world, "ALTER TABLE t_file_02 RENAME TO t_hidden");
    keeper.renew_at_ms = 0;
    keeper_turn(&keeper);
    assert_int_equal(upkeep_number(&world, "SELECT done FROM t_lease WHERE name = 'upkeep/group001'"), 0);
    assert_true(keeper.last_error[0] != '\0');
    upkeep_sql(&world, "ALTER TABLE t_hidden RENAME TO t_file_02");
    fake_clock_pass(&world.clock, 6000);
    turn_until_done(&world, &keeper, number);
    assert_int_equal(reported(&world, "digests"), 1);
    end(&world, &keeper);
}

/* Another directory is laid in the store path's place, with nothing in it; the former one stays open until the next look. */
static void exchange(const struct upkeep_world *world)
{
    char path[256], former[256];
    snprintf(path, sizeof(path), "%s/one", world->fixture.directory);
    snprintf(former, sizeof(former), "%s/former", world->fixture.directory);
    assert_int_equal(rename(path, former), 0);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void nothing_is_judged_by_a_directory_that_lies_at_the_store_path_no_more(void **state)
{
    struct upkeep_world world;
    struct keeper keeper;
    char place[PATH_TEXT_SIZE];
    (void)state;
    for (int way = 0; way < 3; way++) { /* no file; a wrong one; one that is right again */
        start(&world, &keeper, NULL);
        upkeep_row(&world, "file", 1, way == 1 ? 11 : 10, NULL);
        if (way > 0)
            upkeep_file(&world, 1, 10, place);
        if (way == 2) {
            scrub(&world, &keeper, false);
            upkeep_sql(&world, "UPDATE t_file_02 SET status = 3");
        }
        exchange(&world);
        want(&world, true);
        keeper.renew_at_ms = 0;
        keeper_turn(&keeper);
        assert_non_null(strstr(keeper.last_error, "another directory appeared"));
        assert_int_equal(upkeep_status_of(&world, "file"), way == 2 ? 3 : 0);
        assert_int_equal(upkeep_hooks.renames, 0);
        end(&world, &keeper);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_files_are_read_back_and_gain_digests),
        cmocka_unit_test(what_lies_in_quarantine_is_not_missing),
        cmocka_unit_test(each_fault_is_found_and_a_repair_takes_it_out_of_service),
        cmocka_unit_test(a_deleted_file_stays_deleted_through_damage_and_healing),
        cmocka_unit_test(a_row_of_the_predecessor_without_a_size_is_not_judged_by_it),
        cmocka_unit_test(of_rows_without_a_group_that_share_a_path_none_is_judged),
        cmocka_unit_test(a_file_that_was_healed_before_it_was_moved_goes_back),
        cmocka_unit_test(a_former_holder_of_the_lease_changes_no_row),
        cmocka_unit_test(a_row_that_changes_while_its_file_is_read_is_not_judged),
        cmocka_unit_test(what_cannot_be_read_is_reported_and_nothing_is_done_about_it),
        cmocka_unit_test(what_is_no_regular_file_is_marked_and_stays),
        cmocka_unit_test(another_member_goes_on_where_the_first_one_stopped_and_repairs_as_it_was_asked_to),
        cmocka_unit_test(a_repair_that_waits_is_not_swallowed_by_a_plain_check_behind_it),
        cmocka_unit_test(a_scrub_that_nobody_asks_for_runs_at_its_interval),
        cmocka_unit_test(an_unasked_scrub_gives_way_to_one_that_is_asked_for),
        cmocka_unit_test(a_place_that_makes_no_sense_means_the_beginning),
        cmocka_unit_test(a_database_that_fails_pauses_the_scrub),
        cmocka_unit_test(nothing_is_judged_by_a_directory_that_lies_at_the_store_path_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
