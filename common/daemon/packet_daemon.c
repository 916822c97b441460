/* packet_daemon: see packet_daemon.h. */
#include "common/daemon/packet_daemon.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/proto/proto.h"

/* ---- options ---- */

bool packet_daemon_check(const struct packet_daemon_config *config, const char *section, struct error *error)
{
    struct error cause;
    if (config->listen.count == 0)
        return error_set(
            error, ERROR_REFUSED,
            "%s.listen is empty: give at least one address, e.g. * for every one of this machine", section);
    if (!db_url_check(config->database_url, &cause))
        return error_set(error, ERROR_REFUSED, "database.url: %s", cause.text);
    return true;
}

bool packet_daemon_check_applications(const struct config_strings *applications, const char *section,
                                      struct error *error)
{
    if (applications->count == 0)
        return error_set(error, ERROR_REFUSED,
                         "%s.applications is empty: name at least one application, e.g. tnvideo", section);
    for (size_t i = 0; i < applications->count; i++) {
        if (!proto_name_valid(applications->items[i], PROTO_APPLICATION_SIZE))
            return error_set(error, ERROR_REFUSED,
                             "%s.applications: \"%s\" is no application ID: letters and digits, at most %d",
                             section, applications->items[i], PROTO_APPLICATION_SIZE - 1);
    }
    return true;
}

/* ---- start ---- */

void packet_daemon_begin(struct packet_daemon *base, struct daemon *daemon)
{
    base->daemon = daemon;
    base->config = daemon->config;
    base->start_time = clock_wall_seconds();
}

struct db *packet_daemon_open_database(const struct packet_daemon_config *config, struct error *error)
{
    const struct db_options options = {
        .url = config->database_url,
        .threads = (size_t)config->database_threads,
        .queue_max = (size_t)config->database_queue,
        .job_timeout_ms = config->database_timeout_ms,
    };
    return db_open(&options, error);
}

bool packet_daemon_listen(struct packet_daemon *base, const struct packet_daemon_face *face,
                          struct error *error)
{
    const struct packet_daemon_config *config = base->config;
    const struct packet_server_options options = {
        .listen = config->listen,
        .host_name = face->host_name,
        .reply_command = face->reply_command,
        .commands = face->commands,
        .command_count = face->command_count,
        .connections_max = (size_t)config->connections_max,
        .idle_timeout_ms = config->idle_timeout_ms,
        .progress_timeout_ms = config->progress_timeout_ms,
        .drain_timeout_ms = config->refused_body_timeout_ms,
        .argument = face->argument,
        .closed = face->closed,
    };
    struct error cause;
    base->server = packet_server_create(&options, base->daemon->loops, &cause);
    return base->server != NULL ||
           error_set(error, cause.code, "%s.listen: %s", base->daemon->spec->name, cause.text);
}

static void ticked(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct packet_daemon *base = argument;
    base->on_tick(base);
}

bool packet_daemon_start_tick(struct packet_daemon *base, int64_t interval_ms,
                              void (*on_tick)(struct packet_daemon *base), struct error *error)
{
    const struct timeval interval = duration_timeval(interval_ms);
    base->on_tick = on_tick;
    base->tick = event_new(loop_base(base->daemon->main_loop), -1, EV_PERSIST, ticked, base);
    if (base->tick == NULL || event_add(base->tick, &interval) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "the daemon's timer cannot be set");
    return true;
}

/* ---- the end ---- */

static void drained_on_main(struct task *task)
{
    struct packet_daemon *base = CONTAINER_OF(task, struct packet_daemon, drained_task);
    base->drained(base);
}

static void server_drained(void *argument)
{
    struct packet_daemon *base = argument;
    base->drained_task.run = drained_on_main;
    loop_post(base->daemon->main_loop, &base->drained_task);
}

void packet_daemon_stop(struct packet_daemon *base, void (*drained)(struct packet_daemon *base))
{
    base->drained = drained;
    packet_server_stop(base->server, base->config->daemon.stop_timeout_ms, server_drained, base);
}

void packet_daemon_end_workers(struct packet_daemon *base)
{
    if (base->tick != NULL)
        event_free(base->tick);
    base->tick = NULL;
    db_close(base->db);
    base->db = NULL;
}

void packet_daemon_destroy(struct packet_daemon *base)
{
    packet_server_destroy(base->server);
    base->server = NULL;
    packet_daemon_end_workers(base);
}

/* ---- reload, status ---- */

void packet_daemon_reload(struct packet_daemon *base, const struct packet_daemon_config *new_config)
{
    packet_server_set_timeouts(base->server, new_config->idle_timeout_ms, new_config->progress_timeout_ms);
}

json_t *packet_daemon_status(const struct packet_daemon *base, const char *name)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", name, daemon_host_name(), "version", REEL_VERSION,
                     "start_time", (json_int_t)base->start_time, "connections",
                     (json_int_t)packet_server_connections(base->server), "requests",
                     (json_int_t)packet_server_requests(base->server));
}
