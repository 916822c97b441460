/*
 * tls_set: reads certificates and keys, checks that they belong together, and finds the one for a name.
 */
#include "common/transport/tls_set.h"
#include "common/base/log.h"
#include "common/transport/tls_internal.h"
#include "common/transport/tls_library.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Of 1.2 only ciphers with forward secrecy and authenticated encryption. The fast one first: a client without AES in
 * hardware puts ChaCha20 first, and gets it (SSL_OP_PRIORITIZE_CHACHA). */
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SRP"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

#define ALPN_HTTP    "\x08http/1.1\x08http/1.0"
#define ALPN_PACKETS "\x06reel/1"

struct tls_set {
    atomic_size_t references;
    struct tls_keys psk;
    bool has_psk;
    int64_t expiry;
    size_t count;     /* of certificates, or 1 where there is none */
    size_t libraries; /* each has all of them */
    size_t contexts;  /* of ITEMS that were made */
    struct tls_item {
        SSL_CTX *context;
        X509 *certificate; /* of the context; NULL: none, only pre-shared keys */
    } items[];
};

/* "FILE: what OpenSSL says". */
static bool refuse_file(struct error *error, const char *file, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return error_set(error, ERROR_REFUSED, "%s: %s%s%s", file, what, reason ? ": " : "",
                     reason ? reason : "");
}

static bool tls_set_no_memory(struct error *error)
{
    ERR_clear_error();
    return error_set(error, ERROR_UNAVAILABLE, "TLS: no memory");
}

/* ---- contexts ---- */

SSL_CTX *tls_context_new(enum tls_profile profile, bool server, size_t library, struct error *error)
{
    SSL_CTX *context =
        SSL_CTX_new_ex(tls_library(library), NULL, server ? TLS_server_method() : TLS_client_method());

    if (!context)
        goto fail;
    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(context, profile == TLS_FOR_HTTP ? TLS1_2_VERSION : TLS1_3_VERSION) !=
            1 ||
        SSL_CTX_set_cipher_list(context, CIPHERS_12) != 1 ||
        SSL_CTX_set_ciphersuites(context, CIPHERS_13) != 1 ||
        SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") != 1)
        goto fail;
    return context;
fail:
    SSL_CTX_free(context);
    (void)refuse_file(error, "TLS", "OpenSSL cannot be set up");
    return NULL;
}

/* There is nobody to ask for a key's passphrase. */
/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
static int no_passphrase(char *buffer, int size, int writing, void *argument)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)argument;
    return -1;
}

static void warn_if_readable(const char *file)
{
    struct stat status;

    if (stat(file, &status) == 0 && (status.st_mode & S_IROTH) != 0)
        log_warning("tls", "%s: everybody on this machine can read this private key: chmod o-r", file);
}

static int64_t tls_set_end_of(const X509 *certificate)
{
    struct tm end;

    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1 ? (int64_t)timegm(&end) : 0;
}

/* KEY_FILE may be FILE. */
static bool read_certificate(SSL_CTX *context, const char *file, const char *key_file, int64_t *expiry,
                             struct error *error)
{
    FILE *in;

    /* OpenSSL names no errno. */
    for (int i = 0; i < 2; i++) {
        in = fopen(i == 0 ? file : key_file, "re");
        if (!in)
            return error_set_errno(error, errno, "%s", i == 0 ? file : key_file);
        (void)fclose(in);
    }
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, file) != 1)
        return refuse_file(error, file, "no PEM certificates; this server's own comes first");
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
            return refuse_file(error, key_file, "the private key does not match the certificate");
        return refuse_file(error, key_file, "no PEM private key without a passphrase");
    }
    if (SSL_CTX_check_private_key(context) != 1)
        return refuse_file(error, key_file, "the private key does not match the certificate");
    *expiry = tls_set_end_of(SSL_CTX_get0_certificate(context));
    return true;
}

bool tls_context_use(SSL_CTX *context, const char *file, const char *key_file, int64_t *expiry,
                     struct error *error)
{
    if (key_file[0] == '\0')
        key_file = file;
    if (!read_certificate(context, file, key_file, expiry, error))
        return false;
    warn_if_readable(key_file);
    return true;
}

bool tls_context_trust(SSL_CTX *context, const char *ca, struct error *error)
{
    struct stat status;

    ERR_clear_error();
    if (ca[0] == '\0')
        return SSL_CTX_set_default_verify_paths(context) == 1 || tls_set_no_memory(error);
    if (stat(ca, &status) != 0)
        return error_set_errno(error, errno, "%s", ca);
    if (S_ISDIR(status.st_mode))
        return SSL_CTX_load_verify_dir(context, ca) == 1 || refuse_file(error, ca, "cannot be used");
    return SSL_CTX_load_verify_file(context, ca) == 1 || refuse_file(error, ca, "no PEM certificates");
}

/* ---- what a client asks for ---- */

/* RFC 7301. The protocols that it may be, as a list of ours. */
static int on_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *length,
                   const unsigned char *offered, unsigned offered_size, void *argument)
{
    const char *ours = argument;

    (void)ssl;
    /* The value is only read. */
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)chosen, length, (const unsigned char *)ours,
                              (unsigned)strlen(ours), offered, offered_size) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* RFC 6066 section 3: an unknown name is served by the first certificate, which the client then judges. */
/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
static int on_server_name(SSL *ssl, int *alert, void *argument)
{
    struct tls_set *set = argument;
    const struct tls *tls = SSL_get_app_data(ssl);
    const struct tls_item *items = set->items + tls->library * set->count;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    for (size_t i = 0; name && items[0].certificate && i < set->count; i++) {
        if (X509_check_host(items[i].certificate, name, 0, 0, NULL) != 1)
            continue;
        if (i > 0)
            (void)SSL_set_SSL_CTX(ssl, items[i].context);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* SSL_CTX_set_psk_find_session_callback(3). 1 with *SESSION NULL: it is not known; a certificate may do. */
static int on_psk(SSL *ssl, const unsigned char *identity, size_t size, SSL_SESSION **session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    const struct tls_keys *keys = tls->set->has_psk ? &tls->set->psk : NULL;
    uint8_t key[TLS_KEY_SIZE];
    char name[TLS_IDENTITY_SIZE];

    *session = NULL;
    if (!keys || size >= sizeof(name) || memchr(identity, '\0', size))
        return 1;
    memcpy(name, identity, size);
    name[size] = '\0';
    if (!keys->find(keys->argument, name, key))
        return 1;
    *session = tls_psk_session(ssl, key);
    OPENSSL_cleanse(key, sizeof(key));
    if (!*session)
        return 0;
    memcpy(tls->psk_identity, name, size + 1);
    return 1;
}

/* ---- the set ---- */

struct tls_set *tls_set_take(struct tls_set *set)
{
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    return set;
}

void tls_set_release(struct tls_set *set)
{
    if (!set || atomic_fetch_sub(&set->references, 1) != 1)
        return;
    for (size_t i = 0; i < set->contexts; i++)
        SSL_CTX_free(set->items[i].context);
    free(set);
}

SSL_CTX *tls_set_context(struct tls_set *set, size_t *library)
{
    *library = tls_library_of_thread(set->libraries);
    return set->items[*library * set->count].context;
}

int64_t tls_set_expiry(const struct tls_set *set)
{
    return set->expiry;
}

/* What is the same for all certificates of a server. */
static bool tls_set_prepare(SSL_CTX *context, struct tls_set *set, const struct tls_options *options,
                            struct tls_tickets *tickets, size_t library, struct error *error)
{
    bool http = options->profile == TLS_FOR_HTTP;
    static const unsigned char session_name[] = "reel";

    SSL_CTX_set_alpn_select_cb(context, on_alpn,
                               http ? (void *)(uintptr_t)ALPN_HTTP : (void *)(uintptr_t)ALPN_PACKETS);
    (void)SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    (void)SSL_CTX_set_tlsext_servername_arg(context, set);
    if (set->has_psk)
        SSL_CTX_set_psk_find_session_callback(context, on_psk);
    if (options->verify_peer) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        if (!tls_context_trust(context, options->ca, error))
            return false;
    }
    if (SSL_CTX_set_session_id_context(context, session_name, sizeof(session_name) - 1) != 1)
        return tls_set_no_memory(error);
    if (tickets)
        return tls_tickets_use(tickets, context, library) || tls_set_no_memory(error);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    return SSL_CTX_set_num_tickets(context, 0) == 1 || tls_set_no_memory(error);
}

/* The next one, in the order of ITEMS. */
static bool add_context(struct tls_set *set, const struct tls_options *options, struct tls_tickets *tickets,
                        struct error *error)
{
    size_t index = set->contexts % set->count, library = set->contexts / set->count;
    const char *file = index < options->certificates->count ? options->certificates->items[index] : NULL;
    const char *key = index < options->keys->count ? options->keys->items[index] : "";
    SSL_CTX *context = tls_context_new(options->profile, true, library, error);
    struct tls_item *item = &set->items[set->contexts];
    int64_t expiry = 0;

    if (!context)
        return false;
    item->context = context;
    set->contexts++;
    if (!tls_set_prepare(context, set, options, tickets, library, error))
        return false;
    if (!file)
        return true;
    if (!(library == 0 ? tls_context_use(context, file, key, &expiry, error)
                       : read_certificate(context, file, key[0] != '\0' ? key : file, &expiry, error)))
        return false;
    item->certificate = SSL_CTX_get0_certificate(context);
    set->expiry = set->expiry == 0 ? expiry : min_i64(set->expiry, expiry);
    return true;
}

struct tls_set *tls_set_create(const struct tls_options *options, struct tls_tickets *tickets,
                               struct error *error)
{
    size_t count = max_size(options->certificates->count, 1),
           libraries = tls_libraries_make(options->threads);
    struct tls_set *set = calloc(1, sizeof(*set) + count * libraries * sizeof(set->items[0]));

    if (!set) {
        (void)tls_set_no_memory(error);
        return NULL;
    }
    atomic_init(&set->references, 1);
    set->count = count;
    set->libraries = libraries;
    if (options->psk) {
        set->psk = *options->psk;
        set->has_psk = true;
    }
    while (set->contexts < count * libraries) {
        if (!add_context(set, options, tickets, error)) {
            tls_set_release(set);
            return NULL;
        }
    }
    return set;
}
