/*
 * tls_psk: a pre-shared key in the form that OpenSSL takes it: the session that it would resume (RFC 8446 section 4.2.11).
 */
#include "common/transport/tls_internal.h"

SSL_SESSION *tls_psk_session(SSL *ssl, const uint8_t key[TLS_KEY_SIZE])
{
    static const unsigned char cipher_id[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_id);
    bool fine = session && cipher && SSL_SESSION_set1_master_key(session, key, TLS_KEY_SIZE) == 1 &&
                SSL_SESSION_set_cipher(session, cipher) == 1 &&
                SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1;

    if (fine)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}
