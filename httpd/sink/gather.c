/*
 * gather: bytes are fetched block by block, taken apart, and what is content goes to the piece.
 */
#include "httpd/sink/gather.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EPILOGUE_MAX                                                                                         \
    ((size_t)64 * 1024) /* bytes behind a form's end, which are dropped (RFC 2046 section 5.1.1) */

/* Returns false. */
static bool gather_complain(struct gather *gather, int code, const char *text)
{
    (void)error_set(&gather->error, code, "%s", text);
    gather->complaint = text;
    return false;
}

/* ---- what comes from the client ---- */

static void gather_wait(struct gather *gather)
{
    if (!gather->waiting)
        gather->waiting_since_ms = clock_coarse_ms();
    gather->waiting = true;
}

/* From the socket, or with the head. */
static void gather_count(struct gather *gather, size_t size)
{
    metric_add(gather->options.loop->metrics->received, (int64_t)size);
    metric_add(gather->options.loop->metrics->received_copied, (int64_t)size);
}

static void gather_note_received(struct gather *gather, size_t size)
{
    if (gather->waiting)
        gather->waited_ms += clock_coarse_ms() - gather->waiting_since_ms;
    gather->waiting = false;
    gather->received += (int64_t)size;
    gather_count(gather, size);
}

/* Up to SIZE bytes of the body, framing included, into BUFFER. How many; 0: not yet; -1: the client is gone. */
static int64_t gather_fetch(struct gather *gather, void *buffer, size_t size)
{
    size_t in_memory = gather->options.memory_size - gather->memory_taken;
    size_t wanted = (size_t)min_i64(http_body_least(&gather->body), (int64_t)size);
    ssize_t got;
    if (in_memory > 0) {
        size_t taken = min_size(wanted, in_memory);
        memcpy(buffer, gather->options.memory + gather->memory_taken, taken);
        gather->memory_taken += taken;
        gather_count(gather, taken);
        return (int64_t)taken;
    }
    do {
        got = transport_recv(gather->options.from, buffer, wanted, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        gather_note_received(gather, (size_t)got);
        return got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        gather_wait(gather);
        return 0;
    }
    gather->gone = true;
    (void)gather_complain(gather, ERROR_CONNECTION, "the client disconnected within its content");
    return -1;
}

/* ---- pieces ---- */

static void piece_give(struct gather *gather)
{
    if (gather->piece_capacity > GATHER_PIECE_FIRST)
        gather->options.loop->piece_bytes -= gather->piece_capacity - GATHER_PIECE_FIRST;
    free(gather->piece);
    gather->piece = NULL;
    gather->piece_size = gather->piece_capacity = 0;
}

/* Bytes that fit behind the piece. What a form's parser kept back of a delimiter that was none comes beside what is read. */
static size_t piece_room(const struct gather *gather)
{
    size_t kept = gather->form ? sizeof(gather->form->delimiter) : 0, used = gather->piece_size + kept;
    return gather->piece_capacity > used ? gather->piece_capacity - used : 0;
}

/* False: the piece is full, and stays so. */
static bool piece_has_room(struct gather *gather)
{
    struct http_loop *loop = gather->options.loop;
    size_t capacity = gather->piece_capacity, larger = capacity == 0 ? GATHER_PIECE_FIRST : capacity * 4;
    if (piece_room(gather) > 0)
        return true;
    if (larger > GATHER_PIECE_MAX ||
        (capacity > 0 && loop->piece_bytes + (larger - capacity) > GATHER_PIECES_MAX))
        return false;
    char *piece = realloc(gather->piece, larger);
    if (!piece)
        return false;
    if (capacity > 0)
        loop->piece_bytes += larger - capacity;
    gather->piece = piece;
    gather->piece_capacity = larger;
    return true;
}

static void take_content(struct gather *gather, struct http_text content)
{
    memcpy(gather->piece + gather->piece_size, content.bytes, content.size);
    gather->piece_size += content.size;
    gather->content += (int64_t)content.size;
    if (gather->digest)
        digest_update(gather->digest, content.bytes, content.size);
    if (gather->hash)
        content_hash_update(gather->hash, content.bytes, content.size);
}

/* RUN is part of the form. */
static bool take_form(struct gather *gather, struct http_text run)
{
    while (run.size > 0 && !gather->form_over) {
        struct http_text content;
        switch (multipart_next(gather->form, &run, &content)) {
        case MULTIPART_CONTENT:
            take_content(gather, content);
            break;
        case MULTIPART_MORE:
        case MULTIPART_PART_END:
            break;
        case MULTIPART_END:
            gather->form_over = true;
            break;
        case MULTIPART_PART:
            return gather_complain(gather, ERROR_MALFORMED, "the file must be the last part of the form");
        case MULTIPART_BROKEN:
            return gather_complain(gather, ERROR_MALFORMED, "the form is malformed");
        }
    }
    gather->epilogue += run.size;
    if (gather->epilogue > EPILOGUE_MAX)
        return gather_complain(gather, ERROR_MALFORMED, "more than 64 KiB follow the end of the form");
    return true;
}

/* RAW is part of the body and no longer than the room of the piece. */
static bool take_raw(struct gather *gather, const char *raw, size_t size)
{
    while (size > 0) {
        struct http_text content;
        size_t used;
        enum http_body_state state = http_body_content(&gather->body, raw, size, &used, &content);
        if (state == HTTP_BODY_BROKEN) {
            gather->broken = true;
            return gather_complain(gather, ERROR_MALFORMED, "the chunks of the request's body are malformed");
        }
        if (gather->form && !take_form(gather, content))
            return false;
        if (!gather->form)
            take_content(gather, content);
        raw += used;
        size -= used;
    }
    if (gather->options.size_max > 0 && gather->content > gather->options.size_max)
        return gather_complain(gather, ERROR_RANGE, "the file is larger than this server takes");
    return true;
}

bool gather_is_right(struct gather *gather)
{
    gather->ended = true;
    if (gather->form && !gather->form_over)
        return gather_complain(gather, ERROR_MALFORMED, "the form ends inside its last part");
    if (!gather->hash || content_hash_is(gather->hash, gather->expected))
        return true;
    return gather_complain(gather, ERROR_DIGEST, "the content does not match the stated digest");
}

enum gather_result gather_piece(struct gather *gather)
{
    struct http_buffers *buffers = &gather->options.loop->buffers;
    char *block = http_buffers_take(buffers, HTTP_BUFFER_COPY);
    bool fine = true;
    int64_t got = 1;
    if (!block)
        return GATHER_NO_MEMORY;
    while (fine && got > 0 && http_body_least(&gather->body) > 0 && piece_has_room(gather)) {
        size_t room = min_size(piece_room(gather), HTTP_BUFFER_COPY_SIZE);
        got = gather_fetch(gather, block, room);
        fine = got >= 0 && take_raw(gather, block, (size_t)got);
    }
    http_buffers_give(buffers, HTTP_BUFFER_COPY, block);
    if (fine && got == 0)
        return GATHER_WAITS;
    if (fine && gather->piece_capacity == 0 && http_body_least(&gather->body) > 0)
        return GATHER_NO_MEMORY;
    if (fine && http_body_least(&gather->body) == 0)
        fine = gather_is_right(gather);
    return fine ? GATHER_PIECE : GATHER_FAILED;
}

int64_t gather_stream(struct gather *gather, void *buffer, size_t size)
{
    int64_t got = gather_fetch(gather, buffer, size);
    if (got <= 0)
        return got;
    gather->body.left -= got;
    gather->body.total += got;
    if (gather->hash) {
        content_hash_update(gather->hash, buffer, (size_t)got);
        digest_update(gather->digest, buffer, (size_t)got);
    }
    return got;
}

/* ---- for whoever sends it ---- */

int64_t gather_send(struct gather *gather, void *buffer, size_t size)
{
    size_t taken = min_size(size, gather->piece_size - gather->piece_sent);
    memcpy(buffer, gather->piece + gather->piece_sent, taken);
    gather->piece_sent += taken;
    return (int64_t)taken;
}

void gather_drop(struct gather *gather, size_t count)
{
    if (count < gather->piece_size)
        memmove(gather->piece, gather->piece + count, gather->piece_size - count);
    gather->piece_size -= count;
}

/* ---- beginning and end ---- */

bool gather_open(struct gather *gather, const struct gather_options *options)
{
    bool fine = true;
    gather->options = *options;
    gather->options.body = NULL;
    gather->options.form = NULL;
    gather->options.hash = NULL;
    gather->body = *options->body;
    if (options->hash) {
        gather->hash = content_hash_create(options->hash_kind);
        fine = gather->hash != NULL;
        memcpy(gather->expected, options->hash, content_hash_size(options->hash_kind));
    }
    if (options->hash || options->digests) {
        gather->digest = digest_create();
        fine = fine && gather->digest;
    }
    if (options->form) {
        gather->form = malloc(sizeof(*gather->form));
        fine = fine && gather->form;
        if (gather->form)
            *gather->form = *options->form;
    }
    return fine;
}

void gather_close(struct gather *gather)
{
    piece_give(gather);
    free(gather->form);
    digest_destroy(gather->digest);
    content_hash_destroy(gather->hash);
}
