/*
 * session: who is at the other end of a connection: HELLO, PROVE, TOKEN, WHOAMI (docs/protocol.md) as a state machine for the
 * server's side and one for the client's, and whether a session may do what a request wants. Pure: bytes come in and go out by
 * arguments; the caller has the connection. One thread at a time per session.
 */
#ifndef REEL_COMMON_AUTH_SESSION_H
#define REEL_COMMON_AUTH_SESSION_H

#include "common/auth/access.h"
#include "common/auth/keys.h"
#include "common/auth/token.h"

#define SESSION_BINDING_SIZE 32 /* tls-exporter of RFC 9266; without TLS zeros */
#define SESSION_TOKENS_MAX   8

/* ---- the server's side ---- */

/* What a server says of itself, and the time; borrowed for a call. */
struct session_server {
    struct keys *keys; /* of now */
    const char *id;    /* of the server's own key; "" for none */
    enum key_role role;
    bool required;
    int64_t now;            /* seconds since the epoch */
    int64_t lifetime;       /* seconds that a session holds */
    const uint8_t *binding; /* SESSION_BINDING_SIZE bytes; NULL: the connection has none */
    const char *peer;       /* the numeric address of the other end */
    const uint8_t *nonce;   /* NULL: a random one, as ever but in tests */
};

struct session;

struct session *session_create(void);          /* NULL without memory */
void session_destroy(struct session *session); /* NULL is ignored */

/* The command's body in, the reply's out. False: ERROR. After a false session_prove() the connection has to end. */
MUST_CHECK bool session_hello(struct session *session, const struct session_server *server,
                              const uint8_t *body, size_t size, uint8_t reply[PROTO_HELLO_REPLY_SIZE],
                              struct error *error);
MUST_CHECK bool session_prove(struct session *session, const struct session_server *server,
                              const uint8_t *body, size_t size, uint8_t reply[PROTO_PROVE_REPLY_SIZE],
                              struct error *error);
MUST_CHECK bool session_token(struct session *session, const struct session_server *server,
                              const uint8_t *body, size_t size, uint8_t reply[PROTO_VALUE_SIZE],
                              struct error *error);
void session_whoami(const struct session *session, int64_t now, uint8_t reply[PROTO_WHOAMI_REPLY_SIZE]);

/* KEYS have been reloaded: what rests on a key that is gone or changed ends. */
void session_refresh(struct session *session, struct keys *keys);
/* Of the keys that the session was last compared with. */
uint64_t session_generation(const struct session *session);

/* Whether a request with this ACCESS and HEAD is allowed. SESSION may be NULL. False: ERROR_UNAUTHENTICATED, ERROR_FORBIDDEN,
 * or ERROR_MALFORMED where the head has no such field. */
MUST_CHECK bool session_admits(struct session *session, const struct access *access, const uint8_t *head,
                               size_t size, int64_t now, struct error *error);
/* The same from what is known before the head came: false only where no head could be allowed. */
MUST_CHECK bool session_admits_command(const struct session *session, const struct access *access,
                                       int64_t now, struct error *error);

/* Whether the other end has proved a key that is still the same; also past the session's time. SESSION may be NULL. */
bool session_is_proved(const struct session *session);
/* "" and KEY_ROLE_NONE without one; also the key that a failed PROVE named. SESSION may be NULL. */
const char *session_key_id(const struct session *session);
enum key_role session_role(const struct session *session);

/* ---- the client's side ---- */

struct session_client {
    const struct key *key; /* borrowed while this is used */
    enum key_role role;    /* that is claimed */
    enum key_role server;  /* that the other end must have; KEY_ROLE_NONE: any */
    const uint8_t *binding;
    const uint8_t *nonce; /* NULL: a random one, as ever but in tests */
    /* private */
    uint8_t hello[PROTO_HELLO_SIZE], transcript[32], proof[PROTO_PROOF_SIZE];
    bool required; /* the server says that it lets nobody in without a session */
};

/* The body of HELLO. */
MUST_CHECK bool session_client_hello(struct session_client *client, uint8_t body[PROTO_HELLO_SIZE],
                                     struct error *error);
/* HELLO's reply in, the body of PROVE out. */
MUST_CHECK bool session_client_prove(struct session_client *client, const uint8_t *reply, size_t size,
                                     uint8_t body[PROTO_PROOF_SIZE], struct error *error);
/* PROVE's reply: true where the server has proved that it knows the key too. *SECONDS gets how long the session holds. */
MUST_CHECK bool session_client_verify(struct session_client *client, const uint8_t *reply, size_t size,
                                      int64_t *seconds, struct error *error);

#endif
