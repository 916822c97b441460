/*
 * packet_attempt: the steps from an address to an exchange on a connection. No step calls a callback from inside
 * packet_attempt_begin(): what fails there is left to the timer.
 */
#include "common/call/packet_attempt.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PLAIN_MS            60000 /* a server that knows no sessions is not asked again for so long */
#define PLAIN_LOG_MS        10000
#define SESSION_MARGIN_MS   30000
#define SESSION_SECONDS_MAX (365 * INT64_C(86400))

static void attempt_step(struct packet_attempt *attempt, bool turn);

static int64_t earlier(int64_t a, int64_t b)
{
    if (a == 0)
        return b;
    return b == 0 ? a : min_i64(a, b);
}

/* Until when ATTEMPT's peer, which the connection has reached, may take for what comes before the request. */
static int64_t opening_limit(const struct packet_attempt *attempt)
{
    int64_t timeout_ms = attempt->options->pool->options.connect_timeout_ms;

    return attempt->others_wait || attempt->deadline_ms == 0
               ? earlier(attempt->deadline_ms, duration_deadline(clock_monotonic_ms(), timeout_ms))
               : attempt->deadline_ms;
}

static void attempt_arm(struct packet_attempt *attempt, int64_t limit_ms)
{
    const struct timeval interval = duration_timeval(limit_ms - clock_monotonic_ms());

    if (limit_ms == 0)
        return;
    if (event_add(&attempt->timer, &interval) != 0)
        log_error("packet", "cannot arm a timer: a call to %s has no time limit", attempt->endpoint->text);
}

/* ---- the end ---- */

static void attempt_drop_connection(struct packet_attempt *attempt, bool park)
{
    struct pool_connection *connection = attempt->connection;

    packet_greeting_cancel(attempt->greeting);
    attempt->greeting = NULL;
    packet_exchange_cancel(attempt->exchange);
    attempt->exchange = NULL;
    attempt->connection = NULL;
    if (!connection)
        return;
    if (park)
        pool_connection_park(connection);
    else
        pool_connection_close(connection);
}

static void attempt_leave_endpoint(struct packet_attempt *attempt)
{
    struct pool_endpoint *endpoint = attempt->endpoint;

    (void)wait_leave(&attempt->wait);
    attempt->endpoint = NULL;
    if (!endpoint)
        return;
    pool_endpoint_wake(endpoint); /* it may have been woken for a connection that it did not use */
    pool_endpoint_put(endpoint);
}

/* A failure before the exchange. Nothing may touch the attempt afterwards. */
static void attempt_failed(struct packet_attempt *attempt, int code, const char *why)
{
    struct packet_exchange_end end = {.outcome = EXCHANGE_BROKEN};

    (void)error_set(&end.error, code, "%s", why);
    attempt->options->ended(attempt, &end);
}

/* The same from where no callback may be called: the timer goes on from here. */
static void attempt_failed_later(struct packet_attempt *attempt, int code, const char *why)
{
    attempt->state = ATTEMPT_WAITING;
    (void)error_set(&attempt->failure, code, "%s", why);
    event_active(&attempt->timer, EV_TIMEOUT, 0);
}

static void attempt_connection_failed(struct packet_attempt *attempt, int code, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void attempt_connection_failed(struct packet_attempt *attempt, int code, const char *format, ...)
{
    char why[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    pool_endpoint_penalise(attempt->endpoint);
    attempt_failed(attempt, code, why);
}

static void attempt_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_attempt *attempt = argument;
    struct error failure = attempt->failure;

    (void)fd;
    (void)what;
    attempt->failure.code = ERROR_NONE;
    if (failure.code != ERROR_NONE)
        attempt_failed(attempt, failure.code, failure.text);
    else if (attempt->state == ATTEMPT_CONNECTING)
        attempt_connection_failed(attempt, ERROR_TIMEOUT, "connecting took too long");
    else if (attempt->state == ATTEMPT_WAITING && attempt->wait.list == &attempt->endpoint->names)
        attempt_failed(attempt, ERROR_TIMEOUT, "the host name was not resolved in time");
    else if (attempt->state == ATTEMPT_WAITING)
        attempt_failed(attempt, ERROR_UNAVAILABLE, "no connection became free in time");
}

/* ---- the exchange ---- */

static void attempt_ended(void *argument, const struct packet_exchange_end *end)
{
    struct packet_attempt *attempt = argument;

    attempt->exchange = NULL;
    switch (end->outcome) {
    case EXCHANGE_REFUSED:
        if (end->error.code == ERROR_UNAUTHENTICATED && attempt->connection->reused && !attempt->fresh &&
            !end->source_used && auth_asks(attempt->options->pool->options.auth)) {
            /* The session ended sooner than was said, e.g. with the server's reload: a new connection proves anew. */
            attempt->fresh = true;
            attempt_drop_connection(attempt, false);
            attempt_step(attempt, false);
            return;
        }
        attempt->connection->after_failure = true;
        attempt_drop_connection(attempt, end->reusable);
        break;
    case EXCHANGE_STALE: /* the peer closed it while it was kept, which says nothing about the peer now */
        attempt->fresh = true;
        attempt_drop_connection(attempt, false);
        attempt_step(attempt, false);
        return;
    case EXCHANGE_BROKEN:
    case EXCHANGE_WRONG:
        pool_endpoint_penalise(attempt->endpoint);
        break;
    case EXCHANGE_ANSWERED:
    case EXCHANGE_GAVE_UP:
        break;
    }
    attempt->options->ended(attempt, end);
}

static enum packet_verdict attempt_header(void *argument, int64_t length)
{
    struct packet_attempt *attempt = argument;

    pool_endpoint_praise(attempt->endpoint);
    attempt->connection->after_failure = false;
    return attempt->options->header(attempt, length);
}

static void attempt_taken(void *argument)
{
    struct packet_attempt *attempt = argument;

    attempt->state = ATTEMPT_TAKEN;
    attempt->options->taken(attempt);
}

/* On ATTEMPT's connection, which is made. Calls no callback. */
static void attempt_exchange(struct packet_attempt *attempt, bool kept)
{
    const struct packet_attempt_options *shared = attempt->options;
    const struct packet_exchange_options options = {
        .loop = shared->pool->loop,
        .socket = &attempt->connection->socket,
        .head = shared->head,
        .head_size = shared->head_size,
        .kept = kept && !attempt->fresh,
        .source_size = shared->source_size,
        .source = shared->source,
        .pass = shared->pass,
        .asks = shared->asks,
        .reply_max = shared->reply_max,
        .deadline_ms = attempt->deadline_ms,
        .timeout_ms = shared->timeout_ms,
        .progress_ms = shared->progress_ms,
        .header = attempt_header,
        .taken = attempt_taken,
        .ended = attempt_ended,
        .argument = attempt,
    };

    (void)event_del(&attempt->timer);
    attempt->state = ATTEMPT_EXCHANGING;
    attempt->exchange = packet_exchange_start(&options);
    if (attempt->exchange)
        return;
    attempt_drop_connection(attempt, false);
    attempt_failed_later(attempt, ERROR_UNAVAILABLE, "no memory for a request");
}

/* ---- who is there ---- */

static void attempt_connect(struct packet_attempt *attempt);

/* When CONNECTION's session, of SECONDS, is not relied on any more: a while before its end, so that no request comes too
 * late. */
static int64_t session_limit(int64_t seconds)
{
    int64_t whole_ms = min_i64(seconds, SESSION_SECONDS_MAX) * 1000;

    return clock_monotonic_ms() + whole_ms - min_i64(whole_ms / 10, SESSION_MARGIN_MS);
}

/* Goes on without a session, which the server does not know or has refused. */
static void attempt_goes_plain(struct packet_attempt *attempt, const struct packet_greeting_end *end)
{
    static struct log_gate gate;
    struct pool_endpoint *endpoint = attempt->endpoint;
    uint64_t suppressed;

    endpoint->plain_until_ms = clock_monotonic_ms() + PLAIN_MS;
    if (end->error.code != ERROR_UNKNOWN_COMMAND && end->error.code != ERROR_GENERAL &&
        log_gate_open(&gate, PLAIN_LOG_MS, &suppressed))
        log_warning("auth", "%s: goes on without a session: %s (%" PRIu64 " more not shown)", endpoint->text,
                    end->error.text, suppressed);
    if (end->reusable) {
        attempt->connection->session_until_ms = endpoint->plain_until_ms;
        attempt->connection->identity_version = end->identity_version;
        attempt_exchange(attempt, false);
        return;
    }
    attempt_drop_connection(attempt, false);
    attempt_connect(attempt);
}

static void attempt_greeted(void *argument, const struct packet_greeting_end *end)
{
    struct packet_attempt *attempt = argument;

    attempt->greeting = NULL;
    switch (end->outcome) {
    case GREETING_PROVED:
        attempt->connection->session_until_ms = end->seconds > 0 ? session_limit(end->seconds) : 0;
        attempt->connection->identity_version = end->identity_version;
        attempt_exchange(attempt, false);
        return;
    case GREETING_PLAIN:
        attempt_goes_plain(attempt, end);
        return;
    case GREETING_FAILED:
        attempt_connection_failed(attempt, end->error.code, "%s", end->error.text);
        return;
    }
}

/* ATTEMPT's connection has just been made. */
static void attempt_greet(struct packet_attempt *attempt)
{
    struct packet_pool *pool = attempt->options->pool;
    struct tls *tls = attempt->connection->socket.transport.tls;
    bool bound = tls && tls_binding(tls, attempt->binding);
    const struct packet_greeting_options options = {
        .loop = pool->loop,
        .socket = &attempt->connection->socket,
        .auth = pool->options.auth,
        .command = attempt->options->head[PROTO_HEADER_SIZE - 2],
        .binding = bound ? attempt->binding : NULL,
        .deadline_ms = opening_limit(attempt),
        .timeout_ms = pool->options.connect_timeout_ms,
        .ended = attempt_greeted,
        .argument = attempt,
    };

    (void)event_del(&attempt->timer);
    attempt->connection->identity_version = auth_identity_version(pool->options.auth);
    if (attempt->endpoint->plain_until_ms > clock_monotonic_ms() &&
        auth_mode(pool->options.auth) != AUTH_REQUIRED) {
        attempt->connection->session_until_ms = attempt->endpoint->plain_until_ms;
        attempt_exchange(attempt, false);
        return;
    }
    attempt->state = ATTEMPT_GREETING;
    attempt->greeting = packet_greeting_start(&options);
    if (attempt->greeting)
        return;
    attempt_drop_connection(attempt, false);
    attempt_failed_later(attempt, ERROR_UNAVAILABLE, "no memory to prove who we are");
}

/* ATTEMPT's connection is there, and safe where it has to be. */
static void attempt_talk(struct packet_attempt *attempt)
{
    if (auth_asks(attempt->options->pool->options.auth))
        attempt_greet(attempt);
    else
        attempt_exchange(attempt, false);
}

/* ---- a connection to the attempt's address ---- */

static void attempt_connected(void *owner, short what);

static void attempt_connect(struct packet_attempt *attempt)
{
    struct pool_endpoint *endpoint = attempt->endpoint;
    int64_t now = clock_monotonic_ms(), limit;
    int errnum = EADDRNOTAVAIL;
    char why[ERROR_TEXT_SIZE];

    for (; attempt->target < endpoint->resolved_count; attempt->target++) {
        attempt->connection = pool_connection_open(endpoint, &endpoint->resolved[attempt->target], &errnum);
        if (!attempt->connection)
            continue;
        packet_socket_own(&attempt->connection->socket, attempt_connected, attempt);
        attempt->state = ATTEMPT_CONNECTING;
        limit = duration_deadline(now, duration_share(endpoint->pool->options.connect_timeout_ms,
                                                      endpoint->resolved_count - attempt->target));
        if (!packet_socket_watch(&attempt->connection->socket.write, true))
            log_error("packet", "%s: cannot watch a socket; connecting will end at its time limit",
                      endpoint->text);
        attempt_arm(attempt, earlier(limit, attempt->deadline_ms));
        return;
    }
    pool_endpoint_penalise(endpoint);
    (void)snprintf(why, sizeof(why), "cannot connect: %s", strerror(errnum));
    attempt_failed_later(
        attempt, error_code_of_errno(errnum) == ERROR_TIMEOUT ? ERROR_TIMEOUT : ERROR_CONNECTION, why);
}

/* Goes on with the handshake. */
static void attempt_shake(void *owner, short what)
{
    struct packet_attempt *attempt = owner;
    struct packet_socket *socket = &attempt->connection->socket;
    struct error error;

    (void)what;
    switch (tls_handshake(socket->transport.tls, &error)) {
    case TLS_READY:
        packet_socket_unwatch(socket);
        attempt_talk(attempt);
        return;
    case TLS_WANTS_READ:
    case TLS_WANTS_WRITE:
        if (packet_socket_watch(&socket->read, true) &&
            packet_socket_watch(&socket->write, tls_wants_write(socket->transport.tls)))
            return;
        (void)error_set(&error, ERROR_UNAVAILABLE, "its socket cannot be watched");
        break;
    case TLS_FAILED:
        break;
    }
    attempt_drop_connection(attempt, false);
    attempt_connection_failed(attempt, error.code, "%s", error.text);
}

/* The connection is made: the handshake begins. */
static void attempt_secure(struct packet_attempt *attempt)
{
    struct tls_client *client = attempt->options->pool->options.tls;
    struct packet_socket *socket = &attempt->connection->socket;

    if (client)
        socket->transport.tls =
            tls_client_session(client, socket->transport.fd, attempt->endpoint->address.host);
    if (!socket->transport.tls) {
        attempt_drop_connection(attempt, false);
        attempt_connection_failed(attempt, ERROR_UNAVAILABLE, "TLS: %s",
                                  client ? "no memory" : "it is not set up here");
        return;
    }
    packet_socket_own(socket, attempt_shake, attempt);
    attempt_arm(attempt, opening_limit(attempt));
    attempt_shake(attempt, EV_WRITE);
}

static void attempt_connected(void *owner, short what)
{
    struct packet_attempt *attempt = owner;
    struct packet_socket *socket = &attempt->connection->socket;
    int errnum = 0;
    socklen_t size = sizeof(errnum);

    (void)what;
    if (getsockopt(socket->transport.fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0)
        errnum = errno;
    if (errnum == 0) {
        (void)packet_socket_watch(&socket->write, false);
        if (attempt->endpoint->address.tls) {
            attempt_secure(attempt);
            return;
        }
        attempt_talk(attempt);
        return;
    }
    attempt_drop_connection(attempt, false);
    if (++attempt->target < attempt->endpoint->resolved_count)
        attempt_connect(attempt);
    else
        attempt_connection_failed(attempt, errnum == ETIMEDOUT ? ERROR_TIMEOUT : ERROR_CONNECTION,
                                  "cannot connect: %s", strerror(errnum));
}

static void attempt_resolved(struct wait *wait, enum wait_end end)
{
    (void)end; /* the attempt has a time limit of its own */
    attempt_step(CONTAINER_OF(wait, struct packet_attempt, wait), false);
}

static void attempt_turn_came(struct wait *wait, enum wait_end end)
{
    (void)end;
    attempt_step(CONTAINER_OF(wait, struct packet_attempt, wait), true);
}

/* Gets a connection to the present address: a kept one, a new one, or a place in the queue. TURN: the queue was waited
 * for. Calls no callback. */
static void attempt_step(struct packet_attempt *attempt, bool turn)
{
    struct pool_endpoint *endpoint = attempt->endpoint;
    struct error error = {0};

    attempt->state = ATTEMPT_WAITING;
    turn = turn || endpoint->slots.count == 0;
    if (!attempt->fresh && turn) {
        attempt->connection =
            pool_connection_reuse(endpoint, attempt->options->source || attempt->options->pass);
        if (attempt->connection) {
            attempt_exchange(attempt, true);
            return;
        }
    }
    attempt->wait.done = attempt_resolved;
    switch (pool_endpoint_resolve(endpoint, &attempt->wait, &error)) {
    case POOL_UNRESOLVABLE:
        attempt_failed_later(attempt, error.code, error.text);
        return;
    case POOL_RESOLVING:
        attempt_arm(attempt, attempt->deadline_ms);
        return;
    case POOL_RESOLVED:
        break;
    }
    attempt->target = 0;
    if (turn && pool_endpoint_has_room(endpoint)) {
        attempt_connect(attempt);
        return;
    }
    attempt->wait.done = attempt_turn_came;
    ASSERT(attempt->fresh
               ? wait_enter_first(&endpoint->slots, &attempt->wait, 0)
               : wait_enter(&endpoint->slots, &attempt->wait, 0)); /* without a timer it cannot fail */
    attempt_arm(attempt, attempt->deadline_ms);
    pool_endpoint_wake(endpoint);
}

/* ---- the owner's side ---- */

bool packet_attempt_init(struct packet_attempt *attempt, const struct packet_attempt_options *options)
{
    attempt->options = options;
    attempt->wait.loop = options->pool->loop;
    return evtimer_assign(&attempt->timer, loop_base(options->pool->loop), attempt_timer, attempt) == 0;
}

bool packet_attempt_begin(struct packet_attempt *attempt, const struct address *address, int64_t deadline_ms,
                          bool others_wait)
{
    attempt->endpoint = pool_endpoint_get(attempt->options->pool, address);
    if (!attempt->endpoint)
        return false;
    attempt->fresh = false;
    attempt->failure.code = ERROR_NONE;
    attempt->deadline_ms = deadline_ms;
    attempt->others_wait = others_wait;
    attempt_step(attempt, false);
    return true;
}

void packet_attempt_stop(struct packet_attempt *attempt, bool park)
{
    if (attempt->state == ATTEMPT_IDLE)
        return;
    attempt->state = ATTEMPT_IDLE;
    if (attempt->endpoint) /* else the pool and its loop may be gone */
        (void)event_del(&attempt->timer);
    attempt_drop_connection(attempt, park);
    attempt_leave_endpoint(attempt);
}

void packet_attempt_orphan(struct packet_attempt *attempt)
{
    ASSERT(attempt->state == ATTEMPT_TAKEN);
    (void)event_del(&attempt->timer);
    pool_connection_orphan(attempt->connection);
    attempt_leave_endpoint(attempt);
}

const char *packet_attempt_where(const struct packet_attempt *attempt)
{
    return attempt->endpoint ? attempt->endpoint->text : "?";
}
