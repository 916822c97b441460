/*
 * meta: the jobs over storage/rows/meta_sql.c that look rows up and list them, before storage/rows/row_cache.c; the
 * submitting of every job, and watching for a database that is away to return. Look-ups under way are shared behind one
 * mutex.
 */
#include "storage/rows/meta.h"

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/proto/proto_put.h"
#include "storage/rows/meta_move.h"
#include "storage/rows/meta_private.h"
#include "storage/rows/quota.h"

#include <stdlib.h>
#include <string.h>

#define ROOM         "meta"
#define BATCHES_MAX  4 /* transactions of new rows at once */
#define LOOK_SECONDS 1
#define TIME_AGE_MS  60000 /* how long an answer about the database's clock is used */
/* What has been under way for longer may answer with what was true long ago: later callers ask again. */
#define JOIN_MS 1000
/* Nor is it remembered: its time in memory would be counted from its end. But what is in memory may be older still. */
#define LEARN_MS 15000

/* One query under way and everybody who waits for it. */
struct meta_lookup {
    struct meta *meta;
    struct db_job job;
    struct proto_file_key file_key;
    struct row_key key;
    uint64_t epoch;   /* of the key when the query was asked for */
    int64_t asked_ms; /* clock_monotonic_ms() */
    struct wait_list waiting;
    bool found;
    bool listed;    /* others may join */
    bool overtaken; /* the same was asked again since: this answer may be older than what is known by now */
    struct meta_row row;
    UT_hash_handle hh;
};

/* ---- cache ---- */

const struct meta_row *meta_row_kept(const struct meta *meta, const struct meta_row *row)
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
    return error_set_group(error, row->stat.group,
                           "the file belongs to another group, %s; this server belongs to group %s",
                           row->stat.group, meta->config->group);
}

enum db_result meta_now(struct meta *meta, struct db_connection *connection, int64_t *seconds,
                        struct error *error)
{
    int64_t now_ms = clock_monotonic_ms(), asked = 0;
    if (now_ms >= atomic_load(&meta->ask_time_ms)) {
        enum db_result result = meta_sql_now(connection, &asked, error);
        if (result != DB_OK)
            return result;
        atomic_store(&meta->time_offset, asked - now_ms / 1000);
        atomic_store(&meta->ask_time_ms, now_ms + TIME_AGE_MS);
    }
    *seconds = max_i64(clock_wall_seconds(), now_ms / 1000 + atomic_load(&meta->time_offset));
    return DB_OK;
}

int64_t meta_expiry(int64_t expires, int64_t now)
{
    if (expires == PROTO_EXPIRES_NEVER)
        return 0;
    return expires < 0 ? min_i64(now - expires, PROTO_EXPIRES_MAX) : expires;
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

void meta_outdate(struct meta *meta, const struct proto_file_key *file_key)
{
    struct row_key key;
    row_key_make(file_key, &key);
    row_cache_outdated(meta->cache, &key);
}

/* ---- jobs ---- */

void meta_job_init(struct db_job *job,
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

bool meta_run(struct meta *meta, struct db_job *job, struct error *error)
{
    pthread_mutex_lock(&meta->mutex);
    bool taken = meta_submit(meta, job, error);
    pthread_mutex_unlock(&meta->mutex);
    return taken;
}

enum db_result meta_run_wait(struct meta *meta, struct db_job *job)
{
    pthread_mutex_lock(&meta->mutex);
    if (meta->db)
        return db_run_wait_held(meta->db, job, &meta->mutex);
    pthread_mutex_unlock(&meta->mutex);
    job->result = DB_TRANSIENT;
    error_set(&job->error, ERROR_UNAVAILABLE, "the server is stopping");
    return job->result;
}

void meta_set_journal(struct meta *meta, const struct insert_journal *journal)
{
    meta->journal = journal;
    insert_batches_set_journal(meta->batches, journal);
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

void meta_judge(struct meta *meta, enum db_result result, const struct error *cause, struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed;
    if (result == DB_OK) {
        if (atomic_load(&meta->away)) /* it is back, before anybody looked */
            look_at_database(meta);
        return;
    }
    if (result == DB_TRANSIENT || result == DB_UNCERTAIN)
        look_at_database(meta);
    if (log_gate_open(&gate, 5000, &suppressed))
        log_error(ROOM, "database: %s (%llu more since the last line)", cause->text,
                  (unsigned long long)suppressed);
    /* That its disk is full is worth distinguishing from any other failure. */
    int code = cause->code == ERROR_NO_SPACE ? ERROR_NO_SPACE : db_error_code(result);
    error_set(error, code, "the database failed: %s", cause->text);
}

static enum db_result meta_lookup_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct meta_lookup *lookup = CONTAINER_OF(job, struct meta_lookup, job);
    return meta_move_find(connection, lookup->meta->store, lookup->meta->config->group, &lookup->file_key,
                          &lookup->row, &lookup->found, error);
}

static void find_answered(struct wait *wait, enum wait_end end)
{
    struct meta_find *find = CONTAINER_OF(wait, struct meta_find, wait);
    (void)end; /* the database has its own time limits */
    find->done(find);
}

static void join_lookup(struct meta_lookup *lookup, struct meta_find *find)
{
    find->wait = (struct wait){.loop = find->loop, .done = find_answered};
    ASSERT(wait_enter(&lookup->waiting, &find->wait, 0)); /* without a timer it cannot fail */
}

static void answer_find(const struct meta_lookup *lookup, struct meta_find *find, const struct error *error)
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

static void unlist_lookup(struct meta *meta, struct meta_lookup *lookup)
{
    if (lookup->listed)
        HASH_DEL(meta->lookups, lookup);
    lookup->listed = false;
}

/* In one step with letting nobody join any more, so that of two look-ups the later one has the last word. What is in memory goes
 * in any case: it may be older than this answer, and whoever gets this one is to see nothing older afterwards. So may be the answer of the
 * look-up that has overtaken this one, if the database was quicker with it: then neither is remembered. */
static void learn_row(struct meta *meta, struct meta_lookup *lookup)
{
    pthread_mutex_lock(&meta->mutex);
    unlist_lookup(meta, lookup);
    bool recent = clock_monotonic_ms() - lookup->asked_ms < LEARN_MS;
    if (lookup->job.result == DB_OK && recent && !lookup->overtaken)
        row_cache_learn(meta->cache, &lookup->key, lookup->epoch,
                        lookup->found ? meta_row_kept(meta, &lookup->row) : NULL);
    else if (lookup->job.result == DB_OK)
        row_cache_changed(meta->cache, &lookup->key);
    pthread_mutex_unlock(&meta->mutex);
}

static void meta_lookup_done(struct db_job *job)
{
    struct meta_lookup *lookup = CONTAINER_OF(job, struct meta_lookup, job);
    struct meta *meta = lookup->meta;
    struct wait *wait;
    struct error error = {0};
    meta_judge(meta, job->result, &job->error, &error);
    learn_row(meta, lookup);
    while ((wait = wait_list_take(&lookup->waiting))) /* nobody else knows of it any more */
        answer_find(lookup, CONTAINER_OF(wait, struct meta_find, wait), &error);
    free(lookup);
}

bool meta_find(struct meta *meta, struct meta_find *find, struct error *error)
{
    struct row_key key;
    struct meta_lookup *lookup = NULL;
    row_key_make(&find->key, &key);
    pthread_mutex_lock(&meta->mutex);
    uint64_t epoch = row_cache_epoch(meta->cache, &key);
    HASH_FIND(hh, meta->lookups, key.bytes, key.size, lookup);
    bool late = lookup && clock_monotonic_ms() - lookup->asked_ms >= JOIN_MS;
    if (lookup && !late && lookup->epoch == epoch && !find->fresh) {
        join_lookup(lookup, find);
        pthread_mutex_unlock(&meta->mutex);
        return true;
    }
    if (lookup) { /* it may see the row as it was before a change, here or elsewhere */
        unlist_lookup(meta, lookup);
        lookup->overtaken = true;
    }
    lookup = calloc(1, sizeof(*lookup));
    bool taken = false;
    if (lookup) {
        lookup->meta = meta;
        lookup->file_key = find->key;
        lookup->key = key;
        lookup->epoch = epoch;
        lookup->asked_ms = clock_monotonic_ms();
        wait_list_init(&lookup->waiting, &meta->mutex, NULL);
        join_lookup(lookup, find);
        meta_job_init(&lookup->job, meta_lookup_run, meta_lookup_done, find->loop);
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
    return meta_sql_list(connection, list->meta->store, &list->list, meta_add_entry, list, error);
}

static void meta_list_done(struct db_job *job)
{
    struct meta_list *list = CONTAINER_OF(job, struct meta_list, job);
    meta_judge(list->meta, job->result, &job->error, &list->error);
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
    meta_job_init(&list->job, list_run, meta_list_done, list->loop);
    if (meta_run(meta, &list->job, error))
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

static bool submit_batch(void *argument, struct db_job *job, struct error *error)
{
    return meta_run(argument, job, error);
}

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
    meta_set_quota(meta, config->quota_bytes, config->quota_files);
    meta->timer = event_new(loop_base(loop), -1, EV_PERSIST, meta_tick, meta);
    if (!meta->cache || !meta->timer || event_add(meta->timer, &interval) != 0) {
        error_set(error, ERROR_GENERAL, "no memory for the file rows");
        goto fail;
    }
    meta->db = packet_daemon_open_database(&config->base, config->durability == OPTIONS_RELAXED, error);
    if (!meta->db)
        goto fail;
    /* SQLite has one writer at a time: then one batch collects what the next one takes. */
    meta->batches = insert_batches_create(&(struct insert_batches_options){
        .submit = submit_batch,
        .argument = meta,
        .active_max = db_backend_of(meta->db) == DB_BACKEND_SQLITE
                          ? 1
                          : min_size(max_size((size_t)config->base.database_threads / 2, 1), BATCHES_MAX),
        .relaxed = config->durability == OPTIONS_RELAXED,
        /* Each statement is a round trip there; SQLite has prepared one that takes a row. */
        .together = db_backend_of(meta->db) == DB_BACKEND_MYSQL,
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

void meta_set_quota(struct meta *meta, int64_t bytes, int64_t files)
{
    atomic_store(&meta->quota.bytes, bytes > 0 ? bytes : PROTO_QUOTA_NONE);
    atomic_store(&meta->quota.files, files > 0 ? files : PROTO_QUOTA_NONE);
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
