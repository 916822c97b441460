/*
 * reel_piece: BEGIN or OFFSET, APPEND until all is there, FINISH. Whatever breaks in between is asked about with OFFSET and continued, over
 * the next server of the group.
 */
#include "client/library/reel_piece.h"

#include "client/library/reel_send.h"
#include "common/base/clock.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define GOOD_BYTES    (INT64_C(8) << 20)  /* that came through: the tries begin anew */
#define PATIENCE_MS   60000               /* that a FINISH may take, and */
#define PATIENCE_RATE (INT64_C(10) << 20) /* bytes per second more, which are copied and read back */
#define READ_SIZE     ((size_t)REEL_CHUNK_SIZE)

void reel_piece_init(struct reel_piece *piece, struct reel *reel, const struct content *content,
                     const struct reel_upload *upload, const struct proto_file_key *key)
{
    *piece =
        (struct reel_piece){.reel = reel, .content = *content, .upload = upload, .partial = {.key = *key}};
    piece->content.owned = false;
    client_resume_init(&piece->tries, reel->tries, GOOD_BYTES, 0);
}

/* ---- questions ---- */

struct piece_wait {
    struct reel_wait wait;
    struct reel_piece *piece;
    const struct proto_put *put;
    struct proto_finish finish;
    const uint8_t *tokens;
    size_t count;
};

static void piece_begun(void *argument, const struct proto_begin_reply *reply, const struct error *error)
{
    struct piece_wait *wait = argument;

    if (reply) {
        wait->piece->at = reply->state;
        memcpy(wait->piece->partial.token, reply->token, sizeof(reply->token));
    }
    reel_wait_finish(&wait->wait, error);
}

static void piece_told(void *argument, const struct proto_partial_state *state, const struct error *error)
{
    struct piece_wait *wait = argument;

    if (state)
        wait->piece->at = *state;
    reel_wait_finish(&wait->wait, error);
}

static void piece_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct piece_wait *)argument)->wait, error);
}

static void piece_started(struct piece_wait *own, struct client_operation *operation)
{
    if (operation)
        client_prefer(operation, &own->piece->server);
    reel_wait_started(&own->wait, operation);
}

static void begin_start(struct reel_wait *wait)
{
    struct piece_wait *own = CONTAINER_OF(wait, struct piece_wait, wait);
    const struct proto_begin begin = {.put = *own->put};

    piece_started(own, client_begin(wait->reel->client, &begin, piece_begun, own));
}

static void offset_start(struct reel_wait *wait)
{
    struct piece_wait *own = CONTAINER_OF(wait, struct piece_wait, wait);

    piece_started(own, client_offset(wait->reel->client, &own->piece->partial, piece_told, own));
}

static void abort_start(struct reel_wait *wait)
{
    struct piece_wait *own = CONTAINER_OF(wait, struct piece_wait, wait);

    piece_started(own, client_abort(wait->reel->client, &own->piece->partial, piece_done, own));
}

static void piece_finish_start(struct reel_wait *wait)
{
    struct piece_wait *own = CONTAINER_OF(wait, struct piece_wait, wait);
    struct client *client = wait->reel->client;
    int64_t patience_ms = PATIENCE_MS + own->piece->content.size / (PATIENCE_RATE / 1000);

    piece_started(own, own->count > 0 ? client_join_parts(client, &own->finish, own->tokens, own->count,
                                                          patience_ms, piece_done, own)
                                      : client_finish(client, &own->finish, patience_ms, piece_done, own));
}

static bool piece_ask(struct piece_wait *wait, struct reel_piece *piece,
                      void (*start)(struct reel_wait *wait), struct error *error)
{
    reel_wait_init(&wait->wait, piece->reel, start);
    wait->piece = piece;
    return reel_wait_run(&wait->wait, error);
}

/* ---- going on ---- */

static bool piece_may_pass(const struct error *error)
{
    switch (error->code) {
    case ERROR_CONNECTION:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_NO_SERVER:
    case ERROR_THROTTLED:
    case ERROR_RANGE: /* something was counted that was not answered: OFFSET says */
        return true;
    default:
        return false;
    }
}

/* Waits before another try; false: there were enough, or the handle was cancelled. */
static bool piece_pause(struct reel_piece *piece, const struct error *error)
{
    int64_t pause_ms = client_resume_pause(&piece->tries, clock_monotonic_ms());
    struct pollfd cancelled = {.fd = piece->reel->cancel_fd, .events = POLLIN};

    if (pause_ms < 0)
        return false;
    reel_say(piece->reel, "%s; continuing at byte %" PRId64, error->text, piece->at.offset);
    return poll(&cancelled, 1, (int)pause_ms) == 0;
}

static void piece_passed(void *argument, const uint8_t *bytes, size_t size, int64_t position)
{
    struct reel_piece *piece = argument;
    int64_t skip = piece->digested - position; /* a further try reads some once more */

    if (!piece->digest || skip < 0 || skip >= (int64_t)size)
        return;
    digest_update(piece->digest, bytes + skip, size - (size_t)skip);
    piece->digested = position + (int64_t)size;
}

/* The digest of what the server has already. */
static bool piece_catch_up(struct reel_piece *piece, struct error *error)
{
    const struct reel_upload *upload = piece->upload;
    bool behind = piece->digest && piece->digested < piece->at.offset, fine = true;
    uint8_t *bytes = behind ? malloc(READ_SIZE) : NULL;

    while (fine && behind && piece->digested < piece->at.offset) {
        size_t size = (size_t)min_i64(piece->at.offset - piece->digested, (int64_t)READ_SIZE);

        fine = bytes || error_set(error, ERROR_UNAVAILABLE, "no memory to read the content");
        fine = fine && content_read(&piece->content, bytes, size, piece->digested, error);
        if (!fine)
            break;
        piece_passed(piece, bytes, size, piece->digested);
        if (upload->preparing && !upload->preparing(upload->argument, piece->digested, piece->content.size))
            fine = error_set(error, ERROR_CANCELLED, "cancelled by the caller");
    }
    free(bytes);
    return fine;
}

bool reel_piece_begin(struct reel_piece *piece, const struct proto_put *put, struct error *error)
{
    struct piece_wait wait = {.put = NULL};

    wait.put = put;
    return piece_ask(&wait, piece, begin_start, error);
}

bool reel_piece_look(struct reel_piece *piece, struct error *error)
{
    struct piece_wait wait = {.put = NULL};
    int64_t before = piece->at.offset;

    while (!piece_ask(&wait, piece, offset_start, error)) {
        if (!piece_may_pass(error) || !piece_pause(piece, error))
            return false;
    }
    if (piece->at.offset > piece->content.size)
        return error_set(error, ERROR_RANGE, "the servers have %" PRId64 " bytes of the content's %" PRId64,
                         piece->at.offset, piece->content.size);
    if (piece->at.offset > before)
        client_resume_moved(&piece->tries, piece->at.offset - before);
    return true;
}

bool reel_piece_send(struct reel_piece *piece, struct error *error)
{
    int64_t size = piece->content.size;

    while (piece->at.offset < size) {
        if (!piece_catch_up(piece, error))
            return false;
        const struct proto_append append = {.partial = piece->partial,
                                            .offset = piece->at.offset,
                                            .total = size,
                                            .size = size - piece->at.offset};
        const struct send_options send = {.content = &piece->content,
                                          .upload = piece->upload,
                                          .append = &append,
                                          .passed = piece_passed,
                                          .state = &piece->at,
                                          .server = &piece->server,
                                          .argument = piece};

        if (reel_send(piece->reel, &send, error))
            continue;
        if (!piece_may_pass(error) || !piece_pause(piece, error) || !reel_piece_look(piece, error))
            return false;
    }
    return piece_catch_up(piece, error);
}

bool reel_piece_finish(struct reel_piece *piece, const uint8_t digest[PROTO_DIGEST_SIZE],
                       const uint8_t *tokens, size_t count, struct error *error)
{
    struct piece_wait wait = {.finish = {.partial = piece->partial, .has_digest = true}};

    memcpy(wait.finish.digest, digest, sizeof(wait.finish.digest));
    wait.tokens = tokens;
    wait.count = count;
    while (!piece_ask(&wait, piece, piece_finish_start, error)) {
        if (!piece_may_pass(error) || error->code == ERROR_RANGE || !piece_pause(piece, error))
            return false;
    }
    return true;
}

void reel_piece_abort(struct reel_piece *piece)
{
    struct piece_wait wait = {.put = NULL};
    struct error ignored;

    (void)piece_ask(&wait, piece, abort_start, &ignored);
}
