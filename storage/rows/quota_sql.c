/*
 * quota_sql: SQL about quotas, as literals that both back ends take. Whoever counts changes the user's row of t_quota first, or
 * waits for it in a transaction that has changed a file row; the database serializes them, or calls one of two a deadlock,
 * which the pool runs again.
 */
#include "storage/rows/quota_sql.h"

#include "storage/rows/table_hash.h"

#define USER_IS "userid = ? AND appid = ?"

/* Does it stay within the limit? Parameters: what is added, the configured limit, or INT64_MAX. Subtracted, since a sum may overflow. */
#define FITS(what)                                                                                           \
    "(" what "_max = -1 OR " what "_used <= CASE " what "_max WHEN -2 THEN ? ELSE " what "_max END - ?)"

static const char any_sql[] = "SELECT 1 FROM t_quota LIMIT 1";
static const char find_sql[] =
    "SELECT bytes_max, files_max, bytes_used, files_used FROM t_quota WHERE " USER_IS;
static const char take_sql[] =
    "UPDATE t_quota SET bytes_used = bytes_used + ?, files_used = files_used + ? WHERE " USER_IS
    " AND " FITS("bytes") " AND " FITS("files");
static const char give_sql[] =
    "UPDATE t_quota SET bytes_used = CASE WHEN bytes_used > ? THEN bytes_used - ? ELSE 0 END, "
    "files_used = CASE WHEN files_used > ? THEN files_used - ? ELSE 0 END WHERE " USER_IS;
static const char insert_sql[] = "INSERT INTO t_quota (userid, appid, recount_at) VALUES (?, ?, ?)";
static const char limit_sql[] = "UPDATE t_quota SET bytes_max = CASE ? WHEN -3 THEN bytes_max ELSE ? END, "
                                "files_max = CASE ? WHEN -3 THEN files_max ELSE ? END WHERE " USER_IS;
/* Takes the lock, before anything is read. */
static const char date_sql[] = "UPDATE t_quota SET recount_at = ? WHERE " USER_IS;

/* Former copies, whose IDs begin with a byte 1 (storage/rows/meta_move.h), do not count as the user's. */
#define COUNT_SQL(table)                                                                                     \
    "UPDATE t_quota SET bytes_used = (SELECT COALESCE(SUM(CASE WHEN file_size > 0 THEN file_size ELSE 0 "    \
    "END), 0) FROM " table " WHERE " USER_IS " AND id >= ?), files_used = (SELECT COUNT(*) FROM " table      \
    " WHERE " USER_IS " AND id >= ?) WHERE " USER_IS
static const char *const count_sql[TABLE_HASH_TABLES] = {COUNT_SQL("t_file_01"), COUNT_SQL("t_file_02"),
                                                         COUNT_SQL("t_file_03")};
static const char due_sql[] =
    "SELECT userid, appid FROM t_quota WHERE recount_at <= ? ORDER BY recount_at LIMIT 100";
static const char list_sql[] =
    "SELECT q.userid, q.appid, q.bytes_max, q.files_max, q.bytes_used, q.files_used, (SELECT "
    "CAST(COALESCE(SUM(p.synced), 0) AS SIGNED) FROM t_partial p WHERE p.userid = q.userid AND p.appid = "
    "q.appid AND p.state IN (0, 1)) FROM t_quota q WHERE q.userid >= ? AND (q.userid > ? OR q.appid > ?) "
    "ORDER BY q.userid, q.appid LIMIT ?";
static const char all_sql[] = "UPDATE t_quota SET recount_at = 0";
static const char drop_sql[] = "DELETE FROM t_quota WHERE " USER_IS " AND bytes_max = -2 AND files_max = -2";

static bool on_any(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    *(bool *)argument = count == 1;
    return false;
}

enum db_result quota_sql_any(struct db_connection *connection, bool *any, struct error *error)
{
    *any = false;
    return db_query(connection, any_sql, NULL, 0, on_any, any, error);
}

struct quota_reading {
    struct quota_row *row;
    bool found;
};

static bool on_quota_row(void *argument, const struct db_value *columns, size_t count)
{
    struct quota_reading *reading = argument;
    struct quota_row *row = reading->row;
    reading->found = count == 4 && db_value_integer(&columns[0], &row->limits.bytes) &&
                     db_value_integer(&columns[1], &row->limits.files) &&
                     db_value_integer(&columns[2], &row->used.bytes) &&
                     db_value_integer(&columns[3], &row->used.files);
    return false;
}

enum db_result quota_sql_find(struct db_connection *connection, const struct proto_file_key *key,
                              struct quota_row *row, bool *found, struct error *error)
{
    const struct db_value parameters[] = {db_text(key->user), db_text(key->application)};
    struct quota_reading reading = {.row = row};
    *row = (struct quota_row){0};
    enum db_result result =
        db_query(connection, find_sql, parameters, ARRAY_SIZE(parameters), on_quota_row, &reading, error);
    *found = reading.found;
    return result;
}

static int64_t limit_or_most(int64_t limit)
{
    return limit < 0 ? INT64_MAX : limit;
}

enum db_result quota_sql_take(struct db_connection *connection, const struct proto_file_key *key,
                              struct quota_amounts more, const struct quota_amounts *defaults,
                              enum quota_taken *taken, struct quota_row *row, struct error *error)
{
    const struct db_value parameters[] = {
        db_integer(more.bytes),
        db_integer(more.files),
        db_text(key->user),
        db_text(key->application),
        db_integer(limit_or_most(defaults->bytes)),
        db_integer(more.bytes),
        db_integer(limit_or_most(defaults->files)),
        db_integer(more.files),
    };
    int64_t affected = 0;
    bool found = false;
    enum db_result result =
        db_execute(connection, take_sql, parameters, ARRAY_SIZE(parameters), &affected, error);
    *taken = QUOTA_TAKEN;
    if (result != DB_OK || affected > 0)
        return result;
    result = quota_sql_find(connection, key, row, &found, error);
    *taken = found ? QUOTA_FULL : QUOTA_NO_ROW;
    return result;
}

enum db_result quota_sql_give(struct db_connection *connection, const struct proto_file_key *key,
                              struct quota_amounts less, struct error *error)
{
    const struct db_value parameters[] = {
        db_integer(less.bytes), db_integer(less.bytes), db_integer(less.files),
        db_integer(less.files), db_text(key->user),     db_text(key->application),
    };
    return db_execute(connection, give_sql, parameters, ARRAY_SIZE(parameters), NULL, error);
}

static enum db_result count_user(struct db_connection *connection, const struct proto_file_key *key,
                                 struct error *error)
{
    const struct db_value first = db_text("\x02"), user = db_text(key->user), app = db_text(key->application);
    const struct db_value parameters[] = {user, app, first, user, app, first, user, app};
    return db_execute(connection, count_sql[table_hash_of_user(key->user)], parameters,
                      ARRAY_SIZE(parameters), NULL, error);
}

/* Inside of the transaction. */
static enum db_result set_limits(struct db_connection *connection, const struct proto_file_key *key,
                                 struct quota_amounts limits, bool fresh, struct error *error)
{
    const struct db_value parameters[] = {
        db_integer(limits.bytes), db_integer(limits.bytes), db_integer(limits.files),
        db_integer(limits.files), db_text(key->user),       db_text(key->application),
    };
    enum db_result result =
        db_execute(connection, limit_sql, parameters, ARRAY_SIZE(parameters), NULL, error);
    return result == DB_OK && fresh ? count_user(connection, key, error) : result;
}

enum db_result quota_sql_set(struct db_connection *connection, const struct proto_file_key *key,
                             struct quota_amounts limits, int64_t recount_at, struct error *error)
{
    const struct db_value row[] = {db_text(key->user), db_text(key->application), db_integer(recount_at)};
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = db_execute(connection, insert_sql, row, ARRAY_SIZE(row), NULL, error);
    bool fresh = result == DB_OK;
    if (fresh || result == DB_CONSTRAINT)
        result = set_limits(connection, key, limits, fresh, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

/* Inside of the transaction. */
static enum db_result recount(struct db_connection *connection, const struct proto_file_key *key,
                              int64_t recount_at, struct quota_amounts *before, struct quota_amounts *after,
                              bool *found, struct error *error)
{
    const struct db_value date[] = {db_integer(recount_at), db_text(key->user), db_text(key->application)};
    struct quota_row row = {0};
    enum db_result result = db_execute(connection, date_sql, date, ARRAY_SIZE(date), NULL, error);
    if (result == DB_OK)
        result = quota_sql_find(connection, key, &row, found, error);
    if (result != DB_OK || !*found)
        return result;
    *before = row.used;
    result = count_user(connection, key, error);
    if (result == DB_OK)
        result = quota_sql_find(connection, key, &row, found, error);
    *after = row.used;
    return result;
}

enum db_result quota_sql_recount(struct db_connection *connection, const struct proto_file_key *key,
                                 int64_t recount_at, struct quota_amounts *before,
                                 struct quota_amounts *after, bool *found, struct error *error)
{
    *found = false;
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = recount(connection, key, recount_at, before, after, found, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static bool on_due(void *argument, const struct db_value *columns, size_t count)
{
    struct quota_page *page = argument;
    struct proto_file_key *key = &page->keys[page->count];
    *key = (struct proto_file_key){0};
    if (count == 2 && page->count < QUOTA_PAGE && db_value_text(&columns[0], key->user, sizeof(key->user)) &&
        db_value_text(&columns[1], key->application, sizeof(key->application)))
        page->count++;
    return page->count < QUOTA_PAGE;
}

enum db_result quota_sql_due(struct db_connection *connection, int64_t now, struct quota_page *page,
                             struct error *error)
{
    const struct db_value parameters[] = {db_integer(now)};
    page->count = 0;
    return db_query(connection, due_sql, parameters, ARRAY_SIZE(parameters), on_due, page, error);
}

static bool on_quota_sql_list_row(void *argument, const struct db_value *columns, size_t count)
{
    struct quota_list *list = argument;
    if (count != 7 || list->count == PROTO_QUOTAS_MAX)
        return false;
    struct proto_quotas_entry *entry = &list->entries[list->count];
    *entry = (struct proto_quotas_entry){0};
    if (db_value_text(&columns[0], entry->of.user, sizeof(entry->of.user)) &&
        db_value_text(&columns[1], entry->of.application, sizeof(entry->of.application)) &&
        db_value_integer(&columns[2], &entry->quota.bytes) &&
        db_value_integer(&columns[3], &entry->quota.files) &&
        db_value_integer(&columns[4], &entry->quota.bytes_used) &&
        db_value_integer(&columns[5], &entry->quota.files_used) &&
        db_value_integer(&columns[6], &entry->held))
        list->count++;
    return true;
}

enum db_result quota_sql_list(struct db_connection *connection, const struct proto_users_entry *after,
                              struct quota_list *list, struct error *error)
{
    const struct db_value parameters[] = {db_text(after->user), db_text(after->user),
                                          db_text(after->application), db_integer(PROTO_QUOTAS_MAX)};
    list->count = 0;
    return db_query(connection, list_sql, parameters, ARRAY_SIZE(parameters), on_quota_sql_list_row, list,
                    error);
}

enum db_result quota_sql_recount_all(struct db_connection *connection, struct error *error)
{
    return db_execute(connection, all_sql, NULL, 0, NULL, error);
}

enum db_result quota_sql_drop(struct db_connection *connection, const struct proto_file_key *key,
                              struct error *error)
{
    const struct db_value parameters[] = {db_text(key->user), db_text(key->application)};
    return db_execute(connection, drop_sql, parameters, ARRAY_SIZE(parameters), NULL, error);
}
