/*
 * packet_daemon: glue between a daemon's options and the database, the packet server, a timer and the end, written once for
 * the three daemons that answer packets. Main thread.
 */
#include "common/daemon/packet_daemon.h"
#include "common/daemon/host_name.h"
#include "common/daemon/daemon_tls.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/db/db_backup.h"
#include "common/db/db_url.h"
#include "common/db/db_url_file.h"
#include "common/proto/proto.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define OTHER_DESCRIPTORS                                                                                    \
    64 /* logs, epoll, signals, connections to other daemons, data of the system's libraries */
#define PLACES_MIN 16

/* ---- options ---- */

/* The URL of the database that CONFIG names, out of its url_file where it has one. Freed by db_url_file_forget(). NULL:
 * ERROR names the option. May read a file. */
static char *configured_url(const struct packet_daemon_config *config, struct error *error)
{
    struct error cause;
    char *url = config->database_url_file[0] != '\0' ? db_url_file_read(config->database_url_file, &cause)
                                                     : strdup(config->database_url);
    if (!url && config->database_url_file[0] != '\0')
        error_set(error, cause.code, "database.url_file: %s", cause.text);
    else if (!url)
        error_set(error, ERROR_UNAVAILABLE, "database.url: no memory");
    return url;
}

bool packet_daemon_check(const struct packet_daemon_config *config, const char *section, struct error *error)
{
    struct error cause;
    if (config->listen.count == 0 && config->listen_tls.count == 0)
        return error_set(
            error, ERROR_REFUSED,
            "%s.listen is empty: give at least one address, e.g. * for every one of this machine", section);
    char *url = configured_url(config, error);
    bool good = url && db_url_check(url, &cause);
    if (url && !good)
        error_set(error, ERROR_REFUSED, "database.%s: %s",
                  config->database_url_file[0] != '\0' ? "url_file" : "url", cause.text);
    db_url_file_forget(url);
    return good;
}

bool packet_daemon_check_applications(const struct config_strings *applications, const char *section,
                                      struct error *error)
{
    if (applications->count == 0)
        return error_set(error, ERROR_REFUSED,
                         "%s.applications is empty: name at least one application, e.g. tnvideo", section);
    for (size_t i = 0; i < applications->count; i++) {
        if (!proto_name_valid(applications->items[i], PROTO_APPLICATION_SIZE))
            return error_set(
                error, ERROR_REFUSED,
                "%s.applications: \"%s\" is not an application ID: letters and digits, at most %d", section,
                applications->items[i], PROTO_APPLICATION_SIZE - 1);
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

bool packet_daemon_init_db(const struct packet_daemon_config *config, const struct schema_scripts *scripts,
                           struct error *error)
{
    char *url = configured_url(config, error);
    bool good = url && schema_apply(url, scripts, stdout, error);
    db_url_file_forget(url);
    return good;
}

bool packet_daemon_backup(const void *config, const char *path, struct error *error)
{
    char *url = configured_url(config, error);
    bool good = url && db_backup(url, path, stdout, error);
    db_url_file_forget(url);
    return good;
}

/* SQLite makes files beside its database, and temporary ones, which are to lie there too. */
static bool confine_to_sqlite(const char *path, struct sandbox *sandbox, struct error *error)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash && slash > path && (size_t)(slash - path) < sizeof(directory)) {
        (void)snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
        if (setenv("SQLITE_TMPDIR", directory, 0) != 0)
            return error_set_errno(error, errno, "SQLITE_TMPDIR");
    }
    return sandbox_allow_around(sandbox, path, SANDBOX_WRITE, error);
}

bool packet_daemon_confine(const void *config, struct sandbox *sandbox, struct error *error)
{
    struct db_url url;
    char *text = configured_url(config, error);
    bool allowed = text && db_url_parse(text, &url, error);
    db_url_file_forget(text);
    if (!allowed)
        return false;
    if (url.backend == DB_BACKEND_SQLITE)
        allowed = confine_to_sqlite(url.path, sandbox, error);
    else if (url.ca && url.ca[0] != '\0')
        allowed = sandbox_allow_around(sandbox, url.ca, SANDBOX_READ, error);
    db_url_clear(&url);
    return allowed;
}

bool packet_daemon_database_file(const struct packet_daemon_config *config, char *path, size_t size,
                                 struct error *error)
{
    struct db_url parsed;
    char *url = configured_url(config, error);
    bool good = url && db_url_parse(url, &parsed, error);
    path[0] = '\0';
    if (good && parsed.backend == DB_BACKEND_SQLITE && strlen(parsed.path) < size)
        memcpy(path, parsed.path, strlen(parsed.path) + 1);
    if (good)
        db_url_clear(&parsed);
    db_url_file_forget(url);
    return good;
}

struct db *packet_daemon_open_database(const struct packet_daemon_config *config, bool relaxed,
                                       struct error *error)
{
    char *url = configured_url(config, error);
    if (!url)
        return NULL;
    const struct db_options options = {
        .url = url,
        .threads = (size_t)config->database_threads,
        .queue_max = (size_t)config->database_queue,
        .job_timeout_ms = config->database_timeout_ms,
        .relaxed = relaxed,
    };
    struct db *db = db_open(&options, error);
    db_url_file_forget(url);
    return db;
}

/* How many connections there is room for, when DESCRIPTORS are kept back for other things: what has no descriptor left
 * fails in ways that look like faults of a disk or a database. */
static bool daemon_count_places(const struct packet_daemon_config *config, int64_t descriptors,
                                size_t *places, struct error *error)
{
    struct rlimit limit;
    int64_t reserve = descriptors + config->database_threads + OTHER_DESCRIPTORS;
    int64_t left;
    *places = (size_t)config->connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return true;
    left = (int64_t)min_size(limit.rlim_cur, (size_t)INT32_MAX) - reserve;
    if (left < PLACES_MIN)
        return error_set(error, ERROR_REFUSED,
                         "the limit of %" PRIu64 " open files leaves no room for connections: %" PRId64
                         " are reserved for other uses; raise daemon.open_files to at least %" PRId64,
                         (uint64_t)limit.rlim_cur, reserve, reserve + PLACES_MIN);
    if (left >= config->connections_max)
        return true;
    *places = (size_t)left;
    log_warning(
        "daemon",
        "the limit of %" PRIu64 " open files allows %" PRId64 " connections, not the %" PRId64
        " of connections_max: %" PRId64 " are reserved for other uses; raise daemon.open_files to %" PRId64,
        (uint64_t)limit.rlim_cur, left, config->connections_max, reserve, config->connections_max + reserve);
    return true;
}

/* Every text of common/db names the database by its URL, and may continue with host, account and statement. */
static const char *find_database_text(const struct error *error)
{
    static const char *const beginnings[] = {"database mysql:", "database sqlite:", "database URL:"};
    const char *first = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++) {
        const char *found = strstr(error->text, beginnings[i]);
        if (found && (!first || found < first))
            first = found;
    }
    return first;
}

bool packet_daemon_listen(struct packet_daemon *base, const struct packet_daemon_face *face,
                          struct error *error)
{
    const struct packet_daemon_config *config = base->config;
    size_t places;
    if (!daemon_count_places(config, face->descriptors, &places, error) ||
        (config->listen_tls.count > 0 && !daemon_tls_start(base->daemon, TLS_FOR_PACKETS, error)))
        return false;
    const struct packet_server_options options = {
        .listen = config->listen,
        .listen_tls = config->listen_tls,
        .tls = daemon_tls_server(base->daemon),
        .host_name = face->host_name,
        .reply_command = face->reply_command,
        .commands = face->commands,
        .command_count = face->command_count,
        .connections_max = places,
        .connections_per_address = (size_t)config->connections_per_address,
        .unsent_total = (size_t)config->unsent_total,
        .unsent_max = face->unsent_max,
        .head_time_ms = config->head_time_ms,
        .conceals = find_database_text,
        .idle_timeout_ms = config->idle_timeout_ms,
        .progress_timeout_ms = config->progress_timeout_ms,
        .drain_timeout_ms = config->refused_body_timeout_ms,
        .requests_per_second = config->requests_per_second,
        .argument = face->argument,
        .closed = face->closed,
        .auth = base->daemon->auth,
        .audit = base->daemon->audit,
        .audit_required = base->config->daemon.audit_required,
    };
    struct error cause;
    base->server = packet_server_create(&options, base->daemon->loops, &cause);
    return base->server ||
           error_set(error, cause.code, "%s.listen: %s", base->daemon->spec->name, cause.text);
}

static void on_daemon_tick(evutil_socket_t fd, short what, void *argument)
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
    base->tick = event_new(loop_base(base->daemon->main_loop), -1, EV_PERSIST, on_daemon_tick, base);
    if (!base->tick || event_add(base->tick, &interval) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "cannot arm the daemon's timer");
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
    if (base->tick)
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
    packet_server_set_rate(base->server, new_config->requests_per_second);
}

json_t *packet_daemon_status(const struct packet_daemon *base, const char *name)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", name, host_name(), "version", REEL_VERSION, "start_time",
                     (json_int_t)base->start_time, "connections",
                     (json_int_t)packet_server_connections(base->server), "requests",
                     (json_int_t)packet_server_requests(base->server));
}
