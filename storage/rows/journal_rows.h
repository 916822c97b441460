/*
 * journal_rows: what the upload journal has to do with file rows: the record of a row that is to be added, the number up to which
 * the database knows of all records, and the row out of a record. Called by storage/upload/recovery.c.
 */
#ifndef REEL_STORAGE_JOURNAL_ROWS_H
#define REEL_STORAGE_JOURNAL_ROWS_H

#include "storage/rows/meta_insert.h"
#include "storage/store/journal_format.h"

/* The record of ITEM, one of a meta_insert() with a content, which RECORD points into. */
void journal_rows_record(const struct insert_item *item, struct journal_record *record);

/*
 * The row journal/ID of t_lease has the number of the last record that the database has dealt with, in `renewals`. It is stored in the
 * transaction that adds the rows: a power cut takes both or none, and what removes a row later is synced and brings it along. So a
 * record up to that number whose row is absent was deleted and purged since.
 */

/* NUMBER, or what is there if that is more; inside of a transaction, which changes something by that even where the number is there. */
MUST_CHECK enum db_result journal_rows_mark(struct db_connection *connection, uint64_t id, int64_t number,
                                            struct error *error);
/* The same in a transaction of its own, with which everything that was committed before is on the disk: it need not have been. */
MUST_CHECK enum db_result journal_rows_sync(struct db_connection *connection, uint64_t id, int64_t number,
                                            struct error *error);
/* *NUMBER: 0 where there is none. */
MUST_CHECK enum db_result journal_rows_marked(struct db_connection *connection, uint64_t id, int64_t *number,
                                              struct error *error);

enum journal_fate {
    JOURNAL_KEPT, /* its row is there: its file must be too */
    JOURNAL_LOST, /* its row is not, and must be added */
    JOURNAL_NONE, /* there is nothing to bring back */
};
/* What has become of RECORD, where all up to MARKED were dealt with. LOSSLESS: the database has lost nothing since, so what is
 * not there was never promised. */
MUST_CHECK enum db_result journal_rows_judge(struct db_connection *connection, const struct store *store,
                                             const struct journal_record *record, int64_t marked,
                                             bool lossless, enum journal_fate *fate, struct error *error);
/* Adds RECORD's row, PLACE as in its path; journal_rows_sync() must follow. It is counted where its user's files are and a limit allows it,
 * else by the next recount (storage/rows/quota.h): it was admitted. */
MUST_CHECK enum db_result journal_rows_add(struct meta *meta, struct db_connection *connection,
                                           const struct journal_record *record, const struct path *place,
                                           struct error *error);

#endif
