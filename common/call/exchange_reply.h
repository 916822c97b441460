/*
 * exchange_reply: the reply of an exchange, as its bytes come. For packet_exchange.c, on the loop of the exchange; nothing
 * blocks. The exchange may have ended when one of these returns.
 */
#ifndef REEL_COMMON_EXCHANGE_REPLY_H
#define REEL_COMMON_EXCHANGE_REPLY_H

#include "common/call/exchange_state.h"

/* The socket can be read in SENDING (an early reply), HEADER or FAILURE. */
void exchange_read_header(struct packet_exchange *exchange);
/* The same in COLLECTING. */
void exchange_collect(struct packet_exchange *exchange);

#endif
