/*
 * purge: a page of rows at a time: chosen, marked in one transaction, their files removed one after the other, the rows
 * removed in one transaction.
 */
#include "storage/upkeep/purge.h"

#include "storage/rows/meta_move.h"
#include "storage/rows/quota.h"
#include "storage/store/store_file.h"
#include "storage/upkeep/fence.h"
#include "storage/upkeep/upkeep_sql.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM "purge"

#define MEASURE_SHARE        50 /* one part in so many of the time goes into measuring */
#define MEASURE_PAUSE_MAX_MS INT64_C(3600000)

struct purge {
    struct db_job job;
    struct keeper *keeper;
    unsigned table;
    int64_t limit, after, now;
    struct upkeep_trash trash;
    struct lease_row *scrub; /* owned; purge_measure() alone has it */
    struct upkeep_page page; /* last: its rows are not cleared */
};

static const char *purge_group(const struct purge *purge)
{
    return purge->keeper->config->group;
}

static const struct lease *lease_of(const struct purge *purge)
{
    return &purge->keeper->lease;
}

static enum db_result stamp_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    return upkeep_sql_stamp(connection, lease_of(purge), purge->table, purge_group(purge), purge->now, error);
}

static enum db_result find_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    return upkeep_sql_find_purgeable(connection, purge->keeper->storage->store, purge->table,
                                     purge_group(purge), purge->limit, purge->after, &purge->page, error);
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
    const struct lease *lease = lease_of(purge);
    const char *group = purge_group(purge);
    bool shared = false, changed = false;
    /* Two groups of the predecessor may have used the same path for two files: this may be the other one's, here. */
    enum db_result result =
        row->row.stat.group[0] == '\0'
            ? upkeep_sql_mark_path(connection, lease, row->row.file_path, group, purge->limit, &shared,
                                   &changed, error)
            : upkeep_sql_mark_purging(connection, lease, row, group, purge->limit, &changed, error);
    row->shared = shared;
    row->gone = !changed; /* restored a moment ago */
    return result;
}

static enum db_result purge_mark_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    return each_chosen(CONTAINER_OF(job, struct purge, job), connection, mark_one, error);
}

static enum db_result remove_one(struct purge *purge, struct db_connection *connection,
                                 struct upkeep_row *row, struct error *error)
{
    const struct quota_amounts less = {max_i64(row->row.stat.size, 0), 1};
    bool removed = false;
    enum db_result result = upkeep_sql_remove(connection, lease_of(purge), row, &removed, error);
    if (result == DB_OK && removed && !meta_move_is_former_id(row->key.file))
        result = quota_give(purge->keeper->storage->meta, connection, &row->key, less, error);
    return result;
}

static enum db_result remove_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return each_chosen(CONTAINER_OF(job, struct purge, job), connection, remove_one, error);
}

static bool purge_run(struct purge *purge,
                      enum db_result (*function)(struct db_job *, struct db_connection *, struct error *),
                      const char *what)
{
    struct error error = {0};
    purge->job = (struct db_job){.run = function, .idempotent = true};
    if (keeper_run(purge->keeper, &purge->job, &error))
        return true;
    keeper_complain(purge->keeper, what, &error);
    return false;
}

/* Is it this server's to purge? A row that names no group may be another group's, with its file on other
 * disks. */
static bool purge_choose(const struct upkeep_row *row)
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
    struct keeper *keeper = purge->keeper;
    struct error error = {0};
    open_cache_forget(keeper->storage->open_cache, row->row.path, &row->row.place);
    CRASH_POINT("purge-before-remove");
    /* Its row is being purged, which nothing takes back; so the lease is all that is to be asked for again. */
    if (!fence_lease(keeper, &error))
        return false;
    if (!store_file_remove(row->row.path, &row->row.place, &error)) {
        metric_add(keeper->metrics.purge_failures, 1);
        keeper_complain(keeper, "a deleted file stays for now", &error);
        return false;
    }
    CRASH_POINT("purge-file-removed");
    return true;
}

/* The page's rows that are chosen, from marking to the end. */
static bool purge_page(struct purge *purge)
{
    struct keeper *keeper = purge->keeper;
    struct upkeep_page *page = &purge->page;
    size_t count = 0;
    for (size_t i = 0; i < page->count; i++) {
        page->rows[i].chosen = purge_choose(&page->rows[i]);
        count += page->rows[i].chosen ? 1 : 0;
    }
    if (count == 0)
        return true;
    if (!purge_run(purge, purge_mark_run, "deleted files stay for now"))
        return false;
    CRASH_POINT("purge-marked");
    for (size_t i = 0; i < page->count; i++) {
        struct upkeep_row *row = &page->rows[i];
        if (row->chosen)
            meta_forget(keeper->storage->meta, &row->key);
        if (row->chosen && row->shared)
            metric_add(keeper->metrics.purge_shared, 1);
        row->chosen = row->chosen && !row->gone && remove_file(purge, row);
        if (i % 10 == 9 && !keeper_breathe(keeper)) {
            for (size_t j = i + 1; j < page->count; j++)
                page->rows[j].chosen = false; /* they are marked: the next round, anywhere, goes on */
            break;
        }
    }
    if (!purge_run(purge, remove_run, "rows of purged files stay for now"))
        return false;
    CRASH_POINT("purge-rows-removed");
    int64_t files = 0, bytes = 0;
    for (size_t i = 0; i < page->count; i++) {
        if (!page->rows[i].chosen)
            continue;
        meta_forget(keeper->storage->meta, &page->rows[i].key);
        files++;
        bytes += max_i64(page->rows[i].row.stat.size, 0);
    }
    metric_add(keeper->metrics.purged_files, files);
    metric_add(keeper->metrics.purged_bytes, bytes);
    if (files > 0)
        log_info(ROOM, "purged %" PRId64 " deleted files of %" PRId64 " bytes", files, bytes);
    return true;
}

static bool purge_table(struct purge *purge)
{
    if (!purge_run(purge, stamp_run, "deleted files without a time of deletion stay for now"))
        return false;
    purge->after = 0;
    do {
        if (!keeper_breathe(purge->keeper) || !purge_run(purge, find_run, "deleted files stay for now") ||
            !purge_page(purge))
            return false;
        if (purge->page.count > 0)
            purge->after = purge->page.rows[purge->page.count - 1].row_id;
    } while (purge->page.count == UPKEEP_PAGE);
    return true;
}

static enum db_result measure_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct purge *purge = CONTAINER_OF(job, struct purge, job);
    enum db_result result = DB_OK;
    purge->trash = (struct upkeep_trash){0};
    for (unsigned table = 0; result == DB_OK && table < TABLE_HASH_TABLES; table++)
        result = upkeep_sql_trash(connection, table, purge_group(purge), &purge->trash, error);
    return result == DB_OK ? lease_sql_read(connection, lease_of(purge)->name, purge->scrub, error) : result;
}

/* Findings of the scrub's last run, or of the one under way: without `repair` it marks no row. */
static int64_t scrub_findings(const struct lease_row *row)
{
    json_t *progress = json_loads(row->progress, 0, NULL), *number;
    const char *kind;
    int64_t sum = 0;
    json_object_foreach(json_object_get(progress, "findings"), kind, number) sum +=
        json_integer_value(number);
    json_decref(progress);
    return sum;
}

/* How long the trash is not measured again after a measurement of TOOK_MS: each reads the rows of all deleted files of the database, and each
 * member of each group measures. At most an hour. */
static int64_t measure_pause_ms(int64_t took_ms)
{
    return took_ms < MEASURE_PAUSE_MAX_MS / MEASURE_SHARE ? max_i64(took_ms, 0) * MEASURE_SHARE
                                                          : MEASURE_PAUSE_MAX_MS;
}

static void purge_measure(struct keeper *keeper)
{
    int64_t start_ms = clock_monotonic_ms();
    if (start_ms < keeper->measure_at_ms)
        return;
    struct purge *purge = allocate_head(sizeof(*purge), offsetof(struct purge, page.rows));
    if (!purge)
        return;
    purge->keeper = keeper;
    purge->scrub = calloc(1, sizeof(*purge->scrub));
    if (purge->scrub && purge_run(purge, measure_run, "the size of the trash is not known")) {
        metric_set(keeper->metrics.trash_files, purge->trash.files);
        metric_set(keeper->metrics.trash_bytes, purge->trash.bytes);
        metric_set(keeper->metrics.damaged_files,
                   max_i64(purge->trash.damaged, scrub_findings(purge->scrub)));
    }
    /* Also after a failure: a database that took too long for it would take as long again. */
    keeper->measure_at_ms = start_ms + measure_pause_ms(clock_monotonic_ms() - start_ms);
    free(purge->scrub);
    free(purge);
}

static void purge_round(struct keeper *keeper)
{
    struct error error = {0};
    struct purge *purge = allocate_head(sizeof(*purge), offsetof(struct purge, page.rows));
    if (!purge)
        return;
    purge->keeper = keeper;
    if (!keeper_now(keeper, &purge->now, &error)) {
        keeper_complain(keeper, "deleted files stay for now", &error);
    } else {
        purge->limit = purge->now - keeper_trash_keep(keeper);
        while (purge->table < TABLE_HASH_TABLES && purge_table(purge))
            purge->table++;
    }
    free(purge);
}

/* ---- chores ---- */

static int64_t purge_if_due(struct keeper *keeper, struct chore *chore)
{
    (void)chore;
    purge_round(keeper);
    purge_measure(keeper);
    return keeper->config->purge_interval_ms;
}

static int64_t measure_if_due(struct keeper *keeper, struct chore *chore)
{
    (void)chore;
    if (!lease_held(&keeper->lease)) /* else the purge has just done it */
        purge_measure(keeper);
    return keeper->config->purge_interval_ms;
}

const struct chore purge_chore = {.name = "purge", .between = true, .run = purge_if_due};
const struct chore measure_chore = {.name = "measure", .anywhere = true, .run = measure_if_due};

void purge_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->purged_files =
        metrics_counter("reel_storage_purged_files_total", "Deleted files that were purged.", NULL);
    metrics->purged_bytes =
        metrics_counter("reel_storage_purged_bytes_total", "Bytes of purged files.", NULL);
    metrics->purge_failures = metrics_counter("reel_storage_purge_failures_total",
                                              "Deleted files that could not be removed.", NULL);
    metrics->purge_shared = metrics_counter(
        "reel_storage_purge_shared_total",
        "Times that a deleted row without a group was kept because another row has the same path.", NULL);
    metrics->trash_files =
        metrics_gauge("reel_storage_trash_files", "Deleted files of the group that are still kept.", NULL);
    metrics->trash_bytes = metrics_gauge("reel_storage_trash_bytes", "Bytes of these files.", NULL);
    metrics->damaged_files = metrics_gauge(
        "reel_storage_damaged_files",
        "Files of the group that are out of service, or that the last scrub found missing or damaged.", NULL);
}
