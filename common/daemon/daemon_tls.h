/*
 * daemon_tls: the certificates that a daemon listens with, from its start to its end: [tls] becomes a tls_server, SIGHUP reads
 * the files again, and /healthz and /metrics say when a certificate ends. Main thread.
 */
#ifndef REEL_COMMON_DAEMON_TLS_H
#define REEL_COMMON_DAEMON_TLS_H

#include "common/daemon/daemon.h"
#include "common/transport/tls_context.h"

/* For daemons that listen at listen_tls: DAEMON gets its certificates and, for packets, the pre-shared keys of its keys file.
 * False: what is wrong with them. Before the loops run. */
MUST_CHECK bool daemon_tls_start(struct daemon *daemon, enum tls_profile profile, struct error *error);

/* NULL where daemon_tls_start() was not called. It lives until the daemon ends. */
struct tls_server *daemon_tls_server(const struct daemon *daemon);

/* For daemons that call ADDRESSES: where any of them uses TLS, DAEMON gets what that takes. */
MUST_CHECK bool daemon_tls_call(struct daemon *daemon, const struct address_list *addresses,
                                struct error *error);

/* NULL where none of them is. It lives until the daemon ends. */
struct tls_client *daemon_tls_client(const struct daemon *daemon);

/* ---- for daemon.c ---- */

/* A reload: what was read and is not in use yet. NULL: there is none. */
struct daemon_tls_fresh {
    struct tls_fresh *server, *client;
};

/* Reads the files of NEW_CONFIG. False: what was refused; FRESH is empty. */
MUST_CHECK bool daemon_tls_read(struct daemon *daemon, const struct daemon_config *new_config,
                                struct daemon_tls_fresh *fresh, struct error *error);
/* It is in use from now on; nothing can fail. */
void daemon_tls_use(struct daemon *daemon, const struct daemon_config *new_config,
                    const struct daemon_tls_fresh *fresh);
void daemon_tls_drop(const struct daemon_tls_fresh *fresh);

/* Fills an empty REASON where a certificate has ended or soon will. */
void daemon_tls_health(const struct daemon *daemon, char *reason, size_t size);

void daemon_tls_destroy(struct daemon *daemon);

#endif
