/*
 * db_mysql_error: what an error number of MySQL, MariaDB or their client library means for a job: was
 * something done, may it be tried again, and is the connection still good. Touches nothing but the
 * connection's flags. Called by db_mysql.c.
 */
#include "common/db/db_mysql.h"

#include <errmsg.h>
#include <mysqld_error.h>

/* Numbers that only one of the two families of servers has. */
#define MYSQL_ER_NO_PASSWORD_NO_ENTRY 1698 /* access denied, socket authentication */
#define MYSQL_ER_QUERY_TIMEOUT        3024
#define MYSQL_ER_CHECK_VIOLATED       3819
#define MYSQL_ER_IDLE_DISCONNECT      4031
#define MARIADB_ER_CONNECTION_KILLED  1927
#define MARIADB_ER_STATEMENT_TIMEOUT  1969
#define MARIADB_ER_CONSTRAINT_FAILED  4025

/* Lets new connections begin at the next host: this one answers, but not to us. */
static void leave_host(struct db_connection *connection)
{
    const struct mysql_state *state = connection->state;
    size_t host;

    if (!state)
        return;
    host = state->host;
    atomic_compare_exchange_strong(&connection->shared->host, &host,
                                   (host + 1) % connection->url->hosts.count);
}

static enum db_result classify_connect(struct db_connection *connection, unsigned number)
{
    switch (number) {
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_USER_LIMIT_REACHED:
        connection->crowded = true;
        return DB_TRANSIENT;
    case ER_DBACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_ERROR:
    case MYSQL_ER_NO_PASSWORD_NO_ENTRY:
    case ER_BAD_DB_ERROR:
    case ER_HOST_NOT_PRIVILEGED:
    case ER_NOT_SUPPORTED_AUTH_MODE:
    case CR_VERSION_ERROR:
    case CR_CANT_READ_CHARSET:
    case CR_SSL_CONNECTION_ERROR:
    case DB_MYSQL_ER_SECURE_TRANSPORT_REQUIRED:
    case CR_SECURE_AUTH:
    case CR_AUTH_PLUGIN_CANNOT_LOAD:
    case CR_AUTH_PLUGIN_ERR:
#ifdef CR_PLUGIN_NOT_ALLOWED
    case CR_PLUGIN_NOT_ALLOWED:
#endif
        return DB_PERMANENT;
    default:
        return DB_TRANSIENT;
    }
}

/* The client library's own numbers: most mean that the connection is gone. */
static enum db_result classify_client(struct db_connection *connection, unsigned number,
                                      enum db_mysql_phase phase)
{
    connection->broken = true;
    switch (number) {
    case CR_NET_PACKET_TOO_LARGE:
    case CR_NO_PREPARE_STMT:
    case CR_PARAMS_NOT_BOUND:
    case CR_INVALID_PARAMETER_NO:
    case CR_INVALID_BUFFER_USE:
    case CR_UNSUPPORTED_PARAM_TYPE:
    case CR_NOT_IMPLEMENTED:
        return DB_PERMANENT;
    default:
        return phase == PHASE_WRITE || phase == PHASE_COMMIT ? DB_UNCERTAIN : DB_TRANSIENT;
    }
}

static enum db_result mysql_classify(struct db_connection *connection, unsigned number,
                                     enum db_mysql_phase phase)
{
    if (phase == PHASE_CONNECT)
        return classify_connect(connection, number);
    if (number >= CR_MIN_ERROR && (number <= CR_MAX_ERROR || (number >= 5000 && number <= 5999)))
        return classify_client(connection, number, phase);
    switch (number) {
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_NEED_REPREPARE:
    case ER_TABLE_DEF_CHANGED:
        return DB_TRANSIENT;
    case ER_UNKNOWN_COM_ERROR: /* "WSREP has not yet prepared node for application use" */
    case ER_OPTION_PREVENTS_STATEMENT:
    case ER_READ_ONLY_MODE:
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
        connection->broken = true;
        leave_host(connection);
        return DB_TRANSIENT;
    case ER_QUERY_INTERRUPTED:
    case MYSQL_ER_QUERY_TIMEOUT:
    case MARIADB_ER_STATEMENT_TIMEOUT:
        return phase == PHASE_COMMIT ? DB_UNCERTAIN : DB_TRANSIENT;
    case ER_SERVER_SHUTDOWN:
        leave_host(connection);
        /* fall through */
    case MARIADB_ER_CONNECTION_KILLED:
    case MYSQL_ER_IDLE_DISCONNECT:
        connection->broken = true;
        return phase == PHASE_COMMIT ? DB_UNCERTAIN : DB_TRANSIENT;
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
        connection->broken = true;
        return phase == PHASE_HARMLESS ? DB_TRANSIENT : DB_UNCERTAIN;
    case ER_ERROR_DURING_COMMIT:
    case ER_UNKNOWN_STMT_HANDLER:
    case ER_MAX_PREPARED_STMT_COUNT_REACHED:
        connection->broken = true;
        return DB_TRANSIENT;
    case ER_NET_PACKET_TOO_LARGE: /* the server closes the connection after it */
        connection->broken = true;
        return DB_PERMANENT;
    case ER_DUP_KEY:
    case ER_DUP_ENTRY:
    case ER_DUP_UNIQUE:
    case ER_DUP_ENTRY_WITH_KEY_NAME:
    case ER_BAD_NULL_ERROR:
    case ER_NO_REFERENCED_ROW:
    case ER_NO_REFERENCED_ROW_2:
    case ER_ROW_IS_REFERENCED:
    case ER_ROW_IS_REFERENCED_2:
    case MYSQL_ER_CHECK_VIOLATED:
    case MARIADB_ER_CONSTRAINT_FAILED:
        return DB_CONSTRAINT;
    default:
        return DB_PERMANENT;
    }
}

const char *db_mysql_host(const struct db_connection *connection, char *buffer, size_t size)
{
    const struct mysql_state *state = connection->state;

    if (connection->url->socket[0] != '\0')
        return connection->url->socket;
    return address_format(&connection->url->hosts.items[state->host], buffer, size);
}

enum db_result db_mysql_fail(struct db_connection *connection, unsigned number, const char *text,
                             enum db_mysql_phase phase, const char *doing, struct error *error)
{
    enum db_result result = mysql_classify(connection, number, phase);
    bool full = number == ER_DISK_FULL || number == ER_RECORD_FILE_FULL;
    char host[ADDRESS_TEXT_SIZE];

    error_set(error, full ? ERROR_NO_SPACE : db_error_code(result),
              "database %s: %s said %u (%.200s) to: %.120s%s", connection->url->text,
              db_mysql_host(connection, host, sizeof(host)), number, text, doing,
              number == ER_BAD_DB_ERROR || number == ER_NO_SUCH_TABLE || number == ER_BAD_FIELD_ERROR
                  ? "; --init-db creates what is missing"
                  : "");
    return result;
}

enum db_result db_mysql_fail_connection(struct db_connection *connection, enum db_mysql_phase phase,
                                        const char *doing, struct error *error)
{
    return db_mysql_fail(connection, mysql_errno(connection->handle), mysql_error(connection->handle), phase,
                         doing, error);
}

enum db_result db_mysql_fail_statement(struct db_connection *connection, MYSQL_STMT *statement,
                                       enum db_mysql_phase phase, const char *sql, struct error *error)
{
    /* What comes instead of the next row, such as the end of a wait for a lock, the library notes at the connection alone. */
    if (mysql_stmt_errno(statement) == 0)
        return db_mysql_fail_connection(connection, phase, sql, error);
    return db_mysql_fail(connection, mysql_stmt_errno(statement), mysql_stmt_error(statement), phase, sql,
                         error);
}

enum db_result db_mysql_fail_memory(const struct db_connection *connection, struct error *error)
{
    error_set(error, ERROR_UNAVAILABLE, "database %s: no memory", connection->url->text);
    return DB_TRANSIENT;
}

enum db_result db_mysql_fail_parameters(const struct db_connection *connection,
                                        const struct db_request *request, size_t places, struct error *error)
{
    error_set(error, ERROR_GENERAL, "database %s: %zu parameters for %zu places in: %.160s",
              connection->url->text, request->count, places, request->sql);
    return DB_PERMANENT;
}

enum db_result db_mysql_fail_columns(const struct db_connection *connection, size_t count, const char *sql,
                                     struct error *error)
{
    error_set(error, ERROR_GENERAL, "database %s: %zu columns (at most %d) in: %.160s", connection->url->text,
              count, DB_MYSQL_COLUMNS_MAX, sql);
    return DB_PERMANENT;
}

enum db_result db_mysql_fail_column_size(const struct db_connection *connection, unsigned long size,
                                         const char *sql, struct error *error)
{
    error_set(error, ERROR_GENERAL, "database %s: a column of %lu bytes in: %.160s", connection->url->text,
              size, sql);
    return DB_PERMANENT;
}
