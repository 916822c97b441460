/*
 * packet_pool: the connections below packet_call: one endpoint for each address with its idle connections,
 * its limit and queue, its penalty and the addresses that its name resolved to. Touches sockets and libevent
 * events, asks the resolver's workers for names. Private to packet_pool.c, packet_call.c, packet_exchange.c,
 * packet_hedge.c and packet_line.c; everything happens on the pool's loop.
 *
 * Nothing here calls a user's callback: who waits and is answered only takes its next step (which never ends a
 * call at once).
 */
#ifndef REEL_COMMON_PACKET_POOL_H
#define REEL_COMMON_PACKET_POOL_H

#include "common/base/hash.h"
#include "common/base/metrics.h"
#include "common/call/packet_call.h"
#include "common/loop/wait_list.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#define POOL_BUFFER_SIZE  (16 * 1024 + PROTO_HEADER_SIZE) /* a small reply comes in one piece */
#define POOL_BUFFERS_KEPT 32                              /* for the next replies */
#define POOL_FAILURE_MAX  4096                            /* bytes of a failure reply's body */
#define POOL_RESOLVED_MAX 8

struct pool_endpoint;

struct pool_connection {
    int fd;
    struct pool_endpoint *endpoint; /* NULL once the pool has gone while a caller held the socket */
    struct event read, write; /* persistent; both on the pool's loop. `read` stays added while it is idle,
                               * and from one call to the next: a change costs an epoll_ctl(2) */
    /* Whose it is; NULL while idle. WHAT: EV_READ or EV_WRITE. */
    void (*handler)(void *owner, short what);
    void *owner;
    bool reused;        /* it has answered a request before */
    bool after_failure; /* its last reply was a failure: a legacy peer closes it soon */
    int64_t idle_until_ms;
    size_t used;                       /* bytes of the reply that were read into the buffer */
    uint8_t *buffer;                   /* of POOL_BUFFER_SIZE; NULL while nothing is in it */
    TAILQ_ENTRY(pool_connection) link; /* in the endpoint's idle list */
};
TAILQ_HEAD(pool_connection_list, pool_connection);

struct pool_lookup;
TAILQ_HEAD(packet_line_list, packet_line);

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
    struct packet_line_list lines; /* spare ones hold no reference */
    int64_t shared_until_ms;       /* known to answer several requests on one connection in their order */
    int64_t alone_until_ms;        /* but was slow or wrong at it */
    bool numeric;
    struct socket_address resolved[POOL_RESOLVED_MAX];
    size_t resolved_count;
    int64_t resolved_until_ms;  /* also of a failed look-up */
    struct error resolve_error; /* of the last look-up; ERROR_NONE on success */
    struct pool_lookup *lookup; /* under way */
};

TAILQ_HEAD(packet_call_list, packet_call);

struct packet_pool {
    struct loop *loop;
    struct packet_pool_options options;
    struct pool_endpoint *endpoints; /* uthash by text */
    struct packet_call_list calls;
    bool ending;
    struct metric *opened, *reused, *failed, *hedged, *gathered, *lines_broken; /* counters */
    uint8_t *buffers[POOL_BUFFERS_KEPT];                                        /* unused ones */
    size_t buffer_count;
    uint8_t *scratch; /* PACKET_STREAM reads into it; sink() takes the bytes before anything else is read */
};
#define POOL_SCRATCH_SIZE (64 * 1024)

/* The endpoint of ADDRESS with one reference more; NULL without memory. */
MUST_CHECK struct pool_endpoint *pool_endpoint_get(struct packet_pool *pool, const struct address *address);
void pool_endpoint_put(struct pool_endpoint *endpoint);
/* The same without a reference, as it is now; NULL where nothing is known of ADDRESS. */
struct pool_endpoint *pool_endpoint_find(struct packet_pool *pool, const struct address *address);

/* True while ADDRESS is penalised. */
bool pool_address_penalised(struct packet_pool *pool, const struct address *address);
/* ORDERED (room for all of LIST): the penalised ones last, in the order of LIST otherwise. */
void pool_order_addresses(struct packet_pool *pool, const struct address_list *list, struct address *ordered);
void pool_penalise_address(struct packet_pool *pool, const struct address *address);
void pool_endpoint_penalise(struct pool_endpoint *endpoint);
void pool_endpoint_praise(struct pool_endpoint *endpoint);

enum pool_resolution { POOL_RESOLVED, POOL_RESOLVING, POOL_UNRESOLVABLE };
/* POOL_RESOLVING: WAIT was put into the list of names. POOL_UNRESOLVABLE: ERROR says why. */
enum pool_resolution pool_endpoint_resolve(struct pool_endpoint *endpoint, struct wait *wait,
                                           struct error *error);

/* An idle connection, now the caller's; NULL when there is none. Those that the peer has closed, or sent a
 * byte on that nobody asked for, are closed first: what a request reads as its reply came after it. The peer
 * may still close it at any moment. CAREFUL passes over those whose last reply was a failure. */
struct pool_connection *pool_connection_reuse(struct pool_endpoint *endpoint, bool careful);

/* True when one more connection may be opened; an idle one is closed for it where that makes room. */
bool pool_endpoint_has_room(struct pool_endpoint *endpoint);

/* True when bytes are under way to the peer and nothing came back from its machine for LIMIT_MS. */
bool pool_connection_silent(const struct pool_connection *connection, int64_t limit_ms);

/* Begins a connection to TARGET: then EV_WRITE tells how it ended. NULL: *ERRNUM says why. */
struct pool_connection *pool_connection_open(struct pool_endpoint *endpoint,
                                             const struct socket_address *target, int *errnum);

void pool_connection_own(struct pool_connection *connection, void (*handler)(void *owner, short what),
                         void *owner);

/* Memory for the reply, which it has already where some of it was read. False without memory. */
MUST_CHECK bool pool_connection_take_buffer(struct pool_connection *connection);
/* What is in the buffer is not needed any more; `used` stays. */
void pool_connection_give_buffer(struct pool_connection *connection);

/* The end of a connection's use: back to the idle ones unless there are enough of them, or closed. Either
 * wakes the first that waits. */
void pool_connection_park(struct pool_connection *connection);
void pool_connection_close(struct pool_connection *connection);

/* Wakes the first that waits for a connection when there may be one now. */
void pool_endpoint_wake(struct pool_endpoint *endpoint);

/* In packet_line.c: ends the lines of ENDPOINT, whose requests are told to ask another way; frees those that
 * are not used. */
void packet_lines_close(struct pool_endpoint *endpoint);
void packet_lines_trim(struct pool_endpoint *endpoint);

/* In packet_call.c: ends every call of the pool; those whose socket a caller holds are only detached. */
void packet_call_end_all(struct packet_pool *pool);

#endif
