/*
 * lease_sql: SQL about t_lease.
 */
#include "storage/upkeep/lease_sql.h"

#include <string.h>

static bool lease_on_row(void *argument, const struct db_value *columns, size_t count)
{
    struct lease_row **found = argument;
    struct lease_row *row = *found;
    int64_t repair = 0;
    if (count != 6)
        return true;
    memset(row, 0, offsetof(struct lease_row, progress));
    row->progress[0] = '\0';
    /* What is cut or no number belongs to nobody we know: it is watched like any other owner. */
    (void)db_value_text(&columns[0], row->owner, sizeof(row->owner));
    if (!db_value_integer(&columns[1], &row->renewals) || !db_value_integer(&columns[2], &row->wanted) ||
        !db_value_integer(&columns[3], &repair) || !db_value_integer(&columns[4], &row->done))
        return true;
    row->repair = repair != 0;
    if (!db_value_text(&columns[5], row->progress, sizeof(row->progress)))
        row->progress[0] = '\0';
    *found = NULL;
    return false;
}

enum db_result lease_sql_read(struct db_connection *connection, const char *name, struct lease_row *row,
                              struct error *error)
{
    const struct db_value parameters[] = {db_text(name)};
    for (int attempt = 0;; attempt++) {
        struct lease_row *wanted = row;
        enum db_result result = db_query(
            connection, "SELECT owner, renewals, wanted, repair, done, progress FROM t_lease WHERE name = ?",
            parameters, ARRAY_SIZE(parameters), lease_on_row, &wanted, error);
        if (result != DB_OK || !wanted)
            return result;
        if (attempt > 0) {
            error_set(error, ERROR_GENERAL, "the row %s of t_lease cannot be read", name);
            return DB_PERMANENT;
        }
        result = db_execute(connection, "INSERT INTO t_lease (name) VALUES (?)", parameters,
                            ARRAY_SIZE(parameters), NULL, error);
        if (result != DB_OK && result != DB_CONSTRAINT)
            return result;
    }
}

static bool on_exists(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)argument = true;
    return false;
}

enum db_result lease_sql_exists(struct db_connection *connection, const char *name, bool *exists,
                                struct error *error)
{
    const struct db_value parameters[] = {db_text(name)};
    *exists = false;
    return db_query(connection, "SELECT owner FROM t_lease WHERE name = ?", parameters,
                    ARRAY_SIZE(parameters), on_exists, exists, error);
}

enum db_result lease_sql_take(struct db_connection *connection, const char *name,
                              const struct lease_row *seen, const char *owner, bool *taken,
                              struct error *error)
{
    const struct db_value parameters[] = {db_text(owner), db_text(name), db_text(seen->owner),
                                          db_integer(seen->renewals)};
    int64_t affected = 0;
    enum db_result result = db_execute(connection,
                                       "UPDATE t_lease SET owner = ?, renewals = renewals + 1 WHERE name = ? "
                                       "AND owner = ? AND renewals = ?",
                                       parameters, ARRAY_SIZE(parameters), &affected, error);
    *taken = affected > 0;
    return result;
}

enum db_result lease_sql_release(struct db_connection *connection, const char *name, const char *owner,
                                 struct error *error)
{
    const struct db_value parameters[] = {db_text(name), db_text(owner)};
    return db_execute(connection, "UPDATE t_lease SET owner = '' WHERE name = ? AND owner = ?", parameters,
                      ARRAY_SIZE(parameters), NULL, error);
}

enum db_result lease_sql_store(struct db_connection *connection, const char *name, const char *owner,
                               const char *progress, int64_t done, bool *stored, struct error *error)
{
    const struct db_value parameters[] = {db_text(progress), db_integer(done), db_integer(done),
                                          db_text(name), db_text(owner)};
    int64_t affected = 0;
    enum db_result result = db_execute(connection,
                                       "UPDATE t_lease SET progress = ?, done = CASE WHEN ? < done THEN done "
                                       "ELSE ? END WHERE name = ? AND owner = ?",
                                       parameters, ARRAY_SIZE(parameters), &affected, error);
    *stored = affected > 0;
    return result;
}

enum db_result lease_sql_begin(struct db_connection *connection, const char *name, const char *owner,
                               const struct lease_row *seen, const char *progress, bool *begun,
                               struct error *error)
{
    const struct db_value parameters[] = {db_text(progress), db_text(name), db_text(owner),
                                          db_integer(seen->wanted), db_integer(seen->repair ? 1 : 0)};
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection,
                   "UPDATE t_lease SET progress = ?, repair = 0 WHERE name = ? AND owner = ? "
                   "AND wanted = ? AND repair = ?",
                   parameters, ARRAY_SIZE(parameters), &affected, error);
    *begun = affected > 0;
    return result;
}

enum db_result lease_sql_confirm(struct db_connection *connection, const char *name,
                                 const struct lease_row *seen, bool *confirmed, struct error *error)
{
    const struct db_value parameters[] = {db_text(name), db_integer(seen->wanted), db_text(seen->progress)};
    int64_t affected = 0;
    enum db_result result = db_execute(
        connection, "UPDATE t_lease SET wanted = wanted + 1 WHERE name = ? AND wanted = ? AND progress = ?",
        parameters, ARRAY_SIZE(parameters), &affected, error);
    *confirmed = affected > 0;
    return result;
}

enum db_result lease_sql_want(struct db_connection *connection, const char *name, bool repair,
                              int64_t *number, struct error *error)
{
    const struct db_value parameters[] = {db_integer(repair ? 1 : 0), db_text(name)};
    struct lease_row row;
    enum db_result result = lease_sql_read(connection, name, &row, error);
    if (result == DB_OK)
        result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    /* In this order: MySQL takes the new value of a column that stands to the left. */
    result =
        db_execute(connection,
                   "UPDATE t_lease SET repair = CASE WHEN wanted > done AND repair = 1 THEN 1 ELSE ? END, "
                   "wanted = wanted + 1 WHERE name = ?",
                   parameters, ARRAY_SIZE(parameters), NULL, error);
    if (result == DB_OK)
        result = lease_sql_read(connection, name, &row, error);
    if (result == DB_OK)
        result = db_commit(connection, error);
    else
        db_rollback(connection);
    *number = row.wanted;
    return result;
}
