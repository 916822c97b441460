/*
 * recount: a page of users at a time, each in a transaction of its own.
 */
#include "storage/upkeep/recount.h"

#include "storage/rows/quota.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROOM     "recount"
#define PAUSE_MS 10000

struct recount {
    struct db_job job;
    struct keeper *keeper;
    int64_t now;
    struct quota_page page;
    const struct proto_file_key *key; /* that is counted */
    struct quota_amounts before, after;
    bool found;
};

static enum db_result recount_find_run(struct db_job *job, struct db_connection *connection,
                                       struct error *error)
{
    struct recount *recount = CONTAINER_OF(job, struct recount, job);
    bool counts = false;
    recount->page.count = 0;
    enum db_result result = quota_counts(recount->keeper->storage->meta, connection, &counts, error);
    return result == DB_OK && counts ? quota_sql_due(connection, recount->now, &recount->page, error)
                                     : result;
}

static enum db_result recount_user_run(struct db_job *job, struct db_connection *connection,
                                       struct error *error)
{
    struct recount *recount = CONTAINER_OF(job, struct recount, job);
    struct meta *meta = recount->keeper->storage->meta;
    enum db_result result = quota_sql_recount(connection, recount->key, recount->now + QUOTA_RECOUNT_S,
                                              &recount->before, &recount->after, &recount->found, error);
    return result == DB_OK ? quota_drop_user(meta, connection, recount->key, error) : result;
}

static bool recount_run(struct recount *recount,
                        enum db_result (*function)(struct db_job *, struct db_connection *, struct error *))
{
    struct error error = {0};
    recount->job = (struct db_job){.run = function, .idempotent = true};
    if (keeper_run(recount->keeper, &recount->job, &error))
        return true;
    keeper_complain(recount->keeper, "the usage of users with quotas is not recounted for now", &error);
    return false;
}

static bool recount_one_user(struct recount *recount)
{
    const struct quota_amounts *before = &recount->before, *after = &recount->after;
    if (!recount_run(recount, recount_user_run))
        return false;
    if (!recount->found || (before->bytes == after->bytes && before->files == after->files))
        return true;
    metric_add(recount->keeper->metrics.quota_corrections, 1);
    log_warning(ROOM,
                "user %s in %s has %" PRId64 " files of %" PRId64 " bytes; the count said %" PRId64
                " of %" PRId64 ", and was corrected",
                recount->key->user, recount->key->application, after->files, after->bytes, before->files,
                before->bytes);
    return true;
}

static bool recount_page(struct recount *recount)
{
    if (!keeper_breathe(recount->keeper) || !recount_run(recount, recount_find_run))
        return false;
    for (size_t i = 0; i < recount->page.count; i++) {
        recount->key = &recount->page.keys[i];
        if (!recount_one_user(recount) || !keeper_breathe(recount->keeper))
            return false;
    }
    return true;
}

static int64_t recount_if_due(struct keeper *keeper, struct chore *chore)
{
    struct recount *recount = calloc(1, sizeof(*recount));
    struct error error = {0};
    (void)chore;
    if (!recount)
        return PAUSE_MS;
    recount->keeper = keeper;
    if (keeper_now(keeper, &recount->now, &error)) {
        while (recount_page(recount) && recount->page.count == QUOTA_PAGE)
            continue;
    } else {
        keeper_complain(keeper, "the usage of users with quotas is not recounted for now", &error);
    }
    free(recount);
    return min_i64(PAUSE_MS, keeper->config->purge_interval_ms);
}

const struct chore recount_chore = {.name = "recount", .between = true, .run = recount_if_due};

void recount_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->quota_corrections =
        metrics_counter("reel_storage_quota_corrections_total",
                        "Users whose recorded files or bytes turned out to be wrong.", NULL);
}
