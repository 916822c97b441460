/*
 * world: fibers in place of threads, virtual time, and the scheduler that a seed drives. One real thread; a fiber gives
 * way where a thread would wait, and, by chance, before it takes a mutex. Time passes when nobody can run. The calls
 * of the code under test arrive here by the linker's --wrap; libevent's and SQLite's, which are shared libraries, by
 * symbols of the same name (clock_gettime, epoll_wait, ...).
 */
#include "tests/simulation/fiber.h"

#include <errno.h>
#include <link.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED   __attribute__((visibility("default")))
#define STACK_SIZE (256 * 1024)
#define EPOCH      INT64_C(1700000000000000) /* microseconds: when every run begins */
#define MONOTONIC  INT64_C(100000000000)
#define STEP_US    20 /* a turn takes up to so long */

/* Sets of fibers, in the order of their numbers: to go through all of them at every turn costs more than the turn. */
struct set {
    uint64_t words[FIBERS_MAX / 64];
};

struct fiber fibers[FIBERS_MAX];
size_t fiber_count;
static struct set ready_ones, conditional_ones;
static int
    waiting[256]; /* how many wait for a mutex or condition whose address falls here; it may be too many */
struct fiber *fiber_current;
static struct fiber_place scheduler;
static int64_t time_us;
static uint64_t io_count, switch_count;
static void *free_stacks[FIBERS_MAX];
static size_t free_stack_count;
static void *locals_at;
static size_t locals_size;
bool verbose;

/* ---- talk ---- */

void say(const char *format, ...)
{
    va_list arguments;
    if (!verbose)
        return;
    printf("%12.6f %-9s ", (double)time_us / 1e6,
           fiber_current && fiber_current->node ? fiber_current->node->name : "");
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

void fiber_set_ready(struct fiber *fiber, bool ready)
{
    fiber->ready = ready;
    set_change(&ready_ones, fiber, ready);
}

int *fiber_waiting_at(const void *place)
{
    return &waiting[((uintptr_t)place >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

/* ---- switching ---- */

static void to_scheduler(void)
{
    struct fiber *self = fiber_current;
    self->saved_errno = errno;
    fiber_place_swap(&self->context, &scheduler);
    errno = self->saved_errno;
}

static void fiber_main(void)
{
    fiber_current->run(fiber_current->argument);
    fiber_current->ended = true;
    fiber_set_ready(fiber_current, false);
    for (size_t i = 0; i < fiber_count; i++) {
        if (!fibers[i].ready && fibers[i].place == fiber_current)
            fiber_set_ready(&fibers[i], true);
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
    fiber_place_make(&fiber->context, fiber->stack, STACK_SIZE, fiber_main);
    fiber_set_ready(fiber, true);
    return fiber;
}

void fiber_free(struct fiber *fiber)
{
    free_stacks[free_stack_count++] = fiber->stack;
    fiber->used = false;
    fiber_set_ready(fiber, false);
    set_change(&conditional_ones, fiber, false);
    if (fiber->place)
        --*fiber_waiting_at(fiber->place);
    fiber->place = NULL;
}

static void run_fiber(struct fiber *fiber)
{
    fiber_current = fiber;
    switch_count++;
    time_us += chance_below(STEP_US);
    memcpy(locals_at, fiber->locals, locals_size);
    fiber_place_swap(&scheduler, &fiber->context);
    memcpy(fiber->locals, locals_at, locals_size);
    fiber_current = NULL;
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
            fiber_set_ready(fiber, true);
        }
    }
    if (count > 0 && poll(fds, count, 0) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (fds[i].revents)
                fiber_set_ready(loops[i], true);
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
            fiber_set_ready(fiber, true);
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
    if (fiber_current)
        fiber_current->clock = node;
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
    return fiber_current ? fiber_current->node : NULL;
}

bool fiber_block(const void *place, int64_t until_us)
{
    fiber_current->place = place;
    if (place)
        ++*fiber_waiting_at(place);
    fiber_current->wake_us = until_us;
    fiber_set_ready(fiber_current, until_us <= time_us);
    fiber_current->timed_out = fiber_current->ready;
    set_change(&conditional_ones, fiber_current, fiber_current->condition != NULL);
    to_scheduler();
    if (place)
        --*fiber_waiting_at(place);
    fiber_current->place = NULL;
    fiber_current->condition = NULL;
    set_change(&conditional_ones, fiber_current, false);
    return !fiber_current->timed_out;
}

void sleep_us(int64_t us)
{
    if (fiber_current)
        (void)fiber_block(NULL, time_us + us);
}

void yield(void)
{
    if (fiber_current)
        to_scheduler();
}

bool wait_ready(bool (*ready)(void *argument), void *argument, int64_t until_us)
{
    for (;;) {
        if (ready(argument))
            return true;
        if (until_us <= time_us)
            return false;
        fiber_current->condition = ready;
        fiber_current->condition_argument = argument;
        fiber_current->looked = io_count;
        (void)fiber_block(&fiber_current->condition, until_us);
    }
}

/* ---- processes ---- */

void node_kill(struct node *node)
{
    say("%s is killed", node->name);
    node->alive = false;
    for (size_t i = 0; i < fiber_count; i++) {
        struct fiber *fiber = &fibers[i];
        if (!fiber->used || fiber->node != node || fiber == fiber_current)
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
    struct fiber *self = fiber_current;
    node_kill(self->node);
    for (size_t i = 0; i < self->held_count; i++)
        self->held[i]->owner = NULL;
    self->ended = true;
    self->joinable = false; /* whoever would have joined it is gone */
    fiber_set_ready(self, false);
    to_scheduler();
    abort();
}

/* ---- time: by these names for the shared libraries too ---- */

int64_t world_clock_offset(clockid_t clock)
{
    const struct node *node = fiber_current && fiber_current->clock ? fiber_current->clock : node_current();
    bool wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    return wall ? EPOCH + (node ? node->clock_offset : 0) : MONOTONIC;
}

EXPORTED int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock == CLOCK_PROCESS_CPUTIME_ID)
        return (int)syscall(SYS_clock_gettime, clock, now);
    /* What a fiber does takes no time of a processor. */
    int64_t us = clock == CLOCK_THREAD_CPUTIME_ID ? 0 : time_us + world_clock_offset(clock);
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
    if (timeout != 0 && fiber_current) {
        int64_t until = timeout < 0 ? FOREVER : time_us + timeout * INT64_C(1000);
        (void)wait_ready(epoll_ready, &fd, until);
    }
    return (int)syscall(SYS_epoll_pwait, fd, events, count, 0, NULL, 8);
}
