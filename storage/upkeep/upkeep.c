/*
 * upkeep: the thread, and the table of its chores.
 */
#include "storage/upkeep/upkeep.h"

#include "storage/upkeep/expire.h"
#include "storage/upkeep/expire_files.h"
#include "storage/upkeep/keeper.h"
#include "storage/upkeep/purge.h"
#include "storage/upkeep/quarantine.h"
#include "storage/upkeep/recount.h"
#include "storage/upkeep/scrub.h"
#include "storage/upkeep/sweep.h"

#include "common/loop/workers.h"

#include <stdio.h>
#include <stdlib.h>

#define NAP_MS 1000

struct upkeep {
    struct keeper keeper;
    struct workers *workers; /* one thread */
    struct job job;
};

static void upkeep_run(struct job *job)
{
    struct keeper *keeper = &CONTAINER_OF(job, struct upkeep, job)->keeper;
    while (!keeper_stopping(keeper)) {
        keeper_turn(keeper);
        keeper_nap(keeper, NAP_MS);
    }
}

static bool upkeep_start(struct upkeep *upkeep, struct error *error)
{
    upkeep->workers = workers_create("upkeep", 1, 1, error);
    if (!upkeep->workers)
        return false;
    upkeep->job = (struct job){.run = upkeep_run};
    if (workers_submit(upkeep->workers, &upkeep->job))
        return true;
    (void)workers_destroy(upkeep->workers, 0);
    return error_set(error, ERROR_GENERAL, "the upkeep does not start");
}

struct upkeep *upkeep_create(struct storage *storage, int port, struct error *error)
{
    const struct chore chores[] = {expire_files_chore, purge_chore, measure_chore, expire_chore,
                                   recount_chore,      sweep_chore, scrub_chore};
    struct upkeep *upkeep = calloc(1, sizeof(*upkeep));
    if (!upkeep) {
        error_set(error, ERROR_GENERAL, "no memory for the upkeep");
        return NULL;
    }
    struct upkeep_metrics *metrics = &upkeep->keeper.metrics;
    if (!keeper_init(&upkeep->keeper, storage, port, chores, ARRAY_SIZE(chores), error)) {
        free(upkeep);
        return NULL;
    }
    purge_register_metrics(metrics);
    expire_register_metrics(metrics);
    expire_files_register_metrics(metrics);
    recount_register_metrics(metrics);
    sweep_register_metrics(metrics);
    quarantine_register_metrics(metrics);
    scrub_register_metrics(metrics);
    if (upkeep_start(upkeep, error))
        return upkeep;
    upkeep_destroy(upkeep);
    return NULL;
}

bool upkeep_end(struct upkeep *upkeep, int64_t timeout_ms)
{
    if (!upkeep)
        return true;
    keeper_stop(&upkeep->keeper);
    if (!workers_destroy(upkeep->workers, timeout_ms))
        return false;
    upkeep->workers = NULL;
    keeper_give_up(&upkeep->keeper);
    return true;
}

bool upkeep_asks(const struct upkeep *upkeep)
{
    return keeper_asks(&upkeep->keeper);
}

void upkeep_destroy(struct upkeep *upkeep)
{
    if (!upkeep)
        return;
    keeper_clear(&upkeep->keeper);
    free(upkeep);
}

void upkeep_reload(struct upkeep *upkeep, const struct storage_config *config)
{
    keeper_reload(&upkeep->keeper, config);
}

void upkeep_wake(struct upkeep *upkeep)
{
    keeper_wake(&upkeep->keeper);
}

int64_t upkeep_trash_bytes(const struct upkeep *upkeep)
{
    return metric_value(upkeep->keeper.metrics.trash_bytes);
}

int32_t upkeep_damaged_files(const struct upkeep *upkeep)
{
    return (int32_t)min_i64(metric_value(upkeep->keeper.metrics.damaged_files), INT32_MAX);
}

void upkeep_concern(const struct upkeep *upkeep, char *reason, size_t reason_size)
{
    if (metric_value(upkeep->keeper.metrics.sweep_stopped) != 0)
        snprintf(reason, reason_size,
                 "too many files have no row; the clean-up waits for `reel fsck --confirm-leftovers`");
}

json_t *upkeep_status(struct upkeep *upkeep)
{
    struct keeper *keeper = &upkeep->keeper;
    const struct upkeep_metrics *metrics = &keeper->metrics;
    pthread_mutex_lock(&keeper->mutex);
    json_t *status =
        json_pack("{s:b, s:s, s:I, s:I, s:I, s:b, s:s}", "lease_held", (int)keeper->held, "lease_owner",
                  keeper->owner, "trash_files", (json_int_t)metric_value(metrics->trash_files), "trash_bytes",
                  (json_int_t)metric_value(metrics->trash_bytes), "damaged_files",
                  (json_int_t)metric_value(metrics->damaged_files), "sweep_stopped",
                  (int)(metric_value(metrics->sweep_stopped) != 0), "failure", keeper->last_error);
    pthread_mutex_unlock(&keeper->mutex);
    return status;
}
