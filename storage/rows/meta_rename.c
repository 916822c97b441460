/*
 * meta_rename: the job that renames: the row is read, and written only as it was read. Runs on database threads, answers
 * on the caller's loop.
 */
#include "storage/rows/meta_rename.h"

#include "common/base/crash_point.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"

#include <stdlib.h>
#include <string.h>

#define RENAME_READS 3 /* of a row that others change at the same moment, before the pool pauses */

/* Is ROW one that may be renamed? Else RENAME has the reason. */
static bool rename_applies(struct meta_rename *rename, const struct meta_row *row, bool former)
{
    if ((!former && !meta_row_ours(rename->meta, row, &rename->error)) ||
        !meta_row_sound(row, &rename->error))
        return false;
    return row->state == META_STATE_NORMAL ||
           error_set(&rename->error, ERROR_DELETED, "file %s is deleted; restore it to rename it",
                     rename->key.file);
}

/* The answer to an UPDATE was lost, and others have changed the row since, perhaps after it was carried out: to rename once
 * more could undo a later rename. */
static enum meta_result rename_unknown(struct meta_rename *rename)
{
    (void)error_set(&rename->error, ERROR_UNAVAILABLE,
                    "it is not known whether file %s was renamed: the database's answer was lost, and others "
                    "have changed the file since",
                    rename->key.file);
    return META_FAILED;
}

/* Reads the row. *WANTED: it is to be written; else the result is set. */
static enum db_result rename_read(struct meta_rename *rename, struct db_connection *connection,
                                  struct meta_row *row, bool *wanted, struct error *error)
{
    const struct meta *meta = rename->meta;
    bool found = false, former = false;
    enum db_result result = meta_sql_find(connection, meta->store, &rename->key, row, &found, error);
    *wanted = false;
    if (result == DB_OK && found) /* of a file that moves away both groups carry changes out */
        result = meta_move_is_former(connection, meta->store, meta->config->group, &rename->key, row, &former,
                                     error);
    if (result != DB_OK)
        return result;
    if (rename->uncertain && found && row->change_id == rename->change_id)
        rename->result = META_DONE; /* a run before this one did it without our hearing of it */
    else if (rename->uncertain && (!found || row->change_id != rename->tried_id))
        rename->result = rename_unknown(rename);
    else if (!found || row->state == META_STATE_PURGING) /* of the latter there is no way back */
        rename->result = META_ABSENT;
    else if (!rename_applies(rename, row, former))
        rename->result = META_FAILED;
    else if (strcmp(row->stat.name, rename->name) == 0)
        rename->result = META_DONE;
    else
        *wanted = true;
    return DB_OK;
}

static enum db_result rename_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_rename *rename = CONTAINER_OF(job, struct meta_rename, job);
    struct meta_row row;
    for (int i = 0; i < RENAME_READS; i++) {
        bool wanted = false, changed = false;
        enum db_result result = rename_read(rename, connection, &row, &wanted, error);
        if (result != DB_OK || !wanted)
            return result;
        CRASH_POINT("rename-before-row");
        rename->tried_id = row.change_id;
        result =
            meta_sql_rename(connection, &rename->key, &row, rename->name, rename->change_id, &changed, error);
        rename->uncertain = rename->uncertain || result == DB_UNCERTAIN;
        if (result != DB_OK)
            return result;
        if (changed) {
            CRASH_POINT("rename-row-committed");
            rename->result = META_DONE;
            return DB_OK;
        }
    }
    error_set(error, ERROR_UNAVAILABLE, "the row of file %s is being changed by others", rename->key.file);
    return DB_TRANSIENT;
}

static void meta_rename_done(struct db_job *job)
{
    struct meta_rename *rename = CONTAINER_OF(job, struct meta_rename, job);
    if (job->result != DB_OK) {
        rename->result = META_FAILED;
        meta_judge(rename->meta, job->result, &job->error, &rename->error);
    }
    meta_forget(rename->meta, &rename->key);
    rename->done(rename);
}

bool meta_rename(struct meta *meta, struct meta_rename *rename, struct error *error)
{
    rename->meta = meta;
    rename->uncertain = false;
    arc4random_buf(&rename->change_id, sizeof(rename->change_id));
    meta_job_init(&rename->job, rename_run, meta_rename_done, rename->loop);
    return meta_run(meta, &rename->job, error);
}
