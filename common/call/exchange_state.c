/*
 * exchange_state: when an exchange ends or its time is over, and who is notified.
 */
#include "common/call/exchange_state.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS    1000 /* how often the peer's silence is looked at while a request is under way */
#define SILENCE_MS 5000 /* unacknowledged for so long: the peer's machine is gone */

/* ---- holding and the end ---- */

static void exchange_free(struct packet_exchange *exchange)
{
    packet_outgoing_clear(&exchange->out);
    reply_body_clear(&exchange->body);
    free(exchange);
}

void exchange_hold(struct packet_exchange *exchange)
{
    exchange->holds++;
}

bool exchange_unhold(struct packet_exchange *exchange)
{
    exchange->holds--;
    if (exchange->state != EXCHANGE_ENDED)
        return true;
    if (exchange->holds == 0)
        exchange_free(exchange);
    return false;
}

void exchange_stop(struct packet_exchange *exchange)
{
    if (exchange->armed_ms != 0)
        (void)event_del(&exchange->timer);
    exchange->armed_ms = 0;
    exchange->state = EXCHANGE_ENDED;
}

void exchange_end(struct packet_exchange *exchange, struct packet_exchange_end *end)
{
    end->source_used = exchange->out.taken > 0;
    exchange_hold(exchange);
    exchange_stop(exchange);
    exchange->options.ended(exchange->options.argument, end);
    (void)exchange_unhold(exchange);
}

void exchange_fail(struct packet_exchange *exchange, enum packet_exchange_outcome outcome, int code,
                   const char *format, ...)
{
    struct packet_exchange_end end = {.outcome = outcome, .error = {.code = code}};
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(end.error.text, sizeof(end.error.text), format, arguments);
    va_end(arguments);
    exchange_end(exchange, &end);
}

bool exchange_in_step(const struct packet_exchange *exchange)
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
            return 0; /* the caller's own slowness is not the peer's fault, which has a limit of its own */
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

bool exchange_is_under_way(const struct packet_exchange *exchange)
{
    return exchange->state == EXCHANGE_SENDING || exchange->state == EXCHANGE_HEADER;
}

/* The timer may ring early, never late: it is moved only when the limit comes nearer, and looks again when it rings. */
void exchange_arm(struct packet_exchange *exchange)
{
    int64_t limit = exchange_limit(exchange), wait;
    struct timeval interval;

    if (limit == 0 || (exchange->armed_ms != 0 && exchange->armed_ms <= limit))
        return;
    wait = max_i64(limit - clock_monotonic_ms(), 0);
    if (wait > LOOK_MS && exchange_is_under_way(exchange)) {
        limit -= wait - LOOK_MS;
        wait = LOOK_MS;
    }
    interval = duration_timeval(wait);
    if (event_add(&exchange->timer, &interval) == 0)
        exchange->armed_ms = limit;
    else
        log_error("packet", "cannot arm a timer: a request has no time limit");
}

void exchange_progress(struct packet_exchange *exchange)
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

void exchange_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_exchange *exchange = argument;
    int64_t limit = exchange_limit(exchange);

    (void)fd;
    (void)what;
    exchange->armed_ms = 0;
    if (limit != 0 && clock_monotonic_ms() >= limit)
        exchange_time_is_over(exchange);
    else if (exchange_is_under_way(exchange) && packet_socket_is_silent(exchange->socket, SILENCE_MS))
        exchange_fail(exchange, EXCHANGE_BROKEN, ERROR_TIMEOUT,
                      "its machine no longer acknowledges anything");
    else
        exchange_arm(exchange);
}

/* ---- events ---- */

void exchange_watch(struct event *event, bool on)
{
    if (!packet_socket_watch(event, on))
        log_error("packet", "cannot watch a socket; its request will end at its time limit");
}

void exchange_send_soon(struct packet_exchange *exchange)
{
    event_active(&exchange->socket->write, EV_WRITE, 0);
}

/* ---- the reply ---- */

size_t exchange_buffered(const struct packet_exchange *exchange)
{
    return (size_t)min_i64((int64_t)(exchange->socket->used - PROTO_HEADER_SIZE), exchange->header.length);
}
