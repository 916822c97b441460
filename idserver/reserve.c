/*
 * reserve: one transaction that moves a row on. id_value is the first number that is not reserved; NULL, which a legacy row may
 * hold, is 0. The UPDATE comes first and takes the row's lock, so that the SELECT after it reads what this
 * transaction wrote and nobody can get in between.
 */
#include "idserver/reserve.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INSERT_TRIES  3
#define SPELLING_SIZE 512 /* of a key with one more slash */

struct row {
    bool found;
    bool valid;
    int64_t value;
};

static bool reserve_take_row(void *argument, const struct db_value *columns, size_t count)
{
    struct row *row = argument;
    if (count < 1)
        return false;
    row->found = true;
    row->value = 0;
    row->valid = columns[0].type == DB_TYPE_NULL || db_value_integer(&columns[0], &row->value);
    return false;
}

static enum db_result reserve_read_row(struct db_connection *connection, const char *key, struct row *row,
                                       struct error *error)
{
    const struct db_value parameters[] = {db_text(key)};
    *row = (struct row){0};
    enum db_result result = db_query(connection, "SELECT id_value FROM t_id_gen WHERE id = ?", parameters,
                                     ARRAY_SIZE(parameters), reserve_take_row, row, error);
    if (result == DB_OK && row->found && (!row->valid || row->value < 0)) {
        error_set(error, ERROR_GENERAL, "t_id_gen: id_value of key %s is not a number of 0 or more", key);
        return DB_PERMANENT;
    }
    return result;
}

/* A row that went back, because an older backup was restored or the database lost a commit, is moved up to
 * FLOOR.
 */
static enum db_result lead_to_floor(struct db_connection *connection, const char *key, int64_t floor,
                                    int64_t count, struct row *row, struct error *error)
{
    const struct db_value update[] = {db_integer(floor + count), db_text(key), db_integer(row->value)};
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection, "UPDATE t_id_gen SET id_value = ? WHERE id = ? AND id_value = ?", update,
                   ARRAY_SIZE(update), &affected, error);
    if (result != DB_OK)
        return result;
    if (affected == 0) {
        error_set(error, ERROR_UNAVAILABLE, "t_id_gen: the row of key %s changed under its lock", key);
        return DB_TRANSIENT;
    }
    row->value = floor + count;
    return DB_OK;
}

/* "../data" and "../data/" name one directory: if each were counted on its own, two files would get one number and
 * one place. Whoever asks for the second spelling is refused until somebody has decided. */
static enum db_result check_spelling(struct db_connection *connection, const char *key, struct error *error)
{
    char other[SPELLING_SIZE];
    size_t size = strlen(key);
    struct row row;
    bool slash = size > 1 && key[size - 1] == '/';
    if (size + 2 > sizeof(other))
        return DB_OK;
    snprintf(other, sizeof(other), "%.*s%s", (int)(slash ? size - 1 : size), key, slash ? "" : "/");
    enum db_result result = reserve_read_row(connection, other, &row, error);
    if (result != DB_OK || !row.found)
        return result;
    error_set(error, ERROR_REFUSED,
              "t_id_gen has the key \"%s\", and \"%s\" would be a second sequence for the same directory: "
              "write the key in storage.paths everywhere as \"%s\"; where both rows exist, give one of them "
              "the higher id_value and delete the other",
              other, key, other);
    return DB_PERMANENT;
}

/* The transaction. DB_CONSTRAINT: another ID server inserted the key's first row in the same moment. */
static enum db_result reserve_once(struct db_connection *connection, const char *key, int64_t floor,
                                   int64_t count, bool may_create, struct reservation *reservation,
                                   struct error *error)
{
    const struct db_value update[] = {db_integer(count), db_text(key), db_integer(RESERVE_END)};
    const struct db_value insert[] = {db_text(key), db_integer(count)};
    struct row row;
    int64_t affected = 0;
    *reservation = (struct reservation){0};
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = check_spelling(connection, key, error);
    if (result != DB_OK)
        goto done;
    result = db_execute(connection,
                        "UPDATE t_id_gen SET id_value = COALESCE(id_value, 0) + ?, "
                        "update_time = CURRENT_TIMESTAMP WHERE id = ? AND COALESCE(id_value, 0) < ?",
                        update, ARRAY_SIZE(update), &affected, error);
    if (result != DB_OK)
        goto done;
    if (affected == 0) {
        result = reserve_read_row(connection, key, &row, error);
        if (result != DB_OK || (row.found && row.value >= RESERVE_END))
            goto done; /* found at the end: the reservation is empty */
        if (row.found) {
            result = DB_CONSTRAINT; /* inserted by another since the UPDATE looked for it */
            goto done;
        }
        reservation->unknown = !may_create;
        if (!may_create)
            goto done;
        result = db_execute(connection,
                            "INSERT INTO t_id_gen (id, id_value, create_time, update_time) "
                            "VALUES (?, ?, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
                            insert, ARRAY_SIZE(insert), NULL, error);
        if (result != DB_OK)
            goto done;
    }
    result = reserve_read_row(connection, key, &row, error);
    if (result == DB_OK && (!row.found || row.value < count)) {
        error_set(error, ERROR_GENERAL, "t_id_gen: the row of key %s was not there after it was written",
                  key);
        result = DB_PERMANENT;
    }
    bool created = affected == 0;
    int64_t behind = max_i64(floor - (row.value - count), 0);
    if (result == DB_OK && behind > 0)
        result = lead_to_floor(connection, key, floor, count, &row, error);
    if (result != DB_OK)
        goto done;
    result = db_commit(connection, error);
    if (result != DB_OK)
        return result;
    reservation->behind = behind;
    reservation->created = created;
    reservation->first = row.value - count;
    reservation->count = min_i64(row.value, RESERVE_END) - reservation->first;
    return DB_OK;
done:
    db_rollback(connection);
    return result;
}

enum db_result reserve_numbers(struct db_connection *connection, const char *key, int64_t floor,
                               int64_t count, bool may_create, struct reservation *reservation,
                               struct error *error)
{
    enum db_result result = DB_CONSTRAINT;
    for (int try = 0; try < INSERT_TRIES && result == DB_CONSTRAINT; try++)
        result = reserve_once(connection, key, floor, count, may_create, reservation, error);
    if (result == DB_CONSTRAINT) {
        error_set(error, ERROR_UNAVAILABLE,
                  "t_id_gen: the row of key %s appears in one look-up and not in the next", key);
        result = DB_TRANSIENT;
    }
    return result;
}

static bool ignore_row(void *argument, const struct db_value *columns, size_t count)
{
    (void)argument;
    (void)columns;
    (void)count;
    return false;
}

enum db_result reserve_probe(struct db_connection *connection, struct error *error)
{
    return db_query(connection, "SELECT id_value FROM t_id_gen WHERE id = ''", NULL, 0, ignore_row, NULL,
                    error);
}
