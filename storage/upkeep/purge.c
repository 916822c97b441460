/*
 * purge: takes away for good what was deleted long enough ago. In the order that never leaves a served row
 * that points at nothing: the row becomes "being purged" (from then on RESTORE finds nothing), then the file
 * goes, then the row. A crash after any step is taken up where it stopped by the next round, on whichever
 * member; a file that comes back because a power cut took back its removal is one without a row, and the
 * clean-up's. On the upkeep's thread.
 */
#include "storage/store/store_file.h"
#include "storage/upkeep/upkeep_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM "purge"

struct purge {
    struct db_job job;
    struct upkeep *upkeep;
    unsigned table;
    int64_t limit, after, now;
    struct upkeep_page page;
    struct upkeep_trash trash;
};

static const char *group_of(const struct purge *purge)
{
    return purge->upkeep->config->group;
}

static enum db_result stamp_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    return upkeep_sql_stamp(connection, purge->table, group_of(purge), purge->now, error);
}

static enum db_result find_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    return upkeep_sql_find_purgeable(connection, purge->upkeep->storage->store, purge->table, group_of(purge),
                                     purge->limit, purge->after, &purge->page, error);
}

/* One transaction for the page: what STEP does with each chosen row. */
static enum db_result each_chosen(struct purge *purge, struct db_connection *connection,
                                  enum db_result (*step)(struct purge *purge,
                                                         struct db_connection *connection,
                                                         struct upkeep_row *row, struct error *error),
                                  struct error *error)
{
    enum db_result result = db_begin(connection, error);
    if (result != DB_OK)
        return result;
    for (size_t i = 0; result == DB_OK && i < purge->page.count; i++) {
        if (purge->page.rows[i].chosen)
            result = step(purge, connection, &purge->page.rows[i], error);
    }
    if (result == DB_OK)
        return db_commit(connection, error);
    db_rollback(connection);
    return result;
}

static enum db_result mark_one(struct purge *purge, struct db_connection *connection, struct upkeep_row *row,
                               struct error *error)
{
    bool changed = false;
    enum db_result result =
        upkeep_sql_mark_purging(connection, row, group_of(purge), purge->limit, &changed, error);
    row->gone = !changed; /* restored a moment ago */
    return result;
}

static enum db_result mark_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return each_chosen(CONTAINER_OF(job, struct purge, job), connection, mark_one, error);
}

static enum db_result remove_one(struct purge *purge, struct db_connection *connection,
                                 struct upkeep_row *row, struct error *error)
{
    (void)purge;
    return upkeep_sql_remove(connection, row, error);
}

static enum db_result remove_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return each_chosen(CONTAINER_OF(job, struct purge, job), connection, remove_one, error);
}

static bool run(struct purge *purge,
                enum db_result (*function)(struct db_job *, struct db_connection *, struct error *),
                const char *what)
{
    struct error error = {0};
    purge->job = (struct db_job){.run = function, .idempotent = true};
    if (upkeep_run(purge->upkeep, &purge->job, &error))
        return true;
    upkeep_complain(purge->upkeep, what, &error);
    return false;
}

/* Is it this server's to purge? A row that names no group may be another group's, with its file on other
 * disks. */
static bool choose(const struct upkeep_row *row)
{
    struct error error = {0};
    int64_t size = 0;
    int fd = -1;
    if (!row->row.path || row->key.file[0] == '\0')
        return false;
    if (row->row.stat.group[0] != '\0')
        return store_path_readable(row->row.path, &error);
    if (!store_file_open(row->row.path, &row->row.place, &fd, &size, &error))
        return false;
    (void)close(fd); /* only read */
    return true;
}

static bool remove_file(struct purge *purge, const struct upkeep_row *row)
{
    struct upkeep *upkeep = purge->upkeep;
    struct error error = {0};
    open_cache_forget(upkeep->storage->open_cache, row->row.path, &row->row.place);
    CRASH_POINT("purge-before-remove");
    if (!store_file_remove(row->row.path, &row->row.place, &error)) {
        metric_add(upkeep->metrics.purge_failures, 1);
        upkeep_complain(upkeep, "a deleted file stays for now", &error);
        return false;
    }
    CRASH_POINT("purge-file-removed");
    return true;
}

/* The page's rows that are chosen, from marking to the end. */
static bool purge_page(struct purge *purge)
{
    struct upkeep *upkeep = purge->upkeep;
    struct upkeep_page *page = &purge->page;
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) {
        page->rows[i].chosen = choose(&page->rows[i]);
        count += page->rows[i].chosen ? 1 : 0;
    }
    if (count == 0)
        return true;
    if (!run(purge, mark_run, "deleted files stay for now"))
        return false;
    CRASH_POINT("purge-marked");
    for (size_t i = 0; i < page->count; i++) {
        struct upkeep_row *row = &page->rows[i];
        if (row->chosen)
            meta_forget(upkeep->storage->meta, &row->key);
        row->chosen = row->chosen && !row->gone && remove_file(purge, row);
        if (i % 10 == 9 && !upkeep_breathe(upkeep)) {
            for (size_t j = i + 1; j < page->count; j++)
                page->rows[j].chosen = false; /* they are marked: the next round, anywhere, goes on */
            break;
        }
    }
    if (!run(purge, remove_run, "rows of purged files stay for now"))
        return false;
    CRASH_POINT("purge-rows-removed");
    int64_t files = 0, bytes = 0;
    for (size_t i = 0; i < page->count; i++) {
        if (!page->rows[i].chosen)
            continue;
        meta_forget(upkeep->storage->meta, &page->rows[i].key);
        files++;
        bytes += max_i64(page->rows[i].row.stat.size, 0);
    }
    metric_add(upkeep->metrics.purged_files, files);
    metric_add(upkeep->metrics.purged_bytes, bytes);
    if (files > 0)
        log_info(ROOM, "purged %" PRId64 " deleted files of %" PRId64 " bytes", files, bytes);
    return true;
}

static bool purge_table(struct purge *purge)
{
    if (!run(purge, stamp_run, "deleted files without a time of deletion stay for now"))
        return false;
    purge->after = 0;
    do {
        if (!upkeep_breathe(purge->upkeep) || !run(purge, find_run, "deleted files stay for now") ||
            !purge_page(purge))
            return false;
        if (purge->page.count > 0)
            purge->after = purge->page.rows[purge->page.count - 1].row_id;
    } while (purge->page.count == UPKEEP_PAGE);
    return true;
}

void purge_round(struct upkeep *upkeep)
{
    struct error error = {0};
    struct purge *purge = calloc(1, sizeof(*purge));
    if (!purge)
        return;
    pthread_mutex_lock(&upkeep->mutex);
    int64_t keep_seconds = upkeep->trash_keep_ms / 1000;
    pthread_mutex_unlock(&upkeep->mutex);
    purge->upkeep = upkeep;
    if (!upkeep_now(upkeep, &purge->now, &error)) {
        upkeep_complain(upkeep, "deleted files stay for now", &error);
    } else {
        purge->limit = purge->now - keep_seconds;
        while (purge->table < TABLE_HASH_TABLES && purge_table(purge))
            purge->table++;
    }
    free(purge);
}

static enum db_result measure_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    enum db_result result = DB_OK;
    purge->trash = (struct upkeep_trash){0};
    for (unsigned table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++)
        result = upkeep_sql_trash(connection, table, group_of(purge), &purge->trash, error);
    return result;
}

void purge_measure(struct upkeep *upkeep)
{
    struct purge *purge = calloc(1, sizeof(*purge));
    if (!purge)
        return;
    purge->upkeep = upkeep;
    if (run(purge, measure_run, "the space of deleted files is not known")) {
        metric_set(upkeep->metrics.trash_files, purge->trash.files);
        metric_set(upkeep->metrics.trash_bytes, purge->trash.bytes);
    }
    free(purge);
}
