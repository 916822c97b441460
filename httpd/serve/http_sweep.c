/*
 * http_sweep: the limits of each state, and what clients must take.
 */
#include "httpd/serve/http_sweep.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/serve/http_connection.h"
#include <inttypes.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

/* While the loop drains, a client that does nothing is not waited for longer than this. */
#define DRAIN_STILL_MS 5000

/* A client that has come less than this before most likely has a request on its way. */
#define DRAIN_FRESH_MS 1000

#define RATES_MS 500 /* between two looks at what clients take */

static int64_t of_client(const struct http_loop *loop, int64_t limit_ms)
{
    return loop->draining ? min_i64(limit_ms, DRAIN_STILL_MS) : limit_ms;
}

static int64_t http_sweep_limit_of(const struct http_loop *loop, enum http_connection_state state)
{
    switch (state) {
    case CONNECTION_IDLE:
        return loop->settings->live.idle_timeout_ms;
    case CONNECTION_HEAD:
    case CONNECTION_BODY:
        return of_client(loop, loop->settings->live.head_timeout_ms);
    case CONNECTION_STORE:
        return of_client(loop, loop->settings->live.receive_timeout_ms);
    case CONNECTION_SEND:
        return of_client(loop, loop->settings->live.send_timeout_ms);
    case CONNECTION_FEED:
        return loop->settings->live.storage_timeout_ms;
    case CONNECTION_LINGER:
        return loop->settings->live.linger_timeout_ms;
    case CONNECTION_REST:
        return 0; /* goes on at every sweep */
    case CONNECTION_LOOKUP:
    case CONNECTION_OPEN:
    case CONNECTION_CLOSED:
    case CONNECTION_STATES:
        break;
    }
    return INT64_MAX; /* the client core has limits of its own */
}

/* The client has taken no byte from us for send_timeout; has it taken any from the kernel? Then it is only
 * slow. */
static bool queue_has_moved(const struct http_connection *connection, int *queued)
{
    if (ioctl(connection->transport.fd, SIOCOUTQ, queued) != 0)
        return false;
    return connection->queued < 0 || *queued < connection->queued;
}

/* Of an upload: bytes that have come from the socket; for how long, in ms, nothing but the client has been waited for. */
static int64_t upload_received(const struct http_exchange *exchange)
{
    return exchange->feed ? feed_received(exchange->feed) : sink_received(exchange->sink);
}

static int64_t upload_waited_ms(const struct http_exchange *exchange)
{
    return exchange->feed ? feed_waited_ms(exchange->feed) : sink_waited_ms(exchange->sink);
}

static int64_t upload_still_ms(const struct http_exchange *exchange)
{
    return exchange->feed ? feed_still_ms(exchange->feed) : sink_still_ms(exchange->sink);
}

static void refuse_upload(struct http_connection *connection)
{
    log_info("sweep",
             "c%" PRIu64 ": an upload is given up: %" PRId64 " bytes came in %" PRId64
             " ms of waiting for the client",
             connection->id, upload_received(&connection->exchange), upload_waited_ms(&connection->exchange));
    http_connection_refuse(connection, 408, "the content did not come in time");
    http_connection_run(connection);
}

static void time_is_over(struct http_connection *connection)
{
    int queued = 0;
    switch (connection->state) {
    case CONNECTION_HEAD:
    case CONNECTION_BODY:
        if (connection->in_end > connection->in_start) {
            /* A refusal that waited for the body's end is not lost with it. */
            if (connection->exchange.refused != 0)
                http_connection_refuse(connection, connection->exchange.refused,
                                       connection->exchange.refusal);
            else
                http_connection_refuse(connection, 408, "the request did not come in time");
            http_connection_run(connection);
            return;
        }
        break;
    case CONNECTION_STORE:
        if (upload_still_ms(&connection->exchange) <
            http_sweep_limit_of(connection->loop, CONNECTION_STORE)) {
            http_connection_set_state(connection, CONNECTION_STORE);
            return;
        }
        refuse_upload(connection);
        return;
    case CONNECTION_SEND:
        if (queue_has_moved(connection, &queued)) {
            http_connection_set_state(connection, CONNECTION_SEND);
            connection->queued = queued;
            return;
        }
        log_info("sweep", "c%" PRIu64 ": cut off: the client read nothing for %" PRId64 " ms", connection->id,
                 http_sweep_limit_of(connection->loop, CONNECTION_SEND));
        break;
    case CONNECTION_FEED:
        source_stalled(connection->exchange.source);
        http_connection_set_state(connection, CONNECTION_FEED);
        http_connection_run(connection);
        return;
    case CONNECTION_REST:
        http_connection_set_state(connection, CONNECTION_SEND);
        http_connection_run(connection);
        return;
    default:
        break;
    }
    http_connection_destroy(connection);
}

/* Bytes of the present answer that the client has acknowledged. */
static int64_t bytes_taken(const struct http_connection *connection)
{
    int queued = 0;
    (void)ioctl(connection->transport.fd, SIOCOUTQ, &queued);
    return connection->sent - queued;
}

/* A byte now and then keeps send_timeout away, and with it a connection and its memory: over each stretch of send_timeout
 * a client must have taken send_rate_min on average. */
static bool is_too_slow(struct http_connection *connection, int64_t now)
{
    const struct http_settings *settings = connection->loop->settings;
    int64_t passed = now - connection->rate_ms - connection->rate_paused, taken;
    if (connection->rate_ms != 0 && passed < settings->live.send_timeout_ms)
        return false;
    taken = bytes_taken(connection);
    bool slow = connection->rate_ms != 0 &&
                taken - connection->rate_taken < settings->live.send_rate_min * passed / 1000;
    if (slow)
        log_info("sweep", "c%" PRIu64 ": cut off: the client took %" PRId64 " bytes in %" PRId64 " ms",
                 connection->id, taken - connection->rate_taken, passed);
    connection->rate_ms = now;
    connection->rate_taken = taken;
    connection->rate_paused = 0;
    return slow;
}

/* The same of what clients send: only time counts in which nothing but the client was waited for. */
static bool sends_too_slowly(struct http_connection *connection)
{
    const struct http_settings *settings = connection->loop->settings;
    int64_t waited = upload_waited_ms(&connection->exchange), came = upload_received(&connection->exchange);
    int64_t passed = waited - connection->rate_ms, bytes = came - connection->rate_taken;
    if (passed < settings->live.receive_timeout_ms)
        return false;
    connection->rate_ms = waited;
    connection->rate_taken = came;
    return bytes < settings->live.receive_rate_min * passed / 1000;
}

static void sweep_uploads(struct http_loop *loop)
{
    struct http_connection *connection, *next;
    for (connection = TAILQ_FIRST(&loop->lists[CONNECTION_STORE]); connection; connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (sends_too_slowly(connection))
            refuse_upload(connection);
    }
}

static void sweep_slow(struct http_loop *loop, int64_t now)
{
    struct http_connection *connection, *next;
    if (now < loop->rates_ms)
        return;
    loop->rates_ms = now + RATES_MS;
    if (loop->settings->live.receive_rate_min > 0)
        sweep_uploads(loop);
    if (loop->settings->live.send_rate_min == 0)
        return;
    for (connection = TAILQ_FIRST(&loop->lists[CONNECTION_SEND]); connection; connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (!is_too_slow(connection, now))
            continue;
        /* A reset: else the kernel would keep for long what the client still does not take. */
        const struct linger none = {.l_onoff = 1};
        (void)setsockopt(connection->transport.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        http_connection_destroy(connection);
    }
}

void http_sweep(struct http_loop *loop)
{
    int64_t now = loop_now_ms(loop->loop);
    sweep_slow(loop, now);
    for (int state = 0; state < CONNECTION_CLOSED; state++) {
        int64_t limit = http_sweep_limit_of(loop, (enum http_connection_state)state);
        struct http_connection *last = TAILQ_LAST(&loop->lists[state], http_connection_list);
        struct http_connection *connection;
        if (limit == INT64_MAX)
            continue;
        /* One that comes back into its list does so behind LAST; LAST itself may go while others are looked
         * at only when it is the one looked at. */
        while ((connection = TAILQ_FIRST(&loop->lists[state])) && now - connection->since_ms >= limit) {
            bool end = connection == last;
            time_is_over(connection);
            if (end)
                break;
        }
    }
}

bool http_sweep_make_room(struct http_loop *loop)
{
    struct http_connection *connection = TAILQ_FIRST(&loop->lists[CONNECTION_LINGER]);
    if (!connection)
        connection = TAILQ_FIRST(&loop->lists[CONNECTION_IDLE]);
    if (!connection)
        return false;
    http_connection_destroy(connection);
    return true;
}

bool http_sweep_has_room(const struct http_loop *loop)
{
    return !TAILQ_EMPTY(&loop->lists[CONNECTION_LINGER]) || !TAILQ_EMPTY(&loop->lists[CONNECTION_IDLE]);
}

void http_sweep_drain(struct http_loop *loop)
{
    struct http_connection *next = TAILQ_FIRST(&loop->lists[CONNECTION_HEAD]);
    int64_t fresh_ms = clock_monotonic_ms() - DRAIN_FRESH_MS;

    loop->draining = true;
    while (!TAILQ_EMPTY(&loop->lists[CONNECTION_IDLE]))
        http_connection_destroy(TAILQ_FIRST(&loop->lists[CONNECTION_IDLE]));
    /* Connections that have not sent a byte are as idle, unless they are new; half a request is answered when it is whole. */
    while (next) {
        struct http_connection *connection = next;
        next = TAILQ_NEXT(connection, link);
        if (connection->in_end == connection->in_start && connection->since_ms < fresh_ms)
            http_connection_destroy(connection);
    }
}

bool http_sweep_has_older(const struct http_loop *loop, uint64_t id)
{
    for (int state = 0; state < CONNECTION_STATES; state++) {
        const struct http_connection *connection;

        TAILQ_FOREACH(connection, &loop->lists[state], link)
        {
            if (connection->id < id)
                return true;
        }
    }
    return false;
}
