/*
 * upload: the steps of UPLOAD and PUT (enum upload_step in storage/upload/upload_state.h), on the request's loop.
 *
 * ADMIT -> LOOK_UP -> GATHER -> NUMBER -> STORE -> ROW -> REPLY               content that fits one buffer
 *                  -> NUMBER -> CREATE -> RECEIVE -> ROW -> REPLY             any other
 *                  -> COMPARE [-> READ_BACK] -> REPLY                         the file ID is taken, size
 * equal Any failure: -> UNDO (when a file was made) -> REPLY.
 *
 * A success reply means: the bytes are synced under their final name, their directory too, and the row is
 * committed.
 */
#include "storage/upload/upload.h"
#include "storage/upload/upload_state.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM            "upload"
#define SKIP_MS         10000 /* for so long an upload looks for a number that nobody has used */
#define SKIP_ONE_BY_ONE 16    /* so many used ones in a row, and all that are at hand are dropped */

static void take_number(struct upload *upload);
static void pump(struct upload *upload);

/* ---- the row ---- */

static void on_row(struct meta_insert *insert)
{
    struct upload *upload = CONTAINER_OF(insert, struct upload, insert);
    metric_observe_us(upload->storage->metrics.row_time, clock_monotonic_us() - upload->step_us);
    switch (insert->outcome) {
    case META_INSERTED:
        upload->keep_file = true;
        upload_conclude(upload, NULL);
        break;
    case META_TAKEN: /* another upload of this file ID was quicker */
        upload->rival = &insert->other;
        upload_compare(upload);
        break;
    case META_UNKNOWN:
        upload->keep_file = true;
        upload_leave_file(
            upload, "the database did not tell whether the row was added; if it was, the file is complete");
        upload_refuse(upload, ERROR_UNAVAILABLE, "it is not known whether file %s was stored: %s",
                      upload->put.key.file, insert->error.text);
        break;
    case META_NOT_DONE:
        upload_conclude(upload, &insert->error);
        break;
    }
}

static void add_row(struct upload *upload)
{
    struct meta_insert *insert = &upload->insert;
    struct proto_stat *stat = &insert->row.stat;
    struct error error = {0};
    upload_enter(upload, UPLOAD_ROW);
    insert->key = upload->put.key;
    insert->loop = upload->loop;
    insert->done = on_row;
    stat->size = upload->put.size;
    stat->has_digest = true;
    memcpy(stat->digest, upload->digest_bytes, sizeof(stat->digest));
    memcpy(stat->content_type, upload->content_type, sizeof(stat->content_type));
    memcpy(stat->name, upload->put.name, sizeof(stat->name));
    memcpy(stat->group, upload->storage->config->group, strlen(upload->storage->config->group) + 1);
    if (!commit_row(upload->storage->meta, &upload->file, insert, &error))
        upload_conclude(upload, &error);
}

/* ---- content to disk ---- */

static void run_create(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_create(upload, &upload->job_error);
}

static void run_write(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_write(upload, upload->job_slot, &upload->job_error);
}

static void run_store(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_store(upload, &upload->job_error);
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

static void on_trailer(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    upload->put.has_digest = true;
    upload->digest_follows = false;
    if (bytes >= 0) {
        upload->whole(upload);
        return;
    }
    upload->reading = false;
    for (size_t i = 0; i < ARRAY_SIZE(upload->slots); i++)
        if (upload->slots[i].state == SLOT_FILLING)
            upload->slots[i].state = SLOT_EMPTY;
    upload_lose_peer(upload);
}

void upload_end_content(struct upload *upload, void (*whole)(struct upload *upload))
{
    upload->whole = whole;
    if (upload->digest_follows)
        packet_request_read(upload->request, upload->put.digest, PROTO_DIGEST_SIZE, on_trailer);
    else
        whole(upload);
}

/* The piece that came last may be written. */
static void slot_came(struct upload *upload)
{
    upload->reading = false;
    slot_in(upload, SLOT_FILLING)->state = SLOT_FULL;
    pump(upload);
}

static void on_receive(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    struct upload_slot *slot = slot_in(upload, SLOT_FILLING);
    if (bytes < 0) {
        upload->reading = false;
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

/* Reads into a free slot. The second one is a matter of speed: where memory is short one must do. */
static bool read_more(struct upload *upload)
{
    struct upload_slot *slot = free_slot(upload);
    bool needed = upload->slots[0].state == SLOT_EMPTY && upload->slots[1].state == SLOT_EMPTY;
    int64_t left = upload->put.size - upload->received;
    if (!slot ||
        (!slot->buffer.bytes && !buffers_take(upload->storage->buffers, left, !needed, &slot->buffer)))
        return slot != NULL && needed ? false : true;
    slot->state = SLOT_FILLING;
    slot->offset = upload->received;
    upload->reading = true;
    packet_request_read(upload->request, slot->buffer.bytes,
                        (size_t)min_i64(left, (int64_t)slot->buffer.size), on_receive);
    return true;
}

static void move_content(struct upload *upload)
{
    struct upload_slot *full = slot_in(upload, SLOT_FULL);
    if (full && !upload->job_running) {
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

/* Keeps both ends going. A read may end inside packet_request_read(); then the loop here goes round again. A
 * file was made, so nothing in here ends the upload before a worker has removed it. */
static void pump(struct upload *upload)
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

static void on_written(struct upload *upload)
{
    struct upload_slot *slot = upload->job_slot;
    bool last = slot->offset + (int64_t)slot->filled == upload->put.size;
    slot->state = SLOT_EMPTY;
    /* What the peer cannot fill faster than the disk takes it needs one buffer only. */
    if (upload->reading || last)
        upload_give_buffers(upload);
    if (last)
        add_row(upload);
    else
        pump(upload);
}

static void on_gathered(struct packet_request *request, int64_t bytes)
{
    struct upload *upload = request->user;
    if (bytes < 0) {
        upload_lose_peer(upload);
        return;
    }
    upload->slots[0].filled = (size_t)bytes;
    upload->received = bytes;
    upload_end_content(upload, take_number);
}

static void gather(struct upload *upload)
{
    struct buffer *buffer = &upload->slots[0].buffer;
    upload_enter(upload, UPLOAD_GATHER);
    if (upload->put.size == 0)
        upload_end_content(upload, take_number);
    else if (!buffers_take(upload->storage->buffers, upload->put.size, false, buffer))
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for an upload");
    else if ((int64_t)buffer->size < upload->put.size)
        take_number(upload); /* it does not fit: to disk as it comes, through this buffer */
    else
        packet_request_read(upload->request, buffer->bytes, (size_t)upload->put.size, on_gathered);
}

/* ---- number and file ---- */

static void use_number(struct upload *upload, int64_t value)
{
    bool whole = upload->received == upload->put.size;
    CRASH_POINT("upload-number-taken");
    upload->file = (struct commit_file){
        .path = upload->path, .place = {.value = value, .seconds = clock_wall_seconds()}, .fd = -1};
    upload_enter(upload, whole ? UPLOAD_STORE : UPLOAD_CREATE);
    if (!upload_start_job(upload, upload->path, whole ? run_store : run_create))
        upload_conclude(upload, &upload->job_error);
}

static void on_number(struct ids_waiter *waiter, int64_t value, const struct error *error)
{
    struct upload *upload = CONTAINER_OF(waiter, struct upload, number);
    if (error)
        upload_conclude(upload, error);
    else
        use_number(upload, value);
}

static void take_number(struct upload *upload)
{
    struct ids *ids = upload->storage->ids;
    size_t index = store_path_index(upload->path);
    struct error error = {0};
    int64_t value;
    upload_enter(upload, UPLOAD_NUMBER);
    if (ids_take(ids, index, &value)) {
        use_number(upload, value);
        return;
    }
    upload->number = (struct ids_waiter){.done = on_number, .loop = upload->loop};
    if (!ids_wait(ids, index, &upload->number, &error))
        upload_conclude(upload, &error);
}

/* The number was used before, which an ID server never does unless its database went back in time. Then many
 * are, one after the other. */
static void skip_number(struct upload *upload)
{
    static struct log_gate gate;
    uint64_t suppressed;
    int64_t now = clock_monotonic_ms();
    metric_add(upload->storage->metrics.collisions, 1);
    if (upload->collisions++ == 0)
        upload->skipping_since_ms = now;
    if (log_gate_open(&gate, 1000, &suppressed))
        log_error(ROOM,
                  "c%" PRIu64 ": number %lld was given twice: %s; it is skipped (%" PRIu64
                  " more since the last line). Was the ID server's database restored from a backup?",
                  upload_connection(upload), (long long)upload->file.place.value, upload->job_error.text,
                  suppressed);
    if (upload->collisions % SKIP_ONE_BY_ONE == 0)
        ids_discard(upload->storage->ids, store_path_index(upload->path));
    if (now - upload->skipping_since_ms > SKIP_MS)
        upload_refuse(upload, ERROR_UNAVAILABLE, "%d numbers in a row were used before", upload->collisions);
    else
        take_number(upload);
}

static void on_job_failed(struct upload *upload)
{
    const struct error *error = &upload->job_error;
    bool creating = upload->step == UPLOAD_CREATE || upload->step == UPLOAD_STORE;
    if (creating && error->code == ERROR_EXISTS && !upload->file_made) {
        skip_number(upload);
    } else if (upload->step == UPLOAD_UNDO) {
        upload_leave_file(upload, error->text);
        upload_reply(upload);
    } else {
        if (error->code != ERROR_DIGEST)
            log_error(ROOM, "c%" PRIu64 ": file %s of user %s is not stored: %s", upload_connection(upload),
                      upload->put.key.file, upload->put.key.user, error->text);
        upload_conclude(upload, error);
    }
}

void upload_job_done(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_running = false;
    if (upload->concluded && upload->step != UPLOAD_UNDO) {
        upload_settle(upload);
        return;
    }
    if (!upload->job_fine) {
        on_job_failed(upload);
        return;
    }
    switch (upload->step) {
    case UPLOAD_CREATE:
        upload_enter(upload, UPLOAD_RECEIVE);
        pump(upload);
        break;
    case UPLOAD_RECEIVE:
        on_written(upload);
        break;
    case UPLOAD_STORE:
        upload_give_buffers(upload);
        add_row(upload);
        break;
    case UPLOAD_READ_BACK:
        upload_compare(upload);
        break;
    case UPLOAD_UNDO:
        upload_reply(upload);
        break;
    default:
        ASSERT(false); /* a worker was at it in this step */
    }
}

/* ---- the beginning ---- */

static void on_found(struct meta_find *find)
{
    struct upload *upload = CONTAINER_OF(find, struct upload, find);
    if (find->result == META_FAILED) {
        upload_conclude(upload, &find->error);
    } else if (find->result == META_DONE) {
        upload->rival = &find->row;
        upload_start_compare(upload);
    } else if (upload->put.size <= upload->storage->config->chunk_size) {
        gather(upload);
    } else {
        take_number(upload);
    }
}

static void look_up(struct upload *upload)
{
    struct error error = {0};
    upload_enter(upload, UPLOAD_LOOK_UP);
    upload->entered = true;
    upload->path = store_choose(upload->storage->store, upload->put.size, &error);
    upload->digest = upload->path ? digest_create() : NULL;
    if (upload->path && !upload->digest)
        error_set(&error, ERROR_UNAVAILABLE, "no memory for an upload");
    upload->find.key = upload->put.key;
    upload->find.loop = upload->loop;
    upload->find.done = on_found;
    if (!upload->digest || !meta_find(upload->storage->meta, &upload->find, &error))
        upload_conclude(upload, &error);
}

static void on_admitted(struct gate_waiter *waiter, bool entered)
{
    struct upload *upload = CONTAINER_OF(waiter, struct upload, waiter);
    if (entered)
        look_up(upload);
    else
        upload_refuse(upload, ERROR_UNAVAILABLE, "too many uploads are under way");
}

static void start(struct packet_request *request, const struct proto_put *put, bool digest_follows)
{
    struct storage *storage = storage_of(request);
    int64_t trailer = digest_follows ? PROTO_DIGEST_SIZE : 0;
    if (request->body_left - trailer != put->size) {
        packet_reply_error(request, ERROR_MALFORMED, "the content must have %lld bytes, %lld follow the head",
                           (long long)put->size, (long long)(request->body_left - trailer));
        return;
    }
    struct error error = {0};
    if (!applications_check(storage->applications, put->key.application, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    struct upload *upload = calloc(1, sizeof(*upload));
    if (!upload) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for an upload");
        return;
    }
    upload->storage = storage;
    upload->request = request;
    upload->loop = request->loop;
    upload->put = *put;
    upload->digest_follows = digest_follows;
    upload->file.fd = -1;
    request->user = upload;
    upload_enter(upload, UPLOAD_ADMIT);
    upload->waiter = (struct gate_waiter){.done = on_admitted, .loop = upload->loop};
    switch (gate_enter(storage->gate, &upload->waiter)) {
    case GATE_ENTERED:
        look_up(upload);
        break;
    case GATE_WAITS:
        break;
    case GATE_FULL:
        upload_refuse(upload, ERROR_UNAVAILABLE, "too many uploads wait for their turn");
        break;
    }
}

void upload_handle_upload(struct packet_request *request)
{
    struct proto_upload head;
    struct proto_put put = {0};
    struct error error = {0};
    if (!proto_upload_unpack(request->head, request->head_size, &head, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    put.key = head.key;
    put.size = head.size;
    start(request, &put, false);
}

void upload_handle_put(struct packet_request *request)
{
    struct proto_put put;
    struct error error = {0};
    if (!proto_put_unpack(request->head, request->head_size, &put, &error))
        packet_reply_failure(request, &error);
    else
        start(request, &put, false);
}

void upload_handle_put_trailer(struct packet_request *request)
{
    struct proto_put put;
    struct error error = {0};
    if (!proto_put_unpack(request->head, request->head_size, &put, &error))
        packet_reply_failure(request, &error);
    else if (put.has_digest)
        packet_reply_error(request, ERROR_MALFORMED, "the digest follows the content, and the head has one");
    else
        start(request, &put, true);
}
