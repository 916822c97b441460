/*
 * db_mysql_connect: how a connection to a MySQL or MariaDB server begins and ends: options, TLS, the hosts of the URL
 * in their order, what every session has in common, and whether the server keeps what it says. Touches the servers
 * of the URL. Called by db_connection.c through db_mysql_operations, on the thread that owns the connection; bounded
 * by the time-outs of the URL.
 */
#include "common/db/db_mysql.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define ROOM      "db"
#define REMIND_MS 3600000 /* between two warnings about the same */
#define PLUGINS_PLAIN                                                                                        \
    "mysql_native_password,client_ed25519,caching_sha2_password,sha256_password,auth_gssapi_client"
#define PLUGINS_VERIFIED PLUGINS_PLAIN ",dialog,mysql_clear_password"

#ifndef MARIADB_PACKAGE_VERSION
#define mysql_get_socket(mysql) ((mysql)->net.fd)
#endif

enum transport {
    TRANSPORT_PLAIN,
    TRANSPORT_OFFERED,  /* TLS where the server offers it */
    TRANSPORT_FORCED,   /* TLS with anyone */
    TRANSPORT_VERIFIED, /* TLS with a server that the URL's certificates vouch for, under the host's name */
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static bool library_ready;

static void init_library(void)
{
    db_mysql_transaction_init();
    library_ready = mysql_library_init(0, NULL, NULL) == 0;
}

/* ---- options ---- */

static unsigned seconds_of(int64_t ms)
{
    return (unsigned)((ms + 999) / 1000); /* the library counts in seconds; 0 would mean no limit */
}

#ifdef MARIADB_PACKAGE_VERSION
/* The server may ask for another authentication method: one that sends the password itself is
 * taken only from a server that is known by its certificate. */
static bool set_transport(MYSQL *mysql, const struct db_url *url, enum transport transport)
{
    my_bool verify = transport == TRANSPORT_VERIFIED;
    const char *plugins = verify ? PLUGINS_VERIFIED : PLUGINS_PLAIN;

    if (mysql_options(mysql, MARIADB_OPT_RESTRICTED_AUTH, plugins) != 0)
        return false;
    /* mysql_ssl_set() asks for TLS, but goes on without it where the server has none; see connect_by(). */
    return transport == TRANSPORT_PLAIN ||
           (mysql_ssl_set(mysql, NULL, NULL, url->ca[0] != '\0' ? url->ca : NULL, NULL, NULL) == 0 &&
            mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify) == 0);
}
#else
static bool set_transport(MYSQL *mysql, const struct db_url *url, enum transport transport)
{
    static const unsigned modes[] = {SSL_MODE_DISABLED, SSL_MODE_PREFERRED, SSL_MODE_REQUIRED,
                                     SSL_MODE_VERIFY_IDENTITY};
    bool clear = transport == TRANSPORT_VERIFIED;

    return mysql_options(mysql, MYSQL_OPT_SSL_MODE, &modes[transport]) == 0 &&
           mysql_options(mysql, MYSQL_ENABLE_CLEARTEXT_PLUGIN, &clear) == 0 &&
           (url->ca[0] == '\0' || mysql_options(mysql, MYSQL_OPT_SSL_CA, url->ca) == 0);
}
#endif

static bool set_options(MYSQL *mysql, const struct db_url *url, enum transport transport)
{
    unsigned connect = seconds_of(url->connect_timeout_ms), reading = seconds_of(url->read_timeout_ms);
    unsigned writing = seconds_of(url->write_timeout_ms), local_infile = 0;
    unsigned protocol = url->socket[0] != '\0' ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;

    return mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect) == 0 &&
           mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &reading) == 0 &&
           mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &writing) == 0 &&
           mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) == 0 &&
           mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &local_infile) == 0 &&
           mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") == 0 &&
           set_transport(mysql, url, transport);
}

/* ---- does the server keep what it says? ---- */

struct durability {
    int64_t flush, sync_binlog; /* -1: the server did not say */
    bool binlog;
    int64_t nodes; /* of the cluster; 0: none */
};

static bool keep_setting(void *argument, const struct db_value *columns, size_t count)
{
    struct durability *durability = argument;
    char name[64];

    if (count < 2)
        return true;
    (void)db_value_text(&columns[0], name, sizeof(name));
    if (strcasecmp(name, "innodb_flush_log_at_trx_commit") == 0)
        (void)!db_value_integer(&columns[1], &durability->flush);
    else if (strcasecmp(name, "sync_binlog") == 0)
        (void)!db_value_integer(&columns[1], &durability->sync_binlog);
    else if (strcasecmp(name, "log_bin") == 0)
        durability->binlog = columns[1].type == DB_TYPE_BYTES && strcasecmp(columns[1].bytes, "ON") == 0;
    else if (strcasecmp(name, "wsrep_cluster_size") == 0)
        (void)!db_value_integer(&columns[1], &durability->nodes);
    return true;
}

/* Warns where a commit that was answered may be lost with the server. 3 is MariaDB's word for 1 with a few syncs more. With 2, and where only the
 * binary log is not synced, it takes a power cut; whoever accepts that is warned of 0 alone, with which a crash of the server is enough. In a
 * cluster every other node has the commit by then: many choose that deliberately. */
static void judge_durability(struct db_connection *connection, const struct durability *found)
{
    bool relaxed = connection->shared->relaxed;
    bool flushed =
        found->flush < 0 || found->flush == 1 || found->flush == 3 || (relaxed && found->flush == 2);
    bool synced = relaxed || !found->binlog || found->sync_binlog < 0 || found->sync_binlog == 1;
    char host[ADDRESS_TEXT_SIZE], text[ERROR_TEXT_SIZE] = "";
    static struct log_gate gate;

    if (!flushed || !synced)
        snprintf(text, sizeof(text),
                 "the database at %s runs with %s = %lld: a crash or power cut there loses rows that were "
                 "acknowledged; "
                 "set it to %s",
                 db_mysql_host(connection, host, sizeof(host)),
                 flushed ? "sync_binlog" : "innodb_flush_log_at_trx_commit",
                 (long long)(flushed ? found->sync_binlog : found->flush), relaxed ? "1 or 2" : "1");
    if (text[0] != '\0' && found->nodes > 1) {
        if (log_gate_open(&gate, REMIND_MS, NULL))
            log_warning(ROOM, "%s, unless a power cut of all %lld nodes of the cluster at once is ruled out",
                        text, (long long)found->nodes);
        text[0] = '\0';
    }
    db_connection_concern(connection, text);
}

static enum db_result ask_durability(struct db_connection *connection, struct error *error)
{
    const struct mysql_state *state = connection->state;
    struct durability found = {.flush = -1, .sync_binlog = -1};
    const struct db_request variables = {.sql =
                                             "SHOW VARIABLES WHERE Variable_name IN "
                                             "('innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin')",
                                         .row = keep_setting,
                                         .argument = &found};
    const struct db_request size = {
        .sql = "SHOW STATUS LIKE 'wsrep_cluster_size'", .row = keep_setting, .argument = &found};
    enum db_result result = db_mysql_run_in_transaction(connection, &variables, error);

    if (result == DB_OK && state->cluster)
        result = db_mysql_run_in_transaction(connection, &size, error);
    if (result == DB_OK)
        judge_durability(connection, &found);
    return result;
}

/* ---- the session ---- */

/* On a Galera node a file that was stored by way of another node may not be there for a moment, though its uploader has had
 * success. So a read waits for what was committed before it: each for itself in MariaDB, which leaves transactions as quick
 * as they are, else by a setting of the session. */
static enum db_result choose_causal_reads(struct db_connection *connection, struct error *error)
{
    struct mysql_state *state = connection->state;
    bool wanted = state->cluster && connection->url->causal_reads;

    state->causal = wanted && strstr(mysql_get_server_info(connection->handle), "MariaDB");
    if (!wanted || state->causal)
        return DB_OK;
    return db_mysql_run_text(connection, "SET SESSION wsrep_sync_wait = 1", PHASE_CONNECT, error);
}

/* Makes every session the same, whatever the server's defaults. The character set is set once more, because a
 * server may be configured to ignore that of the handshake (skip-character-set-client-handshake). Locks are waited for less
 * long than answers, so that a lock time-out is reported as such and not as a lost connection. Reads see what is
 * committed: after an insert that was refused as a duplicate, the row that was there first can be read in the same
 * transaction. */
static enum db_result init_session(struct db_connection *connection, struct error *error)
{
    unsigned lock_wait = seconds_of(max_i64(connection->url->read_timeout_ms / 2, 1));
    char sql[512];

    /* With completion_type CHAIN what follows a COMMIT would wait for the next one; sql_select_limit leaves rows out. */
    snprintf(
        sql, sizeof(sql),
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00', "
        "SESSION autocommit = 1, SESSION completion_type = 0, "
        "SESSION sql_select_limit = 18446744073709551615, SESSION sql_safe_updates = 0, "
        "SESSION sql_big_selects = 1, "
        "SESSION innodb_lock_wait_timeout = %u, SESSION lock_wait_timeout = %u",
        lock_wait, lock_wait);
    const char *const statements[] = {"SET NAMES utf8mb4", sql,
                                      "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"};
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
        enum db_result result = db_mysql_run_text(connection, statements[i], PHASE_CONNECT, error);
        if (result != DB_OK)
            return result;
    }
    enum db_result result = db_mysql_find_cluster(connection, error);
    if (result == DB_OK)
        result = choose_causal_reads(connection, error);
    return result == DB_OK ? ask_durability(connection, error) : result;
}

/* ---- sockets ---- */

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

void db_mysql_close(struct db_connection *connection)
{
    close_handle(connection);
    free(connection->state);
    connection->state = NULL;
}

/* ---- connecting ---- */

static void warn_of_transport(const struct db_connection *connection, bool local)
{
    static struct log_gate unverified_gate;
    const struct db_url *url = connection->url;
    char host[ADDRESS_TEXT_SIZE];

    if (local || url->tls == DB_TLS_OFF || url->tls == DB_TLS_PREFER || url->ca[0] != '\0')
        return;
    if (log_gate_open(&unverified_gate, REMIND_MS, NULL))
        log_warning(ROOM,
                    "the connection to the database at %s is encrypted, but the server's certificate "
                    "is not verified: use ?tls=required&ca=FILE in the URL",
                    db_mysql_host(connection, host, sizeof(host)));
}

/* Does the connection need TLS because the URL does not say otherwise? */
static bool needs_tls_by_default(const struct db_connection *connection)
{
    const struct mysql_state *state = connection->state;

    return connection->url->tls == DB_TLS_UNSAID && !db_url_is_local(connection->url, state->host);
}

/* What to do comes first: where the URL has several hosts, texts are cut. */
static enum db_result fail_connect(struct db_connection *connection, unsigned number, const char *text,
                                   struct error *error)
{
    char host[ADDRESS_TEXT_SIZE];

    if (number != CR_SSL_CONNECTION_ERROR || !needs_tls_by_default(connection))
        return db_mysql_fail(connection, number, text, PHASE_CONNECT, "connect", error);
    error_set(error, ERROR_GENERAL,
              "no TLS with the database at %s, which is required on another host: set up TLS there, or add "
              "tls=prefer or tls=off to the database URL (%.200s)",
              db_mysql_host(connection, host, sizeof(host)), text);
    return DB_PERMANENT;
}

/* One attempt at the host of connection->state. *NUMBER: the error of the server or the library. */
static enum db_result connect_by(struct db_connection *connection, enum transport transport, unsigned *number,
                                 struct error *error)
{
    const struct db_url *url = connection->url;
    const struct mysql_state *state = connection->state;
    const struct address *host = &url->hosts.items[state->host];
    bool local = url->socket[0] != '\0';
    int64_t begin_ms = clock_monotonic_ms();
    enum db_result result;

    *number = 0;
    connection->handle = mysql_init(NULL);
    if (!connection->handle)
        return db_mysql_fail_memory(connection, error);
    if (!set_options(connection->handle, url, transport)) {
        result = db_mysql_fail_connection(connection, PHASE_CONNECT, "connect", error);
    } else if (!mysql_real_connect(connection->handle, local ? NULL : host->host,
                                   url->user[0] != '\0' ? url->user : NULL, url->password,
                                   connection->create ? NULL : url->database, host->port,
                                   local ? url->socket : NULL, CLIENT_FOUND_ROWS)) {
        *number = mysql_errno(connection->handle);
        result = fail_connect(connection, *number, mysql_error(connection->handle), error);
        if (!local && *number == CR_SERVER_LOST &&
            clock_monotonic_ms() - begin_ms >= url->connect_timeout_ms / 2)
            db_mute_note(&connection->shared->mute, state->host, host, url->connect_timeout_ms);
    } else if (transport >= TRANSPORT_FORCED && !mysql_get_ssl_cipher(connection->handle)) {
        *number = CR_SSL_CONNECTION_ERROR;
        result =
            fail_connect(connection, *number,
                         url->tls == DB_TLS_REQUIRED ? "the server offers no TLS, which this URL requires"
                                                     : "the server offers no TLS",
                         error);
    } else {
        reset_when_closed(connection->handle, true);
        result = init_session(connection, error);
    }
    if (result != DB_OK)
        close_handle(connection);
    return result;
}

/* An account that requires TLS is refused without it as if its password were wrong. */
static bool may_want_tls(unsigned number)
{
    return number == ER_ACCESS_DENIED_ERROR || number == DB_MYSQL_ER_SECURE_TRANSPORT_REQUIRED;
}

/* Without TLS; with it where the server wants it and the URL does not forbid it. */
static enum db_result connect_plainly(struct db_connection *connection, struct error *error)
{
    const struct db_url *url = connection->url;
    unsigned number = 0, second = 0;
    struct error why = {0};
    enum db_result result = connect_by(connection, TRANSPORT_PLAIN, &number, error);

    if (result == DB_OK || !may_want_tls(number) ||
        connect_by(connection, TRANSPORT_FORCED, &second, &why) != DB_OK)
        return result;
    if (url->tls != DB_TLS_OFF) {
        *error = (struct error){0};
        return DB_OK;
    }
    close_handle(connection);
    error_set(error, ERROR_GENERAL,
              "database %s: the server requires TLS for this account, and the URL says tls=off", url->text);
    return DB_PERMANENT;
}

/* It is not asked again before it has greeted: db_mute.h says why. */
static enum db_result fail_mute(const struct db_connection *connection, int64_t silent_ms,
                                struct error *error)
{
    char host[ADDRESS_TEXT_SIZE];

    error_set(error, ERROR_UNAVAILABLE,
              "database %s: %s takes connections, but has not greeted for %lld s: is the server stopped, or "
              "does its disk hang?",
              connection->url->text, db_mysql_host(connection, host, sizeof(host)),
              (long long)(silent_ms / 1000));
    return DB_TRANSIENT;
}

static enum db_result connect_host(struct db_connection *connection, struct error *error)
{
    const struct db_url *url = connection->url;
    const struct mysql_state *state = connection->state;
    bool local = db_url_is_local(url, state->host);
    unsigned number = 0;
    enum db_result result;
    int64_t silent_ms;

    if (url->socket[0] == '\0' && db_mute_lasts(&connection->shared->mute, state->host, &silent_ms))
        return fail_mute(connection, silent_ms, error);
    if (url->tls == DB_TLS_REQUIRED || needs_tls_by_default(connection)) {
        result = connect_by(connection, url->ca[0] != '\0' ? TRANSPORT_VERIFIED : TRANSPORT_FORCED, &number,
                            error);
    } else if (url->tls != DB_TLS_PREFER) {
        result = connect_plainly(connection, error);
    } else {
        result = connect_by(connection, TRANSPORT_OFFERED, &number, error);
        /* A server's TLS may be too old for our library. */
        if (result != DB_OK && number == CR_SSL_CONNECTION_ERROR)
            result = connect_by(connection, TRANSPORT_PLAIN, &number, error);
    }
    if (result == DB_OK)
        warn_of_transport(connection, local);
    return result;
}

enum db_result db_mysql_open(struct db_connection *connection, struct error *error)
{
    size_t count = connection->url->socket[0] != '\0' ? 1 : connection->url->hosts.count;
    enum db_result result = DB_PERMANENT;
    struct mysql_state *state = NULL;
    size_t first = atomic_load(&connection->shared->host);

    pthread_once(&library_once, init_library);
    if (library_ready && mysql_thread_init() == 0)
        state = calloc(1, sizeof(*state));
    if (!state)
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
