/*
 * heartbeat: keeps every tracker informed that this server is there: JOIN, then LOAD (a legacy tracker: BEAT) at
 * every interval, on one connection for each tracker, independently of the others; a broken connection is
 * made anew at once, with back-off. On one loop (the main one); called by main.c.
 */
#ifndef REEL_STORAGE_HEARTBEAT_H
#define REEL_STORAGE_HEARTBEAT_H

#include "common/base/address.h"
#include "common/loop/loop.h"
#include "common/proto/proto_tracker.h"
#include "common/loop/workers.h"

#include <jansson.h>

struct auth;
struct heartbeat;

struct heartbeat_options {
    struct loop *loop;
    struct auth *auth;                   /* who this server is to trackers; must outlive it; may be NULL */
    struct workers *resolver;            /* for host names */
    const struct address_list *trackers; /* must outlive it */
    int64_t interval_ms;
    int64_t connect_timeout_ms, call_timeout_ms;
    struct proto_join join;    /* join_time is set at each JOIN */
    const char *advertise;     /* address and port to be given to clients; "": whatever the trackers see */
    const char *advertise_tls; /* the same, with tls:// in front, for clients that speak it; "": none */
    struct tls_client *tls;    /* for trackers at tls://; NULL: none */
    /* Fills what changes: state, space, connections, uploads. GROUP, host and port are set already. On the
     * loop. */
    void (*load)(void *argument, struct proto_load *load);
    void *argument;
};

MUST_CHECK struct heartbeat *heartbeat_create(const struct heartbeat_options *options, struct error *error);
/* On the loop or after its end. NULL is ignored. */
void heartbeat_destroy(struct heartbeat *heartbeat);

void heartbeat_set_interval(struct heartbeat *heartbeat, int64_t interval_ms);

/* Reports to every tracker now, e.g. that the server is draining. */
void heartbeat_beat_now(struct heartbeat *heartbeat);

/* REASON, unless no tracker has taken this server, stays as it is: then nobody is sent here. */
void heartbeat_concern(const struct heartbeat *heartbeat, char *reason, size_t reason_size);

/* An array with address, state and the last failure of each tracker: for /status. A new reference. */
json_t *heartbeat_status(const struct heartbeat *heartbeat);

#endif
