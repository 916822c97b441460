/*
 * tls_errors: OpenSSL's queue of errors in an operator's words; the metrics of this room; one line per kind in ten seconds.
 */
#include "common/transport/tls_internal.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define FAILURE_LOG_MS 10000

/* Kinds of failures. The first one is whatever has no other. */
static const char *const kinds[] = {"protocol",  "certificate", "key",   "version",
                                    "truncated", "plain",       "alert", "memory"};

static pthread_once_t metrics_once = PTHREAD_ONCE_INIT;
static struct metric *failures[ARRAY_SIZE(kinds)];
static struct log_gate gates[ARRAY_SIZE(kinds)];
static struct metric *handshakes[2][TLS_RESULTS];
static struct metric *kernel[2];

static void register_all(void)
{
    static const char *const results[] = {"full", "resumed", "failed", "timeout", "plain", "dropped"};
    static const char *const sides[] = {"client", "server"};
    char labels[64];

    for (size_t side = 0; side < ARRAY_SIZE(sides); side++) {
        for (size_t i = 0; i < TLS_RESULTS; i++) {
            (void)snprintf(labels, sizeof(labels), "result=\"%s\",side=\"%s\"", results[i], sides[side]);
            handshakes[side][i] =
                metrics_counter("reel_tls_handshakes_total", "TLS handshakes, by outcome.", labels);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        (void)snprintf(labels, sizeof(labels), "kind=\"%s\"", kinds[i]);
        failures[i] = metrics_counter("reel_tls_failures_total", "TLS failures, by kind.", labels);
    }
    kernel[0] = metrics_counter("reel_tls_ktls_total",
                                "TLS connections, by whether the kernel encrypts (kTLS).", "state=\"off\"");
    kernel[1] = metrics_counter("reel_tls_ktls_total",
                                "TLS connections, by whether the kernel encrypts (kTLS).", "state=\"on\"");
}

void tls_register_metrics(void)
{
    ASSERT(pthread_once(&metrics_once, register_all) == 0);
}

void tls_count_handshake(bool server, enum tls_result result)
{
    metric_add(handshakes[server][result], 1);
}

void tls_count_kernel(bool on)
{
    metric_add(kernel[on], 1);
}

/* ---- words ---- */

struct reason {
    int reason; /* of the library SSL */
    const char *kind, *text;
};

static const struct reason reasons[] = {
    {SSL_R_HTTP_REQUEST, "plain", "the peer speaks plain HTTP, no TLS"},
    {SSL_R_HTTPS_PROXY_REQUEST, "plain", "the peer speaks plain HTTP to a proxy, no TLS"},
    {SSL_R_WRONG_VERSION_NUMBER, "plain",
     "the peer answers with something that is not TLS (is its port a plain one?)"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "version", "the peer offers no version of TLS that is allowed here"},
    {SSL_R_UNKNOWN_PROTOCOL, "version", "the peer offers no version of TLS that is allowed here"},
    {SSL_R_NO_PROTOCOLS_AVAILABLE, "version", "no version of TLS is allowed here"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "version", "the peer allows none of our versions of TLS"},
    {SSL_R_NO_SHARED_CIPHER, "version", "no cipher in common, or neither a certificate nor a key here"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "key",
     "the peer has no pre-shared key that is known here, and there is no certificate"},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "truncated", TLS_TRUNCATED},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "certificate",
     "the peer presented no certificate, which tls.verify requires"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, "certificate",
     "the peer asks for a certificate, and we have none"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "certificate", "the peer does not trust the issuer of our certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "certificate", "the peer refuses our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "certificate", "the peer says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "certificate", "the peer refuses our certificate"},
    {SSL_R_TLSV1_ALERT_DECRYPT_ERROR, "key",
     "the peer has another key by the same name, or cannot check ours"},
    {SSL_R_BINDER_DOES_NOT_VERIFY, "key", "the peer has another key by the same name"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "protocol", "a record was altered in transit"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "protocol",
     "the peer wants a protocol (ALPN) that this port does not speak"},
};

static const struct reason *find_reason(unsigned long code)
{
    for (size_t i = 0; ERR_GET_LIB(code) == ERR_LIB_SSL && i < ARRAY_SIZE(reasons); i++) {
        if (reasons[i].reason == ERR_GET_REASON(code))
            return &reasons[i];
    }
    return NULL;
}

const char *tls_take_errors(const SSL *ssl, char *why, size_t size)
{
    unsigned long code = ERR_peek_error();
    const struct reason *reason = find_reason(code);
    const char *kind = "protocol", *text = ERR_reason_error_string(code);
    long verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;

    ERR_clear_error();
    if (reason) {
        kind = reason->kind;
        (void)snprintf(why, size, "%s", reason->text);
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        kind = "certificate";
        (void)snprintf(why, size, "the peer's certificate is refused: %s",
                       X509_verify_cert_error_string(verified));
    } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET) {
        kind = "alert";
        (void)snprintf(why, size, "the peer refuses: %s", text ? text : "no reason");
    } else if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE) {
        kind = "memory";
        (void)snprintf(why, size, "no memory");
    } else {
        (void)snprintf(why, size, "%s", text ? text : "the connection broke");
    }
    return kind;
}

bool tls_count_failure(const char *kind, uint64_t *suppressed)
{
    size_t index = 0;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i], kind) == 0)
            index = i;
    }
    metric_add(failures[index], 1);
    return log_gate_open(&gates[index], FAILURE_LOG_MS, suppressed);
}

void tls_log_failure(const char *who, const char *why, uint64_t suppressed)
{
    log_info("tls", "%s: %s (%" PRIu64 " more like it not shown)", who, why, suppressed);
}

void tls_note_failure(const char *kind, const char *who, const char *why)
{
    uint64_t suppressed;

    if (tls_count_failure(kind, &suppressed))
        tls_log_failure(who, why, suppressed);
}
