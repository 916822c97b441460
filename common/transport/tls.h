/*
 * tls: one connection under TLS (OpenSSL), as transport.h shows it. An idle one holds no buffer: what is encrypted or
 * decrypted passes through a buffer of the thread, and only the ciphertext that a full socket did not take is kept: a
 * record or two, since no more is encrypted than the socket has room for. Where kernel and OpenSSL have kTLS the kernel encrypts,
 * and sending is sending on the socket.
 *
 * Failures count in reel_tls_failures_total{kind} and are logged once per kind in ten seconds. No call leaves anything in
 * OpenSSL's queue of errors, and none blocks but tls_sendfile() for the disk.
 */
#ifndef REEL_COMMON_TLS_H
#define REEL_COMMON_TLS_H

#include "common/base/base.h"
#include "common/base/error.h"
#include <sys/types.h>
#include <sys/uio.h>

struct tls;

#define TLS_BINDING_SIZE 32
#define TLS_NAME_SIZE    256

enum tls_progress {
    TLS_READY,
    TLS_WANTS_READ,
    TLS_WANTS_WRITE,
    TLS_FAILED,
};

/* Goes on with the handshake. TLS_FAILED: ERROR says why, in words for an operator. */
enum tls_progress tls_handshake(struct tls *tls, struct error *error);

/* Of a handshake in progress: what it waits for. */
bool tls_wants_write(const struct tls *tls);

/* NULL is ignored. Says nothing to the peer; the socket stays open. */
void tls_free(struct tls *tls);

/* What transport.h promises. */
ssize_t tls_recv(struct tls *tls, void *bytes, size_t size, int flags);
ssize_t tls_send(struct tls *tls, const struct iovec *parts, size_t count, int flags);
ssize_t tls_sendfile(struct tls *tls, int file, off_t *offset, size_t size);
/* Only where tls_kernel_sends(). */
ssize_t tls_splice(struct tls *tls, int pipe_end, size_t size, unsigned flags);
bool tls_pending(const struct tls *tls);
bool tls_kernel_sends(const struct tls *tls);
/* Notifies the peer that nothing more comes, where the socket takes it now. */
void tls_say_end(struct tls *tls);
/* The kernel's key, which cannot be renewed, has encrypted much: the connection should end before long. */
bool tls_is_worn(const struct tls *tls);

/* ---- about a connection whose handshake is done ---- */

/* What binds a proof of identity to this connection: RFC 9266, tls-exporter. False where OpenSSL cannot give it. */
MUST_CHECK bool tls_binding(struct tls *tls, uint8_t binding[TLS_BINDING_SIZE]);

/* The identity of the pre-shared key that the peer proved; "" where it was not by such a key. */
const char *tls_psk_identity(const struct tls *tls);

/* The peer's name by its certificate (the first DNS name, else the common name), where one was shown and verified; else "".
 */
void tls_peer_name(const struct tls *tls, char name[TLS_NAME_SIZE]);

/* "TLSv1.3, TLS_AES_128_GCM_SHA256" for the log. Returns BUFFER. */
char *tls_describe(const struct tls *tls, char *buffer, size_t size);

#endif
