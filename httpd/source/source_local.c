/*
 * source_local: a body that lies on this machine: from memory, by sendfile, or read by a worker where the file system does
 * not say what is cached; at the byte that cannot be read a relay goes on.
 */
#include "httpd/source/source_local.h"
#include "common/file/file_window.h"
#include "common/base/log.h"
#include "httpd/files/local_files.h"
#include "httpd/source/source_pieces.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What a worker brings into the page cache at a time: beyond it the kernel reads ahead by itself. */
#define WARM_SIZE ((int64_t)256 * 1024)

/* Where the file system does not say what is cached, a worker reads into memory: more at a time while the
 * client takes all of it. What a slow one leaves is not kept but read again, so that it costs no memory while
 * it is waited for. */
#define BLOCK_MIN ((int64_t)64 * 1024)

/* A read that a worker does. Outlives the source where that ends meanwhile. */
struct local_read {
    struct job job;
    struct local_source *owner; /* NULL: nobody waits any more */
    struct local_files *files;
    struct open_file *file; /* held */
    int64_t offset;
    size_t size;
    bool keep;   /* the bytes are wanted, not only to have them cached */
    char *bytes; /* KEEP */
    ssize_t got;
    int errnum;
};

struct local_source {
    struct source source; /* first */
    struct source *relay; /* has taken over */
    struct local_opening *opening;
    struct open_file *open; /* held */
    struct local_read *reading;
    bool failed;

    int64_t offset;  /* in the file, of the next byte to send */
    int64_t left;    /* bytes of the range to hand to the client */
    int64_t warm_to; /* up to here a worker has just read */
    char *block;     /* bytes at OFFSET where the file system does not say */
    size_t block_start, block_end;
    int64_t block_size; /* of the next one */
};

static struct local_source *local_of(struct source *source)
{
    return CONTAINER_OF(source, struct local_source, source);
}

/* ---- from here to a storage server ---- */

static void let_go(struct local_source *local)
{
    if (local->opening)
        local_files_cancel(local->opening);
    local->opening = NULL;
    if (local->reading)
        local->reading->owner = NULL;
    local->reading = NULL;
    if (local->open)
        local_files_release(local->source.loop->local_files, local->open);
    local->open = NULL;
    free(local->block);
    local->block = NULL;
}

/* The file cannot be read here from OFFSET on. */
static void local_hand_over(struct local_source *local, const char *why)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    const struct local_volume *volume = local->source.file->volume;
    if (log_gate_open(&gate, 1000, &suppressed))
        log_warning("local",
                    "c%" PRIu64 ": %s/%s of group %s: %s; reading from a storage server from byte %" PRId64
                    " on (%" PRIu64 " alike not logged)",
                    local->source.connection_id, volume->directory, local->source.file->place, volume->group,
                    why, local->offset, suppressed);
    metric_add(local->source.loop->metrics->local_failures, 1);
    if (local->open)
        local_files_forget(local->source.loop->local_files, local->open);
    let_go(local);
    struct source_options options = {.loop = local->source.loop,
                                     .file = local->source.file,
                                     .offset = local->offset,
                                     .length = local->left,
                                     .connection_id = local->source.connection_id,
                                     .request = local->source.request,
                                     .wake = local->source.wake,
                                     .argument = local->source.argument};
    local->relay = source_pieces_open(&options);
    if (!local->relay) {
        local->failed = true;
        local->source.error_code = ERROR_UNAVAILABLE;
    }
}

/* The status after local_hand_over() in the middle of a body. */
static enum source_status handed_over(struct local_source *local)
{
    return local->failed ? SOURCE_FAILED : SOURCE_WAIT;
}

/* ---- opening ---- */

static void local_source_opened(void *argument, struct open_file *file, const struct error *error)
{
    struct local_source *local = argument;
    local->opening = NULL;
    local->open = file;
    if (!file)
        local_hand_over(local, error->text);
    if (file || local->failed)
        local->source.wake(local->source.argument);
}

static void local_open(struct local_source *local)
{
    struct http_lookup_file *file = local->source.file;
    struct error error = {0};
    local->open = local_files_find(local->source.loop->local_files, file->volume, file->place, &file->hint);
    if (local->open)
        return;
    if (local_volume_hangs(file->volume))
        (void)error_set(&error, ERROR_TIMEOUT, "the volume hangs");
    else
        local->opening = local_files_open(local->source.loop->local_files, file->volume, file->place,
                                          file->stat.size, local_source_opened, local, &error);
    if (!local->opening)
        local_hand_over(local, error.text);
}

/* ---- reading on a worker ---- */

static void read_run(struct job *job)
{
    struct local_read *read = CONTAINER_OF(job, struct local_read, job);
    char *bytes = malloc(read->size);
    if (!bytes) {
        read->errnum = ENOMEM;
        return;
    }
    read->got = file_window_read(read->file->fd, read->offset, bytes, read->size);
    read->errnum = read->got < 0 ? errno : read->got == 0 ? ENODATA : 0;
    if (read->keep && read->got > 0)
        read->bytes = bytes;
    else
        free(bytes);
}

static void read_done(struct job *job)
{
    struct local_read *read = CONTAINER_OF(job, struct local_read, job);
    struct local_source *local = read->owner;
    local_files_release(read->files, read->file);
    if (!local) {
        free(read->bytes);
    } else {
        local->reading = NULL;
        if (read->errnum != 0) {
            local_hand_over(local,
                            read->errnum == ENODATA ? "the file has become shorter" : strerror(read->errnum));
        } else if (read->keep) {
            local->block = read->bytes;
            local->block_start = 0;
            local->block_end = (size_t)read->got;
        } else {
            local->warm_to = read->offset + read->got;
        }
    }
    free(read);
    if (local)
        local->source.wake(local->source.argument);
}

/* BUDGET: what may be sent, for more need not be there. */
static enum source_status read_on_worker(struct local_source *local, int64_t budget)
{
    struct local_read *read = calloc(1, sizeof(*read));
    const char *why = "no memory";
    if (read) {
        bool keep = local->open->cannot_tell;
        *read = (struct local_read){
            .job = {.run = read_run, .done = read_done, .loop = local->source.loop->loop},
            .owner = local,
            .files = local->source.loop->local_files,
            .file = local->open,
            .offset = local->offset,
            .size = (size_t)min_i64(local->left, keep ? min_i64(local->block_size, budget) : WARM_SIZE),
            .keep = keep,
        };
        if (workers_submit(local->source.file->volume->workers, &read->job)) {
            local_files_take(local->source.loop->local_files, local->open);
            local->reading = read;
            return SOURCE_WAIT;
        }
        free(read);
        why = "too many calls wait for its disk";
    }
    local_hand_over(local, why);
    return handed_over(local);
}

static bool window_is_cached(struct local_source *local, int64_t window)
{
    struct open_file *open = local->open;
    return (!open->cannot_tell && local->warm_to > local->offset) ||
           file_window_is_cached(open->fd, local->offset, window, &open->cannot_tell);
}

/* ---- to the client ---- */

static enum source_status local_send_failed(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? SOURCE_BLOCKED : SOURCE_GONE;
}

/* Sends the head and SIZE bytes of the body from memory. *SENT_BODY: how many of the body's left. */
static enum source_status local_send_memory(struct local_source *local, struct transport to,
                                            struct http_output *out, const char *bytes, size_t size,
                                            bool more, size_t *sent_body, int64_t *budget)
{
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    size_t pending = http_output_pending(out);
    ssize_t sent;
    *sent_body = 0;
    if (pending > 0)
        parts[message.msg_iovlen++] = (struct iovec){out->bytes + out->start, pending};
    if (size > 0)
        parts[message.msg_iovlen++] = (struct iovec){(char *)(uintptr_t)bytes, size};
    if (message.msg_iovlen == 0)
        return SOURCE_READY;
    do {
        sent = transport_sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return local_send_failed();
    size_t of_head = min_size((size_t)sent, pending);
    *sent_body = (size_t)sent - of_head;
    out->start += (uint32_t)of_head;
    local->offset += (int64_t)*sent_body;
    local->left -= (int64_t)*sent_body;
    local->source.corked = more;
    *budget -= sent;
    return (size_t)sent == pending + size ? SOURCE_READY : SOURCE_BLOCKED;
}

/* The bytes of a small body if they are at hand without waiting for a disk; else NULL. */
static const char *small_bytes(struct local_source *local)
{
    struct local_files *files = local->source.loop->local_files;
    struct open_file *open = local->open;
    if (open->bytes)
        return (const char *)open->bytes + local->offset;
    char *scratch = local_files_scratch(files);
    ssize_t got =
        file_window_read_cached(open->fd, local->offset, scratch, (size_t)local->left, &open->cannot_tell);
    if (got != local->left)
        return NULL;
    if (got == local->source.file->stat.size)
        local_files_keep(files, open, scratch, (size_t)got);
    return scratch;
}

/* A small body whose bytes are at hand leaves with its head. SOURCE_READY: it is not one, or everything left.
 */
static enum source_status send_small(struct local_source *local, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    const char *bytes = small_bytes(local);
    size_t sent;
    if (!bytes)
        return SOURCE_READY;
    enum source_status status =
        local_send_memory(local, to, out, bytes, (size_t)local->left, !last, &sent, budget);
    metric_add(local->source.loop->metrics->copied, (int64_t)sent);
    return status;
}

static enum source_status send_block(struct local_source *local, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    size_t size = local->block_end - local->block_start, sent;
    bool more = local->left == (int64_t)size && !last;
    enum source_status status =
        local_send_memory(local, to, out, local->block + local->block_start, size, more, &sent, budget);
    metric_add(local->source.loop->metrics->copied, (int64_t)sent);
    local->block_start += sent;
    if (local->block_start == local->block_end)
        local->block_size = min_i64(local->block_size * 2, FILE_WINDOW_SIZE);
    else
        local->block_size = BLOCK_MIN;
    if (local->block_start == local->block_end || status == SOURCE_BLOCKED) {
        free(local->block);
        local->block = NULL;
    }
    return status;
}

/* SOURCE_READY: all of it left. */
static enum source_status send_window(struct local_source *local, struct transport to, int64_t size,
                                      int64_t *budget)
{
    struct file_window window = {
        .to = to, .fd = local->open->fd, .offset = local->offset, .size = (size_t)size};
    file_window_send(&window);
    if (window.sent > 0) {
        local->offset += (int64_t)window.sent;
        local->left -= (int64_t)window.sent;
        local->source.corked = false;
        *budget -= (int64_t)window.sent;
        metric_add(local->source.loop->metrics->sendfiled, (int64_t)window.sent);
    }
    switch (window.end) {
    case FILE_WINDOW_SENT:
        return SOURCE_READY;
    case FILE_WINDOW_BLOCKED:
        return SOURCE_BLOCKED;
    case FILE_WINDOW_GONE:
        return SOURCE_GONE;
    case FILE_WINDOW_SHORT:
        local_hand_over(local, "the file has become shorter");
        break;
    case FILE_WINDOW_UNREADABLE:
        local_hand_over(local, strerror(window.errnum));
        break;
    }
    return handed_over(local);
}

/* The next bytes have to come from a disk. Nothing is fetched that the client would not take. */
static enum source_status local_fetch(struct local_source *local, struct transport to,
                                      struct http_output *out, int64_t *budget)
{
    size_t sent;
    enum source_status status = local_send_memory(local, to, out, NULL, 0, false, &sent, budget);
    if (status != SOURCE_READY)
        return status;
    if (!source_has_room(to.fd))
        return SOURCE_BLOCKED;
    if (*budget <= 0)
        return SOURCE_MORE;
    return read_on_worker(local, *budget);
}

static enum source_status local_pump(struct local_source *local, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    size_t sent;
    while (local->left > 0) {
        enum source_status status = SOURCE_READY;
        if (local->reading)
            return SOURCE_WAIT;
        if (*budget <= 0)
            return SOURCE_MORE;
        if (local->block) {
            status = send_block(local, to, out, last, budget);
        } else if (local->left <= (int64_t)LOCAL_SCRATCH_SIZE && !local->open->cannot_tell &&
                   local->left <= *budget && local->warm_to <= local->offset) {
            int64_t before = local->left;
            status = send_small(local, to, out, last, budget);
            if (status == SOURCE_READY && local->left == before)
                status = local_fetch(local, to, out, budget);
        } else {
            int64_t window = min_i64(local->left, min_i64(*budget, FILE_WINDOW_SIZE));
            if (local->warm_to > local->offset)
                window = min_i64(window, local->warm_to - local->offset);
            if (!window_is_cached(local, window))
                return local_fetch(local, to, out, budget);
            if (http_output_pending(out) > 0)
                status = local_send_memory(local, to, out, NULL, 0, true, &sent, budget);
            if (status == SOURCE_READY)
                status = send_window(local, to, window, budget);
        }
        if (status != SOURCE_READY)
            return status;
    }
    return SOURCE_DONE;
}

/* ---- the interface ---- */

static enum source_status by_relay(struct local_source *local, enum source_status status)
{
    if (status == SOURCE_FAILED)
        local->source.error_code = local->relay->error_code;
    return status;
}

static enum source_status local_send(struct source *source, struct transport to, struct http_output *out,
                                     bool last, int64_t *budget)
{
    struct local_source *local = local_of(source);
    if (local->failed)
        return SOURCE_FAILED;
    if (local->relay)
        return by_relay(local, source_send(local->relay, to, out, last, budget));
    return local_pump(local, to, out, last, budget);
}

static enum source_status local_status(const struct source *source)
{
    struct local_source *local =
        CONTAINER_OF((struct source *)(uintptr_t)source, struct local_source, source);
    if (local->failed)
        return SOURCE_FAILED;
    if (local->relay)
        return by_relay(local, source_status(local->relay));
    return local->open ? SOURCE_READY : SOURCE_WAIT;
}

static void local_stalled(struct source *source)
{
    struct local_source *local = local_of(source);
    if (local->relay)
        source_stalled(local->relay);
    else if (!local->failed)
        local_hand_over(local, "reading it takes too long");
}

static void local_close(struct source *source)
{
    struct local_source *local = local_of(source);
    source_close(local->relay);
    let_go(local);
    source_end(&local->source);
    free(local);
}

static const struct source_operations local_operations = {
    .status = local_status,
    .send = local_send,
    .stalled = local_stalled,
    .close = local_close,
};

struct source *source_local_open(const struct source_options *options)
{
    struct local_source *local = calloc(1, sizeof(*local));
    if (!local)
        return NULL;
    source_init(&local->source, &local_operations, options);
    local->offset = options->offset;
    local->left = options->length;
    local->block_size = BLOCK_MIN;
    local_open(local);
    return &local->source;
}
