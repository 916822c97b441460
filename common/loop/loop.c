/*
 * loop: how a loop's thread runs. It alternates between libevent's events and posted tasks. Tasks from other
 * threads come over a lock-free stack and an eventfd that wakes the loop; tasks from the loop's own thread
 * need neither. Both kinds run between two polls, never inside one, so that a task that posts itself again
 * starves no socket.
 */
#include "common/loop/loop.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NAME_SIZE  16   /* of a thread, NUL included: a limit of Linux */
#define END_ROUNDS 1000 /* of tasks that post tasks, when a loop ends */

struct loop {
    struct event_base *base;
    struct event *wake;
    int wake_fd;
    _Atomic(struct task *) posted; /* by other threads; the newest first */
    struct task *own_first;        /* posted by the loop's thread */
    struct task **own_last;
    atomic_bool stop;
    uint64_t turn;
    struct task *at_end;
    pthread_t thread;
    bool has_thread;
    char name[NAME_SIZE];
};

static _Thread_local struct loop *current;

/* The eventfd is edge-triggered and never read: each write is an edge, and its counter has room for 2^64 - 2
 * of them. */
static void on_wake(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    (void)argument;
}

static void wake_up(struct loop *loop)
{
    uint64_t one = 1;
    ssize_t written;

    do {
        written = write(loop->wake_fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    ASSERT(written == (ssize_t)sizeof(one));
}

static void loop_free(struct loop *loop)
{
    if (loop->wake)
        event_free(loop->wake);
    if (loop->base)
        event_base_free(loop->base);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop);
}

struct loop *loop_create(const char *name, struct error *error)
{
    struct event_config *config = NULL;
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop) {
        error_set_errno(error, ENOMEM, "cannot create the loop %s", name);
        return NULL;
    }
    snprintf(loop->name, sizeof(loop->name), "%s", name);
    loop->own_last = &loop->own_first;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        error_set_errno(error, errno, "cannot create the loop %s: eventfd", name);
        goto fail;
    }
    /* One thread uses the base; the others post. So it needs no locks, even where another library has switched them on.
     */
    config = event_config_new();
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) != 0 ||
        event_config_require_features(config, EV_FEATURE_ET) != 0) {
        error_set_errno(error, ENOMEM, "cannot create the loop %s", name);
        goto fail;
    }
    loop->base = event_base_new_with_config(config);
    if (!loop->base) {
        error_set(error, ERROR_UNAVAILABLE,
                  "cannot create the loop %s: libevent cannot make an event base (epoll)", name);
        goto fail;
    }
    loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, NULL);
    if (!loop->wake || event_add(loop->wake, NULL) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "cannot create the loop %s: libevent refuses its wake-up event",
                  name);
        goto fail;
    }
    event_config_free(config);
    return loop;
fail:
    if (config)
        event_config_free(config);
    loop_free(loop);
    return NULL;
}

static void post_own(struct loop *loop, struct task *task)
{
    task->next = NULL;
    *loop->own_last = task;
    loop->own_last = &task->next;
}

void loop_post(struct loop *loop, struct task *task)
{
    struct task *first;

    if (current == loop) {
        post_own(loop, task);
        return;
    }
    first = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        task->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posted, &first, task, memory_order_release,
                                                    memory_order_relaxed));
    /* Where there was one already, whoever posted that one wakes the loop. */
    if (!first)
        wake_up(loop);
}

static bool has_tasks(struct loop *loop)
{
    return loop->own_first || atomic_load_explicit(&loop->posted, memory_order_relaxed);
}

/* Runs what is posted at this moment. */
static void run_tasks(struct loop *loop)
{
    struct task *others = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct task *first = NULL;
    struct task *own = loop->own_first;

    loop->own_first = NULL;
    loop->own_last = &loop->own_first;
    while (others) { /* the stack has the newest on top */
        struct task *next = others->next;

        others->next = first;
        first = others;
        others = next;
    }
    for (int list = 0; list < 2; list++) {
        struct task *task = list == 0 ? own : first;

        while (task) {
            struct task *next = task->next; /* run() may free the task or post it again */

            task->run(task);
            task = next;
        }
    }
}

void loop_run(struct loop *loop)
{
    struct loop *outer = current;

    current = loop;
    for (;;) {
        /* Read before the tasks are taken: what was posted before loop_stop() still runs. */
        bool stop = atomic_load(&loop->stop);

        run_tasks(loop);
        if (stop)
            break;
        loop->turn++;
        ASSERT(event_base_loop(loop->base, EVLOOP_ONCE | (has_tasks(loop) ? EVLOOP_NONBLOCK : 0)) >= 0);
    }
    current = outer;
}

static void *loop_thread_main(void *argument)
{
    loop_run(argument);
    return NULL;
}

bool loop_start(struct loop *loop, struct error *error)
{
    ASSERT(!loop->has_thread);
    loop->has_thread = loop_thread_start(&loop->thread, loop->name, loop_thread_main, loop, error);
    return loop->has_thread;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop, true);
    wake_up(loop);
}

/* The steps of an end, apart, so that a group does each for all of its loops before the next. */

static void end_thread(struct loop *loop)
{
    if (!loop->has_thread)
        return;
    loop_stop(loop);
    ASSERT(pthread_join(loop->thread, NULL) == 0);
    loop->has_thread = false;
}

static void end_events(struct loop *loop)
{
    struct loop *outer = current;

    current = loop;
    while (loop->at_end) {
        struct task *task = loop->at_end;

        loop->at_end = task->next;
        task->run(task);
    }
    current = outer;
}

static void end_tasks(struct loop **loops, size_t count)
{
    struct loop *outer = current;
    bool more = true;

    for (int round = 0; more && round < END_ROUNDS; round++) {
        more = false;
        for (size_t i = 0; i < count; i++) {
            current = loops[i];
            run_tasks(loops[i]);
        }
        for (size_t i = 0; i < count; i++)
            more = more || has_tasks(loops[i]);
    }
    current = outer;
    if (more)
        log_warning("loop", "%s: tasks that post each other without end were dropped", loops[0]->name);
}

static void end_all(struct loop **loops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        end_thread(loops[i]);
    end_tasks(loops, count);
    for (size_t i = 0; i < count; i++)
        end_events(loops[i]);
    end_tasks(loops, count);
    for (size_t i = 0; i < count; i++)
        loop_free(loops[i]);
}

void loop_destroy(struct loop *loop)
{
    if (loop)
        end_all(&loop, 1);
}

void loop_at_end(struct loop *loop, struct task *task)
{
    task->next = loop->at_end;
    loop->at_end = task;
}

void loop_forget_end(struct loop *loop, struct task *task)
{
    struct task **link = &loop->at_end;

    while (*link && *link != task)
        link = &(*link)->next;
    if (*link)
        *link = task->next;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

struct loop *loop_current(void)
{
    return current;
}

uint64_t loop_turn(const struct loop *loop)
{
    return loop->turn;
}

int64_t loop_now_ms(struct loop *loop)
{
    (void)loop;
    return clock_monotonic_ms();
}

bool loop_group_create(struct loop_group *group, const char *name, size_t count, struct error *error)
{
    memset(group, 0, sizeof(*group));
    if (count == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        count = cores > 0 ? (size_t)cores : 1;
    }
    group->loops = calloc(count, sizeof(struct loop *));
    if (!group->loops)
        return error_set_errno(error, ENOMEM, "cannot create %zu loops", count);
    for (size_t i = 0; i < count; i++) {
        char loop_name[64];

        snprintf(loop_name, sizeof(loop_name), "%.10s-%zu", name, i);
        group->loops[i] = loop_create(loop_name, error);
        if (!group->loops[i]) {
            loop_group_destroy(group);
            return false;
        }
        group->count++;
    }
    return true;
}

bool loop_group_start(struct loop_group *group, struct error *error)
{
    for (size_t i = 0; i < group->count; i++) {
        if (!loop_start(group->loops[i], error))
            return false;
    }
    return true;
}

void loop_group_destroy(struct loop_group *group)
{
    /* All are asked first, so that they end side by side. */
    for (size_t i = 0; i < group->count; i++)
        loop_stop(group->loops[i]);
    if (group->count > 0)
        end_all(group->loops, group->count);
    free(group->loops);
    memset(group, 0, sizeof(*group));
}

bool loop_thread_start(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument,
                       struct error *error)
{
    sigset_t blocked, before;
    char thread_name[NAME_SIZE];
    int result;

    /* The mask is set before the thread exists: it inherits it, and there is no moment without. */
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGABRT);
    result = pthread_sigmask(SIG_SETMASK, &blocked, &before);
    if (result == 0) {
        result = pthread_create(thread, NULL, run, argument);
        ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    }
    if (result != 0)
        return error_set_errno(error, result, "cannot start the thread %s", name);
    snprintf(thread_name, sizeof(thread_name), "%s", name);
    (void)pthread_setname_np(*thread, thread_name); /* for people only */
    return true;
}
