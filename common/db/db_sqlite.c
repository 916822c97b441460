/*
 * db_sqlite: the SQLite back end: one file, WAL, synchronous=FULL (EXTRA where there is no WAL), so that a commit that
 * returned is on the disk, but for relaxed transactions. Touches the database file and nothing else. Called by db_connection.c through db_sqlite_operations,
 * on the thread that owns the connection.
 *
 * Bytes are bound as TEXT always: SQLite never finds TEXT and BLOB equal, and what an administrator types is
 * TEXT.
 */
#include "common/db/db_backend.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <time.h>

#define ROOM        "db"
#define FILE_MODE   0640 /* of the file, and so of its -wal and -shm: names of users and files are private */
#define COLUMNS_MAX 64
/* Pages in the WAL from which on a commit that is synced brings them into the file: it waits for the disk anyway, and a small WAL is the better
 * one: its blocks are written again and again, where one that grows changes its inode with each sync. Where commits are not
 * synced, db_wal.c does it beside them. */
#define CHECKPOINT_PAGES 1000

struct sqlite_state {
    dev_t device; /* of the file that was opened: noticed when another takes its place */
    ino_t inode;
    bool has_turn;           /* holds the turn of struct db_shared */
    int64_t busy_since_ms;   /* start of the wait for the file's lock that is going on */
    int64_t busy_timeout_ms; /* from the URL */
    bool wal;                /* the journal mode */
};

/* When a failure happens says whether the write may have reached the disk all the same. */
enum phase { PHASE_BEFORE_COMMIT, PHASE_COMMIT };

static enum db_result sqlite_classify(struct db_connection *connection, int code, enum phase phase)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
        return DB_TRANSIENT;
    case SQLITE_CONSTRAINT:
        return DB_CONSTRAINT;
    case SQLITE_IOERR:
        /* A commit whose sync failed may be replayed from the WAL by the next one who opens the file. */
        connection->broken = true;
        return phase == PHASE_COMMIT ? DB_UNCERTAIN : DB_PERMANENT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        connection->broken = true;
        return DB_PERMANENT;
    default:
        return DB_PERMANENT;
    }
}

static enum db_result sqlite_fail(struct db_connection *connection, int code, enum phase phase,
                                  const char *doing, struct error *error)
{
    enum db_result result = sqlite_classify(connection, code, phase);
    int number = (code & 0xff) == SQLITE_FULL ? ERROR_NO_SPACE : db_error_code(result);
    /* The connection's text belongs to its last failure, which need not be this one. */
    bool own = connection->handle && (sqlite3_errcode(connection->handle) & 0xff) == (code & 0xff);
    const char *text = own ? sqlite3_errmsg(connection->handle) : sqlite3_errstr(code);

    error_set(error, number, "database %s: %s (SQLite code %d) in: %.160s%s", connection->url->text, text,
              code, doing, strncmp(text, "no such", 7) == 0 ? "; --init-db creates what is missing" : "");
    return result;
}

/* Waits a few milliseconds at a time, a random number, so that no writer always loses. */
static int wait_while_busy(void *argument, int count)
{
    struct sqlite_state *state = argument;
    struct timespec pause = {0};

    if (count == 0)
        state->busy_since_ms = clock_monotonic_ms();
    if (clock_monotonic_ms() - state->busy_since_ms >= state->busy_timeout_ms)
        return 0;
    pause.tv_nsec = 500000L + (long)arc4random_uniform(5100000); /* 0.5 to 5.6 ms */
    nanosleep(&pause, NULL);
    return 1;
}

static void give_turn(struct db_connection *connection)
{
    struct sqlite_state *state = connection->state;
    struct db_shared *shared = connection->shared;

    if (!state || !state->has_turn)
        return;
    state->has_turn = false;
    pthread_mutex_lock(&shared->lock);
    shared->turn_taken = false;
    pthread_cond_signal(&shared->turn_given);
    pthread_mutex_unlock(&shared->lock);
}

static enum db_result take_turn(struct db_connection *connection, struct error *error)
{
    struct sqlite_state *state = connection->state;
    struct db_shared *shared = connection->shared;
    int64_t now = clock_monotonic_ms(), until = now + state->busy_timeout_ms;

    if (state->has_turn)
        return DB_OK;
    pthread_mutex_lock(&shared->lock);
    while (shared->turn_taken && now < until) {
        condition_wait_ms(&shared->turn_given, &shared->lock, until - now);
        now = clock_monotonic_ms();
    }
    state->has_turn = !shared->turn_taken;
    shared->turn_taken = true;
    pthread_mutex_unlock(&shared->lock);
    if (state->has_turn)
        return DB_OK;
    error_set(error, ERROR_UNAVAILABLE, "database %s: other writers held its lock for more than %lld ms",
              connection->url->text, (long long)state->busy_timeout_ms);
    return DB_TRANSIENT;
}

static enum db_result execute_text(struct db_connection *connection, const char *sql, enum phase phase,
                                   struct error *error)
{
    int code = sqlite3_exec(connection->handle, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? DB_OK : sqlite_fail(connection, code, phase, sql, error);
}

/* Text of a missing or unreadable file, better than SQLite's "unable to open database file". */
static enum db_result fail_to_open(struct db_connection *connection, int errnum, struct error *error)
{
    error_set_errno(error, errnum, "database %s: cannot open the file%s", connection->url->text,
                    errnum == ENOENT ? " (--init-db creates it)" : "");
    if (error)
        error->code = ERROR_GENERAL;
    return DB_PERMANENT;
}

static int keep_journal_mode(void *argument, int count, char **values, char **names)
{
    (void)names;
    if (count > 0 && values[0])
        snprintf(argument, 16, "%s", values[0]);
    return 0;
}

static enum db_result configure(struct db_connection *connection, struct error *error)
{
    struct sqlite_state *state = connection->state;
    sqlite3 *handle = connection->handle;
    char mode[16] = "";
    int code;

    sqlite3_extended_result_codes(handle, 1);
    if (sqlite3_busy_handler(handle, wait_while_busy, state) != SQLITE_OK ||
        sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL) != SQLITE_OK ||
        sqlite3_db_config(handle, SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL) != SQLITE_OK)
        return sqlite_fail(connection, SQLITE_ERROR, PHASE_BEFORE_COMMIT, "configuring the connection",
                           error);
    if (sqlite3_db_readonly(handle, "main") == 1)
        return fail_to_open(connection, EACCES, error);
    code = sqlite3_exec(handle, "PRAGMA journal_mode = WAL", keep_journal_mode, mode, NULL);
    if (code != SQLITE_OK)
        return sqlite_fail(connection, code, PHASE_BEFORE_COMMIT, "PRAGMA journal_mode = WAL", error);
    state->wal = strcmp(mode, "wal") == 0;
    if (state->wal)
        return execute_text(connection, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864",
                            PHASE_BEFORE_COMMIT, error);
    log_warning(ROOM, "database %s: the file system does not support WAL (journal mode %s): slower, but safe",
                connection->url->text, mode);
    /* A commit is the removal of the journal; FULL does not sync the directory after it, and a power cut could bring the
     * journal back, which undoes the commit. */
    return execute_text(connection, "PRAGMA synchronous = EXTRA", PHASE_BEFORE_COMMIT, error);
}

/* The owner of the directory of PATH. */
static bool directory_owner(const char *path, struct stat *directory)
{
    const char *slash = strrchr(path, '/');
    char name[PATH_MAX];

    (void)snprintf(name, sizeof(name), "%.*s", slash ? (int)max_i64(slash - path, 1) : 1, slash ? path : ".");
    return stat(name, directory) == 0;
}

/* Makes the file where it is missing. One that root makes belongs to the owner of its directory, as does its -wal then (SQLite
 * sees to that): else the daemon, which is not root, could not write it. */
static bool create_file(const char *path)
{
    struct stat directory;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);

    if (fd < 0)
        return errno == EEXIST;
    if (geteuid() == 0 && directory_owner(path, &directory) && directory.st_uid != 0 &&
        fchown(fd, directory.st_uid, directory.st_gid) != 0)
        log_warning(ROOM, "%s belongs to root, not to the owner of its directory: %m", path);
    return close(fd) == 0;
}

/* Files made by an older release could be read by everybody on the machine. */
static void close_to_others(const struct db_connection *connection)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char path[PATH_MAX];
    struct stat file;

    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        int length = snprintf(path, sizeof(path), "%s%s", connection->url->path, endings[i]);
        if (length < 0 || (size_t)length >= sizeof(path) || stat(path, &file) != 0 ||
            (file.st_mode & S_IRWXO) == 0)
            continue;
        if (chmod(path, file.st_mode & 07770) == 0)
            log_info(ROOM, "%s was readable by every user of this machine; its mode was corrected", path);
        else
            log_warning(ROOM, "%s can be read by every user of this machine: %m", path);
    }
}

static void sqlite_close(struct db_connection *connection)
{
    give_turn(connection);
    if (sqlite3_close(connection->handle) != SQLITE_OK)
        log_error(ROOM, "database %s: cannot close: %s", connection->url->text,
                  sqlite3_errmsg(connection->handle));
    free(connection->state);
    connection->handle = NULL;
    connection->state = NULL;
}

static enum db_result sqlite_open(struct db_connection *connection, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (connection->create ? SQLITE_OPEN_CREATE : 0);
    struct sqlite_state *state = calloc(1, sizeof(*state));
    sqlite3 *handle = NULL;
    struct stat file;
    enum db_result result;
    int code;

    if (!state) {
        error_set(error, ERROR_UNAVAILABLE, "database %s: no memory", connection->url->text);
        return DB_TRANSIENT;
    }
    state->busy_timeout_ms = connection->url->busy_timeout_ms;
    connection->state = state;
    if (!connection->create && stat(connection->url->path, &file) != 0) {
        result = fail_to_open(connection, errno, error);
        free(state);
        connection->state = NULL;
        return result;
    }
    if (connection->create && !create_file(connection->url->path)) {
        result = fail_to_open(connection, errno, error);
        free(state);
        connection->state = NULL;
        return result;
    }
    code = sqlite3_open_v2(connection->url->path, &handle, flags, NULL);
    connection->handle = handle;
    if (code != SQLITE_OK) {
        result = sqlite_fail(connection, code, PHASE_BEFORE_COMMIT, "opening the file", error);
    } else if (stat(connection->url->path, &file) != 0) {
        result = fail_to_open(connection, errno, error);
    } else {
        state->device = file.st_dev;
        state->inode = file.st_ino;
        close_to_others(connection);
        result = configure(connection, error);
    }
    if (result != DB_OK)
        sqlite_close(connection);
    return result;
}

/* Writes to a file that was deleted or replaced would be lost. */
static bool sqlite_check(struct db_connection *connection, bool probe, struct error *error)
{
    const struct sqlite_state *state = connection->state;
    struct stat file;

    if (stat(connection->url->path, &file) != 0)
        return error_set_errno(error, errno, "database %s: the file is gone", connection->url->text);
    if (file.st_dev != state->device || file.st_ino != state->inode)
        return error_set(error, ERROR_GENERAL, "database %s: another file has taken its place",
                         connection->url->text);
    return !probe || execute_text(connection, "PRAGMA schema_version", PHASE_BEFORE_COMMIT, error) == DB_OK;
}

/* Only what a WAL keeps apart may be left unsynced; with a rollback journal a power cut could tear the file. */
static bool sqlite_in_wal(const struct db_connection *connection)
{
    const struct sqlite_state *state = connection->state;

    return state->wal;
}

static int sqlite_on_wal(void *argument, sqlite3 *handle, const char *name, int pages)
{
    struct db_connection *connection = argument;

    if (db_wal_grew(&connection->shared->wal, connection->url, pages))
        (void)sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK; /* the commit is done, whatever became of that */
}

static enum db_result sqlite_relax(struct db_connection *connection, struct error *error)
{
    if (!connection->relaxed || !sqlite_in_wal(connection))
        return DB_OK;
    (void)sqlite3_wal_hook(connection->handle, sqlite_on_wal, connection);
    return execute_text(connection, "PRAGMA synchronous = NORMAL", PHASE_BEFORE_COMMIT, error);
}

/* After a relaxed transaction every commit is synced again. */
static void sqlite_tighten(struct db_connection *connection)
{
    if (!connection->relaxed || !sqlite_in_wal(connection))
        return;
    (void)sqlite3_wal_autocheckpoint(connection->handle, CHECKPOINT_PAGES); /* in place of the above */
    if (sqlite3_exec(connection->handle, "PRAGMA synchronous = FULL", NULL, NULL, NULL) != SQLITE_OK)
        connection->broken = true;
}

static enum db_result sqlite_begin(struct db_connection *connection, struct error *error)
{
    enum db_result result = take_turn(connection, error);

    if (result != DB_OK)
        return result;
    result = sqlite_relax(connection, error);
    if (result == DB_OK)
        result = execute_text(connection, "BEGIN IMMEDIATE", PHASE_BEFORE_COMMIT, error);
    if (result != DB_OK) {
        sqlite_tighten(connection);
        give_turn(connection);
    }
    return result;
}

static enum db_result sqlite_commit(struct db_connection *connection, struct error *error)
{
    enum db_result result = execute_text(connection, "COMMIT", PHASE_COMMIT, error);

    if (result == DB_OK) {
        sqlite_tighten(connection);
        give_turn(connection);
    }
    return result;
}

static void sqlite_rollback(struct db_connection *connection)
{
    /* SQLite has rolled back by itself after some failures (disk full, I/O). */
    if (sqlite3_get_autocommit(connection->handle) == 0 &&
        sqlite3_exec(connection->handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        connection->broken = true;
    sqlite_tighten(connection);
    give_turn(connection);
}

static enum db_result sqlite_prepare(struct db_connection *connection, const char *sql, void **statement,
                                     struct error *error)
{
    sqlite3_stmt *made = NULL;
    const char *tail = NULL;
    int code = sqlite3_prepare_v3(connection->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &made, &tail);

    if (code != SQLITE_OK)
        return sqlite_fail(connection, code, PHASE_BEFORE_COMMIT, sql, error);
    if (!made || tail[strspn(tail, "; \t\r\n")] != '\0') {
        sqlite3_finalize(made);
        error_set(error, ERROR_GENERAL, "database %s: not exactly one statement: %.160s",
                  connection->url->text, sql);
        return DB_PERMANENT;
    }
    *statement = made;
    return DB_OK;
}

static void sqlite_finalize(void *statement)
{
    /* Repeats the result of the last run, which was reported already. */
    (void)sqlite3_finalize(statement);
}

static int bind_values(sqlite3_stmt *statement, const struct db_value *values, size_t count)
{
    int code = SQLITE_OK;

    if (sqlite3_bind_parameter_count(statement) != (int)count)
        return SQLITE_RANGE;
    for (size_t i = 0; i < count && code == SQLITE_OK; i++) {
        const struct db_value *value = &values[i];
        int place = (int)i + 1;
        if (value->type == DB_TYPE_INTEGER)
            code = sqlite3_bind_int64(statement, place, value->integer);
        else if (value->type == DB_TYPE_BYTES)
            code = sqlite3_bind_text64(statement, place, value->size > 0 ? value->bytes : "", value->size,
                                       SQLITE_STATIC, SQLITE_UTF8);
        else
            code = sqlite3_bind_null(statement, place);
    }
    return code;
}

/* Hands one row to the callback; false ends the reading. *CODE becomes an error code where the row cannot be
 * read. */
static bool hand_row(struct db_connection *connection, sqlite3_stmt *statement,
                     const struct db_request *request, int *code)
{
    struct db_value columns[COLUMNS_MAX];
    int count = sqlite3_column_count(statement);
    bool more;

    if (count > COLUMNS_MAX) {
        *code = SQLITE_TOOBIG;
        return false;
    }
    for (int i = 0; i < count; i++) {
        int type = sqlite3_column_type(statement, i);
        if (type == SQLITE_NULL) {
            columns[i] = db_null();
        } else if (type == SQLITE_INTEGER) {
            columns[i] = db_integer(sqlite3_column_int64(statement, i));
        } else {
            const unsigned char *text = sqlite3_column_text(statement, i);
            int size = sqlite3_column_bytes(statement, i);
            if (!text || (size_t)size > DB_COLUMN_MAX) {
                *code = !text ? SQLITE_NOMEM : SQLITE_TOOBIG;
                return false;
            }
            columns[i] = db_bytes(text, (size_t)size);
        }
    }
    connection->in_rows = true;
    more = request->row(request->argument, columns, (size_t)count);
    connection->in_rows = false;
    return more;
}

static enum db_result sqlite_run(struct db_connection *connection, void *handle,
                                 const struct db_request *request, struct error *error)
{
    sqlite3_stmt *statement = handle;
    bool writes = !sqlite3_stmt_readonly(statement), alone = writes && !connection->in_transaction;
    enum db_result result = DB_OK;
    int code, failure = SQLITE_OK;

    if (alone && (result = take_turn(connection, error)) != DB_OK)
        return result;
    code = bind_values(statement, request->parameters, request->count);
    if (code == SQLITE_OK) {
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
            if (request->row && !hand_row(connection, statement, request, &failure))
                break;
        }
        if (code == SQLITE_ROW || code == SQLITE_DONE)
            code = failure;
    }
    if (code != SQLITE_OK)
        result =
            sqlite_fail(connection, code, alone ? PHASE_COMMIT : PHASE_BEFORE_COMMIT, request->sql, error);
    else if (request->affected && writes)
        *request->affected = sqlite3_changes64(connection->handle);
    /* Repeats the step's result, which was reported already. */
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    if (alone)
        give_turn(connection);
    return result;
}

static void sqlite_thread_end(void)
{
}

const struct db_backend_operations db_sqlite_operations = {
    .open = sqlite_open,
    .close = sqlite_close,
    .check = sqlite_check,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .prepare = sqlite_prepare,
    .finalize = sqlite_finalize,
    .run = sqlite_run,
    .thread_end = sqlite_thread_end,
};
