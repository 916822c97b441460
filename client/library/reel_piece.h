/*
 * reel_piece: the partial upload (docs/protocol.md) of some bytes of a content, of all of them or of a piece: begun, asked about, sent until all
 * is there over whatever server of the group does it, and ended. Blocks, in the calling thread. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_PIECE_H
#define REEL_CLIENT_REEL_PIECE_H

#include "client/core/client_resume.h"
#include "client/library/reel_content.h"
#include "client/library/reel_internal.h"
#include "common/proto/digest.h"

struct reel_piece {
    struct reel *reel;
    struct content content;           /* its bytes */
    const struct reel_upload *upload; /* progress, preparing and their argument; about these bytes */
    struct proto_partial partial;     /* the key; the token once it is begun */
    struct proto_partial_state at;
    struct client_server server; /* which does it */
    struct client_resume tries;
    struct digest *digest; /* of the first DIGESTED bytes, taken while they are read; NULL: of nothing */
    int64_t digested;
};

void reel_piece_init(struct reel_piece *piece, struct reel *reel, const struct content *content,
                     const struct reel_upload *upload, const struct proto_file_key *key);

/* BEGIN of what PUT says. */
MUST_CHECK bool reel_piece_begin(struct reel_piece *piece, const struct proto_put *put, struct error *error);
/* How far it is, whichever server has to be asked for that. ERROR_NOT_FOUND, ERROR_OTHER_GROUP: it is not there
 * any more. */
MUST_CHECK bool reel_piece_look(struct reel_piece *piece, struct error *error);
/* All bytes that are missing. */
MUST_CHECK bool reel_piece_send(struct reel_piece *piece, struct error *error);
/* FINISH; without TOKENS, of COUNT pieces: else JOIN_PARTS. DIGEST is that of the whole content. */
MUST_CHECK bool reel_piece_finish(struct reel_piece *piece, const uint8_t digest[PROTO_DIGEST_SIZE],
                                  const uint8_t *tokens, size_t count, struct error *error);
/* ABORT, as far as that can be done: else it expires. */
void reel_piece_abort(struct reel_piece *piece);

#endif
