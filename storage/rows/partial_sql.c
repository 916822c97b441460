/*
 * partial_sql: SQL about partial uploads, as literals that both back ends take.
 */
#include "storage/rows/partial_sql.h"

#include "common/base/clock.h"
#include "common/proto/digest.h"
#include "storage/rows/meta_sql.h"
#include "storage/store/store_choice.h"
#include "storage/store/store_life.h"

#include <inttypes.h>
#include <string.h>

#define COLUMNS                                                                                              \
    "token, appid, userid, id, group_name, file_path, file_size, synced, epoch, claim, writer, mixed, "      \
    "state, keep, expires, file_name, content_type, digest, file_expires"
enum {
    TOKEN,
    APPID,
    USERID,
    ID,
    GROUP_NAME,
    FILE_PATH,
    FILE_SIZE,
    SYNCED,
    EPOCH,
    CLAIM,
    WRITER,
    MIXED,
    STATE,
    KEEP,
    EXPIRES,
    FILE_NAME,
    CONTENT_TYPE,
    DIGEST,
    FILE_EXPIRES,
    COUNT
};

static const char add_sql[] =
    "INSERT INTO t_partial (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
static const char find_sql[] = "SELECT " COLUMNS " FROM t_partial WHERE token = ?";
static const char count_all_sql[] = "SELECT COUNT(*) FROM t_partial WHERE group_name = ? AND state IN (0, 1)";
static const char count_user_sql[] =
    "SELECT COUNT(*) FROM t_partial WHERE userid = ? AND appid = ? AND state IN (0, 1)";
/* Names what its holder may have changed since the row was read: a request that continues with an older offset, size or file would lose
 * what was recorded. */
static const char take_sql[] =
    "UPDATE t_partial SET epoch = ?, claim = ?, writer = ?, mixed = ?, state = ?, expires = ? "
    "WHERE token = ? AND epoch = ? AND state = ? AND claim = ? AND synced = ? AND file_size = ? "
    "AND (file_path = ? OR ? = '')";
static const char record_sql[] =
    "UPDATE t_partial SET synced = ?, file_size = ?, state = ?, expires = ?, claim = ? "
    "WHERE token = ? AND epoch = ? AND claim IN (?, 0) AND state = ? AND synced <= ?";
static const char move_sql[] = "UPDATE t_partial SET file_path = ?, mixed = ?, expires = ? "
                               "WHERE token = ? AND epoch = ? AND claim = ? AND state = ?";
static const char keep_sql[] = "UPDATE t_partial SET expires = ? WHERE token = ? AND epoch = ? AND claim = ? "
                               "AND state IN (0, 1) AND expires < ?";
static const char hold_sql[] =
    "UPDATE t_partial SET expires = ? WHERE token = ? AND epoch = ? AND claim = ? AND state = 1";
static const char store_sql[] =
    "UPDATE t_partial SET state = 2, synced = ?, file_size = ?, file_path = ?, expires = ? "
    "WHERE token = ? AND epoch = ? AND claim = ? AND state IN (1, 2)";
static const char remove_sql[] =
    "DELETE FROM t_partial WHERE token = ? AND (state = 3 OR (state = 2 AND expires <= ?))";
static const char paths_sql[] = "SELECT file_path FROM t_partial WHERE file_path >= ? AND file_path < ?";
static const char holder_sql[] = "SELECT " COLUMNS " FROM t_partial WHERE file_path = ?";
static const char has_sql[] = "SELECT 1 FROM t_partial WHERE file_path = ? LIMIT 1";
/* Each half by an index of its own: stored ones stay for days, and are not read again and again meanwhile. */
static const char expired_sql[] =
    "SELECT " COLUMNS
    " FROM (SELECT token AS due FROM t_partial WHERE group_name = ? AND expires <= ? AND token > ? "
    "UNION SELECT token FROM t_partial WHERE group_name = ? AND state = 3 AND token > ?) AS pending "
    "JOIN t_partial ON token = due ORDER BY token LIMIT 100";
static const char expire_sql[] =
    "UPDATE t_partial SET state = 3, epoch = ? WHERE token = ? AND epoch = ? AND state = ? AND expires <= ? "
    "AND EXISTS (SELECT 1 FROM t_lease WHERE name = ? AND owner = ?)";
static const char held_sql[] = "SELECT CAST(COALESCE(SUM(synced), 0) AS SIGNED) FROM t_partial "
                               "WHERE userid = ? AND appid = ? AND state IN (0, 1) AND token <> ?";
static const char sum_sql[] = "SELECT COUNT(*), CAST(COALESCE(SUM(synced), 0) AS SIGNED) FROM t_partial "
                              "WHERE group_name = ? AND state IN (0, 1)";

void partial_sql_token(const uint8_t token[PROTO_PARTIAL_TOKEN_SIZE], char hex[PARTIAL_HEX_SIZE])
{
    /* NOLINTNEXTLINE(misc-redundant-expression): one value under two names, which is what is asserted */
    _Static_assert(PARTIAL_HEX_SIZE == DIGEST_HEX_SIZE && PROTO_PARTIAL_TOKEN_SIZE == PROTO_DIGEST_SIZE,
                   "tokens and digests are written alike");
    digest_to_hex(token, hex);
}

/* What the column `mixed` holds. */
#define MIXED_WRITERS   1
#define MIXED_LOOSE     2
#define MIXED_FINISHING 4

static int64_t mixed_of(const struct partial_row *row)
{
    return (row->mixed ? MIXED_WRITERS : 0) | (row->loose ? MIXED_LOOSE : 0) |
           (row->finishing ? MIXED_FINISHING : 0);
}

static void mixed_to(int64_t mixed, struct partial_row *row)
{
    row->mixed = mixed != 0;
    row->loose = (mixed & MIXED_LOOSE) != 0;
    row->finishing = (mixed & MIXED_FINISHING) != 0;
}

/* The later of this machine's clock and the database's: one whose clock is behind must not shorten the time. */
static enum db_result partial_sql_extend(struct db_connection *connection, struct partial_row *row,
                                         struct error *error)
{
    int64_t seconds = 0;
    enum db_result result = meta_sql_now(connection, &seconds, error);
    row->expires = max_i64(seconds, clock_wall_seconds()) + 1 +
                   row->keep; /* neither says how much of its second is over */
    return result;
}

/* ---- reading ---- */

struct reading {
    const struct store *store;
    struct partial_row *row;
    struct partial_page *page;
    bool found;
};

static int64_t number_of(const struct db_value *column, int64_t least)
{
    int64_t value;
    return db_value_integer(column, &value) && value >= least ? value : least;
}

/* What does not fit its field makes a row that nothing matches. */
static void read_row(const struct store *store, const struct db_value *columns, struct partial_row *row)
{
    char hex[DIGEST_HEX_SIZE];
    memset(row, 0, sizeof(*row));
    bool fine = db_value_text(&columns[TOKEN], row->token, sizeof(row->token)) &&
                db_value_text(&columns[APPID], row->key.application, sizeof(row->key.application)) &&
                db_value_text(&columns[USERID], row->key.user, sizeof(row->key.user)) &&
                db_value_text(&columns[ID], row->key.file, sizeof(row->key.file));
    if (!fine)
        memset(&row->key, 0, sizeof(row->key));
    if (!db_value_text(&columns[GROUP_NAME], row->group, sizeof(row->group)))
        memcpy(row->group, "?", 2);
    if (!db_value_text(&columns[FILE_PATH], row->file_path, sizeof(row->file_path)))
        row->file_path[0] = '\0';
    if (!db_value_text(&columns[FILE_NAME], row->name, sizeof(row->name)))
        row->name[0] = '\0';
    if (!db_value_text(&columns[CONTENT_TYPE], row->content_type, sizeof(row->content_type)))
        row->content_type[0] = '\0';
    row->has_digest = db_value_text(&columns[DIGEST], hex, sizeof(hex)) && digest_from_hex(hex, row->digest);
    row->size = number_of(&columns[FILE_SIZE], -1);
    row->offset = number_of(&columns[SYNCED], 0);
    row->epoch = number_of(&columns[EPOCH], 0);
    row->claim = number_of(&columns[CLAIM], INT64_MIN);
    row->writer = number_of(&columns[WRITER], INT64_MIN);
    mixed_to(number_of(&columns[MIXED], 0), row);
    row->state = number_of(&columns[STATE], -1);
    row->keep = number_of(&columns[KEEP], 0);
    row->expires = number_of(&columns[EXPIRES], 0);
    row->file_expires = number_of(&columns[FILE_EXPIRES], -PROTO_EXPIRES_MAX);
    if (!proto_expires_valid(row->file_expires))
        row->file_expires = 0;
    row->path = store_find(store, row->file_path, &row->place, NULL);
}

static bool on_row(void *argument, const struct db_value *columns, size_t count)
{
    struct reading *reading = argument;
    if (count != COUNT)
        return false;
    if (reading->page) {
        if (reading->page->count == PARTIAL_PAGE)
            return false;
        read_row(reading->store, columns, &reading->page->rows[reading->page->count++]);
        return true;
    }
    read_row(reading->store, columns, reading->row);
    reading->found = true;
    return false;
}

/* What SQL selects, of which there is one at most that matters. */
static enum db_result find_one(struct db_connection *connection, const struct store *store, const char *sql,
                               const struct db_value *parameters, size_t count, struct partial_row *row,
                               bool *found, struct error *error)
{
    struct reading reading = {.store = store, .row = row};
    enum db_result result = db_query(connection, sql, parameters, count, on_row, &reading, error);
    *found = reading.found;
    return result;
}

enum db_result partial_sql_find(struct db_connection *connection, const struct store *store,
                                const char *token, struct partial_row *row, bool *found, struct error *error)
{
    const struct db_value parameters[] = {db_text(token)};
    return find_one(connection, store, find_sql, parameters, ARRAY_SIZE(parameters), row, found, error);
}

enum db_result partial_sql_holder(struct db_connection *connection, const struct store *store,
                                  const char *group, const char *file_path, struct partial_row *row,
                                  bool *found, struct error *error)
{
    const struct db_value parameters[] = {db_text(file_path)};
    enum db_result result =
        find_one(connection, store, holder_sql, parameters, ARRAY_SIZE(parameters), row, found, error);
    *found = *found && strcmp(row->group, group) == 0 &&
             (row->state == PARTIAL_OPEN || row->state == PARTIAL_FINISHING);
    return result;
}

/* ---- adding ---- */

static bool on_count(void *argument, const struct db_value *columns, size_t count)
{
    int64_t *number = argument;
    *number = count == 1 ? number_of(&columns[0], 0) : 0;
    return false;
}

static enum db_result check_limits(struct db_connection *connection, const struct partial_row *row,
                                   const struct partial_limits *limits, bool *full, struct error *error)
{
    const struct db_value of_user[] = {db_text(row->key.user), db_text(row->key.application)};
    const struct db_value of_all[] = {db_text(row->group)};
    int64_t users = 0, all = 0;
    enum db_result result = db_query(connection, count_user_sql, of_user, 2, on_count, &users, error);
    if (result == DB_OK)
        result = db_query(connection, count_all_sql, of_all, 1, on_count, &all, error);
    if (result != DB_OK)
        return result;
    *full = users >= limits->user || all >= limits->all;
    if (users >= limits->user)
        error_set(error, ERROR_THROTTLED,
                  "user %s has %" PRId64
                  " partial uploads, and may not have more (storage.partials_per_user); "
                  "finish or abort one",
                  row->key.user, users);
    else if (*full)
        error_set(error, ERROR_THROTTLED,
                  "there are %" PRId64
                  " partial uploads in this group, as many as storage.partials_max allows",
                  all);
    return DB_OK;
}

static enum db_result add_row(struct db_connection *connection, const struct partial_row *row,
                              struct error *error)
{
    char hex[DIGEST_HEX_SIZE] = "";
    if (row->has_digest)
        digest_to_hex(row->digest, hex);
    const struct db_value parameters[COUNT] = {
        [TOKEN] = db_text(row->token),
        [APPID] = db_text(row->key.application),
        [USERID] = db_text(row->key.user),
        [ID] = db_text(row->key.file),
        [GROUP_NAME] = db_text(row->group),
        [FILE_PATH] = db_text(row->file_path),
        [FILE_SIZE] = db_integer(row->size),
        [SYNCED] = db_integer(row->offset),
        [EPOCH] = db_integer(row->epoch),
        [CLAIM] = db_integer(row->claim),
        [WRITER] = db_integer(row->writer),
        [MIXED] = db_integer(mixed_of(row)),
        [STATE] = db_integer(row->state),
        [KEEP] = db_integer(row->keep),
        [EXPIRES] = db_integer(row->expires),
        [FILE_NAME] = db_text(row->name),
        [CONTENT_TYPE] = db_text(row->content_type),
        [DIGEST] = db_text(hex),
        [FILE_EXPIRES] = db_integer(row->file_expires),
    };
    return db_execute(connection, add_sql, parameters, COUNT, NULL, error);
}

/* In a transaction, so that a late INSERT that the network kept back is never committed. */
enum db_result partial_sql_add(struct db_connection *connection, struct partial_row *row,
                               const struct partial_limits *limits, bool *full, struct error *error)
{
    *full = false;
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = partial_sql_extend(connection, row, error);
    if (result == DB_OK)
        result = check_limits(connection, row, limits, full, error);
    if (result == DB_OK && !*full)
        result = add_row(connection, row, error);
    if (result == DB_OK && !*full)
        return db_commit(connection, error);
    db_rollback(connection);
    return result == DB_CONSTRAINT ? DB_OK
                                   : result; /* a run before has added it: nobody else has this token */
}

/* ---- changing ---- */

/* *CHANGED: a row was as SQL demands, and has been changed. */
static enum db_result change_row(struct db_connection *connection, const char *sql,
                                 const struct db_value *parameters, size_t count, bool *changed,
                                 struct error *error)
{
    int64_t affected = 0;
    enum db_result result = db_execute(connection, sql, parameters, count, &affected, error);
    *changed = result == DB_OK && affected > 0;
    return result;
}

/* May the one who took ROW last still write to its file, or cut it? */
static bool is_at_work(const struct partial_row *row)
{
    return row->claim != 0 && row->state == PARTIAL_OPEN &&
           !(row->path && store_life_is_over(row->path, row->writer));
}

enum db_result partial_sql_take(struct db_connection *connection, struct partial_row *row,
                                enum partial_state state, int64_t claim, bool *taken, struct error *error)
{
    struct partial_row next = *row;
    int64_t writer = row->path ? store_life_in(row->path) : row->writer;
    bool other = row->writer != 0 && row->writer != writer;
    next.loose = row->loose || (other && is_at_work(row));
    next.finishing = row->finishing || row->state == PARTIAL_FINISHING;
    next.mixed = row->mixed || other;
    *taken = false;
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {
        db_integer(row->epoch + 1),  db_integer(claim),       db_integer(writer),
        db_integer(mixed_of(&next)), db_integer(state),       db_integer(row->expires),
        db_text(row->token),         db_integer(row->epoch),  db_integer(row->state),
        db_integer(row->claim),      db_integer(row->offset), db_integer(row->size),
        db_text(row->file_path),     db_text(row->file_path),
    };
    result = change_row(connection, take_sql, parameters, ARRAY_SIZE(parameters), taken, error);
    if (*taken) {
        row->epoch++;
        row->claim = claim;
        row->writer = writer;
        mixed_to(mixed_of(&next), row);
        row->state = state;
    }
    return result;
}

enum db_result partial_sql_record(struct db_connection *connection, struct partial_row *row,
                                  enum partial_state from, bool release, bool *recorded, struct error *error)
{
    *recorded = false;
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {
        db_integer(row->offset),
        db_integer(row->size),
        db_integer(row->state),
        db_integer(row->expires),
        db_integer(release ? 0 : row->claim),
        db_text(row->token),
        db_integer(row->epoch),
        db_integer(row->claim),
        db_integer(from),
        db_integer(row->offset),
    };
    return change_row(connection, record_sql, parameters, ARRAY_SIZE(parameters), recorded, error);
}

enum db_result partial_sql_move(struct db_connection *connection, struct partial_row *row, bool *moved,
                                struct error *error)
{
    *moved = false;
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {
        db_text(row->file_path), db_integer(mixed_of(row)), db_integer(row->expires), db_text(row->token),
        db_integer(row->epoch),  db_integer(row->claim),    db_integer(row->state),
    };
    return change_row(connection, move_sql, parameters, ARRAY_SIZE(parameters), moved, error);
}

enum db_result partial_sql_store(struct db_connection *connection, struct partial_row *row, bool *stored,
                                 struct error *error)
{
    *stored = false;
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {
        db_integer(row->offset), db_integer(row->size),  db_text(row->file_path), db_integer(row->expires),
        db_text(row->token),     db_integer(row->epoch), db_integer(row->claim),
    };
    return change_row(connection, store_sql, parameters, ARRAY_SIZE(parameters), stored, error);
}

enum db_result partial_sql_keep(struct db_connection *connection, struct partial_row *row,
                                struct error *error)
{
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {
        db_integer(row->expires), db_text(row->token),      db_integer(row->epoch),
        db_integer(row->claim),   db_integer(row->expires),
    };
    return db_execute(connection, keep_sql, parameters, ARRAY_SIZE(parameters), NULL, error);
}

enum db_result partial_sql_hold(struct db_connection *connection, struct partial_row *row, bool *held,
                                struct error *error)
{
    *held = false;
    enum db_result result = partial_sql_extend(connection, row, error);
    if (result != DB_OK)
        return result;
    const struct db_value parameters[] = {db_integer(row->expires), db_text(row->token),
                                          db_integer(row->epoch), db_integer(row->claim)};
    return change_row(connection, hold_sql, parameters, ARRAY_SIZE(parameters), held, error);
}

enum db_result partial_sql_remove(struct db_connection *connection, const char *token, int64_t now,
                                  struct error *error)
{
    const struct db_value parameters[] = {db_text(token), db_integer(now)};
    return db_execute(connection, remove_sql, parameters, ARRAY_SIZE(parameters), NULL, error);
}

/* ---- for the upkeep ---- */

enum db_result partial_sql_paths(struct db_connection *connection, const char *prefix, const char *end,
                                 void (*path)(void *argument, const char *file_path), void *argument,
                                 struct error *error)
{
    const struct db_value parameters[] = {db_text(prefix), db_text(end)};
    return meta_sql_paths(connection, paths_sql, parameters, ARRAY_SIZE(parameters), path, argument, error);
}

static bool on_has(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    *(bool *)argument = count == 1;
    return false;
}

enum db_result partial_sql_has(struct db_connection *connection, const char *file_path, bool *has,
                               struct error *error)
{
    const struct db_value parameters[] = {db_text(file_path)};
    *has = false;
    return db_query(connection, has_sql, parameters, ARRAY_SIZE(parameters), on_has, has, error);
}

enum db_result partial_sql_expired(struct db_connection *connection, const struct store *store,
                                   const char *group, int64_t now, const char *after,
                                   struct partial_page *page, struct error *error)
{
    const struct db_value parameters[] = {db_text(group), db_integer(now), db_text(after), db_text(group),
                                          db_text(after)};
    struct reading reading = {.store = store, .page = page};
    page->count = 0;
    return db_query(connection, expired_sql, parameters, ARRAY_SIZE(parameters), on_row, &reading, error);
}

enum db_result partial_sql_expire(struct db_connection *connection, const struct partial_row *row,
                                  int64_t now, const char *name, const char *owner, bool *marked,
                                  struct error *error)
{
    const struct db_value parameters[] = {
        db_integer(row->epoch + 1),
        db_text(row->token),
        db_integer(row->epoch),
        db_integer(row->state),
        db_integer(now),
        db_text(name),
        db_text(owner),
    };
    return change_row(connection, expire_sql, parameters, ARRAY_SIZE(parameters), marked, error);
}

static bool on_sum(void *argument, const struct db_value *columns, size_t count)
{
    struct partial_sum *sum = argument;
    if (count == 2) {
        sum->count = number_of(&columns[0], 0);
        sum->bytes = number_of(&columns[1], 0);
    }
    return false;
}

enum db_result partial_sql_sum(struct db_connection *connection, const char *group, struct partial_sum *sum,
                               struct error *error)
{
    const struct db_value parameters[] = {db_text(group)};
    *sum = (struct partial_sum){0};
    return db_query(connection, sum_sql, parameters, ARRAY_SIZE(parameters), on_sum, sum, error);
}

static bool on_partial_sql_held(void *argument, const struct db_value *columns, size_t count)
{
    if (count == 1)
        *(int64_t *)argument = number_of(&columns[0], 0);
    return false;
}

enum db_result partial_sql_held(struct db_connection *connection, const struct proto_file_key *key,
                                const char *except, int64_t *bytes, struct error *error)
{
    const struct db_value parameters[] = {db_text(key->user), db_text(key->application), db_text(except)};
    *bytes = 0;
    return db_query(connection, held_sql, parameters, ARRAY_SIZE(parameters), on_partial_sql_held, bytes,
                    error);
}
