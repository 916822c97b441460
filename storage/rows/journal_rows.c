/*
 * journal_rows: rows into records of the upload journal and back; the row journal/ID of t_lease.
 */
#include "storage/rows/journal_rows.h"

#include "storage/rows/meta_private.h"
#include "storage/rows/quota.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 32

_Static_assert(sizeof(((struct journal_record *)NULL)->file_path) ==
                   sizeof(((struct meta_row *)NULL)->file_path),
               "a path goes from one to the other");

void journal_rows_record(const struct insert_item *item, struct journal_record *record)
{
    const struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    const struct proto_stat *stat = &insert->row.stat;
    *record = (struct journal_record){.key = insert->key,
                                      .expires = stat->expires,
                                      .has_sha256 = insert->row.has_sha256,
                                      .content = insert->content,
                                      .content_size = (size_t)stat->size};
    memcpy(record->file_path, insert->row.file_path, sizeof(record->file_path));
    memcpy(record->group, stat->group, sizeof(record->group));
    memcpy(record->name, stat->name, sizeof(record->name));
    memcpy(record->content_type, stat->content_type, sizeof(record->content_type));
    memcpy(record->digest, stat->digest, sizeof(record->digest));
    memcpy(record->sha256, insert->row.sha256, sizeof(record->sha256));
}

/* ---- how far the database is ---- */

static void name_row(uint64_t id, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "journal/%016" PRIx64, id);
}

enum db_result journal_rows_mark(struct db_connection *connection, uint64_t id, int64_t number,
                                 struct error *error)
{
    char name[NAME_SIZE];
    int64_t affected = 0;
    name_row(id, name);
    const struct db_value parameters[] = {db_integer(number), db_text(name)};
    /* A change of the row in any case: a transaction that changes nothing is not synced, nor is then what others have committed before. */
    enum db_result result = db_execute(
        connection, "UPDATE t_lease SET done = done + 1, renewals = MAX(renewals, ?) WHERE name = ?",
        parameters, ARRAY_SIZE(parameters), &affected, error);
    if (result != DB_OK || affected > 0)
        return result;
    return db_execute(connection, "INSERT INTO t_lease (renewals, name) VALUES (?, ?)", parameters,
                      ARRAY_SIZE(parameters), NULL, error);
}

enum db_result journal_rows_sync(struct db_connection *connection, uint64_t id, int64_t number,
                                 struct error *error)
{
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = journal_rows_mark(connection, id, number, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static bool on_journal_rows_number(void *argument, const struct db_value *columns, size_t count)
{
    if (count != 1 || !db_value_integer(&columns[0], argument))
        *(int64_t *)argument = 0;
    return false;
}

enum db_result journal_rows_marked(struct db_connection *connection, uint64_t id, int64_t *number,
                                   struct error *error)
{
    char name[NAME_SIZE];
    name_row(id, name);
    const struct db_value parameters[] = {db_text(name)};
    *number = 0;
    return db_query(connection, "SELECT renewals FROM t_lease WHERE name = ?", parameters,
                    ARRAY_SIZE(parameters), on_journal_rows_number, number, error);
}

/* ---- rows out of records ---- */

enum db_result journal_rows_judge(struct db_connection *connection, const struct store *store,
                                  const struct journal_record *record, int64_t marked, bool lossless,
                                  enum journal_fate *fate, struct error *error)
{
    struct meta_row row;
    bool found = false;
    enum db_result result = meta_sql_find(connection, store, &record->key, &row, &found, error);
    if (result != DB_OK)
        return result;
    if (found) /* a file that its row no longer names may be the former copy of one that moved */
        *fate = row.state == META_STATE_PURGING ? JOURNAL_NONE : JOURNAL_KEPT;
    else
        *fate = record->sequence <= marked || lossless ? JOURNAL_NONE : JOURNAL_LOST;
    return DB_OK;
}

static enum db_result journal_rows_recount_user(struct meta *meta, struct db_connection *connection,
                                                const struct proto_file_key *key, struct error *error)
{
    struct quota_amounts before, after;
    bool found = false;
    int64_t now = 0;
    enum db_result result = meta_now(meta, connection, &now, error);
    return result == DB_OK ? quota_sql_recount(connection, key, now, &before, &after, &found, error) : result;
}

enum db_result journal_rows_add(struct meta *meta, struct db_connection *connection,
                                const struct journal_record *record, const struct path *place,
                                struct error *error)
{
    struct meta_row row = {.has_sha256 = record->has_sha256};
    struct proto_stat *stat = &row.stat;
    stat->size = (int64_t)record->content_size;
    stat->status = PROTO_FILE_NORMAL;
    stat->created = place->seconds;
    stat->has_digest = true;
    stat->expires = meta_expiry(record->expires, place->seconds);
    memcpy(stat->digest, record->digest, sizeof(stat->digest));
    memcpy(stat->group, record->group, sizeof(stat->group));
    memcpy(stat->name, record->name, sizeof(stat->name));
    memcpy(stat->content_type, record->content_type, sizeof(stat->content_type));
    memcpy(row.file_path, record->file_path, sizeof(row.file_path));
    memcpy(row.sha256, record->sha256, sizeof(row.sha256));
    enum db_result result = db_begin_relaxed(connection, error);
    if (result != DB_OK)
        return result;
    const struct quota_amounts more = {stat->size, 1};
    bool counted = false,
         over = false; /* the quota was lowered meanwhile: what was acknowledged stays, and counts */
    result = quota_take(meta, connection, &record->key, more, &counted, error);
    over = result == DB_PERMANENT && error->code == ERROR_QUOTA;
    if (result == DB_CONSTRAINT || over)
        result = DB_OK;
    if (result == DB_OK)
        result = meta_sql_insert(connection, &record->key, &row, error);
    if (result == DB_OK)
        result = db_commit(connection, error);
    else
        db_rollback(connection);
    return result == DB_OK && over ? journal_rows_recount_user(meta, connection, &record->key, error)
                                   : result;
}
