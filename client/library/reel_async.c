/*
 * reel_async: the asynchronous face of reel.h: calls that block run on threads of the handle, and their ends are
 * given to the caller where its own loop wants them, by a descriptor to poll and a function to call.
 */
#include "client/library/reel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUE_MAX 65536
#define WAIT_MS   1000

struct reel_async_call {
    struct job job;
    STAILQ_ENTRY(reel_async_call) link;
    struct reel *reel;
    reel_async_work work;
    reel_async_done done;
    void *argument;
};

static void async_run(struct job *job)
{
    struct reel_async_call *call = CONTAINER_OF(job, struct reel_async_call, job);
    struct reel *reel = call->reel;
    const uint64_t one = 1;

    call->work(reel, call->argument);
    pthread_mutex_lock(&reel->mutex);
    STAILQ_INSERT_TAIL(&reel->async_ended, call, link);
    if (write(reel->async_fd, &one, sizeof(one)) < 0)
        (void)errno; /* the counter is full: it is readable already */
    pthread_mutex_unlock(&reel->mutex);
}

/* With the mutex held. */
static bool async_open(struct reel *reel, struct error *error)
{
    if (reel->async_fd < 0)
        reel->async_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reel->async_fd < 0)
        return error_set_errno(error, errno, "an event descriptor");
    if (!reel->async)
        reel->async = workers_create("reel-async", reel->async_threads, QUEUE_MAX, error);
    return reel->async;
}

bool reel_async(struct reel *reel, reel_async_work work, reel_async_done done, void *argument,
                struct reel_error *error)
{
    struct reel_async_call *call;
    struct error why;
    bool fine;

    if (!reel_usable(reel, &why))
        return reel_fail(error, &why);
    call = calloc(1, sizeof(*call));
    if (!call) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a call");
        return reel_fail(error, &why);
    }
    *call = (struct reel_async_call){
        .job.run = async_run, .reel = reel, .work = work, .done = done, .argument = argument};
    pthread_mutex_lock(&reel->mutex);
    fine = async_open(reel, &why);
    if (fine && !workers_submit(reel->async, &call->job))
        fine = error_set(&why, ERROR_UNAVAILABLE, "%d calls are waiting already", QUEUE_MAX);
    pthread_mutex_unlock(&reel->mutex);
    if (fine)
        return true;
    free(call);
    return reel_fail(error, &why);
}

int reel_async_fd(struct reel *reel)
{
    struct error ignored;
    int fd;

    if (!reel_usable(reel, &ignored) && ignored.code != ERROR_CANCELLED)
        return -1;
    pthread_mutex_lock(&reel->mutex);
    fd = async_open(reel, &ignored) ? reel->async_fd : -1;
    pthread_mutex_unlock(&reel->mutex);
    return fd;
}

int reel_async_dispatch(struct reel *reel)
{
    struct reel_async_list ended = STAILQ_HEAD_INITIALIZER(ended);
    struct reel_async_call *call;
    uint64_t count_of_ends;
    int count = 0;

    /* A child after fork() must not take what the descriptor, which both have, reports to its parent. */
    if (!reel_is_ours(reel))
        return 0;
    pthread_mutex_lock(&reel->mutex);
    if (reel->async_fd >= 0 && read(reel->async_fd, &count_of_ends, sizeof(count_of_ends)) < 0)
        (void)errno; /* nothing has ended since the last time */
    STAILQ_CONCAT(&ended, &reel->async_ended);
    pthread_mutex_unlock(&reel->mutex);
    while ((call = STAILQ_FIRST(&ended))) {
        STAILQ_REMOVE_HEAD(&ended, link);
        call->done(call->argument);
        free(call);
        count++;
    }
    return count;
}

void reel_async_close(struct reel *reel)
{
    if (reel->async) {
        reel_cancel(reel);
        while (!workers_destroy(reel->async, WAIT_MS))
            continue; /* a work of the caller's that has not returned yet */
        reel->async = NULL;
        (void)reel_async_dispatch(reel);
    }
    if (reel->async_fd >= 0)
        (void)close(reel->async_fd);
    reel->async_fd = -1;
}
