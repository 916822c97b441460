/*
 * spellings: one query over t_id_gen joined with itself.
 */
#include "idserver/spellings.h"

#include "common/base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static bool on_key(void *argument, const struct db_value *columns, size_t count)
{
    if (count == 1)
        (void)db_value_text(&columns[0], argument, SPELLINGS_KEY_SIZE);
    return false;
}

enum db_result spellings_find(struct db_connection *connection, char key[SPELLINGS_KEY_SIZE],
                              struct error *error)
{
    const char *sql = db_connection_backend(connection) == DB_BACKEND_MYSQL
                          ? "SELECT a.id FROM t_id_gen a JOIN t_id_gen b ON a.id = CONCAT(b.id, '/') LIMIT 1"
                          : "SELECT a.id FROM t_id_gen a JOIN t_id_gen b ON a.id = b.id || '/' LIMIT 1";
    key[0] = '\0';
    return db_query(connection, sql, NULL, 0, on_key, key, error);
}

bool spellings_judge(const char *key, struct error *error)
{
    return key[0] == '\0' || error_set(error, ERROR_REFUSED,
                                       "t_id_gen has the key \"%s\" and the same without the slash "
                                       "at its end: one directory, two sequences. "
                                       "Give one of the two rows the higher id_value, delete the "
                                       "other, and write the key in storage.paths "
                                       "of every storage server as the one that stays",
                                       key);
}

struct spellings {
    struct db_job job;
    char key[SPELLINGS_KEY_SIZE];
};

static enum db_result spellings_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct spellings *spellings = CONTAINER_OF(job, struct spellings, job);
    return spellings_find(connection, spellings->key, error);
}

bool spellings_check(struct db *db, struct error *error)
{
    struct spellings spellings = {.job = {.run = spellings_run, .idempotent = true}};
    if (db_run_wait(db, &spellings.job) != DB_OK)
        return error_set(error, spellings.job.error.code, "%s", spellings.job.error.text);
    return spellings_judge(spellings.key, error);
}

bool spellings_check_database(const struct packet_daemon_config *config, struct error *error)
{
    struct db *db = packet_daemon_open_database(config, false, error);
    bool fine = db && spellings_check(db, error);
    if (db)
        db_close(db);
    return fine;
}

/* ---- at the start ---- */

/* Lives until its job is done, which may be after the start. */
struct first_look {
    struct spellings spellings;
    pthread_mutex_t mutex;
    pthread_cond_t answered;
    bool answer;
};

static enum db_result first_look_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct first_look *look = CONTAINER_OF(job, struct first_look, spellings.job);
    char key[SPELLINGS_KEY_SIZE];
    enum db_result result = spellings_find(connection, key, error);
    if (result != DB_OK)
        return result;
    pthread_mutex_lock(&look->mutex);
    snprintf(look->spellings.key, sizeof(look->spellings.key), "%s", key);
    look->answer = true;
    pthread_cond_signal(&look->answered);
    pthread_mutex_unlock(&look->mutex);
    return DB_OK;
}

static void first_look_done(struct db_job *job)
{
    struct first_look *look = CONTAINER_OF(job, struct first_look, spellings.job);
    pthread_mutex_lock(&look->mutex); /* the signaller has let go */
    pthread_mutex_unlock(&look->mutex);
    pthread_cond_destroy(&look->answered);
    pthread_mutex_destroy(&look->mutex);
    free(look);
}

bool spellings_check_start(struct db *db, struct loop *loop, int64_t wait_ms, bool *known,
                           struct error *error)
{
    struct first_look *look = calloc(1, sizeof(*look));
    pthread_condattr_t attributes;
    struct timespec until;
    char key[SPELLINGS_KEY_SIZE];
    *known = false;
    if (!look)
        return true;
    pthread_mutex_init(&look->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&look->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    look->spellings.job =
        (struct db_job){.run = first_look_run, .done = first_look_done, .loop = loop, .idempotent = true};
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + wait_ms % 1000 * 1000000;
    until.tv_sec += wait_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    if (!db_submit(db, &look->spellings.job)) {
        first_look_done(&look->spellings.job);
        return true;
    }
    /* It is freed on the loop, which does not run yet. */
    pthread_mutex_lock(&look->mutex);
    while (!look->answer && pthread_cond_timedwait(&look->answered, &look->mutex, &until) == 0)
        ;
    *known = look->answer;
    snprintf(key, sizeof(key), "%s", look->answer ? look->spellings.key : "");
    pthread_mutex_unlock(&look->mutex);
    return spellings_judge(key, error);
}
