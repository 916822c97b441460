/*
 * Partial uploads at a storage server of the real rooms: what an offset, a FINISH, an ABORT and a JOIN_PARTS say is so; and what
 * breaks a rule changes nothing.
 */
#include "storage/rows/meta_move.h"
#include "tests/unit/library/lossy_db.h"
#include "tests/unit/library/partial_client.h"

#include "storage/store/store_life.h"
#include "storage/upload/partials.h"

#include <glob.h>
#include <sched.h>
#include <sys/mount.h>

#define SIZE 1000000

static uint8_t *content;
static uint8_t digest[PROTO_DIGEST_SIZE];

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

static void what_came_in_several_requests_is_one_file(void **state)
{
    static const size_t cuts[] = {0, 1, 65536, 65536, 400000, SIZE};
    struct world world;
    struct proto_partial_state reported;
    (void)state;
    start_world(&world, "storage.sha256=always");
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    for (size_t i = 1; i < ARRAY_SIZE(cuts); i++)
        assert_int_equal(
            partial_append(fd, &token, (int64_t)cuts[i - 1], content + cuts[i - 1], cuts[i] - cuts[i - 1]),
            ERROR_NONE);
    /* Nobody can find it yet. */
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "film"), ERROR_NOT_FOUND);
    assert_int_equal(partial_offset(fd, &token, &reported), ERROR_NONE);
    assert_int_equal(reported.offset, SIZE);
    assert_int_equal(reported.size, SIZE);
    assert_false(reported.complete);
    assert_true(reported.expires > clock_wall_seconds() + 6 * 86400);
    assert_int_equal(partial_finish(fd, &token, digest), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    struct proto_stat stat = stat_of(fd, "film");
    assert_memory_equal(stat.digest, digest, sizeof(digest));
    /* One process wrote it all: nothing was read back, and the file is the one that was begun. */
    assert_int_equal(number(&world, "SELECT mixed FROM t_partial"), 0);
    assert_int_equal(
        number(&world, "SELECT COUNT(*) FROM t_partial p JOIN t_file_02 f ON p.file_path = f.file_path"), 1);
    assert_int_equal(number(&world, "SELECT length(sha256) FROM t_file_02"), 64);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    /* Again, whoever did not hear of it. */
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(partial_offset(fd, &token, &reported), ERROR_NONE);
    assert_true(reported.complete && reported.offset == SIZE && reported.size == SIZE);
    assert_int_equal(partial_append(fd, &token, SIZE, content, 1), ERROR_EXISTS);
    assert_int_equal(partial_abort(fd, &token), ERROR_EXISTS);
    /* Another file has the ID by now; and none has it. */
    beside(&world, "UPDATE t_file_02 SET file_path = '../data/000/000/000/5F9E3FA7_001'");
    assert_int_equal(partial_abort(fd, &token), ERROR_NOT_FOUND);
    beside(&world, "DELETE FROM t_file_02");
    assert_int_equal(partial_abort(fd, &token), ERROR_NOT_FOUND);
    close(fd);
    end_world(&world);
}

static void a_size_may_be_said_late_or_never(void **state)
{
    struct world world;
    struct proto_partial_state reported;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token never = partial_begin(fd, "never", -1), late = partial_begin(fd, "late", -1);
    assert_int_equal(partial_append(fd, &never, 0, content, 5), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &never, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "never", 0, 0, content, 5), ERROR_NONE);

    partial_send_append(fd, &late, 0, 10, 0, false);
    assert_int_equal(partial_append_reply(fd, &reported), ERROR_NONE);
    assert_true(reported.offset == 0 && reported.size == 10);
    partial_send_append(fd, &late, 0, 11, 0, false); /* what was said stays said */
    assert_int_equal(partial_append_reply(fd, &reported), ERROR_RANGE);
    assert_int_equal(partial_append(fd, &late, 0, content, 11), ERROR_RANGE);
    assert_int_equal(partial_append(fd, &late, 0, content, 9), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &late, NULL), ERROR_RANGE);
    assert_int_equal(partial_append(fd, &late, 9, content + 9, 1), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &late, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "late", 0, 0, content, 10), ERROR_NONE);
    /* An empty file is one too. */
    struct token empty = partial_begin(fd, "empty", 0);
    assert_int_equal(partial_finish(fd, &empty, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "empty", 0, 0, content, 0), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void only_the_durable_offset_is_taken_and_only_under_the_key(void **state)
{
    static const int64_t wrong[] = {0, 9, 11, SIZE, INT64_MAX - 1};
    struct world world;
    struct proto_partial_state reported;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(partial_append(fd, &token, wrong[i], content, 1), ERROR_RANGE);
    assert_int_equal(partial_durable(fd, &token), 10);
    struct token foreign = token;
    foreign.partial.key = key_of("other");
    assert_int_equal(partial_offset(fd, &foreign, &reported), ERROR_NOT_FOUND);
    assert_int_equal(partial_append(fd, &foreign, 10, content, 1), ERROR_NOT_FOUND);
    assert_int_equal(partial_finish(fd, &foreign, NULL), ERROR_NOT_FOUND);
    assert_int_equal(partial_abort(fd, &foreign), ERROR_NOT_FOUND);
    foreign = token;
    foreign.partial.token[3] ^= 1;
    assert_int_equal(partial_offset(fd, &foreign, &reported), ERROR_NOT_FOUND);
    /* One of another group that has the same database. */
    beside(&world, "UPDATE t_partial SET group_name = 'group009'");
    assert_int_equal(partial_append(fd, &token, 10, content, 1), ERROR_OTHER_GROUP);
    beside(&world,
           "UPDATE t_partial SET group_name = 'group001', file_path = '../else/000/000/000/5F9E3FA7_001'");
    assert_int_equal(partial_append(fd, &token, 10, content, 1), ERROR_IO);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_IO);
    close(fd);
    end_world(&world);
}

static void heads_that_break_a_rule_are_refused(void **state)
{
    struct world world;
    uint8_t body[PROTO_BEGIN_SIZE] = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    static const uint8_t commands[] = {PROTO_STORAGE_BEGIN, PROTO_STORAGE_OFFSET, PROTO_STORAGE_FINISH,
                                       PROTO_STORAGE_ABORT};
    static const size_t sizes[] = {PROTO_BEGIN_SIZE, PROTO_PARTIAL_SIZE, PROTO_FINISH_SIZE,
                                   PROTO_PARTIAL_SIZE};
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct answer answer = ask_body(fd, commands[i], body, sizes[i]);
        assert_int_equal(answer.code, ERROR_MALFORMED);
        free(answer.body);
    }
    struct token stranger = token;
    memcpy(stranger.partial.key.application, "other", 6);
    assert_int_equal(partial_abort(fd, &stranger), ERROR_REFUSED);
    assert_int_equal(partial_finish(fd, &stranger, NULL), ERROR_REFUSED);
    assert_int_equal(partial_append(fd, &stranger, 0, content, 1), ERROR_REFUSED);
    struct token twice[2] = {partial_begin(fd, "part", -1)};
    assert_int_equal(partial_join(fd, &stranger, twice, 1), ERROR_REFUSED);
    /* A body that is no multiple, a part twice, the target as a part. */
    twice[1] = twice[0];
    assert_int_equal(partial_join(fd, &token, twice, 2), ERROR_MALFORMED);
    assert_int_equal(partial_join(fd, &token, &token, 1), ERROR_MALFORMED);
    /* A content of another length than its head says. */
    uint8_t head[PROTO_APPEND_SIZE];
    struct proto_append append = {.partial = token.partial, .total = -1, .size = 4};
    struct error error = {0};
    assert_true(proto_append_pack(head, &append, &error));
    send_header(fd, PROTO_STORAGE_APPEND, PROTO_APPEND_SIZE + 5);
    peer_put(fd, head, sizeof(head));
    peer_put(fd, content, 5);
    assert_int_equal(read_code(fd), ERROR_MALFORMED);
    assert_int_equal(partial_durable(fd, &token), 0);
    close(fd);
    end_world(&world);
}

struct expected {
    int fd;
    const struct token *token;
    int64_t least;
};

static bool durable_is(void *argument)
{
    const struct expected *expected = argument;
    return partial_durable(expected->fd, expected->token) >= expected->least;
}

static bool taken_once(void *argument)
{
    struct world *world = argument;
    return number(world, "SELECT MAX(epoch) FROM t_partial") == 1;
}

static bool taken_over(void *argument)
{
    struct world *world = argument;
    return number(world, "SELECT MAX(epoch) FROM t_partial") == 3;
}

/* The connection breaks in the middle: what had come counts, and is what was sent. */
static void what_came_before_a_break_counts(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, "storage.chunk_size=16K");
    int fd = connect_client(&world), broken = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    partial_send_append(broken, &token, 0, -1, SIZE, false);
    peer_put(broken, content, 500000);
    shutdown(broken, SHUT_WR);
    struct expected expected = {fd, &token, 450000};
    assert_true(loop_wait_until(durable_is, &expected));
    int64_t offset = partial_durable(fd, &token);
    assert_true(offset <= 500000);
    assert_int_equal(partial_append(fd, &token, offset, content + offset, (size_t)(SIZE - offset)),
                     ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, digest), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    close(broken);
    close(fd);
    end_world(&world);
}

/* Content that its digest follows counts as a whole or not at all. */
static void a_piece_with_a_wrong_digest_does_not_count(void **state)
{
    struct world world;
    struct proto_partial_state reported;
    uint8_t piece[PROTO_DIGEST_SIZE];
    (void)state;
    start_world(&world, "storage.chunk_size=16K");
    int fd = connect_client(&world), broken = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    digest_of(content + 1000, 99000, piece);
    piece[0] ^= 1;
    partial_send_append(fd, &token, 1000, -1, 99000, true);
    peer_put(fd, content + 1000, 99000);
    peer_put(fd, piece, sizeof(piece));
    assert_int_equal(partial_append_reply(fd, &reported), ERROR_DIGEST);
    assert_int_equal(partial_durable(fd, &token), 1000);
    partial_send_append(broken, &token, 1000, -1, 99000, true);
    peer_put(broken, content + 1000, 90000);
    assert_true(loop_wait_until(taken_over, &world));
    close(broken);
    piece[0] ^= 1;
    partial_send_append(fd, &token, 1000, -1, 99000, true);
    peer_put(fd, content + 1000, 99000);
    peer_put(fd, piece, sizeof(piece));
    int code = partial_append_reply(fd, &reported);
    assert_int_equal(code, ERROR_NONE);
    assert_int_equal(reported.offset, 100000);
    digest_of(content, 100000, piece);
    assert_int_equal(partial_finish(fd, &token, piece),
                     ERROR_NONE); /* read back: the digest was lost with the wrong piece */
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 100000), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* Of two writers the older one is refused, and changes nothing any more, whatever it still sends. */
static void the_newer_writer_wins(void **state)
{
    struct world world;
    uint8_t *other = random_bytes(SIZE);
    (void)state;
    start_world(&world, "storage.chunk_size=16K");
    int older = connect_client(&world), newer = connect_client(&world);
    struct token token = partial_begin(newer, "film", SIZE);
    partial_send_append(older, &token, 0, -1, SIZE, false);
    peer_put(older, other, 200000);
    assert_true(loop_wait_until(taken_once, &world));
    assert_int_equal(partial_append(newer, &token, 0, content, SIZE), ERROR_NONE);
    peer_put(older, other + 200000, SIZE - 200000);
    assert_int_equal(partial_append_reply(older, NULL), ERROR_UNAVAILABLE);
    assert_int_equal(partial_durable(newer, &token), SIZE);
    assert_int_equal(partial_finish(newer, &token, digest), ERROR_NONE);
    assert_int_equal(code_of_download(newer, "film", 0, 0, content, SIZE), ERROR_NONE);
    close(older);
    close(newer);
    free(other);
    end_world(&world);
}

/* The place of FILE's partial file. */
static void place_of_partial(struct world *world, const char *file, char place[512])
{
    sqlite3_stmt *statement;
    char sql[128];
    snprintf(sql, sizeof(sql), "SELECT file_path FROM t_partial WHERE id = '%s'", file);
    assert_int_equal(sqlite3_prepare_v2(world->beside, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(place, 512, "%s/one/%s", world->fixture.directory,
             (const char *)sqlite3_column_text(statement, 0) + strlen("../data/"));
    sqlite3_finalize(statement);
}

/* ---- between the look at the row and the statement that takes it over ---- */

struct meanwhile {
    struct world *world;
    char place[512], other[512];
};

/* The request that has it writes ten bytes more, and records them. */
static void record_meanwhile(void *argument)
{
    const struct meanwhile *meanwhile = argument;
    int file = open(meanwhile->place, O_WRONLY);
    assert_int_equal(pwrite(file, content + 10, 10, 10), 10);
    close(file);
    beside(meanwhile->world, "UPDATE t_partial SET synced = 20");
}

/* It copies the file, and the row gets the copy. */
static void move_meanwhile(void *argument)
{
    const struct meanwhile *meanwhile = argument;
    char sql[700];
    assert_int_equal(rename(meanwhile->place, meanwhile->other), 0);
    snprintf(sql, sizeof(sql), "UPDATE t_partial SET file_path = '../data/%s'",
             strstr(meanwhile->other, "/one/") + strlen("/one/"));
    beside(meanwhile->world, sql);
}

static void size_meanwhile(void *argument)
{
    beside(((const struct meanwhile *)argument)->world, "UPDATE t_partial SET file_size = 40");
}

/* What was recorded, or changed, since a request has read the row is not undone by it: neither an offset, nor a size, nor another file. */
static void what_is_recorded_between_look_and_take_stays(void **state)
{
    struct world world;
    struct proto_partial_state reported;
    struct meanwhile meanwhile = {.world = &world};
    struct lossy_db lossy = {
        .beginning = "SELECT token", .runs = true, .meanwhile = record_meanwhile, .argument = &meanwhile};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of_partial(&world, "film", meanwhile.place);
    lossy_db_arm(&lossy);
    assert_int_equal(partial_append(fd, &token, 10, content, 5), ERROR_RANGE);
    assert_true(lossy_db_met());
    lossy.meanwhile = move_meanwhile;
    snprintf(meanwhile.other, sizeof(meanwhile.other), "%.*s0F0",
             (int)(strlen(meanwhile.place) - strlen("000")), meanwhile.place);
    lossy_db_arm(&lossy);
    assert_int_equal(partial_append(fd, &token, 20, content + 20, 10), ERROR_NONE);
    assert_true(lossy_db_met());
    lossy.meanwhile = size_meanwhile;
    lossy_db_arm(&lossy);
    assert_int_equal(partial_append(fd, &token, 30, content + 30, 10), ERROR_NONE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(partial_offset(fd, &token, &reported), ERROR_NONE);
    assert_true(reported.offset == 40 && reported.size == 40);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 40), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* Another request takes the upload over, stores the file, and gets a success; it is deleted and purged. */
static void store_and_purge_meanwhile(void *argument)
{
    const struct meanwhile *meanwhile = argument;
    beside(meanwhile->world, "UPDATE t_partial SET epoch = epoch + 1, claim = 77, state = 2");
    assert_int_equal(unlink(meanwhile->place), 0);
}

/* A FINISH that comes to its INSERT late does not bring a file back that was stored, deleted and purged by then. */
static void a_finish_that_was_taken_over_adds_no_row(void **state)
{
    struct world world;
    struct meanwhile meanwhile = {.world = &world};
    const struct lossy_db lossy = {.beginning = "COMMIT", /* it has taken the upload over */
                                   .runs = true,
                                   .meanwhile = store_and_purge_meanwhile,
                                   .argument = &meanwhile};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    place_of_partial(&world, "film", meanwhile.place);
    lossy_db_arm(&lossy);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_UNAVAILABLE);
    assert_true(lossy_db_met());
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02"), 0);
    assert_int_equal(number(&world, "SELECT state FROM t_partial"), 2);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "film"), ERROR_NOT_FOUND);
    close(fd);
    end_world(&world);
}

/* As after another process has appended, and its request has ended, or not. */
#define WROTE  "UPDATE t_partial SET writer = writer + 1, epoch = epoch + 1, claim = 0"
#define WRITES "UPDATE t_partial SET writer = writer + 1, epoch = epoch + 1, claim = 5"

/* What other processes wrote is read back; what they wrote without recording it does not count. */
static void after_another_life_the_file_is_cut_back_and_read_back(void **state)
{
    struct world world;
    char place[512] = "";
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    assert_int_equal(partial_append(fd, &token, 0, content, 600000), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT claim FROM t_partial"), 0); /* its request is over */
    beside(&world, WROTE);
    place_of_partial(&world, "film", place);
    int file = open(place, O_WRONLY | O_APPEND);
    assert_int_equal(write(file, "not recorded", 12), 12);
    assert_int_equal(partial_append(fd, &token, 600000, content + 600000, 100000), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT mixed FROM t_partial"), 1);
    assert_int_equal(write(file, "neither", 7), 7);
    assert_int_equal(partial_append(fd, &token, 700000, content + 700000, 300000), ERROR_NONE);
    assert_int_equal(write(file, "nor", 3), 3);
    close(file);
    assert_int_equal(partial_finish(fd, &token, digest), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    /* Shorter than what was recorded: it is not carried on as if nothing had happened. */
    token = partial_begin(fd, "lost", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    beside(&world, "UPDATE t_partial SET synced = 1001 WHERE id = 'lost'");
    assert_int_equal(partial_append(fd, &token, 1001, content, 1), ERROR_IO);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_IO);
    close(fd);
    end_world(&world);
}

/* Another process may not be done with the file: what it writes whenever it goes on gets into no file, whether it is an APPEND or
 * a FINISH that takes over. */
static void a_file_that_others_may_still_write_to_is_left_to_them(void **state)
{
    struct world world;
    char place[512], next[512];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    for (int64_t at = 0; at < SIZE; at += SIZE / 2) {
        assert_int_equal(partial_append(fd, &token, at, content + at, SIZE / 2), ERROR_NONE);
        beside(&world, WRITES);
        place_of_partial(&world, "film", place);
        int file = open(place, O_WRONLY);
        if (at == 0)
            assert_int_equal(partial_append(fd, &token, SIZE / 2, content, 0), ERROR_NONE);
        else
            assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
        place_of_partial(&world, "film", next);
        assert_string_not_equal(place, next);
        assert_int_equal(number(&world, "SELECT mixed FROM t_partial"),
                         1); /* nobody else is at it any more */
        assert_int_equal(fixture_files(&world.fixture, "one"), 1);
        assert_int_equal(pwrite(file, "late", 4, at + 1), 4);
        assert_int_equal(ftruncate(file, 7), 0);
        close(file);
    }
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* Where the file system is this machine's, locks show whether the other process has ended. */
static void a_file_is_shared_with_nobody_but_the_dead(void **state)
{
    struct world world;
    char place[512], next[512], marker[256];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    if (number(&world, "SELECT writer % 2 FROM t_partial") == 0) {
        print_message("SKIPPED: %s is on no file system of which the locks say something\n",
                      world.fixture.directory);
        close(fd);
        end_world(&world);
        skip();
    }
    snprintf(marker, sizeof(marker), "%s/one/.reelstore", world.fixture.directory);
    int other = open(marker, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4001 >> 2, .l_len = 1};
    assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
    for (int alive = 1; alive >= 0; alive--) {
        place_of_partial(&world, "film", place);
        beside(&world, "UPDATE t_partial SET writer = 4001, epoch = epoch + 1, claim = 5");
        assert_int_equal(partial_append(fd, &token, 1000, content, 0), ERROR_NONE);
        place_of_partial(&world, "film", next);
        assert_int_equal(strcmp(place, next) != 0, alive);
        close(other); /* it dies */
    }
    close(fd);
    end_world(&world);
}

/* ---- a volume that others mount too, below a store path of this machine ---- */

static bool ends_are_hidden(void *argument)
{
    return (store_life_in(argument) & 1) == 0;
}

/* Mounts are this test's from now on; false: it may not make any. */
static bool may_mount(void)
{
    return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static bool start_with_mounts(struct world *world, const char *option)
{
    if (!may_mount()) {
        print_message("SKIPPED: nothing may be mounted here\n");
        return false;
    }
    start_world(world, option);
    if (store_life_in(store_at(world->storage.store, 0)) & 1)
        return true;
    print_message("SKIPPED: %s is on no file system of which the locks say something\n",
                  world->fixture.directory);
    end_world(world);
    return false;
}

/* Its files have no lock of the marker: whoever seems to be dead may be alive on another machine. */
static void below_a_mount_nobody_is_taken_for_dead(void **state)
{
    struct world world;
    char place[512], next[512], below[256];
    (void)state;
    if (!start_with_mounts(&world, NULL))
        skip();
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    place_of_partial(&world, "film", place);
    beside(&world, "UPDATE t_partial SET writer = 4001, epoch = epoch + 1, claim = 5");
    assert_int_equal(partial_append(fd, &token, 1000, content, 0), ERROR_NONE);
    place_of_partial(&world, "film", next);
    assert_string_equal(place, next); /* dead */
    snprintf(below, sizeof(below), "%s/one/a volume", world.fixture.directory);
    assert_int_equal(mkdir(below, 0700), 0);
    assert_int_equal(mount("none", below, "tmpfs", 0, NULL), 0);
    assert_true(loop_wait_until(ends_are_hidden, store_at(world.storage.store, 0)));
    beside(&world, "UPDATE t_partial SET writer = 4001, epoch = epoch + 1, claim = 5");
    assert_int_equal(partial_append(fd, &token, 1000, content, 0), ERROR_NONE);
    place_of_partial(&world, "film", next);
    assert_string_not_equal(place, next);
    assert_int_equal(number(&world, "SELECT writer % 2 FROM t_partial"),
                     0); /* nor is this process by others */
    assert_int_equal(umount(below), 0);
    close(fd);
    end_world(&world);
}

/* Mounted since the last look: the first request that meets it is refused, before it touches the file. */
static void a_mount_that_no_look_has_seen_is_found_out(void **state)
{
    struct world world;
    char place[512], below[256], command[1200];
    struct stat status;
    (void)state;
    if (!start_with_mounts(&world, "storage.probe_interval=3600s"))
        skip();
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    place_of_partial(&world, "film", place);
    snprintf(below, sizeof(below), "%.*s", (int)(strlen(world.fixture.directory) + strlen("/one/000")),
             place);
    snprintf(command, sizeof(command), "cp -a %s %s/copy", below, world.fixture.directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(mount("none", below, "tmpfs", 0, NULL), 0);
    snprintf(command, sizeof(command), "cp -a %s/copy/. %s && rm -r %s/copy && echo more >>%s",
             world.fixture.directory, below, world.fixture.directory, place);
    assert_int_equal(system(command), 0);
    assert_int_equal(partial_append(fd, &token, 1000, content + 1000, 100), ERROR_UNAVAILABLE);
    assert_int_equal(stat(place, &status), 0);
    assert_int_equal(status.st_size, 1005);
    assert_int_equal(partial_append(fd, &token, 1000, content + 1000, 100), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT writer % 2 FROM t_partial"), 0);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 1100), ERROR_NONE);
    assert_int_equal(umount2(below, MNT_DETACH), 0);
    close(fd);
    end_world(&world);
}

struct exchange {
    struct store_path *path;
    int64_t life;
};

static bool exchange_seen(void *argument)
{
    const struct exchange *exchange = argument;
    int64_t life = store_life_in(exchange->path);
    return life != exchange->life && life != 2;
}

/* Another directory lies at the store path since the upload was taken over. There this process has another number, of which nobody
 * could know; so the file that is there is not touched. */
static void in_a_directory_that_was_exchanged_no_file_is_touched(void **state)
{
    struct world world;
    char place[512], old[160], new[160], command[700];
    struct stat status;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world), slow = connect_client(&world);
    struct exchange exchange = {.path = store_at(world.storage.store, 0)};
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    exchange.life = store_life_in(exchange.path);
    place_of_partial(&world, "film", place);
    assert_int_equal(truncate(place, 5000), 0);
    partial_send_append(slow, &token, 1000, -1, 100, false);
    peer_put(slow, content, 50);
    while (number(&world, "SELECT epoch FROM t_partial") != 2)
        usleep(1000);
    snprintf(old, sizeof(old), "%s/gone", world.fixture.directory);
    snprintf(new, sizeof(new), "%s/one", world.fixture.directory);
    snprintf(command, sizeof(command), "mv %s %s && cp -a %s %s", new, old, old, new);
    assert_int_equal(system(command), 0);
    assert_true(loop_wait_until(exchange_seen, &exchange));
    peer_put(slow, content, 50);
    assert_int_equal(partial_append_reply(slow, NULL), ERROR_UNAVAILABLE);
    assert_int_equal(stat(place, &status), 0);
    assert_int_equal(status.st_size, 5000);
    /* Taken over anew it goes on there. */
    assert_int_equal(partial_append(fd, &token, 1000, content, 100), ERROR_NONE);
    close(slow);
    close(fd);
    end_world(&world);
}

/* Whoever stops in between leaves a copy, which the next request carries on; where the clean-up has taken it another one is begun. */
static void a_copy_that_was_begun_is_carried_on(void **state)
{
    struct world world;
    char place[512];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", SIZE);
    assert_int_equal(partial_append(fd, &token, 0, content, SIZE / 2), ERROR_NONE);
    beside(&world, WRITES);
    beside(
        &world,
        "CREATE TRIGGER stay BEFORE UPDATE OF file_path ON t_partial BEGIN SELECT RAISE(FAIL, 'stay'); END");
    place_of_partial(&world, "film", place);
    for (int i = 0; i < 3; i++) {
        assert_true(partial_append(fd, &token, SIZE / 2, content, 0) < 0);
        assert_int_equal(fixture_files(&world.fixture, "one"), 2);
        if (i == 1) { /* the copy is taken away: it is the one of both that no row has */
            char pattern[256];
            glob_t files = {0};
            snprintf(pattern, sizeof(pattern), "%s/one/000/000/000/*", world.fixture.directory);
            assert_int_equal(glob(pattern, 0, NULL, &files), 0);
            for (size_t j = 0; j < files.gl_pathc; j++)
                assert_true(strcmp(files.gl_pathv[j], place) == 0 || unlink(files.gl_pathv[j]) == 0);
            globfree(&files);
        }
    }
    beside(&world, "DROP TRIGGER stay");
    assert_int_equal(partial_append(fd, &token, SIZE / 2, content + SIZE / 2, SIZE / 2), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    assert_int_equal(partial_finish(fd, &token, digest), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* A FINISH whose INSERT may still come has the file: who goes on with the upload takes another one, and that one is not removed, not
 * by an ABORT either. A repeated FINISH, which changes no byte, shares it. */
static void a_file_that_may_be_stored_by_now_is_not_appended_to_nor_removed(void **state)
{
    struct world world;
    char place[512], next[512];
    struct stat status;
    uint8_t wrong[PROTO_DIGEST_SIZE] = {1};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    place_of_partial(&world, "film", place);
    beside(&world, "UPDATE t_partial SET state = 1, claim = 5, epoch = epoch + 1");
    assert_int_equal(partial_finish(fd, &token, wrong), ERROR_DIGEST);
    place_of_partial(&world, "film", next);
    assert_string_equal(place, next);
    assert_int_equal(partial_append(fd, &token, 1000, content, 0), ERROR_NONE);
    place_of_partial(&world, "film", next);
    assert_string_not_equal(place, next);
    assert_int_equal(stat(place, &status), 0);
    assert_int_equal(status.st_size, 1000);
    beside(&world, "UPDATE t_partial SET state = 1, claim = 5, epoch = epoch + 1");
    assert_int_equal(partial_finish(fd, &token, wrong), ERROR_DIGEST);
    assert_int_equal(partial_abort(fd, &token), ERROR_NONE);
    assert_int_equal(stat(next, &status), 0);
    assert_int_equal(number(&world, "SELECT state FROM t_partial"), 3);
    /* Bytes that are not recorded may be those that JOIN_PARTS has stored: they are not cut off. */
    token = partial_begin(fd, "other", -1);
    place_of_partial(&world, "other", place);
    assert_int_equal(truncate(place, 5), 0);
    beside(&world, "UPDATE t_partial SET state = 1, claim = 5, epoch = epoch + 1 WHERE id = 'other'");
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(stat(place, &status), 0);
    assert_int_equal(status.st_size, 5);
    token = partial_begin(fd, "third", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    place_of_partial(&world, "third", place);
    assert_int_equal(truncate(place, 1005), 0);
    beside(&world, "UPDATE t_partial SET state = 1, claim = 5, epoch = epoch + 1 WHERE id = 'third'");
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(stat(place, &status), 0);
    assert_int_equal(status.st_size, 1005);
    assert_int_equal(code_of_download(fd, "third", 0, 0, content, 1000), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* A record that arrives late, behind a newer one of the same request, takes no offset back. */
static void a_late_record_takes_no_offset_back(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    beside(&world, "CREATE TRIGGER more AFTER UPDATE OF epoch ON t_partial BEGIN UPDATE t_partial SET synced "
                   "= 100; END");
    assert_int_equal(partial_append(fd, &token, 10, content + 10, 10), ERROR_UNAVAILABLE);
    assert_int_equal(partial_durable(fd, &token), 100);
    close(fd);
    end_world(&world);
}

/* ---- of two requests of one process ---- */

static void who_began_earlier_and_comes_later_finds_out(void **state)
{
    struct partials *partials = partials_create(10);
    struct partials_hold older, newer;
    struct error error = {0};
    (void)state;
    assert_true(partials_begin(partials, "token", &older));
    assert_true(partials_begin(partials, "token", &newer));
    assert_true(partials_enter(partials, &newer, 2, &error));
    partials_leave(partials, &newer, NULL, 0);
    assert_false(partials_enter(partials, &older, 1, &error)); /* whatever became of the file meanwhile */
    assert_false(partials_write_begin(partials, &older, &error));
    partials_leave(partials, &older, NULL, 0);
    assert_int_equal(partials_count(partials), 0);
    partials_destroy(partials);
}

struct entering {
    struct partials *partials;
    atomic_bool entered;
};

static void *enter_newer(void *argument)
{
    struct entering *entering = argument;
    struct partials_hold newer;
    struct error error = {0};
    if (partials_begin(entering->partials, "token", &newer) &&
        partials_enter(entering->partials, &newer, 2, &error))
        atomic_store(&entering->entered, true);
    partials_leave(entering->partials, &newer, NULL, 0);
    return NULL;
}

static void what_an_older_one_is_at_is_waited_for(void **state)
{
    struct entering entering = {.partials = partials_create(10)};
    struct partials_hold older;
    struct error error = {0};
    pthread_t thread;
    (void)state;
    assert_true(partials_begin(entering.partials, "token", &older));
    assert_true(partials_enter(entering.partials, &older, 1, &error));
    assert_true(partials_write_begin(entering.partials, &older, &error));
    assert_int_equal(pthread_create(&thread, NULL, enter_newer, &entering), 0);
    usleep(50000);
    assert_false(atomic_load(&entering.entered));
    partials_write_end(entering.partials, &older);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(atomic_load(&entering.entered));
    partials_leave(entering.partials, &older, NULL, 0);
    partials_destroy(entering.partials);
}

static void a_stated_digest_decides_at_the_end(void **state)
{
    struct world world;
    struct proto_begin begin = {.put = {.key = key_of("film"), .size = 10, .has_digest = true}};
    struct proto_begin_reply reply;
    uint8_t right[PROTO_DIGEST_SIZE], wrong[PROTO_DIGEST_SIZE];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    digest_of(content, 10, right);
    memcpy(wrong, right, sizeof(wrong));
    wrong[15] ^= 1;
    memcpy(begin.put.digest, wrong, sizeof(wrong));
    assert_int_equal(partial_begin_with(fd, &begin, &reply), ERROR_NONE);
    struct token token = {.partial = {.key = begin.put.key}};
    memcpy(token.partial.token, reply.token, sizeof(reply.token));
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, right), ERROR_DIGEST);
    /* It is open again: it can be given up. */
    assert_int_equal(number(&world, "SELECT state FROM t_partial"), 0);
    assert_int_equal(partial_abort(fd, &token), ERROR_NONE);
    token = partial_begin(fd, "film", 10);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, wrong), ERROR_DIGEST);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "film"), ERROR_NOT_FOUND);
    assert_int_equal(partial_finish(fd, &token, right), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    end_world(&world);
}

static void an_aborted_one_is_gone(void **state)
{
    struct world world;
    struct proto_partial_state reported;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    assert_int_equal(partial_abort(fd, &token), ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial"), 0);
    assert_int_equal(partials_count(world.storage.partials), 0);
    assert_int_equal(partial_abort(fd, &token), ERROR_NOT_FOUND);
    assert_int_equal(partial_offset(fd, &token, &reported), ERROR_NOT_FOUND);
    assert_int_equal(partial_append(fd, &token, 1000, content, 1), ERROR_NOT_FOUND);
    /* While a FINISH is at work on it, or died in it, it is not given up. */
    token = partial_begin(fd, "film", -1);
    beside(&world, "UPDATE t_partial SET state = 1");
    assert_int_equal(partial_abort(fd, &token), ERROR_UNAVAILABLE);
    assert_int_equal(partial_append(fd, &token, 0, content, 1), ERROR_UNAVAILABLE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* The answer to the UPDATE that takes a partial upload over is lost, or that to the one that says what became of it: what took
 * effect is found so, and not called a failure. */
static void an_answer_that_was_lost_is_found_out(void **state)
{
    struct lossy_db lossy = {
        .beginning = "UPDATE t_partial", .runs = true, .reports = true, .result = DB_UNCERTAIN};
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    for (lossy.skip = 0; lossy.skip < 2; lossy.skip++) { /* taken, recorded */
        lossy_db_arm(&lossy);
        assert_int_equal(partial_append(fd, &token, 10 * lossy.skip, content + 10 * lossy.skip, 10),
                         ERROR_NONE);
        assert_true(lossy_db_met());
    }
    lossy.skip = 0;
    lossy.beginning = "COMMIT"; /* of the one that takes it over */
    lossy_db_arm(&lossy);
    assert_int_equal(partial_append(fd, &token, 20, content + 20, 10), ERROR_NONE);
    assert_true(lossy_db_met());
    lossy.beginning = "UPDATE t_partial";
    lossy_db_arm(&lossy);
    assert_int_equal(partial_abort(fd, &token), ERROR_NONE);
    assert_true(lossy_db_met());
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial"), 0);
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    for (int i = 0; i < 4; i++) { /* taken, stored: the statement, and its transaction */
        char file[16];
        snprintf(file, sizeof(file), "film%d", i);
        lossy.beginning = i < 2 ? "UPDATE t_partial" : "COMMIT";
        lossy.skip = i % 2;
        token = partial_begin(fd, file, -1);
        assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
        lossy_db_arm(&lossy);
        assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
        assert_true(lossy_db_met());
    }
    lossy_db_arm(NULL);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial WHERE state = 2"), 4);
    /* Somebody else's ABORT is none of this one's. */
    token = partial_begin(fd, "film", -1);
    beside(&world, "UPDATE t_partial SET state = 3 WHERE state = 0");
    assert_int_equal(partial_abort(fd, &token), ERROR_NOT_FOUND);
    close(fd);
    end_world(&world);
}

/* Of two of one file ID the first that is finished is the file. */
static void the_first_that_is_finished_is_the_file(void **state)
{
    struct world world;
    struct proto_begin begin = {.put = {.key = key_of("film"), .size = 11}};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token first = partial_begin(fd, "film", -1), same = partial_begin(fd, "film", 10),
                 other = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &first, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_append(fd, &same, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_append(fd, &other, 0, content + 1, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &first, NULL), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &same, NULL), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &same, NULL), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &other, NULL), ERROR_EXISTS);
    assert_int_equal(partial_finish(fd, &other, NULL), ERROR_EXISTS);
    assert_int_equal(fixture_files(&world.fixture, "one"),
                     2); /* the file, and the other one until it is given up */
    assert_int_equal(partial_abort(fd, &other), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 10), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02"), 1);
    /* What cannot become the file is refused at the beginning. */
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_EXISTS);
    begin.put.size = 10;
    begin.put.has_digest = true;
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_EXISTS);
    begin.put.has_digest = false;
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_NONE);
    begin.put.size = -1;
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "film"), ERROR_NONE);
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_DELETED);
    memcpy(begin.put.group, "group009", 9);
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_OTHER_GROUP);
    close(fd);
    end_world(&world);
}

/* The row is there, and its FINISH never heard of it: the next one does. */
static void a_finish_that_died_behind_its_row_is_repeated(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    beside(&world, "UPDATE t_partial SET state = 1, writer = 7");
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT state FROM t_partial"), 2);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_file_02"), 1);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 1000), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* It died behind its row, and the file moved to another group, where it was deleted and purged. What lies here is the former copy, which goes
 * before long: the next FINISH stores a file of its own. */
static void a_finish_does_not_take_a_former_copy_for_its_file(void **state)
{
    struct world world;
    char id[PROTO_FILE_SIZE], sql[256];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", 1000);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    beside(&world, "UPDATE t_partial SET state = 1, writer = 7");
    meta_move_former_id("group001", "film", id);
    snprintf(sql, sizeof(sql), "UPDATE t_file_02 SET id = '%s', status = 2, deleted_at = 2000000000", id);
    beside(&world, sql);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    assert_int_equal(number(&world, "SELECT COUNT(DISTINCT file_path) FROM t_file_02"), 2);
    assert_int_equal(fixture_files(&world.fixture, "one"), 2);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 1000), ERROR_NONE);
    close(fd);
    end_world(&world);
}

/* Another directory lies at the store path: what the former one has says nothing of the content. */
static void a_file_that_is_not_the_one_in_place_is_not_blamed(void **state)
{
    struct world world;
    uint8_t wrong[PROTO_DIGEST_SIZE] = {1};
    char place[256], aside[280];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", 1000);
    assert_int_equal(partial_append(fd, &token, 0, content, 1000), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, wrong), ERROR_DIGEST);
    snprintf(place, sizeof(place), "%s/one", world.fixture.directory);
    snprintf(aside, sizeof(aside), "%s.aside", place);
    assert_int_equal(rename(place, aside), 0);
    assert_int_equal(mkdir(place, 0750), 0);
    assert_int_equal(partial_finish(fd, &token, wrong), ERROR_UNAVAILABLE);
    assert_int_equal(rmdir(place), 0);
    assert_int_equal(rename(aside, place), 0);
    close(fd);
    end_world(&world);
}

/* The file was deleted, purged and stored by another member, which this one was not asked about: its memory is older. */
static void who_learns_that_it_is_stored_sees_nothing_older(void **state)
{
    struct world world;
    struct proto_partial_state now;
    (void)state;
    start_world(&world, "storage.cache_age=60s");
    int fd = connect_client(&world);
    struct token token = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &token, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "film"), ERROR_NONE);
        assert_int_equal(stat_of(fd, "film").status, PROTO_FILE_DELETED);
        beside(&world, "UPDATE t_file_02 SET status = 0, deleted_at = -1");
        assert_int_equal(stat_of(fd, "film").status, PROTO_FILE_DELETED); /* from memory */
        if (i == 0)
            assert_int_equal(partial_finish(fd, &token, NULL), ERROR_NONE);
        else
            assert_int_equal(partial_offset(fd, &token, &now), ERROR_NONE);
        assert_true(i == 0 || now.complete);
        assert_int_equal(stat_of(fd, "film").status, PROTO_FILE_NORMAL);
    }
    close(fd);
    end_world(&world);
}

static void there_are_not_more_than_is_allowed(void **state)
{
    struct world world;
    struct proto_begin begin = {.put = {.key = key_of("film"), .size = 11}};
    (void)state;
    start_world(&world, "storage.partials_per_user=2");
    int fd = connect_client(&world);
    struct token first = partial_begin(fd, "film", -1);
    (void)partial_begin(fd, "film", -1);
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_THROTTLED);
    memcpy(begin.put.key.user, "bob", 4);
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_NONE);
    assert_int_equal(partial_abort(fd, &first), ERROR_NONE);
    (void)partial_begin(fd, "film", -1);
    assert_int_equal(fixture_files(&world.fixture, "one"), 3); /* the refused one left none */
    close(fd);
    end_world(&world);

    start_world(&world, "storage.partials_max=1");
    fd = connect_client(&world);
    (void)partial_begin(fd, "film", -1);
    assert_int_equal(partial_begin_with(fd, &begin, NULL), ERROR_THROTTLED);
    close(fd);
    end_world(&world);
}

static void how_long_it_is_kept_is_bounded_on_both_sides(void **state)
{
    static const int64_t asked[] = {0, 1, 5000, 7200, INT64_MAX}, kept[] = {7200, 3601, 5000, 7200, 7200};
    struct world world;
    struct proto_begin begin = {.put = {.key = key_of("film"), .size = 11}};
    struct proto_begin_reply reply;
    (void)state;
    start_world(&world, "storage.partial_keep=2h");
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        begin.keep = asked[i];
        int64_t before_us = clock_wall_us();
        assert_int_equal(partial_begin_with(fd, &begin, &reply), ERROR_NONE);
        int64_t left = reply.state.expires - clock_wall_seconds();
        /* The database's clock may be a tick ahead of ours, and a tick may be a new second. Times are whole seconds: none is shortened. */
        assert_true(left <= kept[i] + 2);
        assert_true(reply.state.expires - kept[i] >= before_us / 1000000 + (before_us % 1000000 > 0));
    }
    close(fd);
    end_world(&world);
}

/* ---- JOIN_PARTS ---- */

static void parts_become_one_file_in_their_order(void **state)
{
    struct world world;
    struct token parts[3];
    struct proto_partial_state reported;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    parts[0] = partial_begin(fd, "film", 400000);
    parts[1] = partial_begin(fd, "piece", -1); /* of another key of the same user */
    parts[2] = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &parts[2], 0, content + 400000, 600000), ERROR_NONE);
    assert_int_equal(partial_append(fd, &parts[0], 0, content, 300000), ERROR_NONE);
    struct token target = partial_begin(fd, "film", SIZE);
    assert_int_equal(partial_join(fd, &target, parts, 3), ERROR_RANGE); /* a part is not whole */
    assert_int_equal(partial_append(fd, &parts[0], 300000, content + 300000, 100000), ERROR_NONE);
    assert_int_equal(partial_join(fd, &target, parts, 2), ERROR_RANGE); /* the sum is another one */
    assert_int_equal(partial_durable(fd, &target), 0);
    assert_int_equal(partial_join(fd, &target, parts, 3), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, SIZE), ERROR_NONE);
    struct proto_stat stat = stat_of(fd, "film");
    assert_memory_equal(stat.digest, digest, sizeof(digest));
    assert_int_equal(partial_join(fd, &target, parts, 3), ERROR_NONE); /* again */
    assert_int_equal(partial_offset(fd, &target, &reported), ERROR_NONE);
    assert_true(reported.complete && reported.offset == SIZE);
    for (size_t i = 0; i < 3; i++) /* on their way out */
        assert_int_equal(partial_offset(fd, &parts[i], &reported), ERROR_NOT_FOUND);
    assert_int_equal(number(&world, "SELECT COUNT(*) FROM t_partial WHERE state = 3"), 3);
    close(fd);
    end_world(&world);
}

/* The first one died, or stands still, behind its row: the file that this names stays as it is. */
static void a_join_that_may_have_stored_its_file_is_repeated_beside_it(void **state)
{
    struct world world;
    char place[512];
    struct stat before, after;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token part = partial_begin(fd, "film", -1), other = partial_begin(fd, "film", -1),
                 target = partial_begin(fd, "joined", -1);
    assert_int_equal(partial_append(fd, &part, 0, content, 1000), ERROR_NONE);
    assert_int_equal(partial_append(fd, &other, 0, content + 1, 1000), ERROR_NONE);
    place_of_partial(&world, "joined", place);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_NONE);
    beside(&world, "UPDATE t_partial SET state = 1, synced = 0, file_size = -1 WHERE id = 'joined'");
    beside(&world, "UPDATE t_partial SET state = 0 WHERE id = 'film'");
    assert_int_equal(stat(place, &before), 0);
    assert_int_equal(partial_join(fd, &target, &other, 1), ERROR_EXISTS);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_NONE);
    assert_int_equal(stat(place, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
    assert_int_equal(code_of_download(fd, "joined", 0, 0, content, 1000), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void what_cannot_be_joined_stays_as_it_is(void **state)
{
    struct world world;
    uint8_t wrong[PROTO_DIGEST_SIZE] = {1};
    struct proto_begin begin = {.put = {.key = key_of("film"), .size = 10, .has_digest = true}};
    struct proto_begin_reply reply;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    struct token part = partial_begin(fd, "film", -1), target = partial_begin(fd, "film", -1);
    assert_int_equal(partial_append(fd, &part, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_append(fd, &target, 0, content, 10), ERROR_NONE);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_RANGE); /* it has bytes of its own */
    /* Another user's part is none. */
    begin.put.key = key_of("film");
    beside(&world, "UPDATE t_partial SET userid = 'bob' WHERE synced = 10 AND epoch = 1");
    target = partial_begin(fd, "film", -1);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_NOT_FOUND);
    beside(&world, "UPDATE t_partial SET userid = 'alice'");
    /* A digest that was stated at the beginning; then it is as before, and can be joined to another one. */
    memcpy(begin.put.digest, wrong, sizeof(wrong));
    assert_int_equal(partial_begin_with(fd, &begin, &reply), ERROR_NONE);
    struct token stated = {.partial = {.key = begin.put.key}};
    memcpy(stated.partial.token, reply.token, sizeof(reply.token));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(partial_join(fd, &stated, &part, 1), ERROR_DIGEST);
        assert_int_equal(partial_durable(fd, &stated), 0);
    }
    assert_int_equal(partial_abort(fd, &stated), ERROR_NONE);
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "film", 0, 0, content, 10), ERROR_NONE);
    /* A part whose file is gone. */
    target = partial_begin(fd, "other", -1);
    part = partial_begin(fd, "other", -1);
    assert_int_equal(partial_append(fd, &part, 0, content, 10), ERROR_NONE);
    beside(&world, "UPDATE t_partial SET synced = 11 WHERE id = 'other' AND synced = 10");
    assert_int_equal(partial_join(fd, &target, &part, 1), ERROR_IO);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_in_several_requests_is_one_file),
        cmocka_unit_test(a_size_may_be_said_late_or_never),
        cmocka_unit_test(only_the_durable_offset_is_taken_and_only_under_the_key),
        cmocka_unit_test(heads_that_break_a_rule_are_refused),
        cmocka_unit_test(what_came_before_a_break_counts),
        cmocka_unit_test(a_piece_with_a_wrong_digest_does_not_count),
        cmocka_unit_test(the_newer_writer_wins),
        cmocka_unit_test(what_is_recorded_between_look_and_take_stays),
        cmocka_unit_test(a_finish_that_was_taken_over_adds_no_row),
        cmocka_unit_test(after_another_life_the_file_is_cut_back_and_read_back),
        cmocka_unit_test(a_file_that_others_may_still_write_to_is_left_to_them),
        cmocka_unit_test(a_file_is_shared_with_nobody_but_the_dead),
        cmocka_unit_test(below_a_mount_nobody_is_taken_for_dead),
        cmocka_unit_test(a_mount_that_no_look_has_seen_is_found_out),
        cmocka_unit_test(in_a_directory_that_was_exchanged_no_file_is_touched),
        cmocka_unit_test(a_copy_that_was_begun_is_carried_on),
        cmocka_unit_test(a_file_that_may_be_stored_by_now_is_not_appended_to_nor_removed),
        cmocka_unit_test(a_late_record_takes_no_offset_back),
        cmocka_unit_test(who_began_earlier_and_comes_later_finds_out),
        cmocka_unit_test(what_an_older_one_is_at_is_waited_for),
        cmocka_unit_test(a_stated_digest_decides_at_the_end),
        cmocka_unit_test(an_aborted_one_is_gone),
        cmocka_unit_test(an_answer_that_was_lost_is_found_out),
        cmocka_unit_test(the_first_that_is_finished_is_the_file),
        cmocka_unit_test(a_finish_that_died_behind_its_row_is_repeated),
        cmocka_unit_test(a_finish_does_not_take_a_former_copy_for_its_file),
        cmocka_unit_test(a_file_that_is_not_the_one_in_place_is_not_blamed),
        cmocka_unit_test(who_learns_that_it_is_stored_sees_nothing_older),
        cmocka_unit_test(there_are_not_more_than_is_allowed),
        cmocka_unit_test(how_long_it_is_kept_is_bounded_on_both_sides),
        cmocka_unit_test(parts_become_one_file_in_their_order),
        cmocka_unit_test(a_join_that_may_have_stored_its_file_is_repeated_beside_it),
        cmocka_unit_test(what_cannot_be_joined_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
