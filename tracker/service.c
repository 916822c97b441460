/*
 * service: makes the tracker's rooms, puts its commands into one table, and ends the rooms; answers GROUPS, STATUS and GROUP.
 * A handler runs on its connection's loop and answers there; what GROUPS, STATUS and the admin port's /status say is put together
 * on a worker.
 */
#include "tracker/service.h"
#include "tracker/report.h"
#include "tracker/rooms.h"
#include "tracker/route_commands.h"
#include "tracker/storage_commands.h"
#include "tracker/user_admin.h"
#include "common/daemon/host_name.h"
#include "common/base/log.h"
#include "common/daemon/admin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS       250
#define REPORTS       3 /* texts that are made: of GROUPS, of STATUS and of the admin port */
#define REPORT_END_MS 60000

/* ---- GROUPS, STATUS ---- */

struct report_wait {
    struct report_question question;
    struct packet_request *request;
};

/* TEXT: a reference that goes; NULL: there is none. */
static void answer_report(struct packet_request *request, struct packet_shared *text)
{
    if (text)
        packet_reply_shared(request, text);
    else
        packet_reply_error(request, ERROR_UNAVAILABLE,
                           "the report cannot be made: out of memory, or stopping");
    packet_shared_release(text);
}

static void report_made(struct report_question *question, struct packet_shared *text)
{
    struct report_wait *wait = CONTAINER_OF(question, struct report_wait, question);
    struct packet_request *request = wait->request;
    free(wait);
    answer_report(request, text);
}

static void reply_report(struct packet_request *request, struct report_share *share)
{
    struct packet_shared *text = report_share_present(share);
    struct report_wait *wait = text ? NULL : calloc(1, sizeof(*wait));
    if (wait) {
        wait->question.loop = request->loop;
        wait->question.done = report_made;
        wait->request = request;
        if (report_share_ask(share, &wait->question))
            return;
        free(wait);
    }
    answer_report(request, text);
}

/* On a worker. */
static char *make_groups(void *argument, size_t *size)
{
    struct tracker *tracker = argument;
    struct table_snapshot snapshot;
    if (!table_snapshot_take(tracker->table, table_now(), &snapshot))
        return NULL;
    char *text = report_groups(&snapshot, size);
    table_snapshot_clear(&snapshot);
    return text;
}

static void handle_groups(struct packet_request *request)
{
    reply_report(request, &tracker_of(request)->groups_text);
}

/* On a worker: of thousands of members it takes long. */
static json_t *service_status(struct tracker *tracker)
{
    struct table_snapshot snapshot;
    char reason[ERROR_TEXT_SIZE]; /* for the log and the operator, not for the client */
    ASSERT(!loop_current());
    if (!table_snapshot_take(tracker->table, table_now(), &snapshot))
        return NULL;
    json_t *status = report_status(&snapshot);
    table_snapshot_clear(&snapshot);
    if (!status)
        return NULL;
    bool works = groups_reading_works(tracker->groups, reason, sizeof(reason));
    json_t *head = packet_daemon_status(&tracker->base, "tracker");
    json_t *database =
        json_pack("{s:b, s:b}", "healthy", (int)works, "groups_loaded", (int)groups_loaded(tracker->groups));
    if (!head || json_object_update(status, head) != 0 ||
        json_object_set(status, "database", database) != 0) {
        json_decref(status);
        status = NULL;
    }
    json_decref(database);
    json_decref(head);
    return status;
}

static char *tracker_status_text(struct tracker *tracker, size_t flags, size_t *size)
{
    json_t *status = service_status(tracker);
    char *text = status ? json_dumps(status, flags) : NULL;
    json_decref(status);
    *size = text ? strlen(text) : 0;
    return text;
}

/* On a worker, as the next. */
static char *make_status(void *argument, size_t *size)
{
    return tracker_status_text(argument, JSON_COMPACT, size);
}

static char *make_people_status(void *argument, size_t *size)
{
    return tracker_status_text(argument, JSON_INDENT(2), size);
}

static void handle_status(struct packet_request *request)
{
    reply_report(request, &tracker_of(request)->status_text);
}

static void handle_group(struct packet_request *request)
{
    group_admin_handle(tracker_of(request)->admin, request);
}

static const struct packet_command commands[] = {
    {.command = PROTO_TRACKER_JOIN,
     .name = "join",
     .minimum = PROTO_JOIN_SIZE,
     .maximum = PROTO_JOIN_SIZE,
     .handle = storage_commands_join},
    {.command = PROTO_TRACKER_BEAT,
     .name = "beat",
     .minimum = PROTO_BEAT_SIZE,
     .maximum = PROTO_BEAT_SIZE,
     .handle = storage_commands_beat},
    {.command = PROTO_TRACKER_SADDRS,
     .name = "saddrs",
     .minimum = PROTO_FILE_KEY_SIZE,
     .maximum = PROTO_FILE_KEY_SIZE,
     .handle = route_commands_saddrs},
    {.command = PROTO_TRACKER_GROUPS, .name = "groups", .minimum = 0, .maximum = 0, .handle = handle_groups},
    {.command = PROTO_TRACKER_LOAD,
     .name = "load",
     .minimum = PROTO_LOAD_SIZE,
     .maximum = PROTO_LOAD_SIZE,
     .handle = storage_commands_load},
    {.command = PROTO_TRACKER_ADVERTISE,
     .name = "advertise",
     .minimum = PROTO_ADVERTISE_SIZE,
     .maximum = PROTO_ADVERTISE_SIZE,
     .handle = storage_commands_advertise},
    {.command = PROTO_TRACKER_STATUS, .name = "status", .minimum = 0, .maximum = 0, .handle = handle_status},
    {.command = PROTO_TRACKER_LOCATE,
     .name = "locate",
     .minimum = PROTO_FILE_KEY_SIZE,
     .maximum = PROTO_FILE_KEY_SIZE,
     .handle = route_commands_locate},
    {.command = PROTO_TRACKER_GROUP,
     .name = "group",
     .minimum = PROTO_GROUP_CHANGE_SIZE,
     .maximum = PROTO_GROUP_CHANGE_SIZE,
     .handle = handle_group},
    {.command = PROTO_TRACKER_USERS,
     .name = "users",
     .minimum = PROTO_USERS_SIZE,
     .maximum = PROTO_USERS_SIZE,
     .handle = user_admin_users},
    {.command = PROTO_TRACKER_REROUTE,
     .name = "reroute",
     .minimum = PROTO_REROUTE_SIZE,
     .maximum = PROTO_REROUTE_SIZE,
     .handle = user_admin_reroute},
    {.command = PROTO_TRACKER_SERVERS,
     .name = "servers",
     .minimum = PROTO_GROUP_SIZE,
     .maximum = PROTO_GROUP_SIZE,
     .handle = user_admin_servers},
};

/* ---- metrics ---- */

static double read_offline(void *argument)
{
    return (double)table_count(((struct tracker *)argument)->table, TABLE_OFFLINE);
}

static double read_online(void *argument)
{
    return (double)table_count(((struct tracker *)argument)->table, TABLE_ONLINE);
}

static double tracker_read_active(void *argument)
{
    return (double)table_count(((struct tracker *)argument)->table, TABLE_ACTIVE);
}

static double read_suspect(void *argument)
{
    return (double)table_count_suspect(((struct tracker *)argument)->table);
}

static double read_clocks_off(void *argument)
{
    return (double)table_count_clocks_off(((struct tracker *)argument)->table);
}

static double service_read_groups(void *argument)
{
    return (double)table_count_groups(((struct tracker *)argument)->table);
}

static void tracker_register_metrics(struct tracker *tracker)
{
    const char *name = "reel_tracker_storages", *help = "Storage servers by state.";
    metrics_gauge_read(name, help, "state=\"offline\"", read_offline, tracker);
    metrics_gauge_read(name, help, "state=\"online\"", read_online, tracker);
    metrics_gauge_read(name, help, "state=\"active\"", tracker_read_active, tracker);
    metrics_gauge_read("reel_tracker_storages_suspect",
                       "Storage servers whose connection broke a moment ago.", NULL, read_suspect, tracker);
    metrics_gauge_read("reel_tracker_clocks_off",
                       "Storage servers that had another time than this machine when they joined.", NULL,
                       read_clocks_off, tracker);
    metrics_gauge_read("reel_tracker_groups", "Groups in the table.", NULL, service_read_groups, tracker);
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
    struct tracker *tracker = CONTAINER_OF(base, struct tracker, base);
    struct table_moment now = table_now();
    table_tick(tracker->table, now, loop_watch_stuck(tracker->watch, now.monotonic_ms, TABLE_PAUSE_MS));
}

static void warn_where_open(struct tracker *tracker, const struct daemon_config *config)
{
    if (admission_is_open(tracker->storages) && config->auth_mode != AUTH_REQUIRED)
        log_warning("storages",
                    "tracker.storage_addresses is empty: whoever reaches this port can join as a storage "
                    "server and be given users' files");
}

static bool start_rooms(struct tracker *tracker, const struct tracker_config *config, struct error *error)
{
    const struct table_settings settings = settings_of(config);
    struct db *db = packet_daemon_open_database(&config->base, false, error);
    tracker->base.db = db;
    if (!db)
        return false;
    tracker->table = table_create((size_t)config->groups_max, (size_t)config->storages_max, &settings);
    if (!tracker->table)
        return error_set(error, ERROR_UNAVAILABLE, "table: out of memory");
    const struct router_options options = {
        .table = tracker->table,
        .db = db,
        .cache_entries = (size_t)config->route_cache_entries,
        .cache_age_ms = config->route_cache_age_ms,
        .unknown_age_ms = config->unknown_user_age_ms,
        .timeout_ms = config->base.database_timeout_ms,
    };
    tracker->router = router_create(&options, error);
    if (!tracker->router || !router_configure(tracker->router, &config->applications, &config->pins,
                                              config->route_cache_age_ms, config->unknown_user_age_ms, error))
        return false;
    tracker->groups =
        groups_create(tracker->base.daemon->main_loop, db, tracker->table, (size_t)config->groups_max,
                      config->groups_refresh_ms, config->base.database_timeout_ms, error);
    if (!tracker->groups)
        return false;
    tracker->admin = group_admin_create(db, tracker->groups, &config->admin_addresses, error);
    tracker->storages = admission_create(&config->storage_addresses, error);
    if (!tracker->admin || !tracker->storages)
        return false;
    warn_where_open(tracker, &config->base.daemon);
    tracker->watch =
        loop_watch_create(tracker->base.daemon->loops->loops, tracker->base.daemon->loops->count);
    return tracker->watch || error_set(error, ERROR_UNAVAILABLE, "out of memory");
}

bool tracker_service_start(struct daemon *daemon, struct error *error)
{
    const struct tracker_config *config = daemon->config;
    struct tracker *tracker = calloc(1, sizeof(*tracker));
    if (!tracker)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    const struct packet_daemon_face face = {
        .host_name = host_name(),
        .reply_command = PROTO_REPLY_TRACKER,
        .unsent_max = 128 * 1024,
        .commands = commands,
        .command_count = ARRAY_SIZE(commands),
        .argument = tracker,
        .closed = storage_commands_connection_closed,
    };
    daemon->state = tracker;
    tracker->reporter = workers_create("report", 1, REPORTS, error);
    report_share_init(&tracker->groups_text, tracker->reporter, make_groups, tracker);
    report_share_init(&tracker->status_text, tracker->reporter, make_status, tracker);
    report_share_init(&tracker->people_text, tracker->reporter, make_people_status, tracker);
    route_commands_begin(tracker);
    packet_daemon_begin(&tracker->base, daemon);
    if (!tracker->reporter || !start_rooms(tracker, config, error) ||
        !packet_daemon_start_tick(&tracker->base, TICK_MS, ticked, error) ||
        !packet_daemon_listen(&tracker->base, &face, error)) {
        tracker_service_destroy(daemon);
        return false;
    }
    tracker_register_metrics(tracker);
    route_commands_register_metrics(tracker);
    return true;
}

static void groups_stopped(void *argument)
{
    daemon_stopped(((struct tracker *)argument)->base.daemon);
}

static void tracker_drained(struct packet_daemon *base)
{
    struct tracker *tracker = CONTAINER_OF(base, struct tracker, base);
    groups_stop(tracker->groups, groups_stopped, tracker);
}

void tracker_service_stop(struct daemon *daemon)
{
    struct tracker *tracker = daemon->state;
    atomic_store(&tracker->stopping, true);
    packet_daemon_stop(&tracker->base, tracker_drained);
}

/* A text takes milliseconds, and nothing in it can hang. */
static void tracker_end_reports(struct tracker *tracker)
{
    report_share_close(&tracker->groups_text);
    report_share_close(&tracker->status_text);
    report_share_close(&tracker->people_text);
    ASSERT(workers_destroy(tracker->reporter, REPORT_END_MS));
    tracker->reporter = NULL;
}

void tracker_service_end_workers(struct daemon *daemon)
{
    struct tracker *tracker = daemon->state;
    tracker_end_reports(tracker);
    router_close(tracker->router);
    groups_close(tracker->groups);
    packet_daemon_end_workers(&tracker->base);
}

void tracker_service_destroy(struct daemon *daemon)
{
    struct tracker *tracker = daemon->state;
    if (!tracker)
        return;
    packet_daemon_destroy(&tracker->base);
    tracker_end_reports(tracker);
    route_commands_end(tracker);
    group_admin_destroy(tracker->admin);
    admission_destroy(tracker->storages);
    loop_watch_destroy(tracker->watch);
    groups_destroy(tracker->groups);
    router_destroy(tracker->router);
    table_destroy(tracker->table);
    report_share_clear(&tracker->groups_text);
    report_share_clear(&tracker->status_text);
    report_share_clear(&tracker->people_text);
    free(tracker);
    daemon->state = NULL;
}

bool tracker_service_reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    struct tracker *tracker = daemon->state;
    const struct tracker_config *config = new_config;
    if (!group_admin_configure(tracker->admin, &config->admin_addresses, error) ||
        !admission_configure(tracker->storages, &config->storage_addresses, error) ||
        !router_configure(tracker->router, &config->applications, &config->pins, config->route_cache_age_ms,
                          config->unknown_user_age_ms, error))
        return false;
    const struct table_settings settings = settings_of(config);
    warn_where_open(tracker, &config->base.daemon);
    table_set_settings(tracker->table, &settings);
    groups_set_refresh(tracker->groups, config->groups_refresh_ms);
    packet_daemon_reload(&tracker->base, &config->base);
    return true;
}

/* Clients are served, but an operator should look. */
static void name_missing(struct tracker *tracker, char *reason, size_t reason_size)
{
    size_t active = table_count(tracker->table, TABLE_ACTIVE), suspect = table_count_suspect(tracker->table);
    size_t offline = table_count(tracker->table, TABLE_OFFLINE);
    if (active == 0 && offline > 0)
        snprintf(reason, reason_size, "no storage server is active, %zu are offline (reel status names them)",
                 offline);
    else if (offline > 0)
        snprintf(reason, reason_size, "storage servers: %zu active, %zu offline (reel status names them)",
                 active, offline);
    else if (active > 0 && suspect >= active)
        snprintf(reason, reason_size,
                 "no storage server is active that answers: %zu are late with their heartbeats (reel status "
                 "names them)",
                 suspect);
    else if (suspect > 0)
        snprintf(reason, reason_size,
                 "storage servers: %zu active, of which %zu are late with their heartbeats (reel status "
                 "names them)",
                 active, suspect);
    else if (table_count_clocks_off(tracker->table) > 0)
        snprintf(reason, reason_size,
                 "the clocks of %zu storage servers and this machine's disagree (the log names them)",
                 table_count_clocks_off(tracker->table));
}

bool tracker_service_health(struct daemon *daemon, char *reason, size_t reason_size)
{
    struct tracker *tracker = daemon->state;
    char cause[ERROR_TEXT_SIZE];
    if (groups_loaded(tracker->groups)) {
        (void)db_healthy(tracker->base.db, reason, reason_size); /* what is known is served without it */
        if (reason[0] == '\0')
            name_missing(tracker, reason, reason_size);
        return true;
    }
    if (groups_reading_works(tracker->groups, cause, sizeof(cause)))
        snprintf(reason, reason_size, "t_groups_info has not been read yet");
    else
        snprintf(reason, reason_size, "no group is known: cannot read t_groups_info: %s", cause);
    return false;
}

struct people_wait {
    struct report_question question;
    struct admin_question *asked;
};

static void people_text_made(struct report_question *question, struct packet_shared *text)
{
    struct people_wait *wait = CONTAINER_OF(question, struct people_wait, question);

    admin_answer(wait->asked, text);
    free(wait);
}

void tracker_service_ask_status(struct daemon *daemon, struct admin_question *question)
{
    struct tracker *tracker = daemon->state;
    struct packet_shared *text = report_share_present(&tracker->people_text);
    struct people_wait *wait = text ? NULL : calloc(1, sizeof(*wait));
    if (wait) {
        wait->question.loop = daemon->main_loop;
        wait->question.done = people_text_made;
        wait->asked = question;
        if (report_share_ask(&tracker->people_text, &wait->question))
            return;
        free(wait);
    }
    admin_answer(question, text);
}
