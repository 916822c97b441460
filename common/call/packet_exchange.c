/*
 * packet_exchange: sends the request of an exchange, and has its events; replies are read by exchange_reply.c.
 */
#include "common/call/packet_exchange.h"
#include "common/call/exchange_reply.h"
#include "common/call/exchange_state.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

static void exchange_event(void *owner, short what);

/* ---- sending ---- */

static void request_sent(struct packet_exchange *exchange)
{
    exchange->state = EXCHANGE_HEADER;
    exchange_watch(&exchange->socket->write, false);
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
        exchange_watch(&exchange->socket->write, true);
        exchange_arm(exchange);
        return false;
    case OUTGOING_WAITS:
        exchange_watch(&exchange->socket->write, false);
        exchange_arm(exchange);
        return false;
    case OUTGOING_NOTHING: /* the caller has more in the meantime: after the other connections' turn */
        exchange_watch(&exchange->socket->write, true);
        return false;
    case OUTGOING_SENT:
        request_sent(exchange);
        return false;
    case OUTGOING_BROKEN:
        /* A peer that refuses a body may reply and close before all of it was sent: what it said is still in the
         * socket. */
        exchange_watch(&exchange->socket->write, false);
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

    while (writes < EXCHANGE_STEPS) {
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
    exchange_watch(&exchange->socket->write, true);
    exchange_arm(exchange);
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
            exchange_read_header(exchange);
        return;
    case EXCHANGE_HEADER:
    case EXCHANGE_FAILURE:
        if (what & EV_READ)
            exchange_read_header(exchange);
        return;
    case EXCHANGE_COLLECTING:
        if (what & EV_READ)
            exchange_collect(exchange);
        return;
    case EXCHANGE_TAKEN: /* the peer closes it, or sends too much: seen again when the connection becomes idle */
        (void)event_del(&exchange->socket->read);
        return;
    case EXCHANGE_ENDED:
        break;
    }
    ASSERT(false); /* whoever ended it must have taken the socket back */
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
    exchange_watch(&exchange->socket->read, true);
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
    if (!exchange_is_under_way(exchange) || exchange->out.paused)
        return 0;
    return clock_monotonic_ms() - exchange->progress_ms;
}

int64_t packet_exchange_length(const struct packet_exchange *exchange)
{
    return exchange->header.length;
}

size_t packet_exchange_buffered(const struct packet_exchange *exchange)
{
    return exchange_buffered(exchange);
}

bool packet_exchange_release(struct packet_exchange *exchange)
{
    bool reusable = exchange_in_step(exchange);

    ASSERT(exchange->state == EXCHANGE_TAKEN);
    packet_exchange_cancel(exchange);
    return reusable;
}
