/*
 * db: the pool: threads with a connection each, the queue of jobs, running a job again after a failure that
 * passes, and time-outs of jobs that wait. Threads are woken as those of common/loop/workers.c are: none while another one is coming to look
 * at the queue, the most recent sleeper first (its connection has the newest pages of an SQLite file in its cache). A thread for
 * which the server has no connection left leaves the jobs to those that have theirs. Touches the connections of
 * db_connection.c only. Called from any loop; its own threads are the job threads and a keeper that ends jobs that
 * nobody could take.
 */
#include "common/db/db_pool.h"

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define ROOM            "db"
#define RETRY_PAUSE_MIN 4 /* ms before a job is run again, doubled up to the maximum */
#define RETRY_PAUSE_MAX 500
#define PROBE_AWAY_MS   1000 /* an idle pool looks whether the database is back */
#define PROBE_CALM_MS   5000 /* and whether it is still there */
#define LOG_BROKEN_MS   5000
#define THREADS_MAX     256
#define CROWDED_MS      1000 /* between two attempts of a thread for which the server has no connection left */
#define LOG_CROWDED_MS  60000

/* For db_run_wait(): who waits for the job's end. */
struct db_waiter {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool end;
};

/* ---- state of the database ---- */

bool db_healthy(struct db *db, char *reason, size_t reason_size)
{
    bool healthy;

    pthread_mutex_lock(&db->lock);
    healthy = !db->state.away;
    if (reason_size > 0)
        snprintf(reason, reason_size, "%s", db->state.reason);
    pthread_mutex_unlock(&db->lock);
    if (healthy && reason_size > 0) {
        pthread_mutex_lock(&db->shared.lock);
        snprintf(reason, reason_size, "%s", db->shared.concern);
        pthread_mutex_unlock(&db->shared.lock);
    }
    return healthy;
}

enum db_backend db_backend_of(const struct db *db)
{
    return db->url.backend;
}

/* ---- jobs ---- */

static void job_posted(struct task *task)
{
    struct db_job *job = CONTAINER_OF(task, struct db_job, task);

    job->done(job);
}

/* Hands the job back to who submitted it. It must not be touched afterwards. */
static void finish_job(struct db *db, struct db_job *job, enum db_result result)
{
    job->result = result;
    if (result != DB_OK) {
        metric_add(db->errors[result], 1);
        if (job->error.text[0] == '\0')
            error_set(&job->error, db_error_code(result), "database %s: the job failed", db->url.text);
    } else {
        job->error = (struct error){0};
    }
    metric_observe_us(db->job_duration, clock_monotonic_us() - job->submitted_us);
    if (job->waiter) {
        struct db_waiter *waiter = job->waiter;
        pthread_mutex_lock(&waiter->lock);
        waiter->end = true;
        pthread_cond_signal(&waiter->ended);
        pthread_mutex_unlock(&waiter->lock);
        return;
    }
    job->task.run = job_posted;
    loop_post(job->loop, &job->task);
}

/* With db->lock held. */
static struct db_job *take_job(struct db *db)
{
    struct db_job *job = db->head;

    if (!job)
        return NULL;
    db->head = job->next;
    if (!db->head)
        db->tail = &db->head;
    db->waiting--;
    metric_add(db->queue_depth, -1);
    return job;
}

/* With db->lock held: a job that no connection could take in time. */
static void expire_job(struct db *db, struct db_job *job)
{
    error_set(&job->error, ERROR_UNAVAILABLE, "database %s: %s%s%s", db->url.text,
              db->stopping ? "is being closed" : "no connection was free in time",
              db->state.away ? "; it is away: " : "", db->state.away ? db->state.reason : "");
    finish_job(db, job, DB_TRANSIENT);
}

static enum db_result run_once(struct db_thread *thread, struct db_job *job)
{
    struct db *db = thread->db;
    struct db_connection *connection = &thread->connection;
    enum db_result result;
    uint64_t suppressed;
    bool broken;

    job->error = (struct error){0};
    result = db_pool_connect(thread, false, job->deadline_ms, &job->error);
    if (result != DB_OK)
        return result;
    result = job->run(job, connection, &job->error);
    broken = connection->broken;
    db_connection_settle(connection);
    db_pool_count(thread);
    pthread_mutex_lock(&db->lock);
    if (!broken)
        db_state_back(&db->state);
    else if (log_gate_open(&db->broken_gate, LOG_BROKEN_MS, &suppressed))
        log_warning(ROOM, "database %s: lost a connection: %s (reconnecting; %llu lines suppressed)",
                    db->url.text, job->error.text, (unsigned long long)suppressed);
    pthread_mutex_unlock(&db->lock);
    return result;
}

/* Its `wake` is to be signalled. With db->lock held. */
static struct db_thread *wake_thread(struct db *db)
{
    struct db_thread *thread = LIST_FIRST(&db->asleep);

    LIST_REMOVE(thread, link);
    thread->asleep = false;
    thread->coming = true;
    atomic_fetch_add(&db->coming, 1);
    return thread;
}

/* Gives db->lock back. A thread for those who wait, unless one is coming. */
static void db_unlock(struct db *db)
{
    bool wanted = db->head && atomic_load(&db->coming) == 0 && !LIST_EMPTY(&db->asleep);
    struct db_thread *thread = wanted ? wake_thread(db) : NULL;

    pthread_mutex_unlock(&db->lock);
    if (thread)
        pthread_cond_signal(&thread->wake);
}

/* JOB, which was taken and not run, is the next one again. */
static void hand_back(struct db *db, struct db_job *job)
{
    pthread_mutex_lock(&db->lock);
    if (db->stopping) {
        expire_job(db, job);
    } else {
        job->next = db->head;
        if (!db->head)
            db->tail = &job->next;
        db->head = job;
        db->waiting++;
        metric_add(db->queue_depth, 1);
        pthread_cond_broadcast(&db->keep);
    }
    db_unlock(db);
}

/* Takes no jobs until it has a connection, or nobody has one. */
static void db_rest(struct db_thread *thread, const char *why)
{
    static struct log_gate gate;
    struct db *db = thread->db;
    struct error error;
    bool stopping = false;

    if (log_gate_open(&gate, LOG_CROWDED_MS, NULL))
        log_warning(ROOM,
                    "%s; the %zu connections that there are do all the work: raise max_connections on the "
                    "server, or lower "
                    "database.threads",
                    why, atomic_load(&db->connected));
    while (!stopping && db_pool_is_crowded_out(thread)) {
        pthread_mutex_lock(&db->lock);
        db_pool_pause_until(db, clock_monotonic_ms() + CROWDED_MS);
        stopping = db->stopping;
        pthread_mutex_unlock(&db->lock);
        if (!stopping && db_pool_connect(thread, true, INT64_MAX, &error) == DB_OK)
            break;
    }
}

static void run_job(struct db_thread *thread, struct db_job *job)
{
    struct db *db = thread->db;
    struct backoff backoff = {.first_ms = RETRY_PAUSE_MIN, .longest_ms = RETRY_PAUSE_MAX};
    enum db_result result;
    char why[ERROR_TEXT_SIZE];

    for (;;) {
        int64_t again_ms;
        bool stopping;

        result = run_once(thread, job);
        if (result == DB_TRANSIENT && db_pool_is_crowded_out(thread)) {
            snprintf(why, sizeof(why), "%s", job->error.text);
            hand_back(db, job);
            db_rest(thread, why);
            return;
        }
        if (result != DB_TRANSIENT && !(result == DB_UNCERTAIN && job->idempotent))
            break;
        again_ms = clock_monotonic_ms() + backoff_next(&backoff);
        if (again_ms >= job->deadline_ms)
            break;
        metric_add(db->retries, 1);
        pthread_mutex_lock(&db->lock);
        db_pool_pause_until(db, again_ms);
        stopping = db->stopping;
        pthread_mutex_unlock(&db->lock);
        if (stopping)
            break;
    }
    /* What follows the job is for this thread, whose connection has the newest pages. */
    thread->coming = true;
    atomic_fetch_add(&db->coming, 1);
    finish_job(db, job, result);
}

/* The first thread looks after the database while nobody asks: health is known before the first job comes,
 * and a database that is back is noticed also where the failing health check keeps all jobs away. */
static void probe(struct db_thread *thread)
{
    struct db *db = thread->db;
    struct error error = {0};

    if (db_pool_connect(thread, true, INT64_MAX, &error) != DB_OK)
        return;
    pthread_mutex_lock(&db->lock);
    db_state_back(&db->state);
    pthread_mutex_unlock(&db->lock);
}

/* It has come. With db->lock held. */
static void look(struct db_thread *thread)
{
    if (thread->coming)
        atomic_fetch_sub(&thread->db->coming, 1);
    thread->coming = false;
}

/* Until it is woken, or until UNTIL_MS (0: no end). With db->lock held, but not meanwhile. */
static void sleep_thread(struct db_thread *thread, int64_t until_ms)
{
    struct db *db = thread->db;
    int64_t now = 0;

    thread->asleep = true;
    LIST_INSERT_HEAD(&db->asleep, thread, link);
    while (thread->asleep && (until_ms == 0 || (now = clock_monotonic_ms()) < until_ms)) {
        if (until_ms == 0)
            pthread_cond_wait(&thread->wake, &db->lock);
        else
            condition_wait_ms(&thread->wake, &db->lock, until_ms - now);
    }
    if (thread->asleep)
        LIST_REMOVE(thread, link);
    thread->asleep = false;
    look(thread);
}

static void *thread_main(void *argument)
{
    struct db_thread *thread = argument;
    struct db *db = thread->db;
    int64_t probe_ms = thread->index == 0 ? clock_monotonic_ms() : INT64_MAX;
    bool stopping = false;

    while (!stopping) {
        struct db_job *job;
        bool due = false;

        pthread_mutex_lock(&db->lock);
        look(thread);
        db->idle++;
        while (!db->head && !db->stopping) {
            due = clock_monotonic_ms() >= probe_ms;
            if (due)
                break;
            sleep_thread(thread, thread->index == 0 ? probe_ms : 0);
        }
        db->idle--;
        stopping = db->stopping;
        job = stopping ? NULL : take_job(db);
        db_unlock(db);

        if (job)
            run_job(thread, job);
        else if (due)
            probe(thread);
        if (thread->index == 0)
            probe_ms = clock_monotonic_ms() + (db_healthy(db, NULL, 0) ? PROBE_CALM_MS : PROBE_AWAY_MS);
    }
    db_connection_close(&thread->connection);
    db_pool_count(thread);
    thread->connection.operations->thread_end();
    return NULL;
}

/* Ends jobs whose time is over while all threads hang in the database. The queue is in the order of the
 * deadlines. */
static void *keeper_main(void *argument)
{
    struct db *db = argument;

    pthread_mutex_lock(&db->lock);
    while (!db->stopping) {
        int64_t now = clock_monotonic_ms();
        db->keeper_idle = !db->head;
        if (!db->head)
            pthread_cond_wait(&db->keep, &db->lock);
        else if (now < db->head->deadline_ms)
            condition_wait_ms(&db->keep, &db->lock, db->head->deadline_ms - now);
        else
            expire_job(db, take_job(db));
    }
    pthread_mutex_unlock(&db->lock);
    return NULL;
}

static bool db_queue(struct db *db, struct db_job *job)
{
    bool taken;

    job->result = DB_OK;
    job->error = (struct error){0};
    job->next = NULL;
    job->submitted_us = clock_monotonic_us();
    job->deadline_ms = clock_monotonic_ms() + db->job_timeout_ms;
    pthread_mutex_lock(&db->lock);
    taken = !db->stopping && db->waiting < db->queue_max + db->idle;
    if (taken) {
        *db->tail = job;
        db->tail = &job->next;
        db->waiting++;
        metric_add(db->queue_depth, 1);
        /* Where a thread is free to take it, nobody needs to watch over it. */
        if (db->waiting > db->idle && db->keeper_idle)
            pthread_cond_broadcast(&db->keep);
    }
    db_unlock(db);
    if (!taken)
        metric_add(db->errors[DB_TRANSIENT], 1);
    return taken;
}

bool db_submit(struct db *db, struct db_job *job)
{
    ASSERT(job->run && job->done && job->loop);
    job->waiter = NULL;
    return db_queue(db, job);
}

enum db_result db_run_wait_held(struct db *db, struct db_job *job, pthread_mutex_t *held)
{
    struct db_waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

    ASSERT(job->run != NULL);
    job->waiter = &waiter;
    bool queued = db_queue(db, job);
    if (!queued) {
        job->result = DB_TRANSIENT;
        error_set(&job->error, ERROR_UNAVAILABLE, "database %s: the queue is full", db->url.text);
    }
    if (held) /* from here on DB may be closed */
        pthread_mutex_unlock(held);
    if (queued) {
        pthread_mutex_lock(&waiter.lock);
        while (!waiter.end)
            pthread_cond_wait(&waiter.ended, &waiter.lock);
        pthread_mutex_unlock(&waiter.lock);
    }
    job->waiter = NULL;
    pthread_cond_destroy(&waiter.ended);
    pthread_mutex_destroy(&waiter.lock);
    return job->result;
}

enum db_result db_run_wait(struct db *db, struct db_job *job)
{
    return db_run_wait_held(db, job, NULL);
}

/* ---- life ---- */

static void db_register_metrics(struct db *db)
{
    static const char *const labels[] = {NULL, "class=\"transient\"", "class=\"constraint\"",
                                         "class=\"permanent\"", "class=\"uncertain\""};

    db->queue_depth = metrics_gauge("reel_db_queue_depth", "Jobs that wait for a database connection.", NULL);
    db->job_duration = metrics_histogram("reel_db_job_duration_seconds",
                                         "Time from the submission of a database job to its end.", NULL);
    db->reconnects =
        metrics_counter("reel_db_reconnects_total", "Connections made again after a loss.", NULL);
    db->retries = metrics_counter("reel_db_retries_total", "Jobs repeated after a transient failure.", NULL);
    for (size_t i = DB_TRANSIENT; i <= DB_UNCERTAIN; i++)
        db->errors[i] =
            metrics_counter("reel_db_errors_total", "Database jobs that failed, by class.", labels[i]);
}

/* Ends the threads and the jobs that wait, then frees. KEEPER: its thread runs. */
static void stop_and_free(struct db *db, bool keeper)
{
    struct db_job *job;

    pthread_mutex_lock(&db->lock);
    db->stopping = true;
    while (!LIST_EMPTY(&db->asleep))
        pthread_cond_signal(&wake_thread(db)->wake);
    pthread_cond_broadcast(&db->keep);
    while ((job = take_job(db)))
        expire_job(db, job);
    pthread_mutex_unlock(&db->lock);
    for (size_t i = 0; i < db->thread_count; i++)
        pthread_join(db->threads[i].thread, NULL);
    if (keeper)
        pthread_join(db->keeper, NULL);
    for (size_t i = 0; i < db->thread_count; i++) /* none is left that could signal it */
        pthread_cond_destroy(&db->threads[i].wake);
    pthread_cond_destroy(&db->keep);
    pthread_mutex_destroy(&db->lock);
    db_shared_destroy(&db->shared);
    db_url_clear(&db->url);
    free(db->threads);
    free(db);
}

struct db *db_open(const struct db_options *options, struct error *error)
{
    struct db *db;

    if (options->threads < 1 || options->threads > THREADS_MAX || options->job_timeout_ms < 1) {
        error_set(error, ERROR_GENERAL,
                  "database: %zu threads and a job time-out of %lld ms (1 to %d, 1 or more)",
                  options->threads, (long long)options->job_timeout_ms, THREADS_MAX);
        return NULL;
    }
    db = calloc(1, sizeof(*db));
    if (!db) {
        error_set(error, ERROR_UNAVAILABLE, "database: no memory");
        return NULL;
    }
    db->queue_max = options->queue_max;
    db->job_timeout_ms = options->job_timeout_ms;
    db->tail = &db->head;
    if (!db_url_parse(options->url, &db->url, error))
        goto fail_url;
    db_state_init(&db->state, &db->url);
    db_register_metrics(db);
    db->threads = calloc(options->threads, sizeof(*db->threads));
    if (!db->threads) {
        error_set(error, ERROR_UNAVAILABLE, "database %s: no memory", db->url.text);
        goto fail_threads;
    }
    if (!db_shared_init(&db->shared, error))
        goto fail_threads;
    db->shared.relaxed = options->relaxed;
    if (pthread_mutex_init(&db->lock, NULL) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "database %s: cannot create a mutex", db->url.text);
        goto fail_lock;
    }
    LIST_INIT(&db->asleep);
    if (!condition_init(&db->keep, error))
        goto fail_keep;
    if (!loop_thread_start(&db->keeper, "db-keeper", keeper_main, db, error)) {
        stop_and_free(db, false);
        return NULL;
    }
    while (db->thread_count < options->threads) {
        struct db_thread *thread = &db->threads[db->thread_count];
        char name[16];

        thread->db = db;
        thread->index = db->thread_count;
        db_connection_init(&thread->connection, &db->url, &db->shared);
        snprintf(name, sizeof(name), "db-%zu", thread->index);
        if (!condition_init(&thread->wake, error)) {
            stop_and_free(db, true);
            return NULL;
        }
        if (!loop_thread_start(&thread->thread, name, thread_main, thread, error)) {
            pthread_cond_destroy(&thread->wake);
            stop_and_free(db, true);
            return NULL;
        }
        db->thread_count++;
    }
    return db;

fail_keep:
    pthread_mutex_destroy(&db->lock);
fail_lock:
    db_shared_destroy(&db->shared);
fail_threads:
    free(db->threads);
    db_url_clear(&db->url);
fail_url:
    free(db);
    return NULL;
}

void db_close(struct db *db)
{
    if (db)
        stop_and_free(db, true);
}
