/*
 * workers: threads for whatever can block (open, stat, fsync, unlink, cold reads, name look-up), with the completion
 * posted back to the loop that asked. One pool for each thing that can hang alone: a store path has its own, so that
 * a hanging mount uses up no other path's threads.
 */
#ifndef REEL_COMMON_WORKERS_H
#define REEL_COMMON_WORKERS_H

#include "common/loop/loop.h"

/* A piece of blocking work. Embed it in what it is about; it must stay valid until done() (or, without done, run())
 * has been called. */
struct job {
    void (*run)(struct job *job);  /* on a worker thread */
    void (*done)(struct job *job); /* then on LOOP; NULL: nothing follows, and run() may free the job */
    struct loop *loop;             /* whose loop done() runs on */
    struct task task;              /* private */
    struct job *next;              /* private */
};

struct workers;

/* THREADS at least 1; QUEUE_MAX bounds the jobs that wait for a free thread. NAME: thread name and label of
 * the metrics reel_workers_*{pool="NAME"}. NULL on failure. */
MUST_CHECK struct workers *workers_create(const char *name, size_t threads, size_t queue_max,
                                          struct error *error);

/* Any thread, never blocks. False when the queue is full or the pool is being destroyed: the job was not taken, and
 * the caller answers ERROR_UNAVAILABLE. Jobs start in the order of submission. */
MUST_CHECK bool workers_submit(struct workers *workers, struct job *job);

/* Jobs that wait at this moment. */
size_t workers_waiting(const struct workers *workers);

/* The age in ms of the oldest running job, 0 with none: how long something has been hanging. */
int64_t workers_oldest_ms(const struct workers *workers);

/* Takes no new job, runs those that wait, waits at most TIMEOUT_MS for the threads. False when some still hang: then
 * the pool is left alone, not freed; another call may try again. Their loops must still run or exist until then. NULL is
 * ignored (true). */
bool workers_destroy(struct workers *workers, int64_t timeout_ms);

/* Does a pool that was left alone like that still exist? Then the process is to end by _exit(2): its threads may use anything that they
 * were given, and what other handlers of exit(3) take down. Any thread. */
bool workers_are_left(void);

#endif
