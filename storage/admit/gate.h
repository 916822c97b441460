/*
 * gate: how many uploads are under way at once. Further ones wait in order, without a buffer and without
 * their bodies being read, for a bounded time. One for the whole daemon; called from every loop.
 */
#ifndef REEL_STORAGE_GATE_H
#define REEL_STORAGE_GATE_H

#include "common/loop/wait_list.h"

struct gate;

/* Embed it in what waits. */
struct gate_waiter {
    /* On LOOP, never inside gate_enter(): ENTERED, or the time is over. */
    void (*done)(struct gate_waiter *waiter, bool entered);
    struct loop *loop;
    struct wait wait; /* private */
};

enum gate_result { GATE_ENTERED, GATE_WAITS, GATE_FULL };

/* ACTIVE_MAX at least 1. NULL without memory. */
MUST_CHECK struct gate *gate_create(size_t active_max, size_t waiting_max, int64_t wait_ms);
void gate_destroy(struct gate *gate); /* nobody may be inside or wait; NULL is ignored */
void gate_set_limits(struct gate *gate, size_t active_max, size_t waiting_max, int64_t wait_ms);

/* On WAITER->loop. GATE_ENTERED: at once, done() is not called. GATE_WAITS: done() will be. GATE_FULL: too
 * many wait. */
MUST_CHECK enum gate_result gate_enter(struct gate *gate, struct gate_waiter *waiter);

/* Any thread: one that entered has ended; the next one that waits enters. */
void gate_leave(struct gate *gate);

size_t gate_active(struct gate *gate);
size_t gate_waiting(struct gate *gate);

#endif
