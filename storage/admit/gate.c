/*
 * gate: a counting semaphore with a wait list instead of sleeping threads. The mutex is held for a few
 * instructions.
 */
#include "storage/admit/gate.h"

#include "common/base/log.h"

#include <pthread.h>
#include <stdlib.h>

struct gate {
    pthread_mutex_t mutex;
    size_t active, active_max;
    size_t waiting_max;
    int64_t wait_ms;
    struct wait_list waiting;
};

struct gate *gate_create(size_t active_max, size_t waiting_max, int64_t wait_ms)
{
    struct gate *gate = calloc(1, sizeof(*gate));
    if (!gate)
        return NULL;
    pthread_mutex_init(&gate->mutex, NULL);
    wait_list_init(&gate->waiting, &gate->mutex, NULL);
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

/* The gate's mutex is held. */
static void admit_next(struct gate *gate)
{
    while (gate->waiting.count > 0 && gate->active < gate->active_max) {
        gate->active++;
        wait_post(wait_list_take(&gate->waiting));
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

static void gate_waited(struct wait *wait, enum wait_end end)
{
    struct gate_waiter *waiter = CONTAINER_OF(wait, struct gate_waiter, wait);
    waiter->done(waiter, end == WAIT_ANSWERED);
}

enum gate_result gate_enter(struct gate *gate, struct gate_waiter *waiter)
{
    enum gate_result result = GATE_FULL;
    pthread_mutex_lock(&gate->mutex);
    if (gate->waiting.count == 0 && gate->active < gate->active_max) {
        gate->active++;
        result = GATE_ENTERED;
    } else if (gate->waiting.count < gate->waiting_max) {
        waiter->wait = (struct wait){.loop = waiter->loop, .done = gate_waited};
        if (wait_enter(&gate->waiting, &waiter->wait, gate->wait_ms))
            result = GATE_WAITS;
    }
    pthread_mutex_unlock(&gate->mutex);
    return result;
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
    size_t waiting = gate->waiting.count;
    pthread_mutex_unlock(&gate->mutex);
    return waiting;
}
