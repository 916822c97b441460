/* Directories of a store path on a real one: numbers that have a file, and syncs of many at once. */
#include "storage/store/store_directory.h"
#include "storage/store/store.h"
#include "storage/store/store_file.h"
#include "common/base/metrics.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"

#include <pthread.h>

#define THREADS 8
#define ROUNDS  50

struct world {
    struct fixture fixture;
    struct loop *loop;
    struct store *store;
    struct store_path *path;
};

static int start_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct error error = {0};
    assert_non_null(world);
    fixture_create(&world->fixture);
    fixture_option(&world->fixture, "storage.paths=%s/one", world->fixture.directory);
    fixture_load(&world->fixture);
    world->loop = loop_create("test", &error);
    assert_non_null(world->loop);
    world->store = store_create(&world->fixture.config, world->loop, 10000, NULL, NULL, &error);
    assert_non_null(world->store);
    assert_true(loop_start(world->loop, &error));
    world->path = store_at(world->store, 0);
    *state = world;
    return 0;
}

static void end_timer(void *argument)
{
    store_end(argument, 5000);
}

static int end_world(void **state)
{
    struct world *world = *state;
    loop_do(world->loop, end_timer, world->store);
    loop_destroy(world->loop);
    store_destroy(world->store);
    fixture_destroy(&world->fixture);
    free(world);
    return 0;
}

/* Makes the file at PLACE; *FD is the caller's. */
static bool create_at(struct store_path *path, const struct path *place, int *fd, struct error *error)
{
    struct store_file file = {.path = path, .place = *place, .fd = -1};
    bool fine = store_file_create(&file, error);
    *fd = file.fd;
    store_file_let_go(&file);
    return fine;
}

/* ERROR_NONE or the failure's code. */
static int try_number(struct world *world, int64_t value, int64_t seconds)
{
    const struct path place = {.value = value, .seconds = seconds};
    struct error error = {0};
    int fd;
    if (!create_at(world->path, &place, &fd, &error))
        return error.code;
    close(fd);
    return ERROR_NONE;
}

/* As another member of the group would, or this one before a restart. */
static void make_file(struct world *world, const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/one/%s", world->fixture.directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void a_number_that_has_a_file_is_refused_also_under_another_second(void **state)
{
    struct world *world = *state;
    assert_int_equal(try_number(world, 5, 1000), ERROR_NONE);
    assert_int_equal(try_number(world, 5, 1000), ERROR_EXISTS);
    assert_int_equal(try_number(world, 5, 1001), ERROR_EXISTS);
    assert_int_equal(try_number(world, 6, 1001), ERROR_NONE);
    assert_int_equal(try_number(world, 5 + 512, 1001), ERROR_NONE); /* the same digit, another directory */
    struct store_path_status status;
    store_path_status(world->path, &status);
    assert_true(status.writable); /* that says nothing about the path */
}

static void a_file_that_somebody_else_made_is_seen_from_the_next_second_on(void **state)
{
    struct world *world = *state;
    assert_int_equal(try_number(world, 1, 2000), ERROR_NONE);
    make_file(world, "000/000/000/000007D0_1FF"); /* in second 2000 */
    assert_int_equal(try_number(world, 511, 2000), ERROR_EXISTS);
    assert_int_equal(try_number(world, 511, 2001), ERROR_EXISTS);
    make_file(world, "000/000/000/000007D1_042");
    assert_int_equal(try_number(world, 0x42, 2002), ERROR_EXISTS);
    make_file(world, "000/000/000/no_file_of_ours_043");
    assert_int_equal(try_number(world, 0x43, 2003), ERROR_NONE);
}

static void a_removed_file_gives_its_number_back(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    assert_int_equal(try_number(world, 9, 3000), ERROR_NONE);
    assert_true(store_file_remove(world->path, &(struct path){.value = 9, .seconds = 3000}, &error));
    assert_int_equal(try_number(world, 9, 3001), ERROR_NONE);
}

/* As after the directory at the store path was exchanged while one of its directories was being made. */
static void a_remembered_directory_that_is_gone_is_made_anew(void **state)
{
    struct world *world = *state;
    char from[160], to[160];
    assert_int_equal(try_number(world, 5, 3000), ERROR_NONE);
    snprintf(from, sizeof(from), "%s/one/000", world->fixture.directory);
    snprintf(to, sizeof(to), "%s/away", world->fixture.directory);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(try_number(world, 5 + 512, 3000), ERROR_NONE); /* its parents were remembered */
    assert_int_equal(try_number(world, 5, 3001), ERROR_NONE);       /* it was itself */
}

static int64_t counter(const char *name)
{
    return metric_value(metrics_counter(name, "", NULL));
}

struct syncing {
    struct world *world;
    int64_t value;
    bool fine;
};

static void *sync_often(void *argument)
{
    struct syncing *syncing = argument;
    struct store_file file = {
        .path = syncing->world->path, .place = {.value = syncing->value, .seconds = 1}, .fd = -1};
    struct error error = {0};
    syncing->fine = store_path_enter(file.path, &file.root, &error);
    for (int i = 0; i < ROUNDS; i++)
        syncing->fine = store_file_sync_directory(&file, &error) && syncing->fine;
    store_file_let_go(&file);
    return NULL;
}

static void everybody_who_asks_for_a_sync_gets_one_and_no_more_are_made_than_asked_for(void **state)
{
    struct world *world = *state;
    struct syncing syncing[THREADS];
    pthread_t threads[THREADS];
    assert_int_equal(try_number(world, 0, 1), ERROR_NONE);
    assert_int_equal(try_number(world, 512, 1), ERROR_NONE);
    int64_t synced = counter("reel_storage_directory_synced_files_total");
    int64_t syncs = counter("reel_storage_directory_syncs_total");
    for (size_t i = 0; i < THREADS; i++) {
        syncing[i] = (struct syncing){.world = world, .value = (int64_t)(i % 2) * 512};
        assert_int_equal(pthread_create(&threads[i], NULL, sync_often, &syncing[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(syncing[i].fine);
    }
    assert_int_equal(counter("reel_storage_directory_synced_files_total") - synced, THREADS * ROUNDS);
    syncs = counter("reel_storage_directory_syncs_total") - syncs;
    assert_in_range(syncs, 2 * ROUNDS, THREADS * ROUNDS);
}

static void a_sync_of_a_directory_that_is_gone_fails_for_everybody(void **state)
{
    struct world *world = *state;
    struct syncing syncing[THREADS];
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        syncing[i] = (struct syncing){.world = world, .value = 1024};
        assert_int_equal(pthread_create(&threads[i], NULL, sync_often, &syncing[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(syncing[i].fine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_number_that_has_a_file_is_refused_also_under_another_second,
                                        start_world, end_world),
        cmocka_unit_test_setup_teardown(a_file_that_somebody_else_made_is_seen_from_the_next_second_on,
                                        start_world, end_world),
        cmocka_unit_test_setup_teardown(a_removed_file_gives_its_number_back, start_world, end_world),
        cmocka_unit_test_setup_teardown(a_remembered_directory_that_is_gone_is_made_anew, start_world,
                                        end_world),
        cmocka_unit_test_setup_teardown(
            everybody_who_asks_for_a_sync_gets_one_and_no_more_are_made_than_asked_for, start_world,
            end_world),
        cmocka_unit_test_setup_teardown(a_sync_of_a_directory_that_is_gone_fails_for_everybody, start_world,
                                        end_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
