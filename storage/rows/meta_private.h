/*
 * meta_private: struct meta as its modules share it: meta.c (life, jobs, look-ups, lists), meta_insert.c,
 * meta_change.c, meta_edit.c and partial_rows.c. For those only.
 */
#ifndef REEL_STORAGE_META_PRIVATE_H
#define REEL_STORAGE_META_PRIVATE_H

#include "storage/rows/insert_batch.h"
#include "storage/rows/meta.h"
#include "storage/rows/row_cache.h"

#include <pthread.h>
#include <stdatomic.h>

struct meta_lookup;

/* storage/rows/quota.c: what is known of quotas. */
struct quota_state {
    atomic_llong bytes, files; /* of users without limits of their own, PROTO_QUOTA_NONE: none */
    atomic_llong ask_at_ms;    /* when the database is to be asked again whether anybody has a row */
    atomic_bool any;           /* what it said */
};

struct meta {
    const struct storage_config *config;
    const struct store *store;
    struct loop *loop;
    struct db *db; /* under the mutex; NULL once the database is being closed */
    struct insert_batches *batches;
    const struct insert_journal *journal; /* NULL: there is none */
    struct row_cache *cache;
    pthread_mutex_t mutex;
    struct meta_lookup *lookups;           /* under the mutex */
    atomic_llong ask_time_ms, time_offset; /* the database's clock: see meta_now() */
    struct quota_state quota;
    atomic_bool away; /* the database cannot be reached: the pool says so, and tries by itself */
    struct event *timer;
};

/* Seconds since the epoch: the later of two clocks, this server's and the database's, so that a server whose clock is behind shortens no
 * time. Of the database's clock this server knows how far it is ahead of its own monotonic one; it asks once a minute. */
MUST_CHECK enum db_result meta_now(struct meta *meta, struct db_connection *connection, int64_t *seconds,
                                   struct error *error);

/* A time of expiry as requests have it, in the form of rows: NOW counts where it is relative; 0: never. */
int64_t meta_expiry(int64_t expires, int64_t now);

/* Makes JOB one that may be run again; done() runs on LOOP. meta_run() submits it. */
void meta_job_init(struct db_job *job,
                   enum db_result (*run)(struct db_job *, struct db_connection *, struct error *),
                   void (*done)(struct db_job *), struct loop *loop);

/* Words the failure of a job that ended with RESULT because of CAUSE, logs it, and looks whether the database is away.
 * Nothing for DB_OK. Any thread. */
void meta_judge(struct meta *meta, enum db_result result, const struct error *cause, struct error *error);

/* ROW where this server may keep it in its cache; NULL where it is another group's. */
const struct meta_row *meta_row_kept(const struct meta *meta, const struct meta_row *row);

#endif
