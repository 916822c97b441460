/*
 * choice: which group a new user gets, and in which order the servers of a group are named to a client. Pure
 * functions over a few numbers of each candidate, and chance; touch nothing else. Called by table.c.
 */
#ifndef REEL_TRACKER_CHOICE_H
#define REEL_TRACKER_CHOICE_H

#include "common/base/base.h"

/* The order in which servers are named: those of a lower rank come first, whatever their load. */
enum choice_rank {
    CHOICE_READY = 0, /* also a server that never reported its load */
    CHOICE_BUSY,
    CHOICE_READ_ONLY,
    CHOICE_DRAINING, /* this one and the next only where no other is left */
    CHOICE_SUSPECT,
};

struct choice_server {
    enum choice_rank rank;
    bool has_load;
    double busyness; /* any unit, the same for all; ignored without has_load, which counts as average */
};

/* Puts the indices of up to WANTED of the COUNT servers into PICKED, best first, and returns how many. Among
 * servers of one rank the order is random, a less busy one being the likelier to come first: figures are as
 * old as the last heartbeat, and the idlest server must not get every client of that interval. */
size_t choice_servers(const struct choice_server *servers, size_t count, size_t wanted, size_t *picked);

struct choice_group {
    int64_t weight; /* 0: gets no new user */
    bool has_load;  /* without: its share of free bytes counts as the average of the others */
    int64_t capacity;
    int64_t free;
};

/* The index of a group, at random, likely in proportion to weight x free / capacity; COUNT where none can be
 * chosen. */
size_t choice_group(const struct choice_group *groups, size_t count);

#endif
