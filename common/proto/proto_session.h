/*
 * proto_session: the bodies of HELLO, PROVE, TOKEN and WHOAMI, which every daemon takes. Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_SESSION_H
#define REEL_COMMON_PROTO_SESSION_H

#include "common/proto/proto.h"

/* Sizes of bodies. */
#define PROTO_ID_SIZE           16 /* of a key */
#define PROTO_NONCE_SIZE        32
#define PROTO_PROOF_SIZE        32
#define PROTO_HELLO_SIZE        64
#define PROTO_HELLO_REPLY_SIZE  96
#define PROTO_PROVE_REPLY_SIZE  48
#define PROTO_TOKEN_FIXED       54 /* before the scope */
#define PROTO_TOKEN_SCOPE_MAX   (PROTO_USER_SIZE + PROTO_FILE_SIZE - 1)
#define PROTO_TOKEN_SIZE_MIN    (PROTO_TOKEN_FIXED + 1 + PROTO_PROOF_SIZE)
#define PROTO_TOKEN_SIZE_MAX    1024 /* that a header may announce */
#define PROTO_TOKEN_PACKED_MAX  (PROTO_TOKEN_FIXED + PROTO_TOKEN_SCOPE_MAX + PROTO_PROOF_SIZE)
#define PROTO_WHOAMI_REPLY_SIZE 40

#define PROTO_SESSION_VERSION 1

enum proto_hello_wish { PROTO_WISH_SERVER_PROOF = 1, PROTO_WISH_BINDING = 2 };
enum proto_hello_flag { PROTO_HELLO_REQUIRED = 1, PROTO_HELLO_BOUND = 2 };

struct proto_hello {
    uint16_t version; /* 1 or more */
    uint16_t wishes;
    char key[PROTO_ID_SIZE]; /* of letters, digits and hyphens, not empty */
    uint8_t role;            /* that is claimed */
    uint8_t nonce[PROTO_NONCE_SIZE];
};
MUST_CHECK bool proto_hello_pack(uint8_t buffer[PROTO_HELLO_SIZE], const struct proto_hello *hello,
                                 struct error *error);
MUST_CHECK bool proto_hello_unpack(const uint8_t *body, size_t size, struct proto_hello *hello,
                                   struct error *error);

struct proto_hello_reply {
    uint16_t version;
    uint16_t flags;
    char key[PROTO_ID_SIZE]; /* may be empty */
    uint8_t role;
    int64_t time; /* seconds since the epoch */
    uint8_t nonce[PROTO_NONCE_SIZE];
};
MUST_CHECK bool proto_hello_reply_pack(uint8_t buffer[PROTO_HELLO_REPLY_SIZE],
                                       const struct proto_hello_reply *reply, struct error *error);
MUST_CHECK bool proto_hello_reply_unpack(const uint8_t *body, size_t size, struct proto_hello_reply *reply,
                                         struct error *error);

struct proto_prove_reply {
    uint8_t proof[PROTO_PROOF_SIZE];
    int64_t seconds; /* that the session holds */
    int64_t rights;  /* bits */
};
void proto_prove_reply_pack(uint8_t buffer[PROTO_PROVE_REPLY_SIZE], const struct proto_prove_reply *reply);
MUST_CHECK bool proto_prove_reply_unpack(const uint8_t *body, size_t size, struct proto_prove_reply *reply,
                                         struct error *error);

struct proto_token {
    uint8_t rights; /* bits, at least one */
    int64_t not_before, expires;
    char issuer[PROTO_ID_SIZE];
    char application[PROTO_APPLICATION_SIZE];
    char user[PROTO_USER_SIZE];
    bool has_prefix; /* the scope is of files whose IDs begin with `prefix` */
    char prefix[PROTO_FILE_SIZE];
    uint8_t mac[PROTO_PROOF_SIZE];
};
/* The size that was written; 0: ERROR. The MAC is that of TOKEN: computed over all but the last 32 of these bytes. */
MUST_CHECK size_t proto_token_pack(uint8_t buffer[PROTO_TOKEN_PACKED_MAX], const struct proto_token *token,
                                   struct error *error);
MUST_CHECK bool proto_token_unpack(const uint8_t *body, size_t size, struct proto_token *token,
                                   struct error *error);

struct proto_whoami_reply {
    uint8_t role;
    int64_t rights, ends;
    char key[PROTO_ID_SIZE]; /* may be empty */
};
MUST_CHECK bool proto_whoami_reply_pack(uint8_t buffer[PROTO_WHOAMI_REPLY_SIZE],
                                        const struct proto_whoami_reply *reply, struct error *error);
MUST_CHECK bool proto_whoami_reply_unpack(const uint8_t *body, size_t size, struct proto_whoami_reply *reply,
                                          struct error *error);

#endif
