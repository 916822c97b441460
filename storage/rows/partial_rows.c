/*
 * partial_rows: one struct, one job function for each of its uses.
 */
#include "storage/rows/partial_rows.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"
#include "storage/rows/quota.h"

#include <stdlib.h>
#include <string.h>

#define TAKE_READS 5 /* of a row that others take over at the same moment */

static struct partial_job *partial_of(struct db_job *job)
{
    return CONTAINER_OF(job, struct partial_job, job);
}

/* A refusal that is not the database's: it ends the job, with ERROR. */
static enum db_result partial_rows_refuse(struct partial_job *job)
{
    job->refused = true;
    return DB_PERMANENT;
}

static void partial_job_done(struct db_job *db_job)
{
    struct partial_job *job = partial_of(db_job);
    job->fine = db_job->result == DB_OK;
    if (job->refused)
        job->error = db_job->error;
    else
        meta_judge(job->meta, db_job->result, &db_job->error, &job->error);
    job->done(job);
}

static bool partial_start(struct partial_job *job,
                          enum db_result (*run)(struct db_job *, struct db_connection *, struct error *),
                          struct error *error)
{
    job->fine = job->uncertain = job->refused = false;
    memset(&job->error, 0, sizeof(job->error));
    meta_job_init(&job->job, run, partial_job_done, job->loop);
    return meta_run(job->meta, &job->job, error);
}

static enum db_result noted(struct partial_job *job, enum db_result result)
{
    job->uncertain = job->uncertain || result == DB_UNCERTAIN;
    return result;
}

static enum db_result taken_over(struct partial_job *job, struct error *error)
{
    error_set(error, ERROR_UNAVAILABLE, "another request has taken over the upload of file %s",
              job->key.file);
    return partial_rows_refuse(job);
}

static enum db_result waited_too_long(struct partial_job *job, struct error *error)
{
    error_set(error, ERROR_UNAVAILABLE,
              "nothing was recorded: its file has waited for too long (half of storage.leftover_age)");
    return partial_rows_refuse(job);
}

static enum db_result weigh(struct partial_job *job, struct db_connection *connection, struct error *error)
{
    if (!job->weighs)
        return DB_OK;
    enum db_result result = quota_look(job->meta, connection, &job->key, job->weight, job->row.token, error);
    return result == DB_PERMANENT && error->code == ERROR_QUOTA ? partial_rows_refuse(job) : result;
}

/* ---- adding ---- */

static enum db_result partial_add_run(struct db_job *db_job, struct db_connection *connection,
                                      struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    bool full = false;
    job->refused = false;
    if (clock_boot_ms() > job->deadline_ms)
        return waited_too_long(job, error);
    enum db_result result = weigh(job, connection, error);
    if (result != DB_OK)
        return result;
    result = partial_sql_add(connection, &job->row, &job->limits, &full, error);
    if (result == DB_OK && full)
        return partial_rows_refuse(job);
    return noted(job, result);
}

bool partial_rows_add(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_add_run, error);
}

/* ---- looking and taking ---- */

static bool same_key(const struct proto_file_key *a, const struct proto_file_key *b)
{
    return strcmp(a->application, b->application) == 0 && strcmp(a->user, b->user) == 0 &&
           strcmp(a->file, b->file) == 0;
}

static enum db_result partial_rows_read(struct partial_job *job, struct db_connection *connection,
                                        struct error *error)
{
    struct meta *meta = job->meta;
    char token[PARTIAL_HEX_SIZE];
    bool found = false;
    memcpy(token, job->row.token, sizeof(token));
    enum db_result result = partial_sql_find(connection, meta->store, token, &job->row, &found, error);
    memcpy(job->row.token, token, sizeof(token));
    if (result != DB_OK)
        return result;
    /* By ABORT, in a run before this one, whose answer was lost. */
    bool own = job->state == PARTIAL_PURGING && job->row.claim == job->claim;
    if (!found || !same_key(&job->row.key, &job->key) || (job->row.state == PARTIAL_PURGING && !own)) {
        error_set(error, ERROR_NOT_FOUND, "no partial upload of file %s with this token", job->key.file);
        return partial_rows_refuse(job);
    }
    if (strcmp(job->row.group, meta->config->group) != 0) {
        error_set_group(error, job->row.group,
                        "the upload belongs to another group, %s; this server belongs to group %s",
                        job->row.group, meta->config->group);
        return partial_rows_refuse(job);
    }
    return DB_OK;
}

static enum db_result partial_find_run(struct db_job *db_job, struct db_connection *connection,
                                       struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    job->refused = false;
    return partial_rows_read(job, connection, error);
}

bool partial_rows_find(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_find_run, error);
}

/* Whoever aborts a complete upload is referred to its file. Another one may have the ID by now, which does not matter here. */
static enum db_result its_file_is_there(struct partial_job *job, struct db_connection *connection,
                                        struct error *error)
{
    struct meta_row row;
    bool found = false;
    enum db_result result = meta_sql_find(connection, job->meta->store, &job->key, &row, &found, error);
    if (result != DB_OK || (found && strcmp(row.file_path, job->row.file_path) == 0))
        return result;
    error_set(error, ERROR_NOT_FOUND,
              "the upload of file %s is complete, and what has this file ID now is not what it stored",
              job->key.file);
    return partial_rows_refuse(job);
}

/* In SQLite without a sync: a power cut that takes this back ends everybody who could know of it, and what the taker commits later, which is
 * synced, brings it along. Not where the file is removed behind it. */
static enum db_result take_row(struct partial_job *job, struct db_connection *connection, bool *taken,
                               struct error *error)
{
    if (job->state == PARTIAL_PURGING || db_connection_backend(connection) != DB_BACKEND_SQLITE)
        return partial_sql_take(connection, &job->row, job->state, job->claim, taken, error);
    enum db_result result = db_begin_relaxed(connection, error);
    if (result != DB_OK)
        return result;
    result = partial_sql_take(connection, &job->row, job->state, job->claim, taken, error);
    if (result == DB_OK && *taken)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

/* What an earlier FINISH has stored may have moved to another group and been purged there. The file is the former copy then, which has a row of its
 * own and goes with it: it is only copied from. */
static enum db_result take_former(struct partial_job *job, struct db_connection *connection,
                                  struct error *error)
{
    const struct meta *meta = job->meta;
    bool former = false;
    if (!job->row.finishing && job->row.state != PARTIAL_FINISHING)
        return DB_OK;
    enum db_result result = meta_move_has_former(connection, meta->store, meta->config->group, &job->key,
                                                 job->row.file_path, &former, error);
    job->row.loose = job->row.loose || former;
    return result;
}

static enum db_result partial_take_run(struct db_job *db_job, struct db_connection *connection,
                                       struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    job->refused = false;
    for (int i = 0; i < TAKE_READS; i++) {
        bool taken = false;
        enum db_result result = partial_rows_read(job, connection, error);
        if (result != DB_OK)
            return result;
        if (job->row.claim == job->claim) /* by a run before this one, whose answer was lost */
            return DB_OK;
        if (job->state == PARTIAL_PURGING && job->row.state == PARTIAL_STORED &&
            (result = its_file_is_there(job, connection, error)) != DB_OK)
            return result;
        if (!job->allowed(job, error))
            return partial_rows_refuse(job);
        result = weigh(job, connection, error);
        if (result != DB_OK)
            return result;
        if (job->state == PARTIAL_STORED) /* nothing is to be taken: ALLOWED found it so */
            return DB_OK;
        result = take_former(job, connection, error);
        if (result == DB_OK)
            result = take_row(job, connection, &taken, error);
        if (result != DB_OK || taken)
            return noted(job, result);
    }
    error_set(error, ERROR_UNAVAILABLE, "other requests keep taking over the upload of file %s",
              job->key.file);
    return partial_rows_refuse(job);
}

bool partial_rows_take(struct partial_job *job, struct error *error)
{
    do
        arc4random_buf(&job->claim, sizeof(job->claim));
    while (job->claim == 0);
    return partial_start(job, partial_take_run, error);
}

/* ---- what is recorded ---- */

static enum db_result partial_record_run(struct db_job *db_job, struct db_connection *connection,
                                         struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    bool recorded = false;
    job->refused = false;
    enum db_result result =
        partial_sql_record(connection, &job->row, job->state, job->release, &recorded, error);
    if (result == DB_OK && !recorded)
        return taken_over(job, error);
    /* Others of the user's have come further meanwhile. */
    if (result == DB_OK && !job->release)
        return weigh(job, connection, error);
    return noted(job, result);
}

bool partial_rows_record(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_record_run, error);
}

static enum db_result partial_move_run(struct db_job *db_job, struct db_connection *connection,
                                       struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    bool moved = false;
    job->refused = false;
    if (clock_boot_ms() > job->deadline_ms)
        return waited_too_long(job, error);
    enum db_result result = partial_sql_move(connection, &job->row, &moved, error);
    if (result == DB_OK && !moved)
        return taken_over(job, error);
    return noted(job, result);
}

bool partial_rows_move(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_move_run, error);
}

static enum db_result partial_store_run(struct db_job *db_job, struct db_connection *connection,
                                        struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    bool stored = false;
    job->refused = false;
    enum db_result result = partial_sql_store(connection, &job->row, &stored, error);
    if (result == DB_OK && !stored)
        return taken_over(job, error);
    return noted(job, result);
}

bool partial_rows_store(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_store_run, error);
}

static enum db_result partial_remove_run(struct db_job *db_job, struct db_connection *connection,
                                         struct error *error)
{
    struct partial_job *job = partial_of(db_job);
    return partial_sql_remove(connection, job->row.token, 0, error);
}

bool partial_rows_remove(struct partial_job *job, struct error *error)
{
    return partial_start(job, partial_remove_run, error);
}

/* ---- kept alive ---- */

/* In one transaction: a file of many parts costs one sync. */
static enum db_result keep_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct partial_keeping *keeping = CONTAINER_OF(job, struct partial_keeping, job);
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    for (size_t i = 0; result == DB_OK && i < keeping->count; i++)
        result = partial_sql_keep(connection, &keeping->rows[i], error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static void keep_done(struct db_job *job)
{
    struct partial_keeping *keeping = CONTAINER_OF(job, struct partial_keeping, job);
    struct error ignored;
    meta_judge(keeping->meta, job->result, &job->error, &ignored);
    keeping->done(keeping);
}

bool partial_rows_keep(struct partial_keeping *keeping, struct error *error)
{
    meta_job_init(&keeping->job, keep_run, keep_done, keeping->loop);
    return meta_run(keeping->meta, &keeping->job, error);
}

/* ---- parts ---- */

static enum db_result refuse_part(struct partial_parts *parts)
{
    parts->judged = true;
    return DB_PERMANENT;
}

/* Row NUMBER as it is now, if it may be joined. */
static enum db_result check_part(struct partial_parts *parts, size_t number, struct db_connection *connection,
                                 struct error *error)
{
    struct partial_row *row = &parts->rows[number];
    struct meta *meta = parts->meta;
    char token[PARTIAL_HEX_SIZE];
    bool found = false;
    memcpy(token, row->token, sizeof(token));
    enum db_result result = partial_sql_find(connection, meta->store, token, row, &found, error);
    memcpy(row->token, token, sizeof(token));
    if (result != DB_OK)
        return result;
    if (!found || row->state != PARTIAL_OPEN || strcmp(row->key.application, parts->key.application) != 0 ||
        strcmp(row->key.user, parts->key.user) != 0 || strcmp(row->group, meta->config->group) != 0)
        error_set(error, ERROR_NOT_FOUND, "part %zu is not an open partial upload of this user", number + 1);
    else if (!row->path)
        error_set(error, ERROR_IO, "part %zu lies at %s, which is no store path here", number + 1,
                  row->file_path);
    else if (row->size >= 0 && row->offset < row->size)
        error_set(error, ERROR_RANGE, "part %zu has %lld of its %lld bytes", number + 1,
                  (long long)row->offset, (long long)row->size);
    else if (__builtin_add_overflow(parts->bytes, row->offset, &parts->bytes))
        error_set(error, ERROR_RANGE, "the parts have more bytes than a file can");
    else
        return DB_OK;
    return refuse_part(parts);
}

static enum db_result take_part(struct partial_parts *parts, size_t number, struct db_connection *connection,
                                struct error *error)
{
    struct partial_row *row = &parts->rows[number];
    bool taken = row->claim == parts->claim; /* by a run before this one */
    if (taken)
        return DB_OK;
    enum db_result result = partial_sql_take(connection, row, PARTIAL_OPEN, parts->claim, &taken, error);
    if (result != DB_OK || taken)
        return result;
    error_set(error, ERROR_UNAVAILABLE, "part %zu changed while it was looked at", number + 1);
    return refuse_part(parts);
}

static enum db_result take_parts_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct partial_parts *parts = CONTAINER_OF(job, struct partial_parts, job);
    enum db_result result = DB_OK;
    parts->bytes = 0;
    parts->judged = false;
    for (size_t i = 0; result == DB_OK && i < parts->count; i++)
        result = check_part(parts, i, connection, error);
    for (size_t i = 0; result == DB_OK && i < parts->count; i++)
        result = take_part(parts, i, connection, error);
    return result;
}

static enum db_result purge_parts_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct partial_parts *parts = CONTAINER_OF(job, struct partial_parts, job);
    enum db_result result = DB_OK;
    bool recorded;
    parts->judged = false;
    for (size_t i = 0; result == DB_OK && i < parts->count; i++) {
        parts->rows[i].state = PARTIAL_PURGING;
        result = partial_sql_record(connection, &parts->rows[i], PARTIAL_OPEN, false, &recorded, error);
    }
    return result;
}

static void partial_parts_done(struct db_job *job)
{
    struct partial_parts *parts = CONTAINER_OF(job, struct partial_parts, job);
    parts->fine = job->result == DB_OK;
    if (parts->judged)
        parts->error = job->error;
    else
        meta_judge(parts->meta, job->result, &job->error, &parts->error);
    parts->done(parts);
}

bool partial_rows_take_parts(struct partial_parts *parts, struct error *error)
{
    meta_job_init(&parts->job, take_parts_run, partial_parts_done, parts->loop);
    return meta_run(parts->meta, &parts->job, error);
}

bool partial_rows_purge_parts(struct partial_parts *parts, struct error *error)
{
    meta_job_init(&parts->job, purge_parts_run, partial_parts_done, parts->loop);
    return meta_run(parts->meta, &parts->job, error);
}
