/*
 * turns: how long each turn of an event loop takes, of any program that waits in epoll_wait(): loaded with LD_PRELOAD, it notes the
 * processor time and the wall time of each thread between one wait and the next, in the file that REEL_TURNS names: 8 numbers of 64
 * bits for each of at most 64 threads, which tests/bench/segments.py reads and clears while the program runs: thread, turns, the
 * longest in ns of processor time, of wall time, turns of more than 1 ms of each, how many events the first of these had, and the most
 * processor time that a turn took for each of its events.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS    64
#define FIELDS     8
#define STALL_NS   1000000
#define TABLE_SIZE (THREADS * FIELDS * sizeof(uint64_t))

enum field {
    FIELD_THREAD,
    FIELD_TURNS,
    FIELD_CPU,
    FIELD_WALL,
    FIELD_CPU_STALLS,
    FIELD_WALL_STALLS,
    FIELD_EVENTS,
    FIELD_EVENT
};

static _Atomic uint64_t *table;
static int (*wait_really)(int fd, struct epoll_event *events, int count, int timeout_ms);
static atomic_uint threads;
static _Thread_local _Atomic uint64_t *own;
static _Thread_local uint64_t began_cpu, began_wall, events_of_turn;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("REEL_TURNS");
    *(void **)&wait_really = dlsym(RTLD_NEXT, "epoll_wait");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    void *shared = ftruncate(fd, TABLE_SIZE) == 0
                       ? mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                       : MAP_FAILED;
    table = shared == MAP_FAILED ? NULL : shared;
    (void)close(fd);
}

static void raise_to(_Atomic uint64_t *field, uint64_t value)
{
    if (value > atomic_load(field))
        atomic_store(field, value);
}

static void note_turn(void)
{
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began_cpu;
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - began_wall;
    atomic_fetch_add(&own[FIELD_TURNS], 1);
    if (cpu > atomic_load(&own[FIELD_CPU]))
        atomic_store(&own[FIELD_EVENTS], events_of_turn);
    raise_to(&own[FIELD_CPU], cpu);
    raise_to(&own[FIELD_EVENT], cpu / (events_of_turn > 0 ? events_of_turn : 1));
    raise_to(&own[FIELD_WALL], wall);
    atomic_fetch_add(&own[FIELD_CPU_STALLS], cpu > STALL_NS);
    atomic_fetch_add(&own[FIELD_WALL_STALLS], wall > STALL_NS);
}

__attribute__((visibility("default"))) int epoll_wait(int fd, struct epoll_event *events, int count,
                                                      int timeout_ms)
{
    if (own)
        note_turn();
    int got = wait_really(fd, events, count, timeout_ms);
    if (!own && table) {
        unsigned number = atomic_fetch_add(&threads, 1);
        own = number < THREADS ? &table[number * FIELDS] : NULL;
        if (own)
            atomic_store(&own[FIELD_THREAD], (uint64_t)syscall(SYS_gettid));
    }
    if (own) {
        events_of_turn = got > 0 ? (uint64_t)got : 0;
        began_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        began_wall = clock_ns(CLOCK_MONOTONIC);
    }
    return got;
}
