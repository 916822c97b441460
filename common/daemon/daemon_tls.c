/*
 * daemon_tls: glue between [tls] and common/transport.
 */
#include "common/daemon/daemon_tls.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/call/psk_source.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_S INT64_C(86400)

struct daemon_tls {
    struct tls_server *server; /* NULL: it does not listen so */
    struct tls_client *client; /* NULL: it does not call so */
    enum tls_profile profile;  /* of the server */
    size_t loops;              /* whose handshakes are many: browsers' */
    struct tls_keys psk;
    int64_t expiry_warning_ms;
    struct metric *expiry;
};

static struct tls_options options_of(const struct daemon_tls *tls, const struct daemon_config *config,
                                     enum tls_profile profile)
{
    return (struct tls_options){
        .profile = profile,
        .certificates = &config->tls.certificates,
        .keys = &config->tls.keys,
        .ca = config->tls.ca,
        .verify_peer = config->tls.verify == DAEMON_TLS_VERIFY_PEER,
        .psk = profile == TLS_FOR_PACKETS && config->auth_keys[0] != '\0' ? &tls->psk : NULL,
    };
}

/* Callers may also prove themselves by a key of the keys file, except where each has to show a certificate. */
static struct tls_options server_options(const struct daemon_tls *tls, const struct daemon_config *config)
{
    struct tls_options options = options_of(tls, config, tls->profile);

    if (options.verify_peer)
        options.psk = NULL;
    options.threads = tls->loops;
    return options;
}

/* A key stands in for certificates that were not given: whoever named the authorities wants no less. */
static struct tls_options client_options(const struct daemon_tls *tls, const struct daemon_config *config)
{
    struct tls_options options = options_of(tls, config, TLS_FOR_PACKETS);

    if (options.certificates->count > 0 || options.ca[0] != '\0')
        options.psk = NULL;
    return options;
}

/* DAEMON's; made where there is none. */
static struct daemon_tls *tls_of(struct daemon *daemon, struct error *error)
{
    if (daemon->tls)
        return daemon->tls;
    daemon->tls = calloc(1, sizeof(*daemon->tls));
    if (!daemon->tls)
        (void)error_set_errno(error, ENOMEM, "cannot start");
    else
        daemon->tls->psk = psk_source(daemon->auth);
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
        log_error("tls", "a certificate of tls.cert expired %" PRId64 " days ago: clients will refuse it",
                  -left / DAY_S);
    else if (left < tls->expiry_warning_ms / 1000)
        log_warning("tls", "a certificate of tls.cert expires in %" PRId64 " days", left / DAY_S);
}

bool daemon_tls_start(struct daemon *daemon, enum tls_profile profile, struct error *error)
{
    const struct daemon_config *config = daemon->config;
    struct daemon_tls *tls = tls_of(daemon, error);
    struct tls_options options;

    if (!tls)
        return false;
    tls->profile = profile;
    /* Parts keep their connections. */
    tls->loops = profile == TLS_FOR_HTTP && daemon->loops ? daemon->loops->count : 1;
    options = server_options(tls, config);
    tls->server = tls_server_create(&options, error);
    if (!tls->server)
        return false;
    tls->expiry =
        metrics_gauge("reel_tls_certificate_not_after_seconds",
                      "When the first certificate of tls.cert expires, in seconds since the epoch.", NULL);
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
    options = client_options(tls, config);
    tls->client = tls_client_create(&options, error);
    return tls->client;
}

struct tls_client *daemon_tls_client(const struct daemon *daemon)
{
    return daemon->tls ? daemon->tls->client : NULL;
}

bool daemon_tls_read(struct daemon *daemon, const struct daemon_config *new_config,
                     struct daemon_tls_fresh *fresh, struct error *error)
{
    const struct daemon_tls *tls = daemon->tls;
    struct tls_options server, client;

    *fresh = (struct daemon_tls_fresh){0};
    if (!tls)
        return true;
    server = server_options(tls, new_config);
    client = client_options(tls, new_config);
    if (tls->client && !(fresh->client = tls_client_read(tls->client, &client, error)))
        return false;
    if (!tls->server || (fresh->server = tls_server_read(tls->server, &server, error)))
        return true;
    daemon_tls_drop(fresh);
    *fresh = (struct daemon_tls_fresh){0};
    return false;
}

void daemon_tls_use(struct daemon *daemon, const struct daemon_config *new_config,
                    const struct daemon_tls_fresh *fresh)
{
    tls_fresh_use(fresh->client);
    tls_fresh_use(fresh->server);
    if (fresh->server)
        note_expiry(daemon->tls, &new_config->tls);
}

void daemon_tls_drop(const struct daemon_tls_fresh *fresh)
{
    tls_fresh_drop(fresh->client);
    tls_fresh_drop(fresh->server);
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
