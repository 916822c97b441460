/*
 * schema: runs the scripts of sql/ against a database: splits them into statements and checks, before each one,
 * what the directives in the comments above it ask ("-- @unless column t_router state";
 * sql/README.md has the list). Touches the database that the URL names; for SQLite also the file's folder.
 * Called by --init-db and by tests, on any thread that may block.
 */
#include "common/db/schema.h"

#include "common/db/db_backend.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define CONDITIONS_MAX    8
#define WORDS_MAX         4
#define LINE_MAX_SIZE     512
#define STATEMENT_TIMEOUT (24LL * 3600 * 1000) /* ms; a large table takes its time */
#define LOCK_WAIT         "60"                 /* seconds for other sessions to let go of a table */

struct condition {
    bool wanted;              /* @if, or else @unless */
    char line[LINE_MAX_SIZE]; /* what follows the word */
};

/* A script being run. */
struct script {
    const char *name; /* for messages, e.g. "tracker" */
    const char *cursor;
    size_t line; /* of the cursor, from 1 */
    struct condition conditions[CONDITIONS_MAX];
    size_t condition_count;
    char say[LINE_MAX_SIZE];
    char *statement; /* owned; the one that was read last */
    size_t statement_line;
};

struct run {
    struct db_connection *connection;
    FILE *out; /* may be NULL */
    size_t steps;
};

/* ---- reading a script ---- */

/* The text after "-- @": one directive, up to the end of the line. */
static bool read_directive(struct script *script, const char *text, size_t size, struct error *error)
{
    static const char *const words[] = {"if ", "unless ", "say "};
    size_t word = 0;

    while (word < ARRAY_SIZE(words) && strncmp(text, words[word], strlen(words[word])) != 0)
        word++;
    if (word == ARRAY_SIZE(words))
        return error_set(error, ERROR_GENERAL, "%s script, line %zu: unknown directive: %.*s", script->name,
                         script->line, (int)min_size(size, 80), text);
    text += strlen(words[word]);
    size -= strlen(words[word]);
    if (size >= LINE_MAX_SIZE || (word < 2 && script->condition_count == CONDITIONS_MAX))
        return error_set(error, ERROR_GENERAL, "%s script, line %zu: directive too long, or too many of them",
                         script->name, script->line);
    if (word == 2) {
        memcpy(script->say, text, size);
        script->say[size] = '\0';
    } else {
        struct condition *condition = &script->conditions[script->condition_count++];
        condition->wanted = word == 0;
        memcpy(condition->line, text, size);
        condition->line[size] = '\0';
    }
    return true;
}

/* Goes to the first character of a statement, or to the end; takes in the directives on the way. */
static bool skip_to_statement(struct script *script, struct error *error)
{
    for (;;) {
        const char *cursor = script->cursor;
        size_t size = strcspn(cursor, "\n");

        if (*cursor == '\n') {
            script->line++;
            script->cursor++;
        } else if (isspace((unsigned char)*cursor) || *cursor == ';') {
            script->cursor++;
        } else if (strncmp(cursor, "--", 2) == 0) {
            if (strncmp(cursor, "-- @", 4) == 0 && !read_directive(script, cursor + 4, size - 4, error))
                return false;
            script->cursor += size;
        } else {
            return true;
        }
    }
}

/* The size of what begins at TEXT and must not be searched for a semicolon: a quoted text or a comment; else
 * 0. */
static size_t opaque_size(const char *text)
{
    if (*text == '\'' || *text == '"' || *text == '`') {
        const char *end = strchr(text + 1, *text);
        return end ? (size_t)(end - text) + 1 : strlen(text);
    }
    return strncmp(text, "--", 2) == 0 ? strcspn(text, "\n") : 0;
}

/* True where the statement that began at START and has come to END (its semicolon) ends there: a trigger
 * holds statements of its own and ends with END. */
static bool ends_here(const char *start, const char *end)
{
    if (strncasecmp(start, "CREATE TRIGGER", 14) != 0)
        return true;
    return end - start > 4 && strncasecmp(end - 3, "END", 3) == 0 && isspace((unsigned char)end[-4]);
}

/* Reads the next statement with its directives. *FOUND is false at the end of the script. */
static bool next_statement(struct script *script, bool *found, struct error *error)
{
    const char *start, *end;

    script->condition_count = 0;
    script->say[0] = '\0';
    free(script->statement);
    script->statement = NULL;
    if (!skip_to_statement(script, error))
        return false;
    *found = *script->cursor != '\0';
    if (!*found)
        return true;
    start = script->cursor;
    script->statement_line = script->line;
    for (end = start; *end != '\0' && (*end != ';' || !ends_here(start, end));) {
        size_t size = max_size(opaque_size(end), 1);
        for (size_t i = 0; i < size; i++)
            script->line += end[i] == '\n';
        end += size;
    }
    if (*end == '\0')
        return error_set(error, ERROR_GENERAL, "%s script, line %zu: a statement without its semicolon",
                         script->name, script->statement_line);
    script->statement = strndup(start, (size_t)(end - start));
    script->cursor = end + 1;
    return script->statement || error_set(error, ERROR_UNAVAILABLE, "%s script: no memory", script->name);
}

/* ---- asking what is there ---- */

/* Each question counts; its words are the parameters. */
static const struct question {
    const char *name;
    size_t words;
    const char *mysql, *sqlite;
} questions[] = {
    {"table", 1,
     "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
     "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?"},
    {"column", 2,
     "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND "
     "column_name = ?",
     "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = ?"},
    {"type", 3,
     "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND "
     "column_name = ? AND column_type = ?",
     "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = ? AND type = ?"},
    {"collation", 3,
     "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND "
     "column_name = ? AND collation_name = ?",
     NULL},
    {"index", 2,
     "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? "
     "AND index_name = ? AND seq_in_index = 1",
     "SELECT COUNT(*) FROM pragma_index_list(?) WHERE name = ?"},
    {"primary-key", 2,
     "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? "
     "AND column_name = ? AND index_name = 'PRIMARY' AND seq_in_index = 1",
     "SELECT COUNT(*) FROM pragma_table_info(?) WHERE name = ? AND pk = 1"},
    {"trigger", 1,
     "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name = "
     "?",
     "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND name = ?"},
};

static bool keep_number(void *argument, const struct db_value *columns, size_t count)
{
    int64_t *number = argument;

    if (count == 0 || !db_value_integer(&columns[0], number))
        *number = 0;
    return false;
}

static bool note_row(void *argument, const struct db_value *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)argument = true;
    return false;
}

/* Splits LINE at its blanks. Returns the number of words, or WORDS_MAX + 1 where there are more. */
static size_t split_words(char *line, char **words)
{
    static const char blanks[] = " \t\r";
    size_t count = 0;

    for (char *word = line + strspn(line, blanks); *word != '\0'; word += strspn(word, blanks)) {
        if (count == WORDS_MAX)
            return WORDS_MAX + 1;
        words[count++] = word;
        word += strcspn(word, blanks);
        if (*word != '\0')
            *word++ = '\0';
    }
    return count;
}

static bool schema_ask(struct run *run, const struct script *script, const struct condition *condition,
                       bool *answer, struct error *error)
{
    char line[LINE_MAX_SIZE], *words[WORDS_MAX];
    struct db_value parameters[WORDS_MAX];
    const char *sql = NULL;
    int64_t number = 0;
    size_t count;

    *answer = false;
    if (strncmp(condition->line, "rows ", 5) == 0)
        return db_query(run->connection, condition->line + 5, NULL, 0, note_row, answer, error) == DB_OK;
    memcpy(line, condition->line, sizeof(line));
    count = split_words(line, words);
    for (size_t i = 0; i < ARRAY_SIZE(questions) && count > 0 && !sql; i++) {
        if (strcmp(words[0], questions[i].name) == 0 && count == questions[i].words + 1)
            sql = db_connection_backend(run->connection) == DB_BACKEND_MYSQL ? questions[i].mysql
                                                                             : questions[i].sqlite;
    }
    if (!sql)
        return error_set(error, ERROR_GENERAL, "%s script, line %zu: unknown condition: %s", script->name,
                         script->statement_line, condition->line);
    for (size_t i = 1; i < count; i++)
        parameters[i - 1] = db_text(words[i]);
    if (db_query(run->connection, sql, parameters, count - 1, keep_number, &number, error) != DB_OK)
        return false;
    *answer = number > 0;
    return true;
}

/* ---- running ---- */

static void report_step(struct run *run, const char *name, const char *text, int64_t rows)
{
    if (!run->out)
        return;
    if (rows > 0)
        (void)fprintf(run->out, "%s: %s (rows: %lld)\n", name, text, (long long)rows);
    else
        (void)fprintf(run->out, "%s: %s\n", name, text);
    (void)fflush(run->out);
}

/* Changes rows rather than tables: then it counts as a step only where there were any. */
static bool changes_rows(const char *sql)
{
    return strncasecmp(sql, "INSERT", 6) == 0 || strncasecmp(sql, "UPDATE", 6) == 0 ||
           strncasecmp(sql, "DELETE", 6) == 0;
}

static bool schema_run_statement(struct run *run, const struct script *script, struct error *error)
{
    int64_t affected = 0;
    struct error why = {0};
    bool rows = changes_rows(script->statement);

    for (size_t i = 0; i < script->condition_count; i++) {
        bool answer = false;
        if (!schema_ask(run, script, &script->conditions[i], &answer, error))
            return false;
        if (answer != script->conditions[i].wanted)
            return true;
    }
    if (db_execute(run->connection, script->statement, NULL, 0, &affected, &why) != DB_OK)
        return error_set(error, why.code, "%s script, line %zu: %s", script->name, script->statement_line,
                         why.text);
    if (rows && affected == 0)
        return true;
    run->steps++;
    if (script->say[0] != '\0')
        report_step(run, script->name, script->say, rows ? affected : 0);
    return true;
}

static bool run_script(struct run *run, const char *name, const char *text, struct error *error)
{
    struct script script = {.name = name, .cursor = text ? text : "", .line = 1};
    bool good, found = true;

    do {
        good =
            next_statement(&script, &found, error) && (!found || schema_run_statement(run, &script, error));
    } while (good && found);
    free(script.statement);
    return good;
}

/* ---- SQLite ---- */

/* Everything in one transaction: a stop in the middle leaves nothing behind. */
static bool apply_sqlite(struct run *run, const struct schema_scripts *scripts, struct error *error)
{
    return db_begin(run->connection, error) == DB_OK &&
           run_script(run, scripts->name, scripts->sqlite, error) &&
           run_script(run, scripts->name, scripts->sqlite_upgrade, error) &&
           db_commit(run->connection, error) == DB_OK;
}

static bool make_folders(const char *path, struct error *error)
{
    char *folder = strdup(path);
    bool good = true;

    if (!folder)
        return error_set(error, ERROR_UNAVAILABLE, "no memory");
    for (char *slash = strchr(folder + 1, '/'); good && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0750) != 0 && errno != EEXIST)
            good = error_set_errno(error, errno, "cannot make the folder %s", folder);
        *slash = '/';
    }
    free(folder);
    return good;
}

/* ---- MySQL ---- */

static bool create_database(struct run *run, const struct schema_scripts *scripts, const char *name,
                            struct error *error)
{
    struct db_value value = db_text(name);
    char sql[160];
    bool there = false;

    /* Checked first: a user who may not create databases can still be given one. */
    if (db_query(run->connection, "SELECT schema_name FROM information_schema.schemata WHERE schema_name = ?",
                 &value, 1, note_row, &there, error) != DB_OK)
        return false;
    if (there)
        return true;
    /* db_url_parse() let through no character that ends the quotes. */
    snprintf(sql, sizeof(sql), "CREATE DATABASE IF NOT EXISTS `%s` CHARACTER SET utf8mb4", name);
    if (db_execute(run->connection, sql, NULL, 0, NULL, error) != DB_OK)
        return false;
    run->steps++;
    snprintf(sql, sizeof(sql), "created database %s", name);
    report_step(run, scripts->name, sql, 0);
    return true;
}

/* MySQL commits each change of a table by itself, so every step stands alone; the lock keeps two that upgrade
 * the same database at once from seeing each other half-way. It goes with the connection. */
static bool apply_mysql(struct run *run, const struct schema_scripts *scripts, struct error *error)
{
    int64_t locked = 0;

    if (db_execute(run->connection, "SET SESSION lock_wait_timeout = " LOCK_WAIT, NULL, 0, NULL, error) !=
            DB_OK ||
        db_query(run->connection,
                 "SELECT GET_LOCK(CONCAT('reelstore:', LEFT(DATABASE(), 50)), " LOCK_WAIT ")", NULL, 0,
                 keep_number, &locked, error) != DB_OK)
        return false;
    if (locked != 1)
        return error_set(error, ERROR_UNAVAILABLE, "database %s: another process is upgrading it",
                         run->connection->url->text);
    return run_script(run, scripts->name, scripts->mysql, error) &&
           run_script(run, scripts->name, scripts->mysql_upgrade, error);
}

static bool apply(struct run *run, const struct schema_scripts *scripts, struct error *error)
{
    struct db_connection *connection = run->connection;
    const struct db_url *url = connection->url;

    connection->create = true;
    if (url->backend == DB_BACKEND_SQLITE)
        return make_folders(url->path, error) && db_connection_open(connection, error) == DB_OK &&
               apply_sqlite(run, scripts, error);
    if (db_connection_open(connection, error) != DB_OK ||
        !create_database(run, scripts, url->database, error))
        return false;
    db_connection_close(connection);
    connection->create = false;
    return db_connection_open(connection, error) == DB_OK && apply_mysql(run, scripts, error);
}

bool schema_apply(const char *url, const struct schema_scripts *scripts, FILE *out, struct error *error)
{
    struct db_connection connection;
    struct run run = {.connection = &connection, .out = out};
    struct db_shared shared;
    struct db_url parsed;
    struct error why = {0};
    char text[DB_URL_TEXT_SIZE + 64];
    bool good;

    if (!db_url_parse(url, &parsed, error))
        return false;
    if (!db_shared_init(&shared, error)) {
        db_url_clear(&parsed);
        return false;
    }
    parsed.read_timeout_ms = STATEMENT_TIMEOUT;
    parsed.write_timeout_ms = STATEMENT_TIMEOUT;
    db_connection_init(&connection, &parsed, &shared);
    good = apply(&run, scripts, &why);
    db_connection_settle(&connection);
    db_connection_close(&connection);
    if (!good)
        error_set(error, why.code, "%s", why.text);
    else if (run.steps > 0)
        snprintf(text, sizeof(text), "database %s is up to date now (steps: %zu)", parsed.text, run.steps);
    else
        snprintf(text, sizeof(text), "database %s is up to date: nothing to do", parsed.text);
    if (good)
        report_step(&run, scripts->name, text, 0);
    db_shared_destroy(&shared);
    db_url_clear(&parsed);
    return good;
}
