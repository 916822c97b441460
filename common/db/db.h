/*
 * db: prepared statements over one of two back ends, chosen by a URL. Every query runs on the database's own threads,
 * each with one connection; a job is a function that queries and blocks there, its completion is posted to a loop.
 *
 *   mysql://user:password@host1:3306,host2/database?connect_timeout=2s&read_timeout=10s   (host list: failover in order)
 *   sqlite:/var/lib/reelstore/meta.db?busy_timeout=5s                                      (WAL, synchronous=FULL)
 * Special characters in user and password are percent-encoded. mysql://user@localhost/db?socket=/path uses a socket.
 *
 * SQL is written so that both back ends accept it: `?` parameters, CURRENT_TIMESTAMP, no INSERT IGNORE (a duplicate is
 * DB_CONSTRAINT), no SELECT FOR UPDATE (update first, then read, inside one transaction).
 */
#ifndef REEL_COMMON_DB_H
#define REEL_COMMON_DB_H

#include "common/loop/loop.h"

enum db_result {
    DB_OK = 0,
    DB_TRANSIENT, /* lost or refused connection before the write could count, deadlock, lock time-out, full queue,
                      no connection in time: nothing was done, trying again may help */
    DB_CONSTRAINT, /* a unique index or check refused the row; nothing was done */
    DB_PERMANENT,  /* syntax, missing table, wrong type, disk full: trying again will not help soon */
    DB_UNCERTAIN, /* the connection broke in COMMIT or in a write outside of a transaction, or a Galera cluster knows
                      nothing of a COMMIT that it called successful: it may have been done */
};

enum db_backend { DB_BACKEND_SQLITE, DB_BACKEND_MYSQL };

enum db_type { DB_TYPE_NULL, DB_TYPE_INTEGER, DB_TYPE_BYTES };
struct db_value {
    enum db_type type;
    int64_t integer;
    const char *bytes; /* parameters: borrowed. Columns: NUL-terminated, valid inside the row callback */
    size_t size;       /* without the NUL */
};
static inline struct db_value db_null(void)
{
    return (struct db_value){.type = DB_TYPE_NULL};
}
static inline struct db_value db_integer(int64_t value)
{
    return (struct db_value){.type = DB_TYPE_INTEGER, .integer = value};
}
static inline struct db_value db_bytes(const void *bytes, size_t size)
{
    return (struct db_value){.type = DB_TYPE_BYTES, .bytes = (const char *)bytes, .size = size};
}
struct db_value db_text(const char *text); /* NULL gives NULL */

/* A column as an integer also where the back end gave text; false for NULL or no number. */
MUST_CHECK bool db_value_integer(const struct db_value *value, int64_t *out);
/* A column as text, cut to SIZE - 1 bytes; NULL becomes "". Integers are printed. False when it was cut. */
bool db_value_text(const struct db_value *value, char *buffer, size_t size);

struct db;            /* the pool */
struct db_connection; /* one thread's connection; only inside a job's run() */

struct db_options {
    const char *url;
    size_t threads;         /* connections; SQLite: readers share, writers take turns */
    size_t queue_max;       /* jobs waiting */
    int64_t job_timeout_ms; /* a job that cannot be run (again) within this fails with DB_TRANSIENT */
    bool
        relaxed; /* a power cut of the database may take what it has just acknowledged: db_healthy() ignores that */
};

/* Checks a URL without connecting; what is wrong and what would be right in ERROR. */
MUST_CHECK bool db_url_check(const char *url, struct error *error);
/* The URL with its password as "***". */
char *db_url_redact(const char *url, char *buffer, size_t size);

/* Starts the threads; does not need the database to be there: they connect when there is work, and again with back-off
 * after a loss. An idle pool looks after the database every few seconds. NULL: bad URL, no memory, no threads. */
MUST_CHECK struct db *db_open(const struct db_options *options, struct error *error);
/* Jobs that wait end with DB_TRANSIENT; waits for the running ones (bounded by the time-outs of the URL). */
void db_close(struct db *db);

enum db_backend db_backend_of(const struct db *db);
/* Any thread: false with REASON after the last attempt to reach the database failed. True with a REASON that is not empty
 * where it works, but does not keep what it says: a MySQL server that answers before a commit is on its disk; where that is accepted
 * (db_options.relaxed) one that answers before its kernel has it. */
bool db_healthy(struct db *db, char *reason, size_t reason_size);

/* A unit of work. Embed it; valid until done(). */
struct db_job {
    /* On a database thread. Returns what its statements returned; a transaction that it began and did not commit is
     * rolled back. May be run several times: after DB_TRANSIENT always (from a clean state: it must reset what it
     * collected), after DB_UNCERTAIN only where `idempotent`. ERROR describes the failure. */
    enum db_result (*run)(struct db_job *job, struct db_connection *connection, struct error *error);
    void (*done)(struct db_job *job); /* on LOOP: result and error are set */
    struct loop *loop;
    bool idempotent;
    enum db_result result;
    struct error error;
    /* private */
    int64_t deadline_ms;
    int64_t submitted_us;
    struct db_waiter *waiter;
    struct task task;
    struct db_job *next;
};

/* Any thread, never blocks. False when the queue is full: done() is not called. */
MUST_CHECK bool db_submit(struct db *db, struct db_job *job);

/* For start-up, --init-db and tests: runs the job in the calling thread's time (BLOCKS); done is not called. Not from
 * inside a job. */
enum db_result db_run_wait(struct db *db, struct db_job *job);

/* The same, with a mutex that the caller holds while it takes DB from where it is kept; it is released when the job waits. Whoever closes
 * DB under that mutex, or afterwards, ends the job. HELD may be NULL. */
enum db_result db_run_wait_held(struct db *db, struct db_job *job, pthread_mutex_t *held);

/* ---- inside run() ---- */
enum db_backend db_connection_backend(const struct db_connection *connection);

/* Begin takes the write lock at once in SQLite (BEGIN IMMEDIATE), so that read-then-write inside is safe. */
MUST_CHECK enum db_result db_begin(struct db_connection *connection, struct error *error);
/* The same for what may be lost with a power cut of the next half minute: the commit need not be on the disk when db_commit()
 * returns. SQLite leaves out the sync of its WAL (a later transaction that is synced brings this one along, never the other
 * way round); in MySQL it is the server's innodb_flush_log_at_trx_commit that decides. */
MUST_CHECK enum db_result db_begin_relaxed(struct db_connection *connection, struct error *error);
MUST_CHECK enum db_result db_commit(struct db_connection *connection, struct error *error);
void db_rollback(struct db_connection *connection);

/* One statement, prepared once per connection (SQL: a literal; the cache is keyed by its text and bounded); inside of a
 * MySQL transaction sent as text, its parameters as escaped literals (db_mysql_transaction.c says why). AFFECTED
 * (may be NULL): rows changed; in MySQL rows matched (CLIENT_FOUND_ROWS), as in SQLite. */
MUST_CHECK enum db_result db_execute(struct db_connection *connection, const char *sql,
                                     const struct db_value *parameters, size_t count, int64_t *affected,
                                     struct error *error);
/* The same with rows: ROW is called for each; false from it ends the reading (not an error; what is left is read away:
 * use LIMIT). No statement may be run inside of ROW. */
typedef bool (*db_row_function)(void *argument, const struct db_value *columns, size_t count);
MUST_CHECK enum db_result db_query(struct db_connection *connection, const char *sql,
                                   const struct db_value *parameters, size_t count, db_row_function row,
                                   void *argument, struct error *error);

/* ERROR_UNAVAILABLE for DB_TRANSIENT and DB_UNCERTAIN, ERROR_EXISTS for DB_CONSTRAINT, ERROR_GENERAL for DB_PERMANENT. */
int db_error_code(enum db_result result);

#endif
