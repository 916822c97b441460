/*
 * lru: a hash table of uthash and a tail queue over the same nodes.
 */
#include "common/base/lru.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

uint64_t lru_seed(void)
{
    uint64_t seed;
    arc4random_buf(&seed, sizeof(seed));
    return seed;
}

struct lru_key lru_key_make(uint64_t seed, const void *bytes, size_t size)
{
    return (struct lru_key){bytes, size, XXH3_64bits_withSeed(bytes, size, seed)};
}

void lru_init(struct lru *lru)
{
    lru->table = NULL;
    lru->count = 0;
    TAILQ_INIT(&lru->list);
}

struct lru_node *lru_find(const struct lru *lru, const struct lru_key *key)
{
    struct lru_node *node = NULL;
    HASH_FIND_BYHASHVALUE(hh, lru->table, key->bytes, key->size, (unsigned)key->hash, node);
    return node;
}

bool lru_add(struct lru *lru, struct lru_node *node, const struct lru_key *key)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, lru->table, key->bytes, key->size, (unsigned)key->hash, node);
    if (!HASH_ADDED(hh, node))
        return false;
    TAILQ_INSERT_TAIL(&lru->list, node, link);
    lru->count++;
    return true;
}

void lru_use(struct lru *lru, struct lru_node *node)
{
    TAILQ_REMOVE(&lru->list, node, link);
    TAILQ_INSERT_TAIL(&lru->list, node, link);
}

void lru_remove(struct lru *lru, struct lru_node *node)
{
    HASH_DEL(lru->table, node); /* NOLINT: the table is there while it has an element */
    TAILQ_REMOVE(&lru->list, node, link);
    lru->count--;
}

struct lru_node *lru_oldest(const struct lru *lru)
{
    return TAILQ_FIRST(&lru->list);
}

struct lru_node *lru_younger(const struct lru_node *node)
{
    return TAILQ_NEXT(node, link);
}
