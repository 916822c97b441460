/*
 * tls_context: servers and clients, and the sessions that are made of them.
 */
#include "common/transport/tls_context.h"
#include "common/base/log.h"
#include "common/transport/tls_internal.h"
#include "common/transport/tls_set.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct tls_server {
    pthread_mutex_t mutex;
    struct tls_set *set; /* guarded: a reload exchanges it */
    struct tls_tickets *tickets;
    bool kernel; /* kTLS is available */
};

struct tls_client {
    pthread_mutex_t mutex;
    SSL_CTX *context;    /* guarded: a reload exchanges it */
    struct tls_keys psk; /* written once, before has_psk */
    atomic_bool has_psk;
};

/* ---- options ---- */

static bool check_options(const struct tls_options *options, bool server, struct error *error)
{
    size_t certificates = options->certificates->count, keys = options->keys->count;

    if (server && certificates == 0 && !options->psk)
        return error_set(error, ERROR_REFUSED, "tls.cert is empty: listen_tls needs a certificate%s",
                         options->profile == TLS_FOR_PACKETS
                             ? ", or pre-shared keys: [auth] keys = FILE, and "
                               "tls.verify = none"
                             : "");
    if (keys > 0 && keys != certificates)
        return error_set(
            error, ERROR_REFUSED,
            "tls.key names %zu files and tls.cert %zu: one key for each certificate, in their order, "
            "or none where the keys are in the files of the certificates",
            keys, certificates);
    if (server && options->verify_peer && options->ca[0] == '\0')
        return error_set(error, ERROR_REFUSED,
                         "tls.verify = peer needs tls.ca: the certificates of those who vouch for clients");
    return true;
}

/* ---- a reload ---- */

struct tls_fresh {
    struct tls_server *server; /* with SET, or NULL */
    struct tls_set *set;
    struct tls_client *client; /* with CONTEXT, or NULL */
    SSL_CTX *context;
};

static struct tls_fresh *fresh_create(struct error *error)
{
    struct tls_fresh *fresh = calloc(1, sizeof(*fresh));

    if (!fresh)
        (void)error_set_errno(error, ENOMEM, "TLS");
    return fresh;
}

/* ---- servers ---- */

/* Whether this kernel takes a socket's encryption over: CONFIG_TLS, and its module. */
static bool kernel_can(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool can;

    /* On a socket without a peer it is ENOTCONN where the kernel knows it, and ENOENT where it does not. */
    can = fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
          (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0 || errno == ENOTCONN);
    if (fd >= 0)
        (void)close(fd);
    return can;
}

static void server_enable_kernel(struct tls_server *server)
{
#ifdef OPENSSL_NO_KTLS
    server->kernel = false;
#else
    server->kernel = kernel_can();
#endif
    log_info("tls", "encryption by the kernel (kTLS): %s",
             server->kernel ? "yes" : "unavailable; this process encrypts");
}

struct tls_server *tls_server_create(const struct tls_options *options, struct error *error)
{
    struct tls_server *server;

    if (!check_options(options, true, error))
        return NULL;
    tls_register_metrics();
    server = calloc(1, sizeof(*server));
    if (!server || pthread_mutex_init(&server->mutex, NULL) != 0) {
        free(server);
        (void)error_set_errno(error, ENOMEM, "cannot listen");
        return NULL;
    }
    /* Between parts connections are kept, and sessions need no memory. */
    if (options->profile == TLS_FOR_HTTP && !(server->tickets = tls_tickets_create())) {
        (void)error_set_errno(error, ENOMEM, "cannot listen");
        goto fail;
    }
    server->set = tls_set_create(options, server->tickets, error);
    if (!server->set)
        goto fail;
    server_enable_kernel(server);
    return server;
fail:
    tls_server_destroy(server);
    return NULL;
}

struct tls_fresh *tls_server_read(struct tls_server *server, const struct tls_options *options,
                                  struct error *error)
{
    struct tls_fresh *fresh;

    if (!check_options(options, true, error) || !(fresh = fresh_create(error)))
        return NULL;
    fresh->server = server;
    fresh->set = tls_set_create(options, server->tickets, error);
    if (fresh->set)
        return fresh;
    free(fresh);
    return NULL;
}

static void server_use(struct tls_server *server, struct tls_set *set)
{
    struct tls_set *old;

    pthread_mutex_lock(&server->mutex);
    old = server->set;
    server->set = set;
    pthread_mutex_unlock(&server->mutex);
    tls_set_release(old);
    /* Where a leaked key is replaced, the tickets' keys should not live on for long either. */
    if (server->tickets && !tls_tickets_rotate(server->tickets))
        log_warning("tls", "no random numbers for a new key of session tickets: the old one remains in use");
}

void tls_server_destroy(struct tls_server *server)
{
    if (!server)
        return;
    tls_set_release(server->set);
    tls_tickets_destroy(server->tickets);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

static struct tls_set *server_set(struct tls_server *server)
{
    struct tls_set *set;

    pthread_mutex_lock(&server->mutex);
    set = tls_set_take(server->set);
    pthread_mutex_unlock(&server->mutex);
    return set;
}

int64_t tls_server_expiry(struct tls_server *server)
{
    struct tls_set *set = server_set(server);
    int64_t expiry = tls_set_expiry(set);

    tls_set_release(set);
    return expiry;
}

/* ---- sessions ---- */

/* Takes SET over, in any case. */
static struct tls *ticket_session_create(SSL_CTX *context, struct tls_set *set, int fd)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    if (!tls) {
        tls_set_release(set);
        return NULL;
    }
    tls->fd = fd;
    tls->set = set;
    tls->ssl = SSL_new(context);
    if (tls->ssl && SSL_set_app_data(tls->ssl, tls) == 1)
        return tls;
    SSL_free(tls->ssl);
    tls_set_release(set);
    free(tls);
    ERR_clear_error();
    return NULL;
}

static bool session_connect_bio(struct tls *tls)
{
    BIO *bio = tls_bio_new(tls);

    if (bio)
        SSL_set_bio(tls->ssl, bio, bio);
    return bio;
}

struct tls *tls_server_session(struct tls_server *server, int fd)
{
    struct tls_set *set = server_set(server);
    size_t library;
    SSL_CTX *context = tls_set_context(set, &library);
    struct tls *tls = ticket_session_create(context, set, fd);
    bool fine;

    if (!tls)
        return NULL;
    tls->library = library;
    SSL_set_accept_state(tls->ssl);
    if (server->kernel) {
        /* Only OpenSSL's own BIO hands keys to the kernel. */
        (void)SSL_set_options(tls->ssl, SSL_OP_ENABLE_KTLS);
        fine = SSL_set_fd(tls->ssl, fd) == 1;
    } else {
        fine = session_connect_bio(tls);
    }
    if (fine)
        return tls;
    tls_free(tls);
    return NULL;
}

/* ---- clients ---- */

/* SSL_CTX_set_psk_use_session_callback(3). */
static int on_own_psk(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *size,
                      SSL_SESSION **session)
{
    const struct tls_client *client = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0);
    struct tls *tls = SSL_get_app_data(ssl);
    uint8_t key[TLS_KEY_SIZE];

    *session = NULL;
    *identity = NULL;
    *size = 0;
    if (!atomic_load(&client->has_psk) || !client->psk.own(client->psk.argument, tls->psk_identity, key))
        return 1;
    if (digest && !EVP_MD_is_a(digest, "SHA256")) { /* a retried hello chose another hash */
        OPENSSL_cleanse(key, sizeof(key));
        return 1;
    }
    *session = tls_psk_session(ssl, key);
    OPENSSL_cleanse(key, sizeof(key));
    *identity = (const unsigned char *)tls->psk_identity;
    *size = strlen(tls->psk_identity);
    return *session != NULL;
}

/* NULL on failure. */
static SSL_CTX *client_context(struct tls_client *client, const struct tls_options *options,
                               struct error *error)
{
    static const unsigned char alpn[] = "\x06reel/1";
    const char *key = options->keys->count > 0 ? options->keys->items[0] : "";
    SSL_CTX *context =
        check_options(options, false, error) ? tls_context_new(options->profile, false, 0, error) : NULL;
    int64_t expiry;

    if (!context)
        return NULL;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (!tls_context_trust(context, options->ca, error) ||
        (options->certificates->count > 0 &&
         !tls_context_use(context, options->certificates->items[0], key, &expiry, error)))
        goto fail;
    /* Of the ALPN call 0 is success, against every other one. */
    if (SSL_CTX_set_ex_data(context, 0, client) != 1 ||
        (options->profile == TLS_FOR_PACKETS &&
         SSL_CTX_set_alpn_protos(context, alpn, sizeof(alpn) - 1) != 0)) {
        (void)error_set_errno(error, ENOMEM, "TLS");
        goto fail;
    }
    if (options->psk) {
        if (!atomic_load(&client->has_psk))
            client->psk = *options->psk;
        atomic_store(&client->has_psk, true);
        SSL_CTX_set_psk_use_session_callback(context, on_own_psk);
    }
    return context;
fail:
    SSL_CTX_free(context);
    ERR_clear_error();
    return NULL;
}

struct tls_client *tls_client_create(const struct tls_options *options, struct error *error)
{
    struct tls_client *client = calloc(1, sizeof(*client));

    tls_register_metrics();
    if (!client || pthread_mutex_init(&client->mutex, NULL) != 0) {
        free(client);
        (void)error_set_errno(error, ENOMEM, "TLS");
        return NULL;
    }
    client->context = client_context(client, options, error);
    if (client->context)
        return client;
    tls_client_destroy(client);
    return NULL;
}

struct tls_fresh *tls_client_read(struct tls_client *client, const struct tls_options *options,
                                  struct error *error)
{
    struct tls_fresh *fresh = fresh_create(error);

    if (!fresh)
        return NULL;
    fresh->client = client;
    fresh->context = client_context(client, options, error);
    if (fresh->context)
        return fresh;
    free(fresh);
    return NULL;
}

static void client_use(struct tls_client *client, SSL_CTX *context)
{
    SSL_CTX *old;

    pthread_mutex_lock(&client->mutex);
    old = client->context;
    client->context = context;
    pthread_mutex_unlock(&client->mutex);
    SSL_CTX_free(old);
}

void tls_fresh_use(struct tls_fresh *fresh)
{
    if (fresh && fresh->server)
        server_use(fresh->server, fresh->set);
    else if (fresh)
        client_use(fresh->client, fresh->context);
    free(fresh);
}

void tls_fresh_drop(struct tls_fresh *fresh)
{
    if (!fresh)
        return;
    tls_set_release(fresh->set);
    SSL_CTX_free(fresh->context);
    free(fresh);
}

void tls_client_destroy(struct tls_client *client)
{
    if (!client)
        return;
    SSL_CTX_free(client->context);
    pthread_mutex_destroy(&client->mutex);
    free(client);
}

/* What the server's certificate must name; a name is sent to it too (SNI, which does not carry numeric addresses). */
static bool session_expect(SSL *ssl, const char *host)
{
    struct in6_addr binary;

    if (inet_pton(AF_INET, host, &binary) == 1 || inet_pton(AF_INET6, host, &binary) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_client_session(struct tls_client *client, int fd, const char *host)
{
    struct tls *tls;

    pthread_mutex_lock(&client->mutex);
    tls = ticket_session_create(client->context, NULL, fd);
    pthread_mutex_unlock(&client->mutex);
    if (!tls)
        return NULL;
    SSL_set_connect_state(tls->ssl);
    if (session_expect(tls->ssl, host) && session_connect_bio(tls))
        return tls;
    tls_free(tls);
    return NULL;
}
