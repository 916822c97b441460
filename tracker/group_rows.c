/*
 * group_rows: with MySQL a locking read, which waits for changes that have not ended and keeps others waiting; SQLite has one
 * writer at a time.
 */
#include "tracker/group_rows.h"

static bool group_rows_take(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    *(bool *)argument = count == 1;
    return false;
}

static enum db_result group_rows_ask(struct db_connection *connection, const char *sql, const char *group,
                                     bool *has, struct error *error)
{
    const struct db_value parameters[] = {db_text(group)};
    *has = false;
    return db_query(connection, sql, parameters, ARRAY_SIZE(parameters), group_rows_take, has, error);
}

#define THERE  "SELECT 1 FROM t_groups_info WHERE group_name = ?"
#define OPEN   THERE " AND COALESCE(state, 0) = 0"
#define LOCKED " LOCK IN SHARE MODE"

enum db_result group_rows_hold(struct db_connection *connection, const char *group, bool open, bool *holds,
                               struct error *error)
{
    if (db_connection_backend(connection) == DB_BACKEND_MYSQL)
        return group_rows_ask(connection, open ? OPEN LOCKED : THERE LOCKED, group, holds, error);
    return group_rows_ask(connection, open ? OPEN : THERE, group, holds, error);
}

enum db_result group_rows_users(struct db_connection *connection, const char *group, bool *has,
                                struct error *error)
{
    return group_rows_ask(connection, "SELECT 1 FROM t_router WHERE group_name = ? LIMIT 1", group, has,
                          error);
}
