/*
 * lease_sql: the statements about the table t_lease. BLOCKS, database threads only.
 */
#ifndef REEL_STORAGE_LEASE_SQL_H
#define REEL_STORAGE_LEASE_SQL_H

#include "common/db/db.h"

#define LEASE_NAME_SIZE     64
#define LEASE_OWNER_SIZE    256
#define LEASE_PROGRESS_SIZE 32768

struct lease_row {
    char owner[LEASE_OWNER_SIZE]; /* "": nobody's */
    int64_t renewals;
    int64_t wanted; /* number of the last scrub that was asked for */
    bool repair;    /* the next one that begins is to repair */
    int64_t done;   /* number of the last one that ended */
    char progress[LEASE_PROGRESS_SIZE];
};

/* The row, which is made where it is missing. */
MUST_CHECK enum db_result lease_sql_read(struct db_connection *connection, const char *name,
                                         struct lease_row *row, struct error *error);

/* Is there such a row? None is made. */
MUST_CHECK enum db_result lease_sql_exists(struct db_connection *connection, const char *name, bool *exists,
                                           struct error *error);

/* OWNER's with one renewal more, if it still is as SEEN says. TAKEN false: somebody was quicker. */
MUST_CHECK enum db_result lease_sql_take(struct db_connection *connection, const char *name,
                                         const struct lease_row *seen, const char *owner, bool *taken,
                                         struct error *error);

/* Nobody's, if it was OWNER's. */
MUST_CHECK enum db_result lease_sql_release(struct db_connection *connection, const char *name,
                                            const char *owner, struct error *error);

/* DONE negative: left as it is. STORED false: it is not OWNER's any more. */
MUST_CHECK enum db_result lease_sql_store(struct db_connection *connection, const char *name,
                                          const char *owner, const char *progress, int64_t done, bool *stored,
                                          struct error *error);

/* The scrub that SEEN asks for (wanted, repair) begins, with PROGRESS as its place: the wish to repair is used up. BEGUN
 * false: another one is wanted by now, or the row is not OWNER's any more. */
MUST_CHECK enum db_result lease_sql_begin(struct db_connection *connection, const char *name,
                                          const char *owner, const struct lease_row *seen,
                                          const char *progress, bool *begun, struct error *error);

/* One more confirmation (`wanted`), if one is needed: the row's progress is still SEEN's. CONFIRMED false: it is not. */
MUST_CHECK enum db_result lease_sql_confirm(struct db_connection *connection, const char *name,
                                            const struct lease_row *seen, bool *confirmed,
                                            struct error *error);

/* One more scrub is wanted; *NUMBER is its number. A repair that is wanted and has not begun stays wanted. In a
 * transaction of its own. */
MUST_CHECK enum db_result lease_sql_want(struct db_connection *connection, const char *name, bool repair,
                                         int64_t *number, struct error *error);

#endif
