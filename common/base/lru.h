/*
 * lru: a map whose elements are also in an order, oldest first: of their last use, or of their addition where nobody calls
 * lru_use(). The one map of the suite for what is bounded or ages. Intrusive: an element embeds a struct lru_node, owns its
 * key and is freed by its owner. No locks, no allocation but for the table; nothing blocks.
 */
#ifndef REEL_COMMON_LRU_H
#define REEL_COMMON_LRU_H

#include "common/base/base.h"
#include "common/base/hash.h"
#include <sys/queue.h>

struct lru_node {
    UT_hash_handle hh;
    TAILQ_ENTRY(lru_node) link;
};
TAILQ_HEAD(lru_list, lru_node);

/* Zeroed and given to lru_init() before its first use; ended by removing every element. */
struct lru {
    struct lru_node *table;
    struct lru_list list; /* oldest first */
    size_t count;
};

/* A key with its hash, computed once for however many steps. BYTES is borrowed. */
struct lru_key {
    const void *bytes;
    size_t size;
    uint64_t hash; /* the map takes the lower half, a division into several maps may take the upper one */
};

/* A seed that peers cannot know: those who choose keys could otherwise choose ones that collide. */
uint64_t lru_seed(void);
struct lru_key lru_key_make(uint64_t seed, const void *bytes, size_t size);

void lru_init(struct lru *lru);

/* NULL where there is none. Leaves the order alone. */
struct lru_node *lru_find(const struct lru *lru, const struct lru_key *key);

/* Adds NODE, of a key that has no element, as the youngest one. KEY's bytes must be NODE's own from here on. False without
 * memory: it is left out. */
MUST_CHECK bool lru_add(struct lru *lru, struct lru_node *node, const struct lru_key *key);

/* NODE is the youngest one now. */
void lru_use(struct lru *lru, struct lru_node *node);
void lru_remove(struct lru *lru, struct lru_node *node);

/* The oldest element, and the next younger one; NULL at the end. */
struct lru_node *lru_oldest(const struct lru *lru);
struct lru_node *lru_younger(const struct lru_node *node);

#endif
