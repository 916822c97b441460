/*
 * reel_wait: how a calling thread has the loop of its handle do something and waits for the end: woken by the
 * end, by reel_cancel(), and by remarks, which it reads out itself. Declared in reel_internal.h.
 */
#include "client/library/reel_internal.h"

#include "common/base/condition.h"
#include "common/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_MS 3000 /* after which a call that waits says so, once */

static void wait_run(struct task *task)
{
    struct reel_wait *wait = CONTAINER_OF(task, struct reel_wait, task);

    wait->start(wait);
}

/* On the loop: ends the operation, if it has not ended meanwhile. */
static void wait_cancel(struct task *task)
{
    struct reel_wait *wait = CONTAINER_OF(task, struct reel_wait, cancel);
    struct error error = {.code = ERROR_NONE};

    if (wait->operation) {
        client_cancel(wait->operation);
        wait->operation = NULL;
        (void)error_set(&error, ERROR_CANCELLED, "cancelled");
    }
    pthread_mutex_lock(&wait->mutex);
    wait->cancel_posted = false;
    if (error.code != ERROR_NONE) {
        wait->error = error;
        wait->done = true;
    }
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

void reel_wait_init(struct reel_wait *wait, struct reel *reel, void (*start)(struct reel_wait *wait))
{
    memset(wait, 0, sizeof(*wait));
    wait->reel = reel;
    wait->start = start;
    wait->task.run = wait_run;
    wait->cancel.run = wait_cancel;
    ASSERT(pthread_mutex_init(&wait->mutex, NULL) == 0);
    ASSERT(condition_init(&wait->changed, NULL));
}

void reel_wait_clear(struct reel_wait *wait)
{
    pthread_cond_destroy(&wait->changed);
    pthread_mutex_destroy(&wait->mutex);
}

void reel_wait_begin(struct reel_wait *wait)
{
    struct reel *reel = wait->reel;

    pthread_mutex_lock(&reel->mutex);
    wait->cancelled = reel->cancelled;
    LIST_INSERT_HEAD(&reel->waits, wait, link);
    pthread_mutex_unlock(&reel->mutex);
    loop_post(reel->loop, &wait->task);
}

void reel_wait_give_up(struct reel_wait *wait)
{
    if (wait->done || wait->giving_up)
        return;
    wait->giving_up = true;
    wait->cancel_posted = true;
    loop_post(wait->reel->loop, &wait->cancel);
}

bool reel_wait_busy(const struct reel_wait *wait)
{
    return !wait->done || wait->cancel_posted;
}

bool reel_wait_turn(struct reel_wait *wait, int64_t timeout_ms)
{
    char remark[REEL_ERROR_TEXT_SIZE];

    if (wait->cancelled)
        reel_wait_give_up(wait);
    if (wait->remarked) {
        memcpy(remark, wait->remark, sizeof(remark));
        wait->remarked = false;
        pthread_mutex_unlock(&wait->mutex);
        reel_say(wait->reel, "%s", remark);
        pthread_mutex_lock(&wait->mutex);
        return true;
    }
    if (!reel_wait_busy(wait))
        return true;
    if (timeout_ms < 0)
        return pthread_cond_wait(&wait->changed, &wait->mutex) == 0;
    return condition_wait_ms(&wait->changed, &wait->mutex, timeout_ms);
}

bool reel_wait_end(struct reel_wait *wait)
{
    int64_t silence_ms = SILENCE_MS;

    pthread_mutex_lock(&wait->mutex);
    while (reel_wait_busy(wait)) {
        if (reel_wait_turn(wait, silence_ms))
            continue;
        silence_ms = -1;
        pthread_mutex_unlock(&wait->mutex);
        reel_say(wait->reel, "no answer for %d s; waiting", SILENCE_MS / 1000);
        pthread_mutex_lock(&wait->mutex);
    }
    pthread_mutex_unlock(&wait->mutex);
    pthread_mutex_lock(&wait->reel->mutex);
    LIST_REMOVE(wait, link);
    pthread_mutex_unlock(&wait->reel->mutex);
    return wait->error.code == ERROR_NONE;
}

bool reel_wait_run(struct reel_wait *wait, struct error *error)
{
    bool fine;

    reel_wait_begin(wait);
    fine = reel_wait_end(wait);
    if (!fine)
        *error = wait->error;
    reel_wait_clear(wait);
    return fine;
}

void reel_wait_finish(struct reel_wait *wait, const struct error *error)
{
    wait->operation = NULL;
    /* The waiting thread frees WAIT once it has the mutex: so the signal is given before it can. */
    pthread_mutex_lock(&wait->mutex);
    if (error)
        wait->error = *error;
    wait->done = true;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

static void wait_remark(void *argument, const char *text)
{
    struct reel_wait *wait = argument;

    pthread_mutex_lock(&wait->mutex);
    (void)snprintf(wait->remark, sizeof(wait->remark), "%s", text);
    wait->remarked = true;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

void reel_wait_started(struct reel_wait *wait, struct client_operation *operation)
{
    struct error error;

    wait->operation = operation;
    if (operation) {
        client_watch(operation, wait_remark, wait);
        client_name_request(operation, &wait->reel->request);
        return;
    }
    (void)error_set(&error, ERROR_UNAVAILABLE, "no memory");
    reel_wait_finish(wait, &error);
}

void reel_cancel(struct reel *reel)
{
    const uint64_t one = 1;
    struct reel_wait *wait;

    if (!reel || !reel_is_ours(reel))
        return;
    pthread_mutex_lock(&reel->mutex);
    reel->cancelled = true;
    if (write(reel->cancel_fd, &one, sizeof(one)) < 0)
        log_debug("reel", "the event descriptor is full: it is readable already");
    LIST_FOREACH(wait, &reel->waits, link)
    {
        pthread_mutex_lock(&wait->mutex);
        wait->cancelled = true;
        pthread_cond_broadcast(&wait->changed);
        pthread_mutex_unlock(&wait->mutex);
    }
    pthread_mutex_unlock(&reel->mutex);
}
