/*
 * quota_sql: SQL about quotas: what a user may have in an application, and what is counted (docs/durability.md, "Quotas").
 * A change of a count belongs into the transaction of the row that it is about. BLOCKS, database threads only.
 */
#ifndef REEL_STORAGE_QUOTA_SQL_H
#define REEL_STORAGE_QUOTA_SQL_H

#include "common/db/db.h"
#include "common/proto/proto_quota.h"

/* Limits: 0 or more, PROTO_QUOTA_NONE, or, in rows only, PROTO_QUOTA_DEFAULT: as the configuration says. */
struct quota_amounts {
    int64_t bytes, files;
};

struct quota_row {
    struct quota_amounts limits, used;
};

enum quota_taken {
    QUOTA_TAKEN,
    QUOTA_FULL,
    QUOTA_NO_ROW, /* nothing is counted of this user */
};

/* ANY: somebody has a row. */
MUST_CHECK enum db_result quota_sql_any(struct db_connection *connection, bool *any, struct error *error);

/* The row of KEY's user and application. FOUND false: there is none. */
MUST_CHECK enum db_result quota_sql_find(struct db_connection *connection, const struct proto_file_key *key,
                                         struct quota_row *row, bool *found, struct error *error);

/* MORE is counted, where the limits (DEFAULTS where the row says so) allow it. With QUOTA_FULL, ROW is what is there. In a
 * transaction, whose end frees the row for others. */
MUST_CHECK enum db_result quota_sql_take(struct db_connection *connection, const struct proto_file_key *key,
                                         struct quota_amounts more, const struct quota_amounts *defaults,
                                         enum quota_taken *taken, struct quota_row *row, struct error *error);

/* LESS is not counted any more. Nothing where there is no row. In a transaction. */
MUST_CHECK enum db_result quota_sql_give(struct db_connection *connection, const struct proto_file_key *key,
                                         struct quota_amounts less, struct error *error);

/* The row gets LIMITS (PROTO_QUOTA_KEEP leaves one as it is; a new row has PROTO_QUOTA_DEFAULT then). A new one is counted, and counted
 * anew at RECOUNT_AT. A transaction of its own. */
MUST_CHECK enum db_result quota_sql_set(struct db_connection *connection, const struct proto_file_key *key,
                                        struct quota_amounts limits, int64_t recount_at, struct error *error);

/* The files of KEY's user are counted: BEFORE is what the row said, AFTER what it says now; the next time is RECOUNT_AT. FOUND
 * false: there is no row. A transaction of its own. */
MUST_CHECK enum db_result quota_sql_recount(struct db_connection *connection,
                                            const struct proto_file_key *key, int64_t recount_at,
                                            struct quota_amounts *before, struct quota_amounts *after,
                                            bool *found, struct error *error);

#define QUOTA_PAGE 100
struct quota_page {
    struct proto_file_key keys[QUOTA_PAGE]; /* file: "" */
    size_t count;
};
/* Those that are to be counted anew at NOW. */
MUST_CHECK enum db_result quota_sql_due(struct db_connection *connection, int64_t now,
                                        struct quota_page *page, struct error *error);

/* Up to PROTO_QUOTAS_MAX rows behind AFTER (both "": from the first one on), in the order of users, then applications, with the bytes
 * that they have in partial uploads. Limits in them as the rows have them. */
struct quota_list {
    struct proto_quotas_entry entries[PROTO_QUOTAS_MAX];
    size_t count;
};
MUST_CHECK enum db_result quota_sql_list(struct db_connection *connection,
                                         const struct proto_users_entry *after, struct quota_list *list,
                                         struct error *error);

/* All are to be counted anew, now. */
MUST_CHECK enum db_result quota_sql_recount_all(struct db_connection *connection, struct error *error);

/* Removes KEY's row where no limit of its own stands in it. */
MUST_CHECK enum db_result quota_sql_drop(struct db_connection *connection, const struct proto_file_key *key,
                                         struct error *error);

#endif
