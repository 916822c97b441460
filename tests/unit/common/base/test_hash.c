/*
 * test_hash: hash.h's policy for want of memory: what cannot be added is left out, and the table goes on.
 */
#include <stdlib.h>

static long allocations_left;

static void *scarce_malloc(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

#define uthash_malloc(size) scarce_malloc(size)
#include "common/base/hash.h"

#include "common/base/base.h"
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define ITEMS 4096

struct item {
    UT_hash_handle hh;
    int key;
};

static struct item items[ITEMS];

static struct item *find(struct item *table, int key)
{
    struct item *item = NULL;
    HASH_FIND_INT(table, &key, item);
    return item;
}

static void the_first_element_without_memory_is_left_out(void **state)
{
    struct item *table = NULL;
    (void)state;
    /* A table takes two allocations: either may fail. */
    for (long enough = 0; enough < 2; enough++) {
        allocations_left = enough;
        items[0].key = 7;
        HASH_ADD_INT(table, key, &items[0]);
        assert_false(HASH_ADDED(hh, &items[0]));
        assert_null(table);
        assert_null(find(table, 7));
    }
    allocations_left = 2;
    HASH_ADD_INT(table, key, &items[0]);
    assert_true(HASH_ADDED(hh, &items[0]));
    assert_ptr_equal(find(table, 7), &items[0]);
    HASH_CLEAR(hh, table);
}

static void a_table_that_cannot_grow_keeps_what_it_has(void **state)
{
    struct item *table = NULL;
    unsigned added = 0;
    (void)state;
    allocations_left = 2;
    for (int i = 0; i < ITEMS; i++) {
        items[i].key = i;
        HASH_ADD_INT(table, key, &items[i]);
        added += HASH_ADDED(hh, &items[i]);
    }
    assert_true(added > 0 && added < ITEMS);
    assert_int_equal(HASH_COUNT(table), added);
    for (int i = 0; i < ITEMS; i++)
        assert_ptr_equal(find(table, i), HASH_ADDED(hh, &items[i]) ? &items[i] : NULL);
    /* With memory again everything finds its place. */
    allocations_left = 1000;
    for (int i = 0; i < ITEMS; i++) {
        if (!HASH_ADDED(hh, &items[i]))
            HASH_ADD_INT(table, key, &items[i]);
        assert_ptr_equal(find(table, i), &items[i]);
    }
    HASH_CLEAR(hh, table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_element_without_memory_is_left_out),
        cmocka_unit_test(a_table_that_cannot_grow_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
