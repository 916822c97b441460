/*
 * gate: a counting semaphore with a queue of callbacks instead of sleeping threads. The mutex is held for a
 * few instructions; timers and callbacks belong to the waiter's own loop.
 */
#include "storage/admit/gate.h"

#include "common/base/duration.h"
#include "common/base/log.h"

#include <pthread.h>
#include <stdlib.h>

struct gate {
    pthread_mutex_t mutex;
    size_t active, active_max;
    size_t waiting, waiting_max;
    int64_t wait_ms;
    struct gate_waiter *first, *last;
};

struct gate *gate_create(size_t active_max, size_t waiting_max, int64_t wait_ms)
{
    struct gate *gate = calloc(1, sizeof(*gate));
    if (!gate)
        return NULL;
    pthread_mutex_init(&gate->mutex, NULL);
    gate_set_limits(gate, active_max, waiting_max, wait_ms);
    return gate;
}

void gate_destroy(struct gate *gate)
{
    if (!gate)
        return;
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

static void queue_append(struct gate *gate, struct gate_waiter *waiter)
{
    waiter->next = NULL;
    waiter->previous = gate->last;
    if (gate->last)
        gate->last->next = waiter;
    else
        gate->first = waiter;
    gate->last = waiter;
    waiter->waiting = true;
    gate->waiting++;
}

static void queue_remove(struct gate *gate, struct gate_waiter *waiter)
{
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        gate->first = waiter->next;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    else
        gate->last = waiter->previous;
    waiter->waiting = false;
    gate->waiting--;
}

/* The gate's mutex is held. From here on the waiter is told by its task; its timer finds it no longer
 * waiting. */
static void admit_next(struct gate *gate)
{
    while (gate->first && gate->active < gate->active_max) {
        struct gate_waiter *waiter = gate->first;
        queue_remove(gate, waiter);
        gate->active++;
        loop_post(waiter->loop, &waiter->task);
    }
}

void gate_set_limits(struct gate *gate, size_t active_max, size_t waiting_max, int64_t wait_ms)
{
    pthread_mutex_lock(&gate->mutex);
    gate->active_max = active_max;
    gate->waiting_max = waiting_max;
    gate->wait_ms = wait_ms;
    admit_next(gate);
    pthread_mutex_unlock(&gate->mutex);
}

static void on_admitted(struct task *task)
{
    struct gate_waiter *waiter = CONTAINER_OF(task, struct gate_waiter, task);
    event_free(waiter->timer);
    waiter->timer = NULL;
    waiter->done(waiter, true);
}

static void on_timeout(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct gate_waiter *waiter = argument;
    pthread_mutex_lock(&waiter->gate->mutex);
    bool waiting = waiter->waiting;
    if (waiting)
        queue_remove(waiter->gate, waiter);
    pthread_mutex_unlock(&waiter->gate->mutex);
    if (!waiting) /* it was admitted a moment ago: its task is on the way */
        return;
    event_free(waiter->timer);
    waiter->timer = NULL;
    waiter->done(waiter, false);
}

enum gate_result gate_enter(struct gate *gate, struct gate_waiter *waiter)
{
    pthread_mutex_lock(&gate->mutex);
    bool enters = !gate->first && gate->active < gate->active_max;
    bool full = !enters && gate->waiting >= gate->waiting_max;
    const struct timeval wait = duration_timeval(gate->wait_ms);
    if (enters)
        gate->active++;
    pthread_mutex_unlock(&gate->mutex);
    if (enters)
        return GATE_ENTERED;
    if (full)
        return GATE_FULL;

    waiter->gate = gate;
    waiter->task = (struct task){.run = on_admitted};
    waiter->timer = evtimer_new(loop_base(waiter->loop), on_timeout, waiter);
    if (!waiter->timer)
        return GATE_FULL;
    if (evtimer_add(waiter->timer, &wait) != 0) {
        event_free(waiter->timer);
        waiter->timer = NULL;
        return GATE_FULL;
    }
    pthread_mutex_lock(&gate->mutex);
    queue_append(gate, waiter);
    admit_next(gate); /* somebody may have left meanwhile */
    pthread_mutex_unlock(&gate->mutex);
    return GATE_WAITS;
}

void gate_leave(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    ASSERT(gate->active > 0);
    gate->active--;
    admit_next(gate);
    pthread_mutex_unlock(&gate->mutex);
}

size_t gate_active(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    size_t active = gate->active;
    pthread_mutex_unlock(&gate->mutex);
    return active;
}

size_t gate_waiting(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    size_t waiting = gate->waiting;
    pthread_mutex_unlock(&gate->mutex);
    return waiting;
}
