/*
 * A FINISH or JOIN_PARTS that works for longer than its partial uploads are kept: they do not expire under its hands, and one that others
 * have taken over is not kept by it.
 */
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/partial_client.h"

#include "storage/rows/partial_sql.h"

#include <dlfcn.h>
#include <errno.h>

#define SIZE 300000

static uint8_t *content;
static uint8_t digest[PROTO_DIGEST_SIZE];
static struct fake_clock test_clock;

/* ---- a disk on which reading stands still ---- */

static struct {
    atomic_bool stalls;
    atomic_int waiting; /* reads */
} disk;

/* This program's own, which comes before the C library's. */
ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    static ssize_t (*real)(int fd, void *bytes, size_t size, off_t offset);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pread");
    atomic_fetch_add(&disk.waiting, 1);
    while (atomic_load(&disk.stalls))
        usleep(1000);
    atomic_fetch_sub(&disk.waiting, 1);
    return real(fd, bytes, size, offset);
}

/* ---- a file system that copies slowly, and nothing but holes ---- */

static atomic_llong copy_takes_ms; /* each slice; 0: it does not copy */
static atomic_int slices;

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags)
{
    (void)from;
    (void)flags;
    errno = EXDEV;
    if (atomic_load(&copy_takes_ms) == 0 || ftruncate(to, *to_at + (off_t)size) != 0)
        return -1;
    *from_at += (off_t)size;
    *to_at += (off_t)size;
    atomic_fetch_add(&slices, 1);
    fake_clock_pass(&test_clock, atomic_load(&copy_takes_ms));
    return (ssize_t)size;
}

static int setup(void **state)
{
    (void)state;
    content = random_bytes(SIZE);
    digest_of(content, SIZE, digest);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(content);
    return 0;
}

/* ---- waiting, by the system's time: the clocks of the code under test stand still ---- */

static void wait_for(bool (*condition)(struct world *world), struct world *world, const char *what)
{
    for (int i = 0; i < 3000; i++) {
        if (condition(world))
            return;
        usleep(10000);
    }
    atomic_store(&disk.stalls, false);
    fail_msg("%s", what);
}

static bool disk_is_at_it(struct world *world)
{
    (void)world;
    return atomic_load(&disk.waiting) > 0;
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

/* ---- what the upkeep would find ---- */

struct expired {
    struct db_job job;
    struct world *world;
    struct partial_page page;
};

static enum db_result expired_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct expired *expired = CONTAINER_OF(job, struct expired, job);
    return partial_sql_expired(connection, expired->world->storage.store, "group001", clock_wall_seconds(),
                               "", &expired->page, error);
}

static size_t count_expired(struct world *world)
{
    struct expired *expired = calloc(1, sizeof(*expired));
    assert_non_null(expired);
    expired->world = world;
    expired->job = (struct db_job){.run = expired_run, .idempotent = true};
    assert_int_equal(meta_run_wait(world->storage.meta, &expired->job), DB_OK);
    size_t count = expired->page.count;
    free(expired);
    return count;
}

static bool none_has_expired(struct world *world)
{
    return count_expired(world) == 0;
}

static bool one_has_expired(struct world *world)
{
    return count_expired(world) == 1;
}

/* ---- requests whose answer is read later ---- */

static void send_finish(int fd, const struct token *token)
{
    uint8_t body[PROTO_FINISH_SIZE];
    struct proto_finish finish = {.partial = token->partial, .has_digest = true};
    struct error error = {0};
    memcpy(finish.digest, digest, sizeof(finish.digest));
    assert_true(proto_finish_pack(body, &finish, &error));
    send_header(fd, PROTO_STORAGE_FINISH, sizeof(body));
    peer_put(fd, body, sizeof(body));
}

static void send_join(int fd, const struct token *target, const struct token *parts, size_t count)
{
    uint8_t body[PROTO_JOIN_PARTS_MAX], tokens[8 * PROTO_PARTIAL_TOKEN_SIZE];
    struct proto_finish finish = {.partial = target->partial};
    struct error error = {0};
    for (size_t i = 0; i < count; i++)
        memcpy(tokens + i * PROTO_PARTIAL_TOKEN_SIZE, parts[i].partial.token, PROTO_PARTIAL_TOKEN_SIZE);
    size_t size = proto_join_parts_pack(body, sizeof(body), &finish, tokens, count, &error);
    assert_true(size > 0);
    send_header(fd, PROTO_STORAGE_JOIN_PARTS, (int64_t)size);
    peer_put(fd, body, size);
}

/* Hours pass, again and again: far more than the second for which these are kept. */
static void pass_hours(struct world *world)
{
    for (int i = 0; i < 3; i++) {
        fake_clock_pass(&test_clock, 3600 * 1000);
        wait_for(none_has_expired, world, "a partial upload expires while a request works on it");
    }
}

static void a_long_finish_is_not_overtaken_by_its_own_expiry(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    assert_int_equal(partial_append(fd, &token, 0, content, SIZE), ERROR_NONE);
    /* Kept for a second; and another process wrote it, so that it is read back. */
    beside(&world, "UPDATE t_partial SET keep = 1, writer = writer + 1, epoch = epoch + 1, claim = 0");
    fake_clock_start(&test_clock);
    atomic_store(&disk.stalls, true);
    send_finish(fd, &token);
    wait_for(disk_is_at_it, &world, "FINISH does not read the file back");
    pass_hours(&world);
    atomic_store(&disk.stalls, false);
    assert_int_equal(read_code(fd), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    /* Nobody works on it any more. */
    fake_clock_pass(&test_clock, 3600 * 1000);
    wait_for(one_has_expired, &world, "what nobody works on is kept all the same");
    fake_clock_end();
    close(fd);
    end_world(&world);
}

static void parts_are_kept_while_they_are_joined(void **state)
{
    struct world world;
    struct token parts[3];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token target = partial_begin(fd, "film", SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        parts[i] = partial_begin(fd, "part", -1);
        assert_int_equal(partial_append(fd, &parts[i], 0, content + i * (SIZE / 3), SIZE / 3), ERROR_NONE);
    }
    beside(&world, "UPDATE t_partial SET keep = 1");
    fake_clock_start(&test_clock);
    atomic_store(&disk.stalls, true);
    send_join(fd, &target, parts, ARRAY_SIZE(parts));
    wait_for(disk_is_at_it, &world, "JOIN_PARTS does not read what it copied");
    pass_hours(&world);
    atomic_store(&disk.stalls, false);
    assert_int_equal(read_code(fd), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial WHERE state = 3"), 3);
    fake_clock_end();
    close(fd);
    end_world(&world);
}

/* Of the rows that a request works on one was taken over: its time is the other one's business. */
static void what_was_taken_over_is_not_kept(void **state)
{
    struct world world;
    struct token parts[2];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token target = partial_begin(fd, "film", SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        parts[i] = partial_begin(fd, i == 0 ? "one" : "two", -1);
        assert_int_equal(partial_append(fd, &parts[i], 0, content + i * (SIZE / 2), SIZE / 2), ERROR_NONE);
    }
    beside(&world, "UPDATE t_partial SET keep = 1");
    fake_clock_start(&test_clock);
    atomic_store(&disk.stalls, true);
    send_join(fd, &target, parts, ARRAY_SIZE(parts));
    wait_for(disk_is_at_it, &world, "JOIN_PARTS does not read what it copied");
    beside(&world, "UPDATE t_partial SET epoch = epoch + 1 WHERE id = 'one'");
    for (int i = 0; i < 2; i++) {
        fake_clock_pass(&test_clock, 3600 * 1000);
        wait_for(one_has_expired, &world, "not one partial upload, the one that was taken over, expires");
    }
    assert_true(number(&world, "SELECT expires FROM t_partial WHERE id = 'one'") < clock_wall_seconds());
    atomic_store(&disk.stalls, false);
    assert_int_equal(read_code(fd), ERROR_NONE); /* what was recorded of it is the same */
    fake_clock_end();
    close(fd);
    end_world(&world);
}

/* More than one slice of a file that others may still be at is copied, on a store where that takes longer than the clean-up leaves a
 * file alone: what counts is when the copy was last written to. */
static void a_copy_that_takes_long_gets_its_row(void **state)
{
    const int64_t size = INT64_C(150) << 20;
    struct world world;
    char place[512];
    sqlite3_stmt *statement;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(
        sqlite3_prepare_v2(world.beside, "SELECT file_path FROM t_partial", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(place, sizeof(place), "%s/one/%s", world.fixture.directory,
             (const char *)sqlite3_column_text(statement, 0) + strlen("../data/"));
    sqlite3_finalize(statement);
    assert_int_equal(truncate(place, size), 0);
    beside(&world, "UPDATE t_partial SET synced = 157286400, writer = 6, epoch = epoch + 1, claim = 5");
    fake_clock_start(&test_clock);
    atomic_store(&copy_takes_ms, world.fixture.config.leftover_age_ms * 2 / 5);
    int code = partial_finish(fd, &token, NULL);
    atomic_store(&copy_takes_ms, 0);
    fake_clock_end();
    assert_int_equal(atomic_load(&slices), 3);
    assert_int_equal(code, ERROR_NONE);
    assert_int_equal(stat_of(fd, "film").size, size);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_finish_is_not_overtaken_by_its_own_expiry),
        cmocka_unit_test(parts_are_kept_while_they_are_joined),
        cmocka_unit_test(what_was_taken_over_is_not_kept),
        cmocka_unit_test(a_copy_that_takes_long_gets_its_row),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
