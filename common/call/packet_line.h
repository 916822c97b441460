/*
 * packet_line: many small requests over one connection. What one round of the loop asks of a server goes out
 * in one write, and many replies come in with one read; between two rounds nothing waits. For requests that
 * every server may answer again (reading), whose reply has a size that is known before, and for servers that
 * are known to take several requests on one connection and answer them in order.
 *
 * Nothing is tried twice here: whatever is not as expected (a failure reply, a reply of another size, a
 * connection that breaks, a server that is slow) is reported to the callers as "ask another way", which is
 * packet_call with its time limits and other addresses. A server that was slow or wrong is left alone for a
 * while. No request waits behind one that has been slow already.
 *
 * Uses the connections of a packet_pool; on its loop only.
 */
#ifndef REEL_COMMON_PACKET_LINE_H
#define REEL_COMMON_PACKET_LINE_H

#include "common/base/address.h"
#include "common/call/packet_pool.h"

#define PACKET_LINE_REQUEST_MAX 512         /* bytes of a request's body */
#define PACKET_LINE_REPLY_MAX   (32 * 1024) /* bytes of a reply's body */

/* The end of a request, exactly once and never inside packet_line_ask(). BODY: the SIZE bytes that were
 * expected, valid during the call. NULL: no usable answer came, ask another way. May ask anew. */
typedef void (*packet_line_callback)(void *argument, const uint8_t *body, size_t size);

struct packet_line_request;

/* ADDRESS answers several requests on one connection in their order: it is one of ours. Holds for a minute.
 */
void packet_line_allow(struct packet_pool *pool, const struct address *address);

/* Asks ADDRESS. BODY is copied; REPLY_SIZE is what a success reply must have. NULL, and nothing is called:
 * not possible now, since the server is not known to take it, has failed lately, is slow, or no connection to
 * it is open; or the sizes are too large. */
struct packet_line_request *packet_line_ask(struct packet_pool *pool, const struct address *address,
                                            uint8_t command, const void *body, size_t body_size,
                                            size_t reply_size, packet_line_callback callback, void *argument);

/* The callback will not come; the reply is thrown away. Others are not disturbed. */
void packet_line_cancel(struct packet_line_request *request);

#endif
