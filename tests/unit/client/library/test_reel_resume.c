/*
 * Uploads that are gone on with (reel_upload.state), with a storage server of the real rooms behind a scripted tracker; and with
 * servers that do not know them.
 */
#include "tests/unit/library/partial_client.h"
#include "tests/unit/library/scripted_cluster.h"

#include "client/reel.h"

#include <sys/file.h>

#define SIZE 3000000

struct place {
    struct world world;
    struct fake_tracker tracker;
    struct reel *reel;
    char directory[64], path[128], state[128];
    uint8_t *content;
};

static void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(close(fd), 0);
}

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
    bool prepared;
};

static bool on_progress(void *argument, int64_t done, int64_t total)
{
    struct watched *watched = argument;
    assert_int_equal(total, SIZE);
    if (watched->first < 0)
        watched->first = done;
    watched->last = done;
    return watched->stop_at < 0 || done < watched->stop_at;
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
                                 .progress = on_progress,
                                 .preparing = on_preparing,
                                 .argument = watched};
    struct reel_error error = {0};
    *watched = (struct watched){.stop_at = stop_at, .first = -1};
    bool fine = reel_upload_path(place->reel, &upload, place->path, id, &error);
    if (!fine)
        print_message("%s\n", error.text);
    return fine ? REEL_E_NONE : error.code;
}

static bool recorded(void *argument)
{
    struct place *place = argument;
    sqlite3_stmt *statement;
    bool found;
    assert_int_equal(sqlite3_prepare_v2(place->world.beside, "SELECT 1 FROM t_partial WHERE synced > 500000",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    found = sqlite3_step(statement) == SQLITE_ROW;
    sqlite3_finalize(statement);
    return found;
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
    struct watched watched;
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
    struct watched watched;
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
    struct watched watched;
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

/* The same times and size, other bytes: only the digest tells, and then nothing is stored. */
static void a_change_that_only_the_digest_tells_is_found(void **state)
{
    struct place place;
    struct watched watched;
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
    struct watched watched;
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
    struct watched watched;
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
    struct watched watched;
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

static void servers_that_do_not_know_it_get_the_whole_file(void **state)
{
    struct place place;
    struct fake_cluster cluster;
    struct watched watched;
    char id[REEL_FILE_SIZE];
    (void)state;
    for (int legacy = 0; legacy < 2; legacy++) {
        memset(&place, 0, sizeof(place));
        place_make(&place);
        fake_cluster_start(&cluster, 1);
        atomic_store(&cluster.storages[0].legacy, legacy == 1);
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
        cmocka_unit_test(a_change_that_only_the_digest_tells_is_found),
        cmocka_unit_test(a_state_that_means_nothing_is_replaced),
        cmocka_unit_test(one_upload_of_a_file_at_a_time),
        cmocka_unit_test(what_broke_off_is_asked_about),
        cmocka_unit_test(servers_that_do_not_know_it_get_the_whole_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
