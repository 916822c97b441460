/*
 * packet_call: attempts over addresses. A leg is a packet_attempt that, when it fails, goes on with the next address that
 * no other leg has. Without hedging there is one leg; with it a timer sends the next one after it. The call ends with the
 * first answer, or when no leg is left.
 */
#include "common/call/packet_call.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/call/packet_attempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The attempt comes first, so that it and its leg are one pointer. */
struct call_leg {
    struct packet_attempt attempt;
    struct packet_call *call;
    size_t position; /* of its address */
    bool answering;  /* its header came */
    bool slow;       /* another one was asked because of it */
};

struct packet_call {
    struct pool_tenant tenant;
    struct packet_pool *pool;           /* NULL once the pool has gone while the caller held the socket */
    struct packet_call_options options; /* its `addresses` and `body` are not used after the start */
    struct address *addresses;          /* penalised ones last */
    size_t count, next;                 /* the first one that no leg has tried */
    size_t subject;                     /* of packet_call_address() */
    uint8_t *head;                      /* header and fixed part of the body */
    struct packet_attempt_options attempts;
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

static void leg_next_address(struct call_leg *leg);

static bool is_hedged(const struct packet_call *call)
{
    return call->options.hedge_ms > 0;
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

static void leg_stop(struct call_leg *leg, bool park)
{
    if (leg->attempt.state == ATTEMPT_IDLE)
        return;
    leg->call->running--;
    packet_attempt_stop(&leg->attempt, park);
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

/* An answer without a reason ("no", "unknown command") is less informative than a server that could not be reached. */
static bool says_something(int code)
{
    return code != ERROR_GENERAL && code != ERROR_UNKNOWN_COMMAND;
}

/* One more line of the report. ANSWER: the peer said so itself, which outranks the code of a broken connection. */
static void call_report(struct packet_call *call, const struct call_leg *leg, int code, bool answer,
                        const char *why)
{
    size_t used = strlen(call->report.text);

    answer = answer && says_something(code);
    if (answer || (!call->answered && (call->report.code == ERROR_NONE || says_something(code))))
        call->report.code = code;
    call->answered = call->answered || answer;
    (void)snprintf(call->report.text + used, sizeof(call->report.text) - used, "%s%s: %s",
                   used > 0 ? "; " : "", packet_attempt_where(&leg->attempt), why);
}

/* This address failed: the next one. May end the call. */
static void leg_failed(struct call_leg *leg, int code, bool answer, const char *why)
{
    struct packet_call *call = leg->call;

    log_debug("packet", "command %u to %s: %s", call->options.command, packet_attempt_where(&leg->attempt),
              why);
    call->subject = leg->position;
    call_report(call, leg, code, answer, why);
    leg_next_address(leg);
}

/* ---- what an attempt reports ---- */

static bool call_wants_next(struct packet_call *call, const struct error *error)
{
    bool again = error->code == ERROR_UNAVAILABLE || error->code == ERROR_THROTTLED;

    if (call->options.again)
        again = call->options.again(call->options.argument, error);
    return again;
}

/* A failure reply: an answer, or a reason to ask the next one. */
static void leg_refused(struct call_leg *leg, const struct packet_exchange_end *end)
{
    struct packet_call *call = leg->call;
    bool again;

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
    memcpy(call->report.group, end->error.group, sizeof(call->report.group));
    call_end_report(call);
}

/* A failure that no other address would change, or after which none may be asked. */
static void leg_ends_call(struct call_leg *leg, const struct packet_exchange_end *end, bool answer)
{
    leg->call->subject = leg->position;
    call_report(leg->call, leg, end->error.code, answer, end->error.text);
    call_end_report(leg->call);
}

static void leg_ended(void *attempt, const struct packet_exchange_end *end)
{
    struct call_leg *leg = CONTAINER_OF(attempt, struct call_leg, attempt);
    struct packet_call *call = leg->call;

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
    case EXCHANGE_STALE: /* the attempt goes on by itself */
    case EXCHANGE_BROKEN:
    case EXCHANGE_WRONG:
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

static enum packet_verdict leg_header(void *attempt, int64_t length)
{
    struct call_leg *leg = CONTAINER_OF(attempt, struct call_leg, attempt);
    struct packet_call *call = leg->call;
    enum packet_verdict verdict = PACKET_COLLECT;

    leg->answering = true;
    call->subject = leg->position;
    if (!call->options.header)
        return verdict;
    call_hold(call);
    verdict = call->options.header(call->options.argument, length);
    (void)call_unhold(call); /* the exchange knows when it was cancelled meanwhile */
    return verdict;
}

static void leg_taken(void *attempt)
{
    struct packet_call *call = CONTAINER_OF(attempt, struct call_leg, attempt)->call;

    call_hold(call);
    call->options.taken(call->options.argument, call);
    (void)call_unhold(call);
}

static int64_t leg_source(void *attempt, uint8_t *buffer, size_t size)
{
    struct packet_call *call = CONTAINER_OF(attempt, struct call_leg, attempt)->call;
    int64_t got;

    call_hold(call);
    got = call->options.source(call->options.argument, buffer, size);
    (void)call_unhold(call);
    return got;
}

static int64_t leg_pass(void *attempt, struct transport to, int64_t left)
{
    struct packet_call *call = CONTAINER_OF(attempt, struct call_leg, attempt)->call;
    int64_t got;

    call_hold(call);
    got = call->options.pass(call->options.argument, to, left);
    (void)call_unhold(call);
    return got;
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
        log_error("packet", "cannot arm the hedging timer; a slow server will be waited for");
}

/* Begins with the next address that can be tried. False: there is none, or no time. */
static bool leg_begin(struct call_leg *leg)
{
    struct packet_call *call = leg->call;
    int64_t now = clock_monotonic_ms(), deadline_ms;

    while (call->next < call->count && (call->deadline_ms == 0 || now < call->deadline_ms)) {
        size_t left = call->count - call->next;

        leg->position = call->next++;
        if (!is_hedged(call))
            call->subject = leg->position;
        leg->slow = leg->answering = false;
        deadline_ms = call->deadline_ms;
        if (deadline_ms != 0 && !is_hedged(call))
            deadline_ms = duration_deadline(now, duration_share(deadline_ms - now, left));
        if (!packet_attempt_begin(&leg->attempt, &call->addresses[leg->position], deadline_ms,
                                  !is_hedged(call) && left > 1)) {
            call_report(call, leg, ERROR_UNAVAILABLE, false, "no memory");
            continue;
        }
        call->running++;
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

/* The addresses asked so far are slow: ask one more. */
static void call_hedge(evutil_socket_t fd, short what, void *argument)
{
    struct packet_call *call = argument;
    struct call_leg *unused = NULL;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < call->leg_count; i++) {
        if (call->legs[i].answering)
            return; /* where that breaks off, the next one is asked */
        if (call->legs[i].attempt.state == ATTEMPT_IDLE)
            unused = &call->legs[i];
    }
    if (!unused)
        return;
    for (size_t i = 0; i < call->leg_count; i++) {
        struct call_leg *leg = &call->legs[i];

        if (leg->attempt.state == ATTEMPT_IDLE || leg->slow)
            continue;
        leg->slow = true;
        pool_endpoint_penalise(leg->attempt.endpoint);
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
    if (leg->attempt.state == ATTEMPT_TAKEN) { /* the socket stays with its caller; the pool forgets it */
        (void)event_del(&call->hedge);
        TAILQ_REMOVE(&call->pool->tenants, &call->tenant, link);
        call->pool = NULL;
        packet_attempt_orphan(&leg->attempt);
        return;
    }
    (void)error_set(&error, ERROR_CANCELLED, "the connections are being closed");
    call_end(call, NULL, 0, &error);
}

/* ---- the caller's side ---- */

static bool call_pack_head(struct packet_call *call, const struct packet_call_options *options)
{
    size_t size = PROTO_HEADER_SIZE + options->body_size;

    call->head = malloc(size);
    if (!call->head)
        return false;
    proto_header_pack(call->head,
                      (int64_t)options->body_size +
                          (options->source || options->pass ? options->source_size : 0),
                      options->command, PROTO_STATUS_OK);
    if (options->body_size > 0)
        memcpy(call->head + PROTO_HEADER_SIZE, options->body, options->body_size);
    call->attempts = (struct packet_attempt_options){
        .pool = call->pool,
        .head = call->head,
        .head_size = size,
        .source_size = options->source_size,
        .source = options->source ? leg_source : NULL,
        .pass = options->pass ? leg_pass : NULL,
        .asks = options->asks,
        .reply_max = options->reply_max,
        .timeout_ms = options->timeout_ms,
        .progress_ms = options->progress_ms,
        .header = leg_header,
        .taken = leg_taken,
        .ended = leg_ended,
    };
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
        fine = packet_attempt_init(&call->legs[i].attempt, &call->attempts);
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

    ASSERT(options->hedge_ms <= 0 || (!options->source && !options->pass && !options->header));
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
    if (call->legs[0].attempt.exchange)
        packet_exchange_resume_source(call->legs[0].attempt.exchange);
}

int64_t packet_call_silent_ms(const struct packet_call *call)
{
    const struct packet_exchange *exchange = call->legs[0].attempt.exchange;

    return exchange && !is_hedged(call) ? packet_exchange_silent_ms(exchange) : 0;
}

const struct address *packet_call_address(const struct packet_call *call)
{
    return &call->addresses[call->subject];
}

/* ---- after `taken` ---- */

static const struct packet_attempt *taken_attempt(const struct packet_call *call)
{
    ASSERT(call->legs[0].attempt.state == ATTEMPT_TAKEN);
    return &call->legs[0].attempt;
}

struct transport packet_call_transport(const struct packet_call *call)
{
    return taken_attempt(call)->connection->socket.transport;
}

const uint8_t *packet_call_buffered(const struct packet_call *call, size_t *size)
{
    const struct packet_attempt *attempt = taken_attempt(call);

    *size = packet_exchange_buffered(attempt->exchange);
    return attempt->connection->socket.buffer + PROTO_HEADER_SIZE;
}

void packet_call_forget_buffered(struct packet_call *call)
{
    packet_socket_give_buffer(&taken_attempt(call)->connection->socket);
}

int64_t packet_call_length(const struct packet_call *call)
{
    return packet_exchange_length(taken_attempt(call)->exchange);
}

void packet_call_release(struct packet_call *call, bool reusable)
{
    struct call_leg *leg = &call->legs[0];

    ASSERT(leg->attempt.state == ATTEMPT_TAKEN);
    call_hold(call);
    reusable = packet_exchange_release(leg->attempt.exchange) && reusable;
    leg->attempt.exchange = NULL;
    leg_stop(leg, reusable);
    call_detach(call);
    (void)call_unhold(call);
}
