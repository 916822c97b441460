/*
 * link_cache: an entry's key is everything that the verdict depends on, signature and all, so that a hit is as good as a computation;
 * its hash has a seed, since links are chosen by whoever has a key. Only links that were good get in.
 */
#include "httpd/loop/link_cache.h"

#include "common/base/lru.h"
#include <stdlib.h>
#include <string.h>

#define ENTRY_KEY_MAX (KEY_ID_SIZE + LINK_SIGNATURE_LENGTH + LINK_MESSAGE_SIZE)

struct link_entry {
    struct lru_node node;
    int64_t ends; /* good until then */
    uint8_t key[];
};

struct link_cache {
    struct lru entries;
    uint64_t seed;
    struct link_keys source;
    uint64_t generation;
    struct keys *keys; /* that the entries were verified with */
};

static struct link_entry *link_cache_entry_of(struct lru_node *node)
{
    return node ? CONTAINER_OF(node, struct link_entry, node) : NULL;
}

static void link_cache_drop(struct link_cache *cache, struct link_entry *entry)
{
    lru_remove(&cache->entries, &entry->node);
    free(entry);
}

static void link_cache_drop_all(struct link_cache *cache)
{
    struct lru_node *node;
    while ((node = lru_oldest(&cache->entries)))
        link_cache_drop(cache, link_cache_entry_of(node));
}

struct link_cache *link_cache_create(const struct link_keys *keys)
{
    struct link_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    lru_init(&cache->entries);
    cache->seed = lru_seed();
    cache->source = *keys;
    cache->generation = keys->generation(keys->argument);
    cache->keys = keys->get(keys->argument);
    return cache;
}

void link_cache_destroy(struct link_cache *cache)
{
    if (!cache)
        return;
    link_cache_drop_all(cache);
    keys_release(cache->keys);
    free(cache);
}

size_t link_cache_count(const struct link_cache *cache)
{
    return cache->entries.count;
}

static void refresh(struct link_cache *cache)
{
    uint64_t generation = cache->source.generation(cache->source.argument);
    if (generation == cache->generation)
        return;
    link_cache_drop_all(cache);
    keys_release(cache->keys);
    cache->generation = generation; /* read before the keys: newer ones are met once more, never missed */
    cache->keys = cache->source.get(cache->source.argument);
}

static size_t link_cache_key(const struct link_token *token, const uint8_t *message, size_t size,
                             uint8_t *key)
{
    memcpy(key, token->key, sizeof(token->key));
    memcpy(key + KEY_ID_SIZE, token->signature, LINK_SIGNATURE_LENGTH);
    memcpy(key + KEY_ID_SIZE + LINK_SIGNATURE_LENGTH, message, size);
    return KEY_ID_SIZE + LINK_SIGNATURE_LENGTH + size;
}

/* Without memory it is not remembered. */
static void remember(struct link_cache *cache, const struct lru_key *key, int64_t ends)
{
    struct link_entry *entry = malloc(sizeof(*entry) + key->size);
    struct lru_key own = *key;
    if (!entry)
        return;
    if (cache->entries.count >= LINK_CACHE_ENTRIES)
        link_cache_drop(cache, link_cache_entry_of(lru_oldest(&cache->entries)));
    memset(entry, 0, sizeof(*entry));
    entry->ends = ends;
    memcpy(entry->key, key->bytes, key->size);
    own.bytes = entry->key;
    if (!lru_add(&cache->entries, &entry->node, &own))
        free(entry);
}

enum link_verdict link_cache_verify(struct link_cache *cache, const struct link_token *token,
                                    const struct proto_file_key *file, const struct link_view *view,
                                    const char *host, int64_t now)
{
    uint8_t message[LINK_MESSAGE_SIZE], bytes[ENTRY_KEY_MAX];
    size_t size = link_message(token, file, view, host, message);
    refresh(cache);
    if (size == 0)
        return LINK_WRONG;
    struct lru_key key = lru_key_make(cache->seed, bytes, link_cache_key(token, message, size, bytes));
    struct link_entry *entry = link_cache_entry_of(lru_find(&cache->entries, &key));
    if (entry && now < entry->ends) {
        lru_use(&cache->entries, &entry->node);
        return LINK_GOOD;
    }
    if (entry)
        link_cache_drop(cache, entry);
    enum link_verdict verdict = link_token_verify(token, cache->keys, file, message, size, now);
    if (verdict == LINK_GOOD) {
        const struct key *signer = keys_find(cache->keys, token->key);
        remember(cache, &key, min_i64(token->expires + LINK_SKEW, signer->until));
    }
    return verdict;
}
