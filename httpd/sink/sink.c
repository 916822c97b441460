/*
 * sink: an upload of the client core whose content is put into the storage server's socket here (sink_pass). One thing lies between
 * the two sockets at a time: a piece of memory, or what is in the pipe.
 */
#include "httpd/sink/sink.h"

#include "common/auth/content_hash.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 4 /* over all servers and trackers, as long as nothing of the content is lost */

struct sink {
    struct http_loop *loop;
    struct sink_options options;        /* put, form and sha256 are not used after the start */
    struct client_operation *operation; /* NULL: over */
    enum sink_status status;
    struct client_stored stored;
    struct error error;
    const char *complaint;
    bool gone;   /* the client is */
    bool wanted; /* wanted() was called */

    int64_t
        content_left; /* bytes that are to go to the storage server and are not in PIECE, LAST or the pipe yet */
    int64_t socket_left; /* bytes of the body that are not read from the socket yet */
    size_t memory_taken; /* of options.memory */

    struct http_text piece; /* goes out next */
    struct http_pipe *pipe;
    size_t piped;
    char *block;
    bool copying; /* splice cannot be used */

    struct multipart *form;
    struct http_text raw; /* of MEMORY or BLOCK, that the form has not looked at */
    bool ended;           /* the form's end has come */
    bool has_last;        /* the content's last byte is kept back until the form's end has come */
    char last;

    struct content_hash *hash;
    uint8_t sha256[CONTENT_HASH_SIZE_MAX];

    bool waiting; /* for the client */
    int64_t waiting_since_ms, waited_ms;
};

/* ---- time ---- */

static void wait_for_client(struct sink *sink)
{
    if (!sink->waiting)
        sink->waiting_since_ms = clock_coarse_ms();
    sink->waiting = true;
}

static void sink_note_received(struct sink *sink, size_t size)
{
    int64_t now = clock_coarse_ms();
    if (sink->waiting)
        sink->waited_ms += now - sink->waiting_since_ms;
    sink->waiting = false;
    sink->socket_left -= (int64_t)size;
    metric_add(sink->loop->metrics->received, (int64_t)size);
}

int64_t sink_still_ms(const struct sink *sink)
{
    return sink->waiting ? clock_coarse_ms() - sink->waiting_since_ms : 0;
}

int64_t sink_waited_ms(const struct sink *sink)
{
    return sink->waited_ms + sink_still_ms(sink);
}

/* ---- what is between the sockets ---- */

static void drop_holders(struct sink *sink)
{
    http_pipes_give(&sink->loop->pipes, sink->pipe, sink->piped == 0);
    sink->pipe = NULL;
    sink->piped = 0;
    http_buffers_give(&sink->loop->buffers, HTTP_BUFFER_COPY, sink->block);
    sink->block = NULL;
}

enum fetched { FETCHED, FETCHED_NOTHING, FETCHED_FAILED };

static enum fetched sink_fail(struct sink *sink, int code, const char *text)
{
    (void)error_set(&sink->error, code, "%s", text);
    sink->complaint = text;
    return FETCHED_FAILED;
}

static enum fetched client_is_gone(struct sink *sink)
{
    sink->gone = true;
    return sink_fail(sink, ERROR_CONNECTION, "the client disconnected within its content");
}

/* GOT of a read from the client's socket that was no success. */
static enum fetched nothing_came(struct sink *sink, ssize_t got)
{
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        drop_holders(sink);
        wait_for_client(sink);
        return FETCHED_NOTHING;
    }
    return client_is_gone(sink);
}

/* Up to SIZE bytes of the body into memory: RAW gets them. */
static enum fetched fetch_raw(struct sink *sink, int64_t size, struct http_text *raw)
{
    size_t in_memory = sink->options.memory_size - sink->memory_taken;
    if (in_memory > 0) {
        size_t taken = (size_t)min_i64(size, (int64_t)in_memory);
        *raw = (struct http_text){sink->options.memory + sink->memory_taken, taken};
        sink->memory_taken += taken;
        return FETCHED;
    }
    if (!sink->block && !(sink->block = http_buffers_take(&sink->loop->buffers, HTTP_BUFFER_COPY)))
        return sink_fail(sink, ERROR_UNAVAILABLE, "no memory for the content");
    size_t wanted = (size_t)min_i64(min_i64(size, sink->socket_left), (int64_t)HTTP_BUFFER_COPY_SIZE);
    ssize_t got;
    do {
        got = transport_recv(sink->options.from, sink->block, wanted, 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0)
        return nothing_came(sink, got);
    sink_note_received(sink, (size_t)got);
    metric_add(sink->loop->metrics->received_copied, got);
    *raw = (struct http_text){sink->block, (size_t)got};
    return FETCHED;
}

static enum fetched fetch_pipe(struct sink *sink)
{
    size_t wanted = (size_t)min_i64(sink->content_left, (int64_t)sink->pipe->capacity);
    ssize_t got;
    do {
        got = splice(sink->options.from.fd, NULL, sink->pipe->write_end, NULL, wanted,
                     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EINVAL || errno == ENOSYS)) {
        sink->copying = true;
        drop_holders(sink);
        return FETCHED;
    }
    if (got <= 0)
        return nothing_came(sink, got);
    sink_note_received(sink, (size_t)got);
    metric_add(sink->loop->metrics->received_spliced, got);
    sink->piped = (size_t)got;
    sink->content_left -= got;
    return FETCHED;
}

/* ---- a form ---- */

#define FORM_ORDER                                                                                           \
    "the file must be the last part of the form, and the form must end with its delimiter and a line end"

/* A piece of the content. Its last byte waits until the form has turned out to end there. */
static enum fetched take_form_piece(struct sink *sink, struct http_text piece)
{
    if ((int64_t)piece.size > sink->content_left)
        return sink_fail(sink, ERROR_MALFORMED, FORM_ORDER);
    sink->content_left -= (int64_t)piece.size;
    if (sink->content_left == 0) {
        sink->last = piece.bytes[--piece.size];
        sink->has_last = true;
    }
    sink->piece = piece;
    return FETCHED;
}

static enum fetched fetch_form(struct sink *sink)
{
    struct http_text content;
    if (sink->raw.size == 0) {
        int64_t left = sink->socket_left + (int64_t)(sink->options.memory_size - sink->memory_taken);
        if (left == 0)
            return sink_fail(sink, ERROR_MALFORMED, "the form ends inside a part");
        enum fetched fetched = fetch_raw(sink, left, &sink->raw);
        if (fetched != FETCHED)
            return fetched;
    }
    switch (multipart_next(sink->form, &sink->raw, &content)) {
    case MULTIPART_CONTENT:
        return take_form_piece(sink, content);
    case MULTIPART_PART_END:
        return sink->has_last ? FETCHED : sink_fail(sink, ERROR_MALFORMED, FORM_ORDER);
    case MULTIPART_MORE:
        return FETCHED;
    case MULTIPART_END:
        sink->ended = true;
        return FETCHED;
    case MULTIPART_PART:
        return sink_fail(sink, ERROR_MALFORMED, FORM_ORDER);
    case MULTIPART_BROKEN:
        break;
    }
    return sink_fail(sink, ERROR_MALFORMED, "the form is malformed");
}

/* The last byte may go: everything behind it has come. */
static bool form_is_over(const struct sink *sink)
{
    return sink->ended && sink->raw.size == 0 && sink_left(sink) == 0;
}

/* ---- the content, piece by piece ---- */

/* A hash that is wrong stops the upload before its last piece goes. */
static bool content_is_right(struct sink *sink)
{
    if (!sink->hash || sink->content_left > 0 || content_hash_is(sink->hash, sink->sha256))
        return true;
    (void)sink_fail(sink, ERROR_DIGEST, "the content does not match the stated SHA-256");
    return false;
}

/* More of the content: into PIECE or the pipe. FETCHED also where it takes another turn. */
static enum fetched fetch(struct sink *sink)
{
    if (sink->form && sink->has_last && form_is_over(sink)) {
        sink->has_last = false;
        sink->piece = (struct http_text){&sink->last, 1};
        return FETCHED;
    }
    if (sink->form)
        return fetch_form(sink);
    bool memory = sink->memory_taken < sink->options.memory_size;
    if (!memory && !sink->copying && !sink->pipe)
        sink->pipe = http_pipes_take(&sink->loop->pipes);
    if (!memory && sink->pipe)
        return fetch_pipe(sink);
    enum fetched fetched = fetch_raw(sink, sink->content_left, &sink->piece);
    if (fetched != FETCHED)
        return fetched;
    sink->content_left -= (int64_t)sink->piece.size;
    if (sink->hash)
        content_hash_update(sink->hash, sink->piece.bytes, sink->piece.size);
    return content_is_right(sink) ? FETCHED : FETCHED_FAILED;
}

/* ---- to the storage server ---- */

static int64_t send_result(ssize_t sent)
{
    if (sent > 0)
        return sent;
    return sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? PACKET_PASS_FULL : PACKET_PASS_BROKEN;
}

/* Sends some of what lies between. LEFT: of the content, as the storage server counts. */
static int64_t send_some(struct sink *sink, struct transport to, int64_t left)
{
    ssize_t sent;
    if (sink->piped > 0) {
        ASSERT(sink->pipe);
        bool more = left > (int64_t)sink->piped && !sink->waiting;
        do {
            sent = transport_splice(to, sink->pipe->read_end, sink->piped,
                                    SPLICE_F_NONBLOCK | SPLICE_F_MOVE | (more ? SPLICE_F_MORE : 0));
        } while (sent < 0 && errno == EINTR);
        if (sent > 0)
            sink->piped -= (size_t)sent;
        return send_result(sent);
    }
    do {
        sent = transport_send(to, sink->piece.bytes, sink->piece.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent > 0) {
        sink->piece.bytes += sent;
        sink->piece.size -= (size_t)sent;
    }
    return send_result(sent);
}

static int64_t sink_pass(void *argument, struct transport to, int64_t left)
{
    struct sink *sink = argument;
    if (!sink->wanted) {
        sink->wanted = true;
        sink->options.wanted(sink->options.argument);
    }
    if (sink->pipe && sink->piped == 0 && !transport_takes_splice(to))
        drop_holders(sink);
    sink->copying = sink->copying || !transport_takes_splice(to);
    while (sink->piped == 0 && sink->piece.size == 0) {
        switch (fetch(sink)) {
        case FETCHED:
            break;
        case FETCHED_NOTHING:
            return PACKET_PASS_NOTHING;
        case FETCHED_FAILED:
            drop_holders(sink);
            return PACKET_PASS_GIVES_UP;
        }
    }
    return send_some(sink, to, left);
}

/* Another server may have all of it again while it is in memory. */
static bool sink_rewind(void *argument)
{
    struct sink *sink = argument;
    if (sink->form || sink->hash || sink_received(sink) > 0 || sink->piped > 0)
        return false;
    sink->memory_taken = 0;
    sink->piece = (struct http_text){NULL, 0};
    sink->content_left = sink->options.body_size;
    return true;
}

/* ---- the end ---- */

static void sink_concluded(void *argument, const struct client_stored *stored, const struct error *error)
{
    struct sink *sink = argument;
    sink->operation = NULL;
    drop_holders(sink);
    if (!error) {
        sink->stored = *stored;
        sink->status = SINK_STORED;
    } else {
        if (!sink->complaint)
            sink->error = *error;
        sink->status = sink->gone ? SINK_GONE : SINK_FAILED;
    }
    sink->options.wake(sink->options.argument);
}

enum sink_status sink_status(const struct sink *sink)
{
    return sink->status;
}

const struct client_stored *sink_stored(const struct sink *sink)
{
    return &sink->stored;
}

const struct error *sink_error(const struct sink *sink)
{
    return &sink->error;
}

const char *sink_complaint(const struct sink *sink)
{
    return sink->complaint;
}

int64_t sink_left(const struct sink *sink)
{
    return sink->socket_left + (int64_t)(sink->options.memory_size - sink->memory_taken);
}

int64_t sink_received(const struct sink *sink)
{
    return sink->options.body_size - (int64_t)sink->options.memory_size - sink->socket_left;
}

void sink_readable(struct sink *sink)
{
    if (sink->waiting && sink->operation)
        client_upload_resume(sink->operation);
}

void sink_close(struct sink *sink)
{
    if (!sink)
        return;
    if (sink->operation)
        client_cancel(sink->operation);
    drop_holders(sink);
    content_hash_destroy(sink->hash);
    free(sink->form);
    metric_add(sink->loop->metrics->uploads, -1);
    free(sink);
}

static bool is_sha256_of(const char *bytes, size_t size, const uint8_t *expected)
{
    struct content_hash *hash = content_hash_create(CONTENT_HASH_SHA256);
    bool is = false;
    if (hash) {
        content_hash_update(hash, bytes, size);
        is = content_hash_is(hash, expected);
    }
    content_hash_destroy(hash);
    return is;
}

struct sink *sink_open(const struct sink_options *options)
{
    struct sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        return NULL;
    sink->loop = options->loop;
    sink->options = *options;
    sink->options.put = NULL;
    sink->options.form = NULL;
    sink->options.sha256 = NULL;
    sink->content_left = options->put->size;
    sink->socket_left = options->body_size - (int64_t)options->memory_size;
    sink->copying = options->form || options->sha256 || !transport_gives_splice(options->from);
    metric_add(sink->loop->metrics->uploads, 1);
    metric_add(sink->loop->metrics->received, (int64_t)options->memory_size);
    metric_add(sink->loop->metrics->received_copied, (int64_t)options->memory_size);
    bool fine = true, at_hand = sink->socket_left == 0 && !options->form;
    if (options->form) {
        sink->form = malloc(sizeof(*sink->form));
        fine = sink->form;
        if (fine)
            *sink->form = *options->form;
    }
    if (options->sha256 &&
        !(at_hand && is_sha256_of(options->memory, options->memory_size, options->sha256))) {
        sink->hash = content_hash_create(CONTENT_HASH_SHA256);
        fine = fine && sink->hash;
        memcpy(sink->sha256, options->sha256, content_hash_size(CONTENT_HASH_SHA256));
    }
    const struct client_upload_options upload = {
        .put = *options->put,
        .pass = sink_pass,
        .rewind = sink_rewind,
        .store = true,
        /* What is in memory can be sent again: no word is needed. */
        .asks = options->form || sink->hash || sink->socket_left > 0,
        .tries = TRIES,
        .stored = sink_concluded,
        .argument = sink,
    };
    if (fine)
        sink->operation = client_upload(sink->loop->client, &upload);
    client_name_request(sink->operation, &options->request);
    if (sink->operation)
        return sink;
    sink_close(sink);
    return NULL;
}
