/*
 * upload_content: the content of an upload on its way from the connection to the disk, through one or two buffers,
 * and the least rate at which it must come. On the request's loop; called by the other files of this folder.
 */
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/duration.h"

#define WINDOW_MS 60000 /* over which the rate is measured where progress_timeout sets no other time */

/* ---- the least rate ---- */

static void count_wait(struct upload *upload)
{
    int64_t now = clock_coarse_ms();
    if (upload->reading)
        upload->rate_waited_ms += now - upload->reading_since_ms;
    upload->reading_since_ms = now;
}

static const struct timeval *rate_window(const struct upload *upload, struct timeval *window)
{
    int64_t ms = upload->storage->config->base.progress_timeout_ms;
    *window = duration_timeval(ms > 0 ? ms : WINDOW_MS);
    /* All of a loop in one list: starting and ending one costs next to nothing. */
    const struct timeval *common = event_base_init_common_timeout(loop_base(upload->loop), window);
    return common ? common : window;
}

/* Only time counts in which nothing but the content was waited for: a slow disk is not the uploader's fault. */
static void on_rate_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct upload *upload = argument;
    int64_t least = upload->storage->config->upload_rate_min;
    int64_t received = upload->received + packet_request_coming(upload->request);
    struct timeval window;
    count_wait(upload);
    int64_t waited = upload->rate_waited_ms, came = received - upload->rate_received;
    upload->rate_waited_ms = 0;
    upload->rate_received = received;
    if (upload->reading && came < least * waited / 1000) {
        upload_refuse(
            upload, ERROR_TIMEOUT,
            "the content arrives too slowly: %lld bytes in %lld ms; at least %lld per second are required",
            (long long)came, (long long)waited, (long long)least);
        return;
    }
    if (upload->concluded || upload->received == upload->put.size ||
        evtimer_add(upload->rate_timer, rate_window(upload, &window)) != 0)
        return; /* progress_timeout goes on watching */
}

/* Something has to be waited for. */
static void watch_rate(struct upload *upload)
{
    struct timeval window;
    if (upload->rate_timer || upload->storage->config->upload_rate_min == 0)
        return;
    upload->rate_timer = evtimer_new(loop_base(upload->loop), on_rate_timer, upload);
    upload->rate_waited_ms = 0;
    upload->rate_received = upload->received;
    if (upload->rate_timer)
        (void)evtimer_add(upload->rate_timer, rate_window(upload, &window));
}

/* ---- reading ---- */

void upload_read_ended(struct upload *upload)
{
    if (upload->rate_timer)
        count_wait(upload);
    upload->reading = false;
}

void upload_read(struct upload *upload, void *buffer, size_t size,
                 void (*done)(struct packet_request *request, int64_t bytes))
{
    upload->reading = true;
    upload->reading_since_ms = clock_coarse_ms();
    watch_rate(upload);
    packet_request_read(upload->request, buffer, size, done);
}

static void on_trailer(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    upload_read_ended(upload);
    if (bytes < 0) {
        upload_lose_peer(upload);
        return;
    }
    upload->put.has_digest = true;
    upload->digest_follows = false;
    upload->digest_followed = true;
    upload->whole(upload);
}

void upload_end_content(struct upload *upload, void (*whole)(struct upload *upload))
{
    upload->whole = whole;
    if (upload->digest_follows)
        upload_read(upload, upload->put.digest, PROTO_DIGEST_SIZE, on_trailer);
    else
        whole(upload);
}

/* ---- the first piece ---- */

static void first_came(struct upload *upload)
{
    upload->slots[0].state = SLOT_FULL;
    upload->came = true;
    upload_advance(upload);
}

static void on_first(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    upload_read_ended(upload);
    if (bytes < 0) {
        upload->slots[0].state = SLOT_EMPTY;
        upload_lose_peer(upload);
        return;
    }
    upload->slots[0].filled = (size_t)bytes;
    upload->received = bytes;
    if (upload->received == upload->put.size)
        upload_end_content(upload, first_came);
    else
        first_came(upload);
}

bool upload_gather(struct upload *upload, bool optional)
{
    struct upload_slot *slot = &upload->slots[0];
    int64_t size = upload->put.size;
    upload_enter(upload, UPLOAD_GATHER);
    if (size == 0) {
        upload_end_content(upload, first_came);
        return true;
    }
    if (!buffers_take(upload->storage->buffers, size, optional, &slot->buffer))
        return false;
    slot->state = SLOT_FILLING;
    upload_read(upload, slot->buffer.bytes, (size_t)min_i64(size, (int64_t)slot->buffer.size), on_first);
    return true;
}

/* ---- content to disk as it comes ---- */

static void run_write(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload->kind && upload->kind->write
                           ? upload->kind->write(upload, upload->job_slot, &upload->job_error)
                           : upload_disk_write(upload, upload->job_slot, &upload->job_error);
}

/* The one of both that is in STATE; where both are, the earlier piece of the content. */
static struct upload_slot *slot_in(struct upload *upload, enum upload_slot_state state)
{
    struct upload_slot *found = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(upload->slots); i++) {
        struct upload_slot *slot = &upload->slots[i];
        if (slot->state == state && (!found || slot->offset < found->offset))
            found = slot;
    }
    return found;
}

/* One that has its memory already, if possible. */
static struct upload_slot *free_slot(struct upload *upload)
{
    struct upload_slot *found = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(upload->slots); i++) {
        struct upload_slot *slot = &upload->slots[i];
        if (slot->state == SLOT_EMPTY && (!found || slot->buffer.bytes))
            found = slot;
    }
    return found;
}

/* The piece that came last may be written. */
static void slot_came(struct upload *upload)
{
    slot_in(upload, SLOT_FILLING)->state = SLOT_FULL;
    upload_pump(upload);
}

static void on_receive(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    struct upload_slot *slot = slot_in(upload, SLOT_FILLING);
    upload_read_ended(upload);
    if (bytes < 0) {
        slot->state = SLOT_EMPTY;
        upload_lose_peer(upload);
        return;
    }
    slot->filled = (size_t)bytes;
    upload->received += bytes;
    if (upload->received == upload->put.size)
        upload_end_content(upload, slot_came);
    else
        slot_came(upload);
}

/* Reads into a free slot. The second one is only for speed: where memory is short one is enough. */
static bool read_more(struct upload *upload)
{
    struct upload_slot *slot = free_slot(upload);
    bool needed = upload->slots[0].state == SLOT_EMPTY && upload->slots[1].state == SLOT_EMPTY;
    int64_t left = upload->put.size - upload->received;
    if (!slot ||
        (!slot->buffer.bytes && !buffers_take(upload->storage->buffers, left, !needed, &slot->buffer)))
        return !slot || !needed;
    slot->state = SLOT_FILLING;
    slot->offset = upload->received;
    upload_read(upload, slot->buffer.bytes, (size_t)min_i64(left, (int64_t)slot->buffer.size), on_receive);
    return true;
}

static void move_content(struct upload *upload)
{
    struct upload_slot *full = slot_in(upload, SLOT_FULL);
    if (full && !upload->job_running && !upload->row_running) {
        upload->job_slot = full;
        full->state = SLOT_WRITING;
        if (!upload_start_job(upload, upload->path, run_write)) {
            upload_conclude(upload, &upload->job_error);
            return;
        }
    }
    if (!upload->reading && upload->received < upload->put.size && !read_more(upload))
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for an upload");
}

/* Keeps both ends going. A read may end inside upload_read(); then the loop here goes round again. A file was
 * made, so nothing in here ends the upload before a worker has removed it. */
void upload_pump(struct upload *upload)
{
    if (upload->concluded)
        return;
    if (upload->pumping) {
        upload->pump_again = true;
        return;
    }
    upload->pumping = true;
    do {
        upload->pump_again = false;
        move_content(upload);
    } while (upload->pump_again && !upload->concluded);
    upload->pumping = false;
}

void upload_written(struct upload *upload)
{
    struct upload_slot *slot = upload->job_slot;
    bool last = slot->offset + (int64_t)slot->filled == upload->put.size;
    slot->state = SLOT_EMPTY;
    /* What the peer cannot fill faster than the disk takes it needs one buffer only. */
    if (upload->reading || last)
        upload_give_buffers(upload);
    if (upload->kind && upload->kind->written)
        upload->kind->written(upload, last);
    else if (last)
        upload_finish_heal(upload);
    else
        upload_pump(upload);
}
