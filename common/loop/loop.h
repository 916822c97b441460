/*
 * loop: event-loop threads. Each loop is one thread with one libevent event_base; everything that belongs to a loop
 * (connections, timers, calls) is touched on its thread only, and other threads reach it by posting a task.
 * A loop never waits: whatever can block runs on workers (common/loop/workers.h, common/db/db.h).
 */
#ifndef REEL_COMMON_LOOP_H
#define REEL_COMMON_LOOP_H

#include "common/base/base.h"
#include "common/base/error.h"
#include <event2/event.h>
#include <pthread.h>

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

/* Stops, waits for the thread (if any) to end, then frees. Tasks that are still posted run in the calling thread before,
 * and what they post too (a task that posts itself for ever is dropped after 1000 rounds); then what loop_at_end() was
 * given. Whatever else belongs to the loop must be gone before. NULL is ignored. Blocks. */
void loop_destroy(struct loop *loop);

/* TASK runs once inside loop_destroy(), when the thread has ended and the base still exists, so that whoever has events
 * in the base takes them out. Must not be posted. On the loop's thread, or while that does not run. */
void loop_at_end(struct loop *loop, struct task *task);
void loop_forget_end(struct loop *loop, struct task *task);

struct event_base *loop_base(struct loop *loop);

/* Any thread, never blocks, allocates nothing. Tasks posted from one thread run in their order. A task is never run
 * inside loop_post(), also not when posted from the loop's own thread. */
void loop_post(struct loop *loop, struct task *task);

/* The loop whose thread this is, or NULL. */
struct loop *loop_current(void);

/* Monotonic milliseconds: the same time as clock_monotonic_ms(). Cheap (no system call). */
int64_t loop_now_ms(struct loop *loop);

/* The number of the loop's present turn: from one look at all sockets up to the next. On the loop's thread. */
uint64_t loop_turn(const struct loop *loop);

/* A fixed set of loops, "one per core" by default. */
struct loop_group {
    struct loop **loops;
    size_t count;
};

/* COUNT 0 means one for each online core. The threads do not run yet. */
MUST_CHECK bool loop_group_create(struct loop_group *group, const char *name, size_t count,
                                  struct error *error);
MUST_CHECK bool loop_group_start(struct loop_group *group, struct error *error);
/* Stops and frees every loop as loop_destroy() does; no loop is freed before the threads of all have ended, so that
 * tasks may post to other loops of the group until the end. Blocks. */
void loop_group_destroy(struct loop_group *group);

/* A thread with a name (cut at 15 bytes) and signals blocked (but those that a fault raises), for loops, workers and
 * database threads. */
MUST_CHECK bool loop_thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument),
                                  void *argument, struct error *error);

#endif
