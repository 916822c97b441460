/*
 * db_backend: what db.c (the pool), db_connection.c (one connection) and the back ends db_mysql.c and
 * db_sqlite.c say to each other. Private to db and schema. A connection is used by one thread at a time; only
 * struct db_shared is touched by several.
 */
#ifndef REEL_COMMON_DB_BACKEND_H
#define REEL_COMMON_DB_BACKEND_H

#include "common/db/db.h"
#include "common/db/db_mute.h"
#include "common/db/db_url.h"
#include "common/db/db_wal.h"

#include <pthread.h>
#include <stdatomic.h>

#define DB_STATEMENTS_MAX 64          /* prepared statements kept per connection */
#define DB_COLUMN_MAX     (16u << 20) /* bytes of one column; a longer one fails the query */

/* What the connections to one database have in common. */
struct db_shared {
    /* SQLite: writers of this process take turns here, so that they need not poll for the file's lock. */
    pthread_mutex_t lock;
    pthread_cond_t turn_given;
    bool turn_taken;
    bool relaxed;      /* as in db_options */
    struct db_wal wal; /* SQLite */
    /* MySQL: index of the host that answered last; new connections begin there. */
    atomic_size_t host;
    struct db_mute mute; /* MySQL */
    /* What the database that answered last does not keep of its promise; "": nothing. Under the lock. */
    char concern[ERROR_TEXT_SIZE];
};

/* One prepared statement in a connection's cache. */
struct db_statement {
    char *sql;     /* owned */
    size_t size;   /* of sql */
    void *handle;  /* sqlite3_stmt or MYSQL_STMT */
    uint64_t used; /* the connection's clock at the last use */
};

struct db_connection {
    const struct db_backend_operations *operations;
    const struct db_url *url; /* borrowed */
    struct db_shared *shared; /* borrowed */
    void *handle;             /* sqlite3 or MYSQL; NULL while not connected */
    void *state;              /* the back end's own, while connected */
    bool create;              /* sqlite: create a missing file; mysql: connect without naming a database */

    bool crowded;        /* set by the back end: the last attempt was answered, too many are connected */
    bool broken;         /* set by the back end: to be closed before the next job */
    bool in_transaction; /* between begin and commit or rollback */
    bool relaxed;        /* the transaction's commit need not be on the disk */
    bool in_rows;        /* a row callback is running */
    /* What a statement of the open transaction failed with: every later one and the commit fail the same way,
     * for the server may have rolled back already and would take them one by one. */
    enum db_result doomed;
    struct error doom;

    struct db_statement statements[DB_STATEMENTS_MAX];
    size_t statement_count;
    uint64_t uses;
};

/* A statement about to be run. */
struct db_request {
    const char *sql;
    const struct db_value *parameters;
    size_t count;
    db_row_function row; /* NULL: rows are not wanted */
    void *argument;
    int64_t *affected; /* NULL: not wanted */
};

/* All of them may block, within the time-outs of the URL; all on the connection's thread. */
struct db_backend_operations {
    /* Sets handle and state. On failure both are NULL. */
    enum db_result (*open)(struct db_connection *connection, struct error *error);
    /* The statements are finalized before. */
    void (*close)(struct db_connection *connection);
    /* Is it still good for a job? PROBE: ask the database also when it was used a moment ago. */
    bool (*check)(struct db_connection *connection, bool probe, struct error *error);
    enum db_result (*begin)(struct db_connection *connection, struct error *error);
    enum db_result (*commit)(struct db_connection *connection, struct error *error);
    void (*rollback)(struct db_connection *connection);
    enum db_result (*prepare)(struct db_connection *connection, const char *sql, void **statement,
                              struct error *error);
    void (*finalize)(void *statement);
    /* Leaves the statement ready to be run again. */
    enum db_result (*run)(struct db_connection *connection, void *statement, const struct db_request *request,
                          struct error *error);
    /* NULL, or how a statement inside of a transaction is run instead, without preparing it. */
    enum db_result (*run_in_transaction)(struct db_connection *connection, const struct db_request *request,
                                         struct error *error);
    /* Once per thread that uses connections, before its end. */
    void (*thread_end)(void);
};

extern const struct db_backend_operations db_sqlite_operations;
extern const struct db_backend_operations db_mysql_operations;

MUST_CHECK bool db_shared_init(struct db_shared *shared, struct error *error);
void db_shared_destroy(struct db_shared *shared);

/* Fills CONNECTION, not connected yet. URL and SHARED must outlive it. */
void db_connection_init(struct db_connection *connection, const struct db_url *url, struct db_shared *shared);

/* Connects (where it is not), BLOCKS. */
MUST_CHECK enum db_result db_connection_open(struct db_connection *connection, struct error *error);

/* Closes and forgets the statements. May be opened again. */
void db_connection_close(struct db_connection *connection);

/* Called by a back end that has connected: TEXT says what is wrong with a database that works, "" that nothing is. Warns
 * when that is news. */
void db_connection_concern(struct db_connection *connection, const char *text);

/* After a job: rolls back what it left open, closes a connection that broke. */
void db_connection_settle(struct db_connection *connection);

#endif
