#include "common/call/packet_exchange.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LOOK_MS 1000 /* how often the peer's silence is looked at while a request is on its way */
#define SILENCE_MS                                                                                           \
    5000 /* bytes under way that the peer's machine does not acknowledge for so long: it is gone */

static void call_attempt(struct packet_call *call, bool turn);

void packet_call_set_state(struct packet_call *call, enum call_state state)
{
    ASSERT(call->state != CALL_ENDED);
    call->state = state;
}

/* ---- holding: a user's callback may cancel its call ---- */

void packet_call_hold(struct packet_call *call)
{
    call->holds++;
}

static void call_free(struct packet_call *call)
{
    free(call->addresses);
    free(call->head);
    free(call->chunk);
    free(call->body);
    free(call);
}

bool packet_call_unhold(struct packet_call *call)
{
    ASSERT(call->holds > 0);
    call->holds--;
    if (call->state != CALL_ENDED)
        return true;
    if (call->holds == 0)
        call_free(call);
    return false;
}

/* ---- time ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    if (a == 0)
        return b;
    return b == 0 ? a : min_i64(a, b);
}

static int64_t after(int64_t start, int64_t duration)
{
    return duration > 0 ? start + duration : 0;
}

/* One of PARTS equal parts of DURATION; 0 (no limit) stays 0, and nothing else becomes it. */
static int64_t share(int64_t duration, size_t parts)
{
    return duration > 0 ? max_i64(duration / (int64_t)max_size(parts, 1), 1) : 0;
}

/* When the present state has lasted too long; 0: never. */
static int64_t call_limit(const struct packet_call *call)
{
    switch (call->state) {
    case CALL_WAITING:
        return call->attempt_deadline_ms;
    case CALL_CONNECTING:
        return earlier(call->connect_deadline_ms, call->attempt_deadline_ms);
    case CALL_SENDING:
    case CALL_HEADER:
        if (call->source_paused)
            return 0; /* the caller's own slowness is no fault of the peer, which has a limit of its own */
        if (call->source_taken > 0)
            return after(call->progress_ms, call->options.timeout_ms);
        return call->attempt_deadline_ms;
    case CALL_FAILURE:
    case CALL_COLLECTING:
        return after(call->progress_ms, call->options.progress_ms);
    case CALL_STREAMING:
        return call->sink_paused ? 0 : after(call->progress_ms, call->options.progress_ms);
    case CALL_TAKEN:
    case CALL_ENDED:
        break;
    }
    return 0;
}

/* The timer may ring early, never late: it is moved only when the limit comes nearer, and looks again when it
 * rings. */
void packet_call_arm(struct packet_call *call)
{
    int64_t limit = call_limit(call), wait;
    struct timeval interval;

    if (limit == 0 || (call->armed_ms != 0 && call->armed_ms <= limit))
        return;
    wait = max_i64(limit - clock_monotonic_ms(), 0);
    if (wait > LOOK_MS && (call->state == CALL_SENDING || call->state == CALL_HEADER)) {
        limit -= wait - LOOK_MS;
        wait = LOOK_MS;
    }
    interval = duration_timeval(wait);
    if (event_add(&call->timer, &interval) == 0)
        call->armed_ms = limit;
    else
        log_error("packet", "a timer could not be set: a call to %s has no time limit",
                  call->endpoint != NULL ? call->endpoint->text : "?");
}

void packet_call_progress(struct packet_call *call)
{
    call->progress_ms = clock_monotonic_ms();
}

/* ---- connection and endpoint of a call ---- */

void packet_call_drop_connection(struct packet_call *call, bool park)
{
    struct pool_connection *connection = call->connection;

    call->connection = NULL;
    if (connection == NULL)
        return;
    if (park)
        pool_connection_park(connection);
    else
        pool_connection_close(connection);
}

void packet_call_watch(struct packet_call *call, struct event *event, bool on)
{
    int result = on ? event_add(event, NULL) : event_del(event);

    if (result != 0)
        log_error("packet", "%s: watching the socket failed", call->endpoint->text);
}

static void call_leave_endpoint(struct packet_call *call)
{
    struct pool_endpoint *endpoint = call->endpoint;

    (void)wait_leave(&call->wait);
    call->endpoint = NULL;
    if (endpoint == NULL)
        return;
    pool_endpoint_wake(endpoint); /* it may have been woken for a connection that it did not use */
    pool_endpoint_put(endpoint);
}

/* Takes the call out of everything; what is left is its memory. */
static void call_detach(struct packet_call *call, bool park)
{
    packet_call_set_state(call, CALL_ENDED);
    if (call->pool != NULL) {
        event_del(&call->timer);
        event_del(&call->kick);
        TAILQ_REMOVE(&call->pool->calls, call, link);
    }
    packet_call_drop_connection(call, park);
    call_leave_endpoint(call);
}

void packet_call_end(struct packet_call *call, bool park, const uint8_t *body, size_t size,
                     const struct error *error)
{
    packet_call_hold(call);
    call_detach(call, park);
    call->options.done(call->options.argument, body, size, error);
    (void)packet_call_unhold(call);
}

/* ---- failures ---- */

void packet_call_report(struct packet_call *call, int code, bool answer, const char *why)
{
    size_t used = strlen(call->report.text);
    const char *where = call->endpoint != NULL ? call->endpoint->text : "?";

    if (answer || !call->answered)
        call->report.code = code;
    call->answered = call->answered || answer;
    (void)snprintf(call->report.text + used, sizeof(call->report.text) - used, "%s%s: %s",
                   used > 0 ? "; " : "", where, why);
}

void packet_call_end_report(struct packet_call *call)
{
    struct error error = call->report;

    packet_call_end(call, false, NULL, 0, &error);
}

void packet_call_fail(struct packet_call *call, int code, const char *format, ...)
{
    char why[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    packet_call_report(call, code, true, why);
    packet_call_end_report(call);
}

static void call_next_address(struct packet_call *call)
{
    int64_t now = clock_monotonic_ms(), left;

    for (;;) {
        packet_call_drop_connection(call, false);
        call_leave_endpoint(call);
        packet_call_set_state(call, CALL_WAITING);
        call->position++;
        if (call->position >= call->count || (call->deadline_ms != 0 && now >= call->deadline_ms)) {
            packet_call_end_report(call);
            return;
        }
        call->endpoint = pool_endpoint_get(call->pool, &call->addresses[call->position]);
        if (call->endpoint != NULL)
            break;
        packet_call_report(call, ERROR_UNAVAILABLE, false, "no memory");
    }
    call->fresh = false;
    call->failure.code = ERROR_NONE;
    if (call->deadline_ms != 0) {
        left = call->deadline_ms - now;
        call->attempt_deadline_ms = after(now, share(left, call->count - call->position));
    }
    call_attempt(call, false);
}

void packet_call_attempt_failed(struct packet_call *call, int code, bool answer, const char *why)
{
    log_debug("packet", "command %u to %s: %s", call->options.command, call->endpoint->text, why);
    packet_call_report(call, code, answer, why);
    if (call->source_taken > 0)
        packet_call_end_report(call);
    else
        call_next_address(call);
}

void packet_call_connection_failed(struct packet_call *call, int code, const char *format, ...)
{
    char why[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    pool_endpoint_penalise(call->endpoint);
    packet_call_attempt_failed(call, code, false, why);
}

/* The same from where no callback may be called: kick() goes on from here. */
static void call_attempt_failed_later(struct packet_call *call, int code, const char *why)
{
    packet_call_set_state(call, CALL_WAITING);
    (void)error_set(&call->failure, code, "%s", why);
    event_active(&call->kick, EV_TIMEOUT, 0);
}

static void call_kick(evutil_socket_t fd, short what, void *argument)
{
    struct packet_call *call = argument;
    struct error failure = call->failure;

    (void)fd;
    (void)what;
    call->failure.code = ERROR_NONE;
    if (failure.code == ERROR_NONE)
        return;
    packet_call_attempt_failed(call, failure.code, false, failure.text);
}

static void call_time_is_over(struct packet_call *call)
{
    int64_t waited = call->options.timeout_ms;

    switch (call->state) {
    case CALL_WAITING:
        if (call->wait.list == &call->endpoint->names)
            packet_call_attempt_failed(call, ERROR_TIMEOUT, false, "the host name was not resolved in time");
        else
            packet_call_attempt_failed(call, ERROR_UNAVAILABLE, false, "no connection became free in time");
        return;
    case CALL_CONNECTING:
        packet_call_connection_failed(call, ERROR_TIMEOUT, "connecting took too long");
        return;
    case CALL_SENDING:
        packet_call_connection_failed(call, ERROR_TIMEOUT, "it took no byte of the request for too long");
        return;
    case CALL_HEADER:
        packet_call_connection_failed(call, ERROR_TIMEOUT, "no reply in time (limit of the call: %lld ms)",
                                      (long long)waited);
        return;
    case CALL_FAILURE:
    case CALL_COLLECTING:
    case CALL_STREAMING:
        pool_endpoint_penalise(call->endpoint);
        packet_call_fail(call, ERROR_TIMEOUT, "the reply stopped: no byte in %lld ms",
                         (long long)call->options.progress_ms);
        return;
    case CALL_TAKEN:
    case CALL_ENDED:
        break;
    }
}

static void call_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_call *call = argument;
    int64_t limit = call_limit(call);

    (void)fd;
    (void)what;
    call->armed_ms = 0;
    if (limit != 0 && clock_monotonic_ms() >= limit)
        call_time_is_over(call);
    else if ((call->state == CALL_SENDING || call->state == CALL_HEADER) &&
             pool_connection_silent(call->connection, SILENCE_MS))
        packet_call_connection_failed(call, ERROR_TIMEOUT, "its machine acknowledges nothing any more");
    else
        packet_call_arm(call);
}

/* ---- connecting ---- */

static void call_connected(void *owner, short what);
static void call_attempt(struct packet_call *call, bool turn);

static void call_resolved(struct wait *wait, enum wait_end end)
{
    (void)end; /* the call has a time limit of its own */
    call_attempt(CONTAINER_OF(wait, struct packet_call, wait), false);
}

static void call_turn_came(struct wait *wait, enum wait_end end)
{
    (void)end;
    call_attempt(CONTAINER_OF(wait, struct packet_call, wait), true);
}

static void call_connect(struct packet_call *call)
{
    struct pool_endpoint *endpoint = call->endpoint;
    int64_t now = clock_monotonic_ms();
    int errnum = EADDRNOTAVAIL;
    char why[ERROR_TEXT_SIZE];

    for (; call->target < endpoint->resolved_count; call->target++) {
        call->connection = pool_connection_open(endpoint, &endpoint->resolved[call->target], &errnum);
        if (call->connection == NULL)
            continue;
        pool_connection_own(call->connection, call_connected, call);
        packet_call_set_state(call, CALL_CONNECTING);
        call->connect_deadline_ms = after(
            now, share(endpoint->pool->options.connect_timeout_ms, endpoint->resolved_count - call->target));
        packet_call_watch(call, &call->connection->write, true);
        packet_call_arm(call);
        return;
    }
    pool_endpoint_penalise(endpoint);
    (void)snprintf(why, sizeof(why), "cannot connect: %s", strerror(errnum));
    call_attempt_failed_later(
        call, error_code_of_errno(errnum) == ERROR_TIMEOUT ? ERROR_TIMEOUT : ERROR_CONNECTION, why);
}

static void call_connect_failed(struct packet_call *call, int errnum)
{
    packet_call_drop_connection(call, false);
    if (call->target + 1 < call->endpoint->resolved_count) {
        call->target++;
        call_connect(call);
        return;
    }
    packet_call_connection_failed(call, errnum == ETIMEDOUT ? ERROR_TIMEOUT : ERROR_CONNECTION,
                                  "cannot connect: %s", strerror(errnum));
}

static void call_connected(void *owner, short what)
{
    struct packet_call *call = owner;
    int errnum = 0;
    socklen_t size = sizeof(errnum);

    (void)what;
    if (getsockopt(call->connection->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0)
        errnum = errno;
    if (errnum != 0) {
        call_connect_failed(call, errnum);
        return;
    }
    packet_call_watch(call, &call->connection->write, false);
    pool_connection_own(call->connection, packet_exchange_event, call);
    packet_exchange_begin(call);
}

/* Gets a connection to the present address: a kept one, a new one, or a place in the queue. TURN: the queue
 * was waited for. Calls no callback. */
static void call_attempt(struct packet_call *call, bool turn)
{
    struct pool_endpoint *endpoint = call->endpoint;
    struct error error = {0};

    packet_call_set_state(call, CALL_WAITING);
    turn = turn || endpoint->slots.count == 0;
    if (!call->fresh && turn) {
        call->connection = pool_connection_reuse(endpoint, call->options.source != NULL);
        if (call->connection != NULL) {
            pool_connection_own(call->connection, packet_exchange_event, call);
            packet_exchange_begin(call);
            return;
        }
    }
    call->wait.done = call_resolved;
    switch (pool_endpoint_resolve(endpoint, &call->wait, &error)) {
    case POOL_UNRESOLVABLE:
        call_attempt_failed_later(call, error.code, error.text);
        return;
    case POOL_RESOLVING:
        packet_call_arm(call);
        return;
    case POOL_RESOLVED:
        break;
    }
    if (!turn || !pool_endpoint_has_room(endpoint)) {
        call->wait.done = call_turn_came;
        /* Without a timer it cannot fail. */
        ASSERT(call->fresh ? wait_enter_first(&endpoint->slots, &call->wait, 0)
                           : wait_enter(&endpoint->slots, &call->wait, 0));
        packet_call_arm(call);
        pool_endpoint_wake(endpoint);
        return;
    }
    call->target = 0;
    call_connect(call);
}

void packet_call_retry_fresh(struct packet_call *call)
{
    call->fresh = true;
    packet_call_drop_connection(call, false);
    call_attempt(call, false);
}

/* ---- the caller's side ---- */

struct packet_call *packet_call_start(struct packet_pool *pool, const struct packet_call_options *options,
                                      struct error *error)
{
    struct event_base *base = loop_base(pool->loop);
    int64_t now = clock_monotonic_ms();
    struct packet_call *call;

    if (pool->ending || options->addresses == NULL || options->addresses->count == 0) {
        (void)error_set(error, ERROR_UNAVAILABLE,
                        pool->ending ? "the connections are being closed" : "no address to call");
        return NULL;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL)
        goto fail;
    call->pool = pool;
    call->options = *options;
    call->options.addresses = NULL;
    call->options.body = NULL;
    call->wait.loop = pool->loop;
    call->head_size = PROTO_HEADER_SIZE + options->body_size;
    call->head = malloc(call->head_size);
    call->addresses = calloc(options->addresses->count, sizeof(*call->addresses));
    if (call->head == NULL || call->addresses == NULL)
        goto fail;
    proto_header_pack(call->head,
                      (int64_t)options->body_size + (options->source != NULL ? options->source_size : 0),
                      options->command, PROTO_STATUS_OK);
    if (options->body_size > 0)
        memcpy(call->head + PROTO_HEADER_SIZE, options->body, options->body_size);
    pool_order_addresses(pool, options->addresses, call->addresses);
    call->count = options->addresses->count;
    call->deadline_ms = after(now, options->timeout_ms);
    call->attempt_deadline_ms = after(now, share(options->timeout_ms, call->count));
    call->endpoint = pool_endpoint_get(pool, &call->addresses[0]);
    if (call->endpoint == NULL)
        goto fail;
    if (evtimer_assign(&call->timer, base, call_timer, call) != 0 ||
        evtimer_assign(&call->kick, base, call_kick, call) != 0) {
        pool_endpoint_put(call->endpoint);
        goto fail;
    }
    TAILQ_INSERT_TAIL(&pool->calls, call, link);
    call_attempt(call, false);
    return call;
fail:
    if (call != NULL)
        call_free(call);
    (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a call");
    return NULL;
}

void packet_call_cancel(struct packet_call *call)
{
    if (call->state == CALL_ENDED)
        return;
    packet_call_hold(call);
    call_detach(call, false);
    (void)packet_call_unhold(call);
}

void packet_call_resume_source(struct packet_call *call)
{
    call->source_resumed = true;
    if (!call->source_paused || call->state != CALL_SENDING)
        return;
    call->source_paused = false;
    packet_call_progress(call);
    packet_call_watch(call, &call->connection->write, true);
    packet_call_arm(call);
}

void packet_call_resume_sink(struct packet_call *call)
{
    call->sink_resumed = true;
    if (!call->sink_paused || call->state != CALL_STREAMING)
        return;
    call->sink_paused = false;
    packet_call_progress(call);
    packet_call_watch(call, &call->connection->read, true);
    /* The body may be complete already: then nothing more is to be read, and the event would not come. */
    if (call->body_used == call->header.length)
        event_active(&call->connection->read, EV_READ, 0);
    packet_call_arm(call);
}

const struct address *packet_call_address(const struct packet_call *call)
{
    return &call->addresses[min_size(call->position, call->count - 1)];
}

int packet_call_fd(const struct packet_call *call)
{
    ASSERT(call->state == CALL_TAKEN);
    return call->connection->fd;
}

const uint8_t *packet_call_buffered(const struct packet_call *call, size_t *size)
{
    ASSERT(call->state == CALL_TAKEN);
    *size = packet_exchange_buffered(call);
    return call->connection->buffer + PROTO_HEADER_SIZE;
}

void packet_call_forget_buffered(struct packet_call *call)
{
    ASSERT(call->state == CALL_TAKEN);
    pool_connection_give_buffer(call->connection);
}

int64_t packet_call_length(const struct packet_call *call)
{
    return call->header.length;
}

void packet_call_release(struct packet_call *call, bool reusable)
{
    ASSERT(call->state == CALL_TAKEN);
    packet_call_hold(call);
    call_detach(call, reusable && packet_exchange_in_step(call));
    (void)packet_call_unhold(call);
}

/* The socket stays with its caller; the pool forgets it. */
static void call_orphan(struct packet_call *call)
{
    struct pool_connection *connection = call->connection;
    struct pool_endpoint *endpoint = connection->endpoint;

    event_del(&call->timer);
    event_del(&call->kick);
    event_del(&connection->read);
    TAILQ_REMOVE(&call->pool->calls, call, link);
    call->pool = NULL;
    connection->endpoint = NULL;
    endpoint->open--;
    pool_endpoint_put(endpoint);
    call_leave_endpoint(call);
}

void packet_call_end_all(struct packet_pool *pool)
{
    struct packet_call *call;
    struct error error;

    (void)error_set(&error, ERROR_CANCELLED, "the connections are being closed");
    while ((call = TAILQ_FIRST(&pool->calls)) != NULL) {
        if (call->state == CALL_TAKEN)
            call_orphan(call);
        else
            packet_call_end(call, false, NULL, 0, &error);
    }
}
