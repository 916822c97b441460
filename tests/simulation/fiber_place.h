/*
 * fiber_place: where a fiber goes on: its stack and registers. swapcontext(3) asks the kernel for the signal mask every time, which is
 * half of what a turn costs; it is used only where there is nothing quicker. Called by world.c.
 */
#ifndef REEL_TESTS_SIMULATION_FIBER_PLACE_H
#define REEL_TESTS_SIMULATION_FIBER_PLACE_H

#include <stddef.h>
#include <ucontext.h>

#if defined(__x86_64__)
struct fiber_place {
    void *stack;
};
#else
struct fiber_place {
    ucontext_t context;
};
#endif

/* Goes on at TO; returns when somebody goes on at FROM. */
void fiber_place_swap(struct fiber_place *from, const struct fiber_place *to);

/* The first time it begins RUN, on the SIZE bytes of STACK; RUN does not return. */
void fiber_place_make(struct fiber_place *place, void *stack, size_t size, void (*run)(void));

#endif
