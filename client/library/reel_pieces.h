/*
 * reel_pieces: the pieces of one content sent at the same time, each on a thread of its own, while the calling thread, which blocks, takes the
 * digest of the whole and does all that a caller may count on finding in its own thread: progress and remarks. Private to the
 * blocking face.
 */
#ifndef REEL_CLIENT_REEL_PIECES_H
#define REEL_CLIENT_REEL_PIECES_H

#include "client/library/reel_piece.h"

/* Sends what is missing of ITEMS, COUNT pieces that are all of CONTENT, THREADS of them at a time. The first failure ends all. DIGEST gets that of
 * the content, which was not written to meanwhile. */
MUST_CHECK bool reel_pieces_send(struct reel *reel, const struct content *content,
                                 const struct reel_upload *upload, struct reel_piece *items, size_t count,
                                 size_t threads, uint8_t digest[PROTO_DIGEST_SIZE], struct error *error);

#endif
