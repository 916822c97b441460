/*
 * lease: taking, keeping and watching a row of t_lease.
 */
#include "storage/upkeep/lease.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct lease_job {
    struct db_job job;
    struct lease *lease;
    struct lease_row row;
    bool ours;
    const char *progress;
    int64_t done;
};

void lease_init(struct lease *lease, struct meta *meta, const char *group, const char *host, int port,
                int64_t duration_ms)
{
    memset(lease, 0, sizeof(*lease));
    lease->meta = meta;
    lease->duration_ms = duration_ms;
    snprintf(lease->name, sizeof(lease->name), "upkeep/%s", group);
    snprintf(lease->owner, sizeof(lease->owner), "%s:%d/%08" PRIx32 "%08" PRIx32, host, port, arc4random(),
             arc4random());
}

bool lease_held(const struct lease *lease)
{
    return clock_monotonic_ms() < lease->held_until_ms;
}

/* May be taken: ours, nobody's, or of somebody who has not moved for the whole time. */
static bool lease_is_free(const struct lease *lease, const struct lease_row *row)
{
    if (row->owner[0] == '\0' || strcmp(row->owner, lease->owner) == 0)
        return true;
    return lease->seen_since_ms != 0 && strcmp(row->owner, lease->row.owner) == 0 &&
           row->renewals == lease->row.renewals &&
           clock_monotonic_ms() - lease->seen_since_ms >= lease->duration_ms;
}

static enum db_result lease_try_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct lease_job *try = CONTAINER_OF(job, struct lease_job, job);
    const struct lease *lease = try->lease;
    try->ours = false;
    enum db_result result = lease_sql_read(connection, lease->name, &try->row, error);
    if (result == DB_OK && lease_is_free(lease, &try->row))
        result = lease_sql_take(connection, lease->name, &try->row, lease->owner, &try->ours, error);
    return result;
}

static enum db_result lease_release_run(struct db_job *job, struct db_connection *connection,
                                        struct error *error)
{
    const struct lease *lease = CONTAINER_OF(job, struct lease_job, job)->lease;
    return lease_sql_release(connection, lease->name, lease->owner, error);
}

static enum db_result lease_store_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct lease_job *store = CONTAINER_OF(job, struct lease_job, job);
    return lease_sql_store(connection, store->lease->name, store->lease->owner, store->progress, store->done,
                           &store->ours, error);
}

static enum db_result lease_begin_run(struct db_job *job, struct db_connection *connection,
                                      struct error *error)
{
    struct lease_job *begin = CONTAINER_OF(job, struct lease_job, job);
    const struct lease *lease = begin->lease;
    return lease_sql_begin(connection, lease->name, lease->owner, &lease->row, begin->progress, &begin->ours,
                           error);
}

static bool lease_run_job(struct lease_job *job, struct error *error)
{
    job->job.idempotent = true;
    atomic_store(&job->lease->asks, true);
    enum db_result result = meta_run_wait(job->lease->meta, &job->job);
    atomic_store(&job->lease->asks, false);
    if (result == DB_OK)
        return true;
    return error_set(error, db_error_code(job->job.result), "the lease %s: %s", job->lease->name,
                     job->job.error.text);
}

bool lease_try(struct lease *lease, struct error *error)
{
    struct lease_job *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the lease");
    /* From before the renewal, so that the holder's time ends before that of anybody who saw the renewal. A
     * quarter is left for clocks that run at different speeds. */
    int64_t begin_ms = clock_monotonic_ms();
    job->lease = lease;
    job->job.run = lease_try_run;
    bool fine = lease_run_job(job, error);
    if (fine && job->ours) {
        CRASH_POINT("lease-taken");
        lease->held_until_ms = begin_ms + lease->duration_ms * 3 / 4;
        memcpy(job->row.owner, lease->owner, sizeof(lease->owner));
        job->row.renewals++;
    } else if (fine) {
        lease->held_until_ms = 0;
    }
    if (fine) {
        if (lease->seen_since_ms == 0 || strcmp(job->row.owner, lease->row.owner) != 0 ||
            job->row.renewals != lease->row.renewals)
            lease->seen_since_ms = clock_monotonic_ms();
        lease->row = job->row;
    }
    free(job);
    return fine;
}

void lease_release(struct lease *lease)
{
    struct lease_job *job = lease_held(lease) ? calloc(1, sizeof(*job)) : NULL;
    struct error ignored;
    lease->held_until_ms = 0;
    if (!job)
        return;
    job->lease = lease;
    job->job.run = lease_release_run;
    if (!lease_run_job(job, &ignored)) {
        /* The others wait a little longer for it. */
    }
    free(job);
}

bool lease_store(struct lease *lease, const char *progress, int64_t done, struct error *error)
{
    struct lease_job *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the lease");
    job->lease = lease;
    job->job.run = lease_store_run;
    job->progress = progress;
    job->done = done;
    bool fine = lease_run_job(job, error);
    if (fine && !job->ours) {
        lease->held_until_ms = 0;
        fine = error_set(error, ERROR_UNAVAILABLE, "another member has taken the lease %s", lease->name);
    }
    if (fine) {
        snprintf(lease->row.progress, sizeof(lease->row.progress), "%s", progress);
        lease->row.done = max_i64(lease->row.done, done);
    }
    free(job);
    return fine;
}

bool lease_begin(struct lease *lease, const char *progress, struct error *error)
{
    struct lease_job *job = calloc(1, sizeof(*job));
    if (!job)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the lease");
    job->lease = lease;
    job->job.run = lease_begin_run;
    job->progress = progress;
    bool fine = lease_run_job(job, error);
    if (fine && !job->ours)
        fine = error_set(error, ERROR_CANCELLED, "the lease %s was changed by others", lease->name);
    if (fine) {
        snprintf(lease->row.progress, sizeof(lease->row.progress), "%s", progress);
        lease->row.repair = false;
    }
    free(job);
    return fine;
}
