/*
 * base_handle: see base_handle.h. A handle that its connection has closed waits, with all that was prepared on it, for the next one.
 */
#include "tests/simulation/base_handle.h"

#include "tests/simulation/base_file.h"
#include "tests/simulation/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HANDLES        12 /* of a database, open before a story begins: what two storage servers have at once */
#define SERVED_MAX     64
#define STATEMENTS_MAX 160 /* of a handle, more than the daemons have */

struct statement {
    sqlite3_stmt *statement;
    bool used;
};

/* A handle that stays open, with all that was prepared on it. */
struct served {
    sqlite3 *handle; /* NULL: free */
    const struct base_file *data;
    bool used;
    struct statement statements[STATEMENTS_MAX];
    size_t count;
};

static struct served served[SERVED_MAX];

static struct served *find_served(const sqlite3 *handle)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (served[i].handle == handle)
            return &served[i];
    }
    return NULL;
}

int base_handle_open(const char *path, sqlite3 **handle, int flags, const char *fs)
{
    const struct base_file *data = base_file_find(path);
    for (size_t i = 0; data && i < SERVED_MAX; i++) {
        if (served[i].handle && !served[i].used && served[i].data == data) {
            served[i].used = true;
            *handle = served[i].handle;
            return SQLITE_OK;
        }
    }
    int code = sqlite3_open_v2(path, handle, flags, fs);
    struct served *one = code == SQLITE_OK && (data = base_file_find(path)) ? find_served(NULL) : NULL;
    if (one)
        *one = (struct served){.handle = *handle, .data = data, .used = true};
    return code;
}

int base_handle_close(sqlite3 *handle)
{
    struct served *one = handle ? find_served(handle) : NULL;
    if (!one)
        return sqlite3_close(handle);
    for (size_t i = 0; i < one->count; i++)
        base_handle_finalize(one->statements[i].statement);
    if (sqlite3_get_autocommit(handle) == 0 &&
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        violation("a transaction cannot be rolled back: %s", sqlite3_errmsg(handle));
    (void)sqlite3_busy_handler(handle, NULL, NULL);
    one->used = false;
    return SQLITE_OK;
}

int base_handle_prepare(sqlite3 *handle, const char *sql, int size, unsigned flags, sqlite3_stmt **statement,
                        const char **tail)
{
    struct served *one = find_served(handle);
    for (size_t i = 0; one && i < one->count; i++) {
        struct statement *made = &one->statements[i];
        if (made->used || strcmp(sqlite3_sql(made->statement), sql) != 0)
            continue;
        made->used = true;
        *statement = made->statement;
        *tail = sql + strlen(sql);
        return SQLITE_OK;
    }
    int code = sqlite3_prepare_v3(handle, sql, size, flags, statement, tail);
    if (one && code == SQLITE_OK && *statement && **tail == '\0' && one->count < STATEMENTS_MAX)
        one->statements[one->count++] = (struct statement){.statement = *statement, .used = true};
    return code;
}

int base_handle_finalize(sqlite3_stmt *statement)
{
    struct served *one = statement ? find_served(sqlite3_db_handle(statement)) : NULL;
    for (size_t i = 0; one && i < one->count; i++) {
        if (one->statements[i].statement == statement) {
            one->statements[i].used = false;
            (void)sqlite3_reset(statement);
            return sqlite3_clear_bindings(statement);
        }
    }
    return sqlite3_finalize(statement);
}

static void close_served(struct served *one)
{
    if (one->used)
        violation("somebody uses the database in a power cut");
    for (size_t i = 0; i < one->count; i++)
        (void)sqlite3_finalize(one->statements[i].statement);
    if (sqlite3_close(one->handle) != SQLITE_OK)
        violation("a handle of the database cannot be closed: %s", sqlite3_errmsg(one->handle));
    *one = (struct served){0};
}

/* Handles that end in order write all they like: it is overwritten by what was on the disk. */
void base_handle_power_cut(void)
{
    const struct base_file *base = base_file_find(BASE_FILE_WATCHED);
    base_file_take_images();
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (served[i].handle && served[i].data == base)
            close_served(&served[i]);
    }
    base_file_put_images();
}

void base_handle_list(int to)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        for (size_t j = 0; served[i].handle && j < served[i].count; j++) {
            const char *sql = sqlite3_sql(served[i].statements[j].statement);
            if (dprintf(to, "%s%c%s%c", base_file_name(served[i].data), 0, sql, 0) < 0)
                return;
        }
    }
}

/* SQL is prepared on every handle of the file NAME. */
static void learn_one(const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    const char *tail;
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (!served[i].handle || strcmp(base_file_name(served[i].data), name) != 0)
            continue;
        if (base_handle_prepare(served[i].handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, &tail) !=
            SQLITE_OK)
            violation("cannot prepare %s: %s", sql, sqlite3_errmsg(served[i].handle));
        (void)base_handle_finalize(statement);
    }
}

void base_handle_learn(int from)
{
    FILE *file = fdopen(from, "r");
    char *name = NULL, *sql = NULL;
    size_t name_room = 0, sql_room = 0;
    if (!file)
        violation("cannot read the statements: %s", strerror(errno));
    while (getdelim(&name, &name_room, 0, file) > 0 && getdelim(&sql, &sql_room, 0, file) > 0)
        learn_one(name, sql);
    (void)fclose(file);
    free(name);
    free(sql);
}

/* What every handle reads first, its tables, costs more than anything that it does later. */
static void open_in_advance(const char *name)
{
    sqlite3 *handles[HANDLES];
    for (size_t i = 0; i < HANDLES; i++) {
        /* db_sqlite.c sets these two, and what is prepared counts no more once one of them changes. */
        if (base_handle_open(name, &handles[i], SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
                SQLITE_OK ||
            sqlite3_db_config(handles[i], SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL) != SQLITE_OK ||
            sqlite3_db_config(handles[i], SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL) != SQLITE_OK ||
            sqlite3_exec(handles[i], "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK)
            violation("cannot open %s: %s", name, sqlite3_errmsg(handles[i]));
    }
    for (size_t i = 0; i < HANDLES; i++)
        (void)base_handle_close(handles[i]);
}

void base_handle_begin(const char *directory)
{
    static const char *const names[] = {BASE_FILE_WATCHED, "ids.db"};
    base_file_begin();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        base_file_load(directory, names[i]);
        open_in_advance(names[i]);
    }
}
