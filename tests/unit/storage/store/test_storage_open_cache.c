/* Open files are shared, aged, bounded, and closed when the last one lets go. */
#include "storage/store/open_cache.h"
#include "storage/store/store.h"
#include "storage/store/store_file.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"

#include <errno.h>
#include <stdatomic.h>

struct world {
    struct fixture fixture;
    struct loop *loop;
    struct store *store;
    struct store_path *path;
    struct open_cache *cache;
    size_t entries_max;
    int64_t age_ms;
};

static void make_cache(void *argument)
{
    struct world *world = argument;
    world->cache = open_cache_create(world->entries_max, world->age_ms, world->loop);
}

static void start_world(struct world *world, size_t entries_max, int64_t age_ms)
{
    struct error error = {0};
    fixture_create(&world->fixture);
    fixture_option(&world->fixture, "storage.paths=%s/one", world->fixture.directory);
    fixture_load(&world->fixture);
    world->loop = loop_create("test", &error);
    assert_non_null(world->loop);
    world->store = store_create(&world->fixture.config, world->loop, 10000, NULL, NULL, &error);
    assert_non_null(world->store);
    world->path = store_at(world->store, 0);
    assert_true(loop_start(world->loop, &error));
    world->entries_max = entries_max;
    world->age_ms = age_ms;
    loop_do(world->loop, make_cache, world);
    assert_non_null(world->cache);
}

static void end_on_loop(void *argument)
{
    struct world *world = argument;
    store_end(world->store, 5000);
    open_cache_destroy(world->cache);
    store_destroy(world->store);
}

static void end_world(struct world *world)
{
    loop_do(world->loop, end_on_loop, world);
    loop_destroy(world->loop);
    fixture_destroy(&world->fixture);
}

static struct path place_of(int64_t value)
{
    return (struct path){.value = value, .seconds = 1};
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

/* Makes the file VALUE, opens it, puts it into the cache, as if it had SIZE bytes at BYTES (NULL: its own
 * size, without them). */
static struct open_file *add_bytes(struct world *world, int64_t value, uint8_t *bytes, int64_t bytes_size)
{
    struct path place = place_of(value);
    struct error error = {0};
    int fd;
    int64_t size;
    assert_true(create_at(world->path, &place, &fd, &error) || error.code == ERROR_EXISTS);
    if (fd >= 0)
        close(fd);
    assert_true(store_file_open(world->path, &place, &fd, &size, &error));
    struct open_file *file =
        open_cache_add(world->cache, world->path, &place, fd, bytes ? bytes_size : size, bytes);
    assert_non_null(file);
    return file;
}

static struct open_file *add(struct world *world, int64_t value)
{
    return add_bytes(world, value, NULL, 0);
}

static struct open_file *find(struct world *world, int64_t value)
{
    struct path place = place_of(value);
    return open_cache_find(world->cache, world->path, &place);
}

static bool is_closed(void *argument)
{
    return fcntl(*(int *)argument, F_GETFD) == -1 && errno == EBADF;
}

static void a_file_is_shared_by_those_who_read_it(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, 10, 60000);
    struct open_file *first = add(&world, 1);
    assert_ptr_equal(find(&world, 1), first);
    assert_null(find(&world, 2));
    assert_int_equal(open_cache_count(world.cache), 1);
    open_cache_release(world.cache, first);
    open_cache_release(world.cache, first);
    struct open_file *again = find(&world, 1); /* nobody holds it, and it is still there */
    assert_ptr_equal(again, first);
    open_cache_release(world.cache, again);
    end_world(&world);
}

static void a_forgotten_file_stays_open_for_those_who_hold_it(void **state)
{
    struct world world;
    struct path place = place_of(1);
    (void)state;
    start_world(&world, 10, 60000);
    struct open_file *file = add(&world, 1);
    int fd = file->fd;
    open_cache_forget(world.cache, world.path, &place);
    open_cache_forget(world.cache, world.path, &place);
    assert_null(find(&world, 1));
    assert_false(is_closed(&fd));
    open_cache_release(world.cache, file);
    assert_true(loop_wait_until(is_closed, &fd));
    assert_int_equal(open_cache_count(world.cache), 0);
    end_world(&world);
}

static void beyond_the_limit_the_oldest_goes(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, 3, 60000);
    for (int i = 0; i < 5; i++) {
        struct open_file *file = add(&world, i);
        open_cache_release(world.cache, file);
    }
    for (int i = 0; i < 5; i++) {
        struct open_file *file = find(&world, i);
        assert_int_equal(file != NULL, i >= 2);
        if (file)
            open_cache_release(world.cache, file);
    }
    assert_int_equal(open_cache_count(world.cache), 3);
    end_world(&world);
}

static void a_file_that_nobody_asks_for_is_closed(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, 10, 50);
    struct open_file *file = add(&world, 1);
    int fd = file->fd;
    open_cache_release(world.cache, file);
    assert_true(loop_wait_until(is_closed, &fd));
    assert_null(find(&world, 1));
    end_world(&world);
}

static void an_old_file_is_not_found_though_it_is_held(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, 10, 50);
    struct open_file *file = add(&world, 1), *found;
    while ((found = find(&world, 1))) {
        open_cache_release(world.cache, found);
        usleep(5000);
    }
    assert_int_equal(fcntl(file->fd, F_GETFD) != -1, 1);
    open_cache_release(world.cache, file);
    end_world(&world);
}

static void opened_twice_at_once_the_younger_one_is_found(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, 10, 60000);
    struct open_file *first = add(&world, 1);
    struct path place = place_of(1);
    struct error error = {0};
    int fd;
    int64_t size;
    assert_true(store_file_open(world.path, &place, &fd, &size, &error));
    struct open_file *second = open_cache_add(world.cache, world.path, &place, fd, size, NULL);
    assert_non_null(second);
    struct open_file *found = find(&world, 1);
    assert_ptr_equal(found, second);
    assert_int_equal(open_cache_count(world.cache), 2);
    open_cache_release(world.cache, first);
    open_cache_release(world.cache, second);
    open_cache_release(world.cache, found);
    assert_int_equal(open_cache_count(world.cache), 1);
    end_world(&world);
}

/* What is allocated and freed is for the sanitizer to watch. */
static void the_bytes_of_files_are_kept_with_them_up_to_a_limit(void **state)
{
    const int64_t half = OPEN_CACHE_BYTES_MAX / 2;
    uint8_t *bytes[4];
    struct open_file *files[4];
    struct world world;
    (void)state;
    start_world(&world, 10, 60000);
    for (int i = 0; i < 4; i++) {
        bytes[i] = malloc((size_t)half);
        assert_non_null(bytes[i]);
        bytes[i][0] = (uint8_t)i;
    }
    for (int i = 0; i < 3; i++)
        files[i] = add_bytes(&world, i, bytes[i], half);
    struct open_file *found = find(&world, 1);
    assert_ptr_equal(found->bytes, bytes[1]);
    open_cache_release(world.cache, found);
    assert_null(files[2]->bytes); /* open all the same */
    assert_int_equal(files[2]->size, half);

    /* What is forgotten counts until the last reader has gone. */
    struct path place = place_of(0);
    open_cache_forget(world.cache, world.path, &place);
    assert_int_equal(files[0]->bytes[0], 0);
    open_cache_release(world.cache, files[0]);
    files[3] = add_bytes(&world, 3, bytes[3], half);
    assert_ptr_equal(files[3]->bytes, bytes[3]);
    for (int i = 1; i < 4; i++)
        open_cache_release(world.cache, files[i]);
    end_world(&world);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS  2000

static void *use_files(void *argument)
{
    struct world *world = argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct path place = place_of(i % 7);
        struct open_file *file = find(world, i % 7);
        if (!file)
            file = add(world, i % 7);
        if (fcntl(file->fd, F_GETFD) == -1)
            return world; /* closed under a reader */
        if (i % 50 == 0)
            open_cache_forget(world->cache, world->path, &place);
        open_cache_release(world->cache, file);
    }
    return NULL;
}

static void no_file_is_closed_under_a_reader(void **state)
{
    struct world world;
    pthread_t threads[THREADS];
    (void)state;
    start_world(&world, 5, 60000);
    for (int i = 0; i < 7; i++)
        open_cache_release(world.cache, add(&world, i));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_files, &world), 0);
    for (int i = 0; i < THREADS; i++) {
        void *broken;
        pthread_join(threads[i], &broken);
        assert_null(broken);
    }
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_shared_by_those_who_read_it),
        cmocka_unit_test(a_forgotten_file_stays_open_for_those_who_hold_it),
        cmocka_unit_test(beyond_the_limit_the_oldest_goes),
        cmocka_unit_test(a_file_that_nobody_asks_for_is_closed),
        cmocka_unit_test(an_old_file_is_not_found_though_it_is_held),
        cmocka_unit_test(opened_twice_at_once_the_younger_one_is_found),
        cmocka_unit_test(the_bytes_of_files_are_kept_with_them_up_to_a_limit),
        cmocka_unit_test(no_file_is_closed_under_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
