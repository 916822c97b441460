/*
 * fiber: what world.c and threads.c share of a fiber. Private to these.
 */
#ifndef REEL_TESTS_SIMULATION_FIBER_H
#define REEL_TESTS_SIMULATION_FIBER_H

#include "tests/simulation/fiber_place.h"
#include "tests/simulation/sim.h"

#include <time.h>

#define FIBERS_MAX 2048
#define HELD_MAX   16

struct mutex {
    struct fiber *owner;
};

struct fiber {
    struct fiber_place context;
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

extern struct fiber fibers[FIBERS_MAX];
extern size_t fiber_count;          /* places that were used so far */
extern struct fiber *fiber_current; /* NULL: the scheduler */

void fiber_set_ready(struct fiber *fiber, bool ready);
/* How many wait for PLACE, a mutex or condition; it may be too many. */
int *fiber_waiting_at(const void *place);
/* The running fiber waits for PLACE (NULL: for nothing) until somebody makes it ready or the time comes; false for the time. */
bool fiber_block(const void *place, int64_t until_us);
/* It has ended, or is not to go on: its place and stack are free. */
void fiber_free(struct fiber *fiber);

/* From virtual time to what CLOCK shows the running fiber. */
int64_t world_clock_offset(clockid_t clock);

#endif
