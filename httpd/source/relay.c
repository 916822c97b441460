/*
 * relay: a body that comes from a storage server and goes to the client, spliced through a pipe or copied through a block;
 * where a server breaks off, another one of the group goes on at the next byte of the same content.
 */
#include "httpd/source/relay.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Bytes asked of the storage server's socket at once: little while the client is slow, so that what it does
 * not take holds no pipe, up to a pipe full when it keeps up. A socket that poll(2) calls writable takes this
 * much and more. */
#define BURST_MIN ((size_t)64 * 1024)

/* Files of up to so many bytes are asked for together with those of other clients of the loop: nobody waits
 * long behind them. Only those that were served within WARM_MS, which the storage server has in memory still:
 * one that it must open first would keep the others waiting. */
#define GATHER_MAX HTTP_BUFFER_COPY_SIZE
#define WARM_MS    4000

struct relay {
    struct source source;                 /* first */
    struct packet_line_request *gathered; /* bytes that are asked for together with others */
    struct client_operation *operation;   /* a download that is being opened */
    struct packet_call *call;             /* an open one; NULL once its last byte was read */
    struct transport from;                /* its socket, while there is more to read */
    struct event event;                   /* of that socket */
    bool watched;
    bool waiting; /* for the storage server: the event is to wake the connection */
    bool ready;   /* the first byte has been at hand */
    bool failed;
    bool copying; /* the kernel does not splice here, or the bytes are encrypted by us */
    bool held;    /* relay_gathered() is on the stack: it frees */
    bool closed;  /* and relay_close() was called meanwhile */

    int64_t offset;                    /* in the file, of the next byte to read */
    int64_t unread;                    /* bytes to read from the storage server */
    int64_t unsent;                    /* bytes of the range to hand to the client */
    struct client_resume own, *resume; /* whether another server goes on */
    struct address dead;               /* who broke off */

    /* What is read and not sent: bytes that came with the reply's head, then those in the pipe or the block.
     */
    const uint8_t *head;
    size_t head_left;
    struct http_pipe *pipe;
    size_t piped;
    char *block;
    size_t block_start, block_end;
    size_t burst;
};

static struct relay *relay_of(struct source *source)
{
    return CONTAINER_OF(source, struct relay, source);
}

/* ---- the storage server's side ---- */

static void relay_unwatch(struct relay *relay)
{
    if (relay->watched)
        event_del(&relay->event);
    relay->watched = false;
    relay->waiting = false;
}

static void relay_release_call(struct relay *relay, bool reusable)
{
    relay_unwatch(relay);
    packet_call_release(relay->call, reusable);
    relay->call = NULL;
    relay->head = NULL;
    relay->head_left = 0;
}

static void relay_fail(struct relay *relay, int code, const char *why)
{
    log_warning("relay", "c%" PRIu64 ": %s/%s/%s: cannot read past byte %" PRId64 ": %s",
                relay->source.connection_id, relay->source.file->key.application,
                relay->source.file->key.user, relay->source.file->key.file, relay->offset, why);
    relay->failed = true;
    relay->source.error_code = code;
}

static void relay_opened(void *argument, struct packet_call *call, const struct error *error);

/* What every byte of the response is of: a file that was replaced meanwhile is never mixed in. */
static const uint8_t *relay_digest(const struct relay *relay)
{
    return relay->source.file->stat.has_digest ? relay->source.file->stat.digest : NULL;
}

static bool relay_begin_download(struct relay *relay, const struct address *avoid)
{
    relay->operation = client_download(relay->source.loop->client, &relay->source.file->key, relay->offset,
                                       relay->unread, relay_digest(relay), avoid, relay_opened, relay);
    client_name_request(relay->operation, &relay->source.request);
    if (!relay->operation)
        relay_fail(relay, ERROR_UNAVAILABLE, "no memory");
    return relay->operation;
}

/* What the client's socket did not take of bytes that are only lent: they are kept. */
static void relay_keep_lent(struct relay *relay)
{
    if (relay->head_left == 0)
        return;
    relay->block = http_buffers_take(&relay->source.loop->buffers, HTTP_BUFFER_COPY);
    if (relay->block) {
        memcpy(relay->block, relay->head, relay->head_left);
        relay->block_end = relay->head_left;
    } else {
        relay_fail(relay, ERROR_UNAVAILABLE, "no memory");
    }
    relay->head = NULL;
    relay->head_left = 0;
}

static void relay_gathered(void *argument, const uint8_t *body, size_t size)
{
    struct relay *relay = argument;
    relay->gathered = NULL;
    if (!body) {
        relay->source.file->served_ms = 0;
        if (!relay_begin_download(relay, NULL))
            relay->source.wake(relay->source.argument);
        return;
    }
    relay->source.file->served_ms = clock_coarse_ms();
    relay->head = body;
    relay->head_left = size;
    relay->offset += (int64_t)size;
    relay->unread = 0;
    relay->ready = true;
    relay->held = true;
    relay->source.wake(relay->source.argument);
    relay->held = false;
    if (relay->closed)
        free(relay);
    else
        relay_keep_lent(relay);
}

/* The present server is of no more use: another one goes on at the next byte. */
static void relay_broken(struct relay *relay, int code, const char *why)
{
    char text[ADDRESS_TEXT_SIZE];
    relay->dead = *packet_call_address(relay->call);
    address_format(&relay->dead, text, sizeof(text));
    relay_release_call(relay, false);
    if (!client_resume_at_once(relay->resume)) {
        relay_fail(relay, code, why);
        return;
    }
    log_warning("relay",
                "c%" PRIu64 ": %s/%s/%s: %s broke off at byte %" PRId64 ": %s; trying another server",
                relay->source.connection_id, relay->source.file->key.application,
                relay->source.file->key.user, relay->source.file->key.file, text, relay->offset, why);
    metric_add(relay->source.loop->metrics->failovers, 1);
    (void)relay_begin_download(relay, &relay->dead);
}

static void relay_readable(evutil_socket_t fd, short what, void *argument)
{
    struct relay *relay = argument;
    (void)fd;
    (void)what;
    if (!relay->waiting)
        return;
    relay->waiting = false;
    relay->source.wake(relay->source.argument);
}

static void relay_opened(void *argument, struct packet_call *call, const struct error *error)
{
    struct relay *relay = argument;
    relay->operation = NULL;
    if (error) {
        relay_fail(relay, error->code, error->text);
        if (error->code == ERROR_DIGEST) /* it is another file by now */
            http_lookup_forget(relay->source.loop->lookup, &relay->source.file->key);
    } else {
        relay->call = call;
        relay->head = packet_call_buffered(call, &relay->head_left);
        relay->head_left = min_size(relay->head_left, (size_t)relay->unread);
        relay->unread -= (int64_t)relay->head_left;
        relay->offset += (int64_t)relay->head_left;
        if (relay->head_left > 0)
            client_resume_moved(relay->resume, (int64_t)relay->head_left);
        relay->source.file->served_ms = clock_coarse_ms();
        if (relay->unread > 0)
            relay->from = packet_call_transport(call);
        relay->ready = true;
    }
    relay->source.wake(relay->source.argument);
}

/* Waits for the storage server's socket. The event is edge-triggered: it has just said EAGAIN. */
static enum source_status wait_for_storage(struct relay *relay)
{
    if (!relay->watched) {
        event_assign(&relay->event, loop_base(relay->source.loop->loop), relay->from.fd,
                     EV_READ | EV_ET | EV_PERSIST, relay_readable, relay);
        if (event_add(&relay->event, NULL) != 0) {
            relay_release_call(relay, false);
            relay_fail(relay, ERROR_UNAVAILABLE, "its socket cannot be watched");
            return SOURCE_FAILED;
        }
        relay->watched = true;
    }
    relay->waiting = true;
    return SOURCE_WAIT;
}

/* ---- from there to here ---- */

static void relay_drop_holders(struct relay *relay)
{
    http_pipes_give(&relay->source.loop->pipes, relay->pipe, relay->piped == 0);
    relay->pipe = NULL;
    relay->piped = 0;
    http_buffers_give(&relay->source.loop->buffers, HTTP_BUFFER_COPY, relay->block);
    relay->block = NULL;
    relay->block_start = relay->block_end = 0;
}

static bool relay_take_holder(struct relay *relay)
{
    if (relay->pipe || relay->block)
        return true;
    if (!relay->copying && transport_gives_splice(relay->from))
        relay->pipe = http_pipes_take(&relay->source.loop->pipes);
    if (!relay->pipe)
        relay->block = http_buffers_take(&relay->source.loop->buffers, HTTP_BUFFER_COPY);
    return relay->pipe || relay->block;
}

static ssize_t read_some(struct relay *relay, size_t size)
{
    ssize_t got;
    if (relay->pipe) {
        got = splice(relay->from.fd, NULL, relay->pipe->write_end, NULL,
                     min_size(size, relay->pipe->capacity), SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (got > 0)
            relay->piped = (size_t)got;
        return got;
    }
    got = transport_recv(relay->from, relay->block, min_size(size, HTTP_BUFFER_COPY_SIZE), 0);
    if (got > 0) {
        relay->block_start = 0;
        relay->block_end = (size_t)got;
    }
    return got;
}

/* Nothing that was read waits to be sent: fetches more, at most BUDGET bytes. SOURCE_READY: there is
 * something to send now. */
static enum source_status relay_fetch(struct relay *relay, int64_t budget)
{
    for (;;) {
        if (!relay_take_holder(relay)) {
            relay_release_call(relay, false);
            relay_fail(relay, ERROR_UNAVAILABLE, "no memory");
            return SOURCE_FAILED;
        }
        size_t wanted = (size_t)min_i64(min_i64((int64_t)relay->burst, budget), relay->unread);
        ssize_t got = read_some(relay, wanted);
        if (got > 0) {
            relay->unread -= got;
            relay->offset += got;
            client_resume_moved(relay->resume, got);
            if ((size_t)got == relay->burst && relay->pipe)
                relay->burst = min_size(relay->burst * 2, max_size(relay->pipe->capacity, BURST_MIN));
            /* The connection is free for others before the client has everything. */
            if (relay->unread == 0)
                relay_release_call(relay, true);
            return SOURCE_READY;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EINVAL || errno == ENOSYS) && relay->pipe) {
            relay->copying = true;
            relay_drop_holders(relay);
            continue;
        }
        relay_drop_holders(relay);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return wait_for_storage(relay);
        relay_broken(relay, ERROR_CONNECTION, got == 0 ? "the connection was closed" : strerror(errno));
        return relay->failed ? SOURCE_FAILED : SOURCE_WAIT;
    }
}

/* ---- from here to the client ---- */

static enum source_status relay_send_failed(struct relay *relay)
{
    relay->burst = BURST_MIN;
    return errno == EAGAIN || errno == EWOULDBLOCK ? SOURCE_BLOCKED : SOURCE_GONE;
}

static void note_sent(struct relay *relay, size_t size, int64_t *budget)
{
    relay->unsent -= (int64_t)size;
    *budget -= (int64_t)size;
}

static struct iovec memory_piece(const void *base, size_t offset, size_t size)
{
    if (size == 0)
        return (struct iovec){NULL, 0};
    return (struct iovec){(char *)(uintptr_t)base + offset, size};
}

/* What lies in memory, in one call: the response's head, the bytes that came with the reply's head, and the
 * block. */
static enum source_status relay_send_memory(struct relay *relay, struct transport to, struct http_output *out,
                                            bool last, int64_t *budget)
{
    for (;;) {
        size_t in_block = relay->block_end - relay->block_start;
        struct iovec parts[3] = {
            memory_piece(out->bytes, out->start, http_output_pending(out)),
            memory_piece(relay->head, 0, relay->head_left),
            memory_piece(relay->block, relay->block_start, in_block),
        };
        size_t size = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
        if (size == 0)
            break;
        bool more = relay->unsent > (int64_t)(relay->head_left + in_block)
                        ? in_block == 0 || in_block >= HTTP_BUFFER_COPY_SIZE
                        : !last;
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        ssize_t sent = transport_sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return relay_send_failed(relay);
        size_t of_output = min_size((size_t)sent, parts[0].iov_len);
        size_t of_head = min_size((size_t)sent - of_output, relay->head_left);
        size_t of_block = (size_t)sent - of_output - of_head;
        out->start += (uint32_t)of_output;
        *budget -= (int64_t)of_output;
        relay->head += of_head;
        relay->head_left -= of_head;
        relay->block_start += of_block;
        relay->source.corked = more;
        if (of_block > 0)
            metric_add(relay->source.loop->metrics->copied, (int64_t)of_block);
        note_sent(relay, of_head + of_block, budget);
    }
    if (relay->call && relay->unread == 0) {
        relay_release_call(relay, true);
    } else if (relay->call && relay->head) {
        packet_call_forget_buffered(relay->call);
        relay->head = NULL;
    }
    return SOURCE_READY;
}

static enum source_status send_pipe(struct relay *relay, struct transport to, bool last, int64_t *budget)
{
    while (relay->piped > 0) {
        /* What follows comes at once only where the storage server's socket had more than was asked for. */
        bool more = relay->unsent > (int64_t)relay->piped ? relay->piped >= BURST_MIN : !last;
        ssize_t sent = transport_splice(to, relay->pipe->read_end, relay->piped,
                                        SPLICE_F_NONBLOCK | SPLICE_F_MOVE | (more ? SPLICE_F_MORE : 0));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return relay_send_failed(relay);
        relay->piped -= (size_t)sent;
        relay->source.corked = more;
        metric_add(relay->source.loop->metrics->spliced, sent);
        note_sent(relay, (size_t)sent, budget);
    }
    return SOURCE_READY;
}

/* The little that is missing from a small body is there as a rule: then all of it leaves in one call, and no
 * pipe is needed. Whatever goes wrong here shows again when it is fetched. */
static void fetch_small_rest(struct relay *relay)
{
    if (!relay->call || relay->head_left == 0 || relay->unread == 0 ||
        relay->unread > (int64_t)HTTP_BUFFER_COPY_SIZE || relay->block || relay->pipe)
        return;
    relay->block = http_buffers_take(&relay->source.loop->buffers, HTTP_BUFFER_COPY);
    if (!relay->block)
        return;
    ssize_t got = transport_recv(relay->from, relay->block, (size_t)relay->unread, MSG_DONTWAIT);
    if (got <= 0) {
        relay_drop_holders(relay);
        return;
    }
    relay->block_end = (size_t)got;
    relay->unread -= got;
    relay->offset += got;
}

static enum source_status relay_send(struct source *source, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    struct relay *relay = relay_of(source);
    relay->copying = relay->copying || !transport_takes_splice(to);
    fetch_small_rest(relay);
    for (;;) {
        enum source_status status = relay_send_memory(relay, to, out, last, budget);
        if (status == SOURCE_READY)
            status = send_pipe(relay, to, last, budget);
        if (status != SOURCE_READY)
            return status;
        if (relay->unsent == 0)
            return SOURCE_DONE;
        if (relay->failed)
            return SOURCE_FAILED;
        if (!relay->call)
            return SOURCE_WAIT; /* another server is being asked */
        if (*budget <= 0) {
            relay_drop_holders(relay);
            return SOURCE_MORE;
        }
        /* Nothing is fetched that the client would not take: else it would have to be kept here. */
        if (!source_has_room(to.fd)) {
            relay->burst = BURST_MIN;
            relay_drop_holders(relay);
            return SOURCE_BLOCKED;
        }
        status = relay_fetch(relay, *budget);
        if (status != SOURCE_READY)
            return status;
    }
}

/* ---- the interface ---- */

static enum source_status relay_status(const struct source *source)
{
    const struct relay *relay = CONTAINER_OF(source, const struct relay, source);
    if (relay->failed)
        return SOURCE_FAILED;
    return relay->ready ? SOURCE_READY : SOURCE_WAIT;
}

static void relay_stalled(struct source *source)
{
    struct relay *relay = relay_of(source);
    if (relay->call)
        relay_broken(relay, ERROR_TIMEOUT, "no byte came in time");
}

static void relay_close(struct source *source)
{
    struct relay *relay = relay_of(source);
    if (relay->gathered)
        packet_line_cancel(relay->gathered);
    if (relay->operation)
        client_cancel(relay->operation);
    if (relay->call)
        relay_release_call(relay, false);
    relay_drop_holders(relay);
    metric_add(relay->source.loop->metrics->relays, -1);
    source_end(&relay->source);
    relay->closed = true;
    if (!relay->held)
        free(relay);
}

static const struct source_operations relay_operations = {
    .status = relay_status,
    .send = relay_send,
    .stalled = relay_stalled,
    .close = relay_close,
};

struct source *relay_open(const struct source_options *options)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay)
        return NULL;
    source_init(&relay->source, &relay_operations, options);
    relay->offset = options->offset;
    relay->unread = options->length;
    relay->unsent = options->length;
    relay->burst = BURST_MIN;
    client_resume_init(&relay->own, (int)relay->source.loop->settings->live.failover_tries, 1, 0);
    relay->resume = options->resume ? options->resume : &relay->own;
    metric_add(relay->source.loop->metrics->relays, 1);
    if (relay->source.file->stat.size <= (int64_t)GATHER_MAX &&
        clock_coarse_ms() - relay->source.file->served_ms < WARM_MS)
        relay->gathered = client_fetch(relay->source.loop->client, &relay->source.file->key, relay->offset,
                                       (size_t)options->length, relay_digest(relay), &relay->source.request,
                                       relay_gathered, relay);
    if (!relay->gathered && !relay_begin_download(relay, NULL)) {
        relay_close(&relay->source);
        return NULL;
    }
    return &relay->source;
}
