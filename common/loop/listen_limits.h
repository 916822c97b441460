/*
 * listen_limits: how many connections one port has, over all of its loops and of each client address. A connection
 * has a place from accept(2) until it ends. Any thread.
 */
#ifndef REEL_COMMON_LISTEN_LIMITS_H
#define REEL_COMMON_LISTEN_LIMITS_H

#include "common/base/address.h"

struct listen_limits;

/* What a connection keeps of its place, to give it back. */
struct listen_place {
    bool counted;    /* in the count of its address */
    uint8_t key[16]; /* of that address */
};

/* NULL without memory. */
MUST_CHECK struct listen_limits *listen_limits_create(void);
/* After the last connection and the last listener. NULL is ignored. */
void listen_limits_destroy(struct listen_limits *limits);

/* Places that are taken. */
size_t listen_limits_connections(const struct listen_limits *limits);

/* Takes a place where fewer than MAX are taken. False: there is none. */
MUST_CHECK bool listen_limits_take(struct listen_limits *limits, size_t max);
/* Takes one in any case. */
void listen_limits_take_more(struct listen_limits *limits);
/* Gives one back that no connection came into. */
void listen_limits_give(struct listen_limits *limits);

/* Counts a connection of PEER into PLACE. An IPv4 client counts by its address, an IPv6 one by its /64, which is what one
 * customer has. False where it has MAX already (0: no limit); it is counted even so. */
MUST_CHECK bool listen_limits_enter(struct listen_limits *limits, struct listen_place *place,
                                    const struct sockaddr *peer, size_t max);
/* A connection has ended: gives back its place. Wakes listeners that wait for one. */
void listen_limits_leave(struct listen_limits *limits, const struct listen_place *place);

/* Whoever waits for places. Embedded in a listener; woken on any thread, with the lock of the limits held: wake() must
 * only post. */
struct listen_waiter {
    void (*wake)(struct listen_waiter *waiter);
    struct listen_waiter *next; /* private */
    bool waits;                 /* private */
};

/* From here on the waiter can be woken, until it is forgotten. */
void listen_limits_register(struct listen_limits *limits, struct listen_waiter *waiter);
void listen_limits_forget(struct listen_limits *limits, struct listen_waiter *waiter);

/* WAITER is woken once, when a place becomes free. Look again afterwards whether one did before this call. */
void listen_limits_wait(struct listen_limits *limits, struct listen_waiter *waiter);

/* WAITER would take COUNT places, and can free none itself: the other waiters are woken, to see whether they can. */
void listen_limits_want(struct listen_limits *limits, struct listen_waiter *waiter, size_t count);
/* How many places are wanted; no other caller gets the same answer. */
size_t listen_limits_take_wanted(struct listen_limits *limits);

#endif
