/*
 * proto_partial: the bodies of the commands about partial uploads. Part of proto: what pack and unpack take,
 * how they fail and what they touch is said in proto.h.
 */
#ifndef REEL_COMMON_PROTO_PARTIAL_H
#define REEL_COMMON_PROTO_PARTIAL_H

#include "common/proto/proto_put.h"

/* Sizes of bodies. */
#define PROTO_PARTIAL_TOKEN_SIZE 16
#define PROTO_BEGIN_SIZE         (PROTO_PUT_SIZE + 8)
#define PROTO_PARTIAL_SIZE       (PROTO_FILE_KEY_SIZE + PROTO_PARTIAL_TOKEN_SIZE) /* OFFSET, ABORT */
#define PROTO_APPEND_SIZE        (PROTO_PARTIAL_SIZE + 8 + 8 + 8 + 1) /* then the content, then perhaps its digest */
#define PROTO_FINISH_SIZE        (PROTO_PARTIAL_SIZE + 1 + PROTO_DIGEST_SIZE)
#define PROTO_PARTS_MAX          1000 /* of one JOIN_PARTS, whose tokens follow FINISH's bytes */
#define PROTO_JOIN_PARTS_MAX     (PROTO_FINISH_SIZE + PROTO_PARTS_MAX * PROTO_PARTIAL_TOKEN_SIZE)
#define PROTO_PARTIAL_STATE_SIZE (8 + 8 + 8 + 1) /* OFFSET, APPEND */
#define PROTO_BEGIN_REPLY_SIZE   (PROTO_PARTIAL_TOKEN_SIZE + PROTO_PARTIAL_STATE_SIZE)

/* BEGIN 82: PUT's 809 bytes, whose size may be -1 (not known yet), keep 8 = 817. */
struct proto_begin {
    struct proto_put put; /* the digest is that of the whole content */
    int64_t
        keep; /* seconds that it is kept after its last change; 0: as the server is configured, which bounds it */
};
MUST_CHECK bool proto_begin_pack(uint8_t buffer[PROTO_BEGIN_SIZE], const struct proto_begin *begin,
                                 struct error *error);
MUST_CHECK bool proto_begin_unpack(const uint8_t *body, size_t size, struct proto_begin *begin,
                                   struct error *error);

/* How far one is: the reply to OFFSET 84 and APPEND 83: offset 8, size 8 (-1: not known yet), expires 8, complete 1 = 25. */
struct proto_partial_state {
    int64_t offset; /* bytes from the first on that are on the disk and recorded */
    int64_t size;
    int64_t expires; /* seconds since the epoch */
    bool complete;   /* the file is stored: FINISH or JOIN_PARTS succeeded */
};
MUST_CHECK bool proto_partial_state_pack(uint8_t buffer[PROTO_PARTIAL_STATE_SIZE],
                                         const struct proto_partial_state *state, struct error *error);
MUST_CHECK bool proto_partial_state_unpack(const uint8_t *body, size_t size,
                                           struct proto_partial_state *state, struct error *error);

/* Reply to BEGIN: token 16, then how far it is. */
struct proto_begin_reply {
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE]; /* random; names the partial upload from here on */
    struct proto_partial_state state;
};
MUST_CHECK bool proto_begin_reply_pack(uint8_t buffer[PROTO_BEGIN_REPLY_SIZE],
                                       const struct proto_begin_reply *reply, struct error *error);
MUST_CHECK bool proto_begin_reply_unpack(const uint8_t *body, size_t size, struct proto_begin_reply *reply,
                                         struct error *error);

/* OFFSET 84 and ABORT 86: key 400, token 16 = 416; the beginning of all but BEGIN. */
struct proto_partial {
    struct proto_file_key key; /* as in BEGIN */
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
};
MUST_CHECK bool proto_partial_pack(uint8_t buffer[PROTO_PARTIAL_SIZE], const struct proto_partial *partial,
                                   struct error *error);
MUST_CHECK bool proto_partial_unpack(const uint8_t *body, size_t size, struct proto_partial *partial,
                                     struct error *error);

/* APPEND 83: the 416 bytes, offset 8, total 8, size 8, digest follows 1 = 441, then the content, then perhaps the 16 bytes of
 * its digest. The caller checks the body's length. */
struct proto_append {
    struct proto_partial partial;
    int64_t offset;      /* of the content's first byte */
    int64_t total;       /* size of the whole file; -1: not said */
    int64_t size;        /* of the content */
    bool digest_follows; /* of this content alone: where it has another one, none of it counts */
};
MUST_CHECK bool proto_append_pack(uint8_t buffer[PROTO_APPEND_SIZE], const struct proto_append *append,
                                  struct error *error);
MUST_CHECK bool proto_append_unpack(const uint8_t *body, size_t size, struct proto_append *append,
                                    struct error *error);

/* FINISH 85: the 416 bytes, has digest 1, digest 16 = 433. */
struct proto_finish {
    struct proto_partial partial;
    bool has_digest;
    uint8_t digest[PROTO_DIGEST_SIZE]; /* that the whole content must have */
};
MUST_CHECK bool proto_finish_pack(uint8_t buffer[PROTO_FINISH_SIZE], const struct proto_finish *finish,
                                  struct error *error);
MUST_CHECK bool proto_finish_unpack(const uint8_t *body, size_t size, struct proto_finish *finish,
                                    struct error *error);

/* JOIN_PARTS 87: FINISH's 433 bytes about the target, then 1 to PROTO_PARTS_MAX tokens of 16 bytes. Pack returns the body's size
 * (0: ERROR); BUFFER has SIZE bytes. Unpack: *TOKENS points into BODY. */
MUST_CHECK size_t proto_join_parts_pack(uint8_t *buffer, size_t size, const struct proto_finish *target,
                                        const uint8_t *tokens, size_t count, struct error *error);
MUST_CHECK bool proto_join_parts_unpack(const uint8_t *body, size_t size, struct proto_finish *target,
                                        const uint8_t **tokens, size_t *count, struct error *error);

#endif
