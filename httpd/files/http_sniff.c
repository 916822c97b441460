/*
 * http_sniff: a download of the first bytes, with a limit of time of its own.
 */
#include "httpd/files/http_sniff.h"

#include "common/base/utf8.h"
#include "common/media/media_signature.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Without a byte for so long, the answer goes out with the type that is known. */
#define PATIENCE_S 2

struct http_sniff {
    struct loop *loop;
    struct client_operation *operation;
    struct packet_call *call;
    struct event event;
    http_sniff_callback callback;
    void *argument;
    int64_t size; /* of the file */
    size_t wanted, got;
    uint8_t bytes[MEDIA_SIGNATURE_BYTES];
};

void http_sniff_cancel(struct http_sniff *sniff)
{
    if (!sniff)
        return;
    if (sniff->operation)
        client_cancel(sniff->operation);
    if (event_initialized(&sniff->event))
        event_del(&sniff->event);
    if (sniff->call)
        packet_call_release(sniff->call, sniff->got == sniff->wanted);
    free(sniff);
}

static void sniff_finish(struct http_sniff *sniff)
{
    http_sniff_callback callback = sniff->callback;
    void *argument = sniff->argument;
    bool had = sniff->got == sniff->wanted;
    const char *type = media_signature_find(sniff->bytes, sniff->got);
    bool utf8 = sniff->got > 0 && utf8_valid(sniff->bytes, sniff->got, (int64_t)sniff->got == sniff->size);
    http_sniff_cancel(sniff);
    callback(argument, had, type, utf8);
}

static void sniff_readable(evutil_socket_t fd, short what, void *argument)
{
    struct http_sniff *sniff = argument;
    ssize_t got = 0;
    (void)fd;
    if ((what & EV_READ) != 0) {
        got = transport_recv(packet_call_transport(sniff->call), sniff->bytes + sniff->got,
                             sniff->wanted - sniff->got, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
    }
    if (got > 0)
        sniff->got += (size_t)got;
    if (got <= 0 || sniff->got == sniff->wanted)
        sniff_finish(sniff);
}

static void sniff_downloaded(void *argument, struct packet_call *call, const struct error *error)
{
    struct http_sniff *sniff = argument;
    struct timeval patience = {PATIENCE_S, 0};
    sniff->operation = NULL;
    if (!error && packet_call_length(call) == (int64_t)sniff->wanted) {
        size_t size;
        const uint8_t *bytes = packet_call_buffered(call, &size);
        sniff->call = call;
        sniff->got = min_size(size, sniff->wanted);
        memcpy(sniff->bytes, bytes, sniff->got);
    } else if (!error) {
        packet_call_release(call, false);
    }
    if (sniff->call && sniff->got < sniff->wanted) {
        event_assign(&sniff->event, loop_base(sniff->loop), packet_call_transport(call).fd,
                     EV_READ | EV_PERSIST, sniff_readable, sniff);
        if (event_add(&sniff->event, &patience) == 0) {
            /* What TLS has read already brings no event. */
            event_active(&sniff->event, EV_READ, 0);
            return;
        }
    }
    sniff_finish(sniff);
}

struct http_sniff *http_sniff_start(const struct http_sniff_options *options)
{
    struct http_sniff *sniff = calloc(1, sizeof(*sniff));
    if (!sniff)
        return NULL;
    sniff->loop = options->loop;
    sniff->callback = options->done;
    sniff->argument = options->argument;
    sniff->size = options->size;
    sniff->wanted = (size_t)min_i64(options->size, MEDIA_SIGNATURE_BYTES);
    sniff->operation = client_download(options->client, options->key, 0, (int64_t)sniff->wanted,
                                       options->digest, NULL, sniff_downloaded, sniff);
    if (!sniff->operation) {
        free(sniff);
        return NULL;
    }
    return sniff;
}
