/*
 * packet_call: the calling side of the packet protocol: connect, pool, deadline, another address when one fails.
 * A pool belongs to one loop; everything here happens on that loop's thread.
 *
 * A call goes through the addresses in order. It moves on to the next one when the connection cannot be made, breaks
 * or times out before the first byte of a reply, as long as no byte of a streamed body (`source`) was taken; a
 * failure reply is an answer and ends the call, except where `again` says otherwise. A collected reply that breaks off
 * counts as none (`header` is then asked again about the next address's). Each address has its share of the time that
 * is left, so that a hanging one does not use up that of the others. A kept connection that turns out dead before the
 * first byte of a reply is replaced by a new one to the same address, once.
 */
#ifndef REEL_COMMON_PACKET_CALL_H
#define REEL_COMMON_PACKET_CALL_H

#include "common/base/address.h"
#include "common/loop/loop.h"
#include "common/proto/proto.h"
#include "common/loop/workers.h"

struct packet_pool;
struct packet_call;

struct packet_pool_options {
    struct workers *resolver;   /* for host names; NULL: numeric addresses only */
    int64_t connect_timeout_ms; /* for one address */
    int64_t idle_timeout_ms;    /* an unused connection is closed after this */
    size_t idle_max;            /* unused connections kept for an address */
    size_t open_max; /* connections to an address at once; further calls wait in order. 0: no limit */
    int64_t address_penalty_ms; /* an address that failed is tried last for so long */
    /* Requests that share a connection (packet_line.h): none joins those of which the oldest waits for SLOW_MS, all ask
     * another way when it waits for STALL_MS. 0: 20 and 500. */
    int64_t shared_slow_ms, shared_stall_ms;
};

MUST_CHECK struct packet_pool *
packet_pool_create(struct loop *loop, const struct packet_pool_options *options, struct error *error);
/* Cancels every call (their done gets ERROR_CANCELLED) and closes every connection. */
void packet_pool_destroy(struct packet_pool *pool);

enum packet_verdict {
    PACKET_COLLECT, /* gather the body (at most reply_max bytes) and hand it to done() */
    PACKET_STREAM,  /* give the body to sink() as it comes */
    PACKET_TAKE,    /* hand the socket to the caller: see packet_call_fd() */
};

struct packet_call_options {
    const struct address_list *addresses; /* copied */
    uint8_t command;
    const void *body; /* the fixed part of the request's body; copied */
    size_t body_size;

    /* A streamed rest of the body, of `source_size` bytes. SOURCE fills BUFFER with up to SIZE bytes and returns how
     * many (>= 1), 0 for "not yet; packet_call_resume_source() will be called", or -1 to give up. NULL: none. */
    int64_t source_size;
    int64_t (*source)(void *argument, uint8_t *buffer, size_t size);

    size_t reply_max; /* bytes of a collected success body */
    int64_t
        timeout_ms; /* until the reply's header, over all addresses, from now (a streamed body: without progress) */
    int64_t progress_ms; /* afterwards: without a byte */

    /* A success header came (LENGTH body bytes follow): what to do with the body. NULL: PACKET_COLLECT. */
    enum packet_verdict (*header)(void *argument, int64_t length);
    /* PACKET_STREAM: the next bytes. True: taken; false: pause until packet_call_resume_sink(), these bytes were taken. */
    bool (*sink)(void *argument, const uint8_t *bytes, size_t size);
    /* A failure reply came: true to try the next address instead of ending with it. NULL: ERROR_UNAVAILABLE does. */
    bool (*again)(void *argument, const struct error *error);

    /* The end, exactly once, never inside packet_call_start(). Success: ERROR is NULL; BODY (valid during the call) and
     * SIZE are the collected body. Failure: ERROR says why: a failure reply's number and text, or ERROR_CONNECTION,
     * ERROR_TIMEOUT, ERROR_CANCELLED, ... with the addresses that were tried. Not called after PACKET_TAKE was
     * answered: then the end is packet_call_release(). */
    void (*done)(void *argument, const uint8_t *body, size_t size, const struct error *error);
    /* PACKET_TAKE: the socket is the caller's now. */
    void (*taken)(void *argument, struct packet_call *call);
    void *argument;
};

/* NULL (and nothing is called) only without memory or with an empty address list. */
MUST_CHECK struct packet_call *
packet_call_start(struct packet_pool *pool, const struct packet_call_options *options, struct error *error);
/* Ends the call without calling done(). Its connection is closed. */
void packet_call_cancel(struct packet_call *call);
void packet_call_resume_source(struct packet_call *call);
void packet_call_resume_sink(struct packet_call *call);

/* The address that answers (or is being tried). */
const struct address *packet_call_address(const struct packet_call *call);

/* ---- after `taken` ---- */
/* The non-blocking socket: the body's bytes are read from it by the caller, beginning with those of
 * packet_call_buffered() that were read already. While there are others no event of the pool watches it. */
int packet_call_fd(const struct packet_call *call);
const uint8_t *packet_call_buffered(const struct packet_call *call, size_t *size);
/* Those bytes are not needed any more: frees their memory before the end. */
void packet_call_forget_buffered(struct packet_call *call);
int64_t packet_call_length(const struct packet_call *call); /* of the whole body */
/* The end. REUSABLE true only when exactly the body's bytes were read: then the connection goes back to the pool. */
void packet_call_release(struct packet_call *call, bool reusable);

#endif
