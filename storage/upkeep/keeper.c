/*
 * keeper: one turn of the upkeep: the lease is kept, then every chore of the table that is due is run. A chore that takes
 * long calls keeper_breathe() or keeper_throttle() every second or so, and there the lease is kept too and the short
 * chores (`between`) are run.
 */
#include "storage/upkeep/keeper.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <string.h>

#define ROOM           "upkeep"
#define NAP_MS         1000 /* the longest time between two looks at what is due */
#define RENEW_MS       5000 /* the longest time between two renewals of the lease */
#define RETRY_MS       1000 /* after a renewal that failed */
#define CLOCK_LAG_WARN 60   /* seconds */

/* ---- time ---- */

static void keeper_watch_clock(struct keeper *keeper)
{
    int64_t offset = clock_wall_seconds() - clock_monotonic_ms() / 1000;
    if (offset - keeper->clock_offset > CLOCK_LAG_WARN) {
        static struct log_gate gate;
        uint64_t suppressed;
        if (log_gate_open(&gate, 3600 * 1000, &suppressed))
            log_warning(
                ROOM,
                "the clock was set forward by %" PRId64
                " s since the start: what is kept for a time is kept that much longer, until a restart",
                offset - keeper->clock_offset);
    }
    keeper->clock_offset = min_i64(keeper->clock_offset, offset);
}

struct now_job {
    struct db_job job;
    int64_t seconds;
};

static enum db_result now_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    return meta_sql_now(connection, &CONTAINER_OF(job, struct now_job, job)->seconds, error);
}

bool keeper_now(struct keeper *keeper, int64_t *seconds, struct error *error)
{
    struct now_job now = {.job = {.run = now_run, .idempotent = true}};
    if (!keeper_run(keeper, &now.job, error))
        return false;
    keeper_watch_clock(keeper);
    *seconds = min_i64(keeper->clock_offset + clock_monotonic_ms() / 1000, now.seconds);
    return true;
}

/* ---- what the chores use ---- */

bool keeper_stopping(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    bool stopping = keeper->stopping;
    pthread_mutex_unlock(&keeper->mutex);
    return stopping;
}

int64_t keeper_trash_keep(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    int64_t ms = keeper->trash_keep_ms;
    pthread_mutex_unlock(&keeper->mutex);
    /* Times of deletion are whole seconds, rounded down: one more, so that nobody's file goes early. */
    return ms == 0 ? 0 : (ms + 999) / 1000 + 1;
}

bool keeper_run(struct keeper *keeper, struct db_job *job, struct error *error)
{
    if (keeper_stopping(keeper))
        return error_set(error, ERROR_CANCELLED, "the server is stopping");
    atomic_store(&keeper->asks, true);
    enum db_result result = meta_run_wait(keeper->storage->meta, job);
    atomic_store(&keeper->asks, false);
    if (result == DB_OK)
        return true;
    return error_set(error, db_error_code(job->result), "%s", job->error.text);
}

void keeper_complain(struct keeper *keeper, const char *what, const struct error *error)
{
    static struct log_gate gate;
    uint64_t suppressed;
    if (keeper_stopping(keeper))
        return;
    pthread_mutex_lock(&keeper->mutex);
    snprintf(keeper->last_error, sizeof(keeper->last_error), "%.200s: %.300s", what, error->text);
    pthread_mutex_unlock(&keeper->mutex);
    if (log_gate_open(&gate, 5000, &suppressed))
        log_error(ROOM, "%s: %s (%llu more since the last line)", what, error->text,
                  (unsigned long long)suppressed);
}

/* ---- the lease ---- */

static void keeper_note_lease(struct keeper *keeper)
{
    bool held = lease_held(&keeper->lease);
    pthread_mutex_lock(&keeper->mutex);
    bool was_held = keeper->held;
    keeper->held = held;
    snprintf(keeper->owner, sizeof(keeper->owner), "%s", keeper->lease.row.owner);
    pthread_mutex_unlock(&keeper->mutex);
    metric_set(keeper->metrics.held, held ? 1 : 0);
    if (held && !was_held)
        log_info(ROOM, "this server now does the upkeep of group %s", keeper->config->group);
    else if (!held && was_held)
        log_info(ROOM, "this server no longer does the upkeep of its group; the lease belongs to %s",
                 keeper->owner);
}

static void keeper_keep_lease(struct keeper *keeper)
{
    struct error error = {0};
    if (clock_monotonic_ms() < keeper->renew_at_ms)
        return;
    bool fine = lease_try(&keeper->lease, &error);
    if (!fine)
        keeper_complain(keeper, "no upkeep for now", &error);
    keeper->renew_at_ms =
        clock_monotonic_ms() + (fine ? min_i64(keeper->lease.duration_ms / 4, RENEW_MS) : RETRY_MS);
    keeper_note_lease(keeper);
}

/* ---- chores ---- */

static bool keeper_is_due(const struct keeper *keeper, const struct chore *chore)
{
    int64_t now_ms = clock_monotonic_ms();
    return !chore->running && (chore->due ? chore->due(keeper, chore, now_ms) : now_ms >= chore->next_ms);
}

static void keeper_do(struct keeper *keeper, struct chore *chore)
{
    chore->running = true;
    int64_t pause_ms = chore->run(keeper, chore);
    chore->running = false;
    chore->next_ms = clock_monotonic_ms() + pause_ms;
}

/* The short ones; not inside of each other. */
static void keeper_do_between(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->chore_count; i++) {
        if (keeper->chores[i].between && keeper->chores[i].running)
            return;
    }
    for (size_t i = 0; i < keeper->chore_count; i++) {
        if (keeper->chores[i].between && keeper_is_due(keeper, &keeper->chores[i]))
            keeper_do(keeper, &keeper->chores[i]);
    }
}

bool keeper_breathe(struct keeper *keeper)
{
    if (keeper_stopping(keeper))
        return false;
    keeper_keep_lease(keeper);
    if (!lease_held(&keeper->lease))
        return false;
    keeper_do_between(keeper);
    return !keeper_stopping(keeper) && lease_held(&keeper->lease);
}

void keeper_turn(struct keeper *keeper)
{
    keeper_watch_clock(keeper);
    (void)keeper_breathe(keeper);
    for (size_t i = 0; i < keeper->chore_count && !keeper_stopping(keeper); i++) {
        struct chore *chore = &keeper->chores[i];
        if ((chore->anywhere || lease_held(&keeper->lease)) && keeper_is_due(keeper, chore))
            keeper_do(keeper, chore);
    }
}

void keeper_nap(struct keeper *keeper, int64_t ms)
{
    pthread_mutex_lock(&keeper->mutex);
    if (!keeper->stopping && !keeper->awake)
        condition_wait_ms(&keeper->change, &keeper->mutex, min_i64(ms, NAP_MS));
    if (keeper->awake)
        keeper->renew_at_ms = 0;
    keeper->awake = false;
    pthread_mutex_unlock(&keeper->mutex);
}

bool keeper_throttle(struct keeper *keeper, int64_t bytes)
{
    pthread_mutex_lock(&keeper->mutex);
    int64_t rate = keeper->scrub_rate;
    pthread_mutex_unlock(&keeper->mutex);
    if (rate > 0) {
        int64_t now = clock_monotonic_us();
        /* What was not used in the last second is lost, so that a pause is followed by no burst. */
        keeper->throttle_at_us = max_i64(keeper->throttle_at_us, now - 1000000) + bytes * 1000000 / rate;
        for (;;) {
            int64_t left_ms = (keeper->throttle_at_us - clock_monotonic_us()) / 1000;
            if (left_ms <= 0)
                break;
            if (!keeper_breathe(keeper))
                return false;
            keeper_nap(keeper, left_ms);
        }
    }
    return keeper_breathe(keeper);
}

/* ---- making and ending ---- */

bool keeper_init(struct keeper *keeper, struct storage *storage, int port, const struct chore *chores,
                 size_t count, struct error *error)
{
    memset(keeper, 0, sizeof(*keeper));
    ASSERT(count <= KEEPER_CHORES_MAX);
    if (!condition_init(&keeper->change, error))
        return false;
    pthread_mutex_init(&keeper->mutex, NULL);
    keeper->storage = storage;
    keeper->config = storage->config;
    if (count > 0)
        memcpy(keeper->chores, chores, count * sizeof(*chores));
    keeper->chore_count = count;
    keeper->clock_offset = clock_wall_seconds() - clock_monotonic_ms() / 1000;
    keeper->start_ms = clock_monotonic_ms();
    keeper->metrics.held =
        metrics_gauge("reel_storage_lease_held", "1 while this server does the upkeep of its group.", NULL);
    keeper_reload(keeper, storage->config);
    lease_init(&keeper->lease, storage->meta, storage->config->group, storage->host_name, port,
               storage->config->lease_ms);
    return true;
}

void keeper_give_up(struct keeper *keeper)
{
    lease_release(&keeper->lease);
}

void keeper_clear(struct keeper *keeper)
{
    pthread_cond_destroy(&keeper->change);
    pthread_mutex_destroy(&keeper->mutex);
}

void keeper_stop(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    keeper->stopping = true;
    pthread_cond_broadcast(&keeper->change);
    pthread_mutex_unlock(&keeper->mutex);
}

bool keeper_asks(const struct keeper *keeper)
{
    return atomic_load(&keeper->asks) || atomic_load(&keeper->lease.asks);
}

void keeper_wake(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->mutex);
    keeper->awake = true;
    pthread_cond_broadcast(&keeper->change);
    pthread_mutex_unlock(&keeper->mutex);
}

void keeper_reload(struct keeper *keeper, const struct storage_config *config)
{
    pthread_mutex_lock(&keeper->mutex);
    keeper->trash_keep_ms = config->trash_keep_ms;
    keeper->scrub_rate = config->scrub_rate;
    pthread_mutex_unlock(&keeper->mutex);
}
