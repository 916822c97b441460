/*
 * feed: the commands of partial uploads in their order, and what is read from the client between them.
 *
 *   a new file         gather -> STORE                              where all of it fits into the first piece
 *                      gather -> BEGIN -> APPEND -> gather -> ... -> FINISH
 *   a partial upload   gather -> APPEND -> gather -> ...            chunks
 *                      APPEND                                       of known size: read by the command itself
 *
 * A piece that lies in memory is sent again where a server breaks off: OFFSET says from which byte on.
 */
#include "httpd/sink/feed.h"

#include "common/base/clock.h"
#include "common/proto/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES            4              /* of one piece */
#define FINISH_BYTES_MIN INT64_C(20000) /* per ms that a storage server reads back at least */
#define FINISH_PATIENCE  INT64_C(60000) /* ms */
#define KEEP_S           INT64_C(21600) /* what nobody could remove is gone after so long */
#define EPILOGUE_MAX                                                                                         \
    ((size_t)64 * 1024) /* bytes behind a form's end, which are dropped (RFC 2046 section 5.1.1) */
#define NO_MEMORY_MESSAGE "no memory for the content"

enum feed_step { FEED_BEGINS, FEED_GATHERS, FEED_STORES, FEED_APPENDS, FEED_LOOKS, FEED_FINISHES };

struct feed {
    struct feed_options options; /* put, append, body, form and hash are not used after the start */
    struct http_body body;
    struct multipart *form; /* NULL: the body's content is the file's */
    bool form_over;         /* the form's end has come: what follows means nothing */
    size_t epilogue;        /* bytes that followed */
    int64_t content;        /* bytes of the file so far; of a stream those of the body count */
    enum feed_step step;
    enum sink_status status;
    struct client_operation *operation; /* NULL: none is under way */
    struct client_stored stored;
    struct proto_partial_state state;
    struct error error;
    const char *complaint;
    bool is_file; /* put counts; else a partial upload is continued */
    bool begun;   /* append.partial is there */
    bool streams; /* the size is known: what comes is sent as it comes */
    bool ended;   /* the body is at its end */
    bool broken;  /* its framing is: nobody knows where it ends */
    bool gone;    /* the client is */
    bool wanted;  /* wanted() was called */
    struct proto_put put;
    struct proto_append append; /* offset: of the next byte that is not durable */

    size_t memory_taken; /* of options.memory */
    int64_t received;    /* from the socket */
    char *piece;
    size_t piece_size, piece_capacity, piece_sent;
    int tries; /* of this piece */

    struct digest *digest; /* of a new file; of a stream that has a hash */
    struct content_hash *hash;
    uint8_t expected[CONTENT_HASH_SIZE_MAX];
    uint8_t tail[PROTO_DIGEST_SIZE]; /* the digest that follows a stream */
    size_t tail_sent;
    bool tail_made;

    bool waiting; /* for the client */
    int64_t waiting_since_ms, waited_ms;
};

static void feed_next(struct feed *feed);

/* ---- the end ---- */

static void feed_ignore(void *argument, const struct error *error)
{
    (void)argument;
    (void)error; /* what cannot be removed now goes when its time is over */
}

/* Nobody will go on with a new file that is not stored. */
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
    if (feed->complaint == NULL)
        feed->error = *error;
    feed->status = feed->gone ? SINK_GONE : SINK_FAILED;
    feed_abort(feed);
}

/* Returns false. */
static bool feed_complain(struct feed *feed, int code, const char *text)
{
    (void)error_set(&feed->error, code, "%s", text);
    feed->complaint = text;
    return false;
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

/* ---- what comes from the client ---- */

static void feed_wait(struct feed *feed)
{
    if (!feed->waiting)
        feed->waiting_since_ms = clock_coarse_ms();
    feed->waiting = true;
}

static void feed_note_received(struct feed *feed, size_t size)
{
    if (feed->waiting)
        feed->waited_ms += clock_coarse_ms() - feed->waiting_since_ms;
    feed->waiting = false;
    feed->received += (int64_t)size;
    metric_add(feed->options.loop->metrics->received, (int64_t)size);
    metric_add(feed->options.loop->metrics->received_copied, (int64_t)size);
}

static void feed_want(struct feed *feed)
{
    if (!feed->wanted)
        feed->options.wanted(feed->options.argument);
    feed->wanted = true;
}

/* Up to SIZE bytes of the body, framing included, into BUFFER. How many; 0: not yet; -1: the client is gone. */
static int64_t fetch(struct feed *feed, void *buffer, size_t size)
{
    size_t in_memory = feed->options.memory_size - feed->memory_taken;
    size_t wanted = (size_t)min_i64(http_body_least(&feed->body), (int64_t)size);
    ssize_t got;
    if (in_memory > 0) {
        size_t taken = min_size(wanted, in_memory);
        memcpy(buffer, feed->options.memory + feed->memory_taken, taken);
        feed->memory_taken += taken;
        return (int64_t)taken;
    }
    do {
        got = transport_recv(feed->options.from, buffer, wanted, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        feed_note_received(feed, (size_t)got);
        return got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        feed_wait(feed);
        return 0;
    }
    feed->gone = true;
    (void)feed_complain(feed, ERROR_CONNECTION, "the client disconnected within its content");
    return -1;
}

/* ---- pieces ---- */

static void piece_give(struct feed *feed)
{
    if (feed->piece_capacity > FEED_PIECE_FIRST)
        feed->options.loop->piece_bytes -= feed->piece_capacity - FEED_PIECE_FIRST;
    free(feed->piece);
    feed->piece = NULL;
    feed->piece_size = feed->piece_capacity = 0;
}

/* Bytes that fit behind the piece. What a form's parser kept back of a delimiter that was none comes beside what is read. */
static size_t piece_room(const struct feed *feed)
{
    size_t kept = feed->form ? sizeof(feed->form->delimiter) : 0, used = feed->piece_size + kept;
    return feed->piece_capacity > used ? feed->piece_capacity - used : 0;
}

/* False: the piece is full, and stays so. */
static bool piece_has_room(struct feed *feed)
{
    struct http_loop *loop = feed->options.loop;
    size_t capacity = feed->piece_capacity, larger = capacity == 0 ? FEED_PIECE_FIRST : capacity * 4;
    if (piece_room(feed) > 0)
        return true;
    if (larger > FEED_PIECE_MAX ||
        (capacity > 0 && loop->piece_bytes + (larger - capacity) > FEED_PIECES_MAX))
        return false;
    char *piece = realloc(feed->piece, larger);
    if (!piece)
        return false;
    if (capacity > 0)
        loop->piece_bytes += larger - capacity;
    feed->piece = piece;
    feed->piece_capacity = larger;
    return true;
}

static void take_content(struct feed *feed, struct http_text content)
{
    memcpy(feed->piece + feed->piece_size, content.bytes, content.size);
    feed->piece_size += content.size;
    feed->content += (int64_t)content.size;
    if (feed->digest)
        digest_update(feed->digest, content.bytes, content.size);
    if (feed->hash)
        content_hash_update(feed->hash, content.bytes, content.size);
}

/* RUN is part of the form. */
static bool take_form(struct feed *feed, struct http_text run)
{
    while (run.size > 0 && !feed->form_over) {
        struct http_text content;
        switch (multipart_next(feed->form, &run, &content)) {
        case MULTIPART_CONTENT:
            take_content(feed, content);
            break;
        case MULTIPART_MORE:
        case MULTIPART_PART_END:
            break;
        case MULTIPART_END:
            feed->form_over = true;
            break;
        case MULTIPART_PART:
            return feed_complain(feed, ERROR_MALFORMED, "the file must be the last part of the form");
        case MULTIPART_BROKEN:
            return feed_complain(feed, ERROR_MALFORMED, "the form is malformed");
        }
    }
    feed->epilogue += run.size;
    if (feed->epilogue > EPILOGUE_MAX)
        return feed_complain(feed, ERROR_MALFORMED, "more than 64 KiB follow the end of the form");
    return true;
}

/* RAW is part of the body and no longer than the room of the piece. */
static bool take_raw(struct feed *feed, const char *raw, size_t size)
{
    while (size > 0) {
        struct http_text content;
        size_t used;
        enum http_body_state state = http_body_content(&feed->body, raw, size, &used, &content);
        if (state == HTTP_BODY_BROKEN) {
            feed->broken = true;
            return feed_complain(feed, ERROR_MALFORMED, "the chunks of the request's body are malformed");
        }
        if (feed->form && !take_form(feed, content))
            return false;
        if (!feed->form)
            take_content(feed, content);
        raw += used;
        size -= used;
    }
    if (feed->options.size_max > 0 && feed->content > feed->options.size_max)
        return feed_complain(feed, ERROR_RANGE, "the file is larger than this server takes");
    return true;
}

/* The content is whole. */
static bool content_is_right(struct feed *feed)
{
    feed->ended = true;
    if (feed->form && !feed->form_over)
        return feed_complain(feed, ERROR_MALFORMED, "the form ends inside its last part");
    if (!feed->hash || content_hash_is(feed->hash, feed->expected))
        return true;
    return feed_complain(feed, ERROR_DIGEST, "the content does not match the stated digest");
}

/* Reads until the piece is to be sent. False: not yet, or the feed has come to its end. */
static bool gather(struct feed *feed)
{
    struct http_buffers *buffers = &feed->options.loop->buffers;
    char *block = http_buffers_take(buffers, HTTP_BUFFER_COPY);
    bool fine = block != NULL;
    int64_t got = 1;
    if (!block)
        feed_no_memory(feed);
    while (fine && got > 0 && http_body_least(&feed->body) > 0 && piece_has_room(feed)) {
        size_t room = min_size(piece_room(feed), HTTP_BUFFER_COPY_SIZE);
        got = fetch(feed, block, room);
        fine = got >= 0 && take_raw(feed, block, (size_t)got);
    }
    http_buffers_give(buffers, HTTP_BUFFER_COPY, block);
    if (!block || (fine && got == 0))
        return false;
    if (fine && feed->piece_capacity == 0 && http_body_least(&feed->body) > 0) {
        feed_no_memory(feed);
        return false;
    }
    if (fine && http_body_least(&feed->body) == 0)
        fine = content_is_right(feed);
    if (!fine)
        feed_fail(feed, &feed->error);
    return fine;
}

/* ---- the commands ---- */

static int64_t piece_source(void *argument, uint8_t *buffer, size_t size)
{
    struct feed *feed = argument;
    size_t taken = min_size(size, feed->piece_size - feed->piece_sent);
    memcpy(buffer, feed->piece + feed->piece_sent, taken);
    feed->piece_sent += taken;
    return (int64_t)taken;
}

static bool piece_rewind(void *argument)
{
    ((struct feed *)argument)->piece_sent = 0;
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
    feed->put.size = (int64_t)feed->piece_size;
    feed->piece_sent = 0;
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
        digest_final(feed->digest, feed->stored.reply.digest);
        feed->status = SINK_STORED;
    }
    feed_wake(feed);
}

static void start_finish(struct feed *feed)
{
    struct proto_finish finish = {.partial = feed->append.partial, .has_digest = true};
    digest_final(feed->digest, finish.digest);
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
    size_t counted = (size_t)(state->offset - feed->append.offset);
    memmove(feed->piece, feed->piece + counted, feed->piece_size - counted);
    feed->piece_size -= counted;
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
    } else if (state->offset < from || state->offset - from > (int64_t)feed->piece_size) {
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
        feed->piece_size = 0;
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
    options.append.size = (int64_t)feed->piece_size;
    if (feed->piece_size > 0)
        options.source = piece_source;
    feed->piece_sent = 0;
    feed_set_operation(feed, FEED_APPENDS, client_append(feed->options.loop->client, &options));
}

/* ---- APPEND of a content of known size ---- */

/* The digest behind the content: a wrong one where the content is not what was stated, so that nothing of it counts. */
static int64_t stream_tail(struct feed *feed, uint8_t *buffer, size_t size)
{
    if (!feed->tail_made) {
        digest_final(feed->digest, feed->tail);
        if (!content_is_right(feed))
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
    if (feed->body.left == 0)
        return stream_tail(feed, buffer, size);
    int64_t got = fetch(feed, buffer, size);
    if (got <= 0)
        return got;
    feed->body.left -= got;
    feed->body.total += got;
    if (feed->hash) {
        content_hash_update(feed->hash, buffer, (size_t)got);
        digest_update(feed->digest, buffer, (size_t)got);
    }
    return got;
}

static void start_stream(struct feed *feed)
{
    struct client_append_options options = {
        .append = feed->append, .callback = on_feed_appended, .argument = feed};
    options.append.size = feed->body.left;
    options.append.digest_follows = feed->hash != NULL;
    if (options.append.size > 0 || feed->hash)
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
    bool resent = feed->tries > 0 && feed->piece_size > 0; /* the rest of a piece whose server broke off */
    if (!resent && !feed->ended) {
        feed_want(feed);
        if (!gather(feed))
            return;
    }
    if (feed->is_file && !feed->begun && feed->ended)
        start_store(feed);
    else if (feed->is_file && !feed->begun)
        start_begin(feed);
    else if (feed->piece_size > 0)
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
    else if (feed->streams && feed->waiting)
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
    feed->body = *options->body;
    feed->step = FEED_GATHERS;
    feed->is_file = options->put != NULL;
    feed->begun = !feed->is_file;
    metric_add(options->loop->metrics->uploads, 1);
    bool fine = true;
    if (options->hash) {
        feed->hash = content_hash_create(options->hash_kind);
        fine = feed->hash != NULL;
        memcpy(feed->expected, options->hash, content_hash_size(options->hash_kind));
    }
    if (options->hash || options->put) {
        feed->digest = digest_create();
        fine = fine && feed->digest;
    }
    if (options->form) {
        feed->form = malloc(sizeof(*feed->form));
        fine = fine && feed->form;
        if (feed->form)
            *feed->form = *options->form;
    }
    if (options->put) {
        feed->put = *options->put;
        feed->append.total = -1;
    } else {
        feed->append = *options->append;
        feed->state.offset = feed->append.offset;
        feed->state.size = feed->append.total;
        feed->streams = feed->body.kind != HTTP_BODY_CHUNKED;
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
    piece_give(feed);
    free(feed->form);
    digest_destroy(feed->digest);
    content_hash_destroy(feed->hash);
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
    return feed->complaint;
}

int64_t feed_content(const struct feed *feed)
{
    return feed->streams ? feed->body.total : feed->content;
}

const struct http_body *feed_body(const struct feed *feed)
{
    return feed->broken ? NULL : &feed->body;
}

size_t feed_memory_taken(const struct feed *feed)
{
    return feed->memory_taken;
}

int64_t feed_received(const struct feed *feed)
{
    return feed->received;
}

int64_t feed_still_ms(const struct feed *feed)
{
    return feed->waiting ? clock_coarse_ms() - feed->waiting_since_ms : 0;
}

int64_t feed_waited_ms(const struct feed *feed)
{
    return feed->waited_ms + feed_still_ms(feed);
}
