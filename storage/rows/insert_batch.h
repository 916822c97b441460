/*
 * insert_batch: rows of uploads that end at about the same time share one transaction, and so one sync of the
 * database. Nobody waits for company: what comes in one turn of a loop goes at the end of
 * that turn, with what comes until the database's thread has woken up; what comes while the database is at work goes together when
 * it is free. Each row's outcome is reported to its own upload only after the commit. Called by storage/rows/meta_insert.c.
 */
#ifndef REEL_STORAGE_INSERT_BATCH_H
#define REEL_STORAGE_INSERT_BATCH_H

#include "common/db/db.h"
#include "common/loop/wait_list.h"

struct insert_batches;
struct insert_item;

/*
 * The upload journal, for items that are `promised`: their records are written with one sync before their transaction, which
 * then needs none of its own, since the journal brings back what a power cut takes. In the same transaction the highest of
 * their numbers is stored: what has such a number and no row was removed since. The uploader of an item whose row is not added in the end
 * learns of it
 * only after its number was stored for good.
 */
struct insert_journal {
    void *argument;
    /* Writes the records of COUNT items and gives them numbers (sequence). False: they may or may not be there. BLOCKS; on a
     * database thread. */
    bool (*write)(void *argument, struct insert_item *const *items, size_t count, struct error *error);
    /* Stores that all up to SEQUENCE were dealt with; inside of a transaction. */
    enum db_result (*mark)(void *argument, struct db_connection *connection, int64_t sequence,
                           struct error *error);
    /* Nothing will be done any more about what has a number up to SEQUENCE. Any thread. */
    void (*settled)(void *argument, int64_t sequence);
};

/* Embed it in the row. */
struct insert_item {
    /* The INSERT alone. DB_CONSTRAINT: something has the key. On a database thread. */
    enum db_result (*insert)(struct insert_item *item, struct db_connection *connection, struct error *error);
    /* The INSERTs of COUNT items that have this function in common, of which something having the key of one (DB_CONSTRAINT)
     * undoes all: then they are tried one by one. Called where the batches are `together`. On a database thread. */
    enum db_result (*insert_many)(struct insert_item *const *items, size_t count,
                                  struct db_connection *connection, struct error *error);
    /* Outside of a transaction: the INSERT, and on DB_CONSTRAINT finding out whose row is there; DB_OK
     * when that is known. May be run again after any failure. On a database thread. */
    enum db_result (*settle)(struct insert_item *item, struct db_connection *connection, struct error *error);
    void (*done)(struct insert_item *item); /* on LOOP: what follows is set */
    struct loop *loop;
    bool alone;            /* only settle() may add it */
    bool promised;         /* by the journal, see above; false: its commit is synced */
    enum db_result result; /* DB_OK: INSERT succeeded and is committed, or settle() did */
    bool settled;          /* settle() said so */
    bool added;            /* the row is there with this one's file; settle() sets it too */
    bool unwritten; /* nothing was done, as the journal could not be written: it may come again without it */
    int64_t sequence; /* its number in the journal; 0: none */
    bool unsynced;    /* for settle(): its transaction need not be synced */
    bool uncertain;   /* a try before may have been committed */
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
    size_t active_max;                    /* transactions at once */
    bool together;                        /* rows go by insert_many() first */
    bool relaxed;                         /* their commits need not be on the disk */
    int64_t timeout_ms;                   /* a row that has waited so long for its turn fails */
    const struct insert_journal *journal; /* NULL: there is none. Only with one transaction at a time */
};

/* NULL without memory. */
MUST_CHECK struct insert_batches *insert_batches_create(const struct insert_batches_options *options);
void insert_batches_destroy(struct insert_batches *batches); /* nothing may be in progress; NULL is ignored */

/* For items that come from now on; before the first one, or NULL after the last one. JOURNAL must outlive their end. */
void insert_batches_set_journal(struct insert_batches *batches, const struct insert_journal *journal);

/* On ITEM->loop; done() follows in any case, never inside the call. */
void insert_batches_add(struct insert_batches *batches, struct insert_item *item);

#endif
