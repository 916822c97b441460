/*
 * tls_door: handshakes of one loop's port: a connection that was accepted passes through it before it counts as one of
 * whoever serves it. A limited number of handshakes are in progress at once, each for a limited time from the accept, however
 * its bytes trickle. Nothing but a descriptor and some 400 bytes is spent on a peer before its first byte; further ones wait
 * in their order, and one that is slow gives its place to them. A peer that does not speak TLS gets an error in its own
 * language. On the loop's thread, or while that does not run.
 */
#ifndef REEL_COMMON_TLS_DOOR_H
#define REEL_COMMON_TLS_DOOR_H

#include "common/loop/listen_limits.h"
#include "common/loop/loop.h"
#include "common/transport/tls_context.h"
#include "common/transport/transport.h"

#define TLS_DOOR_HANDSHAKES 64 /* at once */
#define TLS_DOOR_TIME_MS    10000

struct tls_door;

/* What may come in the clear before TLS, e.g. the header of a proxy that says for whom it speaks. */
#define TLS_DOOR_PREFACE_MAX 2048
enum tls_door_preface {
    TLS_DOOR_PREFACE_MORE,   /* more of it is to come */
    TLS_DOOR_PREFACE_DONE,   /* *USED bytes were it */
    TLS_DOOR_PREFACE_BROKEN, /* it is none, or longer than TLS_DOOR_PREFACE_MAX: the connection ends */
};

struct tls_door_options {
    struct loop *loop;
    struct tls_server *server; /* outlives the door */
    size_t handshakes_max;
    int64_t time_ms; /* from the accept to the end of the handshake */
    /* What a peer gets that does not begin with a record of TLS. */
    const void *plain_answer;
    size_t plain_answer_size;
    void *argument; /* of the functions */
    /* Looks at the SIZE bytes that have come, from the first one on, and may put another address into PEER. NULL: no connection of
     * this door has a preface. */
    enum tls_door_preface (*preface)(void *argument, const void *bytes, size_t size, size_t *used,
                                     struct socket_address *peer);
    /* A connection: AT and PLACE are taken over. REFUSED as it was given. False: it could not be kept; AT is closed by then,
     * and PLACE is still the door's. */
    bool (*take)(void *argument, struct transport at, const struct socket_address *peer,
                 const struct listen_place *place, bool refused);
    /* One that did not become a connection has ended: its place is free. */
    void (*leave)(void *argument, const struct listen_place *place);
};

/* NULL without memory. */
MUST_CHECK struct tls_door *tls_door_create(const struct tls_door_options *options, struct error *error);

/* Takes FD and PLACE over. PREFACE: something must come before TLS. False without memory or an event: FD is closed, and PLACE is
 * still the caller's. */
MUST_CHECK bool tls_door_enter(struct tls_door *door, int fd, const struct socket_address *peer,
                               const struct listen_place *place, bool refused, bool preface);

/* Whether one can be spared that has been in the door for long without getting on; the second one ends it. */
bool tls_door_has_room(const struct tls_door *door);
bool tls_door_make_room(struct tls_door *door);

/* Ends all that are in progress. NULL is ignored. */
void tls_door_close(struct tls_door *door);
void tls_door_destroy(struct tls_door *door);

#endif
