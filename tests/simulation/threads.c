/*
 * threads: fibers in place of pthreads: mutexes, conditions and locks that live in the memory of the real ones. A fiber gives way where a
 * thread would wait, and, by chance, before it takes a mutex that is free.
 */
#include "tests/simulation/fiber.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define PREEMPT  20000 /* per million: a mutex that is free is not taken at once */
#define SPURIOUS 500   /* per million: a wait ends for no reason */

/* ---- threads ---- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    (void)attributes;
    struct fiber *fiber = fiber_start(node_current(), "thread", run, argument);
    fiber->joinable = true;
    *thread = (pthread_t)fiber;
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    struct fiber *fiber = (struct fiber *)thread;
    while (!fiber->ended)
        (void)fiber_block(fiber, FOREVER);
    fiber_free(fiber);
    if (result)
        *result = NULL;
    return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    snprintf(((struct fiber *)thread)->name, sizeof(((struct fiber *)thread)->name), "%s", name);
    return 0;
}

int __wrap_pthread_sigmask(int how, const void *set, void *before);
int __wrap_pthread_sigmask(int how, const void *set, void *before)
{
    (void)how;
    (void)set;
    (void)before;
    return 0;
}

/* ---- mutexes and conditions live in the memory of the real ones ---- */

static void wake_one(const void *place)
{
    struct fiber *chosen = NULL;
    int64_t seen = 0;
    for (size_t i = 0; i<fiber_count && * fiber_waiting_at(place)> 0; i++) {
        struct fiber *fiber = &fibers[i];
        if (fiber->used && !fiber->ready && fiber->place == place && chance_below(++seen) == 0)
            chosen = fiber;
    }
    if (chosen)
        fiber_set_ready(chosen, true);
}

static void wake_all(const void *place)
{
    for (size_t i = 0; i<fiber_count && * fiber_waiting_at(place)> 0; i++) {
        if (fibers[i].used && !fibers[i].ready && fibers[i].place == place)
            fiber_set_ready(&fibers[i], true);
    }
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    memset(mutex, 0, sizeof(*mutex));
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    if (((struct mutex *)mutex)->owner)
        violation("a mutex that somebody holds is destroyed");
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct mutex *own = (struct mutex *)mutex;
    if (!fiber_current)
        return 0;
    if (fiber_current->held_count == 0 && !fiber_current->unbroken && chance(PREEMPT))
        yield();
    if (own->owner == fiber_current)
        violation("fiber %s takes a mutex twice", fiber_current->name);
    while (own->owner)
        (void)fiber_block(own, FOREVER);
    own->owner = fiber_current;
    if (fiber_current->held_count < HELD_MAX)
        fiber_current->held[fiber_current->held_count++] = own;
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    if (((struct mutex *)mutex)->owner)
        return EBUSY;
    return __wrap_pthread_mutex_lock(mutex);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    struct mutex *own = (struct mutex *)mutex;
    if (!fiber_current)
        return 0;
    own->owner = NULL;
    for (size_t i = fiber_current->held_count; i > 0; i--) {
        if (fiber_current->held[i - 1] == own) {
            fiber_current->held[i - 1] = fiber_current->held[--fiber_current->held_count];
            break;
        }
    }
    wake_one(own);
    if (fiber_current->held_count == 0 && !fiber_current->unbroken && chance(PREEMPT))
        yield();
    return 0;
}

struct condition {
    bool monotonic;
};

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    clockid_t clock = CLOCK_REALTIME;
    memset(condition, 0, sizeof(*condition));
    if (attributes)
        (void)pthread_condattr_getclock(attributes, &clock);
    ((struct condition *)condition)->monotonic = clock == CLOCK_MONOTONIC;
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *condition);
int __wrap_pthread_cond_destroy(pthread_cond_t *condition)
{
    (void)condition;
    return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *at);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *at)
{
    clockid_t clock = ((struct condition *)condition)->monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    int64_t until =
        at ? at->tv_sec * SECOND_US + at->tv_nsec / 1000 + 1 - world_clock_offset(clock) : FOREVER;
    if (!fiber_current)
        violation("a wait outside of a fiber");
    struct mutex *own = (struct mutex *)mutex;
    own->owner = NULL;
    for (size_t i = 0; i < fiber_current->held_count; i++) {
        if (fiber_current->held[i] == own) {
            fiber_current->held[i] = fiber_current->held[--fiber_current->held_count];
            break;
        }
    }
    wake_one(own);
    bool woken = chance(SPURIOUS) || fiber_block(condition, until);
    while (own->owner)
        (void)fiber_block(own, FOREVER);
    own->owner = fiber_current;
    if (fiber_current->held_count < HELD_MAX)
        fiber_current->held[fiber_current->held_count++] = own;
    return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    return __wrap_pthread_cond_timedwait(condition, mutex, NULL);
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition);
int __wrap_pthread_cond_signal(pthread_cond_t *condition)
{
    wake_one(condition);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    wake_all(condition);
    return 0;
}

/* Whoever comes while another one is at it waits, as for a mutex; PTHREAD_ONCE_INIT is 0. */
int __wrap_pthread_once(pthread_once_t *once, void (*run)(void));
int __wrap_pthread_once(pthread_once_t *once, void (*run)(void))
{
    enum { ONCE_RUNNING = 1, ONCE_DONE = 2 };
    while (fiber_current && *once == ONCE_RUNNING)
        (void)fiber_block(once, FOREVER);
    if (*once == ONCE_DONE)
        return 0;
    *once = ONCE_RUNNING;
    if (fiber_current)
        fiber_current->unbroken = true; /* it is the whole program's: nobody may be killed inside of it */
    run();
    if (fiber_current)
        fiber_current->unbroken = false;
    *once = ONCE_DONE;
    wake_all(once);
    return 0;
}

/* Readers and writers alike wait for each other: as good a lock as any. */
int __wrap_pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes);
int __wrap_pthread_rwlock_init(pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes)
{
    (void)attributes;
    memset(lock, 0, sizeof(*lock));
    return 0;
}

int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *lock)
{
    (void)lock;
    return 0;
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    return __wrap_pthread_mutex_lock((pthread_mutex_t *)(void *)lock);
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    return __wrap_pthread_mutex_lock((pthread_mutex_t *)(void *)lock);
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    return __wrap_pthread_mutex_unlock((pthread_mutex_t *)(void *)lock);
}
