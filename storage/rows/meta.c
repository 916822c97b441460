/*
 * meta: the jobs over storage/rows/meta_sql.c that look rows up, add, change and list them, before
 * storage/rows/row_cache.c. Look-ups under way are shared behind one mutex.
 */
#include "storage/rows/meta.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "storage/rows/row_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ROOM         "meta"
#define BATCHES_MAX  4 /* transactions of new rows at once */
#define LOOK_SECONDS 1
#define TIME_AGE_MS  60000 /* how long an answer about the database's clock will do */
#define CHANGE_READS 3     /* of a row that others change at the same moment, before the pool pauses */

/* One query under way and everybody who waits for it. */
struct lookup {
    struct meta *meta;
    struct db_job job;
    struct proto_file_key file_key;
    struct row_key key;
    uint64_t epoch; /* of the key when the query was asked for */
    struct wait_list waiting;
    bool found;
    bool listed; /* others may join */
    struct meta_row row;
    UT_hash_handle hh;
};

struct meta {
    const struct storage_config *config;
    const struct store *store;
    struct loop *loop;
    struct db *db;
    struct insert_batches *batches;
    struct row_cache *cache;
    pthread_mutex_t mutex;
    struct lookup *lookups;
    atomic_llong ask_time_ms, time_offset; /* the database's clock: see date_deletion() */
    atomic_bool away; /* the database cannot be reached: the pool says so, and tries by itself */
    struct event *timer;
};

/* ---- cache ---- */

/* The row where it may be kept. */
static const struct meta_row *row_of_ours(const struct meta *meta, const struct meta_row *row)
{
    return meta_row_ours(meta, row, NULL) ? row : NULL;
}

bool meta_find_cached(struct meta *meta, const struct proto_file_key *file_key, struct meta_row *row)
{
    struct row_key key;
    row_key_make(file_key, &key);
    if (row_cache_get(meta->cache, file_key, &key, row) ||
        (atomic_load(&meta->away) && row_cache_get_stale(meta->cache, file_key, &key, row)))
        return true;
    row_cache_missed(meta->cache);
    return false;
}

bool meta_row_ours(const struct meta *meta, const struct meta_row *row, struct error *error)
{
    if (row->stat.group[0] == '\0' || strcmp(row->stat.group, meta->config->group) == 0)
        return true;
    return error_set(error, ERROR_OTHER_GROUP,
                     "the file belongs to another group, %s; this server is of group %s", row->stat.group,
                     meta->config->group);
}

bool meta_row_sound(const struct meta_row *row, struct error *error)
{
    return !meta_state_is_damaged(row->state) ||
           error_set(error, ERROR_IO, "file %s was found missing or damaged and is kept out of service",
                     row->file);
}

void meta_forget(struct meta *meta, const struct proto_file_key *file_key)
{
    struct row_key key;
    row_key_make(file_key, &key);
    row_cache_changed(meta->cache, &key);
}

/* ---- jobs ---- */

static void start_job(struct db_job *job,
                      enum db_result (*run)(struct db_job *, struct db_connection *, struct error *),
                      void (*done)(struct db_job *), struct loop *loop)
{
    *job = (struct db_job){.run = run, .done = done, .loop = loop, .idempotent = true};
}

/* The mutex is held: nobody submits while the database is being closed. */
static bool meta_submit(struct meta *meta, struct db_job *job, struct error *error)
{
    if (!meta->db)
        return error_set(error, ERROR_UNAVAILABLE, "the server is stopping");
    return db_submit(meta->db, job) ||
           error_set(error, ERROR_UNAVAILABLE, "too many requests are waiting for the database");
}

static bool lock_and_submit(struct meta *meta, struct db_job *job, struct error *error)
{
    pthread_mutex_lock(&meta->mutex);
    bool taken = meta_submit(meta, job, error);
    pthread_mutex_unlock(&meta->mutex);
    return taken;
}

enum db_result meta_run_wait(struct meta *meta, struct db_job *job)
{
    pthread_mutex_lock(&meta->mutex);
    struct db *db = meta->db;
    pthread_mutex_unlock(&meta->mutex);
    if (db)
        return db_run_wait(db, job);
    job->result = DB_TRANSIENT;
    error_set(&job->error, ERROR_UNAVAILABLE, "the server is stopping");
    return job->result;
}

struct has_rows {
    struct db_job job;
    const char *key;
    bool has;
};

static enum db_result has_rows_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct has_rows *asked = CONTAINER_OF(job, struct has_rows, job);
    return meta_sql_has_rows(connection, asked->key, &asked->has, error);
}

bool meta_has_rows(struct meta *meta, const char *key, bool *known)
{
    struct has_rows asked = {.job = {.run = has_rows_run, .idempotent = true}, .key = key};
    *known = meta_run_wait(meta, &asked.job) == DB_OK;
    return asked.has;
}

bool meta_run(struct meta *meta, struct db_job *job, struct error *error)
{
    return lock_and_submit(meta, job, error);
}

static void look_at_database(struct meta *meta)
{
    char reason[ERROR_TEXT_SIZE];
    bool away = !meta_healthy(meta, reason, sizeof(reason));
    bool was_away = atomic_exchange(&meta->away, away);
    if (away && !was_away)
        log_error(ROOM, "%s: rows are served from memory, nothing is stored", reason);
    else if (was_away && !away)
        log_info(ROOM, "the database answers again");
}

/* Words the failure. */
static void judge_result(struct meta *meta, enum db_result result, const struct error *cause,
                         struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed;
    if (result == DB_OK)
        return;
    if (result == DB_TRANSIENT || result == DB_UNCERTAIN)
        look_at_database(meta);
    if (log_gate_open(&gate, 5000, &suppressed))
        log_error(ROOM, "database: %s (%llu more since the last line)", cause->text,
                  (unsigned long long)suppressed);
    /* That its disk is full is worth telling from any other failure. */
    int code = cause->code == ERROR_NO_SPACE ? ERROR_NO_SPACE : db_error_code(result);
    error_set(error, code, "the database failed: %s", cause->text);
}

static void judge_job(struct meta *meta, const struct db_job *job, struct error *error)
{
    judge_result(meta, job->result, &job->error, error);
}

static enum db_result meta_lookup_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct lookup *lookup = CONTAINER_OF(job, struct lookup, job);
    return meta_sql_find(connection, lookup->meta->store, &lookup->file_key, &lookup->row, &lookup->found,
                         error);
}

static void find_answered(struct wait *wait, enum wait_end end)
{
    struct meta_find *find = CONTAINER_OF(wait, struct meta_find, wait);
    (void)end; /* the database has its own time limits */
    find->done(find);
}

static void join_lookup(struct lookup *lookup, struct meta_find *find)
{
    find->wait = (struct wait){.loop = find->loop, .done = find_answered};
    ASSERT(wait_enter(&lookup->waiting, &find->wait, 0)); /* without a timer it cannot fail */
}

static void answer_find(const struct lookup *lookup, struct meta_find *find, const struct error *error)
{
    if (lookup->job.result != DB_OK && find->stale_fine &&
        row_cache_get_stale(lookup->meta->cache, &find->key, &lookup->key, &find->row)) {
        find->result = META_DONE;
    } else if (lookup->job.result != DB_OK) {
        find->result = META_FAILED;
        find->error = *error;
    } else if (!lookup->found) {
        find->result = META_ABSENT;
    } else {
        find->result = META_DONE;
        find->row = lookup->row;
    }
    wait_answer(&find->wait);
}

static void unlist_lookup(struct meta *meta, struct lookup *lookup)
{
    if (lookup->listed)
        HASH_DEL(meta->lookups, lookup);
    lookup->listed = false;
}

static void meta_lookup_done(struct db_job *job)
{
    struct lookup *lookup = CONTAINER_OF(job, struct lookup, job);
    struct meta *meta = lookup->meta;
    struct wait *wait;
    struct error error = {0};
    judge_job(meta, job, &error);
    pthread_mutex_lock(&meta->mutex);
    unlist_lookup(meta, lookup);
    pthread_mutex_unlock(&meta->mutex);
    if (job->result == DB_OK)
        row_cache_learn(meta->cache, &lookup->key, lookup->epoch,
                        lookup->found ? row_of_ours(meta, &lookup->row) : NULL);
    while ((wait = wait_list_take(&lookup->waiting))) /* nobody else knows of it any more */
        answer_find(lookup, CONTAINER_OF(wait, struct meta_find, wait), &error);
    free(lookup);
}

bool meta_find(struct meta *meta, struct meta_find *find, struct error *error)
{
    struct row_key key;
    struct lookup *lookup = NULL;
    row_key_make(&find->key, &key);
    pthread_mutex_lock(&meta->mutex);
    uint64_t epoch = row_cache_epoch(meta->cache, &key);
    HASH_FIND(hh, meta->lookups, key.bytes, key.size, lookup);
    if (lookup && lookup->epoch == epoch && !find->fresh) {
        join_lookup(lookup, find);
        pthread_mutex_unlock(&meta->mutex);
        return true;
    }
    if (lookup) /* it may see the row as it was before a change, here or elsewhere */
        unlist_lookup(meta, lookup);
    lookup = calloc(1, sizeof(*lookup));
    bool taken = false;
    if (lookup) {
        lookup->meta = meta;
        lookup->file_key = find->key;
        lookup->key = key;
        lookup->epoch = epoch;
        wait_list_init(&lookup->waiting, &meta->mutex, NULL);
        join_lookup(lookup, find);
        start_job(&lookup->job, meta_lookup_run, meta_lookup_done, find->loop);
        HASH_ADD_KEYPTR(hh, meta->lookups, lookup->key.bytes, lookup->key.size, lookup);
        lookup->listed = HASH_ADDED(hh, lookup); /* without memory nobody can join it */
        taken = meta_submit(meta, &lookup->job, error);
        if (!taken) {
            unlist_lookup(meta, lookup);
            (void)wait_leave(&find->wait);
            free(lookup);
        }
    } else {
        error_set(error, ERROR_UNAVAILABLE, "no memory for a look-up");
    }
    pthread_mutex_unlock(&meta->mutex);
    return taken;
}

/* The file was left alone for so long that the clean-up may take it for a leftover. */
static bool is_late(struct meta_insert *insert, struct error *error)
{
    insert->late = insert->deadline_ms > 0 && clock_boot_ms() > insert->deadline_ms;
    if (insert->late)
        error_set(error, ERROR_UNAVAILABLE,
                  "the row was not added: its file has waited for too long (half of storage.leftover_age)");
    return insert->late;
}

/*
 * The INSERT may be run again when the connection broke and nobody knows whether it counted: the unique index
 * lets only one of both through, and reading the row then tells whose it is. That is safer than reading
 * alone: a first INSERT that the database still works on cannot come in later and make a row of a file that
 * was removed meanwhile.
 */
static enum db_result insert_alone(struct insert_item *item, struct db_connection *connection,
                                   struct error *error)
{
    struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    if (is_late(insert, error))
        return DB_PERMANENT;
    return meta_sql_insert(connection, &insert->key, &insert->row, error);
}

/* In a transaction also where it is alone: an INSERT that the network keeps back and delivers when the file has long been
 * deleted and purged is then never committed. */
static enum db_result insert_for_good(struct meta_insert *insert, struct db_connection *connection,
                                      struct error *error)
{
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    result = meta_sql_insert(connection, &insert->key, &insert->row, error);
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

/* Whose row is there? FOUND false: nobody's. */
static enum db_result meta_look_at_rival(struct meta_insert *insert, struct db_connection *connection,
                                         bool *found, struct error *error)
{
    enum db_result result =
        meta_sql_find(connection, insert->meta->store, &insert->key, &insert->other, found, error);
    if (result == DB_OK && *found) {
        bool same = strcmp(insert->other.file_path, insert->row.file_path) == 0;
        insert->outcome = same ? META_INSERTED : META_TAKEN;
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
    if (result != DB_CONSTRAINT)
        return result;
    struct error reading = {0};
    result = meta_look_at_rival(insert, connection, &found, &reading);
    if (result != DB_OK) {
        *error = reading;
        return result;
    }
    if (!found && late)
        return DB_PERMANENT;
    if (!found) /* it was purged this moment, or another rule of the table speaks: one more try tells */
        return ++insert->refusals > 1 ? DB_PERMANENT : DB_TRANSIENT;
    return DB_OK;
}

static void end_insert(struct meta_insert *insert, enum db_result result, const struct error *cause,
                       bool uncertain, bool settled)
{
    struct meta *meta = insert->meta;
    struct row_key key;
    if (insert->late && result == DB_PERMANENT)
        insert->error = *cause;
    else
        judge_result(meta, result, cause, &insert->error);
    if (result != DB_OK)
        insert->outcome = uncertain ? META_UNKNOWN : META_NOT_DONE;
    else if (!settled)
        insert->outcome = META_INSERTED;
    row_key_make(&insert->key, &key);
    if (insert->outcome == META_INSERTED)
        row_cache_added(meta->cache, &key, insert->epoch, row_of_ours(meta, &insert->row));
    else
        row_cache_changed(meta->cache, &key);
    insert->done(insert);
}

static void insert_done(struct insert_item *item)
{
    struct meta_insert *insert = CONTAINER_OF(item, struct meta_insert, item);
    end_insert(insert, item->result, &item->error, item->uncertain, item->settled);
}

static enum db_result replace_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_insert *insert = CONTAINER_OF(job, struct meta_insert, job);
    const struct meta_row *seen = insert->replaces;
    bool found = false, changed = false;
    if (is_late(insert, error) && !insert->item.uncertain)
        return DB_PERMANENT;
    enum db_result result = DB_OK;
    if (!insert->late)
        result = meta_sql_replace(connection, &insert->key, insert->meta->config->group, seen, &insert->row,
                                  &changed, error);
    insert->item.uncertain = insert->item.uncertain || result == DB_UNCERTAIN;
    if (changed)
        insert->outcome = META_INSERTED;
    if (result != DB_OK || changed)
        return result;
    result = meta_look_at_rival(insert, connection, &found, error);
    if (result != DB_OK || found)
        return result;
    /* Its row was purged since, which is why the file was not there: the ID is free. Unless the row may have got this file
     * first, which then was deleted and purged too. */
    if (!insert->item.uncertain && !insert->late) {
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

static bool submit_batch(void *argument, struct db_job *job, struct error *error)
{
    return lock_and_submit(argument, job, error);
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
    insert->late = false;
    insert->row.version = 0;
    insert->epoch = row_cache_epoch(meta->cache, &key);
    insert->item = (struct insert_item){
        .insert = insert_alone, .settle = insert_settle, .done = insert_done, .loop = insert->loop};
    if (insert->replaces) {
        start_job(&insert->job, replace_run, replace_done, insert->loop);
        return lock_and_submit(meta, &insert->job, error);
    }
    insert_batches_add(meta->batches, &insert->item);
    return true;
}

static enum db_result withdraw_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_withdraw *withdraw = CONTAINER_OF(job, struct meta_withdraw, job);
    return meta_sql_remove(connection, &withdraw->key, &withdraw->row, error);
}

static void withdraw_done(struct db_job *job)
{
    struct meta_withdraw *withdraw = CONTAINER_OF(job, struct meta_withdraw, job);
    struct row_key key;
    judge_job(withdraw->meta, job, &withdraw->error);
    withdraw->fine = job->result == DB_OK;
    row_key_make(&withdraw->key, &key);
    row_cache_changed(withdraw->meta->cache, &key);
    withdraw->done(withdraw);
}

bool meta_withdraw(struct meta *meta, struct meta_withdraw *withdraw, struct error *error)
{
    withdraw->meta = meta;
    start_job(&withdraw->job, withdraw_run, withdraw_done, withdraw->loop);
    return lock_and_submit(meta, &withdraw->job, error);
}

/* ---- DELETE and RESTORE ---- */

/* Is a row in STATE one that may be changed to what is wanted? A damaged row is given up by DELETE. */
static bool change_applies(const struct meta_change *change, int64_t state)
{
    if (change->status == PROTO_FILE_DELETED)
        return state == META_STATE_NORMAL || state == META_STATE_DAMAGED;
    return state == META_STATE_DELETED;
}

/* The row is there, and there is nothing to change. */
static enum meta_change_outcome judge_unchanged(struct meta_change *change)
{
    bool deleting = change->status == PROTO_FILE_DELETED;
    /* A run before this one may have done it without our hearing of it. */
    if (change->runs > 1 && change->row.stat.status == change->status &&
        change->row.change_id == change->change_id)
        return META_CHANGED;
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
    bool found = false;
    enum db_result result = meta_sql_find(connection, meta->store, &change->key, &change->row, &found, error);
    *wanted = false;
    if (result != DB_OK)
        return result;
    if (!found)
        change->outcome = META_NO_ROW;
    else if (!meta_row_ours(meta, &change->row, &change->error))
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

/* What is deleted is kept for a time that begins at the later of two clocks, this server's and the database's: a server
 * whose clock is behind must not shorten it. Of the database's clock this server knows how far it is ahead of its own
 * monotonic one; it asks once in a while. The time of one deletion is chosen once, however often it is run. */
static enum db_result date_deletion(struct meta_change *change, struct db_connection *connection,
                                    struct error *error)
{
    struct meta *meta = change->meta;
    int64_t now_ms = clock_monotonic_ms(), seconds = 0;
    if (change->dated)
        return DB_OK;
    if (now_ms >= atomic_load(&meta->ask_time_ms)) {
        enum db_result result = meta_sql_now(connection, &seconds, error);
        if (result != DB_OK)
            return result;
        atomic_store(&meta->time_offset, seconds - now_ms / 1000);
        atomic_store(&meta->ask_time_ms, now_ms + TIME_AGE_MS);
    }
    change->version = max_i64(change->version, now_ms / 1000 + atomic_load(&meta->time_offset));
    change->dated = true;
    return DB_OK;
}

static enum db_result change_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_change *change = CONTAINER_OF(job, struct meta_change, job);
    bool deleting = change->status == PROTO_FILE_DELETED;
    bool changed = false;
    change->runs++;
    if (deleting) {
        enum db_result result = date_deletion(change, connection, error);
        if (result != DB_OK)
            return result;
    }
    for (int i = 0; i < CHANGE_READS && !changed; i++) {
        bool wanted = false;
        enum db_result result = read_before_change(change, connection, &wanted, error);
        if (result != DB_OK || !wanted)
            return result;
        if (deleting)
            CRASH_POINT("delete-before-row");
        else
            CRASH_POINT("restore-before-row");
        result = meta_sql_set_status(connection, &change->key, change->meta->config->group, &change->row,
                                     change->status, change->version, change->change_id, &changed, error);
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
    judge_job(change->meta, job, &change->error);
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
    change->dated = false;
    start_job(&change->job, change_run, meta_change_done, change->loop);
    return lock_and_submit(meta, &change->job, error);
}

/* ---- LIST ---- */

static void meta_add_entry(void *argument, const struct meta_row *row)
{
    struct meta_list *list = argument;
    if (list->count >= (size_t)list->list.limit)
        return;
    struct proto_list_entry *entry = &list->entries[list->count++];
    memcpy(entry->file, row->file, sizeof(entry->file));
    entry->stat = row->stat;
    entry->stat.size = max_i64(row->stat.size, 0);
    if (entry->stat.group[0] == '\0')
        memcpy(entry->stat.group, list->meta->config->group, strlen(list->meta->config->group) + 1);
}

static enum db_result list_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct meta_list *list = CONTAINER_OF(job, struct meta_list, job);
    list->count = 0;
    return meta_sql_list(connection, list->meta->store, &list->list, list->meta->config->group,
                         meta_add_entry, list, error);
}

static void meta_list_done(struct db_job *job)
{
    struct meta_list *list = CONTAINER_OF(job, struct meta_list, job);
    judge_job(list->meta, job, &list->error);
    list->result = job->result == DB_OK ? META_DONE : META_FAILED;
    list->done(list);
}

bool meta_list(struct meta *meta, struct meta_list *list, struct error *error)
{
    list->meta = meta;
    list->count = 0;
    list->entries = calloc((size_t)list->list.limit, sizeof(*list->entries));
    if (!list->entries)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a list");
    start_job(&list->job, list_run, meta_list_done, list->loop);
    if (lock_and_submit(meta, &list->job, error))
        return true;
    free(list->entries);
    list->entries = NULL;
    return false;
}

static void meta_tick(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    look_at_database(argument);
}

/* ---- making and ending ---- */

struct meta *meta_create(const struct storage_config *config, const struct store *store, struct loop *loop,
                         struct error *error)
{
    struct timeval interval = {.tv_sec = LOOK_SECONDS};
    struct meta *meta = calloc(1, sizeof(*meta));
    if (!meta) {
        error_set(error, ERROR_GENERAL, "no memory for the file rows");
        return NULL;
    }
    pthread_mutex_init(&meta->mutex, NULL);
    meta->config = config;
    meta->store = store;
    meta->loop = loop;
    meta->cache = row_cache_create(config, store);
    meta->timer = event_new(loop_base(loop), -1, EV_PERSIST, meta_tick, meta);
    if (!meta->cache || !meta->timer || event_add(meta->timer, &interval) != 0) {
        error_set(error, ERROR_GENERAL, "no memory for the file rows");
        goto fail;
    }
    meta->db = packet_daemon_open_database(&config->base, error);
    if (!meta->db)
        goto fail;
    /* SQLite has one writer at a time: then one batch collects what the next one takes. */
    meta->batches = insert_batches_create(&(struct insert_batches_options){
        .submit = submit_batch,
        .argument = meta,
        .active_max = db_backend_of(meta->db) == DB_BACKEND_SQLITE
                          ? 1
                          : min_size(max_size((size_t)config->base.database_threads / 2, 1), BATCHES_MAX),
        .timeout_ms = config->base.database_timeout_ms,
    });
    if (!meta->batches) {
        error_set(error, ERROR_GENERAL, "no memory for the file rows");
        goto fail;
    }
    return meta;

fail:
    meta_destroy(meta);
    return NULL;
}

void meta_end(struct meta *meta)
{
    pthread_mutex_lock(&meta->mutex);
    struct db *db = meta->db;
    meta->db = NULL;
    pthread_mutex_unlock(&meta->mutex);
    if (db)
        db_close(db);
}

void meta_destroy(struct meta *meta)
{
    if (!meta)
        return;
    meta_end(meta);
    if (meta->timer)
        event_free(meta->timer);
    insert_batches_destroy(meta->batches);
    row_cache_destroy(meta->cache);
    pthread_mutex_destroy(&meta->mutex);
    free(meta);
}

void meta_set_age(struct meta *meta, int64_t age_ms)
{
    row_cache_set_age(meta->cache, age_ms);
}

bool meta_healthy(struct meta *meta, char *reason, size_t reason_size)
{
    char why[ERROR_TEXT_SIZE] = "the server is stopping";
    pthread_mutex_lock(&meta->mutex);
    bool healthy = meta->db && db_healthy(meta->db, why, sizeof(why));
    pthread_mutex_unlock(&meta->mutex);
    snprintf(reason, reason_size, "%s%s", healthy ? "" : "the database is away: ", why);
    return healthy;
}

size_t meta_cached_rows(struct meta *meta)
{
    return row_cache_count(meta->cache);
}
