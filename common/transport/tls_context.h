/*
 * tls_context: what connections under TLS are made of: certificates and keys, who is trusted, versions and ciphers. One
 * tls_server for a daemon's ports that listen, which a reload gives other certificates while connections go on; one
 * tls_client for the calls to other servers. Files are read on the calling thread: at the start, and at a reload on the
 * main thread.
 */
#ifndef REEL_COMMON_TLS_CONTEXT_H
#define REEL_COMMON_TLS_CONTEXT_H

#include "common/config/config.h"
#include "common/transport/tls.h"

#define TLS_KEY_SIZE      32 /* bytes of a pre-shared key */
#define TLS_IDENTITY_SIZE 64 /* of its name, NUL included */

/* Where pre-shared keys come from. NULL: there are none. */
struct tls_keys {
    /* The key of IDENTITY, at this moment. Any thread. */
    bool (*find)(void *argument, const char *identity, uint8_t key[TLS_KEY_SIZE]);
    /* Ours, for calls to other servers: false where there is none. Any thread. */
    bool (*own)(void *argument, char identity[TLS_IDENTITY_SIZE], uint8_t key[TLS_KEY_SIZE]);
    void *argument;
};

enum tls_profile {
    TLS_FOR_HTTP,    /* versions 1.2 and 1.3, session tickets, ALPN http/1.1 */
    TLS_FOR_PACKETS, /* between parts: version 1.3 alone */
};

struct tls_options {
    enum tls_profile profile;
    const struct config_strings *certificates; /* files in PEM: a certificate and those that vouch for it */
    const struct config_strings *keys;         /* in their order; empty: in the files of the certificates */
    const char *ca;   /* file or directory of the authorities for peers; "": the system's */
    bool verify_peer; /* of a server: clients must show a certificate that `ca` vouches for */
    /* NULL: none. Copied; of a client the same at each reload that names any. A server treats a peer that proves one as verified,
     * and asks such a peer for no certificate: none together with verify_peer. */
    const struct tls_keys *psk;
    size_t threads; /* of a server: that shake hands at the same time; 0 is 1 */
};

/* ---- a reload ---- */

/* What was read for a server or a client and is not in use yet. */
struct tls_fresh;

/* It is from now on, whatever was before; FRESH is gone, and nothing can fail. NULL is ignored. Main thread, as the next. */
void tls_fresh_use(struct tls_fresh *fresh);
/* All stays as it was; FRESH is gone. NULL is ignored. */
void tls_fresh_drop(struct tls_fresh *fresh);

/* ---- servers ---- */

struct tls_server;

/* NULL on failure, which names the file and what is wrong. */
MUST_CHECK struct tls_server *tls_server_create(const struct tls_options *options, struct error *error);
/* For new connections, from tls_fresh_use() on, what OPTIONS name, and a new key for session tickets. NULL: what was refused. Reads
 * files: BLOCKS; main thread. */
MUST_CHECK struct tls_fresh *tls_server_read(struct tls_server *server, const struct tls_options *options,
                                             struct error *error);
/* After its last connection has begun; those that are open stay as they are. NULL is ignored. */
void tls_server_destroy(struct tls_server *server);

/* The earliest end of a certificate's time, seconds since the epoch; 0: there is none. Any thread. */
int64_t tls_server_expiry(struct tls_server *server);

/* A session of FD, non-blocking, which stays the caller's; tls_handshake() follows. NULL without memory. Any thread. */
MUST_CHECK struct tls *tls_server_session(struct tls_server *server, int fd);

/* ---- clients ---- */

struct tls_client;

/* Our certificate, where OPTIONS name one, is shown to servers that ask for it. */
MUST_CHECK struct tls_client *tls_client_create(const struct tls_options *options, struct error *error);
/* The same for connections that are made from tls_fresh_use() on. */
MUST_CHECK struct tls_fresh *tls_client_read(struct tls_client *client, const struct tls_options *options,
                                             struct error *error);
/* NULL is ignored. */
void tls_client_destroy(struct tls_client *client);

/* A session of FD with HOST, a name or a numeric address that the server's certificate must name. NULL without memory. Any
 * thread. */
MUST_CHECK struct tls *tls_client_session(struct tls_client *client, int fd, const char *host);

#endif
