/*
 * rate: how much of something one address, or the holder of one key, is given per second: token buckets in a table of fixed
 * size. Two that fall into one bucket share it; nobody outside can choose which. Any thread; waits for nothing but
 * another such call.
 */
#ifndef REEL_COMMON_RATE_H
#define REEL_COMMON_RATE_H

#include "common/base/base.h"

struct rate;

/* PER_SECOND 0: no limit. BURST: what may be taken at once, at least. NULL without memory. */
MUST_CHECK struct rate *rate_create(int64_t per_second, int64_t burst);
void rate_destroy(struct rate *rate); /* NULL is ignored */
void rate_configure(struct rate *rate, int64_t per_second);

/* Takes COUNT of KEY for HOST at NOW_MS (clock_monotonic_ms()). 0: taken. Else nothing was, and COUNT will be available in
 * that many milliseconds, unless somebody else takes it. */
MUST_CHECK int64_t rate_take(struct rate *rate, const char *key, const char *host, int64_t count,
                             int64_t now_ms);

#endif
