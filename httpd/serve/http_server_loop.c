/*
 * http_server_loop: builds a loop from the configuration, looks after it several times per second, and drains it.
 */
#include "httpd/serve/http_server_loop.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/loop/kept_sockets.h"
#include "common/daemon/daemon_tls.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_exchange.h"
#include "httpd/serve/http_listen.h"
#include "httpd/serve/http_sweep.h"
#include "httpd/serve/http_unsent.h"
#include "httpd/stream/stream_loop.h"
#include "httpd/web/web_site.h"
#include <stdlib.h>
#include <sys/resource.h>

#define TICK_MS                 200
#define PROBE_MS                5000 /* between questions to trackers that did not answer */
#define NO_LIMIT                1000000
#define STORAGE_CONNECTIONS_MIN 64

static void server_place_left(struct http_loop *loop, const struct listen_place *place)
{
    listen_limits_leave(loop->server->limits, place);
}

void server_loop_clear(struct server_loop *loop)
{
    for (int state = 0; state < CONNECTION_STATES; state++) {
        struct http_connection *connection;
        while ((connection = TAILQ_FIRST(&loop->http.lists[state])))
            http_connection_destroy(connection);
    }
    if (event_initialized(&loop->tick))
        event_del(&loop->tick);
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
    server_loop_clear(loop);
    loop->http.access_log = NULL;
    access_log_buffer_close(buffer, on_log_closed, loop);
}

static void stop_listening(struct server_loop *loop)
{
    loop->listens = false;
    if (!kept_sockets_survive()) { /* what waits there would be reset */
        listener_take_rest(loop->listener);
        listener_take_rest(loop->tls_listener);
    }
    listener_close(loop->listener);
    listener_close(loop->tls_listener);
    tls_door_close(loop->http.door);
}

/* Clients that come while the next process cannot start yet are served here, one request each, as long as there are
 * connections of before, and for at most half of stop_timeout; afterwards new ones wait for the next process. */
static bool may_listen(const struct server_loop *loop)
{
    return kept_sockets_survive() && clock_monotonic_ms() < loop->listen_until_ms &&
           http_sweep_has_older(&loop->http, loop->new_from);
}

static void loop_drain(struct server_loop *loop)
{
    if (loop->listens && !may_listen(loop))
        stop_listening(loop);
    if (loop->http.connections > 0 && clock_monotonic_ms() >= loop->cut_ms)
        log_warning("server", "%zu connections are cut off", loop->http.connections);
    else if (loop->listens || loop->http.connections > 0)
        return;
    loop_is_drained(loop);
}

static void on_drain(struct task *task)
{
    struct server_loop *loop = CONTAINER_OF(task, struct server_loop, drain);
    loop->new_from = loop->http.next_id;
    http_sweep_drain(&loop->http);
    loop_drain(loop);
}

static void on_reload(struct task *task)
{
    struct server_loop *loop = CONTAINER_OF(task, struct server_loop, reload);
    struct http_settings *settings = __atomic_exchange_n(&loop->new_settings, NULL, __ATOMIC_ACQ_REL);
    if (!settings)
        return;
    http_settings_release(loop->http.settings);
    loop->http.settings = settings;
    /* Short targets stand for files of another user. The keys' new generation would show that, but comes a moment
     * later. */
    link_cache_forget(loop->http.links);
    if (loop->http.lookup)
        http_lookup_set_ages(loop->http.lookup, settings->live.lookup_age_ms,
                             settings->live.lookup_negative_age_ms);
}

static void on_probe(void *argument, const char *text, size_t size, const struct error *error)
{
    struct server_loop *loop = argument;
    (void)text;
    (void)size;
    (void)error; /* the client core remembers and logs it */
    loop->probe = NULL;
}

/* While no tracker answers, and nobody asks for files, it still has to be found out when one does again. */
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
    loop_drain(loop);
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
        .progress_timeout_ms = config->live.storage_timeout_ms,
        .hedge_ms = config->hedge_ms > 0 ? config->hedge_ms : -1,
        .connections_per_server_max = storage_connections(config, loop->http.server->count),
        .location_age_ms = config->location_age_ms,
        .location_entries_max = SERVER_LOCATIONS,
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
                                         .age_ms = config->live.lookup_age_ms,
                                         .negative_age_ms = config->live.lookup_negative_age_ms};
    loop->http.lookup = http_lookup_create(&lookup, error);
    return loop->http.lookup != NULL;
}

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

bool server_loop_build(struct server_loop *loop, size_t index, const struct httpd_config *config,
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
    loop->listens = true;
    event_assign(&loop->tick, loop_base(loop->http.loop), -1, EV_PERSIST, on_tick, loop);
    if (event_add(&loop->tick, &interval) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "cannot arm the timer of a loop");
    return true;
}
