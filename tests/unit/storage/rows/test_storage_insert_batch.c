/*
 * Rows that share transactions: each one's fate is its own, whatever its company. On a real SQLite file.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/storage_loop.h"

#include "storage/rows/insert_batch.h"
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/lossy_db.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 200

struct row {
    struct insert_item item;
    int64_t key, value; /* value -1: breaks a rule of the table that nothing can settle */
    int64_t found;      /* by settle(): the value that is there */
    int deadlocks;      /* so often settle() fails for a moment */
    sem_t *ended;
};

struct fixture {
    char directory[64];
    struct db *db;
    struct loop *loop;
    struct insert_batches *batches;
    _Atomic int submitted;
    _Atomic int came, came_first; /* rows; those that had come when the first batch went */
    bool holds;                   /* the first batch is kept in HELD */
    struct db_job *held;
    sem_t holding;
    sem_t ended;
    struct row rows[ROWS];
};

static enum db_result insert(struct insert_item *item, struct db_connection *connection, struct error *error)
{
    const struct row *row = CONTAINER_OF(item, struct row, item);
    const struct db_value parameters[] = {db_integer(row->key),
                                          row->value < 0 ? db_null() : db_integer(row->value)};
    const char *sql = row->value < 0 ? "INSERT INTO missing_table (key, value) VALUES (?, ?)"
                                     : "INSERT INTO t (key, value) VALUES (?, ?)";
    return db_execute(connection, sql, parameters, 2, NULL, error);
}

static _Atomic int together; /* calls of insert_many() */

static enum db_result insert_many(struct insert_item *const *items, size_t count,
                                  struct db_connection *connection, struct error *error)
{
    struct db_value parameters[2 * INSERT_BATCH_MAX];
    char sql[64 + 8 * INSERT_BATCH_MAX] = "INSERT INTO t (key, value) VALUES (?, ?)";
    together++;
    for (size_t i = 0; i < count; i++) {
        const struct row *row = CONTAINER_OF(items[i], struct row, item);
        if (row->value < 0)
            return insert(items[i], connection, error);
        parameters[2 * i] = db_integer(row->key);
        parameters[2 * i + 1] = db_integer(row->value);
        if (i > 0)
            strcat(sql, ", (?, ?)");
    }
    return db_execute(connection, sql, parameters, 2 * count, NULL, error);
}

static enum db_result book_mark(void *argument, struct db_connection *connection, int64_t sequence,
                                struct error *error);

/* With its number, in one transaction. */
static enum db_result insert_promised(struct insert_item *item, struct db_connection *connection,
                                      struct error *error)
{
    enum db_result result = db_begin_relaxed(connection, error);
    if (result == DB_OK)
        result = insert(item, connection, error);
    if (result == DB_OK)
        result = book_mark(NULL, connection, item->sequence, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static bool on_value(void *argument, const struct db_value *columns, size_t count)
{
    assert_int_equal(count, 1);
    assert_true(db_value_integer(&columns[0], argument));
    return false;
}

static enum db_result settle(struct insert_item *item, struct db_connection *connection, struct error *error)
{
    struct row *row = CONTAINER_OF(item, struct row, item);
    const struct db_value parameters[] = {db_integer(row->key)};
    if (row->deadlocks > 0) {
        row->deadlocks--;
        error_set(error, ERROR_UNAVAILABLE, "deadlock");
        return DB_TRANSIENT;
    }
    enum db_result result =
        item->sequence > 0 ? insert_promised(item, connection, error) : insert(item, connection, error);
    row->found = row->value;
    item->added = result == DB_OK;
    if (result != DB_CONSTRAINT)
        return result;
    return db_query(connection, "SELECT value FROM t WHERE key = ?", parameters, 1, on_value, &row->found,
                    error);
}

static void done(struct insert_item *item)
{
    sem_post(CONTAINER_OF(item, struct row, item)->ended);
}

static atomic_bool submits_nothing;

static bool submit(void *argument, struct db_job *job, struct error *error)
{
    struct fixture *fixture = argument;
    if (fixture->submitted++ == 0) {
        fixture->came_first = fixture->came;
        fixture->held = fixture->holds ? job : NULL;
        if (fixture->held) {
            sem_post(&fixture->holding);
            return true;
        }
    }
    if (submits_nothing)
        return error_set(error, ERROR_UNAVAILABLE, "full");
    return db_submit(fixture->db, job) || error_set(error, ERROR_UNAVAILABLE, "full");
}

static enum db_result create_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    (void)job;
    return db_execute(connection, "CREATE TABLE t (key INTEGER PRIMARY KEY, value INTEGER)", NULL, 0, NULL,
                      error);
}

static enum db_result empty_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    (void)job;
    return db_execute(connection, "DELETE FROM t", NULL, 0, NULL, error);
}

struct count {
    struct db_job job;
    int64_t count;
};

static enum db_result count_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return db_query(connection, "SELECT COUNT(*) FROM t", NULL, 0, on_value,
                    &CONTAINER_OF(job, struct count, job)->count, error);
}

static int64_t rows_in_table(struct fixture *fixture)
{
    struct count count = {.job = {.run = count_run}};
    assert_int_equal(db_run_wait(fixture->db, &count.job), DB_OK);
    return count.count;
}

static int set_up_with(void **state, bool many)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char url[256], path[128];
    struct error error;
    struct db_job create = {.run = create_run};
    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/reel-batch-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(path, sizeof(path), "%s/t.db", fixture->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    snprintf(url, sizeof(url), "sqlite:%s", path);
    fixture->db = db_open(
        &(struct db_options){.url = url, .threads = 4, .queue_max = 100, .job_timeout_ms = 60000}, &error);
    assert_non_null(fixture->db);
    assert_int_equal(db_run_wait(fixture->db, &create), DB_OK);
    fixture->loop = loop_create("batch", &error);
    assert_non_null(fixture->loop);
    assert_true(loop_start(fixture->loop, &error));
    sem_init(&fixture->ended, 0, 0);
    sem_init(&fixture->holding, 0, 0);
    fixture->batches = insert_batches_create(&(struct insert_batches_options){
        .together = many, .submit = submit, .argument = fixture, .active_max = 1, .timeout_ms = 20000});
    assert_non_null(fixture->batches);
    for (size_t i = 0; i < ROWS; i++) {
        struct row *row = &fixture->rows[i];
        row->key = row->value = (int64_t)i;
        row->ended = &fixture->ended;
        row->item = (struct insert_item){.insert = insert,
                                         .insert_many = insert_many,
                                         .settle = settle,
                                         .done = done,
                                         .loop = fixture->loop};
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    db_close(fixture->db);
    loop_destroy(fixture->loop);
    insert_batches_destroy(fixture->batches);
    sem_destroy(&fixture->ended);
    sem_destroy(&fixture->holding);
    static const char *const names[] = {"t.db", "t.db-wal", "t.db-shm"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(command, sizeof(command), "%s/%s", fixture->directory, names[i]);
        (void)unlink(command);
    }
    (void)rmdir(fixture->directory);
    free(fixture);
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, false);
}

static int set_up_together(void **state)
{
    return set_up_with(state, true);
}

static void add_on_loop(void *argument)
{
    struct fixture *fixture = argument;
    for (size_t i = 0; i < ROWS; i++) {
        fixture->came++;
        insert_batches_add(fixture->batches, &fixture->rows[i].item);
    }
}

static void add_all(struct fixture *fixture)
{
    loop_do(fixture->loop, add_on_loop, fixture);
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(sem_wait(&fixture->ended), 0);
}

static void rows_that_come_together_share_transactions(void **state)
{
    struct fixture *fixture = *state;
    lossy_db_arm(NULL);
    add_all(fixture);
    int transactions = lossy_db_count("COMMIT"), inserts = lossy_db_count("INSERT");
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(fixture->rows[i].item.result, DB_OK);
    assert_int_equal(rows_in_table(fixture), ROWS);
    /* Each row went in once, and all but those that came alone in a transaction with others. */
    assert_int_equal(inserts, ROWS);
    assert_int_equal(lossy_db_count("BEGIN"), transactions);
    assert_int_equal(transactions, (ROWS + INSERT_BATCH_MAX - 1) / INSERT_BATCH_MAX);
    assert_int_equal(fixture->submitted, transactions);
}

static void rows_of_one_turn_go_at_its_end(void **state)
{
    struct fixture *fixture = *state;
    add_all(fixture);
    assert_int_equal(fixture->came_first, ROWS);
}

static void add_next_row(void *argument)
{
    struct fixture *fixture = argument;
    insert_batches_add(fixture->batches, &fixture->rows[fixture->came++].item);
}

static void rows_that_come_before_the_database_begins_join_the_batch(void **state)
{
    struct fixture *fixture = *state;
    fixture->holds = true;
    lossy_db_arm(NULL);
    loop_do(fixture->loop, add_next_row, fixture);
    assert_int_equal(sem_wait(&fixture->holding), 0);
    loop_do(fixture->loop, add_next_row, fixture);
    assert_true(db_submit(fixture->db, fixture->held));
    for (int i = 0; i < 2; i++)
        assert_int_equal(sem_wait(&fixture->ended), 0);
    assert_int_equal(lossy_db_count("COMMIT"), 1);
    assert_int_equal(rows_in_table(fixture), 2);
}

static void rows_that_come_together_go_in_one_statement_where_that_is_possible(void **state)
{
    struct fixture *fixture = *state;
    lossy_db_arm(NULL);
    together = 0;
    add_all(fixture);
    int inserts = lossy_db_count("INSERT");
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(fixture->rows[i].item.result, DB_OK);
    assert_int_equal(rows_in_table(fixture), ROWS);
    assert_true(together > 0);
    assert_in_range(inserts, together, ROWS / 2);
}

static void hold_up(void *argument)
{
    (void)argument;
    usleep(100000);
}

static void expect_all_there_once(struct fixture *fixture)
{
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(fixture->rows[i].item.result, DB_OK);
        if (fixture->rows[i].item.settled)
            assert_int_equal(fixture->rows[i].found, i);
    }
    assert_int_equal(rows_in_table(fixture), ROWS);
}

static void after_a_commit_that_was_not_answered_every_row_is_looked_at(void **state)
{
    struct fixture *fixture = *state;
    for (int runs = 0; runs < 2; runs++) {
        if (runs == 1) {
            struct db_job empty = {.run = empty_run};
            assert_int_equal(db_run_wait(fixture->db, &empty), DB_OK);
        }
        lossy_db_arm(&(struct lossy_db){.beginning = "COMMIT",
                                        .runs = runs == 1,
                                        .reports = true,
                                        .result = DB_UNCERTAIN,
                                        .meanwhile = hold_up});
        add_all(fixture);
        int unsure = 0;
        for (size_t i = 0; i < ROWS; i++) {
            const struct insert_item *item = &fixture->rows[i].item;
            unsure += item->uncertain ? 1 : 0;
            assert_true(!item->uncertain || item->settled);
        }
        assert_in_range(unsure, 2, 64);
        expect_all_there_once(fixture);
    }
}

/* A row that is settled alone, since its transaction was spoiled, meets a deadlock: it is tried again. */
static void a_row_that_fails_for_a_moment_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->rows[ROWS / 2].value = -1; /* spoils its transaction: the others are settled each on its own */
    for (size_t i = 0; i < ROWS; i++)
        fixture->rows[i].deadlocks = i % 8 == 0 ? 1 : 0;
    add_all(fixture);
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(fixture->rows[i].item.result, i == ROWS / 2 ? DB_PERMANENT : DB_OK);
    assert_int_equal(rows_in_table(fixture), ROWS - 1);
}

static void a_row_whose_key_is_taken_hears_by_whom_and_the_others_are_added(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 1; i < ROWS; i += 3)
        fixture->rows[i].key = 0;
    add_all(fixture);
    int added = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &fixture->rows[i];
        assert_int_equal(row->item.result, DB_OK);
        if (row->key == 0 && row->value != 0) {
            assert_true(row->item.settled);
            assert_int_equal(row->found, 0);
        } else {
            added++;
        }
    }
    assert_int_equal(rows_in_table(fixture), added);
}

static void a_row_that_can_never_be_added_fails_alone(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ROWS; i += 50)
        fixture->rows[i].value = -1;
    add_all(fixture);
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(fixture->rows[i].item.result, i % 50 == 0 ? DB_PERMANENT : DB_OK);
    assert_int_equal(rows_in_table(fixture), ROWS - ROWS / 50);
}

static void when_the_database_takes_no_job_every_row_is_answered(void **state)
{
    struct fixture *fixture = *state;
    db_close(fixture->db);
    struct error error;
    char url[256];
    snprintf(url, sizeof(url), "sqlite:%s/absent/t.db", fixture->directory);
    fixture->db = db_open(
        &(struct db_options){.url = url, .threads = 1, .queue_max = 1, .job_timeout_ms = 100}, &error);
    assert_non_null(fixture->db);
    add_all(fixture);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_not_equal(fixture->rows[i].item.result, DB_OK);
        assert_false(fixture->rows[i].item.uncertain);
        assert_int_not_equal(fixture->rows[i].item.error.text[0], '\0');
    }
}

/* ---- with a journal: what it is asked for, in its order ---- */

static struct {
    pthread_mutex_t mutex;
    int writes;                      /* groups */
    int64_t given, marked, gone;     /* the highest number that was given, stored, settled */
    int64_t last_of[3 * ROWS];       /* of each group */
    int marked_early, settled_early; /* in another order than the groups were written */
    int fails;                       /* this group cannot be written, although it gets numbers; 0: none */
} book = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool book_write(void *argument, struct insert_item *const *items, size_t count, struct error *error)
{
    (void)argument;
    pthread_mutex_lock(&book.mutex);
    for (size_t i = 0; i < count; i++)
        items[i]->sequence = ++book.given;
    book.last_of[book.writes++] = book.given;
    bool fine = book.writes != book.fails;
    pthread_mutex_unlock(&book.mutex);
    return fine || error_set(error, ERROR_IO, "the journal cannot be written");
}

/* The group that is next after NUMBER. */
static int64_t next_group(int64_t number)
{
    int i = 0;
    while (i < book.writes && book.last_of[i] <= number)
        i++;
    return i < book.writes ? book.last_of[i] : 0;
}

static enum db_result book_mark(void *argument, struct db_connection *connection, int64_t sequence,
                                struct error *error)
{
    const struct db_value parameters[] = {db_integer(sequence)};
    (void)argument;
    pthread_mutex_lock(&book.mutex);
    book.marked_early += sequence != book.marked && sequence > next_group(book.gone) ? 1 : 0;
    book.marked = sequence > book.marked ? sequence : book.marked;
    pthread_mutex_unlock(&book.mutex);
    return db_execute(connection, "UPDATE t SET value = value WHERE key = ?", parameters, 1, NULL, error);
}

static void book_settled(void *argument, int64_t sequence)
{
    (void)argument;
    pthread_mutex_lock(&book.mutex);
    book.settled_early += sequence != next_group(book.gone) ? 1 : 0;
    book.gone = sequence;
    pthread_mutex_unlock(&book.mutex);
}

static const struct insert_journal journal = {
    .write = book_write, .mark = book_mark, .settled = book_settled};

static int set_up_with_journal(void **state)
{
    int failed = set_up_with(state, false);
    struct fixture *fixture = *state;
    book.writes = book.marked_early = book.settled_early = book.fails = 0;
    book.given = book.marked = book.gone = 0;
    submits_nothing = false;
    insert_batches_set_journal(fixture->batches, &journal);
    for (size_t i = 0; i < ROWS; i++)
        fixture->rows[i].item.promised = true;
    return failed;
}

static int groups_written(void)
{
    pthread_mutex_lock(&book.mutex);
    int writes = book.writes;
    pthread_mutex_unlock(&book.mutex);
    return writes;
}

/* On the database thread, behind the first COMMIT: until the next group is written; then for a while, in which nothing may happen to
 * its rows. */
static void wait_for_the_next_group(void *argument)
{
    int *begun = argument;
    for (int i = 0; i < 2000 && groups_written() < 2; i++)
        usleep(10000);
    int before = lossy_db_count("INSERT");
    usleep(100000);
    *begun = lossy_db_count("INSERT") - before;
}

static void refuse_jobs_behind_the_next_group(void *argument)
{
    wait_for_the_next_group(argument);
    submits_nothing = true;
}

static void expect_order(void)
{
    assert_int_equal(book.marked_early, 0);
    assert_int_equal(book.settled_early, 0);
    assert_int_equal(book.gone, book.given);
}

static void records_are_written_while_rows_before_them_are_added(void **state)
{
    struct fixture *fixture = *state;
    int begun = -1;
    lossy_db_arm(&(struct lossy_db){
        .beginning = "COMMIT", .runs = true, .meanwhile = wait_for_the_next_group, .argument = &begun});
    add_all(fixture);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(begun, 0); /* the rows of the second group have to wait for those of the first */
    assert_true(book.writes >= 2);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(fixture->rows[i].item.result, DB_OK);
        assert_true(fixture->rows[i].item.added);
    }
    assert_int_equal(rows_in_table(fixture), ROWS);
    assert_int_equal(book.given, ROWS);
    expect_order();
}

static void a_group_that_cannot_be_written_is_void_behind_the_rows_before_it(void **state)
{
    struct fixture *fixture = *state;
    int begun = -1, unwritten = 0;
    book.fails = 2;
    lossy_db_arm(&(struct lossy_db){
        .beginning = "COMMIT", .runs = true, .meanwhile = wait_for_the_next_group, .argument = &begun});
    add_all(fixture);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(begun, 0);
    for (size_t i = 0; i < ROWS; i++) {
        const struct insert_item *item = &fixture->rows[i].item;
        unwritten += item->unwritten ? 1 : 0;
        assert_int_equal(item->result, item->unwritten ? DB_TRANSIENT : DB_OK);
        assert_false(item->uncertain);
    }
    assert_int_equal(unwritten, book.last_of[1] - book.last_of[0]);
    assert_int_equal(rows_in_table(fixture), ROWS - unwritten);
    assert_true(book.marked >= book.last_of[1]);
    expect_order();
}

static void rows_of_a_written_group_that_get_no_turn_are_in_doubt(void **state)
{
    struct fixture *fixture = *state;
    int begun = -1, doubted = 0, added = 0;
    lossy_db_arm(&(struct lossy_db){.beginning = "COMMIT",
                                    .runs = true,
                                    .meanwhile = refuse_jobs_behind_the_next_group,
                                    .argument = &begun});
    add_all(fixture);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    for (size_t i = 0; i < ROWS; i++) {
        const struct insert_item *item = &fixture->rows[i].item;
        doubted += item->uncertain ? 1 : 0;
        added += item->result == DB_OK ? 1 : 0;
        assert_true(item->result == DB_OK || item->uncertain == (item->sequence > 0));
    }
    assert_int_equal(added, book.last_of[0]);
    assert_int_equal(doubted, book.last_of[1] - book.last_of[0]);
    assert_int_equal(book.writes, 2); /* whoever had no number yet was answered at once */
    expect_order();
    /* And the next one who comes has both stages for itself. */
    submits_nothing = false;
    struct db_job empty = {.run = empty_run};
    assert_int_equal(db_run_wait(fixture->db, &empty), DB_OK);
    add_all(fixture);
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(fixture->rows[i].item.result, DB_OK);
    expect_order();
}

static struct fake_clock fake;

static void let_the_next_group_wait(void *argument)
{
    wait_for_the_next_group(argument);
    fake_clock_pass(&fake, 20000);
}

static void rows_of_a_written_group_wait_no_longer_than_the_others(void **state)
{
    struct fixture *fixture = *state;
    int begun = -1, doubted = 0;
    fake_clock_start(&fake);
    lossy_db_arm(&(struct lossy_db){
        .beginning = "COMMIT", .runs = true, .meanwhile = let_the_next_group_wait, .argument = &begun});
    add_all(fixture);
    fake_clock_end();
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    for (size_t i = 0; i < ROWS; i++) {
        const struct insert_item *item = &fixture->rows[i].item;
        doubted += item->uncertain ? 1 : 0;
        if (item->uncertain)
            assert_non_null(strstr(item->error.text, "waited too long"));
    }
    assert_int_equal(doubted, book.last_of[1] - book.last_of[0]);
    expect_order();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_that_come_together_share_transactions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_one_turn_go_at_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_that_come_before_the_database_begins_join_the_batch, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(rows_that_come_before_the_database_begins_join_the_batch,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(after_a_commit_that_was_not_answered_every_row_is_looked_at, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_fails_for_a_moment_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_row_whose_key_is_taken_hears_by_whom_and_the_others_are_added,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_can_never_be_added_fails_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_that_come_together_go_in_one_statement_where_that_is_possible,
                                        set_up_together, tear_down),
        cmocka_unit_test_setup_teardown(after_a_commit_that_was_not_answered_every_row_is_looked_at,
                                        set_up_together, tear_down),
        cmocka_unit_test_setup_teardown(a_row_whose_key_is_taken_hears_by_whom_and_the_others_are_added,
                                        set_up_together, tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_can_never_be_added_fails_alone, set_up_together,
                                        tear_down),
        cmocka_unit_test_setup_teardown(when_the_database_takes_no_job_every_row_is_answered, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(when_the_database_takes_no_job_every_row_is_answered,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(a_row_whose_key_is_taken_hears_by_whom_and_the_others_are_added,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_fails_for_a_moment_is_tried_again, set_up_with_journal,
                                        tear_down),
        cmocka_unit_test_setup_teardown(records_are_written_while_rows_before_them_are_added,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(a_group_that_cannot_be_written_is_void_behind_the_rows_before_it,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_a_written_group_that_get_no_turn_are_in_doubt,
                                        set_up_with_journal, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_a_written_group_wait_no_longer_than_the_others,
                                        set_up_with_journal, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
