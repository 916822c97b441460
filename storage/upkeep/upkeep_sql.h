/*
 * upkeep_sql: the statements of purge, clean-up and scrub about file rows. They go through whole tables, by row_id, a
 * page at a time. Each statement that changes rows names what was seen of them, and takes the LEASE on whose behalf it is
 * made: where the row of t_lease names another owner by then, it changes nothing. So a member that was stopped in the
 * middle of its work changes no row after another one has taken the lease over. BLOCKS, database threads only; called
 * inside jobs of the upkeep.
 */
#ifndef REEL_STORAGE_UPKEEP_SQL_H
#define REEL_STORAGE_UPKEEP_SQL_H

#include "storage/rows/meta_sql.h"
#include "storage/rows/table_hash.h"
#include "storage/upkeep/lease.h"

#define UPKEEP_PAGE 100 /* rows at a time */

struct upkeep_row {
    unsigned table; /* 0..TABLE_HASH_TABLES - 1 */
    int64_t row_id;
    struct proto_file_key key; /* file "": it cannot be read */
    struct meta_row row;
    bool chosen, gone, shared; /* of whoever works on a page */
};

struct upkeep_page {
    size_t count;
    struct upkeep_row rows[UPKEEP_PAGE];
};

/* Deleted rows that nobody gave a time of deletion (the predecessor's) are deleted NOW. */
MUST_CHECK enum db_result upkeep_sql_stamp(struct db_connection *connection, const struct lease *lease,
                                           unsigned table, const char *group, int64_t now,
                                           struct error *error);

/* Rows of GROUP or of no group behind AFTER (a row_id) that were deleted at LIMIT or before, or are being
 * purged. */
MUST_CHECK enum db_result upkeep_sql_find_purgeable(struct db_connection *connection,
                                                    const struct store *store, unsigned table,
                                                    const char *group, int64_t limit, int64_t after,
                                                    struct upkeep_page *page, struct error *error);

/* Rows of GROUP or of no group behind AFTER (a row_id) that are not deleted, and whose time was over at NOW. */
MUST_CHECK enum db_result upkeep_sql_find_expired(struct db_connection *connection, const struct store *store,
                                                  unsigned table, const char *group, int64_t now,
                                                  int64_t after, struct upkeep_page *page,
                                                  struct error *error);

/* ROW, whose time was over at NOW, is deleted at DELETED by the change CHANGE_ID; unless it was deleted or given another time
 * meanwhile: then CHANGED is false. */
MUST_CHECK enum db_result upkeep_sql_expire(struct db_connection *connection, const struct lease *lease,
                                            const struct upkeep_row *row, const char *group, int64_t now,
                                            int64_t deleted, int64_t change_id, bool *changed,
                                            struct error *error);

/* Deleted (at LIMIT or before) -> being purged, and of GROUP, unless it was restored meanwhile: then CHANGED is false. */
MUST_CHECK enum db_result upkeep_sql_mark_purging(struct db_connection *connection, const struct lease *lease,
                                                  const struct upkeep_row *row, const char *group,
                                                  int64_t limit, bool *changed, struct error *error);

/* Takes away a row that is being purged. REMOVED false: it was gone, or the lease is. */
MUST_CHECK enum db_result upkeep_sql_remove(struct db_connection *connection, const struct lease *lease,
                                            const struct upkeep_row *row, bool *removed, struct error *error);

/* FOUND: a row of any group and table has FILE_PATH, other than BUT (NULL: none). */
MUST_CHECK enum db_result upkeep_sql_other_row(struct db_connection *connection, const char *file_path,
                                               const struct upkeep_row *but, bool *found,
                                               struct error *error);

/* All rows with FILE_PATH -> being purged, and of GROUP, so that nobody restores one of them while the file is removed; none is where
 * one of them is not deleted, was deleted after LIMIT, or is another group's and not being purged (SHARED). CHANGED: all of them are
 * being purged now; false: SHARED, or the lease is gone. In a transaction, before whose end nobody changes a row of this path. */
MUST_CHECK enum db_result upkeep_sql_mark_path(struct db_connection *connection, const struct lease *lease,
                                               const char *file_path, const char *group, int64_t limit,
                                               bool *shared, bool *changed, struct error *error);

/* TAKEN: a row of any group and table has FILE_PATH, or a transaction that has not ended may add one: then the database says
 * so after its lock_wait_timeout, DB_TRANSIENT. The COMMIT of such a transaction may be on its way although its client has
 * long given up. A Galera cluster knows so of the transactions of its own node only. */
MUST_CHECK enum db_result upkeep_sql_taken(struct db_connection *connection, const char *file_path,
                                           bool *taken, struct error *error);

#define UPKEEP_NAMES_MAX 64

/* PATH is called with those of COUNT (at most UPKEEP_NAMES_MAX) FILE_PATHS that a file row or a partial upload of any group has. */
MUST_CHECK enum db_result upkeep_sql_named(struct db_connection *connection, const char *const *file_paths,
                                           size_t count, void (*path)(void *argument, const char *file_path),
                                           void *argument, struct error *error);

/* ANY: rows of GROUP or of no group have FILE_PATH, in a state other than being purged. ROW: the first one that WANTS (its file), where
 * WANTED; rows of no group may be another group's. */
MUST_CHECK enum db_result upkeep_sql_holder(struct db_connection *connection, const struct store *store,
                                            const char *group, const char *file_path,
                                            bool (*wants)(void *argument, const struct meta_row *row),
                                            void *argument, struct upkeep_row *row, bool *any, bool *wanted,
                                            struct error *error);

struct upkeep_trash {
    int64_t files, bytes;
    int64_t damaged; /* rows, deleted ones too */
};
/* Adds to TRASH what the deleted rows of a table hold, and how many rows are damaged. */
MUST_CHECK enum db_result upkeep_sql_trash(struct db_connection *connection, unsigned table,
                                           const char *group, struct upkeep_trash *trash,
                                           struct error *error);

/* Rows of GROUP or of no group behind AFTER, in any state but being purged. */
MUST_CHECK enum db_result upkeep_sql_page(struct db_connection *connection, const struct store *store,
                                          unsigned table, const char *group, int64_t after,
                                          struct upkeep_page *page, struct error *error);

/* Any group's rows and partial uploads whose file_path begins with PREFIX, which ends in a slash; of all tables. PATH is
 * called with each. */
MUST_CHECK enum db_result upkeep_sql_paths(struct db_connection *connection, const char *prefix,
                                           void (*path)(void *argument, const char *file_path),
                                           void *argument, struct error *error);

/* One row as it is now; FOUND false: gone. */
MUST_CHECK enum db_result upkeep_sql_again(struct db_connection *connection, const struct store *store,
                                           const struct upkeep_row *row, struct upkeep_row *now, bool *found,
                                           struct error *error);

/* STATE in place of ROW's, if nobody changed it meanwhile; and GROUP's from now on. */
MUST_CHECK enum db_result upkeep_sql_mark(struct db_connection *connection, const struct lease *lease,
                                          const struct upkeep_row *row, const char *group,
                                          enum meta_state state, bool *changed, struct error *error);

/* The digests of a row that lacks one (the SHA-256, or both) and is in the state that was seen. SHA256 may be NULL. */
MUST_CHECK enum db_result upkeep_sql_set_digest(struct db_connection *connection, const struct lease *lease,
                                                const struct upkeep_row *row,
                                                const uint8_t digest[PROTO_DIGEST_SIZE],
                                                const uint8_t sha256[DIGEST_SHA256_SIZE], bool *changed,
                                                struct error *error);

#endif
