/*
 * loop_watch: whether the loops that read heartbeats run. Each is sent a task now and then; one that has not run it
 * for a while stands still, and what it has not read does not count as silence. Called by service.c on the main loop.
 */
#ifndef REEL_TRACKER_LOOP_WATCH_H
#define REEL_TRACKER_LOOP_WATCH_H

#include "common/loop/loop.h"

struct loop_watch;

/* NULL without memory. */
MUST_CHECK struct loop_watch *loop_watch_create(struct loop *const *loops, size_t count);
/* After the loops have ended. NULL is ignored. */
void loop_watch_destroy(struct loop_watch *watch);

/* Several times per second. True: a loop has not run for LIMIT_MS or more. */
bool loop_watch_stuck(struct loop_watch *watch, int64_t now_ms, int64_t limit_ms);

#endif
