/*
 * chance: every decision of a run, and what the code under test takes for random: xoshiro256**, seeded by splitmix64.
 */
#include "tests/simulation/sim.h"

#include <sys/types.h>

static uint64_t state[4];

void chance_seed(uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t chance_64(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

int64_t chance_below(int64_t below)
{
    return (int64_t)(chance_64() % (uint64_t)below);
}

int64_t chance_of(const int64_t *values, size_t count)
{
    return values[chance_below((int64_t)count)];
}

bool chance(int64_t per_million)
{
    return per_million > 0 && chance_below(1000000) < per_million;
}

/* ---- chance for the code under test ---- */

uint32_t __wrap_arc4random(void);
uint32_t __wrap_arc4random(void)
{
    return (uint32_t)chance_64();
}

uint32_t __wrap_arc4random_uniform(uint32_t below);
uint32_t __wrap_arc4random_uniform(uint32_t below)
{
    return below > 0 ? (uint32_t)chance_below(below) : 0;
}

void __wrap_arc4random_buf(void *bytes, size_t size);
void __wrap_arc4random_buf(void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)chance_64();
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    __wrap_arc4random_buf(bytes, size);
    return (ssize_t)size;
}

pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
    const struct node *node = node_current();
    return node ? 1000 + 100 * node->index + node->starts : 999;
}
