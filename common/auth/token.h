/*
 * token: what an application (a key with the role issuer) gives to a user's program: rights to one user's files for a time.
 * Signed and verified without asking a server. Whoever holds a token may use it, so it is a secret of its holder. Pure; any
 * thread.
 */
#ifndef REEL_COMMON_AUTH_TOKEN_H
#define REEL_COMMON_AUTH_TOKEN_H

#include "common/auth/keys.h"
#include "common/proto/proto_session.h"

#define TOKEN_TEXT_SIZE ((PROTO_TOKEN_PACKED_MAX * 4 + 2) / 3 + 1)

/* Fills in TOKEN's issuer and MAC and packs it: the body of TOKEN. 0: ERROR, e.g. where KEY may not issue it. */
MUST_CHECK size_t token_sign(const struct key *key, struct proto_token *token,
                             uint8_t body[PROTO_TOKEN_PACKED_MAX], struct error *error);

/* Checks BODY against KEYS at NOW: form, issuer (its role, time, applications and rights), MAC, times. *ISSUER (may be NULL)
 * gets the key. ERROR_FORBIDDEN with one text for whatever is wrong with issuer or MAC; ERROR_MALFORMED for the form. */
MUST_CHECK bool token_verify(const struct keys *keys, const uint8_t *body, size_t size, int64_t now,
                             struct proto_token *token, const struct key **issuer, struct error *error);

/* As text: base64url without padding. */
void token_format(const uint8_t *body, size_t size, char text[TOKEN_TEXT_SIZE]);
/* Blanks around are ignored. 0: it is none. */
MUST_CHECK size_t token_parse(const char *text, uint8_t body[PROTO_TOKEN_PACKED_MAX]);

#endif
