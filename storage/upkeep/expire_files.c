/*
 * expire_files: a page of rows at a time, each deleted by a statement of its own, which names what was seen of it.
 */
#include "storage/upkeep/expire_files.h"

#include "storage/upkeep/upkeep_sql.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROOM "expire"

struct expiry {
    struct db_job job;
    struct keeper *keeper;
    unsigned table;
    int64_t now, after;
    struct upkeep_row *row; /* that is deleted */
    int64_t deleted, change_id;
    bool changed;
    struct upkeep_page page; /* last: its rows are not cleared */
};

static bool expiry_run(struct expiry *expiry,
                       enum db_result (*function)(struct db_job *, struct db_connection *, struct error *))
{
    struct error error = {0};
    expiry->job = (struct db_job){.run = function, .idempotent = true};
    if (keeper_run(expiry->keeper, &expiry->job, &error))
        return true;
    keeper_complain(expiry->keeper, "expired files stay for now", &error);
    return false;
}

static enum db_result find_expired_run(struct db_job *job, struct db_connection *connection,
                                       struct error *error)
{
    struct expiry *expiry = CONTAINER_OF(job, struct expiry, job);
    const struct keeper *keeper = expiry->keeper;
    return upkeep_sql_find_expired(connection, keeper->storage->store, expiry->table, keeper->config->group,
                                   expiry->now, expiry->after, &expiry->page, error);
}

/* As in DELETE the time of the deletion is the later one of this machine's clock and the database's, so that nothing is purged early. */
static enum db_result delete_expired_run(struct db_job *job, struct db_connection *connection,
                                         struct error *error)
{
    struct expiry *expiry = CONTAINER_OF(job, struct expiry, job);
    const struct keeper *keeper = expiry->keeper;
    if (expiry->deleted == 0) {
        enum db_result result = meta_sql_now(connection, &expiry->deleted, error);
        if (result != DB_OK)
            return result;
        expiry->deleted = max_i64(expiry->deleted, clock_wall_seconds());
    }
    return upkeep_sql_expire(connection, &keeper->lease, expiry->row, keeper->config->group, expiry->now,
                             expiry->deleted, expiry->change_id, &expiry->changed, error);
}

/* May this group delete it? A row that names no group may be another group's, whose file is not here. */
static bool expiry_chooses(const struct upkeep_row *row)
{
    return row->key.file[0] != '\0' && (row->row.stat.group[0] != '\0' || row->row.path);
}

/* False: the database fails. */
static bool expire_row(struct expiry *expiry, struct upkeep_row *row)
{
    struct keeper *keeper = expiry->keeper;
    expiry->row = row;
    expiry->deleted = 0;
    arc4random_buf(&expiry->change_id, sizeof(expiry->change_id));
    if (!expiry_run(expiry, delete_expired_run))
        return false;
    CRASH_POINT("expire-row-deleted");
    meta_forget(keeper->storage->meta, &row->key);
    if (row->row.path)
        open_cache_forget(keeper->storage->open_cache, row->row.path, &row->row.place);
    if (!expiry->changed) /* deleted, or given more time, a moment ago */
        return true;
    metric_add(keeper->metrics.files_expired, 1);
    log_info(ROOM, "file %s of user %s: it expired (%" PRId64 "); deleted", row->key.file, row->key.user,
             row->row.stat.expires);
    return true;
}

static bool expire_table(struct expiry *expiry)
{
    expiry->after = 0;
    do {
        if (!keeper_breathe(expiry->keeper) || !expiry_run(expiry, find_expired_run))
            return false;
        for (size_t i = 0; i < expiry->page.count; i++) {
            struct upkeep_row *row = &expiry->page.rows[i];
            if (expiry_chooses(row) && !expire_row(expiry, row))
                return false;
            if (i % 10 == 9 && !keeper_breathe(expiry->keeper))
                return false;
        }
        if (expiry->page.count > 0)
            expiry->after = expiry->page.rows[expiry->page.count - 1].row_id;
    } while (expiry->page.count == UPKEEP_PAGE);
    return true;
}

static int64_t expire_files_if_due(struct keeper *keeper, struct chore *chore)
{
    struct expiry *expiry = allocate_head(sizeof(*expiry), offsetof(struct expiry, page.rows));
    struct error error = {0};
    (void)chore;
    if (!expiry)
        return keeper->config->purge_interval_ms;
    expiry->keeper = keeper;
    if (!keeper_now(keeper, &expiry->now, &error))
        keeper_complain(keeper, "expired files stay for now", &error);
    else
        while (expiry->table < TABLE_HASH_TABLES && expire_table(expiry))
            expiry->table++;
    free(expiry);
    return keeper->config->purge_interval_ms;
}

const struct chore expire_files_chore = {.name = "expire_files", .between = true, .run = expire_files_if_due};

void expire_files_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->files_expired = metrics_counter("reel_storage_files_expired_total",
                                             "Files that the upkeep deleted because they had expired.", NULL);
}
