/*
 * link_cache: two tables that work alike. One keeps everything that a link's signature depends on, signature and all, so that a hit is
 * as good as a computation, for whichever of its files it is shown; the other whole request-targets that showed a good link, of which
 * then nothing but their bytes is looked at. A link to one file that its target alone decides on is in the latter only. A place comes
 * of a hash with a seed, of the signature or of the target, since both are chosen by whoever has a key. Only what was good gets in,
 * and from a full set nothing is driven out by what is met once.
 * Sets of a few places each, in memory that is there from the start. What says where to look (tags) is small enough to stay near
 * the processor between two requests: what is not there costs hardly anything to look for.
 */
#include "httpd/loop/link_cache.h"

#include "common/base/lru.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WAYS     4
#define SETS     (LINK_CACHE_ENTRIES / WAYS)
#define HEAD     (KEY_ID_SIZE + LINK_SIGNATURE_WORDS * sizeof(uint64_t))
#define LINE     64  /* of a processor's cache */
#define KEPT_MAX 237 /* bytes; what is longer (names of hundreds of bytes) is computed each time */

_Static_assert(LINK_CACHE_ENTRIES % WAYS == 0, "every set is full");

struct link_kept {
    _Alignas(LINE) int64_t from; /* targets alone: good from this second on, and before the other */
    int64_t until;
    struct http_target_plain plain; /* likewise */
    uint8_t bytes[KEPT_MAX];
};

/* All that is read of a set where nothing is found, side by side. */
struct link_set {
    _Alignas(32) uint16_t tags[WAYS]; /* 0: empty */
    uint16_t met[WAYS];               /* tags that found the set full, lately */
    uint16_t sizes[WAYS];
    uint8_t used;    /* bits: since the hand was there last */
    uint8_t hand;    /* the way that is looked at first when one must go */
    uint8_t meeting; /* the place in MET for the next one */
};

struct link_table {
    size_t count;
    struct link_set sets[SETS];
    struct link_kept kept[SETS][WAYS];
};

struct link_cache {
    uint64_t seed;
    struct link_keys source;
    uint64_t generation;
    struct keys *keys;       /* that the entries were verified with */
    struct link_table links; /* everything that the verdict on a link depends on but the keys and the time */
    struct link_table targets; /* request-targets, with the time in which they are good */
};

static void table_clear(struct link_table *table)
{
    memset(table, 0, offsetof(struct link_table, kept));
}

void link_cache_forget(struct link_cache *cache)
{
    table_clear(&cache->links);
    table_clear(&cache->targets);
}

struct link_cache *link_cache_create(const struct link_keys *keys)
{
    struct link_cache *cache = aligned_alloc(LINE, sizeof(*cache));
    if (!cache)
        return NULL;
    link_cache_forget(cache);
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
    keys_release(cache->keys);
    free(cache);
}

size_t link_cache_count(const struct link_cache *cache)
{
    return cache->links.count + cache->targets.count;
}

static void link_cache_refresh(struct link_cache *cache)
{
    uint64_t generation = cache->source.generation(cache->source.argument);
    if (generation == cache->generation)
        return;
    link_cache_forget(cache);
    keys_release(cache->keys);
    cache->generation = generation; /* read before the keys: newer ones are met once more, never missed */
    cache->keys = cache->source.get(cache->source.argument);
}

/* ---- tables ---- */

struct link_place {
    size_t set, way; /* WAY WAYS: nothing with this tag is there */
    uint16_t tag;
};

static size_t set_of(uint64_t hash)
{
    return (size_t)(hash % SETS);
}

/* Where what has this hash can only be. */
static struct link_place find_place(const struct link_table *table, uint64_t hash)
{
    struct link_place place = {.set = set_of(hash), .tag = (uint16_t)(hash >> 48 | 1)};
    while (place.way < WAYS && table->sets[place.set].tags[place.way] != place.tag)
        place.way++;
    if (place.way < WAYS) {
        const uint8_t *line = (const uint8_t *)&table->kept[place.set][place.way];
        __builtin_prefetch(line);
        __builtin_prefetch(line + LINE);
    }
    return place;
}

static bool is_kept(const struct link_table *table, const struct link_place *place, const void *bytes,
                    size_t size)
{
    return place->way < WAYS && table->sets[place->set].sizes[place->way] == size &&
           memcmp(table->kept[place->set][place->way].bytes, bytes, size) == 0;
}

static void mark_used(struct link_table *table, const struct link_place *place)
{
    table->sets[place->set].used |= (uint8_t)(1U << place->way);
}

/* Whether TAG found its full set before. The kept is written to for nothing that does not come back. */
static bool was_met(struct link_set *set, uint16_t tag)
{
    for (size_t i = 0; i < WAYS; i++) {
        if (set->met[i] == tag)
            return true;
    }
    set->met[set->meeting] = tag;
    set->meeting = (uint8_t)((set->meeting + 1) % WAYS);
    return false;
}

/* The way that is given to another one: an empty one, or else the next one that was not used since the hand passed it; WAYS: none, yet. */
static size_t way_to_give(struct link_set *set, uint16_t tag)
{
    for (size_t way = 0; way < WAYS; way++) {
        if (set->tags[way] == 0)
            return way;
    }
    if (!was_met(set, tag))
        return WAYS;
    size_t way = set->hand;
    for (; (set->used >> way & 1) != 0; way = (way + 1) % WAYS)
        set->used &= (uint8_t) ~(1U << way);
    set->hand = (uint8_t)((way + 1) % WAYS);
    return way;
}

/* NULL: it is not kept. */
static struct link_kept *table_keep(struct link_table *table, const struct link_place *place,
                                    const void *bytes, size_t size)
{
    struct link_set *set = &table->sets[place->set];
    size_t way = size > KEPT_MAX ? WAYS : way_to_give(set, place->tag);
    if (way == WAYS)
        return NULL;
    struct link_kept *kept = &table->kept[place->set][way];
    table->count += set->tags[way] == 0;
    set->tags[way] = place->tag;
    set->sizes[way] = (uint16_t)size;
    memcpy(kept->bytes, bytes, size);
    return kept;
}

/* ---- links ---- */

static uint64_t hash_of(const struct link_cache *cache, const void *bytes, size_t size)
{
    return lru_key_make(cache->seed, bytes, size).hash;
}

static enum link_verdict verify_link(struct link_cache *cache, const struct link_token *token,
                                     const struct proto_file_key *file, const struct link_view *view,
                                     const char *host, int64_t now)
{
    uint8_t bytes[HEAD + LINK_MESSAGE_SIZE];
    const struct link_place place =
        find_place(&cache->links, hash_of(cache, token->signature, sizeof(token->signature)));
    size_t size = link_message(token, file, view, host, bytes + HEAD);
    if (size == 0)
        return LINK_WRONG;
    memcpy(bytes, token->key, KEY_ID_SIZE);
    memcpy(bytes + KEY_ID_SIZE, token->signature, sizeof(token->signature));
    bool known = is_kept(&cache->links, &place, bytes, HEAD + size);
    enum link_verdict verdict = link_token_verify(token, cache->keys, file, bytes + HEAD, size, known, now);
    if (known)
        mark_used(&cache->links, &place);
    else if (verdict == LINK_GOOD)
        (void)table_keep(&cache->links, &place, bytes, HEAD + size);
    return verdict;
}

/* ---- targets ---- */

bool link_cache_knows(struct link_cache *cache, struct link_target *target, int64_t now)
{
    link_cache_refresh(cache);
    target->known = false;
    target->hash = hash_of(cache, target->bytes, target->size);
    const struct link_place place = find_place(&cache->targets, target->hash);
    if (!is_kept(&cache->targets, &place, target->bytes, target->size))
        return false;
    const struct link_kept *kept = &cache->targets.kept[place.set][place.way];
    mark_used(&cache->targets, &place);
    target->plain = kept->plain;
    target->known = now >= kept->from && now < kept->until;
    return target->known;
}

static void learn(struct link_cache *cache, const struct link_target *target, const struct link_token *token)
{
    const struct link_place place = find_place(&cache->targets, target->hash);
    if (is_kept(&cache->targets, &place, target->bytes, target->size)) /* of another time */
        return;
    struct link_kept *kept = table_keep(&cache->targets, &place, target->bytes, target->size);
    if (!kept)
        return;
    kept->plain = http_target_plain_of((struct http_text){target->bytes, target->size}, target->parsed);
    const struct key *key = cache->keys ? keys_find(cache->keys, token->key) : NULL;
    kept->from = key ? key->from : INT64_MAX;
    kept->until = key ? min_i64(key->until, token->expires + LINK_SKEW) : 0;
}

enum link_verdict link_cache_verify(struct link_cache *cache, const struct link_token *token,
                                    const struct proto_file_key *file, const struct link_view *view,
                                    const char *host, const struct link_target *target, int64_t now)
{
    uint8_t message[LINK_MESSAGE_SIZE];
    enum link_verdict verdict;
    link_cache_refresh(cache);
    bool learns = target && !token->network;
    if (learns && token->scope == LINK_SCOPE_FILE && target->size <= KEPT_MAX) {
        /* It comes back with its target, and then nobody asks for the link. */
        size_t size = link_message(token, file, view, host, message);
        verdict = link_token_verify(token, cache->keys, file, message, size, false, now);
    } else {
        verdict = verify_link(cache, token, file, view, host, now);
    }
    if (learns && verdict == LINK_GOOD)
        learn(cache, target, token);
    return verdict;
}
