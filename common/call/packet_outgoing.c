/*
 * packet_outgoing: head first, then chunk after chunk, or what the caller passes on.
 */
#include "common/call/packet_outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CHUNK_SIZE (64 * 1024) /* of a streamed request body */

void packet_outgoing_init(struct packet_outgoing *out, const struct packet_exchange_options *options)
{
    *out = (struct packet_outgoing){.options = options};
    out->asking = options->asks && packet_outgoing_left(out) > 0;
}

void packet_outgoing_clear(struct packet_outgoing *out)
{
    free(out->chunk);
    out->chunk = NULL;
}

int64_t packet_outgoing_left(const struct packet_outgoing *out)
{
    bool has_content = out->options->source || out->options->pass;

    return has_content ? out->options->source_size - out->taken : 0;
}

bool packet_outgoing_is_sent(const struct packet_outgoing *out)
{
    return out->head_sent == out->options->head_size && packet_outgoing_left(out) == 0 &&
           out->chunk_sent == out->chunk_size;
}

static enum outgoing_step outgoing_send(struct packet_outgoing *out, const uint8_t *bytes, size_t size,
                                        size_t *sent, bool more)
{
    while (*sent < size) {
        ssize_t now = transport_send(out->options->socket->transport, bytes + *sent, size - *sent,
                                     MSG_NOSIGNAL | (more ? MSG_MORE : 0));

        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? OUTGOING_FULL : OUTGOING_BROKEN;
        *sent += (size_t)now;
        out->moved = true;
    }
    return OUTGOING_MORE;
}

/* GOT bytes of at most WANT came from the caller; the step's result where they came. */
static enum outgoing_step outgoing_took(struct packet_outgoing *out, int64_t got, int64_t want,
                                        enum outgoing_step step)
{
    if (got == 0 && out->resumed)
        return OUTGOING_NOTHING;
    if (got == 0) {
        out->paused = true;
        return OUTGOING_WAITS;
    }
    if (got < 0 || got > want)
        return OUTGOING_GAVE_UP;
    out->taken += got;
    out->moved = true;
    return step;
}

static enum outgoing_step outgoing_fill(struct packet_outgoing *out)
{
    size_t want = (size_t)min_i64(packet_outgoing_left(out), CHUNK_SIZE);

    if (!out->chunk)
        out->chunk = malloc(CHUNK_SIZE);
    if (!out->chunk)
        return OUTGOING_NO_MEMORY;
    out->resumed = false;
    int64_t got = out->options->source(out->options->argument, out->chunk, want);
    enum outgoing_step step = outgoing_took(out, got, (int64_t)want, OUTGOING_FILLED);
    if (step == OUTGOING_FILLED) {
        out->chunk_size = (size_t)got;
        out->chunk_sent = 0;
    }
    return step;
}

static enum outgoing_step outgoing_pass(struct packet_outgoing *out)
{
    int64_t left = packet_outgoing_left(out);

    out->resumed = false;
    int64_t got = out->options->pass(out->options->argument, out->options->socket->transport, left);
    if (got == PACKET_PASS_FULL)
        return OUTGOING_FULL;
    if (got == PACKET_PASS_BROKEN)
        return OUTGOING_BROKEN;
    return outgoing_took(out, got, left, OUTGOING_MORE);
}

enum outgoing_step packet_outgoing_step(struct packet_outgoing *out)
{
    const struct packet_exchange_options *options = out->options;
    bool more = packet_outgoing_left(out) > 0;

    out->moved = false;
    if (out->head_sent < options->head_size)
        return outgoing_send(out, options->head, options->head_size, &out->head_sent, more && !out->asking);
    if (out->asking)
        return OUTGOING_WAITS;
    if (out->chunk_sent == out->chunk_size && !more)
        return OUTGOING_SENT;
    if (options->pass)
        return outgoing_pass(out);
    if (out->chunk_sent == out->chunk_size)
        return outgoing_fill(out);
    return outgoing_send(out, out->chunk, out->chunk_size, &out->chunk_sent, more);
}
