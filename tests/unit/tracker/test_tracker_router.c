/* Users' groups over a real SQLite database: sticky, unique between trackers, served while the database is
 * away. */
#include "tracker/groups.h"
#include "tracker/router.h"
#include "common/db/schema.h"
#include "sql/tracker_sql.h"
#include <errno.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/library/storage_loop.h"

#define CACHE_AGE_MS     60000
#define TRACKERS         2
#define DATABASE_THREADS 3

struct tracker {
    struct db *db;
    struct table *table;
    struct router *router;
};

struct fixture {
    char directory[64];
    char file[128];
    char url[160];
    int64_t timeout_ms; /* of the database, for a question */
    struct loop *loop;
    struct tracker trackers[TRACKERS];
};

static void run_sql(const struct fixture *fixture, const char *sql)
{
    sqlite3 *database = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    sqlite3_busy_timeout(database, 5000);
    if (sqlite3_exec(database, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(database);
}

static int count_rows(const struct fixture *fixture)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(fixture->file, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, "SELECT COUNT(*) FROM t_router", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return count;
}

static void create_tables(const struct fixture *fixture)
{
    struct error error = {0};
    if (!schema_apply(fixture->url, &tracker_schema, NULL, &error))
        fail_msg("%s", error.text);
    run_sql(fixture, "INSERT INTO t_groups_info (group_name) VALUES ('group002')");
}

static void remove_database(const struct fixture *fixture)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s%s", fixture->file, endings[i]);
        if (unlink(path) != 0)
            assert_int_equal(errno, ENOENT);
    }
}

static void activate(struct table *table, const char *group, uint16_t port)
{
    struct proto_join join = {.version = "1.0", .host = "media", .port = port};
    struct proto_load load = {.host = "media", .port = port, .capacity = 1000, .free = 500, .free_inodes = 5};
    struct error error;
    snprintf(join.group, sizeof(join.group), "%s", group);
    snprintf(load.group, sizeof(load.group), "%s", group);
    assert_true(table_join(table, port, "10.0.0.1", &join, table_now(), &error));
    assert_true(table_load(table, port, "10.0.0.1", &load, table_now(), &error));
}

static void configure(struct tracker *tracker, const char *pin, int64_t age_ms, int64_t unknown_age_ms)
{
    char *application = (char *)(uintptr_t) "tnvideo", *pin_text = (char *)(uintptr_t)pin;
    const struct config_strings applications = {.items = &application, .count = 1};
    const struct config_strings pins = {.items = &pin_text, .count = pin != NULL};
    struct error error = {0};
    if (!router_configure(tracker->router, &applications, &pins, age_ms, unknown_age_ms, &error))
        fail_msg("%s", error.text);
}

static void start_tracker(struct fixture *fixture, struct tracker *tracker)
{
    const struct table_settings settings = {
        .heartbeat_timeout_ms = 1000000, .suspect_grace_ms = 1000, .forget_after_ms = 1000000};
    const struct table_group_row rows[] = {{.name = "group001", .weight = 100},
                                           {.name = "group002", .weight = 100}};
    struct db_options options = {
        .url = fixture->url, .threads = DATABASE_THREADS, .queue_max = 1000, .job_timeout_ms = 60000};
    struct error error = {0};
    tracker->db = db_open(&options, &error);
    if (tracker->db == NULL)
        fail_msg("%s", error.text);
    tracker->table = table_create(8, 8, &settings);
    assert_non_null(tracker->table);
    table_set_groups(tracker->table, rows, ARRAY_SIZE(rows));
    activate(tracker->table, "group001", 1);
    activate(tracker->table, "group002", 2);
    const struct router_options router = {.table = tracker->table,
                                          .db = tracker->db,
                                          .cache_entries = 1000,
                                          .cache_age_ms = CACHE_AGE_MS,
                                          .unknown_age_ms = CACHE_AGE_MS,
                                          .timeout_ms = fixture->timeout_ms};
    tracker->router = router_create(&router, &error);
    assert_non_null(tracker->router);
    configure(tracker, NULL, CACHE_AGE_MS, CACHE_AGE_MS);
}

static int set_up_with(void **state, int64_t timeout_ms)
{
    static struct fixture fixture;
    struct error error = {0};
    fixture = (struct fixture){.timeout_ms = timeout_ms};
    snprintf(fixture.directory, sizeof(fixture.directory), "/tmp/test_tracker_router.XXXXXX");
    if (mkdtemp(fixture.directory) == NULL)
        return -1;
    snprintf(fixture.file, sizeof(fixture.file), "%s/meta.db", fixture.directory);
    snprintf(fixture.url, sizeof(fixture.url), "sqlite:%s", fixture.file);
    create_tables(&fixture);
    fixture.loop = loop_create("test", &error);
    if (fixture.loop == NULL || !loop_start(fixture.loop, &error))
        return -1;
    for (int i = 0; i < TRACKERS; i++)
        start_tracker(&fixture, &fixture.trackers[i]);
    *state = &fixture;
    return 0;
}

/* Longer than any disk stands still. */
static int set_up(void **state)
{
    return set_up_with(state, 60000);
}

static int set_up_impatient(void **state)
{
    return set_up_with(state, 1000);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < TRACKERS; i++) {
        router_close(fixture->trackers[i].router);
        db_close(fixture->trackers[i].db);
    }
    loop_destroy(fixture->loop);
    for (int i = 0; i < TRACKERS; i++) {
        router_destroy(fixture->trackers[i].router);
        table_destroy(fixture->trackers[i].table);
    }
    remove_database(fixture);
    return rmdir(fixture->directory);
}

struct asked {
    struct task task;
    struct fixture *fixture;
    struct tracker *tracker;
    struct proto_file_key key;
    bool create;
    int code; /* of the error; 0 for success */
    char group[PROTO_GROUP_SIZE];
    sem_t answered;
};

static void take_answer(void *argument, const char *group, const struct error *error)
{
    struct asked *asked = argument;
    asked->code = group != NULL ? 0 : error->code;
    snprintf(asked->group, sizeof(asked->group), "%s", group != NULL ? group : "");
    sem_post(&asked->answered);
}

static void ask_on_loop(struct task *task)
{
    struct asked *asked = CONTAINER_OF(task, struct asked, task);
    char group[PROTO_GROUP_SIZE];
    struct error error = {0};
    enum router_answer answer = router_ask(asked->tracker->router, asked->fixture->loop, &asked->key,
                                           asked->create, take_answer, asked, group, &error);
    if (answer != ROUTER_ASK)
        take_answer(asked, answer == ROUTER_FOUND ? group : NULL, &error);
}

static void ask(struct fixture *fixture, struct tracker *tracker, struct asked *asked, const char *user,
                bool create)
{
    *asked = (struct asked){.task.run = ask_on_loop,
                            .fixture = fixture,
                            .tracker = tracker,
                            .key.application = "tnvideo",
                            .create = create};
    snprintf(asked->key.user, sizeof(asked->key.user), "%s", user);
    assert_int_equal(sem_init(&asked->answered, 0, 0), 0);
    loop_post(fixture->loop, &asked->task);
}

static void await(struct asked *asked)
{
    while (sem_wait(&asked->answered) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&asked->answered);
}

/* The number of an error, 0 for success; GROUP gets the answer. */
static int look_up(struct fixture *fixture, struct tracker *tracker, const char *user, bool create,
                   char *group)
{
    struct proto_file_key key = {.application = "tnvideo"};
    struct error error = {0};
    struct asked asked;
    snprintf(key.user, sizeof(key.user), "%s", user);
    switch (router_find(tracker->router, &key, create, group, &error)) {
    case ROUTER_FOUND:
        return 0;
    case ROUTER_FAILED:
        return error.code;
    case ROUTER_ASK:
        break;
    }
    ask(fixture, tracker, &asked, user, create);
    await(&asked);
    snprintf(group, PROTO_GROUP_SIZE, "%s", asked.group);
    return asked.code;
}

static void a_user_keeps_the_group_it_was_given(void **state)
{
    struct fixture *fixture = *state;
    char first[PROTO_GROUP_SIZE], again[PROTO_GROUP_SIZE];
    assert_int_equal(look_up(fixture, &fixture->trackers[0], "alice", true, first), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(look_up(fixture, &fixture->trackers[i % TRACKERS], "alice", i % 3 == 0, again), 0);
        assert_string_equal(again, first);
    }
    assert_int_equal(count_rows(fixture), 1);
}

static void new_users_are_spread_over_the_groups(void **state)
{
    struct fixture *fixture = *state;
    char group[PROTO_GROUP_SIZE], user[32];
    int first = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(user, sizeof(user), "user%d", i);
        assert_int_equal(look_up(fixture, &fixture->trackers[0], user, true, group), 0);
        first += strcmp(group, "group001") == 0;
    }
    assert_in_range(first, 25, 75); /* outside of it about once in a million runs */
    assert_int_equal(count_rows(fixture), 100);
}

static void two_trackers_asked_at_once_agree(void **state)
{
    struct fixture *fixture = *state;
    static struct asked asked[40];
    for (int round = 0; round < 10; round++) {
        char user[32];
        snprintf(user, sizeof(user), "user%d", round);
        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
            ask(fixture, &fixture->trackers[i % TRACKERS], &asked[i], user, true);
        for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
            await(&asked[i]);
            assert_int_equal(asked[i].code, 0);
            assert_string_equal(asked[i].group, asked[0].group);
        }
        assert_int_equal(count_rows(fixture), round + 1);
    }
}

static void locate_creates_nothing_and_remembers_briefly_that_there_is_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    struct proto_file_key key = {.application = "tnvideo", .user = "alice"};
    char group[PROTO_GROUP_SIZE];
    struct error error = {0};
    assert_int_equal(look_up(fixture, tracker, "alice", false, group), ERROR_NOT_FOUND);
    assert_int_equal(count_rows(fixture), 0);
    assert_int_equal(router_find(tracker->router, &key, false, group, &error), ROUTER_FAILED);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    /* SADDRS does not believe it, and with its answer it is forgotten. */
    assert_int_equal(router_find(tracker->router, &key, true, group, &error), ROUTER_ASK);
    assert_int_equal(look_up(fixture, tracker, "alice", true, group), 0);
    assert_int_equal(router_find(tracker->router, &key, false, group, &error), ROUTER_FOUND);
    configure(tracker, NULL, 1, CACHE_AGE_MS);
    usleep(20000);
    assert_int_equal(router_find(tracker->router, &key, false, group, &error), ROUTER_ASK);
}

static void an_application_that_is_not_configured_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct proto_file_key key = {.application = "other", .user = "alice"};
    char group[PROTO_GROUP_SIZE];
    struct error error = {0};
    assert_int_equal(router_find(fixture->trackers[0].router, &key, true, group, &error), ROUTER_FAILED);
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.text, "other"));
}

static void a_pinned_user_gets_its_group_and_one_that_has_a_group_keeps_it(void **state)
{
    struct fixture *fixture = *state;
    char group[PROTO_GROUP_SIZE], user[32];
    configure(&fixture->trackers[0], "user:vip-=group002", CACHE_AGE_MS, CACHE_AGE_MS);
    for (int i = 0; i < 20; i++) {
        snprintf(user, sizeof(user), "vip-%d", i);
        assert_int_equal(look_up(fixture, &fixture->trackers[0], user, true, group), 0);
        assert_string_equal(group, "group002");
    }
    configure(&fixture->trackers[0], "user:vip-=group001", CACHE_AGE_MS, CACHE_AGE_MS);
    assert_int_equal(look_up(fixture, &fixture->trackers[0], "vip-1", true, group), 0);
    assert_string_equal(group, "group002");
    configure(&fixture->trackers[0], "app:tnvideo=nogroup", CACHE_AGE_MS, CACHE_AGE_MS);
    assert_int_equal(look_up(fixture, &fixture->trackers[0], "bob", true, group), ERROR_REFUSED);
    assert_int_equal(count_rows(fixture), 20);
}

static void a_group_that_another_tracker_has_closed_gets_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    char group[PROTO_GROUP_SIZE], user[32];
    run_sql(fixture, "UPDATE t_groups_info SET state = 1 WHERE group_name = 'group001'");
    for (int i = 0; i < 20; i++) {
        snprintf(user, sizeof(user), "user%d", i);
        assert_int_equal(look_up(fixture, tracker, user, true, group), 0);
        assert_string_equal(group, "group002");
    }
    run_sql(fixture, "DELETE FROM t_groups_info");
    assert_int_equal(look_up(fixture, tracker, "late", true, group), ERROR_REFUSED);
    assert_int_equal(look_up(fixture, tracker, "late", false, group), ERROR_NOT_FOUND);
    assert_int_equal(look_up(fixture, tracker, "user0", true, group), 0);
    assert_int_equal(count_rows(fixture), 20);
}

static void without_a_server_no_route_is_written(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    char group[PROTO_GROUP_SIZE];
    table_set_groups(tracker->table, NULL, 0);
    assert_int_equal(look_up(fixture, tracker, "alice", true, group), ERROR_REFUSED);
    assert_int_equal(count_rows(fixture), 0);
}

static void an_aged_answer_is_asked_anew_and_serves_while_the_database_is_away(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    char group[PROTO_GROUP_SIZE];
    assert_int_equal(look_up(fixture, tracker, "alice", true, group), 0);
    configure(tracker, NULL, 1, 1);
    usleep(20000);
    run_sql(fixture, "UPDATE t_router SET group_name = 'group077'");
    /* A database that is slow for a moment has the old answer given. */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(look_up(fixture, tracker, "alice", true, group), 0);
        if (strcmp(group, "group077") == 0)
            break;
        usleep(20000);
    }
    assert_string_equal(group, "group077");
    usleep(20000);
    run_sql(fixture, "ALTER TABLE t_router RENAME TO t_gone");
    assert_int_equal(look_up(fixture, tracker, "alice", true, group), 0);
    assert_string_equal(group, "group077");
    assert_int_equal(look_up(fixture, tracker, "bob", true, group), ERROR_UNAVAILABLE);
    run_sql(fixture, "ALTER TABLE t_gone RENAME TO t_router");
    assert_int_equal(look_up(fixture, tracker, "bob", true, group), 0);
}

static void a_user_of_255_arbitrary_bytes_has_a_route_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    char group[PROTO_GROUP_SIZE], user[PROTO_USER_SIZE];
    memset(user, 0xc3, sizeof(user) - 1);
    user[sizeof(user) - 1] = '\0';
    assert_int_equal(look_up(fixture, &fixture->trackers[0], user, true, group), 0);
    user[sizeof(user) - 2] = '\0';
    assert_int_equal(look_up(fixture, &fixture->trackers[0], user, false, group), ERROR_NOT_FOUND);
}

static void a_row_without_a_valid_group_is_an_error_not_a_new_route(void **state)
{
    struct fixture *fixture = *state;
    char group[PROTO_GROUP_SIZE];
    run_sql(fixture, "INSERT INTO t_router (appid, userid, group_name) VALUES ('tnvideo', 'alice', 'a-b'),"
                     " ('tnvideo', 'bob', '')");
    assert_int_equal(look_up(fixture, &fixture->trackers[0], "alice", true, group), ERROR_GENERAL);
    assert_int_equal(look_up(fixture, &fixture->trackers[0], "bob", true, group), ERROR_GENERAL);
    assert_int_equal(count_rows(fixture), 2);
}

/* ---- a database that hangs ---- */

struct hanging_job {
    struct db_job job;
    sem_t begun, end, ended;
};

static enum db_result hang(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct hanging_job *hanging = CONTAINER_OF(job, struct hanging_job, job);
    (void)connection;
    (void)error;
    sem_post(&hanging->begun);
    while (sem_wait(&hanging->end) != 0)
        ;
    return DB_OK;
}

static void hung(struct db_job *job)
{
    sem_post(&CONTAINER_OF(job, struct hanging_job, job)->ended);
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        assert_int_equal(errno, EINTR);
}

/* Every thread of the tracker's database is busy until end_hanging(). */
static void begin_hanging(struct fixture *fixture, struct tracker *tracker, struct hanging_job *jobs)
{
    for (int i = 0; i < DATABASE_THREADS; i++) {
        jobs[i] = (struct hanging_job){.job = {.run = hang, .done = hung, .loop = fixture->loop}};
        assert_int_equal(sem_init(&jobs[i].begun, 0, 0), 0);
        assert_int_equal(sem_init(&jobs[i].end, 0, 0), 0);
        assert_int_equal(sem_init(&jobs[i].ended, 0, 0), 0);
        assert_true(db_submit(tracker->db, &jobs[i].job));
        wait_for(&jobs[i].begun);
    }
}

static void end_hanging(struct hanging_job *jobs)
{
    for (int i = 0; i < DATABASE_THREADS; i++)
        sem_post(&jobs[i].end);
    for (int i = 0; i < DATABASE_THREADS; i++)
        wait_for(&jobs[i].ended);
}

static void while_the_database_hangs_known_users_are_answered_and_others_refused(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    struct proto_file_key known = {.application = "tnvideo", .user = "alice"};
    struct hanging_job jobs[DATABASE_THREADS];
    char group[PROTO_GROUP_SIZE], found[PROTO_GROUP_SIZE];
    struct error error;
    struct asked asked;
    assert_int_equal(look_up(fixture, tracker, "alice", true, group), 0);
    configure(tracker, NULL, 1, 1);
    usleep(20000);
    begin_hanging(fixture, tracker, jobs);
    /* The first one waits a moment for the database, further ones do not. */
    assert_int_equal(router_find(tracker->router, &known, true, found, &error), ROUTER_ASK);
    enum router_answer answer = ROUTER_ASK;
    for (int attempt = 0; attempt < 20 && answer == ROUTER_ASK;
         attempt++) { /* for a second, which may pass here */
        ask(fixture, tracker, &asked, "alice", true);
        await(&asked);
        assert_int_equal(asked.code, 0);
        assert_string_equal(asked.group, group);
        answer = router_find(tracker->router, &known, true, found, &error);
    }
    assert_int_equal(answer, ROUTER_FOUND);
    assert_string_equal(found, group);
    ask(fixture, tracker, &asked, "bob", true);
    await(&asked);
    assert_int_equal(asked.code, ERROR_UNAVAILABLE);
    end_hanging(jobs);
    assert_int_equal(look_up(fixture, tracker, "bob", true, group), 0);
    assert_int_equal(count_rows(fixture), 2);
}

/* ---- groups ---- */

struct asked_group {
    struct groups_question question;
    sem_t answered;
};

static void group_known(struct groups_question *question)
{
    sem_post(&CONTAINER_OF(question, struct asked_group, question)->answered);
}

struct asking_group {
    struct groups *groups;
    struct groups_question *question;
};

static void ask_group_on_loop(void *argument)
{
    struct asking_group *asking = argument;
    groups_ask(asking->groups, asking->question);
}

/* The number of the error, 0 where the group is known. */
static int ask_group(struct fixture *fixture, struct groups *groups, const char *name)
{
    struct asked_group asked = {.question = {.loop = fixture->loop, .done = group_known}};
    snprintf(asked.question.group, sizeof(asked.question.group), "%s", name);
    assert_int_equal(sem_init(&asked.answered, 0, 0), 0);
    loop_do(fixture->loop, ask_group_on_loop, &(struct asking_group){groups, &asked.question});
    while (sem_wait(&asked.answered) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&asked.answered);
    return asked.question.known ? 0 : asked.question.error.code;
}

static void stopped(void *argument)
{
    sem_post(argument);
}

struct stopper {
    struct task task;
    struct groups *groups;
    sem_t done;
};

static void stop_groups(struct task *task)
{
    struct stopper *stopper = CONTAINER_OF(task, struct stopper, task);
    groups_stop(stopper->groups, stopped, &stopper->done);
}

static void groups_are_read_at_once_for_a_join_and_a_failure_takes_none_away(void **state)
{
    struct fixture *fixture = *state;
    struct tracker *tracker = &fixture->trackers[0];
    struct error error = {0};
    char reason[ERROR_TEXT_SIZE];
    struct loop *loop = loop_create("main", &error);
    assert_non_null(loop);
    table_set_groups(tracker->table, NULL, 0);
    run_sql(fixture, "ALTER TABLE t_groups_info RENAME TO t_gone");
    /* An hour between readings: only questions make it read. */
    struct groups *groups = groups_create(loop, tracker->db, tracker->table, 8, 3600000, 60000, &error);
    assert_non_null(groups);
    assert_true(loop_start(loop, &error));

    assert_int_equal(ask_group(fixture, groups, "group001"), ERROR_UNAVAILABLE);
    assert_false(groups_loaded(groups));
    assert_false(groups_reading_works(groups, reason, sizeof(reason)));
    run_sql(fixture, "ALTER TABLE t_gone RENAME TO t_groups_info");
    assert_int_equal(ask_group(fixture, groups, "group001"), 0);
    assert_true(groups_loaded(groups));
    assert_int_equal(ask_group(fixture, groups, "group003"), ERROR_REFUSED);
    run_sql(fixture, "INSERT INTO t_groups_info (group_name, state, weight) VALUES ('group003', 1, 7), "
                     "('bad-name', 0, 1)");
    assert_int_equal(ask_group(fixture, groups, "group003"), 0);
    assert_int_equal(ask_group(fixture, groups, "bad"), ERROR_REFUSED);
    run_sql(fixture, "ALTER TABLE t_groups_info RENAME TO t_gone");
    assert_int_equal(ask_group(fixture, groups, "group004"), ERROR_UNAVAILABLE);
    assert_true(table_group_known(tracker->table, "group003"));
    assert_true(groups_loaded(groups));

    struct table_snapshot snapshot;
    assert_true(table_snapshot_take(tracker->table, table_now(), &snapshot));
    bool seen = false;
    for (size_t i = 0; i < snapshot.group_count; i++) {
        if (strcmp(snapshot.groups[i].row.name, "group003") != 0)
            continue;
        seen = true;
        assert_true(snapshot.groups[i].row.draining);
        assert_int_equal(snapshot.groups[i].row.weight, 7);
    }
    assert_true(seen);
    table_snapshot_clear(&snapshot);

    struct stopper stopper = {.task.run = stop_groups, .groups = groups};
    assert_int_equal(sem_init(&stopper.done, 0, 0), 0);
    loop_post(loop, &stopper.task);
    while (sem_wait(&stopper.done) != 0)
        assert_int_equal(errno, EINTR);
    sem_destroy(&stopper.done);
    /* In the order of a daemon's end: no thread of the database may still be posting to the loop. */
    router_close(tracker->router);
    groups_close(groups);
    db_close(tracker->db);
    tracker->db = NULL;
    groups_destroy(groups);
    loop_destroy(loop);
}

#define ROUTER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUTER_TEST(a_user_keeps_the_group_it_was_given),
        ROUTER_TEST(new_users_are_spread_over_the_groups),
        ROUTER_TEST(two_trackers_asked_at_once_agree),
        ROUTER_TEST(locate_creates_nothing_and_remembers_briefly_that_there_is_nothing),
        ROUTER_TEST(an_application_that_is_not_configured_is_refused),
        ROUTER_TEST(a_pinned_user_gets_its_group_and_one_that_has_a_group_keeps_it),
        ROUTER_TEST(a_group_that_another_tracker_has_closed_gets_nobody),
        ROUTER_TEST(without_a_server_no_route_is_written),
        ROUTER_TEST(an_aged_answer_is_asked_anew_and_serves_while_the_database_is_away),
        ROUTER_TEST(a_user_of_255_arbitrary_bytes_has_a_route_of_its_own),
        ROUTER_TEST(a_row_without_a_valid_group_is_an_error_not_a_new_route),
        cmocka_unit_test_setup_teardown(while_the_database_hangs_known_users_are_answered_and_others_refused,
                                        set_up_impatient, tear_down),
        ROUTER_TEST(groups_are_read_at_once_for_a_join_and_a_failure_takes_none_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
