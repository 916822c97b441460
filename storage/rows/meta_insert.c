/*
 * meta_insert: the jobs that add a row, put it in a lost one's place and take it back. New rows go through
 * storage/rows/insert_batch.c; runs on database threads, answers on the caller's loop.
 */
#include "storage/rows/meta_insert.h"

#include "common/base/clock.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"
#include "storage/rows/quota.h"
#include "storage/store/store_glance.h"

#include <string.h>

_Static_assert(INSERT_BATCH_MAX <= META_SQL_MANY_MAX, "a batch goes into one call");

/* The file was left alone for so long that the clean-up may take it for a leftover. */
static bool is_late(struct meta_insert *insert, struct error *error)
{
    insert->late = insert->deadline_ms > 0 && clock_boot_ms() > insert->deadline_ms;
    if (insert->late)
        error_set(error, ERROR_UNAVAILABLE,
                  "the row was not added: its file has waited for too long (half of storage.leftover_age)");
    return insert->late;
}

/* When the file expires, chosen once, however often the job is run. */
static enum db_result insert_date(struct meta_insert *insert, struct db_connection *connection,
                                  struct error *error)
{
    int64_t *expires = &insert->row.stat.expires, now = 0;
    enum db_result result = DB_OK;
    if (*expires < 0)
        result = meta_now(insert->meta, connection, &now, error);
    if (result == DB_OK)
        *expires = meta_expiry(*expires, now);
    return result;
}

/*
 * The INSERT may be run again when the connection broke and nobody knows whether it counted: the unique index
 * lets only one of both through, and reading the row then shows whose it is. That is safer than reading
 * alone: a first INSERT that the database still works on cannot come in later and make a row of a file that
 * was removed meanwhile.
 */
static enum db_result insert_alone(struct insert_item *item, struct db_connection *connection,
                                   struct error *error)
{
    struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    if (is_late(insert, error))
        return DB_PERMANENT;
    const struct quota_amounts more = {insert->row.stat.size, 1};
    bool counted = false;
    enum db_result result = insert_date(insert, connection, error);
    if (result == DB_OK)
        result = quota_take(insert->meta, connection, &insert->key, more, &counted, error);
    if (result == DB_PERMANENT && error->code == ERROR_QUOTA)
        return DB_CONSTRAINT; /* unless it is a repetition: insert_settle() finds out */
    if (result == DB_OK)
        result = meta_sql_insert(connection, &insert->key, &insert->row, error);
    if (result != DB_CONSTRAINT || !counted)
        return result;
    enum db_result back = quota_give(insert->meta, connection, &insert->key, more, error);
    return back == DB_OK ? result : back;
}

static int compare_users(const struct proto_file_key *a, const struct proto_file_key *b)
{
    int order = strcmp(a->user, b->user);
    return order != 0 ? order : strcmp(a->application, b->application);
}

/* The files of the user that comes next after LAST (NULL: the first), of COUNT rows. NULL: that was the last. */
static const struct proto_file_key *next_user(const struct meta_sql_new *rows, size_t count,
                                              const struct proto_file_key *last, struct quota_amounts *more)
{
    const struct proto_file_key *next = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct proto_file_key *key = rows[i].key;
        if ((last && compare_users(key, last) <= 0) || (next && compare_users(key, next) > 0))
            continue;
        if (!next || compare_users(key, next) < 0)
            *more = (struct quota_amounts){0};
        next = key;
        more->bytes += rows[i].row->stat.size;
        more->files++;
    }
    return next;
}

/* In the order of the users, so that of two batches none waits for the other in a circle. */
static enum db_result count_together(struct meta *meta, const struct meta_sql_new *rows, size_t count,
                                     struct db_connection *connection, struct error *error)
{
    const struct proto_file_key *user = NULL;
    struct quota_amounts more = {0};
    enum db_result result = DB_OK;
    bool counted;
    while (result == DB_OK && (user = next_user(rows, count, user, &more)))
        result = quota_take(meta, connection, user, more, &counted, error);
    return result == DB_PERMANENT && error->code == ERROR_QUOTA ? DB_CONSTRAINT : result;
}

static enum db_result meta_insert_together(struct insert_item *const *items, size_t count,
                                           struct db_connection *connection, struct error *error)
{
    struct meta_sql_new rows[INSERT_BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        struct meta_insert *insert = CONTAINER_OF(items[i], struct meta_insert, item);
        if (is_late(insert, error))
            return DB_PERMANENT;
        enum db_result result = insert_date(insert, connection, error);
        if (result != DB_OK)
            return result;
        rows[i] = (struct meta_sql_new){.key = &insert->key, .row = &insert->row};
    }
    struct meta *meta = CONTAINER_OF(items[0], struct meta_insert, item)->meta;
    bool counts = false;
    enum db_result result = quota_counts(meta, connection, &counts, error);
    if (result == DB_OK && counts)
        result = count_together(meta, rows, count, connection, error);
    return result == DB_OK ? meta_sql_insert_many(connection, rows, count, error) : result;
}

/*
 * The database did not say what became of an earlier try, or another request had the same file. If that was committed, the row may
 * have been deleted and purged since: what was stored then would live again. The purge removes a file before its row, so a file that
 * is there while its key is free, or another's, was never purged, unless it is the former copy of a file that has moved to another group: that copy stays for
 * a while when the file is purged there, and has a row of its own, which is looked for first. Only in these two cases; where the volume does
 * not say in time whether the file is there, "it is not known" is the answer: a thread of the database does not wait for a volume.
 */
static enum db_result insert_never_purged(struct meta_insert *insert, struct db_connection *connection,
                                          struct error *error)
{
    const struct meta *meta = insert->meta;
    bool moved = false;
    int64_t size = -1;
    if (!insert->item.uncertain && !insert->shared)
        return DB_OK;
    enum db_result result = meta_move_has_former(connection, meta->store, meta->config->group, &insert->key,
                                                 insert->row.file_path, &moved, error);
    if (result != DB_OK)
        return result;
    bool fine = !moved && store_glance(insert->row.path, &insert->row.place, &size, error);
    if (moved || (fine && size != insert->row.stat.size))
        fine = error_set(error, ERROR_UNAVAILABLE,
                         insert->item.uncertain
                             ? "the database's answer was lost, and the file was removed since"
                             : "an earlier request may have stored the file, which was removed since");
    insert->purged = !fine;
    return fine ? DB_OK : DB_PERMANENT;
}

/* The file is counted, now that its row is there and surely nobody else's: so a repetition is never too much. UNCOUNTED: the user's files
 * are to be counted first. */
static enum db_result insert_count(struct meta_insert *insert, struct db_connection *connection,
                                   bool *uncounted, struct error *error)
{
    const struct quota_amounts more = {insert->row.stat.size, 1};
    bool counted;
    enum db_result result = quota_take(insert->meta, connection, &insert->key, more, &counted, error);
    *uncounted = result == DB_CONSTRAINT;
    insert->refused = result == DB_PERMANENT && error->code == ERROR_QUOTA;
    return *uncounted ? DB_TRANSIENT : result;
}

/* Does what the row relies on still hold? */
static enum db_result insert_relies(struct meta_insert *insert, struct db_connection *connection,
                                    struct error *error)
{
    bool holds = true;
    enum db_result result = insert->holds ? insert->holds(insert, connection, &holds, error) : DB_OK;
    if (result != DB_OK || holds)
        return result;
    insert->refused = true;
    return DB_PERMANENT;
}

/* In a transaction also where it is alone: an INSERT that the network keeps back and delivers when the file has long been
 * deleted and purged is then never committed. */
static enum db_result insert_once(struct meta_insert *insert, struct db_connection *connection,
                                  bool *uncounted, struct error *error)
{
    bool relaxed = insert->meta->config->durability == OPTIONS_RELAXED || insert->item.unsynced;
    enum db_result result = relaxed ? db_begin_relaxed(connection, error) : db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = insert_date(insert, connection, error);
    if (result == DB_OK)
        result = meta_sql_insert(connection, &insert->key, &insert->row, error);
    if (result == DB_OK) /* now that nobody else can take the key */
        result = insert_never_purged(insert, connection, error);
    if (result == DB_OK)
        result = insert_relies(insert, connection, error);
    const struct insert_journal *journal = insert->meta->journal;
    if (result == DB_OK && insert->item.sequence > 0)
        result = journal->mark(journal->argument, connection, insert->item.sequence, error);
    if (result == DB_OK)
        result = insert_count(insert, connection, uncounted, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static enum db_result insert_for_good(struct meta_insert *insert, struct db_connection *connection,
                                      struct error *error)
{
    bool uncounted = false;
    insert->refused = false;
    enum db_result result = insert_once(insert, connection, &uncounted, error);
    if (!uncounted)
        return result;
    result = quota_count_user(insert->meta, connection, &insert->key, error);
    return result == DB_OK ? insert_once(insert, connection, &uncounted, error) : result;
}

/* Whose row is there? FOUND false: nobody's. */
static enum db_result meta_look_at_rival(struct meta_insert *insert, struct db_connection *connection,
                                         bool *found, struct error *error)
{
    enum db_result result = meta_move_find(connection, insert->meta->store, insert->meta->config->group,
                                           &insert->key, &insert->other, found, error);
    if (result == DB_OK && *found) {
        bool same = strcmp(insert->other.file_path, insert->row.file_path) == 0;
        insert->outcome = same ? META_INSERTED : META_TAKEN;
        insert->met = same;
        if (same)
            insert->row.version = insert->other.version;
        else
            result = insert_never_purged(insert, connection, error);
    }
    return result;
}

static enum db_result insert_settle(struct insert_item *item, struct db_connection *connection,
                                    struct error *error)
{
    struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    bool found = false;
    enum db_result result = DB_CONSTRAINT;
    bool late = is_late(insert, error);
    if (late && !item->uncertain)
        return DB_PERMANENT;
    if (!late)
        result = insert_for_good(insert, connection, error);
    if (result == DB_OK)
        insert->outcome = META_INSERTED;
    item->added = result == DB_OK;
    if (result != DB_CONSTRAINT)
        return result;
    struct error reading = {0};
    result = meta_look_at_rival(insert, connection, &found, &reading);
    if (result != DB_OK) {
        *error = reading;
        return result;
    }
    item->added = found && insert->outcome == META_INSERTED;
    if (!found && late)
        return DB_PERMANENT;
    if (!found) /* it was purged this moment, or another rule of the table applies: one more try shows */
        return ++insert->refusals > 1 ? DB_PERMANENT : DB_TRANSIENT;
    return DB_OK;
}

static void end_insert(struct meta_insert *insert, enum db_result result, const struct error *cause,
                       bool uncertain, bool settled)
{
    struct meta *meta = insert->meta;
    struct row_key key;
    if (((insert->late || insert->purged || insert->refused) && result == DB_PERMANENT) ||
        insert->item.unwritten)
        insert->error = *cause;
    else
        meta_judge(meta, result, cause, &insert->error);
    if (result != DB_OK && insert->item.unwritten)
        insert->outcome = META_UNWRITTEN;
    else if (result != DB_OK)
        insert->outcome = uncertain ? META_UNKNOWN : META_NOT_DONE;
    else if (!settled)
        insert->outcome = META_INSERTED;
    row_key_make(&insert->key, &key);
    /* What is moved may be deleted, and so may a row that was there before; one that stays has its own name and time of expiry. */
    if (insert->outcome == META_INSERTED && !insert->replaces && !insert->met)
        row_cache_added(meta->cache, &key, insert->epoch, meta_row_kept(meta, &insert->row));
    else
        row_cache_changed(meta->cache, &key);
    insert->done(insert);
}

static void insert_done(struct insert_item *item)
{
    struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    end_insert(insert, item->result, &item->error, item->uncertain, item->settled);
}

/* The UPDATE, in one transaction with what it relies on, if anything. */
static enum db_result replace_row(struct meta_insert *insert, struct db_connection *connection, bool *changed,
                                  struct error *error)
{
    const char *group = insert->meta->config->group;
    if (!insert->holds)
        return meta_sql_replace(connection, &insert->key, group, insert->replaces, &insert->row, changed,
                                error);
    insert->refused = false;
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result =
        meta_sql_replace(connection, &insert->key, group, insert->replaces, &insert->row, changed, error);
    if (result == DB_OK && *changed)
        result = insert_relies(insert, connection, error);
    if (result == DB_OK && *changed)
        result = db_commit(connection, error);
    else
        db_rollback(connection);
    *changed = *changed && result == DB_OK;
    return result;
}

static enum db_result replace_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_insert *insert = CONTAINER_OF(job, struct meta_insert, job);
    const struct meta_row *seen = insert->replaces;
    bool found = false, changed = false;
    insert->row.stat.expires = seen->stat.expires; /* the row keeps it */
    if (is_late(insert, error) && !insert->item.uncertain)
        return DB_PERMANENT;
    enum db_result result = DB_OK;
    if (!insert->late && insert->moves_from)
        result = meta_move_switch(connection, insert->meta->store, &insert->key, insert->moves_from, seen,
                                  &insert->row, &changed, &insert->refused, error);
    else if (!insert->late)
        result = replace_row(insert, connection, &changed, error);
    insert->item.uncertain = insert->item.uncertain || result == DB_UNCERTAIN;
    if (changed) {
        insert->outcome = META_INSERTED;
        insert->anew = false;
        insert->row.version = seen->version;
    }
    if (result != DB_OK || changed)
        return result;
    result = meta_look_at_rival(insert, connection, &found, error);
    if (result != DB_OK || found)
        return result;
    /* Its row was purged since, which is why the file was not there: the ID is free. Unless the row may have got this file
     * first, which then was deleted and purged too. */
    if (!insert->item.uncertain && !insert->late && !insert->moves_from) {
        insert->anew = true;
        insert->row.stat.expires = insert->expires; /* not that of the file that is gone */
        result = insert_settle(&insert->item, connection, error);
        insert->item.uncertain = result == DB_UNCERTAIN;
        return result;
    }
    error_set(error, ERROR_UNAVAILABLE, "the row of file %s was removed meanwhile", insert->key.file);
    return DB_PERMANENT;
}

static void replace_done(struct db_job *job)
{
    struct meta_insert *insert = CONTAINER_OF(job, struct meta_insert, job);
    end_insert(insert, job->result, &job->error, insert->item.uncertain, true);
}

bool meta_insert(struct meta *meta, struct meta_insert *insert, struct error *error)
{
    pthread_mutex_lock(&meta->mutex);
    bool open = meta->db != NULL;
    pthread_mutex_unlock(&meta->mutex);
    if (!open)
        return error_set(error, ERROR_UNAVAILABLE, "the server is stopping");
    struct row_key key;
    row_key_make(&insert->key, &key);
    insert->meta = meta;
    insert->refusals = 0;
    insert->late = insert->purged = insert->refused = insert->anew = insert->met = false;
    insert->row.version = 0;
    insert->epoch = row_cache_epoch(meta->cache, &key);
    insert->expires = insert->row.stat.expires;
    insert->item = (struct insert_item){.insert = insert_alone,
                                        .insert_many = meta_insert_together,
                                        .settle = insert_settle,
                                        .done = insert_done,
                                        .promised = insert->content && !insert->replaces,
                                        .alone = insert->holds != NULL,
                                        .loop = insert->loop};
    if (insert->replaces) {
        meta_job_init(&insert->job, replace_run, replace_done, insert->loop);
        return meta_run(meta, &insert->job, error);
    }
    insert_batches_add(meta->batches, &insert->item);
    return true;
}

/* The row goes, and is not counted any more. */
static enum db_result meta_withdraw_row(struct meta_withdraw *withdraw, struct db_connection *connection,
                                        struct error *error)
{
    const struct quota_amounts less = {withdraw->row.stat.size, 1};
    bool removed = false;
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = meta_sql_remove(connection, &withdraw->key, &withdraw->row, &removed, error);
    if (result == DB_OK && removed)
        result = quota_give(withdraw->meta, connection, &withdraw->key, less, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static enum db_result withdraw_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_withdraw *withdraw = CONTAINER_OF(job, struct meta_withdraw, job);
    bool changed = false;
    if (withdraw->replaced)
        return meta_sql_replace(connection, &withdraw->key, withdraw->row.stat.group, &withdraw->row,
                                withdraw->replaced, &changed, error);
    if (withdraw->moves_from)
        return meta_move_back(connection, withdraw->meta->store, &withdraw->key, withdraw->moves_from,
                              &withdraw->row, error);
    return meta_withdraw_row(withdraw, connection, error);
}

static void withdraw_done(struct db_job *job)
{
    struct meta_withdraw *withdraw = CONTAINER_OF(job, struct meta_withdraw, job);
    struct row_key key;
    meta_judge(withdraw->meta, job->result, &job->error, &withdraw->error);
    withdraw->fine = job->result == DB_OK;
    row_key_make(&withdraw->key, &key);
    row_cache_changed(withdraw->meta->cache, &key);
    withdraw->done(withdraw);
}

bool meta_withdraw(struct meta *meta, struct meta_withdraw *withdraw, struct error *error)
{
    withdraw->meta = meta;
    meta_job_init(&withdraw->job, withdraw_run, withdraw_done, withdraw->loop);
    return meta_run(meta, &withdraw->job, error);
}
