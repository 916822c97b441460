/*
 * packet_call: attempts over addresses. An attempt is a leg: it waits for a name and a connection's turn, connects, and runs
 * one exchange; when that fails it goes on with the next address that no other leg has. Without hedging there is one leg;
 * with it a timer sends the next one after it. The call ends with the first answer, or when no leg is left.
 */
#include "common/call/packet_call.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/call/pool_endpoint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum leg_state {
    LEG_IDLE,    /* not begun, or over */
    LEG_WAITING, /* for a name, a connection's turn, or the next step after a failure that was found at once */
    LEG_CONNECTING,
    LEG_EXCHANGING,
    LEG_TAKEN, /* the socket is the caller's */
};

struct call_leg {
    struct packet_call *call;
    enum leg_state state;
    size_t position; /* of its address */
    struct pool_endpoint *endpoint;
    struct pool_connection *connection;
    struct packet_exchange *exchange;
    struct wait wait;
    size_t target;        /* which of the endpoint's resolved addresses is tried */
    bool fresh;           /* a kept connection turned out dead: now only a new one */
    bool answering;       /* its header came */
    bool slow;            /* another one was asked because of it */
    int64_t deadline_ms;  /* of this address, so that a hanging one leaves time for the others; 0: none */
    struct event timer;   /* of waiting and connecting; also takes up FAILURE */
    struct error failure; /* found where no callback may be called */
};

struct packet_call {
    struct pool_tenant tenant;
    struct packet_pool *pool;           /* NULL once the pool has gone while the caller held the socket */
    struct packet_call_options options; /* its `addresses` and `body` are not used after the start */
    struct address *addresses;          /* penalised ones last */
    size_t count, next;                 /* the first one that no leg has tried */
    size_t subject;                     /* of packet_call_address() */
    uint8_t *head;                      /* header and fixed part of the body */
    size_t head_size;
    int64_t deadline_ms; /* of the whole call; 0: none */
    struct event hedge;
    struct error report; /* every address that was tried, and why it failed */
    bool answered;       /* report.code is a failure reply's number */
    bool ended;
    unsigned holds; /* callbacks of the user under way: the memory stays until they return */
    size_t running;
    size_t leg_count;
    struct call_leg legs[];
};

static void leg_attempt(struct call_leg *leg, bool turn);
static void leg_next_address(struct call_leg *leg);

/* ---- time ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    if (a == 0)
        return b;
    return b == 0 ? a : min_i64(a, b);
}

/* One of PARTS equal parts of DURATION; 0 (no limit) stays 0, and nothing else becomes it. */
static int64_t share(int64_t duration, size_t parts)
{
    return duration > 0 ? max_i64(duration / (int64_t)max_size(parts, 1), 1) : 0;
}

static bool is_hedged(const struct packet_call *call)
{
    return call->options.hedge_ms > 0;
}

static void leg_arm(struct call_leg *leg, int64_t limit_ms)
{
    const struct timeval interval = duration_timeval(limit_ms - clock_monotonic_ms());

    if (limit_ms == 0)
        return;
    if (event_add(&leg->timer, &interval) != 0)
        log_error("packet", "cannot arm a timer: a call to %s has no time limit", leg->endpoint->text);
}

/* ---- holding: a user's callback may cancel its call ---- */

static void call_free(struct packet_call *call)
{
    free(call->addresses);
    free(call->head);
    free(call);
}

static void call_hold(struct packet_call *call)
{
    call->holds++;
}

/* False: it ended, and must not be touched. */
static bool call_unhold(struct packet_call *call)
{
    ASSERT(call->holds > 0);
    call->holds--;
    if (!call->ended)
        return true;
    if (call->holds == 0)
        call_free(call);
    return false;
}

/* ---- the end ---- */

static void leg_drop_connection(struct call_leg *leg, bool park)
{
    struct pool_connection *connection = leg->connection;

    packet_exchange_cancel(leg->exchange);
    leg->exchange = NULL;
    leg->connection = NULL;
    if (!connection)
        return;
    if (park)
        pool_connection_park(connection);
    else
        pool_connection_close(connection);
}

static void leg_leave_endpoint(struct call_leg *leg)
{
    struct pool_endpoint *endpoint = leg->endpoint;

    (void)wait_leave(&leg->wait);
    leg->endpoint = NULL;
    if (!endpoint)
        return;
    pool_endpoint_wake(endpoint); /* it may have been woken for a connection that it did not use */
    pool_endpoint_put(endpoint);
}

static void leg_stop(struct call_leg *leg, bool park)
{
    if (leg->state == LEG_IDLE)
        return;
    leg->state = LEG_IDLE;
    leg->call->running--;
    if (leg->call->pool)
        (void)event_del(&leg->timer);
    leg_drop_connection(leg, park);
    leg_leave_endpoint(leg);
}

/* Takes the call out of everything; what is left is its memory. */
static void call_detach(struct packet_call *call)
{
    call->ended = true;
    for (size_t i = 0; i < call->leg_count; i++)
        leg_stop(&call->legs[i], false);
    if (!call->pool)
        return;
    (void)event_del(&call->hedge);
    TAILQ_REMOVE(&call->pool->tenants, &call->tenant, link);
}

static void call_end(struct packet_call *call, const uint8_t *body, size_t size, const struct error *error)
{
    call_hold(call);
    call_detach(call);
    call->options.done(call->options.argument, body, size, error);
    (void)call_unhold(call);
}

static void call_end_report(struct packet_call *call)
{
    struct error error = call->report;

    call_end(call, NULL, 0, &error);
}

/* ---- failures ---- */

/* An answer without a reason ("no", "never heard of it") says less than that another server could not be asked. */
static bool says_something(int code)
{
    return code != ERROR_GENERAL && code != ERROR_UNKNOWN_COMMAND;
}

/* One more line of the report. ANSWER: the peer said so itself, which outranks the code of a broken connection. */
static void call_report(struct packet_call *call, const struct call_leg *leg, int code, bool answer,
                        const char *why)
{
    size_t used = strlen(call->report.text);
    const char *where = leg->endpoint ? leg->endpoint->text : "?";

    answer = answer && says_something(code);
    if (answer || (!call->answered && (call->report.code == ERROR_NONE || says_something(code))))
        call->report.code = code;
    call->answered = call->answered || answer;
    (void)snprintf(call->report.text + used, sizeof(call->report.text) - used, "%s%s: %s",
                   used > 0 ? "; " : "", where, why);
}

/* This address failed: the next one. May end the call. */
static void leg_failed(struct call_leg *leg, int code, bool answer, const char *why)
{
    struct packet_call *call = leg->call;

    log_debug("packet", "command %u to %s: %s", call->options.command, leg->endpoint->text, why);
    call->subject = leg->position;
    call_report(call, leg, code, answer, why);
    leg_next_address(leg);
}

/* The same from where no callback may be called: the timer goes on from here. */
static void leg_failed_later(struct call_leg *leg, int code, const char *why)
{
    leg->state = LEG_WAITING;
    (void)error_set(&leg->failure, code, "%s", why);
    event_active(&leg->timer, EV_TIMEOUT, 0);
}

static void leg_connection_failed(struct call_leg *leg, int code, const char *format, ...) PRINTF_LIKE(3, 4);
static void leg_connection_failed(struct call_leg *leg, int code, const char *format, ...)
{
    char why[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    pool_endpoint_penalise(leg->endpoint);
    leg_failed(leg, code, false, why);
}

static void leg_timer(evutil_socket_t fd, short what, void *argument)
{
    struct call_leg *leg = argument;
    struct error failure = leg->failure;

    (void)fd;
    (void)what;
    leg->failure.code = ERROR_NONE;
    if (failure.code != ERROR_NONE)
        leg_failed(leg, failure.code, false, failure.text);
    else if (leg->state == LEG_CONNECTING)
        leg_connection_failed(leg, ERROR_TIMEOUT, "connecting took too long");
    else if (leg->state == LEG_WAITING && leg->wait.list == &leg->endpoint->names)
        leg_failed(leg, ERROR_TIMEOUT, false, "the host name was not resolved in time");
    else if (leg->state == LEG_WAITING)
        leg_failed(leg, ERROR_UNAVAILABLE, false, "no connection became free in time");
}

/* ---- the exchange ---- */

static bool call_wants_next(struct packet_call *call, const struct error *error)
{
    bool again = error->code == ERROR_UNAVAILABLE;

    if (call->options.again)
        again = call->options.again(call->options.argument, error);
    return again;
}

/* A failure reply: an answer, or a reason to ask the next one. */
static void leg_refused(struct call_leg *leg, const struct packet_exchange_end *end)
{
    struct packet_call *call = leg->call;
    bool again;

    leg->connection->after_failure = true;
    leg_drop_connection(leg, end->reusable);
    call->subject = leg->position;
    call_hold(call);
    again = call_wants_next(call, &end->error);
    if (!call_unhold(call))
        return;
    if (again && !end->source_used) {
        leg_failed(leg, end->error.code, true, end->error.text);
        return;
    }
    call_report(call, leg, end->error.code, true, end->error.text);
    call->report.code = end->error.code; /* the call ends because of it, whatever it says */
    call_end_report(call);
}

/* What no other address would change, or none may be asked any more. */
static void leg_ends_call(struct call_leg *leg, const struct packet_exchange_end *end, bool answer)
{
    leg->call->subject = leg->position;
    call_report(leg->call, leg, end->error.code, answer, end->error.text);
    call_end_report(leg->call);
}

static void leg_ended(void *argument, const struct packet_exchange_end *end)
{
    struct call_leg *leg = argument;
    struct packet_call *call = leg->call;

    leg->exchange = NULL;
    leg->answering = false;
    switch (end->outcome) {
    case EXCHANGE_ANSWERED:
        call->subject = leg->position;
        leg_stop(leg, end->reusable);
        call_end(call, end->body, end->size, NULL);
        return;
    case EXCHANGE_REFUSED:
        leg_refused(leg, end);
        return;
    case EXCHANGE_STALE: /* the peer closed it while it was kept, which says nothing about the peer now */
        leg->fresh = true;
        leg_drop_connection(leg, false);
        leg_attempt(leg, false);
        return;
    case EXCHANGE_BROKEN:
    case EXCHANGE_WRONG:
        pool_endpoint_penalise(leg->endpoint);
        if (end->source_used)
            leg_ends_call(leg, end, end->outcome == EXCHANGE_WRONG);
        else
            leg_failed(leg, end->error.code, end->outcome == EXCHANGE_WRONG, end->error.text);
        return;
    case EXCHANGE_GAVE_UP:
        leg_ends_call(leg, end, true);
        return;
    }
}

static enum packet_verdict leg_header(void *argument, int64_t length)
{
    struct call_leg *leg = argument;
    struct packet_call *call = leg->call;
    enum packet_verdict verdict = PACKET_COLLECT;

    leg->answering = true;
    pool_endpoint_praise(leg->endpoint);
    leg->connection->after_failure = false;
    call->subject = leg->position;
    if (!call->options.header)
        return verdict;
    call_hold(call);
    verdict = call->options.header(call->options.argument, length);
    (void)call_unhold(call); /* the exchange knows when it was cancelled meanwhile */
    return verdict;
}

static void leg_taken(void *argument)
{
    struct call_leg *leg = argument;
    struct packet_call *call = leg->call;

    leg->state = LEG_TAKEN;
    call_hold(call);
    call->options.taken(call->options.argument, call);
    (void)call_unhold(call);
}

static int64_t leg_source(void *argument, uint8_t *buffer, size_t size)
{
    struct packet_call *call = ((struct call_leg *)argument)->call;
    int64_t got;

    call_hold(call);
    got = call->options.source(call->options.argument, buffer, size);
    (void)call_unhold(call);
    return got;
}

/* On LEG's connection, which is made. Calls no callback. */
static void leg_exchange(struct call_leg *leg, bool kept)
{
    struct packet_call *call = leg->call;
    const struct packet_exchange_options options = {
        .loop = call->pool->loop,
        .socket = &leg->connection->socket,
        .head = call->head,
        .head_size = call->head_size,
        .kept = kept && !leg->fresh,
        .source_size = call->options.source_size,
        .source = call->options.source ? leg_source : NULL,
        .reply_max = call->options.reply_max,
        .deadline_ms = leg->deadline_ms,
        .timeout_ms = call->options.timeout_ms,
        .progress_ms = call->options.progress_ms,
        .header = leg_header,
        .taken = leg_taken,
        .ended = leg_ended,
        .argument = leg,
    };

    (void)event_del(&leg->timer);
    leg->state = LEG_EXCHANGING;
    leg->exchange = packet_exchange_start(&options);
    if (leg->exchange)
        return;
    leg_drop_connection(leg, false);
    leg_failed_later(leg, ERROR_UNAVAILABLE, "no memory for a request");
}

/* ---- a connection to the leg's address ---- */

static void leg_connected(void *owner, short what);

static void leg_connect(struct call_leg *leg)
{
    struct pool_endpoint *endpoint = leg->endpoint;
    int64_t now = clock_monotonic_ms(), limit;
    int errnum = EADDRNOTAVAIL;
    char why[ERROR_TEXT_SIZE];

    for (; leg->target < endpoint->resolved_count; leg->target++) {
        leg->connection = pool_connection_open(endpoint, &endpoint->resolved[leg->target], &errnum);
        if (!leg->connection)
            continue;
        packet_socket_own(&leg->connection->socket, leg_connected, leg);
        leg->state = LEG_CONNECTING;
        limit = duration_deadline(
            now, share(endpoint->pool->options.connect_timeout_ms, endpoint->resolved_count - leg->target));
        if (!packet_socket_watch(&leg->connection->socket.write, true))
            log_error("packet", "%s: cannot watch a socket; connecting ends by its time limit",
                      endpoint->text);
        leg_arm(leg, earlier(limit, leg->deadline_ms));
        return;
    }
    pool_endpoint_penalise(endpoint);
    (void)snprintf(why, sizeof(why), "cannot connect: %s", strerror(errnum));
    leg_failed_later(leg, error_code_of_errno(errnum) == ERROR_TIMEOUT ? ERROR_TIMEOUT : ERROR_CONNECTION,
                     why);
}

static void leg_connected(void *owner, short what)
{
    struct call_leg *leg = owner;
    struct packet_socket *socket = &leg->connection->socket;
    int errnum = 0;
    socklen_t size = sizeof(errnum);

    (void)what;
    if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0)
        errnum = errno;
    if (errnum == 0) {
        (void)packet_socket_watch(&socket->write, false);
        leg_exchange(leg, false);
        return;
    }
    leg_drop_connection(leg, false);
    if (++leg->target < leg->endpoint->resolved_count)
        leg_connect(leg);
    else
        leg_connection_failed(leg, errnum == ETIMEDOUT ? ERROR_TIMEOUT : ERROR_CONNECTION,
                              "cannot connect: %s", strerror(errnum));
}

static void leg_resolved(struct wait *wait, enum wait_end end)
{
    (void)end; /* the leg has a time limit of its own */
    leg_attempt(CONTAINER_OF(wait, struct call_leg, wait), false);
}

static void leg_turn_came(struct wait *wait, enum wait_end end)
{
    (void)end;
    leg_attempt(CONTAINER_OF(wait, struct call_leg, wait), true);
}

/* Gets a connection to the present address: a kept one, a new one, or a place in the queue. TURN: the queue was waited
 * for. Calls no callback. */
static void leg_attempt(struct call_leg *leg, bool turn)
{
    struct pool_endpoint *endpoint = leg->endpoint;
    struct error error = {0};

    leg->state = LEG_WAITING;
    turn = turn || endpoint->slots.count == 0;
    if (!leg->fresh && turn) {
        leg->connection = pool_connection_reuse(endpoint, leg->call->options.source);
        if (leg->connection) {
            leg_exchange(leg, true);
            return;
        }
    }
    leg->wait.done = leg_resolved;
    switch (pool_endpoint_resolve(endpoint, &leg->wait, &error)) {
    case POOL_UNRESOLVABLE:
        leg_failed_later(leg, error.code, error.text);
        return;
    case POOL_RESOLVING:
        leg_arm(leg, leg->deadline_ms);
        return;
    case POOL_RESOLVED:
        break;
    }
    leg->target = 0;
    if (turn && pool_endpoint_has_room(endpoint)) {
        leg_connect(leg);
        return;
    }
    leg->wait.done = leg_turn_came;
    ASSERT(leg->fresh ? wait_enter_first(&endpoint->slots, &leg->wait, 0)
                      : wait_enter(&endpoint->slots, &leg->wait, 0)); /* without a timer it cannot fail */
    leg_arm(leg, leg->deadline_ms);
    pool_endpoint_wake(endpoint);
}

/* ---- addresses ---- */

/* Sets the time at which the next address is asked too, if there is one. */
static void call_arm_hedge(struct packet_call *call)
{
    int64_t wait = call->options.hedge_ms;
    struct timeval interval;

    if (!is_hedged(call))
        return;
    if (call->next == call->count) {
        (void)event_del(&call->hedge);
        return;
    }
    if (pool_address_penalised(call->pool, &call->addresses[call->next]))
        wait *= 2;
    interval = duration_timeval(wait);
    if (event_add(&call->hedge, &interval) != 0)
        log_error("packet", "cannot arm a timer: a slow server is waited for");
}

/* Begins with the next address that can be tried. False: there is none, or no time. */
static bool leg_begin(struct call_leg *leg)
{
    struct packet_call *call = leg->call;
    int64_t now = clock_monotonic_ms();

    while (call->next < call->count && (call->deadline_ms == 0 || now < call->deadline_ms)) {
        size_t left = call->count - call->next;

        leg->position = call->next++;
        if (!is_hedged(call))
            call->subject = leg->position;
        leg->endpoint = pool_endpoint_get(call->pool, &call->addresses[leg->position]);
        if (!leg->endpoint) {
            call_report(call, leg, ERROR_UNAVAILABLE, false, "no memory");
            continue;
        }
        leg->fresh = leg->slow = leg->answering = false;
        leg->failure.code = ERROR_NONE;
        leg->deadline_ms = call->deadline_ms;
        if (call->deadline_ms != 0 && !is_hedged(call))
            leg->deadline_ms = duration_deadline(now, share(call->deadline_ms - now, left));
        call->running++;
        leg_attempt(leg, false);
        call_arm_hedge(call);
        return true;
    }
    return false;
}

static void leg_next_address(struct call_leg *leg)
{
    struct packet_call *call = leg->call;

    leg_stop(leg, false);
    if (!leg_begin(leg) && call->running == 0)
        call_end_report(call);
}

/* The addresses asked so far are slow: one more is asked. */
static void call_hedge(evutil_socket_t fd, short what, void *argument)
{
    struct packet_call *call = argument;
    struct call_leg *unused = NULL;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < call->leg_count; i++) {
        if (call->legs[i].answering)
            return; /* where that breaks off, the next one is asked */
        if (call->legs[i].state == LEG_IDLE)
            unused = &call->legs[i];
    }
    if (!unused)
        return;
    for (size_t i = 0; i < call->leg_count; i++) {
        struct call_leg *leg = &call->legs[i];

        if (leg->state == LEG_IDLE || leg->slow)
            continue;
        leg->slow = true;
        pool_endpoint_penalise(leg->endpoint);
    }
    metric_add(call->pool->hedged, 1);
    (void)leg_begin(unused);
}

/* ---- the pool goes ---- */

static void call_leave(struct pool_tenant *tenant, bool trim)
{
    struct packet_call *call = CONTAINER_OF(tenant, struct packet_call, tenant);
    struct call_leg *leg = &call->legs[0];
    struct error error;

    if (trim)
        return;
    if (leg->state == LEG_TAKEN) { /* the socket stays with its caller; the pool forgets it */
        (void)event_del(&leg->timer);
        (void)event_del(&call->hedge);
        TAILQ_REMOVE(&call->pool->tenants, &call->tenant, link);
        call->pool = NULL;
        pool_connection_orphan(leg->connection);
        leg_leave_endpoint(leg);
        return;
    }
    (void)error_set(&error, ERROR_CANCELLED, "the connections are being closed");
    call_end(call, NULL, 0, &error);
}

/* ---- the caller's side ---- */

static bool call_pack_head(struct packet_call *call, const struct packet_call_options *options)
{
    call->head_size = PROTO_HEADER_SIZE + options->body_size;
    call->head = malloc(call->head_size);
    if (!call->head)
        return false;
    proto_header_pack(call->head, (int64_t)options->body_size + (options->source ? options->source_size : 0),
                      options->command, PROTO_STATUS_OK);
    if (options->body_size > 0)
        memcpy(call->head + PROTO_HEADER_SIZE, options->body, options->body_size);
    return true;
}

static struct packet_call *call_create(struct packet_pool *pool, const struct packet_call_options *options)
{
    struct event_base *base = loop_base(pool->loop);
    size_t count = options->addresses->count, legs = options->hedge_ms > 0 ? count : 1;
    struct packet_call *call = calloc(1, sizeof(*call) + legs * sizeof(call->legs[0]));
    bool fine;

    if (!call)
        return NULL;
    call->pool = pool;
    call->tenant.leave = call_leave;
    call->options = *options;
    call->options.addresses = NULL;
    call->options.body = NULL;
    call->count = count;
    call->leg_count = legs;
    call->addresses = calloc(count, sizeof(*call->addresses));
    fine = call->addresses && call_pack_head(call, options) &&
           evtimer_assign(&call->hedge, base, call_hedge, call) == 0;
    for (size_t i = 0; fine && i < legs; i++) {
        call->legs[i].call = call;
        call->legs[i].wait.loop = pool->loop;
        fine = evtimer_assign(&call->legs[i].timer, base, leg_timer, &call->legs[i]) == 0;
    }
    if (fine)
        return call;
    call_free(call);
    return NULL;
}

struct packet_call *packet_call_start(struct packet_pool *pool, const struct packet_call_options *options,
                                      struct error *error)
{
    struct packet_call *call;

    ASSERT(options->hedge_ms <= 0 || (!options->source && !options->header));
    if (pool->ending || !options->addresses || options->addresses->count == 0) {
        (void)error_set(error, ERROR_UNAVAILABLE,
                        pool->ending ? "the connections are being closed" : "no address to call");
        return NULL;
    }
    call = call_create(pool, options);
    if (!call) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a call");
        return NULL;
    }
    pool_order_addresses(pool, options->addresses, call->addresses);
    call->deadline_ms = duration_deadline(clock_monotonic_ms(), options->timeout_ms);
    if (!leg_begin(&call->legs[0])) {
        *error = call->report;
        call_free(call);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&pool->tenants, &call->tenant, link);
    return call;
}

void packet_call_cancel(struct packet_call *call)
{
    if (call->ended)
        return;
    call_hold(call);
    call_detach(call);
    (void)call_unhold(call);
}

void packet_call_resume_source(struct packet_call *call)
{
    if (call->legs[0].exchange)
        packet_exchange_resume_source(call->legs[0].exchange);
}

int64_t packet_call_silent_ms(const struct packet_call *call)
{
    const struct packet_exchange *exchange = call->legs[0].exchange;

    return exchange && !is_hedged(call) ? packet_exchange_silent_ms(exchange) : 0;
}

const struct address *packet_call_address(const struct packet_call *call)
{
    return &call->addresses[call->subject];
}

/* ---- after `taken` ---- */

static const struct call_leg *taken_leg(const struct packet_call *call)
{
    ASSERT(call->legs[0].state == LEG_TAKEN);
    return &call->legs[0];
}

int packet_call_fd(const struct packet_call *call)
{
    return taken_leg(call)->connection->socket.fd;
}

const uint8_t *packet_call_buffered(const struct packet_call *call, size_t *size)
{
    const struct call_leg *leg = taken_leg(call);

    *size = packet_exchange_buffered(leg->exchange);
    return leg->connection->socket.buffer + PROTO_HEADER_SIZE;
}

void packet_call_forget_buffered(struct packet_call *call)
{
    packet_socket_give_buffer(&taken_leg(call)->connection->socket);
}

int64_t packet_call_length(const struct packet_call *call)
{
    return packet_exchange_length(taken_leg(call)->exchange);
}

void packet_call_release(struct packet_call *call, bool reusable)
{
    struct call_leg *leg = &call->legs[0];

    ASSERT(leg->state == LEG_TAKEN);
    call_hold(call);
    reusable = packet_exchange_release(leg->exchange) && reusable;
    leg->exchange = NULL;
    leg_stop(leg, reusable);
    call_detach(call);
    (void)call_unhold(call);
}
