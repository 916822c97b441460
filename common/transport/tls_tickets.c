/*
 * tls_tickets: a ring of keys under a mutex; whoever seals a ticket when the newest key is an hour old makes the next one.
 */
#include "common/transport/tls_tickets.h"
#include "common/base/clock.h"
#include "common/transport/tls_internal.h"
#include "common/transport/tls_library.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS  (INT64_C(3600) * 1000)
#define KEY_NAME 16

struct ticket_key {
    uint8_t name[KEY_NAME];
    uint8_t cipher[32], mac[32];
};

struct tls_tickets {
    pthread_mutex_t mutex;
    struct ticket_key keys[TLS_TICKET_HOURS]; /* newest first */
    size_t count;
    int64_t newest_ms;
    EVP_CIPHER *ciphers[TLS_LIBRARIES_MAX]; /* of each library that is used; written before that */
};

/* With the mutex held. */
static bool add_key(struct tls_tickets *tickets)
{
    struct ticket_key fresh;

    if (RAND_bytes((unsigned char *)&fresh, sizeof(fresh)) != 1)
        return false;
    memmove(&tickets->keys[1], &tickets->keys[0], (TLS_TICKET_HOURS - 1) * sizeof(fresh));
    tickets->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof(fresh));
    tickets->count = min_size(tickets->count + 1, TLS_TICKET_HOURS);
    tickets->newest_ms = clock_monotonic_ms();
    return true;
}

struct tls_tickets *tls_tickets_create(void)
{
    struct tls_tickets *tickets = calloc(1, sizeof(*tickets));

    if (!tickets)
        return NULL;
    if (pthread_mutex_init(&tickets->mutex, NULL) != 0 || !add_key(tickets)) {
        free(tickets);
        return NULL;
    }
    return tickets;
}

void tls_tickets_destroy(struct tls_tickets *tickets)
{
    if (!tickets)
        return;
    pthread_mutex_destroy(&tickets->mutex);
    OPENSSL_cleanse(tickets->keys, sizeof(tickets->keys));
    for (size_t i = 0; i < TLS_LIBRARIES_MAX; i++)
        EVP_CIPHER_free(tickets->ciphers[i]);
    free(tickets);
}

bool tls_tickets_rotate(struct tls_tickets *tickets)
{
    bool fine;

    pthread_mutex_lock(&tickets->mutex);
    fine = add_key(tickets);
    pthread_mutex_unlock(&tickets->mutex);
    return fine;
}

/* The key that seals now. */
static struct ticket_key sealing_key(struct tls_tickets *tickets)
{
    struct ticket_key key;

    pthread_mutex_lock(&tickets->mutex);
    if (clock_monotonic_ms() - tickets->newest_ms >= HOUR_MS)
        (void)add_key(tickets); /* without random numbers the old one stays in use */
    key = tickets->keys[0];
    pthread_mutex_unlock(&tickets->mutex);
    return key;
}

/* The key called NAME. *NEWEST: it is the one that seals. False: it is gone. */
static bool opening_key(struct tls_tickets *tickets, const uint8_t *name, struct ticket_key *key,
                        bool *newest)
{
    bool found = false;

    pthread_mutex_lock(&tickets->mutex);
    for (size_t i = 0; i < tickets->count && !found; i++) {
        int64_t age_ms = clock_monotonic_ms() - tickets->newest_ms + (int64_t)i * HOUR_MS;

        if (CRYPTO_memcmp(tickets->keys[i].name, name, KEY_NAME) != 0 || age_ms >= TLS_TICKET_HOURS * HOUR_MS)
            continue;
        found = true;
        *key = tickets->keys[i];
        *newest = i == 0 && age_ms < HOUR_MS;
    }
    pthread_mutex_unlock(&tickets->mutex);
    return found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    struct tls_tickets *tickets = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0);
    size_t library = ((const struct tls *)SSL_get_app_data(ssl))->library;
    const EVP_CIPHER *kind = tickets->ciphers[library];
    struct ticket_key key = {.name = {0}};
    bool newest = true;
    int result = -1;

    if (seal) {
        key = sealing_key(tickets);
        memcpy(name, key.name, KEY_NAME);
        if (RAND_bytes_ex(tls_library(library), iv, (size_t)EVP_CIPHER_get_iv_length(kind), 0) == 1 &&
            EVP_EncryptInit_ex2(cipher, kind, key.cipher, iv, NULL) == 1 && set_mac(mac, &key))
            result = 1;
    } else if (!opening_key(tickets, name, &key, &newest)) {
        result = 0;
    } else if (EVP_DecryptInit_ex2(cipher, kind, key.cipher, iv, NULL) == 1 && set_mac(mac, &key)) {
        /* TLS 1.3 gives a new ticket after each use, 1.2 where this says that the old one should be replaced. */
        result = newest ? 1 : 2;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return result;
}

bool tls_tickets_use(struct tls_tickets *tickets, SSL_CTX *context, size_t library)
{
    EVP_CIPHER **kind = &tickets->ciphers[library];

    if (!*kind && !(*kind = EVP_CIPHER_fetch(tls_library(library), "AES-256-CBC", NULL)))
        return false;
    (void)SSL_CTX_set_timeout(context, (TLS_TICKET_HOURS - 1) * 3600);
    return SSL_CTX_set_ex_data(context, 0, tickets) == 1 &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) == 1;
}
