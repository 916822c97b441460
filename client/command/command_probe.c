/*
 * command_probe: a socket, a deadline, and perhaps a session of TLS; nothing more.
 */
#include "client/command/command_probe.h"

#include "common/base/clock.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESSES 8
#define REPLY_MAX 2048

struct probe {
    int fd;
    int64_t end_ms; /* monotonic */
};

static bool probe_wait(const struct probe *probe, short events, struct error *error)
{
    struct pollfd watched = {.fd = probe->fd, .events = events};

    for (;;) {
        int64_t left = probe->end_ms - clock_monotonic_ms();
        int ready = left > 0 ? poll(&watched, 1, (int)min_i64(left, 1000000)) : 0;

        if (ready > 0)
            return true;
        if (ready == 0)
            return error_set(error, ERROR_TIMEOUT, "no answer in time");
        if (errno != EINTR)
            return error_set_errno(error, errno, "waiting");
    }
}

static bool probe_connect_to(struct probe *probe, const struct socket_address *to, struct error *error)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    probe->fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe->fd < 0)
        return error_set_errno(error, errno, "a socket");
    if (connect(probe->fd, (const struct sockaddr *)&to->storage, to->length) == 0)
        return true;
    if (errno != EINPROGRESS)
        return error_set_errno(error, errno, "cannot connect");
    if (!probe_wait(probe, POLLOUT, error))
        return false;
    if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    return failure == 0 || error_set_errno(error, failure, "cannot connect");
}

static void probe_close(struct probe *probe)
{
    if (probe->fd >= 0)
        (void)close(probe->fd);
    probe->fd = -1;
}

static bool probe_open(struct probe *probe, const struct address *address, int64_t timeout_ms,
                       struct error *error)
{
    struct socket_address to[ADDRESSES];
    size_t count = 0;

    probe->fd = -1;
    probe->end_ms = clock_monotonic_ms() + timeout_ms;
    if (!address_resolve(address, to, ADDRESSES, &count, error))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (probe_connect_to(probe, &to[i], error))
            return true;
        probe_close(probe);
    }
    return false;
}

static bool probe_send(const struct probe *probe, const void *bytes, size_t size, struct error *error)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        ssize_t sent = send(probe->fd, at, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN) {
            if (!probe_wait(probe, POLLOUT, error))
                return false;
        } else if (sent < 0 && errno != EINTR) {
            return error_set_errno(error, errno, "sending");
        } else if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        }
    }
    return true;
}

/* Up to SIZE bytes, fewer only at the end of the stream. -1: ERROR. */
static ssize_t probe_receive(const struct probe *probe, void *bytes, size_t size, struct error *error)
{
    size_t got = 0;

    while (got < size) {
        ssize_t now = recv(probe->fd, (uint8_t *)bytes + got, size - got, 0);

        if (now == 0)
            break;
        if (now > 0)
            got += (size_t)now;
        else if (errno == EAGAIN && !probe_wait(probe, POLLIN, error))
            return -1;
        else if (errno != EAGAIN && errno != EINTR) {
            (void)error_set_errno(error, errno, "receiving");
            return -1;
        }
    }
    return (ssize_t)got;
}

static bool probe_packet_reply(const struct probe *probe, int *code, struct error *error)
{
    uint8_t bytes[PROTO_HEADER_SIZE], body[REPLY_MAX];
    struct proto_header header;
    ssize_t got = probe_receive(probe, bytes, sizeof(bytes), error);

    if (got < 0)
        return false;
    if (got < (ssize_t)sizeof(bytes))
        return error_set(error, ERROR_CONNECTION, "the connection was closed without an answer");
    if (!proto_header_unpack(bytes, &header, error))
        return false;
    if (header.command < 100 || header.command > 102 || header.length > INT32_MAX)
        return error_set(error, ERROR_MALFORMED,
                         "the answer is not in this protocol: is this the right port?");
    *code = 0;
    if (header.status == 0)
        return true;
    got = probe_receive(probe, body, (size_t)min_i64(header.length, REPLY_MAX), error);
    if (got < 0)
        return false;
    proto_error_unpack(body, (size_t)got, error);
    *code = error->code;
    return true;
}

bool probe_packet(const struct address *address, uint8_t command, const void *body, size_t size,
                  int64_t timeout_ms, int *code, struct error *error)
{
    uint8_t header[PROTO_HEADER_SIZE];
    struct probe probe;
    bool fine = probe_open(&probe, address, timeout_ms, error);

    proto_header_pack(header, (int64_t)size, command, 0);
    fine = fine && probe_send(&probe, header, sizeof(header), error) &&
           probe_send(&probe, body, size, error) && probe_packet_reply(&probe, code, error);
    probe_close(&probe);
    return fine;
}

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT" of a head (RFC 9110 section 5.6.7). 0: there is none. */
static int64_t date_of(const char *head)
{
    const char *field = strcasestr(head, "\r\ndate:");
    struct tm when = {0};

    if (!field)
        return 0;
    field += strlen("\r\ndate:");
    field += strspn(field, " ");
    return strptime(field, "%a, %d %b %Y %H:%M:%S GMT", &when) ? (int64_t)timegm(&when) : 0;
}

bool probe_health(const struct address *address, int64_t timeout_ms, int *status, int64_t *clock,
                  struct error *error)
{
    static const char request[] = "GET /healthz HTTP/1.0\r\nHost: reel-doctor\r\nConnection: close\r\n\r\n";
    char head[REPLY_MAX];
    struct probe probe;
    bool fine = probe_open(&probe, address, timeout_ms, error) &&
                probe_send(&probe, request, sizeof(request) - 1, error);
    ssize_t got = fine ? probe_receive(&probe, head, sizeof(head) - 1, error) : -1;

    probe_close(&probe);
    if (got < 0)
        return false;
    head[got] = '\0';
    if (strncmp(head, "HTTP/1.", 7) != 0 || got < 12)
        return error_set(error, ERROR_MALFORMED, "the answer is not HTTP");
    *status = (int)strtol(head + 9, NULL, 10);
    *clock = date_of(head);
    return true;
}

/* ---- TLS ---- */

static bool probe_handshake(const struct probe *probe, SSL *session, struct error *error)
{
    for (;;) {
        int result = SSL_connect(session);

        if (result == 1)
            return true;
        switch (SSL_get_error(session, result)) {
        case SSL_ERROR_WANT_READ:
            if (!probe_wait(probe, POLLIN, error))
                return false;
            break;
        case SSL_ERROR_WANT_WRITE:
            if (!probe_wait(probe, POLLOUT, error))
                return false;
            break;
        default: {
            const char *reason = ERR_reason_error_string(ERR_peek_error());

            return error_set(error, ERROR_MALFORMED, "no TLS: %s",
                             reason ? reason : "the connection was closed");
        }
        }
    }
}

static int64_t probe_end_of(const X509 *certificate)
{
    struct tm when = {0};

    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1)
        return 0;
    return (int64_t)timegm(&when);
}

/* The server, which shows no certificate, asked for a proof that we do not have: so it does speak TLS. */
static bool wants_keys(void)
{
    int reason = ERR_GET_REASON(ERR_peek_error());

    return reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE || reason == SSL_R_TLSV13_ALERT_MISSING_EXTENSION ||
           reason == SSL_R_TLSV1_ALERT_INTERNAL_ERROR;
}

bool probe_certificate(const struct address *address, int64_t timeout_ms, int64_t *not_after,
                       struct error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *session = context ? SSL_new(context) : NULL;
    struct probe probe = {.fd = -1};
    bool fine = session ? probe_open(&probe, address, timeout_ms, error)
                        : error_set(error, ERROR_UNAVAILABLE, "no memory for TLS");

    *not_after = 0;
    ERR_clear_error();
    if (fine) {
        SSL_set_verify(session, SSL_VERIFY_NONE, NULL);
        (void)SSL_set_tlsext_host_name(session, address->host);
        fine = SSL_set_fd(session, probe.fd) == 1 && probe_handshake(&probe, session, error);
        if (fine)
            *not_after = probe_end_of(SSL_get0_peer_certificate(session));
        else
            fine = wants_keys();
        probe_close(&probe);
    }
    ERR_clear_error();
    SSL_free(session);
    SSL_CTX_free(context);
    return fine;
}
