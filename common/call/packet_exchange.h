/*
 * packet_exchange: what happens on a call's connection once it is made: the request goes out, the reply comes
 * in. Touches the call's socket and events and calls the user's callbacks. Private: packet_call.c, which
 * finds the addresses and connections, calls it, and it calls packet_call.c back for failures and the end. On
 * the pool's loop only.
 */
#ifndef REEL_COMMON_PACKET_EXCHANGE_H
#define REEL_COMMON_PACKET_EXCHANGE_H

#include "common/call/packet_pool.h"

enum call_state {
    CALL_WAITING, /* for a name, a connection's turn, or the next step after a failure that was found at once
                   */
    CALL_CONNECTING,
    CALL_SENDING, /* and watching for an early reply */
    CALL_HEADER,  /* everything is sent */
    CALL_FAILURE, /* reading a failure reply's body */
    CALL_COLLECTING,
    CALL_STREAMING,
    CALL_TAKEN, /* the socket is the caller's */
    CALL_ENDED,
};

struct packet_call {
    struct packet_pool *pool; /* NULL once the pool has gone while the caller held the socket */
    TAILQ_ENTRY(packet_call) link;
    struct packet_call_options options; /* its `addresses` is not used after the start */
    struct address *addresses;          /* penalised ones last */
    size_t count, position;
    enum call_state state;
    unsigned holds; /* callbacks of the user under way: the memory stays until they return */

    struct pool_endpoint *endpoint;
    struct pool_connection *connection;
    struct wait wait;
    size_t target; /* which of the endpoint's resolved addresses is tried */
    bool fresh;    /* a kept connection turned out dead: now only a new one */

    int64_t deadline_ms; /* of the whole call; 0: none */
    int64_t
        attempt_deadline_ms; /* of this address, so that a hanging one leaves time for the others; 0: none */
    int64_t connect_deadline_ms;
    int64_t progress_ms; /* when the last byte moved */
    int64_t armed_ms;    /* when the timer rings; 0: not armed */
    struct event timer, kick;

    uint8_t *head; /* header and fixed part of the body */
    size_t head_size, head_sent;
    uint8_t *chunk; /* of the streamed part */
    size_t chunk_size, chunk_sent;
    int64_t source_taken;
    bool source_paused, source_resumed;
    bool sink_paused, sink_resumed;

    struct proto_header header;
    uint8_t *body;
    size_t body_capacity;
    int64_t body_used; /* collected or streamed */

    struct error failure; /* found where no callback may be called; kick() takes it up */
    struct error report;  /* every address that was tried, and why it failed */
    bool answered;        /* report.code is a failure reply's number */
};

/* ---- packet_exchange.c ---- */

/* The connection is made: sends what needs no callback, and leaves the rest, errors too, to the events. */
void packet_exchange_begin(struct packet_call *call);
/* The handler of a connection that is being used: CALL is the owner. */
void packet_exchange_event(void *call, short what);

/* How much of the body came with the header. */
size_t packet_exchange_buffered(const struct packet_call *call);
/* Whether the connection can be used again once the body was read: nothing is left to send, nothing came too
 * much. */
bool packet_exchange_in_step(const struct packet_call *call);

/* ---- packet_call.c ---- */

void packet_call_set_state(struct packet_call *call, enum call_state state);

/* Around a user's callback, which may cancel its own call. Unhold false: the call ended and must not be
 * touched. */
void packet_call_hold(struct packet_call *call);
bool packet_call_unhold(struct packet_call *call);

void packet_call_arm(struct packet_call *call);      /* the state's time limit */
void packet_call_progress(struct packet_call *call); /* a byte moved */
void packet_call_drop_connection(struct packet_call *call, bool park);
void packet_call_watch(struct packet_call *call, struct event *event, bool on);

/* One more line of the report: the present address and WHY. ANSWER: the peer said so itself, which outranks
 * the code of a broken connection. */
void packet_call_report(struct packet_call *call, int code, bool answer, const char *why);

/* Each of these may end the call: it must not be touched afterwards. */
/* The end, with done(). */
void packet_call_end(struct packet_call *call, bool park, const uint8_t *body, size_t size,
                     const struct error *error);
void packet_call_end_report(struct packet_call *call);
/* The end with an answer that cannot be used, or the caller's own giving up: no other address would help. */
void packet_call_fail(struct packet_call *call, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* This address failed: the next one, unless bytes of the source are gone that nobody can give again. */
void packet_call_attempt_failed(struct packet_call *call, int code, bool answer, const char *why);
/* The same, and the address is penalised. */
void packet_call_connection_failed(struct packet_call *call, int code, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same address on a new connection. */
void packet_call_retry_fresh(struct packet_call *call);

#endif
