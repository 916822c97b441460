/*
 * notes: jobs over storage/upkeep/lease_sql.h.
 */
#include "storage/upkeep/notes.h"

#include <stdlib.h>
#include <string.h>

#define TAKE_TRIES 3

struct notes_job {
    struct db_job job;
    struct notes *notes;
    struct lease_row row;
    const char *text;
    int64_t done;
    bool take, ours;
};

static enum db_result notes_read_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct notes_job *read = CONTAINER_OF(job, struct notes_job, job);
    const struct notes *notes = read->notes;
    enum db_result result = DB_OK;
    read->ours = !read->take;
    for (int i = 0; result == DB_OK && i < TAKE_TRIES; i++) {
        result = lease_sql_read(connection, notes->name, &read->row, error);
        if (result == DB_OK && !read->ours)
            result = lease_sql_take(connection, notes->name, &read->row, notes->keeper->lease.owner,
                                    &read->ours, error);
        if (read->ours)
            break;
    }
    return result;
}

static enum db_result notes_store_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct notes_job *store = CONTAINER_OF(job, struct notes_job, job);
    const struct notes *notes = store->notes;
    return lease_sql_store(connection, notes->name, notes->keeper->lease.owner, store->text, store->done,
                           &store->ours, error);
}

void notes_init(struct notes *notes, struct keeper *keeper, const char *name)
{
    memset(notes, 0, sizeof(*notes));
    notes->keeper = keeper;
    snprintf(notes->name, sizeof(notes->name), "%s/%s", name, keeper->config->group);
}

static bool notes_get(struct notes *notes, bool take, struct error *error)
{
    struct notes_job *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the row %s", notes->name);
    job->job = (struct db_job){.run = notes_read_run, .idempotent = true};
    job->notes = notes;
    job->take = take;
    bool fine = keeper_run(notes->keeper, &job->job, error);
    if (fine)
        notes->row = job->row;
    if (fine && !job->ours)
        fine = error_set(error, ERROR_CANCELLED, "another member has taken the row %s", notes->name);
    free(job);
    return fine;
}

bool notes_read(struct notes *notes, struct error *error)
{
    return notes_get(notes, false, error);
}

bool notes_take(struct notes *notes, struct error *error)
{
    return notes_get(notes, true, error);
}

bool notes_store(struct notes *notes, json_t *progress, int64_t done, struct error *error)
{
    char *text = progress ? json_dumps(progress, JSON_COMPACT) : NULL;
    json_decref(progress);
    if (!text || strlen(text) >= LEASE_PROGRESS_SIZE) {
        free(text);
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the row %s", notes->name);
    }
    struct notes_job job = {
        .job = {.run = notes_store_run, .idempotent = true}, .notes = notes, .text = text, .done = done};
    bool fine = keeper_run(notes->keeper, &job.job, error);
    if (fine && !job.ours)
        fine = error_set(error, ERROR_CANCELLED, "another member has taken the row %s", notes->name);
    if (fine) {
        snprintf(notes->row.progress, sizeof(notes->row.progress), "%s", text);
        notes->row.done = max_i64(notes->row.done, done);
    }
    free(text);
    return fine;
}

json_t *notes_progress(const struct notes *notes)
{
    return json_loads(notes->row.progress, 0, NULL);
}

int64_t notes_number(const json_t *progress, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(progress, name));
}
