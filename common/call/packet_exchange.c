#include "common/call/packet_exchange.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK_SIZE      (64 * 1024) /* of a streamed request body */
#define COLLECT_FIRST   (16 * 1024) /* the first memory for a collected body, whatever length was promised */
#define STEPS_PER_EVENT 8           /* reads or writes before other connections get their turn */

static void call_answered(struct packet_call *call);

/* ---- sending ---- */

static int64_t source_left(const struct packet_call *call)
{
    return call->options.source != NULL ? call->options.source_size - call->source_taken : 0;
}

/* 1: all of it went out; 0: the socket is full; -1: it is broken (errno). */
static int send_some(struct packet_call *call, const uint8_t *bytes, size_t size, size_t *sent, bool more)
{
    while (*sent < size) {
        ssize_t now =
            send(call->connection->fd, bytes + *sent, size - *sent, MSG_NOSIGNAL | (more ? MSG_MORE : 0));

        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        *sent += (size_t)now;
        packet_call_progress(call);
    }
    return 1;
}

static void call_sent(struct packet_call *call)
{
    packet_call_set_state(call, CALL_HEADER);
    packet_call_watch(call, &call->connection->write, false);
    packet_call_arm(call);
}

/* A peer that refuses a body may reply and close before all of it was sent: what it said is still in the
 * socket. */
static void call_send_broken(struct packet_call *call, int errnum)
{
    log_debug("packet", "%s: sending: %s", call->endpoint->text, strerror(errnum));
    packet_call_watch(call, &call->connection->write, false);
    packet_exchange_event(call, EV_READ);
}

/* The next chunk of the source. False: there is none now, or the call has ended. */
static bool call_fill_chunk(struct packet_call *call)
{
    size_t want = (size_t)min_i64(source_left(call), CHUNK_SIZE);
    int64_t got;

    if (call->chunk == NULL)
        call->chunk = malloc(CHUNK_SIZE);
    if (call->chunk == NULL) {
        packet_call_fail(call, ERROR_UNAVAILABLE, "no memory to send the content");
        return false;
    }
    call->source_resumed = false;
    packet_call_hold(call);
    got = call->options.source(call->options.argument, call->chunk, want);
    if (!packet_call_unhold(call))
        return false;
    if (got == 0 && call->source_resumed)
        return false; /* the event is still watched: it comes again */
    if (got == 0) {
        call->source_paused = true;
        packet_call_watch(call, &call->connection->write, false);
        return false;
    }
    if (got < 0 || got > (int64_t)want) {
        packet_call_fail(call, ERROR_CANCELLED, "the source of the content gave up after %lld of %lld bytes",
                         (long long)call->source_taken, (long long)call->options.source_size);
        return false;
    }
    call->source_taken += got;
    call->chunk_size = (size_t)got;
    call->chunk_sent = 0;
    packet_call_progress(call);
    return true;
}

static void call_writable(struct packet_call *call)
{
    int result;

    for (int step = 0; step < STEPS_PER_EVENT; step++) {
        if (call->head_sent < call->head_size) {
            result = send_some(call, call->head, call->head_size, &call->head_sent, source_left(call) > 0);
        } else {
            if (call->chunk_sent == call->chunk_size) {
                if (source_left(call) == 0) {
                    call_sent(call);
                    return;
                }
                if (!call_fill_chunk(call))
                    return;
            }
            result = send_some(call, call->chunk, call->chunk_size, &call->chunk_sent, source_left(call) > 0);
        }
        if (result < 0) {
            call_send_broken(call, errno);
            return;
        }
        if (result == 0)
            break;
    }
    packet_call_arm(call);
}

/* From where no callback may be called: sends what needs none, and leaves the rest, errors too, to the
 * events. */
void packet_exchange_begin(struct packet_call *call)
{
    packet_call_set_state(call, CALL_SENDING);
    call->head_sent = 0;
    call->source_paused = false;
    packet_call_progress(call);
    packet_call_watch(call, &call->connection->read, true);
    if (source_left(call) == 0 &&
        send_some(call, call->head, call->head_size, &call->head_sent, false) == 1) {
        call_sent(call);
        return;
    }
    packet_call_watch(call, &call->connection->write, true);
    packet_call_arm(call);
}

/* ---- the reply ---- */

static bool call_all_sent(const struct packet_call *call)
{
    return call->head_sent == call->head_size && source_left(call) == 0 &&
           call->chunk_sent == call->chunk_size;
}

/* The connection broke (ERRNUM 0: was closed) before a usable reply. */
static void call_reply_broken(struct packet_call *call, int errnum)
{
    bool silent = call->connection->used == 0;

    if (silent && call->connection->reused && call->source_taken == 0 && !call->fresh) {
        /* The peer closed it while it was kept, which says nothing about the peer now. */
        packet_call_retry_fresh(call);
        return;
    }
    packet_call_connection_failed(call, ERROR_CONNECTION, "%s %s",
                                  errnum != 0 ? strerror(errnum) : "the connection was closed",
                                  silent ? "before a reply" : "inside the reply");
}

static void call_failure_complete(struct packet_call *call)
{
    struct pool_connection *connection = call->connection;
    size_t whole = PROTO_HEADER_SIZE + (size_t)call->header.length;
    struct error error;
    bool again;

    proto_error_unpack(connection->buffer + PROTO_HEADER_SIZE,
                       min_size(connection->used, whole) - PROTO_HEADER_SIZE, &error);
    if (error.text[0] == '\0')
        (void)error_set(&error, error.code, "refused (%s) without a text", error_code_name(error.code));
    again = error.code == ERROR_UNAVAILABLE;
    connection->after_failure = true;
    packet_call_drop_connection(call, connection->used == whole && call_all_sent(call));
    if (call->options.again != NULL) {
        packet_call_hold(call);
        again = call->options.again(call->options.argument, &error);
        if (!packet_call_unhold(call))
            return;
    }
    if (again) {
        packet_call_attempt_failed(call, error.code, true, error.text);
        return;
    }
    packet_call_report(call, error.code, true, error.text);
    packet_call_end_report(call);
}

/* A header, or more of a failure's body, is in the buffer. */
static void call_parse(struct packet_call *call)
{
    struct pool_connection *connection = call->connection;
    struct error error;

    if (call->state != CALL_FAILURE) {
        if (connection->used < PROTO_HEADER_SIZE)
            return;
        if (!proto_header_unpack(connection->buffer, &call->header, &error)) {
            pool_endpoint_penalise(call->endpoint);
            packet_call_fail(call, ERROR_MALFORMED, "not a reply of this protocol: %s", error.text);
            return;
        }
        if (call->header.status == PROTO_STATUS_OK) {
            call_answered(call);
            return;
        }
        if (call->header.length > POOL_FAILURE_MAX) {
            pool_endpoint_penalise(call->endpoint);
            packet_call_fail(call, ERROR_MALFORMED,
                             "not a reply of this protocol: a failure's text of %lld bytes",
                             (long long)call->header.length);
            return;
        }
        packet_call_set_state(call, CALL_FAILURE);
        packet_call_watch(call, &connection->write, false);
    }
    if (connection->used >= PROTO_HEADER_SIZE + (size_t)call->header.length)
        call_failure_complete(call);
    else
        packet_call_arm(call);
}

static void call_read_header(struct packet_call *call)
{
    struct pool_connection *connection = call->connection;
    ssize_t got;

    if (!pool_connection_take_buffer(connection)) {
        packet_call_fail(call, ERROR_UNAVAILABLE, "no memory for a reply");
        return;
    }
    do {
        got = recv(connection->fd, connection->buffer + connection->used, POOL_BUFFER_SIZE - connection->used,
                   0);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (got <= 0) {
        if (call->state == CALL_FAILURE)
            call_failure_complete(call); /* with as much of its text as came */
        else
            call_reply_broken(call, got < 0 ? errno : 0);
        return;
    }
    connection->used += (size_t)got;
    packet_call_progress(call);
    call_parse(call);
}

/* ---- a success reply's body ---- */

size_t packet_exchange_buffered(const struct packet_call *call)
{
    return (size_t)min_i64((int64_t)(call->connection->used - PROTO_HEADER_SIZE), call->header.length);
}

/* Whether the connection can be used again once the body was read: nothing is left to send, nothing came too
 * much. */
bool packet_exchange_in_step(const struct packet_call *call)
{
    return call_all_sent(call) &&
           (int64_t)(call->connection->used - PROTO_HEADER_SIZE) <= call->header.length;
}

static void call_succeed(struct packet_call *call)
{
    static const uint8_t nothing[1] = {0};
    bool collected = call->state == CALL_COLLECTING;

    packet_call_end(call, packet_exchange_in_step(call),
                    collected && call->body != NULL ? call->body : nothing,
                    collected ? (size_t)call->body_used : 0, NULL);
}

/* Room for at least one more byte of the body. */
static bool call_grow_body(struct packet_call *call)
{
    size_t length = (size_t)call->header.length, capacity;
    uint8_t *body;

    if ((size_t)call->body_used < call->body_capacity)
        return true;
    capacity = min_size(length, call->body_capacity == 0 ? COLLECT_FIRST : 2 * call->body_capacity);
    body = realloc(call->body, capacity);
    if (body == NULL)
        return false;
    call->body = body;
    call->body_capacity = capacity;
    return true;
}

/* Gives bytes to the sink. False: the call ended, or the sink wants a pause. */
static bool call_feed_sink(struct packet_call *call, const uint8_t *bytes, size_t size)
{
    bool go_on;

    call->body_used += (int64_t)size;
    call->sink_resumed = false;
    packet_call_hold(call);
    go_on = call->options.sink(call->options.argument, bytes, size);
    if (!packet_call_unhold(call))
        return false;
    if (go_on || call->sink_resumed)
        return true;
    call->sink_paused = true;
    packet_call_watch(call, &call->connection->read, false);
    return false;
}

/* One read of the body. False: nothing is there, the sink wants a pause, or the call ended. */
static bool call_read_body(struct packet_call *call)
{
    bool collect = call->state == CALL_COLLECTING;
    int64_t left = call->header.length - call->body_used;
    uint8_t *into = call->pool->scratch;
    size_t room = POOL_SCRATCH_SIZE;
    ssize_t got;

    if (collect) {
        if (!call_grow_body(call)) {
            packet_call_fail(call, ERROR_UNAVAILABLE, "no memory for a reply of %lld bytes",
                             (long long)call->header.length);
            return false;
        }
        into = call->body + call->body_used;
        room = call->body_capacity - (size_t)call->body_used;
    }
    got = recv(call->connection->fd, into, (size_t)min_i64((int64_t)room, left), 0);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (got <= 0) {
        const char *why = got < 0 ? strerror(errno) : "the connection was closed";

        if (collect) /* nobody has seen any of it: another address may answer in full */
            packet_call_connection_failed(call, ERROR_CONNECTION, "%s after %lld of %lld bytes of the reply",
                                          why, (long long)call->body_used, (long long)call->header.length);
        else
            packet_call_fail(call, ERROR_CONNECTION, "%s after %lld of %lld bytes of the reply", why,
                             (long long)call->body_used, (long long)call->header.length);
        return false;
    }
    packet_call_progress(call);
    if (!collect)
        return call_feed_sink(call, into, (size_t)got);
    call->body_used += got;
    return true;
}

static void call_collect_or_stream(struct packet_call *call)
{
    /* With no end after so many steps the event stays watched and comes again. */
    for (int step = 0; step < STEPS_PER_EVENT && call->body_used < call->header.length; step++)
        if (!call_read_body(call))
            return;
    if (call->body_used == call->header.length)
        call_succeed(call);
}

static void call_take(struct packet_call *call)
{
    packet_call_set_state(call, CALL_TAKEN);
    event_del(&call->timer);
    /* Where nothing is left to read the event can stay for the next call. */
    if ((int64_t)packet_exchange_buffered(call) < call->header.length)
        event_del(&call->connection->read);
    event_del(&call->connection->write);
    packet_call_hold(call);
    call->options.taken(call->options.argument, call);
    (void)packet_call_unhold(call);
}

static void call_answered(struct packet_call *call)
{
    enum packet_verdict verdict = PACKET_COLLECT;
    size_t buffered = packet_exchange_buffered(call);

    pool_endpoint_praise(call->endpoint);
    call->connection->after_failure = false;
    packet_call_watch(call, &call->connection->write, false);
    if (call->options.header != NULL) {
        packet_call_hold(call);
        verdict = call->options.header(call->options.argument, call->header.length);
        if (!packet_call_unhold(call))
            return;
    }
    call->body_used = 0;
    if (verdict == PACKET_TAKE) {
        call_take(call);
        return;
    }
    if (verdict == PACKET_STREAM) {
        packet_call_set_state(call, CALL_STREAMING);
        if (buffered > 0 && !call_feed_sink(call, call->connection->buffer + PROTO_HEADER_SIZE, buffered))
            return;
    } else {
        packet_call_set_state(call, CALL_COLLECTING);
        if (call->header.length > (int64_t)call->options.reply_max) {
            packet_call_fail(call, ERROR_MALFORMED, "a reply of %lld bytes, where at most %zu can be right",
                             (long long)call->header.length, call->options.reply_max);
            return;
        }
        while ((size_t)call->body_used < buffered) {
            size_t now;

            if (!call_grow_body(call)) {
                packet_call_fail(call, ERROR_UNAVAILABLE, "no memory for a reply of %lld bytes",
                                 (long long)call->header.length);
                return;
            }
            now = min_size(call->body_capacity, buffered) - (size_t)call->body_used;
            memcpy(call->body + call->body_used,
                   call->connection->buffer + PROTO_HEADER_SIZE + (size_t)call->body_used, now);
            call->body_used += (int64_t)now;
        }
    }
    pool_connection_give_buffer(call->connection);
    packet_call_arm(call);
    if (call->body_used == call->header.length)
        call_succeed(call);
}

/* ---- events ---- */

void packet_exchange_event(void *owner, short what)
{
    struct packet_call *call = owner;

    switch (call->state) {
    case CALL_SENDING:
        if (what & EV_WRITE)
            call_writable(call);
        else
            call_read_header(call);
        return;
    case CALL_HEADER:
    case CALL_FAILURE:
        if (what & EV_READ)
            call_read_header(call);
        return;
    case CALL_COLLECTING:
    case CALL_STREAMING:
        if (what & EV_READ)
            call_collect_or_stream(call);
        return;
    case CALL_TAKEN: /* the peer closes it, or sends too much: seen again when the connection becomes idle */
        event_del(&call->connection->read);
        return;
    case CALL_WAITING:
    case CALL_CONNECTING:
    case CALL_ENDED:
        break;
    }
    ASSERT(false); /* an event for a call that has no connection */
}
