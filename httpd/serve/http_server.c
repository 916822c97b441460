/*
 * http_server: makes the loops, their listeners and what they share; start, stop, reload, health and status.
 */
#include "httpd/serve/http_server.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/daemon/daemon_tls.h"
#include "common/base/log.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_exchange.h"
#include "httpd/serve/http_listen.h"
#include "httpd/serve/http_sweep.h"
#include "httpd/serve/http_unsent.h"
#include "httpd/stream/stream_loop.h"
#include "httpd/web/web_site.h"
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define TICK_MS                 200
#define PROBE_MS                5000 /* between questions to trackers that did not answer */
#define RESOLVER_THREADS        2
#define RESOLVER_QUEUE          256
#define WORKERS_STOP_MS         2000
#define STREAM_QUEUE            1024
#define LOCATION_ENTRIES        10000
#define NO_LIMIT                1000000
#define STORAGE_CONNECTIONS_MIN 64
#define OTHER_DESCRIPTORS       64 /* logs, epoll, databases of names, ... */

struct server_loop {
    struct http_loop http;
    struct listener *listener;     /* NULL: only under TLS */
    struct listener *tls_listener; /* NULL: none */
    struct event tick;
    struct client_operation *probe;
    int64_t probe_ms;
    int64_t cut_ms;        /* draining: when what is left is cut off */
    atomic_bool has_run;   /* its thread has been here */
    atomic_bool drained;   /* nothing is left that could have work */
    atomic_bool reachable; /* a tracker answered last time, or none was asked */
    struct task drain;
    struct task reload;
    struct http_settings *new_settings; /* for the reload task; taken with an atomic exchange */
};

struct http_server {
    struct daemon *daemon;
    struct server_loop *loops;
    size_t count;
    atomic_size_t undrained;
    struct workers *resolver;
    struct access_log *access_log;
    struct listen_limits *limits;
    struct local_volumes *volumes; /* NULL: none */
    struct workers *stream_workers;
    struct http_budget budget;
    struct media_cache *streams;    /* indexes, of all loops */
    struct poster_service *posters; /* NULL: none */
    struct client_shared *known;    /* of all loops */
    struct http_metrics metrics;
};

/* ---- one loop ---- */

static void server_place_left(struct http_loop *loop, const struct listen_place *place)
{
    listen_limits_leave(loop->server->limits, place);
}

/* Everything that has events on the loop or calls under way. On the loop's thread, or while it does not run.
 */
static void loop_clear(struct server_loop *loop)
{
    for (int state = 0; state < CONNECTION_STATES; state++) {
        struct http_connection *connection;
        while ((connection = TAILQ_FIRST(&loop->http.lists[state])))
            http_connection_destroy(connection);
    }
    if (event_initialized(&loop->tick))
        event_del(&loop->tick);
    listener_take_rest(loop->listener);
    listener_take_rest(loop->tls_listener);
    listener_close(loop->listener);
    listener_close(loop->tls_listener);
    tls_door_destroy(loop->http.door);
    loop->http.door = NULL;
    if (loop->probe)
        client_cancel(loop->probe);
    loop->probe = NULL;
    stream_loop_close(loop->http.streams);
    loop->http.streams = NULL;
    http_lookup_destroy(loop->http.lookup);
    loop->http.lookup = NULL;
    if (loop->http.client)
        client_destroy(loop->http.client);
    loop->http.client = NULL;
    local_files_close(loop->http.local_files);
    loop->http.local_files = NULL;
    http_pipes_clear(&loop->http.pipes);
    http_buffers_clear(&loop->http.buffers);
}

static void on_log_closed(void *argument)
{
    struct server_loop *loop = argument;
    struct http_server *server = loop->http.server;
    atomic_store(&loop->drained, true);
    if (atomic_fetch_sub(&server->undrained, 1) == 1)
        daemon_stopped(server->daemon);
}

static void loop_is_drained(struct server_loop *loop)
{
    struct access_log_buffer *buffer = loop->http.access_log;
    loop_clear(loop);
    loop->http.access_log = NULL;
    access_log_buffer_close(buffer, on_log_closed, loop);
}

static void on_drain(struct task *task)
{
    struct server_loop *loop = CONTAINER_OF(task, struct server_loop, drain);
    listener_close(loop->listener);
    listener_close(loop->tls_listener);
    tls_door_close(loop->http.door);
    http_sweep_drain(&loop->http);
    if (loop->http.connections == 0)
        loop_is_drained(loop);
}

static void on_reload(struct task *task)
{
    struct server_loop *loop = CONTAINER_OF(task, struct server_loop, reload);
    struct http_settings *settings = __atomic_exchange_n(&loop->new_settings, NULL, __ATOMIC_ACQ_REL);
    if (!settings)
        return;
    http_settings_release(loop->http.settings);
    loop->http.settings = settings;
    if (loop->http.lookup)
        http_lookup_set_ages(loop->http.lookup, settings->lookup_age_ms, settings->lookup_negative_age_ms);
}

static void on_probe(void *argument, const char *text, size_t size, const struct error *error)
{
    struct server_loop *loop = argument;
    (void)text;
    (void)size;
    (void)error; /* the client core remembers and logs it */
    loop->probe = NULL;
}

/* While no tracker answers, and nobody asks for files, somebody has to find out when one does again. */
static void watch_trackers(struct server_loop *loop)
{
    int64_t now = clock_monotonic_ms();
    bool reachable = client_trackers_reachable(loop->http.client);
    atomic_store_explicit(&loop->reachable, reachable, memory_order_relaxed);
    bool first = loop->probe_ms == 0;
    if ((reachable && !first) || loop->probe || (!first && now - loop->probe_ms < PROBE_MS))
        return;
    loop->probe_ms = now;
    loop->probe = client_groups(loop->http.client, on_probe, loop);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct server_loop *loop = argument;
    (void)fd;
    (void)what;
    atomic_store_explicit(&loop->has_run, true, memory_order_relaxed);
    http_sweep(&loop->http);
    http_unsent_tick(&loop->http, listen_limits_connections(loop->http.server->limits));
    access_log_tick(loop->http.access_log);
    if (loop->http.local_files)
        local_files_tick(loop->http.local_files);
    if (!loop->http.draining) {
        watch_trackers(loop);
        return;
    }
    if (loop->http.connections > 0 && clock_monotonic_ms() >= loop->cut_ms)
        log_warning("server", "%zu connections are cut off", loop->http.connections);
    else if (loop->http.connections > 0)
        return;
    loop_is_drained(loop);
}

static void on_again(struct task *task)
{
    http_connection_run_again(CONTAINER_OF(task, struct http_loop, again_task));
}

/* Connections to one storage server where the configuration names no number: a quarter of the descriptors, so
 * that a rush waits for its turn instead of taking those of the clients. */
static size_t storage_connections(const struct httpd_config *config, size_t loops)
{
    struct rlimit limit;
    if (config->storage_connections > 0)
        return (size_t)config->storage_connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 / loops > NO_LIMIT)
        return NO_LIMIT;
    return max_size((size_t)limit.rlim_cur / 4 / loops, STORAGE_CONNECTIONS_MIN);
}

static bool create_clients(struct server_loop *loop, const struct httpd_config *config, struct error *error)
{
    struct client_options options = {
        .trackers = config->trackers,
        .resolver = loop->http.server->resolver,
        .tls = daemon_tls_client(loop->http.server->daemon),
        .connect_timeout_ms = config->connect_timeout_ms,
        .call_timeout_ms = config->call_timeout_ms,
        .progress_timeout_ms = config->storage_timeout_ms,
        .hedge_ms = config->hedge_ms > 0 ? config->hedge_ms : -1,
        .connections_per_server_max = storage_connections(config, loop->http.server->count),
        .location_age_ms = config->location_age_ms,
        .location_entries_max = LOCATION_ENTRIES,
        .shared = loop->http.server->known,
        .auth = loop->http.server->daemon->auth,
    };
    loop->http.client = client_create(loop->http.loop, &options, error);
    if (!loop->http.client)
        return false;
    struct http_lookup_options lookup = {.loop = loop->http.loop,
                                         .client = loop->http.client,
                                         .volumes = loop->http.server->volumes,
                                         .entries_max = (size_t)config->lookup_entries,
                                         .age_ms = config->lookup_age_ms,
                                         .negative_age_ms = config->lookup_negative_age_ms};
    loop->http.lookup = http_lookup_create(&lookup, error);
    return loop->http.lookup != NULL;
}

/* What the configuration names to listen on. */
struct server_addresses {
    struct bind_list plain, secure;
};

static bool loop_listen(struct server_loop *loop, struct server_addresses *addresses, struct error *error)
{
    struct http_server *server = loop->http.server;
    struct error cause;
    if (addresses->plain.count > 0 &&
        !(loop->listener = http_listen(&loop->http, server->limits, &addresses->plain, false, &cause)))
        return error_set(error, cause.code, "httpd.listen: %s", cause.text);
    if (addresses->secure.count == 0)
        return true;
    if (!http_listen_make_door(&loop->http, daemon_tls_server(server->daemon), &cause) ||
        !(loop->tls_listener = http_listen(&loop->http, server->limits, &addresses->secure, true, &cause)))
        return error_set(error, cause.code, "httpd.listen_tls: %s", cause.text);
    return true;
}

static struct keys *server_keys(void *auth)
{
    return auth_keys(auth);
}

static uint64_t server_keys_generation(void *auth)
{
    return auth_generation(auth);
}

static bool loop_build(struct server_loop *loop, size_t index, const struct httpd_config *config,
                       struct http_settings *settings, struct server_addresses *addresses,
                       struct error *error)
{
    struct http_server *server = loop->http.server;
    const struct timeval interval = duration_timeval(TICK_MS);
    loop->http.settings = http_settings_take(settings);
    loop->http.metrics = &server->metrics;
    loop->http.answering = &http_exchange_answering;
    loop->http.place_left = server_place_left;
    loop->http.unsent_max = loop->http.unsent = config->unsent_max;
    loop->http.unsent_total = config->unsent_total;
    loop->http.next_id = index + 1;
    loop->http.id_step = server->count;
    arc4random_buf(loop->http.random, sizeof(loop->http.random));
    loop->http.again_task.run = on_again;
    loop->drain.run = on_drain;
    loop->reload.run = on_reload;
    atomic_init(&loop->reachable, true);
    http_pipes_init(&loop->http.pipes, ((size_t)config->pipes_max + server->count - 1) / server->count,
                    (size_t)config->pipe_size);
    const struct link_keys keys = {server_keys, server_keys_generation, server->daemon->auth};
    loop->http.links = link_cache_create(&keys);
    loop->http.auth = server->daemon->auth;
    loop->http.audit = server->daemon->audit;
    loop->http.audit_required = config->daemon.audit_required;
    if (!loop->http.links)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for signed links");
    loop->http.site = web_site_create(config->web_folder);
    if (!loop->http.site)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for the files of the web page");
    if (!create_clients(loop, config, error))
        return false;
    if (server->volumes) {
        loop->http.local_files = local_files_create(
            loop->http.loop, ((size_t)config->local_open_files + server->count - 1) / server->count,
            config->local_open_age_ms);
        if (!loop->http.local_files)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for the open files");
    }
    loop->http.budget = &server->budget;
    loop->http.streams =
        stream_loop_create(&loop->http, server->streams, server->stream_workers, server->posters);
    if (!loop->http.streams)
        return error_set(error, ERROR_UNAVAILABLE, "no memory for streams");
    if (server->access_log) {
        loop->http.access_log = access_log_buffer_create(server->access_log, loop->http.loop);
        if (!loop->http.access_log)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for the access log");
    }
    if (!loop_listen(loop, addresses, error))
        return false;
    event_assign(&loop->tick, loop_base(loop->http.loop), -1, EV_PERSIST, on_tick, loop);
    if (event_add(&loop->tick, &interval) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "cannot arm the timer of a loop");
    return true;
}

static void ignore(void *argument)
{
    (void)argument;
}

/* Frees what is left. No thread but this one is there. */
static void server_free(struct http_server *server)
{
    for (size_t i = 0; i < server->count && server->loops; i++) {
        struct server_loop *loop = &server->loops[i];
        if (!atomic_load(&loop->drained)) {
            loop_clear(loop);
            access_log_buffer_close(loop->http.access_log, ignore, NULL);
        }
        listener_destroy(loop->listener);
        listener_destroy(loop->tls_listener);
        link_cache_destroy(loop->http.links);
        web_site_destroy(loop->http.site);
        http_settings_release(loop->http.settings);
        http_settings_release(loop->new_settings);
    }
    if (!server->stream_workers) /* else one that hangs may still look at it */
        media_cache_destroy(server->streams);
    poster_service_destroy(server->posters);
    client_shared_destroy(server->known);
    access_log_destroy(server->access_log);
    local_volumes_destroy(server->volumes);
    listen_limits_destroy(server->limits);
    free(server->loops);
    free(server);
}

/* ---- the daemon ---- */

static void http_register_metrics(struct http_metrics *metrics)
{
    const char *requests = "Requests answered, by the class of the status.";
    static const char *const labels[] = {
        NULL, "class=\"1xx\"", "class=\"2xx\"", "class=\"3xx\"", "class=\"4xx\"", "class=\"5xx\""};
    for (int first = 1; first < 6; first++)
        metrics->requests[first] = metrics_counter("reel_httpd_requests_total", requests, labels[first]);
    metrics->durations = metrics_histogram("reel_httpd_request_duration_seconds",
                                           "From a request's last byte to its answer's last byte.", NULL);
    metrics->bytes =
        metrics_counter("reel_httpd_sent_bytes_total", "Bytes of answers, heads included.", NULL);
    metrics->connections = metrics_gauge("reel_httpd_connections", "Open client connections.", NULL);
    metrics->accepted = metrics_counter("reel_httpd_connections_total", "Client connections taken.", NULL);
    metrics->refused = metrics_counter("reel_httpd_connections_refused_total",
                                       "Client connections beyond a limit, answered 503.", NULL);
    metrics->relays = metrics_gauge("reel_httpd_relays", "Bodies on their way from a storage server.", NULL);
    metrics->failovers = metrics_counter("reel_httpd_failovers_total",
                                         "Bodies that another storage server was asked to go on with.", NULL);
    metrics->cut =
        metrics_counter("reel_httpd_cut_total", "Answers that were cut off, as no server could go on.", NULL);
    const char *body = "Body bytes passed on, by how.";
    metrics->spliced = metrics_counter("reel_httpd_body_bytes_total", body, "way=\"spliced\"");
    metrics->copied = metrics_counter("reel_httpd_body_bytes_total", body, "way=\"copied\"");
    metrics->sendfiled = metrics_counter("reel_httpd_body_bytes_total", body, "way=\"sendfile\"");
    metrics->local_failures =
        metrics_counter("reel_httpd_local_failures_total",
                        "Bodies of local groups that a storage server had to be asked for.", NULL);
    metrics->uploads = metrics_gauge("reel_httpd_uploads", "Uploads under way.", NULL);
    metrics->stored = metrics_counter("reel_httpd_stored_total", "Files that were uploaded.", NULL);
    metrics->stored_bytes =
        metrics_counter("reel_httpd_stored_bytes_total", "Bytes of files that were uploaded.", NULL);
    metrics->deleted = metrics_counter("reel_httpd_deleted_total", "Files that were deleted.", NULL);
    metrics->received =
        metrics_counter("reel_httpd_received_bytes_total", "Bytes of uploads that came.", NULL);
    const char *upload = "Bytes of uploads passed on, by how.";
    metrics->received_spliced = metrics_counter("reel_httpd_upload_bytes_total", upload, "way=\"spliced\"");
    metrics->received_copied = metrics_counter("reel_httpd_upload_bytes_total", upload, "way=\"copied\"");
}

/* A relayed stream has two sockets, and pipes two ends. */
static void check_descriptors(const struct httpd_config *config)
{
    struct rlimit limit;
    int64_t wanted = 2 * config->connections_max + 2 * config->pipes_max + OTHER_DESCRIPTORS;
    if (config->local_groups.count > 0)
        wanted += config->local_open_files;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (int64_t)limit.rlim_cur < wanted)
        log_info("server",
                 "%" PRId64 " connections may need %" PRId64 " descriptors and %" PRId64
                 " are allowed (daemon.open_files): past them new connections wait",
                 config->connections_max, wanted, (int64_t)limit.rlim_cur);
}

static bool resolve_addresses(struct http_server *server, const struct httpd_config *config,
                              struct server_addresses *addresses, struct error *error)
{
    struct error cause;
    if (config->listen.count > 0 && !bind_list_resolve(&config->listen, &addresses->plain, &cause))
        return error_set(error, cause.code, "httpd.listen: %s", cause.text);
    if (config->listen_tls.count == 0)
        return true;
    if (!bind_list_resolve(&config->listen_tls, &addresses->secure, &cause))
        return error_set(error, cause.code, "httpd.listen_tls: %s", cause.text);
    return daemon_tls_start(server->daemon, TLS_FOR_HTTP, error);
}

static bool build_streams(struct http_server *server, const struct httpd_config *config, struct error *error)
{
    http_budget_init(&server->budget, (size_t)config->stream_memory);
    server->stream_workers = workers_create("stream", (size_t)config->stream_workers, STREAM_QUEUE, error);
    if (!server->stream_workers)
        return false;
    struct media_cache_options options = {.bytes_max = (size_t)config->index_cache,
                                          .segment_ms = config->segment_time_ms,
                                          .moov_max = config->index_moov_max,
                                          .workers = server->stream_workers};
    server->streams = media_cache_create(&options);
    if (server->streams)
        return poster_service_create(config->poster_socket, config->poster_cache, config->poster_cache_size,
                                     &server->posters, error);
    return error_set_errno(error, ENOMEM, "cannot start");
}

static bool server_build(struct http_server *server, const struct httpd_config *config, struct error *error)
{
    struct http_settings *settings = NULL;
    struct server_addresses addresses = {0};
    bool built = false;
    server->loops = calloc(server->count, sizeof(*server->loops));
    server->limits = listen_limits_create();
    settings = http_settings_create(config);
    if (!server->loops || !server->limits || !settings) {
        error_set_errno(error, ENOMEM, "cannot start");
        goto done;
    }
    /* What freeing expects first, so that whatever fails leaves nothing half made. */
    for (size_t i = 0; i < server->count; i++) {
        struct http_loop *loop = &server->loops[i].http;
        loop->server = server;
        loop->loop = server->daemon->loops->loops[i];
        for (int state = 0; state < CONNECTION_STATES; state++)
            TAILQ_INIT(&loop->lists[state]);
        TAILQ_INIT(&loop->again);
        http_buffers_init(&loop->buffers, (size_t)config->head_size_max);
        http_pipes_init(&loop->pipes, 0, 0);
    }
    server->known = client_shared_create(LOCATION_ENTRIES * server->count);
    if (!server->known) {
        error_set_errno(error, ENOMEM, "cannot start");
        goto done;
    }
    server->resolver = workers_create("resolver", RESOLVER_THREADS, RESOLVER_QUEUE, error);
    if (!server->resolver)
        goto done;
    if (config->local_groups.count > 0 && !(server->volumes = local_volumes_create(
                                                &config->local_groups, (size_t)config->local_workers, error)))
        goto done;
    if (!build_streams(server, config, error))
        goto done;
    if (config->access_log[0] != '\0' && !(server->access_log = access_log_create(config->access_log, error)))
        goto done;
    if (!resolve_addresses(server, config, &addresses, error) ||
        !daemon_tls_call(server->daemon, &config->trackers, error))
        goto done;
    for (size_t i = 0; i < server->count; i++) {
        if (!loop_build(&server->loops[i], i, config, settings, &addresses, error))
            goto done;
    }
    built = true;
done:
    bind_list_clear(&addresses.plain);
    bind_list_clear(&addresses.secure);
    http_settings_release(settings);
    return built;
}

static void server_end_workers(struct daemon *daemon)
{
    struct http_server *server = daemon->state;
    for (size_t i = 0; server->loops && i < server->count; i++) {
        /* A loop that does not come to an end may still want them. */
        if (atomic_load(&server->loops[i].has_run) && !atomic_load(&server->loops[i].drained))
            return;
    }
    access_log_end_workers(server->access_log);
    local_volumes_end_workers(server->volumes, WORKERS_STOP_MS);
    if (workers_destroy(server->stream_workers, WORKERS_STOP_MS))
        server->stream_workers = NULL;
    else
        log_warning("server", "the making of an index hangs; it is left behind");
    if (!poster_service_end_workers(server->posters, WORKERS_STOP_MS))
        log_warning("server", "reel-poster hangs; it is left behind");
    if (!workers_destroy(server->resolver, WORKERS_STOP_MS))
        log_warning("server", "a name look-up hangs; it is left behind");
    server->resolver = NULL;
}

static bool server_start(struct daemon *daemon, struct error *error)
{
    const struct httpd_config *config = daemon->config;
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server)
        return error_set_errno(error, ENOMEM, "cannot start");
    server->daemon = daemon;
    server->count = daemon->loops->count;
    atomic_init(&server->undrained, server->count);
    http_register_metrics(&server->metrics);
    check_descriptors(config);
    if (config->access == HTTP_ACCESS_OPEN)
        log_warning("access",
                    "httpd.access is open: whoever knows the address of a file reads it; access = signed "
                    "gives files to signed links alone");
    daemon->state = server;
    if (server_build(server, config, error))
        return true;
    server_end_workers(daemon);
    server_free(server);
    daemon->state = NULL;
    return false;
}

static void server_stop(struct daemon *daemon)
{
    struct http_server *server = daemon->state;
    const struct daemon_config *config = daemon->config;
    for (size_t i = 0; i < server->count; i++) {
        server->loops[i].cut_ms = clock_monotonic_ms() + config->stop_timeout_ms;
        loop_post(server->loops[i].http.loop, &server->loops[i].drain);
    }
}

static void server_destroy(struct daemon *daemon)
{
    server_free(daemon->state);
    daemon->state = NULL;
}

static bool server_reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    struct http_server *server = daemon->state;
    struct http_settings *settings = http_settings_create(new_config);
    if (!settings)
        return error_set_errno(error, ENOMEM, "cannot take over the new settings");
    for (size_t i = 0; i < server->count; i++) {
        struct server_loop *loop = &server->loops[i];
        struct http_settings *pending =
            __atomic_exchange_n(&loop->new_settings, http_settings_take(settings), __ATOMIC_ACQ_REL);
        /* With one pending the task is posted already, and takes these. */
        if (!pending)
            loop_post(loop->http.loop, &loop->reload);
        http_settings_release(pending);
    }
    http_settings_release(settings);
    return true;
}

static bool trackers_reachable(const struct http_server *server)
{
    for (size_t i = 0; i < server->count; i++) {
        if (atomic_load_explicit(&server->loops[i].reachable, memory_order_relaxed))
            return true;
    }
    return false;
}

static bool server_health(struct daemon *daemon, char *reason, size_t reason_size)
{
    if (trackers_reachable(daemon->state))
        return true;
    snprintf(reason, reason_size, "no tracker answers");
    return false;
}

static json_t *server_status(struct daemon *daemon)
{
    struct http_server *server = daemon->state;
    const struct http_metrics *metrics = &server->metrics;
    int64_t requests = 0;
    for (int first = 1; first < 6; first++)
        requests += metric_value(metrics->requests[first]);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "connections",
                     (json_int_t)listen_limits_connections(server->limits), "connections_total",
                     (json_int_t)metric_value(metrics->accepted), "requests_total", (json_int_t)requests,
                     "sent_bytes_total", (json_int_t)metric_value(metrics->bytes), "relays",
                     (json_int_t)metric_value(metrics->relays), "failovers_total",
                     (json_int_t)metric_value(metrics->failovers), "cut_total",
                     (json_int_t)metric_value(metrics->cut), "trackers_reachable",
                     (int)trackers_reachable(server));
}

static void server_reopen_logs(struct daemon *daemon)
{
    struct http_server *server = daemon->state;
    if (server->access_log)
        access_log_reopen(server->access_log);
}

/* The access log, the cache of pictures, and the volumes of local groups, which are only read. */
static bool server_confine(const void *opaque, struct sandbox *sandbox, struct error *error)
{
    const struct httpd_config *config = opaque;
    const char *log = config->access_log;
    bool allowed =
        log[0] == '\0' || strcmp(log, "-") == 0 || sandbox_allow_around(sandbox, log, SANDBOX_WRITE, error);
    allowed = allowed && (config->poster_cache[0] == '\0' ||
                          sandbox_allow(sandbox, config->poster_cache, SANDBOX_WRITE, error));
    for (size_t i = 0; allowed && i < config->local_groups.count; i++) {
        char group[PROTO_GROUP_SIZE], key[PROTO_KEY_SIZE];
        const char *directory;
        allowed = local_volume_split(config->local_groups.items[i], group, key, &directory, error) &&
                  sandbox_allow_volume(sandbox, directory, true, SANDBOX_READ, error);
    }
    return allowed;
}

void http_server_spec(struct daemon_spec *spec)
{
    *spec = (struct daemon_spec){
        .name = "httpd",
        .summary = "serves the files of a Reelstore over HTTP",
        .role = KEY_ROLE_GATEWAY,
        .admin_port = 8180,
        .options = http_options,
        .option_count = http_option_count,
        .config_size = sizeof(struct httpd_config),
        .check = http_options_check,
        .confine = server_confine,
        .start = server_start,
        .stop = server_stop,
        .end_workers = server_end_workers,
        .destroy = server_destroy,
        .reload = server_reload,
        .health = server_health,
        .status = server_status,
        .reopen_logs = server_reopen_logs,
    };
}
