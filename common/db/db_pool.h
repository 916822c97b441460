/*
 * db_pool: the pool's threads and what they share, and how one of them gets its connection. Private to db.c and db_pool.c.
 */
#ifndef REEL_COMMON_DB_POOL_H
#define REEL_COMMON_DB_POOL_H

#include "common/db/db_backend.h"
#include "common/db/db_state.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

struct db_thread {
    struct db *db;
    size_t index;
    pthread_t thread;
    struct db_connection connection;
    bool connected_once;
    bool coming;  /* counted; the thread's own */
    bool counted; /* in `connected` */
    /* under the lock */
    pthread_cond_t wake;
    bool asleep; /* and in the list of those */
    LIST_ENTRY(db_thread) link;
};

struct db {
    struct db_url url;
    struct db_shared shared;
    size_t queue_max;
    int64_t job_timeout_ms;

    struct db_thread *threads;
    size_t thread_count;     /* that run */
    atomic_size_t connected; /* threads that have a connection */
    pthread_t keeper;

    pthread_mutex_t lock; /* guards all that follows */
    pthread_cond_t keep;  /* the keeper has something to watch, or stopping */
    bool keeper_idle;     /* it watches nothing; else it wakes up by itself, in time */
    bool stopping;
    struct db_job *head, **tail;
    size_t waiting, idle;
    LIST_HEAD(, db_thread) asleep; /* the last one first */
    atomic_size_t
        coming; /* threads that will look at the queue without being woken; less only under the lock */

    struct db_state state;
    struct log_gate broken_gate;

    struct metric *queue_depth, *job_duration, *reconnects, *retries;
    struct metric *errors[DB_UNCERTAIN + 1];
};

/* Sleeps with db->lock held until MONOTONIC_MS, or until the pool stops. */
void db_pool_pause_until(struct db *db, int64_t monotonic_ms);

/* THREAD's connection was opened or closed, or may have been. Its own thread. */
void db_pool_count(struct db_thread *thread);

/* The server works, and has no connection left for this thread, while others have theirs: they do the work. Its own thread. */
bool db_pool_is_crowded_out(const struct db_thread *thread);

/* Makes sure that the thread has a connection that is good for a job; PROBE: asks the database also when it was used a moment ago. Waits
 * for the next attempt to be due, but not beyond DEADLINE_MS. BLOCKS. Its own thread. */
MUST_CHECK enum db_result db_pool_connect(struct db_thread *thread, bool probe, int64_t deadline_ms,
                                          struct error *error);

#endif
