/*
 * meta_move: SQL about moved files, as literals, one for each of the three tables.
 */
#include "storage/rows/meta_move.h"

#include "common/base/crash_point.h"
#include "common/proto/digest.h"
#include "storage/rows/table_hash.h"

#include <string.h>

#define READS 3 /* of a row that others change at the same moment, before the pool pauses */

#define FOR_EACH_TABLE(before, after)                                                                        \
    {                                                                                                        \
        before "t_file_01" after, before "t_file_02" after, before "t_file_03" after                         \
    }
#define KEY_IS "userid = ? AND appid = ? AND id = ?"

static const char *const switch_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET file_path = ?, digest = ?, group_name = ?, update_time = CURRENT_TIMESTAMP WHERE " KEY_IS
               " AND COALESCE(status, 0) = ? AND COALESCE(deleted_at, 0) = ? AND file_path = ?"
               " AND (group_name = '' OR group_name = ?)");
static const char *const back_sql[TABLE_HASH_TABLES] = FOR_EACH_TABLE(
    "UPDATE ", " SET file_path = ?, group_name = ?, update_time = CURRENT_TIMESTAMP WHERE " KEY_IS
               " AND file_path = ? AND group_name = ?");
static const char *const remove_sql[TABLE_HASH_TABLES] =
    FOR_EACH_TABLE("DELETE FROM ", " WHERE " KEY_IS " AND status = 2 AND file_path = ?");

/* Not a file ID that a client makes: those begin with a printable character. */
void meta_move_former_id(const char *group, const char *file, char id[PROTO_FILE_SIZE])
{
    uint8_t bytes[PROTO_DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE];
    digest_of_bytes(file, strlen(file), bytes);
    snprintf(id, PROTO_FILE_SIZE, "\x01%s/%s", group, digest_to_hex(bytes, hex));
}

bool meta_move_is_former_id(const char *file)
{
    return file[0] == '\x01';
}

static void former_key(const struct proto_file_key *key, const char *group, struct proto_file_key *former)
{
    *former = *key;
    memset(former->file, 0, sizeof(former->file));
    meta_move_former_id(group, key->file, former->file);
}

/* The row of the copy that GROUP had. FOUND false: there is none, or what has its ID is something else. */
static enum db_result find_former(struct db_connection *connection, const struct store *store,
                                  const char *group, const struct proto_file_key *key, struct meta_row *row,
                                  bool *found, struct error *error)
{
    struct proto_file_key former;
    former_key(key, group, &former);
    enum db_result result = meta_sql_find(connection, store, &former, row, found, error);
    *found =
        result == DB_OK && *found && row->state == META_STATE_PURGING && strcmp(row->stat.group, group) == 0;
    return result;
}

enum db_result meta_move_has_former(struct db_connection *connection, const struct store *store,
                                    const char *group, const struct proto_file_key *key,
                                    const char *file_path, bool *has, struct error *error)
{
    struct meta_row copy;
    enum db_result result = find_former(connection, store, group, key, &copy, has, error);
    *has = *has && strcmp(copy.file_path, file_path) == 0;
    return result;
}

enum db_result meta_move_is_former(struct db_connection *connection, const struct store *store,
                                   const char *group, const struct proto_file_key *key,
                                   const struct meta_row *row, bool *former, struct error *error)
{
    struct meta_row copy;
    *former = false;
    if (row->stat.group[0] == '\0' || strcmp(row->stat.group, group) == 0)
        return DB_OK;
    return find_former(connection, store, group, key, &copy, former, error);
}

enum db_result meta_move_find(struct db_connection *connection, const struct store *store, const char *group,
                              const struct proto_file_key *key, struct meta_row *row, bool *found,
                              struct error *error)
{
    struct meta_row copy;
    bool former = false;
    enum db_result result = meta_sql_find(connection, store, key, row, found, error);
    if (result != DB_OK || !*found || row->stat.group[0] == '\0' || strcmp(row->stat.group, group) == 0)
        return result;
    result = find_former(connection, store, group, key, &copy, &former, error);
    if (result != DB_OK || !former)
        return result;
    memcpy(row->file_path, copy.file_path, sizeof(row->file_path));
    row->path = copy.path;
    row->place = copy.place;
    row->stat.created = copy.stat.created;
    memcpy(row->stat.group, copy.stat.group, sizeof(row->stat.group));
    row->given_up = true;
    return DB_OK;
}

/* ---- the switch ---- */

static bool meta_move_refuse(bool *refused, struct error *error, int code, const char *file, const char *why)
{
    *refused = true;
    return error_set(error, code, "file %s cannot be moved: %s", file, why);
}

/* May ROW, as it is now, be given to another group? */
static bool may_move(const struct proto_file_key *key, const char *from, const struct meta_row *row,
                     bool *refused, struct error *error)
{
    if (row->state == META_STATE_PURGING)
        return meta_move_refuse(refused, error, ERROR_NOT_FOUND, key->file, "it is being purged");
    if (meta_state_is_damaged(row->state))
        return meta_move_refuse(refused, error, ERROR_IO, key->file, "it was found missing or damaged");
    if (row->stat.group[0] != '\0' && strcmp(row->stat.group, from) != 0)
        return meta_move_refuse(refused, error, ERROR_OTHER_GROUP, key->file, "it belongs to another group");
    return true;
}

static enum db_result give_row(struct db_connection *connection, const struct proto_file_key *key,
                               const char *from, const struct meta_row *row, const struct meta_row *new,
                               bool *changed, struct error *error)
{
    char hex[DIGEST_HEX_SIZE] = "";
    if (new->stat.has_digest)
        digest_to_hex(new->stat.digest, hex);
    const struct db_value parameters[] = {
        db_text(new->file_path),   db_text(hex),       db_text(new->stat.group), db_text(key->user),
        db_text(key->application), db_text(key->file), db_integer(row->state),   db_integer(row->version),
        db_text(row->file_path),   db_text(from),
    };
    int64_t affected = 0;
    enum db_result result = db_execute(connection, switch_sql[table_hash_of_user(key->user)], parameters,
                                       ARRAY_SIZE(parameters), &affected, error);
    *changed = affected > 0;
    return result;
}

static enum db_result add_former(struct db_connection *connection, const struct proto_file_key *key,
                                 const char *from, const struct meta_row *row, int64_t now, bool *refused,
                                 struct error *error)
{
    struct proto_file_key former;
    struct meta_row copy = *row;
    former_key(key, from, &former);
    copy.stat.status = META_STATE_PURGING;
    copy.stat.deleted = now + META_MOVE_KEEP;
    copy.stat.expires = 0;
    snprintf(copy.stat.group, sizeof(copy.stat.group), "%s", from);
    enum db_result result = meta_sql_insert(connection, &former, &copy, error);
    if (result != DB_CONSTRAINT)
        return result;
    (void)meta_move_refuse(refused, error, ERROR_EXISTS, key->file,
                           "that group still has the copy of an earlier move, which must be purged first");
    return DB_PERMANENT;
}

/* One try: the row as it was read as ROW. */
static enum db_result switch_once(struct db_connection *connection, const struct proto_file_key *key,
                                  const char *from, const struct meta_row *row, const struct meta_row *new,
                                  bool *changed, bool *refused, struct error *error)
{
    int64_t now = 0;
    enum db_result result = meta_sql_now(connection, &now, error);
    if (result == DB_OK)
        result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    CRASH_POINT("move-begun");
    result = give_row(connection, key, from, row, new, changed, error);
    if (result == DB_OK && *changed)
        result = add_former(connection, key, from, row, now, refused, error);
    if (result != DB_OK || !*changed) {
        *changed = false;
        db_rollback(connection);
        return result;
    }
    CRASH_POINT("move-before-commit");
    result = db_commit(connection, error);
    *changed = result == DB_OK;
    if (*changed)
        CRASH_POINT("move-committed");
    return result;
}

enum db_result meta_move_switch(struct db_connection *connection, const struct store *store,
                                const struct proto_file_key *key, const char *from,
                                const struct meta_row *seen, const struct meta_row *new, bool *changed,
                                bool *refused, struct error *error)
{
    *changed = *refused = false;
    for (int i = 0; i < READS;
         i++) { /* a DELETE, RESTORE or RENAME of this moment leaves the file where it was */
        struct meta_row row;
        bool found = false;
        enum db_result result = meta_sql_find(connection, store, key, &row, &found, error);
        if (result != DB_OK)
            return result;
        if (!found) {
            (void)meta_move_refuse(refused, error, ERROR_NOT_FOUND, key->file, "it is gone");
            return DB_PERMANENT;
        }
        if (strcmp(row.file_path, seen->file_path) != 0)
            return DB_OK;
        if (!may_move(key, from, &row, refused, error))
            return DB_PERMANENT;
        CRASH_POINT("move-before-begin");
        result = switch_once(connection, key, from, &row, new, changed, refused, error);
        if (result != DB_OK || *changed)
            return result;
    }
    error_set(error, ERROR_UNAVAILABLE, "the row of file %s is being changed by others", key->file);
    return DB_TRANSIENT;
}

/* Inside of the transaction. */
static enum db_result take_back(struct db_connection *connection, const struct proto_file_key *key,
                                const char *from, const struct meta_row *copy, const struct meta_row *new,
                                bool *changed, struct error *error)
{
    struct proto_file_key former;
    const struct db_value row[] = {db_text(copy->file_path),  db_text(from),      db_text(key->user),
                                   db_text(key->application), db_text(key->file), db_text(new->file_path),
                                   db_text(new->stat.group)};
    int64_t affected = 0;
    former_key(key, from, &former);
    const struct db_value gone[] = {db_text(former.user), db_text(former.application), db_text(former.file),
                                    db_text(copy->file_path)};
    unsigned table = table_hash_of_user(key->user);
    enum db_result result = db_execute(connection, back_sql[table], row, ARRAY_SIZE(row), &affected, error);
    *changed = affected > 0;
    if (result != DB_OK || !*changed)
        return result;
    result = db_execute(connection, remove_sql[table], gone, ARRAY_SIZE(gone), &affected, error);
    *changed = affected > 0; /* the purge may have begun with it a moment ago */
    return result;
}

enum db_result meta_move_back(struct db_connection *connection, const struct store *store,
                              const struct proto_file_key *key, const char *from, const struct meta_row *new,
                              struct error *error)
{
    struct meta_row copy;
    bool found = false, changed = false;
    enum db_result result = find_former(connection, store, from, key, &copy, &found, error);
    if (result != DB_OK || !found)
        return result;
    result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = take_back(connection, key, from, &copy, new, &changed, error);
    if (result == DB_OK && changed)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}
