/*
 * recovery: the thread of the upload journal, which makes checkpoints, its start and end, and what joins it to rows and store paths. What a
 * crash has left is put in its place by recovery_replay.c.
 */
#include "storage/upload/recovery_private.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define ROOM          "journal"
#define FILE_SUFFIX   "-uploads" /* behind the name of the database's file, as its -wal */
#define LOCK_MS       60000      /* for so long another server may be putting files in their places */
#define CHECKPOINT_MS 1000
#define AGAIN_MS      50    /* after a checkpoint that made no progress */
#define MAKE_AGAIN_MS 60000 /* after its space could not be allocated */
#define FIRST_LOOK_MS 2000

/* ---- as the rows see it: on a database thread ---- */

static bool recovery_write(void *argument, struct insert_item *const *items, size_t count,
                           struct error *error)
{
    struct recovery *recovery = argument;
    struct journal_record *records[INSERT_BATCH_MAX] = {NULL};
    ASSERT(count <= INSERT_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        records[i] = &recovery->records[i];
        journal_rows_record(items[i], records[i]);
    }
    bool fine = journal_write(recovery->journal, records, count, error);
    for (size_t i = 0; i < count; i++)
        items[i]->sequence = records[i]->sequence;
    if (!fine)
        log_error(ROOM, "%s; uploads are synced one by one until a checkpoint has succeeded", error->text);
    return fine;
}

static enum db_result recovery_mark(void *argument, struct db_connection *connection, int64_t sequence,
                                    struct error *error)
{
    struct recovery *recovery = argument;
    return journal_rows_mark(connection, journal_id(recovery->journal), sequence, error);
}

static void recovery_settled(void *argument, int64_t sequence)
{
    struct recovery *recovery = argument;
    journal_settle(recovery->journal, sequence);
}

/* ---- as uploads see it ---- */

int64_t recovery_promise(struct recovery *recovery, const struct store_file *file, size_t size)
{
    int64_t promised = 0;
    if (size > JOURNAL_CONTENT_MAX || !recovery->running)
        return 0;
    pthread_mutex_lock(&recovery->mutex);
    bool known = recovery->roots[store_path_index(file->path)] == file->root;
    if (known && store_path_may_wait(file->path, file->root, file->fd))
        promised = journal_reserve(recovery->journal, size);
    pthread_mutex_unlock(&recovery->mutex);
    return promised;
}

void recovery_release(struct recovery *recovery, int64_t promised)
{
    journal_release(recovery->journal, promised);
}

void recovery_concern(struct recovery *recovery, char *reason, size_t size)
{
    char why[ERROR_TEXT_SIZE] = "";
    reason[0] = '\0';
    if (!recovery)
        return;
    if (recovery->why[0] != '\0')
        snprintf(why, sizeof(why), "%s", recovery->why);
    else if (recovery->running)
        journal_concern(recovery->journal, why, sizeof(why));
    if (why[0] != '\0')
        snprintf(reason, size, "uploads are synced one by one: %.400s", why);
}

/* ---- checkpoints: on the thread ---- */

static enum db_result run_sync_rows(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct recovery *recovery = CONTAINER_OF(job, struct recovery_job, job)->recovery;
    return journal_rows_sync(connection, journal_id(recovery->journal), 0, error);
}

static bool rewrite_record(void *argument, const struct journal_record *record, struct error *error)
{
    struct recovery *recovery = argument;
    struct path place;
    struct store_path *path = store_find(recovery->store, record->file_path, &place, error);
    /* One that is gone was removed, by a purge or by its own upload. */
    return path && store_file_put_back(path, &place, record->content, record->content_size, true, error);
}

/* All files of records up to MARK are on the disk. Where the file system failed to write something nobody knows what it was, and it
 * says so only once: they are written once more, and so is whatever was under way until then (journal_suspend()). */
static bool sync_files(struct recovery *recovery, const struct journal_mark *mark, struct error *error)
{
    bool fine = !journal_is_suspended(recovery->journal);
    for (size_t i = 0; fine && i < store_count(recovery->store); i++) {
        if (recovery->roots[i]) /* this thread alone changes them */
            fine = store_path_sync_system(store_at(recovery->store, i), recovery->roots[i], error);
        if (!fine)
            log_error(ROOM, "%s; what was uploaded since the last checkpoint is written again", error->text);
    }
    if (fine)
        return true;
    journal_suspend(recovery->journal, error->text);
    return journal_read(recovery->journal, mark, rewrite_record, recovery, error);
}

static bool checkpoint(struct recovery *recovery, struct error *error)
{
    struct recovery_job own = {0};
    struct journal_mark mark;
    journal_resume(recovery->journal);
    if (!journal_mark(recovery->journal, &mark))
        return true;
    CRASH_POINT("journal-checkpoint");
    if (!sync_files(recovery, &mark, error))
        return false;
    CRASH_POINT("journal-files-synced");
    if (!recovery_ask(recovery, &own, run_sync_rows, error))
        return false;
    CRASH_POINT("journal-rows-synced");
    if (!journal_move_tail(recovery->journal, &mark, error))
        return false;
    CRASH_POINT("journal-tail-moved");
    return true;
}

/* Where another directory lies at a store path now, files in that one may be promised as soon as nothing is promised of the former. */
static void adopt_roots(struct recovery *recovery)
{
    for (size_t i = 0; i < store_count(recovery->store); i++) {
        struct store_path *path = store_at(recovery->store, i);
        struct store_root *root, *gone;
        struct error ignored;
        if (!store_path_enter(path, &root, &ignored))
            root = NULL;
        pthread_mutex_lock(&recovery->mutex);
        gone = root;
        if (root && root != recovery->roots[i] &&
            (!recovery->roots[i] || journal_is_idle(recovery->journal))) {
            gone = recovery->roots[i];
            recovery->roots[i] = root;
        }
        pthread_mutex_unlock(&recovery->mutex);
        if (gone)
            store_path_leave(path, gone);
    }
}

static void make_space(struct recovery *recovery)
{
    struct error error = {0};
    if (clock_monotonic_ms() < recovery->make_again_ms || journal_make(recovery->journal, &error))
        return;
    if (recovery->make_again_ms == 0)
        log_error(ROOM, "%s; uploads are synced one by one; trying again every minute", error.text);
    recovery->make_again_ms = clock_monotonic_ms() + MAKE_AGAIN_MS;
}

static bool is_stopping(struct recovery *recovery)
{
    pthread_mutex_lock(&recovery->mutex);
    bool stopping = recovery->stopping;
    pthread_mutex_unlock(&recovery->mutex);
    return stopping;
}

static void *recovery_main(void *argument)
{
    static struct log_gate gate;
    struct recovery *recovery = argument;
    struct error error = {0};
    uint64_t suppressed;
    while (!is_stopping(recovery)) {
        int64_t before = journal_used(recovery->journal);
        adopt_roots(recovery);
        make_space(recovery);
        bool fine = checkpoint(recovery, &error);
        if (!fine && log_gate_open(&gate, 10000, &suppressed))
            log_error(ROOM, "the checkpoint failed, and is tried again: %s", error.text);
        if (before > 0 &&
            journal_used(recovery->journal) >= before) /* else it would be half full again at once */
            nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000L}, NULL);
        journal_wait(recovery->journal, CHECKPOINT_MS);
    }
    if (!checkpoint(recovery, &error) || !journal_finish(recovery->journal, &error))
        log_error(ROOM, "the last checkpoint failed; the journal is replayed at the next start: %s",
                  error.text);
    pthread_mutex_lock(&recovery->mutex);
    recovery->ended = true;
    pthread_cond_signal(&recovery->end);
    pthread_mutex_unlock(&recovery->mutex);
    return NULL;
}

/* ---- start ---- */

static double recovery_read_used(void *argument)
{
    struct recovery *recovery = argument;
    return (double)journal_used(recovery->journal);
}

/* syncfs(2) reports what could not be written only since Linux 5.8. */
static bool kernel_reports(void)
{
    struct utsname name;
    if (uname(&name) != 0)
        return false;
    char *after;
    long major = strtol(name.release, &after, 10), minor = *after == '.' ? strtol(after + 1, NULL, 10) : 0;
    return major > 5 || (major == 5 && minor >= 8);
}

/* auto: only where there is a store path for it, as far as that is known when the server starts. */
static bool recovery_is_wanted(const struct storage_config *config, struct store *store)
{
    bool wanted = config->journal == OPTIONS_JOURNAL_ON;
    for (size_t i = 0; config->journal == OPTIONS_JOURNAL_AUTO && i < store_count(store); i++)
        wanted = wanted || store_path_may_be_journaled(store_at(store, i));
    return wanted && config->durability == OPTIONS_DURABLE && kernel_reports();
}

static struct recovery *create(const struct storage_config *config, struct store *store, struct meta *meta)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    struct error ignored;
    if (!recovery)
        return NULL;
    recovery->roots = calloc(store_count(store), sizeof(struct store_root *));
    if (!recovery->roots || !condition_init(&recovery->end, &ignored)) {
        free(recovery->roots);
        free(recovery);
        return NULL;
    }
    pthread_mutex_init(&recovery->mutex, NULL);
    recovery->config = config;
    recovery->store = store;
    recovery->meta = meta;
    recovery->face = (struct insert_journal){
        .argument = recovery, .write = recovery_write, .mark = recovery_mark, .settled = recovery_settled};
    recovery->replayed =
        metrics_counter("reel_storage_journal_replayed_total",
                        "Files that were written from the upload journal at the start.", NULL);
    return recovery;
}

/* The journal's path; "" where the database is no SQLite file. */
static bool find_file(const struct storage_config *config, char path[PATH_MAX], struct error *error)
{
    char file[PATH_MAX - sizeof(FILE_SUFFIX)];
    if (!packet_daemon_database_file(&config->base, file, sizeof(file), error))
        return false;
    snprintf(path, PATH_MAX, "%s%s", file, file[0] != '\0' ? FILE_SUFFIX : "");
    return true;
}

/* What nobody can use: the server goes on without it. That matters only where it was asked for. */
static void do_without(struct recovery *recovery, const char *why)
{
    if (recovery->config->journal != OPTIONS_JOURNAL_ON) {
        log_info(ROOM, "uploads are synced one by one: %s", why);
        return;
    }
    snprintf(recovery->why, sizeof(recovery->why), "%s", why);
    log_warning(ROOM, "uploads are synced one by one: %s", why);
}

static bool run(struct recovery *recovery, struct error *error)
{
    bool now = recovery->config->journal == OPTIONS_JOURNAL_ON;
    struct error cause = {0};
    for (size_t i = 0; i < store_count(recovery->store); i++) {
        if (!store_path_takes_journal(store_at(recovery->store, i), error))
            return false;
    }
    if (!journal_begin(recovery->journal, recovery->config->journal_size, now, &cause)) {
        journal_leave(recovery->journal);
        do_without(recovery, cause.text);
        return true;
    }
    adopt_roots(recovery);
    meta_set_journal(recovery->meta, &recovery->face);
    recovery->running = true;
    if (pthread_create(&recovery->thread, NULL, recovery_main, recovery) != 0) {
        recovery->running = false;
        return error_set(error, ERROR_GENERAL, "cannot start the thread of the upload journal");
    }
    metrics_gauge_read("reel_storage_journal_used_bytes",
                       "Bytes of the upload journal that wait for a checkpoint.", NULL, recovery_read_used,
                       recovery);
    return true;
}

/* After the replay. */
static bool go_on(struct recovery *recovery, struct error *error)
{
    bool wanted = recovery_is_wanted(recovery->config, recovery->store);
    if (wanted && journal_is_held(recovery->journal))
        return run(recovery, error);
    if (wanted)
        do_without(recovery, "another storage server on this database writes to the upload journal");
    else if (journal_is_held(recovery->journal)) {
        if (!journal_empty(recovery->journal, error))
            return false;
        recovery->emptied = true;
        journal_leave(recovery->journal);
    }
    return true;
}

static bool open_journal(struct recovery *recovery, const char *path, struct error *error)
{
    bool absent = false;
    struct error cause = {0};
    recovery->journal = journal_open(path, LOCK_MS, &absent, &cause);
    if (recovery->journal)
        return (!journal_is_held(recovery->journal) || recovery_replay(recovery, error)) &&
               go_on(recovery, error);
    if (absent && recovery->config->journal != OPTIONS_JOURNAL_ON) {
        do_without(recovery, cause.text);
        return true;
    }
    return error_set(error, cause.code, "%s", cause.text);
}

bool recovery_start(const struct storage_config *config, struct store *store, struct meta *meta,
                    struct recovery **recovery, struct error *error)
{
    char path[PATH_MAX];
    *recovery = NULL;
    if (!find_file(config, path, error))
        return false;
    if (path[0] == '\0' || (!recovery_is_wanted(config, store) && access(path, F_OK) != 0 && errno == ENOENT))
        return true;
    struct recovery *made = create(config, store, meta);
    if (!made)
        return error_set(error, ERROR_GENERAL, "no memory for the upload journal");
    if (!open_journal(made, path, error)) {
        (void)recovery_end(made, 0);
        recovery_destroy(made);
        return false;
    }
    if (made->journal)
        journal_started(made->journal);
    *recovery = made;
    return true;
}

/* ---- end ---- */

bool recovery_end(struct recovery *recovery, int64_t timeout_ms)
{
    if (!recovery || !recovery->running || recovery->joined)
        return true;
    metrics_gauge_read("reel_storage_journal_used_bytes",
                       "Bytes of the upload journal that wait for a checkpoint.", NULL, NULL, NULL);
    int64_t until = clock_monotonic_ms() + timeout_ms;
    pthread_mutex_lock(&recovery->mutex);
    recovery->stopping = true;
    pthread_mutex_unlock(&recovery->mutex);
    journal_stop(recovery->journal);
    pthread_mutex_lock(&recovery->mutex);
    while (!recovery->ended && clock_monotonic_ms() < until)
        (void)condition_wait_ms(&recovery->end, &recovery->mutex, until - clock_monotonic_ms());
    recovery->hangs = !recovery->ended;
    pthread_mutex_unlock(&recovery->mutex);
    if (recovery->hangs) {
        log_error(ROOM, "the last checkpoint %s and is abandoned",
                  atomic_load(&recovery->asks) ? "waits for the database" : "hangs in a file system");
        (void)pthread_detach(recovery->thread);
        return false;
    }
    (void)pthread_join(recovery->thread, NULL);
    recovery->joined = true;
    return true;
}

void recovery_destroy(struct recovery *recovery)
{
    if (!recovery || recovery->hangs)
        return;
    for (size_t i = 0; i < store_count(recovery->store); i++) {
        if (recovery->roots[i])
            store_path_leave(store_at(recovery->store, i), recovery->roots[i]);
    }
    journal_close(recovery->journal);
    pthread_cond_destroy(&recovery->end);
    pthread_mutex_destroy(&recovery->mutex);
    free(recovery->roots);
    free(recovery);
}

/* ---- --checkpoint ---- */

/* An empty directory is never taken for a new store path. */
static bool rows_everywhere(void *argument, const struct store_path *path, bool *known)
{
    (void)argument;
    (void)path;
    *known = true;
    return true;
}

static bool empty_with(struct recovery *recovery, FILE *out, struct error *error)
{
    if (!recovery)
        return fprintf(out, "there is no upload journal\n") > 0;
    if (!recovery->emptied)
        return error_set(
            error, ERROR_UNAVAILABLE,
            "a storage server is running with the upload journal; stop it, which empties it too");
    fprintf(out, "the upload journal is empty; %lld files were written again, %lld of them got their row\n",
            (long long)recovery->files, (long long)recovery->rows);
    return true;
}

bool recovery_empty(const struct storage_config *config, FILE *out, struct error *error)
{
    struct storage_config off = *config;
    struct recovery *recovery = NULL;
    struct meta *meta = NULL;
    off.journal = OPTIONS_JOURNAL_OFF;
    struct loop *loop = loop_create("checkpoint", error);
    struct store *store = loop ? store_create(&off, loop, FIRST_LOOK_MS, rows_everywhere, NULL, error) : NULL;
    if (store)
        meta = meta_create(&off, store, loop, error);
    bool fine =
        meta && recovery_start(&off, store, meta, &recovery, error) && empty_with(recovery, out, error);
    if (store)
        store_end(store, FIRST_LOOK_MS);
    if (meta)
        meta_end(meta);
    recovery_destroy(recovery);
    meta_destroy(meta);
    store_destroy(store);
    loop_destroy(loop);
    return fine;
}
