/*
 * listener: accepts the connections of one loop for whatever serves them. With as many open as are allowed (over all
 * loops of the port), one that can be spared makes room, of this loop or of another; where none can, new ones wait in the
 * kernel's queue, or are taken to be refused once they have waited for long. What the system refuses (a descriptor,
 * memory, a watch) costs the connection that it was for, and is tried again. Everything on the loop's thread, or while
 * it does not run.
 */
#ifndef REEL_COMMON_LISTENER_H
#define REEL_COMMON_LISTENER_H

#include "common/base/metrics.h"
#include "common/loop/bind.h"
#include "common/loop/listen_limits.h"
#include "common/loop/loop.h"

struct listener;

/* What holds at the moment; a reload may change it. */
struct listener_bounds {
    size_t connections_max;         /* over all loops */
    size_t connections_per_address; /* 0: no limit; further ones are taken to be refused */
    int64_t refuse_after_ms; /* how long new ones wait while all places are taken, before they are taken to be
                                       refused; negative: as long as it takes */
};

struct listener_options {
    struct loop *loop;
    struct listen_limits *limits; /* of the port; they outlive the listener */
    struct bind_list *addresses;  /* one socket for each; ports that the kernel chose are filled in */
    struct bind_options sockets;
    const char *room;      /* that log lines name */
    struct metric *errors; /* counts what could not be accepted; NULL: nobody does */
    void *argument;        /* of the functions */
    void (*bounds)(void *argument, struct listener_bounds *bounds);
    /* Whether a connection of this loop can be spared; the second one closes it, and is false where there is none. */
    bool (*has_room)(void *argument);
    bool (*make_room)(void *argument);
    /* A connection: FD and PLACE are taken over, and PLACE is given back by listen_limits_leave() when it ends. REFUSED: it
     * is beyond a limit and gets as little as possible. False: it could not be kept, FD is closed and PLACE is still the
     * listener's. */
    bool (*take)(void *argument, int fd, const struct socket_address *peer, const struct listen_place *place,
                 bool refused);
};

/* Listens and accepts from now on. NULL on failure, which names the address. */
MUST_CHECK struct listener *listener_create(const struct listener_options *options, struct error *error);

/* Takes the connections that wait in the kernel to be accepted, as far as there are places: for a caller that is about to
 * close and still serves those who have come. What stays there is reset by listener_close(). On the loop's thread. NULL
 * is ignored. */
void listener_take_rest(struct listener *listener);

/* Closes the sockets: nothing new comes. While the loop exists. NULL is ignored. */
void listener_close(struct listener *listener);

/* Closes, where that is still to be done, and frees. NULL is ignored. */
void listener_destroy(struct listener *listener);

/* The port of the first socket. */
uint16_t listener_port(const struct listener *listener);

#endif
