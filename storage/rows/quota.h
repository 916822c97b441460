/*
 * quota: counting what users have, where anybody has a quota. Where nobody has one (none is configured, and t_quota is empty) an upload
 * costs no statement more: that is known from a look at t_quota which is repeated every QUOTA_LOOK_MS, on a thread of the database,
 * before a row is added. A server that has not looked again yet leaves rows uncounted for that long; so a user's files are counted
 * a second time, QUOTA_SETTLE_S after a quota was set. docs/durability.md, "Quotas".
 */
#ifndef REEL_STORAGE_QUOTA_H
#define REEL_STORAGE_QUOTA_H

#include "storage/rows/meta.h"
#include "storage/rows/quota_sql.h"
#include "common/proto/proto_quota.h"

#define QUOTA_LOOK_MS     5000
#define QUOTA_NO_TABLE_MS 60000
#define QUOTA_SETTLE_S    60
#define QUOTA_RECOUNT_S   86400 /* and from then on once a day */

/* Is anybody's use counted, as far as this server knows? Any thread, never blocks. */
bool quota_in_use(struct meta *meta);

/* ---- on a database thread ---- */

/* The same, and the database is asked where that is too long ago. */
MUST_CHECK enum db_result quota_counts(struct meta *meta, struct db_connection *connection, bool *counts,
                                       struct error *error);

/* FILES new files of KEY's user with BYTES together are counted, if anybody's are; *COUNTED: they were. In the transaction that adds
 * their rows. DB_PERMANENT with ERROR_QUOTA: they would be too many; DB_CONSTRAINT: the user must be counted first
 * (quota_count_user()). */
MUST_CHECK enum db_result quota_take(struct meta *meta, struct db_connection *connection,
                                     const struct proto_file_key *key, struct quota_amounts more,
                                     bool *counted, struct error *error);

/* The opposite, in the transaction that removes their rows. */
MUST_CHECK enum db_result quota_give(struct meta *meta, struct db_connection *connection,
                                     const struct proto_file_key *key, struct quota_amounts less,
                                     struct error *error);

/* From now on KEY's user is counted. A transaction of its own. */
MUST_CHECK enum db_result quota_count_user(struct meta *meta, struct db_connection *connection,
                                           const struct proto_file_key *key, struct error *error);

/* KEY's user is not counted any more where no limit holds. */
MUST_CHECK enum db_result quota_drop_user(struct meta *meta, struct db_connection *connection,
                                          const struct proto_file_key *key, struct error *error);

/* DB_PERMANENT with ERROR_QUOTA where BYTES more would be too much now, in a file or in a partial upload, whose token is EXCEPT ("": it
 * has none): what the user has in other partial uploads counts here, though no file has come of it. Changes nothing but that a user whom the configured
 * limits hold for is counted. Outside of a transaction. */
MUST_CHECK enum db_result quota_look(struct meta *meta, struct db_connection *connection,
                                     const struct proto_file_key *key, int64_t bytes, const char *except,
                                     struct error *error);

/* A page of those who are counted, and the limits that hold for each. */
MUST_CHECK enum db_result quota_list(struct meta *meta, struct db_connection *connection,
                                     const struct proto_users_entry *after, struct quota_list *list,
                                     struct error *error);

/* ---- requests ---- */

enum quota_action {
    QUOTA_ACTION_LOOK, /* quota_look() for BYTES */
    QUOTA_ACTION_ASK,  /* ANSWER */
    QUOTA_ACTION_SET,  /* LIMITS, then ANSWER */
};
struct quota_job {
    struct proto_file_key key;
    enum quota_action action;
    int64_t bytes;
    struct quota_amounts limits;
    struct loop *loop;
    void (*done)(struct quota_job *job);
    /* out */
    bool fine; /* else ERROR */
    struct error error;
    struct proto_quota answer;
    /* private */
    struct meta *meta;
    struct db_job job;
    bool judged;
};
/* JOB stays valid until its done(), which runs on its loop, never inside the call. False: the database's queue is full or the server
 * is stopping; done() is not called. */
MUST_CHECK bool quota_start(struct meta *meta, struct quota_job *job, struct error *error);

#endif
