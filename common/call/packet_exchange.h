/*
 * packet_exchange: one request and its reply on one connected socket: the request goes out, the reply comes in, and how
 * it ended is reported once. Knows neither addresses nor pools nor other attempts; packet_call makes a call out of
 * exchanges. Uses a packet_socket, whose owner it is until its end. On the socket's loop only.
 *
 *     [ASKING ->] SENDING -> HEADER -> FAILURE | COLLECTING | TAKEN -> ended
 *
 * An early reply is taken while the request is still being sent: a peer that refuses a body says so and closes.
 */
#ifndef REEL_COMMON_PACKET_EXCHANGE_H
#define REEL_COMMON_PACKET_EXCHANGE_H

#include "common/base/error.h"
#include "common/call/packet_socket.h"

struct packet_exchange;

/* What a `pass` returns beside a number of bytes. */
#define PACKET_PASS_NOTHING  0 /* there is nothing now; packet_call_resume_source() will be called */
#define PACKET_PASS_GIVES_UP (-1)
#define PACKET_PASS_FULL     (-2) /* the socket takes no more now */
#define PACKET_PASS_BROKEN   (-3) /* the socket is broken: errno */

enum packet_verdict {
    PACKET_COLLECT, /* gather the body (at most reply_max bytes) */
    PACKET_TAKE,    /* the socket goes to the caller, who reads the body */
};

enum packet_exchange_outcome {
    EXCHANGE_ANSWERED, /* a success reply, collected */
    EXCHANGE_REFUSED,  /* a failure reply: ERROR is what it says */
    EXCHANGE_STALE, /* a kept connection turned out dead before anything came back: nothing is known of the peer */
    EXCHANGE_BROKEN,  /* it broke or was silent before a whole reply */
    EXCHANGE_WRONG,   /* what came is no usable reply, or stopped halfway */
    EXCHANGE_GAVE_UP, /* no memory, or the source of the content gave up: the peer is not to blame */
};

struct packet_exchange_end {
    enum packet_exchange_outcome outcome;
    const uint8_t *body; /* EXCHANGE_ANSWERED: SIZE bytes, valid during the callback; never NULL then */
    size_t size;
    struct error error; /* otherwise */
    bool reusable;      /* the socket is in step: another request may follow on it */
    bool source_used;   /* bytes of the content were taken from the source, which cannot give them again */
};

struct packet_exchange_options {
    struct loop *loop;
    struct packet_socket *socket;
    const uint8_t *head; /* the request's header and the fixed part of its body: borrowed until the end */
    size_t head_size;
    bool kept; /* the socket has answered a request before: see EXCHANGE_STALE */

    /* As in struct packet_call_options. */
    int64_t source_size;
    int64_t (*source)(void *argument, uint8_t *buffer, size_t size);
    int64_t (*pass)(void *argument, struct transport to, int64_t left);
    bool asks;
    size_t reply_max;

    int64_t
        deadline_ms; /* monotonic: until the reply's header, while no byte of the source was taken; 0: none */
    int64_t timeout_ms;  /* then: without a byte that moves */
    int64_t progress_ms; /* from the header on: without a byte */

    /* A success header came: what to do with the body. NULL: PACKET_COLLECT. */
    enum packet_verdict (*header)(void *argument, int64_t length);
    /* PACKET_TAKE: the socket's owner is the caller now, until packet_exchange_release(). */
    void (*taken)(void *argument);
    /* Once, never inside packet_exchange_start(), and not after PACKET_TAKE. The socket is not used any more, its read
     * event stays added; the exchange must not be used. */
    void (*ended)(void *argument, const struct packet_exchange_end *end);
    void *argument;
};

/* Sends what needs no callback, and leaves the rest, errors too, to the events. NULL without memory. */
MUST_CHECK struct packet_exchange *packet_exchange_start(const struct packet_exchange_options *options);
/* Ends it without ended(); also from inside its callbacks. The socket is out of step. NULL is ignored. */
void packet_exchange_cancel(struct packet_exchange *exchange);

/* source() can give bytes again after it returned 0. */
void packet_exchange_resume_source(struct packet_exchange *exchange);
/* For how long the peer has neither read nor sent a byte although it was its turn; 0: it has. */
int64_t packet_exchange_silent_ms(const struct packet_exchange *exchange);

/* ---- once taken ---- */
int64_t packet_exchange_length(const struct packet_exchange *exchange); /* of the reply's body, bytes */
/* How much of the body was read with the header; it lies in the socket's buffer behind PROTO_HEADER_SIZE. */
size_t packet_exchange_buffered(const struct packet_exchange *exchange);
/* The end. True: when exactly the body was read, another request may follow on the socket. */
bool packet_exchange_release(struct packet_exchange *exchange);

#endif
