/*
 * db_mysql: what the files of the MySQL back end share. Private to db_mysql*.c.
 */
#ifndef REEL_COMMON_DB_MYSQL_H
#define REEL_COMMON_DB_MYSQL_H

#include "common/db/db_backend.h"

#include <mysql.h>

#define DB_MYSQL_COLUMNS_MAX 64

/* Numbers that a header of one of the two families of servers lacks. */
#define DB_MYSQL_ER_SECURE_TRANSPORT_REQUIRED 3159

struct mysql_state {
    size_t host; /* index into url->hosts */
    int64_t used_ms;
    bool cluster;     /* a node of a Galera cluster, which can name what was written */
    bool causal;      /* of a cluster: each read of its own waits for what was committed elsewhere */
    char written[64]; /* of a cluster: the write set that this connection wrote last; "": unknown */
    bool wrote;       /* the open transaction changed rows */
};

/* What a loss at this moment leaves open. */
enum db_mysql_phase {
    PHASE_CONNECT,
    PHASE_HARMLESS, /* reading, preparing, or inside of a transaction: nothing counts yet */
    PHASE_WRITE,    /* a write of its own */
    PHASE_COMMIT,
};

/* The class and text of the error of the server or the library in DOING (a statement); marks the connection as
 * broken where it is, and leads the next one to another host where this one answers, but not to us. */
enum db_result db_mysql_fail(struct db_connection *connection, unsigned number, const char *text,
                             enum db_mysql_phase phase, const char *doing, struct error *error);
/* The same with the last error of the connection or of a statement. */
enum db_result db_mysql_fail_connection(struct db_connection *connection, enum db_mysql_phase phase,
                                        const char *doing, struct error *error);
enum db_result db_mysql_fail_statement(struct db_connection *connection, MYSQL_STMT *statement,
                                       enum db_mysql_phase phase, const char *sql, struct error *error);
enum db_result db_mysql_fail_memory(const struct db_connection *connection, struct error *error);
enum db_result db_mysql_fail_parameters(const struct db_connection *connection,
                                        const struct db_request *request, size_t places, struct error *error);
enum db_result db_mysql_fail_columns(const struct db_connection *connection, size_t count, const char *sql,
                                     struct error *error);
enum db_result db_mysql_fail_column_size(const struct db_connection *connection, unsigned long size,
                                         const char *sql, struct error *error);

/* Is a column of TYPE reported as DB_TYPE_INTEGER? */
bool db_mysql_is_integral(enum enum_field_types type);

/* A statement without parameters and rows, as text. */
MUST_CHECK enum db_result db_mysql_run_text(struct db_connection *connection, const char *sql,
                                            enum db_mysql_phase phase, struct error *error);

/* db_mysql_error.c: the host of the open connection, or its socket, for messages. */
const char *db_mysql_host(const struct db_connection *connection, char *buffer, size_t size);

/* db_mysql_connect.c: operations of struct db_backend_operations. */
MUST_CHECK enum db_result db_mysql_open(struct db_connection *connection, struct error *error);
void db_mysql_close(struct db_connection *connection);

/* db_mysql_transaction.c: once per process, before the first connection. */
void db_mysql_transaction_init(void);

/* db_mysql_transaction.c: on a new connection, is the server a node of a Galera cluster? And these operations
 * of struct db_backend_operations. */
MUST_CHECK enum db_result db_mysql_find_cluster(struct db_connection *connection, struct error *error);
MUST_CHECK enum db_result db_mysql_begin(struct db_connection *connection, struct error *error);
MUST_CHECK enum db_result db_mysql_commit(struct db_connection *connection, struct error *error);
void db_mysql_rollback(struct db_connection *connection);
MUST_CHECK enum db_result db_mysql_run_in_transaction(struct db_connection *connection,
                                                      const struct db_request *request, struct error *error);

#endif
