/*
 * reel_resume: an upload by partial uploads (docs/protocol.md): one that can be resumed, because their tokens are in a file of the
 * caller's, or one that goes in pieces at the same time, or both. Blocks, in the calling thread. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_RESUME_H
#define REEL_CLIENT_REEL_RESUME_H

#include "client/library/reel_content.h"
#include "client/library/reel_internal.h"

enum resume_end {
    RESUME_STORED,
    RESUME_FAILED,  /* ERROR; what has come is kept, and so is the state, unless resuming cannot help */
    RESUME_TOO_OLD, /* nothing was sent: the servers do not know partial uploads */
};

/* Whether CONTENT is to go this way. */
bool resume_wanted(const struct content *content, const struct reel_upload *upload);

/* CONTENT as PUT says, with UPLOAD's state and pieces (client/reel.h). PUT->key.file becomes that of the state, unless UPLOAD
 * names one; FILE_ID (may be NULL) too. */
enum resume_end resume_upload(struct reel *reel, const struct content *content,
                              const struct reel_upload *upload, struct proto_put *put,
                              char file_id[REEL_FILE_SIZE], struct error *error);

#endif
