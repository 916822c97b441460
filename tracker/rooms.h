/*
 * rooms: the parts of one tracker as its commands see them. service.c makes, fills and ends them; the handlers of
 * storage_commands.c and route_commands.c find them through their request.
 */
#ifndef REEL_TRACKER_ROOMS_H
#define REEL_TRACKER_ROOMS_H

#include "common/base/metrics.h"
#include "common/daemon/packet_daemon.h"
#include "common/loop/wait_list.h"
#include "tracker/admission.h"
#include "tracker/group_admin.h"
#include "tracker/groups.h"
#include "tracker/loop_watch.h"
#include "tracker/report_share.h"
#include "tracker/router.h"
#include "tracker/table.h"
#include <stdatomic.h>

/* What became of a SADDRS or LOCATE. */
enum route_outcome {
    ROUTE_OK,
    ROUTE_REFUSED,
    ROUTE_NOT_FOUND,
    ROUTE_NO_SERVER,
    ROUTE_NO_SPACE,
    ROUTE_FAILED,
    ROUTE_OUTCOMES /* how many there are */
};

struct tracker {
    struct packet_daemon base;
    struct table *table;
    struct groups *groups;
    struct group_admin *admin;
    struct admission *storages; /* who may join */
    struct loop_watch *watch;
    struct router *router;
    struct workers *reporter;
    struct report_share groups_text, status_text, people_text;
    atomic_bool stopping;  /* connections that close now say nothing about their storage servers */
    int64_t started_ms;    /* monotonic */
    struct wait_list held; /* routes that wait for a storage server; under held_mutex */
    pthread_mutex_t held_mutex;
    struct metric *outcomes[2][ROUTE_OUTCOMES]; /* [create][outcome] */
};

/* The tracker that REQUEST was sent to. Any thread. */
static inline struct tracker *tracker_of(const struct packet_request *request)
{
    return packet_server_argument(packet_connection_server(request->connection));
}

#endif
