/*
 * packet_outgoing: the request of one exchange on its way out: the head, and the content that the caller gives into chunks or
 * puts into the socket itself. One step at a time; each calls back at most once, and touches nothing but its own memory after
 * that, so that the caller may cancel the exchange meanwhile. On the socket's loop.
 */
#ifndef REEL_COMMON_PACKET_OUTGOING_H
#define REEL_COMMON_PACKET_OUTGOING_H

#include "common/call/packet_exchange.h"

enum outgoing_step {
    OUTGOING_MORE,   /* a piece went out */
    OUTGOING_FILLED, /* content came from the caller, and is still to be sent */
    OUTGOING_FULL,   /* the socket takes no more now */
    OUTGOING_BROKEN, /* the socket is broken: errno */
    OUTGOING_WAITS, /* waits for the caller, or for the peer to be ready: writing is not watched until then */
    OUTGOING_NOTHING,   /* the caller has nothing, but said in between that it has: ask it again */
    OUTGOING_SENT,      /* everything is sent */
    OUTGOING_GAVE_UP,   /* the caller cannot give the rest */
    OUTGOING_NO_MEMORY, /* for a chunk */
};

struct packet_outgoing {
    const struct packet_exchange_options *options;
    size_t head_sent;
    uint8_t *chunk; /* of the content */
    size_t chunk_size, chunk_sent;
    int64_t taken; /* bytes of the content that the caller gave */
    bool paused, resumed;
    bool asking; /* the peer has not said yet that it is ready for the content */
    bool moved;  /* the last step moved bytes */
};

/* OPTIONS are borrowed until packet_outgoing_clear(). */
void packet_outgoing_init(struct packet_outgoing *out, const struct packet_exchange_options *options);
void packet_outgoing_clear(struct packet_outgoing *out);

enum outgoing_step packet_outgoing_step(struct packet_outgoing *out);

/* Bytes of the content that the caller has not given yet. */
int64_t packet_outgoing_left(const struct packet_outgoing *out);
bool packet_outgoing_is_sent(const struct packet_outgoing *out);

#endif
