/*
 * reel_state: the file in which an upload keeps what must be known to resume it: of which content it is, the file ID, the
 * token of its partial upload and, where it goes in pieces, theirs. One upload at a time has it (flock(2)). Blocks, in the calling
 * thread. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_STATE_H
#define REEL_CLIENT_REEL_STATE_H

#include "client/library/reel_content.h"
#include "client/library/reel_internal.h"

#define REEL_PIECES_MAX 16

struct reel_state_piece {
    int64_t start, size; /* which bytes of the content */
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
};

struct reel_state {
    const char *path;
    int fd;     /* -1: there is none, and all that is written goes nowhere */
    bool known; /* FILE and what follows are of an earlier upload of this content */
    bool other; /* it was of another one */
    char file[PROTO_FILE_SIZE];
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
    struct reel_state_piece pieces[REEL_PIECES_MAX];
    size_t count; /* of pieces; 0: it goes as a whole */
};

/* Opens PATH, or makes it, and keeps other uploads out: ERROR_UNAVAILABLE where one has it. Links are not followed; what is no regular file of
 * this user alone is ERROR_IO. */
MUST_CHECK bool reel_state_open(struct reel_state *state, const char *path, struct error *error);

/* Reads what is there. FILE (may be NULL): the ID that it must be about. Whatever it does not understand counts as another
 * upload's. */
MUST_CHECK bool reel_state_read(struct reel_state *state, const struct content *content,
                                const struct proto_file_key *key, const char *file, struct error *error);

/* Replaces what is there by file, token and pieces of STATE; synced. */
MUST_CHECK bool reel_state_write(struct reel_state *state, const struct content *content,
                                 const struct proto_file_key *key, struct error *error);

/* Nothing is left to be resumed. */
void reel_state_remove(struct reel_state *state);
/* Lets others use it. */
void reel_state_close(struct reel_state *state);

#endif
