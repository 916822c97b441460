/*
 * held_locks: in place of the C library's functions, so that a test sees whether a thread is woken while the one that wakes it holds a
 * mutex, which the woken one then waits for. Included by one source of a test.
 */
#ifndef REEL_TESTS_LIBRARY_HELD_LOCKS_H
#define REEL_TESTS_LIBRARY_HELD_LOCKS_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

static _Thread_local int held_locks;         /* mutexes that this thread has */
static atomic_int held_signals, all_signals; /* pthread_cond_signal(3) with one, and all */

static inline int (*held_real(const char *name))(void *)
{
    return (int (*)(void *))dlsym(RTLD_NEXT, name);
}

__attribute__((visibility("default"))) int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(void *);
    if (!real)
        real = held_real("pthread_mutex_lock");
    held_locks++;
    return real(mutex);
}

__attribute__((visibility("default"))) int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(void *);
    if (!real)
        real = held_real("pthread_mutex_trylock");
    int failure = real(mutex);
    held_locks += failure == 0;
    return failure;
}

__attribute__((visibility("default"))) int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*_Atomic real)(void *);
    if (!real)
        real = held_real("pthread_mutex_unlock");
    held_locks--;
    return real(mutex);
}

__attribute__((visibility("default"))) int pthread_cond_signal(pthread_cond_t *condition)
{
    static int (*_Atomic real)(void *);
    if (!real)
        real = held_real("pthread_cond_signal");
    atomic_fetch_add(&all_signals, 1);
    if (held_locks > 0)
        atomic_fetch_add(&held_signals, 1);
    return real(condition);
}

#endif
