/*
 * psk_source: the pre-shared keys of TLS (RFC 8446 section 2.2) out of the keys file, for parts that have no certificates: the
 * key ID in the name "reel-1 ID" of the handshake, the key that the file's secret gives for "psk". Each end is believed if it knows
 * the caller's key; what each may do is still decided by HELLO and PROVE on the connection.
 */
#ifndef REEL_COMMON_CALL_PSK_SOURCE_H
#define REEL_COMMON_CALL_PSK_SOURCE_H

#include "common/auth/auth.h"
#include "common/transport/tls_context.h"

/* Of the keys that AUTH, which outlives every use, has at the moment of each handshake. Any thread. */
struct tls_keys psk_source(struct auth *auth);

#endif
