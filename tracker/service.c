/*
 * service: the commands of a tracker, and what starts and ends its rooms. A handler runs on its connection's loop and answers there; what waits for the
 * database is a small allocated question that carries the request and frees itself with the reply.
 */
#include "tracker/service.h"
#include "tracker/admission.h"
#include "tracker/group_admin.h"
#include "tracker/groups.h"
#include "tracker/loop_watch.h"
#include "tracker/reach.h"
#include "tracker/report.h"
#include "tracker/report_share.h"
#include "tracker/router.h"
#include "tracker/table.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_NAMED 3 /* in an answer to SADDRS */
#define TICK_MS       250

enum outcome {
    OUTCOME_OK,
    OUTCOME_REFUSED,
    OUTCOME_NOT_FOUND,
    OUTCOME_NO_SERVER,
    OUTCOME_NO_SPACE,
    OUTCOME_FAILED
};
#define OUTCOME_COUNT 6

struct service {
    struct packet_daemon base;
    struct table *table;
    struct groups *groups;
    struct group_admin *admin;
    struct admission *storages; /* who may join */
    struct loop_watch *watch;
    struct router *router;
    struct report_share groups_text, status_text;
    atomic_bool stopping; /* connections that close now say nothing about their storage servers */
    struct metric *outcomes[2][OUTCOME_COUNT]; /* [create][outcome] */
};

static struct service *service_of(const struct packet_request *request)
{
    return packet_server_argument(packet_connection_server(request->connection));
}

/* ---- JOIN, BEAT, LOAD ---- */

struct join_wait {
    struct packet_request *request;
    struct proto_join join;
    struct groups_question question;
};

/* Of a connection's user pointer only one thing matters: whether a storage server joined over it. */
static char joined_mark;

/* False: the request was refused. */
static bool admit_storage(struct packet_request *request)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    struct admission *storages = service_of(request)->storages;
    const char *peer = packet_connection_peer(request->connection)->host;
    if (admission_is_open(storages) || admission_names(storages, peer))
        return true;
    if (log_gate_open(&gate, 10000, &suppressed))
        log_warning(
            "storages",
            "%s is refused as a storage server: it is not in tracker.storage_addresses (and %llu more)", peer,
            (unsigned long long)suppressed);
    packet_reply_error(request, ERROR_REFUSED,
                       "no storage server is taken from %s (tracker.storage_addresses)", peer);
    return false;
}

static void finish_join(struct packet_request *request, const struct proto_join *join)
{
    struct service *service = service_of(request);
    struct packet_connection *connection = request->connection;
    struct error error;
    if (!table_join(service->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, join, table_now(), &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    packet_connection_set_user(connection, &joined_mark);
    packet_reply(request, NULL, 0);
}

static void join_group_known(struct groups_question *question)
{
    struct join_wait *wait = CONTAINER_OF(question, struct join_wait, question);
    if (question->known)
        finish_join(wait->request, &wait->join);
    else
        packet_reply_failure(wait->request, &question->error);
    free(wait);
}

static void handle_join(struct packet_request *request)
{
    struct service *service = service_of(request);
    struct proto_join join;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_join_unpack(request->head, request->head_size, &join, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    if (table_group_known(service->table, join.group)) {
        finish_join(request, &join);
        return;
    }
    struct join_wait *wait = calloc(1, sizeof(*wait));
    if (!wait) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    wait->request = request;
    wait->join = join;
    memcpy(wait->question.group, join.group, sizeof(wait->question.group));
    wait->question.loop = request->loop;
    wait->question.done = join_group_known;
    groups_ask(service->groups, &wait->question);
}

static void handle_beat(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_beat beat;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_beat_unpack(request->head, request->head_size, &beat, &error) ||
        !table_beat(service_of(request)->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, &beat, table_now(), &error))
        packet_reply_failure(request, &error);
    else
        packet_reply(request, NULL, 0);
}

static void handle_load(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_load load;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_load_unpack(request->head, request->head_size, &load, &error) ||
        !table_load(service_of(request)->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, &load, table_now(), &error))
        packet_reply_failure(request, &error);
    else
        packet_reply(request, NULL, 0);
}

/* What a server says of itself is believed where the configuration names it, or where it lies next to its peer. */
static bool check_advertised(struct packet_request *request, const char *text, struct address *address,
                             struct error *error)
{
    const char *peer = packet_connection_peer(request->connection)->host;
    struct socket_address socket_address;
    if (!address_parse(text, 0, address, error))
        return false;
    if (address->port == 0 || strcmp(address->host, "*") == 0 || !address_to_socket(address, &socket_address))
        return error_set(error, ERROR_REFUSED, "%s is no numeric address with a port (storage.advertise)",
                         text);
    if ((reach_is_loopback(address->host) || reach_is_link_local(address->host)) && !reach_is_loopback(peer))
        return error_set(error, ERROR_REFUSED, "%s means another machine to every client (storage.advertise)",
                         text);
    if (!reach_is_loopback(peer) && !reach_same_network(address->host, peer) &&
        !admission_names(service_of(request)->storages, peer))
        return error_set(error, ERROR_REFUSED,
                         "%s is in another network than %s, which tracker.storage_addresses does not name",
                         text, peer);
    return true;
}

static void handle_advertise(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_advertise advertise;
    struct address address;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_advertise_unpack(request->head, request->head_size, &advertise, &error) ||
        !check_advertised(request, advertise.address, &address, &error) ||
        !table_advertise(service_of(request)->table, packet_connection_id(connection),
                         packet_connection_peer(connection)->host, &advertise, &address, &error))
        packet_reply_failure(request, &error);
    else
        packet_reply(request, NULL, 0);
}

static void tracker_connection_closed(struct packet_connection *connection)
{
    if (packet_connection_user(connection) != &joined_mark)
        return;
    struct service *service = packet_server_argument(packet_connection_server(connection));
    if (atomic_load(&service->stopping))
        return;
    table_connection_closed(service->table, packet_connection_id(connection), table_now());
}

/* ---- SADDRS, LOCATE ---- */

static enum outcome outcome_of(int code)
{
    switch (code) {
    case ERROR_NONE:
        return OUTCOME_OK;
    case ERROR_REFUSED:
        return OUTCOME_REFUSED;
    case ERROR_NOT_FOUND:
        return OUTCOME_NOT_FOUND;
    case ERROR_NO_SERVER:
        return OUTCOME_NO_SERVER;
    case ERROR_NO_SPACE:
        return OUTCOME_NO_SPACE;
    default:
        return OUTCOME_FAILED;
    }
}

static void count_outcome(const struct packet_request *request, int code)
{
    bool create = request->command == PROTO_TRACKER_SADDRS;
    metric_add(service_of(request)->outcomes[create][outcome_of(code)], 1);
}

static void fail_route(struct packet_request *request, const struct error *error)
{
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
    bool has_local = packet_connection_local(request->connection, &local);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (reach_address(&servers[i], client, has_local ? local.host : NULL, &reachable))
            servers[kept++] = reachable;
        else if (log_gate_open(&gate, 60000, &suppressed))
            log_warning(
                "routes",
                "the storage server %s of group %s is not named to %s, which cannot reach it there: set "
                "storage.advertise, or let it join over an address of its network (and %llu more)",
                servers[i].host, group, client, (unsigned long long)suppressed);
    }
    return kept;
}

static void answer_route(struct packet_request *request, const char *group)
{
    struct address servers[SERVERS_NAMED];
    char text[SERVERS_NAMED * (ADDRESS_TEXT_SIZE + 1) + 1], one[ADDRESS_TEXT_SIZE];
    uint8_t body[PROTO_GROUP_SIZE + sizeof(text)];
    struct error error;
    size_t length = 0;
    size_t chosen = table_choose(service_of(request)->table, group, servers, ARRAY_SIZE(servers));
    size_t count = keep_reachable(request, group, servers, chosen);
    if (count == 0) {
        error_set(&error, ERROR_NO_SERVER,
                  chosen > 0 ? "no storage server of group %s can be reached from here"
                             : "group %s has no ACTIVE storage server",
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
    if (error->code == ERROR_NOT_FOUND && table_only_group(service_of(request)->table, group))
        answer_route(request, group);
    else
        fail_route(request, error);
}

static void route_known(void *argument, const char *group, const struct error *error)
{
    if (group)
        answer_route(argument, group);
    else
        answer_unrouted(argument, error);
}

static void handle_route(struct packet_request *request, bool create)
{
    struct proto_file_key key;
    struct error error;
    char group[PROTO_GROUP_SIZE];
    bool ok = create ? proto_file_key_unpack(request->head, request->head_size, &key, &error)
                     : proto_user_key_unpack(request->head, request->head_size, &key, &error);
    if (!ok) {
        fail_route(request, &error);
        return;
    }
    struct router *router = service_of(request)->router;
    enum router_answer answer = router_find(router, &key, create, group, &error);
    if (answer == ROUTER_ASK)
        answer = router_ask(router, request->loop, &key, create, route_known, request, group, &error);
    if (answer == ROUTER_FOUND)
        answer_route(request, group);
    else if (answer == ROUTER_FAILED)
        answer_unrouted(request, &error);
}

static void handle_saddrs(struct packet_request *request)
{
    handle_route(request, true);
}

static void handle_locate(struct packet_request *request)
{
    handle_route(request, false);
}

/* ---- GROUPS, STATUS ---- */

static void reply_report(struct packet_request *request, struct report_share *share,
                         char *(*make)(void *argument, size_t *size))
{
    struct packet_shared *text = report_share_take(share, make, service_of(request));
    if (!text) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    packet_reply_shared(request, text);
    packet_shared_release(text);
}

static char *make_groups(void *argument, size_t *size)
{
    struct service *service = argument;
    struct table_snapshot snapshot;
    if (!table_snapshot_take(service->table, table_now(), &snapshot))
        return NULL;
    char *text = report_groups(&snapshot, size);
    table_snapshot_clear(&snapshot);
    return text;
}

static void handle_groups(struct packet_request *request)
{
    reply_report(request, &service_of(request)->groups_text, make_groups);
}

static json_t *service_status(struct service *service)
{
    struct table_snapshot snapshot;
    char reason[ERROR_TEXT_SIZE]; /* for the log and the operator: not told to whoever asks */
    if (!table_snapshot_take(service->table, table_now(), &snapshot))
        return NULL;
    json_t *status = report_status(&snapshot);
    table_snapshot_clear(&snapshot);
    if (!status)
        return NULL;
    bool works = groups_reading_works(service->groups, reason, sizeof(reason));
    json_t *head = packet_daemon_status(&service->base, "tracker");
    json_t *database =
        json_pack("{s:b, s:b}", "healthy", (int)works, "groups_loaded", (int)groups_loaded(service->groups));
    if (!head || json_object_update(status, head) != 0 ||
        json_object_set(status, "database", database) != 0) {
        json_decref(status);
        status = NULL;
    }
    json_decref(database);
    json_decref(head);
    return status;
}

static char *make_status(void *argument, size_t *size)
{
    json_t *status = service_status(argument);
    char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;
    json_decref(status);
    *size = text ? strlen(text) : 0;
    return text;
}

static void handle_status(struct packet_request *request)
{
    reply_report(request, &service_of(request)->status_text, make_status);
}

static void handle_group(struct packet_request *request)
{
    group_admin_handle(service_of(request)->admin, request);
}

static const struct packet_command commands[] = {
    {.command = PROTO_TRACKER_JOIN,
     .name = "join",
     .minimum = PROTO_JOIN_SIZE,
     .maximum = PROTO_JOIN_SIZE,
     .handle = handle_join},
    {.command = PROTO_TRACKER_BEAT,
     .name = "beat",
     .minimum = PROTO_BEAT_SIZE,
     .maximum = PROTO_BEAT_SIZE,
     .handle = handle_beat},
    {.command = PROTO_TRACKER_SADDRS,
     .name = "saddrs",
     .minimum = PROTO_FILE_KEY_SIZE,
     .maximum = PROTO_FILE_KEY_SIZE,
     .handle = handle_saddrs},
    {.command = PROTO_TRACKER_GROUPS, .name = "groups", .minimum = 0, .maximum = 0, .handle = handle_groups},
    {.command = PROTO_TRACKER_LOAD,
     .name = "load",
     .minimum = PROTO_LOAD_SIZE,
     .maximum = PROTO_LOAD_SIZE,
     .handle = handle_load},
    {.command = PROTO_TRACKER_ADVERTISE,
     .name = "advertise",
     .minimum = PROTO_ADVERTISE_SIZE,
     .maximum = PROTO_ADVERTISE_SIZE,
     .handle = handle_advertise},
    {.command = PROTO_TRACKER_STATUS, .name = "status", .minimum = 0, .maximum = 0, .handle = handle_status},
    {.command = PROTO_TRACKER_LOCATE,
     .name = "locate",
     .minimum = PROTO_FILE_KEY_SIZE,
     .maximum = PROTO_FILE_KEY_SIZE,
     .handle = handle_locate},
    {.command = PROTO_TRACKER_GROUP,
     .name = "group",
     .minimum = PROTO_GROUP_CHANGE_SIZE,
     .maximum = PROTO_GROUP_CHANGE_SIZE,
     .handle = handle_group},
};

/* ---- metrics ---- */

static double read_offline(void *argument)
{
    return (double)table_count(((struct service *)argument)->table, TABLE_OFFLINE);
}

static double read_online(void *argument)
{
    return (double)table_count(((struct service *)argument)->table, TABLE_ONLINE);
}

static double tracker_read_active(void *argument)
{
    return (double)table_count(((struct service *)argument)->table, TABLE_ACTIVE);
}

static double read_suspect(void *argument)
{
    return (double)table_count_suspect(((struct service *)argument)->table);
}

static double service_read_groups(void *argument)
{
    return (double)table_count_groups(((struct service *)argument)->table);
}

static void tracker_register_metrics(struct service *service)
{
    static const char *const outcome_names[OUTCOME_COUNT] = {"ok",        "refused",  "not_found",
                                                             "no_server", "no_space", "failed"};
    const char *name = "reel_tracker_storages", *help = "Storage servers by state.";
    metrics_gauge_read(name, help, "state=\"offline\"", read_offline, service);
    metrics_gauge_read(name, help, "state=\"online\"", read_online, service);
    metrics_gauge_read(name, help, "state=\"active\"", tracker_read_active, service);
    metrics_gauge_read("reel_tracker_storages_suspect",
                       "Storage servers whose connection broke a moment ago.", NULL, read_suspect, service);
    metrics_gauge_read("reel_tracker_groups", "Groups in the table.", NULL, service_read_groups, service);
    for (int create = 0; create < 2; create++) {
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            char labels[80];
            snprintf(labels, sizeof(labels), "command=\"%s\",outcome=\"%s\"", create ? "saddrs" : "locate",
                     outcome_names[outcome]);
            service->outcomes[create][outcome] = metrics_counter(
                "reel_tracker_routes_total", "Answers to SADDRS and LOCATE, by outcome.", labels);
        }
    }
}

/* ---- life ---- */

static struct table_settings settings_of(const struct tracker_config *config)
{
    return (struct table_settings){
        .heartbeat_timeout_ms = config->heartbeat_timeout_ms,
        .suspect_grace_ms = config->suspect_grace_ms,
        .forget_after_ms = config->forget_after_ms,
        .minimum_free = config->minimum_free,
        .per_address_max = (size_t)config->storages_per_address,
    };
}

static void ticked(struct packet_daemon *base)
{
    struct service *service = CONTAINER_OF(base, struct service, base);
    struct table_moment now = table_now();
    table_tick(service->table, now, loop_watch_stuck(service->watch, now.monotonic_ms, TABLE_PAUSE_MS));
}

static void warn_where_open(struct service *service)
{
    if (admission_is_open(service->storages))
        log_warning("storages",
                    "tracker.storage_addresses is empty: whoever reaches this port can join as a storage "
                    "server and be given users' files");
}

static bool start_rooms(struct service *service, const struct tracker_config *config, struct error *error)
{
    const struct table_settings settings = settings_of(config);
    struct db *db = packet_daemon_open_database(&config->base, error);
    service->base.db = db;
    if (!db)
        return false;
    service->table = table_create((size_t)config->groups_max, (size_t)config->storages_max, &settings);
    if (!service->table)
        return error_set(error, ERROR_UNAVAILABLE, "table: out of memory");
    const struct router_options options = {
        .table = service->table,
        .db = db,
        .cache_entries = (size_t)config->route_cache_entries,
        .cache_age_ms = config->route_cache_age_ms,
        .unknown_age_ms = config->unknown_user_age_ms,
        .timeout_ms = config->base.database_timeout_ms,
    };
    service->router = router_create(&options, error);
    if (!service->router || !router_configure(service->router, &config->applications, &config->pins,
                                              config->route_cache_age_ms, config->unknown_user_age_ms, error))
        return false;
    service->groups =
        groups_create(service->base.daemon->main_loop, db, service->table, (size_t)config->groups_max,
                      config->groups_refresh_ms, config->base.database_timeout_ms, error);
    if (!service->groups)
        return false;
    service->admin = group_admin_create(db, service->groups, &config->admin_addresses, error);
    service->storages = admission_create(&config->storage_addresses, error);
    if (!service->admin || !service->storages)
        return false;
    warn_where_open(service);
    service->watch =
        loop_watch_create(service->base.daemon->loops->loops, service->base.daemon->loops->count);
    return service->watch || error_set(error, ERROR_UNAVAILABLE, "out of memory");
}

bool tracker_service_start(struct daemon *daemon, struct error *error)
{
    const struct tracker_config *config = daemon->config;
    struct service *service = calloc(1, sizeof(*service));
    if (!service)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    const struct packet_daemon_face face = {
        .host_name = daemon_host_name(),
        .reply_command = PROTO_REPLY_TRACKER,
        .unsent_max = 128 * 1024,
        .commands = commands,
        .command_count = ARRAY_SIZE(commands),
        .argument = service,
        .closed = tracker_connection_closed,
    };
    daemon->state = service;
    report_share_init(&service->groups_text);
    report_share_init(&service->status_text);
    packet_daemon_begin(&service->base, daemon);
    if (!start_rooms(service, config, error) ||
        !packet_daemon_start_tick(&service->base, TICK_MS, ticked, error) ||
        !packet_daemon_listen(&service->base, &face, error)) {
        tracker_service_destroy(daemon);
        return false;
    }
    tracker_register_metrics(service);
    return true;
}

static void groups_stopped(void *argument)
{
    daemon_stopped(((struct service *)argument)->base.daemon);
}

static void tracker_drained(struct packet_daemon *base)
{
    struct service *service = CONTAINER_OF(base, struct service, base);
    groups_stop(service->groups, groups_stopped, service);
}

void tracker_service_stop(struct daemon *daemon)
{
    struct service *service = daemon->state;
    atomic_store(&service->stopping, true);
    packet_daemon_stop(&service->base, tracker_drained);
}

void tracker_service_end_workers(struct daemon *daemon)
{
    struct service *service = daemon->state;
    router_close(service->router);
    groups_close(service->groups);
    packet_daemon_end_workers(&service->base);
}

void tracker_service_destroy(struct daemon *daemon)
{
    struct service *service = daemon->state;
    if (!service)
        return;
    packet_daemon_destroy(&service->base);
    group_admin_destroy(service->admin);
    admission_destroy(service->storages);
    loop_watch_destroy(service->watch);
    groups_destroy(service->groups);
    router_destroy(service->router);
    table_destroy(service->table);
    report_share_clear(&service->groups_text);
    report_share_clear(&service->status_text);
    free(service);
    daemon->state = NULL;
}

bool tracker_service_reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    struct service *service = daemon->state;
    const struct tracker_config *config = new_config;
    if (!group_admin_configure(service->admin, &config->admin_addresses, error) ||
        !admission_configure(service->storages, &config->storage_addresses, error) ||
        !router_configure(service->router, &config->applications, &config->pins, config->route_cache_age_ms,
                          config->unknown_user_age_ms, error))
        return false;
    const struct table_settings settings = settings_of(config);
    warn_where_open(service);
    table_set_settings(service->table, &settings);
    groups_set_refresh(service->groups, config->groups_refresh_ms);
    packet_daemon_reload(&service->base, &config->base);
    return true;
}

bool tracker_service_health(struct daemon *daemon, char *reason, size_t reason_size)
{
    struct service *service = daemon->state;
    char cause[ERROR_TEXT_SIZE];
    if (groups_loaded(service->groups)) {
        (void)db_healthy(service->base.db, reason, reason_size); /* what is known is served without it */
        return true;
    }
    if (groups_reading_works(service->groups, cause, sizeof(cause)))
        snprintf(reason, reason_size, "t_groups_info has not been read yet");
    else
        snprintf(reason, reason_size, "no group is known: t_groups_info cannot be read: %s", cause);
    return false;
}

json_t *tracker_service_status(struct daemon *daemon)
{
    return service_status(daemon->state);
}
