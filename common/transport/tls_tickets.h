/*
 * tls_tickets: the keys that seal session tickets (RFC 5077, RFC 8446 section 4.6.1), of one server. A new one each hour;
 * those of the two hours before still open what they sealed. They are in memory alone: a restart ends all sessions.
 */
#ifndef REEL_COMMON_TLS_TICKETS_H
#define REEL_COMMON_TLS_TICKETS_H

#include "common/base/base.h"
#include <openssl/ssl.h>

#define TLS_TICKET_HOURS 3 /* that a ticket is good for at most */

struct tls_tickets;

/* NULL without memory or random numbers. */
MUST_CHECK struct tls_tickets *tls_tickets_create(void);
/* NULL is ignored. */
void tls_tickets_destroy(struct tls_tickets *tickets);

/* CONTEXT, of the library of that number (tls_library.h), seals and opens tickets with these keys. Main thread. */
MUST_CHECK bool tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *context, size_t library);

/* The present key seals no further ticket. */
MUST_CHECK bool tls_tickets_rotate(struct tls_tickets *tickets);

#endif
