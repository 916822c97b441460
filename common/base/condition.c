/*
 * condition: pthread_cond_timedwait(3) with CLOCK_MONOTONIC. Keeps nothing.
 */
#include "common/base/condition.h"

#include <errno.h>
#include <time.h>

bool condition_init(pthread_cond_t *condition, struct error *error)
{
    pthread_condattr_t attributes;
    int failure = pthread_condattr_init(&attributes);

    if (failure == 0) {
        failure = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        if (failure == 0)
            failure = pthread_cond_init(condition, &attributes);
        (void)pthread_condattr_destroy(&attributes);
    }
    return failure == 0 || error_set_errno(error, failure, "cannot make a condition variable");
}

bool condition_wait_ms(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t ms)
{
    struct timespec until;

    if (ms <= 0)
        return false;
    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* what the kernel measures the wait by */
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000 * 1000000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return pthread_cond_timedwait(condition, lock, &until) != ETIMEDOUT;
}
