/*
 * world: fibers in place of threads, virtual time, and the scheduler that a seed drives. One real thread; a fiber gives
 * way where a thread would wait, and, by chance, before it takes a mutex. Time passes when nobody can run. The calls
 * of the code under test arrive here by the linker's --wrap; libevent's and SQLite's, which are shared libraries, by
 * symbols of the same name (clock_gettime, epoll_wait, ...).
 */
#include "tests/simulation/sim.h"

#include <errno.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define EXPORTED   __attribute__((visibility("default")))
#define FIBERS_MAX 2048
#define STACK_SIZE (256 * 1024)
#define HELD_MAX   16
#define EPOCH      INT64_C(1700000000000000) /* microseconds: when every run begins */
#define MONOTONIC  INT64_C(100000000000)
#define STEP_US    20    /* a turn takes up to so long */
#define PREEMPT    20000 /* per million: a mutex that is free is not taken at once */
#define SPURIOUS   500   /* per million: a wait ends for no reason */

struct mutex {
    struct fiber *owner;
};

/* Where a fiber goes on. swapcontext(3) asks the kernel for the signal mask every time, which is half of what a turn costs. */
#if defined(__x86_64__)
struct place {
    void *stack;
};

__attribute__((naked, noinline)) static void place_swap(struct place *from, const struct place *to)
{
    (void)from;
    (void)to;
    __asm__("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
            "movq %rsp, (%rdi)\n movq (%rsi), %rsp\n"
            "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

static void place_make(struct place *place, void *stack, size_t size, void (*run)(void))
{
    void **top = (void **)((char *)stack + size);
    *--top = NULL; /* nobody to return to */
    *--top = *(void **)&run;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    place->stack = top;
}
#else
struct place {
    ucontext_t context;
};

static void place_swap(struct place *from, const struct place *to)
{
    swapcontext(&from->context, &to->context);
}

static void place_make(struct place *place, void *stack, size_t size, void (*run)(void))
{
    getcontext(&place->context);
    place->context.uc_stack.ss_sp = stack;
    place->context.uc_stack.ss_size = size;
    place->context.uc_link = NULL;
    makecontext(&place->context, run, 0);
}
#endif

struct fiber {
    struct place context;
    void *stack;
    struct node *node;
    const struct node *clock; /* whose wall clock it reads */
    char name[16];
    void *(*run)(void *argument);
    void *argument;
    bool used, ready, ended;
    bool unbroken;     /* it gives way only where it must wait */
    bool joinable;     /* a thread: its slot stays until somebody joined it */
    int64_t wake_us;   /* while not ready */
    const void *place; /* what it waits for: a mutex or a condition */
    bool timed_out;
    bool (*condition)(void *argument);
    void *condition_argument;
    uint64_t looked; /* note_io()s that its condition was asked after */
    struct mutex *held[HELD_MAX];
    size_t held_count;
    int saved_errno;
    char *locals; /* its thread-local variables, while another one runs */
};

/* Sets of fibers, in the order of their numbers: to go through all of them at every turn costs more than the turn. */
struct set {
    uint64_t words[FIBERS_MAX / 64];
};

static struct fiber fibers[FIBERS_MAX];
static size_t fiber_count;
static struct set ready_ones, conditional_ones;
static int
    waiting[256]; /* how many wait for a mutex or condition whose address falls here; it may be too many */
static struct fiber *current;
static struct place scheduler;
static int64_t time_us;
static uint64_t io_count, switch_count;
static void *free_stacks[FIBERS_MAX];
static size_t free_stack_count;
static void *locals_at;
static size_t locals_size;
bool verbose;

/* ---- chance: xoshiro256**, seeded by splitmix64 ---- */

static uint64_t state[4];

void chance_seed(uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t chance_64(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

int64_t chance_below(int64_t below)
{
    return (int64_t)(chance_64() % (uint64_t)below);
}

bool chance(int64_t per_million)
{
    return per_million > 0 && chance_below(1000000) < per_million;
}

/* ---- talk ---- */

void say(const char *format, ...)
{
    va_list arguments;
    if (!verbose)
        return;
    printf("%12.6f %-9s ", (double)time_us / 1e6, current && current->node ? current->node->name : "");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* ---- thread-local variables: those of this program are kept per fiber ---- */

static int find_locals(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)size;
    (void)argument;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            locals_at = info->dlpi_tls_data;
            locals_size = info->dlpi_phdr[i].p_memsz;
        }
    }
    return 1; /* the program itself comes first */
}

/* ---- sets ---- */

static void set_change(struct set *set, const struct fiber *fiber, bool in)
{
    size_t i = (size_t)(fiber - fibers);
    uint64_t bit = UINT64_C(1) << (i % 64);
    set->words[i / 64] = in ? set->words[i / 64] | bit : set->words[i / 64] & ~bit;
}

/* The next one behind AFTER (-1: the first one), -1: there is none. */
static int set_next(const struct set *set, int after)
{
    size_t at = (size_t)(after + 1), end = (fiber_count + 63) / 64;
    if (at / 64 >= end)
        return -1;
    uint64_t word = set->words[at / 64] & (~UINT64_C(0) << (at % 64));
    for (size_t i = at / 64;; word = set->words[i]) {
        if (word != 0)
            return (int)(i * 64) + __builtin_ctzll(word);
        if (++i >= end)
            return -1;
    }
}

static void set_ready(struct fiber *fiber, bool ready)
{
    fiber->ready = ready;
    set_change(&ready_ones, fiber, ready);
}

static int *waiting_at(const void *place)
{
    return &waiting[((uintptr_t)place >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

/* ---- switching ---- */

static void to_scheduler(void)
{
    struct fiber *self = current;
    self->saved_errno = errno;
    place_swap(&self->context, &scheduler);
    errno = self->saved_errno;
}

static void fiber_main(void)
{
    current->run(current->argument);
    current->ended = true;
    set_ready(current, false);
    for (size_t i = 0; i < fiber_count; i++) {
        if (!fibers[i].ready && fibers[i].place == current)
            set_ready(&fibers[i], true);
    }
    to_scheduler();
    abort();
}

struct fiber *fiber_start(struct node *node, const char *name, void *(*run)(void *argument), void *argument)
{
    struct fiber *fiber = NULL;
    for (size_t i = 0; i < fiber_count && !fiber; i++) {
        if (!fibers[i].used)
            fiber = &fibers[i];
    }
    if (!fiber && fiber_count < FIBERS_MAX)
        fiber = &fibers[fiber_count++];
    if (!fiber)
        violation("more than %d fibers", FIBERS_MAX);
    char *locals = fiber->locals;
    *fiber = (struct fiber){.node = node,
                            .run = run,
                            .argument = argument,
                            .used = true,
                            .locals = locals ? locals : malloc(locals_size + 1)};
    memset(fiber->locals, 0, locals_size);
    snprintf(fiber->name, sizeof(fiber->name), "%s", name);
    fiber->stack = free_stack_count > 0
                       ? free_stacks[--free_stack_count]
                       : mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (fiber->stack == MAP_FAILED)
        violation("no memory for a fiber");
    place_make(&fiber->context, fiber->stack, STACK_SIZE, fiber_main);
    set_ready(fiber, true);
    return fiber;
}

static void fiber_free(struct fiber *fiber)
{
    free_stacks[free_stack_count++] = fiber->stack;
    fiber->used = false;
    set_ready(fiber, false);
    set_change(&conditional_ones, fiber, false);
    if (fiber->place)
        --*waiting_at(fiber->place);
    fiber->place = NULL;
}

static void run_fiber(struct fiber *fiber)
{
    current = fiber;
    switch_count++;
    time_us += chance_below(STEP_US);
    memcpy(locals_at, fiber->locals, locals_size);
    place_swap(&scheduler, &fiber->context);
    memcpy(fiber->locals, locals_at, locals_size);
    current = NULL;
}

/* ---- the scheduler ---- */

static bool is_paused(const struct fiber *fiber)
{
    return fiber->node && fiber->node->paused_until > time_us;
}

static bool epoll_ready(void *argument)
{
    struct pollfd poll_fd = {.fd = *(int *)argument, .events = POLLIN};
    return poll(&poll_fd, 1, 0) > 0;
}

/* Whoever waits for a socket and can go on. Loops, which are most of them, are asked after with one poll(2). */
static void ask_conditions(void)
{
    static uint64_t asked;
    static struct pollfd fds[FIBERS_MAX];
    static struct fiber *loops[FIBERS_MAX];
    nfds_t count = 0;
    if (asked == io_count)
        return; /* whoever came since has looked for itself */
    asked = io_count;
    for (int i = set_next(&conditional_ones, -1); i >= 0; i = set_next(&conditional_ones, i)) {
        struct fiber *fiber = &fibers[i];
        if (fiber->ready || fiber->looked == io_count)
            continue;
        fiber->looked = io_count;
        if (fiber->condition == epoll_ready) {
            fds[count] = (struct pollfd){.fd = *(int *)fiber->condition_argument, .events = POLLIN};
            loops[count++] = fiber;
        } else if (fiber->condition(fiber->condition_argument)) {
            set_ready(fiber, true);
        }
    }
    if (count > 0 && poll(fds, count, 0) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (fds[i].revents)
                set_ready(loops[i], true);
        }
    }
}

static struct fiber *choose(void)
{
    struct fiber *chosen = NULL;
    int64_t seen = 0;
    for (int i = set_next(&ready_ones, -1); i >= 0; i = set_next(&ready_ones, i)) {
        if (!is_paused(&fibers[i]) && chance_below(++seen) == 0)
            chosen = &fibers[i];
    }
    return chosen;
}

/* The next moment at which somebody can run; FOREVER: there is none. */
static int64_t next_moment(void)
{
    int64_t next = FOREVER;
    for (size_t i = 0; i < fiber_count; i++) {
        const struct fiber *fiber = &fibers[i];
        if (!fiber->used || fiber->ended)
            continue;
        int64_t at = fiber->ready ? time_us : fiber->wake_us;
        if (fiber->node && at != FOREVER)
            at = max_i64(at, fiber->node->paused_until);
        next = min_i64(next, at);
    }
    return next;
}

static void wake_due(void)
{
    for (size_t i = 0; i < fiber_count; i++) {
        struct fiber *fiber = &fibers[i];
        if (fiber->used && !fiber->ready && !fiber->ended && fiber->wake_us <= time_us && !is_paused(fiber)) {
            set_ready(fiber, true);
            fiber->timed_out = true;
        }
    }
}

void world_run(bool (*until)(void))
{
    while (!until()) {
        ask_conditions();
        struct fiber *fiber = choose();
        if (!fiber) {
            int64_t next = next_moment();
            if (next == FOREVER)
                violation("nobody can go on: a deadlock");
            time_us = max_i64(time_us, next);
            wake_due();
            continue;
        }
        run_fiber(fiber);
        if (fiber->ended && !fiber->joinable)
            fiber_free(fiber);
        if (switch_count % 16 == 0)
            wake_due();
    }
}

void world_begin(void)
{
    dl_iterate_phdr(find_locals, NULL);
    if (!locals_at)
        violation("the program has no thread-local variables where they were expected");
}

int64_t now_us(void)
{
    return time_us;
}

void world_jump(int64_t us)
{
    time_us += us;
}

void clock_of(const struct node *node)
{
    if (current)
        current->clock = node;
}

uint64_t switches(void)
{
    return switch_count;
}

void note_io(void)
{
    io_count++;
}

struct node *node_current(void)
{
    return current ? current->node : NULL;
}

static bool block(const void *place, int64_t until_us)
{
    current->place = place;
    if (place)
        ++*waiting_at(place);
    current->wake_us = until_us;
    set_ready(current, until_us <= time_us);
    current->timed_out = current->ready;
    set_change(&conditional_ones, current, current->condition != NULL);
    to_scheduler();
    if (place)
        --*waiting_at(place);
    current->place = NULL;
    current->condition = NULL;
    set_change(&conditional_ones, current, false);
    return !current->timed_out;
}

void sleep_us(int64_t us)
{
    if (current)
        (void)block(NULL, time_us + us);
}

void yield(void)
{
    if (current)
        to_scheduler();
}

bool wait_ready(bool (*ready)(void *argument), void *argument, int64_t until_us)
{
    for (;;) {
        if (ready(argument))
            return true;
        if (until_us <= time_us)
            return false;
        current->condition = ready;
        current->condition_argument = argument;
        current->looked = io_count;
        (void)block(&current->condition, until_us);
    }
}

/* ---- processes ---- */

void node_kill(struct node *node)
{
    say("%s is killed", node->name);
    node->alive = false;
    for (size_t i = 0; i < fiber_count; i++) {
        struct fiber *fiber = &fibers[i];
        if (!fiber->used || fiber->node != node || fiber == current)
            continue;
        for (size_t j = 0; j < fiber->held_count; j++) /* what it shares with other nodes */
            fiber->held[j]->owner = NULL;
        fiber_free(fiber);
    }
    base_kill(node);
    net_close_all(node);
    note_io();
}

void node_die(void)
{
    struct fiber *self = current;
    node_kill(self->node);
    for (size_t i = 0; i < self->held_count; i++)
        self->held[i]->owner = NULL;
    self->ended = true;
    self->joinable = false; /* whoever would have joined it is gone */
    set_ready(self, false);
    to_scheduler();
    abort();
}

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
        (void)block(fiber, FOREVER);
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
    for (size_t i = 0; i<fiber_count && * waiting_at(place)> 0; i++) {
        struct fiber *fiber = &fibers[i];
        if (fiber->used && !fiber->ready && fiber->place == place && chance_below(++seen) == 0)
            chosen = fiber;
    }
    if (chosen)
        set_ready(chosen, true);
}

static void wake_all(const void *place)
{
    for (size_t i = 0; i<fiber_count && * waiting_at(place)> 0; i++) {
        if (fibers[i].used && !fibers[i].ready && fibers[i].place == place)
            set_ready(&fibers[i], true);
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
    if (!current)
        return 0;
    if (current->held_count == 0 && !current->unbroken && chance(PREEMPT))
        yield();
    if (own->owner == current)
        violation("fiber %s takes a mutex twice", current->name);
    while (own->owner)
        (void)block(own, FOREVER);
    own->owner = current;
    if (current->held_count < HELD_MAX)
        current->held[current->held_count++] = own;
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
    if (!current)
        return 0;
    own->owner = NULL;
    for (size_t i = current->held_count; i > 0; i--) {
        if (current->held[i - 1] == own) {
            current->held[i - 1] = current->held[--current->held_count];
            break;
        }
    }
    wake_one(own);
    if (current->held_count == 0 && !current->unbroken && chance(PREEMPT))
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

static int64_t clock_offset(clockid_t clock)
{
    const struct node *node = current && current->clock ? current->clock : node_current();
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    return wall ? EPOCH + (node ? node->clock_offset : 0) : MONOTONIC;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *at);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *at)
{
    clockid_t clock = ((struct condition *)condition)->monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    int64_t until = at ? at->tv_sec * SECOND_US + at->tv_nsec / 1000 + 1 - clock_offset(clock) : FOREVER;
    if (!current)
        violation("a wait outside of a fiber");
    struct mutex *own = (struct mutex *)mutex;
    own->owner = NULL;
    for (size_t i = 0; i < current->held_count; i++) {
        if (current->held[i] == own) {
            current->held[i] = current->held[--current->held_count];
            break;
        }
    }
    wake_one(own);
    bool woken = chance(SPURIOUS) || block(condition, until);
    while (own->owner)
        (void)block(own, FOREVER);
    own->owner = current;
    if (current->held_count < HELD_MAX)
        current->held[current->held_count++] = own;
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
    while (current && *once == ONCE_RUNNING)
        (void)block(once, FOREVER);
    if (*once == ONCE_DONE)
        return 0;
    *once = ONCE_RUNNING;
    if (current)
        current->unbroken = true; /* it is the whole program's: nobody may be killed inside of it */
    run();
    if (current)
        current->unbroken = false;
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

/* ---- time: by these names for the shared libraries too ---- */

EXPORTED int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock == CLOCK_PROCESS_CPUTIME_ID)
        return (int)syscall(SYS_clock_gettime, clock, now);
    /* What a fiber does takes no time of a processor. */
    int64_t us = clock == CLOCK_THREAD_CPUTIME_ID ? 0 : time_us + clock_offset(clock);
    now->tv_sec = us / SECOND_US;
    now->tv_nsec = us % SECOND_US * 1000;
    return 0;
}

EXPORTED int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec spec;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &spec);
    *now = (struct timeval){.tv_sec = spec.tv_sec, .tv_usec = spec.tv_nsec / 1000};
    return 0;
}

EXPORTED time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
    (void)left;
    sleep_us(pause->tv_sec * SECOND_US + pause->tv_nsec / 1000);
    return 0;
}

int __wrap_usleep(unsigned us);
int __wrap_usleep(unsigned us)
{
    sleep_us(us);
    return 0;
}

/* libevent's wait. */
EXPORTED int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    if (timeout != 0 && current) {
        int64_t until = timeout < 0 ? FOREVER : time_us + timeout * INT64_C(1000);
        (void)wait_ready(epoll_ready, &fd, until);
    }
    return (int)syscall(SYS_epoll_pwait, fd, events, count, 0, NULL, 8);
}

/* ---- chance for the code under test ---- */

uint32_t __wrap_arc4random(void);
uint32_t __wrap_arc4random(void)
{
    return (uint32_t)chance_64();
}

uint32_t __wrap_arc4random_uniform(uint32_t below);
uint32_t __wrap_arc4random_uniform(uint32_t below)
{
    return below > 0 ? (uint32_t)chance_below(below) : 0;
}

void __wrap_arc4random_buf(void *bytes, size_t size);
void __wrap_arc4random_buf(void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)chance_64();
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    __wrap_arc4random_buf(bytes, size);
    return (ssize_t)size;
}

pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
    const struct node *node = node_current();
    return node ? 1000 + 100 * node->index + node->starts : 999;
}
