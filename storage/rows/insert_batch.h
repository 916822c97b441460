/*
 * insert_batch: rows of uploads that end at about the same time share one transaction, and so one sync of the
 * database. Nobody waits for company: a row that comes alone goes at once, alone; what comes while the
 * database is at work goes together when it is free. Each row's fate is told to its own upload only after the
 * commit. Called by storage/rows/meta_insert.c.
 */
#ifndef REEL_STORAGE_INSERT_BATCH_H
#define REEL_STORAGE_INSERT_BATCH_H

#include "common/db/db.h"
#include "common/loop/wait_list.h"

struct insert_batches;

/* Embed it in the row. */
struct insert_item {
    /* The INSERT alone. DB_CONSTRAINT: something has the key. On a database thread. */
    enum db_result (*insert)(struct insert_item *item, struct db_connection *connection, struct error *error);
    /* The INSERTs of COUNT items that have this function in common, of which something having the key of one (DB_CONSTRAINT)
     * undoes all: then they are tried one by one. Called where the batches are `together`. On a database thread. */
    enum db_result (*insert_many)(struct insert_item *const *items, size_t count,
                                  struct db_connection *connection, struct error *error);
    /* Outside of a transaction: the INSERT, and on DB_CONSTRAINT the finding out whose row is there; DB_OK
     * when that is known. May be run again after any failure. On a database thread. */
    enum db_result (*settle)(struct insert_item *item, struct db_connection *connection, struct error *error);
    void (*done)(struct insert_item *item); /* on LOOP: what follows is set */
    struct loop *loop;
    enum db_result result; /* DB_OK: INSERT succeeded and is committed, or settle() did */
    bool settled;          /* settle() told */
    bool uncertain;        /* a try before may have been committed */
    struct error error;
    /* private */
    bool known; /* what became of it, for good; kept when the job is run again */
    bool conflict;
    struct wait wait;
};

#define INSERT_BATCH_MAX 64 /* rows of one transaction */

struct insert_batches_options {
    bool (*submit)(void *argument, struct db_job *job, struct error *error);
    void *argument;
    size_t active_max;  /* transactions at once */
    bool together;      /* rows go by insert_many() first */
    bool relaxed;       /* their commits need not be on the disk */
    int64_t timeout_ms; /* a row that has waited so long for its turn fails */
};

/* NULL without memory. */
MUST_CHECK struct insert_batches *insert_batches_create(const struct insert_batches_options *options);
void insert_batches_destroy(struct insert_batches *batches); /* nothing may be under way; NULL is ignored */

/* On ITEM->loop; done() follows in any case, never inside the call. */
void insert_batches_add(struct insert_batches *batches, struct insert_item *item);

#endif
