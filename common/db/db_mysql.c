/*
 * db_mysql: the MySQL and MariaDB back end, on the calls that MariaDB Connector/C and libmysqlclient share.
 * Touches the server that the URL names and nothing else. Called by db_connection.c through
 * db_mysql_operations, on the thread that owns the connection. Every call is bounded by the time-outs of the
 * URL.
 *
 * Bytes are bound as BLOB: the server then neither converts nor checks them. How they compare is up to the
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

#define COLUMN_BUFFER  1024 /* a longer value is fetched again into a buffer of its own */
#define PARAMETERS_MAX 64
/* Before a read of its own on a Galera node: waits until what any node had committed before it is here. */
#define CAUSAL_READ "SET STATEMENT wsrep_sync_wait = 1 FOR "
#define TRUST_MS    1000 /* a connection that was used a moment ago is taken to be good without a probe */

/* The flag type of MYSQL_BIND differs. */
#ifdef MARIADB_PACKAGE_VERSION
typedef my_bool bind_flag;
#else
typedef bool bind_flag;
#endif

/* ---- statements ---- */

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

static bool only_reads(const char *sql)
{
    sql += strspn(sql, " \t\r\n(");
    return strncasecmp(sql, "SELECT", 6) == 0 || strncasecmp(sql, "SHOW", 4) == 0 ||
           strncasecmp(sql, "WITH", 4) == 0;
}

static enum db_result mysql_prepare(struct db_connection *connection, const char *sql, void **statement,
                                    struct error *error)
{
    struct mysql_state *state = connection->state;
    MYSQL_STMT *made = mysql_stmt_init(connection->handle);
    enum db_result result;
    char *causal = NULL;

    if (made && state->causal && only_reads(sql) && asprintf(&causal, CAUSAL_READ "%s", sql) < 0)
        causal = NULL; /* no memory: this read may be a moment behind */
    if (!made)
        return db_mysql_fail_memory(connection, error);
    state->used_ms = clock_monotonic_ms();
    const char *text = causal ? causal : sql;
    bool failed = mysql_stmt_prepare(made, text, strlen(text)) != 0;
    free(causal);
    if (failed) {
        result = db_mysql_fail_statement(connection, made, PHASE_HARMLESS, sql, error);
        (void)mysql_stmt_close(made); /* the failure is reported already */
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
        if (!larger)
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
static enum db_result mysql_take_row(struct db_connection *connection, MYSQL_STMT *statement,
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
        if (!request->row)
            continue;
        result = mysql_take_row(connection, statement, columns, binds, values, count, request->sql, error);
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

    if (!metadata || !columns) {
        result = db_mysql_fail_memory(connection, error);
    } else if (count > DB_MYSQL_COLUMNS_MAX) {
        result = db_mysql_fail_columns(connection, count, request->sql, error);
    } else if (!bind_columns(statement, metadata, columns, binds, count)) {
        result = db_mysql_fail_statement(connection, statement, PHASE_HARMLESS, request->sql, error);
    } else {
        result = fetch_rows(connection, statement, columns, binds, count, request, error);
    }
    if (metadata)
        mysql_free_result(metadata);
    for (size_t i = 0; columns && i < count; i++)
        free(columns[i].large);
    free(columns);
    /* Also discards the rows that were not read. */
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
    if (request->affected)
        *request->affected = (int64_t)mysql_stmt_affected_rows(statement);
    return DB_OK;
}

static void mysql_back_end_thread_end(void)
{
    mysql_thread_end();
}

const struct db_backend_operations db_mysql_operations = {
    .open = db_mysql_open,
    .close = db_mysql_close,
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
