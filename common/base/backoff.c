/*
 * backoff: doubling, a limit, and randomness.
 */
#include "common/base/backoff.h"

#include <stdlib.h>

int64_t backoff_next(struct backoff *backoff)
{
    int64_t pause_ms =
        min_i64(max_i64(2 * backoff->last_ms, backoff->first_ms), max_i64(backoff->longest_ms, 1));

    backoff->last_ms = pause_ms;
    return pause_ms - (int64_t)arc4random_uniform((uint32_t)min_i64(pause_ms / 2 + 1, UINT32_MAX));
}
