/*
 * listen_limits: one counter that needs no lock, and under one mutex the counts of addresses and the listeners that wait.
 * The table is keyed by XXH3 with a seed of its own: clients choose their addresses, and could choose ones that collide.
 */
#include "common/loop/listen_limits.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Open connections of one client address. */
struct address_count {
    UT_hash_handle hh;
    uint8_t key[16];
    size_t count;
};

struct listen_limits {
    atomic_size_t connections;
    atomic_size_t waiting; /* waiters that wait, so that leave() need not lock while none does */
    atomic_size_t wanted;
    uint64_t seed;
    pthread_mutex_t lock; /* what follows */
    struct address_count *addresses;
    struct listen_waiter *waiters;
};

struct listen_limits *listen_limits_create(void)
{
    struct listen_limits *limits = calloc(1, sizeof(*limits));

    if (!limits)
        return NULL;
    arc4random_buf(&limits->seed, sizeof(limits->seed));
    ASSERT(pthread_mutex_init(&limits->lock, NULL) == 0);
    return limits;
}

void listen_limits_destroy(struct listen_limits *limits)
{
    struct address_count *entry, *next;

    if (!limits)
        return;
    HASH_ITER(hh, limits->addresses, entry, next)
    {
        HASH_DELETE(hh, limits->addresses, entry);
        free(entry);
    }
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

size_t listen_limits_connections(const struct listen_limits *limits)
{
    return atomic_load_explicit(&limits->connections, memory_order_relaxed);
}

bool listen_limits_take(struct listen_limits *limits, size_t max)
{
    size_t taken = atomic_load(&limits->connections);

    while (taken < max) {
        if (atomic_compare_exchange_weak(&limits->connections, &taken, taken + 1))
            return true;
    }
    return false;
}

void listen_limits_take_more(struct listen_limits *limits)
{
    atomic_fetch_add(&limits->connections, 1);
}

/* ---- addresses ---- */

static bool limits_key_of(const struct sockaddr *peer, uint8_t key[16])
{
    memset(key, 0, 16);
    if (peer->sa_family == AF_INET) {
        const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)(const void *)peer;

        key[10] = key[11] = 0xff;
        memcpy(key + 12, &ipv4->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)(const void *)peer;

        memcpy(key, &ipv6->sin6_addr, IN6_IS_ADDR_V4MAPPED(&ipv6->sin6_addr) ? 16 : 8);
    } else {
        return false;
    }
    return true;
}

/* With the lock held. */
static struct address_count *limits_find_count(struct listen_limits *limits, const uint8_t key[16], bool add)
{
    unsigned hash = (unsigned)XXH3_64bits_withSeed(key, 16, limits->seed);
    struct address_count *entry = NULL;

    HASH_FIND_BYHASHVALUE(hh, limits->addresses, key, 16, hash, entry);
    if (entry || !add)
        return entry;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    memcpy(entry->key, key, 16);
    HASH_ADD_BYHASHVALUE(hh, limits->addresses, key, 16, hash, entry);
    if (HASH_ADDED(hh, entry))
        return entry;
    free(entry);
    return NULL;
}

bool listen_limits_enter(struct listen_limits *limits, struct listen_place *place,
                         const struct sockaddr *peer, size_t max)
{
    struct address_count *entry;
    bool fits = true;

    place->counted = false;
    if (max == 0 || !limits_key_of(peer, place->key))
        return true;
    pthread_mutex_lock(&limits->lock);
    entry = limits_find_count(limits, place->key, true);
    if (entry) { /* without memory the connection is let in, uncounted */
        fits = entry->count < max;
        entry->count++;
        place->counted = true;
    }
    pthread_mutex_unlock(&limits->lock);
    return fits;
}

static void uncount(struct listen_limits *limits, const uint8_t key[16])
{
    struct address_count *entry;

    pthread_mutex_lock(&limits->lock);
    entry = limits_find_count(limits, key, false);
    if (entry && --entry->count == 0) {
        HASH_DELETE(hh, limits->addresses, entry);
        free(entry);
    }
    pthread_mutex_unlock(&limits->lock);
}

/* ---- waiting ---- */

void listen_limits_register(struct listen_limits *limits, struct listen_waiter *waiter)
{
    pthread_mutex_lock(&limits->lock);
    waiter->waits = false;
    waiter->next = limits->waiters;
    limits->waiters = waiter;
    pthread_mutex_unlock(&limits->lock);
}

void listen_limits_forget(struct listen_limits *limits, struct listen_waiter *waiter)
{
    struct listen_waiter **link = &limits->waiters;

    pthread_mutex_lock(&limits->lock);
    while (*link && *link != waiter)
        link = &(*link)->next;
    if (*link) {
        *link = waiter->next;
        if (waiter->waits)
            atomic_fetch_sub(&limits->waiting, 1);
    }
    waiter->waits = false;
    pthread_mutex_unlock(&limits->lock);
}

void listen_limits_wait(struct listen_limits *limits, struct listen_waiter *waiter)
{
    pthread_mutex_lock(&limits->lock);
    if (!waiter->waits) {
        waiter->waits = true;
        atomic_fetch_add(&limits->waiting, 1);
    }
    pthread_mutex_unlock(&limits->lock);
}

static void wake_waiting(struct listen_limits *limits)
{
    if (atomic_load(&limits->waiting) == 0)
        return;
    pthread_mutex_lock(&limits->lock);
    for (struct listen_waiter *waiter = limits->waiters; waiter; waiter = waiter->next) {
        if (!waiter->waits)
            continue;
        waiter->waits = false;
        atomic_fetch_sub(&limits->waiting, 1);
        waiter->wake(waiter);
    }
    pthread_mutex_unlock(&limits->lock);
}

void listen_limits_give(struct listen_limits *limits)
{
    atomic_fetch_sub(&limits->connections, 1);
    wake_waiting(limits);
}

void listen_limits_leave(struct listen_limits *limits, const struct listen_place *place)
{
    if (place->counted)
        uncount(limits, place->key);
    listen_limits_give(limits);
}

void listen_limits_want(struct listen_limits *limits, struct listen_waiter *waiter, size_t count)
{
    if (count == 0)
        return;
    atomic_store(&limits->wanted, count);
    pthread_mutex_lock(&limits->lock);
    for (struct listen_waiter *other = limits->waiters; other; other = other->next) {
        if (other != waiter)
            other->wake(other);
    }
    pthread_mutex_unlock(&limits->lock);
}

size_t listen_limits_take_wanted(struct listen_limits *limits)
{
    return atomic_exchange(&limits->wanted, 0);
}
