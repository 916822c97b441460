/*
 * packet_greeting: what is said on a new connection before its first request: HELLO, PROVE and the process's tokens, so that
 * both ends know whom they talk to. A row of exchanges (packet_exchange.h) on one socket, whose user it is until its end. On
 * the socket's loop only.
 */
#ifndef REEL_COMMON_PACKET_GREETING_H
#define REEL_COMMON_PACKET_GREETING_H

#include "common/auth/auth.h"
#include "common/auth/session.h"
#include "common/call/packet_exchange.h"

struct packet_greeting;

enum packet_greeting_outcome {
    GREETING_PROVED, /* both ends have proved themselves (the server where there is a key), and it has the tokens */
    GREETING_PLAIN, /* the server does not support sessions, which is allowed: REUSABLE says whether this connection can be kept */
    GREETING_FAILED, /* ERROR says why; nothing may be asked on this connection */
};

struct packet_greeting_end {
    enum packet_greeting_outcome outcome;
    bool reusable;             /* GREETING_PLAIN */
    bool silent;               /* GREETING_FAILED: it broke or kept silent, like any connection that fails */
    int64_t seconds;           /* GREETING_PROVED: that the session holds; 0: no end is known */
    uint64_t identity_version; /* under which it was proved */
    struct error error;        /* GREETING_FAILED, and GREETING_PLAIN after a proof that failed */
};

struct packet_greeting_options {
    struct loop *loop;
    struct packet_socket *socket;
    struct auth *auth;
    uint8_t command;        /* of the first request: which kind of server is expected */
    const uint8_t *binding; /* of the connection (common/auth/session.h); NULL: none */
    int64_t deadline_ms;    /* monotonic; 0: none */
    int64_t timeout_ms;     /* without a byte */
    /* Once, never inside packet_greeting_start(). The greeting must not be used any more. */
    void (*ended)(void *argument, const struct packet_greeting_end *end);
    void *argument;
};

/* NULL without memory. */
MUST_CHECK struct packet_greeting *packet_greeting_start(const struct packet_greeting_options *options);
/* Ends it without ended(). The socket is out of step. NULL is ignored. */
void packet_greeting_cancel(struct packet_greeting *greeting);

#endif
