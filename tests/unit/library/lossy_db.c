/*
 * lossy_db: the wrapped calls of db.h.
 */
#include "tests/unit/library/lossy_db.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETERS_MAX 16
#define SEEN_MAX       4096

enum db_result __real_db_execute(struct db_connection *connection, const char *sql,
                                 const struct db_value *parameters, size_t count, int64_t *affected,
                                 struct error *error);
enum db_result __real_db_query(struct db_connection *connection, const char *sql,
                               const struct db_value *parameters, size_t count, db_row_function row,
                               void *argument, struct error *error);
enum db_result __real_db_begin(struct db_connection *connection, struct error *error);
enum db_result __real_db_commit(struct db_connection *connection, struct error *error);
enum db_result __wrap_db_execute(struct db_connection *connection, const char *sql,
                                 const struct db_value *parameters, size_t count, int64_t *affected,
                                 struct error *error);
enum db_result __wrap_db_query(struct db_connection *connection, const char *sql,
                               const struct db_value *parameters, size_t count, db_row_function row,
                               void *argument, struct error *error);
enum db_result __wrap_db_begin(struct db_connection *connection, struct error *error);
enum db_result __wrap_db_commit(struct db_connection *connection, struct error *error);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lossy_db armed;
static bool met;
static char seen[SEEN_MAX][8];
static int seen_count;

/* The statement that comes late. */
static struct {
    const char *sql;
    struct db_value parameters[PARAMETERS_MAX];
    size_t count;
    int in; /* UPDATEs to come */
} late;

void lossy_db_arm(const struct lossy_db *lossy)
{
    pthread_mutex_lock(&mutex);
    armed = lossy ? *lossy : (struct lossy_db){0};
    met = false;
    seen_count = 0;
    pthread_mutex_unlock(&mutex);
}

bool lossy_db_met(void)
{
    pthread_mutex_lock(&mutex);
    bool now = met;
    pthread_mutex_unlock(&mutex);
    return now;
}

int lossy_db_count(const char *beginning)
{
    int count = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < seen_count; i++)
        count += strncmp(seen[i], beginning, strlen(beginning)) == 0 ? 1 : 0;
    pthread_mutex_unlock(&mutex);
    return count;
}

/* True: SQL is the one; *LOSSY is what to do. */
static bool meets(const char *sql, struct lossy_db *lossy)
{
    pthread_mutex_lock(&mutex);
    if (seen_count < SEEN_MAX)
        (void)strncpy(seen[seen_count++], sql, sizeof(seen[0]) - 1);
    bool is = !met && armed.beginning && strncmp(sql, armed.beginning, strlen(armed.beginning)) == 0 &&
              armed.skip-- <= 0;
    met = met || is;
    *lossy = armed;
    pthread_mutex_unlock(&mutex);
    return is;
}

static enum db_result after(const struct lossy_db *lossy, enum db_result result, struct error *error)
{
    if (lossy->meanwhile)
        lossy->meanwhile(lossy->argument);
    if (lossy->reports && lossy->result != DB_OK)
        error_set(error, ERROR_CONNECTION, "the answer was lost");
    return lossy->reports ? lossy->result : result;
}

static void keep_late(const char *sql, const struct db_value *parameters, size_t count, int in)
{
    late.sql = sql;
    late.in = in;
    late.count = count;
    for (size_t i = 0; i < count && i < PARAMETERS_MAX; i++) {
        late.parameters[i] = parameters[i];
        if (parameters[i].type == DB_TYPE_BYTES)
            late.parameters[i].bytes = strndup(parameters[i].bytes, parameters[i].size);
    }
}

static void run_late(struct db_connection *connection)
{
    struct error ignored;
    (void)__real_db_execute(connection, late.sql, late.parameters, late.count, NULL, &ignored);
    for (size_t i = 0; i < late.count; i++) {
        if (late.parameters[i].type == DB_TYPE_BYTES)
            free((void *)(uintptr_t)late.parameters[i].bytes);
    }
    late.sql = NULL;
}

enum db_result __wrap_db_execute(struct db_connection *connection, const char *sql,
                                 const struct db_value *parameters, size_t count, int64_t *affected,
                                 struct error *error)
{
    struct lossy_db lossy;
    if (!meets(sql, &lossy)) {
        enum db_result result = __real_db_execute(connection, sql, parameters, count, affected, error);
        if (late.sql && strncmp(sql, "UPDATE", 6) == 0 && --late.in == 0)
            run_late(connection);
        return result;
    }
    if (lossy.late > 0)
        keep_late(sql, parameters, count, lossy.late);
    enum db_result result =
        lossy.runs ? __real_db_execute(connection, sql, parameters, count, affected, error) : DB_OK;
    return after(&lossy, result, error);
}

enum db_result __wrap_db_query(struct db_connection *connection, const char *sql,
                               const struct db_value *parameters, size_t count, db_row_function row,
                               void *argument, struct error *error)
{
    struct lossy_db lossy;
    if (!meets(sql, &lossy))
        return __real_db_query(connection, sql, parameters, count, row, argument, error);
    enum db_result result =
        lossy.runs ? __real_db_query(connection, sql, parameters, count, row, argument, error) : DB_OK;
    return after(&lossy, result, error);
}

enum db_result __wrap_db_begin(struct db_connection *connection, struct error *error)
{
    struct lossy_db lossy;
    if (!meets("BEGIN", &lossy))
        return __real_db_begin(connection, error);
    return after(&lossy, lossy.runs ? __real_db_begin(connection, error) : DB_OK, error);
}

enum db_result __wrap_db_commit(struct db_connection *connection, struct error *error)
{
    struct lossy_db lossy;
    if (!meets("COMMIT", &lossy))
        return __real_db_commit(connection, error);
    if (lossy.runs)
        return after(&lossy, __real_db_commit(connection, error), error);
    db_rollback(connection);
    return after(&lossy, DB_OK, error);
}
