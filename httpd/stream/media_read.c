/*
 * media_read: first the local way, then the storage servers. Pieces with little between them are fetched by one request.
 */
#include "httpd/stream/media_read.h"
#include "client/core/client_resume.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/file/file_window.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define GAP_MAX     ((int64_t)64 * 1024)        /* between pieces that one request fetches */
#define REQUEST_MAX ((int64_t)16 * 1024 * 1024) /* bytes of one request, unless a piece has more */
#define CHUNK       ((size_t)64 * 1024) /* what is received at a time where it is not the pieces alone */
#define TURN                                                                                                 \
    ((int64_t)32 * 1024) /* what is received before others have their turn: films are read side by side */

/* What a worker does. Outlives the reading where that is cancelled. */
struct local_job {
    struct job job;
    struct media_read *owner; /* NULL: nobody waits any more */
    struct local_files *files;
    struct open_file *file; /* held */
    uint8_t *bytes;
    struct mp4_piece *pieces;
    size_t count;
    int errnum; /* 0: all was read */
};

struct media_read {
    struct http_loop *loop;
    struct http_lookup_file *file;
    media_read_callback callback;
    void *argument;
    struct mp4_piece *pieces;
    size_t count;
    uint8_t *bytes;
    size_t size;

    struct local_opening *opening;
    struct local_job *local; /* then EVENT is its timer */

    struct client_operation *operation;
    struct packet_call *call;
    struct event event; /* of the call's socket; or at once, for an error to be reported from the loop */
    bool watched;
    struct client_resume resume;
    struct address dead;
    bool has_dead;
    size_t piece;    /* that the next byte of interest is in */
    size_t filled;   /* bytes that are there */
    int64_t at, end; /* of the request under way: the next byte to come, and where it ends */
    uint8_t *chunk;
    struct error error;
};

static void media_read_read_free(struct media_read *read)
{
    if (read->opening)
        local_files_cancel(read->opening);
    if (read->local)
        read->local->owner = NULL;
    if (read->operation)
        client_cancel(read->operation);
    if (read->watched)
        event_del(&read->event);
    if (read->call)
        packet_call_release(read->call, false);
    http_lookup_file_release(read->file);
    free(read->pieces);
    free(read->bytes);
    free(read->chunk);
    free(read);
}

void media_read_cancel(struct media_read *read)
{
    if (read)
        media_read_read_free(read);
}

static void read_succeed(struct media_read *read)
{
    media_read_callback callback = read->callback;
    void *argument = read->argument;
    uint8_t *bytes = read->bytes;
    size_t size = read->size;
    read->bytes = NULL;
    media_read_read_free(read);
    callback(argument, bytes, size, NULL);
}

static void read_fail(struct media_read *read, int code, const char *text)
{
    struct error error;
    media_read_callback callback = read->callback;
    void *argument = read->argument;
    /* Of a film they would say that it cannot be streamed; here they are of a storage server that makes no sense. */
    if (code == ERROR_MALFORMED || code == ERROR_UNKNOWN_COMMAND)
        code = ERROR_CONNECTION;
    if (code == ERROR_DIGEST) /* it is another file by now */
        http_lookup_forget(read->loop->lookup, &read->file->key);
    (void)error_set(&error, code, "%s", text);
    media_read_read_free(read);
    callback(argument, NULL, 0, &error);
}

/* ---- from a storage server ---- */

static bool fetch_begin(struct media_read *read);

static void fetch_on_error(evutil_socket_t fd, short what, void *argument)
{
    struct media_read *read = argument;
    (void)fd;
    (void)what;
    read->watched = false;
    struct error error = read->error;
    read_fail(read, error.code, error.text);
}

/* From inside a starter: the callback comes in the next round. */
static void fail_later(struct media_read *read, int code, const char *text)
{
    const struct timeval now = {0, 0};
    (void)error_set(&read->error, code, "%s", text);
    event_assign(&read->event, loop_base(read->loop->loop), -1, EV_TIMEOUT, fetch_on_error, read);
    read->watched = event_add(&read->event, &now) == 0;
    if (!read->watched)
        log_error("media", "cannot arm a timer: a request for a stream is not answered");
}

static void release_call(struct media_read *read, bool reusable)
{
    if (read->watched)
        event_del(&read->event);
    read->watched = false;
    packet_call_release(read->call, reusable);
    read->call = NULL;
}

static void fetch_broken(struct media_read *read, int code, const char *why)
{
    read->dead = *packet_call_address(read->call);
    read->has_dead = true;
    release_call(read, false);
    if (!client_resume_at_once(&read->resume) || !fetch_begin(read)) {
        read_fail(read, code, why);
        return;
    }
    metric_add(read->loop->metrics->failovers, 1);
}

/* SIZE bytes of the file at AT have come: those that belong to pieces are kept. */
static void fetch_take(struct media_read *read, const uint8_t *bytes, int64_t size)
{
    int64_t begin = read->at, end = read->at + size;
    while (read->piece < read->count) {
        const struct mp4_piece *piece = &read->pieces[read->piece];
        int64_t from = max_i64(piece->offset, begin), to = min_i64(piece->offset + piece->size, end);
        if (from >= to || piece->offset >= end)
            break;
        const uint8_t *source = bytes + (from - begin);
        if (source != read->bytes + read->filled)
            memmove(read->bytes + read->filled, source, (size_t)(to - from));
        read->filled += (size_t)(to - from);
        if (to < piece->offset + piece->size)
            break;
        read->piece++;
    }
    read->at = end;
    client_resume_moved(&read->resume, size);
}

static int64_t piece_left(const struct media_read *read)
{
    const struct mp4_piece *piece = &read->pieces[read->piece];
    return read->at < piece->offset ? 0 : piece->offset + piece->size - read->at;
}

/* Where the next bytes are received: in their place where they are many of one piece. */
static uint8_t *fetch_place(struct media_read *read)
{
    return read->piece < read->count && piece_left(read) >= (int64_t)CHUNK ? read->bytes + read->filled
                                                                           : read->chunk;
}

static void fetch_next(struct media_read *read)
{
    if (read->at < read->end) {
        /* Others have their turn. What TLS has decrypted already brings no event. */
        if (read->call && transport_pending(packet_call_transport(read->call)))
            event_active(&read->event, EV_READ, 0);
        return;
    }
    release_call(read, true);
    if (read->piece == read->count)
        read_succeed(read);
    else if (!fetch_begin(read))
        read_fail(read, ERROR_UNAVAILABLE, "no memory");
}

static void fetch_readable(evutil_socket_t fd, short what, void *argument)
{
    struct media_read *read = argument;
    (void)fd;
    if ((what & EV_READ) == 0) {
        fetch_broken(read, ERROR_TIMEOUT, "the storage server sent no byte in time");
        return;
    }
    const int64_t turn_end = min_i64(read->end, read->at + TURN);
    while (read->at < turn_end) {
        uint8_t *to = fetch_place(read);
        int64_t room = to == read->chunk ? (int64_t)CHUNK : piece_left(read);
        ssize_t got = transport_recv(packet_call_transport(read->call), to,
                                     (size_t)min_i64(room, turn_end - read->at), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (got <= 0) {
            fetch_broken(read, ERROR_CONNECTION, got == 0 ? "the connection was closed" : strerror(errno));
            return;
        }
        fetch_take(read, to, got);
    }
    fetch_next(read);
}

static void fetch_opened(void *argument, struct packet_call *call, const struct error *error)
{
    struct media_read *read = argument;
    const struct timeval patience = duration_timeval(read->loop->settings->live.storage_timeout_ms);
    read->operation = NULL;
    if (error) {
        read_fail(read, error->code, error->text);
        return;
    }
    size_t size;
    const uint8_t *bytes = packet_call_buffered(call, &size);
    read->call = call;
    size = (size_t)min_i64((int64_t)size, read->end - read->at);
    if (size > 0)
        fetch_take(read, bytes, (int64_t)size);
    if (read->at < read->end) {
        event_assign(&read->event, loop_base(read->loop->loop), packet_call_transport(call).fd,
                     EV_READ | EV_PERSIST, fetch_readable, read);
        read->watched = event_add(&read->event, &patience) == 0;
        if (!read->watched)
            read_fail(read, ERROR_UNAVAILABLE, "the storage server's socket cannot be watched");
        else /* what TLS has read already brings no event */
            event_active(&read->event, EV_READ, 0);
        return;
    }
    fetch_next(read);
}

/* The pieces from the present one on that one request is for. */
static void fetch_measure(struct media_read *read)
{
    const struct mp4_piece *piece = &read->pieces[read->piece];
    size_t before = 0; /* bytes of the pieces before this one */
    for (size_t i = 0; i < read->piece; i++)
        before += (size_t)read->pieces[i].size;
    read->at = piece->offset + (int64_t)(read->filled - before);
    read->end = piece->offset + piece->size;
    for (size_t i = read->piece + 1; i < read->count; i++) {
        const struct mp4_piece *next = &read->pieces[i];
        if (next->offset < read->end || next->offset - read->end > GAP_MAX ||
            next->offset + next->size - read->at > REQUEST_MAX)
            break;
        read->end = next->offset + next->size;
    }
}

static bool fetch_begin(struct media_read *read)
{
    const struct http_lookup_file *file = read->file;
    if (!read->chunk)
        read->chunk = malloc(CHUNK);
    if (!read->chunk)
        return false;
    fetch_measure(read);
    read->operation = client_download(read->loop->client, &file->key, read->at, read->end - read->at,
                                      file->stat.has_digest ? file->stat.digest : NULL,
                                      read->has_dead ? &read->dead : NULL, fetch_opened, read);
    return read->operation;
}

static void fetch_instead(struct media_read *read, const char *why)
{
    log_info("media", "%s/%s: %s; a storage server is asked", read->file->volume->directory,
             read->file->place, why);
    metric_add(read->loop->metrics->local_failures, 1);
    if (!fetch_begin(read))
        fail_later(read, ERROR_UNAVAILABLE, "no memory");
}

/* ---- from a volume of this machine ---- */

static void local_run(struct job *job)
{
    struct local_job *local = CONTAINER_OF(job, struct local_job, job);
    size_t filled = 0;
    for (size_t i = 0; i < local->count; i++) {
        size_t size = (size_t)local->pieces[i].size;
        ssize_t got = file_window_read(local->file->fd, local->pieces[i].offset, local->bytes + filled, size);
        if (got != (ssize_t)size) {
            local->errnum = got < 0 ? errno : ENODATA;
            return;
        }
        filled += size;
    }
}

static void local_done(struct job *job)
{
    struct local_job *local = CONTAINER_OF(job, struct local_job, job);
    struct media_read *read = local->owner;
    int errnum = local->errnum;
    local_files_release(local->files, local->file);
    if (read) {
        event_del(&read->event);
        read->watched = false;
        read->local = NULL;
        read->bytes = local->bytes;
        local->bytes = NULL;
    }
    free(local->bytes);
    free(local->pieces);
    free(local);
    if (!read)
        return;
    if (errnum == 0)
        read_succeed(read);
    else
        fetch_instead(read, errnum == ENODATA ? "the file has become shorter" : strerror(errnum));
}

/* The disk may hang for good: what the worker writes to stays its own. */
static void local_hangs(evutil_socket_t fd, short what, void *argument)
{
    struct media_read *read = argument;
    (void)fd;
    (void)what;
    read->watched = false;
    read->local->owner = NULL;
    read->local = NULL;
    read->bytes = malloc(read->size);
    if (read->bytes)
        fetch_instead(read, "reading it takes too long");
    else
        read_fail(read, ERROR_UNAVAILABLE, "no memory");
}

/* For LOCAL, which has all it needs but a time limit. */
static bool local_submit(struct media_read *read, struct local_job *local)
{
    const struct timeval patience = duration_timeval(LOCAL_HANG_MS);
    memcpy(local->pieces, read->pieces, read->count * sizeof(*local->pieces));
    event_assign(&read->event, loop_base(read->loop->loop), -1, EV_TIMEOUT, local_hangs, read);
    if (event_add(&read->event, &patience) != 0)
        return false;
    read->watched = workers_submit(read->file->volume->bulk, &local->job);
    if (!read->watched)
        event_del(&read->event);
    return read->watched;
}

static void local_read(struct media_read *read, struct open_file *file)
{
    struct local_job *local = calloc(1, sizeof(*local));
    if (local) {
        *local = (struct local_job){.job = {.run = local_run, .done = local_done, .loop = read->loop->loop},
                                    .owner = read,
                                    .files = read->loop->local_files,
                                    .file = file,
                                    .bytes = read->bytes,
                                    .pieces = malloc(read->count * sizeof(*local->pieces)),
                                    .count = read->count};
        if (local->pieces && local_submit(read, local)) {
            read->local = local;
            read->bytes = NULL; /* the job's until it is done */
            return;
        }
        free(local->pieces);
    }
    free(local);
    local_files_release(read->loop->local_files, file);
    fetch_instead(read, "too many calls wait for its disk");
}

static void local_opened(void *argument, struct open_file *file, const struct error *error)
{
    struct media_read *read = argument;
    read->opening = NULL;
    if (file)
        local_read(read, file);
    else
        fetch_instead(read, error->text);
}

static void local_begin(struct media_read *read)
{
    struct http_lookup_file *file = read->file;
    struct error error = {0};
    struct open_file *open =
        local_files_find(read->loop->local_files, file->volume, file->place, &file->hint);
    if (open) {
        local_read(read, open);
        return;
    }
    if (local_volume_hangs(file->volume))
        (void)error_set(&error, ERROR_TIMEOUT, "the volume hangs");
    else
        read->opening = local_files_open(read->loop->local_files, file->volume, file->place, file->stat.size,
                                         local_opened, read, &error);
    if (!read->opening)
        fetch_instead(read, error.text);
}

struct media_read *media_read_start(struct http_loop *loop, struct http_lookup_file *file,
                                    const struct mp4_piece *pieces, size_t count,
                                    media_read_callback callback, void *argument)
{
    struct media_read *read = calloc(1, sizeof(*read));
    ASSERT(count > 0);
    if (!read)
        return NULL;
    read->loop = loop;
    read->file = http_lookup_file_take(file);
    read->callback = callback;
    read->argument = argument;
    read->count = count;
    for (size_t i = 0; i < count; i++)
        read->size += (size_t)pieces[i].size;
    read->pieces = malloc(count * sizeof(*pieces));
    read->bytes = malloc(read->size);
    if (!read->pieces || !read->bytes) {
        media_read_read_free(read);
        return NULL;
    }
    memcpy(read->pieces, pieces, count * sizeof(*pieces));
    client_resume_init(&read->resume, (int)loop->settings->live.failover_tries, 1, 0);
    if (file->volume) {
        local_begin(read);
    } else if (!fetch_begin(read)) {
        media_read_read_free(read);
        return NULL;
    }
    return read;
}
