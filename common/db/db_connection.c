/*
 * db_connection: one connection to a database, whatever the back end: the statement cache and the rules of a
 * transaction. Touches the back end through struct db_backend_operations only. Called by jobs
 * (the functions of common/db/db.h that take a connection), by the pool (db.c) and by schema.c.
 */
#include "common/db/db_backend.h"

#include "common/base/condition.h"
#include "common/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool db_shared_init(struct db_shared *shared, struct error *error)
{
    int failure = pthread_mutex_init(&shared->lock, NULL);

    if (failure != 0)
        return error_set_errno(error, failure, "database: cannot create a mutex");
    if (!condition_init(&shared->turn_given, error)) {
        (void)pthread_mutex_destroy(&shared->lock);
        return false;
    }
    if (!db_mute_init(&shared->mute, error)) {
        (void)pthread_cond_destroy(&shared->turn_given);
        (void)pthread_mutex_destroy(&shared->lock);
        return false;
    }
    if (!db_wal_init(&shared->wal, error)) {
        db_mute_destroy(&shared->mute);
        (void)pthread_cond_destroy(&shared->turn_given);
        (void)pthread_mutex_destroy(&shared->lock);
        return false;
    }
    shared->turn_taken = shared->relaxed = false;
    shared->concern[0] = '\0';
    atomic_init(&shared->host, 0);
    return true;
}

void db_shared_destroy(struct db_shared *shared)
{
    db_wal_destroy(&shared->wal);
    db_mute_destroy(&shared->mute);
    (void)pthread_cond_destroy(&shared->turn_given);
    (void)pthread_mutex_destroy(&shared->lock);
}

void db_connection_init(struct db_connection *connection, const struct db_url *url, struct db_shared *shared)
{
    *connection = (struct db_connection){
        .operations = url->backend == DB_BACKEND_MYSQL ? &db_mysql_operations : &db_sqlite_operations,
        .url = url,
        .shared = shared,
    };
}

enum db_result db_connection_open(struct db_connection *connection, struct error *error)
{
    if (connection->handle)
        return DB_OK;
    connection->broken = connection->crowded = false;
    return connection->operations->open(connection, error);
}

void db_connection_close(struct db_connection *connection)
{
    for (size_t i = 0; i < connection->statement_count; i++) {
        connection->operations->finalize(connection->statements[i].handle);
        free(connection->statements[i].sql);
    }
    connection->statement_count = 0;
    if (connection->handle)
        connection->operations->close(connection);
    connection->in_transaction = false;
    connection->broken = false;
    connection->doomed = DB_OK;
}

void db_connection_settle(struct db_connection *connection)
{
    db_rollback(connection);
    if (connection->broken)
        db_connection_close(connection);
}

static void forget_statement(struct db_connection *connection, size_t index)
{
    struct db_statement *statement = &connection->statements[index];

    connection->operations->finalize(statement->handle);
    free(statement->sql);
    *statement = connection->statements[--connection->statement_count];
}

/* The prepared statement of SQL, from the cache or made now in place of the one that was used least recently.
 */
static enum db_result find_statement(struct db_connection *connection, const char *sql, size_t *index,
                                     struct error *error)
{
    size_t size = strlen(sql), oldest = 0;
    struct db_statement made = {.size = size, .used = ++connection->uses};
    enum db_result result;

    for (size_t i = 0; i < connection->statement_count; i++) {
        struct db_statement *statement = &connection->statements[i];
        if (statement->size == size && memcmp(statement->sql, sql, size) == 0) {
            statement->used = connection->uses;
            *index = i;
            return DB_OK;
        }
        if (statement->used < connection->statements[oldest].used)
            oldest = i;
    }
    made.sql = strdup(sql);
    if (!made.sql) {
        error_set(error, ERROR_UNAVAILABLE, "database %s: no memory", connection->url->text);
        return DB_TRANSIENT;
    }
    result = connection->operations->prepare(connection, sql, &made.handle, error);
    if (result != DB_OK) {
        free(made.sql);
        return result;
    }
    if (connection->statement_count == DB_STATEMENTS_MAX)
        forget_statement(connection, oldest);
    *index = connection->statement_count++;
    connection->statements[*index] = made;
    return DB_OK;
}

/* True where the connection can take a statement; otherwise RESULT and ERROR say why not. */
static bool usable(struct db_connection *connection, enum db_result *result, struct error *error)
{
    if (connection->in_rows) {
        *result = DB_PERMANENT;
        return error_set(error, ERROR_GENERAL, "database %s: a statement inside a row callback",
                         connection->url->text);
    }
    if (connection->doomed != DB_OK) {
        *result = connection->doomed;
        return error_set(error, connection->doom.code, "%s", connection->doom.text);
    }
    if (!connection->handle || connection->broken) {
        *result = DB_TRANSIENT;
        return error_set(error, ERROR_UNAVAILABLE, "database %s: the connection is lost",
                         connection->url->text);
    }
    return true;
}

/* A failed statement ends its transaction, except for a refused row: that is an answer, and the job may go
 * on. */
static void connection_note_failure(struct db_connection *connection, enum db_result result,
                                    const struct error *error)
{
    if (!connection->in_transaction || result == DB_OK || result == DB_CONSTRAINT)
        return;
    connection->doomed = result;
    connection->doom = *error;
}

static enum db_result run_prepared(struct db_connection *connection, const struct db_request *request,
                                   struct error *error)
{
    size_t index = 0;
    enum db_result result = find_statement(connection, request->sql, &index, error);

    if (result != DB_OK)
        return result;
    result = connection->operations->run(connection, connection->statements[index].handle, request, error);
    /* A failure that says nothing about the data may lie in the statement itself: prepare it again next time.
     */
    if (result == DB_PERMANENT && !connection->broken)
        forget_statement(connection, index);
    return result;
}

static enum db_result connection_run_statement(struct db_connection *connection,
                                               const struct db_request *request, struct error *error)
{
    struct error own = {0}; /* the caller's may be NULL */
    enum db_result result;

    if (!usable(connection, &result, error))
        return result;
    if (connection->in_transaction && connection->operations->run_in_transaction)
        result = connection->operations->run_in_transaction(connection, request, &own);
    else
        result = run_prepared(connection, request, &own);
    connection_note_failure(connection, result, &own);
    if (result != DB_OK)
        error_set(error, own.code, "%s", own.text);
    return result;
}

enum db_result db_execute(struct db_connection *connection, const char *sql,
                          const struct db_value *parameters, size_t count, int64_t *affected,
                          struct error *error)
{
    struct db_request request = {.sql = sql, .parameters = parameters, .count = count, .affected = affected};

    if (affected)
        *affected = 0;
    return connection_run_statement(connection, &request, error);
}

enum db_result db_query(struct db_connection *connection, const char *sql, const struct db_value *parameters,
                        size_t count, db_row_function row, void *argument, struct error *error)
{
    struct db_request request = {
        .sql = sql, .parameters = parameters, .count = count, .row = row, .argument = argument};

    return connection_run_statement(connection, &request, error);
}

enum db_result db_begin(struct db_connection *connection, struct error *error)
{
    enum db_result result;

    if (!usable(connection, &result, error))
        return result;
    if (connection->in_transaction) {
        error_set(error, ERROR_GENERAL, "database %s: a transaction inside a transaction",
                  connection->url->text);
        return DB_PERMANENT;
    }
    result = connection->operations->begin(connection, error);
    connection->in_transaction = result == DB_OK;
    return result;
}

enum db_result db_begin_relaxed(struct db_connection *connection, struct error *error)
{
    enum db_result result;

    if (connection->in_transaction) /* which goes on as it began */
        return db_begin(connection, error);
    connection->relaxed = true;
    result = db_begin(connection, error);
    connection->relaxed = result == DB_OK;
    return result;
}

enum db_result db_commit(struct db_connection *connection, struct error *error)
{
    enum db_result result;

    if (!usable(connection, &result, error))
        return result;
    if (!connection->in_transaction) {
        error_set(error, ERROR_GENERAL, "database %s: commit without a transaction", connection->url->text);
        return DB_PERMANENT;
    }
    result = connection->operations->commit(connection, error);
    if (result == DB_OK)
        connection->in_transaction = connection->relaxed = false;
    else
        db_rollback(connection);
    return result;
}

void db_rollback(struct db_connection *connection)
{
    if (connection->in_transaction)
        connection->operations->rollback(connection);
    connection->in_transaction = connection->relaxed = false;
    connection->doomed = DB_OK;
}

enum db_backend db_connection_backend(const struct db_connection *connection)
{
    return connection->url->backend;
}

/* ---- values ---- */
