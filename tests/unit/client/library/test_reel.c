/*
 * libreel's blocking face against a scripted cluster: uploads and downloads of every kind, failures in the
 * middle, parts that are resumed, callbacks that give up, and a handle that many threads use at once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/reel.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/scripted_cluster.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LARGE 3000017

struct world {
    struct fake_cluster cluster;
    struct reel *reel;
    char directory[64];
    char path[128], part[160];
};

static uint8_t content[LARGE];

static void world_open_with(struct world *world, int storages, struct reel_options options)
{
    struct reel_error error;

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7 + (i >> 13));
    fake_cluster_start(&world->cluster, storages);
    options.trackers = world->cluster.tracker.peer.address;
    options.user = "user1";
    world->reel = reel_open(&options, &error);
    assert_non_null(world->reel);
    strcpy(world->directory, "/tmp/test_reel.XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    snprintf(world->path, sizeof(world->path), "%s/file.bin", world->directory);
    snprintf(world->part, sizeof(world->part), "%s.part", world->path);
}

static void world_open(struct world *world, int storages)
{
    world_open_with(world, storages, (struct reel_options){0});
}

static void world_close(struct world *world)
{
    reel_close(world->reel);
    fake_cluster_stop(&world->cluster);
    unlink(world->path);
    unlink(world->part);
    assert_int_equal(rmdir(world->directory), 0);
}

static struct fake_file *stored(struct world *world, const char *file_id)
{
    for (int i = 0; i < world->cluster.group.count; i++)
        if (strcmp(world->cluster.group.files[i].id, file_id) == 0)
            return &world->cluster.group.files[i];
    return NULL;
}

static void assert_stored(struct world *world, const char *file_id, const void *bytes, size_t size)
{
    struct fake_file *file = stored(world, file_id);

    assert_non_null(file);
    assert_int_equal(file->size, size);
    assert_memory_equal(file->bytes, bytes, size);
}

static void upload_content(struct world *world, const char *file_id, size_t size)
{
    struct reel_upload upload = {.file = file_id, .name = "clip.mp4"};
    struct reel_error error;

    assert_true(reel_upload_memory(world->reel, &upload, content, size, NULL, &error));
}

struct collected {
    uint8_t *bytes;
    size_t size, capacity, give_up_after;
    int calls;
};

static bool collect(void *argument, const void *bytes, size_t size)
{
    struct collected *collected = argument;

    collected->calls++;
    assert_true(size > 0 && collected->size + size <= collected->capacity);
    memcpy(collected->bytes + collected->size, bytes, size);
    collected->size += size;
    return collected->give_up_after == 0 || collected->size < collected->give_up_after;
}

/* ---- handles ---- */

static void a_handle_needs_trackers_that_can_be_read(void **state)
{
    struct reel_options none = {0}, bad = {.trackers = "::::"};
    struct reel_options application = {.trackers = "127.0.0.1:1", .application = "sixteen-characters"};
    struct reel_error error;

    (void)state;
    assert_null(reel_open(&none, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    assert_null(reel_open(&bad, &error));
    assert_null(reel_open(&application, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    assert_null(reel_open(&none, NULL));
    reel_close(NULL);
}

static void an_unreachable_tracker_is_an_error_of_the_call(void **state)
{
    struct reel_options options = {.user = "u"};
    struct reel_key key = {.file = "f"};
    struct reel_error error;
    struct reel *reel;
    char dead[32];
    int64_t size;

    (void)state;
    peer_dead_address(dead);
    options.trackers = dead;
    reel = reel_open(&options, &error);
    assert_non_null(reel);
    assert_false(reel_size(reel, &key, &size, &error));
    assert_int_equal(error.code, REEL_E_CONNECTION);
    assert_non_null(strstr(error.text, dead));
    assert_string_equal(reel_error_name(error.code), "connection");
    reel_close(reel);
}

static void a_key_without_a_user_or_file_is_refused_here(void **state)
{
    struct reel_options options = {.trackers = "127.0.0.1:1"};
    struct reel_key no_user = {.file = "f"}, no_file = {.user = "u"};
    struct reel_error error;
    struct reel *reel = reel_open(&options, &error);
    char long_name[300];
    struct reel_key long_file = {.user = "u", .file = long_name};

    (void)state;
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    assert_non_null(reel);
    assert_false(reel_delete(reel, &no_user, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    assert_non_null(strstr(error.text, "user"));
    assert_false(reel_delete(reel, &no_file, &error));
    assert_non_null(strstr(error.text, "file"));
    assert_false(reel_delete(reel, &long_file, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    reel_close(reel);
}

/* ---- uploads ---- */

static void memory_of_any_size_arrives_whole_with_its_digest(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 262143, 262144, 262145, 524288, 524289, LARGE};
    struct world world;

    (void)state;
    world_open(&world, 2);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char file_id[REEL_FILE_SIZE];
        struct reel_error error;

        assert_true(reel_upload_memory(world.reel, NULL, content, sizes[i], file_id, &error));
        assert_int_equal(strlen(file_id), 36);
        assert_stored(&world, file_id, content, sizes[i]);
        assert_true(stored(&world, file_id)->has_digest);
    }
    world_close(&world);
}

static void a_path_arrives_with_its_name(void **state)
{
    struct reel_upload typed = {.content_type = "video/mp4", .name = "\xc3\xa4 b.mp4", .user = "other"};
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    write_file(world.path, content, LARGE);
    assert_true(reel_upload_path(world.reel, NULL, world.path, file_id, &error));
    assert_stored(&world, file_id, content, LARGE);
    assert_string_equal(stored(&world, file_id)->name, "file.bin");
    assert_string_equal(stored(&world, file_id)->user, "user1");
    assert_string_equal(stored(&world, file_id)->application, "tnvideo");
    assert_string_equal(stored(&world, file_id)->type, "");
    assert_true(reel_upload_path(world.reel, &typed, world.path, file_id, &error));
    assert_string_equal(stored(&world, file_id)->name, "\xc3\xa4 b.mp4");
    assert_string_equal(stored(&world, file_id)->type, "video/mp4");
    assert_string_equal(stored(&world, file_id)->user, "other");
    assert_false(reel_upload_path(world.reel, NULL, "/no/such/file", file_id, &error));
    assert_int_equal(error.code, REEL_E_IO);
    assert_non_null(strstr(error.text, "/no/such/file"));
    assert_false(reel_upload_path(world.reel, NULL, world.directory, file_id, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    world_close(&world);
}

static void a_descriptor_is_read_from_its_position_for_so_many_bytes(void **state)
{
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;
    int fd;

    (void)state;
    world_open(&world, 1);
    write_file(world.path, content, LARGE);
    fd = open(world.path, O_RDONLY);
    assert_int_equal(lseek(fd, 1000, SEEK_SET), 1000);
    assert_true(reel_upload_fd(world.reel, NULL, fd, 500000, file_id, &error));
    assert_stored(&world, file_id, content + 1000, 500000);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 1000);
    assert_true(reel_upload_fd(world.reel, NULL, fd, -1, file_id, &error));
    assert_stored(&world, file_id, content + 1000, LARGE - 1000);
    assert_false(reel_upload_fd(world.reel, NULL, fd, LARGE, file_id, &error));
    assert_int_equal(error.code, REEL_E_IO);
    assert_null(stored(&world, file_id));
    close(fd);
    world_close(&world);
}

static void *write_to_pipe(void *argument)
{
    int fd = *(int *)argument;

    for (size_t at = 0; at < LARGE;) {
        ssize_t written = write(fd, content + at, at + 10000 < LARGE ? 10000 : LARGE - at);

        peer_must(written > 0, "write");
        at += (size_t)written;
    }
    close(fd);
    return NULL;
}

static void a_pipe_is_read_to_its_end_and_can_be_sent_again(void **state)
{
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;
    pthread_t writer;
    int pipes[2];

    (void)state;
    world_open(&world, 1);
    atomic_store(&world.cluster.storages[0].cut_uploads, 1);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_to_pipe, &pipes[1]), 0);
    assert_true(reel_upload_fd(world.reel, NULL, pipes[0], -1, file_id, &error));
    assert_int_equal(pthread_join(writer, NULL), 0);
    close(pipes[0]);
    assert_stored(&world, file_id, content, LARGE);
    world_close(&world);
}

static void a_pipe_that_gives_less_than_was_promised_is_an_error(void **state)
{
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;
    int pipes[2];

    (void)state;
    world_open(&world, 1);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "abc", 3), 3);
    close(pipes[1]);
    assert_false(reel_upload_fd(world.reel, NULL, pipes[0], 4, file_id, &error));
    assert_int_equal(error.code, REEL_E_IO);
    close(pipes[0]);
    assert_int_equal(fake_requests(&world.cluster, 77), 0);
    world_close(&world);
}

static void an_upload_survives_servers_that_break_off(void **state)
{
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 3);
    atomic_store(&world.cluster.storages[0].cut_uploads, 2);
    atomic_store(&world.cluster.storages[1].lose_replies, 1);
    write_file(world.path, content, LARGE);
    assert_true(reel_upload_path(world.reel, NULL, world.path, file_id, &error));
    assert_stored(&world, file_id, content, LARGE);
    assert_int_equal(world.cluster.group.count, 1);
    world_close(&world);
}

static void the_same_id_stores_once_and_other_bytes_are_refused(void **state)
{
    struct reel_upload upload = {.file = "chosen"};
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    for (int i = 0; i < 2; i++) {
        assert_true(reel_upload_memory(world.reel, &upload, content, 1000, file_id, &error));
        assert_string_equal(file_id, "chosen");
    }
    assert_false(reel_upload_memory(world.reel, &upload, content, 1001, file_id, &error));
    assert_int_equal(error.code, REEL_E_EXISTS);
    assert_stored(&world, "chosen", content, 1000);
    world_close(&world);
}

struct progress {
    int64_t last, total;
    int calls;
    int64_t give_up_at; /* -1: never */
};

static bool note_progress(void *argument, int64_t done, int64_t total)
{
    struct progress *progress = argument;

    progress->calls++;
    progress->last = done;
    progress->total = total;
    return progress->give_up_at < 0 || done < progress->give_up_at;
}

static void progress_is_reported_to_the_end(void **state)
{
    static const size_t sizes[] = {0, 1, LARGE};
    struct world world;

    (void)state;
    world_open(&world, 1);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct progress up = {.give_up_at = -1}, down = {.give_up_at = -1};
        struct reel_upload upload = {.progress = note_progress, .argument = &up};
        struct reel_download download = {.progress = note_progress, .argument = &down};
        char file_id[REEL_FILE_SIZE];
        struct reel_error error;

        assert_true(reel_upload_memory(world.reel, &upload, content, sizes[i], file_id, &error));
        assert_true(up.calls >= 1);
        assert_int_equal(up.last, sizes[i]);
        assert_int_equal(up.total, sizes[i]);
        download.key.file = file_id;
        assert_true(reel_download_path(world.reel, &download, world.path, &error));
        assert_true(down.calls >= 1);
        assert_int_equal(down.last, sizes[i]);
        assert_int_equal(down.total, sizes[i]);
    }
    world_close(&world);
}

static void a_caller_may_give_up_an_upload(void **state)
{
    static const int64_t points[] = {0, 1, LARGE / 2};
    struct world world;

    (void)state;
    world_open(&world, 1);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        struct progress progress = {.give_up_at = points[i]};
        struct reel_upload upload = {.progress = note_progress, .argument = &progress};
        char file_id[REEL_FILE_SIZE];
        struct reel_error error;

        assert_false(reel_upload_memory(world.reel, &upload, content, LARGE, file_id, &error));
        assert_int_equal(error.code, REEL_E_CANCELLED);
        assert_null(stored(&world, file_id));
    }
    upload_content(&world, "after", 1000); /* the handle goes on */
    world_close(&world);
}

static void an_upload_to_a_silent_server_ends(void **state)
{
    struct reel_options options = {.call_timeout_ms = 100, .progress_timeout_ms = 100, .tries = 1};
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    char text[64];

    (void)state;
    world_open_with(&world, 1, options);
    assert_int_equal(bind(silent, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(silent, 8), 0); /* connections are made, nobody reads */
    assert_int_equal(getsockname(silent, (struct sockaddr *)&address, &size), 0);
    snprintf(text, sizeof(text), "127.0.0.1:%u;", ntohs(address.sin_port));
    fake_tracker_point(&world.cluster.tracker, text);
    assert_false(reel_upload_memory(world.reel, NULL, content, LARGE, file_id, &error));
    assert_int_equal(error.code, REEL_E_TIMEOUT);
    close(silent);
    world_close(&world);
}

/* ---- downloads ---- */

static void any_part_of_a_file_comes_back(void **state)
{
    static const struct {
        int64_t offset, size;
    } parts[] = {{0, 0}, {0, 1}, {1, 0}, {LARGE - 1, 1}, {LARGE, 0}, {1000000, 1000000}};
    struct world world;

    (void)state;
    world_open(&world, 2);
    upload_content(&world, "f", LARGE);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int64_t expected = parts[i].size > 0 ? parts[i].size : LARGE - parts[i].offset;
        struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE};
        struct reel_download download = {.key.file = "f", .offset = parts[i].offset, .size = parts[i].size};
        struct reel_error error;

        assert_true(reel_download_callback(world.reel, &download, collect, &collected, &error));
        assert_int_equal(collected.size, expected);
        assert_memory_equal(collected.bytes, content + parts[i].offset, collected.size);
        free(collected.bytes);
    }
    world_close(&world);
}

static void a_part_outside_of_the_file_is_refused(void **state)
{
    struct reel_download beyond = {.key.file = "f", .offset = 101},
                         more = {.key.file = "f", .offset = 50, .size = 51};
    struct reel_download negative = {.key.file = "f", .offset = -1}, missing = {.key.file = "g"};
    struct collected collected = {0};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", 100);
    assert_false(reel_download_callback(world.reel, &beyond, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_RANGE);
    assert_false(reel_download_callback(world.reel, &more, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_RANGE);
    assert_false(reel_download_callback(world.reel, &negative, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_RANGE);
    assert_false(reel_download_callback(world.reel, &missing, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_NOT_FOUND);
    assert_int_equal(collected.calls, 0);
    world_close(&world);
}

static void a_download_goes_on_at_the_next_byte_elsewhere(void **state)
{
    struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE};
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 3);
    upload_content(&world, "f", LARGE);
    for (int i = 0; i < 3; i++)
        atomic_store(&world.cluster.storages[i].cut_downloads, 1);
    assert_true(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(collected.size, LARGE);
    assert_memory_equal(collected.bytes, content, LARGE);
    assert_true(fake_requests(&world.cluster, 72) >= 3);
    free(collected.bytes);
    world_close(&world);
}

static void a_download_never_goes_on_with_another_content(void **state)
{
    struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE};
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 2);
    upload_content(&world, "f", LARGE);
    for (int i = 0; i < 2; i++) {
        atomic_store(&world.cluster.storages[i].cut_downloads, 1);
        atomic_store(&world.cluster.storages[i].replaces, true);
        atomic_store(&world.cluster.storages[i].reads, i); /* the second server has the new file already */
    }
    assert_false(reel_download_callback(world.reel, &download, collect, &collected, &error));
    if (error.code != REEL_E_DIGEST)
        fail_msg("%d: %s", error.code, error.text);
    assert_true(collected.size < LARGE);
    assert_memory_equal(collected.bytes, content, collected.size);
    free(collected.bytes);
    world_close(&world);
}

static void a_server_that_does_not_know_read_is_asked_to_download(void **state)
{
    struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE};
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    atomic_store(&world.cluster.storages[0].no_read, true);
    assert_true(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(collected.size, LARGE);
    /* It is none of the predecessor's because of that: it is still asked for all that a row says. */
    collected.size = 0;
    assert_true(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(fake_requests(&world.cluster, 71), 0);
    free(collected.bytes);
    world_close(&world);
}

static void a_download_that_breaks_off_for_ever_ends(void **state)
{
    struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE};
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open_with(&world, 1, (struct reel_options){.tries = 3});
    upload_content(&world, "f", 100000);
    atomic_store(&world.cluster.storages[0].cut_downloads, 1000);
    assert_false(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_CONNECTION);
    assert_non_null(strstr(error.text, world.cluster.storages[0].peer.address));
    assert_int_equal(fake_requests(&world.cluster, 72), 3);
    free(collected.bytes);
    world_close(&world);
}

static void a_caller_may_give_up_a_download(void **state)
{
    struct collected collected = {.bytes = malloc(LARGE), .capacity = LARGE, .give_up_after = 1};
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    assert_false(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_CANCELLED);
    assert_int_equal(collected.calls, 1);
    free(collected.bytes);
    world_close(&world);
}

static void wrong_bytes_are_noticed_where_asked(void **state)
{
    struct collected collected = {.bytes = malloc(2 * LARGE), .capacity = 2 * LARGE};
    struct reel_download download = {.key.file = "f", .verify = true};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    assert_true(reel_download_callback(world.reel, &download, collect, &collected, &error));
    atomic_store(&world.cluster.storages[0].corrupt, true);
    assert_false(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_DIGEST);
    download.offset = 1;
    assert_false(reel_download_callback(world.reel, &download, collect, &collected, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
    free(collected.bytes);
    world_close(&world);
}

static void a_path_gets_the_whole_file_or_nothing(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;
    int64_t before;

    (void)state;
    world_open_with(&world, 1, (struct reel_options){.tries = 2});
    upload_content(&world, "f", LARGE);
    assert_false(reel_download_path(world.reel, &download, "/no/such/directory/f", &error));
    assert_int_equal(error.code, REEL_E_IO); /* not that there is no such file */
    write_file(world.path, "old", 3);
    before = fake_requests(&world.cluster, 72);
    atomic_store(&world.cluster.storages[0].cut_downloads, 1000);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_true(fake_requests(&world.cluster, 72) > before);
    assert_file_is(world.path, "old", 3);
    atomic_store(&world.cluster.storages[0].cut_downloads, 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, LARGE);
    assert_int_equal(access(world.part, F_OK), -1);
    atomic_store(&world.cluster.storages[0].corrupt, true);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_DIGEST);
    assert_file_is(world.path, content, LARGE);
    assert_int_equal(access(world.part, F_OK), -1);
    world_close(&world);
}

static void a_partial_download_is_continued_and_compared(void **state)
{
    struct reel_download download = {.key.file = "f", .resume = true};
    struct reel_error error;
    struct world world;
    int requests;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    write_file(world.part, content, 1000000);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, LARGE);
    /* Complete: nothing is asked for again. */
    requests = fake_requests(&world.cluster, 72);
    assert_int_equal(requests, 1);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(fake_requests(&world.cluster, 72), requests);
    /* All bytes there, only the name is missing. */
    assert_int_equal(rename(world.path, world.part), 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(fake_requests(&world.cluster, 72), requests);
    assert_file_is(world.path, content, LARGE);
    /* Of another file. */
    assert_int_equal(unlink(world.path), 0);
    write_file(world.part, "something else", 14);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_DIGEST);
    assert_int_equal(access(world.path, F_OK), -1);
    assert_int_equal(access(world.part, F_OK), -1);
    /* Longer than the file. */
    upload_content(&world, "small", 10);
    download.key.file = "small";
    write_file(world.part, content, 11);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_RANGE);
    world_close(&world);
}

static void a_path_that_is_cut_short_is_continued_and_stays_until_the_whole_is_right(void **state)
{
    struct reel_download download = {.key.file = "f", .resume = true};
    struct stat stat_of_part;
    struct reel_error error;
    struct world world;

    (void)state;
    world_open_with(&world, 1, (struct reel_options){.tries = 2});
    upload_content(&world, "f", LARGE);
    write_file(world.path, content, 1000000);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, LARGE);
    assert_int_equal(atomic_load(&world.cluster.storages[0].last_offset), 1000000);
    assert_int_equal(access(world.part, F_OK), -1);
    /* An empty file is a beginning too. */
    write_file(world.path, "", 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, LARGE);
    /* Broken off: the part has PATH's bytes and those that came, and is gone on with. */
    write_file(world.path, content, 1000);
    atomic_store(&world.cluster.storages[0].cut_downloads, 1000);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, 1000);
    assert_int_equal(stat(world.part, &stat_of_part), 0);
    assert_true(stat_of_part.st_size > 1000 && stat_of_part.st_size < LARGE);
    atomic_store(&world.cluster.storages[0].cut_downloads, 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, LARGE);
    world_close(&world);
}

static void what_is_no_beginning_of_the_file_is_left_as_it_is(void **state)
{
    struct reel_download download = {.key.file = "f", .resume = true};
    struct reel_error error;
    struct world world;
    int requests;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", 1000);
    /* Shorter: the digest shows it. */
    write_file(world.path, "something else", 14);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_DIGEST);
    assert_file_is(world.path, "something else", 14);
    assert_int_equal(access(world.part, F_OK), -1);
    /* As long, and longer: nothing is asked for. */
    requests = fake_requests(&world.cluster, 72);
    write_file(world.path, content + 1, 1000);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_DIGEST);
    assert_file_is(world.path, content + 1, 1000);
    write_file(world.path, content, 1001);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_RANGE);
    assert_file_is(world.path, content, 1001);
    assert_int_equal(access(world.part, F_OK), -1);
    /* Nothing to compare with. */
    pthread_mutex_lock(&world.cluster.group.mutex);
    stored(&world, "f")->has_digest = false;
    pthread_mutex_unlock(&world.cluster.group.mutex);
    write_file(world.path, content, 10);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_UNAVAILABLE);
    assert_file_is(world.path, content, 10);
    assert_int_equal(access(world.part, F_OK), -1);
    assert_int_equal(fake_requests(&world.cluster, 72), requests);
    /* Without RESUME it is replaced. */
    download.resume = false;
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_file_is(world.path, content, 1000);
    world_close(&world);
}

static void two_downloads_never_write_to_one_partial_file(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;
    int other;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", 1000);
    other = open(world.part, O_RDWR | O_CREAT, 0600); /* an open file of its own, as another process has */
    assert_int_equal(flock(other, LOCK_EX), 0);
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_UNAVAILABLE);
    close(other);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    world_close(&world);
}

static char flock_from[400],
    flock_to[400]; /* what happens between somebody's open() and flock(); "": nothing */

/* In place of the C library's. */
int flock(int fd, int operation)
{
    if (flock_from[0] != '\0')
        assert_int_equal(rename(flock_from, flock_to), 0);
    flock_from[0] = '\0';
    return (int)syscall(SYS_flock, fd, operation);
}

/* The first download renames its PATH.part, which is whole, to PATH, while the second one has it open already. */
static void a_download_that_has_just_ended_is_not_written_to(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    for (int resume = 0; resume < 2; resume++) {
        world_open(&world, 1);
        upload_content(&world, "f", 1000);
        write_text(world.part, "what the first one has saved");
        snprintf(flock_from, sizeof(flock_from), "%s", world.part);
        snprintf(flock_to, sizeof(flock_to), "%s.saved", world.path);
        download.resume = resume == 1;
        assert_true(reel_download_path(world.reel, &download, world.path, &error));
        assert_string_equal(flock_from, "");
        assert_file_is(world.path, content, 1000);
        assert_file_is(flock_to, "what the first one has saved", strlen("what the first one has saved"));
        assert_int_equal(unlink(flock_to), 0);
        world_close(&world);
    }
}

static void a_device_is_written_to_directly(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    assert_true(reel_download_path(world.reel, &download, "/dev/null", &error));
    assert_false(reel_download_path(world.reel, &download, "/dev/full", &error));
    assert_int_equal(error.code, REEL_E_NO_SPACE);
    assert_int_equal(access("/dev/null.part", F_OK), -1);
    world_close(&world);
}

/* ---- the rest ---- */

static bool count_files(void *argument, const struct reel_file *file)
{
    int *left = argument;

    assert_true(file->size >= 0);
    return --*left > 0;
}

static void a_file_is_described_deleted_restored_and_listed(void **state)
{
    struct reel_key key = {.file = "b"}, missing = {.file = "missing"}, after = {.file = "a"}, all = {0};
    struct reel_error error;
    struct reel_file file;
    struct world world;
    int64_t size;
    int left;

    (void)state;
    world_open(&world, 2);
    upload_content(&world, "a", 1);
    upload_content(&world, "b", 2);
    upload_content(&world, "c", 3);
    assert_true(reel_size(world.reel, &key, &size, &error));
    assert_int_equal(size, 2);
    assert_true(reel_stat(world.reel, &key, &file, &error));
    assert_string_equal(file.file, "b");
    assert_string_equal(file.name, "clip.mp4");
    assert_string_equal(file.group, "group001");
    assert_int_equal(strlen(file.digest), 32);
    assert_false(file.deleted);
    assert_true(reel_delete(world.reel, &key, &error));
    assert_true(reel_stat(world.reel, &key, &file, &error));
    assert_true(file.deleted);
    assert_false(reel_size(world.reel, &key, &size, &error));
    assert_int_equal(error.code, REEL_E_DELETED);
    left = 10;
    assert_true(reel_list(world.reel, &all, true, count_files, &left, &error));
    assert_int_equal(left, 9);
    assert_true(reel_restore(world.reel, &key, &error));
    left = 10;
    assert_true(reel_list(world.reel, &all, false, count_files, &left, &error));
    assert_int_equal(left, 7);
    left = 10;
    assert_true(reel_list(world.reel, &after, false, count_files, &left, &error));
    assert_int_equal(left, 8);
    left = 1;
    assert_true(reel_list(world.reel, &all, false, count_files, &left, &error));
    assert_int_equal(left, 0);
    assert_false(reel_delete(world.reel, &missing, &error));
    assert_int_equal(error.code, REEL_E_NOT_FOUND);
    world_close(&world);
}

static void the_servers_texts_are_the_caller_s(void **state)
{
    struct reel_error error;
    struct world world;
    char *text;

    (void)state;
    world_open(&world, 1);
    text = reel_groups(world.reel, &error);
    assert_non_null(text);
    assert_non_null(strstr(text, "COUNT OF GROUPS: 1"));
    reel_free(text);
    text = reel_status(world.reel, &error);
    assert_string_equal(text, "{\"groups\":[]}");
    reel_free(text);
    atomic_store(&world.cluster.tracker.legacy, true);
    assert_null(reel_status(world.reel, &error));
    assert_int_equal(error.code, REEL_E_GENERAL);
    world_close(&world);
}

static void a_link_is_percent_encoded(void **state)
{
    struct reel_key key = {.application = "tnvideo", .user = "a/b?c#d e%", .file = "5f9e-3.f_a~7"};
    struct reel_key nobody = {.file = "f"};
    struct reel_error error;
    char *url;

    (void)state;
    url = reel_url(NULL, &key, "http://media1:8080//", "\xc3\xa4+.mp4", &error);
    assert_string_equal(url,
                        "http://media1:8080/files/tnvideo/a%2Fb%3Fc%23d%20e%25/5f9e-3.f_a~7/%C3%A4%2B.mp4");
    reel_free(url);
    url = reel_url(NULL, &key, "http://m", "", &error);
    assert_string_equal(url, "http://m/files/tnvideo/a%2Fb%3Fc%23d%20e%25/5f9e-3.f_a~7");
    reel_free(url);
    assert_null(reel_url(NULL, &nobody, "http://m", NULL, &error));
    assert_null(reel_url(NULL, &key, "", NULL, &error));
    assert_int_equal(error.code, REEL_E_MALFORMED);
}

/* ---- threads ---- */

#define THREADS 8
#define ROUNDS  5

struct busy {
    struct world *world;
    int number;
};

static void *be_busy(void *argument)
{
    struct busy *busy = argument;
    struct reel *reel = busy->world->reel;
    uint8_t *room = malloc(LARGE);

    peer_must(room != NULL, "malloc");
    for (int round = 0; round < ROUNDS; round++) {
        size_t size = (size_t)(busy->number * 100003 + round * 50021);
        struct collected collected = {.bytes = room, .capacity = LARGE};
        struct reel_download download = {.verify = true};
        char file_id[REEL_FILE_SIZE];
        struct reel_error error = {0};
        int64_t there;

        if (!reel_upload_memory(reel, NULL, content, size, file_id, &error))
            peer_must(false, error.text);
        download.key.file = file_id;
        if (!reel_size(reel, &download.key, &there, &error) || there != (int64_t)size)
            peer_must(false, error.text);
        if (!reel_download_callback(reel, &download, collect, &collected, &error))
            peer_must(false, error.text);
        peer_must(collected.size == size && memcmp(room, content, size) == 0, "other bytes");
        if (!reel_delete(reel, &download.key, &error))
            peer_must(false, error.text);
    }
    free(room);
    return NULL;
}

static void a_handle_serves_many_threads_at_once(void **state)
{
    struct busy busy[THREADS];
    pthread_t threads[THREADS];
    struct world world;

    (void)state;
    world_open_with(&world, 2, (struct reel_options){.connections = 3});
    atomic_store(&world.cluster.storages[0].cut_uploads, 3);
    atomic_store(&world.cluster.storages[1].cut_downloads, 3);
    for (int i = 0; i < THREADS; i++) {
        busy[i] = (struct busy){&world, i};
        assert_int_equal(pthread_create(&threads[i], NULL, be_busy, &busy[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(world.cluster.group.count, THREADS * ROUNDS);
    world_close(&world);
}

struct blocking {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool inside, go_on;
};

static bool block(void *argument, const void *bytes, size_t size)
{
    struct blocking *blocking = argument;

    (void)bytes;
    (void)size;
    pthread_mutex_lock(&blocking->mutex);
    blocking->inside = true;
    pthread_cond_broadcast(&blocking->changed);
    while (!blocking->go_on)
        pthread_cond_wait(&blocking->changed, &blocking->mutex);
    pthread_mutex_unlock(&blocking->mutex);
    return true;
}

struct slow {
    struct world *world;
    struct blocking *blocking;
    bool fine;
};

static void *download_slowly(void *argument)
{
    struct slow *slow = argument;
    struct reel_download download = {.key.file = "f"};

    slow->fine = reel_download_callback(slow->world->reel, &download, block, slow->blocking, NULL);
    return NULL;
}

static void a_slow_callback_holds_up_nobody_else(void **state)
{
    struct blocking blocking = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct world world;
    struct slow slow = {&world, &blocking, false};
    pthread_t thread;

    (void)state;
    world_open(&world, 1);
    upload_content(&world, "f", LARGE);
    assert_int_equal(pthread_create(&thread, NULL, download_slowly, &slow), 0);
    pthread_mutex_lock(&blocking.mutex);
    while (!blocking.inside)
        pthread_cond_wait(&blocking.changed, &blocking.mutex);
    pthread_mutex_unlock(&blocking.mutex);
    for (int i = 0; i < 5; i++) {
        char file_id[32];

        snprintf(file_id, sizeof(file_id), "other%d", i);
        upload_content(&world, file_id, LARGE);
    }
    pthread_mutex_lock(&blocking.mutex);
    blocking.go_on = true;
    pthread_cond_broadcast(&blocking.changed);
    pthread_mutex_unlock(&blocking.mutex);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(slow.fine);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_needs_trackers_that_can_be_read),
        cmocka_unit_test(an_unreachable_tracker_is_an_error_of_the_call),
        cmocka_unit_test(a_key_without_a_user_or_file_is_refused_here),
        cmocka_unit_test(memory_of_any_size_arrives_whole_with_its_digest),
        cmocka_unit_test(a_path_arrives_with_its_name),
        cmocka_unit_test(a_descriptor_is_read_from_its_position_for_so_many_bytes),
        cmocka_unit_test(a_pipe_is_read_to_its_end_and_can_be_sent_again),
        cmocka_unit_test(a_pipe_that_gives_less_than_was_promised_is_an_error),
        cmocka_unit_test(an_upload_survives_servers_that_break_off),
        cmocka_unit_test(the_same_id_stores_once_and_other_bytes_are_refused),
        cmocka_unit_test(progress_is_reported_to_the_end),
        cmocka_unit_test(a_caller_may_give_up_an_upload),
        cmocka_unit_test(an_upload_to_a_silent_server_ends),
        cmocka_unit_test(any_part_of_a_file_comes_back),
        cmocka_unit_test(a_part_outside_of_the_file_is_refused),
        cmocka_unit_test(a_download_goes_on_at_the_next_byte_elsewhere),
        cmocka_unit_test(a_download_never_goes_on_with_another_content),
        cmocka_unit_test(a_server_that_does_not_know_read_is_asked_to_download),
        cmocka_unit_test(a_download_that_breaks_off_for_ever_ends),
        cmocka_unit_test(a_caller_may_give_up_a_download),
        cmocka_unit_test(wrong_bytes_are_noticed_where_asked),
        cmocka_unit_test(a_path_gets_the_whole_file_or_nothing),
        cmocka_unit_test(a_partial_download_is_continued_and_compared),
        cmocka_unit_test(a_path_that_is_cut_short_is_continued_and_stays_until_the_whole_is_right),
        cmocka_unit_test(what_is_no_beginning_of_the_file_is_left_as_it_is),
        cmocka_unit_test(two_downloads_never_write_to_one_partial_file),
        cmocka_unit_test(a_download_that_has_just_ended_is_not_written_to),
        cmocka_unit_test(a_device_is_written_to_directly),
        cmocka_unit_test(a_file_is_described_deleted_restored_and_listed),
        cmocka_unit_test(the_servers_texts_are_the_caller_s),
        cmocka_unit_test(a_link_is_percent_encoded),
        cmocka_unit_test(a_handle_serves_many_threads_at_once),
        cmocka_unit_test(a_slow_callback_holds_up_nobody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
