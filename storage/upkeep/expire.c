/*
 * expire: a page of partial uploads at a time, each from the mark to the end.
 */
#include "storage/upkeep/expire.h"

#include "storage/rows/partial_sql.h"
#include "storage/store/store_file.h"
#include "storage/upkeep/fence.h"
#include "storage/upkeep/upkeep_sql.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM "expire"

struct expire {
    struct db_job job;
    struct keeper *keeper;
    int64_t now;
    char after[PARTIAL_HEX_SIZE];
    struct partial_row *row; /* that is looked at */
    bool marked, has_row;
    struct partial_sum sum;
    struct partial_page page; /* last: its rows are not cleared */
};

static bool expire_run(struct expire *expire,
                       enum db_result (*function)(struct db_job *, struct db_connection *, struct error *))
{
    struct error error = {0};
    expire->job = (struct db_job){.run = function, .idempotent = true};
    if (keeper_run(expire->keeper, &expire->job, &error))
        return true;
    keeper_complain(expire->keeper, "expired partial uploads stay for now", &error);
    return false;
}

static enum db_result expire_find_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct expire *expire = CONTAINER_OF(job, struct expire, job);
    const struct keeper *keeper = expire->keeper;
    return partial_sql_expired(connection, keeper->storage->store, keeper->config->group, expire->now,
                               expire->after, &expire->page, error);
}

/* Being removed from here on, unless it changed meanwhile. */
static enum db_result expire_mark_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct expire *expire = CONTAINER_OF(job, struct expire, job);
    const struct lease *lease = &expire->keeper->lease;
    return partial_sql_expire(connection, expire->row, expire->now, lease->name, lease->owner,
                              &expire->marked, error);
}

static enum db_result expire_ask_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct expire *expire = CONTAINER_OF(job, struct expire, job);
    return upkeep_sql_taken(connection, expire->row->file_path, &expire->has_row, error);
}

static enum db_result expire_remove_run(struct db_job *job, struct db_connection *connection,
                                        struct error *error)
{
    struct expire *expire = CONTAINER_OF(job, struct expire, job);
    return partial_sql_remove(connection, expire->row->token, expire->now, error);
}

/* Its row says that it is being removed, which nothing takes back. What is asked again right before: that no file has come of it, and
 * the lease. */
static bool expire_file(struct expire *expire)
{
    struct keeper *keeper = expire->keeper;
    const struct partial_row *row = expire->row;
    struct error error = {0};
    if (!expire_run(expire, expire_ask_run))
        return false;
    if (expire->has_row) {
        log_info(ROOM, "%s has become a file; only its partial upload goes", row->file_path);
        return true;
    }
    if (!fence_lease(keeper, &error))
        return false;
    if (!store_file_remove(row->path, &row->place, &error)) {
        keeper_complain(keeper, "an expired partial file stays for now", &error);
        return false;
    }
    CRASH_POINT("expire-file-removed");
    metric_add(keeper->metrics.partials_expired, 1);
    return true;
}

/* False: it stays for now. */
static bool expire_one_partial(struct expire *expire)
{
    const struct partial_row *row = expire->row;
    struct error error = {0};
    if (row->state != PARTIAL_STORED) {
        if (row->finishing && row->expires > expire->now) /* a row that names its file may still be added */
            return false;
        if (!row->path || !store_path_readable(row->path, &error))
            return false;
        expire->marked = row->state == PARTIAL_PURGING;
        if (!expire->marked && (!expire_run(expire, expire_mark_run) || !expire->marked))
            return false;
        CRASH_POINT("expire-marked");
        if (!expire_file(expire))
            return false;
    }
    return expire_run(expire, expire_remove_run);
}

static void expire_round(struct expire *expire)
{
    struct error error = {0};
    int64_t gone = 0;
    if (!keeper_now(expire->keeper, &expire->now, &error)) {
        keeper_complain(expire->keeper, "expired partial uploads stay for now", &error);
        return;
    }
    do {
        if (!keeper_breathe(expire->keeper) || !expire_run(expire, expire_find_run))
            break;
        for (size_t i = 0; i < expire->page.count; i++) {
            expire->row = &expire->page.rows[i];
            gone += expire_one_partial(expire) ? 1 : 0;
            if (i % 10 == 9 && !keeper_breathe(expire->keeper))
                return;
        }
        if (expire->page.count > 0)
            memcpy(expire->after, expire->page.rows[expire->page.count - 1].token, sizeof(expire->after));
    } while (expire->page.count == PARTIAL_PAGE);
    if (gone > 0)
        log_info(ROOM, "%" PRId64 " expired partial uploads were removed", gone);
}

static enum db_result expire_sum_run(struct db_job *job, struct db_connection *connection,
                                     struct error *error)
{
    struct expire *expire = CONTAINER_OF(job, struct expire, job);
    return partial_sql_sum(connection, expire->keeper->config->group, &expire->sum, error);
}

static int64_t expire_if_due(struct keeper *keeper, struct chore *chore)
{
    struct expire *expire = allocate_head(sizeof(*expire), offsetof(struct expire, page.rows));
    (void)chore;
    if (!expire)
        return keeper->config->purge_interval_ms;
    expire->keeper = keeper;
    expire_round(expire);
    if (expire_run(expire, expire_sum_run)) {
        metric_set(keeper->metrics.partials, expire->sum.count);
        metric_set(keeper->metrics.partial_bytes, expire->sum.bytes);
    }
    free(expire);
    return keeper->config->purge_interval_ms;
}

const struct chore expire_chore = {.name = "expire", .between = true, .run = expire_if_due};

void expire_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->partials_expired =
        metrics_counter("reel_storage_partials_expired_total",
                        "Partial uploads whose files were removed by the upkeep.", NULL);
    metrics->partials = metrics_gauge(
        "reel_storage_partials", "Partial uploads of the group, where this server does the upkeep.", NULL);
    metrics->partial_bytes =
        metrics_gauge("reel_storage_partial_bytes", "Recorded bytes of these partial uploads.", NULL);
}
