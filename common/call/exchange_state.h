/*
 * exchange_state: what the parts of an exchange share: its struct, its end, its timer. packet_exchange.c sends and is the
 * face to others, exchange_reply.c reads. A user's callback may cancel its exchange: the memory stays while such a callback
 * is on the stack. On the loop of the exchange; nothing blocks.
 */
#ifndef REEL_COMMON_EXCHANGE_STATE_H
#define REEL_COMMON_EXCHANGE_STATE_H

#include "common/call/packet_exchange.h"
#include "common/call/packet_outgoing.h"
#include "common/call/reply_body.h"

#define EXCHANGE_STEPS 8 /* reads or writes before other connections get their turn */

enum exchange_state {
    EXCHANGE_SENDING, /* and watching for an early reply */
    EXCHANGE_HEADER,  /* everything is sent */
    EXCHANGE_FAILURE, /* reading a failure reply's body */
    EXCHANGE_COLLECTING,
    EXCHANGE_TAKEN,
    EXCHANGE_ENDED,
};

struct packet_exchange {
    struct packet_exchange_options options;
    struct packet_socket *socket;
    enum exchange_state state;
    unsigned holds; /* callbacks of the user under way */
    struct event timer;
    int64_t armed_ms;    /* when the timer rings; 0: not armed */
    int64_t progress_ms; /* when the last byte moved */
    struct packet_outgoing out;
    struct proto_header header;
    struct reply_body body;
};

/* Around a callback of the user. exchange_unhold() is false where it ended, and must not be touched. */
void exchange_hold(struct packet_exchange *exchange);
bool exchange_unhold(struct packet_exchange *exchange);

/* Ends it without a callback. Between hold and unhold. */
void exchange_stop(struct packet_exchange *exchange);
/* Ends it and calls the user's ended(); the exchange must not be touched any more, unless it is held. */
void exchange_end(struct packet_exchange *exchange, struct packet_exchange_end *end);
void exchange_fail(struct packet_exchange *exchange, enum packet_exchange_outcome outcome, int code,
                   const char *format, ...) PRINTF_LIKE(4, 5);

/* Nothing is left to send, and nothing came too much. */
bool exchange_in_step(const struct packet_exchange *exchange);
/* No header has come yet. */
bool exchange_is_under_way(const struct packet_exchange *exchange);
/* Bytes of the reply's body that came with its header and are in the socket's buffer. */
size_t exchange_buffered(const struct packet_exchange *exchange);

/* The limit of the present state holds from now on. */
void exchange_arm(struct packet_exchange *exchange);
/* A byte has moved. */
void exchange_progress(struct packet_exchange *exchange);
/* For the timer. */
void exchange_timer(evutil_socket_t fd, short what, void *argument);

/* Watches an event of the socket, or no more. */
void exchange_watch(struct event *event, bool on);
/* The next turn of sending comes in this turn of the loop, without waiting for the poller: a socket that takes nothing is
 * found then. */
void exchange_send_soon(struct packet_exchange *exchange);

#endif
