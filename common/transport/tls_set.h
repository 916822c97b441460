/*
 * tls_set: the certificates that a server has at one time, each with what OpenSSL needs to use it, and the choice among them
 * by the name that a client asks for (SNI, RFC 6066 section 3). Immutable and counted, so that handshakes that have begun
 * end with what they began with. Private to common/transport.
 */
#ifndef REEL_COMMON_TLS_SET_H
#define REEL_COMMON_TLS_SET_H

#include "common/transport/tls_context.h"
#include "common/transport/tls_tickets.h"
#include <openssl/ssl.h>

struct tls_set;

/* Reads the files that OPTIONS name. TICKETS (NULL: no session tickets) and the keys of OPTIONS outlive the set. The caller
 * has one reference. */
MUST_CHECK struct tls_set *tls_set_create(const struct tls_options *options, struct tls_tickets *tickets,
                                          struct error *error);

/* The context that a handshake on this thread begins with: that of the first certificate, and the number of its LIBRARY
 * (tls_library.h). */
SSL_CTX *tls_set_context(struct tls_set *set, size_t *library);

/* See tls_server_expiry(). */
int64_t tls_set_expiry(const struct tls_set *set);

/* What servers and clients have in common: versions, ciphers, no compression, no renegotiation. NULL without memory. */
MUST_CHECK SSL_CTX *tls_context_new(enum tls_profile profile, bool server, size_t library,
                                    struct error *error);

/* The certificate of FILE and its key (KEY_FILE "": in the same file) into CONTEXT. *EXPIRY: when it ends. */
MUST_CHECK bool tls_context_use(SSL_CTX *context, const char *file, const char *key_file, int64_t *expiry,
                                struct error *error);

/* The authorities for peers. CA "": the system's. */
MUST_CHECK bool tls_context_trust(SSL_CTX *context, const char *ca, struct error *error);

#endif
