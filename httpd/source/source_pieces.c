/*
 * source_pieces: a body fetched by one relay after the other. What is known of the whole of it is here: how large the next
 * piece is to be, and whether a piece that failed is asked for again.
 */
#include "httpd/source/source_pieces.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "httpd/source/relay.h"
#include <event2/event_struct.h>
#include <stdlib.h>

#define PIECE_MIN  ((int64_t)64 * 1024) /* about what a socket that has become writable takes */
#define PIECE_MAX  ((int64_t)64 * 1024 * 1024)
#define PIECE_PART 4 /* of a second, that a piece is to last */

struct pieces {
    struct source source;          /* first */
    struct source_options options; /* of the piece under way */
    struct source *relay;          /* NULL: the next piece is begun when the client takes it */
    bool ready;                    /* the relay's first byte has been at hand */
    int64_t left;                  /* bytes of the range behind the piece under way */
    int64_t size;                  /* of the piece under way */
    int64_t began_us;

    bool moved;                  /* bytes of the range have left */
    struct client_resume resume; /* of the whole range */
    struct event timer;          /* pending: a pause */
};

static struct pieces *pieces_of(struct source *source)
{
    return CONTAINER_OF(source, struct pieces, source);
}

static bool piece_begin(struct pieces *pieces)
{
    pieces->ready = false;
    pieces->relay = relay_open(&pieces->options);
    if (!pieces->relay)
        pieces->source.error_code = ERROR_UNAVAILABLE;
    return pieces->relay;
}

/* Begins a piece of SIZE bytes behind the last one. */
static bool piece_begin_next(struct pieces *pieces, int64_t size)
{
    pieces->size = min_i64(size, pieces->left);
    pieces->options.length = pieces->size;
    pieces->left -= pieces->size;
    pieces->began_us = clock_monotonic_us();
    return piece_begin(pieces);
}

static void end_relay(struct pieces *pieces)
{
    source_close(pieces->relay);
    pieces->relay = NULL;
}

static void piece_pause_over(evutil_socket_t fd, short what, void *argument)
{
    struct pieces *pieces = argument;
    (void)fd;
    (void)what;
    /* Without memory the next call finds no relay, and tries again. */
    (void)piece_begin(pieces);
    pieces->options.wake(pieces->options.argument);
}

/* What may be over in a moment: servers that come back, a tracker that has just begun to learn of them. */
static bool may_pass(int code)
{
    return code == ERROR_NO_SERVER || code == ERROR_UNAVAILABLE || code == ERROR_CONNECTION ||
           code == ERROR_TIMEOUT || code == ERROR_EXHAUSTED;
}

/* The piece has failed. It is asked for again as long as a storage server may go without sending a byte. */
static enum source_status piece_failed(struct pieces *pieces)
{
    int64_t pause_ms;
    if (pieces->relay)
        pieces->source.error_code = pieces->relay->error_code;
    end_relay(pieces);
    if (!pieces->moved || !may_pass(pieces->source.error_code) ||
        (pause_ms = client_resume_pause(&pieces->resume, clock_monotonic_ms())) < 0)
        return SOURCE_FAILED;
    const struct timeval delay = duration_timeval(pause_ms);
    return event_add(&pieces->timer, &delay) == 0 ? SOURCE_WAIT : SOURCE_FAILED;
}

static enum source_status piece_look(struct pieces *pieces)
{
    if (!pieces->relay) /* it has failed, and nothing of it had left */
        return SOURCE_FAILED;
    enum source_status status = source_status(pieces->relay);
    if (status == SOURCE_FAILED)
        return piece_failed(pieces);
    pieces->ready = status == SOURCE_READY;
    return status;
}

/* How large the piece after the present one is to be. What the kernel holds for the client makes it look
 * faster than it is at first, hence no more than twice as large. */
static int64_t next_size(const struct pieces *pieces)
{
    int64_t size = pieces->size;
    int64_t took_us = max_i64(clock_monotonic_us() - pieces->began_us, 1);
    double pace = (double)size * (1000000.0 / PIECE_PART) / (double)took_us;
    return max_i64(pace < (double)(2 * size) ? (int64_t)pace : min_i64(2 * size, PIECE_MAX), PIECE_MIN);
}

/* Sends of the piece under way, and notes how much of it left. */
static enum source_status send_piece(struct pieces *pieces, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    int64_t before = *budget - (int64_t)http_output_pending(out);
    enum source_status status = source_send(pieces->relay, to, out, last, budget);
    int64_t sent = before - (*budget - (int64_t)http_output_pending(out));
    if (sent > 0) {
        pieces->options.offset += sent;
        pieces->options.length -= sent;
        pieces->moved = true;
    }
    return status;
}

static enum source_status pieces_send(struct source *source, struct transport to, struct http_output *out,
                                      bool last, int64_t *budget)
{
    struct pieces *pieces = pieces_of(source);
    for (;;) {
        if (event_pending(&pieces->timer, EV_TIMEOUT, NULL))
            return SOURCE_WAIT;
        if (!pieces->relay) {
            if (*budget <= 0)
                return SOURCE_MORE;
            if (!source_has_room(to.fd))
                return SOURCE_BLOCKED;
            if (!(pieces->options.length > 0 ? piece_begin(pieces)
                                             : piece_begin_next(pieces, next_size(pieces))))
                return piece_failed(pieces);
        }
        if (!pieces->ready) {
            enum source_status status = piece_look(pieces);
            if (status != SOURCE_READY)
                return status;
        }
        /* Nothing follows a piece yet: its last bytes are not to wait for more. */
        enum source_status status = send_piece(pieces, to, out, last || pieces->left > 0, budget);
        if (status == SOURCE_FAILED)
            return piece_failed(pieces);
        if (status != SOURCE_DONE || pieces->left == 0)
            return status;
        end_relay(pieces);
    }
}

static enum source_status pieces_status(const struct source *source)
{
    return piece_look(CONTAINER_OF((struct source *)(uintptr_t)source, struct pieces, source));
}

static void pieces_stalled(struct source *source)
{
    struct pieces *pieces = pieces_of(source);
    if (pieces->relay)
        source_stalled(pieces->relay);
}

static void pieces_close(struct source *source)
{
    struct pieces *pieces = pieces_of(source);
    event_del(&pieces->timer);
    end_relay(pieces);
    source_end(&pieces->source);
    free(pieces);
}

static const struct source_operations pieces_operations = {
    .status = pieces_status,
    .send = pieces_send,
    .stalled = pieces_stalled,
    .close = pieces_close,
};

struct source *source_pieces_open(const struct source_options *options)
{
    if (options->length <= SOURCE_PIECES_FIRST)
        return relay_open(options);
    struct pieces *pieces = calloc(1, sizeof(*pieces));
    if (!pieces)
        return NULL;
    source_init(&pieces->source, &pieces_operations, options);
    pieces->options = *options;
    pieces->options.length = 0;
    pieces->options.resume = &pieces->resume;
    const struct http_settings *settings = options->loop->settings;
    /* 1 ms: a body that is cut off at once is not resumed after a pause either. */
    client_resume_init(&pieces->resume, (int)settings->live.failover_tries, 1,
                       settings->live.failover_tries > 0 ? settings->live.storage_timeout_ms : 1);
    pieces->left = options->length;
    if (evtimer_assign(&pieces->timer, loop_base(options->loop->loop), piece_pause_over, pieces) != 0 ||
        !piece_begin_next(pieces, SOURCE_PIECES_FIRST)) {
        pieces_close(&pieces->source);
        return NULL;
    }
    return &pieces->source;
}
