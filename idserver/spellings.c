/*
 * spellings: one query over t_id_gen joined with itself.
 */
#include "idserver/spellings.h"

#define KEY_SIZE 512

struct spellings {
    struct db_job job;
    char key[KEY_SIZE]; /* with the slash; "": none */
};

static bool on_key(void *argument, const struct db_value *columns, size_t count)
{
    struct spellings *spellings = argument;
    if (count == 1)
        (void)db_value_text(&columns[0], spellings->key, sizeof(spellings->key));
    return false;
}

static enum db_result spellings_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct spellings *spellings = CONTAINER_OF(job, struct spellings, job);
    const char *sql = db_connection_backend(connection) == DB_BACKEND_MYSQL
                          ? "SELECT a.id FROM t_id_gen a JOIN t_id_gen b ON a.id = CONCAT(b.id, '/') LIMIT 1"
                          : "SELECT a.id FROM t_id_gen a JOIN t_id_gen b ON a.id = b.id || '/' LIMIT 1";
    spellings->key[0] = '\0';
    return db_query(connection, sql, NULL, 0, on_key, spellings, error);
}

bool spellings_check(struct db *db, struct error *error)
{
    struct spellings spellings = {.job = {.run = spellings_run, .idempotent = true}};
    if (db_run_wait(db, &spellings.job) != DB_OK)
        return error_set(error, spellings.job.error.code, "%s", spellings.job.error.text);
    return spellings.key[0] == '\0' || error_set(error, ERROR_REFUSED,
                                                 "t_id_gen has the key \"%s\" and the same without the slash "
                                                 "at its end: one directory, two sequences. "
                                                 "Give one of the two rows the higher id_value, delete the "
                                                 "other, and write the key in storage.paths "
                                                 "of every storage server as the one that stays",
                                                 spellings.key);
}

bool spellings_check_database(const struct packet_daemon_config *config, struct error *error)
{
    struct db *db = packet_daemon_open_database(config, error);
    bool fine = db && spellings_check(db, error);
    if (db)
        db_close(db);
    return fine;
}
