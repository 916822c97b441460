/*
 * meta_change: the jobs that delete and restore: the row is read, and changed only as it was read. Runs on database
 * threads, answers on the caller's loop.
 */
#include "storage/rows/meta_change.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"

#include <stdlib.h>
#include <string.h>

#define CHANGE_READS 3 /* of a row that others change at the same moment, before the pool pauses */

/* Is a row in STATE one that may be changed to what is wanted? A damaged row is given up by DELETE. */
static bool change_applies(const struct meta_change *change, int64_t state)
{
    if (change->status == PROTO_FILE_DELETED)
        return state == META_STATE_NORMAL || state == META_STATE_DAMAGED;
    return state == META_STATE_DELETED;
}

/* A run before this one has done it, and its answer was lost. */
static bool is_own_change(const struct meta_change *change)
{
    return change->runs > 1 && change->row.stat.status == change->status &&
           change->row.change_id == change->change_id;
}

/* The row is what an UPDATE named whose answer was lost: it was not carried out, since every change leaves another
 * change_id. Version and state alone may be those of before: two deletions in one second leave the same. */
static bool is_as_tried(const struct meta_change *change)
{
    const struct meta_row *now = &change->row, *tried = &change->tried;
    return now->state == tried->state && now->version == tried->version &&
           now->change_id == tried->change_id && strcmp(now->file_path, tried->file_path) == 0;
}

/* The answer to an UPDATE was lost, and the row is neither what it left nor what it named: it may have been carried out
 * before somebody else changed the row, or removed it. To change it again would be a second change. Or the row is what it
 * named, but another group's by now: it may still be on its way. */
static enum meta_change_outcome judge_uncertain(struct meta_change *change)
{
    error_set(
        &change->error, ERROR_UNAVAILABLE,
        "it is not known whether file %s was %s: the database's answer was lost, and others have changed "
        "the file since",
        change->key.file, change->status == PROTO_FILE_DELETED ? "deleted" : "restored");
    return META_UNCHANGED;
}

/* The row is there, and there is nothing to change. */
static enum meta_change_outcome judge_unchanged(struct meta_change *change)
{
    bool deleting = change->status == PROTO_FILE_DELETED;
    if (!deleting && change->row.state == META_STATE_PURGING)
        return META_NO_ROW; /* there is no way back any more */
    if (!deleting && !meta_row_sound(&change->row, &change->error))
        return META_UNCHANGED;
    return META_ALREADY;
}

/* Reads the row. *WANTED: it is to be changed; else the outcome is set. */
static enum db_result read_before_change(struct meta_change *change, struct db_connection *connection,
                                         bool *wanted, struct error *error)
{
    struct meta *meta = change->meta;
    bool found = false, former = false;
    enum db_result result = meta_sql_find(connection, meta->store, &change->key, &change->row, &found, error);
    *wanted = false;
    if (result == DB_OK && found) /* of a file that moves away both groups carry changes out */
        result = meta_move_is_former(connection, meta->store, meta->config->group, &change->key, &change->row,
                                     &former, error);
    if (result != DB_OK)
        return result;
    const bool ours = former || (found && meta_row_ours(meta, &change->row, &change->error));
    if (found && is_own_change(change))
        change->outcome = META_CHANGED; /* whoever has the file by now */
    else if (change->uncertain && (!ours || !is_as_tried(change)))
        change->outcome = judge_uncertain(change);
    else if (!found)
        change->outcome = META_NO_ROW;
    else if (!ours)
        change->outcome = META_FOREIGN;
    else if (!change_applies(change, change->row.state))
        change->outcome = judge_unchanged(change);
    else
        *wanted = true;
    return DB_OK;
}

/* What was changed is the row as it was read: the statement named it. */
static void note_changed(struct meta_change *change)
{
    bool deleting = change->status == PROTO_FILE_DELETED;
    change->row.stat.status = (uint8_t)change->status;
    change->row.stat.deleted = deleting ? change->version : 0;
    change->row.state = meta_state_changed(change->row.state, change->status);
    change->row.version = change->version;
    change->row.change_id = change->change_id;
    change->outcome = META_CHANGED;
}

/* What is deleted is kept for a time that begins at the later of both clocks. The time of one deletion is chosen once, however
 * often it is run. That a restoration takes a time of expiry away which has passed is decided by the same clock. */
static enum db_result date_change(struct meta_change *change, struct db_connection *connection,
                                  struct error *error)
{
    if (change->dated)
        return DB_OK;
    enum db_result result = meta_now(change->meta, connection, &change->now, error);
    if (result == DB_OK && change->status == PROTO_FILE_DELETED)
        change->version = max_i64(change->version, change->now);
    change->dated = result == DB_OK;
    return result;
}

static enum db_result change_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_change *change = CONTAINER_OF(job, struct meta_change, job);
    bool deleting = change->status == PROTO_FILE_DELETED;
    bool changed = false;
    change->runs++;
    enum db_result result = date_change(change, connection, error);
    if (result != DB_OK)
        return result;
    for (int i = 0; i < CHANGE_READS && !changed; i++) {
        bool wanted = false;
        result = read_before_change(change, connection, &wanted, error);
        if (result != DB_OK || !wanted)
            return result;
        if (deleting)
            CRASH_POINT("delete-before-row");
        else
            CRASH_POINT("restore-before-row");
        const char *group = change->row.stat.group;
        result = meta_sql_set_status(
            connection, &change->key, group[0] != '\0' ? group : change->meta->config->group, &change->row,
            change->status, change->version, change->change_id, deleting ? 0 : change->now, &changed, error);
        if (result == DB_UNCERTAIN) {
            change->uncertain = true;
            change->tried = change->row;
        }
        if (result != DB_OK)
            return result;
        if (deleting)
            CRASH_POINT("delete-row-committed");
        else
            CRASH_POINT("restore-row-committed");
    }
    if (!changed) {
        error_set(error, ERROR_UNAVAILABLE, "the row of file %s is being changed by others",
                  change->key.file);
        return DB_TRANSIENT;
    }
    note_changed(change);
    return DB_OK;
}

static void meta_change_done(struct db_job *job)
{
    struct meta_change *change = CONTAINER_OF(job, struct meta_change, job);
    struct row_key key;
    if (job->result != DB_OK)
        change->outcome = META_UNCHANGED;
    meta_judge(change->meta, job->result, &job->error, &change->error);
    row_key_make(&change->key, &key);
    row_cache_changed(change->meta->cache, &key);
    change->done(change);
}

bool meta_change(struct meta *meta, struct meta_change *change, struct error *error)
{
    change->meta = meta;
    change->version = change->status == PROTO_FILE_DELETED ? clock_wall_seconds() : -clock_wall_us();
    arc4random_buf(&change->change_id, sizeof(change->change_id));
    change->runs = 0;
    change->dated = change->uncertain = false;
    meta_job_init(&change->job, change_run, meta_change_done, change->loop);
    return meta_run(meta, &change->job, error);
}
