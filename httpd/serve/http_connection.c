/*
 * http_connection: the steps of each state, sending, and the end of a connection.
 */
#include "httpd/serve/http_connection.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/serve/http_input.h"
#include "httpd/serve/http_turn.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What one connection may do before the others of its loop have their turn. */
#define TURN_STEPS 64
#define TURN_BYTES ((int64_t)2 * 1024 * 1024)

#define LINGER_BYTES_MAX ((int64_t)4 * 1024 * 1024)

enum step { STEP_AGAIN, STEP_WAIT, STEP_LATER, STEP_BEGIN_LATER, STEP_DEAD };

/* ---- states ---- */

void http_connection_set_state(struct http_connection *connection, enum http_connection_state state)
{
    struct http_loop *loop = connection->loop;
    ASSERT(connection->state != CONNECTION_CLOSED);
    TAILQ_REMOVE(&loop->lists[connection->state], connection, link);
    int64_t now = clock_coarse_ms();
    if (connection->state == CONNECTION_FEED || connection->state == CONNECTION_REST ||
        connection->state == CONNECTION_OPEN)
        connection->rate_paused += now - connection->since_ms;
    connection->state = state;
    connection->since_ms = now;
    connection->queued = -1;
    TAILQ_INSERT_TAIL(&loop->lists[state], connection, link);
}

static void give_output(struct http_connection *connection)
{
    http_buffers_give(&connection->loop->buffers, HTTP_BUFFER_SMALL, connection->out.bytes);
    connection->out = (struct http_output){NULL, 0, 0, 0, false};
}

bool http_connection_take_output(struct http_connection *connection)
{
    struct http_output *out = &connection->out;
    if (!out->bytes)
        out->bytes = http_buffers_take(&connection->loop->buffers, HTTP_BUFFER_SMALL);
    out->start = out->end = 0;
    out->capacity = HTTP_BUFFER_SMALL_SIZE;
    out->overflow = false;
    return out->bytes != NULL;
}

static void on_event(evutil_socket_t fd, short what, void *argument)
{
    struct http_connection *connection = argument;
    (void)fd;
    if (what & (EV_READ | EV_CLOSED))
        connection->readable = true;
    if (what & EV_CLOSED)
        connection->hung_up = true;
    http_connection_run(connection);
}

static bool is_of_proxy(const struct http_settings *settings, const struct sockaddr *peer,
                        socklen_t peer_size)
{
    struct address from;
    return settings->trusted_proxies.count > 0 && address_from_socket(peer, peer_size, &from) &&
           networks_contain(&settings->trusted_proxies, from.host);
}

bool http_connection_create(struct http_loop *loop, struct transport transport, const struct sockaddr *peer,
                            socklen_t peer_size, bool refused, bool expects_proxy,
                            const struct listen_place *place)
{
    struct http_connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        goto fail;
    connection->loop = loop;
    connection->transport = transport;
    connection->refused = refused;
    connection->by_proxy = expects_proxy || is_of_proxy(loop->settings, peer, peer_size);
    connection->expects_proxy = expects_proxy;
    connection->place = *place;
    /* What came behind a handshake is there, or the socket's first event tells. */
    connection->readable = !transport.tls || transport_pending(transport);
    connection->id = loop->next_id;
    loop->next_id += loop->id_step;
    memcpy(&connection->peer, peer, min_size(peer_size, sizeof(connection->peer)));
    event_assign(&connection->event, loop_base(loop->loop), transport.fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, connection);
    if (event_add(&connection->event, NULL) != 0)
        goto fail;
    connection->state = CONNECTION_HEAD;
    connection->since_ms = clock_coarse_ms();
    TAILQ_INSERT_TAIL(&loop->lists[CONNECTION_HEAD], connection, link);
    loop->connections++;
    metric_add(loop->metrics->connections, 1);
    return true;
fail:
    free(connection);
    transport_close(&transport);
    return false;
}

void http_connection_destroy(struct http_connection *connection)
{
    struct http_loop *loop = connection->loop;
    if (connection->exchange.start_us != 0)
        loop->answering->end(connection, false);
    http_connection_set_state(connection, CONNECTION_CLOSED);
    TAILQ_REMOVE(&loop->lists[CONNECTION_CLOSED], connection, link);
    if (connection->again)
        TAILQ_REMOVE(connection->waits_to_begin ? &loop->beginners : &loop->again, connection, again_link);
    event_del(&connection->event);
    transport_close(&connection->transport);
    http_input_give(connection);
    give_output(connection);
    loop->connections--;
    metric_add(loop->metrics->connections, -1);
    loop->place_left(loop, &connection->place);
    free(connection);
}

/* ---- the request ---- */

void http_connection_drop_head(struct http_connection *connection)
{
    if (!connection->loop->access_log &&
        http_input_size(connection) == connection->exchange.request.head_size)
        http_input_give(connection);
}

void http_connection_refuse(struct http_connection *connection, int status, const char *message)
{
    struct http_exchange *exchange = &connection->exchange;
    exchange->failed = true;
    connection->keep_alive = false;
    if (exchange->start_us == 0)
        exchange->start_us = clock_monotonic_us();
    connection->loop->answering->refuse(connection, status, message);
}

void http_connection_continue(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    size_t sent;
    if (!exchange->request.expect_continue || exchange->continued)
        return;
    exchange->continued = true;
    if (http_input_size(connection) > exchange->request.head_size || !http_connection_take_output(connection))
        return;
    HTTP_OUTPUT_LITERAL(&connection->out, "HTTP/1.1 100 Continue\r\n\r\n");
    /* Should so few bytes not fit, the client goes on after a while by itself: the same section says so. */
    if (!http_output_flush(&connection->out, connection->transport, false, &sent))
        log_debug("connection", "c%" PRIu64 ": 100 Continue was not sent: %m", connection->id);
    give_output(connection);
}

bool http_connection_begin_interim(struct http_connection *connection, int status)
{
    if (connection->exchange.request.minor_version < 1 || !http_connection_take_output(connection))
        return false;
    http_response_interim(&connection->out, status);
    return true;
}

void http_connection_end_interim(struct http_connection *connection)
{
    size_t sent;
    HTTP_OUTPUT_LITERAL(&connection->out, "\r\n");
    /* It is the first that goes out for its request: a socket that has no room for it has a client that reads nothing. What was half
     * sent could not be continued. */
    if (!http_output_flush(&connection->out, connection->transport, false, &sent) ||
        connection->out.start != connection->out.end) {
        connection->exchange.cut = true;
        connection->keep_alive = false;
    }
    give_output(connection);
}

static void head_is_complete(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    struct http_request *request = &exchange->request;
    const struct http_settings *settings = connection->loop->settings;

    exchange->start_us = clock_monotonic_us();
    connection->requests++;
    const struct http_text trace =
        http_request_field(request, connection->in + connection->in_start, HTTP_FIELD_TRACEPARENT);
    if (trace.bytes && !request_id_of_traceparent(trace.bytes, trace.size, &exchange->named))
        exchange->named =
            (struct request_id){0}; /* W3C Trace Context, section 3.2.2.1: as if there were none */
    connection->keep_alive = request->keep_alive && !connection->loop->draining &&
                             (settings->live.keepalive_requests == 0 ||
                              connection->requests < (uint64_t)settings->live.keepalive_requests);
    if (connection->refused) {
        http_connection_refuse(connection, 503, "too many connections are open");
        return;
    }
    if (connection->loop->answering->take(connection))
        return;
    if (request->body_kind == HTTP_BODY_NONE) {
        connection->loop->answering->begin(connection);
        return;
    }
    if (request->method >= HTTP_METHOD_PUT && request->method != HTTP_METHOD_DELETE && !exchange->is_api) {
        http_connection_refuse(connection, 405, "only GET, HEAD and OPTIONS are served");
        return;
    }
    if (request->body_kind == HTTP_BODY_LENGTH && request->body_length > settings->live.request_body_max) {
        http_connection_refuse(connection, 413, "a request of this kind has no use for so large a body");
        return;
    }
    http_body_init(&exchange->body, request);
    http_connection_set_state(connection, CONNECTION_BODY);
    http_connection_continue(connection);
}

static enum step connection_step_head(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (http_turn_must_wait(connection))
        return STEP_BEGIN_LATER;
    for (;;) {
        if (connection->expects_proxy && http_input_size(connection) > 0 &&
            !http_input_take_proxy_header(connection)) {
            http_connection_destroy(connection);
            return STEP_DEAD;
        }
        if (!connection->expects_proxy && http_input_size(connection) > 0) {
            if (connection->state == CONNECTION_IDLE || exchange->request.parsed == 0) {
                if (connection->state == CONNECTION_IDLE)
                    http_connection_set_state(connection, CONNECTION_HEAD);
                http_request_init(&exchange->request);
            }
            enum http_request_state state =
                http_request_parse(&exchange->request, &connection->loop->settings->limits,
                                   connection->in + connection->in_start, http_input_size(connection));
            if (state == HTTP_REQUEST_HEAD) {
                head_is_complete(connection);
                return STEP_AGAIN;
            }
            if (state == HTTP_REQUEST_ERROR) {
                http_input_note_tls(connection);
                http_connection_refuse(connection, exchange->request.status, exchange->request.reason);
                return STEP_AGAIN;
            }
            http_input_look_again(connection);
        }
        enum http_input input = http_input_read(connection);
        if (input == HTTP_INPUT_END || input == HTTP_INPUT_BROKEN) {
            http_connection_destroy(connection);
            return STEP_DEAD;
        }
        if (input == HTTP_INPUT_NONE) {
            if (http_input_size(connection) == 0 && connection->in)
                http_input_give(connection);
            return STEP_WAIT;
        }
    }
}

/* Drops the body's bytes from behind the head, which stays, since the answer is made from it. True: the state has changed. */
static bool drop_body(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    uint32_t start = connection->in_start + exchange->request.head_size;
    size_t used;
    enum http_body_state state =
        http_body_skip(&exchange->body, connection->in + start, connection->in_end - start, &used);
    http_input_drop(connection, used);
    if (exchange->body.total > connection->loop->settings->live.request_body_max) {
        if (exchange->refused != 0)
            http_connection_refuse(connection, exchange->refused, exchange->refusal);
        else
            http_connection_refuse(connection, 413, "a request of this kind has no use for so large a body");
        return true;
    }
    if (state == HTTP_BODY_DONE)
        connection->loop->answering->begin(connection);
    else if (state == HTTP_BODY_BROKEN)
        http_connection_refuse(connection, 400, "the chunks of the request's body are malformed");
    return state != HTTP_BODY_MORE;
}

static enum step step_body(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    for (;;) {
        bool form = exchange->write && exchange->refused == 0;
        if (form ? connection->loop->answering->form(connection) : drop_body(connection))
            return STEP_AGAIN;
        http_input_look_again(connection);
        enum http_input input = http_input_read(connection);
        if (input == HTTP_INPUT_END || input == HTTP_INPUT_BROKEN) {
            http_connection_destroy(connection);
            return STEP_DEAD;
        }
        if (input == HTTP_INPUT_NONE)
            return STEP_WAIT;
    }
}

/* Sink or feed read from the client; here is only what they cannot see. */
static enum step step_store(struct http_connection *connection)
{
    if (connection->readable) {
        connection->readable = false;
        if (connection->exchange.feed)
            feed_readable(connection->exchange.feed);
        else
            sink_readable(connection->exchange.sink);
    }
    if (!connection->loop->answering->stored(connection))
        return STEP_WAIT;
    http_input_look_again(connection);
    return STEP_AGAIN;
}

/* ---- the answer ---- */

static enum step answer_is_over(struct http_connection *connection)
{
    uint32_t head = connection->exchange.request.head_size;
    bool failed = connection->exchange.failed;
    if (connection->exchange.cut) {
        http_connection_destroy(connection);
        return STEP_DEAD;
    }
    connection->loop->answering->end(connection, true);
    give_output(connection);
    connection->sent = 0;
    connection->rate_ms = 0;
    if (connection->keep_alive && !connection->loop->draining && !failed &&
        !transport_is_worn(connection->transport)) {
        if (connection->in)
            connection->in_start += head;
        if (connection->in_start == connection->in_end)
            http_input_give(connection);
        http_connection_set_state(connection, !connection->in ? CONNECTION_IDLE : CONNECTION_HEAD);
        return STEP_AGAIN;
    }
    /* A close with unread bytes would reset the connection and take the answer with it (RFC 9112
     * section 9.6). */
    http_input_give(connection);
    if (connection->half_closed || transport_shutdown(connection->transport) != 0) {
        http_connection_destroy(connection);
        return STEP_DEAD;
    }
    connection->readable = true;
    http_connection_set_state(connection, CONNECTION_LINGER);
    return STEP_AGAIN;
}

/* The client waits: its place in the list changes only when bytes moved, so that standing still is noticed. */
static enum step wait_in(struct http_connection *connection, enum http_connection_state state, bool moved)
{
    if (connection->state != state || moved)
        http_connection_set_state(connection, state);
    return STEP_WAIT;
}

static enum step send_output(struct http_connection *connection)
{
    size_t sent;
    bool flushed = http_output_flush(&connection->out, connection->transport, false, &sent);
    connection->sent += (int64_t)sent;
    if (flushed)
        return answer_is_over(connection);
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return wait_in(connection, CONNECTION_SEND, sent > 0);
    http_connection_destroy(connection);
    return STEP_DEAD;
}

/* How many bytes may be sent now. */
static int64_t turn_budget(struct http_connection *connection)
{
    int64_t rate = connection->loop->settings->live.rate_limit;
    if (rate == 0)
        return TURN_BYTES;
    int64_t now = clock_monotonic_ms();
    int64_t passed = connection->tokens_ms == 0 ? 1000 : min_i64(now - connection->tokens_ms, 1000);
    /* At most a quarter of a second's bytes are saved up. */
    connection->tokens = min_i64(connection->tokens + rate * passed / 1000, max_i64(rate / 4, 1));
    connection->tokens_ms = now;
    return min_i64(connection->tokens, TURN_BYTES);
}

static enum step step_send(struct http_connection *connection)
{
    struct http_exchange *exchange = &connection->exchange;
    if (!exchange->source)
        return send_output(connection);

    int64_t budget = turn_budget(connection);
    if (budget <= 0)
        return wait_in(connection, CONNECTION_REST, false);
    int64_t left = budget;
    enum source_status status =
        source_send(exchange->source, connection->transport, &connection->out, !exchange->multipart, &left);
    int64_t sent = budget - left;
    connection->sent += sent;
    connection->tokens -= sent;
    if (http_output_pending(&connection->out) == 0)
        give_output(connection);
    switch (status) {
    case SOURCE_WAIT:
        return wait_in(connection, CONNECTION_FEED, sent > 0);
    case SOURCE_BLOCKED:
        return wait_in(connection, CONNECTION_SEND, sent > 0);
    case SOURCE_MORE:
        http_connection_set_state(connection, CONNECTION_SEND);
        return STEP_LATER;
    case SOURCE_DONE:
        if (connection->loop->answering->next_part(connection))
            return STEP_AGAIN;
        return answer_is_over(connection);
    case SOURCE_FAILED:
        exchange->cut = true;
        metric_add(connection->loop->metrics->cut, 1);
        log_warning("connection",
                    "c%" PRIu64 ": cut off after %" PRId64 " bytes of an answer: cannot read the rest",
                    connection->id, connection->sent);
        break;
    case SOURCE_GONE:
    case SOURCE_READY:
        break;
    }
    http_connection_destroy(connection);
    return STEP_DEAD;
}

static enum step step_open(struct http_connection *connection)
{
    if (source_status(connection->exchange.source) == SOURCE_WAIT)
        return STEP_WAIT;
    connection->loop->answering->opened(connection);
    if (connection->exchange.cut) {
        http_connection_destroy(connection);
        return STEP_DEAD;
    }
    return STEP_AGAIN;
}

/* MSG_TRUNC: a TCP socket drops the bytes without copying them (tcp(7)); the block is there for tools that
 * watch what recv() is given. */
static ssize_t drop_some(struct http_connection *connection)
{
    struct http_buffers *buffers = &connection->loop->buffers;
    void *block = http_buffers_take(buffers, HTTP_BUFFER_COPY);
    ssize_t got;
    if (!block)
        return 0;
    do {
        got = transport_recv(connection->transport, block, HTTP_BUFFER_COPY_SIZE, MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    http_buffers_give(buffers, HTTP_BUFFER_COPY, block);
    return got;
}

static enum step step_linger(struct http_connection *connection)
{
    while (connection->readable && connection->lingered < LINGER_BYTES_MAX) {
        ssize_t got = drop_some(connection);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection->readable = false;
            return STEP_WAIT;
        }
        if (got <= 0)
            break;
        connection->lingered += got;
    }
    if (!connection->readable)
        return STEP_WAIT;
    http_connection_destroy(connection);
    return STEP_DEAD;
}

/* ---- the machine ---- */

static void run_later(struct http_connection *connection, bool to_begin)
{
    struct http_loop *loop = connection->loop;
    if (connection->again)
        return;
    if (!loop->again_posted)
        loop_post(loop->loop, &loop->again_task);
    loop->again_posted = true;
    connection->again = true;
    connection->waits_to_begin = to_begin;
    TAILQ_INSERT_TAIL(to_begin ? &loop->beginners : &loop->again, connection, again_link);
}

void http_connection_run(struct http_connection *connection)
{
    for (int steps = 0;; steps++) {
        enum step step = STEP_WAIT;
        if (steps == TURN_STEPS) {
            run_later(connection, false);
            return;
        }
        switch (connection->state) {
        case CONNECTION_IDLE:
        case CONNECTION_HEAD:
            step = connection_step_head(connection);
            break;
        case CONNECTION_BODY:
            step = step_body(connection);
            break;
        case CONNECTION_STORE:
            step = step_store(connection);
            break;
        case CONNECTION_LOOKUP:
            break;
        case CONNECTION_OPEN:
            step = step_open(connection);
            break;
        case CONNECTION_SEND:
        case CONNECTION_FEED:
        case CONNECTION_REST:
            step = step_send(connection);
            break;
        case CONNECTION_LINGER:
            step = step_linger(connection);
            break;
        case CONNECTION_CLOSED:
        case CONNECTION_STATES:
            ASSERT(false);
        }
        if (step == STEP_LATER || step == STEP_BEGIN_LATER)
            run_later(connection, step == STEP_BEGIN_LATER);
        if (step != STEP_AGAIN)
            return;
    }
}

void http_connection_run_again(struct http_loop *loop)
{
    struct http_connection *connection;
    size_t turns = 0;
    TAILQ_FOREACH(connection, &loop->again, again_link)
    turns++;
    /* Those that come back wait for the next round, after the sockets were looked at. */
    while (turns-- > 0 && (connection = TAILQ_FIRST(&loop->again))) {
        TAILQ_REMOVE(&loop->again, connection, again_link);
        connection->again = false;
        http_connection_run(connection);
    }
    while ((connection = TAILQ_FIRST(&loop->beginners)) && !http_turn_is_used_up(loop)) {
        TAILQ_REMOVE(&loop->beginners, connection, again_link);
        connection->again = connection->waits_to_begin = false;
        loop->may_begin = connection;
        http_connection_run(connection);
        loop->may_begin = NULL;
    }
    loop->again_posted = !TAILQ_EMPTY(&loop->again) || !TAILQ_EMPTY(&loop->beginners);
    if (loop->again_posted)
        loop_post(loop->loop, &loop->again_task);
}
