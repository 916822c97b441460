/*
 * upkeep_sql: SQL about file rows for the upkeep, as literals, one for each of the three tables.
 */
#include "storage/upkeep/upkeep_sql.h"

#include "common/proto/digest.h"
#include "storage/rows/meta_sql.h"
#include "storage/rows/partial_sql.h"

#include <string.h>

#define FOR_EACH_TABLE(before, after)                                                                        \
    {                                                                                                        \
        before "t_file_01" after, before "t_file_02" after, before "t_file_03" after                         \
    }
#define OURS      "(group_name = '' OR group_name = ?)"
#define HELD      " AND EXISTS (SELECT 1 FROM t_lease WHERE name = ? AND owner = ?)"
#define OLD_TRASH "COALESCE(status, 0) IN (1, 2, 4) AND deleted_at > 0 AND deleted_at <= ?"

static const char *const stamp_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET deleted_at = ? WHERE status IN (1, 4) AND deleted_at <= 0 AND " OURS HELD);
static const char *const purgeable_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " META_SQL_COLUMNS ", row_id FROM ",
                   " WHERE status IN (1, 2, 4) AND deleted_at > 0 AND deleted_at <= ? AND " OURS
                   " AND row_id > ? ORDER BY row_id LIMIT 100");
static const char *const expired_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " META_SQL_COLUMNS ", row_id FROM ",
                   " WHERE expires_at > 0 AND expires_at <= ? AND COALESCE(status, 0) IN (0, 3) AND " OURS
                   " AND row_id > ? ORDER BY row_id LIMIT 100");
static const char *const expire_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ",
    " SET status = ?, deleted_at = ?, change_id = ?, update_time = CURRENT_TIMESTAMP WHERE row_id = ? "
    "AND file_path = ? AND COALESCE(status, 0) = ? AND COALESCE(deleted_at, 0) = ? "
    "AND expires_at = ? AND expires_at > 0 AND expires_at <= ? AND " OURS HELD);
static const char *const mark_purging_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET status = 2, group_name = ? WHERE row_id = ? AND file_path = ? AND " OLD_TRASH HELD);
static const char *const remove_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("DELETE FROM ", " WHERE row_id = ? AND file_path = ? AND status = 2" HELD);
static const char *const trash_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT status, COUNT(*), CAST(COALESCE(SUM(file_size), 0) AS SIGNED) FROM ",
                   " WHERE status IN (1, 2, 3, 4) AND " OURS " GROUP BY status");
static const char *const page_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "SELECT " META_SQL_COLUMNS ", row_id FROM ",
    " WHERE row_id > ? AND (status IS NULL OR status <> 2) AND " OURS " ORDER BY row_id LIMIT 100");
static const char *const paths_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT file_path FROM ", " WHERE file_path >= ? AND file_path < ?");
static const char *const again_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " META_SQL_COLUMNS ", row_id FROM ", " WHERE row_id = ?");
static const char *const mark_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET status = ?, group_name = ?, update_time = CURRENT_TIMESTAMP WHERE row_id = ? "
               "AND file_path = ? AND COALESCE(status, 0) = ?" HELD);
static const char *const digest_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("UPDATE ", " SET digest = ?, sha256 = ? WHERE row_id = ? AND file_path = ? AND (digest = "
                              "'' OR (digest = ? AND sha256 = ''))"
                              " AND COALESCE(status, 0) = ?" HELD);

static const char *const other_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT row_id FROM ", " WHERE file_path = ? AND row_id <> ? LIMIT 1");

/* Neither old trash of this group or of none, nor being purged: somebody has the file, or may have it back. */
#define IN_USE                                                                                               \
    " WHERE file_path = ? AND (NOT (" OLD_TRASH                                                              \
    ") OR (status <> 2 AND COALESCE(group_name, '') NOT IN ('', ?))) LIMIT 1"
/* With MySQL a locking read: it sees what has been committed, and keeps it so. SQLite has one writer at a time. */
static const char *const in_use_mysql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT row_id FROM ", IN_USE " FOR UPDATE");
static const char *const in_use_sqlite[TABLE_HASH_TABLES] = FOR_EACH_TABLE("SELECT row_id FROM ", IN_USE);
static const char *const mark_path_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("UPDATE ", " SET status = 2, group_name = ? WHERE file_path = ? AND "
                              "COALESCE(group_name, '') IN ('', ?) AND " OLD_TRASH HELD);
static const char *const unmarked_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT row_id FROM ", " WHERE file_path = ? AND COALESCE(status, 0) <> 2 LIMIT 1");

#define TAKEN " WHERE file_path = ? LIMIT 1"
/* With MySQL a locking read: it waits for a row that is added in a transaction which has not ended. */
static const char *const taken_mysql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT row_id FROM ", TAKEN " FOR UPDATE");
static const char *const taken_sqlite[TABLE_HASH_TABLES] = FOR_EACH_TABLE("SELECT row_id FROM ", TAKEN);

#define EIGHT      "?, ?, ?, ?, ?, ?, ?, ?"
#define SIXTY_FOUR EIGHT ", " EIGHT ", " EIGHT ", " EIGHT ", " EIGHT ", " EIGHT ", " EIGHT ", " EIGHT
#define NAMED      " WHERE file_path IN (" SIXTY_FOUR ")"
static const char *const named_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE("SELECT file_path FROM ", NAMED);
static const char named_partial_sql[] = "SELECT file_path FROM t_partial" NAMED;
static const char *const holder_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " META_SQL_COLUMNS ", row_id FROM ",
                   " WHERE file_path = ? AND (status IS NULL OR status <> 2) AND " OURS);

struct reading {
    const struct store *store;
    unsigned table;
    struct upkeep_page *page;
};

static void upkeep_read_row(const struct store *store, unsigned table, const struct db_value *columns,
                            struct upkeep_row *row)
{
    memset(row, 0, sizeof(*row));
    meta_sql_read(store, columns, &row->row, &row->key);
    row->table = table;
    if (!db_value_integer(&columns[META_SQL_COLUMN_COUNT], &row->row_id))
        row->row_id = INT64_MAX; /* nothing comes behind it, and nothing matches it */
}

static bool on_page_row(void *argument, const struct db_value *columns, size_t count)
{
    struct reading *reading = argument;
    struct upkeep_page *page = reading->page;
    if (count != META_SQL_COLUMN_COUNT + 1 || page->count == UPKEEP_PAGE)
        return false;
    upkeep_read_row(reading->store, reading->table, columns, &page->rows[page->count++]);
    return true;
}

enum db_result upkeep_sql_stamp(struct db_connection *connection, const struct lease *lease, unsigned table,
                                const char *group, int64_t now, struct error *error)
{
    const struct db_value parameters[] = {db_integer(now), db_text(group), db_text(lease->name),
                                          db_text(lease->owner)};
    return db_execute(connection, stamp_sql[table], parameters, ARRAY_SIZE(parameters), NULL, error);
}

enum db_result upkeep_sql_find_purgeable(struct db_connection *connection, const struct store *store,
                                         unsigned table, const char *group, int64_t limit, int64_t after,
                                         struct upkeep_page *page, struct error *error)
{
    const struct db_value parameters[] = {db_integer(limit), db_text(group), db_integer(after)};
    struct reading reading = {.store = store, .table = table, .page = page};
    page->count = 0;
    return db_query(connection, purgeable_sql[table], parameters, ARRAY_SIZE(parameters), on_page_row,
                    &reading, error);
}

enum db_result upkeep_sql_find_expired(struct db_connection *connection, const struct store *store,
                                       unsigned table, const char *group, int64_t now, int64_t after,
                                       struct upkeep_page *page, struct error *error)
{
    const struct db_value parameters[] = {db_integer(now), db_text(group), db_integer(after)};
    struct reading reading = {.store = store, .table = table, .page = page};
    page->count = 0;
    return db_query(connection, expired_sql[table], parameters, ARRAY_SIZE(parameters), on_page_row, &reading,
                    error);
}

enum db_result upkeep_sql_expire(struct db_connection *connection, const struct lease *lease,
                                 const struct upkeep_row *row, const char *group, int64_t now,
                                 int64_t deleted, int64_t change_id, bool *changed, struct error *error)
{
    const struct db_value parameters[] = {
        db_integer(meta_state_changed(row->row.state, PROTO_FILE_DELETED)),
        db_integer(deleted),
        db_integer(change_id),
        db_integer(row->row_id),
        db_text(row->row.file_path),
        db_integer(row->row.state),
        db_integer(row->row.version),
        db_integer(row->row.stat.expires),
        db_integer(now),
        db_text(group),
        db_text(lease->name),
        db_text(lease->owner),
    };
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection, expire_sql[row->table], parameters, ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result upkeep_sql_mark_purging(struct db_connection *connection, const struct lease *lease,
                                       const struct upkeep_row *row, const char *group, int64_t limit,
                                       bool *changed, struct error *error)
{
    const struct db_value parameters[] = {
        db_text(group),    db_integer(row->row_id), db_text(row->row.file_path),
        db_integer(limit), db_text(lease->name),    db_text(lease->owner)};
    int64_t affected = 0;
    enum db_result result = db_execute(connection, mark_purging_sql[row->table], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result upkeep_sql_remove(struct db_connection *connection, const struct lease *lease,
                                 const struct upkeep_row *row, bool *removed, struct error *error)
{
    const struct db_value parameters[] = {db_integer(row->row_id), db_text(row->row.file_path),
                                          db_text(lease->name), db_text(lease->owner)};
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection, remove_sql[row->table], parameters, ARRAY_SIZE(parameters), &affected, error);
    *removed = affected > 0;
    return result;
}

static bool on_other(void *argument, const struct db_value *columns, size_t count)
{
    bool *found = argument;
    (void)columns;
    (void)count;
    *found = true;
    return false;
}

enum db_result upkeep_sql_other_row(struct db_connection *connection, const char *file_path,
                                    const struct upkeep_row *but, bool *found, struct error *error)
{
    enum db_result result = DB_OK;
    *found = false;
    for (unsigned table = 0; result == DB_OK && !*found && table < TABLE_HASH_TABLES; table++) {
        int64_t row_id = but && but->table == table ? but->row_id : 0; /* none has 0 */
        const struct db_value parameters[] = {db_text(file_path), db_integer(row_id)};
        result = db_query(connection, other_sql[table], parameters, ARRAY_SIZE(parameters), on_other, found,
                          error);
    }
    return result;
}

static enum db_result in_use(struct db_connection *connection, const char *file_path, const char *group,
                             int64_t limit, bool *found, struct error *error)
{
    const char *const *sql =
        db_connection_backend(connection) == DB_BACKEND_MYSQL ? in_use_mysql : in_use_sqlite;
    const struct db_value parameters[] = {db_text(file_path), db_integer(limit), db_text(group)};
    enum db_result result = DB_OK;
    *found = false;
    for (unsigned table = 0; result == DB_OK && !*found && table < TABLE_HASH_TABLES; table++)
        result = db_query(connection, sql[table], parameters, ARRAY_SIZE(parameters), on_other, found, error);
    return result;
}

static enum db_result unmarked(struct db_connection *connection, unsigned table, const char *file_path,
                               bool *found, struct error *error)
{
    const struct db_value parameter = db_text(file_path);
    return db_query(connection, unmarked_sql[table], &parameter, 1, on_other, found, error);
}

enum db_result upkeep_sql_mark_path(struct db_connection *connection, const struct lease *lease,
                                    const char *file_path, const char *group, int64_t limit, bool *shared,
                                    bool *changed, struct error *error)
{
    const struct db_value marks[] = {db_text(group),    db_text(file_path),   db_text(group),
                                     db_integer(limit), db_text(lease->name), db_text(lease->owner)};
    int64_t marked = 0;
    bool left = false;
    *changed = false;
    enum db_result result = in_use(connection, file_path, group, limit, shared, error);
    if (result != DB_OK || *shared)
        return result;
    for (unsigned table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++) {
        int64_t affected = 0;
        bool any = false;
        result = unmarked(connection, table, file_path, &any, error);
        if (result == DB_OK && any)
            result = db_execute(connection, mark_path_sql[table], marks, ARRAY_SIZE(marks), &affected, error);
        if (result == DB_OK && any)
            result = unmarked(connection, table, file_path, &left, error);
        marked += affected;
    }
    if (result == DB_OK && left && marked > 0) { /* the next attempt finds none to be marked */
        error_set(error, ERROR_UNAVAILABLE, "the lease ended while rows of %s were marked", file_path);
        return DB_TRANSIENT;
    }
    *changed = result == DB_OK && !left;
    return result;
}

enum db_result upkeep_sql_taken(struct db_connection *connection, const char *file_path, bool *taken,
                                struct error *error)
{
    const char *const *sql =
        db_connection_backend(connection) == DB_BACKEND_MYSQL ? taken_mysql : taken_sqlite;
    const struct db_value parameter = db_text(file_path);
    enum db_result result = DB_OK;
    *taken = false;
    for (unsigned table = 0; result == DB_OK && !*taken && table < TABLE_HASH_TABLES; table++)
        result = db_query(connection, sql[table], &parameter, 1, on_other, taken, error);
    return result;
}

static bool on_trash(void *argument, const struct db_value *columns, size_t count)
{
    struct upkeep_trash *trash = argument;
    int64_t state = 0, files = 0, bytes = 0;
    if (count != 3 || !db_value_integer(&columns[0], &state) || !db_value_integer(&columns[1], &files) ||
        !db_value_integer(&columns[2], &bytes))
        return false;
    if (meta_state_is_damaged((enum meta_state)state))
        trash->damaged += files;
    if (state != META_STATE_DAMAGED) {
        trash->files += files;
        trash->bytes += bytes;
    }
    return true;
}

enum db_result upkeep_sql_trash(struct db_connection *connection, unsigned table, const char *group,
                                struct upkeep_trash *trash, struct error *error)
{
    const struct db_value parameters[] = {db_text(group)};
    return db_query(connection, trash_sql[table], parameters, ARRAY_SIZE(parameters), on_trash, trash, error);
}

enum db_result upkeep_sql_page(struct db_connection *connection, const struct store *store, unsigned table,
                               const char *group, int64_t after, struct upkeep_page *page,
                               struct error *error)
{
    const struct db_value parameters[] = {db_integer(after), db_text(group)};
    struct reading reading = {.store = store, .table = table, .page = page};
    page->count = 0;
    return db_query(connection, page_sql[table], parameters, ARRAY_SIZE(parameters), on_page_row, &reading,
                    error);
}

enum db_result upkeep_sql_paths(struct db_connection *connection, const char *prefix,
                                void (*path)(void *argument, const char *file_path), void *argument,
                                struct error *error)
{
    char end[STORE_FILE_PATH_SIZE];
    size_t size = strlen(prefix);
    if (size == 0 || size >= sizeof(end)) {
        error_set(error, ERROR_GENERAL, "a prefix of %zu bytes", size);
        return DB_PERMANENT;
    }
    memcpy(end, prefix, size + 1);
    end[size - 1]++; /* '/' -> '0', the byte behind it */
    const struct db_value parameters[] = {db_text(prefix), db_text(end)};
    enum db_result result = DB_OK;
    for (unsigned table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++)
        result = meta_sql_paths(connection, paths_sql[table], parameters, ARRAY_SIZE(parameters), path,
                                argument, error);
    if (result == DB_OK)
        result = partial_sql_paths(connection, prefix, end, path, argument, error);
    return result;
}

struct row_reading {
    const struct store *store;
    unsigned table;
    struct upkeep_row *row;
    bool found;
};

static bool on_one_row(void *argument, const struct db_value *columns, size_t count)
{
    struct row_reading *reading = argument;
    reading->found = count == META_SQL_COLUMN_COUNT + 1;
    if (reading->found)
        upkeep_read_row(reading->store, reading->table, columns, reading->row);
    return false;
}

enum db_result upkeep_sql_again(struct db_connection *connection, const struct store *store,
                                const struct upkeep_row *row, struct upkeep_row *now, bool *found,
                                struct error *error)
{
    const struct db_value parameters[] = {db_integer(row->row_id)};
    struct row_reading reading = {.store = store, .table = row->table, .row = now};
    enum db_result result = db_query(connection, again_sql[row->table], parameters, ARRAY_SIZE(parameters),
                                     on_one_row, &reading, error);
    *found = reading.found;
    return result;
}

enum db_result upkeep_sql_named(struct db_connection *connection, const char *const *file_paths, size_t count,
                                void (*path)(void *argument, const char *file_path), void *argument,
                                struct error *error)
{
    struct db_value parameters[UPKEEP_NAMES_MAX];
    for (size_t i = 0; i < UPKEEP_NAMES_MAX;
         i++) /* the first one again in place of those that are not there */
        parameters[i] = db_text(file_paths[i < count ? i : 0]);
    enum db_result result = meta_sql_paths(connection, named_partial_sql, parameters, ARRAY_SIZE(parameters),
                                           path, argument, error);
    for (unsigned table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++)
        result = meta_sql_paths(connection, named_sql[table], parameters, ARRAY_SIZE(parameters), path,
                                argument, error);
    return result;
}

struct holder_reading {
    struct row_reading one;
    bool (*wants)(void *argument, const struct meta_row *row);
    void *argument;
    bool any, wanted;
};

static bool on_holder(void *argument, const struct db_value *columns, size_t count)
{
    struct holder_reading *reading = argument;
    (void)on_one_row(&reading->one, columns, count);
    reading->any = reading->any || reading->one.found;
    reading->wanted = reading->one.found && reading->wants(reading->argument, &reading->one.row->row);
    return !reading->wanted;
}

enum db_result upkeep_sql_holder(struct db_connection *connection, const struct store *store,
                                 const char *group, const char *file_path,
                                 bool (*wants)(void *argument, const struct meta_row *row), void *argument,
                                 struct upkeep_row *row, bool *any, bool *wanted, struct error *error)
{
    const struct db_value parameters[] = {db_text(file_path), db_text(group)};
    struct holder_reading reading = {
        .one = {.store = store, .row = row}, .wants = wants, .argument = argument};
    enum db_result result = DB_OK;
    for (; result == DB_OK && !reading.wanted && reading.one.table < TABLE_HASH_TABLES; reading.one.table++)
        result = db_query(connection, holder_sql[reading.one.table], parameters, ARRAY_SIZE(parameters),
                          on_holder, &reading, error);
    *any = result == DB_OK && reading.any;
    *wanted = result == DB_OK && reading.wanted;
    return result;
}

enum db_result upkeep_sql_mark(struct db_connection *connection, const struct lease *lease,
                               const struct upkeep_row *row, const char *group, enum meta_state state,
                               bool *changed, struct error *error)
{
    const struct db_value parameters[] = {db_integer(state),          db_text(group),
                                          db_integer(row->row_id),    db_text(row->row.file_path),
                                          db_integer(row->row.state), db_text(lease->name),
                                          db_text(lease->owner)};
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection, mark_sql[row->table], parameters, ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result upkeep_sql_set_digest(struct db_connection *connection, const struct lease *lease,
                                     const struct upkeep_row *row, const uint8_t digest[PROTO_DIGEST_SIZE],
                                     const uint8_t sha256[DIGEST_SHA256_SIZE], bool *changed,
                                     struct error *error)
{
    char hex[DIGEST_HEX_SIZE], strong[DIGEST_SHA256_HEX_SIZE];
    digest_to_hex(digest, hex);
    strong[0] = '\0';
    if (sha256)
        digest_sha256_to_hex(sha256, strong);
    const struct db_value parameters[] = {db_text(hex),
                                          db_text(strong),
                                          db_integer(row->row_id),
                                          db_text(row->row.file_path),
                                          db_text(hex),
                                          db_integer(row->row.state),
                                          db_text(lease->name),
                                          db_text(lease->owner)};
    int64_t affected = 0;
    enum db_result result =
        db_execute(connection, digest_sql[row->table], parameters, ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}
