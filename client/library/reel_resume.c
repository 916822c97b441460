/*
 * reel_resume: what the state says, or BEGIN of what is needed; the bytes; then FINISH, or JOIN_PARTS of the pieces.
 */
#include "client/library/reel_resume.h"

#include "client/library/reel_piece.h"
#include "client/library/reel_pieces.h"
#include "client/library/reel_state.h"

#include <inttypes.h>
#include <string.h>

#define PIECE_KIB 16384 /* the least size of a piece where the caller says none */

struct resumed {
    struct reel *reel;
    const struct content *content;
    const struct reel_upload *upload;
    struct proto_put *put;
    struct reel_state state;
    struct reel_piece whole; /* the file; in pieces nothing is appended to it */
    struct reel_piece pieces[REEL_PIECES_MAX];
    size_t count, begun;
};

/* ---- what is wanted ---- */

static bool resume_keeps_state(const struct content *content, const struct reel_upload *upload)
{
    return upload->state && content->fd >= 0 && !content->owned;
}

/* 1: as a whole. */
static size_t resume_pieces(const struct content *content, const struct reel_upload *upload)
{
    int64_t least = (int64_t)(upload->piece_kib > 0 ? upload->piece_kib : PIECE_KIB) * 1024;
    int64_t pieces = min_i64(content->size / least, min_i64(upload->pieces, REEL_PIECES_MAX));

    return (size_t)max_i64(pieces, 1);
}

bool resume_wanted(const struct content *content, const struct reel_upload *upload)
{
    return resume_keeps_state(content, upload) || resume_pieces(content, upload) > 1;
}

/* ---- the state ---- */

/* False: ERROR says why the upload cannot begin. */
static bool resume_open(struct resumed *resumed, struct error *error)
{
    const struct reel_upload *upload = resumed->upload;
    struct reel_state *state = &resumed->state;

    if (!resume_keeps_state(resumed->content, upload))
        return true;
    if (!reel_state_open(state, upload->state, error)) {
        if (!upload->fresh)
            return false;
        reel_say(resumed->reel, "%s; this upload cannot be resumed if it is interrupted", error->text);
        return true;
    }
    if (upload->fresh)
        return true;
    if (!reel_state_read(state, resumed->content, &resumed->put->key, upload->file, error))
        return false;
    if (state->other)
        reel_say(resumed->reel, "%s describes another upload, or the file has changed since: starting over",
                 upload->state);
    if (state->known)
        memcpy(resumed->put->key.file, state->file, sizeof(state->file));
    return true;
}

static bool resume_keep(struct resumed *resumed, struct error *error)
{
    struct reel_state *state = &resumed->state;

    memcpy(state->file, resumed->put->key.file, sizeof(state->file));
    memcpy(state->token, resumed->whole.partial.token, sizeof(state->token));
    state->count = resumed->count > 1 ? resumed->count : 0;
    for (size_t i = 0; i < state->count; i++) {
        const struct reel_piece *piece = &resumed->pieces[i];

        state->pieces[i].start = piece->content.start - resumed->content->start;
        state->pieces[i].size = piece->content.size;
        memcpy(state->pieces[i].token, piece->partial.token, sizeof(piece->partial.token));
    }
    if (reel_state_write(state, resumed->content, &resumed->put->key, error))
        return true;
    if (!resumed->upload->fresh)
        return false;
    reel_say(resumed->reel, "%s; this upload cannot be resumed if it is interrupted", error->text);
    reel_state_remove(state);
    reel_state_close(state);
    return true;
}

/* ---- beginning ---- */

/* Piece NUMBER: SIZE bytes from START. */
static void resume_cut(struct resumed *resumed, size_t number, int64_t start, int64_t size)
{
    struct content bytes = *resumed->content;
    struct reel_piece *piece = &resumed->pieces[number];

    bytes.to_the_end = false;
    bytes.start += start;
    if (bytes.memory)
        bytes.memory += start;
    bytes.size = size;
    reel_piece_init(piece, resumed->reel, &bytes, resumed->upload, &resumed->put->key);
    piece->server.turn = number;
}

/* What is sent to it is some of the file: neither its size nor the digest of all. */
static bool resume_begin_piece(struct resumed *resumed, size_t number, struct error *error)
{
    struct proto_put put = {.key = resumed->put->key, .size = -1};

    return reel_piece_begin(&resumed->pieces[number], &put, error);
}

static void resume_abort(struct resumed *resumed)
{
    for (size_t i = 0; i < resumed->begun && resumed->count > 1; i++)
        reel_piece_abort(&resumed->pieces[i]);
    reel_piece_abort(&resumed->whole);
}

static bool resume_begin(struct resumed *resumed, struct error *error)
{
    int64_t size = resumed->content->size, each;
    bool fine;

    resumed->whole.at = (struct proto_partial_state){0};
    resumed->state.known = false;
    resumed->count = resume_pieces(resumed->content, resumed->upload);
    resumed->begun = 0;
    if (!reel_piece_begin(&resumed->whole, resumed->put, error))
        return false;
    each = size / (int64_t)resumed->count;
    fine = true;
    for (size_t i = 0; fine && i < resumed->count && resumed->count > 1; i++) {
        int64_t start = (int64_t)i * each;

        resume_cut(resumed, i, start, i + 1 < resumed->count ? each : size - start);
        fine = resume_begin_piece(resumed, i, error);
        resumed->begun += fine ? 1 : 0;
    }
    fine = fine && resume_keep(resumed, error);
    if (!fine)
        resume_abort(resumed);
    return fine;
}

/* ---- going on ---- */

static bool is_gone(const struct error *error)
{
    return error->code == ERROR_NOT_FOUND || error->code == ERROR_OTHER_GROUP;
}

/* How far the pieces of the state are. One that is gone, though the whole is not, begins anew. */
static bool resume_look_at_pieces(struct resumed *resumed, int64_t *done, struct error *error)
{
    bool renewed = false;

    resumed->count = resumed->begun = resumed->state.count;
    *done = 0;
    for (size_t i = 0; i < resumed->count; i++) {
        const struct reel_state_piece *kept = &resumed->state.pieces[i];
        struct reel_piece *piece = &resumed->pieces[i];

        resume_cut(resumed, i, kept->start, kept->size);
        memcpy(piece->partial.token, kept->token, sizeof(kept->token));
        if (!reel_piece_look(piece, error)) {
            if (!is_gone(error) || !resume_begin_piece(resumed, i, error))
                return false;
            renewed = true;
        }
        *done += piece->at.offset;
    }
    return !renewed || resume_keep(resumed, error);
}

/* What the state speaks of. *GONE: nobody knows of it any more. */
static bool resume_look(struct resumed *resumed, bool *gone, struct error *error)
{
    int64_t done;

    memcpy(resumed->whole.partial.token, resumed->state.token, sizeof(resumed->state.token));
    resumed->count = 1;
    *gone = false;
    if (!reel_piece_look(&resumed->whole, error)) {
        *gone = is_gone(error);
        return false;
    }
    done = resumed->whole.at.offset;
    if (resumed->state.count > 0 && !resumed->whole.at.complete &&
        !resume_look_at_pieces(resumed, &done, error))
        return false;
    reel_say(resumed->reel, "continuing at byte %" PRId64 " of %" PRId64, done, resumed->content->size);
    return true;
}

static bool resume_start(struct resumed *resumed, struct error *error)
{
    bool gone;

    reel_piece_init(&resumed->whole, resumed->reel, resumed->content, resumed->upload, &resumed->put->key);
    if (resumed->state.known) {
        if (resume_look(resumed, &gone, error))
            return true;
        if (!gone)
            return false;
        reel_say(resumed->reel, "the upload that was begun no longer exists: starting over");
    }
    return resume_begin(resumed, error);
}

/* ---- the bytes ---- */

static bool resume_send_whole(struct resumed *resumed, struct error *error)
{
    uint8_t digest[PROTO_DIGEST_SIZE];
    bool fine;

    resumed->whole.digest = digest_create();
    if (!resumed->whole.digest)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for a digest");
    fine = reel_piece_send(&resumed->whole, error);
    if (fine)
        digest_final(resumed->whole.digest, digest);
    digest_destroy(resumed->whole.digest);
    resumed->whole.digest = NULL;
    return fine && reel_piece_finish(&resumed->whole, digest, NULL, 0, error);
}

static bool resume_send_pieces(struct resumed *resumed, struct error *error)
{
    uint8_t digest[PROTO_DIGEST_SIZE], tokens[REEL_PIECES_MAX * PROTO_PARTIAL_TOKEN_SIZE];
    size_t threads = (size_t)max_i64(resumed->upload->pieces, 1);

    if (!reel_pieces_send(resumed->reel, resumed->content, resumed->upload, resumed->pieces, resumed->count,
                          threads, digest, error))
        return false;
    for (size_t i = 0; i < resumed->count; i++)
        memcpy(tokens + i * PROTO_PARTIAL_TOKEN_SIZE, resumed->pieces[i].partial.token,
               PROTO_PARTIAL_TOKEN_SIZE);
    reel_say(resumed->reel, "all %zu pieces are sent; the server joins them", resumed->count);
    return reel_piece_finish(&resumed->whole, digest, tokens, resumed->count, error);
}

static bool is_too_old(const struct error *error)
{
    return error->code == ERROR_UNKNOWN_COMMAND || error->code == ERROR_GENERAL;
}

/* Continuing cannot help: other bytes were sent than the file has now, or its ID is taken. */
static bool is_hopeless(const struct error *error)
{
    return error->code == ERROR_DIGEST || error->code == ERROR_EXISTS || error->code == ERROR_DELETED;
}

static enum resume_end resume_run(struct resumed *resumed, struct error *error)
{
    struct reel_state *state = &resumed->state;

    if (!resume_start(resumed, error)) {
        if (!state->known || is_hopeless(error))
            reel_state_remove(state);
        return !state->known && is_too_old(error) ? RESUME_TOO_OLD : RESUME_FAILED;
    }
    if (resumed->count > 1 ? resume_send_pieces(resumed, error) : resume_send_whole(resumed, error)) {
        reel_state_remove(state);
        return RESUME_STORED;
    }
    if (is_hopeless(error) || state->fd < 0)
        resume_abort(resumed);
    if (is_hopeless(error))
        reel_state_remove(state);
    return RESUME_FAILED;
}

enum resume_end resume_upload(struct reel *reel, const struct content *content,
                              const struct reel_upload *upload, struct proto_put *put,
                              char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct resumed resumed = {
        .reel = reel, .content = content, .upload = upload, .put = put, .state = {.fd = -1}};
    enum resume_end end = RESUME_FAILED;

    if (resume_open(&resumed, error)) {
        if (file_id)
            memcpy(file_id, put->key.file, sizeof(put->key.file));
        end = resume_run(&resumed, error);
    }
    reel_state_close(&resumed.state);
    return end;
}
