/*
 * insert_rows: the rows of one batch, on a database thread: their records in the upload journal, the rows, and that a record is void. Its
 * members are one thread's at a time: that of the job which adds them. Called by storage/rows/insert_batch.c.
 */
#ifndef REEL_STORAGE_INSERT_ROWS_H
#define REEL_STORAGE_INSERT_ROWS_H

#include "storage/rows/insert_batch.h"

struct insert_rows {
    const struct insert_journal *journal; /* NULL: none */
    bool together, relaxed;               /* as in insert_batches_options */
    bool written;                         /* the records of those that are promised */
    int64_t last;                         /* the highest number of its items; 0: none */
    int64_t marked;                       /* a transaction that stores this number was begun */
    bool voided;                          /* and one that was synced has stored the last one */
    size_t count;
    struct insert_item *items[INSERT_BATCH_MAX];
};

/* Writes the records of those that are promised; once, however often the job is run. Those whose records could not be written
 * are `unwritten`. BLOCKS. */
void insert_rows_record(struct insert_rows *rows);

/* DB_OK: each item says what became of it, for good. DB_TRANSIENT, DB_UNCERTAIN: to be called again, for those that are not known
 * yet; *ERROR says why. BLOCKS. */
enum db_result insert_rows_add(struct insert_rows *rows, struct db_connection *connection,
                               struct error *error);

/* RESULT ended it: of those that were not added, and whose records are written, nobody knows what a start will make. */
void insert_rows_doubt(struct insert_rows *rows, enum db_result result, const struct error *error);

#endif
