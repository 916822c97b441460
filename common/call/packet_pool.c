/*
 * packet_pool: making a pool, and ending it together with all its users.
 */
#include "common/call/packet_pool.h"

#include "common/call/pool_endpoint.h"

#include <stdlib.h>

#define NAME_AGE_MS     10000
#define SHARED_SLOW_MS  20
#define SHARED_STALL_MS 500

struct packet_pool *packet_pool_create(struct loop *loop, const struct packet_pool_options *options,
                                       struct error *error)
{
    struct packet_pool *pool = calloc(1, sizeof(*pool));

    if (!pool) {
        error_set(error, ERROR_UNAVAILABLE, "no memory for a connection pool");
        return NULL;
    }
    pool->loop = loop;
    pool->options = *options;
    if (pool->options.name_age_ms <= 0)
        pool->options.name_age_ms = NAME_AGE_MS;
    if (pool->options.shared_slow_ms <= 0)
        pool->options.shared_slow_ms = SHARED_SLOW_MS;
    if (pool->options.shared_stall_ms <= 0)
        pool->options.shared_stall_ms = SHARED_STALL_MS;
    TAILQ_INIT(&pool->tenants);
    pool->opened =
        metrics_counter("reel_call_connections_opened_total", "Connections opened to other servers.", NULL);
    pool->reused = metrics_counter("reel_call_connections_reused_total",
                                   "Requests to other servers over a connection that was kept.", NULL);
    pool->gathered = metrics_counter("reel_call_requests_gathered_total",
                                     "Requests to other servers that shared a connection with others.", NULL);
    pool->lines_broken = metrics_counter("reel_call_shared_connections_broken_total",
                                         "Shared connections that broke, were slow or gave wrong replies: "
                                         "their requests were repeated one by one.",
                                         NULL);
    pool->failed =
        metrics_counter("reel_call_addresses_failed_total",
                        "Addresses that were not reached, broke the connection or kept silent.", NULL);
    pool->hedged =
        metrics_counter("reel_call_hedges_total",
                        "Requests that a second server was sent too, because the first was slow.", NULL);
    return pool;
}

void packet_pool_destroy(struct packet_pool *pool)
{
    struct pool_tenant *tenant;

    if (!pool)
        return;
    pool->ending = true;
    while ((tenant = TAILQ_FIRST(&pool->tenants)))
        tenant->leave(tenant, false);
    pool_endpoints_close(pool);
    packet_buffers_clear(&pool->buffers);
    free(pool);
}
