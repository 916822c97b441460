/*
 * media_read on a volume of this machine whose disk answers, hangs and comes back, in front of a scripted storage server: which of
 * them the bytes come from, after how long, and what becomes of a reading that a worker is still at.
 */
#include "httpd/stream/media_read.h"
#include "tests/unit/library/scripted_cluster.h"
#include "tests/unit/library/storage_loop.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

#define PLACE "000/001/1FF/5F9E3FA7_002"
#define SIZE  300000

/* What a volume's worker is stuck in, as in a call into a file system that does not return. */
struct stuck {
    struct job job;
    sem_t begun, go_on;
};

struct world {
    struct fake_cluster cluster;
    char directory[64];
    struct local_volumes *volumes;
    struct http_settings settings;
    struct http_metrics metrics;
    struct http_loop loop;
    struct http_lookup_file *file;
    struct stuck stuck;
    /* of the reading: the loop's until ANSWERS is counted */
    struct media_read *read;
    uint8_t *bytes;
    size_t size;
    int64_t began_ms, took_ms;
    atomic_int answers;
    int awaited, slow; /* readings; those that were too slow without a hanging disk */
};

/* ---- the disk ---- */

static void stuck_run(struct job *job)
{
    struct stuck *stuck = CONTAINER_OF(job, struct stuck, job);
    sem_post(&stuck->begun);
    sem_wait(&stuck->go_on);
}

/* The one worker for large pieces does nothing any more. */
static void disk_hangs(struct world *world)
{
    world->stuck.job = (struct job){.run = stuck_run};
    assert_true(workers_submit(world->file->volume->bulk, &world->stuck.job));
    sem_wait(&world->stuck.begun);
}

static bool disk_is_still(void *argument)
{
    const struct world *world = argument;
    return workers_waiting(world->file->volume->bulk) == 0 &&
           workers_oldest_ms(world->file->volume->bulk) == 0;
}

static void disk_comes_back(struct world *world)
{
    sem_post(&world->stuck.go_on);
    assert_true(loop_wait_until(disk_is_still, world));
}

static bool volume_is_known_to_hang(void *argument)
{
    const struct world *world = argument;
    return local_volume_hangs(world->file->volume);
}

/* ---- reading ---- */

static void on_bytes(void *argument, uint8_t *bytes, size_t size, const struct error *error)
{
    struct world *world = argument;
    (void)error;
    world->read = NULL;
    world->bytes = bytes;
    world->size = size;
    world->took_ms = clock_monotonic_ms() - world->began_ms;
    atomic_fetch_add(&world->answers, 1);
}

/* Two pieces that are apart: the beginning and the end. */
static void on_loop_read(void *argument)
{
    static const struct mp4_piece pieces[] = {{0, 1000}, {SIZE - 2000, 2000}};
    struct world *world = argument;
    world->began_ms = clock_monotonic_ms();
    world->read = media_read_start(&world->loop, world->file, pieces, 2, on_bytes, world);
    if (!world->read)
        abort();
}

static void on_loop_cancel(void *argument)
{
    struct world *world = argument;
    media_read_cancel(world->read);
    world->read = NULL;
}

static bool has_answered(void *argument)
{
    struct world *world = argument;
    return atomic_load(&world->answers) == world->awaited;
}

static void read_once(struct world *world)
{
    free(world->bytes);
    world->bytes = NULL;
    world->awaited++;
    loop_do(world->loop.loop, on_loop_read, world);
    assert_true(loop_wait_until(has_answered, world));
    assert_non_null(world->bytes);
    assert_int_equal(world->size, 3000);
}

/* All bytes are FROM: 'd' from the disk, 's' from the server. A disk that does not hang, on a machine that has so much to do that a
 * reading takes two seconds, is asked again. */
static void read_and_expect(struct world *world, char from)
{
    read_once(world);
    for (int i = 0; i < 5 && from == 'd' && world->bytes[0] == 's' && world->took_ms >= LOCAL_HANG_MS - 10;
         i++) {
        world->slow++;
        read_once(world);
    }
    for (size_t i = 0; i < world->size; i++)
        assert_int_equal(world->bytes[i], from);
}

/* ---- the world ---- */

static void make_file(const struct world *world)
{
    static const char *const folders[] = {"000", "000/001", "000/001/1FF"};
    char path[128];
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", world->directory, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/%s", world->directory, PLACE);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char *bytes = malloc(SIZE);
    assert_true(fd >= 0);
    assert_non_null(bytes);
    memset(bytes, 'd', SIZE);
    assert_int_equal(write(fd, bytes, SIZE), SIZE);
    free(bytes);
    close(fd);
}

static void on_loop_open(void *argument)
{
    struct world *world = argument;
    struct client_options options = {0};
    struct error error;
    if (!address_list_parse(world->cluster.tracker.peer.address, 0, &options.trackers, &error))
        abort();
    world->loop.client = client_create(world->loop.loop, &options, &error);
    world->loop.local_files = local_files_create(world->loop.loop, 8, 60000);
    address_list_clear(&options.trackers);
    if (!world->loop.client || !world->loop.local_files)
        abort();
}

static void on_loop_close(void *argument)
{
    struct world *world = argument;
    client_destroy(world->loop.client);
    local_files_close(world->loop.local_files);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct error error;
    char entry[128], *entries[1] = {entry};
    assert_non_null(world);
    fake_cluster_start(&world->cluster, 1);
    struct fake_file *stored = &world->cluster.group.files[world->cluster.group.count++];
    *stored = (struct fake_file){.application = "tnvideo", .user = "alice", .id = "film", .size = SIZE};
    stored->bytes = malloc(SIZE);
    assert_non_null(stored->bytes);
    memset(stored->bytes, 's', SIZE);
    snprintf(world->directory, sizeof(world->directory), "/tmp/reel-media-read-XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    make_file(world);
    snprintf(entry, sizeof(entry), "group001:data=%s", world->directory);
    world->volumes =
        local_volumes_create(&(struct config_strings){entries, 1}, 2, &error); /* one is for large pieces */
    assert_non_null(world->volumes);
    world->settings.live.storage_timeout_ms = 20000;
    world->settings.live.failover_tries = 3;
    world->metrics.local_failures = metrics_counter("test_local_failures", "", NULL);
    world->metrics.failovers = metrics_counter("test_failovers", "", NULL);
    world->loop.settings = &world->settings;
    world->loop.metrics = &world->metrics;
    world->loop.loop = loop_fresh();
    loop_do(world->loop.loop, on_loop_open, world);
    world->file = calloc(1, sizeof(*world->file));
    assert_non_null(world->file);
    world->file->references = 1;
    snprintf(world->file->key.application, sizeof(world->file->key.application), "tnvideo");
    snprintf(world->file->key.user, sizeof(world->file->key.user), "alice");
    snprintf(world->file->key.file, sizeof(world->file->key.file), "film");
    snprintf(world->file->place, sizeof(world->file->place), PLACE);
    world->file->stat.size = SIZE;
    world->file->volume = local_volumes_find(world->volumes, "group001", "data");
    assert_non_null(world->file->volume);
    sem_init(&world->stuck.begun, 0, 0);
    sem_init(&world->stuck.go_on, 0, 0);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {PLACE, "000/001/1FF", "000/001", "000", ""};
    struct world *world = *state;
    char path[128];
    sem_post(&world->stuck.go_on); /* of a test that failed in its middle */
    loop_do(world->loop.loop, on_loop_cancel, world);
    loop_do(world->loop.loop, on_loop_close, world);
    local_volumes_end_workers(world->volumes, 20000);
    loop_destroy(world->loop.loop);
    local_volumes_destroy(world->volumes);
    fake_cluster_stop(&world->cluster);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", world->directory, names[i]);
        (void)remove(path);
    }
    free(world->bytes);
    free(world->file);
    free(world);
    return 0;
}

/* ---- tests ---- */

static void a_disk_that_answers_is_read(void **state)
{
    struct world *world = *state;
    read_and_expect(world, 'd');
    read_and_expect(world, 'd'); /* of the file that is open */
    assert_int_equal(fake_requests(&world->cluster, 72) > 0, world->slow > 0);
    assert_int_equal(metric_value(world->metrics.local_failures), world->slow);
}

static void one_that_hangs_is_left_for_a_server_after_two_seconds_and_read_when_it_is_back(void **state)
{
    struct world *world = *state;
    read_and_expect(world, 'd'); /* the file is open from now on */
    int64_t failures = metric_value(world->metrics.local_failures);
    disk_hangs(world);
    read_and_expect(world, 's');
    assert_true(world->took_ms >= LOCAL_HANG_MS - 10); /* the clocks of both may be a tick apart */
    assert_int_equal(metric_value(world->metrics.local_failures), failures + 1);
    assert_int_equal(workers_waiting(world->file->volume->bulk), 1); /* the reading that was given up */
    disk_comes_back(world);
    world->slow = 0;
    read_and_expect(world, 'd');
    assert_int_equal(metric_value(world->metrics.local_failures), failures + 1 + world->slow);
}

static void while_it_is_known_to_hang_nobody_waits_for_it(void **state)
{
    struct world *world = *state;
    disk_hangs(world);
    assert_true(loop_wait_until(volume_is_known_to_hang, world));
    read_and_expect(world, 's');
    assert_int_equal(workers_waiting(world->file->volume->bulk), 0); /* it was not even asked */
    disk_comes_back(world);
    read_and_expect(world, 'd');
}

static void a_reading_that_is_cancelled_leaves_its_memory_to_the_worker(void **state)
{
    struct world *world = *state;
    read_and_expect(world, 'd');
    disk_hangs(world);
    loop_do(world->loop.loop, on_loop_read, world);
    assert_int_equal(workers_waiting(world->file->volume->bulk), 1);
    loop_do(world->loop.loop, on_loop_cancel, world);
    disk_comes_back(world);
    read_and_expect(world, 'd');
    assert_int_equal(atomic_load(&world->answers), world->awaited); /* the cancelled one called nobody back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_disk_that_answers_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(
            one_that_hangs_is_left_for_a_server_after_two_seconds_and_read_when_it_is_back, setup, teardown),
        cmocka_unit_test_setup_teardown(while_it_is_known_to_hang_nobody_waits_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reading_that_is_cancelled_leaves_its_memory_to_the_worker, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
