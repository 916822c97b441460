#include "httpd/source_pieces.h"
#include "common/clock.h"
#include "httpd/relay.h"
#include <stdlib.h>

#define PIECE_MIN  ((int64_t)64 * 1024) /* about what a socket that has become writable takes */
#define PIECE_MAX  ((int64_t)64 * 1024 * 1024)
#define PIECE_PART 4 /* of a second, that a piece is to last */

struct pieces {
    struct source source;          /* first */
    struct source_options options; /* of the piece under way; with a reference to the file */
    struct source *relay;          /* NULL: the next piece is begun when the client takes it */
    bool ready;                    /* the relay's first byte has been at hand */
    int64_t left;                  /* bytes of the range behind the piece under way */
    int64_t began_us;
};

static struct pieces *pieces_of(struct source *source)
{
    return CONTAINER_OF(source, struct pieces, source);
}

static enum source_status look(struct pieces *pieces)
{
    enum source_status status = source_status(pieces->relay);
    if (status == SOURCE_FAILED)
        pieces->source.error_code = pieces->relay->error_code;
    pieces->ready = status == SOURCE_READY;
    return status;
}

/* Begins a piece of SIZE bytes behind the last one. */
static bool begin(struct pieces *pieces, int64_t size)
{
    pieces->options.offset += pieces->options.length;
    pieces->options.length = min_i64(size, pieces->left);
    pieces->left -= pieces->options.length;
    pieces->began_us = clock_monotonic_us();
    pieces->ready = false;
    pieces->relay = relay_open(&pieces->options);
    if (pieces->relay == NULL)
        pieces->source.error_code = ERROR_UNAVAILABLE;
    return pieces->relay != NULL;
}

/* How large the piece after the present one is to be. What the kernel holds for the client makes it look
 * faster than it is at first, hence no more than twice as large. */
static int64_t next_size(const struct pieces *pieces)
{
    int64_t size = pieces->options.length;
    int64_t took_us = max_i64(clock_monotonic_us() - pieces->began_us, 1);
    double pace = (double)size * (1000000.0 / PIECE_PART) / (double)took_us;
    return max_i64(pace < (double)(2 * size) ? (int64_t)pace : min_i64(2 * size, PIECE_MAX), PIECE_MIN);
}

static void end_relay(struct pieces *pieces)
{
    source_close(pieces->relay);
    pieces->relay = NULL;
}

static enum source_status pieces_send(struct source *source, int socket, struct http_output *out, bool last,
                                      int64_t *budget)
{
    struct pieces *pieces = pieces_of(source);
    for (;;) {
        if (pieces->relay == NULL) {
            if (*budget <= 0)
                return SOURCE_MORE;
            if (!source_has_room(socket))
                return SOURCE_BLOCKED;
            if (!begin(pieces, next_size(pieces)))
                return SOURCE_FAILED;
        }
        if (!pieces->ready) {
            enum source_status status = look(pieces);
            if (status != SOURCE_READY)
                return status;
        }
        /* Nothing is at hand behind a piece: its last bytes are not to wait for more. */
        enum source_status status = source_send(pieces->relay, socket, out, last || pieces->left > 0, budget);
        if (status == SOURCE_FAILED)
            pieces->source.error_code = pieces->relay->error_code;
        if (status != SOURCE_DONE || pieces->left == 0)
            return status;
        end_relay(pieces);
    }
}

static enum source_status pieces_status(const struct source *source)
{
    return look(CONTAINER_OF((struct source *)(uintptr_t)source, struct pieces, source));
}

static void pieces_stalled(struct source *source)
{
    struct pieces *pieces = pieces_of(source);
    if (pieces->relay != NULL)
        source_stalled(pieces->relay);
}

static void pieces_close(struct source *source)
{
    struct pieces *pieces = pieces_of(source);
    end_relay(pieces);
    http_lookup_file_release(pieces->options.file);
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
    if (pieces == NULL)
        return NULL;
    pieces->source.operations = &pieces_operations;
    pieces->options = *options;
    pieces->options.length = 0;
    pieces->left = options->length;
    http_lookup_file_take(options->file);
    if (!begin(pieces, SOURCE_PIECES_FIRST)) {
        pieces_close(&pieces->source);
        return NULL;
    }
    return &pieces->source;
}
