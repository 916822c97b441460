/*
 * loop: event-loop threads. Each loop is one thread with one libevent event_base; everything that belongs to a loop
 * (connections, timers, calls) is touched on its thread only, and other threads reach it by posting a task.
 * A loop never waits: whatever can block runs on workers (common/workers.h, common/db.h).
 */
#ifndef REEL_COMMON_LOOP_H
#define REEL_COMMON_LOOP_H

#include "common/base.h"
#include "common/error.h"
#include <event2/event.h>

/* Something to run on a loop. Embed it in what it is about; it must stay valid until run() is called, and may be
 * freed or posted again from inside run(). */
struct task {
    void (*run)(struct task *task);
    struct task *next; /* private to the loop */
};

struct loop;

/* A loop whose thread does not run yet: listeners and timers may be added to its base from the creating thread.
 * NAME (at most 15 bytes) names the thread. NULL on failure. */
MUST_CHECK struct loop *loop_create(const char *name, struct error *error);

/* Starts the thread. Signals are blocked in it. */
MUST_CHECK bool loop_start(struct loop *loop, struct error *error);

/* Runs the loop in the calling thread until loop_stop(); for a main thread or a test. */
void loop_run(struct loop *loop);

/* Any thread: asks the loop to end after the tasks that are posted already. Does not wait. */
void loop_stop(struct loop *loop);

/* Waits for the thread (if any) to end, then frees. What belongs to the loop must be gone before. NULL is ignored. */
void loop_destroy(struct loop *loop);

struct event_base *loop_base(struct loop *loop);

/* Any thread, never blocks, allocates nothing. Tasks posted from one thread run in their order. A task is never run
 * inside loop_post(), also not when posted from the loop's own thread. */
void loop_post(struct loop *loop, struct task *task);

/* The loop whose thread this is, or NULL. */
struct loop *loop_current(void);

/* An armed pointer to the wall and monotonic clock that is read once an iteration: libevent's cached time, ms. */
int64_t loop_now_ms(struct loop *loop);

/* A fixed set of loops, "one a core" by default. */
struct loop_group {
    struct loop **loops;
    size_t count;
};

/* COUNT 0 means one for each online core. The threads do not run yet. */
MUST_CHECK bool loop_group_create(struct loop_group *group, const char *name, size_t count, struct error *error);
MUST_CHECK bool loop_group_start(struct loop_group *group, struct error *error);
/* Stops and frees every loop; blocks until the threads have ended. */
void loop_group_destroy(struct loop_group *group);

#endif
