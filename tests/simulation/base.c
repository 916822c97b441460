/*
 * base: the database server. Real SQLite, one handle for each connection of a node, in files in memory that no node's
 * death harms; between the node and it statements are slow, lost, late, or done without an answer. Stands in the place of
 * db_sqlite.c, whose back end it wraps, so that the pool, its retries and time-outs are the real ones.
 */
#include "tests/simulation/base_file.h"
#include "tests/simulation/base_handle.h"
#include "tests/simulation/sim.h"

#define db_sqlite_operations base_sqlite_operations
#define sqlite3_open_v2      base_handle_open
#define sqlite3_prepare_v3   base_handle_prepare
#define sqlite3_finalize     base_handle_finalize
#define sqlite3_close        base_handle_close
#define stat(path, status)   base_file_stat(path, status)
#include "common/db/db_sqlite.c" /* NOLINT: the file under the wrapper */
#undef db_sqlite_operations

#include <stdatomic.h>

#define SESSIONS_MAX 512
#define LATE_MAX_US  (12 * SECOND_US)

struct session {
    sqlite3 *handle; /* NULL: free */
    const struct node *node;
    struct db_connection *connection;
};

/* A statement outside of a transaction that reached the server after its sender had given up. */
struct late {
    char *sql;
    struct db_value *values;
    size_t count;
    char path[256];
};

extern const struct db_backend_operations db_sqlite_operations;

static char directory[256];
static struct session sessions[SESSIONS_MAX];
static struct node server = {.name = "database", .index = 9, .alive = true};
int64_t base_slow, base_fail, base_uncertain, base_late;
bool base_away, base_beside;
const struct node *base_held;

void base_begin(const char *where)
{
    snprintf(directory, sizeof(directory), "%s", where);
}

const char *base_url(const char *name)
{
    static char text[4][512];
    static int next;
    char *url = text[next++ % 4];
    snprintf(url, 512, "database.url=sqlite:%s/%s.db", directory, name);
    return url;
}

static struct session *find_session(const struct db_connection *connection)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions[i].connection == connection)
            return &sessions[i];
    }
    return NULL;
}

/* The node died: the server rolls back what it left open. */
void base_kill(const struct node *node)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (!sessions[i].handle || sessions[i].node != node)
            continue;
        (void)base_handle_close(sessions[i].handle);
        sessions[i] = (struct session){0};
    }
}

static enum db_result lose(struct db_connection *connection, enum db_result result, const char *what,
                           struct error *error)
{
    connection->broken = true;
    error_set(error, db_error_code(result), "the simulated database: %s", what);
    say("database: %s", what);
    return result;
}

/* A way to the server and back. DB_OK: it arrived. */
static enum db_result travel(struct db_connection *connection, struct error *error)
{
    sleep_us(chance(base_slow) ? chance_below(4 * SECOND_US) : chance_between(20, 1500));
    if (base_away || chance(base_fail))
        return lose(connection, DB_TRANSIENT, "the connection broke before the statement", error);
    return DB_OK;
}

static enum db_result base_open(struct db_connection *connection, struct error *error)
{
    sleep_us(chance_between(20, 500));
    if (base_away) {
        error_set(error, ERROR_UNAVAILABLE, "the simulated database is away");
        return DB_TRANSIENT;
    }
    enum db_result result = base_sqlite_operations.open(connection, error);
    if (result != DB_OK)
        return result;
    (void)sqlite3_busy_handler(connection->handle, NULL, NULL);
    if (!base_beside)
        (void)sqlite3_exec(connection->handle, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    struct session *session = find_session(NULL);
    if (!session)
        violation("more than %d sessions of the database", SESSIONS_MAX);
    *session =
        (struct session){.handle = connection->handle, .node = node_current(), .connection = connection};
    return DB_OK;
}

static void base_close(struct db_connection *connection)
{
    struct session *session = find_session(connection);
    if (session)
        *session = (struct session){0};
    base_sqlite_operations.close(connection);
}

static bool base_check(struct db_connection *connection, bool probe, struct error *error)
{
    if (base_away)
        return error_set(error, ERROR_UNAVAILABLE, "the simulated database is away");
    return base_sqlite_operations.check(connection, probe, error);
}

static enum db_result base_begin_transaction(struct db_connection *connection, struct error *error)
{
    enum db_result result = travel(connection, error);
    return result == DB_OK ? base_sqlite_operations.begin(connection, error) : result;
}

static enum db_result base_commit(struct db_connection *connection, struct error *error)
{
    sleep_us(chance(base_slow) ? chance_below(4 * SECOND_US) : chance_between(50, 3000));
    bool uncertain = chance(base_uncertain) || base_away;
    if (uncertain && chance(500000)) {
        base_sqlite_operations.rollback(connection);
        return lose(connection, DB_UNCERTAIN, "the connection broke in COMMIT, which was not done", error);
    }
    enum db_result result = base_sqlite_operations.commit(connection, error);
    if (uncertain && result == DB_OK)
        return lose(connection, DB_UNCERTAIN, "the connection broke in COMMIT, which was done", error);
    sleep_us(chance_between(10, 1000));
    return result;
}

/* ---- late statements ---- */

static void *run_late(void *argument)
{
    struct late *late = argument;
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;
    sleep_us(chance_below(LATE_MAX_US));
    say("database: a statement arrives late: %.60s", late->sql);
    if (sqlite3_open_v2(late->path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK &&
        sqlite3_prepare_v2(handle, late->sql, -1, &statement, NULL) == SQLITE_OK &&
        bind_values(statement, late->values, late->count) == SQLITE_OK) {
        while (sqlite3_step(statement) == SQLITE_BUSY) {
            (void)sqlite3_reset(statement);
            sleep_us(2000);
        }
    }
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(handle);
    for (size_t i = 0; i < late->count; i++)
        free((char *)(uintptr_t)late->values[i].bytes);
    free(late->values);
    free(late->sql);
    free(late);
    return NULL;
}

static void start_late(const struct db_connection *connection, const struct db_request *request)
{
    struct late *late = calloc(1, sizeof(*late));
    late->sql = strdup(request->sql);
    late->count = request->count;
    late->values = calloc(request->count + 1, sizeof(*late->values));
    snprintf(late->path, sizeof(late->path), "%s", connection->url->path);
    for (size_t i = 0; i < request->count; i++) {
        late->values[i] = request->parameters[i];
        late->values[i].bytes = NULL;
        if (request->parameters[i].type == DB_TYPE_BYTES) {
            char *copy = calloc(1, request->parameters[i].size + 1);
            memcpy(copy, request->parameters[i].bytes, request->parameters[i].size);
            late->values[i].bytes = copy;
        }
    }
    (void)fiber_start(&server, "late", run_late, late);
}

static enum db_result base_run(struct db_connection *connection, void *statement,
                               const struct db_request *request, struct error *error)
{
    enum db_result result = travel(connection, error);
    bool writes = !sqlite3_stmt_readonly(statement), alone = writes && !connection->in_transaction;
    if (result != DB_OK)
        return alone && chance(500000) ? DB_UNCERTAIN : result;
    if (alone && chance(base_late)) {
        start_late(connection, request);
        sleep_us(chance_between(SECOND_US, 4 * SECOND_US));
        return lose(connection, DB_UNCERTAIN, "no answer to a statement, which is under way", error);
    }
    clock_of(&server); /* for CURRENT_TIMESTAMP and the like */
    result = base_sqlite_operations.run(connection, statement, request, error);
    clock_of(NULL);
    /* The way back: what the answer says may be over when it arrives. */
    if (result == DB_OK && !writes && !connection->in_transaction && base_held && base_held == node_current())
        sleep_us(chance_below(3 * SECOND_US / 2));
    if (result == DB_OK && !connection->in_transaction)
        sleep_us(chance(base_slow) ? chance_below(2 * SECOND_US) : chance_between(10, 800));
    if (result == DB_OK && alone && chance(base_uncertain))
        return lose(connection, DB_UNCERTAIN, "the connection broke after a statement was done", error);
    return result;
}

const struct db_backend_operations db_sqlite_operations = {
    .open = base_open,
    .close = base_close,
    .check = base_check,
    .begin = base_begin_transaction,
    .commit = base_commit,
    .rollback = sqlite_rollback,
    .prepare = sqlite_prepare,
    .finalize = sqlite_finalize,
    .run = base_run,
    .thread_end = sqlite_thread_end,
};
