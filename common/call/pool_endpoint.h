/*
 * pool_endpoint: the other side of a packet_pool as calls and shared connections see it: endpoints by address, with their
 * connections, the queue of those who wait for one, the penalty, and the addresses of a name. Touches sockets and libevent
 * events, asks the resolver's workers for names. Private to common/call; everything happens on the pool's loop.
 *
 * A name that was resolved once is never without addresses again: when they are old they are asked for in the background,
 * and the last ones are used meanwhile, however long the name server is away.
 *
 * Nothing here calls a user's callback: a waiter that is answered only takes its next step (which never ends a call at
 * once).
 */
#ifndef REEL_COMMON_POOL_ENDPOINT_H
#define REEL_COMMON_POOL_ENDPOINT_H

#include "common/base/address.h"
#include "common/base/hash.h"
#include "common/base/metrics.h"
#include "common/call/packet_pool.h"
#include "common/call/packet_socket.h"
#include "common/loop/wait_list.h"

#define POOL_RESOLVED_MAX 8

/* Somebody whom the end of a pool or of an endpoint concerns. */
struct pool_tenant {
    TAILQ_ENTRY(pool_tenant) link;
    /* The pool or endpoint goes: takes itself out of its list. TRIM: only what is unused now goes; the others stay. */
    void (*leave)(struct pool_tenant *tenant, bool trim);
};
TAILQ_HEAD(pool_tenant_list, pool_tenant);

struct pool_endpoint;

struct pool_connection {
    struct packet_socket socket;
    struct pool_endpoint *endpoint; /* NULL once the pool has gone while a caller held the socket */
    bool idle;
    bool reused;        /* it has answered a request before */
    bool after_failure; /* its last reply was a failure: a legacy peer closes it soon */
    int64_t idle_until_ms;
    /* What was said at its beginning; both 0 where nothing was. */
    int64_t
        session_until_ms; /* then it is not used again: the session ends soon after, or it is time to ask again
                                  whether the server knows sessions; 0: never */
    uint64_t identity_version;         /* of auth, when it was proved */
    TAILQ_ENTRY(pool_connection) link; /* in the endpoint's idle list */
};
TAILQ_HEAD(pool_connection_list, pool_connection);

struct pool_lookup;

struct pool_endpoint {
    struct packet_pool *pool;
    struct address address;
    char text[ADDRESS_TEXT_SIZE]; /* the key */
    UT_hash_handle hh;
    size_t references;                /* connections, calls that use it, a look-up */
    size_t open;                      /* connections: idle, connecting, busy or handed over */
    struct pool_connection_list idle; /* most recently used first */
    size_t idle_count;
    struct event sweep; /* closes those that were idle too long: may ring early */
    bool sweeping;
    struct wait_list slots; /* for a connection */
    struct wait_list names; /* for the look-up */
    int64_t penalty_until_ms;
    int64_t plain_until_ms;          /* it knows no sessions, as far as we know: not asked again before */
    struct pool_tenant_list tenants; /* they hold no reference */
    int64_t shared_until_ms;         /* known to answer several requests on one connection in their order */
    int64_t alone_until_ms;          /* but was slow or wrong at it */
    bool numeric;
    struct socket_address resolved[POOL_RESOLVED_MAX];
    size_t resolved_count;
    int64_t resolved_until_ms;  /* then it is asked for again; also of a failed look-up */
    struct error resolve_error; /* of the last look-up; ERROR_NONE on success */
    struct pool_lookup *lookup; /* under way */
};

struct packet_pool {
    struct loop *loop;
    struct packet_pool_options options;
    struct pool_endpoint *endpoints; /* uthash by text */
    struct pool_tenant_list tenants;
    bool ending;
    struct metric *opened, *reused, *failed, *hedged, *gathered, *lines_broken; /* counters */
    struct packet_buffers buffers;
};

/* The endpoint of ADDRESS with one reference more; NULL without memory. */
MUST_CHECK struct pool_endpoint *pool_endpoint_get(struct packet_pool *pool, const struct address *address);
void pool_endpoint_put(struct pool_endpoint *endpoint);
/* The same without a reference, as it is now; NULL where nothing is known of ADDRESS. */
struct pool_endpoint *pool_endpoint_find(struct packet_pool *pool, const struct address *address);

/* True while ADDRESS is penalised. */
bool pool_address_penalised(struct packet_pool *pool, const struct address *address);
/* ORDERED (room for all of LIST): the penalised ones last, in the order of LIST otherwise. */
void pool_order_addresses(struct packet_pool *pool, const struct address_list *list, struct address *ordered);
void pool_endpoint_penalise(struct pool_endpoint *endpoint);
void pool_endpoint_praise(struct pool_endpoint *endpoint);

enum pool_resolution { POOL_RESOLVED, POOL_RESOLVING, POOL_UNRESOLVABLE };
/* POOL_RESOLVED: the addresses may be old ones. POOL_RESOLVING: WAIT was put into the list of names. POOL_UNRESOLVABLE: ERROR says why. */
enum pool_resolution pool_endpoint_resolve(struct pool_endpoint *endpoint, struct wait *wait,
                                           struct error *error);

/* An idle connection, now the caller's; NULL when there is none. Those that the peer has closed, or sent a
 * byte on that nobody asked for, are closed first, so that what a request reads as its reply was sent after it. The peer
 * may still close it at any moment. CAREFUL passes over those whose last reply was a failure. */
struct pool_connection *pool_connection_reuse(struct pool_endpoint *endpoint, bool careful);

/* Whether the identity that CONNECTION was proved under still holds; where not, nothing more is asked on it. */
bool pool_connection_is_current(const struct pool_connection *connection);

/* True when one more connection may be opened; an idle one is closed for it where that makes room. */
bool pool_endpoint_has_room(struct pool_endpoint *endpoint);

/* Begins a connection to TARGET: then EV_WRITE reports how it ended. NULL: *ERRNUM says why. */
struct pool_connection *pool_connection_open(struct pool_endpoint *endpoint,
                                             const struct socket_address *target, int *errnum);

/* Its caller keeps the socket although the pool goes: pool_connection_close() is its end. */
void pool_connection_orphan(struct pool_connection *connection);

/* The end of a connection's use: back to the idle ones unless there are enough of them, or closed. Either
 * wakes the first that waits. */
void pool_connection_park(struct pool_connection *connection);
void pool_connection_close(struct pool_connection *connection);

/* Wakes the first that waits for a connection when there may be one now. */
void pool_endpoint_wake(struct pool_endpoint *endpoint);

/* The end of the pool: no call is in progress any more. */
void pool_endpoints_close(struct packet_pool *pool);

#endif
