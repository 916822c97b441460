/*
 * meta_sql: SQL about file rows, as literals, one for each of the three tables.
 */
#include "storage/rows/meta_sql.h"

#include "common/base/log.h"
#include "common/proto/digest.h"
#include "storage/rows/table_hash.h"
#include "storage/store/store_choice.h"

#include <stdlib.h>
#include <string.h>

/* The same statement for each table: a prepared statement cannot take a table's name as a parameter. */
#define FOR_EACH_TABLE(before, after)                                                                        \
    {                                                                                                        \
        before "t_file_01" after, before "t_file_02" after, before "t_file_03" after                         \
    }

#define COLUMNS META_SQL_COLUMNS
enum {
    ID,
    APPID,
    USERID,
    STATUS,
    FILE_PATH,
    FILE_SIZE,
    GROUP_NAME,
    FILE_NAME,
    CONTENT_TYPE,
    DIGEST,
    DELETED_AT,
    CHANGE_ID,
    SHA256,
    EXPIRES_AT,
    COUNT
};
_Static_assert(COUNT == META_SQL_COLUMN_COUNT, "the columns of META_SQL_COLUMNS in their order");

#define KEY_IS "userid = ? AND appid = ? AND id = ?"

static const char *const find_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " COLUMNS " FROM ", " WHERE " KEY_IS);

static const char *const insert_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("INSERT INTO ", " (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");

#define MORE_ROW ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

/* Names what was read. A path that is longer than any that we know was read as "" and is not compared. */
static const char *const set_status_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET status = ?, deleted_at = ?, change_id = ?, expires_at = CASE WHEN expires_at > ? THEN "
               "expires_at ELSE 0 END, update_time = CURRENT_TIMESTAMP WHERE " KEY_IS
               " AND COALESCE(status, 0) = ? AND COALESCE(deleted_at, 0) = ? AND (? = '' OR file_path = ?)"
               " AND change_id = ? AND (group_name = '' OR group_name = ?)");

/* Of two changes a late statement finds the other one's change_id. */
static const char *const edit_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ",
    " SET file_name = ?, expires_at = ?, change_id = ?, update_time = CURRENT_TIMESTAMP WHERE " KEY_IS
    " AND COALESCE(status, 0) = 0 AND COALESCE(deleted_at, 0) = ? AND (file_path = ? OR ? = '')"
    " AND change_id = ? AND group_name = ?");

/* A type that was found out later never takes the place of one that is there, nor goes to another file. */
static const char *const type_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET content_type = ? WHERE " KEY_IS " AND file_path = ? AND content_type = ''");

#define AS_SEEN " AND COALESCE(status, 0) = ? AND COALESCE(deleted_at, 0) = ? AND file_path = ?"
/* A name and a type that are there stay: since the upload that comes again the file may have been renamed. */
static const char *const replace_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("UPDATE ", " SET status = ?, file_path = ?, digest = ?, sha256 = ?, group_name = ?, "
                              "file_name = CASE WHEN file_name = '' THEN ? ELSE file_name END, "
                              "content_type = CASE WHEN content_type = '' THEN ? ELSE content_type END, "
                              "update_time = CURRENT_TIMESTAMP WHERE " KEY_IS AS_SEEN
                              " AND (group_name = '' OR group_name = ?)");
static const char *const remove_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("DELETE FROM ", " WHERE " KEY_IS AS_SEEN);

/* Of whatever group: while a user moves to another one the files of both are the user's. */
#define LIST_WHERE(condition)                                                                                \
    " WHERE userid = ? AND appid = ? AND id > ? AND " condition " ORDER BY id LIMIT ?"
static const char *const list_normal_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " COLUMNS " FROM ", LIST_WHERE("(status = 0 OR status IS NULL)"));
static const char *const list_deleted_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT " COLUMNS " FROM ", LIST_WHERE("status IN (1, 4)"));

struct reading {
    const struct store *store;
    const struct proto_file_key *key;
    struct meta_row *row;
    bool found;
    meta_sql_row_function function;
    void *argument;
};

static bool value_is(const struct db_value *value, const char *text)
{
    return value->type == DB_TYPE_BYTES && value->size == strlen(text) &&
           memcmp(value->bytes, text, value->size) == 0;
}

void meta_sql_read(const struct store *store, const struct db_value *columns, struct meta_row *row,
                   struct proto_file_key *key)
{
    struct proto_stat *stat = &row->stat;
    char hex[DIGEST_HEX_SIZE];
    int64_t status = 0;
    memset(row, 0, sizeof(*row));
    row->has_texts = true;
    if (columns[STATUS].type != DB_TYPE_NULL && !db_value_integer(&columns[STATUS], &status))
        status = -1; /* no state of ours */
    if (status != META_STATE_NORMAL)
        stat->status = PROTO_FILE_DELETED;
    row->state = status;
    if (!db_value_integer(&columns[FILE_SIZE], &stat->size) || stat->size < 0)
        stat->size = -1;
    if (!db_value_integer(&columns[DELETED_AT], &row->version))
        row->version = 0;
    if (!db_value_integer(&columns[CHANGE_ID], &row->change_id))
        row->change_id = 0;
    if (!db_value_integer(&columns[EXPIRES_AT], &stat->expires) || stat->expires < 0)
        stat->expires = 0;
    stat->deleted = stat->status == PROTO_FILE_NORMAL ? 0 : max_i64(row->version, 0);
    /* Anything that does not fit its field says nothing, as if it were absent. */
    if (!db_value_text(&columns[ID], row->file, sizeof(row->file)))
        row->file[0] = '\0';
    if (!db_value_text(&columns[GROUP_NAME], stat->group, sizeof(stat->group)))
        memcpy(stat->group, "?", 2); /* no group of ours: it is refused, not served */
    if (!db_value_text(&columns[FILE_NAME], stat->name, sizeof(stat->name)))
        stat->name[0] = '\0';
    if (!db_value_text(&columns[CONTENT_TYPE], stat->content_type, sizeof(stat->content_type)))
        stat->content_type[0] = '\0';
    char sha256[DIGEST_SHA256_HEX_SIZE];
    row->has_sha256 = db_value_text(&columns[SHA256], sha256, sizeof(sha256)) &&
                      digest_sha256_from_hex(sha256, row->sha256);
    stat->has_digest =
        db_value_text(&columns[DIGEST], hex, sizeof(hex)) && digest_from_hex(hex, stat->digest);
    if (!db_value_text(&columns[FILE_PATH], row->file_path, sizeof(row->file_path)))
        row->file_path[0] = '\0';
    row->path = store_find(store, row->file_path, &row->place, NULL);
    if (row->path)
        stat->created = row->place.seconds;
    if (key) {
        memset(key, 0, sizeof(*key));
        memcpy(key->file, row->file, sizeof(key->file));
        if (!db_value_text(&columns[APPID], key->application, sizeof(key->application)) ||
            !db_value_text(&columns[USERID], key->user, sizeof(key->user)))
            key->file[0] = '\0';
    }
}

static bool on_find_row(void *argument, const struct db_value *columns, size_t count)
{
    struct reading *reading = argument;
    /* A table of the predecessor may compare without regard to case: another's file must not be found that
     * way. */
    if (count != COUNT || !value_is(&columns[ID], reading->key->file) ||
        !value_is(&columns[USERID], reading->key->user) ||
        !value_is(&columns[APPID], reading->key->application))
        return true;
    meta_sql_read(reading->store, columns, reading->row, NULL);
    reading->found = true;
    return false;
}

static bool on_integer(void *argument, const struct db_value *columns, size_t count)
{
    int64_t *integer = argument;
    if (count != 1 || !db_value_integer(&columns[0], integer))
        *integer = -1;
    return false;
}

struct path_reading {
    void (*path)(void *argument, const char *file_path);
    void *argument;
};

static bool on_path(void *argument, const struct db_value *columns, size_t count)
{
    const struct path_reading *reading = argument;
    char text[STORE_FILE_PATH_SIZE];
    if (count == 1 && db_value_text(&columns[0], text, sizeof(text)))
        reading->path(reading->argument, text);
    return true;
}

enum db_result meta_sql_paths(struct db_connection *connection, const char *sql,
                              const struct db_value *parameters, size_t count,
                              void (*path)(void *argument, const char *file_path), void *argument,
                              struct error *error)
{
    struct path_reading reading = {.path = path, .argument = argument};
    return db_query(connection, sql, parameters, count, on_path, &reading, error);
}

enum db_result meta_sql_now(struct db_connection *connection, int64_t *seconds, struct error *error)
{
    const char *sql = db_connection_backend(connection) == DB_BACKEND_MYSQL
                          ? "SELECT UNIX_TIMESTAMP()"
                          : "SELECT CAST(strftime('%s', 'now') AS INTEGER)";
    *seconds = -1;
    enum db_result result = db_query(connection, sql, NULL, 0, on_integer, seconds, error);
    if (result == DB_OK && *seconds < 0) {
        error_set(error, ERROR_GENERAL, "the database reports no time");
        return DB_PERMANENT;
    }
    return result;
}

enum db_result meta_sql_find(struct db_connection *connection, const struct store *store,
                             const struct proto_file_key *key, struct meta_row *row, bool *found,
                             struct error *error)
{
    const struct db_value parameters[] = {db_text(key->user), db_text(key->application), db_text(key->file)};
    struct reading reading = {.store = store, .key = key, .row = row};
    enum db_result result = db_query(connection, find_sql[table_hash_of_user(key->user)], parameters,
                                     ARRAY_SIZE(parameters), on_find_row, &reading, error);
    *found = reading.found;
    return result;
}

/* The digests of a row as texts. */
struct row_texts {
    char digest[DIGEST_HEX_SIZE], sha256[DIGEST_SHA256_HEX_SIZE];
};

/* TEXTS: in use as long as PARAMETERS. */
static void insert_parameters(const struct proto_file_key *key, const struct meta_row *row,
                              struct row_texts *texts, struct db_value parameters[COUNT])
{
    texts->digest[0] = texts->sha256[0] = '\0';
    if (row->stat.has_digest)
        digest_to_hex(row->stat.digest, texts->digest);
    if (row->has_sha256)
        digest_sha256_to_hex(row->sha256, texts->sha256);
    const struct db_value values[COUNT] = {
        [ID] = db_text(key->file),
        [APPID] = db_text(key->application),
        [USERID] = db_text(key->user),
        [STATUS] = db_integer(row->stat.status),
        [FILE_PATH] = db_text(row->file_path),
        [FILE_SIZE] = db_integer(row->stat.size),
        [GROUP_NAME] = db_text(row->stat.group),
        [FILE_NAME] = db_text(row->stat.name),
        [CONTENT_TYPE] = db_text(row->stat.content_type),
        [DIGEST] = db_text(texts->digest),
        [DELETED_AT] = db_integer(row->stat.deleted),
        [CHANGE_ID] = db_integer(0),
        [SHA256] = db_text(texts->sha256),
        [EXPIRES_AT] = db_integer(row->stat.expires),
    };
    memcpy(parameters, values, sizeof(values));
}

enum db_result meta_sql_insert(struct db_connection *connection, const struct proto_file_key *key,
                               const struct meta_row *row, struct error *error)
{
    struct row_texts texts;
    struct db_value parameters[COUNT];
    insert_parameters(key, row, &texts, parameters);
    return db_execute(connection, insert_sql[table_hash_of_user(key->user)], parameters, COUNT, NULL, error);
}

/* Rows of one table in one statement. */
struct many {
    char sql[1024 + META_SQL_MANY_MAX * sizeof(MORE_ROW)];
    struct db_value parameters[META_SQL_MANY_MAX * COUNT];
    struct row_texts texts[META_SQL_MANY_MAX];
    size_t count, size; /* rows; bytes of `sql` */
};

static void add_to_many(struct many *many, size_t table, const struct meta_sql_new *one)
{
    if (many->count == 0)
        many->size = 0;
    many->size += (size_t)snprintf(many->sql + many->size, sizeof(many->sql) - many->size, "%s",
                                   many->count == 0 ? insert_sql[table] : MORE_ROW);
    ASSERT(many->size < sizeof(many->sql));
    insert_parameters(one->key, one->row, &many->texts[many->count], many->parameters + many->count * COUNT);
    many->count++;
}

enum db_result meta_sql_insert_many(struct db_connection *connection, const struct meta_sql_new *rows,
                                    size_t count, struct error *error)
{
    struct many *many = malloc(sizeof(*many));
    enum db_result result = DB_OK;
    ASSERT(count <= META_SQL_MANY_MAX);
    if (!many) {
        error_set(error, ERROR_UNAVAILABLE, "no memory for a statement");
        return DB_TRANSIENT;
    }
    for (size_t table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++) {
        many->count = 0;
        for (size_t i = 0; i < count; i++) {
            if (table_hash_of_user(rows[i].key->user) == table)
                add_to_many(many, table, &rows[i]);
        }
        if (many->count > 0)
            result = db_execute(connection, many->sql, many->parameters, many->count * COUNT, NULL, error);
    }
    free(many);
    return result;
}

enum db_result meta_sql_set_status(struct db_connection *connection, const struct proto_file_key *key,
                                   const char *group, const struct meta_row *seen,
                                   enum proto_file_status status, int64_t version, int64_t change_id,
                                   int64_t over, bool *changed, struct error *error)
{
    const int64_t state = meta_state_changed(seen->state, status);
    const struct db_value parameters[] = {
        db_integer(state),        db_integer(version),      db_integer(change_id),
        db_integer(over),         db_text(key->user),       db_text(key->application),
        db_text(key->file),       db_integer(seen->state),  db_integer(seen->version),
        db_text(seen->file_path), db_text(seen->file_path), db_integer(seen->change_id),
        db_text(group),
    };
    int64_t affected = 0;
    enum db_result result = db_execute(connection, set_status_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result meta_sql_edit(struct db_connection *connection, const struct proto_file_key *key,
                             const struct meta_row *seen, const char *name, int64_t expires,
                             int64_t change_id, bool *changed, struct error *error)
{
    const struct db_value parameters[] = {
        db_text(name),
        db_integer(expires),
        db_integer(change_id),
        db_text(key->user),
        db_text(key->application),
        db_text(key->file),
        db_integer(seen->version),
        db_text(seen->file_path),
        db_text(seen->file_path),
        db_integer(seen->change_id),
        db_text(seen->stat.group),
    };
    int64_t affected = 0;
    enum db_result result = db_execute(connection, edit_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result meta_sql_set_type(struct db_connection *connection, const struct proto_file_key *key,
                                 const char *file_path, const char *type, bool *changed, struct error *error)
{
    const struct db_value parameters[] = {db_text(type), db_text(key->user), db_text(key->application),
                                          db_text(key->file), db_text(file_path)};
    int64_t affected = 0;
    enum db_result result = db_execute(connection, type_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result meta_sql_replace(struct db_connection *connection, const struct proto_file_key *key,
                                const char *group, const struct meta_row *seen, const struct meta_row *new,
                                bool *changed, struct error *error)
{
    char hex[DIGEST_HEX_SIZE] = "";
    if (new->stat.has_digest)
        digest_to_hex(new->stat.digest, hex);
    char sha256[DIGEST_SHA256_HEX_SIZE] = "";
    if (new->has_sha256)
        digest_sha256_to_hex(new->sha256, sha256);
    const struct db_value parameters[] = {
        db_integer(new->state),
        db_text(new->file_path),
        db_text(hex),
        db_text(sha256),
        db_text(new->stat.group),
        db_text(new->stat.name),
        db_text(new->stat.content_type),
        db_text(key->user),
        db_text(key->application),
        db_text(key->file),
        db_integer(seen->state),
        db_integer(seen->version),
        db_text(seen->file_path),
        db_text(group),
    };
    int64_t affected = 0;
    enum db_result result = db_execute(connection, replace_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

enum db_result meta_sql_remove(struct db_connection *connection, const struct proto_file_key *key,
                               const struct meta_row *seen, bool *removed, struct error *error)
{
    const struct db_value parameters[] = {
        db_text(key->user),      db_text(key->application), db_text(key->file),
        db_integer(seen->state), db_integer(seen->version), db_text(seen->file_path),
    };
    int64_t affected = 0;
    enum db_result result = db_execute(connection, remove_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *removed = affected > 0;
    return result;
}

static const char *const has_rows_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("SELECT 1 FROM ", " WHERE file_path >= ? AND file_path < ? LIMIT 1");

static bool on_has_row(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    *(bool *)argument = count == 1;
    return false;
}

enum db_result meta_sql_has_rows(struct db_connection *connection, const char *key, bool *has,
                                 struct error *error)
{
    char first[PROTO_KEY_SIZE + 1], end[PROTO_KEY_SIZE + 1];
    enum db_result result = DB_OK;
    snprintf(first, sizeof(first), "%s/", key);
    snprintf(end, sizeof(end), "%s0", key); /* '0' comes after '/' */
    const struct db_value parameters[] = {db_text(first), db_text(end)};
    *has = false;
    for (size_t i = 0; result == DB_OK && !*has && i < TABLE_HASH_TABLES; i++)
        result =
            db_query(connection, has_rows_sql[i], parameters, ARRAY_SIZE(parameters), on_has_row, has, error);
    return result;
}

static bool on_meta_sql_list_row(void *argument, const struct db_value *columns, size_t count)
{
    struct reading *reading = argument;
    struct meta_row row;
    if (count != COUNT || !value_is(&columns[USERID], reading->key->user) ||
        !value_is(&columns[APPID], reading->key->application))
        return true;
    meta_sql_read(reading->store, columns, &row, NULL);
    if (row.file[0] != '\0')
        reading->function(reading->argument, &row);
    return true;
}

enum db_result meta_sql_list(struct db_connection *connection, const struct store *store,
                             const struct proto_list *list, meta_sql_row_function row, void *argument,
                             struct error *error)
{
    const char *const *sql = list->status == PROTO_FILE_DELETED ? list_deleted_sql : list_normal_sql;
    const struct db_value parameters[] = {db_text(list->key.user), db_text(list->key.application),
                                          db_text(list->key.file), db_integer(list->limit)};
    struct reading reading = {.store = store, .key = &list->key, .function = row, .argument = argument};
    return db_query(connection, sql[table_hash_of_user(list->key.user)], parameters, ARRAY_SIZE(parameters),
                    on_meta_sql_list_row, &reading, error);
}
