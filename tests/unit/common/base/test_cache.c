/*
 * test_cache: what a cache keeps, what it forgets, and that threads can share it. Includes the source under
 * test so that memory can be made to run out at any allocation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_int allocations_left = INT32_MAX; /* then malloc() and calloc() fail */

static bool may_allocate(void)
{
    return atomic_fetch_sub(&allocations_left, 1) > 0;
}

static void *scarce_malloc(size_t size)
{
    return may_allocate() ? malloc(size) : NULL;
}

static void *scarce_calloc(size_t count, size_t size)
{
    return may_allocate() ? calloc(count, size) : NULL;
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#include "common/base/cache.c"
#undef malloc
#undef calloc

static int set_up(void **state)
{
    (void)state;
    atomic_store(&allocations_left, INT32_MAX);
    return 0;
}

static void put(struct cache *cache, const char *key, int value)
{
    cache_put(cache, key, strlen(key), &value);
}

/* The value of KEY, or -1. */
static int get(struct cache *cache, const char *key)
{
    int value = -1;
    return cache_get(cache, key, strlen(key), &value) ? value : -1;
}

static int get_stale(struct cache *cache, const char *key, int64_t *age_ms)
{
    int value = -1;
    return cache_get_stale(cache, key, strlen(key), &value, age_ms) ? value : -1;
}

static void pass_ms(int64_t duration)
{
    int64_t end = clock_monotonic_ms() + duration;
    while (clock_monotonic_ms() < end) {
        const struct timespec pause = {0, 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 0, sizeof(int), 1);
    assert_non_null(cache);
    assert_int_equal(get(cache, "a"), -1);
    put(cache, "a", 1);
    put(cache, "b", 2);
    assert_int_equal(get(cache, "a"), 1);
    assert_int_equal(get(cache, "b"), 2);
    assert_int_equal(get(cache, "ab"), -1);
    assert_int_equal(get(cache, ""), -1);
    assert_int_equal(cache_count(cache), 2);
    cache_destroy(cache);
    cache_destroy(NULL);
}

static void keys_are_bytes_of_any_length_and_copied(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 0, sizeof(int), 1);
    assert_non_null(cache);
    char key[400];
    memset(key, 0, sizeof(key));
    for (int i = 0; i < 3; i++) {
        key[sizeof(key) - 1] = (char)i;
        cache_put(cache, key, sizeof(key), &i);
    }
    for (int i = 0; i < 3; i++) {
        int value = -1;
        key[sizeof(key) - 1] = (char)i;
        assert_true(cache_get(cache, key, sizeof(key), &value));
        assert_int_equal(value, i);
    }
    int value = -1;
    assert_false(cache_get(cache, key, sizeof(key) - 1, &value));
    cache_destroy(cache);
}

static void putting_again_replaces_the_value(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 0, sizeof(int), 1);
    assert_non_null(cache);
    put(cache, "a", 1);
    put(cache, "a", 2);
    assert_int_equal(get(cache, "a"), 2);
    assert_int_equal(cache_count(cache), 1);
    cache_destroy(cache);
}

static void an_outdated_entry_is_found_only_by_who_takes_an_old_one(void **state)
{
    (void)state;
    static const int64_t ages[] = {0, 3600 * 1000};
    for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
        struct cache *cache = cache_create(10, ages[i], sizeof(int), 1);
        int64_t age = -1;
        assert_non_null(cache);
        put(cache, "a", 1);
        put(cache, "b", 2);
        cache_outdate(cache, "a", 1);
        cache_outdate(cache, "c", 1); /* is not there: nothing happens */
        assert_int_equal(get(cache, "a"), -1);
        assert_int_equal(get_stale(cache, "a", &age), 1);
        assert_int_equal(get(cache, "b"), 2);
        assert_int_equal(cache_count(cache), 2);
        put(cache, "a", 3);
        assert_int_equal(get(cache, "a"), 3);
        cache_destroy(cache);
    }
}

static void the_least_recently_used_entry_goes_first(void **state)
{
    (void)state;
    struct cache *cache = cache_create(3, 0, sizeof(int), 1);
    assert_non_null(cache);
    put(cache, "a", 1);
    put(cache, "b", 2);
    put(cache, "c", 3);
    assert_int_equal(get(cache, "a"), 1); /* used: b is the oldest now */
    put(cache, "d", 4);
    assert_int_equal(get(cache, "b"), -1);
    put(cache, "c", 33); /* used: a is the oldest now */
    put(cache, "e", 5);
    assert_int_equal(get(cache, "a"), -1);
    int64_t age = -1;
    assert_int_equal(get_stale(cache, "d", &age), 4); /* used: c is the oldest now */
    put(cache, "f", 6);
    assert_int_equal(get(cache, "c"), -1);
    assert_int_equal(get(cache, "d"), 4);
    assert_int_equal(get(cache, "e"), 5);
    assert_int_equal(get(cache, "f"), 6);
    assert_int_equal(cache_count(cache), 3);
    cache_destroy(cache);
}

static void a_cache_never_holds_more_than_its_bound(void **state)
{
    (void)state;
    static const size_t bounds[][2] = {{1, 1}, {1, 8}, {7, 4}, {100, 16}, {1000, 3}};
    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
        struct cache *cache = cache_create(bounds[i][0], 0, sizeof(int), bounds[i][1]);
        assert_non_null(cache);
        for (int n = 0; n < 5000; n++) {
            cache_put(cache, &n, sizeof(n), &n);
            int value = -1;
            assert_true(cache_get(cache, &n, sizeof(n), &value));
            assert_int_equal(value, n);
            assert_true(cache_count(cache) <= bounds[i][0]);
        }
        /* Thousands of keys have reached every shard. */
        assert_int_equal(cache_count(cache), bounds[i][0]);
        cache_destroy(cache);
    }
}

static void a_bound_of_0_is_taken_as_1(void **state)
{
    (void)state;
    struct cache *cache = cache_create(0, 0, sizeof(int), 0);
    assert_non_null(cache);
    put(cache, "a", 1);
    put(cache, "b", 2);
    assert_int_equal(get(cache, "a"), -1);
    assert_int_equal(get(cache, "b"), 2);
    cache_destroy(cache);
}

static void an_entry_past_its_age_is_not_found_but_still_there_as_a_stale_one(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 1, sizeof(int), 1);
    assert_non_null(cache);
    put(cache, "a", 1);
    pass_ms(3);
    assert_int_equal(get(cache, "a"), -1);
    int64_t age = -1;
    assert_int_equal(get_stale(cache, "a", &age), 1);
    assert_true(age >= 3);
    assert_int_equal(get_stale(cache, "b", &age), -1);
    assert_int_equal(cache_count(cache), 1);
    cache_destroy(cache);
}

static void the_age_limit_can_be_changed_for_entries_that_are_there(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 1, sizeof(int), 1);
    assert_non_null(cache);
    put(cache, "a", 1);
    pass_ms(3);
    assert_int_equal(get(cache, "a"), -1);
    cache_set_age(cache, 3600000);
    assert_int_equal(get(cache, "a"), 1);
    cache_set_age(cache, 1);
    assert_int_equal(get(cache, "a"), -1);
    cache_set_age(cache, 0);
    assert_int_equal(get(cache, "a"), 1);
    cache_destroy(cache);
}

static void putting_again_makes_an_entry_young(void **state)
{
    (void)state;
    struct cache *cache = cache_create(10, 3600000, sizeof(int), 1);
    assert_non_null(cache);
    int64_t before = 0;
    int64_t after = 0;
    put(cache, "a", 1);
    pass_ms(50);
    assert_int_equal(get_stale(cache, "a", &before), 1);
    int64_t start = clock_monotonic_ms();
    put(cache, "a", 1);
    assert_int_equal(get_stale(cache, "a", &after), 1);
    assert_true(before >= 50);
    assert_true(after <= clock_monotonic_ms() - start);
    cache_destroy(cache);
}

static void removed_and_cleared_entries_are_gone_also_as_stale_ones(void **state)
{
    (void)state;
    struct cache *cache = cache_create(100, 0, sizeof(int), 4);
    assert_non_null(cache);
    int64_t age = 0;
    put(cache, "a", 1);
    put(cache, "b", 2);
    cache_remove(cache, "a", 1);
    cache_remove(cache, "never there", 11);
    assert_int_equal(get_stale(cache, "a", &age), -1);
    assert_int_equal(get(cache, "b"), 2);
    cache_clear(cache);
    assert_int_equal(get_stale(cache, "b", &age), -1);
    assert_int_equal(cache_count(cache), 0);
    put(cache, "b", 3);
    assert_int_equal(get(cache, "b"), 3);
    cache_destroy(cache);
}

static void values_of_any_size_are_copied_whole(void **state)
{
    (void)state;
    static char value[3000];
    static char out[3000];
    for (size_t size = 0; size <= sizeof(value); size += 1000) {
        struct cache *cache = cache_create(4, 0, size, 1);
        assert_non_null(cache);
        memset(value, 'v', sizeof(value));
        memset(out, 0, sizeof(out));
        cache_put(cache, "key", 3, value);
        memset(value, 'x', sizeof(value));
        assert_true(cache_get(cache, "key", 3, out));
        for (size_t i = 0; i < sizeof(out); i++)
            assert_int_equal(out[i], i < size ? 'v' : 0);
        cache_destroy(cache);
    }
}

static void without_memory_a_cache_is_not_made(void **state)
{
    (void)state;
    atomic_store(&allocations_left, 0);
    assert_null(cache_create(10, 0, sizeof(int), 4));
    atomic_store(&allocations_left, INT32_MAX);
    assert_null(cache_create(SIZE_MAX, 0, sizeof(int), SIZE_MAX));
}

static void without_memory_a_cache_forgets_and_stays_sound(void **state)
{
    (void)state;
    int kept_most = 0;
    for (int allowed = 0; allowed < 80; allowed++) {
        struct cache *cache = cache_create(50, 0, sizeof(int), 1);
        assert_non_null(cache);
        atomic_store(&allocations_left, allowed);
        for (int n = 0; n < 60; n++)
            cache_put(cache, &n, sizeof(n), &n);
        int kept = 0;
        for (int n = 0; n < 60; n++) {
            int value = -1;
            if (cache_get(cache, &n, sizeof(n), &value)) {
                assert_int_equal(value, n);
                kept++;
            }
        }
        assert_int_equal(cache_count(cache), kept);
        assert_true(kept <= allowed);
        if (kept > kept_most)
            kept_most = kept;
        atomic_store(&allocations_left, INT32_MAX);
        put(cache, "again", 1);
        assert_int_equal(get(cache, "again"), 1);
        cache_destroy(cache);
    }
    assert_int_equal(kept_most, 50);
}

/* ---- threads ---- */

enum { THREADS = 4, KEYS = 64, STEPS = 20000, WORDS = 8 };

struct shared_value {
    int key;
    int words[WORDS]; /* all the same */
};

struct worker {
    struct cache *cache;
    unsigned seed;
    int wrong;
    int found;
};

static void check_value(struct worker *worker, int key, const struct shared_value *value)
{
    worker->found++;
    if (value->key != key)
        worker->wrong++;
    for (int i = 1; i < WORDS; i++) {
        if (value->words[i] != value->words[0])
            worker->wrong++;
    }
}

static void *use_cache(void *argument)
{
    struct worker *worker = argument;
    for (int step = 0; step < STEPS; step++) {
        int key = rand_r(&worker->seed) % KEYS;
        int choice = rand_r(&worker->seed) % 100;
        struct shared_value value = {.key = key};
        int64_t age_ms = 0;
        if (choice < 50) {
            if (cache_get(worker->cache, &key, sizeof(key), &value))
                check_value(worker, key, &value);
        } else if (choice < 60) {
            if (cache_get_stale(worker->cache, &key, sizeof(key), &value, &age_ms))
                check_value(worker, key, &value);
        } else if (choice < 90) {
            for (int i = 0; i < WORDS; i++)
                value.words[i] = step;
            cache_put(worker->cache, &key, sizeof(key), &value);
        } else if (choice < 97) {
            cache_remove(worker->cache, &key, sizeof(key));
        } else if (choice < 98) {
            cache_set_age(worker->cache, 1 + rand_r(&worker->seed) % 1000);
        } else if (choice < 99 || step % 100 != 0) {
            if (cache_count(worker->cache) > 48)
                worker->wrong++;
        } else {
            cache_clear(worker->cache);
        }
    }
    return NULL;
}

static void threads_share_a_cache_without_mixing_values(void **state)
{
    (void)state;
    static const size_t shard_counts[] = {1, 4};
    for (size_t i = 0; i < ARRAY_SIZE(shard_counts); i++) {
        struct cache *cache = cache_create(48, 1000, sizeof(struct shared_value), shard_counts[i]);
        assert_non_null(cache);
        pthread_t threads[THREADS];
        struct worker workers[THREADS];
        for (int n = 0; n < THREADS; n++) {
            workers[n] = (struct worker){.cache = cache, .seed = (unsigned)n + 1};
            assert_int_equal(pthread_create(&threads[n], NULL, use_cache, &workers[n]), 0);
        }
        for (int n = 0; n < THREADS; n++) {
            assert_int_equal(pthread_join(threads[n], NULL), 0);
            assert_int_equal(workers[n].wrong, 0);
            assert_true(workers[n].found > 0);
        }
        cache_destroy(cache);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_put_is_found_and_nothing_else, set_up),
        cmocka_unit_test_setup(keys_are_bytes_of_any_length_and_copied, set_up),
        cmocka_unit_test_setup(putting_again_replaces_the_value, set_up),
        cmocka_unit_test_setup(an_outdated_entry_is_found_only_by_who_takes_an_old_one, set_up),
        cmocka_unit_test_setup(the_least_recently_used_entry_goes_first, set_up),
        cmocka_unit_test_setup(a_cache_never_holds_more_than_its_bound, set_up),
        cmocka_unit_test_setup(a_bound_of_0_is_taken_as_1, set_up),
        cmocka_unit_test_setup(an_entry_past_its_age_is_not_found_but_still_there_as_a_stale_one, set_up),
        cmocka_unit_test_setup(the_age_limit_can_be_changed_for_entries_that_are_there, set_up),
        cmocka_unit_test_setup(putting_again_makes_an_entry_young, set_up),
        cmocka_unit_test_setup(removed_and_cleared_entries_are_gone_also_as_stale_ones, set_up),
        cmocka_unit_test_setup(values_of_any_size_are_copied_whole, set_up),
        cmocka_unit_test_setup(without_memory_a_cache_is_not_made, set_up),
        cmocka_unit_test_setup(without_memory_a_cache_forgets_and_stays_sound, set_up),
        cmocka_unit_test_setup(threads_share_a_cache_without_mixing_values, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
