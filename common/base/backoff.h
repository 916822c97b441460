/*
 * backoff: how long to wait before something that failed is tried again: doubling up to a limit, and shortened at random,
 * so that those who failed together do not come back together. Touches nothing; its owner's thread only.
 */
#ifndef REEL_COMMON_BACKOFF_H
#define REEL_COMMON_BACKOFF_H

#include "common/base/base.h"

struct backoff {
    int64_t first_ms, longest_ms; /* set by the owner; FIRST at least 1 */
    int64_t last_ms;              /* before it is shortened; 0: nothing has failed */
};

/* It failed: the pause before the next try, between half and all of FIRST, then of twice as much, up to LONGEST. */
int64_t backoff_next(struct backoff *backoff);

/* It succeeded. */
static inline void backoff_reset(struct backoff *backoff)
{
    backoff->last_ms = 0;
}

#endif
