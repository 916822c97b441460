/*
 * auth: how a process stands to identities: its mode, its keys file, its own key, and the addresses that need none. One per
 * process; the packet server (for who asks it) and the connection pools (for whom it asks) look at it. A reload replaces its
 * contents while both use it.
 */
#ifndef REEL_COMMON_AUTH_AUTH_H
#define REEL_COMMON_AUTH_AUTH_H

#include "common/auth/keys.h"
#include "common/auth/token.h"

enum auth_mode {
    AUTH_OFF,      /* as if there were no sessions */
    AUTH_PREFER,   /* proves itself to servers that can, and lets everybody in */
    AUTH_REQUIRED, /* lets nobody in, and asks no server, without a proof */
};
#define AUTH_MODES "off|prefer|required"

struct auth_options {
    enum auth_mode mode;
    const char *keys_file; /* "" or NULL: none */
    const char *
        identity; /* ID of the own key; "" or NULL: the only key of the file that has ROLE; none where there is none */
    /* What this process is: the role in which it proves itself. KEY_ROLE_NONE: the first that the own key has of operator, issuer,
     * client, gateway and storage. */
    enum key_role role;
    const struct config_strings *legacy_addresses; /* NULL: none */
    int64_t session_ms;                            /* how long sessions hold here */
    const char *const *tokens;                     /* TOKEN_COUNT texts, to be shown to servers */
    size_t token_count;
};

struct auth;

/* Reads the keys file: BLOCKS; main thread, before loops run. NULL: ERROR says what is wrong. Nothing of OPTIONS is kept. */
struct auth *auth_create(const struct auth_options *options, struct error *error);

/* A reload: reads the keys file again, for new options. Nothing of it is in force before auth_fresh_use(). NULL: ERROR says what is
 * wrong. Main thread, as the next two; BLOCKS nobody else. */
struct auth_fresh;
MUST_CHECK struct auth_fresh *auth_read(struct auth *auth, const struct auth_options *options,
                                        struct error *error);
/* It is in force from now on; FRESH is gone, and nothing can fail. */
void auth_fresh_use(struct auth *auth, struct auth_fresh *fresh);
/* Everything stays as it was; FRESH is gone. NULL is ignored. */
void auth_fresh_drop(struct auth_fresh *fresh);
void auth_destroy(struct auth *auth); /* NULL is ignored; after the last use */

/* ---- any thread; AUTH may be NULL, which is off ---- */

enum auth_mode auth_mode(const struct auth *auth);

/* Grows with each reload; 0 without keys. One atomic read. */
uint64_t auth_generation(const struct auth *auth);

/* The present keys, held for the caller; NULL: there are none. */
struct keys *auth_keys(struct auth *auth);

/* ---- for servers ---- */

/* Whether HELLO is answered: keys, and not off. */
bool auth_serves(const struct auth *auth);
enum key_role auth_role(const struct auth *auth);
int64_t auth_session_seconds(const struct auth *auth);
/* Whether HOST (numeric) may use the base set without a session. */
bool auth_is_legacy(struct auth *auth, const char *host);
/* ID of the own key, "" for none, into ID. */
void auth_own_id(struct auth *auth, char id[KEY_ID_SIZE]);

/* ---- for clients ---- */

/* Whether there is something to show to servers (a key or a token), or to refuse them for. */
bool auth_asks(const struct auth *auth);

/* What a client shows. */
struct auth_identity {
    struct keys *keys;     /* held: released by auth_identity_clear() */
    const struct key *key; /* NULL: tokens only */
    enum key_role role;
    uint64_t version; /* see auth_identity_version() */
};
void auth_identity(struct auth *auth, struct auth_identity *identity);
void auth_identity_clear(struct auth_identity *identity);
/* Grows when the own key has changed: connections that were proved under an older one are replaced when they are
 * unused. */
uint64_t auth_identity_version(const struct auth *auth);
/* The tokens' bodies; they do not change. */
const uint8_t *auth_token(const struct auth *auth, size_t number, size_t *size); /* NULL: no more */

#endif
