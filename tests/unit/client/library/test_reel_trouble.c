/*
 * libreel in trouble: sources that change while they are read, servers too old for a digest at the end, calls
 * that are cancelled or made after fork(), names and links that a download must not follow, and what is said
 * meanwhile.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/reel.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/scripted_cluster.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define LARGE 3000017

struct world {
    struct fake_cluster cluster;
    struct reel *reel;
    char directory[64], path[400], part[408];
    char said[4096]; /* every remark, each with a newline */
};

static uint8_t content[LARGE];

static void keep_remark(void *argument, const char *text)
{
    struct world *world = argument;
    size_t used = strlen(world->said);

    snprintf(world->said + used, sizeof(world->said) - used, "%s\n", text);
}

static void world_open(struct world *world, int storages, struct reel_options options)
{
    struct reel_error error;

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7 + (i >> 13));
    memset(world, 0, sizeof(*world));
    fake_cluster_start(&world->cluster, storages);
    options.trackers = world->cluster.tracker.peer.address;
    options.user = "user1";
    options.remark = keep_remark;
    options.remark_argument = world;
    world->reel = reel_open(&options, &error);
    assert_non_null(world->reel);
    strcpy(world->directory, "/tmp/test_trouble.XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    snprintf(world->path, sizeof(world->path), "%s/file.bin", world->directory);
    snprintf(world->part, sizeof(world->part), "%s.part", world->path);
}

static void world_close(struct world *world)
{
    reel_close(world->reel);
    fake_cluster_stop(&world->cluster);
    unlink(world->path);
    unlink(world->part);
    assert_int_equal(rmdir(world->directory), 0);
}

static size_t size_of(const char *path)
{
    struct stat stat_of_path;

    return stat(path, &stat_of_path) == 0 ? (size_t)stat_of_path.st_size : (size_t)-1;
}

static void store(struct world *world, const char *file_id, size_t size)
{
    struct reel_upload upload = {.file = file_id, .name = "clip.mp4"};
    struct reel_error error;

    assert_true(reel_upload_memory(world->reel, &upload, content, size, NULL, &error));
}

static int requests(struct world *world, uint8_t command)
{
    return fake_requests(&world->cluster, command);
}

/* ---- the digest behind the content, and ahead of it ---- */

static void a_digest_follows_the_content_and_a_new_server_gets_it_once(void **state)
{
    struct reel_download download = {.key.file = "f", .verify = true};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 2, (struct reel_options){0});
    store(&world, "f", LARGE);
    assert_int_equal(requests(&world, 79), 1);
    assert_int_equal(requests(&world, 77), 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    /* Also where the first try broke off in the middle, and where there is nothing to digest. */
    atomic_store(&world.cluster.storages[0].cut_uploads, 1);
    atomic_store(&world.cluster.storages[1].cut_uploads, 1);
    store(&world, "g", LARGE);
    store(&world, "empty", 0);
    download.key.file = "g";
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    download.key.file = "empty";
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(size_of(world.path), 0);
    world_close(&world);
}

static bool count_prepared(void *argument, int64_t done, int64_t total)
{
    int64_t *last = argument;

    assert_true(total == LARGE || total == -1);
    *last = done;
    return true;
}

static void an_older_server_gets_the_digest_first_and_is_remembered(void **state)
{
    struct reel_download download = {.key.file = "f", .verify = true};
    int64_t prepared = 0;
    struct reel_upload upload = {
        .file = "f", .name = "n", .preparing = count_prepared, .argument = &prepared};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    atomic_store(&world.cluster.storages[0].no_trailer, true);
    assert_true(reel_upload_memory(world.reel, &upload, content, LARGE, NULL, &error));
    assert_int_equal(prepared, LARGE);
    store(&world, "g", 1000);
    assert_int_equal(requests(&world, 79), 1);
    assert_int_equal(requests(&world, 77), 2);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    world_close(&world);
}

static void a_legacy_server_is_still_uploaded_to(void **state)
{
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    atomic_store(&world.cluster.storages[0].legacy, true);
    store(&world, "f", 1000);
    store(&world, "g", 1000);
    assert_int_equal(requests(&world, 79), 1);
    assert_int_equal(requests(&world, 70), 2);
    world_close(&world);
}

/* ---- sources that change ---- */

struct change {
    const char *path;
    bool grow, done;
};

static bool change_file(void *argument, int64_t done, int64_t total)
{
    struct change *change = argument;
    struct timespec times[2];
    struct stat before;
    int fd;

    (void)done;
    (void)total;
    if (change->done)
        return true;
    change->done = true;
    assert_int_equal(stat(change->path, &before), 0);
    times[0] = times[1] = before.st_mtim;
    times[1].tv_nsec ^= 1; /* within the same second */
    if (change->grow) {
        fd = open(change->path, O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
    }
    assert_int_equal(utimensat(AT_FDCWD, change->path, times, 0), 0);
    return true;
}

static void a_file_that_changes_while_it_is_read_is_not_stored(void **state)
{
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    for (int grow = 0; grow < 2; grow++) {
        struct change change = {.path = world.path, .grow = grow == 1};
        struct reel_upload upload = {.progress = change_file, .argument = &change};

        write_file(world.path, content, LARGE);
        assert_false(reel_upload_path(world.reel, &upload, world.path, NULL, &error));
        assert_int_equal(error.code, REEL_E_IO);
        assert_non_null(strstr(error.text, grow ? "grew" : "written to"));
        assert_int_equal(world.cluster.group.count, 0);
    }
    world_close(&world);
}

static void a_file_whose_size_is_said_to_be_zero_is_read_on(void **state)
{
    char file_id[REEL_FILE_SIZE];
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    assert_int_equal(size_of("/proc/self/status"), 0);
    assert_true(reel_upload_path(world.reel, NULL, "/proc/self/status", file_id, &error));
    assert_true(world.cluster.group.files[0].size > 100);
    assert_string_equal(world.cluster.group.files[0].name, "status");
    world_close(&world);
}

static void a_local_failure_has_its_errno(void **state)
{
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    assert_false(reel_upload_path(world.reel, NULL, "/no/such/file", NULL, &error));
    assert_int_equal(error.code, REEL_E_IO);
    assert_int_equal(error.errnum, ENOENT);
    world_close(&world);
}

/* ---- cancelled, forked ---- */

static void *cancel_soon(void *argument)
{
    usleep(200000);
    reel_cancel(argument);
    return NULL;
}

/* Connections are made, nobody reads. */
static int silent_server(char address[64])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    snprintf(address, 64, "127.0.0.1:%u;", ntohs(name.sin_port));
    return fd;
}

static void a_cancelled_handle_ends_what_is_under_way_and_what_comes(void **state)
{
    struct reel_key key = {.file = "f"};
    struct reel_error error;
    struct world world;
    char address[64];
    pthread_t thread;
    int64_t size;

    for (int upload = 0; upload < 2; upload++) {
        int silent = silent_server(address);
        time_t begun = time(NULL);

        (void)state;
        world_open(&world, 1, (struct reel_options){.call_timeout_ms = 60000, .progress_timeout_ms = 60000});
        fake_tracker_point(&world.cluster.tracker, address);
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, world.reel), 0);
        if (upload)
            assert_false(reel_upload_memory(world.reel, NULL, content, LARGE, NULL, &error));
        else
            assert_false(reel_size(world.reel, &key, &size, &error));
        assert_int_equal(error.code, REEL_E_CANCELLED);
        assert_true(time(NULL) - begun < 30);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_false(reel_delete(world.reel, &key, &error));
        assert_int_equal(error.code, REEL_E_CANCELLED);
        close(silent);
        world_close(&world);
    }
}

static void a_child_process_is_told_to_open_its_own_handle(void **state)
{
    struct reel_key key = {.file = "f"};
    struct reel_error error;
    struct world world;
    int64_t size;
    int status;
    pid_t child;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    store(&world, "f", 10);
    child = fork();
    if (child == 0) {
        bool right = !reel_size(world.reel, &key, &size, &error) && error.code == REEL_E_MALFORMED &&
                     strstr(error.text, "fork") != NULL;

        reel_cancel(world.reel);
        reel_close(world.reel);
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(reel_size(world.reel, &key, &size, &error));
    world_close(&world);
}

static void forked_work(struct reel *reel, void *argument)
{
    (void)reel;
    (void)argument;
}

static void forked_done(void *argument)
{
    ++*(int *)argument;
}

/* Parent and child have one descriptor that says whether a call has ended. */
static void a_child_process_takes_no_ends_of_its_parent(void **state)
{
    struct reel_error error;
    struct world world;
    struct pollfd look;
    int status, done = 0;
    pid_t child;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    look = (struct pollfd){.fd = reel_async_fd(world.reel), .events = POLLIN};
    assert_true(reel_async(world.reel, forked_work, forked_done, &done, &error));
    assert_int_equal(poll(&look, 1, 20000), 1);
    child = fork();
    if (child == 0)
        _exit(reel_async_dispatch(world.reel) == 0 && done == 0 && reel_async_fd(world.reel) == -1 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(poll(&look, 1, 0), 1);
    assert_int_equal(reel_async_dispatch(world.reel), 1);
    assert_int_equal(done, 1);
    world_close(&world);
}

/* ---- what a download must not write to ---- */

static void links_at_the_partial_file_are_not_followed(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;
    char victim[400];

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    store(&world, "f", 1000);
    snprintf(victim, sizeof(victim), "%s/victim", world.directory);
    write_file(victim, "precious", 8);
    for (int hard = 0; hard < 2; hard++) {
        assert_int_equal(hard ? link(victim, world.part) : symlink(victim, world.part), 0);
        for (int resume = 0; resume < 2; resume++) {
            download.resume = resume == 1;
            assert_false(reel_download_path(world.reel, &download, world.path, &error));
            assert_int_equal(error.code, REEL_E_REFUSED);
            assert_int_equal(size_of(victim), 8);
        }
        assert_int_equal(unlink(world.part), 0);
    }
    /* A link at PATH itself is replaced, and what it points to stays. */
    download.resume = false;
    assert_int_equal(symlink(victim, world.path), 0);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(size_of(victim), 8);
    assert_int_equal(size_of(world.path), 1000);
    unlink(victim);
    world_close(&world);
}

static bool make_path(void *argument, int64_t done, int64_t total)
{
    struct world *world = argument;

    if (done == total)
        write_file(world->path, "mine", 4);
    return true;
}

static void an_exclusive_download_replaces_nothing(void **state)
{
    struct world world;
    struct reel_download download = {.key.file = "f", .exclusive = true};
    struct reel_error error;

    (void)state;
    world_open(&world, 1, (struct reel_options){0});
    store(&world, "f", 1000);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_EXISTS);
    unlink(world.path);
    assert_int_equal(symlink("/no/where", world.path), 0); /* a link to nothing is something too */
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_EXISTS);
    unlink(world.path);
    /* Somebody else was quicker. */
    download.progress = make_path;
    download.argument = &world;
    assert_false(reel_download_path(world.reel, &download, world.path, &error));
    assert_int_equal(error.code, REEL_E_EXISTS);
    assert_int_equal(size_of(world.path), 4);
    world_close(&world);
}

static void names_of_every_length_can_be_downloaded_and_resumed(void **state)
{
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 1, (struct reel_options){.tries = 2});
    store(&world, "f", LARGE);
    for (int length = 249; length <= 255; length++) {
        struct reel_download download = {.key.file = "f"};
        int at = snprintf(world.path, sizeof(world.path), "%s/", world.directory);

        /* Two-byte characters, so that some cut would fall into one. */
        for (int i = 0; i < length; i++)
            world.path[at + i] = length % 2 == i % 2 ? '\xa4' : '\xc3';
        world.path[at] = 'x';
        world.path[at + length] = '\0';
        atomic_store(&world.cluster.storages[0].cut_downloads, 1000);
        assert_false(reel_download_path(world.reel, &download, world.path, &error));
        atomic_store(&world.cluster.storages[0].cut_downloads, 0);
        download.resume = true;
        assert_true(reel_download_path(world.reel, &download, world.path, &error));
        assert_true(atomic_load(&world.cluster.storages[0].last_offset) >
                    0); /* the partial file was found again */
        assert_int_equal(size_of(world.path), LARGE);
        unlink(world.path);
    }
    world_close(&world);
}

/* ---- what is said ---- */

static void every_further_try_is_remarked(void **state)
{
    struct reel_download download = {.key.file = "f"};
    struct reel_error error;
    struct world world;

    (void)state;
    world_open(&world, 2, (struct reel_options){0});
    atomic_store(&world.cluster.storages[0].cut_uploads, 1);
    atomic_store(&world.cluster.storages[1].cut_uploads, 1);
    store(&world, "f", LARGE);
    assert_non_null(strstr(world.said, "trying"));
    assert_non_null(strstr(world.said, "127.0.0.1:"));
    world.said[0] = '\0';
    atomic_store(&world.cluster.storages[0].cut_downloads, 1);
    atomic_store(&world.cluster.storages[1].cut_downloads, 1);
    assert_true(reel_download_path(world.reel, &download, world.path, &error));
    assert_non_null(strstr(world.said, "continuing at byte"));
    world_close(&world);
}

static bool count_calls(void *argument, int64_t done, int64_t total)
{
    int *at_the_end = argument;

    *at_the_end += done == total;
    return true;
}

static void a_server_that_does_not_confirm_is_named_and_progress_goes_on(void **state)
{
    int at_the_end = 0;
    struct reel_upload upload = {.progress = count_calls, .argument = &at_the_end};
    struct reel_error error;
    struct world world;
    char address[64];
    int silent = silent_server(address);

    (void)state;
    world_open(&world, 1,
               (struct reel_options){.call_timeout_ms = 5000, .progress_timeout_ms = 5000, .tries = 1});
    fake_tracker_point(&world.cluster.tracker, address);
    assert_false(reel_upload_memory(world.reel, &upload, content, 1000, NULL, &error));
    assert_int_equal(error.code, REEL_E_TIMEOUT);
    assert_non_null(strstr(world.said, "waiting for the server to confirm"));
    assert_true(at_the_end >= 4);
    close(silent);
    world_close(&world);
}

static void a_file_id_of_the_caller_s_own_is_made(void **state)
{
    char first[REEL_FILE_ID_SIZE], second[REEL_FILE_ID_SIZE];
    struct reel_error error;

    (void)state;
    assert_true(reel_make_file_id("user1", first, &error));
    assert_true(reel_make_file_id(NULL, second, &error));
    assert_int_equal(strlen(first), REEL_FILE_ID_SIZE - 1);
    assert_int_equal(strspn(first, "0123456789abcdef"), REEL_FILE_ID_SIZE - 1);
    assert_string_not_equal(first, second);
}

/* ---- asynchronous calls ---- */

struct async_call {
    struct world *world;
    char id[32];
    size_t size;
    bool fine, restarted;
    struct reel_error error;
    pthread_t dispatcher;
    int *left;
};

static void async_round_trip(struct reel *reel, void *argument)
{
    struct async_call *call = argument;
    struct reel_upload upload = {.file = call->id, .name = "clip.mp4"};
    struct reel_key key = {.file = call->id};
    int64_t there = -1;

    call->fine = reel_upload_memory(reel, &upload, content, call->size, NULL, &call->error) &&
                 reel_size(reel, &key, &there, &call->error) && there == (int64_t)call->size;
}

static void async_ended(void *argument)
{
    struct async_call *call = argument;

    assert_true(pthread_equal(pthread_self(), call->dispatcher));
    --*call->left;
    if (call->restarted)
        return;
    call->restarted = true; /* an end may begin something new */
    strcat(call->id, "b");
    assert_true(reel_async(call->world->reel, async_round_trip, async_ended, call, NULL));
}

static void calls_end_in_the_loop_of_whoever_polls(void **state)
{
    struct async_call calls[12];
    struct world world;
    int left = 24;

    (void)state;
    world_open(&world, 2, (struct reel_options){.async_threads = 3});
    for (int i = 0; i < 12; i++) {
        calls[i] = (struct async_call){
            .world = &world, .size = (size_t)i * 70001, .dispatcher = pthread_self(), .left = &left};
        snprintf(calls[i].id, sizeof(calls[i].id), "call%d", i);
        assert_true(reel_async(world.reel, async_round_trip, async_ended, &calls[i], NULL));
    }
    while (left > 0) {
        struct pollfd ended = {.fd = reel_async_fd(world.reel), .events = POLLIN};

        assert_int_equal(poll(&ended, 1, 60000), 1);
        assert_true(reel_async_dispatch(world.reel) > 0);
    }
    assert_int_equal(reel_async_dispatch(world.reel), 0);
    for (int i = 0; i < 12; i++)
        assert_true(calls[i].fine);
    assert_int_equal(world.cluster.group.count, 24);
    world_close(&world);
}

struct event_world {
    struct event_base *base;
    struct reel *reel;
    int *left;
};

static void on_async_readable(evutil_socket_t fd, short what, void *argument)
{
    struct event_world *events = argument;

    (void)fd;
    (void)what;
    (void)reel_async_dispatch(events->reel);
    if (*events->left == 0)
        event_base_loopbreak(events->base);
}

static void calls_end_in_a_libevent_loop_too(void **state)
{
    struct world world;
    int left = 2;
    struct async_call call = {.world = &world, .id = "f", .size = 1000, .left = &left};
    struct event_world events = {.base = event_base_new(), .left = &left};
    struct event *readable;

    (void)state;
    call.dispatcher = pthread_self();
    world_open(&world, 1, (struct reel_options){0});
    events.reel = world.reel;
    readable =
        event_new(events.base, reel_async_fd(world.reel), EV_READ | EV_PERSIST, on_async_readable, &events);
    assert_int_equal(event_add(readable, NULL), 0);
    assert_true(reel_async(world.reel, async_round_trip, async_ended, &call, NULL));
    event_base_dispatch(events.base);
    assert_true(call.fine && left == 0);
    event_free(readable);
    event_base_free(events.base);
    world_close(&world);
}

static void closing_cancels_and_gives_out_every_end(void **state)
{
    struct async_call calls[6];
    struct world world;
    char address[64];
    int silent = silent_server(address), left = 6;

    (void)state;
    world_open(&world, 1, (struct reel_options){.call_timeout_ms = 60000, .progress_timeout_ms = 60000});
    fake_tracker_point(&world.cluster.tracker, address);
    for (int i = 0; i < 6; i++) {
        calls[i] = (struct async_call){
            .world = &world, .size = 1000, .restarted = true, .dispatcher = pthread_self(), .left = &left};
        snprintf(calls[i].id, sizeof(calls[i].id), "call%d", i);
        assert_true(reel_async(world.reel, async_round_trip, async_ended, &calls[i], NULL));
    }
    usleep(200000);
    world_close(&world);
    assert_int_equal(left, 0);
    for (int i = 0; i < 6; i++)
        assert_true(!calls[i].fine && calls[i].error.code == REEL_E_CANCELLED);
    close(silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_digest_follows_the_content_and_a_new_server_gets_it_once),
        cmocka_unit_test(an_older_server_gets_the_digest_first_and_is_remembered),
        cmocka_unit_test(a_legacy_server_is_still_uploaded_to),
        cmocka_unit_test(a_file_that_changes_while_it_is_read_is_not_stored),
        cmocka_unit_test(a_file_whose_size_is_said_to_be_zero_is_read_on),
        cmocka_unit_test(a_local_failure_has_its_errno),
        cmocka_unit_test(a_cancelled_handle_ends_what_is_under_way_and_what_comes),
        cmocka_unit_test(a_child_process_is_told_to_open_its_own_handle),
        cmocka_unit_test(a_child_process_takes_no_ends_of_its_parent),
        cmocka_unit_test(links_at_the_partial_file_are_not_followed),
        cmocka_unit_test(an_exclusive_download_replaces_nothing),
        cmocka_unit_test(names_of_every_length_can_be_downloaded_and_resumed),
        cmocka_unit_test(every_further_try_is_remarked),
        cmocka_unit_test(a_server_that_does_not_confirm_is_named_and_progress_goes_on),
        cmocka_unit_test(a_file_id_of_the_caller_s_own_is_made),
        cmocka_unit_test(calls_end_in_the_loop_of_whoever_polls),
        cmocka_unit_test(calls_end_in_a_libevent_loop_too),
        cmocka_unit_test(closing_cancels_and_gives_out_every_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
