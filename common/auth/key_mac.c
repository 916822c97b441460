/*
 * key_mac: one EVP_MAC and one EVP_MD context per thread, made at the first use and freed with the thread. Beside
 * content_hash.c and the transport nothing in the suite calls OpenSSL.
 */
#include "common/auth/key_mac.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct mac_contexts {
    EVP_MAC_CTX *mac;
    EVP_MD_CTX *digest;
    EVP_MD *sha256;
    bool keyed; /* the MAC's context has SECRET: to begin again with it costs a third */
    uint8_t secret[MAC_SIZE];
};

static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;
static bool contexts_have_key;
static _Thread_local struct mac_contexts *contexts_mine;

static void contexts_free(void *argument)
{
    struct mac_contexts *contexts = argument;

    if (!contexts)
        return;
    EVP_MAC_CTX_free(contexts->mac);
    EVP_MD_CTX_free(contexts->digest);
    EVP_MD_free(contexts->sha256);
    explicit_bzero(contexts->secret, sizeof(contexts->secret));
    free(contexts);
    contexts_mine = NULL;
}

static void contexts_free_of_main(void)
{
    contexts_free(contexts_mine);
}

/* The main thread's end runs no destructors of thread keys; exit() does what is registered here. */
static void contexts_init(void)
{
    contexts_have_key = pthread_key_create(&contexts_key, contexts_free) == 0;
    (void)atexit(contexts_free_of_main);
}

static bool contexts_fill(struct mac_contexts *contexts)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    contexts->mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    EVP_MAC_free(hmac);
    contexts->digest = EVP_MD_CTX_new();
    contexts->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    return contexts->mac && contexts->digest && contexts->sha256 &&
           EVP_MAC_CTX_set_params(contexts->mac, parameters) == 1;
}

/* NULL: no memory. */
static struct mac_contexts *contexts_get(void)
{
    if (contexts_mine)
        return contexts_mine;
    if (pthread_once(&contexts_once, contexts_init) != 0 || !contexts_have_key)
        return NULL;
    struct mac_contexts *contexts = calloc(1, sizeof(*contexts));
    if (contexts && (!contexts_fill(contexts) || pthread_setspecific(contexts_key, contexts) != 0)) {
        contexts_free(contexts);
        contexts = NULL;
    }
    contexts_mine = contexts;
    return contexts;
}

bool mac_compute(const uint8_t secret[MAC_SIZE], const struct mac_part *parts, size_t count,
                 uint8_t out[MAC_SIZE])
{
    struct mac_contexts *contexts = contexts_get();
    size_t size = 0;
    bool again = contexts && contexts->keyed && mac_equal(contexts->secret, secret, MAC_SIZE);
    bool done =
        contexts && EVP_MAC_init(contexts->mac, again ? NULL : secret, again ? 0 : MAC_SIZE, NULL) == 1;

    if (contexts && !again) {
        contexts->keyed = done;
        memcpy(contexts->secret, secret, MAC_SIZE);
    }
    for (size_t i = 0; done && i < count; i++)
        done = parts[i].size == 0 || EVP_MAC_update(contexts->mac, parts[i].bytes, parts[i].size) == 1;
    done = done && EVP_MAC_final(contexts->mac, out, &size, MAC_SIZE) == 1 && size == MAC_SIZE;
    if (!done)
        memset(out, 0, MAC_SIZE);
    return done;
}

bool key_mac(const struct key *key, enum key_use use, const struct mac_part *parts, size_t count,
             uint8_t out[MAC_SIZE])
{
    return mac_compute(key->derived[use], parts, count, out);
}

static bool secret_derive(const uint8_t secret[KEY_SECRET_SIZE], const char *word, uint8_t out[MAC_SIZE])
{
    const struct mac_part parts[] = {{"reel-1 ", 7}, {word, strlen(word)}};

    return mac_compute(secret, parts, ARRAY_SIZE(parts), out);
}

bool key_derive(const struct key *key, const char *word, uint8_t out[MAC_SIZE])
{
    return secret_derive(key->secret, word, out);
}

bool sha256_compute(const struct mac_part *parts, size_t count, uint8_t out[MAC_SIZE])
{
    struct mac_contexts *contexts = contexts_get();
    unsigned size = 0;
    bool done = contexts && EVP_DigestInit_ex2(contexts->digest, contexts->sha256, NULL) == 1;

    for (size_t i = 0; done && i < count; i++)
        done = parts[i].size == 0 || EVP_DigestUpdate(contexts->digest, parts[i].bytes, parts[i].size) == 1;
    done = done && EVP_DigestFinal_ex(contexts->digest, out, &size) == 1 && size == MAC_SIZE;
    if (!done)
        memset(out, 0, MAC_SIZE);
    return done;
}

bool mac_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

bool random_secret(void *bytes, size_t size)
{
    return size <= INT32_MAX && RAND_priv_bytes(bytes, (int)size) == 1;
}
