/*
 * daemon_tls: glue between [tls] and common/transport.
 */
#include "common/daemon/daemon_tls.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_S INT64_C(86400)

struct daemon_tls {
    struct tls_server *server; /* NULL: it does not listen so */
    struct tls_client *client; /* NULL: it does not call so */
    enum tls_profile profile;  /* of the server */
    struct tls_keys psk;
    bool has_psk;
    int64_t expiry_warning_ms;
    struct metric *expiry;
};

static struct tls_options options_of(const struct daemon_tls *tls, const struct daemon_tls_config *config,
                                     enum tls_profile profile)
{
    return (struct tls_options){
        .profile = profile,
        .certificates = &config->certificates,
        .keys = &config->keys,
        .ca = config->ca,
        .verify_peer = config->verify == DAEMON_TLS_VERIFY_PEER,
        .psk = tls->has_psk ? &tls->psk : NULL,
    };
}

/* DAEMON's; made where there is none. */
static struct daemon_tls *tls_of(struct daemon *daemon, struct error *error)
{
    if (!daemon->tls)
        daemon->tls = calloc(1, sizeof(*daemon->tls));
    if (!daemon->tls)
        (void)error_set_errno(error, ENOMEM, "cannot start");
    return daemon->tls;
}

/* What is known of the certificates that hold from now on. */
static void note_expiry(struct daemon_tls *tls, const struct daemon_tls_config *config)
{
    int64_t expiry = tls_server_expiry(tls->server), left = expiry - clock_wall_seconds();

    tls->expiry_warning_ms = config->expiry_warning_ms;
    metric_set(tls->expiry, expiry);
    if (expiry == 0)
        return;
    if (left <= 0)
        log_error("tls", "a certificate of tls.cert ended %" PRId64 " days ago: clients will refuse it",
                  -left / DAY_S);
    else if (left < tls->expiry_warning_ms / 1000)
        log_warning("tls", "a certificate of tls.cert ends in %" PRId64 " days", left / DAY_S);
}

bool daemon_tls_start(struct daemon *daemon, enum tls_profile profile, const struct tls_keys *psk,
                      struct error *error)
{
    const struct daemon_config *config = daemon->config;
    struct daemon_tls *tls = tls_of(daemon, error);
    struct tls_options options;

    if (!tls)
        return false;
    tls->profile = profile;
    tls->has_psk = psk;
    if (psk)
        tls->psk = *psk;
    options = options_of(tls, &config->tls, profile);
    tls->server = tls_server_create(&options, error);
    if (!tls->server)
        return false;
    tls->expiry = metrics_gauge(
        "reel_tls_certificate_not_after_seconds",
        "When the first of the certificates of tls.cert ends, in seconds since the epoch.", NULL);
    note_expiry(tls, &config->tls);
    return true;
}

struct tls_server *daemon_tls_server(const struct daemon *daemon)
{
    return daemon->tls ? daemon->tls->server : NULL;
}

bool daemon_tls_call(struct daemon *daemon, const struct address_list *addresses, struct error *error)
{
    const struct daemon_config *config = daemon->config;
    struct daemon_tls *tls;
    struct tls_options options;
    bool wanted = false;

    for (size_t i = 0; i < addresses->count; i++)
        wanted = wanted || addresses->items[i].tls;
    if (!wanted || (daemon->tls && daemon->tls->client))
        return true;
    tls = tls_of(daemon, error);
    if (!tls)
        return false;
    options = options_of(tls, &config->tls, TLS_FOR_PACKETS);
    tls->client = tls_client_create(&options, error);
    return tls->client;
}

struct tls_client *daemon_tls_client(const struct daemon *daemon)
{
    return daemon->tls ? daemon->tls->client : NULL;
}

bool daemon_tls_reload(struct daemon *daemon, const struct daemon_config *new_config, struct error *error)
{
    struct daemon_tls *tls = daemon->tls;
    struct tls_options server, client;

    if (!tls)
        return true;
    server = options_of(tls, &new_config->tls, tls->profile);
    client = options_of(tls, &new_config->tls, TLS_FOR_PACKETS);
    if (tls->client && !tls_client_reload(tls->client, &client, error))
        return false;
    if (!tls->server)
        return true;
    if (!tls_server_reload(tls->server, &server, error))
        return false;
    note_expiry(tls, &new_config->tls);
    return true;
}

void daemon_tls_health(const struct daemon *daemon, char *reason, size_t size)
{
    const struct daemon_tls *tls = daemon->tls;
    int64_t expiry = tls && tls->server ? tls_server_expiry(tls->server) : 0,
            left = expiry - clock_wall_seconds();

    if (expiry == 0 || reason[0] != '\0' || left >= tls->expiry_warning_ms / 1000)
        return;
    if (left <= 0)
        (void)snprintf(reason, size, "a certificate of tls.cert has expired");
    else
        (void)snprintf(reason, size, "a certificate of tls.cert expires in %" PRId64 " days", left / DAY_S);
}

void daemon_tls_destroy(struct daemon *daemon)
{
    if (!daemon->tls)
        return;
    tls_server_destroy(daemon->tls->server);
    tls_client_destroy(daemon->tls->client);
    free(daemon->tls);
    daemon->tls = NULL;
}
