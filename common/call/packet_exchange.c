/*
 * packet_exchange: the state machine of one request on one socket. A user's callback may cancel its exchange: the
 * memory stays while such a callback is on the stack.
 */
#include "common/call/packet_exchange.h"
#include "common/call/packet_outgoing.h"
#include "common/call/reply_body.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FAILURE_MAX     4096 /* bytes of a failure reply's body */
#define STEPS_PER_EVENT 8    /* reads or writes before other connections get their turn */
#define LOOK_MS         1000 /* how often the peer's silence is looked at while a request is under way */
#define SILENCE_MS      5000 /* unacknowledged for so long: the peer's machine is gone */

enum exchange_state {
    EXCHANGE_SENDING, /* and watching for an early reply */
    EXCHANGE_HEADER,  /* everything is sent */
    EXCHANGE_FAILURE, /* reading a failure reply's body */
    EXCHANGE_COLLECTING,
    EXCHANGE_TAKEN,
    EXCHANGE_ENDED,
};

struct packet_exchange {
    struct packet_exchange_options options;
    struct packet_socket *socket;
    enum exchange_state state;
    unsigned holds; /* callbacks of the user under way */
    struct event timer;
    int64_t armed_ms;    /* when the timer rings; 0: not armed */
    int64_t progress_ms; /* when the last byte moved */
    struct packet_outgoing out;
    struct proto_header header;
    struct reply_body body;
};

static void exchange_event(void *owner, short what);

/* ---- holding and the end ---- */

static void exchange_free(struct packet_exchange *exchange)
{
    packet_outgoing_clear(&exchange->out);
    reply_body_clear(&exchange->body);
    free(exchange);
}

static void exchange_hold(struct packet_exchange *exchange)
{
    exchange->holds++;
}

/* False: it ended, and must not be touched. */
static bool exchange_unhold(struct packet_exchange *exchange)
{
    exchange->holds--;
    if (exchange->state != EXCHANGE_ENDED)
        return true;
    if (exchange->holds == 0)
        exchange_free(exchange);
    return false;
}

static void exchange_stop(struct packet_exchange *exchange)
{
    if (exchange->armed_ms != 0)
        (void)event_del(&exchange->timer);
    exchange->armed_ms = 0;
    exchange->state = EXCHANGE_ENDED;
}

static void exchange_end(struct packet_exchange *exchange, struct packet_exchange_end *end)
{
    end->source_used = exchange->out.taken > 0;
    exchange_hold(exchange);
    exchange_stop(exchange);
    exchange->options.ended(exchange->options.argument, end);
    (void)exchange_unhold(exchange);
}

static void exchange_fail(struct packet_exchange *exchange, enum packet_exchange_outcome outcome, int code,
                          const char *format, ...) PRINTF_LIKE(4, 5);
static void exchange_fail(struct packet_exchange *exchange, enum packet_exchange_outcome outcome, int code,
                          const char *format, ...)
{
    struct packet_exchange_end end = {.outcome = outcome, .error = {.code = code}};
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(end.error.text, sizeof(end.error.text), format, arguments);
    va_end(arguments);
    exchange_end(exchange, &end);
}

/* Nothing is left to send, and nothing came too much. */
static bool in_step(const struct packet_exchange *exchange)
{
    return packet_outgoing_is_sent(&exchange->out) &&
           (int64_t)(exchange->socket->used - PROTO_HEADER_SIZE) <= exchange->header.length;
}

/* ---- time ---- */

/* When the present state has lasted too long; 0: never. */
static int64_t exchange_limit(const struct packet_exchange *exchange)
{
    switch (exchange->state) {
    case EXCHANGE_SENDING:
    case EXCHANGE_HEADER:
        if (exchange->out.paused)
            return 0; /* the caller's own slowness is no fault of the peer, which has a limit of its own */
        if (exchange->out.taken > 0)
            return duration_deadline(exchange->progress_ms, exchange->options.timeout_ms);
        return exchange->options.deadline_ms;
    case EXCHANGE_FAILURE:
    case EXCHANGE_COLLECTING:
        return duration_deadline(exchange->progress_ms, exchange->options.progress_ms);
    case EXCHANGE_TAKEN:
    case EXCHANGE_ENDED:
        break;
    }
    return 0;
}

static bool is_under_way(const struct packet_exchange *exchange)
{
    return exchange->state == EXCHANGE_SENDING || exchange->state == EXCHANGE_HEADER;
}

/* The timer may ring early, never late: it is moved only when the limit comes nearer, and looks again when it rings. */
static void exchange_arm(struct packet_exchange *exchange)
{
    int64_t limit = exchange_limit(exchange), wait;
    struct timeval interval;

    if (limit == 0 || (exchange->armed_ms != 0 && exchange->armed_ms <= limit))
        return;
    wait = max_i64(limit - clock_monotonic_ms(), 0);
    if (wait > LOOK_MS && is_under_way(exchange)) {
        limit -= wait - LOOK_MS;
        wait = LOOK_MS;
    }
    interval = duration_timeval(wait);
    if (event_add(&exchange->timer, &interval) == 0)
        exchange->armed_ms = limit;
    else
        log_error("packet", "cannot arm a timer: a request has no time limit");
}

static void exchange_progress(struct packet_exchange *exchange)
{
    exchange->progress_ms = clock_monotonic_ms();
}

static void exchange_time_is_over(struct packet_exchange *exchange)
{
    switch (exchange->state) {
    case EXCHANGE_SENDING:
        exchange_fail(exchange, EXCHANGE_BROKEN, ERROR_TIMEOUT,
                      exchange->out.asking ? "it did not say in time that it is ready for the content"
                                           : "it accepted no byte of the request in time");
        return;
    case EXCHANGE_HEADER:
        exchange_fail(exchange, EXCHANGE_BROKEN, ERROR_TIMEOUT, "no reply in time");
        return;
    case EXCHANGE_FAILURE:
    case EXCHANGE_COLLECTING:
        exchange_fail(exchange, EXCHANGE_WRONG, ERROR_TIMEOUT, "the reply stopped: no byte in %lld ms",
                      (long long)exchange->options.progress_ms);
        return;
    case EXCHANGE_TAKEN:
    case EXCHANGE_ENDED:
        break;
    }
}

static void exchange_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_exchange *exchange = argument;
    int64_t limit = exchange_limit(exchange);

    (void)fd;
    (void)what;
    exchange->armed_ms = 0;
    if (limit != 0 && clock_monotonic_ms() >= limit)
        exchange_time_is_over(exchange);
    else if (is_under_way(exchange) && packet_socket_is_silent(exchange->socket, SILENCE_MS))
        exchange_fail(exchange, EXCHANGE_BROKEN, ERROR_TIMEOUT,
                      "its machine no longer acknowledges anything");
    else
        exchange_arm(exchange);
}

/* ---- sending ---- */

static void watch(struct packet_exchange *exchange, struct event *event, bool on)
{
    if (!packet_socket_watch(event, on))
        log_error("packet", "cannot watch a socket; its request will end at its time limit");
    (void)exchange;
}

/* The next turn of sending comes in this turn of the loop, without the poller's word: a socket that takes nothing is found then. */
static void exchange_send_soon(struct packet_exchange *exchange)
{
    event_active(&exchange->socket->write, EV_WRITE, 0);
}

static void request_sent(struct packet_exchange *exchange)
{
    exchange->state = EXCHANGE_HEADER;
    watch(exchange, &exchange->socket->write, false);
    exchange_arm(exchange);
}

static void source_gave_up(struct packet_exchange *exchange)
{
    exchange_fail(exchange, EXCHANGE_GAVE_UP, ERROR_CANCELLED,
                  "the source of the content gave up after %lld of %lld bytes",
                  (long long)exchange->out.taken, (long long)exchange->options.source_size);
}

/* False: that was all for now, or the exchange has ended. */
static bool exchange_sends_on(struct packet_exchange *exchange, enum outgoing_step step)
{
    switch (step) {
    case OUTGOING_MORE:
    case OUTGOING_FILLED:
        return true;
    case OUTGOING_FULL:
        watch(exchange, &exchange->socket->write, true);
        exchange_arm(exchange);
        return false;
    case OUTGOING_WAITS:
        watch(exchange, &exchange->socket->write, false);
        exchange_arm(exchange);
        return false;
    case OUTGOING_NOTHING: /* the caller has more in the meantime: after the other connections' turn */
        watch(exchange, &exchange->socket->write, true);
        return false;
    case OUTGOING_SENT:
        request_sent(exchange);
        return false;
    case OUTGOING_BROKEN:
        /* A peer that refuses a body may reply and close before all of it was sent: what it said is still in the
         * socket. */
        watch(exchange, &exchange->socket->write, false);
        exchange_event(exchange, EV_READ);
        return false;
    case OUTGOING_GAVE_UP:
        source_gave_up(exchange);
        return false;
    case OUTGOING_NO_MEMORY:
        exchange_fail(exchange, EXCHANGE_GAVE_UP, ERROR_UNAVAILABLE, "no memory to send the content");
        return false;
    }
    return false;
}

static void exchange_writable(struct packet_exchange *exchange)
{
    int writes = 0;

    while (writes < STEPS_PER_EVENT) {
        exchange_hold(exchange);
        enum outgoing_step step = packet_outgoing_step(&exchange->out);
        if (!exchange_unhold(exchange))
            return;
        if (exchange->out.moved)
            exchange_progress(exchange);
        if (!exchange_sends_on(exchange, step))
            return;
        writes += step == OUTGOING_MORE ? 1 : 0;
    }
    watch(exchange, &exchange->socket->write, true);
    exchange_arm(exchange);
}

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
        watch(exchange, &socket->write, false);
    }
    if (socket->used >= PROTO_HEADER_SIZE + (size_t)exchange->header.length)
        failure_complete(exchange);
    else
        exchange_arm(exchange);
}

static void read_header(struct packet_exchange *exchange)
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
        .reusable = in_step(exchange),
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

static void collect(struct packet_exchange *exchange)
{
    /* With no end after so many steps the event stays watched and comes again. */
    for (int step = 0; step < STEPS_PER_EVENT && (int64_t)exchange->body.used < exchange->header.length;
         step++)
        if (!read_body(exchange))
            return;
    if ((int64_t)exchange->body.used == exchange->header.length)
        collected(exchange);
}

static void begin_collecting(struct packet_exchange *exchange)
{
    struct packet_socket *socket = exchange->socket;
    size_t buffered = packet_exchange_buffered(exchange);

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
    if ((int64_t)packet_exchange_buffered(exchange) < exchange->header.length)
        (void)event_del(&socket->read);
    (void)event_del(&socket->write);
    exchange_hold(exchange);
    exchange->options.taken(exchange->options.argument);
    (void)exchange_unhold(exchange);
}

static void success_began(struct packet_exchange *exchange)
{
    enum packet_verdict verdict = PACKET_COLLECT;

    watch(exchange, &exchange->socket->write, false);
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

/* ---- events ---- */

static void exchange_event(void *owner, short what)
{
    struct packet_exchange *exchange = owner;

    switch (exchange->state) {
    case EXCHANGE_SENDING:
        if (what & EV_WRITE)
            exchange_writable(exchange);
        else
            read_header(exchange);
        return;
    case EXCHANGE_HEADER:
    case EXCHANGE_FAILURE:
        if (what & EV_READ)
            read_header(exchange);
        return;
    case EXCHANGE_COLLECTING:
        if (what & EV_READ)
            collect(exchange);
        return;
    case EXCHANGE_TAKEN: /* the peer closes it, or sends too much: seen again when the connection becomes idle */
        (void)event_del(&exchange->socket->read);
        return;
    case EXCHANGE_ENDED:
        break;
    }
    ASSERT(false); /* who ended it must have taken the socket back */
}

/* ---- the caller's side ---- */

struct packet_exchange *packet_exchange_start(const struct packet_exchange_options *options)
{
    struct packet_exchange *exchange = malloc(sizeof(*exchange));

    if (!exchange)
        return NULL;
    memset(exchange, 0, sizeof(*exchange));
    if (evtimer_assign(&exchange->timer, loop_base(options->loop), exchange_timer, exchange) != 0) {
        free(exchange);
        return NULL;
    }
    exchange->options = *options;
    exchange->socket = options->socket;
    packet_outgoing_init(&exchange->out, &exchange->options);
    exchange->socket->used = 0;
    packet_socket_own(exchange->socket, exchange_event, exchange);
    exchange_progress(exchange);
    watch(exchange, &exchange->socket->read, true);
    if (packet_outgoing_left(&exchange->out) == 0 && packet_outgoing_step(&exchange->out) == OUTGOING_MORE) {
        request_sent(exchange);
        return exchange;
    }
    exchange_send_soon(exchange);
    exchange_arm(exchange);
    return exchange;
}

void packet_exchange_cancel(struct packet_exchange *exchange)
{
    if (!exchange)
        return;
    exchange_hold(exchange);
    exchange_stop(exchange);
    (void)exchange_unhold(exchange);
}

void packet_exchange_resume_source(struct packet_exchange *exchange)
{
    exchange->out.resumed = true;
    if (!exchange->out.paused || exchange->state != EXCHANGE_SENDING)
        return;
    exchange->out.paused = false;
    exchange_progress(exchange);
    exchange_send_soon(exchange);
    exchange_arm(exchange);
}

int64_t packet_exchange_silent_ms(const struct packet_exchange *exchange)
{
    if (!is_under_way(exchange) || exchange->out.paused)
        return 0;
    return clock_monotonic_ms() - exchange->progress_ms;
}

int64_t packet_exchange_length(const struct packet_exchange *exchange)
{
    return exchange->header.length;
}

size_t packet_exchange_buffered(const struct packet_exchange *exchange)
{
    return (size_t)min_i64((int64_t)(exchange->socket->used - PROTO_HEADER_SIZE), exchange->header.length);
}

bool packet_exchange_release(struct packet_exchange *exchange)
{
    bool reusable = in_step(exchange);

    ASSERT(exchange->state == EXCHANGE_TAKEN);
    packet_exchange_cancel(exchange);
    return reusable;
}
