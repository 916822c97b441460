/*
 * packet_attempt: one attempt of a call: one exchange with one address. It resolves the name, waits for a connection's
 * turn, takes a kept connection or makes one, and runs the exchange; a kept connection that turns out dead is replaced
 * once. How it ended is reported through a table of callbacks; what follows (the next address, hedging, the report of all
 * addresses) is packet_call's. On the pool's loop only.
 *
 *     IDLE -> WAITING -> CONNECTING -> (GREETING) -> EXCHANGING -> ended() or TAKEN
 */
#ifndef REEL_COMMON_PACKET_ATTEMPT_H
#define REEL_COMMON_PACKET_ATTEMPT_H

#include "common/call/packet_exchange.h"
#include "common/call/packet_greeting.h"
#include "common/call/pool_endpoint.h"
#include "common/transport/tls.h"

enum packet_attempt_state {
    ATTEMPT_IDLE, /* not begun, or over */
    ATTEMPT_WAITING, /* for a name, a connection's turn, or the next step after a failure that was found at once */
    ATTEMPT_CONNECTING,
    ATTEMPT_GREETING, /* both ends prove who they are */
    ATTEMPT_EXCHANGING,
    ATTEMPT_TAKEN, /* the socket is the caller's */
};

/* What the attempts of one call have in common. */
struct packet_attempt_options {
    struct packet_pool *pool;
    /* As in struct packet_exchange_options, with the attempt as the argument of each callback: */
    const uint8_t *head;
    size_t head_size;
    int64_t source_size;
    int64_t (*source)(void *attempt, uint8_t *buffer, size_t size);    /* NULL: none */
    int64_t (*pass)(void *attempt, struct transport to, int64_t left); /* NULL: none */
    bool asks;
    size_t reply_max;
    int64_t timeout_ms, progress_ms;
    enum packet_verdict (*header)(void *attempt, int64_t length);
    void (*taken)(void *attempt);
    /* It has ended. Once, never inside packet_attempt_begin(), and not after PACKET_TAKE; failures before the exchange are
     * EXCHANGE_BROKEN. Never EXCHANGE_STALE. The connection of EXCHANGE_ANSWERED is still held: packet_attempt_stop()
     * must follow in any case. The address was penalised where it is to blame. */
    void (*ended)(void *attempt, const struct packet_exchange_end *end);
};

/* Embed it. Members are read by its owner, changed by packet_attempt.c only. */
struct packet_attempt {
    const struct packet_attempt_options *options;
    enum packet_attempt_state state;
    struct pool_endpoint *endpoint; /* of its address; NULL: none, or the pool has gone */
    struct pool_connection *connection;
    struct packet_greeting *greeting;
    uint8_t binding[TLS_BINDING_SIZE]; /* of its connection, for the greeting */
    struct packet_exchange *exchange;
    struct wait wait;
    size_t target;        /* which of the endpoint's resolved addresses is tried */
    bool fresh;           /* a kept connection turned out dead: now only a new one */
    bool others_wait;     /* for the end of this one */
    int64_t deadline_ms;  /* of this address, so that a hanging one leaves time for the others; 0: none */
    struct event timer;   /* of waiting and connecting; also handles FAILURE */
    struct error failure; /* found where no callback may be called */
};

/* OPTIONS must outlive it. False: the timer could not be made. */
MUST_CHECK bool packet_attempt_init(struct packet_attempt *attempt,
                                    const struct packet_attempt_options *options);

/* Begins with ADDRESS; DEADLINE_MS (monotonic): until the reply's header, 0: none. OTHERS_WAIT: another address is asked only when
 * this one has failed, so that it must have agreed on TLS and a session within the pool's connect_timeout_ms; otherwise it may take
 * all of its time for that, as a server does that is being restarted while systemd keeps its listening sockets. Calls no callback.
 * False without memory. */
MUST_CHECK bool packet_attempt_begin(struct packet_attempt *attempt, const struct address *address,
                                     int64_t deadline_ms, bool others_wait);

/* Ends it, in any state, without ended(). PARK: the connection is in step and goes back to the pool. */
void packet_attempt_stop(struct packet_attempt *attempt, bool park);

/* ATTEMPT_TAKEN, and the pool goes: the socket stays with its caller. */
void packet_attempt_orphan(struct packet_attempt *attempt);

/* The address as text; "?" where there is none. */
const char *packet_attempt_where(const struct packet_attempt *attempt);

#endif
