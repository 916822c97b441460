/*
 * tls_internal: what the files of this room share: a connection's parts, and the errors of OpenSSL. Private to
 * common/transport.
 */
#ifndef REEL_COMMON_TLS_INTERNAL_H
#define REEL_COMMON_TLS_INTERNAL_H

#include "common/transport/tls.h"
#include "common/transport/tls_context.h"
#include <openssl/ssl.h>

struct tls {
    SSL *ssl;
    int fd;
    size_t library; /* of a server's: the number of OpenSSL's tables that it uses (tls_library.h) */
    struct tls_set
        *set;   /* a reference: the certificates that the handshake may choose among; NULL: a client */
    bool ready; /* the handshake is done */
    bool kernel_sends;
    bool ended;       /* the peer has said that nothing more comes */
    bool cut;         /* it closed the connection without having said so */
    bool quiet;       /* nothing may be said any more: the end was said, or the connection failed */
    bool more;        /* see tls_pending() */
    bool drained;     /* in this call the socket gave less than there was room for: it is empty */
    const char *kind; /* of the failure that ended the handshake; static */
    int broken;       /* errno of every call from now on; 0: it is whole */

    /* Ciphertext that the socket did not take; behind it nothing may be sent. NULL: none. */
    uint8_t *held;
    size_t held_size, held_sent;
    size_t ahead; /* bytes of content in it, that are reported as sent when it is out */

    struct tls_scratch *gathering;        /* records go there; NULL: to the socket */
    int flags;                            /* of send(2) */
    uint64_t sent;                        /* bytes of content since the keys are in use */
    char psk_identity[TLS_IDENTITY_SIZE]; /* offered; once `ready`, proved */
};

/* ---- tls_set.c: what a server's handshakes choose among ---- */

struct tls_set *tls_set_take(struct tls_set *set);
void tls_set_release(struct tls_set *set); /* NULL is ignored */

/* ---- tls_psk.c ---- */

/* What OpenSSL takes for a pre-shared key: of TLS 1.3, with SHA-256. NULL without memory. */
SSL_SESSION *tls_psk_session(SSL *ssl, const uint8_t key[TLS_KEY_SIZE]);

/* ---- tls_bio.c: OpenSSL's way to the socket ---- */

/* One for a session of FD whose records pass through here. NULL without memory. */
BIO *tls_bio_new(struct tls *tls);

/* Sends what is held. False with errno: EAGAIN, or the socket failed. */
bool tls_flush_held(struct tls *tls, int flags);

/* ---- tls_scratch.c: the buffers of a thread ---- */

#define TLS_RECORD_SIZE ((size_t)16 * 1024)
#define TLS_BATCH_SIZE  (4 * TLS_RECORD_SIZE) /* content that leaves in one send(2) at most */

struct tls_scratch {
    size_t used; /* of `records` */
    uint8_t content[TLS_BATCH_SIZE];
    uint8_t
        records[TLS_BATCH_SIZE + 4 * 512]; /* 512: header, nonce and tag of a record, with much to spare */
};

/* This thread's; NULL without memory. */
struct tls_scratch *tls_scratch(void);

/* ---- tls_errors.c ---- */

/* The result of a handshake; reel_tls_handshakes_total{result}. */
enum tls_result {
    TLS_RESULT_FULL,
    TLS_RESULT_RESUMED,
    TLS_RESULT_FAILED,
    TLS_RESULT_TIMEOUT,
    TLS_RESULT_PLAIN,   /* the peer does not speak TLS */
    TLS_RESULT_DROPPED, /* gave its place to others */
    TLS_RESULTS,
};
void tls_count_handshake(bool server, enum tls_result result);
void tls_count_kernel(bool on);

/* Takes OpenSSL's errors out of its queue. WHY, of SIZE bytes: in words for an operator; SSL may be NULL. Returns
 * the kind, a short static word. */
const char *tls_take_errors(const SSL *ssl, char *why, size_t size);

#define TLS_TRUNCATED "the peer closed the connection without ending TLS"

/* Counts a failure of KIND and logs it, once per kind in ten seconds. The second and third are its halves: true where it is to be
 * logged. */
void tls_note_failure(const char *kind, const char *who, const char *why);
MUST_CHECK bool tls_count_failure(const char *kind, uint64_t *suppressed);
void tls_log_failure(const char *who, const char *why, uint64_t suppressed);

/* Of a handshake that failed. */
const char *tls_failure_kind(const struct tls *tls);

/* At the start of a process, so that the families exist before the loops run. Any thread, as often as you like. */
void tls_register_metrics(void);

#endif
