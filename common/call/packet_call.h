/*
 * packet_call: the calling side of the packet protocol: one question, asked of the first address, and of the next one
 * when that fails or is slow; each attempt is a packet_exchange on a connection of a packet_pool. On the pool's loop only.
 *
 * A call goes through the addresses in order, those that failed a moment ago last. It moves on when the connection cannot
 * be made, breaks or times out before a whole reply, or when what comes is no reply of this protocol, as long as no byte
 * of a streamed body (`source`) was taken; a failure reply is an answer and ends the call, except where `again` says
 * otherwise. A collected reply that breaks off counts as none (`header` is then asked again about the next address's).
 * Each address has its share of the time that is left, so that a hanging one does not use up that of the others. A kept
 * connection that turns out dead before the first byte of a reply is replaced by a new one to the same address, once.
 *
 * With `hedge_ms` the next address is asked too, beside the first, when that has not begun to answer within a short time;
 * the first answer counts. A server that was overtaken is penalised, so that the next calls begin elsewhere. Only for
 * questions that may be asked twice: the answer of a server that was given up is dropped, but the server may still carry the
 * request out.
 */
#ifndef REEL_COMMON_PACKET_CALL_H
#define REEL_COMMON_PACKET_CALL_H

#include "common/base/address.h"
#include "common/call/packet_exchange.h"
#include "common/call/packet_pool.h"
#include "common/loop/loop.h"
#include "common/proto/proto.h"

struct packet_call;

struct packet_call_options {
    const struct address_list *addresses; /* copied */
    uint8_t command;
    const void *body; /* the fixed part of the request's body; copied */
    size_t body_size;

    /* A streamed rest of the body, of `source_size` bytes. SOURCE fills BUFFER with up to SIZE bytes and returns how
     * many (>= 1), 0 for "not yet; packet_call_resume_source() will be called", or -1 to give up. NULL: none. */
    int64_t source_size;
    int64_t (*source)(void *argument, uint8_t *buffer, size_t size);
    /* In place of `source`: puts at most LEFT bytes of the content into TO itself, by splice(2) for example. Returns how many
     * (>= 1), or one of PACKET_PASS_...; may not end the call. NULL: none. */
    int64_t (*pass)(void *argument, struct transport to, int64_t left);
    /* The peer says when it is ready for the content, by an empty success reply before the reply proper (STORE of
     * docs/protocol.md): `source` and `pass` are not called before. Not without a content. */
    bool asks;

    size_t reply_max;   /* bytes of a collected success body */
    int64_t timeout_ms; /* until the reply's header, over all addresses (a streamed body: without progress) */
    int64_t progress_ms; /* afterwards: without a byte */

    /* How long an address may take to begin its answer until the next one is asked too; before a penalised one twice as
     * long, so that a time in which every server is slow does not multiply the questions at once. 0: it keeps its share
     * of timeout_ms to itself. Not with `source`, `pass` or `header`. */
    int64_t hedge_ms;

    /* A success header came (LENGTH body bytes follow): what to do with the body. NULL: PACKET_COLLECT. */
    enum packet_verdict (*header)(void *argument, int64_t length);
    /* A failure reply came (packet_call_address() says of whom): true to try the next address instead of ending with it.
     * NULL: ERROR_UNAVAILABLE does. */
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

/* For how long, in ms, the address that is asked has neither read nor sent a byte although it was its turn; 0: it has. Not with `hedge_ms`. */
int64_t packet_call_silent_ms(const struct packet_call *call);

/* During a callback, and afterwards: the address that it is about. Otherwise the one that is tried; with `hedge_ms` the
 * last one that sent anything. */
const struct address *packet_call_address(const struct packet_call *call);

/* ---- after `taken` ---- */
/* The non-blocking socket, still the call's: the body's bytes are read from it by the caller, beginning with those of
 * packet_call_buffered() that were read already. While there are others no event of the pool watches it. */
struct transport packet_call_transport(const struct packet_call *call);
const uint8_t *packet_call_buffered(const struct packet_call *call, size_t *size);
/* Those bytes are not needed any more: frees their memory before the end. */
void packet_call_forget_buffered(struct packet_call *call);
int64_t packet_call_length(const struct packet_call *call); /* of the whole body */
/* The end. REUSABLE true only when exactly the body's bytes were read: then the connection goes back to the pool. */
void packet_call_release(struct packet_call *call, bool reusable);

#endif
