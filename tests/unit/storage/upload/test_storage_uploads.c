/* Uploads in trouble: what fails leaves nothing, and of many at once the right ones win. */
#include "storage/rows/meta_move.h"
#include "tests/unit/library/slept_clock.h"
#include "tests/unit/library/storage_server.h"

#include <glob.h>
#include <poll.h>
#include <sys/resource.h>

static bool no_files(void *argument)
{
    struct world *world = argument;
    return fixture_files(&world->fixture, "one") == 0 && gate_active(world->storage.gate) == 0;
}

static void an_uploader_that_goes_away_leaves_nothing(void **state)
{
    static const int64_t sizes[] = {1000, 1000000, 1000000, INT64_C(1) << 40};
    static const size_t sent[] = {500, 0, 700000, 300000};
    struct world world;
    uint8_t *content = random_bytes(1000000);
    (void)state;
    start_world(&world, NULL);
    store_set_floors(world.storage.store, -(INT64_C(1) << 50), 0); /* any size fits */
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct proto_put head = {.key = key_of("file"), .size = sizes[i]};
        int fd = connect_client(&world);
        send_put_head(fd, &head);
        peer_put(fd, content, sent[i]);
        usleep(20000);
        close(fd);
    }
    usleep(50000);
    assert_true(loop_wait_until(no_files, &world));
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 1000000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_number_that_comes_twice_is_skipped(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    char path[160], file[32];
    int64_t now = clock_wall_seconds();
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "first", "1", 1), ERROR_NONE); /* makes the directory */
    /* Strangers lie at the next numbers, whatever second it will be. */
    long long next = atomic_load(&world.next_number);
    for (int64_t second = now - 1; second < now + 30; second++) {
        for (long long number = next - 4; number < next + 4; number++) {
            snprintf(path, sizeof(path), "%s/one/000/000/000/%08llX_%03llX", world.fixture.directory,
                     (unsigned long long)second, (unsigned long long)(number < 0 ? 0 : number));
            int stranger = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (stranger >= 0) {
                assert_int_equal(write(stranger, "stranger", 8), 8);
                close(stranger);
            }
        }
    }
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "file%d", i);
        size_t size = i % 2 ? 400000 : 4000; /* stored in one go, and as it comes */
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
    }
    assert_true(metric_value(world.storage.metrics.collisions) > 0);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_file_that_cannot_be_written_is_refused_and_leaves_nothing(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    struct rlimit before, small;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "first", "1", 1), ERROR_NONE); /* the database has what it needs */
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "first"), ERROR_NONE);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 60000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int large = upload(fd, "large", content, 400000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(large, ERROR_IO);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    /* The path is out of the choice until the next look has tried it. */
    while (upload(fd, "large", content, 400000) != ERROR_NONE)
        usleep(20000);
    assert_int_equal(code_of_download(fd, "large", 0, 0, content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void without_a_row_there_is_no_file(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    beside(&world, "CREATE TRIGGER refuse BEFORE INSERT ON t_file_02 BEGIN SELECT RAISE(ABORT, 'no'); END");
    assert_true(upload(fd, "small", content, 4000) != ERROR_NONE);
    assert_true(upload(fd, "large", content, 400000) != ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    beside(&world, "DROP TRIGGER refuse");
    assert_int_equal(upload(fd, "large", content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void below_the_floor_uploads_are_refused_at_once(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    store_set_floors(world.storage.store, INT64_MAX, 0);
    assert_int_equal(upload(fd, "file", content, 400000), ERROR_NO_SPACE);
    assert_int_equal(upload(fd, "file", content, 1), ERROR_NO_SPACE);
    store_set_floors(world.storage.store, 0, 0);
    assert_int_equal(upload(fd, "file", content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void requests_that_break_a_rule_leave_the_connection_in_step(void **state)
{
    struct world world;
    struct proto_upload head = {.key = key_of("file"), .size = 10};
    uint8_t body[PROTO_UPLOAD_SIZE];
    struct error error = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    /* More content than stated. */
    assert_true(proto_upload_pack(body, &head, &error));
    send_header(fd, PROTO_STORAGE_UPLOAD, PROTO_UPLOAD_SIZE + 11);
    peer_put(fd, body, sizeof(body));
    peer_put(fd, "hello world", 11);
    assert_int_equal(read_code(fd), ERROR_MALFORMED);
    /* An application that is not served. */
    snprintf(head.key.application, sizeof(head.key.application), "other");
    assert_true(proto_upload_pack(body, &head, &error));
    send_header(fd, PROTO_STORAGE_UPLOAD, PROTO_UPLOAD_SIZE + 10);
    peer_put(fd, body, sizeof(body));
    peer_put(fd, "hello worl", 10);
    assert_int_equal(read_code(fd), ERROR_REFUSED);
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void uploads_beyond_the_limit_wait_for_their_turn(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    struct proto_put head = {.key = key_of("slow"), .size = 400000};
    (void)state;
    start_world(&world, "storage.uploads_max=1");
    int slow = connect_client(&world), next = connect_client(&world);
    send_put_head(slow, &head);
    peer_put(slow, content, 200000); /* more than the first piece */
    while (gate_active(world.storage.gate) < 1)
        usleep(1000);
    head = (struct proto_put){.key = key_of("next"), .size = 10};
    send_put_head(next, &head);
    peer_put(next, "0123456789", 10);
    while (gate_waiting(world.storage.gate) < 1)
        usleep(1000);
    peer_put(slow, content + 200000, 200000);
    assert_int_equal(read_code(slow), ERROR_NONE);
    assert_int_equal(read_code(next), ERROR_NONE);
    close(slow);
    close(next);
    free(content);
    end_world(&world);
}

/* ---- uploaders that are slow ---- */

static void who_sends_nothing_holds_no_place(void **state)
{
    static const int64_t sizes[] = {10, 400000};
    struct world world;
    int slow[20];
    (void)state;
    start_world(&world, "storage.uploads_max=1");
    for (size_t i = 0; i < ARRAY_SIZE(slow); i++) {
        struct proto_put head = {.key = key_of("slow"), .size = sizes[i % 2]};
        slow[i] = connect_client(&world);
        send_put_head(slow[i], &head);
        peer_put(slow[i], "x", 1);
    }
    int fd = connect_client(&world);
    int64_t before = clock_monotonic_ms();
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE);
    assert_in_range(clock_monotonic_ms() - before, 0, 50000); /* the slow ones are cut after 60 s */
    assert_int_equal(gate_waiting(world.storage.gate), 0);
    for (size_t i = 0; i < ARRAY_SIZE(slow); i++)
        close(slow[i]);
    close(fd);
    end_world(&world);
}

/* Ten bytes every 50 ms until there is an answer: how often. Below 0: the machine held the sender up, which so made a pause. */
static int send_slowly(int fd)
{
    struct proto_put head = {.key = key_of("slow"), .size = 1000000};
    struct pollfd answered = {.fd = fd, .events = POLLIN};
    int sent = 0;
    bool held_up = false;
    send_put_head(fd, &head);
    for (int64_t last_ms = clock_monotonic_ms(), now_ms; sent < 400 && poll(&answered, 1, 50) == 0; sent++) {
        peer_put(fd, "0123456789", 10);
        now_ms = clock_monotonic_ms();
        held_up = held_up || now_ms - last_ms > 1000;
        last_ms = now_ms;
    }
    return held_up ? -1 : sent;
}

/* Bytes come all the time, so progress_timeout alone would never end it. */
static void who_sends_too_slowly_is_cut(void **state)
{
    struct world world;
    struct error error = {0};
    int fd = -1, sent = -1;
    (void)state;
    start_world(&world, "storage.progress_timeout=2s");
    for (int attempt = 0; attempt < 10 && sent < 0; attempt++) {
        if (fd >= 0)
            close(fd);
        fd = connect_client(&world);
        sent = send_slowly(fd);
    }
    assert_in_range(sent, 1, 399); /* it was cut while it was sending */
    struct answer answer = read_answer(fd);
    assert_false(answer.fine);
    assert_int_equal(answer.code, ERROR_TIMEOUT);
    proto_error_unpack(answer.body, (size_t)answer.size, &error);
    assert_non_null(
        strstr(error.text, "the content arrives too slowly")); /* and for its rate, not for a pause */
    free(answer.body);
    close(fd);
    assert_true(loop_wait_until(no_files, &world));
    end_world(&world);
}

/* ---- a file ID that is there already ---- */

/* The one file of the store path, found by its row. */
static void path_of_file(struct world *world, const char *file, char path[256])
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(world->beside, "SELECT file_path FROM t_file_02 WHERE id = ?", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(statement, 1, file, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(path, 256, "%s/one/%s", world->fixture.directory,
             (const char *)sqlite3_column_text(statement, 0) + strlen("../data/"));
    sqlite3_finalize(statement);
}

static const size_t repeated_sizes[] = {0, 5000, 500000};

static void a_repetition_whose_file_is_lost_is_stored_anew(void **state)
{
    uint8_t *content = random_bytes(500000), *other = random_bytes(500000);
    char path[256];
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(repeated_sizes); i++) {
        size_t size = repeated_sizes[i / 2];
        bool missing = i % 2 == 0;
        struct world world;
        start_world(&world, NULL);
        int fd = connect_client(&world);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        path_of_file(&world, "file", path);
        assert_int_equal(missing ? unlink(path) : truncate(path, (off_t)size + 1), 0);
        if (size > 0) /* other bytes do not take the place of lost ones */
            assert_int_equal(upload(fd, "file", other, size), ERROR_EXISTS);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, size), ERROR_NONE);
        assert_int_equal(fixture_files(&world.fixture, "one"), missing ? 1 : 2);
        close(fd);
        end_world(&world);
    }
    free(content);
    free(other);
}

static void a_repetition_is_compared_byte_by_byte(void **state)
{
    uint8_t *content = random_bytes(500000);
    char path[256];
    (void)state;
    for (size_t i = 1; i < ARRAY_SIZE(repeated_sizes); i++) {
        size_t size = repeated_sizes[i];
        struct world world;
        start_world(&world, NULL);
        int fd = connect_client(&world);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        path_of_file(&world, "file", path);
        /* The row speaks of another content than the stored file has. */
        uint8_t digest[PROTO_DIGEST_SIZE];
        char sql[256], hex[DIGEST_HEX_SIZE];
        content[size - 1] ^= 1;
        digest_of(content, size, digest);
        digest_to_hex(digest, hex);
        snprintf(sql, sizeof(sql), "UPDATE t_file_02 SET digest = '%s', sha256 = ''", hex);
        beside(&world, sql);
        /* The stored one of these two is the one that the row does not speak of. */
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, size), ERROR_NONE);
        assert_int_equal(fixture_files(&world.fixture, "one"), 2);
        close(fd);
        end_world(&world);
    }
    free(content);
}

/* The next small upload takes its file ID to be new. */
static void guess_again(struct world *world)
{
    atomic_store(&world->storage.repeats, 0);
}

static void a_small_file_is_taken_for_new_until_its_row_says_otherwise(void **state)
{
    static const size_t sizes[] = {0, 4000, 65536};
    uint8_t *content = random_bytes(70000), *other = random_bytes(70000);
    char path[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t size = sizes[i];
        struct world world;
        start_world(&world, NULL);
        int fd = connect_client(&world);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(atomic_load(&world.storage.repeats), 0); /* nothing was looked up */
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(fixture_files(&world.fixture, "one"), 1); /* the second one is gone again */
        assert_int_equal(atomic_load(&world.storage.repeats), 1000);
        assert_int_equal(upload(fd, "another", content, size), ERROR_NONE);
        assert_int_equal(atomic_load(&world.storage.repeats), 999);
        struct metric *rows = metrics_counter("reel_storage_rows_added_total", "", NULL);
        int64_t tried = metric_value(rows);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE); /* looked up first */
        assert_int_equal(metric_value(rows), tried);
        assert_int_equal(fixture_files(&world.fixture, "one"), 2);
        if (size > 0) {
            guess_again(&world);
            assert_int_equal(upload(fd, "file", other, size), ERROR_EXISTS);
        }
        guess_again(&world);
        assert_int_equal(upload(fd, "file", other, size + 1), ERROR_EXISTS);
        assert_int_equal(fixture_files(&world.fixture, "one"), 2);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, size), ERROR_NONE);
        /* The stored file is lost: the content is still at hand. */
        path_of_file(&world, "file", path);
        assert_int_equal(unlink(path), 0);
        guess_again(&world);
        assert_int_equal(upload(fd, "file", content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, "file", 0, 0, content, size), ERROR_NONE);
        assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "file"), ERROR_NONE);
        guess_again(&world);
        assert_int_equal(upload(fd, "file", content, size), ERROR_DELETED);
        assert_int_equal(fixture_files(&world.fixture, "one"), 2);
        close(fd);
        end_world(&world);
    }
    free(content);
    free(other);
}

static void a_file_that_is_not_small_is_looked_up(void **state)
{
    uint8_t *content = random_bytes(65537);
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 65537), ERROR_NONE);
    long long next = atomic_load(&world.next_number);
    assert_int_equal(upload(fd, "file", content, 65537), ERROR_NONE);
    assert_int_equal(atomic_load(&world.storage.repeats), 1000);
    assert_int_equal(atomic_load(&world.next_number), next);
    close(fd);
    free(content);
    end_world(&world);
}

static void lost_bytes_without_a_digest_are_not_replaced(void **state)
{
    struct world world;
    char path[256];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE);
    path_of_file(&world, "file", path);
    beside(&world, "UPDATE t_file_02 SET digest = ''");
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE); /* the bytes are there */
    assert_int_equal(upload(fd, "file", "hallo", 5), ERROR_EXISTS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_EXISTS);
    close(fd);
    end_world(&world);
}

/* The groups share a database: another one's server was quicker. */
static void a_rival_of_another_group_is_no_success(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE);
    beside(&world, "UPDATE t_file_02 SET group_name = 'group002'");
    assert_int_equal(upload(fd, "file", "hello", 5),
                     ERROR_EXISTS); /* the bytes are the same, the place is not ours */
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    end_world(&world);
}

/* This group has the former copy of a file that moved away. The row is about the other group's copy: what comes here cannot
 * take its place. */
static void a_former_copy_that_is_lost_is_not_stored_anew(void **state)
{
    static const size_t sizes[] = {7, 100000}; /* stored before anything is looked up, and looked up first */
    uint8_t *content = random_bytes(100000);
    char id[PROTO_FILE_SIZE], sql[512], path[256];
    (void)state;
    meta_move_former_id("group001", "file", id);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct world world;
        start_world(&world, "storage.cache_age=1ms");
        int fd = connect_client(&world);
        assert_int_equal(upload(fd, "file", content, sizes[i]), ERROR_NONE);
        path_of_file(&world, "file", path);
        snprintf(
            sql, sizeof(sql),
            "INSERT INTO t_file_02 (id, appid, userid, status, file_path, file_size, digest, group_name, "
            "deleted_at) SELECT '%s', appid, userid, 2, file_path, file_size, digest, group_name, "
            "9000000000 FROM t_file_02",
            id);
        beside(&world, sql);
        beside(&world, "UPDATE t_file_02 SET group_name = 'group002', "
                       "file_path = '../data/000/000/001/5F9E3FA7_003' WHERE id = 'file'");
        usleep(5000);
        assert_int_equal(upload(fd, "file", content, sizes[i]), ERROR_NONE); /* the copy is there */
        assert_int_equal(unlink(path), 0);
        assert_int_equal(upload(fd, "file", content, sizes[i]), ERROR_EXISTS);
        assert_int_equal(fixture_files(&world.fixture, "one"), 0);
        close(fd);
        end_world(&world);
    }
    free(content);
}

/* Its INSERT waits for so long that the clean-up takes its file, and another upload of the ID is quicker: there is nothing left to
 * compare, which is no fault of the volume. */
static void a_file_that_was_taken_before_it_met_its_rival_is_asked_for_again(void **state)
{
    struct world world;
    char pattern[256], rival[256];
    uint8_t *content = random_bytes(100000);
    glob_t files = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "other", content, 100000), ERROR_NONE);
    path_of_file(&world, "other", rival);
    beside(&world, "BEGIN IMMEDIATE");
    struct proto_put head = {.key = key_of("file"), .size = 100000};
    send_put_head(fd, &head);
    peer_put(fd, content, 100000);
    while (fixture_files(&world.fixture, "one") < 2)
        usleep(1000);
    snprintf(pattern, sizeof(pattern), "%s/one/000/000/000/*", world.fixture.directory);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        if (strcmp(files.gl_pathv[i], rival) != 0)
            assert_int_equal(unlink(files.gl_pathv[i]), 0);
    globfree(&files);
    beside(&world, "UPDATE t_file_02 SET id = 'file'");
    beside(&world, "COMMIT");
    assert_int_equal(read_code(fd), ERROR_UNAVAILABLE);
    assert_int_equal(upload(fd, "file", content, 100000), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    free(content);
    end_world(&world);
}

/* ---- a commit that came late ---- */

static void path_of_only_file(const struct world *world, char path[512])
{
    char pattern[256];
    glob_t files = {0};
    snprintf(pattern, sizeof(pattern), "%s/one/000/000/000/*", world->fixture.directory);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, 1);
    snprintf(path, 512, "%s", files.gl_pathv[0]);
    globfree(&files);
}

/* While an INSERT waits the machine sleeps for longer than leftover_age allows, and another member's clean-up takes the file, or
 * not: only what is there is stored. */
static void after_a_late_commit_the_file_is_looked_for(void **state)
{
    uint8_t *content = random_bytes(100000);
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        struct world world;
        char path[512];
        slept_clock_start();
        start_world(&world, NULL);
        int fd = connect_client(&world);
        beside(&world, "BEGIN IMMEDIATE");
        struct proto_put head = {.key = key_of("file"), .size = 100000};
        send_put_head(fd, &head);
        peer_put(fd, content, 100000);
        while (fixture_files(&world.fixture, "one") < 1)
            usleep(1000);
        usleep(
            200000); /* by now the INSERT waits, mostly; else it comes later, which the test does not mind */
        slept_clock_sleep(3600);
        path_of_only_file(&world, path);
        if (taken)
            assert_int_equal(unlink(path), 0);
        beside(&world, "COMMIT");
        assert_int_equal(read_code(fd), taken ? ERROR_UNAVAILABLE : ERROR_NONE);
        assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "file"), taken ? ERROR_NOT_FOUND : ERROR_NONE);
        close(fd);
        end_world(&world);
        slept_clock_end();
    }
    free(content);
}

static void wait_for_bytes(const char *path)
{
    struct stat status = {0};
    while (stat(path, &status) != 0 || status.st_size == 0)
        usleep(1000);
}

/* The machine sleeps while the content comes, and goes on with what had arrived before anybody finds that the transfer stood still. */
static void after_a_long_pause_between_two_pieces_the_file_is_looked_for(void **state)
{
    uint8_t *content = random_bytes(1000000);
    struct proto_put head = {.key = key_of("file"), .size = 1000000};
    (void)state;
    for (int taken = 0; taken < 2; taken++) {
        struct world world;
        char path[512];
        slept_clock_start();
        start_world(&world, NULL);
        int fd = connect_client(&world);
        send_put_head(fd, &head);
        peer_put(fd, content, 600000);
        while (fixture_files(&world.fixture, "one") < 1)
            usleep(1000);
        path_of_only_file(&world, path);
        wait_for_bytes(path);
        slept_clock_sleep(3600);
        if (taken)
            assert_int_equal(unlink(path), 0);
        peer_put(fd, content + 600000, 400000);
        assert_int_equal(read_code(fd), taken ? ERROR_UNAVAILABLE : ERROR_NONE);
        assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "file"), taken ? ERROR_NOT_FOUND : ERROR_NONE);
        close(fd);
        end_world(&world);
        slept_clock_end();
    }
    free(content);
}

/* ---- another directory in the store path's place ---- */

static void an_upload_into_a_directory_that_was_exchanged_fails(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(1000000);
    struct proto_put head = {.key = key_of("file"), .size = 1000000};
    char old[160], new[160];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    send_put_head(fd, &head);
    peer_put(fd, content, 600000);
    while (fixture_files(&world.fixture, "one") == 0)
        usleep(1000);
    snprintf(old, sizeof(old), "%s/gone", world.fixture.directory);
    snprintf(new, sizeof(new), "%s/one", world.fixture.directory);
    assert_int_equal(rename(new, old), 0);
    assert_int_equal(mkdir(new, 0755), 0);
    peer_put(fd, content + 600000, 400000);
    assert_int_equal(read_code(fd), ERROR_UNAVAILABLE);
    assert_int_equal(fixture_files(&world.fixture, "gone"), 0);
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    close(fd);
    free(content);
    end_world(&world);
}

/* ---- a directory in which no file can be made ---- */

static void a_number_directory_that_takes_no_files_is_passed_over(void **state)
{
    struct world world;
    char path[256];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "first", "1", 1), ERROR_NONE);
    snprintf(path, sizeof(path), "%s/one/000/000/000", world.fixture.directory);
    /* Also root cannot make files in what is no directory any more; the next one is found with the numbers that are left. */
    char away[300];
    snprintf(away, sizeof(away), "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(symlink("/proc/self/nothing", path), 0);
    atomic_store(&world.next_number, 508); /* the next directory is near */
    assert_int_equal(upload(fd, "second", "2", 1), ERROR_NONE);
    path_of_file(&world, "second", path);
    assert_non_null(strstr(path, "/000/000/001/"));
    /* For a while it is not even tried: each of its numbers would cost a look at the disk. */
    snprintf(path, sizeof(path), "%s/one/000/000/000", world.fixture.directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(away, path), 0);
    atomic_store(&world.next_number, 508);
    int64_t skipped = metric_value(world.storage.metrics.collisions);
    for (int i = 0; metric_value(world.storage.metrics.collisions) == skipped; i++) { /* some are at hand */
        char file[32];
        snprintf(file, sizeof(file), "third%d", i);
        assert_int_equal(upload(fd, file, "3", 1), ERROR_NONE);
        path_of_file(&world, file, path);
        assert_non_null(strstr(path, "/000/000/001/"));
    }
    close(fd);
    end_world(&world);
}

/* ---- many at once ---- */

#define RIVALS 12

struct rival {
    const struct world *world;
    pthread_t thread;
    uint8_t *content;
    size_t size;
    int code;
};

static void *upload_rival(void *argument)
{
    struct rival *rival = argument;
    int fd = connect_client(rival->world);
    rival->code = upload(fd, "file", rival->content, rival->size);
    close(fd);
    return NULL;
}

static void run_rivals(struct world *world, size_t size, bool same, int winners_wanted)
{
    struct rival rivals[RIVALS];
    uint8_t *shared = random_bytes(size);
    int winners = 0, winner = -1;
    for (int i = 0; i < RIVALS; i++) {
        rivals[i] =
            (struct rival){.world = world, .content = same ? shared : random_bytes(size), .size = size};
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, upload_rival, &rivals[i]), 0);
    }
    for (int i = 0; i < RIVALS; i++) {
        pthread_join(rivals[i].thread, NULL);
        if (rivals[i].code == ERROR_NONE) {
            winners++;
            winner = i;
        } else {
            assert_int_equal(rivals[i].code, ERROR_EXISTS);
        }
    }
    assert_int_equal(winners, winners_wanted);
    assert_int_equal(fixture_files(&world->fixture, "one"), 1);
    int fd = connect_client(world);
    assert_int_equal(code_of_download(fd, "file", 0, 0, rivals[winner].content, size), ERROR_NONE);
    close(fd);
    for (int i = 0; i < RIVALS; i++) {
        if (!same)
            free(rivals[i].content);
    }
    free(shared);
}

static void of_many_uploads_of_one_id_exactly_one_wins(void **state)
{
    static const size_t sizes[] = {3000, 600000};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct world world;
        start_world(&world, NULL);
        run_rivals(&world, sizes[i], false, 1);
        end_world(&world);
    }
}

static void of_many_uploads_of_one_file_all_learn_that_it_is_stored(void **state)
{
    static const size_t sizes[] = {3000, 600000};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct world world;
        start_world(&world, NULL);
        run_rivals(&world, sizes[i], true, RIVALS);
        end_world(&world);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_uploader_that_goes_away_leaves_nothing),
        cmocka_unit_test(a_number_that_comes_twice_is_skipped),
        cmocka_unit_test(a_file_that_cannot_be_written_is_refused_and_leaves_nothing),
        cmocka_unit_test(without_a_row_there_is_no_file),
        cmocka_unit_test(below_the_floor_uploads_are_refused_at_once),
        cmocka_unit_test(requests_that_break_a_rule_leave_the_connection_in_step),
        cmocka_unit_test(uploads_beyond_the_limit_wait_for_their_turn),
        cmocka_unit_test(who_sends_nothing_holds_no_place),
        cmocka_unit_test(who_sends_too_slowly_is_cut),
        cmocka_unit_test(a_repetition_whose_file_is_lost_is_stored_anew),
        cmocka_unit_test(a_repetition_is_compared_byte_by_byte),
        cmocka_unit_test(a_small_file_is_taken_for_new_until_its_row_says_otherwise),
        cmocka_unit_test(a_file_that_is_not_small_is_looked_up),
        cmocka_unit_test(lost_bytes_without_a_digest_are_not_replaced),
        cmocka_unit_test(a_rival_of_another_group_is_no_success),
        cmocka_unit_test(a_former_copy_that_is_lost_is_not_stored_anew),
        cmocka_unit_test(a_file_that_was_taken_before_it_met_its_rival_is_asked_for_again),
        cmocka_unit_test(after_a_late_commit_the_file_is_looked_for),
        cmocka_unit_test(after_a_long_pause_between_two_pieces_the_file_is_looked_for),
        cmocka_unit_test(an_upload_into_a_directory_that_was_exchanged_fails),
        cmocka_unit_test(a_number_directory_that_takes_no_files_is_passed_over),
        cmocka_unit_test(of_many_uploads_of_one_id_exactly_one_wins),
        cmocka_unit_test(of_many_uploads_of_one_file_all_learn_that_it_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
