#include "common/call/packet_hedge.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/call/packet_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call, to one address; without hedging the only one, to all of them. */
struct hedge_leg {
    struct packet_hedge *hedge;
    struct packet_call *call; /* NULL: not begun, or over */
    bool slow;                /* another one was asked because of it */
    bool answering;           /* its header came */
    bool refused;             /* with a failure */
    bool final;               /* which no other server would answer otherwise */
};

struct packet_hedge {
    struct packet_pool *pool;
    struct packet_hedge_options options; /* its `addresses` and `body` are not used after the start */
    struct address *addresses;           /* penalised ones last */
    size_t address_count;
    uint8_t *body;
    struct hedge_leg *legs;
    size_t leg_count, started, running;
    struct event timer;
    int64_t deadline_ms;    /* 0: none */
    struct address address; /* that a callback is about */
    struct error report;    /* of every leg that failed */
    bool refused;           /* report.code is a failure reply's number */
    bool ended;
    unsigned holds; /* callbacks of the user under way: the memory stays until they return */
};

static void hedge_next(struct packet_hedge *hedge);

/* ---- life ---- */

static void hedge_free(struct packet_hedge *hedge)
{
    free(hedge->addresses);
    free(hedge->body);
    free(hedge->legs);
    free(hedge);
}

/* Takes everything back; what is left is the memory. */
static void hedge_detach(struct packet_hedge *hedge)
{
    hedge->ended = true;
    event_del(&hedge->timer);
    for (size_t i = 0; i < hedge->started; i++) {
        if (hedge->legs[i].call != NULL)
            packet_call_cancel(hedge->legs[i].call);
        hedge->legs[i].call = NULL;
    }
}

/* False: it ended meanwhile, and must not be touched. */
static bool hedge_unhold(struct packet_hedge *hedge)
{
    hedge->holds--;
    if (!hedge->ended)
        return true;
    if (hedge->holds == 0)
        hedge_free(hedge);
    return false;
}

static void hedge_end(struct packet_hedge *hedge, const uint8_t *body, size_t size, const struct error *error)
{
    hedge->holds++;
    hedge_detach(hedge);
    hedge->options.done(hedge->options.argument, body, size, error);
    (void)hedge_unhold(hedge);
}

/* ---- legs ---- */

/* An answer's number outranks that of a connection that failed. */
static void hedge_report(struct packet_hedge *hedge, const struct error *error, bool refused)
{
    size_t used = strlen(hedge->report.text);

    if (refused || !hedge->refused)
        hedge->report.code = error->code;
    hedge->refused = hedge->refused || refused;
    (void)snprintf(hedge->report.text + used, sizeof(hedge->report.text) - used, "%s%s", used > 0 ? "; " : "",
                   error->text);
}

static enum packet_verdict leg_header(void *argument, int64_t length)
{
    struct hedge_leg *leg = argument;

    (void)length;
    leg->answering = true;
    return PACKET_COLLECT;
}

static bool leg_again(void *argument, const struct error *error)
{
    struct hedge_leg *leg = argument;
    struct packet_hedge *hedge = leg->hedge;
    bool again = error->code == ERROR_UNAVAILABLE;

    hedge->address = *packet_call_address(leg->call);
    if (hedge->options.again != NULL) {
        hedge->holds++;
        again = hedge->options.again(hedge->options.argument, error);
        if (!hedge_unhold(hedge))
            return false;
    }
    leg->refused = true;
    leg->final = !again;
    return again;
}

static void leg_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct hedge_leg *leg = argument;
    struct packet_hedge *hedge = leg->hedge;

    hedge->address = *packet_call_address(leg->call);
    leg->call = NULL;
    leg->answering = false;
    hedge->running--;
    if (error == NULL) {
        hedge_end(hedge, body, size, NULL);
        return;
    }
    hedge_report(hedge, error, leg->refused || error->code == ERROR_MALFORMED);
    if (!leg->final && error->code != ERROR_CANCELLED)
        hedge_next(hedge);
    if (leg->final || error->code == ERROR_CANCELLED || hedge->running == 0) {
        struct error report = hedge->report;

        hedge_end(hedge, NULL, 0, &report);
    }
}

static bool leg_start(struct packet_hedge *hedge, struct hedge_leg *leg, struct error *error)
{
    size_t index = (size_t)(leg - hedge->legs);
    struct address_list list = {
        .items = hedge->addresses + index,
        .count = hedge->leg_count == 1 ? hedge->address_count : 1,
    };
    struct packet_call_options call = {
        .addresses = &list,
        .command = hedge->options.command,
        .body = hedge->body,
        .body_size = hedge->options.body_size,
        .reply_max = hedge->options.reply_max,
        .timeout_ms = hedge->deadline_ms != 0 ? max_i64(hedge->deadline_ms - clock_monotonic_ms(), 1) : 0,
        .progress_ms = hedge->options.progress_ms,
        .header = leg_header,
        .again = leg_again,
        .done = leg_done,
        .argument = leg,
    };

    leg->call = packet_call_start(hedge->pool, &call, error);
    return leg->call != NULL;
}

/* Sets the time at which the next one is asked, if there is one. */
static void hedge_arm(struct packet_hedge *hedge)
{
    int64_t wait = hedge->options.hedge_ms;
    struct timeval interval;

    if (hedge->started == hedge->leg_count)
        return;
    if (pool_address_penalised(hedge->pool, &hedge->addresses[hedge->started]))
        wait *= 2;
    interval = duration_timeval(wait);
    if (event_add(&hedge->timer, &interval) != 0)
        log_error("packet", "a timer could not be set: a slow server is waited for");
}

/* Asks the next server that can be asked. */
static void hedge_next(struct packet_hedge *hedge)
{
    struct error error;

    while (hedge->started < hedge->leg_count) {
        if (leg_start(hedge, &hedge->legs[hedge->started++], &error)) {
            hedge->running++;
            hedge_arm(hedge);
            return;
        }
        hedge_report(hedge, &error, false);
    }
}

static void hedge_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_hedge *hedge = argument;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < hedge->started; i++)
        if (hedge->legs[i].answering)
            return; /* where that breaks off, the next one is asked */
    for (size_t i = 0; i < hedge->started; i++) {
        struct hedge_leg *leg = &hedge->legs[i];

        if (leg->call == NULL || leg->slow)
            continue;
        leg->slow = true;
        pool_penalise_address(hedge->pool, packet_call_address(leg->call));
    }
    metric_add(hedge->pool->hedged, 1);
    hedge_next(hedge);
}

/* ---- the caller's side ---- */

struct packet_hedge *packet_hedge_start(struct packet_pool *pool, const struct packet_hedge_options *options,
                                        struct error *error)
{
    struct packet_hedge *hedge;

    if (options->addresses == NULL || options->addresses->count == 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no address to call");
        return NULL;
    }
    hedge = calloc(1, sizeof(*hedge));
    if (hedge == NULL)
        goto no_memory;
    hedge->pool = pool;
    hedge->options = *options;
    hedge->options.addresses = NULL;
    hedge->options.body = NULL;
    hedge->address_count = options->addresses->count;
    hedge->leg_count = options->hedge_ms > 0 ? hedge->address_count : 1;
    hedge->addresses = calloc(hedge->address_count, sizeof(*hedge->addresses));
    hedge->legs = calloc(hedge->leg_count, sizeof(*hedge->legs));
    hedge->body = malloc(max_size(options->body_size, 1));
    if (hedge->addresses == NULL || hedge->legs == NULL || hedge->body == NULL ||
        evtimer_assign(&hedge->timer, loop_base(pool->loop), hedge_timer, hedge) != 0)
        goto no_memory;
    if (options->body_size > 0)
        memcpy(hedge->body, options->body, options->body_size);
    pool_order_addresses(pool, options->addresses, hedge->addresses);
    hedge->address = hedge->addresses[0];
    hedge->deadline_ms = options->timeout_ms > 0 ? clock_monotonic_ms() + options->timeout_ms : 0;
    for (size_t i = 0; i < hedge->leg_count; i++)
        hedge->legs[i].hedge = hedge;
    hedge_next(hedge);
    if (hedge->running > 0)
        return hedge;
    *error = hedge->report;
    hedge_free(hedge);
    return NULL;
no_memory:
    if (hedge != NULL)
        hedge_free(hedge);
    (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a question");
    return NULL;
}

void packet_hedge_cancel(struct packet_hedge *hedge)
{
    if (hedge->ended)
        return;
    hedge->holds++;
    hedge_detach(hedge);
    (void)hedge_unhold(hedge);
}

const struct address *packet_hedge_address(const struct packet_hedge *hedge)
{
    return &hedge->address;
}
