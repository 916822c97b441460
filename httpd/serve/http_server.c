/*
 * http_server: makes the loops and what they share; start, stop, reload, health and status.
 */
#include "httpd/serve/http_server.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/daemon/daemon_tls.h"
#include "httpd/serve/http_server_loop.h"
#include "httpd/stream/stream_loop.h"
#include "httpd/web/web_site.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define RESOLVER_THREADS  2
#define RESOLVER_QUEUE    256
#define WORKERS_STOP_MS   2000
#define STREAM_QUEUE      1024
#define OTHER_DESCRIPTORS 64 /* logs, epoll, databases of names, ... */

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
            server_loop_clear(loop);
            access_log_buffer_close(loop->http.access_log, ignore, NULL);
        }
        listener_destroy(loop->listener);
        listener_destroy(loop->tls_listener);
        link_cache_destroy(loop->http.links);
        web_site_destroy(loop->http.site);
        http_settings_release(loop->http.settings);
        http_settings_release(loop->new_settings);
    }
    if (!server->stream_workers && !server->index_workers) /* else one that hangs may still look at it */
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
    metrics->accepted = metrics_counter("reel_httpd_connections_total", "Client connections accepted.", NULL);
    metrics->refused = metrics_counter("reel_httpd_connections_refused_total",
                                       "Client connections beyond a limit, answered 503.", NULL);
    metrics->relays = metrics_gauge("reel_httpd_relays", "Bodies on their way from a storage server.", NULL);
    metrics->failovers = metrics_counter("reel_httpd_failovers_total",
                                         "Bodies that another storage server was asked to continue.", NULL);
    metrics->cut = metrics_counter("reel_httpd_cut_total",
                                   "Answers that were cut off because no server could continue.", NULL);
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
    int64_t wanted = 2 * config->live.connections_max + 2 * config->pipes_max + OTHER_DESCRIPTORS;
    if (config->local_groups.count > 0)
        wanted += config->local_open_files;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (int64_t)limit.rlim_cur < wanted)
        log_info("server",
                 "%" PRId64 " connections may need %" PRId64 " descriptors and %" PRId64
                 " are allowed (daemon.open_files): past them new connections wait",
                 config->live.connections_max, wanted, (int64_t)limit.rlim_cur);
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
    server->index_workers = workers_create("index", (size_t)config->stream_workers, STREAM_QUEUE, error);
    if (!server->stream_workers || !server->index_workers)
        return false;
    struct media_cache_options options = {.bytes_max = (size_t)config->index_cache,
                                          .segment_ms = config->segment_time_ms,
                                          .moov_max = config->index_moov_max,
                                          .workers = server->index_workers};
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
        TAILQ_INIT(&loop->beginners);
        http_buffers_init(&loop->buffers, (size_t)config->head_size_max);
        http_pipes_init(&loop->pipes, 0, 0);
    }
    server->known = client_shared_create(SERVER_LOCATIONS * server->count);
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
        if (!server_loop_build(&server->loops[i], i, config, settings, &addresses, error))
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
    if (workers_destroy(server->index_workers, WORKERS_STOP_MS))
        server->index_workers = NULL;
    if (server->stream_workers || server->index_workers)
        log_warning("server", "the making of an index hangs; it is abandoned");
    if (!poster_service_end_workers(server->posters, WORKERS_STOP_MS))
        log_warning("server", "reel-poster hangs; it is abandoned");
    if (!workers_destroy(server->resolver, WORKERS_STOP_MS))
        log_warning("server", "a name look-up hangs; it is abandoned");
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
        server->loops[i].listen_until_ms = clock_monotonic_ms() + config->stop_timeout_ms / 2;
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
