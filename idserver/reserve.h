/*
 * reserve: takes a run of numbers out of t_id_gen, in one transaction, for good: what is reserved here is
 * never given to anybody else, by any ID server on the same database. Runs on a database thread. Called by
 * sequences.c.
 */
#ifndef REEL_IDSERVER_RESERVE_H
#define REEL_IDSERVER_RESERVE_H

#include "common/db/db.h"

/* Numbers of a key: 0..RESERVE_END - 1, the four base-512 digits of a stored file's path. */
#define RESERVE_END (INT64_C(512) * 512 * 512 * 512)
/* Most numbers reserved at once. */
#define RESERVE_MAX INT64_C(1000000)

struct reservation {
    int64_t first;
    int64_t count; /* what was asked, or less at the end of the number space; 0: used up */
    int64_t
        behind; /* > 0: the row had gone back by this many numbers, as with a restored backup; they are skipped */
    bool created; /* the key had no row */
    bool unknown; /* the key has no row, and was not to be given one: nothing is reserved */
};

/* COUNT (1..RESERVE_MAX) numbers of KEY, none below FLOOR (0..RESERVE_END): what the caller knows to be given out is not given again,
 * whatever the row says. MAY_CREATE: a key without a row gets one. The numbers may be used only where the result is DB_OK: after DB_UNCERTAIN
 * the row may or may not have moved on, and reserving anew is right in both cases. */
MUST_CHECK enum db_result reserve_numbers(struct db_connection *connection, const char *key, int64_t floor,
                                          int64_t count, bool may_create, struct reservation *reservation,
                                          struct error *error);

/* Whether the table is there and can be read. */
MUST_CHECK enum db_result reserve_probe(struct db_connection *connection, struct error *error);

#endif
