/*
 * rate: buckets hashed by key and address (for IPv6 the network), with a seed of this process. A bucket holds ten seconds' worth,
 * and at least the burst.
 */
#include "common/base/rate.h"
#include "common/base/address.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BUCKETS      4096
#define FULL_SECONDS 10

struct bucket {
    int64_t taken_milli; /* thousandths that were taken and have not come back */
    int64_t since_ms;
};

struct rate {
    pthread_mutex_t mutex;
    int64_t per_second, burst;
    uint64_t seed;
    struct bucket buckets[BUCKETS];
};

struct rate *rate_create(int64_t per_second, int64_t burst)
{
    struct rate *rate = calloc(1, sizeof(*rate));
    if (!rate)
        return NULL;
    pthread_mutex_init(&rate->mutex, NULL);
    arc4random_buf(&rate->seed, sizeof(rate->seed));
    rate->per_second = per_second;
    rate->burst = burst;
    return rate;
}

void rate_destroy(struct rate *rate)
{
    if (!rate)
        return;
    pthread_mutex_destroy(&rate->mutex);
    free(rate);
}

void rate_configure(struct rate *rate, int64_t per_second)
{
    pthread_mutex_lock(&rate->mutex);
    rate->per_second = per_second;
    pthread_mutex_unlock(&rate->mutex);
}

static struct bucket *find_bucket(struct rate *rate, const char *key, const char *host)
{
    uint64_t hash = XXH3_64bits_withSeed(key, strlen(key), rate->seed);
    uint8_t network[ADDRESS_NETWORK_SIZE];
    bool numeric = address_network(host, network);
    const void *bytes = numeric ? (const void *)network : host;
    size_t size = numeric ? sizeof(network) : strlen(host);

    return &rate->buckets[XXH3_64bits_withSeed(bytes, size, hash) % BUCKETS];
}

int64_t rate_take(struct rate *rate, const char *key, const char *host, int64_t count, int64_t now_ms)
{
    struct bucket *bucket = find_bucket(rate, key, host);
    int64_t wait_ms = 0;
    pthread_mutex_lock(&rate->mutex);
    int64_t full = max_i64(rate->per_second * FULL_SECONDS, rate->burst) * 1000;
    int64_t elapsed_ms = min_i64(max_i64(now_ms - bucket->since_ms, 0), FULL_SECONDS * INT64_C(1000000));
    bucket->taken_milli = max_i64(bucket->taken_milli - elapsed_ms * rate->per_second, 0);
    bucket->since_ms = now_ms;
    int64_t beyond = bucket->taken_milli + count * 1000 - full;
    if (rate->per_second > 0 &&
        beyond > 0) /* so many thousandths come back in a millisecond as units in a second */
        wait_ms = (beyond + rate->per_second - 1) / rate->per_second;
    else if (rate->per_second > 0)
        bucket->taken_milli += count * 1000;
    pthread_mutex_unlock(&rate->mutex);
    return wait_ms;
}
