/*
 * meta_sql: the statements about file rows (tables t_file_01..t_file_03, chosen by the user) and the reading
 * of a row into a struct. A row comes from a database that others write too: everything in it is checked
 * here. Called by storage/rows/meta*.c inside database jobs; BLOCKS, database threads only.
 */
#ifndef REEL_STORAGE_META_SQL_H
#define REEL_STORAGE_META_SQL_H

#include "common/db/db.h"
#include "common/proto/digest.h"
#include "common/proto/proto_storage.h"
#include "storage/store/store.h"

/* What the column `status` holds. Whatever else it holds counts as deleted. Damaged: the file is missing or has other
 * bytes than were acknowledged; the scrub found that, and keeps it out of service. That a file is damaged and that it
 * is deleted are two facts: DELETE changes 0 to 1 and 3 to 4, RESTORE 1 to 0 (a damaged file cannot be restored), the
 * scrub 0 to 3 and 1 to 4 and back, the purge 1 and 4 to 2. */
enum meta_state {
    META_STATE_NORMAL = 0, /* also NULL */
    META_STATE_DELETED = 1,
    META_STATE_PURGING = 2, /* its file is being removed: it never comes back */
    META_STATE_DAMAGED = 3,
    META_STATE_DAMAGED_DELETED = 4,
};

/* What DELETE (status PROTO_FILE_DELETED) or RESTORE makes of a row in STATE that it applies to. */
static inline int64_t meta_state_changed(int64_t state, enum proto_file_status status)
{
    if (status != PROTO_FILE_DELETED)
        return META_STATE_NORMAL;
    return state == META_STATE_DAMAGED ? META_STATE_DAMAGED_DELETED : META_STATE_DELETED;
}

static inline bool meta_state_is_damaged(int64_t state)
{
    return state == META_STATE_DAMAGED || state == META_STATE_DAMAGED_DELETED;
}

struct meta_row {
    struct proto_stat stat; /* size -1 where the row has none; group "" in a row of the predecessor */
    char file[PROTO_FILE_SIZE];
    char file_path[STORE_FILE_PATH_SIZE]; /* as it stands in the row; "" when it is longer than any that we
                                             know */
    struct store_path *path; /* NULL: file_path means no place on this server, see store_find() */
    struct path place;
    int64_t state; /* enum meta_state; anything but normal shows as deleted in STAT */
    /* deleted_at as it stands in the row, which every deletion and restoration changes: seconds since 1970 of a
     * deleted row, a negative number or 0 of one that is not. With file_path and state it names what was read,
     * see meta_sql_set_status(). 0 in a cached row. */
    int64_t version;
    int64_t
        change_id; /* of the DELETE, RESTORE or RENAME that was the last one, chosen at random by it; 0: none */
    bool has_sha256; /* false also in a cached row */
    uint8_t sha256[DIGEST_SHA256_SIZE];
    bool given_up;  /* shown with the place of a former copy: see storage/rows/meta_move.h */
    bool has_texts; /* false: name and content type were not kept (a cached row) */
};

/* The columns of a statement that meta_sql_read() takes, and how many these are. */
#define META_SQL_COLUMNS                                                                                     \
    "id, appid, userid, status, file_path, file_size, group_name, file_name, content_type, digest, "         \
    "deleted_at, change_id, sha256, expires_at"
#define META_SQL_COLUMN_COUNT 14

/* ROW (and KEY, where not NULL) from columns; what does not fit its field says nothing. Pure. */
void meta_sql_read(const struct store *store, const struct db_value *columns, struct meta_row *row,
                   struct proto_file_key *key);

/* The database's clock, seconds since the epoch. */
MUST_CHECK enum db_result meta_sql_now(struct db_connection *connection, int64_t *seconds,
                                       struct error *error);

/* PATH gets every path that SQL, a query for that one column with COUNT PARAMETERS, selects. */
MUST_CHECK enum db_result meta_sql_paths(struct db_connection *connection, const char *sql,
                                         const struct db_value *parameters, size_t count,
                                         void (*path)(void *argument, const char *file_path), void *argument,
                                         struct error *error);

/* FOUND false: there is no such row; ROW is undefined then. */
MUST_CHECK enum db_result meta_sql_find(struct db_connection *connection, const struct store *store,
                                        const struct proto_file_key *key, struct meta_row *row, bool *found,
                                        struct error *error);

/* Adds ROW (stat, file_path) under KEY; DB_CONSTRAINT where KEY has a row. */
MUST_CHECK enum db_result meta_sql_insert(struct db_connection *connection, const struct proto_file_key *key,
                                          const struct meta_row *row, struct error *error);

#define META_SQL_MANY_MAX 64

struct meta_sql_new {
    const struct proto_file_key *key;
    const struct meta_row *row;
};
/* COUNT rows (at most META_SQL_MANY_MAX), one statement per table; inside of a transaction. On DB_CONSTRAINT some may have
 * been added: it is to be rolled back. */
MUST_CHECK enum db_result meta_sql_insert_many(struct db_connection *connection,
                                               const struct meta_sql_new *rows, size_t count,
                                               struct error *error);

/* Sets KEY's row to STATUS, if it still is as it was read as SEEN (state, version, path, change_id) and is of GROUP or of no group, and takes a
 * time of expiry up to OVER away: a statement that a lost connection carries out late finds another version and changes nothing. VERSION: of the
 * row from now on; seconds since 1970 for PROTO_FILE_DELETED, else a negative number that this row never had. CHANGED
 * false: the row is gone or another one by now; read it again. */
MUST_CHECK enum db_result meta_sql_set_status(struct db_connection *connection,
                                              const struct proto_file_key *key, const char *group,
                                              const struct meta_row *seen, enum proto_file_status status,
                                              int64_t version, int64_t change_id, int64_t over, bool *changed,
                                              struct error *error);

/* NAME and EXPIRES for KEY's row, if it still is as it was read as SEEN (normal; version, path, change_id, group); CHANGE_ID: of
 * the row from now on. CHANGED as above. */
MUST_CHECK enum db_result meta_sql_edit(struct db_connection *connection, const struct proto_file_key *key,
                                        const struct meta_row *seen, const char *name, int64_t expires,
                                        int64_t change_id, bool *changed, struct error *error);

/* TYPE for KEY's row, if it has none and its file is still the one at FILE_PATH; else CHANGED is false. */
MUST_CHECK enum db_result meta_sql_set_type(struct db_connection *connection,
                                            const struct proto_file_key *key, const char *file_path,
                                            const char *type, bool *changed, struct error *error);

/* KEY's row, which still is as it was read as SEEN (state: normal or damaged; version, path), is about the file NEW (path,
 * digest, group, state) from now on. Its name and content type stay, where it has them. CHANGED as above. */
MUST_CHECK enum db_result meta_sql_replace(struct db_connection *connection, const struct proto_file_key *key,
                                           const char *group, const struct meta_row *seen,
                                           const struct meta_row *new, bool *changed, struct error *error);

/* Removes KEY's row, if it still is as it was read (or added) as SEEN. */
MUST_CHECK enum db_result meta_sql_remove(struct db_connection *connection, const struct proto_file_key *key,
                                          const struct meta_row *seen, bool *removed, struct error *error);

/* HAS: whether a row of any table speaks of a file in the store path KEY. */
MUST_CHECK enum db_result meta_sql_has_rows(struct db_connection *connection, const char *key, bool *has,
                                            struct error *error);

/* Rows of LIST's user in byte order of their file ID; ROW is called for each. */
typedef void (*meta_sql_row_function)(void *argument, const struct meta_row *row);
MUST_CHECK enum db_result meta_sql_list(struct db_connection *connection, const struct store *store,
                                        const struct proto_list *list, meta_sql_row_function row,
                                        void *argument, struct error *error);

#endif
