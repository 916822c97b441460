/*
 * upkeep: the thread, its timetable, its sense of time. What is done is in storage/upkeep/purge.c, storage/upkeep/sweep.c
 * and storage/upkeep/scrub.c.
 */
#include "storage/upkeep/upkeep_state.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM           "upkeep"
#define NAP_MS         1000 /* the longest time between two looks at what is due */
#define RETRY_MS       5000
#define CLOCK_LAG_WARN 60 /* seconds */

/* ---- time ---- */

static void watch_clock(struct upkeep *upkeep)
{
    int64_t offset = clock_wall_seconds() - clock_monotonic_ms() / 1000;
    if (offset - upkeep->clock_offset > CLOCK_LAG_WARN) {
        static struct log_gate gate;
        uint64_t suppressed;
        if (log_gate_open(&gate, 3600 * 1000, &suppressed))
            log_warning(ROOM,
                        "the clock was set forward by %" PRId64
                        " s since the start: what is kept for a time is kept so much longer, until a restart",
                        offset - upkeep->clock_offset);
    }
    upkeep->clock_offset = min_i64(upkeep->clock_offset, offset);
}

struct now_job {
    struct db_job job;
    int64_t seconds;
};

static enum db_result now_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return meta_sql_now(connection, &CONTAINER_OF(job, struct now_job, job)->seconds, error);
}

bool upkeep_now(struct upkeep *upkeep, int64_t *seconds, struct error *error)
{
    struct now_job now = {.job = {.run = now_run, .idempotent = true}};
    if (!upkeep_run(upkeep, &now.job, error))
        return false;
    watch_clock(upkeep);
    *seconds = min_i64(upkeep->clock_offset + clock_monotonic_ms() / 1000, now.seconds);
    return true;
}

/* ---- what the parts use ---- */

static bool is_stopping(struct upkeep *upkeep)
{
    pthread_mutex_lock(&upkeep->mutex);
    bool stopping = upkeep->stopping;
    pthread_mutex_unlock(&upkeep->mutex);
    return stopping;
}

bool upkeep_run(struct upkeep *upkeep, struct db_job *job, struct error *error)
{
    if (is_stopping(upkeep))
        return error_set(error, ERROR_UNAVAILABLE, "the server is stopping");
    if (meta_run_wait(upkeep->storage->meta, job) == DB_OK)
        return true;
    return error_set(error, db_error_code(job->result), "%s", job->error.text);
}

void upkeep_complain(struct upkeep *upkeep, const char *what, const struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed;
    if (is_stopping(upkeep))
        return;
    pthread_mutex_lock(&upkeep->mutex);
    snprintf(upkeep->last_error, sizeof(upkeep->last_error), "%.200s: %.300s", what, error->text);
    pthread_mutex_unlock(&upkeep->mutex);
    if (log_gate_open(&gate, 5000, &suppressed))
        log_error(ROOM, "%s: %s (%llu more since the last line)", what, error->text,
                  (unsigned long long)suppressed);
}

static void note_lease(struct upkeep *upkeep)
{
    bool held = lease_held(&upkeep->lease);
    pthread_mutex_lock(&upkeep->mutex);
    bool was_held = upkeep->held;
    upkeep->held = held;
    snprintf(upkeep->owner, sizeof(upkeep->owner), "%s", upkeep->lease.row.owner);
    pthread_mutex_unlock(&upkeep->mutex);
    metric_set(upkeep->metrics.held, held ? 1 : 0);
    if (held && !was_held)
        log_info(ROOM, "this server does the upkeep of group %s now", upkeep->config->group);
    else if (!held && was_held)
        log_info(ROOM, "this server does no upkeep any more; the lease is %s's", upkeep->owner);
}

static void keep_lease(struct upkeep *upkeep)
{
    struct error error = {0};
    int64_t now = clock_monotonic_ms();
    if (now < upkeep->renew_at_ms)
        return;
    bool fine = lease_try(&upkeep->lease, &error);
    if (!fine)
        upkeep_complain(upkeep, "no upkeep for now", &error);
    upkeep->renew_at_ms = clock_monotonic_ms() +
                          (fine ? min_i64(upkeep->lease.duration_ms / 4, 5000) : min_i64(RETRY_MS, 1000));
    note_lease(upkeep);
}

static void purge_if_due(struct upkeep *upkeep)
{
    if (upkeep->purging || clock_monotonic_ms() < upkeep->purge_at_ms)
        return;
    upkeep->purging = true;
    purge_round(upkeep);
    upkeep->purging = false;
    upkeep->purge_at_ms = clock_monotonic_ms() + upkeep->config->purge_interval_ms;
    upkeep->measure_at_ms = 0;
}

static void measure_if_due(struct upkeep *upkeep)
{
    if (clock_monotonic_ms() < upkeep->measure_at_ms)
        return;
    purge_measure(upkeep);
    upkeep->measure_at_ms = clock_monotonic_ms() + upkeep->config->purge_interval_ms;
}

bool upkeep_breathe(struct upkeep *upkeep)
{
    if (is_stopping(upkeep))
        return false;
    keep_lease(upkeep);
    if (!lease_held(&upkeep->lease))
        return false;
    if (!upkeep->purging) {
        purge_if_due(upkeep);
        measure_if_due(upkeep);
    }
    return !is_stopping(upkeep) && lease_held(&upkeep->lease);
}

/* At most MS milliseconds; shorter when something happens. */
static void nap(struct upkeep *upkeep, int64_t ms)
{
    pthread_mutex_lock(&upkeep->mutex);
    if (!upkeep->stopping && !upkeep->awake)
        condition_wait_ms(&upkeep->change, &upkeep->mutex, ms);
    if (upkeep->awake)
        upkeep->renew_at_ms = 0;
    upkeep->awake = false;
    pthread_mutex_unlock(&upkeep->mutex);
}

bool upkeep_throttle(struct upkeep *upkeep, int64_t bytes)
{
    pthread_mutex_lock(&upkeep->mutex);
    int64_t rate = upkeep->scrub_rate;
    pthread_mutex_unlock(&upkeep->mutex);
    if (rate > 0) {
        int64_t now = clock_monotonic_us();
        /* What was not used in the last second is lost, so that a pause is followed by no burst. */
        upkeep->throttle_at_us = max_i64(upkeep->throttle_at_us, now - 1000000) + bytes * 1000000 / rate;
        while (upkeep->throttle_at_us > clock_monotonic_us()) {
            if (!upkeep_breathe(upkeep))
                return false;
            int64_t left_ms = (upkeep->throttle_at_us - clock_monotonic_us()) / 1000;
            if (left_ms > 0)
                nap(upkeep, min_i64(left_ms, NAP_MS));
            else
                break;
        }
    }
    return upkeep_breathe(upkeep);
}

/* ---- the thread ---- */

/* At the start, once more when what was left before the start is old enough, then at every interval. */
static void sweep_if_due(struct upkeep *upkeep)
{
    struct sweep_result result;
    struct error error = {0};
    if (clock_monotonic_ms() < upkeep->sweep_at_ms)
        return;
    bool fine = sweep_all(upkeep, &result, &error);
    if (!fine && error.code != ERROR_CANCELLED)
        upkeep_complain(upkeep, "the clean-up pauses", &error);
    upkeep->sweeps += fine ? 1 : 0;
    int64_t interval = upkeep->config->sweep_interval_ms;
    if (!fine)
        interval = RETRY_MS;
    else if (upkeep->sweeps == 1)
        interval = min_i64(interval, upkeep->config->leftover_age_ms + 1000);
    upkeep->sweep_at_ms = clock_monotonic_ms() + interval;
}

static void run(struct job *job)
{
    struct upkeep *upkeep = CONTAINER_OF(job, struct upkeep, job);
    while (!is_stopping(upkeep)) {
        watch_clock(upkeep);
        if (upkeep_breathe(upkeep)) {
            sweep_if_due(upkeep);
            scrub_if_wanted(upkeep);
        } else {
            measure_if_due(upkeep);
        }
        nap(upkeep, NAP_MS);
    }
}

/* ---- making and ending ---- */

static void register_metrics(struct upkeep_metrics *metrics)
{
    metrics->held =
        metrics_gauge("reel_storage_lease_held", "1 while this server does the upkeep of its group.", NULL);
    metrics->purged_files =
        metrics_counter("reel_storage_purged_files_total", "Deleted files that were purged.", NULL);
    metrics->purged_bytes =
        metrics_counter("reel_storage_purged_bytes_total", "Bytes of purged files.", NULL);
    metrics->purge_failures = metrics_counter("reel_storage_purge_failures_total",
                                              "Deleted files that could not be removed.", NULL);
    metrics->trash_files =
        metrics_gauge("reel_storage_trash_files", "Deleted files of the group that are still kept.", NULL);
    metrics->trash_bytes = metrics_gauge("reel_storage_trash_bytes", "Bytes of these files.", NULL);
}

struct upkeep *upkeep_create(struct storage *storage, int port, struct error *error)
{
    struct upkeep *upkeep = calloc(1, sizeof(*upkeep));
    if (!upkeep) {
        error_set(error, ERROR_GENERAL, "no memory for the upkeep");
        return NULL;
    }
    if (!condition_init(&upkeep->change, error)) {
        free(upkeep);
        return NULL;
    }
    pthread_mutex_init(&upkeep->mutex, NULL);
    upkeep->storage = storage;
    upkeep->config = storage->config;
    upkeep->clock_offset = clock_wall_seconds() - clock_monotonic_ms() / 1000;
    upkeep->start_ms = clock_monotonic_ms();
    register_metrics(&upkeep->metrics);
    scrub_register_metrics(&upkeep->metrics);
    upkeep_reload(upkeep, storage->config);
    lease_init(&upkeep->lease, storage->meta, storage->config->group, storage->host_name, port,
               storage->config->lease_ms);
    upkeep->workers = workers_create("upkeep", 1, 1, error);
    if (!upkeep->workers) {
        upkeep_destroy(upkeep);
        return NULL;
    }
    upkeep->job = (struct job){.run = run};
    if (!workers_submit(upkeep->workers, &upkeep->job)) {
        error_set(error, ERROR_GENERAL, "the upkeep does not start");
        (void)workers_destroy(upkeep->workers, 0);
        upkeep_destroy(upkeep);
        return NULL;
    }
    return upkeep;
}

bool upkeep_end(struct upkeep *upkeep, int64_t timeout_ms)
{
    if (!upkeep)
        return true;
    pthread_mutex_lock(&upkeep->mutex);
    upkeep->stopping = true;
    pthread_cond_broadcast(&upkeep->change);
    pthread_mutex_unlock(&upkeep->mutex);
    if (!workers_destroy(upkeep->workers, timeout_ms))
        return false;
    upkeep->workers = NULL;
    lease_release(&upkeep->lease);
    return true;
}

void upkeep_destroy(struct upkeep *upkeep)
{
    if (!upkeep)
        return;
    pthread_cond_destroy(&upkeep->change);
    pthread_mutex_destroy(&upkeep->mutex);
    free(upkeep);
}

void upkeep_reload(struct upkeep *upkeep, const struct storage_config *config)
{
    pthread_mutex_lock(&upkeep->mutex);
    upkeep->trash_keep_ms = config->trash_keep_ms;
    upkeep->scrub_rate = config->scrub_rate;
    pthread_mutex_unlock(&upkeep->mutex);
}

void upkeep_wake(struct upkeep *upkeep)
{
    pthread_mutex_lock(&upkeep->mutex);
    upkeep->awake = true;
    pthread_cond_broadcast(&upkeep->change);
    pthread_mutex_unlock(&upkeep->mutex);
}

int64_t upkeep_trash_bytes(const struct upkeep *upkeep)
{
    return metric_value(upkeep->metrics.trash_bytes);
}

json_t *upkeep_status(struct upkeep *upkeep)
{
    pthread_mutex_lock(&upkeep->mutex);
    json_t *status =
        json_pack("{s:b, s:s, s:I, s:I, s:s}", "lease_held", (int)upkeep->held, "lease_owner", upkeep->owner,
                  "trash_files", (json_int_t)metric_value(upkeep->metrics.trash_files), "trash_bytes",
                  (json_int_t)metric_value(upkeep->metrics.trash_bytes), "failure", upkeep->last_error);
    pthread_mutex_unlock(&upkeep->mutex);
    return status;
}
