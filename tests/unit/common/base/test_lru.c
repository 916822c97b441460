/*
 * test_lru: a map keeps its elements findable and in order.
 */
#include "common/base/lru.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

struct item {
    struct lru_node node;
    int key;
};

static struct lru lru;
static uint64_t seed;

static struct lru_node *find(int key)
{
    const struct lru_key wanted = lru_key_make(seed, &key, sizeof(key));
    return lru_find(&lru, &wanted);
}

static void add(struct item *item, int key)
{
    item->key = key;
    const struct lru_key own = lru_key_make(seed, &item->key, sizeof(item->key));
    assert_true(lru_add(&lru, &item->node, &own));
}

/* The order as digits, oldest first. */
static int order(void)
{
    int digits = 0;
    for (struct lru_node *node = lru_oldest(&lru); node; node = lru_younger(node))
        digits = digits * 10 + CONTAINER_OF(node, struct item, node)->key;
    return digits;
}

static void what_was_used_last_is_the_youngest(void **state)
{
    struct item items[3];
    (void)state;
    lru_init(&lru);
    seed = lru_seed();
    assert_null(lru_oldest(&lru));
    for (int i = 0; i < 3; i++)
        add(&items[i], i + 1);
    assert_int_equal(order(), 123);
    assert_ptr_equal(find(1), &items[0].node);
    assert_int_equal(order(), 123); /* looking is no use */
    lru_use(&lru, &items[0].node);
    assert_int_equal(order(), 231);
    lru_remove(&lru, &items[2].node);
    assert_int_equal(order(), 21);
    assert_null(find(3));
    assert_int_equal(lru.count, 2);
    add(&items[2], 3);
    assert_int_equal(order(), 213);
    while (lru.count > 0)
        lru_remove(&lru, lru_oldest(&lru));
    assert_null(find(1));
    assert_null(lru_oldest(&lru));
}

static void many_elements_are_all_found(void **state)
{
    enum { COUNT = 10000 };
    struct item *items = calloc(COUNT, sizeof(*items));
    (void)state;
    assert_non_null(items);
    lru_init(&lru);
    for (int i = 0; i < COUNT; i++)
        add(&items[i], i);
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(find(i), &items[i].node);
    assert_null(find(COUNT));
    while (lru.count > 0)
        lru_remove(&lru, lru_oldest(&lru));
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_used_last_is_the_youngest),
        cmocka_unit_test(many_elements_are_all_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
