/*
 * partial_sql: the statements about partial uploads (table t_partial): what is recorded of them, who may write, and what their
 * end is. Whoever wants to write takes one over by compare-and-swap, which raises its epoch; what names an older epoch changes
 * nothing from then on, whichever member of the group asks. A row comes from a database that others write too: everything in it is
 * checked here. BLOCKS, database threads only; each function may be run again after a failure whose outcome is not known.
 */
#ifndef REEL_STORAGE_PARTIAL_SQL_H
#define REEL_STORAGE_PARTIAL_SQL_H

#include "common/db/db.h"
#include "common/proto/proto_partial.h"
#include "storage/store/store.h"

#define PARTIAL_HEX_SIZE (2 * PROTO_PARTIAL_TOKEN_SIZE + 1)
#define PARTIAL_PAGE     100

/* What the column `state` holds. */
enum partial_state {
    PARTIAL_OPEN = 0,
    PARTIAL_FINISHING = 1, /* its row of files may be there: only FINISH and JOIN_PARTS continue */
    PARTIAL_STORED = 2,    /* the file is there; kept so that a repeated FINISH gets its answer */
    PARTIAL_PURGING = 3,   /* its file is being removed: it never comes back */
};

struct partial_row {
    char token[PARTIAL_HEX_SIZE]; /* hex */
    struct proto_file_key key;
    char group[PROTO_GROUP_SIZE];
    char file_path[STORE_FILE_PATH_SIZE]; /* "" in a stored one whose bytes were there already */
    struct store_path *path;              /* NULL: file_path means no place on this server */
    struct path place;
    int64_t size;         /* -1: not known yet */
    int64_t offset;       /* bytes that are on the disk */
    int64_t epoch, claim; /* claim 0: whoever took it last will not touch its file any more */
    int64_t writer;       /* the life of the process that took it last: storage/store/store_life.h */
    bool mixed;           /* others than WRITER wrote too */
    bool loose;           /* the process of an earlier writer may still write to the file, or cut it */
    bool finishing;       /* an earlier FINISH or JOIN_PARTS may still add a row that names the file */
    int64_t state;
    int64_t keep, expires; /* seconds; seconds since 1970 */
    char name[PROTO_NAME_SIZE];
    char content_type[PROTO_CONTENT_TYPE_SIZE];
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE]; /* that was stated at the beginning */
    int64_t file_expires; /* likewise: when the file that comes of it expires, as in struct proto_put */
};

void partial_sql_token(const uint8_t token[PROTO_PARTIAL_TOKEN_SIZE], char hex[PARTIAL_HEX_SIZE]);

struct partial_limits {
    int64_t all, user; /* that are under way in the group; of an application's user in any group */
};
/* Adds ROW, whose expires is set here. *FULL: there are too many already, and none was added; ERROR says which. */
MUST_CHECK enum db_result partial_sql_add(struct db_connection *connection, struct partial_row *row,
                                          const struct partial_limits *limits, bool *full,
                                          struct error *error);

/* FOUND false: there is no such row. */
MUST_CHECK enum db_result partial_sql_find(struct db_connection *connection, const struct store *store,
                                           const char *token, struct partial_row *row, bool *found,
                                           struct error *error);

/* ROW, as it was read, gets STATE, the next epoch, CLAIM and this process as its writer, and keeps for its time from now; and it is noted which
 * process may not be done with its file. TAKEN false: it changed since; read it again, and if its claim is CLAIM this was done before. ROW is as
 * it is now where TAKEN. */
MUST_CHECK enum db_result partial_sql_take(struct db_connection *connection, struct partial_row *row,
                                           enum partial_state state, int64_t claim, bool *taken,
                                           struct error *error);

/* What is recorded of ROW, which was taken: offset, size, state; and it keeps for its time from now. RELEASE: whoever took it has closed
 * its file. RECORDED false: another one has taken it over, or it is not in the state FROM any more, or more is recorded already. */
MUST_CHECK enum db_result partial_sql_record(struct db_connection *connection, struct partial_row *row,
                                             enum partial_state from, bool release, bool *recorded,
                                             struct error *error);

/* ROW, which was taken, has another file: its file_path, in which nobody else writes. MOVED false: another one has taken it over. */
MUST_CHECK enum db_result partial_sql_move(struct db_connection *connection, struct partial_row *row,
                                           bool *moved, struct error *error);

/* ROW, which was taken and is PARTIAL_FINISHING (or PARTIAL_STORED by a run before), is PARTIAL_STORED with its file_path. STORED false: it is not
 * ours any more. */
MUST_CHECK enum db_result partial_sql_store(struct db_connection *connection, struct partial_row *row,
                                            bool *stored, struct error *error);

/* ROW, which was taken and is still being worked on, keeps for its time from now; where it is not ours any more, or over, nothing is done. */
MUST_CHECK enum db_result partial_sql_keep(struct db_connection *connection, struct partial_row *row,
                                           struct error *error);

/* Inside of the transaction that makes a file of ROW, which was taken and is PARTIAL_FINISHING: is it still this request's? It stays so until
 * the transaction has ended, and keeps for its time from now. */
MUST_CHECK enum db_result partial_sql_hold(struct db_connection *connection, struct partial_row *row,
                                           bool *held, struct error *error);

/* Removes the row of one that is PARTIAL_PURGING, or PARTIAL_STORED and expired at NOW. */
MUST_CHECK enum db_result partial_sql_remove(struct db_connection *connection, const char *token, int64_t now,
                                             struct error *error);

/* Bytes that KEY's user has in partial uploads of any group, which are no files yet, but for the one with the token EXCEPT (""). */
MUST_CHECK enum db_result partial_sql_held(struct db_connection *connection, const struct proto_file_key *key,
                                           const char *except, int64_t *bytes, struct error *error);

/* ---- for the upkeep ---- */

/* Any group's file paths that begin with PREFIX, up to but without END. */
MUST_CHECK enum db_result partial_sql_paths(struct db_connection *connection, const char *prefix,
                                            const char *end,
                                            void (*path)(void *argument, const char *file_path),
                                            void *argument, struct error *error);

/* HAS: a partial upload of any group has FILE_PATH. */
MUST_CHECK enum db_result partial_sql_has(struct db_connection *connection, const char *file_path, bool *has,
                                          struct error *error);

/* One of GROUP that is under way and has FILE_PATH. */
MUST_CHECK enum db_result partial_sql_holder(struct db_connection *connection, const struct store *store,
                                             const char *group, const char *file_path,
                                             struct partial_row *row, bool *found, struct error *error);

struct partial_page {
    size_t count;
    struct partial_row rows[PARTIAL_PAGE];
};
/* Those of GROUP behind AFTER (a token) that expired at NOW or before, or are PARTIAL_PURGING, in the order of their tokens. */
MUST_CHECK enum db_result partial_sql_expired(struct db_connection *connection, const struct store *store,
                                              const char *group, int64_t now, const char *after,
                                              struct partial_page *page, struct error *error);

/* ROW, expired at NOW, is PARTIAL_PURGING, while the lease NAME is OWNER's. MARKED false: it changed since, or the lease. */
MUST_CHECK enum db_result partial_sql_expire(struct db_connection *connection, const struct partial_row *row,
                                             int64_t now, const char *name, const char *owner, bool *marked,
                                             struct error *error);

struct partial_sum {
    int64_t count, bytes;
};
/* Of GROUP: those that are open or being finished, and their bytes on the disk. */
MUST_CHECK enum db_result partial_sql_sum(struct db_connection *connection, const char *group,
                                          struct partial_sum *sum, struct error *error);

#endif
