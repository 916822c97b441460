/*
 * meta_edit: the job that renames, or sets a time of expiry: the row is read, and written only as it was read. Runs on database threads, answers
 * on the caller's loop.
 */
#include "storage/rows/meta_edit.h"

#include "common/base/crash_point.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"

#include <stdlib.h>
#include <string.h>

#define EDIT_READS 3 /* of a row that others change at the same moment, before the pool pauses */

/* Is ROW one that may be changed? Else EDIT has the reason. */
static bool edit_applies(struct meta_edit *edit, const struct meta_row *row, bool former)
{
    if ((!former && !meta_row_ours(edit->meta, row, &edit->error)) || !meta_row_sound(row, &edit->error))
        return false;
    return row->state == META_STATE_NORMAL ||
           error_set(&edit->error, ERROR_DELETED, "file %s is deleted; restore it first", edit->key.file);
}

/* The answer to an UPDATE was lost, and others have changed the row since, perhaps after it was carried out: to do it
 * once more could undo a later change. */
static enum meta_result edit_unknown(struct meta_edit *edit)
{
    (void)error_set(&edit->error, ERROR_UNAVAILABLE,
                    "it is not known whether file %s was changed: the database's answer was lost, and others "
                    "have changed the file since",
                    edit->key.file);
    return META_FAILED;
}

/* Does the row differ from what is wanted? */
static bool edit_differs(const struct meta_edit *edit, const struct meta_row *row)
{
    if (edit->kind == META_EDIT_NAME)
        return strcmp(row->stat.name, edit->name) != 0;
    return edit->expires != 0 && row->stat.expires != edit->wanted;
}

/* When it is to expire, chosen once, however often the job is run. */
static enum db_result edit_date(struct meta_edit *edit, struct db_connection *connection, struct error *error)
{
    int64_t now = 0;
    enum db_result result = DB_OK;
    if (edit->dated || edit->kind != META_EDIT_EXPIRES)
        return DB_OK;
    if (edit->expires < 0)
        result = meta_now(edit->meta, connection, &now, error);
    edit->wanted = meta_expiry(edit->expires, now);
    edit->dated = result == DB_OK;
    return result;
}

/* Reads the row. *WANTED: it is to be written; else the result is set. */
static enum db_result edit_read(struct meta_edit *edit, struct db_connection *connection,
                                struct meta_row *row, bool *wanted, struct error *error)
{
    const struct meta *meta = edit->meta;
    bool found = false, former = false;
    enum db_result result = meta_sql_find(connection, meta->store, &edit->key, row, &found, error);
    *wanted = false;
    if (result == DB_OK && found) /* of a file that moves away both groups carry changes out */
        result = meta_move_is_former(connection, meta->store, meta->config->group, &edit->key, row, &former,
                                     error);
    if (result != DB_OK)
        return result;
    if (edit->uncertain && found && row->change_id == edit->change_id)
        edit->result = META_DONE; /* a run before this one did it, and its answer was lost */
    else if (edit->uncertain && (!found || row->change_id != edit->tried_id))
        edit->result = edit_unknown(edit);
    else if (!found || row->state == META_STATE_PURGING) /* the latter cannot come back */
        edit->result = META_ABSENT;
    else if (!edit_applies(edit, row, former)) /* a try whose answer was lost may still be on its way */
        edit->result = edit->uncertain ? edit_unknown(edit) : META_FAILED;
    else if (!edit_differs(edit, row))
        edit->result = META_DONE;
    else
        *wanted = true;
    return DB_OK;
}

static enum db_result edit_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_edit *edit = CONTAINER_OF(job, struct meta_edit, job);
    struct meta_row *row = &edit->row;
    enum db_result result = edit_date(edit, connection, error);
    for (int i = 0; result == DB_OK && i < EDIT_READS; i++) {
        bool wanted = false, changed = false;
        result = edit_read(edit, connection, row, &wanted, error);
        if (result != DB_OK || !wanted)
            return result;
        CRASH_POINT("rename-before-row");
        edit->tried_id = row->change_id;
        const bool names = edit->kind == META_EDIT_NAME;
        result = meta_sql_edit(connection, &edit->key, row, names ? edit->name : row->stat.name,
                               names ? row->stat.expires : edit->wanted, edit->change_id, &changed, error);
        edit->uncertain = edit->uncertain || result == DB_UNCERTAIN;
        if (result != DB_OK)
            return result;
        if (changed) {
            CRASH_POINT("rename-row-committed");
            edit->result = META_DONE;
            return DB_OK;
        }
    }
    if (result != DB_OK)
        return result;
    error_set(error, ERROR_UNAVAILABLE, "the row of file %s is being changed by others", edit->key.file);
    return DB_TRANSIENT;
}

static void meta_edit_done(struct db_job *job)
{
    struct meta_edit *edit = CONTAINER_OF(job, struct meta_edit, job);
    if (job->result != DB_OK) {
        edit->result = META_FAILED;
        meta_judge(edit->meta, job->result, &job->error, &edit->error);
    }
    if (edit->kind == META_EDIT_EXPIRES && edit->expires == 0)
        edit->wanted = edit->row.stat.expires;
    meta_forget(edit->meta, &edit->key);
    edit->done(edit);
}

bool meta_edit(struct meta *meta, struct meta_edit *edit, struct error *error)
{
    edit->meta = meta;
    edit->uncertain = edit->dated = false;
    arc4random_buf(&edit->change_id, sizeof(edit->change_id));
    meta_job_init(&edit->job, edit_run, meta_edit_done, edit->loop);
    return meta_run(meta, &edit->job, error);
}
