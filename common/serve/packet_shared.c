/*
 * packet_shared: the body of a reply that many connections send at once: one copy, freed by its last user. How many
 * wait for their peers is counted apart, so that what waits in memory is counted once.
 */
#include "common/serve/packet_connection.h"
#include <stdlib.h>
#include <string.h>

struct packet_shared {
    atomic_size_t references;
    atomic_size_t holders; /* replies with it that wait for their peers */
    size_t size;
    uint8_t bytes[];
};

struct packet_shared *packet_shared_create(const void *bytes, size_t size)
{
    struct packet_shared *shared = malloc(sizeof(*shared) + size);

    if (!shared)
        return NULL;
    atomic_init(&shared->references, 1);
    atomic_init(&shared->holders, 0);
    shared->size = size;
    if (size > 0)
        memcpy(shared->bytes, bytes, size);
    return shared;
}

struct packet_shared *packet_shared_take(struct packet_shared *shared)
{
    atomic_fetch_add(&shared->references, 1);
    return shared;
}

void packet_shared_release(struct packet_shared *shared)
{
    if (shared && atomic_fetch_sub(&shared->references, 1) == 1)
        free(shared);
}

size_t packet_shared_hold(struct packet_shared *shared)
{
    return atomic_fetch_add(&shared->holders, 1) == 0 ? shared->size : 0;
}

size_t packet_shared_unhold(struct packet_shared *shared)
{
    return atomic_fetch_sub(&shared->holders, 1) == 1 ? shared->size : 0;
}

const void *packet_shared_bytes(const struct packet_shared *shared)
{
    return shared->bytes;
}

size_t packet_shared_size(const struct packet_shared *shared)
{
    return shared->size;
}
