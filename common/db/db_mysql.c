/*
 * db_mysql: the MySQL and MariaDB back end, on the calls that MariaDB Connector/C and libmysqlclient share.
 * Touches the server that the URL names and nothing else. Called by db_connection.c through
 * db_mysql_operations, on the thread that owns the connection. Every call is bounded by the time-outs of the
 * URL.
 *
 * Bytes are bound as BLOB: the server then neither converts nor judges them. How they compare is up to the
 * column: VARBINARY byte by byte, VARCHAR by its collation.
 */
#include "common/db/db_mysql.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define ROOM           "db"
#define COLUMN_BUFFER  1024 /* a longer value is fetched again into a buffer of its own */
#define PARAMETERS_MAX 64
#define TRUST_MS       1000 /* a connection that was used a moment ago is taken for good without asking */

/* The flag type of MYSQL_BIND differs. */
#ifdef MARIADB_PACKAGE_VERSION
typedef my_bool bind_flag;
#else
typedef bool bind_flag;
#define mysql_get_socket(mysql) ((mysql)->net.fd)
#endif

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static bool library_ready;

static void init_library(void)
{
    db_mysql_transaction_init();
    library_ready = mysql_library_init(0, NULL, NULL) == 0;
}

/* ---- connecting ---- */

static unsigned seconds_of(int64_t ms)
{
    return (unsigned)((ms + 999) / 1000); /* the library counts in seconds; 0 would mean no limit */
}

static bool set_options(MYSQL *mysql, const struct db_url *url)
{
    unsigned connect = seconds_of(url->connect_timeout_ms), reading = seconds_of(url->read_timeout_ms);
    unsigned writing = seconds_of(url->write_timeout_ms), local_infile = 0;
    unsigned protocol = url->socket[0] != '\0' ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;

    return mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect) == 0 &&
           mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &reading) == 0 &&
           mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &writing) == 0 &&
           mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) == 0 &&
           mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &local_infile) == 0 &&
           mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") == 0;
}

enum db_result db_mysql_run_text(struct db_connection *connection, const char *sql, enum db_mysql_phase phase,
                                 struct error *error)
{
    struct mysql_state *state = connection->state;

    state->used_ms = clock_monotonic_ms();
    if (mysql_real_query(connection->handle, sql, strlen(sql)) != 0)
        return db_mysql_fail_connection(connection, phase, sql, error);
    return DB_OK;
}

/* Makes every session the same, whatever the server's defaults. Locks are waited for less long than answers,
 * so that a lock time-out is told as such and not as a lost connection. Reads see what is committed: after an
 * insert that was refused as a duplicate, the row that was there first can be read in the same transaction.
 */
static enum db_result init_session(struct db_connection *connection, struct error *error)
{
    unsigned lock_wait = seconds_of(max_i64(connection->url->read_timeout_ms / 2, 1));
    enum db_result result;
    char sql[256];

    snprintf(
        sql, sizeof(sql),
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00', "
        "SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = %u, SESSION lock_wait_timeout = %u",
        lock_wait, lock_wait);
    result = db_mysql_run_text(connection, sql, PHASE_CONNECT, error);
    if (result != DB_OK)
        return result;
    result = db_mysql_run_text(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                               PHASE_CONNECT, error);
    return result == DB_OK ? db_mysql_find_cluster(connection, error) : result;
}

/* With ON, however the connection's socket is closed, the kernel forgets what it has not delivered and resets the
 * connection. Otherwise it would go on delivering for minutes: a statement that timed out, was repeated on another
 * connection and undone since would be carried out after all. Set from the beginning, because the library closes the
 * socket by itself after a failure; taken back before an orderly end, which the server shall see as one. */
static void reset_when_closed(MYSQL *mysql, bool on)
{
    const struct linger linger = {.l_onoff = on};
    my_socket fd = mysql_get_socket(mysql);

    /* Fails for a socket that is closed already, which needs it no more. */
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void close_handle(struct db_connection *connection)
{
    if (!connection->broken)
        reset_when_closed(connection->handle, false);
    mysql_close(connection->handle);
    connection->handle = NULL;
}

/* One attempt at the host of connection->state. */
static enum db_result connect_host(struct db_connection *connection, struct error *error)
{
    const struct db_url *url = connection->url;
    const struct mysql_state *state = connection->state;
    const struct address *host = &url->hosts.items[state->host];
    bool local = url->socket[0] != '\0';
    enum db_result result;

    connection->handle = mysql_init(NULL);
    if (connection->handle == NULL)
        return db_mysql_fail_memory(connection, error);
    if (!set_options(connection->handle, url)) {
        result = db_mysql_fail_connection(connection, PHASE_CONNECT, "connect", error);
    } else if (mysql_real_connect(connection->handle, local ? NULL : host->host,
                                  url->user[0] != '\0' ? url->user : NULL, url->password,
                                  connection->create ? NULL : url->database, host->port,
                                  local ? url->socket : NULL, CLIENT_FOUND_ROWS) == NULL) {
        result = db_mysql_fail_connection(connection, PHASE_CONNECT, "connect", error);
    } else {
        reset_when_closed(connection->handle, true);
        result = init_session(connection, error);
    }
    if (result != DB_OK)
        close_handle(connection);
    return result;
}

static enum db_result mysql_back_end_open(struct db_connection *connection, struct error *error)
{
    size_t count = connection->url->socket[0] != '\0' ? 1 : connection->url->hosts.count;
    enum db_result result = DB_PERMANENT;
    struct mysql_state *state = NULL;
    size_t first = atomic_load(&connection->shared->host);

    pthread_once(&library_once, init_library);
    if (library_ready && mysql_thread_init() == 0)
        state = calloc(1, sizeof(*state));
    if (state == NULL)
        return db_mysql_fail_memory(connection, error);
    connection->state = state;
    for (size_t i = 0; i < count; i++) {
        struct error why = {0};
        enum db_result attempt;

        state->host = (first + i) % count;
        attempt = connect_host(connection, &why);
        if (attempt == DB_OK) {
            atomic_store(&connection->shared->host, state->host);
            return DB_OK;
        }
        /* With several hosts every reason counts; where one of them may yet come, trying again may help. */
        if (i == 0) {
            *error = why;
        } else {
            struct error before = *error;
            error_set(error, why.code, "%.240s; %.240s", before.text, why.text);
        }
        if (attempt == DB_TRANSIENT)
            result = DB_TRANSIENT;
    }
    error->code = db_error_code(result);
    free(state);
    connection->state = NULL;
    return result;
}

static void mysql_back_end_close(struct db_connection *connection)
{
    close_handle(connection);
    free(connection->state);
    connection->state = NULL;
}

static bool mysql_check(struct db_connection *connection, bool probe, struct error *error)
{
    struct mysql_state *state = connection->state;
    int64_t now = clock_monotonic_ms();

    if (!probe && now - state->used_ms < TRUST_MS)
        return true;
    state->used_ms = now;
    if (mysql_ping(connection->handle) == 0)
        return true;
    db_mysql_fail_connection(connection, PHASE_HARMLESS, "ping", error);
    return false;
}

/* ---- statements ---- */

static enum db_result mysql_prepare(struct db_connection *connection, const char *sql, void **statement,
                                    struct error *error)
{
    struct mysql_state *state = connection->state;
    MYSQL_STMT *made = mysql_stmt_init(connection->handle);
    enum db_result result;

    if (made == NULL)
        return db_mysql_fail_memory(connection, error);
    state->used_ms = clock_monotonic_ms();
    if (mysql_stmt_prepare(made, sql, strlen(sql)) != 0) {
        result = db_mysql_fail_statement(connection, made, PHASE_HARMLESS, sql, error);
        (void)mysql_stmt_close(made); /* the failure is told already */
        return result;
    }
    *statement = made;
    return DB_OK;
}

static void mysql_finalize(void *statement)
{
    /* Fails with a lost connection only, which takes the statement with it. */
    (void)mysql_stmt_close(statement);
}

static bool only_reads(const char *sql)
{
    sql += strspn(sql, " \t\r\n(");
    return strncasecmp(sql, "SELECT", 6) == 0 || strncasecmp(sql, "SHOW", 4) == 0 ||
           strncasecmp(sql, "WITH", 4) == 0;
}

static enum db_result execute(struct db_connection *connection, MYSQL_STMT *statement,
                              const struct db_request *request, enum db_mysql_phase phase,
                              struct error *error)
{
    MYSQL_BIND binds[PARAMETERS_MAX] = {0};

    size_t places = mysql_stmt_param_count(statement);
    if (places != request->count || request->count > PARAMETERS_MAX)
        return db_mysql_fail_parameters(connection, request, places, error);
    for (size_t i = 0; i < request->count; i++) {
        const struct db_value *value = &request->parameters[i];
        MYSQL_BIND *bind = &binds[i];

        switch (value->type) {
        case DB_TYPE_NULL:
            bind->buffer_type = MYSQL_TYPE_NULL;
            break;
        case DB_TYPE_INTEGER:
            bind->buffer_type = MYSQL_TYPE_LONGLONG;
            bind->buffer = (void *)(uintptr_t)&value->integer; /* the library only reads it */
            break;
        case DB_TYPE_BYTES:
            bind->buffer_type = MYSQL_TYPE_BLOB;
            bind->buffer = (void *)(uintptr_t)(value->size > 0 ? value->bytes : "");
            bind->buffer_length = value->size;
            break;
        }
    }
    if (request->count > 0 && mysql_stmt_bind_param(statement, binds) != 0)
        return db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, request->sql, error);
    if (mysql_stmt_execute(statement) != 0)
        return db_mysql_fail_statement(connection, statement, phase, request->sql, error);
    return DB_OK;
}

/* One column of a result while it is read. */
struct column {
    bool integral;
    int64_t integer;
    unsigned long size;
    bind_flag null;
    char *large; /* for a value beyond BUFFER */
    size_t large_size;
    char buffer[COLUMN_BUFFER + 1];
};

bool db_mysql_is_integral(enum enum_field_types type)
{
    return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
           type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG || type == MYSQL_TYPE_YEAR;
}

static bool bind_columns(MYSQL_STMT *statement, MYSQL_RES *metadata, struct column *columns,
                         MYSQL_BIND *binds, size_t count)
{
    const MYSQL_FIELD *fields = mysql_fetch_fields(metadata);

    for (size_t i = 0; i < count; i++) {
        struct column *column = &columns[i];

        column->integral = db_mysql_is_integral(fields[i].type);
        binds[i].buffer_type = column->integral ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING;
        binds[i].buffer = column->integral ? (void *)&column->integer : column->buffer;
        binds[i].buffer_length = column->integral ? sizeof(column->integer) : COLUMN_BUFFER;
        binds[i].is_unsigned = (fields[i].flags & UNSIGNED_FLAG) != 0;
        binds[i].length = &column->size;
        binds[i].is_null = &column->null;
    }
    return mysql_stmt_bind_result(statement, binds) == 0;
}

/* Fetches a value that did not fit into the column's buffer. */
static enum db_result fetch_large(struct db_connection *connection, MYSQL_STMT *statement,
                                  struct column *column, size_t index, const char *sql, struct error *error)
{
    unsigned long size = 0;
    bind_flag null = 0;
    MYSQL_BIND bind = {.buffer_type = MYSQL_TYPE_STRING, .length = &size, .is_null = &null};

    if (column->size > DB_COLUMN_MAX)
        return db_mysql_fail_column_size(connection, column->size, sql, error);
    if (column->large_size <= column->size) {
        char *larger = realloc(column->large, column->size + 1);
        if (larger == NULL)
            return db_mysql_fail_memory(connection, error);
        column->large = larger;
        column->large_size = column->size + 1;
    }
    bind.buffer = column->large;
    bind.buffer_length = column->size;
    if (mysql_stmt_fetch_column(statement, &bind, (unsigned)index, 0) != 0)
        return db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, sql, error);
    return DB_OK;
}

/* The row that was just fetched as values. */
static enum db_result take_row(struct db_connection *connection, MYSQL_STMT *statement,
                               struct column *columns, const MYSQL_BIND *binds, struct db_value *values,
                               size_t count, const char *sql, struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        struct column *column = &columns[i];
        char *bytes = column->buffer;

        if (column->null) {
            values[i] = db_null();
            continue;
        }
        if (column->integral) {
            values[i] = db_integer(column->integer);
            if (binds[i].is_unsigned && column->integer < 0) /* past INT64_MAX: as text */
                values[i] = db_bytes(bytes, (size_t)snprintf(bytes, COLUMN_BUFFER, "%llu",
                                                             (unsigned long long)column->integer));
            continue;
        }
        if (column->size > COLUMN_BUFFER) {
            enum db_result result = fetch_large(connection, statement, column, i, sql, error);
            if (result != DB_OK)
                return result;
            bytes = column->large;
        }
        bytes[column->size] = '\0';
        values[i] = db_bytes(bytes, column->size);
    }
    return DB_OK;
}

static enum db_result fetch_rows(struct db_connection *connection, MYSQL_STMT *statement,
                                 struct column *columns, const MYSQL_BIND *binds, size_t count,
                                 const struct db_request *request, struct error *error)
{
    struct db_value values[DB_MYSQL_COLUMNS_MAX];
    bool more = true;

    while (more) {
        int fetched = mysql_stmt_fetch(statement);
        enum db_result result;

        if (fetched == MYSQL_NO_DATA)
            break;
        if (fetched != 0 && fetched != MYSQL_DATA_TRUNCATED)
            return db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, request->sql, error);
        if (request->row == NULL)
            continue;
        result = take_row(connection, statement, columns, binds, values, count, request->sql, error);
        if (result != DB_OK)
            return result;
        connection->in_rows = true;
        more = request->row(request->argument, values, count);
        connection->in_rows = false;
    }
    return DB_OK;
}

static enum db_result read_result(struct db_connection *connection, MYSQL_STMT *statement,
                                  const struct db_request *request, struct error *error)
{
    size_t count = mysql_stmt_field_count(statement);
    MYSQL_RES *metadata = mysql_stmt_result_metadata(statement);
    struct column *columns = calloc(count, sizeof(*columns));
    MYSQL_BIND binds[DB_MYSQL_COLUMNS_MAX] = {0};
    enum db_result result;

    if (metadata == NULL || columns == NULL) {
        result = db_mysql_fail_memory(connection, error);
    } else if (count > DB_MYSQL_COLUMNS_MAX) {
        result = db_mysql_fail_columns(connection, count, request->sql, error);
    } else if (!bind_columns(statement, metadata, columns, binds, count)) {
        result = db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, request->sql, error);
    } else {
        result = fetch_rows(connection, statement, columns, binds, count, request, error);
    }
    if (metadata != NULL)
        mysql_free_result(metadata);
    for (size_t i = 0; columns != NULL && i < count; i++)
        free(columns[i].large);
    free(columns);
    /* Also reads away the rows that nobody wanted. */
    if (mysql_stmt_free_result(statement) != 0 && result == DB_OK)
        result = db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, request->sql, error);
    return result;
}

static enum db_result mysql_run(struct db_connection *connection, void *handle,
                                const struct db_request *request, struct error *error)
{
    MYSQL_STMT *statement = handle;
    struct mysql_state *state = connection->state;
    enum db_result result;

    bool reads = only_reads(request->sql);

    state->used_ms = clock_monotonic_ms();
    if (!reads)
        state->written[0] = '\0';
    result = execute(connection, statement, request, reads ? PHASE_HARMLESS : PHASE_WRITE, error);
    if (result != DB_OK)
        return result;
    if (mysql_stmt_field_count(statement) > 0)
        return read_result(connection, statement, request, error);
    if (request->affected != NULL)
        *request->affected = (int64_t)mysql_stmt_affected_rows(statement);
    return DB_OK;
}

static void mysql_back_end_thread_end(void)
{
    mysql_thread_end();
}

const struct db_backend_operations db_mysql_operations = {
    .open = mysql_back_end_open,
    .close = mysql_back_end_close,
    .check = mysql_check,
    .begin = db_mysql_begin,
    .commit = db_mysql_commit,
    .rollback = db_mysql_rollback,
    .prepare = mysql_prepare,
    .finalize = mysql_finalize,
    .run = mysql_run,
    .run_in_transaction = db_mysql_run_in_transaction,
    .thread_end = mysql_back_end_thread_end,
};
