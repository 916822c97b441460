/*
 * packet_line: a ring of unanswered requests over one connection of the pool, with one buffer for what goes out in a round
 * and one for what comes in.
 */
#include "common/call/packet_line.h"

#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/call/pool_endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LINE_DEPTH       64   /* requests on one connection that are not answered */
#define LINES_MAX        4    /* to one address */
#define LINE_PAUSE_MS    1000 /* after a connection that broke */
#define LINE_FAULT_MS    10000
#define ALLOWED_MS       60000
#define READS_PER_EVENT  4
#define REQUEST_SIZE_MAX (PROTO_HEADER_SIZE + PACKET_LINE_REQUEST_MAX)
#define OUT_SIZE         (LINE_DEPTH * REQUEST_SIZE_MAX)
#define IN_SIZE          (128 * 1024)
#define FAILURE_MAX      4096 /* bytes of a failure reply's body */

struct packet_line_request {
    packet_line_callback callback; /* NULL: cancelled */
    void *argument;
    size_t reply_size;
    int64_t asked_ms; /* clock_coarse_ms() */
};

/* A connection with its requests; without any it is a spare one, whose connection is among the idle ones of
 * the endpoint. */
struct packet_line {
    struct pool_tenant tenant; /* of the endpoint, while `listed` */
    struct pool_endpoint *endpoint;
    struct pool_connection *connection; /* NULL: spare, or over */
    struct task flush;
    bool flush_posted;
    bool listed;
    bool over;      /* nothing is asked any more; freed when nobody holds it */
    unsigned holds; /* functions on the stack that use it */
    bool writing;   /* waits until the socket takes more */
    struct event timer;
    bool timing;
    size_t out_start, out_end, in_start, in_end;
    unsigned first, count; /* of the ring, oldest first */
    struct packet_line_request ring[LINE_DEPTH];
    uint8_t out[OUT_SIZE];
    uint8_t in[IN_SIZE];
};

/* ---- life ---- */

static void line_free_when_unused(struct packet_line *line)
{
    if (line->over && line->holds == 0 && !line->flush_posted && line->count == 0)
        free(line);
}

static void line_unlist(struct packet_line *line)
{
    if (line->listed)
        TAILQ_REMOVE(&line->endpoint->tenants, &line->tenant, link);
    line->listed = false;
}

/* The connection goes; every waiter has to use another one. FAULT_MS: for how long this address is avoided. */
static void line_break(struct packet_line *line, int64_t fault_ms, const char *why)
{
    struct pool_endpoint *endpoint = line->endpoint;

    if (line->over)
        return;
    if (!endpoint->pool->ending) {
        log_info("packet", "%s: repeating %u requests that shared a connection: %s", endpoint->text,
                 line->count, why);
        metric_add(endpoint->pool->lines_broken, 1);
    }
    line->over = true;
    line->holds++;
    line_unlist(line);
    if (fault_ms > 0)
        endpoint->alone_until_ms = max_i64(endpoint->alone_until_ms, clock_monotonic_ms() + fault_ms);
    if (line->timing)
        event_del(&line->timer);
    line->timing = false;
    pool_connection_close(line->connection); /* may free the endpoint */
    line->connection = NULL;
    line->endpoint = NULL;
    while (line->count > 0) {
        struct packet_line_request request = line->ring[line->first];

        line->first = (line->first + 1) % LINE_DEPTH;
        line->count--;
        if (request.callback)
            request.callback(request.argument, NULL, 0);
    }
    line->holds--;
    line_free_when_unused(line);
}

static void line_drop_spare(struct packet_line *line)
{
    line_unlist(line);
    line->over = true;
    line->endpoint = NULL;
    line_free_when_unused(line);
}

/* The endpoint goes, or (TRIM) the spare ones do. */
static void line_leave(struct pool_tenant *tenant, bool trim)
{
    struct packet_line *line = CONTAINER_OF(tenant, struct packet_line, tenant);

    if (!line->connection)
        line_drop_spare(line);
    else if (!trim)
        line_break(line, 0, "the connections are being closed");
}

/* Everything is answered: the connection can serve others until the next round. */
static void line_rest(struct packet_line *line)
{
    struct pool_connection *connection = line->connection;

    if (line->count > 0 || line->out_end > 0 || line->in_end > line->in_start)
        return;
    line->connection = NULL;
    if (line->timing)
        event_del(&line->timer);
    line->timing = false;
    pool_connection_park(connection);
}

/* ---- time ---- */

static int64_t line_age_ms(const struct packet_line *line)
{
    return line->count > 0 ? clock_coarse_ms() - line->ring[line->first].asked_ms : 0;
}

/* It may ring early, never late by more than as much again: it is not moved for each request. */
static void line_arm(struct packet_line *line)
{
    int64_t stall_ms = line->endpoint->pool->options.shared_stall_ms;
    const struct timeval interval = duration_timeval(stall_ms);

    if (line->timing)
        return;
    line->timing = event_add(&line->timer, &interval) == 0;
    if (!line->timing)
        log_error("packet", "%s: cannot arm a timer: requests that share a connection have no time limit",
                  line->endpoint->text);
}

static void line_timer(evutil_socket_t fd, short what, void *argument)
{
    struct packet_line *line = argument;

    (void)fd;
    (void)what;
    line->timing = false;
    if (line_age_ms(line) >= line->endpoint->pool->options.shared_stall_ms)
        line_break(line, LINE_FAULT_MS, "no reply in time");
    else if (line->count > 0)
        line_arm(line);
}

/* ---- out ---- */

static void line_wait_to_write(struct packet_line *line, bool on)
{
    int result = 0;

    if (line->writing != on)
        result = on ? event_add(&line->connection->socket.write, NULL)
                    : event_del(&line->connection->socket.write);
    line->writing = on && result == 0;
    if (result != 0)
        line_break(line, LINE_PAUSE_MS, "its socket cannot be watched");
}

static void line_write(struct packet_line *line)
{
    while (line->out_start < line->out_end) {
        ssize_t sent = transport_send(line->connection->socket.transport, line->out + line->out_start,
                                      line->out_end - line->out_start, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            line_wait_to_write(line, true);
            return;
        }
        if (sent < 0) {
            line_break(line, LINE_PAUSE_MS, strerror(errno));
            return;
        }
        line->out_start += (size_t)sent;
    }
    line->out_start = line->out_end = 0;
    if (line->writing)
        line_wait_to_write(line, false);
}

static void line_flush(struct task *task)
{
    struct packet_line *line = CONTAINER_OF(task, struct packet_line, flush);

    line->flush_posted = false;
    if (line->over)
        line_free_when_unused(line);
    else if (line->connection)
        line_write(line);
}

/* ---- in ---- */

/* The oldest request has its end. */
static void line_answer(struct packet_line *line, const uint8_t *body, size_t size)
{
    struct packet_line_request request = line->ring[line->first];

    line->first = (line->first + 1) % LINE_DEPTH;
    line->count--;
    if (request.callback)
        request.callback(request.argument, body, size);
}

/* One whole reply of those that were read. False: there is none, or the line broke. */
static bool line_take_reply(struct packet_line *line)
{
    size_t unread = line->in_end - line->in_start;
    struct proto_header header;
    struct error error;
    uint8_t *at = line->in + line->in_start;
    bool refused;

    if (unread == 0)
        return false;
    if (line->count == 0) {
        line_break(line, LINE_FAULT_MS, "unexpected bytes arrived");
        return false;
    }
    if (unread < PROTO_HEADER_SIZE)
        return false;
    if (!proto_header_unpack(at, &header, &error)) {
        line_break(line, LINE_FAULT_MS, "not a reply of this protocol");
        return false;
    }
    refused = header.status != PROTO_STATUS_OK;
    if (refused ? header.length > FAILURE_MAX
                : (uint64_t)header.length != line->ring[line->first].reply_size) {
        line_break(line, LINE_FAULT_MS, "a reply of the wrong size");
        return false;
    }
    if (unread < PROTO_HEADER_SIZE + (size_t)header.length)
        return false;
    line->in_start += PROTO_HEADER_SIZE + (size_t)header.length;
    /* What the failure means for this request is packet_call's to judge. */
    if (refused)
        line_answer(line, NULL, 0);
    else
        line_answer(line, at + PROTO_HEADER_SIZE, (size_t)header.length);
    return !line->over;
}

/* False: nothing more is there, or the line broke. */
static bool line_read(struct packet_line *line)
{
    size_t unread = line->in_end - line->in_start, room;
    ssize_t got;

    ASSERT(line->connection);
    if (line->in_start > 0 && unread > 0)
        memmove(line->in, line->in + line->in_start, unread);
    line->in_start = 0;
    line->in_end = unread;
    room = IN_SIZE - unread;
    do {
        got = packet_socket_recv(&line->connection->socket, line->in + unread, room);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (got <= 0) {
        line_break(line, LINE_PAUSE_MS, got < 0 ? strerror(errno) : "the connection was closed");
        return false;
    }
    line->in_end += (size_t)got;
    while (line_take_reply(line))
        ;
    return !line->over && (size_t)got == room;
}

static void line_event(void *owner, short what)
{
    struct packet_line *line = owner;

    line->holds++;
    if (what & EV_WRITE)
        line_write(line);
    if (!line->over && (what & EV_READ))
        for (int reads = 0; reads < READS_PER_EVENT && line_read(line); reads++)
            ;
    if (!line->over)
        line_rest(line);
    line->holds--;
    line_free_when_unused(line);
}

/* ---- asking ---- */

static struct packet_line *line_create(struct pool_endpoint *endpoint)
{
    struct packet_line *line = malloc(sizeof(*line));

    if (!line)
        return NULL;
    memset(line, 0, offsetof(struct packet_line, ring));
    if (evtimer_assign(&line->timer, loop_base(endpoint->pool->loop), line_timer, line) != 0) {
        free(line);
        return NULL;
    }
    line->endpoint = endpoint;
    line->flush.run = line_flush;
    line->tenant.leave = line_leave;
    TAILQ_INSERT_TAIL(&endpoint->tenants, &line->tenant, link);
    line->listed = true;
    return line;
}

/* Gives a spare line a connection that is open already. */
static bool line_connect(struct packet_line *line)
{
    struct pool_connection *connection = pool_connection_reuse(line->endpoint, true);

    if (!connection)
        return false;
    line->connection = connection;
    line->writing = false;
    line->out_start = line->out_end = line->in_start = line->in_end = 0;
    packet_socket_own(&connection->socket, line_event, line);
    return true;
}

/* Those of one round stay together however long the round takes. */
static bool line_has_room(const struct packet_line *line, size_t size)
{
    return pool_connection_is_current(line->connection) && line->count < LINE_DEPTH &&
           OUT_SIZE - line->out_end >= size &&
           (line->flush_posted || line_age_ms(line) < line->endpoint->pool->options.shared_slow_ms);
}

/* A line for SIZE bytes more: one that is under way, or else a new one. */
static struct packet_line *find_line(struct pool_endpoint *endpoint, size_t size)
{
    struct packet_line *spare = NULL;
    struct pool_tenant *tenant;
    size_t lines = 0;

    TAILQ_FOREACH(tenant, &endpoint->tenants, link)
    {
        struct packet_line *line = CONTAINER_OF(tenant, struct packet_line, tenant);

        lines++;
        if (!line->connection)
            spare = spare ? spare : line;
        else if (line_has_room(line, size))
            return line;
    }
    if (!spare && lines < LINES_MAX)
        spare = line_create(endpoint);
    return spare && line_connect(spare) ? spare : NULL;
}

void packet_line_allow(struct packet_pool *pool, const struct address *address)
{
    struct pool_endpoint *endpoint = pool_endpoint_find(pool, address);

    if (endpoint)
        endpoint->shared_until_ms = clock_monotonic_ms() + ALLOWED_MS;
}

static struct packet_line_request *line_add(struct packet_line *line, uint8_t command, const void *body,
                                            size_t body_size)
{
    struct packet_line_request *request = &line->ring[(line->first + line->count) % LINE_DEPTH];
    uint8_t *at = line->out + line->out_end;

    proto_header_pack(at, (int64_t)body_size, command, PROTO_STATUS_OK);
    memcpy(at + PROTO_HEADER_SIZE, body, body_size);
    line->out_end += PROTO_HEADER_SIZE + body_size;
    line->count++;
    line_arm(line);
    if (!line->flush_posted && !line->writing) {
        line->flush_posted = true;
        loop_post(line->endpoint->pool->loop, &line->flush);
    }
    return request;
}

struct packet_line_request *packet_line_ask(struct packet_pool *pool, const struct address *address,
                                            uint8_t command, const void *body, size_t body_size,
                                            size_t reply_size, packet_line_callback callback, void *argument)
{
    struct pool_endpoint *endpoint = pool_endpoint_find(pool, address);
    struct packet_line_request *request = NULL;
    struct packet_line *line;
    int64_t now = clock_coarse_ms();

    if (!endpoint || pool->ending || body_size > PACKET_LINE_REQUEST_MAX ||
        reply_size > PACKET_LINE_REPLY_MAX || endpoint->shared_until_ms <= now ||
        endpoint->alone_until_ms > now || endpoint->penalty_until_ms > now || endpoint->slots.count > 0)
        return NULL;
    endpoint->references++; /* its last connection may turn out to be closed */
    line = find_line(endpoint, PROTO_HEADER_SIZE + body_size);
    if (line) {
        request = line_add(line, command, body, body_size);
        *request = (struct packet_line_request){callback, argument, reply_size, now};
        metric_add(pool->gathered, 1);
    }
    pool_endpoint_put(endpoint);
    return request;
}

void packet_line_cancel(struct packet_line_request *request)
{
    request->callback = NULL;
    request->argument = NULL;
}
