/*
 * packet_hedge: one question to several servers that all know the answer: the next one is asked when the one
 * before has failed, or has not begun to answer within a short time; the first answer counts. A server that
 * let others answer first is penalised in its pool, so that the questions after this one go to the others.
 * Stands on packet_call.h; libreel asks trackers through it, storage servers ask ID servers.
 *
 * Only for questions that may be asked twice: a server that was given up answers nobody any more, but it may
 * still do what it was asked. On the pool's loop only.
 */
#ifndef REEL_COMMON_PACKET_HEDGE_H
#define REEL_COMMON_PACKET_HEDGE_H

#include "common/call/packet_call.h"

struct packet_hedge;

struct packet_hedge_options {
    const struct address_list *addresses; /* copied; penalised ones are asked last */
    uint8_t command;
    const void *body; /* copied */
    size_t body_size;
    size_t reply_max;    /* bytes of a success body */
    int64_t timeout_ms;  /* until a reply's header, over all addresses, from now */
    int64_t progress_ms; /* afterwards: without a byte */

    /* How long a server may take to begin its answer until the next one is asked too; before a penalised one
     * twice as long, so that a time in which every server is slow does not multiply the questions at once. 0:
     * it keeps its share of timeout_ms to itself, as in a packet_call. */
    int64_t hedge_ms;

    /* A failure reply came: true to try the next address instead of ending with it. NULL: ERROR_UNAVAILABLE
     * does. */
    bool (*again)(void *argument, const struct error *error);
    /* The end, exactly once, never inside packet_hedge_start(): as in struct packet_call_options. */
    void (*done)(void *argument, const uint8_t *body, size_t size, const struct error *error);
    void *argument;
};

/* NULL (and nothing is called) only without memory or with an empty address list. */
MUST_CHECK struct packet_hedge *
packet_hedge_start(struct packet_pool *pool, const struct packet_hedge_options *options, struct error *error);
/* Ends it without calling done(); not to be called once done() was. */
void packet_hedge_cancel(struct packet_hedge *hedge);

/* During again() and done(): the server that they are about. */
const struct address *packet_hedge_address(const struct packet_hedge *hedge);

#endif
