/*
 * db_mysql: what the MySQL back end's two files share. Private to db_mysql.c and db_mysql_error.c.
 */
#ifndef REEL_COMMON_DB_MYSQL_H
#define REEL_COMMON_DB_MYSQL_H

#include "common/db_backend.h"

#include <mysql.h>

struct mysql_state {
    size_t host; /* index into url->hosts */
    int64_t used_ms;
};

/* What a loss at this moment leaves open. */
enum db_mysql_phase {
    PHASE_CONNECT,
    PHASE_HARMLESS, /* reading, preparing, or inside of a transaction: nothing counts yet */
    PHASE_WRITE,    /* a write of its own */
    PHASE_COMMIT,
};

/* The class and text of what the server or the library said to DOING (a statement); marks the connection as
 * broken where it is, and leads the next one to another host where this one answers, but not to us. */
enum db_result db_mysql_fail(struct db_connection *connection, unsigned number, const char *text,
                             enum db_mysql_phase phase, const char *doing, struct error *error);
/* The same with the last error of the connection or of a statement. */
enum db_result db_mysql_fail_connection(struct db_connection *connection, enum db_mysql_phase phase,
                                        const char *doing, struct error *error);
enum db_result db_mysql_fail_statement(struct db_connection *connection, MYSQL_STMT *statement,
                                       enum db_mysql_phase phase, const char *sql, struct error *error);
enum db_result db_mysql_fail_memory(const struct db_connection *connection, struct error *error);

#endif
