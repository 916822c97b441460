/*
 * tls: handshake, reading, sending and the end of one connection. Records are made in the thread's buffer, several at a time,
 * and go out in one call; the first call's are few, so that a slow client's are.
 */
#include "common/transport/tls_internal.h"
#include "common/base/address.h"
#include "common/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* Far below what one key of AES-GCM may encrypt (RFC 8446 section 5.5: 2^24.5 records). */
#define KEY_CONTENT_MAX (UINT64_C(8) << 30)

#define BINDING_LABEL "EXPORTER-Channel-Binding" /* RFC 9266 section 4.2 */

/* ---- failure ---- */

static const char *describe_peer(int fd, char *buffer, size_t size)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof(storage);
    struct address peer;

    if (getpeername(fd, (struct sockaddr *)&storage, &length) == 0 &&
        address_from_socket((const struct sockaddr *)&storage, length, &peer))
        return address_format(&peer, buffer, size);
    (void)snprintf(buffer, size, "a peer");
    return buffer;
}

/* The connection is no longer usable: every further call says so. */
static void tls_break(struct tls *tls, int errnum)
{
    char who[ADDRESS_TEXT_SIZE], why[ERROR_TEXT_SIZE];
    const char *kind = "truncated";
    uint64_t suppressed;

    tls->broken = errnum;
    tls->quiet = true;
    if (ERR_peek_error() != 0)
        kind = tls_take_errors(tls->ssl, why, sizeof(why));
    else if (tls->cut)
        (void)snprintf(why, sizeof(why), TLS_TRUNCATED);
    else
        return; /* the socket's own failure: whoever calls reports it */
    if (tls_count_failure(kind, &suppressed))
        tls_log_failure(describe_peer(tls->fd, who, sizeof(who)), why, suppressed);
}

static ssize_t tls_fail_with(int errnum)
{
    errno = errnum;
    return -1;
}

/* ---- handshake ---- */

static void handshake_is_over(struct tls *tls)
{
    BIO *own;

    tls->ready = true;
    tls->more = SSL_has_pending(tls->ssl) == 1;
    if (!SSL_session_reused(tls->ssl))
        tls->psk_identity[0] = '\0'; /* it was offered, and a certificate was taken */
    tls->kernel_sends = BIO_get_ktls_send(SSL_get_wbio(tls->ssl));
    if (tls->set)
        tls_count_kernel(tls->kernel_sends);
    tls_count_handshake(tls->set != NULL, SSL_session_reused(tls->ssl) && !tls->psk_identity[0]
                                              ? TLS_RESULT_RESUMED
                                              : TLS_RESULT_FULL);
    /* The system's BIO was there for kTLS. */
    if (!tls->kernel_sends && BIO_method_type(SSL_get_wbio(tls->ssl)) == BIO_TYPE_SOCKET &&
        (own = tls_bio_new(tls)))
        SSL_set0_wbio(tls->ssl, own);
}

static bool flush_records(struct tls *tls, struct tls_scratch *scratch, size_t size, int flags);

/* One step of OpenSSL's. What it says goes out in one piece: a server's two tickets, too. As SSL_do_handshake(3), and 0 with *ERRNUM
 * where the socket failed. */
static int handshake_step(struct tls *tls, int *errnum)
{
    struct tls_scratch *scratch = tls_scratch(); /* NULL: one by one */
    int result;

    errno = 0;
    if (scratch)
        scratch->used = 0;
    tls->gathering = scratch;
    result = SSL_do_handshake(tls->ssl);
    *errnum = errno;
    tls->gathering = NULL;
    tls->drained = false;
    if (!scratch || scratch->used == 0 || flush_records(tls, scratch, 0, 0) || !tls->broken)
        return result;
    *errnum = tls->broken;
    if (result != 1 || !tls->set || (*errnum != EPIPE && *errnum != ECONNRESET))
        return 0;
    /* As OpenSSL has it: who has closed his end and takes no tickets may have sent a request before. */
    tls->broken = 0;
    tls->quiet = false;
    return 1;
}

/* ERRNUM counts where OpenSSL has nothing to say. */
static enum tls_progress handshake_failed(struct tls *tls, int errnum, struct error *error)
{
    char why[ERROR_TEXT_SIZE];

    tls->broken = ECONNRESET;
    tls->quiet = true;
    tls_count_handshake(tls->set != NULL, TLS_RESULT_FAILED);
    if (ERR_peek_error() == 0) {
        (void)error_set(error, ERROR_CONNECTION, "TLS: %s",
                        errnum != 0 ? strerrordesc_np(errnum) : "the connection was closed");
        return TLS_FAILED;
    }
    tls->kind = tls_take_errors(tls->ssl, why, sizeof(why));
    (void)error_set(error, ERROR_CONNECTION, "TLS: %s", why);
    return TLS_FAILED;
}

enum tls_progress tls_handshake(struct tls *tls, struct error *error)
{
    int result, errnum = 0, wants;

    if (tls->ready)
        return TLS_READY;
    ERR_clear_error();
    if (!tls_flush_held(tls, 0))
        return errno == EAGAIN || errno == EWOULDBLOCK ? TLS_WANTS_WRITE
                                                       : handshake_failed(tls, errno, error);
    result = handshake_step(tls, &errnum);
    wants = tls->broken ? SSL_ERROR_SYSCALL : SSL_get_error(tls->ssl, result);
    if (wants != SSL_ERROR_NONE && wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE)
        return handshake_failed(tls, errnum, error);
    if (tls->held || wants == SSL_ERROR_WANT_WRITE)
        return TLS_WANTS_WRITE;
    if (wants == SSL_ERROR_WANT_READ)
        return TLS_WANTS_READ;
    handshake_is_over(tls);
    return TLS_READY;
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->held || SSL_want_write(tls->ssl);
}

const char *tls_failure_kind(const struct tls *tls)
{
    return tls->kind ? tls->kind : "truncated";
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    /* Else OpenSSL would call the session unfit to be resumed. */
    SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(tls->ssl);
    ERR_clear_error();
    tls_set_release(tls->set);
    free(tls->held);
    free(tls);
}

/* ---- reading ---- */

/* Reads once. 0: there is no more now; `ended`, `broken` or errno EAGAIN say why. */
static size_t read_once(struct tls *tls, void *bytes, size_t size, bool peek)
{
    size_t got = 0;
    int result;

    ERR_clear_error();
    errno = 0;
    result = peek ? SSL_peek_ex(tls->ssl, bytes, size, &got) : SSL_read_ex(tls->ssl, bytes, size, &got);
    if (result == 1)
        return got;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    case SSL_ERROR_ZERO_RETURN:
        tls->ended = true;
        break;
    default:
        tls_break(tls, ECONNRESET);
        break;
    }
    return 0;
}

/* Behind what was read: the socket, or a record that came with it. */
static bool may_give_more(const struct tls *tls)
{
    return !tls->drained || SSL_has_pending(tls->ssl) == 1;
}

ssize_t tls_recv(struct tls *tls, void *bytes, size_t size, int flags)
{
    struct tls_scratch *scratch = NULL;
    size_t total = 0, got = 0;

    tls->more = false;
    if (tls->ended || size == 0)
        return 0;
    if (tls->broken)
        return tls_fail_with(tls->broken);
    if ((flags & MSG_TRUNC) != 0 && !(scratch = tls_scratch()))
        return tls_fail_with(ENOMEM);
    do {
        uint8_t *to = scratch ? scratch->content : (uint8_t *)bytes + total;

        got = read_once(tls, to, scratch ? min_size(size - total, TLS_BATCH_SIZE) : size - total,
                        (flags & MSG_PEEK) != 0);
        total += got;
    } while (got > 0 && total < size && (flags & MSG_PEEK) == 0 && may_give_more(tls));
    tls->drained = false;
    if (total == 0 && tls->ended)
        return 0;
    if (total == 0)
        return tls_fail_with(tls->broken ? tls->broken : EAGAIN);
    tls->more = tls->ended || tls->broken || (total == size && SSL_has_pending(tls->ssl) == 1);
    return (ssize_t)total;
}

bool tls_pending(const struct tls *tls)
{
    return tls->more;
}

/* ---- sending ---- */

/* Bytes of several parts, in their order. */
struct tls_parts {
    const struct iovec *parts;
    size_t count;
    size_t offset; /* in the first one */
};

static void parts_skip(struct tls_parts *parts, size_t size)
{
    while (parts->count > 0 && size >= parts->parts->iov_len - parts->offset) {
        size -= parts->parts->iov_len - parts->offset;
        parts->offset = 0;
        parts->parts++;
        parts->count--;
    }
    parts->offset += size;
}

/* The next SIZE bytes in one piece: as they lie, or copied to BUFFER. */
static const uint8_t *parts_take(struct tls_parts *parts, size_t size, uint8_t *buffer)
{
    size_t done = 0;

    while (parts->count > 0 && parts->parts->iov_len == parts->offset)
        parts_skip(parts, 0);
    if (parts->count > 0 && parts->parts->iov_len - parts->offset >= size) {
        const uint8_t *at = (const uint8_t *)parts->parts->iov_base + parts->offset;

        parts_skip(parts, size);
        return at;
    }
    while (done < size) {
        size_t now = min_size(size - done, parts->parts->iov_len - parts->offset);

        if (now > 0)
            memcpy(buffer + done, (const uint8_t *)parts->parts->iov_base + parts->offset, now);
        done += now;
        parts_skip(parts, now);
    }
    return buffer;
}

/* A key of TLS 1.3 encrypts so much and no more; 1.2 counts far enough. */
static void renew_key(struct tls *tls, size_t size)
{
    tls->sent += size;
    if (tls->sent < KEY_CONTENT_MAX)
        return;
    tls->sent = 0;
    if (SSL_version(tls->ssl) == TLS1_3_VERSION)
        (void)SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    ERR_clear_error();
}

/* How much to encrypt for one send(2): what the socket has room for below its limit of unsent bytes (TCP_NOTSENT_LOWAT), so
 * that little of it is left to be held. */
static size_t room_of(const struct tls *tls)
{
    int unsent = 0, limit = 0;
    socklen_t size = sizeof(limit);

    if (getsockopt(tls->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, &size) != 0 || limit <= 0 ||
        ioctl(tls->fd, SIOCOUTQNSD, &unsent) != 0)
        return TLS_BATCH_SIZE;
    if (unsent >= limit - (int)TLS_RECORD_SIZE)
        return TLS_RECORD_SIZE;
    return min_size((size_t)(limit - unsent), TLS_BATCH_SIZE);
}

/* The same of LEFT bytes. There is always room for a record. */
static size_t batch_of(const struct tls *tls, size_t left)
{
    return left <= TLS_RECORD_SIZE ? left : min_size(left, room_of(tls));
}

/* Encrypts one record's content into SCRATCH. */
static bool encrypt(struct tls *tls, struct tls_scratch *scratch, const uint8_t *bytes, size_t size)
{
    size_t written = 0;
    int result;

    ERR_clear_error();
    errno = 0;
    tls->gathering = scratch;
    result = SSL_write_ex(tls->ssl, bytes, size, &written);
    tls->gathering = NULL;
    if (result != 1 || written != size) {
        tls_break(tls, ECONNRESET);
        return false;
    }
    renew_key(tls, size);
    return true;
}

/* Sends the records of SIZE bytes of content. False: not all of them, and the rest is held; or the connection broke. */
static bool flush_records(struct tls *tls, struct tls_scratch *scratch, size_t size, int flags)
{
    size_t sent = 0;

    while (sent < scratch->used) {
        ssize_t now = send(tls->fd, scratch->records + sent, scratch->used - sent,
                           MSG_NOSIGNAL | MSG_DONTWAIT | (flags & MSG_MORE));

        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            tls_break(tls, errno);
            return false;
        }
        if (now < 0)
            break;
        sent += (size_t)now;
    }
    if (sent == scratch->used)
        return true;
    tls->held_size = scratch->used - sent;
    tls->held_sent = 0;
    tls->held = malloc(tls->held_size);
    if (!tls->held) {
        tls_break(tls, ENOMEM);
        return false;
    }
    memcpy(tls->held, scratch->records + sent, tls->held_size);
    tls->ahead = size;
    return false;
}

/* What every way of sending begins with: what is held goes out, and counts now. False: errno says why nothing can be sent.
 * *TAKEN: how many of the SIZE bytes offered are out by that. */
static bool send_begins(struct tls *tls, size_t size, int flags, size_t *taken)
{
    *taken = 0;
    if (tls->broken) {
        errno = tls->broken;
        return false;
    }
    if (tls->held && !tls_flush_held(tls, flags)) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            tls_break(tls, errno);
        return false;
    }
    *taken = min_size(tls->ahead, size);
    tls->ahead -= *taken;
    return true;
}

/* The result of a call that got TOTAL bytes out and stopped. */
static ssize_t send_ends(const struct tls *tls, size_t total)
{
    if (total > 0)
        return (ssize_t)total;
    return tls_fail_with(tls->broken ? tls->broken : EAGAIN);
}

/* One batch of SIZE bytes. */
static bool send_batch(struct tls *tls, struct tls_scratch *scratch, struct tls_parts *parts, size_t size,
                       int flags)
{
    size_t done = 0;

    scratch->used = 0;
    while (done < size) {
        size_t now = min_size(size - done, TLS_RECORD_SIZE);

        if (!encrypt(tls, scratch, parts_take(parts, now, scratch->content), now))
            return false;
        done += now;
    }
    return flush_records(tls, scratch, size, flags);
}

/* Counts what the kernel took, and returns it. */
static ssize_t count_sent(struct tls *tls, ssize_t sent)
{
    if (sent > 0)
        tls->sent += (uint64_t)sent;
    return sent;
}

ssize_t tls_send(struct tls *tls, const struct iovec *parts, size_t count, int flags)
{
    struct tls_parts left = {parts, count, 0};
    struct tls_scratch *scratch;
    size_t size = 0, total;

    if (tls->kernel_sends) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};

        return count_sent(tls, sendmsg(tls->fd, &message, flags | MSG_NOSIGNAL));
    }
    for (size_t i = 0; i < count; i++)
        size += parts[i].iov_len;
    if (!send_begins(tls, size, flags, &total))
        return -1;
    scratch = tls_scratch();
    if (!scratch)
        return tls_fail_with(ENOMEM);
    parts_skip(&left, total);
    while (total < size) {
        size_t now = batch_of(tls, size - total);

        if (!send_batch(tls, scratch, &left, now, total + now < size ? flags | MSG_MORE : flags))
            return send_ends(tls, total);
        total += now;
    }
    return (ssize_t)total;
}

ssize_t tls_sendfile(struct tls *tls, int file, off_t *offset, size_t size)
{
    struct tls_scratch *scratch;
    size_t total;

    if (tls->kernel_sends)
        return count_sent(tls, sendfile(tls->fd, file, offset, size));
    if (!send_begins(tls, size, 0, &total))
        return -1;
    *offset += (off_t)total;
    scratch = tls_scratch();
    if (!scratch)
        return tls_fail_with(ENOMEM);
    while (total < size) {
        ssize_t got = pread(file, scratch->content, batch_of(tls, size - total), *offset);
        struct iovec part = {scratch->content, (size_t)max_i64(got, 0)};
        struct tls_parts parts = {&part, 1, 0};

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return total > 0 ? (ssize_t)total : got;
        if (!send_batch(tls, scratch, &parts, (size_t)got, 0))
            return send_ends(tls, total);
        total += (size_t)got;
        *offset += got;
    }
    return (ssize_t)total;
}

ssize_t tls_splice(struct tls *tls, int pipe_end, size_t size, unsigned flags)
{
    ASSERT(tls->kernel_sends);
    return count_sent(tls, splice(pipe_end, NULL, tls->fd, NULL, size, flags));
}

bool tls_kernel_sends(const struct tls *tls)
{
    return tls->kernel_sends;
}

bool tls_is_worn(const struct tls *tls)
{
    return tls->kernel_sends && tls->sent >= KEY_CONTENT_MAX;
}

void tls_say_end(struct tls *tls)
{
    if (tls->quiet || !tls->ready)
        return;
    tls->quiet = true;
    ERR_clear_error();
    /* Once: whether the peer says the same is not waited for. */
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

/* ---- about it ---- */

bool tls_binding(struct tls *tls, uint8_t binding[TLS_BINDING_SIZE])
{
    bool fine = tls->ready && SSL_export_keying_material(tls->ssl, binding, TLS_BINDING_SIZE, BINDING_LABEL,
                                                         sizeof(BINDING_LABEL) - 1, NULL, 0, 1) == 1;

    ERR_clear_error();
    return fine;
}

const char *tls_psk_identity(const struct tls *tls)
{
    return tls->psk_identity;
}

static bool name_from_altnames(X509 *certificate, char name[TLS_NAME_SIZE])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);
        int length = one->type == GEN_DNS ? ASN1_STRING_length(one->d.dNSName) : 0;

        if (length <= 0 || length >= TLS_NAME_SIZE ||
            memchr(ASN1_STRING_get0_data(one->d.dNSName), '\0', (size_t)length))
            continue;
        memcpy(name, ASN1_STRING_get0_data(one->d.dNSName), (size_t)length);
        name[length] = '\0';
        found = true;
    }
    GENERAL_NAMES_free(names);
    return found;
}

void tls_peer_name(const struct tls *tls, char name[TLS_NAME_SIZE])
{
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);

    name[0] = '\0';
    if (!certificate)
        return;
    if (SSL_get_verify_result(tls->ssl) == X509_V_OK && !name_from_altnames(certificate, name) &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, TLS_NAME_SIZE) <
            0)
        name[0] = '\0';
    X509_free(certificate);
    ERR_clear_error();
}

char *tls_describe(const struct tls *tls, char *buffer, size_t size)
{
    (void)snprintf(buffer, size, "%s, %s", SSL_get_version(tls->ssl), SSL_get_cipher_name(tls->ssl));
    return buffer;
}
