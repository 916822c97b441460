/*
 * wait_list: a queue of embedded waits. Whether one is still in its list is known under the list's mutex only, and
 * decides who answers it: whoever took it out, or its timer. The timer is touched on the wait's loop alone, so that a wait
 * taken out by another thread keeps it until its task runs; it then finds nothing to do.
 */
#include "common/loop/wait_list.h"
#include "common/base/duration.h"
#include "common/base/log.h"

static void wait_list_lock(pthread_mutex_t *mutex)
{
    if (mutex)
        ASSERT(pthread_mutex_lock(mutex) == 0);
}

static void unlock(pthread_mutex_t *mutex)
{
    if (mutex)
        ASSERT(pthread_mutex_unlock(mutex) == 0);
}

static void stop_timer(struct wait *wait)
{
    if (wait->timed)
        (void)event_del(&wait->timer);
    wait->timed = false;
}

static void take_out(struct wait *wait)
{
    struct wait_list *list = wait->list;

    TAILQ_REMOVE(&list->waits, wait, link);
    list->count--;
    if (list->total)
        (*list->total)--;
    wait->list = NULL;
}

static void wait_time_over(evutil_socket_t fd, short what, void *argument)
{
    struct wait *wait = argument;
    bool waited;

    (void)fd;
    (void)what;
    wait->timed = false;
    wait_list_lock(wait->mutex);
    waited = wait->list != NULL;
    if (waited)
        take_out(wait);
    unlock(wait->mutex);
    if (!waited) /* it was answered a moment ago: its task is on the way */
        return;
    wait->entered = false;
    wait->done(wait, WAIT_TIMED_OUT);
}

static void wait_task(struct task *task)
{
    struct wait *wait = CONTAINER_OF(task, struct wait, task);

    stop_timer(wait);
    wait->entered = false;
    wait->done(wait, WAIT_ANSWERED);
}

static bool start_timer(struct wait *wait, int64_t timeout_ms)
{
    const struct timeval timeout = duration_timeval(timeout_ms);

    if (timeout_ms <= 0)
        return true;
    wait->timed = evtimer_assign(&wait->timer, loop_base(wait->loop), wait_time_over, wait) == 0 &&
                  event_add(&wait->timer, &timeout) == 0;
    return wait->timed;
}

static bool list_enter(struct wait_list *list, struct wait *wait, int64_t timeout_ms, bool first)
{
    ASSERT(!wait->entered && wait->done && wait->loop);
    wait->mutex = list->mutex;
    wait->task.run = wait_task;
    wait->timed = false;
    if (!start_timer(wait, timeout_ms))
        return false;
    if (first)
        TAILQ_INSERT_HEAD(&list->waits, wait, link);
    else
        TAILQ_INSERT_TAIL(&list->waits, wait, link);
    wait->list = list;
    wait->entered = true;
    list->count++;
    if (list->total)
        (*list->total)++;
    return true;
}

void wait_list_init(struct wait_list *list, pthread_mutex_t *mutex, size_t *total)
{
    TAILQ_INIT(&list->waits);
    list->count = 0;
    list->mutex = mutex;
    list->total = total;
}

bool wait_enter(struct wait_list *list, struct wait *wait, int64_t timeout_ms)
{
    return list_enter(list, wait, timeout_ms, false);
}

bool wait_enter_first(struct wait_list *list, struct wait *wait, int64_t timeout_ms)
{
    return list_enter(list, wait, timeout_ms, true);
}

struct wait *wait_list_first(const struct wait_list *list)
{
    return TAILQ_FIRST(&list->waits);
}

struct wait *wait_list_next(const struct wait *wait)
{
    return TAILQ_NEXT(wait, link);
}

struct wait *wait_list_take(struct wait_list *list)
{
    struct wait *wait = TAILQ_FIRST(&list->waits);

    if (wait)
        take_out(wait);
    return wait;
}

void wait_list_move(struct wait_list *list, struct wait_list *from)
{
    struct wait *wait;

    ASSERT(list->mutex == from->mutex && list->total == from->total);
    TAILQ_FOREACH(wait, &from->waits, link)
    wait->list = list;
    list->count += from->count;
    from->count = 0;
    TAILQ_CONCAT(&list->waits, &from->waits, link);
}

bool wait_leave(struct wait *wait)
{
    if (!wait->entered)
        return true;
    if (!wait->list) /* somebody took it out: its task is on the way */
        return false;
    take_out(wait);
    stop_timer(wait);
    wait->entered = false;
    return true;
}

void wait_post(struct wait *wait)
{
    ASSERT(!wait->list);
    loop_post(wait->loop, &wait->task);
}

void wait_answer(struct wait *wait)
{
    if (!wait->mutex || loop_current() == wait->loop)
        wait_task(&wait->task);
    else
        wait_post(wait);
}
