/*
 * wait_list: those who wait for one thing, in their order, each for a bounded time, each answered on a loop of its own.
 * Whoever can give the thing takes the first one out and answers it; whoever is still in the list when its time is up is
 * answered by the timer. There is no other way out, so that every wait is answered exactly once or taken back.
 *
 * The list is guarded by a mutex of its owner, or belongs to one loop. Nothing here allocates memory but libevent, whose
 * heap is the one timer per loop for all that wait there.
 */
#ifndef REEL_COMMON_WAIT_LIST_H
#define REEL_COMMON_WAIT_LIST_H

#include "common/loop/loop.h"
#include <event2/event_struct.h>
#include <sys/queue.h>

struct wait_list;

enum wait_end {
    WAIT_ANSWERED,  /* by wait_answer() or wait_post() */
    WAIT_TIMED_OUT, /* it was still in the list when its time was over */
};

/* One waiter. Embed it in what waits; it must stay valid until done() or a wait_leave() that is true. */
struct wait {
    struct loop *loop; /* where done() runs; also the thread that enters and leaves */
    /* Once, never inside wait_enter(). May free the wait or enter it again. No mutex is held. */
    void (*done)(struct wait *wait, enum wait_end end);
    /* private */
    struct wait_list *list; /* that it stands in; NULL: it was taken out */
    pthread_mutex_t *mutex;
    TAILQ_ENTRY(wait) link;
    struct task task;
    struct event timer;
    bool entered, timed; /* touched on LOOP only */
};
TAILQ_HEAD(wait_queue, wait);

struct wait_list {
    struct wait_queue waits; /* the first has waited longest */
    size_t count;
    pthread_mutex_t *mutex; /* NULL: the list belongs to one loop's thread */
    size_t *total;          /* counts those of several lists under one mutex; NULL: nobody does */
};

/* The list needs no end: it holds nothing but those who wait. */
void wait_list_init(struct wait_list *list, pthread_mutex_t *mutex, size_t *total);

/* ---- with the mutex held ---- */

/* At the end of the list, on WAIT->loop. TIMEOUT_MS: until done() says WAIT_TIMED_OUT; 0: no limit. False: there is no
 * memory for a timer, and it does not wait. */
MUST_CHECK bool wait_enter(struct wait_list *list, struct wait *wait, int64_t timeout_ms);
/* The same at the front, for one who has waited already. */
MUST_CHECK bool wait_enter_first(struct wait_list *list, struct wait *wait, int64_t timeout_ms);

/* The one who has waited longest, taken out: the caller answers it. NULL: nobody waits. */
struct wait *wait_list_take(struct wait_list *list);
struct wait *wait_list_first(const struct wait_list *list); /* stays in; NULL: nobody waits */
struct wait *wait_list_next(const struct wait *wait);       /* the one behind; NULL: it is the last */
/* All of FROM go behind those of LIST; both have the same mutex. */
void wait_list_move(struct wait_list *list, struct wait_list *from);

/* On WAIT->loop. True: it no longer waits, and done() will not come. False: it was taken out by another thread, and
 * done() will come. One that never entered: true. */
bool wait_leave(struct wait *wait);

/* ---- without the mutex; WAIT was taken out ---- */

/* done() runs on its loop, later. Any thread. */
void wait_post(struct wait *wait);
/* done() runs at once where the list belongs to one loop or this is the wait's own, else as with wait_post(). */
void wait_answer(struct wait *wait);

#endif
