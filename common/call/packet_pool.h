/*
 * packet_pool: the connections of one loop to other servers: one endpoint for each address with its idle connections, its
 * limit, its penalty and the addresses that its name resolved to (pool_endpoint.h). Calls (packet_call.h) and shared
 * connections (packet_line.h) stand on it, and it knows of neither. A pool belongs to one loop, and everything happens
 * on that loop's thread.
 */
#ifndef REEL_COMMON_PACKET_POOL_H
#define REEL_COMMON_PACKET_POOL_H

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/loop/workers.h"
#include "common/transport/tls_context.h"

struct auth;
struct packet_pool;

struct packet_pool_options {
    struct workers *resolver;   /* for host names; NULL: numeric addresses only */
    struct tls_client *tls;     /* for tls:// addresses; outlives the pool. NULL: they cannot be called */
    int64_t connect_timeout_ms; /* for one address */
    int64_t idle_timeout_ms;    /* an unused connection is closed after this */
    size_t idle_max;            /* unused connections kept for an address */
    size_t open_max; /* connections to an address at once; further calls wait in order. 0: no limit */
    int64_t address_penalty_ms; /* an address that failed is tried last for so long */
    int64_t name_age_ms;        /* the addresses of a name are asked for again after so long; 0: 10 s */
    /* Requests that share a connection (packet_line.h): none joins those of which the oldest waits for SLOW_MS, all ask
     * another way when it waits for STALL_MS. 0: 20 and 500. */
    int64_t shared_slow_ms, shared_stall_ms;
    /* Who we are: new connections begin with a proof (packet_greeting.h). Must outlive the pool. NULL: nobody in
     * particular. */
    struct auth *auth;
};

MUST_CHECK struct packet_pool *
packet_pool_create(struct loop *loop, const struct packet_pool_options *options, struct error *error);
/* Cancels every call (their done gets ERROR_CANCELLED) and closes every connection. */
void packet_pool_destroy(struct packet_pool *pool);

#endif
