/*
 * exchange_reply: a reply from its header to its end: a failure with its text, a success that is collected, or one whose socket
 * the user takes.
 */
#include "common/call/exchange_reply.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define FAILURE_MAX 4096 /* bytes of a failure reply's body */

/* ---- the reply's header ---- */

/* The socket broke (ERRNUM 0: was closed) before a whole header. */
static void reply_broken(struct packet_exchange *exchange, int errnum)
{
    bool silent = exchange->socket->used == 0;
    bool stale = silent && exchange->options.kept && exchange->out.taken == 0;

    exchange_fail(exchange, stale ? EXCHANGE_STALE : EXCHANGE_BROKEN, ERROR_CONNECTION, "%s %s",
                  errnum != 0 ? strerror(errnum) : "the connection was closed",
                  silent ? "before a reply" : "inside the reply");
}

/* A failure reply came, or as much of its text as the peer sent before it closed. */
static void failure_complete(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;
    size_t whole = PROTO_HEADER_SIZE + (size_t)exchange->header.length;
    struct packet_exchange_end end = {.outcome = EXCHANGE_REFUSED};

    proto_error_unpack(socket->buffer + PROTO_HEADER_SIZE, min_size(socket->used, whole) - PROTO_HEADER_SIZE,
                       &end.error);
    if (end.error.text[0] == '\0')
        (void)error_set(&end.error, end.error.code, "refused (%s) without a text",
                        error_code_name(end.error.code));
    end.reusable = socket->used == whole && packet_outgoing_is_sent(&exchange->out);
    exchange_end(exchange, &end);
}

static void success_began(struct packet_exchange *exchange);
static void parse_reply(struct packet_exchange *exchange);

/* The peer is ready for the content: what follows in the buffer is the reply. */
static void content_wanted(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;

    if (exchange->header.length != 0) {
        exchange_fail(exchange, EXCHANGE_WRONG, ERROR_MALFORMED,
                      "it was asked whether it is ready, and answered with %lld bytes",
                      (long long)exchange->header.length);
        return;
    }
    exchange->out.asking = false;
    socket->used -= PROTO_HEADER_SIZE;
    memmove(socket->buffer, socket->buffer + PROTO_HEADER_SIZE, socket->used);
    if (socket->used == 0)
        packet_socket_give_buffer(socket);
    if (exchange->state == EXCHANGE_SENDING)
        exchange_send_soon(exchange);
    parse_reply(exchange);
}

/* A header, or more of a failure's body, is in the buffer. */
static void parse_reply(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;
    struct error error;

    if (exchange->state != EXCHANGE_FAILURE) {
        if (socket->used < PROTO_HEADER_SIZE)
            return;
        if (!proto_header_unpack(socket->buffer, &exchange->header, &error)) {
            exchange_fail(exchange, EXCHANGE_WRONG, ERROR_MALFORMED, "not a reply of this protocol: %s",
                          error.text);
            return;
        }
        if (exchange->header.status == PROTO_STATUS_OK && exchange->out.asking) {
            content_wanted(exchange);
            return;
        }
        if (exchange->header.status == PROTO_STATUS_OK) {
            success_began(exchange);
            return;
        }
        if (exchange->header.length > FAILURE_MAX) {
            exchange_fail(exchange, EXCHANGE_WRONG, ERROR_MALFORMED,
                          "not a reply of this protocol: is the port that of another service?");
            return;
        }
        exchange->state = EXCHANGE_FAILURE;
        exchange_watch(&socket->write, false);
    }
    if (socket->used >= PROTO_HEADER_SIZE + (size_t)exchange->header.length)
        failure_complete(exchange);
    else
        exchange_arm(exchange);
}

void exchange_read_header(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;
    ssize_t got;

    if (!packet_socket_take_buffer(socket)) {
        exchange_fail(exchange, EXCHANGE_GAVE_UP, ERROR_UNAVAILABLE, "no memory for a reply");
        return;
    }
    do {
        got = packet_socket_recv(socket, socket->buffer + socket->used, PACKET_SOCKET_BUFFER - socket->used);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (got <= 0) {
        if (exchange->state == EXCHANGE_FAILURE)
            failure_complete(exchange);
        else
            reply_broken(exchange, got < 0 ? errno : 0);
        return;
    }
    socket->used += (size_t)got;
    exchange_progress(exchange);
    parse_reply(exchange);
}

/* ---- a success reply's body ---- */

static void collected(struct packet_exchange *exchange)
{
    static const uint8_t nothing[1] = {0};
    struct packet_exchange_end end = {
        .outcome = EXCHANGE_ANSWERED,
        .body = exchange->body.bytes ? exchange->body.bytes : nothing,
        .size = exchange->body.used,
        .reusable = exchange_in_step(exchange),
    };

    exchange_end(exchange, &end);
}

static void no_memory_for_reply(struct packet_exchange *exchange)
{
    exchange_fail(exchange, EXCHANGE_GAVE_UP, ERROR_UNAVAILABLE, "no memory for a reply of %lld bytes",
                  (long long)exchange->header.length);
}

/* One read of the body. False: nothing is there, or the exchange has ended. */
static bool read_body(struct packet_exchange *exchange)
{
    enum reply_body_read got = reply_body_recv(&exchange->body, exchange->socket);

    switch (got) {
    case REPLY_BODY_READ:
        exchange_progress(exchange);
        return true;
    case REPLY_BODY_NONE:
        break;
    case REPLY_BODY_NO_MEMORY:
        no_memory_for_reply(exchange);
        break;
    case REPLY_BODY_ENDED:
    case REPLY_BODY_BROKEN: /* nobody has seen any of it: another peer may answer in full */
        exchange_fail(exchange, EXCHANGE_BROKEN, ERROR_CONNECTION, "%s after %zu of %lld bytes of the reply",
                      got == REPLY_BODY_BROKEN ? strerror(errno) : "the connection was closed",
                      exchange->body.used, (long long)exchange->header.length);
        break;
    }
    return false;
}

void exchange_collect(struct packet_exchange *exchange)
{
    /* With no end after so many steps the event stays watched and comes again. */
    for (int step = 0; step < EXCHANGE_STEPS && (int64_t)exchange->body.used < exchange->header.length;
         step++)
        if (!read_body(exchange))
            return;
    if ((int64_t)exchange->body.used == exchange->header.length)
        collected(exchange);
}

static void begin_collecting(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;
    size_t buffered = exchange_buffered(exchange);

    exchange->state = EXCHANGE_COLLECTING;
    if (exchange->header.length > (int64_t)exchange->options.reply_max) {
        exchange_fail(exchange, EXCHANGE_WRONG, ERROR_MALFORMED,
                      "a reply of %lld bytes, where at most %zu are valid",
                      (long long)exchange->header.length, exchange->options.reply_max);
        return;
    }
    exchange->body.length = (size_t)exchange->header.length;
    if (!reply_body_append(&exchange->body, socket->buffer + PROTO_HEADER_SIZE, buffered)) {
        no_memory_for_reply(exchange);
        return;
    }
    packet_socket_give_buffer(socket);
    exchange_arm(exchange);
    if ((int64_t)exchange->body.used == exchange->header.length)
        collected(exchange);
}

/* The socket is the caller's from here on. */
static void exchange_hand_over(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;

    exchange->state = EXCHANGE_TAKEN;
    if (exchange->armed_ms != 0)
        (void)event_del(&exchange->timer);
    exchange->armed_ms = 0;
    /* Where nothing is left to read the event can stay for the next request. */
    if ((int64_t)exchange_buffered(exchange) < exchange->header.length)
        (void)event_del(&socket->read);
    (void)event_del(&socket->write);
    exchange_hold(exchange);
    exchange->options.taken(exchange->options.argument);
    (void)exchange_unhold(exchange);
}

static void success_began(struct packet_exchange *exchange)
{
    enum packet_verdict verdict = PACKET_COLLECT;

    exchange_watch(&exchange->socket->write, false);
    if (exchange->options.header) {
        exchange_hold(exchange);
        verdict = exchange->options.header(exchange->options.argument, exchange->header.length);
        if (!exchange_unhold(exchange))
            return;
    }
    if (verdict == PACKET_TAKE)
        exchange_hand_over(exchange);
    else
        begin_collecting(exchange);
}
