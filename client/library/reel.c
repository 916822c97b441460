/*
 * reel: the handle of reel.h: opened and closed.
 */
#include "client/library/reel_auth.h"
#include "client/library/reel_internal.h"

#include "common/base/log.h"
#include "common/call/psk_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TRACKER_PORT     21000
#define RESOLVER_THREADS 2
#define RESOLVER_QUEUE   1024
#define CLOSE_TIMEOUT_MS 5000
#define ASYNC_THREADS    4

static void log_quietly(void)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    const char *level = getenv("REEL_LOG");

    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; level && i < ARRAY_SIZE(levels); i++)
        if (strcmp(level, levels[i]) == 0)
            log_set_level((enum log_level)i);
}

static void reel_free_handle(struct reel *reel)
{
    /* Where a look-up hangs for ever, its loop must stay: two small structures and a sleeping thread are
     * lost. */
    if (workers_destroy(reel->resolver, CLOSE_TIMEOUT_MS))
        loop_destroy(reel->loop);
    tls_client_destroy(reel->tls);
    auth_destroy(reel->auth);
    if (reel->cancel_fd >= 0)
        (void)close(reel->cancel_fd);
    pthread_mutex_destroy(&reel->mutex);
    free(reel);
}

/* Copies what the handle keeps of the options; the rest goes into CLIENT, whose trackers the caller clears. */
static bool reel_take_options(struct reel *reel, const struct reel_options *options,
                              struct client_options *client, struct error *error)
{
    if (!options->trackers || options->trackers[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no tracker is given");
    if (!reel_copy_text(reel->application, sizeof(reel->application), "application",
                        options->application ? options->application : "tnvideo", error) ||
        !reel_copy_text(reel->user, sizeof(reel->user), "user ID", options->user ? options->user : "",
                        error) ||
        !address_list_parse(options->trackers, TRACKER_PORT, &client->trackers, error))
        return false;
    if (!reel_copy_text(client->group, sizeof(client->group), "group", options->group ? options->group : "",
                        error) ||
        !reel_copy_text(client->moves_from, sizeof(client->moves_from), "moves_from",
                        options->moves_from ? options->moves_from : "", error))
        return false;
    if (client->moves_from[0] != '\0' && client->group[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "moves_from: the group that files move to is not given");
    reel->takes_deleted = client->group[0] != '\0';
    reel->moves = client->moves_from[0] != '\0';
    reel->tries = options->tries > 0 ? options->tries : 10;
    reel->progress_timeout_ms = options->progress_timeout_ms > 0 ? options->progress_timeout_ms : 30000;
    reel->async_threads = options->async_threads > 0 ? options->async_threads : ASYNC_THREADS;
    request_id_make(&reel->request);
    if (options->request && !request_id_parse(options->request, strlen(options->request), &reel->request) &&
        !request_id_of_traceparent(options->request, strlen(options->request), &reel->request))
        return error_set(error, ERROR_MALFORMED,
                         "request: 32 hex digits or a traceparent expected, not \"%.64s\"", options->request);
    reel->request.traced = reel->request.traced || options->traced != 0;
    (void)request_id_text(&reel->request, reel->request_text);
    reel->remark = options->remark;
    reel->remark_argument = options->remark_argument;
    client->connect_timeout_ms = options->connect_timeout_ms;
    client->call_timeout_ms = options->call_timeout_ms;
    client->progress_timeout_ms = options->progress_timeout_ms;
    client->hedge_ms = options->hedge_ms;
    client->connections_per_server_max = options->connections;
    reel->auth = reel_auth_open(options, error);
    client->auth = reel->auth;
    return reel->auth != NULL;
}

/* What calls to tls:// need, where there are any. */
static bool open_tls(struct reel *reel, const struct reel_options *options, struct client_options *client,
                     struct error *error)
{
    static const struct config_strings none;
    const struct tls_keys psk = psk_source(reel->auth); /* where nobody said whose certificates to believe */
    const struct tls_options tls = {
        .profile = TLS_FOR_PACKETS,
        .certificates = &none,
        .keys = &none,
        .ca = options->tls_ca ? options->tls_ca : "",
        .psk = options->tls_ca && options->tls_ca[0] != '\0' ? NULL : &psk,
    };
    bool wanted = false;

    for (size_t i = 0; i < client->trackers.count; i++)
        wanted = wanted || client->trackers.items[i].tls;
    if (!wanted)
        return true;
    client->tls = reel->tls = tls_client_create(&tls, error);
    return reel->tls;
}

static bool open_parts(struct reel *reel, struct client_options *client, struct error *error)
{
    reel->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reel->cancel_fd < 0)
        return error_set_errno(error, errno, "an event descriptor");
    reel->loop = loop_create("reel", error);
    if (!reel->loop)
        return false;
    reel->resolver = workers_create("reel-names", RESOLVER_THREADS, RESOLVER_QUEUE, error);
    if (!reel->resolver)
        return false;
    client->resolver = reel->resolver;
    reel->client = client_create(reel->loop, client, error);
    return reel->client && loop_start(reel->loop, error);
}

const char *reel_request(const struct reel *reel)
{
    return reel->request_text;
}

struct reel *reel_open(const struct reel_options *options, struct reel_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client_options client = {0};
    struct reel *reel = calloc(1, sizeof(*reel));
    struct error why = {0};
    bool fine;

    pthread_once(&once, log_quietly);
    if (!reel) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a handle");
        (void)reel_fail(error, &why);
        return NULL;
    }
    reel->process = getpid();
    reel->cancel_fd = reel->async_fd = -1;
    STAILQ_INIT(&reel->async_ended);
    LIST_INIT(&reel->waits);
    ASSERT(pthread_mutex_init(&reel->mutex, NULL) == 0);
    fine = reel_take_options(reel, options, &client, &why) && open_tls(reel, options, &client, &why) &&
           open_parts(reel, &client, &why);
    address_list_clear(&client.trackers);
    if (fine)
        return reel;
    client_destroy(reel->client); /* its loop does not run */
    reel_free_handle(reel);
    (void)reel_fail(error, &why);
    return NULL;
}

static void close_start(struct reel_wait *wait)
{
    client_destroy(wait->reel->client);
    reel_wait_finish(wait, NULL);
}

void reel_close(struct reel *reel)
{
    struct reel_wait wait;

    /* In a child none of the handle's threads runs; its memory and descriptors are the parent's copies. */
    if (!reel || !reel_is_ours(reel))
        return;
    reel_async_close(reel);
    reel_wait_init(&wait, reel, close_start);
    reel_wait_begin(&wait);
    (void)reel_wait_end(&wait); /* cannot fail */
    reel_wait_clear(&wait);
    reel_free_handle(reel);
}
