/*
 * pool_endpoint: see the header for what an endpoint is. An endpoint lives while somebody refers to it (connections, calls,
 * a look-up) or while forgetting it would lose something: a penalty, or the addresses of a name.
 */
#include "common/call/pool_endpoint.h"

#include "common/auth/auth.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESOLVE_FAILURE_AGE_MS 1000
/* A peer whose machine or cable is gone sends nothing, not even a reset: while an answer is awaited
 * the kernel probes, so that five seconds of silence end the connection. */
#define KEEPALIVE_IDLE_S     2
#define KEEPALIVE_INTERVAL_S 1
#define KEEPALIVE_PROBES     3
#define ENDPOINTS_SWEEP      256  /* from so many on, those that hold nothing worth keeping are forgotten */
#define ENDPOINTS_MAX        1024 /* from so many on, also penalties are */

/* A look-up under way. It outlives its pool when it has to. */
struct pool_lookup {
    struct job job;
    struct address address;
    struct pool_endpoint *endpoint; /* NULL: nobody waits any more */
    struct socket_address resolved[POOL_RESOLVED_MAX];
    size_t count;
    struct error error;
};

/* ---- waiting ---- */

void pool_endpoint_wake(struct pool_endpoint *endpoint)
{
    size_t open_max = endpoint->pool->options.open_max;

    if (endpoint->slots.count == 0 || endpoint->pool->ending)
        return;
    if (endpoint->idle_count == 0 && open_max != 0 && endpoint->open >= open_max)
        return;
    wait_answer(wait_list_take(&endpoint->slots));
}

/* ---- endpoints ---- */

/* Those who use ENDPOINT's connections at times: each unused one goes. */
static void endpoint_trim(struct pool_endpoint *endpoint)
{
    struct pool_tenant *tenant, *next;

    for (tenant = TAILQ_FIRST(&endpoint->tenants); tenant; tenant = next) {
        next = TAILQ_NEXT(tenant, link);
        tenant->leave(tenant, true);
    }
}

static void endpoint_free(struct pool_endpoint *endpoint)
{
    ASSERT(endpoint->references == 0 && endpoint->open == 0);
    event_del(&endpoint->sweep);
    endpoint_trim(endpoint);
    HASH_DEL(endpoint->pool->endpoints, endpoint);
    free(endpoint);
}

/* Whether it can be forgotten without loss. */
static bool endpoint_is_worthless(const struct pool_endpoint *endpoint, int64_t now)
{
    return endpoint->penalty_until_ms <= now && (endpoint->numeric || endpoint->resolved_count == 0);
}

static void endpoints_sweep(struct packet_pool *pool)
{
    struct pool_endpoint *endpoint = NULL, *next = NULL;
    int64_t now = clock_monotonic_ms();

    HASH_ITER(hh, pool->endpoints, endpoint, next)
    {
        if (endpoint->references == 0 &&
            (endpoint_is_worthless(endpoint, now) || HASH_COUNT(pool->endpoints) >= ENDPOINTS_MAX))
            endpoint_free(endpoint);
    }
}

static void endpoint_sweep(evutil_socket_t fd, short what, void *argument);

struct pool_endpoint *pool_endpoint_find(struct packet_pool *pool, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    struct pool_endpoint *endpoint = NULL;

    address_format(address, text, sizeof(text));
    HASH_FIND_STR(pool->endpoints, text, endpoint);
    return endpoint;
}

struct pool_endpoint *pool_endpoint_get(struct packet_pool *pool, const struct address *address)
{
    char text[ADDRESS_TEXT_SIZE];
    struct pool_endpoint *endpoint = pool_endpoint_find(pool, address);

    if (endpoint) {
        endpoint->references++;
        return endpoint;
    }
    if (HASH_COUNT(pool->endpoints) >= ENDPOINTS_SWEEP)
        endpoints_sweep(pool);

    endpoint = calloc(1, sizeof(*endpoint));
    if (!endpoint)
        return NULL;
    endpoint->pool = pool;
    endpoint->address = *address;
    memcpy(endpoint->text, address_format(address, text, sizeof(text)), sizeof(text));
    TAILQ_INIT(&endpoint->idle);
    wait_list_init(&endpoint->slots, NULL, NULL);
    wait_list_init(&endpoint->names, NULL, NULL);
    TAILQ_INIT(&endpoint->tenants);
    if (evtimer_assign(&endpoint->sweep, loop_base(pool->loop), endpoint_sweep, endpoint) != 0) {
        free(endpoint);
        return NULL;
    }
    if (address_to_socket(address, &endpoint->resolved[0])) {
        endpoint->numeric = true;
        endpoint->resolved_count = 1;
    }
    HASH_ADD_STR(pool->endpoints, text, endpoint);
    if (!HASH_ADDED(hh, endpoint)) {
        free(endpoint);
        return NULL;
    }
    endpoint->references = 1;
    return endpoint;
}

void pool_endpoint_put(struct pool_endpoint *endpoint)
{
    ASSERT(endpoint->references > 0);
    endpoint->references--;
    if (endpoint->references == 0 && endpoint_is_worthless(endpoint, clock_monotonic_ms()))
        endpoint_free(endpoint);
}

bool pool_address_penalised(struct packet_pool *pool, const struct address *address)
{
    struct pool_endpoint *endpoint = pool_endpoint_find(pool, address);

    return endpoint && endpoint->penalty_until_ms > clock_monotonic_ms();
}

void pool_order_addresses(struct packet_pool *pool, const struct address_list *list, struct address *ordered)
{
    size_t good = 0;

    /* Each one is looked at once: a penalty may end meanwhile. */
    for (size_t i = 0; i < list->count; i++) {
        if (pool_address_penalised(pool, &list->items[i])) {
            ordered[i] = list->items[i];
            continue;
        }
        memmove(&ordered[good + 1], &ordered[good], (i - good) * sizeof(*ordered));
        ordered[good++] = list->items[i];
    }
}

void pool_endpoint_penalise(struct pool_endpoint *endpoint)
{
    endpoint->penalty_until_ms = clock_monotonic_ms() + endpoint->pool->options.address_penalty_ms;
    metric_add(endpoint->pool->failed, 1);
}

void pool_endpoint_praise(struct pool_endpoint *endpoint)
{
    endpoint->penalty_until_ms = 0;
}

/* ---- names ---- */

static void endpoint_lookup_run(struct job *job)
{
    struct pool_lookup *lookup = CONTAINER_OF(job, struct pool_lookup, job);

    if (address_resolve(&lookup->address, lookup->resolved, POOL_RESOLVED_MAX, &lookup->count,
                        &lookup->error))
        lookup->error.code = ERROR_NONE;
    else if (lookup->error.code == ERROR_NONE)
        lookup->error.code = ERROR_CONNECTION;
}

/* Said once, when the name server stops knowing a name and when it knows it again. */
static void note_resolution(struct pool_endpoint *endpoint, const struct error *error)
{
    bool failed = error->code != ERROR_NONE, had_failed = endpoint->resolve_error.code != ERROR_NONE;

    endpoint->resolve_error = *error;
    if (failed && !had_failed && endpoint->resolved_count > 0)
        log_warning("packet", "%s: the name no longer resolves (%s); using its last known addresses",
                    endpoint->text, error->text);
    else if (!failed && had_failed)
        log_info("packet", "%s: the name resolves again", endpoint->text);
}

static void endpoint_lookup_done(struct job *job)
{
    struct pool_lookup *lookup = CONTAINER_OF(job, struct pool_lookup, job);
    struct pool_endpoint *endpoint = lookup->endpoint;
    struct wait *wait;

    if (!endpoint) {
        free(lookup);
        return;
    }
    endpoint->lookup = NULL;
    note_resolution(endpoint, &lookup->error);
    if (lookup->error.code == ERROR_NONE) {
        memcpy(endpoint->resolved, lookup->resolved, sizeof(endpoint->resolved));
        endpoint->resolved_count = lookup->count;
        endpoint->resolved_until_ms = clock_monotonic_ms() + endpoint->pool->options.name_age_ms;
    } else { /* the earlier addresses stay */
        endpoint->resolved_until_ms =
            clock_monotonic_ms() + min_i64(RESOLVE_FAILURE_AGE_MS, endpoint->pool->options.name_age_ms);
    }
    free(lookup);
    /* None waits here again: the answer is younger than its age limit. */
    while ((wait = wait_list_take(&endpoint->names)))
        wait_answer(wait);
    pool_endpoint_put(endpoint);
}

static bool lookup_start(struct pool_endpoint *endpoint, struct error *error)
{
    struct packet_pool *pool = endpoint->pool;
    struct pool_lookup *lookup;

    if (!pool->options.resolver)
        return error_set(error, ERROR_CONNECTION,
                         "host names are not resolved here: a numeric address is needed");
    lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return error_set(error, ERROR_UNAVAILABLE, "no memory to resolve the host name");
    lookup->address = endpoint->address;
    lookup->endpoint = endpoint;
    lookup->job.run = endpoint_lookup_run;
    lookup->job.done = endpoint_lookup_done;
    lookup->job.loop = pool->loop;
    if (!workers_submit(pool->options.resolver, &lookup->job)) {
        free(lookup);
        return error_set(error, ERROR_UNAVAILABLE, "too many host names wait to be resolved");
    }
    endpoint->lookup = lookup;
    endpoint->references++;
    return true;
}

enum pool_resolution pool_endpoint_resolve(struct pool_endpoint *endpoint, struct wait *wait,
                                           struct error *error)
{
    bool fresh = endpoint->numeric || endpoint->resolved_until_ms > clock_monotonic_ms();

    if (!fresh && !endpoint->lookup && !lookup_start(endpoint, error)) {
        endpoint->resolve_error = *error;
        fresh = true; /* the next one who asks tries again */
    }
    if (endpoint->resolved_count > 0)
        return POOL_RESOLVED;
    if (fresh) {
        *error = endpoint->resolve_error;
        return POOL_UNRESOLVABLE;
    }
    ASSERT(wait_enter(&endpoint->names, wait, 0)); /* without a timer it cannot fail */
    return POOL_RESOLVING;
}

/* ---- connections ---- */

/* Of an idle one: the peer closed it, or sends what nobody asked for. */
static void idle_connection_event(void *owner, short what)
{
    struct pool_connection *connection = owner;

    (void)what;
    /* Under TLS it may be about the connection itself: a ticket, a new key. */
    if (!connection->socket.transport.tls || !packet_socket_is_quiet(&connection->socket))
        pool_connection_close(connection);
}

static void connection_leave_idle(struct pool_connection *connection)
{
    TAILQ_REMOVE(&connection->endpoint->idle, connection, link);
    connection->endpoint->idle_count--;
    connection->idle = false;
}

static void endpoint_arm_sweep(struct pool_endpoint *endpoint, int64_t delay_ms)
{
    const struct timeval delay = duration_timeval(delay_ms);

    endpoint->sweeping = event_add(&endpoint->sweep, &delay) == 0;
    if (!endpoint
             ->sweeping) /* the next one that becomes idle tries again; the peer's limit holds meanwhile */
        log_error("packet", "%s: cannot arm the timer that closes unused connections", endpoint->text);
}

/* The last of the list has been idle longest. */
static void endpoint_sweep(evutil_socket_t fd, short what, void *argument)
{
    struct pool_endpoint *endpoint = argument;
    struct pool_connection *connection;
    int64_t now = clock_monotonic_ms();

    (void)fd;
    (void)what;
    endpoint->sweeping = false;
    endpoint->references++; /* keeps it while its connections go */
    while ((connection = TAILQ_LAST(&endpoint->idle, pool_connection_list)) &&
           connection->idle_until_ms <= now)
        pool_connection_close(connection);
    if (connection)
        endpoint_arm_sweep(endpoint, connection->idle_until_ms - now);
    else
        endpoint_trim(endpoint);
    pool_endpoint_put(endpoint);
}

bool pool_connection_is_current(const struct pool_connection *connection)
{
    const struct auth *auth = connection->endpoint->pool->options.auth;

    if (!auth_asks(auth))
        return true;
    return connection->identity_version == auth_identity_version(auth) &&
           (connection->session_until_ms == 0 || clock_monotonic_ms() < connection->session_until_ms);
}

struct pool_connection *pool_connection_reuse(struct pool_endpoint *endpoint, bool careful)
{
    struct pool_connection *connection, *next;

    for (connection = TAILQ_FIRST(&endpoint->idle); connection; connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (careful && connection->after_failure)
            continue;
        if (!packet_socket_is_quiet(&connection->socket) || !pool_connection_is_current(connection)) {
            pool_connection_close(connection);
            /* Closing may have woken a waiter, which may have taken the next one. */
            next = TAILQ_FIRST(&endpoint->idle);
            continue;
        }
        connection_leave_idle(connection);
        connection->reused = true;
        connection->socket.used = 0;
        metric_add(endpoint->pool->reused, 1);
        return connection;
    }
    return NULL;
}

bool pool_endpoint_has_room(struct pool_endpoint *endpoint)
{
    size_t open_max = endpoint->pool->options.open_max;
    struct pool_connection *idle;

    if (open_max == 0 || endpoint->open < open_max)
        return true;
    idle = TAILQ_LAST(&endpoint->idle, pool_connection_list);
    if (!idle)
        return false;
    pool_connection_close(idle);
    return endpoint->open < open_max;
}

static void set_socket_options(int fd)
{
    int one = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, probes = KEEPALIVE_PROBES;

    /* Requests are written whole; waiting for more to send would only delay them. Without any of this all
     * still works. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

struct pool_connection *pool_connection_open(struct pool_endpoint *endpoint,
                                             const struct socket_address *target, int *errnum)
{
    struct packet_pool *pool = endpoint->pool;
    struct pool_connection *connection = calloc(1, sizeof(*connection));
    int fd = -1;

    if (!connection) {
        *errnum = ENOMEM;
        return NULL;
    }
    fd = socket(target->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *errnum = errno;
        goto fail;
    }
    set_socket_options(fd);
    if (connect(fd, (const struct sockaddr *)&target->storage, target->length) != 0 && errno != EINPROGRESS) {
        *errnum = errno;
        goto fail;
    }
    if (!packet_socket_init(&connection->socket, pool->loop, fd, &pool->buffers)) {
        *errnum = ENOMEM;
        goto fail;
    }
    connection->endpoint = endpoint;
    endpoint->open++;
    endpoint->references++;
    metric_add(pool->opened, 1);
    return connection;
fail:
    if (fd >= 0)
        close(fd);
    free(connection);
    return NULL;
}

void pool_connection_orphan(struct pool_connection *connection)
{
    struct pool_endpoint *endpoint = connection->endpoint;

    packet_socket_unwatch(&connection->socket);
    connection->socket.buffers = NULL;
    connection->endpoint = NULL;
    endpoint->open--;
    pool_endpoint_put(endpoint);
}

void pool_connection_park(struct pool_connection *connection)
{
    struct pool_endpoint *endpoint = connection->endpoint;
    int64_t idle_ms;

    if (!endpoint || endpoint->pool->ending || endpoint->idle_count >= endpoint->pool->options.idle_max ||
        !packet_socket_watch(&connection->socket.read, true)) {
        pool_connection_close(connection);
        return;
    }
    (void)packet_socket_watch(&connection->socket.write, false);
    packet_socket_give_buffer(&connection->socket);
    packet_socket_own(&connection->socket, idle_connection_event, connection);
    connection->idle = true;
    idle_ms = max_i64(endpoint->pool->options.idle_timeout_ms, 1);
    connection->idle_until_ms = clock_monotonic_ms() + idle_ms;
    TAILQ_INSERT_HEAD(&endpoint->idle, connection, link);
    endpoint->idle_count++;
    if (!endpoint->sweeping)
        endpoint_arm_sweep(endpoint, idle_ms);
    pool_endpoint_wake(endpoint);
}

void pool_connection_close(struct pool_connection *connection)
{
    struct pool_endpoint *endpoint = connection->endpoint;

    if (endpoint) {
        /* Where the pool has gone, its loop may have gone too; the events were deleted then. */
        if (connection->idle)
            connection_leave_idle(connection);
        packet_socket_unwatch(&connection->socket);
    }
    transport_close(&connection->socket.transport);
    packet_socket_give_buffer(&connection->socket);
    free(connection);
    if (!endpoint)
        return;
    endpoint->open--;
    pool_endpoint_wake(endpoint);
    pool_endpoint_put(endpoint);
}

void pool_endpoints_close(struct packet_pool *pool)
{
    struct pool_endpoint *endpoint = NULL, *next = NULL;
    struct pool_tenant *tenant;

    HASH_ITER(hh, pool->endpoints, endpoint, next)
    {
        endpoint->references++; /* keeps it while its connections go */
        while ((tenant = TAILQ_FIRST(&endpoint->tenants)))
            tenant->leave(tenant, false);
        while (!TAILQ_EMPTY(&endpoint->idle))
            pool_connection_close(TAILQ_FIRST(&endpoint->idle));
        if (endpoint->lookup) {
            endpoint->lookup->endpoint = NULL;
            endpoint->references--;
        }
        endpoint->references--;
        endpoint_free(endpoint);
    }
}
