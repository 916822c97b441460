/*
 * db_mysql_transaction: transactions, and the statements inside of them. Touches the server of the
 * connection. Called by db_connection.c through db_mysql_operations, on the thread that owns the connection;
 * bounded by the time-outs of the URL.
 *
 * A Galera node aborts a transaction whose rows another node changes first, and reports that to the client by the
 * answer to its next command, but not always (MariaDB 10.11):
 * - Where the next command is COM_STMT_EXECUTE, the statement may run in a new transaction instead, COMMIT
 *   succeeds, and what was written before is gone. So statements are sent here as text, with their parameters
 *   as literals (db_mysql_literal.h). (A statement of its own has nothing before it that could be lost, and stays prepared.)
 * - Where it is COMMIT, it may succeed with nothing committed. So the cluster is asked which write set this
 *   connection wrote last: where that is the one from before, the outcome is DB_UNCERTAIN.
 */
#include "common/db/db_mysql.h"
#include "common/db/db_mysql_literal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIGITS "0123456789"

/* The write set that this connection wrote last, as the cluster names it. */
#define LAST_WRITTEN "SELECT WSREP_LAST_WRITTEN_GTID()"

static struct metric *commits_lost;

/* ---- rows ---- */

static bool is_integer(const MYSQL_FIELD *field, const char *text, size_t size, int64_t *integer)
{
    const struct db_value value = db_bytes(text, size);
    return db_mysql_is_integral(field->type) && db_value_integer(&value, integer); /* false past INT64_MAX */
}

static enum db_result take_rows(struct db_connection *connection, MYSQL_RES *rows,
                                const struct db_request *request, struct error *error)
{
    struct db_value values[DB_MYSQL_COLUMNS_MAX];
    size_t count = mysql_num_fields(rows);
    const MYSQL_FIELD *fields = mysql_fetch_fields(rows);
    MYSQL_ROW row;

    if (count > ARRAY_SIZE(values))
        return db_mysql_fail_columns(connection, count, request->sql, error);
    while ((row = mysql_fetch_row(rows))) {
        const unsigned long *sizes = mysql_fetch_lengths(rows);
        for (size_t i = 0; i < count; i++) {
            int64_t integer = 0;
            if (!row[i])
                values[i] = db_null();
            else if (is_integer(&fields[i], row[i], sizes[i], &integer))
                values[i] = db_integer(integer);
            else if (sizes[i] > DB_COLUMN_MAX)
                return db_mysql_fail_column_size(connection, sizes[i], request->sql, error);
            else
                values[i] = db_bytes(row[i], sizes[i]);
        }
        if (!request->row)
            continue;
        connection->in_rows = true;
        bool more = request->row(request->argument, values, count);
        connection->in_rows = false;
        if (!more)
            return DB_OK; /* freeing the result reads the rest away */
    }
    if (mysql_errno(connection->handle) != 0)
        return db_mysql_fail_connection(connection, PHASE_HARMLESS, request->sql, error);
    return DB_OK;
}

/* Did a statement that AFFECTED so many rows leave something for a write set? Of an UPDATE the rows that
 * matched are reported, those that it changed only by the second number of a text: "Rows matched: 1  Changed: 0
 * Warnings: 0", with the words in the language of the session. */
static bool changed_rows(MYSQL *mysql, const char *sql, int64_t affected)
{
    const char *info = mysql_info(mysql);

    if (affected <= 0 || !info || strncasecmp(sql, "UPDATE ", 7) != 0)
        return affected > 0;
    info += strcspn(info, DIGITS);
    info += strspn(info, DIGITS);
    info += strcspn(info, DIGITS);
    return *info == '\0' || strtoll(info, NULL, 10) > 0;
}

enum db_result db_mysql_run_in_transaction(struct db_connection *connection, const struct db_request *request,
                                           struct error *error)
{
    struct mysql_state *state = connection->state;
    MYSQL *mysql = connection->handle;
    enum db_result result = DB_OK;
    size_t size = 0, places = 0;
    char *text = db_mysql_literal_expand(request->sql, request->parameters, request->count, &size, &places);

    if (!text)
        return places == request->count ? db_mysql_fail_memory(connection, error)
                                        : db_mysql_fail_parameters(connection, request, places, error);
    state->used_ms = clock_monotonic_ms();
    if (mysql_real_query(mysql, text, size) != 0) {
        result = db_mysql_fail_connection(connection, PHASE_HARMLESS, request->sql, error);
    } else if (mysql_field_count(mysql) > 0) {
        MYSQL_RES *rows = mysql_use_result(mysql);
        result = rows ? take_rows(connection, rows, request, error)
                      : db_mysql_fail_connection(connection, PHASE_HARMLESS, request->sql, error);
        if (rows)
            mysql_free_result(rows);
    } else {
        int64_t affected = (int64_t)mysql_affected_rows(mysql);
        state->wrote = state->wrote || changed_rows(mysql, request->sql, affected);
        if (request->affected)
            *request->affected = affected;
    }
    free(text);
    return result;
}

/* ---- begin and end ---- */

static bool keep_written(void *argument, const struct db_value *columns, size_t count)
{
    struct mysql_state *state = argument;
    (void)db_value_text(&columns[0], state->written, count > 0 ? sizeof(state->written) : 1);
    return false;
}

/* Leaves the name in state->written. */
static enum db_result ask_written(struct db_connection *connection, enum db_mysql_phase phase,
                                  struct error *error)
{
    struct mysql_state *state = connection->state;
    const struct db_request request = {.sql = LAST_WRITTEN, .row = keep_written, .argument = state};
    enum db_result result;

    state->written[0] = '\0';
    result = db_mysql_run_in_transaction(connection, &request, error);
    if (result == DB_OK || phase == PHASE_HARMLESS)
        return result;
    return DB_UNCERTAIN;
}

void db_mysql_transaction_init(void)
{
    commits_lost = metrics_counter(
        "reel_db_commits_lost_total",
        "Commits that a Galera cluster reported as successful but had not made; repeated.", NULL);
}

static bool keep_on(void *argument, const struct db_value *columns, size_t count)
{
    struct mysql_state *state = argument;
    state->cluster = count > 1 && columns[1].type == DB_TYPE_BYTES && strcasecmp(columns[1].bytes, "ON") == 0;
    return false;
}

enum db_result db_mysql_find_cluster(struct db_connection *connection, struct error *error)
{
    struct mysql_state *state = connection->state;
    /* MySQL has no such variable, MariaDB alone has it off. */
    const struct db_request request = {
        .sql = "SHOW VARIABLES LIKE 'wsrep_on'", .row = keep_on, .argument = state};
    struct error why = {0};

    state->cluster = false;
    enum db_result result = db_mysql_run_in_transaction(connection, &request, error);
    if (result != DB_OK || !state->cluster)
        return result;
    result = ask_written(connection, PHASE_HARMLESS, &why);
    if (result == DB_PERMANENT) {
        static struct log_gate gate;
        state->cluster = false;
        if (log_gate_open(&gate, 3600000, NULL)) {
            log_warning("db",
                        "this cluster does not say whether a transaction that it aborted was committed (%s): "
                        "let all daemons write to one node, first in the host list of each URL",
                        why.text);
        }
        return DB_OK;
    }
    if (result != DB_OK)
        *error = why;
    return result;
}

enum db_result db_mysql_begin(struct db_connection *connection, struct error *error)
{
    struct mysql_state *state = connection->state;

    state->wrote = false;
    if (state->cluster && state->written[0] == '\0') {
        enum db_result result = ask_written(connection, PHASE_HARMLESS, error);
        if (result != DB_OK)
            return result;
    }
    return db_mysql_run_text(connection, "START TRANSACTION", PHASE_HARMLESS, error);
}

enum db_result db_mysql_commit(struct db_connection *connection, struct error *error)
{
    struct mysql_state *state = connection->state;
    enum db_result result = db_mysql_run_text(connection, "COMMIT", PHASE_COMMIT, error);
    char before[sizeof(state->written)];

    if (result != DB_OK || !state->cluster || !state->wrote)
        return result;
    memcpy(before, state->written, sizeof(before));
    result = ask_written(connection, PHASE_COMMIT, error);
    if (result == DB_OK && strcmp(before, state->written) == 0) {
        metric_add(commits_lost, 1);
        error_set(error, ERROR_UNAVAILABLE,
                  "database %s: COMMIT succeeded, but the cluster knows of no write set after %s",
                  connection->url->text, before);
        return DB_UNCERTAIN;
    }
    return result;
}

void db_mysql_rollback(struct db_connection *connection)
{
    struct error ignored;

    /* Where that cannot be sent, closing the connection has the same effect. */
    if (!connection->broken && db_mysql_run_text(connection, "ROLLBACK", PHASE_HARMLESS, &ignored) != DB_OK)
        connection->broken = true;
}
