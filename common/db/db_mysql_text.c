/*
 * db_mysql_text: statements that MySQL gets as text, and how its column types are read: what connecting, transactions and
 * prepared statements all need. Declared in db_mysql.h.
 */
#include "common/db/db_mysql.h"

#include "common/base/clock.h"
#include <string.h>

enum db_result db_mysql_run_text(struct db_connection *connection, const char *sql, enum db_mysql_phase phase,
                                 struct error *error)
{
    struct mysql_state *state = connection->state;

    state->used_ms = clock_monotonic_ms();
    if (mysql_real_query(connection->handle, sql, strlen(sql)) != 0)
        return db_mysql_fail_connection(connection, phase, sql, error);
    return DB_OK;
}

bool db_mysql_is_integral(enum enum_field_types type)
{
    return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
           type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG || type == MYSQL_TYPE_YEAR;
}
