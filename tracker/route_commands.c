/*
 * route_commands: the group of a user from the router, the group's servers from the table, and of these the ones that the
 * client can reach, as text; counts how each answer came out.
 */
#include "tracker/route_commands.h"
#include "tracker/reach.h"
#include "tracker/rooms.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/loop/kept_sockets.h"
#include <stdio.h>
#include <stdlib.h>

#define SERVERS_NAMED 3 /* in an answer to SADDRS */

static void handle_route(struct packet_request *request, bool create);

static enum route_outcome outcome_of(int code)
{
    switch (code) {
    case ERROR_NONE:
        return ROUTE_OK;
    case ERROR_REFUSED:
        return ROUTE_REFUSED;
    case ERROR_NOT_FOUND:
        return ROUTE_NOT_FOUND;
    case ERROR_NO_SERVER:
        return ROUTE_NO_SERVER;
    case ERROR_NO_SPACE:
        return ROUTE_NO_SPACE;
    default:
        return ROUTE_FAILED;
    }
}

static void count_outcome(const struct packet_request *request, int code)
{
    if (request->command == PROTO_TRACKER_SERVERS)
        return; /* no user's route */
    bool create = request->command == PROTO_TRACKER_SADDRS;
    metric_add(tracker_of(request)->outcomes[create][outcome_of(code)], 1);
}

/* ---- after a start ---- */

#define HOLD_MS  3000
#define LOOK_MS  100
#define HELD_MAX 10000

struct held_route {
    struct wait wait;
    struct packet_request *request;
};

static void on_route_held(struct wait *wait, enum wait_end end)
{
    struct held_route *held = CONTAINER_OF(wait, struct held_route, wait);
    struct packet_request *request = held->request;
    char group[PROTO_GROUP_SIZE];
    struct error error;

    (void)end;
    free(held);
    if (request->command != PROTO_TRACKER_SERVERS)
        handle_route(request, request->command == PROTO_TRACKER_SADDRS);
    else if (proto_group_name_unpack(request->head, request->head_size, group, &error))
        route_commands_name_servers(request, group);
    else
        packet_reply_failure(request, &error);
}

/* True: REQUEST is looked at again in a moment. */
static bool hold(struct packet_request *request)
{
    struct tracker *tracker = tracker_of(request);
    if (clock_monotonic_ms() >= tracker->started_ms + HOLD_MS || atomic_load(&tracker->stopping))
        return false;
    struct held_route *held = calloc(1, sizeof(*held));
    if (!held)
        return false;
    held->request = request;
    held->wait.loop = request->loop;
    held->wait.done = on_route_held;
    pthread_mutex_lock(&tracker->held_mutex);
    bool waits = tracker->held.count < HELD_MAX && wait_enter(&tracker->held, &held->wait, LOOK_MS);
    pthread_mutex_unlock(&tracker->held_mutex);
    if (!waits)
        free(held);
    return waits;
}

void route_commands_begin(struct tracker *tracker)
{
    pthread_mutex_init(&tracker->held_mutex, NULL);
    wait_list_init(&tracker->held, &tracker->held_mutex, NULL);
    tracker->started_ms = clock_monotonic_ms();
}

void route_commands_end(struct tracker *tracker)
{
    struct wait *wait;
    pthread_mutex_lock(&tracker->held_mutex);
    while ((wait = wait_list_take(&tracker->held)))
        free(CONTAINER_OF(wait, struct held_route, wait));
    pthread_mutex_unlock(&tracker->held_mutex);
    pthread_mutex_destroy(&tracker->held_mutex);
}

static void fail_route(struct packet_request *request, const struct error *error)
{
    /* After a restart the clients of before wait here, and the storage servers are about to join. */
    if (error->code == ERROR_NO_SERVER && kept_sockets_inherited() && hold(request))
        return;
    count_outcome(request, error->code);
    packet_reply_failure(request, error);
}

/* Leaves those of SERVERS that the client can reach, as it can reach them. Returns how many. */
static size_t keep_reachable(const struct packet_request *request, const char *group, struct address *servers,
                             size_t count)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    const char *client = packet_connection_peer(request->connection)->host;
    struct address local, reachable;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        /* Our own end of the connection takes a system call, and seldom matters. */
        if (reach_address(&servers[i], client, NULL, &reachable) ||
            (packet_connection_local(request->connection, &local) &&
             reach_address(&servers[i], client, local.host, &reachable)))
            servers[kept++] = reachable;
        else if (log_gate_open(&gate, 60000, &suppressed))
            log_warning("routes",
                        "the storage server %s of group %s is not named to client %s, which cannot reach "
                        "that address: set "
                        "storage.advertise, or let it join over an address of its network (and %llu more)",
                        servers[i].host, group, client, (unsigned long long)suppressed);
    }
    return kept;
}

void route_commands_name_servers(struct packet_request *request, const char *group)
{
    struct address servers[SERVERS_NAMED];
    char text[SERVERS_NAMED * (ADDRESS_TEXT_SIZE + 1) + 1], one[ADDRESS_TEXT_SIZE];
    uint8_t body[PROTO_GROUP_SIZE + sizeof(text)];
    struct error error;
    size_t length = 0;
    size_t chosen = table_choose(tracker_of(request)->table, group,
                                 packet_connection_secure(request->connection), servers, ARRAY_SIZE(servers));
    size_t count = keep_reachable(request, group, servers, chosen);
    if (count == 0) {
        bool known = table_group_known(tracker_of(request)->table, group);
        error_set(&error, ERROR_NO_SERVER,
                  chosen > 0 ? "no storage server of group %s can be reached from here"
                  : known    ? "group %s has no ACTIVE storage server"
                             : "group %s is not in t_groups_info, and has no storage server",
                  group);
        fail_route(request, &error);
        return;
    }
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s;",
                                   address_format(&servers[i], one, sizeof(one)));
    }
    size_t size = proto_saddrs_reply_pack(body, sizeof(body), group, text);
    ASSERT(size > 0);
    count_outcome(request, ERROR_NONE);
    packet_reply(request, body, size);
}

/* LOCATE of a user without a route: in an installation of one group there is only one place where that user's
 * files can be, so it is named. No route is written. */
static void answer_unrouted(struct packet_request *request, const struct error *error)
{
    char group[PROTO_GROUP_SIZE];
    if (error->code == ERROR_NOT_FOUND && table_only_group(tracker_of(request)->table, group))
        route_commands_name_servers(request, group);
    else
        fail_route(request, error);
}

static void route_known(void *argument, const char *group, const struct error *error)
{
    if (group)
        route_commands_name_servers(argument, group);
    else
        answer_unrouted(argument, error);
}

/* Until t_groups_info has been read a user looks as if there were no group for it, and a group as if it had been removed. False:
 * REQUEST waits for that, or has been answered. */
static bool groups_are_known(struct packet_request *request)
{
    struct groups *groups = tracker_of(request)->groups;
    char reason[ERROR_TEXT_SIZE];
    struct error error;
    if (groups_loaded(groups))
        return true;
    bool works = groups_reading_works(groups, reason, sizeof(reason));
    if (works && hold(request))
        return false;
    error_set(&error, ERROR_UNAVAILABLE, "the groups cannot be looked up: %s",
              works ? "the database does not answer" : reason);
    count_outcome(request, error.code);
    packet_reply_failure(request, &error);
    return false;
}

static void handle_route(struct packet_request *request, bool create)
{
    struct proto_file_key key;
    struct error error;
    char group[PROTO_GROUP_SIZE];
    if (!groups_are_known(request))
        return;
    bool ok = create ? proto_file_key_unpack(request->head, request->head_size, &key, &error)
                     : proto_user_key_unpack(request->head, request->head_size, &key, &error);
    if (!ok) {
        fail_route(request, &error);
        return;
    }
    struct router *router = tracker_of(request)->router;
    enum router_answer answer = router_find(router, &key, create, group, &error);
    if (answer == ROUTER_ASK)
        answer = router_ask(router, request->loop, &key, create, route_known, request, group, &error);
    if (answer == ROUTER_FOUND)
        route_commands_name_servers(request, group);
    else if (answer == ROUTER_FAILED)
        answer_unrouted(request, &error);
}

void route_commands_saddrs(struct packet_request *request)
{
    handle_route(request, true);
}

void route_commands_locate(struct packet_request *request)
{
    handle_route(request, false);
}

void route_commands_register_metrics(struct tracker *tracker)
{
    static const char *const outcome_names[ROUTE_OUTCOMES] = {"ok",        "refused",  "not_found",
                                                              "no_server", "no_space", "failed"};
    for (int create = 0; create < 2; create++) {
        for (int outcome = 0; outcome < ROUTE_OUTCOMES; outcome++) {
            char labels[80];
            snprintf(labels, sizeof(labels), "command=\"%s\",outcome=\"%s\"", create ? "saddrs" : "locate",
                     outcome_names[outcome]);
            tracker->outcomes[create][outcome] = metrics_counter(
                "reel_tracker_routes_total", "Answers to SADDRS and LOCATE, by outcome.", labels);
        }
    }
}
