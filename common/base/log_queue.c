/*
 * log_queue: a ring of bytes that holds whole lines. `filled` and `emptied` count bytes since the start: writers move the
 * first under the lock, the thread the second after the line is out, so that a crash in between repeats a line rather than
 * lose it. Rescuing reads both without the lock, which the dying thread may hold.
 */
#include "common/base/log_queue.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE ((size_t)1 << 20)
#define RESCUE_MS 10000
#define STUCK_MS  1000 /* without room for a line */
#define SETTLE_MS 200  /* for the thread to finish the line that it is writing */

static struct {
    struct log_queue_target target;
    char *ring; /* kept from one start to the next */
    atomic_size_t filled, emptied;
    atomic_bool writing; /* the thread is inside target.write() */
    uint64_t dropped;    /* since the thread last reported it */
    bool runs, ending;
    pthread_t thread;
} queue;

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t line_came = PTHREAD_COND_INITIALIZER;
static pthread_cond_t line_left;
static pthread_once_t line_left_once = PTHREAD_ONCE_INIT;
static bool line_left_made;

static void make_line_left(void)
{
    struct error error;

    line_left_made = condition_init(&line_left, &error);
}

static size_t queue_used(void)
{
    return atomic_load(&queue.filled) - atomic_load(&queue.emptied);
}

/* The line at the front, which is whole, and where it begins; its length. */
static size_t copy_front(char line[LOG_QUEUE_LINE_MAX], size_t *begin)
{
    size_t at = atomic_load(&queue.emptied), end = atomic_load(&queue.filled), length = 0;

    *begin = at;

    while (at < end && length < LOG_QUEUE_LINE_MAX) {
        char c = queue.ring[at++ % RING_SIZE];

        line[length++] = c;
        if (c == '\n')
            break;
    }
    return length;
}

/* Once, also where the thread and a rescue have both written it. */
static void drop_front(size_t begin, size_t length)
{
    (void)atomic_compare_exchange_strong(&queue.emptied, &begin, begin + length);
}

/* Without the lock. */
static void queue_write_out(const char *line, size_t length, uint64_t dropped)
{
    atomic_store(&queue.writing, true);
    if (dropped > 0)
        queue.target.dropped(dropped);
    queue.target.write(line, length);
    atomic_store(&queue.writing, false);
}

static void *write_lines(void *argument)
{
    char line[LOG_QUEUE_LINE_MAX];

    (void)argument;
    pthread_mutex_lock(&queue_lock);
    for (;;) {
        while (queue_used() == 0 && !queue.ending)
            pthread_cond_wait(&line_came, &queue_lock);
        if (queue_used() == 0)
            break;
        size_t begin, length = copy_front(line, &begin);
        uint64_t dropped = queue.dropped;

        queue.dropped = 0;
        pthread_mutex_unlock(&queue_lock);
        queue_write_out(line, length, dropped);
        pthread_mutex_lock(&queue_lock);
        drop_front(begin, length);
        pthread_cond_broadcast(&line_left);
    }
    queue.runs = false;
    pthread_cond_broadcast(&line_left);
    pthread_mutex_unlock(&queue_lock);
    return NULL;
}

bool log_queue_start(const struct log_queue_target *target, struct error *error)
{
    sigset_t all, before;
    int failure = 0;

    (void)pthread_once(&line_left_once, make_line_left);
    pthread_mutex_lock(&queue_lock);
    if (!queue.runs) {
        if (!queue.ring)
            queue.ring = malloc(RING_SIZE);
        queue.target = *target;
        queue.ending = false;
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        failure =
            queue.ring && line_left_made ? pthread_create(&queue.thread, NULL, write_lines, NULL) : ENOMEM;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        queue.runs = failure == 0;
        if (queue.runs)
            (void)pthread_setname_np(queue.thread, "log");
    }
    pthread_mutex_unlock(&queue_lock);
    return failure == 0 || error_set_errno(error, failure, "cannot start the log's thread");
}

enum log_queue_result log_queue_put(const char *line, size_t length)
{
    enum log_queue_result result = LOG_QUEUE_NONE;

    pthread_mutex_lock(&queue_lock);
    if (queue.runs && !queue.ending && RING_SIZE - queue_used() < length) {
        queue.dropped++;
        result = LOG_QUEUE_DROPPED;
    } else if (queue.runs && !queue.ending) {
        size_t start = atomic_load(&queue.filled) % RING_SIZE, first = min_size(length, RING_SIZE - start);

        memcpy(queue.ring + start, line, first);
        memcpy(queue.ring, line + first, length - first);
        atomic_fetch_add(&queue.filled, length);
        pthread_cond_signal(&line_came);
        result = LOG_QUEUE_TAKEN;
    }
    pthread_mutex_unlock(&queue_lock);
    return result;
}

/* With the lock held: until the thread has come to END of what was filled, or, for SIZE_MAX, to its end. */
static bool wait_for_thread(size_t end, int64_t timeout_ms)
{
    int64_t until_ms = clock_monotonic_ms() + timeout_ms, left_ms;

    while (queue.runs && (end == SIZE_MAX || atomic_load(&queue.emptied) < end) &&
           (left_ms = until_ms - clock_monotonic_ms()) > 0)
        condition_wait_ms(&line_left, &queue_lock, left_ms);
    return !queue.runs || (end != SIZE_MAX && atomic_load(&queue.emptied) >= end);
}

bool log_queue_flush(int64_t timeout_ms)
{
    pthread_mutex_lock(&queue_lock);
    bool flushed = wait_for_thread(atomic_load(&queue.filled), timeout_ms);
    pthread_mutex_unlock(&queue_lock);
    return flushed;
}

void log_queue_stop(int64_t timeout_ms)
{
    pthread_mutex_lock(&queue_lock);
    bool ran = queue.runs;

    queue.ending = true;
    pthread_cond_signal(&line_came);
    bool ended = wait_for_thread(SIZE_MAX, timeout_ms);
    pthread_mutex_unlock(&queue_lock);
    if (ran && ended)
        (void)pthread_join(queue.thread, NULL);
    else if (ran)
        (void)pthread_detach(queue.thread);
}

void log_queue_rescue(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    int64_t until_ms = clock_monotonic_ms() + RESCUE_MS;
    char line[LOG_QUEUE_LINE_MAX];

    if (!queue.ring || !queue.target.fd)
        return;
    for (int i = 0; i < SETTLE_MS && atomic_load(&queue.writing); i++)
        (void)nanosleep(&moment, NULL);
    while (queue_used() > 0 && clock_monotonic_ms() < until_ms) {
        struct pollfd target = {.fd = queue.target.fd(), .events = POLLOUT};
        size_t begin, length = copy_front(line, &begin);

        if (poll(&target, 1, STUCK_MS) != 1 || write(target.fd, line, length) < 0)
            break;
        drop_front(begin, length);
    }
}
