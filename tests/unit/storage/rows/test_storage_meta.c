/* File rows on a real SQLite database: cached, shared, changed, and there while the database is away. */
#include "storage/rows/meta_move.h"
#include "common/db/schema.h"
#include "common/proto/proto_put.h"
#include "sql/storage_sql.h"
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/meta_world.h"

#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>

/* ---- tests ---- */

static void a_row_comes_back_as_it_was_added(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_find(&world, &key, NULL), META_ABSENT);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "Film \xc3\xbc.mp4")->outcome, META_INSERTED);
    for (int round = 0; round < 2; round++) {
        memset(&row, 0, sizeof(row));
        if (round == 0)
            assert_true(meta_find_cached(world.meta, &key, &row)); /* added means known */
        else
            assert_int_equal(rows_find(&world, &key, &row), META_DONE);
        assert_string_equal(row.file_path, "../data/000/000/000/5F9E3FA7_005");
        assert_ptr_equal(row.path, store_at(world.store, 0));
        assert_int_equal(row.place.value, 5);
        assert_int_equal(row.stat.size, 77);
        assert_int_equal(row.stat.created, 0x5F9E3FA7);
        assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
        assert_true(row.has_texts && row.stat.has_digest && row.stat.digest[15] == 0xAB);
        assert_string_equal(row.stat.name, "Film \xc3\xbc.mp4");
        assert_string_equal(row.stat.content_type, "video/mp4");
        assert_string_equal(row.stat.group, "group001");
    }
    meta_world_end(&world);
}

static void a_long_name_is_not_cached_but_kept(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    char name[PROTO_NAME_SIZE];
    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, name)->outcome, META_INSERTED);
    assert_true(meta_find_cached(world.meta, &key, &row));
    assert_false(row.has_texts);
    assert_int_equal(row.stat.size, 77);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_true(row.has_texts);
    assert_string_equal(row.stat.name, name);
    meta_world_end(&world);
}

static void of_two_rows_with_one_key_the_first_stays(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1"), other = meta_world_key("bob", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    struct meta_insert *second = rows_insert(&world, &key, 6, 78, "");
    assert_int_equal(second->outcome, META_TAKEN);
    assert_string_equal(second->other.file_path, "../data/000/000/000/5F9E3FA7_005");
    assert_int_equal(second->other.stat.size, 77);
    /* The very same row once more: the first INSERT did count, and its answer was lost. */
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_int_equal(rows_insert(&world, &other, 7, 79, "")->outcome, META_INSERTED);
    meta_world_end(&world);
}

static void deleting_hides_at_once_and_restoring_brings_back(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1"), unknown = meta_world_key("alice", "file2");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_NO_ROW);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    struct meta_change *deletion = rows_change(&world, &key, PROTO_FILE_DELETED);
    assert_int_equal(deletion->outcome, META_CHANGED);
    assert_int_equal(deletion->row.place.value, 5);
    assert_false(meta_find_cached(world.meta, &key, &row));
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    assert_in_range(row.stat.deleted, clock_wall_seconds() - 60, clock_wall_seconds() + 1);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_ALREADY);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_ALREADY);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    assert_int_equal(row.stat.deleted, 0);
    assert_int_equal(rows_change(&world, &unknown, PROTO_FILE_NORMAL)->outcome, META_NO_ROW);
    meta_world_end(&world);
}

/* A DELETE or RESTORE as the database gets it from a connection that was given up: after others have changed the row. */
struct late {
    struct db_job job;
    const struct store *store;
    struct proto_file_key key;
    struct meta_row seen;
    enum proto_file_status status;
    bool reads, changed;
};

static enum db_result late_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct late *late = CONTAINER_OF(job, struct late, job);
    bool found = false;
    if (!late->reads)
        return meta_sql_set_status(connection, &late->key, "group001", &late->seen, late->status,
                                   late->status == PROTO_FILE_DELETED ? clock_wall_seconds() : -1, 77, 0,
                                   &late->changed, error);
    enum db_result result = meta_sql_find(connection, late->store, &late->key, &late->seen, &found, error);
    assert_true(found);
    return result;
}

static void see(struct meta_world *world, struct late *late)
{
    late->job = (struct db_job){.run = late_run};
    late->reads = true;
    assert_int_equal(meta_run_wait(world->meta, &late->job), DB_OK);
}

static bool carry_out_late(struct meta_world *world, struct late *late)
{
    late->job = (struct db_job){.run = late_run};
    late->reads = false;
    assert_int_equal(meta_run_wait(world->meta, &late->job), DB_OK);
    return late->changed;
}

static void a_statement_that_arrives_late_changes_nothing(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    struct late deletion = {.store = world.store, .key = key, .status = PROTO_FILE_DELETED};
    struct late restoration = {.store = world.store, .key = key, .status = PROTO_FILE_NORMAL};
    for (int round = 0; round < 2; round++) { /* of a fresh row, and of one that was restored before */
        see(&world, &deletion);
        assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
        assert_false(carry_out_late(&world, &deletion));
        see(&world, &restoration);
        assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
        assert_false(carry_out_late(&world, &deletion));
        assert_false(carry_out_late(&world, &restoration));
        assert_int_equal(rows_find(&world, &key, &row), META_DONE);
        assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
        assert_int_equal(row.stat.deleted, 0);
    }
    /* Deleted again in the same second: only its change_id distinguishes the two deletions. */
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    meta_world_beside(&world, "UPDATE t_file_02 SET deleted_at = 5 WHERE id = 'file1'");
    see(&world, &restoration);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    meta_world_beside(&world, "UPDATE t_file_02 SET deleted_at = 5 WHERE id = 'file1'");
    assert_false(carry_out_late(&world, &restoration));
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    /* The row of another file under the same key. */
    see(&world, &deletion);
    meta_world_beside(
        &world, "UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_006' WHERE id = 'file1'");
    assert_false(carry_out_late(&world, &deletion));
    see(&world, &deletion);
    assert_true(carry_out_late(&world, &deletion));
    meta_world_end(&world);
}

static void a_file_is_renamed_while_it_is_there_and_ours(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_rename(&world, &key, "new.mp4")->result, META_ABSENT);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "old.mp4")->outcome, META_INSERTED);
    assert_int_equal(rows_rename(&world, &key, "new.mp4")->result, META_DONE);
    assert_false(meta_find_cached(world.meta, &key, &row));
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_string_equal(row.stat.name, "new.mp4");
    assert_string_equal(row.stat.content_type, "video/mp4");
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    assert_int_not_equal(row.change_id, 0);
    assert_int_equal(rows_rename(&world, &key, "new.mp4")->result, META_DONE);
    assert_int_equal(rows_rename(&world, &key, "")->result, META_DONE);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    struct meta_edit *rename = rows_rename(&world, &key, "more.mp4");
    assert_int_equal(rename->result, META_FAILED);
    assert_int_equal(rename->error.code, ERROR_DELETED);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 2");
    assert_int_equal(rows_rename(&world, &key, "more.mp4")->result, META_ABSENT);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 3");
    assert_int_equal(rows_rename(&world, &key, "more.mp4")->error.code, ERROR_IO);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 0, group_name = 'group002'");
    assert_int_equal(rows_rename(&world, &key, "more.mp4")->error.code, ERROR_OTHER_GROUP);
    meta_world_end(&world);
}

/* A RENAME as the database gets it from a connection that was given up. */
struct late_rename {
    struct db_job job;
    const struct store *store;
    struct proto_file_key key;
    struct meta_row seen;
    bool reads, changed;
};

static enum db_result late_rename_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct late_rename *late = CONTAINER_OF(job, struct late_rename, job);
    bool found = false;
    if (late->reads)
        return meta_sql_find(connection, late->store, &late->key, &late->seen, &found, error);
    return meta_sql_edit(connection, &late->key, &late->seen, "late.mp4", 0, 78, &late->changed, error);
}

static bool rename_late(struct meta_world *world, struct late_rename *late, bool reads)
{
    late->job = (struct db_job){.run = late_rename_run};
    late->reads = reads;
    assert_int_equal(meta_run_wait(world->meta, &late->job), DB_OK);
    return late->changed;
}

static void a_rename_that_arrives_late_changes_nothing(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "old.mp4")->outcome, META_INSERTED);
    struct late_rename late = {.store = world.store, .key = key};
    (void)rename_late(&world, &late, true);
    assert_int_equal(rows_rename(&world, &key, "new.mp4")->result, META_DONE);
    assert_false(rename_late(&world, &late, false));
    (void)rename_late(&world, &late, true);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_false(rename_late(&world, &late, false));
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_false(rename_late(&world, &late, false));
    (void)rename_late(&world, &late, true);
    meta_world_beside(&world, "UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_006'");
    assert_false(rename_late(&world, &late, false));
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_string_equal(row.stat.name, "new.mp4");
    (void)rename_late(&world, &late, true);
    assert_true(rename_late(&world, &late, false));
    meta_world_end(&world);
}

/* ---- times of expiry ---- */

static int64_t expires_of(struct meta_world *world, const struct proto_file_key *key)
{
    struct meta_row row;
    assert_int_equal(rows_find(world, key, &row), META_DONE);
    return row.stat.expires;
}

static void change_name_beside(void *argument)
{
    meta_world_beside(argument, "UPDATE t_file_02 SET file_name = 'theirs.mp4', change_id = 99");
}

static void give_row_beside(void *argument)
{
    meta_world_beside(argument, "UPDATE t_file_02 SET group_name = 'group002'");
}

static void purge_row_beside(void *argument)
{
    meta_world_beside(argument, "DELETE FROM t_file_02");
}

/* A RENAME, of which the answer is lost, whether the statement RUNS or not. */
static struct meta_edit *rename_unanswered(struct meta_world *world, const char *name, bool runs,
                                           void (*meanwhile)(void *argument))
{
    struct proto_file_key key = meta_world_key("alice", "file1");
    lossy_db_arm(&(struct lossy_db){.beginning = "UPDATE",
                                    .runs = runs,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = meanwhile,
                                    .argument = world});
    struct meta_edit *edit = rows_rename(world, &key, name);
    assert_true(lossy_db_met());
    return edit;
}

/* A RENAME or EXPIRE whose answer is lost is found done, or done; never twice, and never over what others said since. */
static void an_edit_whose_answer_is_lost_is_done_once(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "a.mp4")->outcome, META_INSERTED);
    assert_int_equal(rename_unanswered(&world, "b.mp4", true, NULL)->result, META_DONE);
    assert_int_equal(lossy_db_count("UPDATE"), 1);
    assert_int_equal(rename_unanswered(&world, "c.mp4", false, NULL)->result, META_DONE);
    assert_int_equal(lossy_db_count("UPDATE"), 2);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_string_equal(row.stat.name, "c.mp4");
    struct meta_edit *edit = rename_unanswered(&world, "d.mp4", true, change_name_beside);
    assert_int_equal(edit->result, META_FAILED);
    assert_int_equal(edit->error.code, ERROR_UNAVAILABLE);
    assert_int_equal(lossy_db_count("UPDATE"), 1);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_string_equal(row.stat.name, "theirs.mp4");
    lossy_db_arm(
        &(struct lossy_db){.beginning = "UPDATE", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    edit = rows_expire(&world, &key, -3600);
    assert_int_equal(edit->result, META_DONE);
    assert_int_equal(lossy_db_count("UPDATE"), 1);
    assert_true(expires_of(&world, &key) == edit->wanted);
    /* It may have been renamed before it was purged. */
    assert_int_equal(rename_unanswered(&world, "e.mp4", true, purge_row_beside)->error.code,
                     ERROR_UNAVAILABLE);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

/* The file moved away at that moment, and its former copy was purged: what was done is not refused as another group's affair, nor what
 * may still be on its way. */
static void an_edit_whose_answer_is_lost_is_not_refused_once_the_file_has_moved(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "a.mp4")->outcome, META_INSERTED);
    assert_int_equal(rename_unanswered(&world, "b.mp4", true, give_row_beside)->result, META_DONE);
    lossy_db_arm(NULL);
    assert_int_equal(rows_rename(&world, &key, "c.mp4")->error.code, ERROR_OTHER_GROUP);
    meta_world_beside(&world, "UPDATE t_file_02 SET group_name = ''");
    struct meta_edit *edit = rename_unanswered(&world, "c.mp4", false, give_row_beside);
    assert_int_equal(edit->result, META_FAILED);
    assert_int_equal(edit->error.code, ERROR_UNAVAILABLE);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

static void a_time_of_expiry_is_asked_set_and_taken_away(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1"), none = meta_world_key("alice", "none");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "a.mp4")->outcome, META_INSERTED);
    assert_int_equal(expires_of(&world, &key), 0);
    assert_int_equal(rows_expire(&world, &key, 0)->wanted, 0);
    assert_int_equal(rows_expire(&world, &key, 1900000000)->wanted, 1900000000);
    assert_int_equal(rows_expire(&world, &key, 0)->wanted, 1900000000);
    assert_int_equal(expires_of(&world, &key), 1900000000);
    assert_int_equal(rows_rename(&world, &key, "b.mp4")->result, META_DONE);
    assert_int_equal(expires_of(&world, &key), 1900000000);
    int64_t from = clock_wall_seconds();
    struct meta_edit *edit = rows_expire(&world, &key, -3600);
    assert_int_equal(edit->result, META_DONE);
    assert_in_range(edit->wanted, from + 3600, clock_wall_seconds() + 3601);
    assert_int_equal(expires_of(&world, &key), edit->wanted);
    assert_int_equal(rows_expire(&world, &key, PROTO_EXPIRES_NEVER)->wanted, 0);
    assert_int_equal(expires_of(&world, &key), 0);
    assert_int_equal(rows_expire(&world, &none, 0)->result, META_ABSENT);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    edit = rows_expire(&world, &key, 1900000000);
    assert_int_equal(edit->result, META_FAILED);
    assert_int_equal(edit->error.code, ERROR_DELETED);
    meta_world_end(&world);
}

/* Else the upkeep would delete it again within a minute. */
static void a_restoration_takes_away_a_time_that_is_over_and_no_other(void **state)
{
    struct meta_world world;
    struct proto_file_key over = meta_world_key("alice", "over"), later = meta_world_key("alice", "later");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &over, 5, 77, "a.mp4")->outcome, META_INSERTED);
    assert_int_equal(rows_insert(&world, &later, 6, 77, "a.mp4")->outcome, META_INSERTED);
    assert_int_equal(rows_expire(&world, &over, clock_wall_seconds() - 5)->result, META_DONE);
    int64_t time = rows_expire(&world, &later, -3600)->wanted;
    const struct proto_file_key *keys[] = {&over, &later};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        assert_int_equal(rows_change(&world, keys[i], PROTO_FILE_DELETED)->outcome, META_CHANGED);
        assert_true(expires_of(&world, keys[i]) > 0);
        assert_int_equal(rows_change(&world, keys[i], PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    }
    assert_int_equal(expires_of(&world, &over), 0);
    assert_int_equal(expires_of(&world, &later), time);
    meta_world_end(&world);
}

static void a_status_that_is_no_number_counts_as_deleted(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "odd");
    (void)state;
    meta_world_start(&world, NULL);
    meta_world_beside(&world,
                      "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size) VALUES "
                      "('odd', 'tnvideo', 'alice', 'x', '../data/000/000/000/5F9E3FA7_005', 12)");
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_ALREADY);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_ALREADY);
    meta_world_end(&world);
}

/* A server whose clock is days behind must not have its deletions purged at once; nor is one that is ahead corrected,
 * since then a file is only kept for longer. */
static void a_file_is_deleted_at_the_later_of_this_servers_time_and_the_databases(void **state)
{
    static const int64_t day = 86400;
    struct meta_world world;
    struct fake_clock clock;
    struct meta_row row;
    (void)state;
    meta_world_start(&world, NULL);
    fake_clock_start(&clock);
    int64_t now = clock_wall_seconds();
    for (int64_t days = -8; days <= 8; days += 16) {
        struct proto_file_key key = meta_world_key("alice", days < 0 ? "behind" : "ahead");
        assert_int_equal(rows_insert(&world, &key, 20 + days, 77, "")->outcome, META_INSERTED);
        fake_clock_step(&clock, days * day);
        assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
        fake_clock_step(&clock, -days * day);
        assert_int_equal(rows_find(&world, &key, &row), META_DONE);
        if (days < 0)
            assert_in_range(row.stat.deleted, now - 1, now + 600);
        else
            assert_int_equal(row.stat.deleted, now + days * day);
    }
    fake_clock_end();
    meta_world_end(&world);
}

/* Two facts, each of which stays whatever becomes of the other. */
static void a_damaged_file_is_deleted_but_neither_restored_nor_sound_again(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct error error = {0};
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 3 WHERE id = 'file1'");
    meta_forget(world.meta, &key);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_UNCHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_ALREADY);
    struct meta_change *restoration = rows_change(&world, &key, PROTO_FILE_NORMAL);
    assert_int_equal(restoration->outcome, META_UNCHANGED);
    assert_int_equal(restoration->error.code, ERROR_IO);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.state, META_STATE_DAMAGED_DELETED);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    assert_in_range(row.stat.deleted, clock_wall_seconds() - 60, clock_wall_seconds() + 1);
    assert_false(meta_row_sound(&row, &error));
    struct meta_list *deleted = rows_list(&world, "alice", "", 10, PROTO_FILE_DELETED);
    assert_int_equal(deleted->count, 1);
    assert_string_equal(deleted->entries[0].file, "file1");
    free(deleted->entries);
    meta_world_end(&world);
}

static void what_another_server_changes_is_seen_when_the_cache_has_aged(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, "storage.cache_age=300ms");
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1, deleted_at = 9 WHERE id = 'file1'");
    while (meta_find_cached(world.meta, &key, &row)) {
        assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
        usleep(10000);
    }
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    assert_int_equal(row.stat.deleted, 9);
    meta_world_end(&world);
}

static void rows_of_the_predecessor_are_read(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "old");
    (void)state;
    meta_world_start(&world, NULL);
    meta_world_beside(&world,
                      "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size) VALUES "
                      "('old', 'tnvideo', 'alice', NULL, '../data/000/000/000/5F9E3FA7_005', 12)");
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    assert_int_equal(row.stat.size, 12);
    assert_int_equal(row.stat.created, 0x5F9E3FA7);
    assert_false(row.stat.has_digest);
    assert_string_equal(row.stat.name, "");
    assert_true(meta_row_ours(world.meta, &row, NULL));
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    meta_world_end(&world);
}

static void rows_that_others_spoilt_harm_nobody(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct error error = {0};
    struct proto_file_key key = meta_world_key("alice", "bad"), foreign = meta_world_key("alice", "foreign");
    (void)state;
    meta_world_start(&world, NULL);
    meta_world_beside(
        &world,
        "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, digest, group_name) VALUES "
        "('bad', 'tnvideo', 'alice', 'x', '/etc/passwd', -5, 'nonsense', 'a-group-of-more-than-16'), "
        "('foreign', 'tnvideo', 'alice', 0, '../data/000/000/000/5F9E3FA7_005', 1, '', 'group002')");
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_null(row.path);
    assert_int_equal(row.stat.size, -1);
    assert_false(row.stat.has_digest);
    assert_false(meta_row_ours(world.meta, &row, &error));
    assert_false(meta_find_cached(world.meta, &key, &row));

    assert_int_equal(rows_find(&world, &foreign, &row), META_DONE);
    assert_false(meta_row_ours(world.meta, &row, &error));
    assert_int_equal(error.code, ERROR_OTHER_GROUP);
    assert_non_null(strstr(error.text, "group002"));
    assert_int_equal(rows_change(&world, &foreign, PROTO_FILE_DELETED)->outcome, META_FOREIGN);
    /* It is the user's, who may be moving from one group to the other: it is listed, with the group that has it. */
    struct meta_list *page = rows_list(&world, "alice", "", 100, PROTO_FILE_NORMAL);
    assert_int_equal(page->count, 1);
    assert_string_equal(page->entries[0].file, "foreign");
    assert_string_equal(page->entries[0].stat.group, "group002");
    free(page->entries);
    meta_world_end(&world);
}

static void lists_are_paged_in_byte_order_and_by_status(void **state)
{
    static const char *const files[] = {"B", "a", "b", "\xc3\xbc"};
    struct meta_world world;
    (void)state;
    meta_world_start(&world, NULL);
    for (size_t i = ARRAY_SIZE(files); i-- > 0;) {
        struct proto_file_key key = meta_world_key("alice", files[i]);
        assert_int_equal(rows_insert(&world, &key, (int64_t)i, 10 + (int64_t)i, "")->outcome, META_INSERTED);
    }
    struct proto_file_key gone = meta_world_key("alice", "b"), others = meta_world_key("bob", "a");
    assert_int_equal(rows_insert(&world, &others, 9, 9, "")->outcome, META_INSERTED);
    assert_int_equal(rows_change(&world, &gone, PROTO_FILE_DELETED)->outcome, META_CHANGED);

    struct meta_list *page = rows_list(&world, "alice", "", 2, PROTO_FILE_NORMAL);
    assert_int_equal(page->count, 2);
    assert_string_equal(page->entries[0].file, "B");
    assert_string_equal(page->entries[1].file, "a");
    assert_int_equal(page->entries[1].stat.size, 11);
    free(page->entries);
    page = rows_list(&world, "alice", "a", 2, PROTO_FILE_NORMAL);
    assert_int_equal(page->count, 1);
    assert_string_equal(page->entries[0].file, "\xc3\xbc");
    free(page->entries);
    page = rows_list(&world, "alice", "", 100, PROTO_FILE_DELETED);
    assert_int_equal(page->count, 1);
    assert_string_equal(page->entries[0].file, "b");
    free(page->entries);
    meta_world_end(&world);
}

static void what_the_database_cannot_do_fails_and_works_again_later(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1"), fresh = meta_world_key("alice", "file2");
    (void)state;
    meta_world_start(&world, "storage.cache_age=1ms");
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    /* The tables are gone: a database that was replaced by an empty one. */
    meta_world_beside(&world, "ALTER TABLE t_file_02 RENAME TO away");
    usleep(10000);
    assert_int_equal(rows_find(&world, &fresh, NULL), META_FAILED);
    assert_int_equal(rows_find(&world, &key, NULL), META_FAILED); /* an upload must know for sure */
    assert_int_equal(rows_find_however_old(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.size, 77);
    assert_int_equal(rows_find_however_old(&world, &fresh, NULL), META_FAILED);
    meta_outdate(world.meta, &key); /* its type was found just before the database went */
    assert_int_equal(rows_find(&world, &key, &row), META_FAILED);
    assert_int_equal(rows_find_however_old(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.size, 77);
    assert_int_equal(rows_insert(&world, &fresh, 6, 1, "")->outcome, META_NOT_DONE);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_UNCHANGED);
    meta_world_beside(&world, "ALTER TABLE away RENAME TO t_file_02");
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    meta_world_end(&world);
}

/* ---- many at once ---- */

#define ASKERS 200

static void run_all_finds(void *argument)
{
    struct asked *asked = argument;
    for (int i = 0; i < ASKERS; i++)
        asked[i].taken = meta_find(asked[i].world->meta, &asked[i].find, &asked[i].error);
}

static void many_who_ask_for_one_file_get_one_answer_each(void **state)
{
    static struct asked asked[ASKERS];
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    struct loop *second = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    for (int i = 0; i < ASKERS; i++) {
        memset(&asked[i], 0, sizeof(asked[i]));
        asked[i].world = &world;
        asked[i].find =
            (struct meta_find){.key = key, .loop = i % 2 ? second : world.loop, .done = asked_on_find};
    }
    loop_do(world.loop, run_all_finds, asked);
    for (int i = 0; i < ASKERS; i++) {
        asked_wait(&asked[i]);
        assert_int_equal(asked[i].find.result, META_DONE);
        assert_int_equal(asked[i].find.row.stat.size, 77);
    }
    meta_world_end(&world);
    loop_destroy(second);
}

/* A loop whose thread stands still, so that what the database has answered is not heard yet. */
struct held_loop {
    struct task task;
    struct loop *loop;
    sem_t held, go;
    sem_t *reached; /* by hold_before_the_answer() */
};

static void hold_run(struct task *task)
{
    struct held_loop *hold = CONTAINER_OF(task, struct held_loop, task);
    sem_post(&hold->held);
    while (sem_wait(&hold->go) != 0)
        ;
}

static void hold_loop(struct loop *loop, struct held_loop *hold)
{
    hold->task = (struct task){.run = hold_run};
    sem_init(&hold->held, 0, 0);
    sem_init(&hold->go, 0, 0);
    loop_post(loop, &hold->task);
    while (sem_wait(&hold->held) != 0)
        ;
}

static int64_t number_beside(struct meta_world *world, const char *sql)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(world->beside, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

/* Its answer is of before the deletion and is heard after it: that must not bring the file back into the cache. */
static void a_look_up_from_before_a_deletion_does_not_undo_it(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct held_loop hold;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world,
                     "database.threads=1"); /* one thread: when it has deleted, it has looked up before */
    struct loop *slow = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    memset(&asked, 0, sizeof(asked));
    asked.world = &world;
    asked.find = (struct meta_find){.key = key, .loop = slow, .done = asked_on_find};
    hold_loop(slow, &hold);
    asked_run_find(&asked);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    sem_post(&hold.go);
    asked_wait(&asked);
    assert_int_equal(asked.find.row.stat.status, PROTO_FILE_NORMAL);
    assert_false(meta_find_cached(world.meta, &key, &row));
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    meta_world_end(&world);
    loop_destroy(slow);
}

static void wait_for_lookup_run(void *argument)
{
    sem_t *semaphores = argument;
    sem_post(&semaphores[0]);
    while (sem_wait(&semaphores[1]) != 0)
        ;
}

/* An upload must know what is there now: another server may have deleted the file since the look-up under way. */
static void who_must_know_for_sure_joins_no_look_up_that_is_under_way(void **state)
{
    static struct asked early, joined, fresh;
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    sem_t semaphores[2];
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    sem_init(&semaphores[0], 0, 0);
    sem_init(&semaphores[1], 0, 0);
    lossy_db_arm(&(struct lossy_db){
        .beginning = "SELECT id", .runs = true, .meanwhile = wait_for_lookup_run, .argument = semaphores});
    asked_find(&world, &early, &key, false);
    while (sem_wait(&semaphores[0]) != 0)
        ;
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    asked_find(&world, &joined, &key, false);
    memset(&fresh, 0, sizeof(fresh));
    fresh.world = &world;
    fresh.find = (struct meta_find){.key = key, .loop = world.loop, .done = asked_on_find, .fresh = true};
    loop_do(world.loop, asked_run_find, &fresh);
    asked_wait(&fresh);
    assert_int_equal(fresh.find.row.stat.status, PROTO_FILE_DELETED);
    assert_false(asked_is_answered(&joined));
    sem_post(&semaphores[1]);
    asked_wait(&early);
    asked_wait(&joined);
    assert_int_equal(joined.find.row.stat.status, PROTO_FILE_NORMAL);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

/* Everything stood still while a look-up was under way: what it brings is of long ago, for whoever comes only now, and for memory. */
static void a_look_up_that_is_under_way_for_long_is_neither_joined_nor_remembered(void **state)
{
    static struct asked early, late;
    struct meta_world world;
    struct fake_clock clock;
    struct proto_file_key key = meta_world_key("alice", "file1");
    struct meta_row row;
    sem_t semaphores[2];
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    fake_clock_start(&clock);
    sem_init(&semaphores[0], 0, 0);
    sem_init(&semaphores[1], 0, 0);
    lossy_db_arm(&(struct lossy_db){
        .beginning = "SELECT id", .runs = true, .meanwhile = wait_for_lookup_run, .argument = semaphores});
    asked_find(&world, &early, &key, false);
    while (sem_wait(&semaphores[0]) != 0)
        ;
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    fake_clock_pass(&clock, 20000);
    asked_find(&world, &late, &key, false);
    asked_wait(&late);
    assert_int_equal(late.find.row.stat.status, PROTO_FILE_DELETED);
    sem_post(&semaphores[1]);
    asked_wait(&early);
    assert_int_equal(early.find.row.stat.status, PROTO_FILE_NORMAL);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_DELETED);
    lossy_db_arm(NULL);
    fake_clock_end();
    meta_world_end(&world);
}

/* What was asked first is answered last: whoever got the later answer, like an upload that finds its file there, sees no older row. */
static void of_two_look_ups_the_older_one_is_never_cached(void **state)
{
    static struct asked early, later;
    struct meta_world world;
    struct held_loop hold;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1"), other = meta_world_key("alice", "file2");
    (void)state;
    meta_world_start(
        &world, "database.threads=1"); /* one thread: when it has looked for OTHER, it has looked before */
    struct loop *slow = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    memset(&early, 0, sizeof(early));
    early.world = &world;
    early.find = (struct meta_find){.key = key, .loop = slow, .done = asked_on_find};
    hold_loop(slow, &hold);
    asked_run_find(&early);
    assert_int_equal(rows_find(&world, &other, NULL), META_ABSENT);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 0 WHERE id = 'file1'");
    memset(&later, 0, sizeof(later));
    later.world = &world;
    later.find = (struct meta_find){.key = key, .loop = world.loop, .done = asked_on_find, .fresh = true};
    loop_do(world.loop, asked_run_find, &later);
    asked_wait(&later);
    assert_int_equal(later.find.row.stat.status, PROTO_FILE_NORMAL);
    sem_post(&hold.go);
    asked_wait(&early);
    assert_int_equal(early.find.row.stat.status, PROTO_FILE_DELETED);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_NORMAL);
    meta_world_end(&world);
    loop_destroy(slow);
}

/* The older of two look-ups is answered first. What was in memory before both of them is older than that answer. */
static void what_is_older_than_an_answer_is_not_served_after_it(void **state)
{
    static struct asked early, later;
    struct meta_world world;
    struct held_loop hold;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, "storage.cache_age=60s");
    struct loop *slow = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_true(meta_find_cached(world.meta, &key, &row));
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    memset(&later, 0, sizeof(later));
    later.world = &world;
    later.find = (struct meta_find){.key = key, .loop = slow, .done = asked_on_find, .fresh = true};
    memset(&early, 0, sizeof(early));
    early.world = &world;
    early.find = (struct meta_find){.key = key, .loop = world.loop, .done = asked_on_find, .fresh = true};
    struct held_loop both;
    hold_loop(world.loop, &both);
    hold_loop(slow, &hold);
    asked_run_find(&early);
    asked_run_find(&later); /* overtakes it, and is not answered yet */
    sem_post(&both.go);
    asked_wait(&early);
    assert_int_equal(early.find.row.stat.status, PROTO_FILE_DELETED);
    assert_false(meta_find_cached(world.meta, &key, &row));
    sem_post(&hold.go);
    asked_wait(&later);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_DELETED);
    meta_world_end(&world);
    loop_destroy(slow);
}

/* A look-up that the database is asked for once more, and which is held until SEMAPHORES[1] says that it may. */
static void ask_and_hold(struct meta_world *world, struct asked *asked, const struct proto_file_key *key,
                         sem_t semaphores[2])
{
    sem_init(&semaphores[0], 0, 0);
    sem_init(&semaphores[1], 0, 0);
    lossy_db_arm(&(struct lossy_db){.beginning = "SELECT id",
                                    .reports = true,
                                    .result = DB_TRANSIENT,
                                    .meanwhile = wait_for_lookup_run,
                                    .argument = semaphores});
    asked_find(world, asked, key, false);
    while (sem_wait(&semaphores[0]) != 0)
        ;
}

/* The database was quicker with the later one of two look-ups, whose answer is heard last. */
static void what_the_database_said_earlier_is_not_served_after_what_it_said_later(void **state)
{
    static struct asked early, later;
    struct meta_world world;
    struct held_loop hold;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1"), other = meta_world_key("alice", "file2");
    sem_t semaphores[2];
    (void)state;
    meta_world_start(&world, "storage.cache_age=60s");
    struct loop *slow = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    ask_and_hold(&world, &early, &key, semaphores);
    memset(&later, 0, sizeof(later));
    later.world = &world;
    later.find = (struct meta_find){.key = key, .loop = slow, .done = asked_on_find, .fresh = true};
    hold_loop(slow, &hold);
    asked_run_find(&later);
    assert_int_equal(rows_find(&world, &other, NULL), META_ABSENT); /* by the thread that has looked for it */
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    sem_post(&semaphores[1]);
    asked_wait(&early);
    assert_int_equal(early.find.row.stat.status, PROTO_FILE_DELETED);
    sem_post(&hold.go);
    asked_wait(&later);
    assert_int_equal(later.find.row.stat.status, PROTO_FILE_NORMAL);
    assert_false(meta_find_cached(world.meta, &key, &row));
    lossy_db_arm(NULL);
    meta_world_end(&world);
    loop_destroy(slow);
}

/* Its row is added, and deleted by another member, while a look-up is under way. */
static void what_was_added_here_is_not_served_after_what_became_of_it(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    sem_t semaphores[2];
    (void)state;
    meta_world_start(&world, "storage.cache_age=60s");
    ask_and_hold(&world, &asked, &key, semaphores);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    sem_post(&semaphores[1]);
    asked_wait(&asked);
    assert_int_equal(asked.find.row.stat.status, PROTO_FILE_DELETED);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_DELETED);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

/* An answer that took long is not remembered, but nor does what was in memory before outlive it. */
static void a_slow_answer_is_not_remembered_nor_is_what_is_older(void **state)
{
    static struct asked slow;
    struct meta_world world;
    struct fake_clock clock;
    struct proto_file_key key = meta_world_key("alice", "file1");
    struct meta_row row;
    sem_t semaphores[2];
    (void)state;
    meta_world_start(&world, "storage.cache_age=60s");
    fake_clock_start(&clock);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_true(meta_find_cached(world.meta, &key, &row));
    sem_init(&semaphores[0], 0, 0);
    sem_init(&semaphores[1], 0, 0);
    lossy_db_arm(&(struct lossy_db){
        .beginning = "SELECT id", .runs = true, .meanwhile = wait_for_lookup_run, .argument = semaphores});
    asked_find(&world, &slow, &key, false);
    while (sem_wait(&semaphores[0]) != 0)
        ;
    fake_clock_pass(&clock, 20000);
    assert_true(meta_find_cached(world.meta, &key, &row));
    sem_post(&semaphores[1]);
    asked_wait(&slow);
    assert_int_equal(slow.find.result, META_DONE);
    assert_false(meta_find_cached(world.meta, &key, &row));
    lossy_db_arm(NULL);
    fake_clock_end();
    meta_world_end(&world);
}

static bool is_deleted_beside(void *argument)
{
    return number_beside(argument, "SELECT status FROM t_file_02 WHERE id = 'file1'") == 1;
}

/* Two changes of one file at once: the one whose end is heard last may be the older one. */
static void of_two_changes_the_older_one_is_never_cached(void **state)
{
    static struct asked deletion;
    struct meta_world world;
    struct held_loop hold;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    struct loop *slow = loop_fresh();
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    memset(&deletion, 0, sizeof(deletion));
    deletion.world = &world;
    deletion.change =
        (struct meta_change){.key = key, .status = PROTO_FILE_DELETED, .loop = slow, .done = asked_on_change};
    hold_loop(slow, &hold);
    asked_run_change(&deletion);
    assert_true(loop_wait_until(is_deleted_beside, &world));
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    sem_post(&hold.go);
    asked_wait(&deletion);
    assert_int_equal(deletion.change.outcome, META_CHANGED);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_NORMAL);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    meta_world_end(&world);
    loop_destroy(slow);
}

/* On the database's thread, behind a commit. */
static void hold_before_the_answer(void *argument)
{
    struct held_loop *hold = argument;
    hold_loop(hold->loop, hold);
    sem_post(hold->reached);
}

/* An upload whose row is committed, while the loop that waits for it does not hear of that yet. */
struct unheard {
    struct asked upload;
    struct held_loop hold;
    sem_t committed;
};

static void unheard_start(struct unheard *one, struct meta_world *world, const struct proto_file_key *key)
{
    memset(one, 0, sizeof(*one));
    one->upload.world = world;
    rows_fill_insert(world, &one->upload.insert, key, 5, 77, "");
    sem_init(&one->committed, 0, 0);
    one->hold.reached = &one->committed;
    one->upload.insert.loop = one->hold.loop = loop_fresh();
    lossy_db_arm(&(struct lossy_db){
        .beginning = "COMMIT", .runs = true, .meanwhile = hold_before_the_answer, .argument = &one->hold});
    loop_do(one->hold.loop, asked_run_insert, &one->upload);
    assert_int_equal(sem_wait(&one->committed), 0);
}

/* It hears of it. */
static void unheard_end(struct unheard *one)
{
    sem_post(&one->hold.go);
    asked_wait(&one->upload);
    lossy_db_arm(NULL);
    assert_int_equal(one->upload.insert.outcome, META_INSERTED);
}

/* The row is added, then deleted by another request, and only then its uploader's loop hears of the first. */
static void a_row_that_was_deleted_since_is_not_cached_by_its_upload(void **state)
{
    static struct unheard one;
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    unheard_start(&one, &world, &key);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    unheard_end(&one);
    assert_false(meta_find_cached(world.meta, &key, &row));
    meta_world_end(&world);
    loop_destroy(one.hold.loop);
}

/* Another member has deleted it, and somebody was told so here, before its upload hears that it was added. */
static void a_row_that_was_deleted_elsewhere_is_not_cached_by_its_upload(void **state)
{
    static struct unheard one;
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, "storage.cache_age=60s");
    unheard_start(&one, &world, &key);
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 1 WHERE id = 'file1'");
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    unheard_end(&one);
    assert_false(meta_find_cached(world.meta, &key, &row));
    meta_world_end(&world);
    loop_destroy(one.hold.loop);
}

/* Of two requests to finish one upload the first adds the row, which then is deleted; the second finds it. */
static void a_row_that_was_deleted_before_is_not_cached_as_it_was_added(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_true(!meta_find_cached(world.meta, &key, &row) || row.stat.status == PROTO_FILE_DELETED);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    meta_world_end(&world);
}

/* The same without anybody's help: what is cached after a DELETE and a RESTORE at once is what the table says. */
static void deletions_and_restorations_at_once_leave_the_cache_right(void **state)
{
    static struct asked both[2];
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    struct loop *loops[] = {world.loop, loop_fresh()};
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    for (int round = 0; round < 1000; round++) {
        for (size_t i = 0; i < 2; i++) {
            memset(&both[i], 0, sizeof(both[i]));
            both[i].world = &world;
            both[i].change = (struct meta_change){.key = key,
                                                  .status = i == 0 ? PROTO_FILE_DELETED : PROTO_FILE_NORMAL,
                                                  .loop = loops[(i + (size_t)round) % 2],
                                                  .done = asked_on_change};
        }
        asked_run_change(&both[round % 2]);
        asked_run_change(&both[1 - round % 2]);
        asked_wait(&both[0]);
        asked_wait(&both[1]);
        int64_t there = number_beside(&world, "SELECT status FROM t_file_02 WHERE id = 'file1'");
        if (meta_find_cached(world.meta, &key, &row))
            assert_int_equal(row.stat.status, there);
        assert_int_equal(rows_find(&world, &key, &row), META_DONE);
        assert_int_equal(row.stat.status, there);
    }
    meta_world_end(&world);
    loop_destroy(loops[1]);
}

/* ---- answers that are lost ---- */

static void a_change_whose_answer_was_lost_knows_its_own(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "UPDATE", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_ALREADY);
    meta_world_end(&world);
}

struct rivalry {
    struct meta_world *world;
    const struct asked *asked;
};

static void delete_in_the_same_second(void *argument)
{
    const struct rivalry *rivalry = argument;
    char sql[160];
    snprintf(sql, sizeof(sql),
             "UPDATE t_file_02 SET status = 1, deleted_at = %lld, change_id = 5 WHERE id = 'file1'",
             (long long)rivalry->asked->change.version);
    meta_world_beside(rivalry->world, sql);
}

/* A DELETE was lost on its way, and somebody else's of the same second was done: only one of both deleted the file. */
static void a_change_that_was_lost_does_not_take_a_rivals_for_its_own(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    struct rivalry rivalry = {.world = &world, .asked = &asked};
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    lossy_db_arm(&(struct lossy_db){.beginning = "UPDATE",
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = delete_in_the_same_second,
                                    .argument = &rivalry});
    memset(&asked, 0, sizeof(asked));
    asked.world = &world;
    asked.change = (struct meta_change){
        .key = key, .status = PROTO_FILE_DELETED, .loop = world.loop, .done = asked_on_change};
    loop_do(world.loop, asked_run_change, &asked);
    asked_wait(&asked);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    /* Nor does it know that it was not done before: others may have restored the file in between. */
    assert_int_equal(asked.change.outcome, META_UNCHANGED);
    assert_int_equal(asked.change.error.code, ERROR_UNAVAILABLE);
    meta_world_end(&world);
}

static void delete_anew(void *argument)
{
    meta_world_beside(argument,
                      "UPDATE t_file_02 SET status = 1, deleted_at = 1000, change_id = 6 WHERE id = 'file1'");
}

/* A RESTORE was carried out, its answer lost, and then another member's DELETE, of the second of the one before, which leaves the same state and
 * version: the file stays deleted. */
static void a_restoration_that_was_lost_does_not_undo_a_later_deletion(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    meta_world_beside(&world,
                      "UPDATE t_file_02 SET status = 1, deleted_at = 1000, change_id = 5 WHERE id = 'file1'");
    lossy_db_arm(&(struct lossy_db){.beginning = "UPDATE",
                                    .runs = true,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = delete_anew,
                                    .argument = &world});
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_UNCHANGED);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_DELETED);
    meta_world_end(&world);
}

/* A DELETE that the network kept back runs when the file has long been deleted by its repetition and restored. */
static void a_deletion_that_comes_late_does_not_undo_a_restoration(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "UPDATE", .reports = true, .result = DB_UNCERTAIN, .late = 2});
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_int_equal(lossy_db_count("UPDATE"), 3);
    lossy_db_arm(NULL);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);
    meta_world_end(&world);
}

static void a_row_whose_insert_was_not_answered_is_there_once(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "COMMIT", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 1);
    meta_world_end(&world);
}

/* The upload's file is removed then. A row that is kept all the same would speak of a file that is not there. */
static void an_insert_whose_answer_is_a_failure_leaves_no_row(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "INSERT", .runs = true, .reports = true, .result = DB_PERMANENT});
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_NOT_DONE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 0);
    meta_world_end(&world);
}

static void insert_rival_beside(void *argument)
{
    meta_world_beside(argument,
                      "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size) VALUES "
                      "('file1', 'tnvideo', 'alice', 0, '../data/000/000/000/5F9E3FA8_009', 12)");
}

/* What rows_insert() of VALUE speaks of. */
static void store_bytes(const struct meta_world *world, int64_t value, int64_t size)
{
    char name[128];
    int length = snprintf(name, sizeof(name), "%s/one", world->fixture.directory);
    for (int i = 0; i < 3; i++) {
        length += snprintf(name + length, sizeof(name) - (size_t)length, "/000");
        assert_true(mkdir(name, 0750) == 0 || errno == EEXIST);
    }
    snprintf(name + length, sizeof(name) - (size_t)length, "/5F9E3FA7_%03X", (unsigned)value);
    int fd = open(name, O_CREAT | O_WRONLY, 0640);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static struct meta_insert *insert_beside_rival(struct meta_world *world, const struct proto_file_key *key)
{
    lossy_db_arm(&(struct lossy_db){.beginning = "BEGIN",
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = insert_rival_beside,
                                    .argument = world});
    struct meta_insert *upload = rows_insert(world, key, 5, 77, "");
    lossy_db_arm(NULL);
    return upload;
}

static void after_an_unanswered_insert_the_row_may_be_a_rivals(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    store_bytes(&world, 5, 77);
    struct meta_insert *upload = insert_beside_rival(&world, &key);
    assert_int_equal(upload->outcome, META_TAKEN);
    assert_int_equal(upload->other.stat.size, 12);
    meta_world_end(&world);
}

/* With our file gone our row may have been there before the rival's. */
static void a_rival_after_our_purge_says_nothing(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    struct meta_insert *upload = insert_beside_rival(&world, &key);
    assert_int_equal(upload->outcome, META_UNKNOWN);
    assert_int_equal(upload->error.code, ERROR_UNAVAILABLE);
    meta_world_end(&world);
}

/* Its COMMIT counted, the file was deleted and purged, then the answer fails to come: the file must not come back. */
static void an_unanswered_insert_does_not_undo_a_purge(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    const struct lossy_db lost = {.beginning = "COMMIT",
                                  .runs = true,
                                  .reports = true,
                                  .result = DB_UNCERTAIN,
                                  .meanwhile = purge_row_beside,
                                  .argument = &world};
    (void)state;
    meta_world_start(&world, NULL);
    lossy_db_arm(&lost);
    struct meta_insert *upload = rows_insert(&world, &key, 5, 77, "");
    assert_true(lossy_db_met());
    assert_int_equal(upload->outcome, META_UNKNOWN);
    assert_int_equal(upload->error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(upload->error.text, "removed since"));
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 0);

    /* A file that is there was not purged: the COMMIT was lost on its way. */
    store_bytes(&world, 6, 77);
    lossy_db_arm(&lost);
    assert_int_equal(rows_insert(&world, &key, 6, 77, "")->outcome, META_INSERTED);
    lossy_db_arm(NULL);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 1);
    meta_world_end(&world);
}

/* Meanwhile the file moved to another group and was purged there; here its former copy is still kept. */
static void purge_moved_beside(void *argument)
{
    char id[PROTO_FILE_SIZE], sql[400];
    meta_move_former_id("group001", "file1", id);
    snprintf(sql, sizeof(sql),
             "UPDATE t_file_02 SET id = '%s', status = 2, deleted_at = 2000000000, group_name = 'group001' "
             "WHERE id = 'file1'",
             id);
    meta_world_beside(argument, sql);
}

static void purge_moved_before_rival_beside(void *argument)
{
    purge_moved_beside(argument);
    insert_rival_beside(argument);
}

static struct meta_insert *insert_unanswered_while(struct meta_world *world, int64_t value,
                                                   void (*meanwhile)(void *argument))
{
    struct proto_file_key key = meta_world_key("alice", "file1");
    lossy_db_arm(&(struct lossy_db){.beginning = "COMMIT",
                                    .runs = true,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = meanwhile,
                                    .argument = world});
    struct meta_insert *upload = rows_insert(world, &key, value, 77, "");
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    return upload;
}

/* A former copy that is there says nothing of what was purged: its row would come back, and its file goes before long. */
static void an_unanswered_insert_does_not_undo_a_purge_in_another_group(void **state)
{
    struct meta_world world;
    (void)state;
    meta_world_start(&world, NULL);
    store_bytes(&world, 5, 77);
    assert_int_equal(insert_unanswered_while(&world, 5, purge_moved_beside)->outcome, META_UNKNOWN);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'file1'"), 0);

    /* One of an earlier file of this ID does not matter. */
    store_bytes(&world, 6, 77);
    assert_int_equal(insert_unanswered_while(&world, 6, NULL)->outcome, META_INSERTED);
    meta_world_end(&world);
}

static void a_rival_after_our_purge_in_another_group_says_nothing(void **state)
{
    struct meta_world world;
    (void)state;
    meta_world_start(&world, NULL);
    store_bytes(&world, 5, 77);
    assert_int_equal(insert_unanswered_while(&world, 5, purge_moved_before_rival_beside)->outcome,
                     META_UNKNOWN);
    meta_world_end(&world);
}

/* Another request may have stored this very file: the same is looked for without a lost answer. */
static void a_shared_file_that_moved_and_was_purged_does_not_come_back(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    store_bytes(&world, 5, 77);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    purge_moved_beside(&world);
    memset(&asked, 0, sizeof(asked));
    asked.world = &world;
    rows_fill_insert(&world, &asked.insert, &key, 5, 77, "");
    asked.insert.shared = true;
    loop_do(world.loop, asked_run_insert, &asked);
    asked_wait(&asked);
    assert_int_equal(asked.insert.outcome, META_NOT_DONE);
    assert_int_equal(asked.insert.error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(asked.insert.error.text, "removed since"));
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02 WHERE id = 'file1'"), 0);
    meta_world_end(&world);
}

/* What hangs in a volume: all threads of its store path. */
struct hang {
    pthread_mutex_t mutex; /* held by the test while the volume hangs */
    atomic_int inside;
    struct job jobs[64];
};

static struct hang hang = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void hang_run(struct job *job)
{
    (void)job;
    atomic_fetch_add(&hang.inside, 1);
    pthread_mutex_lock(&hang.mutex);
    pthread_mutex_unlock(&hang.mutex);
    atomic_fetch_sub(&hang.inside, 1);
}

static bool all_threads_hang(void *argument)
{
    return atomic_load(&hang.inside) == *(const int *)argument;
}

/* The commit is lost while the volume hangs: whether the file is there cannot be known, and nobody waits for it with
 * a transaction open. The next one is not even asked; when the volume is back all is well. */
static void a_hanging_volume_holds_no_database_thread(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    const struct lossy_db lost = {.beginning = "COMMIT", .reports = true, .result = DB_UNCERTAIN};
    struct error error;
    int none = 0;
    (void)state;
    meta_world_start(&world, NULL);
    int threads = (int)world.fixture.config.workers_per_path;
    assert_in_range(threads, 1, ARRAY_SIZE(hang.jobs));
    store_bytes(&world, 6, 77);
    pthread_mutex_lock(&hang.mutex);
    for (int i = 0; i < threads; i++) {
        hang.jobs[i] = (struct job){.run = hang_run};
        assert_true(store_path_submit(store_at(world.store, 0), &hang.jobs[i], &error));
    }
    assert_true(loop_wait_until(all_threads_hang, &threads));

    lossy_db_arm(&lost);
    struct meta_insert *upload = rows_insert(&world, &key, 6, 77, "");
    assert_true(lossy_db_met());
    assert_int_equal(upload->outcome, META_UNKNOWN);
    assert_int_equal(upload->error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(upload->error.text, "has not reported"));
    lossy_db_arm(&lost);
    upload = rows_insert(&world, &key, 6, 77, "");
    assert_int_equal(upload->outcome, META_UNKNOWN);
    assert_non_null(strstr(upload->error.text, "an earlier probe"));
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 0);

    pthread_mutex_unlock(&hang.mutex);
    assert_true(loop_wait_until(all_threads_hang, &none));
    do { /* the look that was given up comes back by itself */
        lossy_db_arm(&lost);
        upload = rows_insert(&world, &key, 6, 77, "");
    } while (upload->outcome == META_UNKNOWN && strstr(upload->error.text, "an earlier probe"));
    assert_int_equal(upload->outcome, META_INSERTED);
    lossy_db_arm(NULL);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 1);
    meta_world_end(&world);
}

/* ---- changes whose answer was lost, and whose row others changed since ---- */

static struct meta_change *change_lost(struct meta_world *world, enum proto_file_status status, bool runs,
                                       void (*meanwhile)(void *argument))
{
    struct proto_file_key key = meta_world_key("alice", "file1");
    lossy_db_arm(&(struct lossy_db){.beginning = "UPDATE",
                                    .runs = runs,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = meanwhile,
                                    .argument = world});
    struct meta_change *change = rows_change(world, &key, status);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    return change;
}

static struct meta_change *change_while(struct meta_world *world, enum proto_file_status status,
                                        void (*meanwhile)(void *argument))
{
    return change_lost(world, status, true, meanwhile);
}

/* The same of a DELETE: the file moved away, and its former copy was purged, before the row was looked at again. */
static void a_change_whose_answer_was_lost_is_not_refused_once_the_file_has_moved(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_int_equal(change_while(&world, PROTO_FILE_DELETED, give_row_beside)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_FOREIGN);
    meta_world_beside(&world, "UPDATE t_file_02 SET group_name = ''");
    struct meta_change *lost = change_lost(&world, PROTO_FILE_NORMAL, false, give_row_beside);
    assert_int_equal(lost->outcome, META_UNCHANGED);
    assert_int_equal(lost->error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(lost->error.text, "not known"));
    meta_world_end(&world);
}

static void delete_again_beside(void *argument)
{
    meta_world_beside(argument,
                      "UPDATE t_file_02 SET status = 1, deleted_at = 4, change_id = 9 WHERE id = 'file1'");
}

static void restore_again_beside(void *argument)
{
    meta_world_beside(argument,
                      "UPDATE t_file_02 SET status = 0, deleted_at = -4, change_id = 9 WHERE id = 'file1'");
}

static void a_change_is_not_made_twice_around_somebody_elses(void **state)
{
    struct meta_world world;
    struct meta_row row;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);

    struct meta_change *deletion = change_while(&world, PROTO_FILE_DELETED, restore_again_beside);
    assert_int_equal(deletion->outcome, META_UNCHANGED);
    assert_int_equal(deletion->error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(deletion->error.text, "not known"));
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.stat.status, PROTO_FILE_NORMAL);

    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_int_equal(change_while(&world, PROTO_FILE_NORMAL, delete_again_beside)->outcome, META_UNCHANGED);
    assert_int_equal(number_beside(&world, "SELECT status FROM t_file_02"), 1);

    /* Nor is a file that was purged since "not found": this deletion may be the one that it was purged for. */
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    assert_int_equal(change_while(&world, PROTO_FILE_DELETED, purge_row_beside)->outcome, META_UNCHANGED);
    meta_world_end(&world);
}

/* ---- a file that was left alone for too long ---- */

static struct asked in_time;

/* The deadline passes while the answer is on its way; on the thread that looks at it. */
static void pass_deadline(void *argument)
{
    (void)argument;
    in_time.insert.deadline_ms = 1;
}

static struct meta_insert *insert_until(struct meta_world *world, const struct proto_file_key *key,
                                        int64_t ms)
{
    memset(&in_time, 0, sizeof(in_time));
    in_time.world = world;
    rows_fill_insert(world, &in_time.insert, key, 5, 77, "");
    in_time.insert.deadline_ms = clock_boot_ms() + ms;
    loop_do(world->loop, asked_run_insert, &in_time);
    asked_wait(&in_time);
    return &in_time.insert;
}

static void no_row_is_added_for_a_file_that_the_clean_up_may_take(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1"), second = meta_world_key("alice", "file2");
    (void)state;
    meta_world_start(&world, NULL);
    struct meta_insert *late = insert_until(&world, &key, -1);
    assert_int_equal(late->outcome, META_NOT_DONE);
    assert_int_equal(late->error.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(late->error.text, "leftover_age"));
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 0);
    assert_int_equal(insert_until(&world, &key, 60000)->outcome, META_INSERTED);

    /* What was not answered in time is looked at, not run again. */
    lossy_db_arm(&(struct lossy_db){.beginning = "COMMIT",
                                    .runs = true,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = pass_deadline});
    assert_int_equal(insert_until(&world, &second, 60000)->outcome, META_INSERTED);
    assert_int_equal(lossy_db_count("INSERT"), 1);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

static void an_insert_that_may_still_come_is_not_called_undone(void **state)
{
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    lossy_db_arm(&(struct lossy_db){
        .beginning = "COMMIT", .reports = true, .result = DB_UNCERTAIN, .meanwhile = pass_deadline});
    assert_int_equal(insert_until(&world, &key, 60000)->outcome, META_UNKNOWN);
    lossy_db_arm(NULL);
    meta_world_end(&world);
}

/* ---- a row whose file is lost ---- */

static struct meta_insert *replace(struct meta_world *world, const struct proto_file_key *key,
                                   const struct meta_row *lost, int64_t value)
{
    static struct asked asked;
    memset(&asked, 0, sizeof(asked));
    asked.world = world;
    rows_fill_insert(world, &asked.insert, key, value, lost->stat.size, "again.mp4");
    asked.insert.replaces = lost;
    loop_do(world->loop, asked_run_insert, &asked);
    asked_wait(&asked);
    return &asked.insert;
}

static void a_row_gets_another_file_unless_it_was_changed_meanwhile(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct meta_row row, lost;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "")->outcome, META_INSERTED);
    assert_int_equal(rows_find(&world, &key, &lost), META_DONE);
    lossy_db_arm(
        &(struct lossy_db){.beginning = "UPDATE", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    struct meta_insert *again = replace(&world, &key, &lost, 6);
    lossy_db_arm(NULL);
    assert_int_equal(again->outcome, META_INSERTED);
    assert_false(meta_find_cached(world.meta, &key, &row)); /* its name is the table's to say */
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.place.value, 6);
    assert_string_equal(row.file_path, "../data/000/000/000/5F9E3FA7_006");
    assert_string_equal(row.stat.name, "again.mp4");
    assert_int_equal(row.stat.size, 77);

    /* A caller that still assumes the first file gets the second. */
    again = replace(&world, &key, &lost, 7);
    assert_int_equal(again->outcome, META_TAKEN);
    assert_int_equal(again->other.place.value, 6);
    lost = row;
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    again = replace(&world, &key, &lost, 8);
    assert_int_equal(again->outcome, META_TAKEN);
    assert_int_equal(again->other.stat.status, PROTO_FILE_DELETED);
    /* The file was lost because it was purged: the ID is free. */
    meta_world_beside(&world, "DELETE FROM t_file_02");
    lossy_db_arm(
        &(struct lossy_db){.beginning = "COMMIT", .runs = true, .reports = true, .result = DB_UNCERTAIN});
    assert_int_equal(replace(&world, &key, &lost, 9)->outcome, META_INSERTED);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.place.value, 9);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 1);

    /* Unless the row may have got this file before it was purged. */
    lossy_db_arm(&(struct lossy_db){.beginning = "UPDATE",
                                    .runs = true,
                                    .reports = true,
                                    .result = DB_UNCERTAIN,
                                    .meanwhile = purge_row_beside,
                                    .argument = &world});
    assert_int_equal(replace(&world, &key, &row, 11)->outcome, META_UNKNOWN);
    lossy_db_arm(NULL);
    assert_int_equal(number_beside(&world, "SELECT COUNT(*) FROM t_file_02"), 0);

    /* And a row that was just added can be taken back, but none that changed since. */
    struct meta_insert *added = rows_insert(&world, &key, 10, 77, "");
    memset(&asked, 0, sizeof(asked));
    asked.world = &world;
    asked.withdraw =
        (struct meta_withdraw){.key = key, .row = added->row, .loop = world.loop, .done = asked_on_withdraw};
    loop_do(world.loop, asked_run_withdraw, &asked);
    asked_wait(&asked);
    assert_true(asked.withdraw.fine);
    assert_false(meta_find_cached(world.meta, &key, &row));
    assert_int_equal(rows_find(&world, &key, NULL), META_ABSENT);
    assert_int_equal(rows_insert(&world, &key, 10, 77, "")->outcome, META_INSERTED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_DELETED)->outcome, META_CHANGED);
    assert_int_equal(rows_change(&world, &key, PROTO_FILE_NORMAL)->outcome, META_CHANGED);
    atomic_store(&asked.answered, false);
    loop_do(world.loop, asked_run_withdraw, &asked);
    asked_wait(&asked);
    assert_int_equal(rows_find(&world, &key, &lost), META_DONE);

    /* Likewise one that was put in the place of a row that was restored before, or that the scrub had marked. */
    meta_world_beside(&world, "UPDATE t_file_02 SET status = 3");
    assert_true(lost.version < 0);
    lost.state = META_STATE_DAMAGED;
    again = replace(&world, &key, &lost, 12);
    assert_int_equal(again->outcome, META_INSERTED);
    assert_false(again->anew);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.state, META_STATE_NORMAL);
    /* The former file was acknowledged once, and may come back: its row stays, as it was. */
    asked.withdraw.row = again->row;
    asked.withdraw.replaced = &lost;
    atomic_store(&asked.answered, false);
    loop_do(world.loop, asked_run_withdraw, &asked);
    asked_wait(&asked);
    assert_true(asked.withdraw.fine);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.state, META_STATE_DAMAGED);
    assert_string_equal(row.file_path, lost.file_path);
    assert_memory_equal(row.stat.digest, lost.stat.digest, sizeof(row.stat.digest));
    assert_true(row.version == lost.version);

    /* One whose former row was purged meanwhile is a new one. */
    meta_world_beside(&world, "DELETE FROM t_file_02");
    again = replace(&world, &key, &lost, 13);
    assert_int_equal(again->outcome, META_INSERTED);
    assert_true(again->anew);
    meta_world_end(&world);
}

/* An upload that comes again stores lost bytes anew; what others said of the file since stays. */
static void a_row_that_gets_another_file_keeps_its_name(void **state)
{
    struct meta_world world;
    struct meta_row row, lost;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "first.mp4")->outcome, META_INSERTED);
    assert_int_equal(rows_find(&world, &key, &lost), META_DONE);
    meta_world_beside(&world, "UPDATE t_file_02 SET file_name = 'renamed.mp4', content_type = 'video/mp4', "
                              "expires_at = 4102444800, change_id = 9");
    assert_int_equal(replace(&world, &key, &lost, 6)->outcome, META_INSERTED);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_int_equal(row.place.value, 6);
    assert_string_equal(row.stat.name, "renamed.mp4");
    assert_string_equal(row.stat.content_type, "video/mp4");
    assert_true(row.stat.expires == INT64_C(4102444800));
    meta_world_end(&world);
}

/* Its former row was purged while it was uploaded: nothing of that is the new file's. */
static void a_file_in_the_place_of_a_purged_one_does_not_expire_with_it(void **state)
{
    struct meta_world world;
    struct meta_row row, lost;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    assert_int_equal(rows_insert(&world, &key, 5, 77, "first.mp4")->outcome, META_INSERTED);
    meta_world_beside(&world, "UPDATE t_file_02 SET expires_at = 4102444800");
    meta_forget(world.meta, &key);
    assert_int_equal(rows_find(&world, &key, &lost), META_DONE);
    assert_true(lost.stat.expires == INT64_C(4102444800));
    meta_world_beside(&world, "DELETE FROM t_file_02");
    struct meta_insert *again = replace(&world, &key, &lost, 6);
    assert_int_equal(again->outcome, META_INSERTED);
    assert_true(again->anew);
    meta_forget(world.meta, &key);
    assert_int_equal(rows_find(&world, &key, &row), META_DONE);
    assert_string_equal(row.stat.name, "again.mp4");
    assert_true(row.stat.expires == 0);
    meta_world_end(&world);
}

static void after_the_end_everything_is_refused(void **state)
{
    static struct asked asked;
    struct meta_world world;
    struct proto_file_key key = meta_world_key("alice", "file1");
    (void)state;
    meta_world_start(&world, NULL);
    meta_end(world.meta);
    asked_find(&world, &asked, &key, false);
    assert_false(asked.taken);
    assert_int_equal(asked.error.code, ERROR_UNAVAILABLE);
    meta_world_end(&world);
}

#define MANY 20

struct many {
    struct db_job job;
    struct proto_file_key keys[MANY];
    struct meta_row rows[MANY];
    size_t count;
};

static enum db_result many_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct many *many = CONTAINER_OF(job, struct many, job);
    struct meta_sql_new rows[MANY];
    for (size_t i = 0; i < many->count; i++)
        rows[i] = (struct meta_sql_new){.key = &many->keys[i], .row = &many->rows[i]};
    assert_int_equal(db_begin(connection, error), DB_OK);
    enum db_result result = meta_sql_insert_many(connection, rows, many->count, error);
    return result == DB_OK ? db_commit(connection, error) : result;
}

/* Users of all tables in one call: each row is there as it was given; one with a taken key undoes all. */
static void rows_of_several_tables_are_added_together(void **state)
{
    struct meta_world world;
    struct many many = {.job = {.run = many_run}, .count = MANY};
    (void)state;
    meta_world_start(&world, NULL);
    for (int i = 0; i < MANY; i++) {
        char user[32], path[64];
        snprintf(user, sizeof(user), "user-%d", i / 2);
        snprintf(path, sizeof(path), "../data/000/000/000/65432100_%03X", (unsigned)i);
        many.keys[i] = meta_world_key(user, i % 2 ? "one" : "two");
        memcpy(many.rows[i].file_path, path, strlen(path) + 1);
        many.rows[i].stat.size = i + 1;
        many.rows[i].stat.has_digest = true;
        memset(many.rows[i].stat.digest, i, PROTO_DIGEST_SIZE);
    }
    assert_int_equal(meta_run_wait(world.meta, &many.job), DB_OK);
    for (int i = 0; i < MANY; i++) {
        struct meta_row row;
        assert_int_equal(rows_find(&world, &many.keys[i], &row), META_DONE);
        assert_int_equal(row.stat.size, i + 1);
        assert_string_equal(row.file_path, many.rows[i].file_path);
        assert_memory_equal(row.stat.digest, many.rows[i].stat.digest, PROTO_DIGEST_SIZE);
    }
    many.count = 2;
    many.keys[0] = meta_world_key("new", "file"); /* the second one's key is taken */
    assert_int_equal(meta_run_wait(world.meta, &many.job), DB_CONSTRAINT);
    assert_int_equal(rows_find(&world, &many.keys[0], NULL), META_ABSENT);
    meta_world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_back_as_it_was_added),
        cmocka_unit_test(a_long_name_is_not_cached_but_kept),
        cmocka_unit_test(of_two_rows_with_one_key_the_first_stays),
        cmocka_unit_test(deleting_hides_at_once_and_restoring_brings_back),
        cmocka_unit_test(a_statement_that_arrives_late_changes_nothing),
        cmocka_unit_test(a_file_is_renamed_while_it_is_there_and_ours),
        cmocka_unit_test(a_rename_that_arrives_late_changes_nothing),
        cmocka_unit_test(a_time_of_expiry_is_asked_set_and_taken_away),
        cmocka_unit_test(an_edit_whose_answer_is_lost_is_done_once),
        cmocka_unit_test(an_edit_whose_answer_is_lost_is_not_refused_once_the_file_has_moved),
        cmocka_unit_test(a_restoration_takes_away_a_time_that_is_over_and_no_other),
        cmocka_unit_test(a_status_that_is_no_number_counts_as_deleted),
        cmocka_unit_test(a_file_is_deleted_at_the_later_of_this_servers_time_and_the_databases),
        cmocka_unit_test(a_damaged_file_is_deleted_but_neither_restored_nor_sound_again),
        cmocka_unit_test(what_another_server_changes_is_seen_when_the_cache_has_aged),
        cmocka_unit_test(rows_of_the_predecessor_are_read),
        cmocka_unit_test(rows_that_others_spoilt_harm_nobody),
        cmocka_unit_test(lists_are_paged_in_byte_order_and_by_status),
        cmocka_unit_test(what_the_database_cannot_do_fails_and_works_again_later),
        cmocka_unit_test(many_who_ask_for_one_file_get_one_answer_each),
        cmocka_unit_test(a_look_up_from_before_a_deletion_does_not_undo_it),
        cmocka_unit_test(who_must_know_for_sure_joins_no_look_up_that_is_under_way),
        cmocka_unit_test(a_look_up_that_is_under_way_for_long_is_neither_joined_nor_remembered),
        cmocka_unit_test(of_two_look_ups_the_older_one_is_never_cached),
        cmocka_unit_test(what_is_older_than_an_answer_is_not_served_after_it),
        cmocka_unit_test(what_the_database_said_earlier_is_not_served_after_what_it_said_later),
        cmocka_unit_test(what_was_added_here_is_not_served_after_what_became_of_it),
        cmocka_unit_test(a_slow_answer_is_not_remembered_nor_is_what_is_older),
        cmocka_unit_test(of_two_changes_the_older_one_is_never_cached),
        cmocka_unit_test(a_row_that_was_deleted_since_is_not_cached_by_its_upload),
        cmocka_unit_test(a_row_that_was_deleted_elsewhere_is_not_cached_by_its_upload),
        cmocka_unit_test(a_row_that_was_deleted_before_is_not_cached_as_it_was_added),
        cmocka_unit_test(deletions_and_restorations_at_once_leave_the_cache_right),
        cmocka_unit_test(a_change_whose_answer_was_lost_knows_its_own),
        cmocka_unit_test(a_change_whose_answer_was_lost_is_not_refused_once_the_file_has_moved),
        cmocka_unit_test(a_change_that_was_lost_does_not_take_a_rivals_for_its_own),
        cmocka_unit_test(a_restoration_that_was_lost_does_not_undo_a_later_deletion),
        cmocka_unit_test(a_deletion_that_comes_late_does_not_undo_a_restoration),
        cmocka_unit_test(a_row_whose_insert_was_not_answered_is_there_once),
        cmocka_unit_test(an_insert_whose_answer_is_a_failure_leaves_no_row),
        cmocka_unit_test(after_an_unanswered_insert_the_row_may_be_a_rivals),
        cmocka_unit_test(a_rival_after_our_purge_says_nothing),
        cmocka_unit_test(an_unanswered_insert_does_not_undo_a_purge),
        cmocka_unit_test(an_unanswered_insert_does_not_undo_a_purge_in_another_group),
        cmocka_unit_test(a_rival_after_our_purge_in_another_group_says_nothing),
        cmocka_unit_test(a_shared_file_that_moved_and_was_purged_does_not_come_back),
        cmocka_unit_test(a_hanging_volume_holds_no_database_thread),
        cmocka_unit_test(a_change_is_not_made_twice_around_somebody_elses),
        cmocka_unit_test(no_row_is_added_for_a_file_that_the_clean_up_may_take),
        cmocka_unit_test(an_insert_that_may_still_come_is_not_called_undone),
        cmocka_unit_test(a_row_gets_another_file_unless_it_was_changed_meanwhile),
        cmocka_unit_test(a_row_that_gets_another_file_keeps_its_name),
        cmocka_unit_test(a_file_in_the_place_of_a_purged_one_does_not_expire_with_it),
        cmocka_unit_test(after_the_end_everything_is_refused),
        cmocka_unit_test(rows_of_several_tables_are_added_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
