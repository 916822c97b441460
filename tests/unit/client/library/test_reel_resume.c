/*
 * Uploads that are gone on with (reel_upload.state), and those that go in pieces (reel_upload.pieces), with a storage server of the real rooms
 * behind a scripted tracker; and with servers that do not know them.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/partial_client.h"
#include "tests/unit/library/scripted_cluster.h"

#include "client/reel.h"

#include <ftw.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#define SIZE 3000000

struct place {
    struct world world;
    struct fake_tracker tracker;
    struct reel *reel;
    char directory[64], path[128], state[128];
    uint8_t *content;
    short pieces; /* of the uploads; and */
    bool fresh;
};

static void place_make(struct place *place)
{
    snprintf(place->directory, sizeof(place->directory), "/tmp/reel-resume-test-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/film", place->directory);
    snprintf(place->state, sizeof(place->state), "%s/state", place->directory);
    place->content = random_bytes(SIZE);
    write_file(place->path, place->content, SIZE);
}

static struct reel *place_reel(const char *trackers)
{
    struct reel_options options = {.trackers = trackers, .user = "alice", .tries = 3};
    struct reel_error error;
    struct reel *reel = reel_open(&options, &error);
    assert_non_null(reel);
    return reel;
}

static void place_open(struct place *place)
{
    char addresses[64];
    memset(place, 0, sizeof(*place));
    place_make(place);
    start_world(&place->world, "storage.chunk_size=16K");
    fake_tracker_start(&place->tracker);
    snprintf(addresses, sizeof(addresses), "127.0.0.1:%u;",
             packet_server_port(place->world.storage.base.server));
    fake_tracker_point(&place->tracker, addresses);
    place->reel = place_reel(place->tracker.peer.address);
}

static void place_clear(struct place *place)
{
    reel_close(place->reel);
    unlink(place->path);
    unlink(place->state);
    assert_int_equal(rmdir(place->directory), 0);
    free(place->content);
}

static void place_close(struct place *place)
{
    place_clear(place);
    fake_tracker_stop(&place->tracker);
    end_world(&place->world);
}

struct watched {
    int64_t stop_at; /* -1: never */
    int64_t first, last;
    int64_t stored; /* bytes below the server's store paths before */
    bool prepared;
    bool change;  /* the file is written to when half has gone */
    int64_t rows; /* the most partial uploads that there were */
    struct place *place;
    pthread_t thread; /* of the call */
};

static int64_t count_rows(struct place *place, const char *where)
{
    sqlite3_stmt *statement;
    char text[128];
    snprintf(text, sizeof(text), "SELECT count(*) FROM t_partial WHERE %s", where);
    assert_int_equal(sqlite3_prepare_v2(place->world.beside, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t rows = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return rows;
}

static int64_t arrived_bytes;

static int arrived_add(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)path;
    (void)at;
    arrived_bytes += kind == FTW_F ? status->st_size : 0;
    return 0;
}

static int64_t count_stored(const struct place *place)
{
    static const char *const stores[] = {"one", "two"};
    char store[128];
    arrived_bytes = 0;
    for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
        snprintf(store, sizeof(store), "%s/%s", place->world.fixture.directory, stores[i]);
        (void)nftw(store, arrived_add, 8, FTW_PHYS);
    }
    return arrived_bytes;
}

/* A third of what was sent: it may still lie in a socket that the server has not begun to read, and is dropped when we hang up. */
static bool arrived(void *argument)
{
    const struct watched *watched = argument;
    return count_stored(watched->place) >= watched->stored + (watched->stop_at - watched->first) / 3;
}

static bool on_progress(void *argument, int64_t done, int64_t total)
{
    struct watched *watched = argument;
    assert_int_equal(total, SIZE);
    assert_true(pthread_equal(pthread_self(), watched->thread));
    if (watched->first < 0) {
        watched->first = done;
        if (watched->place->world.beside)
            watched->rows = count_rows(watched->place, "state = 0");
    }
    if (watched->change && done > SIZE / 2) {
        watched->change = false;
        write_file(watched->place->path, watched->place->content, SIZE);
    }
    watched->last = done;
    if (watched->stop_at < 0 || done < watched->stop_at)
        return true;
    if (watched->place->world.beside)
        assert_true(loop_wait_until(arrived, watched));
    return false;
}

static bool on_preparing(void *argument, int64_t done, int64_t total)
{
    (void)done;
    (void)total;
    ((struct watched *)argument)->prepared = true;
    return true;
}

static int upload_it(struct place *place, int64_t stop_at, struct watched *watched, const char *file,
                     char id[REEL_FILE_SIZE])
{
    struct reel_upload upload = {.state = place->state,
                                 .file = file,
                                 .pieces = place->pieces,
                                 .piece_kib = 512,
                                 .fresh = place->fresh,
                                 .progress = on_progress,
                                 .preparing = on_preparing,
                                 .argument = watched};
    struct reel_error error = {0};
    *watched = (struct watched){
        .stop_at = stop_at, .first = -1, .change = watched->change, .place = place, .thread = pthread_self()};
    watched->stored = count_stored(place);
    return reel_upload_path(place->reel, &upload, place->path, id, &error) ? REEL_E_NONE : error.code;
}

static bool recorded(void *argument)
{
    struct place *place = argument;
    return count_rows(place, "synced > 500000") > 0;
}

static void expect_stored(struct place *place, const char *id)
{
    int fd = connect_client(&place->world);
    assert_int_equal(code_of_download(fd, id, 0, 0, place->content, SIZE), ERROR_NONE);
    close(fd);
    assert_int_equal(access(place->state, F_OK), -1);
}

static void an_upload_goes_on_where_it_was(void **state)
{
    struct place place;
    struct watched watched = {0};
    struct stat status;
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
    assert_int_equal(stat(place.state, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_true(loop_wait_until(recorded, &place));
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_true(watched.prepared && watched.first >= 500000 && watched.last == SIZE);
    assert_string_equal(first, second);
    expect_stored(&place, first);
    place_close(&place);
}

static void without_an_interruption_nothing_stays(void **state)
{
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, -1, &watched, "mine", id), REEL_E_NONE);
    assert_true(!watched.prepared && watched.last == SIZE);
    assert_string_equal(id, "mine");
    expect_stored(&place, "mine");
    /* A repetition compares, as ever; other bytes are refused, and no state stays of what cannot be. */
    assert_int_equal(upload_it(&place, -1, &watched, "mine", id), REEL_E_NONE);
    place.content[0] ^= 1;
    write_file(place.path, place.content, SIZE);
    assert_int_equal(upload_it(&place, -1, &watched, "mine", id), REEL_E_EXISTS);
    assert_int_equal(access(place.state, F_OK), -1);
    place_close(&place);
}

/* What was sent is of other bytes: the state says so, and the upload begins anew. */
static void a_file_that_changed_is_another_upload(void **state)
{
    struct place place;
    struct watched watched = {0};
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded, &place));
    place.content[7] ^= 1;
    write_file(place.path, place.content, SIZE);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_int_equal(watched.first, 0);
    assert_string_not_equal(first, second);
    expect_stored(&place, second);
    place_close(&place);
}

/* The same times and size, other bytes: only the digest shows it, and then nothing is stored. */
static void a_change_that_only_the_digest_shows_is_found(void **state)
{
    struct place place;
    struct watched watched = {0};
    struct stat before;
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(stat(place.path, &before), 0);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, id), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded, &place));
    int fd = open(place.path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 9) + pwrite(fd, "y", 1, 10), 2);
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_DIGEST);
    assert_int_equal(access(place.state, F_OK), -1);
    fd = connect_client(&place.world);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, id), ERROR_NOT_FOUND);
    close(fd);
    place_close(&place);
}

static void a_state_that_means_nothing_is_replaced(void **state)
{
    static const char *const texts[] = {"", "reel-upload 1\n", "rubbish", "\n\n\n"};
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE], text[4096];
    (void)state;
    place_open(&place);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        write_file(place.state, texts[i], strlen(texts[i]));
        assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
        expect_stored(&place, id);
    }
    /* One that was cut at any byte, and one of an upload that nobody knows any more. */
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, id), REEL_E_CANCELLED);
    int fd = open(place.state, O_RDWR);
    ssize_t size = read(fd, text, sizeof(text));
    assert_true(size > 100);
    close(fd);
    for (ssize_t cut = size - 40; cut < size; cut += 13) {
        write_file(place.state, text, (size_t)cut);
        assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
        expect_stored(&place, id);
    }
    write_file(place.state, text, (size_t)size);
    beside(&place.world, "DELETE FROM t_partial WHERE state = 0");
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    assert_int_equal(watched.first, 0);
    expect_stored(&place, id);
    place_close(&place);
}

static void one_upload_of_a_file_at_a_time(void **state)
{
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    int fd = open(place.state, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_UNAVAILABLE);
    close(fd);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    snprintf(place.state, sizeof(place.state), "%s/no/such", place.directory);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_IO);
    place_close(&place);
}

/* Whoever has taken the upload over meanwhile, and whatever was recorded beyond what was answered. */
static void what_broke_off_is_asked_about(void **state)
{
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, id), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded, &place));
    /* Its FINISH died behind the row of the file: going on ends at once. */
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    beside(&place.world, "UPDATE t_partial SET state = 1 WHERE state = 2");
    expect_stored(&place, id);
    place_close(&place);
}

/* ---- in pieces ---- */

static void a_large_file_goes_in_pieces(void **state)
{
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    place.pieces = 4;
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    assert_int_equal(watched.rows, 5); /* the file and its pieces */
    assert_int_equal(watched.last, SIZE);
    expect_stored(&place, id);
    /* No piece is smaller than was asked for. */
    place.pieces = 16;
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    assert_int_equal(watched.rows, 1 + SIZE / (512 * 1024));
    expect_stored(&place, id);
    assert_int_equal(count_rows(&place, "state = 0"), 0);
    place_close(&place);
}

/* At least one of the pieces; how far the others have come is up to the scheduler. */
static bool recorded_in_pieces(void *argument)
{
    return count_rows(argument, "synced > 0") > 0;
}

/* The pieces that were begun are taken up again; that what they hold is not sent anew is seen where the file has changed behind the
 * same times, below. */
static void every_piece_that_was_begun_goes_on(void **state)
{
    struct place place;
    struct watched watched = {0};
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    for (short pieces = 0; pieces < 5; pieces += 2) { /* whatever is asked for then: those that were begun */
        place.pieces = 4;
        assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
        assert_true(loop_wait_until(recorded_in_pieces, &place));
        place.pieces = pieces;
        assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
        assert_int_equal(watched.rows, 5);
        assert_int_equal(watched.last, SIZE);
        assert_string_equal(first, second);
        expect_stored(&place, first);
        beside(&place.world, "DELETE FROM t_partial");
    }
    place_close(&place);
}

static void a_piece_that_is_gone_begins_anew(void **state)
{
    struct place place;
    struct watched watched = {0};
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    place.pieces = 4;
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded_in_pieces, &place));
    beside(&place.world,
           "DELETE FROM t_partial WHERE token = (SELECT token FROM t_partial WHERE synced > 0 LIMIT 1)");
    assert_int_equal(upload_it(&place, 2500000, &watched, NULL, second), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded_in_pieces, &place));
    assert_int_equal(watched.rows, 5);
    /* The new one is in the state. */
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_int_equal(watched.rows, 5);
    assert_string_equal(first, second);
    expect_stored(&place, first);
    place_close(&place);
}

/* Whoever writes to the file while its pieces are read: no mixture is stored. */
static void a_file_that_changes_while_it_goes_in_pieces_is_not_stored(void **state)
{
    struct place place;
    struct watched watched = {.change = true};
    struct stat before;
    char id[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    place.pieces = 4;
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_IO);
    int fd = connect_client(&place.world);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, id), ERROR_NOT_FOUND);
    close(fd);
    place_close(&place);
    /* Bytes that changed behind the same times: the digest of the whole shows it, and nothing is left of it. */
    place_open(&place);
    place.pieces = 4;
    watched = (struct watched){0};
    assert_int_equal(stat(place.path, &before), 0);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, id), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded_in_pieces, &place));
    int file = open(place.path, O_WRONLY);
    for (int64_t at = 0; at < SIZE; at += 4096) {
        place.content[at] ^= 1;
        assert_int_equal(pwrite(file, &place.content[at], 1, at), 1);
    }
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    assert_int_equal(futimens(file, times), 0);
    close(file);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_DIGEST);
    assert_int_equal(access(place.state, F_OK), -1);
    fd = connect_client(&place.world);
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, id), ERROR_NOT_FOUND);
    close(fd);
    place_close(&place);
}

/* The servers' disk takes no more in the middle: what has come stays, and goes on once there is room. */
static void an_upload_outlives_a_disk_that_takes_no_more(void **state)
{
    struct place place;
    struct watched watched = {0};
    struct rlimit before, small;
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (short pieces = 1; pieces <= 2; pieces++) {
        place_open(&place);
        place.pieces = pieces;
        small = (struct rlimit){.rlim_cur = 1000000, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int code = upload_it(&place, -1, &watched, NULL, first);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(code, REEL_E_IO);
        assert_true(loop_wait_until(recorded, &place));
        assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
        assert_true(watched.first > 500000);
        assert_string_equal(first, second);
        expect_stored(&place, second);
        place_close(&place);
    }
}

static void without_a_state_nothing_is_left_of_pieces(void **state)
{
    struct place place;
    struct watched watched = {.thread = pthread_self(), .first = 0, .stop_at = 2000000};
    struct reel_upload upload = {
        .pieces = 3, .piece_kib = 512, .progress = on_progress, .argument = &watched};
    char id[REEL_FILE_SIZE];
    struct reel_error error;
    (void)state;
    place_open(&place);
    watched.place = &place;
    assert_false(reel_upload_memory(place.reel, &upload, place.content, SIZE, id, &error));
    assert_int_equal(error.code, REEL_E_CANCELLED);
    assert_int_equal(count_rows(&place, "state = 0"), 0);
    watched.stop_at = -1;
    assert_true(reel_upload_memory(place.reel, &upload, place.content, SIZE, id, &error));
    expect_stored(&place, id);
    place_close(&place);
}

/* A server that is away is passed over by every piece. */
static void pieces_pass_over_a_server_that_is_away(void **state)
{
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE], addresses[64];
    (void)state;
    place_open(&place);
    snprintf(addresses, sizeof(addresses), "127.0.0.1:1;127.0.0.1:%u;",
             packet_server_port(place.world.storage.base.server));
    fake_tracker_point(&place.tracker, addresses);
    place.pieces = 4;
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
    expect_stored(&place, id);
    place_close(&place);
}

/* ---- the state ---- */

static void pieces_that_are_not_the_file_are_replaced(void **state)
{
    static const char *const wrong[] = {
        "piece 0 750000 ", "piece 750000 750000 ",         "piece 0 3000001 ", "piece 0 0 ", "piece 0 -1 ",
        "piece x 1 ",      "piece 0 99999999999999999999 "};
    struct place place;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE], text[4096], changed[8192];
    (void)state;
    place_open(&place);
    place.pieces = 4;
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, id), REEL_E_CANCELLED);
    int fd = open(place.state, O_RDWR);
    ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    assert_true(size > 100);
    text[size] = '\0';
    char *pieces = strstr(text, "piece ");
    assert_non_null(pieces);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        int used = snprintf(changed, sizeof(changed), "%.*s%s%.33s", (int)(pieces - text), text, wrong[i],
                            pieces + strlen("piece 0 750000 "));
        write_file(place.state, changed, (size_t)used);
        assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
        assert_int_equal(watched.first, 0);
        expect_stored(&place, id);
    }
    place_close(&place);
}

static void a_fresh_upload_begins_anew_and_needs_no_state(void **state)
{
    struct place place;
    struct watched watched = {0};
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded, &place));
    place.fresh = true;
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_int_equal(watched.first, 0);
    assert_string_not_equal(first, second);
    expect_stored(&place, second);
    /* Another upload of it is under way: its state stays its own. */
    int fd = open(place.state, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_int_equal(access(place.state, F_OK), 0);
    assert_int_equal(unlink(place.state), 0);
    close(fd);
    snprintf(place.state, sizeof(place.state), "%s/no/such", place.directory);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    expect_stored(&place, second);
    place_close(&place);
}

static void a_state_that_is_no_file_of_ours_is_refused(void **state)
{
    struct place place;
    struct watched watched = {0};
    struct stat status;
    char id[REEL_FILE_SIZE], other[160];
    (void)state;
    place_open(&place);
    snprintf(other, sizeof(other), "%s/other", place.directory);
    write_file(other, "mine", 4);
    assert_int_equal(symlink(other, place.state), 0);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_IO);
    assert_int_equal(unlink(place.state), 0);
    assert_int_equal(link(other, place.state), 0);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_IO);
    assert_int_equal(unlink(place.state), 0);
    assert_int_equal(mkfifo(place.state, 0600), 0);
    assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_IO);
    assert_int_equal(unlink(place.state), 0);
    assert_int_equal(stat(other, &status), 0);
    assert_int_equal(status.st_size, 4);
    assert_int_equal(unlink(other), 0);
    place_close(&place);
}

/* The user's files are elsewhere by now: what was sent is lost, and the upload begins anew under the same ID. */
static void an_upload_of_a_user_who_moved_begins_anew(void **state)
{
    struct place place;
    struct watched watched = {0};
    char first[REEL_FILE_SIZE], second[REEL_FILE_SIZE];
    (void)state;
    place_open(&place);
    assert_int_equal(upload_it(&place, 2000000, &watched, NULL, first), REEL_E_CANCELLED);
    assert_true(loop_wait_until(recorded, &place));
    beside(&place.world, "UPDATE t_partial SET group_name = 'group002' WHERE state = 0");
    assert_int_equal(upload_it(&place, -1, &watched, NULL, second), REEL_E_NONE);
    assert_int_equal(watched.first, 0);
    assert_string_equal(first, second);
    expect_stored(&place, second);
    place_close(&place);
}

static void servers_that_do_not_know_it_get_the_whole_file(void **state)
{
    struct place place;
    struct fake_cluster cluster;
    struct watched watched = {0};
    char id[REEL_FILE_SIZE];
    (void)state;
    for (int legacy = 0; legacy < 4; legacy++) {
        memset(&place, 0, sizeof(place));
        place_make(&place);
        place.pieces = legacy < 2 ? 0 : 4;
        fake_cluster_start(&cluster, 1);
        atomic_store(&cluster.storages[0].legacy, legacy % 2 == 1);
        place.reel = place_reel(cluster.tracker.peer.address);
        assert_int_equal(upload_it(&place, -1, &watched, NULL, id), REEL_E_NONE);
        assert_int_equal(cluster.group.files[0].size, SIZE);
        assert_memory_equal(cluster.group.files[0].bytes, place.content, SIZE);
        assert_int_equal(access(place.state, F_OK), -1);
        place_clear(&place);
        fake_cluster_stop(&cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_goes_on_where_it_was),
        cmocka_unit_test(without_an_interruption_nothing_stays),
        cmocka_unit_test(a_file_that_changed_is_another_upload),
        cmocka_unit_test(a_change_that_only_the_digest_shows_is_found),
        cmocka_unit_test(a_state_that_means_nothing_is_replaced),
        cmocka_unit_test(one_upload_of_a_file_at_a_time),
        cmocka_unit_test(what_broke_off_is_asked_about),
        cmocka_unit_test(a_large_file_goes_in_pieces),
        cmocka_unit_test(every_piece_that_was_begun_goes_on),
        cmocka_unit_test(a_piece_that_is_gone_begins_anew),
        cmocka_unit_test(a_file_that_changes_while_it_goes_in_pieces_is_not_stored),
        cmocka_unit_test(an_upload_outlives_a_disk_that_takes_no_more),
        cmocka_unit_test(without_a_state_nothing_is_left_of_pieces),
        cmocka_unit_test(pieces_pass_over_a_server_that_is_away),
        cmocka_unit_test(pieces_that_are_not_the_file_are_replaced),
        cmocka_unit_test(a_fresh_upload_begins_anew_and_needs_no_state),
        cmocka_unit_test(a_state_that_is_no_file_of_ours_is_refused),
        cmocka_unit_test(an_upload_of_a_user_who_moved_begins_anew),
        cmocka_unit_test(servers_that_do_not_know_it_get_the_whole_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
