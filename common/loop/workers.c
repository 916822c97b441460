/*
 * workers: threads and their queue. One mutex guards the queue; the counters that anybody may read are atomics.
 *
 * Waking a thread costs more than most jobs. So none is woken while another one is coming to look at the queue: one
 * that was woken, or one whose job has just ended. When it has taken its job it wakes the next one if jobs still wait.
 * Where jobs block all threads are soon at work; where they are brief those that are awake drain the queue before
 * another one is scheduled. The thread that fell asleep last is woken first: what it needs is still in the core's
 * caches. It is signalled when the mutex is free again, which it would otherwise only wait for.
 */
#include "common/loop/workers.h"
#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

struct worker {
    struct workers *workers;
    pthread_t thread;
    _Atomic int64_t since_ms; /* when its job began; 0: none */
    bool coming;              /* counted; the thread's own */
    /* under the mutex */
    pthread_cond_t wake;
    bool asleep; /* and in the list of those */
    SLIST_ENTRY(worker) link;
};

struct workers {
    pthread_mutex_t mutex;
    pthread_cond_t ended;        /* a thread has left */
    SLIST_HEAD(, worker) asleep; /* the last one first */
    atomic_size_t
        coming; /* threads that will look at the queue without being woken; less only under the mutex */
    struct job *first;
    struct job **last;
    size_t queue_max;
    size_t started; /* threads that were created */
    size_t alive;   /* threads that have not left; all, until the end begins */
    bool ending;
    bool left; /* counted in pools_left */
    atomic_size_t waiting;
    atomic_size_t running;
    struct metric *waiting_metric, *running_metric, *rejected_metric, *duration_metric;
    char name[64];
    struct worker threads[];
};

static atomic_size_t pools_left;

/* Its `wake` is to be signalled. The mutex is held. */
static struct worker *workers_wake(struct workers *workers)
{
    struct worker *worker = SLIST_FIRST(&workers->asleep);

    SLIST_REMOVE_HEAD(&workers->asleep, link);
    worker->asleep = false;
    worker->coming = true;
    atomic_fetch_add(&workers->coming, 1);
    return worker;
}

/* Ends the use of the mutex. A thread for those who wait, unless one is coming. */
static void workers_unlock(struct workers *workers)
{
    bool wanted = workers->first && atomic_load(&workers->coming) == 0 && !SLIST_EMPTY(&workers->asleep);
    struct worker *worker = wanted ? workers_wake(workers) : NULL;

    pthread_mutex_unlock(&workers->mutex);
    if (worker)
        pthread_cond_signal(&worker->wake);
}

/* It has come. The mutex is held. */
static void worker_looks(struct worker *worker)
{
    if (worker->coming)
        atomic_fetch_sub(&worker->workers->coming, 1);
    worker->coming = false;
}

/* The mutex is held, but released meanwhile. */
static void worker_sleep(struct worker *worker)
{
    struct workers *workers = worker->workers;

    worker->asleep = true;
    SLIST_INSERT_HEAD(&workers->asleep, worker, link);
    while (worker->asleep)
        pthread_cond_wait(&worker->wake, &workers->mutex);
    worker_looks(worker);
}

static struct job *worker_take_job(struct worker *worker)
{
    struct workers *workers = worker->workers;
    struct job *job;

    pthread_mutex_lock(&workers->mutex);
    worker_looks(worker);
    while (!workers->first && !workers->ending)
        worker_sleep(worker);
    job = workers->first;
    if (job) {
        workers->first = job->next;
        if (!workers->first)
            workers->last = &workers->first;
        atomic_fetch_sub(&workers->waiting, 1);
        atomic_fetch_add(&workers->running, 1);
    }
    workers_unlock(workers);
    return job;
}

static void worker_job_done(struct task *task)
{
    struct job *job = CONTAINER_OF(task, struct job, task);

    job->done(job);
}

static void worker_run_job(struct worker *worker, struct job *job)
{
    struct workers *workers = worker->workers;
    int64_t start_us = clock_monotonic_us();
    bool follows = job->done != NULL; /* else run() may free the job */

    metric_add(workers->waiting_metric, -1);
    metric_add(workers->running_metric, 1);
    atomic_store(&worker->since_ms, max_i64(start_us / 1000, 1));
    job->run(job);
    atomic_store(&worker->since_ms, 0);
    metric_observe_us(workers->duration_metric, clock_monotonic_us() - start_us);
    metric_add(workers->running_metric, -1);
    atomic_fetch_sub(&workers->running, 1);
    if (follows) {
        /* What the loop submits when it learns of the end is for this thread, which it may have interrupted. */
        worker->coming = true;
        atomic_fetch_add(&workers->coming, 1);
        job->task.run = worker_job_done;
        loop_post(job->loop, &job->task);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct workers *workers = worker->workers;
    struct job *job;

    while ((job = worker_take_job(worker)))
        worker_run_job(worker, job);
    pthread_mutex_lock(&workers->mutex);
    workers->alive--;
    pthread_cond_signal(&workers->ended);
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

static bool start_threads(struct workers *workers, size_t threads, struct error *error)
{
    for (size_t i = 0; i < threads; i++) {
        struct worker *worker = &workers->threads[i];

        worker->workers = workers;
        ASSERT(pthread_cond_init(&worker->wake, NULL) == 0);
        pthread_mutex_lock(&workers->mutex);
        workers->alive++;
        pthread_mutex_unlock(&workers->mutex);
        if (!loop_thread_start(&worker->thread, workers->name, worker_main, worker, error)) {
            pthread_mutex_lock(&workers->mutex);
            workers->alive--;
            pthread_mutex_unlock(&workers->mutex);
            pthread_cond_destroy(&worker->wake);
            return false;
        }
        workers->started++;
    }
    return true;
}

static void workers_register_metrics(struct workers *workers)
{
    char labels[96];

    snprintf(labels, sizeof(labels), "pool=\"%s\"", workers->name);
    workers->waiting_metric =
        metrics_gauge("reel_workers_waiting", "Jobs that wait for a worker thread.", labels);
    workers->running_metric = metrics_gauge("reel_workers_running", "Jobs inside a worker thread.", labels);
    workers->rejected_metric =
        metrics_counter("reel_workers_rejected_total", "Jobs rejected because the queue was full.", labels);
    workers->duration_metric = metrics_histogram(
        "reel_workers_job_seconds", "How long jobs ran, excluding the time in the queue.", labels);
}

struct workers *workers_create(const char *name, size_t threads, size_t queue_max, struct error *error)
{
    struct workers *workers;

    ASSERT(threads > 0);
    workers = calloc(1, sizeof(*workers) + threads * sizeof(workers->threads[0]));
    if (!workers) {
        error_set_errno(error, ENOMEM, "cannot create the workers %s", name);
        return NULL;
    }
    snprintf(workers->name, sizeof(workers->name), "%s", name);
    workers->last = &workers->first;
    workers->queue_max = queue_max;
    /* Fails on bad arguments only. */
    ASSERT(pthread_mutex_init(&workers->mutex, NULL) == 0);
    SLIST_INIT(&workers->asleep);
    if (!condition_init(&workers->ended, error)) {
        free(workers);
        return NULL;
    }
    workers_register_metrics(workers);
    if (!start_threads(workers, threads, error)) {
        (void)workers_destroy(workers, INT32_MAX); /* its threads have nothing to do: they leave at once */
        return NULL;
    }
    return workers;
}

bool workers_submit(struct workers *workers, struct job *job)
{
    bool taken = false;

    job->next = NULL;
    pthread_mutex_lock(&workers->mutex);
    /* A job that a free thread is about to take does not wait. */
    if (!workers->ending && atomic_load(&workers->waiting) + atomic_load(&workers->running) <
                                workers->queue_max + workers->alive) {
        *workers->last = job;
        workers->last = &job->next;
        atomic_fetch_add(&workers->waiting, 1);
        taken = true;
        metric_add(workers->waiting_metric, 1);
    }
    workers_unlock(workers);
    if (!taken)
        metric_add(workers->rejected_metric, 1);
    return taken;
}

size_t workers_waiting(const struct workers *workers)
{
    return atomic_load(&workers->waiting);
}

int64_t workers_oldest_ms(const struct workers *workers)
{
    int64_t oldest = 0;

    for (size_t i = 0; i < workers->started; i++) {
        int64_t since = atomic_load(&workers->threads[i].since_ms);

        if (since > 0 && (oldest == 0 || since < oldest))
            oldest = since;
    }
    return oldest > 0 ? max_i64(clock_monotonic_ms() - oldest, 0) : 0;
}

/* Waits for the threads to leave. The mutex is held. */
static bool workers_wait_for_end(struct workers *workers, int64_t timeout_ms)
{
    int64_t until_ms = clock_monotonic_ms() + timeout_ms, left_ms;

    while (workers->alive > 0 && (left_ms = until_ms - clock_monotonic_ms()) > 0)
        condition_wait_ms(&workers->ended, &workers->mutex, left_ms);
    return workers->alive == 0;
}

bool workers_destroy(struct workers *workers, int64_t timeout_ms)
{
    bool ended;

    if (!workers)
        return true;
    pthread_mutex_lock(&workers->mutex);
    workers->ending = true;
    while (!SLIST_EMPTY(&workers->asleep))
        pthread_cond_signal(&workers_wake(workers)->wake);
    ended = workers_wait_for_end(workers, timeout_ms);
    if (workers->left != !ended)
        atomic_fetch_add(&pools_left, ended ? (size_t)-1 : 1);
    workers->left = !ended;
    pthread_mutex_unlock(&workers->mutex);
    if (!ended) {
        log_error("workers",
                  "%s: %zu jobs are still blocked, the oldest for %lld ms; their threads are abandoned",
                  workers->name, atomic_load(&workers->running), (long long)workers_oldest_ms(workers));
        return false;
    }
    for (size_t i = 0; i < workers->started; i++)
        ASSERT(pthread_join(workers->threads[i].thread, NULL) == 0);
    for (size_t i = 0; i < workers->started; i++) /* none is left that could signal it */
        pthread_cond_destroy(&workers->threads[i].wake);
    pthread_cond_destroy(&workers->ended);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
    return true;
}

bool workers_are_left(void)
{
    return atomic_load(&pools_left) > 0;
}
