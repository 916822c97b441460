/*
 * recovery_replay: what a crash has left in the upload journal is put in its place: files, then rows.
 */
#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "storage/upload/recovery_private.h"

#define ROOM "journal"

/* ---- jobs of the database ---- */

static enum db_result run_marked(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct recovery *recovery = CONTAINER_OF(job, struct recovery_job, job)->recovery;
    return journal_rows_marked(connection, recovery->id, &recovery->marked, error);
}

static enum db_result run_judge(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct recovery_job *own = CONTAINER_OF(job, struct recovery_job, job);
    struct recovery *recovery = own->recovery;
    return journal_rows_judge(connection, recovery->store, own->record, recovery->marked,
                              !journal_is_alone(recovery->journal), &own->fate, error);
}

static enum db_result run_add(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct recovery_job *own = CONTAINER_OF(job, struct recovery_job, job);
    return journal_rows_add(own->recovery->meta, connection, own->record, own->place, error);
}

static enum db_result run_mark_all(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct recovery_job *own = CONTAINER_OF(job, struct recovery_job, job);
    return journal_rows_sync(connection, own->recovery->id, own->recovery->marked, error);
}

bool recovery_ask(struct recovery *recovery, struct recovery_job *own,
                  enum db_result (*run)(struct db_job *, struct db_connection *, struct error *),
                  struct error *error)
{
    own->recovery = recovery;
    own->job = (struct db_job){.run = run, .idempotent = true};
    atomic_store(&recovery->asks, true);
    enum db_result result = meta_run_wait(recovery->meta, &own->job);
    atomic_store(&recovery->asks, false);
    return result == DB_OK || error_set(error, db_error_code(result), "%s", own->job.error.text);
}

/* ---- replay ---- */

static bool replay_record(void *argument, const struct journal_record *record, struct error *error)
{
    struct recovery *recovery = argument;
    struct recovery_job own = {.record = record};
    struct path place;
    struct error cause = {0};
    struct store_path *path = store_find(recovery->store, record->file_path, &place, &cause);
    if (!path || !store_path_readable(path, &cause))
        return error_set(error, ERROR_UNAVAILABLE,
                         "file %s of user %s (%s), which is in the upload journal: %s", record->key.file,
                         record->key.user, record->file_path, cause.text);
    own.place = &place;
    if (!recovery_ask(recovery, &own, run_judge, error))
        return false;
    recovery->marked = max_i64(recovery->marked, record->sequence);
    if (own.fate == JOURNAL_NONE)
        return true;
    /* Written even where it is there: what memory has of it, the disk may have failed to take. The file before its row. */
    if (!store_file_put_back(path, &place, record->content, record->content_size, false, error))
        return false;
    CRASH_POINT("journal-file-replayed");
    recovery->files++;
    metric_add(recovery->replayed, 1);
    if (own.fate == JOURNAL_LOST) {
        if (!recovery_ask(recovery, &own, run_add, error))
            return false;
        CRASH_POINT("journal-row-replayed");
        recovery->rows++;
    }
    return true;
}

/* Every store path whose root can be opened is on the disk. */
static bool sync_all(struct recovery *recovery, struct error *error)
{
    bool fine = true;
    for (size_t i = 0; fine && i < store_count(recovery->store); i++) {
        struct store_path *path = store_at(recovery->store, i);
        struct store_root *root;
        struct error ignored;
        if (!store_path_enter(path, &root, &ignored))
            continue; /* nothing was put back there */
        fine = store_path_sync_system(path, root, error);
        store_path_leave(path, root);
    }
    return fine;
}

bool recovery_replay(struct recovery *recovery, struct error *error)
{
    struct recovery_job own = {0};
    int64_t begin_ms = clock_monotonic_ms();
    recovery->id = journal_id(recovery->journal);
    if (recovery->id == 0)
        return true;
    if (journal_is_clean(recovery->journal))
        return journal_replay(recovery->journal, replay_record, recovery, error);
    if (!recovery_ask(recovery, &own, run_marked, error) ||
        !journal_replay(recovery->journal, replay_record, recovery, error) || !sync_all(recovery, error) ||
        !recovery_ask(recovery, &own, run_mark_all, error))
        return false;
    CRASH_POINT("journal-replayed");
    log_info(ROOM,
             "the upload journal was replayed in %lld ms: %lld files were written again, %lld of them got "
             "their row",
             (long long)(clock_monotonic_ms() - begin_ms), (long long)recovery->files,
             (long long)recovery->rows);
    return true;
}
