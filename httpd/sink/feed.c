/*
 * feed: the commands of partial uploads in their order; what is read from the client between them is gather's.
 *
 *   a new file         gather -> STORE                              where all of it fits into the first piece
 *                      gather -> BEGIN -> APPEND -> gather -> ... -> FINISH
 *   a partial upload   gather -> APPEND -> gather -> ...            chunks
 *                      APPEND                                       of known size: read by the command itself
 *
 * A piece that lies in memory is sent again where a server breaks off: OFFSET says from which byte on.
 */
#include "httpd/sink/feed.h"
#include "httpd/sink/gather.h"

#include "common/base/clock.h"

#include <stdlib.h>
#include <string.h>

#define TRIES             4              /* of one piece */
#define FINISH_BYTES_MIN  INT64_C(20000) /* per ms that a storage server reads back at least */
#define FINISH_PATIENCE   INT64_C(60000) /* ms */
#define KEEP_S            INT64_C(21600) /* what could not be removed is gone after this long */
#define NO_MEMORY_MESSAGE "no memory for the content"

enum feed_step { FEED_BEGINS, FEED_GATHERS, FEED_STORES, FEED_APPENDS, FEED_LOOKS, FEED_FINISHES };

struct feed {
    struct feed_options options; /* put, append, body, form and hash are not used after the start */
    struct gather gather;
    enum feed_step step;
    enum sink_status status;
    struct client_operation *operation; /* NULL: none is under way */
    struct client_stored stored;
    struct proto_partial_state state;
    struct error error;
    bool is_file; /* put counts; else a partial upload is continued */
    bool begun;   /* append.partial is there */
    bool streams; /* the size is known: what comes is sent as it comes */
    bool wanted;  /* wanted() was called */
    struct proto_put put;
    struct proto_append append;      /* offset: of the next byte that is not durable */
    int tries;                       /* of this piece */
    uint8_t tail[PROTO_DIGEST_SIZE]; /* the digest that follows a stream */
    size_t tail_sent;
    bool tail_made;
};

static void feed_next(struct feed *feed);

/* ---- the end ---- */

static void feed_ignore(void *argument, const struct error *error)
{
    (void)argument;
    (void)error; /* what cannot be removed now goes when its time is over */
}

/* Nobody will continue a new file that is not stored. */
static void feed_abort(struct feed *feed)
{
    if (!feed->is_file || !feed->begun || feed->status == SINK_STORED)
        return;
    feed->begun = false;
    if (!client_abort(feed->options.loop->client, &feed->append.partial, feed_ignore, NULL))
        return;
}

static void feed_fail(struct feed *feed, const struct error *error)
{
    feed->error = feed->gather.complaint ? feed->gather.error : *error;
    feed->status = feed->gather.gone ? SINK_GONE : SINK_FAILED;
    feed_abort(feed);
}

/* For what could not be started. */
static void feed_no_memory(struct feed *feed)
{
    struct error error;
    (void)error_set(&error, ERROR_UNAVAILABLE, "%s", NO_MEMORY_MESSAGE);
    feed_fail(feed, &error);
}

/* Behind each callback of a command. */
static void feed_wake(struct feed *feed)
{
    if (feed->status != SINK_BUSY)
        feed->options.wake(feed->options.argument);
}

static void feed_want(struct feed *feed)
{
    if (!feed->wanted)
        feed->options.wanted(feed->options.argument);
    feed->wanted = true;
}

/* Gathers a piece. False: not yet, or the feed has come to its end. */
static bool feed_gathers(struct feed *feed)
{
    switch (gather_piece(&feed->gather)) {
    case GATHER_PIECE:
        return true;
    case GATHER_WAITS:
        break;
    case GATHER_FAILED:
        feed_fail(feed, &feed->gather.error);
        break;
    case GATHER_NO_MEMORY:
        feed_no_memory(feed);
        break;
    }
    return false;
}

/* ---- the commands ---- */

static int64_t piece_source(void *argument, uint8_t *buffer, size_t size)
{
    return gather_send(&((struct feed *)argument)->gather, buffer, size);
}

static bool piece_rewind(void *argument)
{
    ((struct feed *)argument)->gather.piece_sent = 0;
    return true;
}

static void feed_set_operation(struct feed *feed, enum feed_step step, struct client_operation *operation)
{
    feed->step = step;
    feed->operation = operation;
    client_name_request(operation, &feed->options.request);
    if (!operation)
        feed_no_memory(feed);
}

static void on_feed_stored(void *argument, const struct client_stored *stored, const struct error *error)
{
    struct feed *feed = argument;
    feed->operation = NULL;
    if (error) {
        feed_fail(feed, error);
    } else {
        feed->stored = *stored;
        feed->status = SINK_STORED;
    }
    feed_wake(feed);
}

static void start_store(struct feed *feed)
{
    feed->put.size = (int64_t)feed->gather.piece_size;
    feed->gather.piece_sent = 0;
    const struct client_upload_options upload = {.put = feed->put,
                                                 .source = piece_source,
                                                 .rewind = piece_rewind,
                                                 .store = true,
                                                 .tries = TRIES,
                                                 .stored = on_feed_stored,
                                                 .argument = feed};
    feed_set_operation(feed, FEED_STORES, client_upload(feed->options.loop->client, &upload));
}

static void on_feed_begun(void *argument, const struct proto_begin_reply *reply, const struct error *error)
{
    struct feed *feed = argument;
    feed->operation = NULL;
    if (error) {
        feed_fail(feed, error);
    } else {
        feed->begun = true;
        feed->append.partial.key = feed->put.key;
        memcpy(feed->append.partial.token, reply->token, sizeof(reply->token));
        feed_next(feed);
    }
    feed_wake(feed);
}

static void start_begin(struct feed *feed)
{
    struct proto_begin begin = {.put = feed->put, .keep = KEEP_S};
    begin.put.size = -1;
    feed_set_operation(feed, FEED_BEGINS,
                       client_begin(feed->options.loop->client, &begin, on_feed_begun, feed));
}

static void on_feed_finished(void *argument, const struct error *error)
{
    struct feed *feed = argument;
    feed->operation = NULL;
    if (error) {
        feed_fail(feed, error);
    } else {
        feed->stored.known = feed->stored.reply.has_digest = true;
        digest_final(feed->gather.digest, feed->stored.reply.digest);
        feed->status = SINK_STORED;
    }
    feed_wake(feed);
}

static void start_finish(struct feed *feed)
{
    struct proto_finish finish = {.partial = feed->append.partial, .has_digest = true};
    digest_final(feed->gather.digest, finish.digest);
    feed_set_operation(feed, FEED_FINISHES,
                       client_finish(feed->options.loop->client, &finish,
                                     FINISH_PATIENCE + feed->append.offset / FINISH_BYTES_MIN,
                                     on_feed_finished, feed));
}

/* ---- APPEND of a piece ---- */

static void start_append(struct feed *feed);

static bool is_worth_another_try(const struct feed *feed, const struct error *error)
{
    bool broke = error->code == ERROR_CONNECTION || error->code == ERROR_TIMEOUT ||
                 error->code == ERROR_UNAVAILABLE || error->code == ERROR_NO_SERVER;
    return broke && !feed->streams && feed->tries < TRIES;
}

/* The piece's bytes up to STATE's offset are durable. */
static void piece_counts(struct feed *feed, const struct proto_partial_state *state)
{
    gather_drop(&feed->gather, (size_t)(state->offset - feed->append.offset));
    feed->append.offset = state->offset;
}

static void on_feed_offset(void *argument, const struct proto_partial_state *state, const struct error *error)
{
    struct feed *feed = argument;
    int64_t from = feed->append.offset;
    struct error other;
    feed->operation = NULL;
    if (error) {
        feed_fail(feed, error);
    } else if (state->offset < from || state->offset - from > (int64_t)feed->gather.piece_size) {
        (void)error_set(&other, ERROR_UNAVAILABLE, "another request has written to the same partial upload");
        feed_fail(feed, &other);
    } else {
        feed->state = *state;
        piece_counts(feed, state);
        feed_next(feed);
    }
    feed_wake(feed);
}

static void on_feed_appended(void *argument, const struct proto_partial_state *state,
                             const struct error *error)
{
    struct feed *feed = argument;
    feed->operation = NULL;
    if (error && is_worth_another_try(feed, error)) {
        feed->tries++;
        feed_set_operation(
            feed, FEED_LOOKS,
            client_offset(feed->options.loop->client, &feed->append.partial, on_feed_offset, feed));
    } else if (error) {
        feed_fail(feed, error);
    } else {
        feed->state = *state;
        feed->tries = 0;
        feed->append.offset = state->offset;
        gather_drop(&feed->gather, feed->gather.piece_size);
        if (feed->streams)
            feed->status = SINK_STORED;
        else
            feed_next(feed);
    }
    feed_wake(feed);
}

static void start_append(struct feed *feed)
{
    struct client_append_options options = {
        .append = feed->append, .callback = on_feed_appended, .argument = feed};
    options.append.size = (int64_t)feed->gather.piece_size;
    if (feed->gather.piece_size > 0)
        options.source = piece_source;
    feed->gather.piece_sent = 0;
    feed_set_operation(feed, FEED_APPENDS, client_append(feed->options.loop->client, &options));
}

/* ---- APPEND of a content of known size ---- */

/* The digest behind the content: a wrong one where the content is not what was stated, so that nothing of it counts. */
static int64_t stream_tail(struct feed *feed, uint8_t *buffer, size_t size)
{
    if (!feed->tail_made) {
        digest_final(feed->gather.digest, feed->tail);
        if (!gather_is_right(&feed->gather))
            feed->tail[0] ^= 0xff;
        feed->tail_made = true;
    }
    size_t taken = min_size(size, sizeof(feed->tail) - feed->tail_sent);
    memcpy(buffer, feed->tail + feed->tail_sent, taken);
    feed->tail_sent += taken;
    return (int64_t)taken;
}

static int64_t stream_source(void *argument, uint8_t *buffer, size_t size)
{
    struct feed *feed = argument;
    return feed->gather.body.left == 0 ? stream_tail(feed, buffer, size)
                                       : gather_stream(&feed->gather, buffer, size);
}

static void start_stream(struct feed *feed)
{
    struct client_append_options options = {
        .append = feed->append, .callback = on_feed_appended, .argument = feed};
    options.append.size = feed->gather.body.left;
    options.append.digest_follows = feed->gather.hash != NULL;
    if (options.append.size > 0 || feed->gather.hash)
        options.source = stream_source;
    feed_set_operation(feed, FEED_APPENDS, client_append(feed->options.loop->client, &options));
}

/* ---- the order ---- */

/* Nothing is under way: what comes next. */
static void feed_next(struct feed *feed)
{
    if (feed->is_file && !feed->begun && feed->options.early) {
        start_begin(feed);
        return;
    }
    feed->step = FEED_GATHERS;
    bool resent =
        feed->tries > 0 && feed->gather.piece_size > 0; /* the rest of a piece whose server broke off */
    if (!resent && !feed->gather.ended) {
        feed_want(feed);
        if (!feed_gathers(feed))
            return;
    }
    if (feed->is_file && !feed->begun && feed->gather.ended)
        start_store(feed);
    else if (feed->is_file && !feed->begun)
        start_begin(feed);
    else if (feed->gather.piece_size > 0)
        start_append(feed);
    else if (feed->is_file)
        start_finish(feed);
    else
        feed->status = SINK_STORED;
}

void feed_readable(struct feed *feed)
{
    if (feed->status != SINK_BUSY)
        return;
    if (!feed->operation)
        feed_next(feed);
    else if (feed->streams && feed->gather.waiting)
        client_append_resume(feed->operation);
}

struct feed *feed_open(const struct feed_options *options)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    if (!feed)
        return NULL;
    feed->options = *options;
    feed->options.put = NULL;
    feed->options.append = NULL;
    feed->options.body = NULL;
    feed->options.hash = NULL;
    feed->options.form = NULL;
    feed->step = FEED_GATHERS;
    feed->is_file = options->put != NULL;
    feed->begun = !feed->is_file;
    metric_add(options->loop->metrics->uploads, 1);
    bool fine = gather_open(&feed->gather, &(struct gather_options){.loop = options->loop,
                                                                    .from = options->from,
                                                                    .memory = options->memory,
                                                                    .memory_size = options->memory_size,
                                                                    .body = options->body,
                                                                    .form = options->form,
                                                                    .size_max = options->size_max,
                                                                    .hash = options->hash,
                                                                    .hash_kind = options->hash_kind,
                                                                    .digests = options->put != NULL});
    if (options->put) {
        feed->put = *options->put;
        feed->append.total = -1;
    } else {
        feed->append = *options->append;
        feed->state.offset = feed->append.offset;
        feed->state.size = feed->append.total;
        feed->streams = feed->gather.body.kind != HTTP_BODY_CHUNKED;
    }
    if (fine && feed->streams) {
        start_stream(feed);
        fine = feed->operation != NULL;
    }
    if (fine)
        return feed;
    feed_close(feed);
    return NULL;
}

void feed_close(struct feed *feed)
{
    if (!feed)
        return;
    if (feed->operation)
        client_cancel(feed->operation);
    feed_abort(feed);
    gather_close(&feed->gather);
    metric_add(feed->options.loop->metrics->uploads, -1);
    free(feed);
}

/* ---- for its owner ---- */

enum sink_status feed_status(const struct feed *feed)
{
    return feed->status;
}

const struct client_stored *feed_stored(const struct feed *feed)
{
    return &feed->stored;
}

const struct proto_partial_state *feed_state(const struct feed *feed)
{
    return &feed->state;
}

const struct error *feed_error(const struct feed *feed)
{
    return &feed->error;
}

const char *feed_complaint(const struct feed *feed)
{
    return feed->gather.complaint;
}

int64_t feed_content(const struct feed *feed)
{
    return feed->streams ? feed->gather.body.total : feed->gather.content;
}

const struct http_body *feed_body(const struct feed *feed)
{
    return feed->gather.broken ? NULL : &feed->gather.body;
}

size_t feed_memory_taken(const struct feed *feed)
{
    return feed->gather.memory_taken;
}

int64_t feed_received(const struct feed *feed)
{
    return feed->gather.received;
}

int64_t feed_still_ms(const struct feed *feed)
{
    return feed->gather.waiting ? clock_coarse_ms() - feed->gather.waiting_since_ms : 0;
}

int64_t feed_waited_ms(const struct feed *feed)
{
    return feed->gather.waited_ms + feed_still_ms(feed);
}
