/*
 * duration: a length of time in milliseconds, as everything here counts it, in the form that libevent's timers take.
 * Touches nothing. Everybody calls it, on any thread.
 */
#ifndef REEL_COMMON_DURATION_H
#define REEL_COMMON_DURATION_H

#include "common/base/base.h"
#include <sys/time.h>

/* MS milliseconds; a negative number counts as 0 (event_add(3) then fires in the loop's next turn). */
static inline struct timeval duration_timeval(int64_t ms)
{
    ms = max_i64(ms, 0);
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

/* When DURATION from START ends, both in milliseconds; 0, that is never, where DURATION is no limit (0 or less). */
static inline int64_t duration_deadline(int64_t start, int64_t duration)
{
    return duration > 0 ? start + duration : 0;
}

/* One of PARTS equal parts of DURATION; 0 (no limit) stays 0, and nothing else becomes 0. */
static inline int64_t duration_share(int64_t duration, size_t parts)
{
    return duration > 0 ? max_i64(duration / (int64_t)max_size(parts, 1), 1) : 0;
}

#endif
