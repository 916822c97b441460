/*
 * tls_bio: OpenSSL reads and writes a socket through this. Against its own BIO of sockets: SIGPIPE is never raised, and
 * records that belong together are gathered, so that they leave in one send(2).
 */
#include "common/transport/tls_internal.h"
#include "common/base/log.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static bool bio_may_pass(int errnum)
{
    return errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR;
}

bool tls_flush_held(struct tls *tls, int flags)
{
    while (tls->held) {
        ssize_t now = send(tls->fd, tls->held + tls->held_sent, tls->held_size - tls->held_sent,
                           MSG_NOSIGNAL | MSG_DONTWAIT | (flags & MSG_MORE));

        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0)
            return false;
        tls->held_sent += (size_t)now;
        if (tls->held_sent == tls->held_size) {
            free(tls->held);
            tls->held = NULL;
        }
    }
    return true;
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    struct tls *tls = BIO_get_data(bio);
    struct tls_scratch *scratch = tls->gathering;
    ssize_t sent;

    BIO_clear_retry_flags(bio);
    if (scratch && (size_t)size <= sizeof(scratch->records) - scratch->used) {
        memcpy(scratch->records + scratch->used, bytes, (size_t)size);
        scratch->used += (size_t)size;
        return size;
    }
    if (scratch && scratch->used > 0) { /* the rest once this has left */
        BIO_set_retry_write(bio);
        return -1;
    }
    sent = tls_flush_held(tls, 0) ? send(tls->fd, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
    if (sent < 0 && bio_may_pass(errno))
        BIO_set_retry_write(bio);
    return (int)sent;
}

static int bio_read(BIO *bio, char *bytes, int size)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t got;

    BIO_clear_retry_flags(bio);
    if (tls->drained) {
        BIO_set_retry_read(bio);
        return -1;
    }
    got = recv(tls->fd, bytes, (size_t)size, MSG_DONTWAIT);
    tls->drained = got > 0 && got < size;
    if (got < 0 && bio_may_pass(errno))
        BIO_set_retry_read(bio);
    if (got == 0 && tls->ready) {
        /* As a failure of the socket, since for an end OpenSSL composes an alert for a peer that has gone. */
        tls->cut = true;
        errno = ECONNRESET;
        return -1;
    }
    if (got == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)got;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "reel socket");
    ASSERT(method && BIO_meth_set_write(method, bio_write) == 1 && BIO_meth_set_read(method, bio_read) == 1 &&
           BIO_meth_set_ctrl(method, bio_control) == 1);
}

BIO *tls_bio_new(struct tls *tls)
{
    BIO *bio;

    ASSERT(pthread_once(&method_once, make_method) == 0);
    bio = BIO_new(method);
    if (!bio)
        return NULL;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    return bio;
}
